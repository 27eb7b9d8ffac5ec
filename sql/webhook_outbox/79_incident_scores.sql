-- How incidents are scored: what happened since one began, the conditions that follow from it (78_incident_weights.sql), what
-- to do next.

CREATE TYPE webhook_outbox.incident_number AS (
  incident_id      bigint,
  attempts         bigint,
  failures         bigint,
  configuration    bigint,
  top_error        text,
  delivered_5m     bigint,
  dead_letters     bigint,
  waiting          bigint,
  endpoints        bigint,
  all_endpoints    bigint,
  deliveries_share double precision,
  tenants_share    double precision,
  best_tier        smallint
);
COMMENT ON TYPE webhook_outbox.incident_number IS 'what happened since an incident began, to the endpoints that it concerns';

-- What kind of failure this is: a request that cannot succeed before somebody changes something, or one that may next time.

CREATE FUNCTION webhook_outbox.is_configuration_error(p_outcome text, p_http_status smallint) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN p_outcome IN ('tls_error', 'dns_error', 'blocked', 'invalid_request')
  OR (p_outcome = 'http_error' AND p_http_status BETWEEN 300 AND 499 AND p_http_status NOT IN (408, 425, 429));
COMMENT ON FUNCTION webhook_outbox.is_configuration_error(text, smallint) IS
  'TLS, DNS, blocked address, request that could not be made, 3xx and 4xx but for 408, 425 and 429';

-- The endpoints that an incident may hit, and what happened to them since it began. Rollups are read once for all incidents:
-- by minutes for those that began within 25 hours, else by hours and the minutes that are not joined to hours yet.

CREATE FUNCTION webhook_outbox.incident_numbers(
  p_ids bigint[], p_at timestamptz) RETURNS SETOF webhook_outbox.incident_number
LANGUAGE sql VOLATILE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH incident AS MATERIALIZED (
    SELECT i.*, p_at AS until, i.began_at < now() - interval '25 hours' AS is_old,
           date_trunc(CASE WHEN i.began_at < now() - interval '25 hours' THEN 'hour' ELSE 'minute' END, i.began_at, 'UTC')
             AS first_bucket
    FROM webhook_outbox.incident_record i WHERE i.incident_id = ANY (p_ids)),
  bound AS MATERIALIZED (
    SELECT min(i.first_bucket) FILTER (WHERE NOT i.is_old) AS minutes_from,
           min(i.first_bucket) FILTER (WHERE i.is_old) AS hours_from,
           (SELECT m.hour_until FROM webhook_outbox.rollup_watermark m LIMIT 1) AS hours_until
    FROM incident i),
  cell AS MATERIALIZED (
    SELECT false AS is_old, r.bucket, r.endpoint_id, r.attempts, r.failures, r.delivered, r.dead
    FROM webhook_outbox.endpoint_rollup r WHERE r.resolution = 1 AND r.bucket >= (SELECT b.minutes_from FROM bound b)
    UNION ALL
    SELECT true, r.bucket, r.endpoint_id, r.attempts, r.failures, r.delivered, r.dead
    FROM webhook_outbox.endpoint_rollup r
    WHERE r.resolution = 60 AND r.bucket >= (SELECT b.hours_from FROM bound b) AND r.bucket < (SELECT b.hours_until FROM bound b)
    UNION ALL
    SELECT true, r.bucket, r.endpoint_id, r.attempts, r.failures, r.delivered, r.dead
    FROM webhook_outbox.endpoint_rollup r
    WHERE r.resolution = 1 AND r.bucket >= (SELECT b.hours_until FROM bound b WHERE b.hours_from IS NOT NULL)
    UNION ALL
    SELECT k.is_old, o.bucket, o.endpoint_id, o.attempts, o.failures, o.delivered, o.dead
    FROM webhook_outbox.open_endpoint_minutes() o CROSS JOIN (VALUES (false), (true)) k (is_old)),
  fact AS MATERIALIZED (
    SELECT i.incident_id, c.endpoint_id, sum(c.attempts) AS attempts, sum(c.failures) AS failures, sum(c.dead) AS dead
    FROM incident i
    JOIN cell c ON c.is_old = i.is_old AND c.bucket >= i.first_bucket
               AND (i.endpoint_id IS NULL OR c.endpoint_id = i.endpoint_id)
    GROUP BY 1, 2),
  total AS MATERIALIZED (
    SELECT i.incident_id, sum(c.deliveries) AS deliveries
    FROM incident i
    JOIN (SELECT c.is_old, c.bucket, sum(c.delivered + c.dead) AS deliveries FROM cell c GROUP BY 1, 2) c
      ON c.is_old = i.is_old AND c.bucket >= i.first_bucket
    GROUP BY 1),
  failed AS MATERIALIZED (
    SELECT false AS is_old, r.bucket, r.endpoint_id, r.outcome, r.http_status, r.attempts
    FROM webhook_outbox.error_rollup r WHERE r.resolution = 1 AND r.bucket >= (SELECT b.minutes_from FROM bound b)
    UNION ALL
    SELECT true, r.bucket, r.endpoint_id, r.outcome, r.http_status, r.attempts
    FROM webhook_outbox.error_rollup r
    WHERE r.resolution = 60 AND r.bucket >= (SELECT b.hours_from FROM bound b) AND r.bucket < (SELECT b.hours_until FROM bound b)
    UNION ALL
    SELECT true, r.bucket, r.endpoint_id, r.outcome, r.http_status, r.attempts
    FROM webhook_outbox.error_rollup r
    WHERE r.resolution = 1 AND r.bucket >= (SELECT b.hours_until FROM bound b WHERE b.hours_from IS NOT NULL)
    UNION ALL
    SELECT k.is_old, o.bucket, o.endpoint_id, o.outcome, o.http_status, o.attempts
    FROM webhook_outbox.open_error_minutes() o CROSS JOIN (VALUES (false), (true)) k (is_old)),
  recent AS MATERIALIZED (
    SELECT f.key AS endpoint_id, f.delivered FROM webhook_outbox.window_facts('{5m}', 'endpoint', false) f),
  queue AS MATERIALIZED (
    SELECT q.endpoint_id, q.waiting + q.retrying + q.parked + q.blocked AS waiting FROM webhook_outbox.queue_facts() q),
  member AS MATERIALIZED (
    SELECT i.incident_id, p.endpoint_id, p.tier, coalesce(f.attempts, 0) AS attempts,
           coalesce(f.failures, 0) AS failures, coalesce(d.dead, 0) AS dead, coalesce(r.delivered, 0) AS delivered_5m,
           coalesce(q.waiting, 0) AS waiting, coalesce(f.dead, 0) + coalesce(q.waiting, 0) AS bad,
           i.scope = 'endpoint' OR coalesce(f.failures, 0) > 0 OR coalesce(d.dead, 0) > 0
             OR EXISTS (SELECT FROM webhook_outbox.incident_alert a
                        WHERE a.incident_id = i.incident_id AND a.endpoint_id = p.endpoint_id) AS is_hit
    FROM incident i
    JOIN webhook_outbox.endpoint p
      ON CASE i.scope WHEN 'endpoint' THEN p.endpoint_id = i.endpoint_id WHEN 'tier' THEN p.tier = i.tier
                      WHEN 'tenant' THEN p.tenant = i.subject
                      WHEN 'event_type' THEN webhook_outbox.type_matches(p.event_types, i.subject) ELSE true END
    LEFT JOIN fact f ON f.incident_id = i.incident_id AND f.endpoint_id = p.endpoint_id
    LEFT JOIN recent r ON r.endpoint_id = p.endpoint_id
    LEFT JOIN queue q ON q.endpoint_id = p.endpoint_id
    LEFT JOIN LATERAL (
      SELECT count(*) AS dead FROM webhook_outbox.dead_letter l
      WHERE l.endpoint_id = p.endpoint_id AND l.created_at >= i.began_at AND l.created_at < i.until
        AND l.reason = 'attempts_exhausted'
        AND (i.scope <> 'tenant' OR l.tenant = i.subject) AND (i.scope <> 'event_type' OR l.event_type = i.subject)) d ON true)
  SELECT i.incident_id, coalesce(m.attempts, 0), coalesce(m.failures, 0), coalesce(e.configuration, 0), e.top_error,
         coalesce(m.delivered_5m, 0), coalesce(m.dead, 0), coalesce(m.waiting, 0), coalesce(m.endpoints, 0),
         (SELECT count(*) FROM webhook_outbox.endpoint),
         coalesce(m.bad / nullif(coalesce((SELECT t.deliveries FROM total t WHERE t.incident_id = i.incident_id), 0)
                                 + (SELECT sum(q.waiting) FROM queue q), 0), 0)::double precision,
         CASE WHEN t.tenants > 1 THEN t.hit / t.tenants::double precision ELSE 0 END, m.best_tier
  FROM incident i
  LEFT JOIN (
    SELECT m.incident_id, sum(m.attempts)::bigint AS attempts, sum(m.failures)::bigint AS failures,
           sum(m.delivered_5m)::bigint AS delivered_5m, sum(m.dead)::bigint AS dead, sum(m.waiting)::bigint AS waiting,
           count(*) FILTER (WHERE m.is_hit) AS endpoints, sum(m.bad) FILTER (WHERE m.is_hit) AS bad,
           min(m.tier) FILTER (WHERE m.is_hit) AS best_tier
    FROM member m GROUP BY 1) m ON m.incident_id = i.incident_id
  LEFT JOIN (
    SELECT k.incident_id, sum(k.attempts) FILTER (WHERE k.configuration)::bigint AS configuration,
           (array_agg(k.name ORDER BY k.attempts DESC, k.name))[1] AS top_error
    FROM (
      SELECT m.incident_id, CASE WHEN e.outcome = 'http_error' THEN 'HTTP ' || e.http_status ELSE e.outcome END AS name,
             webhook_outbox.is_configuration_error(e.outcome, e.http_status) AS configuration, sum(e.attempts) AS attempts
      FROM member m
      JOIN incident i ON i.incident_id = m.incident_id
      JOIN failed e ON e.is_old = i.is_old AND e.bucket >= i.first_bucket AND e.endpoint_id = m.endpoint_id
      GROUP BY 1, 2, 3) k
    GROUP BY 1) e ON e.incident_id = i.incident_id
  LEFT JOIN (
    SELECT m.incident_id, count(DISTINCT s.tenant) AS hit,
           (SELECT count(DISTINCT x.tenant) FROM webhook_outbox.series x) AS tenants
    FROM member m
    JOIN (SELECT DISTINCT x.endpoint_id, x.tenant FROM webhook_outbox.series x) s ON s.endpoint_id = m.endpoint_id
    WHERE m.is_hit
    GROUP BY 1) t ON t.incident_id = i.incident_id
$$;
COMMENT ON FUNCTION webhook_outbox.incident_numbers(bigint[], timestamptz) IS
  'what happened since these incidents began, to the endpoints that they concern';

-- Which conditions apply to it: one array for each factor, and the cause in a word.

CREATE FUNCTION webhook_outbox.incident_conditions(
  p_incident webhook_outbox.incident_record, p_numbers webhook_outbox.incident_number, p_at timestamptz,
  OUT severity text[], OUT likelihood text[], OUT impact text[], OUT cause text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n            webhook_outbox.incident_number := p_numbers;
  v_signals    text[];
  v_is_firing  boolean;
  v_times      bigint;
  v_is_blocked boolean;
  v_has_system boolean;
  v_is_first   boolean := n.best_tier = 1;
BEGIN
  SELECT coalesce(array_agg(DISTINCT a.signal), '{}'), coalesce(bool_or(a.resolved_at IS NULL), false),
         coalesce(bool_or(s.scopes = '{system}'), false)
    INTO v_signals, v_is_firing, v_has_system
  FROM webhook_outbox.incident_alert a
  LEFT JOIN webhook_outbox.alert_signal s ON s.signal = a.signal
  WHERE a.incident_id = p_incident.incident_id;
  SELECT count(*) INTO v_times
  FROM webhook_outbox.incident_event e
  JOIN webhook_outbox.incident_record i ON i.incident_id = e.incident_id
  WHERE i.scope = p_incident.scope AND i.subject_key = p_incident.subject_key AND e.kind IN ('opened', 'reopened')
    AND e.at > p_at - interval '30 days' AND e.at <= p_at;
  v_is_blocked := v_is_firing AND n.delivered_5m = 0 AND (n.waiting > 0 OR 'endpoint_disabled' = ANY (v_signals));

  cause := CASE
    WHEN p_incident.scope = 'system' AND v_has_system THEN 'internal'
    WHEN 'endpoint_disabled' = ANY (v_signals) OR (n.failures > 0 AND n.configuration * 2 >= n.failures) THEN 'configuration'
    WHEN n.failures = 0 THEN 'unknown'
    WHEN n.failures * 2 >= n.attempts OR v_is_blocked THEN 'receiver down'
    ELSE 'transient' END;

  severity := array_remove(ARRAY[
    CASE WHEN v_is_firing AND v_signals && '{dispatcher_missing,senders_missing}' THEN 'stopped' END,
    CASE WHEN n.dead_letters > 0 AND v_is_first THEN 'dead_tier_1' END,
    CASE WHEN v_is_blocked AND v_is_first THEN 'blocked_tier_1' END,
    CASE WHEN n.dead_letters > 0 OR v_signals && '{dead_letters,dead_letters_kept}' THEN 'dead_letters' END,
    CASE WHEN v_is_blocked THEN 'blocked' END,
    CASE WHEN v_signals && '{success_rate,objective_attainment,attempt_success_rate,error_rate,burn_rate}' THEN 'failing' END,
    CASE WHEN v_signals && '{oldest_age,queue_length,queue_growth,waiting,retrying,parked,blocked,overdue}' THEN 'delayed' END,
    CASE WHEN cause = 'internal' THEN 'housekeeping' END,
    CASE WHEN EXISTS (SELECT FROM unnest(v_signals) s WHERE s ~ '^(latency|http)_|^retr') THEN 'slow' END], NULL);
  IF severity = '{}' THEN
    severity := '{failing}';
  END IF;
  likelihood := CASE WHEN NOT v_is_firing THEN '{over}'::text[] ELSE '{}' END
    || CASE WHEN v_is_firing THEN replace(cause, ' ', '_') END
    || CASE WHEN v_times >= 5 THEN 'recurs_often' WHEN v_times >= 2 THEN 'recurs' END;
  likelihood := array_remove(likelihood, NULL);
  impact := array_remove(ARRAY[
    CASE WHEN n.all_endpoints > 0 AND ('stopped' = ANY (severity) OR (n.endpoints = n.all_endpoints AND n.endpoints > 1))
         THEN 'everything' END,
    CASE WHEN n.endpoints > 1 AND n.endpoints * 4 >= n.all_endpoints THEN 'many_endpoints' END,
    CASE WHEN n.endpoints > 1 AND n.endpoints * 20 >= n.all_endpoints THEN 'several_endpoints' END,
    CASE WHEN n.tenants_share >= 0.25 THEN 'many_tenants' END,
    CASE WHEN n.deliveries_share >= 0.25 THEN 'many_events' END,
    CASE n.best_tier WHEN 1 THEN 'tier_1' WHEN 2 THEN 'tier_2' ELSE CASE WHEN n.endpoints > 0 THEN 'lower_tier' END END,
    'nobody'], NULL);
END
$$;
COMMENT ON FUNCTION webhook_outbox.incident_conditions(webhook_outbox.incident_record, webhook_outbox.incident_number,
  timestamptz) IS
  'the conditions of incident_severity, incident_likelihood and incident_impact that apply to an incident, and its cause';

-- The statement that sends exactly the dead letters that are counted again; NULL: there are none.

CREATE FUNCTION webhook_outbox.incident_redelivery(p_incident webhook_outbox.incident_record, p_until timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
RETURN format('SELECT webhook_outbox.redeliver_dead_letters(%ssince => %L, until => %L);',
  CASE p_incident.scope
    WHEN 'endpoint' THEN format('endpoint => %L, ',
      (SELECT p.name FROM webhook_outbox.endpoint p WHERE p.endpoint_id = p_incident.endpoint_id))
    WHEN 'tier' THEN format('tier => %s, ', p_incident.tier)
    WHEN 'tenant' THEN format('tenant => %L, ', p_incident.subject)
    WHEN 'event_type' THEN format('type => %L, ', p_incident.subject)
    ELSE '' END, p_incident.began_at, p_until);
COMMENT ON FUNCTION webhook_outbox.incident_redelivery(webhook_outbox.incident_record, timestamptz) IS
  'the statement that sends the dead letters of an incident again';

CREATE FUNCTION webhook_outbox.incident_advice(
  p_incident webhook_outbox.incident_record, p_numbers webhook_outbox.incident_number, p_cause text, p_until timestamptz,
  OUT next_step text, OUT next_sql text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n          webhook_outbox.incident_number := p_numbers;
  v_alert    record;
  v_endpoint webhook_outbox.endpoint;
  v_who      text;
BEGIN
  SELECT p.* INTO v_endpoint FROM webhook_outbox.endpoint p WHERE p.endpoint_id = p_incident.endpoint_id;
  v_who := coalesce(v_endpoint.owner || ' (its owner)', 'whoever runs the receiver');
  -- the alert that says most: one that fires, of the part that is most at fault
  SELECT a.signal, a.resolved_at IS NULL AS is_firing, coalesce(r.scope, p_incident.scope) AS scope,
         coalesce(r.time_window, 'now') AS time_window, coalesce(p.name, a.subject_key) AS subject
    INTO v_alert
  FROM webhook_outbox.incident_alert a
  LEFT JOIN webhook_outbox.alert_rule r ON r.name = a.rule
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = a.endpoint_id
  WHERE a.incident_id = p_incident.incident_id
  ORDER BY a.resolved_at IS NOT NULL, coalesce(r.scope, '') <> p_incident.scope,
           CASE WHEN a.signal IN ('dispatcher_missing', 'endpoint_disabled') THEN 1 WHEN a.signal = 'senders_missing' THEN 2
                WHEN a.signal LIKE 'maintenance%' THEN 3 WHEN a.signal IN ('error_rate', 'success_rate') THEN 4 ELSE 5 END, a.rule
  LIMIT 1;
  next_sql := webhook_outbox.alert_look(v_alert.signal, v_alert.scope, v_alert.subject, v_alert.time_window);

  next_step := CASE
    WHEN NOT v_alert.is_firing THEN 'It is over.'
    WHEN v_alert.signal = 'dispatcher_missing' THEN
      'Find out why no dispatcher delivers: worker_status and the server''s log say it. Deliveries wait and none is lost.'
    WHEN v_alert.signal = 'senders_missing' THEN
      'Find out why senders do not run: worker_status.last_error says it, most often max_worker_processes is too low.'
    WHEN v_alert.signal LIKE 'maintenance%' THEN 'See which step does not run and why, and put that right.'
    WHEN v_alert.signal IN ('ring_stuck', 'longest_transaction') THEN
      'End the oldest transaction, or find out what it waits for.'
    WHEN v_alert.signal = 'endpoint_disabled' THEN
      format('It answered 410 Gone. Ask %s whether it comes back: then resume it, else delete it.', v_who)
    WHEN p_cause = 'configuration' THEN
      format('Requests cannot succeed (mostly %s) before somebody changes something: ask %s what is expected, and correct url, '
             'headers or keys.', n.top_error, v_who)
    WHEN p_cause = 'receiver down' AND n.endpoints > 1 AND n.top_error LIKE 'HTTP %' THEN
      format('%s receivers fail at once (mostly %s), and are reached: ask whether they share a server or a gateway, and tell '
             'those who run them. Retries go on by themselves.', n.endpoints, n.top_error)
    WHEN p_cause = 'receiver down' AND n.endpoints > 1 THEN
      format('%s receivers fail at once (mostly %s): look at the network of this server first, then tell those who run them. '
             'Retries go on by themselves.', n.endpoints, coalesce(n.top_error, 'nothing gets through'))
    WHEN p_cause = 'receiver down' THEN
      format('The receiver fails (%s): tell %s. Retries go on by themselves.',
             coalesce('mostly ' || n.top_error, 'nothing gets through'), v_who)
    WHEN p_cause = 'transient' THEN
      format('Few attempts fail (mostly %s) and retries help: watch whether it grows.', n.top_error)
    WHEN v_alert.signal IN ('queue_length', 'queue_growth', 'oldest_age', 'latency_objective_ratio') THEN
      'Find out whether the receiver is slow, paused, or given too few requests at once (max_in_flight).'
    WHEN v_alert.signal LIKE 'dead_letters%' THEN 'See why they were given up.'
    ELSE 'Look at the numbers.' END;
  IF v_alert.is_firing AND v_alert.signal = 'endpoint_disabled' THEN
    next_sql := format('SELECT webhook_outbox.resume_endpoint(%L);', v_endpoint.name);
  END IF;
  IF n.dead_letters > 0 THEN
    next_step := format('%s %s its dead letters again (%s).', next_step,
                        CASE WHEN v_alert.is_firing THEN 'When that is done, send' ELSE 'Send' END, n.dead_letters);
    next_sql := concat_ws(E'\n', CASE WHEN v_alert.is_firing THEN next_sql END,
                          webhook_outbox.incident_redelivery(p_incident, p_until));
  ELSIF NOT v_alert.is_firing THEN
    next_step := next_step || ' Nothing is left to do.';
    next_sql := format('SELECT webhook_outbox.close_incident(%s, %L);', p_incident.incident_id, 'recovered');
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.incident_advice(webhook_outbox.incident_record, webhook_outbox.incident_number, text,
  timestamptz) IS 'what to do next about an incident, in words and in SQL';

CREATE FUNCTION webhook_outbox.measure_incidents(p_ids bigint[], p_at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  UPDATE webhook_outbox.incident_record r
    SET subject = x.subject, cause = x.cause, severity_conditions = x.severity, likelihood_conditions = x.likelihood,
        impact_conditions = x.impact, dead_letters = x.dead_letters, waiting = x.waiting, attempts = x.attempts,
        failed_attempts = x.failures, top_error = x.top_error, endpoints = x.endpoints, next_step = x.next_step,
        next_sql = x.next_sql, scored_at = p_at
  FROM (
    SELECT i.incident_id, coalesce(p.name, i.subject) AS subject, c.cause, c.severity, c.likelihood, c.impact, n.dead_letters,
           n.waiting, n.attempts, n.failures, n.top_error, n.endpoints, a.next_step, a.next_sql
    FROM webhook_outbox.incident_numbers(p_ids, p_at) n
    JOIN webhook_outbox.incident_record i ON i.incident_id = n.incident_id
    LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = i.endpoint_id
    CROSS JOIN LATERAL webhook_outbox.incident_conditions(i, n, p_at) c
    CROSS JOIN LATERAL webhook_outbox.incident_advice(i, n, c.cause, p_at) a) x
  WHERE r.incident_id = x.incident_id
$$;
COMMENT ON FUNCTION webhook_outbox.measure_incidents(bigint[], timestamptz) IS
  'writes to these incidents what happened since they began, the conditions that apply, and what to do next';

-- What a closed incident was stays as it was; the present weights are applied to it all the same.

CREATE FUNCTION webhook_outbox.score_incidents(incident_ids bigint[] DEFAULT NULL, at timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_ids   bigint[] := coalesce(incident_ids, ARRAY(SELECT i.incident_id FROM webhook_outbox.incident_record i));
  v_count bigint := 0;
  v       record;
BEGIN
  PERFORM webhook_outbox.measure_incidents(
    ARRAY(SELECT i.incident_id FROM webhook_outbox.incident_record i WHERE i.incident_id = ANY (v_ids) AND i.state = 'open'),
    score_incidents.at);
  FOR v IN
    UPDATE webhook_outbox.incident_record r
      SET severity = w.severity, likelihood = w.likelihood, impact = w.impact,
          reason = format('severity %s: %s; likelihood %s: %s; impact %s: %s', w.severity, w.s_why, w.likelihood, w.l_why,
                          w.impact, w.i_why)
                   || CASE WHEN r.attempts > 0
                           THEN format('. %s of %s attempts failed%s', r.failed_attempts, r.attempts,
                                       coalesce(' (mostly ' || r.top_error || ')', ''))
                           ELSE '' END
    FROM (
      SELECT i.incident_id, x.weight AS severity, x.description AS s_why, y.weight AS likelihood, y.description AS l_why,
             z.weight AS impact, z.description AS i_why, i.severity * i.likelihood * i.impact AS old_score,
             i.reason = '' AS is_new
      FROM webhook_outbox.incident_record i
      CROSS JOIN LATERAL (
        SELECT c.weight, c.description FROM webhook_outbox.incident_severity c WHERE c.condition = ANY (i.severity_conditions)
        ORDER BY c.weight DESC, array_position(i.severity_conditions, c.condition) LIMIT 1) x
      CROSS JOIN LATERAL (
        SELECT c.weight, c.description FROM webhook_outbox.incident_likelihood c WHERE c.condition = ANY (i.likelihood_conditions)
        ORDER BY c.weight DESC, array_position(i.likelihood_conditions, c.condition) LIMIT 1) y
      CROSS JOIN LATERAL (
        SELECT c.weight, c.description FROM webhook_outbox.incident_impact c WHERE c.condition = ANY (i.impact_conditions)
        ORDER BY c.weight DESC, array_position(i.impact_conditions, c.condition) LIMIT 1) z
      WHERE i.incident_id = ANY (v_ids)) w
    WHERE r.incident_id = w.incident_id
    RETURNING r.incident_id, w.is_new, w.old_score, r.severity * r.likelihood * r.impact AS score,
              format('S%s L%s I%s', r.severity, r.likelihood, r.impact) AS vector
  LOOP
    v_count := v_count + 1;
    IF v.score <> v.old_score AND NOT v.is_new THEN
      PERFORM webhook_outbox.log_incident(v.incident_id, score_incidents.at, 'updated', NULL,
                                          format('score %s (%s), was %s', v.score, v.vector, v.old_score));
    END IF;
  END LOOP;
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.score_incidents(bigint[], timestamptz) IS
  'computes the score of these incidents anew (left out: of all), with the present weights, and returns of how many';

CREATE FUNCTION webhook_outbox.score_incident(incident_id bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.touch_incident(score_incident.incident_id, NULL, false, false);
  PERFORM webhook_outbox.score_incidents(ARRAY[score_incident.incident_id], now());
  RETURN (SELECT i.severity * i.likelihood * i.impact FROM webhook_outbox.incident_record i
          WHERE i.incident_id = score_incident.incident_id);
END
$$;
COMMENT ON FUNCTION webhook_outbox.score_incident(bigint) IS
  'computes the score of an incident anew, with the present weights, and returns it: 1 to 125';

CREATE VIEW webhook_outbox.incident AS
  SELECT i.incident_id,
         CASE WHEN i.state = 'closed' THEN 'closed' WHEN i.acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END
           AS state,
         (i.severity * i.likelihood * i.impact)::integer AS score,
         format('S%s L%s I%s', i.severity, i.likelihood, i.impact) AS vector, i.scope, i.subject,
         i.reason, i.cause, i.tier, i.endpoint_id,
         coalesce(a.firing, '{}') AS firing, coalesce(a.alerts, '{}') AS alerts,
         i.dead_letters, i.waiting, i.attempts, i.failed_attempts, i.top_error, i.endpoints, i.next_step, i.next_sql,
         i.began_at, i.opened_at, i.last_firing_at, i.acknowledged_at, i.acknowledged_by, i.closed_at, i.reopened, i.scored_at
  FROM webhook_outbox.incident_record i
  LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT x.rule ORDER BY x.rule) FILTER (WHERE x.resolved_at IS NULL) AS firing,
           array_agg(DISTINCT x.rule ORDER BY x.rule) AS alerts
    FROM webhook_outbox.incident_alert x WHERE x.incident_id = i.incident_id) a ON true
  ORDER BY i.closed_at DESC NULLS FIRST, i.severity * i.likelihood * i.impact DESC, i.opened_at DESC, i.incident_id DESC;
COMMENT ON VIEW webhook_outbox.incident IS 'what to look after, most important first: open incidents by score, then closed ones';
COMMENT ON COLUMN webhook_outbox.incident.incident_id IS 'number of the incident';
COMMENT ON COLUMN webhook_outbox.incident.state IS 'open, acknowledged or closed';
COMMENT ON COLUMN webhook_outbox.incident.score IS 'severity x likelihood x impact, 1 to 125';
COMMENT ON COLUMN webhook_outbox.incident.vector IS 'the three, 1 to 5 each: S4 L3 I5';
COMMENT ON COLUMN webhook_outbox.incident.firing IS 'rules whose alerts fire now';
COMMENT ON COLUMN webhook_outbox.incident.alerts IS 'rules whose alerts fired';
DO $$
DECLARE
  v_column text;
BEGIN
  FOREACH v_column IN ARRAY '{reason,cause,scope,subject,tier,endpoint_id,dead_letters,waiting,attempts,failed_attempts,top_error,
                              endpoints,next_step,next_sql,began_at,opened_at,last_firing_at,acknowledged_at,acknowledged_by,
                              closed_at,reopened,scored_at}'::text[]
  LOOP
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.incident.%I IS %L', v_column,
      (SELECT pg_catalog.col_description(a.attrelid, a.attnum) FROM pg_catalog.pg_attribute a
       WHERE a.attrelid = 'webhook_outbox.incident_record'::pg_catalog.regclass AND a.attname = v_column));
  END LOOP;
END
$$;
