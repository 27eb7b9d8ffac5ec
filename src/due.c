/*-------------------------------------------------------------------------
 *
 * due.c
 *	  What comes back from the backlog when its time has come.
 *
 * Each lane of an endpoint knows when its next row is due.  Rows are loaded a
 * few at a time, from one lane after the other, so that neither new events
 * wait for a backlog nor one endpoint's backlog for another's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backlog.h"
#include "dispatcher.h"
#include "router.h"
#include "settings.h"
#include "txn.h"
#include "utils/timestamp.h"

/* A lane is filled up to so many times what may be in flight, when low. */
#define LOAD_FACTOR			4
#define LOAD_AT_LEAST		256

/* One load may take 1/LOAD_SHARE of the memory that is free for such rows. */
#define LOAD_SHARE			8

/*
 * A round loads so many rows, which takes a few milliseconds; each load costs
 * as much as LOAD_COST of them.
 */
#define LOAD_AT_ONCE		64
#define LOAD_COST			16

/* A lane that was too full to load is looked at again after this. */
#define LOAD_AGAIN_US		5000

/* The whole backlog is looked at again this often, for clocks that step. */
#define LOOK_INTERVAL_US	USECS_PER_MINUTE

/* Has it nothing in memory, and is this the lane that is to go first? */
static bool
is_first_of_idle(const WoEndpoint *endpoint, WoLaneKind kind)
{
	const WoLane *other = &endpoint->lanes[1 - kind];

	return endpoint->n_in_flight == 0 && other->n_queued == 0 &&
		endpoint->lanes[kind].n_queued == 0 &&
		endpoint->lanes[kind].next_due_at <= other->next_due_at;
}

/*
 * How many bytes of events may be loaded for a lane; the last one may go
 * beyond.  What is loaded takes about as much as the window: a lane gets a
 * share of what is free, so that some is left for the others.  Beyond that an
 * endpoint has one delivery in memory at a time, until twice the size is used
 * up: then only what ends makes room.
 */
static Size
room_for_backlog(const WoEndpoint *endpoint, WoLaneKind kind)
{
	Size		size = (Size) wo_window_size * 1024;

	if (wo_n_stored_bytes < size)
		return (size - wo_n_stored_bytes) / LOAD_SHARE + 1;
	return wo_n_stored_bytes < 2 * size &&
		is_first_of_idle(endpoint, kind) ? 1 : 0;
}

/* Are rows due of a lane that has not enough of them in memory? */
static bool
wants_rows(const WoDispatcher *d, const WoEndpoint *endpoint, WoLaneKind kind)
{
	const WoLane *lane = &endpoint->lanes[kind];
	int			n_enough = Max(endpoint->max_in_flight * LOAD_FACTOR,
							   LOAD_AT_LEAST);

	return lane->next_due_at <= d->now && lane->n_queued < n_enough / 2 &&
		room_for_backlog(endpoint, kind) > 0;
}

/*
 * Loads at most limit rows of a lane if it wants some; returns what that cost,
 * in rows.
 */
static int
load_lane(WoDispatcher *d, WoEndpoint *endpoint, WoLaneKind kind, int limit)
{
	TimestampTz next_at;
	int			cost = 0;

	if (!endpoint->is_enabled)
		return 0;
	if (wants_rows(d, endpoint, kind))
	{
		Size		room = room_for_backlog(endpoint, kind);

		wo_txn_begin("loading due deliveries");
		cost = LOAD_COST +
			wo_backlog_load(endpoint, kind, d->now,
							Min(limit, 1 + room / sizeof(WoLogEvent)), room);
		wo_txn_commit();
		wo_admission_make_ready(d, endpoint);
	}
	next_at = endpoint->lanes[kind].next_due_at;
	if (next_at <= d->now)
		next_at = d->now + (wants_rows(d, endpoint, kind) ? 0 : LOAD_AGAIN_US);
	d->next_load_at = Min(d->next_load_at, next_at);
	return cost;
}

/* Looks at the whole backlog, unless nothing at all has happened since. */
static void
look_again(WoDispatcher *d)
{
	static uint64 last_window = 0;

	d->next_look_at = d->now + LOOK_INTERVAL_US;
	if (d->reader->n_windows == last_window && !d->must_look)
		return;
	d->must_look = false;
	last_window = d->reader->n_windows;
	wo_txn_begin("looking at the backlog");
	wo_backlog_look();
	wo_txn_commit();
	d->next_load_at = d->now;
}

/*
 * Loads the lanes of all endpoints, but not so many rows in one go that events
 * wait for it: then the next round goes on with the next lane.
 */
static void
load_lanes(WoDispatcher *d)
{
	static int	first = 0;
	List	   *endpoints = wo_router_endpoints();
	int			n = list_length(endpoints) * WO_N_LANES;
	int			cost = 0;
	int			i;

	d->next_load_at = d->next_look_at;
	for (i = 0; i < n && cost < LOAD_AT_ONCE; i++)
	{
		int			lane = (first + i) % n;

		cost += load_lane(d, list_nth(endpoints, lane / WO_N_LANES),
						  lane % WO_N_LANES, LOAD_AT_ONCE - cost);
	}
	if (i == n)
		return;
	first = (first + i) % n;
	d->next_load_at = d->now;
}

/* Loads deliveries whose time has come. */
void
wo_due_load(WoDispatcher *d)
{
	if (d->now >= d->next_look_at)
		look_again(d);
	if (d->now < d->next_load_at)
		return;
	load_lanes(d);
	if (wo_backlog_has_lost())
	{
		wo_txn_begin("burying deliveries whose event is gone");
		wo_backlog_bury_lost(d->now);
		wo_txn_commit();
		wo_backlog_forget_lost();
	}
}
