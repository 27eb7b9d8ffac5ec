/*-------------------------------------------------------------------------
 *
 * backlog.h
 *	  The deliveries that wait in webhook_outbox.delivery.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_BACKLOG_H
#define WO_BACKLOG_H

#include "endpoint.h"

extern void wo_backlog_create(MemoryContext context);
extern bool wo_backlog_look(int64 *endpoint_id, int limit);
extern void wo_backlog_look_at_all(void);
extern int	wo_backlog_load(WoLane *lane, TimestampTz now, int limit,
							Size max_bytes);
extern bool wo_backlog_has_lost(void);
extern void wo_backlog_bury_lost(TimestampTz now);
extern void wo_backlog_forget_lost(void);
extern void wo_backlog_add(WoDelivery *delivery);
extern void wo_backlog_remove(WoDelivery *delivery);
extern WoDelivery *wo_backlog_find(const pg_uuid_t *event_id,
								   int64 endpoint_id);
extern List *wo_backlog_all(void);

#endif							/* WO_BACKLOG_H */
