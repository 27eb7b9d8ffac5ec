-- What an alert says: a sentence with the value, over what time, and the threshold. Not in SQL, where one calls another: they
-- would be planned anew with each call, a millisecond a message, and thousands of endpoints may fail at once.

CREATE FUNCTION webhook_outbox.value_words(p_value double precision, p_unit text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN p_value IS NULL THEN 'unknown'
              WHEN p_unit = 'per cent' AND p_value BETWEEN 1 AND 98 THEN trim_scale(round(p_value::numeric, 2)) || ' %'
              -- so near to an objective, or to all or nothing, decimals count
              WHEN p_unit = 'per cent' THEN trim_scale(webhook_outbox.rounded(p_value)::numeric) || ' %'
              WHEN p_unit = 'ms' AND p_value >= 120000 THEN trim_scale(round((p_value / 60000)::numeric, 1)) || ' min'
              WHEN p_unit = 'ms' AND p_value >= 10000 THEN trim_scale(round((p_value / 1000)::numeric, 1)) || ' s'
              WHEN p_unit = 'ms' THEN round(p_value::numeric) || ' ms'
              WHEN p_unit = 's' AND p_value >= 172800 THEN round((p_value / 86400)::numeric) || ' days'
              WHEN p_unit = 's' AND p_value >= 7200 THEN round((p_value / 3600)::numeric) || ' hours'
              WHEN p_unit = 's' AND p_value >= 120 THEN round((p_value / 60)::numeric) || ' min'
              WHEN p_unit = 's' THEN round(p_value::numeric) || ' s'
              ELSE trim_scale(round(p_value::numeric, 2))::text END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.value_words(double precision, text) IS 'a value with its unit, for people';

CREATE FUNCTION webhook_outbox.window_words(p_time_window text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE p_time_window WHEN 'now' THEN '' WHEN '1h' THEN ' in the last hour'
       ELSE ' in the last ' || left(p_time_window, -1)
            || CASE right(p_time_window, 1) WHEN 'm' THEN ' minutes' WHEN 'h' THEN ' hours' ELSE ' days' END END;
COMMENT ON FUNCTION webhook_outbox.window_words(text) IS 'a time_window as the end of a phrase: " in the last 5 minutes"';

CREATE FUNCTION webhook_outbox.subject_words(p_scope text, p_subject text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE p_scope WHEN 'overall' THEN 'all endpoints' WHEN 'system' THEN 'this database' WHEN 'tier' THEN 'tier ' || p_subject
                    ELSE format('%s "%s"', replace(p_scope, '_', ' '), p_subject) END;
COMMENT ON FUNCTION webhook_outbox.subject_words(text, text) IS 'what an alert is about, for people';

-- %1$s is the value, %2$s the window; of a count there is a second phrase, for more or less than one. Of a burn rate %1$s is how
-- long 30 days of the budget last. What is not here, a signal that a later version adds, is named.

CREATE FUNCTION webhook_outbox.signal_words(p_signal text, p_value double precision, p_unit text, p_time_window text)
  RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN format(
    CASE p_signal
    WHEN 'deliveries' THEN
      CASE p_value WHEN 1 THEN '%1$s delivery came to an end%2$s' ELSE '%1$s deliveries came to an end%2$s' END
    WHEN 'attempts' THEN CASE p_value WHEN 1 THEN '%1$s request was made%2$s' ELSE '%1$s requests were made%2$s' END
    WHEN 'success_rate' THEN '%1$s of the deliveries that were due%2$s were made'
    WHEN 'objective_attainment' THEN '%1$s of the deliveries that were due%2$s were made in time'
    WHEN 'attempt_success_rate' THEN '%1$s of the requests%2$s succeeded'
    WHEN 'error_rate' THEN '%1$s of the requests%2$s failed'
    WHEN 'latency_p50' THEN 'half of the deliveries%2$s took %1$s or longer'
    WHEN 'latency_p95' THEN 'the slowest 5 %% of the deliveries%2$s took %1$s or longer'
    WHEN 'latency_p99' THEN 'the slowest 1 %% of the deliveries%2$s took %1$s or longer'
    WHEN 'latency_max' THEN 'the slowest delivery%2$s took %1$s'
    WHEN 'http_p50' THEN 'half of the requests%2$s took %1$s or longer'
    WHEN 'http_p95' THEN 'the slowest 5 %% of the requests%2$s took %1$s or longer'
    WHEN 'http_p99' THEN 'the slowest 1 %% of the requests%2$s took %1$s or longer'
    WHEN 'http_max' THEN 'the slowest request%2$s took %1$s'
    WHEN 'retries_per_delivery' THEN
      CASE p_value WHEN 1 THEN 'a delivery took %1$s retry on average%2$s' ELSE 'a delivery took %1$s retries on average%2$s' END
    WHEN 'retried_share' THEN '%1$s of the deliveries%2$s took more than one request'
    WHEN 'dead_letters' THEN
      CASE p_value WHEN 1 THEN '%1$s delivery was given up%2$s' ELSE '%1$s deliveries were given up%2$s' END
    WHEN 'overdue' THEN
      CASE p_value WHEN 1 THEN '%1$s delivery that was due%2$s is late and not made yet'
                   ELSE '%1$s deliveries that were due%2$s are late and not made yet' END
    WHEN 'queue_length' THEN CASE p_value WHEN 1 THEN '%1$s delivery is owed' ELSE '%1$s deliveries are owed' END
    WHEN 'waiting' THEN CASE p_value WHEN 1 THEN '%1$s new delivery waits' ELSE '%1$s new deliveries wait' END
    WHEN 'retrying' THEN CASE p_value WHEN 1 THEN '%1$s delivery waits for a retry' ELSE '%1$s deliveries wait for a retry' END
    WHEN 'parked' THEN
      CASE p_value WHEN 1 THEN '%1$s delivery waits for its turn' ELSE '%1$s deliveries wait for their turn' END
    WHEN 'scheduled' THEN
      CASE p_value WHEN 1 THEN '%1$s delivery is scheduled for later' ELSE '%1$s deliveries are scheduled for later' END
    WHEN 'blocked' THEN
      CASE p_value WHEN 1 THEN '%1$s delivery waits for an endpoint that is paused or disabled'
                   ELSE '%1$s deliveries wait for endpoints that are paused or disabled' END
    WHEN 'oldest_age' THEN 'the oldest event that is still owed has waited for %1$s'
    WHEN 'dead_letters_kept' THEN CASE p_value WHEN 1 THEN '%1$s dead letter is kept' ELSE '%1$s dead letters are kept' END
    WHEN 'endpoint_disabled' THEN CASE p_value WHEN 1 THEN '%1$s endpoint is disabled' ELSE '%1$s endpoints are disabled' END
    WHEN 'latency_objective_ratio' THEN
      'the slowest 5 %% of the deliveries in the last 5 minutes took %1$s times their latency objective or longer'
    WHEN 'dispatcher_missing' THEN CASE p_value WHEN 0 THEN 'a dispatcher works' ELSE 'no dispatcher works' END
    WHEN 'senders_missing' THEN
      CASE p_value WHEN 0 THEN 'all senders run that should' WHEN 1 THEN '%1$s sender does not run that should'
                   ELSE '%1$s senders do not run that should' END
    WHEN 'ring_stuck' THEN
      CASE p_value WHEN 0 THEN 'partitions of event and attempt are emptied as they should be'
                   ELSE 'the oldest partition of event or attempt cannot be emptied' END
    WHEN 'longest_transaction' THEN 'the oldest transaction that has published has been open for %1$s'
    WHEN 'burn_rate' THEN
      CASE WHEN p_value > 1 THEN 'the error budget of 30 days lasts %1$s at the rate%2$s'
           ELSE 'the error budget lasts its 30 days at the rate%2$s' END
    WHEN 'queue_growth' THEN
      CASE WHEN p_value < 0 THEN 'the queue shrank by %1$s ' ELSE 'the queue grew by %1$s ' END
      || CASE abs(p_value) WHEN 1 THEN 'delivery%2$s' ELSE 'deliveries%2$s' END
    WHEN 'maintenance_age' THEN 'maintain() has not run for %1$s'
    WHEN 'maintenance_failures' THEN
      CASE p_value WHEN 1 THEN '%1$s step of maintain() fails' ELSE '%1$s steps of maintain() fail' END
    ELSE replace(replace(p_signal, '_', ' '), '%', '%%') || ' is %1$s%2$s' END,
    CASE p_signal WHEN 'queue_growth' THEN webhook_outbox.value_words(abs(p_value), p_unit)
                  WHEN 'burn_rate' THEN webhook_outbox.value_words(2592000 / nullif(p_value, 0), 's')
                  ELSE webhook_outbox.value_words(p_value, p_unit) END,
    CASE p_signal WHEN 'burn_rate' THEN replace(webhook_outbox.window_words(p_time_window), ' in ', ' of ')
                  ELSE webhook_outbox.window_words(p_time_window) END);
END
$$;
COMMENT ON FUNCTION webhook_outbox.signal_words(text, double precision, text, text) IS
  'the value of a signal as a phrase, for people';

-- When it holds: when the alert comes; else: when it ends.

CREATE FUNCTION webhook_outbox.threshold_words(p_rule webhook_outbox.alert_rule, p_unit text, p_holds boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN p_holds THEN
           'alert ' || CASE WHEN p_rule.second_window IS NULL THEN '' ELSE 'when both are ' END
           || format(CASE p_rule.comparison WHEN '>' THEN 'above %s' WHEN '>=' THEN 'at %s or more'
                                            WHEN '<' THEN 'below %s' ELSE 'at %s or less' END,
                     webhook_outbox.value_words(p_rule.threshold, p_unit))
         ELSE
           'alert ends ' || CASE WHEN p_rule.second_window IS NULL THEN '' ELSE 'when one is ' END
           || format(CASE p_rule.comparison WHEN '>' THEN 'at %s or less' WHEN '>=' THEN 'below %s'
                                            WHEN '<' THEN 'at %s or more' ELSE 'above %s' END,
                     webhook_outbox.value_words(coalesce(p_rule.clear_threshold, p_rule.threshold), p_unit)) END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.threshold_words(webhook_outbox.alert_rule, text, boolean) IS
  'what the value of a rule is compared with, for people';

CREATE FUNCTION webhook_outbox.alert_message(
  p_rule webhook_outbox.alert_rule, p_subject text, p_unit text, p_value double precision, p_second double precision,
  p_holds boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN webhook_outbox.subject_words(p_rule.scope, p_subject) || ': '
    || CASE
       WHEN p_value IS NULL THEN
         format('there is no data any more on the %s%s', replace(p_rule.signal, '_', ' '),
                webhook_outbox.window_words(p_rule.time_window))
       WHEN p_rule.signal = 'endpoint_disabled' AND p_rule.scope = 'endpoint' THEN
         CASE WHEN p_holds THEN 'it is disabled' ELSE 'it is not disabled any more' END
       WHEN p_unit = 'yes/no' AND p_rule.signal <> 'endpoint_disabled' THEN
         webhook_outbox.signal_words(p_rule.signal, p_value, p_unit, p_rule.time_window)
       ELSE
         webhook_outbox.signal_words(p_rule.signal, p_value, p_unit, p_rule.time_window)
         || format(' (%s)', concat_ws('; ',
              nullif(concat_ws(', ',
                CASE p_rule.signal WHEN 'burn_rate' THEN 'burn rate ' || webhook_outbox.value_words(p_value, p_unit) END,
                CASE WHEN p_second IS NULL THEN 'no data' ELSE webhook_outbox.value_words(p_second, p_unit) END
                  || webhook_outbox.window_words(p_rule.second_window)), ''),
              webhook_outbox.threshold_words(p_rule, p_unit, p_holds))) END
    || CASE WHEN p_holds AND p_rule.description <> '' THEN ': ' || p_rule.description ELSE '' END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.alert_message(webhook_outbox.alert_rule, text, text, double precision, double precision,
  boolean) IS 'what an alert says, in words';
