-- Sending again, cancelling, discarding. Plain transactions: a function deletes dead letters and leaves commands for the
-- dispatcher, which carries them out after the commit; a rollback takes all of it back. They run as the owner: GRANT
-- EXECUTE on one is all that a role needs to use it. Those that take many dead letters lock them in the order of the primary
-- key first, whatever plan finds them: two at once wait for each other, and neither fails with a deadlock.

CREATE FUNCTION webhook_outbox.check_filters(
  type text, since timestamptz, until timestamptz, max_per_second double precision) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF type IS NOT NULL THEN
    PERFORM webhook_outbox.check_event_types(ARRAY[type]);
  END IF;
  IF since >= until THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('since (%s) is not before until (%s)', since, until),
      HINT = 'What is at since or later and before until is taken.';
  END IF;
  IF max_per_second NOT BETWEEN 0.001 AND 1000000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('max_per_second %s is out of range', max_per_second),
      HINT = 'From 0.001 to 1000000; NULL means: as fast as the endpoint takes them.';
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_filters(text, timestamptz, timestamptz, double precision) IS
  'fails unless the filters of redeliver_dead_letters, discard_dead_letters and replay are in range';

CREATE FUNCTION webhook_outbox.check_event_exists(event_id uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF event_id IS NULL OR NOT EXISTS (SELECT FROM webhook_outbox.event e WHERE e.id = check_event_exists.event_id) THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found',
      MESSAGE = format('event %s is not stored', coalesce(event_id::text, 'NULL')),
      HINT = CASE WHEN event_id IS NOT NULL
                  THEN format('SELECT webhook_outbox.explain_event(%L) says why that can be.', event_id)
                  ELSE 'RETURNING id, or webhook_outbox.publish(), gives the id of an event.' END;
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_event_exists(uuid) IS 'fails unless this event is stored';

CREATE FUNCTION webhook_outbox.notice_paused(p_endpoint webhook_outbox.endpoint, p_what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT p_endpoint.enabled THEN
    RAISE NOTICE USING MESSAGE = format('endpoint "%s" is %s, %s', p_endpoint.name,
                                        CASE WHEN p_endpoint.disabled_at IS NULL THEN 'paused' ELSE 'disabled' END, p_what),
      HINT = format('SELECT webhook_outbox.resume_endpoint(%L);', p_endpoint.name);
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.notice_paused(webhook_outbox.endpoint, text) IS
  'says that an endpoint is paused or disabled, if it is, and so what is to be sent to it waits';

-- An event that a dump or logical replication brought a second time has xid 0 there.

CREATE FUNCTION webhook_outbox.event_xid(event_id uuid) RETURNS xid8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT e.xid FROM webhook_outbox.event e WHERE e.id = event_xid.event_id ORDER BY e.xid DESC LIMIT 1;
END;
COMMENT ON FUNCTION webhook_outbox.event_xid(uuid) IS 'the transaction of an event, as a command about it needs to know';

CREATE FUNCTION webhook_outbox.redeliver(event_id uuid, endpoint text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_endpoint    webhook_outbox.endpoint;
  v_endpoint_id bigint;
  v_state       text;
BEGIN
  PERFORM webhook_outbox.require_workers();
  v_endpoint := webhook_outbox.find_endpoint(redeliver.endpoint);
  v_endpoint_id := v_endpoint.endpoint_id;
  PERFORM webhook_outbox.check_event_exists(redeliver.event_id);

  DELETE FROM webhook_outbox.dead_letter l WHERE l.event_id = redeliver.event_id AND l.endpoint_id = v_endpoint_id;
  IF NOT FOUND THEN
    SELECT d.state INTO v_state FROM webhook_outbox.delivery_status d
    WHERE d.event_id = redeliver.event_id AND d.endpoint_id = v_endpoint_id;
    IF v_state IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'no_data_found',
        MESSAGE = format('event %s was never owed to endpoint "%s"', redeliver.event_id, redeliver.endpoint),
        HINT = 'webhook_outbox.explain_event() says why. webhook_outbox.replay() sends an endpoint events from before it existed, '
               'and of types that it does not ask for.';
    ELSIF v_state = 'pending' THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('event %s is still under way to endpoint "%s"', redeliver.event_id, redeliver.endpoint),
        HINT = format('SELECT webhook_outbox.explain_event(%L) says what it waits for.', redeliver.event_id);
    END IF;
  END IF;
  INSERT INTO webhook_outbox.command (kind, event_id, endpoint_id, event_xid, endpoint_name)
    VALUES ('send', redeliver.event_id, v_endpoint_id, webhook_outbox.event_xid(redeliver.event_id), v_endpoint.name);
  PERFORM webhook_outbox.note_action('redeliver', v_endpoint_id, redeliver.endpoint, redeliver.event_id, 1);
  PERFORM webhook_outbox.request_wakeup('commands');
  PERFORM webhook_outbox.notice_paused(v_endpoint, 'the delivery waits');
END
$$;
COMMENT ON FUNCTION webhook_outbox.redeliver(uuid, text) IS
  'sends an event to an endpoint again, from the start of its retry_schedule: a dead letter, a delivery cancelled, waiting '
  'for its next retry, or delivered';

CREATE FUNCTION webhook_outbox.redeliver_dead_letters(
  endpoint       text             DEFAULT NULL,
  type           text             DEFAULT NULL,
  since          timestamptz      DEFAULT NULL,
  until          timestamptz      DEFAULT NULL,
  max_per_second double precision DEFAULT NULL,
  tier           integer          DEFAULT NULL,
  tenant         text             DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint    webhook_outbox.endpoint;
  v_endpoint_id bigint;
  v_now         timestamptz := clock_timestamp();
  v_count       bigint;
  v_left        bigint;
BEGIN
  PERFORM webhook_outbox.require_workers();
  PERFORM webhook_outbox.check_filters(type, since, until, max_per_second);
  IF tier IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_outbox.tier t WHERE t.tier = redeliver_dead_letters.tier) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('tier %s does not exist', tier),
      HINT = (SELECT format('Tiers: %s.', string_agg(format('%s (%s)', t.tier, t.name), ', ' ORDER BY t.tier))
              FROM webhook_outbox.tier t);
  END IF;
  IF endpoint IS NOT NULL THEN
    v_endpoint := webhook_outbox.find_endpoint(endpoint);
    v_endpoint_id := v_endpoint.endpoint_id;
  END IF;

  WITH wanted AS (
    SELECT l.endpoint_id, l.event_id FROM webhook_outbox.dead_letter l
    WHERE (v_endpoint_id IS NULL OR l.endpoint_id = v_endpoint_id)
      AND (redeliver_dead_letters.type IS NULL
           OR webhook_outbox.type_matches(ARRAY[redeliver_dead_letters.type], l.event_type))
      AND (since IS NULL OR l.created_at >= since)
      AND (until IS NULL OR l.created_at < until)
      AND (redeliver_dead_letters.tenant IS NULL OR l.tenant = redeliver_dead_letters.tenant)
      AND EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = l.endpoint_id
                    AND (redeliver_dead_letters.tier IS NULL OR p.tier = redeliver_dead_letters.tier))
      AND EXISTS (SELECT FROM webhook_outbox.event e WHERE e.id = l.event_id)
    ORDER BY l.endpoint_id, l.event_id FOR UPDATE OF l),
  sent AS (
    DELETE FROM webhook_outbox.dead_letter l USING wanted w
    WHERE l.endpoint_id = w.endpoint_id AND l.event_id = w.event_id
    RETURNING l.event_id, l.endpoint_id, l.endpoint_name)
  INSERT INTO webhook_outbox.command (kind, event_id, endpoint_id, due_at, event_xid, endpoint_name)
    SELECT 'send', s.event_id, s.endpoint_id,
           v_now + coalesce((row_number() OVER w - 1) / max_per_second, 0) * interval '1 second',
           (SELECT e.xid FROM webhook_outbox.event e WHERE e.id = s.event_id ORDER BY e.xid DESC LIMIT 1), s.endpoint_name
    FROM sent s WINDOW w AS (ORDER BY s.event_id, s.endpoint_id)
    ORDER BY s.event_id, s.endpoint_id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  PERFORM webhook_outbox.note_action('redeliver', v_endpoint_id, endpoint, NULL, v_count);

  -- not what was given up a moment ago
  SELECT count(*) INTO v_left FROM webhook_outbox.dead_letter l
  WHERE (v_endpoint_id IS NULL OR l.endpoint_id = v_endpoint_id)
    AND (redeliver_dead_letters.type IS NULL
         OR webhook_outbox.type_matches(ARRAY[redeliver_dead_letters.type], l.event_type))
    AND (since IS NULL OR l.created_at >= since)
    AND (until IS NULL OR l.created_at < until)
    AND (redeliver_dead_letters.tenant IS NULL OR l.tenant = redeliver_dead_letters.tenant)
    AND (redeliver_dead_letters.tier IS NULL
         OR EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = l.endpoint_id
                      AND p.tier = redeliver_dead_letters.tier))
    AND NOT (EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = l.endpoint_id)
             AND EXISTS (SELECT FROM webhook_outbox.event e WHERE e.id = l.event_id));
  IF v_left > 0 THEN
    RAISE NOTICE USING MESSAGE = format('not sent again, for the endpoint was deleted or the event is lost: %s', v_left),
      HINT = 'webhook_outbox.discard_dead_letters() removes such dead letters.';
  END IF;
  IF v_count > 0 THEN
    PERFORM webhook_outbox.notice_paused(v_endpoint, 'its deliveries wait');
  END IF;
  PERFORM webhook_outbox.request_wakeup('commands');
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.redeliver_dead_letters(text, text, timestamptz, timestamptz, double precision, integer, text) IS
  'sends dead letters again and returns how many: of an endpoint, of a type (order.created or order.*), given up at since or '
  'later and before until (dead_letter.created_at), at most max_per_second, of the endpoints of a tier, of a tenant; all '
  'filters may be left out';

-- Not redeliver() for each: that would send once more what arrives meanwhile, and begin the schedule anew.

CREATE FUNCTION webhook_outbox.retry_now(endpoint text, max_per_second double precision DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_endpoint webhook_outbox.endpoint;
  v_now      timestamptz := clock_timestamp();
  v_count    bigint;
BEGIN
  PERFORM webhook_outbox.require_workers();
  v_endpoint := webhook_outbox.find_endpoint(endpoint);
  PERFORM webhook_outbox.check_filters(NULL, NULL, NULL, max_per_second);
  INSERT INTO webhook_outbox.command (kind, event_id, endpoint_id, due_at)
    SELECT 'retry', d.event_id, d.endpoint_id,
           v_now + coalesce((row_number() OVER o - 1) / max_per_second, 0) * interval '1 second'
    FROM webhook_outbox.delivery d
    WHERE d.endpoint_id = v_endpoint.endpoint_id AND d.state = 'retrying' AND d.next_attempt_at > v_now
    WINDOW o AS (ORDER BY d.event_id) ORDER BY d.event_id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  PERFORM webhook_outbox.note_action('retry_now', v_endpoint.endpoint_id, v_endpoint.name, NULL, v_count);
  PERFORM webhook_outbox.request_wakeup('commands');
  IF v_count > 0 THEN
    PERFORM webhook_outbox.notice_paused(v_endpoint, 'its deliveries wait');
  END IF;
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.retry_now(text, double precision) IS
  'makes what waits for a retry to an endpoint due now, for a receiver that works again, and returns how many: at most '
  'max_per_second; left out, as fast as max_in_flight and first attempts, which go before retries, allow. What fails again '
  'goes on in its retry_schedule';

CREATE FUNCTION webhook_outbox.discard(event_id uuid, endpoint text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- a deleted endpoint goes by the name that it had
  WITH gone AS (
    DELETE FROM webhook_outbox.dead_letter l
    WHERE l.event_id = discard.event_id
      AND CASE WHEN EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = l.endpoint_id)
               THEN l.endpoint_id = (SELECT p.endpoint_id FROM webhook_outbox.endpoint p WHERE p.name = discard.endpoint)
               ELSE l.endpoint_name = discard.endpoint END
    RETURNING l.event_id, l.endpoint_id, l.endpoint_name)
  INSERT INTO webhook_outbox.operator_action (action, event_id, endpoint_id, endpoint_name)
    SELECT 'discard', g.event_id, g.endpoint_id, g.endpoint_name FROM gone g;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found',
      MESSAGE = format('event %s is no dead letter of endpoint %s', coalesce(event_id::text, 'NULL'),
                       coalesce('"' || endpoint || '"', 'NULL')),
      HINT = CASE WHEN event_id IS NOT NULL
                  THEN format('SELECT webhook_outbox.explain_event(%L) says what became of it.', event_id)
                  ELSE 'The table webhook_outbox.dead_letter lists them.' END;
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.discard(uuid, text) IS
  'removes the dead letter of an event and an endpoint, which may be deleted, for good; fails when there is none';

CREATE FUNCTION webhook_outbox.discard_dead_letters(
  endpoint text        DEFAULT NULL,
  type     text        DEFAULT NULL,
  since    timestamptz DEFAULT NULL,
  until    timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_ids   bigint[];
  v_count bigint;
BEGIN
  PERFORM webhook_outbox.check_filters(type, since, until, NULL);
  IF endpoint IS NOT NULL THEN
    -- a deleted endpoint goes by the name that it had
    SELECT array_agg(l.endpoint_id) INTO v_ids FROM webhook_outbox.dead_letter l
    WHERE l.endpoint_name = discard_dead_letters.endpoint
      AND NOT EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = l.endpoint_id);
    v_ids := v_ids || (SELECT p.endpoint_id FROM webhook_outbox.endpoint p WHERE p.name = discard_dead_letters.endpoint);
    IF v_ids IS NULL OR v_ids = '{NULL}' THEN
      PERFORM webhook_outbox.find_endpoint(endpoint);
    END IF;
  END IF;
  WITH unwanted AS (
    SELECT l.endpoint_id, l.event_id FROM webhook_outbox.dead_letter l
    WHERE (endpoint IS NULL OR l.endpoint_id = ANY (v_ids))
      AND (discard_dead_letters.type IS NULL
           OR webhook_outbox.type_matches(ARRAY[discard_dead_letters.type], l.event_type))
      AND (since IS NULL OR l.created_at >= since)
      AND (until IS NULL OR l.created_at < until)
    ORDER BY l.endpoint_id, l.event_id FOR UPDATE),
  gone AS (
    DELETE FROM webhook_outbox.dead_letter l USING unwanted u
    WHERE l.endpoint_id = u.endpoint_id AND l.event_id = u.event_id
    RETURNING l.event_id, l.endpoint_id, l.endpoint_name)
  INSERT INTO webhook_outbox.operator_action (action, event_id, endpoint_id, endpoint_name)
    SELECT 'discard', g.event_id, g.endpoint_id, g.endpoint_name FROM gone g;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.discard_dead_letters(text, text, timestamptz, timestamptz) IS
  'removes dead letters for good and returns how many: of an endpoint (which may be deleted), of a type (order.created or '
  'order.*), given up at since or later and before until (dead_letter.created_at); all filters may be left out';

-- The smallest UUIDv7 of a time. Ids never run behind the clock that created_at is read from, so it bounds a search from
-- below; after the clock was set back they run ahead of it, so there is no such bound from above.

CREATE FUNCTION webhook_outbox.first_id_of(at timestamptz) RETURNS uuid
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT rpad(lpad(to_hex(floor(extract(epoch FROM least(greatest(at, '1970-01-01 UTC'), '9999-01-01 UTC')) * 1000)::bigint),
                   12, '0'), 32, '0')::uuid;
$$;
COMMENT ON FUNCTION webhook_outbox.first_id_of(timestamptz) IS 'no event inserted at this time or later has a smaller id';

CREATE FUNCTION webhook_outbox.replay(
  endpoint       text,
  since          timestamptz,
  until          timestamptz      DEFAULT NULL,
  event_types    text[]           DEFAULT NULL,
  max_per_second double precision DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_endpoint webhook_outbox.endpoint;
  v_types    text[];
  v_from     uuid;
  v_now      timestamptz := clock_timestamp();
  v_count    bigint;
BEGIN
  PERFORM webhook_outbox.require_workers();
  v_endpoint := webhook_outbox.find_endpoint(endpoint);
  v_types := coalesce(event_types, v_endpoint.event_types);
  PERFORM webhook_outbox.check_event_types(v_types);
  IF since IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'since must not be null',
      HINT = '''-infinity'' means: all events that are still stored.';
  END IF;
  PERFORM webhook_outbox.check_filters(NULL, since, coalesce(until, 'infinity'), max_per_second);
  v_from := webhook_outbox.first_id_of(since - interval '1 second');

  WITH wanted AS MATERIALIZED (
    SELECT DISTINCT ON (e.id) e.id, e.xid FROM webhook_outbox.event e
    WHERE e.id >= v_from AND e.created_at >= since AND e.created_at < coalesce(until, 'infinity')
      AND e.endpoint_id IS NULL
      AND (v_endpoint.tenant IS NULL OR e.tenant = v_endpoint.tenant)
      AND webhook_outbox.type_matches(v_types, e.type)
      -- what is on its way already goes once
      AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = e.id
                        AND d.endpoint_id = v_endpoint.endpoint_id AND d.state <> 'cancelled')
      AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = e.id
                        AND c.endpoint_id = v_endpoint.endpoint_id AND c.kind = 'send')
    ORDER BY e.id, e.xid DESC),
  dead AS (
    SELECT l.event_id FROM wanted w
    JOIN webhook_outbox.dead_letter l ON l.event_id = w.id AND l.endpoint_id = v_endpoint.endpoint_id
    ORDER BY l.event_id FOR UPDATE OF l),
  revived AS (
    DELETE FROM webhook_outbox.dead_letter l USING dead d
    WHERE l.event_id = d.event_id AND l.endpoint_id = v_endpoint.endpoint_id)
  INSERT INTO webhook_outbox.command (kind, event_id, endpoint_id, origin, due_at, event_xid, endpoint_name)
    SELECT 'send', w.id, v_endpoint.endpoint_id, 'replay',
           v_now + coalesce((row_number() OVER o - 1) / max_per_second, 0) * interval '1 second', w.xid,
           v_endpoint.name
    FROM wanted w WINDOW o AS (ORDER BY w.id) ORDER BY w.id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  PERFORM webhook_outbox.note_action('replay', v_endpoint.endpoint_id, v_endpoint.name, NULL, v_count);
  PERFORM webhook_outbox.request_wakeup('commands');
  IF v_count > 0 THEN
    PERFORM webhook_outbox.notice_paused(v_endpoint, 'its deliveries wait');
  END IF;
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.replay(text, timestamptz, timestamptz, text[], double precision) IS
  'sends stored events to an endpoint again, or for the first time, and returns how many: those created at since or later '
  'and before until (left out: all since) whose type and tenant match; event_types => narrows or widens the endpoint''s own';

CREATE FUNCTION webhook_outbox.cancel(event_id uuid, endpoint text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_endpoint_id bigint;
  v_count       bigint;
BEGIN
  PERFORM webhook_outbox.require_workers();
  PERFORM webhook_outbox.check_event_exists(cancel.event_id);
  IF endpoint IS NOT NULL THEN
    v_endpoint_id := (webhook_outbox.find_endpoint(cancel.endpoint)).endpoint_id;
  END IF;
  SELECT count(*) INTO v_count FROM webhook_outbox.delivery_status d
  WHERE d.event_id = cancel.event_id AND d.state IN ('pending', 'retrying')
    AND (v_endpoint_id IS NULL OR d.endpoint_id = v_endpoint_id);
  IF v_count > 0 THEN
    INSERT INTO webhook_outbox.command (kind, event_id, endpoint_id, event_xid)
      VALUES ('cancel', cancel.event_id, v_endpoint_id, webhook_outbox.event_xid(cancel.event_id));
    PERFORM webhook_outbox.note_action('cancel', v_endpoint_id, cancel.endpoint, cancel.event_id, v_count);
    PERFORM webhook_outbox.request_wakeup('commands');
  END IF;
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.cancel(uuid, text) IS
  'stops the deliveries of an event, to one endpoint or to all, that are pending or wait for a retry, and returns how many; '
  'a request already under way can still arrive';

CREATE FUNCTION webhook_outbox.send_test(endpoint text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_endpoint webhook_outbox.endpoint;
  v_id       uuid;
BEGIN
  PERFORM webhook_outbox.require_workers();
  v_endpoint := webhook_outbox.find_endpoint(endpoint);
  INSERT INTO webhook_outbox.event (type, tenant, endpoint_id, payload)
    VALUES ('webhook_outbox.test', v_endpoint.tenant, v_endpoint.endpoint_id,
            json_build_object('message', 'This is a test of webhook_outbox.', 'endpoint', v_endpoint.name))
    RETURNING id INTO v_id;
  PERFORM webhook_outbox.notice_paused(v_endpoint, 'the test waits');
  RETURN v_id;
END
$$;
COMMENT ON FUNCTION webhook_outbox.send_test(text) IS
  'sends a webhook_outbox.test event to an endpoint alone, whatever its event_types, and returns its id';

