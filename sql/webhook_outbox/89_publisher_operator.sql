-- Who may publish, and who may run it. Each has a view that says what the role gets; nobody but the owner of the extension
-- reads endpoint_secret, or headers in endpoint_header.

CREATE VIEW webhook_outbox.publisher_privilege AS
  SELECT v.kind, c.oid::regclass::text AS object, v.privilege, v.columns
  FROM (VALUES
    ('table', 'event', 'INSERT', '{type,payload,tenant,operation_id,source,headers}'::text[]),
    -- for RETURNING id; an id tells when its event happened, and no more
    ('table', 'event', 'SELECT', '{id}')) v (kind, name, privilege, columns)
  JOIN pg_class c ON c.oid = to_regclass('webhook_outbox.' || v.name)
UNION ALL
  SELECT 'function', p.oid::regprocedure::text, 'EXECUTE', NULL
  FROM pg_proc p
  WHERE p.pronamespace = 'webhook_outbox'::regnamespace AND p.proname IN ('publish', 'find_operation');
COMMENT ON VIEW webhook_outbox.publisher_privilege IS 'what grant_publisher() grants';
COMMENT ON COLUMN webhook_outbox.publisher_privilege.kind IS 'table or function';
COMMENT ON COLUMN webhook_outbox.publisher_privilege.object IS 'its name';
COMMENT ON COLUMN webhook_outbox.publisher_privilege.privilege IS 'INSERT, SELECT or EXECUTE';
COMMENT ON COLUMN webhook_outbox.publisher_privilege.columns IS 'on these columns; NULL: all, or a function';

-- An operator cannot be kept from learning the headers of an endpoint for good: who may change its url can have them sent
-- elsewhere. They are not shown, so that it takes a change that others see. maintenance_step is not for operators: it names
-- functions that run as the owner.

CREATE VIEW webhook_outbox.operator_privilege AS
  SELECT m.kind, m.object, m.privilege, m.columns FROM webhook_outbox.monitor_privilege m
UNION ALL
  SELECT v.kind, c.oid::regclass::text, v.privilege, v.columns
  FROM (VALUES
    -- what was sent and answered
    ('table', 'event', 'SELECT', NULL::text[]),
    ('table', 'attempt', 'SELECT', '{response}'),
    ('table', 'dead_letter', 'SELECT', '{last_response}'),
    -- endpoints; create_endpoint() makes them, with a key
    ('table', 'endpoint', 'SELECT', '{url,proxy,ca_certificates}'),
    ('table', 'endpoint', 'UPDATE', '{name,url,event_types,tenant,tier,enabled,body_format,timeout,retry_schedule,
                                      retry_jitter,max_in_flight,http_version,ca_certificates,proxy,owner,description,
                                      success_objective,latency_objective}'),
    ('table', 'endpoint', 'DELETE', NULL),
    ('table', 'endpoint_header', 'SELECT', '{endpoint_id,names}'),
    -- alerts
    ('table', 'alert_rule', 'INSERT', '{name,signal,scope,time_window,second_window,comparison,threshold,clear_threshold,
                                        min_samples,pending_for,keep_firing_for,severity,tier,endpoint,enabled,
                                        notify_channel,description}'),
    ('table', 'alert_rule', 'UPDATE', '{name,signal,scope,time_window,second_window,comparison,threshold,clear_threshold,
                                        min_samples,pending_for,keep_firing_for,severity,tier,endpoint,enabled,
                                        notify_channel,description}'),
    ('table', 'alert_rule', 'DELETE', NULL),
    ('table', 'alert_silence', 'UPDATE', '{until,reason}'), ('table', 'alert_silence', 'DELETE', NULL),
    ('view', 'operator_privilege', 'SELECT', NULL), ('view', 'publisher_privilege', 'SELECT', NULL),
    ('view', 'worker_privilege', 'SELECT', NULL),
    ('table', 'publisher_tenant', 'SELECT', NULL))
    v (kind, name, privilege, columns)
  JOIN pg_class c ON c.oid = to_regclass('webhook_outbox.' || v.name)
UNION ALL
  SELECT 'function', p.oid::regprocedure::text, 'EXECUTE', NULL
  FROM pg_proc p
  WHERE p.pronamespace = 'webhook_outbox'::regnamespace
    AND p.proname IN ('create_endpoint', 'rotate_secret', 'generate_secret', 'set_headers', 'pause_endpoint',
                      'resume_endpoint', 'send_test', 'check_proxy', 'check_secret', 'judge_address', 'explain_event',
                      'explain_lines', 'redeliver', 'redeliver_dead_letters', 'retry_now', 'discard', 'discard_dead_letters',
                      'replay', 'cancel', 'resume_delivery', 'silence_alert', 'acknowledge_incident', 'note_incident',
                      'close_incident', 'maintain');
COMMENT ON VIEW webhook_outbox.operator_privilege IS 'what grant_operator() grants: all of monitor_privilege, and more';
COMMENT ON COLUMN webhook_outbox.operator_privilege.kind IS 'view, table or function';
COMMENT ON COLUMN webhook_outbox.operator_privilege.object IS 'its name';
COMMENT ON COLUMN webhook_outbox.operator_privilege.privilege IS 'SELECT, INSERT, UPDATE, DELETE or EXECUTE';
COMMENT ON COLUMN webhook_outbox.operator_privilege.columns IS 'on these columns; NULL: all, or a function';

-- Who may publish for some tenants only. That a role is limited says a mark, which is a privilege: REFERENCES on the column
-- role, good for nothing else. The rows say to what. A role with the mark and without rows may publish for nobody. The
-- trigger on event looks here (tenancy.c).

CREATE TABLE webhook_outbox.publisher_tenant (
  role   name NOT NULL,
  tenant text NOT NULL CHECK (octet_length(tenant) BETWEEN 1 AND 255),
  PRIMARY KEY (role, tenant)
);
COMMENT ON TABLE webhook_outbox.publisher_tenant IS
  'which tenants a role may publish for, see grant_publisher; roles without such a limit are not here';
COMMENT ON COLUMN webhook_outbox.publisher_tenant.role IS
  'name of the role; one that was renamed may publish for nobody until it is granted anew';
COMMENT ON COLUMN webhook_outbox.publisher_tenant.tenant IS 'a tenant that it may publish for';
CREATE TRIGGER publisher_tenant_after_write AFTER INSERT OR UPDATE OR DELETE ON webhook_outbox.publisher_tenant
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.publisher_tenant_after_write();
ALTER TABLE webhook_outbox.publisher_tenant ENABLE ALWAYS TRIGGER publisher_tenant_after_write;

CREATE FUNCTION webhook_outbox.limit_publisher(p_role name, p_tenant text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_is_limited boolean := EXISTS (
    SELECT FROM pg_attribute a, aclexplode(a.attacl) x, pg_roles r
    WHERE a.attrelid = 'webhook_outbox.publisher_tenant'::regclass AND a.attname = 'role'
      AND x.grantee = r.oid AND r.rolname = p_role);
BEGIN
  IF p_tenant IS NULL OR NOT v_is_limited THEN
    -- also what a role of this name had that is no more
    DELETE FROM webhook_outbox.publisher_tenant t WHERE t.role = p_role;
  END IF;
  IF p_tenant IS NOT NULL THEN
    INSERT INTO webhook_outbox.publisher_tenant (role, tenant) VALUES (p_role, p_tenant) ON CONFLICT DO NOTHING;
  END IF;
  IF p_tenant IS NOT NULL AND has_column_privilege(p_role, 'webhook_outbox.event', 'type', 'INSERT')
     AND NOT EXISTS (
       SELECT FROM pg_attribute a, aclexplode(a.attacl) x
       WHERE a.attrelid = 'webhook_outbox.publisher_tenant'::regclass AND a.attname = 'role'
         AND pg_has_role(p_role, x.grantee, 'USAGE')) THEN
    RAISE NOTICE USING MESSAGE = format('role "%s" had no limit, and may publish for tenant "%s" alone now', p_role, p_tenant),
      HINT = format('SELECT webhook_outbox.grant_publisher(%L); lets it publish for all again.', p_role);
  END IF;
  IF v_is_limited <> (p_tenant IS NOT NULL) THEN
    PERFORM webhook_outbox.change_privilege(p_role, NOT v_is_limited, 'table', 'webhook_outbox.publisher_tenant', 'REFERENCES',
                                            '{role}');
  END IF;
END
$$;
COMMENT ON FUNCTION webhook_outbox.limit_publisher(name, text) IS
  'lets a role publish for this tenant besides those that it is limited to already; NULL: takes the limit away';

CREATE FUNCTION webhook_outbox.grant_publisher(role name, tenant text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'grant_publisher');
  IF octet_length(tenant) NOT BETWEEN 1 AND 255 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = CASE tenant WHEN '' THEN 'tenant must not be empty'
                            ELSE format('tenant is %s bytes long', octet_length(tenant)) END,
      HINT = 'A tenant has 1 to 255 bytes; left out, the role may publish for all and without one.';
  END IF;
  PERFORM webhook_outbox.limit_publisher(role, tenant);
  PERFORM webhook_outbox.change_privileges(role, true, 'publisher_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.grant_publisher(name, text) IS
  'lets a role publish events (see publisher_privilege), and nothing else: grant_publisher(''app''). With a tenant for that one '
  'only, and roles that inherit from it too; again with another tenant: for both; again without: for all. A '
  'role that could publish for all loses that by a tenant, which a NOTICE says. Call it again after an update of the extension';

CREATE FUNCTION webhook_outbox.revoke_publisher(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'revoke_publisher');
  -- first: with the mark of a limit the role would have something in the schema
  PERFORM webhook_outbox.limit_publisher(role, NULL);
  PERFORM webhook_outbox.change_privileges(role, false, 'publisher_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.revoke_publisher(name) IS
  'takes back what grant_publisher() granted, for all tenants, and USAGE of the schema if the role has nothing else in it. A '
  'role that is an operator too loses SELECT (id) on event: call grant_operator() again';

CREATE FUNCTION webhook_outbox.grant_operator(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'grant_operator');
  PERFORM webhook_outbox.change_privileges(role, true, 'operator_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.grant_operator(name) IS
  'lets a role look at all but secrets and headers of endpoints, manage endpoints, send again, discard, handle alerts and '
  'incidents (see operator_privilege). Call it again after an update of the extension. grant_operator(''oncall'')';

CREATE FUNCTION webhook_outbox.revoke_operator(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook_outbox.check_grantee(role, 'revoke_operator');
  PERFORM webhook_outbox.change_privileges(role, false, 'operator_privilege');
END
$$;
COMMENT ON FUNCTION webhook_outbox.revoke_operator(name) IS
  'takes back what grant_operator() granted, and USAGE of the schema if the role has nothing else in it. A role that is a '
  'monitor or a publisher too loses what these have in common with an operator: call grant_monitor() or grant_publisher() again';
