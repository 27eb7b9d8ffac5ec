-- Histograms of durations: how percentiles over any span and any group are had from rows that were each written once.
-- Percentiles cannot be added or averaged; histograms can be added. What they return is at most 3.2 per cent (and half a
-- microsecond) off the exact percentile. They are in C (histogram.c), in milliseconds, and stored as bytea.

CREATE FUNCTION webhook_outbox.histogram_add(state internal, ms double precision) RETURNS internal
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_add' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_add(internal, double precision) IS 'part of the aggregate histogram()';

CREATE FUNCTION webhook_outbox.histogram_merge_next(state internal, histogram bytea) RETURNS internal
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_merge' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_merge_next(internal, bytea) IS 'part of the aggregate histogram_merge()';

CREATE FUNCTION webhook_outbox.histogram_combine(state internal, other internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_combine(internal, internal) IS 'part of the aggregates histogram() and histogram_merge()';

CREATE FUNCTION webhook_outbox.histogram_store(state internal) RETURNS bytea
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_store' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_store(internal) IS 'part of the aggregates histogram() and histogram_merge()';

CREATE FUNCTION webhook_outbox.histogram_send(state internal) RETURNS bytea
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_store' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_send(internal) IS 'part of the aggregates histogram() and histogram_merge()';

CREATE FUNCTION webhook_outbox.histogram_receive(histogram bytea, state internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_load' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_receive(bytea, internal) IS 'part of the aggregates histogram() and histogram_merge()';

CREATE AGGREGATE webhook_outbox.histogram(ms double precision) (
  SFUNC = webhook_outbox.histogram_add, STYPE = internal, SSPACE = 1024, FINALFUNC = webhook_outbox.histogram_store,
  COMBINEFUNC = webhook_outbox.histogram_combine, SERIALFUNC = webhook_outbox.histogram_send,
  DESERIALFUNC = webhook_outbox.histogram_receive, PARALLEL = SAFE);
COMMENT ON AGGREGATE webhook_outbox.histogram(double precision) IS
  'histogram of durations in milliseconds; NULL is left out, below zero counts as zero; of no rows: an empty one';

CREATE AGGREGATE webhook_outbox.histogram_merge(histogram bytea) (
  SFUNC = webhook_outbox.histogram_merge_next, STYPE = internal, SSPACE = 1024, FINALFUNC = webhook_outbox.histogram_store,
  COMBINEFUNC = webhook_outbox.histogram_combine, SERIALFUNC = webhook_outbox.histogram_send,
  DESERIALFUNC = webhook_outbox.histogram_receive, PARALLEL = SAFE);
COMMENT ON AGGREGATE webhook_outbox.histogram_merge(bytea) IS
  'histogram of all values of these histograms; NULL is left out; of no rows: an empty one';

CREATE FUNCTION webhook_outbox.histogram_quantile(histogram bytea, q double precision) RETURNS double precision
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_quantile' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_quantile(bytea, double precision) IS
  'quantile in milliseconds, as percentile_cont() has it, at most 3.2 per cent off; q: 0 to 1; NULL: the histogram is empty. '
  'histogram_quantile(latency, 0.95) of a row of webhook_outbox.endpoint_rollup';

CREATE FUNCTION webhook_outbox.histogram_count(histogram bytea) RETURNS bigint
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_count' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_count(bytea) IS 'how many values a histogram has';

CREATE FUNCTION webhook_outbox.histogram_count_below(histogram bytea, ms double precision) RETURNS bigint
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_count_below' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.histogram_count_below(bytea, double precision) IS
  'how many values are below so many milliseconds; of the bucket that this falls in, the share that is below';

CREATE FUNCTION webhook_outbox.histogram_buckets(
  histogram    bytea,
  OUT lower_ms double precision,
  OUT upper_ms double precision,
  OUT count    bigint) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'wo_sql_histogram_buckets' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 50;
COMMENT ON FUNCTION webhook_outbox.histogram_buckets(bytea) IS
  'the buckets that have values, in order: from lower_ms on, below upper_ms (rounded to microseconds)';
