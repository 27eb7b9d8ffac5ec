/*-------------------------------------------------------------------------
 *
 * router.c
 *	  Which endpoints get an event: their configuration.  See also route.c.
 *
 * Endpoints are loaded under the snapshot that a window of events ends with,
 * before the window is routed, so that an event reaches every endpoint that
 * was committed with it or before it.  What changed stands in the table
 * endpoint_change, empty nearly always; a counter in shared memory was
 * rejected: between a commit's becoming visible and its callback there is no
 * moment at which such a counter is right, and COMMIT PREPARED calls nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "credentials.h"
#include "request.h"
#include "route.h"
#include "router.h"
#include "txn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef struct EndpointEntry
{
	int64		endpoint_id;	/* hash key */
	WoEndpoint *endpoint;
} EndpointEntry;

static MemoryContext router_context;
static HTAB *endpoint_table;
static List *endpoints = NIL;
static List *deleted = NIL;		/* of WoDeleted */
static int	n_deleted = 0;		/* endpoints that are, and were not dropped */
static List *seen_changes = NIL;	/* of int64 *: to forget at once */

#define LOAD_SQL(where) \
	"SELECT e.endpoint_id, e.name, e.url, e.event_types, e.tenant, " \
	"e.enabled, e.body_format, " \
	"(SELECT h.headers FROM webhook_outbox.endpoint_header h " \
	"WHERE h.endpoint_id = e.endpoint_id), " \
	"(EXTRACT(epoch FROM e.timeout) * 1000)::integer, " \
	"ARRAY(SELECT (EXTRACT(epoch FROM d) * 1000000)::bigint " \
	"FROM unnest(e.retry_schedule) WITH ORDINALITY AS u(d, n) ORDER BY n), " \
	"e.retry_jitter, e.max_in_flight, e.http_version, e.ca_certificates, " \
	"k.secrets, k.expiries, e.proxy, e.tier, " \
	"(EXTRACT(epoch FROM coalesce(e.latency_objective, " \
	"(SELECT t.latency_objective FROM webhook_outbox.tier t " \
	"WHERE t.tier = e.tier))) * 1000)::double precision " \
	"FROM webhook_outbox.endpoint e, LATERAL (" \
	"SELECT array_agg(s.secret ORDER BY s.secret_id DESC) AS secrets, " \
	"array_agg(coalesce(s.expires_at, 'infinity') ORDER BY s.secret_id DESC)" \
	" AS expiries FROM (SELECT * FROM webhook_outbox.endpoint_secret s " \
	"WHERE s.endpoint_id = e.endpoint_id AND (s.expires_at IS NULL OR " \
	"s.expires_at > $1) ORDER BY s.secret_id DESC LIMIT 4) s) k " where

static const Oid load_types[] = {TIMESTAMPTZOID, INT8ARRAYOID};
static WoStatement load_all = {LOAD_SQL(""), 1, load_types, NULL};
static WoStatement load_some = {
	LOAD_SQL("WHERE e.endpoint_id = ANY ($2)"), 2, load_types, NULL
};

static const Oid changes_types[] = {INT8ARRAYOID};
static WoStatement find_changes = {
	"SELECT change_id, endpoint_id, name, is_deleted, event_types, tenant, xid "
	"FROM webhook_outbox.endpoint_change WHERE change_id <> ALL ($1) "
	"ORDER BY change_id", 1, changes_types, NULL
};

static const Oid forget_types[] = {INT8ARRAYOID};
static WoStatement forget_changes = {
	"DELETE FROM webhook_outbox.endpoint_change WHERE change_id = ANY ($1)",
	1, forget_types, NULL
};

/* Makes an empty router.  Called once, when the dispatcher starts. */
void
wo_router_create(MemoryContext context)
{
	HASHCTL		ctl;

	router_context = AllocSetContextCreate(context, "webhook_outbox endpoints",
										   ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(EndpointEntry);
	ctl.hcxt = router_context;
	endpoint_table = hash_create("webhook_outbox endpoints", 256, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	wo_route_create(context);
}

/* Returns the endpoint with this number; NULL when there is none. */
WoEndpoint *
wo_router_find(int64 endpoint_id)
{
	EndpointEntry *entry = hash_search(endpoint_table, &endpoint_id,
									   HASH_FIND, NULL);

	return entry ? entry->endpoint : NULL;
}

/* Finds an endpoint or makes it. */
static WoEndpoint *
find_or_create(int64 endpoint_id, uint64 first_window)
{
	bool		found;
	EndpointEntry *entry = hash_search(endpoint_table, &endpoint_id,
									   HASH_ENTER, &found);

	if (!found)
	{
		MemoryContext caller = MemoryContextSwitchTo(router_context);

		entry->endpoint = wo_endpoint_create(endpoint_id);
		entry->endpoint->first_window = first_window;
		endpoints = lappend(endpoints, entry->endpoint);
		MemoryContextSwitchTo(caller);
	}
	return entry->endpoint;
}

static int
array_values(Datum array, Oid type, int len, bool byval, char align,
			 Datum **values)
{
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), type, len, byval, align,
					  values, NULL, &n);
	return n;
}

static void
set_patterns(WoEndpoint *endpoint, uint64 row, int column)
{
	bool		isnull;
	Datum		patterns = wo_txn_value(row, column, &isnull);
	Datum	   *values;
	int			n = isnull ? 0 : array_values(patterns, TEXTOID, -1, false,
											  TYPALIGN_INT, &values);

	endpoint->patterns = NIL;
	for (int i = 0; i < n; i++)
		endpoint->patterns = lappend(endpoint->patterns,
									 TextDatumGetCString(values[i]));
}

static void
set_schedule(WoEndpoint *endpoint, uint64 row, int column)
{
	bool		isnull;
	Datum	   *values;
	int			n = array_values(wo_txn_value(row, column, &isnull), INT8OID,
								 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
								 &values);

	endpoint->n_delays = n;
	endpoint->delays_us = palloc(Max(n, 1) * sizeof(int64));
	for (int i = 0; i < n; i++)
		endpoint->delays_us[i] = DatumGetInt64(values[i]);
}

static void
set_target(WoEndpoint *endpoint, uint64 row)
{
	WoTarget   *target = &endpoint->target;
	bool		isnull;

	target->endpoint_id = endpoint->endpoint_id;
	target->url = wo_txn_utf8(row, 3);
	if (!wo_request_format_by_name(wo_txn_text(row, 7), &target->format))
		elog(ERROR, "endpoint \"%s\" has an unknown body format",
			 endpoint->name);
	target->timeout_ms = DatumGetInt32(wo_txn_value(row, 9, &isnull));
	target->is_http2 = strcmp(wo_txn_text(row, 13), "2") == 0;
	target->ca_pem = wo_txn_text(row, 14);
	target->proxy = wo_txn_text(row, 17);
	wo_credentials_load(endpoint, row, 8, 15);
}

/*
 * Gives an endpoint a new context for its configuration.  What it has had is
 * used until forget_old_config: should an error come before that, results of
 * requests come in all the same.
 */
static void
renew_config(WoEndpoint *endpoint)
{
	MemoryContext old = endpoint->config_context;

	endpoint->config_context =
		AllocSetContextCreate(router_context, "webhook_outbox endpoint",
							  ALLOCSET_SMALL_SIZES);
	if (old)
		MemoryContextSetParent(old, endpoint->config_context);
}

static void
forget_old_config(WoEndpoint *endpoint)
{
	MemoryContextDeleteChildren(endpoint->config_context);
}

/* Takes an endpoint over from a row of the last query. */
static void
take_endpoint(uint64 row, uint64 first_window)
{
	bool		isnull;
	WoEndpoint *endpoint;
	MemoryContext caller;

	endpoint = find_or_create(DatumGetInt64(wo_txn_value(row, 1, &isnull)),
							  first_window);
	renew_config(endpoint);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	endpoint->name = wo_txn_text(row, 2);
	set_patterns(endpoint, row, 4);
	endpoint->tenant = wo_txn_utf8(row, 5);
	endpoint->is_enabled = DatumGetBool(wo_txn_value(row, 6, &isnull));
	n_deleted -= endpoint->is_deleted;
	endpoint->is_deleted = false;
	set_schedule(endpoint, row, 10);
	endpoint->jitter = DatumGetFloat8(wo_txn_value(row, 11, &isnull));
	endpoint->max_in_flight = DatumGetInt32(wo_txn_value(row, 12, &isnull));
	set_target(endpoint, row);
	endpoint->tier = DatumGetInt16(wo_txn_value(row, 18, &isnull));
	endpoint->latency_objective_ms =
		DatumGetFloat8(wo_txn_value(row, 19, &isnull));
	endpoint->version++;
	MemoryContextSwitchTo(caller);
	forget_old_config(endpoint);
}

/*
 * Notes that an endpoint was deleted.  It stays in memory, as it was, until
 * all events from before the deletion are read: they were owed to it.
 */
static void
note_deleted(int64 change_id, uint64 row, uint64 last_window)
{
	bool		isnull;
	int64		endpoint_id = DatumGetInt64(wo_txn_value(row, 2, &isnull));
	WoEndpoint *endpoint = find_or_create(endpoint_id, 0);
	WoDeleted  *entry = palloc(sizeof(WoDeleted));
	MemoryContext caller;

	renew_config(endpoint);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	endpoint->name = wo_txn_text(row, 3);
	set_patterns(endpoint, row, 5);
	endpoint->tenant = wo_txn_utf8(row, 6);
	MemoryContextSwitchTo(caller);
	n_deleted += !endpoint->is_deleted;
	endpoint->is_deleted = true;
	endpoint->is_enabled = false;
	endpoint->hold_reason = NULL;
	endpoint->deleted_xid = DatumGetUInt64(wo_txn_value(row, 7, &isnull));
	entry->change_id = change_id;
	entry->endpoint_id = endpoint_id;
	entry->name = pstrdup(endpoint->name);
	entry->last_window = last_window;
	deleted = lappend(deleted, entry);
	forget_old_config(endpoint);
}

static Datum
ids_of_deleted(void)
{
	int			n = list_length(deleted);
	Datum	   *ids = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		WoDeleted  *entry = list_nth(deleted, i);

		ids[i] = Int64GetDatum(entry->change_id);
	}
	return wo_txn_array(ids, NULL, n, INT8OID);
}

/* Lists the endpoints that changed into *changed; returns how many. */
static int
note_changes(uint64 n_rows, Datum *changed, uint64 window)
{
	MemoryContext caller = MemoryContextSwitchTo(router_context);
	int			n = 0;

	for (uint64 row = 0; row < n_rows; row++)
	{
		bool		isnull;
		int64	   *change_id = palloc(sizeof(int64));

		*change_id = DatumGetInt64(wo_txn_value(row, 1, &isnull));
		if (DatumGetBool(wo_txn_value(row, 4, &isnull)))
			note_deleted(*change_id, row, window);
		else
		{
			changed[n++] = wo_txn_value(row, 2, &isnull);
			seen_changes = lappend(seen_changes, change_id);
		}
	}
	MemoryContextSwitchTo(caller);
	return n;
}

/*
 * Loads what changed since the last call, or everything, under the
 * transaction's snapshot, which is that of the given window or of one before
 * it.  Endpoints that are new get events from that window on (everything:
 * from any); deleted ones are owed events up to it.  Returns whether there was
 * anything to take over; the caller deals with wo_router_deleted then.
 */
bool
wo_router_load(bool everything, TimestampTz now, uint64 window)
{
	Datum		args[2];
	Datum	   *changed;
	int			n_changed;
	uint64		n_rows;

	args[0] = ids_of_deleted();
	n_rows = wo_txn_query(&find_changes, args, NULL, 0);
	if (n_rows == 0 && !everything && !wo_credentials_must_reopen())
		return false;
	changed = palloc((n_rows + list_length(endpoints) + 1) * sizeof(Datum));
	n_changed = note_changes(n_rows, changed, window);
	n_changed += wo_credentials_to_reopen(endpoints, changed + n_changed);
	wo_route_reset();			/* now, for the next query may fail */
	args[0] = TimestampTzGetDatum(now);
	args[1] = wo_txn_array(changed, NULL, n_changed, INT8OID);
	n_rows = wo_txn_query(everything ? &load_all : &load_some, args, NULL, 0);
	wo_credentials_begin();
	for (uint64 row = 0; row < n_rows; row++)
		take_endpoint(row, everything ? 0 : window);
	wo_credentials_end();
	wo_route_reset();
	return true;
}

/*
 * Is nothing owed to a deleted endpoint any more?  While a request to it is
 * under way, a crash would need the change to make it a dead letter.
 */
static bool
is_over(const WoDeleted *entry, uint64 read_windows)
{
	WoEndpoint *endpoint = wo_router_find(entry->endpoint_id);

	return entry->last_window <= read_windows &&
		(endpoint == NULL || endpoint->n_in_flight == 0);
}

/* Are there changes to forget, with so many windows read to their end? */
bool
wo_router_has_to_forget(uint64 read_windows)
{
	ListCell   *cell;

	foreach(cell, deleted)
	{
		if (is_over(lfirst(cell), read_windows))
			return true;
	}
	return seen_changes != NIL;
}

/* Deletes the changes that are dealt with, in the open transaction. */
void
wo_router_forget_changes(uint64 read_windows)
{
	int			n = 0;
	ListCell   *cell;
	Datum	   *ids = palloc((list_length(seen_changes) +
							  list_length(deleted) + 1) * sizeof(Datum));
	Datum		arg;

	foreach(cell, seen_changes)
		ids[n++] = Int64GetDatum(*(int64 *) lfirst(cell));
	foreach(cell, deleted)
	{
		WoDeleted  *entry = lfirst(cell);

		if (is_over(entry, read_windows))
			ids[n++] = Int64GetDatum(entry->change_id);
	}
	arg = wo_txn_array(ids, NULL, n, INT8OID);
	wo_txn_execute(&forget_changes, &arg, NULL);
}

/* Once that is committed: no event is owed to those endpoints any more. */
void
wo_router_forgotten(uint64 read_windows)
{
	ListCell   *cell;

	list_free_deep(seen_changes);
	seen_changes = NIL;
	foreach(cell, deleted)
	{
		WoDeleted  *entry = lfirst(cell);
		WoEndpoint *endpoint = wo_router_find(entry->endpoint_id);

		if (!is_over(entry, read_windows))
			continue;
		if (endpoint)
			endpoint->patterns = NIL;
		pfree(entry->name);
		pfree(entry);
		deleted = foreach_delete_current(deleted, cell);
	}
	wo_route_reset();
}

/* Endpoints that are deleted and may still be owed events: of WoDeleted. */
List *
wo_router_deleted(void)
{
	return deleted;
}

/* Is any endpoint in memory deleted? */
bool
wo_router_has_deleted(void)
{
	return n_deleted > 0;
}

/* All endpoints in memory, deleted ones too until they are dropped. */
List *
wo_router_endpoints(void)
{
	return endpoints;
}

/* Forgets a deleted endpoint that has nothing in memory any more. */
void
wo_router_drop(WoEndpoint *endpoint)
{
	Assert(endpoint->is_deleted && endpoint->n_in_flight == 0);
	hash_search(endpoint_table, &endpoint->endpoint_id, HASH_REMOVE, NULL);
	endpoints = list_delete_ptr(endpoints, endpoint);
	n_deleted--;
	MemoryContextDelete(endpoint->config_context);
	pfree(endpoint);
	wo_route_reset();
}

/* Returns the endpoints that asked for it; valid until the next load. */
List *
wo_router_match(const WoEvent *event)
{
	return wo_route_match(event, endpoints);
}
