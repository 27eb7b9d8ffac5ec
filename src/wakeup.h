/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *	  Tells the dispatcher at commit that there is something to do.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_WAKEUP_H
#define WO_WAKEUP_H

extern void wo_wakeup_at_commit(uint32 wants);

#endif							/* WO_WAKEUP_H */
