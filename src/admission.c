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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "dispatcher.h"
#include "flight.h"
#include "senders.h"

/* An endpoint hands over so many before the next one has its turn. */
#define QUANTUM				16

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

static void
hand_over(WoDispatcher *d, WoDelivery *delivery, int sender)
{
	uint32		generation;
	uint32		slot = wo_flight_start(delivery, sender, d->now, &generation);

	delivery->is_in_flight = true;
	wo_senders_send(sender, delivery->endpoint, slot, generation,
					&delivery->log->event);
}

/* Sends a quantum from one endpoint; false: no sender can take more. */
static bool
send_quantum(WoDispatcher *d, WoEndpoint *endpoint)
{
	for (int i = 0; i < QUANTUM; i++)
	{
		WoDelivery *delivery;
		int			sender = wo_senders_pick(endpoint);

		if (sender < 0)
			return false;
		delivery = wo_endpoint_admit(endpoint, Max(wo_flight_n_free(), 1));
		if (delivery == NULL)
			return true;
		hand_over(d, delivery, sender);
		if (wo_flight_n_free() == 0)
			return true;
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
	while (!dlist_is_empty(&d->ready) && wo_flight_n_free() > 0 &&
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
