/*
 * The functions of taskring/handler.h. In: what a handler or a callback asks and says; out:
 * messages in the worker's mailbox. Called by plug-ins, on the thread that runs the task.
 */
#include "taskd/task.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "shared/clock.h"
#include "taskd/arguments.h"
#include "taskd/log.h"

struct task_text {
	struct task_text *next;
	char text[];
};

static void copy_text(char *to, struct record_text from)
{
	memcpy(to, from.at, from.bytes); /* record_decode() has bounded it */
	to[from.bytes] = '\0';
}

void task_begin(struct tr_task *task, const struct work_head *head, const struct record *record)
{
	task->serial = head->serial;
	task->attempt = head->attempt;
	task->record = *record;
	task->soft_deadline_ns = head->soft_timeout_ms ?
	    clock_ns(CLOCK_MONOTONIC) + head->soft_timeout_ms * 1000000LL : INT64_MAX;
	task->handler = task->handler_name;
	task->args = record->args.at;
	task->args_bytes = record->args.bytes;
	task->args_kept = false;
	task->running = NULL;
	task->depth = 0;
	task->called_pends = task->asked_loop = task->finished_early = task->mute = task->stopped = false;
	task->told = STOP_NONE;
	task->stop = NULL;
	task->snoozed = task->enqueue_refused = task->progress_waits = false;
	task->retry_after_ms = 0;
	task->progress_sent_ns = 0;
	task->id[0] = task->message[0] = '\0';
	task->stage = TASK_RUNNING;
	copy_text(task->handler_name, record->handler);
	copy_text(task->queue, record->queue);
	copy_text(task->trace, record->trace);
}

void task_end(struct tr_task *task)
{
	free(task->spooled);
	free(task->enqueue);
	free(task->result);
	task->spooled = task->enqueue = task->result = NULL;
	free(task->file);
	task->file = NULL;
	task_drop(task, NULL);
	task->stage = TASK_ENDED;
}

void task_drop(struct tr_task *task, const struct task_text *down_to)
{
	while (task->texts != down_to) {
		struct task_text *gone = task->texts;
		task->texts = gone->next;
		free(gone);
	}
}

_Noreturn void task_out_of_memory(const struct tr_task *task)
{
	log_event(LOG_CRIT, "worker-out-of-memory", "handler=%s", task ? task->handler : "-");
	_exit(EX_OSERR);
}

const char *task_keep(struct tr_task *task, const char *text, size_t bytes)
{
	struct task_text *kept = malloc(sizeof *kept + bytes + 1);

	if (!kept)
		return NULL;
	memcpy(kept->text, text, bytes);
	kept->text[bytes] = '\0';
	kept->next = task->texts;
	task->texts = kept;
	return kept->text;
}

static void keep_args(struct tr_task *task)
{
	if (task->args_kept)
		return;
	task->args = task_keep(task, task->args, task->args_bytes);
	if (!task->args)
		task_out_of_memory(task);
	task->args_kept = true;
}

void task_keep_all(struct tr_task *task)
{
	static const struct record_text nothing = { "", 0 };
	struct record *record = &task->record;

	keep_args(task);
	record->handler = record->queue = record->on_failure = record->trace = record->args = nothing;
}

void task_send(struct tr_task *task, struct message_head *head, const char *text)
{
	if (task->mute)
		return;
	head->serial = task->serial;
	head->at_ns = clock_ns(CLOCK_REALTIME);
	mailbox_send(task->thread->mailbox, task->thread->lane, head, text);
}

/* ---- what a handler may know ------------------------------------------------------------- */

const char *tr_task_id(const struct tr_task *task)
{
	/* Made when asked for: most handlers do not ask. */
	return *task->id ? task->id : tr_id_format(&task->record.id, task->self->id);
}

const char *tr_task_handler(const struct tr_task *task)
{
	return task->handler;
}

const char *tr_task_queue(const struct tr_task *task)
{
	return task->queue;
}

const char *tr_task_trace(const struct tr_task *task)
{
	return task->trace;
}

const char *tr_task_args(const struct tr_task *task)
{
	/* Who asks may go on pending, and the mailbox's memory is another work's by then. */
	keep_args(task->self);
	return task->args;
}

size_t tr_task_args_bytes(const struct tr_task *task)
{
	return task->args_bytes;
}

uint32_t tr_task_attempt(const struct tr_task *task)
{
	return task->attempt;
}

uint32_t tr_task_max_attempts(const struct tr_task *task)
{
	return task->record.max_attempts;
}

const char *tr_task_file(const struct tr_task *task)
{
	struct tr_task *self = task->self;

	if ((task->record.flags & RECORD_FILE) && !task->file &&
	    asprintf(&self->file, "%s/%s.file", task->thread->spool_dir, tr_task_id(task)) < 0)
		self->file = NULL;
	return task->file;
}

enum tr_stop tr_should_stop(const struct tr_task *task)
{
	enum mailbox_stop told = task->told ? task->told :
	    mailbox_told(task->thread->mailbox, task->thread->lane, task->serial);

	switch (told) {
	case STOP_CANCEL:
		return TR_CANCELLED_NOW;
	case STOP_DRAIN:
		return TR_SHUTTING_DOWN;
	default:
		break;
	}
	if (task->soft_deadline_ns == INT64_MAX || clock_ns(CLOCK_MONOTONIC) < task->soft_deadline_ns)
		return TR_GO_ON;
	return TR_OUT_OF_TIME;
}

/* ---- what a handler may say -------------------------------------------------------------- */

static size_t format_line(char *to, const char *format, va_list values) __attribute__((format(printf, 2, 0)));

/* The formatted text, cleaned, in `to` of TEXT_LINE_MAX + 1 bytes. */
static size_t format_line(char *to, const char *format, va_list values)
{
	/* Cleaning never shortens, so what is cut off here would have been cut off there. */
	char raw[TEXT_LINE_MAX + 8];
	int bytes = vsnprintf(raw, sizeof raw, format, values);

	if (bytes < 0)
		bytes = snprintf(raw, sizeof raw, "(a text that could not be formatted)");
	return text_clean(to, TEXT_LINE_MAX, raw, (size_t)bytes < sizeof raw ? (size_t)bytes : sizeof raw - 1);
}

static void send_progress(struct tr_task *task, int64_t now_ns)
{
	task->progress_waits = false;
	task->progress_sent_ns = now_ns;
	task_send(task, &task->progress, task->progress_text);
}

void tr_progress(struct tr_task *task, uint64_t done, uint64_t total, const char *text)
{
	int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	/* Much more than fits: what is beyond it is cut off anyway. */
	size_t bytes = text ? strnlen(text, TR_TEXT_MAX + 8) : 0;

	task->progress = (struct message_head){
		.kind = MESSAGE_PROGRESS, .number = done, .number2 = total,
		.text_bytes = (uint32_t)text_clean(task->progress_text, TR_TEXT_MAX, text ? text : "", bytes),
	};
	task->progress_waits = true;
	if (task->progress_sent_ns == 0 || now_ns - task->progress_sent_ns >= TASK_PROGRESS_NS)
		send_progress(task, now_ns);
}

void tr_log(struct tr_task *task, enum tr_level level, const char *format, ...)
{
	char line[TEXT_LINE_MAX + 1];
	va_list values;

	va_start(values, format);
	size_t bytes = format_line(line, format, values);
	va_end(values);
	struct message_head head = {
		.kind = MESSAGE_LOG, .text_bytes = (uint32_t)bytes,
		.code = (unsigned)level <= TR_DEBUG ? (uint8_t)level : TR_DEBUG,
	};
	task_send(task, &head, line);
}

bool tr_result_json(struct tr_task *task, const char *json)
{
	size_t bytes = strnlen(json, TR_RESULT_MAX + 1);
	struct tr_error error;

	if (bytes > TR_RESULT_MAX) {
		tr_log(task, TR_ERROR, "result refused: more than %u bytes", TR_RESULT_MAX);
		return false;
	}
	if (!arguments_are_json(json, bytes, &error)) {
		tr_log(task, TR_ERROR, "result refused: %s", error.text);
		return false;
	}
	char *copy = strndup(json, bytes);
	if (!copy) {
		tr_log(task, TR_ERROR, "result refused: out of memory");
		return false;
	}
	free(task->result);
	task->result = copy;
	task->result_bytes = bytes;
	return true;
}

void task_flush(struct tr_task *task)
{
	if (task->progress_waits)
		send_progress(task, 0);
	if (task->result) {
		struct message_head head = { .kind = MESSAGE_RESULT, .text_bytes = (uint32_t)task->result_bytes };
		task_send(task, &head, task->result);
	}
}

enum tr_outcome tr_fail(struct tr_task *task, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	format_line(task->message, format, values);
	va_end(values);
	task->retry_after_ms = 0;
	return TR_FAILURE;
}

static uint64_t bounded_delay_ms(uint64_t delay_ms)
{
	return delay_ms < (uint64_t)TR_DELAY_MS_MAX ? delay_ms : (uint64_t)TR_DELAY_MS_MAX;
}

enum tr_outcome tr_fail_retry_after(struct tr_task *task, uint64_t delay_ms, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	format_line(task->message, format, values);
	va_end(values);
	task->retry_after_ms = bounded_delay_ms(delay_ms);
	return TR_FAILURE;
}

enum tr_outcome tr_fail_permanently(struct tr_task *task, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	format_line(task->message, format, values);
	va_end(values);
	return TR_PERMANENT_FAILURE;
}

enum tr_outcome tr_snooze(struct tr_task *task, uint64_t delay_ms)
{
	task->snoozed = true;
	task->snooze_ms = bounded_delay_ms(delay_ms);
	return TR_SNOOZE;
}

/* ---- what an on-failure callback answers ------------------------------------------------- */

struct tr_verdict tr_default(void)
{
	return (struct tr_verdict){ .kind = TR_VERDICT_DEFAULT };
}

struct tr_verdict tr_retry_after(uint64_t delay_ms)
{
	return (struct tr_verdict){
		.kind = TR_VERDICT_RETRY,
		.delay_ms = bounded_delay_ms(delay_ms),
	};
}

struct tr_verdict tr_bury(void)
{
	return (struct tr_verdict){ .kind = TR_VERDICT_BURY };
}

struct tr_verdict tr_discard(void)
{
	return (struct tr_verdict){ .kind = TR_VERDICT_DISCARD };
}

/* NULL when the task may be enqueued, else what is not allowed. */
static const char *enqueue_fault(const char *handler, const char *args, const char *queue,
    struct tr_error *error)
{
	if (!handler || !record_name_ok(handler, strnlen(handler, TR_NAME_MAX + 1)))
		return "the handler is not a name";
	if (*queue && !record_name_ok(queue, strnlen(queue, TR_NAME_MAX + 1)))
		return "the queue is not a name";
	size_t bytes = strnlen(args, TR_ARGS_INLINE_MAX + 1);
	if (bytes > TR_ARGS_INLINE_MAX)
		return "the arguments are too large";
	return arguments_are_json(args, bytes, error) ? NULL : error->text;
}

struct tr_verdict tr_enqueue(struct tr_task *task, const char *handler, const char *args,
    const char *queue)
{
	struct tr_error error;

	args = args ? args : "{}";
	queue = queue ? queue : "";
	free(task->enqueue);
	task->enqueue = NULL;
	const char *fault = enqueue_fault(handler, args, queue, &error);
	int bytes = fault ? -1 : asprintf(&task->enqueue, "%s%c%s%c%s", handler, 0, queue, 0, args);
	if (bytes < 0) {
		task->enqueue = NULL;
		task->enqueue_refused = true;
		tr_log(task, TR_ERROR, "tr_enqueue refused: %s", fault ? fault : "out of memory");
		return tr_default();
	}
	task->enqueue_refused = false;
	task->enqueue_bytes = (size_t)bytes;
	return (struct tr_verdict){ .kind = TR_VERDICT_ENQUEUE };
}
