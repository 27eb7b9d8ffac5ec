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
      HINT = 'Drop or rename that schema first.';
  END IF;
  -- What somebody puts there while this runs no look finds. With a schema that is made here ALTER DEFAULT PRIVILEGES may have
  -- given the right, but nobody sees that schema yet, and 98_default_privileges.sql takes it back.
  SELECT coalesce(pg_catalog.format('role "%s"', r.rolname), 'everybody') INTO v_owner
  FROM pg_catalog.pg_namespace n
  CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) x
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.grantee
  WHERE n.nspname = 'webhook_outbox' AND x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner
    AND r.rolname IS DISTINCT FROM CURRENT_USER AND r.rolsuper IS NOT TRUE AND pg_catalog.age(n.xmin) > 0
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = pg_catalog.format('%s may create objects in schema "webhook_outbox"', v_owner),
      HINT = 'Drop or rename that schema first: the extension makes one of its own.';
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

