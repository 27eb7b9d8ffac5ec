/*-------------------------------------------------------------------------
 *
 * keep.c
 *	  Keeps the events of a leaf that are needed when it is emptied.
 *
 * They go to event_kept.  There can be a million of them, for an endpoint that
 * is paused, and nothing is sent while they are moved: so they are moved some
 * at a time, before the leaf is locked, with pauses in between.  A row leaves
 * one table and comes to the other in the same statement: nobody sees it
 * twice, nor not at all, and a crash loses none.
 *
 * What has become needed meanwhile, by a replay, is copied under the lock, in
 * the transaction that empties the leaf, unless that is much: then the leaf is
 * gone through again.  What is not needed any more is deleted from event_kept
 * in that transaction alone: nobody then has a lock on the leaf, a replay that
 * found an event there before it was moved and has not committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fault.h"
#include "keep.h"
#include "ring.h"
#include "txn.h"
#include "utils/uuid.h"

/* So many at a time, which takes a few milliseconds. */
#define MOVE_ROWS		64

/* The rest may be so many: they are copied while nobody can read the leaf. */
#define REST_ROWS		256

/* How far the events of a leaf have been moved. */
static struct
{
	int64		turn;			/* of that leaf; 0: of none */
	bool		is_done;		/* if not: */
	pg_uuid_t	from;			/* needed events before this one are moved */
	pg_uuid_t	last;			/* the last one in the leaf */
}			moved = {0};

/* Ids from $1 to $2 of events that are needed, the first $3. */
#define NEEDED_BY(table) \
	"(SELECT DISTINCT n.event_id FROM webhook_outbox." table \
	" AND n.event_id >= $1 AND n.event_id <= $2 ORDER BY n.event_id LIMIT $3)"
#define NEEDED_EVENTS \
	"SELECT n.event_id FROM (" \
	NEEDED_BY("delivery n WHERE n.state <> 'cancelled'") " UNION " \
	NEEDED_BY("dead_letter n WHERE true") " UNION " \
	NEEDED_BY("command n WHERE true") ") n ORDER BY n.event_id LIMIT $3"

/* In what follows, %1$d is the leaf and %2$d the slot of event_kept. */
#define INSERT_KEPT \
	"INSERT INTO webhook_outbox.event_kept (id, created_at, xid, endpoint_id," \
	" slot, type, tenant, source, operation_id, headers, payload) " \
	"SELECT e.id, e.created_at, e.xid, e.endpoint_id, %2$d, e.type, e.tenant," \
	" e.source, e.operation_id, e.headers, e.payload FROM "

static const char lock_leaf[] =
"LOCK TABLE webhook_outbox.event_%1$d IN ROW EXCLUSIVE MODE NOWAIT";

static const char find_ends[] =
"SELECT (SELECT id FROM webhook_outbox.event_%1$d ORDER BY id LIMIT 1), "
"(SELECT id FROM webhook_outbox.event_%1$d ORDER BY id DESC LIMIT 1)";

static const char move_slice[] =
"WITH n AS MATERIALIZED (" NEEDED_EVENTS "), "
"moved AS (DELETE FROM webhook_outbox.event_%1$d "
"WHERE ctid = ANY (ARRAY(SELECT e.ctid FROM n, LATERAL ("
"SELECT e.ctid FROM webhook_outbox.event_%1$d e "
"WHERE e.id = n.event_id OFFSET 0) e)) RETURNING *), "
"kept AS (" INSERT_KEPT "moved e) "
"SELECT event_id FROM n ORDER BY event_id DESC";

static const char copy_rest[] =
INSERT_KEPT "(" NEEDED_EVENTS ") n, LATERAL ("
"SELECT * FROM webhook_outbox.event_%1$d e "
"WHERE e.id = n.event_id OFFSET 0) e LIMIT $4";

static const char forget_cancelled[] =
"DELETE FROM webhook_outbox.delivery d "
"WHERE d.state = 'cancelled' AND (EXISTS ("
"SELECT FROM webhook_outbox.event_%1$d e WHERE e.id = d.event_id)"
" OR EXISTS ("
"SELECT FROM webhook_outbox.event_kept e WHERE e.id = d.event_id))";

static const char prune_kept[] =
"DELETE FROM webhook_outbox.event_kept e "
"WHERE NOT EXISTS (SELECT FROM webhook_outbox.delivery d WHERE d.event_id = e.id)"
" AND NOT EXISTS (SELECT FROM webhook_outbox.dead_letter d WHERE d.event_id = e.id)"
" AND NOT EXISTS (SELECT FROM webhook_outbox.command c WHERE c.event_id = e.id)";

/* Runs a statement about a leaf; returns the number of rows. */
static uint64
run_on(int slot, const char *format, int n_args, Datum *args)
{
	Oid			types[] = {UUIDOID, UUIDOID, INT8OID, INT8OID};
	char	   *sql = psprintf(format, slot, WO_KEPT_SLOT);
	int			rc = SPI_execute_with_args(sql, n_args, types, args, NULL,
										   false, 0);

	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(rc));
	return SPI_processed;
}

/* Finds the first and the last event of a leaf; false when it has none. */
static bool
find_leaf_ends(int slot, pg_uuid_t *first, pg_uuid_t *last)
{
	bool		isnull;
	Datum		value;

	run_on(slot, find_ends, 0, NULL);
	value = wo_txn_value(0, 1, &isnull);
	if (isnull)
		return false;
	*first = *DatumGetUUIDP(value);
	*last = *DatumGetUUIDP(wo_txn_value(0, 2, &isnull));
	return true;
}

/*
 * Moves needed events between these two, the first ones, and notes in *from
 * how far that goes; false: there are no more behind.
 */
static bool
move_some(int slot, pg_uuid_t *from, pg_uuid_t *last)
{
	Datum		args[3];
	bool		isnull;
	uint64		n;

	args[0] = UUIDPGetDatum(from);
	args[1] = UUIDPGetDatum(last);
	args[2] = Int64GetDatum(MOVE_ROWS);
	n = run_on(slot, move_slice, lengthof(args), args);
	if (n < MOVE_ROWS)
		return false;
	/* The next slice looks at this one again, and finds it gone. */
	*from = *DatumGetUUIDP(wo_txn_value(0, 1, &isnull));
	return true;
}

/*
 * Moves some of what is needed out of a leaf, all of which is settled.
 * Returns false when there may be more: it is to be called again.
 */
bool
wo_keep_some(int slot, int64 turn)
{
	pg_uuid_t	from = moved.from;
	pg_uuid_t	last = moved.last;
	bool		has_more;

	if (moved.turn == turn && moved.is_done)
		return true;
	wo_txn_begin("moving events that are needed out of a leaf");
	run_on(slot, lock_leaf, 0, NULL);
	has_more = moved.turn == turn || find_leaf_ends(slot, &from, &last);
	if (has_more)
		has_more = move_some(slot, &from, &last);
	WO_FAULT("mid_keep");
	wo_txn_commit();
	WO_FAULT("after_slice");
	moved.turn = turn;
	moved.is_done = !has_more;
	moved.from = from;
	moved.last = last;
	return moved.is_done;
}

/*
 * Copies what has become needed since, in the transaction that empties the
 * leaf and has its lock.  Returns false when that is much: the transaction
 * must be rolled back then.
 */
bool
wo_keep_rest(int slot)
{
	pg_uuid_t	first;
	pg_uuid_t	last;
	Datum		args[4];

	run_on(slot, forget_cancelled, 0, NULL);
	if (find_leaf_ends(slot, &first, &last))
	{
		args[0] = UUIDPGetDatum(&first);
		args[1] = UUIDPGetDatum(&last);
		args[2] = Int64GetDatum(PG_INT64_MAX);
		args[3] = Int64GetDatum(REST_ROWS);
		if (run_on(slot, copy_rest, lengthof(args), args) == REST_ROWS)
		{
			moved.turn = 0;
			return false;
		}
	}
	run_on(slot, prune_kept, 0, NULL);
	return true;
}
