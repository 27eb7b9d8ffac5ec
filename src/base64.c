/*-------------------------------------------------------------------------
 *
 * base64.c
 *	  Base64, canonical: one text for the same bytes.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "base64.h"

#define BASE64_LEN(n)		(((n) + 2) / 3 * 4)

static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/*
 * Decode canonical base64; -1 when the text is none or does not fit.
 * Written here because OpenSSL's decoder takes white space and hides how
 * long the result is, and PostgreSQL's changed its signature in 18.
 */
int
wo_base64_decode(const char *text, int text_len, unsigned char *out,
				 int max_len)
{
	int			n_pad = 0;
	int			len = 0;

	while (n_pad < 2 && n_pad < text_len && text[text_len - 1 - n_pad] == '=')
		n_pad++;
	if (text_len == 0 || text_len % 4 != 0 ||
		text_len / 4 * 3 - n_pad > max_len)
		return -1;

	for (int i = 0; i < text_len; i += 4)
	{
		int			n_out = i + 4 == text_len ? 3 - n_pad : 3;
		uint32		bits = 0;

		for (int j = 0; j < 4; j++)
		{
			int			value = j <= n_out ? base64_value(text[i + j]) : 0;

			if (value < 0)
				return -1;
			bits = bits << 6 | value;
		}

		/*
		 * bits that padding cuts off must be zero: one text for the same
		 * bytes
		 */
		if ((bits & ((1 << (8 * (3 - n_out))) - 1)) != 0)
			return -1;
		for (int j = 0; j < n_out; j++)
			out[len++] = bits >> (16 - 8 * j);
	}
	return len;
}

/*
 * Append bytes in base64.
 */
void
wo_base64_append(StringInfo out, const unsigned char *bytes, int len)
{
	enlargeStringInfo(out, BASE64_LEN(len));
	out->len += EVP_EncodeBlock((unsigned char *) out->data + out->len,
								bytes, len);
}
