/*
 * Who decides, and who is stopped: cancelling in every place where a task can be, the answers of
 * on-failure callbacks and what stands in for them, and workers that neither work nor leave.
 */
#include "tests/unit/dispatch_worker.h"

#include "taskd/heartbeat.h"
#include "taskd/mailbox_layout.h"

/* ---- cancelling -------------------------------------------------------------------------- */

static void test_cancel_what_was_pushed_ahead(void)
{
	struct tr_id ids[3];

	start_worker();
	make_quick(&one, "h");
	for (unsigned i = 0; i < 3; i++) {
		ids[i] = publish_one("h");
		pass(1);
	}
	CU_ASSERT_EQUAL(give(), 3);
	begin(&one, 0);
	cancel(ids[1]);
	CU_ASSERT_EQUAL(task_of(ids[1])->state, TR_CANCELLED);
	end(&one, 0, TR_SUCCESS, 0, "");
	begin(&one, 0); /* passes over it */
	EXPECT_ID(one.id, ids[2]);
	CU_ASSERT_EQUAL(one.worker->lanes[0].count, 1);
	end(&one, 0, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(one.worker->lanes[0].count, 0);
	CU_ASSERT_EQUAL(one.worker->lanes[0].expected_ns, 0);
	CU_ASSERT_EQUAL(world.kills, 0);
	player_dies(&one, EXIT(0), false);
}

static void test_cancel_what_runs(void)
{
	static const struct {
		enum tr_outcome outcome;
		enum tr_state state;
		const char *error;
	} rows[] = {
		{ TR_SUCCESS, TR_SUCCEEDED, "" },
		{ TR_FAILURE, TR_CANCELLED, "cancelled on demand: it ended when it was told" },
		{ TR_SNOOZE, TR_CANCELLED, "cancelled on demand: it ended when it was told" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct task *task = run_handler("h");
		CU_ASSERT_EQUAL(mailbox_told(one.mailbox, 0, one.head.serial), STOP_NONE);
		cancel(task->id);
		CU_ASSERT_EQUAL(mailbox_told(one.mailbox, 0, one.head.serial), STOP_CANCEL);
		CU_ASSERT_EQUAL(task->state, TR_RUNNING);
		end(&one, 0, rows[i].outcome, 0, rows[i].outcome == TR_FAILURE ? "stopped" : "");
		CU_ASSERT_EQUAL(task->state, rows[i].state);
		EXPECT_TEXT(task->error ? task->error : "", rows[i].error);
		player_dies(&one, EXIT(0), false);
	}
}

static void test_cancel_and_the_worker_dies(void)
{
	struct task *task = run_handler("h");

	cancel(task->id);
	player_dies(&one, SIGSEGV, false);
	CU_ASSERT_EQUAL(task->state, TR_CANCELLED);
	struct task *killed = run_handler("h");
	cancel(killed->id);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(killed->state, TR_CANCELLED);
}

/* Claimed when it was cancelled, and its worker died before it began: it must not begin elsewhere. */
static void test_cancel_what_was_claimed(void)
{
	start_worker();
	const struct tr_id id = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	claim(&one, 0);
	cancel(id);
	CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
	player_dies(&one, SIGSEGV, false);
	start_worker();
	CU_ASSERT_EQUAL(give(), 0);
	CU_ASSERT_EQUAL(task_of(id)->state, TR_CANCELLED);
	EXPECT_TEXT(task_of(id)->error, "cancelled on demand");
	player_dies(&one, EXIT(0), false);
}

static void test_cancel_while_it_is_decided(void)
{
	struct task *waits = run_handler("h");

	end(&one, 0, TR_FAILURE, 0, "no luck");
	cancel(waits->id); /* the callback is still to be asked */
	CU_ASSERT_EQUAL(waits->state, TR_CANCELLED);
	CU_ASSERT_EQUAL(give(), 0);
	player_dies(&one, EXIT(0), false);

	struct task *asked = run_handler("h");
	end(&one, 0, TR_FAILURE, 0, "no luck");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	cancel(asked->id); /* it is being asked */
	CU_ASSERT_EQUAL(asked->state, TR_RUNNING);
	answer(&one, TR_VERDICT_RETRY, 0, "", 0);
	CU_ASSERT_EQUAL(asked->state, TR_CANCELLED);
	player_dies(&one, EXIT(0), false);
}

/* ---- verdicts ---------------------------------------------------------------------------- */

/* A task whose callback has begun. */
static struct task *ask_callback(enum tr_outcome outcome)
{
	struct task *task = run_handler("h");

	end(&one, 0, outcome, 0, "no luck");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.permanent, outcome == TR_PERMANENT_FAILURE);
	return task;
}

static void test_verdicts(void)
{
	static const struct {
		enum tr_verdict_kind kind;
		enum tr_state state;
		enum stat_row counter;
		const char *name;
	} rows[] = {
		{ TR_VERDICT_RETRY, TR_RETRYING, STAT_verdict_retry, "retry" },
		{ TR_VERDICT_BURY, TR_DEAD, STAT_verdict_bury, "bury" },
		{ TR_VERDICT_DISCARD, TR_CANCELLED, STAT_verdict_discard, "discard" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct task *task = ask_callback(TR_FAILURE);
		const struct tr_id id = task->id;
		answer(&one, rows[i].kind, 1000000, "", 0);
		CU_ASSERT_EQUAL(task->state, rows[i].state);
		CU_ASSERT_EQUAL(stat_of(rows[i].counter), 1);
		settle();
		EXPECT_TEXT(sql("SELECT verdict FROM attempt WHERE task = x'%s'", hex(id)), rows[i].name);
		player_dies(&one, EXIT(0), false);
	}
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 0);
}

static void test_enqueue(void)
{
	static const char text[] = "notify\0alerts\0{\"a\":1}";
	struct task *task = ask_callback(TR_PERMANENT_FAILURE);
	const struct tr_id id = task->id;

	answer(&one, TR_VERDICT_ENQUEUE, 0, text, sizeof text - 1);
	CU_ASSERT_EQUAL(task->state, TR_DEAD);
	/* Both in one commit, from the same turn. */
	CU_ASSERT_EQUAL(stat_of(STAT_task_accepted), 2);
	settle();
	EXPECT_TEXT(sql("SELECT handler, queue, args, state, place, places, on_failure FROM task WHERE id <> x'%s'", hex(id)),
	    "notify|alerts|{\"a\":1}|1|0|1|");
	EXPECT_TEXT(sql("SELECT verdict FROM attempt"), "enqueue");
	CU_ASSERT_EQUAL(stat_of(STAT_verdict_enqueue), 1);
	player_dies(&one, EXIT(0), false);
}

/* What may not be enqueued is logged, and the default decides; nothing is half done. */
static void test_enqueue_refused(void)
{
	static const char text[] = "not a name\0\0{}";
	struct task *task = ask_callback(TR_FAILURE);

	answer(&one, TR_VERDICT_ENQUEUE, 0, text, sizeof text - 1);
	CU_ASSERT_EQUAL(task->state, TR_RETRYING);
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_verdict_enqueue), 0);
	settle();
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "1");
	EXPECT_TEXT(sql("SELECT verdict FROM attempt"), "retry (default)");
	player_dies(&one, EXIT(0), false);
}

static void test_unknown_callback(void)
{
	struct task *task = ask_callback(TR_PERMANENT_FAILURE);
	const struct message_head head = { .kind = MESSAGE_VERDICT, .serial = one.head.serial, .code = TR_VERDICT_RETRY,
		.flag = 1, .number = 5 };

	mailbox_send(one.mailbox, 0, &head, "");
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(task->state, TR_DEAD); /* the default buries what is permanent */
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 1);
	settle();
	EXPECT_TEXT(sql("SELECT verdict FROM attempt"), "bury (default)");
	player_dies(&one, EXIT(0), false);
}

static void test_callback_crashes(void)
{
	struct task *task = ask_callback(TR_FAILURE);
	const struct tr_id id = task->id;

	player_dies(&one, SIGSEGV, false);
	CU_ASSERT_EQUAL(task->state, TR_RETRYING);
	CU_ASSERT_TRUE(task->due_ms <= world.dispatcher.now_ms + 1000);
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_crashed), 0); /* no attempt did */
	EXPECT_TEXT(attempt_row(id, 1), "failed|no luck|retry (default)|0|0|0|1000");
}

static void test_callback_hangs(void)
{
	struct task *task = ask_callback(TR_FAILURE);

	pass(2999);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 0);
	pass(1);
	deadline_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task->state, TR_RETRYING);
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_timeout), 0);
}

/* Killed for a neighbour or by the end of the draining: the callback is asked again. */
static void test_innocent_callback(void)
{
	struct task *task = ask_callback(TR_FAILURE);

	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(task->state, TR_RUNNING);
	CU_ASSERT_TRUE(task->deciding);
	CU_ASSERT_EQUAL(stat_of(STAT_callback_failed), 0);
	start_worker();
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	CU_ASSERT_EQUAL(one.head.kind, WORK_CALLBACK);
	answer(&one, TR_VERDICT_BURY, 0, "", 0);
	CU_ASSERT_EQUAL(task->state, TR_DEAD);
	player_dies(&one, EXIT(0), false);
}

/* ---- workers that do nothing ------------------------------------------------------------- */

/* A worker that is stopped gives back what it has not claimed, and gets no more until it goes on. */
static void test_worker_that_does_not_begin(void)
{
	start_worker();
	const struct tr_id id = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	pass(1000);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(id)->where, AT_WORKER);
	pass(1);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(id)->where, IN_READY);
	CU_ASSERT_EQUAL(give(), 0); /* not to the same */
	struct player two = player_start(1, 1);
	player_ready(&two);
	CU_ASSERT_EQUAL(give(), 1);
	begin(&two, 0);
	EXPECT_ID(two.id, id);
	end(&two, 0, TR_SUCCESS, 0, "");
	/* The first goes on, and passes what was taken back. */
	atomic_store(&one.mailbox->shared->lanes[0].released, 1);
	heartbeat(&world.dispatcher);
	CU_ASSERT_PTR_NOT_NULL(one.worker->lanes[0].open_in);
	player_dies(&one, EXIT(0), false);
	player_dies(&two, EXIT(0), false);
}

static void test_kill_is_said_again(void)
{
	run_handler("h");
	say(&one, 0, MESSAGE_STARTED, 99, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 2);
	player_dies(&one, SIGKILL, true);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 2);
}

static void test_worker_that_does_not_leave(void)
{
	start_worker();
	say(&one, 0, MESSAGE_LEAVING, 0, 0, 0, "", 0);
	outcome_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(world.recycles, 1);
	CU_ASSERT_EQUAL(stat_of(STAT_worker_recycled), 1);
	publish_one("h");
	CU_ASSERT_EQUAL(give(), 0);
	heartbeat(&world.dispatcher);
	pass(10000);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 0);
	pass(1);
	heartbeat(&world.dispatcher);
	CU_ASSERT_EQUAL(world.kills, 1);
	player_dies(&one, SIGKILL, true);
	CU_ASSERT_EQUAL(world.dispatcher.board ? stat_of(STAT_worker_alive) : 1, 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "cancel what was pushed ahead", test_cancel_what_was_pushed_ahead },
		{ "cancel what runs", test_cancel_what_runs },
		{ "cancel, and the worker dies", test_cancel_and_the_worker_dies },
		{ "cancel what was claimed", test_cancel_what_was_claimed },
		{ "cancel while it is decided", test_cancel_while_it_is_decided },
		{ "verdicts", test_verdicts },
		{ "enqueue", test_enqueue },
		{ "enqueue refused", test_enqueue_refused },
		{ "unknown callback", test_unknown_callback },
		{ "callback crashes", test_callback_crashes },
		{ "callback hangs", test_callback_hangs },
		{ "innocent callback", test_innocent_callback },
		{ "a worker that does not begin", test_worker_that_does_not_begin },
		{ "kill is said again", test_kill_is_said_again },
		{ "a worker that does not leave", test_worker_that_does_not_leave },
	};
	return RUN_DISPATCH_TESTS("verdict", tests);
}
