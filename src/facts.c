/*-------------------------------------------------------------------------
 *
 * facts.c
 *	  What was recorded in the minute under way, added up in memory.
 *
 * Layer 2: no SPI, no settings.  rollup.c says when a minute is over and
 * writes it.  All that one minute gathers is in one context, and goes with
 * its reset; the series that are known stay.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "endpoint.h"
#include "facts.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Takes what comes when there are as many series as are allowed. */
#define OTHER_TYPE			"(other)"

static uint32
hash_text(uint32 hash, const char *text)
{
	if (text == NULL)
		return hash_combine(hash, 0);
	return hash_combine(hash, hash_bytes((const unsigned char *) text,
										 strlen(text)));
}

static uint32
hash_series(const void *key, Size size)
{
	const WoSeriesKey *series = key;
	uint32		hash = murmurhash32((uint32) series->endpoint_id);

	hash = hash_text(hash, series->type);
	hash = hash_text(hash, series->tenant);
	return hash_text(hash, series->source);
}

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

/* Like memcmp: 0 when they are the same. */
static int
match_series(const void *a, const void *b, Size size)
{
	const WoSeriesKey *x = a;
	const WoSeriesKey *y = b;

	return x->endpoint_id == y->endpoint_id &&
		same_text(x->type, y->type) && same_text(x->tenant, y->tenant) &&
		same_text(x->source, y->source) ? 0 : 1;
}

/* Forgets all series, so that they can be loaded anew. */
void
wo_facts_forget_series(WoFacts *facts)
{
	HASHCTL		ctl;

	wo_facts_reset(facts);
	MemoryContextReset(facts->series_context);
	ctl.keysize = sizeof(WoSeriesKey);
	ctl.entrysize = sizeof(WoSeries);
	ctl.hash = hash_series;
	ctl.match = match_series;
	ctl.hcxt = facts->series_context;
	facts->series = hash_create("webhook_outbox series", 256, &ctl,
								HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								HASH_CONTEXT);
	facts->n_named = 0;
	facts->last_series_id = 0;
}

/* Makes an empty one that knows no series. */
WoFacts *
wo_facts_create(MemoryContext context)
{
	WoFacts    *facts = MemoryContextAllocZero(context, sizeof(WoFacts));

	facts->context = AllocSetContextCreate(context, "webhook_outbox facts",
										   ALLOCSET_DEFAULT_SIZES);
	facts->series_context =
		AllocSetContextCreate(context, "webhook_outbox series",
							  ALLOCSET_DEFAULT_SIZES);
	wo_facts_forget_series(facts);
	return facts;
}

/* Forgets all that was added. */
void
wo_facts_reset(WoFacts *facts)
{
	ListCell   *cell;

	foreach(cell, facts->active)
		((WoSeries *) lfirst(cell))->measures = NULL;
	facts->active = NIL;
	facts->endpoints = facts->errors = NULL;
	facts->minute = 0;
	facts->n = 0;
	MemoryContextReset(facts->context);
}

/* Returns the start of the minute that a time is in. */
TimestampTz
wo_facts_minute_of(TimestampTz at)
{
	return at - at % USECS_PER_MINUTE;
}

static HTAB *
make_table(WoFacts *facts, const char *name, Size keysize, Size entrysize)
{
	HASHCTL		ctl;

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = facts->context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Counts a fact; the first one begins the minute. */
static void
begin_fact(WoFacts *facts, TimestampTz now)
{
	facts->n++;
	if (facts->minute != 0)
		return;
	facts->minute = wo_facts_minute_of(now);
	facts->endpoints = make_table(facts, "webhook_outbox endpoint facts",
								  sizeof(WoEndpointKey),
								  sizeof(WoEndpointFacts));
	facts->errors = make_table(facts, "webhook_outbox error facts",
							   sizeof(WoErrorKey), sizeof(WoErrorFacts));
}

static void
init_measures(WoFacts *facts, WoMeasures *measures)
{
	memset(measures, 0, sizeof(WoMeasures));
	wo_histogram_init(&measures->latency, facts->context);
	wo_histogram_init(&measures->http, facts->context);
}

static bool
is_other(const WoSeriesKey *key)
{
	return strcmp(key->type, OTHER_TYPE) == 0;
}

static const char *
keep_text(WoFacts *facts, const char *text)
{
	return text ? MemoryContextStrdup(facts->series_context, text) : NULL;
}

static WoSeries *
enter_series(WoFacts *facts, const WoSeriesKey *key, int32 series_id,
			 bool is_stored)
{
	bool		found;
	WoSeries   *series = hash_search(facts->series, key, HASH_ENTER, &found);

	if (found)
		return series;
	series->key.type = keep_text(facts, key->type);
	series->key.tenant = keep_text(facts, key->tenant);
	series->key.source = keep_text(facts, key->source);
	series->series_id = series_id;
	series->is_stored = is_stored;
	series->measures = NULL;
	facts->n_named += !is_other(key);
	facts->last_series_id = Max(facts->last_series_id, series_id);
	return series;
}

/* Makes a series known that is stored. */
void
wo_facts_know_series(WoFacts *facts, const WoSeriesKey *key, int32 series_id)
{
	(void) enter_series(facts, key, series_id, true);
}

/*
 * Returns the series with this key, a new one if need be; when there are
 * max_series already, the one for all others of the endpoint.
 */
WoSeries *
wo_facts_series(WoFacts *facts, const WoSeriesKey *key, int max_series)
{
	WoSeries   *series = hash_search(facts->series, key, HASH_FIND, NULL);
	WoSeriesKey other;

	if (series)
		return series;
	if (facts->n_named >= max_series && !is_other(key))
	{
		memset(&other, 0, sizeof(WoSeriesKey));
		other.endpoint_id = key->endpoint_id;
		other.type = OTHER_TYPE;
		return wo_facts_series(facts, &other, max_series);
	}
	return enter_series(facts, key, facts->last_series_id + 1, false);
}

static WoMeasures *
measures_of_series(WoFacts *facts, int64 endpoint_id, const WoEvent *event,
				   int max_series)
{
	WoSeriesKey key;
	WoSeries   *series;
	MemoryContext caller;

	key.endpoint_id = endpoint_id;
	key.type = event->type;
	key.tenant = event->tenant;
	key.source = event->source;
	series = wo_facts_series(facts, &key, max_series);
	if (series->measures)
		return series->measures;
	series->measures = MemoryContextAlloc(facts->context, sizeof(WoMeasures));
	init_measures(facts, series->measures);
	caller = MemoryContextSwitchTo(facts->context);
	facts->active = lappend(facts->active, series);
	MemoryContextSwitchTo(caller);
	return series->measures;
}

static WoMeasures *
measures_of_endpoint(WoFacts *facts, const WoEndpoint *endpoint)
{
	WoEndpointKey key;
	WoEndpointFacts *entry;
	bool		found;

	key.endpoint_id = endpoint->endpoint_id;
	key.tier = endpoint->tier;
	entry = hash_search(facts->endpoints, &key, HASH_ENTER, &found);
	if (!found)
		init_measures(facts, &entry->measures);
	return &entry->measures;
}

static void
count_error(WoFacts *facts, int64 endpoint_id, const WoResult *result)
{
	WoErrorKey	key;
	WoErrorFacts *entry;
	bool		found;

	key.endpoint_id = endpoint_id;
	key.outcome = result->outcome;
	key.http_status = result->http_status;
	entry = hash_search(facts->errors, &key, HASH_ENTER, &found);
	if (!found)
		entry->n_attempts = 0;
	entry->n_attempts++;
}

/* Returns ms from the event to the end of the response, never below zero. */
static double
latency_of(const WoRecord *record)
{
	TimestampTz created_at = record->delivery->log->event.created_at;
	double		wait_ms = record->number == 1 ? record->wait_ms :
	(record->result.started_at - created_at) / 1000.0;

	return Max(wait_ms + record->result.total_ms, 0);
}

static void
measure_delivered(WoMeasures *measures, const WoRecord *record)
{
	double		latency_ms = latency_of(record);

	measures->n_delivered++;
	measures->n_retried += record->number > 1;
	measures->n_late +=
		latency_ms > record->delivery->endpoint->latency_objective_ms;
	measures->latency_sum_ms += latency_ms;
	measures->latency_max_ms = Max(measures->latency_max_ms,
								   (float) latency_ms);
	wo_histogram_add(&measures->latency, latency_ms);
}

/* Is it given up, and not because there is nobody left to deliver to? */
static bool
is_dead(const WoRecord *record)
{
	return record->verdict == WO_VERDICT_DEAD &&
		strcmp(record->reason, "endpoint_deleted") != 0;
}

static void
measure(WoMeasures *measures, const WoRecord *record)
{
	const WoResult *result = &record->result;
	bool		is_first_owed = strcmp(record->delivery->origin, "event") == 0;

	measures->n_attempts++;
	measures->n_failures += result->outcome != WO_DELIVERED;
	measures->n_retries += record->number > 1;
	if (result->outcome == WO_DELIVERED && is_first_owed)
		measure_delivered(measures, record);
	else if (result->outcome == WO_DELIVERED)
		measures->n_redelivered++;
	else if (is_first_owed && is_dead(record))
	{
		measures->n_dead++;
		measures->n_retried += record->number > 1;
	}
	if (result->outcome == WO_UNKNOWN)
		return;
	measures->http_sum_ms += result->total_ms;
	measures->http_max_ms = Max(measures->http_max_ms, result->total_ms);
	wo_histogram_add(&measures->http, result->total_ms);
}

/* Adds an attempt that was recorded. */
void
wo_facts_add_attempt(WoFacts *facts, const WoRecord *record, TimestampTz now,
					 int max_series)
{
	WoEndpoint *endpoint = record->delivery->endpoint;

	Assert(record->number > 0);
	begin_fact(facts, now);
	measure(measures_of_endpoint(facts, endpoint), record);
	measure(measures_of_series(facts, endpoint->endpoint_id,
							   &record->delivery->log->event, max_series),
			record);
	if (record->result.outcome != WO_DELIVERED)
		count_error(facts, endpoint->endpoint_id, &record->result);
}

/* Adds an event that no endpoint asked for. */
void
wo_facts_add_untaken(WoFacts *facts, const WoEvent *event, TimestampTz now,
					 int max_series)
{
	begin_fact(facts, now);
	measures_of_series(facts, 0, event, max_series)->n_attempts++;
}
