-- grant_monitor: a fresh role can read every view that is for monitors, and nothing else.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
CREATE ROLE regress_wo_monitor;
CREATE ROLE regress_wo_app;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/?key=hidden-key', tier => 1,
  headers => '{"Authorization": "hidden-token"}');
SELECT webhook_outbox.publish('order.created', '{"a": "hidden-payload"}') IS NOT NULL AS published;
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, slot, started_at, outcome, error, response)
  SELECT e.id, p.endpoint_id, 1, 0, now(), 'http_error', 'HTTP 503', 'hidden-response'
  FROM webhook_outbox.event e, webhook_outbox.endpoint p;
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, reason, attempts, last_response, created_at)
  SELECT p.endpoint_id, e.id, p.name, e.type, 'attempts_exhausted', 1, 'hidden-response', now()
  FROM webhook_outbox.event e, webhook_outbox.endpoint p;

-- Bad input
SELECT webhook_outbox.grant_monitor('regress_wo_nobody');
SELECT webhook_outbox.grant_monitor(NULL);
SELECT webhook_outbox.grant_monitor('public');
SELECT webhook_outbox.revoke_monitor('regress_wo_nobody');
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_app;
GRANT EXECUTE ON FUNCTION webhook_outbox.grant_monitor, webhook_outbox.check_grantee TO regress_wo_app;
SET ROLE regress_wo_app;
SELECT webhook_outbox.grant_monitor('regress_wo_app');
RESET ROLE;
REVOKE ALL ON FUNCTION webhook_outbox.grant_monitor, webhook_outbox.check_grantee FROM regress_wo_app;

-- What a role can read, and what of that shows something that it must not see.
CREATE FUNCTION pg_temp.looks(OUT object text, OUT result text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
  v_columns text;
  v_rows    text;
BEGIN
  FOR object IN
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind IN ('r', 'v', 'p') ORDER BY 1
  LOOP
    v_columns := (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                  WHERE a.attrelid = object::regclass AND a.attnum > 0 AND NOT a.attisdropped
                    AND has_column_privilege(object::regclass, a.attnum, 'SELECT'));
    CONTINUE WHEN v_columns IS NULL;
    BEGIN
      EXECUTE format('SELECT string_agg(r::text, chr(10)) FROM (SELECT %s FROM %s) r', v_columns, object) INTO v_rows;
      result := CASE WHEN v_rows ~ 'hidden-|whsec_' THEN 'shows too much' ELSE 'ok' END;
    EXCEPTION WHEN OTHERS THEN
      result := SQLERRM;
    END;
    RETURN NEXT;
  END LOOP;
END
$$;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_monitor;
SET ROLE regress_wo_monitor;
SELECT count(*) AS readable FROM pg_temp.looks();
RESET ROLE;
REVOKE USAGE ON SCHEMA webhook_outbox FROM regress_wo_monitor;

SELECT webhook_outbox.grant_monitor('regress_wo_monitor');
SELECT webhook_outbox.grant_monitor('regress_wo_monitor');
-- the console shows answers of receivers to those who may read them
SELECT webhook_outbox.console() ~ 'hidden-response' AS owner_sees_responses, webhook_outbox.console() ~ 'hidden-(key|token|payload)' AS more;
SET ROLE regress_wo_monitor;
SELECT webhook_outbox.console() ~ 'order.created' AS has_dead_letter, webhook_outbox.console() ~ 'hidden-' AS monitor_sees_responses;
RESET ROLE;
CREATE TEMP TABLE listed AS SELECT * FROM webhook_outbox.monitor_privilege;
GRANT SELECT ON listed TO regress_wo_monitor;
SET ROLE regress_wo_monitor;
-- all that is granted can be read, to the last row
SELECT l.object, l.result FROM pg_temp.looks() l WHERE l.result <> 'ok';
SELECT l.object AS readable_but_not_listed FROM pg_temp.looks() l WHERE l.object NOT IN (SELECT g.object FROM listed g);
SELECT g.object AS listed_but_not_readable FROM listed g WHERE g.kind <> 'function' AND g.object NOT IN (SELECT l.object FROM pg_temp.looks() l);
-- views that are not for monitors
SELECT c.oid::regclass AS not_readable FROM pg_class c
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind = 'v' AND NOT has_table_privilege(c.oid, 'SELECT') ORDER BY 1;
-- columns that are, where not all are
SELECT c.oid::regclass AS relation, string_agg(a.attname, ', ' ORDER BY a.attnum) FILTER (WHERE m.may) AS shown,
       string_agg(a.attname, ', ' ORDER BY a.attnum) FILTER (WHERE NOT m.may) AS hidden
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
LATERAL (SELECT has_column_privilege(c.oid, a.attnum, 'SELECT') AS may) m
WHERE c.oid::regclass::text IN (SELECT g.object FROM listed g)
GROUP BY c.oid HAVING NOT bool_and(m.may) ORDER BY c.oid::regclass::text;
SELECT url FROM webhook_outbox.endpoint;
SELECT payload FROM webhook_outbox.event;
SELECT secret FROM webhook_outbox.endpoint_secret;
SELECT response FROM webhook_outbox.attempt;
SELECT last_response FROM webhook_outbox.dead_letter;
-- it changes nothing
SELECT c.oid::regclass AS writable FROM pg_class c
WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND c.relkind IN ('r', 'v', 'p')
  AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
       OR has_any_column_privilege(c.oid, 'INSERT, UPDATE, REFERENCES'));
SELECT p.oid::regprocedure AS may_call FROM pg_proc p
WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE')
  AND p.provolatile = 'v' ORDER BY p.oid::regprocedure::text;
SELECT webhook_outbox.redeliver_dead_letters();
SELECT webhook_outbox.grant_monitor('regress_wo_monitor');
-- what is called
SELECT webhook_outbox.prometheus_metrics() ~ 'webhook_outbox_dead_letters\{tier="1"\} 1' AS metrics;
SELECT count(*) > 0 AS compared FROM webhook_outbox.compare_periods(tstzrange(now() - interval '2 h', now() - interval '1 h'),
  tstzrange(now() - interval '1 h', now()));
RESET ROLE;

-- Taken back: as it was. A role that publishes too still can.
SELECT webhook_outbox.revoke_monitor('regress_wo_monitor');
SELECT has_schema_privilege('regress_wo_monitor', 'webhook_outbox', 'USAGE') AS usage;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_monitor;
SET ROLE regress_wo_monitor;
SELECT count(*) AS readable FROM pg_temp.looks();
RESET ROLE;
GRANT INSERT (type, payload) ON webhook_outbox.event TO regress_wo_app;
SELECT webhook_outbox.grant_monitor('regress_wo_app'), webhook_outbox.revoke_monitor('regress_wo_app');
SET ROLE regress_wo_app;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '1');
RESET ROLE;
DROP EXTENSION webhook_outbox;
DROP OWNED BY regress_wo_monitor, regress_wo_app;
DROP ROLE regress_wo_monitor, regress_wo_app;
