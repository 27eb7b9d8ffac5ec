/*-------------------------------------------------------------------------
 *
 * rollup.c
 *	  Writes what the minutes have gathered, one row per endpoint or series.
 *
 * What is recorded in attempt is added up in memory (facts.c) and written
 * when its minute is over, or when there is a lot of it.  The transaction
 * that writes it moves open_rollup as well: attempts of that transaction and
 * later ones are in no rollup yet, and readers add them from attempt.  So the
 * numbers are exact at any moment, and a crash loses none: what the memory
 * held is what attempt has since open_rollup, and the next dispatcher begins
 * with writing that, by SQL.
 *
 * Metrics never stop delivery.  What fails here is logged, the memory is
 * forgotten, and the same way leads back: the rollup is closed, and opening
 * it again writes from attempt.  If that fails too, those facts are skipped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "columns.h"
#include "facts.h"
#include "miscadmin.h"
#include "ring.h"
#include "rollup.h"
#include "series.h"
#include "settings.h"
#include "storage/bufmgr.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/*
 * Readers scan what is not written yet: it must not become too much, but
 * where there are many series there is more to write each time.
 */
#define MIN_FACTS			20000
#define FACTS_PER_SERIES	10
#define MAX_FACTS			50000
#define MAX_BYTES			(32 * 1024 * 1024)

/* A minute so long ago may be joined to its hour already. */
#define LATE_US				(10 * USECS_PER_MINUTE)

/* Opening counts what the last dispatcher left; deliveries wait for it. */
#define OPEN_LIMIT_MS		10000
#define REOPEN_US			USECS_PER_MINUTE

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

static const Oid move_types[] = {
	XID8OID, TIMESTAMPTZOID, INT8OID, INT2OID, TIDOID, TIDOID
};

#define MOVE_OPEN_SQL \
	"UPDATE webhook_outbox.open_rollup SET since_xid = $1, since_at = $2, " \
	"turn = $3, slot = $4, first_tid = $5 "

/* By ctid, like the cursor: see reader.c. */
static WoStatement move_open = {
	MOVE_OPEN_SQL "WHERE ctid = $6 RETURNING ctid", 6, move_types, NULL
};
static WoStatement move_open_anywhere = {
	MOVE_OPEN_SQL "WHERE $6 IS NOT NULL RETURNING ctid", 6, move_types, NULL
};

static WoFacts *facts;
static bool is_open = false;	/* memory holds all that rollups lack */
static TimestampTz reopen_at = 0;	/* valid while !is_open */
static bool is_told = false;	/* the log says that writing fails */
static ItemPointerData open_tid;	/* of open_rollup's row, as last seen */
static ItemPointerData moved_tid;	/* ... after the open transaction */

/* Called once, when the dispatcher starts. */
void
wo_rollup_create(MemoryContext context)
{
	facts = wo_facts_create(context);
	ItemPointerSet(&open_tid, 0, FirstOffsetNumber);
}

/* Adds an attempt whose record is committed. */
void
wo_rollup_add_attempt(const WoRecord *record, TimestampTz now)
{
	if (is_open)
		wo_facts_add_attempt(facts, record, now, wo_max_series);
}

/*
 * Adds an event that no endpoint asked for.  Nothing else tells of it: after
 * a crash it may be missing, or there twice.
 */
void
wo_rollup_add_untaken(const WoEvent *event, TimestampTz now)
{
	if (is_open)
		wo_facts_add_untaken(facts, event, now, wo_max_series);
}

/* Is there anything in memory that is not written? */
bool
wo_rollup_has_facts(void)
{
	return facts->n > 0;
}

/* Is there so much in memory that it should not wait? */
static bool
is_much(void)
{
	int			limit = list_length(facts->active) * FACTS_PER_SERIES;

	limit = Min(Max(limit, MIN_FACTS), MAX_FACTS);
	return facts->n >= limit ||
		MemoryContextMemAllocated(facts->context, true) >= MAX_BYTES;
}

/* When that is to be written; DT_NOEND: there is nothing. */
TimestampTz
wo_rollup_deadline(void)
{
	if (facts->n == 0)
		return DT_NOEND;
	if (is_much())
		return DT_NOBEGIN;
	return facts->minute + USECS_PER_MINUTE;
}

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
write_endpoints(TimestampTz bucket)
{
	WoColumns	columns;
	HASH_SEQ_STATUS scan;
	WoEndpointFacts *entry;

	wo_columns_init(&columns, endpoint_types, lengthof(endpoint_types),
					hash_get_num_entries(facts->endpoints));
	hash_seq_init(&scan, facts->endpoints);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		add_time(&columns, bucket);
		add_int8(&columns, entry->key.endpoint_id);
		wo_columns_add(&columns, Int16GetDatum(entry->key.tier), false);
		add_measures(&columns, &entry->measures);
		wo_columns_end_row(&columns);
	}
	wo_columns_execute(&insert_endpoints, &columns);
}

static void
write_errors(TimestampTz bucket)
{
	WoColumns	columns;
	HASH_SEQ_STATUS scan;
	WoErrorFacts *entry;

	wo_columns_init(&columns, error_types, lengthof(error_types),
					hash_get_num_entries(facts->errors));
	hash_seq_init(&scan, facts->errors);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		const char *outcome = wo_outcome_name(entry->key.outcome);

		add_time(&columns, bucket);
		add_int8(&columns, entry->key.endpoint_id);
		wo_columns_add(&columns, CStringGetTextDatum(outcome), false);
		wo_columns_add(&columns, Int16GetDatum(entry->key.http_status),
					   entry->key.http_status == 0);
		add_int8(&columns, entry->n_attempts);
		wo_columns_end_row(&columns);
	}
	wo_columns_execute(&insert_errors, &columns);
}

static void
write_series(TimestampTz bucket)
{
	WoColumns	columns;
	ListCell   *cell;

	wo_series_store(facts);
	wo_columns_init(&columns, rollup_series_types,
					lengthof(rollup_series_types),
					list_length(facts->active));
	foreach(cell, facts->active)
	{
		WoSeries   *series = lfirst(cell);

		add_time(&columns, bucket);
		wo_columns_add(&columns, Int32GetDatum(series->series_id), false);
		add_measures(&columns, series->measures);
		wo_columns_end_row(&columns);
	}
	wo_columns_execute(&insert_series_rollups, &columns);
}

/* Returns the first line pointer of a block that was never used. */
static OffsetNumber
end_of_block(Relation rel, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(rel, block);
	OffsetNumber end;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	end = OffsetNumberNext(PageGetMaxOffsetNumber(BufferGetPage(buffer)));
	UnlockReleaseBuffer(buffer);
	return end;
}

/*
 * Finds where the next attempt will be stored: they are only ever added at
 * the end of their leaf, see ledger.c.
 */
static void
find_end_of_leaf(ItemPointer tid)
{
	char	   *name = psprintf("attempt_%d", wo_ring_attempt_slot());
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, false);
	Relation	rel = table_open(get_relname_relid(name, namespace_id),
								 AccessShareLock);
	BlockNumber n_blocks = RelationGetNumberOfBlocks(rel);

	if (n_blocks == 0)
		ItemPointerSet(tid, 0, FirstOffsetNumber);
	else
		ItemPointerSet(tid, n_blocks - 1, end_of_block(rel, n_blocks - 1));
	table_close(rel, NoLock);
}

/* Says that what this transaction writes and what follows is not written. */
static void
move_open_rollup(TimestampTz now)
{
	ItemPointerData first_tid;
	Datum		args[6];
	bool		isnull;

	find_end_of_leaf(&first_tid);
	args[0] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	args[1] = TimestampTzGetDatum(now);
	args[2] = Int64GetDatum(wo_ring_attempt_turn());
	args[3] = Int16GetDatum(wo_ring_attempt_slot());
	args[4] = PointerGetDatum(&first_tid);
	args[5] = PointerGetDatum(&open_tid);
	if (wo_txn_execute(&move_open, args, NULL) != 1 &&
		wo_txn_execute(&move_open_anywhere, args, NULL) != 1)
		elog(ERROR, "webhook_outbox.open_rollup has no row");
	moved_tid = *(ItemPointer) DatumGetPointer(wo_txn_value(0, 1, &isnull));
}

/*
 * Writes what memory holds, in the open transaction and before attempts are
 * recorded in it.  Memory changes with wo_rollup_written.
 */
void
wo_rollup_write(TimestampTz now)
{
	TimestampTz bucket = facts->minute;

	Assert(is_open && facts->n > 0);
	if (now - bucket > LATE_US)
		bucket = wo_facts_minute_of(now);
	write_endpoints(bucket);
	write_series(bucket);
	write_errors(bucket);
	move_open_rollup(now);
}

/* Once that is committed. */
void
wo_rollup_written(void)
{
	wo_series_stored(facts);
	open_tid = moved_tid;
	wo_facts_reset(facts);
}

/*
 * Forgets what memory holds and adds nothing more: the next opening, not
 * before reopen_at, finds it in attempt.
 */
void
wo_rollup_close(TimestampTz at)
{
	if (is_open)
		wo_facts_reset(facts);
	is_open = false;
	reopen_at = at;
}

/* Says that metrics cannot be written, once until they can be again. */
static void
report(const ErrorData *error)
{
	if (!is_told)
		ereport(LOG,
				(errmsg("webhook_outbox could not write metrics: %s",
						error->message)));
	is_told = true;
}

/* After an error that writing met: delivery goes on without. */
void
wo_rollup_give_up(const ErrorData *error, TimestampTz now)
{
	report(error);
	wo_rollup_close(now + REOPEN_US);
}

/* Writes the open part of the series. */
static void
write_open_series(void)
{
	uint64		n_rows = wo_txn_query(&read_open_series, NULL, NULL, 0);
	WoColumns	columns;

	wo_columns_init(&columns, rollup_series_types,
					lengthof(rollup_series_types), n_rows);
	for (uint64 row = 0; row < n_rows; row++)
	{
		WoSeriesKey key;
		WoSeries   *series;
		bool		isnull;

		wo_series_read_key(row, &key);
		series = wo_facts_series(facts, &key, wo_max_series);
		wo_columns_add(&columns, wo_txn_value(row, COL_BUCKET, &isnull),
					   false);
		wo_columns_add(&columns, Int32GetDatum(series->series_id), false);
		for (int i = 0; i < N_MEASURES; i++)
			wo_columns_add(&columns,
						   wo_txn_value(row, COL_MEASURES + i, &isnull),
						   false);
		wo_columns_end_row(&columns);
	}
	wo_series_store(facts);
	wo_columns_execute(&insert_series_rollups, &columns);
}

/*
 * Begins an open part, in a transaction of its own; with_facts: after writing
 * what the one before has.
 */
static void
begin_open_part(TimestampTz now, bool with_facts)
{
	wo_txn_begin("opening metrics");
	enable_timeout_after(STATEMENT_TIMEOUT, OPEN_LIMIT_MS);
	wo_series_load(facts);
	if (with_facts)
	{
		wo_txn_execute(&insert_open_endpoints, NULL, NULL);
		write_open_series();
		wo_txn_execute(&insert_open_errors, NULL, NULL);
	}
	move_open_rollup(now);
	disable_timeout(STATEMENT_TIMEOUT, false);
	wo_txn_commit();
	wo_rollup_written();
}

/* Tries that; false when it fails. */
static bool
try_to_begin(TimestampTz now, bool with_facts)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool is_begun = true;

	PG_TRY();
	{
		begin_open_part(now, with_facts);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		disable_timeout(STATEMENT_TIMEOUT, false);
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		wo_txn_abort();
		MemoryContextSwitchTo(caller);
		report(error);
		FreeErrorData(error);
		is_begun = false;
	}
	PG_END_TRY();
	/* The time may have been up just as it was done. */
	QueryCancelPending = false;
	return is_begun;
}

/*
 * Opens the rollup unless it is open: writes what has been recorded and is
 * in no rollup, and adds what follows in memory.  Called while this database
 * may deliver: of a copy, open_rollup is not true before resume_delivery().
 */
void
wo_rollup_keep_open(TimestampTz now)
{
#ifdef WO_WITHOUT_METRICS
	return;						/* make bench measures what they cost */
#endif
	if (is_open || now < reopen_at)
		return;
	is_open = try_to_begin(now, true);
	if (is_open)
		is_told = false;
	else
		is_open = try_to_begin(now, false);
	reopen_at = now + REOPEN_US;
}
