-- The views, in each state that an event and a delivery can be in. No worker takes part: the test writes what the
-- dispatcher would, in a transaction that it rolls back.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('all', 'https://all.example.com/');
SELECT name FROM webhook_outbox.create_endpoint('orders', 'https://orders.example.com/', '{order.*}', max_in_flight => 1);
SELECT name FROM webhook_outbox.create_endpoint('acme', 'https://acme.example.com/', tenant => 'acme', enabled => false);
SELECT endpoint_id AS all_id FROM webhook_outbox.endpoint WHERE name = 'all' \gset
SELECT endpoint_id AS orders_id FROM webhook_outbox.endpoint WHERE name = 'orders' \gset
SELECT endpoint_id AS acme_id FROM webhook_outbox.endpoint WHERE name = 'acme' \gset

CREATE TEMP VIEW deliveries AS
  SELECT event_type, tenant, endpoint_name, state, attempts, last_status, last_error,
         next_attempt_at IS NOT NULL AS has_next, last_attempt_at IS NOT NULL AS has_last
  FROM webhook_outbox.delivery_status ORDER BY event_id, endpoint_name;
CREATE TEMP VIEW events AS
  SELECT event_type, state, endpoints, pending, retrying, delivered, dead, cancelled, attempts
  FROM webhook_outbox.event_status ORDER BY event_id;
CREATE TEMP VIEW endpoints AS
  SELECT name, state, pending, retrying, dead_letters AS dead, next_attempt_at IS NOT NULL AS has_next,
         waiting_since IS NOT NULL AS waits, last_success_at IS NOT NULL AS succeeded, last_failure_status, last_error
  FROM webhook_outbox.endpoint_status ORDER BY name;

-- Nothing yet.
TABLE deliveries;
TABLE events;
TABLE endpoints;
SELECT new_events, parked, retrying, due_now, waiting_since, commands, dead_letters FROM webhook_outbox.queue_status;

-- Inserted: owed to all that match.
SELECT webhook_outbox.publish('order.created', '1') AS order_id \gset
SELECT webhook_outbox.publish('user.created', '2', tenant => 'acme') AS user_id \gset
SELECT webhook_outbox.publish('nobody.told', '3', tenant => 'other') AS other_id \gset
UPDATE webhook_outbox.endpoint SET event_types = '{order.*,user.*}' WHERE name = 'all';
TABLE deliveries;
TABLE events;
TABLE endpoints;
SELECT new_events, parked, retrying, due_now, waiting_since IS NOT NULL AS waits FROM webhook_outbox.queue_status;

-- The cursor passed them: delivered, failed and to be retried, waiting for a paused endpoint.
UPDATE webhook_outbox.cursor SET (old_snapshot, new_snapshot) =
  (SELECT s, s FROM format('%1$s:%1$s:', pg_current_xact_id()::text::bigint + 1) f, CAST(f AS pg_snapshot) s);
TABLE deliveries;
-- what this transaction writes is in no rollup yet, whatever a dispatcher that starts meanwhile thinks
UPDATE webhook_outbox.open_rollup SET since_xid = pg_current_xact_id();
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, next_attempt_at, outcome, error)
VALUES (:'order_id', :all_id, 1, 200, 0, now(), NULL, 'delivered', NULL),
       (:'order_id', :orders_id, 1, 503, 0, now(), now() + '5 s', 'http_error', 'HTTP 503'),
       (:'user_id', :all_id, 1, NULL, 1, now(), now() + '5 s', 'timeout', 'no answer after 15.0 s'),
       (:'user_id', :all_id, 2, 204, 1, now() + '5 s', NULL, 'delivered', NULL);
INSERT INTO webhook_outbox.delivery (event_id, endpoint_id, state, next_attempt_at, attempts, last_attempt_at)
VALUES (:'order_id', :orders_id, 'retrying', now() + '1 hour', 1, now()),
       (:'user_id', :acme_id, 'parked', now(), 0, NULL);
TABLE deliveries;
TABLE events;
TABLE endpoints;
SELECT new_events, parked, retrying, due_now, waiting_since IS NOT NULL AS waits FROM webhook_outbox.queue_status;

-- Given up, and cancelled.
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, outcome, error)
VALUES (:'order_id', :orders_id, 2, 500, 1, now() + '5 s', 'http_error', 'HTTP 500');
DELETE FROM webhook_outbox.delivery WHERE state = 'retrying';
INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, reason, attempts, first_attempt_at,
  last_attempt_at, last_outcome, last_status, last_error, created_at)
VALUES (:'order_id', :orders_id, 'orders', 'order.created', 'attempts_exhausted', 2, now(), now() + '5 s', 'http_error', 500,
  'HTTP 500', now());
UPDATE webhook_outbox.delivery SET state = 'cancelled', next_attempt_at = 'infinity';
TABLE deliveries;
TABLE events;
TABLE endpoints;
SELECT new_events, parked, retrying, dead_letters FROM webhook_outbox.queue_status;

-- A discarded dead letter leaves the delivery dead; a deleted endpoint keeps its history.
SELECT webhook_outbox.discard_dead_letters('orders');
DELETE FROM webhook_outbox.endpoint WHERE name = 'all';
TABLE deliveries;

-- Events pass out of retention before the attempts do.
DELETE FROM webhook_outbox.event_0 WHERE type = 'order.created';
SELECT event_type, endpoint_name, state, created_at FROM webhook_outbox.delivery_status WHERE event_id = :'order_id';

-- One event is found by index, in every branch and leaf.
SET LOCAL enable_seqscan = off;
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END
$$;
SELECT count(*) > 0 AS has_index_scans, count(*) FILTER (WHERE p ~ 'Seq Scan on (event|attempt|delivery|dead)') AS seq_scans,
       count(*) FILTER (WHERE p ~ 'Seq Scan on command|command_event( |$)') AS wide_scans_of_commands
FROM pg_temp.plan(format('SELECT * FROM webhook_outbox.delivery_status WHERE event_id = %L', :'order_id')) p WHERE p ~ 'Scan';
-- One state reads no other branch.
SELECT count(*) AS scans_of_attempt
FROM pg_temp.plan($$SELECT event_id FROM webhook_outbox.delivery_status WHERE state = 'dead' AND endpoint_name = 'orders'$$) p
WHERE p ~ 'delivered';

-- The name of a database is no longer than it is, byte by byte.
SELECT process, record_image_eq(ROW(database), ROW(current_database())) AS is_same
FROM webhook_outbox.worker_status WHERE database = current_database() ORDER BY 1;
ROLLBACK;
DROP EXTENSION webhook_outbox;
