/*
 * A dispatcher without its loop: a real ring, board and journal under names of their own, and a
 * clock that the test sets. The test is the producer, the loop and (dispatch_worker.h) the workers.
 * For the tests of window.c, recorder.c and outcome.c.
 */
#ifndef DISPATCH_FIXTURE_H
#define DISPATCH_FIXTURE_H

#include <CUnit/Basic.h>
#include <dirent.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "taskd/dispatch.h"
#include "taskd/log.h"
#include "tests/unit/runner.h"

#define START_MS 1700000000000ll
#define DEADLINE_S 60 /* for a whole test program: SIGALRM ends it */
#define STEP_MS 25    /* more than a young task may stay out of the journal */

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

/* ---- the producer ------------------------------------------------------------------------ */

static inline struct record_text span(const char *text)
{
	return (struct record_text){ text, (uint32_t)strlen(text) };
}

/* For `handler`, made now, all else by default. */
static inline struct record record_for(const char *handler)
{
	struct record record = { .kind = RECORD_TASK, .created_ns = world.dispatcher.now_ns, .handler = span(handler),
		.on_failure = span(""), .trace = span("") };

	record_defaults(&record);
	return record;
}

/* Publishes one batch of `count` tasks; the first one's id, the others' follow. */
static inline struct tr_id publish(const struct record *pattern, uint16_t count)
{
	static char batch[60000];
	struct record record = *pattern;
	size_t bytes = 0;
	uint64_t position;
	const struct tr_id first = id_make(&world.dispatcher.ids, record.created_ns);

	for (uint16_t i = 0; i < count; i++) {
		record.id = id_step(&first, i);
		record.place = i;
		record.places = count;
		CU_ASSERT_FATAL(bytes + record_size(&record) <= sizeof batch);
		record_encode(&record, batch + bytes);
		bytes += record_size(&record);
	}
	CU_ASSERT_EQUAL_FATAL(ring_publish(world.producer, &world.hint, batch, bytes, &position), TR_OK);
	return first;
}

static inline struct tr_id publish_one(const char *handler)
{
	const struct record record = record_for(handler);

	return publish(&record, 1);
}

static inline void publish_cancel(struct tr_id id)
{
	const struct record record = { .kind = RECORD_CANCEL, .id = id, .places = 1 };
	char batch[128];
	uint64_t position;

	record_encode(&record, batch);
	CU_ASSERT_EQUAL_FATAL(ring_publish(world.producer, &world.hint, batch, record_size(&record), &position), TR_OK);
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* As dispatcher.c's turn(), without the workers' side. */
static inline void turn(void)
{
	struct dispatcher *dispatcher = &world.dispatcher;

	intake_turn(dispatcher);
	window_poll(dispatcher);
	scheduler_tick(dispatcher);
	window_tick(dispatcher);
	tasks_show_all(dispatcher);
	recorder_tick(dispatcher);
	board_rows_tick(dispatcher);
}

/* All that the journal was asked so far is answered: it takes one question after the other. */
static inline void await_journal(void)
{
	const struct tr_id none = { { 0 } };

	CU_ASSERT_FALSE(journal_knows(world.dispatcher.journal, &none));
}

/* Nothing is to be taken, written or loaded. */
static inline bool is_quiet(void)
{
	const struct dispatcher *dispatcher = &world.dispatcher;

	for (const struct task *task = dispatcher->tasks; task; task = task->hh.next)
		if (task->dirty || task->committing)
			return false;
	for (const struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next)
		if (queue->loading)
			return false;
	return ring_unretired(dispatcher->ring) == 0 && !dispatcher->commands_asked;
}

/* Turns until all is in the journal and the windows are full. Time passes. */
static inline void settle(void)
{
	do {
		pass(STEP_MS);
		turn();
		await_journal();
		turn();
	} while (!is_quiet());
}

static inline struct pool *the_pool(void)
{
	return &world.dispatcher.pools->pools[0];
}

/* Takes the next ready task and begins it, as if a worker had; NULL: none is ready. */
static inline struct task *start_next(void)
{
	struct task *task = scheduler_next(the_pool());

	if (task) {
		task->attempt++;
		task->started_ms = world.dispatcher.now_ms;
		tasks_move(&world.dispatcher, task, EV_START);
	}
	return task;
}

/* The same to its end; its id, or all zero. */
static inline struct tr_id run_next(enum task_event end)
{
	struct task *task = start_next();
	struct tr_id id = { { 0 } };

	if (task) {
		id = task->id;
		tasks_move(&world.dispatcher, task, end);
	}
	return id;
}

/* Tasks one ms apart, each a batch of its own, the first made `count` ms ago. */
static inline void publish_row(struct tr_id *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct record record = record_for("h");
		record.created_ns -= (int64_t)(count - i) * 1000000;
		ids[i] = publish(&record, 1);
	}
}

/* Runs whatever becomes ready until nothing is left; answers how many ran, their ids in `ran`. */
static inline unsigned run_all(struct tr_id *ran, unsigned most)
{
	unsigned count = 0;

	for (;;) {
		settle();
		struct tr_id id = run_next(EV_SUCCEEDED);
		if (id_equal(&id, &(struct tr_id){ { 0 } }))
			return count;
		CU_ASSERT_FATAL(count < most);
		ran[count++] = id;
	}
}

static inline struct queue *the_queue(const char *name)
{
	return scheduler_queue(&world.dispatcher, span(name));
}

/* ---- looking ----------------------------------------------------------------------------- */

static inline uint64_t stat_of(enum stat_row row)
{
	return stat_get(world.dispatcher.board, row);
}

static inline unsigned in_memory(void)
{
	return HASH_COUNT(world.dispatcher.tasks);
}

static inline struct task *task_of(struct tr_id id)
{
	return tasks_find(&world.dispatcher, &id);
}

/* TR_STATES: the board does not show it. */
static inline enum tr_state shown(struct tr_id id)
{
	struct board_entry entry;

	tasks_show_all(&world.dispatcher);
	return board_find(world.dispatcher.board, &id, &entry) ? (enum tr_state)entry.state : TR_STATES;
}

static inline const char *hex(struct tr_id id)
{
	static char text[4][33];
	static unsigned turn_of;
	char *to = text[turn_of++ % 4];

	for (size_t i = 0; i < sizeof id.bytes; i++)
		snprintf(to + 2 * i, 3, "%02x", id.bytes[i]);
	return to;
}

/* What another program reads, or does: columns parted by '|', rows by a space; an error's text. */
static inline const char *sql(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline const char *sql(const char *format, ...)
{
	static char answer[4096];
	char query[1000];
	sqlite3 *connection;
	sqlite3_stmt *statement = NULL;
	size_t used = 0;
	va_list values;

	va_start(values, format);
	vsnprintf(query, sizeof query, format, values);
	va_end(values);
	answer[0] = '\0';
	int code = sqlite3_open_v2(world.journal, &connection, SQLITE_OPEN_READWRITE, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(connection, query, -1, &statement, NULL);
	while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(statement) && used < sizeof answer; i++) {
			const char *text = (const char *)sqlite3_column_text(statement, i);
			used += (size_t)snprintf(answer + used, sizeof answer - used, "%s%s", i ? "|" : used ? " " : "",
			    text ? text : "NULL");
		}
		code = SQLITE_OK;
	}
	if (code != SQLITE_DONE)
		snprintf(answer, sizeof answer, "error: %s", sqlite3_errmsg(connection));
	sqlite3_finalize(statement);
	sqlite3_close(connection);
	return answer;
}

/* The state's name, or "" when the journal has no such task. */
static inline const char *journaled(struct tr_id id)
{
	return sql("SELECT s.name FROM task t JOIN state s USING (state) WHERE t.id = x'%s'", hex(id));
}

#define EXPECT_TEXT(expression, expected) \
	do { \
		const char *got_text = (expression); \
		if (strcmp(got_text, (expected)) != 0) \
			fprintf(stderr, "\n%s:%d: got \"%s\", expected \"%s\"", __FILE__, __LINE__, got_text, (expected)); \
		CU_ASSERT_STRING_EQUAL(got_text, (expected)); \
	} while (0)
#define EXPECT_ID(expression, expected) EXPECT_TEXT(hex(expression), hex(expected))

static inline int run_dispatch_tests(const char *suite_name, const struct suite_test *tests, size_t count)
{
	alarm(DEADLINE_S);
	log_open("test", LOG_EMERG);
	signal(SIGPIPE, SIG_IGN);
	return run_suite(suite_name, world_open, world_close, tests, count);
}
#define RUN_DISPATCH_TESTS(name, tests) run_dispatch_tests(name, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
