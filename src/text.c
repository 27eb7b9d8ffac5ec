/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Bytes from strangers as text that the database can store.
 *
 * A receiver may answer with anything.  What is valid in the database's
 * encoding (UTF-8 when that is SQL_ASCII) stays; every other byte, control
 * characters but tab and line feed among them, becomes \xNN.  So nothing in a
 * response can garble a terminal that shows it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "text.h"
#include "utils/builtins.h"

/* Is this a control character beyond ASCII, U+0080 to U+009F? */
static bool
is_c1_control(int encoding, const char *bytes, int n)
{
	unsigned char last = (unsigned char) bytes[n - 1];

	if (last < 0x80 || last > 0x9f)
		return false;
	if (n == 2)
		return encoding == PG_UTF8 && (unsigned char) bytes[0] == 0xc2;
	/* other encodings of one byte have printable characters there */
	return n == 1 &&
		((encoding >= PG_LATIN1 && encoding <= PG_LATIN10) ||
		 (encoding >= PG_ISO_8859_5 && encoding <= PG_ISO_8859_8));
}

/* How many bytes of a valid, harmless character stand here; 0: none. */
static int
char_len(const char *bytes, int len)
{
	unsigned char c = (unsigned char) *bytes;
	int			encoding = GetDatabaseEncoding();
	int			n;

	/* it takes any byte, and nobody converts for it: receivers send UTF-8 */
	if (encoding == PG_SQL_ASCII)
		encoding = PG_UTF8;

	if (!IS_HIGHBIT_SET(c))
		return (c >= ' ' && c != 0x7f) || c == '\t' || c == '\n' ? 1 : 0;
	n = pg_encoding_verifymbchar(encoding, bytes, len);
	return n <= 0 || is_c1_control(encoding, bytes, n) ? 0 : n;
}

/* Returns a palloc'd text of any bytes. */
text *
wo_text_from_bytes(const char *bytes, int len)
{
	StringInfoData buf;
	text	   *result;

	initStringInfo(&buf);
	for (int at = 0; at < len;)
	{
		int			n = char_len(bytes + at, len - at);

		if (n > 0)
			appendBinaryStringInfo(&buf, bytes + at, n);
		else
			appendStringInfo(&buf, "\\x%02x", (unsigned char) bytes[at]);
		at += Max(n, 1);
	}
	result = cstring_to_text_with_len(buf.data, buf.len);
	pfree(buf.data);
	return result;
}

/*
 * Returns a text as a message may show it, palloc'd: on one line, cut to max
 * bytes, without what a terminal obeys.  It is valid in the database's
 * encoding.
 */
char *
wo_text_shown(const char *text, size_t len, int max)
{
	int			n = pg_mbcliplen(text, (int) len, max);
	char	   *shown = pnstrdup(text, n);

	for (char *p = shown; *p; p++)
	{
		/* no other control character of several bytes begins so */
		int			n_bytes = (unsigned char) *p == 0xc2 ? 2 : 1;

		if ((unsigned char) *p < 0x20 || *p == 0x7f ||
			is_c1_control(GetDatabaseEncoding(), p, n_bytes))
			memset(p, '?', n_bytes);
	}
	return n < (int) len ? psprintf("%s...", shown) : shown;
}
