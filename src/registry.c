/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Shared memory: one entry per database, and the launcher's own state.
 *
 * Backends find their database's entry once and keep the pointer: entries
 * never move, and an entry is given to another database only after its
 * database was dropped, when no backend of it is left.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "registry.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define REGISTRY_NAME		"webhook_outbox"

WoRegistry *wo_registry = NULL;

static shmem_request_hook_type prev_request_hook = NULL;
static shmem_startup_hook_type prev_startup_hook = NULL;

static Size
registry_size(void)
{
	return add_size(offsetof(WoRegistry, databases),
					mul_size(wo_max_databases, sizeof(WoDatabase)));
}

static void
request_registry(void)
{
	if (prev_request_hook)
		prev_request_hook();
	RequestAddinShmemSpace(registry_size());
	RequestNamedLWLockTranche(REGISTRY_NAME, 1);
}

/* Makes an entry free.  Caller holds the lock, or nobody else runs yet. */
static void
reset_database(WoDatabase *database)
{
	memset(database, 0, sizeof(WoDatabase));
	pg_atomic_init_u32(&database->wants, 0);
	pg_atomic_init_u32(&database->dispatcher, WO_NO_PROC);
	pg_atomic_init_u64(&database->event_leaf, 0);
	pg_atomic_init_u64(&database->maintained_at, 0);
	pg_atomic_init_u32(&database->maintained_by, WO_CALLER_SESSION);
	pg_atomic_init_u32(&database->is_maintenance_wanted, 0);
}

static void
start_registry(void)
{
	bool		found;

	if (prev_startup_hook)
		prev_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	wo_registry = ShmemInitStruct(REGISTRY_NAME, registry_size(), &found);
	if (!found)
	{
		wo_registry->lock = &GetNamedLWLockTranche(REGISTRY_NAME)->lock;
		pg_atomic_init_u64(&wo_registry->id_clock, 0);
		pg_atomic_init_u32(&wo_registry->launcher, WO_NO_PROC);
		wo_registry->launcher_pid = 0;
		wo_registry->launcher_started_at = 0;
		wo_registry->n_databases = wo_max_databases;
		for (int i = 0; i < wo_max_databases; i++)
			reset_database(&wo_registry->databases[i]);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Asks for the shared memory.  Called while shared libraries are preloaded. */
void
wo_registry_install_hooks(void)
{
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request_registry;
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_registry;
}

/*
 * Finds the entry of a database; NULL when there is none, or (create) when
 * all are taken.
 */
WoDatabase *
wo_registry_find(Oid database_id, bool create)
{
	WoDatabase *result = NULL;
	WoDatabase *unused = NULL;

	if (wo_registry == NULL)
		return NULL;
	LWLockAcquire(wo_registry->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	for (int i = 0; i < wo_registry->n_databases && !result; i++)
	{
		WoDatabase *database = &wo_registry->databases[i];

		if (database->database_id == database_id)
			result = database;
		else if (!OidIsValid(database->database_id) && !unused)
			unused = database;
	}
	if (!result && create && unused)
	{
		reset_database(unused);
		unused->database_id = database_id;
		result = unused;
	}
	LWLockRelease(wo_registry->lock);
	return result;
}

/* Gives back the entry of a database that does not exist any more. */
void
wo_registry_release(WoDatabase *database)
{
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	if (database->pid == 0 && database->maintainer_pid == 0)
		reset_database(database);
	LWLockRelease(wo_registry->lock);
}

/* Copies a text, cut off between two characters if it is too long. */
void
wo_registry_clip(char *copy, const char *text, int size)
{
	strlcpy(copy, text, pg_mbcliplen(text, strlen(text), size - 1) + 1);
}

/* Says what the dispatcher of this database is doing, for worker_status. */
void
wo_registry_set_state(WoDatabase *database, const char *fmt,...)
{
	char		text[WO_STATE_LEN];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	strlcpy(database->state, text, WO_STATE_LEN);
	LWLockRelease(wo_registry->lock);
}

/* Keeps an error's text for worker_status. */
void
wo_registry_set_error(WoDatabase *database, const char *message)
{
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	wo_registry_clip(database->last_error, message, WO_ERROR_LEN);
	database->last_error_at = GetCurrentTimestamp();
	LWLockRelease(wo_registry->lock);
}

/*
 * Sets a process's latch.  The process may have ended and its number may be
 * another's by now: a latch set for nothing does no harm.
 */
void
wo_registry_wake(uint32 proc_number)
{
	if (proc_number != WO_NO_PROC)
		SetLatch(&ProcGlobal->allProcs[proc_number].procLatch);
}
