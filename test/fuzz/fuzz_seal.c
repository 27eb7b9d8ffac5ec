/*-------------------------------------------------------------------------
 *
 * fuzz_seal.c
 *	  Files of keys, and texts sealed with them.
 *
 * The first line is what is stored; the second is to be sealed; the rest is a
 * file of keys.  What is sealed opens to what it was, for its owner and as
 * what it is only; with a byte changed it does not open.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "seal.h"

#define OWNER	7

/* In the place of the server's. */
bool
pg_strong_random(void *bytes, size_t len)
{
	memset(bytes, 0x5a, len);
	return true;
}

static bool
opens(const WoKeyring *ring, const char *kind, int64 owner_id,
	  const char *text, const char *plain)
{
	char	   *opened = NULL;
	const char *problem = wo_seal_open(ring, kind, owner_id, text, &opened);

	if (problem != NULL)
	{
		wo_fuzz_require(wo_fuzz_is_shown(problem, 300));
		return false;
	}
	wo_fuzz_require(strcmp(opened, plain) == 0);
	return true;
}

static void
check_keys(const WoKeyring *ring)
{
	wo_fuzz_require(ring->n_keys > 0 && ring->n_keys <= WO_SEAL_MAX_KEYS);
	for (int i = 0; i < ring->n_keys; i++)
	{
		wo_fuzz_require(strlen(ring->keys[i].name) > 0);
		for (int j = 0; j < i; j++)
			wo_fuzz_require(strcmp(ring->keys[i].name,
								   ring->keys[j].name) != 0);
	}
}

/* Seals a text, and changes what may not be changed. */
static void
seal_and_open(WoKeyring *ring, char *plain, size_t at)
{
	char	   *text = wo_seal_seal(ring, WO_SEAL_SECRET, OWNER, plain);
	char		was;

	wo_fuzz_require(text != NULL && wo_seal_check(text) == NULL);
	wo_fuzz_require(wo_seal_is_current(ring, text));
	wo_fuzz_require(opens(ring, WO_SEAL_SECRET, OWNER, text, plain));
	wo_fuzz_require(!opens(ring, WO_SEAL_SECRET, OWNER + 1, text, plain));
	wo_fuzz_require(!opens(ring, WO_SEAL_HEADERS, OWNER, text, plain));

	/* what follows the mark that it is sealed */
	at = strlen("sealed:") + at % (strlen(text) - strlen("sealed:"));
	was = text[at];
	text[at] = was == 'A' ? 'B' : 'A';
	wo_fuzz_require(!opens(ring, WO_SEAL_SECRET, OWNER, text, plain));
	text[at] = was;
	ring->keys[0].bytes[at % WO_SEAL_KEY_LEN] ^= 1;
	wo_fuzz_require(!opens(ring, WO_SEAL_SECRET, OWNER, text, plain));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	char	   *stored = wo_fuzz_line(&input);
	char	   *plain = wo_fuzz_line(&input);
	WoKeyring	ring;
	const char *problem;
	size_t		len;
	char	   *bytes = wo_fuzz_bytes(&input, size, &len);
	char	   *opened;

	problem = wo_seal_parse_keys(pnstrdup(bytes, len), &ring);
	if (problem != NULL)
		wo_fuzz_require(wo_fuzz_is_shown(problem, 200) && ring.n_keys == 0);
	else
		check_keys(&ring);
	if (wo_seal_is_sealed(stored))
	{
		problem = wo_seal_open(&ring, WO_SEAL_SECRET, OWNER, stored, &opened);
		wo_fuzz_require(problem == NULL || wo_fuzz_is_shown(problem, 300));
		wo_fuzz_require(problem != NULL || wo_seal_check(stored) == NULL);
	}
	if (ring.n_keys > 0)
		seal_and_open(&ring, plain, len);
	wo_fuzz_reset();
	return 0;
}
