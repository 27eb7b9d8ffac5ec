/*-------------------------------------------------------------------------
 *
 * webhook_outbox.c
 *	  The library's entry, and the SQL functions about its workers.
 *
 * Preloaded, it asks for shared memory and registers the launcher.  Loaded
 * later, by a backend that publishes on a server where it is not preloaded,
 * it only defines the settings: events are stored then, and wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "check.h"
#include "commands/dbcommands.h"
#include "encoding.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hook.h"
#include "launcher.h"
#include "miscadmin.h"
#include "operation.h"
#include "registry.h"
#include "replication/logicalworker.h"
#include "settings.h"
#include "tcop/pquery.h"
#include "tenancy.h"
#include "timeline.h"
#include "txn.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/xid8.h"
#include "wakeup.h"

PG_MODULE_MAGIC;

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_request_wakeup);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_deletion_xid);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_commit_snapshot);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_process_kind);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_recovered_timeline);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_require_workers);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_worker_rows);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_find_operation);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_type_matches);

PGDLLEXPORT void _PG_init(void);

/* Columns of worker_rows(). */
enum
{
	COL_PROCESS, COL_DATABASE, COL_NUMBER, COL_PID, COL_EXPECTED,
	COL_IS_RUNNING, COL_STATE, COL_RUNNING_SINCE, COL_IN_FLIGHT,
	COL_DELIVERED, COL_FAILED, COL_PER_SECOND, COL_RESTARTS, COL_LAST_ERROR,
	COL_LAST_ERROR_AT, N_COLS
};

void
_PG_init(void)
{
	wo_settings_define();
	/* pg_upgrade starts servers that must do nothing but be copied. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	wo_registry_install_hooks();
	wo_launcher_register();
	wo_hook_install();
}

/*
 * Does the transaction commit as soon as its deferred triggers have run?  Not
 * if it is prepared, or a statement of it runs still (after SET CONSTRAINTS
 * ALL IMMEDIATE).
 */
static bool
is_committing(void)
{
	return ActivePortal == NULL && !wo_hook_is_preparing();
}

/*
 * SQL: commit_snapshot() returns pg_snapshot.  For a transaction that is about
 * to commit: what is committed then, also if it does not see it.  NULL when it
 * is not known when the transaction commits.
 */
Datum
wo_sql_commit_snapshot(PG_FUNCTION_ARGS)
{
	Datum		result;

	if (!is_committing())
		PG_RETURN_NULL();
	PushActiveSnapshot(GetLatestSnapshot());
	result = OidFunctionCall0(F_PG_CURRENT_SNAPSHOT);
	PopActiveSnapshot();
	return result;
}

/*
 * SQL: deletion_xid() returns xid8.  For a transaction that deletes an
 * endpoint and is about to commit: events of lower xids were owed to it.  That
 * is the next one to be assigned.  When it is not known when the transaction
 * commits, it is the highest that there can be: see note_deletion().
 */
Datum
wo_sql_deletion_xid(PG_FUNCTION_ARGS)
{
	(void) GetTopTransactionId();	/* so that ours is below it */
	if (!is_committing())
		PG_RETURN_FULLTRANSACTIONID(FullTransactionIdFromU64(PG_UINT64_MAX));
	PG_RETURN_FULLTRANSACTIONID(ReadNextFullTransactionId());
}

/*
 * SQL: process_kind() returns text.  What this process is, if it is one of
 * those whose writes differ.  pg_stat_activity would hide it from a role that
 * is not a superuser, as that of the dispatcher may be.
 */
Datum
wo_sql_process_kind(PG_FUNCTION_ARGS)
{
	if (wo_is_dispatcher)
		PG_RETURN_TEXT_P(cstring_to_text("dispatcher"));
	if (IsLogicalWorker())
		PG_RETURN_TEXT_P(cstring_to_text("replication"));
	PG_RETURN_NULL();
}

/* SQL: recovered_timeline() returns bigint.  See timeline.c. */
Datum
wo_sql_recovered_timeline(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(wo_timeline_recovered());
}

/* Fails, or warns, where the library was not preloaded. */
static void
check_preload(int elevel)
{
	if (wo_registry == NULL)
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("webhook_outbox is not preloaded, so nothing delivers events"),
				 errhint("Add shared_preload_libraries = 'webhook_outbox' to postgresql.conf and restart the server.")));
}

/* SQL: request_wakeup(what text).  Wakes the dispatcher at commit. */
Datum
wo_sql_request_wakeup(PG_FUNCTION_ARGS)
{
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (strcmp(what, "events") == 0)
		wo_wakeup_at_commit(WO_WANT_EVENTS);
	else if (strcmp(what, "commands") == 0)
		wo_wakeup_at_commit(WO_WANT_COMMANDS);
	else if (strcmp(what, "endpoints") == 0)
		wo_wakeup_at_commit(WO_WANT_ENDPOINTS);
	else if (strcmp(what, "extension") == 0)
	{
		/* by CREATE EXTENSION, which works without as well */
		check_preload(WARNING);
		wo_wakeup_at_commit(WO_WANT_EXTENSION);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing is called \"%s\" here", what),
				 errhint("Use events, commands, endpoints or extension.")));
	PG_RETURN_VOID();
}

/* SQL: require_workers().  Fails where no worker can run. */
Datum
wo_sql_require_workers(PG_FUNCTION_ARGS)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("webhook_outbox does not work on a standby"),
				 errhint("Call the function on the primary.")));
	check_preload(ERROR);
	PG_RETURN_VOID();
}

static void
put_row(ReturnSetInfo *rsinfo, Datum *values, bool *nulls)
{
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
set(Datum *values, bool *nulls, int column, Datum value, bool isnull)
{
	values[column] = value;
	nulls[column] = isnull;
}

/* Fills in what every process has. */
static void
start_row(Datum *values, bool *nulls, const char *process, int pid,
		  TimestampTz since, bool is_expected)
{
	memset(nulls, true, N_COLS * sizeof(bool));
	set(values, nulls, COL_PROCESS, CStringGetTextDatum(process), false);
	set(values, nulls, COL_PID, Int32GetDatum(pid), pid == 0);
	set(values, nulls, COL_EXPECTED, BoolGetDatum(is_expected), false);
	set(values, nulls, COL_IS_RUNNING, BoolGetDatum(pid != 0), false);
	set(values, nulls, COL_STATE,
		CStringGetTextDatum(pid != 0 ? "running" : "not running"), false);
	set(values, nulls, COL_RUNNING_SINCE, TimestampTzGetDatum(since),
		pid == 0);
}

static void
put_launcher(ReturnSetInfo *rsinfo, bool is_standby)
{
	Datum		values[N_COLS];
	bool		nulls[N_COLS];

	start_row(values, nulls, "launcher", wo_registry->launcher_pid,
			  wo_registry->launcher_started_at, !is_standby);
	if (is_standby)
		set(values, nulls, COL_STATE,
			CStringGetTextDatum("standby: its primary delivers"), false);
	put_row(rsinfo, values, nulls);
}

/* What another database's dispatcher wrote is in that one's encoding. */
static Datum
foreign_text(const char *bytes)
{
	return PointerGetDatum(wo_encoding_text_from_bytes(bytes,
													   strlen(bytes)));
}

/*
 * What a dispatcher says can name endpoints and tables.  Those of another
 * database are for who may see in pg_stat_activity what goes on there.
 */
static Datum
shown_text(const WoDatabase *database, const char *bytes)
{
	if (database->database_id != MyDatabaseId &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return CStringGetTextDatum("<insufficient privilege>");
	return foreign_text(bytes);
}

static void
put_dispatcher(ReturnSetInfo *rsinfo, const WoDatabase *database, Name name)
{
	Datum		values[N_COLS];
	bool		nulls[N_COLS];
	bool		has_error = database->last_error_at != 0;

	start_row(values, nulls, "dispatcher", database->pid,
			  database->started_at, wo_settings_want_database(NameStr(*name)));
	set(values, nulls, COL_DATABASE, NameGetDatum(name), false);
	if (database->pid != 0)
		set(values, nulls, COL_STATE, shown_text(database, database->state),
			false);
	set(values, nulls, COL_IN_FLIGHT, Int32GetDatum(database->n_in_flight),
		false);
	set(values, nulls, COL_DELIVERED, Int64GetDatum(database->n_delivered),
		false);
	set(values, nulls, COL_FAILED, Int64GetDatum(database->n_failed), false);
	set(values, nulls, COL_PER_SECOND, Float8GetDatum(database->per_second),
		false);
	set(values, nulls, COL_RESTARTS,
		Int32GetDatum(Max(database->n_starts - 1, 0)), false);
	set(values, nulls, COL_LAST_ERROR,
		shown_text(database, database->last_error), !has_error);
	set(values, nulls, COL_LAST_ERROR_AT,
		TimestampTzGetDatum(database->last_error_at), !has_error);
	put_row(rsinfo, values, nulls);
}

static void
put_sender(ReturnSetInfo *rsinfo, const WoSenderEntry *sender, Name name,
		   int number)
{
	Datum		values[N_COLS];
	bool		nulls[N_COLS];

	start_row(values, nulls, "sender", sender->pid, sender->started_at,
			  wo_settings_want_database(NameStr(*name)));
	set(values, nulls, COL_DATABASE, NameGetDatum(name), false);
	set(values, nulls, COL_NUMBER, Int32GetDatum(number), false);
	set(values, nulls, COL_IN_FLIGHT, Int32GetDatum(sender->n_in_flight),
		false);
	set(values, nulls, COL_RESTARTS, Int32GetDatum(sender->n_restarts),
		false);
	put_row(rsinfo, values, nulls);
}

/* Why the launcher starts nothing in a database, NULL if it does. */
static const char *
why_left_alone(Oid database_id)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID,
										ObjectIdGetDatum(database_id));
	const char *why = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (!((Form_pg_database) GETSTRUCT(tuple))->datallowconn)
		why = "the database accepts no connections: ALTER DATABASE ... ALLOW_CONNECTIONS true";
	else if (((Form_pg_database) GETSTRUCT(tuple))->datistemplate)
		why = "nothing is delivered from a template: ALTER DATABASE ... IS_TEMPLATE false";
	ReleaseSysCache(tuple);
	return why;
}

/* Notes in a copy of an entry what keeps its dispatcher from being started. */
static void
note_left_alone(WoDatabase *copy)
{
	const char *why;

	if (copy->pid != 0)
		return;
	why = why_left_alone(copy->database_id);
	if (why == NULL)
		return;
	strlcpy(copy->last_error, why, WO_ERROR_LEN);
	copy->last_error_at = GetCurrentTimestamp();
}

/* Shows a database whose extension is known, from a copy of its entry. */
static void
put_database(ReturnSetInfo *rsinfo, const WoDatabase *entry)
{
	WoDatabase	copy;
	NameData	name;
	char	   *found;
	int			n_expected = wo_senders;

	LWLockAcquire(wo_registry->lock, LW_SHARED);
	copy = *entry;
	LWLockRelease(wo_registry->lock);
	/* Whoever calls this has the extension, seen by a worker or not. */
	if (copy.database_id != MyDatabaseId &&
		(!OidIsValid(copy.database_id) ||
		 copy.presence != WO_PRESENCE_PRESENT))
		return;
	found = get_database_name(copy.database_id);
	if (found == NULL)
		return;
	/* a value of type name has its full length, whatever stands in it */
	namestrcpy(&name, found);
	note_left_alone(&copy);
	put_dispatcher(rsinfo, &copy, &name);
	for (int i = 0; i < n_expected; i++)
		put_sender(rsinfo, &copy.senders[i], &name, i + 1);
}

/* Shows the caller's database, for which there was no entry left. */
static void
put_left_out(ReturnSetInfo *rsinfo)
{
	WoDatabase	database;

	memset(&database, 0, sizeof(database));
	database.database_id = MyDatabaseId;
	strlcpy(database.last_error,
			"there is no room for this database: raise webhook_outbox.max_databases, or name in webhook_outbox.databases those that deliver",
			WO_ERROR_LEN);
	database.last_error_at = GetCurrentTimestamp();
	put_database(rsinfo, &database);
}

/*
 * SQL: worker_rows().  What shared memory knows of the workers.  On a standby
 * there are none, and none should be.
 */
Datum
wo_sql_worker_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		is_standby = RecoveryInProgress();

	check_preload(ERROR);
	InitMaterializedSRF(fcinfo, 0);
	put_launcher(rsinfo, is_standby);
	if (is_standby)
		return (Datum) 0;
	if (wo_registry_find(MyDatabaseId, true) == NULL)
		put_left_out(rsinfo);
	for (int i = 0; i < wo_registry->n_databases; i++)
		put_database(rsinfo, &wo_registry->databases[i]);
	return (Datum) 0;
}

/* SQL: find_operation(tenant text, operation_id text) returns uuid. */
Datum
wo_sql_find_operation(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	Oid			namespace_id = get_namespace_oid(WO_EXTENSION, false);
	Datum		tenant = PG_ARGISNULL(0) ?
	PointerGetDatum(cstring_to_text("")) : PG_GETARG_DATUM(0);

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	wo_tenancy_check_lookup(namespace_id, tenant, PG_ARGISNULL(0));
	if (!wo_operation_find(namespace_id, tenant, PG_GETARG_DATUM(1), id))
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(id);
}

/* SQL: type_matches(patterns text[], type text) returns boolean. */
Datum
wo_sql_type_matches(PG_FUNCTION_ARGS)
{
	ArrayIterator patterns = array_create_iterator(PG_GETARG_ARRAYTYPE_P(0), 0,
												   NULL);
	char	   *type = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum		pattern;
	bool		isnull;

	while (array_iterate(patterns, &pattern, &isnull))
	{
		if (!isnull && wo_pattern_matches(TextDatumGetCString(pattern), type))
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}
