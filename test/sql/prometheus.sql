-- prometheus_samples and prometheus_metrics (promtool reads what they say in test/t/087_prometheus.pl): names, counters that
-- only grow, histograms, labels, limits. No worker takes part: the test writes rollups as the dispatcher would.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SET search_path = webhook_outbox, public;
CREATE VIEW pg_temp.line AS SELECT regexp_split_to_table(rtrim(prometheus_metrics(), E'\n'), E'\n') AS line;

-- Nothing yet: the system and the tiers have metrics, each line is well formed, and there is no value of what has no data.
SELECT line FROM pg_temp.line WHERE line !~ '^# (HELP|TYPE) ' AND line !~ '_bucket|timestamp|longest_transaction|version|_up |_missing ';
SELECT line FROM pg_temp.line
WHERE line !~ '^# HELP webhook_outbox_\w+ [A-Z0-9][^\\]*$' AND line !~ '^# TYPE webhook_outbox_\w+ (counter|gauge|histogram)$'
  AND line !~ '^webhook_outbox_\w+(\{\w+="([^"\\]|\\["\\n])*"(,\w+="([^"\\]|\\["\\n])*")*\})? [-+0-9.e]+$';
-- each family is announced once, and has what it announces
SELECT count(*) = count(DISTINCT line) AS once FROM pg_temp.line WHERE line ~ '^#';
SELECT metric FROM prometheus_metric WHERE type = 'counter' AND metric !~ '_total$' OR type <> 'counter' AND metric ~ '_total$';
SELECT DISTINCT s.metric AS sample_without_a_metric FROM prometheus_samples() s
WHERE NOT EXISTS (SELECT FROM prometheus_metric m WHERE m.metric = regexp_replace(s.metric, '(_seconds)_(bucket|count|sum)$', '\1'));

-- Two endpoints, one of them with a name that means harm.
SELECT name FROM create_endpoint('billing', 'https://billing.example.com/', tier => 1) UNION ALL
SELECT name FROM create_endpoint('a "b" \ {le="1"}, é', 'https://odd.example.com/', tier => 3);
CREATE FUNCTION pg_temp.fill(endpoint text, ago interval, resolution integer, n integer, late integer, dead integer, ms float8)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.endpoint_rollup
    (bucket, resolution, tier, endpoint_id, attempts, failures, retries, delivered, late, dead, retried, redelivered,
     latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, latency, http)
  SELECT date_trunc(CASE resolution WHEN 1 THEN 'minute' ELSE 'hour' END, now() - ago, 'UTC'), resolution, p.tier, p.endpoint_id,
         n + dead, dead, 1, n, late, dead, 1, 2, n * ms, n * ms, ms, ms, h.h, h.h
  FROM webhook_outbox.endpoint p, (SELECT webhook_outbox.histogram(ms) AS h FROM generate_series(1, n)) h
  WHERE p.name = endpoint
$$;
UPDATE rollup_watermark SET hour_until = date_trunc('hour', now(), 'UTC') - interval '4 hours',
  day_until = date_trunc('day', now() - interval '2 days', 'UTC');
-- hours that are joined, and a minute that is not; what is there as an hour does not count as minutes too
SELECT pg_temp.fill('billing', '9 hours', 60, 100, 3, 2, 40), pg_temp.fill('billing', '6 hours', 60, 50, 0, 0, 2000),
       pg_temp.fill('billing', '6 hours', 1, 50, 0, 0, 2000), pg_temp.fill('billing', '1 minute', 1, 10, 1, 0, 40),
       pg_temp.fill('a "b" \ {le="1"}, é', '1 minute', 1, 7, 0, 0, 3);
INSERT INTO error_rollup (bucket, resolution, http_status, endpoint_id, outcome, attempts)
SELECT date_trunc('hour', now(), 'UTC') - interval '9 hours', 60, s.status, p.endpoint_id, s.outcome, s.n
FROM endpoint p, (VALUES (503, 'http_error', 2), (999, 'http_error', 5), (NULL, 'timeout', 1)) s (status, outcome, n)
WHERE p.name = 'billing';

CREATE VIEW pg_temp.counter AS
  SELECT s.metric, coalesce(s.labels->>'endpoint', 'tier ' || (s.labels->>'tier')) AS whose,
         concat_ws(' ', s.labels->>'result', s.labels->>'outcome', s.labels->>'status', s.labels->>'le') AS of, s.value
  FROM prometheus_samples() s WHERE s.metric ~ '_(total|bucket|sum|count)$';
SELECT metric, whose, of, value FROM pg_temp.counter WHERE metric ~ '_total$' AND value > 0 ORDER BY 1, 2, 3;
SELECT of AS le, value FROM pg_temp.counter
WHERE whose = 'billing' AND metric ~ '_bucket$' ORDER BY of::float8;
SELECT metric, value FROM pg_temp.counter WHERE whose = 'billing' AND metric ~ '(_sum|_count)$' ORDER BY metric;
-- of each histogram: buckets grow to the count
SELECT count(*) AS histograms, bool_and(is_sorted) AS grow, bool_and(inf = n) AS inf_is_count
FROM (
  SELECT array_agg(c.value ORDER BY c.of::float8) = array_agg(c.value ORDER BY c.value) AS is_sorted, max(c.value) AS inf,
         (SELECT t.value FROM pg_temp.counter t WHERE t.metric = regexp_replace(c.metric, 'bucket$', 'count') AND t.whose = c.whose) AS n
  FROM pg_temp.counter c WHERE c.metric ~ '_bucket$' GROUP BY c.metric, c.whose) h;

-- Counters never shrink: not when hours are added up and their rollups deleted, not when an endpoint moves or goes.
CREATE TEMP TABLE before AS TABLE pg_temp.counter;
SELECT advance_counters(), advance_counters();
SELECT count(*) AS changed FROM (TABLE before EXCEPT TABLE pg_temp.counter) d;
DELETE FROM endpoint_rollup WHERE bucket < now() - interval '5 hours';
DELETE FROM error_rollup;
SELECT count(*) AS changed FROM (TABLE before EXCEPT TABLE pg_temp.counter) d;
UPDATE rollup_watermark SET hour_until = hour_until + interval '1 hour';
SELECT advance_counters();
SELECT count(*) AS changed FROM (TABLE before EXCEPT TABLE pg_temp.counter) d;
UPDATE endpoint SET tier = 2 WHERE name = 'billing';
SELECT count(*) AS changed FROM (TABLE before EXCEPT TABLE pg_temp.counter) d;
SELECT DISTINCT labels->>'tier' AS tier FROM prometheus_samples() WHERE labels->>'endpoint' = 'billing';
DELETE FROM endpoint WHERE name = 'billing';
UPDATE rollup_watermark SET hour_until = hour_until + interval '1 hour';
SELECT advance_counters();
SELECT endpoint_id = 0 AS gone, tier, attempts FROM endpoint_counter ORDER BY 1, 2;
SELECT count(*) AS changed FROM (SELECT * FROM before WHERE whose ~ '^tier' EXCEPT TABLE pg_temp.counter) d;
SELECT count(*) AS left FROM prometheus_samples() WHERE labels->>'endpoint' = 'billing';

-- Labels: what the text format escapes, and control characters, which it does not know
SELECT line FROM pg_temp.line WHERE line ~ 'endpoint_attempts_total\{';
SELECT prometheus_labels(jsonb_build_object('a', E'tab\there \x01', 'b', E'two\nlines', 'c', 'back\slash "quoted"')) = E'{a="tab\there \x01",b="two\\nlines",c="back\\\\slash \\"quoted\\""}' AS escaped;
-- Of 600 endpoints 500 are there: tier 1 first, then the oldest.
INSERT INTO endpoint (name, url, tier) SELECT 'many ' || n, 'https://many.example.com/', CASE WHEN n > 590 THEN 1 ELSE 2 END
FROM generate_series(1, 600) n;
SELECT count(DISTINCT labels->>'endpoint') AS endpoints, count(DISTINCT labels->>'endpoint') FILTER (WHERE labels->>'tier' = '1') AS tier_1,
       bool_or(labels->>'endpoint' = 'many 490') AS oldest, bool_or(labels->>'endpoint' = 'many 491') AS later,
       count(*) < 20000 AS bounded
FROM prometheus_samples();
SELECT DISTINCT value AS endpoints FROM prometheus_samples() WHERE metric = 'webhook_outbox_endpoints' AND labels->>'state' = 'enabled';
SELECT function FROM maintenance_step WHERE step = 'counters';

-- signal_history: the same over time
SELECT signal_history('2026-01-02', '2026-01-01');
SELECT signal_history(NULL);
SELECT signal_history('4714-11-24 BC', '294276-01-01');
SELECT signal_history(now() - interval '1 h', step => '-1 s');
SELECT signal_history(now() - interval '1 h', step => '1 month');
SELECT signal_history(now() - interval '1 h', endpoint => 'nobody');
SELECT signal_history(now() - interval '1 h', tier => 8);
SELECT sum(attempts) AS attempts, sum(deliveries) AS deliveries, max(success_rate) AS success, round(max(latency_p95)) AS p95,
       count(*) FILTER (WHERE latency_p95 IS NOT NULL) AS steps, count(*) BETWEEN 60 AND 61 AS all
FROM signal_history(now() - interval '1 hour', step => '1 minute', endpoint => 'a "b" \ {le="1"}, é');
SELECT count(*) FILTER (WHERE attempts > 0) AS steps, sum(attempts) AS attempts FROM signal_history(now() - interval '1 hour', tier => 1);
SELECT max(d) AS step, count(*) < 2100 AS bounded
FROM (SELECT h.at - lag(h.at) OVER (ORDER BY h.at) AS d FROM signal_history(now() - interval '20 hours', step => '1 second') h) g;
SELECT max(d) AS step FROM (SELECT h.at - lag(h.at) OVER (ORDER BY h.at) AS d FROM signal_history(now() - interval '3 days', step => '1 second') h) g;
SELECT max(d) AS step FROM (SELECT h.at - lag(h.at) OVER (ORDER BY h.at) AS d FROM signal_history(now() - interval '60 days', step => '1 second') h) g;
-- A step begins before from_time, and may begin where only coarser rows are kept: one delivery a minute is one in each step.
DELETE FROM endpoint_rollup;
UPDATE rollup_watermark SET hour_until = date_trunc('hour', now(), 'UTC'), day_until = date_trunc('day', now(), 'UTC');
INSERT INTO endpoint_rollup
  SELECT b.bucket, b.resolution, 2, p.endpoint_id, b.resolution, 0, 0, b.resolution, 0, 0, 0, 0, 1, 1, 1, 1, h.h, h.h
  FROM (SELECT min(endpoint_id) AS endpoint_id FROM endpoint) p, (SELECT histogram(1) AS h) h, rollup_watermark w,
       LATERAL (SELECT 1 AS resolution, m AS bucket FROM generate_series(date_trunc('minute', now()) - interval '26 hours', now(), '1 minute') m
                UNION ALL
                SELECT 60, m FROM generate_series(w.hour_until - interval '840 hours', w.hour_until - interval '1 hour', '1 hour') m
                UNION ALL
                SELECT 1440, m FROM generate_series(w.day_until - interval '2400 hours', w.day_until - interval '24 hours', '24 hours') m) b;
SELECT t.age, t.step, count(*) > 0 AS some, count(*) FILTER (WHERE h.deliveries <> extract(epoch FROM h.until - h.at) / 60) AS wrong
FROM (VALUES ('1 hour'::interval, '7 minutes'::interval), ('24 hours', '1 hour'), ('24 hours', '11 hours'), ('24 hours', '23 hours'),
             ('720 hours', '6 hours'), ('720 hours', '168 hours'), ('720 hours', '216 hours'), ('720 hours', '264 hours'),
             ('800 hours', '312 hours'), ('1000 hours', '24 hours')) t (age, step),
     LATERAL (SELECT h.deliveries, h.at, lead(h.at) OVER (ORDER BY h.at) AS until
              FROM signal_history(now() - t.age, step => t.step) h) h
WHERE h.until IS NOT NULL GROUP BY t.age, t.step ORDER BY t.age, t.step;
DROP VIEW pg_temp.line, pg_temp.counter;
DROP EXTENSION webhook_outbox;
