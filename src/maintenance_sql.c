/*-------------------------------------------------------------------------
 *
 * maintenance_sql.c
 *	  SQL functions through which maintain() and the dispatcher learn of each
 *	  other.
 *
 * Layer 5.  What maintain() says counts when its transaction commits, by one
 * callback per backend, as in wakeup.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "maintainer.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "registry.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_request_maintenance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_note_maintenance);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_maintenance_caller);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_maintenance_worker);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_log_line);

#define MAX_LINE_LEN	8192	/* bytes in the log */

/* Columns of maintenance_worker(). */
enum
{
	COL_LAST_RUN_AT, COL_LAST_RUN_BY, COL_PID, COL_ERROR, COL_ERROR_AT,
	COL_HAS_DISPATCHER, N_COLS
};

/* What this transaction has to say. */
static TimestampTz run_at = 0;	/* maintain() ran; 0: it did not */
static WoCaller run_by;			/* ... called by; valid unless that is 0 */
static bool is_wanted = false;	/* it should run again in a minute */
static WoDatabase *my_database = NULL;	/* valid while one of these is set */

static WoCaller
caller(void)
{
	const char *name = GetConfigOption("application_name", true, false);

	if (wo_is_maintainer)
		return WO_CALLER_DISPATCHER;
	/* pg_cron runs jobs in workers of its own, or connects by that name */
	if (MyBgworkerEntry != NULL)
		return strncmp(MyBgworkerEntry->bgw_name, "pg_cron", 7) == 0 ?
			WO_CALLER_PG_CRON : WO_CALLER_SESSION;
	return name != NULL && strcmp(name, "pg_cron") == 0 ?
		WO_CALLER_PG_CRON : WO_CALLER_SESSION;
}

static const char *
caller_name(WoCaller who)
{
	switch (who)
	{
		case WO_CALLER_SESSION:
			return "session";
		case WO_CALLER_DISPATCHER:
			return "dispatcher";
		case WO_CALLER_PG_CRON:
			return "pg_cron";
	}
	return "session";			/* keep compiler quiet */
}

static void
tell(void)
{
	if (run_at != 0)
	{
		pg_atomic_write_u32(&my_database->is_maintenance_wanted, is_wanted);
		pg_atomic_write_u32(&my_database->maintained_by, run_by);
		pg_atomic_write_u64(&my_database->maintained_at, (uint64) run_at);
	}
	else if (is_wanted)
		pg_atomic_write_u32(&my_database->is_maintenance_wanted, 1);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if ((run_at == 0 && !is_wanted) || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE ||
		event == XACT_EVENT_PARALLEL_PRE_COMMIT)
		return;
	if (event == XACT_EVENT_COMMIT)
		tell();
	run_at = 0;
	is_wanted = false;
}

/* Is there shared memory to tell it to? */
static bool
find_database(void)
{
	static bool is_registered = false;

	if (my_database == NULL)
		my_database = wo_registry_find(MyDatabaseId, true);
	if (my_database != NULL && !is_registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		is_registered = true;
	}
	return my_database != NULL;
}

/* SQL: request_maintenance().  The next run is wanted in a minute. */
Datum
wo_sql_request_maintenance(PG_FUNCTION_ARGS)
{
	if (find_database())
		is_wanted = true;
	PG_RETURN_VOID();
}

/* SQL: note_maintenance().  maintain() has run. */
Datum
wo_sql_note_maintenance(PG_FUNCTION_ARGS)
{
	if (find_database())
	{
		run_at = GetCurrentTransactionStartTimestamp();
		run_by = caller();
	}
	PG_RETURN_VOID();
}

/* SQL: maintenance_caller() returns text. */
Datum
wo_sql_maintenance_caller(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(caller_name(caller())));
}

/* Fills in a row from a database's entry. */
static void
describe(WoDatabase *database, Datum *values, bool *nulls)
{
	uint64		at = pg_atomic_read_u64(&database->maintained_at);
	WoCaller	by = pg_atomic_read_u32(&database->maintained_by);
	char		error[WO_ERROR_LEN];

	LWLockAcquire(wo_registry->lock, LW_SHARED);
	strlcpy(error, database->maintenance_error, WO_ERROR_LEN);
	values[COL_ERROR_AT] =
		TimestampTzGetDatum(database->maintenance_error_at);
	values[COL_PID] = Int32GetDatum(database->maintainer_pid);
	values[COL_HAS_DISPATCHER] = BoolGetDatum(database->pid != 0);
	LWLockRelease(wo_registry->lock);
	values[COL_LAST_RUN_AT] = TimestampTzGetDatum((TimestampTz) at);
	values[COL_LAST_RUN_BY] = CStringGetTextDatum(caller_name(by));
	values[COL_ERROR] = CStringGetTextDatum(error);
	nulls[COL_LAST_RUN_AT] = nulls[COL_LAST_RUN_BY] = at == 0;
	nulls[COL_PID] = DatumGetInt32(values[COL_PID]) == 0;
	nulls[COL_ERROR] = nulls[COL_ERROR_AT] = error[0] == '\0';
	nulls[COL_HAS_DISPATCHER] = false;
}

/* SQL: maintenance_worker().  All NULL where the library is not preloaded. */
Datum
wo_sql_maintenance_worker(PG_FUNCTION_ARGS)
{
	WoDatabase *database = wo_registry_find(MyDatabaseId, true);
	Datum		values[N_COLS] = {0};
	bool		nulls[N_COLS];
	TupleDesc	desc;

	memset(nulls, true, sizeof(nulls));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (database != NULL)
		describe(database, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/*
 * log_line(text): one line in the server's log, whatever stands in the name of
 * a tenant that it is about.  RAISE LOG would add ten more on where in
 * maintain() it happened.
 */
Datum
wo_sql_log_line(PG_FUNCTION_ARGS)
{
	char	   *line = text_to_cstring(PG_GETARG_TEXT_PP(0));

	line = wo_text_shown(line, strlen(line), MAX_LINE_LEN);
	ereport(LOG,
			(errhidestmt(true), errhidecontext(true),
			 errmsg_internal("%s", line)));
	PG_RETURN_VOID();
}
