-- The keys of an endpoint: rotation, kinds, what is refused.
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/hooks');
CREATE TEMP VIEW keys AS
  SELECT row_number() OVER (ORDER BY s.secret_id) AS key, left(s.secret, 5) AS kind,
         date_trunc('minute', s.expires_at - now() + interval '30 s') AS ends_in
  FROM webhook_outbox.endpoint_secret s ORDER BY s.secret_id;

-- The old key signs on for the overlap; a shorter overlap shortens that of older keys; the kind stays as it is.
SELECT webhook_outbox.rotate_secret('billing') ~ '^whsec_' AS is_secret;
TABLE keys;
SELECT webhook_outbox.rotate_secret('billing', overlap => '1 hour', kind => 'ed25519') ~ '^whsk_' AS is_ed25519;
TABLE keys;
SELECT webhook_outbox.rotate_secret('billing', '48 hours') ~ '^whsk_' AS is_ed25519;
TABLE keys;
SELECT name, is_deleted, count(*) > 0 AS is_told FROM webhook_outbox.endpoint_change GROUP BY 1, 2;

-- Four sign at once; keys that ended do not count.
\set VERBOSITY terse
SELECT webhook_outbox.rotate_secret('billing', '1 s');
\set VERBOSITY default
UPDATE webhook_outbox.endpoint_secret SET expires_at = clock_timestamp() WHERE expires_at < now() + interval '2 hours';
SELECT webhook_outbox.rotate_secret('billing') IS NOT NULL AS is_rotated;
TABLE keys;

-- Without overlap the others end at once; an own secret can be brought.
SELECT webhook_outbox.rotate_secret('billing', '0', secret => 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz');
TABLE keys;
SELECT secret, public_key FROM webhook_outbox.endpoint_secret;
SELECT webhook_outbox.rotate_secret('billing', '0', kind => 'ed25519') AS secret \gset
SELECT secret = :'secret' AS is_plain, public_key = webhook_outbox.public_key(:'secret') AS has_public_key
FROM webhook_outbox.endpoint_secret;
SELECT length(webhook_outbox.generate_secret()) > 38 AS is_long,
       webhook_outbox.generate_secret() <> webhook_outbox.generate_secret() AS differ,
       webhook_outbox.public_key(webhook_outbox.generate_secret()) AS no_public_key,
       webhook_outbox.public_key(webhook_outbox.generate_secret('ed25519')) ~ '^whpk_' AS has_public_key;

-- refused
SELECT webhook_outbox.rotate_secret('nobody');
SELECT webhook_outbox.rotate_secret(NULL);
SELECT webhook_outbox.rotate_secret('billing', '-1 s');
SELECT webhook_outbox.rotate_secret('billing', '2 years');
SELECT webhook_outbox.rotate_secret('billing', kind => 'rsa');
SELECT webhook_outbox.generate_secret('rsa');
SELECT webhook_outbox.rotate_secret('billing', secret => 'secret');
SELECT webhook_outbox.rotate_secret('billing', secret => 'whsec_');
SELECT webhook_outbox.rotate_secret('billing', secret => 'whsec_c2hvcnQ=');
SELECT webhook_outbox.rotate_secret('billing', secret => 'whsec_not base64 at all, is it?');
SELECT webhook_outbox.rotate_secret('billing', secret => 'whsec_' || encode(convert_to(repeat('x', 65), 'UTF8'), 'base64'));
SELECT webhook_outbox.rotate_secret('billing', secret => 'whsk_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz');
SELECT webhook_outbox.public_key('whsec');
SELECT webhook_outbox.create_endpoint('other', 'https://example.com/', secret => 'x');
INSERT INTO webhook_outbox.endpoint_secret (endpoint_id, secret) SELECT endpoint_id, 'x' FROM webhook_outbox.endpoint;
TRUNCATE webhook_outbox.endpoint_secret;
-- a dump can bring what is encrypted to a server without the key; nobody else can
SELECT webhook_outbox.rotate_secret('billing', secret => 'sealed:v1:k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA');
INSERT INTO webhook_outbox.endpoint_secret (endpoint_id, secret)
SELECT endpoint_id, 'sealed:v9:k1:AAAA' FROM webhook_outbox.endpoint;
INSERT INTO webhook_outbox.endpoint_header (endpoint_id, headers)
SELECT endpoint_id, '"sealed:v1:k1:AAAA"' FROM webhook_outbox.endpoint;
INSERT INTO webhook_outbox.endpoint_secret (endpoint_id, secret)
SELECT endpoint_id, 'sealed:v1:k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' FROM webhook_outbox.endpoint;
INSERT INTO webhook_outbox.event (type, payload) VALUES ('order.created', '{}') RETURNING id \gset
SELECT * FROM webhook_outbox.render(:'id', 'billing');
SELECT webhook_outbox.reencrypt_secrets();
DELETE FROM webhook_outbox.endpoint_secret WHERE secret LIKE 'sealed:%';
-- what seals is for the columns of its own table alone
CREATE TABLE elsewhere (secret_id bigint, endpoint_id bigint, secret text, created_at text, expires_at text, public_key text);
CREATE TRIGGER seal BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION webhook_outbox.seal_before_write('headers');
INSERT INTO elsewhere (endpoint_id, secret) VALUES (1, 'x');
CREATE OR REPLACE TRIGGER seal BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION webhook_outbox.seal_before_write();
INSERT INTO elsewhere (endpoint_id, secret) VALUES (1, 'x');
CREATE OR REPLACE TRIGGER seal AFTER INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION webhook_outbox.seal_before_write('secret');
INSERT INTO elsewhere (endpoint_id, secret) VALUES (1, 'x');
SELECT count(*) AS keys FROM webhook_outbox.endpoint_secret;
ROLLBACK;
DROP EXTENSION webhook_outbox;
