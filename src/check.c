/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Judges event types, patterns and what they select, and proxies.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "check.h"

static bool
is_word_character(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') || c == '_';
}

/* Are these words joined by single dots, up to end? */
static bool
is_dotted(const char *text, const char *end)
{
	bool		in_word = false;

	for (; text < end; text++)
	{
		if (is_word_character(*text))
			in_word = true;
		else if (*text == '.' && in_word)
			in_word = false;
		else
			return false;
	}
	return in_word;
}

/*
 * Judge the type of an event.  Whether it is reserved is for the caller.
 */
const char *
wo_check_event_type(const char *type, const char **hint)
{
	size_t		len = strlen(type);

	if (len == 0)
	{
		*hint = "A type says what happened, as in order.created.";
		return "it is empty";
	}
	if (len > WO_MAX_TYPE_LEN)
	{
		*hint = "A type is at most 255 bytes long; what varies from event to event belongs in the payload.";
		return "it is too long";
	}
	if (!is_dotted(type, type + len))
	{
		*hint = "A type is one or more words of A-Z, a-z, 0-9 and _, joined by single dots, as in order.created.";
		return "it is not words joined by dots";
	}
	return NULL;
}

/*
 * Judge a pattern of event types: a type, a type and ".*", or "*".
 */
const char *
wo_check_type_pattern(const char *pattern, const char **hint)
{
	size_t		len = strlen(pattern);
	const char *star = strchr(pattern, '*');

	if (strcmp(pattern, "*") == 0)
		return NULL;
	if (star == NULL)
		return wo_check_event_type(pattern, hint);
	if (len > WO_MAX_TYPE_LEN)
	{
		*hint = "A pattern is at most 255 bytes long.";
		return "it is too long";
	}
	if (star != pattern + len - 1)
	{
		*hint = "A * stands alone, or at the end after a dot, as in order.*.";
		return "it has a * that is not at the end";
	}
	if (len < 3 || star[-1] != '.' || !is_dotted(pattern, star - 1))
	{
		*hint = "A pattern is a type (order.created), words and .* (order.*), or * alone.";
		return "what stands before the * is not words and a dot";
	}
	return NULL;
}

/*
 * Does a pattern match a type?  "*" matches all but the reserved types,
 * "order.*" all below order, anything else itself.
 */
bool
wo_pattern_matches(const char *pattern, const char *type)
{
	size_t		len = strlen(pattern);

	if (strcmp(pattern, "*") == 0)
		return strncmp(type, WO_RESERVED_PREFIX,
					   strlen(WO_RESERVED_PREFIX)) != 0;
	if (len >= 2 && strcmp(pattern + len - 2, ".*") == 0)
		return strncmp(pattern, type, len - 1) == 0;
	return strcmp(pattern, type) == 0;
}

/* Skip a host: letters, digits, dots and hyphens, or IPv6 in brackets. */
static const char *
skip_host(const char *text)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyz"
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	size_t		len;

	if (*text != '[')
		return text + strspn(text, name);
	len = strspn(text + 1, "0123456789abcdefABCDEF:.");
	return text[1 + len] == ']' ? text + 1 + len + 1 : text;
}

/* Skip ":port", if there is one. */
static const char *
skip_port(const char *text)
{
	size_t		len;
	int			port;

	if (*text != ':')
		return text;
	len = strspn(text + 1, "0123456789");
	if (len == 0 || len > 5)
		return text;
	port = atoi(text + 1);
	return port > 0 && port < 65536 ? text + 1 + len : text;
}

/*
 * Judge the URL of a proxy; empty means none.  The grammar is narrow so that
 * nothing secret fits in: settings are shown and logged.
 */
const char *
wo_check_proxy(const char *proxy, const char **hint)
{
	const char *host = strstr(proxy, "://");
	const char *end;

	if (proxy[0] == '\0')
		return NULL;
	*hint = "Give the URL of a proxy as http://proxy.example.com:3128, or an empty string for none.";
	if (strchr(proxy, '@') != NULL)
	{
		*hint = "Credentials would be shown and logged: let the proxy know this server by its address.";
		return "it has a user name or password";
	}
	if (host == NULL || (pg_strncasecmp(proxy, "http://", 7) != 0 &&
						 pg_strncasecmp(proxy, "https://", 8) != 0))
		return "it does not begin with http:// or https://";
	host += 3;
	end = skip_host(host);
	if (end == host)
		return "it has no host";
	end = skip_port(end);
	if (*end == '/')
		end++;
	return *end == '\0' ? NULL : "something other than a port follows its host";
}
