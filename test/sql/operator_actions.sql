-- Who did what is on record: written in the transaction of whoever does it, shown where a person looks, kept for a time. No
-- worker takes part: the test writes what the dispatcher would, in a transaction that it rolls back.
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
CREATE ROLE regress_wo_ann;
CREATE ROLE regress_wo_bob;
CREATE ROLE regress_wo_app;
GRANT regress_wo_ann, regress_wo_bob TO regress_wo_app;
SELECT webhook_outbox.grant_operator('regress_wo_ann'), webhook_outbox.grant_operator('regress_wo_bob');
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/');
SELECT name FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/');
SELECT endpoint_id AS billing_id FROM webhook_outbox.endpoint WHERE name = 'billing' \gset
SELECT endpoint_id AS crm_id FROM webhook_outbox.endpoint WHERE name = 'crm' \gset
SELECT webhook_outbox.publish('order.created', '1') AS first \gset
SELECT webhook_outbox.publish('order.paid', '2') AS second \gset
UPDATE webhook_outbox.cursor SET (old_snapshot, new_snapshot) =
  (SELECT s, s FROM format('%1$s:%1$s:', pg_current_xact_id()::text::bigint + 1) f, CAST(f AS pg_snapshot) s);
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, outcome)
SELECT v.id::uuid, p.endpoint_id, 1, 500, 0, clock_timestamp(), 'http_error'
FROM (VALUES (:'first'), (:'second')) v (id), webhook_outbox.endpoint p;
INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, reason, attempts, created_at)
SELECT e.id, p.endpoint_id, p.name, e.type, 'attempts_exhausted', 1, now() FROM webhook_outbox.event e, webhook_outbox.endpoint p;
CREATE TEMP VIEW actions AS
  SELECT o.by_whom, o.action, o.endpoint_id, o.endpoint_name, e.type, o.deliveries,
         o.at BETWEEN now() AND clock_timestamp() AS is_recent
  FROM webhook_outbox.operator_action o LEFT JOIN webhook_outbox.event e ON e.id = o.event_id ORDER BY o.action_id;
GRANT SELECT ON actions TO PUBLIC;
CREATE FUNCTION pg_temp.explain(p_id uuid) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT regexp_replace(regexp_replace(l, '[0-9a-f]{8}-[0-9a-f-]{27}', '<id>', 'g'), ' at \S+ \S+ \S+ \S+ \d+ \S+ \((?:\d+ s ago|now)\)', ' just now')
  FROM webhook_outbox.explain_event(p_id) l;
$$;
SELECT count(*) FROM webhook_outbox.operator_action;

-- Each action, by a function or by hand; not one that does nothing.
SET LOCAL SESSION AUTHORIZATION regress_wo_ann;
SELECT webhook_outbox.pause_endpoint('billing');
SELECT webhook_outbox.pause_endpoint('billing');
SELECT name, state, paused_by, paused_at BETWEEN now() AND clock_timestamp() AS is_recent FROM webhook_outbox.endpoint_status ORDER BY name;
SELECT webhook_outbox.discard(:'first', 'billing');
SELECT webhook_outbox.redeliver(:'second', 'billing');
SELECT webhook_outbox.cancel(:'second');
SELECT webhook_outbox.cancel(:'second', 'billing');
SELECT webhook_outbox.cancel(:'first') AS nothing_to_cancel;
SELECT webhook_outbox.retry_now('billing') AS nothing_to_retry;
SELECT pg_temp.explain(:'second') OFFSET 2;
SET LOCAL SESSION AUTHORIZATION regress_wo_bob;
SELECT webhook_outbox.redeliver_dead_letters('crm', 'order.paid');
SELECT webhook_outbox.discard_dead_letters();
SELECT webhook_outbox.replay('crm', '-infinity', event_types => '{order.created}');
UPDATE webhook_outbox.endpoint SET enabled = NOT enabled;
SELECT name, state, paused_by FROM webhook_outbox.endpoint_status ORDER BY name;
DELETE FROM webhook_outbox.endpoint WHERE name = 'billing';
SET CONSTRAINTS ALL IMMEDIATE;
TABLE actions;
INSERT INTO webhook_outbox.operator_action (action, by_whom) VALUES ('pause', 'regress_wo_ann');
DELETE FROM webhook_outbox.operator_action;
RESET SESSION AUTHORIZATION;
DELETE FROM webhook_outbox.command;
SELECT pg_temp.explain(:'first') OFFSET 2;

-- Who shares a login is told apart by SET ROLE; who the login is stays on record.
SAVEPOINT s;
INSERT INTO webhook_outbox.incident_record (scope, subject_key, subject, began_at, opened_at, last_firing_at)
  VALUES ('endpoint', :crm_id, 'crm', now(), now(), now()) RETURNING incident_id AS incident \gset
UPDATE webhook_outbox.endpoint SET enabled = true;
DELETE FROM webhook_outbox.operator_action;
SET LOCAL SESSION AUTHORIZATION regress_wo_app;
SET LOCAL ROLE regress_wo_bob;
SELECT webhook_outbox.pause_endpoint('crm');
SELECT name, state, paused_by FROM webhook_outbox.endpoint_status;
SELECT webhook_outbox.redeliver(:'first', 'crm');
SELECT webhook_outbox.silence_alert(NULL, 'crm', now() + interval '1 hour', 'they move') > 0 AS is_silenced;
SELECT webhook_outbox.acknowledge_incident(:incident, 'looked at it');
SET LOCAL ROLE regress_wo_ann;
SELECT webhook_outbox.note_incident(:incident, 'they have moved');
SELECT webhook_outbox.resume_endpoint('crm');
SET LOCAL ROLE regress_wo_app;
UPDATE webhook_outbox.endpoint SET enabled = false WHERE name = 'crm';
SET LOCAL ROLE NONE;
SELECT webhook_outbox.close_incident(:incident);
UPDATE webhook_outbox.endpoint SET enabled = true WHERE name = 'crm';
SELECT by_whom, action, endpoint_name FROM actions;
SELECT created_by FROM webhook_outbox.alert_silence;
SELECT acknowledged_by FROM webhook_outbox.incident;
SELECT by_whom, kind, note FROM webhook_outbox.incident_event ORDER BY incident_event_id;
SELECT pg_temp.explain(:'first') OFFSET 4;
ROLLBACK TO s;

-- HTTP 410 is nobody's doing.
UPDATE webhook_outbox.endpoint SET enabled = true;
UPDATE webhook_outbox.endpoint SET enabled = false, disabled_reason = 'it answered HTTP 410', disabled_at = now();
SELECT name, state, paused_by, last_error FROM webhook_outbox.endpoint_status;
SELECT action FROM webhook_outbox.operator_action ORDER BY action_id DESC LIMIT 1;

-- What concerns one event is forgotten with its attempts, the rest later.
UPDATE webhook_outbox.operator_action SET at = at - interval '31 days';
SELECT rows, error FROM webhook_outbox.maintain('action_retention');
SELECT action, event_id IS NULL AS is_of_many FROM webhook_outbox.operator_action ORDER BY action_id;
UPDATE webhook_outbox.operator_action SET at = at - interval '370 days' WHERE action <> 'replay';
SELECT rows, error FROM webhook_outbox.maintain('action_retention');
SELECT action FROM webhook_outbox.operator_action ORDER BY action_id;
ROLLBACK;
DROP EXTENSION webhook_outbox;
DROP OWNED BY regress_wo_ann, regress_wo_bob, regress_wo_app;
DROP ROLE regress_wo_ann, regress_wo_bob, regress_wo_app;
