/*-------------------------------------------------------------------------
 *
 * obstacle.h
 *	  Errors that pass by themselves, and what to say of them.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_OBSTACLE_H
#define WO_OBSTACLE_H

extern bool wo_obstacle_is_passing(int sqlstate);
extern ErrorData *wo_obstacle_take(MemoryContext caller);
extern char *wo_obstacle_describe(const ErrorData *error);

#endif							/* WO_OBSTACLE_H */
