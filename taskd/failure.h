/* What happens after a failure when nobody says otherwise, and the built-in callbacks. */
#ifndef TASKD_FAILURE_H
#define TASKD_FAILURE_H

#include "taskring/handler.h"

/*
 * The default policy, a pure function: a permanent failure and the last attempt are buried; else
 * another attempt after a time drawn uniformly from 0 to min(cap, base * 2^(attempt-1)) ms:
 * exponential backoff with full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS
 * Architecture Blog, 2015); but at least retry_after_ms, capped at TR_DELAY_MS_MAX. `random` is 64
 * uniform bits. Never TR_VERDICT_DEFAULT.
 */
struct tr_verdict failure_default(const struct tr_failure *failure, uint64_t random);

/* The upper end of that time, in ms. */
uint64_t failure_backoff_ms(const struct tr_failure *failure);

/* "default", "bury", "discard"; the last row's name is NULL. */
extern const struct tr_callback failure_callbacks[];

#endif
