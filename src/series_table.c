/*-------------------------------------------------------------------------
 *
 * series_table.c
 *	  The series that are known: what metrics tell apart within an endpoint.
 *
 * Layer 2.  series.c loads and stores them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "series_table.h"
#include "utils/memutils.h"

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
wo_series_table_reset(WoSeriesTable *table)
{
	HASHCTL		ctl;

	MemoryContextReset(table->context);
	ctl.keysize = sizeof(WoSeriesKey);
	ctl.entrysize = sizeof(WoSeries);
	ctl.hash = hash_series;
	ctl.match = match_series;
	ctl.hcxt = table->context;
	table->series = hash_create("webhook_outbox series", 256, &ctl,
								HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
								HASH_CONTEXT);
	table->n_named = 0;
	table->last_series_id = 0;
}

/* Makes one that knows no series. */
WoSeriesTable *
wo_series_table_create(MemoryContext context)
{
	WoSeriesTable *table = MemoryContextAlloc(context, sizeof(WoSeriesTable));

	table->context = AllocSetContextCreate(context, "webhook_outbox series",
										   ALLOCSET_DEFAULT_SIZES);
	wo_series_table_reset(table);
	return table;
}

static bool
is_other(const WoSeriesKey *key)
{
	return strcmp(key->type, OTHER_TYPE) == 0;
}

static const char *
keep_text(WoSeriesTable *table, const char *text)
{
	return text ? MemoryContextStrdup(table->context, text) : NULL;
}

static WoSeries *
enter_series(WoSeriesTable *table, const WoSeriesKey *key, int32 series_id,
			 bool is_stored)
{
	bool		found;
	WoSeries   *series = hash_search(table->series, key, HASH_ENTER, &found);

	if (found)
		return series;
	series->key.type = keep_text(table, key->type);
	series->key.tenant = keep_text(table, key->tenant);
	series->key.source = keep_text(table, key->source);
	series->series_id = series_id;
	series->is_stored = is_stored;
	series->facts_number = 0;
	table->n_named += !is_other(key);
	table->last_series_id = Max(table->last_series_id, series_id);
	return series;
}

/* Makes a series known that is stored. */
void
wo_series_table_know(WoSeriesTable *table, const WoSeriesKey *key,
					 int32 series_id)
{
	(void) enter_series(table, key, series_id, true);
}

/*
 * Returns the series with this key, a new one if need be; when there are
 * max_series already, the one for all others of the endpoint.
 */
WoSeries *
wo_series_table_find(WoSeriesTable *table, const WoSeriesKey *key,
					 int max_series)
{
	WoSeries   *series = hash_search(table->series, key, HASH_FIND, NULL);
	WoSeriesKey other;

	if (series)
		return series;
	if (table->n_named >= max_series && !is_other(key))
	{
		memset(&other, 0, sizeof(WoSeriesKey));
		other.endpoint_id = key->endpoint_id;
		other.type = OTHER_TYPE;
		return wo_series_table_find(table, &other, max_series);
	}
	return enter_series(table, key, table->last_series_id + 1, false);
}
