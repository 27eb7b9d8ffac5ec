/*-------------------------------------------------------------------------
 *
 * rollup.h
 *	  Writes what the minutes have gathered, one row per endpoint or series.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ROLLUP_H
#define WO_ROLLUP_H

#include "work.h"

extern void wo_rollup_create(MemoryContext context);
extern void wo_rollup_keep_open(TimestampTz now);
extern void wo_rollup_close(TimestampTz reopen_at);
extern void wo_rollup_add_attempt(const WoRecord *record, TimestampTz now);
extern void wo_rollup_add_untaken(const WoEvent *event, TimestampTz now);
extern bool wo_rollup_has_facts(void);
extern TimestampTz wo_rollup_deadline(void);
extern void wo_rollup_write(TimestampTz now, bool all);
extern void wo_rollup_written(TimestampTz now);
extern void wo_rollup_give_up(const ErrorData *error, TimestampTz now);

#endif							/* WO_ROLLUP_H */
