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

/* An endpoint that SQL deleted and whose deliveries must become dead letters. */
typedef struct WoDeleted
{
	int64		change_id;
	int64		endpoint_id;
	char	   *name;
} WoDeleted;

extern void wo_router_create(MemoryContext context);
extern bool wo_router_load(bool everything, TimestampTz now,
						   uint64 first_window);
extern void wo_router_forget_changes(void);
extern WoEndpoint *wo_router_find(int64 endpoint_id);
extern List *wo_router_match(const WoEvent *event);
extern List *wo_router_endpoints(void);
extern List *wo_router_deleted(void);
extern void wo_router_drop(WoEndpoint *endpoint);

#endif							/* WO_ROUTER_H */
