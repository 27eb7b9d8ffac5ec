/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  Whether this database may deliver, or is a copy of one that does.
 *
 * CREATE EXTENSION writes down which cluster and database it ran in.  A
 * restored dump brings the row of its source along, a database made from a
 * template or by pg_upgrade has nothing but that row.  Either way the events
 * have two owners now, and only an operator knows which one should deliver.
 *
 * A clone of the whole cluster (a base backup) has the same identity as its
 * source.  It is told by webhook_outbox.instance_id, which who starts it sets
 * to something else; or by its history (timeline.c), if it was recovered to a
 * chosen point in time after delivery was claimed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "claim.h"
#include "miscadmin.h"
#include "settings.h"
#include "timeline.h"
#include "txn.h"
#include "utils/builtins.h"

/* The columns: is it ours, by its name alone not, by its history alone not? */
static const Oid compare_types[] = {INT8OID, OIDOID, TEXTOID, INT8OID};
static WoStatement compare = {
	"SELECT is_one AND is_here AND is_named AND is_new, "
	"is_one AND is_here AND NOT is_named, "
	"is_one AND is_here AND is_named AND NOT is_new FROM ("
	"SELECT count(*) = 1 AS is_one, coalesce(bool_and(system_identifier = $1 "
	"AND database_id = $2), false) AS is_here, "
	"bool_and(instance_id = $3) AS is_named, "
	"bool_and(recovered_timeline >= $4) AS is_new "
	"FROM webhook_outbox.claim) c", 4, compare_types, NULL
};

static bool is_recovered = false;	/* as wo_claim_is_ours found last */

/*
 * Is the only claim this database's own?  A second one comes from a dump,
 * perhaps of this very database.  If not, is_other_name says whether nothing
 * but the server's name speaks against it.
 */
bool
wo_claim_is_ours(bool *is_other_name)
{
	int64		timeline = wo_timeline_recovered();
	bool		was_recovered = is_recovered;
	Datum		args[4];
	bool		isnull;

	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	args[2] = CStringGetTextDatum(wo_instance_id);
	args[3] = Int64GetDatum(timeline);
	wo_txn_query(&compare, args, NULL, 0);
	*is_other_name = DatumGetBool(wo_txn_value(0, 2, &isnull));
	is_recovered = DatumGetBool(wo_txn_value(0, 3, &isnull));
	if (is_recovered && !was_recovered)
		ereport(LOG,
				(errmsg("the server was recovered to a chosen point in time (timeline %lld), and webhook_outbox does not know what was delivered after that",
						(long long) timeline)));
	return DatumGetBool(wo_txn_value(0, 1, &isnull));
}

/* Is the server's history all that speaks against it? */
bool
wo_claim_is_recovered(void)
{
	return is_recovered;
}
