-- The console's objectives and plots.

-- What was recorded between p_from and p_to, by time: one row for each p_step, from the coarsest rows that tell them apart.

CREATE FUNCTION webhook_outbox.console_buckets(
  p_from timestamptz, p_to timestamptz, p_step interval, p_endpoint_id bigint,
  p_open webhook_outbox.endpoint_rollup[],
  OUT at timestamptz, OUT attempts bigint, OUT failures bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT latency bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 50 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH part AS (
    SELECT date_bin(p_step, r.bucket, '2000-01-01 UTC') AS at, r.attempts, r.failures, r.delivered, r.late, r.dead, r.latency
    FROM webhook_outbox.rollup_watermark w
    CROSS JOIN LATERAL (VALUES
      (1440, CASE WHEN p_step >= '1 day' THEN p_from END, w.day_until),
      (60, CASE WHEN p_step >= '1 day' THEN greatest(p_from, w.day_until) WHEN p_step >= '1 hour' THEN p_from END, w.hour_until),
      (1, CASE WHEN p_step >= '1 hour' THEN greatest(p_from, w.hour_until) ELSE p_from END, p_to)) s (resolution, first, past)
    -- OFFSET: by the index, whatever the planner thinks of three rows of which it knows nothing
    CROSS JOIN LATERAL (
      SELECT u.* FROM webhook_outbox.endpoint_rollup u
      WHERE u.resolution = s.resolution AND u.bucket >= s.first AND u.bucket < least(s.past, p_to)
        AND (p_endpoint_id IS NULL OR u.endpoint_id = p_endpoint_id) OFFSET 0) r
    UNION ALL
    SELECT date_bin(p_step, o.bucket, '2000-01-01 UTC'), o.attempts, o.failures, o.delivered, o.late, o.dead, o.latency
    FROM unnest(p_open) o
    WHERE o.bucket >= p_from AND o.bucket < p_to AND (p_endpoint_id IS NULL OR o.endpoint_id = p_endpoint_id))
  SELECT t.at, coalesce(sum(p.attempts), 0)::bigint, coalesce(sum(p.failures), 0)::bigint, coalesce(sum(p.delivered), 0)::bigint,
         coalesce(sum(p.late), 0)::bigint, coalesce(sum(p.dead), 0)::bigint, webhook_outbox.histogram_merge(p.latency)
  FROM generate_series(p_from, p_to - p_step, p_step) t (at)
  LEFT JOIN part p ON p.at = t.at
  GROUP BY t.at
$$;
COMMENT ON FUNCTION webhook_outbox.console_buckets(timestamptz, timestamptz, interval, bigint,
  webhook_outbox.endpoint_rollup[]) IS
  'what was recorded over time: of all endpoints, or of one';

CREATE FUNCTION webhook_outbox.console_step(p_span interval) RETURNS interval
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN p_span <= '1 hour' THEN interval '1 minute' WHEN p_span <= '2 hours' THEN interval '2 minutes'
              WHEN p_span <= '3 days' THEN interval '1 hour' ELSE interval '24 hours' END
$$;
COMMENT ON FUNCTION webhook_outbox.console_step(interval) IS 'the time that one bar of a plot stands for';

CREATE FUNCTION webhook_outbox.console_queue_plot(p_from timestamptz, p_to timestamptz, p_endpoint_id bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_hours boolean := p_to - p_from > '24 hours';
  -- two hundred points at most, each the longest queue of its time
  v_step  interval := date_trunc('minute', (p_to - p_from) / 180 + interval '59 seconds');
  v_at    timestamptz[];
  v_n     double precision[];
BEGIN
  IF v_hours THEN
    v_step := greatest(v_step, interval '1 hour');
  END IF;
  -- an endpoint has samples only for minutes in which something waited
  SELECT array_agg(t.at ORDER BY t.at), array_agg(t.n ORDER BY t.at) INTO v_at, v_n
  FROM (SELECT date_bin(v_step, s.at, p_from) AS at,
               max(CASE WHEN p_endpoint_id IS NULL THEN s.length ELSE coalesce(e.length, 0) END) AS n
        FROM webhook_outbox.queue_sample s
        LEFT JOIN webhook_outbox.queue_sample e
          ON e.resolution = s.resolution AND e.at = s.at AND e.endpoint_id = p_endpoint_id
        WHERE s.endpoint_id = 0 AND s.at >= p_from AND s.at < p_to
          AND (s.resolution = 1 AND (NOT v_hours OR s.at >= date_trunc('hour', now()) - interval '1 hour')
               OR s.resolution = 60 AND v_hours)
        GROUP BY 1) t;
  RETURN webhook_outbox.plot_queue(p_from, p_to, coalesce(v_at, '{}'), coalesce(v_n, '{}'));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_queue_plot(timestamptz, timestamptz, bigint) IS 'the queue over time';

CREATE FUNCTION webhook_outbox.console_signals(
  p_span interval, p_endpoint_id bigint, p_open webhook_outbox.endpoint_rollup[]) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_step   interval := webhook_outbox.console_step(p_span);
  v_to     timestamptz := date_bin(v_step, now(), '2000-01-01 UTC') + v_step;
  v_from   timestamptz := v_to - p_span;
  v_each   text := CASE WHEN v_step = '1 hour' THEN 'an hour' WHEN v_step = '24 hours' THEN 'a day (UTC)'
                        ELSE 'in ' || webhook_outbox.html_interval(v_step) END;
  v        record;
  v_queue  text;
BEGIN
  SELECT array_agg(b.at ORDER BY b.at) AS at,
         array_agg(b.at + v_step / 2 ORDER BY b.at) AS middle,
         array_agg(b.delivered::double precision ORDER BY b.at) AS delivered,
         array_agg(b.failures::double precision ORDER BY b.at) AS failures,
         array_agg(webhook_outbox.histogram_quantile(b.latency, 0.5) ORDER BY b.at) AS p50,
         array_agg(webhook_outbox.histogram_quantile(b.latency, 0.95) ORDER BY b.at) AS p95,
         array_agg(webhook_outbox.histogram_quantile(b.latency, 0.99) ORDER BY b.at) AS p99,
         array_agg(100.0::double precision * b.delivered / nullif(b.delivered + b.dead, 0) ORDER BY b.at) AS success,
         array_agg(100.0::double precision * (b.attempts - b.failures) / nullif(b.attempts, 0) ORDER BY b.at) AS attempt_success,
         sum(b.delivered) AS n_delivered, sum(b.failures) AS n_failed, sum(b.delivered + b.dead) AS n_ended,
         sum(b.attempts) AS n_attempts, webhook_outbox.histogram_merge(b.latency) AS latency
    INTO v FROM webhook_outbox.console_buckets(v_from, v_to, v_step, p_endpoint_id, p_open) b;
  v_queue := webhook_outbox.console_queue_plot(v_from, v_to, p_endpoint_id);
  RETURN webhook_outbox.html_section('signals', 'Signals', 'the last '
      || CASE WHEN p_span BETWEEN '2 hours' AND '3 days' THEN extract(epoch FROM p_span)::integer / 3600 || '&#8239;h'
              ELSE webhook_outbox.html_interval(p_span) END || ', the last point is not complete yet',
    '<div class="plots">'
    || webhook_outbox.svg_figure('Deliveries ' || v_each, 'failed attempts hang below the line',
         webhook_outbox.html_count(v.n_delivered) || ' deliveries, '
         || webhook_outbox.html_count(v.n_failed) || ' failed attempts',
         webhook_outbox.plot_deliveries(v_from, v_to, v.at, v_step, v.delivered, v.failures))
    || webhook_outbox.svg_figure('Latency', 'from the insert of the event to its delivery, logarithmic',
         coalesce('p50 ' || webhook_outbox.html_ms(webhook_outbox.histogram_quantile(v.latency, 0.5)) || ', p95 '
                  || webhook_outbox.html_ms(webhook_outbox.histogram_quantile(v.latency, 0.95)) || ', p99 '
                  || webhook_outbox.html_ms(webhook_outbox.histogram_quantile(v.latency, 0.99)), ''),
         webhook_outbox.plot_latency(v_from, v_to, v.middle, v.p50, v.p95, v.p99))
    || webhook_outbox.svg_figure('Success', 'of deliveries (thick) and of attempts, on a scale of nines',
         coalesce(webhook_outbox.html_percent(100.0 * v.n_delivered / nullif(v.n_ended, 0)) || ' of deliveries, '
                  || webhook_outbox.html_percent(100.0 * (v.n_attempts - v.n_failed) / nullif(v.n_attempts, 0))
                  || ' of attempts', ''),
         webhook_outbox.plot_success(v_from, v_to, v.middle, v.success, v.attempt_success))
    || webhook_outbox.svg_figure('Queue', 'deliveries not done yet', 'length of the queue over time', v_queue)
    || E'</div>\n');
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_signals(interval, bigint, webhook_outbox.endpoint_rollup[]) IS
  'section of console(): plots over time';

CREATE FUNCTION webhook_outbox.console_objective_row(p_slo webhook_outbox.slo) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<tr>'
    || webhook_outbox.html_cell('', CASE p_slo.scope WHEN 'tier' THEN 'tier ' || p_slo.tier || ', ' ELSE '' END
         || webhook_outbox.html_escape(p_slo.name, 60)
         || CASE p_slo.scope WHEN 'tier' THEN '' ELSE '<small>tier ' || p_slo.tier || '</small>' END, 'name')
    || webhook_outbox.html_cell('state', webhook_outbox.html_state(
         CASE p_slo.state WHEN 'healthy' THEN 'good' WHEN 'burning' THEN 'warn' WHEN 'no data' THEN 'idle' ELSE 'bad' END,
         p_slo.state))
    || webhook_outbox.html_cell('attained', webhook_outbox.html_percent(p_slo.actual, 3), 'n')
    || webhook_outbox.html_cell('objective', webhook_outbox.html_percent(p_slo.success_objective::double precision)
         || '<small>within ' || webhook_outbox.html_interval(p_slo.latency_objective) || '</small>', 'n')
    || webhook_outbox.html_cell('budget left', CASE WHEN p_slo.total > 0 THEN
         '<div class="left">' || webhook_outbox.svg_budget(p_slo.remaining) || webhook_outbox.html_share(p_slo.remaining)
         || '</div><small>spent ' || webhook_outbox.html_count(p_slo.spent) || ' of '
         || CASE WHEN p_slo.budget < 1 THEN '&lt;&#8239;1' ELSE webhook_outbox.html_count(floor(p_slo.budget)) END
         || '</small>' END, 'text')
    || webhook_outbox.html_cell('burn, 1&#8239;h', webhook_outbox.html_burn(p_slo.burn_1h, 14.4), 'n')
    || webhook_outbox.html_cell('6&#8239;h', webhook_outbox.html_burn(p_slo.burn_6h, 6), 'n')
    || webhook_outbox.html_cell('3&#8239;d', webhook_outbox.html_burn(p_slo.burn_3d, 1), 'n')
    || webhook_outbox.html_cell('exhausted in', CASE WHEN p_slo.remaining <= 0 THEN NULL
         WHEN p_slo.exhausted_in > '30 days' THEN '&gt;&#8239;30&#8239;d'
         ELSE webhook_outbox.html_interval(p_slo.exhausted_in) END, 'n')
    || E'</tr>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_objective_row(webhook_outbox.slo) IS 'a row of console_objectives()';

CREATE FUNCTION webhook_outbox.console_objectives(p_endpoint_id bigint, p_max integer) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows  text := '';
  v_n     bigint := 0;
  v_shown bigint := 0;
  v_slo   webhook_outbox.slo;
BEGIN
  FOR v_slo IN
    SELECT s.* FROM webhook_outbox.slo s
    WHERE p_endpoint_id IS NULL OR s.endpoint_id = p_endpoint_id
    ORDER BY s.scope = 'endpoint', CASE s.scope WHEN 'tier' THEN s.tier END,
             array_position('{exhausted,at risk,burning,healthy,no data}', s.state), s.remaining, s.total DESC
  LOOP
    IF v_slo.scope = 'endpoint' THEN
      v_n := v_n + 1;
      -- of those that are well and have plenty left, the number is enough
      CONTINUE WHEN v_shown >= p_max OR p_endpoint_id IS NULL AND v_slo.state IN ('healthy', 'no data')
                                        AND coalesce(v_slo.remaining, 100) >= 50;
      v_shown := v_shown + 1;
      IF v_shown = 1 AND p_endpoint_id IS NULL THEN
        v_rows := v_rows || '<tr class="part"><td colspan="9">endpoints, the worst first</td></tr>';
      END IF;
    END IF;
    v_rows := v_rows || webhook_outbox.console_objective_row(v_slo);
  END LOOP;
  RETURN webhook_outbox.html_section('objectives', 'Objectives and error budgets',
    'over 30 days; late, dead and overdue deliveries spend the budget',
    webhook_outbox.html_table(
      '{"",state,#attained,#objective,budget left,#burn rate 1&#8239;h,#6&#8239;h,#3&#8239;d,#exhausted in}', v_rows)
    || webhook_outbox.html_more(
         v_n - v_shown, 'SELECT * FROM webhook_outbox.slo WHERE scope = ''endpoint'' ORDER BY remaining;'));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_objectives(bigint, integer) IS
  'section of console(): objectives of tiers and the worst endpoints';
