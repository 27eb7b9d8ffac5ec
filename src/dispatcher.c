/*-------------------------------------------------------------------------
 *
 * dispatcher.c
 *	  The process that owns a database's deliveries.
 *
 * One per database that has the extension, started by the launcher.  It is
 * the only one that reads the log and the only writer of delivery, attempt
 * and the cursor, so all its state is consistent without locks.  It speaks
 * SQL and never HTTP; senders do the reverse.
 *
 * No transaction is open while it waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "backlog.h"
#include "claim.h"
#include "clock.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "credentials.h"
#include "dispatcher.h"
#include "fault.h"
#include "flight.h"
#include "guard.h"
#include "ledger.h"
#include "maintainer.h"
#include "miscadmin.h"
#include "obstacle.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "ring.h"
#include "rollup.h"
#include "router.h"
#include "senders.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "txn.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PGDLLEXPORT void wo_dispatcher_main(Datum main_arg);

#define REOPEN_US			USECS_PER_MINUTE

/* So often is tried to start where a table is locked. */
#define RECOVER_AGAIN_MS	250

/* A sender that is coming up or to be replaced is looked at so often. */
#define SENDER_WATCH_US		(USECS_PER_SEC / 20)

/*
 * At a stop, requests under way get so long to end before they are cut; less
 * if somebody waits to drop or copy the database.
 */
#define STOP_GRACE_US		(5 * USECS_PER_SEC)
#define HELD_GRACE_US		USECS_PER_SEC

/* A clock that is set back by less is not worth mention. */
#define CLOCK_STEP_US		USECS_PER_SEC

static WoDatabase *my_database = NULL;
static char *database_name;

/* Exits, and tells the launcher, when this database has no extension. */
static void
require_extension(void)
{
	Oid			owner;
	Oid			namespace_id = InvalidOid;
	bool		found;

	StartTransactionCommand();
	found = wo_txn_find_extension(&owner, &namespace_id);
	if (found)
		wo_txn_watch_extension();
	database_name = MemoryContextStrdup(TopMemoryContext,
										get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	my_database->presence = found ? WO_PRESENCE_PRESENT : WO_PRESENCE_ABSENT;
	if (!found)
		proc_exit(0);
	my_database->n_starts++;
}

static void
obey_reload(WoDispatcher *d)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	wo_txn_forget_role();
	wo_flight_resize(wo_max_in_flight);
	d->must_check_claim = true; /* instance_id may be another */
	wo_credentials_reopen(WO_REOPEN_ALL);	/* so may the key file */
	d->wants |= WO_WANT_ENDPOINTS;
	if (!wo_settings_want_database(database_name))
		ShutdownRequestPending = true;
}

static bool
try_to_recover(WoDispatcher *d)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool is_done = true;

	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
		wo_txn_begin("recovering");
		wo_ring_load(my_database);
		wo_reader_load(d->reader);
		wo_txn_commit();
	}
	PG_CATCH();
	{
		ErrorData  *error = wo_obstacle_take(caller);

		wo_settle_block(d, error);
		FreeErrorData(error);
		is_done = false;
	}
	PG_END_TRY();
	return is_done;
}

/*
 * Recovery is where every start begins: the cursor says how far the last
 * dispatcher got, and the reader skips what it had recorded beyond that.
 */
static void
recover(WoDispatcher *d)
{
	while (!try_to_recover(d))
	{
		wo_status_publish(d);
		MemoryContextReset(CurrentMemoryContext);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RECOVER_AGAIN_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		obey_reload(d);			/* which may be what it takes */
		if (ShutdownRequestPending)
			proc_exit(0);
		d->now = GetCurrentTimestamp();
	}
}

static WoDispatcher *
start(MemoryContext context)
{
	WoDispatcher *d = MemoryContextAllocZero(context, sizeof(WoDispatcher));

	d->context = context;
	d->database = my_database;
	d->now = GetCurrentTimestamp();
	dlist_init(&d->ready);
	d->wants = WO_WANT_EVENTS | WO_WANT_COMMANDS | WO_WANT_ENDPOINTS;
	d->next_look_at = d->now + USECS_PER_MINUTE;
	d->next_poll_at = d->now;
	d->next_maintenance_at = d->now;
	d->is_held = true;			/* until the claim was looked at */
	d->must_check_claim = true;
	wo_router_create(context);
	wo_backlog_create(context);
	wo_flight_create(context);
	wo_flight_resize(wo_max_in_flight);
	wo_settle_create(d);
	wo_rollup_create(context);
	wo_senders_create(my_database);
	d->reader = wo_reader_create(context);
	recover(d);
	return d;
}

/*
 * A copy of a database sends nothing until an operator says that it should:
 * P9.  Looks when the claims have changed, and while it is held at every poll.
 */
static void
check_claim(WoDispatcher *d)
{
	bool		is_ours;

	if (!d->must_check_claim && !(d->is_held && d->is_polling))
		return;
	wo_txn_begin("looking whether this database is a copy");
	is_ours = wo_claim_is_ours(&d->has_other_name);
	wo_txn_commit();
	d->must_check_claim = false;
	if (is_ours && d->is_told_held)
		ereport(LOG,
				(errmsg("webhook_outbox resumes delivery from database \"%s\"",
						database_name)));
	else if (!is_ours && !d->is_told_held)
		ereport(LOG,
				(errmsg("webhook_outbox does not deliver from database \"%s\": it is a copy",
						database_name),
				 d->has_other_name ?
				 errhint("Another webhook_outbox.instance_id was to deliver: set that again, or call webhook_outbox.resume_delivery() in it if this server should.") :
				 errhint("Call webhook_outbox.resume_delivery() in it if it should deliver instead of its source.")));
	d->is_held = !is_ours;
	d->is_told_held = !is_ours;
}

/* Was the extension updated?  Not if nothing has ended since the last poll. */
static void
check_version(WoDispatcher *d)
{
	static uint64 last_window = 0;

	if (!d->is_polling || d->reader->n_windows == last_window)
		return;
	wo_guard_check_version();
	last_window = d->reader->n_windows;
}

/* Of a copy nothing is counted: what it has is not its own. */
static void
keep_metrics(WoDispatcher *d)
{
	if (d->is_held)
		wo_rollup_close(0);
	else if (!d->is_stuck && !d->is_stopping)
		wo_rollup_keep_open(d->now);
}

static bool
may_take_in(const WoDispatcher *d)
{
	return wo_enabled && !d->is_held && !d->is_stopping && !d->is_stuck;
}

static bool
may_deliver(const WoDispatcher *d)
{
	return may_take_in(d) && !d->is_blocked;
}

/* What did not open for want of a key is tried again now and then. */
static void
reopen_held(WoDispatcher *d)
{
	if (d->n_held_endpoints == 0 || d->now < d->next_reopen_at)
		return;
	d->next_reopen_at = d->now + REOPEN_US;
	wo_credentials_reopen(WO_REOPEN_HELD);
	d->wants |= WO_WANT_ENDPOINTS;
}

/* Collects what commits have announced, and polls now and then. */
static void
notice_wants(WoDispatcher *d)
{
	uint32		announced = 0;

	/* While nothing is delivered the flags stay, and commits do not wake. */
	if (may_deliver(d) || (d->is_held && wo_enabled))
		announced = pg_atomic_fetch_and_u32(&d->database->wants,
											WO_WANT_EXTENSION);
	announced &= ~WO_WANT_EXTENSION;
	d->wants |= announced;
	if (announced & WO_WANT_ENDPOINTS)
		d->must_check_claim = true;
	wo_maintainer_note_change(d->n_delivered + d->n_failed, announced != 0);
	d->is_polling = d->now >= d->next_poll_at;
	if (!d->is_polling)
		return;
	d->wants |= WO_WANT_EVENTS;
	reopen_held(d);
	if (d->reader->reading)		/* else a new window tells */
	{
		d->wants |= WO_WANT_ENDPOINTS;
		d->must_check_claim = true;
	}
	d->next_poll_at = d->now + wo_poll_interval * INT64CONST(1000);
}

/* Has the reader more to read right now, and room for it? */
static bool
wants_to_read(const WoDispatcher *d)
{
	return (d->wants & (WO_WANT_EVENTS | WO_WANT_ENDPOINTS)) ||
		d->reader->reading != NULL;
}

static void
take_in(WoDispatcher *d)
{
	if (wants_to_read(d))
		wo_intake_events(d);
	if (d->wants & WO_WANT_COMMANDS)
		wo_obey_commands(d);
	wo_deletion_run(d);
	wo_due_load(d);
	wo_intake_relieve(d);
}

static int
timeout_ms(WoDispatcher *d)
{
	TimestampTz until = Min(d->next_poll_at, wo_settle_deadline());

	if (d->is_blocked)
		until = Min(until, d->unblock_at);
	if (may_deliver(d))
	{
		until = Min(until, wo_due_next(d));
		until = Min(until, wo_deletion_deadline(d));
		until = Min(until, wo_upkeep_deadline(d));
		if (wants_to_read(d) && wo_intake_has_room(d))
			return 0;
		if (d->wants & WO_WANT_COMMANDS)
			return 0;			/* there are more than a round obeys */
	}
	/* Do not sleep while worker_status shows what is no more. */
	if (!d->is_shown_idle)
		until = Min(until, d->next_publish_at);
	if (wo_senders_n_live() < wo_senders || d->is_stopping ||
		!wo_senders_all_running())
		until = Min(until, d->now + SENDER_WATCH_US);
	if (until <= d->now)
		return 0;
	return (int) ((until - d->now + 999) / 1000);
}

static void
wait(WoDispatcher *d)
{
	int			timeout = timeout_ms(d);

	Assert(!IsTransactionState());
	if (timeout > 0)
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/*
 * Reads the clock.  When it was set back, what was to be done at a time that
 * lies far ahead now is done at once, and the backlog is looked at from the
 * start.  Times that stand in delivery are kept: retries come later by as much
 * as the clock was set back, and never early.
 */
static void
read_clock(WoDispatcher *d)
{
	TimestampTz before = d->now;

	d->now = GetCurrentTimestamp();
	if (d->now >= before - CLOCK_STEP_US)
		return;
	ereport(LOG,
			(errmsg("webhook_outbox noticed that the clock was set back by %.1f s",
					(before - d->now) / (double) USECS_PER_SEC)));
	d->next_poll_at = d->next_look_at = d->next_maintenance_at = d->now;
	d->next_publish_at = d->next_reopen_at = d->now;
	d->must_look = true;
	wo_settle_set_back(d);
}

static void
work(WoDispatcher *d)
{
	bool		is_too_early = d->is_blocked && d->now < d->unblock_at;

	if (!is_too_early && !d->is_stopping)
	{
		check_version(d);
		check_claim(d);
	}
	keep_metrics(d);
	wo_senders_maintain(d->is_stopping ? 0 : wo_senders);
	wo_settle_collect(d);
	/* Senders get work before the writing starts, and do not wait for it. */
	if (may_deliver(d))
		wo_admission_run(d);
	wo_settle_record(d, false);
	if (!is_too_early)
	{
		if (may_take_in(d))
			take_in(d);
		wo_settle_unblock(d);
	}
	if (may_deliver(d))
		wo_admission_run(d);
	wo_senders_flush();
	if (!d->is_stuck && !d->is_blocked && !d->is_held)
		wo_upkeep_run(d);
}

/*
 * An error that will pass, of a lock or the disk, stops sending and not the
 * process: what is in flight comes back and is recorded.  Whatever opens a
 * transaction in here changes nothing in memory before that is committed, or
 * does it again.
 */
static void
run_cycle(WoDispatcher *d)
{
	MemoryContext caller = CurrentMemoryContext;

	obey_reload(d);
	read_clock(d);
	notice_wants(d);
	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
		work(d);
	}
	PG_CATCH();
	{
		wo_settle_block(d, wo_obstacle_take(caller));
	}
	PG_END_TRY();
	if (d->is_polling && !d->is_held && !d->is_stopping)
		wo_maintainer_start_if_due(d->database, d->now);
	wo_status_publish(d);
}

/* Lets the senders finish, records what they did, and writes the cursor. */
static void
stop(WoDispatcher *d)
{
	bool		is_wanted_away = my_database->held_until > d->now;
	int64		deadline = wo_clock_monotonic() +
	(is_wanted_away ? HELD_GRACE_US : STOP_GRACE_US);

	d->is_stopping = true;
	while (wo_senders_n_live() > 0 && wo_clock_monotonic() < deadline)
	{
		run_cycle(d);
		wait(d);
	}
	d->now = GetCurrentTimestamp();
	wo_settle_collect(d);
	wo_settle_record(d, true);
	/* What that has recorded counts as well, and what was not closed yet. */
	while (wo_rollup_has_facts())
		wo_settle_record(d, true);
	wo_status_publish(d);
}

static void
run(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "webhook_outbox dispatcher",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext cycle = AllocSetContextCreate(TopMemoryContext,
												"webhook_outbox cycle",
												ALLOCSET_DEFAULT_SIZES);
	WoDispatcher *d;

	MemoryContextSwitchTo(cycle);
	d = start(context);
	while (!ShutdownRequestPending)
	{
		run_cycle(d);
		MemoryContextReset(cycle);
		wait(d);
	}
	stop(d);
}

/* Keeps the error for worker_status; an end by DROP EXTENSION is none. */
static void
note_error(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *error = CopyErrorData();

	MemoryContextSwitchTo(caller);
	wo_registry_set_error(my_database, error->message);
	if (error->sqlerrcode == ERRCODE_UNDEFINED_TABLE ||
		error->sqlerrcode == ERRCODE_UNDEFINED_OBJECT ||
		error->sqlerrcode == ERRCODE_INVALID_SCHEMA_NAME)
	{
		AbortCurrentTransaction();
		wo_txn_check_extension();
	}
}

/* The background worker; main_arg is the database's OID. */
void
wo_dispatcher_main(Datum main_arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg),
											  InvalidOid, 0);
	WO_FAULT("before_join");
	my_database = wo_status_join();
	wo_txn_configure_session("webhook_outbox dispatcher");
	require_extension();
	WO_FAULT("dispatcher_start");
	wo_txn_configure_dispatcher();
	wo_guard_install();
	PG_TRY();
	{
		run();
	}
	PG_CATCH();
	{
		note_error();
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}
