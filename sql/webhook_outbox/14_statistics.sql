-- How likely a difference is by chance alone: what compare_periods() judges by. In C (statistics.c).

CREATE FUNCTION webhook_outbox.normal_p_value(z double precision) RETURNS double precision
  AS 'MODULE_PATHNAME', 'wo_sql_normal_p_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.normal_p_value(double precision) IS
  'probability that a normal deviate is at least z from 0, on either side: normal_p_value(1.96) is 0.05';

CREATE FUNCTION webhook_outbox.fisher_p_value(hits_a bigint, total_a bigint, hits_b bigint, total_b bigint)
  RETURNS double precision
  AS 'MODULE_PATHNAME', 'wo_sql_fisher_p_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION webhook_outbox.fisher_p_value(bigint, bigint, bigint, bigint) IS
  'Fisher''s exact test, two-sided: probability of shares at least as unlikely as hits_a of total_a and hits_b of total_b, if '
  'both are samples of one';
