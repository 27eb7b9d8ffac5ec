-- Signals: how well it goes, as numbers. One line in signal_definition, and one line in one of the functions below, add one.

CREATE TABLE webhook_outbox.signal_definition (
  signal      text PRIMARY KEY,
  kind        text NOT NULL CHECK (kind IN ('window', 'state', 'system')),
  unit        text NOT NULL,
  better      text NOT NULL CHECK (better IN ('higher', 'lower', 'neither')),
  description text NOT NULL
);
COMMENT ON TABLE webhook_outbox.signal_definition IS 'the signals there are';
COMMENT ON COLUMN webhook_outbox.signal_definition.signal IS 'its name';
COMMENT ON COLUMN webhook_outbox.signal_definition.kind IS
  'window: measured over 5m, 1h, 24h and 30d; state: as it is now, of an endpoint, a tier or overall; system: as it is now, of the server';
COMMENT ON COLUMN webhook_outbox.signal_definition.unit IS 'per cent, ms, s, count, ratio or yes/no (1/0)';
COMMENT ON COLUMN webhook_outbox.signal_definition.better IS 'whether higher or lower values are better';
COMMENT ON COLUMN webhook_outbox.signal_definition.description IS 'what it says';

INSERT INTO webhook_outbox.signal_definition VALUES
  ('deliveries',              'window', 'count',    'neither', 'deliveries that came to an end: delivered or given up'),
  ('attempts',                'window', 'count',    'neither', 'HTTP requests'),
  ('success_rate',            'window', 'per cent', 'higher',  'of deliveries that were due: delivered at all; given up and overdue ones count against it'),
  ('objective_attainment',    'window', 'per cent', 'higher',  'of deliveries that were due: delivered within the latency objective'),
  ('attempt_success_rate',    'window', 'per cent', 'higher',  'of HTTP requests: answered 2xx'),
  ('error_rate',              'window', 'per cent', 'lower',   'of HTTP requests: not answered 2xx (view error_rate has the kinds)'),
  ('latency_p50',             'window', 'ms',       'lower',   'median time from the insert of the event to the end of the response that delivered it'),
  ('latency_p95',             'window', 'ms',       'lower',   '95th percentile of that'),
  ('latency_p99',             'window', 'ms',       'lower',   '99th percentile of that'),
  ('latency_max',             'window', 'ms',       'lower',   'maximum of that'),
  ('http_p50',                'window', 'ms',       'lower',   'median time of an HTTP request alone'),
  ('http_p95',                'window', 'ms',       'lower',   '95th percentile of that'),
  ('http_p99',                'window', 'ms',       'lower',   '99th percentile of that'),
  ('http_max',                'window', 'ms',       'lower',   'maximum of that'),
  ('retries_per_delivery',    'window', 'ratio',    'lower',   'HTTP requests after the first, per delivery that came to an end'),
  ('retried_share',           'window', 'per cent', 'lower',   'of deliveries that came to an end: those that needed more than one request'),
  ('dead_letters',            'window', 'count',    'lower',   'deliveries given up after their last attempt'),
  ('overdue',                 'window', 'count',    'lower',   'deliveries not settled that passed their latency objective'),
  ('queue_length',            'state',  'count',    'lower',   'deliveries owed: the sum of the next five'),
  ('waiting',                 'state',  'count',    'lower',   'of these: new, not begun or in flight for the first time'),
  ('retrying',                'state',  'count',    'lower',   'of these: failed, to be tried again'),
  ('parked',                  'state',  'count',    'lower',   'of these: wait for their turn behind others'),
  ('scheduled',               'state',  'count',    'neither', 'of these: to be sent at a later time'),
  ('blocked',                 'state',  'count',    'lower',   'of these: wait for an endpoint that is paused or disabled'),
  ('oldest_age',              'state',  's',        'lower',   'time since the insert of the oldest event that is still owed, those for later left out'),
  ('dead_letters_kept',       'state',  'count',    'lower',   'dead letters not yet sent again or discarded'),
  ('endpoint_disabled',       'state',  'yes/no',   'lower',   'disabled by the dispatcher (HTTP 410); overall and per tier: how many are'),
  ('latency_objective_ratio', 'state',  'ratio',    'lower',   'latency_p95 of the last 5 minutes, divided by the latency objective'),
  ('dispatcher_missing',      'system', 'yes/no',   'lower',   'this database has no dispatcher that delivers'),
  ('senders_missing',         'system', 'count',    'lower',   'senders that should run and do not'),
  ('ring_stuck',              'system', 'yes/no',   'lower',   'the oldest leaf of a ring should have been emptied and could not be'),
  ('longest_transaction',     'system', 's',        'lower',   'age of the oldest open or prepared transaction that has published: its events wait for its commit');

-- What deliveries and attempts say, over a window: the same lines for every scope.

CREATE FUNCTION webhook_outbox.window_signal_rows(
  p_attempts bigint, p_failures bigint, p_retries bigint, p_delivered bigint, p_late bigint, p_dead bigint, p_retried bigint,
  p_overdue bigint, p_latency_max real, p_http_max real, p_latency bytea, p_http bytea,
  OUT signal text, OUT value double precision, OUT samples bigint) RETURNS SETOF record
LANGUAGE sql IMMUTABLE ROWS 18
BEGIN ATOMIC
  SELECT v.signal, v.value, v.samples
  FROM (SELECT coalesce(p_delivered + p_dead, 0) AS ended,
               coalesce(p_delivered + p_dead, 0) + coalesce(p_overdue, 0) AS due,
               coalesce(p_attempts, 0) AS attempts, coalesce(p_delivered, 0) AS delivered) c
  CROSS JOIN LATERAL (VALUES
    ('deliveries', c.ended::double precision, c.ended),
    ('attempts', c.attempts, c.attempts),
    ('success_rate', 100.0 * c.delivered / nullif(c.due, 0), c.due),
    ('objective_attainment', 100.0 * (c.delivered - coalesce(p_late, 0)) / nullif(c.due, 0), c.due),
    ('attempt_success_rate', 100.0 * (c.attempts - p_failures) / nullif(c.attempts, 0), c.attempts),
    ('error_rate', 100.0 * p_failures / nullif(c.attempts, 0), c.attempts),
    ('latency_p50', webhook_outbox.histogram_quantile(p_latency, 0.5), c.delivered),
    ('latency_p95', webhook_outbox.histogram_quantile(p_latency, 0.95), c.delivered),
    ('latency_p99', webhook_outbox.histogram_quantile(p_latency, 0.99), c.delivered),
    ('latency_max', CASE WHEN c.delivered > 0 THEN p_latency_max END, c.delivered),
    ('http_p50', webhook_outbox.histogram_quantile(p_http, 0.5), c.attempts),
    ('http_p95', webhook_outbox.histogram_quantile(p_http, 0.95), c.attempts),
    ('http_p99', webhook_outbox.histogram_quantile(p_http, 0.99), c.attempts),
    ('http_max', CASE WHEN c.attempts > 0 THEN p_http_max END, c.attempts),
    ('retries_per_delivery', p_retries::double precision / nullif(c.ended, 0), c.ended),
    ('retried_share', 100.0 * p_retried / nullif(c.ended, 0), c.ended),
    ('dead_letters', coalesce(p_dead, 0), c.ended),
    ('overdue', coalesce(p_overdue, 0), c.due)) v (signal, value, samples);
END;
COMMENT ON FUNCTION webhook_outbox.window_signal_rows(bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, real,
  real, bytea, bytea) IS 'makes signals of what was counted in a window';

CREATE FUNCTION webhook_outbox.window_signals(
  p_scope text, p_windows text[] DEFAULT '{5m,1h,24h,30d}', OUT subject text, OUT endpoint_id bigint,
  OUT time_window text, OUT signal text, OUT value double precision, OUT samples bigint) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  -- every subject has its rows, with data or without
  WITH subject AS (
    SELECT p.endpoint_id AS key, p.name AS subject, p.endpoint_id FROM webhook_outbox.endpoint p WHERE p_scope = 'endpoint'
    UNION ALL
    SELECT t.tier, t.tier::text, NULL FROM webhook_outbox.tier t WHERE p_scope = 'tier'
    UNION ALL
    SELECT 0, '', NULL WHERE p_scope = 'overall'),
  late AS (
    SELECT o.time_window, CASE p_scope WHEN 'endpoint' THEN o.endpoint_id WHEN 'tier' THEN p.tier ELSE 0 END AS key,
           sum(o.overdue)::bigint AS overdue
    FROM webhook_outbox.overdue_facts(p_windows) o
    JOIN webhook_outbox.endpoint p ON p.endpoint_id = o.endpoint_id
    GROUP BY 1, 2)
  SELECT s.subject, s.endpoint_id, w.time_window, r.*
  FROM subject s
  CROSS JOIN unnest(p_windows) w (time_window)
  LEFT JOIN webhook_outbox.window_facts(p_windows, p_scope) f ON f.time_window = w.time_window AND f.key = s.key
  LEFT JOIN late o ON o.time_window = w.time_window AND o.key = s.key
  CROSS JOIN LATERAL webhook_outbox.window_signal_rows(f.attempts, f.failures, f.retries, f.delivered, f.late, f.dead,
    f.retried, o.overdue, f.latency_max_ms, f.http_max_ms, f.latency, f.http) r
$$;
COMMENT ON FUNCTION webhook_outbox.window_signals(text, text[]) IS
  'signals over windows for all subjects of a scope: overall, tier or endpoint';

CREATE FUNCTION webhook_outbox.series_signals(
  p_scope text, p_windows text[] DEFAULT '{5m,1h,24h,30d}', OUT subject text,
  OUT time_window text, OUT signal text, OUT value double precision, OUT samples bigint) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH fact AS MATERIALIZED (SELECT * FROM webhook_outbox.window_series_facts(p_windows, p_scope))
  SELECT s.subject, w.time_window, r.*
  FROM (SELECT DISTINCT f.subject FROM fact f) s
  CROSS JOIN unnest(p_windows) w (time_window)
  LEFT JOIN fact f ON f.time_window = w.time_window AND f.subject = s.subject
  CROSS JOIN LATERAL webhook_outbox.window_signal_rows(f.attempts, f.failures, f.retries, f.delivered, f.late, f.dead,
    f.retried, NULL, f.latency_max_ms, f.http_max_ms, f.latency, f.http) r
$$;
COMMENT ON FUNCTION webhook_outbox.series_signals(text, text[]) IS
  'signals over windows for all subjects of the scope tenant or event_type: deliveries that came to an end, so nothing is overdue';

-- How it is now.

CREATE FUNCTION webhook_outbox.state_signals(
  p_scope text, OUT subject text, OUT endpoint_id bigint, OUT signal text, OUT value double precision, OUT samples bigint)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH subject AS (
    SELECT p.endpoint_id AS key, p.name AS subject, p.endpoint_id FROM webhook_outbox.endpoint p WHERE p_scope = 'endpoint'
    UNION ALL
    SELECT t.tier, t.tier::text, NULL FROM webhook_outbox.tier t WHERE p_scope = 'tier'
    UNION ALL
    SELECT 0, '', NULL WHERE p_scope = 'overall'),
  state AS (
    SELECT CASE p_scope WHEN 'endpoint' THEN p.endpoint_id WHEN 'tier' THEN p.tier ELSE 0 END AS key,
           count(*) AS endpoints, sum(q.waiting) AS waiting, sum(q.retrying) AS retrying, sum(q.parked) AS parked,
           sum(q.scheduled) AS scheduled, sum(q.blocked) AS blocked, min(q.oldest_at) AS oldest_at,
           count(*) FILTER (WHERE e.disabled_at IS NOT NULL) AS disabled,
           sum(l.dead_letters) AS dead_letters, sum(f.delivered) AS delivered,
           max(f.latency_p95 / (extract(epoch FROM p.latency_objective) * 1000)::double precision) AS ratio
    FROM webhook_outbox.endpoint_objective p
    JOIN webhook_outbox.endpoint e ON e.endpoint_id = p.endpoint_id
    JOIN webhook_outbox.queue_facts() q ON q.endpoint_id = p.endpoint_id
    LEFT JOIN (
      SELECT d.endpoint_id, count(*) AS dead_letters FROM webhook_outbox.dead_letter d GROUP BY 1) l
      ON l.endpoint_id = p.endpoint_id
    LEFT JOIN (
      SELECT w.key, webhook_outbox.histogram_quantile(w.latency, 0.95) AS latency_p95, w.delivered
      FROM webhook_outbox.window_facts('{5m}', 'endpoint') w) f ON f.key = p.endpoint_id
    GROUP BY 1)
  SELECT s.subject, s.endpoint_id, v.signal, v.value, coalesce(v.samples, 0)
  FROM subject s
  LEFT JOIN state t ON t.key = s.key
  CROSS JOIN LATERAL (SELECT coalesce(t.waiting + t.retrying + t.parked + t.scheduled + t.blocked, 0)::bigint AS length) n
  CROSS JOIN LATERAL (VALUES
    ('queue_length', n.length::double precision, n.length),
    ('waiting', coalesce(t.waiting, 0), n.length),
    ('retrying', coalesce(t.retrying, 0), n.length),
    ('parked', coalesce(t.parked, 0), n.length),
    ('scheduled', coalesce(t.scheduled, 0), n.length),
    ('blocked', coalesce(t.blocked, 0), n.length),
    ('oldest_age', greatest(coalesce(extract(epoch FROM now() - t.oldest_at), 0), 0), n.length),
    ('dead_letters_kept', coalesce(t.dead_letters, 0), coalesce(t.dead_letters, 0)::bigint),
    ('endpoint_disabled', coalesce(t.disabled, 0), t.endpoints),
    ('latency_objective_ratio', t.ratio, t.delivered::bigint)) v (signal, value, samples)
$$;
COMMENT ON FUNCTION webhook_outbox.state_signals(text) IS
  'signals of the present for all subjects of a scope: overall, tier (the worst of its endpoints where that is meant) or endpoint';

CREATE FUNCTION webhook_outbox.system_signals(OUT signal text, OUT value double precision, OUT samples bigint)
  RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH worker AS MATERIALIZED (SELECT * FROM webhook_outbox.worker_rows() w WHERE w.database = current_database())
  SELECT v.signal, v.value, v.samples
  FROM (VALUES
    ('dispatcher_missing',
     (SELECT CASE WHEN bool_or(w.is_running AND w.state !~ '^not sending') THEN 0 ELSE 1 END::double precision
      FROM worker w WHERE w.process = 'dispatcher'), 1::bigint),
    ('senders_missing',
     (SELECT count(*) FROM worker w WHERE w.process = 'sender' AND w.expected AND NOT w.is_running),
     (SELECT count(*) FROM worker w WHERE w.process = 'sender')),
    ('ring_stuck',
     -- the ring turns six times in its retention
     (SELECT CASE WHEN count(*) > 0 THEN 1 ELSE 0 END
      FROM (
        SELECT DISTINCT ON (l.ring) l.ring, l.opened_at FROM webhook_outbox.ring_leaf l ORDER BY l.ring, l.turn DESC) c
      WHERE c.opened_at < now() - interval '1 minute'
              - current_setting('webhook_outbox.' || c.ring || '_retention', true)::interval / 4), 2),
    ('longest_transaction',
     (SELECT greatest(coalesce(extract(epoch FROM now() - min(coalesce(a.xact_start, p.prepared))), 0), 0)
      FROM pg_locks l
      LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND l.virtualtransaction = '-1/' || p.transaction::text
      WHERE l.locktype = 'relation' AND l.relation = 'webhook_outbox.event'::regclass AND l.mode = 'RowExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND l.pid IS DISTINCT FROM pg_backend_pid()), 1)) v (signal, value, samples)
  WHERE NOT pg_is_in_recovery()
$$;
COMMENT ON FUNCTION webhook_outbox.system_signals() IS 'signals of the server as a whole; none on a standby, where no worker should run';

-- What people read is rounded. A rate of 99.99999 is not 100, and 0.00001 is not 0: of what is so near, four digits of the
-- distance remain. Rules, Prometheus and plots take the functions' own values.

-- Not strict, so that it becomes part of the query that calls it, and not numeric: it may be called for a million values.

CREATE FUNCTION webhook_outbox.rounded(value double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN NOT abs(value) < 1e11 THEN value
            WHEN round(value * 10000) IN (0, 1000000) AND value NOT IN (0, 100)
            THEN round(value::numeric, 3 - floor(log(abs(value::numeric - round(value::numeric, 4))))::integer)
            ELSE round(value * 10000) / 10000 END;
COMMENT ON FUNCTION webhook_outbox.rounded(double precision) IS
  'a number for people, to four decimals: never 0 or 100 unless it is that';

-- Each branch has its scope as a constant, so that a query for one scope computes no other.

CREATE VIEW webhook_outbox.signal AS
  SELECT 'overall'::text AS scope, s.subject, s.endpoint_id, s.time_window, s.signal,
         webhook_outbox.rounded(s.value) AS value, s.samples, d.unit
  FROM webhook_outbox.window_signals('overall') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'overall', s.subject, s.endpoint_id, 'now', s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.state_signals('overall') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'tier', s.subject, s.endpoint_id, s.time_window, s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.window_signals('tier') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'tier', s.subject, s.endpoint_id, 'now', s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.state_signals('tier') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'endpoint', s.subject, s.endpoint_id, s.time_window, s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.window_signals('endpoint') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'endpoint', s.subject, s.endpoint_id, 'now', s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.state_signals('endpoint') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'tenant', s.subject, NULL, s.time_window, s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.series_signals('tenant') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'event_type', s.subject, NULL, s.time_window, s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.series_signals('event_type') s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal
UNION ALL
  SELECT 'system', '', NULL, 'now', s.signal, webhook_outbox.rounded(s.value), s.samples, d.unit
  FROM webhook_outbox.system_signals() s JOIN webhook_outbox.signal_definition d ON d.signal = s.signal;
COMMENT ON VIEW webhook_outbox.signal IS
  'how well it goes, a number a row: SELECT * FROM webhook_outbox.signal WHERE scope = ''overall'' AND time_window = ''5m''';
COMMENT ON COLUMN webhook_outbox.signal.scope IS 'overall, tier, endpoint, tenant, event_type or system';
COMMENT ON COLUMN webhook_outbox.signal.subject IS 'number of the tier, name of the endpoint, tenant or event type; empty: overall and system';
COMMENT ON COLUMN webhook_outbox.signal.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.signal.time_window IS '5m, 1h, 24h or 30d up to now; now: a state';
COMMENT ON COLUMN webhook_outbox.signal.signal IS 'what is measured, see signal_definition';
COMMENT ON COLUMN webhook_outbox.signal.value IS 'how much, to four decimals, but never 0 or 100 unless it is that; NULL: there is no data';
COMMENT ON COLUMN webhook_outbox.signal.samples IS 'how many deliveries, requests or whatever it is computed from';
COMMENT ON COLUMN webhook_outbox.signal.unit IS 'per cent, ms, s, count, ratio or yes/no (1/0)';

-- What went wrong, by kind.

CREATE FUNCTION webhook_outbox.window_errors(
  p_scope text, OUT subject text, OUT endpoint_id bigint, OUT time_window text, OUT outcome text, OUT http_status smallint,
  OUT attempts bigint, OUT share double precision) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH part AS (
    SELECT s.length, r.endpoint_id, r.outcome, r.http_status, sum(r.attempts)::bigint AS attempts
    FROM webhook_outbox.window_spans('{5m,1h,24h,30d}') s
    CROSS JOIN LATERAL (
      SELECT * FROM webhook_outbox.error_rollup r
      WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r
    GROUP BY s.length, r.endpoint_id, r.outcome, r.http_status
    UNION ALL
    SELECT greatest(now() - o.bucket - interval '1 minute', '0'), o.endpoint_id, o.outcome, o.http_status, o.attempts
    FROM webhook_outbox.open_error_minutes() o),
  failed AS (
    SELECT w.time_window, CASE p_scope WHEN 'endpoint' THEN p.endpoint_id WHEN 'tier' THEN e.tier ELSE 0 END AS key,
           p.outcome, p.http_status, sum(p.attempts)::bigint AS attempts
    FROM part p
    JOIN webhook_outbox.time_window w ON w.time_window IN ('5m', '1h', '24h', '30d') AND w.length >= p.length
    LEFT JOIN webhook_outbox.endpoint e ON e.endpoint_id = p.endpoint_id
    WHERE e.endpoint_id IS NOT NULL OR p_scope = 'overall'
    GROUP BY 1, 2, 3, 4),
  total AS (
    SELECT f.time_window, CASE p_scope WHEN 'endpoint' THEN f.key WHEN 'tier' THEN e.tier ELSE 0 END AS key,
           sum(f.attempts)::bigint AS attempts
    FROM webhook_outbox.window_facts('{5m,1h,24h,30d}', CASE p_scope WHEN 'overall' THEN p_scope ELSE 'endpoint' END, false) f
    LEFT JOIN webhook_outbox.endpoint e ON e.endpoint_id = f.key
    WHERE e.endpoint_id IS NOT NULL OR p_scope = 'overall'
    GROUP BY 1, 2)
  SELECT CASE p_scope WHEN 'endpoint' THEN p.name WHEN 'tier' THEN f.key::text ELSE '' END,
         p.endpoint_id, f.time_window, f.outcome, f.http_status, f.attempts, 100.0 * f.attempts / nullif(t.attempts, 0)
  FROM failed f
  LEFT JOIN total t ON t.time_window = f.time_window AND t.key = f.key
  LEFT JOIN webhook_outbox.endpoint p ON p_scope = 'endpoint' AND p.endpoint_id = f.key
$$;
COMMENT ON FUNCTION webhook_outbox.window_errors(text) IS
  'attempts that failed, by kind, for all subjects of a scope: overall (endpoints deleted since too), tier (of the endpoints '
  'that it has now) or endpoint';

CREATE VIEW webhook_outbox.error_rate AS
  SELECT 'overall'::text AS scope, e.subject, e.endpoint_id, e.time_window, e.outcome, e.http_status, e.attempts,
         webhook_outbox.rounded(e.share) AS share
  FROM webhook_outbox.window_errors('overall') e
UNION ALL
  SELECT 'tier', e.subject, e.endpoint_id, e.time_window, e.outcome, e.http_status, e.attempts,
         webhook_outbox.rounded(e.share)
  FROM webhook_outbox.window_errors('tier') e
UNION ALL
  SELECT 'endpoint', e.subject, e.endpoint_id, e.time_window, e.outcome, e.http_status, e.attempts,
         webhook_outbox.rounded(e.share)
  FROM webhook_outbox.window_errors('endpoint') e;
COMMENT ON VIEW webhook_outbox.error_rate IS 'HTTP requests that failed, by outcome and status: none, no row';
COMMENT ON COLUMN webhook_outbox.error_rate.scope IS 'overall, tier or endpoint';
COMMENT ON COLUMN webhook_outbox.error_rate.subject IS 'number of the tier or name of the endpoint; empty: overall';
COMMENT ON COLUMN webhook_outbox.error_rate.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.error_rate.time_window IS '5m, 1h, 24h or 30d, up to now';
COMMENT ON COLUMN webhook_outbox.error_rate.outcome IS 'outcome of the attempts, see attempt.outcome';
COMMENT ON COLUMN webhook_outbox.error_rate.http_status IS 'HTTP status; NULL: no response';
COMMENT ON COLUMN webhook_outbox.error_rate.attempts IS 'how many requests ended so';
COMMENT ON COLUMN webhook_outbox.error_rate.share IS 'per cent of all requests of the subject in the window';
