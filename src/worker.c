/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What the registrations of all worker processes have in common.
 *
 * Layer 1.  Who starts a process fills in the rest: its argument, whom the
 * postmaster is to tell, and what differs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "worker.h"

/*
 * Describes a worker of this kind (as pg_stat_activity.backend_type shows it),
 * which has a database and, once ended, is not started again by the server.
 */
void
wo_worker_describe(BackgroundWorker *worker, const char *kind,
				   const char *main_function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "webhook_outbox", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, main_function, BGW_MAXLEN);
	snprintf(worker->bgw_type, BGW_MAXLEN, "webhook_outbox %s", kind);
	strlcpy(worker->bgw_name, worker->bgw_type, BGW_MAXLEN);
}
