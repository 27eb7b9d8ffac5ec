/*-------------------------------------------------------------------------
 *
 * timeline.c
 *	  Whether this server was recovered to a chosen point in time.
 *
 * A standby that is promoted and a server that is recovered to a point in time
 * look alike: the same system identifier, a new timeline.  The first one goes
 * on where its primary ended; the second one has forgotten what was delivered
 * after the point, and what it has forgotten may still run elsewhere.  What
 * tells them apart for good is why the timeline began.  The server writes that
 * into the timeline's history file, a line for each earlier timeline:
 *
 *	1	0/3000158	before 2026-11-22 23:20:01.482914+00
 *	2	0/5000000	no recovery target specified
 *
 * It says "no recovery target specified" of a promoted standby, and of a
 * server that replayed all the WAL it could get.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "storage/fd.h"
#include "timeline.h"

#define NO_TARGET	"no recovery target specified"

/* The timeline that is written, or on a standby the one that is replayed. */
static TimeLineID
current_timeline(void)
{
	TimeLineID	timeline;

	if (!RecoveryInProgress())
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&timeline);
	return timeline;
}

/* The last timeline in the file that began at a chosen point; 0: none did. */
static TimeLineID
read_history(FILE *file, TimeLineID last)
{
	char		line[MAXPGPATH];
	bool		has_ended = false;	/* at a chosen point, the one before */
	TimeLineID	found = 0;

	while (fgets(line, sizeof(line), file) != NULL)
	{
		TimeLineID	timeline;
		uint32		hi;
		uint32		lo;
		int			reason = 0;

		/* comments, and the empty line that ends some reasons */
		if (sscanf(line, "%u\t%X/%X\t%n", &timeline, &hi, &lo, &reason) < 3 ||
			reason == 0)
			continue;
		if (has_ended)
			found = timeline;
		has_ended = strncmp(line + reason, NO_TARGET, strlen(NO_TARGET)) != 0;
	}
	return has_ended ? last : found;
}

/*
 * The last timeline, of those that lead to the present one, that began with a
 * recovery to a chosen point (recovery_target_time and the like); 0 if none
 * did, as far as this server has the file that tells.
 */
int64
wo_timeline_recovered(void)
{
	TimeLineID	timeline = current_timeline();
	TimeLineID	recovered = 0;
	char		path[MAXPGPATH];
	FILE	   *file;

	TLHistoryFilePath(path, timeline);
	file = AllocateFile(path, "r");
	if (file != NULL)
	{
		recovered = read_history(file, timeline);
		FreeFile(file);
	}
	else if (errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	return (int64) recovered;
}
