/*
 * What workers say, turned into events of tasks. Enters: messages from the mailboxes, which a
 * handler may have scribbled on. Leaves: changes of state, progress and log lines on the board,
 * failures for verdict.c.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"

#define MESSAGES_A_TURN 512 /* of one lane, so that a chatty handler does not hold up the others */

/*
 * A worker whose messages make no sense gets nothing more and is killed; its death settles the rest.
 * What the lane runs, pending works too, is held to have done it, or it would be run, and do it, for ever.
 */
static void distrust(struct dispatcher *dispatcher, struct lane *lane, const char *what)
{
	struct worker *worker = lane->worker;

	if (lane->lie)
		return;
	lane->lie = what;
	log_event(LOG_ERR, "worker-message-bad", "row=%u pid=%d message=%s", worker->row, worker->pid, what);
	stat_add(dispatcher->board, STAT_worker_bad_messages, 1);
	workers_kill(dispatcher, worker);
}

/* ---- an attempt's way -------------------------------------------------------------------- */

static void started(struct dispatcher *dispatcher, struct lane *lane, struct work *work, int64_t at_ns)
{
	struct task *task = work->task;
	struct board *board = dispatcher->board;

	/* A worker's clock is the machine's; a time that cannot be is a scribble. */
	if (at_ns > dispatcher->now_ns || at_ns < task->record.created_ns)
		at_ns = dispatcher->now_ns;
	workforce_begun(dispatcher, lane, at_ns);
	if (work->kind == WORK_CALLBACK)
		return;
	task->attempt++;
	task->started_ns = at_ns;
	task->started_ms = at_ns / 1000000;
	task->worker_pid = lane->worker->pid;
	task->exit_code = task->signal = 0; /* the last attempt's */
	task->peak_memory_kb = task->retry_after_ms = 0;
	stat_add(board, STAT_attempt_started, 1);
	catalogue_started(dispatcher, task);
	int64_t due_ns = task->due_ms * 1000000;
	if (due_ns < task->record.created_ns)
		due_ns = task->record.created_ns; /* due_ms is cut to whole ms */
	hist_add(&board->hists[HIST_wait_ns], at_ns > due_ns ? (uint64_t)(at_ns - due_ns) : 0);
	tasks_move(dispatcher, task, EV_START);
}

static void succeeded(struct dispatcher *dispatcher, struct task *task)
{
	tasks_error(task, NULL);
	recorder_attempt(dispatcher, task, "succeeded", "");
	tasks_move(dispatcher, task, EV_SUCCEEDED);
}

static void snoozed(struct dispatcher *dispatcher, struct task *task, uint64_t delay_ms)
{
	stat_add(dispatcher->board, STAT_attempt_snoozed, 1);
	recorder_attempt(dispatcher, task, "snoozed", "");
	task->attempt--; /* its row is the next start's */
	task->due_ms = dispatcher->now_ms + (int64_t)(delay_ms > TR_DELAY_MS_MAX ? TR_DELAY_MS_MAX : delay_ms);
	tasks_move(dispatcher, task, EV_SNOOZE);
	window_admit(dispatcher, task);
}

static void cancelled(struct dispatcher *dispatcher, struct task *task, const char *how)
{
	char text[TR_TEXT_MAX + 1];

	snprintf(text, sizeof text, "cancelled on demand: %s", how);
	tasks_error(task, text);
	recorder_attempt(dispatcher, task, "cancelled", "");
	tasks_move(dispatcher, task, EV_CANCEL);
}

void outcome_interrupted(struct dispatcher *dispatcher, struct task *task, const char *how)
{
	if (task->cancel_wanted) {
		cancelled(dispatcher, task, how);
		return;
	}
	stat_add(dispatcher->board, STAT_attempt_rerun, 1);
	recorder_attempt(dispatcher, task, "interrupted", "");
	tasks_move(dispatcher, task, EV_INTERRUPTED);
	scheduler_add_first(task);
}

static void ended(struct dispatcher *dispatcher, struct lane *lane, struct work *work,
    const struct message_head *message, const char *text)
{
	struct task *task = work->task;
	int64_t ended_ns = message->at_ns < dispatcher->now_ns ? message->at_ns : dispatcher->now_ns;
	int64_t run_ns = ended_ns > task->started_ns ? ended_ns - task->started_ns : 0;

	hist_add(&dispatcher->board->hists[HIST_run_ns], (uint64_t)run_ns);
	if (!work->pending)
		catalogue_held(dispatcher, task, run_ns);
	catalogue_ended(dispatcher, task, (uint64_t)run_ns, message->code == TR_SUCCESS);
	workforce_finish(dispatcher, lane, work);
	if (message->code == TR_SUCCESS) {
		succeeded(dispatcher, task);
	} else if (message->code == TR_SNOOZE && !task->cancel_wanted) {
		snoozed(dispatcher, task, message->number);
	} else if (message->code == TR_SNOOZE || (message->code == TR_FAILURE && dispatcher->draining)) {
		/* Cancelled, or it gave up because taskd ends: not its failure. */
		outcome_interrupted(dispatcher, task, "it ended when it was told");
	} else if (message->flag) {
		verdict_failed(dispatcher, task, TR_FAILED_BAD_ARGUMENTS, message->code == TR_PERMANENT_FAILURE, text);
	} else {
		task->retry_after_ms = message->number;
		verdict_failed(dispatcher, task, TR_FAILED_RETURNED, message->code == TR_PERMANENT_FAILURE, text);
	}
}

static void answered(struct dispatcher *dispatcher, struct lane *lane, struct work *work,
    const struct message_head *message, const char *text)
{
	struct task *task = work->task;

	workforce_finish(dispatcher, lane, work);
	if (message->flag)
		verdict_default(dispatcher, task, "it is not there, or its answer was none");
	else
		verdict_apply(dispatcher, task, (enum tr_verdict_kind)message->code, message->number, text,
		    message->text_bytes);
}

static void result(struct task *task, const char *text)
{
	free(task->result);
	task->result = strdup(text); /* out of memory: the task shows no result */
}

/* ---- messages ---------------------------------------------------------------------------- */

static void log_line(struct dispatcher *dispatcher, struct task *task, const struct message_head *message, const char *text)
{
	char id[TR_ID_TEXT_SIZE];
	int level = message->code;
	int64_t at_ms = message->at_ns / 1000000;

	stat_add(dispatcher->board, STAT_log_lines, 1);
	if (at_ms > dispatcher->now_ms || at_ms < task->started_ms)
		at_ms = dispatcher->now_ms; /* a scribble */
	uint32_t number = lines_add(dispatcher, task, level, at_ms, text);
	log_event(level, "task-log", "id=%s handler=%.*s attempt=%u text=%s", tr_id_format(&task->id, id),
	    (int)task->record.handler.bytes, task->record.handler.at, task->attempt, text);
	board_log_event(dispatcher->writer, &task->id, task->attempt, number, level, text, message->text_bytes);
}

/* False: the message does not belong to what the lane is doing. */
static bool about_work(struct dispatcher *dispatcher, struct lane *lane, const struct message_head *message,
    const char *text)
{
	struct work *work = workforce_work(lane, message->serial);

	if (!work || work->started != (message->kind != MESSAGE_STARTED))
		return false;
	struct task *task = work->task;
	switch ((enum message_kind)message->kind) {
	case MESSAGE_STARTED:
		started(dispatcher, lane, work, message->at_ns);
		return true;
	case MESSAGE_PROGRESS:
		tasks_show_now(dispatcher, task);
		board_progress(dispatcher->writer, task->board_slot, &task->id, message->number, message->number2,
		    text, message->text_bytes);
		return true;
	case MESSAGE_LOG:
		log_line(dispatcher, task, message, text);
		return true;
	case MESSAGE_RESULT:
		result(task, text);
		return true;
	case MESSAGE_ENDED:
		if (work->kind != WORK_RUN)
			return false;
		ended(dispatcher, lane, work, message, text);
		return true;
	case MESSAGE_VERDICT:
		if (work->kind != WORK_CALLBACK)
			return false;
		answered(dispatcher, lane, work, message, text);
		return true;
	case MESSAGE_READY:
	case MESSAGE_LEAVING:
	case MESSAGE_HANDLER:
		break;
	case MESSAGE_PENDING:
		if (work->kind != WORK_RUN || work->pending)
			return false;
		workforce_pending(dispatcher, lane, message->at_ns);
		return true;
	}
	return false;
}

/* Its three texts have been checked. */
static void handler_announced(struct dispatcher *dispatcher, const char *name)
{
	const char *doc = name + strlen(name) + 1;

	catalogue_announced(dispatcher, name, doc, doc + strlen(doc) + 1);
}

static void read_message(struct dispatcher *dispatcher, struct lane *lane, const struct message_head *message)
{
	struct worker *worker = lane->worker;

	if (message->kind == MESSAGE_READY) {
		workforce_lane_ready(lane);
		workers_show(dispatcher, worker);
	} else if (message->kind == MESSAGE_HANDLER) {
		handler_announced(dispatcher, dispatcher->text);
	} else if (message->kind == MESSAGE_LEAVING) {
		if (!worker->leaving) {
			stat_add(dispatcher->board, STAT_worker_recycled, 1);
			dispatcher->worker_recycled(dispatcher, worker);
		}
		workers_leaving(worker);
	} else if (!about_work(dispatcher, lane, message, dispatcher->text)) {
		distrust(dispatcher, lane, "it speaks of work that it was not given");
	}
}

static unsigned read_lane(struct dispatcher *dispatcher, struct lane *lane, unsigned most)
{
	struct message_head message;
	unsigned got = 0;
	int more = 0;

	while (got < most && (more = mailbox_read(lane->worker->mailbox, lane->number, &message, dispatcher->text)) > 0) {
		read_message(dispatcher, lane, &message);
		got++;
	}
	if (more < 0)
		distrust(dispatcher, lane, "its mailbox is scribbled on");
	return got;
}

unsigned outcome_turn(struct dispatcher *dispatcher)
{
	unsigned got = 0;

	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++)
			got += read_lane(dispatcher, &worker->lanes[i], MESSAGES_A_TURN);
	}
	return got;
}

void outcome_last_words(struct dispatcher *dispatcher, struct worker *worker)
{
	for (uint32_t i = 0; i < worker->lane_count; i++)
		while (read_lane(dispatcher, &worker->lanes[i], MESSAGES_A_TURN) == MESSAGES_A_TURN)
			continue;
}
