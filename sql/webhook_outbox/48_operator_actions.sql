-- Who paused, resumed, discarded, sent again, ...: a row for each call of a function, or each UPDATE or DELETE of an endpoint,
-- written in its transaction. Of dead letters that are discarded a row each, for they leave nothing else behind.

-- The role that the session was opened with cannot be made up; one taken on by SET ROLE tells people apart who share a login,
-- as with a pool of connections. Both count, whoever the function runs as that asks.

CREATE FUNCTION webhook_outbox.acting_role() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT session_user || CASE WHEN current_setting('role') IN ('none', session_user) THEN ''
                              ELSE format(' (as %s)', current_setting('role')) END;
$$;
COMMENT ON FUNCTION webhook_outbox.acting_role() IS
  'who acts: the role that the session was opened with, and in parentheses the one taken on by SET ROLE: app (as ann)';

CREATE TABLE webhook_outbox.operator_action (
  action_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at            timestamptz NOT NULL DEFAULT clock_timestamp(),
  by_whom       text NOT NULL DEFAULT webhook_outbox.acting_role(),
  action        text NOT NULL,
  endpoint_id   bigint,
  endpoint_name text,
  event_id      uuid,
  deliveries    bigint
);
CREATE INDEX operator_action_at ON webhook_outbox.operator_action (at);
CREATE INDEX operator_action_event ON webhook_outbox.operator_action (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX operator_action_pause ON webhook_outbox.operator_action (endpoint_id, action_id) WHERE action = 'pause';
COMMENT ON TABLE webhook_outbox.operator_action IS
  'who did what: kept for webhook_outbox.metrics_retention, what concerns one event for webhook_outbox.attempt_retention';
COMMENT ON COLUMN webhook_outbox.operator_action.action_id IS 'number of the action';
COMMENT ON COLUMN webhook_outbox.operator_action.at IS 'when';
COMMENT ON COLUMN webhook_outbox.operator_action.by_whom IS
  'role that the session was opened with; and the one taken on by SET ROLE, if any: app (as ann)';
COMMENT ON COLUMN webhook_outbox.operator_action.action IS
  'pause, resume, delete (of an endpoint), redeliver, replay, retry_now, cancel, discard or resume_delivery';
COMMENT ON COLUMN webhook_outbox.operator_action.endpoint_id IS 'of which endpoint; NULL: of all';
COMMENT ON COLUMN webhook_outbox.operator_action.endpoint_name IS 'its name then';
COMMENT ON COLUMN webhook_outbox.operator_action.event_id IS 'of which event; NULL: of none, or of many';
COMMENT ON COLUMN webhook_outbox.operator_action.deliveries IS 'how many deliveries it was about; NULL: it was about the endpoint or one dead letter';

CREATE FUNCTION webhook_outbox.note_action(
  p_action text, p_endpoint_id bigint, p_endpoint_name text, p_event_id uuid, p_deliveries bigint) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO webhook_outbox.operator_action (action, endpoint_id, endpoint_name, event_id, deliveries)
    SELECT p_action, p_endpoint_id, p_endpoint_name, p_event_id, p_deliveries WHERE p_deliveries IS DISTINCT FROM 0;
$$;
COMMENT ON FUNCTION webhook_outbox.note_action(text, bigint, text, uuid, bigint) IS
  'notes that the session''s user has done this, unless it was about no delivery';

CREATE FUNCTION webhook_outbox.forget_actions() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  v_events timestamptz := now() - coalesce(current_setting('webhook_outbox.attempt_retention', true), '30 days')::interval;
  v_all    timestamptz := now() - coalesce(current_setting('webhook_outbox.metrics_retention', true), '400 days')::interval;
  v_rows   bigint;
BEGIN
  DELETE FROM webhook_outbox.operator_action a
  WHERE a.action_id IN (SELECT o.action_id FROM webhook_outbox.operator_action o
                        WHERE o.at < greatest(v_events, v_all) AND (o.at < v_all OR (o.event_id IS NOT NULL AND o.at < v_events))
                        ORDER BY o.at LIMIT 10000);
  GET DIAGNOSTICS v_rows = ROW_COUNT;
  IF v_rows = 10000 THEN
    PERFORM webhook_outbox.request_maintenance();
  END IF;
  RETURN v_rows;
END
$$;
COMMENT ON FUNCTION webhook_outbox.forget_actions() IS
  'maintenance step: deletes operator_action after its retention, at most 10,000 rows at a time';
INSERT INTO webhook_outbox.maintenance_step (step, position, run_every, function)
  VALUES ('action_retention', 83, '1 hour', 'webhook_outbox.forget_actions()');
