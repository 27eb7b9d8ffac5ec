/*-------------------------------------------------------------------------
 *
 * rollup_rows.c
 *	  The rows of rollups, as the dispatcher inserts them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "columns.h"
#include "rollup_rows.h"
#include "series.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MEASURES \
	"attempts, failures, retries, delivered, late, dead, retried, " \
	"redelivered, latency_sum_ms, http_sum_ms, latency_max_ms, http_max_ms, " \
	"latency, http"

#define MEASURE_TYPES \
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, \
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, FLOAT8ARRAYOID, \
	FLOAT8ARRAYOID, FLOAT4ARRAYOID, FLOAT4ARRAYOID, BYTEAARRAYOID, \
	BYTEAARRAYOID

#define N_MEASURES			14

static const Oid endpoint_types[] = {
	TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT2ARRAYOID, MEASURE_TYPES
};
static WoStatement insert_endpoints = {
	"INSERT INTO webhook_outbox.endpoint_rollup (resolution, bucket, "
	"endpoint_id, tier, " MEASURES ") SELECT 1, * FROM unnest($1, $2, $3, "
	"$4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
	lengthof(endpoint_types), endpoint_types, NULL
};

static const Oid rollup_series_types[] = {
	TIMESTAMPTZARRAYOID, INT4ARRAYOID, MEASURE_TYPES
};
static WoStatement insert_series_rollups = {
	"INSERT INTO webhook_outbox.series_rollup (resolution, bucket, "
	"series_id, " MEASURES ") SELECT 1, * FROM unnest($1, $2, $3, $4, $5, "
	"$6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
	lengthof(rollup_series_types), rollup_series_types, NULL
};

static const Oid error_types[] = {
	TIMESTAMPTZARRAYOID, INT8ARRAYOID, TEXTARRAYOID, INT2ARRAYOID,
	INT8ARRAYOID
};
static WoStatement insert_errors = {
	"INSERT INTO webhook_outbox.error_rollup (resolution, bucket, "
	"endpoint_id, outcome, http_status, attempts) "
	"SELECT 1, * FROM unnest($1, $2, $3, $4, $5)",
	lengthof(error_types), error_types, NULL
};

/*
 * Where the clock was set back, the hour of a bucket may have been joined: no
 * row that comes later would be read.
 */
static const Oid bucket_types[] = {TIMESTAMPTZOID};
static WoStatement find_bucket = {
	"SELECT greatest($1, hour_until) FROM webhook_outbox.rollup_watermark",
	lengthof(bucket_types), bucket_types, NULL
};

/* What the last dispatcher left in attempt and did not write. */
static WoStatement insert_open_endpoints = {
	"INSERT INTO webhook_outbox.endpoint_rollup (resolution, bucket, "
	"endpoint_id, tier, " MEASURES ") SELECT 1, bucket, endpoint_id, tier, "
	MEASURES " FROM webhook_outbox.open_endpoint_minutes()", 0, NULL, NULL
};
static WoStatement insert_open_errors = {
	"INSERT INTO webhook_outbox.error_rollup (resolution, bucket, "
	"endpoint_id, outcome, http_status, attempts) SELECT 1, bucket, "
	"endpoint_id, outcome, http_status, attempts "
	"FROM webhook_outbox.open_error_minutes()", 0, NULL, NULL
};
static WoStatement read_open_series = {
	"SELECT " WO_SERIES_KEY ", bucket, " MEASURES
	" FROM webhook_outbox.open_series_minutes()", 0, NULL, NULL
};

/* Columns of that, after those of a series' key. */
enum
{
	COL_BUCKET = WO_SERIES_KEY_COLUMNS + 1, COL_MEASURES
};

static void
add_time(WoColumns *columns, TimestampTz at)
{
	wo_columns_add(columns, TimestampTzGetDatum(at), false);
}

static void
add_int8(WoColumns *columns, int64 value)
{
	wo_columns_add(columns, Int64GetDatum(value), false);
}

static void
add_measures(WoColumns *columns, const WoMeasures *m)
{
	add_int8(columns, m->n_attempts);
	add_int8(columns, m->n_failures);
	add_int8(columns, m->n_retries);
	add_int8(columns, m->n_delivered);
	add_int8(columns, m->n_late);
	add_int8(columns, m->n_dead);
	add_int8(columns, m->n_retried);
	add_int8(columns, m->n_redelivered);
	wo_columns_add(columns, Float8GetDatum(m->latency_sum_ms), false);
	wo_columns_add(columns, Float8GetDatum(m->http_sum_ms), false);
	wo_columns_add(columns, Float4GetDatum(m->latency_max_ms), false);
	wo_columns_add(columns, Float4GetDatum(m->http_max_ms), false);
	wo_columns_add(columns,
				   PointerGetDatum(wo_histogram_store(&m->latency)), false);
	wo_columns_add(columns,
				   PointerGetDatum(wo_histogram_store(&m->http)), false);
}

static void
write_tiers(WoEndpointFacts **endpoints, int n, int n_rows,
			TimestampTz bucket)
{
	WoColumns	columns;

	wo_columns_init(&columns, endpoint_types, lengthof(endpoint_types),
					n_rows);
	for (int i = 0; i < n; i++)
	{
		ListCell   *cell;

		foreach(cell, endpoints[i]->tiers)
		{
			WoTierFacts *facts = lfirst(cell);

			add_time(&columns, bucket);
			add_int8(&columns, endpoints[i]->endpoint_id);
			wo_columns_add(&columns, Int16GetDatum(facts->tier), false);
			add_measures(&columns, &facts->measures);
			wo_columns_end_row(&columns);
		}
	}
	wo_columns_execute(&insert_endpoints, &columns);
}

static void
add_error(WoColumns *columns, const WoErrorFacts *facts)
{
	const char *outcome = wo_outcome_name(facts->outcome);

	wo_columns_add(columns, CStringGetTextDatum(outcome), false);
	wo_columns_add(columns, Int16GetDatum(facts->http_status),
				   facts->http_status == 0);
	add_int8(columns, facts->n_attempts);
}

static void
write_errors(WoEndpointFacts **endpoints, int n, int n_rows,
			 TimestampTz bucket)
{
	WoColumns	columns;

	wo_columns_init(&columns, error_types, lengthof(error_types), n_rows);
	for (int i = 0; i < n; i++)
	{
		ListCell   *cell;

		foreach(cell, endpoints[i]->errors)
		{
			add_time(&columns, bucket);
			add_int8(&columns, endpoints[i]->endpoint_id);
			add_error(&columns, lfirst(cell));
			wo_columns_end_row(&columns);
		}
	}
	wo_columns_execute(&insert_errors, &columns);
}

static void
write_series(WoEndpointFacts **endpoints, int n, int n_rows,
			 TimestampTz bucket)
{
	WoSeries  **series = palloc(Max(n_rows, 1) * sizeof(WoSeries *));
	int			n_series = 0;
	WoColumns	columns;

	wo_columns_init(&columns, rollup_series_types,
					lengthof(rollup_series_types), n_rows);
	for (int i = 0; i < n; i++)
	{
		ListCell   *cell;

		foreach(cell, endpoints[i]->series)
		{
			WoSeriesFacts *facts = lfirst(cell);

			add_time(&columns, bucket);
			wo_columns_add(&columns, Int32GetDatum(facts->series->series_id),
						   false);
			add_measures(&columns, &facts->measures);
			wo_columns_end_row(&columns);
			series[n_series++] = facts->series;
		}
	}
	wo_series_store(series, n_series);
	wo_columns_execute(&insert_series_rollups, &columns);
}

/* Returns how many rows an endpoint makes. */
int
wo_rollup_rows_count(const WoEndpointFacts *endpoint)
{
	return list_length(endpoint->tiers) + list_length(endpoint->errors) +
		list_length(endpoint->series);
}

/* Returns the bucket to write to at this minute. */
static TimestampTz
bucket_at(TimestampTz minute)
{
	Datum		args[] = {TimestampTzGetDatum(minute)};
	bool		isnull;

	if (wo_txn_query(&find_bucket, args, NULL, 0) == 0)
		return minute;
	return DatumGetTimestampTz(wo_txn_value(0, 1, &isnull));
}

/* Inserts the rows of some endpoints, in the open transaction. */
void
wo_rollup_rows_write(WoEndpointFacts **endpoints, int n, TimestampTz bucket)
{
	int			n_tiers = 0;
	int			n_errors = 0;
	int			n_series = 0;

	bucket = bucket_at(bucket);
	for (int i = 0; i < n; i++)
	{
		n_tiers += list_length(endpoints[i]->tiers);
		n_errors += list_length(endpoints[i]->errors);
		n_series += list_length(endpoints[i]->series);
	}
	write_tiers(endpoints, n, n_tiers, bucket);
	write_series(endpoints, n, n_series, bucket);
	write_errors(endpoints, n, n_errors, bucket);
}

/* Inserts those of the series that the open part of attempt is about. */
static void
write_open_series(WoSeriesTable *table)
{
	uint64		n_rows = wo_txn_query(&read_open_series, NULL, NULL, 0);
	WoSeries  **series = palloc(Max(n_rows, 1) * sizeof(WoSeries *));
	WoColumns	columns;

	wo_columns_init(&columns, rollup_series_types,
					lengthof(rollup_series_types), n_rows);
	for (uint64 row = 0; row < n_rows; row++)
	{
		WoSeriesKey key;
		bool		isnull;

		wo_series_read_key(row, &key);
		series[row] = wo_series_table_find(table, &key, wo_max_series);
		wo_columns_add(&columns, wo_txn_value(row, COL_BUCKET, &isnull),
					   false);
		wo_columns_add(&columns, Int32GetDatum(series[row]->series_id),
					   false);
		for (int i = 0; i < N_MEASURES; i++)
			wo_columns_add(&columns,
						   wo_txn_value(row, COL_MEASURES + i, &isnull),
						   false);
		wo_columns_end_row(&columns);
	}
	wo_series_store(series, n_rows);
	wo_columns_execute(&insert_series_rollups, &columns);
}

/*
 * Inserts what attempt has and rollups lack, as the last dispatcher left it,
 * in the open transaction.
 */
void
wo_rollup_rows_write_open(WoSeriesTable *table)
{
	wo_txn_execute(&insert_open_endpoints, NULL, NULL);
	write_open_series(table);
	wo_txn_execute(&insert_open_errors, NULL, NULL);
}
