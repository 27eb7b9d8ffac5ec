/*-------------------------------------------------------------------------
 *
 * signature.h
 *	  Signatures of Standard Webhooks 1.0.0: HMAC-SHA256 and Ed25519.
 *
 * Layer 0.  Nothing here raises: failures come back as a text, which never
 * holds any part of a key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SIGNATURE_H
#define WO_SIGNATURE_H

#include "event.h"
#include "lib/stringinfo.h"

/* A key ready to sign. */
typedef struct WoSigningKey
{
	bool		is_ed25519;		/* else HMAC-SHA256 */
	void	   *state;			/* EVP_PKEY *, else keyed EVP_MAC_CTX * */
	TimestampTz expires_at;		/* signs before this */
} WoSigningKey;

/* The keys of one endpoint.  Owns memory of OpenSSL's until unloaded. */
typedef struct WoSigner
{
	int			n_keys;
	WoSigningKey keys[WO_MAX_KEYS];
} WoSigner;

extern const char *wo_signature_load(WoSigner *signer, const WoKey *keys,
									 int n_keys);
extern void wo_signature_unload(WoSigner *signer);
extern const char *wo_signature_sign(const WoSigner *signer,
									 const char *prefix,
									 const StringInfoData *body,
									 TimestampTz now, StringInfo out);

extern const char *wo_signature_check_secret(const char *secret);
extern char *wo_signature_new_secret(bool is_ed25519);
extern char *wo_signature_public_key(const char *secret);

#endif							/* WO_SIGNATURE_H */
