/*-------------------------------------------------------------------------
 *
 * histogram.h
 *	  How often which duration occurred: mergeable, with a bounded error.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_HISTOGRAM_H
#define WO_HISTOGRAM_H

#include "postgres.h"

/* Buckets that there can be; see histogram.c for their bounds. */
#define WO_HISTOGRAM_BUCKETS	624

typedef struct WoHistogram
{
	MemoryContext context;		/* of counts */
	uint64		total;			/* sum of counts */
	int			first;			/* bucket that counts[0] is about */
	int			n_counts;		/* of as many buckets from there on */
	uint64	   *counts;			/* NULL while n_counts is 0 */
} WoHistogram;

extern void wo_histogram_init(WoHistogram *histogram, MemoryContext context);
extern void wo_histogram_add(WoHistogram *histogram, double ms);
extern void wo_histogram_combine(WoHistogram *into, const WoHistogram *from);
extern bool wo_histogram_merge(WoHistogram *into, const bytea *stored);
extern bytea *wo_histogram_store(const WoHistogram *histogram);
extern double wo_histogram_quantile(const WoHistogram *histogram, double q);
extern uint64 wo_histogram_count_below(const WoHistogram *histogram,
									   double ms);
extern double wo_histogram_lower_ms(int bucket);

#endif							/* WO_HISTOGRAM_H */
