/*
 * Running one piece of work. In: an encoded record and the head of the work, as the dispatcher
 * pushed them; out: messages. Called by worker.c's loop. The order is the protocol's: STARTED goes
 * out before anything that could crash, so that the dispatcher knows whom a dead worker cost.
 */
#include "taskd/attempt.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "shared/spool.h"
#include "taskd/arguments.h"
#include "taskd/call.h"
#include "taskd/failure.h"
#include "taskd/log.h"
#include "taskd/pending.h"

static void say_started(struct tr_task *task)
{
	struct message_head head = { .kind = MESSAGE_STARTED };

	task_send(task, &head, "");
}

static void say_ended(struct tr_task *task, enum tr_outcome outcome, bool bad_arguments)
{
	struct message_head head = {
		.kind = MESSAGE_ENDED, .code = (uint8_t)outcome, .flag = bad_arguments,
		.number = outcome == TR_SNOOZE ? task->snooze_ms : outcome == TR_FAILURE ? task->retry_after_ms : 0,
	};

	if (outcome == TR_FAILURE || outcome == TR_PERMANENT_FAILURE)
		head.text_bytes = (uint32_t)strlen(task->message);
	task_flush(task);
	task_send(task, &head, task->message);
}

/* ---- an attempt -------------------------------------------------------------------------- */

/* What run() returned, made into one of the four outcomes, a failure never without a message. */
static enum tr_outcome settle_outcome(struct tr_task *task, enum tr_outcome outcome)
{
	switch (outcome) {
	case TR_SUCCESS:
		return outcome;
	case TR_SNOOZE:
		return task->snoozed ? outcome :
		    tr_fail_permanently(task, "%s returned TR_SNOOZE without tr_snooze()", task->handler);
	case TR_FAILURE:
	case TR_PERMANENT_FAILURE:
		if (!task->message[0])
			tr_fail(task, "%s gave no reason", task->handler);
		return outcome;
	default:
		return tr_fail_permanently(task, "%s returned %d, which is no outcome", task->handler, (int)outcome);
	}
}

/* Whatever it was: nothing of it is left but messages. */
static void finish_work(struct tr_task *task)
{
	call_release(task);
	task_end(task);
}

/* True: the task is pending now. False: it has ended; what is wrong with its outcome is its message. */
static bool goes_on(struct tr_task *task, enum tr_outcome *outcome)
{
	struct message_head head = { .kind = MESSAGE_PENDING };

	if (*outcome != TR_PENDING && !task->called_pends)
		return false;
	if (*outcome != TR_PENDING)
		tr_log(task, TR_ERROR, "what tr_call() answered for the pending \"%s\" was not returned; its outcome counts",
		    task->handler);
	task->asked_loop = true;
	if (!pending_add(task)) {
		*outcome = tr_fail_permanently(task, "%s returned TR_PENDING with nothing on the loop that could end the task",
		    task->handler);
		return false;
	}
	task_send(task, &head, "");
	return true;
}

static void run_handler(struct tr_task *task)
{
	const struct record *record = &task->record;
	const struct tr_handler *handler = plugin_handler(task->thread->plugins, record->handler.at, record->handler.bytes);
	struct tr_error error;

	if (!handler) { /* worth another try: its plug-in may be on the way */
		say_ended(task, tr_fail(task, "no handler named \"%s\"", task->handler), true);
		return;
	}
	if (record->flags & RECORD_SPOOLED) {
		if (spool_read(task->thread->spool_dir, &record->id, record->args_bytes, &task->spooled, &error) != TR_OK) {
			say_ended(task, tr_fail(task, "%s", error.text), false);
			return;
		}
		task->args = task->spooled;
		task->args_bytes = record->args_bytes;
		task->args_kept = true;
	}
	if (!arguments_are_json(task->args, task->args_bytes, &error)) {
		say_ended(task, tr_fail_permanently(task, "the arguments are %s", error.text), true);
		return;
	}
	enum tr_outcome outcome = call_handler(task, handler);
	if (!goes_on(task, &outcome))
		say_ended(task, settle_outcome(task, outcome), false);
}

void attempt_finish(struct tr_task *task, enum tr_outcome outcome)
{
	outcome = settle_outcome(task, outcome);
	if (task->mute && outcome != TR_SUCCESS)
		log_event(LOG_WARNING, "callback-call-failed", "id=%s handler=%s text=%s", tr_task_id(task),
		    task->handler, task->message);
	say_ended(task, outcome, false);
	finish_work(task);
}

/* ---- an on-failure callback -------------------------------------------------------------- */

/* The task's callback, else the handler's, else NULL; *unknown: the task names one that is not. */
static tr_on_failure_fn *find_callback(const struct tr_task *task, bool *unknown)
{
	const struct record *record = &task->record;

	if (record->on_failure.bytes) {
		const struct tr_callback *callback =
		    plugin_callback(task->thread->plugins, record->on_failure.at, record->on_failure.bytes);
		*unknown = !callback;
		return callback ? callback->call : NULL;
	}
	const struct tr_handler *handler = plugin_handler(task->thread->plugins, record->handler.at, record->handler.bytes);
	return handler ? handler->on_failure : NULL;
}

/* Failures are rare: a system call for each is well spent on numbers nobody shares. */
static uint64_t random_bits(void)
{
	uint64_t bits;

	if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) == (ssize_t)sizeof bits)
		return bits;
	struct timespec now; /* before the kernel's pool is ready: spread them at least */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15ull;
}

static bool verdict_ok(const struct tr_task *task, struct tr_verdict verdict)
{
	switch (verdict.kind) {
	case TR_VERDICT_DEFAULT:
		return !task->enqueue_refused;
	case TR_VERDICT_RETRY:
	case TR_VERDICT_BURY:
	case TR_VERDICT_DISCARD:
		return true;
	case TR_VERDICT_ENQUEUE:
		return task->enqueue != NULL;
	default:
		return false;
	}
}

/* A callback sees the arguments, but does its work without them when their file is gone. */
static void take_spooled(struct tr_task *task)
{
	struct tr_error error;

	if (!(task->record.flags & RECORD_SPOOLED))
		return;
	if (spool_read(task->thread->spool_dir, &task->record.id, task->record.args_bytes, &task->spooled, &error) != TR_OK)
		tr_log(task, TR_WARNING, "%s", error.text);
	task->args_kept = true;
	task->args = task->spooled ? task->spooled : "null";
	task->args_bytes = task->spooled ? task->record.args_bytes : 4;
}

static void run_callback(struct tr_task *task, const struct tr_failure *failure)
{
	struct tr_verdict verdict = tr_default();
	bool stood_in = false; /* the default, for a callback that is not there or made no sense */
	tr_on_failure_fn *callback = find_callback(task, &stood_in);

	if (stood_in)
		tr_log(task, TR_ERROR, "no on-failure callback named \"%.*s\"; the default decides",
		    (int)task->record.on_failure.bytes, task->record.on_failure.at);
	if (callback) {
		take_spooled(task);
		verdict = callback(task, failure);
	}
	if (!verdict_ok(task, verdict)) {
		stood_in = true;
		verdict = tr_default();
		tr_log(task, TR_ERROR, "the on-failure callback's verdict is not one; the default decides");
	}
	if (verdict.kind == TR_VERDICT_DEFAULT)
		verdict = failure_default(failure, random_bits());
	struct message_head head = {
		.kind = MESSAGE_VERDICT, .code = (uint8_t)verdict.kind, .flag = stood_in,
		.number = verdict.kind == TR_VERDICT_RETRY ? verdict.delay_ms : 0,
		.text_bytes = verdict.kind == TR_VERDICT_ENQUEUE ? (uint32_t)task->enqueue_bytes : 0,
	};
	task_flush(task);
	task_send(task, &head, task->enqueue ? task->enqueue : "");
	/* It called an asynchronous handler: that goes on unheard, since the work is answered. */
	task->mute = task->called_pends;
	if (task->mute)
		pending_add(task);
}

static struct tr_failure failure_of(const struct work_head *head, const struct record *record,
    const char *message)
{
	return (struct tr_failure){
		.kind = (enum tr_failure_kind)head->failure_kind, .permanent = head->permanent,
		.attempt = head->attempt, .max_attempts = record->max_attempts,
		.backoff_base_ms = record->backoff_base_ms, .backoff_cap_ms = record->backoff_cap_ms,
		.message = message, .exit_code = head->exit_code, .signal = head->signal,
		.peak_memory_kb = head->peak_memory_kb, .retry_after_ms = head->retry_after_ms,
	};
}

void attempt_run(struct task_thread *thread, const struct work_head *head, const char *bytes,
    const char *message)
{
	static const struct record nothing = {
		.handler = { "", 0 }, .queue = { "", 0 }, .on_failure = { "", 0 }, .trace = { "", 0 }, .args = { "", 0 },
	};
	struct tr_task *task = pending_current(thread);
	struct record record;
	struct tr_error error;
	size_t used;
	const char *fault = record_decode(bytes, head->record_bytes, &record, &used, &error);

	task_begin(task, head, fault ? &nothing : &record);
	say_started(task);
	struct tr_failure failure = failure_of(head, &task->record, message);
	if (head->kind == WORK_CALLBACK)
		run_callback(task, &failure); /* of a record that is no record: the default, at once */
	else if (fault)
		say_ended(task, tr_fail_permanently(task, "the record is not one: %s", fault), true);
	else
		run_handler(task);
	if (task->stage == TASK_PENDING)
		return;
	finish_work(task);
	if (task->asked_loop)
		pending_set_aside(task);
}
