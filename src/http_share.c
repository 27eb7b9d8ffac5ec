/*-------------------------------------------------------------------------
 *
 * http_share.c
 *	  Keeps what one request meets from others on the same connection.
 *
 * Layer 2, part of http.c.  Over HTTP/1.1 a connection on which a request
 * fails is closed.  Over HTTP/2 libcurl ends the request alone, and uses the
 * connection again, be it dead, or given to something else than answers: as
 * long as there are requests, all would fail.  To close it at once would take
 * the other requests on it down, which may have been processed.  So it is
 * given up: new requests to the target stay away from it, and when the last
 * one on it has ended it is closed.
 *
 * When a receiver says that it has not processed a request (GOAWAY,
 * REFUSED_STREAM), or closes a connection just when it is used again, libcurl
 * sends that request again by itself, up to five times.  It grants it all its
 * time anew; here its time is up when it said.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/ssl.h>
#include <sys/socket.h>

#include "http_private.h"

/* CURLINFO_CONN_ID of libcurl 8.2 on, which HTTP/2 takes anyhow */
#define CONNECTION_NUMBER	((CURLINFO) (CURLINFO_OFF_T + 64))

/*
 * Return libcurl's number of the connection that a handle uses; -1: unknown.
 */
int64
wo_http_share_number(CURL *easy)
{
	curl_off_t	number = -1;

	if (curl_easy_getinfo(easy, CONNECTION_NUMBER, &number) != CURLE_OK)
		return -1;
	return number;
}

/*----------------------------------------------------------------------
 * Connections that are given up
 *----------------------------------------------------------------------
 */

/*
 * May a request share its connection, that is, go by HTTP/2?
 */
bool
wo_http_share_is_possible(const WoHttpTransfer *transfer)
{
	return transfer->target->is_http2 && transfer->http->has_http2;
}

/*
 * Does it?  What is offered a receiver need not speak: it says so in the TLS
 * handshake, before which nobody shares the connection.
 */
bool
wo_http_share_is_shared(const WoHttpTransfer *transfer)
{
	struct curl_tlssessioninfo *tls = NULL;
	const unsigned char *protocol = NULL;
	unsigned int len = 0;

	if (!wo_http_share_is_possible(transfer))
		return false;
	/* another TLS library is not asked */
	if (!transfer->http->has_openssl)
		return true;
	if (curl_easy_getinfo(transfer->easy, CURLINFO_TLS_SSL_PTR,
						  &tls) != CURLE_OK || tls->internals == NULL)
		return false;
	SSL_get0_alpn_selected(tls->internals, &protocol, &len);
	return len == 2 && memcmp(protocol, "h2", 2) == 0;
}

/* Is the connection that was given up last still used? */
static bool
is_in_use(WoHttp *http, const WoHttpTarget *target)
{
	const WoHttpWatch *watch = &http->watches[target->given_up_fd];

	return watch->is_given_up && watch->connection == target->given_up;
}

/*
 * Choose a connection for a request that is about to start: any, or a new one.
 */
void
wo_http_share_choose(WoHttpTransfer *transfer)
{
	WoHttpTarget *target = transfer->target;
	bool		is_fresh = false;

	if (target->given_up >= 0)
		is_fresh = is_in_use(transfer->http, target);
	if (!is_fresh)
		target->given_up = -1;
	if (transfer->set_fresh == is_fresh)
		return;
	curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, (long) is_fresh);
	transfer->set_fresh = is_fresh;
}

/*
 * Give up the connection of a request that has failed.  When the receiver
 * ended that stream alone, in good order, there is no need.
 */
void
wo_http_share_give_up(WoHttpTransfer *transfer)
{
	WoHttp	   *http = transfer->http;
	WoHttpTarget *target = transfer->target;

	if (transfer->code == CURLE_OK || transfer->code == CURLE_HTTP2_STREAM ||
		transfer->connection < 0 || !wo_http_share_is_possible(transfer))
		return;
	for (int fd = 0; fd < http->n_watches; fd++)
	{
		WoHttpWatch *watch = &http->watches[fd];

		if (!watch->is_connection ||
			watch->connection != transfer->connection)
			continue;
		watch->is_given_up = true;
		target->given_up_fd = fd;
		target->given_up = watch->connection;
		/* libcurl finds it closed, and dials anew */
		if (watch->wanted == 0)
			(void) shutdown(fd, SHUT_RDWR);
	}
}

/*----------------------------------------------------------------------
 * Requests that are sent again
 *----------------------------------------------------------------------
 */

/*
 * Note that a request goes out now, called by libcurl for each time.
 */
void
wo_http_share_note_use(WoHttpTransfer *transfer)
{
	/*
	 * Should a receiver over HTTP/1.1 close its connection instead of giving
	 * an answer, then the next one has not been used before, so that there is
	 * none after it.  Of all that are kept it would get a request five times.
	 * Over HTTP/2 what comes on a connection may be for others.
	 */
	if (wo_http_share_is_shared(transfer))
	{
		if (transfer->fd >= 0)
			transfer->http->watches[transfer->fd].is_shared = true;
		transfer->fd = -1;
	}
	else if (!transfer->set_fresh)
	{
		curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
		transfer->set_fresh = true;
	}
	transfer->connection = wo_http_share_number(transfer->easy);
	wo_http_share_note_resent(transfer);
	transfer->was_sent = true;
}

/*
 * Note that a request is about to go out, if it did so before.
 */
void
wo_http_share_note_resent(WoHttpTransfer *transfer)
{
	if (!transfer->was_sent || transfer->is_resent)
		return;
	dlist_push_tail(&transfer->http->resent, &transfer->node);
	transfer->is_resent = true;
}

/*
 * The same, when libcurl is done with it.
 */
void
wo_http_share_forget_resent(WoHttpTransfer *transfer)
{
	if (transfer->is_resent)
		dlist_delete(&transfer->node);
	transfer->is_resent = false;
}

/* When the time of a request is up. */
static int64
deadline_of(const WoHttpTransfer *transfer)
{
	return transfer->started_ms + transfer->target->timeout_ms;
}

/*
 * Take from libcurl what has had its time; returns how many.
 */
int
wo_http_share_end_overdue(WoHttp *http)
{
	int64		now;
	int			n = 0;
	dlist_mutable_iter iter;

	if (dlist_is_empty(&http->resent))
		return 0;
	now = wo_http_poll_now();
	dlist_foreach_modify(iter, &http->resent)
	{
		WoHttpTransfer *transfer = dlist_container(WoHttpTransfer, node,
												   iter.cur);

		if (deadline_of(transfer) > now)
			continue;
		transfer->overdue_ms = (int) (now - transfer->started_ms);
		wo_http_take(http, transfer, CURLE_OPERATION_TIMEDOUT);
		dlist_push_tail(&http->finished, &transfer->node);
		n++;
	}
	return n;
}

/*
 * Return when wo_http_share_end_overdue has something to do; -1: never.
 */
int64
wo_http_share_deadline(WoHttp *http)
{
	int64		deadline = -1;
	dlist_iter	iter;

	dlist_foreach(iter, &http->resent)
	{
		WoHttpTransfer *transfer = dlist_container(WoHttpTransfer, node,
												   iter.cur);

		if (deadline < 0 || deadline_of(transfer) < deadline)
			deadline = deadline_of(transfer);
	}
	return deadline;
}
