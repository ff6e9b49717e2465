/*
 * Which tasks are in memory, with a window of 4: what is dropped, in which order it comes back, what
 * a restart finds, and how the tasks of one batch follow each other wherever they rest.
 */
#include "tests/unit/dispatch_fixture.h"

/* Tasks one ms apart, each a batch of its own, the first made `count` ms ago. */
static void publish_row(struct tr_id *ids, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct record record = record_for("h");
		record.created_ns -= (int64_t)(count - i) * 1000000;
		ids[i] = publish(&record, 1);
	}
}

/* Runs whatever becomes ready until nothing is left; answers how many ran, their ids in `ran`. */
static unsigned run_all(struct tr_id *ran, unsigned most)
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

static struct queue *the_queue(const char *name)
{
	return scheduler_queue(&world.dispatcher, span(name));
}

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
	await_journal(); /* the first answer; the thread waits at the gate */
	window_poll(&world.dispatcher);
	CU_ASSERT_EQUAL(task_of(ids[8])->state, TR_CANCELLED);
	world.gated = false;
	pass(STEP_MS);
	recorder_tick(&world.dispatcher); /* handed in behind the second question */
	sem_post(&world.gate);
	await_journal();
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
	publish(&record, 1);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), ((struct tr_id){ { 0 } })) ;
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
	for (unsigned i = 0; i < 6; i++)
		ids[i] = publish(&record, 1);
	settle();
	world_kill();
	pass(5000);
	sql("UPDATE task SET state = 3, attempt = 0 WHERE id = x'%s'", hex(ids[0])); /* retrying, never begun */
	sql("UPDATE task SET deciding = 1, expires_at_ms = 0 WHERE id = x'%s'", hex(ids[1]));
	sql("UPDATE task SET state = 2, blocked = 1 WHERE id = x'%s'", hex(ids[2]));
	sql("UPDATE task SET due_ms = -9223372036854775808, expires_at_ms = 0 WHERE id = x'%s'", hex(ids[3]));
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
	verdict_default(&world.dispatcher, scheduler_next(the_pool()), "test");
	unsigned ran = 0;
	while (scheduler_next(the_pool()))
		ran++;
	CU_ASSERT_EQUAL(ran, 4);
}

/* ---- batches in order -------------------------------------------------------------------- */

static struct tr_id publish_sequence(uint16_t count)
{
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	return publish(&record, count);
}

static void test_sequence(void)
{
	const struct tr_id first = publish_sequence(3);

	settle();
	CU_ASSERT_EQUAL(in_memory(), 3);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 3);
	for (int i = 0; i < 3; i++) {
		EXPECT_ID(run_next(EV_SUCCEEDED), id_step(&first, i));
		CU_ASSERT_EQUAL(the_queue("default")->waiting, i < 2);
	}
	settle();
	EXPECT_TEXT(sql("SELECT count(*), sum(blocked) FROM task WHERE state = 4"), "3|0");
}

static void test_failure_ends_the_sequence(void)
{
	const struct tr_id first = publish_sequence(4);

	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), first);
	EXPECT_ID(run_next(EV_BURY), id_step(&first, 1));
	CU_ASSERT_PTR_NULL(scheduler_next(the_pool()));
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 2);
	EXPECT_TEXT(sql("SELECT state, coalesce(error, '') FROM task ORDER BY id"),
	    "4| 5| 6|the task before it in its batch did not succeed 6|the task before it in its batch did not succeed");
	CU_ASSERT_EQUAL(in_memory(), 0);
}

/* A whole sequence lies beyond the window; each is fetched when its turn has come. */
static void test_sequence_rests_in_the_journal(void)
{
	struct tr_id ids[9], ran[12];

	publish_row(ids, 9);
	const struct tr_id first = publish_sequence(3);
	settle();
	CU_ASSERT_EQUAL(in_memory(), 4);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_PTR_NULL(task_of(id_step(&first, i)));
	EXPECT_TEXT(sql("SELECT group_concat(blocked) FROM task WHERE id >= x'%s'", hex(first)), "0,1,1");
	CU_ASSERT_EQUAL_FATAL(run_all(ran, 12), 12);
	for (int i = 0; i < 12; i++)
		EXPECT_ID(ran[i], i < 9 ? ids[i] : id_step(&first, i - 9));
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
}

static void bury_resting_sequence(void)
{
	struct tr_id ids[9], ran[9];

	publish_row(ids, 9);
	const struct tr_id first = publish_sequence(3);
	settle();
	for (unsigned i = 0; i < 9; i++) {
		ran[i] = run_next(EV_SUCCEEDED);
		settle();
	}
	EXPECT_ID(ran[8], ids[8]);
	EXPECT_ID(run_next(EV_BURY), first);
	settle();
	settle();
	CU_ASSERT_EQUAL(in_memory(), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
}

static void test_failure_reaches_what_rests(void)
{
	bury_resting_sequence();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM task WHERE place > 0"), "6,6");
}

/*
 * With no history the row of the buried one stays until retention takes it: deleted at once, and
 * taskd killed before the next one's row is written, the start would take it for a success.
 */
static void test_failure_is_remembered_without_history(void)
{
	world.config.history = HISTORY_NONE;
	bury_resting_sequence();
	EXPECT_TEXT(sql("SELECT state, place FROM task ORDER BY place"), "5|0 6|1");
}

/* taskd ended between the end of one and the release of the next. */
static void test_orphans(void)
{
	const struct tr_id after_success = publish_sequence(2), after_death = publish_sequence(3),
	    after_nobody = publish_sequence(2);

	settle();
	world_kill();
	sql("UPDATE task SET state = 4, ended_ms = 1 WHERE id = x'%s'", hex(after_success));
	sql("UPDATE task SET state = 5, ended_ms = 1 WHERE id = x'%s'", hex(after_death));
	sql("DELETE FROM task WHERE id = x'%s'", hex(after_nobody)); /* as without history */
	world_start();
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 2);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), id_step(&after_success, 1));
	EXPECT_ID(run_next(EV_SUCCEEDED), id_step(&after_nobody, 1));
	CU_ASSERT_PTR_NULL(scheduler_next(the_pool()));
	settle();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM task WHERE id > x'%s' AND id <= x'%s02'", hex(after_death),
	    "ffffffffffffffffffffffffffffff") , "6,6,4");
}

/* The first is in the journal, the rest only in the ring: they must not overtake it. */
static void test_half_a_batch_in_the_journal(void)
{
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	record.run_at_ms = world.dispatcher.now_ms + 50;
	const struct tr_id first = publish(&record, 2);
	settle();
	world_kill();
	sql("DELETE FROM task WHERE place = 1");
	static char batch[1000];
	uint64_t position;
	record.id = id_step(&first, 1);
	record.place = 1;
	record.places = 2;
	record_encode(&record, batch);
	CU_ASSERT_EQUAL_FATAL(ring_publish(world.producer, &world.hint, batch, record_size(&record), &position), TR_OK);
	world_start();
	intake_turn(&world.dispatcher);
	CU_ASSERT_TRUE(task_of(record.id)->blocked);
	pass(1000);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), first);
	EXPECT_ID(run_next(EV_SUCCEEDED), record.id);
}

/* Records that no producer of ours writes: nobody waits for one that will not let him go. */
static void test_false_places(void)
{
	struct record record = record_for("h");
	const struct tr_id first = publish(&record, 1); /* not sequential, alone */
	static char batch[1000];
	uint64_t position;

	record.flags = RECORD_SEQUENTIAL;
	record.id = id_step(&first, 1);
	record.place = 1;
	record.places = 2;
	record_encode(&record, batch);
	CU_ASSERT_EQUAL_FATAL(ring_publish(world.producer, &world.hint, batch, record_size(&record), &position), TR_OK);
	settle();
	CU_ASSERT_EQUAL(the_queue("default")->waiting, 2);
}

static void test_blocked_and_scheduled(void)
{
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	record.run_at_ms = world.dispatcher.now_ms + 10000;
	const struct tr_id first = publish(&record, 2), second = id_step(&first, 1);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_scheduled), 2);
	pass(20000);
	settle();
	CU_ASSERT_EQUAL(shown(second), TR_SCHEDULED);
	EXPECT_ID(run_next(EV_SUCCEEDED), first);
	CU_ASSERT_EQUAL(shown(second), TR_QUEUED);
	CU_ASSERT_EQUAL(task_of(second)->due_ms, world.dispatcher.now_ms);
	EXPECT_ID(run_next(EV_SUCCEEDED), second);
}

int main(void)
{
	static const struct dispatch_test tests[] = {
		{ "bound and eviction", test_bound_and_eviction },
		{ "load order", test_load_order },
		{ "arrival while loading", test_arrival_while_loading },
		{ "ended while loading", test_ended_while_loading },
		{ "a stale answer after the commit", test_stale_answer_after_commit },
		{ "scheduled tasks rest too", test_scheduled_tasks_rest_too },
		{ "cancel wherever it is", test_cancel_wherever_it_is },
		{ "too many queues", test_too_many_queues },
		{ "restart", test_restart },
		{ "restart reads the ring again", test_restart_reads_the_ring_again },
		{ "restart while running", test_restart_while_running },
		{ "restart after their time", test_restart_after_their_time },
		{ "restart with strange rows", test_restart_with_strange_rows },
		{ "sequence", test_sequence },
		{ "failure ends the sequence", test_failure_ends_the_sequence },
		{ "sequence rests in the journal", test_sequence_rests_in_the_journal },
		{ "failure reaches what rests", test_failure_reaches_what_rests },
		{ "failure is remembered without history", test_failure_is_remembered_without_history },
		{ "orphans", test_orphans },
		{ "half a batch in the journal", test_half_a_batch_in_the_journal },
		{ "false places", test_false_places },
		{ "blocked and scheduled", test_blocked_and_scheduled },
	};
	return RUN_DISPATCH_TESTS("window", tests);
}
