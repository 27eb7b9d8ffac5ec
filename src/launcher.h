/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  Starts a dispatcher for each database that has the extension.
 *
 * Layer 4.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_LAUNCHER_H
#define WO_LAUNCHER_H

extern void wo_launcher_register(void);

#endif							/* WO_LAUNCHER_H */
