/*-------------------------------------------------------------------------
 *
 * former.h
 *	  What endpoints asked for before they changed.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FORMER_H
#define WO_FORMER_H

#include "endpoint.h"
#include "snapshot.h"

/* What an endpoint asked for until a change of that. */
typedef struct WoFormer
{
	WoEndpoint *endpoint;		/* NULL: it is gone, and nodes are unlinked */
	dlist_node	endpoint_node;	/* in its list */
	dlist_node	asking_node;	/* in former.c's, if patterns are not NIL */
	int64		change_id;		/* of the row of endpoint_change */
	uint64		xid;			/* of the transaction that changed it */
	WoSnapshot *until;			/* shows what was committed before that; NULL:
								 * nobody knows, but nothing from xmax on */
	uint64		xmax;
	char	   *tenant;			/* NULL: events of every tenant */
	List	   *patterns;		/* of char *; NIL: it was not there */
} WoFormer;

extern void wo_former_add(WoFormer *former, WoEndpoint *endpoint);
extern void wo_former_drop_endpoint(WoEndpoint *endpoint);
extern void wo_former_free(WoFormer *former);
extern List *wo_former_match(List *matches, const WoEvent *event, uint64 xid);

#endif							/* WO_FORMER_H */
