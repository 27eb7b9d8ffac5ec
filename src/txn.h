/*-------------------------------------------------------------------------
 *
 * txn.h
 *	  The workers' transactions and prepared statements.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_TXN_H
#define WO_TXN_H

#include "executor/spi.h"

#define WO_EXTENSION		"webhook_outbox"

/* A statement prepared at first use and kept for the process's life. */
typedef struct WoStatement
{
	const char *sql;
	int			n_args;
	const Oid  *arg_types;
	SPIPlanPtr	plan;			/* NULL until first used */
} WoStatement;

/* Set in the dispatcher alone: it is the one that may move log rows. */
extern bool wo_is_dispatcher;

extern void wo_txn_configure_session(const char *application_name);
extern void wo_txn_configure_dispatcher(void);
extern void wo_txn_configure_launcher(void);
extern void wo_txn_watch_extension(void);
extern void wo_txn_check_extension(void);
extern void wo_txn_forget_role(void);
extern void wo_txn_begin(const char *activity);
extern void wo_txn_commit(void);
extern void wo_txn_abort(void);
extern bool wo_txn_find_extension(Oid *owner, Oid *namespace_id);
extern uint64 wo_txn_query(WoStatement *statement, Datum *args,
						   const char *nulls, long limit);
extern uint64 wo_txn_execute(WoStatement *statement, Datum *args,
							 const char *nulls);
extern Datum wo_txn_array(Datum *values, bool *nulls, int n, Oid type);
extern Datum wo_txn_value(uint64 row, int column, bool *isnull);
extern char *wo_txn_text(uint64 row, int column);
extern char *wo_txn_utf8(uint64 row, int column);

#endif							/* WO_TXN_H */
