-- The rules: those that come with the extension, what may be changed of them, and what is refused.
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
CREATE EXTENSION webhook_outbox;
SELECT name, signal, scope, time_window, second_window AS second, comparison AS is, threshold, clear_threshold AS clear,
       min_samples AS samples, pending_for, keep_firing_for, severity, tier, enabled, origin
FROM webhook_outbox.alert_rule ORDER BY name COLLATE "C";
SELECT count(*) AS without_words FROM webhook_outbox.alert_rule WHERE description = '';
SELECT signal, unit, scopes, time_windows FROM webhook_outbox.alert_signal
WHERE signal IN ('success_rate', 'queue_length', 'ring_stuck', 'burn_rate', 'queue_growth') ORDER BY signal;

BEGIN;
SELECT name FROM webhook_outbox.create_endpoint('billing', 'https://billing.example.com/');

-- Rules of one's own, and changes to the others.
INSERT INTO webhook_outbox.alert_rule (name, signal, scope, threshold) VALUES ('mine', 'waiting', 'overall', 100);
INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, comparison, threshold, clear_threshold, endpoint, origin)
  VALUES ('billing slow', 'latency_p99', 'endpoint', '5m', '>=', 2000, 1500, 'billing', 'extension');
UPDATE webhook_outbox.alert_rule SET threshold = 98, notify_channel = 'pager' WHERE name = 'success_low';
UPDATE webhook_outbox.alert_rule SET enabled = enabled WHERE name = 'dead_letters';
UPDATE webhook_outbox.endpoint SET name = 'invoices' WHERE name = 'billing';
SELECT name, signal, scope, time_window, comparison, threshold, clear_threshold, endpoint, severity, notify_channel, origin
FROM webhook_outbox.alert_rule WHERE origin <> 'extension' ORDER BY name;
DELETE FROM webhook_outbox.endpoint WHERE name = 'invoices';
DELETE FROM webhook_outbox.alert_rule WHERE name = 'mine';
SELECT name FROM webhook_outbox.alert_rule WHERE origin = 'user';

-- A dump brings what was changed, and it replaces what came with the extension.
INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, threshold, origin) VALUES
  ('dead_letters', 'dead_letters', 'endpoint', '24h', 3, 'changed'), ('of_a_later_version', 'retrying', 'overall', 'now', 7, 'changed');
SELECT name, time_window, threshold, origin FROM webhook_outbox.alert_rule WHERE name IN ('dead_letters', 'of_a_later_version');
INSERT INTO webhook_outbox.incident_impact VALUES ('tier_2', 3, 'tier 2 is half our business', 'changed');
SELECT * FROM webhook_outbox.incident_impact WHERE condition = 'tier_2';

-- Refused: what a rule compares.
\set rule 'INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, threshold, second_window, comparison, clear_threshold) VALUES'
\set VERBOSITY terse
:rule ('x', 'sucess_rate', 'endpoint', '1h', 99, NULL, '<', NULL);
\set VERBOSITY default
:rule ('x', 'success_rate', 'endpoints', '1h', 99, NULL, '<', NULL);
:rule ('x', 'queue_length', 'tenant', 'now', 99, NULL, '>', NULL);
:rule ('x', 'success_rate', 'system', '1h', 99, NULL, '<', NULL);
:rule ('x', 'success_rate', 'tier', '2h', 99, NULL, '<', NULL);
:rule ('x', 'success_rate', 'tier', 'now', 99, NULL, '<', NULL);
:rule ('x', 'oldest_age', 'tier', '1h', 99, NULL, '<', NULL);
:rule ('x', 'burn_rate', 'tier', '1h', 14.4, '15m', '>', NULL);
:rule ('x', 'burn_rate', 'tier', '1h', 14.4, '1h', '>', NULL);
:rule ('x', 'success_rate', 'tier', '1h', 99, NULL, '=', NULL);
:rule ('x', 'success_rate', 'tier', '1h', 101, NULL, '<', NULL);
:rule ('x', 'success_rate', 'tier', '1h', 'NaN', NULL, '<', NULL);
:rule ('x', 'oldest_age', 'tier', 'now', -1, NULL, '>', NULL);
:rule ('x', 'oldest_age', 'tier', 'now', 'Infinity', NULL, '>', NULL);
:rule ('x', 'ring_stuck', 'system', 'now', 2, NULL, '>', NULL);
:rule ('x', 'oldest_age', 'tier', 'now', 60, NULL, '>', 61);
:rule ('x', 'success_rate', 'tier', '1h', 99, NULL, '<', 98);
:rule ('x', 'success_rate', 'tier', '1h', NULL, NULL, '<', NULL);
:rule ('x', NULL, 'tier', '1h', 99, NULL, '<', NULL);
:rule ('x', 'success_rate', 'tier', '1h', 99, NULL, NULL, NULL);

-- Refused: the rest of it.
:rule ('dead_letters', 'oldest_age', 'tier', 'now', 60, NULL, '>', NULL);
:rule ('', 'oldest_age', 'tier', 'now', 60, NULL, '>', NULL);
UPDATE webhook_outbox.alert_rule SET name = 'mine' WHERE name = 'ring_stuck';
DELETE FROM webhook_outbox.alert_rule WHERE name = 'ring_stuck';
TRUNCATE webhook_outbox.alert_rule;
UPDATE webhook_outbox.alert_rule SET severity = 'page' WHERE name = 'ring_stuck';
UPDATE webhook_outbox.alert_rule SET min_samples = -1 WHERE name = 'ring_stuck';
UPDATE webhook_outbox.alert_rule SET pending_for = '-1 s' WHERE name = 'ring_stuck';
UPDATE webhook_outbox.alert_rule SET keep_firing_for = '2 days' WHERE name = 'ring_stuck';
UPDATE webhook_outbox.alert_rule SET tier = 1 WHERE name = 'ring_stuck';
UPDATE webhook_outbox.alert_rule SET tier = 7 WHERE name = 'success_low';
UPDATE webhook_outbox.alert_rule SET endpoint = 'billing' WHERE name = 'success_low_tier';
UPDATE webhook_outbox.alert_rule SET endpoint = 'nobody' WHERE name = 'success_low';
UPDATE webhook_outbox.alert_rule SET notify_channel = '' WHERE name = 'success_low';
UPDATE webhook_outbox.alert_rule SET notify_channel = repeat('x', 64) WHERE name = 'success_low';
UPDATE webhook_outbox.alert_rule SET description = repeat('x', 1001) WHERE name = 'success_low';

-- Refused: silence.
SELECT webhook_outbox.silence_alert('nothing', NULL, now() + interval '1 hour', 'x');
SELECT webhook_outbox.silence_alert(NULL, NULL, now() + interval '1 hour', 'x');
SELECT webhook_outbox.silence_alert('success_low', 'nobody', now() + interval '1 hour', 'x');
SELECT webhook_outbox.silence_alert('success_low_tier', 'critical', now() + interval '1 hour', 'x');
SELECT webhook_outbox.silence_alert('success_low', NULL, '2020-01-01 00:00 UTC', 'x');
SELECT webhook_outbox.silence_alert('success_low', NULL, 'infinity', 'x');
SELECT webhook_outbox.silence_alert('success_low', NULL, NULL, 'x');
SELECT webhook_outbox.silence_alert('success_low', NULL, now() + interval '1 hour', '  ');
SELECT webhook_outbox.silence_alert(NULL, repeat('x', 401), now() + interval '1 hour', 'x');
SELECT webhook_outbox.silence_alert('success_low', NULL, now() + interval '1 hour', repeat('x', 1001));
SELECT count(*) AS silences FROM webhook_outbox.alert_silence;
-- an operator may UPDATE it
SAVEPOINT silence;
SELECT webhook_outbox.silence_alert('success_low', NULL, now() + interval '1 hour', 'x') > 0 AS is_silent;
UPDATE webhook_outbox.alert_silence SET reason = repeat('x', 1000);
UPDATE webhook_outbox.alert_silence SET reason = repeat('x', 1001);
UPDATE webhook_outbox.alert_silence SET reason = ' ';
ROLLBACK TO silence;
ROLLBACK;
DROP EXTENSION webhook_outbox;
