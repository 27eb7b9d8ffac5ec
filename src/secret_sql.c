/*-------------------------------------------------------------------------
 *
 * secret_sql.c
 *	  The SQL functions about secrets: made, judged, stored, sealed anew.
 *
 * Layer 5.  Messages never hold a secret.  The trigger that seals what is
 * stored is written in C so that a secret is no parameter of a statement,
 * which auto_explain could log.
 *
 * What comes sealed is taken as it is: a dump brings it, to a server that may
 * get the key later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "fmgr.h"
#include "headers.h"
#include "keyfile.h"
#include "signature.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_check_secret);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_checked_headers);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_checked_secret);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_generate_secret);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_public_key);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_require_key_file);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_reseal);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_seal_before_write);

/* What the trigger seals: where it stands in its table, and how. */
typedef struct Sealable
{
	const char *kind;			/* WO_SEAL_..., the trigger's argument */
	int			endpoint_id;	/* these three are columns; this a bigint */
	int			stored;			/* what is sealed */
	int			note;			/* what everybody may know of it */
	Oid			stored_type;
	Oid			note_type;
	PGFunction	equals;			/* compares two of stored_type */

	/* The sealed text in what is stored; NULL: it is in plain. */
	char	   *(*sealed_text) (Datum stored);
	/* Judges what is in plain, puts it sealed, and returns the note. */
	Datum		(*seal) (int64 endpoint_id, Datum *stored, bool *isnull);
} Sealable;

/*----------------------------------------------------------------------
 * What users bring, or get
 *----------------------------------------------------------------------
 */

static void
check_secret(const char *secret)
{
	const char *problem = wo_signature_check_secret(secret);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid secret: %s", problem),
				 errhint("Let the server make one with webhook_outbox.generate_secret().")));
}

/*
 * check_secret(secret text) returns void
 */
Datum
wo_sql_check_secret(PG_FUNCTION_ARGS)
{
	check_secret(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* Makes a secret of this kind. */
static text *
generate_secret(const char *kind)
{
	bool		is_ed25519 = strcmp(kind, "ed25519") == 0;
	char	   *secret;

	if (!is_ed25519 && strcmp(kind, "hmac-sha256") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid kind of secret \"%s\"", kind),
				 errhint("Use hmac-sha256 or ed25519.")));
	secret = wo_signature_new_secret(is_ed25519);
	if (secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a secret: no strong random numbers")));
	return cstring_to_text(secret);
}

/*
 * generate_secret(kind text) returns text
 */
Datum
wo_sql_generate_secret(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(generate_secret(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * checked_secret(secret text, kind text) returns text
 *
 * The secret that somebody brought, once it is judged, or a new one.
 */
Datum
wo_sql_checked_secret(PG_FUNCTION_ARGS)
{
	const char *kind = PG_ARGISNULL(1) ? "hmac-sha256" :
	text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (PG_ARGISNULL(0))
		PG_RETURN_TEXT_P(generate_secret(kind));
	check_secret(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * checked_headers(headers jsonb) returns jsonb
 *
 * Headers that somebody brought for an endpoint, once they are judged.
 */
Datum
wo_sql_checked_headers(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("headers of an endpoint must not be null"),
				 errhint("Use {} for none.")));
	(void) wo_headers_text(PG_GETARG_JSONB_P(0), false);
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * public_key(secret text) returns text
 */
Datum
wo_sql_public_key(PG_FUNCTION_ARGS)
{
	char	   *secret = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *problem = wo_signature_check_secret(secret);
	char	   *public_key;

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid secret: %s", problem),
				 errhint("create_endpoint() and rotate_secret() return secrets; webhook_outbox.endpoint_secret has the public keys.")));
	public_key = wo_signature_public_key(secret);
	if (public_key == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(public_key));
}

/*----------------------------------------------------------------------
 * What is stored
 *----------------------------------------------------------------------
 */

/* Seals a text, unless no key file is set. */
static char *
seal(const char *kind, int64 endpoint_id, char *plain)
{
	WoKeyFile	file;
	char	   *sealed;

	if (!wo_keyfile_is_set())
		return plain;
	wo_keyfile_begin(&file);
	sealed = wo_keyfile_seal(&file, kind, endpoint_id, plain);
	wo_keyfile_end(&file);
	return sealed;
}

static char *
sealed_secret(Datum stored)
{
	char	   *secret = TextDatumGetCString(stored);

	return wo_seal_is_sealed(secret) ? secret : NULL;
}

/* The note is its public key, if it has one. */
static Datum
seal_secret(int64 endpoint_id, Datum *stored, bool *isnull)
{
	char	   *secret = TextDatumGetCString(*stored);
	char	   *public_key;

	check_secret(secret);
	public_key = wo_signature_public_key(secret);
	*isnull = public_key == NULL;
	*stored = CStringGetTextDatum(seal(WO_SEAL_SECRET, endpoint_id, secret));
	return *isnull ? (Datum) 0 : CStringGetTextDatum(public_key);
}

static char *
sealed_headers(Datum stored)
{
	return wo_keyfile_sealed_headers(DatumGetJsonbP(stored));
}

/* The names in a JSON object, as text[]. */
static Datum
names_of(Jsonb *headers)
{
	Datum	   *names = palloc(Max(JB_ROOT_COUNT(headers), 1) * sizeof(Datum));
	int			n = 0;
	JsonbIterator *iterator = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		text	   *name;

		if (token != WJB_KEY)
			continue;
		name = cstring_to_text_with_len(value.val.string.val,
										value.val.string.len);
		names[n++] = PointerGetDatum(name);
	}
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/* The note is their names. */
static Datum
seal_headers(int64 endpoint_id, Datum *stored, bool *isnull)
{
	Jsonb	   *headers = DatumGetJsonbP(*stored);
	char	   *text;

	(void) wo_headers_text(headers, false);
	*isnull = false;
	if (wo_keyfile_is_set())
	{
		text = JsonbToCString(NULL, &headers->root, VARSIZE(headers));
		text = seal(WO_SEAL_HEADERS, endpoint_id, text);
		*stored = JsonbPGetDatum(wo_keyfile_stored_headers(text));
	}
	return names_of(headers);
}

/* Of webhook_outbox.endpoint_secret and endpoint_header. */
static const Sealable sealables[] =
{
	{
		.kind = WO_SEAL_SECRET,
		.endpoint_id = 2,
		.stored = 3,
		.note = 6,
		.stored_type = TEXTOID,
		.note_type = TEXTOID,
		.equals = texteq,
		.sealed_text = sealed_secret,
		.seal = seal_secret
	},
	{
		.kind = WO_SEAL_HEADERS,
		.endpoint_id = 1,
		.stored = 3,
		.note = 2,
		.stored_type = JSONBOID,
		.note_type = TEXTARRAYOID,
		.equals = jsonb_eq,
		.sealed_text = sealed_headers,
		.seal = seal_headers
	}
};

static bool
has_column(TupleDesc desc, int column, Oid type)
{
	return desc->natts >= column &&
		TupleDescAttr(desc, column - 1)->atttypid == type;
}

/* The trigger that this call is for: BEFORE INSERT OR UPDATE FOR EACH ROW. */
static TriggerData *
get_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this is a row trigger of webhook_outbox.endpoint_secret or endpoint_header")));
	return trigger;
}

/* What the trigger's argument says that it seals; its table must have that. */
static const Sealable *
find_sealable(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	for (int i = 0; i < lengthof(sealables); i++)
	{
		const Sealable *what = &sealables[i];

		if (trigger->tg_trigger->tgnargs == 1 &&
			strcmp(trigger->tg_trigger->tgargs[0], what->kind) == 0 &&
			has_column(desc, what->endpoint_id, INT8OID) &&
			has_column(desc, what->stored, what->stored_type) &&
			has_column(desc, what->note, what->note_type))
			return what;
	}
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("this trigger is for another table of webhook_outbox")));
}

/* The row to be written. */
static HeapTuple
new_row(TriggerData *trigger)
{
	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ?
		trigger->tg_newtuple : trigger->tg_trigtuple;
}

/* A column of the row that is replaced; isnull if none is. */
static Datum
old_value(TriggerData *trigger, int column, bool *isnull)
{
	*isnull = true;
	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return (Datum) 0;
	return heap_getattr(trigger->tg_trigtuple, column,
						RelationGetDescr(trigger->tg_relation), isnull);
}

/* Raises an error unless this is a sealed text. */
static void
check_sealed(const char *kind, const char *text)
{
	const char *problem = wo_seal_check(text);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s: it is %s", kind, problem)));
}

/* Returns the row with what was in plain sealed. */
static HeapTuple
seal_row(const Sealable *what, HeapTuple row, TupleDesc desc, Datum stored)
{
	int			columns[] = {what->note, what->stored};
	bool		nulls[] = {false, false};
	Datum		values[2];
	bool		isnull;
	Datum		endpoint_id = heap_getattr(row, what->endpoint_id, desc,
										   &isnull);

	if (isnull)
		return row;				/* which the table refuses */
	values[0] = what->seal(DatumGetInt64(endpoint_id), &stored, &nulls[0]);
	values[1] = stored;
	return heap_modify_tuple_by_cols(row, desc, 2, columns, values, nulls);
}

/*
 * seal_before_write(kind) returns trigger
 *
 * BEFORE INSERT OR UPDATE FOR EACH ROW.  Judges what is new, seals it, and
 * notes what everybody may know of it.
 */
Datum
wo_sql_seal_before_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = get_trigger(fcinfo);
	const Sealable *what = find_sealable(trigger);
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	HeapTuple	row = new_row(trigger);
	bool		isnull;
	Datum		stored = heap_getattr(row, what->stored, desc, &isnull);
	Datum		old;
	char	   *sealed;

	if (isnull)
		return PointerGetDatum(row);
	old = old_value(trigger, what->stored, &isnull);
	if (!isnull && DatumGetBool(DirectFunctionCall2Coll(what->equals,
														C_COLLATION_OID,
														old, stored)))
		return PointerGetDatum(row);
	sealed = what->sealed_text(stored);
	if (sealed == NULL)
		row = seal_row(what, row, desc, stored);
	else
		check_sealed(what->kind, sealed);
	return PointerGetDatum(row);
}

/*
 * require_key_file() returns void
 */
Datum
wo_sql_require_key_file(PG_FUNCTION_ARGS)
{
	WoKeyFile	file;

	wo_keyfile_begin(&file);
	wo_keyfile_require(&file);
	wo_keyfile_end(&file);
	PG_RETURN_VOID();
}

/*
 * reseal(kind text, endpoint_id bigint, stored text) returns text
 *
 * What is stored, sealed with the key that seals now.
 */
Datum
wo_sql_reseal(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		endpoint_id = PG_GETARG_INT64(1);
	char	   *stored = text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *plain;
	const char *problem;
	WoKeyFile	file;

	wo_keyfile_begin(&file);
	if (wo_keyfile_problem(&file) == NULL &&
		wo_seal_is_current(file.ring, stored))
	{
		wo_keyfile_end(&file);
		PG_RETURN_DATUM(PG_GETARG_DATUM(2));
	}
	problem = wo_keyfile_open(&file, kind, endpoint_id, stored, &plain);
	if (problem == NULL)
		stored = wo_keyfile_seal(&file, kind, endpoint_id, plain);
	wo_keyfile_end(&file);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the %s of an endpoint cannot be read: it is %s",
						kind, problem),
				 errhint("%s", WO_KEYFILE_HINT)));
	PG_RETURN_TEXT_P(cstring_to_text(stored));
}
