-- Planted names. What each role does, first as it is, then with every function and operator of plain types planted before
-- pg_catalog in the search_path, and tables in pg_temp: what runs as the owner of the extension does not look there.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION webhook_outbox;
CREATE ROLE regress_wo_publisher;
CREATE ROLE regress_wo_monitor;
CREATE ROLE regress_wo_operator;
SELECT webhook_outbox.grant_publisher('regress_wo_publisher'), webhook_outbox.grant_monitor('regress_wo_monitor'),
       webhook_outbox.grant_operator('regress_wo_operator');
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/');
SELECT webhook_outbox.publish('order.created', '{"a": 1}') IS NOT NULL AS published;
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, slot, started_at, outcome, error)
  SELECT e.id, p.endpoint_id, 1, 0, now(), 'http_error', 'HTTP 503' FROM webhook_outbox.event e, webhook_outbox.endpoint p;
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, reason, attempts, created_at)
  SELECT p.endpoint_id, e.id, p.name, e.type, 'attempts_exhausted', 1, now() FROM webhook_outbox.event e, webhook_outbox.endpoint p;

CREATE SCHEMA regress_wo_evil;
CREATE SEQUENCE regress_wo_evil.calls;
GRANT USAGE ON SCHEMA regress_wo_evil TO PUBLIC;
GRANT USAGE ON SEQUENCE regress_wo_evil.calls TO PUBLIC;
CREATE FUNCTION regress_wo_evil.plant() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_types  oid[] := '{bool,int2,int4,int8,float8,numeric,text,name,uuid,timestamptz,interval,json,jsonb,bytea,xid8,text[]}'::regtype[]::oid[];
  v_item   record;
  v_count  bigint := 0;
BEGIN
  FOR v_item IN
    SELECT DISTINCT quote_ident(p.proname) AS name, p.proargtypes AS types, p.prorettype::regtype AS result, NULL AS op,
           pg_get_function_identity_arguments(p.oid) AS args
    FROM pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.provariadic = 0 AND NOT p.proretset
      AND p.proargmodes IS NULL AND p.proargtypes::oid[] <@ v_types AND p.prorettype = ANY (v_types) AND p.pronargs <= 4
    UNION ALL
    SELECT 'op_' || o.oid, NULL, o.oprresult::regtype, o.oprname, format('%s, %s', o.oprleft::regtype, o.oprright::regtype)
    FROM pg_operator o
    WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft = ANY (v_types) AND o.oprright = ANY (v_types)
      AND o.oprresult = ANY (v_types)
  LOOP
    EXECUTE format($f$CREATE FUNCTION regress_wo_evil.%s(%s) RETURNS %s LANGUAGE plpgsql
                      AS 'BEGIN PERFORM pg_catalog.nextval(''regress_wo_evil.calls''::pg_catalog.regclass);
                      RAISE EXCEPTION USING MESSAGE = ''hijacked''; END'$f$, v_item.name, v_item.args, v_item.result);
    IF v_item.op IS NOT NULL THEN
      EXECUTE format('CREATE OPERATOR regress_wo_evil.%s (FUNCTION = regress_wo_evil.%s, LEFTARG = %s, RIGHTARG = %s)',
                     v_item.op, v_item.name, split_part(v_item.args, ', ', 1), split_part(v_item.args, ', ', 2));
    END IF;
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END
$$;
SELECT regress_wo_evil.plant() > 1000 AS planted;
CREATE TEMP TABLE endpoint (name text, endpoint_id bigint);
CREATE TEMP TABLE pg_class (oid oid, relname text, relowner oid);
CREATE TEMP TABLE pg_roles (oid oid, rolname text, rolsuper boolean);
-- what was done is undone, so that it can be done again
CREATE FUNCTION pg_temp.try(p_role text, p_path text, p_statement text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', p_role);
  EXECUTE 'SET LOCAL search_path = ' || p_path;
  EXECUTE p_statement;
  SET CONSTRAINTS ALL IMMEDIATE;
  RAISE EXCEPTION 'done';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLERRM;
END
$$;
SELECT t.s AS statement, pg_temp.try(t.r, 'pg_catalog', t.s) AS plain,
       pg_temp.try(t.r, 'regress_wo_evil, pg_temp, pg_catalog', t.s) AS hijacked
FROM (VALUES
  ('regress_wo_operator', $$SELECT 'a'::text = 'a'::text$$),
  ('regress_wo_operator', $$SELECT * FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.pause_endpoint('billing')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.resume_endpoint('billing')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.rotate_secret('billing')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.send_test('billing')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.redeliver_dead_letters('billing', type => 'order.*', since => '2020-01-01')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.discard_dead_letters('billing', until => '2030-01-01')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.replay('billing', '-infinity', max_per_second => 5)$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.resume_delivery()$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.explain_event('00000000-0000-0000-0000-000000000000')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.maintain()$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.console()$$),
  ('regress_wo_operator', $$SELECT * FROM webhook_outbox.compare_periods('[2026-01-01, 2026-01-02)', '[2026-01-02, 2026-01-03)')$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.acknowledge_incident('-1')$$),
  ('regress_wo_operator', $$UPDATE webhook_outbox.endpoint SET url = 'https://b.example.com/', enabled = true$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.set_headers('billing', '{"A": "b"}')$$),
  ('regress_wo_operator', $$UPDATE webhook_outbox.alert_rule SET enabled = false$$),
  ('regress_wo_operator', $$INSERT INTO webhook_outbox.alert_rule (name, signal, scope, threshold) VALUES ('mine', 'queue_length', 'overall', '5')$$),
  ('regress_wo_operator', $$SELECT payload, headers FROM webhook_outbox.event$$),
  ('regress_wo_operator', $$SELECT a.response, d.last_response FROM webhook_outbox.attempt a, webhook_outbox.dead_letter d$$),
  ('regress_wo_operator', $$SELECT webhook_outbox.silence_alert('mine', NULL, '2099-01-01', 'known')$$),
  ('regress_wo_operator', $$DELETE FROM webhook_outbox.alert_rule$$),
  ('regress_wo_operator', $$DELETE FROM webhook_outbox.endpoint$$),
  ('regress_wo_monitor', $$SELECT count(s) FROM webhook_outbox.signal s$$),
  ('regress_wo_monitor', $$SELECT webhook_outbox.prometheus_metrics()$$),
  ('regress_wo_publisher', $$SELECT webhook_outbox.publish('a.b', '1', tenant => 'a', operation_id => 'c', headers => '{"A": "b"}')$$)
  ) t (r, s);
-- none but the first of these was called, not even where an error is caught
SELECT last_value AS calls FROM regress_wo_evil.calls;

DROP SCHEMA regress_wo_evil CASCADE;
DROP EXTENSION webhook_outbox;
DROP OWNED BY regress_wo_publisher, regress_wo_monitor, regress_wo_operator;
DROP ROLE regress_wo_publisher, regress_wo_monitor, regress_wo_operator;
