/*-------------------------------------------------------------------------
 *
 * headers.h
 *	  Request headers that users set, from jsonb to lines.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_HEADERS_H
#define WO_HEADERS_H

#include "utils/jsonb.h"

extern bool wo_headers_same_name(const char *a, const char *b, size_t len);
extern const char *wo_headers_text(Jsonb *headers, bool is_event);
extern const char *wo_headers_valid_text(Jsonb *headers);

#endif							/* WO_HEADERS_H */
