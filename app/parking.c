/* See parking.h. */
#include "app/parking.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "shared/clock.h"
#include "shared/durable.h"

#define ANY_POSITION UINT32_MAX /* a commit makes nearly everything durable that waits */

struct parking {
	unsigned most;
	parking_leave_fn *leave;
	void *context;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t entered;
	unsigned count;
	struct parked *first, **end;
	bool ended;
};

/* ---- the thread -------------------------------------------------------------------------- */

/* Those that are to leave; *until_ns is when the next one has waited long enough. Under the lock. */
static struct parked *take_out(struct parking *parking, const struct durable_look *look, int64_t *until_ns)
{
	struct parked *leaving = NULL, **leaving_end = &leaving, **link = &parking->first;
	int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	*until_ns = INT64_MAX;
	while (*link != NULL) {
		struct parked *each = *link;
		bool reached = durable_reached(look, each->position);
		if (reached || parking->ended || each->until_ns <= now_ns) {
			each->result = reached ? TR_OK : TR_NOT_DURABLE;
			*link = each->next;
			each->next = NULL;
			*leaving_end = each;
			leaving_end = &each->next;
			parking->count--;
			continue;
		}
		if (each->until_ns < *until_ns)
			*until_ns = each->until_ns;
		link = &each->next;
	}
	parking->end = link;
	return leaving;
}

/* Lets go who can, or waits until somebody may. */
static void turn(struct parking *parking, struct taskring *ring)
{
	int64_t until_ns;
	/*
	 * The look comes before the lock: who enters after we have let it go has himself looked later than we, and
	 * what he did not see yet ends our wait.
	 */
	struct durable_look look = durable_look(ring);
	pthread_mutex_lock(&parking->lock);
	struct parked *leaving = take_out(parking, &look, &until_ns);
	pthread_mutex_unlock(&parking->lock);
	if (leaving == NULL)
		durable_step(ring, &look, ANY_POSITION, until_ns);
	for (struct parked *next; leaving != NULL; leaving = next) {
		next = leaving->next;
		parking->leave(parking->context, leaving);
	}
}

static void *thread_main(void *context)
{
	struct parking *parking = context;
	pthread_mutex_lock(&parking->lock);
	while (true) {
		while (parking->first == NULL && !parking->ended)
			pthread_cond_wait(&parking->entered, &parking->lock);
		if (parking->first == NULL)
			break;
		struct taskring *ring = parking->first->ring;
		pthread_mutex_unlock(&parking->lock);
		turn(parking, ring);
		pthread_mutex_lock(&parking->lock);
	}
	pthread_mutex_unlock(&parking->lock);
	return NULL;
}

/* ---- for others -------------------------------------------------------------------------- */

struct parking *parking_new(unsigned most, parking_leave_fn *leave, void *context)
{
	struct parking *parking = calloc(1, sizeof(*parking));
	if (parking == NULL)
		return NULL;
	parking->most = most;
	parking->leave = leave;
	parking->context = context;
	parking->end = &parking->first;
	/* On Linux neither fails with these arguments. */
	pthread_mutex_init(&parking->lock, NULL);
	pthread_cond_init(&parking->entered, NULL);
	int failure = pthread_create(&parking->thread, NULL, thread_main, parking);
	if (failure != 0) {
		pthread_cond_destroy(&parking->entered);
		pthread_mutex_destroy(&parking->lock);
		free(parking);
		errno = failure;
		return NULL;
	}
	return parking;
}

void parking_free(struct parking **parking)
{
	struct parking *gone = *parking;
	*parking = NULL;
	if (gone == NULL)
		return;
	pthread_mutex_lock(&gone->lock);
	gone->ended = true;
	pthread_cond_signal(&gone->entered);
	pthread_mutex_unlock(&gone->lock);
	pthread_join(gone->thread, NULL);
	pthread_cond_destroy(&gone->entered);
	pthread_mutex_destroy(&gone->lock);
	free(gone);
}

bool parking_enter(struct parking *parking, struct parked *parked)
{
	parked->next = NULL;
	pthread_mutex_lock(&parking->lock);
	struct durable_look look = durable_look(parked->ring);
	bool enters = !parking->ended && parking->count < parking->most && !durable_reached(&look, parked->position);
	if (enters) {
		if (parking->first == NULL)
			pthread_cond_signal(&parking->entered);
		*parking->end = parked;
		parking->end = &parked->next;
		parking->count++;
	}
	pthread_mutex_unlock(&parking->lock);
	return enters;
}
