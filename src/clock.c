/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  New event ids, and a clock that nobody sets.
 *
 * The last tick given out is an atomic in shared memory, so ids grow strictly
 * over all backends whatever the wall clock does.  Without the registry (not
 * preloaded) each backend has a counter of its own: ids stay unique, only
 * their order between backends is the wall clock's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "clock.h"
#include "registry.h"
#include "utils/timestamp.h"
#include "uuidv7.h"

#define UNIX_EPOCH_US \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define RANDOM_BATCH		(128 * WO_UUIDV7_RANDOM_LEN)

/* Returns the next tick of a counter that follows the time but never stops. */
static uint64
next_tick(uint64 wanted)
{
	static uint64 local_tick = 0;
	uint64		last;
	uint64		next;

	if (wo_registry == NULL)
	{
		local_tick = Max(wanted, local_tick + 1);
		return local_tick;
	}
	last = pg_atomic_read_u64(&wo_registry->id_clock);
	do
		next = Max(wanted, last + 1);
	while (!pg_atomic_compare_exchange_u64(&wo_registry->id_clock, &last,
										   next));
	return next;
}

/* Returns fresh randomness; a batch at a time, for each call costs a lock. */
static const uint8 *
random_bytes(void)
{
	static uint8 batch[RANDOM_BATCH];
	static int	used = RANDOM_BATCH;

	if (used == RANDOM_BATCH)
	{
		if (!pg_strong_random(batch, RANDOM_BATCH))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		used = 0;
	}
	used += WO_UUIDV7_RANDOM_LEN;
	return &batch[used - WO_UUIDV7_RANDOM_LEN];
}

/*
 * Returns microseconds since some moment, the same one for all processes of
 * this machine.  How long something took, or may take, is told by this clock:
 * the other one can be set, and goes on while a virtual machine is stopped.
 */
int64
wo_clock_monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/* Makes the id of an event that is inserted now. */
void
wo_clock_new_id(pg_uuid_t *id, TimestampTz now)
{
	uint64		tick = next_tick(wo_uuidv7_ticks(now + UNIX_EPOCH_US));

	wo_uuidv7_make(id, tick, random_bytes());
}
