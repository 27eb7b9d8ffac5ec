/*-------------------------------------------------------------------------
 *
 * obey.c
 *	  Does what SQL functions asked for: send again, cancel, retry.
 *
 * Commands are read after the events that were committed with them, and
 * before anything is admitted: what is cancelled in the transaction that
 * published it is never sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backlog.h"
#include "burial.h"
#include "clock.h"
#include "command.h"
#include "dispatcher.h"
#include "ledger.h"
#include "lib/qunique.h"
#include "router.h"
#include "txn.h"
#include "utils/memutils.h"

/* Events wait while commands are carried out. */
#define COMMANDS_AT_ONCE	1000

/*
 * Unasked it looks for commands at most for 1/UNASKED_SHARE of the time: while
 * somebody's snapshot keeps what was deleted of a million, a look is slow.
 */
#define UNASKED_SHARE		50
#define UNASKED_US			(30 * USECS_PER_SEC)	/* but so often */

static TimestampTz unasked_at = 0;	/* not before then */

/* An event that commands are about, and where the reader has it. */
typedef struct Named
{
	pg_uuid_t	event_id;
	List	   *logs;			/* of WoLogEvent *: it can be stored twice */
	List	   *stored;			/* of WoDelivery *: all that have a row */
	bool		is_cancelled;	/* by a command that is to be applied */
} Named;

/* What commands come to that are carried out in one transaction. */
typedef struct Batch
{
	WoCommandList todo[WO_N_COMMAND_KINDS]; /* in the tables */
	WoCommandList done;
	List	   *to_store;		/* WoDelivery *: cancelled, with no row */
	List	   *revived;		/* likewise: under way, no longer cancelled */
} Batch;

static Named *named;			/* of the commands at hand, by event_id */
static int	n_named;

static int
compare_named(const void *a, const void *b)
{
	return memcmp(&((const Named *) a)->event_id,
				  &((const Named *) b)->event_id, sizeof(pg_uuid_t));
}

/*
 * Finds the events of all commands in the reader's memory, in one walk.  Not
 * for retries: they are about rows alone.
 */
static void
find_events(WoReader *reader, const WoCommand *commands, int n)
{
	dlist_iter	iter;

	named = palloc0(n * sizeof(Named));
	n_named = 0;
	for (int i = 0; i < n; i++)
	{
		if (commands[i].kind != WO_COMMAND_RETRY)
			named[n_named++].event_id = commands[i].event_id;
	}
	qsort(named, n_named, sizeof(Named), compare_named);
	n_named = qunique(named, n_named, sizeof(Named), compare_named);
	if (n_named == 0)
		return;
	dlist_foreach(iter, &reader->events)
	{
		WoLogEvent *log = dlist_container(WoLogEvent, log_node, iter.cur);
		Named	   *found = bsearch(&log->event.id, named, n_named,
									sizeof(Named), compare_named);

		if (found)
			found->logs = lappend(found->logs, log);
	}
}

/* What find_events has found of a command's event. */
static Named *
event_of(const WoCommand *command)
{
	return bsearch(&command->event_id, named, n_named, sizeof(Named),
				   compare_named);
}

/* Lists the deliveries of a command's event that only the cursor covers. */
static List *
deliveries_read(const WoCommand *command)
{
	List	   *found = NIL;
	ListCell   *cell;

	foreach(cell, event_of(command)->logs)
	{
		WoLogEvent *log = lfirst(cell);
		dlist_iter	iter;

		dlist_foreach(iter, &log->deliveries)
			found = lappend(found, dlist_container(WoDelivery, event_node,
												   iter.cur));
	}
	return found;
}

/*
 * Finds the stored deliveries of the events of all commands, in one walk too,
 * if there is a cancel among those, anew for each batch: it drops some.
 */
static void
find_stored(const WoCommand *commands, int n)
{
	bool		is_needed = false;
	ListCell   *cell;

	for (int i = 0; i < n_named; i++)
		named[i].stored = NIL;
	for (int i = 0; i < n; i++)
		is_needed |= commands[i].kind == WO_COMMAND_CANCEL;
	if (!is_needed)
		return;
	foreach(cell, wo_backlog_all())
	{
		WoDelivery *delivery = lfirst(cell);
		Named	   *found = bsearch(&delivery->log->event.id, named, n_named,
									sizeof(Named), compare_named);

		if (found)
			found->stored = lappend(found->stored, delivery);
	}
}

/* Lists the deliveries in memory that a cancel command is about. */
static List *
deliveries_of(const WoCommand *command)
{
	List	   *found = list_copy(event_of(command)->stored);
	ListCell   *cell;

	foreach(cell, deliveries_read(command))
	{
		WoDelivery *delivery = lfirst(cell);

		if (!delivery->is_stored)
			found = lappend(found, delivery);
	}
	return found;
}

/*
 * Cancels in memory.  What is in flight is left to end: delivered is
 * delivered, but there will be no retry.  Those that have no row, or wait in
 * a lane, are to be stored: nobody would know after a crash.
 */
static void
cancel_in_memory(const WoCommand *command, Batch *batch)
{
	ListCell   *cell;

	foreach(cell, deliveries_of(command))
	{
		WoDelivery *delivery = lfirst(cell);

		if (command->endpoint_id != 0 &&
			command->endpoint_id != delivery->endpoint->endpoint_id)
			continue;
		delivery->is_cancelled = true;
		/* whatever a command before this one asked for */
		batch->revived = list_delete_ptr(batch->revived, delivery);
		/* by a command before this one, or with a row that will do */
		if (delivery->is_parking ||
			(delivery->is_stored && !delivery->is_queued))
			continue;
		if (delivery->is_queued)
			wo_endpoint_unqueue(delivery);
		delivery->is_parking = true;
		batch->to_store = lappend(batch->to_store, delivery);
	}
}

/*
 * Is the delivery that a send command asks for under way already?  A request
 * that was cancelled since goes to *revived: it has not ended, and it is what
 * the command asks for.
 */
static bool
is_under_way(const WoCommand *command, List **revived)
{
	WoDelivery *stored = wo_backlog_find(&command->event_id,
										 command->endpoint_id);
	ListCell   *cell;

	if (stored == NULL)
	{
		foreach(cell, deliveries_read(command))
		{
			WoDelivery *delivery = lfirst(cell);

			if (delivery->endpoint->endpoint_id == command->endpoint_id)
				return true;
		}
		return false;
	}
	if (!stored->is_cancelled)
		return true;
	*revived = lappend(*revived, stored);
	return false;
}

/* Deliveries to an endpoint that is gone end as dead letters again. */
static void
bury_unknown(WoDispatcher *d, const WoCommandList *sends)
{
	WoBurial   *rows = palloc(Max(sends->n, 1) * sizeof(WoBurial));
	int			n = 0;

	for (int i = 0; i < sends->n; i++)
	{
		const WoCommand *command = sends->commands[i];
		WoEndpoint *endpoint = wo_router_find(command->endpoint_id);

		if (endpoint != NULL && !endpoint->is_deleted)
			continue;
		rows[n].event_id = command->event_id;
		rows[n].endpoint_id = command->endpoint_id;
		rows[n].name = command->endpoint_name;
		if (endpoint)
			rows[n].name = endpoint->name;
		else if (rows[n].name == NULL)
			rows[n].name = "(deleted)";
		n++;
	}
	wo_burial_bury(rows, n, d->now);
}

/* A cancelled delivery has its row: memory keeps it while it is in flight. */
static void
note_stored(WoDelivery *delivery)
{
	delivery->is_parking = false;
	if (!delivery->is_in_flight)
	{
		wo_settle_drop(delivery);
		return;
	}
	wo_delivery_mark_stored(delivery);
	wo_backlog_add(delivery);
}

/* It is to be sent again, and a request is under way: no longer cancelled. */
static void
revive(List *deliveries)
{
	ListCell   *cell;

	foreach(cell, deliveries)
	{
		WoDelivery *delivery = lfirst(cell);

		delivery->is_cancelled = false;
		delivery->schedule_step = 0;
	}
}

/* Stores cancelled deliveries and applies commands, in one transaction. */
static void
apply(WoDispatcher *d, const Batch *batch)
{
	int			n = list_length(batch->to_store);
	WoDelivery **deliveries = palloc(Max(n, 1) * sizeof(WoDelivery *));

	for (int i = 0; i < n; i++)
		deliveries[i] = list_nth(batch->to_store, i);
	wo_txn_begin("applying commands");
	if (n > 0)
		wo_ledger_cancel(deliveries, n);
	wo_command_apply(batch->todo, &batch->done);
	bury_unknown(d, &batch->todo[WO_COMMAND_SEND]);
	wo_txn_commit();
	for (int i = 0; i < n; i++)
		note_stored(deliveries[i]);
	revive(batch->revived);
	pfree(deliveries);
}

/* Rows of these lanes are due at another time: look at them again. */
static void
rewind_lanes(const WoCommandList *list, WoLaneKind kind)
{
	for (int i = 0; i < list->n; i++)
	{
		WoEndpoint *endpoint = wo_router_find(list->commands[i]->endpoint_id);

		if (endpoint)
			wo_lane_rewind(&endpoint->lanes[kind], list->commands[i]->due_at);
	}
}

/* Puts back what was to be cancelled. */
static void
requeue(List *deliveries)
{
	ListCell   *cell;

	foreach(cell, deliveries)
	{
		WoDelivery *delivery = lfirst(cell);

		delivery->is_parking = false;
		if (!delivery->is_in_flight)
			wo_endpoint_enqueue(delivery->endpoint, delivery);
	}
}

/* Applies commands; after an error memory is as it was. */
static void
apply_or_undo(WoDispatcher *d, const Batch *batch)
{
	PG_TRY();
	{
		apply(d, batch);
	}
	PG_CATCH();
	{
		/* they are found again by the command, which is still there */
		requeue(batch->to_store);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
append(WoCommandList *list, WoCommand *command)
{
	list->commands[list->n++] = command;
}

/* Lists a command with those of its kind, if there is anything to do. */
static void
sort_command(WoCommand *command, Batch *batch)
{
	append(&batch->done, command);
	/* a row whose event is lost is given up when it is tried */
	if (!command->has_event && command->kind != WO_COMMAND_RETRY)
		return;
	switch (command->kind)
	{
		case WO_COMMAND_SEND:
			if (is_under_way(command, &batch->revived))
				return;
			break;
		case WO_COMMAND_CANCEL:
			cancel_in_memory(command, batch);
			event_of(command)->is_cancelled = true;
			break;
		case WO_COMMAND_RETRY:
			break;
	}
	append(&batch->todo[command->kind], command);
}

/* Does the batch cancel what this command is to send again? */
static bool
undoes_cancel(const WoCommand *command)
{
	return command->kind == WO_COMMAND_SEND &&
		event_of(command)->is_cancelled;
}

/*
 * Obeys the first of n commands; returns how many.  Within a transaction a
 * cancel has the last word, whatever the order, so what is sent again after
 * one is left to the next.
 */
static int
obey_batch(WoDispatcher *d, WoCommand *commands, int n, Batch *batch)
{
	int			n_done;

	for (int kind = 0; kind < WO_N_COMMAND_KINDS; kind++)
		batch->todo[kind].n = 0;
	batch->done.n = 0;
	batch->to_store = batch->revived = NIL;
	for (int i = 0; i < n_named; i++)
		named[i].is_cancelled = false;
	find_stored(commands, n);
	for (n_done = 0; n_done < n && !undoes_cancel(&commands[n_done]); n_done++)
		sort_command(&commands[n_done], batch);
	apply_or_undo(d, batch);
	rewind_lanes(&batch->todo[WO_COMMAND_SEND], WO_LANE_FRESH);
	rewind_lanes(&batch->todo[WO_COMMAND_RETRY], WO_LANE_RETRY);
	return n_done;
}

/* Does what the commands that were read ask for. */
static void
obey(WoDispatcher *d, WoCommand *commands, int n)
{
	Batch		batch;
	int			n_done = 0;

	for (int kind = 0; kind < WO_N_COMMAND_KINDS; kind++)
		batch.todo[kind].commands = palloc(n * sizeof(WoCommand *));
	batch.done.commands = palloc(n * sizeof(WoCommand *));
	find_events(d->reader, commands, n);
	while (n_done < n)
		n_done += obey_batch(d, commands + n_done, n - n_done, &batch);
}

/* May it look for commands though nobody has announced any? */
bool
wo_obey_may_look(const WoDispatcher *d)
{
	/* The clock may have been set back. */
	return d->now >= unasked_at || unasked_at - d->now > UNASKED_US;
}

/* Reads commands, and notes how long that took. */
static int
read_commands(WoDispatcher *d, WoCommand *commands)
{
	int64		since = wo_clock_monotonic();
	int			n = wo_command_read(d->reader, commands, COMMANDS_AT_ONCE);

	unasked_at = d->now + Min((wo_clock_monotonic() - since) * UNASKED_SHARE,
							  UNASKED_US);
	return n;
}

static void
read_and_obey(WoDispatcher *d)
{
	WoCommand  *commands = palloc(COMMANDS_AT_ONCE * sizeof(WoCommand));
	int			n;

	/* Endpoints come along: a command may be about one that is new. */
	wo_txn_begin("reading commands");
	wo_intake_endpoints(d, d->reader->n_windows + 1);
	n = read_commands(d, commands);
	wo_txn_commit();
	wo_intake_follow_changes(d);
	/* Nor does a command find what that has parked but by its row. */
	wo_settle_record(d, true);
	if (wo_settle_has_pending())
		return;
	if (n > 0)
		obey(d, commands, n);
	if (!wo_command_obeyed(commands, n, COMMANDS_AT_ONCE))
		d->wants &= ~WO_WANT_COMMANDS;
}

/* Does what SQL functions asked for. */
void
wo_obey_commands(WoDispatcher *d)
{
	MemoryContext work;
	MemoryContext caller;

	/* What is about to be parked must be stored before it is looked for. */
	wo_settle_record(d, true);
	if (wo_settle_has_pending())
		return;
	work = AllocSetContextCreate(CurrentMemoryContext,
								 "webhook_outbox commands",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	read_and_obey(d);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}
