/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  What the registrations of all worker processes have in common.
 *
 * Layer 1.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_WORKER_H
#define WO_WORKER_H

#include "postmaster/bgworker.h"

extern void wo_worker_describe(BackgroundWorker *worker, const char *kind,
							   const char *main_function);

#endif							/* WO_WORKER_H */
