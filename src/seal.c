/*-------------------------------------------------------------------------
 *
 * seal.c
 *	  Encryption of secrets at rest: keys, and texts sealed with them.
 *
 * Layer 0, called by keyfile.c.  A sealed text is
 *
 *		sealed:v1:NAME:BASE64
 *
 * NAME is that of the key; the base64 holds a random nonce (12 bytes), what
 * AES-256-GCM made of the plain text, and its tag (16 bytes).  Authenticated
 * with it is all that stands before the base64, what the text is, and whose
 * it is: moved to another endpoint, or from a header to a secret, it does not
 * open.  Random nonces are good for 2^32 texts of one key, which is more than
 * a table of endpoints comes to.
 *
 * A file of keys has one NAME:BASE64 a line (32 bytes), the one that seals
 * first; empty lines and those that begin with # do not count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base64.h"
#include "seal.h"

#define PREFIX			"sealed:"
#define VERSION			"v1:"
#define NONCE_LEN		12
#define TAG_LEN			16
#define NAME_CHARS \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* A sealed text taken apart. */
typedef struct Sealed
{
	char		name[WO_SEAL_NAME_LEN + 1];
	int			head_len;		/* of what stands before the base64 */
	unsigned char *bytes;		/* nonce, cipher text, tag; palloc'd */
	int			n_bytes;
} Sealed;

/*----------------------------------------------------------------------
 * Keys
 *----------------------------------------------------------------------
 */

/* Copies a name that ends at a colon; returns its length, or 0. */
static int
take_name(const char *text, char *name)
{
	size_t		len = strspn(text, NAME_CHARS);

	if (len == 0 || len > WO_SEAL_NAME_LEN || text[len] != ':')
		return 0;
	memcpy(name, text, len);
	name[len] = '\0';
	return (int) len;
}

static const WoSealKey *
find_key(const WoKeyring *ring, const char *name)
{
	for (int i = 0; i < ring->n_keys; i++)
	{
		if (strcmp(ring->keys[i].name, name) == 0)
			return &ring->keys[i];
	}
	return NULL;
}

/* Takes a line of so many bytes over.  Returns NULL, or what is wrong. */
static const char *
parse_line(const char *line, int len, WoKeyring *ring)
{
	char		name[WO_SEAL_NAME_LEN + 1];
	int			name_len = take_name(line, name);
	WoSealKey  *key = &ring->keys[ring->n_keys];

	if (name_len == 0)
		return "does not begin with the name of a key (up to 32 letters, digits, dots, _ and -) and a colon";
	if (find_key(ring, name) != NULL)
		return "names a key that another line has named";
	if (ring->n_keys == WO_SEAL_MAX_KEYS)
		return "is one more than the 32 keys that there may be";
	if (wo_base64_decode(line + name_len + 1, len - name_len - 1, key->bytes,
						 WO_SEAL_KEY_LEN) != WO_SEAL_KEY_LEN)
		return "has no base64 of 32 bytes after the colon";
	strcpy(key->name, name);
	ring->n_keys++;
	return NULL;
}

/*
 * Read the keys of a file.  Returns NULL, or what is wrong with it, palloc'd,
 * to stand after the name of the file; the ring is empty then.
 */
const char *
wo_seal_parse_keys(const char *text, WoKeyring *ring)
{
	int			number = 1;

	ring->n_keys = 0;
	for (; *text; number++)
	{
		const char *end = text + strcspn(text, "\n");
		int			len = end - text;
		const char *problem = NULL;

		while (len > 0 && strchr(" \t\r", text[len - 1]) != NULL)
			len--;
		if (len > 0 && *text != '#')
			problem = parse_line(text, len, ring);
		if (problem != NULL)
		{
			wo_seal_forget_keys(ring);
			return psprintf("line %d %s", number, problem);
		}
		text = *end == '\0' ? end : end + 1;
	}
	return ring->n_keys == 0 ? "there is no key in it" : NULL;
}

/*
 * Wipe the keys out of memory.
 */
void
wo_seal_forget_keys(WoKeyring *ring)
{
	OPENSSL_cleanse(ring, sizeof(WoKeyring));
}

/*----------------------------------------------------------------------
 * Sealed texts
 *----------------------------------------------------------------------
 */

bool
wo_seal_is_sealed(const char *text)
{
	return strncmp(text, PREFIX, strlen(PREFIX)) == 0;
}

/* Takes a sealed text apart.  Returns NULL, or what is wrong with it. */
static const char *
take_apart(const char *text, Sealed *sealed)
{
	const char *at = text + strlen(PREFIX);
	int			len;
	int			max_len;

	Assert(wo_seal_is_sealed(text));
	if (strncmp(at, VERSION, strlen(VERSION)) != 0)
		return "sealed in a way that this version does not know";
	at += strlen(VERSION);
	len = take_name(at, sealed->name);
	if (len == 0)
		return "sealed without the name of a key";
	at += len + 1;
	sealed->head_len = at - text;
	len = strlen(at);
	max_len = len / 4 * 3;
	sealed->bytes = palloc(Max(max_len, 1));
	sealed->n_bytes = wo_base64_decode(at, len, sealed->bytes, max_len);
	if (sealed->n_bytes < NONCE_LEN + TAG_LEN)
		return "damaged";
	return NULL;
}

/*
 * Return NULL when this is what a sealed text looks like, else what is wrong.
 */
const char *
wo_seal_check(const char *text)
{
	Sealed		sealed;

	if (!wo_seal_is_sealed(text))
		return "not sealed";
	return take_apart(text, &sealed);
}

/*
 * Is this sealed with the key that new texts are sealed with?
 */
bool
wo_seal_is_current(const WoKeyring *ring, const char *text)
{
	Sealed		sealed;

	return ring->n_keys > 0 && wo_seal_check(text) == NULL &&
		take_apart(text, &sealed) == NULL &&
		strcmp(sealed.name, ring->keys[0].name) == 0;
}

/* Gives the cipher what is authenticated without being hidden. */
static bool
bind_context(EVP_CIPHER_CTX *cipher, const char *head, int head_len,
			 const char *kind, int64 owner_id)
{
	char	   *rest = psprintf("%s:" INT64_FORMAT, kind, owner_id);
	int			len;

	return EVP_CipherUpdate(cipher, NULL, &len,
							(const unsigned char *) head, head_len) == 1 &&
		EVP_CipherUpdate(cipher, NULL, &len, (const unsigned char *) rest,
						 strlen(rest)) == 1;
}

/*
 * Encrypts or decrypts n bytes.  The tag is written, or else checked.
 * Returns false if it is the wrong one, or if OpenSSL cannot.
 */
static bool
run_cipher(const WoSealKey *key, bool encrypt, const unsigned char *nonce,
		   const char *head, int head_len, const char *kind, int64 owner_id,
		   const unsigned char *in, int n, unsigned char *out,
		   unsigned char *tag)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int			len = 0;
	bool		is_done;

	is_done = cipher != NULL &&
		EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, key->bytes, nonce,
						  encrypt) == 1 &&
		bind_context(cipher, head, head_len, kind, owner_id) &&
		EVP_CipherUpdate(cipher, out, &len, in, n) == 1 &&
		(encrypt || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG,
										TAG_LEN, tag) == 1) &&
		EVP_CipherFinal_ex(cipher, out + len, &len) == 1 &&
		(!encrypt || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG,
										 TAG_LEN, tag) == 1);
	EVP_CIPHER_CTX_free(cipher);
	return is_done;
}

/*
 * Seal a text with the first key.  Returns it palloc'd; NULL when there is no
 * randomness to be had, or OpenSSL cannot.
 */
char *
wo_seal_seal(const WoKeyring *ring, const char *kind, int64 owner_id,
			 const char *plain)
{
	const WoSealKey *key = &ring->keys[0];
	int			n = strlen(plain);
	int			n_bytes = NONCE_LEN + n + TAG_LEN;
	unsigned char *bytes = palloc(n_bytes);
	StringInfoData text;

	Assert(ring->n_keys > 0);
	initStringInfo(&text);
	appendStringInfo(&text, PREFIX VERSION "%s:", key->name);
	if (!pg_strong_random(bytes, NONCE_LEN) ||
		!run_cipher(key, true, bytes, text.data, text.len, kind, owner_id,
					(const unsigned char *) plain, n, bytes + NONCE_LEN,
					bytes + NONCE_LEN + n))
		return NULL;
	wo_base64_append(&text, bytes, n_bytes);
	return text.data;
}

/*
 * Open a sealed text into *plain, palloc'd.  Returns NULL, or why it does not
 * open, palloc'd, to stand after "is".
 */
const char *
wo_seal_open(const WoKeyring *ring, const char *kind, int64 owner_id,
			 const char *text, char **plain)
{
	Sealed		sealed;
	const char *problem = take_apart(text, &sealed);
	const WoSealKey *key;
	int			n;

	if (problem != NULL)
		return problem;
	key = find_key(ring, sealed.name);
	if (key == NULL)
		return psprintf("encrypted with key \"%s\", which is not in webhook_outbox.secret_key_file",
						sealed.name);
	n = sealed.n_bytes - NONCE_LEN - TAG_LEN;
	*plain = palloc(n + 1);
	if (!run_cipher(key, false, sealed.bytes, text, sealed.head_len, kind,
					owner_id, sealed.bytes + NONCE_LEN, n,
					(unsigned char *) *plain,
					sealed.bytes + NONCE_LEN + n))
	{
		OPENSSL_cleanse(*plain, n);
		return psprintf("not what key \"%s\" of webhook_outbox.secret_key_file has encrypted here: the key is another one, or it was changed or moved",
						sealed.name);
	}
	(*plain)[n] = '\0';
	return NULL;
}
