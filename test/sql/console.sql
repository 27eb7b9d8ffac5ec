-- console(): an empty installation, numbers and times for people, and strangers' text that stays text. No worker takes part:
-- the test writes what the dispatcher would, in transactions that it rolls back.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
SET TimeZone = 'UTC';

-- Whether a page is well-formed, as XML is (true also where the server was built without XML); its tags and attributes.
CREATE FUNCTION pg_temp.is_well_formed(page text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN xml_is_well_formed_document(page);
EXCEPTION WHEN feature_not_supported THEN
  RETURN true;
END
$$;
CREATE FUNCTION pg_temp.tags(page text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(DISTINCT lower(m[1]), ' ') FROM regexp_matches(page, '<([a-zA-Z0-9]+)', 'g') m
$$;
CREATE FUNCTION pg_temp.attributes(page text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(DISTINCT a[1], ' ')
  FROM regexp_matches(page, '<[a-zA-Z][^>]*>', 'g') m, regexp_matches(m[1], '\s([a-zA-Z:-]+)=', 'g') a
$$;

-- Nothing there yet: it says what to type, and all of it parses.
SELECT webhook_outbox.console() AS page \gset
SELECT pg_temp.is_well_formed(:'page') AS well_formed,
       :'page' LIKE '%What to type first%create_endpoint(%INSERT INTO%' AS says_how,
       :'page' ~ '[^\x01-\x7f]' AS has_bytes, :'page' ~ '>NULL<' AS has_null;
SELECT pg_temp.tags(:'page') AS tags;
SELECT pg_temp.attributes(:'page') AS attributes;
-- an endpoint, but no event
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('first', 'https://first.example.com/');
SELECT webhook_outbox.console() AS page \gset
SELECT pg_temp.is_well_formed(:'page') AS well_formed, :'page' LIKE '%No event has been published yet.%' AS says_so;
ROLLBACK;

-- the last endpoint is deleted: what it left behind is shown all the same
BEGIN;
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, reason, attempts, created_at)
  VALUES (0, '01a20000-0000-7000-8000-000000000001', 'gone', 'order.created', 'endpoint_deleted', 1, now());
SELECT webhook_outbox.console() AS page \gset
SELECT pg_temp.is_well_formed(:'page') AS well_formed, :'page' LIKE '%What to type first%' AS says_how,
       :'page' LIKE '%Their endpoint is deleted.%' AS shows_dead_letters;
ROLLBACK;

-- The policy lets in the style that is on the page, and nothing else.
SELECT substring(:'page' FROM 'http-equiv="Content-Security-Policy" content="([^"]*)"')
       = format('default-src ''none''; base-uri ''none''; form-action ''none''; style-src ''sha256-%s''',
                encode(sha256(convert_to(substring(:'page' FROM '<style>(.*)</style>'), 'UTF8')), 'base64')) AS policy_fits,
       :'page' ~* '<script|\son[a-z]+=|\sstyle=|javascript:|@import|url\(' AS has_more;

-- Numbers, percentages, durations.
SELECT v, replace(webhook_outbox.html_count(v), '&#8239;', ' ') AS count
FROM unnest('{0,1,2.5,999,999.6,1234,9999,12345,99960,123456,1234567,1e10,-5}'::float8[]) v;
SELECT v, replace(webhook_outbox.html_percent(v), '&#8239;', ' ') AS percent,
       replace(webhook_outbox.html_percent(v, 3), '&#8239;', ' ') AS "in columns",
       replace(webhook_outbox.html_share(v), '&#8239;', ' ') AS share
FROM unnest('{0,0.000000001,0.5,33.333,89.99,99.5,99.95,99.9996,99.99999999,100}'::float8[]) v;
SELECT replace(webhook_outbox.html_share(v), '&#8239;', ' ') AS share FROM unnest('{-0.5,-277.3,-123456}'::float8[]) v;
SELECT v AS ms, replace(webhook_outbox.html_ms(v), '&#8239;', ' ') AS duration
FROM unnest('{0,0.04,1.234,340,999.6,1200,9999,59960,61000,245000,660000,3600000,7500000,90000000,200000000,1e11}'::float8[]) v;
SELECT webhook_outbox.html_count(NULL) AS count, webhook_outbox.html_percent(NULL) AS percent, webhook_outbox.html_ms(NULL) AS ms,
       webhook_outbox.html_time(NULL) AS time, webhook_outbox.html_time('infinity') AS never;
SELECT webhook_outbox.html_ago(now() - interval '125 minutes') ~ '>2&#8239;h 5&#8239;min ago<' AS ago,
       webhook_outbox.html_ago(now() + interval '3 seconds') ~ '>in 3&#8239;s<' AS ahead;
-- 99.99 and 100 are told apart; a day is not labelled as an hour
SELECT v, round(webhook_outbox.svg_nines(v)::numeric, 2) AS nines FROM unnest('{0,50,90,99,99.9,99.99,99.9999,100}'::float8[]) v;
SELECT m, webhook_outbox.svg_step(m, 4) FROM unnest('{0,1,3,4,7,90,1234}'::float8[]) m;

-- Strangers' text.
SELECT webhook_outbox.html_escape(t, 20) FROM unnest(ARRAY['plain', '<b a="1" c=''2''>&amp;', E'tab\there\nline',
  'longer than twenty characters', '</script><script>', '', NULL]) t;
SELECT webhook_outbox.html_escape(E'a\nb', 9, true) AS kept, webhook_outbox.html_escape(E'\x01\x1b[31m\x7f') AS control;
SELECT webhook_outbox.sql_literal(t)
FROM unnest(ARRAY['plain', 'O''Hara', 'back\slash', E'new\nline\\ and '' quote', '$$ || x']) t;

CREATE FUNCTION pg_temp.evaluate(expression text, OUT result text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE 'SELECT ' || expression INTO result;
END
$$;
SELECT bool_and(pg_temp.evaluate(webhook_outbox.sql_literal(t)) = t) AS same,
       bool_or(webhook_outbox.sql_literal(t) COLLATE "C" ~ '[^ -~]') AS has_more
FROM unnest(ARRAY['plain', 'O''Hara', 'back\slash', E'new\nline\\ and '' quote', E'\x01\x7f']) t;

BEGIN;
CREATE TEMP TABLE hostile ON COMMIT DROP AS
  SELECT n, t FROM unnest(ARRAY['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', ''' onmouseover=''alert(1)',
    '</td></table></body></html>', ']]><!-- <![CDATA[', '&lt;b&gt;&#60;', E'a\x01\x1b[31mb\x7f', '</style><style>*{display:none}',
    repeat('W', 5000), '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>&y;'])
    WITH ORDINALITY h (t, n);
SELECT count(*) FROM hostile h, webhook_outbox.create_endpoint(
  left(regexp_replace(h.n || h.t, '[[:cntrl:]]', '', 'g'), 90), 'https://' || h.n || '.example.com/', tenant => left(h.t, 200)) e;
UPDATE webhook_outbox.endpoint SET enabled = false;
UPDATE webhook_outbox.operator_action o SET by_whom = h.t
FROM hostile h JOIN webhook_outbox.endpoint p ON p.url = 'https://' || h.n || '.example.com/' WHERE o.endpoint_id = p.endpoint_id;
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, tenant, reason, attempts, last_outcome,
    last_status, last_error, last_response, created_at)
  SELECT n, gen_random_uuid(), t, t, t, 'attempts_exhausted', 3, 'http_error', 500, t, t, now() FROM hostile;
INSERT INTO webhook_outbox.alert_state (rule, subject_key, state, scope, subject, severity, since, samples, message, evaluated_at)
  SELECT t, n, 'firing', 'tenant', t, 'critical', now(), 1, t, now() FROM hostile;
INSERT INTO webhook_outbox.incident_record (scope, subject_key, subject, began_at, opened_at, last_firing_at, acknowledged_at,
    acknowledged_by, reason, next_step, next_sql)
  SELECT 'tenant', n, t, now(), now(), now(), now(), t, t, t, t FROM hostile;
UPDATE webhook_outbox.maintenance_step SET last_error = (SELECT t FROM hostile WHERE n = 2), last_run_by = '<b>', failures = 1;
INSERT INTO webhook_outbox.endpoint_rollup
  SELECT date_trunc('minute', now()), 1, e.tier, e.endpoint_id, 5, 2, 1, 3, 0, 1, 1, 0, 30, 30, 10, 10,
         webhook_outbox.histogram(10), webhook_outbox.histogram(10)
  FROM webhook_outbox.endpoint e GROUP BY e.endpoint_id, e.tier;
SELECT webhook_outbox.publish('order.created', '{"very": "secret"}') IS NOT NULL AS published;
SELECT webhook_outbox.console(t, max_rows => 100) AS page FROM hostile WHERE n = 2 \gset
SELECT pg_temp.is_well_formed(:'page') AS well_formed, :'page' ~ '[^\x01-\x7f]' AS has_bytes,
       :'page' ~ '[\x01-\x08\x0b-\x1f\x7f]' AS has_controls, :'page' LIKE '%secret%' AS has_payload,
       strpos(:'page', repeat('W', 4001)) > 0 AS has_long,
       (SELECT count(*) FROM hostile WHERE strpos(:'page', webhook_outbox.html_escape(left(t, 60))) > 0) AS on_the_page;
SELECT pg_temp.tags(:'page') AS tags;
SELECT pg_temp.attributes(:'page') AS attributes;
SELECT count(*) AS links_that_leave FROM regexp_matches(:'page', '<[^>]*href="([^#][^"]*)"', 'g') m;
ROLLBACK;

-- What each part shows: a small world with known numbers.
BEGIN;
SELECT count(*) FROM unnest('{good,bad}'::text[]) n, webhook_outbox.create_endpoint(n, 'https://' || n || '.example.com/') e;
INSERT INTO webhook_outbox.endpoint_rollup
  SELECT date_trunc('minute', now()), 1, e.tier, e.endpoint_id, v.attempts, v.failures, 0, v.delivered, 0, v.dead, 0, 0, 0, 0,
         250, 250, webhook_outbox.histogram(250), webhook_outbox.histogram(250)
  FROM webhook_outbox.endpoint e JOIN (VALUES ('good', 12345, 0, 12345, 0), ('bad', 400, 220, 180, 20))
    v (name, attempts, failures, delivered, dead) USING (name)
  GROUP BY e.endpoint_id, e.tier, e.name, v.attempts, v.failures, v.delivered, v.dead;
SELECT regexp_replace(replace(p.page, '&#8239;', ' '), '<style>.*</style>', '') AS page
FROM webhook_outbox.console('A title') p (page) \gset
SELECT :'page' LIKE '%<title>A title</title>%<h1>A title</h1>%' AS title,
       :'page' LIKE '%<dt>Deliveries, 24 h</dt><dd>12.5 k</dd>%' AS deliveries,
       :'page' LIKE '%<dt>Success, 24 h</dt><dd>99.84 %</dd>%' AS success,
       :'page' LIKE '%<dt>Failed attempts, 24 h</dt><dd>1.7 %</dd>%' AS failed,
       :'page' LIKE '%>bad<%>90.00 %<%>good<%>100.00 %<%' AS worst_first,
       :'page' LIKE '%aria-label="12.5 k deliveries, 220 failed attempts"%' AS plot;
SELECT webhook_outbox.console(endpoint => 'good') AS page \gset
SELECT :'page' LIKE '%>good<%' AS has_it, :'page' LIKE '%>bad<%' AS has_others;
-- who paused an endpoint, and when; not who had, once it is resumed
SELECT webhook_outbox.pause_endpoint('good');
UPDATE webhook_outbox.operator_action SET at = now() - interval '3 minutes', by_whom = 'app (as ann)';
SELECT replace(webhook_outbox.console(), '&#8239;', ' ') LIKE '%>paused<%>by app (as ann), <%>3 min ago<%' AS says_who_paused_it;
SELECT webhook_outbox.resume_endpoint('good');
SELECT webhook_outbox.console() LIKE '%app (as ann)%' AS still_says_so;
-- an incident of a tier is on the page of an endpoint whose alerts have joined it, and not on those of others
INSERT INTO webhook_outbox.incident_record (scope, subject_key, subject, tier, began_at, opened_at, last_firing_at, reason)
  VALUES ('tier', '2', '2', 2, now(), now(), now(), 'the tier fails');
INSERT INTO webhook_outbox.incident_alert (incident_id, rule, subject_key, signal, endpoint_id, message, fired_at)
  SELECT i.incident_id, 'dead_letters', e.endpoint_id, 'dead_letters', e.endpoint_id, 'm', now()
  FROM webhook_outbox.incident_record i, webhook_outbox.endpoint e WHERE e.name = 'bad';
SELECT e.name, webhook_outbox.console(endpoint => e.name) LIKE '%the tier fails%' AS has_incident
FROM webhook_outbox.endpoint e ORDER BY e.name;
-- incidents, which say what to do, come before alerts; of those the one of the headline is the first
INSERT INTO webhook_outbox.alert_state (rule, subject_key, state, scope, subject, severity, since, samples, message, evaluated_at)
  VALUES ('budget_burn_tier', '2', 'firing', 'tier', '2', 'critical', now() - interval '2 minutes', 1, 'the budget burns', now()),
         ('success_low_tier', '2', 'firing', 'tier', '2', 'critical', now() - interval '1 minute', 1, 'half of them fail', now());
SELECT webhook_outbox.console() AS page \gset
SELECT :'page' LIKE '%the tier fails%>half of them fail<%>the budget burns<%' AS in_order_of_use;
DELETE FROM webhook_outbox.alert_state;
-- of an endpoint that is deleted it says so: another may have its name now
INSERT INTO webhook_outbox.incident_record (scope, subject_key, subject, endpoint_id, began_at, opened_at, last_firing_at, reason)
  SELECT 'endpoint', n, 'good', n, now(), now(), now(), 'it fails'
  FROM (SELECT 0 UNION ALL SELECT endpoint_id FROM webhook_outbox.endpoint WHERE name = 'good') v (n);
SELECT count(*) AS incidents, count(*) FILTER (WHERE m[1] = 'endpoint good, deleted since ') AS of_deleted
FROM regexp_matches(webhook_outbox.console(), '<h3>(endpoint good[^<]*)<', 'g') m;
DELETE FROM webhook_outbox.incident_record;
SELECT webhook_outbox.console(max_rows => 1) LIKE '%And 1 more:</p><pre>SELECT * FROM webhook_outbox.endpoint_status%'
       AS says_how_many_more;
-- dead letters: what is said to send them again can be done, though the newest was for an endpoint that is deleted
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, reason, attempts, created_at)
  VALUES (0, '01a20000-0000-7000-8000-000000000001', 'gone', 'order.created', 'endpoint_deleted', 1, now());
SELECT webhook_outbox.console() AS page \gset
SELECT :'page' LIKE '%redeliver_dead_letters(%' AS all_are_gone, :'page' LIKE '%Their endpoint is deleted.%' AS says_so;
INSERT INTO webhook_outbox.dead_letter (endpoint_id, event_id, endpoint_name, event_type, reason, attempts, created_at)
  SELECT e.endpoint_id, format('01a20000-0000-7000-8000-%s', lpad(n::text, 12, '0'))::uuid, 'a former name', 'order.created',
         'attempts_exhausted', 2, now() - n * interval '1 minute'
  FROM webhook_outbox.endpoint e, generate_series(2, 4) n WHERE e.name = 'bad';
SELECT webhook_outbox.console() AS page \gset
SELECT replace(:'page', '&#39;', '"') LIKE
         '%redeliver_dead_letters(endpoint =&gt; "bad", %explain_event("01a20000-0000-7000-8000-000000000002")%'
       AS what_can_be_done;
-- an operator sees what receivers answered, by columns that are granted to it
UPDATE webhook_outbox.dead_letter SET last_response = 'out of stock';
CREATE ROLE regress_operator;
SELECT webhook_outbox.grant_operator('regress_operator');
SET LOCAL ROLE regress_operator;
SELECT webhook_outbox.console() LIKE '%out of stock%' AS operator_sees_answers;
RESET ROLE;
-- each span has its bars
SELECT s, length(webhook_outbox.console(span => s)) > 10000 AS shown
FROM unnest('{1 hour,2 hours,24 hours,3 days,30 days,90 days}'::interval[]) s;
ROLLBACK;

-- Bad input.
SELECT webhook_outbox.console(span => '59 minutes');
SELECT webhook_outbox.console(span => NULL);
SELECT webhook_outbox.console(max_rows => 0);
SELECT webhook_outbox.console(endpoint => 'nobody');

-- EXECUTE on it is all that it takes.
CREATE ROLE regress_console;
GRANT USAGE ON SCHEMA webhook_outbox TO regress_console;
SET ROLE regress_console;
SELECT webhook_outbox.console();
RESET ROLE;
GRANT EXECUTE ON FUNCTION webhook_outbox.console, webhook_outbox.console_page TO regress_console;
SET ROLE regress_console;
SELECT pg_temp.is_well_formed(webhook_outbox.console()) AS well_formed;
RESET ROLE;
DROP OWNED BY regress_console;
DROP ROLE regress_console;
DROP EXTENSION webhook_outbox;
