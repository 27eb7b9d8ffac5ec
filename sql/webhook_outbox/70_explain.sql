-- Answers for people: why was this not delivered, and what exactly is sent.

-- As seen from one moment, however long the lines take: what came later is not said to be longer ago.

CREATE FUNCTION webhook_outbox.time_words(at timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(CASE WHEN s < 1 THEN '%s (now)' WHEN at > statement_timestamp() THEN '%s (in %s)' ELSE '%s (%s ago)' END,
                date_trunc('second', at),
                CASE WHEN s < 120 THEN round(s) || ' s'
                     WHEN s < 7200 THEN round(s / 60) || ' min'
                     WHEN s < 172800 THEN round(s / 3600) || ' h'
                     ELSE round(s / 86400) || ' days' END)
  FROM abs(extract(epoch FROM at - statement_timestamp())) AS s;
$$;
COMMENT ON FUNCTION webhook_outbox.time_words(timestamptz) IS 'a time for people: 2026-01-31 12:00:00+00 (in 5 min)';

CREATE FUNCTION webhook_outbox.explain_workers() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_hint       text;
  v_dispatcher record;
  v_error      text;
BEGIN
  BEGIN
    PERFORM webhook_outbox.require_workers();
  EXCEPTION WHEN object_not_in_prerequisite_state OR read_only_sql_transaction THEN
    GET STACKED DIAGNOSTICS v_hint = PG_EXCEPTION_HINT;
    RETURN format('Nothing is sent now: %s. %s', SQLERRM, v_hint);
  END;
  IF current_setting('webhook_outbox.enabled', true) = 'off' THEN
    RETURN 'Nothing is sent now: webhook_outbox.enabled is off. What waits is sent when it is on again.';
  END IF;
  SELECT w.* INTO v_dispatcher FROM webhook_outbox.worker_rows() w
  WHERE w.process = 'dispatcher' AND w.database = current_database();
  IF NOT v_dispatcher.expected THEN
    RETURN 'Nothing is sent now: this database is not in webhook_outbox.databases. What waits is sent when it is.';
  ELSIF v_dispatcher.state = 'starting' THEN
    -- only what it has met itself is a reason
    RETURN CASE WHEN v_dispatcher.last_error_at >= v_dispatcher.running_since
                THEN format('Nothing is sent yet: the dispatcher is starting: %s.', v_dispatcher.last_error)
                ELSE 'Nothing is sent yet: the dispatcher is starting.' END;
  ELSIF v_dispatcher.is_running THEN
    -- NULL when it does send: what worker_status says begins otherwise then
    RETURN 'Nothing is sent now: ' || substring(v_dispatcher.state FROM '^not sending: (.*)$') || '.';
  END IF;
  SELECT format('%s, at %s', w.last_error, webhook_outbox.time_words(w.last_error_at)) INTO v_error
  FROM webhook_outbox.worker_rows() w
  WHERE w.last_error IS NOT NULL AND (w.process = 'launcher' OR w.database = current_database())
  ORDER BY w.last_error_at DESC LIMIT 1;
  RETURN format('Nothing is sent now: the dispatcher of this database does not run (%s). See worker_status.',
                coalesce('the last error is: ' || v_error, 'no error is known'));
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_workers() IS 'why nothing at all is sent from this database now; NULL: something is';

CREATE FUNCTION webhook_outbox.explain_missing(p_event_id uuid) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_retention text := current_setting('webhook_outbox.event_retention', true);
  v_at        timestamptz;
  v_open      record;
  v_n_open    integer := 0;
BEGIN
  RETURN NEXT format('Event %s is not stored.', p_event_id);
  IF substr(p_event_id::text, 15, 1) <> '7' THEN
    RETURN NEXT 'No event can have that id: those are UUIDs of version 7.';
    RETURN;
  END IF;
  v_at := to_timestamp(('x' || left(replace(p_event_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0);
  RETURN NEXT format('It would have been inserted at %s.', webhook_outbox.time_words(v_at));
  IF v_at < clock_timestamp() - v_retention::interval THEN
    RETURN NEXT format('Events are kept for %s (webhook_outbox.event_retention).', v_retention);
    RETURN;
  END IF;
  FOR v_open IN
    SELECT format('process %s has a transaction open since %s', a.pid, webhook_outbox.time_words(a.xact_start)) AS words,
           a.xact_start AS began_at
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
      AND a.backend_type <> 'autovacuum worker' AND a.backend_type NOT LIKE 'webhook_outbox%'
      AND a.xact_start <= v_at + interval '1 second'
    UNION ALL
    -- when one began is not known, only that it was before
    SELECT format('transaction %L was prepared at %s', x.gid, webhook_outbox.time_words(x.prepared)), x.prepared
    FROM pg_prepared_xacts x
    WHERE x.database = current_database() AND x.prepared >= v_at - interval '1 second'
    ORDER BY began_at LIMIT 3
  LOOP
    v_n_open := v_n_open + 1;
    RETURN NEXT format('Perhaps its transaction is still open, and it is sent when that commits: %s.', v_open.words);
  END LOOP;
  RETURN NEXT CASE WHEN v_n_open = 0
    THEN 'Its transaction rolled back, so nobody is told. Or this is the id of an event of another database.'
    ELSE 'Otherwise that rolled back, and nobody is told.' END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_missing(uuid) IS 'what explain_event says of an event that is not stored';

CREATE FUNCTION webhook_outbox.explain_delivery(
  p_status webhook_outbox.delivery_status, p_endpoint webhook_outbox.endpoint) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_last   webhook_outbox.attempt;
  v_letter webhook_outbox.dead_letter;
  v_name   text := coalesce(p_status.endpoint_name, 'number ' || p_status.endpoint_id || ', deleted');
  v_tries  text := p_status.attempts || CASE p_status.attempts WHEN 1 THEN ' attempt' ELSE ' attempts' END;
  v_at     text := webhook_outbox.time_words(p_status.last_attempt_at);
  v_due    text := webhook_outbox.time_words(p_status.next_attempt_at);
BEGIN
  SELECT a.* INTO v_last FROM webhook_outbox.attempt a
  WHERE a.event_id = p_status.event_id AND a.endpoint_id = p_status.endpoint_id ORDER BY a.number DESC LIMIT 1;
  SELECT l.* INTO v_letter FROM webhook_outbox.dead_letter l
  WHERE l.event_id = p_status.event_id AND l.endpoint_id = p_status.endpoint_id;

  RETURN NEXT format('Endpoint "%s": ', v_name) || CASE
    WHEN p_status.state = 'delivered' THEN format('delivered at %s by attempt %s.', v_at, p_status.attempts)
    WHEN p_status.state = 'retrying' AND p_status.next_attempt_at <= clock_timestamp() THEN
      format('attempt %s failed; the next was due at %s.', p_status.attempts, v_due)
    WHEN p_status.state = 'retrying' THEN format('attempt %s failed; the next is due at %s.', p_status.attempts, v_due)
    WHEN p_status.state = 'cancelled' AND p_status.attempts = 0 THEN 'cancelled before its first attempt.'
    WHEN p_status.state = 'cancelled' THEN format('cancelled after %s.', v_tries)
    WHEN v_letter.reason = 'endpoint_deleted' THEN format('given up after %s, for the endpoint was deleted.', v_tries)
    WHEN v_letter.reason = 'event_lost' THEN format('given up after %s, for the event itself is lost.', v_tries)
    WHEN v_letter.reason IS NOT NULL THEN format('given up after %s.', v_tries)
    WHEN p_status.state = 'dead' THEN format('given up after %s; the dead letter was discarded.', v_tries)
    WHEN p_status.next_attempt_at > clock_timestamp() THEN format('pending, due at %s.', v_due)
    WHEN p_status.attempts > 0 THEN format('pending, to be sent again after %s.', v_tries)
    ELSE 'pending: not begun, or in its first attempt.' END;
  IF p_status.state = 'delivered' THEN
    RETURN NEXT format('  The answer was HTTP %s in %s ms.', v_last.http_status, round(v_last.total_ms::numeric, 1));
  ELSIF p_status.attempts > 0 THEN
    RETURN NEXT format('  Attempt %s was at %s, %s: %s.', p_status.attempts, coalesce(v_at, 'an unknown time'),
                       coalesce(v_last.outcome, v_letter.last_outcome, 'result unknown'),
                       coalesce(p_status.last_error, v_last.error, 'HTTP ' || p_status.last_status, 'no more is known'));
    IF v_last.error LIKE 'certificate was not accepted%' THEN
      RETURN NEXT '  A CA of your own goes into ca_certificates of the endpoint, or into the file of webhook_outbox.ca_file.';
    ELSIF v_last.error LIKE 'the endpoint has no signing key%' AND p_endpoint.name IS NOT NULL THEN
      RETURN NEXT format('  SELECT webhook_outbox.rotate_secret(%L) gives it one.', p_endpoint.name);
    ELSIF v_last.outcome = 'blocked' THEN
      RETURN QUERY SELECT '  ' || h FROM webhook_outbox.blocked_hint(v_last.error) h WHERE h IS NOT NULL;
    END IF;
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_delivery(webhook_outbox.delivery_status, webhook_outbox.endpoint) IS
  'what explain_event says of one delivery: where it stands, and how the last attempt went';

CREATE FUNCTION webhook_outbox.explain_prospect(
  p_status webhook_outbox.delivery_status, p_endpoint webhook_outbox.endpoint) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_sealed text;
  v_paused text;
BEGIN
  IF p_status.state IN ('pending', 'retrying') AND p_endpoint.disabled_at IS NOT NULL THEN
    RETURN NEXT format('  The endpoint was disabled at %s: %s.', webhook_outbox.time_words(p_endpoint.disabled_at),
                       p_endpoint.disabled_reason);
  END IF;
  IF p_status.state IN ('pending', 'retrying') THEN
    v_sealed := webhook_outbox.sealed_problem(p_endpoint.endpoint_id);
    IF v_sealed IS NOT NULL THEN
      RETURN NEXT format('  Nothing is sent to the endpoint: its %s. It goes on by itself within a minute after that is mended.',
                         v_sealed);
    END IF;
  END IF;
  RETURN QUERY
    SELECT format('  %s by %s at %s.', CASE o.action WHEN 'discard' THEN 'Discarded' WHEN 'cancel' THEN 'Cancelled'
                                                     ELSE 'Sent again' END, o.by_whom, webhook_outbox.time_words(o.at))
    FROM (SELECT a.* FROM webhook_outbox.operator_action a
          WHERE a.event_id = p_status.event_id AND (a.endpoint_id = p_status.endpoint_id OR (a.endpoint_id IS NULL AND p_status.state = 'cancelled'))
          ORDER BY a.action_id DESC LIMIT 5) o
    ORDER BY o.action_id;
  IF p_status.state IN ('pending', 'retrying') AND NOT p_endpoint.enabled THEN
    SELECT format('was paused by %s at %s', a.by_whom, webhook_outbox.time_words(a.at)) INTO v_paused
    FROM webhook_outbox.operator_action a
    WHERE a.endpoint_id = p_endpoint.endpoint_id AND a.action = 'pause' AND p_endpoint.disabled_at IS NULL
    ORDER BY a.action_id DESC LIMIT 1;
    RETURN NEXT format('  The endpoint %s: SELECT webhook_outbox.resume_endpoint(%L) lets it go on.',
                       coalesce(v_paused, 'is paused'), p_endpoint.name);
  ELSIF p_status.state IN ('dead', 'cancelled') AND p_endpoint.endpoint_id IS NOT NULL
        AND p_status.created_at IS NOT NULL THEN
    RETURN NEXT format('  SELECT webhook_outbox.redeliver(%L, %L) sends it again.', p_status.event_id, p_endpoint.name);
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_prospect(webhook_outbox.delivery_status, webhook_outbox.endpoint) IS
  'what explain_event says of one delivery further: what is in its way, who did what, and what can be done';

CREATE FUNCTION webhook_outbox.explain_not_owed(p_event webhook_outbox.event, p_endpoint webhook_outbox.endpoint)
  RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_why text := CASE
    WHEN p_event.endpoint_id IS NULL AND p_endpoint.tenant IS NOT NULL
         AND p_event.tenant IS DISTINCT FROM p_endpoint.tenant THEN
      format('it takes only events of tenant "%s"', p_endpoint.tenant)
    WHEN p_event.endpoint_id IS NULL AND NOT webhook_outbox.type_matches(p_endpoint.event_types, p_event.type) THEN
      format('its event_types %s do not match "%s"', p_endpoint.event_types, p_event.type) END;
BEGIN
  IF v_why IS NOT NULL THEN
    RETURN NEXT format('Endpoint "%s" does not get it: %s.', p_endpoint.name, v_why);
    RETURN;
  END IF;
  RETURN NEXT format('Endpoint "%s" matches, but %s.', p_endpoint.name, CASE
    WHEN p_endpoint.created_at > p_event.created_at THEN
      format('was created later, at %s', webhook_outbox.time_words(p_endpoint.created_at))
    ELSE
      format('no attempt is known: it was changed since, at %s, or attempt_retention is over',
             webhook_outbox.time_words(p_endpoint.updated_at)) END);
  IF p_event.endpoint_id IS NULL THEN
    RETURN NEXT format('  SELECT webhook_outbox.replay(%L, since => %L, until => %L) sends it.', p_endpoint.name,
                       p_event.created_at, p_event.created_at + interval '1 microsecond');
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_not_owed(webhook_outbox.event, webhook_outbox.endpoint) IS
  'what explain_event says of an endpoint without a delivery';

CREATE FUNCTION webhook_outbox.explain_lines(event_id uuid, OUT line text, OUT answer_of bigint) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_event      webhook_outbox.event;
  v_status     webhook_outbox.delivery_status;
  v_endpoint   webhook_outbox.endpoint;
  v_lines      integer := 0;
BEGIN
  -- what a query made of an operation_id or an order that it did not find
  IF event_id IS NULL THEN
    line := 'There is no such event: its id is NULL.';
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT e.* INTO v_event FROM webhook_outbox.event e WHERE e.id = explain_lines.event_id;
  IF FOUND THEN
    line := format('Event %s: %s%s%s.', v_event.id, v_event.type,
                   ', tenant "' || v_event.tenant || '"', ', source "' || v_event.source || '"');
    RETURN NEXT;
    line := format('It was inserted at %s%s.', webhook_outbox.time_words(v_event.created_at),
                   CASE WHEN v_event.endpoint_id IS NOT NULL THEN ', for one endpoint alone' END);
    RETURN NEXT;
  ELSE
    RETURN QUERY SELECT m, NULL::bigint FROM webhook_outbox.explain_missing(explain_lines.event_id) m;
  END IF;
  IF v_event.xid = pg_current_xact_id_if_assigned() THEN
    line := 'It is sent when this transaction commits: the transaction is the only thing missing.';
    RETURN NEXT;
  END IF;

  -- what holds up all of them comes first
  IF EXISTS (SELECT FROM webhook_outbox.delivery_status d
             WHERE d.event_id = explain_lines.event_id AND d.state IN ('pending', 'retrying')) THEN
    RETURN QUERY SELECT w, NULL::bigint FROM webhook_outbox.explain_workers() w WHERE w IS NOT NULL;
  END IF;
  FOR v_status IN
    SELECT d.* FROM webhook_outbox.delivery_status d
    WHERE d.event_id = explain_lines.event_id ORDER BY d.endpoint_name, d.endpoint_id
  LOOP
    SELECT p.* INTO v_endpoint FROM webhook_outbox.endpoint p WHERE p.endpoint_id = v_status.endpoint_id;
    RETURN QUERY SELECT d, NULL::bigint FROM webhook_outbox.explain_delivery(v_status, v_endpoint) d;
    IF v_status.attempts > 0 THEN
      RETURN QUERY SELECT NULL, v_status.endpoint_id;
    END IF;
    RETURN QUERY SELECT p, NULL::bigint FROM webhook_outbox.explain_prospect(v_status, v_endpoint) p;
    v_lines := v_lines + 1;
  END LOOP;
  -- of an endpoint that was deleted a discarded dead letter may have been all there was
  FOR line IN
    SELECT format('Endpoint "%s", deleted since: given up; the dead letter was discarded by %s at %s.', o.endpoint_name,
                  o.by_whom, webhook_outbox.time_words(o.at))
    FROM webhook_outbox.operator_action o
    WHERE o.event_id = explain_lines.event_id AND o.action = 'discard'
      AND NOT EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = o.endpoint_id)
      AND NOT EXISTS (SELECT FROM webhook_outbox.delivery_status d
                      WHERE d.event_id = o.event_id AND d.endpoint_id = o.endpoint_id)
    ORDER BY o.action_id LIMIT 20
  LOOP
    RETURN NEXT;
    v_lines := v_lines + 1;
  END LOOP;
  IF v_lines = 0 AND v_event.id IS NOT NULL THEN
    line := CASE WHEN EXISTS (SELECT FROM webhook_outbox.endpoint) THEN 'It is owed to no endpoint.'
                 ELSE 'There is no endpoint that it could go to: webhook_outbox.create_endpoint() makes one.' END;
    RETURN NEXT;
  END IF;

  v_lines := 0;
  FOR v_endpoint IN
    SELECT p.* FROM webhook_outbox.endpoint p
    WHERE v_event.id IS NOT NULL AND p.endpoint_id = coalesce(v_event.endpoint_id, p.endpoint_id)
      AND NOT EXISTS (SELECT FROM webhook_outbox.delivery_status d
                      WHERE d.event_id = explain_lines.event_id AND d.endpoint_id = p.endpoint_id)
    ORDER BY p.name
  LOOP
    v_lines := v_lines + 1;
    IF v_lines <= 20 THEN
      RETURN QUERY SELECT n, NULL::bigint FROM webhook_outbox.explain_not_owed(v_event, v_endpoint) n;
    END IF;
  END LOOP;
  IF v_lines > 20 THEN
    line := format('Nor is it owed to %s more endpoints.', v_lines - 20);
    RETURN NEXT;
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_lines(uuid) IS
  'what explain_event says; where a line is NULL, it says what the endpoint answer_of answered, to those who may know';

-- It runs as whoever calls it: who may not read what receivers answered is not shown it.

CREATE FUNCTION webhook_outbox.explain_event(event_id uuid) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_may_read boolean := (SELECT bool_and(has_column_privilege('webhook_outbox.' || c.t, c.c, 'SELECT'))
                         FROM (VALUES ('attempt', 'event_id'), ('attempt', 'endpoint_id'), ('attempt', 'number'),
                                      ('attempt', 'response'), ('dead_letter', 'event_id'), ('dead_letter', 'endpoint_id'),
                                      ('dead_letter', 'last_response')) c (t, c));
  v          record;
  v_answer   text;
BEGIN
  FOR v IN SELECT l.line, l.answer_of FROM webhook_outbox.explain_lines(explain_event.event_id) l LOOP
    IF v.answer_of IS NULL THEN
      RETURN NEXT v.line;
    ELSIF v_may_read THEN
      -- a dead letter is kept longer than its attempts
      v_answer := coalesce(
        (SELECT a.response FROM webhook_outbox.attempt a
         WHERE a.event_id = explain_event.event_id AND a.endpoint_id = v.answer_of ORDER BY a.number DESC LIMIT 1),
        (SELECT l.last_response FROM webhook_outbox.dead_letter l
         WHERE l.event_id = explain_event.event_id AND l.endpoint_id = v.answer_of));
      v_answer := btrim(regexp_replace(left(v_answer, 1000), '[[:space:]]+', ' ', 'g'));
      IF v_answer <> '' THEN
        RETURN NEXT '  The receiver said: '
          || CASE WHEN char_length(v_answer) > 200 THEN left(v_answer, 200) || '...' ELSE v_answer END;
      END IF;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION webhook_outbox.explain_event(uuid) IS
  'says in sentences where an event stands: who gets it, who does not and why, what was tried, what happens next and when; '
  'and how an answer began, to those who may read attempt and dead_letter with their responses. Needs EXECUTE on explain_lines() too';

CREATE FUNCTION webhook_outbox.render(
  event_id uuid,
  endpoint text) RETURNS TABLE (method text, url text, headers jsonb, body text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint webhook_outbox.endpoint := webhook_outbox.find_endpoint(render.endpoint);
  v_secrets  text[];
BEGIN
  PERFORM webhook_outbox.check_event_exists(render.event_id);
  SELECT array_agg(s.secret ORDER BY s.secret_id DESC) INTO v_secrets
  FROM webhook_outbox.endpoint_secret s
  WHERE s.endpoint_id = v_endpoint.endpoint_id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp());
  RETURN QUERY
    SELECT r.method, r.url, r.headers, r.body
    FROM webhook_outbox.event e
    CROSS JOIN LATERAL webhook_outbox.render_request(
      v_endpoint.url, v_endpoint.body_format,
      (SELECT h.headers FROM webhook_outbox.endpoint_header h WHERE h.endpoint_id = v_endpoint.endpoint_id),
      coalesce(v_secrets, '{}'), e.id, e.type, e.created_at, e.tenant, e.source, e.headers, e.payload, clock_timestamp(),
      v_endpoint.endpoint_id) r
    WHERE e.id = render.event_id;
END
$$;
COMMENT ON FUNCTION webhook_outbox.render(uuid, text) IS
  'the exact request, headers and signature included, that an attempt made now would send; nothing is sent. '
  'It shows what authorizes a request, so it is for the owner of the extension alone.';

