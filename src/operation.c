/*-------------------------------------------------------------------------
 *
 * operation.c
 *	  operation_ids: makes publishing idempotent.
 *
 * The claim is the executor's INSERT ... ON CONFLICT DO NOTHING, done by hand
 * for one difference: SQL raises a serialization failure when REPEATABLE READ
 * cannot see the row it conflicts with, and a publisher's transaction must
 * never fail for having been asked twice.  An advisory lock per operation was
 * rejected: a transaction of a million events would fill the lock table.
 *
 * The table is written below SQL's privilege checks on purpose: a publisher
 * may claim, and may neither read nor write the table otherwise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "operation.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Columns of webhook_outbox.operation. */
enum
{
	COL_TENANT, COL_OPERATION_ID, COL_EVENT_ID, COL_CREATED_AT, N_COLS
};

static Relation
open_operations(Oid namespace_id, LOCKMODE mode)
{
	return table_open(get_relname_relid("operation", namespace_id), mode);
}

/*
 * Inserts the row in slot unless its key is there, waiting for a transaction
 * that is inserting the same one.  Returns false when the key was there.
 */
static bool
insert_unless_there(ResultRelInfo *rri, EState *estate, TupleTableSlot *slot)
{
	for (;;)
	{
		ItemPointerData conflict;
		uint32		token;
		bool		is_conflict = false;
		CommandId	cid = GetCurrentCommandId(true);

		if (!WoExecCheckIndexConstraints(rri, slot, estate, &conflict))
			return false;
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(rri->ri_RelationDesc, slot, cid, 0,
									   NULL, token);
		list_free(WoExecInsertIndexTuples(rri, slot, estate, true,
										  &is_conflict));
		table_tuple_complete_speculative(rri->ri_RelationDesc, slot, token,
										 !is_conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (!is_conflict)
			return true;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Claims (tenant, operation_id), two text datums, for an event; false when
 * another event has it.  Waits for a concurrent transaction that claims the
 * same.
 */
bool
wo_operation_claim(Oid namespace_id, Datum tenant, Datum operation_id,
				   const pg_uuid_t *event_id, TimestampTz now)
{
	Relation	rel = open_operations(namespace_id, RowExclusiveLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		is_new;

	InitResultRelInfo(rri, rel, 1, NULL, 0);
	ExecOpenIndices(rri, true);
	slot->tts_values[COL_TENANT] = tenant;
	slot->tts_values[COL_OPERATION_ID] = operation_id;
	slot->tts_values[COL_EVENT_ID] = UUIDPGetDatum(event_id);
	slot->tts_values[COL_CREATED_AT] = TimestampTzGetDatum(now);
	memset(slot->tts_isnull, 0, N_COLS * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	is_new = insert_unless_there(rri, estate, slot);
	ExecCloseIndices(rri);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	table_close(rel, NoLock);
	return is_new;
}

/*
 * Finds the event that claimed (tenant, operation_id), whatever the
 * transaction's own snapshot shows; false when there is none.
 */
bool
wo_operation_find(Oid namespace_id, Datum tenant, Datum operation_id,
				  pg_uuid_t *event_id)
{
	Relation	rel = open_operations(namespace_id, AccessShareLock);
	Oid			index_id = get_relname_relid("operation_pkey", namespace_id);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], COL_TENANT + 1, BTEqualStrategyNumber, F_TEXTEQ,
				tenant);
	ScanKeyInit(&keys[1], COL_OPERATION_ID + 1, BTEqualStrategyNumber,
				F_TEXTEQ, operation_id);
	keys[0].sk_collation = keys[1].sk_collation =
		TupleDescAttr(RelationGetDescr(rel), 0)->attcollation;
	scan = systable_beginscan(rel, index_id, true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, COL_EVENT_ID + 1,
										 RelationGetDescr(rel), &isnull);

		Assert(!isnull);
		*event_id = *DatumGetUUIDP(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}
