-- The tables. Who writes what: users write tier and endpoint (rows of event through its trigger, the rest through
-- functions); the dispatcher alone writes delivery, attempt, cursor and the rings; dead_letter is inserted by the
-- dispatcher and deleted by functions.

CREATE TABLE webhook_outbox.tier (
  tier              smallint PRIMARY KEY CHECK (tier BETWEEN 1 AND 9),
  name              text NOT NULL UNIQUE,
  success_objective numeric(7, 4) NOT NULL CHECK (success_objective > 0 AND success_objective < 100),
  latency_objective interval NOT NULL CHECK (latency_objective BETWEEN '10 milliseconds' AND '30 days')
);
COMMENT ON TABLE webhook_outbox.tier IS 'how much an endpoint matters, with its objective';
COMMENT ON COLUMN webhook_outbox.tier.tier IS '1 matters most';
COMMENT ON COLUMN webhook_outbox.tier.name IS 'for people';
COMMENT ON COLUMN webhook_outbox.tier.success_objective IS 'per cent of deliveries, over 30 days, that should be good: done within latency_objective';
COMMENT ON COLUMN webhook_outbox.tier.latency_objective IS 'from the insert of the event to the end of the response';

INSERT INTO webhook_outbox.tier VALUES
  (1, 'critical', 99.99, '30 seconds'), (2, 'standard', 99.9, '10 minutes'), (3, 'best effort', 99, '1 hour');

CREATE TABLE webhook_outbox.endpoint (
  endpoint_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name            text NOT NULL UNIQUE,
  url             text NOT NULL,
  event_types     text[] NOT NULL DEFAULT '{*}',
  tenant          text,
  tier            smallint NOT NULL DEFAULT 2 REFERENCES webhook_outbox.tier,
  enabled         boolean NOT NULL DEFAULT true,
  disabled_reason text,
  disabled_at     timestamptz,
  body_format     text NOT NULL DEFAULT 'envelope',
  timeout         interval NOT NULL DEFAULT '15 seconds',
  retry_schedule  interval[] NOT NULL DEFAULT '{5s,5min,30min,2h,5h,10h,14h,20h,24h}',
  retry_jitter    double precision NOT NULL DEFAULT 0.2,
  max_in_flight   integer NOT NULL DEFAULT 64,
  http_version    text NOT NULL DEFAULT '1.1',
  ca_certificates text,
  proxy           text,
  owner           text,
  description     text,
  success_objective numeric(7, 4),
  latency_objective interval,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhook_outbox.endpoint IS 'who is told: UPDATE and DELETE take effect on the next delivery';
COMMENT ON COLUMN webhook_outbox.endpoint.endpoint_id IS 'number of the endpoint, never reused';
COMMENT ON COLUMN webhook_outbox.endpoint.name IS 'unique name, 1 to 100 characters';
COMMENT ON COLUMN webhook_outbox.endpoint.url IS 'absolute http or https URL without user info and fragment, at most 2048 bytes; waiting deliveries go to the new one';
COMMENT ON COLUMN webhook_outbox.endpoint.event_types IS 'patterns: order.created exactly, order.* for everything below order, * for all but the reserved webhook_outbox.*';
COMMENT ON COLUMN webhook_outbox.endpoint.tenant IS 'gets only events of this tenant; NULL: events of every tenant and of none';
COMMENT ON COLUMN webhook_outbox.endpoint.tier IS 'how much it matters, see webhook_outbox.tier';
COMMENT ON COLUMN webhook_outbox.endpoint.enabled IS 'false: paused, its deliveries wait';
COMMENT ON COLUMN webhook_outbox.endpoint.disabled_reason IS 'why the dispatcher paused it (HTTP 410); cleared when it is enabled again';
COMMENT ON COLUMN webhook_outbox.endpoint.disabled_at IS 'when the dispatcher paused it';
COMMENT ON COLUMN webhook_outbox.endpoint.body_format IS 'envelope, standard (Standard Webhooks 1.0.0), raw, cloudevents or cloudevents_binary (CloudEvents 1.0)';
COMMENT ON COLUMN webhook_outbox.endpoint.timeout IS 'of one attempt as a whole, 100 ms to 5 minutes';
COMMENT ON COLUMN webhook_outbox.endpoint.retry_schedule IS 'delay before each retry; n delays make n + 1 attempts (default: Standard Webhooks, 10 attempts over three days)';
COMMENT ON COLUMN webhook_outbox.endpoint.retry_jitter IS 'each delay is changed at random by up to this share, 0 to 1';
COMMENT ON COLUMN webhook_outbox.endpoint.max_in_flight IS 'requests under way at once, 1 to 1000';
COMMENT ON COLUMN webhook_outbox.endpoint.http_version IS '1.1, or 2 to offer HTTP/2 over TLS';
COMMENT ON COLUMN webhook_outbox.endpoint.ca_certificates IS 'PEM certificates to trust for this endpoint alone; NULL: the CA bundle of the system';
COMMENT ON COLUMN webhook_outbox.endpoint.proxy IS 'http:// or https:// URL of a proxy for this endpoint alone; empty: none; NULL: webhook_outbox.proxy';
COMMENT ON COLUMN webhook_outbox.endpoint.owner IS 'who to talk to, at most 200 characters; alerts and incidents name it';
COMMENT ON COLUMN webhook_outbox.endpoint.description IS 'free text, at most 1000 characters';
COMMENT ON COLUMN webhook_outbox.endpoint.success_objective IS 'instead of its tier''s, above 0 and below 100 per cent; NULL: the tier''s';
COMMENT ON COLUMN webhook_outbox.endpoint.latency_objective IS 'instead of its tier''s, 10 ms to 30 days; NULL: the tier''s';
COMMENT ON COLUMN webhook_outbox.endpoint.created_at IS 'when it was created';
COMMENT ON COLUMN webhook_outbox.endpoint.updated_at IS 'when it was last changed';

CREATE TABLE webhook_outbox.endpoint_secret (
  secret_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  endpoint_id bigint NOT NULL REFERENCES webhook_outbox.endpoint ON DELETE CASCADE,
  secret      text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at  timestamptz,
  public_key  text
);
-- secret_id too: else a plan made without statistics walks all keys backwards to find the newest of one endpoint
CREATE INDEX ON webhook_outbox.endpoint_secret (endpoint_id, secret_id);
COMMENT ON TABLE webhook_outbox.endpoint_secret IS 'keys that sign; readable by the owner of the extension alone';
COMMENT ON COLUMN webhook_outbox.endpoint_secret.secret_id IS 'the newest key of an endpoint has the highest';
COMMENT ON COLUMN webhook_outbox.endpoint_secret.endpoint_id IS 'whose key it is';
COMMENT ON COLUMN webhook_outbox.endpoint_secret.secret IS
  'whsec_ (HMAC-SHA256) or whsk_ (Ed25519) and base64; sealed:... once webhook_outbox.secret_key_file is set';
COMMENT ON COLUMN webhook_outbox.endpoint_secret.created_at IS 'when it was made';
COMMENT ON COLUMN webhook_outbox.endpoint_secret.expires_at IS 'signs until then; NULL: the current key';
COMMENT ON COLUMN webhook_outbox.endpoint_secret.public_key IS
  'what the receiver verifies with (whpk_); NULL: HMAC-SHA256, where that is the secret itself';

CREATE TABLE webhook_outbox.endpoint_header (
  endpoint_id bigint PRIMARY KEY REFERENCES webhook_outbox.endpoint ON DELETE CASCADE,
  names       text[] NOT NULL DEFAULT '{}',
  headers     jsonb NOT NULL
);
COMMENT ON TABLE webhook_outbox.endpoint_header IS
  'request headers that an endpoint gets with each attempt, credentials for example; see set_headers';
COMMENT ON COLUMN webhook_outbox.endpoint_header.endpoint_id IS 'who gets them';
COMMENT ON COLUMN webhook_outbox.endpoint_header.names IS 'their names; set by the server';
COMMENT ON COLUMN webhook_outbox.endpoint_header.headers IS
  'names and values, readable by the owner of the extension alone; "sealed:..." once webhook_outbox.secret_key_file is set';

-- The two logs. Both are rings of eight leaves, see 22_rings.sql.

CREATE TABLE webhook_outbox.event (
  id           uuid NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  xid          xid8 NOT NULL,
  endpoint_id  bigint,
  slot         smallint NOT NULL DEFAULT webhook_outbox.current_slot(),
  type         text NOT NULL,
  tenant       text,
  source       text,
  operation_id text,
  headers      jsonb,
  payload      json NOT NULL
) PARTITION BY LIST (slot);
COMMENT ON TABLE webhook_outbox.event IS 'what happened: append-only, one row per event';
COMMENT ON COLUMN webhook_outbox.event.created_at IS 'when it was inserted; set by the server';
COMMENT ON COLUMN webhook_outbox.event.xid IS 'the transaction that inserted it; set by the server';
COMMENT ON COLUMN webhook_outbox.event.endpoint_id IS 'the only endpoint that gets it (send_test); NULL: all that match';
COMMENT ON COLUMN webhook_outbox.event.id IS 'UUIDv7, the webhook-id header of every attempt; set by the server';
COMMENT ON COLUMN webhook_outbox.event.slot IS 'leaf of the ring; set by the server';
COMMENT ON COLUMN webhook_outbox.event.type IS 'words of A-Z a-z 0-9 _ joined by dots, at most 255 bytes; webhook_outbox.* is reserved';
COMMENT ON COLUMN webhook_outbox.event.tenant IS 'whose event it is; NULL: nobody''s in particular';
COMMENT ON COLUMN webhook_outbox.event.source IS 'which system said it';
COMMENT ON COLUMN webhook_outbox.event.operation_id IS 'makes publishing idempotent, per tenant; remembered for webhook_outbox.operation_retention';
COMMENT ON COLUMN webhook_outbox.event.headers IS 'request headers for this event alone, an object of strings';
COMMENT ON COLUMN webhook_outbox.event.payload IS 'JSON, sent byte for byte, at most webhook_outbox.max_payload';

CREATE TABLE webhook_outbox.attempt (
  event_id        uuid NOT NULL,
  endpoint_id     bigint NOT NULL,
  number          integer NOT NULL,
  http_status     smallint,
  slot            smallint NOT NULL,
  started_at      timestamptz NOT NULL,
  next_attempt_at timestamptz,
  wait_ms         real,
  connect_ms      real,
  total_ms        real,
  outcome         text NOT NULL,
  origin          text,
  error           text,
  response        text
) PARTITION BY LIST (slot);
COMMENT ON TABLE webhook_outbox.attempt IS 'one HTTP request each; written by the dispatcher alone';
COMMENT ON COLUMN webhook_outbox.attempt.started_at IS 'when the request was started';
COMMENT ON COLUMN webhook_outbox.attempt.next_attempt_at IS 'when it is tried again; NULL: this was the last (delivered, or dead)';
COMMENT ON COLUMN webhook_outbox.attempt.endpoint_id IS 'to whom';
COMMENT ON COLUMN webhook_outbox.attempt.event_id IS 'what';
COMMENT ON COLUMN webhook_outbox.attempt.number IS '1 is the first; goes on counting over redeliveries';
COMMENT ON COLUMN webhook_outbox.attempt.slot IS 'leaf of the ring';
COMMENT ON COLUMN webhook_outbox.attempt.http_status IS 'status of the response; NULL: none came';
COMMENT ON COLUMN webhook_outbox.attempt.wait_ms IS 'milliseconds from the event''s created_at (first attempt) or from the time it was due to started_at';
COMMENT ON COLUMN webhook_outbox.attempt.connect_ms IS 'milliseconds until connected, with TLS; 0: the connection was reused';
COMMENT ON COLUMN webhook_outbox.attempt.total_ms IS 'milliseconds from started_at to the end of the response';
COMMENT ON COLUMN webhook_outbox.attempt.outcome IS 'delivered, http_error, timeout, dns_error, connect_error, tls_error, protocol_error, blocked, invalid_request or unknown';
COMMENT ON COLUMN webhook_outbox.attempt.origin IS 'redelivery or replay; NULL: the event itself';
COMMENT ON COLUMN webhook_outbox.attempt.error IS 'what went wrong, one line';
COMMENT ON COLUMN webhook_outbox.attempt.response IS E'first bytes of the response''s body (webhook_outbox.response_excerpt); bytes that are no text as \\xNN';

-- Deliveries that are an exception: waiting for a retry, for their turn, or cancelled. Written by the dispatcher alone.

CREATE TABLE webhook_outbox.delivery (
  endpoint_id      bigint NOT NULL,
  event_id         uuid NOT NULL,
  next_attempt_at  timestamptz NOT NULL,
  state            text NOT NULL CHECK (state IN ('parked', 'retrying', 'cancelled')),
  origin           text NOT NULL DEFAULT 'event' CHECK (origin IN ('event', 'redelivery', 'replay')),
  attempts         integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  schedule_step    integer NOT NULL DEFAULT 0 CHECK (schedule_step >= 0),
  first_attempt_at timestamptz,
  last_attempt_at  timestamptz,
  PRIMARY KEY (endpoint_id, event_id)
);
CREATE INDEX delivery_due ON webhook_outbox.delivery (endpoint_id, state, next_attempt_at, event_id);
CREATE INDEX delivery_event ON webhook_outbox.delivery (event_id);
COMMENT ON TABLE webhook_outbox.delivery IS 'one event owed to one endpoint, where that is not simply under way; written by the dispatcher alone (see delivery_status)';
COMMENT ON COLUMN webhook_outbox.delivery.endpoint_id IS 'to whom';
COMMENT ON COLUMN webhook_outbox.delivery.event_id IS 'what';
COMMENT ON COLUMN webhook_outbox.delivery.next_attempt_at IS 'not before then; infinity: cancelled';
COMMENT ON COLUMN webhook_outbox.delivery.state IS 'parked (waits for its turn), retrying (failed before), cancelled';
COMMENT ON COLUMN webhook_outbox.delivery.origin IS 'what asked for it: event, redelivery or replay';
COMMENT ON COLUMN webhook_outbox.delivery.attempts IS 'attempts made so far';
COMMENT ON COLUMN webhook_outbox.delivery.schedule_step IS 'delays of retry_schedule used up; starts again with a redelivery';
COMMENT ON COLUMN webhook_outbox.delivery.first_attempt_at IS 'when the first attempt started';
COMMENT ON COLUMN webhook_outbox.delivery.last_attempt_at IS 'when the last attempt started';

CREATE TABLE webhook_outbox.dead_letter (
  endpoint_id      bigint NOT NULL,
  event_id         uuid NOT NULL,
  endpoint_name    text NOT NULL,
  event_type       text NOT NULL,
  tenant           text,
  reason           text NOT NULL CHECK (reason IN ('attempts_exhausted', 'endpoint_deleted', 'event_lost')),
  attempts         integer NOT NULL,
  first_attempt_at timestamptz,
  last_attempt_at  timestamptz,
  last_outcome     text,
  last_status      smallint,
  last_error       text,
  last_response    text,
  created_at       timestamptz NOT NULL,
  PRIMARY KEY (endpoint_id, event_id)
);
CREATE INDEX dead_letter_event ON webhook_outbox.dead_letter (event_id);
CREATE INDEX dead_letter_created_at ON webhook_outbox.dead_letter (created_at);
COMMENT ON TABLE webhook_outbox.dead_letter IS 'deliveries given up, kept until they are sent again or discarded';
COMMENT ON COLUMN webhook_outbox.dead_letter.endpoint_id IS 'to whom';
COMMENT ON COLUMN webhook_outbox.dead_letter.event_id IS 'what; its row in event is kept as long as this one';
COMMENT ON COLUMN webhook_outbox.dead_letter.endpoint_name IS 'name of the endpoint then';
COMMENT ON COLUMN webhook_outbox.dead_letter.event_type IS 'type of the event';
COMMENT ON COLUMN webhook_outbox.dead_letter.tenant IS 'tenant of the event';
COMMENT ON COLUMN webhook_outbox.dead_letter.reason IS 'attempts_exhausted, endpoint_deleted or event_lost (its row in event is gone)';
COMMENT ON COLUMN webhook_outbox.dead_letter.attempts IS 'attempts made';
COMMENT ON COLUMN webhook_outbox.dead_letter.first_attempt_at IS 'when the first attempt started; NULL: there was none';
COMMENT ON COLUMN webhook_outbox.dead_letter.last_attempt_at IS 'when the last attempt started';
COMMENT ON COLUMN webhook_outbox.dead_letter.last_outcome IS 'outcome of the last attempt; NULL: there was none, or it was past attempt_retention when its delivery was given up';
COMMENT ON COLUMN webhook_outbox.dead_letter.last_status IS 'HTTP status of the last attempt; NULL: no response, see last_outcome';
COMMENT ON COLUMN webhook_outbox.dead_letter.last_error IS 'error of the last attempt; NULL: none, see last_outcome';
COMMENT ON COLUMN webhook_outbox.dead_letter.last_response IS 'head of the last response';
COMMENT ON COLUMN webhook_outbox.dead_letter.created_at IS 'when it was given up';

-- What SQL asks of the dispatcher. Functions only insert here, in the caller's transaction, so that no user's lock can
-- ever hold the dispatcher up; it applies the rows it can see and deletes them.

CREATE TABLE webhook_outbox.command (
  command_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind        text NOT NULL CHECK (kind IN ('send', 'cancel', 'retry')),
  event_id    uuid NOT NULL,
  endpoint_id bigint,
  due_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  origin      text NOT NULL DEFAULT 'redelivery' CHECK (origin IN ('redelivery', 'replay')),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  event_xid   xid8 NOT NULL DEFAULT '0',
  endpoint_name text,
  CHECK (kind = 'cancel' OR endpoint_id IS NOT NULL)
);
CREATE INDEX command_event ON webhook_outbox.command (event_xid, event_id, command_id);
-- for who asks about one event, as delivery_status does
CREATE INDEX command_event_id ON webhook_outbox.command (event_id);
COMMENT ON TABLE webhook_outbox.command IS 'what SQL functions asked of the dispatcher and it has not done yet';
COMMENT ON COLUMN webhook_outbox.command.command_id IS 'number of the command';
COMMENT ON COLUMN webhook_outbox.command.kind IS 'send, cancel, or retry (what waits for a retry, earlier)';
COMMENT ON COLUMN webhook_outbox.command.event_id IS 'which event';
COMMENT ON COLUMN webhook_outbox.command.endpoint_id IS 'to which endpoint; NULL (cancel only): to all';
COMMENT ON COLUMN webhook_outbox.command.due_at IS 'send, retry: not before then';
COMMENT ON COLUMN webhook_outbox.command.origin IS 'send: redelivery or replay';
COMMENT ON COLUMN webhook_outbox.command.created_at IS 'when it was asked';
COMMENT ON COLUMN webhook_outbox.command.event_xid IS 'send, cancel: transaction of the event, which the dispatcher has to have read before';
COMMENT ON COLUMN webhook_outbox.command.endpoint_name IS 'send: name of the endpoint, for the dead letter if it is deleted meanwhile';

CREATE TABLE webhook_outbox.endpoint_change (
  change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  endpoint_id bigint NOT NULL,
  name        text NOT NULL,
  is_deleted  boolean NOT NULL,
  event_types text[],
  tenant      text,
  xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
  until       pg_snapshot,
  CHECK (NOT is_deleted OR event_types IS NOT NULL)
);
-- The dispatcher reads what its last look did not show, and nothing of what it has deleted since or of what is not committed
-- yet: the xid of a deletion is not that of who deleted, so those are read apart.
CREATE INDEX endpoint_change_xid ON webhook_outbox.endpoint_change (is_deleted, xid, change_id);
COMMENT ON TABLE webhook_outbox.endpoint_change IS 'changes of endpoints that the dispatcher has not taken over yet, or that events not settled yet may be older than';
COMMENT ON COLUMN webhook_outbox.endpoint_change.change_id IS 'number of the change';
COMMENT ON COLUMN webhook_outbox.endpoint_change.endpoint_id IS 'which endpoint';
COMMENT ON COLUMN webhook_outbox.endpoint_change.name IS 'its name';
COMMENT ON COLUMN webhook_outbox.endpoint_change.is_deleted IS 'true: it was deleted, its deliveries become dead letters';
COMMENT ON COLUMN webhook_outbox.endpoint_change.event_types IS 'what it had asked for, {} before it was made; NULL: that has not changed';
COMMENT ON COLUMN webhook_outbox.endpoint_change.tenant IS 'the tenant that it had';
COMMENT ON COLUMN webhook_outbox.endpoint_change.xid IS 'who changed it; deleted: events of lower xids were owed to it (the highest: those that were read until it was seen)';
COMMENT ON COLUMN webhook_outbox.endpoint_change.until IS 'asks for something else: the events that this shows were committed before; NULL: nobody knows which';

-- Looked up by its bytes: where a new version of the operating system sorts texts otherwise, an index in that order has
-- rows that are not found any more, until it is made anew, and what they stand for would be sent twice.

CREATE TABLE webhook_outbox.operation (
  tenant       text COLLATE "C" NOT NULL,
  operation_id text COLLATE "C" NOT NULL,
  event_id     uuid NOT NULL,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant, operation_id)
);
CREATE INDEX operation_created_at ON webhook_outbox.operation (created_at);
COMMENT ON TABLE webhook_outbox.operation IS 'operation_ids seen: a second publish with one of them stores nothing';
COMMENT ON COLUMN webhook_outbox.operation.tenant IS 'tenant of the event; empty: none';
COMMENT ON COLUMN webhook_outbox.operation.operation_id IS 'what the publisher called it';
COMMENT ON COLUMN webhook_outbox.operation.event_id IS 'the event that was stored first';
COMMENT ON COLUMN webhook_outbox.operation.created_at IS 'when';

-- How far the event log is dealt with (design.md section 4): everything visible in old_snapshot is settled; of what only
-- new_snapshot shows, all up to (turn, xid, id).

CREATE TABLE webhook_outbox.cursor (
  old_snapshot pg_snapshot NOT NULL,
  new_snapshot pg_snapshot NOT NULL,
  turn         bigint NOT NULL,
  xid          xid8 NOT NULL,
  id           uuid NOT NULL,
  updated_at   timestamptz NOT NULL
);
COMMENT ON TABLE webhook_outbox.cursor IS 'one row: how far the event log is settled';
COMMENT ON COLUMN webhook_outbox.cursor.old_snapshot IS 'every event visible here is settled';
COMMENT ON COLUMN webhook_outbox.cursor.new_snapshot IS 'end of the window being read';
COMMENT ON COLUMN webhook_outbox.cursor.turn IS 'position in the window: turn of the leaf ...';
COMMENT ON COLUMN webhook_outbox.cursor.xid IS '... then xid ...';
COMMENT ON COLUMN webhook_outbox.cursor.id IS '... then id; all up to here is settled';
COMMENT ON COLUMN webhook_outbox.cursor.updated_at IS 'when it moved last';
-- Nothing was seen. Not pg_current_snapshot(): that can show the very transaction, which may publish before it commits.
INSERT INTO webhook_outbox.cursor
  VALUES ('1:1:', '1:1:', 0, '0', '00000000-0000-0000-0000-000000000000', clock_timestamp());

-- A copy of the database (a restored dump, CREATE DATABASE TEMPLATE, pg_upgrade) carries a claim that is not its own, one
-- that was recovered to a point in time a claim that is older than its timeline. Either sends nothing until
-- resume_delivery() is called. The name sorts before the tables that a restore must not act on.

CREATE TABLE webhook_outbox.claim (
  system_identifier bigint NOT NULL,
  database_id       oid NOT NULL,
  claimed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  instance_id       text NOT NULL DEFAULT coalesce(current_setting('webhook_outbox.instance_id', true), ''),
  recovered_timeline bigint NOT NULL DEFAULT webhook_outbox.recovered_timeline()
);
COMMENT ON TABLE webhook_outbox.claim IS 'which database may deliver: this one, unless it is a copy (a row of another database, or a second one)';
COMMENT ON COLUMN webhook_outbox.claim.system_identifier IS 'of the cluster, as pg_control_system() says';
COMMENT ON COLUMN webhook_outbox.claim.database_id IS 'OID of the database';
COMMENT ON COLUMN webhook_outbox.claim.claimed_at IS 'when the extension was created, or delivery was resumed';
COMMENT ON COLUMN webhook_outbox.claim.instance_id IS 'webhook_outbox.instance_id then';
COMMENT ON COLUMN webhook_outbox.claim.recovered_timeline IS 'recovered_timeline() then: a later one is a recovery to an earlier time';
INSERT INTO webhook_outbox.claim
  SELECT c.system_identifier, d.oid FROM pg_control_system() c, pg_database d WHERE d.datname = current_database();

-- The leaves of both rings. The current leaf of a ring is the one with the highest turn.

CREATE TABLE webhook_outbox.ring_leaf (
  ring      text NOT NULL CHECK (ring IN ('event', 'attempt')),
  slot      smallint NOT NULL CHECK (slot BETWEEN 0 AND 7),
  turn      bigint NOT NULL CHECK (turn >= 0),
  opened_at timestamptz,
  closed_at timestamptz,
  fence     xid8,
  PRIMARY KEY (ring, slot)
);
COMMENT ON TABLE webhook_outbox.ring_leaf IS 'the leaves of the event and attempt rings';
COMMENT ON COLUMN webhook_outbox.ring_leaf.ring IS 'event or attempt';
COMMENT ON COLUMN webhook_outbox.ring_leaf.slot IS '0 to 7; leaf event_3 has slot 3';
COMMENT ON COLUMN webhook_outbox.ring_leaf.turn IS 'how many turns the ring had made when this leaf was opened; 0: it is empty';
COMMENT ON COLUMN webhook_outbox.ring_leaf.opened_at IS 'when it became the current leaf';
COMMENT ON COLUMN webhook_outbox.ring_leaf.closed_at IS 'when the next leaf took over';
COMMENT ON COLUMN webhook_outbox.ring_leaf.fence IS 'no transaction from this xid on writes to the leaf';
INSERT INTO webhook_outbox.ring_leaf (ring, slot, turn, opened_at)
  SELECT r, s, CASE s WHEN 0 THEN 1 ELSE 0 END, CASE s WHEN 0 THEN clock_timestamp() END
  FROM unnest('{event,attempt}'::text[]) r, generate_series(0, 7) s;
