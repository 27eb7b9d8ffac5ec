-- Publishing from SQL. INSERT INTO webhook_outbox.event does the same, for many rows at once and with COPY.

CREATE FUNCTION webhook_outbox.publish(
  type         text,
  payload      json,
  tenant       text  DEFAULT NULL,
  operation_id text  DEFAULT NULL,
  source       text  DEFAULT NULL,
  headers      jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_id uuid;
BEGIN
  INSERT INTO webhook_outbox.event (type, payload, tenant, operation_id, source, headers)
    VALUES (publish.type, publish.payload, publish.tenant, publish.operation_id, publish.source, publish.headers)
    RETURNING id INTO v_id;
  IF v_id IS NULL THEN
    -- published before: the row trigger left the row out
    v_id := webhook_outbox.find_operation(publish.tenant, publish.operation_id);
  END IF;
  RETURN v_id;
END
$$;
COMMENT ON FUNCTION webhook_outbox.publish(text, json, text, text, text, jsonb) IS
  'stores an event and returns its id; it is sent when the transaction commits. A jsonb payload has to be cast: value::json. '
  'With an operation_id seen before (per tenant) nothing is stored and the id is that of the first event. '
  'Needs INSERT on the columns given and SELECT (id) on webhook_outbox.event.';

