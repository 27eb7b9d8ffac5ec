/*-------------------------------------------------------------------------
 *
 * jsonb.h
 *	  Headers as jsonb for fuzz targets, without the server's jsonb.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FUZZ_JSONB_H
#define WO_FUZZ_JSONB_H

#include "utils/jsonb.h"

extern Jsonb *wo_fuzz_jsonb(const char *text, size_t len);

#endif							/* WO_FUZZ_JSONB_H */
