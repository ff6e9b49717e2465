/* A thread asks for the ring before each request; it goes out opened, or not at all. */
#include "app/instance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "app/log.h"
#include "shared/clock.h"

#define RETRY_NS 200000000ll
#define LOOK_MS 100

struct instance {
	const char *name;
	const struct tr_open_options *options;
	struct taskring *_Atomic ring; /* written once, under the lock */
	pthread_mutex_t lock;
	int64_t retry_at_ns; /* CLOCK_MONOTONIC; no attempt to open before */
	bool failing;        /* the last attempt failed; said once */
	_Atomic int64_t look_at_ms; /* CLOCK_MONOTONIC_COARSE: then the ring is looked at again */
	_Atomic bool gone;          /* it was removed, and none can be made */
};

struct instance *instance_new(const char *name, const struct tr_open_options *options)
{
	struct instance *instance = calloc(1, sizeof(*instance));
	if (instance == NULL)
		return NULL;
	instance->name = name;
	instance->options = options;
	if (pthread_mutex_init(&instance->lock, NULL) != 0) {
		free(instance);
		return NULL;
	}
	return instance;
}

void instance_free(struct instance **instance)
{
	if (*instance == NULL)
		return;
	struct taskring *ring = atomic_load(&(*instance)->ring);
	tr_close(&ring);
	pthread_mutex_destroy(&(*instance)->lock);
	free(*instance);
	*instance = NULL;
}

/* Under the lock. */
static struct taskring *try_to_open(struct instance *instance)
{
	int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	if (now_ns < instance->retry_at_ns)
		return NULL;
	instance->retry_at_ns = now_ns + RETRY_NS;
	struct taskring *ring;
	struct tr_error error = { .text = "" };
	enum tr_result result = tr_open(&ring, instance->name, instance->options, &error);
	char quoted[LOG_QUOTED_SIZE];
	if (result != TR_OK && !instance->failing)
		log_event(LOG_ERR, "instance-not-open", "name=%s result=%s reason=%s", instance->name,
		    tr_result_name(result), log_quote(error.text, quoted));
	if (result == TR_OK && instance->failing)
		log_event(LOG_NOTICE, "instance-open", "name=%s", instance->name);
	instance->failing = result != TR_OK;
	return result == TR_OK ? ring : NULL;
}

/*
 * Whoever owns a lane would fill it for ever, though somebody has removed the ring and taskd serves another
 * one: publishing makes no system call, so it cannot notice. The library takes the new one when it looks.
 */
static void look_again(struct instance *instance, struct taskring *ring)
{
	int64_t now_ms = clock_ms(CLOCK_MONOTONIC_COARSE), due_ms = atomic_load(&instance->look_at_ms);
	if (now_ms < due_ms || !atomic_compare_exchange_strong(&instance->look_at_ms, &due_ms, now_ms + LOOK_MS))
		return;
	struct tr_health health;
	(void)tr_health(ring, &health); /* that there is no board is no matter here */
	if (health.ring_ok == atomic_exchange(&instance->gone, !health.ring_ok))
		log_event(health.ring_ok ? LOG_NOTICE : LOG_ERR, health.ring_ok ? "ring-back" : "ring-gone", "name=%s", instance->name);
}

struct taskring *instance_ring(struct instance *instance)
{
	struct taskring *ring = atomic_load_explicit(&instance->ring, memory_order_acquire);
	if (ring != NULL) {
		look_again(instance, ring);
		return atomic_load(&instance->gone) ? NULL : ring;
	}
	pthread_mutex_lock(&instance->lock);
	ring = atomic_load(&instance->ring);
	if (ring == NULL) {
		ring = try_to_open(instance);
		atomic_store(&instance->ring, ring);
	}
	pthread_mutex_unlock(&instance->lock);
	return ring;
}
