/*-------------------------------------------------------------------------
 *
 * uuidv7.h
 *	  UUIDs of version 7 (RFC 9562) whose first 60 free bits are a clock.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_UUIDV7_H
#define WO_UUIDV7_H

#include "utils/uuid.h"

#define WO_UUIDV7_RANDOM_LEN	8

extern uint64 wo_uuidv7_ticks(int64 unix_us);
extern void wo_uuidv7_make(pg_uuid_t *uuid, uint64 ticks,
						   const uint8 *random);

#endif							/* WO_UUIDV7_H */
