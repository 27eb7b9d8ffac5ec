/*-------------------------------------------------------------------------
 *
 * former.c
 *	  What endpoints asked for before they changed.
 *
 * An event is owed to the endpoints as they were when it was committed, though
 * it is read later: much later when delivery was off, and again after a crash,
 * when what has changed since is all that endpoints show.  So a change of what
 * an endpoint asks for (its event types, its tenant; that it was made) is
 * remembered, with a snapshot that shows the events from before it, until all
 * of these are settled.  That is a second or so: there are nearly always none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "former.h"

/* By change_id: for one endpoint that is the order of its changes. */
static dlist_head formers = DLIST_STATIC_INIT(formers);
static uint64 newest_xmax = 0;	/* none shows this xid, nor a higher one */
static uint64 n_matched = 0;	/* calls of wo_former_match that had to look */

/* Remembers what an endpoint asked for. */
void
wo_former_add(WoFormer *former, WoEndpoint *endpoint)
{
	dlist_node *after = &formers.head;

	/* They come by xid, which is nearly the same. */
	while (after->prev != &formers.head &&
		   dlist_container(WoFormer, node, after->prev)->change_id >
		   former->change_id)
		after = after->prev;
	dlist_insert_before(after, &former->node);
	former->endpoint = endpoint;
	newest_xmax = Max(newest_xmax, former->until->xmax);
}

static void
unlink_former(WoFormer *former)
{
	if (former->endpoint == NULL)
		return;
	former->endpoint = NULL;
	dlist_delete(&former->node);
	if (dlist_is_empty(&formers))
		newest_xmax = 0;
}

/* An endpoint is about to go: nothing may refer to it. */
void
wo_former_drop_endpoint(const WoEndpoint *endpoint)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &formers)
	{
		WoFormer   *former = dlist_container(WoFormer, node, iter.cur);

		if (former->endpoint == endpoint)
			unlink_former(former);
	}
}

/* Forgets it. */
void
wo_former_free(WoFormer *former)
{
	unlink_former(former);
	wo_snapshot_unref(former->until);
	if (former->tenant)
		pfree(former->tenant);
	list_free_deep(former->patterns);
	pfree(former);
}

/* Was an event of this transaction committed before the change? */
static bool
is_older(const WoFormer *former, uint64 xid)
{
	/* a transaction's own snapshot may show what it writes itself */
	return xid != former->xid && wo_snapshot_shows(former->until, xid);
}

/*
 * Given the endpoints that ask for an event now, returns those that did when
 * it was committed: its first change after that tells what an endpoint asked
 * for then.
 */
List *
wo_former_match(List *matches, const WoEvent *event, uint64 xid)
{
	List	   *result = NIL;
	dlist_iter	iter;
	ListCell   *cell;

	if (xid >= newest_xmax)
		return matches;
	n_matched++;
	dlist_foreach(iter, &formers)
	{
		WoFormer   *former = dlist_container(WoFormer, node, iter.cur);
		WoEndpoint *endpoint = former->endpoint;

		if (endpoint->judged_in == n_matched || !is_older(former, xid))
			continue;
		endpoint->judged_in = n_matched;
		if (wo_endpoint_asks(former->patterns, former->tenant, event))
			result = lappend(result, endpoint);
	}
	foreach(cell, matches)
	{
		WoEndpoint *endpoint = lfirst(cell);

		if (endpoint->judged_in != n_matched)
			result = lappend(result, endpoint);
	}
	return result;
}
