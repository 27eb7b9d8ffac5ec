/*-------------------------------------------------------------------------
 *
 * fuzz_http.c
 *	  What receivers answer: through libcurl into the HTTP engine.
 *
 * No network: the engine's sockets become one end each of a socket pair, whose
 * other end sends what the input says and then closes.  The input is a byte of
 * options (how much of a body is kept, in which pieces the answer comes, whether
 * it is a proxy's), then lines of request headers up to an empty line, then bytes to be sent,
 * but for:
 *
 *	\xff	the end of what answers one request; the next one is made, on the
 *			same connection where that stands (at most MAX_REQUESTS)
 *	\xfe	repeat what was sent since the \xfd before, so many times as the next
 *			two bytes say (at most REPEAT_MAX bytes in all)
 *	\xfd	repetitions begin here
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <ctype.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "headers.h"
#include "http_private.h"
#include "jsonb.h"
#include "retry_after.h"
#include "text.h"

#define MAX_REQUESTS	4
#define IS_PROXIED		0x10	/* through a proxy */
#define IS_TUNNEL		0x20	/* through a proxy that it asks to connect */
#define REPEAT_MAX		(1200 * 1024)
#define PIECES_ALIKE	256
#define MAX_STEPS		100000
#define MAX_WAITS		100
#define WAIT_MS			50

/* The other end of the engine's connection, and what it sends. */
typedef struct Receiver
{
	int			fd;				/* -1: none is open */
	struct sockaddr_storage address;	/* what was dialled */
	socklen_t	address_len;
	StringInfoData answer;
	int			sent;
	int			n_pieces;		/* sent for this input */
	int			piece;			/* bytes sent at once */
} Receiver;

static Receiver receiver = {.fd = -1};

static void
hang_up(void)
{
	if (receiver.fd >= 0)
		close(receiver.fd);
	receiver.fd = -1;
}

/* The engine's own callback, then the socket is exchanged. */
static curl_socket_t
open_pair(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	int			pair[2];
	curl_socket_t fd = wo_http_poll_open(arg, purpose, address);

	wo_fuzz_require(fd != CURL_SOCKET_BAD);
	wo_fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
							   pair) == 0);
	wo_fuzz_require(dup2(pair[0], fd) == fd);
	close(pair[0]);
	hang_up();
	receiver.fd = pair[1];
	return fd;
}

/*
 * In the place of the system's, for libcurl too: the pair is connected already,
 * to whom it should be.  So nothing here reaches a network.
 * CURL_SOCKOPT_ALREADY_CONNECTED would say the same, but libcurl 7.88 connects
 * all the same.
 */
int
connect(int fd, const struct sockaddr *address, socklen_t len)
{
	wo_fuzz_require(len <= sizeof(receiver.address));
	memcpy(&receiver.address, address, len);
	receiver.address_len = len;
	return 0;
}

int
getpeername(int fd, struct sockaddr *address, socklen_t *len)
{
	memcpy(address, &receiver.address, Min(*len, receiver.address_len));
	*len = receiver.address_len;
	return 0;
}

/* Reads what the request is, so that it never blocks. */
static void
swallow(void)
{
	char		buffer[4096];

	while (receiver.fd >= 0 &&
		   recv(receiver.fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

/* Sends a piece; false when there is nothing left, or nobody to send to. */
static bool
send_piece(void)
{
	int			rest = receiver.answer.len - receiver.sent;
	ssize_t		n;

	if (receiver.fd < 0 || rest == 0)
		return false;
	n = send(receiver.fd, receiver.answer.data + receiver.sent,
			 Min(rest, receiver.piece), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n <= 0)
		return false;
	receiver.sent += n;
	/* long answers come in ever larger pieces */
	if (++receiver.n_pieces % PIECES_ALIKE == 0)
		receiver.piece = Min(receiver.piece * 2, REPEAT_MAX);
	return true;
}

/* Takes what answers one request. */
static void
take_answer(WoFuzzInput *input)
{
	StringInfo	answer = &receiver.answer;
	int			repeat_from = 0;

	initStringInfo(answer);
	receiver.sent = 0;
	while (input->at < input->end)
	{
		uint32		c = wo_fuzz_number(input, 1);

		if (c == 0xff)
			break;
		if (c == 0xfd)
			repeat_from = answer->len;
		else if (c == 0xfe)
		{
			uint32		n = wo_fuzz_number(input, 2);
			int			len = answer->len - repeat_from;

			while (n-- > 0 && answer->len + len <= REPEAT_MAX)
			{
				enlargeStringInfo(answer, len);
				appendBinaryStringInfo(answer, answer->data + repeat_from,
									   len);
			}
			repeat_from = answer->len;
		}
		else
			appendStringInfoChar(answer, c);
	}
}

static void
check_result(const WoResult *result, int excerpt, bool is_proxied)
{
	bool		is_good = result->http_status >= 200 &&
	result->http_status <= 299;

	wo_fuzz_require(result->slot == 7 && result->generation == 9);
	wo_fuzz_require((int) result->outcome >= 0 &&
					result->outcome < WO_N_OUTCOMES);
	wo_fuzz_require(result->http_status == 0 ||
					(result->http_status >= 100 &&
					 result->http_status <= 999));
	wo_fuzz_require(result->response_len <= (uint32) excerpt);
	wo_fuzz_require(result->retry_after_s >= -1 &&
					result->retry_after_s <= WO_RETRY_AFTER_MAX_S);
	wo_fuzz_require(wo_fuzz_is_shown(result->error, 500));
	wo_fuzz_require((result->outcome == WO_DELIVERED) ==
					(result->error[0] == '\0'));
	if (result->outcome == WO_DELIVERED)
		wo_fuzz_require(is_good);
	if (result->outcome == WO_HTTP_ERROR)
		wo_fuzz_require(!is_good && result->http_status != 0);
	if (result->outcome == WO_INVALID_REQUEST || result->outcome == WO_BLOCKED)
		fprintf(stderr, "the engine says: %s\n", result->error);
	wo_fuzz_require(result->outcome == WO_DELIVERED ||
					result->outcome == WO_HTTP_ERROR ||
					result->outcome == WO_PROTOCOL_ERROR ||
					result->outcome == WO_TLS_ERROR ||
					(result->outcome == WO_CONNECT_ERROR && is_proxied));
	(void) wo_text_from_bytes(result->response, result->response_len);
}

/* Is this the status line of a 1xx answer, with nothing odd about it? */
static bool
is_plainly_interim(const char *line, const char *end)
{
	return end - line > 13 && pg_strncasecmp(line, "HTTP/1.1 1", 10) == 0 &&
		isdigit((unsigned char) line[10]) &&
		isdigit((unsigned char) line[11]) && line[12] == ' ';
}

/*
 * Does anything from the first final head on ask to wait?  Interim ones (1xx)
 * may, but are not what is answered.
 */
static bool
asks_to_wait(const char *answer, const char *end)
{
	static const char name[] = "\nretry-after:";
	bool		is_final = false;

	for (; answer < end; answer++)
	{
		if (end - answer > 5 && pg_strncasecmp(answer, "HTTP/", 5) == 0)
			is_final |= !is_plainly_interim(answer, end);
		if (is_final && end - answer > sizeof(name) &&
			pg_strncasecmp(answer, name, sizeof(name) - 1) == 0)
			return true;
	}
	return false;
}

/* Is there a well-formed status line of a 2xx answer? */
static bool
says_success(const char *answer, const char *end)
{
	const char *line = answer;

	while (line < end)
	{
		const char *next = memchr(line, '\n', end - line);
		char		text[16] = "";

		strlcpy(text, line, Min(sizeof(text), (size_t) (end - line) + 1));
		if (strncmp(text, "HTTP/", 5) == 0 && strpbrk(text, " ") != NULL &&
			strpbrk(text, " ")[strspn(strpbrk(text, " "), " ")] == '2')
			return true;
		line = next != NULL ? next + 1 : end;
	}
	return false;
}

/* Moves the request along until it has ended. */
static void
finish(WoHttp *http, WoResult *result)
{
	void	   *owner = NULL;
	int			n_waits = 0;

	for (int i = 0; i < MAX_STEPS; i++)
	{
		struct pollfd waiting = {wo_http_epoll_fd(http), POLLIN, 0};
		int			timeout;
		bool		is_busy = wo_http_step(http) > 0;

		swallow();
		if (wo_http_next_finished(http, result, &owner))
		{
			wo_fuzz_require(owner == &receiver);
			return;
		}
		if (send_piece() || is_busy)
			continue;
		/* all is sent, and the engine wants more: let it see the end */
		hang_up();
		timeout = wo_http_timeout_ms(http);
		wo_fuzz_require(n_waits++ < MAX_WAITS);
		(void) poll(&waiting, 1, timeout < 0 ? WAIT_MS :
					Min(timeout, WAIT_MS));
	}
	wo_fuzz_fail("a request ends", __FILE__, __LINE__);
}

static void
make_request(WoHttp *http, WoHttpTarget *target, const char *lines,
			 int excerpt, bool is_first)
{
	WoHttpRequest *request = wo_http_prepare(http, target);
	CURL	   *easy = ((WoHttpTransfer *) request)->easy;
	WoResult	result;

	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_pair);
	request->slot = 7;
	request->generation = 9;
	request->owner = &receiver;
	appendStringInfoString(&request->headers, lines);
	appendStringInfoString(&request->body, "{}");
	wo_http_start(http, request);
	finish(http, &result);
	check_result(&result, excerpt, target->proxy != NULL);
	if (is_first && target->proxy == NULL && result.outcome == WO_DELIVERED)
		wo_fuzz_require(says_success(receiver.answer.data,
									 receiver.answer.data +
									 receiver.answer.len));
	if (is_first && target->proxy == NULL && result.retry_after_s != -1)
		wo_fuzz_require(asks_to_wait(receiver.answer.data,
									 receiver.answer.data +
									 receiver.answer.len));
}

/* Header lines up to an empty one, as rows are when they are read. */
static const char *
take_lines(WoFuzzInput *input)
{
	StringInfoData text;
	char	   *line;

	initStringInfo(&text);
	while (input->at < input->end && (line = wo_fuzz_line(input))[0] != '\0')
		appendStringInfo(&text, "%s\n", line);
	return wo_headers_valid_text(wo_fuzz_jsonb(text.data, text.len));
}

/* What the product leaves to the end of the process. */
static void
destroy(WoHttp *http)
{
	WoHttpTransfer *transfer;
	void	   *owner;
	WoResult	result;

	wo_fuzz_require(!wo_http_next_finished(http, &result, &owner));
	while (!dlist_is_empty(&http->idle))
	{
		transfer = dlist_container(WoHttpTransfer, node,
								   dlist_pop_head_node(&http->idle));
		curl_easy_cleanup(transfer->easy);
	}
	curl_multi_cleanup(http->multi);
	close(http->epoll_fd);
	free(http->watches);
	curl_global_cleanup();		/* of one of two, see below */
}

/* libcurl counts: so each input need not initialize it anew. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int excerpts[] = {0, 1, 100, 4096};
	static const int pieces[] = {1, 7, 1000, REPEAT_MAX};
	WoFuzzInput input = {data, data + size};
	uint32		options = wo_fuzz_number(&input, 1);
	WoHttpOptions http_options = {.ca_file = "", .max_in_flight = 2,
		.proxy = "", .guard = {.allow_http = true}
	};
	WoTarget	target = {0};
	const char *lines;
	WoHttp	   *http;
	WoHttpTarget *http_target;

	http_options.response_excerpt = excerpts[options & 3];
	receiver.piece = pieces[options >> 2 & 3];
	receiver.n_pieces = 0;
	target.url = options & IS_TUNNEL ? "https://1.0.0.1/" : "http://1.1.1.1/";
	target.proxy = options & (IS_PROXIED | IS_TUNNEL) ?
		"http://1.1.1.1:3128" : NULL;
	target.timeout_ms = 10000;
	lines = take_lines(&input);
	http = wo_http_create(&http_options);
	http_target = wo_http_add_target(http, &target);
	for (int i = 0; i < MAX_REQUESTS && (i == 0 || input.at < input.end); i++)
	{
		take_answer(&input);
		make_request(http, http_target, lines,
					 http_options.response_excerpt, i == 0);
	}
	destroy(http);
	hang_up();
	wo_fuzz_reset();
	return 0;
}
