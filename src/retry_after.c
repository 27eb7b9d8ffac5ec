/*-------------------------------------------------------------------------
 *
 * retry_after.c
 *	  Reads the Retry-After header of a response (RFC 9110, 10.2.3).
 *
 * Layer 0.  libcurl's CURLINFO_RETRY_AFTER is not used: it cannot tell "0"
 * from no header, takes "12abc" for 12, and guesses at malformed dates.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "retry_after.h"

static const char *const month_names[] = {
	"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	"Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};

/* A date as read, before it is checked. */
typedef struct HttpDate
{
	int			year;
	int			month;			/* 1 to 12 */
	int			day;
	int			hour;
	int			minute;
	int			second;			/* 60 in a leap second */
} HttpDate;

static int
month_number(const char *name)
{
	for (int i = 0; i < 12; i++)
	{
		if (strcmp(month_names[i], name) == 0)
			return i + 1;
	}
	return 0;
}

/*
 * Days from 1970-01-01 to a date of the Gregorian calendar.
 */
static int64
days_since_1970(int year, int month, int day)
{
	static const int before_month[] = {
		0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334
	};
	int64		years = year - 1;
	int64		days = years * 365 + years / 4 - years / 100 + years / 400;
	bool		is_leap = (year % 4 == 0 && year % 100 != 0) ||
	year % 400 == 0;

	days += before_month[month - 1] + (is_leap && month > 2 ? 1 : 0);
	return days + day - 1 - INT64CONST(719162);
}

/*
 * Take a date in one of HTTP's three forms apart; false when it is none of
 * them.  %n at the end of each form makes sure that nothing follows.
 */
static bool
scan_date(const char *text, HttpDate *date)
{
	char		month[4];
	int			end = 0;
	bool		is_read = false;

	/* Sun, 06 Nov 1994 08:49:37 GMT */
	if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n",
			   &date->day, month, &date->year, &date->hour, &date->minute,
			   &date->second, &end) == 6 && end > 0)
		is_read = true;
	/* Sunday, 06-Nov-94 08:49:37 GMT */
	else if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n",
					&date->day, month, &date->year, &date->hour,
					&date->minute, &date->second, &end) == 6 && end > 0)
	{
		date->year += date->year < 70 ? 2000 : 1900;
		is_read = true;
	}
	/* Sun Nov  6 08:49:37 1994 */
	else if (sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n",
					month, &date->day, &date->hour, &date->minute,
					&date->second, &date->year, &end) == 6 && end > 0)
		is_read = true;

	if (!is_read || text[end] != '\0')
		return false;
	date->month = month_number(month);
	return true;
}

static bool
is_possible(const HttpDate *date)
{
	return date->year >= 1970 && date->month >= 1 &&
		date->day >= 1 && date->day <= 31 &&
		date->hour >= 0 && date->hour <= 23 &&
		date->minute >= 0 && date->minute <= 59 &&
		date->second >= 0 && date->second <= 60;
}

static int
clamp_seconds(int64 seconds)
{
	return (int) Max(0, Min(seconds, WO_RETRY_AFTER_MAX_S));
}

/*
 * Return how many seconds from now a receiver asks to wait, at most a day;
 * -1 when the value is malformed.  A date in the past means 0.  The value
 * comes without surrounding white space.
 */
int
wo_retry_after(const char *value, time_t now)
{
	HttpDate	date;
	int64		due;

	if (value[0] != '\0' && strspn(value, "0123456789") == strlen(value))
	{
		value += strspn(value, "0");
		/* over nine digits is more than a day whatever they are */
		if (strlen(value) > 9)
			return WO_RETRY_AFTER_MAX_S;
		return clamp_seconds(atoi(value));
	}

	if (!scan_date(value, &date) || !is_possible(&date))
		return -1;
	due = days_since_1970(date.year, date.month, date.day) * 86400 +
		date.hour * 3600 + date.minute * 60 + date.second;
	return clamp_seconds(due - (int64) now);
}
