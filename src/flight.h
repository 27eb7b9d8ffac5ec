/*-------------------------------------------------------------------------
 *
 * flight.h
 *	  The requests under way, by slot and generation.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FLIGHT_H
#define WO_FLIGHT_H

#include "endpoint.h"

typedef struct WoFlight
{
	WoDelivery *delivery;		/* NULL: the slot is free */
	int			sender;			/* who has it */
	WoPace		pace;			/* of the endpoint, when it got the slot */
	uint32		generation;		/* grows with each use of the slot */
	TimestampTz handed_at;		/* when it was given to the sender */
	int			next_free;		/* valid while free; -1: the last one */
} WoFlight;

extern void wo_flight_create(MemoryContext context);
extern void wo_flight_resize(int n_slots);
extern int	wo_flight_n_free(WoPace pace);
extern int	wo_flight_n_used(void);
extern uint32 wo_flight_start(WoDelivery *delivery, int sender, WoPace pace,
							  TimestampTz now, uint32 *generation);
extern WoDelivery *wo_flight_end(uint32 slot, uint32 generation);
extern WoFlight *wo_flight_of_sender(int sender, uint32 *slot);

#endif							/* WO_FLIGHT_H */
