-- What an endpoint may not be: each with its errcode, a message that names the value, and a hint.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/hooks');

-- Takes columns as JSON and says how INSERT INTO endpoint ends. All of it is rolled back.
CREATE FUNCTION pg_temp.refused(columns jsonb) RETURNS TABLE (errcode text, message text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('INSERT INTO webhook_outbox.endpoint (%s) SELECT %1$s FROM jsonb_populate_record(NULL::webhook_outbox.endpoint, $1)',
                 (SELECT string_agg(quote_ident(k), ', ') FROM jsonb_object_keys('{"name": "", "url": ""}' || columns) k))
    USING '{"name": "other", "url": "https://example.com/"}' || columns;
  RAISE 'accepted';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS errcode = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT;
END
$$;
CREATE FUNCTION pg_temp.refused_headers(headers jsonb) RETURNS TABLE (errcode text, message text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM webhook_outbox.create_endpoint('other', 'https://example.com/', headers => headers);
  RAISE 'accepted';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS errcode = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  RETURN NEXT;
END
$$;
\x on

SELECT r.* FROM jsonb_array_elements('[{"name": null}, {"name": ""}, {"name": " billing"}, {"name": "a\tb"}, {"name": "billing"},
  {"url": null}, {"timeout": null}, {"event_types": null}, {"enabled": null}]') c, pg_temp.refused(c) r;

SELECT u AS url, r.* FROM unnest('{example.com,ftp://example.com/,https://,https:///x,https://user:pw@example.com/,
  https://example.com/#top,"https://example.com/a b",//example.com/,https://example.com:99999/,https://[::1/,""}'::text[]) u,
  pg_temp.refused(jsonb_build_object('url', u)) r;
SELECT errcode, left(message, 60) AS message, hint
FROM pg_temp.refused(jsonb_build_object('url', 'https://example.com/' || repeat('x', 2029)));
SELECT message FROM pg_temp.refused(jsonb_build_object('url', 'https://example.com/' || repeat('x', 2028)));
SELECT message FROM pg_temp.refused(jsonb_build_object('url', E'https://example.com/\nx'));

SELECT p AS event_types, r.* FROM jsonb_array_elements('[[], ["order.*.paid"], ["*.paid"], ["order*"], ["order."], [""], ["a b"],
  ["*", null], [["a"], ["b"]], ["order.created", "order.*", "*", "webhook_outbox.*"]]') p,
  pg_temp.refused(jsonb_build_object('event_types', p)) r;

SELECT r.* FROM jsonb_array_elements('[{"tenant": ""}, {"tier": 7}, {"body_format": "xml"}, {"timeout": "50 ms"}, {"timeout": "6 min"},
  {"timeout": "-1 s"}, {"max_in_flight": 0}, {"max_in_flight": 1001}, {"http_version": "3"}, {"ca_certificates": "x"},
  {"retry_jitter": -0.1}, {"retry_jitter": 1.1}, {"retry_jitter": "NaN"}]') c, pg_temp.refused(c) r;

SELECT s AS retry_schedule, r.* FROM jsonb_array_elements('[[], ["-1 s"], ["1 s", null], ["1 year 1 day"], ["1 year", "0"]]') s,
  pg_temp.refused(jsonb_build_object('retry_schedule', s)) r;
SELECT r.* FROM pg_temp.refused(jsonb_build_object('retry_schedule', array_fill('1 s'::text, '{101}'))) r;
SELECT r.* FROM pg_temp.refused(jsonb_build_object('event_types', array_fill('a.b'::text, '{1001}'))) r;
SELECT r.* FROM pg_temp.refused(jsonb_build_object('tenant', repeat('x', 256))) r;
SELECT r.* FROM unnest('{owner,description}'::text[], '{200,1000}'::integer[]) c (name, most), generate_series(most, most + 1) n,
  pg_temp.refused(jsonb_build_object(c.name, repeat(U&'\00E9', n))) r;

SELECT h AS headers, r.* FROM jsonb_array_elements('[[], {"X Y": "1"}, {"X-A": null}, {"X-A": "a\u000ab"}, {"Host": "x"},
  {"Transfer-Encoding": "chunked"}, {"webhook-signature": "v1,"}, {"Authorization": "Basic YTpi", "X-Key": ""},
  {"Proxy": "http://mallory.example.com/"}]') h,
  pg_temp.refused_headers(h) r;
SELECT r.* FROM pg_temp.refused_headers(NULL) r;
SELECT r.* FROM pg_temp.refused_headers('"sealed:v1:k1:AAAA"') r;
\x off

-- Functions and statements that are not INSERT.
SELECT webhook_outbox.create_endpoint('billing', 'https://example.com/');
SELECT webhook_outbox.create_endpoint('other', 'https://example.com/', tier => 7);
SELECT webhook_outbox.create_endpoint('other', NULL);
UPDATE webhook_outbox.endpoint SET url = 'nowhere';
UPDATE webhook_outbox.endpoint SET endpoint_id = DEFAULT;
INSERT INTO webhook_outbox.endpoint (endpoint_id, name, url) OVERRIDING SYSTEM VALUE
  VALUES (0, 'other', 'https://example.com/');
INSERT INTO webhook_outbox.endpoint (endpoint_id, name, url) OVERRIDING SYSTEM VALUE
  VALUES (-1, 'other', 'https://example.com/');
TRUNCATE webhook_outbox.endpoint CASCADE;
SELECT webhook_outbox.set_headers('billing', NULL);
SELECT webhook_outbox.set_headers('billing', '["X-A"]');
SELECT webhook_outbox.set_headers('nobody', '{}');
INSERT INTO webhook_outbox.endpoint_header (endpoint_id, headers) SELECT endpoint_id, '{"Host": "x"}' FROM webhook_outbox.endpoint;
TRUNCATE webhook_outbox.endpoint_header;
SELECT webhook_outbox.pause_endpoint('nobody');
SELECT webhook_outbox.resume_endpoint(NULL);
SELECT name, url FROM webhook_outbox.endpoint;

-- An UPDATE does not judge again what it leaves alone.
ALTER TABLE webhook_outbox.endpoint DISABLE TRIGGER endpoint_before_write;
UPDATE webhook_outbox.endpoint SET url = 'once allowed';
ALTER TABLE webhook_outbox.endpoint ENABLE TRIGGER endpoint_before_write;
UPDATE webhook_outbox.endpoint SET enabled = false, disabled_reason = 'HTTP 410', disabled_at = now();
SELECT name, enabled, disabled_reason FROM webhook_outbox.endpoint;
DROP EXTENSION webhook_outbox;
