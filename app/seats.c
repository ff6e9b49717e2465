/* See seats.h. */
#include "app/seats.h"

#include <stdlib.h>
#include <time.h>

#include "shared/clock.h"

#define LOOK_NS 2000000 /* who serves the same request at two looks has lost the seat */
#define CALM_LOOKS 16   /* so often in a row somebody waited: requests do not come faster than they are served */

struct seats {
	unsigned most;
	pthread_mutex_t lock;
	pthread_cond_t freed, watch; /* for the parked ones; for the one of them that looks */
	unsigned taken;
	bool is_watched, is_open;
	struct seat *first;
	atomic_uint waiting;       /* with a seat, for a request */
	atomic_bool watcher_sleeps;
};

struct seats *seats_new(unsigned most)
{
	pthread_condattr_t attributes;
	struct seats *seats = calloc(1, sizeof(*seats));
	if (seats == NULL)
		return NULL;
	seats->most = most;
	seats->is_open = most == 0;
	/* On Linux none of these fails with these arguments. */
	pthread_mutex_init(&seats->lock, NULL);
	pthread_cond_init(&seats->freed, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&seats->watch, &attributes);
	pthread_condattr_destroy(&attributes);
	return seats;
}

void seats_free(struct seats **seats)
{
	struct seats *gone = *seats;
	*seats = NULL;
	if (gone == NULL)
		return;
	pthread_cond_destroy(&gone->watch);
	pthread_cond_destroy(&gone->freed);
	pthread_mutex_destroy(&gone->lock);
	free(gone);
}

void seats_join(struct seats *seats, struct seat *seat)
{
	atomic_store(&seat->turn, 1);
	atomic_store(&seat->lost, true);
	pthread_mutex_lock(&seats->lock);
	seat->next = seats->first;
	seats->first = seat;
	pthread_mutex_unlock(&seats->lock);
}

static bool is_free(const struct seats *seats)
{
	return seats->is_open || seats->taken < seats->most;
}

/* Tells one that is parked. Under the lock. */
static void tell(struct seats *seats)
{
	if (seats->is_watched)
		pthread_cond_signal(&seats->watch);
	else
		pthread_cond_signal(&seats->freed);
}

void seats_leave(struct seats *seats, struct seat *seat)
{
	pthread_mutex_lock(&seats->lock);
	struct seat **link = &seats->first;
	while (*link != seat)
		link = &(*link)->next;
	*link = seat->next;
	if (!atomic_load(&seat->lost))
		seats->taken--;
	tell(seats);
	pthread_mutex_unlock(&seats->lock);
}

/* ---- those who are parked ---------------------------------------------------------------- */

/* Who has served the same request since the last look gives up the seat. Under the lock. */
static void look(struct seats *seats)
{
	for (struct seat *each = seats->first; each != NULL; each = each->next) {
		unsigned turn = atomic_load(&each->turn);
		if (!atomic_load(&each->lost) && turn % 2 == 1 && turn == each->seen) {
			atomic_store(&each->lost, true);
			seats->taken--;
		}
		each->seen = turn;
	}
}

/* Until somebody with a seat waits no more. Under the lock. */
static void sleep_while_somebody_waits(struct seats *seats)
{
	/* Either who serves sees us asleep, or we see that nobody waits. */
	atomic_store(&seats->watcher_sleeps, true);
	if (atomic_load(&seats->waiting) > 0)
		pthread_cond_wait(&seats->watch, &seats->lock);
	atomic_store(&seats->watcher_sleeps, false);
}

/* One of the parked ones looks until there is a seat, and sleeps in calm times. Under the lock. */
static void keep_watch(struct seats *seats)
{
	unsigned calm = CALM_LOOKS;
	while (!is_free(seats)) {
		if (calm >= CALM_LOOKS) {
			sleep_while_somebody_waits(seats);
			calm = 0;
			continue;
		}
		int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + LOOK_NS;
		struct timespec until = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };
		pthread_cond_timedwait(&seats->watch, &seats->lock, &until);
		if (clock_ns(CLOCK_MONOTONIC) < until_ns)
			continue;
		look(seats);
		calm = atomic_load(&seats->waiting) > 0 ? calm + 1 : 0;
	}
}

static void take_seat(struct seats *seats, struct seat *seat)
{
	pthread_mutex_lock(&seats->lock);
	while (!is_free(seats)) {
		if (seats->is_watched) {
			pthread_cond_wait(&seats->freed, &seats->lock);
			continue;
		}
		seats->is_watched = true;
		keep_watch(seats);
		seats->is_watched = false;
	}
	seats->taken++;
	atomic_store(&seat->lost, false);
	pthread_cond_signal(&seats->freed); /* another seat may be free; else there is to be watched */
	pthread_mutex_unlock(&seats->lock);
}

/* ---- a thread's turn --------------------------------------------------------------------- */

void seats_wait(struct seats *seats, struct seat *seat)
{
	atomic_fetch_add(&seat->turn, 1);
	if (atomic_load(&seat->lost)) /* if it is lost after this look, one too many waits, until its next turn */
		take_seat(seats, seat);
	atomic_fetch_add(&seats->waiting, 1);
}

void seats_serve(struct seats *seats, struct seat *seat)
{
	atomic_fetch_add(&seat->turn, 1);
	if (atomic_fetch_sub(&seats->waiting, 1) > 1 || !atomic_load(&seats->watcher_sleeps))
		return;
	pthread_mutex_lock(&seats->lock);
	pthread_cond_signal(&seats->watch);
	pthread_mutex_unlock(&seats->lock);
}

void seats_open(struct seats *seats)
{
	pthread_mutex_lock(&seats->lock);
	seats->is_open = true;
	pthread_cond_broadcast(&seats->freed);
	pthread_cond_broadcast(&seats->watch);
	pthread_mutex_unlock(&seats->lock);
}
