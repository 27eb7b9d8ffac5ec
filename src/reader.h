/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  Reads new events from the log, each committed one exactly once.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_READER_H
#define WO_READER_H

#include "snapshot.h"
#include "work.h"

/* What lies between two snapshots, and how far it is dealt with. */
typedef struct WoWindow
{
	dlist_node	node;			/* in WoReader.windows */
	WoSnapshot *older;
	WoSnapshot *newer;
	WoPosition	settled;		/* all up to here is settled */
	int			n_events;		/* read and not settled in order yet */
	bool		is_read;		/* no more pages to read */
} WoWindow;

typedef struct WoReader
{
	MemoryContext context;
	uint64		n_windows;		/* opened so far; the number of the last one */
	uint64		n_settled;		/* of these, the first ones: settled */
	WoSnapshot *seen;			/* all that it shows is read or in windows */
	dlist_head	windows;		/* not settled yet, oldest first */
	WoWindow   *reading;		/* the last of them, if it has more pages */
	WoPosition	position;		/* in it: read up to here */
	WoXidRange *ranges;			/* of reading */
	int			n_ranges;
	dlist_head	events;			/* read, not settled in order; oldest first */
	int			n_events;		/* length of events */
	Size		n_bytes;		/* held by them */
	int			n_since_saved;	/* events read since the cursor was written */
	bool		is_moved;		/* cursor differs from what is stored */
	WoSnapshot *durable;		/* the commits it shows are on disk */
	TimestampTz saved_at;
} WoReader;

/* A place to come back to; see wo_reader_mark. */
typedef struct WoReaderMark
{
	int			n_events;
	uint64		n_windows;
	WoPosition	position;
	WoWindow   *reading;
} WoReaderMark;

/* The cursor is written at least every so many events. */
#define WO_READ_AHEAD		20000

extern WoReader *wo_reader_create(MemoryContext context);
extern void wo_reader_load(WoReader *reader);
extern void wo_reader_mark(const WoReader *reader, WoReaderMark *mark);
extern void wo_reader_return_to(WoReader *reader, const WoReaderMark *mark);
extern bool wo_reader_open_window(WoReader *reader);
extern int	wo_reader_read_page(WoReader *reader, int max_events,
								Size max_bytes, TimestampTz now,
								WoLogEvent **page);
extern bool wo_reader_may_be_recorded(const WoReader *reader,
									  WoLogEvent **events, int n);
extern void wo_reader_settle(WoReader *reader);
extern void wo_reader_save(WoReader *reader, TimestampTz now);
extern WoLogEvent *wo_reader_make_event(MemoryContext context, uint64 row,
										int first_column);

/* Columns of an event that wo_reader_make_event takes, in order. */
#define WO_EVENT_COLUMNS \
	"e.id, e.created_at, e.xid, e.endpoint_id, e.type, e.tenant, " \
	"e.source, e.headers, e.payload"
#define WO_N_EVENT_COLUMNS	9

#endif							/* WO_READER_H */
