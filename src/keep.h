/*-------------------------------------------------------------------------
 *
 * keep.h
 *	  Keeps the events of a leaf that are needed when it is emptied.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_KEEP_H
#define WO_KEEP_H

/* The dispatcher's. */
extern bool wo_keep_some(int slot, int64 turn);
extern bool wo_keep_rest(int slot);

#endif							/* WO_KEEP_H */
