/*-------------------------------------------------------------------------
 *
 * http_transfer.c
 *	  Targets, and the libcurl handles that are kept for them.
 *
 * Layer 2, part of http.c.  A handle whose request is done waits for the next
 * one to the same target: its options are set once, and TLS sessions, which
 * libcurl keeps per handle, are resumed.  There are never more handles than
 * requests may be in flight: those idle for the longest give way.
 *
 * Callbacks of libcurl must neither palloc nor raise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <openssl/ssl.h>

#include "http_private.h"
#include "url.h"

#define CONNECT_TIMEOUT_MS	5000	/* a host that is up answers sooner */
#define HAPPY_EYEBALLS_MS	200L
#define DNS_CACHE_S			60L /* names that resolved are not asked again */
#define MAX_AGE_S			300L	/* of a connection: receivers move */
#define KEPT_BUFFER			(64 * 1024) /* bytes kept for the next request */

/*
 * Make a target known; what the engine needs of it is copied.
 */
WoHttpTarget *
wo_http_add_target(WoHttp *http, const WoTarget *source)
{
	WoHttpTarget *target = palloc0(sizeof(WoHttpTarget));

	target->url = pstrdup(source->url);
	target->ca_pem = source->ca_pem ? pstrdup(source->ca_pem) : NULL;
	target->proxy = source->proxy ? pstrdup(source->proxy) : NULL;
	target->judged_setup = -1;
	target->given_up = -1;
	target->timeout_ms = source->timeout_ms;
	target->is_http2 = source->is_http2;
	target->has_name = wo_url_has_name(source->url);
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
	if (target->proxy != NULL)
		pfree(target->proxy);
	pfree(target);
}

/* Frees a transfer that is in no list; its target too when it was the last. */
static void
free_transfer(WoHttp *http, WoHttpTransfer *transfer)
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
free_idle(WoHttp *http, WoHttpTransfer *transfer)
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
		free_idle(http, dlist_head_element(WoHttpTransfer, target_node,
										   &target->idle));
	target->n_transfers--;
	target->is_dropped = true;
	if (target->n_transfers == 0)
		free_target(target);
}

/*
 * Give up the handles that are kept: they are set up as is not wanted now.
 */
void
wo_http_transfer_forget_idle(WoHttp *http)
{
	while (!dlist_is_empty(&http->idle))
		free_idle(http, dlist_head_element(WoHttpTransfer, node, &http->idle));
}

/* The proxy that requests to a target go through; "": none. */
static const char *
proxy_of(const WoHttp *http, const WoHttpTarget *target)
{
	return target->proxy != NULL ? target->proxy : http->proxy;
}

/*
 * Find out how a request's addresses are to be judged.  Of one that goes
 * through a proxy the host is judged here, as far as its URL tells.
 */
void
wo_http_transfer_judge(WoHttpTransfer *transfer)
{
	WoHttp	   *http = transfer->http;
	WoHttpTarget *target = transfer->target;
	bool		is_plain;

	transfer->verdict = WO_NET_PERMITTED;
	transfer->is_proxied = proxy_of(http, target)[0] != '\0';
	is_plain = pg_strncasecmp(target->url, "http:", 5) == 0;
	transfer->is_tunnelled = transfer->is_proxied && !is_plain;
	transfer->is_http = !transfer->is_proxied && is_plain;
	if (!transfer->is_proxied)
		return;
	if (target->judged_setup != http->setup)
		target->verdict = wo_url_judge(&http->guard, target->url, true);
	target->judged_setup = http->setup;
	transfer->verdict = target->verdict;
}

/* The value of a header line that has this name; NULL when it has not. */
static const char *
find_value(const char *line, size_t len, const char *name, size_t *value_len)
{
	const char *value = line + strlen(name);
	const char *end = line + len;

	if (len <= strlen(name) || pg_strncasecmp(line, name, strlen(name)) != 0)
		return NULL;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && isspace((unsigned char) end[-1]))
		end--;
	*value_len = end - value;
	return value;
}

static void
note_retry_after(WoHttpTransfer *transfer, const char *value, size_t len)
{
	len = Min(len, sizeof(transfer->retry_after) - 1);
	memcpy(transfer->retry_after, value, len);
	transfer->retry_after[len] = '\0';
}

/*
 * libcurl undoes transfer codings that nobody asked for, some with windows of
 * many megabytes.  No request of ours has a TE header, so none may be used.
 */
static bool
is_permitted_coding(const char *value, size_t len)
{
	return (len == 7 && pg_strncasecmp(value, "chunked", len) == 0) ||
		(len == 8 && pg_strncasecmp(value, "identity", len) == 0);
}

/*
 * Is this "HTTP/1.1 200" and so on?  If so, *status is its number.  Of a line
 * that it cannot read, but that begins with HTTP/ in whatever case, libcurl
 * thinks that it means 200.
 */
static bool
is_status_line(const char *line, size_t len, int *status)
{
	const char *end = line + len;
	const char *p = line + 5;
	int			n_digits = 0;

	*status = 0;
	if (len <= 5 || memcmp(line, "HTTP/", 5) != 0 ||
		!isdigit((unsigned char) *p++))
		return false;
	if (end - p > 1 && *p == '.' && isdigit((unsigned char) p[1]))
		p += 2;
	if (p == end || *p != ' ')
		return false;
	while (p < end && *p == ' ')
		p++;
	for (; p < end && isdigit((unsigned char) *p) && n_digits <= 3; p++)
	{
		*status = *status * 10 + *p - '0';
		n_digits++;
	}
	return n_digits == 3 && (p == end || isspace((unsigned char) *p));
}

/*
 * Sees each line of the head, and trailers.  libcurl takes a head that was cut
 * off for a whole one when the status line is there; hence has_head.  It keeps
 * a copy of each line, hence the limits.
 */
static size_t
on_head(char *line, size_t size, size_t n, void *arg)
{
	WoHttpTransfer *transfer = arg;
	size_t		len = size * n;
	const char *value;
	size_t		value_len;

	transfer->n_head += len;
	transfer->n_lines++;
	if (transfer->n_head > WO_HTTP_MAX_HEAD ||
		transfer->n_lines > WO_HTTP_MAX_LINES)
		return 0;
	/* a trailer, behind the body: what it says comes too late */
	if (transfer->has_head && transfer->status >= 200)
		return len;
	if (len > 5 && pg_strncasecmp(line, "HTTP/", 5) == 0)
	{
		/* what the head of an interim answer (1xx) asked for is void */
		transfer->has_head = false;
		transfer->retry_after[0] = '\0';
		transfer->is_malformed = !is_status_line(line, len,
												 &transfer->status);
		if (transfer->is_malformed)
			return 0;
	}
	else if (line[0] == '\r' || line[0] == '\n')
		transfer->has_head = true;

	value = find_value(line, len, "retry-after:", &value_len);
	if (value != NULL)
		note_retry_after(transfer, value, value_len);
	value = find_value(line, len, "transfer-encoding:", &value_len);
	transfer->is_coded = value != NULL &&
		!is_permitted_coding(value, value_len);
	return transfer->is_coded ? 0 : len;
}

/*
 * Sees the body.  Whoever has sent the head has said what became of the event:
 * of a long body no more is read than anybody looks at.
 */
static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	WoHttpTransfer *transfer = arg;
	size_t		len = size * n;
	size_t		room = transfer->excerpt_size - transfer->excerpt_len;
	size_t		kept = Min(len, room);

	memcpy(transfer->excerpt + transfer->excerpt_len, data, kept);
	transfer->excerpt_len += kept;
	transfer->n_body += len;
	/* a chunk costs much the same when it holds a single byte */
	transfer->n_pieces++;
	transfer->has_enough = transfer->n_body > WO_HTTP_MAX_BODY ||
		transfer->n_pieces > WO_HTTP_MAX_PIECES;
	return transfer->has_enough ? 0 : len;
}

/* Sees that libcurl has looked at the request, read or not. */
static int
on_progress(void *arg, curl_off_t n_expected, curl_off_t n_received,
			curl_off_t n_to_send, curl_off_t n_sent)
{
	WoHttpTransfer *transfer = arg;

	transfer->is_flood = wo_http_poll_is_flood(transfer);
	return transfer->is_flood;
}

static int	(*default_permit) (const SSL *ssl, const SSL_CTX *context, int op,
							   int bits, int nid, void *other, void *arg);

/*
 * Permits what OpenSSL does, but no finite field Diffie-Hellman: what that
 * costs is up to the receiver, in TLS 1.2 over a second, in 1.3 a sixth of one
 * (measured), and meanwhile nobody else has his turn.
 */
static int
permit(const SSL *ssl, const SSL_CTX *context, int op, int bits, int nid,
	   void *other, void *arg)
{
	int			type = op & SSL_SECOP_OTHER_TYPE;

	if (type == SSL_SECOP_OTHER_CIPHER &&
		SSL_CIPHER_get_kx_nid(other) == NID_kx_dhe)
		return 0;
	if (type == SSL_SECOP_OTHER_CURVE &&
		nid >= NID_ffdhe2048 && nid <= NID_ffdhe8192)
		return 0;
	return default_permit(ssl, context, op, bits, nid, other, arg);
}

/*
 * Sees that a TLS handshake begins: libcurl tells of TCP only with TLS.  By
 * itself OpenSSL reads on after a message that is no data, for as long as more
 * of them come (measured: seconds of key updates), and it takes part in any
 * number of new handshakes.
 */
static CURLcode
on_tls(CURL *easy, void *context, void *arg)
{
	WoHttpTransfer *transfer = arg;

	transfer->was_connected = true;
	if (transfer->http->has_openssl)
	{
		SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
		SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
		if (SSL_CTX_get_security_callback(context) != permit)
			default_permit = SSL_CTX_get_security_callback(context);
		SSL_CTX_set_security_callback(context, permit);
	}
	return CURLE_OK;
}

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
	/* IPv4 is tried too when IPv6 has not answered by then */
	rc |= curl_easy_setopt(easy, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS,
						   HAPPY_EYEBALLS_MS);
	rc |= curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
	rc |= curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, MAX_AGE_S);
	rc |= curl_easy_setopt(easy, CURLOPT_SSLVERSION,
						   (long) CURL_SSLVERSION_TLSv1_2);
	/* without a CA path libcurl keeps the bundle parsed between connections */
	rc |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (target->ca_pem == NULL)
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_path);
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

/*
 * The options that concern a proxy; 0, or a libcurl error.  Proxies that the
 * environment names are out of the question, and so are its exceptions.
 */
static int
set_proxy_options(CURL *easy, WoHttp *http, const WoHttpTarget *target)
{
	int			rc = 0;

	rc |= curl_easy_setopt(easy, CURLOPT_PROXY, proxy_of(http, target));
	rc |= curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	/* credentials of the receiver are not for the proxy */
	rc |= curl_easy_setopt(easy, CURLOPT_HEADEROPT,
						   (long) CURLHEADER_SEPARATE);
	rc |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION,
						   (long) CURL_SSLVERSION_TLSv1_2);
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, http->ca_path);
	return rc;
}

/*
 * Turn off what takes a request elsewhere, or adds to it; 0, or a libcurl
 * error.  All of it is off by default, but defaults are not promises.  There
 * is no option that turns alt-svc off: asking for it would turn it on.
 */
static int
set_off_options(CURL *easy)
{
	int			rc = 0;

	rc |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	rc |= curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	rc |= curl_easy_setopt(easy, CURLOPT_COOKIEFILE, NULL);
	rc |= curl_easy_setopt(easy, CURLOPT_UNRESTRICTED_AUTH, 0L);
	/* libcurl may have been built without it */
	(void) curl_easy_setopt(easy, CURLOPT_HSTS_CTRL, 0L);
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
	rc |= curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
	rc |= curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
	/* most answers are shorter; of others each gets its turn */
	rc |= curl_easy_setopt(easy, CURLOPT_BUFFERSIZE,
						   (long) WO_HTTP_READ_SIZE);
	rc |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
						   (long) Min(target->timeout_ms,
									  CONNECT_TIMEOUT_MS));
	return rc;
}

static int
set_callbacks(CURL *easy, WoHttp *http, WoHttpTransfer *transfer)
{
	int			rc = 0;

	rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
	rc |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
	rc |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	rc |= curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	rc |= curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION,
						   wo_http_lookup_start);
	rc |= curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION,
						   wo_http_poll_open);
	rc |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	rc |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, wo_http_poll_recheck);
	rc |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	/* a connection outlives the transfer that opened it, hence http */
	rc |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION,
						   wo_http_poll_close);
	rc |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);
	return rc;
}

/*
 * Set how long a request may take from now on.
 */
void
wo_http_transfer_set_timeout(WoHttpTransfer *transfer, int timeout_ms)
{
	Assert(timeout_ms > 0);
	if (transfer->set_timeout_ms == timeout_ms)
		return;
	curl_easy_setopt(transfer->easy, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	transfer->set_timeout_ms = timeout_ms;
}

static WoHttpTransfer *
make_transfer(WoHttp *http, WoHttpTarget *target)
{
	WoHttpTransfer *transfer;
	CURL	   *easy;

	/* handles kept for other targets give way, the longest idle first */
	while (http->n_transfers >= http->max_in_flight &&
		   !dlist_is_empty(&http->idle))
		free_idle(http, dlist_head_element(WoHttpTransfer, node, &http->idle));

	transfer = palloc0(sizeof(WoHttpTransfer));
	easy = curl_easy_init();
	if (easy == NULL ||
		set_connection_options(easy, http, target) != 0 ||
		set_proxy_options(easy, http, target) != 0 ||
		set_off_options(easy) != 0 ||
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
	WoHttpTransfer *transfer;

	Assert(!target->is_dropped);
	if (dlist_is_empty(&target->idle))
		return &make_transfer(http, target)->request;

	transfer = dlist_head_element(WoHttpTransfer, target_node, &target->idle);
	dlist_delete(&transfer->node);
	dlist_delete(&transfer->target_node);
	resetStringInfo(&transfer->request.headers);
	resetStringInfo(&transfer->request.body);
	return &transfer->request;
}

/*
 * Keep a transfer's handle for the next request, unless it is outdated.
 */
void
wo_http_transfer_recycle(WoHttp *http, WoHttpTransfer *transfer)
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
	wo_http_transfer_recycle(http, (WoHttpTransfer *) request);
}
