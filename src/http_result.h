/*-------------------------------------------------------------------------
 *
 * http_result.h
 *	  What an end that libcurl reports means for an attempt.
 *
 * Layer 2, for http.c alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WO_HTTP_RESULT_H
#define WO_HTTP_RESULT_H

#include <curl/curl.h>

#include "event.h"

extern WoOutcome wo_http_result_judge(CURL *easy, CURLcode code,
									  const char *detail, char *error,
									  size_t error_size);

#endif							/* WO_HTTP_RESULT_H */
