-- Alerts that belong together make an incident: opened, updated, closed, reopened, scored. Facts are rows written here; the
-- clock is the argument of evaluate_alerts(), now() stands still.
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/', tier => 1, owner => 'Ann');
SELECT count(*) FROM generate_series(1, 9) i,
  webhook_outbox.create_endpoint('crm_' || i, 'https://crm.example.com/', tier => 2);
SELECT name FROM webhook_outbox.create_endpoint('lab', 'https://lab.example.com/', tier => 3);
SELECT webhook_outbox.publish('order.created', '1') AS first \gset
SELECT webhook_outbox.publish('order.paid', '2') AS second \gset
-- all that was published is dealt with; minutes of these hours are not joined yet; no dispatcher works here
UPDATE webhook_outbox.cursor SET (old_snapshot, new_snapshot) =
  (SELECT s, s FROM format('%1$s:%1$s:', pg_current_xact_id()::text::bigint + 1) f, CAST(f AS pg_snapshot) s);
UPDATE webhook_outbox.rollup_watermark SET hour_until = hour_until - interval '5 hours', day_until = day_until - interval '1 day';
UPDATE webhook_outbox.alert_rule SET enabled = false WHERE scope = 'system';
-- what is written here of the past can have happened
UPDATE webhook_outbox.endpoint SET created_at = now() - interval '1 year';

CREATE FUNCTION pg_temp.record(p_endpoint text, p_age interval, p_attempts bigint, p_failures bigint, p_delivered bigint,
  p_dead bigint DEFAULT 0, p_outcome text DEFAULT 'http_error', p_status smallint DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.endpoint_rollup
  SELECT date_trunc('minute', now() - p_age), 1, p.tier, p.endpoint_id, p_attempts, p_failures, p_failures, p_delivered, 0,
         p_dead, 0, 0, 10 * p_delivered, 10 * p_attempts, 10, 10,
         (SELECT webhook_outbox.histogram(10.0) FROM generate_series(1, p_delivered)),
         (SELECT webhook_outbox.histogram(10.0) FROM generate_series(1, p_attempts))
  FROM webhook_outbox.endpoint p WHERE p.name = p_endpoint;
  INSERT INTO webhook_outbox.error_rollup (bucket, resolution, http_status, endpoint_id, outcome, attempts)
  SELECT date_trunc('minute', now() - p_age), 1, p_status, p.endpoint_id, p_outcome, p_failures
  FROM webhook_outbox.endpoint p WHERE p.name = p_endpoint AND p_failures > 0;
$$;
CREATE FUNCTION pg_temp.give_up(p_event_id uuid, p_endpoint text, p_age interval) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, reason, attempts, created_at)
  SELECT e.id, p.endpoint_id, p.name, e.type, 'attempts_exhausted', 10, now() - p_age
  FROM webhook_outbox.event e, webhook_outbox.endpoint p WHERE e.id = p_event_id AND p.name = p_endpoint;
$$;
CREATE FUNCTION pg_temp.at(p_after interval) RETURNS TABLE (scope text, subject text, state text, score integer, vector text,
  cause text, firing text[]) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM webhook_outbox.evaluate_alerts(now() + p_after);
  RETURN QUERY SELECT i.scope, i.subject, i.state, i.score, i.vector, i.cause, i.firing FROM webhook_outbox.incident i;
END
$$;
CREATE TEMP VIEW log AS
  SELECT i.scope, i.subject, e.at - now() AS after, e.kind, e.note
  FROM webhook_outbox.incident_event e JOIN webhook_outbox.incident_record i ON i.incident_id = e.incident_id
  ORDER BY e.incident_event_id;
CREATE FUNCTION pg_temp.only(VARIADIC p_rules text[]) RETURNS void LANGUAGE sql AS $$
  UPDATE webhook_outbox.alert_rule SET enabled = name = ANY (p_rules);
$$;
-- times are shown as they differ from now(), in whole minutes
CREATE FUNCTION pg_temp.relative(p_text text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(CASE WHEN t ~ '^\d{4}-\d\d-\d\d \d' THEN 'now ' || trunc(extract(epoch FROM t::timestamptz - now()) / 60) || ' min' ELSE t END, '''' ORDER BY i)
  FROM unnest(string_to_array(p_text, '''')) WITH ORDINALITY x (t, i);
$$;
SELECT * FROM pg_temp.at('0');

-- The most important endpoint is down. Its alerts and those of its tier are one incident.
SAVEPOINT s;
SELECT pg_temp.only('success_low', 'success_low_tier', 'dead_letters', 'error_rate_high');
SELECT pg_temp.give_up(:'first', 'billing', '2 min'), pg_temp.give_up(:'second', 'billing', '2 days');
SELECT pg_temp.record('billing', '2 min', 100, 100, 0, 60, 'connect_error'), pg_temp.record('crm_1', '2 min', 300, 1, 300);
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state)
  SELECT p.endpoint_id, :'second', now() + interval '1 min', 'retrying' FROM webhook_outbox.endpoint p WHERE p.name = 'billing';
SELECT * FROM pg_temp.at('0');
SELECT * FROM pg_temp.at('5 min');
\x on
SELECT state, reason, dead_letters, waiting, failed_attempts, endpoints, next_step, pg_temp.relative(next_sql) AS next_sql,
       began_at <= now() - interval '1 hour' AS began_with_the_window, opened_at - now() AS opened, reopened
FROM webhook_outbox.incident;
\x off
SELECT i.next_sql AS sql FROM webhook_outbox.incident i \gset
SELECT h.rule, h.incident_id = i.incident_id AS is_its FROM webhook_outbox.alert_history h, webhook_outbox.incident i ORDER BY 1;

-- The statement sends exactly the dead letter that was counted.
SAVEPOINT sql;
:sql
SELECT e.type, p.name FROM webhook_outbox.command c JOIN webhook_outbox.event e ON e.id = c.event_id
  JOIN webhook_outbox.endpoint p ON p.endpoint_id = c.endpoint_id;
SELECT event_type FROM webhook_outbox.dead_letter;
ROLLBACK TO sql;

-- Somebody takes it on; it recovers; it is closed after a while, opened again when it recurs soon, and is another one later.
SELECT incident_id AS id FROM webhook_outbox.incident \gset
SELECT webhook_outbox.acknowledge_incident(:id, 'I call them');
SELECT webhook_outbox.note_incident(:id, 'they replace a disk');
SELECT state, acknowledged_by = session_user AS by_me, acknowledged_at = now() AS now FROM webhook_outbox.incident;
DELETE FROM webhook_outbox.endpoint_rollup;
DELETE FROM webhook_outbox.error_rollup;
DELETE FROM webhook_outbox.delivery;
SELECT pg_temp.record('billing', '1 min', 1000, 0, 1000);
SELECT * FROM pg_temp.at('10 min');
SELECT * FROM pg_temp.at('20 min');
SELECT next_step, pg_temp.relative(next_sql) AS next_sql FROM webhook_outbox.incident;
DELETE FROM webhook_outbox.dead_letter;
SELECT * FROM pg_temp.at('21 min');
SELECT next_step, replace(next_sql, :'id', 'ID') AS next_sql FROM webhook_outbox.incident;
SELECT * FROM pg_temp.at('34 min');
SELECT * FROM pg_temp.at('35 min');
SAVEPOINT closed;
SELECT pg_temp.record('billing', '1 min', 1000, 1000, 0, 1000, 'http_error', 503::smallint);
SELECT * FROM pg_temp.at('20 hours');
SELECT state, reopened, closed_at, acknowledged_by FROM webhook_outbox.incident;
TABLE log;
ROLLBACK TO closed;
SELECT pg_temp.record('billing', '1 min', 1000, 1000, 0, 1000, 'http_error', 503::smallint);
SELECT * FROM pg_temp.at('30 hours');
SELECT began_at > now() + interval '34 min' AS not_before_the_former_ended FROM webhook_outbox.incident WHERE state = 'open';
ROLLBACK TO s;

-- Closed by hand: what still fires does not open it again, what begins to fire does.
SELECT pg_temp.only('dead_letters', 'error_rate_high');
SELECT pg_temp.record('lab', '2 min', 100, 90, 10, 1, 'tls_error');
SELECT * FROM pg_temp.at('0');
SELECT i.incident_id AS id FROM webhook_outbox.incident i \gset
SELECT webhook_outbox.close_incident(:id);
SELECT * FROM pg_temp.at('1 min');
SELECT * FROM pg_temp.at('5 min');
SELECT next_step FROM webhook_outbox.incident;
TABLE log;
ROLLBACK TO s;

-- Causes.
SELECT pg_temp.only('error_rate_high', 'dead_letters');
UPDATE webhook_outbox.alert_rule SET pending_for = '0', threshold = 4, clear_threshold = NULL WHERE name = 'error_rate_high';
SELECT pg_temp.record('crm_1', '2 min', 100, 5, 95, 0, 'timeout'), pg_temp.record('crm_2', '2 min', 100, 100, 0, 0, 'http_error', 401::smallint),
       pg_temp.record('crm_3', '2 min', 100, 80, 20, 0, 'http_error', 503::smallint),
       pg_temp.record('crm_4', '2 min', 100, 60, 40, 0, 'http_error', 429::smallint),
       pg_temp.record('crm_5', '2 min', 100, 100, 0, 0, 'dns_error'),
       pg_temp.record('lab', '2 min', 0, 0, 0, 3);
SELECT * FROM pg_temp.at('0');
SELECT subject, score, reason, next_step FROM webhook_outbox.incident ORDER BY subject;
ROLLBACK TO s;

-- A tier of which several endpoints have alerts has an incident of its own, which further ones join.
SELECT pg_temp.only('dead_letters', 'success_low_tier');
SELECT count(pg_temp.record('crm_' || i, '2 min', 100, 100, 0, 50, 'connect_error')) FROM generate_series(1, 2) i;
SELECT pg_temp.give_up(:'first', 'crm_1', '1 min'), pg_temp.give_up(:'first', 'lab', '1 min');
SELECT * FROM pg_temp.at('0');
SELECT pg_temp.record('crm_3', '2 min', 100, 100, 0, 50, 'connect_error'), pg_temp.record('lab', '2 min', 100, 1, 99, 1, 'timeout');
SELECT * FROM pg_temp.at('1 min');
SELECT subject, dead_letters, endpoints, pg_temp.relative(next_sql) AS next_sql FROM webhook_outbox.incident;
ROLLBACK TO s;

-- While nothing can be delivered, all alerts follow from that.
SELECT pg_temp.only('dispatcher_missing', 'waiting_long');
UPDATE webhook_outbox.alert_rule SET pending_for = '0' WHERE name = 'waiting_long';
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state)
  SELECT p.endpoint_id, webhook_outbox.time_id(now() - interval '2 hours'), now(), 'parked' FROM webhook_outbox.endpoint p
  WHERE p.name IN ('crm_1', 'crm_2');
UPDATE webhook_outbox.alert_rule SET pending_for = '0' WHERE name = 'dispatcher_missing';
-- one that has been started to look whether it should work here leaves again
DO $$
DECLARE
  v_tick double precision := 0.01;
BEGIN
  FOR i IN 1 .. 1000 LOOP
    EXIT WHEN (SELECT value FROM webhook_outbox.system_signals() WHERE signal = 'dispatcher_missing') = 1;
    PERFORM pg_sleep(v_tick);
  END LOOP;
END
$$;
SELECT * FROM pg_temp.at('0');
SELECT reason, waiting, endpoints, next_step, next_sql FROM webhook_outbox.incident;
ROLLBACK TO s;

-- Disabled by 410.
SELECT pg_temp.only('endpoint_disabled');
UPDATE webhook_outbox.endpoint SET enabled = false, disabled_reason = '410', disabled_at = now() WHERE name = 'billing';
SELECT * FROM pg_temp.at('0');
SELECT reason, next_step, next_sql FROM webhook_outbox.incident;
ROLLBACK TO s;

-- It recurs: counted over 30 days. Weights are rows; the score follows at once if asked.
SELECT pg_temp.only('dead_letters');
SELECT pg_temp.record('lab', '2 min', 100, 1, 99, 1, 'timeout');
SELECT * FROM pg_temp.at('0');
SELECT i.incident_id AS id FROM webhook_outbox.incident i \gset
INSERT INTO webhook_outbox.incident_event (incident_id, at, kind, note)
  SELECT :id, now() - d * interval '200 hours', 'reopened', '' FROM generate_series(1, 4) d;
SELECT webhook_outbox.score_incident(:id);
INSERT INTO webhook_outbox.incident_event (incident_id, at, kind, note) VALUES (:id, now(), 'reopened', '');
SELECT webhook_outbox.score_incident(:id);
UPDATE webhook_outbox.incident_likelihood SET weight = 1 WHERE condition = 'recurs_often';
UPDATE webhook_outbox.incident_severity SET weight = 5 WHERE condition = 'dead_letters';
SELECT webhook_outbox.score_incidents();
SELECT vector, reason FROM webhook_outbox.incident;
SELECT condition, weight, origin FROM webhook_outbox.incident_likelihood WHERE origin <> 'extension';
TABLE log;
-- a closed one keeps what it was, and gets the present weights
SELECT webhook_outbox.close_incident(:id, 'done');
DELETE FROM webhook_outbox.error_rollup;
DELETE FROM webhook_outbox.endpoint_rollup;
UPDATE webhook_outbox.incident_severity SET weight = 4 WHERE condition = 'dead_letters';
SELECT webhook_outbox.score_incident(:id);
SELECT state, vector, attempts, failed_attempts, top_error FROM webhook_outbox.incident;
ROLLBACK TO s;

-- An incident does not begin before there was such an endpoint; nor, of the server, before there was anything at all.
SELECT pg_temp.only('dead_letters');
UPDATE webhook_outbox.endpoint SET created_at = now() - interval '10 min' WHERE name = 'lab';
SELECT pg_temp.give_up(:'first', 'lab', '5 min'), pg_temp.record('lab', '5 min', 1, 1, 0, 1);
SELECT scope, subject FROM pg_temp.at('0');
SELECT began_at - now() AS began, dead_letters, pg_temp.relative(next_sql) FROM webhook_outbox.incident;
ROLLBACK TO s;
SELECT pg_temp.only('dispatcher_missing');
UPDATE webhook_outbox.claim SET claimed_at = now() - interval '3 s';
UPDATE webhook_outbox.endpoint SET created_at = now() - interval '2 s';
SELECT count(*) FROM pg_temp.at('0');
SELECT scope, cause FROM pg_temp.at('1 min');
SELECT began_at - now() AS began, opened_at - now() AS opened FROM webhook_outbox.incident;
ROLLBACK TO s;

-- Several receivers that fail at once have something in common: what, tells whether they answer.
SELECT (webhook_outbox.incident_advice(NULL, jsonb_populate_record(NULL::webhook_outbox.incident_number,
         jsonb_build_object('endpoints', 2, 'top_error', e)), 'receiver down', now())).next_step
FROM unnest('{connect_error,HTTP 503}'::text[]) e;

-- Refused.
SELECT webhook_outbox.acknowledge_incident(0);
SELECT webhook_outbox.note_incident(NULL, 'x');
SELECT pg_temp.record('lab', '2 min', 100, 1, 99, 1, 'timeout');
SELECT scope FROM pg_temp.at('0');
SELECT i.incident_id AS id FROM webhook_outbox.incident i \gset
\set VERBOSITY terse
SELECT webhook_outbox.close_incident(0);
\set VERBOSITY default
SELECT webhook_outbox.note_incident(:id, ' ');
SELECT webhook_outbox.note_incident(:id, NULL);
SELECT webhook_outbox.acknowledge_incident(:id, '');
SELECT webhook_outbox.close_incident(:id, repeat('x', 10001));
UPDATE webhook_outbox.incident_impact SET weight = 6 WHERE condition = 'tier_1';
UPDATE webhook_outbox.incident_impact SET weight = NULL WHERE condition = 'tier_1';
UPDATE webhook_outbox.incident_impact SET description = repeat('x', 1001) WHERE condition = 'tier_1';
UPDATE webhook_outbox.incident_impact SET condition = 'mine' WHERE condition = 'tier_1';
INSERT INTO webhook_outbox.incident_severity VALUES ('mine', 3, '');
DELETE FROM webhook_outbox.incident_severity;
TRUNCATE webhook_outbox.incident_severity;
ROLLBACK;
DROP EXTENSION webhook_outbox;
