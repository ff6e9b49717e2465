/*
 * What becomes of a task by what its worker says, does not say, or dies of: every message in and out
 * of order, the kinds of failure with their texts, and what a death gives back.
 */
#include "tests/unit/dispatch_worker.h"

#include "taskd/mailbox_layout.h"

/* ---- in order ---------------------------------------------------------------------------- */

static void test_success(void)
{
	struct board_entry entry;
	struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	CU_ASSERT_EQUAL(task->state, TR_RUNNING);
	CU_ASSERT_EQUAL(task->attempt, 1);
	CU_ASSERT_EQUAL(task->worker_pid, 1000);
	CU_ASSERT_EQUAL(one.head.attempt, 1);
	CU_ASSERT_EQUAL(one.head.kind, WORK_RUN);
	const struct message_head progress = { .kind = MESSAGE_PROGRESS, .serial = one.head.serial, .number = 3,
		.number2 = 9, .text_bytes = 5 };
	mailbox_send(one.mailbox, 0, &progress, "third");
	say(&one, 0, MESSAGE_LOG, one.head.serial, TR_INFO, 0, "a line", 6);
	say(&one, 0, MESSAGE_RESULT, one.head.serial, 0, 0, "{\"n\":1}", 7);
	CU_ASSERT_EQUAL(outcome_turn(&world.dispatcher), 3);
	pass(40);
	end(&one, 0, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(shown(id), TR_SUCCEEDED);
	CU_ASSERT_TRUE(board_find(world.dispatcher.board, &id, &entry));
	CU_ASSERT_EQUAL(entry.progress_done, 3);
	CU_ASSERT_EQUAL(entry.progress_total, 9);
	CU_ASSERT_STRING_EQUAL(entry.progress_text, "third");
	CU_ASSERT_STRING_EQUAL(entry.result, "{\"n\":1}");
	CU_ASSERT_EQUAL(entry.ended_ms - entry.started_ms, 40);
	CU_ASSERT_EQUAL(stat_of(STAT_log_lines), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_started), 1);
	CU_ASSERT_EQUAL(world.kills, 0);
	EXPECT_TEXT(attempt_row(id, 1), "succeeded|||0|0|0|1000");
	EXPECT_TEXT(sql("SELECT state, result, coalesce(error, '') FROM task"), "4|{\"n\":1}|");
	player_dies(&one, EXIT(0), false);
}

static void test_failures_to_dead(void)
{
	struct record record = record_for("h");

	record.max_attempts = 2;
	record.backoff_base_ms = record.backoff_cap_ms = 1;
	struct task *task = run_task(&record);
	const struct tr_id id = task->id;
	end(&one, 0, TR_FAILURE, 0, "first");
	CU_ASSERT_EQUAL(task->state, TR_RUNNING); /* until its callback has answered */
	CU_ASSERT_TRUE(task->deciding);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.kind, WORK_CALLBACK);
	CU_ASSERT_EQUAL(one.head.attempt, 1);
	CU_ASSERT_EQUAL(one.head.failure_kind, TR_FAILED_RETURNED);
	EXPECT_TEXT(one.message, "first");
	answer(&one, TR_VERDICT_RETRY, 500, "", 0);
	CU_ASSERT_EQUAL(task->state, TR_RETRYING);
	CU_ASSERT_EQUAL(task->due_ms, world.dispatcher.now_ms + 500);
	CU_ASSERT_EQUAL(give(), 0);
	pass(500);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.attempt, 2);
	end(&one, 0, TR_FAILURE, 0, "second");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	answer(&one, TR_VERDICT_DEFAULT, 0, "", 0);
	EXPECT_TEXT(attempt_row(id, 1), "failed|first|retry|0|0|0|1000");
	EXPECT_TEXT(attempt_row(id, 2), "failed|second|bury|0|0|0|1000");
	EXPECT_TEXT(sql("SELECT state, error, attempt, failures, deciding FROM task"), "5|second|2|2|0");
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_failed), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_verdict_retry), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_verdict_bury), 1);
	player_dies(&one, EXIT(0), false);
}

static void test_bad_arguments(void)
{
	struct task *task = run_handler("h");
	const struct message_head head = { .kind = MESSAGE_ENDED, .serial = one.head.serial, .code = TR_PERMANENT_FAILURE,
		.flag = 1, .text_bytes = 8 };

	mailbox_send(one.mailbox, 0, &head, "not JSON");
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task->failure_kind, TR_FAILED_BAD_ARGUMENTS);
	CU_ASSERT_TRUE(task->permanent);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_bad_arguments), 1);
	EXPECT_TEXT(attempt_row(task->id, 1), "bad arguments|not JSON||0|0|0|1000");
	player_dies(&one, EXIT(0), false);
}

static void test_snooze(void)
{
	struct task *task = run_handler("h");

	end(&one, 0, TR_SNOOZE, 300, "");
	CU_ASSERT_EQUAL(task->state, TR_SCHEDULED);
	CU_ASSERT_EQUAL(task->attempt, 0);
	CU_ASSERT_EQUAL(task->failures, 0);
	CU_ASSERT_EQUAL(give(), 0);
	pass(300);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.attempt, 1);
	end(&one, 0, TR_SNOOZE, 0, ""); /* not at all, in fact */
	CU_ASSERT_EQUAL(task->state, TR_QUEUED);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	/* taskd ends: what a handler puts off is put off until then, not run at the next start. */
	world.dispatcher.draining = true;
	end(&one, 0, TR_SNOOZE, 3600000, "");
	CU_ASSERT_EQUAL(task->state, TR_SCHEDULED);
	CU_ASSERT_EQUAL(task->due_ms, world.dispatcher.now_ms + 3600000);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_snoozed), 3);
	player_dies(&one, EXIT(0), false);
}

/* A handler that gives up because taskd ends has not failed. */
static void test_failure_while_draining(void)
{
	struct task *task = run_handler("h");

	world.dispatcher.draining = true;
	end(&one, 0, TR_FAILURE, 0, "told to stop");
	CU_ASSERT_EQUAL(task->state, TR_QUEUED);
	CU_ASSERT_EQUAL(task->failures, 0);
	CU_ASSERT_EQUAL(give(), 0);
	EXPECT_TEXT(attempt_row(task->id, 1), "interrupted|||0|0|0|1000");
	player_dies(&one, EXIT(0), false);
}

static void test_expired(void)
{
	struct record record = record_for("h");

	record.expires_at_ms = world.dispatcher.now_ms + 100;
	const struct tr_id id = publish(&record, 1);
	intake_turn(&world.dispatcher);
	pass(101);
	start_worker();
	CU_ASSERT_EQUAL(give(), 0);
	settle();
	EXPECT_TEXT(sql("SELECT state, error, attempt FROM task WHERE id = x'%s'", hex(id)),
	    "7|no worker was free before it expired|0");
	player_dies(&one, EXIT(0), false);
}

/* ---- out of order ------------------------------------------------------------------------ */

/* The worker is to be killed, which is said once at once; its death settles what it ran. */
static void expect_distrust(void)
{
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	CU_ASSERT_EQUAL(stat_of(STAT_worker_bad_messages), 1);
	CU_ASSERT_TRUE(one.worker->leaving);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
}

static void test_lies_about_what_was_not_given(void)
{
	static const enum message_kind kinds[] = { MESSAGE_STARTED, MESSAGE_PROGRESS, MESSAGE_LOG, MESSAGE_RESULT,
		MESSAGE_ENDED, MESSAGE_VERDICT };

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		start_worker();
		world.kills = 0;
		stat_set(world.dispatcher.board, STAT_worker_bad_messages, 0);
		say(&one, 0, kinds[i], 1, 0, 0, "", 0);
		expect_distrust();
		player_dies(&one, SIGKILL, true);
	}
}

/* Given and claimed, but not begun: nothing can have ended yet. It runs again, and has not failed. */
static void test_ended_before_it_began(void)
{
	start_worker();
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	claim(&one, 0);
	say(&one, 0, MESSAGE_ENDED, one.head.serial, TR_SUCCESS, 0, "", 0);
	expect_distrust();
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task_of(one.id)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(task_of(one.id)->attempt, 0);
	CU_ASSERT_EQUAL(task_of(one.id)->where, IN_READY);
}

/* The thread that lies is held to blame: else its task would do it again and again. */
static void expect_crashed(const struct task *task, const char *message)
{
	expect_distrust();
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task->failure_kind, TR_FAILED_CRASHED);
	CU_ASSERT_TRUE(task->deciding);
	EXPECT_TEXT(task->error, message);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_crashed), 1);
}

#define LIED "the worker was killed: it speaks of work that it was not given"

static void test_began_twice(void)
{
	struct task *task = run_handler("h");

	say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
	expect_crashed(task, LIED);
	EXPECT_TEXT(attempt_row(task->id, 1), "crashed|" LIED "||0|9|4321|1000");
}

static void test_another_serial(void)
{
	struct task *task = run_handler("h");

	say(&one, 0, MESSAGE_ENDED, one.head.serial + 1, TR_SUCCESS, 0, "", 0);
	expect_crashed(task, LIED);
}

static void test_verdict_of_a_handler(void)
{
	struct task *task = run_handler("h");

	answer(&one, TR_VERDICT_DISCARD, 0, "", 0);
	expect_crashed(task, LIED);
}

static void test_scribbled_mailbox(void)
{
	struct task *task = run_handler("h");

	atomic_store(&one.mailbox->shared->lanes[0].message_tail, UINT64_MAX / 2);
	expect_crashed(task, "the worker was killed: its mailbox is scribbled on");
}

/* A callback that ends as a handler does has no say. */
static void test_outcome_of_a_callback(void)
{
	struct task *task = run_handler("h");

	end(&one, 0, TR_FAILURE, 0, "no luck");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	say(&one, 0, MESSAGE_ENDED, one.head.serial, TR_SUCCESS, 0, "", 0);
	expect_distrust();
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task->state, TR_RETRYING);
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 1);
	EXPECT_TEXT(attempt_row(task->id, 1), "failed|no luck|retry (default)|0|0|0|1000");
}

/* A time that cannot be is not believed. */
static void test_false_times(void)
{
	start_worker();
	publish_one("h");
	give();
	claim(&one, 0);
	struct message_head head = { .kind = MESSAGE_STARTED, .serial = one.head.serial, .at_ns = INT64_MAX };
	mailbox_send(one.mailbox, 0, &head, "");
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(one.id)->started_ns, world.dispatcher.now_ns);
	pass(7);
	head = (struct message_head){ .kind = MESSAGE_ENDED, .serial = one.head.serial, .at_ns = INT64_MAX };
	mailbox_send(one.mailbox, 0, &head, "");
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(one.id)->state, TR_SUCCEEDED);
	CU_ASSERT_EQUAL(world.dispatcher.handlers->run_ns, 7000000);
	player_dies(&one, EXIT(0), false);
}

/* ---- deaths ------------------------------------------------------------------------------ */

static void expect_death(int status, enum tr_failure_kind kind, enum stat_row counter, const char *row)
{
	struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	player_dies(&one, status, false);
	CU_ASSERT_EQUAL(task->failure_kind, kind);
	CU_ASSERT_TRUE(task->deciding);
	CU_ASSERT_FALSE(task->permanent);
	CU_ASSERT_EQUAL(stat_of(counter), 1);
	EXPECT_TEXT(attempt_row(id, 1), row);
	/* The next attempt does not inherit the signal of this one. */
	scheduler_remove(task);
	verdict_apply(&world.dispatcher, task, TR_VERDICT_RETRY, 0, NULL, 0);
	start_worker();
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	end(&one, 0, TR_PERMANENT_FAILURE, 0, "no luck");
	EXPECT_TEXT(attempt_row(id, 2), "failed|no luck||0|0|0|1000");
	player_dies(&one, EXIT(0), false);
}

static void test_crash(void)
{
	expect_death(SIGSEGV, TR_FAILED_CRASHED, STAT_attempt_crashed,
	    "crashed|the worker was ended by signal 11 (Segmentation fault), peak memory 4321 kB||0|11|4321|1000");
}

static void test_exit(void)
{
	expect_death(EXIT(3), TR_FAILED_CRASHED, STAT_attempt_crashed,
	    "crashed|the worker left with exit code 3, peak memory 4321 kB||3|0|4321|1000");
}

static void test_killed(void)
{
	expect_death(SIGKILL, TR_FAILED_KILLED, STAT_attempt_killed,
	    "killed|the worker was ended by signal 9 (Killed), peak memory 4321 kB||0|9|4321|1000");
}

static void test_terminated(void)
{
	expect_death(SIGTERM, TR_FAILED_KILLED, STAT_attempt_killed,
	    "killed|the worker was ended by signal 15 (Terminated), peak memory 4321 kB||0|15|4321|1000");
}

/* Two threads: one is past its time, the other is not to blame and runs again. */
static void test_timeout(void)
{
	struct record record = record_for("late");

	record.hard_timeout_ms = 1500;
	one = player_start(0, 2);
	player_ready(&one);
	const struct tr_id late = publish(&record, 1);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 1); /* the lane that became idle last comes first */
	CU_ASSERT_EQUAL(one.head.soft_timeout_ms, 1350);
	const struct tr_id good = publish_one("good");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(world.dispatcher.next_deadline_ms, world.dispatcher.now_ms + 1500);
	pass(1499);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 0);
	pass(1);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	pass(2);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task_of(late)->failure_kind, TR_FAILED_TIMEOUT);
	CU_ASSERT_EQUAL(task_of(good)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(task_of(good)->failures, 0);
	EXPECT_TEXT(attempt_row(late, 1), "timeout|the hard timeout passed after 1502 ms||0|9|4321|1000");
	EXPECT_TEXT(attempt_row(good, 1), "interrupted|||0|0|0|1000");
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_timeout), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_rerun), 1);
}

/* It ended in time after all, and what was claimed behind it is not past anything. */
static void test_timeout_that_came_too_late(void)
{
	struct record record = record_for("h");

	record.hard_timeout_ms = 1500;
	start_worker();
	make_quick(&one, "h");
	const struct tr_id first = publish(&record, 1);
	pass(1);
	const struct tr_id second = publish(&record, 1);
	CU_ASSERT_EQUAL(give(), 2);
	begin(&one, 0);
	const uint64_t serial = one.head.serial;
	claim(&one, 0); /* it has ended the first, but we have not read so yet */
	pass(1500);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	say(&one, 0, MESSAGE_ENDED, serial, TR_SUCCESS, 0, "", 0);
	say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(first)->state, TR_SUCCEEDED);
	CU_ASSERT_EQUAL(task_of(second)->state, TR_RUNNING);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task_of(second)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_timeout), 0);
}

/* We asked for its death, but it crashed before: that is its own doing. */
static void test_crash_before_our_kill(void)
{
	struct task *task = run_handler("h");

	player_dies(&one, SIGSEGV, true);
	CU_ASSERT_EQUAL(task->failure_kind, TR_FAILED_CRASHED);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_crashed), 1);
}

/* What it said before its end counts. */
static void test_last_words(void)
{
	struct task *task = run_handler("h");

	say(&one, 0, MESSAGE_ENDED, one.head.serial, TR_SUCCESS, 0, "", 0);
	player_dies(&one, SIGSEGV, false);
	CU_ASSERT_EQUAL(task->state, TR_SUCCEEDED);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_crashed), 0);
}

static void test_pushed_ahead_is_returned(void)
{
	struct tr_id ids[5];

	start_worker();
	make_quick(&one, "h");
	for (unsigned i = 0; i < 5; i++) {
		ids[i] = publish_one("h");
		pass(1);
	}
	CU_ASSERT_EQUAL(give(), 5);
	begin(&one, 0);
	EXPECT_ID(one.id, ids[0]);
	claim(&one, 0); /* claimed and not begun is returned, too */
	CU_ASSERT_EQUAL(one.worker->lanes[0].count, 5);
	player_dies(&one, SIGSEGV, false);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_crashed), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_started), 2);
	CU_ASSERT_TRUE(task_of(ids[0])->deciding);
	for (unsigned i = 0; i < 5; i++) /* the callback comes first */
		EXPECT_ID(scheduler_next(the_pool())->id, ids[i]);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "success", test_success },
		{ "failures to dead", test_failures_to_dead },
		{ "bad arguments", test_bad_arguments },
		{ "snooze", test_snooze },
		{ "failure while draining", test_failure_while_draining },
		{ "expired", test_expired },
		{ "lies about what was not given", test_lies_about_what_was_not_given },
		{ "ended before it began", test_ended_before_it_began },
		{ "began twice", test_began_twice },
		{ "another serial", test_another_serial },
		{ "verdict of a handler", test_verdict_of_a_handler },
		{ "scribbled mailbox", test_scribbled_mailbox },
		{ "outcome of a callback", test_outcome_of_a_callback },
		{ "false times", test_false_times },
		{ "crash", test_crash },
		{ "exit", test_exit },
		{ "killed", test_killed },
		{ "terminated", test_terminated },
		{ "timeout", test_timeout },
		{ "a timeout that came too late", test_timeout_that_came_too_late },
		{ "a crash before our kill", test_crash_before_our_kill },
		{ "last words", test_last_words },
		{ "pushed ahead is returned", test_pushed_ahead_is_returned },
	};
	return RUN_DISPATCH_TESTS("outcome", tests);
}
