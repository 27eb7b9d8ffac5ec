/*-------------------------------------------------------------------------
 *
 * burial.h
 *	  Stored deliveries of deleted endpoints become dead letters.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_BURIAL_H
#define WO_BURIAL_H

#include "router.h"

/* A row of webhook_outbox.delivery, and the name for its dead letter. */
typedef struct WoBurial
{
	pg_uuid_t	event_id;
	int64		endpoint_id;
	const char *name;
} WoBurial;

extern int	wo_burial_find(WoChange **deletions, int n, WoBurial *rows,
						   int limit);
extern void wo_burial_bury(const WoBurial *rows, int n, TimestampTz now);

#endif							/* WO_BURIAL_H */
