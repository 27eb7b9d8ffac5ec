/*-------------------------------------------------------------------------
 *
 * http_private.h
 *	  What the files of the HTTP engine share.
 *
 * Layer 2, for http.c and the other files http_*.c alone, which are the only
 * files that know libcurl, apart from url.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_HTTP_PRIVATE_H
#define WO_HTTP_PRIVATE_H

#include <curl/curl.h>
#include <sys/stat.h>

#include "http.h"
#include "lib/ilist.h"

#define WO_HTTP_READ_SIZE	1024	/* bytes of a response read at once */
#define WO_HTTP_MAX_BODY	(64 * 1024) /* of a response: the rest is left */
#define WO_HTTP_MAX_PIECES	10000	/* chunks and reads, likewise */
#define WO_HTTP_MAX_HEAD	(64 * 1024) /* bytes of a response's head ... */
#define WO_HTTP_MAX_LINES	1000	/* ... and lines; more fails */
#define WO_HTTP_MAX_WIRE	(512 * 1024)	/* of all that comes, what frames
											 * it too; likewise */

#define WO_HTTP_MAX_ASKED	(16 * 1024) /* bytes of a proxy's answer when it
										 * is to connect; more fails */

/* What epoll knows of a descriptor, and what libcurl wants of it. */
typedef struct WoHttpWatch
{
	uint8		registered;		/* EPOLLIN, EPOLLOUT; 0: not registered */
	uint8		wanted;			/* likewise; 0: idle */
	bool		is_connection;	/* opened by wo_http_poll_open, so that its
								 * closing is seen too */
	bool		is_shared;		/* speaks HTTP/2 */
	bool		is_given_up;	/* to be closed when no request uses it */
	int64		connection;		/* libcurl's number of it; -1: unknown */
} WoHttpWatch;

/* How the last look-up of a target's name ended. */
typedef enum WoHttpLookup
{
	WO_LOOKUP_NONE,				/* there was none yet */
	WO_LOOKUP_FOUND,
	WO_LOOKUP_FAILED
} WoHttpLookup;

struct WoHttp
{
	CURLM	   *multi;
	int			epoll_fd;
	int64		deadline_ms;	/* of libcurl's next call; -1: none */
	WoHttpWatch *watches;		/* by descriptor; malloc'd */
	int			n_watches;
	int			n_in_flight;	/* started and not yet told as finished */
	int			n_transfers;	/* all, idle ones too */
	dlist_head	starting;		/* Transfers to be added in the next step */
	dlist_head	finished;		/* Transfers to be told of */
	dlist_head	put_off;		/* Transfers that wait for a look-up */
	dlist_head	resent;			/* Transfers that libcurl sends again */
	int64		resume_ms;		/* when to see to them again */
	int			n_lookups;		/* under way and wanted */
	bool		lacks_files;	/* there was none for a connection */
	dlist_head	idle;			/* Transfers, the least recently used first */
	struct WoHttpTransfer *told;	/* its result is with the caller */
	bool		has_http2;
	bool		has_openssl;	/* does TLS by it */
	char	   *ca_file;		/* NULL: none was found */
	char	   *ca_path;		/* the same, spelt anew when it has changed */
	int			n_ca_changes;	/* so often it has */
	struct stat ca_status;		/* as it was found last; zero: not at all */
	int			max_in_flight;
	int			response_excerpt;
	char	   *proxy;			/* "": none */
	WoNetguard	guard;
	int			setup;			/* counts changes that handles must follow */
	CURLMcode	failure;		/* of the multi interface; then it is lost */
};

struct WoHttpTarget
{
	char	   *url;
	char	   *ca_pem;			/* NULL: the CA bundle */
	char	   *proxy;			/* "": none; NULL: that of WoHttp */
	WoNetVerdict verdict;		/* on the URL's host, when it is proxied */
	int			judged_setup;	/* http->setup when that was found */
	int			timeout_ms;
	bool		is_http2;
	bool		has_name;		/* its host is to be looked up */
	bool		is_dropped;		/* freed with its last transfer */
	int			n_transfers;
	int			given_up_fd;	/* of the connection given up last ... */
	int64		given_up;		/* ... and its number; -1: none */
	struct WoHttpTransfer *looking_up;	/* has its name looked up; or NULL */
	WoHttpLookup last_lookup;
	dlist_head	idle;			/* Transfers, the most recently used first */
};

/* One request, or an idle handle that waits for the next. */
typedef struct WoHttpTransfer
{
	WoHttpRequest request;		/* must be first: callers hold this */
	WoHttp	   *http;
	WoHttpTarget *target;
	CURL	   *easy;
	dlist_node	node;			/* in starting, put_off, resent, finished or
								 * idle of WoHttp; else with libcurl */
	dlist_node	target_node;	/* in idle of target, when idle */
	struct curl_slist *lines;	/* nodes over request.headers */
	int			max_lines;
	int			setup;			/* http->setup when easy was set up */
	const char *set_body;		/* the address that libcurl has ... */
	int			set_body_len;	/* ... and the length */
	int			set_timeout_ms; /* likewise */
	bool		set_fresh;		/* likewise: on a connection of its own */
	int64		started_ms;		/* when it was to be sent */
	int			waited_ms;		/* of that, before its name was looked up */
	bool		is_put_off;		/* waits for that, in put_off, or did so in
								 * vain */
	bool		lacks_file;		/* ... or for a descriptor */

	/* the response, as callbacks note it */
	char	   *excerpt;		/* its first bytes */
	int			excerpt_len;
	int			excerpt_size;	/* of the buffer; set before the request */
	int64		n_body;			/* bytes */
	int			n_pieces;		/* in which the body came */
	int64		n_head;			/* bytes, all header lines */
	int			n_lines;		/* of the head, likewise */
	int			status;			/* of the last status line that was shown */
	char		retry_after[64];	/* value of the header; "": none */
	bool		has_head;		/* up to the empty line that ends it */
	bool		is_malformed;	/* its status line is none */
	bool		is_coded;		/* with a transfer coding nobody asked for */
	bool		is_flood;		/* ended here, for being more than fits */
	bool		has_enough;		/* likewise, but for what follows the head */
	int			fd;				/* of its own connection; -1: has none */
	int			n_looks;		/* of libcurl's at it */
	int			n_asked;		/* the same, before a proxy has connected */
	uint64		n_before;		/* bytes received on fd when counting began */
	bool		was_dialled;	/* netguard permitted an address */
	bool		was_connected;	/* by TCP, when TLS was to follow */
	bool		was_started;	/* libcurl got it */
	bool		was_asked;		/* its name was looked up, or that began */
	bool		was_sent;		/* on a connection ... */
	bool		is_resent;		/* ... and on another one; in resent */
	int64		connection;		/* libcurl's number of it; -1: unknown */
	int			overdue_ms;		/* ended here, after so long; 0: by libcurl */
	bool		is_http;		/* what is dialled gets plain http */
	bool		is_proxied;		/* what is dialled is a proxy ... */
	bool		is_tunnelled;	/* ... that connects, and sees nothing more */
	WoNetVerdict verdict;		/* why an address was refused, if one was */

	/* how it ended */
	CURLcode	code;
	char		detail[CURL_ERROR_SIZE];	/* libcurl's words */
	char		error[CURL_ERROR_SIZE + 128];	/* ours */
} WoHttpTransfer;

/* http.c */
extern void wo_http_take(WoHttp *http, WoHttpTransfer *transfer,
						 CURLcode code);

/* http_poll.c */
extern int64 wo_http_poll_now(void);
extern void wo_http_poll_create(WoHttp *http);
extern int	wo_http_poll_run(WoHttp *http);
extern curl_socket_t wo_http_poll_open(void *arg, curlsocktype purpose,
									   struct curl_sockaddr *address);
extern int	wo_http_poll_recheck(void *arg, char *address, char *local_address,
								 int port, int local_port);
extern int	wo_http_poll_close(void *arg, curl_socket_t fd);
extern void wo_http_poll_close_idle(WoHttp *http);
extern void wo_http_poll_end_unclean(WoHttpTransfer *transfer);
extern bool wo_http_poll_is_flood(WoHttpTransfer *transfer);

/* http_share.c */
extern bool wo_http_share_is_possible(const WoHttpTransfer *transfer);
extern bool wo_http_share_is_shared(const WoHttpTransfer *transfer);
extern int64 wo_http_share_number(CURL *easy);
extern void wo_http_share_note_use(WoHttpTransfer *transfer);
extern void wo_http_share_choose(WoHttpTransfer *transfer);
extern void wo_http_share_give_up(WoHttpTransfer *transfer);
extern void wo_http_share_note_resent(WoHttpTransfer *transfer);
extern void wo_http_share_forget_resent(WoHttpTransfer *transfer);
extern int	wo_http_share_end_overdue(WoHttp *http);
extern int64 wo_http_share_deadline(WoHttp *http);

/* http_lookup.c */
extern void wo_http_lookup_init(void);
extern int	wo_http_lookup_start(void *resolver, void *reserved, void *arg);
extern void wo_http_lookup_end(WoHttpTransfer *transfer, WoHttpLookup how);
extern void wo_http_lookup_put_off(WoHttp *http, WoHttpTransfer *transfer);
extern int	wo_http_lookup_resume(WoHttp *http);

/* http_transfer.c */
extern void wo_http_transfer_set_timeout(WoHttpTransfer *transfer,
										 int timeout_ms);
extern void wo_http_transfer_judge(WoHttpTransfer *transfer);
extern void wo_http_transfer_forget_idle(WoHttp *http);
extern void wo_http_transfer_recycle(WoHttp *http, WoHttpTransfer *transfer);

/* http_result.c */
extern WoOutcome wo_http_result_judge(WoHttpTransfer *transfer, long status);

#endif							/* WO_HTTP_PRIVATE_H */
