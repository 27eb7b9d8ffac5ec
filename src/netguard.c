/*-------------------------------------------------------------------------
 *
 * netguard.c
 *	  Judges every address that a sender is about to dial.
 *
 * Called by http.c from a libcurl callback, with the address that will
 * really be dialled: judging host names in URLs would miss names that
 * resolve differently the second time, and decimal or octal hosts.  So it
 * must neither palloc nor raise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "netguard.h"

/*
 * Say whether a connection to an address may be opened.  For now every
 * address may; this is the one place where that is decided.
 */
bool
wo_netguard_permits(const struct sockaddr *address, socklen_t length)
{
	return address != NULL && length > 0;
}
