/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  Stands in for shm_mq and its segment: one queue in this process.
 *
 * What is sent comes back in the same order, each message in a block of its
 * own size, so that the address sanitizer sees what is read beyond it.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "miscadmin.h"
#include "queue.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_toc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define MAX_MESSAGES	64

PGPROC	   *MyProc = NULL;
ResourceOwner CurrentResourceOwner = NULL;

static struct
{
	char	   *bytes;
	Size		len;
}			messages[MAX_MESSAGES];
static int	n_messages = 0;
static int	n_received = 0;
static uint32 refusals = 0;

/* From now on each send of which a bit is set would block. */
void
wo_fuzz_queue_refuse(uint32 bits)
{
	refusals = bits;
}

void
wo_fuzz_queue_put(const char *bytes, Size len)
{
	wo_fuzz_require(n_messages < MAX_MESSAGES);
	messages[n_messages].bytes = palloc(len);
	messages[n_messages].len = len;
	memcpy(messages[n_messages].bytes, bytes, len);
	n_messages++;
}

/* The last message that was sent, to be damaged. */
char *
wo_fuzz_queue_last(Size **len)
{
	wo_fuzz_require(n_messages > 0);
	*len = &messages[n_messages - 1].len;
	return messages[n_messages - 1].bytes;
}

void
wo_fuzz_queue_clear(void)
{
	n_messages = 0;
	n_received = 0;
	refusals = 0;
}

shm_mq_result
shm_mq_send(shm_mq_handle *handle, Size len, const void *bytes, bool nowait,
			bool force_flush)
{
	bool		is_refused = refusals & 1;

	wo_fuzz_require(nowait);
	refusals >>= 1;
	if (is_refused)
		return SHM_MQ_WOULD_BLOCK;
	wo_fuzz_queue_put(bytes, len);
	return SHM_MQ_SUCCESS;
}

shm_mq_result
shm_mq_receive(shm_mq_handle *handle, Size *len, void **bytes, bool nowait)
{
	char	   *copy;

	wo_fuzz_require(nowait);
	if (n_received == n_messages)
		return SHM_MQ_WOULD_BLOCK;
	/* what was received before is not valid any more */
	if (n_received > 0)
		pfree(messages[n_received - 1].bytes);
	*len = messages[n_received].len;
	copy = palloc(*len);
	memcpy(copy, messages[n_received].bytes, *len);
	pfree(messages[n_received].bytes);
	messages[n_received].bytes = copy;
	*bytes = copy;
	n_received++;
	return SHM_MQ_SUCCESS;
}

/*----------------------------------------------------------------------
 * The segment: memory of the process
 *----------------------------------------------------------------------
 */

dsm_segment *
dsm_create(Size size, int flags)
{
	return palloc(1);
}

dsm_segment *
dsm_attach(dsm_handle handle)
{
	return palloc(1);
}

void
dsm_detach(dsm_segment *segment)
{
}

void *
dsm_segment_address(dsm_segment *segment)
{
	return segment;
}

dsm_handle
dsm_segment_handle(dsm_segment *segment)
{
	return 1;
}

Size
add_size(Size a, Size b)
{
	return a + b;
}

Size
shm_toc_estimate(shm_toc_estimator *estimator)
{
	return estimator->space_for_chunks;
}

shm_toc *
shm_toc_create(uint64 magic, void *address, Size size)
{
	return address;
}

shm_toc *
shm_toc_attach(uint64 magic, void *address)
{
	return address;
}

void *
shm_toc_allocate(shm_toc *toc, Size size)
{
	return palloc0(Min(size, 64));
}

void
shm_toc_insert(shm_toc *toc, uint64 key, void *address)
{
}

void *
shm_toc_lookup(shm_toc *toc, uint64 key, bool is_missing_ok)
{
	return palloc0(64);
}

shm_mq *
shm_mq_create(void *address, Size size)
{
	return address;
}

void
shm_mq_set_receiver(shm_mq *queue, PGPROC *proc)
{
}

void
shm_mq_set_sender(shm_mq *queue, PGPROC *proc)
{
}

PGPROC *
shm_mq_get_receiver(shm_mq *queue)
{
	return NULL;
}

shm_mq *
shm_mq_get_queue(shm_mq_handle *handle)
{
	return NULL;
}

shm_mq_handle *
shm_mq_attach(shm_mq *queue, dsm_segment *segment,
			  BackgroundWorkerHandle *handle)
{
	return palloc(1);
}

void
SetLatch(Latch *latch)
{
}

TimestampTz
GetCurrentTimestamp(void)
{
	return 0;
}
