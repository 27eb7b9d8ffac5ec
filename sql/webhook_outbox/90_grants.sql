-- Every grant. Nothing on tables, sequences and views goes to PUBLIC, nor EXECUTE on what changes or shows something. What
-- PUBLIC may execute shows and changes nothing of others, and needs USAGE on the schema to be named at all. What roles get:
-- publisher_privilege, monitor_privilege, operator_privilege, worker_privilege.

REVOKE ALL ON ALL TABLES IN SCHEMA webhook_outbox FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA webhook_outbox FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA webhook_outbox FROM PUBLIC;

-- the default of event.slot runs as whoever inserts
GRANT EXECUTE ON FUNCTION webhook_outbox.current_slot() TO PUBLIC;
-- the views call it as whoever reads them
GRANT EXECUTE ON FUNCTION webhook_outbox.type_matches(text[], text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.rounded(double precision) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.check_url(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.check_event_types(text[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.check_headers(jsonb, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.check_retry_schedule(interval[]) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.exponential_schedule(interval, double precision, interval, integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.public_key(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.histogram(double precision), webhook_outbox.histogram_merge(bytea),
  webhook_outbox.histogram_quantile(bytea, double precision), webhook_outbox.histogram_count(bytea),
  webhook_outbox.histogram_count_below(bytea, double precision), webhook_outbox.histogram_buckets(bytea) TO PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_outbox.alert_look(text, text, text, text) TO PUBLIC;
