/*-------------------------------------------------------------------------
 *
 * fuzz_pattern.c
 *	  Event types, patterns of them, and which pattern matches which type.
 *
 * First line: a pattern; second: a type.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "check.h"

/* Goes word by word, unlike wo_pattern_matches. */
static bool
matches_by_words(const char *pattern, const char *type)
{
	if (strcmp(pattern, "*") == 0)
		return strncmp(type, WO_RESERVED_PREFIX,
					   strlen(WO_RESERVED_PREFIX)) != 0;
	for (;;)
	{
		size_t		n = strcspn(pattern, ".");

		if (strcmp(pattern, "*") == 0)
			return true;
		if (strcspn(type, ".") != n || memcmp(pattern, type, n) != 0)
			return false;
		if (pattern[n] == '\0' || type[n] == '\0')
			return pattern[n] == type[n];
		pattern += n + 1;
		type += n + 1;
	}
}

static void
check_judgement(const char *problem, const char *hint)
{
	if (problem == NULL)
		return;
	wo_fuzz_require(hint != NULL && hint[strlen(hint) - 1] == '.');
	wo_fuzz_require(problem[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	char	   *pattern = wo_fuzz_line(&input);
	char	   *type = wo_fuzz_line(&input);
	const char *hint = NULL;
	const char *pattern_problem = wo_check_type_pattern(pattern, &hint);
	const char *type_problem;
	bool		is_match;

	check_judgement(pattern_problem, hint);
	hint = NULL;
	type_problem = wo_check_event_type(type, &hint);
	check_judgement(type_problem, hint);

	/* rows may hold what was not checked: neither may trip */
	is_match = wo_pattern_matches(pattern, type);
	if (pattern_problem == NULL && type_problem == NULL)
		wo_fuzz_require(is_match == matches_by_words(pattern, type));
	wo_fuzz_reset();
	return 0;
}
