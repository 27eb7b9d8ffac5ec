-- How alerts come and go: facts are rows written here, within a transaction whose now() stands still; the clock of the states
-- is the argument of evaluate_alerts().
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/', tier => 1);
SELECT name FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/', tenant => 'acme');
SELECT name FROM webhook_outbox.create_endpoint('ops', 'https://ops.example.com/', '{webhook_outbox.alert.*}', tier => 3);
SELECT name FROM webhook_outbox.create_endpoint('acme_ops', 'https://ops.acme.example.com/', '{webhook_outbox.alert.firing}',
  tenant => 'acme', tier => 3);
SELECT name FROM webhook_outbox.create_endpoint('everything', 'https://all.example.com/', tier => 3);

-- minutes of these hours are not joined yet, whatever the time is
UPDATE webhook_outbox.rollup_watermark SET hour_until = hour_until - interval '5 hours', day_until = day_until - interval '1 day';
-- one minute of one endpoint: attempts, failed ones, and how deliveries ended
CREATE FUNCTION pg_temp.record(p_endpoint text, p_age interval, p_attempts bigint, p_failures bigint, p_delivered bigint,
  p_late bigint DEFAULT 0, p_dead bigint DEFAULT 0) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.endpoint_rollup
  SELECT date_trunc('minute', now() - p_age), 1, p.tier, p.endpoint_id, p_attempts, p_failures, p_failures, p_delivered, p_late,
         p_dead, 0, 0, 10 * p_delivered, 10 * p_attempts, 10, 10,
         (SELECT webhook_outbox.histogram(10.0) FROM generate_series(1, p_delivered)),
         (SELECT webhook_outbox.histogram(10.0) FROM generate_series(1, p_attempts))
  FROM webhook_outbox.endpoint p WHERE p.name = p_endpoint;
$$;
CREATE FUNCTION pg_temp.at(p_after interval, OUT changes bigint, OUT alerts text) LANGUAGE plpgsql AS $$
BEGIN
  changes := webhook_outbox.evaluate_alerts(now() + p_after);
  SELECT string_agg(format('%s %s %s since %s', s.rule, s.subject, s.state, s.since - now()), E'\n' ORDER BY s.rule, s.subject)
    INTO alerts FROM webhook_outbox.alert_state s;
END
$$;
CREATE TEMP VIEW history AS
  SELECT h.at - now() AS after, h.rule, h.subject, h.state, h.severity, h.reason, h.message
  FROM webhook_outbox.alert_history h ORDER BY h.change_id;
CREATE TEMP VIEW told AS
  SELECT p.name AS endpoint, e.type, e.tenant, e.payload->>'rule' AS rule, e.payload->>'subject' AS subject,
         e.payload->>'reason' AS reason
  FROM webhook_outbox.event e JOIN webhook_outbox.endpoint p ON p.endpoint_id = e.endpoint_id ORDER BY e.id;
CREATE FUNCTION pg_temp.only(VARIADIC p_rules text[]) RETURNS void LANGUAGE sql AS $$
  UPDATE webhook_outbox.alert_rule SET enabled = name = ANY (p_rules);
$$;

-- Nothing recorded: nothing to say. (No dispatcher works here, so the rules about the server are off.)
UPDATE webhook_outbox.alert_rule SET enabled = false WHERE scope = 'system';
SELECT * FROM pg_temp.at('0');
SELECT count(*) AS alerts FROM webhook_outbox.alert;

-- What fires when an endpoint of tier 1 fails: one alert for each rule, and a burn needs both windows.
SAVEPOINT s;
SELECT pg_temp.record('billing', '10 min', 130, 30, 100), pg_temp.record('crm', '10 min', 100, 0, 100);
SELECT * FROM pg_temp.at('0');
SELECT pg_temp.record('billing', '2 min', 160, 110, 50, 0, 50);
SELECT * FROM pg_temp.at('1 min');
SELECT * FROM pg_temp.at('6 min');
SELECT state, severity, rule, scope, subject, signal, time_window, round(value::numeric, 2) AS value, threshold, unit, samples,
       since - now() AS since, fired_at - now() AS fired_at, incident_id IS NOT NULL AS has_incident
FROM webhook_outbox.alert ORDER BY rule;
SELECT rule, message, look FROM webhook_outbox.alert ORDER BY rule;
SELECT DISTINCT endpoint, type, subject FROM told ORDER BY 1, 2, 3;
SELECT payload->>'state' AS state, payload->>'severity' AS severity, payload->>'scope' AS scope, payload->>'signal' AS signal,
       payload->>'message' AS message, (payload->>'fired_at')::timestamptz - now() AS fired_at,
       payload->>'incident_id' IS NOT NULL AS has_incident, payload->>'resolved_at' AS resolved_at
FROM webhook_outbox.event WHERE payload->>'rule' = 'error_rate_high';
ROLLBACK TO s;

-- Pending first, and gone without a word when the condition goes.
SELECT pg_temp.only('error_rate_high');
SELECT pg_temp.record('crm', '2 min', 100, 60, 40);
SELECT * FROM pg_temp.at('0');
SELECT * FROM pg_temp.at('4 min');
SAVEPOINT pending;
SELECT pg_temp.record('crm', '1 min', 1000, 0, 1000);
SELECT * FROM pg_temp.at('5 min');
SELECT count(*) AS changes FROM webhook_outbox.alert_history;
ROLLBACK TO pending;

-- It fires; stays while the value is between threshold and clear_threshold; is resolved once it was clear for keep_firing_for.
SELECT * FROM pg_temp.at('5 min');
SELECT pg_temp.record('crm', '1 min', 300, 0, 300);
SELECT * FROM pg_temp.at('6 min');
SELECT pg_temp.record('crm', '1 min', 1000, 0, 1000);
SELECT * FROM pg_temp.at('7 min');
SELECT * FROM pg_temp.at('16 min');
SELECT * FROM pg_temp.at('17 min');
TABLE history;
TABLE told;
ROLLBACK TO s;

-- The clock is set back by two hours: what is pending or to be resolved does not wait for the old time.
SELECT pg_temp.only('error_rate_high');
SELECT pg_temp.record('crm', '2 min', 100, 60, 40);
SELECT * FROM pg_temp.at('2 hours');
SELECT * FROM pg_temp.at('0');
SELECT * FROM pg_temp.at('5 min');
SELECT pg_temp.record('crm', '1 min', 1000, 0, 1000);
SELECT * FROM pg_temp.at('3 hours');
SELECT * FROM pg_temp.at('1 hour');
SELECT * FROM pg_temp.at('70 min');
ROLLBACK TO s;

-- Flapping: each time that it fired within the last hour doubles what it takes to be resolved.
SELECT pg_temp.only('dead_letters');
UPDATE webhook_outbox.alert_rule SET keep_firing_for = '5 min' WHERE name = 'dead_letters';
CREATE FUNCTION pg_temp.flap(p_is_bad boolean) RETURNS void LANGUAGE sql AS $$
  DELETE FROM webhook_outbox.endpoint_rollup;
  SELECT pg_temp.record('crm', '2 min', 10, 0, 10, 0, CASE WHEN p_is_bad THEN 1 ELSE 0 END);
$$;
DO $$
BEGIN
  -- bad in every even minute: damped, it fires once
  FOR i IN 0 .. 20 LOOP
    PERFORM pg_temp.flap(i % 2 = 0);
    PERFORM webhook_outbox.evaluate_alerts(now() + i * interval '1 min');
  END LOOP;
  -- bad every tenth minute: resolved after 5 minutes; after 10 where it fired twice within the hour, so not between these
  FOR i IN 21 .. 70 LOOP
    PERFORM pg_temp.flap(i % 10 = 0);
    PERFORM webhook_outbox.evaluate_alerts(now() + i * interval '1 min');
  END LOOP;
  FOR i IN 71 .. 140 LOOP
    PERFORM pg_temp.flap(false);
    PERFORM webhook_outbox.evaluate_alerts(now() + i * interval '1 min');
  END LOOP;
END
$$;
SELECT after, state, reason FROM history;
ROLLBACK TO s;

-- Few samples are insufficient data, never an alert; what fires and lacks data is resolved as that.
SELECT pg_temp.only('success_low', 'budget_burn_fast');
SELECT pg_temp.record('crm', '2 min', 9, 9, 0, 0, 9);
SELECT * FROM pg_temp.at('0');
SELECT state, samples, message FROM webhook_outbox.alert;
SELECT * FROM pg_temp.at('1 hour');
SELECT pg_temp.record('crm', '1 min', 20, 20, 0, 0, 20);
SELECT * FROM pg_temp.at('61 min');
DELETE FROM webhook_outbox.endpoint_rollup;
SELECT * FROM pg_temp.at('62 min');
SELECT * FROM pg_temp.at('67 min');
SELECT after, rule, state, reason FROM history;
ROLLBACK TO s;

-- A rule that is disabled, changed or deleted, a subject that is gone: resolved at once, with the reason.
SELECT pg_temp.only('dead_letters');
SELECT pg_temp.record('crm', '1 min', 5, 5, 0, 0, 5), pg_temp.record('billing', '1 min', 5, 5, 0, 0, 5);
INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, threshold) VALUES
  ('mine', 'dead_letters', 'tier', '1h', 0), ('my_other', 'dead_letters', 'endpoint', '24h', 0);
SELECT * FROM pg_temp.at('0');
UPDATE webhook_outbox.alert_rule SET tier = 2 WHERE name = 'mine';
UPDATE webhook_outbox.alert_rule SET enabled = false WHERE name = 'dead_letters';
DELETE FROM webhook_outbox.alert_rule WHERE name = 'my_other';
SELECT * FROM pg_temp.at('1 min');
UPDATE webhook_outbox.alert_rule SET enabled = true WHERE name = 'dead_letters';
SELECT * FROM pg_temp.at('2 min');
DELETE FROM webhook_outbox.endpoint WHERE name = 'crm';
-- one that is renamed goes on firing
UPDATE webhook_outbox.endpoint SET name = 'invoices' WHERE name = 'billing';
SELECT * FROM pg_temp.at('3 min');
SELECT after, rule, subject, state, reason FROM history WHERE after > '0';
ROLLBACK TO s;

-- Who is told: not who it is about, not another tenant, and of a tier not who has an alert of its own.
SELECT pg_temp.only('dead_letters', 'success_low_tier');
SELECT pg_temp.record('ops', '1 min', 90, 90, 0, 0, 90);
SELECT * FROM pg_temp.at('0');
TABLE told;
SELECT pg_temp.record('crm', '1 min', 5, 5, 0, 0, 5);
SELECT * FROM pg_temp.at('1 min');
TABLE told;
ROLLBACK TO s;

-- What cannot be told does not keep the rest from being evaluated.
SELECT pg_temp.only('dead_letters');
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room left'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON webhook_outbox.event FOR EACH ROW EXECUTE FUNCTION pg_temp.refuse();
SELECT pg_temp.record('crm', '1 min', 5, 5, 0, 0, 5), pg_temp.record('billing', '1 min', 5, 5, 0, 0, 5);
SELECT webhook_outbox.evaluate_alerts(now());
SELECT webhook_outbox.evaluate_alerts(now() + interval '1 min') AS not_tried_again;
SELECT after, subject, state FROM history;
ROLLBACK TO s;

-- Silence: nobody is told, until it ends; what nobody was told of is not resolved for them either.
SELECT pg_temp.only('dead_letters');
SELECT webhook_outbox.silence_alert('dead_letters', 'crm', now() + interval '30 min', 'they move') IS NOT NULL AS is_silenced;
SELECT webhook_outbox.silence_alert(NULL, 'billing', now() + interval '20 hours', 'never mind') IS NOT NULL AS is_silenced;
SELECT pg_temp.record('crm', '1 min', 5, 5, 0, 0, 5), pg_temp.record('billing', '1 min', 5, 5, 0, 0, 5);
SELECT * FROM pg_temp.at('0');
SELECT subject, silenced_until - now() AS silenced_for FROM webhook_outbox.alert ORDER BY subject;
SELECT count(*) AS told FROM told;
SELECT * FROM pg_temp.at('30 min');
TABLE told;
DELETE FROM webhook_outbox.endpoint_rollup;
SELECT * FROM pg_temp.at('31 min');
TABLE told;
SELECT after, subject, state FROM history;
ROLLBACK TO s;

-- A rule with two windows is resolved when one of them is fine, or has nothing to say.
SELECT webhook_outbox.alert_message(r, 'crm', 'ratio', 1000, s.second, s.holds) AS message
FROM webhook_outbox.alert_rule r, (VALUES (1, 1000, true), (2, 3.456, false), (3, NULL, false)) s (n, second, holds)
WHERE r.name = 'budget_burn_fast' ORDER BY s.n;

-- Growth of a queue, from samples of which an endpoint has none while nothing waits.
SELECT pg_temp.only('queue_growing');
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state)
  SELECT p.endpoint_id, gen_random_uuid(), now(), 'retrying' FROM webhook_outbox.endpoint p, generate_series(1, 8)
  WHERE p.name = 'crm';
UPDATE webhook_outbox.alert_rule SET threshold = 5, clear_threshold = NULL, pending_for = '0' WHERE name = 'queue_growing';
SELECT * FROM pg_temp.at('0');
-- half of the window must have been sampled
INSERT INTO webhook_outbox.queue_sample SELECT date_trunc('minute', now()) - m * interval '1 min', 0, 0, 0, 1 FROM generate_series(0, 20) m;
SELECT * FROM pg_temp.at('1 min');
INSERT INTO webhook_outbox.queue_sample SELECT date_trunc('minute', now()) - m * interval '1 min', 0, 0, 0, 1 FROM generate_series(21, 50) m;
SELECT * FROM pg_temp.at('2 min');
SELECT value, samples, message FROM webhook_outbox.alert;
INSERT INTO webhook_outbox.queue_sample SELECT q.at, p.endpoint_id, 6, 0, 1 FROM webhook_outbox.queue_sample q, webhook_outbox.endpoint p
  WHERE p.name = 'crm';
SELECT time_window, value FROM webhook_outbox.queue_growth_readings() WHERE subject = 'crm' ORDER BY time_window;
ROLLBACK TO s;

-- What is seen of the server at this moment: here no dispatcher delivers, and nobody runs maintain().
SELECT pg_temp.only('dispatcher_missing', 'maintenance_late', 'maintenance_failing');
UPDATE webhook_outbox.maintenance_step SET last_started_at = now();
SELECT state, severity, rule, message, incident_id FROM webhook_outbox.alert;
UPDATE webhook_outbox.alert_rule SET threshold = 0 WHERE name = 'maintenance_late';
UPDATE webhook_outbox.maintenance_step SET last_started_at = now() - interval '11 min';
UPDATE webhook_outbox.claim SET claimed_at = now() - interval '1 day';
SELECT state, severity, rule, message, look FROM webhook_outbox.alert WHERE rule = 'dispatcher_missing';
SELECT state, value > 0 AS is_late, since < now() AS is_since_then FROM webhook_outbox.alert WHERE rule = 'maintenance_late';
UPDATE webhook_outbox.maintenance_step SET failures = 1 WHERE step = 'alerts';
SELECT state, value, message FROM webhook_outbox.alert WHERE rule = 'maintenance_failing';
SELECT webhook_outbox.evaluate_alerts(now());
SELECT state, rule, evaluated_at = now() AS is_now FROM webhook_outbox.alert WHERE rule = 'dispatcher_missing';

-- Of a severity what is wrong with the server comes first, however long something has been wrong with an endpoint.
SAVEPOINT before;
INSERT INTO webhook_outbox.alert_state (rule, subject_key, state, scope, subject, severity, since, samples, message, evaluated_at)
  SELECT v.rule, 'crm', 'firing', 'endpoint', 'crm', v.severity, now() - interval '2 days', 10, '', now()
  FROM (VALUES ('budget_burn_fast', 'critical'), ('dead_letters', 'warning')) v (rule, severity);
UPDATE webhook_outbox.alert_state SET state = 'firing' WHERE rule = 'dispatcher_missing';
SELECT severity, scope, rule FROM webhook_outbox.alert WHERE state = 'firing';
ROLLBACK TO before;

-- Retention.
INSERT INTO webhook_outbox.alert_history (at, rule, state, severity, scope, subject, subject_key, since, samples, message)
  SELECT now() - interval '500 days', 'old', 'firing', 'info', 'overall', '', '', now(), 0, '';
SELECT webhook_outbox.forget_alerts();
SELECT webhook_outbox.run_alerts() >= 0 AS is_run;
ROLLBACK;
DROP EXTENSION webhook_outbox;
