/*-------------------------------------------------------------------------
 *
 * upkeep.c
 *	  The dispatcher's housekeeping: turns rings, empties leaves, forgets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "dispatcher.h"
#include "ledger.h"
#include "miscadmin.h"
#include "obstacle.h"
#include "ring.h"
#include "settings.h"
#include "txn.h"
#include "utils/timestamp.h"

#define MAINTENANCE_US		USECS_PER_SEC
#define BLOCKED_US			(10 * USECS_PER_SEC)
#define FORGET_US			USECS_PER_MINUTE

/* A ring that cannot turn is reported when that has lasted so long. */
#define PROBLEM_LASTS_US	(5 * USECS_PER_MINUTE)

/* Says what keeps a ring from turning, once it has lasted. */
static void
report_problem(WoDispatcher *d, const char *problem)
{
	static TimestampTz since = 0;
	static const char *reported = NULL;

	if (problem == NULL)
	{
		since = 0;
		reported = NULL;
		return;
	}
	if (since == 0)
		since = d->now;
	if (d->now - since < PROBLEM_LASTS_US || problem == reported)
		return;
	reported = problem;
	ereport(LOG,
			(errmsg("webhook_outbox keeps events longer: %s", problem)));
	wo_registry_set_error(d->database, problem);
}

/* Turns rings, empties leaves, forgets old operations. */
static void
keep_house(WoDispatcher *d)
{
	static TimestampTz next_forget_at = 0;
	static uint64 last_window = 0;
	const char *problem;

	/* Emptying waits for the cursor on disk: see that it goes there. */
	if (wo_ring_maintain(d->database, d->now, &problem))
		d->reader->is_moved = true;
	report_problem(d, problem);
	if (d->now < next_forget_at || d->reader->n_windows == last_window)
		return;
	next_forget_at = d->now + FORGET_US;
	last_window = d->reader->n_windows;
	wo_txn_begin("forgetting old operation_ids");
	wo_ledger_forget_operations(d->now, wo_operation_retention);
	wo_txn_commit();
}

/* Keeps house if it is time.  What keeps it waiting keeps nothing else so. */
void
wo_upkeep_run(WoDispatcher *d)
{
	MemoryContext caller = CurrentMemoryContext;

	if (d->now < d->next_maintenance_at)
		return;
	d->next_maintenance_at = d->now + MAINTENANCE_US;
	PG_TRY();
	{
		keep_house(d);
	}
	PG_CATCH();
	{
		ErrorData  *error = wo_obstacle_take(caller);

		wo_registry_set_error(d->database, wo_obstacle_describe(error));
		d->next_maintenance_at = d->now + BLOCKED_US;
	}
	PG_END_TRY();
}
