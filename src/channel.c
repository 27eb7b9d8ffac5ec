/*-------------------------------------------------------------------------
 *
 * channel.c
 *	  The protocol between the dispatcher and one sender, over shm_mq.
 *
 * Outgoing messages are gathered in a private buffer and moved by
 * wo_channel_flush: shm_mq shows data to the other side only at a flush, and
 * wants the identical bytes again after it would have blocked; both come for
 * free when the bytes stay where they are.  So queueing never blocks and
 * never fails.
 *
 * A queue cannot be attached twice.  When a sender dies its channel dies with
 * it, and the next sender gets a new segment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "channel.h"
#include "clock.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define CHANNEL_MAGIC		0x776f6368
#define QUEUE_SIZE			((Size) 1024 * 1024)
#define N_QUEUES			2
#define KEY_SHARED			N_QUEUES

/* Keys of the queues in the segment. */
enum
{
	ORDERS, RESULTS
};

/* What both sides see besides the queues. */
typedef struct Shared
{
	pg_atomic_uint64 beat;		/* wo_clock_monotonic of its last round */
	pg_atomic_uint32 is_leaving;	/* the sender wants a WO_ORDER_STOP */
} Shared;

struct WoChannel
{
	MemoryContext context;
	dsm_segment *segment;
	Shared	   *shared;
	shm_mq	   *order_queue;
	shm_mq_handle *in;
	shm_mq_handle *out;
	StringInfoData pending;		/* messages to send, each after its length */
	int			sent;			/* bytes of pending that are done with */
};

/* Reads a message piece by piece. */
typedef struct Cursor
{
	const char *at;
	const char *end;
} Cursor;

static WoChannel *
make_channel(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "webhook_outbox channel",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	WoChannel  *channel = palloc0(sizeof(WoChannel));

	channel->context = context;
	initStringInfo(&channel->pending);
	MemoryContextSwitchTo(caller);
	return channel;
}

static Size
segment_size(shm_toc_estimator *estimator)
{
	shm_toc_initialize_estimator(estimator);
	for (int i = 0; i < N_QUEUES; i++)
		shm_toc_estimate_chunk(estimator, QUEUE_SIZE);
	shm_toc_estimate_chunk(estimator, sizeof(Shared));
	shm_toc_estimate_keys(estimator, N_QUEUES + 1);
	return shm_toc_estimate(estimator);
}

/*
 * Makes a segment with two empty queues and attaches to both.  The segment
 * belongs to the process, not to a transaction.
 */
WoChannel *
wo_channel_create(void)
{
	ResourceOwner owner = CurrentResourceOwner;
	shm_toc_estimator estimator;
	Size		size = segment_size(&estimator);
	dsm_segment *segment;
	WoChannel  *channel;
	MemoryContext caller;
	shm_toc    *toc;
	shm_mq	   *queue[N_QUEUES];

	/* first, for it fails when there is no room for it */
	CurrentResourceOwner = NULL;
	segment = dsm_create(size, 0);
	CurrentResourceOwner = owner;
	channel = make_channel();
	channel->segment = segment;
	caller = MemoryContextSwitchTo(channel->context);
	toc = shm_toc_create(CHANNEL_MAGIC,
						 dsm_segment_address(channel->segment), size);
	for (int i = 0; i < N_QUEUES; i++)
	{
		void	   *chunk = shm_toc_allocate(toc, QUEUE_SIZE);

		queue[i] = shm_mq_create(chunk, QUEUE_SIZE);
		shm_toc_insert(toc, i, chunk);
	}
	channel->shared = shm_toc_allocate(toc, sizeof(Shared));
	pg_atomic_init_u64(&channel->shared->beat, wo_clock_monotonic());
	pg_atomic_init_u32(&channel->shared->is_leaving, 0);
	shm_toc_insert(toc, KEY_SHARED, channel->shared);
	shm_mq_set_sender(queue[ORDERS], MyProc);
	shm_mq_set_receiver(queue[RESULTS], MyProc);
	channel->order_queue = queue[ORDERS];
	channel->out = shm_mq_attach(queue[ORDERS], channel->segment, NULL);
	channel->in = shm_mq_attach(queue[RESULTS], channel->segment, NULL);
	MemoryContextSwitchTo(caller);
	return channel;
}

/* Attaches to a channel as its sender.  NULL: the dispatcher is gone. */
WoChannel *
wo_channel_attach(dsm_handle handle)
{
	WoChannel  *channel = make_channel();
	MemoryContext caller = MemoryContextSwitchTo(channel->context);
	shm_toc    *toc;
	shm_mq	   *orders;
	shm_mq	   *results;

	channel->segment = dsm_attach(handle);
	MemoryContextSwitchTo(caller);
	if (channel->segment == NULL)
		return NULL;
	toc = shm_toc_attach(CHANNEL_MAGIC,
						 dsm_segment_address(channel->segment));
	if (toc == NULL)
		return NULL;
	MemoryContextSwitchTo(channel->context);
	orders = shm_toc_lookup(toc, ORDERS, false);
	results = shm_toc_lookup(toc, RESULTS, false);
	channel->shared = shm_toc_lookup(toc, KEY_SHARED, false);
	shm_mq_set_receiver(orders, MyProc);
	shm_mq_set_sender(results, MyProc);
	channel->in = shm_mq_attach(orders, channel->segment, NULL);
	channel->out = shm_mq_attach(results, channel->segment, NULL);
	MemoryContextSwitchTo(caller);
	return channel;
}

/* Names the segment, for the sender's start. */
dsm_handle
wo_channel_handle(WoChannel *channel)
{
	return dsm_segment_handle(channel->segment);
}

/* Has the sender come up? */
bool
wo_channel_is_attached(WoChannel *channel)
{
	return shm_mq_get_receiver(channel->order_queue) != NULL;
}

/* Detaches and frees.  The other side sees it at its next move. */
void
wo_channel_destroy(WoChannel *channel)
{
	dsm_detach(channel->segment);
	MemoryContextDelete(channel->context);
}

/*
 * Asks the dispatcher for an order to stop.  Orders that are on their way
 * come before that one, so none is lost.
 */
void
wo_channel_set_leaving(WoChannel *channel)
{
	shm_mq	   *results = shm_mq_get_queue(channel->out);
	PGPROC	   *dispatcher = shm_mq_get_receiver(results);

	pg_atomic_write_u32(&channel->shared->is_leaving, 1);
	if (dispatcher != NULL)
		SetLatch(&dispatcher->procLatch);
}

/* Did the sender ask for an order to stop? */
bool
wo_channel_is_leaving(WoChannel *channel)
{
	return pg_atomic_read_u32(&channel->shared->is_leaving) != 0;
}

/* Says that the sender's loop is alive. */
void
wo_channel_beat(WoChannel *channel, int64 now)
{
	pg_atomic_write_u64(&channel->shared->beat, (uint64) now);
}

/* When the sender said so last. */
int64
wo_channel_last_beat(WoChannel *channel)
{
	return (int64) pg_atomic_read_u64(&channel->shared->beat);
}

/* How many bytes wait to be flushed. */
Size
wo_channel_backlog(WoChannel *channel)
{
	return channel->pending.len - channel->sent;
}

/* Starts a message; returns where its length goes. */
static int
begin_message(StringInfo out)
{
	uint32		len = 0;
	int			at = out->len;

	appendBinaryStringInfo(out, (char *) &len, sizeof(len));
	return at;
}

static void
end_message(StringInfo out, int at)
{
	uint32		len = out->len - at - sizeof(uint32);

	memcpy(out->data + at, &len, sizeof(len));
}

static void
put_bytes(StringInfo out, const char *bytes, uint32 len)
{
	appendBinaryStringInfo(out, (char *) &len, sizeof(len));
	appendBinaryStringInfo(out, bytes, len);
	appendStringInfoChar(out, '\0');
}

/* NULL travels as the length PG_UINT32_MAX. */
static void
put_text(StringInfo out, const char *text)
{
	uint32		none = PG_UINT32_MAX;

	if (text)
		put_bytes(out, text, strlen(text));
	else
		appendBinaryStringInfo(out, (char *) &none, sizeof(none));
}

/*
 * Raises an error unless a message is as its writer makes them.  One that is
 * not can only come from a bug or from damaged memory; to raise an error ends
 * this process in an orderly way, to follow such a message would end all.
 */
static void
require(bool is_sound)
{
	if (!is_sound)
		elog(ERROR, "malformed message between dispatcher and sender");
}

static void
get(Cursor *cursor, void *to, Size len)
{
	require(len <= cursor->end - cursor->at);
	memcpy(to, cursor->at, len);
	cursor->at += len;
}

/* Nothing may be left when all has been read. */
static void
end_reading(const Cursor *cursor)
{
	require(cursor->at == cursor->end);
}

/* Returns bytes in the message, NUL-terminated; NULL as put_text says. */
static const char *
get_optional(Cursor *cursor, uint32 *len)
{
	const char *bytes;

	get(cursor, len, sizeof(*len));
	if (*len == PG_UINT32_MAX)
		return NULL;
	require(*len < cursor->end - cursor->at);
	bytes = cursor->at;
	require(bytes[*len] == '\0');
	cursor->at += *len + 1;
	return bytes;
}

static const char *
get_bytes(Cursor *cursor, uint32 *len)
{
	const char *bytes = get_optional(cursor, len);

	require(bytes != NULL);
	return bytes;
}

static const char *
get_optional_text(Cursor *cursor)
{
	uint32		len;

	return get_optional(cursor, &len);
}

static const char *
get_text(Cursor *cursor)
{
	uint32		len;

	return get_bytes(cursor, &len);
}

static void
put_target(StringInfo out, const WoTarget *target)
{
	appendBinaryStringInfo(out, (const char *) target, sizeof(WoTarget));
	put_text(out, target->url);
	put_text(out, target->headers);
	put_text(out, target->ca_pem);
	put_text(out, target->proxy);
	for (int i = 0; i < target->n_keys; i++)
		put_text(out, target->keys[i].secret);
}

static void
get_target(Cursor *cursor, WoTarget *target)
{
	get(cursor, target, sizeof(WoTarget));
	require((uint32) target->format <= WO_FORMAT_CLOUDEVENTS_BINARY);
	require((uint32) target->n_keys <= WO_MAX_KEYS);
	/* any other byte is no bool, and what reads it may do as it likes */
	require(*(const uint8 *) &target->is_http2 <= 1);
	target->url = get_text(cursor);
	target->headers = get_text(cursor);
	target->ca_pem = get_optional_text(cursor);
	target->proxy = get_optional_text(cursor);
	for (int i = 0; i < target->n_keys; i++)
		target->keys[i].secret = get_text(cursor);
}

static void
put_event(StringInfo out, const WoEvent *event)
{
	appendBinaryStringInfo(out, (const char *) event, sizeof(WoEvent));
	put_text(out, event->type);
	put_text(out, event->tenant);
	put_text(out, event->source);
	put_text(out, event->headers);
	put_bytes(out, event->payload, event->payload_len);
}

static void
get_event(Cursor *cursor, WoEvent *event)
{
	get(cursor, event, sizeof(WoEvent));
	event->type = get_text(cursor);
	event->tenant = get_optional_text(cursor);
	event->source = get_optional_text(cursor);
	event->headers = get_text(cursor);
	event->payload = get_bytes(cursor, &event->payload_len);
}

/* Queues an order; it goes out with the next flush. */
void
wo_channel_queue_order(WoChannel *channel, const WoOrder *order)
{
	StringInfo	out = &channel->pending;
	int			at = begin_message(out);

	appendBinaryStringInfo(out, (const char *) &order->kind,
						   sizeof(order->kind));
	appendBinaryStringInfo(out, (const char *) &order->slot,
						   sizeof(order->slot));
	appendBinaryStringInfo(out, (const char *) &order->generation,
						   sizeof(order->generation));
	appendBinaryStringInfo(out, (const char *) &order->endpoint_id,
						   sizeof(order->endpoint_id));
	if (order->kind == WO_ORDER_TARGET)
		put_target(out, &order->target);
	if (order->kind == WO_ORDER_SEND)
		put_event(out, &order->event);
	end_message(out, at);
}

/* Copies a SEND order, in the current context. */
WoKeptOrder *
wo_channel_keep_order(const WoOrder *order)
{
	WoKeptOrder *kept = palloc(sizeof(WoKeptOrder));
	Cursor		cursor;

	Assert(order->kind == WO_ORDER_SEND);
	kept->order = *order;
	initStringInfo(&kept->bytes);
	put_event(&kept->bytes, &order->event);
	cursor.at = kept->bytes.data;
	cursor.end = cursor.at + kept->bytes.len;
	get_event(&cursor, &kept->order.event);
	return kept;
}

/* Frees the copy. */
void
wo_channel_drop_order(WoKeptOrder *kept)
{
	pfree(kept->bytes.data);
	pfree(kept);
}

/* Queues a result; it goes out with the next flush. */
void
wo_channel_queue_result(WoChannel *channel, const WoResult *result)
{
	StringInfo	out = &channel->pending;
	int			at = begin_message(out);

	appendBinaryStringInfo(out, (const char *) result, sizeof(WoResult));
	put_text(out, result->error);
	put_bytes(out, result->response, result->response_len);
	end_message(out, at);
}

/*
 * Moves what is queued.  OK: all of it is on its way; WOULD_BLOCK: the rest
 * goes with a later call, the latch is set when there is room again.
 */
WoChannelStatus
wo_channel_flush(WoChannel *channel)
{
	StringInfo	out = &channel->pending;

	while (channel->sent < out->len)
	{
		uint32		len;
		const char *message = out->data + channel->sent + sizeof(len);
		bool		is_last;
		shm_mq_result rc;

		memcpy(&len, out->data + channel->sent, sizeof(len));
		is_last = (message + len == out->data + out->len);
		rc = shm_mq_send(channel->out, len, message, true, is_last);
		if (rc == SHM_MQ_WOULD_BLOCK)
			return WO_CHANNEL_WOULD_BLOCK;
		if (rc == SHM_MQ_DETACHED)
			return WO_CHANNEL_GONE;
		channel->sent += sizeof(len) + len;
	}
	resetStringInfo(out);
	channel->sent = 0;
	return WO_CHANNEL_OK;
}

/* Receives one message into cursor. */
static WoChannelStatus
receive(WoChannel *channel, Cursor *cursor)
{
	Size		len;
	void	   *data;
	shm_mq_result rc = shm_mq_receive(channel->in, &len, &data, true);

	if (rc == SHM_MQ_WOULD_BLOCK)
		return WO_CHANNEL_WOULD_BLOCK;
	if (rc == SHM_MQ_DETACHED)
		return WO_CHANNEL_GONE;
	cursor->at = data;
	cursor->end = cursor->at + len;
	return WO_CHANNEL_OK;
}

/* Receives an order; its texts are valid until the next receive. */
WoChannelStatus
wo_channel_receive_order(WoChannel *channel, WoOrder *order)
{
	Cursor		cursor;
	WoChannelStatus status = receive(channel, &cursor);

	if (status != WO_CHANNEL_OK)
		return status;
	memset(order, 0, sizeof(WoOrder));
	get(&cursor, &order->kind, sizeof(order->kind));
	require((uint32) order->kind <= WO_ORDER_STOP);
	get(&cursor, &order->slot, sizeof(order->slot));
	get(&cursor, &order->generation, sizeof(order->generation));
	get(&cursor, &order->endpoint_id, sizeof(order->endpoint_id));
	if (order->kind == WO_ORDER_TARGET)
		get_target(&cursor, &order->target);
	if (order->kind == WO_ORDER_SEND)
		get_event(&cursor, &order->event);
	end_reading(&cursor);
	return WO_CHANNEL_OK;
}

/* Receives a result; its texts are valid until the next receive. */
WoChannelStatus
wo_channel_receive_result(WoChannel *channel, WoResult *result)
{
	Cursor		cursor;
	WoChannelStatus status = receive(channel, &cursor);

	if (status != WO_CHANNEL_OK)
		return status;
	get(&cursor, result, sizeof(WoResult));
	require((uint32) result->outcome < WO_N_OUTCOMES);
	result->error = get_text(&cursor);
	result->response = get_bytes(&cursor, &result->response_len);
	end_reading(&cursor);
	return WO_CHANNEL_OK;
}
