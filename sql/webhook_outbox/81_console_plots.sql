-- The console's plots. All have the same frame, an area of 360 x 144 in a picture of 456 x 182, so that the same hour stands
-- at the same place in each. Series are arrays of equal length: points in time, and a value or NULL (no data: a gap).

CREATE FUNCTION webhook_outbox.svg_number(p_value double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN trim_scale(round(p_value::numeric, 1))::text;
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_number(double precision) IS 'a coordinate, to a tenth';

CREATE FUNCTION webhook_outbox.svg_x(p_at timestamptz, p_from timestamptz, p_to timestamptz) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN 360 * (extract(epoch FROM p_at - p_from) / extract(epoch FROM p_to - p_from))::double precision;
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_x(timestamptz, timestamptz, timestamptz) IS
  'where a time stands in the plot area, 0 to 360';

CREATE FUNCTION webhook_outbox.svg_label(p_x double precision, p_y double precision, p_class text, p_text text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<text x="' || webhook_outbox.svg_number(p_x) || '" y="' || webhook_outbox.svg_number(p_y) || '" class="' || p_class
    || '">' || p_text || '</text>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_label(double precision, double precision, text, text) IS
  'a label; class l: ends at x, m: centred, s: starts there; o: left out on a narrow screen';

-- Days begin at midnight of the session's time zone and are labelled with the date; of the other labels each second may be
-- left out where there is little room.

CREATE FUNCTION webhook_outbox.svg_time_axis(p_from timestamptz, p_to timestamptz) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_hours double precision := extract(epoch FROM p_to - p_from) / 3600;
  v_step  interval := CASE WHEN v_hours <= 2.5 THEN interval '15 minutes' WHEN v_hours <= 8 THEN interval '1 hour'
                           WHEN v_hours <= 26 THEN interval '3 hours' WHEN v_hours <= 80 THEN interval '12 hours'
                           WHEN v_hours <= 200 THEN interval '1 day' ELSE interval '5 days' END;
  v_axis  text := '<path class="grid" d="';
  v_text  text := '';
  r       record;
BEGIN
  FOR r IN
    SELECT t.at, webhook_outbox.svg_x(t.at, p_from, p_to) AS x, t.at = date_trunc('day', t.at) AS is_day, t.n
    FROM generate_series(date_trunc('day', p_from), p_to, v_step) WITH ORDINALITY t (at, n) WHERE t.at >= p_from
  LOOP
    v_axis := v_axis || 'M' || webhook_outbox.svg_number(r.x) || ' 144v4';
    v_text := v_text || webhook_outbox.svg_label(r.x, 158, CASE WHEN r.is_day OR r.n % 2 = 1 THEN 'm' ELSE 'm o' END,
      CASE WHEN r.is_day THEN to_char(r.at, 'FMDD Mon') ELSE to_char(r.at, 'HH24:MI') END);
  END LOOP;
  RETURN v_axis || '"/>' || v_text;
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_time_axis(timestamptz, timestamptz) IS 'ticks and times below a plot';

CREATE FUNCTION webhook_outbox.svg_value_axis(p_y double precision[], p_labels text[]) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (
    SELECT '<path class="grid" d="' || string_agg('M0 ' || webhook_outbox.svg_number(t.y) || 'h360', '') || '"/>'
           || string_agg(webhook_outbox.svg_label(-6, t.y + 4, 'l', t.label), '')
    FROM unnest(p_y, p_labels) t (y, label));
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_value_axis(double precision[], text[]) IS 'lines across a plot, each with its value';

CREATE FUNCTION webhook_outbox.svg_step(p_max double precision, p_ticks integer) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_raw   double precision := greatest(p_max, 1e-9) / p_ticks;
  v_power double precision := 10 ^ floor(log(v_raw));
BEGIN
  RETURN greatest(1, v_power * CASE WHEN v_raw <= v_power THEN 1 WHEN v_raw <= 2 * v_power THEN 2
                                    WHEN v_raw <= 5 * v_power THEN 5 ELSE 10 END);
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_step(double precision, integer) IS
  'a round distance between the lines of counts up to p_max, of which there are at most p_ticks';

-- A point without neighbours is a short stroke, so that it can be seen.

CREATE FUNCTION webhook_outbox.svg_path(p_x double precision[], p_y double precision[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((
    SELECT string_agg(
      CASE WHEN t.y IS NULL THEN ''
           ELSE CASE WHEN t.before IS NULL THEN 'M' ELSE 'L' END || webhook_outbox.svg_number(t.x) || ' '
                || webhook_outbox.svg_number(t.y) || CASE WHEN t.before IS NULL AND t.after IS NULL THEN 'm-1.5 0h3' ELSE '' END
           END, '' ORDER BY t.n)
    FROM (SELECT u.x, u.y, u.n, lag(u.y) OVER w AS before, lead(u.y) OVER w AS after
          FROM unnest(p_x, p_y) WITH ORDINALITY u (x, y, n) WINDOW w AS (ORDER BY u.n)) t), '');
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_path(double precision[], double precision[]) IS
  'the d of a line through points, with gaps where y is NULL';

-- Bars from one line: up (p_sign -1) or down (1). What is not zero can be seen.

CREATE FUNCTION webhook_outbox.svg_bars(
  p_x double precision[], p_width double precision, p_values double precision[], p_base double precision,
  p_scale double precision, p_sign integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((
    SELECT string_agg('M' || webhook_outbox.svg_number(t.x) || ' ' || webhook_outbox.svg_number(p_base)
                      || 'v' || webhook_outbox.svg_number(p_sign * greatest(t.v * p_scale, 0.7))
                      || 'h' || webhook_outbox.svg_number(p_width) || 'V' || webhook_outbox.svg_number(p_base) || 'z',
                      '' ORDER BY t.n)
    FROM unnest(p_x, p_values) WITH ORDINALITY t (x, v, n) WHERE t.v > 0), '');
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_bars(
  double precision[], double precision, double precision[], double precision, double precision, integer) IS
  'the d of bars that stand on a line or hang from it';

CREATE FUNCTION webhook_outbox.svg_line_names(p_y double precision[], p_names text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_text text := '';
  v_last double precision;
  r      record;
BEGIN
  -- from the highest down, each at least a line's height below the one before
  FOR r IN SELECT t.y, t.name FROM unnest(p_y, p_names) t (y, name) WHERE t.y IS NOT NULL ORDER BY t.y LOOP
    v_last := greatest(r.y, coalesce(v_last + 13, r.y));
    v_text := v_text || webhook_outbox.svg_label(364, v_last + 4, 's', r.name);
  END LOOP;
  RETURN v_text;
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_line_names(double precision[], text[]) IS
  'the names of lines, where they end at the right';

CREATE FUNCTION webhook_outbox.svg_last(p_values double precision[]) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT t.v FROM unnest(p_values) WITH ORDINALITY t (v, n) WHERE t.v IS NOT NULL ORDER BY t.n DESC LIMIT 1 $$;
COMMENT ON FUNCTION webhook_outbox.svg_last(double precision[]) IS 'the last value that is not NULL';

CREATE FUNCTION webhook_outbox.svg_figure(p_head text, p_note text, p_label text, p_body text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<figure><figcaption><b>' || p_head || '</b> <span>' || p_note || '</span></figcaption>'
    || coalesce('<svg viewBox="0 0 456 182" role="img" aria-label="' || p_label || '"><g transform="translate(44 12)">'
                || p_body || '</g></svg>',
                '<p class="empty">no data in this time</p>') || E'</figure>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_figure(text, text, text, text) IS
  'a plot with its heading; p_label says it in words, p_body NULL: there is nothing to draw';

-- The four plots. p_at: where each bucket begins; p_length: how long one is; all stand between p_from and p_to.

CREATE FUNCTION webhook_outbox.plot_deliveries(
  p_from timestamptz, p_to timestamptz, p_at timestamptz[], p_length interval,
  p_delivered double precision[], p_failed double precision[]) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_up    double precision := (SELECT max(v) FROM unnest(p_delivered) v);
  v_down  double precision := (SELECT max(v) FROM unnest(p_failed) v);
  v_step  double precision;
  v_scale double precision;
  v_base  double precision;
  v_x     double precision[];
  v_width double precision;
  v_ticks double precision[];
  -- the last bar alone: its time is not over
  v_open  double precision[] := array_fill(0::double precision, ARRAY[cardinality(p_at) - 1])
                                || p_delivered[cardinality(p_at)];
BEGIN
  IF coalesce(v_up, 0) + coalesce(v_down, 0) = 0 THEN
    RETURN NULL;
  END IF;
  v_step := webhook_outbox.svg_step(v_up + v_down, 4);
  v_scale := 144 / (v_step * ceil(v_up / v_step) + CASE WHEN v_down > 0 THEN greatest(v_down, 0.12 * v_up) ELSE 0 END);
  v_base := v_scale * v_step * ceil(v_up / v_step);
  v_x := ARRAY(SELECT webhook_outbox.svg_x(greatest(a, p_from), p_from, p_to) + 0.6
               FROM unnest(p_at) WITH ORDINALITY t (a, n) ORDER BY n);
  v_width := greatest(webhook_outbox.svg_x(p_from + p_length, p_from, p_to) - 1.2, 0.8);
  v_ticks := ARRAY(SELECT t FROM generate_series(-floor(v_down / v_step)::integer, ceil(v_up / v_step)::integer) t);
  RETURN webhook_outbox.svg_value_axis(ARRAY(SELECT v_base - t * v_step * v_scale FROM unnest(v_ticks) t),
                                       ARRAY(SELECT webhook_outbox.html_count(abs(t * v_step)) FROM unnest(v_ticks) t))
    || webhook_outbox.svg_time_axis(p_from, p_to)
    || '<path class="bar" d="' || webhook_outbox.svg_bars(v_x, v_width, trim_array(p_delivered, 1), v_base, v_scale, -1) || '"/>'
    || '<path class="bar part" d="' || webhook_outbox.svg_bars(v_x, v_width, v_open, v_base, v_scale, -1) || '"/>'
    || '<path class="bar fail" d="' || webhook_outbox.svg_bars(v_x, v_width, p_failed, v_base + 1, v_scale, 1) || '"/>'
    || '<path class="axis" d="M0 ' || webhook_outbox.svg_number(v_base) || 'h360"/>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.plot_deliveries(
  timestamptz, timestamptz, timestamptz[], interval, double precision[], double precision[]) IS
  'deliveries as bars that stand on a line, failed attempts as bars that hang from it';

CREATE FUNCTION webhook_outbox.svg_log(p_values double precision[], p_low double precision, p_high double precision)
RETURNS double precision[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN ARRAY(SELECT CASE WHEN t.v IS NOT NULL THEN 144 * ln(p_high / greatest(t.v, p_low)) / ln(p_high / p_low) END
               FROM unnest(p_values) WITH ORDINALITY t (v, n) ORDER BY t.n);
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_log(double precision[], double precision, double precision) IS
  'where values stand on a logarithmic scale from p_low, at the bottom, to p_high';

CREATE FUNCTION webhook_outbox.plot_latency(
  p_from timestamptz, p_to timestamptz, p_at timestamptz[],
  p_p50 double precision[], p_p95 double precision[], p_p99 double precision[]) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- lines that have a name among people: 1 ms ... 10 s, 1 min, 10 min, 1 h, 10 h, days
  v_marks double precision[] := '{0.01,0.1,1,10,100,1000,10000,60000,600000,3600000,36000000,86400000,864000000,1e10,1e12}';
  v_min   double precision := (SELECT min(v) FROM unnest(p_p50) v);
  v_max   double precision := (SELECT max(v) FROM unnest(p_p99) v);
  v_low   double precision := coalesce((SELECT max(m) FROM unnest(v_marks) m WHERE m <= v_min), 0.01);
  v_high  double precision := (SELECT min(m) FROM unnest(v_marks) m WHERE m > v_max);
  v_x     double precision[];
  v_y50   double precision[];
  v_y95   double precision[];
  v_y99   double precision[];
BEGIN
  IF v_high IS NULL THEN
    RETURN NULL;
  END IF;
  v_marks := ARRAY(SELECT m FROM unnest(v_marks) m WHERE m BETWEEN v_low AND v_high ORDER BY m);
  v_x := ARRAY(SELECT webhook_outbox.svg_x(a, p_from, p_to) FROM unnest(p_at) WITH ORDINALITY t (a, n) ORDER BY n);
  v_y50 := webhook_outbox.svg_log(p_p50, v_low, v_high);
  v_y95 := webhook_outbox.svg_log(p_p95, v_low, v_high);
  v_y99 := webhook_outbox.svg_log(p_p99, v_low, v_high);
  RETURN webhook_outbox.svg_value_axis(webhook_outbox.svg_log(v_marks, v_low, v_high),
                                       ARRAY(SELECT webhook_outbox.html_ms(m) FROM unnest(v_marks) m ORDER BY m))
    || webhook_outbox.svg_time_axis(p_from, p_to)
    || '<path class="line third" d="' || webhook_outbox.svg_path(v_x, v_y99) || '"/>'
    || '<path class="line second" d="' || webhook_outbox.svg_path(v_x, v_y95) || '"/>'
    || '<path class="line" d="' || webhook_outbox.svg_path(v_x, v_y50) || '"/>'
    || webhook_outbox.svg_line_names(
         ARRAY[webhook_outbox.svg_last(v_y50), webhook_outbox.svg_last(v_y95), webhook_outbox.svg_last(v_y99)], '{p50,p95,p99}');
END
$$;
COMMENT ON FUNCTION webhook_outbox.plot_latency(
  timestamptz, timestamptz, timestamptz[], double precision[], double precision[], double precision[]) IS
  'percentiles of latency in milliseconds on a logarithmic scale';

-- Success is read in nines: 99 and 99.9 stand as far apart as 90 and 99.

CREATE FUNCTION webhook_outbox.svg_nines(p_percent double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN p_percent >= 100 THEN 5 ELSE least(-log(greatest(100 - p_percent, 0.002) / 100), 4.7) END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_nines(double precision) IS 'how many nines a percentage has: 90 one, 99 two, at most five';

CREATE FUNCTION webhook_outbox.plot_success(
  p_from timestamptz, p_to timestamptz, p_at timestamptz[],
  p_first double precision[], p_second double precision[]) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_marks double precision[] := '{0,50,90,99,99.9,99.99,100}';
  v_min   double precision := (SELECT min(v) FROM unnest(p_first || p_second) v);
  v_low   double precision;
  v_scale double precision;
  v_x     double precision[];
  v_y1    double precision[];
  v_y2    double precision[];
BEGIN
  IF v_min IS NULL THEN
    RETURN NULL;
  END IF;
  v_low := (SELECT max(m) FROM unnest(v_marks) m WHERE m <= least(v_min, 99));
  v_scale := 144 / (5 - webhook_outbox.svg_nines(v_low));
  -- there is no room for 50 above 0
  v_marks := ARRAY(SELECT m FROM unnest(v_marks) m WHERE m >= v_low AND (m <> 50 OR v_low > 0) ORDER BY m);
  v_x := ARRAY(SELECT webhook_outbox.svg_x(a, p_from, p_to) FROM unnest(p_at) WITH ORDINALITY t (a, n) ORDER BY n);
  v_y1 := ARRAY(SELECT v_scale * (5 - webhook_outbox.svg_nines(v)) FROM unnest(p_first) WITH ORDINALITY t (v, n) ORDER BY n);
  v_y2 := ARRAY(SELECT v_scale * (5 - webhook_outbox.svg_nines(v)) FROM unnest(p_second) WITH ORDINALITY t (v, n) ORDER BY n);
  RETURN webhook_outbox.svg_value_axis(
           ARRAY(SELECT v_scale * (5 - webhook_outbox.svg_nines(m)) FROM unnest(v_marks) m ORDER BY m),
           ARRAY(SELECT trim_scale(m::numeric) || '&#8239;%' FROM unnest(v_marks) m ORDER BY m))
    || webhook_outbox.svg_time_axis(p_from, p_to)
    || '<path class="line second" d="' || webhook_outbox.svg_path(v_x, v_y2) || '"/>'
    || '<path class="line" d="' || webhook_outbox.svg_path(v_x, v_y1) || '"/>'
    || webhook_outbox.svg_line_names(
         ARRAY[webhook_outbox.svg_last(v_y1), webhook_outbox.svg_last(v_y2)],
         ARRAY[webhook_outbox.html_percent(webhook_outbox.svg_last(p_first)),
               webhook_outbox.html_percent(webhook_outbox.svg_last(p_second))]);
END
$$;
COMMENT ON FUNCTION webhook_outbox.plot_success(
  timestamptz, timestamptz, timestamptz[], double precision[], double precision[]) IS
  'two percentages of success, on a scale of nines';

CREATE FUNCTION webhook_outbox.plot_queue(
  p_from timestamptz, p_to timestamptz, p_at timestamptz[], p_length double precision[]) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_max  double precision := (SELECT max(v) FROM unnest(p_length) v);
  v_step double precision;
  v_top  double precision;
  v_line text;
BEGIN
  IF v_max IS NULL THEN
    RETURN NULL;
  END IF;
  v_step := webhook_outbox.svg_step(v_max, 4);
  v_top := v_step * greatest(ceil(v_max / v_step), 1);
  v_line := webhook_outbox.svg_path(
    ARRAY(SELECT webhook_outbox.svg_x(a, p_from, p_to) FROM unnest(p_at) WITH ORDINALITY t (a, n) ORDER BY n),
    ARRAY(SELECT 144 * (1 - v / v_top) FROM unnest(p_length) WITH ORDINALITY t (v, n) ORDER BY n));
  RETURN (SELECT webhook_outbox.svg_value_axis(array_agg(144 * (1 - t * v_step / v_top)),
                                               array_agg(webhook_outbox.html_count(t * v_step)))
          FROM generate_series(0, (v_top / v_step)::integer) t)
    || webhook_outbox.svg_time_axis(p_from, p_to)
    || '<path class="line" d="' || v_line || '"/>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.plot_queue(timestamptz, timestamptz, timestamptz[], double precision[]) IS
  'how many deliveries were not done';

CREATE FUNCTION webhook_outbox.svg_spark(p_delivered double precision[], p_failed double precision[], p_label text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_n     integer := cardinality(p_delivered);
  v_width double precision := 120.0 / greatest(v_n, 1);
  v_max   double precision := (SELECT max(v) FROM unnest(p_delivered || p_failed) v);
  v_x     double precision[] := ARRAY(SELECT (i - 1) * v_width + 0.5 FROM generate_series(1, v_n) i);
BEGIN
  RETURN '<svg class="spark" viewBox="0 0 120 26" role="img" aria-label="' || p_label || '"><path class="axis" d="M0 17h120"/>'
    || CASE WHEN v_max > 0
            THEN '<path class="bar" d="' || webhook_outbox.svg_bars(v_x, v_width - 1, p_delivered, 17, 16 / v_max, -1) || '"/>'
                 || '<path class="bar fail" d="' || webhook_outbox.svg_bars(v_x, v_width - 1, p_failed, 18, 8 / v_max, 1) || '"/>'
            ELSE '' END || '</svg>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_spark(double precision[], double precision[], text) IS
  'a small plot of deliveries, and of failed attempts below them';

-- What is left of a budget; overspent, the bar is empty and hatched.

CREATE FUNCTION webhook_outbox.svg_budget(p_remaining double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<svg class="budget" viewBox="0 0 100 10" aria-hidden="true"><rect class="track" x="0.5" y="0.5" width="99" height="9"/>'
    || CASE WHEN p_remaining > 0
            THEN '<rect class="left' || CASE WHEN p_remaining < 25 THEN ' low' ELSE '' END || '" x="0.5" y="0.5" width="'
                 || webhook_outbox.svg_number(99 * least(p_remaining, 100) / 100) || '" height="9"/>'
            WHEN p_remaining <= 0
            THEN '<path class="gone" d="M4 10l8-10M20 10l8-10M36 10l8-10M52 10l8-10M68 10l8-10M84 10l8-10"/>'
            ELSE '' END || '</svg>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.svg_budget(double precision) IS 'how much of an error budget is left, as a bar';
