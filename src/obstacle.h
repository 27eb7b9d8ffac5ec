/*-------------------------------------------------------------------------
 *
 * obstacle.h
 *	  Errors that will pass, and what to say of them.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_OBSTACLE_H
#define WO_OBSTACLE_H

/* What becomes of an error when the transaction is tried again. */
typedef enum WoErrorKind
{
	WO_ERROR_PASSES,			/* nothing, sooner or later */
	WO_ERROR_NEEDS_SOMEBODY,	/* the same, until somebody has mended it */
	WO_ERROR_IS_DEFECT			/* nobody knows: it takes a new process */
} WoErrorKind;

extern WoErrorKind wo_obstacle_kind(int sqlstate);
extern ErrorData *wo_obstacle_roll_back(MemoryContext caller);
extern ErrorData *wo_obstacle_take(MemoryContext caller);
extern char *wo_obstacle_describe(const ErrorData *error);
extern int	wo_obstacle_owner_of(TransactionId xid);
extern int	wo_obstacle_user_of(const char *table);

#endif							/* WO_OBSTACLE_H */
