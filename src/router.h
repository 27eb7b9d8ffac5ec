/*-------------------------------------------------------------------------
 *
 * router.h
 *	  Which endpoints get an event.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ROUTER_H
#define WO_ROUTER_H

#include "endpoint.h"

/* A row of endpoint_change that is not deleted yet. */
typedef struct WoChange
{
	int64		change_id;		/* hash key */
	int64		endpoint_id;
	dlist_node	node;			/* in one of router.c's lists */
	uint64		last_window;	/* with events from before the change */
	struct WoFormer *former;	/* NULL: it asks for what it asked for */
	char	   *name;			/* of a deleted endpoint; NULL: it is not */
	/* The rest is valid for deletions. */
	uint64		deleted_xid;	/* of events, lower ones were owed */
	pg_uuid_t	buried_to;		/* what is stored is buried up to this event */
} WoChange;

extern void wo_router_create(MemoryContext context);
extern bool wo_router_load(bool everything, TimestampTz now, uint64 window);
extern int	wo_router_to_bury(WoChange **changes, int limit);
extern void wo_router_buried(WoChange *change);
extern int	wo_router_to_forget(uint64 read_windows, uint64 settled_windows,
								WoChange **changes, int limit);
extern void wo_router_forget_changes(WoChange **changes, int n);
extern bool wo_router_forgotten(WoChange *change);
extern WoEndpoint *wo_router_next_changed(void);
extern void wo_router_followed(WoEndpoint *endpoint);
extern int	wo_router_n_held(void);
extern WoEndpoint *wo_router_find(int64 endpoint_id);
extern List *wo_router_match(const WoEvent *event, uint64 xid);
extern List *wo_router_endpoints(void);

#endif							/* WO_ROUTER_H */
