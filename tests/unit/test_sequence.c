/*
 * How the tasks of one batch follow each other: in memory, while they rest in the journal beyond a
 * window of 4, and when taskd ended in between.
 */
#include "tests/unit/dispatch_fixture.h"

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
	/* A row is gone only when the next one was loaded in time to end in the same commit. */
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE state < 4 OR blocked"), "0");
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE (place = 0 AND state <> 5) OR (place = 1 AND state <> 6)"), "0");
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE place = 2"), "0");
}

/* taskd ended between the end of one and the release of the next. */
static void test_orphans(void)
{
	const struct tr_id after_success = publish_sequence(2);
	pass(1);
	const struct tr_id after_death = publish_sequence(3);
	pass(1);
	const struct tr_id after_nobody = publish_sequence(2);

	settle();
	world_kill();
	sql("UPDATE task SET state = 4, ended_ms = 1 WHERE id = x'%s'", hex(after_success));
	sql("UPDATE task SET state = 5, ended_ms = 1 WHERE id = x'%s'", hex(after_death));
	sql("DELETE FROM task WHERE id = x'%s'", hex(after_nobody)); /* as without history */
	world_start();
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 2);
	EXPECT_ID(run_next(EV_SUCCEEDED), id_step(&after_success, 1));
	EXPECT_ID(run_next(EV_SUCCEEDED), id_step(&after_nobody, 1));
	CU_ASSERT_PTR_NULL(scheduler_next(the_pool()));
	settle();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM (SELECT state FROM task ORDER BY id)"), "4,4,5,6,6,4");
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
	record.id = id_step(&first, 1);
	record.place = 1;
	record.places = 2;
	publish_record(&record);
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

	record.flags = RECORD_SEQUENTIAL;
	record.id = id_step(&first, 1);
	record.place = 1;
	record.places = 2;
	publish_record(&record);
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
	static const struct suite_test tests[] = {
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
	return RUN_DISPATCH_TESTS("sequence", tests);
}
