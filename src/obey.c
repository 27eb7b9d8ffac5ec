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
#include "command.h"
#include "dispatcher.h"
#include "ledger.h"
#include "router.h"
#include "txn.h"
#include "utils/memutils.h"

#define BURY_AT_ONCE		1000

/* Lists the deliveries in memory that a cancel command is about. */
static List *
deliveries_of(WoDispatcher *d, const WoCommand *command)
{
	List	   *found = wo_backlog_find_event(&command->event_id);
	dlist_iter	events;
	dlist_iter	iter;

	dlist_foreach(events, &d->reader->events)
	{
		WoLogEvent *log = dlist_container(WoLogEvent, log_node, events.cur);

		if (memcmp(&log->event.id, &command->event_id,
				   sizeof(pg_uuid_t)) != 0)
			continue;
		dlist_foreach(iter, &log->deliveries)
			found = list_append_unique_ptr(found,
										   dlist_container(WoDelivery,
														   event_node,
														   iter.cur));
	}
	return found;
}

/*
 * Cancels in memory.  What is in flight is left to end: delivered is
 * delivered, but there will be no retry.  Volatile ones go to *to_store.
 */
static void
cancel_in_memory(WoDispatcher *d, const WoCommand *command, List **to_store)
{
	ListCell   *cell;

	foreach(cell, deliveries_of(d, command))
	{
		WoDelivery *delivery = lfirst(cell);

		if (command->endpoint_id != 0 &&
			command->endpoint_id != delivery->endpoint->endpoint_id)
			continue;
		delivery->is_cancelled = true;
		if (!delivery->is_queued)
			continue;
		wo_endpoint_unqueue(delivery);
		*to_store = lappend(*to_store, delivery);
	}
}

/* Is the delivery that a send command asks for under way already? */
static bool
is_under_way(WoDispatcher *d, const WoCommand *command)
{
	ListCell   *cell;

	foreach(cell, deliveries_of(d, command))
	{
		WoDelivery *delivery = lfirst(cell);

		if (delivery->endpoint->endpoint_id == command->endpoint_id &&
			!delivery->is_cancelled)
			return true;
	}
	return false;
}

/* Deliveries to an endpoint that is gone end as dead letters again. */
static void
bury_unknown(WoDispatcher *d, const WoCommandList *sends)
{
	for (int i = 0; i < sends->n; i++)
	{
		int64		endpoint_id = sends->commands[i]->endpoint_id;
		WoEndpoint *endpoint = wo_router_find(endpoint_id);

		if (endpoint == NULL || endpoint->is_deleted)
			wo_ledger_bury_endpoint(endpoint_id, "(deleted)", BURY_AT_ONCE,
									d->now);
	}
}

/* Stores cancelled deliveries and applies commands, in one transaction. */
static void
apply(WoDispatcher *d, List *to_store, const WoCommandList *todo,
	  const WoCommandList *done)
{
	int			n = list_length(to_store);
	WoDelivery **deliveries = palloc(Max(n, 1) * sizeof(WoDelivery *));

	for (int i = 0; i < n; i++)
		deliveries[i] = list_nth(to_store, i);
	wo_txn_begin("applying commands");
	if (n > 0)
		wo_ledger_cancel(deliveries, n);
	wo_command_apply(todo, done);
	bury_unknown(d, &todo[WO_COMMAND_SEND]);
	wo_txn_commit();
	for (int i = 0; i < n; i++)
		wo_settle_drop(deliveries[i]);
	pfree(deliveries);
}

/* Rows of these lanes are due at another time: look at them again. */
static void
rewind_lanes(WoDispatcher *d, const WoCommandList *list, WoLaneKind kind)
{
	for (int i = 0; i < list->n; i++)
	{
		TimestampTz due_at = list->commands[i]->due_at;
		WoEndpoint *endpoint = wo_router_find(list->commands[i]->endpoint_id);

		if (endpoint == NULL)
			continue;
		wo_lane_rewind(&endpoint->lanes[kind], due_at);
		d->next_load_at = Min(d->next_load_at, due_at);
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

		wo_endpoint_enqueue(delivery->endpoint, delivery);
	}
}

/* Applies commands; after an error memory is as it was. */
static void
apply_or_undo(WoDispatcher *d, List *to_store, const WoCommandList *todo,
			  const WoCommandList *done)
{
	PG_TRY();
	{
		apply(d, to_store, todo, done);
	}
	PG_CATCH();
	{
		/* they are found again by the command, which is still there */
		requeue(to_store);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Must it wait until the reader has come to its event?  A retry need not:
 * either there is a row that waits, or nothing is to be done.
 */
static bool
is_early(WoDispatcher *d, const WoCommand *command)
{
	return command->has_event && command->kind != WO_COMMAND_RETRY &&
		!wo_reader_has_read(d->reader, &command->position);
}

static void
append(WoCommandList *list, WoCommand *command)
{
	list->commands[list->n++] = command;
}

/* Lists a command with those of its kind, if there is anything to do. */
static void
sort_command(WoDispatcher *d, WoCommand *command, WoCommandList *todo,
			 List **to_store)
{
	/* a row whose event is lost is given up when it is tried */
	if (!command->has_event && command->kind != WO_COMMAND_RETRY)
		return;
	switch (command->kind)
	{
		case WO_COMMAND_SEND:
			if (is_under_way(d, command))
				return;
			break;
		case WO_COMMAND_CANCEL:
			cancel_in_memory(d, command, to_store);
			break;
		case WO_COMMAND_RETRY:
			break;
	}
	append(&todo[command->kind], command);
}

/* Sorts commands that were read into those to apply and those to defer. */
static void
obey(WoDispatcher *d, WoCommand *commands, int n)
{
	WoCommandList todo[WO_N_COMMAND_KINDS];
	WoCommandList done;
	List	   *to_store = NIL;

	for (int kind = 0; kind < WO_N_COMMAND_KINDS; kind++)
	{
		todo[kind].commands = palloc(n * sizeof(WoCommand *));
		todo[kind].n = 0;
	}
	done.commands = palloc(n * sizeof(WoCommand *));
	done.n = 0;
	for (int i = 0; i < n; i++)
	{
		if (is_early(d, &commands[i]))
		{
			wo_command_defer(&commands[i]);
			continue;
		}
		append(&done, &commands[i]);
		sort_command(d, &commands[i], todo, &to_store);
	}
	if (done.n == 0)
		return;
	apply_or_undo(d, to_store, todo, &done);
	rewind_lanes(d, &todo[WO_COMMAND_SEND], WO_LANE_FRESH);
	rewind_lanes(d, &todo[WO_COMMAND_RETRY], WO_LANE_RETRY);
}

static void
read_and_obey(WoDispatcher *d)
{
	int			limit = wo_command_room();
	WoCommand  *commands;
	int			n;

	if (limit == 0)
		return;
	commands = palloc(limit * sizeof(WoCommand));
	/* Endpoints come along: a command may be about one that is new. */
	wo_txn_begin("reading commands");
	wo_intake_endpoints(d, d->reader->n_windows + 1);
	n = wo_command_read(commands, limit);
	wo_txn_commit();
	wo_intake_follow_changes(d);
	if (n < limit)
		d->wants &= ~WO_WANT_COMMANDS;
	if (n > 0)
		obey(d, commands, n);
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
