/*
 * The world of a dispatcher without its loop: a real ring, board and journal under names of their own, and a
 * clock that the test sets. Made and removed around each test of dispatch_fixture.h.
 */
#ifndef DISPATCH_WORLD_H
#define DISPATCH_WORLD_H

#include <CUnit/Basic.h>
#include <dirent.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "taskd/dispatch.h"
#include "taskd/log.h"

#define START_MS 1700000000000ll

static struct world {
	struct config config;
	struct config_pool pool;
	char queues[1][TR_NAME_MAX + 1];
	char directory[64], journal[96], spool[96], instance[40];
	struct dispatcher dispatcher;
	struct ring *producer;
	uint32_t hint;
	_Atomic bool gated;   /* the journal's thread stops after each answer: at_gate is posted, */
	sem_t at_gate, gate;  /* and it waits for gate */
	unsigned kills, terms, recycles; /* what the supervisor was told */
} world;

/* On the journal's thread. */
static inline void world_wake(void *context)
{
	(void)context;
	if (!world.gated)
		return;
	sem_post(&world.at_gate);
	sem_wait(&world.gate);
}

static inline void world_signalled(struct dispatcher *dispatcher, struct worker *worker, int signal)
{
	(void)dispatcher;
	(void)worker;
	world.kills += signal == SIGKILL;
	world.terms += signal == SIGTERM;
}

static inline void world_recycled(struct dispatcher *dispatcher, struct worker *worker)
{
	(void)dispatcher;
	(void)worker;
	world.recycles++;
}

static inline void set_now(int64_t now_ms)
{
	world.dispatcher.now_ms = now_ms;
	world.dispatcher.now_ns = now_ms * 1000000;
}

static inline void pass(int64_t ms)
{
	set_now(world.dispatcher.now_ms + ms);
}

/* ---- opening and closing ----------------------------------------------------------------- */

static const struct tr_geometry small_ring = { .lanes = 4, .slots_per_lane = 1024, .slot_bytes = 256, .cells = 16384 };
static const struct board_geometry small_board = { .entries = 4096, .workers = 4, .lanes = 4, .events = 1024, .mode = 0600 };

/* A dispatcher starts, as dispatcher.c's open_all() does it. */
static inline void world_start(void)
{
	struct dispatcher *dispatcher = &world.dispatcher;
	struct tr_error error = { "" };
	struct ring *ring;
	int64_t now_ms = dispatcher->now_ms ? dispatcher->now_ms : START_MS;

	*dispatcher = (struct dispatcher){ .config = &world.config, .control = -1, .wake_fd = -1,
		.next_due_ms = INT64_MAX, .next_deadline_ms = INT64_MAX, .swept_ms = now_ms,
		.signal_worker = world_signalled, .worker_recycled = world_recycled, .random = 42, .ids = { 4711 } };
	TAILQ_INIT(&dispatcher->unshown);
	STAILQ_INIT(&dispatcher->unread);
	set_now(now_ms);
	CU_ASSERT_FATAL(workers_open(dispatcher));
	CU_ASSERT_FATAL(recorder_open(dispatcher, world_wake, NULL, &error));
	CU_ASSERT_EQUAL_FATAL(ring_attach(&ring, world.instance, &small_ring, 0600, &error), TR_OK);
	dispatcher->batch = malloc(ring_batch_max(ring));
	dispatcher->text = malloc(MAILBOX_MESSAGE_MAX + 1);
	CU_ASSERT_FATAL(dispatcher->batch && dispatcher->text);
	CU_ASSERT_EQUAL_FATAL(board_writer_open(&dispatcher->writer, world.instance, &small_board, &error), TR_OK);
	dispatcher->board = board_writer_board(dispatcher->writer);
	CU_ASSERT_EQUAL_FATAL(ring_consumer_open(&dispatcher->ring, &ring, &error), TR_OK);
	dispatcher->known_until = ring_published(dispatcher->ring) + 1;
	board_rows_open(dispatcher);
	CU_ASSERT_FATAL(window_restore(dispatcher, &error));
	board_life(dispatcher->writer, BOARD_RUNNING);
}

static inline void free_tasks(struct dispatcher *dispatcher)
{
	for (struct task *task; (task = dispatcher->tasks) != NULL;) {
		HASH_DEL(dispatcher->tasks, task);
		lines_free(dispatcher, task);
		free(task->error);
		free(task->result);
		free(task);
	}
	for (struct queue *queue; (queue = dispatcher->queues) != NULL;) {
		HASH_DEL(dispatcher->queues, queue);
		free(queue->heap);
		free(queue);
	}
	for (struct handler *handler; (handler = dispatcher->handlers) != NULL;) {
		HASH_DEL(dispatcher->handlers, handler);
		free(handler->doc);
		free(handler->secrets);
		free(handler);
	}
	free(dispatcher->history);
}

/* The dispatcher is gone from one moment to the next, as by kill -9: what it had not written is lost. */
static inline void world_kill(void)
{
	struct dispatcher *dispatcher = &world.dispatcher;

	recorder_close(dispatcher);
	free_tasks(dispatcher);
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++)
			while (worker->lanes[i].pending_count)
				lane_pending_remove(&worker->lanes[i], lane_pending_next(&worker->lanes[i], NULL));
		if (worker->alive && worker->statm_fd >= 0)
			close(worker->statm_fd);
		mailbox_close(&worker->mailbox);
		free(worker->lanes);
	}
	free(dispatcher->workers);
	for (struct pool_set *set = dispatcher->pools, *older; set; set = older) {
		older = set->older;
		free(set);
	}
	free(dispatcher->batch);
	free(dispatcher->text);
	ring_consumer_close(&dispatcher->ring, false);
	board_writer_close(&dispatcher->writer, false);
}

static inline void world_open(void)
{
	struct tr_error error = { "" };
	static unsigned number;

	memset(&world, 0, sizeof world);
	snprintf(world.instance, sizeof world.instance, "dispatch.%d.%u", (int)getpid(), ++number);
	strcpy(world.directory, "/tmp/taskring-dispatch-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(world.directory));
	snprintf(world.journal, sizeof world.journal, "%s/journal.db", world.directory);
	snprintf(world.spool, sizeof world.spool, "%s/spool", world.directory);
	CU_ASSERT_EQUAL_FATAL(mkdir(world.spool, 0700), 0);
	strcpy(world.queues[0], "*");
	strcpy(world.pool.name, "default");
	world.pool.processes = world.pool.threads = 1;
	world.pool.queue_count = 1;
	world.pool.concurrency = MAILBOX_PENDING_MAX;
	world.pool.queues = world.queues;
	world.config = (struct config){ .journal = world.journal, .spool_dir = world.spool, .pools = &world.pool,
		.pool_count = 1, .commit_interval_ms = 5, .sync_interval_ms = 1000, .history = HISTORY_ALL,
		.queue_window = 4, .callback_timeout_ms = 3000, .cancel_term_ms = 10000, .cancel_kill_ms = 2000, .log_level = LOG_EMERG };
	sem_init(&world.at_gate, 0, 0);
	sem_init(&world.gate, 0, 0);
	CU_ASSERT_EQUAL_FATAL(ring_attach(&world.producer, world.instance, &small_ring, 0600, &error), TR_OK);
	world_start();
}

static inline void remove_all_in(const char *directory)
{
	char path[400];
	struct dirent *entry;
	DIR *open = opendir(directory);

	while (open && (entry = readdir(open)) != NULL) {
		snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
		unlink(path);
	}
	if (open)
		closedir(open);
	rmdir(directory);
}

static inline void world_close(void)
{
	char name[64];

	world_kill();
	ring_detach(&world.producer);
	remove_all_in(world.spool);
	remove_all_in(world.directory);
	static const char *const segments[] = { "ring", "wake", "board" };
	for (size_t i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "/%s.%s", world.instance, segments[i]);
		shm_unlink(name);
	}
	sem_destroy(&world.at_gate);
	sem_destroy(&world.gate);
}

#endif
