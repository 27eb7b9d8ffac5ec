-- What the dispatcher needs as webhook_outbox.role. Not TRIGGER, nor EXECUTE on trigger functions: who has either can have
-- code of his own run as the owner of the extension, by a trigger on a table that SECURITY DEFINER functions write, or by
-- one of their trigger functions on a table of his own, whose columns have types with casts of his own.

CREATE VIEW webhook_outbox.worker_privilege AS
  SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END AS kind, c.oid::regclass::text AS object, v.privilege,
         NULL::text[] AS columns
  FROM pg_class c
  JOIN (VALUES ('SELECT', '{r,p,v}'::"char"[]), ('INSERT', '{r,p}'), ('UPDATE', '{r,p}'), ('DELETE', '{r,p}'),
               -- empties the leaves of the rings
               ('TRUNCATE', '{r,p}')) v (privilege, kinds) ON c.relkind = ANY (v.kinds)
  WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND (v.privilege <> 'TRUNCATE' OR c.relispartition)
UNION ALL
  SELECT 'function', p.oid::regprocedure::text, 'EXECUTE', NULL
  FROM pg_proc p
  WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND p.prorettype <> 'trigger'::regtype;
COMMENT ON VIEW webhook_outbox.worker_privilege IS 'what grant_worker() grants';
COMMENT ON COLUMN webhook_outbox.worker_privilege.kind IS 'view, table or function';
COMMENT ON COLUMN webhook_outbox.worker_privilege.object IS 'its name';
COMMENT ON COLUMN webhook_outbox.worker_privilege.privilege IS 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE or EXECUTE';
COMMENT ON COLUMN webhook_outbox.worker_privilege.columns IS 'NULL: all, or a function';

CREATE FUNCTION webhook_outbox.grant_worker(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'grant_worker');
  PERFORM webhook_outbox.change_privileges(role, true, 'worker_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.grant_worker(name) IS
  'lets a role be webhook_outbox.role: it reads and writes all tables, secrets too (see worker_privilege), and runs no code of its '
  'own as the owner of the extension. Call it again after an update of the extension. grant_worker(''clerk'')';

CREATE FUNCTION webhook_outbox.revoke_worker(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'revoke_worker');
  PERFORM webhook_outbox.change_privileges(role, false, 'worker_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.revoke_worker(name) IS
  'takes back what grant_worker() granted, and USAGE of the schema if the role has nothing else in it';
