/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  Reads new events from the log, each committed one exactly once.
 *
 * The algorithm is PgQ's: what is visible in a newer snapshot and was not in
 * an older one is new, whatever the order of ids, xids or clocks.  What lies
 * between two snapshots is a window; it is read in pages, by leaf, xid and
 * id.  Events are kept in reading order until all before them are settled,
 * and the durable cursor is the place up to which that is so.  After a
 * restart the log is read again from there.
 *
 * Two shorter ways were rejected: "id > last" skips a transaction that
 * commits late, "xid < xmin" waits for the oldest transaction of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "compat.h"
#include "encoding.h"
#include "fault.h"
#include "headers.h"
#include "miscadmin.h"
#include "reader.h"
#include "ring.h"
#include "storage/lwlock.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* SPI hands out this many rows at a time, whatever the caller has room for. */
#define PAGE_EVENTS			200

#define READ_LEAF_SQL(slot) \
	"SELECT " WO_EVENT_COLUMNS " FROM webhook_outbox.event_" slot " e " \
	"WHERE (e.xid, e.id) > ($1, $2) AND e.xid < $3 " \
	"AND pg_catalog.pg_visible_in_snapshot(e.xid, $4) " \
	"ORDER BY e.xid, e.id LIMIT $5"

#define READ_LEAF(slot) \
	{READ_LEAF_SQL(slot), 5, read_leaf_types, NULL}

static const Oid read_leaf_types[] = {
	XID8OID, UUIDOID, XID8OID, PG_SNAPSHOTOID, INT8OID
};

/* One per leaf: through the parent, each poll would plan for nine tables. */
static WoStatement read_leaf[WO_RING_LEAVES] = {
	READ_LEAF("0"), READ_LEAF("1"), READ_LEAF("2"), READ_LEAF("3"),
	READ_LEAF("4"), READ_LEAF("5"), READ_LEAF("6"), READ_LEAF("7")
};

static WoStatement load_cursor = {
	"SELECT old_snapshot, new_snapshot, turn, xid, id, ctid "
	"FROM webhook_outbox.cursor LIMIT 1", 0, NULL, NULL
};

static const Oid save_types[] = {
	PG_SNAPSHOTOID, PG_SNAPSHOTOID, INT8OID, XID8OID, UUIDOID, TIMESTAMPTZOID,
	TIDOID
};

#define SAVE_CURSOR_SQL \
	"UPDATE webhook_outbox.cursor SET old_snapshot = $1, new_snapshot = $2, " \
	"turn = $3, xid = $4, id = $5, updated_at = $6 "

/* By ctid: under a pinned horizon an index would lead through dead rows. */
static WoStatement save_cursor = {
	SAVE_CURSOR_SQL "WHERE ctid = $7 RETURNING ctid", 7, save_types, NULL
};

/* For the time after somebody's VACUUM FULL. */
static WoStatement save_cursor_anywhere = {
	SAVE_CURSOR_SQL "WHERE $7 IS NOT NULL RETURNING ctid", 7, save_types, NULL
};

static ItemPointerData cursor_tid;

/* Returns a reader that has yet to be loaded. */
WoReader *
wo_reader_create(MemoryContext context)
{
	WoReader   *reader = MemoryContextAllocZero(context, sizeof(WoReader));

	reader->context = context;
	dlist_init(&reader->windows);
	dlist_init(&reader->events);
	return reader;
}

static WoWindow *
add_window(WoReader *reader, WoSnapshot *older, WoSnapshot *newer)
{
	WoWindow   *window = MemoryContextAllocZero(reader->context,
												sizeof(WoWindow));

	window->older = older;
	window->newer = newer;
	newer->n_refs++;			/* reader->seen holds the other one */
	dlist_push_tail(&reader->windows, &window->node);
	reader->reading = window;
	reader->n_windows++;
	if (reader->ranges)
		pfree(reader->ranges);
	reader->ranges = MemoryContextAlloc(reader->context, (older->n_xids + 1) *
										sizeof(WoXidRange));
	reader->n_ranges = wo_snapshot_ranges(older, newer, reader->ranges);
	memset(&reader->position, 0, sizeof(WoPosition));
	return window;
}

/*
 * Reads the durable cursor.  What is visible now is on disk once the log is
 * flushed here, so only later commits need a look when they are read.
 */
void
wo_reader_load(WoReader *reader)
{
	WoSnapshot *older;
	WoWindow   *window;
	bool		isnull;

	if (wo_txn_query(&load_cursor, NULL, NULL, 1) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("webhook_outbox.cursor has no row"),
				 errhint("Restore the table from a backup: without it nobody knows which events are delivered.")));
	older = wo_snapshot_from_datum(wo_txn_value(0, 1, &isnull),
								   reader->context);
	reader->seen = wo_snapshot_from_datum(wo_txn_value(0, 2, &isnull),
										  reader->context);
	window = add_window(reader, older, reader->seen);
	reader->position.turn = DatumGetInt64(wo_txn_value(0, 3, &isnull));
	reader->position.xid = DatumGetUInt64(wo_txn_value(0, 4, &isnull));
	reader->position.id = *DatumGetUUIDP(wo_txn_value(0, 5, &isnull));
	cursor_tid = *(ItemPointer) DatumGetPointer(wo_txn_value(0, 6, &isnull));
	window->settled = reader->position;
	reader->durable = wo_snapshot_take(reader->context);
	XLogFlush(GetXLogInsertRecPtr());
}

/*
 * Takes the transaction's snapshot and opens a window up to it, if the last
 * one is read and anything has ended since.  Returns whether there is
 * something to read.
 */
bool
wo_reader_open_window(WoReader *reader)
{
	WoSnapshot *newer;
	WoSnapshot *older = reader->seen;

	if (reader->reading)
		return true;
	/* Our own xid would be in the snapshot as running, for ever. */
	Assert(!TransactionIdIsValid(GetTopTransactionIdIfAny()));
	newer = wo_snapshot_take(reader->context);
	if (wo_snapshot_same(older, newer))
	{
		wo_snapshot_unref(newer);
		return false;
	}
	add_window(reader, older, newer);
	reader->seen = newer;
	return true;
}

/* Notes where the reader is, to come back to it after an error. */
void
wo_reader_mark(const WoReader *reader, WoReaderMark *mark)
{
	mark->n_events = reader->n_events;
	mark->n_windows = reader->n_windows;
	mark->position = reader->position;
	mark->reading = reader->reading;
}

/* Forgets the newest event that was read. */
static void
drop_newest(WoReader *reader)
{
	WoLogEvent *log = dlist_tail_element(WoLogEvent, log_node,
										 &reader->events);

	Assert(log->n_open == 1 && dlist_is_empty(&log->deliveries));
	dlist_delete(&log->log_node);
	log->window->n_events--;
	reader->n_events--;
	reader->n_bytes -= log->size;
	reader->n_since_saved--;
	pfree(log);
}

/* Forgets the window that was opened last.  Nothing was read from it. */
static void
drop_newest_window(WoReader *reader)
{
	WoWindow   *window = dlist_tail_element(WoWindow, node,
											&reader->windows);

	Assert(window->newer == reader->seen && window->n_events == 0);
	dlist_delete(&window->node);
	reader->seen = window->older;
	wo_snapshot_unref(window->newer);
	wo_snapshot_unref(window->newer);
	pfree(window);
	reader->n_windows--;
}

/*
 * Makes what was read since the mark unread, after an error in the
 * transaction that read it: none of it was routed.
 */
void
wo_reader_return_to(WoReader *reader, const WoReaderMark *mark)
{
	while (reader->n_events > mark->n_events)
		drop_newest(reader);
	if (reader->n_windows > mark->n_windows)
		drop_newest_window(reader);
	else if (mark->reading)
		mark->reading->is_read = false;
	reader->reading = mark->reading;
	reader->position = mark->position;
}

/* Copies a text, in UTF-8, to *at and moves that; NULL stays NULL. */
static const char *
put_text(char **at, const char *text, int len)
{
	char	   *copy = *at;

	if (text == NULL)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	*at += len + 1;
	return copy;
}

/* Returns a text column in UTF-8; NULL when null. */
static char *
utf8_text(uint64 row, int column, int *len)
{
	bool		isnull;
	Datum		value = wo_txn_value(row, column, &isnull);
	text	   *plain;
	bool		is_exact;

	*len = 0;
	if (isnull)
		return NULL;
	plain = DatumGetTextPP(value);
	*len = VARSIZE_ANY_EXHDR(plain);
	return wo_encoding_to_utf8(VARDATA_ANY(plain), len, &is_exact);
}

static char *
header_lines(uint64 row, int column, int *len)
{
	bool		isnull;
	Datum		value = wo_txn_value(row, column, &isnull);
	char	   *lines;

	lines = isnull ? "" : (char *) wo_headers_valid_text(DatumGetJsonbP(value));
	*len = strlen(lines);
	return lines;
}

/*
 * Makes an event of a row of the last query, whose WO_EVENT_COLUMNS begin at
 * first_column.  It is one allocation in context.
 */
WoLogEvent *
wo_reader_make_event(MemoryContext context, uint64 row, int first_column)
{
	int			len[5];
	char	   *part[5];
	bool		isnull;
	Size		size = sizeof(WoLogEvent);
	WoLogEvent *log;
	char	   *at;

	for (int i = 0; i < 5; i++)
	{
		int			column = first_column + 4 + i;

		part[i] = (i == 3) ? header_lines(row, column, &len[i]) :
			utf8_text(row, column, &len[i]);
		size += len[i] + 1;
	}
	log = MemoryContextAlloc(context, size);
	memset(log, 0, sizeof(WoLogEvent));
	at = (char *) (log + 1);
	log->size = size;
	dlist_init(&log->deliveries);
	log->event.id = *DatumGetUUIDP(wo_txn_value(row, first_column, &isnull));
	log->event.created_at =
		DatumGetTimestampTz(wo_txn_value(row, first_column + 1, &isnull));
	log->position.xid =
		DatumGetUInt64(wo_txn_value(row, first_column + 2, &isnull));
	log->only_endpoint_id =
		DatumGetInt64(wo_txn_value(row, first_column + 3, &isnull));
	log->event.type = put_text(&at, part[0], len[0]);
	log->event.tenant = put_text(&at, part[1], len[1]);
	log->event.source = put_text(&at, part[2], len[2]);
	log->event.headers = put_text(&at, part[3], len[3]);
	log->event.payload = put_text(&at, part[4], len[4]);
	log->event.payload_len = len[4];
	return log;
}

/*
 * Returns up to where the log must be flushed for the commit of xid to be on
 * disk; invalid when it is already.  It is of what the commit log has no more:
 * VACUUM froze it, and flushed the log before it cut that one off.
 */
static XLogRecPtr
commit_lsn(uint64 xid)
{
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	uint64		next;
	uint32		n_known;		/* xids that the commit log has */

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	n_known = (uint32) next - WO_OLDEST_CLOG_XID;
	if (xid + n_known >= next)
		lsn = TransactionIdGetCommitLSN((TransactionId) xid);
	LWLockRelease(XactTruncationLock);
	return lsn;
}

/*
 * Flushes the log up to the commit of xid, if that was asynchronous: an event
 * whose commit can still vanish must not be sent.
 */
static void
flush_commit(WoReader *reader, uint64 xid)
{
	static uint64 last_xid = 0;
	XLogRecPtr	lsn;

	if (xid == last_xid || wo_snapshot_shows(reader->durable, xid))
		return;
	lsn = commit_lsn(xid);
	if (!XLogRecPtrIsInvalid(lsn))
	{
		WO_FAULT("before_flush");
		XLogFlush(lsn);
	}
	last_xid = xid;
}

static void
take_event(WoReader *reader, WoLogEvent *log, const WoLeaf *leaf,
		   TimestampTz now)
{
	log->window = reader->reading;
	log->position.turn = leaf->turn;
	log->position.id = log->event.id;
	log->read_at = now;
	log->n_open = 1;			/* until it is routed */
	reader->position = log->position;
	flush_commit(reader, log->position.xid);
	dlist_push_tail(&reader->events, &log->log_node);
	log->window->n_events++;
	reader->n_events++;
	reader->n_bytes += log->size;
	reader->n_since_saved++;
	reader->is_moved = true;
}

/*
 * Reads up to limit events of a leaf between after and xid hi into page;
 * stops early when *max_bytes is used up.  Returns how many.
 */
static int
read_range(WoReader *reader, const WoLeaf *leaf, const WoPosition *after,
		   uint64 hi, int limit, Size *max_bytes, TimestampTz now,
		   WoLogEvent **page)
{
	pg_uuid_t	after_id = after->id;
	Datum		args[5];
	uint64		n_rows;
	int			n = 0;

	args[0] = UInt64GetDatum(after->xid);
	args[1] = UUIDPGetDatum(&after_id);
	args[2] = UInt64GetDatum(hi);
	args[3] = reader->reading->newer->value;
	args[4] = Int64GetDatum(limit);
	n_rows = wo_txn_query(&read_leaf[leaf->slot], args, NULL, 0);
	while (n < n_rows && *max_bytes > 0)
	{
		WoLogEvent *log = wo_reader_make_event(reader->context, n, 1);

		take_event(reader, log, leaf, now);
		page[n++] = log;
		*max_bytes -= Min(*max_bytes, log->size);
	}
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* Where to start in a range of a leaf; false: the range is read already. */
static bool
start_of_range(const WoReader *reader, const WoLeaf *leaf,
			   const WoXidRange *range, WoPosition *start)
{
	if (leaf->turn == reader->position.turn)
	{
		if (range->hi <= reader->position.xid)
			return false;
		if (reader->position.xid >= range->lo)
		{
			*start = reader->position;
			return true;
		}
	}
	memset(start, 0, sizeof(WoPosition));
	start->xid = range->lo;
	return true;
}

/* Can the leaf hold a row that older does not show? */
static bool
is_in_window(const WoReader *reader, const WoLeaf *leaf)
{
	return leaf->turn >= reader->position.turn &&
		(leaf->fence == 0 || leaf->fence > reader->reading->older->xmin);
}

/*
 * Reads the next page of the window: at most max_events (page has room for
 * PAGE_EVENTS at least) and about max_bytes.  Returns how many; the window
 * closes (reading is NULL) when its end is reached.
 */
int
wo_reader_read_page(WoReader *reader, int max_events, Size max_bytes,
					TimestampTz now, WoLogEvent **page)
{
	int			n_leaves;
	const WoLeaf *leaves = wo_ring_event_leaves(&n_leaves);
	int			limit = Min(max_events, PAGE_EVENTS);
	int			n = 0;

	for (int i = 0; i < n_leaves; i++)
	{
		if (!is_in_window(reader, &leaves[i]))
			continue;
		for (int j = 0; j < reader->n_ranges; j++)
		{
			WoPosition	start;

			if (!start_of_range(reader, &leaves[i], &reader->ranges[j],
								&start))
				continue;
			n += read_range(reader, &leaves[i], &start, reader->ranges[j].hi,
							limit - n, &max_bytes, now, page + n);
			if (n == limit || max_bytes == 0)
				return n;
		}
	}
	reader->reading->is_read = true;
	reader->reading = NULL;
	return n;
}

/*
 * Could an earlier dispatcher have recorded something of these events?  Not
 * of those that were committed after this one started.
 */
bool
wo_reader_may_be_recorded(const WoReader *reader, WoLogEvent **events, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (wo_snapshot_shows(reader->durable, events[i]->position.xid))
			return true;
	}
	return false;
}

/* Drops windows at the head that are read and settled to their end. */
static void
drop_windows(WoReader *reader)
{
	while (!dlist_is_empty(&reader->windows))
	{
		WoWindow   *window = dlist_head_element(WoWindow, node,
												&reader->windows);

		if (window->n_events > 0 || !window->is_read)
			return;
		dlist_delete(&window->node);
		wo_snapshot_unref(window->older);
		wo_snapshot_unref(window->newer);
		pfree(window);
		reader->n_settled++;
	}
}

/* Lets go of all events at the head of the list that are settled. */
void
wo_reader_settle(WoReader *reader)
{
	while (!dlist_is_empty(&reader->events))
	{
		WoLogEvent *log = dlist_head_element(WoLogEvent, log_node,
											 &reader->events);

		if (log->n_open > 0)
			break;
		dlist_delete(&log->log_node);
		log->window->settled = log->position;
		log->window->n_events--;
		reader->n_events--;
		reader->n_bytes -= log->size;
		reader->is_moved = true;
		wo_log_event_leave_window(log);
	}
	drop_windows(reader);
}

/* Writes the durable cursor, in the transaction that is open. */
void
wo_reader_save(WoReader *reader, TimestampTz now)
{
	WoSnapshot *older = reader->seen;
	WoSnapshot *newer = reader->seen;
	WoPosition	settled;
	Datum		args[7];
	bool		isnull;

	memset(&settled, 0, sizeof(WoPosition));
	if (!dlist_is_empty(&reader->windows))
	{
		WoWindow   *window = dlist_head_element(WoWindow, node,
												&reader->windows);

		older = window->older;
		newer = window->newer;
		settled = window->settled;
	}
	args[0] = older->value;
	args[1] = newer->value;
	args[2] = Int64GetDatum(settled.turn);
	args[3] = UInt64GetDatum(settled.xid);
	args[4] = UUIDPGetDatum(&settled.id);
	args[5] = TimestampTzGetDatum(now);
	args[6] = PointerGetDatum(&cursor_tid);
	if (wo_txn_execute(&save_cursor, args, NULL) != 1 &&
		wo_txn_execute(&save_cursor_anywhere, args, NULL) != 1)
		elog(ERROR, "webhook_outbox.cursor has no row");
	cursor_tid = *(ItemPointer) DatumGetPointer(wo_txn_value(0, 1, &isnull));
	reader->n_since_saved = 0;
	reader->is_moved = false;
	reader->saved_at = now;
}
