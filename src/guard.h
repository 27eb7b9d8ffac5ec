/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Keeps the workers off tables that carry what others have put there.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_GUARD_H
#define WO_GUARD_H

extern void wo_guard_install(void);
extern void wo_guard_check(void);
extern void wo_guard_check_version(void);
extern bool wo_guard_has_refused(void);

#endif							/* WO_GUARD_H */
