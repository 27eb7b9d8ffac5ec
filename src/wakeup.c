/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  Tells the dispatcher at commit that there is something to do.
 *
 * One transaction callback per backend, registered at first use, and one
 * static set of flags for the transaction under way.  The callback runs when
 * the commit is visible to others already, so whoever it wakes sees the rows.
 * It sets an atomic and a latch and may do nothing else: the transaction can
 * no longer fail.  NOTIFY was rejected: its lock at commit cut the insert
 * rate to a tenth at 16 clients, and it forbids PREPARE TRANSACTION.
 *
 * A savepoint that rolls back leaves the flags set; the price is a look that
 * finds nothing.  COMMIT PREPARED runs no callback of ours: the dispatcher's
 * poll finds those rows.  Where it created the extension there is none: the
 * next commit that has something to tell has the launcher look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "registry.h"
#include "wakeup.h"

static bool is_registered = false;
static uint32 transaction_wants = 0;	/* WO_WANT_* of this transaction */
static WoDatabase *my_database = NULL;	/* valid while transaction_wants */

static void
at_transaction_end(XactEvent event, void *arg)
{
	uint32		wants = transaction_wants;
	uint32		before;

	if (wants == 0 || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE ||
		event == XACT_EVENT_PARALLEL_PRE_COMMIT)
		return;
	transaction_wants = 0;
	if (event != XACT_EVENT_COMMIT)
		return;
	/* Of COMMIT PREPARED nobody was told: so it is there after all. */
	if (my_database->presence == WO_PRESENCE_ABSENT)
		wants |= WO_WANT_EXTENSION;
	before = pg_atomic_fetch_or_u32(&my_database->wants, wants);
	if (wants & WO_WANT_EXTENSION)
		wo_registry_wake(pg_atomic_read_u32(&wo_registry->launcher));
	/* Who set these flags first has set the latch. */
	if ((before & wants) != wants)
		wo_registry_wake(pg_atomic_read_u32(&my_database->dispatcher));
}

/* Marks the transaction: when it commits, the dispatcher is told. */
void
wo_wakeup_at_commit(uint32 wants)
{
	if (wo_registry == NULL)
		return;
	if (my_database == NULL)
	{
		my_database = wo_registry_find(MyDatabaseId, true);
		if (my_database == NULL)
			return;				/* the launcher logs that entries ran out */
	}
	if (!is_registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		is_registered = true;
	}
	transaction_wants |= wants;
}
