/*
 * Which tasks are in memory, with a window of 4: what is dropped, in which order it comes back, and
 * what a restart finds.
 */
#include "tests/unit/dispatch_fixture.h"
#include "tests/unit/faulty_vfs.h"

/* ---- the window -------------------------------------------------------------------------- */

static void test_bound_and_eviction(void)
{
	struct tr_id ids[20];

	publish_row(ids, 20);
	CU_ASSERT_EQUAL(intake_turn(&world.dispatcher), 20);
	/* Nine were one too many, so the queue went back to four; nothing is forgotten before it is written. */
	CU_ASSERT_EQUAL(the_queue("default")->waiting, 4);
	CU_ASSERT_TRUE(the_queue("default")->bounded);
	CU_ASSERT_EQUAL(in_memory(), 20);
	CU_ASSERT_EQUAL(shown(ids[19]), TR_QUEUED);
	settle();
	CU_ASSERT_EQUAL(in_memory(), 4);
	CU_ASSERT_EQUAL(stat_of(STAT_task_in_memory), 4);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 20);
	for (unsigned i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL(task_of(ids[i]) != NULL, i < 4);
		CU_ASSERT_EQUAL(shown(ids[i]), i < 4 ? TR_QUEUED : TR_STATES);
	}
	EXPECT_TEXT(sql("SELECT count(*), sum(state = 1) FROM task"), "20|20");
}

static void test_load_order(void)
{
	struct tr_id ids[20], ran[20];

	publish_row(ids, 20);
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 20), 20);
	for (unsigned i = 0; i < 20; i++)
		EXPECT_ID(ran[i], ids[i]);
	CU_ASSERT_EQUAL(in_memory(), 0);
	CU_ASSERT_FALSE(the_queue("default")->bounded);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_succeeded), 20);
	EXPECT_TEXT(sql("SELECT count(*), sum(state = 4) FROM task"), "20|20");
}

/* A task that comes while the window is being filled, and belongs behind what is loaded, is not lost. */
static void test_arrival_while_loading(void)
{
	struct tr_id ids[9], ran[10];

	publish_row(ids, 9);
	settle();
	for (unsigned i = 0; i < 2; i++)
		EXPECT_ID(run_next(EV_SUCCEEDED), ids[i]);
	settle(); /* four more, one rests */
	CU_ASSERT_EQUAL(in_memory(), 6);
	for (unsigned i = 2; i < 6; i++)
		EXPECT_ID(run_next(EV_SUCCEEDED), ids[i]);
	window_tick(&world.dispatcher);
	CU_ASSERT_TRUE(the_queue("default")->loading);
	await_journal(); /* the answer is there: one task, and no more */
	const struct tr_id late = publish_one("late");
	intake_turn(&world.dispatcher);
	CU_ASSERT_TRUE(task_of(late)->resting);
	pass(STEP_MS);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	CU_ASSERT_PTR_NOT_NULL(task_of(late));
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 10), 4);
	for (unsigned i = 0; i < 3; i++)
		EXPECT_ID(ran[i], ids[6 + i]);
	EXPECT_ID(ran[3], late);
}

/* What the journal said before the task ended is no reason to run it again. */
static void test_ended_while_loading(void)
{
	struct tr_id ids[20], ran[20];

	publish_row(ids, 20);
	settle();
	publish_cancel(ids[5]);
	intake_turn(&world.dispatcher);
	await_journal();
	window_poll(&world.dispatcher); /* loaded by its id, and cancelled, but not yet written */
	CU_ASSERT_EQUAL(task_of(ids[5])->state, TR_CANCELLED);
	for (unsigned i = 0; i < 2; i++)
		EXPECT_ID(run_next(EV_SUCCEEDED), ids[i]);
	window_tick(&world.dispatcher); /* reads it as it was */
	await_journal();
	pass(STEP_MS);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	EXPECT_TEXT(journaled(ids[5]), "cancelled");
	CU_ASSERT_PTR_NULL(task_of(ids[5]));
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 20), 17);
	for (unsigned i = 0; i < 17; i++)
		EXPECT_ID(ran[i], ids[i < 3 ? i + 2 : i + 3]);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
}

/* Asked for twice, answered, written and forgotten in between: the second answer is from before. */
static void test_stale_answer_after_commit(void)
{
	struct tr_id ids[9];

	publish_row(ids, 9);
	settle();
	world.gated = true;
	publish_cancel(ids[8]);
	publish_cancel(ids[8]);
	intake_turn(&world.dispatcher);
	sem_wait(&world.at_gate); /* the first answer is there, the second question not yet looked at */
	window_poll(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(ids[8])->state, TR_CANCELLED);
	world.gated = false;
	pass(STEP_MS);
	recorder_tick(&world.dispatcher); /* handed in behind the second question */
	sem_post(&world.gate);
	await_journal();
	recorder_tick(&world.dispatcher);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 8);
	EXPECT_TEXT(journaled(ids[8]), "cancelled");
}

static void test_scheduled_tasks_rest_too(void)
{
	struct tr_id ids[12], ran[12];
	struct record record = record_for("h");

	for (unsigned i = 0; i < 12; i++) { /* the later published, the earlier due */
		record.run_at_ms = world.dispatcher.now_ms + 100000 - i * 1000;
		ids[i] = publish(&record, 1);
	}
	settle();
	CU_ASSERT_EQUAL(in_memory(), 7); /* nine went back to four, three came before them */
	CU_ASSERT_EQUAL(stat_of(STAT_task_scheduled), 12);
	CU_ASSERT_PTR_NULL(scheduler_next(the_pool()));
	pass(200000); /* all come due, those in the journal as well */
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 12), 12);
	for (unsigned i = 0; i < 12; i++)
		EXPECT_ID(ran[i], ids[11 - i]);
	CU_ASSERT_EQUAL(stat_of(STAT_task_scheduled), 0);
}

static void test_cancel_wherever_it_is(void)
{
	struct tr_id ids[9];
	struct record later = record_for("h");

	later.run_at_ms = world.dispatcher.now_ms + 3600000;
	later.queue = span("other");
	const struct tr_id in_heap = publish(&later, 1);
	publish_row(ids, 9);
	settle();
	const struct tr_id none = { { 9 } };
	publish_cancel(ids[0]);  /* ready */
	publish_cancel(in_heap);
	publish_cancel(ids[8]);  /* in the journal */
	publish_cancel(none);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 3);
	EXPECT_TEXT(sql("SELECT count(*), min(error), max(error) FROM task WHERE state = 6"),
	    "3|cancelled on demand|cancelled on demand");
	CU_ASSERT_EQUAL(shown(ids[8]), TR_CANCELLED);
	publish_cancel(ids[0]); /* it has ended */
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 3);
}

/* What cannot be read now is asked again a second later, and not in a loop until then. */
static void test_journal_cannot_be_read(void)
{
	struct record record = record_for("h");
	struct tr_id ids[9];
	char args[4000];

	memset(args, '7', sizeof args);
	record.args = (struct record_text){ args, sizeof args };
	record.args_bytes = sizeof args;
	for (unsigned i = 0; i < 9; i++) {
		record.created_ns = world.dispatcher.now_ns;
		ids[i] = publish(&record, 1);
		pass(1);
	}
	settle();
	fault_arm(FAULT_MEMORY, 1, 0);
	publish_cancel(ids[8]);
	intake_turn(&world.dispatcher);
	await_journal();
	CU_ASSERT_TRUE(fault_disarm());
	for (unsigned i = 0; i < 2; i++)
		EXPECT_ID(run_next(EV_SUCCEEDED), ids[i]);
	fault_arm(FAULT_MEMORY, 1, 0);
	window_tick(&world.dispatcher);
	await_journal();
	CU_ASSERT_TRUE(fault_disarm());
	window_poll(&world.dispatcher);
	CU_ASSERT_FALSE(the_queue("default")->loading);
	CU_ASSERT_TRUE(the_queue("default")->bounded);
	pass(999);
	window_tick(&world.dispatcher);
	CU_ASSERT_FALSE(the_queue("default")->loading);
	await_journal();
	window_poll(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 0);
	CU_ASSERT_EQUAL(world.dispatcher.commands_asked, 1);
	pass(1);
	window_tick(&world.dispatcher);
	CU_ASSERT_TRUE(the_queue("default")->loading);
	await_journal();
	window_poll(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 1);
	CU_ASSERT_EQUAL(world.dispatcher.commands_asked, 0);
	CU_ASSERT_EQUAL(the_queue("default")->waiting, 6);
	settle();
	EXPECT_TEXT(journaled(ids[8]), "cancelled");
}

/* Commands about one task, the first of which, or two, cannot be read: it is discarded before it could be retried. */
static void test_unread_commands_keep_their_order(void)
{
	static const enum record_kind kinds[] = { RECORD_DISCARD, RECORD_RETRY, RECORD_RETRY };
	struct record record = record_for("h");
	char args[4000];

	memset(args, '7', sizeof args);
	record.args = (struct record_text){ args, sizeof args };
	record.args_bytes = sizeof args;
	for (unsigned unread = 1; unread <= 2; unread++) {
		const struct tr_id id = publish(&record, 1);
		settle();
		EXPECT_ID(run_next(EV_BURY), id);
		settle();
		for (unsigned i = 0; i < 3; i++) {
			if (i < unread)
				fault_arm(FAULT_MEMORY, 1, 0);
			publish_command(kinds[i], id);
			intake_turn(&world.dispatcher);
			await_journal();
			CU_ASSERT_TRUE(fault_disarm());
		}
		window_poll(&world.dispatcher);
		CU_ASSERT_EQUAL(world.dispatcher.commands_asked, 3);
		pass(1000);
		settle();
		EXPECT_TEXT(journaled(id), "cancelled");
	}
	CU_ASSERT_EQUAL(stat_of(STAT_task_retried), 0);
}

/* Taken, but the journal had no memory to read the task. */
static void discard_unread(struct tr_id id)
{
	fault_arm(FAULT_MEMORY, 1, 0);
	publish_command(RECORD_DISCARD, id);
	intake_turn(&world.dispatcher);
	await_journal();
	CU_ASSERT_TRUE(fault_disarm());
	window_poll(&world.dispatcher);
}

/* The second is on its way to the journal when the first, which could not be read, is to be asked again. */
static void test_unread_before_what_is_asked(void)
{
	const struct tr_id id = ended_task("h", EV_BURY);

	discard_unread(id);
	publish_command(RECORD_RETRY, id);
	pass(1000);
	intake_turn(&world.dispatcher);
	window_tick(&world.dispatcher);
	settle();
	EXPECT_TEXT(journaled(id), "cancelled");
	CU_ASSERT_EQUAL(stat_of(STAT_task_retried), 0);
}

/* Nor does a clock that is put back make a command wait. */
static void test_unread_and_clock_put_back(void)
{
	const struct tr_id id = ended_task("h", EV_BURY);

	discard_unread(id);
	pass(-3600000);
	for (int i = 0; i < 3; i++) {
		turn();
		await_journal();
	}
	CU_ASSERT_EQUAL(world.dispatcher.commands_asked, 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_discarded), 1);
}

/* Names of queues come from producers. A task that finds no room for its queue is not lost silently. */
static void test_too_many_queues(void)
{
	char name[16];

	for (unsigned i = 0; i < 4096; i++) {
		snprintf(name, sizeof name, "q%u", i);
		the_queue(name)->tasks++;
	}
	struct record record = record_for("h");
	record.queue = span("one-more");
	const struct tr_id id = publish(&record, 1);
	settle();
	EXPECT_TEXT(sql("SELECT state, queue, error FROM task WHERE id = x'%s'", hex(id)),
	    "6|one-more|its queue cannot be made: too many others are in use");
	CU_ASSERT_EQUAL(in_memory(), 0);
	the_queue("q17")->tasks--;
	const struct tr_id next = publish(&record, 1);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), next);
}

/* ---- a restart --------------------------------------------------------------------------- */

static void test_restart(void)
{
	struct tr_id ids[20], ran[20];

	publish_row(ids, 20);
	settle();
	world_kill();
	world_start();
	CU_ASSERT_EQUAL(in_memory(), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 20);
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 20), 20);
	for (unsigned i = 0; i < 20; i++)
		EXPECT_ID(ran[i], ids[i]);
	EXPECT_TEXT(sql("SELECT count(*), sum(state = 4) FROM task"), "20|20");
}

/* Taken, run and perhaps written, but not retired: nothing is lost, and what is known is dropped. */
static void test_restart_reads_the_ring_again(void)
{
	struct tr_id ids[3], ran[3];

	publish_row(ids, 3);
	intake_turn(&world.dispatcher);
	EXPECT_ID(run_next(EV_SUCCEEDED), ids[0]);
	pass(5);
	recorder_tick(&world.dispatcher); /* what has ended is written, the young ones are not */
	await_journal();
	world_kill();
	EXPECT_TEXT(sql("SELECT count(*), sum(state = 4) FROM task"), "1|1");
	world_start();
	CU_ASSERT_EQUAL(ring_unretired(world.dispatcher.ring), 3);
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 3), 2);
	EXPECT_ID(ran[0], ids[1]);
	EXPECT_ID(ran[1], ids[2]);
	CU_ASSERT_EQUAL(stat_of(STAT_records_known), 1);
	EXPECT_TEXT(sql("SELECT count(*), sum(state = 4) FROM task"), "3|3");
}

/* What ran runs again, first; what was being decided is decided; what was to be cancelled is. */
static void test_restart_while_running(void)
{
	struct tr_id ids[4];

	publish_row(ids, 4);
	settle();
	struct task *runs = start_next(), *decides = start_next(), *cancelled = start_next();
	verdict_failed(&world.dispatcher, decides, TR_FAILED_RETURNED, true, "no luck");
	cancelled->cancel_wanted = true;
	settle();
	CU_ASSERT_EQUAL(runs->state, TR_RUNNING);
	world_kill();
	world_start();
	CU_ASSERT_EQUAL(stat_of(STAT_task_running), 1); /* the one that is decided */
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_attempt_rerun), 1);
	CU_ASSERT_TRUE(task_of(ids[1])->deciding);
	CU_ASSERT_TRUE(task_of(ids[1])->permanent);
	EXPECT_TEXT(task_of(ids[1])->error, "no luck");
	EXPECT_ID(scheduler_next(the_pool())->id, ids[1]);
	EXPECT_ID(run_next(EV_SUCCEEDED), ids[0]);
	settle();
	EXPECT_TEXT(sql("SELECT attempt, outcome FROM attempt WHERE task = x'%s'", hex(ids[0])), "1|interrupted");
	EXPECT_TEXT(sql("SELECT attempt, state FROM task WHERE id = x'%s'", hex(ids[0])), "2|4");
	EXPECT_TEXT(journaled(ids[2]), "cancelled");
	EXPECT_ID(run_next(EV_SUCCEEDED), ids[3]);
}

static void test_restart_after_their_time(void)
{
	struct record record = record_for("h");

	record.run_at_ms = world.dispatcher.now_ms + 10000;
	const struct tr_id id = publish(&record, 1);
	settle();
	EXPECT_TEXT(journaled(id), "scheduled");
	world_kill();
	pass(60000);
	world_start();
	settle();
	CU_ASSERT_EQUAL(shown(id), TR_QUEUED);
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
}

/* A person edited the rows: whatever they say, the dispatcher goes on. */
static void test_restart_with_strange_rows(void)
{
	struct tr_id ids[6];
	struct record record = record_for("h");

	record.expires_at_ms = world.dispatcher.now_ms + 1000;
	for (unsigned i = 0; i < 6; i++) {
		ids[i] = publish(&record, 1);
		record.created_ns += 1000000; /* ids in this order */
	}
	settle();
	world_kill();
	pass(5000);
	sql("UPDATE task SET state = 3, attempt = 0 WHERE id = x'%s'", hex(ids[0])); /* retrying, never begun */
	sql("UPDATE task SET deciding = 1, expires_at_ms = 0 WHERE id = x'%s'", hex(ids[1]));
	sql("UPDATE task SET state = 2, blocked = 1 WHERE id = x'%s'", hex(ids[2]));
	sql("UPDATE task SET due_ms = 0, expires_at_ms = 0 WHERE id = x'%s'", hex(ids[3]));
	sql("UPDATE task SET failure_kind = 77, deciding = 1, state = 2 WHERE id = x'%s'", hex(ids[4]));
	sql("UPDATE task SET max_attempts = 0 WHERE id = x'%s'", hex(ids[5])); /* not a task: left alone */
	world_start();
	settle();
	CU_ASSERT_EQUAL(in_memory(), 5);
	CU_ASSERT_FALSE(tasks_is_expired(&world.dispatcher, task_of(ids[0])));
	CU_ASSERT_FALSE(task_of(ids[1])->deciding);
	CU_ASSERT_FALSE(task_of(ids[2])->blocked);
	CU_ASSERT_EQUAL(task_of(ids[2])->state, TR_QUEUED);
	CU_ASSERT_EQUAL(task_of(ids[3])->due_ms, 0);
	CU_ASSERT_TRUE(task_of(ids[4])->deciding);
	CU_ASSERT_EQUAL(task_of(ids[4])->failure_kind, TR_FAILED_RETURNED);
	EXPECT_ID(scheduler_next(the_pool())->id, ids[4]);
	verdict_default(&world.dispatcher, task_of(ids[4]), "test");
	unsigned ran = 0;
	while (scheduler_next(the_pool()))
		ran++;
	CU_ASSERT_EQUAL(ran, 4);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "bound and eviction", test_bound_and_eviction },
		{ "load order", test_load_order },
		{ "arrival while loading", test_arrival_while_loading },
		{ "ended while loading", test_ended_while_loading },
		{ "a stale answer after the commit", test_stale_answer_after_commit },
		{ "scheduled tasks rest too", test_scheduled_tasks_rest_too },
		{ "cancel wherever it is", test_cancel_wherever_it_is },
		{ "the journal cannot be read", test_journal_cannot_be_read },
		{ "unread commands keep their order", test_unread_commands_keep_their_order },
		{ "unread commands before what is asked", test_unread_before_what_is_asked },
		{ "unread commands and a clock put back", test_unread_and_clock_put_back },
		{ "too many queues", test_too_many_queues },
		{ "restart", test_restart },
		{ "restart reads the ring again", test_restart_reads_the_ring_again },
		{ "restart while running", test_restart_while_running },
		{ "restart after their time", test_restart_after_their_time },
		{ "restart with strange rows", test_restart_with_strange_rows },
	};
	if (!faulty_install())
		return 1;
	return RUN_DISPATCH_TESTS("window", tests);
}
