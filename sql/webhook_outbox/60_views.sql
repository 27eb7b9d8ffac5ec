-- Where everything stands. All views read without a lock, show no payload, header or secret, and belong to the owner of the
-- extension: GRANT SELECT on one is all that a role needs to read it (worker_status: see there).

-- An event is dealt with when the cursor has passed it. Until then each endpoint that matches is owed it, unless an
-- attempt, a delivery or a dead letter says more. event_kept (slot 8) holds only events the cursor has passed.

CREATE VIEW webhook_outbox.new_event AS
  SELECT e.id, e.xid, e.slot, e.created_at, e.type, e.tenant, e.endpoint_id
  FROM webhook_outbox.event e
  -- sub-selects and no join: the planner then knows that there is one cursor, and uses the index on xid
  WHERE e.slot < 8
    AND e.xid >= (SELECT pg_snapshot_xmin(c.old_snapshot) FROM webhook_outbox.cursor c LIMIT 1)
    AND NOT pg_visible_in_snapshot(e.xid, (SELECT c.old_snapshot FROM webhook_outbox.cursor c LIMIT 1))
    AND NOT (pg_visible_in_snapshot(e.xid, (SELECT c.new_snapshot FROM webhook_outbox.cursor c LIMIT 1))
             AND ((ARRAY(SELECT l.turn FROM webhook_outbox.ring_leaf l WHERE l.ring = 'event' ORDER BY l.slot))[e.slot + 1],
                  e.xid, e.id)
                 <= ((SELECT c.turn FROM webhook_outbox.cursor c LIMIT 1),
                     (SELECT c.xid FROM webhook_outbox.cursor c LIMIT 1),
                     (SELECT c.id FROM webhook_outbox.cursor c LIMIT 1)));
COMMENT ON VIEW webhook_outbox.new_event IS 'events that the dispatcher has not dealt with yet';
COMMENT ON COLUMN webhook_outbox.new_event.id IS 'which event';
COMMENT ON COLUMN webhook_outbox.new_event.xid IS 'the transaction that inserted it';
COMMENT ON COLUMN webhook_outbox.new_event.slot IS 'leaf of the ring';
COMMENT ON COLUMN webhook_outbox.new_event.created_at IS 'when it was inserted';
COMMENT ON COLUMN webhook_outbox.new_event.type IS 'its type';
COMMENT ON COLUMN webhook_outbox.new_event.tenant IS 'whose it is';
COMMENT ON COLUMN webhook_outbox.new_event.endpoint_id IS 'the only endpoint that gets it; NULL: all that match';

CREATE VIEW webhook_outbox.new_delivery AS
  SELECT e.id AS event_id, p.endpoint_id, p.name AS endpoint_name, e.type, e.tenant, e.created_at
  FROM webhook_outbox.new_event e
  JOIN webhook_outbox.endpoint p
    ON CASE WHEN e.endpoint_id IS NOT NULL THEN p.endpoint_id = e.endpoint_id
            ELSE (p.tenant IS NULL OR p.tenant = e.tenant) AND webhook_outbox.type_matches(p.event_types, e.type)
             -- the cursor lags by up to a second: an endpoint made meanwhile is owed nothing that was there before
             AND p.created_at <= e.created_at END
  WHERE NOT EXISTS (SELECT FROM webhook_outbox.attempt a WHERE a.event_id = e.id AND a.endpoint_id = p.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = e.id AND d.endpoint_id = p.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter l WHERE l.event_id = e.id AND l.endpoint_id = p.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = e.id AND c.endpoint_id = p.endpoint_id
                      AND c.kind = 'send');
COMMENT ON VIEW webhook_outbox.new_delivery IS 'deliveries owed of which nothing is recorded yet: not begun, or in flight for the first time';
COMMENT ON COLUMN webhook_outbox.new_delivery.event_id IS 'what';
COMMENT ON COLUMN webhook_outbox.new_delivery.endpoint_id IS 'to whom';
COMMENT ON COLUMN webhook_outbox.new_delivery.endpoint_name IS 'to whom, by name';
COMMENT ON COLUMN webhook_outbox.new_delivery.type IS 'type of the event';
COMMENT ON COLUMN webhook_outbox.new_delivery.tenant IS 'tenant of the event';
COMMENT ON COLUMN webhook_outbox.new_delivery.created_at IS 'when the event was inserted';

-- delivery_status has one branch for each place where a state is kept, each with its state as a constant, so that a query
-- for one event, one endpoint or one state reads no more than it needs.

CREATE VIEW webhook_outbox.delivery_status AS
  SELECT n.event_id, n.type AS event_type, n.endpoint_name, 'pending' AS state, 0 AS attempts,
         NULL::smallint AS last_status, NULL::text AS last_error, NULL::timestamptz AS next_attempt_at,
         NULL::timestamptz AS last_attempt_at, n.created_at, n.tenant, n.endpoint_id
  FROM webhook_outbox.new_delivery n
UNION ALL
  SELECT c.event_id, e.type, p.name, 'pending',
         coalesce(a.number, 0), a.http_status, a.error, c.due_at, a.started_at, e.created_at, e.tenant, c.endpoint_id
  FROM webhook_outbox.command c
  JOIN webhook_outbox.endpoint p ON p.endpoint_id = c.endpoint_id
  LEFT JOIN webhook_outbox.event e ON e.id = c.event_id
  LEFT JOIN LATERAL (
    SELECT * FROM webhook_outbox.attempt t WHERE t.event_id = c.event_id AND t.endpoint_id = c.endpoint_id
    ORDER BY t.number DESC LIMIT 1) a ON true
  WHERE c.kind = 'send'
    AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = c.event_id AND d.endpoint_id = c.endpoint_id
                      AND d.state <> 'cancelled')
    AND NOT EXISTS (SELECT FROM webhook_outbox.command o WHERE o.event_id = c.event_id AND o.endpoint_id = c.endpoint_id
                      AND o.kind = 'send' AND o.command_id > c.command_id)
UNION ALL
  SELECT d.event_id, e.type, p.name, 'pending',
         d.attempts, a.http_status, a.error, d.next_attempt_at, d.last_attempt_at, e.created_at, e.tenant, d.endpoint_id
  FROM webhook_outbox.delivery d
  LEFT JOIN webhook_outbox.event e ON e.id = d.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = d.endpoint_id
  LEFT JOIN LATERAL (
    SELECT * FROM webhook_outbox.attempt t WHERE t.event_id = d.event_id AND t.endpoint_id = d.endpoint_id
    ORDER BY t.number DESC LIMIT 1) a ON true
  WHERE d.state = 'parked'
UNION ALL
  SELECT d.event_id, e.type, p.name, 'retrying',
         d.attempts, a.http_status, a.error, d.next_attempt_at, d.last_attempt_at, e.created_at, e.tenant, d.endpoint_id
  FROM webhook_outbox.delivery d
  LEFT JOIN webhook_outbox.event e ON e.id = d.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = d.endpoint_id
  LEFT JOIN LATERAL (
    SELECT * FROM webhook_outbox.attempt t WHERE t.event_id = d.event_id AND t.endpoint_id = d.endpoint_id
    ORDER BY t.number DESC LIMIT 1) a ON true
  WHERE d.state = 'retrying'
UNION ALL
  SELECT d.event_id, e.type, p.name, 'cancelled',
         d.attempts, a.http_status, a.error, NULL, d.last_attempt_at, e.created_at, e.tenant, d.endpoint_id
  FROM webhook_outbox.delivery d
  LEFT JOIN webhook_outbox.event e ON e.id = d.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = d.endpoint_id
  LEFT JOIN LATERAL (
    SELECT * FROM webhook_outbox.attempt t WHERE t.event_id = d.event_id AND t.endpoint_id = d.endpoint_id
    ORDER BY t.number DESC LIMIT 1) a ON true
  WHERE d.state = 'cancelled'
    AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = d.event_id AND c.endpoint_id = d.endpoint_id
                      AND c.kind = 'send')
UNION ALL
  SELECT l.event_id, l.event_type, coalesce(p.name, l.endpoint_name), 'dead',
         l.attempts, l.last_status, l.last_error, NULL, l.last_attempt_at, e.created_at, l.tenant, l.endpoint_id
  FROM webhook_outbox.dead_letter l
  LEFT JOIN webhook_outbox.event e ON e.id = l.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = l.endpoint_id
UNION ALL
  -- the last attempt was the end of it: delivered ...
  SELECT a.event_id, e.type, p.name, 'delivered',
         a.number, a.http_status, a.error, NULL, a.started_at, e.created_at, e.tenant, a.endpoint_id
  FROM webhook_outbox.attempt a
  LEFT JOIN webhook_outbox.event e ON e.id = a.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = a.endpoint_id
  WHERE a.next_attempt_at IS NULL AND a.outcome = 'delivered'
    AND NOT EXISTS (SELECT FROM webhook_outbox.attempt t WHERE t.event_id = a.event_id AND t.endpoint_id = a.endpoint_id
                      AND t.number > a.number)
    AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = a.event_id AND d.endpoint_id = a.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter l WHERE l.event_id = a.event_id AND l.endpoint_id = a.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = a.event_id AND c.endpoint_id = a.endpoint_id
                      AND c.kind = 'send')
UNION ALL
  -- ... or dead, and the dead letter was discarded
  SELECT a.event_id, e.type, p.name, 'dead',
         a.number, a.http_status, a.error, NULL, a.started_at, e.created_at, e.tenant, a.endpoint_id
  FROM webhook_outbox.attempt a
  LEFT JOIN webhook_outbox.event e ON e.id = a.event_id
  LEFT JOIN webhook_outbox.endpoint p ON p.endpoint_id = a.endpoint_id
  WHERE a.next_attempt_at IS NULL AND a.outcome <> 'delivered'
    AND NOT EXISTS (SELECT FROM webhook_outbox.attempt t WHERE t.event_id = a.event_id AND t.endpoint_id = a.endpoint_id
                      AND t.number > a.number)
    AND NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = a.event_id AND d.endpoint_id = a.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter l WHERE l.event_id = a.event_id AND l.endpoint_id = a.endpoint_id)
    AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = a.event_id AND c.endpoint_id = a.endpoint_id
                      AND c.kind = 'send');
COMMENT ON VIEW webhook_outbox.delivery_status IS
  'where each delivery (event x endpoint) stands; quick for one event_id, for one endpoint that is not delivered to, for one state';
COMMENT ON COLUMN webhook_outbox.delivery_status.event_id IS 'what';
COMMENT ON COLUMN webhook_outbox.delivery_status.event_type IS 'type of the event; NULL: past its retention';
COMMENT ON COLUMN webhook_outbox.delivery_status.endpoint_name IS
  'to whom, by name, of a dead letter also when the endpoint was deleted since; NULL: it was deleted';
COMMENT ON COLUMN webhook_outbox.delivery_status.state IS
  'pending (not begun, in flight or waiting for its turn), retrying, delivered, dead (see dead_letter, unless discarded) or cancelled';
COMMENT ON COLUMN webhook_outbox.delivery_status.attempts IS 'attempts made';
COMMENT ON COLUMN webhook_outbox.delivery_status.last_status IS 'HTTP status of the last attempt; NULL: no response';
COMMENT ON COLUMN webhook_outbox.delivery_status.last_error IS 'error of the last attempt';
COMMENT ON COLUMN webhook_outbox.delivery_status.next_attempt_at IS 'not before then; NULL: as soon as possible (pending), or never';
COMMENT ON COLUMN webhook_outbox.delivery_status.last_attempt_at IS 'when the last attempt started';
COMMENT ON COLUMN webhook_outbox.delivery_status.created_at IS 'when the event was inserted';
COMMENT ON COLUMN webhook_outbox.delivery_status.tenant IS 'tenant of the event';
COMMENT ON COLUMN webhook_outbox.delivery_status.endpoint_id IS 'to whom, by number';

CREATE VIEW webhook_outbox.event_status AS
  SELECT e.id AS event_id, e.type AS event_type, e.tenant, e.created_at,
         CASE WHEN s.endpoints = 0 THEN 'none'
              WHEN s.dead > 0 THEN 'dead'
              WHEN s.retrying > 0 THEN 'retrying'
              WHEN s.pending > 0 THEN 'pending'
              WHEN s.delivered > 0 THEN 'delivered'
              ELSE 'cancelled' END AS state,
         s.endpoints, s.pending, s.retrying, s.delivered, s.dead, s.cancelled, s.attempts, s.next_attempt_at, s.last_attempt_at
  FROM webhook_outbox.event e
  CROSS JOIN LATERAL (
    SELECT count(*) AS endpoints,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'retrying') AS retrying,
           count(*) FILTER (WHERE d.state = 'delivered') AS delivered,
           count(*) FILTER (WHERE d.state = 'dead') AS dead,
           count(*) FILTER (WHERE d.state = 'cancelled') AS cancelled,
           coalesce(sum(d.attempts), 0) AS attempts,
           min(d.next_attempt_at) AS next_attempt_at,
           max(d.last_attempt_at) AS last_attempt_at
    FROM webhook_outbox.delivery_status d
    WHERE d.event_id = e.id) s;
COMMENT ON VIEW webhook_outbox.event_status IS
  'where each event stands over all endpoints; ORDER BY event_id DESC LIMIT 20 shows the newest quickly';
COMMENT ON COLUMN webhook_outbox.event_status.event_id IS 'which event';
COMMENT ON COLUMN webhook_outbox.event_status.event_type IS 'its type';
COMMENT ON COLUMN webhook_outbox.event_status.tenant IS 'whose it is';
COMMENT ON COLUMN webhook_outbox.event_status.created_at IS 'when it was inserted';
COMMENT ON COLUMN webhook_outbox.event_status.state IS
  'the worst of its deliveries: dead, retrying, pending, delivered, cancelled; none: it was owed to no endpoint (see explain_event)';
COMMENT ON COLUMN webhook_outbox.event_status.endpoints IS 'how many endpoints it was owed to';
COMMENT ON COLUMN webhook_outbox.event_status.pending IS 'deliveries not begun, in flight or waiting for their turn';
COMMENT ON COLUMN webhook_outbox.event_status.retrying IS 'deliveries that failed and will be tried again';
COMMENT ON COLUMN webhook_outbox.event_status.delivered IS 'deliveries done';
COMMENT ON COLUMN webhook_outbox.event_status.dead IS 'deliveries given up';
COMMENT ON COLUMN webhook_outbox.event_status.cancelled IS 'deliveries cancelled';
COMMENT ON COLUMN webhook_outbox.event_status.attempts IS 'attempts made, of all deliveries';
COMMENT ON COLUMN webhook_outbox.event_status.next_attempt_at IS 'when the next delivery is tried again';
COMMENT ON COLUMN webhook_outbox.event_status.last_attempt_at IS 'when the last attempt started';

CREATE VIEW webhook_outbox.worker_status AS
  SELECT w.process, w.database, w.number, w.pid, w.expected, w.is_running, w.state, w.running_since, w.in_flight,
         w.delivered, w.failed, round(w.per_second::numeric, 1)::double precision AS per_second, w.restarts, w.last_error, w.last_error_at
  FROM webhook_outbox.worker_rows() w;
COMMENT ON VIEW webhook_outbox.worker_status IS
  'the workers: which should run and which do; a role that is to read it needs EXECUTE on worker_rows() too';
COMMENT ON COLUMN webhook_outbox.worker_status.process IS 'launcher, dispatcher or sender';
COMMENT ON COLUMN webhook_outbox.worker_status.database IS 'its database; NULL: the launcher, which serves all';
COMMENT ON COLUMN webhook_outbox.worker_status.number IS 'of a sender: 1 to webhook_outbox.senders';
COMMENT ON COLUMN webhook_outbox.worker_status.pid IS 'process id; NULL: it does not run';
COMMENT ON COLUMN webhook_outbox.worker_status.expected IS 'whether it should run, as settings are now';
COMMENT ON COLUMN webhook_outbox.worker_status.is_running IS 'whether it does';
COMMENT ON COLUMN webhook_outbox.worker_status.state IS
  'what it is doing; of a dispatcher of another database for members of pg_read_all_stats alone';
COMMENT ON COLUMN webhook_outbox.worker_status.running_since IS 'when it was started';
COMMENT ON COLUMN webhook_outbox.worker_status.in_flight IS 'requests under way; NULL: the launcher';
COMMENT ON COLUMN webhook_outbox.worker_status.delivered IS 'of a dispatcher: attempts that delivered, since it was started';
COMMENT ON COLUMN webhook_outbox.worker_status.failed IS 'of a dispatcher: attempts that failed, since it was started';
COMMENT ON COLUMN webhook_outbox.worker_status.per_second IS 'of a dispatcher: attempts that delivered, per second of the last few';
COMMENT ON COLUMN webhook_outbox.worker_status.restarts IS
  'how often it was started again: a dispatcher since the server was, a sender since its dispatcher was; NULL: the launcher';
COMMENT ON COLUMN webhook_outbox.worker_status.last_error IS
  'of a dispatcher: why it, or a sender of it, stopped or failed last; of one of another database for members of '
  'pg_read_all_stats alone';
COMMENT ON COLUMN webhook_outbox.worker_status.last_error_at IS 'when that was';

CREATE VIEW webhook_outbox.queue_status AS
  SELECT n.new_events, d.parked, d.retrying, d.due_now, d.next_attempt_at,
         least(n.oldest_at, d.oldest_at) AS waiting_since,
         (SELECT count(*) FROM webhook_outbox.command) AS commands,
         (SELECT count(*) FROM webhook_outbox.dead_letter) AS dead_letters,
         (SELECT c.updated_at FROM webhook_outbox.cursor c) AS cursor_moved_at
  FROM (SELECT count(*) AS new_events, min(e.created_at) AS oldest_at FROM webhook_outbox.new_event e) n,
       (SELECT count(*) FILTER (WHERE q.state = 'parked') AS parked,
               count(*) FILTER (WHERE q.state = 'retrying') AS retrying,
               count(*) FILTER (WHERE q.next_attempt_at <= clock_timestamp()) AS due_now,
               min(q.next_attempt_at) AS next_attempt_at,
               to_timestamp(('x' || min(left(replace(q.event_id::text, '-', ''), 12)))::bit(48)::bigint / 1000.0) AS oldest_at
        FROM webhook_outbox.delivery q WHERE q.state IN ('parked', 'retrying')) d;
COMMENT ON VIEW webhook_outbox.queue_status IS 'one row: how much waits, for how long';
COMMENT ON COLUMN webhook_outbox.queue_status.new_events IS 'events that the dispatcher has not dealt with yet';
COMMENT ON COLUMN webhook_outbox.queue_status.parked IS 'deliveries that wait for their turn: their endpoint is paused, slow or failing';
COMMENT ON COLUMN webhook_outbox.queue_status.retrying IS 'deliveries that failed and will be tried again';
COMMENT ON COLUMN webhook_outbox.queue_status.due_now IS 'those of both whose time has come';
COMMENT ON COLUMN webhook_outbox.queue_status.next_attempt_at IS 'when the next of them is due';
COMMENT ON COLUMN webhook_outbox.queue_status.waiting_since IS 'when the oldest event was inserted that waits or is tried again';
COMMENT ON COLUMN webhook_outbox.queue_status.commands IS 'deliveries asked for or cancelled by SQL that the dispatcher has not taken over yet';
COMMENT ON COLUMN webhook_outbox.queue_status.dead_letters IS 'deliveries given up, to be sent again or discarded';
COMMENT ON COLUMN webhook_outbox.queue_status.cursor_moved_at IS 'when the dispatcher last noted how far it is';

-- A table that was never analyzed counts as ten pages long, and these views read forty of them: the guesses multiplied up
-- to costs for which the server compiles the query first, for seconds.
ANALYZE webhook_outbox.event, webhook_outbox.attempt, webhook_outbox.delivery, webhook_outbox.dead_letter,
  webhook_outbox.command, webhook_outbox.endpoint, webhook_outbox.endpoint_secret, webhook_outbox.ring_leaf,
  webhook_outbox.cursor, webhook_outbox.operator_action;

