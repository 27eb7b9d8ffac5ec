/*-------------------------------------------------------------------------
 *
 * maintainer.h
 *	  The worker that runs maintain(), and who decides when.
 *
 * Layer 4.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_MAINTAINER_H
#define WO_MAINTAINER_H

#include "datatype/timestamp.h"
#include "registry.h"

/* Set in the maintainer alone. */
extern bool wo_is_maintainer;

extern void wo_maintainer_note_change(uint64 n_attempts, bool is_announced);
extern void wo_maintainer_start_if_due(WoDatabase *database, TimestampTz now);
extern void wo_maintainer_send_away(WoDatabase *database,
									TimestampTz patient_until);

#endif							/* WO_MAINTAINER_H */
