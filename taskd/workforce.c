/*
 * The workers as the dispatcher sees them: which lane takes the next piece of work, how much is
 * pushed ahead of a running one, and what is taken back. What workers say is outcome.c's.
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
#define PACE_WEIGHT 8         /* of the moving average: the newest counts one part in so many */
#define ROWS_MAX (CONFIG_POOLS_MAX * 256)

/* ---- pace -------------------------------------------------------------------------------- */

#undef HASH_FUNCTION
#undef HASH_KEYCMP
#define HASH_FUNCTION(key, length, value) HASH_JEN(key, length, value)
#define HASH_KEYCMP(a, b, length) memcmp(a, b, length)

#define PACES_MAX 4096 /* handler names come from outside */

static struct pace *find_pace(const struct dispatcher *dispatcher, const struct task *task)
{
	struct pace *found;

	HASH_FIND(hh, dispatcher->paces, task->record.handler.at, task->record.handler.bytes, found);
	return found;
}

static int64_t expected_ns(const struct dispatcher *dispatcher, const struct task *task)
{
	const struct pace *pace = task->deciding ? NULL : find_pace(dispatcher, task);

	return pace ? pace->run_ns + 1000 : UNKNOWN_NS;
}

void workforce_pace(struct dispatcher *dispatcher, const struct task *task, int64_t run_ns)
{
	struct pace *pace = find_pace(dispatcher, task);

	if (pace) {
		pace->run_ns += (run_ns - pace->run_ns) / PACE_WEIGHT;
		return;
	}
	if (HASH_COUNT(dispatcher->paces) >= PACES_MAX || !(pace = calloc(1, sizeof *pace)))
		return;
	memcpy(pace->handler, task->record.handler.at, task->record.handler.bytes);
	pace->run_ns = run_ns;
	HASH_ADD_KEYPTR(hh, dispatcher->paces, pace->handler, task->record.handler.bytes, pace);
	if (!pace->hh.tbl)
		free(pace);
}

/* ---- open lanes -------------------------------------------------------------------------- */

/* Puts a lane where it belongs among the pool's open ones: idle first, full or leaving nowhere. */
static void file_lane(struct lane *lane)
{
	struct worker *worker = lane->worker;
	struct lane_list *open = &worker->pool->open;

	if (lane->is_open)
		TAILQ_REMOVE(open, lane, open_link);
	lane->is_open = lane->ready && worker->alive && !worker->leaving && !lane->stuffed &&
	    lane->count < MAILBOX_DEPTH && (!lane->count || lane->expected_ns < AHEAD_NS);
	if (!lane->is_open)
		return;
	if (lane->count)
		TAILQ_INSERT_TAIL(open, lane, open_link);
	else
		TAILQ_INSERT_HEAD(open, lane, open_link);
}

void workforce_lane_ready(struct lane *lane)
{
	lane->ready = true;
	file_lane(lane);
}

/* ---- giving out -------------------------------------------------------------------------- */

static uint32_t hard_timeout_ms(const struct dispatcher *dispatcher, const struct task *task)
{
	uint32_t own_ms = task->record.hard_timeout_ms;

	return own_ms ? own_ms : dispatcher->config->hard_timeout_ms;
}

/* A task that names none is told a little before it is killed, so that it can end in order. */
static uint32_t soft_timeout_ms(const struct dispatcher *dispatcher, const struct task *task)
{
	uint32_t hard_ms = hard_timeout_ms(dispatcher, task);
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
		head.exit_code = task->exit_code;
		head.signal = task->signal;
		head.peak_memory_kb = task->peak_memory_kb;
	}
	return head;
}

/* False: the lane has no room for its bytes. */
static bool push(struct dispatcher *dispatcher, struct lane *lane, struct task *task)
{
	struct work *work = &lane->works[(lane->first + lane->count) % MAILBOX_DEPTH];
	const struct work_head head = compose(dispatcher, task);

	if (!mailbox_push(lane->worker->mailbox, lane->number, &head, task->encoded,
		task->error ? task->error : "", &work->entry))
		return false;
	work->serial = head.serial;
	work->kind = head.kind;
	work->task = task;
	work->started = false;
	work->expected_ns = expected_ns(dispatcher, task);
	lane->expected_ns += work->expected_ns;
	if (lane->count++)
		dispatcher->pushed_ahead = true;
	else
		lane->pushed_ns = dispatcher->now_ns;
	lane->touched = true;
	task->where = AT_WORKER;
	task->lane = lane;
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
		tasks_error(task, "no worker was free before it expired");
		tasks_move(dispatcher, task, EV_EXPIRE);
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
	} while (!was_idle && lane->count < MAILBOX_DEPTH && lane->expected_ns < AHEAD_NS);
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

unsigned workforce_assign(struct dispatcher *dispatcher)
{
	unsigned pushed = 0;

	if (dispatcher->draining)
		return 0;
	for (size_t i = 0; i < dispatcher->pools->count; i++) {
		struct pool *pool = &dispatcher->pools->pools[i];
		struct lane *lane;
		while (!TAILQ_EMPTY(&pool->turns) && (lane = TAILQ_FIRST(&pool->open)) != NULL)
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
		task->where = NOWHERE;
		task->lane = NULL;
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
		task->where = NOWHERE;
		task->lane = NULL;
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

struct work *workforce_work(struct lane *lane, uint64_t serial)
{
	trim(lane);
	if (!lane->count || lane->works[lane->first].serial != serial)
		return NULL;
	return &lane->works[lane->first];
}

void workforce_begun(struct dispatcher *dispatcher, struct lane *lane, int64_t started_ns)
{
	struct work *work = &lane->works[lane->first];
	struct worker *worker = lane->worker;
	uint32_t limit_ms = dispatcher->config->callback_timeout_ms;

	if (work->kind == WORK_RUN) {
		limit_ms = hard_timeout_ms(dispatcher, work->task);
		worker->running = work->task->id;
	}
	work->started = true;
	lane->started_ns = started_ns;
	lane->deadline_ms = limit_ms ? started_ns / 1000000 + limit_ms : 0;
	if (lane->deadline_ms && lane->deadline_ms < dispatcher->next_deadline_ms)
		dispatcher->next_deadline_ms = lane->deadline_ms;
}

void workforce_finish(struct dispatcher *dispatcher, struct lane *lane)
{
	struct work *work = &lane->works[lane->first];

	work->task->where = NOWHERE;
	work->task->lane = NULL;
	work->task = NULL;
	lane->started_ns = lane->deadline_ms = 0;
	lane->pushed_ns = dispatcher->now_ns; /* of what comes next, as far as anybody knows */
	/* What was held against this work is not the next one's fault. */
	lane->timed_out = false;
	lane->lie = NULL;
	lane->expected_ns -= work->expected_ns;
	lane->first = (lane->first + 1) % MAILBOX_DEPTH;
	lane->count--;
	lane->stuffed = false;
	trim(lane);
	lane->worker->tasks++;
	file_lane(lane);
}

/* ---- deadlines --------------------------------------------------------------------------- */

void workforce_deadlines(struct dispatcher *dispatcher)
{
	if (dispatcher->now_ms < dispatcher->next_deadline_ms)
		return;
	dispatcher->next_deadline_ms = INT64_MAX;
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++) {
			struct lane *lane = &worker->lanes[i];
			if (!lane->deadline_ms || lane->timed_out)
				continue;
			if (lane->deadline_ms > dispatcher->now_ms) {
				if (lane->deadline_ms < dispatcher->next_deadline_ms)
					dispatcher->next_deadline_ms = lane->deadline_ms;
				continue;
			}
			lane->timed_out = true;
			workforce_kill(dispatcher, worker);
		}
	}
}

/* ---- coming and going -------------------------------------------------------------------- */

bool workforce_pools(struct dispatcher *dispatcher, const struct config *config)
{
	struct pool_set *made = calloc(1, sizeof *made + config->pool_count * sizeof made->pools[0]);

	if (!made)
		return false;
	made->older = dispatcher->pools;
	made->count = config->pool_count;
	for (size_t i = 0; i < made->count; i++) {
		memcpy(made->pools[i].name, config->pools[i].name, sizeof made->pools[i].name);
		TAILQ_INIT(&made->pools[i].turns);
		TAILQ_INIT(&made->pools[i].open);
	}
	for (struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next) {
		int pool = config_pool_of(config, queue->name, strlen(queue->name));
		struct pool *next = &made->pools[pool < 0 ? 0 : pool]; /* what it holds must run somewhere */
		if (!TAILQ_EMPTY(&queue->ready)) {
			TAILQ_REMOVE(&queue->pool->turns, queue, turn_link);
			TAILQ_INSERT_TAIL(&next->turns, queue, turn_link);
		}
		queue->pool = next;
	}
	dispatcher->pools = made;
	return true;
}

bool workforce_open(struct dispatcher *dispatcher)
{
	dispatcher->workers = calloc(ROWS_MAX, sizeof *dispatcher->workers);
	return dispatcher->workers && workforce_pools(dispatcher, dispatcher->config);
}

void workforce_show(struct dispatcher *dispatcher, struct worker *worker)
{
	bool busy = false;
	struct board_worker shown = {
		.pid = worker->alive ? worker->pid : 0,
		.threads = worker->lane_count,
		.tasks = worker->tasks,
		.restarts = worker->restarts,
		.started_ms = worker->started_ms,
		.last_exit_ms = worker->last_exit_ms,
		.last_exit_code = worker->last_exit_code,
		.last_signal = worker->last_signal,
		.peak_memory_kb = worker->last_peak_kb,
	};

	for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++)
		busy |= worker->lanes[i].started_ns != 0;
	shown.state = !worker->alive ? WORKER_BACKING_OFF : busy ? WORKER_BUSY :
	    worker->lanes[0].ready ? WORKER_IDLE : WORKER_STARTING;
	if (busy)
		shown.running = worker->running;
	if (worker->pool)
		memcpy(shown.pool, worker->pool->name, sizeof shown.pool);
	if (worker->row < dispatcher->board->workers) /* more may come with a reload */
		board_worker_set(dispatcher->writer, worker->row, &shown);
}

static uint64_t count_alive(const struct dispatcher *dispatcher)
{
	uint64_t alive = 0;

	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		alive += dispatcher->workers[row].alive;
	return alive;
}

void workforce_started(struct dispatcher *dispatcher, uint32_t row, int32_t pid, uint32_t pool,
    uint32_t threads, uint64_t restarts, int mailbox_fd)
{
	/* The supervisor is ours, and what it starts follows the configuration that it made us read. */
	assert(row < ROWS_MAX && pool < dispatcher->pools->count);
	struct worker *worker = &dispatcher->workers[row];
	struct lane *lanes = calloc(threads, sizeof *lanes);
	struct mailbox *mailbox = lanes ? mailbox_open(mailbox_fd, threads, dispatcher->wake_fd) : NULL;

	assert(!worker->alive);
	if (!mailbox) {
		log_event(LOG_ERR, "worker-unusable", "row=%u pid=%d reason=%s", row, pid, "no memory for its mailbox");
		free(lanes);
		return;
	}
	worker->alive = true;
	worker->leaving = worker->doomed = false;
	worker->idle_ms = 0;
	worker->row = row;
	worker->pid = pid;
	worker->pool = &dispatcher->pools->pools[pool];
	worker->mailbox = mailbox;
	worker->lane_count = threads;
	worker->lanes = lanes;
	worker->restarts = restarts;
	worker->tasks = 0;
	worker->started_ms = dispatcher->now_ms;
	for (uint32_t i = 0; i < threads; i++) {
		lanes[i].worker = worker;
		lanes[i].number = i;
	}
	if (row >= dispatcher->worker_rows)
		dispatcher->worker_rows = row + 1;
	stat_add(dispatcher->board, STAT_worker_started, 1);
	stat_set(dispatcher->board, STAT_worker_alive, count_alive(dispatcher));
	workforce_show(dispatcher, worker);
}

void workforce_leaving(struct worker *worker)
{
	worker->leaving = true;
	for (uint32_t i = 0; i < worker->lane_count; i++)
		workforce_take_back(&worker->lanes[i]);
}

void workforce_kill(struct dispatcher *dispatcher, struct worker *worker)
{
	worker->doomed = true;
	workforce_leaving(worker);
	dispatcher->kill_worker(dispatcher, worker);
}

void workforce_gone(struct dispatcher *dispatcher, struct worker *worker)
{
	for (uint32_t i = 0; i < worker->lane_count; i++) {
		assert(worker->lanes[i].count == 0);
		if (worker->lanes[i].is_open)
			TAILQ_REMOVE(&worker->pool->open, &worker->lanes[i], open_link);
	}
	mailbox_close(&worker->mailbox);
	free(worker->lanes);
	worker->lanes = NULL;
	worker->alive = false;
	stat_set(dispatcher->board, STAT_worker_alive, count_alive(dispatcher));
	workforce_show(dispatcher, worker);
}
