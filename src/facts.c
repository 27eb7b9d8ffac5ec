/*-------------------------------------------------------------------------
 *
 * facts.c
 *	  What was recorded in the minute under way, added up in memory.
 *
 * Layer 2: no SPI, no settings.  rollup.c says when a minute is over and
 * writes it.  All that one minute gathers is in one context, and goes with
 * it; the series that are known stay.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "endpoint.h"
#include "facts.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Makes an empty one. */
WoFacts *
wo_facts_create(MemoryContext parent)
{
	static uint64 last_number = 0;
	MemoryContext context = AllocSetContextCreate(parent,
												  "webhook_outbox facts",
												  ALLOCSET_DEFAULT_SIZES);
	WoFacts    *facts = MemoryContextAllocZero(context, sizeof(WoFacts));
	HASHCTL		ctl;

	facts->context = context;
	facts->number = ++last_number;
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(WoEndpointFacts);
	ctl.hcxt = context;
	facts->endpoints = hash_create("webhook_outbox endpoint facts", 64, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return facts;
}

void
wo_facts_delete(WoFacts *facts)
{
	MemoryContextDelete(facts->context);
}

/* Returns the start of the minute that a time is in. */
TimestampTz
wo_facts_minute_of(TimestampTz at)
{
	return at - at % USECS_PER_MINUTE;
}

/* Counts a fact of an endpoint; the first of all begins the minute. */
static WoEndpointFacts *
begin_fact(WoFacts *facts, int64 endpoint_id, TimestampTz now)
{
	bool		found;
	WoEndpointFacts *entry = hash_search(facts->endpoints, &endpoint_id,
										 HASH_ENTER, &found);

	if (!found)
		entry->tiers = entry->errors = entry->series = NIL;
	if (facts->minute == 0)
		facts->minute = wo_facts_minute_of(now);
	facts->n++;
	return entry;
}

/* Makes one of the structs that the lists hold, and appends it. */
static void *
append(WoFacts *facts, List **list, Size size)
{
	MemoryContext caller = MemoryContextSwitchTo(facts->context);
	void	   *entry = palloc0(size);

	*list = lappend(*list, entry);
	MemoryContextSwitchTo(caller);
	return entry;
}

static void
init_measures(WoFacts *facts, WoMeasures *measures)
{
	wo_histogram_init(&measures->latency, facts->context);
	wo_histogram_init(&measures->http, facts->context);
}

static WoMeasures *
measures_of_series(WoFacts *facts, WoEndpointFacts *entry, WoSeries *series)
{
	if (series->facts_number != facts->number)
	{
		series->facts = append(facts, &entry->series, sizeof(WoSeriesFacts));
		series->facts->series = series;
		series->facts_number = facts->number;
		init_measures(facts, &series->facts->measures);
		facts->n_series++;
	}
	return &series->facts->measures;
}

static WoSeries *
series_of(WoSeriesTable *table, int64 endpoint_id, const WoEvent *event,
		  int max_series)
{
	WoSeriesKey key;

	key.endpoint_id = endpoint_id;
	key.type = event->type;
	key.tenant = event->tenant;
	key.source = event->source;
	return wo_series_table_find(table, &key, max_series);
}

static WoMeasures *
measures_of_tier(WoFacts *facts, WoEndpointFacts *entry, int tier)
{
	WoTierFacts *found;
	ListCell   *cell;

	foreach(cell, entry->tiers)
	{
		found = lfirst(cell);
		if (found->tier == tier)
			return &found->measures;
	}
	found = append(facts, &entry->tiers, sizeof(WoTierFacts));
	found->tier = tier;
	init_measures(facts, &found->measures);
	return &found->measures;
}

static void
count_error(WoFacts *facts, WoEndpointFacts *entry, const WoResult *result)
{
	WoErrorFacts *found;
	ListCell   *cell;

	foreach(cell, entry->errors)
	{
		found = lfirst(cell);
		if (found->outcome == result->outcome &&
			found->http_status == result->http_status)
		{
			found->n_attempts++;
			return;
		}
	}
	found = append(facts, &entry->errors, sizeof(WoErrorFacts));
	found->outcome = result->outcome;
	found->http_status = result->http_status;
	found->n_attempts = 1;
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
wo_facts_add_attempt(WoFacts *facts, WoSeriesTable *table,
					 const WoRecord *record, TimestampTz now, int max_series)
{
	WoEndpoint *endpoint = record->delivery->endpoint;
	WoSeries   *series = series_of(table, endpoint->endpoint_id,
								   &record->delivery->log->event, max_series);
	WoEndpointFacts *entry = begin_fact(facts, endpoint->endpoint_id, now);

	Assert(record->number > 0);
	measure(measures_of_tier(facts, entry, endpoint->tier), record);
	measure(measures_of_series(facts, entry, series), record);
	if (record->result.outcome != WO_DELIVERED)
		count_error(facts, entry, &record->result);
}

/* Adds an event that no endpoint asked for. */
void
wo_facts_add_untaken(WoFacts *facts, WoSeriesTable *table,
					 const WoEvent *event, TimestampTz now, int max_series)
{
	WoSeries   *series = series_of(table, 0, event, max_series);
	WoEndpointFacts *entry = begin_fact(facts, 0, now);

	measures_of_series(facts, entry, series)->n_attempts++;
}

static int
compare_endpoints(const void *a, const void *b)
{
	int64		x = (*(WoEndpointFacts *const *) a)->endpoint_id;
	int64		y = (*(WoEndpointFacts *const *) b)->endpoint_id;

	return x < y ? -1 : x > y;
}

/* Lists what was added, by endpoint_id; belongs to facts. */
WoEndpointFacts **
wo_facts_by_endpoint(const WoFacts *facts, int *n)
{
	HASH_SEQ_STATUS scan;
	WoEndpointFacts *entry;
	WoEndpointFacts **list;

	list = MemoryContextAlloc(facts->context, sizeof(WoEndpointFacts *) *
							  hash_get_num_entries(facts->endpoints));
	*n = 0;
	hash_seq_init(&scan, facts->endpoints);
	while ((entry = hash_seq_search(&scan)) != NULL)
		list[(*n)++] = entry;
	qsort(list, *n, sizeof(WoEndpointFacts *), compare_endpoints);
	return list;
}
