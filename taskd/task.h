/*
 * struct tr_task: what a handler holds while it runs. One for each thread of a worker, used for one
 * piece of work after another. task.c has the functions of taskring/handler.h; attempt.c fills it.
 */
#ifndef TASKD_TASK_H
#define TASKD_TASK_H

#include "taskd/mailbox.h"
#include "taskd/plugin.h"
#include "taskd/text.h"

#define TASK_CALLS_MAX 8             /* tr_call() in tr_call() */
#define TASK_PROGRESS_NS 50000000LL  /* a task's progress goes out at most this often, and at its end */

struct tr_task {
	/* The thread's, for ever. */
	struct mailbox *mailbox;
	const struct plugin_table *plugins;
	const char *spool_dir;
	uint32_t lane;

	/* The piece of work. */
	uint32_t attempt;
	uint64_t serial;
	struct record record;
	int64_t soft_deadline_ns; /* on the monotonic clock; INT64_MAX: none */
	const char *handler;      /* inside tr_call(): the called one */
	const char *args;
	size_t args_bytes;
	char *spooled; /* what args points to when they were spooled */
	char *id_text; /* is `id`: tr_task_id() fills it when it is asked for */
	unsigned calls;

	/* What the handler said. */
	bool snoozed, enqueue_refused;
	bool progress_waits; /* `progress` was not sent yet */
	uint64_t snooze_ms;
	char *enqueue; /* handler, zero, queue, zero, arguments; NULL: tr_enqueue() was not called */
	size_t enqueue_bytes;
	char *result; /* NULL: none */
	size_t result_bytes;
	int64_t progress_sent_ns; /* monotonic; 0: never */
	struct message_head progress;

	char id[TR_ID_TEXT_SIZE];
	char handler_name[TR_NAME_MAX + 1], queue[TR_NAME_MAX + 1];
	char trace[TR_TRACE_MAX + 1];
	char progress_text[TR_TEXT_MAX + 1];
	char message[TEXT_LINE_MAX + 1]; /* of the failure; "" when none was given */
};

/* Makes the task ready for one piece of work; `record` and the bytes it points to outlive it. */
void task_begin(struct tr_task *task, const struct work_head *head, const struct record *record);
/* Sends what waits: the last progress, then the result. Before ENDED or VERDICT. */
void task_flush(struct tr_task *task);
/* Frees what the work left. */
void task_end(struct tr_task *task);

/* Fills in serial and time, and sends with head->text_bytes of `text`. */
void task_send(struct tr_task *task, struct message_head *head, const char *text);

#endif
