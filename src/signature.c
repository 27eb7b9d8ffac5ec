/*-------------------------------------------------------------------------
 *
 * signature.c
 *	  Signs requests as Standard Webhooks 1.0.0 says.
 *
 * Layer 0, called by request.c for each attempt, and by validate.c to make
 * and judge secrets.  What is signed is "{id}.{timestamp}.{body}"; the header
 * lists one signature per key that has not expired, so that receivers can
 * change keys without missing an event.
 *
 * OpenSSL is used rather than PostgreSQL's pg_hmac: that one needs a resource
 * owner, which a sender does not have, and hashes the key again for each
 * request.  A context that is keyed once and rewound for each request takes
 * half the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base64.h"
#include "signature.h"

#define HMAC_PREFIX			"whsec_"
#define ED25519_PREFIX		"whsk_"
#define ED25519_PUBLIC		"whpk_"
#define HMAC_MIN_LEN		24
#define HMAC_MAX_LEN		64
#define HMAC_NEW_LEN		32
#define SHA256_LEN			32
#define SEED_LEN			32
#define PUBLIC_LEN			32
#define ED25519_LEN			64
#define SECRET_MAX_LEN		64

/* A secret with its text taken apart. */
typedef struct Secret
{
	bool		is_ed25519;
	int			len;
	unsigned char bytes[SECRET_MAX_LEN];
} Secret;

static int
decode(const char *text, Secret *secret)
{
	return wo_base64_decode(text, strlen(text), secret->bytes,
							SECRET_MAX_LEN);
}

/*
 * Take the text of a secret apart.  Returns NULL, or what is wrong with it.
 */
static const char *
decode_secret(const char *text, Secret *secret)
{
	if (strncmp(text, HMAC_PREFIX, strlen(HMAC_PREFIX)) == 0)
	{
		secret->is_ed25519 = false;
		secret->len = decode(text + strlen(HMAC_PREFIX), secret);
		if (secret->len < HMAC_MIN_LEN || secret->len > HMAC_MAX_LEN)
			return "what follows whsec_ is not base64 of 24 to 64 bytes";
		return NULL;
	}
	if (strncmp(text, ED25519_PREFIX, strlen(ED25519_PREFIX)) == 0)
	{
		secret->is_ed25519 = true;
		secret->len = decode(text + strlen(ED25519_PREFIX), secret);
		if (secret->len != SEED_LEN && secret->len != SEED_LEN + PUBLIC_LEN)
			return "what follows whsk_ is not base64 of a seed (32 bytes) or of a seed and its public key (64 bytes)";
		return NULL;
	}
	return "it begins neither with whsec_ nor with whsk_";
}

/*
 * Make the private key of an Ed25519 secret; NULL when OpenSSL cannot, or
 * when the public half in the secret is not the seed's.
 */
static EVP_PKEY *
make_ed25519(const Secret *secret)
{
	unsigned char public_key[PUBLIC_LEN];
	size_t		len = PUBLIC_LEN;
	EVP_PKEY   *pkey;

	pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL,
										secret->bytes, SEED_LEN);
	if (pkey == NULL || secret->len == SEED_LEN)
		return pkey;
	if (EVP_PKEY_get_raw_public_key(pkey, public_key, &len) == 1 &&
		memcmp(public_key, secret->bytes + SEED_LEN, PUBLIC_LEN) == 0)
		return pkey;
	EVP_PKEY_free(pkey);
	return NULL;
}

static EVP_MAC_CTX *
make_hmac(const Secret *secret)
{
	EVP_MAC    *mac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
	EVP_MAC_CTX *state = mac ? EVP_MAC_CTX_new(mac) : NULL;
	char		digest[] = "SHA256";
	OSSL_PARAM	params[2];

	EVP_MAC_free(mac);
	if (state == NULL)
		return NULL;
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
												 digest, 0);
	params[1] = OSSL_PARAM_construct_end();
	if (EVP_MAC_init(state, secret->bytes, secret->len, params) == 1)
		return state;
	EVP_MAC_CTX_free(state);
	return NULL;
}

static const char *
load_key(WoSigningKey *key, const WoKey *source)
{
	Secret		secret;
	const char *problem = decode_secret(source->secret, &secret);

	if (problem == NULL)
	{
		key->is_ed25519 = secret.is_ed25519;
		key->expires_at = source->expires_at;
		if (secret.is_ed25519)
			key->state = make_ed25519(&secret);
		else
			key->state = make_hmac(&secret);
		if (key->state == NULL)
			problem = "OpenSSL does not take it as a key, or its public half does not belong to its seed";
	}
	OPENSSL_cleanse(&secret, sizeof(secret));
	return problem;
}

/*
 * Get the keys of an endpoint ready to sign.  Returns NULL, or what is wrong;
 * then nothing is loaded.  Of too many keys the first ones count.
 */
const char *
wo_signature_load(WoSigner *signer, const WoKey *keys, int n_keys)
{
	signer->n_keys = 0;
	for (int i = 0; i < Min(n_keys, WO_MAX_KEYS); i++)
	{
		const char *problem = load_key(&signer->keys[i], &keys[i]);

		if (problem != NULL)
		{
			wo_signature_unload(signer);
			return problem;
		}
		signer->n_keys++;
	}
	return NULL;
}

/*
 * Give back what wo_signature_load took.
 */
void
wo_signature_unload(WoSigner *signer)
{
	for (int i = 0; i < signer->n_keys; i++)
	{
		WoSigningKey *key = &signer->keys[i];

		if (key->is_ed25519)
			EVP_PKEY_free(key->state);
		else
			EVP_MAC_CTX_free(key->state);
	}
	signer->n_keys = 0;
}

static bool
sign_hmac(EVP_MAC_CTX *state, const char *prefix, Size prefix_len,
		  const StringInfoData *body, StringInfo out)
{
	unsigned char digest[SHA256_LEN];
	size_t		len;

	/* without a key, init rewinds to the state just after keying */
	if (EVP_MAC_init(state, NULL, 0, NULL) != 1 ||
		EVP_MAC_update(state, (const unsigned char *) prefix,
					   prefix_len) != 1 ||
		EVP_MAC_update(state, (const unsigned char *) body->data,
					   body->len) != 1 ||
		EVP_MAC_final(state, digest, &len, sizeof(digest)) != 1)
		return false;
	appendBinaryStringInfo(out, "v1,", 3);
	wo_base64_append(out, digest, SHA256_LEN);
	return true;
}

/*
 * Ed25519 reads its message twice, so OpenSSL wants it in one piece.
 */
static bool
sign_ed25519(EVP_PKEY *pkey, const char *prefix, Size prefix_len,
			 const StringInfoData *body, StringInfo out)
{
	unsigned char signature[ED25519_LEN];
	size_t		len = sizeof(signature);
	unsigned char *message = OPENSSL_malloc(prefix_len + body->len);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool		is_signed = false;

	if (message != NULL && context != NULL)
	{
		memcpy(message, prefix, prefix_len);
		memcpy(message + prefix_len, body->data, body->len);
		is_signed =
			EVP_DigestSignInit(context, NULL, NULL, NULL, pkey) == 1 &&
			EVP_DigestSign(context, signature, &len, message,
						   prefix_len + body->len) == 1;
	}
	EVP_MD_CTX_free(context);
	OPENSSL_free(message);
	if (!is_signed)
		return false;
	appendBinaryStringInfo(out, "v1a,", 4);
	wo_base64_append(out, signature, ED25519_LEN);
	return true;
}

/*
 * Append the value of webhook-signature to out.  The prefix is what is signed
 * before the body: "{id}.{timestamp}.".  Returns NULL, or why there is none.
 */
const char *
wo_signature_sign(const WoSigner *signer, const char *prefix,
				  const StringInfoData *body, TimestampTz now, StringInfo out)
{
	Size		prefix_len = strlen(prefix);
	bool		is_first = true;

	for (int i = 0; i < signer->n_keys; i++)
	{
		const WoSigningKey *key = &signer->keys[i];
		bool		is_signed;

		if (key->expires_at <= now)
			continue;
		if (!is_first)
			appendStringInfoChar(out, ' ');
		is_first = false;
		if (key->is_ed25519)
			is_signed = sign_ed25519(key->state, prefix, prefix_len,
									 body, out);
		else
			is_signed = sign_hmac(key->state, prefix, prefix_len,
								  body, out);
		if (!is_signed)
			return "the request could not be signed";
	}
	return is_first ? "the endpoint has no signing key that is still valid" :
		NULL;
}

/*
 * Return NULL when a secret can sign, else what is wrong with it.
 */
const char *
wo_signature_check_secret(const char *secret)
{
	WoSigner	signer;
	WoKey		key;
	const char *problem;

	key.secret = secret;
	key.expires_at = DT_NOEND;
	problem = wo_signature_load(&signer, &key, 1);
	if (problem == NULL)
		wo_signature_unload(&signer);
	return problem;
}

/* The public key of a decoded Ed25519 secret; false when it has none. */
static bool
get_public_key(const Secret *secret, unsigned char *public_key)
{
	EVP_PKEY   *pkey = make_ed25519(secret);
	size_t		len = PUBLIC_LEN;
	bool		is_found;

	is_found = pkey != NULL &&
		EVP_PKEY_get_raw_public_key(pkey, public_key, &len) == 1;
	EVP_PKEY_free(pkey);
	return is_found;
}

/*
 * Make a new secret from the server's strong random source; palloc'd.  NULL
 * when there is no randomness to be had.
 */
char *
wo_signature_new_secret(bool is_ed25519)
{
	Secret		secret;
	StringInfoData text;
	bool		is_made;

	secret.is_ed25519 = is_ed25519;
	secret.len = is_ed25519 ? SEED_LEN : HMAC_NEW_LEN;
	is_made = pg_strong_random(secret.bytes, secret.len);
	if (is_made && is_ed25519)
	{
		is_made = get_public_key(&secret, secret.bytes + SEED_LEN);
		secret.len = SEED_LEN + PUBLIC_LEN;
	}
	if (!is_made)
		return NULL;

	initStringInfo(&text);
	appendStringInfoString(&text, is_ed25519 ? ED25519_PREFIX : HMAC_PREFIX);
	wo_base64_append(&text, secret.bytes, secret.len);
	OPENSSL_cleanse(&secret, sizeof(secret));
	return text.data;
}

/*
 * Return what receivers verify an Ed25519 secret's signatures with (whpk_...,
 * palloc'd); NULL for a shared secret, whose receivers need the secret itself,
 * and for one that is not valid.
 */
char *
wo_signature_public_key(const char *text)
{
	Secret		secret;
	unsigned char public_key[PUBLIC_LEN];
	StringInfoData out;
	bool		is_found;

	is_found = decode_secret(text, &secret) == NULL && secret.is_ed25519 &&
		get_public_key(&secret, public_key);
	OPENSSL_cleanse(&secret, sizeof(secret));
	if (!is_found)
		return NULL;
	initStringInfo(&out);
	appendStringInfoString(&out, ED25519_PUBLIC);
	wo_base64_append(&out, public_key, PUBLIC_LEN);
	return out.data;
}
