/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  Texts between the database's encoding and UTF-8, without errors.
 *
 * Events are sent in UTF-8, and not every text of every database has an
 * equivalent there: WIN1252 has bytes that mean nothing, and in SQL_ASCII any
 * bytes are a text.  Publishers are told so (publish.c), but a row may have
 * come past that, out of a dump for one.  The server's own functions raise an
 * error then, which would stop the dispatcher at that row for ever, and all
 * deliveries with it.  Here what has no equivalent is percent-encoded, byte
 * for byte: that is ASCII, it is harmless within JSON, and texts that differ
 * stay different, as those of two tenants must.
 *
 * Layer 3: it reads the catalog, so there must be a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "encoding.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "text.h"
#include "utils/builtins.h"

#define CHUNK		512			/* bytes converted at once */
#define PERCENT		"%%%02X"

static bool
is_ascii(const char *text, int len)
{
	for (int i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	}
	return true;
}

/* Counts the bytes up to the first that is not ASCII. */
static int
ascii_len(const char *text, int len)
{
	int			n = 0;

	while (n < len && !IS_HIGHBIT_SET(text[n]))
		n++;
	return n;
}

/*
 * Appends the beginning of a text, as far as it can be converted; returns how
 * many of its bytes that is.
 */
static int
append_some(StringInfo out, const char *text, int len, int from, int to)
{
	Oid			conversion;
	unsigned char *source;
	int			n;

	if (from == PG_SQL_ASCII || to == PG_SQL_ASCII)
	{
		n = pg_encoding_verifymbstr(from == PG_SQL_ASCII ? to : from, text,
									len);
		appendBinaryStringInfo(out, text, n);
		return n;
	}
	conversion = FindDefaultConversionProc(from, to);
	if (!OidIsValid(conversion))
	{
		n = ascii_len(text, len);
		appendBinaryStringInfo(out, text, n);
		return n;
	}
	if (len > CHUNK)
		len = pg_encoding_mbcliplen(from, text, len, CHUNK);
	enlargeStringInfo(out, len * MAX_CONVERSION_GROWTH + 1);
	source = (unsigned char *) unconstify(char *, text);
	n = pg_do_encoding_conversion_buf(conversion, from, to, source, len,
									  (unsigned char *) out->data + out->len,
									  out->maxlen - out->len, true);
	out->len += strlen(out->data + out->len);
	return n;
}

/*
 * Converts a text, which is returned itself if it needs no conversion.  Each
 * byte of what has no equivalent is appended in this format.
 */
static char *
convert(const char *text, int *len, int from, int to, const char *format,
		bool *is_exact)
{
	StringInfoData out;

	*is_exact = true;
	if (from == to || is_ascii(text, *len))
		return unconstify(char *, text);
	initStringInfo(&out);
	for (int at = 0; at < *len;)
	{
		int			n;

		CHECK_FOR_INTERRUPTS();
		n = append_some(&out, text + at, *len - at, from, to);
		at += n;
		if (n > 0)
			continue;
		*is_exact = false;
		n = Min(pg_encoding_mblen(from, text + at), *len - at);
		for (; n > 0; n--)
			appendStringInfo(&out, format, (unsigned char) text[at++]);
	}
	*len = out.len;
	return out.data;
}

/*
 * Return a text of the database in UTF-8, palloc'd unless it is itself, and
 * *len its length then.  *is_exact: everything in it has an equivalent.
 */
char *
wo_encoding_to_utf8(const char *text, int *len, bool *is_exact)
{
	return convert(text, len, GetDatabaseEncoding(), PG_UTF8, PERCENT,
				   is_exact);
}

/*
 * Return a text that is in UTF-8 in the database's encoding, palloc'd unless
 * it is itself.
 */
char *
wo_encoding_from_utf8(const char *text)
{
	int			len = strlen(text);
	bool		is_exact;

	return convert(text, &len, PG_UTF8, GetDatabaseEncoding(), PERCENT,
				   &is_exact);
}

/*
 * Returns any bytes of a stranger as a palloc'd text, see text.c, that clients
 * can read in UTF-8: what has no equivalent there becomes \xNN as well.
 */
text *
wo_encoding_text_from_bytes(const char *bytes, int len)
{
	text	   *result = wo_text_from_bytes(bytes, len);
	char	   *utf8;
	int			utf8_len;
	bool		is_exact;

	if (GetDatabaseEncoding() == PG_UTF8)
		return result;
	utf8 = text_to_cstring(result);
	utf8_len = strlen(utf8);
	utf8 = convert(utf8, &utf8_len, GetDatabaseEncoding(), PG_UTF8,
				   "\\x%02x", &is_exact);
	return is_exact ? result :
		cstring_to_text(wo_encoding_from_utf8(utf8));
}
