/*-------------------------------------------------------------------------
 *
 * seal_sql.c
 *	  The SQL function that says whether what is stored of an endpoint opens.
 *
 * Layer 5.  Views ask it of each of thousands of endpoints, so the file of
 * keys is read once a statement, and not for each secret as elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/crypto.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "keyfile.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_seal_problem);

/*
 * The key file as it was when this statement first asked for it; its keys are
 * wiped when the memory of the statement goes.
 */
static WoKeyFile *
file_of_statement(FunctionCallInfo fcinfo)
{
	FmgrInfo   *call = fcinfo->flinfo;

	if (call->fn_extra == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(call->fn_mcxt);

		call->fn_extra = palloc(sizeof(WoKeyFile));
		wo_keyfile_begin(call->fn_extra);
		MemoryContextSwitchTo(caller);
	}
	return call->fn_extra;
}

/* Why this cannot be opened, after "secret is" or "headers are"; or NULL. */
static text *
seal_problem(WoKeyFile *file, const char *kind, int64 endpoint_id,
			 const char *stored)
{
	char	   *plain = NULL;
	const char *problem = wo_keyfile_open(file, kind, endpoint_id, stored,
										  &plain);

	if (problem != NULL)
		return cstring_to_text(psprintf("%s %s %s", kind,
										strcmp(kind, WO_SEAL_HEADERS) == 0 ?
										"are" : "is", problem));
	OPENSSL_cleanse(plain, strlen(plain));
	return NULL;
}

/*
 * seal_problem(endpoint_id bigint, secrets text[], headers jsonb)
 *		returns text
 *
 * Why what is stored of an endpoint cannot be opened, to stand after "its";
 * NULL when it can, or is in plain.
 */
Datum
wo_sql_seal_problem(PG_FUNCTION_ARGS)
{
	WoKeyFile  *file = file_of_statement(fcinfo);
	int64		endpoint_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	text	   *problem = NULL;
	Datum	   *values = NULL;
	bool	   *nulls = NULL;
	int			n = 0;
	char	   *sealed;

	if (!PG_ARGISNULL(1))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
						  TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n && problem == NULL; i++)
	{
		if (!nulls[i])
			problem = seal_problem(file, WO_SEAL_SECRET, endpoint_id,
								   TextDatumGetCString(values[i]));
	}
	sealed = PG_ARGISNULL(2) ? NULL :
		wo_keyfile_sealed_headers(PG_GETARG_JSONB_P(2));
	if (sealed != NULL && problem == NULL)
		problem = seal_problem(file, WO_SEAL_HEADERS, endpoint_id, sealed);
	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(problem);
}
