/*-------------------------------------------------------------------------
 *
 * senders.c
 *	  The dispatcher's pool of sender processes.
 *
 * A sender lives through these states:
 *
 *	NONE -start-> STARTING -attached-> RUNNING -detached-> DEAD -buried-> NONE
 *	                  `-----never came up--------------------^
 *
 * DEAD lasts until the dispatcher has recorded what the sender held as
 * attempts of unknown outcome.  A sender that stops by order or signal goes
 * the same way and holds nothing then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "clock.h"
#include "miscadmin.h"
#include "router.h"
#include "senders.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "worker.h"

/* A new start waits so long after a death, doubling while deaths go on. */
#define FIRST_BACKOFF_US	INT64CONST(100000)
#define LAST_BACKOFF_US		INT64CONST(30000000)
#define START_TIMEOUT_US	INT64CONST(10000000)
#define HUNG_AFTER_US		INT64CONST(30000000)

/* No more orders are handed to a sender that lags by so many bytes. */
#define MAX_CHANNEL_BACKLOG	(256 * 1024)

/* An endpoint stays at its home sender unless that has so many more. */
#define HOME_ADVANTAGE		16

/* Slots of an endpoint are shared out among senders if each gets so many. */
#define SHARE_AT_LEAST		16

typedef enum SenderState
{
	SENDER_NONE,
	SENDER_STARTING,
	SENDER_RUNNING,
	SENDER_DEAD
} SenderState;

typedef struct Sender
{
	SenderState state;
	bool		is_stopping;	/* was told to stop */
	WoChannel  *channel;		/* NULL in SENDER_NONE */
	BackgroundWorkerHandle *handle; /* NULL in SENDER_NONE */
	int			n_in_flight;
	int64		since;			/* when the state was entered (monotonic) */
	TimestampTz entered_at;		/* the same, for people */
	int64		next_start_at;	/* monotonic */
	int64		backoff_us;
} Sender;

static Sender senders[WO_MAX_SENDERS];
static int	n_senders = 0;		/* wanted */
static WoDatabase *my_database;
static bool is_changed = false; /* a state, since it was asked for */
static bool is_short = false;	/* the last one could not be started */

/* Called once, when the dispatcher starts. */
void
wo_senders_create(WoDatabase *database)
{
	my_database = database;
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	memset(database->senders, 0, sizeof(database->senders));
	LWLockRelease(wo_registry->lock);
}

static void
enter(Sender *sender, SenderState state)
{
	sender->state = state;
	sender->since = wo_clock_monotonic();
	sender->entered_at = GetCurrentTimestamp();
	is_changed = true;
}

/* Has a sender entered another state since the last call? */
bool
wo_senders_take_changed(void)
{
	bool		result = is_changed;

	is_changed = false;
	return result;
}

static bool
register_worker(int number, Sender *sender)
{
	BackgroundWorker worker;

	wo_worker_describe(&worker, "sender", "wo_sender_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;	/* it has no database */
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(wo_channel_handle(sender->channel));
	snprintf(worker.bgw_name, BGW_MAXLEN,
			 "webhook_outbox sender %d of database %u", number + 1,
			 my_database->database_id);
	return RegisterDynamicBackgroundWorker(&worker, &sender->handle);
}

/*
 * Tells why no sender can be started, the log once: it will be tried again.
 */
static void
complain(const char *error, const char *hint)
{
	if (!is_short)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("webhook_outbox cannot start a sender: %s", error),
				 errhint("%s", hint)));
	is_short = true;
}

/* Makes a channel; NULL when there is no shared memory for it. */
static WoChannel *
try_channel(void)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	WoChannel  *volatile channel = NULL;

	PG_TRY();
	{
		channel = wo_channel_create();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_DISK_FULL &&
			error->sqlerrcode != ERRCODE_OUT_OF_MEMORY &&
			error->sqlerrcode != ERRCODE_INSUFFICIENT_RESOURCES)
			PG_RE_THROW();
		FlushErrorState();
		wo_registry_set_error(my_database, error->message);
		complain(error->message,
				 "It takes 2 MB of shared memory, in /dev/shm as a rule: make room there. It is tried again by itself.");
		FreeErrorData(error);
	}
	PG_END_TRY();
	return channel;
}

/* SENDER_NONE to SENDER_STARTING, or stays when there is something short. */
static void
start_sender(int number, int64 now)
{
	Sender	   *sender = &senders[number];
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	Assert(sender->state == SENDER_NONE);
	/* not again at once, should there be no memory for a channel or no slot */
	sender->next_start_at = now + LAST_BACKOFF_US / 10;
	sender->channel = try_channel();
	if (sender->channel != NULL && register_worker(number, sender))
	{
		enter(sender, SENDER_STARTING);
		is_short = false;
	}
	else if (sender->channel != NULL)
	{
		wo_channel_destroy(sender->channel);
		sender->channel = NULL;
		wo_registry_set_error(my_database,
							  "no worker slot is free for a sender: raise max_worker_processes");
		complain("no worker slot is free",
				 "Raise max_worker_processes and restart the server.");
	}
	MemoryContextSwitchTo(caller);
}

/* Any state with a channel to SENDER_DEAD. */
static void
declare_dead(Sender *sender)
{
	Assert(sender->state == SENDER_STARTING ||
		   sender->state == SENDER_RUNNING);
	if (sender->state == SENDER_RUNNING &&
		wo_clock_monotonic() - sender->since > LAST_BACKOFF_US)
		sender->backoff_us = 0; /* it ran well for a while */
	enter(sender, SENDER_DEAD);
}

/* SENDER_STARTING to SENDER_RUNNING, or to SENDER_DEAD. */
static void
watch_start(Sender *sender, int64 now)
{
	pid_t		pid;
	BgwHandleStatus status;

	Assert(sender->state == SENDER_STARTING);
	if (wo_channel_is_attached(sender->channel))
	{
		enter(sender, SENDER_RUNNING);
		return;
	}
	status = GetBackgroundWorkerPid(sender->handle, &pid);
	if (status == BGWH_STOPPED || now - sender->since > START_TIMEOUT_US)
		declare_dead(sender);
}

/* A sender whose loop stands still for long is asked to end. */
static void
watch_beat(int number, int64 now)
{
	Sender	   *sender = &senders[number];

	if (now - wo_channel_last_beat(sender->channel) < HUNG_AFTER_US ||
		now - sender->since < HUNG_AFTER_US)
		return;
	ereport(LOG,
			(errmsg("webhook_outbox sender %d hangs and is being replaced",
					number + 1)));
	wo_registry_set_error(my_database, "a sender hung and was replaced");
	TerminateBackgroundWorker(sender->handle);
	declare_dead(sender);
}

static void
order_stop(Sender *sender)
{
	WoOrder		order;

	if (sender->state != SENDER_RUNNING || sender->is_stopping)
		return;
	memset(&order, 0, sizeof(order));
	order.kind = WO_ORDER_STOP;
	wo_channel_queue_order(sender->channel, &order);
	sender->is_stopping = true;
}

/* The number of senders has changed: so has each one's share. */
static void
tell_targets_again(void)
{
	ListCell   *cell;

	foreach(cell, wo_router_endpoints())
	{
		WoEndpoint *endpoint = lfirst(cell);

		memset(endpoint->told_version, 0, sizeof(endpoint->told_version));
	}
}

/* Starts what should run, watches what does, stops what is too much. */
void
wo_senders_maintain(int n_wanted)
{
	int64		now = wo_clock_monotonic();

	if (n_senders != n_wanted)
		tell_targets_again();
	n_senders = n_wanted;
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		Sender	   *sender = &senders[i];

		switch (sender->state)
		{
			case SENDER_NONE:
				if (i < n_wanted && now >= sender->next_start_at)
					start_sender(i, now);
				break;
			case SENDER_STARTING:
				watch_start(sender, now);
				break;
			case SENDER_RUNNING:
				if (wo_channel_is_leaving(sender->channel))
					order_stop(sender);
				watch_beat(i, now);
				break;
			case SENDER_DEAD:
				break;
		}
		if (i >= n_wanted)
			order_stop(sender);
	}
}

static bool
can_take(const Sender *sender)
{
	return sender->state == SENDER_RUNNING && !sender->is_stopping &&
		wo_channel_backlog(sender->channel) < MAX_CHANNEL_BACKLOG;
}

/*
 * Picks who sends to an endpoint: its home, where connections are open, or
 * one that has clearly less to do.  -1: none can take more now.
 */
int
wo_senders_pick(const WoEndpoint *endpoint)
{
	/* unsigned: who disables triggers can store a number below 0 */
	int			home = (int) ((uint64) endpoint->endpoint_id % n_senders);
	int			best = -1;

	for (int i = 0; i < n_senders; i++)
	{
		if (can_take(&senders[i]) &&
			(best < 0 ||
			 senders[i].n_in_flight < senders[best].n_in_flight))
			best = i;
	}
	if (best >= 0 && can_take(&senders[home]) &&
		senders[home].n_in_flight <=
		senders[best].n_in_flight + HOME_ADVANTAGE)
		return home;
	return best;
}

/*
 * How many requests one sender may have open to an endpoint, and (prefetch)
 * how many more are handed over in all.  With few to share, the dispatcher
 * alone counts, and hands over no more than may be in flight.
 */
static int
share_in_flight(WoEndpoint *endpoint)
{
	int			share = endpoint->max_in_flight / n_senders;

	if (share < SHARE_AT_LEAST)
	{
		endpoint->prefetch = 0;
		return endpoint->max_in_flight;
	}
	endpoint->prefetch = endpoint->max_in_flight / 2;
	return share;
}

/* Hands a request to a sender, and the endpoint first if it changed. */
void
wo_senders_send(int number, WoEndpoint *endpoint, uint32 slot,
				uint32 generation, const WoEvent *event)
{
	Sender	   *sender = &senders[number];
	WoOrder		order;

	memset(&order, 0, offsetof(WoOrder, target));
	order.endpoint_id = endpoint->endpoint_id;
	if (endpoint->told_version[number] != endpoint->version)
	{
		order.kind = WO_ORDER_TARGET;
		order.target = endpoint->target;
		order.target.max_in_flight = share_in_flight(endpoint);
		wo_channel_queue_order(sender->channel, &order);
		endpoint->told_version[number] = endpoint->version;
	}
	order.kind = WO_ORDER_SEND;
	order.slot = slot;
	order.generation = generation;
	order.event = *event;
	wo_channel_queue_order(sender->channel, &order);
	sender->n_in_flight++;
	my_database->senders[number].n_sent++;
}

/* Tells all senders that an endpoint is gone. */
void
wo_senders_forget(int64 endpoint_id)
{
	WoOrder		order;

	memset(&order, 0, sizeof(order));
	order.kind = WO_ORDER_FORGET;
	order.endpoint_id = endpoint_id;
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		if (senders[i].state == SENDER_RUNNING)
			wo_channel_queue_order(senders[i].channel, &order);
	}
}

/* Moves all queued orders on their way. */
void
wo_senders_flush(void)
{
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		if (senders[i].state == SENDER_RUNNING &&
			wo_channel_backlog(senders[i].channel) > 0)
			(void) wo_channel_flush(senders[i].channel);
	}
}

/*
 * Receives the next result of any sender; false: there is none now.  A sender
 * is found dead only after its last result was received.
 */
bool
wo_senders_receive(WoResult *result, int *number)
{
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		Sender	   *sender = &senders[i];
		WoChannelStatus status;

		if (sender->state != SENDER_RUNNING)
			continue;
		status = wo_channel_receive_result(sender->channel, result);
		if (status == WO_CHANNEL_GONE)
			declare_dead(sender);
		if (status != WO_CHANNEL_OK)
			continue;
		sender->n_in_flight--;
		*number = i;
		return true;
	}
	return false;
}

/* Returns a dead sender whose work the dispatcher must account for, or -1. */
int
wo_senders_next_dead(void)
{
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		if (senders[i].state == SENDER_DEAD)
			return i;
	}
	return -1;
}

/* SENDER_DEAD to SENDER_NONE.  Its work has been accounted for. */
void
wo_senders_bury(int number)
{
	Sender	   *sender = &senders[number];
	bool		was_told = wo_channel_is_leaving(sender->channel);
	bool		was_wanted = !sender->is_stopping || was_told;
	ListCell   *cell;

	Assert(sender->state == SENDER_DEAD);
	wo_channel_destroy(sender->channel);
	sender->channel = NULL;
	pfree(sender->handle);
	sender->handle = NULL;
	sender->n_in_flight = 0;
	sender->is_stopping = false;
	/* an end by SIGTERM is no failure */
	sender->backoff_us = sender->backoff_us == 0 || was_told ?
		FIRST_BACKOFF_US : Min(sender->backoff_us * 2, LAST_BACKOFF_US);
	sender->next_start_at = wo_clock_monotonic() +
		(was_wanted ? sender->backoff_us : 0);
	enter(sender, SENDER_NONE);
	if (was_wanted)
		my_database->senders[number].n_restarts++;
	foreach(cell, wo_router_endpoints())
		((WoEndpoint *) lfirst(cell))->told_version[number] = 0;
}

/* Is there none, and none to be had? */
bool
wo_senders_are_short(void)
{
	return is_short && wo_senders_n_live() == 0;
}

/* How many senders are starting or running. */
int
wo_senders_n_live(void)
{
	int			n = 0;

	for (int i = 0; i < WO_MAX_SENDERS; i++)
		n += senders[i].state == SENDER_STARTING ||
			senders[i].state == SENDER_RUNNING;
	return n;
}

/* Is there none that starts or ends? */
bool
wo_senders_all_running(void)
{
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		if (senders[i].state == SENDER_STARTING ||
			senders[i].state == SENDER_DEAD)
			return false;
	}
	return true;
}

/* Shows the senders' state in shared memory.  Caller holds the lock. */
void
wo_senders_publish(void)
{
	my_database->n_senders = n_senders;
	for (int i = 0; i < WO_MAX_SENDERS; i++)
	{
		WoSenderEntry *entry = &my_database->senders[i];
		pid_t		pid = 0;

		if (senders[i].state == SENDER_RUNNING &&
			GetBackgroundWorkerPid(senders[i].handle, &pid) != BGWH_STARTED)
			pid = 0;
		entry->pid = pid;
		entry->n_in_flight = senders[i].n_in_flight;
		entry->started_at = senders[i].entered_at;
	}
}
