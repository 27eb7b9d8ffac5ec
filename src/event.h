/*-------------------------------------------------------------------------
 *
 * event.h
 *	  The nouns of webhook_outbox: event, target, attempt's result.
 *
 * Layer 0.  Everything here is plain data that may cross a process border
 * (channel.c flattens it), so nothing here holds a descriptor, a curl handle
 * or a catalog pointer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_EVENT_H
#define WO_EVENT_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* At most this many keys sign one request: the current one and old ones. */
#define WO_MAX_KEYS			4

/* Where an attempt ended.  The SQL names are in outcome.c, in this order. */
typedef enum WoOutcome
{
	WO_DELIVERED,				/* a 2xx answer */
	WO_HTTP_ERROR,				/* any other complete answer */
	WO_TIMEOUT,					/* no complete answer in time */
	WO_DNS_ERROR,				/* the host's name did not resolve */
	WO_CONNECT_ERROR,			/* no TCP connection */
	WO_TLS_ERROR,				/* handshake or certificate refused */
	WO_PROTOCOL_ERROR,			/* reset, cut off, or not HTTP */
	WO_BLOCKED,					/* netguard refused the address */
	WO_INVALID_REQUEST,			/* the request could not be made (bad key) */
	WO_UNKNOWN					/* the sender died while it was under way */
} WoOutcome;

#define WO_N_OUTCOMES		(WO_UNKNOWN + 1)

/* How the body is built.  The SQL names are in request.c, in this order. */
typedef enum WoBodyFormat
{
	WO_FORMAT_ENVELOPE,
	WO_FORMAT_STANDARD,
	WO_FORMAT_RAW,
	WO_FORMAT_CLOUDEVENTS,
	WO_FORMAT_CLOUDEVENTS_BINARY
} WoBodyFormat;

/* What happened: a row of webhook_outbox.event, its texts in UTF-8. */
typedef struct WoEvent
{
	pg_uuid_t	id;				/* UUIDv7, the webhook-id of every attempt */
	TimestampTz created_at;
	const char *type;
	const char *tenant;			/* NULL: none */
	const char *source;			/* NULL: none */
	const char *headers;		/* "Name: value\n"..., "" when there are none */
	const char *payload;		/* JSON as published, not NUL-terminated */
	uint32		payload_len;	/* bytes */
} WoEvent;

/* A key that signs requests to an endpoint. */
typedef struct WoKey
{
	const char *secret;			/* whsec_... (HMAC) or whsk_... (Ed25519) */
	TimestampTz expires_at;		/* signs before this; DT_NOEND: for good */
} WoKey;

/* Who is told: what a sender has to know of an endpoint. */
typedef struct WoTarget
{
	int64		endpoint_id;
	WoBodyFormat format;
	bool		is_http2;		/* offer HTTP/2, else HTTP/1.1 only */
	int			timeout_ms;		/* of the whole request */
	int			max_in_flight;	/* at this sender; the rest waits there */
	const char *url;
	const char *headers;		/* "Name: value\n"..., "" when there are none */
	const char *ca_pem;			/* trust only these; NULL: the CA bundle */
	const char *proxy;			/* "": none; NULL: the setting's */
	int			n_keys;
	WoKey		keys[WO_MAX_KEYS];
} WoTarget;

/* How one HTTP request ended, as the sender saw it. */
typedef struct WoResult
{
	uint32		slot;			/* names the dispatcher's work item ... */
	uint32		generation;		/* ... and which use of that slot */
	WoOutcome	outcome;
	int			http_status;	/* 0: no status line came */
	TimestampTz started_at;		/* when the request was given to libcurl */
	float		connect_ms;		/* until connected (with TLS); 0: reused */
	float		total_ms;		/* from started_at to the end */
	int			retry_after_s;	/* seconds from the end; -1: not asked for */
	const char *error;			/* one line for people; "" when delivered */
	const char *response;		/* head of the body, any bytes */
	uint32		response_len;	/* bytes, at most response_excerpt */
} WoResult;

/* outcome.c */
extern const char *wo_outcome_name(WoOutcome outcome);

#endif							/* WO_EVENT_H */
