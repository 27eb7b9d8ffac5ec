/*-------------------------------------------------------------------------
 *
 * facts.h
 *	  What was recorded in the minute under way, added up in memory.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FACTS_H
#define WO_FACTS_H

#include "histogram.h"
#include "nodes/pg_list.h"
#include "series_table.h"
#include "work.h"

/* The measures of endpoint_rollup and series_rollup: see their comments. */
typedef struct WoMeasures
{
	int64		n_attempts;
	int64		n_failures;
	int64		n_retries;
	int64		n_delivered;
	int64		n_late;
	int64		n_dead;
	int64		n_retried;
	int64		n_redelivered;
	double		latency_sum_ms;
	double		http_sum_ms;
	float		latency_max_ms;
	float		http_max_ms;
	WoHistogram latency;
	WoHistogram http;
} WoMeasures;

/* Of an endpoint while it was in a tier. */
typedef struct WoTierFacts
{
	int			tier;
	WoMeasures	measures;
} WoTierFacts;

/* How often an endpoint failed in one way. */
typedef struct WoErrorFacts
{
	WoOutcome	outcome;
	int			http_status;	/* 0: none */
	int64		n_attempts;
} WoErrorFacts;

typedef struct WoSeriesFacts
{
	WoSeries   *series;
	WoMeasures	measures;
} WoSeriesFacts;

/* What was added of one endpoint; 0: of events that no endpoint took. */
typedef struct WoEndpointFacts
{
	int64		endpoint_id;	/* hash key */
	List	   *tiers;			/* of WoTierFacts */
	List	   *errors;			/* of WoErrorFacts */
	List	   *series;			/* of WoSeriesFacts */
} WoEndpointFacts;

typedef struct WoFacts
{
	MemoryContext context;		/* holds all of it */
	uint64		number;			/* no other has had it */
	TimestampTz minute;			/* in which the first was added; 0: none was */
	int			n;				/* how many were added */
	int			n_series;		/* that have something */
	HTAB	   *endpoints;		/* of WoEndpointFacts */
} WoFacts;

extern WoFacts *wo_facts_create(MemoryContext parent);
extern void wo_facts_delete(WoFacts *facts);
extern void wo_facts_add_attempt(WoFacts *facts, WoSeriesTable *table,
								 const WoRecord *record, TimestampTz now,
								 int max_series);
extern void wo_facts_add_untaken(WoFacts *facts, WoSeriesTable *table,
								 const WoEvent *event, TimestampTz now,
								 int max_series);
extern WoEndpointFacts **wo_facts_by_endpoint(const WoFacts *facts, int *n);
extern TimestampTz wo_facts_minute_of(TimestampTz at);

#endif							/* WO_FACTS_H */
