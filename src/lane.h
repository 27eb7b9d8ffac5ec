/*-------------------------------------------------------------------------
 *
 * lane.h
 *	  What waits for a slot at an endpoint, and when more of it is due.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_LANE_H
#define WO_LANE_H

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

struct WoEndpoint;

/* First attempts go before retries: each kind waits in its own lane. */
typedef enum WoLaneKind
{
	WO_LANE_FRESH,				/* new, parked or sent again by hand */
	WO_LANE_RETRY
} WoLaneKind;

#define WO_N_LANES			2

typedef struct WoLane
{
	struct WoEndpoint *endpoint;
	WoLaneKind	kind;
	dlist_head	queue;			/* deliveries that wait for a slot */
	int			n_queued;
	/* Rows of webhook_outbox.delivery that are not in memory: */
	TimestampTz next_due_at;	/* of the first one; DT_NOEND: there is none */
	TimestampTz bound_at;		/* rows up to (bound_at, bound_id) are taken */
	pg_uuid_t	bound_id;
	TimestampTz looked_at;		/* when they were looked at last */
	TimestampTz look_at;		/* when they are to be; DT_NOEND: never */
	pairingheap_node look_node; /* linked unless that is DT_NOEND */
} WoLane;

extern void wo_lane_init(WoLane *lane, struct WoEndpoint *endpoint,
						 WoLaneKind kind);
extern void wo_lane_clear(WoLane *lane);
extern void wo_lane_due_by(WoLane *lane, TimestampTz due_at);
extern void wo_lane_rewind(WoLane *lane, TimestampTz due_at);
extern void wo_lane_wake(WoLane *lane);
extern void wo_lane_looked(WoLane *lane, TimestampTz now,
						   TimestampTz again_at);
extern WoLane *wo_lane_to_look_at(TimestampTz now);
extern TimestampTz wo_lane_next_look(void);

#endif							/* WO_LANE_H */
