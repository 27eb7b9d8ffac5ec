-- A copy of a database sends nothing until somebody says that it should.

CREATE FUNCTION webhook_outbox.is_copy() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT count(*) <> 1
         OR bool_or((c.system_identifier, c.database_id, c.instance_id) IS DISTINCT FROM
                    (s.system_identifier, d.oid, coalesce(current_setting('webhook_outbox.instance_id', true), '')))
         OR bool_or(c.recovered_timeline < webhook_outbox.recovered_timeline())
  FROM webhook_outbox.claim c, pg_control_system() s, pg_database d
  WHERE d.datname = current_database();
END;
COMMENT ON FUNCTION webhook_outbox.is_copy() IS
  'whether this database is a copy of one that delivers, and has to call nobody: as the dispatcher judges it (claim.c)';
REVOKE ALL ON FUNCTION webhook_outbox.is_copy() FROM PUBLIC;

CREATE FUNCTION webhook_outbox.resume_delivery() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  v_count bigint;
BEGIN
  PERFORM webhook_outbox.require_workers();
  LOCK TABLE webhook_outbox.claim IN SHARE ROW EXCLUSIVE MODE;
  IF NOT webhook_outbox.is_copy() THEN
    RETURN 0;
  END IF;

  -- Of a dump's events that were not settled nothing is recorded. Their xid is 0: the dispatcher reads them no more.
  INSERT INTO webhook_outbox.command (kind, event_id, endpoint_id, origin, endpoint_name)
    SELECT DISTINCT 'send', e.id, p.endpoint_id, 'replay', p.name
    FROM webhook_outbox.event e
    JOIN webhook_outbox.endpoint p
      ON CASE WHEN e.endpoint_id IS NOT NULL THEN p.endpoint_id = e.endpoint_id
              ELSE (p.tenant IS NULL OR p.tenant = e.tenant) AND webhook_outbox.type_matches(p.event_types, e.type)
               AND p.created_at <= e.created_at END
    WHERE e.xid = '0'
      AND NOT EXISTS (SELECT FROM webhook_outbox.attempt a WHERE a.event_id = e.id AND a.endpoint_id = p.endpoint_id)
      AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = e.id AND d.endpoint_id = p.endpoint_id)
      AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter l WHERE l.event_id = e.id AND l.endpoint_id = p.endpoint_id)
      AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = e.id AND c.endpoint_id = p.endpoint_id);
  GET DIAGNOSTICS v_count = ROW_COUNT;

  -- A dump brings commands with the xids of another cluster.
  UPDATE webhook_outbox.command c SET event_xid = coalesce(webhook_outbox.event_xid(c.event_id), '0')
  WHERE c.event_xid <> '0';

  -- A dump brings its claim besides the one that was here, and attempts that are in its rollups. Where the files were
  -- copied, what is not in a rollup is still what open_rollup says.
  IF (SELECT count(*) > 1 FROM webhook_outbox.claim) THEN
    UPDATE webhook_outbox.open_rollup o
      SET since_xid = pg_current_xact_id(), since_at = clock_timestamp(), turn = l.turn, slot = l.slot,
          first_tid = format('(%s,1)', greatest(pg_relation_size(format('webhook_outbox.attempt_%s', l.slot)::regclass)
                                                / current_setting('block_size')::bigint - 1, 0))::tid,
          written_to = NULL, next_xid = NULL, next_at = NULL, next_turn = NULL, next_slot = NULL, next_tid = NULL
    FROM webhook_outbox.ring_leaf l
    WHERE l.ring = 'attempt' AND l.turn = (SELECT max(m.turn) FROM webhook_outbox.ring_leaf m WHERE m.ring = 'attempt');
  END IF;

  DELETE FROM webhook_outbox.claim;
  INSERT INTO webhook_outbox.claim
    SELECT s.system_identifier, d.oid FROM pg_control_system() s, pg_database d WHERE d.datname = current_database();
  PERFORM webhook_outbox.note_action('resume_delivery', NULL, NULL, NULL, nullif(v_count, 0));
  PERFORM webhook_outbox.request_wakeup('endpoints');
  PERFORM webhook_outbox.request_wakeup('commands');
  RETURN v_count;
END
$$;
COMMENT ON FUNCTION webhook_outbox.resume_delivery() IS
  'makes a copy of a database (restored, recovered to an earlier time, cloned, upgraded) deliver, instead of its source; returns how many deliveries of '
  'restored events were not begun when the copy was made. Deliveries that its source makes meanwhile are made twice';
