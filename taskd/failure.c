/*
 * The default policy for failures. In: what is known of the failure and 64 random bits; out: a
 * verdict. Called by the worker (no callback, or one that left it to the default) and by the
 * dispatcher (a callback that crashed or hung). Thread-safe.
 */
#include "taskd/failure.h"

#include <stddef.h>

const char *tr_failure_kind_name(enum tr_failure_kind kind)
{
	static const char *const names[TR_FAILURE_KINDS] = {
		[TR_FAILED_RETURNED] = "returned",
		[TR_FAILED_TIMEOUT] = "timeout",
		[TR_FAILED_CRASHED] = "crashed",
		[TR_FAILED_KILLED] = "killed",
		[TR_FAILED_BAD_ARGUMENTS] = "bad arguments",
	};

	return (unsigned)kind < TR_FAILURE_KINDS ? names[kind] : "unknown";
}

uint64_t failure_backoff_ms(const struct tr_failure *failure)
{
	uint32_t doublings = failure->attempt ? failure->attempt - 1 : 0;
	uint64_t base = failure->backoff_base_ms;
	uint64_t cap = failure->backoff_cap_ms;

	/* base * 2^doublings >= cap, asked without overflow: a cap of 32 bits needs fewer than 32. */
	if (base && (doublings >= 32 || base << doublings > cap))
		return cap;
	return base ? base << doublings : 0;
}

struct tr_verdict failure_default(const struct tr_failure *failure, uint64_t random)
{
	if (failure->permanent || failure->attempt >= failure->max_attempts)
		return (struct tr_verdict){ .kind = TR_VERDICT_BURY };
	/* Scales 64 bits to 0..backoff (Lemire, 2019, without the rejection: 2^-32 of bias). */
	uint64_t delay_ms = (uint64_t)((unsigned __int128)random * (failure_backoff_ms(failure) + 1) >> 64);
	uint64_t least_ms = failure->retry_after_ms < TR_DELAY_MS_MAX ? failure->retry_after_ms : TR_DELAY_MS_MAX;
	if (delay_ms < least_ms)
		delay_ms = least_ms;
	return (struct tr_verdict){ .kind = TR_VERDICT_RETRY, .delay_ms = delay_ms };
}

/* ---- the callbacks that every task can name ---------------------------------------------- */

static struct tr_verdict leave_to_default(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return (struct tr_verdict){ .kind = TR_VERDICT_DEFAULT };
}

static struct tr_verdict bury(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return (struct tr_verdict){ .kind = TR_VERDICT_BURY };
}

static struct tr_verdict discard(struct tr_task *task, const struct tr_failure *failure)
{
	(void)task;
	(void)failure;
	return (struct tr_verdict){ .kind = TR_VERDICT_DISCARD };
}

const struct tr_callback failure_callbacks[] = {
	{ "default", "Retries with exponential backoff and full jitter up to max_attempts, then buries", leave_to_default },
	{ "bury", "Buries at the first failure", bury },
	{ "discard", "Ends the task as cancelled at the first failure", discard },
	{ NULL, NULL, NULL },
};
