/*-------------------------------------------------------------------------
 *
 * fault.c
 *	  Points at which a test can make a process die.
 *
 * A test arms one point by a file in the data directory, which says
 *
 *		POINT:ACTION:TIMES:WORD
 *
 * The process that reaches the point for that many times (each process counts
 * for itself; the word tells one file from the next) removes the file and
 * acts.  So a point acts once, whoever else reaches it and however often the
 * server recovers, and the test sees by the file that it has.  A setting would
 * survive the crash that it causes, and cause the next.
 *
 * Actions: kill (SIGKILL), immediate (an immediate stop of the server, and
 * not one step further), flushed (the same after all that was committed has
 * been flushed: else what the process committed last is lost with it, for it
 * does not wait for the disk), exit (as if by FATAL), error (as if by ERROR),
 * stop (SIGSTOP; the test lets it go on).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fault.h"

#ifdef WO_FAULT_POINTS

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/guc.h"

#define FAULT_FILE		"webhook_outbox.fault"
#define MAX_ARMED		128

static bool has_points = true;

/* Tells the tests that there are points. */
void
wo_fault_define(void)
{
	DefineCustomBoolVariable("webhook_outbox.fault_points",
							 "Built with points at which a test can make a process die.",
							 NULL, &has_points, true, PGC_INTERNAL,
							 GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							 NULL, NULL, NULL);
}

/* Reads what is armed into text; false when nothing is. */
static bool
read_armed(char *text)
{
	int			fd = open(FAULT_FILE, O_RDONLY);
	ssize_t		len;

	if (fd < 0)
		return false;
	len = read(fd, text, MAX_ARMED - 1);
	close(fd);
	text[Max(len, 0)] = '\0';
	return len > 0;
}

/* Is this the time, and nobody else's? */
static bool
is_due(const char *armed, int times)
{
	static char counted[MAX_ARMED];
	static int	n_reached = 0;

	if (strcmp(counted, armed) != 0)
		n_reached = 0;
	strlcpy(counted, armed, MAX_ARMED);
	return ++n_reached >= times && unlink(FAULT_FILE) == 0;
}

/* Waits for the end that was asked for. */
static void
wait_for_death(void)
{
	for (;;)
		pg_usleep(10000);
}

static void
act(const char *point, const char *action)
{
	ereport(LOG,
			(errmsg("webhook_outbox reached fault point \"%s\": %s", point,
					action)));
	if (strcmp(action, "kill") == 0)
	{
		kill(MyProcPid, SIGKILL);
		wait_for_death();
	}
	else if (strcmp(action, "immediate") == 0 ||
			 strcmp(action, "flushed") == 0)
	{
		if (strcmp(action, "flushed") == 0)
			XLogFlush(GetXLogInsertRecPtr());
		kill(PostmasterPid, SIGQUIT);
		wait_for_death();
	}
	else if (strcmp(action, "stop") == 0)
		kill(MyProcPid, SIGSTOP);
	else
		ereport(strcmp(action, "exit") == 0 ? FATAL : ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("fault point \"%s\"", point)));
}

/* Acts if a test has armed this point, and it is time. */
void
wo_fault_reach(const char *point)
{
	char		armed[MAX_ARMED];
	char		name[32];
	char		action[16];
	int			times;

	if (!read_armed(armed) ||
		sscanf(armed, "%31[^:]:%15[^:]:%d", name, action, &times) != 3 ||
		strcmp(name, point) != 0 || !is_due(armed, times))
		return;
	act(point, action);
}

#endif							/* WO_FAULT_POINTS */
