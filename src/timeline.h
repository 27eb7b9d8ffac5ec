/*-------------------------------------------------------------------------
 *
 * timeline.h
 *	  Whether this server was recovered to a chosen point in time.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_TIMELINE_H
#define WO_TIMELINE_H

extern int64 wo_timeline_recovered(void);

#endif							/* WO_TIMELINE_H */
