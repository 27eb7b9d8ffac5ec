-- compare_periods and the tests that it judges by, on data whose truth is known. No worker takes part: the test writes
-- rollups as the dispatcher would. What looks random is made of md5, so that it is the same everywhere.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SET search_path = webhook_outbox, public;

-- p-values, against tables and R
SELECT round(normal_p_value(0)::numeric, 6) AS z0, round(normal_p_value(1.959963985)::numeric, 6) AS z196,
       round(normal_p_value(-2.575829304)::numeric, 6) AS z258, normal_p_value(-1.5) = normal_p_value(1.5) AS symmetric,
       round((normal_p_value(8) * 1e15)::numeric, 4) AS z8_e15, normal_p_value(40) = 0 AS z40;
SELECT round(fisher_p_value(3, 4, 1, 4)::numeric, 6) AS tea, round(fisher_p_value(8, 10, 1, 6)::numeric, 6) AS small,
       round(fisher_p_value(1, 10, 11, 14)::numeric, 6) AS students, fisher_p_value(0, 30, 0, 20) AS none,
       fisher_p_value(30, 30, 20, 20) AS all, round(fisher_p_value(0, 1000000, 5, 1000000)::numeric, 6) AS rare,
       round((fisher_p_value(0, 100, 100, 100) * 1e58)::numeric, 3) AS certain_e58;
SELECT fisher_p_value(5, 4, 0, 1);
SELECT fisher_p_value(-1, 4, 0, 1);
-- exact where little is to be expected, and by z where not: there they agree
SELECT test, direction, round(p_value::numeric, 4) AS p,
       round(fisher_p_value(h.b, 5000, h.a, 5000)::numeric, 4) AS exact
FROM (VALUES (2, 6), (100, 140), (140, 100)) h (b, a), compare_shares(h.b, 5000, h.a, 5000);

-- Mann-Whitney: with ties, against what the sum of mid-ranks gives by hand: 0.014372
SELECT quantile, round(p_value::numeric, 5) AS p, direction, test
FROM compare_histograms((SELECT histogram(v) FROM unnest('{1,2,2,3,4,5,5,6}'::float8[]) v),
                        (SELECT histogram(v) FROM unnest('{3,5,6,7,7,8,9}'::float8[]) v));
SELECT * FROM compare_histograms((SELECT histogram(7) FROM generate_series(1, 50)), (SELECT histogram(7) FROM generate_series(1, 50)));
SELECT * FROM compare_histograms((SELECT histogram(NULL)), (SELECT histogram(7)));

-- Chance alone: 400 pairs of samples of one truth. A difference shows at 5 % in about 5 of 100, at 1 % in about 1; less
-- often where the exact test is used: of 300, 3 are above the 99th percentile.
CREATE FUNCTION pg_temp.chance(seed integer, n integer) RETURNS SETOF float8 LANGUAGE sql AS $$
  SELECT (('x' || left(md5(seed || ':' || i), 8))::bit(32)::bigint & 4294967295) / 4294967296.0 FROM generate_series(1, n) i
$$;
CREATE TEMP TABLE trial AS
  SELECT t, b.hits AS hits_before, a.hits AS hits_after, b.ms AS ms_before, a.ms AS ms_after
  FROM generate_series(1, 400) t,
  LATERAL (SELECT count(*) FILTER (WHERE c < 0.9) AS hits, histogram(-ln(1 - c) * 100) AS ms FROM pg_temp.chance(t, 300) c) b,
  LATERAL (SELECT count(*) FILTER (WHERE c < 0.9) AS hits, histogram(-ln(1 - c) * 100) AS ms FROM pg_temp.chance(-t, 300) c) a;
SELECT 'shares' AS what, count(*) FILTER (WHERE p_value < 0.05) BETWEEN 8 AND 34 AS about_5_percent,
       count(*) FILTER (WHERE p_value < 0.01) BETWEEN 0 AND 11 AS about_1_percent
FROM trial, compare_shares(hits_before, 300, hits_after, 300)
UNION ALL
SELECT 'p' || quantile * 100, count(*) FILTER (WHERE p_value < 0.05) BETWEEN CASE WHEN quantile < 0.99 THEN 8 ELSE 0 END AND 34,
       count(*) FILTER (WHERE p_value < 0.01) BETWEEN 0 AND 11
FROM trial, compare_histograms(ms_before, ms_after) GROUP BY quantile
ORDER BY what;

-- Rollups: an hour before a change and an hour after it, by the minute.
UPDATE rollup_watermark SET hour_until = date_trunc('hour', now()) - interval '5 hours';
SELECT name FROM create_endpoint('same', 'https://same.example.com/') UNION ALL
SELECT name FROM create_endpoint('worse', 'https://worse.example.com/') UNION ALL
SELECT name FROM create_endpoint('tail', 'https://tail.example.com/') UNION ALL
SELECT name FROM create_endpoint('few', 'https://few.example.com/');
CREATE FUNCTION pg_temp.fill(endpoint text, seed integer, at timestamptz, n integer, bad float8, ms float8, tail float8)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.endpoint_rollup
    (bucket, resolution, tier, endpoint_id, attempts, failures, retries, delivered, late, dead, retried, redelivered,
     latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, latency, http)
  SELECT date_trunc('minute', at), 1, p.tier, p.endpoint_id, n, count(*) FILTER (WHERE c < bad), 0,
         count(*) FILTER (WHERE c >= bad), 0, count(*) FILTER (WHERE c < bad), 0, 0, 0, 0, 0, 0,
         webhook_outbox.histogram(l.ms) FILTER (WHERE c >= bad), webhook_outbox.histogram(l.ms)
  FROM webhook_outbox.endpoint p, pg_temp.chance(seed, n) WITH ORDINALITY c (c, i),
  LATERAL (SELECT -ln(1 - c) * ms * CASE WHEN c > 0.97 THEN tail ELSE 1 END AS ms) l
  WHERE p.name = endpoint
  GROUP BY p.tier, p.endpoint_id
$$;
SELECT now() AS at \gset
SELECT pg_temp.fill('same', 1, :'at'::timestamptz - interval '90 min', 2000, 0.02, 100, 1),
       pg_temp.fill('same', 2, :'at'::timestamptz - interval '30 min', 2000, 0.02, 100, 1),
       pg_temp.fill('worse', 3, :'at'::timestamptz - interval '90 min', 2000, 0.02, 100, 1),
       pg_temp.fill('worse', 4, :'at'::timestamptz - interval '30 min', 2000, 0.04, 120, 1),
       pg_temp.fill('tail', 5, :'at'::timestamptz - interval '90 min', 2000, 0.02, 100, 1),
       pg_temp.fill('tail', 6, :'at'::timestamptz - interval '30 min', 2000, 0.02, 100, 3),
       pg_temp.fill('few', 7, :'at'::timestamptz - interval '90 min', 19, 0, 100, 1),
       pg_temp.fill('few', 8, :'at'::timestamptz - interval '30 min', 2000, 1, 100, 1);
CREATE FUNCTION pg_temp.hours(a integer, b integer) RETURNS tstzrange LANGUAGE sql AS $$
  SELECT tstzrange(now() - make_interval(hours => a), now() - make_interval(hours => b))
$$;
CREATE FUNCTION pg_temp.verdicts(endpoint text) RETURNS TABLE (signal text, samples text, verdict text, test text) LANGUAGE sql AS $$
  SELECT c.signal, c.samples_before || '/' || c.samples_after, c.verdict, c.test
  FROM webhook_outbox.compare_periods(pg_temp.hours(2, 1), pg_temp.hours(1, 0), endpoint) c
$$;
SELECT * FROM pg_temp.verdicts('same');
SELECT * FROM pg_temp.verdicts('worse') WHERE signal ~ 'rate|p50|p95|dead|obj';
SELECT * FROM pg_temp.verdicts('tail') WHERE signal ~ 'p50|p95|p99|success_rate';
SELECT * FROM pg_temp.verdicts('few') WHERE signal ~ 'rate|p50|max';
-- the other way round it is better; change has a sign, and is in per cent of what was
SELECT signal, unit, round(value_before::numeric, 1) AS before, round(value_after::numeric, 1) AS after,
       round(change::numeric, 1) AS change, round(change_percent::numeric, 1) AS percent, p_value < 0.01 AS is_significant, verdict
FROM compare_periods(pg_temp.hours(2, 1), pg_temp.hours(1, 0), 'worse') WHERE signal ~ 'success|error';
UPDATE endpoint_rollup SET bucket = bucket + CASE WHEN bucket < now() - interval '1 hour' THEN 1 ELSE -1 END * interval '1 hour';
SELECT signal, verdict FROM compare_periods(pg_temp.hours(2, 1), pg_temp.hours(1, 0), 'worse') WHERE signal ~ 'rate|p50';
-- all endpoints together
SELECT signal, unit, samples_before, samples_after FROM compare_periods(pg_temp.hours(2, 1), pg_temp.hours(1, 0))
WHERE signal IN ('attempts', 'deliveries');
-- an installation without data says so
SELECT DISTINCT verdict, p_value IS NULL AS no_p FROM compare_periods(pg_temp.hours(20, 19), pg_temp.hours(18, 17));

-- Bad input
SELECT count(*) FROM compare_periods(NULL, pg_temp.hours(1, 0));
SELECT count(*) FROM compare_periods(pg_temp.hours(2, 1), NULL);
SELECT count(*) FROM compare_periods('empty', pg_temp.hours(1, 0));
SELECT count(*) FROM compare_periods(tstzrange(NULL, '2026-01-01'), pg_temp.hours(1, 0));
SELECT count(*) FROM compare_periods(tstzrange('-infinity', '2026-01-01'), pg_temp.hours(1, 0));
SELECT count(*) FROM compare_periods(pg_temp.hours(3, 1), pg_temp.hours(2, 0));
SELECT count(*) FROM compare_periods(pg_temp.hours(1, 0), pg_temp.hours(2, 1));
SELECT count(*) FROM compare_periods(pg_temp.hours(2, 1), tstzrange('2001-01-01', '2101-01-01'));
SELECT count(*) FROM compare_periods(tstzrange('2001-01-01', '2001-02-01'), pg_temp.hours(1, 0));
SELECT count(*) FROM compare_periods(pg_temp.hours(2, 1), pg_temp.hours(1, 0), 'nobody');
\set VERBOSITY sqlstate
SELECT count(*) FROM compare_periods(tstzrange(date_trunc('day', now() - interval '50 days', 'UTC') + interval '1 h',
  date_trunc('day', now() - interval '50 days', 'UTC') + interval '2 h'), pg_temp.hours(1, 0));
\set VERBOSITY default
-- what is old is rounded, and said so
SET client_min_messages = warning;
SELECT count(*) > 10 AS rows FROM compare_periods(pg_temp.hours(50, 40), pg_temp.hours(1, 0));
RESET client_min_messages;
-- a day that has 25 hours where the session is has 24 in the rollups
SET TimeZone = 'Europe/Berlin';
SELECT s.resolution, s.first_bucket AT TIME ZONE 'UTC' AS first_bucket, s.past_bucket AT TIME ZONE 'UTC' AS past_bucket
FROM rollup_span('2025-10-26 00:00 UTC', '2025-10-28 00:00 UTC') s;
RESET TimeZone;
DROP EXTENSION webhook_outbox;
