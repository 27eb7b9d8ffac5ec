/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Judges names and proxies that users choose.
 *
 * Layer 0.  A check returns NULL when a value is fine, else what is wrong
 * with it, to stand after a colon, and sets *hint to a sentence.  Both are
 * static texts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_CHECK_H
#define WO_CHECK_H

#define WO_MAX_TYPE_LEN		255 /* bytes */

/* Event types that begin so are made by the extension itself. */
#define WO_RESERVED_PREFIX	"webhook_outbox."

extern const char *wo_check_event_type(const char *type, const char **hint);
extern const char *wo_check_type_pattern(const char *pattern,
										 const char **hint);
extern bool wo_pattern_matches(const char *pattern, const char *type);
extern const char *wo_check_proxy(const char *proxy, const char **hint);

#endif							/* WO_CHECK_H */
