/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  When the rows of a lane are to be looked at.
 *
 * Of ten thousand endpoints a few have rows that are due.  Lanes that have any
 * rows stand in a heap by the time when somebody is to look at them (due.c
 * does), so that the others cost nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lane.h"

/* The one to be looked at first is the heap's first. */
static int
compare_looks(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const WoLane *first = pairingheap_const_container(WoLane, look_node, a);
	const WoLane *second = pairingheap_const_container(WoLane, look_node, b);

	return (first->look_at < second->look_at) -
		(first->look_at > second->look_at);
}

static pairingheap looks = {compare_looks, NULL, NULL};

static void
look_at(WoLane *lane, TimestampTz at)
{
	if (at == lane->look_at)
		return;
	if (lane->look_at != DT_NOEND)
		pairingheap_remove(&looks, &lane->look_node);
	lane->look_at = at;
	if (lane->look_at != DT_NOEND)
		pairingheap_add(&looks, &lane->look_node);
}

/* Makes an empty lane, without rows. */
void
wo_lane_init(WoLane *lane, struct WoEndpoint *endpoint, WoLaneKind kind)
{
	lane->endpoint = endpoint;
	lane->kind = kind;
	dlist_init(&lane->queue);
	lane->n_queued = 0;
	lane->look_at = DT_NOEND;
	wo_lane_clear(lane);
}

/* Says that it has no rows.  What was read of the clock is forgotten, too. */
void
wo_lane_clear(WoLane *lane)
{
	lane->next_due_at = DT_NOEND;
	lane->looked_at = DT_NOBEGIN;
	lane->bound_at = DT_NOBEGIN;
	memset(&lane->bound_id, 0, sizeof(pg_uuid_t));
	look_at(lane, DT_NOEND);
}

/*
 * Has somebody look when its next row is due.  Those that are due already have
 * their turn after those that have waited for longer.
 */
void
wo_lane_wake(WoLane *lane)
{
	if (lane->next_due_at != DT_NOEND)
		look_at(lane, Min(lane->look_at,
						  Max(lane->next_due_at, lane->looked_at)));
}

static void
forget_bound(WoLane *lane)
{
	lane->bound_at = DT_NOBEGIN;
	memset(&lane->bound_id, 0, sizeof(pg_uuid_t));
}

/*
 * Says that a row due then was added.  One that was due later can have been
 * taken since that was decided: then the table is looked at from the start.
 */
void
wo_lane_due_by(WoLane *lane, TimestampTz due_at)
{
	if (due_at <= lane->bound_at)
		forget_bound(lane);
	lane->next_due_at = Min(lane->next_due_at, due_at);
	wo_lane_wake(lane);
}

/* Says that a row due then was added: look at the table from the start. */
void
wo_lane_rewind(WoLane *lane, TimestampTz due_at)
{
	forget_bound(lane);
	wo_lane_due_by(lane, due_at);
}

/* Says that somebody has looked, and will again; DT_NOEND: when woken. */
void
wo_lane_looked(WoLane *lane, TimestampTz now, TimestampTz again_at)
{
	lane->looked_at = now;
	look_at(lane, again_at);
}

/* Returns the lane that has its turn; NULL: none has. */
WoLane *
wo_lane_to_look_at(TimestampTz now)
{
	return wo_lane_next_look() <= now ?
		pairingheap_container(WoLane, look_node, pairingheap_first(&looks)) :
		NULL;
}

/* When has a lane its turn?  DT_NOEND: not before one is woken. */
TimestampTz
wo_lane_next_look(void)
{
	if (pairingheap_is_empty(&looks))
		return DT_NOEND;
	return pairingheap_container(WoLane, look_node,
								 pairingheap_first(&looks))->look_at;
}
