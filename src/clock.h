/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  New event ids, and a clock that nobody sets.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_CLOCK_H
#define WO_CLOCK_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

extern int64 wo_clock_monotonic(void);
extern void wo_clock_new_id(pg_uuid_t *id, TimestampTz now);

#endif							/* WO_CLOCK_H */
