/*-------------------------------------------------------------------------
 *
 * ledger.h
 *	  Records what became of deliveries.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_LEDGER_H
#define WO_LEDGER_H

#include "reader.h"
#include "work.h"

/* A pair that was recorded before a restart: do not deliver it again. */
typedef struct WoRecorded
{
	pg_uuid_t	event_id;
	int64		endpoint_id;
} WoRecorded;

/*
 * Joins a delivery "g" that is given up with its last attempt "a", if it had
 * one that is stored: a person wants to know why it was not delivered.
 */
#define WO_LAST_ATTEMPT_UNLESS(is_known) \
	"LEFT JOIN LATERAL (SELECT t.started_at, t.outcome, t.http_status, " \
	"t.error, t.response FROM webhook_outbox.attempt t " \
	"WHERE g.attempts > 0 AND NOT (" is_known ") " \
	"AND t.event_id = g.event_id AND t.endpoint_id = g.endpoint_id " \
	"ORDER BY t.number DESC LIMIT 1) a ON true "

/*
 * Is there no dead letter of a delivery "g" that somebody has locked?  Whoever
 * sends it again or discards it can take hours to commit, and nobody is to
 * wait for him.  It is as if the delivery had died before he began; if he
 * rolls back, its dead letter stays as it was.
 */
#define WO_IS_FREE \
	"(NOT EXISTS (SELECT FROM webhook_outbox.dead_letter l " \
	"WHERE l.endpoint_id = g.endpoint_id AND l.event_id = g.event_id " \
	"OFFSET 0) OR EXISTS (SELECT FROM webhook_outbox.dead_letter l " \
	"WHERE l.endpoint_id = g.endpoint_id AND l.event_id = g.event_id " \
	"OFFSET 0 FOR UPDATE SKIP LOCKED)) "

extern void wo_ledger_record(WoRecord **records, int n, TimestampTz now);
extern void wo_ledger_park(WoDelivery **deliveries, int n, TimestampTz due_at);
extern void wo_ledger_cancel(WoDelivery **deliveries, int n);
extern bool wo_ledger_disable_endpoint(int64 endpoint_id, const char *reason);
extern int	wo_ledger_find_recorded(WoLogEvent **events, int n,
									MemoryContext context,
									WoRecorded **recorded);
extern int	wo_ledger_forget_operations(TimestampTz before, int limit);

#endif							/* WO_LEDGER_H */
