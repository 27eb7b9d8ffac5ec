/*-------------------------------------------------------------------------
 *
 * seal.h
 *	  Encryption of secrets at rest: keys, and texts sealed with them.
 *
 * Layer 0.  Nothing here raises: what is wrong comes back as a text, which
 * never holds any part of a key or of what is sealed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_SEAL_H
#define WO_SEAL_H

#include "c.h"

#define WO_SEAL_MAX_KEYS	32	/* in a file */
#define WO_SEAL_NAME_LEN	32	/* of the name of a key, in bytes */
#define WO_SEAL_KEY_LEN		32	/* of a key, in bytes */

/* What a sealed text is, so that none can pass for another. */
#define WO_SEAL_SECRET		"secret"
#define WO_SEAL_HEADERS		"headers"

typedef struct WoSealKey
{
	char		name[WO_SEAL_NAME_LEN + 1];
	unsigned char bytes[WO_SEAL_KEY_LEN];
} WoSealKey;

/* The keys of a file; the first seals, each opens what it has sealed. */
typedef struct WoKeyring
{
	int			n_keys;
	WoSealKey	keys[WO_SEAL_MAX_KEYS];
} WoKeyring;

extern const char *wo_seal_parse_keys(const char *text, WoKeyring *ring);
extern void wo_seal_forget_keys(WoKeyring *ring);
extern bool wo_seal_is_sealed(const char *text);
extern const char *wo_seal_check(const char *text);
extern bool wo_seal_is_current(const WoKeyring *ring, const char *text);
extern char *wo_seal_seal(const WoKeyring *ring, const char *kind,
						  int64 owner_id, const char *plain);
extern const char *wo_seal_open(const WoKeyring *ring, const char *kind,
								int64 owner_id, const char *text,
								char **plain);

#endif							/* WO_SEAL_H */
