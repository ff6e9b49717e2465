/*
 * Log lines on their way into the journal and out again: with the first row of their task or with the next
 * commit, each once, in order, bounded, and gone with the task.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

static struct tr_log_line *lines;
static size_t count;
static uint64_t dropped;

static void log_line(int level, const char *text)
{
	say(&one, 0, MESSAGE_LOG, one.head.serial, (uint8_t)level, 0, text, strlen(text));
	outcome_turn(&world.dispatcher);
}

/* "attempt:text" of each line, parted by spaces. */
static const char *log_of(struct tr_id id)
{
	static char all[4096];
	size_t used = 0;

	free(lines);
	all[0] = '\0';
	CU_ASSERT_EQUAL(tr_task_log(client, &id, &lines, &count, &dropped), TR_OK);
	for (size_t i = 0; i < count && used < sizeof all; i++)
		used += (size_t)snprintf(all + used, sizeof all - used, "%s%u:%s", i ? " " : "", lines[i].attempt, lines[i].text);
	return all;
}

static struct tr_id start(const char *handler)
{
	open_client();
	return run_handler(handler)->id;
}

static void finish(void)
{
	player_dies(&one, EXIT(0), false);
	free(lines);
	lines = NULL;
	close_client();
}

/* The journal's thread gets to write what is there, and the answer is taken. */
static void commit(void)
{
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
}

static void test_young(void)
{
	char longer[200];

	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	const struct tr_id id = start("h");
	log_line(TR_INFO, "first");
	log_line(TR_ERROR, longer);
	pass(10);
	commit();
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "0"); /* it is left out, */
	EXPECT_TEXT(sql("SELECT count(*) FROM task_log"), "0"); /* and its lines with it */
	log_of(id);
	CU_ASSERT_EQUAL(count, 2);
	EXPECT_TEXT(lines[1].text, longer);
	CU_ASSERT_EQUAL(lines[1].level, TR_ERROR);
	pass(STEP_MS);
	commit();
	EXPECT_TEXT(sql("SELECT attempt, seq, level, length(text) FROM task_log ORDER BY seq"), "1|1|6|5 1|2|3|199");
	log_of(id);
	CU_ASSERT_EQUAL(count, 2);
	EXPECT_TEXT(lines[1].text, longer);
	CU_ASSERT_EQUAL(lines[0].at_ms, lines[1].at_ms);
	CU_ASSERT_EQUAL(dropped, 0);
	log_line(TR_DEBUG, "third"); /* the board's alone, then the journal's, too */
	EXPECT_TEXT(log_of(id) + strlen(log_of(id)) - 8, " 1:third");
	CU_ASSERT_EQUAL(count, 3);
	pass(STEP_MS);
	commit();
	EXPECT_TEXT(sql("SELECT text, at_ms - (SELECT min(at_ms) FROM task_log) FROM task_log WHERE seq = 3"), "third|35");
	log_of(id);
	CU_ASSERT_EQUAL(count, 3);
	end(&one, 0, TR_SUCCESS, 0, "");
	settle();
	player_dies(&one, EXIT(0), false);
	world_kill();
	world_start(); /* the board forgets what it does not show */
	log_of(id);
	CU_ASSERT_EQUAL(count, 3);
	start_worker();
	finish();
}

static void test_no_lines_and_no_task(void)
{
	const struct tr_id id = start("h"), unknown = id_make(&world.dispatcher.ids, world.dispatcher.now_ns);

	EXPECT_TEXT(log_of(id), "");
	CU_ASSERT_PTR_NULL(lines);
	CU_ASSERT_EQUAL(tr_task_log(client, &unknown, &lines, &count, &dropped), TR_NOT_FOUND);
	CU_ASSERT_EQUAL(count, 0);
	finish();
}

/* Attempts and callbacks: a failure, its callback's word, and the attempt after it. */
static void test_attempts(void)
{
	const struct tr_id id = start("h");

	log_line(TR_INFO, "a");
	end(&one, 0, TR_FAILURE, 0, "no");
	CU_ASSERT_EQUAL(give(), 1);
	claim(&one, 0);
	say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
	log_line(TR_WARNING, "b");
	answer(&one, TR_VERDICT_RETRY, 1000, "", 0);
	settle();
	pass(1000);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	log_line(TR_INFO, "c");
	settle();
	EXPECT_TEXT(sql("SELECT attempt, seq, text FROM task_log ORDER BY attempt, seq"), "1|1|a 1|2|b 2|1|c");
	EXPECT_TEXT(log_of(id), "1:a 1:b 2:c");
	end(&one, 0, TR_SUCCESS, 0, "");
	finish();
}

/* A task that is put off goes on with the same attempt, also when it has left memory in between. */
static void test_put_off(void)
{
	const struct tr_id id = start("h");

	for (int i = 0; i < 3; i++) {
		log_line(TR_INFO, i == 0 ? "a" : i == 1 ? "b" : "c");
		end(&one, 0, TR_SNOOZE, 1000, "");
		settle();
		if (i == 1) {
			player_dies(&one, EXIT(0), false);
			world_kill();
			world_start();
			one = player_start(0, 1);
			player_ready(&one);
		}
		pass(2000);
		settle();
		CU_ASSERT_EQUAL(give(), 1);
		CU_ASSERT_EQUAL(begin(&one, 0)->attempt, 1);
	}
	settle();
	EXPECT_TEXT(sql("SELECT seq, text FROM task_log ORDER BY seq"), "1|a 2|b 3|c");
	EXPECT_TEXT(log_of(id), "1:a 1:b 1:c");
	CU_ASSERT_EQUAL(dropped, 0);
	end(&one, 0, TR_SUCCESS, 0, "");
	finish();
}

/* Of an attempt the first 200 are kept, the others counted; of the next one again. */
static void test_bounded(void)
{
	const struct tr_id id = start("h");

	for (int i = 0; i < 250; i++)
		log_line(TR_INFO, "line");
	settle();
	log_of(id);
	CU_ASSERT_EQUAL(count, 200);
	CU_ASSERT_EQUAL(dropped, 50); /* known from the board */
	CU_ASSERT_EQUAL(stat_of(STAT_log_lines), 250);
	CU_ASSERT_EQUAL(stat_of(STAT_log_dropped), 50);
	player_dies(&one, EXIT(3), false);
	settle();
	EXPECT_TEXT(sql("SELECT count(text), max(seq), count(*) FROM task_log"), "200|250|201");
	one = player_start(0, 1);
	player_ready(&one);
	CU_ASSERT_EQUAL(give(), 1);
	claim(&one, 0);
	say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
	log_line(TR_INFO, "the callback's is beyond it, too");
	answer(&one, TR_VERDICT_RETRY, 0, "", 0);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	log_line(TR_INFO, "again");
	settle();
	char name[80];
	snprintf(name, sizeof name, "/%s.board", world.instance);
	shm_unlink(name); /* without the board */
	tr_close(&client);
	const struct tr_open_options options = { .journal = world.journal };
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &options, NULL), TR_OK);
	log_of(id);
	CU_ASSERT_EQUAL(count, 201);
	CU_ASSERT_EQUAL(dropped, 51);
	EXPECT_TEXT(lines[200].text, "again");
	CU_ASSERT_EQUAL(lines[200].attempt, 2);
	end(&one, 0, TR_SUCCESS, 0, "");
	background_tasks_free(&batch);
	CU_ASSERT_EQUAL(background_tasks_new(&batch, client), TR_OK);
	finish();
}

/* More than is given in one call: the last ones. */
static void test_very_long(void)
{
	const struct tr_id id = start("h");

	settle();
	sql("WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 1399) INSERT INTO task_log "
	    "SELECT x'%s', 2 + i / 200, 1 + i %% 200, 5, 6, 'line ' || i FROM n", hex(id));
	log_of(id);
	CU_ASSERT_EQUAL(count, TR_LOG_SHOWN_MAX);
	CU_ASSERT_EQUAL(dropped, 400);
	EXPECT_TEXT(lines[0].text, "line 400");
	EXPECT_TEXT(lines[TR_LOG_SHOWN_MAX - 1].text, "line 1399");
	end(&one, 0, TR_SUCCESS, 0, "");
	finish();
}

/* Killed before the task had a row: it runs again, and the first run's lines are not the second's. */
static void test_run_again(void)
{
	const struct tr_id id = start("h");

	log_line(TR_INFO, "lost 1");
	log_line(TR_INFO, "lost 2");
	log_line(TR_INFO, "lost 3");
	mailbox_close(&one.mailbox);
	close(one.memory_fd);
	world_kill();
	world_start();
	start_worker();
	CU_ASSERT_EQUAL(give(), 1);
	CU_ASSERT_EQUAL(begin(&one, 0)->attempt, 1);
	log_line(TR_INFO, "a");
	log_line(TR_INFO, "b");
	EXPECT_TEXT(log_of(id), "1:a 1:b");
	settle();
	EXPECT_TEXT(log_of(id), "1:a 1:b");
	CU_ASSERT_EQUAL(dropped, 0);
	end(&one, 0, TR_SUCCESS, 0, "");
	finish();
}

/* A task that never gets a row leaves no line, and one whose row goes takes its lines along. */
static void test_not_journaled(void)
{
	open_client();
	world.config.history = HISTORY_FAILED;
	start_worker();
	for (int old = 0; old < 2; old++) {
		publish_one("h");
		CU_ASSERT_EQUAL(give(), 1);
		const struct tr_id id = begin(&one, 0)->id;
		log_line(TR_INFO, "gone");
		if (old)
			settle();
		EXPECT_TEXT(sql("SELECT count(*) FROM task_log"), old ? "1" : "0");
		end(&one, 0, TR_SUCCESS, 0, "");
		settle();
		EXPECT_TEXT(sql("SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM task_log)"), "0");
		EXPECT_TEXT(log_of(id), "1:gone"); /* the board's */
	}
	CU_ASSERT_EQUAL(world.dispatcher.line_bytes, 0);
	finish();
}

/* Lines that wait are bounded: with their tasks, and in the batch while the journal is busy. */
static void test_memory_is_bounded(void)
{
	enum { TASKS = 60, EACH = 200 };
	char text[TR_LOG_LINE_MAX + 1];
	struct tr_id ids[TASKS];
	uint64_t kept = 0, missing = 0;

	open_client();
	world.config.queue_window = 1000;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (int i = 0; i < TASKS; i++)
		ids[i] = publish_one("h");
	intake_turn(&world.dispatcher);
	for (int round = 0; round < 2; round++) {
		uint64_t before = stat_of(STAT_log_dropped);
		for (int i = 0; i < TASKS; i++) {
			struct task *task = task_of(ids[i]);
			task->attempt = (uint32_t)round + 1;
			task->log_lines = 0;
			for (int line = 0; line < EACH; line++)
				lines_add(&world.dispatcher, task, TR_INFO, world.dispatcher.now_ms, text);
			lines_attempt_ended(&world.dispatcher, task);
		}
		CU_ASSERT_TRUE(world.dispatcher.line_bytes <= 8u << 20);
		CU_ASSERT_TRUE(stat_of(STAT_log_dropped) - before > 3000); /* 12 MB were said */
		CU_ASSERT_TRUE(stat_of(STAT_log_dropped) - before < 5000);
		settle();
		CU_ASSERT_EQUAL(world.dispatcher.line_bytes, 0);
		EXPECT_TEXT(sql("SELECT count(text) = %d - %d FROM task_log WHERE attempt = %d", TASKS * EACH,
		    (int)(stat_of(STAT_log_dropped) - before), round + 1), "1");
	}
	for (int i = 0; i < TASKS; i++) {
		log_of(ids[i]);
		kept += count;
		missing += dropped;
	}
	CU_ASSERT_EQUAL(kept, 2ull * TASKS * EACH - stat_of(STAT_log_dropped));
	CU_ASSERT_TRUE(missing <= stat_of(STAT_log_dropped));
	free(lines);
	lines = NULL;
	close_client();
}

/* Retention takes the lines with their tasks. */
static void test_retention(void)
{
	const struct tr_id id = start("h");

	log_line(TR_INFO, "old");
	end(&one, 0, TR_SUCCESS, 0, "");
	settle();
	EXPECT_TEXT(sql("SELECT count(*) FROM task_log"), "1");
	player_dies(&one, EXIT(0), false);
	sql("UPDATE task SET ended_ms = 1");
	world_kill();
	world.config.retention_age_ms = 1000;
	world_start();
	await_journal();
	await_journal(); /* retention is done between two requests */
	EXPECT_TEXT(sql("SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM task_log)"), "0");
	EXPECT_TEXT(journaled(id), "");
	start_worker();
	finish();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a young task", test_young },
		{ "no lines, no task", test_no_lines_and_no_task },
		{ "attempts", test_attempts },
		{ "put off", test_put_off },
		{ "bounded", test_bounded },
		{ "very long", test_very_long },
		{ "run again", test_run_again },
		{ "not journaled", test_not_journaled },
		{ "memory is bounded", test_memory_is_bounded },
		{ "retention", test_retention },
	};
	return RUN_DISPATCH_TESTS("task log", tests);
}
