/*-------------------------------------------------------------------------
 *
 * deletion.c
 *	  What becomes of endpoints that SQL deleted, and of told changes.
 *
 * A deleted endpoint goes through this, after its queues were cleared:
 *
 *	its stored deliveries are buried -> the events from before the deletion are
 *	read, and its requests have ended -> the row about it is deleted -> it is
 *	dropped from memory
 *
 * It can be owed a million deliveries, and ten thousand can be deleted at
 * once: all of it is done some at a time, for others wait meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "burial.h"
#include "dispatcher.h"
#include "fault.h"
#include "router.h"
#include "senders.h"
#include "txn.h"
#include "utils/timestamp.h"

/* A slice takes a few milliseconds, and a pause as long follows. */
#define BURY_ROWS			64
#define BURY_ENDPOINTS		512
#define BURY_PAUSE_US		(10 * INT64CONST(1000))
#define FORGET_AT_ONCE		1000

static TimestampTz next_at = 0; /* when the next slice is due */

/* How many windows have been read to their end. */
static uint64
read_windows(const WoDispatcher *d)
{
	return d->reader->n_windows - (d->reader->reading != NULL);
}

/* Has an endpoint with the same number been made since? */
static bool
is_there_again(const WoChange *deletion)
{
	WoEndpoint *endpoint = wo_router_find(deletion->endpoint_id);

	return endpoint != NULL && !endpoint->is_deleted;
}

/* Lists deletions that have something to bury; returns how many. */
static int
list_to_bury(WoChange **deletions)
{
	int			n_listed = wo_router_to_bury(deletions, BURY_ENDPOINTS);
	int			n = 0;

	for (int i = 0; i < n_listed; i++)
	{
		if (is_there_again(deletions[i]))
			wo_router_buried(deletions[i]);
		else
			deletions[n++] = deletions[i];
	}
	return n;
}

/* Notes how far that has gone, once it is committed. */
static void
note_buried(WoChange **deletions, int n, const WoBurial *rows, int n_rows)
{
	for (int i = 0; i < n; i++)
	{
		if (n_rows == BURY_ROWS &&
			deletions[i]->endpoint_id == rows[n_rows - 1].endpoint_id)
		{
			deletions[i]->buried_to = rows[n_rows - 1].event_id;
			return;
		}
		wo_router_buried(deletions[i]);
	}
}

/* Turns stored deliveries of deleted endpoints into dead letters, some. */
static void
bury(WoDispatcher *d)
{
	WoChange   *deletions[BURY_ENDPOINTS];
	WoBurial	rows[BURY_ROWS];
	int			n = list_to_bury(deletions);
	int			n_rows;

	if (n == 0)
		return;
	/* What is about to be parked for one must be stored before. */
	wo_settle_record(d, true);
	if (wo_settle_has_pending())
		return;
	wo_txn_begin("burying deliveries of deleted endpoints");
	n_rows = wo_burial_find(deletions, n, rows, BURY_ROWS);
	wo_burial_bury(rows, n_rows, d->now);
	wo_txn_commit();
	WO_FAULT("after_bury");
	note_buried(deletions, n, rows, n_rows);
}

/*
 * Deletes the rows about changes that are dealt with: not before the dead
 * letters of a deleted endpoint are recorded, and the cursor is beyond what is
 * older than the change, for a crash in between would leave nobody who knows
 * what was owed.
 */
static void
forget(WoDispatcher *d)
{
	WoChange   *changes[FORGET_AT_ONCE];
	int			n = wo_router_to_forget(read_windows(d), d->reader->n_settled,
										changes, FORGET_AT_ONCE);

	if (n == 0)
		return;
	wo_settle_record(d, true);
	if (wo_settle_has_pending() || d->is_stuck)
		return;
	WO_FAULT("before_forget");
	wo_txn_begin("taking over changed endpoints");
	wo_router_forget_changes(changes, n);
	wo_txn_commit();
	WO_FAULT("after_forget");
	for (int i = 0; i < n; i++)
	{
		int64		endpoint_id = changes[i]->endpoint_id;

		if (wo_router_forgotten(changes[i]))
			wo_senders_forget(endpoint_id);
	}
}

/* Is there anything to do as soon as that can be? */
static bool
is_busy(const WoDispatcher *d)
{
	WoChange   *change;

	return wo_router_to_bury(&change, 1) > 0 ||
		wo_router_to_forget(read_windows(d), d->reader->n_settled, &change,
							1) > 0;
}

/* When the next slice is due; DT_NOEND: there is nothing to do. */
TimestampTz
wo_deletion_deadline(const WoDispatcher *d)
{
	return is_busy(d) ? next_at : DT_NOEND;
}

/*
 * Goes on with what is to be done about changed endpoints.  Those have been
 * followed; see wo_intake_follow_changes.
 */
void
wo_deletion_run(WoDispatcher *d)
{
	/* The clock may have been set back. */
	if (d->must_follow ||
		(d->now < next_at && next_at - d->now <= BURY_PAUSE_US) ||
		!is_busy(d))
		return;
	next_at = d->now + BURY_PAUSE_US;
	bury(d);
	forget(d);
}
