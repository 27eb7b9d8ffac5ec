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
DROP EXTENSION webhook_outbox;
DROP FUNCTION public.regress_wo_step();
DROP SCHEMA regress_wo_etl CASCADE;
DROP ROLE regress_wo_etl;
