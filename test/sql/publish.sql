-- Publishing: INSERT, COPY and publish(), what the server sets, what it refuses.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;

-- One row, several rows, from a query, by COPY, by function.
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{"order_id": 1}') RETURNING id IS NOT NULL AS has_id;
INSERT INTO webhook_outbox.event (type, payload, tenant, source, headers)
  VALUES ('order.paid', '{"order_id": 1}', 'acme', 'shop', '{"X-Region": "eu"}'),
         ('order.shipped', '[1, 2]', NULL, NULL, NULL);
INSERT INTO webhook_outbox.event (type, payload)
  SELECT 'number.next', to_json(i) FROM generate_series(1, 3) i;
COPY webhook_outbox.event (type, payload) FROM stdin;
order.copied	{"order_id": 2}
order.copied	{"order_id": 3}
\.
SELECT webhook_outbox.publish('order.created', '{"order_id": 4}') IS NOT NULL AS has_id;
SELECT webhook_outbox.publish(type => 'order.created', payload => '{"order_id": 5}', tenant => 'acme',
  source => 'shop', headers => '{"X-Region": "us"}') IS NOT NULL AS has_id;
SELECT type, tenant, source, headers, payload FROM webhook_outbox.event ORDER BY id;

-- Ids are UUIDs of version 7 and rise with the order of insertion; the payload keeps its bytes.
SELECT bool_and(substr(id::text, 15, 1) = '7') AS is_v7, count(DISTINCT id) AS ids,
       bool_and(xid::text::bigint > 0) AS has_xid, max(abs(extract(epoch FROM created_at - now()))) < 600 AS is_now
FROM webhook_outbox.event;
SELECT array_agg(payload::text ORDER BY id) FROM webhook_outbox.event WHERE type = 'number.next';
INSERT INTO webhook_outbox.event (type, payload) VALUES ('bytes.kept', ' {"b":1, "a" : 1.50, "a": "\u0041" } ');
SELECT '<' || payload || '>' AS payload FROM webhook_outbox.event WHERE type = 'bytes.kept';

-- What the server sets cannot be chosen; what rolls back is not there, savepoints too.
INSERT INTO webhook_outbox.event (id, type, payload, created_at)
  VALUES ('00000000-0000-0000-0000-000000000000', 'id.chosen', '{}', '1999-01-01');
SELECT id = '00000000-0000-0000-0000-000000000000' AS id_kept, created_at < '2000-01-01' AS created_at_kept
FROM webhook_outbox.event WHERE type = 'id.chosen';
BEGIN;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('one.kept', '1');
SAVEPOINT s;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('one.lost', '2');
ROLLBACK TO s;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('one.kept', '3');
COMMIT;
SELECT payload, xid = max(xid) OVER () AS one_xid FROM webhook_outbox.event WHERE type LIKE 'one.%' ORDER BY id;

-- An operation_id makes publishing idempotent, per tenant.
SELECT webhook_outbox.publish('order.created', '{"try": 1}', operation_id => 'op-1') AS first \gset
SELECT webhook_outbox.publish('order.created', '{"try": 2}', operation_id => 'op-1') = :'first' AS is_first;
SELECT webhook_outbox.publish('order.created', '{"try": 3}', operation_id => 'op-1', tenant => 'acme') = :'first' AS is_first;
INSERT INTO webhook_outbox.event (type, payload, operation_id) VALUES ('order.created', '{"try": 4}', 'op-1') RETURNING id;
BEGIN;
SELECT webhook_outbox.publish('order.created', '{"try": 5}', operation_id => 'op-2') AS second \gset
SELECT webhook_outbox.publish('order.created', '{"try": 6}', operation_id => 'op-2') = :'second' AS is_first;
ROLLBACK;
SELECT webhook_outbox.find_operation(NULL, 'op-2') AS rolled_back;
INSERT INTO webhook_outbox.event (type, payload, operation_id)
  VALUES ('order.created', '{"try": 7}', 'op-3'), ('order.created', '{"try": 8}', 'op-3');
SELECT payload, tenant, operation_id FROM webhook_outbox.event WHERE operation_id IS NOT NULL ORDER BY id;

-- Events stay as they are.
UPDATE webhook_outbox.event SET payload = '{}';
DELETE FROM webhook_outbox.event;
TRUNCATE webhook_outbox.event;
CREATE TABLE of_others (n integer);
ALTER TABLE of_others SET UNLOGGED;
ALTER TABLE webhook_outbox.event_0 SET UNLOGGED;
ALTER TABLE webhook_outbox.delivery ADD COLUMN note text, SET UNLOGGED;
DROP EXTENSION webhook_outbox;
ALTER TABLE of_others SET LOGGED;
ALTER TABLE of_others SET UNLOGGED;
DROP TABLE of_others;
