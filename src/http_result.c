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

#include "http_result.h"

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
	{CURLE_PARTIAL_FILE, WO_PROTOCOL_ERROR, NOTHING, "connection was closed before the answer was complete"},
	{CURLE_RECV_ERROR, WO_PROTOCOL_ERROR, OS_ERROR, "connection broke while the answer was awaited"},
	{CURLE_SEND_ERROR, WO_PROTOCOL_ERROR, OS_ERROR, "connection broke while the request was sent"},
	{CURLE_WEIRD_SERVER_REPLY, WO_PROTOCOL_ERROR, DETAIL, "answer is not valid HTTP"},
	{CURLE_BAD_CONTENT_ENCODING, WO_PROTOCOL_ERROR, DETAIL, "answer is not valid HTTP"},
	{CURLE_HTTP2, WO_PROTOCOL_ERROR, DETAIL, "HTTP/2 error"},
	{CURLE_HTTP2_STREAM, WO_PROTOCOL_ERROR, DETAIL, "HTTP/2 error"},

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

static WoOutcome
judge_status(long status, char *error, size_t error_size)
{
	if (status >= 200 && status <= 299)
	{
		error[0] = '\0';
		return WO_DELIVERED;
	}
	if (status >= 300 && status <= 399)
		snprintf(error, error_size,
				 "HTTP %ld: redirects are not followed", status);
	else
		snprintf(error, error_size, "HTTP %ld", status);
	return WO_HTTP_ERROR;
}

/*
 * Say how far a request came that ran out of time.  libcurl leaves the times
 * of phases that were not reached at zero.
 */
static WoOutcome
judge_timeout(CURL *easy, char *error, size_t error_size)
{
	curl_off_t	resolved = 0;
	curl_off_t	connected = 0;
	curl_off_t	sent = 0;
	curl_off_t	answered = 0;
	curl_off_t	total = 0;
	const char *what;

	curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
	curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
	curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &answered);
	curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total);

	if (answered > 0)
		what = "answer was not complete";
	else if (sent > 0)
		what = "no answer";
	else if (connected > 0)
		what = "TLS handshake was not complete";
	else if (resolved > 0)
		what = "no connection";
	else
		what = "host name was not resolved";
	snprintf(error, error_size, "%s after %.1f s", what, total / 1e6);
	return WO_TIMEOUT;
}

static WoOutcome
judge_failure(CURL *easy, CURLcode code, const char *detail,
			  char *error, size_t error_size)
{
	Meaning		unlisted = {code, WO_PROTOCOL_ERROR, DETAIL,
		curl_easy_strerror(code)};
	const Meaning *meaning = &unlisted;
	long		os_errno = 0;

	for (int i = 0; i < lengthof(meanings); i++)
	{
		if (meanings[i].code == code)
			meaning = &meanings[i];
	}
	if (meaning->addition == OS_ERROR)
		curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);

	if (os_errno != 0)
		snprintf(error, error_size, "%s: %s", meaning->text,
				 strerror((int) os_errno));
	else if (meaning->addition != NOTHING && detail[0] != '\0')
		snprintf(error, error_size, "%s: %s", meaning->text, detail);
	else
		strlcpy(error, meaning->text, error_size);
	return meaning->outcome;
}

/*
 * Say how a request ended.  Detail is what libcurl wrote to its error buffer;
 * one line for people goes to error, "" when the event was delivered.
 */
WoOutcome
wo_http_result_judge(CURL *easy, CURLcode code, const char *detail,
					 char *error, size_t error_size)
{
	long		status = 0;
	long		n_sent = 0;
	WoOutcome	outcome;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OK)
		return judge_status(status, error, error_size);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return judge_timeout(easy, error, error_size);

	/* one code for a URL that is no HTTP and for an answer that is none */
	if (code == CURLE_UNSUPPORTED_PROTOCOL)
	{
		curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &n_sent);
		strlcpy(error, n_sent > 0 ? "answer is not HTTP" :
				"URL is neither http nor https", error_size);
		return n_sent > 0 ? WO_PROTOCOL_ERROR : WO_INVALID_REQUEST;
	}
	outcome = judge_failure(easy, code, detail, error, error_size);
	make_printable(error);
	return outcome;
}
