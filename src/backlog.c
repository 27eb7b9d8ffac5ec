/*-------------------------------------------------------------------------
 *
 * backlog.c
 *	  The deliveries that wait in webhook_outbox.delivery.
 *
 * Per endpoint and lane the dispatcher keeps in memory when the next row is
 * due, and looks only then, and only beyond the rows that it has taken
 * already: it is the one that schedules, so nothing due can appear before
 * that bound but by a command, which rewinds it.  Every minute all lanes that
 * have rows are looked at from the start all the same, for clocks that step.
 *
 * Stored deliveries that are in memory stand in a hash, so that a look from
 * the start does not take them twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "backlog.h"
#include "catalog/pg_type_d.h"
#include "ledger.h"
#include "reader.h"
#include "router.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

typedef struct Key
{
	pg_uuid_t	event_id;
	int64		endpoint_id;
} Key;

typedef struct Entry
{
	Key			key;			/* hash key */
	WoDelivery *delivery;
} Entry;

static MemoryContext backlog_context;
static HTAB *stored;			/* of Entry: stored and in memory */
static List *lost = NIL;		/* of Key *: their event's row is gone */

static const char *const lane_state[WO_N_LANES] = {"parked", "retrying"};

#define N_STATES			3	/* and cancelled */
#define LOOK_AT_ONCE		10000

/* From lane to lane by the index: a step for each lane that has rows. */
static const Oid look_types[] = {INT8OID, INT8OID};
static WoStatement look_at_lanes = {
	"WITH RECURSIVE lane AS ("
	"(SELECT d.endpoint_id, d.state, d.next_attempt_at "
	"FROM webhook_outbox.delivery d WHERE d.endpoint_id >= $1 "
	"ORDER BY d.endpoint_id, d.state, d.next_attempt_at LIMIT 1) "
	"UNION ALL SELECT n.* FROM lane l CROSS JOIN LATERAL ("
	"SELECT d.endpoint_id, d.state, d.next_attempt_at "
	"FROM webhook_outbox.delivery d "
	"WHERE (d.endpoint_id, d.state) > (l.endpoint_id, l.state) "
	"ORDER BY d.endpoint_id, d.state, d.next_attempt_at LIMIT 1) n) "
	"SELECT endpoint_id, state, next_attempt_at FROM lane LIMIT $2",
	lengthof(look_types), look_types, NULL
};

/* Columns before those of the event. */
enum
{
	COL_EVENT_ID = 1, COL_NEXT_ATTEMPT_AT, COL_ATTEMPTS, COL_SCHEDULE_STEP,
	COL_FIRST_ATTEMPT_AT, COL_ORIGIN, COL_EVENT
};

static const Oid load_types[] = {
	INT8OID, TEXTOID, TIMESTAMPTZOID, UUIDOID, INT8OID
};
static WoStatement load_rows = {
	"SELECT d.event_id, d.next_attempt_at, d.attempts, d.schedule_step, "
	"d.first_attempt_at, d.origin, e.* FROM ("
	"SELECT * FROM webhook_outbox.delivery "
	"WHERE endpoint_id = $1 AND state = $2 "
	"AND (next_attempt_at, event_id) > ($3, $4) "
	"ORDER BY next_attempt_at, event_id LIMIT $5) d "
	"LEFT JOIN LATERAL (SELECT " WO_EVENT_COLUMNS " FROM webhook_outbox.event e "
	"WHERE e.id = d.event_id LIMIT 1) e ON true "
	"ORDER BY d.next_attempt_at, d.event_id",
	5, load_types, NULL
};

static const Oid lost_types[] = {UUIDOID, INT8OID, TIMESTAMPTZOID};
static WoStatement bury_lost = {
	"WITH gone AS (DELETE FROM webhook_outbox.delivery "
	"WHERE event_id = $1 AND endpoint_id = $2 RETURNING *) "
	"INSERT INTO webhook_outbox.dead_letter (event_id, endpoint_id, "
	"endpoint_name, event_type, reason, attempts, first_attempt_at, "
	"last_attempt_at, last_outcome, last_status, last_error, last_response, "
	"created_at) SELECT g.event_id, g.endpoint_id, "
	"coalesce((SELECT name FROM webhook_outbox.endpoint e "
	"WHERE e.endpoint_id = g.endpoint_id), ''), '', 'event_lost', "
	"g.attempts, g.first_attempt_at, g.last_attempt_at, a.outcome, "
	"a.http_status, a.error, a.response, $3 FROM gone g "
	WO_LAST_ATTEMPT_UNLESS("false")
	"WHERE " WO_IS_FREE "ON CONFLICT (endpoint_id, event_id) DO NOTHING",
	3, lost_types, NULL
};

/* Makes an empty backlog.  Called once, when the dispatcher starts. */
void
wo_backlog_create(MemoryContext context)
{
	HASHCTL		ctl;

	backlog_context = context;
	ctl.keysize = sizeof(Key);
	ctl.entrysize = sizeof(Entry);
	ctl.hcxt = context;
	stored = hash_create("webhook_outbox stored deliveries", 1024, &ctl,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static Key
key_of(const pg_uuid_t *event_id, int64 endpoint_id)
{
	Key			key;

	memset(&key, 0, sizeof(Key));
	key.event_id = *event_id;
	key.endpoint_id = endpoint_id;
	return key;
}

/* Remembers a stored delivery that is in memory. */
void
wo_backlog_add(WoDelivery *delivery)
{
	Key			key = key_of(&delivery->log->event.id,
							 delivery->endpoint->endpoint_id);
	Entry	   *entry = hash_search(stored, &key, HASH_ENTER, NULL);

	entry->delivery = delivery;
}

/* Forgets it: it leaves memory. */
void
wo_backlog_remove(WoDelivery *delivery)
{
	Key			key = key_of(&delivery->log->event.id,
							 delivery->endpoint->endpoint_id);

	hash_search(stored, &key, HASH_REMOVE, NULL);
}

/* Finds a stored delivery in memory; NULL when there is none. */
WoDelivery *
wo_backlog_find(const pg_uuid_t *event_id, int64 endpoint_id)
{
	Key			key = key_of(event_id, endpoint_id);
	Entry	   *entry = hash_search(stored, &key, HASH_FIND, NULL);

	return entry ? entry->delivery : NULL;
}

/* Lists all stored deliveries that are in memory. */
List *
wo_backlog_all(void)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;
	List	   *all = NIL;

	hash_seq_init(&scan, stored);
	while ((entry = hash_seq_search(&scan)) != NULL)
		all = lappend(all, entry->delivery);
	return all;
}

/* Finds the lane that a row of the last query is about; NULL: none. */
static WoLane *
lane_of(uint64 row)
{
	bool		isnull;
	WoEndpoint *endpoint =
	wo_router_find(DatumGetInt64(wo_txn_value(row, 1, &isnull)));
	char	   *state = wo_txn_text(row, 2);

	for (int kind = 0; endpoint && kind < WO_N_LANES; kind++)
	{
		if (strcmp(state, lane_state[kind]) == 0)
			return &endpoint->lanes[kind];
	}
	return NULL;
}

/*
 * Looks when the next row is due of lanes that have any, from the start of
 * each: at most limit of them, of endpoints from *endpoint_id on, which is
 * moved to where to go on.  Returns whether there is more.
 */
bool
wo_backlog_look(int64 *endpoint_id, int limit)
{
	Datum		args[2];
	uint64		n_rows;
	bool		isnull;

	Assert(limit > N_STATES);	/* else it would stay where it is */
	args[0] = Int64GetDatum(*endpoint_id);
	args[1] = Int64GetDatum(limit);
	n_rows = wo_txn_query(&look_at_lanes, args, NULL, 0);
	for (uint64 row = 0; row < n_rows; row++)
	{
		WoLane	   *lane = lane_of(row);
		Datum		due_at = wo_txn_value(row, 3, &isnull);

		if (lane == NULL || isnull)
			continue;
		wo_lane_clear(lane);
		wo_lane_due_by(lane, DatumGetTimestampTz(due_at));
	}
	if (n_rows == limit)
		*endpoint_id = DatumGetInt64(wo_txn_value(n_rows - 1, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return n_rows == limit;
}

/* Looks at all lanes; what is known of those without rows is forgotten. */
void
wo_backlog_look_at_all(void)
{
	int64		endpoint_id = PG_INT64_MIN;
	ListCell   *cell;

	foreach(cell, wo_router_endpoints())
	{
		WoEndpoint *endpoint = lfirst(cell);

		for (int kind = 0; kind < WO_N_LANES; kind++)
			wo_lane_clear(&endpoint->lanes[kind]);
	}
	while (wo_backlog_look(&endpoint_id, LOOK_AT_ONCE))
		;
}

static const char *
origin_of(uint64 row)
{
	char	   *origin = wo_txn_text(row, COL_ORIGIN);

	if (strcmp(origin, "redelivery") == 0)
		return "redelivery";
	return strcmp(origin, "replay") == 0 ? "replay" : "event";
}

/* Returns how many bytes its event takes. */
static Size
take_row(WoLane *lane, uint64 row, TimestampTz due_at)
{
	WoEndpoint *endpoint = lane->endpoint;
	MemoryContext caller = CurrentMemoryContext;
	bool		isnull;
	Datum		first_at;
	WoLogEvent *log = wo_reader_make_event(backlog_context, row, COL_EVENT);
	WoDelivery *delivery;

	MemoryContextSwitchTo(backlog_context);
	delivery = wo_delivery_create(endpoint, log);
	MemoryContextSwitchTo(caller);
	wo_log_event_leave_window(log);
	delivery->is_retry = (lane->kind == WO_LANE_RETRY);
	delivery->n_attempts = DatumGetInt32(wo_txn_value(row, COL_ATTEMPTS,
													  &isnull));
	delivery->schedule_step =
		DatumGetInt32(wo_txn_value(row, COL_SCHEDULE_STEP, &isnull));
	first_at = wo_txn_value(row, COL_FIRST_ATTEMPT_AT, &isnull);
	delivery->first_attempt_at = isnull ? 0 : DatumGetTimestampTz(first_at);
	delivery->origin = origin_of(row);
	/* A parked event has waited since it was published. */
	if (delivery->n_attempts > 0 || strcmp(delivery->origin, "event") != 0)
		delivery->due_at = due_at;
	wo_backlog_add(delivery);
	wo_endpoint_enqueue(endpoint, delivery);
	return log->size;
}

static void
note_lost(const pg_uuid_t *event_id, int64 endpoint_id)
{
	Key		   *key = MemoryContextAlloc(backlog_context, sizeof(Key));
	MemoryContext caller = MemoryContextSwitchTo(backlog_context);

	*key = key_of(event_id, endpoint_id);
	lost = lappend(lost, key);
	MemoryContextSwitchTo(caller);
}

/*
 * Loads at most limit rows of a lane that are due, beyond its bound, and
 * enqueues them; no more once their events have taken max_bytes.  Returns how
 * many were queued; sets when the next is due.
 */
int
wo_backlog_load(WoLane *lane, TimestampTz now, int limit, Size max_bytes)
{
	WoEndpoint *endpoint = lane->endpoint;
	Datum		args[5];
	uint64		n_rows;
	int			n_taken = 0;
	Size		n_bytes = 0;

	args[0] = Int64GetDatum(endpoint->endpoint_id);
	args[1] = CStringGetTextDatum(lane_state[lane->kind]);
	args[2] = TimestampTzGetDatum(lane->bound_at);
	args[3] = UUIDPGetDatum(&lane->bound_id);
	args[4] = Int64GetDatum(limit);
	n_rows = wo_txn_query(&load_rows, args, NULL, 0);
	if (n_rows < limit)
		lane->next_due_at = DT_NOEND;
	for (uint64 row = 0; row < n_rows; row++)
	{
		bool		isnull;
		pg_uuid_t	id = *DatumGetUUIDP(wo_txn_value(row, COL_EVENT_ID,
													 &isnull));
		TimestampTz due_at =
		DatumGetTimestampTz(wo_txn_value(row, COL_NEXT_ATTEMPT_AT,
										 &isnull));

		lane->next_due_at = due_at;
		if (due_at > now || n_bytes >= max_bytes)
			break;
		lane->bound_at = due_at;
		lane->bound_id = id;
		(void) wo_txn_value(row, COL_EVENT, &isnull);
		if (isnull)
			note_lost(&id, endpoint->endpoint_id);
		else if (!wo_backlog_find(&id, endpoint->endpoint_id))
		{
			n_bytes += take_row(lane, row, due_at);
			n_taken++;
		}
		if (row == n_rows - 1 && n_rows < limit)
			lane->next_due_at = DT_NOEND;
	}
	SPI_freetuptable(SPI_tuptable);
	return n_taken;
}

/* Did a load meet deliveries whose event is gone? */
bool
wo_backlog_has_lost(void)
{
	return lost != NIL;
}

/* Turns those into dead letters, in the open transaction. */
void
wo_backlog_bury_lost(TimestampTz now)
{
	ListCell   *cell;

	foreach(cell, lost)
	{
		Key		   *key = lfirst(cell);
		Datum		args[3];

		args[0] = UUIDPGetDatum(&key->event_id);
		args[1] = Int64GetDatum(key->endpoint_id);
		args[2] = TimestampTzGetDatum(now);
		wo_txn_execute(&bury_lost, args, NULL);
	}
}

/* Forgets them, once that is committed. */
void
wo_backlog_forget_lost(void)
{
	list_free_deep(lost);
	lost = NIL;
}
