/*
 * Histograms of durations. In: values in nanoseconds, from the dispatcher alone. Out: counts that
 * any process reads through the board, and the quantiles that taskstat and /metrics show. hist_pack() makes bytes for the journal of them.
 *
 * Bucket numbers: values below HIST_STEPS have one bucket each; above, a value whose highest bit
 * is `power` falls into one of HIST_STEPS equal parts of [2^power, 2^(power + 1)).
 */
#include "shared/hist.h"

#include <assert.h>

#define STEP_BITS 4 /* log2(HIST_STEPS) */

static_assert(HIST_STEPS == 1 << STEP_BITS, "HIST_STEPS is a power of two");

unsigned hist_bucket(uint64_t value)
{
	if (value < HIST_STEPS)
		return (unsigned)value;
	unsigned power = 63u - (unsigned)__builtin_clzll(value);
	unsigned step = (unsigned)(value >> (power - STEP_BITS)) & (HIST_STEPS - 1);
	unsigned bucket = (power - STEP_BITS + 1) * HIST_STEPS + step;
	return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

uint64_t hist_bucket_upper(unsigned bucket)
{
	assert(bucket < HIST_BUCKETS);
	if (bucket < HIST_STEPS)
		return bucket;
	if (bucket == HIST_BUCKETS - 1)
		return UINT64_MAX;
	unsigned shift = bucket / HIST_STEPS - 1;
	uint64_t next = HIST_STEPS + bucket % HIST_STEPS + 1;
	return (next << shift) - 1;
}

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

void hist_add(struct hist *hist, uint64_t value)
{
	_Atomic uint64_t *bucket = &hist->buckets[hist_bucket(value)];
	if (value > load(&hist->max))
		store(&hist->max, value);
	store(bucket, load(bucket) + 1);
	store(&hist->sum, load(&hist->sum) + value);
	store(&hist->count, load(&hist->count) + 1);
}

uint64_t hist_buckets_quantile(const uint64_t buckets[HIST_BUCKETS], unsigned per_mille)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		total += buckets[i];
	if (total == 0)
		return 0;
	/* ceil(total * per_mille / 1000), in parts so that it cannot overflow. */
	uint64_t rank = total / 1000 * per_mille + (total % 1000 * per_mille + 999) / 1000;
	uint64_t seen = 0;
	unsigned bucket = 0;
	for (; bucket < HIST_BUCKETS - 1; bucket++) {
		seen += buckets[bucket];
		if (seen > 0 && seen >= rank)
			break;
	}
	return hist_bucket_upper(bucket);
}

uint64_t hist_quantile(const struct hist *hist, unsigned per_mille)
{
	/* The buckets are added up anew: `count` may be a step ahead of or behind what we read. */
	uint64_t buckets[HIST_BUCKETS];
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		buckets[i] = load(&hist->buckets[i]);
	uint64_t upper = hist_buckets_quantile(buckets, per_mille);
	uint64_t max = load(&hist->max);
	return upper < max ? upper : max;
}

/* ---- packed ------------------------------------------------------------------------------ */

static size_t put_number(uint8_t *to, uint64_t number)
{
	size_t bytes = 0;

	for (; number >= 0x80; number >>= 7)
		to[bytes++] = (uint8_t)(number | 0x80);
	to[bytes++] = (uint8_t)number;
	return bytes;
}

/* False: the bytes end before the number does, or it has more than 64 bits. */
static bool take_number(const uint8_t **from, const uint8_t *end, uint64_t *number)
{
	*number = 0;
	for (unsigned shift = 0; shift < 64 && *from < end; shift += 7) {
		uint8_t byte = *(*from)++;
		if (shift == 63 && byte > 1)
			return false;
		*number |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return true;
	}
	return false;
}

size_t hist_pack(const uint64_t buckets[HIST_BUCKETS], uint8_t to[HIST_PACKED_MAX])
{
	size_t bytes = 0;
	unsigned skipped = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		if (buckets[i] == 0) {
			skipped++;
			continue;
		}
		bytes += put_number(to + bytes, skipped);
		bytes += put_number(to + bytes, buckets[i]);
		skipped = 0;
	}
	return bytes;
}

bool hist_unpack(const uint8_t *from, size_t bytes, uint64_t buckets[HIST_BUCKETS])
{
	const uint8_t *end = from + bytes;
	uint64_t skipped, count;
	size_t at = 0;

	while (from < end) {
		if (!take_number(&from, end, &skipped) || skipped >= HIST_BUCKETS - at || !take_number(&from, end, &count))
			return false;
		at += skipped;
		buckets[at++] += count;
	}
	return true;
}
