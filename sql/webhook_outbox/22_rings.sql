-- Leaves are declared here once, so that DROP EXTENSION and pg_dump see all of them and no business INSERT ever misses
-- one. event_kept (slot 8) takes what a delivery or dead letter still needs when a leaf is emptied.

CREATE TABLE webhook_outbox.event_0 PARTITION OF webhook_outbox.event FOR VALUES IN (0);
CREATE TABLE webhook_outbox.event_1 PARTITION OF webhook_outbox.event FOR VALUES IN (1);
CREATE TABLE webhook_outbox.event_2 PARTITION OF webhook_outbox.event FOR VALUES IN (2);
CREATE TABLE webhook_outbox.event_3 PARTITION OF webhook_outbox.event FOR VALUES IN (3);
CREATE TABLE webhook_outbox.event_4 PARTITION OF webhook_outbox.event FOR VALUES IN (4);
CREATE TABLE webhook_outbox.event_5 PARTITION OF webhook_outbox.event FOR VALUES IN (5);
CREATE TABLE webhook_outbox.event_6 PARTITION OF webhook_outbox.event FOR VALUES IN (6);
CREATE TABLE webhook_outbox.event_7 PARTITION OF webhook_outbox.event FOR VALUES IN (7);
CREATE TABLE webhook_outbox.event_kept PARTITION OF webhook_outbox.event FOR VALUES IN (8);
CREATE INDEX event_xid_id ON webhook_outbox.event (xid, id);
CREATE INDEX event_id ON webhook_outbox.event (id);

CREATE TABLE webhook_outbox.attempt_0 PARTITION OF webhook_outbox.attempt FOR VALUES IN (0);
CREATE TABLE webhook_outbox.attempt_1 PARTITION OF webhook_outbox.attempt FOR VALUES IN (1);
CREATE TABLE webhook_outbox.attempt_2 PARTITION OF webhook_outbox.attempt FOR VALUES IN (2);
CREATE TABLE webhook_outbox.attempt_3 PARTITION OF webhook_outbox.attempt FOR VALUES IN (3);
CREATE TABLE webhook_outbox.attempt_4 PARTITION OF webhook_outbox.attempt FOR VALUES IN (4);
CREATE TABLE webhook_outbox.attempt_5 PARTITION OF webhook_outbox.attempt FOR VALUES IN (5);
CREATE TABLE webhook_outbox.attempt_6 PARTITION OF webhook_outbox.attempt FOR VALUES IN (6);
CREATE TABLE webhook_outbox.attempt_7 PARTITION OF webhook_outbox.attempt FOR VALUES IN (7);
CREATE INDEX attempt_event ON webhook_outbox.attempt (event_id, endpoint_id);

COMMENT ON TABLE webhook_outbox.event_kept IS 'events past their retention that a delivery or dead letter still needs';
DO $$
BEGIN
  FOR i IN 0 .. 7 LOOP
    EXECUTE pg_catalog.format('COMMENT ON TABLE webhook_outbox.event_%s IS %L', i, 'leaf of the ring of events, see ring_leaf');
    EXECUTE pg_catalog.format('COMMENT ON TABLE webhook_outbox.attempt_%s IS %L', i, 'leaf of the ring of attempts, see ring_leaf');
  END LOOP;
END
$$;
