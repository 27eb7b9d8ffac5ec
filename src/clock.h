/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  New event ids, and times in the units that the parts want.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_CLOCK_H
#define WO_CLOCK_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

extern void wo_clock_new_id(pg_uuid_t *id, TimestampTz now);

#endif							/* WO_CLOCK_H */
