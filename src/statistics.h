/*-------------------------------------------------------------------------
 *
 * statistics.h
 *	  How likely a difference is by chance alone.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_STATISTICS_H
#define WO_STATISTICS_H

#include "postgres.h"

/* Sums and products of two totals still fit. */
#define WO_MAX_SHARE_TOTAL	INT64CONST(1000000000000)

/* How often something happened, out of how many times it could have. */
typedef struct WoShare
{
	int64		hits;			/* 0 to total */
	int64		total;
} WoShare;

extern double wo_statistics_normal_p(double z);
extern double wo_statistics_fisher_p(WoShare a, WoShare b);

#endif							/* WO_STATISTICS_H */
