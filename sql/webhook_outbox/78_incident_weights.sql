-- The score of an incident: severity (how bad for a delivery) x likelihood (that it goes on or comes again) x impact (for how
-- many), each 1 to 5. Each is the highest weight of the conditions that apply. What the conditions are is code (conditions of
-- an incident, below); the weights are rows for users to change.

CREATE TABLE webhook_outbox.incident_severity (
  condition   text PRIMARY KEY,
  weight      smallint NOT NULL,
  description text NOT NULL,
  origin      text NOT NULL DEFAULT 'extension' CHECK (origin IN ('extension', 'changed'))
);
CREATE TABLE webhook_outbox.incident_likelihood (LIKE webhook_outbox.incident_severity INCLUDING ALL);
CREATE TABLE webhook_outbox.incident_impact (LIKE webhook_outbox.incident_severity INCLUDING ALL);
COMMENT ON TABLE webhook_outbox.incident_severity IS 'how bad an incident is: UPDATE the weights, the next evaluation uses them';
COMMENT ON TABLE webhook_outbox.incident_likelihood IS 'how likely an incident goes on or comes again: UPDATE the weights, the next evaluation uses them';
COMMENT ON TABLE webhook_outbox.incident_impact IS 'how many an incident hits: UPDATE the weights, the next evaluation uses them';

INSERT INTO webhook_outbox.incident_severity VALUES
  ('stopped',        5, 'nothing is delivered from this database'),
  ('dead_tier_1',    5, 'deliveries of tier 1 were given up'),
  ('blocked_tier_1', 5, 'nothing gets through to an endpoint of tier 1'),
  ('dead_letters',   4, 'deliveries were given up'),
  ('blocked',        4, 'nothing gets through'),
  ('failing',        3, 'deliveries fail or miss their objective'),
  ('delayed',        2, 'deliveries wait'),
  ('housekeeping',   2, 'the server''s own upkeep suffers'),
  ('slow',           1, 'deliveries are slow');
INSERT INTO webhook_outbox.incident_likelihood VALUES
  ('recurs_often',  5, 'it happened 5 times or more in 30 days'),
  ('configuration', 5, 'it goes on until somebody changes the configuration'),
  ('receiver_down', 4, 'it goes on until the receiver works again'),
  ('internal',      4, 'it goes on until somebody looks after this server'),
  ('recurs',        3, 'it happened 2 to 4 times in 30 days'),
  ('unknown',       3, 'there are no failed attempts to tell the cause'),
  ('transient',     2, 'few of many attempts fail, retries help'),
  ('over',          1, 'no alert fires any more');
INSERT INTO webhook_outbox.incident_impact VALUES
  ('everything',        5, 'all endpoints are hit'),
  ('many_endpoints',    5, 'a quarter of all endpoints or more is hit'),
  ('tier_1',            4, 'tier 1 is hit'),
  ('many_tenants',      4, 'a quarter of all tenants or more is hit'),
  ('many_events',       4, 'a quarter of all deliveries or more is given up or waits'),
  ('several_endpoints', 3, 'a twentieth of all endpoints or more is hit'),
  ('tier_2',            2, 'tier 2 is hit'),
  ('lower_tier',        1, 'tier 3 or lower is hit'),
  ('nobody',            1, 'no endpoint is hit yet');

DO $$
DECLARE
  v_table text;
BEGIN
  FOREACH v_table IN ARRAY '{incident_severity,incident_likelihood,incident_impact}'::text[] LOOP
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.%I.condition IS %L', v_table, 'which condition; they cannot be added or removed');
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.%I.weight IS %L', v_table, '1 to 5; of the conditions that apply the highest counts');
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.%I.description IS %L', v_table, 'what it means; goes into incident.reason');
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.%I.origin IS %L', v_table, 'extension (as it came) or changed; set by a trigger');
  END LOOP;
END
$$;

CREATE FUNCTION webhook_outbox.incident_weight_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_known text;
BEGIN
  EXECUTE format('SELECT string_agg(condition, '', '' ORDER BY condition) FROM webhook_outbox.%I', TG_TABLE_NAME) INTO v_known;
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('condition "%s" of webhook_outbox.%s cannot be removed', OLD.condition, TG_TABLE_NAME),
      HINT = 'UPDATE its weight instead, 1 is the least.';
  ELSIF NEW.weight IS NULL OR NEW.weight NOT BETWEEN 1 AND 5 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('weight %s of condition "%s" is out of range', coalesce(NEW.weight::text, 'NULL'), NEW.condition),
      HINT = 'A weight is 1 (least) to 5.';
  ELSIF char_length(NEW.description) > 1000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('description of condition "%s" has %s characters', NEW.condition, char_length(NEW.description)),
      HINT = 'At most 1000 are allowed, for it stands in the reason of each incident.';
  ELSIF NEW.condition IS NULL OR NEW.condition <> ALL (string_to_array(v_known, ', '))
        OR (TG_OP = 'UPDATE' AND NEW.condition <> OLD.condition) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('condition %s of webhook_outbox.%s does not exist',
                       coalesce('"' || NEW.condition || '"', 'NULL'), TG_TABLE_NAME),
      HINT = format('Conditions: %s.', v_known);
  END IF;
  IF TG_OP = 'INSERT' THEN
    -- a dump: what was changed there
    EXECUTE format('UPDATE webhook_outbox.%I SET weight = $1, description = $2 WHERE condition = $3', TG_TABLE_NAME)
      USING NEW.weight, NEW.description, NEW.condition;
    RETURN NULL;
  END IF;
  NEW.origin := CASE WHEN NEW IS DISTINCT FROM OLD THEN 'changed' ELSE OLD.origin END;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION webhook_outbox.incident_weight_before_write() IS
  'trigger: checks a weight; an INSERT, as in a dump, changes the row of its condition';
CREATE TRIGGER incident_severity_before_write BEFORE INSERT OR UPDATE OR DELETE ON webhook_outbox.incident_severity
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.incident_weight_before_write();
CREATE TRIGGER incident_likelihood_before_write BEFORE INSERT OR UPDATE OR DELETE ON webhook_outbox.incident_likelihood
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.incident_weight_before_write();
CREATE TRIGGER incident_impact_before_write BEFORE INSERT OR UPDATE OR DELETE ON webhook_outbox.incident_impact
  FOR EACH ROW EXECUTE FUNCTION webhook_outbox.incident_weight_before_write();
CREATE TRIGGER incident_severity_no_truncate BEFORE TRUNCATE ON webhook_outbox.incident_severity
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('UPDATE the weights instead.');
CREATE TRIGGER incident_likelihood_no_truncate BEFORE TRUNCATE ON webhook_outbox.incident_likelihood
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('UPDATE the weights instead.');
CREATE TRIGGER incident_impact_no_truncate BEFORE TRUNCATE ON webhook_outbox.incident_impact
  FOR EACH STATEMENT EXECUTE FUNCTION webhook_outbox.refuse_change('UPDATE the weights instead.');
