-- What alerts say: of every signal a sentence, with the value, its unit, over what time, and the threshold.
\set SHOW_CONTEXT never
CREATE EXTENSION webhook_outbox;
BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('crm', 'https://crm.example.com/');
CREATE FUNCTION pg_temp.says(p_rule text, p_value double precision, p_second double precision DEFAULT NULL,
  p_holds boolean DEFAULT true) RETURNS text LANGUAGE sql AS $$
  SELECT webhook_outbox.alert_message(r, CASE r.scope WHEN 'endpoint' THEN 'crm' WHEN 'tier' THEN '1' ELSE '' END, s.unit,
                                      p_value, p_second, p_holds)
  FROM webhook_outbox.alert_rule r JOIN webhook_outbox.alert_signal s ON s.signal = r.signal WHERE r.name = p_rule;
$$;
\pset format unaligned
\pset tuples_only on

-- The rules as they come, just beyond their thresholds, and far.
SELECT pg_temp.says(r.name, r.threshold * f, r.threshold * f)
FROM webhook_outbox.alert_rule r, unnest(ARRAY[1.5, 30]) f
WHERE r.comparison = '>' AND r.threshold > 0 ORDER BY r.name, f;
SELECT pg_temp.says(r.name, v) FROM webhook_outbox.alert_rule r, (VALUES (1), (8)) n (v)
WHERE r.threshold = 0 AND (v = 1 OR r.signal NOT IN ('dispatcher_missing', 'ring_stuck', 'endpoint_disabled')) ORDER BY r.name, v;
SELECT pg_temp.says(r.name, v) FROM webhook_outbox.alert_rule r, unnest(ARRAY[0, 98.999]) v WHERE r.comparison = '<' ORDER BY r.name, v;

-- What ends: fine again, or no data any more.
SELECT pg_temp.says(r.name, CASE r.comparison WHEN '>' THEN 0 ELSE 100 END, 0, false) FROM webhook_outbox.alert_rule r ORDER BY r.name;
SELECT pg_temp.says(r, NULL, s, false)
FROM (VALUES ('success_low', NULL::double precision), ('waiting_long', NULL), ('budget_burn', NULL), ('budget_burn_slow', 3)) v (r, s);
SELECT pg_temp.says('budget_burn', 1000, NULL, false);
SELECT pg_temp.says('budget_burn', 1000, 3.456, false);

-- Every signal that a rule may name has words of its own, for one, for many, over each kind of window.
UPDATE webhook_outbox.alert_rule SET enabled = false;
INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, comparison, threshold)
  SELECT 'of ' || s.signal, s.signal, s.scopes[1], s.time_windows[1], '>=', CASE s.unit WHEN 'yes/no' THEN 1 ELSE 2 END
  FROM webhook_outbox.alert_signal s;
SELECT pg_temp.says('of ' || s.signal, 1) FROM webhook_outbox.alert_signal s ORDER BY s.signal COLLATE "C";
SELECT pg_temp.says('of ' || s.signal, 12345) FROM webhook_outbox.alert_signal s
WHERE s.unit <> 'yes/no' AND s.unit <> 'per cent' ORDER BY s.signal COLLATE "C";
SELECT s.signal AS has_no_words FROM webhook_outbox.alert_signal s
WHERE pg_temp.says('of ' || s.signal, 1) IS NULL OR pg_temp.says('of ' || s.signal, 1) LIKE '%' || replace(s.signal, '_', ' ') || ' is %';
SELECT w, webhook_outbox.signal_words('error_rate', 50, 'per cent', w)
FROM (SELECT DISTINCT unnest(s.time_windows) FROM webhook_outbox.alert_signal s) u (w) ORDER BY w COLLATE "C";
SELECT webhook_outbox.signal_words('queue_growth', -3, 'count', '1h');
SELECT webhook_outbox.signal_words('burn_rate', 0.5, 'ratio', '6h');
-- one that a later version adds
SELECT webhook_outbox.signal_words('100%_new', 7, 's', '5m');

-- Each comparison, and two windows.
SELECT c, h, webhook_outbox.threshold_words(jsonb_populate_record(r, jsonb_build_object('comparison', c)), 'per cent', h)
FROM webhook_outbox.alert_rule r, unnest('{>,>=,<,<=}'::text[]) c, (VALUES (true), (false)) v (h)
WHERE r.name = 'error_rate_high' ORDER BY c COLLATE "C", h DESC;
UPDATE webhook_outbox.alert_rule SET second_window = '1h' WHERE name = 'error_rate_high';
SELECT pg_temp.says('error_rate_high', 40, 30), pg_temp.says('error_rate_high', 40, 9, false);
ROLLBACK;
DROP EXTENSION webhook_outbox;
