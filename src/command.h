/*-------------------------------------------------------------------------
 *
 * command.h
 *	  What SQL functions ask of the dispatcher: send again, cancel, retry.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_COMMAND_H
#define WO_COMMAND_H

#include "reader.h"
#include "router.h"

typedef enum WoCommandKind
{
	WO_COMMAND_SEND,			/* again, or for the first time */
	WO_COMMAND_CANCEL,
	WO_COMMAND_RETRY			/* what waits for a retry, earlier */
} WoCommandKind;

#define WO_N_COMMAND_KINDS	(WO_COMMAND_RETRY + 1)

typedef struct WoCommand
{
	int64		command_id;
	WoCommandKind kind;
	uint64		event_xid;		/* 0: of a retry */
	pg_uuid_t	event_id;
	int64		endpoint_id;	/* 0 (cancel only): all endpoints */
	TimestampTz due_at;
	bool		has_event;		/* its row in event exists */
	const char *endpoint_name;	/* when it was asked; NULL: not known */
} WoCommand;

typedef struct WoCommandList
{
	WoCommand **commands;
	int			n;
} WoCommandList;

extern int	wo_command_read(WoReader *reader, WoCommand *commands, int limit);
extern bool wo_command_obeyed(const WoCommand *commands, int n, int limit);
extern void wo_command_apply(const WoCommandList *todo,
							 const WoCommandList *done);
extern bool wo_command_has_deferred(void);
extern bool wo_command_recall(const pg_uuid_t *event_id);

#endif							/* WO_COMMAND_H */
