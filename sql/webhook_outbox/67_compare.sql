-- Before and after a change: each signal of two periods, and whether the difference is more than chance.

CREATE FUNCTION webhook_outbox.check_compared_period(p_name text, p_period tstzrange) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_kept    interval := coalesce(current_setting('webhook_outbox.metrics_retention', true), '400 days')::interval;
  v_code    text := 'invalid_parameter_value';
  v_message text;
  v_hint    text;
BEGIN
  IF p_period IS NULL THEN
    v_code := 'null_value_not_allowed';
    v_message := format('%s must not be null', p_name);
    v_hint := 'Give a range with a start and an end: tstzrange(''2026-03-01'', ''2026-03-08'').';
  ELSIF isempty(p_period) THEN
    v_message := format('%s is empty', p_name);
    v_hint := 'Give a range whose start is before its end.';
  ELSIF lower_inf(p_period) OR upper_inf(p_period) OR NOT isfinite(lower(p_period)) OR NOT isfinite(upper(p_period)) THEN
    v_message := format('%s has no start or no end: %s', p_name, p_period);
    v_hint := 'Give both ends; now() may be the end.';
  ELSIF upper(p_period) > clock_timestamp() THEN
    v_message := format('%s ends in the future: %s', p_name, upper(p_period));
    v_hint := 'The latest end is now().';
  ELSIF lower(p_period) < now() - v_kept THEN
    v_message := format('%s starts at %s, before what is kept', p_name, lower(p_period));
    v_hint := format('Numbers are kept for %s (webhook_outbox.metrics_retention).', v_kept);
  ELSIF webhook_outbox.rollup_edge(lower(p_period)) >= webhook_outbox.rollup_edge(upper(p_period)) THEN
    v_message := format('%s is too short: %s', p_name, p_period);
    v_hint := 'Numbers are kept by the minute for 25 hours, then by the hour for 34 days, then by the day: give a longer range.';
  ELSE
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = v_code, MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_compared_period(text, tstzrange) IS 'fails unless this is a period that numbers are kept of';

-- What was recorded in a period, over all endpoints or of one. One row always.

CREATE FUNCTION webhook_outbox.period_facts(
  p_period tstzrange, p_endpoint_id bigint,
  OUT hours double precision, OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint,
  OUT late bigint, OUT dead bigint, OUT retried bigint, OUT latency_max_ms real, OUT http_max_ms real,
  OUT latency bytea, OUT http bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH edge AS (
    SELECT webhook_outbox.rollup_edge(lower(p_period)) AS from_at, upper(p_period) AS to_at,
           CASE WHEN upper(p_period) < now() THEN webhook_outbox.rollup_edge(upper(p_period))
                ELSE upper(p_period) END AS past_at),
  part AS (
    SELECT f.endpoint_id, f.attempts, f.failures, f.retries, f.delivered, f.late, f.dead, f.retried, f.latency_max_ms,
           f.http_max_ms, f.latency, f.http
    FROM edge e, webhook_outbox.endpoint_facts(e.from_at, e.to_at) f
    UNION ALL
    SELECT o.endpoint_id, o.attempts, o.failures, o.retries, o.delivered, o.late, o.dead, o.retried, o.latency_max_ms,
           o.http_max_ms, o.latency, o.http
    FROM edge e, webhook_outbox.open_endpoint_minutes() o
    WHERE o.bucket >= e.from_at AND o.bucket < e.past_at)
  SELECT (SELECT extract(epoch FROM e.past_at - e.from_at)::double precision / 3600 FROM edge e),
         coalesce(sum(p.attempts), 0)::bigint, coalesce(sum(p.failures), 0)::bigint, coalesce(sum(p.retries), 0)::bigint,
         coalesce(sum(p.delivered), 0)::bigint, coalesce(sum(p.late), 0)::bigint, coalesce(sum(p.dead), 0)::bigint,
         coalesce(sum(p.retried), 0)::bigint, max(p.latency_max_ms), max(p.http_max_ms),
         webhook_outbox.histogram_merge(p.latency), webhook_outbox.histogram_merge(p.http)
  FROM part p
  WHERE p_endpoint_id IS NULL OR p.endpoint_id = p_endpoint_id
$$;
COMMENT ON FUNCTION webhook_outbox.period_facts(tstzrange, bigint) IS
  'what was recorded in a period, of one endpoint or (NULL) of all; ends are rounded, see rollup_edge()';

-- Two shares: a z test where each count to be expected is at least 5, else exact.

CREATE FUNCTION webhook_outbox.compare_shares(
  p_hits_before bigint, p_total_before bigint, p_hits_after bigint, p_total_after bigint,
  OUT p_value double precision, OUT direction integer, OUT test text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN c.is_large THEN webhook_outbox.normal_p_value((a.share - b.share) / sqrt(c.variance))
              ELSE webhook_outbox.fisher_p_value(p_hits_before, p_total_before, p_hits_after, p_total_after) END,
         sign(a.share - b.share)::integer,
         CASE WHEN c.is_large THEN 'two-proportion z' ELSE 'Fisher exact' END
  FROM (SELECT p_hits_before::double precision AS hits, p_total_before::double precision AS n,
               p_hits_before::double precision / p_total_before AS share) b
  CROSS JOIN (SELECT p_hits_after::double precision AS hits, p_total_after::double precision AS n,
                     p_hits_after::double precision / p_total_after AS share) a
  CROSS JOIN LATERAL (SELECT (b.hits + a.hits) / (b.n + a.n) AS share) p
  CROSS JOIN LATERAL (
    SELECT least(b.n, a.n) * least(p.share, 1 - p.share) >= 5 AS is_large,
           p.share * (1 - p.share) * (1 / b.n + 1 / a.n) AS variance) c
$$;
COMMENT ON FUNCTION webhook_outbox.compare_shares(bigint, bigint, bigint, bigint) IS
  'whether two shares differ by more than chance: p_value (two-sided), direction (1: the second is larger), name of the test; '
  'totals are above 0';

-- Two histograms. The medians are judged by where all values lie (Mann-Whitney U; values in one bucket are ties); a high
-- percentile by the share of values above it, where it is that of both together: a shift of the bulk says nothing of the tail.

CREATE FUNCTION webhook_outbox.compare_histograms(
  p_before bytea, p_after bytea,
  OUT quantile double precision, OUT p_value double precision, OUT direction integer, OUT test text) RETURNS SETOF record
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 3 SET search_path = pg_catalog, pg_temp
AS $$
  WITH bucket AS (
    SELECT coalesce(b.lower_ms, a.lower_ms) AS lower_ms, coalesce(b.count, 0)::double precision AS n_before,
           coalesce(a.count, 0)::double precision AS n_after
    FROM webhook_outbox.histogram_buckets(p_before) b
    FULL JOIN webhook_outbox.histogram_buckets(p_after) a ON a.lower_ms = b.lower_ms),
  ranked AS MATERIALIZED (
    SELECT b.lower_ms, b.n_before, b.n_after, b.n_before + b.n_after AS n,
           sum(b.n_before) OVER up AS below_before, sum(b.n_after) OVER up AS below_after
    FROM bucket b
    WINDOW up AS (ORDER BY b.lower_ms)),
  total AS (
    SELECT sum(r.n_before) AS n_before, sum(r.n_after) AS n_after, sum(r.n) AS n,
           -- pairs in which the later value is the larger one, half of those that are tied
           sum(r.n_after * (r.below_before - r.n_before / 2)) AS u,
           sum(r.n * (r.n * r.n - 1)) AS ties
    FROM ranked r)
  SELECT 0.5, CASE WHEN v.variance > 0 THEN webhook_outbox.normal_p_value(v.excess / sqrt(v.variance)) ELSE 1 END,
         sign(v.excess)::integer, 'Mann-Whitney U'
  FROM total t
  CROSS JOIN LATERAL (
    SELECT t.u - t.n_before * t.n_after / 2 AS excess,
           t.n_before * t.n_after / 12 * (t.n + 1 - t.ties / (t.n * (t.n - 1))) AS variance) v
  WHERE t.n_before > 0 AND t.n_after > 0
  UNION ALL
  SELECT q.quantile, s.p_value, s.direction, 'share above, ' || s.test
  FROM total t
  CROSS JOIN (VALUES (0.95::double precision), (0.99)) q (quantile)
  CROSS JOIN LATERAL (
    SELECT r.below_before, r.below_after FROM ranked r
    WHERE r.below_before + r.below_after >= q.quantile * t.n ORDER BY r.lower_ms LIMIT 1) c
  CROSS JOIN LATERAL webhook_outbox.compare_shares(
    (t.n_before - c.below_before)::bigint, t.n_before::bigint, (t.n_after - c.below_after)::bigint, t.n_after::bigint) s
  WHERE t.n_before > 0 AND t.n_after > 0
$$;
COMMENT ON FUNCTION webhook_outbox.compare_histograms(bytea, bytea) IS
  'whether the median, the 95th and the 99th percentile of two histograms differ by more than chance; no rows if one is empty';

CREATE FUNCTION webhook_outbox.compare_periods(
  before tstzrange, after tstzrange, endpoint text DEFAULT NULL,
  OUT signal text, OUT unit text, OUT value_before double precision, OUT value_after double precision,
  OUT change double precision, OUT change_percent double precision, OUT samples_before bigint, OUT samples_after bigint,
  OUT p_value double precision, OUT verdict text, OUT test text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  c_significant   CONSTANT double precision := 0.01;
  c_least_samples CONSTANT integer := 20;
  v_endpoint_id bigint;
  v_period      record;
BEGIN
  PERFORM webhook_outbox.check_compared_period('before', compare_periods.before);
  PERFORM webhook_outbox.check_compared_period('after', compare_periods.after);
  IF NOT compare_periods.before << compare_periods.after THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = CASE WHEN compare_periods.before && compare_periods.after THEN 'before and after overlap'
                     ELSE 'before is later than after' END,
      HINT = 'The first period must end before the second one starts.';
  END IF;
  IF compare_periods.endpoint IS NOT NULL THEN
    v_endpoint_id := (webhook_outbox.find_endpoint(compare_periods.endpoint)).endpoint_id;
  END IF;
  FOR v_period IN
    SELECT v.name, webhook_outbox.rollup_edge(lower(v.period)) AS from_at, webhook_outbox.rollup_edge(upper(v.period)) AS to_at
    FROM (VALUES ('before', compare_periods.before), ('after', compare_periods.after)) v (name, period)
    WHERE webhook_outbox.rollup_edge(lower(v.period)) <> date_trunc('minute', lower(v.period))
       OR webhook_outbox.rollup_edge(upper(v.period)) <> date_trunc('minute', upper(v.period))
  LOOP
    RAISE NOTICE '% is read as % to %: numbers that old are kept by the hour or day', v_period.name, v_period.from_at,
      v_period.to_at;
  END LOOP;

  RETURN QUERY
  WITH b AS MATERIALIZED (SELECT f.* FROM webhook_outbox.period_facts(compare_periods.before, v_endpoint_id) f),
       a AS MATERIALIZED (SELECT f.* FROM webhook_outbox.period_facts(compare_periods.after, v_endpoint_id) f),
  share AS (
    SELECT v.* FROM b, a,
    LATERAL (VALUES
      ('success_rate', b.delivered, b.delivered + b.dead, a.delivered, a.delivered + a.dead),
      ('objective_attainment', b.delivered - b.late, b.delivered + b.dead, a.delivered - a.late, a.delivered + a.dead),
      ('attempt_success_rate', b.attempts - b.failures, b.attempts, a.attempts - a.failures, a.attempts),
      ('error_rate', b.failures, b.attempts, a.failures, a.attempts),
      ('retried_share', b.retried, b.delivered + b.dead, a.retried, a.delivered + a.dead))
      v (signal, hits_before, total_before, hits_after, total_after)),
  percentile AS (
    SELECT d.kind || '_p' || round(q.quantile * 100) AS signal, d.before, d.after, q.quantile
    FROM (SELECT 'latency' AS kind, b.latency AS before, a.latency AS after FROM b, a
          UNION ALL SELECT 'http', b.http, a.http FROM b, a) d
    CROSS JOIN (VALUES (0.5::double precision), (0.95), (0.99)) q (quantile)),
  row AS (
    SELECT s.signal, 'per cent' AS unit, 100.0 * s.hits_before / nullif(s.total_before, 0) AS before,
           100.0 * s.hits_after / nullif(s.total_after, 0) AS after, s.total_before AS n_before, s.total_after AS n_after,
           t.p_value, t.direction, t.test
    FROM share s
    LEFT JOIN LATERAL webhook_outbox.compare_shares(s.hits_before, nullif(s.total_before, 0), s.hits_after,
      nullif(s.total_after, 0)) t ON true
    UNION ALL
    SELECT p.signal, 'ms', webhook_outbox.histogram_quantile(p.before, p.quantile),
           webhook_outbox.histogram_quantile(p.after, p.quantile), webhook_outbox.histogram_count(p.before),
           webhook_outbox.histogram_count(p.after), t.p_value, t.direction, t.test
    FROM percentile p
    LEFT JOIN LATERAL webhook_outbox.compare_histograms(p.before, p.after) t ON t.quantile = p.quantile
    UNION ALL
    SELECT v.signal, v.unit, v.before, v.after, v.n_before, v.n_after, NULL, NULL, NULL
    FROM b, a,
    LATERAL (VALUES
      ('latency_max', 'ms', b.latency_max_ms::double precision, a.latency_max_ms::double precision, b.delivered, a.delivered),
      ('http_max', 'ms', b.http_max_ms, a.http_max_ms, b.attempts, a.attempts),
      ('retries_per_delivery', 'ratio', b.retries::double precision / nullif(b.delivered + b.dead, 0),
       a.retries::double precision / nullif(a.delivered + a.dead, 0), b.delivered + b.dead, a.delivered + a.dead),
      ('dead_letters', 'per hour', b.dead / b.hours, a.dead / a.hours, b.delivered + b.dead, a.delivered + a.dead),
      ('deliveries', 'per hour', (b.delivered + b.dead) / b.hours, (a.delivered + a.dead) / a.hours,
       b.delivered + b.dead, a.delivered + a.dead),
      ('attempts', 'per hour', b.attempts / b.hours, a.attempts / a.hours, b.attempts, a.attempts))
      v (signal, unit, before, after, n_before, n_after))
  SELECT r.signal, r.unit, webhook_outbox.rounded(r.before), webhook_outbox.rounded(r.after),
         webhook_outbox.rounded(r.after - r.before), webhook_outbox.rounded(100 * (r.after - r.before) / nullif(r.before, 0)),
         r.n_before, r.n_after, CASE WHEN e.is_enough THEN webhook_outbox.rounded(r.p_value) END,
         CASE WHEN NOT e.is_enough THEN 'not enough data'
              WHEN r.p_value IS NULL THEN 'not tested'
              WHEN r.p_value >= c_significant THEN 'no evidence'
              WHEN (r.direction > 0) = (d.better = 'higher') THEN 'better'
              ELSE 'worse' END,
         CASE WHEN e.is_enough THEN r.test END
  FROM row r
  JOIN webhook_outbox.signal_definition d ON d.signal = r.signal
  CROSS JOIN LATERAL (SELECT least(r.n_before, r.n_after) >= c_least_samples AS is_enough) e
  ORDER BY array_position(ARRAY['success_rate', 'objective_attainment', 'attempt_success_rate', 'error_rate', 'dead_letters',
    'latency_p50', 'latency_p95', 'latency_p99', 'latency_max', 'http_p50', 'http_p95', 'http_p99', 'http_max',
    'retries_per_delivery', 'retried_share', 'deliveries', 'attempts'], r.signal);
END
$$;
COMMENT ON FUNCTION webhook_outbox.compare_periods(tstzrange, tstzrange, text) IS
  'each signal of two periods, of all endpoints or one, with the change and a verdict: better or worse (p_value below 0.01), no '
  'evidence, not enough data (below 20 samples), not tested. Only deliveries that came to an end count. The tests take '
  'deliveries as independent: one outage can make a difference significant that is its doing alone. Ends are rounded down to '
  'the minute (hour after 25 hours, day after 34 days). compare_periods('
  'tstzrange(now() - interval ''2 h'', now() - interval ''1 h''), tstzrange(now() - interval ''1 h'', now()), '
  'endpoint => ''billing'')';
