/*
 * The workers' lanes as the dispatcher sees them: which one takes the next piece of work, how much is
 * pushed ahead of a running one, what is taken back, and what has begun and ended. What workers say
 * is outcome.c's; works whose handler has answered TR_PENDING are lane_pending.c's.
 *
 * Pushing ahead spares a wake-up per task, but work behind a long one would wait although others
 * are idle. So only handlers known to be quick are pushed ahead, up to AHEAD_NS of expected
 * work, and what has not started is taken back from a lane that turns out to be slow.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"

#define AHEAD_NS 400000ll     /* expected work in a lane, above which nothing more is pushed */
#define SLOW_NS 2000000ll     /* a work that runs longer than this gives back what is behind it */
#define UNKNOWN_NS 10000000ll /* a handler that has not run yet may be slow */
#define SOFT_BEFORE_MS 5000   /* before the hard timeout, or a tenth of it: the soft one of a task that names none */

static int64_t expected_ns(struct dispatcher *dispatcher, struct task *task)
{
	int64_t pace_ns = task->deciding ? -1 : catalogue_pace(dispatcher, task);

	return pace_ns < 0 ? UNKNOWN_NS : pace_ns + 1000;
}

/* ---- open lanes -------------------------------------------------------------------------- */

/*
 * Whether more fits into a lane. A work in its order may turn out to be pending, so both together are
 * held to the pool's concurrency; what a lane expects is only of the works in its order.
 */
static bool has_space(const struct lane *lane)
{
	return lane->count < MAILBOX_DEPTH && lane->count + lane->pending_count < lane->worker->pool->concurrency &&
	    (!lane->count || lane->expected_ns < AHEAD_NS);
}

/* Puts a lane where it belongs among the pool's open ones; full or leaving nowhere. */
static void file_lane(struct lane *lane)
{
	struct worker *worker = lane->worker;
	struct pool *pool = worker->pool;

	workforce_close_lane(lane);
	if (!lane->ready || !worker->alive || worker->leaving || lane->stuffed || !has_space(lane))
		return;
	lane->open_in = lane->count ? &pool->busy : lane->pending_count ? &pool->waiting : &pool->idle;
	if (lane->open_in == &pool->idle)
		TAILQ_INSERT_HEAD(lane->open_in, lane, open_link); /* the one used last: it is warm */
	else
		TAILQ_INSERT_TAIL(lane->open_in, lane, open_link);
}

void workforce_close_lane(struct lane *lane)
{
	if (lane->open_in)
		TAILQ_REMOVE(lane->open_in, lane, open_link);
	lane->open_in = NULL;
}

static struct lane *first_open(struct pool *pool)
{
	struct lane *lane = TAILQ_FIRST(&pool->idle);

	if (!lane)
		lane = TAILQ_FIRST(&pool->waiting);
	return lane ? lane : TAILQ_FIRST(&pool->busy);
}

void workforce_lane_ready(struct lane *lane)
{
	lane->ready = true;
	file_lane(lane);
}

/* ---- giving out -------------------------------------------------------------------------- */

/* A task that names none is told a little before it is killed, so that it can end in order. */
static uint32_t soft_timeout_ms(const struct dispatcher *dispatcher, const struct task *task)
{
	uint32_t hard_ms = deadline_hard_ms(dispatcher, task);
	uint32_t before_ms = hard_ms / 10 < SOFT_BEFORE_MS ? hard_ms / 10 : SOFT_BEFORE_MS;

	return task->record.soft_timeout_ms ? task->record.soft_timeout_ms : hard_ms - before_ms;
}

static struct work_head compose(struct dispatcher *dispatcher, const struct task *task)
{
	struct work_head head = {
		.record_bytes = (uint32_t)task->encoded_bytes,
		.serial = ++dispatcher->next_serial,
		.kind = WORK_RUN,
		.attempt = task->attempt + 1,
		.soft_timeout_ms = soft_timeout_ms(dispatcher, task),
	};

	if (task->deciding) {
		head.kind = WORK_CALLBACK;
		head.attempt = task->failures;
		head.message_bytes = task->error ? (uint32_t)strlen(task->error) : 0;
		head.failure_kind = task->failure_kind;
		head.permanent = task->permanent;
		head.exit_code = (int16_t)task->exit_code;
		head.signal = (int16_t)task->signal;
		head.peak_memory_kb = task->peak_memory_kb;
		head.retry_after_ms = task->retry_after_ms;
	}
	return head;
}

/* False: the lane has no room for its bytes. */
static bool push(struct dispatcher *dispatcher, struct lane *lane, struct task *task)
{
	struct work *work = &lane->works[(lane->first + lane->count) % MAILBOX_DEPTH];
	const struct work_head head = compose(dispatcher, task);

	*work = (struct work){ .serial = head.serial, .kind = head.kind, .task = task,
		.expected_ns = expected_ns(dispatcher, task) };
	if (!mailbox_push(lane->worker->mailbox, lane->number, &head, task->encoded,
		task->error ? task->error : "", &work->entry))
		return false;
	lane->expected_ns += work->expected_ns;
	if (lane->count++)
		dispatcher->pushed_ahead = true;
	else
		lane->pushed_ns = dispatcher->now_ns;
	lane->touched = true;
	task->where = AT_WORKER;
	task->lane = lane;
	task->work = work;
	return true;
}

/* Ends what must not be given out any more. */
static bool is_over(struct dispatcher *dispatcher, struct task *task)
{
	if (task->cancel_wanted) { /* a worker had claimed it, and died before it began */
		if (!task->error)
			tasks_error(task, "cancelled on demand");
		tasks_move(dispatcher, task, EV_CANCEL);
	} else if (tasks_is_expired(dispatcher, task)) {
		tasks_expire(dispatcher, task);
	}
	return tr_state_is_ended((enum tr_state)task->state);
}

/* Fills one lane as far as it goes; answers how many works it got. */
static unsigned fill_lane(struct dispatcher *dispatcher, struct pool *pool, struct lane *lane)
{
	unsigned pushed = 0;
	struct task *task;

	/* An idle lane gets one piece and lets the other idle ones have theirs. */
	bool was_idle = lane->count == 0;
	do {
		task = scheduler_next(pool);
		if (!task)
			break;
		if (is_over(dispatcher, task))
			continue;
		if (!push(dispatcher, lane, task)) {
			lane->stuffed = true;
			scheduler_add_first(task);
			break;
		}
		pushed++;
	} while (!was_idle && has_space(lane));
	file_lane(lane);
	return pushed;
}

static void wake_touched(struct dispatcher *dispatcher)
{
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++) {
			if (worker->lanes[i].touched)
				mailbox_wake(worker->mailbox, i);
			worker->lanes[i].touched = false;
		}
	}
}

/*
 * At the start a cancellation may lie in the ring, far behind its task or for one that is restored
 * from the journal. Nothing is given out before all of them have found theirs: a task that was
 * cancelled never starts again.
 */
static bool may_begin(struct dispatcher *dispatcher)
{
	if (!dispatcher->caught_up)
		dispatcher->caught_up = ring_taken(dispatcher->ring) + 1 >= dispatcher->known_until &&
		    !dispatcher->commands_asked;
	return dispatcher->caught_up;
}

unsigned workforce_assign(struct dispatcher *dispatcher)
{
	unsigned pushed = 0;

	if (dispatcher->draining || !may_begin(dispatcher))
		return 0;
	for (size_t i = 0; i < dispatcher->pools->count; i++) {
		struct pool *pool = &dispatcher->pools->pools[i];
		struct lane *lane;
		while (!TAILQ_EMPTY(&pool->turns) && (lane = first_open(pool)) != NULL)
			pushed += fill_lane(dispatcher, pool, lane);
	}
	if (pushed)
		wake_touched(dispatcher);
	return pushed;
}

/* ---- taking back ------------------------------------------------------------------------- */

/* Revoked works at either end of the lane are nobody's any more: the worker passes over them. */
static void trim(struct lane *lane)
{
	while (lane->count) {
		const struct work *last = &lane->works[(lane->first + lane->count - 1) % MAILBOX_DEPTH];
		const struct work *first = &lane->works[lane->first];
		if (last->task && first->task)
			return;
		lane->expected_ns -= last->task ? first->expected_ns : last->expected_ns;
		if (last->task)
			lane->first = (lane->first + 1) % MAILBOX_DEPTH;
		lane->count--;
	}
}

static void let_go(struct task *task)
{
	task->where = NOWHERE;
	task->lane = NULL;
	task->work = NULL;
}

void workforce_take_back(struct lane *lane)
{
	for (uint32_t i = lane->count; i-- > 0;) {
		struct work *work = &lane->works[(lane->first + i) % MAILBOX_DEPTH];
		struct task *task = work->task;
		if (!task)
			continue;
		if (work->started || !mailbox_revoke(lane->worker->mailbox, lane->number, work->entry))
			break; /* claimed, and so is all before it */
		work->task = NULL;
		let_go(task);
		scheduler_add_first(task);
	}
	lane->stuffed = false;
	trim(lane);
	file_lane(lane);
}

void workforce_return(struct lane *lane)
{
	while (lane->count) {
		struct task *task = lane->works[(lane->first + lane->count - 1) % MAILBOX_DEPTH].task;
		lane->count--;
		if (!task)
			continue;
		let_go(task);
		scheduler_add_first(task);
	}
	lane->expected_ns = 0;
	file_lane(lane);
}

void workforce_refile(struct lane *lane)
{
	trim(lane);
	file_lane(lane);
}

void workforce_rebalance(struct dispatcher *dispatcher)
{
	dispatcher->pushed_ahead = false;
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++) {
			struct lane *lane = &worker->lanes[i];
			if (lane->count > 1 && lane->started_ns && dispatcher->now_ns - lane->started_ns > SLOW_NS)
				workforce_take_back(lane);
			dispatcher->pushed_ahead |= lane->count > 1;
		}
	}
}

/* ---- begun and ended --------------------------------------------------------------------- */

struct work *workforce_work(struct lane *lane, uint64_t serial)
{
	trim(lane);
	if (lane->count && lane->works[lane->first].serial == serial)
		return &lane->works[lane->first];
	return lane_pending_find(lane, serial);
}

struct work *workforce_running(struct lane *lane)
{
	struct work *work = &lane->works[lane->first];

	return lane->count && work->task && work->started ? work : NULL;
}

bool workforce_has_work(const struct lane *lane)
{
	return lane->count || lane->pending_count;
}

void workforce_begun(struct dispatcher *dispatcher, struct lane *lane, int64_t started_ns)
{
	struct work *work = &lane->works[lane->first];

	work->started = true;
	lane->started_ns = started_ns;
	deadline_begun(dispatcher, work, started_ns);
}

/* The lane's oldest work leaves its order. */
static void leave_order(struct dispatcher *dispatcher, struct lane *lane)
{
	struct work *work = &lane->works[lane->first];

	work->task = NULL;
	lane->started_ns = 0;
	lane->pushed_ns = dispatcher->now_ns; /* of what comes next, as far as anybody knows */
	lane->expected_ns -= work->expected_ns;
	lane->first = (lane->first + 1) % MAILBOX_DEPTH;
	lane->count--;
	lane->stuffed = false;
	trim(lane);
}

void workforce_pending(struct dispatcher *dispatcher, struct lane *lane, int64_t at_ns)
{
	struct work *work = &lane->works[lane->first];
	int64_t run_ns = at_ns - lane->started_ns;

	catalogue_held(dispatcher, work->task, run_ns > 0 ? run_ns : 0);
	lane_pending_add(dispatcher, lane, work);
	leave_order(dispatcher, lane);
	file_lane(lane);
}

void workforce_finish(struct dispatcher *dispatcher, struct lane *lane, struct work *work)
{
	let_go(work->task);
	if (work->pending)
		lane_pending_remove(lane, work);
	else
		leave_order(dispatcher, lane);
	/* What was held against the works that had begun is not the next one's fault. */
	if (!lane->pending_count && !workforce_running(lane))
		lane->lie = NULL;
	lane->worker->tasks++;
	file_lane(lane);
}
