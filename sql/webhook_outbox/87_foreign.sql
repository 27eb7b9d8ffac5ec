-- What others have put on the extension's tables. A trigger, a rule, a policy, an expression that calls a function: all of
-- it would run as the owner of the extension whenever a worker writes there, or hide rows from it. The workers refuse to
-- work on such tables (src/guard.c), and so does maintain().
--
-- A trigger is the extension's own if its function is, and if it was declared to depend on the extension, which takes the
-- owner of the table: 99_start.sql does that for all there are, and so must the script of an update for new ones.

CREATE VIEW webhook_outbox.foreign_object AS
  WITH relation AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relname, format('%I.%I', n.nspname, c.relname) AS name, c.relispartition,
           c.relrowsecurity OR c.relforcerowsecurity AS has_row_security
    FROM pg_extension x
    JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'
                     AND d.classid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p', 'v')
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE x.extname = 'webhook_outbox'),
  -- what hangs on a table and can call functions
  attached AS (
    SELECT r.oid AS relation, 'pg_trigger'::regclass AS class, t.oid AS object, 'trigger' AS kind, t.tgname AS name,
           format('DROP TRIGGER %I ON %s', t.tgname, r.name) AS remedy,
           NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
                       WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'x'
                         AND d.refclassid = 'pg_extension'::regclass AND x.extname = 'webhook_outbox') AS is_foreign
    FROM relation r
    JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal AND t.tgparentid = 0
  UNION ALL
    SELECT r.oid, 'pg_constraint', k.oid, 'constraint', k.conname,
           format('ALTER TABLE %s DROP CONSTRAINT %I', r.name, k.conname), false
    FROM relation r
    JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype IN ('c', 'f', 'x')
  UNION ALL
    SELECT r.oid, 'pg_attrdef', f.oid, 'default', a.attname,
           CASE a.attgenerated WHEN '' THEN format('ALTER TABLE %s ALTER %I DROP DEFAULT', r.name, a.attname)
                               ELSE format('ALTER TABLE %s DROP %I', r.name, a.attname) END, false
    FROM relation r
    JOIN pg_attrdef f ON f.adrelid = r.oid
    JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  UNION ALL
    SELECT r.oid, 'pg_class', i.indexrelid, 'index', c.relname, format('DROP INDEX webhook_outbox.%I', c.relname), false
    FROM relation r
    JOIN pg_index i ON i.indrelid = r.oid
    JOIN pg_class c ON c.oid = i.indexrelid
  UNION ALL
    SELECT r.oid, 'pg_class', r.oid, 'column type', NULL,
           format('ALTER TABLE %s DROP the column, or give it a type of pg_catalog', r.name), false
    FROM relation r
    WHERE r.relkind <> 'v'),
  -- Nothing depends on what initdb made: what is used and is not the extension's is somebody else's.
  used AS MATERIALIZED (
    SELECT a.relation, a.object, a.kind, min(pg_describe_object(d.refclassid, d.refobjid, 0)) AS name
    FROM attached a
    JOIN pg_depend d ON d.classid = a.class AND d.objid = a.object AND (a.kind <> 'column type' OR d.objsubid > 0)
    LEFT JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
    LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
    WHERE (d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass,
                            'pg_am'::regclass)
           OR t.typrelid = 0 AND t.typelem = 0
           OR c.relkind IN ('r', 'p', 'f', 'v', 'm'))
      AND NOT EXISTS (SELECT FROM pg_depend m
                      WHERE m.classid = d.refclassid AND m.objid = d.refobjid AND m.deptype = 'e'
                        AND m.refclassid = 'pg_extension'::regclass
                        AND m.refobjid = (SELECT x.oid FROM pg_extension x WHERE x.extname = 'webhook_outbox'))
    GROUP BY 1, 2, 3),
  found AS MATERIALIZED (
    SELECT a.relation, a.kind, a.name, u.name AS uses, a.remedy
    FROM attached a
    LEFT JOIN used u USING (relation, object, kind)
    WHERE a.is_foreign OR u.name IS NOT NULL
  UNION ALL
    SELECT r.oid, 'rule', w.rulename, NULL, format('DROP RULE %I ON %s', w.rulename, r.name)
    FROM relation r
    JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
  UNION ALL
    SELECT r.oid, 'policy', p.polname, NULL, format('DROP POLICY %I ON %s', p.polname, r.name)
    FROM relation r
    JOIN pg_policy p ON p.polrelid = r.oid
  UNION ALL
    SELECT r.oid, 'row security', NULL, NULL,
           format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', r.name)
    FROM relation r
    WHERE r.has_row_security
  UNION ALL
    SELECT r.oid, 'child table', c.relname, NULL,
           CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION %s', r.name, c.oid::regclass)
                ELSE format('ALTER TABLE %s NO INHERIT %s', c.oid::regclass, r.name) END
    FROM relation r
    JOIN pg_inherits i ON i.inhparent = r.oid
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE NOT EXISTS (SELECT FROM relation o WHERE o.oid = c.oid)
  UNION ALL
    -- With a row that a worker deletes go those that point to it: their triggers would run, or hold it up. To an endpoint, its
    -- tier and dead letters, which people delete, anybody's table may point.
    SELECT r.oid, 'foreign key', k.conname, pg_describe_object('pg_class'::regclass, k.conrelid, 0),
           format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname)
    FROM relation r
    JOIN pg_constraint k ON k.confrelid = r.oid AND k.contype = 'f' AND k.conparentid = 0
    WHERE r.relname NOT IN ('endpoint', 'tier', 'dead_letter')
      AND NOT EXISTS (SELECT FROM relation o WHERE o.oid = k.conrelid)
  UNION ALL
    SELECT r.oid, 'detached leaf', NULL, NULL,
           format('ALTER TABLE webhook_outbox.%s ATTACH PARTITION %s FOR VALUES IN (%s)', l.part[1], r.name,
                  replace(l.part[2], 'kept', '8'))
    FROM relation r, regexp_match(r.relname, '^(event|attempt)_([0-7]|kept)$') l (part)
    WHERE l.part IS NOT NULL AND NOT r.relispartition)
  SELECT f.relation::regclass AS relation, f.kind, f.name::text AS name, f.uses, f.remedy,
         CASE r.relkind WHEN 'v' THEN 'view ' ELSE 'table ' END || r.name || CASE f.kind
           WHEN 'row security' THEN ' has row level security'
           WHEN 'detached leaf' THEN ' has left its ring'
           WHEN 'foreign key' THEN format(' has a foreign key "%s" that is not the extension''s: rows of %s point to it',
                                          f.name, f.uses)
           ELSE format(' has %s %s%s that is not the extension''s', CASE f.kind WHEN 'index' THEN 'an' ELSE 'a' END, f.kind,
                       ' "' || f.name || '"') END
           || CASE WHEN f.kind <> 'foreign key' THEN coalesce(': it uses ' || f.uses, '') ELSE '' END AS problem
  FROM found f
  JOIN relation r ON r.oid = f.relation;
COMMENT ON VIEW webhook_outbox.foreign_object IS
  'what others have put on the extension''s tables and views that runs with a write or changes what is read; while there is any, '
  'nothing is delivered';
COMMENT ON COLUMN webhook_outbox.foreign_object.relation IS 'the table or view';
COMMENT ON COLUMN webhook_outbox.foreign_object.kind IS
  'trigger, rule, policy, row security, constraint, default, index, column type, child table, foreign key (of another table, to '
  'this one) or detached leaf';
COMMENT ON COLUMN webhook_outbox.foreign_object.name IS 'its name, for a default that of the column; NULL: it has none';
COMMENT ON COLUMN webhook_outbox.foreign_object.uses IS
  'a function, operator, type or table that it needs and that is neither PostgreSQL''s nor the extension''s; NULL: none';
COMMENT ON COLUMN webhook_outbox.foreign_object.remedy IS 'the command that undoes it';
COMMENT ON COLUMN webhook_outbox.foreign_object.problem IS 'all that in a sentence, as worker_status and the log have it';

CREATE FUNCTION webhook_outbox.refuse_foreign_objects() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_found record;
BEGIN
  SELECT f.problem, f.remedy INTO v_found FROM webhook_outbox.foreign_object f ORDER BY f.relation::text, f.kind, f.name LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = v_found.problem,
      HINT = format('%s; all there is of that: SELECT * FROM webhook_outbox.foreign_object.', v_found.remedy);
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.refuse_foreign_objects() IS
  'fails if foreign_object has a row: what runs as the owner of the extension calls it before it touches tables';
