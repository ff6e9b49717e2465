/* A thread asks for the ring before each request; it goes out opened, or not at all. */
#include "app/instance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "app/log.h"

#define RETRY_NS 200000000ll

struct instance {
	const char *name;
	const struct tr_open_options *options;
	struct taskring *_Atomic ring; /* written once, under the lock */
	pthread_mutex_t lock;
	int64_t retry_at_ns; /* CLOCK_MONOTONIC; no attempt to open before */
	bool failing;        /* the last attempt failed; said once */
};

static int64_t monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

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
	int64_t now_ns = monotonic_ns();
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

struct taskring *instance_ring(struct instance *instance)
{
	struct taskring *ring = atomic_load_explicit(&instance->ring, memory_order_acquire);
	if (ring != NULL)
		return ring;
	pthread_mutex_lock(&instance->lock);
	ring = atomic_load(&instance->ring);
	if (ring == NULL) {
		ring = try_to_open(instance);
		atomic_store(&instance->ring, ring);
	}
	pthread_mutex_unlock(&instance->lock);
	return ring;
}
