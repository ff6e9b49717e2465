/*
 * What is written when: nothing is retired before it is in the journal, a commit that fails is tried
 * again and holds everything back meanwhile, the durable position follows the disk and not the
 * commit, and each kind of history keeps its rows and no others.
 */
#include "tests/unit/dispatch_fixture.h"

#include <sys/resource.h>

static uint64_t unretired(void)
{
	return ring_unretired(world.dispatcher.ring);
}

static uint64_t durable(void)
{
	return atomic_load(&world.dispatcher.board->durable);
}

/* One commit, from its handing in to its answer. */
static void commit_now(void)
{
	pass(STEP_MS);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
}

/* What an earlier dispatcher committed last may not be on disk, so the first commit syncs. */
static void first_commit(void)
{
	commit_now();
	CU_ASSERT_EQUAL(stat_of(STAT_journal_commits), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_fsyncs), 1);
}

/* ---- when -------------------------------------------------------------------------------- */

static void test_nothing_retired_before_the_commit(void)
{
	first_commit();
	publish_one("a");
	publish_one("b");
	publish_one("c");
	CU_ASSERT_EQUAL(intake_turn(&world.dispatcher), 3);
	CU_ASSERT_EQUAL(unretired(), 3);
	CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), world.dispatcher.now_ms + 5);
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "0");
	pass(STEP_MS);
	CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), INT64_MAX); /* it is on its way */
	await_journal();
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "3"); /* there, but nobody has told us */
	CU_ASSERT_EQUAL(unretired(), 3);
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(unretired(), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_rows), 3);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_commits), 2);
}

/* A task younger than 20 ms may stay out; what lies before it in the ring is retired all the same. */
static void test_young_tasks(void)
{
	first_commit();
	publish_one("old");
	intake_turn(&world.dispatcher);
	pass(15);
	recorder_tick(&world.dispatcher);
	const struct tr_id young = publish_one("young");
	intake_turn(&world.dispatcher);
	pass(5);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	EXPECT_TEXT(sql("SELECT group_concat(handler) FROM task"), "old");
	CU_ASSERT_EQUAL(unretired(), 1);
	pass(15);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	EXPECT_TEXT(journaled(young), "queued");
	CU_ASSERT_EQUAL(unretired(), 0);
}

static void test_ended_before_it_was_written(void)
{
	first_commit();
	const struct tr_id id = publish_one("quick");
	intake_turn(&world.dispatcher);
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	pass(5);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	EXPECT_TEXT(sql("SELECT state, attempt FROM task"), "4|1");
	CU_ASSERT_EQUAL(stat_of(STAT_journal_rows), 1);
	CU_ASSERT_EQUAL(in_memory(), 0);
}

/* Batches of which nothing is left to write are retired without a commit. */
static void test_nothing_to_write(void)
{
	first_commit();
	world.config.history = HISTORY_NONE;
	publish_one("quick");
	intake_turn(&world.dispatcher);
	run_next(EV_SUCCEEDED);
	pass(5);
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(unretired(), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_commits), 1);
	CU_ASSERT_EQUAL(durable(), 1); /* nothing of it could be lost any more */
}

/* A cancellation stays in the ring until its task was found and the end written. */
static void test_cancellation_is_not_lost(void)
{
	struct record later = record_for("h");

	world.config.queue_window = 1;
	for (int i = 0; i < 4; i++) {
		later.run_at_ms = world.dispatcher.now_ms + 1000000 + i * 1000;
		publish(&later, 1);
	}
	later.run_at_ms += 1000;
	const struct tr_id id = publish(&later, 1);
	settle();
	CU_ASSERT_PTR_NULL(task_of(id));
	world.gated = true;
	publish_cancel(id);
	intake_turn(&world.dispatcher);
	sem_wait(&world.at_gate); /* found, but we do not know */
	pass(STEP_MS);
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(unretired(), 1);
	world.gated = false;
	sem_post(&world.gate);
	window_poll(&world.dispatcher);
	CU_ASSERT_EQUAL(unretired(), 1);
	commit_now();
	CU_ASSERT_EQUAL(unretired(), 0);
	EXPECT_TEXT(journaled(id), "cancelled");
}

/* Somebody puts the clock back by an hour: what gathers is written all the same. */
static void test_the_clock_goes_back(void)
{
	first_commit();
	publish_one("before");
	intake_turn(&world.dispatcher);
	recorder_tick(&world.dispatcher);
	pass(-3600000);
	publish_one("after");
	intake_turn(&world.dispatcher);
	recorder_tick(&world.dispatcher);
	pass(5);
	recorder_tick(&world.dispatcher);
	await_journal();
	EXPECT_TEXT(sql("SELECT group_concat(handler) FROM task"), "before");
	pass(20);
	recorder_tick(&world.dispatcher);
	settle();
	CU_ASSERT_EQUAL(unretired(), 0);
	pass(1000);
	settle();
	CU_ASSERT_EQUAL(durable(), 2);
}

/* ---- durability -------------------------------------------------------------------------- */

static void test_durable_only_after_the_sync(void)
{
	first_commit();
	publish_one("a");
	intake_turn(&world.dispatcher);
	commit_now();
	CU_ASSERT_EQUAL(unretired(), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_fsyncs), 1);
	CU_ASSERT_EQUAL(durable(), 0);
	/* The interval was begun by the sync of the first commit, two steps ago. */
	CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), START_MS + STEP_MS + 1000);
	pass(1000 - STEP_MS - 1);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(durable(), 0);
	pass(1);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(durable(), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_fsyncs), 2);
	CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), INT64_MAX);
	CU_ASSERT_TRUE(recorder_is_clean(&world.dispatcher));
}

static void test_disk_does_not_wait(void)
{
	struct record record = record_for("a");

	first_commit();
	publish_one("before");
	record.flags = RECORD_DISK;
	publish(&record, 1);
	intake_turn(&world.dispatcher);
	recorder_tick(&world.dispatcher); /* at once, the young one before it as well */
	await_journal();
	CU_ASSERT_EQUAL(durable(), 0);
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(durable(), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_commits), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_fsyncs), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_rows), 2);
	/* Nobody waits for its end: that is written in its time, and not synced. */
	run_next(EV_SUCCEEDED);
	run_next(EV_SUCCEEDED);
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_commits), 2);
	pass(5);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_commits), 3);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_fsyncs), 2);
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE state = 4"), "2");
}

static void test_flush(void)
{
	first_commit();
	publish_one("a");
	intake_turn(&world.dispatcher);
	CU_ASSERT_FALSE(recorder_is_clean(&world.dispatcher));
	recorder_flush(&world.dispatcher);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_TRUE(recorder_is_clean(&world.dispatcher));
	CU_ASSERT_EQUAL(durable(), 1);
}

/* ---- failing ----------------------------------------------------------------------------- */

/* Files do not grow any more: every write to the journal fails. */
static struct rlimit no_limit;
static void disk_is_full(bool full)
{
	const struct rlimit none = { 0, no_limit.rlim_max };

	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, full ? &none : &no_limit), 0);
}

static void test_failing_for_minutes(void)
{
	static const int64_t pauses[] = { 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000 };
	struct tr_id ids[3];

	first_commit();
	for (unsigned i = 0; i < 3; i++) {
		ids[i] = publish_one("a");
		pass(1);
	}
	intake_turn(&world.dispatcher);
	pass(STEP_MS);
	disk_is_full(true);
	recorder_tick(&world.dispatcher);
	for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
		await_journal();
		CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), world.dispatcher.now_ms + pauses[i]);
		CU_ASSERT_EQUAL(stat_of(STAT_journal_errors), i + 1);
		CU_ASSERT_EQUAL(stat_of(STAT_journal_failing), 1);
		CU_ASSERT_EQUAL(unretired(), 3);
		CU_ASSERT_EQUAL(durable(), 0);
		pass(pauses[i] - 1);
		CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), world.dispatcher.now_ms + 1);
		if (i == 2) { /* meanwhile tasks run and end */
			EXPECT_ID(run_next(EV_SUCCEEDED), ids[0]);
			EXPECT_ID(run_next(EV_BURY), ids[1]);
		}
		pass(1);
		CU_ASSERT_EQUAL(recorder_tick(&world.dispatcher), INT64_MAX);
	}
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(in_memory(), 3);
	disk_is_full(false);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_journal_errors), 11);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_failing), 0);
	CU_ASSERT_EQUAL(unretired(), 0);
	CU_ASSERT_EQUAL(in_memory(), 1);
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM (SELECT state FROM task ORDER BY id)"), "4,5,1");
	EXPECT_TEXT(sql("PRAGMA integrity_check"), "ok");
	pass(2000);
	settle();
	CU_ASSERT_EQUAL(durable(), 3);
}

/* Another program holds the lock, for longer than the journal waits for it. */
static void test_somebody_holds_the_lock(void)
{
	sqlite3 *other;

	first_commit();
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(world.journal, &other), SQLITE_OK);
	CU_ASSERT_EQUAL_FATAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	const struct tr_id id = publish_one("a");
	intake_turn(&world.dispatcher);
	commit_now();
	CU_ASSERT_EQUAL(stat_of(STAT_journal_errors), 1);
	CU_ASSERT_EQUAL(unretired(), 1);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	settle();
	EXPECT_TEXT(journaled(id), "queued");
	CU_ASSERT_EQUAL(stat_of(STAT_journal_errors), 1);
	CU_ASSERT_EQUAL(unretired(), 0);
}

/* Killed while it could not write: all is still in the ring. */
static void test_killed_while_failing(void)
{
	publish_one("a");
	publish_one("b");
	intake_turn(&world.dispatcher);
	pass(STEP_MS);
	disk_is_full(true);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_journal_errors), 1);
	world_kill();
	disk_is_full(false);
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "0");
	world_start();
	CU_ASSERT_EQUAL(unretired(), 2);
	settle();
	EXPECT_TEXT(sql("SELECT count(*), sum(state = 1) FROM task"), "2|2");
	CU_ASSERT_EQUAL(stat_of(STAT_records_known), 0);
}

/* ---- history ----------------------------------------------------------------------------- */

/* An attempt's end by a failure, and the default's verdict. */
static void fail(struct task *task)
{
	verdict_failed(&world.dispatcher, task, TR_FAILED_RETURNED, false, "no luck");
	scheduler_remove(task);
	verdict_apply(&world.dispatcher, task, TR_VERDICT_RETRY, 0, NULL, 0);
}

/*
 * Five tasks: one succeeds before the first commit, one after it, one fails once and succeeds within
 * one commit, one dies, one is cancelled.
 */
static void make_history(enum config_history history)
{
	world.config.history = history;
	world.config.queue_window = 64;
	publish_one("cancelled");
	intake_turn(&world.dispatcher);
	tasks_cancel(&world.dispatcher, scheduler_next(the_pool()), "not needed");
	publish_one("quick");
	intake_turn(&world.dispatcher);
	struct task *quick = start_next();
	recorder_attempt(&world.dispatcher, quick, "succeeded", "");
	tasks_move(&world.dispatcher, quick, EV_SUCCEEDED);
	publish_one("twice");
	intake_turn(&world.dispatcher);
	fail(start_next());
	struct task *again = start_next();
	recorder_attempt(&world.dispatcher, again, "succeeded", "");
	tasks_move(&world.dispatcher, again, EV_SUCCEEDED);
	publish_one("slow");
	intake_turn(&world.dispatcher);
	struct task *slow = start_next();
	publish_one("dies");
	intake_turn(&world.dispatcher);
	struct task *dies = start_next();
	settle();
	recorder_attempt(&world.dispatcher, slow, "succeeded", "");
	tasks_move(&world.dispatcher, slow, EV_SUCCEEDED);
	verdict_failed(&world.dispatcher, dies, TR_FAILED_RETURNED, true, "no luck");
	scheduler_remove(dies);
	pass(700); /* the callback takes its time */
	verdict_apply(&world.dispatcher, dies, TR_VERDICT_BURY, 0, NULL, 0);
	settle();
	CU_ASSERT_EQUAL(in_memory(), 0);
	CU_ASSERT_EQUAL(unretired(), 0);
}

static const char *rows(void)
{
	return sql("SELECT handler, state FROM task ORDER BY handler");
}

static const char *attempts(void)
{
	return sql("SELECT t.handler, a.attempt, a.outcome, a.verdict FROM attempt a LEFT JOIN task t ON t.id = a.task "
	    "ORDER BY t.handler, a.attempt");
}

static void test_history_all(void)
{
	make_history(HISTORY_ALL);
	EXPECT_TEXT(rows(), "cancelled|6 dies|5 quick|4 slow|4 twice|4");
	EXPECT_TEXT(attempts(), "dies|1|failed|bury quick|1|succeeded| slow|1|succeeded| "
	    "twice|1|failed|retry twice|2|succeeded|");
	/* The attempt ended before its callback was asked. */
	EXPECT_TEXT(sql("SELECT t.ended_ms - a.ended_ms FROM task t JOIN attempt a ON a.task = t.id WHERE t.handler = 'dies'"),
	    "700");
}

static void test_history_failed(void)
{
	make_history(HISTORY_FAILED);
	EXPECT_TEXT(rows(), "cancelled|6 dies|5");
	EXPECT_TEXT(attempts(), "dies|1|failed|bury"); /* and no attempts without their task */
}

static void test_history_none(void)
{
	make_history(HISTORY_NONE);
	EXPECT_TEXT(rows(), "");
	EXPECT_TEXT(attempts(), "");
	CU_ASSERT_EQUAL(stat_of(STAT_journal_attempts), 0);
}

/* The spool file goes when the task's end is in the journal, not before. */
static void test_spool_file(void)
{
	char path[200], text[TR_ID_TEXT_SIZE];
	struct record record = record_for("large");

	record.flags = RECORD_SPOOLED;
	record.args = span("");
	record.args_bytes = 20000;
	const struct tr_id id = publish(&record, 1);
	snprintf(path, sizeof path, "%s/%s", world.spool, tr_id_format(&id, text));
	fclose(fopen(path, "w"));
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	pass(STEP_MS);
	recorder_tick(&world.dispatcher);
	await_journal();
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	recorder_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "nothing is retired before the commit", test_nothing_retired_before_the_commit },
		{ "young tasks", test_young_tasks },
		{ "ended before it was written", test_ended_before_it_was_written },
		{ "nothing to write", test_nothing_to_write },
		{ "a cancellation is not lost", test_cancellation_is_not_lost },
		{ "the clock goes back", test_the_clock_goes_back },
		{ "durable only after the sync", test_durable_only_after_the_sync },
		{ "durability=disk does not wait", test_disk_does_not_wait },
		{ "flush", test_flush },
		{ "failing for minutes", test_failing_for_minutes },
		{ "somebody holds the lock", test_somebody_holds_the_lock },
		{ "killed while failing", test_killed_while_failing },
		{ "history=all", test_history_all },
		{ "history=failed", test_history_failed },
		{ "history=none", test_history_none },
		{ "spool file", test_spool_file },
	};
	signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &no_limit) != 0)
		return 1;
	return RUN_DISPATCH_TESTS("recorder", tests);
}
