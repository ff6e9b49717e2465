/*
 * Works that hold no thread: what becomes of them by what their worker says of them in any order, how
 * many a thread gets, and what a death, a time-out and the end of taskd do to many at once.
 */
#include "tests/unit/dispatch_worker.h"

#include "taskd/heartbeat.h"

static uint64_t serials[MAILBOX_PENDING_MAX];

/* `count` tasks of "h" more become pending, one ms apart. */
static void add_pending(struct tr_id *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		ids[i] = publish_one("h");
		CU_ASSERT_EQUAL_FATAL(give(), 1);
		serials[i] = begin_pending(&one, 0);
		EXPECT_ID(one.id, ids[i]);
		pass(1);
	}
	CU_ASSERT_EQUAL(one.worker->lanes[0].count, 0);
}

/* A worker with one thread and so many pending tasks. */
static void start_with_pending(struct tr_id *ids, unsigned count)
{
	start_worker();
	add_pending(ids, count);
	CU_ASSERT_EQUAL(one.worker->lanes[0].pending_count, count);
}

static struct lane *lane_of(uint32_t number)
{
	return &one.worker->lanes[number];
}

/* ---- in order and out of order ----------------------------------------------------------- */

static void test_any_order(void)
{
	struct board_entry entry;
	struct tr_id ids[3];

	start_with_pending(ids, 3);
	CU_ASSERT_EQUAL(stat_of(STAT_task_running), 3);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(shown(ids[i]), TR_RUNNING);
	/* A fourth runs; what is said of the others comes in between. */
	const struct tr_id fourth = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	const struct message_head progress = { .kind = MESSAGE_PROGRESS, .serial = serials[1], .number = 3,
		.number2 = 9, .text_bytes = 5 };
	mailbox_send(one.mailbox, 0, &progress, "third");
	say(&one, 0, MESSAGE_LOG, serials[0], TR_INFO, 0, "a line", 6);
	say(&one, 0, MESSAGE_RESULT, serials[1], 0, 0, "{\"n\":1}", 7);
	say(&one, 0, MESSAGE_ENDED, serials[1], TR_SUCCESS, 0, "", 0);
	CU_ASSERT_EQUAL(outcome_turn(&world.dispatcher), 4);
	CU_ASSERT_EQUAL(shown(ids[1]), TR_SUCCEEDED);
	CU_ASSERT_TRUE(board_find(world.dispatcher.board, &ids[1], &entry));
	CU_ASSERT_STRING_EQUAL(entry.progress_text, "third");
	CU_ASSERT_STRING_EQUAL(entry.result, "{\"n\":1}");
	CU_ASSERT_EQUAL(shown(fourth), TR_RUNNING);
	end(&one, 0, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(shown(fourth), TR_SUCCEEDED);
	say(&one, 0, MESSAGE_ENDED, serials[2], TR_SNOOZE, 60000, "", 0);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(shown(ids[2]), TR_SCHEDULED);
	end_pending(&one, 0, serials[0], TR_FAILURE, "no luck");
	CU_ASSERT_TRUE(task_of(ids[0])->deciding);
	CU_ASSERT_FALSE(workforce_has_work(lane_of(0)));
	CU_ASSERT_EQUAL(one.worker->tasks, 4);
	CU_ASSERT_EQUAL(world.kills, 0);
	EXPECT_TEXT(attempt_row(ids[1], 1), "succeeded|||0|0|0|1000");
	EXPECT_TEXT(attempt_row(ids[0], 1), "failed|no luck||0|0|0|1000");
	player_dies(&one, EXIT(0), false);
}

/* The delay that a peer asked for comes to the callback, and the default keeps to it when that has none. */
static void test_retry_after(void)
{
	struct tr_id id;

	start_with_pending(&id, 1);
	say(&one, 0, MESSAGE_ENDED, serials[0], TR_FAILURE, 90000, "busy", 4);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.kind, WORK_CALLBACK);
	CU_ASSERT_EQUAL(one.head.retry_after_ms, 90000);
	const struct message_head none = { .kind = MESSAGE_VERDICT, .serial = one.head.serial, .flag = 1 };
	mailbox_send(one.mailbox, 0, &none, "");
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(id)->state, TR_RETRYING);
	CU_ASSERT_TRUE(task_of(id)->due_ms >= world.dispatcher.now_ms + 90000);
	/* The next attempt's failure is its own. */
	pass(3600000);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	end(&one, 0, TR_FAILURE, 0, "again");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.retry_after_ms, 0);
	player_dies(&one, EXIT(0), false);
}

static void say_again(enum message_kind kind, uint64_t serial)
{
	say(&one, 0, kind, serial, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	CU_ASSERT_EQUAL(stat_of(STAT_worker_bad_messages), 1);
	player_dies(&one, SIGKILL, true);
	world.kills = 0;
	stat_set(world.dispatcher.board, STAT_worker_bad_messages, 0);
}

static void test_lies(void)
{
	struct tr_id ids[2];

	/* Of what has not begun. */
	start_worker();
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	claim(&one, 0);
	say_again(MESSAGE_PENDING, one.head.serial);
	CU_ASSERT_EQUAL(task_of(one.id)->state, TR_QUEUED); /* it had not begun: nothing is held against it */
	tasks_cancel(&world.dispatcher, task_of(one.id), "in the way");
	/* Twice; started again; ended twice. Both that were pending are held to have done it. */
	static const enum message_kind kinds[] = { MESSAGE_PENDING, MESSAGE_STARTED, MESSAGE_VERDICT };
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		start_with_pending(ids, 2);
		say_again(kinds[i], serials[0]);
		for (unsigned k = 0; k < 2; k++) {
			CU_ASSERT_EQUAL(task_of(ids[k])->failure_kind, TR_FAILED_CRASHED);
			EXPECT_TEXT(task_of(ids[k])->error, "the worker was killed: it speaks of work that it was not given");
			tasks_cancel(&world.dispatcher, task_of(ids[k]), "in the way");
		}
	}
	start_with_pending(ids, 1);
	end_pending(&one, 0, serials[0], TR_SUCCESS, "");
	CU_ASSERT_EQUAL(world.kills, 0);
	say_again(MESSAGE_ENDED, serials[0]);
	/* Of a callback. */
	run_handler("h");
	end(&one, 0, TR_FAILURE, 0, "no luck");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	say_again(MESSAGE_PENDING, one.head.serial);
}

/* ---- how many ---------------------------------------------------------------------------- */

/*
 * A thousand calls of five seconds each, on one thread: how long they take has nothing to do with how
 * long they hold the thread, so after the first one as many are given ahead as fit.
 */
static void test_a_thousand_on_one_thread(void)
{
	enum { COUNT = 1000 };
	const struct record record = record_for("h");
	unsigned begun = 0, rounds = 0;

	world.config.queue_window = 10000;
	start_worker();
	for (unsigned i = 0; i < COUNT / 100; i++)
		publish(&record, 100);
	while (begun < COUNT) {
		unsigned given = give();
		CU_ASSERT_FATAL(given > 0);
		rounds++;
		for (unsigned i = 0; i < given; i++) {
			begin(&one, 0);
			world.dispatcher.now_ns += 10000; /* the handler starts its call */
			say(&one, 0, MESSAGE_PENDING, one.head.serial, 0, 0, "", 0);
			outcome_turn(&world.dispatcher);
			serials[begun++] = one.head.serial;
		}
	}
	CU_ASSERT_TRUE(rounds <= 1 + COUNT / (400000 / 11000) + 1);
	CU_ASSERT_EQUAL(lane_of(0)->pending_count, COUNT);
	CU_ASSERT_EQUAL(world.dispatcher.handlers->run_ns, 10000);
	/* The ends of all of them say nothing about the pace. */
	pass(5000);
	for (unsigned i = 0; i < COUNT; i++)
		say(&one, 0, MESSAGE_ENDED, serials[(i * 7) % COUNT], TR_SUCCESS, 0, "", 0);
	while (outcome_turn(&world.dispatcher) > 0)
		continue;
	CU_ASSERT_EQUAL(stat_of(STAT_task_succeeded), COUNT);
	CU_ASSERT_EQUAL(lane_of(0)->pending_count, 0);
	CU_ASSERT_EQUAL(world.dispatcher.handlers->run_ns, 10000);
	CU_ASSERT_EQUAL(world.kills, 0);
	player_dies(&one, EXIT(0), false);
}

static void test_concurrency(void)
{
	struct tr_id ids[3];

	world.pool.concurrency = 3;
	CU_ASSERT_TRUE(workers_pools(&world.dispatcher, &world.config));
	start_with_pending(ids, 3);
	publish_one("h");
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 0);
	end_pending(&one, 0, serials[1], TR_SUCCESS, "");
	CU_ASSERT_EQUAL(give(), 1);
	CU_ASSERT_EQUAL(give(), 0);
	begin(&one, 0);
	CU_ASSERT_EQUAL(give(), 0); /* it may turn out to be pending */
	end(&one, 0, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(give(), 1);
	player_dies(&one, SIGKILL, true);
}

/* What holds a thread goes where nothing waits for that thread; what is pending spreads. */
static void test_idle_threads_first(void)
{
	one = player_start(0, 2);
	player_ready(&one);
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin_pending(&one, 1);
	for (unsigned i = 0; i < 3; i++) {
		publish_one("h");
		CU_ASSERT_EQUAL(give(), 1);
		CU_ASSERT_EQUAL(lane_of(0)->count, 1);
		begin(&one, 0);
		end(&one, 0, TR_SUCCESS, 0, "");
	}
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin_pending(&one, 0);
	for (uint32_t i = 0; i < 4; i++) {
		publish_one("h");
		CU_ASSERT_EQUAL(give(), 1);
		begin_pending(&one, lane_of(0)->count ? 0 : 1);
	}
	CU_ASSERT_EQUAL(lane_of(0)->pending_count, 3);
	CU_ASSERT_EQUAL(lane_of(1)->pending_count, 3);
	player_dies(&one, SIGKILL, true);
}

/* ---- ends of workers --------------------------------------------------------------------- */

/* Nobody knows whose callback it was. */
static void test_crash(void)
{
	struct tr_id ids[3];

	start_with_pending(ids, 3);
	const struct tr_id running = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	const struct tr_id given = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	say(&one, 0, MESSAGE_ENDED, serials[1], TR_SUCCESS, 0, "", 0); /* its last words */
	player_dies(&one, SIGSEGV, false);
	CU_ASSERT_EQUAL(task_of(ids[1])->state, TR_SUCCEEDED);
	CU_ASSERT_EQUAL(task_of(given)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(task_of(given)->attempt, 0);
	const struct tr_id failed[] = { ids[0], ids[2], running };
	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(task_of(failed[i])->deciding);
		EXPECT_TEXT(attempt_row(failed[i], 1), "crashed|the worker was ended by signal 11 (Segmentation fault), "
		    "peak memory 4321 kB; it ran 2 other tasks||0|11|4321|1000");
	}
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_crashed), 3);
}

static void test_killed(void)
{
	struct tr_id ids[2];

	start_with_pending(ids, 2);
	player_dies(&one, SIGKILL, false);
	for (size_t i = 0; i < 2; i++)
		EXPECT_TEXT(attempt_row(ids[i], 1),
		    "killed|the worker was ended by signal 9 (Killed), peak memory 4321 kB; it ran 1 other task||0|9|4321|1000");
}

/* One is past its time: the process is killed, and the others have not failed. */
static void test_timeout(void)
{
	struct record record = record_for("late");
	struct tr_id ids[2];

	start_worker();
	record.hard_timeout_ms = 1500;
	const struct tr_id late = publish(&record, 1);
	CU_ASSERT_EQUAL(give(), 1);
	begin_pending(&one, 0);
	CU_ASSERT_EQUAL(world.dispatcher.next_deadline_ms, world.dispatcher.now_ms + 1500);
	pass(100);
	add_pending(ids, 2);
	pass(1399 - 2);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 0);
	pass(1);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	CU_ASSERT_EQUAL(world.terms, 0);
	pass(2);
	player_dies(&one, SIGKILL, true);
	EXPECT_TEXT(attempt_row(late, 1), "timeout|the hard timeout passed after 1502 ms||0|9|4321|1000");
	for (size_t i = 0; i < 2; i++) {
		EXPECT_TEXT(attempt_row(ids[i], 1), "interrupted|||0|0|0|1000");
		CU_ASSERT_EQUAL(task_of(ids[i])->state, TR_QUEUED);
		CU_ASSERT_EQUAL(task_of(ids[i])->failures, 0);
	}
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_timeout), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_rerun), 2);
}

/* It ended before the news of its killing. */
static void test_timeout_that_came_too_late(void)
{
	struct record record = record_for("h");
	struct tr_id other;

	start_with_pending(&other, 1);
	record.hard_timeout_ms = 1500;
	const struct tr_id late = publish(&record, 1);
	CU_ASSERT_EQUAL(give(), 1);
	uint64_t serial = begin_pending(&one, 0);
	pass(1500);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	end_pending(&one, 0, serial, TR_SUCCESS, "");
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task_of(late)->state, TR_SUCCEEDED);
	CU_ASSERT_EQUAL(task_of(other)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_timeout), 0);
}

/* taskd dies from one moment to the next: they run again. */
static void test_taskd_is_killed(void)
{
	struct tr_id ids[2];

	start_with_pending(ids, 2);
	settle();
	mailbox_close(&one.mailbox);
	close(one.memory_fd);
	world_kill();
	world_start();
	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(task_of(ids[i])->state, TR_QUEUED);
		EXPECT_TEXT(attempt_row(ids[i], 1), "interrupted|||0|0|0|0");
	}
}

/* ---- the worker's way -------------------------------------------------------------------- */

static void test_shown(void)
{
	struct board_worker shown_worker;
	struct tr_id ids[2];

	start_with_pending(ids, 2);
	workers_show(&world.dispatcher, one.worker);
	CU_ASSERT_TRUE(board_copy_worker(world.dispatcher.board, 0, &shown_worker));
	CU_ASSERT_EQUAL(shown_worker.state, WORKER_BUSY);
	EXPECT_ID(shown_worker.running, ids[0]);
	end_pending(&one, 0, serials[0], TR_SUCCESS, "");
	end_pending(&one, 0, serials[1], TR_SUCCESS, "");
	workers_show(&world.dispatcher, one.worker);
	CU_ASSERT_TRUE(board_copy_worker(world.dispatcher.board, 0, &shown_worker));
	CU_ASSERT_EQUAL(shown_worker.state, WORKER_IDLE);
	CU_ASSERT_EQUAL(shown_worker.tasks, 2);
	player_dies(&one, EXIT(0), false);
}

/* Threads that run something or have something pending, however many tasks that is. */
static void test_busy_threads(void)
{
	one = player_start(0, 3);
	player_ready(&one);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_worker_threads_busy), 0);
	for (unsigned i = 0; i < 4; i++) {
		publish_one("h");
		CU_ASSERT_EQUAL(give(), 1);
		uint32_t lane = lane_of(0)->count ? 0 : lane_of(1)->count ? 1 : 2;
		if (i < 3)
			begin_pending(&one, lane);
		else
			begin(&one, lane);
	}
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_task_running), 4);
	CU_ASSERT_EQUAL(stat_of(STAT_worker_threads_busy), 3);
	player_dies(&one, SIGKILL, true);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_worker_threads_busy), 0);
}

/* A worker that leaves is let go on while something is pending, and does not hang for that. */
static void test_leaving(void)
{
	struct tr_id id;

	start_with_pending(&id, 1);
	say(&one, 0, MESSAGE_LEAVING, 0, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 0);
	for (unsigned i = 0; i < 30; i++) {
		pass(1000);
		heartbeat(&world.dispatcher);
	}
	CU_ASSERT_EQUAL(world.kills, 0);
	end_pending(&one, 0, serials[0], TR_SUCCESS, "");
	for (unsigned i = 0; i < 12; i++) {
		pass(1000);
		heartbeat(&world.dispatcher);
	}
	CU_ASSERT_TRUE(world.kills > 0);
	player_dies(&one, SIGKILL, true);
}

/* More than fit into the mailbox at once are told that taskd ends, each once; taskd waits for them. */
static void test_drain(void)
{
	enum { COUNT = 3 * MAILBOX_DEPTH };
	static struct tr_id ids[COUNT];
	unsigned told = 0;

	world.config.drain_timeout_ms = 60000;
	world.config.queue_window = 10000;
	start_with_pending(ids, COUNT);
	drain_begin(&world.dispatcher);
	while (told < COUNT) {
		lane_pending_tick(&world.dispatcher);
		unsigned left = COUNT - told, fit = left - lane_of(0)->stops;
		/* The entry claimed last is free only when the thread comes for the next. */
		CU_ASSERT_FATAL(fit == left || (fit >= MAILBOX_DEPTH - 1 && fit <= MAILBOX_DEPTH));
		CU_ASSERT_EQUAL(world.dispatcher.stops_wait, left > fit);
		for (unsigned i = 0; i < fit; i++)
			CU_ASSERT_EQUAL(claim_stop(&one, 0, STOP_DRAIN), serials[told++]);
	}
	CU_ASSERT_FALSE(drain_is_over(&world.dispatcher));
	for (unsigned i = 0; i < COUNT; i++) {
		say(&one, 0, MESSAGE_ENDED, serials[i], TR_FAILURE, 0, "told to stop", 12);
		outcome_turn(&world.dispatcher);
		CU_ASSERT_EQUAL(task_of(ids[i])->state, TR_QUEUED);
		CU_ASSERT_EQUAL(task_of(ids[i])->failures, 0);
	}
	CU_ASSERT_EQUAL(world.dispatcher.drain_stage, DRAIN_WAIT);
	drain_is_over(&world.dispatcher);
	CU_ASSERT_EQUAL(world.dispatcher.drain_stage, DRAIN_LEAVE);
	player_dies(&one, EXIT(0), false);
}

/* One that becomes pending while taskd ends, and one that ends before its turn to be told has come. */
static void test_drain_and_ends(void)
{
	struct tr_id ids[2];

	world.config.drain_timeout_ms = 60000;
	start_with_pending(ids, 2);
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	uint64_t serial = one.head.serial;
	drain_begin(&world.dispatcher);
	CU_ASSERT_EQUAL(mailbox_told(one.mailbox, 0, serial), STOP_DRAIN);
	end_pending(&one, 0, serials[0], TR_SUCCESS, "");
	say(&one, 0, MESSAGE_PENDING, serial, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(lane_of(0)->stops, 2);
	lane_pending_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(claim_stop(&one, 0, STOP_DRAIN), serials[1]);
	CU_ASSERT_EQUAL(claim_stop(&one, 0, STOP_DRAIN), serial);
	player_dies(&one, EXIT(0), false);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "any order", test_any_order },
		{ "retry after", test_retry_after },
		{ "lies", test_lies },
		{ "a thousand on one thread", test_a_thousand_on_one_thread },
		{ "concurrency", test_concurrency },
		{ "idle threads first", test_idle_threads_first },
		{ "crash", test_crash },
		{ "killed", test_killed },
		{ "timeout", test_timeout },
		{ "a timeout that came too late", test_timeout_that_came_too_late },
		{ "taskd is killed", test_taskd_is_killed },
		{ "shown", test_shown },
		{ "busy threads", test_busy_threads },
		{ "leaving", test_leaving },
		{ "drain", test_drain },
		{ "drain, and some end", test_drain_and_ends },
	};
	return RUN_DISPATCH_TESTS("lane_pending", tests);
}
