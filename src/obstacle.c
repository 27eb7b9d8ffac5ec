/*-------------------------------------------------------------------------
 *
 * obstacle.c
 *	  Errors that will pass, and what to say of them.
 *
 * A table that somebody has locked, a disk that is full, a foreign trigger, a
 * right that was revoked is no reason to give up: the same transaction will
 * succeed later, by itself or when somebody has mended it.  Whoever looks at
 * worker_status meanwhile wants to know what to do about it.  Only a defect
 * ends the process.
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
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Modes that keep a transaction of ours waiting. */
#define IN_THE_WAY \
	(LOCKBIT_ON(ShareLock) | LOCKBIT_ON(ShareRowExclusiveLock) | \
	 LOCKBIT_ON(ExclusiveLock) | LOCKBIT_ON(AccessExclusiveLock))

/*
 * Errors that come from the tables or the machine and stay until somebody
 * mends them.  A new process would do no better: it would send again what this
 * one has sent, and fail again.
 */
static bool
needs_somebody(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:	/* no xids are left, too */
			return true;
	}
	switch (sqlstate)
	{
		case ERRCODE_DATA_CORRUPTED:
		case ERRCODE_INDEX_CORRUPTED:
		case ERRCODE_INVALID_SCHEMA_NAME:	/* that is not there */
			return true;
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return wo_guard_has_refused();
	}
	return false;
}

/* What takes it for the same transaction to succeed, after this error? */
WoErrorKind
wo_obstacle_kind(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_DISK_FULL:
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
		case ERRCODE_QUERY_CANCELED:
			return WO_ERROR_PASSES;
	}
	return needs_somebody(sqlstate) ? WO_ERROR_NEEDS_SOMEBODY :
		WO_ERROR_IS_DEFECT;
}

/*
 * Names the extension's schema if it is called something else now: no message
 * about a missing table would tell.  In memory of the caller's.
 */
static char *
renamed_schema(MemoryContext caller)
{
	Oid			owner;
	Oid			namespace_id;
	char	   *name = NULL;

	StartTransactionCommand();
	if (wo_txn_find_extension(&owner, &namespace_id))
		name = get_namespace_name(namespace_id);
	if (name != NULL && strcmp(name, WO_EXTENSION) != 0)
		name = MemoryContextStrdup(caller, quote_identifier(name));
	else
		name = NULL;
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return name;
}

/*
 * Something is not there.  Ends the process if the extension was dropped; says
 * what to do if its schema was renamed.  Outside a transaction.
 */
static void
explain_missing(ErrorData *error, MemoryContext caller)
{
	PG_TRY();
	{
		char	   *name;

		wo_txn_check_extension();
		name = renamed_schema(caller);
		if (name != NULL)
		{
			char	   *message = psprintf("schema \"%s\" was renamed to %s",
										   WO_EXTENSION, name);

			pfree(error->message);
			error->message = message;
			error->hint = psprintf("Run ALTER SCHEMA %s RENAME TO %s: nothing is lost, and delivery goes on at once.",
								   name, WO_EXTENSION);
		}
	}
	PG_CATCH();
	{
		/* then the error says what it says */
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
}

/*
 * In a PG_CATCH of a transaction: rolls back, and returns the error in the
 * caller's context.  ReThrowError passes it on.
 */
ErrorData *
wo_obstacle_roll_back(MemoryContext caller)
{
	ErrorData  *error;

	MemoryContextSwitchTo(caller);
	error = CopyErrorData();
	FlushErrorState();
	wo_txn_abort();
	MemoryContextSwitchTo(caller);
	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_INVALID_SCHEMA_NAME:
			explain_missing(error, caller);
	}
	return error;
}

/*
 * Likewise, but takes only what will pass, and passes the rest on: a defect,
 * and what may have left something half made in memory.
 */
ErrorData *
wo_obstacle_take(MemoryContext caller)
{
	bool		is_undone = IsTransactionState();
	ErrorData  *error = wo_obstacle_roll_back(caller);

	switch (wo_obstacle_kind(error->sqlerrcode))
	{
		case WO_ERROR_PASSES:
			return error;
		case WO_ERROR_NEEDS_SOMEBODY:
			if (is_undone && error->sqlerrcode != ERRCODE_OUT_OF_MEMORY)
				return error;
			break;
		case WO_ERROR_IS_DEFECT:
			break;
	}
	ReThrowError(error);
	return NULL;				/* not reached */
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

/* Whose process holds this lock?  0: a prepared transaction; -1: nobody. */
static int
find_holder(LockTagType type, uint32 field1, uint32 field2)
{
	const LockData *locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->locktag.locktag_type == type &&
			lock->locktag.locktag_field1 == field1 &&
			lock->locktag.locktag_field2 == field2 &&
			lock->holdMask != 0 && lock->pid != MyProcPid)
			return lock->pid;
	}
	return -1;
}

/* Whose transaction is this?  Likewise. */
int
wo_obstacle_owner_of(TransactionId xid)
{
	return find_holder(LOCKTAG_TRANSACTION, xid, 0);
}

/* Who uses this table of ours, if only to read it?  Likewise. */
int
wo_obstacle_user_of(const char *table)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			relid;

	StartTransactionCommand();
	relid = get_relname_relid(table, get_namespace_oid(WO_EXTENSION, true));
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return find_holder(LOCKTAG_RELATION, MyDatabaseId, relid);
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
