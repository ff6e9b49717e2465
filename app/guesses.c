/* See guesses.h. A table of sets, as in a processor's cache: an address belongs to one set. */
#include "app/guesses.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SETS 128 /* a power of two */
#define WAYS 8

struct row {
	uint64_t key; /* 0: free */
	unsigned wrong;
	int64_t last_ms, until_ms; /* the last wrong one; no sooner than then another */
};

struct guesses {
	pthread_mutex_t lock;
	uint64_t secret; /* nobody can choose addresses that all belong to one set */
	struct row rows[SETS][WAYS];
};

struct guesses *guesses_new(void)
{
	struct guesses *guesses = calloc(1, sizeof(*guesses));
	if (guesses == NULL || getrandom(&guesses->secret, sizeof(guesses->secret), 0) != sizeof(guesses->secret) ||
	    pthread_mutex_init(&guesses->lock, NULL) != 0) {
		free(guesses);
		return NULL;
	}
	return guesses;
}

void guesses_free(struct guesses **guesses)
{
	if (*guesses == NULL)
		return;
	pthread_mutex_destroy(&(*guesses)->lock);
	free(*guesses);
	*guesses = NULL;
}

/* Never 0, and another one for each network that a client may have for itself. */
static uint64_t key_of(const char *address)
{
	struct in_addr four;
	struct in6_addr six;
	uint64_t key = 1; /* ::/64 begins with no client's address, so this is free for the rest */
	if (inet_pton(AF_INET, address, &four) == 1)
		return UINT64_C(1) << 32 | four.s_addr;
	if (inet_pton(AF_INET6, address, &six) != 1)
		return key;
	if (IN6_IS_ADDR_V4MAPPED(&six)) {
		memcpy(&four, &six.s6_addr[12], sizeof(four));
		return UINT64_C(1) << 32 | four.s_addr;
	}
	memcpy(&key, six.s6_addr, sizeof(key));
	return key != 0 ? key : 2; /* ::1 */
}

/* The finalizer of SplitMix64 (Steele, Lea and Flood, 2014). */
static struct row *set_of(struct guesses *guesses, uint64_t key)
{
	uint64_t mixed = key ^ guesses->secret;
	mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
	return guesses->rows[(mixed ^ mixed >> 31) % SETS];
}

static bool is_kept(const struct row *row, int64_t now_ms)
{
	return row->key != 0 && now_ms - row->last_ms < GUESSES_KEPT_S * INT64_C(1000);
}

unsigned guesses_wait_s(struct guesses *guesses, const char *address, int64_t now_ms)
{
	uint64_t key = key_of(address);
	int64_t wait_ms = 0;
	pthread_mutex_lock(&guesses->lock);
	const struct row *row = set_of(guesses, key);
	for (size_t i = 0; i < WAYS; i++)
		if (row[i].key == key && is_kept(&row[i], now_ms))
			wait_ms = row[i].until_ms - now_ms;
	pthread_mutex_unlock(&guesses->lock);
	return wait_ms > 0 ? (unsigned)((wait_ms + 999) / 1000) : 0;
}

/* The row of that address, else one for it: a free one, or that which has been quiet longest. */
static struct row *row_for(struct guesses *guesses, uint64_t key, int64_t now_ms)
{
	struct row *set = set_of(guesses, key), *chosen = &set[0];
	for (size_t i = 0; i < WAYS; i++) {
		if (!is_kept(&set[i], now_ms))
			set[i] = (struct row){ .key = 0, .last_ms = INT64_MIN };
		if (set[i].key == key)
			return &set[i];
		if (set[i].last_ms < chosen->last_ms)
			chosen = &set[i];
	}
	*chosen = (struct row){ .key = key };
	return chosen;
}

void guesses_wrong(struct guesses *guesses, const char *address, int64_t now_ms)
{
	uint64_t key = key_of(address);
	pthread_mutex_lock(&guesses->lock);
	struct row *row = row_for(guesses, key, now_ms);
	row->wrong++;
	row->last_ms = now_ms;
	unsigned over = row->wrong > GUESSES_FREE ? row->wrong - GUESSES_FREE : 0;
	unsigned wait_s = over == 0 ? 0 : over > 6 ? GUESSES_WAIT_MAX_S : 1u << (over - 1);
	row->until_ms = now_ms + wait_s * INT64_C(1000);
	pthread_mutex_unlock(&guesses->lock);
}
