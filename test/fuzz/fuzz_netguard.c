/*-------------------------------------------------------------------------
 *
 * fuzz_netguard.c
 *	  Lists of networks that may be dialled, and addresses that are judged.
 *
 * A line with a list, then one byte of options, a port (2 bytes) and an
 * address (16 bytes, of IPv4 the first four).  An address is judged alike in
 * whatever form it is carried; a list only ever opens; and what a few plain
 * comparisons call private is closed without one.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <netinet/in.h>

#include "netguard.h"

#define IS_V6			1
#define IS_HTTP			2
#define ALLOWS_HTTP		4
#define IS_CUT_OFF		8

static const uint8 mapped[12] = {[10] = 0xff,[11] = 0xff};
static const uint8 nat64[12] = {0x00, 0x64, 0xff, 0x9b};

/* In a block of its own size, for what is read beyond it to show. */
static WoNetVerdict
judge_v4(const WoNetguard *guard, const uint8 *bytes, int port, bool is_http)
{
	struct sockaddr_in *address = palloc0(sizeof(struct sockaddr_in));

	address->sin_family = AF_INET;
	address->sin_port = htons(port);
	memcpy(&address->sin_addr, bytes, 4);
	return wo_netguard_judge(guard, (struct sockaddr *) address,
							 sizeof(*address), is_http);
}

static WoNetVerdict
judge_v6(const WoNetguard *guard, const uint8 *bytes, int port, bool is_http)
{
	struct sockaddr_in6 *address = palloc0(sizeof(struct sockaddr_in6));

	address->sin6_family = AF_INET6;
	address->sin6_port = htons(port);
	memcpy(&address->sin6_addr, bytes, 16);
	return wo_netguard_judge(guard, (struct sockaddr *) address,
							 sizeof(*address), is_http);
}

static void
check_forms(const WoNetguard *guard, const uint8 *v4, int port, bool is_http)
{
	WoNetVerdict verdict = judge_v4(guard, v4, port, is_http);
	uint8		v6[16];

	memcpy(v6, mapped, 12);
	memcpy(v6 + 12, v4, 4);
	wo_fuzz_require(judge_v6(guard, v6, port, is_http) == verdict);
	memcpy(v6, nat64, 12);
	wo_fuzz_require(judge_v6(guard, v6, port, is_http) == verdict);
	memset(v6, 0, sizeof(v6));
	v6[0] = 0x20;
	v6[1] = 0x02;
	memcpy(v6 + 2, v4, 4);
	wo_fuzz_require(judge_v6(guard, v6, port, is_http) == verdict);
}

static bool
is_plainly_private(const uint8 *v4)
{
	return v4[0] == 0 || v4[0] == 10 || v4[0] == 127 || v4[0] >= 224 ||
		(v4[0] == 172 && v4[1] >= 16 && v4[1] < 32) ||
		(v4[0] == 192 && v4[1] == 168) || (v4[0] == 169 && v4[1] == 254) ||
		(v4[0] == 100 && v4[1] >= 64 && v4[1] < 128);
}

static void
check_list(const WoNetguard *guard)
{
	wo_fuzz_require(guard->n_networks >= 0 &&
					guard->n_networks <= WO_MAX_NETWORKS);
	for (int i = 0; i < guard->n_networks; i++)
		wo_fuzz_require(guard->networks[i].bits <=
						(guard->networks[i].is_v6 ? 128 : 32));
}

/* With a list of all there is, what is sealed off stays so. */
static void
check_sealed(const uint8 *v4, int port)
{
	WoNetguard	guard = {0};
	char		element[WO_NETWORK_LEN];

	wo_fuzz_require(wo_netguard_parse(&guard, "0.0.0.0/0, ::/0",
									  element) == NULL);
	wo_fuzz_require((judge_v4(&guard, v4, port, false) ==
					 WO_NET_LINK_LOCAL) == (v4[0] == 169 && v4[1] == 254));
}

static void
check_address(const WoNetguard *guard, const uint8 *bytes, int port,
			  uint32 options)
{
	WoNetguard	none = {.allow_http = guard->allow_http};
	bool		is_http = (options & IS_HTTP) != 0;
	WoNetVerdict verdict;
	WoNetVerdict without;

	verdict = options & IS_V6 ? judge_v6(guard, bytes, port, is_http) :
		judge_v4(guard, bytes, port, is_http);
	without = options & IS_V6 ? judge_v6(&none, bytes, port, is_http) :
		judge_v4(&none, bytes, port, is_http);
	wo_fuzz_require((int) verdict >= 0 && verdict < WO_N_NET_VERDICTS);
	wo_fuzz_require((wo_netguard_reason(verdict) == NULL) ==
					(verdict == WO_NET_PERMITTED));
	wo_fuzz_require((wo_netguard_hint(verdict) == NULL) ==
					(verdict == WO_NET_PERMITTED));
	if (without == WO_NET_PERMITTED)
		wo_fuzz_require(verdict == WO_NET_PERMITTED);
	if (!(options & IS_V6))
	{
		check_forms(guard, bytes, port, is_http);
		check_sealed(bytes, port);
		if (is_plainly_private(bytes))
			wo_fuzz_require(without != WO_NET_PERMITTED);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	char	   *list = wo_fuzz_line(&input);
	uint32		options = wo_fuzz_number(&input, 1);
	int			port = wo_fuzz_number(&input, 2);
	uint8		bytes[16];
	char	   *element = palloc(WO_NETWORK_LEN);
	WoNetguard	guard = {0};
	const char *problem;

	for (int i = 0; i < sizeof(bytes); i++)
		bytes[i] = wo_fuzz_number(&input, 1);
	guard.allow_http = (options & ALLOWS_HTTP) != 0;
	problem = wo_netguard_parse(&guard, list, element);
	if (problem != NULL)
		wo_fuzz_require(strlen(element) < WO_NETWORK_LEN);
	check_list(&guard);
	if (problem == NULL)
		check_address(&guard, bytes, port, options);
	if (options & IS_CUT_OFF)
	{
		struct sockaddr *part = palloc0(sizeof(sa_family_t));

		part->sa_family = options & IS_V6 ? AF_INET6 : AF_INET;
		wo_fuzz_require(wo_netguard_judge(&guard, part, sizeof(sa_family_t),
										  false) == WO_NET_UNKNOWN_FAMILY);
	}
	wo_fuzz_reset();
	return 0;
}
