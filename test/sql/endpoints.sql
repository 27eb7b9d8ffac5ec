-- Endpoints and their keys: what functions and plain SQL make of them, and what the dispatcher is told.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
BEGIN;

-- One row back, with the secret; everything that is left out is as in the table.
SELECT endpoint_id, name, secret ~ '^whsec_[A-Za-z0-9+/]{32,}=*$' AS is_secret
FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/hooks', event_types => '{order.*}');
SELECT name, secret ~ '^whsk_' AS is_ed25519, webhook_outbox.public_key(secret) ~ '^whpk_' AS has_public_key
FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/hooks', kind => 'ed25519');
SELECT name, secret FROM webhook_outbox.create_endpoint(
  name => 'erp', url => 'https://erp.example.com:8443/in?a=b', event_types => '{order.created,user.*}', tenant => 'acme',
  tier => 1, headers => '{"Authorization": "Bearer abc"}', timeout => '2.5 s', retry_schedule => '{1s,10s}',
  retry_jitter => 0, max_in_flight => 4, body_format => 'standard', http_version => '2', enabled => false,
  owner => 'team erp', description => 'the old one', secret => 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz');
\x on
SELECT name, url, event_types, tenant, tier, enabled, disabled_reason, body_format, timeout, retry_schedule,
  retry_jitter, max_in_flight, http_version, ca_certificates, owner, description
FROM webhook_outbox.endpoint WHERE name = 'erp';
SELECT e.name, h.names, h.headers FROM webhook_outbox.endpoint_header h JOIN webhook_outbox.endpoint e USING (endpoint_id);
\x off
INSERT INTO webhook_outbox.endpoint (name, url) VALUES ('plain', 'https://plain.example.com/');
SELECT webhook_outbox.create_endpoint('function', 'https://plain.example.com/') IS NOT NULL AS is_created;
SELECT (to_jsonb(a) - '{endpoint_id,name,created_at,updated_at}'::text[])
     = (to_jsonb(b) - '{endpoint_id,name,created_at,updated_at}'::text[]) AS same_defaults
FROM webhook_outbox.endpoint a, webhook_outbox.endpoint b WHERE a.name = 'plain' AND b.name = 'function';

-- UPDATE and DELETE are noted for the dispatcher, once each; an UPDATE that changes nothing is not.
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
DELETE FROM webhook_outbox.endpoint_change;
UPDATE webhook_outbox.endpoint SET url = 'https://billing.example.com/v2' WHERE name = 'billing';
UPDATE webhook_outbox.endpoint SET url = url WHERE name = 'crm';
UPDATE webhook_outbox.endpoint SET name = 'legacy' WHERE name = 'erp';
UPDATE webhook_outbox.endpoint SET event_types = '{crm.*}' WHERE name = 'crm';
DELETE FROM webhook_outbox.endpoint WHERE name = 'plain';
SET CONSTRAINTS ALL IMMEDIATE;
SELECT name, is_deleted, event_types FROM webhook_outbox.endpoint_change ORDER BY change_id;
SELECT name, updated_at > created_at AS is_updated FROM webhook_outbox.endpoint ORDER BY name;
SELECT count(*) AS keys FROM webhook_outbox.endpoint_secret s
WHERE NOT EXISTS (SELECT FROM webhook_outbox.endpoint p WHERE p.endpoint_id = s.endpoint_id);

-- Headers are replaced as a whole, and noted for the dispatcher too.
DELETE FROM webhook_outbox.endpoint_change;
SELECT webhook_outbox.set_headers('billing', '{"Authorization": "Bearer abc", "X-Shop": "7"}');
SELECT webhook_outbox.set_headers('billing', '{"X-Key": "8"}');
SELECT webhook_outbox.set_headers('legacy', '{}');
SELECT e.name, h.names, h.headers FROM webhook_outbox.endpoint_header h JOIN webhook_outbox.endpoint e USING (endpoint_id);
SELECT name, is_deleted FROM webhook_outbox.endpoint_change ORDER BY change_id;

-- Pausing; enabling forgets why the dispatcher disabled it.
SELECT webhook_outbox.pause_endpoint('crm');
UPDATE webhook_outbox.endpoint SET enabled = false, disabled_reason = 'HTTP 410', disabled_at = now() WHERE name = 'billing';
SELECT name, state, last_error FROM webhook_outbox.endpoint_status ORDER BY name;
SELECT webhook_outbox.resume_endpoint('billing');
SELECT name, enabled, disabled_reason, disabled_at FROM webhook_outbox.endpoint ORDER BY name;
SELECT name, state, last_error FROM webhook_outbox.endpoint_status ORDER BY name;


-- Secrets are decrypted for a status that is asked for, and for no other column.
CREATE FUNCTION pg_temp.decrypts(p_query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_plan json;
BEGIN
  EXECUTE 'EXPLAIN (VERBOSE, FORMAT json) ' || p_query INTO v_plan;
  RETURN v_plan::text ~ 'seal';
END
$$;
SELECT pg_temp.decrypts('SELECT name, pending, dead_letters FROM webhook_outbox.endpoint_status') AS counts,
       pg_temp.decrypts('SELECT name, state FROM webhook_outbox.endpoint_status') AS states;

-- A role needs EXECUTE alone for a function, and INSERT or UPDATE alone for the table.
CREATE ROLE regress_wo_ops;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_ops;
GRANT EXECUTE ON FUNCTION webhook_outbox.pause_endpoint, webhook_outbox.open_successes, webhook_outbox.seal_problem
  TO regress_wo_ops;
GRANT UPDATE (url), SELECT (name) ON webhook_outbox.endpoint TO regress_wo_ops;
GRANT SELECT ON webhook_outbox.endpoint_status TO regress_wo_ops;
DELETE FROM webhook_outbox.endpoint_change;
SET ROLE regress_wo_ops;
SELECT webhook_outbox.pause_endpoint('billing');
UPDATE webhook_outbox.endpoint SET url = 'https://crm.example.com/v2' WHERE name = 'crm';
SELECT name, state FROM webhook_outbox.endpoint_status ORDER BY name;
\set ON_ERROR_ROLLBACK on
SELECT webhook_outbox.resume_endpoint('billing');
SELECT secret FROM webhook_outbox.endpoint_secret;
SELECT headers FROM webhook_outbox.endpoint_header;
RESET ROLE;
SELECT name, is_deleted FROM webhook_outbox.endpoint_change ORDER BY change_id;
ROLLBACK;
DROP EXTENSION webhook_outbox;
