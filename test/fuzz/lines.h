/*-------------------------------------------------------------------------
 *
 * lines.h
 *	  What holds of every list of request headers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_FUZZ_LINES_H
#define WO_FUZZ_LINES_H

extern void wo_fuzz_check_lines(const char *lines);
extern int	wo_fuzz_count_header(const char *lines, const char *name);

#endif							/* WO_FUZZ_LINES_H */
