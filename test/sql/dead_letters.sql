-- Sending again, discarding, replaying, cancelling: what the functions leave for the dispatcher, and what they refuse. No
-- worker takes part: the test writes what the dispatcher would, in a transaction that it rolls back.
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/', '{order.*}');
SELECT name FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/', '{user.*}', tenant => 'acme');
SELECT name FROM webhook_outbox.create_endpoint('gone', 'https://gone.example.com/', '{order.*}');
SELECT endpoint_id AS billing_id FROM webhook_outbox.endpoint WHERE name = 'billing' \gset
SELECT endpoint_id AS gone_id FROM webhook_outbox.endpoint WHERE name = 'gone' \gset
SELECT webhook_outbox.publish('order.created', '1') AS first \gset
SELECT webhook_outbox.publish('order.paid', '2') AS second \gset
SELECT webhook_outbox.publish('user.created', '3', tenant => 'acme') AS third \gset
DELETE FROM webhook_outbox.endpoint WHERE name = 'gone';

CREATE FUNCTION pg_temp.give_up(p_event_id uuid, p_endpoint_id bigint, p_reason text, p_age interval) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, tenant, reason, attempts, created_at)
  SELECT e.id, p_endpoint_id, coalesce((SELECT name FROM webhook_outbox.endpoint WHERE endpoint_id = p_endpoint_id), 'gone'),
         e.type, e.tenant, p_reason, 10, now() - p_age
  FROM webhook_outbox.event e WHERE e.id = p_event_id;
$$;
CREATE TEMP VIEW asked AS
  SELECT c.kind, c.origin, e.type, p.name AS endpoint, extract(epoch FROM c.due_at - min(c.due_at) OVER ())::int AS after_s
  FROM webhook_outbox.command c LEFT JOIN webhook_outbox.event e ON e.id = c.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = c.endpoint_id ORDER BY c.command_id;
CREATE TEMP VIEW letters AS
  SELECT endpoint_name, event_type, reason FROM webhook_outbox.dead_letter ORDER BY endpoint_name, event_id;
SELECT pg_temp.give_up(:'first', :billing_id, 'attempts_exhausted', '2 days'),
       pg_temp.give_up(:'second', :billing_id, 'attempts_exhausted', '1 day'),
       pg_temp.give_up(:'first', :gone_id, 'endpoint_deleted', '1 day');
SELECT old_snapshot AS before FROM webhook_outbox.cursor \gset
UPDATE webhook_outbox.cursor SET (old_snapshot, new_snapshot) =
  (SELECT s, s FROM format('%1$s:%1$s:', pg_current_xact_id()::text::bigint + 1) f, CAST(f AS pg_snapshot) s);

-- One.
SAVEPOINT s;
SELECT webhook_outbox.redeliver(:'first', 'billing');
TABLE asked;
TABLE letters;
SELECT event_type, endpoint_name, state FROM webhook_outbox.delivery_status WHERE endpoint_name IS NOT NULL ORDER BY event_id, 2;
SELECT webhook_outbox.redeliver_dead_letters('billing', 'order.created') AS a_second_time;
ROLLBACK TO s;

-- Many, spread over time; filters; what cannot be sent again stays and is said.
SELECT webhook_outbox.redeliver_dead_letters(max_per_second => 0.1);
TABLE asked;
TABLE letters;
ROLLBACK TO s;
SELECT webhook_outbox.redeliver_dead_letters('billing', type => 'order.*', since => now() - interval '36 h', until => now());
TABLE asked;
ROLLBACK TO s;
SELECT webhook_outbox.redeliver_dead_letters(type => 'user.*'), webhook_outbox.redeliver_dead_letters('crm');
SELECT webhook_outbox.discard(:'first', 'billing');
TABLE letters;
SELECT webhook_outbox.discard(:'first', 'gone');
TABLE letters;
ROLLBACK TO s;
SELECT webhook_outbox.discard_dead_letters('gone');
SELECT webhook_outbox.discard_dead_letters(until => now() - interval '36 h');
TABLE letters;
SELECT webhook_outbox.discard_dead_letters();
TABLE letters;
ROLLBACK TO s;

-- Refused.
SELECT webhook_outbox.redeliver(:'first', 'nobody');
SELECT webhook_outbox.redeliver(:'first', 'gone');
SELECT webhook_outbox.redeliver('01900000-0000-7000-8000-000000000000', 'billing');
SELECT webhook_outbox.redeliver(NULL, 'billing');
SELECT webhook_outbox.redeliver_dead_letters('gone');
SELECT webhook_outbox.redeliver_dead_letters('nobody');
SELECT webhook_outbox.redeliver_dead_letters(type => 'order.*.paid');
SELECT webhook_outbox.redeliver_dead_letters(max_per_second => 0);
SELECT webhook_outbox.redeliver_dead_letters(since => '2020-01-02 00:00 UTC', until => '2020-01-01 00:00 UTC');
SELECT webhook_outbox.discard_dead_letters('nobody');
SELECT webhook_outbox.discard('01900000-0000-7000-8000-000000000000', 'billing');
SELECT webhook_outbox.discard(NULL, NULL);

-- Replay: what matches and is not on its way; dead letters among it are sent again with it.
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, outcome)
VALUES (:'second', :billing_id, 11, 200, 0, now(), 'delivered');
DELETE FROM webhook_outbox.dead_letter WHERE event_id = :'second';
SELECT webhook_outbox.replay('billing', now() - interval '1 hour', max_per_second => 1);
TABLE asked;
TABLE letters;
SELECT webhook_outbox.replay('billing', '-infinity') AS on_its_way_already;
ROLLBACK TO s;
SELECT webhook_outbox.replay('billing', '-infinity', event_types => '{order.paid,user.*}');
TABLE asked;
ROLLBACK TO s;
SELECT webhook_outbox.replay('crm', '-infinity', 'infinity', '{*}') AS of_its_tenant;
ROLLBACK TO s;
SELECT webhook_outbox.replay('crm', now() + interval '1 minute') AS later, webhook_outbox.replay('crm', '-infinity', '2020-01-01') AS earlier;
SELECT webhook_outbox.replay('nobody', '-infinity');
SELECT webhook_outbox.replay('crm', NULL);
SELECT webhook_outbox.replay('crm', '-infinity', event_types => '{}');
SELECT webhook_outbox.replay('crm', '2020-01-02 00:00 UTC', '2020-01-01 00:00 UTC');

-- Retry now: what waits for a retry, and nothing else; spread over time.
SAVEPOINT t;
INSERT INTO webhook_outbox.delivery (event_id, endpoint_id, state, next_attempt_at, attempts) VALUES
  (:'first', :billing_id, 'retrying', now() + interval '2 hours', 1),
  (:'second', :billing_id, 'retrying', now() + interval '1 hour', 1),
  (:'third', :billing_id, 'retrying', now() - interval '1 hour', 1),
  (:'first', :gone_id, 'retrying', now() + interval '1 hour', 1);
SELECT webhook_outbox.retry_now('billing', max_per_second => 0.1);
TABLE asked;
SELECT event_type, endpoint_name, state FROM webhook_outbox.delivery_status WHERE endpoint_name = 'billing' ORDER BY event_id;
UPDATE webhook_outbox.delivery SET state = 'parked' WHERE event_id = :'first';
UPDATE webhook_outbox.delivery SET state = 'cancelled' WHERE event_id = :'second';
SELECT webhook_outbox.retry_now('billing'), webhook_outbox.retry_now('crm');
UPDATE webhook_outbox.delivery SET state = 'retrying' WHERE event_id = :'first';
SELECT webhook_outbox.pause_endpoint('billing');
SELECT webhook_outbox.retry_now('billing');
SELECT webhook_outbox.retry_now('nobody');
SELECT webhook_outbox.retry_now(NULL);
SELECT webhook_outbox.retry_now('billing', 0);
ROLLBACK TO t;

-- Whatever is to be sent to an endpoint that is paused waits, and who asks for it is told.
SELECT webhook_outbox.pause_endpoint('billing');
UPDATE webhook_outbox.endpoint SET enabled = false, disabled_reason = 'it answered HTTP 410', disabled_at = now() WHERE name = 'crm';
DELETE FROM webhook_outbox.dead_letter;
INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, reason, attempts, created_at)
SELECT e.id, p.endpoint_id, p.name, e.type, 'attempts_exhausted', 1, now()
FROM webhook_outbox.event e, webhook_outbox.endpoint p WHERE e.id IN (:'first', :'second') AND p.name IN ('billing', 'crm');
SELECT webhook_outbox.redeliver(:'first', 'billing');
SELECT webhook_outbox.redeliver_dead_letters('crm'), webhook_outbox.redeliver_dead_letters('crm') AS nothing_waits;
SELECT webhook_outbox.redeliver_dead_letters() AS to_whom_is_not_said;
DELETE FROM webhook_outbox.command;
SELECT webhook_outbox.replay('billing', '-infinity') > 0 AS is_sent;
ROLLBACK TO t;

-- Cancel: what is pending or retrying.
SELECT webhook_outbox.cancel(:'first') AS nothing_to_cancel;
INSERT INTO webhook_outbox.delivery (event_id, endpoint_id, state, next_attempt_at) VALUES (:'second', :billing_id, 'parked', now());
DELETE FROM webhook_outbox.dead_letter WHERE event_id = :'second';
SELECT webhook_outbox.cancel(:'second', 'crm') AS crm, webhook_outbox.cancel(:'second', 'billing') AS billing,
       webhook_outbox.cancel(:'second') AS all;
TABLE asked;
UPDATE webhook_outbox.delivery SET state = 'cancelled', next_attempt_at = 'infinity';
SELECT webhook_outbox.redeliver(:'second', 'billing') AS cancelled;
SELECT event_type, endpoint_name, state FROM webhook_outbox.delivery_status WHERE event_id = :'second';
SELECT webhook_outbox.cancel('01900000-0000-7000-8000-000000000000');
SELECT webhook_outbox.cancel(:'second', 'nobody');

UPDATE webhook_outbox.cursor SET old_snapshot = :'before', new_snapshot = :'before';

-- A test event goes to one endpoint alone, whatever it subscribed to.
SELECT webhook_outbox.send_test('crm') IS NOT NULL AS is_sent;
SELECT type, tenant, payload FROM webhook_outbox.event WHERE endpoint_id IS NOT NULL;
SELECT endpoint_name, state FROM webhook_outbox.delivery_status WHERE event_type = 'webhook_outbox.test';
SELECT webhook_outbox.pause_endpoint('crm');
SELECT webhook_outbox.send_test('crm') IS NOT NULL AS is_sent;
SELECT webhook_outbox.send_test('nobody');
ROLLBACK;
DROP EXTENSION webhook_outbox;
