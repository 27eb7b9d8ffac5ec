/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  The SQL names of outcomes.
 *
 * Layer 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "event.h"

/* In the order of WoOutcome; they are stored in attempt.outcome. */
static const char *const outcome_names[WO_N_OUTCOMES] = {
	"delivered",
	"http_error",
	"timeout",
	"dns_error",
	"connect_error",
	"tls_error",
	"protocol_error",
	"blocked",
	"invalid_request",
	"unknown"
};

/*
 * Return the SQL name of an outcome.
 */
const char *
wo_outcome_name(WoOutcome outcome)
{
	Assert(outcome >= 0 && outcome < WO_N_OUTCOMES);
	return outcome_names[outcome];
}
