/*-------------------------------------------------------------------------
 *
 * histogram_sql.c
 *	  The SQL functions and aggregates over histograms.
 *
 * Layer 5.  A histogram is stored as bytea, so these functions meet whatever
 * somebody calls one: what is not is refused with ERRCODE_DATA_CORRUPTED.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "histogram.h"
#include "utils/float.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_add);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_merge);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_store);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_load);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_quantile);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_count);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_count_below);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_histogram_buckets);

static WoHistogram *
make_histogram(MemoryContext context)
{
	WoHistogram *histogram = MemoryContextAlloc(context, sizeof(WoHistogram));

	wo_histogram_init(histogram, context);
	return histogram;
}

/* Returns the aggregate's state, the first argument, making it if need be. */
static WoHistogram *
aggregate_state(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (!PG_ARGISNULL(0))
		return (WoHistogram *) PG_GETARG_POINTER(0);
	return make_histogram(context);
}

static void
merge(WoHistogram *into, const bytea *stored)
{
	if (!wo_histogram_merge(into, stored))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("bytea of %zu bytes is not a histogram",
						VARSIZE_ANY_EXHDR(stored)),
				 errhint("Histograms are made by the aggregates webhook_outbox.histogram() and histogram_merge().")));
}

/* Returns the histogram that argument 0 stores. */
static WoHistogram *
load_argument(FunctionCallInfo fcinfo)
{
	WoHistogram *histogram = make_histogram(CurrentMemoryContext);

	merge(histogram, PG_GETARG_BYTEA_PP(0));
	return histogram;
}

static double
duration(FunctionCallInfo fcinfo)
{
	double		ms = PG_GETARG_FLOAT8(1);

	if (isnan(ms))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("NaN is not a duration"),
				 errhint("A duration is a number of milliseconds; leave out what is not known by NULL.")));
	return ms;
}

/* SQL: transition of histogram(double precision). */
Datum
wo_sql_histogram_add(PG_FUNCTION_ARGS)
{
	WoHistogram *state = aggregate_state(fcinfo);

	if (!PG_ARGISNULL(1))
		wo_histogram_add(state, duration(fcinfo));
	PG_RETURN_POINTER(state);
}

/* SQL: transition of histogram_merge(bytea). */
Datum
wo_sql_histogram_merge(PG_FUNCTION_ARGS)
{
	WoHistogram *state = aggregate_state(fcinfo);

	if (!PG_ARGISNULL(1))
		merge(state, PG_GETARG_BYTEA_PP(1));
	PG_RETURN_POINTER(state);
}

/* SQL: joins the states of two parallel workers. */
Datum
wo_sql_histogram_combine(PG_FUNCTION_ARGS)
{
	WoHistogram *state = aggregate_state(fcinfo);

	if (!PG_ARGISNULL(1))
		wo_histogram_combine(state, (WoHistogram *) PG_GETARG_POINTER(1));
	PG_RETURN_POINTER(state);
}

/* SQL: the result of both aggregates; no rows make an empty histogram. */
Datum
wo_sql_histogram_store(PG_FUNCTION_ARGS)
{
	WoHistogram *state = aggregate_state(fcinfo);

	PG_RETURN_BYTEA_P(wo_histogram_store(state));
}

/* SQL: takes the state of a parallel worker over. */
Datum
wo_sql_histogram_load(PG_FUNCTION_ARGS)
{
	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "aggregate function called in non-aggregate context");
	PG_RETURN_POINTER(load_argument(fcinfo));
}

/* SQL: histogram_quantile(bytea, double precision) returns ms. */
Datum
wo_sql_histogram_quantile(PG_FUNCTION_ARGS)
{
	double		q = PG_GETARG_FLOAT8(1);
	WoHistogram *histogram;

	if (!(q >= 0 && q <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("quantile %g is out of range", q),
				 errhint("A quantile is 0 to 1: 0.95 is what 95 per cent stay below.")));
	histogram = load_argument(fcinfo);
	if (histogram->total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(wo_histogram_quantile(histogram, q));
}

/* SQL: histogram_count(bytea) returns bigint. */
Datum
wo_sql_histogram_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(load_argument(fcinfo)->total);
}

/* SQL: histogram_count_below(bytea, double precision) returns bigint. */
Datum
wo_sql_histogram_count_below(PG_FUNCTION_ARGS)
{
	double		ms = duration(fcinfo);

	PG_RETURN_INT64(wo_histogram_count_below(load_argument(fcinfo), ms));
}

/* SQL: histogram_buckets(bytea) returns a row for each that has values. */
Datum
wo_sql_histogram_buckets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WoHistogram *histogram = load_argument(fcinfo);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < histogram->n_counts; i++)
	{
		int			bucket = histogram->first + i;
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		if (histogram->counts[i] == 0)
			continue;
		values[0] = Float8GetDatum(wo_histogram_lower_ms(bucket));
		values[1] = Float8GetDatum(wo_histogram_lower_ms(bucket + 1));
		values[2] = Int64GetDatum(histogram->counts[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
