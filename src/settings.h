/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings webhook_outbox.*, alphabetical.
 *
 * Layer 1.  Layers 0 and 2 do not read these: they get values as arguments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SETTINGS_H
#define WO_SETTINGS_H

#include "netguard.h"

extern bool wo_allow_http;
extern char *wo_allowed_networks;
extern int	wo_attempt_retention;	/* seconds */
extern char *wo_ca_file;		/* "": the system's bundle */
extern char *wo_databases;		/* comma-separated; "": all */
extern bool wo_enabled;
extern int	wo_event_retention; /* seconds */
extern bool wo_maintenance;
extern int	wo_max_databases;
extern int	wo_max_in_flight;	/* requests per database */
extern int	wo_max_payload;		/* kB */
extern int	wo_max_series;
extern int	wo_metrics_retention;	/* seconds; read by SQL alone */
extern int	wo_operation_retention; /* seconds */
extern int	wo_poll_interval;	/* ms */
extern char *wo_proxy;			/* "": none */
extern int	wo_response_excerpt;	/* bytes */
extern char *wo_instance_id;	/* as the claim has it: see claim.c */
extern char *wo_role;			/* "": the extension's owner */
extern char *wo_secret_key_file;	/* "": secrets are stored in plain */
extern int	wo_senders;
extern int	wo_window_events;
extern int	wo_window_size;		/* kB */

extern void wo_settings_define(void);
extern bool wo_settings_want_database(const char *name);
extern void wo_settings_netguard(WoNetguard *guard);

#endif							/* WO_SETTINGS_H */
