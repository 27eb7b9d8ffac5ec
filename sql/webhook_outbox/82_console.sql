-- The console: how everything stands, as one HTML page that stands alone. One function for each section (82_console_*.sql);
-- what they show is what the views show. They run as the owner, so EXECUTE on console() alone shows all of it: no payload,
-- header or secret is on the page.

-- What is wrong first, what is right last: the first line that applies.

CREATE FUNCTION webhook_outbox.console_health(
  p_endpoint_id bigint, OUT level text, OUT sentence text, OUT more text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_state      text;
  v_healthy_at timestamptz;
  v_top        record;
  v            record;
BEGIN
  BEGIN
    SELECT CASE WHEN w.state LIKE 'not sending%' THEN w.state WHEN NOT w.is_running THEN 'the dispatcher does not run' END
      INTO v_state
    FROM webhook_outbox.worker_status w WHERE w.process = 'dispatcher' AND w.database = current_database();
    IF NOT FOUND THEN
      v_state := 'this database has no dispatcher';
    END IF;
  EXCEPTION WHEN OTHERS THEN
    v_state := SQLERRM;
  END;
  SELECT count(*) FILTER (WHERE a.severity = 'critical') AS critical, count(*) AS firing, min(a.since) AS since
    INTO v FROM webhook_outbox.console_alert_rows(p_endpoint_id) a WHERE a.state = 'firing' AND a.severity <> 'info';
  -- a burn rate says less to a reader than what burns the budget
  SELECT a.since, regexp_replace(webhook_outbox.console_brief(a.message, r.description), ' [(][^()]*[)]$', '') AS message INTO v_top
  FROM webhook_outbox.console_alert_rows(p_endpoint_id) a LEFT JOIN webhook_outbox.alert_rule r ON r.name = a.rule
  WHERE a.state = 'firing' AND a.severity <> 'info'
  ORDER BY array_position('{critical,warning}', a.severity), a.scope = 'system' DESC, a.signal = 'burn_rate', a.since, a.rule,
           a.subject
  LIMIT 1;

  IF pg_is_in_recovery() THEN
    level := 'idle';
    sentence := 'A standby: its primary delivers.';
    more := 'What is shown is what has been replayed here.';
  ELSIF v_state IS NOT NULL THEN
    level := 'bad';
    sentence := 'Nothing is being delivered: '
      || webhook_outbox.html_escape(regexp_replace(v_state, '^not sending: ', ''), 200) || '.';
  ELSIF v.firing > 0 THEN
    level := CASE WHEN v.critical > 0 THEN 'bad' ELSE 'warn' END;
    sentence := CASE WHEN v.critical > 0 THEN 'Critical' ELSE 'Warning' END || ' since ' || webhook_outbox.html_time(v_top.since)
      || ': ' || webhook_outbox.html_escape(v_top.message, 160) || '.';
    more := webhook_outbox.html_count_of(v.firing, 'alert is', 'alerts are') || ' firing'
      || CASE WHEN v.firing > v.critical AND v.critical > 0 THEN ', ' || v.critical || ' critical' ELSE '' END || '.';
  ELSIF NOT EXISTS (SELECT FROM webhook_outbox.endpoint) THEN
    level := 'idle';
    sentence := 'Ready, and nobody to deliver to yet.';
    more := 'Events are stored from the first one on; an endpoint gets those that are inserted after it was created.';
  ELSE
    level := 'good';
    SELECT max(h.at) INTO v_healthy_at FROM webhook_outbox.alert_history h
    WHERE h.state = 'resolved' AND h.severity <> 'info' AND (p_endpoint_id IS NULL OR h.endpoint_id = p_endpoint_id);
    sentence := coalesce('Healthy since ' || webhook_outbox.html_time(v_healthy_at), 'Healthy') || ': no alert is firing.';
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_health(bigint) IS 'how it stands, in a sentence';

CREATE FUNCTION webhook_outbox.console_figure(p_name text, p_value text, p_more text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<div><dt>' || p_name || '</dt><dd>' || coalesce(p_value, '&#8211;') || '</dd><dd>' || coalesce(p_more, 'no data')
    || '</dd></div>';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_figure(text, text, text) IS 'a number that matters, with its name and a line below';

CREATE FUNCTION webhook_outbox.console_figures(p_endpoint_id bigint, p_facts webhook_outbox.console_fact[]) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_dead bigint;
  v_new  bigint;
  v      record;
BEGIN
  SELECT sum(f.delivered) AS delivered, sum(f.delivered + f.dead) AS ended, sum(f.overdue) AS overdue,
         sum(f.attempts) AS attempts, sum(f.failures) AS failures, webhook_outbox.histogram_merge(f.latency) AS latency,
         sum(f.delivered_1h) AS delivered_1h,
         sum(f.delivered_1h + f.dead_1h) AS ended_1h, sum(f.attempts_1h) AS attempts_1h, sum(f.failures_1h) AS failures_1h,
         webhook_outbox.histogram_merge(f.latency_1h) AS latency_1h,
         sum(f.waiting + f.retrying + f.parked + f.scheduled + f.blocked) AS queue, min(f.oldest_at) AS oldest_at
    INTO v FROM unnest(p_facts) f;
  SELECT count(*), count(*) FILTER (WHERE d.created_at > now() - interval '24 hours') INTO v_dead, v_new
  FROM webhook_outbox.dead_letter d WHERE p_endpoint_id IS NULL OR d.endpoint_id = p_endpoint_id;
  RETURN '<dl class="figures">'
    || webhook_outbox.console_figure('Deliveries, 24&#8239;h', webhook_outbox.html_count(v.ended),
         webhook_outbox.html_count(v.ended_1h) || ' in the last hour')
    || webhook_outbox.console_figure('Success, 24&#8239;h',
         webhook_outbox.html_percent(100.0 * v.delivered / nullif(v.ended + v.overdue, 0)),
         CASE WHEN v.overdue > 0 THEN webhook_outbox.html_count(v.overdue) || ' overdue'
              ELSE webhook_outbox.html_percent(100.0 * v.delivered_1h / nullif(v.ended_1h, 0)) || ' in the last hour' END)
    || webhook_outbox.console_figure('Failed attempts, 24&#8239;h',
         webhook_outbox.html_percent(100.0 * v.failures / nullif(v.attempts, 0)),
         webhook_outbox.html_percent(100.0 * v.failures_1h / nullif(v.attempts_1h, 0)) || ' in the last hour')
    || webhook_outbox.console_figure('Latency p95, 24&#8239;h',
         webhook_outbox.html_ms(webhook_outbox.histogram_quantile(v.latency, 0.95)),
         webhook_outbox.html_ms(webhook_outbox.histogram_quantile(v.latency_1h, 0.95)) || ' in the last hour')
    || webhook_outbox.console_figure('Queue', webhook_outbox.html_count(v.queue),
         coalesce('oldest ' || webhook_outbox.html_age(v.oldest_at), 'nothing waits'))
    || webhook_outbox.console_figure('Dead letters', webhook_outbox.html_count(v_dead),
         webhook_outbox.html_count(v_new) || ' of the last 24&#8239;h')
    || E'</dl>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_figures(bigint, webhook_outbox.console_fact[]) IS
  'section of console(): the numbers that matter';

CREATE FUNCTION webhook_outbox.console_first_steps() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_has_endpoint boolean := EXISTS (SELECT FROM webhook_outbox.endpoint);
BEGIN
  IF v_has_endpoint AND (EXISTS (SELECT FROM webhook_outbox.endpoint_rollup) OR EXISTS (SELECT FROM webhook_outbox.event)
                         OR EXISTS (SELECT FROM webhook_outbox.attempt)) THEN
    RETURN '';
  END IF;
  RETURN webhook_outbox.html_section('start', 'What to type first', NULL,
    CASE WHEN v_has_endpoint THEN '<p>No event has been published yet.</p>'
         ELSE '<p>Name somebody to deliver to; note the secret that this returns.</p>'
           || webhook_outbox.html_sql(
                E'SELECT * FROM webhook_outbox.create_endpoint(''billing'', ''https://billing.example.com/hooks'','
                '\n  event_types => ''{order.*}'');') END
    || '<p>Publish an event, in the transaction that makes it true:</p>'
    || webhook_outbox.html_sql(
         E'INSERT INTO webhook_outbox.event (type, payload)\n  VALUES (''order.created'', ''{"order_id": 42}'');')
    || '<p>See what became of it:</p>'
    || webhook_outbox.html_sql('SELECT * FROM webhook_outbox.delivery_status;'));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_first_steps() IS
  'section of console(): what to do with a new installation; empty when it is in use';

CREATE FUNCTION webhook_outbox.console_head(p_title text, p_about text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_css   text := webhook_outbox.console_css();
  v_title text := webhook_outbox.html_escape(p_title, 120);
BEGIN
  RETURN E'<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en">\n<head>\n<meta charset="utf-8"/>\n'
    || '<meta http-equiv="Content-Security-Policy" content="default-src ''none''; base-uri ''none''; form-action ''none''; '
    || 'style-src ''sha256-'
    || encode(sha256(convert_to(v_css, 'UTF8')), 'base64') || E'''"/>\n'
    || E'<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
    || E'<meta name="color-scheme" content="light dark"/>\n'
    || E'<meta name="referrer" content="no-referrer"/>\n<title>' || v_title || E'</title>\n'
    || '<style>' || v_css || E'</style>\n</head>\n<body>\n<header><h1>' || v_title || '</h1><p>' || p_about || E'</p></header>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_head(text, text) IS
  'the start of the page, with the policy that lets in its own style, known by its hash, and nothing else';

CREATE FUNCTION webhook_outbox.console_nav(p_sections text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN '<nav>' || (SELECT string_agg('<a href="#' || m[1] || '">' || m[2] || '</a>', ' ')
                     FROM regexp_matches(p_sections, '<section id="([a-z-]+)"><h2>([A-Za-z ]+)', 'g') m) || E'</nav>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_nav(text) IS 'links to the sections of the page';

CREATE FUNCTION webhook_outbox.console_page(
  title    text,
  endpoint text,
  span     interval,
  max_rows integer,
  p_responses jsonb) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_start    timestamptz := clock_timestamp();
  v_endpoint bigint;
  v_few      integer := greatest(max_rows / 2, 1);
  v_health   record;
  v_first    text := webhook_outbox.console_first_steps();
  v_is_used  boolean;
  -- what several sections need is read once
  v_open     webhook_outbox.endpoint_rollup[];
  v_facts    webhook_outbox.console_fact[];
  v_main     text;
BEGIN
  IF span IS NULL OR span NOT BETWEEN '1 hour' AND '90 days' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('span %s is out of range', coalesce(span::text, 'NULL')),
      HINT = 'From 1 hour to 90 days: what the plots show, by minutes, hours (from 2 hours) or days (from 3 days).';
  ELSIF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('max_rows %s is out of range', coalesce(max_rows::text, 'NULL')),
      HINT = 'From 1 to 1000: so many endpoints, and half as many of everything else, are listed.';
  END IF;
  IF endpoint IS NOT NULL THEN
    v_endpoint := (webhook_outbox.find_endpoint(endpoint)).endpoint_id;
  END IF;

  v_health := webhook_outbox.console_health(v_endpoint);
  v_main := v_first;
  -- what there was goes on to matter when the last endpoint is deleted: dead letters, and alerts that still fire
  v_is_used := v_first = '' OR EXISTS (SELECT FROM webhook_outbox.endpoint_rollup)
    OR EXISTS (SELECT FROM webhook_outbox.attempt) OR EXISTS (SELECT FROM webhook_outbox.dead_letter);
  IF v_is_used THEN
    v_open := webhook_outbox.console_open_minutes();
    v_facts := ARRAY(SELECT f FROM webhook_outbox.console_facts(v_endpoint, v_open) f);
    -- an incident says what to do, once for all its alerts
    v_main := v_main
      || webhook_outbox.console_incidents(v_endpoint, v_few)
      || webhook_outbox.console_alerts(v_endpoint, v_few)
      || webhook_outbox.console_objectives(v_endpoint, v_few)
      || webhook_outbox.console_signals(span, v_endpoint, v_open)
      || webhook_outbox.console_endpoints(v_facts, max_rows)
      || webhook_outbox.console_dead_letters(v_endpoint, v_few, p_responses)
      || webhook_outbox.console_retries(v_endpoint, v_few)
      || webhook_outbox.console_queue(v_facts);
  END IF;
  v_main := v_main || webhook_outbox.console_workers() || webhook_outbox.console_maintenance();
  RETURN webhook_outbox.console_head(
           coalesce(title, 'webhook_outbox, ' || coalesce(endpoint || ' in ', '') || 'database ' || current_database()),
           'as of ' || to_char(now(), 'FMDD Mon YYYY HH24:MI:SS') || ' '
           || webhook_outbox.html_escape(current_setting('TimeZone'), 60))
    || '<div class="health ' || v_health.level || '"><p>' || v_health.sentence || '</p>'
    || coalesce('<p>' || v_health.more || '</p>', '') || E'</div>\n'
    || CASE WHEN v_is_used THEN webhook_outbox.console_figures(v_endpoint, v_facts) ELSE '' END
    || webhook_outbox.console_nav(v_main) || '<main>' || v_main || E'</main>\n<footer>webhook_outbox '
    || (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'webhook_outbox') || ' on PostgreSQL '
    || webhook_outbox.html_escape(current_setting('server_version'), 40) || '; made in '
    || webhook_outbox.html_ms(extract(epoch FROM clock_timestamp() - v_start)::double precision * 1000)
    || E' from the views of the schema webhook_outbox.</footer>\n</body>\n</html>\n';
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_page(text, text, interval, integer, jsonb) IS
  'see console(); p_responses: what receivers answered, by endpoint_id and event_id of the dead letter';

-- It runs as whoever calls it: who may not read what receivers answered is not shown it.

CREATE FUNCTION webhook_outbox.console(
  title    text     DEFAULT NULL,
  endpoint text     DEFAULT NULL,
  span     interval DEFAULT '24 hours',
  max_rows integer  DEFAULT 20) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_responses jsonb;
BEGIN
  IF (SELECT bool_and(has_column_privilege('webhook_outbox.dead_letter', c, 'SELECT'))
      FROM unnest('{endpoint_id,event_id,last_response,created_at}'::text[]) c)
     AND has_column_privilege('webhook_outbox.endpoint', 'endpoint_id', 'SELECT')
     AND has_column_privilege('webhook_outbox.endpoint', 'name', 'SELECT') THEN
    SELECT jsonb_object_agg(d.endpoint_id || ' ' || d.event_id, left(d.last_response, 200)) INTO v_responses
    FROM (
      SELECT l.endpoint_id, l.event_id, l.last_response FROM webhook_outbox.dead_letter l
      WHERE console.endpoint IS NULL OR l.endpoint_id = (
        SELECT p.endpoint_id FROM webhook_outbox.endpoint p WHERE p.name = console.endpoint)
      ORDER BY l.created_at DESC, l.event_id
      LIMIT least(greatest(coalesce(max_rows, 0) / 2, 1), 500)) d;
  END IF;
  RETURN webhook_outbox.console_page(title, endpoint, span, max_rows, v_responses);
END
$$;
COMMENT ON FUNCTION webhook_outbox.console(text, text, interval, integer) IS
  'how everything stands, as one HTML page that needs nothing else: psql -XAtc "SELECT webhook_outbox.console()" > console.html. '
  'endpoint: of this one alone; span: what the plots show, 1 hour to 90 days; max_rows: endpoints listed, and half as many of '
  'the rest';
