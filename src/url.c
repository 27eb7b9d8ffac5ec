/*-------------------------------------------------------------------------
 *
 * url.c
 *	  Judges the URLs of endpoints.
 *
 * Layer 2, called by SQL functions.  The parser is libcurl's, so that what is
 * accepted here is what a sender can dial; a second parser would disagree
 * with it some day, and that is how guards are by-passed.  Its URL functions
 * need no initialization and start no thread: they may run in any backend.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include "text.h"
#include "url.h"

#define SHOWN_LEN		100		/* bytes of a URL in a message */
#define MAX_LABEL_LEN	63		/* bytes between two dots of a name */

/* What follows "http://" or "https://"; NULL when neither is there. */
static const char *
after_scheme(const char *url)
{
	if (pg_strncasecmp(url, "http://", 7) == 0)
		return url + 7;
	return pg_strncasecmp(url, "https://", 8) == 0 ? url + 8 : NULL;
}

/* Get a part of a URL that libcurl took; palloc'd, NULL when it has none. */
static char *
get_part(CURLU *parsed, CURLUPart part, unsigned int flags)
{
	char	   *text = NULL;
	char	   *copy;

	if (curl_url_get(parsed, part, &text, flags) != CURLUE_OK)
		return NULL;
	copy = pstrdup(text);
	curl_free(text);
	return copy;
}

/*
 * Read an IPv4 address in any spelling that a resolver takes: 127.1,
 * 2130706433, 0x7f.0.0.1, 0177.0.0.1, with a dot at the end or not.
 */
static bool
read_v4(const char *host, struct sockaddr_in *address)
{
	size_t		len = strlen(host);
	char	   *text = pnstrdup(host, len > 0 && host[len - 1] == '.' ?
								len - 1 : len);
	bool		is_read = inet_aton(text, &address->sin_addr) != 0;

	address->sin_family = AF_INET;
	pfree(text);
	return is_read;
}

/* Does a name end in a number, which no name in the DNS does? */
static bool
ends_in_number(const char *host)
{
	size_t		len = strlen(host);
	size_t		n_digits;
	const char *label;

	if (len > 0 && host[len - 1] == '.')
		len--;
	label = host + len;
	while (label > host && label[-1] != '.')
		label--;
	len -= label - host;
	n_digits = strspn(label, "0123456789");
	if (n_digits == 1 && label[0] == '0' && (label[1] | 0x20) == 'x')
		n_digits = 2 + strspn(label + 2, "0123456789abcdefABCDEF");
	return n_digits == len;
}

/* Has each label of a name a length that it may have?  A dot may follow. */
static bool
has_fit_labels(const char *host)
{
	while (*host)
	{
		size_t		len = strcspn(host, ".");

		if (len == 0 || len > MAX_LABEL_LEN)
			return false;
		host += len + (host[len] == '.');
	}
	return true;
}

/*
 * Is a host, as libcurl decoded it, one that means the same to everybody?
 * What ends in a number and is no address is read as one by some all the same,
 * with 4294967297 for 0.0.0.1.
 */
static bool
is_plain_host(const char *host)
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyz"
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	struct sockaddr_in address;

	/* libcurl has checked what is in brackets */
	if (host[0] == '[')
		return true;
	if (host[strspn(host, characters)] != '\0' || !has_fit_labels(host))
		return false;
	return !ends_in_number(host) || read_v4(host, &address);
}

static bool
libcurl_takes(const char *url)
{
	CURLU	   *parsed = curl_url();
	bool		is_taken;
	char	   *host;
	char	   *port;

	if (parsed == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	is_taken = curl_url_set(parsed, CURLUPART_URL, url,
							CURLU_DISALLOW_USER) == CURLUE_OK;
	if (is_taken)
	{
		port = get_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
		host = get_part(parsed, CURLUPART_HOST, 0);
		is_taken = port != NULL && atoi(port) > 0 &&
			host != NULL && is_plain_host(host);
	}
	curl_url_cleanup(parsed);
	return is_taken;
}

static bool
is_visible_ascii(const char *text)
{
	for (; *text; text++)
	{
		if ((unsigned char) *text <= 0x20 || (unsigned char) *text >= 0x7f)
			return false;
	}
	return true;
}

/*
 * Return NULL when an endpoint may have this URL, else what is wrong with it;
 * then *hint is a sentence.  Both are static texts.
 */
const char *
wo_url_check(const char *url, const char **hint)
{
	const char *host = after_scheme(url);

	if (strlen(url) > WO_MAX_URL_LEN)
	{
		*hint = "A URL is at most 2048 bytes long.";
		return "it is too long";
	}
	if (!is_visible_ascii(url))
	{
		*hint = "Percent-encode spaces and other special characters, and write international host names in their xn-- form.";
		return "it has spaces, control characters or characters beyond ASCII";
	}
	if (host == NULL || strchr("/?#", *host) != NULL)
	{
		*hint = "Give an absolute URL, as in https://example.com/hooks.";
		return "it does not begin with http:// or https:// and a host";
	}
	if (memchr(host, '@', strcspn(host, "/?#")) != NULL)
	{
		*hint = "Put credentials into the headers of the endpoint, as in {\"Authorization\": \"Basic ...\"}.";
		return "it has a user name or password";
	}
	if (strchr(url, '#') != NULL)
	{
		*hint = "Leave out what follows the #: it is never sent.";
		return "it has a fragment";
	}
	if (!libcurl_takes(url))
	{
		*hint = "Check the host and the port, as in https://example.com:8443/hooks.";
		return "its host or port is malformed";
	}
	return NULL;
}

/*----------------------------------------------------------------------
 * Addresses
 *----------------------------------------------------------------------
 */

/* Read an IPv6 address, which stands in brackets. */
static bool
read_v6(const char *host, struct sockaddr_in6 *address)
{
	size_t		len = strlen(host);
	char	   *text;
	bool		is_read;

	if (len < 2 || host[0] != '[')
		return false;
	text = pnstrdup(host + 1, strcspn(host + 1, "]%"));
	is_read = inet_pton(AF_INET6, text, &address->sin6_addr) == 1;
	address->sin6_family = AF_INET6;
	pfree(text);
	return is_read;
}

/* Is this "localhost", or below it?  Resolvers take those for loopback. */
static bool
is_localhost(const char *host)
{
	static const char name[] = "localhost";
	size_t		len = strlen(host);

	if (len > 0 && host[len - 1] == '.')
		len--;
	if (len < strlen(name) ||
		pg_strncasecmp(host + len - strlen(name), name, strlen(name)) != 0)
		return false;
	return len == strlen(name) || host[len - strlen(name) - 1] == '.';
}

static WoNetVerdict
judge_host(const WoNetguard *guard, const char *host, int port, bool is_http,
		   bool is_proxied)
{
	struct sockaddr_in v4 = {.sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_port = htons(port)};
	WoNetVerdict verdict;

	if (read_v6(host, &v6))
		return wo_netguard_judge(guard, (struct sockaddr *) &v6, sizeof(v6),
								 is_http);
	if (read_v4(host, &v4))
		return wo_netguard_judge(guard, (struct sockaddr *) &v4, sizeof(v4),
								 is_http);
	if (is_localhost(host))
	{
		v4.sin_family = AF_INET;
		v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		v6.sin6_family = AF_INET6;
		v6.sin6_addr = in6addr_loopback;
		verdict = wo_netguard_judge(guard, (struct sockaddr *) &v4,
									sizeof(v4), is_http);
		if (verdict == WO_NET_PERMITTED)
			return verdict;
		return wo_netguard_judge(guard, (struct sockaddr *) &v6, sizeof(v6),
								 is_http);
	}

	/* a name: its addresses are judged when they are dialled, if they are */
	if (is_http && !guard->allow_http &&
		(is_proxied || guard->n_networks == 0))
		return WO_NET_PLAIN_HTTP;
	return WO_NET_PERMITTED;
}

/*
 * Judge the host of a URL as far as it can be known before it is resolved.
 * Behind a proxy that is all that is ever known.
 */
WoNetVerdict
wo_url_judge(const WoNetguard *guard, const char *url, bool is_proxied)
{
	CURLU	   *parsed = curl_url();
	WoNetVerdict verdict = WO_NET_PERMITTED;
	char	   *scheme;
	char	   *host;
	char	   *port;

	/* what cannot be parsed is not dialled: the request fails */
	if (parsed != NULL &&
		curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
	{
		scheme = get_part(parsed, CURLUPART_SCHEME, 0);
		host = get_part(parsed, CURLUPART_HOST, 0);
		port = get_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
		if (scheme != NULL && host != NULL && port != NULL)
			verdict = judge_host(guard, host, atoi(port),
								 pg_strcasecmp(scheme, "http") == 0,
								 is_proxied);
	}
	curl_url_cleanup(parsed);
	return verdict;
}

/*
 * Return a URL as a message may show it, palloc'd: without what may be secret
 * (user information, query), cut, and on one line.
 */
char *
wo_url_shown(const char *url)
{
	const char *rest = after_scheme(url);
	size_t		len = strcspn(url, "?#");
	char	   *shown;

	/*
	 * An @ follows a password, somewhere: which part it is cannot be told
	 * from a URL that may be malformed, as one is with a / in its password.
	 */
	if (strchr(url, '@') != NULL)
		return rest != NULL ? psprintf("%.*s...", (int) (rest - url), url) :
			pstrdup("...");
	shown = wo_text_shown(url, len, SHOWN_LEN);
	if (url[len] == '\0' || len > SHOWN_LEN)
		return shown;
	return psprintf("%s...", shown);
}

/*
 * Return the Host header for a URL, palloc'd; NULL when it has none.
 */
char *
wo_url_host(const char *url)
{
	CURLU	   *parsed = curl_url();
	char	   *host = NULL;
	char	   *port = NULL;

	if (parsed != NULL &&
		curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
	{
		host = get_part(parsed, CURLUPART_HOST, 0);
		port = get_part(parsed, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	}
	curl_url_cleanup(parsed);
	if (host != NULL && port != NULL)
		return psprintf("%s:%s", host, port);
	return host;
}

/*
 * Is the host a name, which is to be looked up?  Otherwise it is an address.
 */
bool
wo_url_has_name(const char *url)
{
	CURLU	   *parsed = curl_url();
	bool		has_name = true;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	char	   *host;

	if (parsed != NULL &&
		curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
	{
		host = get_part(parsed, CURLUPART_HOST, 0);
		has_name = host == NULL ||
			!(read_v4(host, &v4) || read_v6(host, &v6));
	}
	curl_url_cleanup(parsed);
	return has_name;
}
