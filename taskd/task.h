/*
 * struct tr_task: what a handler holds while it runs, and until it has finished. A worker's thread
 * uses one for one piece of work after another; one that becomes pending is kept apart, and another
 * takes its place. Their memory is the thread's to its end, so that a handler which finishes a task
 * twice meets a task that says so, and not freed memory.
 *
 *   task.c: what a handler knows and says; call.c: calling handlers, with their resources;
 *   pending.c: pending tasks, and all tasks of a thread; attempt.c: one piece of work.
 */
#ifndef TASKD_TASK_H
#define TASKD_TASK_H

#include <uv.h>

#include "taskd/mailbox.h"
#include "taskd/plugin.h"
#include "taskd/text.h"

#define TASK_CALLS_MAX 8             /* tr_call() in tr_call() */
#define TASK_PROGRESS_NS 50000000LL  /* a task's progress goes out at most this often, and at its end */
#define TASK_MAGIC 0x7461736bu

struct worker_loop;
struct task_text; /* a text that lives as long as the task */

/* What the tasks of one thread share. */
struct task_thread {
	struct mailbox *mailbox;
	const struct plugin_table *plugins;
	const char *spool_dir;
	uint32_t lane;
	struct resource_set *resources;
	struct worker_loop *loop; /* NULL: no handler has asked for it yet */
	struct tr_task *current;  /* for the next piece of work, or running; NULL: to be made */
	struct tr_task *pending;  /* in no order */
	struct tr_task *spare_first, *spare_last; /* ended; the first is used again first */
	unsigned spares;
};

/* ENDED: also before the first piece of work. */
enum task_stage { TASK_ENDED, TASK_RUNNING, TASK_PENDING };

struct tr_task {
	uint32_t magic; /* TASK_MAGIC, for ever */
	enum task_stage stage;
	struct task_thread *thread;
	struct tr_task *self; /* is the task: what is made when a handler asks for it needs no const */
	struct tr_task *previous, *next; /* among the pending, or (next) the spare ones */

	/* The piece of work. */
	uint32_t attempt;
	uint64_t serial;
	struct record record;     /* of a pending task: without its texts */
	int64_t soft_deadline_ns; /* on the monotonic clock; INT64_MAX: none */
	const char *handler;      /* inside tr_call(): the called one */
	const char *args;
	size_t args_bytes;
	bool args_kept; /* they live as long as the task; else they lie in the mailbox */
	char *spooled;  /* what args points to when they were spooled */
	char *file;     /* tr_task_file(); NULL: not asked for yet */
	struct task_text *texts; /* copies made for handlers */

	/* The handler that runs, or that the pending task is now. */
	const struct tr_handler *running;
	unsigned depth;     /* run()s that have not returned */
	bool called_pends;  /* a tr_call() answered TR_PENDING */
	bool asked_loop;    /* so the task may be known to callbacks */
	bool finished_early; /* tr_finish() inside run() was refused */
	struct task_hold {
		const struct tr_resource *resource;
		void *handle;
	} *holds; /* resources in use; the memory stays for the next piece of work */
	size_t hold_count, hold_room;

	/* While it is pending. */
	bool mute; /* an on-failure callback's, which has answered: nothing may be said any more */
	enum mailbox_stop told;
	tr_stop_fn *stop;
	void *stop_context;
	bool stopped; /* stop() was called */
	bool has_timer;
	uv_timer_t timer; /* when to look whether the task should stop */

	/* What the handler said. */
	bool snoozed, enqueue_refused;
	bool progress_waits; /* `progress` was not sent yet */
	uint64_t snooze_ms, retry_after_ms;
	char *enqueue; /* handler, zero, queue, zero, arguments; NULL: tr_enqueue() was not called */
	size_t enqueue_bytes;
	char *result; /* NULL: none */
	size_t result_bytes;
	int64_t progress_sent_ns; /* monotonic; 0: never */
	struct message_head progress;

	char id[TR_ID_TEXT_SIZE]; /* "" until tr_task_id() is asked */
	char handler_name[TR_NAME_MAX + 1], queue[TR_NAME_MAX + 1];
	char trace[TR_TRACE_MAX + 1];
	char progress_text[TR_TEXT_MAX + 1];
	char message[TEXT_LINE_MAX + 1]; /* of the failure; "" when none was given */
};

/* Makes the task ready for one piece of work; `record` and the bytes it points to outlive it, or are
 * kept with task_keep_all(). */
void task_begin(struct tr_task *task, const struct work_head *head, const struct record *record);
/* Copies what still lies in the mailbox. */
void task_keep_all(struct tr_task *task);
/* Sends what waits: the last progress, then the result. Before ENDED or VERDICT. */
void task_flush(struct tr_task *task);
/* Frees what the work left. */
void task_end(struct tr_task *task);

/* Fills in serial and time, and sends with head->text_bytes of `text`; of a mute task nothing. */
void task_send(struct tr_task *task, struct message_head *head, const char *text);

/* A copy that lives as long as the task; NULL: out of memory. */
const char *task_keep(struct tr_task *task, const char *text, size_t bytes);
/* Drops the copies made since `down_to` was the latest. */
void task_drop(struct tr_task *task, const struct task_text *down_to);
/* Ends the process: where a task cannot go on without memory, and nobody could be told. */
_Noreturn void task_out_of_memory(const struct tr_task *task);

#endif
