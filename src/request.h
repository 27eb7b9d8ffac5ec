/*-------------------------------------------------------------------------
 *
 * request.h
 *	  The headers and the body of one HTTP request.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_REQUEST_H
#define WO_REQUEST_H

#include "event.h"
#include "lib/stringinfo.h"
#include "signature.h"

/* What a request is made of. */
typedef struct WoRequest
{
	const WoEvent *event;
	WoBodyFormat format;
	const char *target_headers; /* "Name: value\n"..., of the endpoint */
	const WoSigner *signer;
	TimestampTz now;			/* when it is sent: what the signature says */
} WoRequest;

extern const char *wo_request_build(const WoRequest *request,
									StringInfo headers, StringInfo body);
extern const char *wo_request_format_name(WoBodyFormat format);
extern bool wo_request_format_by_name(const char *name,
									  WoBodyFormat *format);

#endif							/* WO_REQUEST_H */
