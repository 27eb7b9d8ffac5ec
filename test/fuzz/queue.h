/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  Stands in for shm_mq and its segment: one queue in this process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FUZZ_QUEUE_H
#define WO_FUZZ_QUEUE_H

#include "storage/shm_mq.h"

extern void wo_fuzz_queue_put(const char *bytes, Size len);
extern char *wo_fuzz_queue_last(Size **len);
extern void wo_fuzz_queue_refuse(uint32 bits);
extern void wo_fuzz_queue_clear(void);

#endif							/* WO_FUZZ_QUEUE_H */
