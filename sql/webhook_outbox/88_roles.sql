-- Who may look. A monitor reads how deliveries go: no payload, no header, no response, no secret, no URL, and it changes
-- nothing. Views run as their owner, but functions in them as whoever reads: a monitor gets EXECUTE on those too.

CREATE VIEW webhook_outbox.monitor_privilege AS
  WITH relation AS (
    SELECT c.oid AS relation, v.columns
    FROM (VALUES
      -- how it goes
      ('signal', NULL::text[]), ('error_rate', NULL), ('slo', NULL), ('endpoint_status', NULL), ('queue_status', NULL),
      ('worker_status', NULL), ('event_status', NULL), ('delivery_status', NULL), ('maintenance_status', NULL),
      ('foreign_object', NULL),
      ('alert', NULL), ('alert_history', NULL), ('alert_silence', NULL), ('incident', NULL), ('incident_event', NULL),
      ('operator_action', NULL),
      ('integration', NULL), ('integration_gap', NULL), ('prometheus_metric', NULL), ('monitor_privilege', NULL),
      -- what it means
      ('tier', NULL), ('time_window', NULL), ('signal_definition', NULL), ('alert_rule', NULL), ('alert_signal', NULL),
      ('endpoint_objective', NULL), ('incident_severity', NULL), ('incident_likelihood', NULL), ('incident_impact', NULL),
      -- what it is made of
      ('endpoint_rollup', NULL), ('series', NULL), ('series_rollup', NULL), ('error_rollup', NULL), ('rollup_watermark', NULL),
      ('queue_sample', NULL), ('event_shape', NULL), ('endpoint_counter', NULL), ('error_counter', NULL),
      -- of these some columns: one that a later version adds may be a secret
      ('endpoint', '{endpoint_id,name,event_types,tenant,tier,enabled,disabled_reason,disabled_at,body_format,timeout,
                     retry_schedule,retry_jitter,max_in_flight,http_version,owner,description,success_objective,
                     latency_objective,created_at,updated_at}'),
      ('attempt', '{event_id,endpoint_id,number,http_status,slot,started_at,next_attempt_at,wait_ms,connect_ms,total_ms,outcome,
                    origin,error}'),
      ('dead_letter', '{endpoint_id,event_id,endpoint_name,event_type,tenant,reason,attempts,first_attempt_at,last_attempt_at,
                        last_outcome,last_status,last_error,created_at}')) v (name, columns)
    JOIN pg_class c ON c.oid = to_regclass('webhook_outbox.' || quote_ident(v.name))),
  called AS (
    SELECT DISTINCT d.refobjid AS function
    FROM relation r
    JOIN pg_rewrite w ON w.ev_class = r.relation
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT p.oid FROM pg_proc p
    WHERE p.pronamespace = 'webhook_outbox'::regnamespace
      AND p.proname IN ('console', 'console_page', 'prometheus_metrics', 'prometheus_samples', 'slo_report', 'compare_periods',
                        'histogram', 'histogram_merge', 'histogram_quantile', 'histogram_count', 'histogram_count_below',
                        'histogram_buckets', 'id_time', 'time_id', 'signal_history', 'type_matches'))
  SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END AS kind, c.oid::regclass::text AS object,
         'SELECT' AS privilege, r.columns
  FROM relation r JOIN pg_class c ON c.oid = r.relation
UNION ALL
  SELECT 'function', f.function::regprocedure::text, 'EXECUTE', NULL
  FROM called f
  JOIN pg_proc p ON p.oid = f.function AND p.pronamespace = 'webhook_outbox'::regnamespace;
COMMENT ON VIEW webhook_outbox.monitor_privilege IS
  'what grant_monitor() grants: SELECT on views and tables, EXECUTE on functions';
COMMENT ON COLUMN webhook_outbox.monitor_privilege.kind IS 'view, table or function';
COMMENT ON COLUMN webhook_outbox.monitor_privilege.object IS 'its name';
COMMENT ON COLUMN webhook_outbox.monitor_privilege.privilege IS 'SELECT or EXECUTE';
COMMENT ON COLUMN webhook_outbox.monitor_privilege.columns IS 'the columns that a monitor may read; NULL: all';

CREATE FUNCTION webhook_outbox.check_grantee(p_role name, p_caller text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = 'webhook_outbox.event'::regclass);
BEGIN
  IF p_role IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
      MESSAGE = 'role must not be null',
      HINT = format('Name a role: %s(%L).', p_caller,
                    CASE substring(p_caller FROM '[a-z]+$')
                      WHEN 'monitor' THEN 'grafana' WHEN 'operator' THEN 'oncall' WHEN 'worker' THEN 'clerk'
                           ELSE 'app' END);
  ELSIF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('role "%s" does not exist', p_role),
      HINT = CASE WHEN p_role = 'public' THEN 'Nothing of webhook_outbox is granted to PUBLIC: name a role.'
                  WHEN p_caller LIKE 'revoke%' THEN 'SELECT rolname FROM pg_roles lists them; upper and lower case count here.'
                  ELSE format('CREATE ROLE %I LOGIN makes it; upper and lower case count here.', p_role) END;
  ELSIF NOT pg_has_role(current_user, v_owner, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = format('role "%s" may not grant what is webhook_outbox''s', current_user),
      HINT = format('Do it as %s, the owner of the extension, or as a superuser.', v_owner::regrole);
  ELSIF p_caller LIKE 'grant%' AND pg_has_role(p_role, v_owner, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_grant_operation',
      MESSAGE = CASE WHEN (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = p_role)
                     THEN format('role "%s" is a superuser', p_role)
                     WHEN p_role = v_owner::regrole::text THEN format('role "%s" owns webhook_outbox', p_role)
                     ELSE format('role "%s" has the rights of %s, which owns webhook_outbox', p_role, v_owner::regrole) END,
      HINT = 'It may do all of this already, and more. Name a role that is to have these rights and no others.';
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_grantee(name, text) IS
  'fails unless whoever calls may grant this role something, and this role does not have it all; the function that asks is for '
  'the hint';

CREATE FUNCTION webhook_outbox.change_privilege(
  p_role name, p_is_grant boolean, p_kind text, p_object text, p_privilege text, p_columns text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('%s %s %s ON %s %s %s %I',
    CASE WHEN p_is_grant THEN 'GRANT' ELSE 'REVOKE' END, p_privilege,
    '(' || (SELECT string_agg(quote_ident(c), ', ') FROM unnest(p_columns) c) || ')',
    CASE WHEN p_kind = 'function' THEN 'ROUTINE' ELSE 'TABLE' END, p_object,
    CASE WHEN p_is_grant THEN 'TO' ELSE 'FROM' END, p_role);
END
$$;
COMMENT ON FUNCTION webhook_outbox.change_privilege(name, boolean, text, text, text, text[]) IS
  'grants or revokes one row of monitor_privilege, publisher_privilege, operator_privilege or worker_privilege';

CREATE FUNCTION webhook_outbox.release_schema(p_role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_role oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = p_role);
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_class c, aclexplode(c.relacl) x WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND x.grantee = v_role
    UNION ALL
    SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, aclexplode(a.attacl) x
    WHERE c.relnamespace = 'webhook_outbox'::regnamespace AND x.grantee = v_role
    UNION ALL
    SELECT FROM pg_proc p, aclexplode(p.proacl) x WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND x.grantee = v_role)
  THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA webhook_outbox FROM %I', p_role);
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.release_schema(name) IS
  'takes back USAGE of the schema from a role that has nothing else in it';

CREATE FUNCTION webhook_outbox.change_privileges(p_role name, p_is_grant boolean, p_view name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF p_is_grant THEN
    EXECUTE format('GRANT USAGE ON SCHEMA webhook_outbox TO %I', p_role);
  END IF;
  EXECUTE format('SELECT webhook_outbox.change_privilege($1, $2, p.kind, p.object, p.privilege, p.columns) '
    'FROM webhook_outbox.%I p', p_view) USING p_role, p_is_grant;
  IF NOT p_is_grant THEN
    PERFORM webhook_outbox.release_schema(p_role);
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.change_privileges(name, boolean, name) IS
  'grants or revokes each row of monitor_privilege, publisher_privilege, operator_privilege or worker_privilege, and USAGE of '
  'the schema with it: a role that has nothing else in it loses that too';

CREATE FUNCTION webhook_outbox.grant_monitor(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'grant_monitor');
  PERFORM webhook_outbox.change_privileges(role, true, 'monitor_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.grant_monitor(name) IS
  'lets a role look at how deliveries go (see monitor_privilege), and at nothing else: no payloads, headers, responses, secrets '
  'and URLs. Call it again after an update of the extension. grant_monitor(''grafana'')';

CREATE FUNCTION webhook_outbox.revoke_monitor(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'revoke_monitor');
  PERFORM webhook_outbox.change_privileges(role, false, 'monitor_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.revoke_monitor(name) IS
  'takes back what grant_monitor() granted, and USAGE of the schema if the role has nothing else in it';
