-- complain if this file is run by psql and not by CREATE EXTENSION
\echo Use "CREATE EXTENSION webhook_outbox" to load this file. \quit

-- A schema that someone else made beforehand could hold traps (functions that win over ours, a later DROP).
DO $$
DECLARE
  v_owner  text;
  v_object text;
BEGIN
  SELECT r.rolname INTO v_owner
  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
  WHERE n.nspname = 'webhook_outbox' AND r.rolname <> CURRENT_USER AND NOT r.rolsuper;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.format('schema "webhook_outbox" belongs to role "%s"', v_owner),
      HINT = 'Drop or rename that schema, or run ALTER SCHEMA webhook_outbox OWNER TO CURRENT_USER first.';
  END IF;
  -- functions, operators that are written without a schema, ...: whatever lies in it
  SELECT r.rolname, pg_catalog.pg_describe_object(d.classid, d.objid, 0) INTO v_owner, v_object
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_namespace n ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.oid = d.refobjid
  JOIN pg_catalog.pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
  JOIN pg_catalog.pg_database b ON b.oid = s.dbid AND b.datname = pg_catalog.current_database()
  JOIN pg_catalog.pg_roles r ON s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.oid = s.refobjid
  WHERE n.nspname = 'webhook_outbox' AND r.rolname <> CURRENT_USER AND NOT r.rolsuper
  ORDER BY d.objid LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.format('schema "webhook_outbox" has %s, which belongs to role "%s"', v_object, v_owner),
      HINT = 'Drop it, and whatever else that role has left there: the extension would call it as its own.';
  END IF;
END
$$;

