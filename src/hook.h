/*-------------------------------------------------------------------------
 *
 * hook.h
 *	  Makes way for commands that need a database to themselves.
 *
 * Layer 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_HOOK_H
#define WO_HOOK_H

extern void wo_hook_install(void);
extern bool wo_hook_is_preparing(void);

#endif							/* WO_HOOK_H */
