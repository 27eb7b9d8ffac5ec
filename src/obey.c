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
#include "lib/qunique.h"
#include "router.h"
#include "txn.h"
#include "utils/memutils.h"

/* Events wait while commands are carried out. */
#define COMMANDS_AT_ONCE	1000
#define BURY_AT_ONCE		1000

/* An event that commands are about, and where the reader has it. */
typedef struct Named
{
	pg_uuid_t	event_id;
	List	   *logs;			/* of WoLogEvent *: it can be stored twice */
} Named;

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

/* Lists the deliveries of a command's event that only the cursor covers. */
static List *
deliveries_read(const WoCommand *command)
{
	Named	   *event = bsearch(&command->event_id, named, n_named,
								sizeof(Named), compare_named);
	List	   *found = NIL;
	ListCell   *cell;

	foreach(cell, event->logs)
	{
		WoLogEvent *log = lfirst(cell);
		dlist_iter	iter;

		dlist_foreach(iter, &log->deliveries)
			found = lappend(found, dlist_container(WoDelivery, event_node,
												   iter.cur));
	}
	return found;
}

/* Lists the deliveries in memory that a cancel command is about. */
static List *
deliveries_of(const WoCommand *command)
{
	return list_concat_unique_ptr(wo_backlog_find_event(&command->event_id),
								  deliveries_read(command));
}

/*
 * Cancels in memory.  What is in flight is left to end: delivered is
 * delivered, but there will be no retry.  Volatile ones go to *to_store.
 */
static void
cancel_in_memory(const WoCommand *command, List **to_store)
{
	ListCell   *cell;

	foreach(cell, deliveries_of(command))
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
is_under_way(const WoCommand *command)
{
	WoDelivery *stored = wo_backlog_find(&command->event_id,
										 command->endpoint_id);
	ListCell   *cell;

	if (stored != NULL && !stored->is_cancelled)
		return true;
	foreach(cell, deliveries_read(command))
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

static void
append(WoCommandList *list, WoCommand *command)
{
	list->commands[list->n++] = command;
}

/* Lists a command with those of its kind, if there is anything to do. */
static void
sort_command(WoCommand *command, WoCommandList *todo, List **to_store)
{
	/* a row whose event is lost is given up when it is tried */
	if (!command->has_event && command->kind != WO_COMMAND_RETRY)
		return;
	switch (command->kind)
	{
		case WO_COMMAND_SEND:
			if (is_under_way(command))
				return;
			break;
		case WO_COMMAND_CANCEL:
			cancel_in_memory(command, to_store);
			break;
		case WO_COMMAND_RETRY:
			break;
	}
	append(&todo[command->kind], command);
}

/* Does what the commands that were read ask for. */
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
	find_events(d->reader, commands, n);
	for (int i = 0; i < n; i++)
	{
		append(&done, &commands[i]);
		sort_command(&commands[i], todo, &to_store);
	}
	apply_or_undo(d, to_store, todo, &done);
	rewind_lanes(d, &todo[WO_COMMAND_SEND], WO_LANE_FRESH);
	rewind_lanes(d, &todo[WO_COMMAND_RETRY], WO_LANE_RETRY);
}

static void
read_and_obey(WoDispatcher *d)
{
	WoCommand  *commands = palloc(COMMANDS_AT_ONCE * sizeof(WoCommand));
	int			n;

	/* Endpoints come along: a command may be about one that is new. */
	wo_txn_begin("reading commands");
	wo_intake_endpoints(d, d->reader->n_windows + 1);
	n = wo_command_read(d->reader, commands, COMMANDS_AT_ONCE);
	wo_txn_commit();
	wo_intake_follow_changes(d);
	if (n < COMMANDS_AT_ONCE)
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
