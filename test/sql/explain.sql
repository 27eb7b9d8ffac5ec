-- explain_event in every situation, and render. No worker takes part: the test writes what the dispatcher would, in a
-- transaction that it rolls back.
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
BEGIN;
CREATE FUNCTION pg_temp.explain(p_id uuid) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT regexp_replace(regexp_replace(regexp_replace(replace(l, 'by ' || session_user, 'by <role>'),
           '[0-9a-f]{8}-[0-9a-f-]{27}', '<id>', 'g'),
           '[A-Z][a-z]{2} [A-Z][a-z]{2} \d+ \d\d:\d\d:\d\d(\.\d+)? \d{4} \w+', '<time>', 'g'),
           '\((now|\d+ (s|min) ago)\)', '(just now)', 'g')
  FROM webhook_outbox.explain_event(p_id) l;
$$;

-- No endpoint; then some, and the transaction still open.
SELECT webhook_outbox.publish('order.created', '{"order_id": 1}', source => 'shop') AS id \gset
SELECT pg_temp.explain(:'id');
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/hooks', '{order.*}',
  secret => 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz');
SELECT name FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/', '{user.*}');
SELECT name FROM webhook_outbox.create_endpoint('acme', 'https://acme.example.com/', tenant => 'acme');
SELECT name FROM webhook_outbox.create_endpoint('paused', 'https://paused.example.com/', enabled => false);
SELECT endpoint_id AS billing_id FROM webhook_outbox.endpoint WHERE name = 'billing' \gset
SELECT endpoint_id AS paused_id FROM webhook_outbox.endpoint WHERE name = 'paused' \gset
SELECT pg_temp.explain(:'id');

-- Committed and read. The times are those of the situation, so that the words are the same each time.
SELECT old_snapshot AS before FROM webhook_outbox.cursor \gset
UPDATE webhook_outbox.cursor SET (old_snapshot, new_snapshot) =
  (SELECT s, s FROM format('%1$s:%1$s:', pg_current_xact_id()::text::bigint + 1) f, CAST(f AS pg_snapshot) s);
SELECT pg_temp.explain(:'id') OFFSET 2;
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, next_attempt_at, total_ms, outcome, error)
VALUES (:'id', :billing_id, 1, 503, 0, clock_timestamp(), clock_timestamp() + '5 min', 20, 'http_error', 'HTTP 503');
INSERT INTO webhook_outbox.delivery (event_id, endpoint_id, state, next_attempt_at, attempts, last_attempt_at)
VALUES (:'id', :billing_id, 'retrying', clock_timestamp() + '5 min', 1, clock_timestamp()),
       (:'id', :paused_id, 'parked', clock_timestamp(), 0, NULL);
SELECT pg_temp.explain(:'id') OFFSET 3;
UPDATE webhook_outbox.endpoint SET enabled = false, disabled_reason = 'it answered HTTP 410', disabled_at = clock_timestamp()
WHERE name = 'billing';
SELECT pg_temp.explain(:'id') OFFSET 3;
UPDATE webhook_outbox.delivery SET next_attempt_at = clock_timestamp() - interval '1 s' WHERE endpoint_id = :billing_id;
SELECT pg_temp.explain(:'id') OFFSET 4 LIMIT 1;

-- Delivered; cancelled.
INSERT INTO webhook_outbox.attempt (event_id, endpoint_id, number, http_status, slot, started_at, total_ms, outcome)
VALUES (:'id', :billing_id, 2, 204, 0, clock_timestamp(), 12.34, 'delivered');
DELETE FROM webhook_outbox.delivery WHERE endpoint_id = :billing_id;
UPDATE webhook_outbox.delivery SET state = 'cancelled', next_attempt_at = 'infinity';
SELECT pg_temp.explain(:'id') OFFSET 3;

-- What the receiver answered last: a line of it, for those who may read answers.
SAVEPOINT s;
UPDATE webhook_outbox.attempt SET response = CASE number WHEN 1 THEN 'not this' ELSE E' {"error":\n\t"no such order"}\n' END;
SELECT pg_temp.explain(:'id') OFFSET 3 LIMIT 3;
CREATE ROLE regress_wo_reader;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_wo_reader;
GRANT EXECUTE ON FUNCTION webhook_outbox.explain_event, webhook_outbox.explain_lines TO regress_wo_reader;
CREATE ROLE regress_wo_monitor;
CREATE ROLE regress_wo_operator;
SELECT webhook_outbox.grant_monitor('regress_wo_monitor'), webhook_outbox.grant_operator('regress_wo_operator');
CREATE FUNCTION pg_temp.told(p_role name, p_id uuid) RETURNS TABLE (role name, lines bigint, answers bigint) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('SET LOCAL ROLE %I', p_role);
  RETURN QUERY SELECT p_role, count(*), count(*) FILTER (WHERE l LIKE '  The receiver said: %')
    FROM webhook_outbox.explain_event(p_id) l;
  RESET ROLE;
END
$$;
SELECT t.* FROM unnest('{regress_wo_reader,regress_wo_operator}'::name[]) r, pg_temp.told(r, :'id') t;
SELECT pg_temp.told('regress_wo_monitor', :'id');
-- nor by what somebody who may has a query of theirs run for
GRANT CREATE ON SCHEMA public TO regress_wo_reader;
SET LOCAL ROLE regress_wo_reader;
CREATE MATERIALIZED VIEW public.trap AS SELECT l FROM webhook_outbox.explain_event(:'id') l WITH NO DATA;
RESET ROLE;
REFRESH MATERIALIZED VIEW public.trap;
SELECT count(*) > 3 AS has_lines, count(*) FILTER (WHERE l LIKE '%said%') AS answers FROM public.trap;
-- no more of it than a line; of a dead letter it is known longer; no answer is none
UPDATE webhook_outbox.attempt SET response = repeat('long ', 13000);
SELECT length(l) AS length, right(l, 8) AS the_end FROM webhook_outbox.explain_event(:'id') l WHERE l LIKE '%said%';
DELETE FROM webhook_outbox.attempt;
INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, reason, attempts, last_attempt_at,
  last_outcome, last_error, last_response, created_at)
VALUES (:'id', :billing_id, 'billing', 'order.created', 'attempts_exhausted', 2, clock_timestamp(), 'http_error', 'HTTP 404',
  'no such order', clock_timestamp());
SELECT pg_temp.explain(:'id') OFFSET 3 LIMIT 3;
UPDATE webhook_outbox.dead_letter SET last_response = ' ';
SELECT count(*) FILTER (WHERE l LIKE '%said%') AS answers FROM webhook_outbox.explain_event(:'id') l;
ROLLBACK TO s;

-- Dead; discarded; sent again.
UPDATE webhook_outbox.attempt SET outcome = 'timeout', http_status = NULL, error = 'no answer after 15.0 s' WHERE number = 2;
INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, endpoint_name, event_type, reason, attempts, last_attempt_at,
  last_outcome, last_error, created_at)
VALUES (:'id', :billing_id, 'billing', 'order.created', 'attempts_exhausted', 2, clock_timestamp(), 'timeout',
  'no answer after 15.0 s', clock_timestamp());
SELECT pg_temp.explain(:'id') OFFSET 3 LIMIT 3;
SAVEPOINT s;
SELECT webhook_outbox.discard_dead_letters();
SELECT pg_temp.explain(:'id') OFFSET 3 LIMIT 4;
ROLLBACK TO s;
SELECT webhook_outbox.redeliver(:'id', 'billing');
SELECT pg_temp.explain(:'id') OFFSET 3 LIMIT 5;
ROLLBACK TO s;
UPDATE webhook_outbox.attempt SET outcome = 'tls_error', error = 'certificate was not accepted: self-signed certificate'
WHERE number = 2;
UPDATE webhook_outbox.dead_letter SET last_error = 'certificate was not accepted: self-signed certificate';
SELECT pg_temp.explain(:'id') OFFSET 4 LIMIT 2;
UPDATE webhook_outbox.attempt SET outcome = 'invalid_request', error = 'the endpoint has no signing key that is still valid'
WHERE number = 2;
UPDATE webhook_outbox.dead_letter SET last_error = NULL;
SELECT pg_temp.explain(:'id') OFFSET 4 LIMIT 2;
ROLLBACK TO s;

-- The endpoint was deleted; many others do not match; the event is for one alone.
UPDATE webhook_outbox.dead_letter SET reason = 'endpoint_deleted';
DELETE FROM webhook_outbox.endpoint WHERE name = 'billing';
INSERT INTO webhook_outbox.endpoint (name, url, event_types)
  SELECT format('other %s', to_char(i, 'FM00')), 'https://example.com/', '{user.*}' FROM generate_series(1, 20) i;
SELECT pg_temp.explain(:'id') OFFSET 2 LIMIT 5;
SELECT e FROM pg_temp.explain(:'id') e WHERE e ~ 'more';
SAVEPOINT s;
DELETE FROM webhook_outbox.attempt;
SELECT webhook_outbox.discard_dead_letters('billing');
SELECT e FROM pg_temp.explain(:'id') e WHERE e ~ 'discarded';
ROLLBACK TO s;
DELETE FROM webhook_outbox.endpoint WHERE name ~ 'other';
UPDATE webhook_outbox.cursor SET old_snapshot = :'before', new_snapshot = :'before';
SELECT webhook_outbox.send_test('crm') AS test_id \gset
SELECT pg_temp.explain(:'test_id');

-- All lines are of one moment, however long the first of them took.
SELECT substring(webhook_outbox.time_words(statement_timestamp() - interval '2.499999 s') FROM '\(.*') AS ago,
       substring(webhook_outbox.time_words(statement_timestamp() + interval '0.4 s') FROM '\(.*') AS now,
       substring(webhook_outbox.time_words(statement_timestamp() + interval '3 s') FROM '\(.*') AS ahead;

-- Not there.
SELECT pg_temp.explain('01900000-0000-4000-8000-000000000000');
SELECT regexp_replace(e, '\d+ days', 'N days') FROM pg_temp.explain('01900000-0000-7000-8000-000000000000') e;
SELECT pg_temp.explain(overlay(webhook_outbox.first_id_of(clock_timestamp())::text PLACING '7' FROM 15 FOR 1)::uuid);
SELECT pg_temp.explain(NULL);

-- What would be sent.
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/hooks', '{order.*}',
  headers => '{"Authorization": "Bearer abc"}', secret => 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz');
SELECT webhook_outbox.rotate_secret('billing', kind => 'ed25519') IS NOT NULL AS is_rotated;
SELECT method, url, replace(body, :'id', '<id>') ~ '^{"event_id":"<id>","event_type":"order.created","created_at":"[^"]+","data":{"order_id": 1}}$' AS body,
       headers ->> 'Authorization' AS authorization, headers ->> 'webhook-id' = :'id' AS id,
       (headers ->> 'webhook-timestamp')::bigint - extract(epoch FROM clock_timestamp())::bigint BETWEEN -60 AND 0 AS timestamp,
       regexp_replace(headers ->> 'webhook-signature', '[A-Za-z0-9+/=]{40,}', '<base64>', 'g') AS signature
FROM webhook_outbox.render(:'id', 'billing');
SELECT * FROM webhook_outbox.render(:'id', 'nobody');
SELECT * FROM webhook_outbox.render('01900000-0000-7000-8000-000000000000', 'billing');
ROLLBACK;
DROP EXTENSION webhook_outbox;
