/*
 * Retrying dead tasks: from the journal, from memory, after a restart, beyond the window, twice; what is
 * refused; and that a command which is taken twice does not wake a task that has died again since.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

static void ask_retry(struct tr_id id)
{
	publish_command(RECORD_RETRY, id);
}

/* A task that has died and rests in the journal. */
static struct tr_id dead_task(const char *handler)
{
	const struct tr_id id = ended_task(handler, EV_BURY);

	EXPECT_TEXT(journaled(id), "dead");
	return id;
}

static void expect_counts(uint64_t retried, uint64_t refused)
{
	CU_ASSERT_EQUAL(stat_of(STAT_task_retried), retried);
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), refused);
}

/* Attempts go on counting, max_attempts begins anew, the rows of the old attempts stay. */
static void test_fresh_attempts(void)
{
	struct record record = record_for("h");

	record.max_attempts = 2;
	start_worker();
	const struct tr_id id = publish(&record, 1);
	for (int life = 0; life < 2; life++) {
		for (int failure = 0; failure < 2; failure++) {
			pass(3600000);
			CU_ASSERT_EQUAL(give(), 1);
			begin(&one, 0);
			end(&one, 0, TR_FAILURE, 0, "no luck");
			CU_ASSERT_EQUAL(give(), 1); /* its callback */
			claim(&one, 0);
			say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
			answer(&one, TR_VERDICT_DEFAULT, 0, "", 0);
			settle();
		}
		EXPECT_TEXT(sql("SELECT state, attempt, failures FROM task"), life ? "5|4|2" : "5|2|2");
		if (life == 0)
			ask_retry(id);
		settle();
	}
	EXPECT_TEXT(sql("SELECT attempt, verdict FROM attempt ORDER BY attempt"), "1|retry 2|bury 3|retry 4|bury");
	expect_counts(1, 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead), 2);
	player_dies(&one, EXIT(0), false);
}

static void test_to_its_end(void)
{
	const struct tr_id id = dead_task("h");

	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
	ask_retry(id);
	settle();
	EXPECT_TEXT(sql("SELECT state, failures, ended_ms, attempt FROM task"), "1|0|0|1");
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 1);
	CU_ASSERT_EQUAL(shown(id), TR_QUEUED);
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	settle();
	EXPECT_TEXT(journaled(id), "succeeded");
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_running), 0);
	CU_ASSERT_EQUAL(in_memory(), 0);
}

/* How many are dead now: fewer when one is retried, discarded or purged, and just as many after a kill. */
static void test_dead_now(void)
{
	const struct tr_id retried = dead_task("h"), discarded = dead_task("h"), purged = dead_task("h"), stays = dead_task("h");

	CU_ASSERT_EQUAL(stat_of(STAT_task_dead_now), 4);
	ended_task("h", EV_SUCCEEDED);
	ask_retry(retried);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead_now), 3);
	publish_command(RECORD_DISCARD, discarded);
	publish_command(RECORD_PURGE, purged);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead_now), 1);
	EXPECT_ID(run_next(EV_BURY), retried); /* its death is lost in the kill */
	world_kill();
	world_start();
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead_now), 1);
	EXPECT_TEXT(journaled(stays), "dead");
	settle();
	EXPECT_ID(run_next(EV_BURY), retried);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead_now), 2);
}

/* Retention removes its row while it is being retried, and it may even die again before that is committed. */
static void test_removed_while_retried(void)
{
	for (int dies = 0; dies < 2; dies++) {
		const struct tr_id id = dead_task("h");
		ask_retry(id);
		turn();
		await_journal();
		intake_turn(&world.dispatcher);
		window_poll(&world.dispatcher);
		CU_ASSERT_PTR_NOT_NULL_FATAL(task_of(id));
		EXPECT_TEXT(sql("DELETE FROM task"), "");
		if (dies)
			EXPECT_ID(run_next(EV_BURY), id);
		removals_note(world.dispatcher.removals, &id, 0);
		removals_tick(&world.dispatcher);
		settle();
		EXPECT_TEXT(journaled(id), dies ? "dead" : "queued");
		CU_ASSERT_EQUAL(shown(id), dies ? TR_DEAD : TR_QUEUED);
		if (!dies)
			EXPECT_ID(run_next(EV_SUCCEEDED), id);
	}
}

static void test_removed_from_the_board(void)
{
	const struct tr_id id = dead_task("h");

	CU_ASSERT_EQUAL(shown(id), TR_DEAD);
	removals_note(world.dispatcher.removals, &id, 0);
	removals_tick(&world.dispatcher);
	CU_ASSERT_EQUAL(shown(id), TR_STATES);
}

/* Which the journal does not keep: nobody can retry it. */
static void test_dead_without_history(void)
{
	world.config.history = HISTORY_NONE;
	just_died(true);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead_now), 0);
}

/* Its death is not in the journal yet, or is on its way there. */
static void test_from_memory(void)
{
	for (int written = 0; written < 2; written++) {
		const struct tr_id id = just_died(written);
		ask_retry(id);
		turn();
		CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
		settle();
		EXPECT_TEXT(journaled(id), "queued");
		EXPECT_ID(run_next(EV_SUCCEEDED), id);
		settle();
		EXPECT_TEXT(journaled(id), "succeeded");
	}
	expect_counts(2, 0);
}

static void test_refused(void)
{
	const struct tr_id unknown = id_make(&world.dispatcher.ids, world.dispatcher.now_ns);
	const struct tr_id waiting = publish_one("waits"), ended = publish_one("ends");

	settle();
	task_of(waiting);
	struct task *task = task_of(ended);
	scheduler_remove(task);
	task->attempt++;
	tasks_move(&world.dispatcher, task, EV_START);
	tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
	ask_retry(ended);
	turn();
	expect_counts(0, 1); /* in memory */
	settle();
	ask_retry(ended);
	ask_retry(waiting);
	ask_retry(unknown);
	settle();
	expect_counts(0, 4);
	EXPECT_TEXT(journaled(ended), "succeeded");
	EXPECT_TEXT(journaled(waiting), "queued");
}

/* Two commands for one death: the second one finds it not dead. Each death can be retried. */
static void test_twice(void)
{
	const struct tr_id id = dead_task("h");

	ask_retry(id);
	ask_retry(id);
	settle();
	expect_counts(1, 1);
	EXPECT_ID(run_next(EV_BURY), id);
	settle();
	pass(1);
	ask_retry(id);
	settle();
	expect_counts(2, 1);
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	settle();
	EXPECT_TEXT(sql("SELECT state, attempt FROM task"), "4|3");
}

/* More waits than is in memory: the retried task takes its place behind it. */
static void test_beyond_the_window(void)
{
	struct tr_id ids[20], ran[21];
	const struct tr_id id = dead_task("h");

	publish_row(ids, 20);
	settle();
	CU_ASSERT_TRUE(the_queue("default")->bounded);
	ask_retry(id);
	settle();
	CU_ASSERT_PTR_NULL(task_of(id));
	EXPECT_TEXT(journaled(id), "queued");
	CU_ASSERT_EQUAL(run_all(ran, 21), 21);
	EXPECT_ID(ran[20], id);
	EXPECT_TEXT(sql("SELECT count(*), min(state), max(state) FROM task"), "21|4|4");
}

static void test_after_a_restart(void)
{
	const struct tr_id id = dead_task("h");

	world_kill();
	ask_retry(id); /* while nobody serves */
	world_start();
	settle();
	expect_counts(1, 0);
	world_kill();
	world_start();
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	settle();
	EXPECT_TEXT(journaled(id), "succeeded");
}

/* The journal's answers come too late: what they would have been about is freed, as by the end of the process. */
static void lose_answers(void)
{
	struct journal_list *answer;

	await_journal();
	while ((answer = journal_poll_list(world.dispatcher.journal)) != NULL) {
		free((void *)(uintptr_t)(answer->tag - 1));
		journal_list_free(&answer);
	}
}

/* Killed before the journal has answered, or before the retry is committed: the command is taken again. */
static void test_command_is_not_lost(void)
{
	const struct tr_id id = dead_task("h");

	for (int answered = 0; answered < 2; answered++) {
		if (answered == 0)
			ask_retry(id);
		intake_turn(&world.dispatcher);
		if (answered) {
			await_journal();
			window_poll(&world.dispatcher);
			CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
		}
		lose_answers();
		world_kill();
		world_start();
		EXPECT_TEXT(journaled(id), "dead");
	}
	settle();
	EXPECT_TEXT(journaled(id), "queued");
}

/*
 * A young task in front keeps the ring from being retired beyond it. So the command stands there still when the task that
 * was retried has died again, and is taken once more after the kill.
 */
static void test_taken_twice(void)
{
	const struct tr_id id = dead_task("h");
	const struct tr_id young = publish_one("young");

	ask_retry(id);
	turn();
	await_journal();
	turn();
	struct task *task = task_of(id);
	CU_ASSERT_PTR_NOT_NULL_FATAL(task);
	scheduler_remove(task);
	task->attempt++;
	tasks_move(&world.dispatcher, task, EV_START);
	pass(10); /* of the 20 that the young one may be left out */
	tasks_move(&world.dispatcher, task, EV_BURY);
	for (int i = 0; i < 3; i++) {
		recorder_tick(&world.dispatcher);
		await_journal();
	}
	EXPECT_TEXT(journaled(id), "dead");
	EXPECT_TEXT(sql("SELECT attempt FROM task WHERE id = x'%s'", hex(id)), "2");
	EXPECT_TEXT(journaled(young), "");
	CU_ASSERT_EQUAL(ring_unretired(world.dispatcher.ring), 2);
	world_kill();
	world_start();
	expect_counts(1, 0);
	settle();
	EXPECT_TEXT(journaled(id), "dead");
	EXPECT_TEXT(journaled(young), "queued");
	expect_counts(1, 1);
	/* What is asked for now is another matter, even while it stands where a replayed one could. */
	pass(1);
	world_kill();
	ask_retry(id);
	world_start();
	settle();
	expect_counts(2, 1);
	EXPECT_TEXT(journaled(id), "queued");
}

/*
 * It died and was shown as dead, but a kill came before that was in the journal, where it is still to be decided: what was
 * asked of the dead one is obeyed all the same.
 */
static void test_death_is_not_written(void)
{
	static const struct {
		enum record_kind kind;
		const char *then;
	} rows[] = { { RECORD_RETRY, "queued" }, { RECORD_DISCARD, "cancelled" }, { RECORD_PURGE, "" } };

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct tr_id id = publish_one("h");
		settle();
		struct task *task = task_of(id);
		scheduler_remove(task);
		task->attempt++;
		tasks_move(&world.dispatcher, task, EV_START);
		verdict_failed(&world.dispatcher, task, TR_FAILED_RETURNED, false, "no luck");
		settle();
		EXPECT_TEXT(sql("SELECT state, deciding FROM task WHERE id = x'%s'", hex(id)), "2|1");
		scheduler_remove(task);
		verdict_apply(&world.dispatcher, task, TR_VERDICT_BURY, 0, "", 0);
		publish_command(rows[i].kind, id);
		world_kill();
		world_start();
		settle();
		EXPECT_TEXT(journaled(id), rows[i].then);
		expect_counts(1, 0);
	}
	CU_ASSERT_EQUAL(stat_of(STAT_task_discarded), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_task_purged), 1);
}

/* The clock was put back between two retries: that is noticed nowhere but after a kill. */
static void test_clock_put_back(void)
{
	const struct tr_id id = dead_task("h");

	ask_retry(id);
	settle();
	EXPECT_ID(run_next(EV_BURY), id);
	settle();
	publish_record(&(struct record){ .kind = RECORD_RETRY, .id = id, .places = 1, .created_ns = world.dispatcher.now_ns - 3600000000000ll });
	settle();
	expect_counts(2, 0);
	EXPECT_TEXT(journaled(id), "queued");
}

/* Those behind it were cancelled when it died, and stay so. */
static void test_rest_of_its_batch(void)
{
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	const struct tr_id id = publish(&record, 3);
	settle();
	EXPECT_ID(run_next(EV_BURY), id);
	settle();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM (SELECT state FROM task ORDER BY id)"), "5,6,6");
	ask_retry(id);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	settle();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM (SELECT state FROM task ORDER BY id)"), "4,6,6");
}

/* Of what the journal does not keep nothing is left that could be retried. */
static void test_without_history(void)
{
	world.config.history = HISTORY_NONE;
	const struct tr_id id = publish_one("h");
	settle();
	EXPECT_ID(run_next(EV_BURY), id);
	settle();
	EXPECT_TEXT(journaled(id), "");
	ask_retry(id);
	settle();
	expect_counts(0, 1);
}

/* ---- the public function ----------------------------------------------------------------- */

static void test_public(void)
{
	open_client();
	const struct tr_id unknown = id_make(&world.dispatcher.ids, world.dispatcher.now_ns), id = dead_task("h");
	CU_ASSERT_EQUAL(tr_task_retry(client, &unknown), TR_NOT_FOUND);
	CU_ASSERT_EQUAL(tr_task_retry(client, &id), TR_OK); /* the board knows that it is dead */
	dispatch();
	CU_ASSERT_EQUAL(tr_task_retry(client, &id), TR_INVALID);
	EXPECT_ID(run_next(EV_BURY), id);
	dispatch();
	char name[80];
	snprintf(name, sizeof name, "/%s.board", world.instance);
	world_kill();
	shm_unlink(name); /* now only the journal does */
	CU_ASSERT_EQUAL(tr_task_retry(client, &unknown), TR_NOT_FOUND);
	CU_ASSERT_EQUAL(tr_task_retry(client, &id), TR_OK);
	world_start();
	dispatch();
	EXPECT_TEXT(journaled(id), "queued");
	expect_counts(1, 0);
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "fresh attempts", test_fresh_attempts },
		{ "to its end", test_to_its_end },
		{ "dead now", test_dead_now },
		{ "dead without history", test_dead_without_history },
		{ "removed while it is retried", test_removed_while_retried },
		{ "removed from the board", test_removed_from_the_board },
		{ "from memory", test_from_memory },
		{ "refused", test_refused },
		{ "twice", test_twice },
		{ "beyond the window", test_beyond_the_window },
		{ "after a restart", test_after_a_restart },
		{ "a command is not lost", test_command_is_not_lost },
		{ "a command is taken twice", test_taken_twice },
		{ "its death is not written", test_death_is_not_written },
		{ "the clock is put back", test_clock_put_back },
		{ "the rest of its batch", test_rest_of_its_batch },
		{ "history=none", test_without_history },
		{ "tr_task_retry", test_public },
	};
	return RUN_DISPATCH_TESTS("retry", tests);
}
