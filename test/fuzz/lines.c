/*-------------------------------------------------------------------------
 *
 * lines.c
 *	  What holds of every list of request headers.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <ctype.h>

#include "lines.h"

/* Each line is a token, ": ", printable ASCII or tabs, and a line feed. */
void
wo_fuzz_check_lines(const char *lines)
{
	while (*lines)
	{
		const char *p = lines;

		while (isalnum((unsigned char) *p) ||
			   (*p != '\0' && strchr("!#$%&'*+-.^_`|~", *p) != NULL))
			p++;
		wo_fuzz_require(p > lines && p[0] == ':' && p[1] == ' ');
		for (p += 2; *p != '\n'; p++)
			wo_fuzz_require((*p >= 0x20 && *p < 0x7f) || *p == '\t');
		lines = p + 1;
	}
}

/* How many lines have this name? */
int
wo_fuzz_count_header(const char *lines, const char *name)
{
	size_t		len = strlen(name);
	int			n = 0;

	while (*lines)
	{
		n += pg_strncasecmp(lines, name, len) == 0 && lines[len] == ':';
		lines = strchr(lines, '\n') + 1;
	}
	return n;
}
