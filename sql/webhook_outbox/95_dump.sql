-- What pg_dump takes along: all that users wrote or that says what became of it. Left out is what is true of this cluster's
-- transactions only (cursor, ring_leaf), and endpoint_change: loading endpoint makes it anew. Of the two rings the leaves
-- hold the rows.

DO $$
DECLARE
  v_table text;
BEGIN
  -- One call a statement: a second one in the same statement would not see the first one's row.
  FOREACH v_table IN ARRAY '{claim,endpoint,endpoint_endpoint_id_seq,endpoint_secret,endpoint_secret_secret_id_seq,
                             endpoint_header,
                             event_0,event_1,event_2,event_3,event_4,event_5,event_6,event_7,event_kept,
                             attempt_0,attempt_1,attempt_2,attempt_3,attempt_4,attempt_5,attempt_6,attempt_7,
                             delivery,dead_letter,command,command_command_id_seq,operation,
                             endpoint_rollup,series,series_rollup,error_rollup,rollup_watermark,
                             event_shape,endpoint_counter,error_counter,
                             maintenance_step,queue_sample,alert_silence,
                             alert_silence_silence_id_seq,alert_history,alert_history_change_id_seq,incident_record,
                             incident_record_incident_id_seq,incident_alert,incident_event,
                             incident_event_incident_event_id_seq,publisher_tenant,
                             operator_action,operator_action_action_id_seq}'::text[]
  LOOP
    PERFORM pg_catalog.pg_extension_config_dump(('webhook_outbox.' || v_table)::pg_catalog.regclass, '');
  END LOOP;
END
$$;

-- The tiers that come with the extension are there when a dump is loaded. One that still is as it came is not dumped; one
-- that was changed is, and replaces what CREATE EXTENSION made.

SELECT pg_catalog.pg_extension_config_dump('webhook_outbox.tier',
  $$WHERE (tier, name, success_objective, latency_objective) NOT IN
    ((1, 'critical', 99.99, '30 seconds'), (2, 'standard', 99.9, '10 minutes'), (3, 'best effort', 99, '1 hour'))$$);

CREATE FUNCTION webhook_outbox.tier_before_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE webhook_outbox.tier t
    SET name = NEW.name, success_objective = NEW.success_objective, latency_objective = NEW.latency_objective
  WHERE t.tier = NEW.tier
    AND (t.tier, t.name, t.success_objective, t.latency_objective) IN
        ((1, 'critical', 99.99, '30 seconds'), (2, 'standard', 99.9, '10 minutes'), (3, 'best effort', 99, '1 hour'));
  RETURN CASE WHEN NOT FOUND THEN NEW END;
END
$$;
COMMENT ON FUNCTION webhook_outbox.tier_before_insert() IS
  'trigger: a row for a tier that is still as the extension made it replaces that, so that a dump can be loaded';
REVOKE ALL ON FUNCTION webhook_outbox.tier_before_insert() FROM PUBLIC;
CREATE TRIGGER tier_before_insert BEFORE INSERT ON webhook_outbox.tier
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.tier_before_insert();

-- Rules and weights that still are as they came are not dumped either; their triggers know what to do with those that are.

SELECT pg_catalog.pg_extension_config_dump('webhook_outbox.alert_rule', $$WHERE origin <> 'extension'$$);
SELECT pg_catalog.pg_extension_config_dump('webhook_outbox.incident_severity', $$WHERE origin <> 'extension'$$);
SELECT pg_catalog.pg_extension_config_dump('webhook_outbox.incident_likelihood', $$WHERE origin <> 'extension'$$);
SELECT pg_catalog.pg_extension_config_dump('webhook_outbox.incident_impact', $$WHERE origin <> 'extension'$$);
