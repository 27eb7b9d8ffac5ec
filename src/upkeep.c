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
#include "router.h"
#include "settings.h"
#include "txn.h"
#include "utils/timestamp.h"

#define MAINTENANCE_US		USECS_PER_SEC
#define BLOCKED_US			(10 * USECS_PER_SEC)

/* What is needed of a leaf is moved some at a time, for events wait then. */
#define MOVE_PAUSE_US		(10 * INT64CONST(1000))

/* Old operation_ids are forgotten some at a time, for events wait then. */
#define FORGET_US			USECS_PER_MINUTE
#define FORGET_AT_ONCE		1000
#define FORGET_AGAIN_US		(50 * INT64CONST(1000))

static bool is_busy = false;	/* the next slice of that is due soon */

/* A ring that cannot turn is reported when that has lasted so long. */
#define PROBLEM_LASTS_US	(5 * USECS_PER_MINUTE)

/* Says who is in the way, if that is a session or a prepared transaction. */
static char *
describe_problem(const WoDispatcher *d, const WoRingProblem *problem, int *pid)
{
	const WoSnapshot *seen = d->reader->seen;
	const char *what = NULL;

	*pid = -1;
	if (problem->leaf[0] != '\0')
	{
		*pid = wo_obstacle_user_of(problem->leaf);
		what = psprintf("a lock on %s", problem->leaf);
	}
	else if (seen->n_xids > 0 && seen->xids[0] < problem->fence)
	{
		*pid = wo_obstacle_owner_of((TransactionId) seen->xids[0]);
		what = psprintf("transaction " UINT64_FORMAT " open, which is older",
						seen->xids[0]);
	}
	if (*pid < 0)
		return pstrdup(problem->text);
	if (*pid == 0)
		return psprintf("%s: a prepared transaction holds %s", problem->text,
						what);
	return psprintf("%s: process %d holds %s", problem->text, *pid, what);
}

/* Says what keeps a ring from turning, once it has lasted. */
static void
report_problem(WoDispatcher *d, const WoRingProblem *problem)
{
	static TimestampTz since = 0;
	static const char *reported = NULL;
	char	   *text;
	int			pid;

	if (problem->text == NULL)
	{
		since = 0;
		reported = NULL;
		return;
	}
	if (since == 0)
		since = d->now;
	if (d->now - since < PROBLEM_LASTS_US || problem->text == reported)
		return;
	reported = problem->text;
	text = describe_problem(d, problem, &pid);
	ereport(LOG,
			(errmsg("webhook_outbox keeps events longer: %s", text),
			 pid > 0 ? errhint("Let it end its transaction, or end it: SELECT pg_terminate_backend(%d).",
							   pid) : 0,
			 pid == 0 ? errhint("End it with COMMIT PREPARED or ROLLBACK PREPARED: pg_prepared_xacts lists it.") : 0));
	wo_registry_set_error(d->database, text);
}

/* An operation_id is remembered for as long as its event may be sent again. */
static int64
operation_retention_us(void)
{
	int64		retention_us = wo_operation_retention * USECS_PER_SEC;
	ListCell   *cell;

	foreach(cell, wo_router_endpoints())
		retention_us = Max(retention_us,
						   wo_endpoint_longest_schedule(lfirst(cell)));
	return retention_us;
}

/* Forgets old operation_ids, some at a time, unless nothing has happened. */
static void
forget_operations(WoDispatcher *d)
{
	static TimestampTz next_forget_at = 0;
	static uint64 last_window = 0;
	int			n;

	if (d->now < next_forget_at && next_forget_at - d->now <= FORGET_US)
		return;
	if (!d->is_loaded || d->reader->n_windows == last_window)
		return;
	wo_txn_begin("forgetting old operation_ids");
	n = wo_ledger_forget_operations(d->now - operation_retention_us(),
									FORGET_AT_ONCE);
	wo_txn_commit();
	if (n == FORGET_AT_ONCE)
	{
		next_forget_at = d->now + FORGET_AGAIN_US;
		return;
	}
	next_forget_at = d->now + FORGET_US;
	last_window = d->reader->n_windows;
}

/* Turns rings and empties leaves. */
static void
keep_house(WoDispatcher *d)
{
	WoRingProblem problem;

	d->next_maintenance_at = d->now + MAINTENANCE_US;
	is_busy = false;			/* after an error, too */
	is_busy = wo_ring_maintain(d->database, d->now, &problem);
	if (is_busy)
		d->next_maintenance_at = d->now + MOVE_PAUSE_US;
	/* Emptying waits for the cursor on disk: see that it goes there. */
	if (problem.text != NULL)
		d->reader->is_moved = true;
	report_problem(d, &problem);
}

/* When the next slice is due; DT_NOEND: there is none, it has time. */
TimestampTz
wo_upkeep_deadline(const WoDispatcher *d)
{
	return is_busy ? d->next_maintenance_at : DT_NOEND;
}

/* Keeps house if it is time.  What keeps it waiting keeps nothing else so. */
void
wo_upkeep_run(WoDispatcher *d)
{
	static TimestampTz blocked_until = 0;
	MemoryContext caller = CurrentMemoryContext;

	if (d->now < blocked_until && blocked_until - d->now <= BLOCKED_US)
		return;
	PG_TRY();
	{
		if (d->now >= d->next_maintenance_at)
			keep_house(d);
		forget_operations(d);
	}
	PG_CATCH();
	{
		ErrorData  *error = wo_obstacle_take(caller);

		wo_registry_set_error(d->database, wo_obstacle_describe(error));
		blocked_until = d->now + BLOCKED_US;
	}
	PG_END_TRY();
}
