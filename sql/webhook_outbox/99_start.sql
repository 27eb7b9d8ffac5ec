-- Triggers that do not depend on the extension are somebody else's, see 87_foreign.sql.
DO $$
DECLARE
  v_trigger record;
BEGIN
  FOR v_trigger IN
    SELECT t.tgname, c.relname
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'webhook_outbox'::pg_catalog.regnamespace AND NOT t.tgisinternal AND t.tgparentid = 0
  LOOP
    EXECUTE pg_catalog.format('ALTER TRIGGER %I ON webhook_outbox.%I DEPENDS ON EXTENSION webhook_outbox',
                              v_trigger.tgname, v_trigger.relname);
  END LOOP;
END
$$;

-- Last: when this commits, the launcher looks which databases have the extension, and starts a dispatcher here.
SELECT webhook_outbox.request_wakeup('extension');
