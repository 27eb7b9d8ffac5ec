-- grant_publisher and grant_operator: bad input, what revoke takes back, and publishers that are limited to tenants.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION webhook_outbox;
CREATE ROLE regress_wo_app;
CREATE ROLE regress_wo_acme;
CREATE ROLE regress_wo_beta;
CREATE ROLE regress_wo_deputy IN ROLE regress_wo_acme, regress_wo_beta;
CREATE ROLE regress_wo_super SUPERUSER;
CREATE ROLE regress_wo_admin;

-- Bad input
SELECT webhook_outbox.grant_publisher('regress_wo_nobody');
SELECT webhook_outbox.grant_publisher(NULL);
SELECT webhook_outbox.grant_publisher('public');
SELECT webhook_outbox.grant_publisher('regress_wo_super');
SELECT webhook_outbox.grant_publisher('regress_wo_app', '');
SELECT webhook_outbox.grant_publisher('regress_wo_app', repeat('a', 256));
SELECT webhook_outbox.revoke_publisher('regress_wo_nobody');
SELECT webhook_outbox.grant_operator('regress_wo_nobody');
SELECT webhook_outbox.grant_operator(NULL);
SELECT webhook_outbox.grant_operator('regress_wo_super');
SELECT webhook_outbox.revoke_operator(NULL);
-- a role that was granted before it became a superuser
SELECT webhook_outbox.revoke_operator('regress_wo_super');
DO $$ BEGIN EXECUTE format('GRANT %I TO regress_wo_admin', current_user); END $$;
DO $$
BEGIN
  PERFORM webhook_outbox.grant_operator('regress_wo_admin');
EXCEPTION WHEN invalid_grant_operation THEN
  RAISE WARNING '%', replace(SQLERRM, current_user, '(the owner)');
END
$$;

-- Granted twice, taken back twice: nothing is left. Who is both keeps what the other grant gives, once it is given again.
CREATE TEMP VIEW granted AS
  SELECT x.grantee::regrole AS role, c.oid::regclass::text AS object, x.privilege_type AS privilege
  FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid,
  LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) x
  WHERE c.relnamespace = 'webhook_outbox'::regnamespace
UNION ALL
  SELECT x.grantee::regrole, p.oid::regprocedure::text, x.privilege_type FROM pg_proc p, aclexplode(p.proacl) x
  WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND x.grantee <> 0
UNION ALL
  SELECT x.grantee::regrole, n.nspname, x.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) x
  WHERE n.nspname = 'webhook_outbox' AND x.grantee <> 0;
SELECT webhook_outbox.grant_operator('regress_wo_app'), webhook_outbox.grant_operator('regress_wo_app'),
       webhook_outbox.grant_publisher('regress_wo_app', 'acme'), webhook_outbox.grant_publisher('regress_wo_app');
SELECT count(*) > 100 AS granted FROM granted WHERE role = 'regress_wo_app'::regrole;
SELECT webhook_outbox.revoke_operator('regress_wo_app'), webhook_outbox.grant_publisher('regress_wo_app');
SELECT DISTINCT object, privilege FROM granted WHERE role = 'regress_wo_app'::regrole ORDER BY 1, 2;
SELECT webhook_outbox.revoke_publisher('regress_wo_app'), webhook_outbox.revoke_publisher('regress_wo_app'),
       webhook_outbox.revoke_operator('regress_wo_app');
SELECT * FROM granted WHERE role = 'regress_wo_app'::regrole;

-- Limited to tenants
SELECT webhook_outbox.grant_publisher('regress_wo_app'), webhook_outbox.grant_publisher('regress_wo_acme', 'acme'),
       webhook_outbox.grant_publisher('regress_wo_beta', 'beta');
SELECT * FROM webhook_outbox.publisher_tenant ORDER BY 1, 2;
SET ROLE regress_wo_acme;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'acme') IS NOT NULL AS published;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'beta');
SELECT webhook_outbox.publish('a.b', '1');
SELECT webhook_outbox.publish('a.b', '1', tenant => 'acme', operation_id => 'first') = webhook_outbox.find_operation('acme', 'first') AS same;
INSERT INTO webhook_outbox.event (type, payload, tenant) VALUES ('a.b', '1', 'acme'), ('a.b', '2', 'ACME');
INSERT INTO webhook_outbox.event (type, payload) VALUES ('a.b', '1');
COPY webhook_outbox.event (type, payload, tenant) FROM stdin;
a.b	1	acme
a.b	2	beta
\.
COPY webhook_outbox.event (type, payload, tenant) FROM stdin;
a.b	1	acme
\.
PREPARE for_tenant AS INSERT INTO webhook_outbox.event (type, payload, tenant) VALUES ('a.b', '1', $1);
EXECUTE for_tenant('acme');
EXECUTE for_tenant('beta');
-- nor learn which operations others have
SELECT webhook_outbox.find_operation('beta', 'first');
SELECT webhook_outbox.find_operation(NULL, 'first');
-- nor see or change its limit
SELECT tenant FROM webhook_outbox.publisher_tenant;
SELECT role FROM webhook_outbox.publisher_tenant;
DELETE FROM webhook_outbox.publisher_tenant;
-- in the same session: others have their own limit, or none
SET ROLE regress_wo_app;
SELECT webhook_outbox.publish('a.b', '1') IS NOT NULL AS published;
SET ROLE regress_wo_deputy;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'beta') IS NOT NULL AS published;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'gamma');
RESET ROLE;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'gamma') IS NOT NULL AS published;

-- With a tenant, whoever had no limit has one, and that is told; not to whom is new, or has one already, be it by inheritance.
CREATE ROLE regress_wo_heir IN ROLE regress_wo_app;
SET client_min_messages = notice;
BEGIN;
SELECT webhook_outbox.grant_publisher('regress_wo_heir', tenant => 'acme');
SELECT webhook_outbox.grant_publisher('regress_wo_app', tenant => 'a"b');
SELECT webhook_outbox.grant_publisher('regress_wo_app', tenant => 'beta'), webhook_outbox.grant_publisher('regress_wo_deputy', tenant => 'beta');
SELECT webhook_outbox.revoke_publisher('regress_wo_app'), webhook_outbox.grant_publisher('regress_wo_app', tenant => 'acme');
ROLLBACK;
SET client_min_messages = warning;
DROP ROLE regress_wo_heir;

-- A change holds at once, in a transaction too, and is gone with a rollback.
BEGIN;
SELECT webhook_outbox.grant_publisher('regress_wo_acme', 'gamma');
SET LOCAL ROLE regress_wo_acme;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'gamma') IS NOT NULL AS published;
ROLLBACK;
SET ROLE regress_wo_acme;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'gamma');
RESET ROLE;
DELETE FROM webhook_outbox.publisher_tenant WHERE role = 'regress_wo_acme';
SET ROLE regress_wo_acme;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'acme');
RESET ROLE;
INSERT INTO webhook_outbox.publisher_tenant VALUES ('regress_wo_acme', 'acme');
SET ROLE regress_wo_deputy;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'acme') IS NOT NULL AS published;
RESET ROLE;
REVOKE regress_wo_beta FROM regress_wo_deputy;
SET ROLE regress_wo_deputy;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'beta');
RESET ROLE;
-- a transaction that began before, and sees its own time
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM webhook_outbox.publisher_tenant;
ALTER ROLE regress_wo_acme RENAME TO regress_wo_acme2;
SET LOCAL ROLE regress_wo_acme2;
SELECT webhook_outbox.publish('a.b', '1', tenant => 'acme');
ROLLBACK;

-- Ways around: a view or a rule of a limited role lends its privilege to others
CREATE SCHEMA regress_wo_lent AUTHORIZATION regress_wo_acme;
SET ROLE regress_wo_acme;
CREATE VIEW regress_wo_lent.event AS SELECT e.type, e.payload, e.tenant FROM webhook_outbox.event e;
CREATE TABLE regress_wo_lent.inbox (type text, tenant text);
CREATE RULE lend AS ON INSERT TO regress_wo_lent.inbox DO INSTEAD
  INSERT INTO webhook_outbox.event (type, payload, tenant) VALUES (NEW.type, '1', NEW.tenant);
CREATE FUNCTION regress_wo_lent.publish(p_tenant text) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS $$
  SELECT webhook_outbox.publish('a.b', '1', tenant => p_tenant);
$$;
-- the mark of a limited role is good for nothing
CREATE TABLE regress_wo_lent.pins (role name REFERENCES webhook_outbox.publisher_tenant (role));
GRANT USAGE ON SCHEMA regress_wo_lent TO PUBLIC;
GRANT INSERT ON regress_wo_lent.event, regress_wo_lent.inbox TO PUBLIC;
RESET ROLE;
CREATE ROLE regress_wo_friend;
SET ROLE regress_wo_friend;
INSERT INTO regress_wo_lent.event VALUES ('a.b', '1', 'beta');
INSERT INTO regress_wo_lent.inbox VALUES ('a.b', 'beta');
SELECT regress_wo_lent.publish('beta');
SELECT regress_wo_lent.publish('acme') IS NOT NULL AS published;
SET ROLE regress_wo_acme;
INSERT INTO regress_wo_lent.event VALUES ('a.b', '1', 'beta');
INSERT INTO regress_wo_lent.inbox VALUES ('a.b', 'acme');
RESET ROLE;
-- ALL on everything is no limit, and no way out of one
GRANT ALL ON ALL TABLES IN SCHEMA webhook_outbox TO regress_wo_app, regress_wo_beta;
SET ROLE regress_wo_app;
INSERT INTO webhook_outbox.event (type, payload, tenant) VALUES ('a.b', '1', 'gamma');
SET ROLE regress_wo_beta;
INSERT INTO webhook_outbox.event (type, payload, tenant) VALUES ('a.b', '1', 'gamma');
INSERT INTO webhook_outbox.event (type, payload, tenant, id, xid) VALUES ('a.b', '1', 'gamma', gen_random_uuid(), '3');
RESET ROLE;

-- Granted without a tenant there is no limit. A role that is dropped leaves nothing to one of the same name.
SELECT webhook_outbox.grant_publisher('regress_wo_acme');
SET ROLE regress_wo_acme;
SELECT webhook_outbox.publish('a.b', '1') IS NOT NULL AS published;
RESET ROLE;
DROP OWNED BY regress_wo_beta;
DROP ROLE regress_wo_beta;
CREATE ROLE regress_wo_beta;
SELECT webhook_outbox.grant_publisher('regress_wo_beta', 'gamma'), webhook_outbox.grant_publisher('regress_wo_beta', 'delta');
SELECT * FROM webhook_outbox.publisher_tenant ORDER BY 1, 2;
SELECT webhook_outbox.revoke_publisher('regress_wo_beta'), webhook_outbox.revoke_publisher('regress_wo_acme');
SELECT * FROM webhook_outbox.publisher_tenant;
-- with nobody limited a view lends as it always does
GRANT INSERT (type, payload, tenant) ON webhook_outbox.event TO regress_wo_acme;
SET ROLE regress_wo_friend;
INSERT INTO regress_wo_lent.event VALUES ('a.b', '1', 'beta');
RESET ROLE;
DROP EXTENSION webhook_outbox CASCADE;
DROP OWNED BY regress_wo_app, regress_wo_acme, regress_wo_beta, regress_wo_deputy, regress_wo_friend, regress_wo_admin;
DROP ROLE regress_wo_app, regress_wo_acme, regress_wo_beta, regress_wo_deputy, regress_wo_friend, regress_wo_admin, regress_wo_super;
