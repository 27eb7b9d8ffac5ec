-- Where somebody publishes these tables by logical replication (FOR ALL TABLES takes them along), or receives them on a
-- server that has the extension too. What comes there is another server's to deliver: its events are stored as seen (see
-- event_before_insert), its claim makes a copy of the database, and what would harm the log of this one is refused.

CREATE FUNCTION webhook_outbox.refuse_replication() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- a session that loads a dump with session_replication_role = replica is welcome
  IF webhook_outbox.process_kind() = 'replication' THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('%s by logical replication on webhook_outbox.%s is not allowed', TG_OP, TG_TABLE_NAME),
      HINT = 'To a server that has the extension too, publish no table of it but webhook_outbox.event, and that '
             'WITH (publish = ''insert''). ALTER SUBSCRIPTION ... SKIP passes over a transaction.';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.refuse_replication() IS
  'trigger: refuses what logical replication would do to a table that is true of this server alone';
REVOKE ALL ON FUNCTION webhook_outbox.refuse_replication() FROM PUBLIC;

CREATE FUNCTION webhook_outbox.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_who text := webhook_outbox.process_kind();
BEGIN
  -- The dispatcher empties leaves itself. Each server does: those of a subscriber hold its own events too.
  IF v_who = 'dispatcher' THEN
    RETURN NULL;
  ELSIF v_who = 'replication' THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('TRUNCATE by logical replication on webhook_outbox.%s is not allowed', TG_TABLE_NAME),
      HINT = 'To a server that has the extension too, publish no table of it but webhook_outbox.event, and that '
             'WITH (publish = ''insert''). ALTER SUBSCRIPTION ... SKIP passes over a transaction.';
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = format('TRUNCATE on webhook_outbox.%s is not allowed', TG_TABLE_NAME),
    HINT = 'What is settled goes away by itself, see webhook_outbox.event_retention and webhook_outbox.attempt_retention.';
END
$$;
COMMENT ON FUNCTION webhook_outbox.refuse_truncate() IS 'trigger: nobody empties a leaf of a ring but the dispatcher';
REVOKE ALL ON FUNCTION webhook_outbox.refuse_truncate() FROM PUBLIC;

DO $$
DECLARE
  v_table regclass;
BEGIN
  -- Without an identity of its rows a table that is published cannot be updated, and the dispatcher would fail. It costs
  -- WAL only with wal_level = logical.
  FOR v_table IN
    SELECT c.oid FROM pg_catalog.pg_class c
    WHERE c.relnamespace = 'webhook_outbox'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY FULL', v_table);
  END LOOP;

  FOR v_table IN
    SELECT i.inhrelid FROM pg_catalog.pg_inherits i
    WHERE i.inhparent IN ('webhook_outbox.event'::pg_catalog.regclass, 'webhook_outbox.attempt'::pg_catalog.regclass)
  LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT '
                              'EXECUTE FUNCTION webhook_outbox.refuse_truncate()', v_table);
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_truncate', v_table);
  END LOOP;

  -- How far the log is read, and what is to be sent.
  FOREACH v_table IN ARRAY '{webhook_outbox.cursor,webhook_outbox.ring_leaf,webhook_outbox.open_rollup,
                             webhook_outbox.delivery,webhook_outbox.command,webhook_outbox.endpoint_change}'::regclass[]
  LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER refuse_replication BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
                              'EXECUTE FUNCTION webhook_outbox.refuse_replication()', v_table);
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE REPLICA TRIGGER refuse_replication', v_table);
  END LOOP;
END
$$;
