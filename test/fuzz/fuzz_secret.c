/*-------------------------------------------------------------------------
 *
 * fuzz_secret.c
 *	  Texts of signing keys, and what is signed with them.
 *
 * First line: a secret; the rest is signed.  The text of a secret that is
 * taken is the only one for its bytes, and the signature is what OpenSSL's
 * one-call functions make or accept.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "signature.h"

#define MAX_SECRET	128
#define PREFIX		"id.1."

/* Decodes what OpenSSL encodes back to the same text; returns its length. */
static int
decode_canonical(const char *text, unsigned char *bytes)
{
	unsigned char again[MAX_SECRET];
	int			text_len = strlen(text);
	int			len;

	wo_fuzz_require(text_len <= MAX_SECRET);
	len = EVP_DecodeBlock(bytes, (const unsigned char *) text, text_len);
	wo_fuzz_require(len > 0);
	while (text_len > 0 && text[--text_len] == '=')
		len--;
	EVP_EncodeBlock(again, bytes, len);
	wo_fuzz_require(strcmp((char *) again, text) == 0);
	return len;
}

static void
verify_hmac(const unsigned char *key, int key_len, const char *message,
			int message_len, const char *signature)
{
	unsigned char mac[32];
	unsigned int mac_len;
	unsigned char text[64];

	HMAC(EVP_sha256(), key, key_len, (const unsigned char *) message,
		 message_len, mac, &mac_len);
	EVP_EncodeBlock(text, mac, mac_len);
	wo_fuzz_require(strncmp(signature, "v1,", 3) == 0 &&
					strcmp(signature + 3, (char *) text) == 0);
}

static void
verify_ed25519(const char *secret, const char *message, int message_len,
			   const char *signature)
{
	unsigned char key[MAX_SECRET];
	unsigned char bytes[MAX_SECRET];
	char	   *public_key = wo_signature_public_key(secret);
	EVP_PKEY   *pkey;
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	wo_fuzz_require(public_key != NULL &&
					strncmp(public_key, "whpk_", 5) == 0);
	wo_fuzz_require(decode_canonical(public_key + 5, key) == 32);
	wo_fuzz_require(strncmp(signature, "v1a,", 4) == 0 &&
					decode_canonical(signature + 4, bytes) == 64);
	pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, 32);
	wo_fuzz_require(EVP_DigestVerifyInit(context, NULL, NULL, NULL,
										 pkey) == 1);
	wo_fuzz_require(EVP_DigestVerify(context, bytes, 64,
									 (const unsigned char *) message,
									 message_len) == 1);
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(pkey);
}

static void
sign_and_verify(const char *secret, const StringInfoData *body)
{
	WoKey		keys[WO_MAX_KEYS + 1];
	WoSigner	signer;
	StringInfoData out;
	StringInfoData message;
	unsigned char key[MAX_SECRET];
	char	   *first;

	for (int i = 0; i < lengthof(keys); i++)
	{
		keys[i].secret = secret;
		keys[i].expires_at = i;
	}
	wo_fuzz_require(wo_signature_load(&signer, keys, lengthof(keys)) == NULL);
	wo_fuzz_require(signer.n_keys == WO_MAX_KEYS);
	initStringInfo(&out);
	/* keys 2 and 3 have not expired */
	wo_fuzz_require(wo_signature_sign(&signer, PREFIX, body, 1, &out) == NULL);
	wo_signature_unload(&signer);

	initStringInfo(&message);
	appendStringInfoString(&message, PREFIX);
	appendBinaryStringInfo(&message, body->data, body->len);
	first = pnstrdup(out.data, strcspn(out.data, " "));
	wo_fuzz_require(strcmp(out.data + strlen(first) + 1, first) == 0);
	if (strncmp(secret, "whsec_", 6) == 0)
		verify_hmac(key, decode_canonical(secret + 6, key), message.data,
					message.len, first);
	else
		verify_ed25519(secret, message.data, message.len, first);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	char	   *secret = wo_fuzz_line(&input);
	const char *problem = wo_signature_check_secret(secret);
	StringInfoData body;
	size_t		len;
	char	   *rest;

	initStringInfo(&body);
	rest = wo_fuzz_bytes(&input, size, &len);
	appendBinaryStringInfo(&body, rest, len);
	if (problem == NULL)
		sign_and_verify(secret, &body);
	else
		wo_fuzz_require(wo_signature_public_key(secret) == NULL);
	wo_fuzz_reset();
	return 0;
}
