/*-------------------------------------------------------------------------
 *
 * fuzz_url.c
 *	  URLs of endpoints: which are taken, and what messages show of them.
 *
 * A URL that is taken is HTTP to a host, without a user, on one line; an
 * address in it is judged as the one that would be dialled.  What a message shows is short, on one line, and has nothing of what follows a "?"
 * or "#", or of what may be a password: nothing after the scheme when there is
 * an "@" anywhere.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>

#include "check.h"
#include "mb/pg_wchar.h"
#include "url.h"

#define MAX_SHOWN	110

static char *
part(CURLU *parsed, CURLUPart what, unsigned int flags)
{
	char	   *text = NULL;
	char	   *copy = NULL;

	if (curl_url_get(parsed, what, &text, flags) == CURLUE_OK)
		copy = pstrdup(text);
	curl_free(text);
	return copy;
}

/*
 * A host that is an address in any spelling must be judged as that address:
 * as what the resolver makes of it.
 */
static void
check_verdict(const char *url, char *host, int port)
{
	WoNetguard	guard = {.allow_http = true};
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST,
	.ai_socktype = SOCK_STREAM};
	struct addrinfo *list;
	WoNetVerdict verdict = wo_url_judge(&guard, url, false);

	if (host[0] == '[')
		host = pnstrdup(host + 1, strcspn(host + 1, "]"));
	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return;
	if (list->ai_family == AF_INET)
		((struct sockaddr_in *) list->ai_addr)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *) list->ai_addr)->sin6_port = htons(port);
	wo_fuzz_require(wo_netguard_judge(&guard, list->ai_addr, list->ai_addrlen,
									  false) == verdict);
	freeaddrinfo(list);
}

/* A proxy that is taken is a host, and maybe a port, and nothing else. */
static void
check_proxy(const char *proxy)
{
	const char *hint = NULL;
	const char *problem = wo_check_proxy(proxy, &hint);
	CURLU	   *parsed = curl_url();
	char	   *path;

	wo_fuzz_require(problem == NULL || hint != NULL);
	if (problem == NULL && proxy[0] != '\0' &&
		curl_url_set(parsed, CURLUPART_URL, proxy, 0) == CURLUE_OK)
	{
		path = part(parsed, CURLUPART_PATH, 0);
		wo_fuzz_require(part(parsed, CURLUPART_USER, 0) == NULL);
		wo_fuzz_require(part(parsed, CURLUPART_QUERY, 0) == NULL);
		wo_fuzz_require(path == NULL || strcmp(path, "/") == 0);
	}
	curl_url_cleanup(parsed);
}

static void
check_taken(const char *url)
{
	CURLU	   *parsed = curl_url();
	char	   *scheme;
	char	   *host;
	char	   *port;
	char	   *header;

	wo_fuzz_require(parsed != NULL);
	wo_fuzz_require(curl_url_set(parsed, CURLUPART_URL, url, 0) ==
					CURLUE_OK);
	scheme = part(parsed, CURLUPART_SCHEME, 0);
	host = part(parsed, CURLUPART_HOST, 0);
	port = part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	wo_fuzz_require(scheme != NULL && (strcmp(scheme, "http") == 0 ||
									   strcmp(scheme, "https") == 0));
	wo_fuzz_require(host != NULL && host[0] != '\0');
	wo_fuzz_require(port != NULL && atoi(port) > 0 && atoi(port) <= 65535);
	wo_fuzz_require(part(parsed, CURLUPART_USER, 0) == NULL);
	wo_fuzz_require(part(parsed, CURLUPART_PASSWORD, 0) == NULL);
	wo_fuzz_require(part(parsed, CURLUPART_FRAGMENT, 0) == NULL);
	curl_url_cleanup(parsed);
	check_verdict(url, host, atoi(port));

	header = wo_url_host(url);
	wo_fuzz_require(header != NULL &&
					wo_fuzz_is_shown(header, WO_MAX_URL_LEN));
}

static void
check_shown(const char *url)
{
	char	   *shown = wo_url_shown(url);

	wo_fuzz_require(strpbrk(shown, "@#") == NULL);
	if (pg_encoding_verifymbstr(PG_UTF8, url, strlen(url)) ==
		(int) strlen(url))
		wo_fuzz_require(wo_fuzz_is_shown(shown, MAX_SHOWN));
	if (strchr(url, '@') != NULL)
		wo_fuzz_require(strlen(shown) <= strlen("https://..."));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	char	   *url = wo_fuzz_line(&input);
	const char *hint = NULL;
	const char *problem = wo_url_check(url, &hint);

	if (problem == NULL)
		check_taken(url);
	else
		wo_fuzz_require(hint != NULL);
	check_shown(url);
	check_proxy(url);
	(void) wo_url_host(url);
	wo_fuzz_reset();
	return 0;
}
