/*-------------------------------------------------------------------------
 *
 * base64.h
 *	  Base64, canonical: one text for the same bytes.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_BASE64_H
#define WO_BASE64_H

#include "lib/stringinfo.h"

extern int	wo_base64_decode(const char *text, int text_len,
							 unsigned char *out, int max_len);
extern void wo_base64_append(StringInfo out, const unsigned char *bytes,
							 int len);

#endif							/* WO_BASE64_H */
