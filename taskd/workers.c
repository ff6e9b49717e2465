/*
 * Workers come and go, as the dispatcher sees it. Enters: the supervisor's news of a process that has
 * started or ended, the configuration's pools. Leaves: lanes that workforce.c fills, the wish that a
 * process be ended, the workers' rows on the board. Called by dispatcher.c, drain.c and whoever finds
 * a worker wanting.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dispatch.h"
#include "log.h"

#define ROWS_MAX (CONFIG_POOLS_MAX * 256)

/* ---- pools ------------------------------------------------------------------------------- */

bool workers_pools(struct dispatcher *dispatcher, const struct config *config)
{
	struct pool_set *made = calloc(1, sizeof *made + config->pool_count * sizeof made->pools[0]);

	if (!made)
		return false;
	made->older = dispatcher->pools;
	made->count = config->pool_count;
	for (size_t i = 0; i < made->count; i++) {
		memcpy(made->pools[i].name, config->pools[i].name, sizeof made->pools[i].name);
		TAILQ_INIT(&made->pools[i].turns);
		TAILQ_INIT(&made->pools[i].idle);
		TAILQ_INIT(&made->pools[i].waiting);
		TAILQ_INIT(&made->pools[i].busy);
		made->pools[i].concurrency = config->pools[i].concurrency;
	}
	for (struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next) {
		int pool = config_pool_of(config, queue->name, strlen(queue->name));
		struct pool *next = &made->pools[pool < 0 ? 0 : pool]; /* what it holds must run somewhere */
		if (queue->in_turns) {
			TAILQ_REMOVE(&queue->pool->turns, queue, turn_link);
			TAILQ_INSERT_TAIL(&next->turns, queue, turn_link);
		}
		queue->pool = next;
	}
	dispatcher->pools = made;
	return true;
}

bool workers_open(struct dispatcher *dispatcher)
{
	dispatcher->workers = calloc(ROWS_MAX, sizeof *dispatcher->workers);
	return dispatcher->workers && workers_pools(dispatcher, dispatcher->config);
}

/* ---- the board --------------------------------------------------------------------------- */

/* A task that the worker runs: one that holds a thread before one that is pending; NULL: none. */
static const struct task *running_task(struct worker *worker)
{
	const struct task *running = NULL;

	for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++) {
		struct lane *lane = &worker->lanes[i];
		const struct work *work = workforce_running(lane);
		if (work)
			return work->task;
		if (!running && lane->pending_count)
			running = lane_pending_next(lane, NULL)->task;
	}
	return running;
}

uint32_t workers_busy(struct worker *worker)
{
	uint32_t busy = 0;

	for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++)
		busy += workforce_running(&worker->lanes[i]) || worker->lanes[i].pending_count;
	return busy;
}

void workers_show(struct dispatcher *dispatcher, struct worker *worker)
{
	const struct task *running = running_task(worker);
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
		.memory_kb = worker->memory_kb,
	};

	shown.state = !worker->alive ? WORKER_BACKING_OFF : running ? WORKER_BUSY :
	    worker->lanes[0].ready ? WORKER_IDLE : WORKER_STARTING;
	if (running)
		shown.running = running->id;
	if (worker->pool)
		memcpy(shown.pool, worker->pool->name, sizeof shown.pool);
	if (worker->row < dispatcher->board->workers) /* more may come with a reload */
		board_worker_set(dispatcher->writer, worker->row, &shown);
}

/* The process may be gone or in another's place by the time its file is opened: then it shows nothing, or a moment too much. */
static int open_statm(int32_t pid)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/%d/statm", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void workers_look(struct worker *worker)
{
	static long page_kb;
	char text[128], *second;
	ssize_t got = worker->statm_fd >= 0 ? pread(worker->statm_fd, text, sizeof text - 1, 0) : -1;

	if (!page_kb)
		page_kb = sysconf(_SC_PAGESIZE) / 1024;
	worker->memory_kb = 0;
	if (got <= 0)
		return;
	text[got] = '\0';
	strtoull(text, &second, 10); /* the kernel's own numbers: its size, then what is resident, in pages */
	worker->memory_kb = strtoull(second, NULL, 10) * (uint64_t)page_kb;
}

/* ---- coming ------------------------------------------------------------------------------ */

static uint64_t count_alive(const struct dispatcher *dispatcher)
{
	uint64_t alive = 0;

	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		alive += dispatcher->workers[row].alive;
	return alive;
}

void workers_started(struct dispatcher *dispatcher, uint32_t row, int32_t pid, uint32_t pool,
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
	worker->idle_ms = worker->kill_ms = 0;
	worker->row = row;
	worker->pid = pid;
	worker->statm_fd = open_statm(pid);
	worker->memory_kb = 0;
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
	workers_show(dispatcher, worker);
}

/* ---- going ------------------------------------------------------------------------------- */

void workers_leaving(struct worker *worker)
{
	worker->leaving = true;
	for (uint32_t i = 0; i < worker->lane_count; i++)
		workforce_take_back(&worker->lanes[i]);
}

/* What it was told once it may have taken to heart already: it is killed for good a little later. */
void workers_terminate(struct dispatcher *dispatcher, struct worker *worker)
{
	log_event(LOG_NOTICE, "worker-terminated", "row=%u pid=%d reason=%s kill_in_ms=%u", worker->row, worker->pid,
	    "a cancelled task does not end", dispatcher->config->cancel_kill_ms);
	worker->kill_ms = dispatcher->now_ms + dispatcher->config->cancel_kill_ms;
	workers_leaving(worker);
	dispatcher->signal_worker(dispatcher, worker, SIGTERM);
}

void workers_kill(struct dispatcher *dispatcher, struct worker *worker)
{
	worker->doomed = true;
	workers_leaving(worker);
	dispatcher->signal_worker(dispatcher, worker, SIGKILL);
}

void workers_gone(struct dispatcher *dispatcher, struct worker *worker)
{
	for (uint32_t i = 0; i < worker->lane_count; i++) {
		assert(!workforce_has_work(&worker->lanes[i]));
		workforce_close_lane(&worker->lanes[i]);
	}
	mailbox_close(&worker->mailbox);
	if (worker->statm_fd >= 0)
		close(worker->statm_fd);
	worker->memory_kb = 0;
	free(worker->lanes);
	worker->lanes = NULL;
	worker->alive = false;
	stat_set(dispatcher->board, STAT_worker_alive, count_alive(dispatcher));
	workers_show(dispatcher, worker);
}
