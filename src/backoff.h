/*-------------------------------------------------------------------------
 *
 * backoff.h
 *	  When to try again.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_BACKOFF_H
#define WO_BACKOFF_H

#include "datatype/timestamp.h"

#define WO_MAX_RETRY_AFTER_S	(24 * 60 * 60)

extern TimestampTz wo_backoff_next(TimestampTz now, int64 delay_us,
								   double jitter, double chance,
								   int retry_after_s);

#endif							/* WO_BACKOFF_H */
