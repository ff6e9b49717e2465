/* See crew.h. Called by supervisor.c only. */
#include "taskd/crew.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "taskd/log.h"
#include "taskd/mailbox.h"

uint32_t crew_backoff(const struct supervisor_times *times, uint32_t last_ms, int64_t lived_ms)
{
	if (last_ms == 0 || lived_ms > times->healthy_ms)
		return times->backoff_first_ms;
	return last_ms > times->backoff_most_ms / 2 ? times->backoff_most_ms : last_ms * 2;
}

uint32_t crew_rows_of(const struct config *config)
{
	uint32_t rows = 0;
	for (size_t i = 0; i < config->pool_count; i++)
		rows += config->pools[i].processes;
	return rows;
}

static uint32_t pool_of_row(const struct config *config, uint32_t row)
{
	uint32_t pool = 0;
	while (row >= config->pools[pool].processes)
		row -= config->pools[pool++].processes;
	return pool;
}

bool crew_configure(struct crew *crew, const struct config *config, int64_t now_ms)
{
	uint32_t wanted = crew_rows_of(config);
	/* Twice: what a row's process has yet to tell when its successor starts. */
	if (!outbox_reserve(crew->outbox, 4 * (size_t)(wanted > crew->count ? wanted : crew->count) + CREW_ROOM_SPARED))
		return false;
	if (wanted > crew->count) {
		struct crew_row *rows = realloc(crew->rows, wanted * sizeof(*rows));
		if (rows == NULL)
			return false;
		crew->rows = rows;
		for (uint32_t row = crew->count; row < wanted; row++)
			rows[row] = (struct crew_row){ .pidfd = -1, .due_ms = now_ms };
		crew->count = wanted;
	}
	for (uint32_t row = 0; row < crew->count; row++) {
		struct crew_row *one = &crew->rows[row];
		if (row >= wanted)
			one->due_ms = CREW_NEVER;
		else if (row >= crew->wanted && one->pid == 0)
			one->due_ms = now_ms;
	}
	crew->wanted = wanted;
	crew->config = config;
	return true;
}

void crew_all_due(struct crew *crew, int64_t now_ms)
{
	assert(crew->alive == 0);
	for (uint32_t row = 0; row < crew->wanted; row++) {
		crew->rows[row].due_ms = now_ms;
		crew->rows[row].pause_ms = 0;
	}
}

/* Each process alive has the message of its end to come, a new one also that of its start. */
static bool has_room(const struct crew *crew)
{
	return outbox_room(crew->outbox) >= (size_t)crew->alive + 2 + CREW_ROOM_SPARED;
}

/* Forks the process of a row with its mailbox; *mailbox is the parent's. False and errno. */
static bool fork_worker(struct crew *crew, uint32_t row, const struct config_pool *pool, int *mailbox)
{
	struct crew_row *one = &crew->rows[row];
	*mailbox = mailbox_create(pool->threads);
	if (*mailbox < 0)
		return false;
	struct spawn_plan plan = crew->plan;
	plan.keep[0] = *mailbox;
	plan.pool = pool;
	one->pid = spawn_fork(&plan, &one->pidfd);
	if (one->pid == 0) {
		crew->roles->worker(crew->config, pool, row, *mailbox, crew->plan.keep[1]);
		abort(); /* a role does not return */
	}
	if (one->pid > 0)
		return true;
	int failed = errno;
	one->pid = 0;
	close(*mailbox);
	errno = failed;
	return false;
}

static void start(struct crew *crew, uint32_t row, int64_t now_ms)
{
	struct crew_row *one = &crew->rows[row];
	uint32_t pool_index = pool_of_row(crew->config, row);
	const struct config_pool *pool = &crew->config->pools[pool_index];
	int mailbox;
	if (!fork_worker(crew, row, pool, &mailbox)) {
		one->pause_ms = crew_backoff(crew->times, one->pause_ms, 0);
		one->due_ms = now_ms + one->pause_ms;
		log_event(LOG_ERR, "worker-not-started", "pool=%s row=%u retry_ms=%u error=%m", pool->name, row, one->pause_ms);
		return;
	}
	one->killed = one->leaving = false;
	one->started_ms = now_ms;
	one->due_ms = CREW_NEVER;
	crew->alive++;
	log_event(LOG_DEBUG, "worker-started", "pool=%s row=%u worker_pid=%d", pool->name, row, (int)one->pid);
	const struct control_message message = {
		.kind = CONTROL_WORKER_STARTED, .row = row, .pid = one->pid, .pool = pool_index,
		.threads = pool->threads, .number = one->restarts,
	};
	outbox_put(crew->outbox, &message, mailbox);
	one->restarts++;
}

void crew_start_due(struct crew *crew, int64_t now_ms)
{
	if (crew->closed)
		return;
	for (uint32_t row = 0; row < crew->wanted; row++)
		if (crew->rows[row].pid == 0 && crew->rows[row].due_ms <= now_ms && has_room(crew))
			start(crew, row, now_ms);
}

int64_t crew_next_ms(const struct crew *crew)
{
	int64_t next = CREW_NEVER;
	if (crew->closed || !has_room(crew))
		return next;
	for (uint32_t row = 0; row < crew->wanted; row++)
		if (crew->rows[row].pid == 0 && crew->rows[row].due_ms < next)
			next = crew->rows[row].due_ms;
	return next;
}

/* Says when the row's next process starts, now that this one has ended. */
static void plan_next(struct crew *crew, struct crew_row *one, uint32_t row, int64_t now_ms)
{
	if (one->leaving || one->killed)
		one->pause_ms = 0;
	else
		one->pause_ms = crew_backoff(crew->times, one->pause_ms, now_ms - one->started_ms);
	one->due_ms = row < crew->wanted ? now_ms + one->pause_ms : CREW_NEVER;
}

void crew_reap(struct crew *crew, uint32_t row, int64_t now_ms)
{
	struct crew_row *one = &crew->rows[row];
	int status;
	struct rusage usage;
	pid_t pid = wait4(one->pid, &status, WNOHANG, &usage);
	if (pid == 0)
		return;
	assert(pid == one->pid && "a child of ours that nobody else waits for");
	close(one->pidfd);
	one->pidfd = -1;
	one->pid = 0;
	one->last_pid = pid;
	crew->alive--;
	plan_next(crew, one, row, now_ms);
	/* The dispatcher knows what it was running and logs an end that nobody asked for. */
	log_event(LOG_DEBUG, "worker-exit",
	    "row=%u worker_pid=%d exit=%d signal=%d peak_memory_kb=%ld pause_ms=%u", row, (int)pid,
	    WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
	    usage.ru_maxrss, one->pause_ms);
	const struct control_message message = {
		.kind = CONTROL_WORKER_ENDED, .row = row, .pid = pid, .status = status, .killed_by_us = one->killed,
		.peak_memory_kb = (uint64_t)usage.ru_maxrss, .number = one->pause_ms,
	};
	outbox_put(crew->outbox, &message, -1);
}

static void send_signal(struct crew_row *one, int signal)
{
	one->killed = true;
	/* ESRCH: it has ended and waits to be reaped. */
	if (syscall(SYS_pidfd_send_signal, one->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
		log_event(LOG_ERR, "kill-failed", "worker_pid=%d signal=%d error=%m", (int)one->pid, signal);
}

void crew_signal(struct crew *crew, uint32_t row, pid_t pid, uint64_t signal)
{
	if (row >= crew->count || pid <= 0 || crew->rows[row].pid != pid)
		return;
	if (signal == SIGKILL)
		send_signal(&crew->rows[row], SIGKILL);
	else if (signal == SIGTERM)
		send_signal(&crew->rows[row], SPAWN_END_SIGNAL);
	else
		log_event(LOG_ERR, "kill-refused", "worker_pid=%d signal=%llu", (int)pid, (unsigned long long)signal);
}

void crew_leaves(struct crew *crew, uint32_t row, pid_t pid, int64_t now_ms)
{
	if (row >= crew->count || pid <= 0)
		return;
	struct crew_row *one = &crew->rows[row];
	if (one->pid == pid) {
		one->leaving = true;
	} else if (one->pid == 0 && one->last_pid == pid && row < crew->wanted) {
		/* It was faster than the message that announces it. */
		one->pause_ms = 0;
		one->due_ms = now_ms;
	}
}

void crew_kill_all(struct crew *crew)
{
	for (uint32_t row = 0; row < crew->count; row++)
		if (crew->rows[row].pid > 0)
			send_signal(&crew->rows[row], SIGKILL);
}
