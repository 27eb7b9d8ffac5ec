/*-------------------------------------------------------------------------
 *
 * fuzz_headers.c
 *	  Headers that users set.
 *
 * The input is "name:value\n"..., see jsonb.c.  Lines are well-formed, never
 * name what is the sender's to set, and an error never holds a value.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "headers.h"
#include "jsonb.h"
#include "lines.h"
#include "mb/pg_wchar.h"

#define MAX_LINES_LEN	8192
#define MAX_SHOWN		240

static const char *const owned[] = {
	"Connection", "Content-Length", "Content-Type", "Expect", "Host",
	"Transfer-Encoding", "Upgrade", "User-Agent", "webhook-id",
	"Webhook-Signature", "ce-id", "Proxy-Authorization", "TE", "Trailer"
};

typedef struct Call
{
	Jsonb	   *headers;
	const char *lines;
} Call;

static void
get_text(void *arg)
{
	Call	   *call = arg;

	call->lines = wo_headers_text(call->headers, true);
}

static void
get_valid_text(void *arg)
{
	Call	   *call = arg;

	call->lines = wo_headers_valid_text(call->headers);
}

static void
check_sendable(const char *lines)
{
	wo_fuzz_check_lines(lines);
	for (int i = 0; i < lengthof(owned); i++)
		wo_fuzz_require(wo_fuzz_count_header(lines, owned[i]) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Call		call;
	const char *lines = NULL;

	call.headers = wo_fuzz_jsonb((const char *) data, size);
	if (wo_fuzz_raises(get_text, &call))
	{
		/* the server's strings are valid in its encoding */
		if (pg_encoding_verifymbstr(PG_UTF8, (const char *) data, size) ==
			(int) size)
			wo_fuzz_require(wo_fuzz_is_shown(wo_fuzz_error_message(),
											 MAX_SHOWN));
		wo_fuzz_require(wo_fuzz_error_hint()[0] != '\0');
	}
	else
	{
		lines = call.lines;
		check_sendable(lines);
		wo_fuzz_require(strlen(lines) <= MAX_LINES_LEN);
	}

	wo_fuzz_require(!wo_fuzz_raises(get_valid_text, &call));
	check_sendable(call.lines);
	wo_fuzz_require(lines == NULL || strcmp(lines, call.lines) == 0);
	wo_fuzz_reset();
	return 0;
}
