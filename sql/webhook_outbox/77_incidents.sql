-- Incidents: alerts that belong together, from the first that fires until none has fired for a while, with what people did.

CREATE TABLE webhook_outbox.incident_record (
  incident_id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  scope                 text NOT NULL CHECK (scope IN ('system', 'tier', 'endpoint', 'tenant', 'event_type')),
  subject_key           text NOT NULL,
  subject               text NOT NULL,
  endpoint_id           bigint,
  tier                  smallint,
  state                 text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
  began_at              timestamptz NOT NULL,
  opened_at             timestamptz NOT NULL,
  last_firing_at        timestamptz NOT NULL,
  closed_at             timestamptz,
  reopened              integer NOT NULL DEFAULT 0,
  acknowledged_at       timestamptz,
  acknowledged_by       text,
  cause                 text NOT NULL DEFAULT 'unknown'
                        CHECK (cause IN ('configuration', 'receiver down', 'transient', 'internal', 'unknown')),
  severity_conditions   text[] NOT NULL DEFAULT '{}',
  likelihood_conditions text[] NOT NULL DEFAULT '{}',
  impact_conditions     text[] NOT NULL DEFAULT '{}',
  severity              smallint NOT NULL DEFAULT 1,
  likelihood            smallint NOT NULL DEFAULT 1,
  impact                smallint NOT NULL DEFAULT 1,
  reason                text NOT NULL DEFAULT '',
  dead_letters          bigint NOT NULL DEFAULT 0,
  waiting               bigint NOT NULL DEFAULT 0,
  attempts              bigint NOT NULL DEFAULT 0,
  failed_attempts       bigint NOT NULL DEFAULT 0,
  top_error             text,
  endpoints             bigint NOT NULL DEFAULT 0,
  next_step             text NOT NULL DEFAULT '',
  next_sql              text NOT NULL DEFAULT '',
  scored_at             timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE UNIQUE INDEX incident_record_open ON webhook_outbox.incident_record (scope, subject_key) WHERE state = 'open';
CREATE INDEX incident_record_subject ON webhook_outbox.incident_record (scope, subject_key, opened_at);
COMMENT ON TABLE webhook_outbox.incident_record IS 'the incidents; written by evaluate_alerts(), read incident instead';
COMMENT ON COLUMN webhook_outbox.incident_record.incident_id IS 'number of the incident';
COMMENT ON COLUMN webhook_outbox.incident_record.scope IS 'what it is about: system, tier, endpoint, tenant or event_type';
COMMENT ON COLUMN webhook_outbox.incident_record.subject_key IS 'number of the endpoint, or the subject: stays when an endpoint is renamed';
COMMENT ON COLUMN webhook_outbox.incident_record.subject IS 'number of the tier, name of the endpoint, tenant or event type; empty: system';
COMMENT ON COLUMN webhook_outbox.incident_record.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.incident_record.tier IS 'the tier, or that of the endpoint';
COMMENT ON COLUMN webhook_outbox.incident_record.state IS 'open or closed';
COMMENT ON COLUMN webhook_outbox.incident_record.began_at IS
  'start of the window that its first alert looked at, not before there was such an endpoint: what is counted, is counted from then on';
COMMENT ON COLUMN webhook_outbox.incident_record.opened_at IS 'when its first alert fired';
COMMENT ON COLUMN webhook_outbox.incident_record.last_firing_at IS 'when one of its alerts was last seen firing';
COMMENT ON COLUMN webhook_outbox.incident_record.closed_at IS 'when it was closed; NULL: it is open';
COMMENT ON COLUMN webhook_outbox.incident_record.reopened IS 'how many times it was opened again';
COMMENT ON COLUMN webhook_outbox.incident_record.acknowledged_at IS 'when somebody took it on';
COMMENT ON COLUMN webhook_outbox.incident_record.acknowledged_by IS 'who: app, or app (as ann)';
COMMENT ON COLUMN webhook_outbox.incident_record.cause IS 'configuration, receiver down, transient, internal (this server) or unknown (no failed attempts)';
COMMENT ON COLUMN webhook_outbox.incident_record.severity_conditions IS 'conditions of incident_severity that apply';
COMMENT ON COLUMN webhook_outbox.incident_record.likelihood_conditions IS 'conditions of incident_likelihood that apply';
COMMENT ON COLUMN webhook_outbox.incident_record.impact_conditions IS 'conditions of incident_impact that apply';
COMMENT ON COLUMN webhook_outbox.incident_record.severity IS '1 to 5, see incident_severity';
COMMENT ON COLUMN webhook_outbox.incident_record.likelihood IS '1 to 5, see incident_likelihood';
COMMENT ON COLUMN webhook_outbox.incident_record.impact IS '1 to 5, see incident_impact';
COMMENT ON COLUMN webhook_outbox.incident_record.reason IS 'why it is scored so, in words';
COMMENT ON COLUMN webhook_outbox.incident_record.dead_letters IS 'deliveries given up since it began and not yet sent again or discarded';
COMMENT ON COLUMN webhook_outbox.incident_record.waiting IS 'deliveries owed to its endpoints';
COMMENT ON COLUMN webhook_outbox.incident_record.attempts IS 'HTTP requests to its endpoints since it began';
COMMENT ON COLUMN webhook_outbox.incident_record.failed_attempts IS 'those that failed';
COMMENT ON COLUMN webhook_outbox.incident_record.top_error IS 'how most of them did: an outcome, or HTTP and the status';
COMMENT ON COLUMN webhook_outbox.incident_record.endpoints IS 'endpoints that are hit: with an alert, failed requests or dead letters';
COMMENT ON COLUMN webhook_outbox.incident_record.next_step IS 'what to do, in words';
COMMENT ON COLUMN webhook_outbox.incident_record.next_sql IS 'the statements for it';
COMMENT ON COLUMN webhook_outbox.incident_record.scored_at IS 'as of when the numbers are';

CREATE TABLE webhook_outbox.incident_alert (
  incident_id bigint NOT NULL REFERENCES webhook_outbox.incident_record ON DELETE CASCADE,
  rule        text NOT NULL,
  subject_key text NOT NULL,
  signal      text NOT NULL,
  endpoint_id bigint,
  message     text NOT NULL,
  fired_at    timestamptz NOT NULL,
  resolved_at timestamptz,
  PRIMARY KEY (incident_id, rule, subject_key)
);
COMMENT ON TABLE webhook_outbox.incident_alert IS 'the alerts of an incident';
COMMENT ON COLUMN webhook_outbox.incident_alert.incident_id IS 'which incident';
COMMENT ON COLUMN webhook_outbox.incident_alert.rule IS 'name of the rule';
COMMENT ON COLUMN webhook_outbox.incident_alert.subject_key IS 'number of the endpoint, or the subject';
COMMENT ON COLUMN webhook_outbox.incident_alert.signal IS 'what the rule watches';
COMMENT ON COLUMN webhook_outbox.incident_alert.endpoint_id IS 'scope endpoint: its number';
COMMENT ON COLUMN webhook_outbox.incident_alert.message IS 'what it said when it fired';
COMMENT ON COLUMN webhook_outbox.incident_alert.fired_at IS 'when it fired last';
COMMENT ON COLUMN webhook_outbox.incident_alert.resolved_at IS 'when it was resolved; NULL: it fires';

CREATE TABLE webhook_outbox.incident_event (
  incident_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  incident_id       bigint NOT NULL REFERENCES webhook_outbox.incident_record ON DELETE CASCADE,
  at                timestamptz NOT NULL,
  kind              text NOT NULL CHECK (kind IN ('opened', 'updated', 'closed', 'reopened', 'acknowledged', 'note')),
  by_whom           text,
  note              text NOT NULL
);
CREATE INDEX incident_event_incident ON webhook_outbox.incident_event (incident_id, at);
COMMENT ON TABLE webhook_outbox.incident_event IS 'the log of incidents';
COMMENT ON COLUMN webhook_outbox.incident_event.incident_event_id IS 'number of the entry';
COMMENT ON COLUMN webhook_outbox.incident_event.incident_id IS 'which incident';
COMMENT ON COLUMN webhook_outbox.incident_event.at IS 'when';
COMMENT ON COLUMN webhook_outbox.incident_event.kind IS 'opened, updated, closed, reopened, acknowledged or note';
COMMENT ON COLUMN webhook_outbox.incident_event.by_whom IS 'who did it: app, or app (as ann); NULL: the evaluation';
COMMENT ON COLUMN webhook_outbox.incident_event.note IS 'in words';

CREATE FUNCTION webhook_outbox.log_incident(p_incident_id bigint, p_at timestamptz, p_kind text, p_by text, p_note text)
  RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO webhook_outbox.incident_event (incident_id, at, kind, by_whom, note)
    VALUES (p_incident_id, p_at, p_kind, p_by, p_note);
  IF p_kind IN ('opened', 'reopened', 'closed') THEN
    PERFORM webhook_outbox.log_line(format('webhook_outbox: incident %s is %s: %s', p_incident_id, p_kind, p_note));
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.log_incident(bigint, timestamptz, text, text, text) IS
  'an entry in the log of an incident; what opens and closes it also goes to the server''s log';

-- Which incident an alert joins, so that one cause makes one incident. While no dispatcher or sender works, that of the system.
-- An endpoint's: the open one of the endpoint, else of its tier. A tier's: the open one of the tier; else, where alerts fire on
-- one endpoint of it alone, that endpoint's. NULL: none is open, and it gets one of its own.

CREATE FUNCTION webhook_outbox.find_incident(p_alert webhook_outbox.alert_state) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT i.incident_id
  FROM webhook_outbox.incident_record i
  WHERE i.state = 'open'
    AND (i.scope = CASE p_alert.scope WHEN 'overall' THEN 'system' ELSE p_alert.scope END
           AND i.subject_key = p_alert.subject_key
         OR i.scope = 'system'
           AND EXISTS (SELECT FROM webhook_outbox.incident_alert a WHERE a.incident_id = i.incident_id AND a.resolved_at IS NULL
                         AND a.signal IN ('dispatcher_missing', 'senders_missing'))
         OR i.scope = 'tier' AND p_alert.scope = 'endpoint' AND i.tier = p_alert.tier
         OR i.scope = 'endpoint' AND p_alert.scope = 'tier'
           AND ARRAY[i.endpoint_id] = ARRAY(SELECT DISTINCT s.endpoint_id FROM webhook_outbox.alert_state s
                                            WHERE s.state = 'firing' AND s.scope = 'endpoint' AND s.tier = p_alert.tier))
  ORDER BY i.scope = CASE p_alert.scope WHEN 'overall' THEN 'system' ELSE p_alert.scope END DESC, i.scope = 'system' DESC
  LIMIT 1
$$;
COMMENT ON FUNCTION webhook_outbox.find_incident(webhook_outbox.alert_state) IS
  'the open incident that an alert belongs to; NULL: none';

-- Opens one, or the last one again if it was closed less than a day ago. It begins with the window that the alert looked at:
-- dead letters of that time are the reason for it. But what an earlier incident had is not counted twice, and nothing can
-- have gone wrong before there was anybody to deliver to, or an extension.

CREATE FUNCTION webhook_outbox.open_incident(p_alert webhook_outbox.alert_state, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_scope text := CASE p_alert.scope WHEN 'overall' THEN 'system' ELSE p_alert.scope END;
  v_last  webhook_outbox.incident_record;
  v_began timestamptz;
  v_born  timestamptz;
  v_id    bigint;
BEGIN
  SELECT i.* INTO v_last FROM webhook_outbox.incident_record i
  WHERE i.scope = v_scope AND i.subject_key = p_alert.subject_key ORDER BY i.opened_at DESC, i.incident_id DESC LIMIT 1;
  IF v_last.closed_at > p_at - interval '1 day' THEN
    UPDATE webhook_outbox.incident_record i
      SET state = 'open', closed_at = NULL, reopened = i.reopened + 1, last_firing_at = p_at, acknowledged_at = NULL,
          acknowledged_by = NULL
    WHERE i.incident_id = v_last.incident_id;
    PERFORM webhook_outbox.log_incident(v_last.incident_id, p_at, 'reopened', NULL, p_alert.message);
    RETURN v_last.incident_id;
  END IF;

  SELECT date_trunc('minute', p_alert.since - coalesce(w.length, interval '1 minute')) INTO v_began
  FROM webhook_outbox.alert_rule r
  LEFT JOIN webhook_outbox.time_window w ON w.time_window = r.time_window
  WHERE r.name = p_alert.rule;
  SELECT min(p.created_at) INTO v_born FROM webhook_outbox.endpoint p
  WHERE p.endpoint_id = p_alert.endpoint_id OR p_alert.endpoint_id IS NULL;
  IF v_scope = 'system' THEN
    v_born := least(v_born, (SELECT min(c.claimed_at) FROM webhook_outbox.claim c));
  END IF;
  INSERT INTO webhook_outbox.incident_record (scope, subject_key, subject, endpoint_id, tier, began_at, opened_at, last_firing_at)
    VALUES (v_scope, p_alert.subject_key, p_alert.subject, p_alert.endpoint_id, p_alert.tier,
            greatest(v_began, v_last.closed_at, least(v_born, p_alert.since)), p_at, p_at)
    RETURNING incident_id INTO v_id;
  PERFORM webhook_outbox.log_incident(v_id, p_at, 'opened', NULL, p_alert.message);
  RETURN v_id;
END
$$;
COMMENT ON FUNCTION webhook_outbox.open_incident(webhook_outbox.alert_state, timestamptz) IS
  'opens an incident for an alert, or opens the last one again; returns its number';

CREATE FUNCTION webhook_outbox.join_incident(p_alert webhook_outbox.alert_state, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_id     bigint := webhook_outbox.find_incident(p_alert);
  v_is_old boolean := v_id IS NOT NULL;
BEGIN
  v_id := coalesce(v_id, webhook_outbox.open_incident(p_alert, p_at));
  INSERT INTO webhook_outbox.incident_alert (incident_id, rule, subject_key, signal, endpoint_id, message, fired_at)
    SELECT v_id, p_alert.rule, p_alert.subject_key, r.signal, p_alert.endpoint_id, p_alert.message, p_alert.fired_at
    FROM webhook_outbox.alert_rule r WHERE r.name = p_alert.rule
    ON CONFLICT (incident_id, rule, subject_key) DO UPDATE
    SET (message, fired_at, resolved_at) = (EXCLUDED.message, EXCLUDED.fired_at, NULL);
  UPDATE webhook_outbox.alert_state s SET incident_id = v_id
  WHERE s.rule = p_alert.rule AND s.subject_key = p_alert.subject_key;
  UPDATE webhook_outbox.alert_history h SET incident_id = v_id
  WHERE h.rule = p_alert.rule AND h.subject_key = p_alert.subject_key AND h.at = p_alert.fired_at;
  IF v_is_old THEN
    PERFORM webhook_outbox.log_incident(v_id, p_at, 'updated', NULL, format('%s fires: %s', p_alert.rule, p_alert.message));
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.join_incident(webhook_outbox.alert_state, timestamptz) IS
  'adds an alert that began to fire to the incident that it belongs to';

CREATE FUNCTION webhook_outbox.evaluate_incidents(at timestamptz DEFAULT now()) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_alert webhook_outbox.alert_state;
  v       record;
BEGIN
  -- the wider first, for the narrower to join; but a tier after the one endpoint that it may owe its alert to
  FOR v_alert IN
    SELECT s.* FROM webhook_outbox.alert_state s
    WHERE s.state = 'firing' AND s.incident_id IS NULL
    ORDER BY CASE s.scope WHEN 'system' THEN 1 WHEN 'overall' THEN 2 WHEN 'endpoint' THEN 4
               WHEN 'tier' THEN CASE WHEN (SELECT count(DISTINCT e.endpoint_id) FROM webhook_outbox.alert_state e
                                           WHERE e.state = 'firing' AND e.scope = 'endpoint' AND e.tier = s.tier) > 1
                                     THEN 3 ELSE 5 END
               ELSE 6 END,
             CASE s.severity WHEN 'critical' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END, s.fired_at, s.rule, s.subject_key
  LOOP
    PERFORM webhook_outbox.join_incident(v_alert, evaluate_incidents.at);
  END LOOP;

  FOR v IN
    UPDATE webhook_outbox.incident_alert a SET resolved_at = evaluate_incidents.at
    WHERE a.resolved_at IS NULL
      AND NOT EXISTS (SELECT FROM webhook_outbox.alert_state s WHERE s.state = 'firing' AND s.rule = a.rule
                        AND s.subject_key = a.subject_key AND s.incident_id = a.incident_id)
    RETURNING a.incident_id, a.rule, a.message
  LOOP
    PERFORM webhook_outbox.log_incident(v.incident_id, evaluate_incidents.at, 'updated', NULL,
                                        format('%s is resolved', v.rule));
  END LOOP;
  UPDATE webhook_outbox.incident_record i SET last_firing_at = evaluate_incidents.at
  WHERE i.state = 'open'
    AND EXISTS (SELECT FROM webhook_outbox.incident_alert a WHERE a.incident_id = i.incident_id AND a.resolved_at IS NULL);

  -- those whose score is oldest first: what does not fit in now has its turn in a minute
  PERFORM webhook_outbox.score_incidents(ARRAY(
    SELECT i.incident_id FROM webhook_outbox.incident_record i WHERE i.state = 'open' ORDER BY i.scored_at LIMIT 100),
    evaluate_incidents.at);

  FOR v IN
    UPDATE webhook_outbox.incident_record i SET state = 'closed', closed_at = evaluate_incidents.at
    WHERE i.state = 'open' AND i.last_firing_at <= evaluate_incidents.at - interval '15 minutes'
    RETURNING i.incident_id
  LOOP
    PERFORM webhook_outbox.log_incident(v.incident_id, evaluate_incidents.at, 'closed', NULL,
                                        'no alert of it has fired for 15 minutes');
  END LOOP;
END
$$;
COMMENT ON FUNCTION webhook_outbox.evaluate_incidents(timestamptz) IS
  'joins new alerts into incidents, scores those that are open, closes those over for 15 minutes; evaluate_alerts() calls it';

-- What people do.

CREATE FUNCTION webhook_outbox.touch_incident(p_incident_id bigint, p_note text, p_needs_note boolean, p_needs_open boolean)
  RETURNS webhook_outbox.incident_record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_incident webhook_outbox.incident_record;
  v_code     text := 'invalid_parameter_value';
  v_message  text;
  v_hint     text;
BEGIN
  SELECT i.* INTO v_incident FROM webhook_outbox.incident_record i WHERE i.incident_id = p_incident_id FOR UPDATE;
  IF NOT FOUND THEN
    v_code := 'no_data_found';
    v_message := format('incident %s does not exist', coalesce(p_incident_id::text, 'NULL'));
    v_hint := coalesce('Open ones: ' || (SELECT string_agg(i.incident_id::text, ', ' ORDER BY i.incident_id)
                                         FROM webhook_outbox.incident_record i WHERE i.state = 'open') || '.',
                       'None is open. SELECT * FROM webhook_outbox.incident lists all.');
  ELSIF p_needs_open AND v_incident.state = 'closed' THEN
    v_code := 'object_not_in_prerequisite_state';
    v_message := format('incident %s is closed', p_incident_id);
    v_hint := 'note_incident() adds to it; it opens again by itself when it recurs within a day.';
  ELSIF (p_needs_note AND p_note IS NULL) OR btrim(p_note) = '' OR char_length(p_note) > 10000 THEN
    v_message := 'a note has 1 to 10000 characters';
    v_hint := CASE WHEN p_needs_note THEN 'Say what you found or did.' ELSE 'Say what you found or did, or leave it out.' END;
  ELSE
    RETURN v_incident;
  END IF;
  RAISE EXCEPTION USING ERRCODE = v_code, MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.touch_incident(bigint, text, boolean, boolean) IS
  'the incident, locked; fails unless it exists, is open if need be, and the note is one';

CREATE FUNCTION webhook_outbox.acknowledge_incident(incident_id bigint, note text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.touch_incident(acknowledge_incident.incident_id, note, false, true);
  UPDATE webhook_outbox.incident_record i SET acknowledged_at = now(), acknowledged_by = webhook_outbox.acting_role()
  WHERE i.incident_id = acknowledge_incident.incident_id;
  PERFORM webhook_outbox.log_incident(acknowledge_incident.incident_id, now(), 'acknowledged',
                                      webhook_outbox.acting_role(), coalesce(note, ''));
END
$$;
COMMENT ON FUNCTION webhook_outbox.acknowledge_incident(bigint, text) IS
  'notes that the session''s user has taken an incident on';

CREATE FUNCTION webhook_outbox.note_incident(incident_id bigint, note text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.touch_incident(note_incident.incident_id, note, true, false);
  PERFORM webhook_outbox.log_incident(note_incident.incident_id, now(), 'note', webhook_outbox.acting_role(), note);
END
$$;
COMMENT ON FUNCTION webhook_outbox.note_incident(bigint, text) IS 'adds a note to the log of an incident, open or closed';

CREATE FUNCTION webhook_outbox.close_incident(incident_id bigint, note text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.touch_incident(close_incident.incident_id, note, false, true);
  PERFORM webhook_outbox.score_incidents(ARRAY[close_incident.incident_id], now());
  UPDATE webhook_outbox.incident_record i SET state = 'closed', closed_at = now()
  WHERE i.incident_id = close_incident.incident_id;
  PERFORM webhook_outbox.log_incident(close_incident.incident_id, now(), 'closed', webhook_outbox.acting_role(),
                                      coalesce(note, ''));
END
$$;
COMMENT ON FUNCTION webhook_outbox.close_incident(bigint, text) IS
  'closes an incident, its alerts may still fire; an alert that begins to fire within a day opens it again';
