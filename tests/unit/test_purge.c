/*
 * Purging ended tasks: out of the journal, out of memory, off the board; with attempts, lines and files; what is
 * refused, and what a kill before the commit leaves.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

static void ask_purge(struct tr_id id)
{
	publish_command(RECORD_PURGE, id);
}

static void expect_counts(uint64_t purged, uint64_t refused)
{
	CU_ASSERT_EQUAL(stat_of(STAT_task_purged), purged);
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), refused);
}

static void test_from_the_journal(void)
{
	const struct tr_id succeeded = ended_task("h", EV_SUCCEEDED), dead = ended_task("h", EV_BURY), stays = ended_task("h", EV_BURY);

	ask_purge(succeeded);
	ask_purge(dead);
	settle();
	EXPECT_TEXT(journaled(succeeded), "");
	EXPECT_TEXT(journaled(dead), "");
	EXPECT_TEXT(journaled(stays), "dead");
	CU_ASSERT_EQUAL(shown(succeeded), TR_STATES);
	CU_ASSERT_EQUAL(shown(dead), TR_STATES);
	CU_ASSERT_EQUAL(shown(stays), TR_DEAD);
	CU_ASSERT_EQUAL(in_memory(), 0);
	expect_counts(2, 0);
	ask_purge(dead); /* once more: it is not there */
	settle();
	expect_counts(2, 1);
	CU_ASSERT_EQUAL(stat_of(STAT_task_dead), 2); /* what was counted stays so */
}

/* Its end is not in the journal yet, or is on its way there. */
static void test_from_memory(void)
{
	for (int written = 0; written < 2; written++) {
		const struct tr_id id = just_died(written);
		ask_purge(id);
		ask_purge(id); /* the second one comes too late */
		turn();
		settle();
		EXPECT_TEXT(journaled(id), "");
		CU_ASSERT_EQUAL(shown(id), TR_STATES);
	}
	CU_ASSERT_EQUAL(in_memory(), 0);
	expect_counts(2, 2);
}

static void test_attempts_go_along(void)
{
	start_worker();
	const struct tr_id id = publish_one("h");
	CU_ASSERT_EQUAL(give(), 1);
	begin(&one, 0);
	end(&one, 0, TR_SUCCESS, 0, "");
	settle();
	EXPECT_TEXT(sql("SELECT count(*) FROM attempt"), "1");
	ask_purge(id);
	settle();
	EXPECT_TEXT(sql("SELECT (SELECT count(*) FROM attempt) + (SELECT count(*) FROM task)"), "0");
	player_dies(&one, EXIT(0), false);
}

static void test_files_go_along(void)
{
	const struct task_options once = { .max_attempts = 1 };
	char path[200], text[TR_ID_TEXT_SIZE];

	open_client();
	CU_ASSERT_EQUAL(background_tasks_add(batch, "h", NULL, &once), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, tr_spool_file(client, NULL)), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL_FATAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(tr_task_purge(client, &id), TR_INVALID); /* it waits */
	dispatch();
	EXPECT_ID(run_next(EV_BURY), id);
	dispatch();
	snprintf(path, sizeof path, "%s/%s.file", world.spool, tr_id_format(&id, text));
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	CU_ASSERT_EQUAL(tr_task_purge(client, &id), TR_OK);
	dispatch();
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	CU_ASSERT_EQUAL(tr_task_purge(client, &id), TR_NOT_FOUND);
	close_client();
}

/* A task without a row is on the board only. */
static void test_off_the_board(void)
{
	world.config.history = HISTORY_NONE;
	const struct tr_id id = ended_task("h", EV_SUCCEEDED);

	EXPECT_TEXT(journaled(id), "");
	CU_ASSERT_EQUAL(shown(id), TR_SUCCEEDED);
	ask_purge(id);
	settle();
	CU_ASSERT_EQUAL(shown(id), TR_STATES);
	expect_counts(1, 0);
}

static void test_refused(void)
{
	const struct tr_id waits = publish_one("h");

	settle();
	ask_purge(waits);
	settle();
	EXPECT_TEXT(journaled(waits), "queued");
	CU_ASSERT_EQUAL(shown(waits), TR_QUEUED);
	EXPECT_ID(run_next(EV_RETRY), waits);
	ask_purge(waits);
	settle();
	EXPECT_TEXT(journaled(waits), "retrying");
	expect_counts(0, 2);
}

/* Killed before the commit: the command is in the ring still. */
static void test_kill(void)
{
	const struct tr_id id = ended_task("h", EV_BURY);

	ask_purge(id);
	turn();
	await_journal();
	turn();
	expect_counts(1, 0);
	world_kill();
	EXPECT_TEXT(journaled(id), "dead");
	world_start();
	settle();
	EXPECT_TEXT(journaled(id), "");
	CU_ASSERT_EQUAL(in_memory(), 0);
}

/*
 * The second one of the batch rests in the journal, beyond the window. Until its end is written there, the row of
 * the first must tell that it did not succeed.
 */
static void test_awaited_by_the_next(void)
{
	struct record record = record_for("h");
	struct tr_id ids[20], id, second;

	record.flags = RECORD_SEQUENTIAL;
	publish_row(ids, 20);
	id = publish(&record, 2);
	second = id_step(&id, 1);
	settle();
	CU_ASSERT_PTR_NULL(task_of(id));
	for (unsigned i = 0; i < 20; i++) {
		EXPECT_ID(run_next(EV_SUCCEEDED), ids[i]);
		settle();
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(task_of(id));
	CU_ASSERT_PTR_NULL(task_of(second));
	EXPECT_ID(run_next(EV_BURY), id);
	ask_purge(id);
	intake_turn(&world.dispatcher);
	expect_counts(0, 1);
	settle();
	EXPECT_TEXT(journaled(second), "cancelled");
	ask_purge(id);
	settle();
	EXPECT_TEXT(journaled(id), "");
	EXPECT_TEXT(journaled(second), "cancelled");
	expect_counts(1, 1);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "from the journal", test_from_the_journal },
		{ "from memory", test_from_memory },
		{ "attempts go along", test_attempts_go_along },
		{ "files go along", test_files_go_along },
		{ "off the board", test_off_the_board },
		{ "refused", test_refused },
		{ "killed before the commit", test_kill },
		{ "awaited by the next", test_awaited_by_the_next },
	};
	return RUN_DISPATCH_TESTS("purge", tests);
}
