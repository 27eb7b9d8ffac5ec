-- What the signals say of facts that are known: rollups and a queue are written by hand, and the worker is off.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
\pset null '-'

-- A new installation: every subject has its rows, counts are 0, and what has no data says so.
SELECT signal, value, samples, unit FROM webhook_outbox.signal WHERE scope = 'overall' AND time_window = '5m' ORDER BY signal;
SELECT signal, value FROM webhook_outbox.signal WHERE scope = 'overall' AND time_window = 'now' ORDER BY signal;
SELECT scope, count(*) FROM webhook_outbox.signal GROUP BY scope ORDER BY scope;
SELECT * FROM webhook_outbox.error_rate;

-- each signal that is defined is there, and no other
SELECT d.signal AS only_defined FROM webhook_outbox.signal_definition d
WHERE NOT EXISTS (SELECT FROM webhook_outbox.signal s WHERE s.signal = d.signal);

BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('a', 'https://example.com/', tier => 1);
SELECT name FROM webhook_outbox.create_endpoint('b', 'https://example.com/', tier => 2, latency_objective => '1 minute');
SELECT name FROM webhook_outbox.create_endpoint('idle', 'https://example.com/', tier => 3);

-- What was recorded of an endpoint so many minutes ago. The latencies are spread evenly from 1 ms to max.
CREATE FUNCTION pg_temp.recorded(endpoint text, ago interval, delivered bigint, late bigint DEFAULT 0, dead bigint DEFAULT 0,
                                 failures bigint DEFAULT 0, max_ms integer DEFAULT 100)
RETURNS void LANGUAGE sql AS $$
  WITH facts AS (
    SELECT date_trunc('minute', now() - recorded.ago) AS bucket, p.tier, p.endpoint_id,
           webhook_outbox.histogram(l) AS latency, sum(l) AS sum_ms
    FROM webhook_outbox.endpoint p, generate_series(1, delivered) n, LATERAL (SELECT 1 + (max_ms - 1.0) * (n - 1) / greatest(delivered - 1, 1)) x (l)
    WHERE p.name = recorded.endpoint GROUP BY 2, 3),
  errors AS (
    INSERT INTO webhook_outbox.error_rollup
      SELECT f.bucket, 1, 503, f.endpoint_id, 'http_error', failures FROM facts f WHERE failures > 0)
  INSERT INTO webhook_outbox.endpoint_rollup
    SELECT f.bucket, 1, f.tier, f.endpoint_id, delivered + failures, failures, failures, delivered, late, dead,
           least(failures, delivered), 0, sum_ms, sum_ms, max_ms, max_ms, f.latency, f.latency
    FROM facts f;
$$;
SELECT pg_temp.recorded('a', '2 minutes', 200), pg_temp.recorded('a', '30 minutes', 100, failures => 25),
       pg_temp.recorded('b', '3 minutes', 98, dead => 2, failures => 20, max_ms => 1000);

-- rounded for people, and never to 0 or 100
SELECT count(*) FILTER (WHERE abs(value - round(value::numeric, 4)::double precision) > 0) AS long
FROM webhook_outbox.signal WHERE value NOT BETWEEN 99.9999 AND 100;
SELECT v AS value, webhook_outbox.rounded(v) AS rounded
FROM unnest('{0,100,69.28406466512702,99.99994,99.9999950012,100.00001,0.00006,2.2313833333333337e-05,-0.000004,123456789.123456,
  NaN,Infinity,-Infinity,NULL}'::float[]) v;

-- by endpoint and window: b lost 2 of 100, a needed retries half an hour ago
SELECT subject, time_window, signal, round(value::numeric, 2) AS value, samples
FROM webhook_outbox.signal
WHERE scope = 'endpoint' AND time_window IN ('5m', '1h')
  AND signal IN ('deliveries', 'attempts', 'success_rate', 'attempt_success_rate', 'error_rate', 'retries_per_delivery', 'retried_share', 'dead_letters')
ORDER BY subject, time_window, signal;
-- tiers and overall are sums, not averages of averages
SELECT scope, subject, round(value::numeric, 3) AS value, samples
FROM webhook_outbox.signal
WHERE signal = 'success_rate' AND time_window = '5m' AND scope IN ('tier', 'overall') ORDER BY scope, subject;
SELECT scope, subject, outcome, http_status, attempts, round(share::numeric, 2) AS share
FROM webhook_outbox.error_rate WHERE time_window = '1h' ORDER BY scope, subject;

-- An endpoint that is deleted stays in what is said of all: the kinds of failures add up to the signal.
SAVEPOINT gone;
DELETE FROM webhook_outbox.endpoint WHERE name = 'a';
SELECT scope, subject, outcome, http_status, attempts, round(share::numeric, 2) AS share
FROM webhook_outbox.error_rate WHERE time_window = '1h' ORDER BY scope, subject;
SELECT s.time_window, round(s.value::numeric, 2) AS value, s.value = (
         SELECT sum(e.share) FROM webhook_outbox.error_rate e
         WHERE e.scope = 'overall' AND e.time_window = s.time_window) AS is_sum
FROM webhook_outbox.signal s WHERE s.scope = 'overall' AND s.signal = 'error_rate' ORDER BY s.time_window;
ROLLBACK TO gone;

-- percentiles of the sum of all histograms, within 5 % of percentile_cont over the same numbers
WITH exact AS (
  SELECT percentile_cont('{0.5,0.95,0.99}'::float[]) WITHIN GROUP (ORDER BY l) AS p
  FROM (SELECT 1 + 99.0 * (n - 1) / 199 FROM generate_series(1, 200) n
        UNION ALL SELECT 1 + 999.0 * (n - 1) / 97 FROM generate_series(1, 98) n) x (l))
SELECT s.signal, abs(s.value / e.p[CASE s.signal WHEN 'latency_p50' THEN 1 WHEN 'latency_p95' THEN 2 ELSE 3 END] - 1) < 0.05 AS is_near
FROM webhook_outbox.signal s, exact e
WHERE s.scope = 'overall' AND s.time_window = '5m' AND s.signal ~ '^latency_p' ORDER BY s.signal;

-- 99.9 % in tier 2 allow 0.1 of 100 to be bad, and 2 were
SELECT scope, name, state, good, total, actual, budget, spent, remaining, burn_5m, burn_1h, exhausted_in
FROM webhook_outbox.slo ORDER BY scope DESC, tier, name;

-- A delivery that is late is bad though it was delivered.
SELECT pg_temp.recorded('a', '1 minute', 100, late => 1);
SELECT name, good, total, spent, state FROM webhook_outbox.slo WHERE name IN ('a', 'critical');

-- What nobody delivers is bad as soon as it is late: the worker is off here, as if it were dead.
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state)
  SELECT p.endpoint_id, webhook_outbox.time_id(now() - age), now(), 'parked'
  FROM webhook_outbox.endpoint p, unnest('{10s,59s,61s,10min,2h}'::interval[]) age WHERE p.name = 'b';
SELECT name, spent, total FROM webhook_outbox.slo WHERE name IN ('b', 'standard');
SELECT time_window, value, samples FROM webhook_outbox.signal
WHERE scope = 'endpoint' AND subject = 'b' AND signal = 'overdue' ORDER BY samples, time_window;
SELECT signal, round(value::numeric) AS value FROM webhook_outbox.signal
WHERE scope = 'endpoint' AND subject = 'b' AND time_window = 'now' AND signal IN ('queue_length', 'parked', 'oldest_age') ORDER BY signal;
-- redeliveries count in no objective, and what waits for a paused endpoint is blocked
UPDATE webhook_outbox.delivery SET origin = 'redelivery';
UPDATE webhook_outbox.endpoint SET enabled = false WHERE name = 'b';
SELECT name, spent, total FROM webhook_outbox.slo WHERE name = 'b';
SELECT signal, round(value::numeric) AS value FROM webhook_outbox.signal
WHERE scope = 'endpoint' AND subject = 'b' AND time_window = 'now' AND signal IN ('queue_length', 'parked', 'blocked') ORDER BY signal;

-- Events after a pause, with a dispatcher that is at work: what has a record is not new any more, and an endpoint made within
-- their minute is owed what came after it.
SAVEPOINT pause;
UPDATE webhook_outbox.cursor SET updated_at = now() - interval '1 hour';
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.paid', '1');
SELECT name FROM webhook_outbox.create_endpoint('young', 'https://example.com/');
UPDATE webhook_outbox.endpoint SET created_at = clock_timestamp() WHERE name = 'young';
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.paid', '2');
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, wait_ms, total_ms, outcome)
  SELECT e.id, p.endpoint_id, 1, 200, 0, now(), 1, 1, 'delivered'
  FROM webhook_outbox.event e, webhook_outbox.endpoint p WHERE p.name = 'a';
SELECT p.name, q.waiting, (SELECT count(*) FROM webhook_outbox.new_delivery d WHERE d.endpoint_id = p.endpoint_id) AS new
FROM webhook_outbox.queue_facts() q JOIN webhook_outbox.endpoint p USING (endpoint_id) ORDER BY p.name;
ROLLBACK TO pause;

-- What is in no rollup yet stays with its tier when the endpoint is deleted.
SAVEPOINT deletion;
UPDATE webhook_outbox.open_rollup SET since_xid = pg_current_xact_id();
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, wait_ms, total_ms, outcome)
  SELECT gen_random_uuid(), p.endpoint_id, 1, 200, 0, now(), w, 1, 'delivered'
  FROM webhook_outbox.endpoint p, unnest('{1,60000}'::real[]) w WHERE p.name = 'a';
SELECT tier, attempts, delivered, late FROM webhook_outbox.open_endpoint_minutes();
DELETE FROM webhook_outbox.endpoint WHERE name = 'a';
SELECT tier, attempts, delivered, late FROM webhook_outbox.open_endpoint_minutes();
ROLLBACK TO deletion;

-- A window is as long for every reader: here a day has 23 hours.
SET LOCAL TimeZone = 'America/New_York';
SELECT w.time_window FROM webhook_outbox.time_window w, LATERAL (SELECT timestamptz '2026-03-10 12:00+00') t (at)
WHERE extract(epoch FROM t.at) - extract(epoch FROM t.at - w.length) <> extract(epoch FROM w.length);
SET LOCAL TimeZone = 'UTC';

-- Whatever is joined to hours and days already: the buckets that are read follow one another without gap or overlap, from
-- the start of the span to its end, and are as coarse as can be.
SAVEPOINT marks;
CREATE TEMP TABLE gap (problem text);
DO $$
DECLARE
  v_from timestamptz;
  v_to   timestamptz;
BEGIN
  FOR i IN 0 .. 99 LOOP
    UPDATE webhook_outbox.rollup_watermark
      SET hour_until = date_trunc('hour', now() - i % 5 * interval '1 hour', 'UTC'),
          day_until = date_trunc('day', now() - i % 5 * interval '1 hour' - i % 3 * interval '1 day', 'UTC');
    v_from := webhook_outbox.rollup_edge(now() - (1 + i * i) * interval '7 minutes');
    v_to := CASE i % 4 WHEN 0 THEN 'infinity' ELSE webhook_outbox.rollup_edge(now() - i * i * interval '3 minutes') END;
    INSERT INTO gap
      SELECT format('%s to %s: %s', now() - v_from, now() - v_to, s) FROM (
        SELECT lag(past_bucket, 1, v_from) OVER w <> first_bucket OR lead(first_bucket, 1, v_to) OVER w <> past_bucket AS is_wrong,
               first_bucket, past_bucket
        FROM webhook_outbox.rollup_span(v_from, v_to) WINDOW w AS (ORDER BY first_bucket)) s
      WHERE s.is_wrong
      UNION ALL
      SELECT format('%s to %s: %s', now() - v_from, now() - v_to, s) FROM webhook_outbox.rollup_span(v_from, v_to) s
      WHERE s.resolution = 1 AND s.first_bucket < s.past_bucket - interval '119 minutes' AND s.past_bucket < now() - interval '5 hours';
  END LOOP;
END
$$;
SELECT * FROM gap;
ROLLBACK TO marks;

-- A report on a time that is past
SELECT scope, name, good, late, dead, total, met FROM webhook_outbox.slo_report(now() - interval '20 minutes', now());
-- 3 of 300 million were bad: that is not 100 %
UPDATE webhook_outbox.endpoint_rollup SET delivered = 100000000, late = 1, dead = 0;
SELECT name, total, spent, actual FROM webhook_outbox.slo WHERE name = 'a';
SELECT name, total, late, actual FROM webhook_outbox.slo_report(now() - interval '1 hour', now()) WHERE name = 'a';
ROLLBACK;
SELECT * FROM webhook_outbox.slo_report('2026-02-01', '2026-01-01');
SELECT * FROM webhook_outbox.slo_report('2026-01-01', 'infinity');
SELECT * FROM webhook_outbox.slo_report(NULL, '2026-01-01');
SELECT * FROM webhook_outbox.slo_report('2999-01-01', '2999-02-01');
SELECT webhook_outbox.create_endpoint('c', 'https://example.com/', success_objective => 100);
SELECT webhook_outbox.create_endpoint('c', 'https://example.com/', success_objective => 0);
SELECT webhook_outbox.create_endpoint('c', 'https://example.com/', latency_objective => '31 days');
DROP EXTENSION webhook_outbox;
