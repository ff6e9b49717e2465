/*
 * Failures and what becomes of them. Enters: a failed attempt. Its on-failure callback is asked in
 * a worker; its answer, or the default policy's where there is none, ends the task or sets its next
 * attempt. A callback that crashes, hangs or does not exist costs only its say.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "failure.h"
#include "log.h"

static enum stat_row counter_of(enum tr_failure_kind kind)
{
	static const enum stat_row rows[TR_FAILURE_KINDS] = {
		[TR_FAILED_RETURNED] = STAT_attempt_failed,
		[TR_FAILED_TIMEOUT] = STAT_attempt_timeout,
		[TR_FAILED_CRASHED] = STAT_attempt_crashed,
		[TR_FAILED_KILLED] = STAT_attempt_killed,
		[TR_FAILED_BAD_ARGUMENTS] = STAT_attempt_bad_arguments,
	};

	return rows[kind];
}

/* As the journal names an attempt's outcome. */
static const char *outcome_of(enum tr_failure_kind kind)
{
	return kind == TR_FAILED_RETURNED ? "failed" : tr_failure_kind_name(kind);
}

/* Its attempt's row keeps the failure's message; the task says how it came to its end. */
static void end_cancelled(struct dispatcher *dispatcher, struct task *task, const char *how)
{
	char text[TR_TEXT_MAX + 1];

	snprintf(text, sizeof text, "cancelled on demand: %.*s", TR_TEXT_MAX - 30, how);
	tasks_error(task, text);
	tasks_move(dispatcher, task, EV_CANCEL);
}

void verdict_failed(struct dispatcher *dispatcher, struct task *task, enum tr_failure_kind kind,
    bool permanent, const char *message)
{
	char id[TR_ID_TEXT_SIZE];

	stat_add(dispatcher->board, counter_of(kind), 1);
	catalogue_failed(dispatcher, task);
	tasks_error(task, message);
	task->failures++;
	task->failed_ms = dispatcher->now_ms;
	task->failure_kind = (uint8_t)kind;
	task->permanent = permanent;
	log_event(LOG_NOTICE, "attempt-failed", "id=%s handler=%.*s attempt=%u kind=%s message=%s",
	    tr_id_format(&task->id, id), (int)task->record.handler.bytes, task->record.handler.at, task->attempt,
	    tr_failure_kind_name(kind), message);
	recorder_attempt(dispatcher, task, outcome_of(kind), "");
	if (task->cancel_wanted) {
		end_cancelled(dispatcher, task, kind == TR_FAILED_RETURNED ? "it ended when it was told" : message);
		return;
	}
	task->deciding = true;
	tasks_changed(dispatcher, task);
	scheduler_add_first(task);
}

/* ---- the answer -------------------------------------------------------------------------- */

static struct tr_verdict default_verdict(struct dispatcher *dispatcher, const struct task *task)
{
	const struct tr_failure failure = {
		.kind = (enum tr_failure_kind)task->failure_kind,
		.permanent = task->permanent,
		.attempt = task->failures,
		.max_attempts = task->record.max_attempts,
		.backoff_base_ms = task->record.backoff_base_ms,
		.backoff_cap_ms = task->record.backoff_cap_ms,
		.message = task->error ? task->error : "",
		.retry_after_ms = task->retry_after_ms,
	};

	/* SplitMix64's step, as the ids' source; its high bits are good enough for a jitter. */
	dispatcher->random = dispatcher->random * 6364136223846793005ull + 1442695040888963407ull;
	return failure_default(&failure, dispatcher->random ^ dispatcher->random >> 33);
}

/* The other task that a callback asked for: its own id, the failed one's other properties. */
static bool enqueue(struct dispatcher *dispatcher, const struct task *failed, const char *text, size_t bytes)
{
	const char *handler = text;
	const char *queue = handler + strlen(handler) + 1;
	const char *args = queue + strlen(queue) + 1;
	struct record record = failed->record;
	struct tr_error error;

	record.id = id_make(&dispatcher->ids, dispatcher->now_ns);
	record.flags = 0;
	record.place = 0;
	record.places = 1;
	record.created_ns = dispatcher->now_ns;
	record.run_at_ms = record.expires_at_ms = 0;
	record.on_failure = (struct record_text){ "", 0 }; /* else a failing notifier would notify for ever */
	record.handler = (struct record_text){ handler, (uint32_t)strlen(handler) };
	if (*queue)
		record.queue = (struct record_text){ queue, (uint32_t)strlen(queue) };
	record.args = (struct record_text){ args, (uint32_t)(bytes - (size_t)(args - text)) };
	record.args_bytes = record.args.bytes;
	record_defaults(&record);
	const char *fault = record_check(&record, &error);
	if (fault) {
		log_event(LOG_ERR, "enqueue-refused", "handler=%s fault=%s", handler, fault);
		return false;
	}
	intake_accept(dispatcher, &record, NO_POSITION);
	return true;
}

static void retry(struct dispatcher *dispatcher, struct task *task, uint64_t delay_ms)
{
	task->due_ms = dispatcher->now_ms + (int64_t)(delay_ms > TR_DELAY_MS_MAX ? TR_DELAY_MS_MAX : delay_ms);
	tasks_move(dispatcher, task, EV_RETRY);
	window_admit(dispatcher, task);
}

/* `stand_in`: the default decides in place of a callback. */
static void carry_out(struct dispatcher *dispatcher, struct task *task, struct tr_verdict verdict, bool stand_in)
{
	static const struct {
		const char *name, *by_default; /* the default never does what has none */
		enum stat_row counter;
		enum task_event event;
	} rows[] = {
		[TR_VERDICT_RETRY] = { "retry", "retry (default)", STAT_verdict_retry, EV_RETRY },
		[TR_VERDICT_BURY] = { "bury", "bury (default)", STAT_verdict_bury, EV_BURY },
		[TR_VERDICT_DISCARD] = { "discard", NULL, STAT_verdict_discard, EV_DISCARD },
		[TR_VERDICT_ENQUEUE] = { "enqueue", NULL, STAT_verdict_enqueue, EV_BURY },
	};
	const char *name = stand_in ? rows[verdict.kind].by_default : rows[verdict.kind].name;

	task->deciding = false;
	stat_add(dispatcher->board, rows[verdict.kind].counter, 1);
	recorder_attempt(dispatcher, task, outcome_of((enum tr_failure_kind)task->failure_kind), name);
	if (task->cancel_wanted) {
		end_cancelled(dispatcher, task, "its attempt had failed");
		return;
	}
	if (verdict.kind == TR_VERDICT_RETRY) {
		retry(dispatcher, task, verdict.delay_ms);
		return;
	}
	tasks_move(dispatcher, task, rows[verdict.kind].event);
}

void verdict_apply(struct dispatcher *dispatcher, struct task *task, enum tr_verdict_kind kind,
    uint64_t delay_ms, const char *text, size_t bytes)
{
	struct tr_verdict verdict = { .kind = kind, .delay_ms = delay_ms };

	if (kind == TR_VERDICT_DEFAULT)
		verdict = default_verdict(dispatcher, task);
	if (kind == TR_VERDICT_ENQUEUE && !task->cancel_wanted && !enqueue(dispatcher, task, text, bytes))
		verdict_default(dispatcher, task, "what it wants enqueued is not allowed");
	else
		carry_out(dispatcher, task, verdict, false);
}

void verdict_default(struct dispatcher *dispatcher, struct task *task, const char *why)
{
	char id[TR_ID_TEXT_SIZE];

	stat_add(dispatcher->board, STAT_callback_failed, 1);
	log_event(LOG_WARNING, "callback-failed", "id=%s handler=%.*s callback=%.*s reason=%s",
	    tr_id_format(&task->id, id), (int)task->record.handler.bytes, task->record.handler.at,
	    (int)task->record.on_failure.bytes, task->record.on_failure.bytes ? task->record.on_failure.at : "", why);
	carry_out(dispatcher, task, default_verdict(dispatcher, task), true);
}
