/*-------------------------------------------------------------------------
 *
 * backoff.c
 *	  When to try again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backoff.h"

/*
 * Returns the time of the next attempt: the delay, changed by up to the share
 * jitter either way (chance in [0, 1) says where), but never earlier than the
 * receiver asked for; retry_after_s is -1 when it did not.
 */
TimestampTz
wo_backoff_next(TimestampTz now, int64 delay_us, double jitter, double chance,
				int retry_after_s)
{
	int64		wait_us = delay_us + (int64)
	((double) delay_us * jitter * (2.0 * chance - 1.0));
	int64		asked_us = Min(retry_after_s, WO_MAX_RETRY_AFTER_S) *
	USECS_PER_SEC;

	return now + Max(Max(wait_us, asked_us), 0);
}
