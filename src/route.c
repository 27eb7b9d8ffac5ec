/*-------------------------------------------------------------------------
 *
 * route.c
 *	  Which endpoints an event matches.
 *
 * Layer 2, the memory of router.c, which resets it when endpoints change and
 * takes those out that do, and in again.
 *
 * What matches a (type, tenant) is worked out once and remembered, so that an
 * event costs one look-up with ten thousand endpoints too.  There may be as
 * many tenants, though, each with an endpoint and few events: to work it out,
 * only the endpoints of the event's tenant are looked at, and those that want
 * events of all.  Looking at all ten thousand took 300 us (measured).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "route.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The memory of matches is dropped when it grows beyond this. */
#define MAX_ROUTES			10000
#define MAX_LABEL_LEN		255 /* of a type or tenant, in bytes */
#define ROUTE_KEY_LEN		(2 * (MAX_LABEL_LEN + 1))

typedef struct Route
{
	char		key[ROUTE_KEY_LEN]; /* hash key: type, NUL, tenant */
	List	   *endpoints;
} Route;

/* Some endpoints: those of a tenant, or those that want events of all. */
typedef struct Group
{
	dlist_head	endpoints;		/* by WoEndpoint.route_node */
	int			n;
} Group;

/* The endpoints of a tenant, or of several whose names begin alike. */
typedef struct Tenant
{
	char		name[MAX_LABEL_LEN + 1];	/* hash key: cut off when longer */
	Group		group;
} Tenant;

static MemoryContext route_context;
static HTAB *route_table;		/* of Route, in route_context */
static HTAB *tenant_table;		/* of Tenant: those that have endpoints */
static Group of_all_tenants;
static int	n_largest;			/* endpoints that a tenant had, at most */

static HTAB *
make_table(MemoryContext context, const char *name, Size key_size,
		   Size entry_size, int flags)
{
	HASHCTL		ctl;

	ctl.keysize = key_size;
	ctl.entrysize = entry_size;
	ctl.hcxt = context;
	return hash_create(name, 256, &ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

/* Makes an empty memory of matches.  Called once. */
void
wo_route_create(MemoryContext context)
{
	tenant_table = make_table(context, "webhook_outbox tenants",
							  MAX_LABEL_LEN + 1, sizeof(Tenant),
							  HASH_STRINGS);
	dlist_init(&of_all_tenants.endpoints);
	route_context = AllocSetContextCreate(context, "webhook_outbox routes",
										  ALLOCSET_DEFAULT_SIZES);
	wo_route_reset();
}

/* Forgets all matches: endpoints have changed. */
void
wo_route_reset(void)
{
	MemoryContextReset(route_context);
	route_table = make_table(route_context, "webhook_outbox routes",
							 ROUTE_KEY_LEN, sizeof(Route), HASH_BLOBS);
}

static Tenant *
find_tenant(const char *name, HASHACTION action)
{
	char		key[MAX_LABEL_LEN + 1];
	bool		found;
	Tenant	   *tenant;

	strlcpy(key, name, sizeof(key));
	tenant = hash_search(tenant_table, key, action, &found);
	if (action == HASH_ENTER && !found)
	{
		dlist_init(&tenant->group.endpoints);
		tenant->group.n = 0;
	}
	return tenant;
}

/* Takes an endpoint in; its tenant stays as it is until it is taken out. */
void
wo_route_add(WoEndpoint *endpoint)
{
	Group	   *group = &of_all_tenants;

	Assert(!endpoint->is_routed);
	if (endpoint->tenant != NULL)
		group = &find_tenant(endpoint->tenant, HASH_ENTER)->group;
	dlist_push_tail(&group->endpoints, &endpoint->route_node);
	endpoint->is_routed = true;
	group->n++;
	if (endpoint->tenant != NULL)
		n_largest = Max(n_largest, group->n);
}

/* Takes it out, if it is in.  A reset is due before the next match. */
void
wo_route_remove(WoEndpoint *endpoint)
{
	Group	   *group = &of_all_tenants;

	if (!endpoint->is_routed)
		return;
	if (endpoint->tenant != NULL)
		group = &find_tenant(endpoint->tenant, HASH_FIND)->group;
	dlist_delete(&endpoint->route_node);
	endpoint->is_routed = false;
	group->n--;
	if (group->n == 0 && endpoint->tenant != NULL)
		(void) find_tenant(endpoint->tenant, HASH_REMOVE);
}

/* How many endpoints an event can match, at most. */
int
wo_route_widest(void)
{
	return of_all_tenants.n + n_largest;
}

static List *
add_matches(List *matches, Group *group, const WoEvent *event)
{
	dlist_iter	iter;

	dlist_foreach(iter, &group->endpoints)
	{
		WoEndpoint *endpoint = dlist_container(WoEndpoint, route_node,
											   iter.cur);

		if (wo_endpoint_asks(endpoint->patterns, endpoint->tenant, event))
			matches = lappend(matches, endpoint);
	}
	return matches;
}

/* Works it out, in the current memory context. */
static List *
find_matches(const WoEvent *event)
{
	List	   *matches = add_matches(NIL, &of_all_tenants, event);
	Tenant	   *tenant = event->tenant ?
	find_tenant(event->tenant, HASH_FIND) : NULL;

	return tenant ? add_matches(matches, &tenant->group, event) : matches;
}

/* Returns those of the endpoints that asked for it; valid until the reset. */
List *
wo_route_match(const WoEvent *event)
{
	char		key[ROUTE_KEY_LEN];
	size_t		type_len = strlen(event->type);
	bool		found;
	Route	   *route;
	MemoryContext caller;

	if (hash_get_num_entries(route_table) > MAX_ROUTES)
		wo_route_reset();
	if (type_len > MAX_LABEL_LEN)
		return find_matches(event); /* out of a dump: nobody has checked it */
	memset(key, 0, ROUTE_KEY_LEN);
	memcpy(key, event->type, type_len);
	if (event->tenant &&
		strlcpy(key + type_len + 1, event->tenant,
				MAX_LABEL_LEN + 1) > MAX_LABEL_LEN)
		return find_matches(event); /* grew when converted to UTF-8 */
	route = hash_search(route_table, key, HASH_ENTER, &found);
	if (found)
		return route->endpoints;
	route->endpoints = NIL;
	caller = MemoryContextSwitchTo(route_context);
	route->endpoints = find_matches(event);
	MemoryContextSwitchTo(caller);
	return route->endpoints;
}
