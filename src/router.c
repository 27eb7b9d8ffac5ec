/*-------------------------------------------------------------------------
 *
 * router.c
 *	  Which endpoints get an event: configuration, and matching.
 *
 * Endpoints are loaded under the snapshot that a window of events ends with,
 * before the window is routed, so that an event reaches every endpoint that
 * was committed with it or before it.  What changed stands in the table
 * endpoint_change, empty nearly always; a counter in shared memory was
 * rejected: between a commit's becoming visible and its callback there is no
 * moment at which such a counter is right, and COMMIT PREPARED calls nothing.
 *
 * What matches a (type, tenant) is worked out once and remembered, so that an
 * event costs one look-up with ten thousand endpoints too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "headers.h"
#include "mb/pg_wchar.h"
#include "request.h"
#include "router.h"
#include "txn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The memory of matches is dropped when it grows beyond this. */
#define MAX_ROUTES			10000
#define MAX_LABEL_LEN		255 /* of a type or tenant, in bytes */
#define ROUTE_KEY_LEN		(2 * (MAX_LABEL_LEN + 1))

typedef struct EndpointEntry
{
	int64		endpoint_id;	/* hash key */
	WoEndpoint *endpoint;
} EndpointEntry;

typedef struct Route
{
	char		key[ROUTE_KEY_LEN]; /* hash key: type, NUL, tenant */
	List	   *endpoints;
} Route;

static MemoryContext router_context;
static MemoryContext route_context;
static HTAB *endpoint_table;
static HTAB *route_table;
static List *endpoints = NIL;
static List *deleted = NIL;		/* of WoDeleted */
static List *seen_changes = NIL;	/* of int64 *: change_ids to delete */

#define LOAD_SQL(where) \
	"SELECT e.endpoint_id, e.name, e.url, e.event_types, e.tenant, " \
	"e.enabled, e.body_format, e.headers, " \
	"(EXTRACT(epoch FROM e.timeout) * 1000)::integer, " \
	"ARRAY(SELECT (EXTRACT(epoch FROM d) * 1000000)::bigint " \
	"FROM unnest(e.retry_schedule) WITH ORDINALITY AS u(d, n) ORDER BY n), " \
	"e.retry_jitter, e.max_in_flight, e.http_version, e.ca_certificates, " \
	"k.secrets, k.expiries " \
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

static WoStatement find_changes = {
	"SELECT change_id, endpoint_id, name, is_deleted "
	"FROM webhook_outbox.endpoint_change ORDER BY change_id", 0, NULL, NULL
};

static const Oid forget_types[] = {INT8ARRAYOID};
static WoStatement forget_changes = {
	"DELETE FROM webhook_outbox.endpoint_change WHERE change_id = ANY ($1)",
	1, forget_types, NULL
};

static void
reset_routes(void)
{
	HASHCTL		ctl;

	MemoryContextReset(route_context);
	ctl.keysize = ROUTE_KEY_LEN;
	ctl.entrysize = sizeof(Route);
	ctl.hcxt = route_context;
	route_table = hash_create("webhook_outbox routes", 256, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Makes an empty router.  Called once, when the dispatcher starts. */
void
wo_router_create(MemoryContext context)
{
	HASHCTL		ctl;

	router_context = AllocSetContextCreate(context, "webhook_outbox endpoints",
										   ALLOCSET_DEFAULT_SIZES);
	route_context = AllocSetContextCreate(context, "webhook_outbox routes",
										  ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(EndpointEntry);
	ctl.hcxt = router_context;
	endpoint_table = hash_create("webhook_outbox endpoints", 256, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	reset_routes();
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

/* Returns a text column in UTF-8, as events have it; NULL when null. */
static char *
utf8_text(uint64 row, int column)
{
	char	   *value = wo_txn_text(row, column);

	return value ? pg_server_to_any(value, strlen(value), PG_UTF8) : NULL;
}

static void
set_patterns(WoEndpoint *endpoint, uint64 row, int column)
{
	bool		isnull;
	Datum	   *values;
	int			n = array_values(wo_txn_value(row, column, &isnull), TEXTOID,
								 -1, false, TYPALIGN_INT, &values);

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
set_keys(WoTarget *target, uint64 row, int column)
{
	bool		isnull;
	Datum		secrets = wo_txn_value(row, column, &isnull);
	Datum	   *values;
	Datum	   *expiries;

	target->n_keys = 0;
	if (isnull)
		return;
	target->n_keys = array_values(secrets, TEXTOID, -1, false, TYPALIGN_INT,
								  &values);
	array_values(wo_txn_value(row, column + 1, &isnull), TIMESTAMPTZOID, 8,
				 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &expiries);
	for (int i = 0; i < target->n_keys; i++)
	{
		target->keys[i].secret = TextDatumGetCString(values[i]);
		target->keys[i].expires_at = DatumGetTimestampTz(expiries[i]);
	}
}

static void
set_target(WoEndpoint *endpoint, uint64 row)
{
	WoTarget   *target = &endpoint->target;
	bool		isnull;
	Datum		headers = wo_txn_value(row, 8, &isnull);

	target->endpoint_id = endpoint->endpoint_id;
	target->url = utf8_text(row, 3);
	if (!wo_request_format_by_name(wo_txn_text(row, 7), &target->format))
		elog(ERROR, "endpoint \"%s\" has an unknown body format",
			 endpoint->name);
	target->headers = pstrdup(wo_headers_valid_text(DatumGetJsonbP(headers)));
	target->timeout_ms = DatumGetInt32(wo_txn_value(row, 9, &isnull));
	target->is_http2 = strcmp(wo_txn_text(row, 13), "2") == 0;
	target->ca_pem = wo_txn_text(row, 14);
	set_keys(target, row, 15);
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
	if (endpoint->config_context)
		MemoryContextDelete(endpoint->config_context);
	endpoint->config_context =
		AllocSetContextCreate(router_context, "webhook_outbox endpoint",
							  ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	endpoint->name = wo_txn_text(row, 2);
	set_patterns(endpoint, row, 4);
	endpoint->tenant = utf8_text(row, 5);
	endpoint->is_enabled = DatumGetBool(wo_txn_value(row, 6, &isnull));
	endpoint->is_deleted = false;
	set_schedule(endpoint, row, 10);
	endpoint->jitter = DatumGetFloat8(wo_txn_value(row, 11, &isnull));
	endpoint->max_in_flight = DatumGetInt32(wo_txn_value(row, 12, &isnull));
	set_target(endpoint, row);
	endpoint->version++;
	MemoryContextSwitchTo(caller);
}

static void
note_deleted(int64 change_id, int64 endpoint_id, const char *name)
{
	WoEndpoint *endpoint = wo_router_find(endpoint_id);
	WoDeleted  *entry = palloc(sizeof(WoDeleted));

	entry->change_id = change_id;
	entry->endpoint_id = endpoint_id;
	entry->name = pstrdup(name);
	deleted = lappend(deleted, entry);
	if (endpoint)
	{
		endpoint->is_deleted = true;
		endpoint->is_enabled = false;
		endpoint->patterns = NIL;
	}
}

/* Lists the endpoints that changed into *changed; returns how many. */
static int
note_changes(Datum *changed)
{
	MemoryContext caller = MemoryContextSwitchTo(router_context);
	int			n = SPI_processed;

	list_free_deep(seen_changes);
	list_free_deep(deleted);
	seen_changes = deleted = NIL;
	for (int row = 0; row < n; row++)
	{
		bool		isnull;
		int64	   *change_id = palloc(sizeof(int64));

		*change_id = DatumGetInt64(wo_txn_value(row, 1, &isnull));
		changed[row] = wo_txn_value(row, 2, &isnull);
		if (DatumGetBool(wo_txn_value(row, 4, &isnull)))
			note_deleted(*change_id, DatumGetInt64(changed[row]),
						 wo_txn_text(row, 3));
		seen_changes = lappend(seen_changes, change_id);
	}
	MemoryContextSwitchTo(caller);
	return n;
}

/*
 * Loads what changed since the last call, or everything, under the
 * transaction's snapshot.  Endpoints that are new get events from the window
 * first_window on.  Returns whether there was anything; the caller deals with
 * wo_router_deleted and calls wo_router_forget_changes then.
 */
bool
wo_router_load(bool everything, TimestampTz now, uint64 first_window)
{
	Datum		args[2];
	Datum	   *changed;
	int			n_changes;
	uint64		n_rows;

	n_changes = wo_txn_query(&find_changes, NULL, NULL, 0);
	if (n_changes == 0 && !everything)
		return false;
	changed = palloc(Max(n_changes, 1) * sizeof(Datum));
	n_changes = note_changes(changed);
	args[0] = TimestampTzGetDatum(now);
	args[1] = wo_txn_array(changed, NULL, n_changes, INT8OID);
	n_rows = wo_txn_query(everything ? &load_all : &load_some, args, NULL, 0);
	for (uint64 row = 0; row < n_rows; row++)
		take_endpoint(row, first_window);
	reset_routes();
	return true;
}

/* Deletes the changes that were seen, in the open transaction. */
void
wo_router_forget_changes(void)
{
	int			n = list_length(seen_changes);
	Datum	   *ids = palloc(Max(n, 1) * sizeof(Datum));
	Datum		arg;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		ids[i] = Int64GetDatum(*(int64 *) list_nth(seen_changes, i));
	arg = wo_txn_array(ids, NULL, n, INT8OID);
	wo_txn_execute(&forget_changes, &arg, NULL);
}

/* Endpoints that the last load found deleted: a list of WoDeleted. */
List *
wo_router_deleted(void)
{
	return deleted;
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
	MemoryContextDelete(endpoint->config_context);
	pfree(endpoint);
	reset_routes();
}

static List *
find_matches(const WoEvent *event)
{
	List	   *matches = NIL;
	ListCell   *cell;

	foreach(cell, endpoints)
	{
		WoEndpoint *endpoint = lfirst(cell);

		if (!endpoint->is_deleted &&
			wo_endpoint_wants(endpoint, event->type, event->tenant))
			matches = lappend(matches, endpoint);
	}
	return matches;
}

/* Returns the endpoints that asked for it; valid until the next load. */
List *
wo_router_match(const WoEvent *event)
{
	char		key[ROUTE_KEY_LEN];
	size_t		type_len = strlen(event->type);
	bool		found;
	Route	   *route;
	MemoryContext caller;

	memset(key, 0, ROUTE_KEY_LEN);
	memcpy(key, event->type, Min(type_len, MAX_LABEL_LEN));
	if (event->tenant &&
		strlcpy(key + type_len + 1, event->tenant,
				MAX_LABEL_LEN + 1) > MAX_LABEL_LEN)
		return find_matches(event); /* grew when converted to UTF-8 */
	if (hash_get_num_entries(route_table) > MAX_ROUTES)
		reset_routes();
	route = hash_search(route_table, key, HASH_ENTER, &found);
	caller = MemoryContextSwitchTo(route_context);
	if (!found)
		route->endpoints = find_matches(event);
	MemoryContextSwitchTo(caller);
	return route->endpoints;
}
