/*-------------------------------------------------------------------------
 *
 * headers.c
 *	  Judges request headers that users set, and turns them into lines.
 *
 * Layer 0.  Headers of an event or an endpoint are a jsonb object of strings.
 * Values can be credentials, so that no message ever holds one: it names the
 * header instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "headers.h"
#include "lib/stringinfo.h"
#include "text.h"

#define MAX_NAME_LEN	100		/* bytes */
#define MAX_LINES_LEN	8192	/* bytes; most servers refuse more */

/*
 * Names that the sender, or the connection, owns.  One that ends in "-"
 * stands for all that begin with it.  Proxy is nobody's, but receivers that
 * run as CGI take it for the proxy of their own requests (CVE-2016-5385).
 */
static const char *const owned_names[] = {
	"connection", "content-encoding", "content-length", "content-range",
	"content-type", "expect", "host", "http2-settings", "keep-alive", "te",
	"trailer", "transfer-encoding", "upgrade", "user-agent", "ce-", "proxy",
	"proxy-", "webhook-"
};

/* What is wrong with some headers. */
typedef struct Problem
{
	int			sqlstate;
	char	   *message;
	const char *hint;
} Problem;

/* May it stand in a name, besides letters and digits? */
static bool
is_name_mark(char c)
{
	return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool
is_token(const char *name, int len)
{
	for (int i = 0; i < len; i++)
	{
		char		c = name[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			  (c >= '0' && c <= '9') || is_name_mark(c)))
			return false;
	}
	return len > 0;
}

static char
folded(char c)
{
	return is_name_mark(c) ? '-' : pg_tolower((unsigned char) c);
}

/*
 * Do two names agree so far?  Upper and lower case are the same, and so are
 * all marks: many receivers have headers as variables (HTTP_X_API_KEY), where
 * what differs in these alone is one, and the last one counts.  Of _ most make
 * the same as of -, PHP of a dot too, lighttpd of any mark.
 */
bool
wo_headers_same_name(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (folded(a[i]) != folded(b[i]))
			return false;
		if (a[i] == '\0')
			break;
	}
	return true;
}

static bool
is_owned(const char *name, int len)
{
	for (int i = 0; i < lengthof(owned_names); i++)
	{
		int			owned_len = strlen(owned_names[i]);
		bool		is_family = owned_names[i][owned_len - 1] == '-';

		if ((is_family ? len > owned_len : len == owned_len) &&
			wo_headers_same_name(name, owned_names[i], owned_len))
			return true;
	}
	return false;
}

static bool
is_printable(const char *value, int len)
{
	for (int i = 0; i < len; i++)
	{
		if (value[i] != '\t' && (value[i] < 0x20 || value[i] > 0x7e))
			return false;
	}
	return true;
}

static char *
shown_name(const JsonbValue *name)
{
	return wo_text_shown(name->val.string.val, name->val.string.len,
						 MAX_NAME_LEN);
}

static bool
refuse(Problem *problem, int sqlstate, char *message, const char *hint)
{
	problem->sqlstate = sqlstate;
	problem->message = message;
	problem->hint = hint;
	return false;
}

/* Judges one header; fills problem and returns false when it is bad. */
static bool
judge_header(const JsonbValue *name, const JsonbValue *value,
			 Problem *problem)
{
	const char *text = name->val.string.val;
	int			len = name->val.string.len;

	if (!is_token(text, len))
		return refuse(problem, ERRCODE_INVALID_NAME,
					  psprintf("\"%s\" is not the name of a header",
							   shown_name(name)),
					  "Names are letters, digits and any of !#$%&'*+-.^_`|~, without spaces.");
	if (len > MAX_NAME_LEN)
		return refuse(problem, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
					  psprintf("name of header \"%s\" is too long",
							   shown_name(name)),
					  "At most 100 characters are allowed.");
	if (is_owned(text, len))
		return refuse(problem, ERRCODE_RESERVED_NAME,
					  psprintf("header \"%s\" is set by the sender",
							   shown_name(name)),
					  "Leave it out. Headers that describe the connection, the body or the signature cannot be set.");
	if (value->type != jbvString)
		return refuse(problem, ERRCODE_INVALID_PARAMETER_VALUE,
					  psprintf("value of header \"%s\" is not a string",
							   shown_name(name)),
					  "Headers are an object of strings, as in {\"X-Shop\": \"7\"}.");
	if (!is_printable(value->val.string.val, value->val.string.len))
		return refuse(problem, ERRCODE_INVALID_PARAMETER_VALUE,
					  psprintf("value of header \"%s\" has characters that a header may not have",
							   shown_name(name)),
					  "Values are printable ASCII on one line; encode anything else, for example with percent signs.");
	return true;
}

/*
 * Turn headers into lines.  A bad one is left out and described in problem;
 * the rest goes on.
 */
static char *
make_lines(Jsonb *headers, Problem *problem)
{
	StringInfoData lines;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	initStringInfo(&lines);
	if (!JB_ROOT_IS_OBJECT(headers))
	{
		refuse(problem, ERRCODE_INVALID_PARAMETER_VALUE,
			   pstrdup("headers are not a JSON object"),
			   "Headers are an object of strings, as in {\"X-Shop\": \"7\"}.");
		return lines.data;
	}
	iterator = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (!judge_header(&name, &value, problem))
			continue;
		appendBinaryStringInfo(&lines, name.val.string.val,
							   name.val.string.len);
		appendStringInfoString(&lines, ": ");
		appendBinaryStringInfo(&lines, value.val.string.val,
							   value.val.string.len);
		appendStringInfoChar(&lines, '\n');
	}
	if (lines.len > MAX_LINES_LEN)
		refuse(problem, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
			   psprintf("headers are %d bytes long", lines.len),
			   "At most 8192 bytes are allowed.");
	return lines.data;
}

/*
 * Return headers as "Name: value\n"..., palloc'd.  Raises an error when one
 * of them cannot be sent; is_event says in it whose they are.
 */
const char *
wo_headers_text(Jsonb *headers, bool is_event)
{
	Problem		problem = {0};
	char	   *lines = make_lines(headers, &problem);

	if (problem.message != NULL)
		ereport(ERROR,
				(errcode(problem.sqlstate),
				 errmsg("invalid headers of an %s: %s",
						is_event ? "event" : "endpoint", problem.message),
				 errhint("%s", problem.hint)));
	return lines;
}

/*
 * Return those of the headers that can be sent, palloc'd: for headers that
 * were stored, whose checks may have been by-passed.  Never raises an error,
 * as one bad row must not stop the delivery of others.
 */
const char *
wo_headers_valid_text(Jsonb *headers)
{
	Problem		problem = {0};

	return make_lines(headers, &problem);
}
