/*-------------------------------------------------------------------------
 *
 * series.c
 *	  The table of series: what metrics tell apart within an endpoint.
 *
 * The dispatcher gives them their numbers, and knows all of them: nobody else
 * writes the table.  In memory their texts are in UTF-8, as events have them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "columns.h"
#include "series.h"
#include "txn.h"

static const Oid series_types[] = {
	INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID
};
static WoStatement insert_series = {
	"INSERT INTO webhook_outbox.series (series_id, endpoint_id, event_type, "
	"tenant, source) SELECT * FROM unnest($1, $2, $3, $4, $5)",
	lengthof(series_types), series_types, NULL
};

static WoStatement load_series = {
	"SELECT " WO_SERIES_KEY ", series_id "
	"FROM webhook_outbox.series", 0, NULL, NULL
};

enum
{
	COL_ENDPOINT_ID = 1, COL_TYPE, COL_TENANT, COL_SOURCE, COL_SERIES_ID
};

/* Reads the key of a row of the last query; its texts are the caller's. */
void
wo_series_read_key(uint64 row, WoSeriesKey *key)
{
	bool		isnull;

	key->endpoint_id = DatumGetInt64(wo_txn_value(row, COL_ENDPOINT_ID,
												  &isnull));
	key->type = wo_txn_utf8(row, COL_TYPE);
	key->tenant = wo_txn_utf8(row, COL_TENANT);
	key->source = wo_txn_utf8(row, COL_SOURCE);
}

/* Reads all series anew, in the open transaction. */
void
wo_series_load(WoSeriesTable *table)
{
	uint64		n_rows;

	wo_series_table_reset(table);
	n_rows = wo_txn_query(&load_series, NULL, NULL, 0);
	for (uint64 row = 0; row < n_rows; row++)
	{
		WoSeriesKey key;
		bool		isnull;

		wo_series_read_key(row, &key);
		wo_series_table_know(table, &key,
							 DatumGetInt32(wo_txn_value(row, COL_SERIES_ID,
														&isnull)));
	}
}

/*
 * Gives a row to each of these series that has none, in the open transaction.
 * They count as stored from now on: after an error all series are loaded anew.
 */
void
wo_series_store(WoSeries **series, int n)
{
	WoColumns	columns;

	wo_columns_init(&columns, series_types, lengthof(series_types), n);
	for (int i = 0; i < n; i++)
	{
		if (series[i]->is_stored)
			continue;
		wo_columns_add(&columns, Int32GetDatum(series[i]->series_id), false);
		wo_columns_add(&columns, Int64GetDatum(series[i]->key.endpoint_id),
					   false);
		wo_columns_add_utf8(&columns, series[i]->key.type);
		wo_columns_add_utf8(&columns, series[i]->key.tenant);
		wo_columns_add_utf8(&columns, series[i]->key.source);
		wo_columns_end_row(&columns);
		series[i]->is_stored = true;
	}
	wo_columns_execute(&insert_series, &columns);
}
