/*-------------------------------------------------------------------------
 *
 * keyfile.h
 *	  webhook_outbox.secret_key_file: seals and opens what is secret.
 *
 * Layer 1.  The file is read when it is first needed after wo_keyfile_begin,
 * and its keys are in memory until wo_keyfile_end and no longer: should an
 * error come before that, until the context that was current at the begin is
 * reset.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_KEYFILE_H
#define WO_KEYFILE_H

#include "seal.h"
#include "utils/jsonb.h"

/* What to do about what does not open. */
#define WO_KEYFILE_HINT \
	"Put the key back into the file. If it is lost, give the endpoint a new secret with rotate_secret(overlap => '0'), and its headers again with set_headers()."

typedef struct WoKeyFile
{
	MemoryContext parent;		/* that was current at the begin */
	MemoryContext context;		/* of the keys; NULL: the file is not read */
	const char *problem;		/* why it cannot be used; NULL: it can */
	const WoKeyring *ring;		/* valid if context is, and problem is NULL */
} WoKeyFile;

extern bool wo_keyfile_is_set(void);
extern void wo_keyfile_begin(WoKeyFile *file);
extern void wo_keyfile_end(WoKeyFile *file);
extern const char *wo_keyfile_problem(WoKeyFile *file);
extern void wo_keyfile_require(WoKeyFile *file);
extern char *wo_keyfile_seal(WoKeyFile *file, const char *kind,
							 int64 owner_id, const char *plain);
extern const char *wo_keyfile_open(WoKeyFile *file, const char *kind,
								   int64 owner_id, const char *stored,
								   char **plain);
extern char *wo_keyfile_sealed_headers(Jsonb *headers);
extern Jsonb *wo_keyfile_stored_headers(char *sealed);
extern const char *wo_keyfile_open_headers(WoKeyFile *file,
										   int64 endpoint_id, Jsonb *stored,
										   const char **lines);

#endif							/* WO_KEYFILE_H */
