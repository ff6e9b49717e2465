/*
 * What has its time: who is ended by force, and when. Enters: works that start or are cancelled.
 * Leaves: the wish that a worker be ended. Called by workforce.c and tasks.c, and by the loop once the
 * earliest of these times has come.
 *
 *   started ── hard timeout ─────────────────────────────────► SIGKILL: it has timed out
 *   cancelled: told ── cancel_term ──► SIGTERM ── cancel_kill ──► SIGKILL: it is cancelled
 *
 * A signal ends the whole process: what else that was running is interrupted, and runs again without
 * having failed. So once SIGTERM is sent there is no way back, even if the cancelled task ends before
 * SIGKILL: a plug-in that catches it may be half way out.
 */
#include "dispatch.h"
#include "log.h"

/* 0: there is no such time. One that is past is found by the next look. */
static void wait_for(struct dispatcher *dispatcher, int64_t time_ms)
{
	if (time_ms && time_ms < dispatcher->next_deadline_ms)
		dispatcher->next_deadline_ms = time_ms;
}

/* True: that time has come. Else it is waited for. */
static bool has_come(struct dispatcher *dispatcher, int64_t time_ms)
{
	if (time_ms && time_ms <= dispatcher->now_ms)
		return true;
	wait_for(dispatcher, time_ms);
	return false;
}

uint32_t deadline_hard_ms(const struct dispatcher *dispatcher, const struct task *task)
{
	uint32_t own_ms = task->record.hard_timeout_ms;

	return own_ms ? own_ms : dispatcher->config->hard_timeout_ms;
}

void deadline_begun(struct dispatcher *dispatcher, struct work *work, int64_t started_ns)
{
	uint32_t limit_ms = work->kind == WORK_CALLBACK ? dispatcher->config->callback_timeout_ms :
	    deadline_hard_ms(dispatcher, work->task);

	work->deadline_ms = limit_ms ? started_ns / 1000000 + limit_ms : 0;
	wait_for(dispatcher, work->deadline_ms);
}

void deadline_cancelled(struct dispatcher *dispatcher, struct work *work)
{
	work->term_ms = dispatcher->now_ms + dispatcher->config->cancel_term_ms;
	wait_for(dispatcher, work->term_ms);
}

/* What is to be done to a worker for the sake of one of its works. */
enum measure { LEAVE_ALONE, TERMINATE, KILL };

static enum measure look_at(struct dispatcher *dispatcher, struct work *work)
{
	if (!work->task || work->timed_out)
		return LEAVE_ALONE;
	work->timed_out = has_come(dispatcher, work->deadline_ms);
	if (work->timed_out)
		return KILL;
	return has_come(dispatcher, work->term_ms) ? TERMINATE : LEAVE_ALONE;
}

static enum measure stronger(enum measure a, enum measure b)
{
	return a > b ? a : b;
}

static void mind_worker(struct dispatcher *dispatcher, struct worker *worker)
{
	enum measure measure = LEAVE_ALONE;

	for (uint32_t i = 0; i < worker->lane_count; i++) {
		struct lane *lane = &worker->lanes[i];
		for (uint32_t at = 0; at < lane->count; at++)
			measure = stronger(measure, look_at(dispatcher, &lane->works[(lane->first + at) % MAILBOX_DEPTH]));
		for (struct work *work = NULL; (work = lane_pending_next(lane, work)) != NULL;)
			measure = stronger(measure, look_at(dispatcher, work));
	}
	if (worker->doomed)
		return; /* the heartbeat sees to it */
	if (measure == KILL || has_come(dispatcher, worker->kill_ms)) {
		workers_kill(dispatcher, worker);
	} else if (measure == TERMINATE && !worker->kill_ms) {
		workers_terminate(dispatcher, worker);
		wait_for(dispatcher, worker->kill_ms);
	}
}

void deadline_tick(struct dispatcher *dispatcher)
{
	if (dispatcher->now_ms < dispatcher->next_deadline_ms)
		return;
	dispatcher->next_deadline_ms = INT64_MAX;
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		if (dispatcher->workers[row].alive)
			mind_worker(dispatcher, &dispatcher->workers[row]);
}
