-- What rollups, the open part of attempt and the queue hold, added up for the views. These functions run as the owner and
-- without JIT: whoever reads a view that calls them needs EXECUTE on them (grant_monitor() sees to that).

-- Ids carry the time of their event, in milliseconds (UUIDv7, RFC 9562).

CREATE FUNCTION webhook_outbox.id_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0);
COMMENT ON FUNCTION webhook_outbox.id_time(uuid) IS 'when the event with this id was inserted, to the millisecond';

CREATE FUNCTION webhook_outbox.time_id(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN rpad(lpad(to_hex(greatest(floor(extract(epoch FROM at) * 1000), 0)::bigint), 12, '0'), 32, '0')::uuid;
COMMENT ON FUNCTION webhook_outbox.time_id(timestamptz) IS 'the lowest id of events inserted at this time or later';

CREATE VIEW webhook_outbox.endpoint_objective AS
  SELECT p.endpoint_id, p.name, p.tier, p.tenant, p.enabled,
         coalesce(p.success_objective, t.success_objective) AS success_objective,
         coalesce(p.latency_objective, t.latency_objective) AS latency_objective
  FROM webhook_outbox.endpoint p
  JOIN webhook_outbox.tier t ON t.tier = p.tier;
COMMENT ON VIEW webhook_outbox.endpoint_objective IS 'the objectives of each endpoint: its own, or those of its tier';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.endpoint_id IS 'which endpoint';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.name IS 'its name';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.tier IS 'how much it matters';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.tenant IS 'gets only events of this tenant; NULL: of all';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.enabled IS 'false: paused or disabled';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.success_objective IS 'per cent of deliveries that should be good over 30 days';
COMMENT ON COLUMN webhook_outbox.endpoint_objective.latency_objective IS 'a delivery is good when it is done in this time';

-- The open part: attempts that are in no rollup yet, about 50,000 at most, and a minute old, while the dispatcher works.

CREATE FUNCTION webhook_outbox.open_attempts() RETURNS SETOF webhook_outbox.attempt
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_span record;
BEGIN
  FOR v_span IN
    SELECT l.slot, CASE WHEN l.turn = o.turn THEN o.first_tid ELSE '(0,0)' END AS first_tid,
           o.since_xid, o.since_at, o.beyond_endpoint, o.to_endpoint
    FROM webhook_outbox.open_span o
    JOIN webhook_outbox.ring_leaf l ON l.ring = 'attempt' AND l.turn >= o.turn
    ORDER BY l.turn
  LOOP
    -- The time keeps out what a restored dump brought: its rollups came with it.
    RETURN QUERY EXECUTE format(
      'SELECT a.* FROM webhook_outbox.%I a WHERE a.ctid >= $1 AND age(a.xmin) <= age($2) AND a.started_at >= $3'
      ' AND a.endpoint_id > $4 AND a.endpoint_id <= $5', 'attempt_' || v_span.slot)
      USING v_span.first_tid, v_span.since_xid::xid, v_span.since_at - interval '10 minutes',
            v_span.beyond_endpoint, v_span.to_endpoint;
  END LOOP;
END
$$;
COMMENT ON FUNCTION webhook_outbox.open_attempts() IS 'attempts that are in no rollup yet';

CREATE FUNCTION webhook_outbox.open_facts(
  OUT bucket      timestamptz,
  OUT endpoint_id bigint,
  OUT tier        smallint,
  OUT event_id    uuid,
  OUT is_retry    boolean,
  OUT is_again    boolean,
  OUT is_good     boolean,
  OUT is_late     boolean,
  OUT is_dead     boolean,
  OUT latency_ms  double precision,
  OUT http_ms     double precision,
  OUT outcome     text,
  OUT http_status smallint) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT date_trunc('minute', greatest(a.started_at + coalesce(a.total_ms, 0) * interval '1 millisecond', o.since_at,
                                       (SELECT m.hour_until FROM webhook_outbox.rollup_watermark m LIMIT 1))),
         a.endpoint_id, k.tier, a.event_id, a.number > 1, a.origin IS NOT NULL,
         a.outcome = 'delivered', a.outcome = 'delivered' AND l.ms > m.ms,
         -- given up: the last attempt, unless nobody wanted it any more
         a.outcome <> 'delivered' AND a.next_attempt_at IS NULL
           AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d
                           WHERE d.endpoint_id = a.endpoint_id AND d.event_id = a.event_id AND d.state = 'cancelled')
           AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter d
                           WHERE d.endpoint_id = a.endpoint_id AND d.event_id = a.event_id AND d.reason = 'endpoint_deleted'),
         CASE WHEN a.outcome = 'delivered' AND a.origin IS NULL THEN l.ms END,
         CASE WHEN a.outcome <> 'unknown' THEN a.total_ms END, a.outcome, a.http_status
  FROM webhook_outbox.open_attempts() a
  JOIN webhook_outbox.open_span o ON a.endpoint_id > o.beyond_endpoint AND a.endpoint_id <= o.to_endpoint
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = a.endpoint_id
  CROSS JOIN LATERAL (
    -- of one that was deleted meanwhile the rollups know it, unless it never had a success
    SELECT coalesce(p.tier, (
      SELECT b.tier FROM webhook_outbox.endpoint_rollup b
      WHERE b.endpoint_id = a.endpoint_id AND b.delivered + b.redelivered > 0
      ORDER BY b.endpoint_id, b.resolution, b.bucket DESC LIMIT 1), 0::smallint) AS tier) k
  LEFT JOIN webhook_outbox.tier t ON t.tier = k.tier
  CROSS JOIN LATERAL (
    SELECT CASE WHEN a.number = 1 THEN a.wait_ms::double precision + a.total_ms
                ELSE greatest(extract(epoch FROM a.started_at - webhook_outbox.id_time(a.event_id)) * 1000, 0)
                     + a.total_ms END AS ms) l
  CROSS JOIN LATERAL (
    SELECT extract(epoch FROM coalesce(p.latency_objective, t.latency_objective)) * 1000 AS ms) m
$$;
COMMENT ON FUNCTION webhook_outbox.open_facts() IS 'one row per attempt that is in no rollup yet, as rollups count it';

CREATE FUNCTION webhook_outbox.open_endpoint_minutes(
  OUT bucket timestamptz, OUT endpoint_id bigint, OUT tier smallint,
  OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT retried bigint, OUT redelivered bigint, OUT latency_sum_ms double precision, OUT http_sum_ms double precision,
  OUT latency_max_ms real, OUT http_max_ms real, OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT f.bucket, f.endpoint_id, f.tier, count(*), count(*) FILTER (WHERE NOT f.is_good), count(*) FILTER (WHERE f.is_retry),
         count(*) FILTER (WHERE f.is_good AND NOT f.is_again), count(*) FILTER (WHERE f.is_late AND NOT f.is_again),
         count(*) FILTER (WHERE f.is_dead AND NOT f.is_again),
         count(*) FILTER (WHERE (f.is_good OR f.is_dead) AND f.is_retry AND NOT f.is_again),
         count(*) FILTER (WHERE f.is_good AND f.is_again),
         coalesce(sum(f.latency_ms), 0), coalesce(sum(f.http_ms), 0),
         coalesce(max(f.latency_ms), 0)::real, coalesce(max(f.http_ms), 0)::real,
         webhook_outbox.histogram(f.latency_ms), webhook_outbox.histogram(f.http_ms)
  FROM webhook_outbox.open_facts() f
  GROUP BY f.bucket, f.endpoint_id, f.tier
$$;
COMMENT ON FUNCTION webhook_outbox.open_endpoint_minutes() IS 'the rows that endpoint_rollup still lacks';

CREATE FUNCTION webhook_outbox.open_series_minutes(
  OUT bucket timestamptz, OUT endpoint_id bigint, OUT event_type text, OUT tenant text, OUT source text,
  OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT retried bigint, OUT redelivered bigint, OUT latency_sum_ms double precision, OUT http_sum_ms double precision,
  OUT latency_max_ms real, OUT http_max_ms real, OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH full_table AS MATERIALIZED (
    SELECT FROM webhook_outbox.series i WHERE i.event_type <> '(other)'
    HAVING count(*) >= current_setting('webhook_outbox.max_series', true)::bigint)
  SELECT f.bucket, f.endpoint_id, coalesce(e.type, '(other)'), e.tenant, e.source,
         count(*), count(*) FILTER (WHERE NOT f.is_good), count(*) FILTER (WHERE f.is_retry),
         count(*) FILTER (WHERE f.is_good AND NOT f.is_again), count(*) FILTER (WHERE f.is_late AND NOT f.is_again),
         count(*) FILTER (WHERE f.is_dead AND NOT f.is_again),
         count(*) FILTER (WHERE (f.is_good OR f.is_dead) AND f.is_retry AND NOT f.is_again),
         count(*) FILTER (WHERE f.is_good AND f.is_again),
         coalesce(sum(f.latency_ms), 0), coalesce(sum(f.http_ms), 0),
         coalesce(max(f.latency_ms), 0)::real, coalesce(max(f.http_ms), 0)::real,
         webhook_outbox.histogram(f.latency_ms), webhook_outbox.histogram(f.http_ms)
  FROM webhook_outbox.open_facts() f
  LEFT JOIN LATERAL (
    SELECT v.type, v.tenant, v.source FROM webhook_outbox.event v WHERE v.id = f.event_id LIMIT 1) v ON true
  -- there are as many series as are allowed: what has none of its own will have none
  LEFT JOIN LATERAL (
    SELECT v.type, v.tenant, v.source
    WHERE NOT EXISTS (SELECT FROM full_table)
       OR EXISTS (SELECT FROM webhook_outbox.series i
                  WHERE i.endpoint_id = f.endpoint_id AND i.event_type = v.type
                    AND i.tenant IS NOT DISTINCT FROM v.tenant AND i.source IS NOT DISTINCT FROM v.source)) e ON true
  GROUP BY f.bucket, f.endpoint_id, e.type, e.tenant, e.source
$$;
COMMENT ON FUNCTION webhook_outbox.open_series_minutes() IS 'the rows that series_rollup still lacks';

CREATE FUNCTION webhook_outbox.open_error_minutes(
  OUT bucket timestamptz, OUT endpoint_id bigint, OUT outcome text, OUT http_status smallint, OUT attempts bigint)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT f.bucket, f.endpoint_id, f.outcome, f.http_status, count(*)
  FROM webhook_outbox.open_facts() f
  WHERE NOT f.is_good
  GROUP BY f.bucket, f.endpoint_id, f.outcome, f.http_status
$$;
COMMENT ON FUNCTION webhook_outbox.open_error_minutes() IS 'the rows that error_rollup still lacks';

-- Rollups are read by LATERAL (... OFFSET 0): by their index, whatever the planner thinks of the number of rows.

-- A span of time is cut so that as much as can be is read from days, then hours, then minutes. Where only coarser rows are
-- kept, its ends are rounded down to them; p_to from now on means: no end.

CREATE FUNCTION webhook_outbox.rollup_span(
  p_from timestamptz, p_to timestamptz, OUT resolution smallint, OUT first_bucket timestamptz, OUT past_bucket timestamptz)
  RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_mark   webhook_outbox.rollup_watermark;
  v_from   timestamptz := webhook_outbox.rollup_edge(p_from);
  v_to     timestamptz := CASE WHEN p_to < now() THEN webhook_outbox.rollup_edge(p_to) ELSE 'infinity' END;
  v_day0   timestamptz := date_trunc('day', v_from + interval '24 hours' - interval '1 microsecond', 'UTC');
  v_day1   timestamptz;
  v_first  timestamptz;
  v_past   timestamptz;
  v_hour0  timestamptz;
  v_hour1  timestamptz;
BEGIN
  SELECT m.* INTO v_mark FROM webhook_outbox.rollup_watermark m LIMIT 1;
  v_day1 := least(v_mark.day_until, date_trunc('day', v_to, 'UTC'));
  IF v_day0 >= v_day1 THEN
    v_day0 := NULL;
    v_day1 := NULL;
  ELSE
    resolution := 1440; first_bucket := v_day0; past_bucket := v_day1;
    RETURN NEXT;
  END IF;
  FOR v_first, v_past IN
    SELECT x.a, x.b FROM (VALUES (v_from, coalesce(v_day0, v_to)), (v_day1, v_to)) x (a, b) WHERE x.a < x.b
  LOOP
    v_hour0 := date_trunc('hour', v_first + interval '1 hour' - interval '1 microsecond', 'UTC');
    v_hour1 := least(v_mark.hour_until, date_trunc('hour', v_past, 'UTC'));
    IF v_hour0 >= v_hour1 THEN
      resolution := 1; first_bucket := v_first; past_bucket := v_past;
      RETURN NEXT;
      CONTINUE;
    END IF;
    resolution := 60; first_bucket := v_hour0; past_bucket := v_hour1;
    RETURN NEXT;
    resolution := 1;
    IF v_first < v_hour0 THEN
      first_bucket := v_first; past_bucket := v_hour0;
      RETURN NEXT;
    END IF;
    IF v_hour1 < v_past THEN
      first_bucket := v_hour1; past_bucket := v_past;
      RETURN NEXT;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION webhook_outbox.rollup_span(timestamptz, timestamptz) IS
  'the buckets that a span of time consists of: rows of this resolution from first_bucket to before past_bucket';

CREATE FUNCTION webhook_outbox.rollup_edge(p_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT
RETURN date_trunc(CASE WHEN p_at >= now() - interval '25 hours' THEN 'minute'
                       WHEN p_at >= now() - interval '34 days' THEN 'hour'
                       ELSE 'day' END, p_at, 'UTC');
COMMENT ON FUNCTION webhook_outbox.rollup_edge(timestamptz) IS
  'rounds a time down to a minute, or an hour (older than 25 hours) or a day (older than 34 days): the rows that are kept';

CREATE FUNCTION webhook_outbox.endpoint_facts(
  p_from timestamptz, p_to timestamptz, p_with_histograms boolean DEFAULT true,
  OUT endpoint_id bigint, OUT tier smallint,
  OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT retried bigint, OUT redelivered bigint, OUT latency_sum_ms double precision, OUT http_sum_ms double precision,
  OUT latency_max_ms real, OUT http_max_ms real, OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT r.endpoint_id, r.tier, sum(r.attempts)::bigint, sum(r.failures)::bigint, sum(r.retries)::bigint,
         sum(r.delivered)::bigint, sum(r.late)::bigint, sum(r.dead)::bigint, sum(r.retried)::bigint,
         sum(r.redelivered)::bigint, sum(r.latency_sum_ms), sum(r.http_sum_ms), max(r.latency_max_ms), max(r.http_max_ms),
         webhook_outbox.histogram_merge(r.latency) FILTER (WHERE p_with_histograms),
         webhook_outbox.histogram_merge(r.http) FILTER (WHERE p_with_histograms)
  FROM webhook_outbox.rollup_span(p_from, p_to) s
  CROSS JOIN LATERAL (
    SELECT * FROM webhook_outbox.endpoint_rollup r
    WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r
  GROUP BY r.endpoint_id, r.tier
$$;
COMMENT ON FUNCTION webhook_outbox.endpoint_facts(timestamptz, timestamptz, boolean) IS
  'what the rollups say of each endpoint between two times; the open part is not in it. Ends are rounded, see rollup_edge()';

CREATE FUNCTION webhook_outbox.series_facts(
  p_from timestamptz, p_to timestamptz, p_with_histograms boolean DEFAULT true,
  OUT series_id integer,
  OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT retried bigint, OUT redelivered bigint, OUT latency_sum_ms double precision, OUT http_sum_ms double precision,
  OUT latency_max_ms real, OUT http_max_ms real, OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT r.series_id, sum(r.attempts)::bigint, sum(r.failures)::bigint, sum(r.retries)::bigint,
         sum(r.delivered)::bigint, sum(r.late)::bigint, sum(r.dead)::bigint, sum(r.retried)::bigint,
         sum(r.redelivered)::bigint, sum(r.latency_sum_ms), sum(r.http_sum_ms), max(r.latency_max_ms), max(r.http_max_ms),
         webhook_outbox.histogram_merge(r.latency) FILTER (WHERE p_with_histograms),
         webhook_outbox.histogram_merge(r.http) FILTER (WHERE p_with_histograms)
  FROM webhook_outbox.rollup_span(p_from, p_to) s
  CROSS JOIN LATERAL (
    SELECT * FROM webhook_outbox.series_rollup r
    WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r
  GROUP BY r.series_id
$$;
COMMENT ON FUNCTION webhook_outbox.series_facts(timestamptz, timestamptz, boolean) IS
  'what the rollups say of each series between two times; the open part is not in it. Ends are rounded, see rollup_edge()';

-- Windows overlap: each row is read once, in the piece of time between the starts of two windows, and a window is the sum of
-- its pieces.

CREATE FUNCTION webhook_outbox.window_spans(
  p_windows text[], OUT length interval, OUT resolution smallint, OUT first_bucket timestamptz, OUT past_bucket timestamptz)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT p.length, s.resolution, s.first_bucket, s.past_bucket
  FROM (
    SELECT w.length, w.start_at, lag(w.start_at, 1, 'infinity') OVER (ORDER BY w.length) AS end_at
    FROM (
      SELECT t.length, date_trunc(t.start_unit, now() - t.length, 'UTC') AS start_at
      FROM webhook_outbox.time_window t WHERE t.time_window = ANY (p_windows)) w) p
  CROSS JOIN LATERAL webhook_outbox.rollup_span(p.start_at, p.end_at) s
$$;
COMMENT ON FUNCTION webhook_outbox.window_spans(text[]) IS
  'the buckets of the piece of time that the window of this length has and the next shorter of these windows has not';

-- Each piece is added up by itself: the planner takes its keys, computed below an OFFSET 0, for few and hashes them, where it
-- would sort all rows on disk, histograms and all.

CREATE FUNCTION webhook_outbox.window_facts(
  p_windows text[], p_by text, p_with_histograms boolean DEFAULT true,
  OUT time_window text, OUT key bigint,
  OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT retried bigint, OUT redelivered bigint, OUT latency_max_ms real, OUT http_max_ms real,
  OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH part AS (
    SELECT s.length, r.*
    FROM webhook_outbox.window_spans(p_windows) s
    CROSS JOIN LATERAL (
      SELECT i.key, sum(i.attempts)::bigint AS attempts, sum(i.failures)::bigint AS failures,
             sum(i.retries)::bigint AS retries, sum(i.delivered)::bigint AS delivered, sum(i.late)::bigint AS late,
             sum(i.dead)::bigint AS dead, sum(i.retried)::bigint AS retried, sum(i.redelivered)::bigint AS redelivered,
             max(i.latency_max_ms) AS latency_max_ms, max(i.http_max_ms) AS http_max_ms,
             webhook_outbox.histogram_merge(i.latency) FILTER (WHERE p_with_histograms) AS latency,
             webhook_outbox.histogram_merge(i.http) FILTER (WHERE p_with_histograms) AS http
      FROM (
        SELECT CASE p_by WHEN 'endpoint' THEN r.endpoint_id WHEN 'tier' THEN r.tier ELSE 0 END AS key, r.*
        FROM webhook_outbox.endpoint_rollup r
        WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) i
      GROUP BY i.key) r
    UNION ALL
    SELECT greatest(now() - o.bucket - interval '1 minute', '0'),
           CASE p_by WHEN 'endpoint' THEN o.endpoint_id WHEN 'tier' THEN o.tier ELSE 0 END, o.attempts, o.failures, o.retries,
           o.delivered, o.late, o.dead, o.retried, o.redelivered, o.latency_max_ms, o.http_max_ms, o.latency, o.http
    FROM webhook_outbox.open_endpoint_minutes() o)
  SELECT w.time_window, p.key, sum(p.attempts)::bigint, sum(p.failures)::bigint, sum(p.retries)::bigint,
         sum(p.delivered)::bigint, sum(p.late)::bigint, sum(p.dead)::bigint, sum(p.retried)::bigint,
         sum(p.redelivered)::bigint, max(p.latency_max_ms), max(p.http_max_ms),
         webhook_outbox.histogram_merge(p.latency) FILTER (WHERE p_with_histograms),
         webhook_outbox.histogram_merge(p.http) FILTER (WHERE p_with_histograms)
  FROM part p
  JOIN webhook_outbox.time_window w ON w.time_window = ANY (p_windows) AND w.length >= p.length
  GROUP BY w.time_window, p.key
$$;
COMMENT ON FUNCTION webhook_outbox.window_facts(text[], text, boolean) IS
  'what was recorded in these windows up to now (see time_window), the open part included, of each endpoint (p_by => ''endpoint'': '
  'key is its number), of each tier at that time (''tier'': key is its number) or of all (''overall'': key is 0)';

CREATE FUNCTION webhook_outbox.window_series_facts(
  p_windows text[], p_by text,
  OUT time_window text, OUT subject text,
  OUT attempts bigint, OUT failures bigint, OUT retries bigint, OUT delivered bigint, OUT late bigint, OUT dead bigint,
  OUT retried bigint, OUT redelivered bigint, OUT latency_max_ms real, OUT http_max_ms real,
  OUT latency bytea, OUT http bytea) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH part AS (
    SELECT s.length, r.*
    FROM webhook_outbox.window_spans(p_windows) s
    CROSS JOIN LATERAL (
      SELECT CASE p_by WHEN 'tenant' THEN i.tenant ELSE i.event_type END AS subject,
             sum(r.attempts)::bigint AS attempts, sum(r.failures)::bigint AS failures,
             sum(r.retries)::bigint AS retries, sum(r.delivered)::bigint AS delivered, sum(r.late)::bigint AS late,
             sum(r.dead)::bigint AS dead, sum(r.retried)::bigint AS retried, sum(r.redelivered)::bigint AS redelivered,
             max(r.latency_max_ms) AS latency_max_ms, max(r.http_max_ms) AS http_max_ms,
             webhook_outbox.histogram_merge(r.latency) AS latency, webhook_outbox.histogram_merge(r.http) AS http
      FROM (
        SELECT * FROM webhook_outbox.series_rollup r
        WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r
      JOIN webhook_outbox.series i ON i.series_id = r.series_id AND i.endpoint_id <> 0
      GROUP BY 1) r
    UNION ALL
    SELECT greatest(now() - o.bucket - interval '1 minute', '0'),
           CASE p_by WHEN 'tenant' THEN o.tenant ELSE o.event_type END,
           o.attempts, o.failures, o.retries, o.delivered, o.late, o.dead, o.retried,
           o.redelivered, o.latency_max_ms, o.http_max_ms, o.latency, o.http
    FROM webhook_outbox.open_series_minutes() o)
  SELECT w.time_window, p.subject, sum(p.attempts)::bigint, sum(p.failures)::bigint, sum(p.retries)::bigint,
         sum(p.delivered)::bigint, sum(p.late)::bigint, sum(p.dead)::bigint, sum(p.retried)::bigint,
         sum(p.redelivered)::bigint, max(p.latency_max_ms), max(p.http_max_ms),
         webhook_outbox.histogram_merge(p.latency), webhook_outbox.histogram_merge(p.http)
  FROM part p
  JOIN webhook_outbox.time_window w ON w.time_window = ANY (p_windows) AND w.length >= p.length
  WHERE p.subject IS NOT NULL
  GROUP BY w.time_window, p.subject
$$;
COMMENT ON FUNCTION webhook_outbox.window_series_facts(text[], text) IS
  'the same of each tenant (p_by => ''tenant'') or event type';

-- The queue. new_delivery is exact, but looks at each event: events that came ten seconds after the dispatcher last did
-- something, and later, can have no record yet, and where there are many they are counted by the minute. Few of them may be
-- the first ones after a pause, with a dispatcher at work.

CREATE FUNCTION webhook_outbox.new_delivery_minutes(
  OUT endpoint_id bigint, OUT created_minute timestamptz, OUT deliveries bigint, OUT oldest_at timestamptz)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH moved AS (SELECT c.updated_at + interval '10 seconds' AS at FROM webhook_outbox.cursor c LIMIT 1),
  late AS MATERIALIZED (
    SELECT CASE WHEN (SELECT count(*) FROM (SELECT FROM webhook_outbox.new_event n
                                            WHERE n.created_at >= (SELECT m.at FROM moved m) LIMIT 1001) f) > 1000
                THEN (SELECT m.at FROM moved m) ELSE 'infinity' END AS from_at)
  SELECT d.endpoint_id, date_trunc('minute', d.created_at), count(*), min(d.created_at)
  FROM webhook_outbox.new_delivery d
  WHERE d.created_at < (SELECT l.from_at FROM late l)
  GROUP BY 1, 2
  UNION ALL
  SELECT p.endpoint_id, e.created_minute, sum(e.events)::bigint, min(e.oldest_at)
  FROM (
    SELECT n.type, n.tenant, n.endpoint_id, date_trunc('minute', n.created_at) AS created_minute,
           count(*) AS events, min(n.created_at) AS oldest_at
    FROM webhook_outbox.new_event n
    WHERE n.created_at >= (SELECT l.from_at FROM late l)
    GROUP BY 1, 2, 3, 4) e
  JOIN webhook_outbox.endpoint p
    ON CASE WHEN e.endpoint_id IS NOT NULL THEN p.endpoint_id = e.endpoint_id
            ELSE (p.tenant IS NULL OR p.tenant = e.tenant) AND webhook_outbox.type_matches(p.event_types, e.type)
             AND p.created_at <= e.oldest_at END
  GROUP BY p.endpoint_id, e.created_minute
$$;
COMMENT ON FUNCTION webhook_outbox.new_delivery_minutes() IS
  'deliveries of which nothing is recorded yet, by endpoint and minute of their event';

CREATE FUNCTION webhook_outbox.queue_facts(
  OUT endpoint_id bigint, OUT waiting bigint, OUT retrying bigint, OUT parked bigint, OUT scheduled bigint,
  OUT blocked bigint, OUT oldest_at timestamptz, OUT next_attempt_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT p.endpoint_id, coalesce(n.deliveries, 0),
         CASE WHEN p.enabled THEN coalesce(d.retrying, 0) ELSE 0 END,
         CASE WHEN p.enabled THEN coalesce(d.parked, 0) ELSE 0 END,
         coalesce(d.scheduled, 0),
         CASE WHEN p.enabled THEN 0 ELSE coalesce(d.retrying + d.parked, 0) END,
         least(n.oldest_at, webhook_outbox.id_time(d.oldest_id)), d.next_attempt_at
  FROM webhook_outbox.endpoint p
  LEFT JOIN (
    SELECT m.endpoint_id, sum(m.deliveries)::bigint AS deliveries, min(m.oldest_at) AS oldest_at
    FROM webhook_outbox.new_delivery_minutes() m GROUP BY m.endpoint_id) n ON n.endpoint_id = p.endpoint_id
  LEFT JOIN (
    SELECT q.endpoint_id,
           count(*) FILTER (WHERE q.state = 'retrying') AS retrying,
           count(*) FILTER (WHERE q.state = 'parked' AND q.next_attempt_at <= now()) AS parked,
           count(*) FILTER (WHERE q.state = 'parked' AND q.next_attempt_at > now()) AS scheduled,
           -- ids sort by time, as text too; there is no min(uuid) before PostgreSQL 18
           min(q.event_id::text) FILTER (WHERE q.state = 'retrying' OR q.next_attempt_at <= now())::uuid AS oldest_id,
           min(q.next_attempt_at) FILTER (WHERE q.state = 'retrying') AS next_attempt_at
    FROM webhook_outbox.delivery q
    WHERE q.state IN ('parked', 'retrying')
    GROUP BY q.endpoint_id) d ON d.endpoint_id = p.endpoint_id
$$;
COMMENT ON FUNCTION webhook_outbox.queue_facts() IS
  'what is owed to each endpoint: waiting (nothing recorded yet), retrying, parked (its turn has not come), scheduled (for '
  'later), blocked (retrying or parked, but the endpoint is paused or disabled)';

CREATE FUNCTION webhook_outbox.overdue_facts(p_windows text[], OUT time_window text, OUT endpoint_id bigint, OUT overdue bigint)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  -- a delivery is looked up once, and counts in the nth longest window and all longer ones
  WITH span AS MATERIALIZED (
    SELECT w.time_window, w.length, row_number() OVER (ORDER BY w.length DESC) AS nth
    FROM webhook_outbox.time_window w WHERE w.time_window = ANY (p_windows)),
  bound AS MATERIALIZED (
    SELECT o.latency_objective, webhook_outbox.time_id(now() - o.latency_objective) AS past_id,
           ARRAY(SELECT webhook_outbox.time_id(now() - s.length - o.latency_objective) FROM span s ORDER BY s.nth) AS first_ids
    FROM (SELECT DISTINCT p.latency_objective FROM webhook_outbox.endpoint_objective p) o)
  SELECT o.time_window, o.endpoint_id, sum(o.overdue)::bigint
  FROM (
    SELECT s.time_window, p.endpoint_id, q.overdue
    FROM bound b
    JOIN webhook_outbox.endpoint_objective p ON p.latency_objective = b.latency_objective
    CROSS JOIN LATERAL (
      SELECT width_bucket(d.event_id, b.first_ids) AS nth, count(*) AS overdue
      FROM webhook_outbox.delivery d
      WHERE d.endpoint_id = p.endpoint_id AND d.state IN ('parked', 'retrying') AND d.origin = 'event'
        AND d.event_id >= b.first_ids[1] AND d.event_id < b.past_id
      GROUP BY 1) q
    JOIN span s ON s.nth <= q.nth
    UNION ALL
    SELECT w.time_window, n.endpoint_id, n.deliveries
    FROM webhook_outbox.new_delivery_minutes() n
    JOIN webhook_outbox.endpoint_objective p ON p.endpoint_id = n.endpoint_id
    JOIN webhook_outbox.time_window w ON w.time_window = ANY (p_windows)
    WHERE n.oldest_at + p.latency_objective <= now() AND n.created_minute + p.latency_objective > now() - w.length) o
  GROUP BY o.time_window, o.endpoint_id
$$;
COMMENT ON FUNCTION webhook_outbox.overdue_facts(text[]) IS
  'deliveries that are not settled and passed their latency objective within these windows';
