/*-------------------------------------------------------------------------
 *
 * shim.h
 *	  What the fuzz targets share: a reader of their input, and errors.
 *
 * The sources of src are compiled as they are, with the server's headers.
 * shim.c stands in for the server: palloc is malloc, so that the address
 * sanitizer sees each block's end, and an ERROR returns to wo_fuzz_raises.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FUZZ_SHIM_H
#define WO_FUZZ_SHIM_H

#include "postgres.h"

/* What libFuzzer calls, once per input. */
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What libFuzzer calls before the first one, where it is. */
extern int	LLVMFuzzerInitialize(int *argc, char ***argv);

/* Ends the process, and names what does not hold. */
extern void wo_fuzz_fail(const char *claim, const char *file, int line)
			pg_attribute_noreturn();

#define wo_fuzz_require(claim) \
	((claim) ? (void) 0 : wo_fuzz_fail(#claim, __FILE__, __LINE__))

/* Input that has not been used yet. */
typedef struct WoFuzzInput
{
	const uint8_t *at;
	const uint8_t *end;
} WoFuzzInput;

extern uint32 wo_fuzz_number(WoFuzzInput *input, int n_bytes);
extern char *wo_fuzz_bytes(WoFuzzInput *input, size_t max, size_t *len);
extern char *wo_fuzz_line(WoFuzzInput *input);

/* Calls it and tells whether that raised an ERROR; what follows is of it. */
extern bool wo_fuzz_raises(void (*call) (void *), void *arg);
extern const char *wo_fuzz_error_message(void);
extern const char *wo_fuzz_error_hint(void);

/* Frees all that was palloc'd. */
extern void wo_fuzz_reset(void);

/* The database's encoding; UTF-8 until it is set. */
extern void wo_fuzz_set_encoding(int encoding);

/* Is this text fit for a message: one line, valid, and not long? */
extern bool wo_fuzz_is_shown(const char *text, size_t max);

#endif							/* WO_FUZZ_SHIM_H */
