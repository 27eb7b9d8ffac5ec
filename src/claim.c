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
 * to something else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "claim.h"
#include "miscadmin.h"
#include "settings.h"
#include "txn.h"
#include "utils/builtins.h"

static const Oid compare_types[] = {INT8OID, OIDOID, TEXTOID};
static WoStatement compare = {
	"SELECT coalesce(bool_and(is_here AND instance_id = $3), false) "
	"AND count(*) = 1, coalesce(bool_and(is_here), false) AND count(*) = 1 "
	"FROM (SELECT instance_id, system_identifier = $1 AND database_id = $2 "
	"AS is_here FROM webhook_outbox.claim) c", 3, compare_types, NULL
};

/*
 * Is the only claim this database's own?  A second one comes from a dump,
 * perhaps of this very database.  If not, is_other_name says whether nothing
 * but the server's name speaks against it.
 */
bool
wo_claim_is_ours(bool *is_other_name)
{
	Datum		args[3];
	bool		isnull;

	args[0] = Int64GetDatum((int64) GetSystemIdentifier());
	args[1] = ObjectIdGetDatum(MyDatabaseId);
	args[2] = CStringGetTextDatum(wo_instance_id);
	wo_txn_query(&compare, args, NULL, 0);
	*is_other_name = DatumGetBool(wo_txn_value(0, 2, &isnull));
	return DatumGetBool(wo_txn_value(0, 1, &isnull));
}
