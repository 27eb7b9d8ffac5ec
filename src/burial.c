/*-------------------------------------------------------------------------
 *
 * burial.c
 *	  Stored deliveries of deleted endpoints become dead letters.
 *
 * All functions run in a transaction that the caller opened.  Joins are
 * written as in ledger.c, for the reason told there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "burial.h"
#include "catalog/pg_type_d.h"
#include "columns.h"
#include "ledger.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* From where the last one ended: the index keeps a while what is deleted. */
static const Oid find_types[] = {INT8ARRAYOID, UUIDARRAYOID, INT8OID};
static WoStatement find_rows = {
	"SELECT d.event_id, u.n FROM unnest($1, $2) WITH ORDINALITY "
	"AS u (endpoint_id, buried_to, n), LATERAL (SELECT d.event_id "
	"FROM webhook_outbox.delivery d WHERE d.endpoint_id = u.endpoint_id "
	"AND d.event_id > u.buried_to ORDER BY d.event_id LIMIT $3) d LIMIT $3",
	lengthof(find_types), find_types, NULL
};

static const Oid bury_types[] = {
	UUIDARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID
};
static WoStatement bury_rows = {
	"WITH doomed AS MATERIALIZED (SELECT r.name, d.* "
	"FROM unnest($1, $2, $3) AS r (event_id, endpoint_id, name), LATERAL ("
	"SELECT d.ctid AS tid, d.* FROM webhook_outbox.delivery d "
	"WHERE d.endpoint_id = r.endpoint_id AND d.event_id = r.event_id "
	"OFFSET 0) d), "
	"gone AS (DELETE FROM webhook_outbox.delivery "
	"WHERE ctid = ANY (ARRAY(SELECT tid FROM doomed))) "
	"INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, "
	"endpoint_name, event_type, tenant, reason, attempts, first_attempt_at, "
	"last_attempt_at, last_outcome, last_status, last_error, last_response, "
	"created_at) "
	"SELECT g.event_id, g.endpoint_id, g.name, coalesce(e.type, ''), e.tenant, "
	"'endpoint_deleted', g.attempts, g.first_attempt_at, g.last_attempt_at, "
	"a.outcome, a.http_status, a.error, a.response, $4 "
	"FROM doomed g LEFT JOIN LATERAL (SELECT e.type, e.tenant "
	"FROM webhook_outbox.event e WHERE e.id = g.event_id LIMIT 1) e ON true "
	WO_LAST_ATTEMPT_UNLESS("false")
	"WHERE g.state <> 'cancelled' AND " WO_IS_FREE "ON CONFLICT (endpoint_id, event_id) DO NOTHING",
	lengthof(bury_types), bury_types, NULL
};

/*
 * Lists at most limit rows that are stored for deleted endpoints, of one after
 * the other, beyond what is buried of each; returns how many.
 */
int
wo_burial_find(WoChange **deletions, int n, WoBurial *rows, int limit)
{
	WoColumns	columns;
	Datum		args[WO_MAX_COLUMNS];
	int			n_rows;

	wo_columns_init(&columns, find_types, 2, n);
	for (int i = 0; i < n; i++)
	{
		wo_columns_add(&columns, Int64GetDatum(deletions[i]->endpoint_id),
					   false);
		wo_columns_add(&columns, UUIDPGetDatum(&deletions[i]->buried_to),
					   false);
		wo_columns_end_row(&columns);
	}
	wo_columns_arrays(&columns, args);
	args[2] = Int64GetDatum(limit);
	n_rows = (int) wo_txn_query(&find_rows, args, NULL, 0);
	for (int row = 0; row < n_rows; row++)
	{
		bool		isnull;
		WoChange   *deletion =
		deletions[DatumGetInt64(wo_txn_value(row, 2, &isnull)) - 1];

		rows[row].event_id = *DatumGetUUIDP(wo_txn_value(row, 1, &isnull));
		rows[row].endpoint_id = deletion->endpoint_id;
		rows[row].name = deletion->name;
	}
	return n_rows;
}

/* Turns these rows into dead letters, cancelled ones into nothing. */
void
wo_burial_bury(const WoBurial *rows, int n, TimestampTz now)
{
	WoColumns	columns;
	Datum		args[WO_MAX_COLUMNS];

	if (n == 0)
		return;
	wo_columns_init(&columns, bury_types, 3, n);
	for (int i = 0; i < n; i++)
	{
		wo_columns_add(&columns, UUIDPGetDatum(&rows[i].event_id), false);
		wo_columns_add(&columns, Int64GetDatum(rows[i].endpoint_id), false);
		wo_columns_add(&columns, CStringGetTextDatum(rows[i].name), false);
		wo_columns_end_row(&columns);
	}
	wo_columns_arrays(&columns, args);
	args[3] = TimestampTzGetDatum(now);
	wo_txn_execute(&bury_rows, args, NULL);
}
