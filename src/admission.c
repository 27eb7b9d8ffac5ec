/*-------------------------------------------------------------------------
 *
 * admission.c
 *	  What goes out: endpoints take turns, senders share the work.
 *
 * An endpoint may hold at most as many slots as are still free after it
 * (dynamic threshold): one that hangs with all its requests never takes the
 * last slots away from the others, and a single busy one gets half of all
 * without a setting.
 *
 * That is not enough when many are dead, each with requests that hang: before
 * anything is known of them they would hold all slots, one taking what the
 * others left.  So slots are set aside by pace.  Endpoints that do not answer
 * share a half of all slots, and each leaves seven of eight to the rest of
 * them; those that were not asked yet may take some more, but a few each;
 * those that answer slowly more still; and a quarter is for the quick ones
 * alone, whose slots come free within milliseconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "dispatcher.h"
#include "flight.h"
#include "senders.h"

/* An endpoint hands over so many before the next one has its turn. */
#define QUANTUM				16

/* Of an endpoint that was never asked so many requests are made at once. */
#define NEW_IN_FLIGHT		4

/* A silent endpoint may hold 1 of so many slots that are free for such. */
#define SILENT_SHARE		8

/* Puts an endpoint at the end of the line, if it could send. */
void
wo_admission_make_ready(WoDispatcher *d, WoEndpoint *endpoint)
{
	if (endpoint->is_ready || !wo_endpoint_can_send(endpoint, PG_INT32_MAX))
		return;
	dlist_push_tail(&d->ready, &endpoint->ready_node);
	endpoint->is_ready = true;
}

/* Takes an endpoint out of the line. */
void
wo_admission_forget(WoEndpoint *endpoint)
{
	if (!endpoint->is_ready)
		return;
	dlist_delete(&endpoint->ready_node);
	endpoint->is_ready = false;
}

/* How many requests an endpoint of this pace may have under way. */
static int
share_of_slots(WoPace pace)
{
	int			n_free = wo_flight_n_free(pace);

	if (pace == WO_PACE_SILENT || pace == WO_PACE_NEW)
		n_free = (n_free + SILENT_SHARE - 1) / SILENT_SHARE;
	return pace == WO_PACE_NEW ? Min(n_free, NEW_IN_FLIGHT) : n_free;
}

/* Sends a quantum from one endpoint; false: no sender can take more. */
static bool
send_quantum(WoDispatcher *d, WoEndpoint *endpoint)
{
	for (int i = 0; i < QUANTUM; i++)
	{
		WoPace		pace = wo_endpoint_pace(endpoint, d->now);
		int			sender = wo_senders_pick(endpoint);
		WoDelivery *delivery;
		uint32		slot;
		uint32		generation;

		if (sender < 0)
			return false;
		delivery = wo_endpoint_admit(endpoint, share_of_slots(pace), d->now);
		if (delivery == NULL)
			return true;
		slot = wo_flight_start(delivery, sender, pace, d->now, &generation);
		delivery->is_in_flight = true;
		wo_senders_send(sender, endpoint, slot, generation,
						&delivery->log->event);
	}
	return true;
}

/* Hands waiting deliveries to the senders while there is room. */
void
wo_admission_run(WoDispatcher *d)
{
	int			n_blocked = 0;
	int			n_ready = 0;
	dlist_iter	iter;

	if (d->is_stopping || d->is_stuck || dlist_is_empty(&d->ready))
		return;
	dlist_foreach(iter, &d->ready)
		n_ready++;
	while (!dlist_is_empty(&d->ready) && wo_flight_n_free(WO_PACE_QUICK) > 0 &&
		   n_blocked < n_ready)
	{
		WoEndpoint *endpoint = dlist_head_element(WoEndpoint, ready_node,
												  &d->ready);
		int			n_before = endpoint->n_in_flight;

		wo_admission_forget(endpoint);
		if (!send_quantum(d, endpoint))
		{
			wo_admission_make_ready(d, endpoint);
			break;
		}
		/* At its share of the slots, it waits in line for others to end. */
		wo_admission_make_ready(d, endpoint);
		n_blocked = endpoint->n_in_flight == n_before ? n_blocked + 1 : 0;
	}
	wo_senders_flush();
}
