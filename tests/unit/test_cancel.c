/*
 * Cancelling what runs: told, then SIGTERM for its worker, then SIGKILL; what that costs the worker's
 * other tasks; and that a cancelled task never starts again, wherever taskd is killed in between.
 */
#include "tests/unit/dispatch_worker.h"

#define TERM_MS 10000
#define KILL_MS 2000
#define BY_TERM "cancelled on demand: its worker was ended by SIGTERM"
#define BY_KILL "cancelled on demand: its worker was ended by SIGKILL"
#define WHEN_TOLD "cancelled on demand: it ended when it was told"

/* Time passes, and the loop looks at what is due then. */
static void pass_and_look(int64_t ms)
{
	pass(ms);
	CU_ASSERT_TRUE(world.dispatcher.next_deadline_ms >= world.dispatcher.now_ms - ms);
	deadline_tick(&world.dispatcher);
	lane_pending_tick(&world.dispatcher);
}

static void expect_signals(unsigned terms, unsigned kills)
{
	CU_ASSERT_EQUAL(world.terms, terms);
	CU_ASSERT_EQUAL(world.kills, kills);
}

/* ---- pressing ---------------------------------------------------------------------------- */

static void test_steps(void)
{
	struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	cancel(id);
	CU_ASSERT_EQUAL(mailbox_told(one.mailbox, 0, one.head.serial), STOP_CANCEL);
	CU_ASSERT_EQUAL(world.dispatcher.next_deadline_ms, world.dispatcher.now_ms + TERM_MS);
	pass_and_look(TERM_MS - 1000);
	cancel(id); /* to ask again postpones nothing */
	pass_and_look(999);
	expect_signals(0, 0);
	pass_and_look(1);
	expect_signals(1, 0);
	CU_ASSERT_TRUE(one.worker->leaving);
	CU_ASSERT_EQUAL(world.dispatcher.next_deadline_ms, world.dispatcher.now_ms + KILL_MS);
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 0);
	pass_and_look(KILL_MS - 1);
	expect_signals(1, 0);
	pass_and_look(1);
	expect_signals(1, 1);
	pass_and_look(100000);
	expect_signals(1, 1);
	CU_ASSERT_EQUAL(task->state, TR_RUNNING);
	player_dies(&one, SIGKILL, true);
	EXPECT_TEXT(attempt_row(id, 1), "cancelled|" BY_KILL "||0|0|0|1000");
	EXPECT_TEXT(sql("SELECT error FROM task WHERE id = x'%s'", hex(id)), BY_KILL);
	EXPECT_TEXT(journaled(id), "cancelled");
}

static void test_ends_when_told(void)
{
	struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	cancel(id);
	pass_and_look(TERM_MS - 1);
	end(&one, 0, TR_FAILURE, 0, "stopped");
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
	pass_and_look(TERM_MS + KILL_MS);
	expect_signals(0, 0);
	EXPECT_TEXT(attempt_row(id, 1), "failed|stopped||0|0|0|1000");
	EXPECT_TEXT(sql("SELECT error FROM task"), WHEN_TOLD);
	/* Its thread takes the next, which nobody presses. */
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	pass_and_look(TERM_MS + KILL_MS);
	expect_signals(0, 0);
	player_dies(&one, EXIT(0), false);
}

/* A worker with two threads: one runs what is cancelled and is deaf, the other has a neighbour. */
static void start_two(struct tr_id *deaf, struct tr_id *neighbour)
{
	world.terms = world.kills = 0;
	one = player_start(0, 2);
	player_ready(&one);
	*deaf = publish_one("deaf");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 1); /* the lane that became idle last comes first */
	*neighbour = publish_one("good");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	cancel(*deaf);
	pass_and_look(TERM_MS);
	expect_signals(1, 0);
}

/* However it went at SIGTERM: the neighbour runs again and has not failed. */
static void expect_spared(int status)
{
	struct tr_id deaf, neighbour;

	start_two(&deaf, &neighbour);
	player_dies(&one, status, true);
	CU_ASSERT_EQUAL(task_of(deaf)->state, TR_CANCELLED);
	EXPECT_TEXT(task_of(deaf)->error, status == SIGKILL ? BY_KILL : BY_TERM);
	CU_ASSERT_EQUAL(task_of(neighbour)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(task_of(neighbour)->failures, 0);
	CU_ASSERT_EQUAL(task_of(neighbour)->where, IN_READY);
	tasks_cancel(&world.dispatcher, task_of(neighbour), "in the way");
}

static void test_neighbours(void)
{
	expect_spared(SIGTERM);
	expect_spared(EXIT(7)); /* a plug-in's own handler */
	expect_spared(SIGKILL);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_rerun), 3);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_killed), 0);
}

/* It crashes while it is to end: that is the doing of one of them. */
static void test_crash_at_sigterm(void)
{
	struct tr_id deaf, neighbour;

	start_two(&deaf, &neighbour);
	player_dies(&one, SIGSEGV, true);
	CU_ASSERT_EQUAL(task_of(neighbour)->failure_kind, TR_FAILED_CRASHED);
	CU_ASSERT_TRUE(task_of(neighbour)->deciding);
	CU_ASSERT_EQUAL(task_of(deaf)->state, TR_CANCELLED);
	EXPECT_TEXT(task_of(deaf)->error, "cancelled on demand: the worker was ended by signal 11 (Segmentation fault), "
	    "peak memory 4321 kB; it ran 1 other task");
}

/* Somebody else's SIGTERM, before ours was sent, is no excuse. */
static void test_sigterm_of_others(void)
{
	struct task *task = run_handler("h");

	player_dies(&one, SIGTERM, false);
	CU_ASSERT_EQUAL(task->failure_kind, TR_FAILED_KILLED);
}

/* It ends at last, between SIGTERM and SIGKILL: the process is half way out, and goes. */
static void test_ends_after_sigterm(void)
{
	struct tr_id deaf, neighbour;

	start_two(&deaf, &neighbour);
	say(&one, 1, MESSAGE_ENDED, workforce_running(&one.worker->lanes[1])->serial, TR_FAILURE, 0, "stopped", 7);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(deaf)->state, TR_CANCELLED);
	EXPECT_TEXT(task_of(deaf)->error, WHEN_TOLD);
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 0);
	pass_and_look(KILL_MS);
	expect_signals(1, 1);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task_of(neighbour)->state, TR_QUEUED);
}

/* A hard timeout that comes first kills at once; the cancelled task has timed out, and ends. */
static void test_hard_timeout_first(void)
{
	struct record record = record_for("h");

	record.hard_timeout_ms = 3000;
	struct task *task = run_task(&record);
	cancel(task->id);
	pass_and_look(3000);
	expect_signals(0, 1);
	pass_and_look(TERM_MS);
	expect_signals(0, 1);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_timeout), 1);
}

static void test_pending(void)
{
	struct task *tasks[3];
	uint64_t serials[3];

	start_worker();
	for (unsigned i = 0; i < 3; i++) {
		publish_one("h");
		CU_ASSERT_EQUAL(give(), 1);
		serials[i] = begin_pending(&one, 0);
		tasks[i] = task_of(one.id);
	}
	cancel(tasks[1]->id);
	pass_and_look(0);
	CU_ASSERT_EQUAL(claim_stop(&one, 0, STOP_CANCEL), serials[1]);
	cancel(tasks[2]->id);
	pass_and_look(0);
	CU_ASSERT_EQUAL(claim_stop(&one, 0, STOP_CANCEL), serials[2]);
	end_pending(&one, 0, serials[2], TR_FAILURE, "stopped");
	EXPECT_TEXT(tasks[2]->error, WHEN_TOLD);
	pass_and_look(TERM_MS);
	expect_signals(1, 0);
	player_dies(&one, SIGTERM, true);
	CU_ASSERT_EQUAL(tasks[0]->state, TR_QUEUED);
	CU_ASSERT_EQUAL(tasks[1]->state, TR_CANCELLED);
	EXPECT_TEXT(tasks[1]->error, BY_TERM);
	EXPECT_TEXT(attempt_row(tasks[0]->id, 1), "interrupted|||0|0|0|1000");
}

/* Told while it ran, it may not have looked before it became pending: it is told the other way, too. */
static void test_told_and_then_pending(void)
{
	struct task *task = run_handler("h");
	uint64_t serial = one.head.serial;

	cancel(task->id);
	say(&one, 0, MESSAGE_PENDING, serial, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	pass_and_look(0);
	CU_ASSERT_EQUAL(claim_stop(&one, 0, STOP_CANCEL), serial);
	pass_and_look(TERM_MS); /* since it was cancelled */
	expect_signals(1, 0);
	player_dies(&one, SIGTERM, true);
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
}

/* Claimed and not begun when it is cancelled, by a process that somebody has stopped. */
static void test_claimed(void)
{
	start_worker();
	const struct tr_id id = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	claim(&one, 0);
	cancel(id);
	CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
	pass_and_look(TERM_MS);
	pass_and_look(KILL_MS);
	expect_signals(1, 1);
	player_dies(&one, SIGKILL, true);
	start_worker();
	CU_ASSERT_EQUAL(give(), 0);
	CU_ASSERT_EQUAL(task_of(id)->state, TR_CANCELLED);
	player_dies(&one, EXIT(0), false);
}

/* The callback of a cancelled task's failed attempt is pressed as well, and not asked again. */
static void test_callback(void)
{
	struct task *task = run_handler("h");

	world.config.callback_timeout_ms = 3600000;
	end(&one, 0, TR_FAILURE, 0, "no luck");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.kind, WORK_CALLBACK);
	cancel(task->id);
	pass_and_look(TERM_MS);
	expect_signals(1, 0);
	player_dies(&one, SIGTERM, true);
	start_worker();
	CU_ASSERT_EQUAL(give(), 0);
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
	player_dies(&one, EXIT(0), false);
}

static void test_while_draining(void)
{
	struct task *task = run_handler("h");

	world.config.drain_timeout_ms = 60000;
	cancel(task->id);
	drain_begin(&world.dispatcher);
	pass_and_look(TERM_MS);
	expect_signals(1, 0);
	player_dies(&one, SIGTERM, true);
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
}

static void test_at_once(void)
{
	world.config.cancel_term_ms = world.config.cancel_kill_ms = 0;
	struct task *task = run_handler("h");

	cancel(task->id);
	deadline_tick(&world.dispatcher);
	expect_signals(1, 0);
	deadline_tick(&world.dispatcher);
	expect_signals(1, 1);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
}

/* ---- taskd is killed --------------------------------------------------------------------- */

/* kill -9 of all of taskd, and its start: with it go the workers, unasked. */
static void restart(void)
{
	mailbox_close(&one.mailbox);
	close(one.memory_fd);
	world_kill();
	world_start();
}

/* It is cancelled, and nothing is given to the first worker that comes. */
static void expect_never_again(struct tr_id id)
{
	start_worker();
	CU_ASSERT_EQUAL(give(), 0);
	settle();
	CU_ASSERT_EQUAL(give(), 0);
	EXPECT_TEXT(journaled(id), "cancelled");
	CU_ASSERT_EQUAL(stat_of(STAT_task_running), 0);
	player_dies(&one, EXIT(0), false);
}

/* The task and its cancelling are only in the ring yet. */
static void test_killed_before_the_commit(void)
{
	struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	cancel(id);
	CU_ASSERT_TRUE(task->cancel_wanted);
	EXPECT_TEXT(journaled(id), "");
	restart();
	expect_never_again(id);
}

/* The journal knows the task as running; its cancelling is in the ring, taken or not. */
static void test_killed_before_the_cancelling_is_committed(void)
{
	for (unsigned taken = 0; taken < 2; taken++) {
		struct task *task = run_handler("h");
		const struct tr_id id = task->id;

		settle();
		EXPECT_TEXT(journaled(id), "running");
		publish_cancel(id);
		if (taken)
			intake_turn(&world.dispatcher);
		restart();
		expect_never_again(id);
	}
}

static void test_killed_while_it_is_pressed(void)
{
	static const int64_t waits_ms[] = { 0, TERM_MS, TERM_MS + KILL_MS };

	for (size_t i = 0; i < 3; i++) {
		struct task *task = run_handler("h");
		const struct tr_id id = task->id;

		cancel(id);
		settle();
		EXPECT_TEXT(sql("SELECT state, cancel_wanted FROM task WHERE id = x'%s'", hex(id)), "2|1");
		pass_and_look(waits_ms[i]);
		pass_and_look(0);
		restart();
		EXPECT_TEXT(task_of(id)->error, "cancelled on demand while it ran");
		expect_never_again(id);
	}
}

/* The cancelling lies further behind in the ring than one turn takes. */
static void test_killed_and_the_cancelling_is_far_behind(void)
{
	enum { BETWEEN = 400 };
	struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	settle();
	for (unsigned i = 0; i < BETWEEN; i++)
		publish_one("other");
	publish_cancel(id);
	restart();
	world.config.queue_window = 10000;
	start_worker();
	CU_ASSERT_EQUAL(give(), 0); /* it has not come to the cancelling */
	CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
	CU_ASSERT_EQUAL(give(), 1);
	CU_ASSERT_EQUAL(task_of(id)->state, TR_CANCELLED);
	begin(&one, 0);
	CU_ASSERT_EQUAL(memcmp(task_of(one.id)->record.handler.at, "other", 5), 0);
	player_dies(&one, EXIT(0), false);
}

/* The same for one that rests in the journal, and is loaded before the cancelling has found it. */
static void test_killed_and_it_waits_in_the_journal(void)
{
	struct tr_id ids[3];

	publish_row(ids, 3);
	settle();
	start_worker();
	publish_cancel(ids[0]);
	restart();
	start_worker();
	CU_ASSERT_EQUAL(give(), 0); /* asked for, and not found yet */
	settle();
	CU_ASSERT_EQUAL_FATAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_FALSE(id_equal(&one.id, &ids[0]));
	settle();
	EXPECT_TEXT(journaled(ids[0]), "cancelled");
	player_dies(&one, EXIT(0), false);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "the steps", test_steps },
		{ "ends when told", test_ends_when_told },
		{ "neighbours", test_neighbours },
		{ "a crash at SIGTERM", test_crash_at_sigterm },
		{ "somebody else's SIGTERM", test_sigterm_of_others },
		{ "ends after SIGTERM", test_ends_after_sigterm },
		{ "the hard timeout comes first", test_hard_timeout_first },
		{ "pending", test_pending },
		{ "told, and then pending", test_told_and_then_pending },
		{ "claimed", test_claimed },
		{ "a callback", test_callback },
		{ "while draining", test_while_draining },
		{ "at once", test_at_once },
		{ "killed before the commit", test_killed_before_the_commit },
		{ "killed before the cancelling is committed", test_killed_before_the_cancelling_is_committed },
		{ "killed while it is pressed", test_killed_while_it_is_pressed },
		{ "killed, and the cancelling is far behind", test_killed_and_the_cancelling_is_far_behind },
		{ "killed, and it waits in the journal", test_killed_and_it_waits_in_the_journal },
	};
	return RUN_DISPATCH_TESTS("cancel", tests);
}
