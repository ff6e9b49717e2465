/*
 * Which tasks are in memory. Of each queue's waiting tasks the dispatcher holds a window, the
 * earliest by (due time, id); the rest lie in the journal, so that ten million waiting tasks do not
 * mean gigabytes.
 *
 *   Invariant: while queue->bounded, every waiting task up to queue->horizon is in memory. (Some
 *   beyond it may be, too: what is loaded and known already is passed over.)
 *
 * A new task beyond the horizon is written to the journal and then dropped. When the window runs
 * low, the journal is asked for the next tasks beyond the horizon. Until its answer is there,
 * nothing of that queue is dropped or forgotten (queue->held): the answer tells how things stood
 * when it was read, and what has ended meanwhile must not come back to life.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"

#define LOAD_AT_ONCE 1000
#define UNREADABLE_MS 1000 /* before the journal is asked again */

/* ---- admitting and dropping -------------------------------------------------------------- */

static bool is_beyond(const struct task *task)
{
	const struct queue *queue = task->queue;
	struct task_key key = task_key(task);

	assert(queue); /* each task has one from its making on */
	return queue->bounded && task_key_compare(&key, &queue->horizon) > 0;
}

static int compare_tasks(const void *a, const void *b)
{
	struct task_key left = task_key(*(struct task *const *)a), right = task_key(*(struct task *const *)b);

	return task_key_compare(&left, &right);
}

static void forget(struct dispatcher *dispatcher, struct task *task)
{
	struct tr_id next = id_step(&task->id, 1);
	bool has_next = task->record.flags & RECORD_SEQUENTIAL && task->record.place + 1 < task->record.places;

	tasks_free(dispatcher, task);
	/* Who waits for a task that rests in the journal rests there, too. */
	while (has_next) {
		struct task *blocked = tasks_find(dispatcher, &next);
		if (!blocked || !blocked->blocked || blocked->dirty || blocked->committing || blocked->held)
			return;
		next = id_step(&next, 1);
		has_next = blocked->record.place + 1 < blocked->record.places;
		tasks_free(dispatcher, blocked);
	}
}

/* Brings a queue that holds twice its window back to it. */
static void shrink(struct dispatcher *dispatcher, struct queue *queue)
{
	uint32_t window = dispatcher->config->queue_window, count = 0;
	struct task **all = malloc(queue->waiting * sizeof *all);
	struct task *task;

	if (!all)
		return; /* the next arrival tries again */
	TAILQ_FOREACH(task, &queue->ready, ready_link)
		all[count++] = task;
	for (uint32_t i = 0; i < queue->heap_count; i++)
		all[count++] = queue->heap[i];
	if (count > window) {
		qsort(all, count, sizeof *all, compare_tasks);
		queue->horizon = task_key(all[window - 1]);
		queue->bounded = true;
	}
	for (uint32_t i = window; i < count; i++) {
		scheduler_remove(all[i]);
		if (all[i]->dirty || all[i]->committing)
			all[i]->resting = true;
		else
			forget(dispatcher, all[i]);
	}
	free(all);
}

/* There was no memory for the heap: what could not be scheduled is to be loaded once more. */
static void load_again(struct queue *queue)
{
	queue->bounded = true;
	queue->horizon = (struct task_key){ 0 };
}

void window_admit(struct dispatcher *dispatcher, struct task *task)
{
	struct queue *queue = task->queue;

	assert(task->dirty);
	if (!is_beyond(task) && scheduler_add(dispatcher, task)) {
		if (queue->waiting > 2 * dispatcher->config->queue_window && !queue->loading)
			shrink(dispatcher, queue);
		return;
	}
	if (!is_beyond(task))
		load_again(queue);
	task->resting = true;
}

static void hold(struct task *task)
{
	task->held = true;
	TAILQ_INSERT_TAIL(&task->queue->held, task, hold_link);
}

static bool predecessor_in_memory(struct dispatcher *dispatcher, const struct task *task)
{
	const struct tr_id before = id_step(&task->id, -1);

	return tasks_find(dispatcher, &before) != NULL;
}

/* Nobody can need them any more. A dead task whose row is kept can be retried: its files go with the row. */
static void remove_files(struct dispatcher *dispatcher, const struct task *task)
{
	if (task->state == TR_DEAD && task->in_journal)
		return;
	removals_files(dispatcher->config->spool_dir, &task->id, task->record.flags);
}

void window_committed(struct dispatcher *dispatcher, struct task *task)
{
	bool ended = tr_state_is_ended((enum tr_state)task->state);

	if (task->held)
		return;
	if (ended)
		remove_files(dispatcher, task);
	if (task->blocked && !ended) {
		if (!predecessor_in_memory(dispatcher, task))
			forget(dispatcher, task);
	} else if ((ended || task->resting) && task->queue && task->queue->loading) {
		hold(task);
	} else if (ended || (task->resting && is_beyond(task))) {
		forget(dispatcher, task);
	} else if (task->resting) { /* the horizon has moved past it */
		task->resting = false;
		if (!scheduler_add(dispatcher, task)) {
			load_again(task->queue);
			forget(dispatcher, task);
		}
	}
}

/* ---- loading ----------------------------------------------------------------------------- */

bool window_is_blocked(const struct journal_state *state)
{
	return state->blocked && (state->state == TR_QUEUED || state->state == TR_SCHEDULED);
}

/* A person may have edited the row, so what contradicts its state is not believed. */
struct task *window_load(struct dispatcher *dispatcher, const struct journal_task *row)
{
	const struct journal_state *state = &row->state;
	struct task *task = tasks_add(dispatcher, &row->record, state->state);

	if (task && !task->queue) {
		tasks_free(dispatcher, task);
		task = NULL;
	}
	if (!task)
		return NULL;
	task->in_journal = task->has_attempts = true;
	task->deciding = state->deciding && state->state == TR_RUNNING;
	task->failure_kind = state->failure_kind < TR_FAILURE_KINDS ? state->failure_kind : TR_FAILED_RETURNED;
	task->permanent = state->permanent;
	task->blocked = window_is_blocked(state);
	task->cancel_wanted = state->cancel_wanted;
	task->attempt = state->attempt;
	task->failures = state->failures;
	task->due_ms = state->due_ms > 0 ? state->due_ms : 0;
	task->started_ms = state->started_ms;
	task->log_lines = state->log_lines;
	task->commanded_ns = state->commanded_ns;
	tasks_error(task, state->error);
	tasks_show(dispatcher, task);
	return task;
}

/* The answer is in: what was held back for its sake is decided now. */
static void release_held(struct dispatcher *dispatcher, struct queue *queue)
{
	struct task *task;

	while ((task = TAILQ_FIRST(&queue->held)) != NULL) {
		TAILQ_REMOVE(&queue->held, task, hold_link);
		task->held = false;
		if (!task->dirty && !task->committing)
			window_committed(dispatcher, task);
	}
}

static void loaded(struct dispatcher *dispatcher, struct queue *queue, const struct journal_list *list)
{
	bool complete = !list->error && !list->more;

	queue->loading = false;
	if (list->error)
		queue->load_ms = dispatcher->now_ms + UNREADABLE_MS;
	for (size_t i = 0; i < list->count; i++) {
		const struct journal_task *row = &list->tasks[i];
		if (!tasks_find(dispatcher, &row->record.id)) {
			struct task *task = window_load(dispatcher, row);
			if (!task || !scheduler_add(dispatcher, task)) {
				if (task)
					tasks_free(dispatcher, task);
				complete = false; /* out of memory: the horizon stays before it */
				break;
			}
		}
		queue->horizon = (struct task_key){ row->state.due_ms, row->record.id };
	}
	queue->bounded = !complete;
	release_held(dispatcher, queue);
}

void window_poll(struct dispatcher *dispatcher)
{
	struct journal_list *list;

	while ((list = journal_poll_list(dispatcher->journal)) != NULL) {
		if (list->error)
			log_event(LOG_ERR, "journal-unreadable", "file=%s reason=%s", dispatcher->config->journal, list->error);
		if (list->tag & 1)
			wanted_answered(dispatcher, list);
		else
			loaded(dispatcher, (struct queue *)(uintptr_t)list->tag, list);
		journal_list_free(&list);
	}
}

void window_tick(struct dispatcher *dispatcher)
{
	uint32_t window = dispatcher->config->queue_window;
	int64_t now_ms = dispatcher->now_ms;

	wanted_tick(dispatcher);
	for (struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next) {
		if (!queue->bounded || queue->loading || queue->waiting >= window / 2 + 1 ||
		    (queue->load_ms > now_ms && queue->load_ms <= now_ms + UNREADABLE_MS)) /* beyond: the clock was put back */
			continue;
		/* Out of memory: the next turn asks again. */
		queue->loading = journal_load_waiting(dispatcher->journal, queue->name, queue->horizon.due_ms,
		    &queue->horizon.id, INT64_MAX, window, (uint64_t)(uintptr_t)queue);
	}
}

/* ---- batches in order -------------------------------------------------------------------- */

void window_unblock(struct dispatcher *dispatcher, struct task *task)
{
	if (!task->blocked)
		return;
	task->blocked = false;
	if (task->due_ms < dispatcher->now_ms)
		task->due_ms = dispatcher->now_ms; /* it waits for a worker from now on */
	if (task->state == TR_SCHEDULED && task->due_ms <= dispatcher->now_ms)
		tasks_move(dispatcher, task, EV_DUE);
	else
		tasks_changed(dispatcher, task);
	window_admit(dispatcher, task);
}

void window_successor(struct dispatcher *dispatcher, const struct task *ended)
{
	bool succeeded = ended->state == TR_SUCCEEDED;

	if (!(ended->record.flags & RECORD_SEQUENTIAL) || ended->record.place + 1 >= ended->record.places)
		return;
	const struct tr_id id = id_step(&ended->id, 1);
	struct task *next = tasks_find(dispatcher, &id);
	if (!next)
		wanted_next(dispatcher, &id, succeeded);
	else if (succeeded)
		window_unblock(dispatcher, next);
	else if (next->blocked)
		tasks_cancel(dispatcher, next, BEFORE_FAILED);
}

/* ---- the start --------------------------------------------------------------------------- */

/* What ran when taskd ended: its callback is asked again, or it runs again. */
static bool restore_running(struct dispatcher *dispatcher, const struct journal_task *row)
{
	struct task *task = window_load(dispatcher, row);

	if (!task)
		return false;
	if (task->cancel_wanted) {
		tasks_cancel(dispatcher, task, "cancelled on demand while it ran");
	} else if (task->deciding) {
		scheduler_add_first(task);
	} else {
		stat_add(dispatcher->board, STAT_attempt_rerun, 1);
		recorder_attempt(dispatcher, task, "interrupted", "");
		tasks_move(dispatcher, task, EV_INTERRUPTED);
		scheduler_add_first(task);
	}
	return true;
}

/* Blocked, but the task before it has ended: taskd ended between the two. */
static bool restore_orphan(struct dispatcher *dispatcher, const struct journal_task *row)
{
	struct task *task = window_load(dispatcher, row);

	if (!task)
		return false;
	/* A predecessor that the journal does not know any more had succeeded: history is off. */
	if (row->predecessor == TR_SUCCEEDED || row->predecessor == TR_STATES)
		window_unblock(dispatcher, task);
	else
		tasks_cancel(dispatcher, task, BEFORE_FAILED);
	return true;
}

typedef struct journal_list *load_fn(struct journal *journal, const struct tr_id *after, size_t limit);
typedef bool restore_fn(struct dispatcher *dispatcher, const struct journal_task *row);

static bool restore_all(struct dispatcher *dispatcher, load_fn *load, restore_fn *each, struct tr_error *error)
{
	struct tr_id after = { { 0 } };
	bool more = true;

	while (more) {
		struct journal_list *list = load(dispatcher->journal, &after, LOAD_AT_ONCE);
		if (!list || list->error) {
			snprintf(error->text, sizeof error->text, "%s", list ? list->error : "out of memory");
			journal_list_free(&list);
			return false;
		}
		for (size_t i = 0; i < list->count; i++) {
			after = list->tasks[i].record.id;
			if (!tasks_find(dispatcher, &after) && !each(dispatcher, &list->tasks[i]))
				log_event(LOG_ERR, "task-not-restored", "reason=%s", "no memory, or too many queues");
		}
		more = list->more;
		journal_list_free(&list);
	}
	return true;
}

/* The horizon of each is zero: nothing of it is in memory yet. */
static bool restore_queues(struct dispatcher *dispatcher, struct tr_error *error)
{
	char *names = journal_queues(dispatcher->journal);

	if (!names) {
		snprintf(error->text, sizeof error->text, "the journal's queues cannot be read");
		return false;
	}
	for (const char *name = names; *name; name += strlen(name) + 1) {
		struct queue *queue = scheduler_queue(dispatcher,
		    (struct record_text){ name, (uint32_t)strlen(name) });
		if (queue)
			queue->bounded = true;
		else
			log_event(LOG_ERR, "queue-not-restored", "queue=%s reason=%s", name, "no memory, or too many queues");
	}
	free(names);
	return true;
}

static bool restore_paused(struct dispatcher *dispatcher, struct tr_error *error)
{
	bool read = queues_restore(dispatcher);

	if (!read)
		snprintf(error->text, sizeof error->text, "the journal's paused queues cannot be read");
	return read;
}

static void restore_counts(struct dispatcher *dispatcher, const struct journal_census *census)
{
	for (size_t i = 0; i < census->queue_count; i++) {
		const struct journal_queue_census *row = &census->queues[i];
		struct queue *queue = scheduler_queue(dispatcher, (struct record_text){ row->name, (uint32_t)strlen(row->name) });
		for (unsigned state = 0; queue && state < TR_STATES; state++)
			queue->live[state] += row->by_state[state];
		if (queue)
			queue->changed = dispatcher->rows_changed = true;
	}
	for (unsigned state = 0; state < TR_STATES; state++)
		if (!tr_state_is_ended((enum tr_state)state))
			dispatcher->live[state] = census->by_state[state];
}

bool window_restore(struct dispatcher *dispatcher, struct tr_error *error)
{
	struct journal_census census;

	if (journal_census(dispatcher->journal, &census, error) != TR_OK)
		return false;
	restore_counts(dispatcher, &census);
	free(census.queues);
	/* The queues first: what orphans let go takes its place behind what waits in the journal. */
	if (!restore_queues(dispatcher, error) || !restore_paused(dispatcher, error) ||
	    !restore_all(dispatcher, journal_load_running, restore_running, error) ||
	    !restore_all(dispatcher, journal_load_orphans, restore_orphan, error))
		return false;
	tasks_show_gauges(dispatcher);
	return true;
}
