-- Counters that only grow, as Prometheus wants them: one that shrinks by the least is taken for one that began anew. Rollups
-- are deleted when they are old, so what was counted before the last hours is kept here, as one row per endpoint and tier,
-- written once an hour; what came since is read from the rollups. The open part is left out, for in it times are rounded
-- otherwise than in the rollup that it becomes: so these numbers are up to a minute old.

CREATE TABLE webhook_outbox.endpoint_counter (
  endpoint_id    bigint NOT NULL,
  tier           smallint NOT NULL,
  counted_until  timestamptz NOT NULL,
  attempts       bigint NOT NULL,
  failures       bigint NOT NULL,
  retries        bigint NOT NULL,
  delivered      bigint NOT NULL,
  late           bigint NOT NULL,
  dead           bigint NOT NULL,
  redelivered    bigint NOT NULL,
  latency_sum_ms double precision NOT NULL,
  http_sum_ms    double precision NOT NULL,
  latency        bytea NOT NULL,
  http           bytea NOT NULL,
  PRIMARY KEY (endpoint_id, tier)
);
COMMENT ON TABLE webhook_outbox.endpoint_counter IS
  'what was recorded of an endpoint since it was created, up to counted_until; written by maintain() (see counter_facts())';
COMMENT ON COLUMN webhook_outbox.endpoint_counter.endpoint_id IS 'which endpoint; 0: all that were deleted';
COMMENT ON COLUMN webhook_outbox.endpoint_counter.tier IS 'tier of the endpoint then';
COMMENT ON COLUMN webhook_outbox.endpoint_counter.counted_until IS 'what was recorded before this is counted; the same in all rows';
DO $$
DECLARE
  v_column text;
BEGIN
  -- the same measures mean the same
  FOREACH v_column IN ARRAY '{attempts,failures,retries,delivered,late,dead,redelivered,latency_sum_ms,http_sum_ms,latency,
                              http}'::text[]
  LOOP
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.endpoint_counter.%I IS %L', v_column,
      (SELECT pg_catalog.col_description(a.attrelid, a.attnum) FROM pg_catalog.pg_attribute a
       WHERE a.attrelid = 'webhook_outbox.endpoint_rollup'::pg_catalog.regclass AND a.attname = v_column));
  END LOOP;
END
$$;

CREATE TABLE webhook_outbox.error_counter (
  outcome       text NOT NULL,
  http_status   smallint,
  counted_until timestamptz NOT NULL,
  attempts      bigint NOT NULL,
  UNIQUE NULLS NOT DISTINCT (outcome, http_status)
);
COMMENT ON TABLE webhook_outbox.error_counter IS
  'attempts that failed, ever, up to counted_until; written by maintain() (see error_counter_facts())';
COMMENT ON COLUMN webhook_outbox.error_counter.outcome IS 'outcome of the attempts, see attempt.outcome';
COMMENT ON COLUMN webhook_outbox.error_counter.http_status IS 'HTTP status; NULL: no response';
COMMENT ON COLUMN webhook_outbox.error_counter.counted_until IS 'what was recorded before this is counted; the same in all rows';
COMMENT ON COLUMN webhook_outbox.error_counter.attempts IS 'how many';

-- Both tables add up to p_until, which is behind all that is still written.

CREATE FUNCTION webhook_outbox.counter_facts(
  p_until timestamptz DEFAULT 'infinity',
  OUT endpoint_id bigint, OUT tier smallint, OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint,
  OUT late bigint, OUT dead bigint, OUT redelivered bigint, OUT latency_sum_ms double precision,
  OUT http_sum_ms double precision, OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH part AS (
    SELECT c.endpoint_id, c.tier, c.attempts, c.failures, c.retries, c.delivered, c.late, c.dead, c.redelivered,
           c.latency_sum_ms, c.http_sum_ms, c.latency, c.http
    FROM webhook_outbox.endpoint_counter c
    UNION ALL
    SELECT f.endpoint_id, f.tier, f.attempts, f.failures, f.retries, f.delivered, f.late, f.dead, f.redelivered,
           f.latency_sum_ms, f.http_sum_ms, f.latency, f.http
    FROM webhook_outbox.endpoint_facts(
           coalesce((SELECT max(c.counted_until) FROM webhook_outbox.endpoint_counter c), now() - interval '10 years'),
           p_until) f)
  SELECT p.endpoint_id, p.tier, sum(p.attempts)::bigint, sum(p.failures)::bigint, sum(p.retries)::bigint,
         sum(p.delivered)::bigint, sum(p.late)::bigint, sum(p.dead)::bigint, sum(p.redelivered)::bigint,
         sum(p.latency_sum_ms), sum(p.http_sum_ms), webhook_outbox.histogram_merge(p.latency),
         webhook_outbox.histogram_merge(p.http)
  FROM part p
  GROUP BY p.endpoint_id, p.tier
$$;
COMMENT ON FUNCTION webhook_outbox.counter_facts(timestamptz) IS
  'what was recorded of each endpoint and tier since the extension was created: these numbers only grow';

CREATE FUNCTION webhook_outbox.error_counter_facts(
  p_until timestamptz DEFAULT 'infinity', OUT outcome text, OUT http_status smallint, OUT attempts bigint)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 50 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH part AS (
    SELECT c.outcome, c.http_status, c.attempts FROM webhook_outbox.error_counter c
    UNION ALL
    SELECT r.outcome, r.http_status, r.attempts
    FROM webhook_outbox.rollup_span(
           coalesce((SELECT max(c.counted_until) FROM webhook_outbox.error_counter c), now() - interval '10 years'),
           p_until) s
    CROSS JOIN LATERAL (
      SELECT * FROM webhook_outbox.error_rollup r
      WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r)
  SELECT p.outcome, p.http_status, sum(p.attempts)::bigint FROM part p GROUP BY p.outcome, p.http_status
$$;
COMMENT ON FUNCTION webhook_outbox.error_counter_facts(timestamptz) IS
  'attempts that failed since the extension was created, by outcome and status: these numbers only grow';

CREATE FUNCTION webhook_outbox.advance_counters() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_until timestamptz := (SELECT m.hour_until FROM webhook_outbox.rollup_watermark m LIMIT 1);
  v_rows  bigint := 0;
  v_more  bigint;
BEGIN
  -- The clock was set back. What is still written may be of any time from then on.
  IF v_until > now() THEN
    RETURN 0;
  END IF;
  IF v_until > coalesce((SELECT max(c.counted_until) FROM webhook_outbox.endpoint_counter c), '-infinity') THEN
    WITH fact AS MATERIALIZED (SELECT f.* FROM webhook_outbox.counter_facts(v_until) f),
    alive AS (
      -- so that their number does not grow with each endpoint that comes and goes
      SELECT CASE WHEN EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = f.endpoint_id)
                  THEN f.endpoint_id ELSE 0 END AS key, f.*
      FROM fact f),
    gone AS (
      DELETE FROM webhook_outbox.endpoint_counter c
      WHERE c.endpoint_id <> 0
        AND NOT EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = c.endpoint_id))
    INSERT INTO webhook_outbox.endpoint_counter
      SELECT a.key, a.tier, v_until, sum(a.attempts), sum(a.failures), sum(a.retries), sum(a.delivered), sum(a.late),
             sum(a.dead), sum(a.redelivered), sum(a.latency_sum_ms), sum(a.http_sum_ms),
             webhook_outbox.histogram_merge(a.latency), webhook_outbox.histogram_merge(a.http)
      FROM alive a
      GROUP BY a.key, a.tier
    ON CONFLICT (endpoint_id, tier) DO UPDATE SET
      (counted_until, attempts, failures, retries, delivered, late, dead, redelivered, latency_sum_ms, http_sum_ms, latency, http)
      = (EXCLUDED.counted_until, EXCLUDED.attempts, EXCLUDED.failures, EXCLUDED.retries, EXCLUDED.delivered, EXCLUDED.late,
         EXCLUDED.dead, EXCLUDED.redelivered, EXCLUDED.latency_sum_ms, EXCLUDED.http_sum_ms, EXCLUDED.latency, EXCLUDED.http);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
  END IF;
  IF v_until > coalesce((SELECT max(c.counted_until) FROM webhook_outbox.error_counter c), '-infinity') THEN
    INSERT INTO webhook_outbox.error_counter (outcome, http_status, counted_until, attempts)
      SELECT f.outcome, f.http_status, v_until, f.attempts FROM webhook_outbox.error_counter_facts(v_until) f
    ON CONFLICT (outcome, http_status) DO UPDATE SET
      counted_until = EXCLUDED.counted_until, attempts = EXCLUDED.attempts;
    GET DIAGNOSTICS v_more = ROW_COUNT;
  END IF;
  RETURN v_rows + coalesce(v_more, 0);
END
$$;
COMMENT ON FUNCTION webhook_outbox.advance_counters() IS
  'step of maintain(): adds the hours that ended to endpoint_counter and error_counter, before their rollups are deleted';
INSERT INTO webhook_outbox.maintenance_step (step, position, run_every, function)
  VALUES ('counters', 75, '5 minutes', 'webhook_outbox.advance_counters()');
