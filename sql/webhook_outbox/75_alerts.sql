-- Alerts: what is remembered of them, what rules are compared with, and silence.

CREATE TABLE webhook_outbox.alert_state (
  rule         text NOT NULL,
  subject_key  text NOT NULL,
  state        text NOT NULL CHECK (state IN ('pending', 'firing', 'insufficient data')),
  scope        text NOT NULL,
  subject      text NOT NULL,
  endpoint_id  bigint,
  tier         smallint,
  tenant       text,
  severity     text NOT NULL,
  since        timestamptz NOT NULL,
  fired_at     timestamptz,
  clear_since  timestamptz,
  value        double precision,
  second_value double precision,
  samples      bigint NOT NULL,
  message      text NOT NULL,
  is_announced boolean NOT NULL DEFAULT false,
  incident_id  bigint,
  evaluated_at timestamptz NOT NULL,
  PRIMARY KEY (rule, subject_key)
);
COMMENT ON TABLE webhook_outbox.alert_state IS 'where each rule stands with each subject that is not fine; written by evaluate_alerts(), read alert instead';
COMMENT ON COLUMN webhook_outbox.alert_state.rule IS 'name of the rule';
COMMENT ON COLUMN webhook_outbox.alert_state.subject_key IS 'number of the endpoint, or the subject: stays when an endpoint is renamed';
COMMENT ON COLUMN webhook_outbox.alert_state.state IS 'pending, firing or insufficient data';
COMMENT ON COLUMN webhook_outbox.alert_state.scope IS 'scope of the rule';
COMMENT ON COLUMN webhook_outbox.alert_state.subject IS 'number of the tier, name of the endpoint, tenant or event type; empty: overall and system';
COMMENT ON COLUMN webhook_outbox.alert_state.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.alert_state.tier IS 'the tier, or that of the endpoint';
COMMENT ON COLUMN webhook_outbox.alert_state.tenant IS 'the tenant, or that of the endpoint';
COMMENT ON COLUMN webhook_outbox.alert_state.severity IS 'severity of the rule';
COMMENT ON COLUMN webhook_outbox.alert_state.since IS 'when the condition began to hold';
COMMENT ON COLUMN webhook_outbox.alert_state.fired_at IS 'when it began to fire';
COMMENT ON COLUMN webhook_outbox.alert_state.clear_since IS 'firing, but the condition has not held since then';
COMMENT ON COLUMN webhook_outbox.alert_state.value IS 'value at the last evaluation';
COMMENT ON COLUMN webhook_outbox.alert_state.second_value IS 'that over second_window';
COMMENT ON COLUMN webhook_outbox.alert_state.samples IS 'what value was computed from';
COMMENT ON COLUMN webhook_outbox.alert_state.message IS 'in words';
COMMENT ON COLUMN webhook_outbox.alert_state.is_announced IS 'whether others were told that it fires (not while it is silenced)';
COMMENT ON COLUMN webhook_outbox.alert_state.incident_id IS 'the incident that it belongs to';
COMMENT ON COLUMN webhook_outbox.alert_state.evaluated_at IS 'when it was evaluated last';

CREATE TABLE webhook_outbox.alert_history (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at          timestamptz NOT NULL,
  rule        text NOT NULL,
  state       text NOT NULL CHECK (state IN ('firing', 'resolved')),
  severity    text NOT NULL,
  scope       text NOT NULL,
  subject     text NOT NULL,
  subject_key text NOT NULL,
  endpoint_id bigint,
  since       timestamptz NOT NULL,
  value       double precision,
  samples     bigint NOT NULL,
  reason      text,
  message     text NOT NULL,
  incident_id bigint
);
CREATE INDEX alert_history_at ON webhook_outbox.alert_history (at);
CREATE INDEX alert_history_subject ON webhook_outbox.alert_history (rule, subject_key, at);
COMMENT ON TABLE webhook_outbox.alert_history IS 'each time that an alert began to fire or was resolved; kept for webhook_outbox.metrics_retention';
COMMENT ON COLUMN webhook_outbox.alert_history.change_id IS 'number of the change';
COMMENT ON COLUMN webhook_outbox.alert_history.at IS 'when';
COMMENT ON COLUMN webhook_outbox.alert_history.rule IS 'name of the rule';
COMMENT ON COLUMN webhook_outbox.alert_history.state IS 'firing or resolved';
COMMENT ON COLUMN webhook_outbox.alert_history.severity IS 'severity of the rule then';
COMMENT ON COLUMN webhook_outbox.alert_history.scope IS 'scope of the rule';
COMMENT ON COLUMN webhook_outbox.alert_history.subject IS 'number of the tier, name of the endpoint then, tenant or event type; empty: overall and system';
COMMENT ON COLUMN webhook_outbox.alert_history.subject_key IS 'number of the endpoint, or the subject';
COMMENT ON COLUMN webhook_outbox.alert_history.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.alert_history.since IS 'when the condition had begun to hold';
COMMENT ON COLUMN webhook_outbox.alert_history.value IS 'value then';
COMMENT ON COLUMN webhook_outbox.alert_history.samples IS 'what it was computed from';
COMMENT ON COLUMN webhook_outbox.alert_history.reason IS
  'resolved: cleared, insufficient data, rule disabled, rule deleted, rule changed or subject gone';
COMMENT ON COLUMN webhook_outbox.alert_history.message IS 'in words';
COMMENT ON COLUMN webhook_outbox.alert_history.incident_id IS 'the incident that it belongs to';

-- Silence: nobody is told, all else goes on. An alert that still fires when silence ends is announced then.

CREATE TABLE webhook_outbox.alert_silence (
  silence_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule       text,
  subject    text,
  until      timestamptz NOT NULL,
  reason     text NOT NULL,
  created_by text NOT NULL DEFAULT webhook_outbox.acting_role(),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhook_outbox.alert_silence IS 'alerts that nobody is told of; DELETE ends silence, silence_alert() begins it';
COMMENT ON COLUMN webhook_outbox.alert_silence.silence_id IS 'number of the silence';
COMMENT ON COLUMN webhook_outbox.alert_silence.rule IS 'name of the rule; NULL: all';
COMMENT ON COLUMN webhook_outbox.alert_silence.subject IS 'subject of the alerts (endpoint, number of the tier, ...); NULL: all';
COMMENT ON COLUMN webhook_outbox.alert_silence.until IS 'when it ends';
COMMENT ON COLUMN webhook_outbox.alert_silence.reason IS 'why';
COMMENT ON COLUMN webhook_outbox.alert_silence.created_by IS 'who asked for it: app, or app (as ann)';
COMMENT ON COLUMN webhook_outbox.alert_silence.created_at IS 'when';

CREATE FUNCTION webhook_outbox.alert_silence_before_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF coalesce(btrim(NEW.reason), '') = '' OR char_length(NEW.reason) > 1000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'reason of a silence has 1 to 1000 characters',
      HINT = 'Say why, for whoever wonders why no alert came.';
  ELSIF octet_length(NEW.subject) > 400 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('subject of a silence is %s bytes long', octet_length(NEW.subject)),
      HINT = 'At most 400 bytes are allowed: no alert has a longer one.';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook_outbox.alert_silence_before_write() IS 'trigger: checks the texts of a silence';
CREATE TRIGGER alert_silence_before_write BEFORE INSERT OR UPDATE ON webhook_outbox.alert_silence
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.alert_silence_before_write();

CREATE FUNCTION webhook_outbox.silence_alert(
  rule text, subject text, until timestamptz, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_rule    webhook_outbox.alert_rule;
  v_message text;
  v_hint    text;
  v_id      bigint;
BEGIN
  SELECT r.* INTO v_rule FROM webhook_outbox.alert_rule r WHERE r.name = silence_alert.rule;
  IF rule IS NOT NULL AND NOT FOUND THEN
    v_message := format('alert rule "%s" does not exist', rule);
    v_hint := 'SELECT name FROM webhook_outbox.alert_rule lists the rules; NULL means: all of them.';
  ELSIF rule IS NULL AND subject IS NULL THEN
    v_message := 'rule and subject are both null';
    v_hint := 'Name at least one, so that not every alert is silenced.';
  ELSIF v_rule.scope = 'endpoint' AND subject IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.name = silence_alert.subject) THEN
    v_message := format('endpoint "%s" does not exist', subject);
    v_hint := format('Rule "%s" watches endpoints; NULL means: all of them.', rule);
  ELSIF v_rule.scope = 'tier' AND subject IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_outbox.tier t WHERE t.tier::text = silence_alert.subject) THEN
    v_message := format('tier "%s" does not exist', subject);
    v_hint := format('Rule "%s" watches tiers, by number; NULL means: all of them.', rule);
  ELSIF until IS NULL OR until <= now() OR until > now() + interval '1 year' THEN
    v_message := format('until (%s) is out of range', coalesce(until::text, 'NULL'));
    v_hint := 'Silence ends in the future, within a year: now() + interval ''2 hours''.';
  END IF;
  IF v_message IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_message, HINT = v_hint;
  END IF;
  INSERT INTO webhook_outbox.alert_silence (rule, subject, until, reason) VALUES (rule, subject, until, btrim(reason))
    RETURNING silence_id INTO v_id;
  RETURN v_id;
END
$$;
COMMENT ON FUNCTION webhook_outbox.silence_alert(text, text, timestamptz, text) IS
  'tells nobody of alerts of this rule (NULL: any) and this subject (NULL: any) until then, and returns the number of the silence: '
  'silence_alert(NULL, ''billing'', now() + interval ''2 hours'', ''they move'')';

CREATE FUNCTION webhook_outbox.silenced_until(p_rule text, p_subject text, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT max(s.until) FROM webhook_outbox.alert_silence s
  WHERE s.until > p_at AND (s.rule IS NULL OR s.rule = p_rule) AND (s.subject IS NULL OR s.subject = p_subject);
END;
COMMENT ON FUNCTION webhook_outbox.silenced_until(text, text, timestamptz) IS 'until when this alert is silenced; NULL: it is not';

-- What rules are compared with: each signal that a rule names, read once.

CREATE FUNCTION webhook_outbox.burn_readings(
  OUT scope text, OUT subject text, OUT endpoint_id bigint, OUT time_window text, OUT value double precision,
  OUT samples bigint) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH counts AS MATERIALIZED (SELECT * FROM webhook_outbox.slo_counts('{5m,30m,1h,6h,3d}'))
  SELECT 'tier', t.tier::text, NULL::bigint, c.time_window,
         sum(c.bad) / sum(c.good + c.bad)::double precision / ((100 - t.success_objective)::double precision / 100),
         sum(c.bad)::bigint
  FROM counts c
  JOIN webhook_outbox.tier t ON t.tier = c.tier
  GROUP BY t.tier, c.time_window
  HAVING sum(c.good + c.bad) > 0
  UNION ALL
  SELECT 'endpoint', p.name, p.endpoint_id, c.time_window,
         sum(c.bad) / sum(c.good + c.bad)::double precision / ((100 - p.success_objective)::double precision / 100),
         sum(c.bad)::bigint
  FROM counts c
  JOIN webhook_outbox.endpoint_objective p ON p.endpoint_id = c.endpoint_id
  GROUP BY p.name, p.endpoint_id, p.success_objective, c.time_window
  HAVING sum(c.good + c.bad) > 0
$$;
COMMENT ON FUNCTION webhook_outbox.burn_readings() IS 'burn_rate of each tier and endpoint; samples are the bad deliveries';

-- An endpoint has no sample of a minute in which nothing waited. A window of which less than half was sampled says nothing.

CREATE FUNCTION webhook_outbox.queue_growth_readings(
  OUT scope text, OUT subject text, OUT endpoint_id bigint, OUT time_window text, OUT value double precision,
  OUT samples bigint) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 500 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH start AS (
    SELECT w.time_window, min(q.at) AS at, count(*) AS samples
    FROM webhook_outbox.time_window w
    JOIN webhook_outbox.queue_sample q
      ON q.resolution = 1 AND q.endpoint_id = 0 AND q.at > now() - w.length AND q.at <= now()
    WHERE w.time_window IN ('5m', '30m', '1h', '6h')
    GROUP BY w.time_window, w.length
    HAVING min(q.at) <= now() - w.length / 2),
  queue AS MATERIALIZED (
    SELECT q.endpoint_id, q.waiting + q.retrying + q.parked + q.scheduled + q.blocked AS length
    FROM webhook_outbox.queue_facts() q)
  SELECT 'endpoint', p.name, p.endpoint_id, s.time_window, (q.length - coalesce(o.length, 0))::double precision, s.samples
  FROM start s
  CROSS JOIN queue q
  JOIN webhook_outbox.endpoint p ON p.endpoint_id = q.endpoint_id
  LEFT JOIN webhook_outbox.queue_sample o ON o.resolution = 1 AND o.at = s.at AND o.endpoint_id = q.endpoint_id
  UNION ALL
  SELECT 'overall', '', NULL, s.time_window, ((SELECT coalesce(sum(q.length), 0) FROM queue q) - o.length)::double precision,
         s.samples
  FROM start s
  JOIN webhook_outbox.queue_sample o ON o.resolution = 1 AND o.at = s.at AND o.endpoint_id = 0
$$;
COMMENT ON FUNCTION webhook_outbox.queue_growth_readings() IS 'queue_growth of each endpoint and overall; samples are the minutes that were sampled';

-- Of a server that was down, or an extension made a moment ago, nobody could expect that it ran.

CREATE FUNCTION webhook_outbox.maintenance_readings(OUT signal text, OUT value double precision, OUT samples bigint)
  RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 2 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT v.signal, v.value, s.steps
  FROM (SELECT count(*) AS steps, max(m.last_started_at) AS last_at, count(*) FILTER (WHERE m.failures > 0) AS failing
        FROM webhook_outbox.maintenance_step m WHERE m.enabled) s
  CROSS JOIN LATERAL (VALUES
    ('maintenance_age', greatest(extract(epoch FROM now() - greatest(s.last_at, pg_postmaster_start_time(),
       (SELECT max(c.claimed_at) FROM webhook_outbox.claim c))), 0)::double precision),
    ('maintenance_failures', s.failing)) v (signal, value)
$$;
COMMENT ON FUNCTION webhook_outbox.maintenance_readings() IS 'maintenance_age and maintenance_failures; samples are the steps';

CREATE FUNCTION webhook_outbox.server_readings(OUT signal text, OUT value double precision, OUT samples bigint)
  RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT m.signal, m.value, m.samples FROM webhook_outbox.maintenance_readings() m
    WHERE NOT EXISTS (SELECT FROM webhook_outbox.signal_definition d WHERE d.signal = m.signal);
  RETURN QUERY SELECT s.signal, s.value, s.samples FROM webhook_outbox.system_signals() s;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
  -- not preloaded: no dispatcher can run, and that is what there is to say
  RETURN QUERY SELECT m.signal, m.value, m.samples FROM webhook_outbox.maintenance_readings() m
    UNION ALL SELECT 'dispatcher_missing', 1, 1;
END
$$;
COMMENT ON FUNCTION webhook_outbox.server_readings() IS 'the present values of the signals of scope system';

CREATE FUNCTION webhook_outbox.alert_readings(
  OUT signal text, OUT scope text, OUT subject text, OUT endpoint_id bigint, OUT time_window text,
  OUT value double precision, OUT samples bigint) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  v_scope   text;
  v_windows text[];
  v_signals text[];
BEGIN
  -- what the view signal has, but only the scopes and windows that are asked for: a month costs many times an hour
  FOR v_scope, v_windows, v_signals IN
    SELECT r.scope, array_agg(DISTINCT w.time_window), array_agg(DISTINCT r.signal)
    FROM webhook_outbox.alert_rule r
    CROSS JOIN LATERAL unnest(ARRAY[r.time_window, r.second_window]) w (time_window)
    JOIN webhook_outbox.signal_definition d ON d.signal = r.signal
    WHERE r.enabled AND r.scope <> 'system' AND w.time_window IS NOT NULL
    GROUP BY r.scope, w.time_window = 'now'
  LOOP
    IF v_windows = '{now}' THEN
      RETURN QUERY SELECT s.signal, v_scope, s.subject, s.endpoint_id, 'now', s.value, s.samples
        FROM webhook_outbox.state_signals(v_scope) s WHERE s.signal = ANY (v_signals);
    ELSIF v_scope IN ('tenant', 'event_type') THEN
      RETURN QUERY SELECT s.signal, v_scope, s.subject, NULL::bigint, s.time_window, s.value, s.samples
        FROM webhook_outbox.series_signals(v_scope, v_windows) s WHERE s.signal = ANY (v_signals);
    ELSE
      RETURN QUERY SELECT s.signal, v_scope, s.subject, s.endpoint_id, s.time_window, s.value, s.samples
        FROM webhook_outbox.window_signals(v_scope, v_windows) s WHERE s.signal = ANY (v_signals);
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM webhook_outbox.alert_rule r WHERE r.enabled AND r.signal = 'burn_rate') THEN
    RETURN QUERY SELECT 'burn_rate', b.* FROM webhook_outbox.burn_readings() b;
  END IF;
  IF EXISTS (SELECT FROM webhook_outbox.alert_rule r WHERE r.enabled AND r.signal = 'queue_growth') THEN
    RETURN QUERY SELECT 'queue_growth', q.* FROM webhook_outbox.queue_growth_readings() q;
  END IF;
  RETURN QUERY SELECT s.signal, 'system', '', NULL::bigint, 'now', s.value, s.samples FROM webhook_outbox.server_readings() s;
END
$$;
COMMENT ON FUNCTION webhook_outbox.alert_readings() IS 'the present values of the signals that enabled rules name, over all windows that rules of their scope name';
