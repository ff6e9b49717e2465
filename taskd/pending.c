/*
 * Pending tasks. In: a run() that returned TR_PENDING, callbacks of the thread's loop that finish the
 * task, the dispatcher's WORK_STOP, the soft timeout; out: the messages PENDING and ENDED. See
 * pending.h for a task's way, worker.c for who turns the loop.
 *
 * What a plug-in may get wrong here must not cost other tasks: a task's memory is never freed while
 * the thread lives, and is used again as late as possible, so tr_finish() can look at what it is
 * given.
 */
#include "taskd/pending.h"

#include <stdlib.h>

#include "shared/clock.h"
#include "shared/resource.h"
#include "taskd/attempt.h"
#include "taskd/call.h"
#include "taskd/log.h"
#include "taskd/worker_loop.h"

#define NS_PER_MS 1000000LL
#define SPARES_LEAST 64 /* this many tasks end before the memory of one is used again: 200 KB */

static _Thread_local struct task_thread *here; /* NULL: not a worker's thread */

/* ---- a thread's tasks -------------------------------------------------------------------- */

bool pending_open(struct task_thread *thread)
{
	here = thread;
	thread->resources = resource_set_new();
	return thread->resources != NULL;
}

static struct tr_task *make_task(struct task_thread *thread)
{
	struct tr_task *task = calloc(1, sizeof *task);

	if (task) {
		task->magic = TASK_MAGIC;
		task->thread = thread;
		task->self = task;
	}
	return task;
}

struct tr_task *pending_current(struct task_thread *thread)
{
	struct tr_task *task = thread->current;

	if (task)
		return task;
	if (thread->spares >= SPARES_LEAST) {
		task = thread->spare_first;
		thread->spare_first = task->next;
		thread->spares--;
	} else {
		task = make_task(thread);
		if (!task)
			task_out_of_memory(NULL);
	}
	thread->current = task;
	return task;
}

/* To the end of the queue: the longer it lies, the longer a second tr_finish() is recognised. */
static void make_spare(struct tr_task *task)
{
	struct task_thread *thread = task->thread;

	task->next = NULL;
	if (thread->spare_first)
		thread->spare_last->next = task;
	else
		thread->spare_first = task;
	thread->spare_last = task;
	thread->spares++;
}

void pending_set_aside(struct tr_task *task)
{
	task->thread->current = NULL;
	make_spare(task);
}

static void list_add(struct tr_task *task)
{
	struct task_thread *thread = task->thread;

	task->previous = NULL;
	task->next = thread->pending;
	if (task->next)
		task->next->previous = task;
	thread->pending = task;
}

static void list_remove(struct tr_task *task)
{
	if (task->previous)
		task->previous->next = task->next;
	else
		task->thread->pending = task->next;
	if (task->next)
		task->next->previous = task->previous;
}

void pending_close(struct task_thread *thread)
{
	/* First: they may have handles on the loop, which are to close with it. */
	resource_set_free(&thread->resources);
	if (thread->current)
		pending_set_aside(thread->current);
	for (struct tr_task *task = thread->spare_first; task; task = task->next)
		if (task->has_timer)
			uv_close((uv_handle_t *)&task->timer, NULL);
	worker_loop_close(&thread->loop);
	while (thread->spare_first) {
		struct tr_task *gone = thread->spare_first;
		thread->spare_first = gone->next;
		free(gone->holds);
		free(gone);
	}
	here = NULL;
}

/* ---- the loop ---------------------------------------------------------------------------- */

struct uv_loop_s *tr_loop(struct tr_task *task)
{
	struct task_thread *thread = task->thread;

	/* The child's loop would be its parent's: they share the epoll descriptor. */
	if (mailbox_in_child() || thread != here)
		return NULL;
	if (!thread->loop)
		thread->loop = worker_loop_open(thread->mailbox, thread->lane);
	if (!thread->loop)
		return NULL;
	task->asked_loop = true;
	return worker_loop_uv(thread->loop);
}

bool pending_needs_loop(struct task_thread *thread)
{
	return thread->pending || (thread->loop && !worker_loop_is_idle(thread->loop));
}

/* ---- stopping ---------------------------------------------------------------------------- */

static void look(uv_timer_t *timer);

/* The loop looks after `ms` whether the task should stop. */
static void look_in(struct tr_task *task, uint64_t ms)
{
	uv_loop_t *loop = worker_loop_uv(task->thread->loop);

	if (!task->has_timer) {
		uv_timer_init(loop, &task->timer);
		uv_unref((uv_handle_t *)&task->timer); /* it ends no task, so it is no reason to wait */
		task->timer.data = task;
		task->has_timer = true;
	}
	uv_update_time(loop);
	uv_timer_start(&task->timer, look, ms, 0);
}

static void look_at_soft_timeout(struct tr_task *task)
{
	if (task->soft_deadline_ns == INT64_MAX)
		return;
	int64_t left_ns = task->soft_deadline_ns - clock_ns(CLOCK_MONOTONIC);
	look_in(task, left_ns > 0 ? (uint64_t)((left_ns + NS_PER_MS - 1) / NS_PER_MS) : 0);
}

static void look(uv_timer_t *timer)
{
	struct tr_task *task = timer->data;
	enum tr_stop why = tr_should_stop(task);

	if (why == TR_GO_ON) {
		look_at_soft_timeout(task); /* the loop's clock counts in whole ms */
	} else if (task->stop && !task->stopped) {
		task->stopped = true;
		task->stop(task, why, task->stop_context);
	}
}

void tr_on_stop(struct tr_task *task, tr_stop_fn *stop, void *context)
{
	task->stop = stop;
	task->stop_context = context;
	/* From the loop, and not from here: the caller is not prepared for it. */
	if (stop && task->stage == TASK_PENDING && !task->stopped && tr_should_stop(task) != TR_GO_ON)
		look_in(task, 0);
}

void pending_stop(struct task_thread *thread, uint64_t serial, enum mailbox_stop why)
{
	struct tr_task *task = thread->pending;

	while (task && (task->serial != serial || task->mute))
		task = task->next;
	if (!task)
		return; /* it has ended meanwhile */
	task->told = why;
	look_in(task, 0);
}

/* ---- becoming pending, and ending -------------------------------------------------------- */

bool pending_add(struct tr_task *task)
{
	struct task_thread *thread = task->thread;

	if (!thread->loop || worker_loop_is_idle(thread->loop))
		return false;
	task_keep_all(task);
	task->stage = TASK_PENDING;
	thread->current = NULL;
	list_add(task);
	task->told = mailbox_told(thread->mailbox, thread->lane, task->serial);
	if (task->told && !task->mute)
		look_in(task, 0);
	else
		look_at_soft_timeout(task);
	return true;
}

/* Why tr_finish() is refused; NULL: it is not. */
static const char *finish_fault(const struct tr_task *task)
{
	if (!task || task->magic != TASK_MAGIC)
		return "what it was given is no task";
	if (task->thread != here)
		return "it was called on another thread than the task's";
	if (task->stage == TASK_ENDED)
		return "the task has ended already";
	if (task->depth > 0 || task->stage == TASK_RUNNING)
		return "it was called inside run() or on_failure()";
	return NULL;
}

void tr_finish(struct tr_task *task, enum tr_outcome outcome)
{
	if (mailbox_in_child())
		return;
	const char *fault = finish_fault(task);
	if (fault) {
		log_event(LOG_ERR, "tr-finish-refused", "reason=%s", fault);
		if (task && task->magic == TASK_MAGIC && task->thread == here && task->stage != TASK_ENDED)
			task->finished_early = true;
		return;
	}
	if (outcome == TR_PENDING && task->called_pends) {
		task->called_pends = false;
		return;
	}
	list_remove(task);
	if (task->has_timer)
		uv_timer_stop(&task->timer);
	attempt_finish(task, outcome);
	make_spare(task);
}

void pending_end_lost(struct task_thread *thread)
{
	if (!thread->pending || !worker_loop_is_idle(thread->loop))
		return;
	while (thread->pending) {
		struct tr_task *task = thread->pending;
		tr_finish(task, tr_fail_permanently(task, "%s left nothing on the loop that could end the task",
		    task->handler));
	}
}
