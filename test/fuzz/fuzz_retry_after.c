/*-------------------------------------------------------------------------
 *
 * fuzz_retry_after.c
 *	  Values of Retry-After headers.
 *
 * The answer is a number of seconds in range or -1, and for a date what
 * strptime() and timegm() make of it, where they take it.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <time.h>

#include "retry_after.h"

#define NOW		INT64CONST(1750000000)

/* What a date in one of HTTP's forms means; false when it is none. */
static bool
expected(const char *value, int64 *seconds)
{
	static const char *const forms[] = {
		"%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"
	};

	for (int i = 0; i < lengthof(forms); i++)
	{
		struct tm	tm = {0};
		const char *end = strptime(value, forms[i], &tm);

		if (end != NULL && *end == '\0')
		{
			*seconds = (int64) timegm(&tm) - NOW;
			return true;
		}
	}
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	char	   *value = wo_fuzz_line(&input);
	int			seconds = wo_retry_after(value, NOW);
	int64		due;

	wo_fuzz_require(seconds >= -1 && seconds <= WO_RETRY_AFTER_MAX_S);
	if (value[0] != '\0' && strspn(value, "0123456789") == strlen(value))
		wo_fuzz_require(seconds == Min(strtod(value, NULL),
									   WO_RETRY_AFTER_MAX_S));
	else if (seconds >= 0 && expected(value, &due))
		wo_fuzz_require(seconds == Max(0, Min(due, WO_RETRY_AFTER_MAX_S)));
	wo_fuzz_reset();
	return 0;
}
