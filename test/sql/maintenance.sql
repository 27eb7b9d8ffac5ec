-- Maintenance: rollups are joined exactly and forgotten in time, a step that fails is recorded and stops no other. No worker
-- takes part: the test writes what the dispatcher would.
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE EXTENSION webhook_outbox;
SET timezone = 'Asia/Kolkata';  -- hours and days are those of UTC, not these
SET datestyle = 'ISO';

SELECT step, position, run_every, enabled FROM webhook_outbox.maintenance_step WHERE function ~ 'roll|queue' ORDER BY position;
CREATE TEMP VIEW status AS
  SELECT step, state, run_by, rows, error, failures, last_error, last_run_at IS NOT NULL AS has_run, next_due_at <= now() AS is_due
  FROM webhook_outbox.maintenance_status WHERE step ~ '^(rollup|queue|test)';
TABLE status;

-- Three days, three hours and ten minutes of two endpoints, each with a row every seven minutes. Sums are exact in binary.
BEGIN;
SELECT date_trunc('hour', now(), 'UTC') AS hour, date_trunc('day', now(), 'UTC') AS day \gset
CREATE FUNCTION pg_temp.minutes(p_from timestamptz, p_to timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO webhook_outbox.endpoint_rollup
    SELECT m, 1, e, e, 10, 3, 2, 7, 1, 1, 2, 1, 7.25 * n, 10.5 * n, n, 2 * n,
           webhook_outbox.histogram(n + e), webhook_outbox.histogram(2 * n)
    FROM generate_series(p_from, p_to - interval '1 minute', '7 minutes') m, generate_series(1, 2) e,
         LATERAL (SELECT 1 + extract(epoch FROM m)::bigint % 1000 AS n) x
    GROUP BY m, e, n;
  INSERT INTO webhook_outbox.series_rollup
    SELECT bucket, 1, tier * 7, attempts, failures, retries, delivered, late, dead, retried, redelivered, latency_sum_ms,
           http_sum_ms, latency_max_ms, http_max_ms, latency, http
    FROM webhook_outbox.endpoint_rollup WHERE resolution = 1;
  INSERT INTO webhook_outbox.error_rollup
    SELECT bucket, 1, status, endpoint_id, CASE WHEN status IS NULL THEN 'timeout' ELSE 'http_error' END, coalesce(status, 400) / 100
    FROM webhook_outbox.endpoint_rollup, unnest('{NULL,500,503}'::smallint[]) status WHERE resolution = 1;
$$;
SELECT pg_temp.minutes(:'hour'::timestamptz - interval '75 hours', :'hour'::timestamptz + interval '10 minutes');
UPDATE webhook_outbox.rollup_watermark
  SET hour_until = :'hour'::timestamptz - interval '76 hours', day_until = :'day'::timestamptz - interval '5 days';
UPDATE webhook_outbox.open_rollup SET since_at = now();

-- what a reader adds up for a span, from the finest rows
CREATE FUNCTION pg_temp.facts(p_from timestamptz, p_to timestamptz, OUT what text, OUT facts text) RETURNS SETOF record
LANGUAGE sql AS $$
  SELECT 'endpoint ' || f.endpoint_id, (to_jsonb(f) - '{latency,http}'::text[])::text
         || webhook_outbox.histogram_quantile(f.latency, 0.95) || webhook_outbox.histogram_count(f.http)
  FROM webhook_outbox.endpoint_facts(p_from, p_to) f
UNION ALL
  SELECT 'series ' || f.series_id, (to_jsonb(f) - '{latency,http}'::text[])::text
         || webhook_outbox.histogram_quantile(f.latency, 0.95) || webhook_outbox.histogram_count(f.http)
  FROM webhook_outbox.series_facts(p_from, p_to) f
UNION ALL
  SELECT 'error ' || concat_ws(' ', r.endpoint_id, r.outcome, r.http_status), sum(r.attempts)::text
  FROM webhook_outbox.rollup_span(p_from, p_to) s
  JOIN webhook_outbox.error_rollup r ON r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket
  GROUP BY r.endpoint_id, r.outcome, r.http_status
$$;
-- spans that begin and end on hours and days
CREATE TEMP TABLE span AS
  SELECT * FROM (VALUES ('all', :'hour'::timestamptz - interval '80 hours', now()),
                        ('a day', :'day'::timestamptz - interval '2 days', :'day'::timestamptz - interval '1 day'),
                        ('hours', :'hour'::timestamptz - interval '50 hours', :'hour'::timestamptz - interval '3 hours'))
                s(span, "from", "to");
CREATE TEMP TABLE before AS SELECT s.span, f.* FROM span s, pg_temp.facts(s."from", s."to") f;
SELECT span, count(*) FROM before GROUP BY span ORDER BY span;
CREATE TEMP VIEW differences AS
  SELECT 'before' AS side, x.* FROM (TABLE before EXCEPT SELECT s.span, f.* FROM span s, pg_temp.facts(s."from", s."to") f) x
  UNION ALL
  SELECT 'after', x.* FROM (SELECT s.span, f.* FROM span s, pg_temp.facts(s."from", s."to") f EXCEPT TABLE before) x;

SELECT step, rows > 0 AS has_rows, error FROM webhook_outbox.maintain('rollup_hours');
TABLE differences;
SELECT step, rows > 0 AS has_rows, error FROM webhook_outbox.maintain('rollup_days');
TABLE differences;
-- the last hour is joined when it is over for 15 minutes
SELECT hour_until IN (:'hour', :'hour'::timestamptz - interval '1 hour') AS is_up_to_date,
       day_until = date_trunc('day', hour_until, 'UTC') AS days_follow
FROM webhook_outbox.rollup_watermark;
SELECT resolution, bool_and(bucket = date_trunc(CASE resolution WHEN 60 THEN 'hour' WHEN 1440 THEN 'day' ELSE 'minute' END, bucket, 'UTC'))
         AS is_aligned,
       count(*) = count(DISTINCT (bucket, endpoint_id)) AS is_joined
FROM webhook_outbox.endpoint_rollup GROUP BY resolution ORDER BY resolution;
-- a second run finds nothing to do
SELECT step, rows FROM webhook_outbox.maintain('rollup_hours') UNION ALL SELECT step, rows FROM webhook_outbox.maintain('rollup_days');
-- what is open is not joined
SAVEPOINT open_part;
UPDATE webhook_outbox.rollup_watermark SET hour_until = :'hour'::timestamptz - interval '10 hours';
DELETE FROM webhook_outbox.endpoint_rollup WHERE resolution = 60;
UPDATE webhook_outbox.open_rollup SET since_at = :'hour'::timestamptz - interval '7 hours 1 minute';
SELECT count(*) FROM webhook_outbox.maintain('rollup_hours');
SELECT :'hour'::timestamptz - hour_until AS hour_until, :'hour'::timestamptz - (SELECT max(bucket) FROM webhook_outbox.endpoint_rollup
  WHERE resolution = 60) AS last_hour FROM webhook_outbox.rollup_watermark;
ROLLBACK TO open_part;

-- Retention takes what is joined and old, in every table, and changes no sum.
SELECT step, rows > 0 AS has_rows, error FROM webhook_outbox.maintain('rollup_retention');
TABLE differences;
SELECT min(bucket) >= now() - interval '26 hours' AS minutes_are_gone FROM webhook_outbox.endpoint_rollup WHERE resolution = 1;
SELECT count(*) FROM webhook_outbox.series_rollup WHERE resolution = 1 AND bucket < now() - interval '26 hours';
SELECT count(*) FROM webhook_outbox.error_rollup WHERE resolution = 1 AND bucket < now() - interval '26 hours';
UPDATE webhook_outbox.endpoint_rollup SET bucket = bucket - interval '36 days' WHERE resolution = 60;
UPDATE webhook_outbox.endpoint_rollup SET bucket = bucket - interval '401 days' WHERE resolution = 1440;
UPDATE webhook_outbox.endpoint_rollup SET bucket = bucket - interval '36 hours' WHERE resolution = 1;
SAVEPOINT unjoined;
UPDATE webhook_outbox.rollup_watermark SET hour_until = now() - interval '500 days', day_until = now() - interval '500 days';
SELECT rows > 0 AS has_rows FROM webhook_outbox.maintain('rollup_retention');
SELECT resolution FROM webhook_outbox.endpoint_rollup GROUP BY resolution ORDER BY resolution;  -- not joined, not forgotten
ROLLBACK TO unjoined;
SELECT rows > 0 AS has_rows FROM webhook_outbox.maintain('rollup_retention');
SELECT resolution FROM webhook_outbox.endpoint_rollup GROUP BY resolution ORDER BY resolution;
-- more than a batch
INSERT INTO webhook_outbox.error_rollup SELECT now() - interval '30 hours', 1, 500, n, 'http_error', 1 FROM generate_series(1, 25000) n;
SELECT rows FROM webhook_outbox.maintain('rollup_retention');
ROLLBACK;

-- Samples of the queue: all together, and each endpoint for which something waits.
BEGIN;
SELECT rows, error FROM webhook_outbox.maintain('queue_samples');
SELECT endpoint_id, length, oldest_age_s, resolution FROM webhook_outbox.queue_sample;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/');
SELECT name FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/', '{user.*}');
SELECT count(webhook_outbox.publish('order.created', '1')) FROM generate_series(1, 3);
SELECT rows, error FROM webhook_outbox.maintain('queue_samples');
SELECT p.name, s.length, s.oldest_age_s BETWEEN 0 AND 600 AS has_age, s.resolution, s.at = date_trunc('minute', now()) AS is_now
FROM webhook_outbox.queue_sample s LEFT JOIN webhook_outbox.endpoint p USING (endpoint_id) ORDER BY name;
INSERT INTO webhook_outbox.queue_sample
  SELECT date_trunc('hour', now(), 'UTC') - n * interval '1 minute', e, n * (e + 1), n, 1
  FROM generate_series(1, 120) n, generate_series(0, 1) e WHERE e = 0 OR n > 100;
INSERT INTO webhook_outbox.queue_sample VALUES (now() - interval '27 hours', 0, 5, 5, 1), (now() - interval '36 days', 0, 5, 5, 60);
SELECT rows, error FROM webhook_outbox.maintain('queue_samples');
SELECT date_trunc('hour', now(), 'UTC') - at AS ago, endpoint_id, length, oldest_age_s FROM webhook_outbox.queue_sample
WHERE resolution = 60 AND at > now() - interval '5 hours' ORDER BY at, endpoint_id;
SELECT count(*) FROM webhook_outbox.queue_sample WHERE at < now() - interval '30 days' OR at < now() - interval '26 hours' AND resolution = 1;
SELECT rows, error FROM webhook_outbox.maintain('queue_samples');
ROLLBACK;

-- A step that fails is recorded and reported once; the others run, and it runs after them.
CREATE TABLE public.switch (fails boolean);
INSERT INTO public.switch VALUES (true);
CREATE FUNCTION public.test_step() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT fails FROM public.switch) THEN
    RAISE EXCEPTION 'switched on';
  END IF;
  RETURN 42;
END
$$;
INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES ('test', -1, 'public.test_step()');
CREATE TEMP VIEW run AS SELECT step, rows, error FROM webhook_outbox.maintain() WHERE step ~ '^(rollup|queue|test)';
TABLE run;
TABLE run;
TABLE status;
UPDATE public.switch SET fails = false;
TABLE run;
TABLE run;
TABLE status;
-- disabled, or not due: only when it is named
UPDATE webhook_outbox.maintenance_step SET enabled = false WHERE step = 'rollup_days';
UPDATE webhook_outbox.maintenance_step SET run_every = '1 hour' WHERE step = 'test';
TABLE run;
TABLE status;
SELECT step, rows FROM webhook_outbox.maintain('test') UNION ALL SELECT step, rows FROM webhook_outbox.maintain(step => 'rollup_days');
UPDATE webhook_outbox.maintenance_step SET last_started_at = now() - interval '59 minutes 40 seconds' WHERE step = 'test';
TABLE run;
UPDATE webhook_outbox.maintenance_step SET last_started_at = now() - interval '68 minutes' WHERE step IN ('test', 'queue_samples');
TABLE status;
-- its function is gone
DROP FUNCTION public.test_step();
TABLE run;
-- a step that takes too long ends the run, not the transaction
CREATE FUNCTION public.test_step() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint FROM generate_series(1, 1e10::bigint) HAVING count(*) > 0';
SET statement_timeout = '5s';
TABLE run;
RESET statement_timeout;
SELECT step, state, error, failures FROM status WHERE step = 'test';

-- An INSERT of a step that is there (by a dump that is loaded) changes what users may change.
INSERT INTO webhook_outbox.maintenance_step (step, position, function, enabled, run_every, failures)
  VALUES ('rollup_days', 1, 'public.no_function_of_old()', true, '2 hours', 7);
SELECT step, position, run_every, function, enabled, failures FROM webhook_outbox.maintenance_step WHERE step = 'rollup_days';
INSERT INTO webhook_outbox.rollup_watermark VALUES ('2026-01-02 03:00Z', '2026-01-02 00:00Z');
SELECT hour_until AT TIME ZONE 'UTC', day_until AT TIME ZONE 'UTC' FROM webhook_outbox.rollup_watermark;

-- Bad input.
\set VERBOSITY default
DO $$
DECLARE
  v_hint text;
BEGIN
  PERFORM webhook_outbox.maintain('rollups');
EXCEPTION WHEN undefined_object THEN
  GET STACKED DIAGNOSTICS v_hint = PG_EXCEPTION_HINT;
  RAISE NOTICE '%; the hint lists %', SQLERRM, substring(v_hint FROM '^Steps are .*(rollup_hours, rollup_days)');
END
$$;
INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES ('bad', 1, 'public.nothing()');
INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES ('bad', 1, 'pg_catalog.now()');
INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES ('bad', 1, 'pg_catalog.abs(bigint)');
UPDATE webhook_outbox.maintenance_step SET function = 'drop table x' WHERE step = 'test';
\set VERBOSITY terse
INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES ('Bad step', 1, 'public.test_step()');
UPDATE webhook_outbox.maintenance_step SET run_every = '30 seconds' WHERE step = 'test';
\set VERBOSITY default
SELECT webhook_outbox.schedule_maintenance(NULL);
\set VERBOSITY terse
SELECT webhook_outbox.schedule_maintenance();
SELECT webhook_outbox.unschedule_maintenance();
SELECT replace(webhook_outbox.maintenance_job_sql('*/2 * * * *'), quote_literal(current_user), '''owner''') AS to_run_elsewhere;

-- It is for the owner and those he lets.
CREATE ROLE regress_wo_operator;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_operator;
SET ROLE regress_wo_operator;
SELECT webhook_outbox.maintain();
RESET ROLE;
GRANT EXECUTE ON FUNCTION webhook_outbox.maintain TO regress_wo_operator;
SET ROLE regress_wo_operator;
SELECT step, error FROM webhook_outbox.maintain('rollup_hours');
RESET ROLE;
DROP VIEW run, status;
DROP EXTENSION webhook_outbox;
DROP SCHEMA webhook_outbox;
DROP ROLE regress_wo_operator;
DROP FUNCTION public.test_step();
DROP TABLE public.switch;
