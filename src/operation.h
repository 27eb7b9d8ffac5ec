/*-------------------------------------------------------------------------
 *
 * operation.h
 *	  operation_ids: makes publishing idempotent.
 *
 * Layer 3, but runs in the publisher's backend and transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_OPERATION_H
#define WO_OPERATION_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

extern bool wo_operation_claim(Oid namespace_id, Datum tenant,
							   Datum operation_id, const pg_uuid_t *event_id,
							   TimestampTz now);
extern bool wo_operation_find(Oid namespace_id, Datum tenant,
							  Datum operation_id, pg_uuid_t *event_id);

#endif							/* WO_OPERATION_H */
