/*-------------------------------------------------------------------------
 *
 * ring.h
 *	  The rings of leaves that events and attempts are stored in.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_RING_H
#define WO_RING_H

#include "datatype/timestamp.h"
#include "registry.h"

#define WO_RING_LEAVES		8
#define WO_KEPT_SLOT		8	/* leaf event_kept */

/* A leaf of the event ring that has been opened and not emptied since. */
typedef struct WoLeaf
{
	int			slot;
	int64		turn;
	uint64		fence;			/* no xid from this on writes; 0: current */
} WoLeaf;

/* What keeps a ring from turning, or its oldest leaf from being emptied. */
typedef struct WoRingProblem
{
	const char *text;			/* NULL: nothing does */
	char		leaf[NAMEDATALEN];	/* that somebody has locked, or "" */
	uint64		fence;			/* a transaction below it may be open, or 0 */
} WoRingProblem;

extern int	wo_ring_current_event_slot(Oid function);

/* The rest is the dispatcher's. */
extern void wo_ring_load(WoDatabase *database);
extern const WoLeaf *wo_ring_event_leaves(int *n);
extern int	wo_ring_attempt_slot(void);
extern int64 wo_ring_attempt_turn(void);
extern bool wo_ring_maintain(WoDatabase *database, TimestampTz now,
							 WoRingProblem *problem);

#endif							/* WO_RING_H */
