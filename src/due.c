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

/* When memory is used up by others, a lane is looked at again after this. */
#define LOAD_AGAIN_US		5000

/*
 * The whole backlog is looked at again this often, for clocks that step: some
 * lanes at a time, which takes a few milliseconds, and a pause follows.
 */
#define LOOK_INTERVAL_US	USECS_PER_MINUTE
#define LOOK_AT_ONCE		1000
#define LOOK_PAUSE_US		(10 * INT64CONST(1000))

static bool is_looking = false; /* not all lanes have been looked at yet */
static int64 look_from;			/* then, from this endpoint on */
static TimestampTz look_on_at;	/* ... the next of them, then */

/* Has its endpoint nothing in memory, and is this the lane to go first? */
static bool
is_first_of_idle(const WoLane *lane)
{
	const WoEndpoint *endpoint = lane->endpoint;
	const WoLane *other = &endpoint->lanes[1 - lane->kind];

	return endpoint->n_in_flight == 0 && other->n_queued == 0 &&
		lane->n_queued == 0 && lane->next_due_at <= other->next_due_at;
}

/*
 * How many bytes of events may be loaded for a lane; the last one may go
 * beyond.  What is loaded takes about as much as the window: a lane gets a
 * share of what is free, so that some is left for the others.  Beyond that an
 * endpoint has one delivery in memory at a time, until twice the size is used
 * up: then only what ends makes room.
 */
static Size
room_for_backlog(const WoLane *lane)
{
	Size		size = (Size) wo_window_size * 1024;

	if (wo_n_stored_bytes < size)
		return (size - wo_n_stored_bytes) / LOAD_SHARE + 1;
	return wo_n_stored_bytes < 2 * size && is_first_of_idle(lane) ? 1 : 0;
}

/* Has it as many in memory as it is going to need for a while? */
static bool
is_well_filled(const WoLane *lane)
{
	int			n_enough = Max(lane->endpoint->max_in_flight * LOAD_FACTOR,
							   LOAD_AT_LEAST);

	return lane->n_queued >= n_enough / 2;
}

/* When is a lane to be looked at again, if nothing wakes it before? */
static TimestampTz
look_again_at(const WoDispatcher *d, const WoLane *lane)
{
	if (!lane->endpoint->is_enabled || is_well_filled(lane))
		return DT_NOEND;
	if (lane->next_due_at > d->now)
		return lane->next_due_at;
	return d->now + (room_for_backlog(lane) > 0 ? 0 : LOAD_AGAIN_US);
}

/* Loads at most limit rows of a lane; returns what that cost, in rows. */
static int
load_rows(WoDispatcher *d, WoLane *lane, int limit)
{
	Size		room = room_for_backlog(lane);
	int			n;

	wo_txn_begin("loading due deliveries");
	limit = Min(limit, 1 + room / sizeof(WoLogEvent));
	n = wo_backlog_load(lane, d->now, limit, room);
	wo_txn_commit();
	wo_admission_make_ready(d, lane->endpoint);
	return LOAD_COST + n;
}

/* Looks at the whole backlog at once: what is known may be wrong. */
static void
look_at_all(WoDispatcher *d)
{
	is_looking = false;
	wo_txn_begin("looking at the backlog");
	wo_backlog_look_at_all();
	wo_txn_commit();
	d->must_look = false;
}

/* Looks at some more lanes. */
static void
look_on(WoDispatcher *d)
{
	look_on_at = d->now + LOOK_PAUSE_US;
	wo_txn_begin("looking at the backlog");
	is_looking = wo_backlog_look(&look_from, LOOK_AT_ONCE);
	wo_txn_commit();
}

/* Begins to look again, unless nothing at all has happened since. */
static void
look_again(WoDispatcher *d)
{
	static uint64 last_window = 0;

	d->next_look_at = d->now + LOOK_INTERVAL_US;
	if (d->reader->n_windows == last_window)
		return;
	last_window = d->reader->n_windows;
	is_looking = true;
	look_from = PG_INT64_MIN;
	look_on_at = d->now;
}

/* Looks at the backlog, if it is time. */
static void
look(WoDispatcher *d)
{
	if (d->now >= d->next_look_at && !is_looking)
		look_again(d);
	if (d->must_look)
		look_at_all(d);
	else if (is_looking && d->now >= look_on_at)
		look_on(d);
}

/*
 * Loads the lanes that have their turn, but not so many rows in one go that
 * events wait for it: then the next round goes on with the next lane.
 */
static void
load_lanes(WoDispatcher *d)
{
	WoLane	   *lane;
	int			cost = 0;

	while (cost < LOAD_AT_ONCE && (lane = wo_lane_to_look_at(d->now)) != NULL)
	{
		if (look_again_at(d, lane) == d->now)
			cost += load_rows(d, lane, LOAD_AT_ONCE - cost);
		wo_lane_looked(lane, d->now, look_again_at(d, lane));
	}
}

/* When is there something to look at? */
TimestampTz
wo_due_next(const WoDispatcher *d)
{
	return Min(is_looking ? look_on_at : d->next_look_at, wo_lane_next_look());
}

/* Loads deliveries whose time has come. */
void
wo_due_load(WoDispatcher *d)
{
	look(d);
	load_lanes(d);
	if (wo_backlog_has_lost())
	{
		wo_txn_begin("burying deliveries whose event is gone");
		wo_backlog_bury_lost(d->now);
		wo_txn_commit();
		wo_backlog_forget_lost();
	}
}
