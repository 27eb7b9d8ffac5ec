/*-------------------------------------------------------------------------
 *
 * work.h
 *	  What the dispatcher holds in memory: log events and deliveries.
 *
 * Layer 2.  A delivery is either covered by the cursor (a crash reads its
 * event from the log again) or stored: a row of webhook_outbox.delivery.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_WORK_H
#define WO_WORK_H

#include "event.h"
#include "lib/ilist.h"

struct WoEndpoint;
struct WoWindow;

/* A place in a window of the log: leaf by turn, then xid, then id. */
typedef struct WoPosition
{
	int64		turn;
	uint64		xid;
	pg_uuid_t	id;
} WoPosition;

/* An event in memory: one allocation with its texts. */
typedef struct WoLogEvent
{
	WoEvent		event;
	Size		size;			/* bytes of the allocation */
	dlist_head	deliveries;		/* in memory, by WoDelivery.event_node */
	int64		only_endpoint_id;	/* goes to this one alone; 0: to all */
	/* The rest is for events read from the log: window is NULL otherwise. */
	struct WoWindow *window;
	dlist_node	log_node;		/* in the reader's list, in reading order */
	WoPosition	position;
	int			n_open;			/* deliveries that only the cursor covers, and
								 * one more until it is routed */
	TimestampTz read_at;
} WoLogEvent;

/* One event owed to one endpoint. */
typedef struct WoDelivery
{
	struct WoEndpoint *endpoint;
	WoLogEvent *log;
	dlist_node	event_node;		/* in log->deliveries */
	dlist_node	queue_node;		/* in a lane's queue, while it waits there */
	bool		is_queued;		/* queue_node is linked */
	bool		is_in_flight;	/* a sender has it */
	bool		is_stored;		/* has a row in webhook_outbox.delivery */
	bool		is_retry;		/* which lane it belongs to */
	bool		is_cancelled;	/* by SQL, while in flight */
	bool		is_parking;		/* its row is about to be written */
	int			n_attempts;		/* made before */
	int			schedule_step;	/* delays of the schedule used up */
	const char *origin;			/* "event", "redelivery", "replay" */
	TimestampTz due_at;			/* from when wait_ms counts */
	TimestampTz first_attempt_at;	/* 0: none was made */
} WoDelivery;

/* What becomes of a delivery after an attempt. */
typedef enum WoVerdict
{
	WO_VERDICT_DELIVERED,
	WO_VERDICT_RETRY,
	WO_VERDICT_CANCELLED,		/* failed, and nobody wants it any more */
	WO_VERDICT_DEAD
} WoVerdict;

/* An attempt to be recorded; texts live in the ledger's batch context. */
typedef struct WoRecord
{
	WoDelivery *delivery;
	WoVerdict	verdict;
	WoResult	result;
	int			number;			/* of the attempt; 0: none was made */
	float		wait_ms;
	TimestampTz next_attempt_at;	/* valid for WO_VERDICT_RETRY */
	const char *reason;			/* of the dead letter */
} WoRecord;

/* Deliveries in memory that only the cursor covers. */
extern int	wo_n_open_deliveries;

/* Bytes of events in memory that no window holds, but stored deliveries. */
extern Size wo_n_stored_bytes;

extern WoDelivery *wo_delivery_create(struct WoEndpoint *endpoint,
									  WoLogEvent *log);
extern void wo_delivery_mark_stored(WoDelivery *delivery);
extern void wo_delivery_free(WoDelivery *delivery);
extern void wo_log_event_leave_window(WoLogEvent *log);

#endif							/* WO_WORK_H */
