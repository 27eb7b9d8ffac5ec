/*-------------------------------------------------------------------------
 *
 * histogram.c
 *	  How often which duration occurred: mergeable, with a bounded error.
 *
 * Log-linear: durations are whole microseconds, and each power of two is cut
 * into 16 buckets of the same width.  So up to 31 us each value has a bucket
 * of its own, and above a bucket's middle is at most 3.2 % from any value in
 * it.  From 2^42 us on (50 days) all is one with what is just below.
 *
 * In memory the counters of all buckets from the lowest to the highest that
 * occurred lie side by side, so that adding is one index: durations of one
 * kind span few powers of two.  A sparse list needs a search for each value,
 * which is what merging thousands of histograms cannot afford.
 *
 * Stored, it is a version byte, the total, and for each bucket that is not
 * empty its distance from the one before and its count, all as varints (seven
 * bits a byte, lowest first).  Nothing about what is stored is taken on trust:
 * every user of the database can make a bytea.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "compat.h"
#include "histogram.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#define SUB_BITS		4
#define SUB_BUCKETS		(1 << SUB_BITS)
#define VALUE_BITS		42
#define MAX_VALUE		((UINT64CONST(1) << VALUE_BITS) - 1)	/* us */
#define US_PER_MS		1000.0

#define FORMAT_VERSION	1
#define VARINT_BITS		7
#define MAX_VARINT		10		/* bytes */
#define BUCKET_BYTES	2		/* that a distance takes at most */

StaticAssertDecl(WO_HISTOGRAM_BUCKETS ==
				 (VALUE_BITS - SUB_BITS + 1) * SUB_BUCKETS,
				 "buckets must reach up to MAX_VALUE");

/* Makes an empty histogram that will grow in this context. */
void
wo_histogram_init(WoHistogram *histogram, MemoryContext context)
{
	memset(histogram, 0, sizeof(WoHistogram));
	histogram->context = context;
}

/* Returns the bucket of a value of at most MAX_VALUE. */
static int
bucket_of(uint64 us)
{
	int			shift;

	if (us < SUB_BUCKETS)
		return (int) us;
	shift = pg_leftmost_one_pos64(us) - SUB_BITS;
	return shift * SUB_BUCKETS + (int) (us >> shift);
}

/* Returns the lowest value of a bucket. */
static uint64
lower_us(int bucket)
{
	int			shift = bucket / SUB_BUCKETS - 1;

	if (shift <= 0)
		return bucket;
	return (uint64) (bucket % SUB_BUCKETS + SUB_BUCKETS) << shift;
}

/* Returns what stands for all values of a bucket. */
static double
middle_ms(int bucket)
{
	return (lower_us(bucket) + lower_us(bucket + 1) - 1) / 2.0 / US_PER_MS;
}

/* Returns where a bucket begins, and the one before it ends. */
double
wo_histogram_lower_ms(int bucket)
{
	return lower_us(bucket) / US_PER_MS;
}

static uint64
whole_us(double ms)
{
	double		us = ms * US_PER_MS;

	if (!(us > 0))
		return 0;
	return us >= MAX_VALUE ? MAX_VALUE : (uint64) (us + 0.5);
}

/* Makes room for the buckets from lo to hi, and some around them. */
static void
cover(WoHistogram *histogram, int lo, int hi)
{
	uint64	   *counts;
	int			n;

	if (histogram->n_counts > 0)
	{
		lo = Min(lo, histogram->first);
		hi = Max(hi, histogram->first + histogram->n_counts - 1);
	}
	lo -= lo % SUB_BUCKETS;
	hi += SUB_BUCKETS - 1 - hi % SUB_BUCKETS;
	n = hi - lo + 1;
	counts = MemoryContextAllocZero(histogram->context, n * sizeof(uint64));
	if (histogram->n_counts > 0)
	{
		memcpy(counts + (histogram->first - lo), histogram->counts,
			   histogram->n_counts * sizeof(uint64));
		pfree(histogram->counts);
	}
	histogram->counts = counts;
	histogram->first = lo;
	histogram->n_counts = n;
}

static inline void
add_to_bucket(WoHistogram *histogram, int bucket, uint64 count)
{
	if (bucket < histogram->first ||
		bucket >= histogram->first + histogram->n_counts)
		cover(histogram, bucket, bucket);
	histogram->counts[bucket - histogram->first] += count;
	histogram->total += count;
}

/* Adds one duration; below zero counts as zero. */
void
wo_histogram_add(WoHistogram *histogram, double ms)
{
	add_to_bucket(histogram, bucket_of(whole_us(ms)), 1);
}

/* Adds all that another histogram has; too many are an error. */
void
wo_histogram_combine(WoHistogram *into, const WoHistogram *from)
{
	if (from->n_counts == 0)
		return;
	if (from->total > (uint64) PG_INT64_MAX - into->total)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("histograms have too many values to be joined")));
	cover(into, from->first, from->first + from->n_counts - 1);
	for (int i = 0; i < from->n_counts; i++)
		into->counts[from->first - into->first + i] += from->counts[i];
	into->total += from->total;
}

/* Reads a varint at *at and moves that; false if there is none. */
static inline bool
read_varint(const uint8 **at, const uint8 *end, uint64 *value)
{
	const uint8 *p = *at;
	int			shift = 0;

	if (p < end && *p < 0x80)
	{
		*value = *p;
		*at = p + 1;
		return true;
	}
	*value = 0;
	for (; p < end && shift < 64; shift += VARINT_BITS)
	{
		uint64		bits = *p & 0x7f;

		if ((bits << shift) >> shift != bits)
			return false;
		*value |= bits << shift;
		if (*p++ < 0x80)
		{
			*at = p;
			return true;
		}
	}
	return false;
}

static uint8 *
write_varint(uint8 *at, uint64 value)
{
	for (; value >= 0x80; value >>= VARINT_BITS)
		*at++ = (uint8) (value | 0x80);
	*at++ = (uint8) value;
	return at;
}

/*
 * Adds all that a stored histogram has.  Returns false when that is not what
 * wo_histogram_store makes; some of it may have been added then.
 */
bool
wo_histogram_merge(WoHistogram *into, const bytea *stored)
{
	const uint8 *at = (const uint8 *) VARDATA_ANY(stored);
	const uint8 *end = at + VARSIZE_ANY_EXHDR(stored);
	uint64		left;			/* of the total, not met in a bucket yet */
	int			bucket = -1;

	if (at == end || *at++ != FORMAT_VERSION ||
		!read_varint(&at, end, &left) ||
		left > (uint64) PG_INT64_MAX - into->total)
		return false;
	while (at < end)
	{
		uint64		distance;
		uint64		count;

		if (!read_varint(&at, end, &distance) ||
			!read_varint(&at, end, &count) ||
			distance == 0 ||
			distance >= (uint64) (WO_HISTOGRAM_BUCKETS - bucket) ||
			count == 0 || count > left)
			return false;
		bucket += (int) distance;
		left -= count;
		add_to_bucket(into, bucket, count);
	}
	return left == 0;
}

/* Returns what is to be stored of it, in the current context. */
bytea *
wo_histogram_store(const WoHistogram *histogram)
{
	int			n = 0;
	int			last = -1;
	bytea	   *stored;
	uint8	   *at;

	for (int i = 0; i < histogram->n_counts; i++)
		n += histogram->counts[i] > 0;
	stored = palloc(VARHDRSZ + 1 + MAX_VARINT +
					n * (BUCKET_BYTES + MAX_VARINT));
	at = (uint8 *) VARDATA(stored);
	*at++ = FORMAT_VERSION;
	at = write_varint(at, histogram->total);
	for (int i = 0; i < histogram->n_counts; i++)
	{
		int			bucket = histogram->first + i;

		if (histogram->counts[i] == 0)
			continue;
		at = write_varint(at, bucket - last);
		at = write_varint(at, histogram->counts[i]);
		last = bucket;
	}
	SET_VARSIZE(stored, (char *) at - (char *) stored);
	return stored;
}

/*
 * Returns the values of two neighbouring ranks, counted from 0; the higher
 * one may be beyond the last.
 */
static void
values_at(const WoHistogram *histogram, uint64 rank, double *value,
		  double *next)
{
	uint64		below = 0;
	bool		is_found = false;

	*value = *next = 0;
	for (int i = 0; i < histogram->n_counts; i++)
	{
		if (histogram->counts[i] == 0)
			continue;
		below += histogram->counts[i];
		*next = middle_ms(histogram->first + i);
		if (!is_found && rank < below)
		{
			*value = *next;
			is_found = true;
		}
		if (is_found && rank + 1 < below)
			return;
	}
}

/*
 * Returns the quantile in ms as percentile_cont() defines it: between two
 * ranks the values are joined by a line.  Within a bucket they are not: its
 * middle is never far from any value in it, a guess how they lie might be.
 */
double
wo_histogram_quantile(const WoHistogram *histogram, double q)
{
	double		position = q * (histogram->total - 1);
	double		rank = floor(position);
	double		value;
	double		next;

	Assert(histogram->total > 0 && q >= 0 && q <= 1);
	/* of more than 2^53 values, ranks are rounded, the last one up */
	values_at(histogram, Min((uint64) rank, histogram->total - 1), &value,
			  &next);
	return value + (position - rank) * (next - value);
}

/*
 * Returns how many values are below this one; of the bucket that it is in, a
 * share.
 */
uint64
wo_histogram_count_below(const WoHistogram *histogram, double ms)
{
	double		us = ms * US_PER_MS;
	double		n = 0;

	for (int i = 0; i < histogram->n_counts; i++)
	{
		double		lower = lower_us(histogram->first + i);
		double		upper = lower_us(histogram->first + i + 1);

		if (us < lower)
			break;
		n += histogram->counts[i] * Min(1, (us - lower) / (upper - lower));
	}
	/* for the same reason */
	return Min((uint64) (n + 0.5), histogram->total);
}
