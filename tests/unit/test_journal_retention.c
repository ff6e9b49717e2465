/* What the journal removes by itself: by number, by age, and who is told of the dead. And how many of these it keeps. */
#include "journal_fixture.h"
#include "tests/unit/runner.h"

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until `count` tasks have been removed altogether. */
static void wait_removed(uint64_t count)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t removed = 0;

	for (int i = 0; i < DEADLINE_S * 1000 && removed < count; i++) {
		removed += journal_removed(place.journal);
		if (removed < count)
			nanosleep(&pause, NULL);
	}
	CU_ASSERT_EQUAL(removed, count);
	CU_ASSERT_EQUAL(journal_removed(place.journal), 0);
}

static void retention_keeps_the_newest(void)
{
	CU_ASSERT_EQUAL_FATAL(place_open_with(&place, 0, 100), TR_OK);
	struct journal_batch *batch = batch_of(&place);
	for (unsigned i = 0; i < 3000; i++) {
		const struct journal_state state = state_of(i % 10 == 9 ? TR_QUEUED : TR_SUCCEEDED, 10000 - i);
		add_task(batch, i, "q", &state);
		add_attempt(batch, i, 1, "succeeded");
	}
	keep(&place, batch);
	wait_removed(2600);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task WHERE state = 1"), 300);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT max(due_ms) FROM task WHERE state = 4"), 10000);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT min(due_ms) FROM task WHERE state = 4"), 10000 - 110);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempt"), 400);
	/* Counted through updates, deletes and known ids as well. */
	batch = batch_of(&place);
	const struct journal_state ended = state_of(TR_DEAD, 20000);
	for (unsigned i = 9; i < 3000; i += 10) {
		const struct tr_id id = id_of(i);
		CU_ASSERT(journal_batch_update(batch, &id, &ended));
	}
	const struct tr_id newest = id_of(0);
	CU_ASSERT(journal_batch_delete(batch, &newest));
	add_task(batch, 9, "q", &ended);
	keep(&place, batch);
	wait_removed(299);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task WHERE state = 5"), 100);
	CU_ASSERT_EQUAL(journal_dead(place.journal), 100);
	journal_close(&place.journal);
	CU_ASSERT_EQUAL_FATAL(place_open_with(&place, 0, 40), TR_OK);
	wait_removed(60);
	CU_ASSERT_EQUAL(journal_dead(place.journal), 40);
}

/* What journal_dead() says, and what is there. */
static void expect_dead(uint64_t count)
{
	CU_ASSERT_EQUAL(journal_dead(place.journal), count);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task WHERE state = 5"), (int64_t)count);
}

/* Task `number` comes into `state`, in a commit of its own. */
static void update(unsigned number, enum tr_state state)
{
	const struct journal_state row = state_of(state, 100);
	const struct tr_id id = id_of(number);
	struct journal_batch *batch = batch_of(&place);

	CU_ASSERT(journal_batch_update(batch, &id, &row));
	keep(&place, batch);
}

static void insert_all(unsigned from, unsigned to, enum tr_state state)
{
	const struct journal_state row = state_of(state, 100);
	struct journal_batch *batch = batch_of(&place);

	for (unsigned number = from; number < to; number++)
		add_task(batch, number, "q", &row);
	keep(&place, batch);
}

static void delete(unsigned number)
{
	const struct tr_id id = id_of(number);
	struct journal_batch *batch = batch_of(&place);

	CU_ASSERT(journal_batch_delete(batch, &id));
	keep(&place, batch);
}

static void dead_ones_are_counted(void)
{
	place_open(&place);
	expect_dead(0);
	insert_all(0, 10, TR_DEAD);
	insert_all(10, 20, TR_RUNNING);
	insert_all(20, 30, TR_SUCCEEDED);
	expect_dead(10);
	update(0, TR_QUEUED); /* retried */
	expect_dead(9);
	update(1, TR_CANCELLED); /* discarded */
	expect_dead(8);
	update(2, TR_DEAD); /* retried, and dead again before that was written */
	expect_dead(8);
	update(10, TR_DEAD);
	update(11, TR_SUCCEEDED);
	update(20, TR_SUCCEEDED);
	update(99, TR_DEAD); /* there is none */
	expect_dead(9);
	for (unsigned number = 3; number < 100; number += 17) /* dead, succeeded, and none */
		delete(number);
	delete(12);
	expect_dead(8);
	insert_all(5, 15, TR_DEAD); /* those that are there stay as they are */
	expect_dead(9); /* and the one that was deleted is there again */
	journal_close(&place.journal);
	place_open(&place);
	expect_dead(9);
	insert_all(30, 31, TR_DEAD);
	expect_dead(10);
}

static void retention_removes_the_old(void)
{
	CU_ASSERT_EQUAL_FATAL(place_open_with(&place, 2000, 0), TR_OK);
	struct journal_batch *batch = batch_of(&place);
	int64_t now = now_ms();
	for (unsigned i = 0; i < 1000; i++) {
		const struct journal_state state = state_of(i < 600 ? TR_SUCCEEDED : i < 900 ? TR_DEAD : TR_RUNNING,
		    i < 600 ? now - 60000 : now);
		add_task(batch, i, "q", &state);
		add_attempt(batch, i, 1, "succeeded");
	}
	keep(&place, batch);
	wait_removed(600);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task"), 400);
	/* Nothing is handed in: the time alone makes it come back. */
	wait_removed(300);
	CU_ASSERT(now_ms() - now >= 2000);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task WHERE state = 2"), 100);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempt"), 100);
}

static struct { struct tr_id id; uint8_t flags; } told[16];
static _Atomic unsigned tellings;

/* On the journal's thread, after the commit: nobody finds the row any more. */
static void note_removed(void *context, const struct tr_id *id, uint8_t flags)
{
	char query[100];

	CU_ASSERT_PTR_EQUAL(context, &place);
	snprintf(query, sizeof query, "SELECT count(*) FROM task WHERE id = x'0190000000007000800000000000%04x'",
	    (unsigned)(id->bytes[14] << 8 | id->bytes[15]));
	CU_ASSERT_EQUAL(ask_number(&place, query), 0);
	told[tellings % 16].id = *id;
	told[tellings % 16].flags = flags;
	tellings++;
}

/* Of the removed ones those are told of that were dead. */
static void removed_dead_are_told(void)
{
	static const struct { enum tr_state state; uint8_t flags; } tasks[] = {
		{ TR_DEAD, RECORD_SPOOLED }, { TR_DEAD, RECORD_FILE | RECORD_SEQUENTIAL }, { TR_DEAD, RECORD_SEQUENTIAL | RECORD_DISK },
		{ TR_SUCCEEDED, RECORD_FILE }, { TR_CANCELLED, RECORD_SPOOLED }, { TR_QUEUED, RECORD_FILE }, { TR_DEAD, 15 },
	};
	const struct journal_options options = { .path = place.path, .retention_count = 1, .wake = place_wake,
		.wake_context = &place, .removed = note_removed, .removed_context = &place };

	tellings = 0;
	CU_ASSERT_EQUAL_FATAL(journal_open(&place.journal, &options, &place.error), TR_OK);
	struct journal_batch *batch = batch_of(&place);
	for (unsigned i = 0; i < sizeof tasks / sizeof *tasks; i++) {
		const struct journal_state state = state_of(tasks[i].state, 1000 + i);
		struct record record = record_of(i);
		record.flags = tasks[i].flags;
		if (record.flags & RECORD_SPOOLED)
			record.args.bytes = 0;
		CU_ASSERT_TRUE(journal_batch_insert(batch, &record, &state));
	}
	const struct journal_state newest = state_of(TR_DEAD, 9000);
	add_task(batch, 100, "q", &newest);
	keep(&place, batch);
	wait_removed(6);
	journal_close(&place.journal);
	CU_ASSERT_EQUAL_FATAL(tellings, 4);
	CU_ASSERT_TRUE(id_equal(&told[0].id, &(struct tr_id){ { 1, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80 } }));
	CU_ASSERT_EQUAL(told[0].flags, RECORD_SPOOLED);
	CU_ASSERT_EQUAL(told[1].flags, RECORD_FILE | RECORD_SEQUENTIAL);
	CU_ASSERT_EQUAL(told[2].flags, RECORD_SEQUENTIAL | RECORD_DISK);
	CU_ASSERT_EQUAL(told[3].id.bytes[15], 6);
	CU_ASSERT_EQUAL(told[3].flags, 15);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(retention_keeps_the_newest),
		SUITE_TEST(retention_removes_the_old),
		SUITE_TEST(removed_dead_are_told),
		SUITE_TEST(dead_ones_are_counted),
	};

	return RUN_TESTS_EACH("journal's retention", place_set_up, place_tear_down, tests);
}
