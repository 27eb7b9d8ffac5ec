/*-------------------------------------------------------------------------
 *
 * address_sql.c
 *	  The SQL functions about addresses that may be dialled, and proxies.
 *
 * Layer 5.  The judging itself is netguard.c's, and url.c's for hosts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netinet/in.h>

#include "check.h"
#include "compat.h"
#include "fmgr.h"
#include "netguard.h"
#include "settings.h"
#include "url.h"
#include "utils/builtins.h"
#include "utils/inet.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_blocked_hint);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_check_proxy);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_check_url);
PGDLLEXPORT PG_FUNCTION_INFO_V1(wo_sql_judge_address);

/* Fails because of where a URL leads. */
static void
refuse(const char *url, WoNetVerdict verdict)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("URL \"%s\" is not permitted: %s", wo_url_shown(url),
					wo_netguard_reason(verdict)),
			 errhint("%s", wo_netguard_hint(verdict))));
}

/*
 * check_url(url text) returns void
 */
Datum
wo_sql_check_url(PG_FUNCTION_ARGS)
{
	char	   *url = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *hint = NULL;
	const char *problem = wo_url_check(url, &hint);
	WoNetguard	guard;
	WoNetVerdict verdict;

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid URL \"%s\": %s", wo_url_shown(url),
						problem),
				 errhint("%s", hint)));
	wo_settings_netguard(&guard);
	verdict = wo_url_judge(&guard, url, false);
	if (verdict != WO_NET_PERMITTED)
		refuse(url, verdict);
	PG_RETURN_VOID();
}

/*
 * check_proxy(proxy text) returns void
 *
 * Plain http to the proxy itself is fine: what goes through it to an https
 * receiver is not plain.
 */
Datum
wo_sql_check_proxy(PG_FUNCTION_ARGS)
{
	char	   *proxy = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *hint = NULL;
	const char *problem = wo_check_proxy(proxy, &hint);
	WoNetguard	guard;
	WoNetVerdict verdict = WO_NET_PERMITTED;

	/* it is not shown: it may be somebody's password */
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid proxy: %s", problem),
				 errhint("%s", hint)));
	wo_settings_netguard(&guard);
	guard.allow_http = true;
	if (proxy[0] != '\0')
		verdict = wo_url_judge(&guard, proxy, false);
	if (verdict != WO_NET_PERMITTED)
		refuse(proxy, verdict);
	PG_RETURN_VOID();
}

/* Reads the address of an inet; its mask does not matter. */
static socklen_t
read_inet(const inet *address, int port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) out;

	memset(out, 0, sizeof(struct sockaddr_storage));
	if (ip_family(address) == PGSQL_AF_INET)
	{
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip_addr(address), 4);
		return sizeof(struct sockaddr_in);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, ip_addr(address), 16);
	return sizeof(struct sockaddr_in6);
}

/* Replaces the list of the settings by another one. */
static void
read_networks(WoNetguard *guard, const char *list)
{
	char		element[WO_NETWORK_LEN];
	const char *problem = wo_netguard_parse(guard, list, element);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid network \"%s\": %s", element, problem),
				 errhint("%s", WO_NETWORKS_HINT)));
}

/*
 * judge_address(address inet, port integer, https boolean,
 *	 allowed_networks text, allow_http boolean) returns text
 *
 * A setting that is NULL is as it is.
 */
Datum
wo_sql_judge_address(PG_FUNCTION_ARGS)
{
	struct sockaddr_storage address;
	socklen_t	length;
	WoNetguard	guard;
	bool		is_http;
	const char *reason;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	if (PG_GETARG_INT32(1) < 1 || PG_GETARG_INT32(1) > 65535)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("port %d is out of range", PG_GETARG_INT32(1)),
				 errhint("A port is 1 to 65535.")));
	wo_settings_netguard(&guard);
	if (!PG_ARGISNULL(3))
		read_networks(&guard, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	if (!PG_ARGISNULL(4))
		guard.allow_http = PG_GETARG_BOOL(4);

	length = read_inet(PG_GETARG_INET_PP(0), PG_GETARG_INT32(1), &address);
	is_http = !PG_GETARG_BOOL(2);
	reason = wo_netguard_reason(wo_netguard_judge(&guard,
												  (struct sockaddr *) &address,
												  length, is_http));
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}

/*
 * blocked_hint(error text) returns text
 *
 * What to do about an attempt whose outcome is blocked; NULL: not known.
 */
Datum
wo_sql_blocked_hint(PG_FUNCTION_ARGS)
{
	char	   *error = text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < WO_N_NET_VERDICTS; i++)
	{
		WoNetVerdict verdict = (WoNetVerdict) i;
		const char *reason = wo_netguard_reason(verdict);

		if (reason != NULL && strstr(error, reason) != NULL)
			PG_RETURN_TEXT_P(cstring_to_text(wo_netguard_hint(verdict)));
	}
	PG_RETURN_NULL();
}
