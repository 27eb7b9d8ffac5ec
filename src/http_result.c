/*-------------------------------------------------------------------------
 *
 * http_result.c
 *	  Turns the end of a libcurl transfer into an outcome and a text.
 *
 * Layer 2, called by http.c for each finished transfer, outside of libcurl's
 * callbacks.  The text is one line for people, stored in attempt.error: it
 * holds no part of the URL but the host, and nothing of the request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http_private.h"

#define CUT_OFF		"connection was closed before the answer was complete"
#define CODED	"answer has a transfer coding that was not asked for"

/* How libcurl's words begin when it gives up sending a request again. */
#define DIED	"Connection died, tried"

/* CURLE_TOO_LARGE of libcurl 8.6 on */
#define TOO_LARGE	((CURLcode) 100)

/* What to add to a text. */
typedef enum Addition
{
	NOTHING,
	DETAIL,						/* libcurl's own words */
	OS_ERROR					/* the system's error, else libcurl's words */
} Addition;

typedef struct Meaning
{
	CURLcode	code;
	WoOutcome	outcome;
	Addition	addition;
	const char *text;
} Meaning;

/* Codes that are not here are protocol errors in libcurl's words. */
static const Meaning meanings[] = {
	{CURLE_COULDNT_RESOLVE_HOST, WO_DNS_ERROR, NOTHING, "host name could not be resolved"},
	{CURLE_COULDNT_RESOLVE_PROXY, WO_DNS_ERROR, NOTHING, "host name of the proxy could not be resolved"},
	{CURLE_COULDNT_CONNECT, WO_CONNECT_ERROR, OS_ERROR, "could not connect"},
	{CURLE_ABORTED_BY_CALLBACK, WO_PROTOCOL_ERROR, NOTHING, "connection was closed before the request was sent"},

	{CURLE_SSL_CONNECT_ERROR, WO_TLS_ERROR, DETAIL, "TLS handshake failed"},
	{CURLE_PEER_FAILED_VERIFICATION, WO_TLS_ERROR, DETAIL, "certificate was not accepted"},
	{CURLE_SSL_CACERT_BADFILE, WO_TLS_ERROR, DETAIL, "CA certificates could not be read"},
	{CURLE_SSL_ISSUER_ERROR, WO_TLS_ERROR, DETAIL, "certificate was not accepted"},
	{CURLE_SSL_INVALIDCERTSTATUS, WO_TLS_ERROR, DETAIL, "certificate was not accepted"},
	{CURLE_SSL_CERTPROBLEM, WO_TLS_ERROR, DETAIL, "TLS handshake failed"},
	{CURLE_SSL_CLIENTCERT, WO_TLS_ERROR, DETAIL, "receiver wants a client certificate"},
	{CURLE_SSL_CIPHER, WO_TLS_ERROR, DETAIL, "TLS handshake failed"},
	{CURLE_USE_SSL_FAILED, WO_TLS_ERROR, DETAIL, "TLS handshake failed"},

	{CURLE_GOT_NOTHING, WO_PROTOCOL_ERROR, NOTHING, "connection was closed without an answer"},
	{CURLE_PARTIAL_FILE, WO_PROTOCOL_ERROR, NOTHING, CUT_OFF},
	{CURLE_RECV_ERROR, WO_PROTOCOL_ERROR, DETAIL, "answer could not be read"},
	{CURLE_SEND_ERROR, WO_PROTOCOL_ERROR, DETAIL, "request could not be sent"},
	{CURLE_WEIRD_SERVER_REPLY, WO_PROTOCOL_ERROR, DETAIL, "answer is not valid HTTP"},
	{CURLE_BAD_CONTENT_ENCODING, WO_PROTOCOL_ERROR, NOTHING, CODED},
	{CURLE_HTTP2, WO_PROTOCOL_ERROR, DETAIL, "HTTP/2 connection failed"},
	{CURLE_HTTP2_STREAM, WO_PROTOCOL_ERROR, DETAIL, "HTTP/2 error"},

	{CURLE_UNSUPPORTED_PROTOCOL, WO_INVALID_REQUEST, NOTHING, "URL is neither http nor https"},
	{CURLE_URL_MALFORMAT, WO_INVALID_REQUEST, NOTHING, "URL is malformed"},
	{CURLE_LOGIN_DENIED, WO_INVALID_REQUEST, NOTHING, "URL holds a user name"},
	{CURLE_OUT_OF_MEMORY, WO_INVALID_REQUEST, NOTHING, "out of memory in libcurl"},
	{CURLE_FAILED_INIT, WO_INVALID_REQUEST, NOTHING, "libcurl could not start the request"},
	{CURLE_NOT_BUILT_IN, WO_INVALID_REQUEST, NOTHING, "libcurl was built without a feature that the request needs"},
	{CURLE_BAD_FUNCTION_ARGUMENT, WO_INVALID_REQUEST, NOTHING, "libcurl refused the request"}
};

/* Receivers can choose some of libcurl's words: keep them to one line. */
static void
make_printable(char *text)
{
	for (char *p = text; *p; p++)
	{
		if ((unsigned char) *p < 0x20 || (unsigned char) *p >= 0x7f)
			*p = '?';
	}
}

static void
say(WoHttpTransfer *transfer, const char *text)
{
	strlcpy(transfer->error, text, sizeof(transfer->error));
}

static WoOutcome
judge_answer(WoHttpTransfer *transfer, long status)
{
	/* for libcurl a head is complete when its connection is closed */
	if (!transfer->has_head)
	{
		say(transfer, CUT_OFF);
		return WO_PROTOCOL_ERROR;
	}
	/* what is no number, as in "HTTP/2 2z00", comes as 0 */
	if (status < 100 || status > 999)
	{
		say(transfer, "answer has no valid status");
		return WO_PROTOCOL_ERROR;
	}
	if (status >= 200 && status <= 299)
	{
		say(transfer, "");
		return WO_DELIVERED;
	}
	snprintf(transfer->error, sizeof(transfer->error), "HTTP %ld%s", status,
			 status >= 300 && status <= 399 ?
			 ": redirects are not followed" : "");
	return WO_HTTP_ERROR;
}

/*
 * Say how far a request came that ran out of time.  libcurl leaves the times
 * of phases that were not reached at zero, and of those too that a request on
 * a connection of others, or one that waits for such a connection, has none
 * of.  A name that does not resolve is a DNS error whether the resolver gives
 * up first or we do.
 */
static WoOutcome
judge_timeout(WoHttpTransfer *transfer)
{
	CURL	   *easy = transfer->easy;
	curl_off_t	resolved = 0;
	curl_off_t	sent = 0;
	curl_off_t	answered = 0;
	curl_off_t	total = 0;
	long		n_sent = 0;
	WoOutcome	outcome = WO_TIMEOUT;
	const char *what;

	curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
	curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &answered);
	curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total);
	curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &n_sent);

	/* libcurl 8.22 gives the last phases a time though nothing was sent */
	if (n_sent == 0)
		sent = answered = 0;
	/* what is sent again has that of the end of the first connection */
	if (transfer->overdue_ms > 0 && transfer->n_head == 0)
		answered = 0;
	if (transfer->overdue_ms > 0)
		total = transfer->overdue_ms * INT64CONST(1000);
	if (answered > 0)
		what = "answer was not complete";
	else if (sent > 0)
		what = "no answer";
	else if (transfer->was_connected)
		what = "TLS handshake was not complete";
	else if (resolved > 0 || !transfer->was_asked)
		what = "connection was not complete";
	else
	{
		what = "host name was not resolved";
		outcome = WO_DNS_ERROR;
	}
	snprintf(transfer->error, sizeof(transfer->error), "%s after %.1f s",
			 what, total / 1e6);
	return outcome;
}

static WoOutcome
judge_failure(WoHttpTransfer *transfer)
{
	Meaning		unlisted = {transfer->code, WO_PROTOCOL_ERROR, DETAIL,
	curl_easy_strerror(transfer->code)};
	const Meaning *meaning = &unlisted;
	long		os_errno = 0;
	const char *addition = "";

	/* over HTTP/2 it often reads when it would send */
	if (transfer->code == CURLE_SEND_ERROR &&
		(transfer->n_head > 0 ||
		 (wo_http_share_is_possible(transfer) && transfer->was_sent)))
		transfer->code = CURLE_RECV_ERROR;
	for (int i = 0; i < lengthof(meanings); i++)
	{
		if (meanings[i].code == transfer->code)
			meaning = &meanings[i];
	}
	if (meaning->addition == OS_ERROR)
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_errno);
	if (os_errno != 0)
		addition = strerror((int) os_errno);
	else if (meaning->addition != NOTHING)
		addition = transfer->detail;

	snprintf(transfer->error, sizeof(transfer->error), "%s%s%s",
			 meaning->text, addition[0] ? ": " : "", addition);
	/* it sent it again and again, as nothing of it was processed */
	if (strncmp(transfer->detail, DIED, strlen(DIED)) == 0)
		say(transfer, "request was refused, or its connection closed, several times in a row");
	make_printable(transfer->error);
	return meaning->outcome;
}

/* Nobody was free to look its name up, or there was no descriptor. */
static WoOutcome
judge_put_off(WoHttpTransfer *transfer)
{
	if (transfer->lacks_file)
	{
		snprintf(transfer->error, sizeof(transfer->error),
				 "no connection could be opened for %.1f s, as too many files are open: raise the limit (ulimit -n)",
				 transfer->waited_ms / 1e3);
		return WO_INVALID_REQUEST;
	}
	snprintf(transfer->error, sizeof(transfer->error),
			 "host name was not looked up in %.1f s, as too many others were",
			 transfer->waited_ms / 1e3);
	return WO_DNS_ERROR;
}

/* The host is refused before the start, if at all, when there is a proxy. */
static WoOutcome
judge_blocked(WoHttpTransfer *transfer)
{
	snprintf(transfer->error, sizeof(transfer->error), "%s: %s",
			 transfer->was_started && transfer->is_proxied ?
			 "proxy not permitted" : "not permitted",
			 wo_netguard_reason(transfer->verdict));
	return WO_BLOCKED;
}

/* Did a proxy refuse to connect?  Its answer is not the receiver's. */
static bool
is_refused_by_proxy(WoHttpTransfer *transfer)
{
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &status);
	if (!transfer->is_proxied || transfer->n_head > 0 ||
		status == 0 || (status >= 200 && status <= 299))
		return false;
	snprintf(transfer->error, sizeof(transfer->error),
			 "proxy answered HTTP %ld", status);
	return true;
}

/* Was this ended by what the receiver sent, whatever libcurl calls it? */
static const char *
find_abuse(const WoHttpTransfer *transfer)
{
	long		n_sent = 0;

	if (transfer->n_asked > WO_HTTP_MAX_ASKED)
		return "answer of the proxy is longer than 16 kB";
	if (transfer->is_flood)
		return "answer takes more than 512 kB with all that frames it";
	if (transfer->n_head > WO_HTTP_MAX_HEAD)
		return "head of the answer is longer than 64 kB";
	if (transfer->n_lines > WO_HTTP_MAX_LINES)
		return "head of the answer has more than 1000 lines";
	if (transfer->is_malformed)
		return "answer is not HTTP";
	if (transfer->is_coded)
		return CODED;

	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &n_sent);
	/* the code of a URL that is no HTTP is that of an answer that is none */
	if (n_sent > 0 && transfer->code == CURLE_UNSUPPORTED_PROTOCOL)
		return "answer is not HTTP";
	/* and a header line beyond libcurl's limits counted as lack of memory */
	if (n_sent > 0 && (transfer->code == CURLE_OUT_OF_MEMORY ||
					   transfer->code == TOO_LARGE))
		return "header of the answer is too long";
	/* one without a colon counts as a wrong argument of ours */
	if (n_sent > 0 && transfer->code == CURLE_BAD_FUNCTION_ARGUMENT)
		return "header of the answer is malformed";
	return NULL;
}

/*
 * Say how a request ended: the outcome is returned, one line for people goes
 * to transfer->error, "" when the event was delivered.
 */
WoOutcome
wo_http_result_judge(WoHttpTransfer *transfer, long status)
{
	const char *abuse;

	if (transfer->is_put_off)
		return judge_put_off(transfer);
	if (transfer->code == CURLE_OK || transfer->has_enough)
		return judge_answer(transfer, status);
	/* of several addresses one may have been dialled all the same */
	if (transfer->verdict != WO_NET_PERMITTED &&
		(!transfer->was_dialled ||
		 transfer->code == CURLE_ABORTED_BY_CALLBACK))
		return judge_blocked(transfer);
	if (transfer->code == CURLE_OPERATION_TIMEDOUT)
		return judge_timeout(transfer);
	abuse = find_abuse(transfer);
	if (abuse != NULL)
	{
		say(transfer, abuse);
		return WO_PROTOCOL_ERROR;
	}
	if (is_refused_by_proxy(transfer))
		return WO_CONNECT_ERROR;
	return judge_failure(transfer);
}
