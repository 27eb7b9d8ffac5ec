/*-------------------------------------------------------------------------
 *
 * rollup_rows.h
 *	  The rows of rollups, as the dispatcher inserts them.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ROLLUP_ROWS_H
#define WO_ROLLUP_ROWS_H

#include "facts.h"

extern int	wo_rollup_rows_count(const WoEndpointFacts *endpoint);
extern void wo_rollup_rows_write(WoEndpointFacts **endpoints, int n,
								 TimestampTz bucket);
extern void wo_rollup_rows_write_open(WoSeriesTable *table);

#endif							/* WO_ROLLUP_ROWS_H */
