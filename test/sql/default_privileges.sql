-- Who gets what the creator of the extension makes elsewhere (ALTER DEFAULT PRIVILEGES) gets nothing of the extension.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS webhook_outbox;
CREATE ROLE regress_wo_reader;
CREATE ROLE "regress_wo ""Reader""";
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_wo_reader, "regress_wo ""Reader""", PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_wo_reader, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "regress_wo ""Reader""";
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_wo_reader;
ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO regress_wo_reader;
CREATE EXTENSION webhook_outbox;
SELECT c.relname, x.grantee::regrole, x.privilege_type FROM pg_class c, aclexplode(c.relacl) x
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND x.grantee <> c.relowner
UNION ALL
SELECT p.proname, x.grantee::regrole, x.privilege_type FROM pg_proc p, aclexplode(p.proacl) x
WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND x.grantee NOT IN (p.proowner, 0)
UNION ALL
SELECT n.nspname, x.grantee::regrole, x.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) x
WHERE n.nspname = 'webhook_outbox' AND x.grantee <> n.nspowner AND x.privilege_type = 'CREATE';
SELECT webhook_outbox.grant_publisher('regress_wo_reader');
SET ROLE regress_wo_reader;
SELECT webhook_outbox.publish('order.created', '1') IS NOT NULL AS published;
SELECT secret FROM webhook_outbox.endpoint_secret;
SELECT webhook_outbox.rotate_secret('billing');
RESET ROLE;
DROP EXTENSION webhook_outbox;
DROP SCHEMA webhook_outbox;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC;
DROP OWNED BY regress_wo_reader, "regress_wo ""Reader""";
DROP ROLE regress_wo_reader, "regress_wo ""Reader""";
SELECT count(*) AS left FROM pg_default_acl;
