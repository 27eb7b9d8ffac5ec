/*-------------------------------------------------------------------------
 *
 * credentials.h
 *	  What endpoints are signed for and authorized with, opened.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_CREDENTIALS_H
#define WO_CREDENTIALS_H

#include "endpoint.h"

/* Which secrets to open again with the next load. */
typedef enum WoReopen
{
	WO_REOPEN_NONE,
	WO_REOPEN_HELD,				/* those that did not open */
	WO_REOPEN_ALL				/* all that are encrypted */
} WoReopen;

extern void wo_credentials_begin(void);
extern void wo_credentials_end(void);
extern void wo_credentials_load(WoEndpoint *endpoint, uint64 row,
								int headers_column, int secrets_column);
extern void wo_credentials_reopen(WoReopen what);
extern bool wo_credentials_must_reopen(void);
extern int	wo_credentials_to_reopen(List *endpoints, Datum *ids);
extern int	wo_credentials_tell_held(WoDatabase *database, List *endpoints,
									 int n);

#endif							/* WO_CREDENTIALS_H */
