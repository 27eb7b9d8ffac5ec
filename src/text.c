/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Bytes from strangers as text that the database can store.
 *
 * A receiver may answer with anything.  What is valid in the database's
 * encoding stays; every other byte, control characters but tab and line feed
 * among them, becomes \xNN.  So nothing in a response can garble a terminal
 * that shows it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "text.h"
#include "utils/builtins.h"

/* How many bytes of a valid, harmless character stand here; 0: none. */
static int
char_len(const char *bytes, int len)
{
	unsigned char c = (unsigned char) *bytes;
	int			n;

	if (!IS_HIGHBIT_SET(c))
		return (c >= ' ' && c != 0x7f) || c == '\t' || c == '\n' ? 1 : 0;
	n = pg_encoding_verifymbchar(GetDatabaseEncoding(), bytes, len);
	return Max(n, 0);
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
