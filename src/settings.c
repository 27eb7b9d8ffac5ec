/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Defines the settings webhook_outbox.*, alphabetical.
 *
 * Called once from _PG_init.  Everything but max_databases obeys a reload.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "check.h"
#include "fault.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "registry.h"
#include "settings.h"
#include "utils/guc.h"
#include "utils/varlena.h"


/* A ring turns six times in its retention, and looks once a second. */
#define MIN_RETENTION		6

/* Hours are kept so long anyway. */
#define MIN_METRICS			(35 * SECS_PER_DAY)

bool		wo_allow_http = false;
char	   *wo_allowed_networks;
int			wo_attempt_retention = 30 * SECS_PER_DAY;
char	   *wo_ca_file;
char	   *wo_databases;
bool		wo_enabled = true;
int			wo_event_retention = 7 * SECS_PER_DAY;
bool		wo_maintenance = true;
int			wo_max_databases = 16;
int			wo_max_in_flight = 1024;
int			wo_max_payload = 256;
int			wo_max_series = 10000;
int			wo_metrics_retention = 400 * SECS_PER_DAY;
int			wo_operation_retention = 7 * SECS_PER_DAY;
int			wo_poll_interval = 1000;
char	   *wo_proxy;
int			wo_response_excerpt = 4096;
char	   *wo_instance_id;
char	   *wo_role;
char	   *wo_secret_key_file;
int			wo_senders = 1;
int			wo_window_events = 10000;
int			wo_window_size = 32 * 1024;

/* Refuses a list that is not comma-separated names. */
static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;

	if (SplitIdentifierString(copy, ',', &names))
		return true;
	GUC_check_errdetail("\"%s\" is not a list of database names.", *newval);
	return false;
}

/* Does webhook_outbox.databases allow this one? */
bool
wo_settings_want_database(const char *name)
{
	char	   *copy = pstrdup(wo_databases);
	List	   *names = NIL;
	ListCell   *cell;

	if (wo_databases[0] == '\0')
		return true;
	if (!SplitIdentifierString(copy, ',', &names))
		return false;
	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

/* Refuses a list that is not comma-separated networks. */
static bool
check_networks(char **newval, void **extra, GucSource source)
{
	WoNetguard	guard;
	char		element[WO_NETWORK_LEN];
	const char *problem = wo_netguard_parse(&guard, *newval, element);

	if (problem == NULL)
		return true;
	GUC_check_errdetail("Of \"%s\": %s.", element, problem);
	GUC_check_errhint("%s", WO_NETWORKS_HINT);
	return false;
}

/* Refuses what is no proxy.  What it is stays out of the log: see check.c. */
static bool
check_proxy(char **newval, void **extra, GucSource source)
{
	const char *hint = NULL;
	const char *problem = wo_check_proxy(*newval, &hint);

	if (problem == NULL)
		return true;
	GUC_check_errmsg("invalid value for parameter \"webhook_outbox.proxy\": %s",
					 problem);
	GUC_check_errhint("%s", hint);
	return false;
}

/* Fills in what the settings permit to be dialled. */
void
wo_settings_netguard(WoNetguard *guard)
{
	char		element[WO_NETWORK_LEN];

	memset(guard, 0, sizeof(WoNetguard));
	guard->allow_http = wo_allow_http;
	guard->own_port = PostPortNumber;
	/* what check_networks has accepted */
	(void) wo_netguard_parse(guard, wo_allowed_networks, element);
}

static void
define_int(const char *name, const char *what, const char *more, int *var,
		   int min, int max, int flags)
{
	DefineCustomIntVariable(name, what, more, var, *var, min, max, PGC_SIGHUP,
							flags, NULL, NULL, NULL);
}

static void
define_windows(void)
{
	define_int("webhook_outbox.poll_interval",
			   "How often to look for events that nobody announced.",
			   "Commits announce their events; this catches COMMIT PREPARED.",
			   &wo_poll_interval, 100, 60000, GUC_UNIT_MS);
	define_int("webhook_outbox.response_excerpt",
			   "How much of a response's body is kept with the attempt.",
			   NULL, &wo_response_excerpt, 0, 65536, GUC_UNIT_BYTE);
	DefineCustomStringVariable("webhook_outbox.role",
							   "Role the dispatcher works as.",
							   "Empty: the owner of the extension.",
							   &wo_role, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("webhook_outbox.instance_id",
							   "Name of this server, to tell a clone of the cluster by.",
							   "A server with another one than delivery was claimed with does not deliver before resume_delivery() is called.",
							   &wo_instance_id, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("webhook_outbox.secret_key_file",
							   "File of the keys that secrets are encrypted with.",
							   "Empty: secrets are stored as they are.",
							   &wo_secret_key_file, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	define_int("webhook_outbox.senders",
			   "Sender processes per database.",
			   "Each takes one of max_worker_processes.",
			   &wo_senders, 1, WO_MAX_SENDERS, 0);
	define_int("webhook_outbox.window_events",
			   "Events the dispatcher holds in memory at once.",
			   NULL, &wo_window_events, 100, 1000000, 0);
	define_int("webhook_outbox.window_size",
			   "Memory for the events that the dispatcher holds.",
			   "What comes back from the backlog may take up to twice as much besides.",
			   &wo_window_size, 1024, MAX_KILOBYTES, GUC_UNIT_KB);
}

static void
define_retention(void)
{
	define_int("webhook_outbox.attempt_retention",
			   "How long attempts are kept.",
			   "Whole leaves of the ring are emptied, so it may be up to a sixth longer.",
			   &wo_attempt_retention, MIN_RETENTION, INT_MAX / 2, GUC_UNIT_S);
	define_int("webhook_outbox.event_retention",
			   "How long events are kept once they are settled.",
			   "Events that a delivery or dead letter needs are kept longer.",
			   &wo_event_retention, MIN_RETENTION, INT_MAX / 2, GUC_UNIT_S);
	define_int("webhook_outbox.metrics_retention",
			   "How long the counts and percentiles of each day, alerts, incidents and what operators did are kept.",
			   "Counts of hours are kept for 35 days, those of minutes for 26 hours.",
			   &wo_metrics_retention, MIN_METRICS, INT_MAX / 2, GUC_UNIT_S);
	define_int("webhook_outbox.operation_retention",
			   "How long operation_ids are remembered.",
			   "Where an endpoint has a retry_schedule that takes longer, as long as that.",
			   &wo_operation_retention, 1, INT_MAX / 2, GUC_UNIT_S);
}

static void
define_addresses(void)
{
	DefineCustomBoolVariable("webhook_outbox.allow_http",
							 "Let endpoints have http URLs.",
							 "Off: https only, but for networks in webhook_outbox.allowed_networks.",
							 &wo_allow_http, false, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("webhook_outbox.allowed_networks",
							   "Networks that are not public and may be sent to, by commas.",
							   "Empty: public addresses only.",
							   &wo_allowed_networks, "", PGC_SIGHUP,
							   GUC_LIST_INPUT, check_networks, NULL, NULL);
	DefineCustomStringVariable("webhook_outbox.proxy",
							   "Proxy that requests go through.",
							   "Empty: none. See also endpoint.proxy.",
							   &wo_proxy, "", PGC_SIGHUP, 0,
							   check_proxy, NULL, NULL);
}

/* Defines them all.  Called from _PG_init, whether preloaded or not. */
void
wo_settings_define(void)
{
	define_addresses();
	define_retention();
	DefineCustomStringVariable("webhook_outbox.ca_file",
							   "File of CA certificates that receivers are verified with.",
							   "Empty: the bundle of the operating system.",
							   &wo_ca_file, "", PGC_SIGHUP, 0,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("webhook_outbox.databases",
							   "Databases to deliver from, by commas.",
							   "Empty: every database that has the extension.",
							   &wo_databases, "", PGC_SIGHUP, 0,
							   check_databases, NULL, NULL);
	DefineCustomBoolVariable("webhook_outbox.enabled",
							 "Deliver events.",
							 "Off: events are stored and wait; nothing is lost.",
							 &wo_enabled, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("webhook_outbox.maintenance",
							 "Run maintain() by itself.",
							 "Off: somebody else has to call it once a minute, as pg_cron can.",
							 &wo_maintenance, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	/* A setting of the postmaster cannot be defined later than this. */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("webhook_outbox.max_databases",
								"Databases of this server that webhook_outbox has room for.",
								"Every database that webhook_outbox.databases lets it look at counts.",
								&wo_max_databases, wo_max_databases, 1, 1024,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	define_int("webhook_outbox.max_in_flight",
			   "Requests under way at once, per database.",
			   "Each takes a socket of a sender; see also endpoint.max_in_flight.",
			   &wo_max_in_flight, 1, 65536, 0);
	define_int("webhook_outbox.max_payload",
			   "Largest payload of an event that is accepted.",
			   NULL, &wo_max_payload, 1, 64 * 1024, GUC_UNIT_KB);
	define_int("webhook_outbox.max_series",
			   "Combinations of endpoint, type, tenant and source with metrics of their own.",
			   "Others go to one series of each endpoint, \"(other)\".",
			   &wo_max_series, 0, 1000000, 0);
	define_windows();
	WO_FAULT_DEFINE();
	MarkGUCPrefixReserved("webhook_outbox");
}
