/*-------------------------------------------------------------------------
 *
 * snapshot.h
 *	  A pg_snapshot that the reader can compare and keep.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SNAPSHOT_H
#define WO_SNAPSHOT_H

#include "postgres.h"

typedef struct WoSnapshot
{
	uint64		xmin;
	uint64		xmax;
	int			n_xids;			/* running between the two */
	uint64	   *xids;			/* ascending */
	Datum		value;			/* the pg_snapshot itself */
	int			n_refs;
} WoSnapshot;

/* A run of xids: lo <= xid < hi. */
typedef struct WoXidRange
{
	uint64		lo;
	uint64		hi;
} WoXidRange;

extern WoSnapshot *wo_snapshot_take(MemoryContext context);
extern WoSnapshot *wo_snapshot_from_datum(Datum value, MemoryContext context);
extern void wo_snapshot_unref(WoSnapshot *snapshot);
extern bool wo_snapshot_shows(const WoSnapshot *snapshot, uint64 xid);
extern bool wo_snapshot_same(const WoSnapshot *a, const WoSnapshot *b);
extern int	wo_snapshot_ranges(const WoSnapshot *older,
							   const WoSnapshot *newer, WoXidRange *ranges);
extern int	wo_snapshot_shown(const WoSnapshot *snapshot, uint64 lo, uint64 hi,
							  WoXidRange *ranges);

#endif							/* WO_SNAPSHOT_H */
