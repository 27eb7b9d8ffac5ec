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
#include "utils/hsearch.h"
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
typedef struct WoEndpointKey
{
	int64		endpoint_id;
	int64		tier;			/* this wide: a hash key has no padding */
} WoEndpointKey;

typedef struct WoEndpointFacts
{
	WoEndpointKey key;			/* hash key */
	WoMeasures	measures;
} WoEndpointFacts;

/* How often an endpoint failed in one way. */
typedef struct WoErrorKey
{
	int64		endpoint_id;
	int32		outcome;		/* WoOutcome */
	int32		http_status;	/* 0: none */
} WoErrorKey;

typedef struct WoErrorFacts
{
	WoErrorKey	key;			/* hash key */
	int64		n_attempts;
} WoErrorFacts;

/* What can be told apart within an endpoint; texts in UTF-8. */
typedef struct WoSeriesKey
{
	int64		endpoint_id;	/* 0: no endpoint took the event */
	const char *type;
	const char *tenant;			/* NULL: none */
	const char *source;			/* NULL: none */
} WoSeriesKey;

typedef struct WoSeries
{
	WoSeriesKey key;			/* hash key */
	int32		series_id;
	bool		is_stored;		/* has a row in webhook_outbox.series */
	WoMeasures *measures;		/* NULL: nothing was added since the reset */
} WoSeries;

typedef struct WoFacts
{
	MemoryContext context;		/* emptied by a reset */
	TimestampTz minute;			/* in which the first was added; 0: none was */
	int			n;				/* how many were added */
	HTAB	   *endpoints;		/* of WoEndpointFacts; NULL: none was added */
	HTAB	   *errors;			/* of WoErrorFacts; likewise */
	List	   *active;			/* of WoSeries *: that have measures */
	/* The rest stays over a reset. */
	MemoryContext series_context;
	HTAB	   *series;			/* of WoSeries, all that are known */
	int			n_named;		/* those that are not "(other)" */
	int32		last_series_id; /* the highest in use */
} WoFacts;

extern WoFacts *wo_facts_create(MemoryContext context);
extern void wo_facts_reset(WoFacts *facts);
extern void wo_facts_forget_series(WoFacts *facts);
extern void wo_facts_know_series(WoFacts *facts, const WoSeriesKey *key,
								 int32 series_id);
extern WoSeries *wo_facts_series(WoFacts *facts, const WoSeriesKey *key,
								 int max_series);
extern void wo_facts_add_attempt(WoFacts *facts, const WoRecord *record,
								 TimestampTz now, int max_series);
extern void wo_facts_add_untaken(WoFacts *facts, const WoEvent *event,
								 TimestampTz now, int max_series);
extern TimestampTz wo_facts_minute_of(TimestampTz at);

#endif							/* WO_FACTS_H */
