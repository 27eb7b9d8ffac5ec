/*-------------------------------------------------------------------------
 *
 * text.h
 *	  Bytes from strangers as text that the database can store.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_TEXT_H
#define WO_TEXT_H

#include "c.h"

extern text * wo_text_from_bytes(const char *bytes, int len);
extern char *wo_text_shown(const char *text, size_t len, int max);

#endif							/* WO_TEXT_H */
