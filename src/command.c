/*-------------------------------------------------------------------------
 *
 * command.c
 *	  What SQL functions ask of the dispatcher: send again, cancel, retry.
 *
 * Functions insert rows into webhook_outbox.command in the caller's
 * transaction; nobody but the dispatcher touches delivery, so no lock of a
 * user's open transaction can hold it up.
 *
 * A command about an event that the reader has not reached yet is deferred:
 * its row stays.  There may be millions of those, so they are not even looked
 * at: each row has the xid of its event, and only spans of (xid, id) that the
 * reader has read are searched, by index.  Of the rest the one that comes
 * first is remembered, and when its event was routed all are looked for again.
 * Commands are not read by "command_id > last": numbers do not commit in
 * order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "columns.h"
#include "command.h"
#include "ring.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Of those that have to wait for their events. */
static bool has_deferred = false;
static bool awaits_any;			/* valid if has_deferred: any event may do */
static pg_uuid_t awaited;		/* valid unless that: the event that may */

/*
 * Where the next look begins: at this event, if its xid is in the first span,
 * which goes up to first_to_xid.  What stands before was obeyed and deleted,
 * and an index keeps that while any snapshot may see it: of a million, a
 * thousand of which are read at a time, those would be met each time.
 */
static uint64 next_xid = 0;
static pg_uuid_t next_id = {{0}};
static uint64 first_to_xid;

/*
 * Spans of the log, arrays for unnest: from an xid and id to an xid and id;
 * is_open: of the window that is being read.
 */
#define SPANS \
	"unnest($1, $2, $3, $4, $5) AS s (xid, id, to_xid, to_id, is_open)"

#define SPAN_TYPES \
	XID8ARRAYOID, UUIDARRAYOID, XID8ARRAYOID, UUIDARRAYOID, BOOLARRAYOID

static const Oid span_types[] = {SPAN_TYPES};

/* Of the window that is open, only what is in the leaves $6 can be read. */
static const Oid read_types[] = {SPAN_TYPES, INT2ARRAYOID, INT8OID};
static WoStatement read_commands = {
	"SELECT * FROM (SELECT c.command_id, "
	"array_position('{send,cancel,retry}', c.kind) - 1, c.event_xid, "
	"c.event_id, coalesce(c.endpoint_id, 0), c.due_at, c.has_event, "
	"c.endpoint_name "
	"FROM " SPANS ", LATERAL (SELECT c.*, e.slot IS NOT NULL AS has_event "
	"FROM webhook_outbox.command c LEFT JOIN LATERAL ("
	"SELECT e.slot FROM webhook_outbox.event e "
	"WHERE e.id = c.event_id LIMIT 1) e ON true "
	"WHERE (c.event_xid, c.event_id) >= (s.xid, s.id) "
	"AND (c.event_xid, c.event_id) <= (s.to_xid, s.to_id) "
	"AND (NOT s.is_open OR e.slot IS NULL OR e.slot = ANY ($6)) "
	"ORDER BY c.event_xid, c.event_id, c.command_id LIMIT $7) c "
	"LIMIT $7) c ORDER BY command_id", lengthof(read_types), read_types, NULL
};

/* The spans are in the order in which their events will be read. */
static WoStatement find_deferred = {
	"SELECT c.event_id FROM " SPANS ", LATERAL ("
	"SELECT c.event_id FROM webhook_outbox.command c "
	"WHERE (c.event_xid, c.event_id) > (s.xid, s.id) "
	"AND (c.event_xid, c.event_id) <= (s.to_xid, s.to_id) "
	"ORDER BY c.event_xid, c.event_id LIMIT 1) c LIMIT 1",
	lengthof(span_types), span_types, NULL
};

static const Oid send_types[] = {INT8ARRAYOID};
static WoStatement send_again = {
	"INSERT INTO webhook_outbox.delivery AS d (endpoint_id, event_id, "
	"next_attempt_at, state, origin, attempts) "
	"SELECT DISTINCT ON (c.endpoint_id, c.event_id) c.endpoint_id, "
	"c.event_id, c.due_at, 'parked', c.origin, coalesce((SELECT max(a.number) "
	"FROM webhook_outbox.attempt a WHERE a.event_id = c.event_id "
	"AND a.endpoint_id = c.endpoint_id), 0) "
	"FROM webhook_outbox.command c WHERE c.command_id = ANY ($1) "
	"ORDER BY c.endpoint_id, c.event_id, c.command_id DESC "
	"ON CONFLICT (endpoint_id, event_id) DO UPDATE SET "
	"next_attempt_at = excluded.next_attempt_at, state = excluded.state, "
	"origin = excluded.origin, schedule_step = 0, "
	"attempts = greatest(d.attempts, excluded.attempts)",
	1, send_types, NULL
};

static const Oid cancel_types[] = {UUIDARRAYOID, INT8ARRAYOID};
static WoStatement cancel_rows = {
	"UPDATE webhook_outbox.delivery "
	"SET state = 'cancelled', next_attempt_at = 'infinity' "
	"WHERE ctid = ANY (ARRAY(SELECT d.ctid "
	"FROM unnest($1, $2) AS c (event_id, endpoint_id), LATERAL ("
	"SELECT d.ctid FROM webhook_outbox.delivery d "
	"WHERE d.event_id = c.event_id AND d.state <> 'cancelled' "
	"AND (c.endpoint_id = 0 OR d.endpoint_id = c.endpoint_id) OFFSET 0) d))",
	2, cancel_types, NULL
};

/* What is due by then, or under way, is left alone. */
static const Oid retry_types[] = {INT8ARRAYOID};
static WoStatement retry_rows = {
	"UPDATE webhook_outbox.delivery u SET next_attempt_at = r.due_at FROM ("
	"SELECT d.tid, c.due_at FROM ("
	"SELECT endpoint_id, event_id, min(due_at) AS due_at "
	"FROM webhook_outbox.command WHERE command_id = ANY ($1) "
	"GROUP BY endpoint_id, event_id) c, LATERAL ("
	"SELECT d.ctid AS tid, d.state, d.next_attempt_at "
	"FROM webhook_outbox.delivery d WHERE d.endpoint_id = c.endpoint_id "
	"AND d.event_id = c.event_id OFFSET 0) d "
	"WHERE d.state = 'retrying' AND d.next_attempt_at > c.due_at OFFSET 0) r "
	"WHERE u.ctid = r.tid",
	1, retry_types, NULL
};

static const Oid delete_types[] = {INT8ARRAYOID};
static WoStatement delete_commands = {
	"DELETE FROM webhook_outbox.command WHERE command_id = ANY ($1)",
	1, delete_types, NULL
};

static pg_uuid_t first_id = {{0}};
static pg_uuid_t last_id = {{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
}};

/* Makes room for all the spans that there can be. */
static void
init_spans(WoColumns *spans, const WoReader *reader)
{
	int			n = 2 * reader->seen->n_xids + 4;

	if (reader->reading)
		n += reader->reading->older->n_xids + 2 * reader->n_ranges;
	wo_columns_init(spans, span_types, lengthof(span_types), n);
}

static void
add_span(WoColumns *spans, uint64 xid, pg_uuid_t *id, uint64 to_xid,
		 pg_uuid_t *to_id, bool is_open)
{
	wo_columns_add(spans, UInt64GetDatum(xid), false);
	wo_columns_add(spans, UUIDPGetDatum(id), false);
	wo_columns_add(spans, UInt64GetDatum(to_xid), false);
	wo_columns_add(spans, UUIDPGetDatum(to_id), false);
	wo_columns_add(spans, BoolGetDatum(is_open), false);
	wo_columns_end_row(spans);
}

/* Adds those xids in [lo, hi) that the snapshot shows. */
static void
add_shown(WoColumns *spans, const WoSnapshot *snapshot, uint64 lo, uint64 hi,
		  bool is_open)
{
	WoXidRange *ranges = palloc((snapshot->n_xids + 1) * sizeof(WoXidRange));
	int			n = wo_snapshot_shown(snapshot, lo, hi, ranges);

	for (int i = 0; i < n; i++)
		add_span(spans, ranges[i].lo, &first_id, ranges[i].hi - 1, &last_id,
				 is_open);
	pfree(ranges);
}

/* Lists what the reader has read. */
static void
list_read(WoColumns *spans, WoReader *reader)
{
	const WoWindow *window = reader->reading;
	WoPosition *at = &reader->position;

	init_spans(spans, reader);
	if (window == NULL)
	{
		add_shown(spans, reader->seen, 0, reader->seen->xmax, false);
		return;
	}
	add_shown(spans, window->older, 0, window->older->xmax, false);
	for (int i = 0; i < reader->n_ranges; i++)
	{
		WoXidRange *range = &reader->ranges[i];

		add_shown(spans, window->newer, range->lo, Min(range->hi, at->xid),
				  true);
		if (range->lo <= at->xid && at->xid < range->hi)
			add_span(spans, at->xid, &first_id, at->xid, &at->id, true);
	}
}

/* Is there a leaf in which the open window was not begun yet? */
static bool
has_leaf_to_read(const WoReader *reader)
{
	int			n;
	const WoLeaf *leaves = wo_ring_event_leaves(&n);

	return reader->reading != NULL && n > 0 &&
		leaves[n - 1].turn > reader->position.turn;
}

/* Lists what it will read, in that order: the rest of the window first. */
static void
list_unread(WoColumns *spans, WoReader *reader)
{
	const WoSnapshot *seen = reader->seen;
	WoPosition *at = &reader->position;

	init_spans(spans, reader);
	for (int i = 0; reader->reading && i < reader->n_ranges; i++)
	{
		WoXidRange *range = &reader->ranges[i];

		if (range->lo <= at->xid && at->xid < range->hi)
			add_span(spans, at->xid, &at->id, at->xid, &last_id, true);
		add_shown(spans, seen, Max(range->lo, at->xid + 1), range->hi, true);
	}
	for (int i = 0; i < seen->n_xids; i++)
		add_span(spans, seen->xids[i], &first_id, seen->xids[i], &last_id,
				 false);
	add_span(spans, seen->xmax, &first_id, PG_UINT64_MAX, &last_id, false);
}

/*
 * Looks for the first command that has to wait.  Before the window's last
 * leaf the first by xid need not be the first that is read.
 */
static void
note_deferred(WoReader *reader)
{
	WoColumns	spans;
	Datum		args[WO_MAX_COLUMNS];
	bool		isnull;

	awaits_any = has_leaf_to_read(reader);
	if (awaits_any)
	{
		init_spans(&spans, reader);
		add_span(&spans, 0, &first_id, PG_UINT64_MAX, &last_id, false);
	}
	else
		list_unread(&spans, reader);
	wo_columns_arrays(&spans, args);
	has_deferred = wo_txn_query(&find_deferred, args, NULL, 1) > 0;
	if (has_deferred)
		awaited = *DatumGetUUIDP(wo_txn_value(0, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
}

/* The leaves of which the open window is read, or being read. */
static Datum
slots_begun(const WoReader *reader)
{
	Datum		slots[WO_RING_LEAVES + 1];
	int			n_slots = 0;
	int			n;
	const WoLeaf *leaves = wo_ring_event_leaves(&n);

	for (int i = 0; i < n && leaves[i].turn <= reader->position.turn; i++)
		slots[n_slots++] = Int16GetDatum(leaves[i].slot);
	slots[n_slots++] = Int16GetDatum(WO_KEPT_SLOT);
	return wo_txn_array(slots, NULL, n_slots, INT2OID);
}

/* Begins the first span, that of the oldest xids, where it is to go on. */
static void
skip_obeyed(WoColumns *spans)
{
	if (spans->n_rows == 0)
		return;
	Assert(DatumGetUInt64(spans->values[0][0]) == 0);
	first_to_xid = DatumGetUInt64(spans->values[2][0]);
	if (next_xid > first_to_xid)
		return;
	spans->values[0][0] = UInt64GetDatum(next_xid);
	spans->values[1][0] = UUIDPGetDatum(&next_id);
}

/*
 * Reads commands whose events were read, from where the last look ended on;
 * returns how many, at most limit, with what they point to in the memory that
 * the array is in.  Notes which is the next one if these were all.
 * wo_command_obeyed follows.
 */
int
wo_command_read(WoReader *reader, WoCommand *commands, int limit)
{
	MemoryContext context = GetMemoryChunkContext(commands);
	WoColumns	spans;
	Datum		args[WO_MAX_COLUMNS];
	uint64		n_rows;

	list_read(&spans, reader);
	skip_obeyed(&spans);
	wo_columns_arrays(&spans, args);
	args[lengthof(span_types)] = slots_begun(reader);
	args[lengthof(span_types) + 1] = Int64GetDatum(limit);
	n_rows = wo_txn_query(&read_commands, args, NULL, 0);
	Assert(n_rows <= limit);
	for (uint64 row = 0; row < n_rows; row++)
	{
		WoCommand  *command = &commands[row];
		bool		isnull;
		char	   *name;

		command->command_id = DatumGetInt64(wo_txn_value(row, 1, &isnull));
		command->kind = DatumGetInt32(wo_txn_value(row, 2, &isnull));
		command->event_xid = DatumGetUInt64(wo_txn_value(row, 3, &isnull));
		command->event_id = *DatumGetUUIDP(wo_txn_value(row, 4, &isnull));
		command->endpoint_id = DatumGetInt64(wo_txn_value(row, 5, &isnull));
		command->due_at = DatumGetTimestampTz(wo_txn_value(row, 6, &isnull));
		command->has_event = DatumGetBool(wo_txn_value(row, 7, &isnull));
		name = wo_txn_text(row, 8);
		command->endpoint_name = name ?
			MemoryContextStrdup(context, name) : NULL;
	}
	SPI_freetuptable(SPI_tuptable);
	if (n_rows < limit)
		note_deferred(reader);
	return (int) n_rows;
}

/*
 * What was read, at most limit, is obeyed.  Returns whether there may be more:
 * not if a look from the start has found less.
 */
bool
wo_command_obeyed(const WoCommand *commands, int n, int limit)
{
	bool		was_start = next_xid == 0 &&
	memcmp(&next_id, &first_id, sizeof(pg_uuid_t)) == 0;

	if (n < limit)
	{
		next_xid = 0;
		next_id = first_id;
		return !was_start;
	}
	for (int i = 0; i < n; i++)
	{
		const WoCommand *command = &commands[i];

		if (command->event_xid > first_to_xid ||
			command->event_xid < next_xid ||
			(command->event_xid == next_xid &&
			 memcmp(&command->event_id, &next_id, sizeof(pg_uuid_t)) < 0))
			continue;
		next_xid = command->event_xid;
		next_id = command->event_id;
	}
	return true;
}

static Datum
command_ids(const WoCommandList *list)
{
	Datum	   *ids = palloc(Max(list->n, 1) * sizeof(Datum));

	for (int i = 0; i < list->n; i++)
		ids[i] = Int64GetDatum(list->commands[i]->command_id);
	return wo_txn_array(ids, NULL, list->n, INT8OID);
}

/* Executes a statement whose parameter are the numbers of these commands. */
static void
execute_for(WoStatement *statement, const WoCommandList *list)
{
	Datum		arg;

	if (list->n == 0)
		return;
	arg = command_ids(list);
	wo_txn_execute(statement, &arg, NULL);
}

static void
cancel(const WoCommandList *list)
{
	WoColumns	columns;

	wo_columns_init(&columns, cancel_types, lengthof(cancel_types), list->n);
	for (int i = 0; i < list->n; i++)
	{
		WoCommand  *command = list->commands[i];

		wo_columns_add(&columns, UUIDPGetDatum(&command->event_id), false);
		wo_columns_add(&columns, Int64GetDatum(command->endpoint_id), false);
		wo_columns_end_row(&columns);
	}
	wo_columns_execute(&cancel_rows, &columns);
}

/*
 * Applies commands, listed by kind, to the table and deletes those done, in
 * the transaction.
 */
void
wo_command_apply(const WoCommandList *todo, const WoCommandList *done)
{
	execute_for(&send_again, &todo[WO_COMMAND_SEND]);
	cancel(&todo[WO_COMMAND_CANCEL]);
	execute_for(&retry_rows, &todo[WO_COMMAND_RETRY]);
	execute_for(&delete_commands, done);
}

/* Does any command wait for its event? */
bool
wo_command_has_deferred(void)
{
	return has_deferred;
}

/* The event was read: is it what the next command waits for? */
bool
wo_command_recall(const pg_uuid_t *event_id)
{
	if (!awaits_any && memcmp(&awaited, event_id, sizeof(pg_uuid_t)) != 0)
		return false;
	has_deferred = false;		/* until they are looked for again */
	return true;
}
