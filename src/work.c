/*-------------------------------------------------------------------------
 *
 * work.c
 *	  Life and death of the deliveries and events in memory.
 *
 * Layer 2.  An event lives while the reader's list holds it (window set) or
 * a delivery needs it; whoever lets go last frees it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "endpoint.h"
#include "work.h"

int			wo_n_open_deliveries = 0;
Size		wo_n_stored_bytes = 0;

static void
open_delivery(WoLogEvent *log)
{
	log->n_open++;
	wo_n_open_deliveries++;
}

static void
close_delivery(WoLogEvent *log)
{
	Assert(log->n_open > 0);
	log->n_open--;
	wo_n_open_deliveries--;
}

/* Makes a delivery of an event, in the current context. */
WoDelivery *
wo_delivery_create(WoEndpoint *endpoint, WoLogEvent *log)
{
	WoDelivery *delivery = palloc0(sizeof(WoDelivery));

	delivery->endpoint = endpoint;
	delivery->log = log;
	delivery->origin = "event";
	delivery->due_at = log->event.created_at;
	dlist_push_tail(&log->deliveries, &delivery->event_node);
	if (log->window)
		open_delivery(log);
	else
		delivery->is_stored = true;
	return delivery;
}

/* Says that a row of webhook_outbox.delivery covers it from now on. */
void
wo_delivery_mark_stored(WoDelivery *delivery)
{
	if (delivery->is_stored)
		return;
	delivery->is_stored = true;
	close_delivery(delivery->log);
}

/* Frees the event unless somebody still needs it. */
static void
let_go(WoLogEvent *log)
{
	if (log->window != NULL || !dlist_is_empty(&log->deliveries))
		return;
	wo_n_stored_bytes -= log->size;
	pfree(log);
}

/* Says that the event is in no window, or not any more. */
void
wo_log_event_leave_window(WoLogEvent *log)
{
	log->window = NULL;
	wo_n_stored_bytes += log->size;
	let_go(log);
}

/* Ends a delivery that is neither queued nor in flight. */
void
wo_delivery_free(WoDelivery *delivery)
{
	WoLogEvent *log = delivery->log;

	Assert(!delivery->is_queued);
	if (!delivery->is_stored)
		close_delivery(log);
	dlist_delete(&delivery->event_node);
	pfree(delivery);
	let_go(log);
}
