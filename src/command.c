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
 * its row stays, its number is remembered, and it is recalled when the event
 * has been routed.  Commands are not read by "command_id > last": numbers do
 * not commit in order.
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
#include "utils/timestamp.h"

#define MAX_DEFERRED		1000

static MemoryContext command_context;
static List *deferred = NIL;	/* of WoCommand * */

static const Oid read_types[] = {INT8ARRAYOID, INT8OID};
static WoStatement read_commands = {
	"SELECT c.command_id, array_position('{send,cancel,retry}', c.kind) - 1, "
	"c.event_id, coalesce(c.endpoint_id, 0), c.due_at, e.xid, e.slot FROM ("
	"SELECT * FROM webhook_outbox.command "
	"WHERE command_id <> ALL ($1) ORDER BY command_id LIMIT $2) c "
	"LEFT JOIN LATERAL (SELECT e.xid, e.slot FROM webhook_outbox.event e "
	"WHERE e.id = c.event_id LIMIT 1) e ON true "
	"ORDER BY c.command_id", 2, read_types, NULL
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

/* Called once, when the dispatcher starts. */
void
wo_command_create(MemoryContext context)
{
	command_context = context;
}

static Datum
ids_of_deferred(void)
{
	int			n = list_length(deferred);
	Datum	   *ids = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		WoCommand  *command = list_nth(deferred, i);

		ids[i] = Int64GetDatum(command->command_id);
	}
	return wo_txn_array(ids, NULL, n, INT8OID);
}

/* An event in event_kept has turn 0: it was read long ago. */
static int64
turn_of_slot(int slot)
{
	int			n;
	const WoLeaf *leaves = wo_ring_event_leaves(&n);

	for (int i = 0; i < n; i++)
	{
		if (leaves[i].slot == slot)
			return leaves[i].turn;
	}
	return 0;
}

/* Reads commands that are not deferred; returns how many, at most limit. */
int
wo_command_read(WoCommand *commands, int limit)
{
	Datum		args[2];
	uint64		n_rows;

	args[0] = ids_of_deferred();
	args[1] = Int64GetDatum(limit);
	n_rows = wo_txn_query(&read_commands, args, NULL, 0);
	Assert(n_rows <= limit);
	for (uint64 row = 0; row < n_rows; row++)
	{
		WoCommand  *command = &commands[row];
		bool		isnull;
		Datum		slot;

		command->command_id = DatumGetInt64(wo_txn_value(row, 1, &isnull));
		command->kind = DatumGetInt32(wo_txn_value(row, 2, &isnull));
		command->event_id = *DatumGetUUIDP(wo_txn_value(row, 3, &isnull));
		command->endpoint_id = DatumGetInt64(wo_txn_value(row, 4, &isnull));
		command->due_at = DatumGetTimestampTz(wo_txn_value(row, 5, &isnull));
		command->position.id = command->event_id;
		command->position.xid = DatumGetUInt64(wo_txn_value(row, 6, &isnull));
		slot = wo_txn_value(row, 7, &isnull);
		command->has_event = !isnull;
		command->position.turn = isnull ? 0 :
			turn_of_slot(DatumGetInt16(slot));
	}
	SPI_freetuptable(SPI_tuptable);
	return (int) n_rows;
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

/*
 * Returns how many commands may be read now.  Each read steps over those that
 * are deferred, one by one, and so does each event that is read; so there are
 * not many of them.  When there are, reading goes on once half of them have
 * been recalled, not for each one.  Others wait meanwhile, until the reader
 * has come to the events of that half.
 */
int
wo_command_room(void)
{
	int			room = MAX_DEFERRED - list_length(deferred);

	return room >= MAX_DEFERRED / 2 ? room : 0;
}

/* Remembers a command whose event the reader has not reached. */
void
wo_command_defer(const WoCommand *command)
{
	MemoryContext caller = MemoryContextSwitchTo(command_context);
	WoCommand  *copy = palloc(sizeof(WoCommand));

	*copy = *command;
	deferred = lappend(deferred, copy);
	MemoryContextSwitchTo(caller);
}

/* Is any command deferred? */
bool
wo_command_has_deferred(void)
{
	return deferred != NIL;
}

/* The event was read: forget its deferrals.  Returns whether it had any. */
bool
wo_command_recall(const pg_uuid_t *event_id)
{
	ListCell   *cell;
	bool		found = false;

	foreach(cell, deferred)
	{
		WoCommand  *command = lfirst(cell);

		if (memcmp(&command->event_id, event_id, sizeof(pg_uuid_t)) != 0)
			continue;
		deferred = foreach_delete_current(deferred, cell);
		pfree(command);
		found = true;
	}
	return found;
}
