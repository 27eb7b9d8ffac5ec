/*-------------------------------------------------------------------------
 *
 * fuzz_text.c
 *	  Bytes of a response as text.
 *
 * The first byte chooses the database's encoding.  The text is valid in it,
 * and has no control character but tab and line feed.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "mb/pg_wchar.h"
#include "text.h"

static const int encodings[] = {
	PG_UTF8, PG_SQL_ASCII, PG_LATIN1, PG_WIN1252, PG_EUC_JP, PG_EUC_TW,
	PG_MULE_INTERNAL, PG_KOI8R
};

static void
check_text(const char *bytes, int len, int encoding)
{
	wo_fuzz_require(pg_encoding_verifymbstr(encoding, bytes, len) == len);
	for (int i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) bytes[i];

		wo_fuzz_require(c >= 0x20 || c == '\t' || c == '\n');
		wo_fuzz_require(c != 0x7f);
		/* U+0080 to U+009F: among them what starts terminal sequences */
		if (encoding == PG_UTF8 && c == 0xc2)
			wo_fuzz_require((unsigned char) bytes[i + 1] >= 0xa0);
		if (encoding == PG_LATIN1)
			wo_fuzz_require(c < 0x80 || c >= 0xa0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	int			encoding = encodings[wo_fuzz_number(&input, 1) %
									 lengthof(encodings)];
	size_t		len;
	char	   *bytes = wo_fuzz_bytes(&input, size, &len);
	text	   *shown;

	wo_fuzz_set_encoding(encoding);
	shown = wo_text_from_bytes(bytes, len);
	/* what a database without an encoding keeps is UTF-8 too */
	if (encoding == PG_SQL_ASCII)
		encoding = PG_UTF8;
	check_text(VARDATA(shown), VARSIZE(shown) - VARHDRSZ, encoding);
	wo_fuzz_require(VARSIZE(shown) - VARHDRSZ >= len);
	wo_fuzz_reset();
	return 0;
}
