/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  What happens to an event in the transaction that inserts it.
 *
 * The row trigger on webhook_outbox.event checks the row, sets what is the
 * server's to set (id, xid, created_at), claims the operation_id and marks
 * the transaction for a wake-up.  The business transaction pays for this row
 * and nothing else: no query is run, no lock taken but for an operation_id.
 *
 * The leaf is chosen by the default of the column slot, for a row trigger
 * cannot move a row to another partition.  wo_sql_current_slot assigns the
 * transaction's xid before it looks which leaf is current; ring.c relies on
 * that order when it fences a leaf off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "check.h"
#include "clock.h"
#include "commands/trigger.h"
#include "encoding.h"
#include "event.h"
#include "fmgr.h"
#include "headers.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "operation.h"
#include "registry.h"
#include "ring.h"
#include "settings.h"
#include "tenancy.h"
#include "text.h"
#include "txn.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "wakeup.h"

#define MAX_LABEL_LEN		255 /* of tenant, source and operation_id */
#define MAX_SHOWN_LEN		40	/* bytes of a label that is too long */
#define MAX_HEADERS_LEN		8192	/* bytes, all headers of one event */

/* Columns of webhook_outbox.event. */
enum
{
	COL_ID = 1, COL_CREATED_AT, COL_XID, COL_ENDPOINT_ID, COL_SLOT, COL_TYPE,
	COL_TENANT, COL_SOURCE, COL_OPERATION_ID, COL_HEADERS, COL_PAYLOAD
};

/* Their types. */
static const Oid column_types[] = {
	UUIDOID, TIMESTAMPTZOID, XID8OID, INT8OID, INT2OID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, JSONBOID, JSONOID
};

/*
 * Leaves that the default gave to a transaction: more than one, if the ring
 * turned meanwhile.  Its rows may go to any of them.
 */
static uint64 given_to = 0;		/* xid */
static uint32 given_slots = 0;	/* bits */

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_current_slot);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_event_before_insert);

/* Says once per session that nobody delivers what is inserted here. */
static void
warn_not_preloaded(void)
{
	static bool is_warned = false;

	if (wo_registry != NULL || is_warned)
		return;
	is_warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("events are stored but not delivered: webhook_outbox is not preloaded"),
			 errhint("Add shared_preload_libraries = 'webhook_outbox' to postgresql.conf and restart the server.")));
}

/* SQL: current_slot() returns smallint.  The leaf that new events go to. */
Datum
wo_sql_current_slot(PG_FUNCTION_ARGS)
{
	/* First the xid, then the slot: see the head of this file. */
	uint64		xid = U64FromFullTransactionId(GetTopFullTransactionId());
	int			slot;

	pg_memory_barrier();
	slot = wo_ring_current_event_slot(fcinfo->flinfo->fn_oid);
	if (xid != given_to)
		given_slots = 0;
	given_to = xid;
	given_slots |= 1 << slot;
	PG_RETURN_INT16(slot);
}

static void
refuse_label(const char *column, const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s of the event is %s", column, problem),
			 errhint("%s", hint)));
}

/* Refuses a text that cannot be sent, for that is done in UTF-8. */
static void
check_encoding(Datum value, const char *name)
{
	text	   *plain;
	int			len;
	char	   *converted;
	bool		is_exact;

	if (GetDatabaseEncoding() == PG_UTF8)
		return;
	plain = DatumGetTextPP(value);
	len = VARSIZE_ANY_EXHDR(plain);
	converted = wo_encoding_to_utf8(VARDATA_ANY(plain), &len, &is_exact);
	if (!is_exact)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("%s of the event has bytes that mean nothing in UTF-8, in which events are sent",
						name),
				 errhint("See that client_encoding is what the text is in; the encoding of this database is %s.",
						 GetDatabaseEncodingName())));
	if (converted != VARDATA_ANY(plain))
		pfree(converted);
}

/* The beginning of a label that is too long, for a message. */
static char *
label_shown(Datum value)
{
	/* more than is shown, so that the last character is whole */
	text	   *start = DatumGetTextPSlice(value, 0, 2 * MAX_SHOWN_LEN);

	return wo_text_shown(VARDATA_ANY(start), VARSIZE_ANY_EXHDR(start),
						 MAX_SHOWN_LEN);
}

/* Refuses a label (tenant, source, operation_id) that is empty or too long. */
static void
check_label(HeapTuple row, TupleDesc desc, int column, const char *name)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column, desc, &isnull);
	Size		len;

	if (isnull)
		return;
	len = toast_raw_datum_size(value) - VARHDRSZ;
	if (len == 0)
		refuse_label(name, "empty", "Leave it out (NULL) when there is none.");
	if (len > MAX_LABEL_LEN)
		refuse_label(name,
					 psprintf("%zu bytes long: \"%s\"", len,
							  label_shown(value)),
					 psprintf("At most %d bytes are allowed.",
							  MAX_LABEL_LEN));
	check_encoding(value, name);
}

/* Better than the constraint, which names a leaf and gives no hint. */
static void
refuse_null(const char *column, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("%s of the event is null", column),
			 errhint("%s", hint)));
}

static void
check_type(HeapTuple row, TupleDesc desc, bool has_endpoint)
{
	bool		isnull;
	Datum		value = heap_getattr(row, COL_TYPE, desc, &isnull);
	char	   *type;
	const char *hint = NULL;
	const char *problem;

	if (isnull)
		refuse_null("type", "Say what happened, like 'order.created'.");
	type = TextDatumGetCString(value);
	problem = wo_check_event_type(type, &hint);
	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid event type \"%s\": %s",
						wo_text_shown(type, strlen(type), MAX_LABEL_LEN),
						problem),
				 hint ? errhint("%s", hint) : 0));
	if (!has_endpoint && strncmp(type, WO_RESERVED_PREFIX,
								 strlen(WO_RESERVED_PREFIX)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("event type \"%s\" is reserved", type),
				 errhint("Types that begin with \"%s\" are made by webhook_outbox itself.",
						 WO_RESERVED_PREFIX)));
	pfree(type);
}

static void
check_payload(HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(row, COL_PAYLOAD, desc, &isnull);
	Size		len;

	if (isnull)
		refuse_null("payload", "Use '{}' or 'null' when there is nothing to tell.");
	len = toast_raw_datum_size(value) - VARHDRSZ;
	if (len > (Size) wo_max_payload * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("payload of the event is %zu bytes long, more than the %d kB allowed",
						len, wo_max_payload),
				 errhint("Send a reference to the data instead, or raise webhook_outbox.max_payload.")));
	check_encoding(value, "payload");
}

static void
check_headers(HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(row, COL_HEADERS, desc, &isnull);
	const char *text;

	if (isnull)
		return;
	text = wo_headers_text(DatumGetJsonbP(value), true);

	if (strlen(text) > MAX_HEADERS_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("headers of the event are %zu bytes long",
						strlen(text)),
				 errhint("At most %d bytes are allowed.", MAX_HEADERS_LEN)));
}

/* Did the default give this leaf to the transaction? */
static bool
is_given(int slot)
{
	uint64		xid =
	U64FromFullTransactionId(GetTopFullTransactionIdIfAny());

	return slot >= 0 && slot < WO_RING_LEAVES && xid == given_to &&
		(given_slots & (1 << slot)) != 0;
}

/* Refuses a slot that somebody with all privileges chose by hand. */
static void
check_slot(HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(row, COL_SLOT, desc, &isnull);

	if (!is_given(DatumGetInt16(value)))
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"slot\" of an event cannot be set"),
				 errhint("Leave it out: the server chooses the leaf.")));
}

static void
check_event(HeapTuple row, TupleDesc desc)
{
	bool		has_no_endpoint;

	(void) heap_getattr(row, COL_ENDPOINT_ID, desc, &has_no_endpoint);
	check_slot(row, desc);
	check_type(row, desc, !has_no_endpoint);
	check_label(row, desc, COL_TENANT, "tenant");
	check_label(row, desc, COL_SOURCE, "source");
	check_label(row, desc, COL_OPERATION_ID, "operation_id");
	check_headers(row, desc);
	check_payload(row, desc);
}

/* Refuses a tenant that the current user may not publish for. */
static void
check_tenancy(Relation rel, HeapTuple row)
{
	bool		isnull;
	Datum		tenant = heap_getattr(row, COL_TENANT, RelationGetDescr(rel),
									  &isnull);

	wo_tenancy_check_insert(RelationGetNamespace(rel), tenant, isnull);
}

/* Claims the row's operation_id, if it has one; false when it is taken. */
static bool
claim_operation(Relation rel, HeapTuple row, const pg_uuid_t *id,
				TimestampTz now)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		isnull;
	bool		no_tenant;
	Datum		operation = heap_getattr(row, COL_OPERATION_ID, desc, &isnull);
	Datum		tenant = heap_getattr(row, COL_TENANT, desc, &no_tenant);

	if (isnull)
		return true;
	if (no_tenant)
		tenant = PointerGetDatum(cstring_to_text(""));
	return wo_operation_claim(RelationGetNamespace(rel), tenant, operation,
							  id, now);
}

/* Returns the row with the columns that are the server's to set. */
static HeapTuple
stamp_event(HeapTuple row, TupleDesc desc, pg_uuid_t *id, TimestampTz now,
			uint64 xid)
{
	int			columns[] = {COL_ID, COL_CREATED_AT, COL_XID};
	bool		nulls[] = {false, false, false};
	Datum		values[3];

	values[0] = UUIDPGetDatum(id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = UInt64GetDatum(xid);
	return heap_modify_tuple_by_cols(row, desc, 3, columns, values, nulls);
}

/*
 * A row with both id and xid is one that a dump or logical replication brings
 * back; publishers have no privilege to set these columns.
 */
static bool
is_brought_back(HeapTuple row, TupleDesc desc)
{
	bool		no_id;
	bool		no_xid;

	(void) heap_getattr(row, COL_ID, desc, &no_id);
	(void) heap_getattr(row, COL_XID, desc, &no_xid);
	return !no_id && !no_xid;
}

/*
 * Such a row was delivered, or is still to be, by the cluster it comes from,
 * whose xids mean nothing here.  Xid 0 lies before every cursor: it is stored
 * and never sent of itself; replay() can send it.
 */
static HeapTuple
stamp_brought_back(HeapTuple row, TupleDesc desc)
{
	int			column = COL_XID;
	bool		isnull;
	Datum		value = UInt64GetDatum(0);

	(void) heap_getattr(row, COL_ID, desc, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot publish an event with session_replication_role = replica"),
				 errhint("Rows that come from elsewhere have an id; to publish a new event, set session_replication_role to origin.")));
	return heap_modify_tuple_by_cols(row, desc, 1, &column, &value, &isnull);
}

/*
 * Is this the trigger of webhook_outbox.event?  Who may call the function can
 * put it on a table of his own, whose columns are something else.
 */
static bool
is_our_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;
	TupleDesc	desc;
	Oid			schema;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		return false;
	rel = trigger->tg_relation;
	desc = RelationGetDescr(rel);
	schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	if (RelationGetNamespace(rel) != schema ||
		desc->natts < lengthof(column_types))
		return false;
	for (int i = 0; i < lengthof(column_types); i++)
	{
		if (TupleDescAttr(desc, i)->atttypid != column_types[i])
			return false;
	}
	return true;
}

/* Trigger: BEFORE INSERT ON webhook_outbox.event FOR EACH ROW, always. */
Datum
wo_sql_event_before_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	TupleDesc	desc;
	TimestampTz now;
	pg_uuid_t	id;
	uint64		xid;

	if (!is_our_trigger(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("event_before_insert() is the row trigger of webhook_outbox.event")));
	row = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	if (wo_is_dispatcher)
		return PointerGetDatum(row);	/* ring.c moves rows as they are */
	check_tenancy(trigger->tg_relation, row);
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ||
		is_brought_back(row, desc))
		return PointerGetDatum(stamp_brought_back(row, desc));
	check_event(row, desc);
	warn_not_preloaded();
	now = GetCurrentTimestamp();
	wo_clock_new_id(&id, now);
	if (!claim_operation(trigger->tg_relation, row, &id, now))
		return PointerGetDatum(NULL);
	wo_wakeup_at_commit(WO_WANT_EVENTS);
	xid = U64FromFullTransactionId(GetTopFullTransactionId());
	return PointerGetDatum(stamp_event(row, desc, &id, now, xid));
}
