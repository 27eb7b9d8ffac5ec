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

/* Are these one variable for a receiver?  All marks in a name are alike. */
static bool
is_same_char(char a, char b)
{
	if (isalnum((unsigned char) a) && isalnum((unsigned char) b))
		return tolower((unsigned char) a) == tolower((unsigned char) b);
	return !isalnum((unsigned char) a) && !isalnum((unsigned char) b);
}

/* How many lines have this name? */
int
wo_fuzz_count_header(const char *lines, const char *name)
{
	size_t		len = strlen(name);
	int			n = 0;

	while (*lines)
	{
		bool		is_same = strcspn(lines, ":") == len;

		for (size_t i = 0; is_same && i < len; i++)
			is_same = is_same_char(lines[i], name[i]);
		n += is_same;
		lines = strchr(lines, '\n') + 1;
	}
	return n;
}
