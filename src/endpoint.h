/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *	  An endpoint at run time: its configuration, its lanes and its slots.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ENDPOINT_H
#define WO_ENDPOINT_H

#include "nodes/pg_list.h"
#include "registry.h"
#include "work.h"

/* First attempts go before retries: each kind waits in its own lane. */
typedef enum WoLaneKind
{
	WO_LANE_FRESH,				/* new, parked or sent again by hand */
	WO_LANE_RETRY
} WoLaneKind;

#define WO_N_LANES			2

/* How long an endpoint keeps its slots; see admission.c. */
typedef enum WoPace
{
	WO_PACE_QUICK,
	WO_PACE_SLOW,				/* answers late */
	WO_PACE_NEW,				/* has not been asked */
	WO_PACE_SILENT				/* does not answer */
} WoPace;

#define WO_N_PACES			(WO_PACE_SILENT + 1)

typedef struct WoLane
{
	dlist_head	queue;			/* deliveries that wait for a slot */
	int			n_queued;
	/* Rows of webhook_outbox.delivery that are not in memory: */
	TimestampTz next_due_at;	/* of the first one; DT_NOEND: there is none */
	TimestampTz bound_at;		/* rows up to (bound_at, bound_id) are taken */
	pg_uuid_t	bound_id;
} WoLane;

typedef struct WoEndpoint
{
	int64		endpoint_id;
	MemoryContext config_context;	/* of the texts below; a reload swaps it */
	char	   *name;
	char	   *tenant;			/* NULL: events of every tenant */
	List	   *patterns;		/* of char * */
	bool		is_enabled;		/* and not held */
	bool		is_sealed;		/* a secret or its headers are encrypted */
	char	   *hold_reason;	/* why nothing can be sent; NULL: it can */
	bool		is_deleted;		/* its deliveries become dead letters */
	uint64		deleted_xid;	/* valid if is_deleted: lower ones were owed */
	WoTarget	target;
	uint32		version;		/* grows with each reload */
	int			n_delays;		/* of the retry schedule */
	int64	   *delays_us;
	double		jitter;
	int			tier;
	double		latency_objective_ms;	/* its own, or its tier's */
	int			max_in_flight;
	int			prefetch;		/* to hand over beyond that, if it is quick */
	/* run time */
	uint64		first_window;	/* events of earlier windows are not for it */
	WoLane		lanes[WO_N_LANES];
	int			n_in_flight;
	int			n_retries_in_flight;
	float		recent_ms;		/* what requests took of late */
	TimestampTz asked_at;		/* since when an end is awaited */
	bool		is_new;			/* no request has ended */
	int			n_unanswered;	/* of the last ones, in a row */
	bool		is_ready;		/* ready_node is linked */
	dlist_node	ready_node;		/* in the dispatcher's list of who can send */
	uint32		told_version[WO_MAX_SENDERS];	/* what each sender knows */
} WoEndpoint;

extern WoEndpoint *wo_endpoint_create(int64 endpoint_id);
extern void wo_endpoint_enqueue(WoEndpoint *endpoint, WoDelivery *delivery);
extern void wo_endpoint_unqueue(WoDelivery *delivery);
extern WoDelivery *wo_endpoint_admit(WoEndpoint *endpoint, int limit,
									 TimestampTz now);
extern void wo_endpoint_release(WoEndpoint *endpoint, WoDelivery *delivery,
								const WoResult *result, TimestampTz now);
extern WoPace wo_endpoint_pace(const WoEndpoint *endpoint,
							   TimestampTz now);
extern bool wo_endpoint_can_send(const WoEndpoint *endpoint, int limit);
extern bool wo_endpoint_has_backlog(const WoEndpoint *endpoint,
									TimestampTz now);
extern bool wo_endpoint_wants(const WoEndpoint *endpoint, const char *type,
							  const char *tenant);
extern bool wo_pattern_matches(const char *pattern, const char *type);
extern int64 wo_endpoint_longest_schedule(const WoEndpoint *endpoint);
extern void wo_lane_rewind(WoLane *lane, TimestampTz due_at);

#endif							/* WO_ENDPOINT_H */
