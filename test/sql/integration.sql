-- integration and integration_gap: the map of who tells whom what. No worker takes part: the test writes series and
-- rollups as the dispatcher would.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SET search_path = webhook_outbox, public;

-- Nothing yet: no rows, no errors.
TABLE integration;
TABLE integration_gap;
SELECT sample_events();

SELECT name FROM create_endpoint('billing', 'https://billing.example.com/', '{order.*}', tier => 1, owner => 'finance') UNION ALL
SELECT name FROM create_endpoint('crm', 'https://crm.example.com/', '{order.created,customer.*,odrer.paid}') UNION ALL
SELECT name FROM create_endpoint('audit', 'https://audit.example.com/', '{order.*,customer.created}', tier => 3, owner => ' ') UNION ALL
SELECT name FROM create_endpoint('forgotten', 'https://forgotten.example.com/', '{old.*}', tenant => 'acme', owner => 'ops');
UPDATE endpoint SET created_at = now() - interval '60 days';

CREATE FUNCTION pg_temp.fill(id integer, endpoint text, event_type text, tenant text, source text, days integer, n integer, dead integer)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.series (series_id, endpoint_id, event_type, tenant, source, first_seen_at)
    SELECT id, coalesce((SELECT p.endpoint_id FROM webhook_outbox.endpoint p WHERE p.name = endpoint), 0), event_type, tenant, source,
           now() - interval '1200 hours';
  INSERT INTO webhook_outbox.series_rollup
    (bucket, resolution, series_id, attempts, failures, retries, delivered, late, dead, retried, redelivered,
     latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, latency, http)
  SELECT date_trunc('day', now(), 'UTC') - make_interval(hours => 24 * days), 1440, id, n, dead, 0,
         CASE WHEN endpoint IS NULL THEN 0 ELSE n - dead END, 0, dead, 0, 0, 0, 0, 0, 0, h, h
  FROM (SELECT webhook_outbox.histogram(NULL) AS h) e
$$;
-- days that ended are read from their rows
UPDATE rollup_watermark SET day_until = date_trunc('day', now(), 'UTC');
SELECT count(pg_temp.fill(id, endpoint, event_type, tenant, source, days, n, dead))
FROM (VALUES (1, 'billing', 'order.created', 'acme', 'shop', 3, 5000, 5), (2, 'billing', 'order.created', 'zenith', 'shop', 4, 1000, 0),
             (3, 'crm', 'order.created', 'acme', 'shop', 3, 3000, 30), (4, 'crm', 'customer.created', NULL, NULL, 2, 999, 0),
             (5, 'audit', 'order.created', 'acme', 'shop', 40, 77, 0), (6, NULL, 'parcel.lost', 'acme', 'depot', 5, 12, 0),
             (7, NULL, 'order.created', 'acme', 'shop', 5, 3, 0), (8, 'audit', 'customer.created', NULL, NULL, 2, 1, 0))
  f (id, endpoint, event_type, tenant, source, days, n, dead);
INSERT INTO series_rollup
  SELECT (jsonb_populate_record(r, jsonb_build_object('bucket', date_trunc('minute', now()), 'resolution', 1))).*
  FROM series_rollup r WHERE r.series_id = 8;

SELECT source, event_type, endpoint, tier_name, owner, tenants, deliveries_24h AS d24h, deliveries_30d AS d30d, round(share::numeric, 1) AS share,
       round(success_rate::numeric, 2) AS success, criticality, reason
FROM integration ORDER BY tier, share DESC, endpoint, event_type;
SELECT endpoint, event_type, first_seen_at < now() - interval '1100 hours' AS first,
       (now() AT TIME ZONE 'UTC')::date - (last_seen_at AT TIME ZONE 'UTC')::date AS last_days_ago
FROM integration ORDER BY 1, 2;
-- 30 days are as long for every reader: here the clocks went forward two weeks ago
BEGIN;
INSERT INTO series_rollup
  SELECT (jsonb_populate_record(r, jsonb_build_object('bucket', date_trunc('hour', now() - interval '720 hours', 'UTC'), 'resolution', 60))).*
  FROM series_rollup r WHERE r.series_id = 1;
SET LOCAL TimeZone = 'UTC';
CREATE TEMP TABLE utc AS TABLE integration;
SELECT count(*) > 0 AS is_set FROM set_config('TimeZone', format('AAA0BBB,J%s,J%s',
  extract(doy FROM date '2026-01-01' + (extract(doy FROM now()) + 350)::integer % 365),
  extract(doy FROM date '2026-01-01' + (extract(doy FROM now()) + 150)::integer % 365)), true);
SELECT extract(epoch FROM now()) - extract(epoch FROM now() - interval '30 days') <> 720 * 3600 AS is_odd, sum(u.deliveries_30d) AS utc, sum(i.deliveries_30d) AS here
FROM utc u JOIN integration i ON i.endpoint_id = u.endpoint_id AND i.event_type = u.event_type AND i.source IS NOT DISTINCT FROM u.source;
ROLLBACK;
SELECT gap, subject, detail, what_to_do FROM integration_gap ORDER BY gap, subject;
-- what is put right is gone
UPDATE endpoint SET owner = 'sales', tier = 1, event_types = '{order.created,customer.*,parcel.*}' WHERE name = 'crm';
UPDATE endpoint SET owner = 'ops' WHERE name = 'audit';
DELETE FROM endpoint WHERE name = 'forgotten';
SELECT gap, subject FROM integration_gap ORDER BY gap, subject;
-- where types cannot be told apart, none is said to be missing
UPDATE endpoint SET event_types = '{order.created,odrer.paid}' WHERE name = 'crm';
SELECT gap, subject FROM integration_gap WHERE gap = 'pattern without events';
SELECT pg_temp.fill(9, 'crm', '(other)', NULL, NULL, 1, 1, 0);
SELECT gap, subject FROM integration_gap WHERE gap = 'pattern without events';

-- What payloads look like: keys of objects, sizes, nothing else.
INSERT INTO event (type, source, payload) VALUES
  ('order.created', 'shop', '{"order_id": 1, "total": 9.5, "secret": "hidden-value"}'),
  ('order.created', 'shop', '{"order_id": 2, "note": {"inner_key": 1}}'),
  ('customer.created', NULL, '[{"in_array": 1}]'),
  ('customer.created', NULL, '"text"'),
  ('odd.one', NULL, '{"good": 1, "bad\u0000key": 2}'),
  ('odd.two', NULL, '{"half\ud800": 1}'),
  ('odd.three', NULL, ('{"' || repeat('k', 100) || '": 1}')::json),
  ('big.one', 'shop', to_json(repeat('x', 30000)));
INSERT INTO event (type, payload) SELECT 'many.keys', json_object_agg(format('key_%s', lpad(i::text, 3, '0')), i) FROM generate_series(1, 150) i;
SELECT sample_events();
SELECT event_type, source, CASE WHEN cardinality(keys) > 5 THEN keys[1:2] ELSE keys END AS keys, cardinality(keys) AS n, sampled,
       round(bytes_avg) AS avg, bytes_max AS max
FROM event_shape ORDER BY event_type;
-- a second look takes what is new, and adds to what is known
SELECT sample_events();
INSERT INTO event (type, source, payload) VALUES ('order.created', 'shop', '{"order_id": 3, "coupon": "X"}');
SELECT sample_events();
SELECT keys, sampled FROM event_shape WHERE event_type = 'order.created';
SELECT endpoint, payload_bytes_avg, payload_bytes_max, payload_keys FROM integration WHERE event_type = 'order.created' ORDER BY endpoint;
SELECT detail FROM integration_gap WHERE gap = 'large payload';
-- as much work however many events: five of each type, 200 in all
INSERT INTO event (type, payload) SELECT 'type.t' || i % 300, '{}' FROM generate_series(1, 3000) i;
SELECT sample_events();
SELECT max(sampled), count(*) FROM event_shape WHERE event_type ~ '^type\.';
INSERT INTO event (type, payload) SELECT 'type.one', '{}' FROM generate_series(1, 3000) i;
SELECT sample_events();
SELECT sampled FROM event_shape WHERE event_type = 'type.one';
-- as deeply nested as its publisher's stack allowed, which is more than the one that looks has
CREATE TEMP TABLE deep AS SELECT (repeat('{"a":', 3000) || '1' || repeat('}', 3000))::json AS payload;
SET max_stack_depth = '100kB';
SELECT payload_keys(payload) FROM deep;
RESET max_stack_depth;
-- a step of maintain()
SELECT function FROM maintenance_step WHERE step = 'samples';
DROP EXTENSION webhook_outbox;
