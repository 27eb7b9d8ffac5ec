/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  What comes in: new events, for the endpoints that there are.
 *
 * New events are read a page at a time and routed in memory.  An endpoint
 * that has rows waiting in the table, or is paused, gets new ones parked
 * behind them.  When the window is full of events that somebody slow holds
 * back, what is old is parked too, so that the others' events can be read.
 * What was stored comes back by due.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backlog.h"
#include "command.h"
#include "credentials.h"
#include "dispatcher.h"
#include "fault.h"
#include "ledger.h"
#include "miscadmin.h"
#include "rollup.h"
#include "route.h"
#include "router.h"
#include "senders.h"
#include "settings.h"
#include "txn.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PAGE_EVENTS			200
#define RELIEVE_AT_ONCE		1000
#define RELIEVE_AFTER_US	USECS_PER_SEC

/* Fan-out is bounded too: so many deliveries in memory, about 100 MB. */
#define MAX_OPEN_DELIVERIES	500000

static int
compare_recorded(const void *a, const void *b)
{
	const WoRecorded *one = a;
	const WoRecorded *other = b;
	int			order = memcmp(&one->event_id, &other->event_id,
							   sizeof(pg_uuid_t));

	if (order != 0)
		return order;
	return (one->endpoint_id > other->endpoint_id) -
		(one->endpoint_id < other->endpoint_id);
}

static bool
is_recorded(const WoRecorded *recorded, int n, const pg_uuid_t *event_id,
			int64 endpoint_id)
{
	WoRecorded	key;

	if (n == 0)
		return false;
	memset(&key, 0, sizeof(key));
	key.event_id = *event_id;
	key.endpoint_id = endpoint_id;
	return bsearch(&key, recorded, n, sizeof(key), compare_recorded) != NULL;
}

/*
 * Owes an event to an endpoint: queues it, or parks it behind others.  If the
 * endpoint was deleted since, it is given up; if before, nothing is owed.
 */
static void
owe(WoDispatcher *d, WoEndpoint *endpoint, WoLogEvent *log)
{
	MemoryContext caller;
	WoDelivery *delivery;

	if (endpoint->is_deleted && log->position.xid >= endpoint->deleted_xid)
		return;
	caller = MemoryContextSwitchTo(d->context);
	delivery = wo_delivery_create(endpoint, log);
	MemoryContextSwitchTo(caller);
	if (endpoint->is_deleted)
		wo_settle_abandon(d, delivery, "endpoint_deleted");
	else if (wo_endpoint_has_backlog(endpoint, d->now))
		wo_settle_park(d, delivery);
	else
	{
		wo_endpoint_enqueue(endpoint, delivery);
		wo_admission_make_ready(d, endpoint);
	}
}

/* Owes an event to everybody who asked for it and has no record of it. */
static void
route(WoDispatcher *d, WoLogEvent *log, WoRecorded *recorded, int n_recorded)
{
	List	   *matches;
	ListCell   *cell;

	if (log->only_endpoint_id != 0)
	{
		WoEndpoint *only = wo_router_find(log->only_endpoint_id);

		matches = only ? list_make1(only) : NIL;
	}
	else
		matches = wo_router_match(&log->event, log->position.xid);
	if (matches == NIL && log->only_endpoint_id == 0)
		wo_rollup_add_untaken(&log->event, d->now);
	foreach(cell, matches)
	{
		WoEndpoint *endpoint = lfirst(cell);

		if (!is_recorded(recorded, n_recorded, &log->event.id,
						 endpoint->endpoint_id))
			owe(d, endpoint, log);
	}
	log->n_open--;
	if (wo_command_has_deferred() && wo_command_recall(&log->event.id))
		d->wants |= WO_WANT_COMMANDS;
}

/* What becomes of a delivery whose endpoint takes no more. */
static void
send_away(WoDispatcher *d, WoDelivery *delivery)
{
	WoEndpoint *endpoint = delivery->endpoint;
	WoLaneKind	kind = delivery->is_retry ? WO_LANE_RETRY : WO_LANE_FRESH;

	if (endpoint->is_deleted)
		wo_settle_abandon(d, delivery, "endpoint_deleted");
	else if (delivery->is_stored)
	{
		wo_lane_rewind(&endpoint->lanes[kind], d->now);
		wo_settle_drop(delivery);
	}
	else
		wo_settle_park(d, delivery);
}

/*
 * Clears what waits in memory for an endpoint that is paused or deleted: it
 * is parked or given up, and holds the cursor back no longer.
 */
static void
clear_queues(WoDispatcher *d, WoEndpoint *endpoint)
{
	wo_admission_forget(endpoint);
	for (int kind = 0; kind < WO_N_LANES; kind++)
	{
		WoLane	   *lane = &endpoint->lanes[kind];

		while (!dlist_is_empty(&lane->queue))
		{
			WoDelivery *delivery = dlist_head_element(WoDelivery, queue_node,
													  &lane->queue);

			wo_endpoint_unqueue(delivery);
			send_away(d, delivery);
		}
	}
}

static void
refresh(WoDispatcher *d, WoEndpoint *endpoint)
{
	if (!endpoint->is_enabled)
		clear_queues(d, endpoint);
	for (int kind = 0; kind < WO_N_LANES; kind++)
		wo_lane_wake(&endpoint->lanes[kind]);
	wo_admission_make_ready(d, endpoint);
}

/* Endpoints in the line may have been paused, or others resumed. */
static void
refresh_line(WoDispatcher *d)
{
	WoEndpoint *endpoint;
	ListCell   *cell;

	while ((endpoint = wo_router_next_changed()) != NULL)
	{
		refresh(d, endpoint);
		wo_router_followed(endpoint);
	}
	if (!d->must_refresh)
		return;
	foreach(cell, wo_router_endpoints())
	{
		endpoint = lfirst(cell);
		refresh(d, endpoint);
	}
	d->must_refresh = false;
}

/*
 * Takes changed endpoints over, after the transaction that loaded them.  If
 * that fails it is due still.
 */
void
wo_intake_follow_changes(WoDispatcher *d)
{
	if (!d->must_follow)
		return;
	d->n_held_endpoints = wo_credentials_tell_held(d->database,
												   wo_router_endpoints(),
												   wo_router_n_held());
	refresh_line(d);
	d->must_follow = false;
}

/* How many events may be read now. */
static int
room_for_events(WoDispatcher *d)
{
	if (d->reader->n_bytes >= (Size) wo_window_size * 1024 ||
		wo_n_open_deliveries >= MAX_OPEN_DELIVERIES)
		return 0;
	return wo_window_events - d->reader->n_events;
}

/* Is there no room to read on?  Little pages cost more than they bring. */
static bool
is_full(WoDispatcher *d, int room)
{
	return d->reader->n_events > 0 &&
		room < Min(PAGE_EVENTS, wo_window_events) / 2;
}

/*
 * Loads what changed in the configuration, the first time all of it, in the
 * open transaction.  wo_intake_follow_changes is due after it.
 */
void
wo_intake_endpoints(WoDispatcher *d, uint64 window)
{
	if (wo_router_load(!d->is_loaded, d->now, window))
		d->must_follow = true;
	if (!d->is_loaded)
		wo_backlog_look_at_all();
	d->is_loaded = true;
	d->wants &= ~WO_WANT_ENDPOINTS;
}

/* A page that was read, and what is known of it. */
typedef struct EventPage
{
	WoLogEvent *events[PAGE_EVENTS];
	int			n;
	WoRecorded *recorded;		/* from before a restart; NULL: none */
	int			n_recorded;
} EventPage;

/* Reads a page, and what was recorded of its events before a restart. */
static void
fill_page(WoDispatcher *d, int room, EventPage *page)
{
	WoReader   *reader = d->reader;
	Size		bytes = (Size) wo_window_size * 1024;
	int			n_widest = wo_route_widest();

	if (reader->reading == NULL || room == 0)
		return;
	/* Each event of the page may be owed to so many endpoints. */
	if (n_widest > 0)
		room = Min(room, Max(MAX_OPEN_DELIVERIES / n_widest, 1));
	page->n = wo_reader_read_page(reader, room, bytes - reader->n_bytes,
								  d->now, page->events);
	if (!wo_reader_may_be_recorded(reader, page->events, page->n))
		return;
	page->n_recorded = wo_ledger_find_recorded(page->events, page->n,
											   d->context, &page->recorded);
	qsort(page->recorded, page->n_recorded, sizeof(WoRecorded),
		  compare_recorded);
}

/*
 * Loads endpoints that changed, opens a window if the last one is read, and
 * reads a page of it, all under one snapshot.  Endpoints come first: an event
 * must find every endpoint that was committed with it.
 */
static void
read_page(WoDispatcher *d, int room, EventPage *page)
{
	WoReader   *reader = d->reader;
	bool		was_reading = reader->reading != NULL;
	uint64		window;
	bool		is_open;

	wo_txn_begin("reading events");
	is_open = wo_reader_open_window(reader);
	window = reader->n_windows + was_reading;
	if (!d->is_loaded || (is_open && !was_reading) ||
		(d->wants & WO_WANT_ENDPOINTS))
		wo_intake_endpoints(d, window);
	/* Something has ended since the last poll: perhaps a command. */
	if (is_open && d->is_polling && wo_obey_may_look(d))
		d->wants |= WO_WANT_COMMANDS;
	fill_page(d, room, page);
	wo_txn_commit();
}

/* Likewise; after an error nothing was read. */
static void
read_page_or_nothing(WoDispatcher *d, int room, EventPage *page)
{
	WoReaderMark mark;

	wo_reader_mark(d->reader, &mark);
	PG_TRY();
	{
		read_page(d, room, page);
	}
	PG_CATCH();
	{
		wo_reader_return_to(d->reader, &mark);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Reads new events and owes them to their endpoints: one page. */
void
wo_intake_events(WoDispatcher *d)
{
	EventPage	page;
	int			room = room_for_events(d);
	bool		is_new = d->reader->reading == NULL;

	if (is_full(d, room))
	{
		/* Changes of endpoints are looked at all the same. */
		if (!(d->wants & WO_WANT_ENDPOINTS))
			return;
		room = 0;
	}
	memset(&page, 0, sizeof(EventPage));
	read_page_or_nothing(d, room, &page);
	if (page.n > 0)
		WO_FAULT("after_read");
	for (int i = 0; i < page.n; i++)
		route(d, page.events[i], page.recorded, page.n_recorded);
	if (page.recorded)
		pfree(page.recorded);
	wo_intake_follow_changes(d);
	/* a window that was open before lacks what was announced since */
	if (is_new && !d->reader->reading)
		d->wants &= ~WO_WANT_EVENTS;
	wo_reader_settle(d->reader);
}

/* Could more events be read, should there be any? */
bool
wo_intake_has_room(WoDispatcher *d)
{
	return !is_full(d, room_for_events(d));
}

static bool
is_slow_to_settle(WoDispatcher *d)
{
	WoReader   *reader = d->reader;
	WoLogEvent *oldest;

	if (wo_intake_has_room(d))
		return false;
	oldest = dlist_head_element(WoLogEvent, log_node, &reader->events);
	return d->now - oldest->read_at > RELIEVE_AFTER_US;
}

/*
 * When the window is full and its oldest event is old, parks what is old, in
 * flight or not: its endpoint is slow, and others may have events to come.
 */
void
wo_intake_relieve(WoDispatcher *d)
{
	int			n = 0;
	dlist_iter	events;

	if (!is_slow_to_settle(d) || list_length(wo_router_endpoints()) < 2)
		return;
	dlist_foreach(events, &d->reader->events)
	{
		WoLogEvent *log = dlist_container(WoLogEvent, log_node, events.cur);
		dlist_iter	iter;

		if (n >= RELIEVE_AT_ONCE || d->now - log->read_at < RELIEVE_AFTER_US)
			break;
		dlist_foreach(iter, &log->deliveries)
		{
			WoDelivery *delivery = dlist_container(WoDelivery, event_node,
												   iter.cur);

			if (delivery->is_stored || delivery->is_parking ||
				!(delivery->is_queued || delivery->is_in_flight))
				continue;
			if (delivery->is_queued)
				wo_endpoint_unqueue(delivery);
			wo_settle_park(d, delivery);
			n++;
		}
	}
}
