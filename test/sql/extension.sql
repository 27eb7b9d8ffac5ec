-- The extension as a whole: what it is made of, who may do what, what pg_dump takes along.
\set VERBOSITY terse
CREATE EXTENSION webhook_outbox;

-- Every object says what it is for.
SELECT o.identity AS without_comment
FROM pg_depend d,
     LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) o
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'webhook_outbox')
  AND o.type IN ('table', 'view', 'function')
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;
SELECT a.attrelid::regclass || '.' || a.attname AS without_comment
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind IN ('r', 'p', 'v')
  AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
  AND col_description(a.attrelid, a.attnum) IS NULL
ORDER BY 1;

-- Functions that are not in C, or made of such, cannot be led astray by a search_path (a body that was parsed when the
-- function was made knows no search_path).
SELECT p.oid::regprocedure AS without_search_path
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND p.prokind <> 'a' AND l.lanname <> 'c'
  AND p.prosqlbody IS NULL
  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false);

-- PUBLIC gets nothing but functions that look at their arguments alone.
SELECT c.relname, a.privilege_type
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND a.grantee = 0;
SELECT p.oid::regprocedure AS for_everybody
FROM pg_proc p
WHERE p.pronamespace = 'webhook_outbox'::regnamespace
  AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))
ORDER BY p.proname;
SELECT has_schema_privilege('public', 'webhook_outbox', 'USAGE') AS public_has_usage;

-- What pg_dump takes along.
SELECT c.oid::regclass AS dumped, f.condition
FROM pg_extension e,
     unnest(e.extconfig, e.extcondition) AS f(relation, condition)
     JOIN pg_class c ON c.oid = f.relation
WHERE e.extname = 'webhook_outbox'
ORDER BY c.relname COLLATE "C";

-- A tier that is still as it came is replaced when a dump is loaded; others are rows like any.
BEGIN;
INSERT INTO webhook_outbox.tier VALUES (2, 'normal', 99.5, '1 minute');
INSERT INTO webhook_outbox.tier VALUES (4, 'laboratory', 90, '1 day');
SELECT * FROM webhook_outbox.tier ORDER BY tier;
INSERT INTO webhook_outbox.tier VALUES (2, 'again', 99.5, '1 minute');
ROLLBACK;

-- It leaves nothing behind, and can be made again.
DROP EXTENSION webhook_outbox;
SELECT count(*) FROM pg_class WHERE relnamespace = 'webhook_outbox'::regnamespace;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'webhook_outbox'::regnamespace;
CREATE EXTENSION webhook_outbox;
DROP EXTENSION webhook_outbox;

-- A schema of that name that somebody else made could hold traps.
DROP SCHEMA webhook_outbox;
CREATE ROLE regress_wo_other;
CREATE SCHEMA webhook_outbox AUTHORIZATION regress_wo_other;
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
-- This one would be called whenever an endpoint is paused, by the owner of the extension: NULL is a text rather than a uuid.
SET ROLE regress_wo_other;
CREATE FUNCTION webhook_outbox.note_action(text, bigint, text, text, text) RETURNS void LANGUAGE sql AS '';
RESET ROLE;
ALTER SCHEMA webhook_outbox OWNER TO CURRENT_USER;
CREATE EXTENSION webhook_outbox;
DROP FUNCTION webhook_outbox.note_action;
-- This one is nearer to what views and functions ask for than any operator of PostgreSQL; its function lies elsewhere.
CREATE SCHEMA regress_wo_lair AUTHORIZATION regress_wo_other;
GRANT CREATE ON SCHEMA webhook_outbox TO regress_wo_other;
SET ROLE regress_wo_other;
CREATE FUNCTION regress_wo_lair.times(numeric, integer) RETURNS numeric LANGUAGE sql AS 'SELECT 0.0';
CREATE OPERATOR webhook_outbox.* (FUNCTION = regress_wo_lair.times, LEFTARG = numeric, RIGHTARG = integer);
RESET ROLE;
CREATE EXTENSION webhook_outbox;
REVOKE CREATE ON SCHEMA webhook_outbox FROM regress_wo_other;
CREATE EXTENSION webhook_outbox;
DROP OPERATOR webhook_outbox.* (numeric, integer);
CREATE EXTENSION webhook_outbox;
DROP EXTENSION webhook_outbox;
DROP SCHEMA webhook_outbox;
DROP SCHEMA regress_wo_lair CASCADE;
DROP ROLE regress_wo_other;
