/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  A pg_snapshot that the reader can compare and keep.
 *
 * The type's layout is private to the server, so it is read through its text
 * form, xmin:xmax:xip,xip.  That happens once per window, not per event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "snapshot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"

static int
count_char(const char *text, char c)
{
	int			n = 0;

	for (; *text; text++)
		n += (*text == c);
	return n;
}

/* Parses the text form; the server wrote it, so it is well-formed. */
static void
parse(WoSnapshot *snapshot, const char *text)
{
	char	   *end;

	snapshot->xmin = strtou64(text, &end, 10);
	snapshot->xmax = strtou64(end + 1, &end, 10);
	snapshot->xids = palloc((count_char(end, ',') + 1) * sizeof(uint64));
	snapshot->n_xids = 0;
	for (text = end + 1; *text; text = (*end == ',') ? end + 1 : end)
		snapshot->xids[snapshot->n_xids++] = strtou64(text, &end, 10);
}

/* Copies a pg_snapshot into context; the caller holds the first reference. */
WoSnapshot *
wo_snapshot_from_datum(Datum value, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	WoSnapshot *snapshot = palloc0(sizeof(WoSnapshot));
	char	   *text;

	/* Whole: what a row has out of line goes when the row is updated. */
	snapshot->value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	text = DatumGetCString(DirectFunctionCall1(pg_snapshot_out,
											   snapshot->value));
	parse(snapshot, text);
	snapshot->n_refs = 1;
	pfree(text);
	MemoryContextSwitchTo(caller);
	return snapshot;
}

/* Takes the active snapshot of the transaction. */
WoSnapshot *
wo_snapshot_take(MemoryContext context)
{
	Datum		value = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);

	return wo_snapshot_from_datum(value, context);
}

/* Drops a reference. */
void
wo_snapshot_unref(WoSnapshot *snapshot)
{
	if (--snapshot->n_refs > 0)
		return;
	pfree(DatumGetPointer(snapshot->value));
	pfree(snapshot->xids);
	pfree(snapshot);
}

/* Finds the first xid from that one on among those that were running. */
static int
find_running(const WoSnapshot *snapshot, uint64 xid)
{
	int			lo = 0;
	int			hi = snapshot->n_xids;

	while (lo < hi)
	{
		int			mid = (lo + hi) / 2;

		if (snapshot->xids[mid] < xid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool
is_running(const WoSnapshot *snapshot, uint64 xid)
{
	int			i = find_running(snapshot, xid);

	return i < snapshot->n_xids && snapshot->xids[i] == xid;
}

/* Had the transaction ended when the snapshot was taken? */
bool
wo_snapshot_shows(const WoSnapshot *snapshot, uint64 xid)
{
	return xid < snapshot->xmax && !is_running(snapshot, xid);
}

bool
wo_snapshot_same(const WoSnapshot *a, const WoSnapshot *b)
{
	return a->xmin == b->xmin && a->xmax == b->xmax &&
		a->n_xids == b->n_xids &&
		memcmp(a->xids, b->xids, a->n_xids * sizeof(uint64)) == 0;
}

static int
add_range(WoXidRange *ranges, int n, uint64 lo, uint64 hi)
{
	if (n > 0 && ranges[n - 1].hi == lo)
	{
		ranges[n - 1].hi = hi;
		return n;
	}
	ranges[n].lo = lo;
	ranges[n].hi = hi;
	return n + 1;
}

/*
 * Lists the xids that newer may show and older does not, ascending: those
 * that were running in older and have ended, then all from older's xmax.
 * Neighbours are joined.  ranges has room for older->n_xids + 1.
 */
int
wo_snapshot_ranges(const WoSnapshot *older, const WoSnapshot *newer,
				   WoXidRange *ranges)
{
	int			n = 0;

	for (int i = 0; i < older->n_xids; i++)
	{
		if (!is_running(newer, older->xids[i]))
			n = add_range(ranges, n, older->xids[i], older->xids[i] + 1);
	}
	if (newer->xmax > older->xmax)
		n = add_range(ranges, n, older->xmax, newer->xmax);
	return n;
}

/*
 * Lists the xids in [lo, hi) that the snapshot shows, ascending.  ranges has
 * room for n_xids + 1.
 */
int
wo_snapshot_shown(const WoSnapshot *snapshot, uint64 lo, uint64 hi,
				  WoXidRange *ranges)
{
	int			n = 0;

	hi = Min(hi, snapshot->xmax);
	for (int i = find_running(snapshot, lo);
		 i < snapshot->n_xids && snapshot->xids[i] < hi; i++)
	{
		if (lo < snapshot->xids[i])
			n = add_range(ranges, n, lo, snapshot->xids[i]);
		lo = snapshot->xids[i] + 1;
	}
	return lo < hi ? add_range(ranges, n, lo, hi) : n;
}
