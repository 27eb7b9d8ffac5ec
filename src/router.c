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
#include "columns.h"
#include "credentials.h"
#include "endpoint_rows.h"
#include "former.h"
#include "route.h"
#include "router.h"
#include "snapshot.h"
#include "txn.h"
#include "utils/hsearch.h"
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
 * Changes that were read and not deleted yet, by what is to be done next, in
 * the order of their windows.
 */
static HTAB *change_table;		/* of WoChange */
static dlist_head to_load;		/* empty but after an error */
static dlist_head to_bury;		/* deletions: deliveries are stored */
static dlist_head to_read;		/* deletions: events may be owed yet */
static dlist_head to_settle;	/* older events may be read again yet */
static dlist_head to_forget;
static uint64 looked_xmin = 0;	/* changes of lower xids were seen */

/*
 * What the last look did not show was not committed then: its xid is not below
 * the first that was running.  So this touches neither changes that are known
 * for long nor what an index keeps of those that were deleted.  Nor does it
 * meet what others have changed and not committed: of the xids it gets those
 * that the snapshot shows, from $1 to below $2.  For deletions, which say when
 * they were about to commit and not who did it, that does not hold.
 */
static const Oid changes_types[] = {XID8ARRAYOID, XID8ARRAYOID, XID8OID};
#define CHANGE_COLUMNS \
	"change_id, endpoint_id, name, is_deleted, event_types, tenant, xid, " \
	"until FROM webhook_outbox.endpoint_change "

static WoStatement find_changes = {
	"SELECT c.* FROM unnest($1, $2) AS r (lo, hi), LATERAL ("
	"SELECT " CHANGE_COLUMNS
	"WHERE NOT is_deleted AND xid >= r.lo AND xid < r.hi OFFSET 0) c "
	"UNION ALL SELECT " CHANGE_COLUMNS "WHERE is_deleted AND xid >= $3 "
	"ORDER BY xid, change_id", lengthof(changes_types), changes_types, NULL
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
	dlist_init(&to_settle);
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
find_or_create(int64 endpoint_id)
{
	bool		found;
	EndpointEntry *entry = hash_search(endpoint_table, &endpoint_id,
									   HASH_ENTER, &found);

	if (!found)
	{
		MemoryContext caller = MemoryContextSwitchTo(router_context);

		entry->endpoint = wo_endpoint_create(endpoint_id);
		entry->endpoint->place = list_length(endpoints);
		endpoints = lappend(endpoints, entry->endpoint);
		MemoryContextSwitchTo(caller);
	}
	return entry->endpoint;
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
take_endpoint(uint64 row)
{
	WoEndpoint *endpoint = find_or_create(wo_endpoint_rows_id(row));
	MemoryContext caller;

	begin_change(endpoint);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	wo_endpoint_rows_take(endpoint, row);
	endpoint->is_gone = false;
	endpoint->is_deleted = false;
	endpoint->version++;
	MemoryContextSwitchTo(caller);
	end_change(endpoint);
}

/*
 * Notes that an endpoint was deleted.  It stays in memory, as it was, until
 * all events from before the deletion are read: they were owed to it.
 */
static void
note_deletion(WoChange *change, uint64 row)
{
	bool		isnull;
	WoEndpoint *endpoint = find_or_create(change->endpoint_id);
	MemoryContext caller;

	begin_change(endpoint);
	caller = MemoryContextSwitchTo(endpoint->config_context);
	endpoint->name = wo_txn_text(row, 3);
	endpoint->patterns = wo_endpoint_rows_patterns(row, 5);
	endpoint->tenant = wo_txn_utf8(row, 6);
	MemoryContextSwitchTo(caller);
	endpoint->n_delays = 0;		/* what it had goes with its old config */
	endpoint->is_deleted = true;
	endpoint->is_enabled = false;
	endpoint->is_gone = false;
	/* The highest: nobody knows when, but before what begins now. */
	endpoint->deleted_xid =
		Min(DatumGetUInt64(wo_txn_value(row, 7, &isnull)),
			U64FromFullTransactionId(ReadNextFullTransactionId()));
	change->name = MemoryContextStrdup(router_context, endpoint->name);
	change->deleted_xid = endpoint->deleted_xid;
	end_change(endpoint);
}

/* Reads what an endpoint asked for until now; NULL: that has not changed. */
static WoFormer *
read_former(uint64 row)
{
	bool		isnull;
	List	   *patterns = wo_endpoint_rows_patterns(row, 5);
	char	   *tenant = wo_txn_utf8(row, 6);
	Datum		until;
	ListCell   *cell;
	WoFormer   *former;
	MemoryContext caller;

	(void) wo_txn_value(row, 5, &isnull);
	if (isnull)
		return NULL;
	/* Copies: to read a row leaves more behind than its values. */
	caller = MemoryContextSwitchTo(router_context);
	former = palloc0(sizeof(WoFormer));
	foreach(cell, patterns)
	{
		former->patterns = lappend(former->patterns, pstrdup(lfirst(cell)));
	}
	former->tenant = tenant ? pstrdup(tenant) : NULL;
	former->change_id = DatumGetInt64(wo_txn_value(row, 1, &isnull));
	former->xid = DatumGetUInt64(wo_txn_value(row, 7, &isnull));
	until = wo_txn_value(row, 8, &isnull);
	if (!isnull)
		former->until = wo_snapshot_from_datum(until, router_context);
	former->xmax = former->until ? former->until->xmax :
		U64FromFullTransactionId(ReadNextFullTransactionId());
	MemoryContextSwitchTo(caller);
	return former;
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
	change.last_window = window;
	if (DatumGetBool(wo_txn_value(row, 4, &isnull)))
		note_deletion(&change, row);
	else
		change.former = read_former(row);
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

/*
 * An endpoint is loaded: what it asked for before counts for older events.
 * Returns whether there is anything to remember.  If it was deleted and made
 * again, it is owed what the one was that had its number.
 */
static bool
remember_former(const WoChange *change)
{
	WoEndpoint *endpoint = wo_router_find(change->endpoint_id);

	if (change->former == NULL || endpoint == NULL ||
		(change->former->patterns == NIL && endpoint->deleted_xid != 0))
		return false;
	wo_former_add(change->former, endpoint);
	return true;
}

/* What was to be loaded is loaded. */
static void
note_loaded(void)
{
	while (!dlist_is_empty(&to_load))
	{
		dlist_node *node = dlist_pop_head_node(&to_load);
		WoChange   *change = dlist_container(WoChange, node, node);

		dlist_push_tail(remember_former(change) ? &to_settle : &to_forget,
						node);
	}
}

/* Reads changes that were not read yet, and notes them. */
static void
read_changes(uint64 window)
{
	WoSnapshot *snapshot = wo_snapshot_take(CurrentMemoryContext);
	WoXidRange *ranges = palloc((snapshot->n_xids + 1) * sizeof(WoXidRange));
	int			n = wo_snapshot_shown(snapshot, looked_xmin, PG_UINT64_MAX,
									  ranges);
	WoColumns	columns;
	Datum		args[WO_MAX_COLUMNS];
	uint64		n_rows;

	wo_columns_init(&columns, changes_types, 2, n);
	for (int i = 0; i < n; i++)
	{
		wo_columns_add(&columns, UInt64GetDatum(ranges[i].lo), false);
		wo_columns_add(&columns, UInt64GetDatum(ranges[i].hi), false);
		wo_columns_end_row(&columns);
	}
	wo_columns_arrays(&columns, args);
	args[2] = UInt64GetDatum(looked_xmin);
	n_rows = wo_txn_query(&find_changes, args, NULL, 0);
	for (uint64 row = 0; row < n_rows; row++)
		note_change(row, window);
	looked_xmin = snapshot->xmin;	/* those are noted, whatever comes now */
	wo_snapshot_unref(snapshot);
}

/*
 * Loads what changed since the last call, or everything, under the
 * transaction's snapshot, which is that of the given window or of one before
 * it: all events from before these changes are in windows up to it.  Returns
 * whether there was anything to take over: see wo_router_next_changed and
 * wo_router_to_bury.
 */
bool
wo_router_load(bool everything, TimestampTz now, uint64 window)
{
	Datum	   *ids;
	int			n_ids;
	uint64		n_rows;

	read_changes(window);
	if (dlist_is_empty(&to_load) && !everything &&
		!wo_credentials_must_reopen())
	{
		if (!dlist_is_empty(&changed_endpoints))
			wo_route_reset();
		return !dlist_is_empty(&changed_endpoints);
	}
	n_ids = list_to_load(&ids);
	wo_route_reset();			/* now, for the next query may fail */
	n_rows = everything ? wo_endpoint_rows_load_all(now) :
		wo_endpoint_rows_load(ids, n_ids, now);
	wo_credentials_begin();
	for (uint64 row = 0; row < n_rows; row++)
		take_endpoint(row);
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
 * to their end, and so many settled; returns how many.
 */
int
wo_router_to_forget(uint64 read_windows, uint64 settled_windows,
					WoChange **changes, int limit)
{
	int			n = 0;
	dlist_iter	iter;
	dlist_mutable_iter read;

	while (!dlist_is_empty(&to_settle))
	{
		WoChange   *change = dlist_head_element(WoChange, node, &to_settle);

		if (change->last_window > settled_windows)
			break;
		dlist_delete(&change->node);
		dlist_push_tail(&to_forget, &change->node);
	}
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
	wo_former_drop_endpoint(endpoint);
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
	if (change->former)
		wo_former_free(change->former);
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

/*
 * Returns the endpoints that asked for an event of transaction xid when that
 * was committed; valid until the next load.
 */
List *
wo_router_match(const WoEvent *event, uint64 xid)
{
	return wo_former_match(wo_route_match(event), event, xid);
}
