/*-------------------------------------------------------------------------
 *
 * command.h
 *	  What SQL functions ask of the dispatcher: send again, cancel.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_COMMAND_H
#define WO_COMMAND_H

#include "reader.h"
#include "router.h"

typedef struct WoCommand
{
	int64		command_id;
	bool		is_cancel;		/* else: send */
	pg_uuid_t	event_id;
	int64		endpoint_id;	/* 0 (cancel only): all endpoints */
	TimestampTz due_at;
	bool		has_event;		/* its row in event exists */
	WoPosition	position;		/* of the event, valid if has_event */
} WoCommand;

extern void wo_command_create(MemoryContext context);
extern int	wo_command_room(void);
extern int	wo_command_read(WoCommand *commands, int limit);
extern void wo_command_apply(WoCommand **sends, int n_sends,
							 WoCommand **cancels, int n_cancels,
							 WoCommand **done, int n_done);
extern void wo_command_defer(const WoCommand *command);
extern bool wo_command_has_deferred(void);
extern bool wo_command_recall(const pg_uuid_t *event_id);

#endif							/* WO_COMMAND_H */
