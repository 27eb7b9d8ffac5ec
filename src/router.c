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
static List *endpoints = NIL;	/* in no order */
static dlist_head changed_endpoints;	/* by changed_node: to be followed */
static int	n_held = 0;			/* endpoints that nothing can be sent to */

/*
 * Changes that were read and not deleted yet, by what is to be done next.
 * Deletions come in the order of their windows.
 */
static HTAB *change_table;		/* of WoChange */
static dlist_head to_load;		/* empty but after an error */
static dlist_head to_bury;		/* deletions: deliveries are stored */
static dlist_head to_read;		/* deletions: events may be owed yet */
static dlist_head to_forget;
static uint64 looked_xmin = 0;	/* changes of lower xids were seen */

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

/*
 * What the last look did not show was not committed then: its xid is not below
 * the first that was running.  So this touches neither changes that are known
 * for long nor what an index keeps of those that were deleted.
 */
static const Oid changes_types[] = {XID8OID};
static WoStatement find_changes = {
	"SELECT change_id, endpoint_id, name, is_deleted, event_types, tenant, xid "
	"FROM webhook_outbox.endpoint_change WHERE xid >= $1 "
	"ORDER BY xid, change_id", 1, changes_types, NULL
};

static const Oid forget_types[] = {INT8ARRAYOID};
static WoStatement forget_changes = {
	"DELETE FROM webhook_outbox.endpoint_change WHERE change_id = ANY ($1)",
	1, forget_types, NULL
};

static void
make_change_table(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(WoChange);
	ctl.hcxt = router_context;
	change_table = hash_create("webhook_outbox endpoint changes", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

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
	dlist_init(&changed_endpoints);
	dlist_init(&to_load);
	dlist_init(&to_bury);
	dlist_init(&to_read);
	dlist_init(&to_forget);
	make_change_table();
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
		entry->endpoint->place = list_length(endpoints);
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

/* Likewise what follows from the configuration. */
static void
begin_change(WoEndpoint *endpoint)
{
	renew_config(endpoint);
	wo_route_remove(endpoint);
	n_held -= endpoint->hold_reason != NULL;
	endpoint->hold_reason = NULL;
	if (!endpoint->is_changed)
		dlist_push_tail(&changed_endpoints, &endpoint->changed_node);
	endpoint->is_changed = true;
}

static void
end_change(WoEndpoint *endpoint)
{
	n_held += endpoint->hold_reason != NULL;
	wo_route_add(endpoint);
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
	begin_change(endpoint);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	endpoint->name = wo_txn_text(row, 2);
	set_patterns(endpoint, row, 4);
	endpoint->tenant = wo_txn_utf8(row, 5);
	endpoint->is_enabled = DatumGetBool(wo_txn_value(row, 6, &isnull));
	endpoint->is_gone = false;
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
	end_change(endpoint);
}

/*
 * Notes that an endpoint was deleted.  It stays in memory, as it was, until
 * all events from before the deletion are read: they were owed to it.
 */
static void
note_deletion(WoChange *change, uint64 row, uint64 last_window)
{
	bool		isnull;
	WoEndpoint *endpoint = find_or_create(change->endpoint_id, 0);
	MemoryContext caller;

	begin_change(endpoint);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	endpoint->name = wo_txn_text(row, 3);
	set_patterns(endpoint, row, 5);
	endpoint->tenant = wo_txn_utf8(row, 6);
	MemoryContextSwitchTo(caller);
	endpoint->is_deleted = true;
	endpoint->is_enabled = false;
	endpoint->is_gone = false;
	endpoint->deleted_xid = DatumGetUInt64(wo_txn_value(row, 7, &isnull));
	change->name = MemoryContextStrdup(router_context, endpoint->name);
	change->deleted_xid = endpoint->deleted_xid;
	change->last_window = last_window;
	end_change(endpoint);
}

/* Notes a change, unless it is known. */
static void
note_change(uint64 row, uint64 window)
{
	bool		isnull;
	WoChange	change;
	WoChange   *kept;

	memset(&change, 0, sizeof(WoChange));
	change.change_id = DatumGetInt64(wo_txn_value(row, 1, &isnull));
	if (hash_search(change_table, &change.change_id, HASH_FIND, NULL))
		return;
	change.endpoint_id = DatumGetInt64(wo_txn_value(row, 2, &isnull));
	if (DatumGetBool(wo_txn_value(row, 4, &isnull)))
		note_deletion(&change, row, window);
	kept = hash_search(change_table, &change.change_id, HASH_ENTER, NULL);
	*kept = change;
	dlist_push_tail(change.name ? &to_bury : &to_load, &kept->node);
}

/* Lists the endpoints that are to be loaded; returns how many. */
static int
list_to_load(Datum **ids)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &to_load)
		n++;
	*ids = palloc((n + list_length(endpoints) + 1) * sizeof(Datum));
	n = 0;
	dlist_foreach(iter, &to_load)
	{
		WoChange   *change = dlist_container(WoChange, node, iter.cur);

		(*ids)[n++] = Int64GetDatum(change->endpoint_id);
	}
	return n + wo_credentials_to_reopen(endpoints, *ids + n);
}

/* What was to be loaded is loaded. */
static void
note_loaded(void)
{
	while (!dlist_is_empty(&to_load))
		dlist_push_tail(&to_forget, dlist_pop_head_node(&to_load));
}

/*
 * Loads what changed since the last call, or everything, under the
 * transaction's snapshot, which is that of the given window or of one before
 * it.  Endpoints that are new get events from that window on (everything:
 * from any); deleted ones are owed events up to it.  Returns whether there was
 * anything to take over: see wo_router_next_changed and wo_router_to_bury.
 */
bool
wo_router_load(bool everything, TimestampTz now, uint64 window)
{
	uint64		xmin = wo_txn_xmin();
	Datum		args[2];
	Datum	   *ids;
	int			n_ids;
	uint64		n_rows;

	args[0] = UInt64GetDatum(looked_xmin);
	n_rows = wo_txn_query(&find_changes, args, NULL, 0);
	for (uint64 row = 0; row < n_rows; row++)
		note_change(row, window);
	looked_xmin = xmin;			/* those are noted, whatever comes now */
	if (dlist_is_empty(&to_load) && !everything &&
		!wo_credentials_must_reopen())
	{
		if (!dlist_is_empty(&changed_endpoints))
			wo_route_reset();
		return !dlist_is_empty(&changed_endpoints);
	}
	n_ids = list_to_load(&ids);
	wo_route_reset();			/* now, for the next query may fail */
	args[0] = TimestampTzGetDatum(now);
	args[1] = wo_txn_array(ids, NULL, n_ids, INT8OID);
	n_rows = wo_txn_query(everything ? &load_all : &load_some, args, NULL, 0);
	wo_credentials_begin();
	for (uint64 row = 0; row < n_rows; row++)
		take_endpoint(row, everything ? 0 : window);
	wo_credentials_end();
	wo_route_reset();
	note_loaded();
	return true;
}

/*
 * Is nothing owed to a deleted endpoint any more?  While a request to it is
 * under way, a crash would need the change to make it a dead letter.
 */
static bool
is_over(const WoChange *change, uint64 read_windows)
{
	WoEndpoint *endpoint = wo_router_find(change->endpoint_id);

	return change->last_window <= read_windows &&
		(endpoint == NULL || !endpoint->is_deleted ||
		 endpoint->n_in_flight == 0);
}

/* Lists at most limit deletions with deliveries to bury; returns how many. */
int
wo_router_to_bury(WoChange **changes, int limit)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &to_bury)
	{
		if (n == limit)
			break;
		changes[n++] = dlist_container(WoChange, node, iter.cur);
	}
	return n;
}

/* All that was stored for a deleted endpoint is buried. */
void
wo_router_buried(WoChange *change)
{
	dlist_delete(&change->node);
	dlist_push_tail(&to_read, &change->node);
}

/*
 * Lists at most limit changes that are dealt with, with so many windows read
 * to their end; returns how many.
 */
int
wo_router_to_forget(uint64 read_windows, WoChange **changes, int limit)
{
	int			n = 0;
	dlist_iter	iter;
	dlist_mutable_iter read;

	dlist_foreach_modify(read, &to_read)
	{
		WoChange   *change = dlist_container(WoChange, node, read.cur);

		if (change->last_window > read_windows)
			break;				/* so is that of all behind it */
		if (!is_over(change, read_windows))
			continue;
		dlist_delete(&change->node);
		dlist_push_tail(&to_forget, &change->node);
	}
	dlist_foreach(iter, &to_forget)
	{
		if (n == limit)
			break;
		changes[n++] = dlist_container(WoChange, node, iter.cur);
	}
	return n;
}

/* Deletes the rows of changes that are dealt with, in the open transaction. */
void
wo_router_forget_changes(WoChange **changes, int n)
{
	Datum	   *ids = palloc(n * sizeof(Datum));
	Datum		arg;

	for (int i = 0; i < n; i++)
		ids[i] = Int64GetDatum(changes[i]->change_id);
	arg = wo_txn_array(ids, NULL, n, INT8OID);
	wo_txn_execute(&forget_changes, &arg, NULL);
}

/* Forgets a deleted endpoint that nothing in memory refers to any more. */
static void
drop(WoEndpoint *endpoint)
{
	WoEndpoint *last = llast(endpoints);

	Assert(endpoint->is_deleted && endpoint->n_in_flight == 0);
	hash_search(endpoint_table, &endpoint->endpoint_id, HASH_REMOVE, NULL);
	lfirst(list_nth_cell(endpoints, endpoint->place)) = last;
	last->place = endpoint->place;
	endpoints = list_truncate(endpoints, list_length(endpoints) - 1);
	wo_route_remove(endpoint);
	wo_route_reset();
	if (endpoint->is_changed)
		dlist_delete(&endpoint->changed_node);
	wo_endpoint_free(endpoint);
}

/*
 * Once that is committed, and nothing is pending: forgets a change.  After a
 * deletion that drops the endpoint, unless it is there again; returns whether
 * it does.
 */
bool
wo_router_forgotten(WoChange *change)
{
	WoEndpoint *endpoint = wo_router_find(change->endpoint_id);
	bool		is_last = change->name && endpoint && endpoint->is_deleted &&
	endpoint->deleted_xid == change->deleted_xid;

	if (is_last)
		drop(endpoint);
	if (change->name)
		pfree(change->name);
	dlist_delete(&change->node);
	hash_search(change_table, &change->change_id, HASH_REMOVE, NULL);
	return is_last;
}

/*
 * Returns an endpoint that has changed since it was followed; NULL: there is
 * none.
 */
WoEndpoint *
wo_router_next_changed(void)
{
	if (dlist_is_empty(&changed_endpoints))
		return NULL;
	return dlist_head_element(WoEndpoint, changed_node, &changed_endpoints);
}

/* The change of an endpoint is followed. */
void
wo_router_followed(WoEndpoint *endpoint)
{
	dlist_delete(&endpoint->changed_node);
	endpoint->is_changed = false;
}

/* How many endpoints are held? */
int
wo_router_n_held(void)
{
	return n_held;
}

/* All endpoints in memory, deleted ones too until they are dropped. */
List *
wo_router_endpoints(void)
{
	return endpoints;
}

/* Returns the endpoints that asked for it; valid until the next load. */
List *
wo_router_match(const WoEvent *event)
{
	return wo_route_match(event);
}
