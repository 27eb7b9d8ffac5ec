/*-------------------------------------------------------------------------
 *
 * tenancy.c
 *	  Which tenants a role may publish for.
 *
 * grant_publisher(role, tenant) writes the tenant into publisher_tenant and
 * marks the role by a privilege that is good for nothing else: REFERENCES on
 * that table's first column.  The mark says that a role is limited, the rows
 * say to what.  So whatever takes rows away without the mark (a dump that was
 * loaded in part, a role renamed) leaves a role that may publish for nobody,
 * never one that may publish for all; and the mark travels in dumps, and goes
 * with DROP OWNED, just as the INSERT privilege does.
 *
 * What holds for the current user is looked up once and kept until privileges,
 * memberships or the table change: an insert by a role without a limit pays
 * for a comparison.  A row-level policy was rejected: it costs each insert a
 * subquery, and owners by-pass it.
 *
 * A limited role that owns a view or a rule over event lends its INSERT
 * privilege to those who use it, and a trigger cannot tell whose privilege it
 * was.  So while there is any limited role, the user must have the privilege
 * himself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "commands/trigger.h"
#include "event.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tenancy.h"
#include "text.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define MAX_TENANT_LEN		255 /* bytes; nobody has a longer one */

/* Columns of webhook_outbox.publisher_tenant. */
enum
{
	COL_ROLE = 1, COL_TENANT
};

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_publisher_tenant_after_write);

/* What the current user may publish. */
typedef struct PublisherLimit
{
	Oid			user_id;		/* of whom all this is true */
	Oid			namespace_id;	/* of the extension */
	Oid			event_id;		/* event, there */
	Oid			table_id;		/* publisher_tenant, there */
	bool		is_valid;		/* false: look again */
	bool		is_limited;		/* to tenants; else to what follows */
	bool		may_name_tenant;	/* has INSERT (tenant), or need not have */
	bool		may_insert;		/* has INSERT (type), or need not have */
	List	   *tenants;		/* of char *, in context */
	MemoryContext context;		/* lives as long as the session */
} PublisherLimit;

static PublisherLimit limit;

/* Counts what may have changed a limit, to see that while one is loaded. */
static uint64 n_changes = 0;

static void
forget_on_relcache(Datum arg, Oid relation_id)
{
	if (OidIsValid(relation_id) && relation_id != limit.event_id &&
		relation_id != limit.table_id)
		return;
	n_changes++;
	limit.is_valid = false;
}

static void
forget_on_syscache(Datum arg, int cache_id, uint32 hash)
{
	n_changes++;
	limit.is_valid = false;
}

static void
initialize_once(void)
{
	if (limit.context != NULL)
		return;
	limit.context = AllocSetContextCreate(CacheMemoryContext,
										  "webhook_outbox tenants",
										  ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(forget_on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_on_syscache,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_on_syscache, (Datum) 0);
}

/*
 * Trigger: AFTER INSERT OR UPDATE OR DELETE ON webhook_outbox.publisher_tenant
 * FOR EACH STATEMENT, always.  Every session forgets its limit.
 */
Datum
wo_sql_publisher_tenant_after_write(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("publisher_tenant_after_write() is a trigger of webhook_outbox.publisher_tenant")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/* Whether any role carries the mark of a limited one. */
static bool
is_any_limited(void)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM,
										ObjectIdGetDatum(limit.table_id),
										Int16GetDatum(COL_ROLE));
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return false;
	(void) SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attacl, &isnull);
	ReleaseSysCache(tuple);
	return !isnull;
}

/*
 * Whether a role carries the mark, itself or by a role that it inherits from.
 * Only the column's own list counts: ALL on all tables is no mark.
 */
static bool
is_marked(Oid role_id)
{
	return pg_attribute_aclcheck(limit.table_id, COL_ROLE, role_id,
								 ACL_REFERENCES) == ACLCHECK_OK;
}

/* Whether the user has INSERT on a column of event. */
static bool
may_insert(const char *column)
{
	AttrNumber	number = get_attnum(limit.event_id, column);

	return pg_class_aclcheck(limit.event_id, limit.user_id,
							 ACL_INSERT) == ACLCHECK_OK ||
		pg_attribute_aclcheck(limit.event_id, number, limit.user_id,
							  ACL_INSERT) == ACLCHECK_OK;
}

static Oid
owner_of(Oid relation_id)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation_id));
	Oid			owner_id;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation_id);
	owner_id = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner_id;
}

/*
 * Reads the tenants of all roles whose privileges the user has.  The catalog
 * snapshot is fresh for a table that is no catalog, whatever the
 * transaction's own one shows.
 */
static void
load_tenants(void)
{
	Relation	rel = table_open(limit.table_id, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0,
										  NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		role = heap_getattr(tuple, COL_ROLE,
										RelationGetDescr(rel), &isnull);
		Datum		tenant = heap_getattr(tuple, COL_TENANT,
										  RelationGetDescr(rel), &isnull);
		Oid			role_id = get_role_oid(NameStr(*DatumGetName(role)), true);
		MemoryContext old;

		if (!OidIsValid(role_id) || !is_marked(role_id) ||
			!has_privs_of_role(limit.user_id, role_id))
			continue;
		old = MemoryContextSwitchTo(limit.context);
		limit.tenants = lappend(limit.tenants, TextDatumGetCString(tenant));
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
load(Oid user_id, Oid namespace_id)
{
	uint64		n_changes_before = n_changes;

	limit.is_valid = false;
	limit.user_id = user_id;
	limit.namespace_id = namespace_id;
	limit.event_id = get_relname_relid("event", namespace_id);
	limit.table_id = get_relname_relid("publisher_tenant", namespace_id);
	limit.is_limited = false;
	limit.may_insert = limit.may_name_tenant = true;
	limit.tenants = NIL;
	MemoryContextReset(limit.context);
	if (!has_privs_of_role(user_id, owner_of(limit.event_id)) &&
		is_any_limited())
	{
		limit.is_limited = is_marked(user_id);
		limit.may_insert = may_insert("type");
		limit.may_name_tenant = may_insert("tenant");
		if (limit.is_limited)
			load_tenants();
	}
	limit.is_valid = n_changes == n_changes_before;
}

/* Makes limit that of the current user. */
static void
look(Oid namespace_id)
{
	Oid			user_id = GetUserId();

	if (limit.is_valid && limit.user_id == user_id &&
		limit.namespace_id == namespace_id)
		return;
	initialize_once();
	load(user_id, namespace_id);
}

/* The tenants as a hint has them. */
static const char *
tenants_shown(void)
{
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	foreach(cell, limit.tenants)
	{
		appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "",
						 (char *) lfirst(cell));
	}
	return list.data;
}

static void
check_tenant(Datum tenant, bool isnull, const char *verb)
{
	const char *name = isnull ? NULL : TextDatumGetCString(tenant);
	ListCell   *cell;

	foreach(cell, limit.tenants)
		if (name != NULL && strcmp(lfirst(cell), name) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 name ?
			 errmsg("role \"%s\" may not %s for tenant \"%s\"",
					GetUserNameFromId(limit.user_id, false), verb,
					wo_text_shown(name, strlen(name), MAX_TENANT_LEN)) :
			 errmsg("role \"%s\" may not %s without a tenant",
					GetUserNameFromId(limit.user_id, false), verb),
			 limit.tenants != NIL ?
			 errhint("It may for: %s.", tenants_shown()) :
			 errhint("It may for none; webhook_outbox.grant_publisher(role, tenant) lets it.")));
}

/*
 * Refuses the row unless the current user may publish for its tenant; of
 * privileges the executor has checked only somebody's.
 */
void
wo_tenancy_check_insert(Oid namespace_id, Datum tenant,
						bool isnull)
{
	look(namespace_id);
	if (limit.is_limited)
		check_tenant(tenant, isnull, "publish");
	if (isnull ? limit.may_insert : limit.may_name_tenant)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not publish by a view or rule of another role",
					GetUserNameFromId(limit.user_id, false)),
			 errdetail("That role could be one that may publish for some tenants only."),
			 errhint("Grant it INSERT on the columns (webhook_outbox.grant_publisher does), or use a function that is SECURITY DEFINER.")));
}

/* Refuses a look at an operation_id of a tenant that is not the user's. */
void
wo_tenancy_check_lookup(Oid namespace_id, Datum tenant,
						bool isnull)
{
	look(namespace_id);
	if (limit.is_limited)
		check_tenant(tenant, isnull, "look");
}
