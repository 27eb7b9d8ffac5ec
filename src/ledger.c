/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  Records what became of deliveries.
 *
 * A delivered event costs one row in attempt and nothing else, whatever the
 * number of endpoints and the length of the queue.  A failed one costs a row
 * in delivery or dead_letter besides.  Those rows go in by INSERT ... SELECT
 * unnest(...), a batch at a time; attempts through the table's own interface.
 *
 * Joins are written LATERAL (... OFFSET 0), here and in backlog.c and
 * command.c: the plans are made once, often while the tables are empty, and
 * this is the one form that no estimate can turn into a scan of a table.
 * LIMIT 1 does the same where one row of event is wanted: an event can be
 * there twice, when a dump was loaded twice or its rows came by replication.
 *
 * All functions run in a transaction that the caller opened, and change
 * nothing in memory: the caller does that once the commit has returned.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "columns.h"
#include "compat.h"
#include "encoding.h"
#include "endpoint.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "guard.h"
#include "ledger.h"
#include "ring.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* Columns of webhook_outbox.attempt and of its leaves. */
enum
{
	COL_EVENT_ID, COL_ENDPOINT_ID, COL_NUMBER, COL_HTTP_STATUS, COL_SLOT,
	COL_STARTED_AT, COL_NEXT_ATTEMPT_AT, COL_WAIT_MS, COL_CONNECT_MS,
	COL_TOTAL_MS, COL_OUTCOME, COL_ORIGIN, COL_ERROR, COL_RESPONSE,
	N_ATTEMPT_COLUMNS
};

/* Attempts go in so many at a time. */
#define INSERT_AT_ONCE		256

static const Oid delete_types[] = {UUIDARRAYOID, INT8ARRAYOID};
static WoStatement delete_deliveries = {
	"DELETE FROM webhook_outbox.delivery WHERE ctid = ANY (ARRAY("
	"SELECT d.ctid FROM unnest($1, $2) AS r (event_id, endpoint_id), LATERAL ("
	"SELECT d.ctid FROM webhook_outbox.delivery d WHERE d.endpoint_id = "
	"r.endpoint_id AND d.event_id = r.event_id OFFSET 0) d))",
	2, delete_types, NULL
};

/* SKIP LOCKED: somebody discards it already. */
static WoStatement delete_dead_letters = {
	"DELETE FROM webhook_outbox.dead_letter WHERE ctid = ANY (ARRAY("
	"SELECT d.ctid FROM unnest($1, $2) AS r (event_id, endpoint_id), LATERAL ("
	"SELECT d.ctid FROM webhook_outbox.dead_letter d WHERE d.endpoint_id = "
	"r.endpoint_id AND d.event_id = r.event_id "
	"OFFSET 0 FOR UPDATE SKIP LOCKED) d))",
	2, delete_types, NULL
};

static const Oid store_types[] = {
	UUIDARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID,
	TIMESTAMPTZARRAYOID
};
static WoStatement store_deliveries = {
	"INSERT INTO webhook_outbox.delivery AS d (event_id, endpoint_id, "
	"next_attempt_at, state, origin, attempts, schedule_step, "
	"first_attempt_at, last_attempt_at) "
	"SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) "
	"ON CONFLICT (endpoint_id, event_id) DO UPDATE SET "
	"next_attempt_at = excluded.next_attempt_at, state = excluded.state, "
	"origin = excluded.origin, attempts = excluded.attempts, "
	"schedule_step = excluded.schedule_step, "
	"first_attempt_at = excluded.first_attempt_at, "
	"last_attempt_at = coalesce(excluded.last_attempt_at, d.last_attempt_at)",
	lengthof(store_types), store_types, NULL
};

static const Oid bury_types[] = {
	UUIDARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID
};
static WoStatement insert_dead_letters = {
	"INSERT INTO webhook_outbox.dead_letter AS d (event_id, endpoint_id, "
	"endpoint_name, event_type, tenant, reason, attempts, first_attempt_at, "
	"last_attempt_at, last_outcome, last_status, last_error, last_response, "
	"created_at) SELECT g.event_id, g.endpoint_id, g.name, g.type, g.tenant, "
	"g.reason, g.attempts, g.first_at, coalesce(g.last_at, a.started_at), "
	"coalesce(g.outcome, a.outcome), coalesce(g.status, a.http_status), "
	"coalesce(g.error, a.error), coalesce(g.response, a.response), $14 "
	"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
	"AS g (event_id, endpoint_id, name, type, tenant, reason, attempts, "
	"first_at, last_at, outcome, status, error, response) "
	WO_LAST_ATTEMPT_UNLESS("g.outcome IS NOT NULL")
	"WHERE " WO_IS_FREE
	"ON CONFLICT (endpoint_id, event_id) DO UPDATE SET "
	"reason = excluded.reason, attempts = excluded.attempts, "
	"last_attempt_at = excluded.last_attempt_at, "
	"last_outcome = excluded.last_outcome, "
	"last_status = excluded.last_status, last_error = excluded.last_error, "
	"last_response = excluded.last_response, "
	"created_at = excluded.created_at",
	lengthof(bury_types), bury_types, NULL
};

/* SKIP LOCKED: an operator's open UPDATE must not hold the dispatcher up. */
static const Oid disable_types[] = {INT8OID, TEXTOID};
static WoStatement disable_endpoint = {
	"UPDATE webhook_outbox.endpoint SET enabled = false, "
	"disabled_reason = $2, disabled_at = clock_timestamp() "
	"WHERE endpoint_id = (SELECT endpoint_id FROM webhook_outbox.endpoint "
	"WHERE endpoint_id = $1 AND enabled FOR NO KEY UPDATE SKIP LOCKED)",
	2, disable_types, NULL
};

static WoStatement find_enabled = {
	"SELECT FROM webhook_outbox.endpoint WHERE endpoint_id = $1 AND enabled",
	1, disable_types, NULL
};

static const Oid recorded_types[] = {UUIDARRAYOID};
static WoStatement find_recorded = {
	"SELECT r.* FROM unnest($1) AS u (id), LATERAL ("
	"SELECT a.event_id, a.endpoint_id FROM webhook_outbox.attempt a "
	"WHERE a.event_id = u.id AND a.next_attempt_at IS NULL UNION ALL "
	"SELECT d.event_id, d.endpoint_id FROM webhook_outbox.delivery d "
	"WHERE d.event_id = u.id UNION ALL "
	"SELECT d.event_id, d.endpoint_id FROM webhook_outbox.dead_letter d "
	"WHERE d.event_id = u.id OFFSET 0) r",
	1, recorded_types, NULL
};

/* Remembered for the setting, or the longest that a delivery can take. */
static const Oid forget_types[] = {TIMESTAMPTZOID, INT4OID};
static WoStatement forget_operations = {
	"DELETE FROM webhook_outbox.operation WHERE ctid = ANY (ARRAY("
	"SELECT ctid FROM webhook_outbox.operation WHERE created_at < $1 LIMIT $2))",
	2, forget_types, NULL
};

/* One-line error texts are ASCII or UTF-8 of ours, or quote a stranger. */
static Datum
safe_text(const char *bytes, int len, bool *isnull)
{
	*isnull = (len == 0);
	return *isnull ? (Datum) 0 :
		PointerGetDatum(wo_encoding_text_from_bytes(bytes, len));
}

static void
add_text(WoColumns *columns, const char *bytes, int len)
{
	bool		isnull;
	Datum		value = safe_text(bytes, len, &isnull);

	wo_columns_add(columns, value, isnull);
}

static void
add_key(WoColumns *columns, WoDelivery *delivery)
{
	wo_columns_add(columns, UUIDPGetDatum(&delivery->log->event.id), false);
	wo_columns_add(columns, Int64GetDatum(delivery->endpoint->endpoint_id),
				   false);
}

static void
add_time(WoColumns *columns, TimestampTz at, bool isnull)
{
	wo_columns_add(columns, TimestampTzGetDatum(at), isnull);
}

/* Fills a slot with a row of webhook_outbox.attempt. */
static void
fill_attempt(TupleTableSlot *slot, WoRecord *record)
{
	WoDelivery *delivery = record->delivery;
	WoResult   *result = &record->result;
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	ExecClearTuple(slot);
	memset(nulls, 0, N_ATTEMPT_COLUMNS * sizeof(bool));
	values[COL_EVENT_ID] = UUIDPGetDatum(&delivery->log->event.id);
	values[COL_ENDPOINT_ID] = Int64GetDatum(delivery->endpoint->endpoint_id);
	values[COL_NUMBER] = Int32GetDatum(record->number);
	values[COL_HTTP_STATUS] = Int16GetDatum(result->http_status);
	nulls[COL_HTTP_STATUS] = result->http_status == 0;
	values[COL_SLOT] = Int16GetDatum(wo_ring_attempt_slot());
	values[COL_STARTED_AT] = TimestampTzGetDatum(result->started_at);
	values[COL_NEXT_ATTEMPT_AT] = TimestampTzGetDatum(record->next_attempt_at);
	nulls[COL_NEXT_ATTEMPT_AT] = record->verdict != WO_VERDICT_RETRY;
	values[COL_WAIT_MS] = Float4GetDatum(record->wait_ms);
	values[COL_CONNECT_MS] = Float4GetDatum(result->connect_ms);
	values[COL_TOTAL_MS] = Float4GetDatum(result->total_ms);
	nulls[COL_CONNECT_MS] = nulls[COL_TOTAL_MS] =
		result->outcome == WO_UNKNOWN;
	values[COL_OUTCOME] =
		CStringGetTextDatum(wo_outcome_name(result->outcome));
	nulls[COL_ORIGIN] = strcmp(delivery->origin, "event") == 0;
	values[COL_ORIGIN] = nulls[COL_ORIGIN] ? (Datum) 0 :
		CStringGetTextDatum(delivery->origin);
	values[COL_ERROR] = safe_text(result->error, strlen(result->error),
								  &nulls[COL_ERROR]);
	values[COL_RESPONSE] = safe_text(result->response, result->response_len,
									 &nulls[COL_RESPONSE]);
	ExecStoreVirtualTuple(slot);
}

static void
add_stored(WoColumns *columns, WoDelivery *delivery, const char *state,
		   TimestampTz next_attempt_at, int n_attempts, int schedule_step,
		   TimestampTz last_attempt_at)
{
	TimestampTz first = delivery->first_attempt_at ?
	delivery->first_attempt_at : last_attempt_at;

	add_key(columns, delivery);
	add_time(columns, next_attempt_at, false);
	wo_columns_add(columns, CStringGetTextDatum(state), false);
	wo_columns_add(columns, CStringGetTextDatum(delivery->origin), false);
	wo_columns_add(columns, Int32GetDatum(n_attempts), false);
	wo_columns_add(columns, Int32GetDatum(schedule_step), false);
	add_time(columns, first, first == 0);
	add_time(columns, last_attempt_at, last_attempt_at == 0);
	wo_columns_end_row(columns);
}

static void
add_retry(WoColumns *columns, WoRecord *record)
{
	add_stored(columns, record->delivery,
			   record->verdict == WO_VERDICT_RETRY ? "retrying" : "cancelled",
			   record->verdict == WO_VERDICT_RETRY ?
			   record->next_attempt_at : DT_NOEND,
			   record->number, record->delivery->schedule_step + 1,
			   record->result.started_at);
}

static void
add_dead_letter(WoColumns *columns, WoRecord *record)
{
	WoDelivery *delivery = record->delivery;
	WoResult   *result = &record->result;
	bool		no_attempt = record->number == 0;
	TimestampTz first = delivery->first_attempt_at ?
	delivery->first_attempt_at : result->started_at;

	add_key(columns, delivery);
	wo_columns_add(columns, CStringGetTextDatum(delivery->endpoint->name),
				   false);
	wo_columns_add_utf8(columns, delivery->log->event.type);
	wo_columns_add_utf8(columns, delivery->log->event.tenant);
	wo_columns_add(columns, CStringGetTextDatum(record->reason), false);
	wo_columns_add(columns, Int32GetDatum(no_attempt ? delivery->n_attempts :
										  record->number), false);
	add_time(columns, first, first == 0);
	add_time(columns, result->started_at, no_attempt);
	wo_columns_add(columns, no_attempt ? (Datum) 0 :
				   CStringGetTextDatum(wo_outcome_name(result->outcome)),
				   no_attempt);
	wo_columns_add(columns, Int16GetDatum(result->http_status),
				   result->http_status == 0);
	add_text(columns, result->error, strlen(result->error));
	add_text(columns, result->response, result->response_len);
	wo_columns_end_row(columns);
}

/*
 * Returns the leaf that attempts go to, locked for writing.  No executor is
 * started for it, so it is looked at here.
 */
static Relation
open_attempt_leaf(void)
{
	char	   *name = psprintf("attempt_%d", wo_ring_attempt_slot());
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, false);
	Relation	rel = table_open(get_relname_relid(name, namespace_id),
								 RowExclusiveLock);
	TupleDesc	desc = RelationGetDescr(rel);

	wo_guard_check();
	for (int i = 0; i < N_ATTEMPT_COLUMNS; i++)
	{
		if (i >= desc->natts || TupleDescAttr(desc, i)->attisdropped)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("a column of webhook_outbox.%s was dropped", name),
					 errhint("Create the extension anew.")));
	}
	return rel;
}

/*
 * Makes a slot for a row; columns that others have added are null, but for
 * generated ones (append_rows).
 */
static TupleTableSlot *
create_attempt_slot(Relation rel)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	memset(slot->tts_isnull, true,
		   RelationGetNumberOfAttributes(rel) * sizeof(bool));
	return slot;
}

/*
 * Stores rows at the end of the leaf, and in its index.  Free space further
 * up is not used: what was recorded since some moment must lie on the page
 * that was the last one then, or behind it, for readers of metrics look no
 * further up.  Constraints hold here too, with a column that others have
 * added as NOT NULL: they must not find nulls there.
 */
static void
append_rows(ResultRelInfo *rri, EState *estate, TupleTableSlot **slots, int n)
{
	TupleConstr *constr = RelationGetDescr(rri->ri_RelationDesc)->constr;

	for (int i = 0; i < n; i++)
	{
		if (constr && constr->has_generated_stored)
			ExecComputeStoredGenerated(rri, estate, slots[i], CMD_INSERT);
		ExecConstraints(rri, slots[i], estate);
		ResetPerTupleExprContext(estate);
	}
	table_multi_insert(rri->ri_RelationDesc, slots, n,
					   GetCurrentCommandId(true), TABLE_INSERT_SKIP_FSM, NULL);
	for (int i = 0; i < n; i++)
	{
		list_free(WoExecInsertIndexTuples(rri, slots[i], estate, false,
										  NULL));
		ResetPerTupleExprContext(estate);
	}
}

/* Inserts the attempts; SQL would cost half as much again. */
static void
insert_attempt_rows(WoRecord **records, int n)
{
	Relation	rel = open_attempt_leaf();
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	TupleTableSlot *slots[INSERT_AT_ONCE];
	int			n_slots = Min(n, INSERT_AT_ONCE);
	int			n_rows = 0;

	InitResultRelInfo(rri, rel, 0, NULL, 0);	/* of no query */
	ExecOpenIndices(rri, false);
	for (int i = 0; i < n_slots; i++)
		slots[i] = create_attempt_slot(rel);
	for (int i = 0; i < n; i++)
	{
		if (records[i]->number > 0)
			fill_attempt(slots[n_rows++], records[i]);
		if (n_rows == n_slots || (i == n - 1 && n_rows > 0))
		{
			append_rows(rri, estate, slots, n_rows);
			n_rows = 0;
		}
	}
	for (int i = 0; i < n_slots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	ExecCloseIndices(rri);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
}

/* Has it a row after this?  Of a deleted endpoint, no cancelled one has. */
static bool
keeps_row(const WoRecord *record)
{
	return record->verdict == WO_VERDICT_RETRY ||
		(record->verdict == WO_VERDICT_CANCELLED &&
		 !record->delivery->endpoint->is_deleted);
}

/* Deletes the rows of deliveries that are over. */
static void
delete_rows(WoRecord **records, int n)
{
	WoColumns	columns;

	wo_columns_init(&columns, delete_types, lengthof(delete_types), n);
	for (int i = 0; i < n; i++)
	{
		if (!records[i]->delivery->is_stored || keeps_row(records[i]))
			continue;
		add_key(&columns, records[i]->delivery);
		wo_columns_end_row(&columns);
	}
	wo_columns_execute(&delete_deliveries, &columns);
}

/* What arrived though its endpoint was deleted meanwhile is not dead. */
static void
revive_rows(WoRecord **records, int n)
{
	WoColumns	columns;

	wo_columns_init(&columns, delete_types, lengthof(delete_types), n);
	for (int i = 0; i < n; i++)
	{
		WoDelivery *delivery = records[i]->delivery;

		if (records[i]->verdict != WO_VERDICT_DELIVERED ||
			!delivery->is_stored || !delivery->endpoint->is_deleted)
			continue;
		add_key(&columns, delivery);
		wo_columns_end_row(&columns);
	}
	wo_columns_execute(&delete_dead_letters, &columns);
}

static void
store_rows(WoRecord **records, int n)
{
	WoColumns	columns;

	wo_columns_init(&columns, store_types, lengthof(store_types), n);
	for (int i = 0; i < n; i++)
	{
		if (keeps_row(records[i]))
			add_retry(&columns, records[i]);
	}
	wo_columns_execute(&store_deliveries, &columns);
}

static void
bury_rows(WoRecord **records, int n, TimestampTz now)
{
	WoColumns	columns;
	Datum		args[WO_MAX_COLUMNS + 1];

	wo_columns_init(&columns, bury_types, lengthof(bury_types) - 1, n);
	for (int i = 0; i < n; i++)
	{
		if (records[i]->verdict == WO_VERDICT_DEAD)
			add_dead_letter(&columns, records[i]);
	}
	if (columns.n_rows == 0)
		return;
	wo_columns_arrays(&columns, args);
	args[lengthof(bury_types) - 1] = TimestampTzGetDatum(now);
	wo_txn_execute(&insert_dead_letters, args, NULL);
}

/* Records n attempts and what becomes of their deliveries. */
void
wo_ledger_record(WoRecord **records, int n, TimestampTz now)
{
	insert_attempt_rows(records, n);
	delete_rows(records, n);
	revive_rows(records, n);
	store_rows(records, n);
	bury_rows(records, n, now);
}

static void
store_all(WoDelivery **deliveries, int n, const char *state,
		  TimestampTz next_attempt_at)
{
	WoColumns	columns;

	wo_columns_init(&columns, store_types, lengthof(store_types), n);
	for (int i = 0; i < n; i++)
		add_stored(&columns, deliveries[i], state, next_attempt_at,
				   deliveries[i]->n_attempts, deliveries[i]->schedule_step,
				   0);
	wo_columns_execute(&store_deliveries, &columns);
}

/* Stores deliveries that wait for their turn, or hold the cursor back. */
void
wo_ledger_park(WoDelivery **deliveries, int n, TimestampTz due_at)
{
	store_all(deliveries, n, "parked", due_at);
}

/* Stores deliveries that nobody wants any more. */
void
wo_ledger_cancel(WoDelivery **deliveries, int n)
{
	store_all(deliveries, n, "cancelled", DT_NOEND);
}

/*
 * Pauses an endpoint that asked for it (HTTP 410).  False: it is not enabled;
 * true: it was, and still is if somebody has locked it.
 */
bool
wo_ledger_disable_endpoint(int64 endpoint_id, const char *reason)
{
	Datum		args[2];

	args[0] = Int64GetDatum(endpoint_id);
	args[1] = CStringGetTextDatum(reason);
	return wo_txn_execute(&disable_endpoint, args, NULL) > 0 ||
		wo_txn_query(&find_enabled, args, NULL, 1) > 0;
}

/*
 * Finds which deliveries of these events were recorded before a restart.
 * Returns how many, in an array allocated in context.
 */
int
wo_ledger_find_recorded(WoLogEvent **events, int n, MemoryContext context,
						WoRecorded **recorded)
{
	Datum	   *ids = palloc(Max(n, 1) * sizeof(Datum));
	Datum		arg;
	uint64		n_rows;

	for (int i = 0; i < n; i++)
		ids[i] = UUIDPGetDatum(&events[i]->event.id);
	arg = wo_txn_array(ids, NULL, n, UUIDOID);
	n_rows = wo_txn_query(&find_recorded, &arg, NULL, 0);
	*recorded = MemoryContextAlloc(context,
								   Max(n_rows, 1) * sizeof(WoRecorded));
	for (uint64 row = 0; row < n_rows; row++)
	{
		bool		isnull;

		(*recorded)[row].event_id =
			*DatumGetUUIDP(wo_txn_value(row, 1, &isnull));
		(*recorded)[row].endpoint_id =
			DatumGetInt64(wo_txn_value(row, 2, &isnull));
	}
	return (int) n_rows;
}

/* Forgets at most limit operation_ids from before a time; returns how many. */
int
wo_ledger_forget_operations(TimestampTz before, int limit)
{
	Datum		args[2];

	args[0] = TimestampTzGetDatum(before);
	args[1] = Int32GetDatum(limit);
	return (int) wo_txn_execute(&forget_operations, args, NULL);
}
