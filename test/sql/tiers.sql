-- Tiers: what their objectives may be, and that a change reaches the endpoints.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;

UPDATE webhook_outbox.tier SET success_objective = 100 WHERE tier = 1;
UPDATE webhook_outbox.tier SET success_objective = 99.99999 WHERE tier = 1;
UPDATE webhook_outbox.tier SET success_objective = 0 WHERE tier = 1;
UPDATE webhook_outbox.tier SET success_objective = 'NaN' WHERE tier = 1;
UPDATE webhook_outbox.tier SET latency_objective = '9 ms' WHERE tier = 1;
UPDATE webhook_outbox.tier SET latency_objective = '31 days' WHERE tier = 1;
UPDATE webhook_outbox.tier SET name = ' spaced' WHERE tier = 1;
INSERT INTO webhook_outbox.tier VALUES (10, 'least', 50, '1 day');
INSERT INTO webhook_outbox.tier VALUES (4, 'perfect', 100, '1 day');
INSERT INTO webhook_outbox.tier VALUES (2, 'standard', 100, '10 minutes');
INSERT INTO webhook_outbox.tier VALUES (4, 'laboratory', NULL, '1 day');
INSERT INTO webhook_outbox.tier VALUES (4, 'laboratory', 0.0001, '10 ms'), (9, 'archive', 99.9999, '30 days');
SELECT * FROM webhook_outbox.tier ORDER BY tier;
DELETE FROM webhook_outbox.tier WHERE tier IN (4, 9);

-- The dispatcher hears of endpoints that a changed latency objective is about, and of no others.
SELECT webhook_outbox.create_endpoint('of the tier', 'https://example.com/a') IS NOT NULL AS is_made;
SELECT webhook_outbox.create_endpoint('has its own', 'https://example.com/b') IS NOT NULL AS is_made;
SELECT webhook_outbox.create_endpoint('other tier', 'https://example.com/c', tier => 3) IS NOT NULL AS is_made;
UPDATE webhook_outbox.endpoint SET latency_objective = '1 minute' WHERE name = 'has its own';
BEGIN;
UPDATE webhook_outbox.tier SET success_objective = 99 WHERE tier = 2;
SELECT name, is_deleted FROM webhook_outbox.endpoint_change WHERE xid = pg_current_xact_id();
UPDATE webhook_outbox.tier SET latency_objective = '1 second' WHERE tier = 2;
SELECT name, is_deleted FROM webhook_outbox.endpoint_change WHERE xid = pg_current_xact_id();
ROLLBACK;

DROP EXTENSION webhook_outbox;
