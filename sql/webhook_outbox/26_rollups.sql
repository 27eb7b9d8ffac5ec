-- What the signals are made of. The dispatcher adds up what it records in attempt and writes one row per endpoint (and one
-- per series) and minute, insert-only; maintain() joins minutes to hours and hours to days. A minute may have several rows:
-- readers add them up. What is not in a rollup yet stands in attempt, from open_rollup on (see 61_facts.sql).

CREATE TABLE webhook_outbox.time_window (
  time_window text PRIMARY KEY,
  length      interval NOT NULL UNIQUE,
  start_unit  text NOT NULL CHECK (start_unit IN ('minute', 'hour'))
);
COMMENT ON TABLE webhook_outbox.time_window IS 'the spans that signals are measured over, all up to now';
COMMENT ON COLUMN webhook_outbox.time_window.time_window IS 'name: 5m, 30m, 1h, 6h, 24h, 3d or 30d';
COMMENT ON COLUMN webhook_outbox.time_window.length IS 'how long it is';
COMMENT ON COLUMN webhook_outbox.time_window.start_unit IS 'its start is rounded down to a whole one of these';
INSERT INTO webhook_outbox.time_window VALUES
  ('5m', '5 minutes', 'minute'), ('30m', '30 minutes', 'minute'), ('1h', '1 hour', 'minute'), ('6h', '6 hours', 'minute'),
  -- hours, for a day of the reader's time zone may have 23 or 25
  ('24h', '24 hours', 'hour'), ('3d', '72 hours', 'hour'), ('30d', '720 hours', 'hour');

CREATE TABLE webhook_outbox.endpoint_rollup (
  bucket          timestamptz NOT NULL,
  resolution      smallint NOT NULL CHECK (resolution IN (1, 60, 1440)),
  tier            smallint NOT NULL,
  endpoint_id     bigint NOT NULL,
  attempts        bigint NOT NULL,
  failures        bigint NOT NULL,
  retries         bigint NOT NULL,
  delivered       bigint NOT NULL,
  late            bigint NOT NULL,
  dead            bigint NOT NULL,
  retried         bigint NOT NULL,
  redelivered     bigint NOT NULL,
  latency_sum_ms  double precision NOT NULL,
  http_sum_ms     double precision NOT NULL,
  latency_max_ms  real NOT NULL,
  http_max_ms     real NOT NULL,
  latency         bytea NOT NULL,
  http            bytea NOT NULL
);
CREATE INDEX endpoint_rollup_bucket ON webhook_outbox.endpoint_rollup (resolution, bucket);
CREATE INDEX endpoint_rollup_success ON webhook_outbox.endpoint_rollup (endpoint_id, resolution, bucket DESC)
  WHERE delivered + redelivered > 0;
COMMENT ON TABLE webhook_outbox.endpoint_rollup IS 'what was recorded of an endpoint in one minute, hour or day (UTC); rows of the same bucket add up';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.bucket IS 'start of the minute, hour or day in which it was recorded';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.resolution IS 'minutes that the row covers: 1, 60 or 1440';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.tier IS 'tier of the endpoint then';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.endpoint_id IS 'which endpoint';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.attempts IS 'HTTP requests';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.failures IS 'those that did not deliver';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.retries IS 'those that were not the first of their delivery';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.delivered IS 'deliveries that succeeded, redeliveries and replays not counted';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.late IS 'of these, the ones that took longer than the latency objective';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.dead IS 'deliveries that were given up after their last attempt, redeliveries and replays not counted';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.retried IS 'of delivered and dead, those that took more than one attempt';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.redelivered IS 'redeliveries and replays that succeeded';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.latency_sum_ms IS 'sum over delivered, milliseconds from the event''s created_at to the end of the response';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.http_sum_ms IS 'sum over attempts whose time is known, milliseconds of the HTTP request alone';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.latency_max_ms IS 'the longest of the former';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.http_max_ms IS 'the longest of the latter';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.latency IS 'histogram of the former, see histogram_quantile()';
COMMENT ON COLUMN webhook_outbox.endpoint_rollup.http IS 'histogram of the latter';

-- A series is what can be told apart within an endpoint. Their number is bounded (webhook_outbox.max_series): what comes
-- beyond that goes to one series "(other)" of each endpoint.

CREATE TABLE webhook_outbox.series (
  series_id     integer PRIMARY KEY,
  endpoint_id   bigint NOT NULL,
  event_type    text NOT NULL,
  tenant        text,
  source        text,
  first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE NULLS NOT DISTINCT (endpoint_id, event_type, tenant, source)
);
COMMENT ON TABLE webhook_outbox.series IS 'the combinations of endpoint, event type, tenant and source seen; written by the dispatcher alone';
COMMENT ON COLUMN webhook_outbox.series.series_id IS 'number of the series';
COMMENT ON COLUMN webhook_outbox.series.endpoint_id IS 'which endpoint; 0: no endpoint took these events';
COMMENT ON COLUMN webhook_outbox.series.event_type IS 'type of the events, or (other)';
COMMENT ON COLUMN webhook_outbox.series.tenant IS 'their tenant';
COMMENT ON COLUMN webhook_outbox.series.source IS 'which system said them';
COMMENT ON COLUMN webhook_outbox.series.first_seen_at IS 'when the first was recorded';

CREATE TABLE webhook_outbox.series_rollup (
  bucket          timestamptz NOT NULL,
  resolution      smallint NOT NULL CHECK (resolution IN (1, 60, 1440)),
  series_id       integer NOT NULL,
  attempts        bigint NOT NULL,
  failures        bigint NOT NULL,
  retries         bigint NOT NULL,
  delivered       bigint NOT NULL,
  late            bigint NOT NULL,
  dead            bigint NOT NULL,
  retried         bigint NOT NULL,
  redelivered     bigint NOT NULL,
  latency_sum_ms  double precision NOT NULL,
  http_sum_ms     double precision NOT NULL,
  latency_max_ms  real NOT NULL,
  http_max_ms     real NOT NULL,
  latency         bytea NOT NULL,
  http            bytea NOT NULL
);
CREATE INDEX series_rollup_bucket ON webhook_outbox.series_rollup (resolution, bucket);
COMMENT ON TABLE webhook_outbox.series_rollup IS 'what was recorded of a series in one minute, hour or day (UTC); rows of the same bucket add up';
COMMENT ON COLUMN webhook_outbox.series_rollup.bucket IS 'start of the minute, hour or day in which it was recorded';
COMMENT ON COLUMN webhook_outbox.series_rollup.resolution IS 'minutes that the row covers: 1, 60 or 1440';
COMMENT ON COLUMN webhook_outbox.series_rollup.series_id IS 'which series; of one that no endpoint took, attempts counts the events';
DO $$
DECLARE
  v_column text;
BEGIN
  -- the same measures mean the same
  FOREACH v_column IN ARRAY '{attempts,failures,retries,delivered,late,dead,retried,redelivered,latency_sum_ms,http_sum_ms,
                              latency_max_ms,http_max_ms,latency,http}'::text[]
  LOOP
    EXECUTE format('COMMENT ON COLUMN webhook_outbox.series_rollup.%I IS %L', v_column,
      (SELECT pg_catalog.col_description(a.attrelid, a.attnum) FROM pg_catalog.pg_attribute a
       WHERE a.attrelid = 'webhook_outbox.endpoint_rollup'::pg_catalog.regclass AND a.attname = v_column));
  END LOOP;
END
$$;

CREATE TABLE webhook_outbox.error_rollup (
  bucket      timestamptz NOT NULL,
  resolution  smallint NOT NULL CHECK (resolution IN (1, 60, 1440)),
  http_status smallint,
  endpoint_id bigint NOT NULL,
  outcome     text NOT NULL,
  attempts    bigint NOT NULL
);
CREATE INDEX error_rollup_bucket ON webhook_outbox.error_rollup (resolution, bucket);
COMMENT ON TABLE webhook_outbox.error_rollup IS 'attempts that failed in one minute, hour or day (UTC), by outcome and status; rows of the same bucket add up';
COMMENT ON COLUMN webhook_outbox.error_rollup.bucket IS 'start of the minute, hour or day in which it was recorded';
COMMENT ON COLUMN webhook_outbox.error_rollup.resolution IS 'minutes that the row covers: 1, 60 or 1440';
COMMENT ON COLUMN webhook_outbox.error_rollup.http_status IS 'HTTP status; NULL: no response';
COMMENT ON COLUMN webhook_outbox.error_rollup.endpoint_id IS 'which endpoint';
COMMENT ON COLUMN webhook_outbox.error_rollup.outcome IS 'outcome of the attempts, see attempt.outcome';
COMMENT ON COLUMN webhook_outbox.error_rollup.attempts IS 'how many';

-- Attempts written by transaction since_xid and later, which lie behind first_tid in leaf slot, are in no rollup yet. While many rows
-- are being written, in several transactions, that is so for endpoints beyond written_to; of those up to it, what lies
-- beyond next_xid and next_tid is in none.

CREATE TABLE webhook_outbox.open_rollup (
  since_xid  xid8 NOT NULL,
  since_at   timestamptz NOT NULL,
  turn       bigint NOT NULL,
  slot       smallint NOT NULL,
  first_tid  tid NOT NULL,
  written_to bigint,
  next_xid   xid8,
  next_at    timestamptz,
  next_turn  bigint,
  next_slot  smallint,
  next_tid   tid,
  CHECK (num_nulls(written_to, next_xid, next_at, next_turn, next_slot, next_tid) IN (0, 6))
);
COMMENT ON TABLE webhook_outbox.open_rollup IS 'one row: which attempts are in no rollup yet; written by the dispatcher alone';
COMMENT ON COLUMN webhook_outbox.open_rollup.since_xid IS 'those of this transaction and later';
COMMENT ON COLUMN webhook_outbox.open_rollup.since_at IS 'when that was';
COMMENT ON COLUMN webhook_outbox.open_rollup.turn IS 'turn of the leaf that was written then; leaves of later turns are all open';
COMMENT ON COLUMN webhook_outbox.open_rollup.slot IS 'that leaf';
COMMENT ON COLUMN webhook_outbox.open_rollup.first_tid IS 'where they begin in it';
COMMENT ON COLUMN webhook_outbox.open_rollup.written_to IS
  'attempts of endpoints up to this one are in rollups up to the next place; NULL: none are being written';
COMMENT ON COLUMN webhook_outbox.open_rollup.next_xid IS 'as since_xid, of those endpoints';
COMMENT ON COLUMN webhook_outbox.open_rollup.next_at IS 'as since_at';
COMMENT ON COLUMN webhook_outbox.open_rollup.next_turn IS 'as turn';
COMMENT ON COLUMN webhook_outbox.open_rollup.next_slot IS 'as slot';
COMMENT ON COLUMN webhook_outbox.open_rollup.next_tid IS 'as first_tid';
INSERT INTO webhook_outbox.open_rollup VALUES (pg_current_xact_id(), clock_timestamp(), 1, 0, '(0,0)');

CREATE VIEW webhook_outbox.open_span AS
  SELECT coalesce(o.written_to, -1) AS beyond_endpoint, 9223372036854775807 AS to_endpoint,
         o.since_xid, o.since_at, o.turn, o.first_tid
  FROM webhook_outbox.open_rollup o
  UNION ALL
  SELECT -1, o.written_to, o.next_xid, o.next_at, o.next_turn, o.next_tid
  FROM webhook_outbox.open_rollup o
  WHERE o.written_to IS NOT NULL;
COMMENT ON VIEW webhook_outbox.open_span IS 'open_rollup as one row, or two, that tell each endpoint which of its attempts are in no rollup';
COMMENT ON COLUMN webhook_outbox.open_span.beyond_endpoint IS 'of endpoints with a higher id than this';
COMMENT ON COLUMN webhook_outbox.open_span.to_endpoint IS 'and not with a higher one than this';
COMMENT ON COLUMN webhook_outbox.open_span.since_xid IS 'those of this transaction and later';
COMMENT ON COLUMN webhook_outbox.open_span.since_at IS 'when that was';
COMMENT ON COLUMN webhook_outbox.open_span.turn IS 'turn of the leaf that was written then; leaves of later turns are all open';
COMMENT ON COLUMN webhook_outbox.open_span.first_tid IS 'where they begin in it';

CREATE TABLE webhook_outbox.rollup_watermark (
  hour_until timestamptz NOT NULL,
  day_until  timestamptz NOT NULL
);
COMMENT ON TABLE webhook_outbox.rollup_watermark IS 'one row: how far rollups are joined; written by maintain()';
COMMENT ON COLUMN webhook_outbox.rollup_watermark.hour_until IS 'hours before this are joined from minutes';
COMMENT ON COLUMN webhook_outbox.rollup_watermark.day_until IS 'days (UTC) before this are joined from hours';
INSERT INTO webhook_outbox.rollup_watermark
  SELECT date_trunc('hour', now(), 'UTC'), date_trunc('day', now(), 'UTC');
