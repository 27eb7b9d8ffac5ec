/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  Whether this database may deliver, or is a copy of one that does.
 *
 * Layer 3.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_CLAIM_H
#define WO_CLAIM_H

extern bool wo_claim_is_ours(bool *is_other_name);
extern bool wo_claim_is_recovered(void);

#endif							/* WO_CLAIM_H */
