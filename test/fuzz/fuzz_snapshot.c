/*-------------------------------------------------------------------------
 *
 * fuzz_snapshot.c
 *	  Snapshots: which transactions are new between two of them.
 *
 * The input makes two snapshots, the second later than the first; each
 * transaction is in one of the ranges, once, if and only if the second shows
 * it and the first does not.  Their text is read as the server writes it.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "snapshot.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"

#define N_XIDS		64			/* transactions that occur */

/* In the place of the server's: here a snapshot's datum is its text. */
Datum
pg_snapshot_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_NULL();
}

Datum
DirectFunctionCall1Coll(PGFunction func, Oid collation, Datum arg)
{
	wo_fuzz_require(func == pg_snapshot_out);
	return PointerGetDatum(pstrdup(DatumGetPointer(arg)));
}

struct varlena *
pg_detoast_datum_copy(struct varlena *value)
{
	return (struct varlena *) pstrdup((char *) value);
}

Datum
OidFunctionCall0Coll(Oid function, Oid collation)
{
	return PointerGetDatum("3:3:");
}

/* A snapshot in which these were running, of those from first to xmax. */
static char *
make_text(uint64 base, uint64 running, int xmax)
{
	StringInfoData text;
	int			xmin = 0;
	const char *separator = "";

	while (xmin < xmax && !(running >> xmin & 1))
		xmin++;
	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", base + xmin,
					 base + xmax);
	for (int i = xmin; i < xmax; i++)
	{
		if (!(running >> i & 1))
			continue;
		appendStringInfo(&text, "%s" UINT64_FORMAT, separator, base + i);
		separator = ",";
	}
	return text.data;
}

static void
check_ranges(const WoSnapshot *older, const WoSnapshot *newer, uint64 base)
{
	WoXidRange *ranges = palloc((older->n_xids + 1) * sizeof(WoXidRange));
	int			n = wo_snapshot_ranges(older, newer, ranges);

	wo_fuzz_require(n <= older->n_xids + 1);
	for (uint64 xid = base; xid < base + N_XIDS; xid++)
	{
		int			n_found = 0;

		for (int i = 0; i < n; i++)
			n_found += xid >= ranges[i].lo && xid < ranges[i].hi;
		if (wo_snapshot_shows(newer, xid) && !wo_snapshot_shows(older, xid))
			wo_fuzz_require(n_found == 1);
		else if (xid < older->xmax)
			wo_fuzz_require(n_found == 0);
		else
			wo_fuzz_require(n_found <= 1);
	}
	for (int i = 0; i < n; i++)
		wo_fuzz_require(ranges[i].lo < ranges[i].hi &&
						(i == 0 || ranges[i - 1].hi < ranges[i].lo));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	uint64		base = (uint64) wo_fuzz_number(&input, 4) << 24 | 3;
	int			older_xmax = wo_fuzz_number(&input, 1) % N_XIDS;
	int			newer_xmax = wo_fuzz_number(&input, 1) % N_XIDS;
	uint64		older_running;
	uint64		newer_running;
	WoSnapshot *older;
	WoSnapshot *newer;
	WoSnapshot *same;

	older_running = (uint64) wo_fuzz_number(&input, 4) << 32;
	older_running |= wo_fuzz_number(&input, 4);
	newer_running = (uint64) wo_fuzz_number(&input, 4) << 32;
	newer_running |= wo_fuzz_number(&input, 4);
	/* time goes on, and what has ended does not run again */
	newer_xmax = Max(older_xmax, newer_xmax);
	newer_running &= older_running | ~((UINT64CONST(1) << older_xmax) - 1);

	older = wo_snapshot_from_datum(PointerGetDatum(
									   make_text(base, older_running, older_xmax)), CurrentMemoryContext);
	newer = wo_snapshot_from_datum(PointerGetDatum(
									   make_text(base, newer_running, newer_xmax)), CurrentMemoryContext);
	same = wo_snapshot_from_datum(newer->value, CurrentMemoryContext);
	check_ranges(older, newer, base);
	wo_fuzz_require(wo_snapshot_same(newer, same));
	if (wo_snapshot_same(older, newer))
		wo_fuzz_require(strcmp(DatumGetPointer(older->value),
							   DatumGetPointer(newer->value)) == 0);
	wo_snapshot_unref(older);
	wo_snapshot_unref(newer);
	wo_snapshot_unref(same);
	wo_fuzz_reset();
	return 0;
}
