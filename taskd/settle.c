/*
 * A worker's end. Enters: the process's status, and what the dispatcher knows of what was running in
 * it. Leaves: for each of these tasks a failure, or another start where it is not to blame. Called by
 * heartbeat.c when the supervisor has reported the end.
 *
 * When taskd ended the process for the sake of one task, the others were interrupted. When it ended by
 * itself, or by somebody else's hand, all that had begun in it has failed: those on other threads and
 * pending ones, too. Nobody knows whose code did it; were the others spared, so would be the one that
 * did it, and it would do it for ever. What was given to the worker and had not begun is given out again.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "dispatch.h"

/* How a process ended, and why as far as we know. */
struct end {
	int status; /* waitpid's */
	bool killed_by_us;
	uint64_t peak_memory_kb;
	unsigned running; /* works that had begun */
};

static bool is_by_signal(const struct end *end, int signal)
{
	return WIFSIGNALED(end->status) && WTERMSIG(end->status) == signal;
}

/* By SIGTERM, whether the process left that to the kernel or caught it and left. */
static bool is_terminated_by_us(const struct end *end, const struct worker *worker)
{
	return end->killed_by_us && worker->kill_ms && (is_by_signal(end, SIGTERM) || WIFEXITED(end->status));
}

/* Ended by us for another work's time or cancelling, another lane's lie, or at the end of the draining. */
static bool is_innocent(const struct end *end, const struct lane *lane, const struct work *work)
{
	if (work->timed_out || lane->lie)
		return false;
	/* Ended otherwise, it was faster than we. */
	return (end->killed_by_us && is_by_signal(end, SIGKILL)) || is_terminated_by_us(end, lane->worker);
}

static enum tr_failure_kind kind_of(const struct end *end, const struct lane *lane, const struct work *work)
{
	if (work->timed_out)
		return TR_FAILED_TIMEOUT;
	if (!WIFSIGNALED(end->status) || (lane->lie && is_by_signal(end, SIGKILL)))
		return TR_FAILED_CRASHED;
	switch (WTERMSIG(end->status)) {
	case SIGKILL: case SIGTERM: case SIGINT: case SIGHUP: case SIGQUIT: case SIGUSR1: case SIGUSR2:
		return TR_FAILED_KILLED; /* nobody does that to himself by mistake */
	default:
		return TR_FAILED_CRASHED;
	}
}

static void describe_death(char *text, size_t size, const struct end *end)
{
	char others[48] = "";

	if (end->running > 1)
		snprintf(others, sizeof others, "; it ran %u other task%s", end->running - 1, end->running > 2 ? "s" : "");
	if (WIFSIGNALED(end->status))
		snprintf(text, size, "the worker was ended by signal %d (%s), peak memory %llu kB%s", WTERMSIG(end->status),
		    strsignal(WTERMSIG(end->status)), (unsigned long long)end->peak_memory_kb, others);
	else
		snprintf(text, size, "the worker left with exit code %d, peak memory %llu kB%s", WEXITSTATUS(end->status),
		    (unsigned long long)end->peak_memory_kb, others);
}

static void describe(char *text, size_t size, const struct end *end, const struct lane *lane, const struct work *work)
{
	/* A callback's task has been started before, and a pending work holds no thread. */
	int64_t started_ns = work->kind == WORK_CALLBACK ? lane->started_ns : work->task->started_ns;

	if (work->timed_out)
		snprintf(text, size, "the hard timeout passed after %lld ms",
		    (long long)(lane->worker->last_exit_ms - started_ns / 1000000));
	else if (lane->lie && is_by_signal(end, SIGKILL))
		snprintf(text, size, "the worker was killed: %s", lane->lie);
	else
		describe_death(text, size, end);
}

static void fail(struct dispatcher *dispatcher, struct task *task, const struct end *end, enum tr_failure_kind kind,
    const char *text)
{
	task->exit_code = WIFEXITED(end->status) ? WEXITSTATUS(end->status) : 0;
	task->signal = WIFSIGNALED(end->status) ? WTERMSIG(end->status) : 0;
	task->peak_memory_kb = end->peak_memory_kb;
	verdict_failed(dispatcher, task, kind, false, text);
}

/* One work that had begun. */
static void settle(struct dispatcher *dispatcher, const struct end *end, struct lane *lane, struct work *work)
{
	struct task *task = work->task;
	enum tr_failure_kind kind = kind_of(end, lane, work);
	bool callback = work->kind == WORK_CALLBACK;
	bool innocent = is_innocent(end, lane, work);
	const char *by_whom = is_terminated_by_us(end, lane->worker) ? "its worker was ended by SIGTERM" :
	    "its worker was ended by SIGKILL";
	char text[160];

	describe(text, sizeof text, end, lane, work);
	workforce_finish(dispatcher, lane, work);
	if (callback && innocent)
		scheduler_add_first(task); /* it is asked again */
	else if (callback)
		verdict_default(dispatcher, task, text);
	else if (innocent)
		outcome_interrupted(dispatcher, task, by_whom);
	else
		fail(dispatcher, task, end, kind, text);
}

static void settle_lane(struct dispatcher *dispatcher, const struct end *end, struct lane *lane)
{
	struct work *work;

	/* The pending ones first: what is held against the lane goes with the last that had begun. */
	while ((work = lane_pending_next(lane, NULL)) != NULL)
		settle(dispatcher, end, lane, work);
	if ((work = workforce_running(lane)) != NULL)
		settle(dispatcher, end, lane, work);
	workforce_return(lane);
}

void settle_worker_ended(struct dispatcher *dispatcher, struct worker *worker, int status,
    bool killed_by_us, uint64_t peak_memory_kb)
{
	struct end end = { .status = status, .killed_by_us = killed_by_us, .peak_memory_kb = peak_memory_kb };

	worker->last_exit_ms = dispatcher->now_ms;
	worker->last_exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	worker->last_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	worker->last_peak_kb = peak_memory_kb;
	outcome_last_words(dispatcher, worker);
	worker->leaving = true;
	for (uint32_t i = 0; i < worker->lane_count; i++)
		end.running += worker->lanes[i].pending_count + (workforce_running(&worker->lanes[i]) != NULL);
	for (uint32_t i = 0; i < worker->lane_count; i++)
		settle_lane(dispatcher, &end, &worker->lanes[i]);
	workers_gone(dispatcher, worker);
}
