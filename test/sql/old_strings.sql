-- standard_conforming_strings = off: whoever has it gets the same, when the extension is created and when it is used.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET standard_conforming_strings = off;
CREATE EXTENSION webhook_outbox;
SELECT name FROM webhook_outbox.create_endpoint('orders', 'https://orders.example.com/', event_types => '{order.*,s}');
SELECT name FROM webhook_outbox.create_endpoint(' orders', 'https://orders.example.com/');
SELECT name FROM webhook_outbox.create_endpoint(E'c:\\new\\sales', 'https://sales.example.com/');
UPDATE webhook_outbox.alert_rule SET threshold = 98 WHERE name = 'success_low';
UPDATE webhook_outbox.tier SET name = 'sales' WHERE tier = 3;
UPDATE webhook_outbox.endpoint SET ca_certificates = E'-----BEGIN CERTIFICATE-----\nss==\n-----END CERTIFICATE-----' WHERE name = 'orders';
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}');
SELECT step, error FROM webhook_outbox.maintain() WHERE error IS NOT NULL;
SELECT gap, subject FROM webhook_outbox.integration_gap ORDER BY 1, 2;
SELECT webhook_outbox.prometheus_labels(jsonb_build_object('a', E'c:\\new "x"\n'));
SELECT DISTINCT m.l[1] AS endpoint
FROM regexp_matches(webhook_outbox.prometheus_metrics(), 'endpoint="([^"]*)', 'g') m (l) ORDER BY 1;
SELECT webhook_outbox.sql_literal(E'c:\\new'), webhook_outbox.html_escape(E'c:\\new <b>', 200, true);
SELECT webhook_outbox.console() ~ 'c:.new.sales' AS shown;
DROP EXTENSION webhook_outbox;
