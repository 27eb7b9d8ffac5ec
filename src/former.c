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
 * But ten thousand endpoints can be made at once, while a lot of older events
 * waits: one that was not there cannot have asked for any, so those are looked
 * at only where an event matches.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "former.h"

static dlist_head asking = DLIST_STATIC_INIT(asking);	/* by asking_node */
static int	n_formers = 0;		/* those that have an endpoint */
static uint64 newest_xmax = 0;	/* none shows this xid, nor a higher one */
static uint64 n_matched = 0;	/* calls of wo_former_match that had to look */

/* Remembers what an endpoint asked for. */
void
wo_former_add(WoFormer *former, WoEndpoint *endpoint)
{
	dlist_node *after = &endpoint->formers.head;

	/* By change_id; they come by xid, which is nearly the same. */
	while (after->prev != &endpoint->formers.head &&
		   dlist_container(WoFormer, endpoint_node, after->prev)->change_id >
		   former->change_id)
		after = after->prev;
	dlist_insert_before(after, &former->endpoint_node);
	if (former->patterns != NIL)
		dlist_push_tail(&asking, &former->asking_node);
	former->endpoint = endpoint;
	newest_xmax = Max(newest_xmax, former->xmax);
	n_formers++;
}

static void
unlink_former(WoFormer *former)
{
	if (former->endpoint == NULL)
		return;
	former->endpoint = NULL;
	dlist_delete(&former->endpoint_node);
	if (former->patterns != NIL)
		dlist_delete(&former->asking_node);
	if (--n_formers == 0)
		newest_xmax = 0;
}

/* An endpoint is about to go: nothing may refer to it. */
void
wo_former_drop_endpoint(WoEndpoint *endpoint)
{
	while (!dlist_is_empty(&endpoint->formers))
		unlink_former(dlist_head_element(WoFormer, endpoint_node,
										 &endpoint->formers));
}

/* Forgets it. */
void
wo_former_free(WoFormer *former)
{
	unlink_former(former);
	if (former->until)
		wo_snapshot_unref(former->until);
	if (former->tenant)
		pfree(former->tenant);
	list_free_deep(former->patterns);
	pfree(former);
}

/* Was an event of this transaction, perhaps, committed before the change? */
static bool
may_be_older(const WoFormer *former, uint64 xid)
{
	/* a transaction's own snapshot may show what it writes itself */
	if (xid == former->xid || xid >= former->xmax)
		return false;
	return former->until == NULL || wo_snapshot_shows(former->until, xid);
}

/*
 * Did an endpoint ask for an event when that was committed?  Its first change
 * after that tells; where nobody knows whether it was after, either counts.
 */
static bool
asked(const WoEndpoint *endpoint, const WoEvent *event, uint64 xid)
{
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &endpoint->formers)
	{
		const WoFormer *former = dlist_container(WoFormer, endpoint_node,
												 iter.cur);

		if (!may_be_older(former, xid))
			continue;
		if (wo_endpoint_asks(former->patterns, former->tenant, event))
			return true;
		if (former->until != NULL)
			return false;
	}
	return wo_endpoint_asks(endpoint->patterns, endpoint->tenant, event);
}

/*
 * Given the endpoints that ask for an event now, returns those that did when
 * it was committed.
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
	dlist_foreach(iter, &asking)
	{
		WoEndpoint *endpoint = dlist_container(WoFormer, asking_node,
											   iter.cur)->endpoint;

		if (endpoint->judged_in == n_matched)
			continue;
		endpoint->judged_in = n_matched;
		if (asked(endpoint, event, xid))
			result = lappend(result, endpoint);
	}
	foreach(cell, matches)
	{
		WoEndpoint *endpoint = lfirst(cell);

		if (endpoint->judged_in != n_matched &&
			(dlist_is_empty(&endpoint->formers) ||
			 asked(endpoint, event, xid)))
			result = lappend(result, endpoint);
	}
	return result;
}
