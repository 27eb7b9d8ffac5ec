/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Many HTTP requests at once: libcurl's multi interface over epoll.
 *
 * Layer 2, used by the sender alone.  This file starts requests, moves them
 * along and tells how they ended; http_poll.c waits on sockets,
 * http_transfer.c keeps handles, http_lookup.c bounds look-ups of names,
 * http_share.c sees to shared connections, http_result.c judges the end.  It
 * relies on:
 *
 * - A libcurl callback must not leave by longjmp, so callbacks neither palloc
 *   nor raise: they note what they saw and return.
 * - libcurl's resolver threads inherit the signal mask of whoever starts
 *   them, and would run the server's handlers (measured): every call that may
 *   start one is made by wo_http_step, with all signals blocked once per step.
 * - The multi handle is never cleaned up: in some versions that waits for DNS.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "http_private.h"
#include "retry_after.h"

/* libcurl 7.88 breaks HTTP/2 connections it reuses; this one is proven. */
#define HTTP2_MIN_VERSION	0x080e00

#define MAX_SPELLINGS		100 /* of the path of a file */

/* An empty value takes out what libcurl would add by itself. */
static char no_accept[] = "Accept:";
static char no_expect[] = "Expect:";

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

/* Replace a text; false when it stays as it was. */
static bool
replace_text(char **text, const char *value)
{
	if (*text != NULL && value != NULL && strcmp(*text, value) == 0)
		return false;
	if (*text != NULL)
		pfree(*text);
	*text = value ? pstrdup(value) : NULL;
	return true;
}

/*
 * Has the file of CA certificates changed, since the last call?  One that is
 * gone has not: what libcurl has read of it counts until it comes again.
 */
static bool
has_new_certificates(WoHttp *http)
{
	const struct stat *old = &http->ca_status;
	struct stat status;

	if (http->ca_file == NULL || stat(http->ca_file, &status) != 0 ||
		(status.st_dev == old->st_dev && status.st_ino == old->st_ino &&
		 status.st_size == old->st_size &&
		 status.st_mtim.tv_sec == old->st_mtim.tv_sec &&
		 status.st_mtim.tv_nsec == old->st_mtim.tv_nsec))
		return false;
	http->ca_status = status;
	return true;
}

/*
 * Spell the path of the CA certificates in another way.  libcurl goes by the
 * path alone: for a day it keeps what it has read of it, and it takes what was
 * verified by it, connections and TLS sessions, for as good as ever.
 */
static void
spell_anew(WoHttp *http)
{
	StringInfoData path;
	char	   *absolute;

	if (http->ca_path != NULL)
		pfree(http->ca_path);
	http->ca_path = NULL;
	if (http->ca_file == NULL)
		return;
	absolute = make_absolute_path(http->ca_file);
	initStringInfo(&path);
	appendStringInfoChar(&path, '/');
	for (int i = 0; i < http->n_ca_changes % MAX_SPELLINGS; i++)
		appendStringInfoString(&path, "./");
	appendStringInfoString(&path, absolute + 1);
	free(absolute);
	http->ca_path = path.data;
	http->n_ca_changes++;
}

/*
 * Take over new options, and certificates that have changed.  Handles and
 * connections from before a change of what may be dialled, and how, are not
 * used again; what is in flight ends as it would have.
 */
void
wo_http_configure(WoHttp *http, const WoHttpOptions *options)
{
	const char *ca_file = options->ca_file;
	bool		has_changed;

	if (ca_file == NULL || ca_file[0] == '\0')
		ca_file = find_ca_file();
	has_changed = replace_text(&http->ca_file, ca_file);
	has_changed |= has_new_certificates(http);
	if (has_changed)
		spell_anew(http);
	has_changed |= replace_text(&http->proxy, options->proxy);
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-*): zeroed */
	if (memcmp(&http->guard, &options->guard, sizeof(WoNetguard)) != 0)
	{
		http->guard = options->guard;
		has_changed = true;
	}
	if (has_changed)
	{
		http->setup++;
		wo_http_transfer_forget_idle(http);
		wo_http_poll_close_idle(http);
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

	wo_http_lookup_init();
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		elog(ERROR, "could not initialize libcurl");
	version = curl_version_info(CURLVERSION_NOW);
	http->has_http2 = version->version_num >= HTTP2_MIN_VERSION &&
		(version->features & CURL_VERSION_HTTP2) != 0;
	http->has_openssl = version->ssl_version != NULL &&
		strncmp(version->ssl_version, "OpenSSL/", 8) == 0;

	http->multi = curl_multi_init();
	if (http->multi == NULL)
		elog(ERROR, "could not initialize libcurl's multi interface");
	dlist_init(&http->starting);
	dlist_init(&http->finished);
	dlist_init(&http->put_off);
	dlist_init(&http->resent);
	dlist_init(&http->idle);

	wo_http_poll_create(http);
	wo_http_configure(http, options);
	return http;
}

/*
 * Make an end of a header line.  libcurl takes "Name:" as "do not send it"; to
 * send a header without a value it wants "Name;".  A value may end in a colon.
 */
static void
end_line(char *line, char *end)
{
	while (end[-1] == ' ' || end[-1] == '\t')
		end--;
	*end = '\0';
	if (strchr(line, ':') == end - 1)
		end[-1] = ';';
}

/*
 * Turn the request's header lines into libcurl's list, in place: nodes are
 * reused, and libcurl gets to know only when they have moved.
 */
static void
set_lines(WoHttpTransfer *transfer)
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
		end_line(line[i].data, end);
	}
}

/*
 * Start a request that wo_http_prepare gave out: the next step sends it.
 */
void
wo_http_start(WoHttp *http, WoHttpRequest *request)
{
	WoHttpTransfer *transfer = (WoHttpTransfer *) request;
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

	wo_http_transfer_set_timeout(transfer, transfer->target->timeout_ms);
	wo_http_share_choose(transfer);
	transfer->started_ms = wo_http_poll_now();
	transfer->waited_ms = 0;
	transfer->is_put_off = false;
	transfer->lacks_file = false;
	transfer->excerpt_len = 0;
	transfer->n_body = 0;
	transfer->n_pieces = 0;
	transfer->n_head = 0;
	transfer->n_lines = 0;
	transfer->status = 0;
	transfer->retry_after[0] = '\0';
	transfer->has_head = false;
	transfer->is_malformed = false;
	transfer->is_coded = false;
	transfer->is_flood = false;
	transfer->has_enough = false;
	transfer->fd = -1;
	transfer->n_looks = 0;
	transfer->n_asked = 0;
	transfer->was_dialled = false;
	transfer->was_connected = false;
	transfer->was_started = false;
	transfer->was_asked = false;
	transfer->was_sent = false;
	transfer->connection = -1;
	transfer->overdue_ms = 0;
	wo_http_transfer_judge(transfer);
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
		dlist_node *node = dlist_pop_head_node(&http->starting);
		WoHttpTransfer *transfer = dlist_container(WoHttpTransfer, node,
												   node);

		n++;
		transfer->was_started = transfer->verdict == WO_NET_PERMITTED &&
			curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK;
		if (transfer->was_started)
			continue;
		/* told of as a failed attempt, like any other */
		transfer->code = CURLE_FAILED_INIT;
		wo_http_lookup_end(transfer, WO_LOOKUP_FAILED);
		dlist_push_tail(&http->finished, &transfer->node);
	}
	return n;
}

/*
 * Is nothing of a request sent, for want of a look-up or a descriptor?  Where
 * a name has several addresses, one of them may have been reached all the
 * same: what was sent is never sent again here.
 */
static bool
is_unsent(const WoHttpTransfer *transfer)
{
	long		n_sent = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &n_sent);
	return transfer->is_put_off && n_sent == 0;
}

/*
 * Take a request from libcurl, as it has ended or is to end now.
 */
void
wo_http_take(WoHttp *http, WoHttpTransfer *transfer, CURLcode code)
{
	transfer->code = code;
	curl_multi_remove_handle(http->multi, transfer->easy);
	wo_http_poll_end_unclean(transfer);
	/* what needs no look-up any more has said so */
	wo_http_lookup_end(transfer, WO_LOOKUP_FAILED);
	wo_http_share_forget_resent(transfer);
	wo_http_share_give_up(transfer);
}

static int
collect_finished(WoHttp *http)
{
	CURLMsg    *message;
	int			n_left;
	int			n = 0;

	while ((message = curl_multi_info_read(http->multi, &n_left)) != NULL)
	{
		WoHttpTransfer *transfer;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
						  (char **) &transfer);
		wo_http_take(http, transfer, message->data.result);
		n++;
		transfer->is_put_off = is_unsent(transfer);
		if (transfer->is_put_off)
			wo_http_lookup_put_off(http, transfer);
		else
			dlist_push_tail(&http->finished, &transfer->node);
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
	n = wo_http_lookup_resume(http);
	n += add_starting(http);
	n += wo_http_poll_run(http);
	n += collect_finished(http);
	n += wo_http_share_end_overdue(http);
	sigprocmask(SIG_SETMASK, &before, NULL);

	if (http->failure != CURLM_OK)
		elog(ERROR, "libcurl failed: %s", curl_multi_strerror(http->failure));
	return n;
}

/*----------------------------------------------------------------------
 * Results
 *----------------------------------------------------------------------
 */

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
wo_http_next_finished(WoHttp *http, WoResult *result, void **owner)
{
	WoHttpTransfer *transfer;
	long		status = 0;
	curl_off_t	total_us = 0;

	if (http->told != NULL)
		wo_http_transfer_recycle(http, http->told);
	http->told = NULL;
	if (dlist_is_empty(&http->finished))
		return false;

	transfer = dlist_container(WoHttpTransfer, node,
							   dlist_pop_head_node(&http->finished));
	http->told = transfer;
	http->n_in_flight--;
	/* a handle that was not started remembers its last request */
	if (transfer->was_started)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &total_us);
		/* libcurl makes a number of what is no status line, too */
		if (transfer->is_malformed || status != transfer->status ||
			status < 100)
			status = 0;
	}

	*owner = transfer->request.owner;
	result->slot = transfer->request.slot;
	result->generation = transfer->request.generation;
	result->started_at = transfer->request.started_at;
	result->outcome = wo_http_result_judge(transfer, status);
	result->http_status = status;
	result->connect_ms = transfer->was_started ?
		connect_ms(transfer->easy) : 0;
	result->total_ms = transfer->waited_ms + total_us / 1000.0f;
	if (transfer->overdue_ms > 0)
		result->total_ms = transfer->overdue_ms;
	result->retry_after_s = -1;
	if (status >= 200 && transfer->retry_after[0] != '\0')
		result->retry_after_s = wo_retry_after(transfer->retry_after,
											   time(NULL));
	result->error = transfer->error;
	result->response = transfer->excerpt;
	result->response_len = transfer->excerpt_len;
	return true;
}

/*
 * Has there been no descriptor for a connection since the last call?
 */
bool
wo_http_take_shortage(WoHttp *http)
{
	bool		result = http->lacks_files;

	http->lacks_files = false;
	return result;
}

/*
 * Return how many requests were started and not told as finished.
 */
int
wo_http_n_in_flight(const WoHttp *http)
{
	return http->n_in_flight;
}
