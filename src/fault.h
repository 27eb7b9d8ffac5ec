/*-------------------------------------------------------------------------
 *
 * fault.h
 *	  Points at which a test can make a process die.
 *
 * Layer 1.  Compiled in with -DWO_FAULT_POINTS, which the tests build with;
 * without it nothing of this is left.  Not for callbacks of libcurl.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FAULT_H
#define WO_FAULT_H

#ifdef WO_FAULT_POINTS
extern void wo_fault_define(void);
extern void wo_fault_reach(const char *point);

#define WO_FAULT(point)		wo_fault_reach(point)
#define WO_FAULT_DEFINE()	wo_fault_define()
#else
#define WO_FAULT(point)		((void) 0)
#define WO_FAULT_DEFINE()	((void) 0)
#endif

#endif							/* WO_FAULT_H */
