/*-------------------------------------------------------------------------
 *
 * senders.h
 *	  The dispatcher's pool of sender processes.
 *
 * Layer 4.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SENDERS_H
#define WO_SENDERS_H

#include "channel.h"
#include "endpoint.h"
#include "registry.h"

extern void wo_senders_create(WoDatabase *database);
extern void wo_senders_maintain(int n_wanted);
extern int	wo_senders_pick(const WoEndpoint *endpoint);
extern void wo_senders_send(int sender, WoEndpoint *endpoint, uint32 slot,
							uint32 generation, const WoEvent *event);
extern void wo_senders_forget(int64 endpoint_id);
extern void wo_senders_flush(void);
extern bool wo_senders_receive(WoResult *result, int *sender);
extern int	wo_senders_next_dead(void);
extern void wo_senders_bury(int sender);
extern bool wo_senders_are_short(void);
extern int	wo_senders_n_live(void);
extern bool wo_senders_take_changed(void);
extern bool wo_senders_all_running(void);
extern void wo_senders_publish(void);

#endif							/* WO_SENDERS_H */
