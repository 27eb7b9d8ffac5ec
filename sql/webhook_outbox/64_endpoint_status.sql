-- How each endpoint is doing. The last failure of a healthy endpoint lies far back in attempt; no row is in this index that
-- was delivered. The last success of one that always fails may lie as far back, and rollups know it. Whether secrets open
-- is tried in the query itself, for the key file is read once a statement then; not at all, if neither state nor last_error
-- is asked for.

CREATE INDEX attempt_failed ON webhook_outbox.attempt (endpoint_id, started_at) WHERE outcome <> 'delivered';

CREATE FUNCTION webhook_outbox.open_successes(OUT endpoint_id bigint, OUT last_success_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT a.endpoint_id, max(a.started_at) FROM webhook_outbox.open_attempts() a
  WHERE a.outcome = 'delivered' GROUP BY a.endpoint_id
$$;
COMMENT ON FUNCTION webhook_outbox.open_successes() IS 'the last success of each endpoint that had one and is in no rollup yet';

CREATE VIEW webhook_outbox.endpoint_status AS
  SELECT p.endpoint_id, p.name,
         CASE WHEN p.disabled_at IS NOT NULL THEN 'disabled'
              WHEN NOT p.enabled THEN 'paused'
              WHEN h.problem IS NOT NULL THEN 'held'
              WHEN w.retrying + l.dead_letters > 0 AND (s.started_at IS NULL OR f.started_at > s.until) THEN 'failing'
              WHEN n.pending + w.parked + w.retrying > 0 THEN 'delivering'
              ELSE 'idle' END AS state,
         p.tier, n.pending + w.parked AS pending, w.retrying, l.dead_letters, w.next_attempt_at,
         least(n.oldest_at, w.oldest_at) AS waiting_since,
         s.started_at AS last_success_at, f.started_at AS last_failure_at,
         f.http_status AS last_failure_status, coalesce(p.disabled_reason, h.problem, f.error) AS last_error,
         a.by_whom AS paused_by, a.at AS paused_at
  FROM webhook_outbox.endpoint p
  LEFT JOIN (
    SELECT d.endpoint_id AS of_endpoint, count(*) AS pending, min(d.created_at) AS oldest_at
    FROM webhook_outbox.new_delivery d GROUP BY d.endpoint_id) x ON x.of_endpoint = p.endpoint_id
  CROSS JOIN LATERAL (SELECT coalesce(x.pending, 0) AS pending, x.oldest_at) n
  CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.state = 'parked') AS parked,
           count(*) FILTER (WHERE d.state = 'retrying') AS retrying,
           min(d.next_attempt_at) FILTER (WHERE d.state = 'retrying') AS next_attempt_at,
           to_timestamp(('x' || min(left(replace(d.event_id::text, '-', ''), 12)))::bit(48)::bigint / 1000.0) AS oldest_at
    FROM webhook_outbox.delivery d WHERE d.endpoint_id = p.endpoint_id AND d.state IN ('parked', 'retrying')) w
  CROSS JOIN LATERAL (
    SELECT webhook_outbox.seal_problem(
      p.endpoint_id,
      ARRAY(SELECT k.secret FROM webhook_outbox.endpoint_secret k
            WHERE k.endpoint_id = p.endpoint_id AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())),
      (SELECT c.headers FROM webhook_outbox.endpoint_header c WHERE c.endpoint_id = p.endpoint_id)) AS problem
    OFFSET 0) h
  CROSS JOIN LATERAL (
    SELECT count(*) AS dead_letters FROM webhook_outbox.dead_letter d WHERE d.endpoint_id = p.endpoint_id) l
  LEFT JOIN webhook_outbox.open_successes() o ON o.endpoint_id = p.endpoint_id
  CROSS JOIN LATERAL (
    SELECT coalesce(o.last_success_at, r.bucket) AS started_at, coalesce(o.last_success_at, r.bucket + interval '1 minute') AS until
    FROM (SELECT) n
    LEFT JOIN LATERAL (
      SELECT b.bucket FROM webhook_outbox.endpoint_rollup b
      WHERE b.endpoint_id = p.endpoint_id AND b.delivered + b.redelivered > 0
      ORDER BY b.endpoint_id, b.resolution, b.bucket DESC LIMIT 1) r ON true) s
  LEFT JOIN LATERAL (
    SELECT a.started_at, a.http_status, a.error FROM webhook_outbox.attempt a
    WHERE a.endpoint_id = p.endpoint_id AND a.outcome <> 'delivered' ORDER BY a.started_at DESC LIMIT 1) f ON true
  LEFT JOIN LATERAL (
    SELECT o.by_whom, o.at FROM webhook_outbox.operator_action o
    WHERE NOT p.enabled AND p.disabled_at IS NULL AND o.endpoint_id = p.endpoint_id AND o.action = 'pause'
    ORDER BY o.action_id DESC LIMIT 1) a ON true;
COMMENT ON VIEW webhook_outbox.endpoint_status IS
  'how each endpoint is doing, what waits for it, its last success and failure; a role that is to read it needs EXECUTE on '
  'open_successes() and seal_problem() too (grant_monitor() sees to that)';
COMMENT ON COLUMN webhook_outbox.endpoint_status.endpoint_id IS 'which endpoint';
COMMENT ON COLUMN webhook_outbox.endpoint_status.name IS 'its name';
COMMENT ON COLUMN webhook_outbox.endpoint_status.state IS
  'idle (nothing waits), delivering, failing (the last attempt failed, and retries or dead letters wait), held (its secrets '
  'cannot be decrypted), paused, or disabled (by HTTP 410)';
COMMENT ON COLUMN webhook_outbox.endpoint_status.tier IS 'how much it matters';
COMMENT ON COLUMN webhook_outbox.endpoint_status.pending IS 'deliveries not begun, in flight or waiting for their turn';
COMMENT ON COLUMN webhook_outbox.endpoint_status.retrying IS 'deliveries that failed and will be tried again';
COMMENT ON COLUMN webhook_outbox.endpoint_status.dead_letters IS 'deliveries given up, to be sent again or discarded';
COMMENT ON COLUMN webhook_outbox.endpoint_status.next_attempt_at IS 'when the next retry is due';
COMMENT ON COLUMN webhook_outbox.endpoint_status.waiting_since IS 'when the oldest event was inserted that waits or is tried again';
COMMENT ON COLUMN webhook_outbox.endpoint_status.last_success_at IS
  'when an attempt delivered last: exactly for about a minute, then to the minute, after 26 hours to the hour, after 35 days to the day';
COMMENT ON COLUMN webhook_outbox.endpoint_status.last_failure_at IS 'start of the last attempt that failed';
COMMENT ON COLUMN webhook_outbox.endpoint_status.last_failure_status IS 'HTTP status of that one; NULL: no response';
COMMENT ON COLUMN webhook_outbox.endpoint_status.last_error IS 'why it is disabled or held, or else the error of the last attempt that failed';
COMMENT ON COLUMN webhook_outbox.endpoint_status.paused_by IS 'paused: by whom, as in operator_action.by_whom; NULL: it is not, or was made so';
COMMENT ON COLUMN webhook_outbox.endpoint_status.paused_at IS 'paused: since when';
