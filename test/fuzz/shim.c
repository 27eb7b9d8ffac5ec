/*-------------------------------------------------------------------------
 *
 * shim.c
 *	  Stands in for the server under a fuzz target.
 *
 * Memory, errors, encodings, text and the clock, as far as the parts under
 * test use them.
 * StringInfo, psprintf and the verifiers of encodings are PostgreSQL's own,
 * from libpgcommon and libpgport.
 *
 * Each palloc is a malloc of exactly that size.  All of them are linked, to be
 * freed at once when the input is done, as a memory context is: so what the
 * leak sanitizer finds is memory of OpenSSL's or libcurl's.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include <sanitizer/asan_interface.h>
#include <setjmp.h>

#include "clock.h"
#include "lib/ilist.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MESSAGE_LEN		4096

/* What stands before each block; poisoned, so that underruns show. */
typedef struct Block
{
	dlist_node	node;
	Size		size;
	Size		unused;			/* keeps the size a multiple of 16 */
} Block;

static dlist_head blocks = DLIST_STATIC_INIT(blocks);

static MemoryContextData context_data;
MemoryContext CurrentMemoryContext = &context_data;
MemoryContext TopMemoryContext = &context_data;
MemoryContext ErrorContext = &context_data;

static sigjmp_buf *handler = NULL;
static int	error_level;
static char error_message[MESSAGE_LEN];
static char error_hint[MESSAGE_LEN];

static int	database_encoding = PG_UTF8;

/*----------------------------------------------------------------------
 * Input
 *----------------------------------------------------------------------
 */

void
wo_fuzz_fail(const char *claim, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
	abort();
}

/* Takes a number; missing bytes are zero. */
uint32
wo_fuzz_number(WoFuzzInput *input, int n_bytes)
{
	uint32		number = 0;

	while (n_bytes-- > 0)
		number = number << 8 |
			(input->at < input->end ? *input->at++ : 0);
	return number;
}

/* Takes up to max bytes, in a block of their own without a NUL. */
char *
wo_fuzz_bytes(WoFuzzInput *input, size_t max, size_t *len)
{
	char	   *bytes;

	*len = Min(max, (size_t) (input->end - input->at));
	bytes = palloc(*len);
	memcpy(bytes, input->at, *len);
	input->at += *len;
	return bytes;
}

/* Takes a line as a string, which ends at its first NUL if it has one. */
char *
wo_fuzz_line(WoFuzzInput *input)
{
	size_t		rest = input->end - input->at;
	const uint8_t *end = rest > 0 ? memchr(input->at, '\n', rest) : NULL;
	size_t		len = end != NULL ? (size_t) (end - input->at) : rest;
	char	   *line = pnstrdup((const char *) input->at, len);

	input->at += Min(rest, len + 1);
	return line;
}

bool
wo_fuzz_is_shown(const char *text, size_t max)
{
	size_t		len = strlen(text);

	for (const char *p = text; *p; p++)
	{
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
			return false;
	}
	return len <= max &&
		pg_encoding_verifymbstr(database_encoding, text, len) == (int) len;
}

/*----------------------------------------------------------------------
 * Memory
 *----------------------------------------------------------------------
 */

static Block *
block_of(void *pointer)
{
	Block	   *block = (Block *) pointer - 1;

	__asan_unpoison_memory_region(block, sizeof(Block));
	return block;
}

static void *
hide(Block *block)
{
	__asan_poison_memory_region(block, sizeof(Block));
	return (char *) block + sizeof(Block);
}

static void
unlink_block(Block *block)
{
	/* the neighbours are hidden too */
	if (block->node.prev != &blocks.head)
		__asan_unpoison_memory_region(block->node.prev, sizeof(Block));
	if (block->node.next != &blocks.head)
		__asan_unpoison_memory_region(block->node.next, sizeof(Block));
	dlist_delete(&block->node);
	if (block->node.prev != &blocks.head)
		__asan_poison_memory_region(block->node.prev, sizeof(Block));
	if (block->node.next != &blocks.head)
		__asan_poison_memory_region(block->node.next, sizeof(Block));
}

void *
palloc(Size size)
{
	Block	   *block;

	if (!AllocSizeIsValid(size))
		elog(ERROR, "invalid memory alloc request size %zu", size);
	block = malloc(sizeof(Block) + size);
	if (block == NULL)
		abort();
	block->size = size;
	if (!dlist_is_empty(&blocks))
		__asan_unpoison_memory_region(blocks.head.next, sizeof(Block));
	dlist_push_head(&blocks, &block->node);
	if (block->node.next != &blocks.head)
		__asan_poison_memory_region(block->node.next, sizeof(Block));
	return hide(block);
}

void *
palloc0(Size size)
{
	void	   *pointer = palloc(size);

	memset(pointer, 0, size);
	return pointer;
}

void *
palloc_extended(Size size, int flags)
{
	return flags & MCXT_ALLOC_ZERO ? palloc0(size) : palloc(size);
}

void
pfree(void *pointer)
{
	Block	   *block = block_of(pointer);

	unlink_block(block);
	free(block);
}

void *
repalloc(void *pointer, Size size)
{
	void	   *moved = palloc(size);
	Block	   *block = block_of(pointer);
	Size		kept = Min(size, block->size);

	hide(block);
	memcpy(moved, pointer, kept);
	pfree(pointer);
	return moved;
}

char *
pnstrdup(const char *text, Size max)
{
	Size		len = strnlen(text, max);
	char	   *copy = palloc(len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

char *
pstrdup(const char *text)
{
	return pnstrdup(text, strlen(text));
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	return palloc(size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	return palloc0(size);
}

void
MemoryContextDelete(MemoryContext context)
{
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size min_context_size, Size init_block_size,
							  Size max_block_size)
{
	return &context_data;
}

void
wo_fuzz_reset(void)
{
	while (!dlist_is_empty(&blocks))
		pfree((Block *) blocks.head.next + 1);
}

/*----------------------------------------------------------------------
 * Errors
 *----------------------------------------------------------------------
 */

bool
errstart(int elevel, const char *domain)
{
	error_level = elevel;
	error_message[0] = '\0';
	error_hint[0] = '\0';
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (error_level < ERROR)
		return;
	if (handler == NULL)
		wo_fuzz_fail(error_message, filename, lineno);
	siglongjmp(*handler, 1);
}

int
errcode(int sqlerrcode)
{
	return 0;
}

/* The server's printf knows %m and shares no state with libc's. */
static int
print(char *to, const char *fmt, va_list args)
{
	vsnprintf(to, MESSAGE_LEN, fmt, args);
	return 0;
}

int
errmsg(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	print(error_message, fmt, args);
	va_end(args);
	return 0;
}

int
errmsg_internal(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	print(error_message, fmt, args);
	va_end(args);
	return 0;
}

int
errhint(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	print(error_hint, fmt, args);
	va_end(args);
	return 0;
}

#if PG_VERSION_NUM >= 160000
void
ExceptionalCondition(const char *condition, const char *file, int line)
#else
void
ExceptionalCondition(const char *condition, const char *type,
					 const char *file, int line)
#endif
{
	wo_fuzz_fail(condition, file, line);
}

bool
wo_fuzz_raises(void (*call) (void *), void *arg)
{
	sigjmp_buf	here;
	sigjmp_buf *outer = handler;
	bool		is_raised = true;

	if (sigsetjmp(here, 0) == 0)
	{
		handler = &here;
		call(arg);
		is_raised = false;
	}
	handler = outer;
	return is_raised;
}

const char *
wo_fuzz_error_message(void)
{
	return error_message;
}

const char *
wo_fuzz_error_hint(void)
{
	return error_hint;
}

/*----------------------------------------------------------------------
 * Encodings and text
 *----------------------------------------------------------------------
 */

void
wo_fuzz_set_encoding(int encoding)
{
	database_encoding = encoding;
}

int
GetDatabaseEncoding(void)
{
	return database_encoding;
}

/* As in the server: the most whole characters that fit into limit. */
int
pg_mbcliplen(const char *text, int len, int limit)
{
	int			clipped = 0;

	while (clipped < len && text[clipped] != '\0')
	{
		int			n = pg_encoding_mblen(database_encoding, text + clipped);

		if (clipped + n > limit || clipped + n > len)
			break;
		clipped += n;
	}
	return clipped;
}

text *
cstring_to_text_with_len(const char *bytes, int len)
{
	text	   *result = palloc(len + VARHDRSZ);

	SET_VARSIZE(result, len + VARHDRSZ);
	memcpy(VARDATA(result), bytes, len);
	return result;
}

/*----------------------------------------------------------------------
 * Time
 *----------------------------------------------------------------------
 */

/* Stands still: what an input does must not depend on when it is run. */
int64
wo_clock_monotonic(void)
{
	return USECS_PER_DAY;
}
