-- What alerts are raised on. The rules that come with the extension may be changed and disabled, not deleted: origin says
-- which were touched, so that pg_dump takes those along and an update of the extension leaves them alone.

-- What a rule may watch: the signals, and what is computed for alerts alone (alert_readings() has their values). A signal
-- that a later version adds is a row of signal_definition, or a row here.

CREATE VIEW webhook_outbox.alert_signal AS
  SELECT d.signal, d.unit, d.better, d.description,
         CASE d.kind WHEN 'window' THEN '{overall,tier,tenant,event_type,endpoint}'::text[]
                     WHEN 'state' THEN '{overall,tier,endpoint}' ELSE '{system}' END AS scopes,
         CASE d.kind WHEN 'window' THEN '{5m,1h,24h,30d}'::text[] ELSE '{now}' END AS time_windows
  FROM webhook_outbox.signal_definition d
UNION ALL
  SELECT * FROM (VALUES
    ('burn_rate', 'ratio', 'lower',
     'how fast the error budget is spent: 1 spends all of it in 30 days; its samples are bad deliveries',
     '{tier,endpoint}'::text[], '{5m,30m,1h,6h,3d}'::text[]),
    ('queue_growth', 'count', 'lower', 'by how much queue_length grew since the start of the window',
     '{overall,endpoint}', '{5m,30m,1h,6h}'),
    ('maintenance_age', 's', 'lower', 'time since maintain() ran last', '{system}', '{now}'),
    ('maintenance_failures', 'count', 'lower', 'steps of maintain() whose last run failed', '{system}', '{now}'))
    v (signal, unit, better, description, scopes, time_windows)
  WHERE NOT EXISTS (SELECT FROM webhook_outbox.signal_definition d WHERE d.signal = v.signal);
COMMENT ON VIEW webhook_outbox.alert_signal IS 'the signals that a row of alert_rule may name';
COMMENT ON COLUMN webhook_outbox.alert_signal.signal IS 'its name';
COMMENT ON COLUMN webhook_outbox.alert_signal.unit IS 'of its values, and of the thresholds: per cent, ms, s, count, ratio or yes/no (1/0)';
COMMENT ON COLUMN webhook_outbox.alert_signal.better IS 'whether higher or lower values are better';
COMMENT ON COLUMN webhook_outbox.alert_signal.description IS 'what it says';
COMMENT ON COLUMN webhook_outbox.alert_signal.scopes IS 'of what it is measured';
COMMENT ON COLUMN webhook_outbox.alert_signal.time_windows IS 'over which windows; now: it is a state';

CREATE TABLE webhook_outbox.alert_rule (
  name            text PRIMARY KEY,
  signal          text NOT NULL,
  scope           text NOT NULL,
  time_window     text NOT NULL DEFAULT 'now',
  second_window   text,
  comparison      text NOT NULL DEFAULT '>',
  threshold       double precision NOT NULL,
  clear_threshold double precision,
  min_samples     bigint NOT NULL DEFAULT 0,
  pending_for     interval NOT NULL DEFAULT '0',
  keep_firing_for interval NOT NULL DEFAULT '5 minutes',
  severity        text NOT NULL DEFAULT 'warning',
  tier            smallint REFERENCES webhook_outbox.tier ON DELETE CASCADE,
  endpoint        text REFERENCES webhook_outbox.endpoint (name) ON UPDATE CASCADE ON DELETE CASCADE,
  enabled         boolean NOT NULL DEFAULT true,
  notify_channel  text,
  description     text NOT NULL DEFAULT '',
  origin          text NOT NULL DEFAULT 'user' CHECK (origin IN ('extension', 'changed', 'user'))
);
CREATE INDEX alert_rule_endpoint ON webhook_outbox.alert_rule (endpoint) WHERE endpoint IS NOT NULL;
COMMENT ON TABLE webhook_outbox.alert_rule IS 'what raises alerts: INSERT, UPDATE and DELETE take effect at the next evaluation, within a minute';
COMMENT ON COLUMN webhook_outbox.alert_rule.name IS 'unique name, 1 to 100 characters';
COMMENT ON COLUMN webhook_outbox.alert_rule.signal IS 'what is watched, see alert_signal';
COMMENT ON COLUMN webhook_outbox.alert_rule.scope IS 'of what: overall, tier, tenant, event_type, endpoint or system; each of them has an alert of its own';
COMMENT ON COLUMN webhook_outbox.alert_rule.time_window IS 'over which window; now: the signal is a state';
COMMENT ON COLUMN webhook_outbox.alert_rule.second_window IS 'the condition must hold over this window too; NULL: one window is enough';
COMMENT ON COLUMN webhook_outbox.alert_rule.comparison IS '>, >=, < or <=: the condition is value comparison threshold';
COMMENT ON COLUMN webhook_outbox.alert_rule.threshold IS 'in the unit of the signal';
COMMENT ON COLUMN webhook_outbox.alert_rule.clear_threshold IS 'once it fires the condition holds until the value passes this; NULL: threshold';
COMMENT ON COLUMN webhook_outbox.alert_rule.min_samples IS 'on fewer samples in time_window there is insufficient data, and no alert';
COMMENT ON COLUMN webhook_outbox.alert_rule.pending_for IS 'how long the condition must hold before it fires, at most 30 days';
COMMENT ON COLUMN webhook_outbox.alert_rule.keep_firing_for IS
  'how long the condition must not hold before it is resolved, at most 1 day; doubled with each time more than '
  'one that it fired within the last hour, up to eight times as long';
COMMENT ON COLUMN webhook_outbox.alert_rule.severity IS 'critical (wake somebody), warning (look at it today) or info';
COMMENT ON COLUMN webhook_outbox.alert_rule.tier IS 'only this tier, or endpoints of it; NULL: all';
COMMENT ON COLUMN webhook_outbox.alert_rule.endpoint IS 'only the endpoint of this name; NULL: all';
COMMENT ON COLUMN webhook_outbox.alert_rule.enabled IS 'false: is not evaluated, and what it raised ends';
COMMENT ON COLUMN webhook_outbox.alert_rule.notify_channel IS 'NOTIFY this channel when an alert fires or is resolved; NULL: do not';
COMMENT ON COLUMN webhook_outbox.alert_rule.description IS 'what it means, free text; part of the message of alerts';
COMMENT ON COLUMN webhook_outbox.alert_rule.origin IS 'extension (as it came), changed (came with the extension, was changed) or user; set by a trigger';

INSERT INTO webhook_outbox.alert_rule (name, signal, scope, time_window, second_window, comparison, threshold, clear_threshold,
  min_samples, pending_for, keep_firing_for, severity, tier, description) VALUES
  ('success_low', 'success_rate', 'endpoint', '1h', NULL, '<', 99, 99.5, 20, '0', '5 min', 'warning', NULL,
   'the others are late or were given up'),
  ('success_low_tier', 'success_rate', 'tier', '1h', NULL, '<', 99, 99.5, 50, '0', '5 min', 'critical', NULL,
   'the others are late or were given up'),
  ('error_rate_high', 'error_rate', 'endpoint', '5m', NULL, '>', 25, 10, 20, '5 min', '10 min', 'warning', NULL,
   'retries may still deliver'),
  ('latency_high', 'latency_objective_ratio', 'endpoint', 'now', NULL, '>', 1, 0.9, 20, '5 min', '10 min', 'warning', NULL,
   'deliveries take longer than was promised'),
  ('waiting_long_tier_1', 'oldest_age', 'endpoint', 'now', NULL, '>', 300, NULL, 0, '2 min', '5 min', 'critical', 1,
   'an event of tier 1 is not delivered yet'),
  ('waiting_long', 'oldest_age', 'endpoint', 'now', NULL, '>', 3600, NULL, 0, '5 min', '5 min', 'warning', NULL,
   'an event is not delivered yet'),
  ('queue_long', 'queue_length', 'endpoint', 'now', NULL, '>', 10000, 8000, 0, '5 min', '5 min', 'warning', NULL,
   'it takes less than is published for it, or nothing'),
  ('queue_growing', 'queue_growth', 'endpoint', '1h', NULL, '>', 5000, 2000, 10, '10 min', '10 min', 'warning', NULL,
   'more is published than the endpoint takes'),
  ('dead_letters', 'dead_letters', 'endpoint', '1h', NULL, '>', 0, NULL, 0, '0', '0', 'warning', NULL,
   'redeliver_dead_letters() sends again what was given up, once the cause is mended'),
  ('budget_burn_fast_tier', 'burn_rate', 'tier', '1h', '5m', '>', 14.4, NULL, 10, '0', '5 min', 'critical', NULL,
   'look now, or the objective of 30 days is missed'),
  ('budget_burn_tier', 'burn_rate', 'tier', '6h', '30m', '>', 6, NULL, 10, '0', '15 min', 'critical', NULL,
   'look now, or the objective of 30 days is missed'),
  ('budget_burn_slow_tier', 'burn_rate', 'tier', '3d', '6h', '>', 1, NULL, 10, '0', '1 hour', 'warning', NULL,
   'look at it today: the objective of 30 days is missed if it goes on'),
  ('budget_burn_fast', 'burn_rate', 'endpoint', '1h', '5m', '>', 14.4, NULL, 10, '0', '5 min', 'critical', NULL,
   'look now, or the objective of 30 days is missed'),
  ('budget_burn', 'burn_rate', 'endpoint', '6h', '30m', '>', 6, NULL, 10, '0', '15 min', 'critical', NULL,
   'look now, or the objective of 30 days is missed'),
  ('budget_burn_slow', 'burn_rate', 'endpoint', '3d', '6h', '>', 1, NULL, 10, '0', '1 hour', 'warning', NULL,
   'look at it today: the objective of 30 days is missed if it goes on'),
  ('endpoint_disabled', 'endpoint_disabled', 'endpoint', 'now', NULL, '>', 0, NULL, 0, '0', '0', 'critical', NULL,
   'it answered 410 Gone, and nothing is sent to it until it is resumed'),
  ('dispatcher_missing', 'dispatcher_missing', 'system', 'now', NULL, '>', 0, NULL, 0, '1 min', '2 min', 'critical', NULL,
   'nothing is delivered'),
  ('senders_missing', 'senders_missing', 'system', 'now', NULL, '>', 0, NULL, 0, '2 min', '2 min', 'critical', NULL,
   'less is delivered, or nothing; worker_status says why'),
  ('ring_stuck', 'ring_stuck', 'system', 'now', NULL, '>', 0, NULL, 0, '10 min', '5 min', 'warning', NULL,
   'the current one grows, and what is past its retention stays'),
  ('transaction_long', 'longest_transaction', 'system', 'now', NULL, '>', 900, NULL, 0, '0', '2 min', 'warning', NULL,
   'its events are not delivered before it ends'),
  ('maintenance_late', 'maintenance_age', 'system', 'now', NULL, '>', 600, NULL, 0, '0', '2 min', 'warning', NULL,
   'alerts are not evaluated, and retention does not work'),
  ('maintenance_failing', 'maintenance_failures', 'system', 'now', NULL, '>', 0, NULL, 0, '5 min', '5 min', 'warning', NULL,
   'see maintenance_status');
UPDATE webhook_outbox.alert_rule SET origin = 'extension';

CREATE FUNCTION webhook_outbox.check_alert_signal(p_rule webhook_outbox.alert_rule) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_signal  record;
  v_message text;
  v_hint    text;
  v_min     double precision := CASE WHEN p_rule.signal = 'queue_growth' THEN -1e15 ELSE 0 END;
  v_max     double precision;
BEGIN
  SELECT s.* INTO v_signal FROM webhook_outbox.alert_signal s WHERE s.signal = p_rule.signal;
  IF NOT FOUND THEN
    v_message := format('signal "%s" does not exist', p_rule.signal);
    v_hint := (SELECT format('Signals: %s.', string_agg(s.signal, ', ' ORDER BY s.signal)) FROM webhook_outbox.alert_signal s);
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_message, HINT = v_hint;
  END IF;
  v_max := CASE v_signal.unit WHEN 'per cent' THEN 100 WHEN 'yes/no' THEN 1 ELSE 1e15 END;
  IF p_rule.scope NOT IN ('overall', 'tier', 'tenant', 'event_type', 'endpoint', 'system') THEN
    v_message := format('scope "%s" does not exist', p_rule.scope);
    v_hint := format('Scopes of %s: %s.', p_rule.signal, array_to_string(v_signal.scopes, ', '));
  ELSIF p_rule.scope <> ALL (v_signal.scopes) THEN
    v_message := format('signal %s has no scope "%s"', p_rule.signal, p_rule.scope);
    v_hint := format('Scopes of %s: %s.', p_rule.signal, array_to_string(v_signal.scopes, ', '));
  ELSIF p_rule.time_window <> ALL (v_signal.time_windows) THEN
    v_message := format('signal %s has no time_window "%s"', p_rule.signal, p_rule.time_window);
    v_hint := format('Windows of %s: %s.', p_rule.signal, array_to_string(v_signal.time_windows, ', '));
  ELSIF p_rule.second_window <> ALL (v_signal.time_windows) THEN
    v_message := format('signal %s has no second_window "%s"', p_rule.signal, p_rule.second_window);
    v_hint := format('Windows of %s: %s. NULL means: one is enough.', p_rule.signal,
                     array_to_string(v_signal.time_windows, ', '));
  ELSIF p_rule.second_window = p_rule.time_window THEN
    v_message := format('second_window "%s" is the time_window too', p_rule.second_window);
    v_hint := 'Choose a shorter one, so that the alert ends soon after its cause, or NULL.';
  ELSIF p_rule.comparison NOT IN ('>', '>=', '<', '<=') THEN
    v_message := format('comparison "%s" does not exist', p_rule.comparison);
    v_hint := 'Use >, >=, < or <=.';
  ELSIF NOT coalesce(p_rule.threshold BETWEEN v_min AND v_max, false) THEN
    v_message := format('threshold %s is out of range', p_rule.threshold);
    v_hint := format('The unit of %s is %s: %s.', p_rule.signal, v_signal.unit,
                     CASE WHEN v_max < 1e15 THEN '0 to ' || v_max WHEN v_min < 0 THEN 'any number'
                          ELSE '0 or more' END);
  ELSIF NOT coalesce(p_rule.clear_threshold BETWEEN -1e15 AND 1e15, p_rule.clear_threshold IS NULL)
        OR (p_rule.comparison LIKE '>%' AND p_rule.clear_threshold > p_rule.threshold)
        OR (p_rule.comparison LIKE '<%' AND p_rule.clear_threshold < p_rule.threshold) THEN
    v_message := format('clear_threshold %s is on the wrong side of threshold %s', p_rule.clear_threshold, p_rule.threshold);
    v_hint := format('For %s it is %s the threshold or equal to it; NULL means: equal.', p_rule.comparison,
                     CASE WHEN p_rule.comparison LIKE '>%' THEN 'below' ELSE 'above' END);
  ELSE
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_alert_signal(webhook_outbox.alert_rule) IS
  'fails unless the signal of a rule exists in its scope and windows, and its thresholds are in range';

CREATE FUNCTION webhook_outbox.check_alert_rule(p_rule webhook_outbox.alert_rule) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_message text;
  v_hint    text;
  v_code    text := 'invalid_parameter_value';
BEGIN
  IF char_length(p_rule.name) NOT BETWEEN 1 AND 100 OR p_rule.name ~ '[[:cntrl:]]|^[[:space:]]|[[:space:]]$' THEN
    v_code := 'invalid_name';
    v_message := format('%L is not a name for an alert rule', left(p_rule.name, 120));
    v_hint := 'A name has 1 to 100 characters, no control characters, and no space at either end.';
  ELSIF p_rule.min_samples < 0 THEN
    v_message := format('min_samples %s is out of range', p_rule.min_samples);
    v_hint := '0 or more; 20 keeps a rate from being judged on a handful of deliveries.';
  ELSIF extract(epoch FROM p_rule.pending_for) NOT BETWEEN 0 AND 2592000 THEN
    v_message := format('pending_for %L is out of range', p_rule.pending_for);
    v_hint := '0 to 30 days. 0 fires at the first evaluation that finds the condition true.';
  ELSIF extract(epoch FROM p_rule.keep_firing_for) NOT BETWEEN 0 AND 86400 THEN
    v_message := format('keep_firing_for %L is out of range', p_rule.keep_firing_for);
    v_hint := '0 to 1 day. 0 resolves at the first evaluation that finds the condition false.';
  ELSIF p_rule.severity NOT IN ('critical', 'warning', 'info') THEN
    v_message := format('severity "%s" does not exist', p_rule.severity);
    v_hint := 'Use critical, warning or info.';
  ELSIF p_rule.tier IS NOT NULL AND p_rule.scope NOT IN ('tier', 'endpoint') THEN
    v_message := format('a rule of scope %s has no tier', p_rule.scope);
    v_hint := 'Leave tier NULL, or use scope tier or endpoint.';
  ELSIF p_rule.tier IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_outbox.tier t WHERE t.tier = p_rule.tier) THEN
    v_code := 'foreign_key_violation';
    v_message := format('tier %s does not exist', p_rule.tier);
    v_hint := (SELECT format('Tiers: %s.', string_agg(format('%s (%s)', t.tier, t.name), ', ' ORDER BY t.tier))
               FROM webhook_outbox.tier t);
  ELSIF p_rule.endpoint IS NOT NULL AND p_rule.scope <> 'endpoint' THEN
    v_message := format('a rule of scope %s has no endpoint', p_rule.scope);
    v_hint := 'Leave endpoint NULL, or use scope endpoint.';
  ELSIF char_length(p_rule.description) > 1000 THEN
    v_message := format('description of alert rule "%s" has %s characters', p_rule.name, char_length(p_rule.description));
    v_hint := 'It is part of each message, 1000 characters are the most.';
  ELSIF octet_length(p_rule.notify_channel) NOT BETWEEN 1 AND 63 THEN
    v_message := format('notify_channel %L is not the name of a channel', left(p_rule.notify_channel, 80));
    v_hint := 'It has 1 to 63 bytes, as in LISTEN channel; NULL means: no NOTIFY.';
  ELSE
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = v_code, MESSAGE = v_message, HINT = v_hint;
END
$$;
COMMENT ON FUNCTION webhook_outbox.check_alert_rule(webhook_outbox.alert_rule) IS
  'fails unless the columns of a rule that do not depend on its signal are in range';

CREATE FUNCTION webhook_outbox.alert_rule_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_null text;
BEGIN
  SELECT c.key INTO v_null
  FROM jsonb_each_text(to_jsonb(NEW)) c
  WHERE c.value IS NULL
    AND c.key NOT IN ('second_window', 'clear_threshold', 'tier', 'endpoint', 'notify_channel', 'origin')
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'not_null_violation',
      MESSAGE = format('%s of an alert rule must not be null', v_null),
      HINT = CASE WHEN v_null IN ('name', 'signal', 'scope', 'threshold')
                  THEN 'Every rule has a name, a signal, a scope and a threshold.'
                  ELSE 'Leave it out to get its default.' END;
  END IF;
  PERFORM webhook_outbox.check_alert_rule(NEW);
  PERFORM webhook_outbox.check_alert_signal(NEW);
  IF NEW.endpoint IS NOT NULL THEN
    PERFORM webhook_outbox.find_endpoint(NEW.endpoint);
  END IF;

  IF TG_OP = 'UPDATE' THEN
    IF NEW.name <> OLD.name AND OLD.origin <> 'user' THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('alert rule "%s" comes with the extension and keeps its name', OLD.name),
        HINT = 'INSERT a rule of your own, and SET enabled = false on this one.';
    END IF;
    NEW.origin := OLD.origin;
    IF OLD.origin = 'extension' AND NEW IS DISTINCT FROM OLD THEN
      NEW.origin := 'changed';
    END IF;
    RETURN NEW;
  END IF;

  IF NEW.origin = 'changed' THEN
    -- a dump: what was changed there replaces what CREATE EXTENSION made
    DELETE FROM webhook_outbox.alert_rule r WHERE r.name = NEW.name AND r.origin = 'extension';
  ELSIF EXISTS (SELECT FROM webhook_outbox.alert_rule r WHERE r.name = NEW.name) THEN
    RAISE EXCEPTION USING ERRCODE = 'unique_violation',
      MESSAGE = format('alert rule "%s" already exists', NEW.name),
      HINT = 'Choose another name, or UPDATE webhook_outbox.alert_rule to change that one.';
  ELSE
    NEW.origin := 'user';
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook_outbox.alert_rule_before_write() IS 'trigger: checks a rule and sets its origin';
CREATE TRIGGER alert_rule_before_write BEFORE INSERT OR UPDATE ON webhook_outbox.alert_rule
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.alert_rule_before_write();

CREATE FUNCTION webhook_outbox.alert_rule_before_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- not where the row goes with its tier or endpoint, or makes way for one of a dump
  IF OLD.origin <> 'user' AND pg_trigger_depth() = 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('alert rule "%s" comes with the extension', OLD.name),
      HINT = format('UPDATE webhook_outbox.alert_rule SET enabled = false WHERE name = %L turns it off.', OLD.name);
  END IF;
  RETURN OLD;
END
$$;
COMMENT ON FUNCTION webhook_outbox.alert_rule_before_delete() IS
  'trigger: keeps the rules that came with the extension, so that a dump knows what became of them';
CREATE TRIGGER alert_rule_before_delete BEFORE DELETE ON webhook_outbox.alert_rule
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.alert_rule_before_delete();
CREATE TRIGGER alert_rule_no_truncate BEFORE TRUNCATE ON webhook_outbox.alert_rule
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('UPDATE webhook_outbox.alert_rule SET enabled = false turns all off.');
