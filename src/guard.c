/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Keeps the workers off tables that carry what others have put there.
 *
 * A trigger that somebody has put on one of the extension's tables would run
 * as its owner, whom the workers work as; a rule, a policy or a child table
 * would change what they read or write.  So they do not work on such tables:
 * webhook_outbox.foreign_object says what there is.  Nor do they where the
 * SQL objects are of another version than this library.
 *
 * Nothing is looked at while nothing has changed.  Whatever puts something on
 * a table invalidates its relcache entry, and that sets a flag.  The flag is
 * tested before a statement is planned, for planning may call functions of
 * constraints and indexes, and when its execution starts: each time its locks
 * are held, so that nobody can add a trigger before it ends, and what was
 * added before has been announced, for a lock is not granted without reading
 * the announcements.  So there is no gap between the look and the write.
 * What no planner and executor see (TRUNCATE, table_multi_insert) calls
 * wo_guard_check itself, under its lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "executor/executor.h"
#include "guard.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static bool is_suspicious = true;	/* look before the next statement */
static bool is_looking = false; /* the statements of the look itself */
static bool has_refused = false;	/* the last look found something */
static Oid *tables;				/* whose invalidation matters, sorted */
static int	n_tables = 0;		/* 0: any does */
static planner_hook_type prev_planner = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;

static WoStatement find_version = {
	"SELECT extversion, extowner FROM pg_catalog.pg_extension "
	"WHERE extname = '" WO_EXTENSION "'", 0, NULL, NULL
};

static const char list_tables[] =
"SELECT d.objid FROM pg_catalog.pg_depend d "
"JOIN pg_catalog.pg_extension x ON d.refobjid = x.oid "
"WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass "
"AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass "
"AND d.deptype = 'e' AND x.extname = '" WO_EXTENSION "'";

static const char find_foreign[] =
"SELECT problem, remedy FROM webhook_outbox.foreign_object "
"ORDER BY relation::pg_catalog.text, kind, name LIMIT 1";

static int
compare_oids(const void *a, const void *b)
{
	Oid			x = *(const Oid *) a;
	Oid			y = *(const Oid *) b;

	return x < y ? -1 : x > y;
}

/* A relation's catalog rows have changed; InvalidOid: who knows which. */
static void
note_change(Datum arg, Oid relid)
{
	if (n_tables == 0 || relid == InvalidOid ||
		bsearch(&relid, tables, n_tables, sizeof(Oid), compare_oids))
		is_suspicious = true;
}

static void
execute(const char *sql)
{
	int			rc = SPI_execute(sql, true, 0);

	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql,
			 SPI_result_code_string(rc));
}

/* Remembers which tables and views are the extension's. */
static void
load_tables(void)
{
	bool		isnull;
	Oid		   *loaded;

	execute(list_tables);
	loaded = MemoryContextAlloc(TopMemoryContext,
								Max(SPI_processed, 1) * sizeof(Oid));
	for (uint64 row = 0; row < SPI_processed; row++)
		loaded[row] = DatumGetObjectId(wo_txn_value(row, 1, &isnull));
	qsort(loaded, SPI_processed, sizeof(Oid), compare_oids);
	/* An invalidation may come at any time: n_tables goes with tables. */
	n_tables = 0;
	if (tables)
		pfree(tables);
	tables = loaded;
	n_tables = SPI_processed;
}

/* Fails if the SQL objects are of another version; returns whose they are. */
static Oid
check_version(void)
{
	bool		isnull;
	char	   *version;

	if (wo_txn_query(&find_version, NULL, NULL, 0) == 0)
		return InvalidOid;		/* dropped: others find that out */
	version = wo_txn_text(0, 1);
	has_refused = strcmp(version, WO_VERSION) != 0;
	if (has_refused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension is of version %s, but the server has loaded the library of version %s",
						version, WO_VERSION),
				 errhint("Run ALTER EXTENSION webhook_outbox UPDATE, or restart the server if the library is the older one.")));
	return DatumGetObjectId(wo_txn_value(0, 2, &isnull));
}

/* Fails if there is anything foreign. */
static void
check_foreign(void)
{
	execute(find_foreign);
	has_refused = SPI_processed > 0;
	if (has_refused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", wo_txn_text(0, 1)),
				 errhint("%s; all there is of that: SELECT * FROM webhook_outbox.foreign_object.",
						 wo_txn_text(0, 2))));
}

/* Looks as the owner: the worker's role need not be one that may. */
static void
look_as_owner(void)
{
	Oid			owner;
	Oid			saved_role;
	int			saved_context;

	GetUserIdAndSecContext(&saved_role, &saved_context);
	owner = check_version();
	if (!OidIsValid(owner))
		return;
	SetUserIdAndSecContext(owner,
						   saved_context | SECURITY_RESTRICTED_OPERATION);
	load_tables();
	check_foreign();
	SetUserIdAndSecContext(saved_role, saved_context);
}

/* Runs a check in the open transaction. */
static void
look(void (*check) (void))
{
	is_looking = true;
	PG_TRY();
	{
		SPI_connect();
		/* the transaction's snapshot may be older than what is looked for */
		PushActiveSnapshot(GetLatestSnapshot());
		check();
		PopActiveSnapshot();
		SPI_finish();
	}
	PG_CATCH();
	{
		is_looking = false;
		is_suspicious = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	is_looking = false;
}

/*
 * Fails if the extension's tables are not to be worked on; in a transaction.
 * Costs nothing unless something has changed.
 */
void
wo_guard_check(void)
{
	while (is_suspicious)
	{
		is_suspicious = false;	/* what changes from now on sets it again */
		look(look_as_owner);
	}
}

static void
look_at_version(void)
{
	(void) check_version();
}

/* Fails if the extension was updated, which announces nothing. */
void
wo_guard_check_version(void)
{
	wo_txn_begin("looking at the version of the extension");
	look(look_at_version);
	wo_txn_commit();
}

/* Did the last look find anything?  Then its error will pass. */
bool
wo_guard_has_refused(void)
{
	return has_refused;
}

/* The locks of the tables that the query names are held by now. */
static PlannedStmt *
plan(Query *query, const char *text, int options, ParamListInfo params)
{
	if (is_suspicious && !is_looking)
		wo_guard_check();
	if (prev_planner)
		return prev_planner(query, text, options, params);
	return standard_planner(query, text, options, params);
}

/* All of a statement's locks are held by now. */
static void
start_executor(QueryDesc *query, int flags)
{
	if (is_suspicious && !is_looking)
		wo_guard_check();
	if (prev_executor_start)
		prev_executor_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

/* Guards this process, a worker, from now on. */
void
wo_guard_install(void)
{
	CacheRegisterRelcacheCallback(note_change, (Datum) 0);
	prev_planner = planner_hook;
	planner_hook = plan;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
}
