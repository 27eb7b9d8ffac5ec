-- Who may do what: each kind of role with each table, view and function, and what they try in vain.
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE EXTENSION webhook_outbox;
CREATE ROLE regress_wo_none;
CREATE ROLE regress_wo_publisher;
CREATE ROLE regress_wo_monitor;
CREATE ROLE regress_wo_operator;
SELECT webhook_outbox.grant_publisher('regress_wo_publisher'), webhook_outbox.grant_monitor('regress_wo_monitor'),
       webhook_outbox.grant_operator('regress_wo_operator');

-- The matrix. S, I, U, D: SELECT, INSERT, UPDATE, DELETE; small letters: of some columns, which the second list has. Other
-- privileges are spelt out: there should be none.
CREATE TEMP VIEW role AS
  SELECT r.oid, replace(r.rolname, 'regress_wo_', '') AS name FROM pg_roles r WHERE r.rolname LIKE 'regress\_wo\_%';
CREATE TEMP VIEW relation AS
  SELECT c.oid, c.relname AS name FROM pg_class c
  WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm', 'f');
CREATE FUNCTION pg_temp.letters(p_role oid, p_relation oid) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(string_agg(CASE WHEN has_table_privilege(p_role, p_relation, v.p) THEN v.l
                                  WHEN v.p NOT IN ('DELETE', 'TRUNCATE', 'TRIGGER')
                                       AND has_any_column_privilege(p_role, p_relation, v.p) THEN lower(v.l) END, '' ORDER BY v.n), '')
  FROM (VALUES (1, 'SELECT', 'S'), (2, 'INSERT', 'I'), (3, 'UPDATE', 'U'), (4, 'DELETE', 'D'), (5, 'TRUNCATE', ' TRUNCATE'),
               (6, 'REFERENCES', ' REFERENCES'), (7, 'TRIGGER', ' TRIGGER')) v (n, p, l);
$$;
SELECT x.* FROM (
  SELECT c.name AS relation,
         max(pg_temp.letters(r.oid, c.oid)) FILTER (WHERE r.name = 'none') AS none,
         max(pg_temp.letters(r.oid, c.oid)) FILTER (WHERE r.name = 'publisher') AS publisher,
         max(pg_temp.letters(r.oid, c.oid)) FILTER (WHERE r.name = 'monitor') AS monitor,
         max(pg_temp.letters(r.oid, c.oid)) FILTER (WHERE r.name = 'operator') AS operator
  FROM relation c, role r GROUP BY c.name) x
WHERE x.none || x.publisher || x.monitor || x.operator <> '' ORDER BY x.relation COLLATE "C";
SELECT c.name AS relation, r.name AS role, p AS privilege, string_agg(a.attname, ' ' ORDER BY a.attnum) AS columns
FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped, role r,
     unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) p
WHERE NOT has_table_privilege(r.oid, c.oid, p) AND has_column_privilege(r.oid, c.oid, a.attnum, p)
GROUP BY 1, 2, 3 ORDER BY c.name COLLATE "C", 2, 3;
SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") AS relations_for_the_owner_alone FROM pg_class c
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm', 'f') AND c.relname !~ '_[0-7]$'
  AND NOT EXISTS (SELECT FROM role r WHERE pg_temp.letters(r.oid, c.oid) <> '');
SELECT p.proname || CASE WHEN p.prokind = 'a' THEN ' (aggregate)' ELSE '' END AS function, string_agg(r.name, ', ' ORDER BY r.name) AS roles
FROM pg_proc p, role r
WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
GROUP BY p.oid ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C";
-- schema, sequences, and what is granted to PUBLIC; a role may hand nothing on
SELECT r.name, has_schema_privilege(r.oid, 'webhook_outbox', 'USAGE') AS usage, has_schema_privilege(r.oid, 'webhook_outbox', 'CREATE') AS make
FROM role r ORDER BY 1;
SELECT c.relname AS sequence, r.name FROM pg_class c, role r
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind = 'S' AND has_sequence_privilege(r.oid, c.oid, 'USAGE, SELECT, UPDATE');
SELECT c.relname, x.privilege_type, x.grantee, x.is_grantable FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid,
LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) x
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND (x.grantee = 0 OR x.is_grantable);

-- What they try
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/', headers => '{"Authorization": "hidden"}');
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{"a": 1}');
CREATE FUNCTION pg_temp.try(p_role text, p_statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE 'SET LOCAL ROLE regress_wo_' || p_role;
  EXECUTE p_statement;
  RESET ROLE;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLERRM;
END
$$;
SELECT t.r AS role, t.s AS statement, pg_temp.try(t.r, t.s) AS result FROM (VALUES
  ('none', $$SELECT webhook_outbox.publish('a.b', '1')$$),
  ('publisher', $$SELECT webhook_outbox.publish('a.b', '1', operation_id => 'a')$$),
  ('publisher', $$SELECT webhook_outbox.publish('a.b', '1', operation_id => 'a')$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload) VALUES ('a.b', '1') RETURNING id$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload) VALUES ('a.b', '1') RETURNING payload$$),
  ('publisher', $$SELECT payload FROM webhook_outbox.event$$),
  ('publisher', $$SELECT payload FROM webhook_outbox.event_0$$),
  ('publisher', $$INSERT INTO webhook_outbox.event_0 (type, payload) VALUES ('a.b', '1')$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload, id) VALUES ('a.b', '1', gen_random_uuid())$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload, xid) VALUES ('a.b', '1', '5')$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload, created_at) VALUES ('a.b', '1', now())$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload, slot) VALUES ('a.b', '1', 0)$$),
  ('publisher', $$INSERT INTO webhook_outbox.event (type, payload, endpoint_id) VALUES ('webhook_outbox.test', '1', 1)$$),
  ('publisher', $$SELECT webhook_outbox.publish('webhook_outbox.test', '1')$$),
  ('publisher', $$DELETE FROM webhook_outbox.event$$),
  ('publisher', $$SELECT webhook_outbox.explain_event(gen_random_uuid())$$),
  ('publisher', $$SELECT name FROM webhook_outbox.endpoint$$),
  ('monitor', $$SELECT webhook_outbox.publish('a.b', '1')$$),
  ('monitor', $$SELECT webhook_outbox.redeliver_dead_letters()$$),
  ('monitor', $$SELECT webhook_outbox.retry_now('billing')$$),
  ('monitor', $$SELECT webhook_outbox.pause_endpoint('billing')$$),
  ('monitor', $$SELECT webhook_outbox.silence_alert('a', 'b', now(), 'c')$$),
  ('monitor', $$UPDATE webhook_outbox.alert_rule SET enabled = false$$),
  ('operator', $$SELECT webhook_outbox.retry_now('billing')$$),
  ('operator', $$SELECT secret FROM webhook_outbox.endpoint_secret$$),
  ('operator', $$DELETE FROM webhook_outbox.endpoint_secret$$),
  ('operator', $$SELECT headers FROM webhook_outbox.endpoint_header$$),
  ('operator', $$SELECT names FROM webhook_outbox.endpoint_header$$),
  ('operator', $$UPDATE webhook_outbox.endpoint_header SET headers = '{}' RETURNING headers$$),
  ('operator', $$UPDATE webhook_outbox.endpoint e SET description = h.headers::text FROM webhook_outbox.endpoint_header h$$),
  ('operator', $$SELECT webhook_outbox.set_headers('billing', '{"X-Key": "hidden"}')$$),
  ('operator', $$SELECT webhook_outbox.reencrypt_secrets()$$),
  ('operator', $$SELECT webhook_outbox.reseal('secret', 1, 'x')$$),
  ('operator', $$SELECT webhook_outbox.sealed_problem(1)$$),
  ('monitor', $$SELECT names FROM webhook_outbox.endpoint_header$$),
  ('operator', $$SELECT * FROM webhook_outbox.render((SELECT min(id::text)::uuid FROM webhook_outbox.event), 'billing')$$),
  ('operator', $$SELECT webhook_outbox.find_endpoint('billing')$$),
  ('operator', $$SELECT webhook_outbox.publish('a.b', '1')$$),
  ('operator', $$UPDATE webhook_outbox.maintenance_step SET "function" = 'evil'$$),
  ('operator', $$INSERT INTO webhook_outbox.command (kind, event_id) VALUES ('cancel', gen_random_uuid())$$),
  ('operator', $$SELECT webhook_outbox.grant_operator('regress_wo_none')$$),
  ('operator', $$SELECT webhook_outbox.change_privilege('regress_wo_none', true, 'table', 'webhook_outbox.endpoint', 'SELECT', NULL)$$)
  ) t (r, s);

DROP EXTENSION webhook_outbox;
DROP OWNED BY regress_wo_none, regress_wo_publisher, regress_wo_monitor, regress_wo_operator;
DROP ROLE regress_wo_none, regress_wo_publisher, regress_wo_monitor, regress_wo_operator;
