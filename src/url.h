/*-------------------------------------------------------------------------
 *
 * url.h
 *	  URLs of endpoints, by libcurl's rules.
 *
 * Layer 2.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_URL_H
#define WO_URL_H

#include "netguard.h"

#define WO_MAX_URL_LEN		2048	/* bytes */

extern const char *wo_url_check(const char *url, const char **hint);
extern WoNetVerdict wo_url_judge(const WoNetguard *guard, const char *url,
								 bool is_proxied);
extern char *wo_url_shown(const char *url);
extern char *wo_url_host(const char *url);
extern bool wo_url_has_name(const char *url);

#endif							/* WO_URL_H */
