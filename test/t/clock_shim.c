/*
 * clock_shim.c
 *	  For OwnClock.pm: clocks that a test can set.
 *
 * Preloaded, it adds the seconds that stand in the file $CLOCK_SHIM (twice
 * eight bytes, mapped, so that a change is seen at once) to every reading of
 * the time of day, and of the monotonic clock.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* of the time of day, and of the monotonic clock */
static const volatile int64_t *offset;

__attribute__((constructor))
static void
map_offset(void)
{
	const char *path = getenv("CLOCK_SHIM");
	int			fd = path ? open(path, O_RDONLY) : -1;
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		offset = map;
	close(fd);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			rc = syscall(SYS_clock_gettime, clock, now);

	if (rc == 0 && clock == CLOCK_REALTIME && offset)
		now->tv_sec += offset[0];
	/* of the two, libcurl takes the raw one from some version on */
	if (rc == 0 && offset &&
		(clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW))
		now->tv_sec += offset[1];
	return rc;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int			rc = clock_gettime(CLOCK_REALTIME, &precise);

	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return rc;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}
