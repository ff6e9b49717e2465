/*
 * Short times, many of them: a clock of a few nanoseconds, and percentiles. Used by the latency
 * benches, each a program of one file.
 */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

struct samples {
	uint32_t *ticks;
	size_t count, capacity;
	double tick_ns;
	uint32_t overhead; /* ticks that reading the clock itself takes; subtracted */
};

static inline int64_t samples_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Waits until all before it is done, and lets nothing after it begin. */
static inline uint64_t samples_tick(void)
{
#ifdef __x86_64__
	unsigned processor;
	uint64_t ticks = __rdtscp(&processor);

	_mm_lfence();
	return ticks;
#else
	return (uint64_t)samples_now_ns();
#endif
}

static inline int samples_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static inline void samples_add(struct samples *samples, uint64_t ticks)
{
	if (samples->count < samples->capacity)
		samples->ticks[samples->count++] = ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

/* The value below which `share` of the samples lie, in ns; the samples are sorted. */
static inline double samples_at(const struct samples *samples, double share)
{
	size_t index = (size_t)((double)samples->count * share);

	if (samples->count == 0)
		return 0;
	uint32_t ticks = samples->ticks[index < samples->count ? index : samples->count - 1];
	return (double)(ticks > samples->overhead ? ticks - samples->overhead : 0) * samples->tick_ns;
}

static inline void samples_sort(struct samples *samples)
{
	qsort(samples->ticks, samples->count, sizeof samples->ticks[0], samples_compare);
}

/* Memory for `capacity` samples, touched, and a calibrated clock. False: out of memory. */
static inline int samples_open(struct samples *samples, size_t capacity)
{
	*samples = (struct samples){ .ticks = calloc(capacity, sizeof(uint32_t)), .capacity = capacity };
	if (!samples->ticks)
		return 0;
	int64_t started = samples_now_ns(), ended;
	uint64_t first = samples_tick();
	while ((ended = samples_now_ns()) - started < 50000000)
		continue;
	samples->tick_ns = (double)(ended - started) / (double)(samples_tick() - first);
	for (size_t i = 0; i < capacity; i++) {
		uint64_t before = samples_tick();
		samples_add(samples, samples_tick() - before);
	}
	samples_sort(samples);
	samples->overhead = samples->ticks[capacity / 2];
	samples->count = 0;
	return 1;
}

/* One row; sorts. */
static inline void samples_print(struct samples *samples, const char *what)
{
	samples_sort(samples);
	printf("%-52s %9.0f %9.0f %9.0f %11.0f\n", what, samples_at(samples, 0.5), samples_at(samples, 0.99),
	    samples_at(samples, 0.999), samples_at(samples, 1));
	fflush(stdout);
}

static inline void samples_heading(const char *what)
{
	printf("%-52s %9s %9s %9s %11s\n", what, "p50", "p99", "p99.9", "most");
	fflush(stdout);
}

#endif
