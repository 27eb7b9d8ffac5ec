/*-------------------------------------------------------------------------
 *
 * uuidv7.c
 *	  UUIDs of version 7 (RFC 9562) whose first 60 free bits are a clock.
 *
 * 48 bits of Unix milliseconds, then (rand_a, method 3 of section 6.2) 12
 * bits of the fraction: one tick is 0.24 microseconds.  The caller sees to it
 * that ticks only grow, so the ids of one server sort by insertion.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "uuidv7.h"

/* Converts microseconds since 1970 to ticks. */
uint64
wo_uuidv7_ticks(int64 unix_us)
{
	uint64		ms = (uint64) unix_us / 1000;
	uint64		us = (uint64) unix_us % 1000;

	return (ms << 12) | (us * 4096 / 1000);
}

/* Builds a UUID from ticks and WO_UUIDV7_RANDOM_LEN bytes of randomness. */
void
wo_uuidv7_make(pg_uuid_t *uuid, uint64 ticks, const uint8 *random)
{
	uint64		ms = ticks >> 12;

	for (int i = 0; i < 6; i++)
		uuid->data[i] = (uint8) (ms >> (40 - 8 * i));
	uuid->data[6] = 0x70 | (uint8) ((ticks >> 8) & 0x0f);
	uuid->data[7] = (uint8) ticks;
	memcpy(&uuid->data[8], random, WO_UUIDV7_RANDOM_LEN);
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}
