/*-------------------------------------------------------------------------
 *
 * netguard.h
 *	  Which network addresses a sender may dial.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_NETGUARD_H
#define WO_NETGUARD_H

#include <sys/socket.h>

#define WO_MAX_NETWORKS		128 /* entries of an allow list */
#define WO_NETWORK_LEN		64	/* bytes for the text of one, with its NUL */

/* What to do about a list that cannot be parsed. */
#define WO_NETWORKS_HINT \
	"List networks and addresses with commas between them, as in 10.0.0.0/8, 192.168.1.7, fd12:3456::/32."

/* Why an address may not be dialled.  The texts are in netguard.c. */
typedef enum WoNetVerdict
{
	WO_NET_PERMITTED,
	WO_NET_LOOPBACK,
	WO_NET_PRIVATE,
	WO_NET_RESERVED,			/* not public for any other reason */
	WO_NET_LINK_LOCAL,
	WO_NET_METADATA,			/* where a cloud tells its secrets */
	WO_NET_OWN_PORT,			/* this server's PostgreSQL port */
	WO_NET_PLAIN_HTTP,			/* http, which is not allowed there */
	WO_NET_UNKNOWN_FAMILY		/* neither IPv4 nor IPv6 */
} WoNetVerdict;

#define WO_N_NET_VERDICTS	(WO_NET_UNKNOWN_FAMILY + 1)

/* A network: an address of which the first bits count. */
typedef struct WoNetwork
{
	uint8		address[16];	/* of IPv4 the first four bytes */
	uint8		bits;
	bool		is_v6;
} WoNetwork;

/* What is permitted.  Plain data, compared by memcmp: zero it first. */
typedef struct WoNetguard
{
	bool		allow_http;		/* plain http to public addresses */
	int			own_port;		/* this server's; 0: none */
	int			n_networks;
	WoNetwork	networks[WO_MAX_NETWORKS];	/* what is open besides */
} WoNetguard;

extern const char *wo_netguard_parse(WoNetguard *guard, const char *list,
									 char *element);
extern WoNetVerdict wo_netguard_judge(const WoNetguard *guard,
									  const struct sockaddr *address,
									  socklen_t length, bool is_http);
extern const char *wo_netguard_reason(WoNetVerdict verdict);
extern const char *wo_netguard_hint(WoNetVerdict verdict);

#endif							/* WO_NETGUARD_H */
