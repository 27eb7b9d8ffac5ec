/*-------------------------------------------------------------------------
 *
 * txn.c
 *	  The workers' transactions and prepared statements.
 *
 * Every transaction of a worker starts and ends here: with the role of the
 * extension's owner in a security-restricted context, one snapshot that
 * all reads share, SPI, and statistics reported afterwards (else autovacuum
 * never hears of the rows that a background worker changes).
 *
 * Plans are generic and kept, with the planner told to use indexes alone: the
 * tables are young or empty when the plans are made, and their statistics
 * would talk it into sequential scans for good.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "encoding.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "registry.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "settings.h"
#include "txn.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

bool		wo_is_dispatcher = false;

/* A catalog change was announced that may have been DROP EXTENSION. */
static bool is_catalog_changed = false;
static Oid	event_table = InvalidOid;	/* OID of webhook_outbox.event */
static Oid	extension_id = InvalidOid;	/* found by wo_txn_watch_extension */

static MemoryContext caller_context;	/* valid inside a transaction */

/* Role to work as; found once the first transaction looked it up. */
static Oid	work_role = InvalidOid;
static Oid	saved_role;			/* valid inside a transaction */
static int	saved_context;		/* likewise */

/*
 * What a session must not inherit from the database, the role or the
 * configuration file.  Settings that a version does not know are skipped.
 */
static const char *const session_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"row_security", "off"},
	{"restrict_nonsystem_relation_kind", ""},
	{"statement_timeout", "0"},
	{"transaction_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	/* What a worker's function says is parsed when it is first called. */
	{"standard_conforming_strings", "on"},
	/* Errors that pass must not end the process. */
	{"exit_on_error", "off"},

	/*
	 * A table that an operator has locked must not hang a worker; less than
	 * deadlock_timeout, so that a deadlock is ours to break.
	 */
	{"lock_timeout", "500"},
	/* Lost in a crash, a record is an attempt made twice: see P3. */
	{"synchronous_commit", "off"},
	{"jit", "off"},
	{"max_parallel_workers_per_gather", "0"},
	/* What receivers have answered is for nobody who reads the log. */
	{"auto_explain.log_parameter_max_length", "0"}
};

/*
 * For the launcher, which reads pg_database and waits for it as long as it
 * takes, but not for other people's transactions: a serializable one that is
 * read only and deferrable would wait for all that write.
 */
static const char *const launcher_settings[][2] = {
	{"default_transaction_isolation", "read committed"},
	{"transaction_timeout", "0"},
	{"lock_timeout", "0"}
};

/* For the dispatcher's statements alone, all short and by index. */
static const char *const planner_settings[][2] = {
	{"plan_cache_mode", "force_generic_plan"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"enable_hashjoin", "off"},
	{"enable_mergejoin", "off"}
};

static void
apply(const char *const settings[][2], int n)
{
	for (int i = 0; i < n; i++)
	{
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
							PGC_S_OVERRIDE);
	}
}

/* Makes the session of a worker independent of everybody's settings. */
void
wo_txn_configure_session(const char *application_name)
{
	SetConfigOption("application_name", application_name, PGC_SUSET,
					PGC_S_OVERRIDE);
	apply(session_settings, lengthof(session_settings));
}

/* For the launcher, instead of that. */
void
wo_txn_configure_launcher(void)
{
	apply(launcher_settings, lengthof(launcher_settings));
}

/* For the dispatcher, after wo_txn_configure_session. */
void
wo_txn_configure_dispatcher(void)
{
	apply(planner_settings, lengthof(planner_settings));
	wo_is_dispatcher = true;
}

/*
 * Finds the extension in this database; InvalidOid when it is not there.
 * Must be in a transaction.
 */
static Oid
find_extension(Oid *owner, Oid *namespace_id)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			found_id = InvalidOid;

	*owner = *namespace_id = InvalidOid;
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(WO_EXTENSION));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		*owner = form->extowner;
		*namespace_id = form->extnamespace;
		found_id = form->oid;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found_id;
}

/* Likewise, for those who need no more than to know that it is there. */
bool
wo_txn_find_extension(Oid *owner, Oid *namespace_id)
{
	return OidIsValid(find_extension(owner, namespace_id));
}

static void
note_catalog_change(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == event_table)
		is_catalog_changed = true;
}

/* Watches for DROP EXTENSION from now on.  Must be in a transaction. */
void
wo_txn_watch_extension(void)
{
	Oid			owner;
	Oid			namespace_id;

	extension_id = find_extension(&owner, &namespace_id);
	event_table = get_relname_relid("event", namespace_id);
	CacheRegisterRelcacheCallback(note_catalog_change, (Datum) 0);
}

/* The role may have been changed by a reload. */
void
wo_txn_forget_role(void)
{
	work_role = InvalidOid;
}

/*
 * Ends the process when the extension was dropped: an orderly end, and the
 * launcher does not start another before somebody creates it again.
 */
static void
exit_if_dropped(void)
{
	Oid			owner;
	Oid			namespace_id;
	Oid			found_id = find_extension(&owner, &namespace_id);
	WoDatabase *database;

	is_catalog_changed = false;
	work_role = InvalidOid;		/* it may have another owner */
	if (OidIsValid(found_id) && found_id == extension_id)
		return;
	if (OidIsValid(found_id))
		proc_exit(1);			/* dropped and made again: start afresh */
	database = wo_registry_find(MyDatabaseId, true);
	if (database != NULL)
		database->presence = WO_PRESENCE_ABSENT;
	ereport(LOG,
			(errmsg("webhook_outbox dispatcher ends: the extension was dropped from database \"%s\"",
					get_database_name(MyDatabaseId))));
	proc_exit(0);
}

/*
 * Ends the process in an orderly way if the extension is gone.  For after an
 * error that may come from that; outside a transaction.
 */
void
wo_txn_check_extension(void)
{
	StartTransactionCommand();
	exit_if_dropped();
	CommitTransactionCommand();
}

/* Works as webhook_outbox.role, or else as the extension's owner. */
static void
assume_role(void)
{
	GetUserIdAndSecContext(&saved_role, &saved_context);
	if (!OidIsValid(work_role))
	{
		Oid			namespace_id;

		if (wo_role[0] != '\0')
		{
			work_role = get_role_oid(wo_role, true);
			if (!OidIsValid(work_role))
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_OBJECT),
						 errmsg("role \"%s\" does not exist, which webhook_outbox.role names",
								wo_role),
						 errhint("Create it, or change the setting and reload.")));
		}
		else if (!wo_txn_find_extension(&work_role, &namespace_id))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("extension \"%s\" does not exist",
							WO_EXTENSION)));
	}
	SetUserIdAndSecContext(work_role,
						   saved_context | SECURITY_RESTRICTED_OPERATION);
}

/*
 * DROP EXTENSION takes this lock before any other: it waits for the end of
 * our transaction, and the next one of ours for its end.  Without it each
 * would hold some tables that the other one waits for.
 */
static void
lock_extension(void)
{
	if (OidIsValid(extension_id))
		LockDatabaseObject(ExtensionRelationId, extension_id, 0,
						   AccessShareLock);
}

/* Starts a transaction with one snapshot, SPI connected. */
void
wo_txn_begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	caller_context = CurrentMemoryContext;
	StartTransactionCommand();
	lock_extension();
	if (is_catalog_changed)
		exit_if_dropped();
	assume_role();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Ends it.  Leaves CurrentMemoryContext as it was before the begin. */
void
wo_txn_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	SetUserIdAndSecContext(saved_role, saved_context);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller_context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Rolls back, after an error too.  Forgets nothing but the transaction. */
void
wo_txn_abort(void)
{
	AbortCurrentTransaction();
	work_role = InvalidOid;
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
prepare(WoStatement *statement)
{
	statement->plan = SPI_prepare(statement->sql, statement->n_args,
								  (Oid *) statement->arg_types);
	if (statement->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(statement->plan);
}

static uint64
run(WoStatement *statement, Datum *args, const char *nulls, bool read_only,
	long limit)
{
	int			rc;

	if (statement->plan == NULL)
		prepare(statement);
	rc = SPI_execute_plan(statement->plan, args, nulls, read_only, limit);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql,
			 SPI_result_code_string(rc));
	return SPI_processed;
}

/* Runs a query under the transaction's snapshot; limit 0: all rows. */
uint64
wo_txn_query(WoStatement *statement, Datum *args, const char *nulls,
			 long limit)
{
	return run(statement, args, nulls, true, limit);
}

/* Runs a statement that writes; returns the number of rows. */
uint64
wo_txn_execute(WoStatement *statement, Datum *args, const char *nulls)
{
	return run(statement, args, nulls, false, 0);
}

/* Builds a one-dimensional array; nulls NULL: no element is null. */
Datum
wo_txn_array(Datum *values, bool *nulls, int n, Oid type)
{
	int			lower = 1;
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &len, &byval, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower,
											  type, len, byval, align));
}

/* Returns a value of the last query's result; columns count from 1. */
Datum
wo_txn_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

/* Returns a text value of the last query's result, NULL when null. */
char *
wo_txn_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = wo_txn_value(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Likewise, but in UTF-8, as events are in memory. */
char *
wo_txn_utf8(uint64 row, int column)
{
	char	   *value = wo_txn_text(row, column);
	int			len;
	bool		is_exact;

	if (value == NULL)
		return NULL;
	len = strlen(value);
	return wo_encoding_to_utf8(value, &len, &is_exact);
}
