/*
 * Log-linear histograms of durations, as HdrHistogram's (Gil Tene): 16 linear steps in each power
 * of two, so a value is known to 1/16 of itself. One writer, any number of readers.
 */
#ifndef TR_HIST_H
#define TR_HIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HIST_STEPS 16                    /* linear steps in a power of two */
#define HIST_BUCKETS (44 * HIST_STEPS)   /* up to 2^47 ns, 39 hours; the last takes all above */

struct hist {
	_Atomic uint64_t count;
	_Atomic uint64_t sum;
	_Atomic uint64_t max;
	_Atomic uint64_t buckets[HIST_BUCKETS];
};

unsigned hist_bucket(uint64_t value);
uint64_t hist_bucket_upper(unsigned bucket); /* the largest value that falls into it */
/* Single writer. */
void hist_add(struct hist *hist, uint64_t value);
/* The smallest bucket limit that at least `per_mille` of 1,000 values do not exceed; 0 when empty. */
uint64_t hist_quantile(const struct hist *hist, unsigned per_mille);

/*
 * Buckets as bytes, for the journal: of each that is not empty how many empty ones are before it, and its count,
 * both as LEB128. Returns how many bytes.
 */
#define HIST_PACKED_MAX (HIST_BUCKETS * 12)
size_t hist_pack(const uint64_t buckets[HIST_BUCKETS], uint8_t to[HIST_PACKED_MAX]);
/* Adds what was packed to the buckets. False: the bytes are not what hist_pack() writes; what made sense was added. */
bool hist_unpack(const uint8_t *from, size_t bytes, uint64_t buckets[HIST_BUCKETS]);
/* As hist_quantile(), of bare buckets: no maximum is known. */
uint64_t hist_buckets_quantile(const uint64_t buckets[HIST_BUCKETS], unsigned per_mille);

#endif
