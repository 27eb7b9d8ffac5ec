-- history.sql - a month of somebody's deliveries, without delivering them: rollups as the dispatcher and maintain() leave
-- them, a queue, dead letters, and attempts. Run by the owner in a database that has the extension, with psql variables
-- endpoints, days, attempts.

\set ON_ERROR_STOP on
BEGIN;
INSERT INTO webhook_outbox.endpoint (name, url, tier, event_types, enabled, owner)
  SELECT format('history %s', n), 'http://127.0.0.1:9/', 1 + n % 3, '{history.*}', false, 'team ' || n % 10
  FROM generate_series(1, :endpoints) n;

CREATE TEMP TABLE shape AS
  SELECT n, webhook_outbox.histogram(5 * exp(1.2 * sqrt(-2 * ln(0.0001 + random() * 0.9998)) * cos(6.28 * random()))) AS latency
  FROM generate_series(0, 49) n, generate_series(1, 60)
  GROUP BY n;

CREATE TEMP TABLE bucket AS
  SELECT 1::smallint AS resolution, b FROM generate_series(date_trunc('minute', now()) - interval '26 hours',
    date_trunc('minute', now()) - interval '1 minute', interval '1 minute') b
  UNION ALL
  SELECT 60, b FROM generate_series(date_trunc('hour', now(), 'UTC') - make_interval(days => :days),
    date_trunc('hour', now() - interval '15 minutes', 'UTC') - interval '1 hour', interval '1 hour') b
  UNION ALL
  SELECT 1440, b FROM generate_series(date_trunc('day', now(), 'UTC') - make_interval(days => :days),
    date_trunc('day', now(), 'UTC') - interval '2 days', interval '1 day') b;
UPDATE webhook_outbox.rollup_watermark
  SET hour_until = date_trunc('hour', now() - interval '15 minutes', 'UTC'),
      day_until = date_trunc('day', now(), 'UTC') - interval '1 day';

INSERT INTO webhook_outbox.endpoint_rollup
  SELECT b.b, b.resolution, p.tier, p.endpoint_id, 63 * b.resolution, 3 * b.resolution, 3 * b.resolution,
         60 * b.resolution, b.resolution / 60, 0, 3 * b.resolution, 0, 600 * b.resolution, 500 * b.resolution, 900, 800,
         s.latency, s.latency
  FROM bucket b
  CROSS JOIN webhook_outbox.endpoint p
  JOIN shape s ON s.n = (p.endpoint_id + extract(epoch FROM b.b)::bigint / 60) % 50
  WHERE p.name LIKE 'history %'
  ORDER BY b.b;
INSERT INTO webhook_outbox.error_rollup
  SELECT r.bucket, r.resolution, 503, r.endpoint_id, 'http_error', r.failures FROM webhook_outbox.endpoint_rollup r
  WHERE (r.endpoint_id + extract(epoch FROM r.bucket)::bigint / 60) % 7 = 0;

INSERT INTO webhook_outbox.series (series_id, endpoint_id, event_type, tenant, source, first_seen_at)
  SELECT row_number() OVER (), p.endpoint_id, 'history.kind_' || k, 'tenant ' || p.endpoint_id % 20, 'shop', now()
  FROM webhook_outbox.endpoint p, generate_series(1, 5) k WHERE p.name LIKE 'history %';
INSERT INTO webhook_outbox.series_rollup
  SELECT b.b, b.resolution, i.series_id, 13 * b.resolution, b.resolution, b.resolution, 12 * b.resolution, 0, 0, b.resolution,
         0, 120 * b.resolution, 100 * b.resolution, 900, 800, s.latency, s.latency
  FROM bucket b
  CROSS JOIN webhook_outbox.series i
  JOIN shape s ON s.n = (i.series_id + extract(epoch FROM b.b)::bigint / 60) % 50
  WHERE i.series_id % 5 = 0 OR b.resolution > 1
  ORDER BY b.b;

INSERT INTO webhook_outbox.attempt_0 (event_id, endpoint_id, number, http_status, slot, started_at, wait_ms, connect_ms,
    total_ms, outcome)
  SELECT webhook_outbox.time_id(at), (SELECT min(p.endpoint_id) FROM webhook_outbox.endpoint p) + n % :endpoints, 1, 200, 0,
         at, 1, 0, 5, 'delivered'
  FROM (SELECT n, now() - interval '30 days' + n * (interval '30 days' / :attempts) AS at
        FROM generate_series(1, :attempts) n) a;
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state, attempts, schedule_step)
  SELECT p.endpoint_id, webhook_outbox.time_id(now() - n * interval '7 seconds'), now() + n * interval '1 second',
         'retrying', 3, 3
  FROM webhook_outbox.endpoint p, generate_series(1, 50) n WHERE p.name LIKE 'history %';
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, reason, attempts, first_attempt_at,
    last_attempt_at, last_outcome, last_status, last_error, created_at)
  SELECT p.endpoint_id, webhook_outbox.time_id(now() - n * interval '3 hours'), p.name, 'history.kind_1',
         'attempts_exhausted', 10, now() - interval '3 days', now() - n * interval '3 hours', 'http_error', 503,
         'HTTP status 503', now() - n * interval '3 hours'
  FROM webhook_outbox.endpoint p, generate_series(1, 20) n WHERE p.name LIKE 'history %';
COMMIT;
BEGIN;
UPDATE webhook_outbox.open_rollup SET since_xid = pg_current_xact_id(), since_at = clock_timestamp(),
  first_tid = ('(' || greatest(pg_relation_size('webhook_outbox.attempt_0') / current_setting('block_size')::int - 1, 0)
               || ',0)')::tid;
COMMIT;
VACUUM ANALYZE;
