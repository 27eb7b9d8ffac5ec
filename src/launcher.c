/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Starts a dispatcher for each database that has the extension.
 *
 * One static background worker.  It is level-triggered: each cycle compares
 * what should run with what runs and starts what is missing, not faster than
 * a backoff allows.  It cannot see whether a database has the extension
 * without a connection to it, so a dispatcher is started once to find out; a
 * CREATE EXTENSION announces itself at commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "fault.h"
#include "launcher.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "registry.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "txn.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

PGDLLEXPORT void wo_launcher_main(Datum main_arg);

#define CYCLE_MS			10000

/*
 * pg_database.datconnlimit of what a DROP DATABASE that was cut short has
 * left; minor versions of 2023 brought it, and a name for it.
 */
#define INVALID_DATABASE	(-2)

/* One that ended is started again after this, doubling while it fails. */
#define FIRST_BACKOFF_US	(USECS_PER_SEC / 2)
#define LAST_BACKOFF_US		(30 * USECS_PER_SEC)

/* One that ran so long has done well: its backoff starts anew. */
#define GOOD_RUN_US			(60 * USECS_PER_SEC)

/* A database that a dispatcher was started for. */
typedef struct Charge
{
	Oid			database_id;
	BackgroundWorkerHandle *handle; /* NULL: none runs */
	TimestampTz started_at;
	int64		backoff_us;
} Charge;

static List *charges = NIL;		/* of Charge * */

static void
leave_registry(int code, Datum arg)
{
	wo_registry->launcher_pid = 0;
	pg_atomic_write_u32(&wo_registry->launcher, WO_NO_PROC);
}

static void
join_registry(void)
{
	wo_registry->launcher_pid = MyProcPid;
	wo_registry->launcher_started_at = GetCurrentTimestamp();
	pg_atomic_write_u32(&wo_registry->launcher, WO_MY_PROC_NUMBER);
	before_shmem_exit(leave_registry, (Datum) 0);
}

/*
 * Lists all databases that exist, and those of them that may have the
 * extension and are wanted; in the caller's context.  One that can only be
 * dropped is as good as gone: nobody can connect to it.
 */
static List *
list_databases(List **existing)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (form->datconnlimit == INVALID_DATABASE)
			continue;
		old = MemoryContextSwitchTo(caller);
		*existing = lappend_oid(*existing, form->oid);
		if (form->datallowconn && !form->datistemplate &&
			wo_settings_want_database(NameStr(form->datname)))
			result = lappend_oid(result, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return result;
}

static Charge *
find_charge(Oid database_id)
{
	ListCell   *cell;
	Charge	   *charge;
	MemoryContext caller;

	foreach(cell, charges)
	{
		charge = lfirst(cell);
		if (charge->database_id == database_id)
			return charge;
	}
	caller = MemoryContextSwitchTo(TopMemoryContext);
	charge = palloc0(sizeof(Charge));
	charge->database_id = database_id;
	charges = lappend(charges, charge);
	MemoryContextSwitchTo(caller);
	return charge;
}

/* Has the dispatcher that was started for it ended?  Then a new one may. */
static bool
has_ended(Charge *charge, WoDatabase *database, TimestampTz now)
{
	pid_t		pid;

	if (charge->handle == NULL)
		return true;
	if (GetBackgroundWorkerPid(charge->handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(charge->handle);
	charge->handle = NULL;
	/* One that was told to end, or ran for long, has not failed. */
	if (database->has_left_well || charge->backoff_us == 0 ||
		now - charge->started_at > GOOD_RUN_US)
		charge->backoff_us = FIRST_BACKOFF_US;
	else
		charge->backoff_us = Min(charge->backoff_us * 2, LAST_BACKOFF_US);
	database->next_start_at = now + charge->backoff_us;
	return true;
}

static void
complain_no_worker(void)
{
	static TimestampTz told_at = 0;

	if (told_at == 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("webhook_outbox cannot start a dispatcher: no worker slot is free"),
				 errhint("Raise max_worker_processes and restart the server.")));
	told_at = GetCurrentTimestamp();
}

static void
start_dispatcher(Charge *charge, WoDatabase *database, TimestampTz now)
{
	BackgroundWorker worker;
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	wo_worker_describe(&worker, "dispatcher", "wo_dispatcher_main");
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(database->database_id);
	snprintf(worker.bgw_name, BGW_MAXLEN,
			 "webhook_outbox dispatcher of database %u",
			 database->database_id);
	WO_FAULT("before_register");
	database->has_left_well = false;	/* before it can have */
	if (RegisterDynamicBackgroundWorker(&worker, &charge->handle))
		charge->started_at = now;
	else
	{
		charge->handle = NULL;
		database->next_start_at = now + LAST_BACKOFF_US / 10;
		wo_registry_set_error(database,
							  "no worker slot is free for a dispatcher: raise max_worker_processes");
		complain_no_worker();
	}
	MemoryContextSwitchTo(caller);
}

/* A CREATE EXTENSION has committed: whatever was known is old. */
static void
notice_extension(WoDatabase *database)
{
	uint32		wants = pg_atomic_fetch_and_u32(&database->wants,
												~WO_WANT_EXTENSION);

	if (!(wants & WO_WANT_EXTENSION))
		return;
	database->presence = WO_PRESENCE_UNKNOWN;
	database->next_start_at = 0;
}

/* Starts what is missing for one database; returns when to look again. */
static TimestampTz
look_after(Oid database_id, TimestampTz now)
{
	static bool is_told = false;
	WoDatabase *database = wo_registry_find(database_id, true);
	Charge	   *charge = find_charge(database_id);

	if (database == NULL)
	{
		if (!is_told)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("too many databases for webhook_outbox"),
					 errhint("Name those that use it in webhook_outbox.databases, or raise webhook_outbox.max_databases and restart the server.")));
		is_told = true;
		return DT_NOEND;
	}
	if (!has_ended(charge, database, now))
		return DT_NOEND;
	/* an earlier launcher's: at its end it may say yet that none is there */
	if (database->pid != 0)
		return DT_NOEND;
	notice_extension(database);
	if (database->presence == WO_PRESENCE_ABSENT)
		return DT_NOEND;
	if (now < database->held_until)
		return database->held_until;
	/* a clock that was set back must not keep it waiting */
	if (now >= database->next_start_at ||
		database->next_start_at > now + LAST_BACKOFF_US)
		start_dispatcher(charge, database, now);
	return charge->handle ? DT_NOEND : database->next_start_at;
}

/*
 * Gives back the entries of databases that are gone.  One that exists keeps
 * its entry, wanted or not: backends of it may know where that is.
 */
static void
release_dropped(List *existing)
{
	ListCell   *cell;

	for (int i = 0; i < wo_registry->n_databases; i++)
	{
		WoDatabase *database = &wo_registry->databases[i];

		if (OidIsValid(database->database_id) &&
			!list_member_oid(existing, database->database_id))
			wo_registry_release(database);
	}
	foreach(cell, charges)
	{
		Charge	   *charge = lfirst(cell);

		if (list_member_oid(existing, charge->database_id))
			continue;
		if (charge->handle)
			pfree(charge->handle);
		pfree(charge);
		charges = foreach_delete_current(charges, cell);
	}
}

/* One comparison of what should run with what runs; returns the next wait. */
static long
run_cycle(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = now + CYCLE_MS * INT64CONST(1000);
	List	   *existing = NIL;
	List	   *databases = list_databases(&existing);
	ListCell   *cell;

	foreach(cell, databases)
	{
		TimestampTz at = look_after(lfirst_oid(cell), now);

		next = Min(next, at);
	}
	release_dropped(existing);
	return Max((next - GetCurrentTimestamp() + 999) / 1000, 10);
}

/* The background worker; there is one per server. */
void
wo_launcher_main(Datum main_arg)
{
	MemoryContext cycle;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	wo_txn_configure_launcher();
	join_registry();
	WO_FAULT("launcher_start");
	cycle = AllocSetContextCreate(TopMemoryContext, "webhook_outbox launcher",
								  ALLOCSET_DEFAULT_SIZES);
	while (!ShutdownRequestPending)
	{
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(cycle);
		timeout = run_cycle();
		MemoryContextReset(cycle);
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(1);
}

/* Registers the launcher.  Called while shared libraries are preloaded. */
void
wo_launcher_register(void)
{
	BackgroundWorker worker;

	wo_worker_describe(&worker, "launcher", "wo_launcher_main");
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}
