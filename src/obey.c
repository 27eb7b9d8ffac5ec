/*-------------------------------------------------------------------------
 *
 * obey.c
 *	  Does what SQL functions asked for: send again, cancel.
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
bury_unknown(WoDispatcher *d, WoCommand **sends, int n)
{
	for (int i = 0; i < n; i++)
	{
		WoEndpoint *endpoint = wo_router_find(sends[i]->endpoint_id);

		if (endpoint == NULL || endpoint->is_deleted)
			wo_ledger_bury_endpoint(sends[i]->endpoint_id, "(deleted)",
									BURY_AT_ONCE, d->now);
	}
}

/* Stores cancelled deliveries and applies commands, in one transaction. */
static void
apply(WoDispatcher *d, List *to_store, WoCommand **sends, int n_sends,
	  WoCommand **cancels, int n_cancels, WoCommand **done, int n_done)
{
	int			n = list_length(to_store);
	WoDelivery **deliveries = palloc(Max(n, 1) * sizeof(WoDelivery *));

	for (int i = 0; i < n; i++)
		deliveries[i] = list_nth(to_store, i);
	wo_txn_begin("applying commands");
	if (n > 0)
		wo_ledger_cancel(deliveries, n);
	wo_command_apply(sends, n_sends, cancels, n_cancels, done, n_done);
	bury_unknown(d, sends, n_sends);
	wo_txn_commit();
	for (int i = 0; i < n; i++)
		wo_settle_drop(deliveries[i]);
	pfree(deliveries);
}

/* Rows were added that are due at any time: look at these lanes again. */
static void
rewind_lanes(WoDispatcher *d, WoCommand **sends, int n)
{
	for (int i = 0; i < n; i++)
	{
		WoEndpoint *endpoint = wo_router_find(sends[i]->endpoint_id);

		if (endpoint == NULL)
			continue;
		wo_lane_rewind(&endpoint->lanes[WO_LANE_FRESH], sends[i]->due_at);
		d->next_load_at = Min(d->next_load_at, sends[i]->due_at);
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

/* Sorts commands that were read into those to apply and those to defer. */
static void
obey(WoDispatcher *d, WoCommand *commands, int n)
{
	WoCommand **sends = palloc(n * sizeof(WoCommand *));
	WoCommand **cancels = palloc(n * sizeof(WoCommand *));
	WoCommand **done = palloc(n * sizeof(WoCommand *));
	int			n_sends = 0;
	int			n_cancels = 0;
	int			n_done = 0;
	List	   *to_store = NIL;

	for (int i = 0; i < n; i++)
	{
		WoCommand  *command = &commands[i];

		if (command->has_event &&
			!wo_reader_has_read(d->reader, &command->position))
		{
			wo_command_defer(command);
			continue;
		}
		done[n_done++] = command;
		if (!command->has_event)
			continue;
		if (command->is_cancel)
		{
			cancel_in_memory(d, command, &to_store);
			cancels[n_cancels++] = command;
		}
		else if (!is_under_way(d, command))
			sends[n_sends++] = command;
	}
	PG_TRY();
	{
		if (n_done > 0)
			apply(d, to_store, sends, n_sends, cancels, n_cancels, done,
				  n_done);
	}
	PG_CATCH();
	{
		/* they are found again by the command, which is still there */
		requeue(to_store);
		PG_RE_THROW();
	}
	PG_END_TRY();
	rewind_lanes(d, sends, n_sends);
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
