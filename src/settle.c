/*-------------------------------------------------------------------------
 *
 * settle.c
 *	  What came back: verdicts on attempts, and their recording.
 *
 * Results are gathered and recorded in one transaction when there are many,
 * or soon.  Until that has committed nothing about them changes in memory but
 * their slots: if it fails because the server cannot write now, sending stops
 * and the same records are tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backlog.h"
#include "backoff.h"
#include "common/pg_prng.h"
#include "dispatcher.h"
#include "fault.h"
#include "flight.h"
#include "ledger.h"
#include "miscadmin.h"
#include "obstacle.h"
#include "rollup.h"
#include "router.h"
#include "senders.h"
#include "txn.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Records wait for company until there are so many, or for so long. */
#define BATCH_RECORDS		128
#define ROW_COST			4	/* a row of delivery, in attempts alone */
#define BATCH_DELAY_US		10000
#define CURSOR_INTERVAL_US	USECS_PER_SEC
#define STUCK_RETRY_US		USECS_PER_SEC
#define BLOCKED_RETRY_US	(USECS_PER_SEC / 4)
#define DISABLE_AGAIN_US	USECS_PER_SEC
#define HTTP_GONE			410

static MemoryContext batch_context; /* of the records that are pending */
static WoRecord **pending;
static int	n_pending = 0;
static int	n_room = 0;			/* length of pending */
static int	pending_cost = 0;	/* of what came back, in attempts */
static TimestampTz first_pending_at;	/* valid while n_pending > 0 */
static TimestampTz retry_at = 0;	/* stuck: not before then */
static WoDelivery **parking;	/* to be stored, if still is_parking */
static int	n_parking = 0;
static TimestampTz parked_at = 0;	/* next_attempt_at of the last batch */
static int	n_parking_room = 0; /* length of parking */
static List *gone = NIL;		/* of int64 *: endpoints that answered 410 */
static TimestampTz disable_at = 0;	/* those are paused then */
static bool has_results = false;	/* that were left to the next round */

/* Called once, when the dispatcher starts. */
void
wo_settle_create(WoDispatcher *d)
{
	batch_context = AllocSetContextCreate(d->context,
										  "webhook_outbox records",
										  ALLOCSET_DEFAULT_SIZES);
	n_room = BATCH_RECORDS;
	pending = MemoryContextAlloc(d->context, n_room * sizeof(WoRecord *));
}

/* Is anything waiting to be written? */
bool
wo_settle_has_pending(void)
{
	return n_pending > 0 || n_parking > 0;
}

static void
note_first_pending(WoDispatcher *d)
{
	if (!wo_settle_has_pending())
		first_pending_at = d->now;
}

/*
 * Will store a delivery that waits for its turn or holds the cursor back;
 * one that is not in flight leaves memory with that.
 */
void
wo_settle_park(WoDispatcher *d, WoDelivery *delivery)
{
	Assert(!delivery->is_stored && !delivery->is_parking);
	note_first_pending(d);
	if (n_parking == n_parking_room)
	{
		n_parking_room = Max(2 * n_parking_room, BATCH_RECORDS);
		parking = parking ?
			repalloc(parking, n_parking_room * sizeof(WoDelivery *)) :
			MemoryContextAlloc(d->context,
							   n_parking_room * sizeof(WoDelivery *));
	}
	parking[n_parking++] = delivery;
	delivery->is_parking = true;
}

/* Adds an empty record; it lives until it is recorded. */
static WoRecord *
add_record(WoDispatcher *d, WoDelivery *delivery)
{
	WoRecord   *record = MemoryContextAllocZero(batch_context,
												sizeof(WoRecord));

	note_first_pending(d);
	if (n_pending == n_room)
	{
		n_room *= 2;
		pending = repalloc(pending, n_room * sizeof(WoRecord *));
	}
	pending[n_pending++] = record;
	record->delivery = delivery;
	delivery->is_parking = false;	/* the record says it all */
	record->result.error = "";
	record->result.response = "";
	return record;
}

static char *
copy_bytes(const char *bytes, Size len)
{
	char	   *copy = MemoryContextAlloc(batch_context, len + 1);

	memcpy(copy, bytes, len);
	copy[len] = '\0';
	return copy;
}

static void
take_result(WoRecord *record, const WoResult *result)
{
	record->result = *result;
	record->result.error = copy_bytes(result->error, strlen(result->error));
	record->result.response = copy_bytes(result->response,
										 result->response_len);
}

/* Remembers to pause an endpoint that asked for no more. */
static void
note_gone(WoDispatcher *d, WoEndpoint *endpoint)
{
	if (!endpoint->is_gone)
	{
		MemoryContext caller = MemoryContextSwitchTo(d->context);
		int64	   *endpoint_id = palloc(sizeof(int64));

		*endpoint_id = endpoint->endpoint_id;
		gone = lappend(gone, endpoint_id);
		MemoryContextSwitchTo(caller);
	}
	endpoint->is_enabled = false;
	endpoint->is_gone = true;
	disable_at = d->now;
}

static void
schedule_retry(WoDispatcher *d, WoRecord *record)
{
	WoDelivery *delivery = record->delivery;
	WoEndpoint *endpoint = delivery->endpoint;
	int			step = Max(0, Min(delivery->schedule_step,
								  endpoint->n_delays - 1));

	record->verdict = WO_VERDICT_RETRY;
	record->next_attempt_at =
		wo_backoff_next(d->now, endpoint->delays_us[step], endpoint->jitter,
						pg_prng_double(&pg_global_prng_state),
						record->result.retry_after_s);
}

/* Decides what becomes of a delivery after this attempt. */
static void
judge(WoDispatcher *d, WoRecord *record)
{
	WoDelivery *delivery = record->delivery;
	WoEndpoint *endpoint = delivery->endpoint;

	if (record->result.outcome == WO_DELIVERED)
	{
		record->verdict = WO_VERDICT_DELIVERED;
		d->n_delivered++;
		return;
	}
	d->n_failed++;
	if (record->result.http_status == HTTP_GONE)
		note_gone(d, endpoint);
	if (delivery->is_cancelled)
		record->verdict = WO_VERDICT_CANCELLED;
	else if (endpoint->is_deleted)
	{
		record->verdict = WO_VERDICT_DEAD;
		record->reason = "endpoint_deleted";
	}
	else if (delivery->schedule_step < endpoint->n_delays ||
			 record->result.http_status == HTTP_GONE)
		schedule_retry(d, record);
	else
	{
		record->verdict = WO_VERDICT_DEAD;
		record->reason = "attempts_exhausted";
	}
}

static void
handle_result(WoDispatcher *d, const WoResult *result)
{
	WoDelivery *delivery = wo_flight_end(result->slot, result->generation);
	WoRecord   *record;

	if (delivery == NULL)
		return;
	delivery->is_in_flight = false;
	wo_endpoint_release(delivery->endpoint, delivery, result, d->now);
	wo_admission_make_ready(d, delivery->endpoint);
	record = add_record(d, delivery);
	take_result(record, result);
	record->number = delivery->n_attempts + 1;
	record->wait_ms = (float)
		Max(result->started_at - delivery->due_at, 0) / 1000;
	judge(d, record);
	pending_cost += record->verdict == WO_VERDICT_DELIVERED &&
		!delivery->is_stored ? 1 : ROW_COST;
}

/* What a dead sender held has an outcome that nobody knows. */
static void
account_for_dead(WoDispatcher *d)
{
	int			sender;

	while ((sender = wo_senders_next_dead()) >= 0)
	{
		WoFlight   *flight;
		uint32		slot = 0;

		while ((flight = wo_flight_of_sender(sender, &slot)) != NULL)
		{
			WoResult	result;

			memset(&result, 0, sizeof(result));
			result.slot = slot;
			result.generation = flight->generation;
			result.outcome = WO_UNKNOWN;
			result.started_at = flight->handed_at;
			result.retry_after_s = -1;
			result.error = "the sender ended before the response came";
			result.response = "";
			handle_result(d, &result);
		}
		wo_senders_bury(sender);
	}
}

/*
 * Takes what the senders report, and what became of dead ones: of what can be
 * recorded no more than a few milliseconds take, for events wait meanwhile.
 */
void
wo_settle_collect(WoDispatcher *d)
{
	bool		is_bounded = !d->is_stuck && !d->is_stopping;
	WoResult	result;
	int			sender;

	has_results = false;
	while (wo_senders_receive(&result, &sender))
	{
		handle_result(d, &result);
		if (is_bounded && pending_cost >= BATCH_RECORDS)
		{
			has_results = true;
			return;
		}
	}
	account_for_dead(d);
}

/* Gives up a delivery that waits, without another attempt. */
void
wo_settle_abandon(WoDispatcher *d, WoDelivery *delivery, const char *reason)
{
	WoRecord   *record = add_record(d, delivery);

	record->verdict = WO_VERDICT_DEAD;
	record->reason = reason;
	record->result.retry_after_s = -1;
}

/* Lets go of a delivery that is settled, or stored and not in flight. */
void
wo_settle_drop(WoDelivery *delivery)
{
	if (delivery->is_stored)
		wo_backlog_remove(delivery);
	wo_delivery_free(delivery);
}

/* After the commit: what was parked is stored, and memory can let it go. */
static void
apply_parking(void)
{
	for (int i = 0; i < n_parking; i++)
	{
		WoDelivery *delivery = parking[i];

		if (!delivery->is_parking)
			continue;
		delivery->is_parking = false;
		wo_delivery_mark_stored(delivery);
		wo_backlog_add(delivery);
		wo_lane_due_by(&delivery->endpoint->lanes[WO_LANE_FRESH], parked_at);
		if (!delivery->is_in_flight)
			wo_settle_drop(delivery);
	}
	n_parking = 0;
}

/* After the commit: memory follows the table, and metrics count it. */
static void
apply_records(WoDispatcher *d)
{
	for (int i = 0; i < n_pending; i++)
	{
		WoRecord   *record = pending[i];
		WoEndpoint *endpoint = record->delivery->endpoint;

		if (record->number > 0)
			wo_rollup_add_attempt(record, d->now);
		if (record->verdict == WO_VERDICT_RETRY)
			wo_lane_due_by(&endpoint->lanes[WO_LANE_RETRY],
						   record->next_attempt_at);
		wo_settle_drop(record->delivery);
	}
	n_pending = 0;
	pending_cost = 0;
	MemoryContextReset(batch_context);
}

/*
 * Pauses the endpoints that answered 410, as they are in memory.  One that
 * somebody has locked is tried again, until it is loaded as it is then.
 */
static void
disable_gone_endpoints(WoDispatcher *d)
{
	ListCell   *cell;

	if (gone == NIL || d->now < disable_at)
		return;
	foreach(cell, gone)
	{
		int64	   *endpoint_id = lfirst(cell);
		WoEndpoint *endpoint = wo_router_find(*endpoint_id);

		if (endpoint && endpoint->is_gone)
			endpoint->is_gone =
				wo_ledger_disable_endpoint(*endpoint_id,
										   "the receiver answered 410 Gone");
		if (endpoint && endpoint->is_gone)
			continue;
		gone = foreach_delete_current(gone, cell);
		pfree(endpoint_id);
	}
	disable_at = d->now + DISABLE_AGAIN_US;
}

static bool
is_cursor_due(WoDispatcher *d, bool is_last)
{
	WoReader   *reader = d->reader;

	return reader->is_moved &&
		(is_last || reader->n_since_saved >= WO_READ_AHEAD ||
		 d->now - reader->saved_at >= CURSOR_INTERVAL_US);
}

/*
 * Stores what is parked, behind all that is parked already: the time grows
 * from batch to batch though the clock may not.
 */
static void
write_parking(WoDispatcher *d)
{
	int			n = 0;
	WoDelivery **deliveries = palloc(Max(n_parking, 1) * sizeof(WoDelivery *));

	for (int i = 0; i < n_parking; i++)
	{
		if (parking[i]->is_parking)
			deliveries[n++] = parking[i];
	}
	parked_at = Max(d->now, parked_at + 1);
	if (n > 0)
		wo_ledger_park(deliveries, n, parked_at);
}

static void
write_records(WoDispatcher *d, bool with_cursor, bool with_rollup)
{
	wo_txn_begin("recording attempts");
	if (with_rollup)
	{
		wo_rollup_write(d->now, d->is_stopping);
		WO_FAULT("mid_rollup");
	}
	if (n_pending > 0)
		wo_ledger_record(pending, n_pending, d->now);
	if (n_parking > 0)
		write_parking(d);
	disable_gone_endpoints(d);
	if (n_pending > 0)
		WO_FAULT("mid_record");
	if (with_cursor)
	{
		WO_FAULT("before_cursor");
		wo_reader_save(d->reader, d->now);
	}
	wo_txn_commit();
	if (with_cursor)
		WO_FAULT("after_cursor");
	if (with_rollup)
	{
		WO_FAULT("after_rollup");
		wo_rollup_written(d->now);
	}
}

/* Shows why nothing is sent, and logs it when that begins. */
static void
note_obstacle(WoDispatcher *d, const ErrorData *error, const char *consequence)
{
	char	   *obstacle = wo_obstacle_describe(error);
	char		shown[WO_STATE_LEN];

	wo_registry_clip(shown, obstacle, WO_STATE_LEN);
	/* What takes somebody to undo it is said even behind something else. */
	if ((!d->is_stuck && !d->is_blocked) ||
		(error->hint && strcmp(d->obstacle, shown) != 0))
		ereport(LOG,
				(errmsg("webhook_outbox has stopped sending: %s: %s",
						consequence, obstacle),
				 error->hint ? errhint("%s", error->hint) : 0));
	strlcpy(d->obstacle, shown, WO_STATE_LEN);
	wo_registry_set_error(d->database, obstacle);
	d->next_publish_at = d->now;
	pfree(obstacle);
}

/* Stops sending until a write succeeds; says so once. */
static void
become_stuck(WoDispatcher *d, const ErrorData *error)
{
	note_obstacle(d, error, "attempts cannot be recorded");
	d->is_stuck = true;
	retry_at = GetCurrentTimestamp() + STUCK_RETRY_US;
}

/*
 * Stops sending until a cycle succeeds, after an error in a transaction that
 * was rolled back: what it was to do is to be done.
 */
void
wo_settle_block(WoDispatcher *d, const ErrorData *error)
{
	note_obstacle(d, error, "tables cannot be used");
	d->is_blocked = true;
	d->unblock_at = GetCurrentTimestamp() + BLOCKED_RETRY_US;
	d->wants |= WO_WANT_EVENTS | WO_WANT_COMMANDS | WO_WANT_ENDPOINTS;
	d->must_check_claim = d->must_look = true;
	d->must_follow = d->must_refresh = true;
	d->next_look_at = d->now;
}

static void
say_resumed(const WoDispatcher *d)
{
	if (!d->is_stuck && !d->is_blocked)
		ereport(LOG, (errmsg("webhook_outbox resumes sending")));
}

/* All that a cycle has to do was done. */
void
wo_settle_unblock(WoDispatcher *d)
{
	if (!d->is_blocked)
		return;
	d->is_blocked = false;
	say_resumed(d);
}

/* Writes; false when the server cannot write now, or not the rollup. */
static bool
try_write(WoDispatcher *d, bool with_cursor, bool with_rollup)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool is_written = true;

	PG_TRY();
	{
		write_records(d, with_cursor, with_rollup);
	}
	PG_CATCH();
	{
		ErrorData  *error = wo_obstacle_roll_back(caller);

		if (!with_rollup &&
			wo_obstacle_kind(error->sqlerrcode) == WO_ERROR_IS_DEFECT)
			ReThrowError(error);
		d->reader->is_moved |= with_cursor;
		if (with_rollup)
			wo_rollup_give_up(error, d->now);
		else
			become_stuck(d, error);
		FreeErrorData(error);
		is_written = false;
	}
	PG_END_TRY();
	return is_written;
}

/* The clock was set back to now: nothing waits for the time that was. */
void
wo_settle_set_back(WoDispatcher *d)
{
	first_pending_at = Min(first_pending_at, d->now);
	retry_at = Min(retry_at, d->now + STUCK_RETRY_US);
	disable_at = Min(disable_at, d->now + DISABLE_AGAIN_US);
	d->unblock_at = Min(d->unblock_at, d->now + BLOCKED_RETRY_US);
	parked_at = Min(parked_at, d->now);
	d->reader->saved_at = Min(d->reader->saved_at, d->now);
}

/* When pending records or metrics must be written at the latest. */
TimestampTz
wo_settle_deadline(void)
{
	TimestampTz at = wo_rollup_deadline();

	if (retry_at > 0)
		return retry_at;
	if (has_results)
		return DT_NOBEGIN;
	if (wo_settle_has_pending())
		at = Min(at, first_pending_at + BATCH_DELAY_US);
	if (gone != NIL)
		at = Min(at, disable_at);
	return at;
}

/*
 * Is it time to write what the metrics have?  Also when the clock was put
 * back, and at the end of the process.
 */
static bool
is_rollup_due(WoDispatcher *d, bool is_last)
{
	TimestampTz deadline = wo_rollup_deadline();

	return wo_rollup_has_facts() &&
		(d->now >= deadline || deadline - d->now > USECS_PER_MINUTE ||
		 (is_last && d->is_stopping));
}

/* Records what is pending if it is time, or is_last; moves the cursor. */
void
wo_settle_record(WoDispatcher *d, bool is_last)
{
	bool		with_cursor = is_cursor_due(d, is_last || d->is_stuck);
	bool		with_rollup = is_rollup_due(d, is_last);
	bool		is_due = d->is_stuck || d->now >= wo_settle_deadline() ||
	n_pending + n_parking >= BATCH_RECORDS ||
	(is_last && wo_settle_has_pending());

	/* At the end nothing is left to wait for. */
	if (is_last && d->is_stopping)
		retry_at = 0;
	if (d->now < retry_at || (!is_due && !with_cursor && !with_rollup))
		return;
	if (n_pending > 0)
		WO_FAULT("before_record");
	/* Metrics never keep anything from being recorded. */
	if (!(with_rollup && try_write(d, with_cursor, true)) &&
		!try_write(d, with_cursor, false))
		return;
	if (n_pending > 0)
		WO_FAULT("after_record");
	apply_parking();
	apply_records(d);
	wo_reader_settle(d->reader);
	retry_at = 0;
	if (d->is_stuck)
	{
		d->is_stuck = false;
		say_resumed(d);
	}
}
