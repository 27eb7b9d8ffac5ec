/*-------------------------------------------------------------------------
 *
 * http_lookup.c
 *	  Bounds how many host names are looked up at once.
 *
 * Layer 2, part of http.c.  libcurl makes a thread, with a few descriptors,
 * for each look-up, and one for a name whose servers do not answer lives on
 * when its request has ended, until the system's resolver gives up.  A
 * thousand dead names made 700 threads and 2,000 descriptors (measured).
 *
 * So libcurl asks here before each look-up, which it does neither for a
 * connection that is kept nor for a name it remembers.  When it must not, the
 * request is taken back and put off, which counts to its time.  Names that
 * were found before may use all threads, others fewer: so dead names leave
 * room for those that matter.  Requests to one target wait for the first of
 * them, and then find the name remembered.
 *
 * Rejected: a resolver of our own (what /etc/nsswitch.conf says must hold) and
 * counting look-ups instead of threads (nobody tells when one that libcurl
 * has given up ends).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "http_private.h"

#define RESUME_INTERVAL_MS	20	/* threads end without saying so */

/*
 * The system's resolver waits 5 seconds for a name server before it asks the
 * next: all the time that a connection may take, so with the first one down
 * nothing at all would be delivered.
 */
#define RESOLVER_OPTIONS	"timeout:2 attempts:2"

/* Threads there may be for a look-up to begin, by how the last one ended. */
static const int max_threads[] = {
	[WO_LOOKUP_NONE] = WO_HTTP_MAX_LOOKUPS * 3 / 4,
	[WO_LOOKUP_FOUND] = WO_HTTP_MAX_LOOKUPS,
	[WO_LOOKUP_FAILED] = WO_HTTP_MAX_LOOKUPS / 2
};

/*
 * How many look-ups are under way, those that libcurl has given up too: a
 * process has one link in /proc for each of its threads.
 */
static int
count_lookups(const WoHttp *http)
{
	struct stat task;
	int			n_threads = 0;

	if (stat("/proc/self/task", &task) == 0)
		n_threads = (int) task.st_nlink - 3;	/* ".", "..", ourselves */
	return Max(n_threads, http->n_lookups);
}

/*
 * Prepare the system's resolver, before there is a thread; what the
 * environment says already stays.
 */
void
wo_http_lookup_init(void)
{
	(void) setenv("RES_OPTIONS", RESOLVER_OPTIONS, 0);
}

static bool
may_look_up(const WoHttpTarget *target, int n_lookups)
{
	return target->looking_up == NULL &&
		n_lookups < max_threads[target->last_lookup];
}

static void
begin(WoHttp *http, WoHttpTransfer *transfer)
{
	transfer->target->looking_up = transfer;
	http->n_lookups++;
}

/*
 * Say whether libcurl may look up a name: a callback, 0 for yes.
 */
int
wo_http_lookup_start(void *resolver, void *reserved, void *arg)
{
	WoHttpTransfer *transfer = arg;
	WoHttp	   *http = transfer->http;

	/* libcurl asks before it looks what kind of a host that is */
	if (!transfer->is_proxied && !transfer->target->has_name)
		return 0;
	transfer->was_asked = true;
	/* put off before, and now resumed */
	if (transfer->target->looking_up == transfer)
		return 0;
	if (!may_look_up(transfer->target, count_lookups(http)))
	{
		transfer->is_put_off = true;
		return 1;
	}
	begin(http, transfer);
	return 0;
}

/*
 * Note that a request needs no look-up any more.  One that was found may have
 * had none: it goes out on a connection that is kept.
 */
void
wo_http_lookup_end(WoHttpTransfer *transfer, WoHttpLookup how)
{
	WoHttpTarget *target = transfer->target;

	if (how == WO_LOOKUP_FOUND)
		target->last_lookup = how;
	if (target->looking_up != transfer)
		return;
	target->looking_up = NULL;
	target->last_lookup = how;
	transfer->http->n_lookups--;
	transfer->http->resume_ms = 0;
}

/*
 * Keep a request that libcurl has given back for want of a look-up.
 */
void
wo_http_lookup_put_off(WoHttp *http, WoHttpTransfer *transfer)
{
	dlist_push_tail(&http->put_off, &transfer->node);
}

/*
 * Go on with requests that were put off, as far as there is room, and end
 * those whose time is up.  Returns how many.
 */
int
wo_http_lookup_resume(WoHttp *http)
{
	int64		now = wo_http_poll_now();
	int			n_lookups;
	int			n = 0;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&http->put_off) || now < http->resume_ms)
		return 0;
	http->resume_ms = now + RESUME_INTERVAL_MS;
	n_lookups = count_lookups(http);
	dlist_foreach_modify(iter, &http->put_off)
	{
		WoHttpTransfer *transfer = dlist_container(WoHttpTransfer, node,
												   iter.cur);
		int			timeout_ms = transfer->target->timeout_ms;

		transfer->waited_ms = (int) (now - transfer->started_ms);
		if (transfer->waited_ms >= timeout_ms)
		{
			dlist_delete(&transfer->node);
			dlist_push_tail(&http->finished, &transfer->node);
			n++;
		}
		else if (may_look_up(transfer->target, n_lookups))
		{
			dlist_delete(&transfer->node);
			dlist_push_tail(&http->starting, &transfer->node);
			transfer->is_put_off = false;
			wo_http_transfer_set_timeout(transfer,
										 timeout_ms - transfer->waited_ms);
			begin(http, transfer);
			n_lookups++;
			n++;
		}
	}
	return n;
}
