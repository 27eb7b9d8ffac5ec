/*-------------------------------------------------------------------------
 *
 * tenancy.h
 *	  Which tenants a role may publish for.
 *
 * Layer 3, but runs in the publisher's backend and transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_TENANCY_H
#define WO_TENANCY_H

extern void wo_tenancy_check_insert(Oid namespace_id, Datum tenant,
									bool isnull);
extern void wo_tenancy_check_lookup(Oid namespace_id, Datum tenant,
									bool isnull);

#endif							/* WO_TENANCY_H */
