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

/* Does this lock of somebody else keep us from one of our tables? */
static bool
is_in_the_way(const LockInstanceData *lock, Oid namespace_id)
{
	return lock->locktag.locktag_type == LOCKTAG_RELATION &&
		lock->locktag.locktag_field1 == MyDatabaseId &&
		lock->pid != MyProcPid && (modes_of(lock) & IN_THE_WAY) != 0 &&
		get_rel_namespace(lock->locktag.locktag_field2) == namespace_id;
}

/* The strongest of these locks; NULL when there is none any more. */
static const LockInstanceData *
find_lock(void)
{
	LockData   *locks = GetLockStatusData();
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, true);
	const LockInstanceData *found = NULL;

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (is_in_the_way(lock, namespace_id) &&
			(found == NULL || modes_of(lock) > modes_of(found)))
			found = lock;
	}
	return found;
}

/* Who holds the lock that a transaction of ours did not get. */
static char *
describe_lock(void)
{
	const LockInstanceData *lock = find_lock();
	char	   *name;

	if (lock == NULL)
		return pstrdup("waiting for a lock that another session holds");
	name = get_rel_name(lock->locktag.locktag_field2);
	/* a prepared transaction has no process */
	if (lock->pid == 0)
		return psprintf("waiting for a lock on %s that a prepared transaction holds",
						name);
	return psprintf("waiting for a lock on %s that process %d %s", name,
					lock->pid, lock->holdMask & IN_THE_WAY ? "holds" :
					"has asked for");
}

/*
 * Says in the caller's memory what is in the way.  Outside a transaction,
 * after the one that failed was rolled back.
 */
char *
wo_obstacle_describe(const ErrorData *error)
{
	MemoryContext caller = CurrentMemoryContext;
	char	   *text;

	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		return pstrdup(error->message);
	StartTransactionCommand();
	text = MemoryContextStrdup(caller, describe_lock());
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return text;
}
