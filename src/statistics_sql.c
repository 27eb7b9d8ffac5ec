/*-------------------------------------------------------------------------
 *
 * statistics_sql.c
 *	  The SQL functions that compare_periods() builds on.
 *
 * Layer 5.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "statistics.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_normal_p_value);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_fisher_p_value);

/*
 * normal_p_value(z double precision) returns double precision
 */
Datum
wo_sql_normal_p_value(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(wo_statistics_normal_p(PG_GETARG_FLOAT8(0)));
}

/*
 * fisher_p_value(hits_a bigint, total_a bigint, hits_b bigint, total_b bigint)
 * returns double precision
 */
Datum
wo_sql_fisher_p_value(PG_FUNCTION_ARGS)
{
	WoShare		a;
	WoShare		b;

	a.hits = PG_GETARG_INT64(0);
	a.total = PG_GETARG_INT64(1);
	b.hits = PG_GETARG_INT64(2);
	b.total = PG_GETARG_INT64(3);
	if (a.hits < 0 || a.hits > a.total || b.hits < 0 || b.hits > b.total ||
		a.total > WO_MAX_SHARE_TOTAL || b.total > WO_MAX_SHARE_TOTAL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%lld of %lld and %lld of %lld are not two shares",
						(long long) a.hits, (long long) a.total,
						(long long) b.hits, (long long) b.total),
				 errhint("Hits are 0 to their total, and totals are at most %lld.",
						 (long long) WO_MAX_SHARE_TOTAL)));
	PG_RETURN_FLOAT8(wo_statistics_fisher_p(a, b));
}
