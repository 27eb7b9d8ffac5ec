-- Objectives and error budgets. A delivery is good when it is done within the latency objective, counted from the insert of
-- its event; it is bad when it was done later, was given up, or is still owed after that time (nobody needs to work for it to
-- be bad). Budget and burn rate as in Google's SRE workbook, chapter 5.

CREATE FUNCTION webhook_outbox.slo_counts(
  p_windows text[], OUT time_window text, OUT endpoint_id bigint, OUT tier smallint, OUT good bigint, OUT bad bigint)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  -- window_facts() says the same, but adds up more than twice as much
  SELECT w.time_window, p.endpoint_id, p.tier, sum(p.good)::bigint, sum(p.bad)::bigint
  FROM (
    SELECT s.length, r.endpoint_id, r.tier, r.good, r.bad
    FROM webhook_outbox.window_spans(p_windows) s
    CROSS JOIN LATERAL (
      SELECT i.endpoint_id, i.tier, sum(i.delivered - i.late)::bigint AS good, sum(i.late + i.dead)::bigint AS bad
      FROM (
        SELECT * FROM webhook_outbox.endpoint_rollup r
        WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) i
      GROUP BY i.endpoint_id, i.tier) r
    UNION ALL
    SELECT greatest(now() - o.bucket - interval '1 minute', '0'), o.endpoint_id, o.tier, o.delivered - o.late, o.late + o.dead
    FROM webhook_outbox.open_endpoint_minutes() o) p
  JOIN webhook_outbox.time_window w ON w.time_window = ANY (p_windows) AND w.length >= p.length
  GROUP BY w.time_window, p.endpoint_id, p.tier
  UNION ALL
  SELECT o.time_window, o.endpoint_id, p.tier, 0, o.overdue
  FROM webhook_outbox.overdue_facts(p_windows) o
  JOIN webhook_outbox.endpoint p ON p.endpoint_id = o.endpoint_id
$$;
COMMENT ON FUNCTION webhook_outbox.slo_counts(text[]) IS 'good and bad deliveries of each endpoint in these windows up to now';

CREATE FUNCTION webhook_outbox.slo_state(p_total bigint, p_remaining double precision, p_burn_1h double precision,
  p_burn_6h double precision, p_exhausted_in interval) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN coalesce(p_total, 0) = 0 THEN 'no data'
            WHEN p_remaining <= 0 THEN 'exhausted'
            WHEN p_exhausted_in <= interval '3 days' OR p_burn_1h >= 14.4 OR p_burn_6h >= 6 THEN 'at risk'
            WHEN p_burn_1h > 1 OR p_burn_6h > 1 THEN 'burning'
            ELSE 'healthy' END;
COMMENT ON FUNCTION webhook_outbox.slo_state(bigint, double precision, double precision, double precision, interval) IS
  'the state of an objective in one word, see slo.state';

CREATE FUNCTION webhook_outbox.slo_rows(
  OUT scope text, OUT name text, OUT tier smallint, OUT endpoint_id bigint, OUT success_objective numeric,
  OUT latency_objective interval, OUT good bigint, OUT total bigint, OUT actual double precision, OUT budget double precision,
  OUT spent bigint, OUT remaining double precision, OUT burn_5m double precision, OUT burn_30m double precision,
  OUT burn_1h double precision, OUT burn_6h double precision, OUT burn_3d double precision, OUT exhausted_in interval,
  OUT state text) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH counts AS MATERIALIZED (SELECT * FROM webhook_outbox.slo_counts('{5m,30m,1h,6h,3d,30d}')),
  subject AS (
    SELECT 'tier' AS scope, t.tier::bigint AS key, t.name, t.tier, NULL::bigint AS endpoint_id, t.success_objective,
           t.latency_objective
    FROM webhook_outbox.tier t
    UNION ALL
    SELECT 'endpoint', p.endpoint_id, p.name, p.tier, p.endpoint_id, p.success_objective, p.latency_objective
    FROM webhook_outbox.endpoint_objective p),
  per AS (
    -- one key for both, so that the join below can be by hash
    SELECT CASE WHEN grouping(c.endpoint_id) = 1 THEN 'tier' ELSE 'endpoint' END AS scope,
           CASE WHEN grouping(c.endpoint_id) = 1 THEN c.tier ELSE c.endpoint_id END AS key, c.time_window, sum(c.good)::bigint AS good, sum(c.bad)::bigint AS bad
    FROM counts c
    GROUP BY GROUPING SETS ((c.time_window, c.tier), (c.time_window, c.endpoint_id))),
  wide AS (
    SELECT p.scope, p.key,
           coalesce(sum(p.good) FILTER (WHERE p.time_window = '30d'), 0)::bigint AS good,
           coalesce(sum(p.bad) FILTER (WHERE p.time_window = '30d'), 0)::bigint AS bad,
           sum(p.bad::double precision / nullif(p.good + p.bad, 0)) FILTER (WHERE p.time_window = '5m') AS bad_5m,
           sum(p.bad::double precision / nullif(p.good + p.bad, 0)) FILTER (WHERE p.time_window = '30m') AS bad_30m,
           sum(p.bad::double precision / nullif(p.good + p.bad, 0)) FILTER (WHERE p.time_window = '1h') AS bad_1h,
           sum(p.bad::double precision / nullif(p.good + p.bad, 0)) FILTER (WHERE p.time_window = '6h') AS bad_6h,
           sum(p.bad::double precision / nullif(p.good + p.bad, 0)) FILTER (WHERE p.time_window = '3d') AS bad_3d
    FROM per p
    GROUP BY p.scope, p.key)
  SELECT s.scope, s.name, s.tier, s.endpoint_id, s.success_objective, s.latency_objective,
         coalesce(w.good, 0), coalesce(w.good + w.bad, 0), 100.0 * w.good / nullif(w.good + w.bad, 0),
         b.budget, coalesce(w.bad, 0), r.remaining, w.bad_5m / a.share, w.bad_30m / a.share, w.bad_1h / a.share,
         w.bad_6h / a.share, w.bad_3d / a.share, x.exhausted_in,
         webhook_outbox.slo_state(w.good + w.bad, r.remaining, w.bad_1h / a.share, w.bad_6h / a.share, x.exhausted_in)
  FROM subject s
  LEFT JOIN wide w ON w.scope = s.scope AND w.key = s.key
  CROSS JOIN LATERAL (SELECT (100 - s.success_objective)::double precision / 100 AS share) a
  CROSS JOIN LATERAL (SELECT coalesce(w.good + w.bad, 0) * a.share AS budget) b
  CROSS JOIN LATERAL (SELECT 100 * (1 - w.bad / nullif(b.budget, 0)) AS remaining) r
  CROSS JOIN LATERAL (
    -- burning at 1 uses up the budget of 30 days in 30 days
    SELECT CASE WHEN w.bad_6h > 0 AND r.remaining > 0
                THEN interval '30 days' * (r.remaining / 100 / (w.bad_6h / a.share)) END AS exhausted_in) x
$$;
COMMENT ON FUNCTION webhook_outbox.slo_rows() IS 'see the view slo';

-- Rounded for people, and actual never up: 100 means that nothing was bad.

CREATE VIEW webhook_outbox.slo AS
  SELECT s.scope, s.name, s.state, s.success_objective, trunc(s.actual::numeric, 4)::double precision AS actual,
         s.latency_objective, s.total, s.good, s.spent, round(s.budget::numeric, 3)::double precision AS budget,
         round(s.remaining::numeric, 2)::double precision AS remaining,
         round(s.burn_5m::numeric, 2)::double precision AS burn_5m, round(s.burn_30m::numeric, 2)::double precision AS burn_30m,
         round(s.burn_1h::numeric, 2)::double precision AS burn_1h, round(s.burn_6h::numeric, 2)::double precision AS burn_6h,
         round(s.burn_3d::numeric, 2)::double precision AS burn_3d, s.exhausted_in, s.tier, s.endpoint_id
  FROM webhook_outbox.slo_rows() s;
COMMENT ON VIEW webhook_outbox.slo IS
  'objectives and error budgets of each tier and endpoint over the last 30 days; late, dead and overdue deliveries spend it';
COMMENT ON COLUMN webhook_outbox.slo.scope IS 'tier or endpoint';
COMMENT ON COLUMN webhook_outbox.slo.name IS 'name of the tier or endpoint';
COMMENT ON COLUMN webhook_outbox.slo.state IS
  'no data, healthy, burning (faster than 1), at risk (14.4 by the hour, 6 by 6 hours, or exhausted within 3 days) or exhausted';
COMMENT ON COLUMN webhook_outbox.slo.success_objective IS 'per cent of deliveries that should be good';
COMMENT ON COLUMN webhook_outbox.slo.actual IS 'per cent of total that was good, rounded down; NULL: there were none';
COMMENT ON COLUMN webhook_outbox.slo.latency_objective IS 'a delivery is good when it is done in this time after the insert of its event';
COMMENT ON COLUMN webhook_outbox.slo.total IS 'good ones, late ones, dead ones, and those still owed after that time';
COMMENT ON COLUMN webhook_outbox.slo.good IS 'deliveries done in that time';
COMMENT ON COLUMN webhook_outbox.slo.spent IS 'how many were bad';
COMMENT ON COLUMN webhook_outbox.slo.budget IS 'how many of total may be bad';
COMMENT ON COLUMN webhook_outbox.slo.remaining IS 'per cent of the budget that is left; negative: overspent; NULL: no deliveries';
COMMENT ON COLUMN webhook_outbox.slo.burn_5m IS
  'how fast the budget is spent, by the last 5 minutes: 1 spends it in 30 days, 14.4 spends 2 % in an hour; NULL: no deliveries';
COMMENT ON COLUMN webhook_outbox.slo.burn_30m IS 'the same by the last 30 minutes';
COMMENT ON COLUMN webhook_outbox.slo.burn_1h IS 'the same by the last hour';
COMMENT ON COLUMN webhook_outbox.slo.burn_6h IS 'the same by the last 6 hours';
COMMENT ON COLUMN webhook_outbox.slo.burn_3d IS 'the same by the last 3 days';
COMMENT ON COLUMN webhook_outbox.slo.exhausted_in IS 'when nothing is left if it goes on as in the last 6 hours; NULL: it does not burn, or nothing is left';
COMMENT ON COLUMN webhook_outbox.slo.tier IS 'the tier, or that of the endpoint';
COMMENT ON COLUMN webhook_outbox.slo.endpoint_id IS 'number of the endpoint; NULL: a tier';

CREATE FUNCTION webhook_outbox.slo_report(
  from_time timestamptz, to_time timestamptz,
  OUT scope text, OUT name text, OUT met boolean, OUT success_objective numeric, OUT actual double precision,
  OUT latency_objective interval, OUT total bigint, OUT good bigint, OUT late bigint, OUT dead bigint,
  OUT budget double precision, OUT remaining double precision, OUT attempts bigint,
  OUT latency_p50_ms double precision, OUT latency_p95_ms double precision, OUT latency_p99_ms double precision,
  OUT tier smallint)
  RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  PERFORM webhook_outbox.check_period(from_time, to_time);
  RETURN QUERY
  WITH fact AS MATERIALIZED (SELECT f.* FROM webhook_outbox.endpoint_facts(slo_report.from_time, slo_report.to_time) f),
  per AS (
    SELECT 'tier' AS scope, t.name, t.tier, t.success_objective, t.latency_objective, t.tier::bigint AS place, f.*
    FROM webhook_outbox.tier t LEFT JOIN fact f ON f.tier = t.tier
    UNION ALL
    SELECT 'endpoint', p.name, p.tier, p.success_objective, p.latency_objective, 1000 + p.endpoint_id, f.*
    FROM webhook_outbox.endpoint_objective p LEFT JOIN fact f ON f.endpoint_id = p.endpoint_id),
  added AS (
    SELECT p.scope, p.name, p.tier, p.success_objective, p.latency_objective, p.place,
           coalesce(sum(p.delivered - p.late), 0)::bigint AS good, coalesce(sum(p.late), 0)::bigint AS late,
           coalesce(sum(p.dead), 0)::bigint AS dead, coalesce(sum(p.delivered + p.dead), 0)::bigint AS total,
           coalesce(sum(p.attempts), 0)::bigint AS attempts, webhook_outbox.histogram_merge(p.latency) AS latency
    FROM per p (scope, name, tier, success_objective, latency_objective, place, endpoint_id, of_tier, attempts, failures,
      retries, delivered, late, dead, retried, redelivered, latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, latency,
      http)
    GROUP BY 1, 2, 3, 4, 5, 6)
  SELECT a.scope, a.name, CASE WHEN a.total > 0 THEN a.late + a.dead <= b.budget END, a.success_objective,
         trunc(100.0 * a.good / nullif(a.total, 0), 4)::double precision, a.latency_objective, a.total, a.good, a.late, a.dead,
         round(b.budget::numeric, 3)::double precision,
         round((100 * (1 - (a.late + a.dead) / nullif(b.budget, 0)))::numeric, 2)::double precision, a.attempts,
         round(webhook_outbox.histogram_quantile(a.latency, 0.5)::numeric, 3)::double precision,
         round(webhook_outbox.histogram_quantile(a.latency, 0.95)::numeric, 3)::double precision,
         round(webhook_outbox.histogram_quantile(a.latency, 0.99)::numeric, 3)::double precision, a.tier
  FROM added a
  CROSS JOIN LATERAL (SELECT a.total * (100 - a.success_objective)::double precision / 100 AS budget) b
  ORDER BY a.place;
END
$$;
COMMENT ON FUNCTION webhook_outbox.slo_report(timestamptz, timestamptz) IS
  'objectives over a time that is past, for a review: slo_report(''2026-10-01'', ''2026-11-01''), tiers first. met: whether the '
  'budget sufficed (NULL: no deliveries). Times are rounded down to minutes, hours (older than 25 hours) or days (34 days), UTC';

CREATE FUNCTION webhook_outbox.check_period(p_from timestamptz, p_to timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_message text;
  v_hint    text := 'Give a start and a later end that are finite, for example ''2026-10-01'', ''2026-11-01''.';
BEGIN
  IF p_from IS NULL OR p_to IS NULL THEN
    v_message := 'start and end of the time must not be null';
  ELSIF NOT isfinite(p_from) OR NOT isfinite(p_to) THEN
    v_message := format('the time from %s to %s is not finite', p_from, p_to);
  ELSIF p_from >= p_to THEN
    v_message := format('the time from %s to %s is empty: it ends before it starts', p_from, p_to);
  ELSIF p_from > now() THEN
    v_message := format('the time from %s to %s has not begun', p_from, p_to);
    v_hint := 'Give a start in the past.';
  ELSIF extract(epoch FROM p_to) - extract(epoch FROM p_from) > 31557600000 THEN
    v_message := format('the time from %s to %s is longer than 1000 years', p_from, p_to);
  ELSE
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_period(timestamptz, timestamptz) IS 'fails unless this is a time that can be reported on';
