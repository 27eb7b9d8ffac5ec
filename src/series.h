/*-------------------------------------------------------------------------
 *
 * series.h
 *	  The table of series: what metrics tell apart within an endpoint.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SERIES_H
#define WO_SERIES_H

#include "series_table.h"

/* The first columns of a query whose rows wo_series_read_key reads. */
#define WO_SERIES_KEY			"endpoint_id, event_type, tenant, source"
#define WO_SERIES_KEY_COLUMNS	4

extern void wo_series_read_key(uint64 row, WoSeriesKey *key);
extern void wo_series_load(WoSeriesTable *table);
extern void wo_series_store(WoSeries **series, int n);

#endif							/* WO_SERIES_H */
