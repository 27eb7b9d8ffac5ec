/*-------------------------------------------------------------------------
 *
 * bare_loop.c
 *	  The yardstick of `make bench`: libcurl's multi interface, and nothing
 *	  else.
 *
 * POSTs a number of fixed bodies to one URL with so many in flight: the same
 * libcurl settings and as many header lines as a sender's, but no database,
 * nothing signed (the signature is a fixed text) and no record of what
 * happened.  Prints one JSON object: requests per second, CPU time of
 * this process per request, errors.
 *
 *	  bare_loop [options] URL
 *	  --requests N       how many (100000)
 *	  --in-flight N      at once (64)
 *	  --size N           bytes of the body (300)
 *	  --cacert FILE      CA bundle
 *	  --fresh            a new connection for each request
 *	  --no-session-reuse with --fresh: a full TLS handshake each time
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS			65536
#define EVENTS_AT_ONCE	256

typedef struct Options
{
	const char *url;
	const char *cacert;
	int			n_requests;
	int			n_in_flight;
	int			size;
	bool		is_fresh;
	bool		reuses_sessions;
} Options;

typedef struct Loop
{
	Options		options;
	CURLM	   *multi;
	int			epoll_fd;
	double		deadline;		/* seconds; below 0: none */
	int			n_started;
	int			n_finished;
	int			n_errors;
	struct curl_slist *headers;
	char	   *body;
	unsigned char registered[MAX_FDS];	/* what epoll knows */
	unsigned char wanted[MAX_FDS];	/* what libcurl wants */
} Loop;

static double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 +
		usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}

static void
fail(const char *what)
{
	fprintf(stderr, "bare_loop: %s\n", what);
	exit(1);
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	Loop	   *loop = arg;

	(void) multi;
	loop->deadline = timeout_ms < 0 ? -1 : seconds_now() + timeout_ms / 1e3;
	return 0;
}

static void
register_fd(Loop *loop, int fd)
{
	struct epoll_event event = {0};
	int			op = loop->registered[fd] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (loop->wanted[fd] == 0)
		op = EPOLL_CTL_DEL;
	event.events = loop->wanted[fd];
	event.data.fd = fd;
	loop->registered[fd] = loop->wanted[fd];
	epoll_ctl(loop->epoll_fd, op, fd, &event);
}

/* Idle connections stay registered, as in a sender. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	Loop	   *loop = arg;

	(void) easy;
	(void) unused;
	if (fd >= MAX_FDS)
		return -1;
	loop->wanted[fd] = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		loop->wanted[fd] |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		loop->wanted[fd] |= EPOLLOUT;
	if (loop->wanted[fd] != 0 && loop->wanted[fd] != loop->registered[fd])
		register_fd(loop, fd);
	return 0;
}

/* A descriptor's number may have been somebody else's before. */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Loop	   *loop = arg;
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
							address->protocol);

	(void) purpose;
	if (fd >= 0 && fd < MAX_FDS)
		loop->registered[fd] = loop->wanted[fd] = 0;
	return fd;
}

static int
on_close(void *arg, curl_socket_t fd)
{
	Loop	   *loop = arg;

	loop->registered[fd] = loop->wanted[fd] = 0;
	return close(fd);
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	(void) data;
	(void) arg;
	return size * n;
}

static CURL *
make_easy(Loop *loop)
{
	CURL	   *easy = curl_easy_init();

	curl_easy_setopt(easy, CURLOPT_URL, loop->options.url);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
					 (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_SSLVERSION,
					 (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (loop->options.cacert)
		curl_easy_setopt(easy, CURLOPT_CAINFO, loop->options.cacert);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT,
					 (long) loop->options.is_fresh);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE,
					 (long) loop->options.is_fresh);
	curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE,
					 (long) loop->options.reuses_sessions);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 15000L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, loop->headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, loop->body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long) loop->options.size);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, loop);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, loop);
	return easy;
}

static void
start(Loop *loop, CURL *easy)
{
	if (curl_multi_add_handle(loop->multi, easy) != CURLM_OK)
		fail("curl_multi_add_handle failed");
	loop->n_started++;
}

static void
finish(Loop *loop, CURLMsg *message)
{
	CURL	   *easy = message->easy_handle;
	long		status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (message->data.result != CURLE_OK || status < 200 || status > 299)
	{
		if (loop->n_errors++ == 0)
			fprintf(stderr, "bare_loop: first error: HTTP %ld, %s\n", status,
					curl_easy_strerror(message->data.result));
	}
	loop->n_finished++;
	curl_multi_remove_handle(loop->multi, easy);
	if (loop->n_started < loop->options.n_requests)
		start(loop, easy);
}

static void
act(Loop *loop, int fd, int events)
{
	int			n_running;

	if (curl_multi_socket_action(loop->multi, fd, events,
								 &n_running) != CURLM_OK)
		fail("curl_multi_socket_action failed");
}

static int
wait_ms(const Loop *loop)
{
	double		left = loop->deadline - seconds_now();

	if (loop->deadline < 0)
		return -1;
	return left <= 0 ? 0 : (int) (left * 1000) + 1;
}

static void
step(Loop *loop)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int			n = epoll_wait(loop->epoll_fd, events, EVENTS_AT_ONCE,
							   wait_ms(loop));
	CURLMsg    *message;
	int			n_left;

	for (int i = 0; i < n; i++)
	{
		int			fd = events[i].data.fd;
		int			what = 0;

		if (loop->wanted[fd] == 0)
		{
			if (loop->registered[fd])
				register_fd(loop, fd);
			continue;
		}
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			events[i].events |= loop->wanted[fd];
		if (events[i].events & EPOLLIN)
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		act(loop, fd, what);
	}
	if (loop->deadline >= 0 && wait_ms(loop) == 0)
	{
		loop->deadline = -1;
		act(loop, CURL_SOCKET_TIMEOUT, 0);
	}
	while ((message = curl_multi_info_read(loop->multi, &n_left)) != NULL)
		finish(loop, message);
}

static void
parse_options(Options *options, int argc, char **argv)
{
	static const struct option names[] = {
		{"requests", required_argument, NULL, 'n'},
		{"in-flight", required_argument, NULL, 'c'},
		{"size", required_argument, NULL, 's'},
		{"cacert", required_argument, NULL, 'a'},
		{"fresh", no_argument, NULL, 'f'},
		{"no-session-reuse", no_argument, NULL, 'r'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
	{
		if (c == 'n')
			options->n_requests = atoi(optarg);
		else if (c == 'c')
			options->n_in_flight = atoi(optarg);
		else if (c == 's')
			options->size = atoi(optarg);
		else if (c == 'a')
			options->cacert = optarg;
		else if (c == 'f')
			options->is_fresh = true;
		else if (c == 'r')
			options->reuses_sessions = false;
		else
			fail("unknown option; see the head of bare_loop.c");
	}
	if (optind != argc - 1)
		fail("give one URL");
	options->url = argv[optind];
	if (options->n_requests < 1 || options->n_in_flight < 1 ||
		options->size < 1)
		fail("numbers must be positive");
}

static void
set_up(Loop *loop)
{
	static const char *const lines[] = {
		"Accept:",
		"Expect:",
		"Content-Type: application/json",
		"User-Agent: webhook_outbox/1.0",
		"webhook-id: 01890a5d-ac96-774b-bcce-b302099a8057",
		"webhook-timestamp: 1700000000",
		"webhook-signature: v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		NULL
	};

	curl_global_init(CURL_GLOBAL_DEFAULT);
	loop->multi = curl_multi_init();
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->deadline = -1;
	for (int i = 0; lines[i] != NULL; i++)
		loop->headers = curl_slist_append(loop->headers, lines[i]);
	loop->body = malloc(loop->options.size);
	memset(loop->body, 'x', loop->options.size);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS,
					  (long) loop->options.n_in_flight * 2);
}

int
main(int argc, char **argv)
{
	static Loop loop = {
		.options = {
			.n_requests = 100000, .n_in_flight = 64, .size = 300,
			.reuses_sessions = true
		}
	};
	int			n;
	double		began;
	double		cpu;

	parse_options(&loop.options, argc, argv);
	n = loop.options.n_requests;
	set_up(&loop);
	cpu = cpu_seconds();
	began = seconds_now();
	while (loop.n_started < loop.options.n_in_flight && loop.n_started < n)
		start(&loop, make_easy(&loop));
	while (loop.n_finished < n)
		step(&loop);

	printf("{\"requests\": %d, \"in_flight\": %d, \"requests_per_second\": %.1f, \"cpu_us_per_request\": %.2f, \"errors\": %d}\n",
		   n, loop.options.n_in_flight, n / (seconds_now() - began),
		   (cpu_seconds() - cpu) / n * 1e6, loop.n_errors);
	return loop.n_errors == 0 ? 0 : 1;
}
