/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between the supported PostgreSQL versions, 15 to 18.
 *
 * Layer 0.  No other file tests PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_COMPAT_H
#define WO_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "webhook_outbox needs PostgreSQL 15 or newer"
#endif

/* 16: what takes a value apart (VARDATA and the like) has its own header. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17: wait event sets belong to a resource owner, not a memory context. */
#if PG_VERSION_NUM >= 170000
#define WO_WAIT_SET_OWNER	NULL
#else
#define WO_WAIT_SET_OWNER	TopMemoryContext
#endif

/* 17: the oldest xid that the commit log has is elsewhere. */
#if PG_VERSION_NUM >= 170000
#define WO_OLDEST_CLOG_XID	(TransamVariables->oldestClogXid)
#else
#define WO_OLDEST_CLOG_XID	(ShmemVariableCache->oldestClogXid)
#endif

/* 17: processes are named by MyProcNumber. */
#if PG_VERSION_NUM >= 170000
#define WO_MY_PROC_NUMBER	((uint32) MyProcNumber)
#else
#define WO_MY_PROC_NUMBER	((uint32) MyProc->pgprocno)
#endif

/* 16: one more argument; 18: the tuple's item pointer as well. */
#if PG_VERSION_NUM >= 160000
#define WoExecInsertIndexTuples(rri, slot, estate, no_error, conflict) \
	ExecInsertIndexTuples(rri, slot, estate, false, no_error, conflict, NIL, \
						  false)
#else
#define WoExecInsertIndexTuples(rri, slot, estate, no_error, conflict) \
	ExecInsertIndexTuples(rri, slot, estate, false, no_error, conflict, NIL)
#endif
#if PG_VERSION_NUM >= 180000
#define WoExecCheckIndexConstraints(rri, slot, estate, tid) \
	ExecCheckIndexConstraints(rri, slot, estate, tid, &(slot)->tts_tid, NIL)
#else
#define WoExecCheckIndexConstraints(rri, slot, estate, tid) \
	ExecCheckIndexConstraints(rri, slot, estate, tid, NIL)
#endif

/* 16: ownership of every kind of object is asked for in one way. */
#if PG_VERSION_NUM >= 160000
#define WoOwnsDatabase(database_id, role) \
	object_ownercheck(DatabaseRelationId, database_id, role)
#define WoOwnsExtension(extension_id, role) \
	object_ownercheck(ExtensionRelationId, extension_id, role)
#else
#define WoOwnsDatabase(database_id, role) \
	pg_database_ownercheck(database_id, role)
#define WoOwnsExtension(extension_id, role) \
	pg_extension_ownercheck(extension_id, role)
#endif

#endif							/* WO_COMPAT_H */
