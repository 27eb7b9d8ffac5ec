/*-------------------------------------------------------------------------
 *
 * maintainer.c
 *	  The worker that runs maintain(), and who decides when.
 *
 * The dispatcher starts this worker once a minute and does not wait for it:
 * maintenance reads and joins rollups for up to seconds, and deliveries must
 * not.  It starts none while somebody else, pg_cron for one, runs maintain()
 * often enough, and only one in five minutes when nothing has happened since
 * the last run: an idle server stays quiet.
 *
 * The worker lives for one run.  A long-lived one would keep a worker slot
 * and a connection for 50 ms of work a minute.  Nothing depends on it: a run
 * that fails, or cannot start, is tried again a minute later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "guard.h"
#include "maintainer.h"
#include "miscadmin.h"
#include "settings.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "txn.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker.h"

PGDLLEXPORT void wo_maintainer_main(Datum main_arg);

/* So far apart are runs, where something happens and where nothing does. */
#define BUSY_US				USECS_PER_MINUTE
#define IDLE_US				(5 * USECS_PER_MINUTE)

/* Somebody else who runs it each minute may be late by so much. */
#define LATE_US				(30 * USECS_PER_SEC)

/* The first run comes so soon after the dispatcher started. */
#define FIRST_US			(10 * USECS_PER_SEC)

/* A run that takes longer is cancelled.  Its steps stop after seconds. */
#define LONGEST_MS			50000

/* How long to wait for a worker to end; then the command complains itself. */
#define WAIT_US				(5 * USECS_PER_SEC)
#define WAIT_STEP_US		10000

bool		wo_is_maintainer = false;

static WoStatement maintain = {
	"SELECT count(*) FROM webhook_outbox.maintain()", 0, NULL, NULL
};

static WoDatabase *my_database = NULL;	/* of the worker */

/* What the dispatcher knows of the time since the last run. */
static bool has_changed = true;
static uint64 last_attempts = 0;

/*
 * Called by the dispatcher now and then: how many attempts it has seen, and
 * whether a commit announced something since the last call.
 */
void
wo_maintainer_note_change(uint64 n_attempts, bool is_announced)
{
	if (is_announced || n_attempts != last_attempts)
		has_changed = true;
	last_attempts = n_attempts;
}

static void
set_error(WoDatabase *database, const char *message)
{
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	wo_registry_clip(database->maintenance_error, message, WO_ERROR_LEN);
	database->maintenance_error_at = GetCurrentTimestamp();
	LWLockRelease(wo_registry->lock);
}

static bool
register_worker(WoDatabase *database, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	wo_worker_describe(&worker, "maintenance", "wo_maintainer_main");
	worker.bgw_main_arg = ObjectIdGetDatum(database->database_id);
	snprintf(worker.bgw_name, BGW_MAXLEN,
			 "webhook_outbox maintenance of database %u",
			 database->database_id);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* Starts a worker; without a free slot, shows why, and says it once. */
static BackgroundWorkerHandle *
start_worker(WoDatabase *database)
{
	static bool is_told = false;
	BackgroundWorkerHandle *handle = NULL;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	if (register_worker(database, &handle))
		is_told = false;
	else
	{
		set_error(database,
				  "no worker slot is free for maintenance: raise max_worker_processes");
		if (!is_told)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("webhook_outbox cannot run its maintenance: no worker slot is free"),
					 errhint("Raise max_worker_processes and restart the server, or call webhook_outbox.maintain() once a minute by other means.")));
		is_told = true;
	}
	MemoryContextSwitchTo(caller);
	return handle;
}

/* When the next run is due, if nobody else runs it before. */
static TimestampTz
next_run_at(WoDatabase *database, TimestampTz last_run_at)
{
	bool		is_busy = has_changed ||
	pg_atomic_read_u32(&database->is_maintenance_wanted) != 0 ||
	(pg_atomic_read_u32(&database->wants) & ~WO_WANT_EXTENSION) != 0;
	bool		is_ours = pg_atomic_read_u32(&database->maintained_by) ==
	WO_CALLER_DISPATCHER;

	if (last_run_at == 0)
		return database->started_at + FIRST_US;
	return last_run_at + (is_busy ? BUSY_US : IDLE_US) +
		(is_ours ? 0 : LATE_US);
}

/* Called by the dispatcher now and then, outside a transaction. */
void
wo_maintainer_start_if_due(WoDatabase *database, TimestampTz now)
{
	static BackgroundWorkerHandle *handle = NULL;	/* NULL: none runs */
	static TimestampTz seen_run_at = 0;
	static TimestampTz next_start_at = 0;
	TimestampTz last_run_at =
	(TimestampTz) pg_atomic_read_u64(&database->maintained_at);
	pid_t		pid;

	if (last_run_at != seen_run_at)
	{
		seen_run_at = last_run_at;
		has_changed = false;
	}
	/* A clock that was set back must not stop it for as long. */
	if (!wo_maintenance ||
		(now < next_start_at && next_start_at <= now + BUSY_US) ||
		(now < next_run_at(database, last_run_at) && last_run_at <= now))
		return;
	if (handle != NULL)
	{
		if (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
			return;
		pfree(handle);
	}
	handle = start_worker(database);
	next_start_at = now + BUSY_US;
}

/*
 * Waits for a worker that runs to end, and stops it if it does not by itself.
 * The caller sees to it that no other one starts.
 */
void
wo_maintainer_send_away(WoDatabase *database, TimestampTz patient_until)
{
	TimestampTz deadline = GetCurrentTimestamp() + WAIT_US;
	bool		is_told = false;
	int			pid;

	while ((pid = database->maintainer_pid) != 0 &&
		   GetCurrentTimestamp() < deadline)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_told && GetCurrentTimestamp() >= patient_until)
		{
			(void) kill(pid, SIGTERM);
			is_told = true;
		}
		pg_usleep(WAIT_STEP_US);
	}
}

/* before_shmem_exit */
static void
leave_registry(int code, Datum arg)
{
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	my_database->maintainer_pid = 0;
	LWLockRelease(wo_registry->lock);
}

/*
 * Shows itself before it connects, so that who needs the database to himself
 * can send it away; ends if somebody does already.
 */
static void
join_registry(Oid database_id)
{
	bool		may_run = false;

	my_database = wo_registry_find(database_id, false);
	if (my_database == NULL)
		proc_exit(0);			/* dropped meanwhile */
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	if (my_database->maintainer_pid == 0 &&
		my_database->held_until <= GetCurrentTimestamp())
	{
		my_database->maintainer_pid = MyProcPid;
		may_run = true;
	}
	LWLockRelease(wo_registry->lock);
	if (!may_run)
		proc_exit(0);
	before_shmem_exit(leave_registry, (Datum) 0);
}

/*
 * Ends the process where the extension is not, or not any more.  Nothing keeps
 * it from being dropped later: a lock on it, as the dispatcher takes for its
 * short transactions, would for seconds hold up whoever only tries to.  hook.c
 * has DROP EXTENSION wait, and a run that waits for its tables gives up soon.
 */
static void
require_extension(void)
{
	Oid			owner;
	Oid			namespace_id;

	StartTransactionCommand();
	if (!wo_txn_find_extension(&owner, &namespace_id))
		proc_exit(0);
	CommitTransactionCommand();
}

/*
 * An error of a step is kept by maintain(), this is one of maintain() itself:
 * shown in maintenance_status, and logged once.  DROP EXTENSION is none.
 */
static void
note_error(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *error = CopyErrorData();

	MemoryContextSwitchTo(caller);
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (error->sqlerrcode == ERRCODE_UNDEFINED_FUNCTION ||
		error->sqlerrcode == ERRCODE_UNDEFINED_OBJECT ||
		error->sqlerrcode == ERRCODE_INVALID_SCHEMA_NAME)
	{
		AbortCurrentTransaction();
		require_extension();
	}
	if (strcmp(my_database->maintenance_error, error->message) != 0)
		EmitErrorReport();
	set_error(my_database, error->message);
}

static void
run(void)
{
	wo_txn_begin("maintaining");
	enable_timeout_after(STATEMENT_TIMEOUT, LONGEST_MS);
	wo_txn_execute(&maintain, NULL, NULL);
	disable_timeout(STATEMENT_TIMEOUT, false);
	wo_txn_commit();
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	my_database->maintenance_error[0] = '\0';
	LWLockRelease(wo_registry->lock);
}

/* The background worker; main_arg is the database's OID. */
void
wo_maintainer_main(Datum main_arg)
{
	/* It may be sent away at any time: nothing is done until it commits. */
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	join_registry(DatumGetObjectId(main_arg));
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg),
											  InvalidOid, 0);
	wo_is_maintainer = true;
	wo_txn_configure_session("webhook_outbox maintenance");
	require_extension();
	wo_guard_install();
	PG_TRY();
	{
		run();
	}
	PG_CATCH();
	{
		note_error();
	}
	PG_END_TRY();
	proc_exit(0);
}
