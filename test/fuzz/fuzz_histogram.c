/*-------------------------------------------------------------------------
 *
 * fuzz_histogram.c
 *	  Stored histograms, which any bytea may claim to be.
 *
 * The input is two of them, the first byte says how long the first one is.
 * What is taken is stored again as the same bytes, and percentiles rise.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "histogram.h"

static bytea *
make_bytea(WoFuzzInput *input, size_t max, bool is_short)
{
	size_t		len;
	char	   *bytes = wo_fuzz_bytes(input, max, &len);
	size_t		head = is_short && len < 0x7f - 1 ? VARHDRSZ_SHORT : VARHDRSZ;
	bytea	   *stored = palloc(head + len);

	if (head == VARHDRSZ_SHORT)
		SET_VARSIZE_SHORT(stored, head + len);
	else
		SET_VARSIZE(stored, head + len);
	memcpy((char *) stored + head, bytes, len);
	return stored;
}

static bool
is_minimal(const bytea *stored)
{
	const uint8 *at = (const uint8 *) VARDATA_ANY(stored);
	const uint8 *end = at + VARSIZE_ANY_EXHDR(stored);

	/* a varint that ends in a zero byte has a shorter form */
	for (; at + 1 < end; at++)
	{
		if (at[0] >= 0x80 && at[1] == 0)
			return false;
	}
	return true;
}

static void
check_quantiles(const WoHistogram *histogram)
{
	double		before = 0;

	if (histogram->total == 0)
		return;
	for (int i = 0; i <= 16; i++)
	{
		double		value = wo_histogram_quantile(histogram, i / 16.0);

		wo_fuzz_require(value >= before && value < 1e10);
		before = value;
		wo_fuzz_require(wo_histogram_count_below(histogram, value) <=
						histogram->total);
	}
	/* counts are added up as doubles, which are exact up to here */
	if (histogram->total < UINT64CONST(1) << 52)
		wo_fuzz_require(wo_histogram_count_below(histogram, 1e300) ==
						histogram->total);
	wo_fuzz_require(wo_histogram_count_below(histogram, -1) == 0);
}

static void
check_same_bytes(const bytea *stored, const bytea *again)
{
	size_t		len = VARSIZE_ANY_EXHDR(stored);

	wo_fuzz_require(VARSIZE_ANY_EXHDR(again) <= len);
	if (!is_minimal(stored))
		return;
	wo_fuzz_require(VARSIZE_ANY_EXHDR(again) == len);
	wo_fuzz_require(memcmp(VARDATA_ANY(stored), VARDATA_ANY(again), len) == 0);
}

static void
combine(void *arg)
{
	WoHistogram **pair = arg;

	wo_histogram_combine(pair[0], pair[1]);
}

/* Joins both ways: merging what is stored, and combining what was read. */
static void
check_join(WoHistogram *one, WoHistogram *two, const bytea *first,
		   const bytea *second)
{
	WoHistogram both;
	WoHistogram *pair[] = {one, two};
	uint64		total = one->total + two->total;
	bool		is_merged;

	wo_histogram_init(&both, CurrentMemoryContext);
	is_merged = wo_histogram_merge(&both, first) &&
		wo_histogram_merge(&both, second);
	wo_fuzz_require(is_merged == (total <= PG_INT64_MAX));
	wo_fuzz_require(wo_fuzz_raises(combine, pair) == !is_merged);
	wo_fuzz_require(one->total <= PG_INT64_MAX);
	if (!is_merged)
		return;
	wo_fuzz_require(both.total == total);
	check_same_bytes(wo_histogram_store(&both), wo_histogram_store(one));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	size_t		first_len = wo_fuzz_number(&input, 1);
	bytea	   *first = make_bytea(&input, first_len, size % 2);
	bytea	   *second = make_bytea(&input, size, size % 3);
	WoHistogram one;
	WoHistogram two;

	wo_histogram_init(&one, CurrentMemoryContext);
	wo_histogram_init(&two, CurrentMemoryContext);
	if (wo_histogram_merge(&one, first))
	{
		check_quantiles(&one);
		check_same_bytes(first, wo_histogram_store(&one));
		if (wo_histogram_merge(&two, second))
			check_join(&one, &two, first, second);
		if (one.total < PG_INT64_MAX)
			wo_histogram_add(&one, first_len * 1e3);
		check_quantiles(&one);
	}
	wo_fuzz_reset();
	return 0;
}
