/*
 * What the tests of the dispatcher do in their world (dispatch_world.h): the test is the producer, the loop and
 * (dispatch_worker.h) the workers, and looks at what became of the tasks.
 */
#ifndef DISPATCH_FIXTURE_H
#define DISPATCH_FIXTURE_H

#include <sqlite3.h>
#include <stdarg.h>

#include "tests/unit/dispatch_world.h"
#include "tests/unit/runner.h"

#define DEADLINE_S 100 /* for a whole test program: SIGALRM ends it */
#define STEP_MS 25     /* more than a young task may stay out of the journal */

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

/* One record as it stands: a command, or what no producer of ours writes. */
static inline void publish_record(const struct record *record)
{
	char bytes[1000];
	uint64_t position;

	CU_ASSERT_FATAL(record_size(record) <= sizeof bytes);
	record_encode(record, bytes);
	CU_ASSERT_EQUAL_FATAL(ring_publish(world.producer, &world.hint, bytes, record_size(record), &position), TR_OK);
}

/* A command for a task, given now. */
static inline void publish_command(enum record_kind kind, struct tr_id id)
{
	publish_record(&(struct record){ .kind = (uint8_t)kind, .id = id, .places = 1, .created_ns = world.dispatcher.now_ns });
}

static inline void publish_cancel(struct tr_id id)
{
	publish_command(RECORD_CANCEL, id);
}

/* The same, and it is taken. */
static inline void cancel(struct tr_id id)
{
	publish_cancel(id);
	intake_turn(&world.dispatcher);
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

/* ---- tasks that have ended --------------------------------------------------------------- */

/* One that is in the journal as it ended, and no more in memory. */
static inline struct tr_id ended_task(const char *handler, enum task_event end)
{
	const struct tr_id id = publish_one(handler);

	settle();
	EXPECT_ID(run_next(end), id);
	settle();
	CU_ASSERT_PTR_NULL(task_of(id));
	return id;
}

/* One that died this moment: the journal does not have its death yet; or it is on its way there. */
static inline struct tr_id just_died(bool on_its_way)
{
	const struct tr_id id = publish_one("h");

	settle();
	EXPECT_ID(run_next(EV_BURY), id);
	if (on_its_way) {
		pass(STEP_MS);
		recorder_tick(&world.dispatcher);
		CU_ASSERT_TRUE(task_of(id)->committing);
	}
	return id;
}

static inline int run_dispatch_tests(const char *suite_name, const struct suite_test *tests, size_t count)
{
	alarm(DEADLINE_S);
	log_open("test", LOG_EMERG);
	signal(SIGPIPE, SIG_IGN);
	return run_suite(suite_name, world_open, world_close, tests, count);
}
#define RUN_DISPATCH_TESTS(name, tests) run_dispatch_tests(name, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
