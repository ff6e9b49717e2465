/*
 * The demonstration's long calculation. Enters: tasks of POST /calculations, {"limit": N}; leaves: how
 * many primes are below N, as {"limit": N, "primes": COUNT}. Loaded by taskd's workers.
 *
 * A segmented sieve of Eratosthenes over odd numbers: memory grows with the square root of N, to 6 MB
 * for the largest. Between two segments, every millisecond or so, it says how far it is and looks
 * whether it should stop.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskring/handler.h"

#define LIMIT_MAX 1000000000000LL /* half an hour or so */
#define SEGMENT_LEAST 32768       /* odd numbers in a segment: what fits a first-level cache, a byte for each */

struct sieve {
	uint64_t limit, root;  /* primes below `limit` are counted; root * root >= limit */
	uint32_t *primes;      /* the odd ones up to the root */
	uint64_t *next;        /* of each, the next odd multiple to strike out */
	size_t prime_count;
	uint8_t *struck;       /* one for each odd number of the segment */
	size_t segment;        /* how many those are */
};

/* ---- the sieve --------------------------------------------------------------------------- */

static void sieve_close(struct sieve *sieve)
{
	free(sieve->primes);
	free(sieve->next);
	free(sieve->struck);
}

/* The odd primes up to the root, by a plain sieve. `struck` has room for it. */
static void find_small_primes(struct sieve *sieve)
{
	uint8_t *struck = sieve->struck; /* of n: struck[n / 2] */

	for (uint64_t n = 3; n <= sieve->root; n += 2) {
		if (struck[n / 2])
			continue;
		sieve->primes[sieve->prime_count] = (uint32_t)n;
		sieve->next[sieve->prime_count++] = n * n;
		for (uint64_t multiple = n * n; multiple <= sieve->root; multiple += 2 * n)
			struck[multiple / 2] = 1;
	}
}

/* False: out of memory. sieve_close() in both cases. */
static bool sieve_open(struct sieve *sieve, uint64_t limit)
{
	*sieve = (struct sieve){ .limit = limit, .root = 1 };
	while (sieve->root * sieve->root < limit)
		sieve->root++;
	sieve->segment = sieve->root > SEGMENT_LEAST ? (size_t)sieve->root : SEGMENT_LEAST;
	size_t most = (size_t)sieve->root / 2 + 1; /* every second number up to the root */
	sieve->primes = calloc(most, sizeof *sieve->primes);
	sieve->next = calloc(most, sizeof *sieve->next);
	sieve->struck = calloc(sieve->segment, 1);
	if (sieve->primes == NULL || sieve->next == NULL || sieve->struck == NULL)
		return false;
	find_small_primes(sieve);
	return true;
}

/* How many odd numbers from `low` on, at most a segment and below the limit, are prime. `low` is odd, and above 1. */
static uint64_t count_segment(struct sieve *sieve, uint64_t low)
{
	uint64_t high = low + 2 * sieve->segment, count = 0;

	high = high < sieve->limit ? high : sieve->limit;
	size_t numbers = (size_t)(high - low + 1) / 2;
	memset(sieve->struck, 0, numbers);
	for (size_t i = 0; i < sieve->prime_count; i++) {
		uint64_t prime = sieve->primes[i];
		if (prime * prime >= high)
			break;
		size_t at = (size_t)(sieve->next[i] - low) / 2;
		for (; at < numbers; at += prime)
			sieve->struck[at] = 1;
		sieve->next[i] = low + 2 * (uint64_t)at;
	}
	for (size_t i = 0; i < numbers; i++)
		count += !sieve->struck[i];
	return count;
}

/* ---- the task ---------------------------------------------------------------------------- */

/* TR_SUCCESS, or what to return. */
static enum tr_outcome read_limit(struct tr_task *task, uint64_t *limit)
{
	json_error_t error;
	json_t *root = json_loads(tr_task_args(task), 0, &error);
	if (root == NULL)
		return tr_fail_permanently(task, "the arguments cannot be read: %s", error.text);
	const json_t *number = json_object_get(root, "limit");
	bool well = json_is_integer(number) && json_integer_value(number) >= 0 && json_integer_value(number) <= LIMIT_MAX;
	*limit = well ? (uint64_t)json_integer_value(number) : 0;
	json_decref(root);
	return well ? TR_SUCCESS :
	    tr_fail_permanently(task, "\"limit\" must be an integer from 0 to %lld", LIMIT_MAX);
}

/* When taskd shuts down, it begins anew another time, and this run counts neither as an attempt nor as a failure. */
static enum tr_outcome stop(struct tr_task *task, enum tr_stop why, uint64_t at)
{
	if (why == TR_SHUTTING_DOWN)
		return tr_snooze(task, 0);
	return tr_fail(task, "stopped at %llu: %s", (unsigned long long)at,
	    why == TR_CANCELLED_NOW ? "cancelled" : "out of time");
}

static enum tr_outcome count_all(struct tr_task *task, struct sieve *sieve, uint64_t *count)
{
	*count = sieve->limit > 2; /* 2 itself, the only even one */
	for (uint64_t low = 3; low < sieve->limit; low += 2 * sieve->segment) {
		enum tr_stop why = tr_should_stop(task);
		if (why != TR_GO_ON)
			return stop(task, why, low);
		*count += count_segment(sieve, low);
		tr_progress(task, low, sieve->limit, NULL);
	}
	tr_progress(task, sieve->limit, sieve->limit, NULL);
	return TR_SUCCESS;
}

static enum tr_outcome count_primes(struct tr_task *task)
{
	struct sieve sieve;
	uint64_t limit = 0, count = 0;
	char result[96];
	enum tr_outcome outcome = read_limit(task, &limit);

	if (outcome != TR_SUCCESS)
		return outcome;
	outcome = sieve_open(&sieve, limit) ? count_all(task, &sieve, &count) : tr_fail(task, "out of memory");
	sieve_close(&sieve);
	if (outcome != TR_SUCCESS)
		return outcome;
	snprintf(result, sizeof result, "{\"limit\":%llu,\"primes\":%llu}", (unsigned long long)limit,
	    (unsigned long long)count);
	(void)tr_result_json(task, result);
	return TR_SUCCESS;
}

static const struct tr_handler handlers[] = {
	{ .name = "count_primes", .doc = "Counts the primes below a limit", .run = count_primes },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handler_count = sizeof handlers / sizeof *handlers,
	.handlers = handlers,
};
