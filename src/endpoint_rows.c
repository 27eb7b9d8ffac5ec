/*-------------------------------------------------------------------------
 *
 * endpoint_rows.c
 *	  Rows of webhook_outbox.endpoint, as the dispatcher reads them.
 *
 * What belongs to an endpoint's configuration stands in four tables; one
 * statement reads it, so that it is of one moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "credentials.h"
#include "endpoint_rows.h"
#include "request.h"
#include "txn.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define LOAD_SQL(where) \
	"SELECT e.endpoint_id, e.name, e.url, e.event_types, e.tenant, " \
	"e.enabled, e.body_format, " \
	"(SELECT h.headers FROM webhook_outbox.endpoint_header h " \
	"WHERE h.endpoint_id = e.endpoint_id), " \
	"(EXTRACT(epoch FROM e.timeout) * 1000)::integer, " \
	"ARRAY(SELECT (EXTRACT(epoch FROM d) * 1000000)::bigint " \
	"FROM unnest(e.retry_schedule) WITH ORDINALITY AS u(d, n) ORDER BY n), " \
	"e.retry_jitter, e.max_in_flight, e.http_version, e.ca_certificates, " \
	"k.secrets, k.expiries, e.proxy, e.tier, " \
	"(EXTRACT(epoch FROM coalesce(e.latency_objective, " \
	"(SELECT t.latency_objective FROM webhook_outbox.tier t " \
	"WHERE t.tier = e.tier))) * 1000)::double precision " \
	"FROM webhook_outbox.endpoint e, LATERAL (" \
	"SELECT array_agg(s.secret ORDER BY s.secret_id DESC) AS secrets, " \
	"array_agg(coalesce(s.expires_at, 'infinity') ORDER BY s.secret_id DESC)" \
	" AS expiries FROM (SELECT * FROM webhook_outbox.endpoint_secret s " \
	"WHERE s.endpoint_id = e.endpoint_id AND (s.expires_at IS NULL OR " \
	"s.expires_at > $1) ORDER BY s.secret_id DESC LIMIT 4) s) k " where

static const Oid load_types[] = {TIMESTAMPTZOID, INT8ARRAYOID};
static WoStatement load_all = {LOAD_SQL(""), 1, load_types, NULL};
static WoStatement load_some = {
	LOAD_SQL("WHERE e.endpoint_id = ANY ($2)"), 2, load_types, NULL
};

/* Reads all endpoints, with what signs at that time; returns how many. */
uint64
wo_endpoint_rows_load_all(TimestampTz now)
{
	Datum		arg = TimestampTzGetDatum(now);

	return wo_txn_query(&load_all, &arg, NULL, 0);
}

/* Likewise those of these endpoints that there are. */
uint64
wo_endpoint_rows_load(Datum *ids, int n, TimestampTz now)
{
	Datum		args[2];

	args[0] = TimestampTzGetDatum(now);
	args[1] = wo_txn_array(ids, NULL, n, INT8OID);
	return wo_txn_query(&load_some, args, NULL, 0);
}

/* Returns the endpoint's number. */
int64
wo_endpoint_rows_id(uint64 row)
{
	bool		isnull;

	return DatumGetInt64(wo_txn_value(row, 1, &isnull));
}

static int
array_values(Datum array, Oid type, int len, bool byval, char align,
			 Datum **values)
{
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), type, len, byval, align,
					  values, NULL, &n);
	return n;
}

/* Returns a column of event types as a list of char *. */
List *
wo_endpoint_rows_patterns(uint64 row, int column)
{
	List	   *result = NIL;
	bool		isnull;
	Datum		patterns = wo_txn_value(row, column, &isnull);
	Datum	   *values;
	int			n = isnull ? 0 : array_values(patterns, TEXTOID, -1, false,
											  TYPALIGN_INT, &values);

	for (int i = 0; i < n; i++)
		result = lappend(result, TextDatumGetCString(values[i]));
	return result;
}

static void
set_schedule(WoEndpoint *endpoint, uint64 row, int column)
{
	bool		isnull;
	Datum	   *values;
	int			n = array_values(wo_txn_value(row, column, &isnull), INT8OID,
								 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
								 &values);

	endpoint->n_delays = n;
	endpoint->delays_us = palloc(Max(n, 1) * sizeof(int64));
	for (int i = 0; i < n; i++)
		endpoint->delays_us[i] = DatumGetInt64(values[i]);
}

static void
set_target(WoEndpoint *endpoint, uint64 row)
{
	WoTarget   *target = &endpoint->target;
	bool		isnull;

	target->endpoint_id = endpoint->endpoint_id;
	target->url = wo_txn_utf8(row, 3);
	if (!wo_request_format_by_name(wo_txn_text(row, 7), &target->format))
		elog(ERROR, "endpoint \"%s\" has an unknown body format",
			 endpoint->name);
	target->timeout_ms = DatumGetInt32(wo_txn_value(row, 9, &isnull));
	target->is_http2 = strcmp(wo_txn_text(row, 13), "2") == 0;
	target->ca_pem = wo_txn_text(row, 14);
	target->proxy = wo_txn_text(row, 17);
	wo_credentials_load(endpoint, row, 8, 15);
}

/* Sets an endpoint's configuration, in the current memory context. */
void
wo_endpoint_rows_take(WoEndpoint *endpoint, uint64 row)
{
	bool		isnull;

	endpoint->name = wo_txn_text(row, 2);
	endpoint->patterns = wo_endpoint_rows_patterns(row, 4);
	endpoint->tenant = wo_txn_utf8(row, 5);
	endpoint->is_enabled = DatumGetBool(wo_txn_value(row, 6, &isnull));
	set_schedule(endpoint, row, 10);
	endpoint->jitter = DatumGetFloat8(wo_txn_value(row, 11, &isnull));
	endpoint->max_in_flight = DatumGetInt32(wo_txn_value(row, 12, &isnull));
	set_target(endpoint, row);
	endpoint->tier = DatumGetInt16(wo_txn_value(row, 18, &isnull));
	endpoint->latency_objective_ms =
		DatumGetFloat8(wo_txn_value(row, 19, &isnull));
}
