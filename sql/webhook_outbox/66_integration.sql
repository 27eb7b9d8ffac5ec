-- Who tells whom what, how much of it, and how much that matters. Volumes come from series_rollup; of payloads maintain()
-- notes size and top-level keys of a few, so that no view reads one.

CREATE TABLE webhook_outbox.event_shape (
  event_type    text NOT NULL,
  source        text,
  keys          text[] NOT NULL,
  sampled       bigint NOT NULL,
  bytes_avg     double precision NOT NULL,
  bytes_max     integer NOT NULL,
  last_event_id uuid NOT NULL,
  sampled_at    timestamptz NOT NULL,
  UNIQUE NULLS NOT DISTINCT (event_type, source)
);
COMMENT ON TABLE webhook_outbox.event_shape IS 'what payloads look like, of a sample; written by maintain()';
COMMENT ON COLUMN webhook_outbox.event_shape.event_type IS 'type of the events';
COMMENT ON COLUMN webhook_outbox.event_shape.source IS 'which system said them';
COMMENT ON COLUMN webhook_outbox.event_shape.keys IS
  'top-level keys seen so far, of payloads that are objects: at most 100, cut to 64 characters; never values';
COMMENT ON COLUMN webhook_outbox.event_shape.sampled IS 'how many payloads were looked at';
COMMENT ON COLUMN webhook_outbox.event_shape.bytes_avg IS 'their average size; older ones count for less from the 1000th on';
COMMENT ON COLUMN webhook_outbox.event_shape.bytes_max IS 'the largest';
COMMENT ON COLUMN webhook_outbox.event_shape.last_event_id IS 'the newest of them';
COMMENT ON COLUMN webhook_outbox.event_shape.sampled_at IS 'when that was looked at';

CREATE FUNCTION webhook_outbox.payload_keys(p_payload json) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF json_typeof(p_payload) <> 'object' THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(SELECT DISTINCT left(k, 64) FROM json_object_keys(p_payload) k ORDER BY 1 LIMIT 100);
EXCEPTION
  -- json keeps escapes that are no characters (\u0000, half a surrogate pair), and only stumbles over them here, as it does in
  -- SQL_ASCII over any beyond ASCII (not supported); what was nested as deep as its publisher's stack let it is too deep for
  -- a process that has less of that left
  WHEN data_exception OR feature_not_supported OR statement_too_complex THEN
    RETURN '{}';
END
$$;
COMMENT ON FUNCTION webhook_outbox.payload_keys(json) IS
  'top-level keys of an object, at most 100, cut to 64 characters; none of what is no object, or cannot be shown as text';

-- Looks at up to five payloads of each source and type, of the newest 2000 events since the last look, up to 200 in all:
-- enough for any number of events, and as much work whatever their number. Indexes only, for a ring's statistics are stale.

CREATE FUNCTION webhook_outbox.sample_events() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
  c_max_shapes CONSTANT integer := 10000;
  v_since uuid := (SELECT max(s.last_event_id::text)::uuid FROM webhook_outbox.event_shape s);
  v_kept  interval := coalesce(current_setting('webhook_outbox.metrics_retention', true), '400 days')::interval;
  v_rows  bigint;
BEGIN
  DELETE FROM webhook_outbox.event_shape s WHERE s.sampled_at < now() - v_kept;

  WITH newest AS MATERIALIZED (
    SELECT e.id, e.slot, e.type, e.source FROM webhook_outbox.event e
    WHERE e.id > coalesce(v_since, '00000000-0000-0000-0000-000000000000')
    ORDER BY e.id DESC LIMIT 2000),
  picked AS MATERIALIZED (
    SELECT n.id, n.slot, n.type, n.source
    FROM (SELECT w.*, row_number() OVER (PARTITION BY w.type, w.source ORDER BY w.id DESC) AS nth FROM newest w) n
    WHERE n.nth <= 5
    ORDER BY n.nth, n.id DESC LIMIT 200),
  seen AS (
    SELECT p.type, p.source, p.id, octet_length(e.payload::text) AS bytes, webhook_outbox.payload_keys(e.payload) AS keys
    FROM picked p
    CROSS JOIN LATERAL (
      SELECT v.payload FROM webhook_outbox.event v WHERE v.id = p.id AND v.slot = p.slot LIMIT 1) e),
  shape AS (
    SELECT s.type, s.source, count(*) AS sampled, avg(s.bytes)::double precision AS bytes_avg, max(s.bytes) AS bytes_max,
           max(s.id::text)::uuid AS last_event_id,
           ARRAY(SELECT DISTINCT k FROM seen t, unnest(t.keys) k
                 WHERE t.type = s.type AND t.source IS NOT DISTINCT FROM s.source ORDER BY k LIMIT 100) AS keys
    FROM seen s
    GROUP BY s.type, s.source)
  INSERT INTO webhook_outbox.event_shape AS o (event_type, source, keys, sampled, bytes_avg, bytes_max, last_event_id, sampled_at)
    SELECT h.type, h.source, h.keys, h.sampled, h.bytes_avg, h.bytes_max, h.last_event_id, now()
    FROM shape h
    WHERE (SELECT count(*) FROM webhook_outbox.event_shape) < c_max_shapes
       OR EXISTS (SELECT FROM webhook_outbox.event_shape x WHERE x.event_type = h.type AND x.source IS NOT DISTINCT FROM h.source)
  ON CONFLICT (event_type, source) DO UPDATE SET
    keys = ARRAY(SELECT DISTINCT k FROM unnest(o.keys || EXCLUDED.keys) k ORDER BY k LIMIT 100),
    sampled = o.sampled + EXCLUDED.sampled,
    bytes_avg = o.bytes_avg + (EXCLUDED.bytes_avg - o.bytes_avg)
                  * EXCLUDED.sampled / (least(o.sampled, 1000) + EXCLUDED.sampled),
    bytes_max = greatest(o.bytes_max, EXCLUDED.bytes_max),
    last_event_id = EXCLUDED.last_event_id,
    sampled_at = EXCLUDED.sampled_at;
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  RETURN v_rows;
END
$$;
COMMENT ON FUNCTION webhook_outbox.sample_events() IS
  'step of maintain(): notes size and keys of a few payloads of each source and type that came since it last looked';
INSERT INTO webhook_outbox.maintenance_step (step, position, run_every, function)
  VALUES ('samples', 85, '1 minute', 'webhook_outbox.sample_events()');

CREATE FUNCTION webhook_outbox.integration_facts(
  OUT endpoint_id bigint, OUT event_type text, OUT source text, OUT tenants bigint,
  OUT attempts_24h bigint, OUT deliveries_24h bigint, OUT attempts_30d bigint, OUT deliveries_30d bigint,
  OUT delivered_30d bigint, OUT first_seen_at timestamptz, OUT last_seen_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH month AS MATERIALIZED (
    SELECT r.series_id, sum(r.attempts) AS attempts, sum(r.delivered) AS delivered, sum(r.dead) AS dead,
           max(r.bucket) AS last_seen_at
    FROM webhook_outbox.rollup_span(now() - interval '720 hours', 'infinity') s
    CROSS JOIN LATERAL (
      SELECT * FROM webhook_outbox.series_rollup r
      WHERE r.resolution = s.resolution AND r.bucket >= s.first_bucket AND r.bucket < s.past_bucket OFFSET 0) r
    GROUP BY r.series_id),
  day AS (
    SELECT f.series_id, f.attempts, f.delivered + f.dead AS deliveries
    FROM webhook_outbox.series_facts(now() - interval '24 hours', 'infinity', false) f),
  earlier AS (
    SELECT r.series_id, max(r.bucket) AS last_seen_at
    FROM webhook_outbox.series i
    JOIN webhook_outbox.series_rollup r ON r.series_id = i.series_id AND r.resolution = 1440
    WHERE NOT EXISTS (SELECT FROM month m WHERE m.series_id = i.series_id)
    GROUP BY r.series_id),
  part AS (
    SELECT i.endpoint_id, i.event_type, i.source, i.tenant, d.attempts AS attempts_24h, d.deliveries AS deliveries_24h,
           m.attempts AS attempts_30d, m.delivered AS delivered_30d, m.dead AS dead_30d,
           i.first_seen_at, coalesce(m.last_seen_at, e.last_seen_at) AS last_seen_at
    FROM webhook_outbox.series i
    LEFT JOIN month m ON m.series_id = i.series_id
    LEFT JOIN day d ON d.series_id = i.series_id
    LEFT JOIN earlier e ON e.series_id = i.series_id
    UNION ALL
    SELECT o.endpoint_id, o.event_type, o.source, o.tenant, o.attempts, o.delivered + o.dead, o.attempts, o.delivered, o.dead,
           o.bucket, o.bucket
    FROM webhook_outbox.open_series_minutes() o)
  SELECT p.endpoint_id, p.event_type, p.source, count(DISTINCT p.tenant),
         coalesce(sum(p.attempts_24h), 0)::bigint, coalesce(sum(p.deliveries_24h), 0)::bigint,
         coalesce(sum(p.attempts_30d), 0)::bigint, coalesce(sum(p.delivered_30d + p.dead_30d), 0)::bigint,
         coalesce(sum(p.delivered_30d), 0)::bigint, min(p.first_seen_at), max(p.last_seen_at)
  FROM part p
  GROUP BY p.endpoint_id, p.event_type, p.source
$$;
COMMENT ON FUNCTION webhook_outbox.integration_facts() IS
  'what was delivered of each source and type to each endpoint, of all tenants, over 24 hours and 30 days; endpoint 0: events '
  'that no endpoint took, as attempts';

CREATE VIEW webhook_outbox.integration AS
  SELECT f.source, f.event_type, p.name AS endpoint, p.tier, c.criticality,
         concat_ws(', ', format('tier %s', p.tier),
           CASE WHEN f.deliveries_30d = 0 THEN 'nothing in 30 days'
                ELSE CASE WHEN s.share < 0.1 THEN 'less than 0.1' ELSE round(s.share::numeric, 1)::text END
                       || ' % of deliveries' END) AS reason,
         f.deliveries_24h, f.deliveries_30d, webhook_outbox.rounded(s.share) AS share,
         webhook_outbox.rounded(100.0::double precision * f.delivered_30d / nullif(f.deliveries_30d, 0)) AS success_rate,
         p.owner, f.tenants, f.first_seen_at, f.last_seen_at,
         round(h.bytes_avg)::integer AS payload_bytes_avg, h.bytes_max AS payload_bytes_max, h.keys AS payload_keys,
         t.name AS tier_name, p.endpoint_id
  FROM (SELECT i.*, 100.0 * i.deliveries_30d / nullif(sum(i.deliveries_30d) OVER (), 0)::double precision AS share
        FROM webhook_outbox.integration_facts() i WHERE i.endpoint_id <> 0) f
  JOIN webhook_outbox.endpoint p ON p.endpoint_id = f.endpoint_id
  JOIN webhook_outbox.tier t ON t.tier = p.tier
  LEFT JOIN webhook_outbox.event_shape h ON h.event_type = f.event_type AND h.source IS NOT DISTINCT FROM f.source
  CROSS JOIN LATERAL (SELECT coalesce(f.share, 0) AS share) s
  CROSS JOIN LATERAL (
    SELECT CASE WHEN f.deliveries_30d = 0 THEN 'idle'
                WHEN p.tier = 1 AND s.share >= 1 THEN 'critical'
                WHEN p.tier = 1 OR p.tier = 2 AND s.share >= 10 THEN 'high'
                WHEN p.tier = 2 OR s.share >= 25 THEN 'medium'
                ELSE 'low' END AS criticality) c;
COMMENT ON VIEW webhook_outbox.integration IS
  'who tells whom what: one row per source, event type and endpoint. ORDER BY tier, share DESC shows what matters most';
COMMENT ON COLUMN webhook_outbox.integration.source IS 'which system says it; NULL: events do not say';
COMMENT ON COLUMN webhook_outbox.integration.event_type IS 'what it says; (other): series beyond webhook_outbox.max_series';
COMMENT ON COLUMN webhook_outbox.integration.endpoint_id IS 'who is told';
COMMENT ON COLUMN webhook_outbox.integration.endpoint IS 'who is told, by name';
COMMENT ON COLUMN webhook_outbox.integration.tier IS 'how much that endpoint matters';
COMMENT ON COLUMN webhook_outbox.integration.tier_name IS 'name of the tier';
COMMENT ON COLUMN webhook_outbox.integration.owner IS 'who to talk to';
COMMENT ON COLUMN webhook_outbox.integration.tenants IS 'how many tenants had such events; 0: they have no tenant';
COMMENT ON COLUMN webhook_outbox.integration.deliveries_24h IS 'deliveries that came to an end in 24 hours, delivered or given up';
COMMENT ON COLUMN webhook_outbox.integration.deliveries_30d IS 'the same in 30 days';
COMMENT ON COLUMN webhook_outbox.integration.share IS 'per cent of all deliveries in 30 days';
COMMENT ON COLUMN webhook_outbox.integration.success_rate IS 'per cent of deliveries_30d that were delivered; NULL: there were none';
COMMENT ON COLUMN webhook_outbox.integration.payload_bytes_avg IS 'average size of the payloads, of a sample; NULL: none was looked at yet';
COMMENT ON COLUMN webhook_outbox.integration.payload_bytes_max IS 'the largest of the sample';
COMMENT ON COLUMN webhook_outbox.integration.payload_keys IS 'top-level keys seen in the sample';
COMMENT ON COLUMN webhook_outbox.integration.first_seen_at IS 'when the first was recorded';
COMMENT ON COLUMN webhook_outbox.integration.last_seen_at IS
  'when the last was recorded, to the minute for the last hour, to the hour today, else to the day; NULL: longer ago than is kept';
COMMENT ON COLUMN webhook_outbox.integration.criticality IS
  'critical (tier 1 and at least 1 % of deliveries), high (tier 1, or tier 2 and 10 %), medium (tier 2, or 25 %), low, or idle '
  '(nothing in 30 days)';
COMMENT ON COLUMN webhook_outbox.integration.reason IS 'why, in words';

CREATE VIEW webhook_outbox.integration_gap AS
  WITH fact AS MATERIALIZED (SELECT f.* FROM webhook_outbox.integration_facts() f),
  reach AS (
    SELECT p.endpoint_id, p.name, p.tier, p.tenant, p.owner, p.enabled, p.event_types, p.created_at,
           coalesce(sum(f.deliveries_30d), 0) AS deliveries, coalesce(sum(f.attempts_30d), 0) AS attempts,
           100.0 * coalesce(sum(f.deliveries_30d), 0)
             / nullif((SELECT sum(a.deliveries_30d) FROM fact a WHERE a.endpoint_id <> 0), 0) AS share
    FROM webhook_outbox.endpoint p
    LEFT JOIN fact f ON f.endpoint_id = p.endpoint_id
    GROUP BY p.endpoint_id)
  SELECT 'no owner' AS gap, r.name AS subject,
         format('tier %s, %s deliveries in 30 days, and nobody to call', r.tier, r.deliveries) AS detail,
         format('UPDATE webhook_outbox.endpoint SET owner = ''...'' WHERE name = %L;', r.name) AS what_to_do
  FROM reach r WHERE coalesce(btrim(r.owner), '') = ''
UNION ALL
  SELECT 'default tier', r.name, format('%s %% of deliveries go to it, at the tier that an endpoint has when nobody chooses',
                                        round(r.share, 1)),
         format('Decide how much it matters: UPDATE webhook_outbox.endpoint SET tier = 1 WHERE name = %L;', r.name)
  FROM reach r WHERE r.tier = 2 AND r.share >= 25 AND (SELECT count(*) FROM reach) > 1
UNION ALL
  SELECT 'no deliveries', r.name, format('nothing was sent to it in 30 days; event_types %s', r.event_types),
         CASE WHEN r.enabled THEN 'Is it still wanted? Look at its event_types and tenant, or delete it.'
              ELSE format('It is paused. SELECT webhook_outbox.resume_endpoint(%L), or delete it.', r.name) END
  FROM reach r WHERE r.attempts = 0 AND r.created_at < now() - interval '30 days'
UNION ALL
  SELECT 'nobody takes it', f.event_type,
         format('%s events in 30 days%s', sum(f.attempts_30d), coalesce(' from ' || string_agg(f.source, ', ' ORDER BY f.source), '')),
         'Add it to the event_types of an endpoint, or stop publishing it.'
  FROM fact f
  WHERE f.endpoint_id = 0 AND f.attempts_30d > 0 AND f.event_type <> '(other)'
    AND NOT EXISTS (SELECT FROM webhook_outbox.endpoint p
                    WHERE p.tenant IS NULL AND webhook_outbox.type_matches(p.event_types, f.event_type))
  GROUP BY f.event_type
UNION ALL
  -- as far as types are told apart
  SELECT 'pattern without events', r.name, format('no event of the last 30 days matches its %s', x.pattern),
         'Is it spelt right? SELECT DISTINCT event_type FROM webhook_outbox.integration lists the types there are.'
  FROM reach r
  CROSS JOIN LATERAL (SELECT DISTINCT u.pattern FROM unnest(r.event_types) u (pattern)) x
  WHERE x.pattern !~ '^([*]$|webhook_outbox[.])' AND r.created_at < now() - interval '7 days' AND r.attempts > 0
    AND NOT EXISTS (SELECT FROM fact f
                    WHERE f.attempts_30d > 0
                      AND (f.event_type = '(other)' OR webhook_outbox.type_matches(ARRAY[x.pattern], f.event_type)))
UNION ALL
  SELECT 'no source', f.event_type, 'its events do not say which system they come from',
         'Set source when publishing, so that this map shows who tells whom.'
  FROM fact f WHERE f.source IS NULL AND f.attempts_30d > 0 AND f.event_type !~ '^([(]other[)]$|webhook_outbox[.])'
  GROUP BY f.event_type
UNION ALL
  SELECT 'large payload', h.event_type, format('%s bytes on average%s; under 20 kB is advised', round(h.bytes_avg),
                                               coalesce(' from ' || h.source, '')),
         'Send a reference to the data instead.'
  FROM webhook_outbox.event_shape h WHERE h.bytes_avg > 20000;
COMMENT ON VIEW webhook_outbox.integration_gap IS 'what is missing or odd in the map of integrations';
COMMENT ON COLUMN webhook_outbox.integration_gap.gap IS
  'no owner, default tier (for a quarter of all deliveries), no deliveries (in 30 days), nobody takes it, pattern without '
  'events, no source, large payload';
COMMENT ON COLUMN webhook_outbox.integration_gap.subject IS 'name of the endpoint, or event type';
COMMENT ON COLUMN webhook_outbox.integration_gap.detail IS 'in words';
COMMENT ON COLUMN webhook_outbox.integration_gap.what_to_do IS 'what to do, as SQL where that will do';
