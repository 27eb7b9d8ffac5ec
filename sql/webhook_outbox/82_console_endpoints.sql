-- The console's lists: endpoints, dead letters, retries, the queue, workers, maintenance.

CREATE FUNCTION webhook_outbox.console_endpoints(p_facts webhook_outbox.console_fact[], p_max integer) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows text := '';
  v_n    bigint := cardinality(p_facts);
  r      record;
BEGIN
  FOR r IN
    SELECT s.*, w.*
    FROM (
      SELECT f.endpoint_id AS of_endpoint, f.delivered + f.dead AS ended, x.success, f.latency,
             f.hourly_delivered, f.hourly_failed, f.oldest_at,
             f.waiting + f.retrying + f.parked + f.scheduled + f.blocked AS queue,
             row_number() OVER (ORDER BY p.disabled_at IS NULL, f.failures_1h * 2 <= f.attempts_1h, p.enabled OR f.blocked = 0,
                                         x.success, f.retrying DESC, f.delivered DESC, p.name) AS place
      FROM unnest(p_facts) f
      JOIN webhook_outbox.endpoint p ON p.endpoint_id = f.endpoint_id
      CROSS JOIN LATERAL (
        SELECT 100.0::double precision * f.delivered / nullif(f.delivered + f.dead + f.overdue, 0) AS success) x
      ORDER BY place LIMIT p_max) w
    -- only now, and for these alone, what takes a look at attempt
    CROSS JOIN LATERAL (SELECT * FROM webhook_outbox.endpoint_status t WHERE t.endpoint_id = w.of_endpoint OFFSET 0) s
    ORDER BY w.place
  LOOP
    v_rows := v_rows || '<tr>'
      || webhook_outbox.html_cell('', webhook_outbox.html_escape(r.name, 60) || '<small>tier ' || r.tier || '</small>', 'name')
      || webhook_outbox.html_cell('state', webhook_outbox.html_state(
           CASE WHEN r.state IN ('disabled', 'failing', 'held') THEN 'bad' WHEN r.state = 'paused' THEN 'warn'
                WHEN r.state = 'delivering' OR r.ended > 0 THEN 'good' ELSE 'idle' END, r.state)
           || coalesce('<small>by ' || webhook_outbox.html_escape(r.paused_by, 140) || ', '
                       || webhook_outbox.html_ago(r.paused_at) || '</small>', ''))
      || webhook_outbox.html_cell('24 hours', webhook_outbox.svg_spark(r.hourly_delivered, r.hourly_failed,
           webhook_outbox.html_count(r.ended) || ' deliveries in 24 hours'), 'plot')
      || webhook_outbox.html_cell('deliveries', webhook_outbox.html_count(r.ended), 'n')
      || webhook_outbox.html_cell('success', webhook_outbox.html_percent(r.success, 2), 'n')
      || webhook_outbox.html_cell('p95', webhook_outbox.html_ms(webhook_outbox.histogram_quantile(r.latency, 0.95)), 'n')
      || webhook_outbox.html_cell('queue', webhook_outbox.html_count(r.queue) || CASE WHEN r.oldest_at IS NULL THEN ''
           ELSE '<small>' || webhook_outbox.html_age(r.oldest_at) || '</small>' END, 'n')
      || webhook_outbox.html_cell('dead', webhook_outbox.html_count(r.dead_letters), 'n')
      || webhook_outbox.html_cell('last error', CASE WHEN r.last_error IS NULL THEN NULL
           ELSE webhook_outbox.html_escape(r.last_error, 80)
                || coalesce('<small>' || webhook_outbox.html_ago(r.last_failure_at) || '</small>', '') END, 'text')
      || E'</tr>\n';
  END LOOP;
  RETURN webhook_outbox.html_section('endpoints', 'Endpoints', 'the last 24&#8239;h; failing and worst first',
    webhook_outbox.html_table('{"",state,24 hours,#deliveries,#success,#p95,#queue,#dead,last error}', v_rows)
    || webhook_outbox.html_more(v_n - p_max, 'SELECT * FROM webhook_outbox.endpoint_status ORDER BY name;'));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_endpoints(webhook_outbox.console_fact[], integer) IS
  'section of console(): endpoints with their last 24 hours';

CREATE FUNCTION webhook_outbox.console_dead_letters(p_endpoint_id bigint, p_max integer, p_responses jsonb)
  RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows  text := '';
  v_n     bigint;
  v_worst record;
  r       record;
BEGIN
  SELECT count(*) INTO v_n FROM webhook_outbox.dead_letter d WHERE p_endpoint_id IS NULL OR d.endpoint_id = p_endpoint_id;
  IF v_n = 0 THEN
    RETURN webhook_outbox.html_section('dead-letters', 'Dead letters', NULL, '<p class="empty">None: nothing was given up.</p>');
  END IF;
  FOR r IN
    SELECT d.* FROM webhook_outbox.dead_letter d WHERE p_endpoint_id IS NULL OR d.endpoint_id = p_endpoint_id
    ORDER BY d.created_at DESC, d.event_id LIMIT p_max
  LOOP
    v_rows := v_rows || '<tr>'
      || webhook_outbox.html_cell('', webhook_outbox.html_escape(r.endpoint_name, 60) || '<small>'
           || webhook_outbox.html_escape(r.event_type, 80)
           || CASE WHEN r.tenant IS NULL THEN '' ELSE ', tenant ' || webhook_outbox.html_escape(r.tenant, 40) END
           || '</small>', 'name')
      || webhook_outbox.html_cell('given up', webhook_outbox.html_ago(r.created_at), 'short')
      || webhook_outbox.html_cell('reason', replace(r.reason, '_', ' ') || '<small>'
           || webhook_outbox.html_count_of(r.attempts, 'attempt', 'attempts') || '</small>', 'short')
      || webhook_outbox.html_cell('last answer',
           webhook_outbox.html_escape(coalesce(r.last_error, r.last_outcome), 120)
           || coalesce('<small>' || nullif(webhook_outbox.html_escape(
                p_responses ->> (r.endpoint_id || ' ' || r.event_id), 120), '') || '</small>', ''), 'text')
      || webhook_outbox.html_cell('event', '<code>' || r.event_id || '</code>')
      || E'</tr>\n';
  END LOOP;
  -- what to do is shown for the endpoint with most of them, by the name that it has now; one that is deleted gets nothing
  SELECT coalesce(p.name, d.endpoint_name) AS name, p.endpoint_id IS NOT NULL AS is_there,
         (array_agg(d.event_id ORDER BY d.created_at DESC, d.event_id))[1] AS newest
    INTO v_worst
  FROM webhook_outbox.dead_letter d LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = d.endpoint_id
  WHERE p_endpoint_id IS NULL OR d.endpoint_id = p_endpoint_id
  GROUP BY 1, 2 ORDER BY 2 DESC, count(*) DESC, 1 LIMIT 1;
  RETURN webhook_outbox.html_section('dead-letters', 'Dead letters', webhook_outbox.html_count(v_n) || ' kept, the newest first',
    webhook_outbox.html_table('{"",given up,reason,last answer,event}', v_rows)
    || webhook_outbox.html_more(v_n - p_max, 'SELECT * FROM webhook_outbox.dead_letter ORDER BY created_at DESC;')
    || '<p class="note">'
    || CASE WHEN v_worst.is_there THEN 'Once the cause is repaired, send them again; or look at one, or let them go:'
            ELSE 'Their endpoint is deleted. Look at one, replay() what another one should get, or let them go:' END || '</p>'
    || webhook_outbox.html_sql(
         CASE WHEN v_worst.is_there THEN
           format(E'SELECT webhook_outbox.redeliver_dead_letters(endpoint => %s, max_per_second => 50);\n',
                  webhook_outbox.sql_literal(v_worst.name)) ELSE '' END
         || format(E'SELECT webhook_outbox.explain_event(''%s'');\n'
                   'SELECT webhook_outbox.discard_dead_letters(endpoint => %s, until => now() - interval ''30 days'');',
                   v_worst.newest, webhook_outbox.sql_literal(v_worst.name))));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_dead_letters(bigint, integer, jsonb) IS
  'section of console(): the newest dead letters, and what to do';

CREATE FUNCTION webhook_outbox.console_retries(p_endpoint_id bigint, p_max integer) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows text := '';
  v_n    bigint := 0;
  v_all  bigint := 0;
  r      record;
BEGIN
  FOR r IN
    SELECT q.*, p.name, p.enabled, count(*) OVER () AS n_all, sum(q.retrying) OVER () AS n_retrying
    FROM (SELECT d.endpoint_id, count(*) AS retrying, min(d.next_attempt_at) AS next_at,
                 count(*) FILTER (WHERE d.next_attempt_at <= now() + interval '5 minutes') AS soon,
                 count(*) FILTER (WHERE d.next_attempt_at > now() + interval '5 minutes'
                                    AND d.next_attempt_at <= now() + interval '1 hour') AS hour,
                 count(*) FILTER (WHERE d.next_attempt_at > now() + interval '1 hour') AS later, max(d.attempts) AS attempts
          FROM webhook_outbox.delivery d
          WHERE d.state = 'retrying' AND (p_endpoint_id IS NULL OR d.endpoint_id = p_endpoint_id)
          GROUP BY d.endpoint_id) q
    JOIN webhook_outbox.endpoint p ON p.endpoint_id = q.endpoint_id
    ORDER BY q.next_at, p.name LIMIT p_max
  LOOP
    v_n := r.n_all;
    v_all := r.n_retrying;
    v_rows := v_rows || '<tr>'
      || webhook_outbox.html_cell('', webhook_outbox.html_escape(r.name, 60), 'name')
      || webhook_outbox.html_cell('next',
           CASE WHEN r.enabled THEN webhook_outbox.html_ago(greatest(r.next_at, now())) ELSE 'paused' END, 'short')
      || webhook_outbox.html_cell('waiting for a retry', webhook_outbox.html_count(r.retrying), 'n')
      || webhook_outbox.html_cell('within 5&#8239;min', webhook_outbox.html_count(r.soon), 'n')
      || webhook_outbox.html_cell('within 1&#8239;h', webhook_outbox.html_count(r.hour), 'n')
      || webhook_outbox.html_cell('later', webhook_outbox.html_count(r.later), 'n')
      || webhook_outbox.html_cell('most attempts so far', webhook_outbox.html_count(r.attempts), 'n')
      || E'</tr>\n';
  END LOOP;
  RETURN webhook_outbox.html_section('retries', 'Retries due',
    CASE WHEN v_all > 0 THEN webhook_outbox.html_count_of(v_all, 'delivery', 'deliveries') END,
    CASE WHEN v_all = 0 THEN '<p class="empty">None: no delivery waits for another attempt.</p>'
         ELSE webhook_outbox.html_table(
                '{"",next,#waiting for a retry,#within 5&#8239;min,#within 1&#8239;h,#later,#most attempts so far}', v_rows)
              || webhook_outbox.html_more(v_n - p_max, 'SELECT * FROM webhook_outbox.delivery_status'
                   || E'\nWHERE state = ''retrying'' ORDER BY next_attempt_at;') END);
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_retries(bigint, integer) IS 'section of console(): what is tried again, and when';

CREATE FUNCTION webhook_outbox.console_queue(p_facts webhook_outbox.console_fact[]) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  r record;
BEGIN
  SELECT coalesce(sum(q.waiting), 0) AS waiting, coalesce(sum(q.retrying), 0) AS retrying, coalesce(sum(q.parked), 0) AS parked,
         coalesce(sum(q.scheduled), 0) AS scheduled, coalesce(sum(q.blocked), 0) AS blocked, min(q.oldest_at) AS oldest_at,
         (array_agg(q.endpoint_id ORDER BY q.oldest_at))[1] AS oldest_of
    INTO r FROM unnest(p_facts) q;
  RETURN webhook_outbox.html_section('queue', 'Queue', CASE WHEN r.oldest_at IS NOT NULL THEN 'the oldest has waited '
      || webhook_outbox.html_age(r.oldest_at) || ', for '
      || (SELECT '<bdi>' || webhook_outbox.html_escape(p.name, 60) || '</bdi>'
          FROM webhook_outbox.endpoint p WHERE p.endpoint_id = r.oldest_of)
      ELSE 'nothing waits' END,
    '<dl class="figures">' || (
      SELECT string_agg(webhook_outbox.console_figure(v.name, webhook_outbox.html_count(v.n), v.what), '' ORDER BY v.place)
      FROM (VALUES (1, 'waiting', r.waiting, 'new: not begun, or in flight'),
                   (2, 'retrying', r.retrying, 'failed, to be tried again'),
                   (3, 'parked', r.parked, 'behind others of their endpoint'),
                   (4, 'scheduled', r.scheduled, 'for a later time'),
                   (5, 'blocked', r.blocked, 'their endpoint is paused or disabled')) v (place, name, n, what))
    || E'</dl>\n');
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_queue(webhook_outbox.console_fact[]) IS
  'section of console(): what is owed, by what it waits for';

CREATE FUNCTION webhook_outbox.console_workers() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows text := '';
  r      record;
BEGIN
  BEGIN
    FOR r IN
      SELECT w.* FROM webhook_outbox.worker_status w WHERE w.database = current_database() OR w.database IS NULL
      ORDER BY array_position('{launcher,dispatcher,sender}', w.process), w.number
    LOOP
      v_rows := v_rows || '<tr>'
        || webhook_outbox.html_cell('', r.process || coalesce(' ' || r.number, ''), 'name')
        || webhook_outbox.html_cell('state', webhook_outbox.html_state(
             CASE WHEN r.state LIKE 'not sending%' THEN 'bad' WHEN r.is_running THEN 'good' WHEN r.expected THEN 'bad'
                  ELSE 'idle' END,
             coalesce(r.state, CASE WHEN r.expected THEN 'missing' ELSE 'not wanted' END)))
        || webhook_outbox.html_cell('running for', webhook_outbox.html_age(r.running_since), 'n')
        || webhook_outbox.html_cell('per second', webhook_outbox.html_count(r.per_second), 'n')
        || webhook_outbox.html_cell('restarts', webhook_outbox.html_count(r.restarts), 'n')
        || webhook_outbox.html_cell('last error', webhook_outbox.html_escape(r.last_error, 120), 'text')
        || E'</tr>\n';
    END LOOP;
  EXCEPTION WHEN OTHERS THEN
    -- not preloaded: the message says so
    v_rows := '<tr>' || webhook_outbox.html_cell('', 'workers', 'name')
      || webhook_outbox.html_cell('state', webhook_outbox.html_state('bad', 'none')) || webhook_outbox.html_cell('', NULL)
      || webhook_outbox.html_cell('', NULL) || webhook_outbox.html_cell('', NULL)
      || webhook_outbox.html_cell('last error', webhook_outbox.html_escape(SQLERRM, 300), 'text') || E'</tr>\n';
  END;
  RETURN webhook_outbox.html_section('workers', 'Workers', NULL,
      webhook_outbox.html_table('{"",state,#running for,#per second,#restarts,last error}', v_rows));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_workers() IS 'section of console(): the processes that deliver';

CREATE FUNCTION webhook_outbox.console_maintenance() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_rows    text := '';
  v_last    timestamptz;
  v_problem text;
  r         record;
BEGIN
  FOR r IN SELECT m.*, row_number() OVER () AS place FROM webhook_outbox.maintenance_status m ORDER BY place LOOP
    v_last := greatest(v_last, r.last_run_at);
    v_problem := coalesce(v_problem, r.problem);
    v_rows := v_rows || '<tr>'
      || webhook_outbox.html_cell('', webhook_outbox.html_escape(r.step, 63), 'name')
      || webhook_outbox.html_cell('state', webhook_outbox.html_state(
           CASE r.state WHEN 'ok' THEN 'good' WHEN 'late' THEN 'warn' WHEN 'failing' THEN 'bad' ELSE 'idle' END, r.state))
      || webhook_outbox.html_cell('last run', webhook_outbox.html_ago(r.last_run_at), 'short')
      || webhook_outbox.html_cell('took', webhook_outbox.html_interval(r.duration), 'n')
      || webhook_outbox.html_cell('rows', webhook_outbox.html_count(r.rows), 'n')
      || webhook_outbox.html_cell('by', webhook_outbox.html_escape(r.run_by, 40), 'short')
      || webhook_outbox.html_cell('last error', webhook_outbox.html_escape(r.last_error, 120)
           || coalesce('<small>' || webhook_outbox.html_ago(r.last_error_at) || '</small>', ''), 'text')
      || E'</tr>\n';
  END LOOP;
  RETURN webhook_outbox.html_section('maintenance', 'Maintenance',
    CASE WHEN v_last IS NULL THEN 'has not run yet' ELSE 'last run ' || webhook_outbox.html_ago(v_last) END,
    coalesce('<p>' || webhook_outbox.html_escape(v_problem, 300) || '</p>', '')
    || webhook_outbox.html_table('{"",state,last run,#took,#rows,by,last error}', v_rows));
END
$$;
COMMENT ON FUNCTION webhook_outbox.console_maintenance() IS 'section of console(): the steps of maintain()';
