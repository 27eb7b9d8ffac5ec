/*-------------------------------------------------------------------------
 *
 * endpoint_rows.h
 *	  Rows of webhook_outbox.endpoint, as the dispatcher reads them.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ENDPOINT_ROWS_H
#define WO_ENDPOINT_ROWS_H

#include "endpoint.h"

extern uint64 wo_endpoint_rows_load_all(TimestampTz now);
extern uint64 wo_endpoint_rows_load(Datum *ids, int n, TimestampTz now);
extern int64 wo_endpoint_rows_id(uint64 row);
extern void wo_endpoint_rows_take(WoEndpoint *endpoint, uint64 row);
extern List *wo_endpoint_rows_patterns(uint64 row, int column);

#endif							/* WO_ENDPOINT_ROWS_H */
