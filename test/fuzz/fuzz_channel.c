/*-------------------------------------------------------------------------
 *
 * fuzz_channel.c
 *	  Messages between dispatcher and sender.
 *
 * The first byte says what is done:
 *
 *	bits 0, 1	0: the rest is a message as it comes; 1: an order to learn a
 *				target; 2: an order to send an event; 3: a result
 *	bit 2		damage the message: a place (2 bytes), a change (1 byte), how
 *				much is cut off (1 byte)
 *	bit 3		the message comes in the place of one of the other direction
 *
 * What was not damaged arrives as it was sent, even after the queue was full
 * (the second byte's bits).  Anything else raises an error, or is safe to use:
 * texts end within the message, numbers that select something are in range.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "channel.h"
#include "queue.h"

#define DAMAGE			4
#define OTHER_WAY		8

typedef struct Call
{
	WoChannel  *channel;
	WoOrder		order;
	WoResult	result;
} Call;

static void
receive_order(void *arg)
{
	Call	   *call = arg;

	wo_fuzz_require(wo_channel_receive_order(call->channel, &call->order) ==
					WO_CHANNEL_OK);
}

static void
receive_result(void *arg)
{
	Call	   *call = arg;

	wo_fuzz_require(wo_channel_receive_result(call->channel, &call->result) ==
					WO_CHANNEL_OK);
}

/* Reads all of a text that must be there, as its users do. */
static void
use_text(const char *text)
{
	wo_fuzz_require(text != NULL);
	(void) pstrdup(text);
}

static void
use_bytes(const char *bytes, uint32 len)
{
	wo_fuzz_require(bytes != NULL);
	(void) memcpy(palloc(len), bytes, len);
}

static void
use_event(const WoEvent *event)
{
	use_text(event->type);
	if (event->tenant != NULL)
		use_text(event->tenant);
	if (event->source != NULL)
		use_text(event->source);
	use_text(event->headers);
	use_bytes(event->payload, event->payload_len);
}

static void
use_target(const WoTarget *target)
{
	wo_fuzz_require((int) target->format >= 0 &&
					target->format <= WO_FORMAT_CLOUDEVENTS_BINARY);
	wo_fuzz_require(target->is_http2 || !target->is_http2);
	use_text(target->url);
	use_text(target->headers);
	if (target->ca_pem != NULL)
		use_text(target->ca_pem);
	wo_fuzz_require(target->n_keys >= 0 && target->n_keys <= WO_MAX_KEYS);
	for (int i = 0; i < target->n_keys; i++)
		use_text(target->keys[i].secret);
}

static void
use_order(const WoOrder *order)
{
	switch (order->kind)
	{
		case WO_ORDER_TARGET:
			use_target(&order->target);
			return;
		case WO_ORDER_SEND:
			use_event(&order->event);
			wo_channel_drop_order(wo_channel_keep_order(order));
			return;
		case WO_ORDER_FORGET:
		case WO_ORDER_STOP:
			return;
	}
	wo_fuzz_fail("the kind of an order is known", __FILE__, __LINE__);
}

static void
use_result(const WoResult *result)
{
	wo_fuzz_require((int) result->outcome >= 0 &&
					result->outcome < WO_N_OUTCOMES);
	use_text(result->error);
	use_bytes(result->response, result->response_len);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
check_order(const WoOrder *sent, const WoOrder *got)
{
	wo_fuzz_require(got->kind == sent->kind && got->slot == sent->slot &&
					got->generation == sent->generation &&
					got->endpoint_id == sent->endpoint_id);
	if (sent->kind == WO_ORDER_TARGET)
	{
		const WoTarget *a = &sent->target;
		const WoTarget *b = &got->target;

		wo_fuzz_require(same_text(a->url, b->url) &&
						same_text(a->headers, b->headers) &&
						same_text(a->ca_pem, b->ca_pem) &&
						a->n_keys == b->n_keys &&
						a->timeout_ms == b->timeout_ms);
		for (int i = 0; i < a->n_keys; i++)
			wo_fuzz_require(same_text(a->keys[i].secret, b->keys[i].secret));
	}
	else
	{
		const WoEvent *a = &sent->event;
		const WoEvent *b = &got->event;

		wo_fuzz_require(same_text(a->type, b->type) &&
						same_text(a->tenant, b->tenant) &&
						same_text(a->source, b->source) &&
						same_text(a->headers, b->headers) &&
						a->payload_len == b->payload_len &&
						memcmp(a->payload, b->payload, a->payload_len) == 0);
	}
}

static void
check_result(const WoResult *sent, const WoResult *got)
{
	wo_fuzz_require(sent->slot == got->slot && sent->outcome == got->outcome &&
					sent->response_len == got->response_len &&
					same_text(sent->error, got->error) &&
					memcmp(sent->response, got->response,
						   sent->response_len) == 0);
}

static char *
optional_line(WoFuzzInput *input)
{
	return wo_fuzz_number(input, 1) % 2 ? wo_fuzz_line(input) : NULL;
}

static void
make_target(WoTarget *target, WoFuzzInput *input)
{
	target->format = wo_fuzz_number(input, 1) %
		(WO_FORMAT_CLOUDEVENTS_BINARY + 1);
	target->timeout_ms = wo_fuzz_number(input, 4);
	target->n_keys = wo_fuzz_number(input, 1) % (WO_MAX_KEYS + 1);
	target->ca_pem = optional_line(input);
	target->url = wo_fuzz_line(input);
	target->headers = wo_fuzz_line(input);
	for (int i = 0; i < target->n_keys; i++)
		target->keys[i].secret = wo_fuzz_line(input);
}

static void
make_event(WoEvent *event, WoFuzzInput *input)
{
	size_t		len;

	event->tenant = optional_line(input);
	event->source = optional_line(input);
	event->type = wo_fuzz_line(input);
	event->headers = wo_fuzz_line(input);
	event->payload = wo_fuzz_bytes(input, wo_fuzz_number(input, 1), &len);
	event->payload_len = len;
}

static void
make_result(WoResult *result, WoFuzzInput *input)
{
	size_t		len;

	result->outcome = wo_fuzz_number(input, 1) % WO_N_OUTCOMES;
	result->slot = wo_fuzz_number(input, 2);
	result->error = wo_fuzz_line(input);
	result->response = wo_fuzz_bytes(input, wo_fuzz_number(input, 1), &len);
	result->response_len = len;
}

/* Flushes until all has gone; each message goes once. */
static void
flush(WoChannel *channel)
{
	int			n = 0;

	while (wo_channel_flush(channel) != WO_CHANNEL_OK)
		wo_fuzz_require(n++ < 32);
	wo_fuzz_require(wo_channel_backlog(channel) == 0);
}

static void
damage_last(WoFuzzInput *input)
{
	Size	   *len;
	char	   *bytes = wo_fuzz_queue_last(&len);
	uint32		place = wo_fuzz_number(input, 2);

	if (*len > 0)
		bytes[place % *len] ^= wo_fuzz_number(input, 1);
	*len -= Min(*len, wo_fuzz_number(input, 1));
}

static void
run_order(Call *call, WoFuzzInput *input, uint32 flags, WoOrderKind kind)
{
	WoOrder		sent = {0};
	uint32		refusals = wo_fuzz_number(input, 1);
	uint32		damage = flags & DAMAGE ? wo_fuzz_number(input, 4) : 0;
	uint8_t		bytes[4] = {damage >> 24, damage >> 16, damage >> 8, damage};
	WoFuzzInput how = {bytes, bytes + sizeof(bytes)};

	sent.kind = kind;
	sent.slot = wo_fuzz_number(input, 1);
	sent.generation = wo_fuzz_number(input, 1);
	sent.endpoint_id = wo_fuzz_number(input, 2);
	if (kind == WO_ORDER_TARGET)
		make_target(&sent.target, input);
	else
		make_event(&sent.event, input);
	wo_channel_queue_order(call->channel, &sent);
	wo_channel_queue_order(call->channel, &sent);
	wo_fuzz_queue_refuse(refusals);
	flush(call->channel);

	receive_order(call);
	check_order(&sent, &call->order);
	use_order(&call->order);
	if (flags & DAMAGE)
		damage_last(&how);
	if (flags & OTHER_WAY)
	{
		if (!wo_fuzz_raises(receive_result, call))
			use_result(&call->result);
	}
	else if (!wo_fuzz_raises(receive_order, call))
		use_order(&call->order);
}

static void
run_result(Call *call, WoFuzzInput *input, uint32 flags)
{
	WoResult	sent = {0};
	uint32		refusals = wo_fuzz_number(input, 1);
	uint32		damage = flags & DAMAGE ? wo_fuzz_number(input, 4) : 0;
	uint8_t		bytes[4] = {damage >> 24, damage >> 16, damage >> 8, damage};
	WoFuzzInput how = {bytes, bytes + sizeof(bytes)};

	make_result(&sent, input);
	wo_channel_queue_result(call->channel, &sent);
	wo_channel_queue_result(call->channel, &sent);
	wo_fuzz_queue_refuse(refusals);
	flush(call->channel);

	receive_result(call);
	check_result(&sent, &call->result);
	use_result(&call->result);
	if (flags & DAMAGE)
		damage_last(&how);
	if (flags & OTHER_WAY)
	{
		if (!wo_fuzz_raises(receive_order, call))
			use_order(&call->order);
	}
	else if (!wo_fuzz_raises(receive_result, call))
		use_result(&call->result);
}

static void
run_raw(Call *call, WoFuzzInput *input, uint32 flags)
{
	wo_fuzz_queue_put((const char *) input->at, input->end - input->at);
	if (flags & OTHER_WAY)
	{
		if (!wo_fuzz_raises(receive_result, call))
			use_result(&call->result);
	}
	else if (!wo_fuzz_raises(receive_order, call))
		use_order(&call->order);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WoFuzzInput input = {data, data + size};
	uint32		flags = wo_fuzz_number(&input, 1);
	Call		call;

	wo_fuzz_queue_clear();
	call.channel = wo_channel_create();
	switch (flags & 3)
	{
		case 0:
			run_raw(&call, &input, flags);
			break;
		case 1:
			run_order(&call, &input, flags, WO_ORDER_TARGET);
			break;
		case 2:
			run_order(&call, &input, flags, WO_ORDER_SEND);
			break;
		case 3:
			run_result(&call, &input, flags);
			break;
	}
	wo_channel_destroy(call.channel);
	wo_fuzz_reset();
	return 0;
}
