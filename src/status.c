/*-------------------------------------------------------------------------
 *
 * status.c
 *	  The dispatcher's entry in the registry: what worker_status shows.
 *
 * Layer 4, part of the dispatcher.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claim.h"
#include "compat.h"
#include "dispatcher.h"
#include "flight.h"
#include "miscadmin.h"
#include "senders.h"
#include "settings.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define PUBLISH_US			(USECS_PER_SEC / 4)
#define RATE_US				USECS_PER_SEC

static WoDatabase *my_database = NULL;

/* before_shmem_exit: the launcher may start another one. */
static void
leave_registry(int code, Datum arg)
{
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	my_database->pid = 0;
	my_database->has_left_well = code == 0;
	my_database->n_senders = 0;
	my_database->n_in_flight = 0;
	my_database->per_second = 0;
	memset(my_database->senders, 0, sizeof(my_database->senders));
	strlcpy(my_database->state, "stopped", WO_STATE_LEN);
	/* before the lock is given up: the entry may be another database's then */
	pg_atomic_write_u32(&my_database->dispatcher, WO_NO_PROC);
	LWLockRelease(wo_registry->lock);
	wo_registry_wake(pg_atomic_read_u32(&wo_registry->launcher));
}

/*
 * Becomes the dispatcher of this database; exits if there is one, or if
 * somebody needs the database to himself: he could not know whom to send away.
 */
WoDatabase *
wo_status_join(void)
{
	TimestampTz now = GetCurrentTimestamp();

	my_database = wo_registry_find(MyDatabaseId, true);
	if (my_database == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use webhook_outbox"),
				 errhint("Raise webhook_outbox.max_databases and restart the server.")));
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	if (my_database->pid != 0 || my_database->held_until > now)
	{
		LWLockRelease(wo_registry->lock);
		proc_exit(0);
	}
	my_database->pid = MyProcPid;
	my_database->started_at = now;
	my_database->n_delivered = my_database->n_failed = 0;
	strlcpy(my_database->state, "starting", WO_STATE_LEN);
	LWLockRelease(wo_registry->lock);
	before_shmem_exit(leave_registry, (Datum) 0);
	pg_atomic_write_u32(&my_database->dispatcher, WO_MY_PROC_NUMBER);
	return my_database;
}

static bool
is_idle(const WoDispatcher *d)
{
	return wo_flight_n_used() == 0 && d->reader->n_events == 0 &&
		!wo_settle_has_pending();
}

static const char *
state_name(const WoDispatcher *d)
{
	if (d->is_stopping)
		return "stopping";
	if (d->is_stuck || d->is_blocked)
		return psprintf("not sending: %s%s",
						d->is_stuck ? "attempts cannot be recorded: " : "",
						d->obstacle);
	if (d->is_held && d->has_other_name)
		return "not sending: this database is a copy by its webhook_outbox.instance_id, see resume_delivery()";
	if (d->is_held && wo_claim_is_recovered())
		return "not sending: this database is a copy, recovered to an earlier time, see resume_delivery()";
	if (d->is_held)
		return "not sending: this database is a copy, see resume_delivery()";
	if (!wo_enabled)
		return "not sending: webhook_outbox.enabled is off";
	if (wo_senders_are_short())
		return "not sending: no sender can be started: see last_error";
	if (d->n_held_endpoints > 0)
		return is_idle(d) ?
			"idle, with endpoints whose secrets do not open: see last_error" :
			"delivering, but not where secrets do not open: see last_error";
	return is_idle(d) ? "idle" : "delivering";
}

/* Shows in shared memory what is going on. */
void
wo_status_publish(WoDispatcher *d)
{
	static TimestampTz rate_at = 0;
	static uint64 rate_base = 0;
	const char *state;

	if (d->now < d->next_publish_at && !wo_senders_take_changed())
		return;
	d->next_publish_at = d->now + PUBLISH_US;
	d->is_shown_idle = is_idle(d);
	state = state_name(d);		/* may fail: not while the lock is held */
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	wo_registry_clip(d->database->state, state, WO_STATE_LEN);
	d->database->n_delivered = d->n_delivered;
	d->database->n_failed = d->n_failed;
	d->database->n_in_flight = wo_flight_n_used();
	if (d->now - rate_at >= RATE_US)
	{
		d->database->per_second = (d->n_delivered - rate_base) *
			(float) USECS_PER_SEC / Max(d->now - rate_at, 1);
		rate_base = d->n_delivered;
		rate_at = d->now;
	}
	wo_senders_publish();
	LWLockRelease(wo_registry->lock);
}
