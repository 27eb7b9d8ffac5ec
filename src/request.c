/*-------------------------------------------------------------------------
 *
 * request.c
 *	  Builds the headers and the body of one HTTP request.
 *
 * Layer 0, called by the sender for each attempt and by render_request(),
 * which thereby shows exactly what would be sent.
 *
 * The body depends on the event and the format alone, so its bytes are the
 * same on every attempt; what changes from one attempt to the next (time,
 * signature) is in the headers.  The payload is copied byte for byte.  This
 * runs once per attempt, hence no printf.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "headers.h"
#include "request.h"

#define DEFAULT_SOURCE		"/webhook_outbox"
#define UUID_TEXT_LEN		36
#define TIME_TEXT_LEN		27
#define UNIX_TEXT_LEN		10	/* digits, until the year 2286 */
#define MAX_UNIX			INT64CONST(9999999999)

/* From 0000-03-01 to the end of 9999, in days from 2000-01-01. */
#define MIN_TIME			(-730425 * USECS_PER_DAY)
#define MAX_TIME			(2921940 * USECS_PER_DAY - 1)

#define append_literal(out, text) \
	appendBinaryStringInfo(out, text, sizeof(text) - 1)

static const char hex_digits[] = "0123456789abcdef";
static const char upper_digits[] = "0123456789ABCDEF";

/* In the order of WoBodyFormat; they are stored in endpoint.body_format. */
static const char *const format_names[] = {
	"envelope",
	"standard",
	"raw",
	"cloudevents",
	"cloudevents_binary"
};

/*
 * Return the SQL name of a body format.
 */
const char *
wo_request_format_name(WoBodyFormat format)
{
	Assert(format >= 0 && format < lengthof(format_names));
	return format_names[format];
}

/*
 * Find a body format by its SQL name; false when there is none.
 */
bool
wo_request_format_by_name(const char *name, WoBodyFormat *format)
{
	for (int i = 0; i < lengthof(format_names); i++)
	{
		if (strcmp(name, format_names[i]) == 0)
		{
			*format = (WoBodyFormat) i;
			return true;
		}
	}
	return false;
}

static void
append_uuid(StringInfo out, const pg_uuid_t *id)
{
	char		text[UUID_TEXT_LEN];
	int			n = 0;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[n++] = '-';
		text[n++] = hex_digits[id->data[i] >> 4];
		text[n++] = hex_digits[id->data[i] & 0x0f];
	}
	appendBinaryStringInfo(out, text, UUID_TEXT_LEN);
}

/* Writes a number of n_digits digits, with leading zeros. */
static void
put_digits(char *to, int64 value, int n_digits)
{
	while (n_digits-- > 0)
	{
		to[n_digits] = '0' + value % 10;
		value /= 10;
	}
}

/*
 * Take a count of days since 2000-01-01 apart.  The year is counted from
 * March, so that the leap day is its last.
 */
static void
split_days(int64 days, int *year, int *month, int *day)
{
	int64		since_0000 = days + 730425; /* from 0000-03-01 */
	int64		era = since_0000 / 146097;	/* of 400 years */
	int			in_era = since_0000 % 146097;
	int			year_of_era = (in_era - in_era / 1460 + in_era / 36524 -
							   in_era / 146096) / 365;
	int			in_year = in_era - (365 * year_of_era + year_of_era / 4 -
									year_of_era / 100);
	int			from_march = (5 * in_year + 2) / 153;

	*day = in_year - (153 * from_march + 2) / 5 + 1;
	*month = from_march < 10 ? from_march + 3 : from_march - 9;
	*year = era * 400 + year_of_era + (*month <= 2 ? 1 : 0);
}

/*
 * Append a time as RFC 3339 in UTC, with all six digits of microseconds.
 * Events are stamped by the server's clock; a time that is none of RFC 3339's
 * (infinity, say), which only render_request() can meet, becomes the nearest.
 */
static void
append_time(StringInfo out, TimestampTz time)
{
	char		text[TIME_TEXT_LEN + 1] = "0000-00-00T00:00:00.000000Z";
	TimestampTz nearest = Max(MIN_TIME, Min(time, MAX_TIME));
	int64		days = nearest / USECS_PER_DAY;
	int64		usecs = nearest % USECS_PER_DAY;
	int			year;
	int			month;
	int			day;

	if (usecs < 0)
	{
		usecs += USECS_PER_DAY;
		days--;
	}
	split_days(days, &year, &month, &day);
	put_digits(text, year, 4);
	put_digits(text + 5, month, 2);
	put_digits(text + 8, day, 2);
	put_digits(text + 11, usecs / USECS_PER_HOUR, 2);
	put_digits(text + 14, usecs / USECS_PER_MINUTE % 60, 2);
	put_digits(text + 17, usecs / USECS_PER_SEC % 60, 2);
	put_digits(text + 20, usecs % USECS_PER_SEC, 6);
	appendBinaryStringInfo(out, text, TIME_TEXT_LEN);
}

/* Likewise, what has not UNIX_TEXT_LEN digits becomes the nearest that has. */
static int64
unix_seconds(TimestampTz time)
{
	int64		seconds = time / USECS_PER_SEC +
	(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

	return Max(0, Min(seconds, MAX_UNIX));
}

/* Appends a JSON string, quotes included, from UTF-8 text. */
static void
append_json_string(StringInfo out, const char *text)
{
	appendStringInfoCharMacro(out, '"');
	for (const char *p = text; *p; p++)
	{
		unsigned char c = *p;

		if (c == '"' || c == '\\')
			appendStringInfoCharMacro(out, '\\');
		if (c >= 0x20)
			appendStringInfoCharMacro(out, c);
		else
		{
			appendBinaryStringInfo(out, "\\u00", 4);
			appendStringInfoCharMacro(out, hex_digits[c >> 4]);
			appendStringInfoCharMacro(out, hex_digits[c & 0x0f]);
		}
	}
	appendStringInfoCharMacro(out, '"');
}

static void
append_percent(StringInfo out, unsigned char c)
{
	appendStringInfoCharMacro(out, '%');
	appendStringInfoCharMacro(out, upper_digits[c >> 4]);
	appendStringInfoCharMacro(out, upper_digits[c & 0x0f]);
}

/*
 * Append the event's source as CloudEvents want it: never empty, and a URI
 * reference, so that whatever may not stand in one is percent-encoded.  In a
 * header the percent signs of that are encoded once more, as the binding
 * says; what is left of the text needs no escaping in JSON either.
 */
static void
append_source(StringInfo out, const WoEvent *event, bool is_header)
{
	if (event->source == NULL || event->source[0] == '\0')
	{
		append_literal(out, DEFAULT_SOURCE);
		return;
	}
	for (const char *p = event->source; *p; p++)
	{
		unsigned char c = *p;
		bool		is_plain = c > 0x20 && c < 0x7f &&
		strchr("\"%<>\\^`{|}", c) == NULL;
		bool		is_escape = c == '%' && isxdigit((unsigned char) p[1]) &&
		isxdigit((unsigned char) p[2]);

		if (is_plain || (is_escape && !is_header))
		{
			appendStringInfoCharMacro(out, c);
			continue;
		}
		append_percent(out, is_header ? '%' : c);
		if (is_header && !is_escape)
		{
			appendStringInfoCharMacro(out, upper_digits[c >> 4]);
			appendStringInfoCharMacro(out, upper_digits[c & 0x0f]);
		}
	}
}

/* A CloudEvents attribute as a header (HTTP binding 1.0.2, 3.1.3.2). */
static void
append_attribute(StringInfo lines, const char *name, const char *value)
{
	appendStringInfoString(lines, name);
	appendBinaryStringInfo(lines, ": ", 2);
	for (const char *p = value; *p; p++)
	{
		unsigned char c = *p;

		if (c > 0x20 && c < 0x7f && c != '"' && c != '%')
			appendStringInfoCharMacro(lines, c);
		else
			append_percent(lines, c);
	}
	appendStringInfoCharMacro(lines, '\n');
}

static void
append_payload(StringInfo body, const WoEvent *event)
{
	appendBinaryStringInfo(body, event->payload, event->payload_len);
}

static void
build_envelope(StringInfo body, const WoEvent *event)
{
	append_literal(body, "{\"event_id\":\"");
	append_uuid(body, &event->id);
	append_literal(body, "\",\"event_type\":");
	append_json_string(body, event->type);
	append_literal(body, ",\"created_at\":\"");
	append_time(body, event->created_at);
	append_literal(body, "\",\"data\":");
	append_payload(body, event);
	appendStringInfoCharMacro(body, '}');
}

static void
build_standard(StringInfo body, const WoEvent *event)
{
	append_literal(body, "{\"type\":");
	append_json_string(body, event->type);
	append_literal(body, ",\"timestamp\":\"");
	append_time(body, event->created_at);
	append_literal(body, "\",\"data\":");
	append_payload(body, event);
	appendStringInfoCharMacro(body, '}');
}

static void
build_cloudevent(StringInfo body, const WoEvent *event)
{
	append_literal(body, "{\"specversion\":\"1.0\",\"id\":\"");
	append_uuid(body, &event->id);
	append_literal(body, "\",\"source\":\"");
	append_source(body, event, false);
	append_literal(body, "\",\"type\":");
	append_json_string(body, event->type);
	append_literal(body, ",\"time\":\"");
	append_time(body, event->created_at);
	append_literal(body, "\",\"datacontenttype\":\"application/json\"");
	if (event->tenant != NULL && event->tenant[0] != '\0')
	{
		append_literal(body, ",\"tenant\":");
		append_json_string(body, event->tenant);
	}
	append_literal(body, ",\"data\":");
	append_payload(body, event);
	appendStringInfoCharMacro(body, '}');
}

static void
build_body(StringInfo body, const WoEvent *event, WoBodyFormat format)
{
	/* one allocation for a large payload instead of doubling up to it */
	enlargeStringInfo(body, event->payload_len + 512);
	switch (format)
	{
		case WO_FORMAT_ENVELOPE:
			build_envelope(body, event);
			break;
		case WO_FORMAT_STANDARD:
			build_standard(body, event);
			break;
		case WO_FORMAT_RAW:
		case WO_FORMAT_CLOUDEVENTS_BINARY:
			append_payload(body, event);
			break;
		case WO_FORMAT_CLOUDEVENTS:
			build_cloudevent(body, event);
			break;
	}
}

static void
build_cloudevents_headers(StringInfo lines, const WoEvent *event)
{
	append_literal(lines, "ce-specversion: 1.0\nce-id: ");
	append_uuid(lines, &event->id);
	append_literal(lines, "\nce-source: ");
	append_source(lines, event, true);
	appendStringInfoCharMacro(lines, '\n');
	append_attribute(lines, "ce-type", event->type);
	append_literal(lines, "ce-time: ");
	append_time(lines, event->created_at);
	appendStringInfoCharMacro(lines, '\n');
	if (event->tenant != NULL && event->tenant[0] != '\0')
		append_attribute(lines, "ce-tenant", event->tenant);
}

/* Appends webhook-id, webhook-timestamp and webhook-signature. */
static const char *
build_signature(StringInfo lines, const WoRequest *request,
				const StringInfoData *body)
{
	/* what is signed before the body: "{id}.{timestamp}." */
	char		prefix[UUID_TEXT_LEN + UNIX_TEXT_LEN + 3];
	char	   *time_text = prefix + UUID_TEXT_LEN + 1;
	const char *problem;

	append_literal(lines, "webhook-id: ");
	append_uuid(lines, &request->event->id);
	memcpy(prefix, lines->data + lines->len - UUID_TEXT_LEN, UUID_TEXT_LEN);
	prefix[UUID_TEXT_LEN] = '.';
	put_digits(time_text, unix_seconds(request->now), UNIX_TEXT_LEN);
	memcpy(time_text + UNIX_TEXT_LEN, ".", 2);	/* and the NUL */

	append_literal(lines, "\nwebhook-timestamp: ");
	appendBinaryStringInfo(lines, time_text, UNIX_TEXT_LEN);
	append_literal(lines, "\nwebhook-signature: ");
	problem = wo_signature_sign(request->signer, prefix, body, request->now,
								lines);
	appendStringInfoCharMacro(lines, '\n');
	return problem;
}

/* Is there a line for the header that line names? */
static bool
has_header(const char *lines, const char *line)
{
	size_t		name_len = strcspn(line, ":") + 1;

	while (*lines)
	{
		if (wo_headers_same_name(lines, line, name_len))
			return true;
		lines += strcspn(lines, "\n");
		if (*lines)
			lines++;
	}
	return false;
}

/*
 * Append the endpoint's headers and the event's own; where both name the same,
 * the endpoint's counts: whoever may publish must not replace credentials.
 */
static void
append_user_headers(StringInfo lines, const WoRequest *request)
{
	const char *of_target = request->target_headers;
	const char *line = request->event->headers;

	appendStringInfoString(lines, of_target);
	while (*line)
	{
		size_t		len = strcspn(line, "\n");

		if (line[len])
			len++;
		if (!has_header(of_target, line))
			appendBinaryStringInfo(lines, line, len);
		line += len;
	}
}

/*
 * Write the header lines ("Name: value\n"...) and the body of a request into
 * two empty strings.  Returns NULL, or why the request cannot be made.
 */
const char *
wo_request_build(const WoRequest *request, StringInfo headers,
				 StringInfo body)
{
	const char *problem;

	build_body(body, request->event, request->format);
	if (request->format == WO_FORMAT_CLOUDEVENTS)
		append_literal(headers,
					   "Content-Type: application/cloudevents+json\n");
	else
		append_literal(headers, "Content-Type: application/json\n");
	append_literal(headers, "User-Agent: webhook_outbox/" WO_VERSION "\n");
	problem = build_signature(headers, request, body);
	if (problem != NULL)
		return problem;
	if (request->format == WO_FORMAT_CLOUDEVENTS_BINARY)
		build_cloudevents_headers(headers, request->event);
	append_user_headers(headers, request);
	return NULL;
}
