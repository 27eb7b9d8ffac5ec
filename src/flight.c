/*-------------------------------------------------------------------------
 *
 * flight.c
 *	  The requests under way, by slot and generation.
 *
 * A sender names its work by slot and generation, so a result that comes
 * after its slot was given to other work is recognised and dropped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "flight.h"

static MemoryContext flight_context;
static WoFlight *flights = NULL;
static int	n_allocated = 0;	/* length of flights */
static int	n_allowed = 0;		/* how many may be used at once */
static int	n_used = 0;
static int	n_used_by[WO_N_PACES];	/* the same, by pace */

/* Of all slots so many eighths are kept from a pace and those behind it. */
static const int kept_eighths[WO_N_PACES] = {
	[WO_PACE_QUICK] = 0,
	[WO_PACE_SLOW] = 2,
	[WO_PACE_NEW] = 3,
	[WO_PACE_SILENT] = 4
};
static int	first_free = -1;

/* Called once, before wo_flight_resize. */
void
wo_flight_create(MemoryContext context)
{
	flight_context = context;
}

/* Allows n_slots at once.  Fewer than before: those in use run out. */
void
wo_flight_resize(int n_slots)
{
	MemoryContext caller = MemoryContextSwitchTo(flight_context);

	n_allowed = n_slots;
	if (n_slots > n_allocated)
	{
		flights = flights ? repalloc(flights, n_slots * sizeof(WoFlight)) :
			palloc(n_slots * sizeof(WoFlight));
		for (int i = n_slots - 1; i >= n_allocated; i--)
		{
			memset(&flights[i], 0, sizeof(WoFlight));
			flights[i].next_free = first_free;
			first_free = i;
		}
		n_allocated = n_slots;
	}
	MemoryContextSwitchTo(caller);
}

/* How many more may be started now for endpoints of such a pace. */
int
wo_flight_n_free(WoPace pace)
{
	int			n_free = n_allowed - n_used;
	int			n = 0;

	/* a pace has its share of the slots, and has it with all behind it */
	for (int i = WO_N_PACES - 1; i >= (int) WO_PACE_QUICK; i--)
	{
		n += n_used_by[i];
		if (i <= (int) pace)
			n_free = Min(n_free, n_allowed -
						 n_allowed * kept_eighths[i] / 8 - n);
	}
	return Max(n_free, 0);
}

int
wo_flight_n_used(void)
{
	return n_used;
}

/* Gives a delivery a slot; there must be a free one. */
uint32
wo_flight_start(WoDelivery *delivery, int sender, WoPace pace,
				TimestampTz now, uint32 *generation)
{
	int			slot = first_free;
	WoFlight   *flight = &flights[slot];

	Assert(slot >= 0 && flight->delivery == NULL);
	first_free = flight->next_free;
	flight->delivery = delivery;
	flight->sender = sender;
	flight->pace = pace;
	n_used_by[pace]++;
	flight->handed_at = now;
	*generation = ++flight->generation;
	n_used++;
	return slot;
}

/* Frees a slot; NULL: that use of it had ended before. */
WoDelivery *
wo_flight_end(uint32 slot, uint32 generation)
{
	WoDelivery *delivery;

	if (slot >= n_allocated || flights[slot].delivery == NULL ||
		flights[slot].generation != generation)
		return NULL;
	delivery = flights[slot].delivery;
	flights[slot].delivery = NULL;
	n_used_by[flights[slot].pace]--;
	flights[slot].next_free = first_free;
	first_free = slot;
	n_used--;
	return delivery;
}

/*
 * Finds the next work that a sender has, from *slot on, which is moved there;
 * NULL: it has no more.
 */
WoFlight *
wo_flight_of_sender(int sender, uint32 *slot)
{
	for (; *slot < n_allocated; (*slot)++)
	{
		WoFlight   *flight = &flights[*slot];

		if (flight->delivery != NULL && flight->sender == sender)
			return flight;
	}
	return NULL;
}
