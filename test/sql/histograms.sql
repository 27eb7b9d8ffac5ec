-- Histograms of durations: percentiles against exact ones, merging, counts, and bytea that is none.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SET search_path = webhook_outbox, public;

-- Durations in milliseconds; r takes 5000 values between 0 and 1, in no order.
CREATE TEMP TABLE sample AS
  SELECT d.kind, n, CASE d.kind
    WHEN 'uniform'     THEN 1000 * r
    WHEN 'exponential' THEN -80 * ln(1 - r)
    WHEN 'heavy tail'  THEN 5 / (1 - r) ^ 1.25
    WHEN 'two peaks'   THEN CASE WHEN n % 10 = 0 THEN 30000 + 100 * r ELSE 3 + r END
    WHEN 'tiny'        THEN ceil(60 * r) / 1000
    WHEN 'days'        THEN 86400000 * (1 + 40 * r)
    WHEN 'constant'    THEN 16.384
    WHEN 'top of a bucket' THEN 16.895
    END::double precision AS ms
  FROM unnest('{uniform,exponential,heavy tail,two peaks,tiny,days,constant,top of a bucket}'::text[]) d (kind),
       LATERAL (SELECT n, (n * 1787 % 5000 + 0.5) / 5000 AS r FROM generate_series(1, 5000) n) g;

-- Every percentile is within 5 per cent of the exact one.
CREATE TEMP TABLE compared AS
  SELECT s.kind, q.q, histogram_quantile(histogram(s.ms), q.q) AS got, percentile_cont(q.q) WITHIN GROUP (ORDER BY s.ms) AS exact
  FROM sample s, unnest('{0,0.001,0.01,0.1,0.25,0.5,0.75,0.9,0.95,0.99,0.999,1}'::float8[]) q (q)
  GROUP BY s.kind, q.q;
SELECT kind, count(*) AS quantiles, max(abs(got - exact) / exact) < 0.05 AS is_near FROM compared GROUP BY kind ORDER BY kind;
SELECT kind, q, got, exact FROM compared WHERE abs(got - exact) / exact >= 0.05 ORDER BY kind, q;
-- Of few values too.
SELECT n, bool_and(abs(histogram_quantile(h, q) - exact) <= 0.05 * exact) AS is_near
FROM (SELECT n, q, histogram(ms) AS h, percentile_cont(q) WITHIN GROUP (ORDER BY ms) AS exact
      FROM generate_series(1, 4) n, unnest('{0,0.3,0.5,0.95,1}'::float8[]) q, LATERAL (
        SELECT ms FROM unnest('{1,1000,3,70000}'::float8[]) WITH ORDINALITY u (ms, o) WHERE o <= n) v
      GROUP BY n, q) x
GROUP BY n ORDER BY n;

-- Merged histograms are the histogram of everything, however it was split.
CREATE TEMP TABLE merged AS
  SELECT kind, parts, (SELECT histogram_merge(h) FROM (
    SELECT histogram(s.ms) AS h FROM sample s WHERE s.kind = k.kind GROUP BY s.n % parts) x) AS h
  FROM (SELECT DISTINCT kind FROM sample) k, unnest('{1,2,7,5000}'::integer[]) parts;
SELECT parts, count(*), bool_and(m.h = (SELECT histogram(s.ms) FROM sample s WHERE s.kind = m.kind)) AS is_same
FROM merged m GROUP BY parts ORDER BY parts;
SELECT histogram_merge(h) = (SELECT histogram(ms) FROM sample) AS is_same, histogram_count(histogram_merge(h)) AS count
FROM merged WHERE parts = 7;
-- By parallel workers too.
CREATE TABLE public.stored AS SELECT h FROM (SELECT histogram(ms) AS h FROM sample GROUP BY kind, n % 500) x, generate_series(1, 4);
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT histogram_merge(h) FROM public.stored;
SELECT md5(histogram_merge(h)) AS by_workers, histogram_count(histogram_merge(h)) AS count FROM public.stored \gset
SET LOCAL max_parallel_workers_per_gather = 0;
SELECT md5(histogram_merge(h)) = :'by_workers' AS is_same, :count AS count FROM public.stored;
ROLLBACK;

-- No values: empty, and no percentile.
SELECT histogram(ms), histogram_count(histogram(ms)), histogram_quantile(histogram(ms), 0.5) FROM sample WHERE false;
SELECT histogram_merge(NULL), histogram(NULL), histogram_count_below(histogram(NULL), 10),
       (SELECT count(*) FROM histogram_buckets('\x0100')) AS buckets;

-- Below zero is zero; beyond 50 days is 50 days.
SELECT histogram_quantile(histogram(-5), 0.5) AS negative, histogram_quantile(histogram('-infinity'), 0.5) AS low,
       round(histogram_quantile(histogram('infinity'), 0.5) / 86400000) AS days,
       histogram('infinity') = histogram(1e12) AS is_same;
-- Up to 31 us each has its bucket; later a bucket is a sixteenth of its power of two.
SELECT n, histogram_quantile(x.h, 0.5) AS ms, b.*
FROM (SELECT n, histogram(n / 1000.0) AS h FROM unnest('{0,1,15,16,31,32,33,34,1000,1023,1024}'::integer[]) n GROUP BY n) x,
     histogram_buckets(x.h) b ORDER BY n;
SELECT b.* FROM (SELECT histogram(ms) AS h FROM sample WHERE kind = 'two peaks') x, histogram_buckets(h) b;
-- What is below a bound.
SELECT ms, histogram_count_below((SELECT histogram(s.ms) FROM sample s WHERE s.kind = 'two peaks'), ms)
FROM unnest('{-1,0,3,4,5,29000,31000,infinity}'::float8[]) ms;
SELECT bool_and(abs(below - exact) <= 0.02 * 5000) AS is_near
FROM (SELECT histogram_count_below(histogram(s.ms), b) AS below, count(*) FILTER (WHERE s.ms < b) AS exact
      FROM sample s, generate_series(0, 1000, 50) b WHERE kind = 'uniform' GROUP BY b) x;

-- What is out of range.
SELECT histogram_quantile(histogram(1), -0.01);
SELECT histogram_quantile(histogram(1), 1.01);
SELECT histogram_quantile(histogram(1), 'NaN');
SELECT histogram('NaN');
SELECT histogram_count_below(histogram(1), 'NaN');
SELECT histogram_quantile(NULL, 0.5), histogram_count(NULL);

-- What is no histogram: empty, unknown version, cut off, a total that is not the sum, beyond the last bucket, too long.
SELECT histogram_count('');
CREATE FUNCTION pg_temp.try(h bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT format('%s values, median %s', histogram_count(histogram_merge(h)), histogram_quantile(h, 0.5)));
EXCEPTION WHEN data_corrupted THEN
  RETURN SQLERRM;
END
$$;
SELECT h, pg_temp.try(decode(h, 'hex'))
FROM unnest('{0100,01020102,0101f00401,0101f10401,00,01,0200,0102,010201,01030102,01010102,01010001,01010100,0101ffffffffffffffffff0101,
              01ffffffffffffffff7f01ffffffffffffffff7f,01ffffffffffffffffff0101ffffffffffffffffff01,01ffffffffffffffffff7f,
              01ffffffffffffffffffffff,0180,010180,01018001}'::text[]) h;
-- More values than a bigint counts.
SELECT histogram_merge(h) FROM (VALUES ('\x01ffffffffffffffff7f01ffffffffffffffff7f'::bytea), ('\x01010101')) v (h);
-- What is cut off is refused; a bit turned anywhere does no harm.
WITH good AS (SELECT histogram(ms) AS h FROM sample WHERE kind = 'heavy tail')
SELECT count(*) FILTER (WHERE pg_temp.try(substr(h, 1, n)) ~ 'is not a histogram') AS cut_off, length(h) = count(*) AS is_all
FROM good, generate_series(0, length(h) - 1) n GROUP BY h;
SELECT count(pg_temp.try(set_bit(h, n, 1 - get_bit(h, n)))) = 8 * length(h) AS survives
FROM (SELECT histogram(ms) AS h FROM sample WHERE kind = 'exponential') x, generate_series(0, 8 * length(h) - 1) n GROUP BY h;

-- Everybody who may use the schema may compute with them.
CREATE ROLE regress_wo_reader;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_reader;
SET ROLE regress_wo_reader;
SELECT histogram_quantile(histogram_merge(h), 0.5), histogram_count(histogram_merge(h)), histogram_count_below(histogram_merge(h), 2)
FROM (SELECT histogram(ms) AS h FROM generate_series(1, 3) ms) x, histogram_buckets(h) b;
RESET ROLE;

DROP TABLE public.stored;
DROP EXTENSION webhook_outbox;
DROP SCHEMA webhook_outbox;
DROP ROLE regress_wo_reader;
