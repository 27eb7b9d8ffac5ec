/*-------------------------------------------------------------------------
 *
 * netguard.c
 *	  Judges every address that a sender is about to dial.
 *
 * Called by the HTTP engine from libcurl's callbacks, with the address that
 * will really be dialled: judging host names in URLs would miss names that
 * resolve differently the second time.  So judging neither pallocs nor
 * raises.  Literal addresses in URLs are judged by the same rules when an
 * endpoint is written (url.c), so that a mistake is seen at once.
 *
 * By default what is public may be dialled, and nothing else.  Of IPv6 that
 * is 2000::/3 less some; all the rest is special or not allocated.  Where an
 * IPv6 address only carries an IPv4 address, that one is judged.  An allow
 * list opens networks.  Link-local and metadata addresses stay closed unless
 * an entry lies within their range: whoever opens 0.0.0.0/0 does not have in
 * mind to hand out the machine's credentials.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netguard.h"

/* An address as it is judged: unwrapped, in network byte order. */
typedef struct Address
{
	uint8		bytes[16];		/* of IPv4 the first four */
	bool		is_v6;
	bool		is_odd;			/* IPv4 in a form that nobody routes */
	int			port;
} Address;

typedef struct Range
{
	WoNetwork	network;
	WoNetVerdict verdict;
} Range;

#define V4(a, b, c, d, bits)	{{a, b, c, d}, bits, false}
#define V6(a, b, c, bits) \
	{{(a) >> 8, (a) & 0xff, (b) >> 8, (b) & 0xff, (c) >> 8, (c) & 0xff}, \
		bits, true}

/* Closed to wider entries of an allow list. */
static const Range sealed[] = {
	{V4(169, 254, 0, 0, 16), WO_NET_LINK_LOCAL},
	{V6(0xfe80, 0, 0, 10), WO_NET_LINK_LOCAL},
	{V4(100, 100, 100, 200, 32), WO_NET_METADATA},	/* Alibaba */
	{V4(168, 63, 129, 16, 32), WO_NET_METADATA},	/* Azure, public */
	{V4(192, 0, 0, 192, 32), WO_NET_METADATA},	/* Oracle */
	{V6(0xfd00, 0x0ec2, 0, 32), WO_NET_METADATA},	/* Amazon */
	{V6(0xfd00, 0x00c1, 0, 32), WO_NET_METADATA},	/* Oracle */
	{V6(0xfd00, 0x0042, 0, 32), WO_NET_METADATA},	/* Scaleway */
	{V6(0xfd00, 0xa9fe, 0xa9fe, 48), WO_NET_METADATA},	/* Akamai */
	{V6(0xfd20, 0x00ce, 0, 32), WO_NET_METADATA}	/* Google */
};

/* Not public, by the IANA's registries of special-purpose addresses. */
static const Range closed[] = {
	{V4(0, 0, 0, 0, 8), WO_NET_RESERVED},
	{V4(10, 0, 0, 0, 8), WO_NET_PRIVATE},
	{V4(100, 64, 0, 0, 10), WO_NET_PRIVATE},
	{V4(127, 0, 0, 0, 8), WO_NET_LOOPBACK},
	{V4(172, 16, 0, 0, 12), WO_NET_PRIVATE},
	{V4(192, 0, 0, 0, 24), WO_NET_RESERVED},
	{V4(192, 0, 2, 0, 24), WO_NET_RESERVED},
	{V4(192, 88, 99, 0, 24), WO_NET_RESERVED},
	{V4(192, 168, 0, 0, 16), WO_NET_PRIVATE},
	{V4(198, 18, 0, 0, 15), WO_NET_RESERVED},
	{V4(198, 51, 100, 0, 24), WO_NET_RESERVED},
	{V4(203, 0, 113, 0, 24), WO_NET_RESERVED},
	{V4(224, 0, 0, 0, 4), WO_NET_RESERVED},
	{V4(240, 0, 0, 0, 4), WO_NET_RESERVED},
	{V6(0xfc00, 0, 0, 7), WO_NET_PRIVATE},
	{V6(0xfec0, 0, 0, 10), WO_NET_PRIVATE},
	{V6(0x2001, 0, 0, 23), WO_NET_RESERVED},	/* Teredo and others */
	{V6(0x2001, 0x0db8, 0, 32), WO_NET_RESERVED},
	{V6(0x3fff, 0, 0, 20), WO_NET_RESERVED}
};

/* Of IPv6, nothing else is public. */
static const WoNetwork public_v6 = V6(0x2000, 0, 0, 3);

static const uint8 mapped_prefix[12] = {[10] = 0xff,[11] = 0xff};
static const uint8 nat64_prefix[12] = {0x00, 0x64, 0xff, 0x9b};
static const uint8 zeros[16] = {0};
static const uint8 loopback_v6[16] = {[15] = 1};

/* What the verdicts are called; the last one of each is for people. */
static const struct
{
	const char *reason;
	const char *hint;
}			texts[WO_N_NET_VERDICTS] = {
	[WO_NET_PERMITTED] = {NULL, NULL},
#define OPEN_IT "An address that is not public is dialled only if webhook_outbox.allowed_networks lists its network."
	[WO_NET_LOOPBACK] = {"loopback address", OPEN_IT},
	[WO_NET_PRIVATE] = {"private address", OPEN_IT},
	[WO_NET_RESERVED] = {"reserved address", OPEN_IT},
#define NAME_IT "Only an entry of webhook_outbox.allowed_networks that lies within that range opens it, as the address itself does; a wider network does not."
	[WO_NET_LINK_LOCAL] = {"link-local address", NAME_IT},
	[WO_NET_METADATA] = {"address of a cloud's metadata service", NAME_IT},
	[WO_NET_OWN_PORT] = {"port of this PostgreSQL server",
	"The server's own port is never dialled, whatever webhook_outbox.allowed_networks says."},
	[WO_NET_PLAIN_HTTP] = {"plain http",
	"Use https; or set webhook_outbox.allow_http, or list the network of the receiver in webhook_outbox.allowed_networks."},
	[WO_NET_UNKNOWN_FAMILY] = {"neither an IPv4 nor an IPv6 address",
	"Receivers are reached over IPv4 or IPv6."}
};

/*
 * Name the reason of a verdict, in words that follow "not permitted: "; NULL
 * when it permits.
 */
const char *
wo_netguard_reason(WoNetVerdict verdict)
{
	Assert(verdict >= 0 && verdict < WO_N_NET_VERDICTS);
	return texts[verdict].reason;
}

/*
 * Say what to do about a verdict, in a sentence that names the setting; NULL
 * when it permits.
 */
const char *
wo_netguard_hint(WoNetVerdict verdict)
{
	Assert(verdict >= 0 && verdict < WO_N_NET_VERDICTS);
	return texts[verdict].hint;
}

/*----------------------------------------------------------------------
 * Networks
 *----------------------------------------------------------------------
 */

/* Do the first bits agree? */
static bool
has_prefix(const uint8 *bytes, const uint8 *prefix, int bits)
{
	int			whole = bits / 8;
	int			shift = 8 - bits % 8;

	if (memcmp(bytes, prefix, whole) != 0)
		return false;
	return shift == 8 || bytes[whole] >> shift == prefix[whole] >> shift;
}

static bool
contains(const WoNetwork *network, const Address *address)
{
	return network->is_v6 == address->is_v6 &&
		has_prefix(address->bytes, network->address, network->bits);
}

static bool
lies_within(const WoNetwork *inner, const WoNetwork *outer)
{
	return inner->is_v6 == outer->is_v6 && inner->bits >= outer->bits &&
		has_prefix(inner->address, outer->address, outer->bits);
}

/* Find the IPv4 address that an IPv6 address carries; NULL: it is itself. */
static const uint8 *
carried_v4(const uint8 *v6, bool *is_odd)
{
	*is_odd = false;
	if (memcmp(v6, mapped_prefix, 12) == 0)
		return v6 + 12;
	if (memcmp(v6, nat64_prefix, 12) == 0)
		return v6 + 12;
	if (v6[0] == 0x20 && v6[1] == 0x02)
		return v6 + 2;			/* 6to4 */
	/* IPv4-compatible: nobody routes it, some stacks unwrap it */
	*is_odd = true;
	if (memcmp(v6, zeros, 12) == 0 && memcmp(v6, zeros, 16) != 0 &&
		memcmp(v6, loopback_v6, 16) != 0)
		return v6 + 12;
	return NULL;
}

/*----------------------------------------------------------------------
 * Allow lists
 *----------------------------------------------------------------------
 */

static bool
has_bits_behind(const WoNetwork *network)
{
	int			size = network->is_v6 ? 16 : 4;

	for (int bit = network->bits; bit < size * 8; bit++)
	{
		if (network->address[bit / 8] & (0x80 >> bit % 8))
			return true;
	}
	return false;
}

/* Could a network hold nothing but IPv4 addresses in disguise? */
static bool
is_disguised(const WoNetwork *network)
{
	bool		is_odd;

	if (!network->is_v6 || network->bits < 16)
		return false;
	/* 6to4 differs from the others in its first 16 bits already */
	if (network->bits < 96 && !has_prefix(network->address,
										  (const uint8 *) "\x20\x02", 16))
		return false;
	return carried_v4(network->address, &is_odd) != NULL;
}

/* Read how many bits count, as in "/8"; -1 when it is no such number. */
static int
read_bits(const char *digits, int most)
{
	int			bits = 0;

	if (digits[0] == '\0' || strlen(digits) > 3)
		return -1;
	for (; *digits; digits++)
	{
		if (*digits < '0' || *digits > '9')
			return -1;
		bits = bits * 10 + (*digits - '0');
	}
	return bits <= most ? bits : -1;
}

/* Parse one entry, which is cut to pieces.  NULL, or what is wrong with it. */
static const char *
parse_network(WoNetwork *network, char *text)
{
	char	   *slash = strchr(text, '/');
	int			most;
	int			bits;

	memset(network, 0, sizeof(WoNetwork));
	if (slash != NULL)
		*slash = '\0';
	if (inet_pton(AF_INET, text, network->address) != 1)
	{
		if (inet_pton(AF_INET6, text, network->address) != 1)
			return "it is neither an IP address nor a network";
		network->is_v6 = true;
	}
	most = network->is_v6 ? 128 : 32;
	bits = slash != NULL ? read_bits(slash + 1, most) : most;
	if (bits < 0)
		return "what follows its slash is not a number of bits";
	network->bits = bits;
	if (has_bits_behind(network))
		return "it has bits set to the right of its mask";
	if (is_disguised(network))
		return "it holds IPv4 addresses only: give the IPv4 network instead";
	return NULL;
}

/*
 * Read a list of networks and addresses, with commas between them, into a
 * guard.  Returns NULL, or what is wrong with the entry that is then in
 * element, a buffer of WO_NETWORK_LEN bytes.
 */
const char *
wo_netguard_parse(WoNetguard *guard, const char *list, char *element)
{
	static const char blank[] = " \t\r\n";

	guard->n_networks = 0;
	list += strspn(list, blank);
	if (*list == '\0')
		return NULL;
	for (;;)
	{
		size_t		len = strcspn(list, ",");
		size_t		used = len;
		char		text[WO_NETWORK_LEN];
		const char *problem;

		while (used > 0 && strchr(blank, list[used - 1]) != NULL)
			used--;
		strlcpy(element, list, Min(used + 1, WO_NETWORK_LEN));
		if (used == 0)
			return "it is empty";
		if (used >= WO_NETWORK_LEN)
			return "it is neither an IP address nor a network";
		if (guard->n_networks >= WO_MAX_NETWORKS)
			return "it is one more than the 128 that there is room for";
		strlcpy(text, element, sizeof(text));
		problem = parse_network(&guard->networks[guard->n_networks], text);
		if (problem != NULL)
			return problem;
		guard->n_networks++;
		if (list[len] == '\0')
			return NULL;
		list += len + 1;
		list += strspn(list, blank);
	}
}

/*----------------------------------------------------------------------
 * Judging
 *----------------------------------------------------------------------
 */

/* Take an address out of what would be dialled, and unwrap it. */
static bool
read_address(Address *out, const struct sockaddr *address, socklen_t length)
{
	const uint8 *v4;

	memset(out, 0, sizeof(Address));
	if (address == NULL)
		return false;
	if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in))
	{
		const struct sockaddr_in *in = (const struct sockaddr_in *) address;

		memcpy(out->bytes, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
		return true;
	}
	if (address->sa_family == AF_INET6 &&
		length >= sizeof(struct sockaddr_in6))
	{
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *) address;

		out->port = ntohs(in->sin6_port);
		v4 = carried_v4(in->sin6_addr.s6_addr, &out->is_odd);
		out->is_v6 = v4 == NULL;
		if (out->is_v6)
			memcpy(out->bytes, &in->sin6_addr, 16);
		else
			memcpy(out->bytes, v4, 4);
		return true;
	}
	return false;
}

static bool
is_unspecified_or_loopback(const Address *address)
{
	/* the unspecified address reaches this machine, too */
	if (address->is_v6)
		return memcmp(address->bytes, zeros, 16) == 0 ||
			memcmp(address->bytes, loopback_v6, 16) == 0;
	return address->bytes[0] == 127 || address->bytes[0] == 0;
}

static bool
is_same(const Address *a, const Address *b)
{
	return a->is_v6 == b->is_v6 && memcmp(a->bytes, b->bytes, 16) == 0;
}

/* Can a socket be bound to an address?  -1: there is no socket. */
static int
can_bind(const Address *address)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	int			fd = socket(address->is_v6 ? AF_INET6 : AF_INET,
							SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool		is_bound;

	if (fd < 0)
		return -1;
	memcpy(&v4.sin_addr, address->bytes, 4);
	memcpy(&v6.sin6_addr, address->bytes, 16);
	is_bound = bind(fd, address->is_v6 ? (struct sockaddr *) &v6 :
					(struct sockaddr *) &v4,
					address->is_v6 ? sizeof(v6) : sizeof(v4)) == 0;
	close(fd);
	return is_bound;
}

/*
 * Does the kernel deliver to an address here, though no interface has it?  So
 * it is with whole networks that are routed to this machine (ip route add
 * local).  Sockets can be bound to what is local alone, unless the system lets
 * them be bound to anything: then to an address for documentation, too.
 */
static bool
is_routed_here(const Address *address)
{
	static const Address examples[] = {
		{.bytes = {192, 0, 2, 1}},
		{.bytes = {0x20, 0x01, 0x0d, 0xb8,[15] = 1},.is_v6 = true}
	};
	int			here = can_bind(address);
	int			anywhere = can_bind(&examples[address->is_v6]);

	/* in doubt it had better not be dialled */
	return here < 0 || anywhere < 0 || (here && !anywhere);
}

/*
 * Is this machine dialled?  Called when the port is that of the server, which
 * is so rarely that the interfaces can be looked up each time.
 */
static bool
is_own_address(const Address *address)
{
	struct ifaddrs *interfaces;
	bool		is_own = false;

	if (is_unspecified_or_loopback(address))
		return true;
	/* if they cannot be looked up, it had better not be dialled */
	if (getifaddrs(&interfaces) != 0)
		return true;
	for (struct ifaddrs *i = interfaces; i != NULL && !is_own; i = i->ifa_next)
	{
		Address		own;

		if (i->ifa_addr == NULL)
			continue;
		if (!read_address(&own, i->ifa_addr,
						  i->ifa_addr->sa_family == AF_INET ?
						  sizeof(struct sockaddr_in) :
						  sizeof(struct sockaddr_in6)))
			continue;
		is_own = is_same(&own, address);
	}
	freeifaddrs(interfaces);
	return is_own || is_routed_here(address);
}

/* Is there an entry that contains an address, and lies within a range? */
static bool
is_listed(const WoNetguard *guard, const Address *address,
		  const WoNetwork *within)
{
	for (int i = 0; i < guard->n_networks; i++)
	{
		const WoNetwork *network = &guard->networks[i];

		if (contains(network, address) &&
			(within == NULL || lies_within(network, within)))
			return true;
	}
	return false;
}

static WoNetVerdict
judge_unlisted(const Address *address)
{
	for (int i = 0; i < lengthof(closed); i++)
	{
		if (contains(&closed[i].network, address))
			return closed[i].verdict;
	}
	if (!address->is_v6)
		return address->is_odd ? WO_NET_RESERVED : WO_NET_PERMITTED;
	if (memcmp(address->bytes, loopback_v6, 16) == 0)
		return WO_NET_LOOPBACK;
	return contains(&public_v6, address) ? WO_NET_PERMITTED : WO_NET_RESERVED;
}

/*
 * Judge an address that is to be dialled, by plain http or by https.
 */
WoNetVerdict
wo_netguard_judge(const WoNetguard *guard, const struct sockaddr *address,
				  socklen_t length, bool is_http)
{
	Address		judged;
	WoNetVerdict verdict;

	if (!read_address(&judged, address, length))
		return WO_NET_UNKNOWN_FAMILY;
	if (judged.port != 0 && judged.port == guard->own_port &&
		is_own_address(&judged))
		return WO_NET_OWN_PORT;
	for (int i = 0; i < lengthof(sealed); i++)
	{
		if (contains(&sealed[i].network, &judged) &&
			!is_listed(guard, &judged, &sealed[i].network))
			return sealed[i].verdict;
	}
	if (is_listed(guard, &judged, NULL))
		return WO_NET_PERMITTED;
	verdict = judge_unlisted(&judged);
	if (verdict == WO_NET_PERMITTED && is_http && !guard->allow_http)
		return WO_NET_PLAIN_HTTP;
	return verdict;
}
