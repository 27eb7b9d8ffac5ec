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

/* An endpoint that SQL deleted: its deliveries must become dead letters. */
typedef struct WoDeleted
{
	int64		change_id;
	int64		endpoint_id;
	char	   *name;
	uint64		last_window;	/* with events from before the deletion */
} WoDeleted;

extern void wo_router_create(MemoryContext context);
extern bool wo_router_load(bool everything, TimestampTz now, uint64 window);
extern bool wo_router_has_to_forget(uint64 read_windows);
extern void wo_router_forget_changes(uint64 read_windows);
extern void wo_router_forgotten(uint64 read_windows);
extern WoEndpoint *wo_router_find(int64 endpoint_id);
extern List *wo_router_match(const WoEvent *event);
extern List *wo_router_endpoints(void);
extern List *wo_router_deleted(void);
extern bool wo_router_has_deleted(void);
extern void wo_router_drop(WoEndpoint *endpoint);

#endif							/* WO_ROUTER_H */
