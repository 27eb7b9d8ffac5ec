/*-------------------------------------------------------------------------
 *
 * fuzz_request.c
 *	  Requests made of events whose texts publishers choose.
 *
 * Four bytes (format and flags, time of the event), then lines: type, tenant,
 * source, payload, and headers of endpoint and event, as jsonb.c reads them,
 * with an empty line in between.  Header lines are well-formed, those of the
 * sender occur once, and of a name both set the endpoint's alone; what the body
 * has besides the payload is ASCII of one JSON object, or JSON strings.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <time.h>

#include "headers.h"
#include "jsonb.h"
#include "lines.h"
#include "request.h"
#include "utils/timestamp.h"

#define EPOCH	(-(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define SECRET	"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static const char *const once[] = {
	"Content-Type", "User-Agent", "webhook-id", "webhook-timestamp",
	"webhook-signature"
};

/* Headers up to an empty line, checked as rows are when they are read. */
static const char *
take_headers(WoFuzzInput *input)
{
	const char *start = (const char *) input->at;
	const char *p = start;

	while (p < (const char *) input->end && *p != '\n')
	{
		while (p < (const char *) input->end && *p != '\n')
			p++;
		if (p < (const char *) input->end)
			p++;
	}
	input->at = (const uint8_t *) p;
	if (input->at < input->end)
		input->at++;
	return wo_headers_valid_text(wo_fuzz_jsonb(start, p - start));
}

/* Skips a JSON string and returns what follows; NULL when it is none. */
static const char *
skip_string(const char *p)
{
	if (*p++ != '"')
		return NULL;
	for (; *p != '"'; p++)
	{
		if ((unsigned char) *p < 0x20)
			return NULL;
		if (*p == '\\' && *++p == 'u' && strspn(p + 1, "0123456789abcdef") < 4)
			return NULL;
	}
	return p + 1;
}

/* The time as the C library has it; far ones are cut to years 0 to 9999. */
static void
check_time(const char *text, TimestampTz time)
{
	time_t		seconds;
	char		expected[64];
	struct tm	tm;

	wo_fuzz_require(strspn(text, "0123456789-T:.Z") == 27 && text[27] == '"');
	if (time < EPOCH || time == DT_NOEND)
		return;
	seconds = (time - EPOCH) / USECS_PER_SEC;
	if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year + 1900 > 9999)
		return;
	strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.", &tm);
	wo_fuzz_require(memcmp(text, expected, strlen(expected)) == 0);
}

/* Members of an object that are strings, up to "data". */
static const char *
skip_members(const char *p, TimestampTz created_at)
{
	wo_fuzz_require(*p == '{');
	do
	{
		const char *name = ++p;

		p = skip_string(p);
		wo_fuzz_require(p != NULL && *p == ':');
		if (strncmp(name, "\"data\"", 6) == 0)
			return p + 1;
		if (strncmp(name, "\"created_at\"", 12) == 0 ||
			strncmp(name, "\"time\"", 6) == 0 ||
			strncmp(name, "\"timestamp\"", 11) == 0)
			check_time(p + 2, created_at);
		p = skip_string(p + 1);
		wo_fuzz_require(p != NULL);
	} while (*p == ',');
	wo_fuzz_fail("the body has data", __FILE__, __LINE__);
}

static void
check_body(const char *body, size_t len, const WoEvent *event,
		   WoBodyFormat format)
{
	const char *payload = body;

	if (format != WO_FORMAT_RAW && format != WO_FORMAT_CLOUDEVENTS_BINARY)
	{
		payload = skip_members(body, event->created_at);
		wo_fuzz_require(body[--len] == '}');
	}
	wo_fuzz_require(body + len - payload == event->payload_len);
	wo_fuzz_require(memcmp(payload, event->payload, event->payload_len) == 0);
}

/* Each header of the event that the endpoint has too is the endpoint's. */
static void
check_precedence(const char *lines, const WoRequest *request)
{
	const char *line = request->event->headers;

	for (; *line; line = strchr(line, '\n') + 1)
	{
		char	   *name = pnstrdup(line, strcspn(line, ":"));
		int			n = wo_fuzz_count_header(request->target_headers, name);

		if (n > 0)
			wo_fuzz_require(wo_fuzz_count_header(lines, name) == n);
		else
			wo_fuzz_require(wo_fuzz_count_header(lines, name) ==
							wo_fuzz_count_header(request->event->headers,
												 name));
	}
}

static void
check_request(const WoRequest *request)
{
	StringInfoData lines;
	StringInfoData body;

	initStringInfo(&lines);
	initStringInfo(&body);
	wo_fuzz_require(wo_request_build(request, &lines, &body) == NULL);
	wo_fuzz_require(strlen(lines.data) == lines.len);
	wo_fuzz_check_lines(lines.data);
	for (int i = 0; i < lengthof(once); i++)
		wo_fuzz_require(wo_fuzz_count_header(lines.data, once[i]) == 1);
	wo_fuzz_require(strspn(strstr(lines.data, "\nwebhook-timestamp: ") + 20,
						   "0123456789") == 10);
	check_precedence(lines.data, request);
	check_body(body.data, body.len, request->event, request->format);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	uint32		flags = wo_fuzz_number(&input, 1);
	WoEvent		event = {0};
	WoRequest	request = {0};
	WoSigner	signer;
	WoKey		key = {SECRET, DT_NOEND};
	size_t		len;
	char	   *payload;

	/* any of about 18,000 years around 2000 */
	event.created_at = ((int64) wo_fuzz_number(&input, 3) - (1 << 23)) *
		(USECS_PER_HOUR * 10 + 1);
	if (flags & 0x40)
		event.created_at = flags & 0x80 ? DT_NOEND : DT_NOBEGIN;
	event.type = wo_fuzz_line(&input);
	event.tenant = wo_fuzz_line(&input);
	event.source = wo_fuzz_line(&input);
	payload = wo_fuzz_line(&input);
	len = strlen(payload);
	event.payload = memcpy(palloc(len), payload, len);
	event.payload_len = len;
	if (flags & 0x10)
		event.tenant = NULL;
	if (flags & 0x20)
		event.source = NULL;

	request.event = &event;
	request.format = (flags & 0x0f) % (WO_FORMAT_CLOUDEVENTS_BINARY + 1);
	request.target_headers = take_headers(&input);
	event.headers = take_headers(&input);
	request.signer = &signer;
	request.now = Min(event.created_at, DT_NOEND - 1);
	wo_fuzz_require(wo_signature_load(&signer, &key, 1) == NULL);
	check_request(&request);
	wo_signature_unload(&signer);
	wo_fuzz_reset();
	return 0;
}
