-- What publishing refuses: each with its errcode, a message that names the value, and a hint.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
CREATE FUNCTION pg_temp.refused(type text, payload json, tenant text DEFAULT NULL, operation_id text DEFAULT NULL,
  source text DEFAULT NULL, headers jsonb DEFAULT NULL) RETURNS TABLE (errcode text, message text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM webhook_outbox.publish(type, payload, tenant, operation_id, source, headers);
  RETURN QUERY SELECT NULL, 'stored', NULL;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS errcode = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT;
END
$$;
\x on

-- types
SELECT t AS type, r.* FROM unnest('{order/created,order..created,.order,order.,order created,order-created,"",*,webhook_outbox.test}'::text[]) t,
  LATERAL pg_temp.refused(t, '{}') r;
SELECT (pg_temp.refused(repeat('a', 256), '{}')).errcode, (pg_temp.refused(repeat('a', 255), '{}')).message;
SELECT * FROM pg_temp.refused(NULL, '{}');

-- payloads: json checks the syntax
SELECT webhook_outbox.publish('order.created', '{"order_id": }');
SELECT * FROM pg_temp.refused('order.created', NULL);
SELECT * FROM pg_temp.refused('order.created', to_json(repeat('x', 256 * 1024)));
SELECT * FROM pg_temp.refused('order.created', to_json(repeat('x', 256 * 1024 - 2)));

-- labels
SELECT * FROM pg_temp.refused('order.created', '{}', tenant => '');
SELECT * FROM pg_temp.refused('order.created', '{}', operation_id => repeat('x', 256));
SELECT * FROM pg_temp.refused('order.created', '{}', source => repeat('x', 256));

-- headers
SELECT h AS headers, r.*
FROM unnest(ARRAY['[]', '{"X Y": "1"}', '{"": "1"}', '{"X-A": 1}', '{"X-A": "a\r\nb"}', '{"Host": "example.com"}',
                  '{"content-length": "1"}', '{"Webhook-Id": "1"}', '{"Ce_Tenant": "x"}',
                  '{"Webhook.Id": "1"}', '{"Content-Encoding": "gzip"}', '{"X-A": "1"}']::jsonb[]) h,
  LATERAL pg_temp.refused('order.created', '{}', headers => h) r;
\x off

-- the leaf and the endpoint are not for publishers to choose
INSERT INTO webhook_outbox.event (type, payload, slot) VALUES ('order.created', '{}', 5);
CREATE ROLE regress_wo_app;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_app;
GRANT INSERT (type, payload, tenant, operation_id, source, headers), SELECT (id) ON webhook_outbox.event TO regress_wo_app;
GRANT EXECUTE ON FUNCTION webhook_outbox.publish, webhook_outbox.find_operation TO regress_wo_app;
SET ROLE regress_wo_app;
SELECT webhook_outbox.publish('order.created', '{}', operation_id => 'op') AS id \gset
SELECT webhook_outbox.publish('order.created', '{}', operation_id => 'op') = :'id' AS is_first;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}') RETURNING id IS NOT NULL AS has_id;
COPY webhook_outbox.event (type, payload) FROM stdin;
order.copied	{}
\.
INSERT INTO webhook_outbox.event (type, payload, endpoint_id) VALUES ('order.created', '{}', 1);
INSERT INTO webhook_outbox.event (type, payload, slot) VALUES ('order.created', '{}', 0);
SELECT payload FROM webhook_outbox.event;
SELECT * FROM webhook_outbox.operation;
SELECT * FROM webhook_outbox.delivery_status;
SELECT webhook_outbox.create_endpoint('mine', 'https://example.com/');
RESET ROLE;
DROP OWNED BY regress_wo_app;
DROP ROLE regress_wo_app;
DROP EXTENSION webhook_outbox;
