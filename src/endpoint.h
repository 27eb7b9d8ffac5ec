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

#include "lane.h"
#include "nodes/pg_list.h"
#include "registry.h"
#include "work.h"

/* How long an endpoint keeps its slots; see admission.c. */
typedef enum WoPace
{
	WO_PACE_QUICK,
	WO_PACE_SLOW,				/* answers late */
	WO_PACE_NEW,				/* has not been asked */
	WO_PACE_SILENT				/* does not answer */
} WoPace;

#define WO_N_PACES			(WO_PACE_SILENT + 1)

typedef struct WoEndpoint
{
	int64		endpoint_id;
	MemoryContext config_context;	/* of the texts below; a reload swaps it */
	char	   *name;
	char	   *tenant;			/* NULL: events of every tenant */
	List	   *patterns;		/* of char * */
	bool		is_enabled;		/* and not held */
	bool		is_gone;		/* answered 410, and was not loaded since */
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
	/* the router's */
	uint64		judged_in;		/* the last match that it was judged in */
	dlist_head	formers;		/* what it asked for before */
	int			place;			/* in its list */
	bool		is_changed;		/* changed_node is linked */
	dlist_node	changed_node;	/* in its list of who has changed */
	bool		is_routed;		/* route_node is linked */
	dlist_node	route_node;		/* among the endpoints of its tenant */
} WoEndpoint;

extern WoEndpoint *wo_endpoint_create(int64 endpoint_id);
extern void wo_endpoint_free(WoEndpoint *endpoint);
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
extern bool wo_endpoint_asks(List *patterns, const char *tenant,
							 const WoEvent *event);
extern int64 wo_endpoint_longest_schedule(const WoEndpoint *endpoint);

#endif							/* WO_ENDPOINT_H */
