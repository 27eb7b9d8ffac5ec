-- complain if this file is run by psql and not by CREATE EXTENSION
\echo Use "CREATE EXTENSION webhook_outbox" to load this file. \quit

-- A schema that someone else made beforehand could hold traps (functions that win over ours, a later DROP).
DO $$
DECLARE
  v_owner    text;
  v_function pg_catalog.regprocedure;
BEGIN
  SELECT r.rolname INTO v_owner
  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
  WHERE n.nspname = 'webhook_outbox' AND r.rolname <> CURRENT_USER AND NOT r.rolsuper;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.format('schema "webhook_outbox" belongs to role "%s"', v_owner),
      HINT = 'Drop or rename that schema, or run ALTER SCHEMA webhook_outbox OWNER TO CURRENT_USER first.';
  END IF;
  SELECT r.rolname, p.oid::pg_catalog.regprocedure INTO v_owner, v_function
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
  WHERE n.nspname = 'webhook_outbox' AND r.rolname <> CURRENT_USER AND NOT r.rolsuper
  ORDER BY p.oid LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.format('schema "webhook_outbox" has function %s, which belongs to role "%s"', v_function, v_owner),
      HINT = 'Drop it, and whatever else that role has left there: the extension would call it as its own.';
  END IF;
END
$$;

