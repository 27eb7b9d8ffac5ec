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
 * Thousands of rows are written in slices, for deliveries wait meanwhile.
 * The first slice closes the facts: what is recorded from then on goes to new
 * ones.  Until the last slice open_rollup says both where those and where the
 * new ones begin, and up to which endpoint the closed ones are written.
 *
 * Metrics never stop delivery.  What fails here is logged, the memory is
 * forgotten, and the same way leads back: the rollup is closed, and opening
 * it again writes from attempt.  If that fails too, for what will not pass,
 * those facts are skipped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "facts.h"
#include "miscadmin.h"
#include "obstacle.h"
#include "ring.h"
#include "rollup.h"
#include "rollup_rows.h"
#include "series.h"
#include "settings.h"
#include "storage/bufmgr.h"
#include "txn.h"
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

/* A slice takes as long as this many rows, and a pause follows. */
#define SLICE_ROWS			400
#define SLICE_PAUSE_US		(20 * INT64CONST(1000))

/* A minute so long ago may be joined to its hour already. */
#define LATE_US				(10 * USECS_PER_MINUTE)

/* Opening counts what the last dispatcher left; deliveries wait for it. */
#define OPEN_LIMIT_MS		10000
#define REOPEN_US			USECS_PER_MINUTE

static const Oid move_types[] = {
	XID8OID, TIMESTAMPTZOID, INT8OID, INT2OID, TIDOID,
	INT8OID, XID8OID, TIMESTAMPTZOID, INT8OID, INT2OID, TIDOID, TIDOID
};

#define MOVE_OPEN_SQL \
	"UPDATE webhook_outbox.open_rollup SET since_xid = $1, since_at = $2, " \
	"turn = $3, slot = $4, first_tid = $5, written_to = $6, " \
	"next_xid = $7, next_at = $8, next_turn = $9, next_slot = $10, " \
	"next_tid = $11 "

/* By ctid, like the cursor: see reader.c. */
static WoStatement move_open = {
	MOVE_OPEN_SQL "WHERE ctid = $12 RETURNING ctid",
	lengthof(move_types), move_types, NULL
};
static WoStatement move_open_anywhere = {
	MOVE_OPEN_SQL "WHERE $12 IS NOT NULL RETURNING ctid",
	lengthof(move_types), move_types, NULL
};

/* A place in the log of attempts: see the comments on open_rollup. */
typedef struct Place
{
	FullTransactionId xid;
	TimestampTz at;
	int64		turn;
	int			slot;
	ItemPointerData tid;
} Place;

/* Facts that are being written, in slices; facts is NULL: none are. */
typedef struct Closed
{
	WoFacts    *facts;
	TimestampTz bucket;
	Place		end;			/* what follows them begins here */
	WoEndpointFacts **endpoints;
	int			n_endpoints;
	int			n_written;		/* endpoints whose rows are committed */
	int			n_writing;		/* ... with those of the open transaction */
	TimestampTz next_at;		/* when the next slice is to be written */
} Closed;

static MemoryContext rollup_context;
static WoSeriesTable *series_table;
static WoFacts *facts;			/* what is added to; valid while is_open */
static Closed closed;
static Place since;				/* where what is not written begins */
static bool is_open = false;	/* memory holds all that rollups lack */
static TimestampTz reopen_at = 0;	/* valid while !is_open */
static bool is_told = false;	/* the log says that writing fails */
static ItemPointerData open_tid;	/* of open_rollup's row, as last seen */
static ItemPointerData moved_tid;	/* ... after the open transaction */

/* Called once, when the dispatcher starts. */
void
wo_rollup_create(MemoryContext context)
{
	rollup_context = context;
	series_table = wo_series_table_create(context);
	facts = wo_facts_create(context);
	ItemPointerSet(&open_tid, 0, FirstOffsetNumber);
}

/* Adds an attempt whose record is committed. */
void
wo_rollup_add_attempt(const WoRecord *record, TimestampTz now)
{
	if (is_open)
		wo_facts_add_attempt(facts, series_table, record, now, wo_max_series);
}

/*
 * Adds an event that no endpoint asked for.  Nothing else tells of it: after
 * a crash it may be missing, or there twice.
 */
void
wo_rollup_add_untaken(const WoEvent *event, TimestampTz now)
{
	if (is_open)
		wo_facts_add_untaken(facts, series_table, event, now, wo_max_series);
}

/* Is there anything in memory that is not written? */
bool
wo_rollup_has_facts(void)
{
	return facts->n > 0 || closed.facts != NULL;
}

/* Is there so much in memory that it should not wait? */
static bool
is_much(void)
{
	int			limit = facts->n_series * FACTS_PER_SERIES;

	limit = Min(Max(limit, MIN_FACTS), MAX_FACTS);
	return facts->n >= limit ||
		MemoryContextMemAllocated(facts->context, true) >= MAX_BYTES;
}

/* When that is to be written; DT_NOEND: there is nothing. */
TimestampTz
wo_rollup_deadline(void)
{
	if (closed.facts)
		return closed.next_at;
	if (facts->n == 0)
		return DT_NOEND;
	if (is_much())
		return DT_NOBEGIN;
	return facts->minute + USECS_PER_MINUTE;
}

/*
 * Finds the page from which on the next attempts will be stored: they are
 * only ever added at the end of their leaf, see ledger.c.  Not the place in
 * it: VACUUM gives line pointers back that a rollback has left.
 */
static void
find_end_of_leaf(ItemPointer tid)
{
	char	   *name = psprintf("attempt_%d", wo_ring_attempt_slot());
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, false);
	Relation	rel = table_open(get_relname_relid(name, namespace_id),
								 AccessShareLock);
	BlockNumber n_blocks = RelationGetNumberOfBlocks(rel);

	ItemPointerSet(tid, n_blocks > 0 ? n_blocks - 1 : 0, FirstOffsetNumber);
	table_close(rel, NoLock);
}

/* Returns the place where what this and later transactions record begins. */
static Place
place_of(TimestampTz now)
{
	Place		here;

	here.xid = GetTopFullTransactionId();
	here.at = now;
	here.turn = wo_ring_attempt_turn();
	here.slot = wo_ring_attempt_slot();
	find_end_of_leaf(&here.tid);
	return here;
}

static void
place_args(const Place *place, Datum *args)
{
	args[0] = FullTransactionIdGetDatum(place->xid);
	args[1] = TimestampTzGetDatum(place->at);
	args[2] = Int64GetDatum(place->turn);
	args[3] = Int16GetDatum(place->slot);
	args[4] = PointerGetDatum(&place->tid);
}

/*
 * Says what is in no rollup, once this transaction is committed: what follows
 * *from; of endpoints up to written_to, what follows *next, unless that is
 * NULL.
 */
static void
move_open_rollup(const Place *from, int64 written_to, const Place *next)
{
	Datum		args[lengthof(move_types)];
	char		nulls[lengthof(move_types) + 1];
	bool		isnull;

	memset(args, 0, sizeof(args));
	memset(nulls, ' ', sizeof(nulls));
	place_args(from, args);
	args[5] = Int64GetDatum(written_to);
	if (next)
		place_args(next, args + 6);
	else
		memset(nulls + 5, 'n', 6);
	args[11] = PointerGetDatum(&open_tid);
	if (wo_txn_execute(&move_open, args, nulls) != 1 &&
		wo_txn_execute(&move_open_anywhere, args, nulls) != 1)
		elog(ERROR, "webhook_outbox.open_rollup has no row");
	moved_tid = *(ItemPointer) DatumGetPointer(wo_txn_value(0, 1, &isnull));
}

/* What is recorded from this transaction on goes to new facts. */
static void
close_facts(TimestampTz now)
{
	Place		end = place_of(now);
	int			n_endpoints;
	WoEndpointFacts **endpoints = wo_facts_by_endpoint(facts, &n_endpoints);
	WoFacts    *next = wo_facts_create(rollup_context);

	/* No error from here on: facts and closed are never the same. */
	closed.facts = facts;
	closed.bucket = facts->minute;
	if (now - closed.bucket > LATE_US)
		closed.bucket = wo_facts_minute_of(now);
	closed.end = end;
	closed.endpoints = endpoints;
	closed.n_endpoints = n_endpoints;
	closed.n_written = 0;
	facts = next;
}

static void
delete_closed(void)
{
	if (closed.facts)
		wo_facts_delete(closed.facts);
	memset(&closed, 0, sizeof(Closed));
}

/* Returns up to which endpoint the next slice goes. */
static int
end_of_slice(void)
{
	int			n_rows = 0;
	int			end = closed.n_written;

	while (end < closed.n_endpoints && n_rows < SLICE_ROWS)
		n_rows += wo_rollup_rows_count(closed.endpoints[end++]);
	return end;
}

/*
 * Writes a slice of what memory holds, or all the rest of what is closed, in
 * the open transaction and before attempts are recorded in it.  Once that is
 * committed, wo_rollup_written follows; else, wo_rollup_give_up.
 */
void
wo_rollup_write(TimestampTz now, bool all)
{
	Assert(is_open && wo_rollup_has_facts());
	if (closed.facts == NULL)
		close_facts(now);
	closed.n_writing = all ? closed.n_endpoints : end_of_slice();
	wo_rollup_rows_write(closed.endpoints + closed.n_written,
						 closed.n_writing - closed.n_written, closed.bucket);
	if (closed.n_writing == closed.n_endpoints)
		move_open_rollup(&closed.end, 0, NULL);
	else
		move_open_rollup(&since,
						 closed.endpoints[closed.n_writing - 1]->endpoint_id,
						 &closed.end);
}

/* Once that is committed. */
void
wo_rollup_written(TimestampTz now)
{
	open_tid = moved_tid;
	closed.n_written = closed.n_writing;
	closed.next_at = now + SLICE_PAUSE_US;
	if (closed.n_written < closed.n_endpoints)
		return;
	since = closed.end;
	delete_closed();
}

/*
 * Forgets what memory holds and adds nothing more: the next opening, not
 * before reopen_at, finds it in attempt.
 */
void
wo_rollup_close(TimestampTz at)
{
	if (is_open)
	{
		delete_closed();
		wo_facts_delete(facts);
		facts = wo_facts_create(rollup_context);
	}
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

/*
 * Begins an open part, in a transaction of its own; with_facts: after writing
 * what the one before has.
 */
static void
begin_open_part(TimestampTz now, bool with_facts)
{
	wo_txn_begin("opening metrics");
	enable_timeout_after(STATEMENT_TIMEOUT, OPEN_LIMIT_MS);
	wo_series_load(series_table);
	if (with_facts)
		wo_rollup_rows_write_open(series_table);
	since = place_of(now);
	move_open_rollup(&since, 0, NULL);
	disable_timeout(STATEMENT_TIMEOUT, false);
	wo_txn_commit();
	open_tid = moved_tid;
}

/* Tries that; returns the SQLSTATE of what failed, or 0. */
static int
try_to_begin(TimestampTz now, bool with_facts)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile int sqlstate = 0;

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
		sqlstate = error->sqlerrcode;
		FreeErrorData(error);
	}
	PG_END_TRY();
	/* The time may have been up just as it was done. */
	QueryCancelPending = false;
	return sqlstate;
}

/*
 * Opens the rollup unless it is open: writes what has been recorded and is
 * in no rollup, and adds what follows in memory.  Called while this database
 * may deliver: of a copy, open_rollup is not true before resume_delivery().
 */
void
wo_rollup_keep_open(TimestampTz now)
{
	int			sqlstate;

#ifdef WO_WITHOUT_METRICS
	return;						/* make bench measures what they cost */
#endif

	/* The clock may have been set back. */
	if (is_open || (now < reopen_at && reopen_at - now <= REOPEN_US))
		return;
	sqlstate = try_to_begin(now, true);
	is_open = (sqlstate == 0);
	if (is_open)
		is_told = false;
	else if (sqlstate == ERRCODE_QUERY_CANCELED ||	/* it takes too long */
			 wo_obstacle_kind(sqlstate) != WO_ERROR_PASSES)
		is_open = (try_to_begin(now, false) == 0);
	reopen_at = now + REOPEN_US;
}
