/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Many HTTP requests at once: libcurl's multi interface over epoll.
 *
 * Layer 2, used by the sender alone.  Apart from http_result.c and url.c no
 * other file knows libcurl.  What it relies on, and why it is done this way (all measured):
 *
 * - A libcurl callback must not leave by longjmp, so callbacks neither palloc
 *   nor raise: they note what they saw and return.
 * - libcurl's resolver threads inherit the signal mask of whoever starts
 *   them, and would run the server's handlers: every call that may start one
 *   is made by wo_http_step, with all signals blocked once per step.
 * - An easy handle is kept for its target when its request is done.  Options
 *   are set once; a further request changes headers and body only; and TLS
 *   sessions, which libcurl keeps per handle, are resumed.
 * - Sockets stay registered with epoll between requests: libcurl unregisters
 *   and registers them each time, which costs two system calls a request.
 * - The multi handle is never cleaned up: in some versions that waits for DNS.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "http_result.h"
#include "lib/ilist.h"
#include "netguard.h"
#include "retry_after.h"

#define CONNECT_TIMEOUT_MS	5000	/* a host that is up answers sooner */
#define MAX_RESPONSE_BODY	(1024 * 1024)	/* bytes; more is a failure */
#define MAX_RESPONSE_HEAD	(64 * 1024) /* bytes; more is a failure */
#define KEPT_BUFFER			(64 * 1024) /* bytes kept for the next request */
#define EVENTS_PER_STEP		256
#define FIRST_WATCHES		1024	/* descriptors; the table grows */

/* libcurl 7.88 breaks HTTP/2 connections it reuses; this one is proven. */
#define HTTP2_MIN_VERSION	0x080e00

/* What epoll knows of a descriptor, and what libcurl wants of it. */
typedef struct Watch
{
	uint8		registered;		/* EPOLLIN, EPOLLOUT; 0: not registered */
	uint8		wanted;			/* likewise; 0: idle */
	bool		is_connection;	/* opened by open_socket, so that its closing
								 * is seen too */
} Watch;

struct WoHttp
{
	CURLM	   *multi;
	int			epoll_fd;
	int64		deadline_ms;	/* when libcurl wants to be called; -1: never */
	Watch	   *watches;		/* by descriptor; malloc'd */
	int			n_watches;
	int			n_in_flight;	/* started and not yet told as finished */
	int			n_transfers;	/* all, idle ones too */
	dlist_head	starting;		/* Transfers to be added in the next step */
	dlist_head	finished;		/* Transfers to be told of */
	dlist_head	idle;			/* Transfers, the least recently used first */
	struct Transfer *told;		/* its result is with the caller */
	bool		has_http2;
	char	   *ca_file;		/* NULL: none was found */
	int			max_in_flight;
	int			response_excerpt;
	int			setup;			/* counts changes that handles must follow */
	CURLMcode	failure;		/* of the multi interface; then it is lost */
};

struct WoHttpTarget
{
	char	   *url;
	char	   *ca_pem;			/* NULL: the CA bundle */
	int			timeout_ms;
	bool		is_http2;
	bool		is_dropped;		/* freed with its last transfer */
	int			n_transfers;
	dlist_head	idle;			/* Transfers, the most recently used first */
};

/* One request, or an idle handle that waits for the next. */
typedef struct Transfer
{
	WoHttpRequest request;		/* must be first: callers hold this */
	WoHttp	   *http;
	WoHttpTarget *target;
	CURL	   *easy;
	dlist_node	node;			/* in starting, finished or idle of WoHttp */
	dlist_node	target_node;	/* in idle of target, when idle */
	struct curl_slist *lines;	/* nodes over request.headers */
	int			max_lines;
	int			setup;			/* http->setup when easy was set up */
	const char *set_body;		/* the address that libcurl has ... */
	int			set_body_len;	/* ... and the length */

	/* the response, as callbacks note it */
	char	   *excerpt;		/* its first bytes */
	int			excerpt_len;
	int			excerpt_size;	/* of the buffer; set before the request */
	int64		n_body;			/* bytes */
	int64		n_head;			/* bytes, all header lines */
	char		retry_after[64];	/* value of the header; "": none */
	bool		was_dialled;	/* netguard permitted an address */
	bool		was_blocked;	/* netguard refused an address */

	/* how it ended */
	CURLcode	code;
	char		detail[CURL_ERROR_SIZE];	/* libcurl's words */
	char		error[CURL_ERROR_SIZE + 128];	/* ours */
} Transfer;

/* An empty value takes out what libcurl would add by itself. */
static char no_accept[] = "Accept:";
static char no_expect[] = "Expect:";

static int64
monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*----------------------------------------------------------------------
 * Callbacks of libcurl: no palloc, no ereport in here
 *----------------------------------------------------------------------
 */

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	WoHttp	   *http = arg;

	http->deadline_ms = timeout_ms < 0 ? -1 : monotonic_ms() + timeout_ms;
	return 0;
}

/* The entry of a descriptor; NULL when there is no memory for it. */
static Watch *
find_watch(WoHttp *http, int fd)
{
	if (fd >= http->n_watches)
	{
		int			n = Max(FIRST_WATCHES, fd * 2);
		Watch	   *watches = realloc(http->watches, n * sizeof(Watch));

		if (watches == NULL)
			return NULL;
		memset(watches + http->n_watches, 0,
			   (n - http->n_watches) * sizeof(Watch));
		http->watches = watches;
		http->n_watches = n;
	}
	return &http->watches[fd];
}

/* Makes what epoll knows of a descriptor what libcurl wants of it. */
static int
register_watch(WoHttp *http, Watch *watch, int fd)
{
	struct epoll_event event = {0};
	int			op = watch->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (watch->wanted == 0)
		op = EPOLL_CTL_DEL;
	event.events = watch->wanted;
	event.data.fd = fd;
	watch->registered = watch->wanted;
	return epoll_ctl(http->epoll_fd, op, fd, &event);
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	WoHttp	   *http = arg;
	Watch	   *watch = find_watch(http, fd);

	if (watch == NULL)
		return -1;
	watch->wanted = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		watch->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		watch->wanted |= EPOLLOUT;

	if (watch->wanted == watch->registered)
		return 0;
	/* the next request wants an idle connection as it is now */
	if (watch->wanted == 0 && watch->is_connection)
		return 0;
	/* an error shows as a time-out, which is what the caller can act on */
	(void) register_watch(http, watch, fd);
	return 0;
}

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Transfer   *transfer = arg;
	Watch	   *watch;
	int			fd;

	if (!wo_netguard_permits(&address->addr, address->addrlen))
	{
		transfer->was_blocked = true;
		return CURL_SOCKET_BAD;
	}
	transfer->was_dialled = true;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
				address->protocol);
	if (fd < 0)
		return CURL_SOCKET_BAD;
	watch = find_watch(transfer->http, fd);
	if (watch == NULL)
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}
	memset(watch, 0, sizeof(Watch));
	watch->is_connection = true;
	return fd;
}

static int
close_socket(void *arg, curl_socket_t fd)
{
	WoHttp	   *http = arg;

	/* closing takes it out of epoll; its number may come again */
	if (fd < http->n_watches)
		memset(&http->watches[fd], 0, sizeof(Watch));
	return close(fd);
}

static size_t
on_head(char *line, size_t size, size_t n, void *arg)
{
	static const char name[] = "retry-after:";
	Transfer   *transfer = arg;
	size_t		len = size * n;

	transfer->n_head += len;
	if (transfer->n_head > MAX_RESPONSE_HEAD)
		return 0;
	if (len >= sizeof(name) - 1 &&
		pg_strncasecmp(line, name, sizeof(name) - 1) == 0)
	{
		char	   *value = line + sizeof(name) - 1;
		char	   *end = line + len;

		while (value < end && strchr(" \t", *value))
			value++;
		while (end > value && strchr(" \t\r\n", end[-1]))
			end--;
		len = Min(end - value, sizeof(transfer->retry_after) - 1);
		memcpy(transfer->retry_after, value, len);
		transfer->retry_after[len] = '\0';
	}
	return size * n;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;
	size_t		len = size * n;
	size_t		kept = Min(len, transfer->excerpt_size - transfer->excerpt_len);

	memcpy(transfer->excerpt + transfer->excerpt_len, data, kept);
	transfer->excerpt_len += kept;
	transfer->n_body += len;
	return transfer->n_body > MAX_RESPONSE_BODY ? 0 : len;
}

/*----------------------------------------------------------------------
 * The engine
 *----------------------------------------------------------------------
 */

/* Where the system keeps its CA bundle; NULL when it is nowhere. */
static const char *
find_ca_file(void)
{
	static const char *const candidates[] = {
		"/etc/ssl/certs/ca-certificates.crt",	/* Debian, Alpine, Arch */
		"/etc/pki/tls/certs/ca-bundle.crt", /* Red Hat */
		"/etc/ssl/ca-bundle.pem",	/* SUSE */
		"/etc/ssl/cert.pem"		/* BSD */
	};
	const char *built_in = curl_version_info(CURLVERSION_NOW)->cainfo;

	if (built_in != NULL && access(built_in, R_OK) == 0)
		return built_in;
	for (int i = 0; i < lengthof(candidates); i++)
	{
		if (access(candidates[i], R_OK) == 0)
			return candidates[i];
	}
	return NULL;
}

/*
 * Take over new options.  Handles made before a change of the CA bundle are
 * not used again.
 */
void
wo_http_configure(WoHttp *http, const WoHttpOptions *options)
{
	const char *ca_file = options->ca_file;

	if (ca_file == NULL || ca_file[0] == '\0')
		ca_file = find_ca_file();
	if (http->ca_file == NULL || ca_file == NULL ||
		strcmp(http->ca_file, ca_file) != 0)
	{
		if (http->ca_file != NULL)
			pfree(http->ca_file);
		http->ca_file = ca_file ? pstrdup(ca_file) : NULL;
		http->setup++;
	}
	http->response_excerpt = options->response_excerpt;
	http->max_in_flight = options->max_in_flight;
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS,
					  (long) options->max_in_flight);
}

/*
 * Make an engine, in the current memory context, which must outlive it.  One
 * per process, which must not fork afterwards.
 */
WoHttp *
wo_http_create(const WoHttpOptions *options)
{
	WoHttp	   *http = palloc0(sizeof(WoHttp));
	const curl_version_info_data *version;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		elog(ERROR, "could not initialize libcurl");
	version = curl_version_info(CURLVERSION_NOW);
	http->has_http2 = version->version_num >= HTTP2_MIN_VERSION &&
		(version->features & CURL_VERSION_HTTP2) != 0;

	http->multi = curl_multi_init();
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (http->multi == NULL || http->epoll_fd < 0)
		elog(ERROR, "could not initialize libcurl's multi interface: %m");
	http->deadline_ms = -1;
	dlist_init(&http->starting);
	dlist_init(&http->finished);
	dlist_init(&http->idle);

	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	wo_http_configure(http, options);
	return http;
}

/*
 * Make a target known; what the engine needs of it is copied.
 */
WoHttpTarget *
wo_http_add_target(WoHttp *http, const WoTarget *source)
{
	WoHttpTarget *target = palloc0(sizeof(WoHttpTarget));

	target->url = pstrdup(source->url);
	target->ca_pem = source->ca_pem ? pstrdup(source->ca_pem) : NULL;
	target->timeout_ms = source->timeout_ms;
	target->is_http2 = source->is_http2;
	dlist_init(&target->idle);
	return target;
}

static void
free_target(WoHttpTarget *target)
{
	Assert(target->is_dropped && target->n_transfers == 0);
	pfree(target->url);
	if (target->ca_pem != NULL)
		pfree(target->ca_pem);
	pfree(target);
}

/* Frees a transfer that is in no list; its target too when it was the last. */
static void
free_transfer(WoHttp *http, Transfer *transfer)
{
	WoHttpTarget *target = transfer->target;

	curl_easy_cleanup(transfer->easy);
	pfree(transfer->request.headers.data);
	pfree(transfer->request.body.data);
	pfree(transfer->excerpt);
	pfree(transfer->lines);
	pfree(transfer);
	http->n_transfers--;
	target->n_transfers--;
	if (target->is_dropped && target->n_transfers == 0)
		free_target(target);
}

static void
free_idle(WoHttp *http, Transfer *transfer)
{
	dlist_delete(&transfer->node);
	dlist_delete(&transfer->target_node);
	free_transfer(http, transfer);
}

/*
 * Forget a target.  What is in flight to it ends as it would have.
 */
void
wo_http_drop_target(WoHttp *http, WoHttpTarget *target)
{
	/* the pin keeps the target until the loop is done with its list */
	target->n_transfers++;
	while (!dlist_is_empty(&target->idle))
		free_idle(http, dlist_head_element(Transfer, target_node,
										   &target->idle));
	target->n_transfers--;
	target->is_dropped = true;
	if (target->n_transfers == 0)
		free_target(target);
}

/*----------------------------------------------------------------------
 * Transfers
 *----------------------------------------------------------------------
 */

/* The options that concern the connection; 0, or a libcurl error. */
static int
set_connection_options(CURL *easy, WoHttp *http, const WoHttpTarget *target)
{
	int			rc = 0;
	long		version = CURL_HTTP_VERSION_1_1;
	struct curl_blob ca;

	if (target->is_http2 && http->has_http2)
		version = CURL_HTTP_VERSION_2TLS;
	rc |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version);
	rc |= curl_easy_setopt(easy, CURLOPT_PIPEWAIT,
						   (long) (version != CURL_HTTP_VERSION_1_1));
	rc |= curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
	rc |= curl_easy_setopt(easy, CURLOPT_SSLVERSION,
						   (long) CURL_SSLVERSION_TLSv1_2);
	/* without a CA path libcurl keeps the bundle parsed between connections */
	rc |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (target->ca_pem == NULL)
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
	else
	{
		ca.data = target->ca_pem;
		ca.len = strlen(target->ca_pem);
		ca.flags = CURL_BLOB_NOCOPY;
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
	}
	return rc;
}

/* The options that concern the request; 0, or a libcurl error. */
static int
set_request_options(CURL *easy, const WoHttpTarget *target)
{
	int			rc = 0;

	rc |= curl_easy_setopt(easy, CURLOPT_URL, target->url);
	rc |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	rc |= curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	rc |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
						   (long) target->timeout_ms);
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
						   (long) Min(target->timeout_ms,
									  CONNECT_TIMEOUT_MS));
	return rc;
}

static int
set_callbacks(CURL *easy, WoHttp *http, Transfer *transfer)
{
	int			rc = 0;

	rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
	rc |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
	rc |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	rc |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	/* a connection outlives the transfer that opened it, hence http */
	rc |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	rc |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);
	return rc;
}

static Transfer *
make_transfer(WoHttp *http, WoHttpTarget *target)
{
	Transfer   *transfer;
	CURL	   *easy;

	/* handles kept for other targets give way, the longest idle first */
	while (http->n_transfers >= http->max_in_flight &&
		   !dlist_is_empty(&http->idle))
		free_idle(http, dlist_head_element(Transfer, node, &http->idle));

	transfer = palloc0(sizeof(Transfer));
	easy = curl_easy_init();
	if (easy == NULL ||
		set_connection_options(easy, http, target) != 0 ||
		set_request_options(easy, target) != 0 ||
		set_callbacks(easy, http, transfer) != 0)
		elog(ERROR, "could not set up a libcurl handle");

	transfer->http = http;
	transfer->easy = easy;
	transfer->target = target;
	transfer->setup = http->setup;
	initStringInfo(&transfer->request.headers);
	initStringInfo(&transfer->request.body);
	transfer->excerpt_size = http->response_excerpt;
	transfer->excerpt = palloc(Max(transfer->excerpt_size, 1));
	transfer->max_lines = 0;
	transfer->lines = palloc(sizeof(struct curl_slist));
	http->n_transfers++;
	target->n_transfers++;
	return transfer;
}

/*
 * Give out an empty request to a target.
 */
WoHttpRequest *
wo_http_prepare(WoHttp *http, WoHttpTarget *target)
{
	Transfer   *transfer;

	Assert(!target->is_dropped);
	if (dlist_is_empty(&target->idle))
		return &make_transfer(http, target)->request;

	transfer = dlist_head_element(Transfer, target_node, &target->idle);
	dlist_delete(&transfer->node);
	dlist_delete(&transfer->target_node);
	resetStringInfo(&transfer->request.headers);
	resetStringInfo(&transfer->request.body);
	return &transfer->request;
}

/* Keeps a transfer's handle for the next request, unless it is outdated. */
static void
recycle(WoHttp *http, Transfer *transfer)
{
	WoHttpTarget *target = transfer->target;

	if (target->is_dropped || transfer->setup != http->setup ||
		transfer->excerpt_size != http->response_excerpt ||
		transfer->request.body.maxlen > KEPT_BUFFER ||
		http->n_transfers > http->max_in_flight)
	{
		free_transfer(http, transfer);
		return;
	}
	dlist_push_head(&target->idle, &transfer->target_node);
	dlist_push_tail(&http->idle, &transfer->node);
}

/*
 * Give back a request that will not be started.
 */
void
wo_http_abandon(WoHttp *http, WoHttpRequest *request)
{
	recycle(http, (Transfer *) request);
}

/*
 * Make an end of a header line.  libcurl takes "Name:" as "do not send it"; to
 * send a header without a value it wants "Name;".
 */
static void
end_line(char *end)
{
	while (end[-1] == ' ')
		end--;
	*end = '\0';
	if (end[-1] == ':')
		end[-1] = ';';
}

/*
 * Turn the request's header lines into libcurl's list, in place: nodes are
 * reused, and libcurl gets to know only when they have moved.
 */
static void
set_lines(Transfer *transfer)
{
	StringInfo	headers = &transfer->request.headers;
	int			n_lines = 2;
	struct curl_slist *line;
	char	   *next;

	for (int i = 0; i < headers->len; i++)
		n_lines += headers->data[i] == '\n';
	if (n_lines > transfer->max_lines)
	{
		transfer->lines = repalloc(transfer->lines,
								   n_lines * sizeof(struct curl_slist));
		transfer->max_lines = n_lines;
		curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER,
						 transfer->lines);
	}

	line = transfer->lines;
	line[0].data = no_accept;
	line[0].next = &line[1];
	line[1].data = no_expect;
	line[1].next = NULL;
	next = headers->data;
	for (int i = 2; i < n_lines; i++)
	{
		char	   *end = strchr(next, '\n');

		line[i - 1].next = &line[i];
		line[i].data = next;
		line[i].next = NULL;
		next = end + 1;
		end_line(end);
	}
}

/*
 * Start a request that wo_http_prepare gave out: the next step sends it.
 */
void
wo_http_start(WoHttp *http, WoHttpRequest *request)
{
	Transfer   *transfer = (Transfer *) request;
	StringInfo	body = &request->body;

	set_lines(transfer);
	if (transfer->set_body != body->data)
	{
		curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, body->data);
		transfer->set_body = body->data;
	}
	if (transfer->set_body_len != body->len)
	{
		curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE,
						 (long) body->len);
		transfer->set_body_len = body->len;
	}

	transfer->excerpt_len = 0;
	transfer->n_body = 0;
	transfer->n_head = 0;
	transfer->retry_after[0] = '\0';
	transfer->was_dialled = false;
	transfer->was_blocked = false;
	transfer->detail[0] = '\0';
	dlist_push_tail(&http->starting, &transfer->node);
	http->n_in_flight++;
}

/*----------------------------------------------------------------------
 * Steps: everything that may start a thread, with signals blocked
 *----------------------------------------------------------------------
 */

static int
add_starting(WoHttp *http)
{
	int			n = 0;

	while (!dlist_is_empty(&http->starting))
	{
		Transfer   *transfer = dlist_container(Transfer, node,
											   dlist_pop_head_node(&http->starting));

		n++;
		if (curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK)
			continue;
		transfer->code = CURLE_FAILED_INIT;
		dlist_push_tail(&http->finished, &transfer->node);
	}
	return n;
}

static void
act(WoHttp *http, curl_socket_t fd, int events)
{
	int			n_running;
	CURLMcode	rc;

	rc = curl_multi_socket_action(http->multi, fd, events, &n_running);
	if (rc != CURLM_OK)
		http->failure = rc;
}

static int
run_timers(WoHttp *http)
{
	if (http->deadline_ms < 0 || http->deadline_ms > monotonic_ms())
		return 0;
	http->deadline_ms = -1;
	act(http, CURL_SOCKET_TIMEOUT, 0);
	return 1;
}

static int
run_sockets(WoHttp *http)
{
	struct epoll_event events[EVENTS_PER_STEP];
	int			n;

	n = epoll_wait(http->epoll_fd, events, EVENTS_PER_STEP, 0);
	for (int i = 0; i < n; i++)
	{
		int			fd = events[i].data.fd;
		Watch	   *watch = &http->watches[fd];
		int			what = 0;

		/* an idle connection has closed: libcurl sees it before reuse */
		if (watch->wanted == 0)
		{
			if (watch->registered != 0)
				(void) register_watch(http, watch, fd);
			continue;
		}
		/* libcurl finds out about errors by reading or writing */
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			events[i].events |= watch->wanted;
		if (events[i].events & EPOLLIN)
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		act(http, fd, what);
	}
	return Max(n, 0);
}

static int
collect_finished(WoHttp *http)
{
	CURLMsg    *message;
	int			n_left;
	int			n = 0;

	while ((message = curl_multi_info_read(http->multi, &n_left)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		Transfer   *transfer;

		/* message is gone with the handle */
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
		transfer->code = message->data.result;
		curl_multi_remove_handle(http->multi, easy);
		dlist_push_tail(&http->finished, &transfer->node);
		n++;
	}
	return n;
}

/*
 * Do what can be done without waiting.  Returns how much it was; 0: wait.
 */
int
wo_http_step(WoHttp *http)
{
	sigset_t	all;
	sigset_t	before;
	int			n;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	n = add_starting(http);
	n += run_timers(http);
	n += run_sockets(http);
	n += collect_finished(http);
	sigprocmask(SIG_SETMASK, &before, NULL);

	if (http->failure != CURLM_OK)
		elog(ERROR, "libcurl failed: %s", curl_multi_strerror(http->failure));
	return n;
}

/*----------------------------------------------------------------------
 * Results
 *----------------------------------------------------------------------
 */

static WoOutcome
judge(Transfer *transfer)
{
	char	   *error = transfer->error;

	if (transfer->was_blocked && !transfer->was_dialled)
	{
		strlcpy(error, "the address of the host is not permitted",
				sizeof(transfer->error));
		return WO_BLOCKED;
	}
	if (transfer->n_head > MAX_RESPONSE_HEAD ||
		transfer->n_body > MAX_RESPONSE_BODY)
	{
		strlcpy(error, transfer->n_head > MAX_RESPONSE_HEAD ?
				"headers of the answer are longer than 64 kB" :
				"answer is longer than 1 MB", sizeof(transfer->error));
		return WO_PROTOCOL_ERROR;
	}
	return wo_http_result_judge(transfer->easy, transfer->code,
								transfer->detail, error,
								sizeof(transfer->error));
}

/* Milliseconds until connected, with TLS; 0 when a connection was reused. */
static float
connect_ms(CURL *easy)
{
	long		n_connects = 0;
	curl_off_t	connected = 0;
	curl_off_t	secured = 0;

	curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &n_connects);
	if (n_connects == 0)
		return 0;
	curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
	curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &secured);
	return Max(connected, secured) / 1000.0f;
}

/*
 * Tell how one request ended; false when there is none to tell of.  The
 * result's texts are valid until the next call.
 */
bool
wo_http_next_finished(WoHttp *http, WoResult *result)
{
	Transfer   *transfer;
	long		status = 0;
	curl_off_t	total_us = 0;

	if (http->told != NULL)
		recycle(http, http->told);
	http->told = NULL;
	if (dlist_is_empty(&http->finished))
		return false;

	transfer = dlist_container(Transfer, node,
							   dlist_pop_head_node(&http->finished));
	http->told = transfer;
	http->n_in_flight--;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &total_us);

	result->slot = transfer->request.slot;
	result->generation = transfer->request.generation;
	result->started_at = transfer->request.started_at;
	result->outcome = judge(transfer);
	result->http_status = status;
	result->connect_ms = connect_ms(transfer->easy);
	result->total_ms = total_us / 1000.0f;
	result->retry_after_s = -1;
	if (transfer->retry_after[0] != '\0')
		result->retry_after_s = wo_retry_after(transfer->retry_after,
											   time(NULL));
	result->error = transfer->error;
	result->response = transfer->excerpt;
	result->response_len = transfer->excerpt_len;
	return true;
}

/*
 * Return what to wait on; it must only be read by wo_http_step.
 */
int
wo_http_epoll_fd(const WoHttp *http)
{
	return http->epoll_fd;
}

/*
 * Return how long to wait at most, in milliseconds; -1: for ever.
 */
int
wo_http_timeout_ms(const WoHttp *http)
{
	if (http->deadline_ms < 0)
		return -1;
	return (int) Max(0, Min(http->deadline_ms - monotonic_ms(), INT_MAX));
}

/*
 * Return how many requests were started and not told as finished.
 */
int
wo_http_n_in_flight(const WoHttp *http)
{
	return http->n_in_flight;
}
