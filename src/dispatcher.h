/*-------------------------------------------------------------------------
 *
 * dispatcher.h
 *	  What the parts of the dispatcher share.
 *
 * Layer 4.  dispatcher.c has the loop; intake.c, due.c and obey.c what comes
 * in, deletion.c who is gone, admission.c what goes out, settle.c what came
 * back, status.c what is shown.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_DISPATCHER_H
#define WO_DISPATCHER_H

#include "endpoint.h"
#include "reader.h"
#include "registry.h"

typedef struct WoDispatcher
{
	MemoryContext context;		/* lives as long as the process */
	WoDatabase *database;
	WoReader   *reader;
	dlist_head	ready;			/* endpoints that may send, in line */
	uint32		wants;			/* WO_WANT_* not dealt with yet */
	bool		is_loaded;		/* endpoints and backlog were loaded once */
	bool		is_polling;		/* this cycle looks without being woken */
	bool		is_held;		/* the database is a copy: nothing goes out */
	bool		is_told_held;	/* ... and the log says so */
	bool		has_other_name; /* ... by its instance_id alone */
	bool		must_check_claim;	/* instance_id may be new */
	bool		is_stopping;	/* asked to end: nothing new goes out */
	bool		is_stuck;		/* outcomes cannot be recorded: likewise */
	bool		is_blocked;		/* nor can tables be read: likewise */
	char		obstacle[WO_STATE_LEN]; /* valid in these two: why */
	TimestampTz unblock_at;		/* blocked: not tried again before then */
	bool		must_follow;	/* endpoints have changed: see intake.c */
	bool		must_refresh;	/* ... all of them, after an error */
	TimestampTz now;			/* read once per cycle */
	TimestampTz next_poll_at;
	TimestampTz next_look_at;	/* when the whole backlog is looked at */
	bool		must_look;		/* then, whether anything happened or not */
	TimestampTz next_maintenance_at;
	TimestampTz next_publish_at;	/* to shared memory, for worker_status */
	bool		is_shown_idle;	/* the last publication said that */
	int			n_held_endpoints;	/* their secrets do not open */
	TimestampTz next_reopen_at; /* when that is tried again */
	uint64		n_delivered;
	uint64		n_failed;
} WoDispatcher;

/* intake.c */
extern void wo_intake_events(WoDispatcher *d);
extern void wo_intake_endpoints(WoDispatcher *d, uint64 window);
extern void wo_intake_follow_changes(WoDispatcher *d);
extern bool wo_intake_has_room(WoDispatcher *d);
extern void wo_intake_relieve(WoDispatcher *d);

/* deletion.c */
extern void wo_deletion_run(WoDispatcher *d);
extern TimestampTz wo_deletion_deadline(const WoDispatcher *d);

/* due.c */
extern void wo_due_load(WoDispatcher *d);
extern TimestampTz wo_due_next(const WoDispatcher *d);

/* obey.c */
extern void wo_obey_commands(WoDispatcher *d);
extern bool wo_obey_may_look(const WoDispatcher *d);

/* upkeep.c */
extern void wo_upkeep_run(WoDispatcher *d);
extern TimestampTz wo_upkeep_deadline(const WoDispatcher *d);

/* status.c */
extern WoDatabase *wo_status_join(void);
extern void wo_status_publish(WoDispatcher *d);

/* admission.c */
extern void wo_admission_make_ready(WoDispatcher *d, WoEndpoint *endpoint);
extern void wo_admission_forget(WoEndpoint *endpoint);
extern void wo_admission_run(WoDispatcher *d);

/* settle.c */
extern void wo_settle_create(WoDispatcher *d);
extern void wo_settle_collect(WoDispatcher *d);
extern void wo_settle_record(WoDispatcher *d, bool is_last);
extern TimestampTz wo_settle_deadline(void);
extern void wo_settle_set_back(WoDispatcher *d);
extern void wo_settle_block(WoDispatcher *d, const ErrorData *error);
extern void wo_settle_unblock(WoDispatcher *d);
extern void wo_settle_abandon(WoDispatcher *d, WoDelivery *delivery,
							  const char *reason);
extern void wo_settle_park(WoDispatcher *d, WoDelivery *delivery);
extern void wo_settle_drop(WoDelivery *delivery);
extern bool wo_settle_has_pending(void);

#endif							/* WO_DISPATCHER_H */
