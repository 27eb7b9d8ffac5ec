/*-------------------------------------------------------------------------
 *
 * http_poll.c
 *	  Tells libcurl of sockets and times that are due, by epoll.
 *
 * Layer 2, part of http.c.  libcurl unregisters a connection's socket when a
 * request is done and registers it again for the next one.  Here it stays
 * registered in between, which saves two system calls a request; one on which
 * something comes while it is idle is ended when epoll says so.  That takes
 * knowing when a descriptor is really closed, since its number will come
 * again: so connections are opened and closed here.  Descriptors that libcurl
 * opens by itself, for its resolver, are unregistered when it says so.
 *
 * Callbacks of libcurl must neither palloc nor raise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http_private.h"
#include "netguard.h"

#define EVENTS_PER_STEP		256
#define EVENTS_AT_ONCE		16
#define MAX_STEP_MS			2	/* then the caller has its turn */
#define FIRST_WATCHES		1024	/* descriptors; the table grows */
#define RECEIVE_BUFFER		(128 * 1024)	/* bytes that wait to be read */
#define LOOKS_BEFORE_COUNT	8	/* most requests need no more */

/*
 * Read the clock of deadlines, in milliseconds.
 */
int64
wo_http_poll_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	WoHttp	   *http = arg;

	http->deadline_ms = timeout_ms < 0 ? -1 : wo_http_poll_now() + timeout_ms;
	return 0;
}

/* The entry of a descriptor; NULL when there is no memory for it. */
static WoHttpWatch *
find_watch(WoHttp *http, int fd)
{
	if (fd >= http->n_watches)
	{
		int			n = Max(FIRST_WATCHES, fd * 2);
		WoHttpWatch *watches = realloc(http->watches,
									   n * sizeof(WoHttpWatch));

		if (watches == NULL)
			return NULL;
		memset(watches + http->n_watches, 0,
			   (n - http->n_watches) * sizeof(WoHttpWatch));
		http->watches = watches;
		http->n_watches = n;
	}
	return &http->watches[fd];
}

/* Makes what epoll knows of a descriptor what libcurl wants of it. */
static int
register_watch(WoHttp *http, WoHttpWatch *watch, int fd)
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

/* Notes the connection that a request has for itself; it may get another. */
static void
note_connection(CURL *easy, int fd)
{
	WoHttpTransfer *transfer;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
	if (transfer->fd == fd || wo_http_share_is_shared(transfer))
		return;
	transfer->fd = fd;
	transfer->n_looks = 0;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	WoHttp	   *http = arg;
	WoHttpWatch *watch = find_watch(http, fd);

	if (watch == NULL)
		return -1;
	watch->wanted = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		watch->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		watch->wanted |= EPOLLOUT;

	if (watch->wanted != 0 && watch->is_connection)
		note_connection(easy, fd);
	if (watch->wanted == 0 && watch->is_given_up)
		(void) shutdown(fd, SHUT_RDWR);
	if (watch->wanted == watch->registered)
		return 0;
	/* the next request wants an idle connection as it is now */
	if (watch->wanted == 0 && watch->is_connection)
		return 0;
	/* an error shows as a time-out, which is what the caller can act on */
	(void) register_watch(http, watch, fd);
	return 0;
}

/*
 * Bounds what may wait in the kernel to be read.  Answers are short; what a
 * receiver sends without end takes megabytes of memory otherwise, and some
 * versions of libcurl read on as long as there is something to read.
 */
static void
bound_receive_buffer(int fd)
{
	int			size = RECEIVE_BUFFER;

	/* it works without, too */
	(void) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/*
 * Open a connection's socket, if netguard permits its address.
 */
curl_socket_t
wo_http_poll_open(void *arg, curlsocktype purpose,
				  struct curl_sockaddr *address)
{
	WoHttpTransfer *transfer = arg;
	WoHttpWatch *watch;
	WoNetVerdict verdict;
	int			fd;

	wo_http_lookup_end(transfer, WO_LOOKUP_FOUND);
	wo_http_share_note_resent(transfer);
	verdict = wo_netguard_judge(&transfer->http->guard, &address->addr,
								address->addrlen, transfer->is_http);
	if (verdict != WO_NET_PERMITTED)
	{
		transfer->verdict = verdict;
		return CURL_SOCKET_BAD;
	}
	transfer->was_dialled = true;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
				address->protocol);
	if (fd < 0)
	{
		/* that is not the receiver's fault: try again soon */
		transfer->lacks_file = errno == EMFILE || errno == ENFILE;
		transfer->is_put_off = transfer->lacks_file;
		transfer->http->lacks_files |= transfer->lacks_file;
		return CURL_SOCKET_BAD;
	}
	/* the last address that was tried may have met a shortage */
	transfer->is_put_off = transfer->lacks_file = false;
	watch = find_watch(transfer->http, fd);
	if (watch == NULL)
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}
	/* whatever had this number, for this request too, is closed */
	transfer->fd = -1;
	bound_receive_buffer(fd);
	memset(watch, 0, sizeof(WoHttpWatch));
	watch->is_connection = true;
	watch->connection = wo_http_share_number(transfer->easy);
	return fd;
}

/*
 * Judge the address of a connection again before a request goes out on it: a
 * connection that is reused may have been opened when more was permitted.
 */
int
wo_http_poll_recheck(void *arg, char *address, char *local_address, int port,
					 int local_port)
{
	WoHttpTransfer *transfer = arg;
	struct sockaddr_in v4 = {.sin_family = AF_INET,.sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
	.sin6_port = htons(port)};
	WoNetVerdict verdict = WO_NET_UNKNOWN_FAMILY;

	wo_http_lookup_end(transfer, WO_LOOKUP_FOUND);
	/* a connection that was reset meanwhile has no address */
	if (address[0] == '\0')
	{
		transfer->verdict = WO_NET_PERMITTED;
		return CURL_PREREQFUNC_ABORT;
	}
	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		verdict = wo_netguard_judge(&transfer->http->guard,
									(struct sockaddr *) &v4, sizeof(v4),
									transfer->is_http);
	else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1)
		verdict = wo_netguard_judge(&transfer->http->guard,
									(struct sockaddr *) &v6, sizeof(v6),
									transfer->is_http);
	if (verdict == WO_NET_PERMITTED)
	{
		wo_http_share_note_use(transfer);
		return CURL_PREREQFUNC_OK;
	}
	transfer->verdict = verdict;
	return CURL_PREREQFUNC_ABORT;
}

/*
 * End the connections that no request uses.  libcurl finds them closed, and
 * dials anew.
 */
void
wo_http_poll_close_idle(WoHttp *http)
{
	for (int fd = 0; fd < http->n_watches; fd++)
	{
		if (http->watches[fd].is_connection && http->watches[fd].wanted == 0)
			(void) shutdown(fd, SHUT_RDWR);
	}
}

/*
 * Close a connection's socket.
 */
int
wo_http_poll_close(void *arg, curl_socket_t fd)
{
	WoHttp	   *http = arg;

	/* closing takes it out of epoll; its number may come again */
	if (fd < http->n_watches)
		memset(&http->watches[fd], 0, sizeof(WoHttpWatch));
	return close(fd);
}

/*
 * Has more come for a request than any answer takes?  Much of what a receiver
 * may send is seen by no callback of libcurl's: extensions of chunks, say, or
 * messages of TLS.  To be asked whenever libcurl has looked at the request.
 */
bool
wo_http_poll_is_flood(WoHttpTransfer *transfer)
{
	struct tcp_info info;
	socklen_t	len = sizeof(info);

	/*
	 * What a proxy answers before it connects libcurl reads a byte at a time,
	 * and looks at each, without a pause as long as there are more.
	 */
	if (transfer->is_tunnelled && !transfer->was_sent &&
		++transfer->n_asked > WO_HTTP_MAX_ASKED)
		return true;
	if (transfer->fd < 0 || ++transfer->n_looks < LOOKS_BEFORE_COUNT)
		return false;
	memset(&info, 0, sizeof(info));
	/* a kernel that does not count bytes leaves them at zero */
	if (getsockopt(transfer->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return false;
	if (transfer->n_looks == LOOKS_BEFORE_COUNT)
		transfer->n_before = info.tcpi_bytes_received;
	return info.tcpi_bytes_received - transfer->n_before > WO_HTTP_MAX_WIRE;
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
	if (http->deadline_ms < 0 || http->deadline_ms > wo_http_poll_now())
		return 0;
	http->deadline_ms = -1;
	act(http, CURL_SOCKET_TIMEOUT, 0);
	return 1;
}

/*
 * Ends a connection that no request uses, if something has come on it: its
 * end, or more than was asked for.  Some versions of libcurl find it alive as
 * long as that can be read, and take it for the answer to the next request;
 * others look before they use it again, but not always.  What HTTP/2 has to
 * say may come at any time.
 */
static void
end_unclean(WoHttp *http, int fd)
{
	char		first;

	/* of another TLS library nobody knows what is spoken */
	if (http->watches[fd].is_shared || (http->has_http2 && !http->has_openssl))
		return;
	/* what epoll told of may have been read meanwhile */
	if (recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		return;
	/* whatever comes from now on resets it */
	(void) shutdown(fd, SHUT_RDWR);
	while (recv(fd, NULL, RECEIVE_BUFFER, MSG_TRUNC | MSG_DONTWAIT) > 0)
		;
}

/*
 * Was all read that had come by then?  So it is after a read that brought less
 * than it could have; OpenSSL asks for less.
 */
static bool
was_read_up(const WoHttpTransfer *transfer)
{
	return transfer->is_http && transfer->n_pieces <= 1 &&
		transfer->n_head + transfer->n_body < WO_HTTP_READ_SIZE / 2;
}

/*
 * See whether more has come with an answer than belongs to it: then the
 * connection on which it came is of no use.
 */
void
wo_http_poll_end_unclean(WoHttpTransfer *transfer)
{
	WoHttp	   *http = transfer->http;
	int			fd = transfer->fd;

	/* it may be closed by now, or another one's */
	if (fd >= 0 && !was_read_up(transfer) && http->watches[fd].is_connection &&
		http->watches[fd].wanted == 0)
		end_unclean(http, fd);
}

static void
act_on(WoHttp *http, const struct epoll_event *event)
{
	int			fd = event->data.fd;
	uint32		events = event->events;
	WoHttpWatch *watch = &http->watches[fd];
	int			what = 0;

	/* libcurl finds it closed before reuse */
	if (watch->wanted == 0)
	{
		if (watch->is_connection)
			end_unclean(http, fd);
		if (watch->registered != 0)
			(void) register_watch(http, watch, fd);
		return;
	}
	/* libcurl finds out about errors by reading or writing */
	if (events & (EPOLLERR | EPOLLHUP))
		events |= watch->wanted;
	if (events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	act(http, fd, what);
}

/*
 * Sees to sockets for a while, some at a time: those that epoll has told of go
 * to the end of its list, so that each has its turn before any has two.
 */
static int
run_sockets(WoHttp *http)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int64		end_ms = wo_http_poll_now() + MAX_STEP_MS;
	int			n_ready;
	int			n = 0;

	do
	{
		n_ready = epoll_wait(http->epoll_fd, events, EVENTS_AT_ONCE, 0);
		for (int i = 0; i < n_ready; i++)
			act_on(http, &events[i]);
		n += Max(n_ready, 0);
	} while (n_ready == EVENTS_AT_ONCE && n < EVENTS_PER_STEP &&
			 wo_http_poll_now() <= end_ms);
	return n;
}

/*
 * Let libcurl act on what is due; returns how much that was.
 */
int
wo_http_poll_run(WoHttp *http)
{
	int			n = run_timers(http);

	return n + run_sockets(http);
}

/*
 * Have libcurl tell here what it waits for.
 */
void
wo_http_poll_create(WoHttp *http)
{
	http->deadline_ms = -1;
	http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (http->epoll_fd < 0)
		elog(ERROR, "could not make an epoll descriptor: %m");
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
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
wo_http_timeout_ms(WoHttp *http)
{
	int64		deadline_ms = http->deadline_ms;
	int64		overdue_ms = wo_http_share_deadline(http);

	if (overdue_ms >= 0 && (deadline_ms < 0 || deadline_ms > overdue_ms))
		deadline_ms = overdue_ms;
	if (!dlist_is_empty(&http->put_off) &&
		(deadline_ms < 0 || deadline_ms > http->resume_ms))
		deadline_ms = http->resume_ms;
	if (deadline_ms < 0)
		return -1;
	return (int) Max(0, Min(deadline_ms - wo_http_poll_now(), INT_MAX));
}
