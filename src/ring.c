/*-------------------------------------------------------------------------
 *
 * ring.c
 *	  The rings of leaves that events and attempts are stored in.
 *
 * A ring turns when its current leaf is older than a share of the retention
 * and the next leaf is empty; a leaf is emptied by TRUNCATE when it is past
 * retention and all of it is settled.  If no leaf can be emptied, writing
 * goes on in the current one and worker_status says why.
 *
 * The fence.  Backends assign their xid first and read the current slot from
 * shared memory second (publish.c).  The turn stores the new slot first and
 * reads the next xid to be assigned second: the fence.  So a transaction whose
 * xid is not below the fence sees the new slot, and once all xids below it
 * have ended nobody can write to the old leaf any more.
 *
 * What shared memory says goes with the OID of the function that reads it,
 * current_slot(): after DROP EXTENSION and CREATE EXTENSION that is another
 * one, whose ring begins anew, and the leaf of the old one means nothing.
 *
 * Emptying takes the leaf's lock with NOWAIT: whoever reads the leaf wins, a
 * replay that has found events there and not committed among them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "fault.h"
#include "guard.h"
#include "keep.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "ring.h"
#include "settings.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Current leaf, one being emptied, and six that cover the retention. */
#define TURNS_PER_RETENTION		(WO_RING_LEAVES - 2)

/* Columns of webhook_outbox.ring_leaf that are read by tuple. */
enum
{
	COL_RING = 1, COL_SLOT, COL_TURN
};

typedef struct RingLeaf
{
	int64		turn;			/* 0: empty */
	TimestampTz opened_at;
	TimestampTz closed_at;		/* 0: not closed */
	uint64		fence;			/* 0: current, or an attempt's leaf */
} RingLeaf;

typedef struct Ring
{
	const char *name;			/* as in ring_leaf.ring */
	int			current;		/* slot */
	RingLeaf	leaves[WO_RING_LEAVES];
} Ring;

static Ring event_ring = {.name = "event"};
static Ring attempt_ring = {.name = "attempt"};
static WoLeaf open_leaves[WO_RING_LEAVES];
static int	n_open_leaves;
static Oid	reading_function;	/* current_slot() of this extension */
static bool is_moving = false;	/* a leaf is about to be emptied */

static WoStatement load_leaves = {
	"SELECT ring, slot, turn, opened_at, closed_at, fence "
	"FROM webhook_outbox.ring_leaf", 0, NULL, NULL
};

static const Oid close_types[] = {TEXTOID, INT2OID, TIMESTAMPTZOID};
static WoStatement close_leaf = {
	"UPDATE webhook_outbox.ring_leaf SET closed_at = $3 "
	"WHERE ring = $1 AND slot = $2", 3, close_types, NULL
};

static const Oid fence_types[] = {TEXTOID, INT2OID, XID8OID};
static WoStatement fence_leaf = {
	"UPDATE webhook_outbox.ring_leaf SET fence = $3 "
	"WHERE ring = $1 AND slot = $2", 3, fence_types, NULL
};

static const Oid open_types[] = {TEXTOID, INT2OID, TIMESTAMPTZOID, INT8OID};
static WoStatement open_leaf = {
	"UPDATE webhook_outbox.ring_leaf SET turn = $4, opened_at = $3, "
	"closed_at = NULL, fence = NULL WHERE ring = $1 AND slot = $2",
	4, open_types, NULL
};

static const Oid empty_types[] = {TEXTOID, INT2OID};
static WoStatement empty_leaf = {
	"UPDATE webhook_outbox.ring_leaf SET turn = 0, opened_at = NULL, "
	"closed_at = NULL, fence = NULL WHERE ring = $1 AND slot = $2",
	2, empty_types, NULL
};

static const Oid settled_types[] = {XID8OID};
static WoStatement is_settled = {
	"SELECT FROM webhook_outbox.cursor "
	"WHERE pg_catalog.pg_snapshot_xmin(old_snapshot) >= $1",
	1, settled_types, NULL
};

/*
 * Reads the current event leaf from the table, for a backend that runs
 * before the dispatcher has said which it is.
 */
static int
stored_event_slot(void)
{
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, false);
	Relation	rel = table_open(get_relname_relid("ring_leaf", namespace_id),
								 AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		highest = -1;
	int			slot = 0;

	scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;
		Datum		ring = heap_getattr(tuple, COL_RING, desc, &isnull);
		int64		turn = DatumGetInt64(heap_getattr(tuple, COL_TURN, desc,
													  &isnull));

		if (turn <= highest ||
			strcmp(TextDatumGetCString(ring), event_ring.name) != 0)
			continue;
		highest = turn;
		slot = DatumGetInt16(heap_getattr(tuple, COL_SLOT, desc, &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return slot;
}

/* Tells the backends which leaf new events go to. */
static void
tell_event_slot(WoDatabase *database, int slot)
{
	pg_atomic_write_u64(&database->event_leaf,
						((uint64) reading_function << 32) | slot);
}

/*
 * Returns the leaf that new events go to.  Runs in any backend; function is
 * the OID of current_slot() there.
 */
int
wo_ring_current_event_slot(Oid function)
{
	static WoDatabase *database = NULL;
	uint64		leaf = 0;

	if (wo_registry != NULL && database == NULL)
		database = wo_registry_find(MyDatabaseId, true);
	if (database != NULL)
		leaf = pg_atomic_read_u64(&database->event_leaf);
	return leaf >> 32 == function ? (int) (uint32) leaf : stored_event_slot();
}

static int
compare_leaves(const void *a, const void *b)
{
	const WoLeaf *x = a;
	const WoLeaf *y = b;

	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

/* Lists the event leaves that are not empty, by turn. */
static void
list_open_leaves(void)
{
	n_open_leaves = 0;
	for (int slot = 0; slot < WO_RING_LEAVES; slot++)
	{
		RingLeaf   *leaf = &event_ring.leaves[slot];

		if (leaf->turn == 0)
			continue;
		open_leaves[n_open_leaves].slot = slot;
		open_leaves[n_open_leaves].turn = leaf->turn;
		open_leaves[n_open_leaves].fence = leaf->fence;
		n_open_leaves++;
	}
	qsort(open_leaves, n_open_leaves, sizeof(WoLeaf), compare_leaves);
}

static void
load_leaf(uint64 row)
{
	bool		isnull;
	char	   *name = wo_txn_text(row, 1);
	int			slot = DatumGetInt16(wo_txn_value(row, 2, &isnull));
	Ring	   *ring = strcmp(name, event_ring.name) == 0 ? &event_ring :
	&attempt_ring;
	RingLeaf   *leaf = &ring->leaves[slot];
	Datum		value;

	if (slot < 0 || slot >= WO_RING_LEAVES)
		elog(ERROR, "webhook_outbox.ring_leaf has a slot %d", slot);
	leaf->turn = DatumGetInt64(wo_txn_value(row, 3, &isnull));
	value = wo_txn_value(row, 4, &isnull);
	leaf->opened_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = wo_txn_value(row, 5, &isnull);
	leaf->closed_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = wo_txn_value(row, 6, &isnull);
	leaf->fence = isnull ? 0 : DatumGetUInt64(value);
	if (leaf->turn > ring->leaves[ring->current].turn)
		ring->current = slot;
}

/* Reads both rings and tells the backends the current event leaf. */
void
wo_ring_load(WoDatabase *database)
{
	uint64		n_rows = wo_txn_query(&load_leaves, NULL, NULL, 0);

	event_ring.current = attempt_ring.current = 0;
	for (uint64 row = 0; row < n_rows; row++)
		load_leaf(row);
	list_open_leaves();
	reading_function = LookupFuncName(list_make2(makeString(WO_EXTENSION),
												 makeString("current_slot")),
									  0, NULL, false);
	tell_event_slot(database, event_ring.current);
}

/* Returns the event leaves that hold rows, oldest turn first. */
const WoLeaf *
wo_ring_event_leaves(int *n)
{
	*n = n_open_leaves;
	return open_leaves;
}

/* Returns the leaf that attempts are recorded in. */
int
wo_ring_attempt_slot(void)
{
	return attempt_ring.current;
}

/* Returns that leaf's turn. */
int64
wo_ring_attempt_turn(void)
{
	return attempt_ring.leaves[attempt_ring.current].turn;
}

/*
 * Makes the next leaf the current one, in the table and then in shared
 * memory: whatever a backend writes there commits after the table says so.
 */
static void
turn_ring(Ring *ring, WoDatabase *database, TimestampTz now)
{
	int			next = (ring->current + 1) % WO_RING_LEAVES;
	int			old = ring->current;
	Datum		args[4];

	wo_txn_begin("turning a ring");
	args[0] = CStringGetTextDatum(ring->name);
	args[1] = Int16GetDatum(old);
	args[2] = TimestampTzGetDatum(now);
	wo_txn_execute(&close_leaf, args, NULL);
	args[1] = Int16GetDatum(next);
	args[3] = Int64GetDatum(ring->leaves[old].turn + 1);
	wo_txn_execute(&open_leaf, args, NULL);
	WO_FAULT("mid_turn");
	wo_txn_commit();
	WO_FAULT("after_turn");
	ring->leaves[old].closed_at = now;
	ring->leaves[next].turn = ring->leaves[old].turn + 1;
	ring->leaves[next].opened_at = now;
	ring->current = next;
	if (ring == &event_ring)
		tell_event_slot(database, next);
	list_open_leaves();
}

/*
 * Fences off the closed event leaves that have no fence yet: after a turn, or
 * after a crash between a turn and this.
 */
static void
fence_closed_leaves(void)
{
	for (int slot = 0; slot < WO_RING_LEAVES; slot++)
	{
		RingLeaf   *leaf = &event_ring.leaves[slot];
		uint64		fence;
		Datum		args[3];

		if (leaf->closed_at == 0 || leaf->fence != 0)
			continue;
		WO_FAULT("before_fence");
		pg_memory_barrier();
		fence = U64FromFullTransactionId(ReadNextFullTransactionId());
		args[0] = CStringGetTextDatum(event_ring.name);
		args[1] = Int16GetDatum(slot);
		args[2] = UInt64GetDatum(fence);
		wo_txn_begin("fencing a leaf off");
		wo_txn_execute(&fence_leaf, args, NULL);
		wo_txn_commit();
		leaf->fence = fence;
		list_open_leaves();
	}
}

/* Runs one utility or data statement that is used too seldom to keep. */
static void
run_once(const char *sql)
{
	int			rc = SPI_execute(sql, false, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(rc));
}

/*
 * Empties a leaf, in one transaction, after what is needed was moved; false:
 * there is much again that is needed.
 */
static bool
empty(Ring *ring, int slot)
{
	Datum		args[2];

	wo_txn_begin("emptying a leaf");
	run_once(psprintf("LOCK TABLE webhook_outbox.%s_%d"
					  " IN ACCESS EXCLUSIVE MODE NOWAIT", ring->name, slot));
	wo_guard_check();			/* nothing else does before a TRUNCATE */
	if (ring == &event_ring)
	{
		if (!wo_keep_rest(slot))
			return false;
		WO_FAULT("after_keep");
	}
	run_once(psprintf("TRUNCATE webhook_outbox.%s_%d", ring->name, slot));
	args[0] = CStringGetTextDatum(ring->name);
	args[1] = Int16GetDatum(slot);
	wo_txn_execute(&empty_leaf, args, NULL);
	WO_FAULT("mid_truncate");
	wo_txn_commit();
	WO_FAULT("after_truncate");
	memset(&ring->leaves[slot], 0, sizeof(RingLeaf));
	list_open_leaves();
	return true;
}

/* Are all events of a closed leaf settled, as far as the disk knows? */
static bool
is_leaf_settled(const RingLeaf *leaf)
{
	Datum		args[1];
	bool		result;

	if (leaf->fence == 0)
		return false;
	args[0] = UInt64GetDatum(leaf->fence);
	wo_txn_begin("looking at the cursor");
	result = wo_txn_query(&is_settled, args, NULL, 0) > 0;
	wo_txn_commit();
	return result;
}

/*
 * Empties a leaf, or does a part of what comes before; false when somebody
 * else has locked it.
 */
static bool
try_empty(Ring *ring, int slot)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool is_free = true;

	PG_TRY();
	{
		if (ring == &event_ring &&
			!wo_keep_some(slot, ring->leaves[slot].turn))
			is_moving = true;
		else if (!empty(ring, slot))
		{
			wo_txn_abort();
			MemoryContextSwitchTo(caller);
			is_moving = true;
		}
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		wo_txn_abort();
		MemoryContextSwitchTo(caller);
		is_free = false;
	}
	PG_END_TRY();
	return is_free;
}

/*
 * Empties the oldest closed leaf if it is due.  A lock that somebody holds
 * is no error: it is tried again.
 */
static void
empty_oldest(Ring *ring, TimestampTz now, int64 retention_us,
			 WoRingProblem *problem)
{
	int			slot = (ring->current + 1) % WO_RING_LEAVES;

	while (ring->leaves[slot].turn == 0)
		slot = (slot + 1) % WO_RING_LEAVES;
	if (slot == ring->current ||
		now - ring->leaves[slot].closed_at < retention_us)
		return;
	if (ring == &event_ring && !is_leaf_settled(&ring->leaves[slot]))
	{
		problem->text = "the oldest leaf of the event ring is past retention but not settled";
		problem->fence = ring->leaves[slot].fence;
	}
	else if (!try_empty(ring, slot))
	{
		problem->text = "the oldest leaf of a ring is locked by another session";
		snprintf(problem->leaf, NAMEDATALEN, "%s_%d", ring->name, slot);
	}
}

static void
maintain(Ring *ring, WoDatabase *database, TimestampTz now, int retention_s,
		 WoRingProblem *problem)
{
	int64		retention_us = retention_s * USECS_PER_SEC;
	RingLeaf   *current = &ring->leaves[ring->current];
	int			next = (ring->current + 1) % WO_RING_LEAVES;

	empty_oldest(ring, now, retention_us, problem);
	if (now - current->opened_at < retention_us / TURNS_PER_RETENTION)
		return;
	if (ring->leaves[next].turn == 0)
		turn_ring(ring, database, now);
	else if (problem->text == NULL)
		problem->text = "no leaf of the ring is empty: writing goes on in the current one";
}

/*
 * Empties and turns what is due.  *problem says what is in the way.  Returns
 * whether there is more to do after a pause.
 */
bool
wo_ring_maintain(WoDatabase *database, TimestampTz now, WoRingProblem *problem)
{
	memset(problem, 0, sizeof(WoRingProblem));
	is_moving = false;
	maintain(&event_ring, database, now, wo_event_retention, problem);
	fence_closed_leaves();
	maintain(&attempt_ring, database, now, wo_attempt_retention, problem);
	return is_moving;
}
