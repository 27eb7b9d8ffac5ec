-- Signals over time, for whoever draws them: a row per step, with or without data.

CREATE FUNCTION webhook_outbox.signal_history(
  from_time timestamptz, to_time timestamptz DEFAULT now(), step interval DEFAULT NULL, endpoint text DEFAULT NULL,
  tier integer DEFAULT NULL,
  OUT at timestamptz, OUT attempts bigint, OUT failures bigint, OUT deliveries bigint, OUT dead_letters bigint,
  OUT success_rate double precision, OUT objective_attainment double precision, OUT error_rate double precision,
  OUT retried_share double precision, OUT latency_p50 double precision, OUT latency_p95 double precision,
  OUT latency_p99 double precision, OUT http_p50 double precision, OUT http_p95 double precision,
  OUT http_p99 double precision) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  c_max_rows    CONSTANT integer := 2000;
  c_origin      CONSTANT timestamptz := '2000-01-03 00:00:00+00';
  v_mark        webhook_outbox.rollup_watermark;
  v_endpoint_id bigint;
  v_least       interval := '0';
  v_kept        interval;
  v_step        interval;
  v_from        timestamptz := from_time;
BEGIN
  PERFORM webhook_outbox.check_period(from_time, to_time);
  IF extract(epoch FROM signal_history.step) NOT BETWEEN 1 AND 31622400
        OR extract(month FROM signal_history.step) + extract(year FROM signal_history.step) <> 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('step %L is out of range', signal_history.step),
      HINT = 'It is 1 second to 366 days, without months and years; NULL chooses one.';
  ELSIF signal_history.tier IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_outbox.tier t WHERE t.tier = signal_history.tier) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('tier %s does not exist', signal_history.tier),
      HINT = 'SELECT tier, name FROM webhook_outbox.tier lists them; NULL takes all.';
  END IF;
  IF signal_history.endpoint IS NOT NULL THEN
    v_endpoint_id := (webhook_outbox.find_endpoint(signal_history.endpoint)).endpoint_id;
  END IF;
  LOOP
    -- the first step begins before from_time, which may be where only coarser rows are kept
    v_kept := CASE WHEN v_from >= now() - interval '25 hours' THEN '1 minute'
                   WHEN v_from >= now() - interval '34 days' THEN '1 hour' ELSE '1 day' END;
    EXIT WHEN v_kept <= v_least;
    v_least := v_kept;
    v_step := greatest(coalesce(signal_history.step, (to_time - from_time) / 200), v_least, (to_time - from_time) / c_max_rows);
    v_step := CASE v_least WHEN '1 minute' THEN ceil(extract(epoch FROM v_step) / 60) * interval '1 minute'
                           WHEN '1 hour' THEN ceil(extract(epoch FROM v_step) / 3600) * interval '1 hour'
                           ELSE ceil(extract(epoch FROM v_step) / 86400) * interval '24 hours' END;
    v_from := date_bin(v_step, from_time, c_origin);
  END LOOP;
  SELECT m.* INTO v_mark FROM webhook_outbox.rollup_watermark m LIMIT 1;

  RETURN QUERY
  WITH span (resolution, first_bucket, past_bucket) AS (
    -- the finest rows that a step needs: joined ones as far as there are, then finer ones
    SELECT 1440::smallint, v_from, least(v_mark.day_until, to_time) WHERE v_least = '1 day'
    UNION ALL
    SELECT 60, CASE v_least WHEN '1 day' THEN greatest(v_from, v_mark.day_until) ELSE v_from END, least(v_mark.hour_until, to_time)
    WHERE v_least > '1 minute'
    UNION ALL
    SELECT 1, CASE v_least WHEN '1 minute' THEN v_from ELSE greatest(v_from, v_mark.hour_until) END, to_time),
  part AS (
    SELECT date_bin(v_step, r.bucket, c_origin) AS at, r.endpoint_id, r.tier, r.attempts, r.failures, r.delivered, r.late, r.dead,
           r.retried, r.latency, r.http
    FROM span s
    CROSS JOIN LATERAL (
      SELECT * FROM webhook_outbox.endpoint_rollup r
      WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r
    UNION ALL
    SELECT date_bin(v_step, o.bucket, c_origin), o.endpoint_id, o.tier, o.attempts, o.failures, o.delivered, o.late, o.dead,
           o.retried, o.latency, o.http
    FROM webhook_outbox.open_endpoint_minutes() o
    WHERE o.bucket >= v_from AND o.bucket < to_time),
  total AS (
    SELECT p.at, sum(p.attempts)::bigint AS attempts, sum(p.failures)::bigint AS failures, sum(p.delivered)::bigint AS delivered,
           sum(p.late)::bigint AS late, sum(p.dead)::bigint AS dead, sum(p.retried)::bigint AS retried,
           webhook_outbox.histogram_merge(p.latency) AS latency, webhook_outbox.histogram_merge(p.http) AS http
    FROM part p
    WHERE (v_endpoint_id IS NULL OR p.endpoint_id = v_endpoint_id)
      AND (signal_history.tier IS NULL OR p.tier = signal_history.tier)
    GROUP BY p.at)
  SELECT g.at, coalesce(t.attempts, 0), coalesce(t.failures, 0), coalesce(t.delivered + t.dead, 0), coalesce(t.dead, 0),
         100.0::double precision * t.delivered / nullif(t.delivered + t.dead, 0),
         100.0::double precision * (t.delivered - t.late) / nullif(t.delivered + t.dead, 0),
         100.0::double precision * t.failures / nullif(t.attempts, 0),
         100.0::double precision * t.retried / nullif(t.delivered + t.dead, 0),
         webhook_outbox.histogram_quantile(t.latency, 0.5), webhook_outbox.histogram_quantile(t.latency, 0.95),
         webhook_outbox.histogram_quantile(t.latency, 0.99), webhook_outbox.histogram_quantile(t.http, 0.5),
         webhook_outbox.histogram_quantile(t.http, 0.95), webhook_outbox.histogram_quantile(t.http, 0.99)
  FROM generate_series(v_from, to_time - interval '1 microsecond', v_step) g (at)
  LEFT JOIN total t ON t.at = g.at
  ORDER BY g.at;
END
$$;
COMMENT ON FUNCTION webhook_outbox.signal_history(timestamptz, timestamptz, interval, text, integer) IS
  'signals over time, of all endpoints, one, or those of a tier: a row per step, rates and percentiles NULL where nothing was '
  'recorded. Steps are whole minutes, whole hours where the first begins more than 25 hours ago, whole days beyond 34 days; at '
  'most 2000. Overdue deliveries are not in it: only what came to an end. signal_history(now() - interval ''6 hours'', endpoint => ''billing'')';
