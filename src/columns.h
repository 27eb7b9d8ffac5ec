/*-------------------------------------------------------------------------
 *
 * columns.h
 *	  Rows turned into one array per column, for unnest().
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_COLUMNS_H
#define WO_COLUMNS_H

#include "txn.h"

#define WO_MAX_COLUMNS		17

typedef struct WoColumns
{
	int			n_columns;
	const Oid  *array_types;
	int			n_rows;			/* complete rows */
	int			column;			/* where the next value goes */
	Datum	   *values[WO_MAX_COLUMNS];
	bool	   *nulls[WO_MAX_COLUMNS];
} WoColumns;

extern void wo_columns_init(WoColumns *columns, const Oid *array_types,
							int n_columns, int max_rows);
extern void wo_columns_add(WoColumns *columns, Datum value, bool isnull);
extern void wo_columns_end_row(WoColumns *columns);
extern void wo_columns_add_utf8(WoColumns *columns, const char *value);
extern void wo_columns_arrays(WoColumns *columns, Datum *args);
extern void wo_columns_execute(WoStatement *statement, WoColumns *columns);

#endif							/* WO_COLUMNS_H */
