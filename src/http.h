/*-------------------------------------------------------------------------
 *
 * http.h
 *	  Many HTTP requests at once, without blocking.
 *
 * Layer 2.  How a request goes: wo_http_prepare gives out an empty request,
 * the caller fills in its headers and body and hands it to wo_http_start
 * (or wo_http_abandon); calls of wo_http_step move it along; and
 * wo_http_next_finished tells how it ended.  Between steps, wait until
 * wo_http_epoll_fd is readable or wo_http_timeout_ms have passed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_HTTP_H
#define WO_HTTP_H

#include "event.h"
#include "lib/stringinfo.h"

#define WO_HTTP_MAX_LOOKUPS		128 /* of host names, at once */
#define WO_HTTP_LOOKUP_FILES	4	/* descriptors that one needs, at most */
#include "netguard.h"

typedef struct WoHttp WoHttp;
typedef struct WoHttpTarget WoHttpTarget;

typedef struct WoHttpOptions
{
	const char *ca_file;		/* CA bundle; "": the system's */
	int			max_in_flight;	/* so many connections are kept open */
	int			response_excerpt;	/* bytes of a response's body kept */
	const char *proxy;			/* for targets that name none; "": none */
	WoNetguard	guard;			/* what may be dialled */
} WoHttpOptions;

/* A request to be filled in.  Its memory is the engine's, and reused. */
typedef struct WoHttpRequest
{
	uint32		slot;			/* come back in the result */
	uint32		generation;
	TimestampTz started_at;
	void	   *owner;			/* the caller's; comes back too */
	StringInfoData headers;		/* "Name: value\n"... */
	StringInfoData body;
} WoHttpRequest;

extern WoHttp *wo_http_create(const WoHttpOptions *options);
extern void wo_http_configure(WoHttp *http, const WoHttpOptions *options);

extern WoHttpTarget *wo_http_add_target(WoHttp *http,
										const WoTarget *target);
extern void wo_http_drop_target(WoHttp *http, WoHttpTarget *target);

extern WoHttpRequest *wo_http_prepare(WoHttp *http, WoHttpTarget *target);
extern void wo_http_start(WoHttp *http, WoHttpRequest *request);
extern void wo_http_abandon(WoHttp *http, WoHttpRequest *request);

extern int	wo_http_step(WoHttp *http);
extern bool wo_http_next_finished(WoHttp *http, WoResult *result,
								  void **owner);

extern bool wo_http_take_shortage(WoHttp *http);
extern int	wo_http_epoll_fd(const WoHttp *http);
extern int	wo_http_timeout_ms(WoHttp *http);
extern int	wo_http_n_in_flight(const WoHttp *http);

#endif							/* WO_HTTP_H */
