-- Roles that may write, or read, every table there is: they do not run code as the owner of the extension by that.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = error;
CREATE EXTENSION webhook_outbox;
CREATE ROLE regress_wo_etl IN ROLE pg_write_all_data, pg_read_all_data;
CREATE SCHEMA regress_wo_etl AUTHORIZATION regress_wo_etl;
SET ROLE regress_wo_etl;
CREATE FUNCTION regress_wo_etl.step() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  RAISE WARNING 'a step that runs with the rights of a superuser: %', current_setting('is_superuser');
  RETURN 0;
END $$;
UPDATE webhook_outbox.maintenance_step SET function = 'regress_wo_etl.step()' WHERE step = 'samples';
INSERT INTO webhook_outbox.maintenance_step (step, position, function) VALUES ('mine', 1, 'regress_wo_etl.step()');
RESET ROLE;
SELECT m.step, m.rows, replace(m.error, current_user, '(the owner)') AS error FROM webhook_outbox.maintain() m
WHERE m.step IN ('samples', 'mine') ORDER BY 1;
-- one that was replaced by the one who wrote it, after it was let in
CREATE FUNCTION public.regress_wo_step() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
UPDATE webhook_outbox.maintenance_step SET function = 'public.regress_wo_step()' WHERE step = 'mine';
SELECT m.step, m.rows, m.error FROM webhook_outbox.maintain('mine') m;
ALTER FUNCTION public.regress_wo_step() OWNER TO regress_wo_etl;
SELECT m.step, m.rows, replace(m.error, current_user, '(the owner)') AS error FROM webhook_outbox.maintain('mine') m;
-- the claim of an operation_id and what a publisher may set hold for them as well
SET ROLE regress_wo_etl;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('webhook_outbox.test', '1');
INSERT INTO webhook_outbox.event (type, payload, slot) VALUES ('order.created', '1', 8);
RESET ROLE;
-- nor rows that no code expects: what they number would be looked for beyond the end of an array
SET ROLE regress_wo_etl;
UPDATE webhook_outbox.ring_leaf SET slot = 8 WHERE slot = 7;
UPDATE webhook_outbox.ring_leaf SET turn = -1;
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state, schedule_step)
  VALUES (1, gen_random_uuid(), now(), 'retrying', -1);
INSERT INTO webhook_outbox.delivery (endpoint_id, event_id, next_attempt_at, state, attempts)
  VALUES (1, gen_random_uuid(), now(), 'retrying', -1);
INSERT INTO webhook_outbox.endpoint_change (endpoint_id, name, is_deleted) VALUES (1, 'nobody', true);
RESET ROLE;
-- who may call the trigger function of event has it read no columns of other types, on a table of his own
GRANT EXECUTE ON FUNCTION webhook_outbox.event_before_insert() TO regress_wo_etl;
SET ROLE regress_wo_etl;
CREATE TABLE regress_wo_etl.event (LIKE webhook_outbox.event INCLUDING DEFAULTS);
CREATE TRIGGER mine BEFORE INSERT ON regress_wo_etl.event FOR EACH ROW EXECUTE FUNCTION webhook_outbox.event_before_insert();
INSERT INTO regress_wo_etl.event (type, payload) VALUES ('order.created', '{}');
ALTER TABLE regress_wo_etl.event ALTER type TYPE bigint USING 0, ALTER payload TYPE bigint USING 0;
INSERT INTO regress_wo_etl.event (type, payload) VALUES (12345, 67890);
RESET ROLE;
CREATE TABLE webhook_outbox.regress_wo_event (id bigint, created_at bigint, xid bigint, endpoint_id bigint,
  slot smallint DEFAULT webhook_outbox.current_slot(), type bigint, tenant bigint, source bigint, operation_id bigint,
  headers bigint, payload bigint);
CREATE TRIGGER mine BEFORE INSERT ON webhook_outbox.regress_wo_event FOR EACH ROW
  EXECUTE FUNCTION webhook_outbox.event_before_insert();
INSERT INTO webhook_outbox.regress_wo_event (type, payload) VALUES (12345, 67890);
DROP TABLE webhook_outbox.regress_wo_event, regress_wo_etl.event;
-- what a table has is kept as it is: the workers rely on it
ALTER TABLE webhook_outbox.event ALTER payload TYPE jsonb;
ALTER TABLE webhook_outbox.event ALTER headers TYPE json;
ALTER TABLE webhook_outbox.attempt ALTER wait_ms TYPE numeric;
ALTER TABLE webhook_outbox.operation DROP created_at;
ALTER TABLE webhook_outbox.event ADD note text, ADD noted_at timestamptz DEFAULT now();
ALTER TABLE webhook_outbox.event DROP note, ALTER noted_at TYPE date;
SELECT c.relname AS not_kept FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attname <> 'noted_at' AND NOT a.attisdropped
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                  WHERE w.ev_class = 'webhook_outbox.fixed_layout'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum);
SELECT * FROM webhook_outbox.fixed_layout;
SELECT problem FROM webhook_outbox.foreign_object;
-- what the workers work as: it can put no code of its own where the owner of the extension runs it
CREATE ROLE regress_wo_clerk;
CREATE SCHEMA regress_wo_clerk AUTHORIZATION regress_wo_clerk;
SELECT webhook_outbox.grant_worker('regress_wo_clerk');
SET ROLE regress_wo_clerk;
CREATE FUNCTION regress_wo_clerk.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TABLE regress_wo_clerk.mine (endpoint_id bigint, name text);
CREATE TRIGGER trap BEFORE UPDATE ON webhook_outbox.endpoint FOR EACH ROW EXECUTE FUNCTION regress_wo_clerk.trap();
CREATE TRIGGER trap AFTER DELETE ON regress_wo_clerk.mine FOR EACH ROW EXECUTE FUNCTION webhook_outbox.endpoint_after_update();
SELECT count(*) FROM webhook_outbox.endpoint_secret;
RESET ROLE;
SELECT string_agg(DISTINCT x.privilege_type, ' ' ORDER BY x.privilege_type) AS privileges
FROM pg_class c, aclexplode(c.relacl) x
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND x.grantee = 'regress_wo_clerk'::regrole;
SELECT count(*) AS trigger_functions FROM pg_proc p
WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND p.prorettype = 'trigger'::regtype
  AND has_function_privilege('regress_wo_clerk', p.oid, 'EXECUTE');
SELECT webhook_outbox.revoke_worker('regress_wo_clerk');
SELECT has_schema_privilege('regress_wo_clerk', 'webhook_outbox', 'USAGE') AS usage;
SELECT webhook_outbox.grant_worker(NULL);
DROP EXTENSION webhook_outbox;
DROP FUNCTION public.regress_wo_step();
DROP SCHEMA regress_wo_etl, regress_wo_clerk CASCADE;
DROP ROLE regress_wo_etl, regress_wo_clerk;
