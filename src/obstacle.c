/*-------------------------------------------------------------------------
 *
 * obstacle.c
 *	  Errors that pass by themselves, and what to say of them.
 *
 * A table that somebody has locked, a disk that is full, a foreign trigger
 * is no reason to give up: the same transaction will succeed later.  Whoever
 * looks at worker_status meanwhile wants to know what to do about it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "guard.h"
#include "miscadmin.h"
#include "obstacle.h"
#include "storage/lock.h"
#include "txn.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Modes that keep a transaction of ours waiting. */
#define IN_THE_WAY \
	(LOCKBIT_ON(ShareLock) | LOCKBIT_ON(ShareRowExclusiveLock) | \
	 LOCKBIT_ON(ExclusiveLock) | LOCKBIT_ON(AccessExclusiveLock))

/*
 * Will the same transaction succeed later, after an error that can have come
 * between any two statements?
 */
bool
wo_obstacle_is_passing(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_DISK_FULL:
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
		case ERRCODE_QUERY_CANCELED:
			return true;
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return wo_guard_has_refused();
	}
	return false;
}

/*
 * In a PG_CATCH of a transaction: takes the error if it will pass, having
 * rolled back, and else passes it on.  Returns to the caller's context.
 */
ErrorData *
wo_obstacle_take(MemoryContext caller)
{
	ErrorData  *error;

	MemoryContextSwitchTo(caller);
	error = CopyErrorData();
	if (!wo_obstacle_is_passing(error->sqlerrcode))
		PG_RE_THROW();
	FlushErrorState();
	wo_txn_abort();
	MemoryContextSwitchTo(caller);
	return error;
}

/* The modes that are held, or asked for: whoever asks later waits for both. */
static LOCKMASK
modes_of(const LockInstanceData *lock)
{
	return lock->holdMask | (lock->waitLockMode == NoLock ? 0 :
							 LOCKBIT_ON(lock->waitLockMode));
}

/* Is this a lock of somebody else's on a relation that we can read? */
static bool
is_of_others(const LockInstanceData *lock)
{
	return lock->locktag.locktag_type == LOCKTAG_RELATION &&
		(lock->locktag.locktag_field1 == MyDatabaseId ||
		 lock->locktag.locktag_field1 == InvalidOid) &&
		lock->pid != MyProcPid;
}

/* Does it keep us from the catalogs, which are read and never locked more? */
static bool
is_on_catalog(const LockInstanceData *lock)
{
	return is_of_others(lock) &&
		lock->locktag.locktag_field2 < FirstNormalObjectId &&
		(modes_of(lock) & LOCKBIT_ON(AccessExclusiveLock)) != 0;
}

/* Does it keep us from one of our tables?  Asks the catalogs. */
static bool
is_on_table(const LockInstanceData *lock, Oid namespace_id)
{
	return is_of_others(lock) && (modes_of(lock) & IN_THE_WAY) != 0 &&
		get_rel_namespace(lock->locktag.locktag_field2) == namespace_id;
}

/* A lock that keeps us from the catalogs; NULL when there is none. */
static const LockInstanceData *
find_on_catalog(const LockData *locks)
{
	for (int i = 0; i < locks->nelements; i++)
	{
		if (is_on_catalog(&locks->locks[i]))
			return &locks->locks[i];
	}
	return NULL;
}

/* The strongest lock on our tables; NULL when there is none any more. */
static const LockInstanceData *
find_on_table(const LockData *locks)
{
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, true);
	const LockInstanceData *found = NULL;

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (is_on_table(lock, namespace_id) &&
			(found == NULL || modes_of(lock) > modes_of(found)))
			found = lock;
	}
	return found;
}

/* Says who holds a lock. */
static char *
describe_lock(const LockInstanceData *lock, const char *name, LOCKMASK modes)
{
	/* a prepared transaction has no process */
	if (lock->pid == 0)
		return psprintf("waiting for a lock on %s that a prepared transaction holds",
						name);
	return psprintf("waiting for a lock on %s that process %d %s", name,
					lock->pid, lock->holdMask & modes ? "holds" :
					"has asked for");
}

/*
 * Says who holds the lock that a transaction of ours did not get.  While it is
 * one on a catalog, to ask the catalogs for names would be to wait again.
 */
static char *
describe_locks(void)
{
	const LockData *locks = GetLockStatusData();
	const LockInstanceData *lock = find_on_catalog(locks);

	if (lock != NULL)
		return describe_lock(lock, "a system catalog",
							 LOCKBIT_ON(AccessExclusiveLock));
	lock = find_on_table(locks);
	if (lock != NULL)
		return describe_lock(lock, get_rel_name(lock->locktag.locktag_field2),
							 IN_THE_WAY);
	return pstrdup("waiting for a lock that another session holds");
}

/*
 * Says in the caller's memory what is in the way.  Outside a transaction,
 * after the one that failed was rolled back; this one may fail likewise.
 */
char *
wo_obstacle_describe(const ErrorData *error)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *volatile text = NULL;

	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		return pstrdup(error->message);
	PG_TRY();
	{
		StartTransactionCommand();
		text = MemoryContextStrdup(caller, describe_locks());
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		FreeErrorData(wo_obstacle_take(caller));
		text = pstrdup(error->message);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return text;
}
