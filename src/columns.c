/*-------------------------------------------------------------------------
 *
 * columns.c
 *	  Rows turned into one array per column, for unnest().
 *
 * Everything lives in the context of the transaction that uses it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "columns.h"
#include "encoding.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Makes room for max_rows rows whose arrays have these types. */
void
wo_columns_init(WoColumns *columns, const Oid *array_types, int n_columns,
				int max_rows)
{
	Assert(n_columns <= WO_MAX_COLUMNS);
	columns->n_columns = n_columns;
	columns->array_types = array_types;
	columns->n_rows = 0;
	columns->column = 0;
	for (int i = 0; i < n_columns; i++)
	{
		columns->values[i] = palloc(Max(max_rows, 1) * sizeof(Datum));
		columns->nulls[i] = palloc(Max(max_rows, 1) * sizeof(bool));
	}
}

/* Adds the next value of the row under way. */
void
wo_columns_add(WoColumns *columns, Datum value, bool isnull)
{
	Assert(columns->column < columns->n_columns);
	columns->values[columns->column][columns->n_rows] = value;
	columns->nulls[columns->column][columns->n_rows] = isnull;
	columns->column++;
}

/* Ends a row, which must be complete. */
void
wo_columns_end_row(WoColumns *columns)
{
	Assert(columns->column == columns->n_columns);
	columns->column = 0;
	columns->n_rows++;
}

/* Builds the arrays, one argument each. */
void
wo_columns_arrays(WoColumns *columns, Datum *args)
{
	for (int i = 0; i < columns->n_columns; i++)
		args[i] = wo_txn_array(columns->values[i], columns->nulls[i],
							   columns->n_rows,
							   get_element_type(columns->array_types[i]));
}

/* Adds a text that is in UTF-8, in the server's encoding; NULL: null. */
void
wo_columns_add_utf8(WoColumns *columns, const char *value)
{
	char	   *text = value ? wo_encoding_from_utf8(value) : NULL;

	wo_columns_add(columns, text ? CStringGetTextDatum(text) : (Datum) 0,
				   text == NULL);
}

/* Runs a statement whose arguments are these arrays, if there are rows. */
void
wo_columns_execute(WoStatement *statement, WoColumns *columns)
{
	Datum		args[WO_MAX_COLUMNS];

	if (columns->n_rows == 0)
		return;
	wo_columns_arrays(columns, args);
	wo_txn_execute(statement, args, NULL);
}
