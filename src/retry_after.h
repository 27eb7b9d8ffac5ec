/*-------------------------------------------------------------------------
 *
 * retry_after.h
 *	  The Retry-After header of a response.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_RETRY_AFTER_H
#define WO_RETRY_AFTER_H

#include <time.h>

/* A receiver cannot put off the next attempt for longer than this. */
#define WO_RETRY_AFTER_MAX_S	(24 * 60 * 60)

extern int	wo_retry_after(const char *value, time_t now);

#endif							/* WO_RETRY_AFTER_H */
