/*-------------------------------------------------------------------------
 *
 * encoding.h
 *	  Texts between the database's encoding and UTF-8, without errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_ENCODING_H
#define WO_ENCODING_H

extern char *wo_encoding_to_utf8(const char *text, int *len, bool *is_exact);
extern char *wo_encoding_from_utf8(const char *text);
extern text * wo_encoding_text_from_bytes(const char *bytes, int len);

#endif							/* WO_ENCODING_H */
