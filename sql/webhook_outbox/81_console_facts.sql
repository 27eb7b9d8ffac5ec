-- What the console shows of each endpoint, read once for all sections. The numbers are those of the views: the same windows,
-- rollups and open part.

CREATE TYPE webhook_outbox.console_fact AS (
  endpoint_id      bigint,
  attempts         bigint,
  failures         bigint,
  delivered        bigint,
  dead             bigint,
  overdue          bigint,
  latency          bytea,
  attempts_1h      bigint,
  failures_1h      bigint,
  delivered_1h     bigint,
  dead_1h          bigint,
  latency_1h       bytea,
  hourly_delivered double precision[],
  hourly_failed    double precision[],
  waiting          bigint,
  retrying         bigint,
  parked           bigint,
  scheduled        bigint,
  blocked          bigint,
  oldest_at        timestamptz);
COMMENT ON TYPE webhook_outbox.console_fact IS
  'an endpoint on the console: its last 24 hours, its last hour (_1h), deliveries and failed attempts in each of '
  'the last 24 hours (the present one included), and its queue';

CREATE FUNCTION webhook_outbox.console_open_minutes() RETURNS webhook_outbox.endpoint_rollup[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT ARRAY(
    SELECT ROW(o.bucket, 1, o.tier, o.endpoint_id, o.attempts, o.failures, o.retries, o.delivered, o.late, o.dead, o.retried,
               o.redelivered, o.latency_sum_ms, o.http_sum_ms, o.latency_max_ms, o.http_max_ms, o.latency, o.http)
             ::webhook_outbox.endpoint_rollup
    FROM webhook_outbox.open_endpoint_minutes() o)
$$;
COMMENT ON FUNCTION webhook_outbox.console_open_minutes() IS 'the rows that endpoint_rollup still lacks, to be read once';

CREATE FUNCTION webhook_outbox.console_facts(p_endpoint_id bigint, p_open webhook_outbox.endpoint_rollup[])
RETURNS SETOF webhook_outbox.console_fact
LANGUAGE sql STABLE SECURITY DEFINER ROWS 200 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  -- each row once: those of the last hour have its length, and the last 24 hours are all of them
  WITH part AS MATERIALIZED (
    SELECT s.length, r.endpoint_id, r.bucket, r.attempts, r.failures, r.delivered, r.dead, r.latency
    FROM webhook_outbox.window_spans('{1h,24h}') s
    -- OFFSET: by the index, whatever the planner thinks of rows of which it knows nothing
    CROSS JOIN LATERAL (
      SELECT u.endpoint_id, u.bucket, u.attempts, u.failures, u.delivered, u.dead, u.latency
      FROM webhook_outbox.endpoint_rollup u
      WHERE u.resolution = s.resolution AND u.bucket >= s.first_bucket AND u.bucket < s.past_bucket OFFSET 0) r
    UNION ALL
    SELECT CASE WHEN o.bucket >= now() - interval '61 minutes' THEN interval '1 hour' ELSE interval '24 hours' END,
           o.endpoint_id, o.bucket, o.attempts, o.failures, o.delivered, o.dead, o.latency
    FROM unnest(p_open) o
    WHERE o.bucket >= now() - interval '24 hours 1 minute'),
  total AS (
    SELECT p.endpoint_id,
           sum(p.attempts) AS attempts,
           sum(p.failures) AS failures,
           sum(p.delivered) AS delivered, sum(p.dead) AS dead,
           webhook_outbox.histogram_merge(p.latency) AS latency,
           sum(p.attempts) FILTER (WHERE p.length = '1 h') AS attempts_1h,
           sum(p.failures) FILTER (WHERE p.length = '1 h') AS failures_1h,
           sum(p.delivered) FILTER (WHERE p.length = '1 h') AS delivered_1h,
           sum(p.dead) FILTER (WHERE p.length = '1 h') AS dead_1h,
           webhook_outbox.histogram_merge(p.latency) FILTER (WHERE p.length = '1 h') AS latency_1h
    FROM part p GROUP BY p.endpoint_id),
  hour AS (
    SELECT date_bin('1 hour', now(), '2000-01-01 UTC') + n * interval '1 hour' AS at FROM generate_series(-23, 0) n),
  hourly AS (
    SELECT p.endpoint_id, date_bin('1 hour', p.bucket, '2000-01-01 UTC') AS at,
           sum(p.delivered)::double precision AS delivered, sum(p.failures)::double precision AS failed
    FROM part p GROUP BY 1, 2),
  spark AS (
    SELECT e.endpoint_id, array_agg(coalesce(y.delivered, 0) ORDER BY h.at) AS delivered,
           array_agg(coalesce(y.failed, 0) ORDER BY h.at) AS failed
    FROM webhook_outbox.endpoint e CROSS JOIN hour h LEFT JOIN hourly y ON y.endpoint_id = e.endpoint_id AND y.at = h.at
    GROUP BY e.endpoint_id)
  SELECT k.endpoint_id, coalesce(t.attempts, 0)::bigint, coalesce(t.failures, 0)::bigint, coalesce(t.delivered, 0)::bigint,
         coalesce(t.dead, 0)::bigint, coalesce(o.overdue, 0), t.latency,
         coalesce(t.attempts_1h, 0)::bigint, coalesce(t.failures_1h, 0)::bigint, coalesce(t.delivered_1h, 0)::bigint,
         coalesce(t.dead_1h, 0)::bigint, t.latency_1h, k.delivered, k.failed,
         q.waiting, q.retrying, q.parked, q.scheduled, q.blocked, q.oldest_at
  FROM spark k
  JOIN webhook_outbox.queue_facts() q ON q.endpoint_id = k.endpoint_id
  LEFT JOIN total t ON t.endpoint_id = k.endpoint_id
  LEFT JOIN webhook_outbox.overdue_facts('{24h}') o ON o.endpoint_id = k.endpoint_id
  WHERE p_endpoint_id IS NULL OR k.endpoint_id = p_endpoint_id
$$;
COMMENT ON FUNCTION webhook_outbox.console_facts(bigint, webhook_outbox.endpoint_rollup[]) IS
  'what the console shows of each endpoint, or of one';
