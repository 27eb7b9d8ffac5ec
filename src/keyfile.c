/*-------------------------------------------------------------------------
 *
 * keyfile.c
 *	  webhook_outbox.secret_key_file: seals and opens what is secret.
 *
 * Layer 1.  Backends seal what is written, and the dispatcher opens it when
 * it loads endpoints.  Both are rare, so that the file is read each time:
 * there is no copy to become stale, and keys do not stay in memory.
 *
 * The file may be as private as that of the server's TLS key: nobody else may
 * read it, or it belongs to root and only the group may.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "headers.h"
#include "keyfile.h"
#include "settings.h"
#include "storage/fd.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define MAX_FILE_LEN	65536

/* What must not stay in memory; it has a context of its own. */
typedef struct Keys
{
	MemoryContextCallback wipe;
	WoKeyring	ring;
	int			text_len;
	char		text[MAX_FILE_LEN + 1]; /* of the file */
} Keys;

bool
wo_keyfile_is_set(void)
{
	return wo_secret_key_file[0] != '\0';
}

/* Returns NULL when others cannot read the file, else what is wrong. */
static const char *
judge_file(const struct stat *status)
{
	if (!S_ISREG(status->st_mode))
		return "it is not a regular file";
	if (status->st_uid != geteuid() && status->st_uid != 0)
		return "it belongs neither to the user of the server nor to root";
	if ((status->st_uid == geteuid() &&
		 status->st_mode & (S_IRWXG | S_IRWXO)) ||
		(status->st_uid == 0 &&
		 status->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)))
		return "others may read or write it; its mode should be 0600, or 0640 if it belongs to root";
	if (status->st_size > MAX_FILE_LEN)
		return "it is larger than 64 kB";
	return NULL;
}

/* Reads all of an open file.  Returns NULL, or what went wrong. */
static const char *
slurp(int fd, Keys *keys)
{
	struct stat status;
	const char *problem;
	int			n;

	if (fstat(fd, &status) != 0)
		return pstrdup(strerror(errno));
	problem = judge_file(&status);
	if (problem != NULL)
		return problem;
	while ((n = read(fd, keys->text + keys->text_len,
					 MAX_FILE_LEN - keys->text_len)) > 0)
		keys->text_len += n;
	if (n < 0)
		return pstrdup(strerror(errno));
	if (memchr(keys->text, '\0', keys->text_len) != NULL)
		return "it is not a text";
	keys->text[keys->text_len] = '\0';
	return NULL;
}

static const char *
read_file(Keys *keys)
{
	const char *problem;
	int			fd;

	if (!wo_keyfile_is_set())
		return "it is not set";
	/* not to hang on a pipe, should it be one */
	fd = BasicOpenFile(wo_secret_key_file, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (fd < 0)
		return pstrdup(strerror(errno));
	problem = slurp(fd, keys);
	close(fd);
	if (problem == NULL)
		problem = wo_seal_parse_keys(keys->text, &keys->ring);
	OPENSSL_cleanse(keys->text, keys->text_len);
	return problem;
}

void
wo_keyfile_begin(WoKeyFile *file)
{
	file->parent = CurrentMemoryContext;
	file->context = NULL;
	file->problem = NULL;
	file->ring = NULL;
}

void
wo_keyfile_end(WoKeyFile *file)
{
	if (file->context != NULL)
		MemoryContextDelete(file->context);
	file->context = NULL;
}

/* Called when the context of the keys goes, after an error too. */
static void
wipe(void *arg)
{
	Keys	   *keys = arg;

	OPENSSL_cleanse(keys->text, keys->text_len);
	wo_seal_forget_keys(&keys->ring);
}

/* Makes room for keys that are wiped when their context goes. */
static Keys *
make_room(WoKeyFile *file)
{
	Keys	   *keys;

	file->context = AllocSetContextCreate(file->parent,
										  "webhook_outbox keys",
										  ALLOCSET_SMALL_SIZES);
	keys = MemoryContextAlloc(file->context, sizeof(Keys));
	keys->ring.n_keys = 0;
	keys->text_len = 0;
	keys->wipe.func = wipe;
	keys->wipe.arg = keys;
	MemoryContextRegisterResetCallback(file->context, &keys->wipe);
	return keys;
}

/* Reads the file unless it was.  Returns NULL, or why it cannot be used. */
const char *
wo_keyfile_problem(WoKeyFile *file)
{
	MemoryContext caller;
	Keys	   *keys;

	if (file->context != NULL)
		return file->problem;
	caller = MemoryContextSwitchTo(file->parent);
	keys = make_room(file);
	file->problem = read_file(keys);
	file->ring = &keys->ring;
	MemoryContextSwitchTo(caller);
	return file->problem;
}

/* Reads it, and raises an error when it cannot be used. */
void
wo_keyfile_require(WoKeyFile *file)
{
	const char *problem = wo_keyfile_problem(file);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("webhook_outbox.secret_key_file cannot be used: %s",
						problem),
				 errdetail_log("The file is \"%s\".", wo_secret_key_file),
				 errhint("It is to name a file outside the data directory that only the server's user can read. A line of it is the name of a key, a colon, and 32 random bytes in base64.")));
}

/* Seals a text, palloc'd.  Raises an error when there is no key for it. */
char *
wo_keyfile_seal(WoKeyFile *file, const char *kind, int64 owner_id,
				const char *plain)
{
	char	   *sealed;

	wo_keyfile_require(file);
	sealed = wo_seal_seal(file->ring, kind, owner_id, plain);
	if (sealed == NULL)
	{
		wo_keyfile_end(file);
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the %s of an endpoint could not be encrypted",
						kind)));
	}
	return sealed;
}

/*
 * Gives what was stored in plain, as it is if it was not sealed.  Returns
 * NULL, or why it cannot be had, palloc'd, to stand after "is".
 */
const char *
wo_keyfile_open(WoKeyFile *file, const char *kind, int64 owner_id,
				const char *stored, char **plain)
{
	const char *problem;

	if (!wo_seal_is_sealed(stored))
	{
		*plain = pstrdup(stored);
		return NULL;
	}
	problem = wo_keyfile_problem(file);
	if (problem == NULL)
		return wo_seal_open(file->ring, kind, owner_id, stored, plain);
	return psprintf("encrypted, and webhook_outbox.secret_key_file cannot be used: %s",
					problem);
}

/*
 * Gives the sealed text that stands for stored headers, palloc'd: a JSON
 * string in the place of the object.  NULL when they are stored in plain.
 */
char *
wo_keyfile_sealed_headers(Jsonb *headers)
{
	JsonbValue	value;
	char	   *text;

	if (!JB_ROOT_IS_SCALAR(headers) ||
		!JsonbExtractScalar(&headers->root, &value) ||
		value.type != jbvString)
		return NULL;
	text = pnstrdup(value.val.string.val, value.val.string.len);
	return wo_seal_is_sealed(text) ? text : NULL;
}

/*
 * The reverse: gives a sealed text as headers are stored.
 */
Jsonb *
wo_keyfile_stored_headers(char *sealed)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = sealed;
	value.val.string.len = strlen(sealed);
	return JsonbValueToJsonb(&value);
}

/*
 * Opens headers as they are stored, and turns them into lines: those that can
 * be sent.  Otherwise as wo_keyfile_open.
 */
const char *
wo_keyfile_open_headers(WoKeyFile *file, int64 endpoint_id, Jsonb *stored,
						const char **lines)
{
	char	   *sealed = wo_keyfile_sealed_headers(stored);
	const char *problem;
	char	   *plain = NULL;

	if (sealed == NULL)
	{
		*lines = wo_headers_valid_text(stored);
		return NULL;
	}
	problem = wo_keyfile_open(file, WO_SEAL_HEADERS, endpoint_id, sealed,
							  &plain);
	if (problem != NULL)
		return problem;
	Assert(plain != NULL);
	/* what opens is what was sealed, and that was jsonb */
	stored = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												CStringGetDatum(plain)));
	*lines = wo_headers_valid_text(stored);
	return NULL;
}
