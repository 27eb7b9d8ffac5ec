/*-------------------------------------------------------------------------
 *
 * channel.h
 *	  The protocol between the dispatcher and one sender, over shm_mq.
 *
 * Layer 4.  One channel is one DSM segment with two queues, made by the
 * dispatcher for one sender's life.  No call here blocks.  Messages name
 * work by slot and generation, never by pointer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_CHANNEL_H
#define WO_CHANNEL_H

#include "event.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "storage/dsm.h"

typedef struct WoChannel WoChannel;

/* What a call that moves a message says. */
typedef enum WoChannelStatus
{
	WO_CHANNEL_OK,				/* a message was moved */
	WO_CHANNEL_WOULD_BLOCK,		/* nothing to read, or no room to write */
	WO_CHANNEL_GONE				/* the other side has detached */
} WoChannelStatus;

/* What the dispatcher tells a sender. */
typedef enum WoOrderKind
{
	WO_ORDER_TARGET,			/* an endpoint is new or has changed */
	WO_ORDER_FORGET,			/* an endpoint is gone */
	WO_ORDER_SEND,				/* make one request */
	WO_ORDER_STOP				/* finish what is in flight, then exit */
} WoOrderKind;

/* One order; its texts point into the queue, valid until the next receive. */
typedef struct WoOrder
{
	WoOrderKind kind;
	uint32		slot;			/* SEND: the dispatcher's work item ... */
	uint32		generation;		/* ... and which use of that slot */
	int64		endpoint_id;	/* FORGET, SEND */
	WoTarget	target;			/* TARGET */
	WoEvent		event;			/* SEND */
} WoOrder;

/* An order that outlives the next receive. */
typedef struct WoKeptOrder
{
	dlist_node	node;			/* the keeper's */
	WoOrder		order;			/* its texts are in bytes */
	StringInfoData bytes;
} WoKeptOrder;

/* dispatcher's side */
extern WoChannel *wo_channel_create(void);
extern dsm_handle wo_channel_handle(WoChannel *channel);
extern bool wo_channel_is_attached(WoChannel *channel);
extern void wo_channel_queue_order(WoChannel *channel, const WoOrder *order);
extern WoChannelStatus wo_channel_flush(WoChannel *channel);
extern Size wo_channel_backlog(WoChannel *channel);
extern WoChannelStatus wo_channel_receive_result(WoChannel *channel,
												 WoResult *result);
extern bool wo_channel_is_leaving(WoChannel *channel);
extern int64 wo_channel_last_beat(WoChannel *channel);
extern void wo_channel_destroy(WoChannel *channel);

/* sender's side */
extern WoChannel *wo_channel_attach(dsm_handle handle);
extern WoChannelStatus wo_channel_receive_order(WoChannel *channel,
												WoOrder *order);
extern WoKeptOrder *wo_channel_keep_order(const WoOrder *order);
extern void wo_channel_drop_order(WoKeptOrder *kept);
extern void wo_channel_queue_result(WoChannel *channel,
									const WoResult *result);
extern void wo_channel_set_leaving(WoChannel *channel);
extern void wo_channel_beat(WoChannel *channel, int64 now);

#endif							/* WO_CHANNEL_H */
