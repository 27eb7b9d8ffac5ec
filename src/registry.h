/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Shared memory: one entry per database, and the launcher's own state.
 *
 * Layer 1.  It exists when the library is in shared_preload_libraries, and
 * only then: wo_registry is NULL otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_REGISTRY_H
#define WO_REGISTRY_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#define WO_MAX_SENDERS		32
#define WO_NO_PROC			PG_UINT32_MAX
#define WO_STATE_LEN		160
#define WO_ERROR_LEN		256

/* What a commit announces to the dispatcher; bits of WoDatabase.wants. */
#define WO_WANT_EVENTS		0x01
#define WO_WANT_COMMANDS	0x02
#define WO_WANT_ENDPOINTS	0x04
#define WO_WANT_EXTENSION	0x08	/* to the launcher: look again */

/* What the launcher knows of the extension in a database. */
typedef enum WoPresence
{
	WO_PRESENCE_UNKNOWN,		/* start a dispatcher: it finds out */
	WO_PRESENCE_PRESENT,		/* a dispatcher should run */
	WO_PRESENCE_ABSENT			/* until a CREATE EXTENSION says otherwise */
} WoPresence;

/* Who calls maintain(). */
typedef enum WoCaller
{
	WO_CALLER_SESSION,
	WO_CALLER_DISPATCHER,		/* the worker that it starts */
	WO_CALLER_PG_CRON
} WoCaller;

/* One sender process, as worker_status shows it. */
typedef struct WoSenderEntry
{
	int			pid;			/* 0: not running */
	int			n_in_flight;
	int			n_restarts;		/* deaths seen by this dispatcher */
	TimestampTz started_at;
	uint64		n_sent;			/* since the dispatcher started */
} WoSenderEntry;

/* One database.  Atomics are free for all, the rest is under the lock. */
typedef struct WoDatabase
{
	pg_atomic_uint32 wants;		/* WO_WANT_* not seen yet */
	pg_atomic_uint32 dispatcher;	/* its proc number, or WO_NO_PROC */
	pg_atomic_uint64 event_leaf;	/* the current one: see ring.c; 0: not
									 * known */
	pg_atomic_uint64 maintained_at; /* start of the last maintain(); 0: none */
	pg_atomic_uint32 maintained_by; /* a WoCaller: whose that was */
	pg_atomic_uint32 is_maintenance_wanted; /* it said: again in a minute */
	Oid			database_id;	/* InvalidOid: this entry is free */
	WoPresence	presence;
	int			pid;			/* dispatcher; 0: none runs */
	int			n_starts;		/* dispatchers started here */
	TimestampTz started_at;		/* of the dispatcher; valid while pid != 0 */
	TimestampTz next_start_at;	/* launcher: not before then */
	bool		has_left_well;	/* the last dispatcher, without an error */
	TimestampTz held_until;		/* DDL needs the database to itself */
	int			maintainer_pid; /* worker that runs maintain(); 0: none */
	char		maintenance_error[WO_ERROR_LEN];	/* "": the last one ran */
	TimestampTz maintenance_error_at;	/* valid unless that is "" */
	char		state[WO_STATE_LEN];	/* what the dispatcher is doing */
	char		last_error[WO_ERROR_LEN];
	TimestampTz last_error_at;	/* 0: no error yet */
	int			n_senders;		/* entries of senders[] that should run */
	WoSenderEntry senders[WO_MAX_SENDERS];
	uint64		n_delivered;	/* since the dispatcher started */
	uint64		n_failed;		/* attempts, since the dispatcher started */
	int			n_in_flight;
	float		per_second;		/* deliveries, over the last seconds */
} WoDatabase;

typedef struct WoRegistry
{
	LWLock	   *lock;
	pg_atomic_uint64 id_clock;	/* last time of a UUIDv7 given out */
	pg_atomic_uint32 launcher;	/* its proc number, or WO_NO_PROC */
	int			launcher_pid;	/* 0: not running */
	TimestampTz launcher_started_at;
	int			n_databases;	/* length of databases[] */
	WoDatabase	databases[FLEXIBLE_ARRAY_MEMBER];
} WoRegistry;

extern WoRegistry *wo_registry;

extern void wo_registry_install_hooks(void);
extern WoDatabase *wo_registry_find(Oid database_id, bool create);
extern void wo_registry_release(WoDatabase *database);
extern void wo_registry_set_state(WoDatabase *database, const char *fmt,...)
			pg_attribute_printf(2, 3);
extern void wo_registry_clip(char *copy, const char *text, int size);
extern void wo_registry_set_error(WoDatabase *database, const char *message);
extern void wo_registry_wake(uint32 proc_number);

#endif							/* WO_REGISTRY_H */
