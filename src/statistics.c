/*-------------------------------------------------------------------------
 *
 * statistics.c
 *	  How likely a difference is by chance alone.
 *
 * compare_periods() asks.  All p-values are two-sided: the probability of a
 * difference at least as unlikely as the one seen, if there were none.  They
 * are in C for erfc(), which SQL has from PostgreSQL 16 on only, and which
 * keeps its precision for the smallest of them, where 1 - erf() is 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "statistics.h"

/* A table is as unlikely as the one seen if it is within rounding errors. */
#define ROUNDING		(1.0 + 1e-7)

/* What is so much less likely than the table seen adds nothing to the sum. */
#define NEGLIGIBLE		1e-18

/* Returns the probability that a normal deviate is at least z from 0. */
double
wo_statistics_normal_p(double z)
{
	return erfc(fabs(z) / sqrt(2.0));
}

/*
 * Likelihood of one more hit in a than x, divided by that of x, when the sums
 * of rows and columns are given: the ratio of neighbours in a hypergeometric
 * distribution.
 */
static double
step_up(int64 x, int64 hits, WoShare a, WoShare b)
{
	return (double) (hits - x) / (double) (x + 1) *
		((double) (a.total - x) / (double) (b.total - hits + x + 1));
}

/*
 * Returns the p-value of Fisher's exact test: of all tables with these sums,
 * the share of those that are no likelier than the one seen.  Starts at the
 * likeliest table and walks down both sides as long as it matters, so that it
 * takes time in proportion to the spread and nothing overflows.
 */
double
wo_statistics_fisher_p(WoShare a, WoShare b)
{
	int64		hits = a.hits + b.hits;
	int64		least = Max(0, hits - b.total);
	int64		most = Min(hits, a.total);
	int64		mode = (int64) (((double) hits + 1) * ((double) a.total + 1) /
								((double) a.total + (double) b.total + 2));
	double		seen = 1.0;
	double		all = 0.0;
	double		unlikely = 0.0;
	double		likelihood;

	mode = Min(Max(mode, least), most);
	for (int64 x = mode; x < a.hits && seen > 0; x++)
		seen *= step_up(x, hits, a, b);
	for (int64 x = mode; x > a.hits && seen > 0; x--)
		seen /= step_up(x - 1, hits, a, b);

	likelihood = 1.0;
	for (int64 x = mode; x <= most && likelihood > seen * NEGLIGIBLE; x++)
	{
		all += likelihood;
		if (likelihood <= seen * ROUNDING)
			unlikely += likelihood;
		likelihood *= step_up(x, hits, a, b);
	}
	likelihood = 1.0;
	for (int64 x = mode; x > least && likelihood > seen * NEGLIGIBLE; x--)
	{
		likelihood /= step_up(x - 1, hits, a, b);
		all += likelihood;
		if (likelihood <= seen * ROUNDING)
			unlikely += likelihood;
	}
	return Min(unlikely / all, 1.0);
}
