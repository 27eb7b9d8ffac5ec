/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *	  An endpoint at run time: what it wants, what waits, what may go now.
 *
 * Layer 2: no SPI, no shared memory, no settings.  The dispatcher enqueues,
 * asks for the next delivery to send (admit) and reports the end (release).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "check.h"
#include "endpoint.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Retries get at most 1 of this many slots while first attempts wait. */
#define RETRY_SHARE			5

/* Requests are quick that take less, and the mean forgets so much of each. */
#define QUICK_MS			20.0f
#define SLOW_MS				1000.0f /* and slow that take as much */
#define SILENT_US			USECS_PER_SEC	/* without an end: silent */
#define SILENT_AFTER		2	/* requests without an answer, too: one is
								 * lost with every connection that breaks */
#define RECENT_SHARE		0.05f

/* Returns an endpoint without configuration, in the current context. */
WoEndpoint *
wo_endpoint_create(int64 endpoint_id)
{
	WoEndpoint *endpoint = palloc0(sizeof(WoEndpoint));

	endpoint->endpoint_id = endpoint_id;
	dlist_init(&endpoint->formers);
	endpoint->is_new = true;
	endpoint->recent_ms = QUICK_MS; /* until it has proved quick */
	for (int kind = 0; kind < WO_N_LANES; kind++)
		wo_lane_init(&endpoint->lanes[kind], endpoint, kind);
	return endpoint;
}

/* Frees it, and its configuration.  Nothing may be queued or in flight. */
void
wo_endpoint_free(WoEndpoint *endpoint)
{
	Assert(endpoint->n_in_flight == 0 && !endpoint->is_ready);
	for (int kind = 0; kind < WO_N_LANES; kind++)
	{
		Assert(endpoint->lanes[kind].n_queued == 0);
		wo_lane_clear(&endpoint->lanes[kind]);
	}
	MemoryContextDelete(endpoint->config_context);
	pfree(endpoint);
}

/* Returns how long after its first attempt the last may follow, at most. */
int64
wo_endpoint_longest_schedule(const WoEndpoint *endpoint)
{
	int64		sum_us = 0;

	for (int i = 0; i < endpoint->n_delays; i++)
		sum_us += endpoint->delays_us[i];
	return (int64) (sum_us * (1 + endpoint->jitter));
}

static WoLane *
lane_of(WoDelivery *delivery)
{
	return &delivery->endpoint->lanes[delivery->is_retry ? WO_LANE_RETRY :
									  WO_LANE_FRESH];
}

/* Puts a delivery at the end of its lane. */
void
wo_endpoint_enqueue(WoEndpoint *endpoint, WoDelivery *delivery)
{
	WoLane	   *lane = lane_of(delivery);

	Assert(!delivery->is_queued && delivery->endpoint == endpoint);
	dlist_push_tail(&lane->queue, &delivery->queue_node);
	lane->n_queued++;
	delivery->is_queued = true;
}

/* Takes a delivery out of its lane. */
void
wo_endpoint_unqueue(WoDelivery *delivery)
{
	WoLane	   *lane = lane_of(delivery);

	Assert(delivery->is_queued);
	dlist_delete(&delivery->queue_node);
	lane->n_queued--;
	delivery->is_queued = false;
	wo_lane_wake(lane);			/* there is room for more */
}

/*
 * How many may be handed to senders.  A quick endpoint gets some ahead, which
 * wait at the sender: there the next request starts when one has ended, not a
 * round through the dispatcher later.
 */
static int
hand_over_limit(const WoEndpoint *endpoint)
{
	return endpoint->max_in_flight +
		(endpoint->recent_ms < QUICK_MS ? endpoint->prefetch : 0);
}

/* Which lane goes next; NULL: none may.  See wo_endpoint_admit. */
static const WoLane *
next_lane(const WoEndpoint *endpoint, int limit)
{
	const WoLane *fresh = &endpoint->lanes[WO_LANE_FRESH];
	const WoLane *retry = &endpoint->lanes[WO_LANE_RETRY];
	int			slots = Min(limit, hand_over_limit(endpoint));
	int			retry_slots = Max(slots / RETRY_SHARE, 1);

	if (!endpoint->is_enabled || endpoint->n_in_flight >= slots)
		return NULL;
	if (retry->n_queued > 0 &&
		(fresh->n_queued == 0 ||
		 endpoint->n_retries_in_flight < retry_slots))
		return retry;
	return fresh->n_queued > 0 ? fresh : NULL;
}

/* Could this endpoint send one more, with at most limit in flight? */
bool
wo_endpoint_can_send(const WoEndpoint *endpoint, int limit)
{
	return next_lane(endpoint, limit) != NULL;
}

/*
 * Takes the delivery that goes next, with at most limit in flight at this
 * endpoint; NULL when none may.  The caller sends it, and releases it later.
 */
WoDelivery *
wo_endpoint_admit(WoEndpoint *endpoint, int limit, TimestampTz now)
{
	const WoLane *lane = next_lane(endpoint, limit);
	WoDelivery *delivery;

	if (lane == NULL)
		return NULL;
	delivery = dlist_head_element(WoDelivery, queue_node,
								  (dlist_head *) &lane->queue);
	wo_endpoint_unqueue(delivery);
	if (endpoint->n_in_flight++ == 0)
		endpoint->asked_at = now;
	if (delivery->is_retry)
		endpoint->n_retries_in_flight++;
	return delivery;
}

/* Gives back the slot of a delivery whose attempt has ended like this. */
void
wo_endpoint_release(WoEndpoint *endpoint, WoDelivery *delivery,
					const WoResult *result, TimestampTz now)
{
	endpoint->recent_ms += (result->total_ms - endpoint->recent_ms) *
		(endpoint->is_new ? 1 : RECENT_SHARE);
	endpoint->is_new = false;
	endpoint->asked_at = now;
	if (result->outcome == WO_DELIVERED || result->outcome == WO_HTTP_ERROR)
		endpoint->n_unanswered = 0;
	else if (endpoint->n_unanswered < SILENT_AFTER)
		endpoint->n_unanswered++;
	Assert(endpoint->n_in_flight > 0);
	endpoint->n_in_flight--;
	if (delivery->is_retry)
		endpoint->n_retries_in_flight--;
}

/*
 * Tells how long it is likely to keep a slot.  Whoever does not answer is
 * known for it long before the first request to it has timed out.
 */
WoPace
wo_endpoint_pace(const WoEndpoint *endpoint, TimestampTz now)
{
	if (endpoint->n_unanswered >= SILENT_AFTER ||
		(endpoint->n_in_flight > 0 && now - endpoint->asked_at > SILENT_US))
		return WO_PACE_SILENT;
	if (endpoint->is_new)
		return WO_PACE_NEW;
	return endpoint->recent_ms < SLOW_MS ? WO_PACE_QUICK : WO_PACE_SLOW;
}

/* Must a new event wait in the table, behind rows that are due already? */
bool
wo_endpoint_has_backlog(const WoEndpoint *endpoint, TimestampTz now)
{
	return !endpoint->is_enabled ||
		endpoint->lanes[WO_LANE_FRESH].next_due_at <= now;
}

/*
 * Do these event types, and this tenant (NULL: all), ask for an event?
 */
bool
wo_endpoint_asks(List *patterns, const char *tenant, const WoEvent *event)
{
	ListCell   *cell;

	if (tenant != NULL &&
		(event->tenant == NULL || strcmp(tenant, event->tenant) != 0))
		return false;
	foreach(cell, patterns)
	{
		if (wo_pattern_matches(lfirst(cell), event->type))
			return true;
	}
	return false;
}
