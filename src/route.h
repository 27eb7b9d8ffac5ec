/*-------------------------------------------------------------------------
 *
 * route.h
 *	  Which endpoints an event matches.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ROUTE_H
#define WO_ROUTE_H

#include "endpoint.h"
#include "event.h"

extern void wo_route_create(MemoryContext context);
extern void wo_route_add(WoEndpoint *endpoint);
extern void wo_route_remove(WoEndpoint *endpoint);
extern void wo_route_reset(void);
extern List *wo_route_match(const WoEvent *event);
extern int	wo_route_widest(void);

#endif							/* WO_ROUTE_H */
