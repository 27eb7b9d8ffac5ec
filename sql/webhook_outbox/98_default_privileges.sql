-- ALTER DEFAULT PRIVILEGES of whoever creates the extension gives others what it makes: secrets to all who are to read tables,
-- or TRIGGER, by which they would become the owner. Taken back here, last; and so is CREATE on the schema, for a function
-- there could win over ours. What PUBLIC has is in 90_grants.sql. An update that makes objects runs this again.

DO $$
DECLARE
  v_command text;
BEGIN
  FOR v_command IN
    SELECT pg_catalog.format('REVOKE %s ON %s %s FROM %s', o.what, o.kind, o.name,
                             pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(r.rolname), ', '))
    FROM (
      SELECT 'ALL' AS what, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
             c.oid::pg_catalog.regclass::text AS name, c.relowner AS owner, c.relacl AS acl
      FROM pg_catalog.pg_class c
      WHERE c.relnamespace = 'webhook_outbox'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
      UNION ALL
      SELECT 'ALL', 'ROUTINE', p.oid::pg_catalog.regprocedure::text, p.proowner, p.proacl FROM pg_catalog.pg_proc p
      WHERE p.pronamespace = 'webhook_outbox'::pg_catalog.regnamespace
      UNION ALL
      SELECT 'CREATE', 'SCHEMA', 'webhook_outbox', n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'webhook_outbox') o,
    LATERAL pg_catalog.aclexplode(o.acl) x
    JOIN pg_catalog.pg_roles r ON r.oid = x.grantee
    WHERE x.grantee <> o.owner AND (o.what = 'ALL' OR x.privilege_type = o.what)
    GROUP BY o.what, o.kind, o.name
  LOOP
    EXECUTE v_command;
  END LOOP;
  REVOKE CREATE ON SCHEMA webhook_outbox FROM PUBLIC;
END
$$;
