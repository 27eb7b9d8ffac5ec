/*-------------------------------------------------------------------------
 *
 * credentials.c
 *	  What endpoints are signed for and authorized with, opened.
 *
 * Called by router.c for each endpoint that it loads, and by the dispatcher.
 * When something does not open (the key file is missing or lacks the key),
 * its endpoint is held: it is treated as one that is paused, so that what is
 * owed to it waits in the table and costs no attempt.  Held endpoints are
 * opened again once a minute, for the file may be on a disk that comes late,
 * and at a reload, together with the rest: what a new file does not open is
 * to be known then, and not at the next restart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "credentials.h"
#include "keyfile.h"
#include "txn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static WoKeyFile key_file;		/* open while endpoints are loaded */
static WoReopen reopen = WO_REOPEN_NONE;	/* with the next load */

/* What becomes known of an endpoint while it is opened. */
typedef struct Findings
{
	char	   *hold_reason;	/* NULL: all opens */
	bool		is_sealed;
} Findings;

/* Before endpoints are taken over from rows, and when that is done. */
void
wo_credentials_begin(void)
{
	wo_keyfile_begin(&key_file);
}

void
wo_credentials_end(void)
{
	wo_keyfile_end(&key_file);
	reopen = WO_REOPEN_NONE;
}

/*
 * Notes why what was stored of an endpoint cannot be used: nothing is sent to
 * it then, for it would go out unsigned, or without credentials.
 */
static void
hold(Findings *findings, const char *kind, const char *problem)
{
	if (findings->hold_reason == NULL)
		findings->hold_reason = psprintf("its %s %s %s", kind,
										 strcmp(kind, WO_SEAL_HEADERS) == 0 ?
										 "are" : "is", problem);
}

static void
load_keys(WoEndpoint *endpoint, uint64 row, int column, Findings *findings)
{
	WoTarget   *target = &endpoint->target;
	bool		isnull;
	Datum		array = wo_txn_value(row, column, &isnull);
	Datum	   *values;
	Datum	   *expiries;

	target->n_keys = 0;
	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, NULL, &target->n_keys);
	array = wo_txn_value(row, column + 1, &isnull);
	deconstruct_array(DatumGetArrayTypeP(array), TIMESTAMPTZOID, 8,
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &expiries, NULL,
					  &target->n_keys);
	for (int i = 0; i < target->n_keys; i++)
	{
		char	   *stored = TextDatumGetCString(values[i]);
		char	   *plain = NULL;
		const char *problem = wo_keyfile_open(&key_file, WO_SEAL_SECRET,
											  endpoint->endpoint_id, stored,
											  &plain);

		findings->is_sealed |= wo_seal_is_sealed(stored);
		if (problem != NULL)
			hold(findings, WO_SEAL_SECRET, problem);
		target->keys[i].secret = problem == NULL ? plain : "";
		target->keys[i].expires_at = DatumGetTimestampTz(expiries[i]);
	}
}

static void
load_headers(WoEndpoint *endpoint, uint64 row, int column,
			 Findings *findings)
{
	bool		isnull;
	Datum		value = wo_txn_value(row, column, &isnull);
	Jsonb	   *headers;
	const char *problem;

	endpoint->target.headers = "";
	if (isnull)
		return;
	headers = DatumGetJsonbP(value);
	findings->is_sealed |= wo_keyfile_sealed_headers(headers) != NULL;
	problem = wo_keyfile_open_headers(&key_file, endpoint->endpoint_id,
									  headers, &endpoint->target.headers);
	if (problem != NULL)
		hold(findings, WO_SEAL_HEADERS, problem);
}

/*
 * Fills in headers and keys of an endpoint from a row of the last query: two
 * arrays stand in secrets_column and the next.  Holds it if that cannot be.
 * What is known of it changes at the end: should an error come before that,
 * it is still among those to open again.
 */
void
wo_credentials_load(WoEndpoint *endpoint, uint64 row, int headers_column,
					int secrets_column)
{
	Findings	findings = {NULL, false};

	load_headers(endpoint, row, headers_column, &findings);
	load_keys(endpoint, row, secrets_column, &findings);
	endpoint->hold_reason = findings.hold_reason;
	endpoint->is_sealed = findings.is_sealed;
	if (endpoint->hold_reason != NULL)
		endpoint->is_enabled = false;
}

/* Lets the next load open these again. */
void
wo_credentials_reopen(WoReopen what)
{
	reopen = Max(reopen, what);
}

bool
wo_credentials_must_reopen(void)
{
	return reopen != WO_REOPEN_NONE;
}

/* Lists the numbers of the endpoints that are to be; returns how many. */
int
wo_credentials_to_reopen(List *endpoints, Datum *ids)
{
	int			n = 0;
	ListCell   *cell;

	if (reopen == WO_REOPEN_NONE)
		return 0;
	foreach(cell, endpoints)
	{
		WoEndpoint *endpoint = lfirst(cell);

		if (!endpoint->is_deleted &&
			(endpoint->hold_reason != NULL ||
			 (reopen == WO_REOPEN_ALL && endpoint->is_sealed)))
			ids[n++] = Int64GetDatum(endpoint->endpoint_id);
	}
	return n;
}

/*
 * Says in the log and in worker_status what is held: n endpoints, of which
 * this is one; NULL: none.
 */
static void
tell(WoDatabase *database, const WoEndpoint *first, int n)
{
	StringInfoData message;

	if (first == NULL)
	{
		ereport(LOG,
				(errmsg("webhook_outbox can open the secrets of all endpoints again")));
		return;
	}
	initStringInfo(&message);
	appendStringInfo(&message, "nothing is sent to endpoint \"%s\"",
					 first->name);
	if (n > 1)
		appendStringInfo(&message, " and %d more", n - 1);
	appendStringInfo(&message, ": %s", first->hold_reason);
	ereport(LOG,
			(errmsg("webhook_outbox: %s", message.data),
			 errhint("%s", WO_KEYFILE_HINT)));
	wo_registry_set_error(database, message.data);
	pfree(message.data);
}

static const WoEndpoint *
first_held(List *endpoints)
{
	ListCell   *cell;

	foreach(cell, endpoints)
	{
		const WoEndpoint *endpoint = lfirst(cell);

		if (endpoint->hold_reason != NULL)
			return endpoint;
	}
	return NULL;
}

/*
 * Tells when other endpoints are held than before, or for another reason.
 * Of these n are; returns that.
 */
int
wo_credentials_tell_held(WoDatabase *database, List *endpoints, int n)
{
	static int	told_n = 0;
	static char *told_reason = NULL;	/* in TopMemoryContext */
	const WoEndpoint *first = n > 0 ? first_held(endpoints) : NULL;

	if (n == told_n &&
		(first == NULL || strcmp(first->hold_reason, told_reason) == 0))
		return n;
	tell(database, first, n);
	told_n = n;
	if (told_reason != NULL)
		pfree(told_reason);
	told_reason = first == NULL ? NULL :
		MemoryContextStrdup(TopMemoryContext, first->hold_reason);
	return n;
}
