/*-------------------------------------------------------------------------
 *
 * netguard.h
 *	  Which network addresses a sender may dial.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_NETGUARD_H
#define WO_NETGUARD_H

#include <sys/socket.h>

extern bool wo_netguard_permits(const struct sockaddr *address,
								socklen_t length);

#endif							/* WO_NETGUARD_H */
