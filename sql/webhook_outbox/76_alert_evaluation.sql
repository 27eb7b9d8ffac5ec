-- How alerts come and go. Each (rule, subject) that is not fine has a row in alert_state:
--
--   fine --condition--> pending --for pending_for--> firing --not for keep_firing_for--> fine
--     `--condition, too few samples--> insufficient data
--
-- Damping: what is pending or insufficient goes back at once and nobody hears of it; what fires is judged by clear_threshold,
-- and is resolved after keep_firing_for without the condition (or without enough data), which doubles with each time more
-- than one that it fired within the last hour (up to eight times as long).

CREATE FUNCTION webhook_outbox.alert_holds(p_comparison text, p_value double precision, p_threshold double precision)
  RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce(CASE p_comparison WHEN '>' THEN p_value > p_threshold WHEN '>=' THEN p_value >= p_threshold
                                  WHEN '<' THEN p_value < p_threshold ELSE p_value <= p_threshold END, false);
COMMENT ON FUNCTION webhook_outbox.alert_holds(text, double precision, double precision) IS
  'whether the condition of a rule holds; not when there is no value';

CREATE FUNCTION webhook_outbox.alert_look(p_signal text, p_scope text, p_subject text, p_time_window text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE
  WHEN p_signal IN ('dispatcher_missing', 'senders_missing') THEN
    'SELECT * FROM webhook_outbox.worker_status;'
  WHEN p_signal IN ('maintenance_age', 'maintenance_failures') THEN
    'SELECT * FROM webhook_outbox.maintenance_status;'
  WHEN p_signal IN ('ring_stuck', 'longest_transaction') THEN
    'SELECT pid, usename, application_name, state, xact_start, left(query, 80) FROM pg_stat_activity '
    || 'WHERE datname = current_database() AND xact_start IS NOT NULL ORDER BY xact_start;'
  WHEN p_signal = 'burn_rate' AND p_scope = 'tier' THEN
    format('SELECT * FROM webhook_outbox.slo WHERE tier = %s ORDER BY remaining;', p_subject)
  WHEN p_signal = 'burn_rate' THEN
    format('SELECT * FROM webhook_outbox.slo WHERE name = %L AND scope = %L;', p_subject, p_scope)
  WHEN p_signal IN ('dead_letters', 'dead_letters_kept') AND p_scope = 'endpoint' THEN
    format('SELECT * FROM webhook_outbox.dead_letter WHERE endpoint_name = %L ORDER BY created_at DESC LIMIT 20;', p_subject)
  WHEN p_signal IN ('success_rate', 'attempt_success_rate', 'error_rate', 'objective_attainment')
       AND p_scope IN ('overall', 'tier', 'endpoint') THEN
    format('SELECT * FROM webhook_outbox.error_rate WHERE scope = %L AND subject = %L AND time_window = %L '
           'ORDER BY attempts DESC;',
           p_scope, p_subject, p_time_window)
  WHEN p_scope = 'endpoint' AND p_time_window = 'now' THEN
    format('SELECT * FROM webhook_outbox.endpoint_status WHERE name = %L;', p_subject)
  ELSE
    format('SELECT * FROM webhook_outbox.signal WHERE scope = %L AND subject = %L ORDER BY signal, time_window;',
           p_scope, p_subject)
  END;
COMMENT ON FUNCTION webhook_outbox.alert_look(text, text, text, text) IS 'the query to look closer with';

-- Telling others: one event for each endpoint that asked, a NOTIFY if the rule wants it. Not told are the endpoint that the
-- alert is about, endpoints of another tenant, and of an alert about several endpoints those that have one firing about
-- themselves: deliveries of alerts that fail could else raise alerts for ever.

CREATE FUNCTION webhook_outbox.announce_alert(p_alert webhook_outbox.alert_state, p_change text, p_reason text, p_at timestamptz)
  RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_type    text := 'webhook_outbox.alert.' || p_change;
  v_rule    webhook_outbox.alert_rule;
  v_payload json;
  v_problem text;
BEGIN
  SELECT r.* INTO v_rule FROM webhook_outbox.alert_rule r WHERE r.name = p_alert.rule;
  v_payload := json_build_object(
    'rule', p_alert.rule, 'state', p_change, 'severity', p_alert.severity, 'scope', p_alert.scope, 'subject', p_alert.subject,
    'message', p_alert.message, 'signal', v_rule.signal, 'time_window', v_rule.time_window, 'value', p_alert.value,
    'threshold', v_rule.threshold, 'samples', p_alert.samples, 'since', p_alert.since, 'fired_at', p_alert.fired_at,
    'resolved_at', CASE WHEN p_change = 'resolved' THEN p_at END, 'reason', p_reason, 'incident_id', p_alert.incident_id);
  BEGIN
    INSERT INTO webhook_outbox.event (type, tenant, endpoint_id, source, payload)
      SELECT v_type, p.tenant, p.endpoint_id, 'webhook_outbox', v_payload
      FROM webhook_outbox.endpoint p
      WHERE webhook_outbox.type_matches(p.event_types, v_type)
        AND (p.tenant IS NULL OR p.tenant = p_alert.tenant)
        AND CASE WHEN p_alert.endpoint_id IS NOT NULL THEN p.endpoint_id <> p_alert.endpoint_id
                 ELSE NOT EXISTS (SELECT FROM webhook_outbox.alert_state a
                                  WHERE a.endpoint_id = p.endpoint_id AND a.state = 'firing') END;
  EXCEPTION WHEN OTHERS THEN
    v_problem := SQLERRM;
  END;
  -- What cannot be told must not keep other alerts from being evaluated. Any role can fill the queue (it LISTENs, stays in a
  -- transaction, and has another session NOTIFY), and no handler sees the error of a full one: it comes at commit, of all.
  BEGIN
    IF v_rule.notify_channel IS NOT NULL AND pg_notification_queue_usage() > 0.9 THEN
      v_problem := 'the queue of notifications is nearly full';
    ELSIF v_rule.notify_channel IS NOT NULL THEN
      PERFORM pg_notify(v_rule.notify_channel, v_payload::text);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    v_problem := SQLERRM;
  END;
  IF v_problem IS NOT NULL THEN
    RAISE WARNING USING MESSAGE = format('webhook_outbox could not tell of alert "%s": %s', p_alert.rule, v_problem),
      HINT = 'It is in webhook_outbox.alert_history all the same.';
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.announce_alert(webhook_outbox.alert_state, text, text, timestamptz) IS
  'tells the endpoints that subscribed to webhook_outbox.alert.firing or .resolved, and the rule''s channel';

CREATE FUNCTION webhook_outbox.record_alert_change(
  p_alert webhook_outbox.alert_state, p_change text, p_reason text, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO webhook_outbox.alert_history (at, rule, state, severity, scope, subject, subject_key, endpoint_id, since, value,
      samples, reason, message, incident_id)
    VALUES (p_at, p_alert.rule, p_change, p_alert.severity, p_alert.scope, p_alert.subject, p_alert.subject_key,
            p_alert.endpoint_id, p_alert.since, p_alert.value, p_alert.samples, p_reason, p_alert.message, p_alert.incident_id);
  PERFORM webhook_outbox.log_line(format('webhook_outbox: alert "%s" (%s) %s', p_alert.rule, p_alert.severity,
    CASE WHEN p_change = 'firing' THEN 'fires: ' || p_alert.message
         ELSE format('is resolved (%s): %s', p_reason, p_alert.message) END));
END
$$;
COMMENT ON FUNCTION webhook_outbox.record_alert_change(webhook_outbox.alert_state, text, text, timestamptz) IS
  'writes a change to alert_history and to the server''s log';

-- Every rule with every subject that it watches and its present values, and what is remembered of it. Either may be missing.

CREATE FUNCTION webhook_outbox.judge_alerts(
  OUT rule webhook_outbox.alert_rule, OUT old webhook_outbox.alert_state, OUT new webhook_outbox.alert_state,
  OUT holds boolean, OUT holds_firing boolean, OUT is_enough boolean) RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH reading AS MATERIALIZED (SELECT * FROM webhook_outbox.alert_readings()),
  judged AS (
    SELECT r AS rule, r.name, a.scope, a.subject, coalesce(a.endpoint_id::text, a.subject) AS subject_key, a.endpoint_id,
           CASE a.scope WHEN 'endpoint' THEN p.tier WHEN 'tier' THEN a.subject::smallint END AS tier,
           CASE a.scope WHEN 'endpoint' THEN p.tenant WHEN 'tenant' THEN a.subject END AS tenant,
           a.value, b.value AS second_value, a.samples,
           s.unit,
           webhook_outbox.alert_holds(r.comparison, a.value, r.threshold)
             AND (r.second_window IS NULL OR webhook_outbox.alert_holds(r.comparison, b.value, r.threshold)) AS holds,
           webhook_outbox.alert_holds(r.comparison, a.value, t.clear)
             AND (r.second_window IS NULL OR webhook_outbox.alert_holds(r.comparison, b.value, t.clear)) AS holds_firing,
           a.value IS NOT NULL AND a.samples >= r.min_samples AS is_enough
    FROM webhook_outbox.alert_rule r
    JOIN webhook_outbox.alert_signal s ON s.signal = r.signal
    JOIN reading a ON a.signal = r.signal AND a.scope = r.scope AND a.time_window = r.time_window
    LEFT JOIN reading b ON b.signal = r.signal AND b.scope = r.scope AND b.time_window = r.second_window
                       AND b.subject = a.subject
    LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = a.endpoint_id
    CROSS JOIN LATERAL (SELECT coalesce(r.clear_threshold, r.threshold) AS clear) t
    WHERE r.enabled
      AND (r.tier IS NULL OR r.tier = CASE a.scope WHEN 'endpoint' THEN p.tier ELSE a.subject::smallint END)
      AND (r.endpoint IS NULL OR r.endpoint = a.subject)
      -- no alerts about the types of alerts
      AND NOT (a.scope = 'event_type' AND starts_with(a.subject, 'webhook_outbox.')))
  SELECT j.rule, s,
         ROW(j.name, j.subject_key, NULL, j.scope, j.subject, j.endpoint_id, j.tier, j.tenant, (j.rule).severity, NULL, NULL,
             NULL, j.value, j.second_value, coalesce(j.samples, 0),
             CASE WHEN j.name IS NOT NULL THEN webhook_outbox.alert_message(j.rule, j.subject, j.unit, j.value, j.second_value,
               CASE WHEN s.state = 'firing' THEN j.holds_firing ELSE j.holds END) END,
             false, NULL, NULL)::webhook_outbox.alert_state,
         j.holds, j.holds_firing, j.is_enough
  FROM judged j
  FULL JOIN webhook_outbox.alert_state s ON s.rule = j.name AND s.subject_key = j.subject_key
  WHERE s.rule IS NOT NULL OR j.holds
  ORDER BY coalesce(s.rule, j.name), coalesce(s.subject_key, j.subject_key)
$$;
COMMENT ON FUNCTION webhook_outbox.judge_alerts() IS
  'each rule and subject where the condition holds or did, and whether it holds now, still holds if it fires, and on enough samples';

CREATE FUNCTION webhook_outbox.alert_clear_delay(p_rule text, p_subject_key text, p_at timestamptz) RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT (SELECT r.keep_firing_for FROM webhook_outbox.alert_rule r WHERE r.name = p_rule)
         * power(2, greatest(least(count(*), 4) - 1, 0))
  FROM webhook_outbox.alert_history h
  WHERE h.rule = p_rule AND h.subject_key = p_subject_key AND h.state = 'firing'
    AND h.at > p_at - interval '1 hour' AND h.at <= p_at;
END;
COMMENT ON FUNCTION webhook_outbox.alert_clear_delay(text, text, timestamptz) IS
  'how long the condition must not hold before the alert is resolved: keep_firing_for, doubled with each time '
  'more than one that it fired within the last hour, up to eight times as long';

CREATE FUNCTION webhook_outbox.resolve_reason(p_alert webhook_outbox.alert_state, p_rule webhook_outbox.alert_rule,
  p_is_enough boolean) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN CASE
  WHEN p_is_enough THEN 'cleared'
  WHEN p_rule.name IS NOT NULL THEN 'insufficient data'
  WHEN NOT EXISTS (SELECT FROM webhook_outbox.alert_rule r WHERE r.name = p_alert.rule) THEN 'rule deleted'
  WHEN NOT (SELECT r.enabled FROM webhook_outbox.alert_rule r WHERE r.name = p_alert.rule) THEN 'rule disabled'
  WHEN p_alert.endpoint_id IS NULL OR EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = p_alert.endpoint_id)
       THEN CASE WHEN EXISTS (SELECT FROM webhook_outbox.alert_rule r WHERE r.name = p_alert.rule AND r.scope = p_alert.scope
                                AND (r.tier IS NULL OR r.tier = p_alert.tier)
                                AND (r.endpoint IS NULL OR r.endpoint = p_alert.subject))
                 THEN 'insufficient data' ELSE 'rule changed' END
  ELSE 'subject gone' END;
COMMENT ON FUNCTION webhook_outbox.resolve_reason(webhook_outbox.alert_state, webhook_outbox.alert_rule, boolean) IS
  'why an alert ends, see alert_history.reason';

-- The transition of one alert. Returns 'firing' or 'resolved' when it changed so, else NULL.

CREATE FUNCTION webhook_outbox.step_alert(
  p_rule webhook_outbox.alert_rule, p_old webhook_outbox.alert_state, p_new webhook_outbox.alert_state,
  p_holds boolean, p_holds_firing boolean, p_is_enough boolean, p_at timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_new    webhook_outbox.alert_state := p_new;
  v_change text;
  v_reason text;
BEGIN
  IF p_old.state = 'firing' THEN
    IF p_rule.name IS NULL THEN
      v_new := p_old;
    END IF;
    v_new.state := 'firing';
    v_new.since := p_old.since;
    v_new.fired_at := p_old.fired_at;
    v_new.is_announced := p_old.is_announced;
    v_new.incident_id := p_old.incident_id;
    IF p_rule.name IS NULL OR NOT (p_holds_firing AND p_is_enough) THEN
      v_reason := webhook_outbox.resolve_reason(p_old, p_rule, p_is_enough);
      -- least: the clock may have been set back
      v_new.clear_since := least(p_old.clear_since, p_at);
      -- what cannot be judged at all any more is not damped, but a signal may be missing for a moment
      IF v_reason IN ('rule deleted', 'rule disabled', 'rule changed', 'subject gone')
         OR p_at - v_new.clear_since >= webhook_outbox.alert_clear_delay(p_old.rule, p_old.subject_key, p_at) THEN
        v_change := 'resolved';
      END IF;
    END IF;
  ELSIF p_rule.name IS NOT NULL AND p_holds THEN
    v_new.state := CASE WHEN NOT p_is_enough THEN 'insufficient data' ELSE 'pending' END;
    v_new.since := CASE WHEN p_old.state = v_new.state THEN least(p_old.since, p_at) ELSE p_at END;
    IF p_is_enough AND p_at - v_new.since >= p_rule.pending_for THEN
      v_new.state := 'firing';
      v_new.fired_at := p_at;
      v_change := 'firing';
    END IF;
  END IF;
  v_new.evaluated_at := p_at;

  IF v_change IS NOT NULL THEN
    PERFORM webhook_outbox.record_alert_change(v_new, v_change, v_reason, p_at);
  END IF;
  IF v_change = 'resolved' AND v_new.is_announced AND NOT webhook_outbox.is_copy() THEN
    PERFORM webhook_outbox.announce_alert(v_new, 'resolved', v_reason, p_at);
  END IF;
  IF v_new.state IS NULL OR v_change = 'resolved' THEN
    DELETE FROM webhook_outbox.alert_state s WHERE s.rule = p_old.rule AND s.subject_key = p_old.subject_key;
  ELSE
    INSERT INTO webhook_outbox.alert_state SELECT v_new.*
      ON CONFLICT (rule, subject_key) DO UPDATE
      SET (state, scope, subject, endpoint_id, tier, tenant, severity, since, fired_at, clear_since, value, second_value, samples,
           message, is_announced, incident_id, evaluated_at)
        = (v_new.state, v_new.scope, v_new.subject, v_new.endpoint_id, v_new.tier, v_new.tenant, v_new.severity, v_new.since,
           v_new.fired_at, v_new.clear_since, v_new.value, v_new.second_value, v_new.samples, v_new.message,
           v_new.is_announced, v_new.incident_id, v_new.evaluated_at);
  END IF;
  RETURN v_change;
END
$$;
COMMENT ON FUNCTION webhook_outbox.step_alert(webhook_outbox.alert_rule, webhook_outbox.alert_state, webhook_outbox.alert_state,
  boolean, boolean, boolean, timestamptz) IS
  'moves one alert to its next state; returns firing or resolved when it changed to that';

CREATE FUNCTION webhook_outbox.evaluate_alerts(at timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_changes bigint := 0;
  v_old     webhook_outbox.alert_state;
  v         record;
BEGIN
  -- one evaluation at a time; readers are not held up
  LOCK TABLE webhook_outbox.alert_state IN SHARE ROW EXCLUSIVE MODE;
  FOR v IN SELECT * FROM webhook_outbox.judge_alerts() LOOP
    IF webhook_outbox.step_alert(v.rule, v.old, v.new, v.holds, v.holds_firing, v.is_enough, evaluate_alerts.at) IS NOT NULL THEN
      v_changes := v_changes + 1;
    END IF;
  END LOOP;
  PERFORM webhook_outbox.evaluate_incidents(evaluate_alerts.at);

  -- a copy calls nobody; what still fires when it is to deliver is told then
  IF webhook_outbox.is_copy() THEN
    RETURN v_changes;
  END IF;
  -- after the incidents, so that the message can name its own
  FOR v_old IN
    SELECT s.* FROM webhook_outbox.alert_state s
    WHERE s.state = 'firing' AND NOT s.is_announced AND s.clear_since IS NULL
      AND webhook_outbox.silenced_until(s.rule, s.subject, evaluate_alerts.at) IS NULL
    ORDER BY s.rule, s.subject_key
  LOOP
    PERFORM webhook_outbox.announce_alert(v_old, 'firing', NULL, evaluate_alerts.at);
  END LOOP;
  UPDATE webhook_outbox.alert_state s SET is_announced = true
  WHERE s.state = 'firing' AND NOT s.is_announced AND s.clear_since IS NULL
    AND webhook_outbox.silenced_until(s.rule, s.subject, evaluate_alerts.at) IS NULL;
  RETURN v_changes;
END
$$;
COMMENT ON FUNCTION webhook_outbox.evaluate_alerts(timestamptz) IS
  'compares all rules with the present signals, tells of what changed, and returns how many alerts fired or were resolved; '
  'a step of maintain(). at: the time that pending_for and keep_firing_for are measured by';

CREATE FUNCTION webhook_outbox.run_alerts() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_changes bigint := webhook_outbox.evaluate_alerts(now());
BEGIN
  -- while something is wrong it is looked at each minute, even if nothing else happens
  IF EXISTS (SELECT FROM webhook_outbox.alert_state)
     OR EXISTS (SELECT FROM webhook_outbox.incident_record i WHERE i.state = 'open') THEN
    PERFORM webhook_outbox.request_maintenance();
  END IF;
  RETURN v_changes;
END
$$;
COMMENT ON FUNCTION webhook_outbox.run_alerts() IS 'maintenance step: evaluates alerts and incidents';

CREATE FUNCTION webhook_outbox.forget_alerts() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_until timestamptz := now() - coalesce(current_setting('webhook_outbox.metrics_retention', true), '400 days')::interval;
  v_n     bigint;
  v_rows  bigint;
BEGIN
  DELETE FROM webhook_outbox.alert_history h
  WHERE h.change_id IN (SELECT o.change_id FROM webhook_outbox.alert_history o WHERE o.at < v_until ORDER BY o.at LIMIT 10000);
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  DELETE FROM webhook_outbox.incident_record i
  WHERE i.incident_id IN (SELECT o.incident_id FROM webhook_outbox.incident_record o
                          WHERE o.state = 'closed' AND o.closed_at < v_until LIMIT 1000);
  GET DIAGNOSTICS v_n = ROW_COUNT;
  v_rows := v_rows + v_n;
  DELETE FROM webhook_outbox.alert_silence s WHERE s.until < now() - interval '30 days';
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_rows + v_n;
END
$$;
COMMENT ON FUNCTION webhook_outbox.forget_alerts() IS
  'maintenance step: deletes alert_history and closed incidents after webhook_outbox.metrics_retention, silences a month after their '
  'end; at most 10,000 rows at a time';

INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES
  ('alerts', 20, 'webhook_outbox.run_alerts()'),
  ('alert_retention', 82, 'webhook_outbox.forget_alerts()');

-- What is computed when the view is read: who evaluates alerts cannot tell that it does not run, nor a dispatcher that it is
-- missing. On a standby neither runs, and neither should.

CREATE FUNCTION webhook_outbox.live_alerts(
  OUT rule webhook_outbox.alert_rule, OUT state text, OUT since timestamptz, OUT value double precision, OUT samples bigint,
  OUT message text) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  IF pg_is_in_recovery() THEN
    RETURN;
  END IF;
  RETURN QUERY
  WITH reading AS MATERIALIZED (SELECT * FROM webhook_outbox.server_readings()),
  late AS (
    SELECT now() - m.value * interval '1 second' AS since
    FROM reading m JOIN webhook_outbox.alert_rule r ON r.signal = m.signal AND r.enabled
    WHERE m.signal = 'maintenance_age' AND webhook_outbox.alert_holds(r.comparison, m.value, r.threshold)
    LIMIT 1)
  SELECT r, CASE WHEN r.pending_for = '0' OR EXISTS (SELECT FROM late) THEN 'firing' ELSE 'pending' END,
         coalesce((SELECT l.since FROM late l), now()), a.value, a.samples,
         webhook_outbox.alert_message(r, '', s.unit, a.value, NULL, true)
  FROM webhook_outbox.alert_rule r
  JOIN reading a ON a.signal = r.signal
  JOIN webhook_outbox.alert_signal s ON s.signal = r.signal
  WHERE r.enabled AND r.scope = 'system' AND a.samples >= r.min_samples
    AND webhook_outbox.alert_holds(r.comparison, a.value, r.threshold)
    AND NOT EXISTS (SELECT FROM webhook_outbox.alert_state x WHERE x.rule = r.name AND x.subject_key = ''
                      AND (x.state = 'firing' OR NOT EXISTS (SELECT FROM late)));
END
$$;
COMMENT ON FUNCTION webhook_outbox.live_alerts() IS
  'alerts of scope system whose condition holds at this moment, and that no evaluation has found yet; see the view alert';

CREATE VIEW webhook_outbox.alert AS
  WITH live AS MATERIALIZED (SELECT * FROM webhook_outbox.live_alerts())
  SELECT x.state, x.severity, x.rule, x.subject, x.message, x.since, x.fired_at, x.look, x.silenced_until, x.incident_id,
         x.signal, x.time_window, webhook_outbox.rounded(x.value) AS value, x.threshold, x.unit, x.samples, x.scope, x.tier,
         x.endpoint_id, x.evaluated_at
  FROM (
    SELECT s.state, s.severity, s.rule, s.scope, s.subject, s.endpoint_id, s.tier, r.signal, r.time_window, s.value, r.threshold,
           d.unit, s.samples, s.since, s.fired_at, s.message,
           webhook_outbox.alert_look(r.signal, s.scope, s.subject, r.time_window) AS look,
           (SELECT max(q.until) FROM webhook_outbox.alert_silence q
            WHERE q.until > now() AND (q.rule IS NULL OR q.rule = s.rule) AND (q.subject IS NULL OR q.subject = s.subject))
             AS silenced_until,
           s.incident_id, s.evaluated_at
    FROM webhook_outbox.alert_state s
    LEFT JOIN webhook_outbox.alert_rule r ON r.name = s.rule
    LEFT JOIN webhook_outbox.alert_signal d ON d.signal = r.signal
    WHERE NOT EXISTS (SELECT FROM live l WHERE (l.rule).name = s.rule AND s.scope = 'system')
    UNION ALL
    SELECT l.state, (l.rule).severity, (l.rule).name, 'system', '', NULL, NULL, (l.rule).signal, (l.rule).time_window, l.value,
           (l.rule).threshold, d.unit, l.samples, l.since, NULL, l.message,
           webhook_outbox.alert_look((l.rule).signal, 'system', '', (l.rule).time_window),
           (SELECT max(q.until) FROM webhook_outbox.alert_silence q
            WHERE q.until > now() AND (q.rule IS NULL OR q.rule = (l.rule).name) AND (q.subject IS NULL OR q.subject = '')),
           NULL, now()
    FROM live l
    LEFT JOIN webhook_outbox.alert_signal d ON d.signal = (l.rule).signal) x
  -- what is wrong with the server is why endpoints fail
  ORDER BY array_position('{firing,pending}'::text[], x.state), array_position('{critical,warning,info}'::text[], x.severity),
           x.scope = 'system' DESC, x.since, x.rule, x.subject;
COMMENT ON VIEW webhook_outbox.alert IS
  'what is not fine, worst first (of a severity first what is wrong with the server, then what has been so for longest): as of '
  'the last evaluation, and what can be seen of the server at this moment';
COMMENT ON COLUMN webhook_outbox.alert.state IS 'firing; pending (the condition holds, but not for long enough); insufficient data (it holds, but on too few samples to say so)';
COMMENT ON COLUMN webhook_outbox.alert.severity IS 'critical, warning or info';
COMMENT ON COLUMN webhook_outbox.alert.rule IS 'name of the rule, see alert_rule';
COMMENT ON COLUMN webhook_outbox.alert.subject IS 'number of the tier, name of the endpoint, tenant or event type; empty: overall and system';
COMMENT ON COLUMN webhook_outbox.alert.message IS 'in words';
COMMENT ON COLUMN webhook_outbox.alert.since IS 'when the condition began to hold';
COMMENT ON COLUMN webhook_outbox.alert.fired_at IS 'when it began to fire; NULL: it does not, or no evaluation has found it yet';
COMMENT ON COLUMN webhook_outbox.alert.look IS 'the query to look closer with';
COMMENT ON COLUMN webhook_outbox.alert.silenced_until IS 'nobody is told before then; NULL: not silenced';
COMMENT ON COLUMN webhook_outbox.alert.incident_id IS 'the incident that it belongs to';
COMMENT ON COLUMN webhook_outbox.alert.signal IS 'what is watched';
COMMENT ON COLUMN webhook_outbox.alert.time_window IS 'over which window; now: a state';
COMMENT ON COLUMN webhook_outbox.alert.value IS 'value of the signal, to four decimals; NULL: there is no data any more';
COMMENT ON COLUMN webhook_outbox.alert.threshold IS 'what it is compared with';
COMMENT ON COLUMN webhook_outbox.alert.unit IS 'of both';
COMMENT ON COLUMN webhook_outbox.alert.samples IS 'what the value was computed from';
COMMENT ON COLUMN webhook_outbox.alert.scope IS 'of what: overall, tier, tenant, event_type, endpoint or system';
COMMENT ON COLUMN webhook_outbox.alert.tier IS 'the tier, or that of the endpoint';
COMMENT ON COLUMN webhook_outbox.alert.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.alert.evaluated_at IS 'as of when';
