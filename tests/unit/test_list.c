/*
 * Listing: pages from board and journal, each task once, newest first; filters; a taskd that is stopped or
 * dead; and how much SQLite works for a page among many rows, counted in its instructions.
 */
#include "tests/unit/dispatch_client.h"

#include <pthread.h>

static struct tr_task_status rows[TR_LIST_MAX];
static struct tr_id next;

static bool is_none(const struct tr_id *id)
{
	return id_equal(id, &(struct tr_id){ { 0 } });
}

static size_t list(const struct tr_task_filter *filter, const struct tr_id *before, size_t limit)
{
	size_t count = 99;

	CU_ASSERT_EQUAL(tr_tasks_list(client, filter, before, limit, rows, &count, &next), TR_OK);
	for (size_t i = 1; i < count; i++)
		CU_ASSERT_TRUE(memcmp(&rows[i - 1].id, &rows[i].id, sizeof rows[i].id) > 0);
	if (count > 0 && before)
		CU_ASSERT_TRUE(memcmp(&rows[0].id, before, sizeof *before) < 0);
	return count;
}

static void clear(size_t count)
{
	for (size_t i = 0; i < count; i++)
		tr_task_status_clear(&rows[i]);
}

/* "handler/state" of all pages of that size, parted by spaces. */
static const char *all_of(const struct tr_task_filter *filter, size_t limit)
{
	static char text[8192];
	size_t used = 0;
	struct tr_id before;
	unsigned pages = 0;

	text[0] = '\0';
	memset(&before, 0xff, sizeof before);
	do {
		size_t count = list(filter, &before, limit);
		for (size_t i = 0; i < count && used < sizeof text; i++)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%s/%s", used ? " " : "", rows[i].handler,
			    tr_state_name(rows[i].state));
		clear(count);
		before = next;
	} while (!is_none(&next) && ++pages < 100);
	CU_ASSERT_TRUE(pages < 100);
	return text;
}

static struct tr_id add_task(const char *handler, const char *queue)
{
	const struct task_options options = { .queue = queue };

	CU_ASSERT_EQUAL(background_tasks_add(batch, handler, NULL, &options), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	pass(2); /* ids of one millisecond have no order */
	struct timespec two_ms = { 0, 2000000 };
	nanosleep(&two_ms, NULL);
	return id;
}

static void end_task(struct tr_id id, enum task_event end)
{
	struct task *task = task_of(id);

	CU_ASSERT_PTR_NOT_NULL_FATAL(task);
	scheduler_remove(task);
	task->attempt++;
	task->started_ms = world.dispatcher.now_ms;
	tasks_move(&world.dispatcher, task, EV_START);
	if (end != EV_START)
		tasks_move(&world.dispatcher, task, end);
}

/* Some in the journal only, some on both, some on the board only, one not committed as it is. */
static void make_some(void)
{
	open_client();
	world.config.queue_window = 100;
	static const struct { const char *handler, *queue; enum task_event end; } tasks[] = {
		{ "a", "mails", EV_SUCCEEDED }, { "b", "default", EV_BURY }, { "c", "mails", EV_DISCARD },
		{ "d", "default", EV_START }, { "e", "mails", EV_DUE }, { "f", "default", EV_BURY },
	};
	struct tr_id ids[6];

	for (size_t i = 0; i < 6; i++)
		ids[i] = add_task(tasks[i].handler, tasks[i].queue);
	dispatch();
	for (size_t i = 0; i < 6; i++)
		if (tasks[i].end != EV_DUE)
			end_task(ids[i], tasks[i].end);
	settle();
	/* From here on only the board knows. */
	add_task("g", "default");
	intake_turn(&world.dispatcher);
	end_task(ids[4], EV_SUCCEEDED);
	tasks_show_all(&world.dispatcher);
	EXPECT_TEXT(journaled(ids[4]), "queued");
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "6");
}

static void test_merged(void)
{
	make_some();
	for (size_t limit = 1; limit <= 8; limit++)
		EXPECT_TEXT(all_of(NULL, limit), "g/queued f/dead e/succeeded d/running c/cancelled b/dead a/succeeded");
	/* The board's history is the journal's when the board is made anew; the seventh task comes out of the ring again. */
	world_kill();
	char name[80];
	snprintf(name, sizeof name, "/%s.board", world.instance);
	EXPECT_TEXT(all_of(NULL, 3), "g/queued f/dead e/succeeded d/running c/cancelled b/dead a/succeeded"); /* of the dead taskd */
	shm_unlink(name);
	tr_close(&client);
	background_tasks_free(&batch);
	const struct tr_open_options options = { .journal = world.journal };
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &options, NULL), TR_OK);
	EXPECT_TEXT(all_of(NULL, 3), "f/dead e/queued d/running c/cancelled b/dead a/succeeded"); /* the journal alone */
	world_start();
	CU_ASSERT_EQUAL(background_tasks_new(&batch, client), TR_OK);
	close_client();
}

static void test_filters(void)
{
	static const struct { struct tr_task_filter filter; const char *expected; } ways[] = {
		{ { .states = 1u << TR_DEAD }, "f/dead b/dead" },
		{ { .states = 1u << TR_SUCCEEDED }, "e/succeeded a/succeeded" },
		{ { .states = 1u << TR_QUEUED }, "g/queued" },
		{ { .states = 1u << TR_QUEUED, .queue = "default" }, "g/queued" },
		{ { .states = 1u << TR_QUEUED, .queue = "mails" }, "" }, /* the journal's view is older */
		{ { .states = 1u << TR_RUNNING | 1u << TR_CANCELLED }, "d/running c/cancelled" },
		{ { .states = 1u << TR_EXPIRED }, "" },
		{ { .states = 0xff & ~(1u << TR_SUCCEEDED) }, "g/queued f/dead d/running c/cancelled b/dead" },
		{ { .queue = "mails" }, "e/succeeded c/cancelled a/succeeded" },
		{ { .handler = "b" }, "b/dead" },
		{ { .states = 1u << TR_DEAD, .handler = "a" }, "" },
		{ { .states = 1u << TR_DEAD, .handler = "f", .queue = "default" }, "f/dead" },
		{ { .handler = "nobody" }, "" },
	};

	make_some();
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		for (size_t limit = 1; limit < 4; limit++)
			EXPECT_TEXT(all_of(&ways[i].filter, limit), ways[i].expected);
	close_client();
}

static void test_refused(void)
{
	static const struct tr_task_filter bad[] = { { .handler = "a b" }, { .queue = "" }, { .handler = "x/../y" } };
	size_t count;

	open_client();
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(tr_tasks_list(client, &bad[i], NULL, 10, rows, &count, &next), TR_INVALID);
	CU_ASSERT_EQUAL(tr_tasks_list(client, NULL, NULL, 0, rows, &count, &next), TR_INVALID);
	CU_ASSERT_EQUAL(tr_tasks_list(client, NULL, NULL, TR_LIST_MAX + 1, rows, &count, &next), TR_INVALID);
	CU_ASSERT_EQUAL(count, 0);
	close_client();
}

/* What a row tells is what tr_task_status() tells, from both sources, also a result that the board has no room for. */
static void test_rows(void)
{
	static char large[3000] = "\"";
	struct tr_task_status status;

	open_client();
	memset(large + 1, 'r', sizeof large - 3);
	large[sizeof large - 2] = '"';
	const struct tr_id id = add_task("h", NULL);
	dispatch();
	struct task *task = task_of(id);
	task->result = strdup(large);
	end_task(id, EV_SUCCEEDED);
	settle();
	for (int journal_only = 0; journal_only < 2; journal_only++) {
		CU_ASSERT_EQUAL_FATAL(list(NULL, NULL, 10), 1);
		CU_ASSERT_EQUAL(tr_task_status(client, &id, &status), TR_OK);
		EXPECT_TEXT(rows[0].result ? rows[0].result : "none", large);
		EXPECT_TEXT(status.result, large);
		EXPECT_ID(rows[0].id, status.id);
		EXPECT_TEXT(rows[0].handler, status.handler);
		EXPECT_TEXT(rows[0].queue, status.queue);
		CU_ASSERT_EQUAL(rows[0].state, status.state);
		CU_ASSERT_EQUAL(rows[0].attempt, status.attempt);
		CU_ASSERT_EQUAL(rows[0].max_attempts, status.max_attempts);
		CU_ASSERT_EQUAL(rows[0].created_ms, status.created_ms);
		CU_ASSERT_EQUAL(rows[0].due_ms, status.due_ms);
		CU_ASSERT_EQUAL(rows[0].started_ms, status.started_ms);
		CU_ASSERT_EQUAL(rows[0].ended_ms, status.ended_ms);
		CU_ASSERT_TRUE(is_none(&next));
		clear(1);
		tr_task_status_clear(&status);
		world_kill();
		world_start();
	}
	close_client();
}

/* Tasks without a row are on the board only; without a journal nothing else is there. */
static void test_board_only(void)
{
	const struct tr_open_options nowhere = { .journal = "/nonexistent/journal.db" };

	open_client();
	world.config.history = HISTORY_NONE;
	end_task((dispatch(), add_task("first", NULL), intake_turn(&world.dispatcher), world.dispatcher.tasks->id), EV_SUCCEEDED);
	settle();
	add_task("second", NULL);
	intake_turn(&world.dispatcher);
	tasks_show_all(&world.dispatcher);
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "0");
	EXPECT_TEXT(all_of(NULL, 1), "second/queued first/succeeded");
	tr_close(&client);
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, NULL, NULL), TR_OK);
	EXPECT_TEXT(all_of(NULL, 5), "second/queued first/succeeded");
	tr_close(&client);
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &nowhere, NULL), TR_OK);
	EXPECT_TEXT(all_of(NULL, 5), "second/queued first/succeeded");
	close_client();
}

/* More on the board than a page holds, in the order of a hash. */
static void test_many_on_the_board(void)
{
	enum { MANY = 600 };
	struct tr_id ids[MANY], before;
	size_t got = 0;

	open_client();
	world.config.queue_window = 10000;
	publish_row(ids, MANY);
	settle();
	memset(&before, 0xff, sizeof before);
	for (size_t limit = 1; got < MANY; limit = limit * 3 % 501) {
		size_t count = list(NULL, &before, limit);
		CU_ASSERT_TRUE_FATAL(count > 0 && got + count <= MANY);
		for (size_t i = 0; i < count; i++)
			EXPECT_ID(rows[i].id, ids[MANY - 1 - got - i]);
		clear(count);
		got += count;
		before = next;
	}
	CU_ASSERT_EQUAL(list(NULL, &before, 1), 0);
	CU_ASSERT_TRUE(is_none(&next));
	close_client();
}

/* ---- many rows --------------------------------------------------------------------------- */

#define ROWS 200000

/* What SQLite did for the calls since `steps` was set to 0: instructions, and whether a plan was bad. */
static int64_t steps;
static unsigned statements, bad_plans;

static void explain(sqlite3_stmt *done)
{
	char *expanded = sqlite3_expanded_sql(done), *query = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", expanded);
	sqlite3_stmt *plan;

	CU_ASSERT_EQUAL(sqlite3_prepare_v2(sqlite3_db_handle(done), query, -1, &plan, NULL), SQLITE_OK);
	while (sqlite3_step(plan) == SQLITE_ROW) {
		const char *detail = (const char *)sqlite3_column_text(plan, 3);
		/* A table is read from end to end only through an index of few rows. */
		bool whole = strncmp(detail, "SCAN task", 9) == 0 && !strstr(detail, "INDEX task_waiting") &&
		    !strstr(detail, "INDEX task_blocked");
		bool sorts = strstr(detail, "TEMP B-TREE") && !strstr(sqlite3_sql(done), "task_waiting");
		if (whole || sorts) {
			fprintf(stderr, "\n%s: %s", sqlite3_sql(done), detail);
			bad_plans++;
		}
	}
	sqlite3_finalize(plan);
	sqlite3_free(query);
	sqlite3_free(expanded);
}

static int on_statement(unsigned what, void *context, void *statement, void *ns)
{
	(void)what, (void)context, (void)ns;
	if (strncmp(sqlite3_sql(statement), "EXPLAIN", 7) == 0 || strncmp(sqlite3_sql(statement), "PRAGMA", 6) == 0)
		return 0;
	steps += sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
	if (statements++ < 8)
		explain(statement);
	return 0;
}

static int trace_all(sqlite3 *connection, const char **error, const void *api)
{
	(void)error, (void)api;
	return sqlite3_trace_v2(connection, SQLITE_TRACE_PROFILE, on_statement, NULL);
}

/* Of 200,000 rows one in 20,000 is dead, one runs, one waits; all others succeeded, or wait, too. */
static void make_many(bool others_wait)
{
	open_client();
	sql("WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
	    "INSERT INTO task (id, state, blocked, attempt, due_ms, ended_ms, handler, queue, on_failure, trace, flags, place, places, "
	    "max_attempts, backoff_base_ms, backoff_cap_ms, created_ns, args_bytes, args) "
	    "SELECT CAST(char(1) || printf('%%015d', i) AS BLOB), CASE i %% 20000 WHEN 7 THEN 5 WHEN 8 THEN 2 WHEN 9 THEN 1 ELSE %d END, "
	    "0, 1, i, i, CASE i WHEN 5 THEN 'rare' ELSE 'h' END, 'q', '', '', 0, 0, 1, 5, 1000, 600000, 1, 2, '{}' FROM n", ROWS - 1, others_wait ? 1 : 4);
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "200000");
	sqlite3_auto_extension((void (*)(void))trace_all);
}

static void done_with_many(void)
{
	sqlite3_reset_auto_extension();
	CU_ASSERT_EQUAL(bad_plans, 0);
	close_client();
}

static void start_counting(void)
{
	steps = 0;
	statements = 0;
}

static void test_rare_states(void)
{
	static const unsigned states[] = { 1u << TR_DEAD, 1u << TR_RUNNING, 1u << TR_QUEUED,
		1u << TR_SCHEDULED | 1u << TR_QUEUED | 1u << TR_RETRYING, 1u << TR_DEAD | 1u << TR_RUNNING | 1u << TR_QUEUED, 1u << TR_EXPIRED };
	static const unsigned expected[] = { 10, 10, 10, 10, 30, 0 };

	make_many(false);
	for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
		const struct tr_task_filter filter = { .states = states[i] }, queue = { .states = states[i], .queue = "q" };
		start_counting();
		size_t count = list(&filter, NULL, 100);
		CU_ASSERT_EQUAL(count, expected[i]);
		CU_ASSERT_TRUE(is_none(&next));
		clear(count);
		count = list(&queue, NULL, 100);
		CU_ASSERT_EQUAL(count, expected[i]);
		clear(count);
		CU_ASSERT_TRUE(steps > 0 && steps < 10000);
		if (steps >= 10000)
			fprintf(stderr, "\n%#x: %lld steps", states[i], (long long)steps);
	}
	done_with_many();
}

/* A page out of the middle costs what the first one does; nothing is sorted or skipped. */
static void test_pages_of_many(void)
{
	struct tr_id before = { "\1" "000000000100000" };

	make_many(false);
	start_counting();
	size_t count = list(NULL, NULL, 100);
	CU_ASSERT_EQUAL(count, 100);
	clear(count);
	int64_t first = steps;
	CU_ASSERT_TRUE(first > 0 && first < 10000);
	start_counting();
	count = list(NULL, &before, 100);
	CU_ASSERT_EQUAL(memcmp(rows[0].id.bytes, "\1" "000000000099999", 16), 0);
	clear(count);
	CU_ASSERT_TRUE(steps < 2 * first);
	done_with_many();
}

/*
 * What is in no index is looked for 20,000 rows at a time: pages are empty until it is found. The oldest
 * match of all is on the board only, and must not come before those that nobody has looked at yet.
 */
static void test_rare_handler(void)
{
	const struct tr_task_filter filter = { .handler = "rare" };
	const struct tr_id oldest = { "\1" "00000000000000!" };
	struct tr_id before, found_last = { { 0 } };
	unsigned pages = 0, found = 0;
	struct record record = record_for("rare");

	make_many(false);
	record.id = oldest;
	publish_record(&record);
	intake_turn(&world.dispatcher);
	tasks_show_all(&world.dispatcher);
	memset(&before, 0xff, sizeof before);
	do {
		start_counting();
		size_t count = list(&filter, &before, 10);
		CU_ASSERT_TRUE(steps < 20000 * 30);
		found += (unsigned)count;
		if (count > 0)
			found_last = rows[count - 1].id;
		clear(count);
		before = next;
		pages++;
	} while (!is_none(&next) && pages < 100);
	CU_ASSERT_EQUAL(found, 2);
	EXPECT_ID(found_last, oldest);
	CU_ASSERT_TRUE(pages == 10 || pages == 11);
	done_with_many();
}

/* So many wait that they are not sorted: the walk finds them. */
static void test_many_waiting(void)
{
	const struct tr_task_filter waiting = { .states = 1u << TR_QUEUED }, dead_too = { .states = 1u << TR_QUEUED | 1u << TR_DEAD };

	make_many(true);
	start_counting();
	size_t count = list(&waiting, NULL, 500);
	CU_ASSERT_EQUAL(count, 500);
	CU_ASSERT_TRUE(steps < 300000);
	clear(count);
	count = list(&dead_too, NULL, 500);
	CU_ASSERT_EQUAL(count, 500);
	clear(count);
	done_with_many();
}

/* ---- threads ----------------------------------------------------------------------------- */

static _Atomic bool enough;

static void *lister(void *context)
{
	struct tr_task_status *mine = calloc(50, sizeof *mine);
	struct tr_id before, after;
	size_t count;

	memset(&before, 0xff, sizeof before);
	while (!enough) {
		if (tr_tasks_list(client, NULL, &before, 50, mine, &count, &after) != TR_OK)
			*(_Atomic unsigned *)context += 1;
		for (size_t i = 0; i < count; i++)
			tr_task_status_clear(&mine[i]);
		before = after;
		if (is_none(&before))
			memset(&before, 0xff, sizeof before);
	}
	free(mine);
	return NULL;
}

/* Tasks come and end while threads list them. */
static void test_threads(void)
{
	pthread_t threads[3];
	_Atomic unsigned failed = 0;

	open_client();
	enough = false;
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, lister, &failed), 0);
	for (int i = 0; i < 60; i++) {
		publish_one("h");
		settle();
		run_next(i % 2 ? EV_SUCCEEDED : EV_BURY);
	}
	settle();
	enough = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT_EQUAL(failed, 0);
	CU_ASSERT_EQUAL(list(NULL, NULL, 500), 60);
	clear(60);
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "merged", test_merged },
		{ "filters", test_filters },
		{ "refused", test_refused },
		{ "rows", test_rows },
		{ "board only", test_board_only },
		{ "many on the board", test_many_on_the_board },
		{ "rare states", test_rare_states },
		{ "pages of many", test_pages_of_many },
		{ "a rare handler", test_rare_handler },
		{ "many waiting", test_many_waiting },
		{ "threads", test_threads },
	};
	return RUN_DISPATCH_TESTS("list", tests);
}
