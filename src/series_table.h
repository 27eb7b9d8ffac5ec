/*-------------------------------------------------------------------------
 *
 * series_table.h
 *	  The series that are known: what metrics tell apart within an endpoint.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SERIES_TABLE_H
#define WO_SERIES_TABLE_H

#include "postgres.h"

#include "utils/hsearch.h"

/* Texts in UTF-8. */
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
	uint64		facts_number;	/* of the WoFacts that facts is part of */
	struct WoSeriesFacts *facts;
} WoSeries;

typedef struct WoSeriesTable
{
	MemoryContext context;
	HTAB	   *series;			/* of WoSeries */
	int			n_named;		/* those that are not "(other)" */
	int32		last_series_id; /* the highest in use */
} WoSeriesTable;

extern WoSeriesTable *wo_series_table_create(MemoryContext context);
extern void wo_series_table_reset(WoSeriesTable *table);
extern void wo_series_table_know(WoSeriesTable *table,
								 const WoSeriesKey *key, int32 series_id);
extern WoSeries *wo_series_table_find(WoSeriesTable *table,
									  const WoSeriesKey *key,
									  int max_series);

#endif							/* WO_SERIES_TABLE_H */
