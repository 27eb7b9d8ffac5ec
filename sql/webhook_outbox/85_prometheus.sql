-- Metrics for Prometheus. prometheus_samples() has them as rows, for an exporter that runs SQL; prometheus_metrics() as text.
-- One row in prometheus_metric and one line in prometheus_samples() add one.

CREATE VIEW webhook_outbox.prometheus_metric AS
  SELECT 'webhook_outbox_' || v.name AS metric, v.type, v.help
  FROM (VALUES
    (1, 'info', 'gauge', 'Always 1, with the version of the extension.'),
    (2, 'sampled_timestamp_seconds', 'gauge', 'When these metrics were read: if this stands still, so do all others.'),
    (3, 'dispatcher_up', 'gauge', 'Whether this database has a dispatcher that delivers.'),
    (4, 'senders_missing', 'gauge', 'Senders that should run and do not.'),
    (5, 'ring_stuck', 'gauge', 'Whether a ring of events or attempts cannot turn.'),
    (6, 'longest_transaction_seconds', 'gauge', 'Age of the oldest transaction that has written events.'),
    (7, 'maintenance_age_seconds', 'gauge', 'Time since maintain() did its work last.'),
    (8, 'maintenance_failing_steps', 'gauge', 'Steps of maintain() whose last run failed.'),
    (9, 'endpoints', 'gauge', 'Endpoints by state: enabled, paused or disabled (by HTTP 410).'),
    (10, 'attempts_total', 'counter', 'HTTP requests.'),
    (11, 'attempt_failures_total', 'counter', 'HTTP requests that did not deliver.'),
    (12, 'retries_total', 'counter', 'HTTP requests that were not the first of their delivery.'),
    (13, 'errors_total', 'counter', 'HTTP requests that did not deliver, by outcome and HTTP status.'),
    (14, 'deliveries_total', 'counter',
     'Deliveries that came to an end, by result: good (within the latency objective), late or dead (given up).'),
    (15, 'redeliveries_total', 'counter', 'Redeliveries and replays that succeeded; they count in no objective.'),
    (16, 'delivery_latency_seconds', 'histogram', 'Time from the insert of an event to the end of the response that delivered it.'),
    (17, 'http_duration_seconds', 'histogram', 'Time of an HTTP request alone.'),
    (18, 'queue_deliveries', 'gauge', 'Deliveries owed, by state: waiting, retrying, parked, scheduled or blocked.'),
    (19, 'queue_oldest_age_seconds', 'gauge', 'Age of the oldest event that is still owed; 0: nothing is.'),
    (20, 'dead_letters', 'gauge', 'Dead letters not yet sent again or discarded.'),
    (21, 'success_objective_ratio', 'gauge', 'Share of deliveries that should be good over 30 days.'),
    (22, 'latency_objective_seconds', 'gauge', 'A delivery is good when it is done in this time.'),
    (23, 'success_ratio', 'gauge', 'Share of deliveries of the last 30 days that were good; late, dead and overdue ones were not.'),
    (24, 'error_budget_remaining_ratio', 'gauge', 'Share of the error budget of 30 days that is left; below 0: overspent.'),
    (25, 'burn_rate', 'gauge', 'How fast the error budget is spent, over a window: 1 spends all of it in 30 days.'),
    (26, 'endpoint_enabled', 'gauge', 'Whether deliveries to the endpoint are made.'),
    (27, 'endpoint_attempts_total', 'counter', 'HTTP requests to the endpoint.'),
    (28, 'endpoint_attempt_failures_total', 'counter', 'HTTP requests to the endpoint that did not deliver.'),
    (29, 'endpoint_deliveries_total', 'counter', 'Deliveries to the endpoint that came to an end, by result: good, late or dead.'),
    (30, 'endpoint_delivery_latency_seconds', 'histogram',
     'Time from the insert of an event to the end of the response that delivered it to the endpoint.'),
    (31, 'endpoint_queue_deliveries', 'gauge', 'Deliveries owed to the endpoint, scheduled ones left out.'),
    (32, 'endpoint_queue_oldest_age_seconds', 'gauge', 'Age of the oldest event that is owed to the endpoint; 0: nothing is.'),
    (33, 'endpoint_dead_letters', 'gauge', 'Dead letters of the endpoint.'),
    (34, 'endpoint_success_ratio', 'gauge', 'Share of deliveries of the last 30 days to the endpoint that were good.'),
    (35, 'endpoint_error_budget_remaining_ratio', 'gauge', 'Share of the error budget of the endpoint that is left.'),
    (36, 'endpoint_burn_rate', 'gauge', 'How fast the error budget of the endpoint is spent, over a window.'),
    (37, 'alert_firing', 'gauge', '1 for each alert of webhook_outbox.alert that fires, the 200 most severe ones.'),
    (38, 'alerts_firing', 'gauge', 'How many alerts of webhook_outbox.alert fire, by severity.'),
    (39, 'incidents_open', 'gauge', 'Incidents that are open.'),
    (40, 'incident_score_max', 'gauge', 'Score of the worst open incident, 1 to 125; 0: there is none.')) v (position, name, type, help)
  ORDER BY v.position;
COMMENT ON VIEW webhook_outbox.prometheus_metric IS 'the metrics that there are';
COMMENT ON COLUMN webhook_outbox.prometheus_metric.metric IS 'its name';
COMMENT ON COLUMN webhook_outbox.prometheus_metric.type IS 'counter, gauge or histogram';
COMMENT ON COLUMN webhook_outbox.prometheus_metric.help IS 'what it says';

CREATE FUNCTION webhook_outbox.prometheus_histogram(
  p_metric text, p_labels jsonb, p_bounds double precision[], p_histogram bytea, p_sum_ms double precision,
  OUT metric text, OUT labels jsonb, OUT value double precision) RETURNS SETOF record
LANGUAGE sql IMMUTABLE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT p_metric || '_bucket', p_labels || jsonb_build_object('le', b.le::text),
         webhook_outbox.histogram_count_below(p_histogram, b.le * 1000)::double precision
  FROM unnest(p_bounds) b (le)
  UNION ALL
  SELECT p_metric || v.suffix, p_labels || v.label, v.value
  FROM (VALUES
    ('_bucket', '{"le": "+Inf"}'::jsonb, webhook_outbox.histogram_count(p_histogram)::double precision),
    -- whole milliseconds: sums of the same numbers in another order differ in their last bit, and must not shrink
    ('_sum', '{}', round(p_sum_ms) / 1000),
    ('_count', '{}', webhook_outbox.histogram_count(p_histogram))) v (suffix, label, value)
$$;
COMMENT ON FUNCTION webhook_outbox.prometheus_histogram(text, jsonb, double precision[], bytea, double precision) IS
  'the samples of a histogram whose buckets end at these bounds (seconds)';

-- Of the system as a whole.

CREATE FUNCTION webhook_outbox.prometheus_system_samples(OUT metric text, OUT labels jsonb, OUT value double precision)
  RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 50 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH firing AS MATERIALIZED (
    SELECT a.rule, a.scope, a.subject, a.severity, row_number() OVER () AS nth
    FROM webhook_outbox.alert a WHERE a.state = 'firing')
  SELECT 'webhook_outbox_' || v.name, v.labels, v.value
  FROM (
    SELECT 'info' AS name, jsonb_build_object('version', x.extversion) AS labels, 1::double precision AS value
    FROM pg_extension x WHERE x.extname = 'webhook_outbox'
    UNION ALL
    SELECT 'sampled_timestamp_seconds', '{}', round(extract(epoch FROM now()), 3)::double precision
    UNION ALL
    SELECT n.name, '{}', CASE s.signal WHEN 'dispatcher_missing' THEN 1 - s.value ELSE s.value END
    FROM webhook_outbox.system_signals() s
    JOIN (VALUES ('dispatcher_missing', 'dispatcher_up'), ('senders_missing', 'senders_missing'), ('ring_stuck', 'ring_stuck'),
                 ('longest_transaction', 'longest_transaction_seconds')) n (signal, name) ON n.signal = s.signal
    UNION ALL
    SELECT 'maintenance_age_seconds', '{}', greatest(extract(epoch FROM now() - max(m.last_started_at)), 0)
    FROM webhook_outbox.maintenance_step m HAVING max(m.last_started_at) IS NOT NULL
    UNION ALL
    SELECT 'maintenance_failing_steps', '{}', count(*) FROM webhook_outbox.maintenance_step m WHERE m.enabled AND m.failures > 0
    UNION ALL
    SELECT 'endpoints', jsonb_build_object('state', w.state),
           count(p.endpoint_id) FILTER (WHERE w.state = CASE WHEN p.enabled THEN 'enabled'
                                                             WHEN p.disabled_at IS NULL THEN 'paused' ELSE 'disabled' END)
    FROM unnest('{enabled,paused,disabled}'::text[]) w (state) LEFT JOIN webhook_outbox.endpoint p ON true
    GROUP BY w.state
    UNION ALL
    -- an answer can have any number for its status: those that have none from 100 to 599 are one
    SELECT 'errors_total', jsonb_strip_nulls(jsonb_build_object('outcome', e.outcome, 'status', c.status)), sum(e.attempts)
    FROM webhook_outbox.error_counter_facts() e
    CROSS JOIN LATERAL (
      SELECT CASE WHEN e.http_status BETWEEN 100 AND 599 THEN e.http_status::text
                  WHEN e.http_status IS NOT NULL THEN 'other' END AS status) c
    GROUP BY e.outcome, c.status
    UNION ALL
    SELECT 'alert_firing', jsonb_strip_nulls(jsonb_build_object(
             'rule', f.rule, 'scope', f.scope, 'subject', nullif(f.subject, ''), 'severity', f.severity)), 1
    FROM firing f WHERE f.nth <= 200
    UNION ALL
    SELECT 'alerts_firing', jsonb_build_object('severity', w.severity), count(f.rule)
    FROM unnest('{critical,warning,info}'::text[]) w (severity) LEFT JOIN firing f ON f.severity = w.severity
    GROUP BY w.severity
    UNION ALL
    SELECT v.name, '{}', v.value
    FROM (SELECT count(*) AS n, coalesce(max(i.score), 0) AS score FROM webhook_outbox.incident i WHERE i.state <> 'closed') i
    CROSS JOIN LATERAL (VALUES ('incidents_open', i.n::double precision), ('incident_score_max', i.score)) v (name, value)) v
$$;
COMMENT ON FUNCTION webhook_outbox.prometheus_system_samples() IS 'part of prometheus_samples(): what is of no tier and no endpoint';

-- Counters of a tier are what was recorded under it: endpoints that were deleted or moved stay counted. Those of an endpoint
-- are there for 500 endpoints, tier 1 first, then the oldest: which these are must not change from one reading to the next.

CREATE FUNCTION webhook_outbox.prometheus_samples(OUT metric text, OUT labels jsonb, OUT value double precision)
  RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH listed AS MATERIALIZED (
    SELECT p.endpoint_id, p.tier, p.enabled, jsonb_build_object('endpoint', p.name, 'tier', p.tier::text) AS labels
    FROM webhook_outbox.endpoint p ORDER BY p.tier, p.endpoint_id LIMIT 500),
  counter AS MATERIALIZED (SELECT c.* FROM webhook_outbox.counter_facts() c),
  counted AS MATERIALIZED (
    SELECT '' AS prefix, jsonb_build_object('tier', t.tier::text) AS labels, sum(c.attempts) AS attempts, sum(c.failures) AS failures,
           sum(c.retries) AS retries, sum(c.delivered) AS delivered, sum(c.late) AS late, sum(c.dead) AS dead,
           sum(c.redelivered) AS redelivered, sum(c.latency_sum_ms) AS latency_sum_ms, sum(c.http_sum_ms) AS http_sum_ms,
           webhook_outbox.histogram_merge(c.latency) AS latency, webhook_outbox.histogram_merge(c.http) AS http
    FROM webhook_outbox.tier t LEFT JOIN counter c ON c.tier = t.tier
    GROUP BY t.tier
    UNION ALL
    SELECT 'endpoint_', l.labels, sum(c.attempts), sum(c.failures), NULL, sum(c.delivered), sum(c.late), sum(c.dead), NULL,
           sum(c.latency_sum_ms), NULL, webhook_outbox.histogram_merge(c.latency), NULL
    FROM listed l LEFT JOIN counter c ON c.endpoint_id = l.endpoint_id
    GROUP BY l.endpoint_id, l.labels
    ORDER BY 1, 2),
  objective AS MATERIALIZED (
    SELECT CASE s.scope WHEN 'tier' THEN '' ELSE 'endpoint_' END AS prefix,
           coalesce(l.labels, jsonb_build_object('tier', s.tier::text)) AS labels, s.*
    FROM webhook_outbox.slo_rows() s
    LEFT JOIN listed l ON s.scope = 'endpoint' AND l.endpoint_id = s.endpoint_id
    WHERE s.scope = 'tier' OR l.endpoint_id IS NOT NULL
    ORDER BY 1, 2),
  queue AS MATERIALIZED (
    SELECT p.endpoint_id, p.tier, l.labels, q.waiting, q.retrying, q.parked, q.scheduled, q.blocked,
           greatest(coalesce(extract(epoch FROM now() - q.oldest_at), 0), 0)::double precision AS oldest_age,
           coalesce(d.dead_letters, 0) AS dead_letters
    FROM webhook_outbox.endpoint p
    LEFT JOIN webhook_outbox.queue_facts() q ON q.endpoint_id = p.endpoint_id
    LEFT JOIN (SELECT m.endpoint_id, count(*) AS dead_letters FROM webhook_outbox.dead_letter m GROUP BY m.endpoint_id) d
      ON d.endpoint_id = p.endpoint_id
    LEFT JOIN listed l ON l.endpoint_id = p.endpoint_id
    ORDER BY l.labels),
  sample AS (
    SELECT c.prefix || v.name AS name, c.labels || v.label AS labels, v.value
    FROM counted c
    CROSS JOIN LATERAL (VALUES
      ('attempts_total', '{}'::jsonb, coalesce(c.attempts, 0)::double precision),
      ('attempt_failures_total', '{}', coalesce(c.failures, 0)),
      ('deliveries_total', '{"result": "good"}', coalesce(c.delivered - c.late, 0)),
      ('deliveries_total', '{"result": "late"}', coalesce(c.late, 0)),
      ('deliveries_total', '{"result": "dead"}', coalesce(c.dead, 0)),
      ('retries_total', '{}', CASE c.prefix WHEN '' THEN coalesce(c.retries, 0) END),
      ('redeliveries_total', '{}', CASE c.prefix WHEN '' THEN coalesce(c.redelivered, 0) END)) v (name, label, value)
    UNION ALL
    SELECT o.prefix || v.name, o.labels || v.label, v.value
    FROM objective o
    CROSS JOIN LATERAL (VALUES
      ('success_objective_ratio', '{}'::jsonb, CASE o.scope WHEN 'tier' THEN o.success_objective / 100 END::double precision),
      ('latency_objective_seconds', '{}', CASE o.scope WHEN 'tier' THEN extract(epoch FROM o.latency_objective) END),
      ('success_ratio', '{}', o.actual / 100),
      ('error_budget_remaining_ratio', '{}', o.remaining / 100),
      ('burn_rate', '{"time_window": "5m"}', o.burn_5m),
      ('burn_rate', '{"time_window": "30m"}', o.burn_30m),
      ('burn_rate', '{"time_window": "1h"}', o.burn_1h),
      ('burn_rate', '{"time_window": "6h"}', o.burn_6h),
      ('burn_rate', '{"time_window": "3d"}', o.burn_3d)) v (name, label, value)
    UNION ALL
    SELECT v.name, jsonb_build_object('tier', t.tier::text) || v.label, v.value
    FROM (SELECT t.tier, sum(q.waiting) AS waiting, sum(q.retrying) AS retrying, sum(q.parked) AS parked,
                 sum(q.scheduled) AS scheduled, sum(q.blocked) AS blocked, max(q.oldest_age) AS oldest_age,
                 sum(q.dead_letters) AS dead_letters
          FROM webhook_outbox.tier t LEFT JOIN queue q ON q.tier = t.tier GROUP BY t.tier ORDER BY t.tier) t
    CROSS JOIN LATERAL (VALUES
      ('queue_deliveries', '{"state": "waiting"}'::jsonb, coalesce(t.waiting, 0)::double precision),
      ('queue_deliveries', '{"state": "retrying"}', coalesce(t.retrying, 0)),
      ('queue_deliveries', '{"state": "parked"}', coalesce(t.parked, 0)),
      ('queue_deliveries', '{"state": "scheduled"}', coalesce(t.scheduled, 0)),
      ('queue_deliveries', '{"state": "blocked"}', coalesce(t.blocked, 0)),
      ('queue_oldest_age_seconds', '{}', coalesce(t.oldest_age, 0)),
      ('dead_letters', '{}', coalesce(t.dead_letters, 0))) v (name, label, value)
    UNION ALL
    SELECT v.name, q.labels, v.value
    FROM queue q
    CROSS JOIN LATERAL (VALUES
      ('endpoint_queue_deliveries', coalesce(q.waiting + q.retrying + q.parked + q.blocked, 0)::double precision),
      ('endpoint_queue_oldest_age_seconds', q.oldest_age),
      ('endpoint_dead_letters', q.dead_letters)) v (name, value)
    WHERE q.labels IS NOT NULL
    UNION ALL
    SELECT 'endpoint_enabled', l.labels, l.enabled::integer FROM (SELECT * FROM listed ORDER BY labels) l)
  SELECT 'webhook_outbox_' || s.name, s.labels, s.value FROM sample s WHERE s.value IS NOT NULL
  UNION ALL
  SELECT h.metric, h.labels, h.value
  FROM counted c
  CROSS JOIN LATERAL webhook_outbox.prometheus_histogram('webhook_outbox_' || c.prefix || 'delivery_latency_seconds', c.labels,
    CASE c.prefix WHEN '' THEN '{0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10,30,60,300,600,3600}'::double precision[]
                  ELSE '{0.025,0.1,0.5,1,5,10,30,60,600,3600}' END, c.latency, coalesce(c.latency_sum_ms, 0)) h
  UNION ALL
  SELECT h.metric, h.labels, h.value
  FROM counted c
  CROSS JOIN LATERAL webhook_outbox.prometheus_histogram('webhook_outbox_http_duration_seconds', c.labels,
    '{0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10,30,60,300}', c.http, coalesce(c.http_sum_ms, 0)) h
  WHERE c.prefix = ''
  UNION ALL
  SELECT y.metric, y.labels, y.value FROM webhook_outbox.prometheus_system_samples() y
$$;
COMMENT ON FUNCTION webhook_outbox.prometheus_samples() IS
  'all metrics as rows, for an exporter that runs SQL: name (see prometheus_metric; of a histogram with _bucket, _sum or _count), '
  'labels, value. Each tier has about 60, each endpoint about 30 (500 endpoints at most), alerts at most 200';

CREATE FUNCTION webhook_outbox.prometheus_labels(p_labels jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{' || string_agg(l.key || '="' || CASE WHEN l.value ~ E'[\\\\"\n]'
           THEN replace(replace(replace(l.value, E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n') ELSE l.value END || '"', ',') || '}'
  FROM jsonb_each_text(p_labels) l
$$;
COMMENT ON FUNCTION webhook_outbox.prometheus_labels(jsonb) IS 'labels as the text format has them; NULL: there are none';

CREATE FUNCTION webhook_outbox.prometheus_metrics() RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH line AS (
    SELECT CASE WHEN s.metric LIKE '%!_seconds!_bucket' ESCAPE '!' THEN left(s.metric, -7)
                WHEN s.metric LIKE '%!_seconds!_count' ESCAPE '!' THEN left(s.metric, -6)
                WHEN s.metric LIKE '%!_seconds!_sum' ESCAPE '!' THEN left(s.metric, -4)
                ELSE s.metric END AS metric,
           s.metric
             -- thousands of these: the call is only worth it where there is something to escape
             || CASE WHEN s.labels = '{}' THEN ''
                     WHEN strpos(s.labels::text, E'\\') > 0 THEN webhook_outbox.prometheus_labels(s.labels)
                     ELSE '{' || (SELECT string_agg(l.key || '="' || l.value || '"', ',') FROM jsonb_each_text(s.labels) l) || '}' END
             || ' ' || CASE s.value WHEN 'Infinity' THEN '+Inf' WHEN '-Infinity' THEN '-Inf' ELSE s.value::text END || E'\n' AS text,
           row_number() OVER () AS nth
    FROM webhook_outbox.prometheus_samples() s)
  SELECT string_agg(f.family, '' ORDER BY f.position)
  FROM (
    SELECT m.position, format(E'# HELP %s %s\n# TYPE %s %s\n', m.metric, m.help, m.metric, m.type)
             || string_agg(l.text, '' ORDER BY l.nth) AS family
    FROM (SELECT d.*, row_number() OVER () AS position FROM webhook_outbox.prometheus_metric d) m
    JOIN line l ON l.metric = m.metric
    GROUP BY m.position, m.metric, m.help, m.type) f
$$;
COMMENT ON FUNCTION webhook_outbox.prometheus_metrics() IS
  'all metrics in the text format of Prometheus (0.0.4): psql -XAtc "SELECT webhook_outbox.prometheus_metrics()"; what was counted is '
  'up to a minute old';
