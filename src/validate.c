/*-------------------------------------------------------------------------
 *
 * validate.c
 *	  The SQL functions that judge what users give, and show requests.
 *
 * Layer 5.  The judging itself is in layers 0 and 2; here it becomes errors,
 * with a code and a hint.  Messages never hold a secret.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "check.h"
#include "encoding.h"
#include "fmgr.h"
#include "funcapi.h"
#include "headers.h"
#include "keyfile.h"
#include "request.h"
#include "signature.h"
#include "text.h"
#include "url.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define N_RENDERED		4		/* columns of render_request */
#define MAX_SHOWN		300		/* bytes of a pattern in a message */
#define MAX_PATTERNS	1000	/* of one endpoint */

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_check_headers);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_check_event_types);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_render_request);

/*
 * check_headers(headers jsonb, what text) returns void
 */
Datum
wo_sql_check_headers(PG_FUNCTION_ARGS)
{
	Jsonb	   *headers = PG_GETARG_JSONB_P(0);
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (strcmp(what, "event") != 0 && strcmp(what, "endpoint") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers belong to an event or an endpoint, not to \"%s\"",
						what)));
	(void) wo_headers_text(headers, strcmp(what, "event") == 0);
	PG_RETURN_VOID();
}

static void
check_pattern(const char *pattern)
{
	const char *hint = NULL;
	const char *problem = wo_check_type_pattern(pattern, &hint);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid pattern of event types \"%s\": %s",
						wo_text_shown(pattern, strlen(pattern), MAX_SHOWN),
						problem),
				 errhint("%s", hint)));
}

/*
 * check_event_types(patterns text[]) returns void
 */
Datum
wo_sql_check_event_types(PG_FUNCTION_ARGS)
{
	ArrayType  *patterns = PG_GETARG_ARRAYTYPE_P(0);
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(patterns, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no pattern of event types"),
				 errhint("Use {*} for all types; to stop deliveries for a while, set enabled to false.")));
	/* an event of a type not met before is compared with each of them */
	if (n > MAX_PATTERNS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are %d patterns of event types", n),
				 errhint("At most %d are allowed; a pattern like order.* stands for many types.",
						 MAX_PATTERNS)));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("pattern of event types is null"),
					 errhint("Use {*} for all types.")));
		check_pattern(TextDatumGetCString(values[i]));
	}
	PG_RETURN_VOID();
}

/*----------------------------------------------------------------------
 * render_request
 *----------------------------------------------------------------------
 */

/* A text argument in UTF-8, which is what is sent; NULL for null. */
static char *
utf8_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *string;
	int			len;
	bool		is_exact;

	if (PG_ARGISNULL(n))
		return NULL;
	string = text_to_cstring(PG_GETARG_TEXT_PP(n));
	len = strlen(string);
	return wo_encoding_to_utf8(string, &len, &is_exact);
}

static void
require_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s of a request cannot be null", name)));
}

static const char *
headers_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? "" :
		wo_headers_valid_text(PG_GETARG_JSONB_P(n));
}

/* Raises an error about what is needed and cannot be opened. */
static void
refuse_sealed(WoKeyFile *file, const char *what, const char *problem)
{
	wo_keyfile_end(file);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no request can be made: the %s of the endpoint %s %s",
					what, strcmp(what, WO_SEAL_HEADERS) == 0 ? "are" : "is",
					problem),
			 errhint("%s", WO_KEYFILE_HINT)));
}

/* Gets the keys of an array of secrets ready; they all sign. */
static void
load_signer(WoSigner *signer, ArrayType *secrets, WoKeyFile *file,
			int64 endpoint_id)
{
	WoKey		keys[WO_MAX_KEYS];
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			n_keys = 0;
	const char *problem;

	deconstruct_array(secrets, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, &n);
	for (int i = 0; i < n && n_keys < WO_MAX_KEYS; i++)
	{
		char	   *plain;

		if (nulls[i])
			continue;
		problem = wo_keyfile_open(file, WO_SEAL_SECRET, endpoint_id,
								  TextDatumGetCString(values[i]), &plain);
		if (problem != NULL)
			refuse_sealed(file, WO_SEAL_SECRET, problem);
		keys[n_keys].secret = plain;
		keys[n_keys].expires_at = DT_NOEND;
		n_keys++;
	}
	problem = wo_signature_load(signer, keys, n_keys);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid secret: %s", problem)));
}

/* Gets the headers and the keys of the endpoint ready. */
static void
get_credentials(FunctionCallInfo fcinfo, WoRequest *request, WoSigner *signer)
{
	int64		endpoint_id = PG_ARGISNULL(12) ? 0 : PG_GETARG_INT64(12);
	const char *problem = NULL;
	WoKeyFile	file;

	wo_keyfile_begin(&file);
	request->target_headers = "";
	if (!PG_ARGISNULL(2))
		problem = wo_keyfile_open_headers(&file, endpoint_id,
										  PG_GETARG_JSONB_P(2),
										  &request->target_headers);
	if (problem != NULL)
		refuse_sealed(&file, WO_SEAL_HEADERS, problem);
	load_signer(signer, PG_GETARG_ARRAYTYPE_P(3), &file, endpoint_id);
	wo_keyfile_end(&file);
	request->signer = signer;
}

static void
get_event(FunctionCallInfo fcinfo, WoEvent *event)
{
	static const char *const required[] = {
		NULL, NULL, NULL, NULL, "id", "type", "creation time", NULL, NULL,
		NULL, "payload", "time"
	};

	for (int i = 0; i < lengthof(required); i++)
	{
		if (required[i] != NULL)
			require_argument(fcinfo, i, required[i]);
	}
	event->id = *PG_GETARG_UUID_P(4);
	event->type = utf8_argument(fcinfo, 5);
	event->created_at = PG_GETARG_TIMESTAMPTZ(6);
	event->tenant = utf8_argument(fcinfo, 7);
	event->source = utf8_argument(fcinfo, 8);
	event->headers = headers_argument(fcinfo, 9);
	event->payload = utf8_argument(fcinfo, 10);
	event->payload_len = strlen(event->payload);
}

static void
push_header(JsonbParseState **state, const char *name, int name_len,
			const char *value, int value_len)
{
	JsonbValue	string;

	string.type = jbvString;
	string.val.string.val = unconstify(char *, name);
	string.val.string.len = name_len;
	pushJsonbValue(state, WJB_KEY, &string);
	string.val.string.val = unconstify(char *, value);
	string.val.string.len = value_len;
	pushJsonbValue(state, WJB_VALUE, &string);
}

/* Header lines as jsonb, with the two that libcurl adds. */
static Jsonb *
headers_as_jsonb(const char *lines, const char *url, int body_len)
{
	JsonbParseState *state = NULL;
	char	   *host = wo_url_host(url);
	char	   *length = psprintf("%d", body_len);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (host != NULL)
		push_header(&state, "Host", 4, host, strlen(host));
	push_header(&state, "Content-Length", 14, length, strlen(length));
	while (*lines)
	{
		const char *colon = strchr(lines, ':');
		const char *end = strchr(lines, '\n');

		push_header(&state, lines, colon - lines, colon + 2, end - colon - 2);
		lines = end + 1;
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Build a request into headers and body, as a sender does.
 */
static void
build(FunctionCallInfo fcinfo, StringInfo headers, StringInfo body)
{
	WoEvent		event;
	WoRequest	request;
	WoSigner	signer;
	char	   *format;
	const char *problem;

	require_argument(fcinfo, 0, "URL");
	require_argument(fcinfo, 1, "body format");
	require_argument(fcinfo, 3, "secrets");
	format = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!wo_request_format_by_name(format, &request.format))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid body format \"%s\"", format),
				 errhint("Use envelope, standard, raw, cloudevents or cloudevents_binary.")));
	get_event(fcinfo, &event);
	request.event = &event;
	request.now = PG_GETARG_TIMESTAMPTZ(11);

	initStringInfo(headers);
	initStringInfo(body);
	get_credentials(fcinfo, &request, &signer);
	problem = wo_request_build(&request, headers, body);
	wo_signature_unload(&signer);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no request can be made: %s", problem),
				 errhint("Give the endpoint a new key with webhook_outbox.rotate_secret().")));
}

/*
 * render_request(endpoint_url text, body_format text, endpoint_headers jsonb,
 *	 secrets text[], event_id uuid, event_type text, created_at timestamptz,
 *	 tenant text, source text, event_headers jsonb, payload json,
 *	 at timestamptz, endpoint_id bigint)
 *	 returns table (method, url, headers, body)
 *
 * Headers and secrets as they are stored, which the endpoint_id is needed for.
 * The result is one row; SQL declares a table for the names of its columns.
 */
Datum
wo_sql_render_request(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StringInfoData headers;
	StringInfoData body;
	char	   *url;
	char	   *shown_body;
	Datum		values[N_RENDERED];
	bool		nulls[N_RENDERED] = {false};

	InitMaterializedSRF(fcinfo, 0);
	build(fcinfo, &headers, &body);
	url = text_to_cstring(PG_GETARG_TEXT_PP(0));
	shown_body = wo_encoding_from_utf8(body.data);

	values[0] = CStringGetTextDatum("POST");
	values[1] = CStringGetTextDatum(url);
	values[2] = JsonbPGetDatum(headers_as_jsonb(headers.data, url, body.len));
	values[3] = CStringGetTextDatum(shown_body);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
