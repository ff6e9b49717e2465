/*
 * The table of the tasks in memory, and the one function that changes a task's state. Called by
 * all of the dispatcher's files.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

struct task *tasks_find(struct dispatcher *dispatcher, const struct tr_id *id)
{
	struct task *found;

	HASH_FIND(hh, dispatcher->tasks, id, sizeof *id, found);
	return found;
}

struct task *tasks_add(struct dispatcher *dispatcher, const struct record *record, enum tr_state state)
{
	size_t bytes = record_size(record);
	struct task *made = malloc(sizeof *made + bytes);

	if (!made)
		return NULL;
	memset(made, 0, sizeof *made);
	made->id = record->id;
	made->encoded_bytes = bytes;
	made->board_slot = BOARD_NO_SLOT;
	made->state = (uint8_t)state;
	record_encode(record, made->encoded); /* its texts point into the caller's bytes: the task keeps its own */
	record_view(made->encoded, &made->record);
	made->queue = scheduler_queue(dispatcher, made->record.queue);
	HASH_ADD(hh, dispatcher->tasks, id, sizeof made->id, made);
	if (!made->hh.tbl) {
		free(made);
		return NULL;
	}
	if (made->queue)
		made->queue->tasks++;
	stat_set(dispatcher->board, STAT_task_in_memory, HASH_COUNT(dispatcher->tasks));
	return made;
}

void tasks_free(struct dispatcher *dispatcher, struct task *task)
{
	assert(task->where == NOWHERE && !task->dirty && !task->committing && !task->held);
	tasks_show_now(dispatcher, task);
	HASH_DELETE(hh, dispatcher->tasks, task);
	if (!tr_state_is_ended((enum tr_state)task->state) || (task->purged && task->board_slot != BOARD_NO_SLOT))
		board_hide(dispatcher->writer, &task->board_slot);
	else if (task->purged)
		board_forget(dispatcher->writer, &task->id);
	stat_set(dispatcher->board, STAT_task_in_memory, HASH_COUNT(dispatcher->tasks));
	if (task->queue)
		task->queue->tasks--;
	lines_free(dispatcher, task);
	free(task->error);
	free(task->result);
	free(task);
}

void tasks_error(struct task *task, const char *text)
{
	free(task->error);
	task->error = text && *text ? strdup(text) : NULL;
}

static void write_board(struct dispatcher *dispatcher, struct task *task)
{
	if (task->purged)
		return;
	const struct board_status status = {
		.id = task->id,
		.state = (enum tr_state)task->state,
		.worker = task->lane ? (uint16_t)(task->lane->worker->row + 1) : 0,
		.attempt = task->attempt,
		.max_attempts = task->record.max_attempts,
		.created_ms = task->record.created_ns / 1000000,
		.due_ms = task->due_ms,
		.started_ms = task->started_ms,
		.ended_ms = task->ended_ms,
		.handler = task->record.handler,
		.queue = task->record.queue,
		.error = task->error ? task->error : "",
		.result = task->result,
		.result_bytes = task->result ? (uint32_t)strlen(task->result) : 0,
		.cancelling = task->cancel_wanted && task->state == TR_RUNNING,
	};

	board_show(dispatcher->writer, &task->board_slot, &status);
}

void tasks_show(struct dispatcher *dispatcher, struct task *task)
{
	if (task->unshown)
		return;
	task->unshown = true;
	TAILQ_INSERT_TAIL(&dispatcher->unshown, task, show_link);
}

static void take_from_unshown(struct dispatcher *dispatcher, struct task *task)
{
	if (task->unshown)
		TAILQ_REMOVE(&dispatcher->unshown, task, show_link);
	task->unshown = false;
}

void tasks_show_now(struct dispatcher *dispatcher, struct task *task)
{
	if (!task->unshown && !task->end_unshown)
		return;
	take_from_unshown(dispatcher, task);
	task->end_unshown = false;
	write_board(dispatcher, task);
}

/* It has ended, with a result that is the journal's to give, and not there yet. */
static bool is_ahead_of_result(const struct task *task)
{
	return (task->dirty || task->committing) && tr_state_is_ended((enum tr_state)task->state) && task->result &&
	    strnlen(task->result, TR_RESULT_SHOWN_MAX + 1) > TR_RESULT_SHOWN_MAX;
}

void tasks_show_all(struct dispatcher *dispatcher)
{
	struct task *task;

	while ((task = TAILQ_FIRST(&dispatcher->unshown)) != NULL) {
		task->end_unshown = is_ahead_of_result(task);
		if (task->end_unshown)
			take_from_unshown(dispatcher, task);
		else
			tasks_show_now(dispatcher, task);
	}
}

void tasks_changed(struct dispatcher *dispatcher, struct task *task)
{
	tasks_show(dispatcher, task);
	recorder_dirty(dispatcher, task);
}

/* What is counted when a task comes into a state. */
static void count(struct dispatcher *dispatcher, enum tr_state state)
{
	static const struct {
		enum stat_row gauge;
		bool is_counter;
	} rows[TR_STATES] = {
		[TR_SCHEDULED] = { STAT_task_scheduled, false },
		[TR_QUEUED] = { STAT_task_waiting, false },
		[TR_RUNNING] = { STAT_task_running, false },
		[TR_RETRYING] = { STAT_task_retrying, false },
		[TR_SUCCEEDED] = { STAT_task_succeeded, true },
		[TR_DEAD] = { STAT_task_dead, true },
		[TR_CANCELLED] = { STAT_task_cancelled, true },
		[TR_EXPIRED] = { STAT_task_expired, true },
	};

	if (rows[state].is_counter)
		stat_add(dispatcher->board, rows[state].gauge, 1);
	else
		stat_set(dispatcher->board, rows[state].gauge, dispatcher->live[state]);
}

void tasks_show_gauges(struct dispatcher *dispatcher)
{
	for (unsigned state = 0; state < TR_STATES; state++)
		if (!tr_state_is_ended((enum tr_state)state))
			count(dispatcher, (enum tr_state)state);
	tasks_show_dead(dispatcher);
}

/* Of the dead ones, which rest in the journal and leave it without us, the journal keeps the count. */
void tasks_show_dead(struct dispatcher *dispatcher)
{
	stat_set(dispatcher->board, STAT_task_dead_now, journal_dead(dispatcher->journal));
}

/* The books of its queue; a task that found none is not in any. */
static void move_in_queue(struct dispatcher *dispatcher, struct task *task, enum tr_state from, enum tr_state to)
{
	struct queue *queue = task->queue;

	if (!queue)
		return;
	if (!tr_state_is_ended(from))
		queue->live[from]--;
	if (tr_state_is_ended(to))
		queue->ended++;
	else
		queue->live[to]++;
	queue->changed = dispatcher->rows_changed = true;
}

void tasks_begin(struct dispatcher *dispatcher, struct task *task)
{
	if (task->queue) {
		task->queue->live[task->state]++;
		task->queue->accepted++;
		task->queue->changed = dispatcher->rows_changed = true;
	}
	dispatcher->live[task->state]++;
	count(dispatcher, (enum tr_state)task->state);
	stat_add(dispatcher->board, STAT_task_accepted, 1);
	tasks_changed(dispatcher, task);
}

void tasks_move(struct dispatcher *dispatcher, struct task *task, enum task_event event)
{
	enum tr_state from = (enum tr_state)task->state;
	enum tr_state to = task_step(from, event);

	assert(to != TR_STATES);
	task->state = (uint8_t)to;
	move_in_queue(dispatcher, task, from, to);
	if (!tr_state_is_ended(from)) {
		dispatcher->live[from]--;
		count(dispatcher, from);
	}
	if (event == EV_RETRY || event == EV_INTERRUPTED || event == EV_RETRIED)
		task->log_lines = 0; /* the next start is another attempt's */
	if (tr_state_is_ended(to)) {
		task->ended_ms = dispatcher->now_ms;
		task->deciding = false;
	} else {
		dispatcher->live[to]++;
	}
	count(dispatcher, to);
	tasks_changed(dispatcher, task);
	if (tr_state_is_ended(to))
		window_successor(dispatcher, task);
}

bool tasks_is_expired(const struct dispatcher *dispatcher, const struct task *task)
{
	return task->record.expires_at_ms && task->state == TR_QUEUED && task->attempt == 0 &&
	    task->record.expires_at_ms < dispatcher->now_ms;
}

void tasks_expire(struct dispatcher *dispatcher, struct task *task)
{
	tasks_error(task, task->queue->paused ? "its queue was paused until it expired" : "no worker was free before it expired");
	tasks_move(dispatcher, task, EV_EXPIRE);
}

/* True: the work had not started, and never will. Else its handler is told, and pressed. */
static bool take_from_worker(struct dispatcher *dispatcher, struct task *task)
{
	struct lane *lane = task->lane;
	struct work *work = task->work;

	if (!work->started && mailbox_revoke(lane->worker->mailbox, lane->number, work->entry)) {
		work->task = NULL;
		task->where = NOWHERE;
		task->lane = NULL;
		task->work = NULL;
		workforce_refile(lane);
		return true;
	}
	if (work->pending)
		lane_pending_stop(dispatcher, lane, work, STOP_CANCEL);
	else
		mailbox_tell(lane->worker->mailbox, lane->number, work->serial, STOP_CANCEL);
	deadline_cancelled(dispatcher, work);
	return false;
}

void tasks_cancel(struct dispatcher *dispatcher, struct task *task, const char *why)
{
	if (tr_state_is_ended((enum tr_state)task->state))
		return;
	if (task->where == AT_WORKER && task->cancel_wanted)
		return; /* told already */
	if (task->where == AT_WORKER && !take_from_worker(dispatcher, task)) {
		task->cancel_wanted = true;
		tasks_changed(dispatcher, task);
		return;
	}
	if (task->where != NOWHERE)
		scheduler_remove(task);
	task->blocked = task->resting = false;
	tasks_error(task, why);
	tasks_move(dispatcher, task, EV_CANCEL);
}

void tasks_retry(struct dispatcher *dispatcher, struct task *task, int64_t asked_ns)
{
	task->failures = 0;
	task->cancel_wanted = task->resting = false;
	task->commanded_ns = asked_ns;
	task->due_ms = dispatcher->now_ms;
	task->ended_ms = 0;
	tasks_move(dispatcher, task, EV_RETRIED);
	stat_add(dispatcher->board, STAT_task_retried, 1);
	window_admit(dispatcher, task);
}

void tasks_discard(struct dispatcher *dispatcher, struct task *task)
{
	stat_add(dispatcher->board, STAT_task_discarded, 1);
	if (task->state == TR_DEAD) /* its last failure stays to be read */
		tasks_move(dispatcher, task, EV_CANCEL);
	else
		tasks_cancel(dispatcher, task, "discarded on demand");
}

/*
 * The row goes with the next commit, everything else when that has succeeded (window_committed(), tasks_free()); who is
 * killed before finds the command in the ring again.
 */
void tasks_purge(struct dispatcher *dispatcher, struct task *task)
{
	stat_add(dispatcher->board, STAT_task_purged, 1);
	task->purged = true;
	recorder_dirty(dispatcher, task);
}

bool tasks_hurry(struct dispatcher *dispatcher, struct task *task, int64_t asked_ns)
{
	stat_add(dispatcher->board, STAT_task_hurried, 1);
	if (task->due_ms <= dispatcher->now_ms)
		return false; /* it takes its turn already */
	if (task->where != NOWHERE)
		scheduler_remove(task);
	task->resting = false;
	task->commanded_ns = asked_ns;
	task->due_ms = dispatcher->now_ms;
	if (task->state == TR_SCHEDULED)
		tasks_move(dispatcher, task, EV_DUE);
	else
		tasks_changed(dispatcher, task);
	if (!task->blocked)
		window_admit(dispatcher, task);
	return true;
}
