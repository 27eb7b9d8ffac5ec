-- The console's alerts and incidents.

CREATE FUNCTION webhook_outbox.console_level(p_severity text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE p_severity WHEN 'critical' THEN 'bad' WHEN 'warning' THEN 'warn' ELSE 'idle' END $$;
COMMENT ON FUNCTION webhook_outbox.console_level(text) IS 'how an alert of this severity is marked';

CREATE FUNCTION webhook_outbox.console_brief(p_message text, p_meaning text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN p_meaning <> '' AND right(p_message, length(p_meaning) + 2) = ': ' || p_meaning
              THEN left(p_message, length(p_message) - length(p_meaning) - 2) ELSE p_message END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_brief(text, text) IS
  'the message of an alert without what its rule means, which stands at its end';

CREATE FUNCTION webhook_outbox.console_alert_rows(p_endpoint_id bigint) RETURNS SETOF webhook_outbox.alert
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT a.* FROM webhook_outbox.alert a WHERE p_endpoint_id IS NULL OR a.endpoint_id = p_endpoint_id OR a.scope = 'system'
$$;
COMMENT ON FUNCTION webhook_outbox.console_alert_rows(bigint) IS 'alerts of all, or of an endpoint and of the server';

CREATE FUNCTION webhook_outbox.console_alerts(p_endpoint_id bigint, p_max integer) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows    text := '';
  v_n       bigint := 0;
  v_pending bigint;
  r         record;
BEGIN
  FOR r IN
    SELECT a.*, u.description AS meaning, count(*) OVER () AS n_all
    FROM webhook_outbox.console_alert_rows(p_endpoint_id) a LEFT JOIN webhook_outbox.alert_rule u ON u.name = a.rule
    WHERE a.state = 'firing'
    -- as console_health() does, so that the first is the one of the headline
    ORDER BY array_position('{critical,warning,info}', a.severity), a.scope = 'system' DESC, a.signal = 'burn_rate', a.since,
             a.rule, a.subject
    LIMIT p_max
  LOOP
    v_n := r.n_all;
    v_rows := v_rows || '<tr>'
      || webhook_outbox.html_cell('', webhook_outbox.html_state(webhook_outbox.console_level(r.severity), r.severity), 'first')
      || webhook_outbox.html_cell('', webhook_outbox.html_escape(webhook_outbox.console_brief(r.message, r.meaning), 300)
           || '<small>' || coalesce(nullif(webhook_outbox.html_escape(r.meaning, 200), '') || '; ', '')
           || 'rule ' || webhook_outbox.html_escape(r.rule, 100)
           || coalesce(', silenced until ' || webhook_outbox.html_time(r.silenced_until), '') || '</small>', 'text')
      || webhook_outbox.html_cell('since', webhook_outbox.html_time(r.since), 'short')
      || E'</tr>\n';
  END LOOP;
  SELECT count(*) INTO v_pending FROM webhook_outbox.console_alert_rows(p_endpoint_id) a WHERE a.state = 'pending';
  RETURN webhook_outbox.html_section('alerts', 'Alerts',
    concat_ws(', ', nullif(v_n, 0) || ' firing', nullif(v_pending, 0) || ' pending'),
    CASE WHEN v_n = 0 THEN '<p class="empty">None is firing.</p>'
         ELSE webhook_outbox.html_table('{severity,what,since}', v_rows)
              || webhook_outbox.html_more(v_n - p_max, 'SELECT * FROM webhook_outbox.alert WHERE state = ''firing'';') END);
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_alerts(bigint, integer) IS 'section of console(): the alerts that fire';

CREATE FUNCTION webhook_outbox.console_incident(p_incident webhook_outbox.incident) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<article class="card"><p class="score"><b>' || p_incident.score || '</b><span>' || p_incident.vector
    || '</span></p><div>'
    || '<h3>' || webhook_outbox.html_escape(
         CASE p_incident.scope WHEN 'system' THEN 'This server' WHEN 'tier' THEN 'Tier ' || p_incident.subject
                               ELSE replace(p_incident.scope, '_', ' ') || ' ' || p_incident.subject END, 80)
    || CASE WHEN p_incident.endpoint_id IS NOT NULL
                 AND NOT EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = p_incident.endpoint_id)
            THEN ', deleted since' ELSE '' END
    || ' <small class="dim">incident ' || p_incident.incident_id || ', since ' || webhook_outbox.html_time(p_incident.opened_at)
    || CASE WHEN p_incident.acknowledged_at IS NULL THEN ', not acknowledged'
            ELSE ', acknowledged by ' || webhook_outbox.html_escape(p_incident.acknowledged_by, 140) END || '</small></h3>'
    || '<p>' || webhook_outbox.html_escape(p_incident.reason, 400) || '</p>'
    || '<p class="dim">' || webhook_outbox.html_count_of(p_incident.endpoints, 'endpoint', 'endpoints') || ' hit, '
    || webhook_outbox.html_count_of(p_incident.waiting, 'delivery', 'deliveries') || ' waiting, '
    || webhook_outbox.html_count_of(p_incident.dead_letters, 'dead letter', 'dead letters') || ', '
    || webhook_outbox.html_count_of(p_incident.failed_attempts, 'failed attempt', 'failed attempts') || '. Cause: '
    || webhook_outbox.html_escape(p_incident.cause, 40) || '.</p>'
    || '<p><b>Next:</b> ' || webhook_outbox.html_escape(p_incident.next_step, 400) || '</p>'
    || coalesce(webhook_outbox.html_sql(nullif(p_incident.next_sql, '')), '')
    || E'</div></article>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_incident(webhook_outbox.incident) IS 'an incident, as a card';

CREATE FUNCTION webhook_outbox.console_incidents(p_endpoint_id bigint, p_max integer) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_cards    text := '';
  v_n        bigint := 0;
  v_incident webhook_outbox.incident;
BEGIN
  FOR v_incident IN
    SELECT i.* FROM webhook_outbox.incident i
    WHERE i.state <> 'closed'
      AND (p_endpoint_id IS NULL OR i.endpoint_id = p_endpoint_id OR i.scope = 'system'
           -- one of its tier that alerts of this endpoint have joined
           OR EXISTS (SELECT FROM webhook_outbox.incident_alert a
                      WHERE a.incident_id = i.incident_id AND a.endpoint_id = p_endpoint_id))
    ORDER BY i.score DESC, i.opened_at, i.incident_id
  LOOP
    v_n := v_n + 1;
    IF v_n <= p_max THEN
      v_cards := v_cards || webhook_outbox.console_incident(v_incident);
    END IF;
  END LOOP;
  RETURN webhook_outbox.html_section('incidents', 'Incidents',
    CASE WHEN v_n > 0 THEN v_n || ' open; the score is severity (S) &#215; likelihood (L) &#215; impact (I), each 1 to 5' END,
    CASE WHEN v_n = 0 THEN '<p class="empty">None is open.</p>'
         ELSE v_cards || webhook_outbox.html_more(
                v_n - p_max, 'SELECT * FROM webhook_outbox.incident WHERE state <> ''closed'' ORDER BY score DESC;') END);
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_incidents(bigint, integer) IS 'section of console(): open incidents, the worst first';
