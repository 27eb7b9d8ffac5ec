/*-------------------------------------------------------------------------
 *
 * sender.c
 *	  The process that speaks HTTP: takes orders, makes requests, reports.
 *
 * Layer 4.  A background worker without a database connection, started by
 * the dispatcher, which passes it the handle of a channel.  It decides
 * nothing: what is sent to whom and when, and what a failure means, is the
 * dispatcher's.
 *
 * A sender lives as long as its channel.  Asked to stop by an order it
 * finishes all that is in flight; asked by SIGTERM it asks for that order, so
 * that no order is lost on the way, and gives it all a few seconds; when the
 * dispatcher is gone nobody wants the results, so it leaves at once.  What is
 * lost thereby the dispatcher, or the next one, treats as attempts of unknown
 * outcome.
 *
 * While there is work the loop does not wait at all: it looks at the queue
 * and at the sockets in turn, which saves the dispatcher the system call that
 * wakes a sleeper.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "channel.h"
#include "clock.h"
#include "compat.h"
#include "fault.h"
#include "http.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "request.h"
#include "settings.h"
#include "signature.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define BEAT_INTERVAL_MS	1000	/* between two signs of life */
#define LONG_ROUND_MS		50	/* meanwhile nobody else has his turn */
#define FLUSH_SHARE			8	/* of what is in flight, in results */
#define FLUSH_AFTER_US		1000	/* though there are fewer */
#define SHUTDOWN_US			(5 * USECS_PER_SEC) /* after SIGTERM, to end */
#define RECKON_INTERVAL_US	(5 * USECS_PER_SEC) /* looks at limits, if short */
#define LOOK_INTERVAL_US	(60 * USECS_PER_SEC)	/* ... and files, anyhow */
#define ORDERS_PER_ROUND	32	/* then sockets get a turn */
#define ENDS_PER_ROUND		32	/* then orders do */
#define SPARE_DESCRIPTORS	64	/* for all that no request needs */
#define LOOKUP_DESCRIPTORS	(WO_HTTP_MAX_LOOKUPS * WO_HTTP_LOOKUP_FILES)

/* Who is told; what http.c does not know of it. */
typedef struct Target
{
	int64		endpoint_id;	/* hash key */
	WoBodyFormat format;
	char	   *headers;		/* palloc'd */
	WoSigner	signer;
	const char *problem;		/* why it cannot be signed for; else NULL */
	WoHttpTarget *http;
	int			max_in_flight;
	int			n_in_flight;
	dlist_head	waiting;		/* of WoKeptOrder, beyond max_in_flight */
} Target;

typedef struct Sender
{
	WoChannel  *channel;
	WoHttp	   *http;
	HTAB	   *targets;		/* Target, by endpoint_id */
	WaitEventSet *wait_set;
	TimestampTz now;			/* read once per round */
	int64		beat_at;		/* when the dispatcher was last told */
	int64		round_at;		/* when this round began; 0: it waited since */
	int64		stop_by;		/* to leave then, come what may */
	int			max_in_flight;	/* as descriptors permit */
	int64		reckoned_at;	/* when that was found (monotonic) */
	int			n_waiting;		/* orders that wait at their targets */
	bool		is_stopping;	/* takes no more orders */
	int			n_unflushed;	/* results queued since the last flush ... */
	int64		unflushed_at;	/* ... the first of them then (monotonic) */
	bool		is_clogged;		/* the dispatcher does not fetch results */
} Sender;

PGDLLEXPORT void wo_sender_main(Datum main_arg);

/*----------------------------------------------------------------------
 * Settings
 *----------------------------------------------------------------------
 */

/*
 * Return how many requests may be in flight: as many as the setting says,
 * unless there are too few descriptors.  Each needs one, and another one
 * while an old connection to another host is still being kept; some look up
 * a name.
 */
static int
permitted_in_flight(void)
{
	static int	n_told = 0;
	struct rlimit limit;
	rlim_t		needed = (rlim_t) wo_max_in_flight * 2;
	int			n_spare;
	int			n;

	needed += SPARE_DESCRIPTORS + LOOKUP_DESCRIPTORS;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
		return wo_max_in_flight;

	limit.rlim_cur = Min(needed, limit.rlim_max);
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= needed)
		return wo_max_in_flight;

	(void) getrlimit(RLIMIT_NOFILE, &limit);
	n_spare = (int) limit.rlim_cur - Min(SPARE_DESCRIPTORS,
										 (int) limit.rlim_cur / 2);
	/* where there are few of both, all may look up a name at once */
	n = Max(1, Max((n_spare - LOOKUP_DESCRIPTORS) / 2,
				   n_spare / (2 + WO_HTTP_LOOKUP_FILES)));
	if (n != n_told)
		ereport(LOG,
				(errmsg("webhook_outbox sender may open %llu files only, too few for %d requests at once: it makes %d",
						(unsigned long long) limit.rlim_cur, wo_max_in_flight,
						n),
				 errhint("Raise the limit of open files (ulimit -n), or lower webhook_outbox.max_in_flight.")));
	n_told = n;
	return n;
}

static void
read_settings(Sender *sender, WoHttpOptions *options)
{
	sender->max_in_flight = permitted_in_flight();
	sender->reckoned_at = wo_clock_monotonic();
	options->ca_file = wo_ca_file;
	options->max_in_flight = sender->max_in_flight;
	options->response_excerpt = wo_response_excerpt;
	options->proxy = wo_proxy;
	wo_settings_netguard(&options->guard);
}

static void
configure(Sender *sender)
{
	WoHttpOptions options;

	read_settings(sender, &options);
	wo_http_configure(sender->http, &options);
}

static void
reload(Sender *sender)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	configure(sender);
}

/* Looks at what changes without a reload: limits, and CA certificates. */
static void
look_again(Sender *sender)
{
	int64		passed = wo_clock_monotonic() - sender->reckoned_at;

	if (passed > LOOK_INTERVAL_US ||
		(passed > RECKON_INTERVAL_US && wo_http_take_shortage(sender->http)))
		configure(sender);
}

/*----------------------------------------------------------------------
 * Targets
 *----------------------------------------------------------------------
 */

static void
unload_target(Sender *sender, Target *target)
{
	wo_signature_unload(&target->signer);
	pfree(target->headers);
	wo_http_drop_target(sender->http, target->http);
}

static void
learn_target(Sender *sender, const WoTarget *source)
{
	bool		is_known;
	Target	   *target = hash_search(sender->targets, &source->endpoint_id,
									 HASH_ENTER, &is_known);

	if (is_known)
		unload_target(sender, target);
	else
	{
		target->n_in_flight = 0;
		dlist_init(&target->waiting);
	}
	target->max_in_flight = source->max_in_flight;
	target->format = source->format;
	target->headers = pstrdup(source->headers);
	target->problem = wo_signature_load(&target->signer, source->keys,
										source->n_keys);
	target->http = wo_http_add_target(sender->http, source);
}

static void
forget_target(Sender *sender, int64 endpoint_id)
{
	Target	   *target = hash_search(sender->targets, &endpoint_id,
									 HASH_FIND, NULL);

	if (target == NULL)
		return;
	unload_target(sender, target);
	hash_search(sender->targets, &endpoint_id, HASH_REMOVE, NULL);
}

/*----------------------------------------------------------------------
 * Requests
 *----------------------------------------------------------------------
 */

/* Reports an order that did not get as far as a request. */
static void
report_unsent(Sender *sender, const WoOrder *order, WoOutcome outcome,
			  const char *problem)
{
	WoResult	result = {0};

	result.slot = order->slot;
	result.generation = order->generation;
	result.outcome = outcome;
	result.started_at = sender->now;
	result.retry_after_s = -1;
	result.error = problem;
	result.response = "";
	wo_channel_queue_result(sender->channel, &result);
}

static void
start_request(Sender *sender, Target *target, const WoOrder *order)
{
	WoHttpRequest *slot;
	WoRequest	request;
	const char *problem;

	if (target->problem != NULL)
	{
		report_unsent(sender, order, WO_INVALID_REQUEST, target->problem);
		return;
	}

	request.event = &order->event;
	request.format = target->format;
	request.target_headers = target->headers;
	request.signer = &target->signer;
	request.now = sender->now;

	slot = wo_http_prepare(sender->http, target->http);
	problem = wo_request_build(&request, &slot->headers, &slot->body);
	if (problem != NULL)
	{
		wo_http_abandon(sender->http, slot);
		report_unsent(sender, order, WO_INVALID_REQUEST, problem);
		return;
	}
	slot->slot = order->slot;
	slot->generation = order->generation;
	slot->started_at = sender->now;
	slot->owner = target;
	target->n_in_flight++;
	wo_http_start(sender->http, slot);
}

/*
 * Sends an event, or keeps it until a request to that target has ended: the
 * dispatcher hands over a little more than may be in flight, so that the next
 * request need not wait for it.
 */
static void
send_event(Sender *sender, const WoOrder *order)
{
	Target	   *target = hash_search(sender->targets, &order->endpoint_id,
									 HASH_FIND, NULL);

	/* the dispatcher names a target before it sends to it: cannot happen */
	if (target == NULL)
	{
		report_unsent(sender, order, WO_UNKNOWN,
					  "the endpoint is not known to the sender");
		return;
	}
	if (target->n_in_flight < target->max_in_flight)
	{
		start_request(sender, target, order);
		return;
	}
	dlist_push_tail(&target->waiting, &wo_channel_keep_order(order)->node);
	sender->n_waiting++;
}

/* Starts what waits at a target, as far as it may. */
static void
start_waiting(Sender *sender, Target *target)
{
	while (target->n_in_flight < target->max_in_flight &&
		   !dlist_is_empty(&target->waiting))
	{
		dlist_node *node = dlist_pop_head_node(&target->waiting);
		WoKeptOrder *kept = dlist_container(WoKeptOrder, node, node);

		sender->n_waiting--;
		start_request(sender, target, &kept->order);
		wo_channel_drop_order(kept);
	}
}

static void
obey(Sender *sender, const WoOrder *order)
{
	switch (order->kind)
	{
		case WO_ORDER_TARGET:
			learn_target(sender, &order->target);
			break;
		case WO_ORDER_FORGET:
			forget_target(sender, order->endpoint_id);
			break;
		case WO_ORDER_SEND:
			send_event(sender, order);
			break;
		case WO_ORDER_STOP:
			sender->is_stopping = true;
			break;
	}
}

/*
 * Leave at once: the dispatcher is gone, and with it whoever wants results.
 */
static void
leave_deserted(void)
{
	proc_exit(1);
}

static bool
has_room(const Sender *sender)
{
	return !sender->is_clogged &&
		wo_http_n_in_flight(sender->http) < sender->max_in_flight;
}

/*
 * Take orders from the queue, as many as there is room for.  What is left
 * there holds the dispatcher back, as it should.  A sender that stops reads
 * on, to see when the dispatcher is gone, but obeys no more.
 */
static int
take_orders(Sender *sender)
{
	int			n = 0;

	while (n < ORDERS_PER_ROUND && (sender->is_stopping || has_room(sender)))
	{
		WoOrder		order;

		switch (wo_channel_receive_order(sender->channel, &order))
		{
			case WO_CHANNEL_OK:
				if (!sender->is_stopping)
					obey(sender, &order);
				n++;
				break;
			case WO_CHANNEL_WOULD_BLOCK:
				return n;
			case WO_CHANNEL_GONE:
				leave_deserted();
				break;
		}
	}
	return n;
}

static int
report_finished(Sender *sender)
{
	WoResult	result;
	void	   *owner;
	int			n = 0;

	while (n < ENDS_PER_ROUND &&
		   wo_http_next_finished(sender->http, &result, &owner))
	{
		Target	   *target = owner;

		WO_FAULT("after_send");
		wo_channel_queue_result(sender->channel, &result);
		target->n_in_flight--;
		start_waiting(sender, target);
		n++;
	}
	return n;
}

/*
 * Push what was queued.  While the dispatcher does not fetch results no new
 * orders are taken, so that what waits here stays bounded.
 */
static void
flush(Sender *sender)
{
	switch (wo_channel_flush(sender->channel))
	{
		case WO_CHANNEL_OK:
			sender->is_clogged = false;
			break;
		case WO_CHANNEL_WOULD_BLOCK:
			sender->is_clogged = true;
			break;
		case WO_CHANNEL_GONE:
			leave_deserted();
			break;
	}
}

/*----------------------------------------------------------------------
 * The loop
 *----------------------------------------------------------------------
 */

static void
beat(Sender *sender)
{
	int64		now = wo_clock_monotonic();

	if (sender->round_at != 0 &&
		now - sender->round_at > LONG_ROUND_MS * INT64CONST(1000))
		elog(DEBUG1, "a round of the sender's loop took %.1f ms",
			 (now - sender->round_at) / 1000.0);
	sender->round_at = now;
	if (now - sender->beat_at < BEAT_INTERVAL_MS / 2 * INT64CONST(1000))
		return;
	wo_channel_beat(sender->channel, now);
	sender->beat_at = now;
}

static void
notice_shutdown(Sender *sender)
{
	if (!ShutdownRequestPending || sender->stop_by != PG_INT64_MAX)
		return;
	wo_channel_set_leaving(sender->channel);
	sender->stop_by = sender->round_at + SHUTDOWN_US;
}

/* Has a sender that stops done what it had to, or no time left? */
static bool
is_done(const Sender *sender)
{
	if (sender->round_at >= sender->stop_by)
		return true;
	return sender->is_stopping && !sender->is_clogged &&
		sender->n_waiting == 0 && wo_http_n_in_flight(sender->http) == 0;
}

static void
wait_for_work(Sender *sender)
{
	WaitEvent	event;
	int			timeout = wo_http_timeout_ms(sender->http);

	if (timeout < 0 || timeout > BEAT_INTERVAL_MS)
		timeout = BEAT_INTERVAL_MS;
	Assert(!IsTransactionState());
	(void) WaitEventSetWait(sender->wait_set, timeout, &event, 1,
							PG_WAIT_EXTENSION);
	sender->round_at = 0;
}

/* One round; returns how much was done. */
static int
work(Sender *sender)
{
	int			n;
	int			n_ended;

	n = take_orders(sender);
	n += wo_http_step(sender->http);
	if (wo_http_n_in_flight(sender->http) > 0)
		WO_FAULT("mid_send");
	if (sender->n_unflushed == 0)
		sender->unflushed_at = sender->round_at;
	n_ended = report_finished(sender);
	sender->n_unflushed += n_ended;
	if (n_ended == ENDS_PER_ROUND)
		n++;					/* there may be more */

	/*
	 * Each flush may wake the dispatcher: gather some results, if busy.  But
	 * not for long: until it knows of them, the next events to these
	 * endpoints may have to wait, and those that keep us busy may be others.
	 */
	if (n == 0 || sender->is_clogged || sender->n_unflushed >=
		wo_http_n_in_flight(sender->http) / FLUSH_SHARE ||
		sender->round_at - sender->unflushed_at > FLUSH_AFTER_US)
	{
		flush(sender);
		sender->n_unflushed = 0;
	}
	return n;
}

static void
run(Sender *sender)
{
	for (;;)
	{
		int			n;

		/* before looking for work, so that what comes after it wakes us */
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload(sender);

		sender->now = GetCurrentTimestamp();
		beat(sender);
		notice_shutdown(sender);
		n = work(sender);
		look_again(sender);
		if (is_done(sender))
			return;
		if (n == 0)
			wait_for_work(sender);
	}
}

static void
set_up(Sender *sender, dsm_handle handle)
{
	WoHttpOptions options;
	HASHCTL		hash;

	sender->channel = wo_channel_attach(handle);
	if (sender->channel == NULL)
		leave_deserted();
	sender->stop_by = PG_INT64_MAX;
	read_settings(sender, &options);
	sender->http = wo_http_create(&options);

	hash.keysize = sizeof(int64);
	hash.entrysize = sizeof(Target);
	hash.hcxt = CurrentMemoryContext;
	sender->targets = hash_create("webhook_outbox targets", 64, &hash,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	sender->wait_set = CreateWaitEventSet(WO_WAIT_SET_OWNER, 3);
	AddWaitEventToSet(sender->wait_set, WL_LATCH_SET, PGINVALID_SOCKET,
					  MyLatch, NULL);
	AddWaitEventToSet(sender->wait_set, WL_EXIT_ON_PM_DEATH,
					  PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(sender->wait_set, WL_SOCKET_READABLE,
					  wo_http_epoll_fd(sender->http), NULL, NULL);
}

/*
 * Main function of a sender.  The argument is the handle of its channel.
 */
void
wo_sender_main(Datum main_arg)
{
	Sender		sender = {0};

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	/* lives as long as the process */
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext,
												"webhook_outbox sender",
												ALLOCSET_DEFAULT_SIZES));
	set_up(&sender, DatumGetUInt32(main_arg));
	run(&sender);

	/*
	 * No curl_multi_cleanup: it may wait for a resolver.  Nor does a sender
	 * that was asked to stop deserve a line in the log, which other codes
	 * than 0 get; it is registered not to be restarted anyway.
	 */
	proc_exit(0);
}
