/* The journal's rows: what goes in comes back, in the order that was asked for. */
#include <fcntl.h>

#include "journal_fixture.h"
#include "tests/unit/runner.h"

static bool same_text(struct record_text a, struct record_text b)
{
	return a.bytes == b.bytes && memcmp(a.at, b.at, a.bytes) == 0 && a.at[a.bytes] == 0;
}

static void check_record(const struct record *got, const struct record *want)
{
	CU_ASSERT(id_equal(&got->id, &want->id));
	CU_ASSERT_EQUAL(got->kind, want->kind);
	CU_ASSERT_EQUAL(got->flags, want->flags);
	CU_ASSERT_EQUAL(got->place, want->place);
	CU_ASSERT_EQUAL(got->places, want->places);
	CU_ASSERT_EQUAL(got->max_attempts, want->max_attempts);
	CU_ASSERT_EQUAL(got->backoff_base_ms, want->backoff_base_ms);
	CU_ASSERT_EQUAL(got->backoff_cap_ms, want->backoff_cap_ms);
	CU_ASSERT_EQUAL(got->soft_timeout_ms, want->soft_timeout_ms);
	CU_ASSERT_EQUAL(got->hard_timeout_ms, want->hard_timeout_ms);
	CU_ASSERT_EQUAL(got->created_ns, want->created_ns);
	CU_ASSERT_EQUAL(got->run_at_ms, want->run_at_ms);
	CU_ASSERT_EQUAL(got->expires_at_ms, want->expires_at_ms);
	CU_ASSERT_EQUAL(got->args_bytes, want->args_bytes);
	CU_ASSERT(same_text(got->handler, want->handler));
	CU_ASSERT(same_text(got->queue, want->queue));
	CU_ASSERT(same_text(got->on_failure, want->on_failure));
	CU_ASSERT(same_text(got->trace, want->trace));
	CU_ASSERT(same_text(got->args, want->args));
}

static void check_state(const struct journal_state *got, const struct journal_state *want)
{
	CU_ASSERT_EQUAL(got->state, want->state);
	CU_ASSERT_EQUAL(got->deciding, want->deciding);
	CU_ASSERT_EQUAL(got->failure_kind, want->failure_kind);
	CU_ASSERT_EQUAL(got->permanent, want->permanent);
	CU_ASSERT_EQUAL(got->blocked, want->blocked);
	CU_ASSERT_EQUAL(got->cancel_wanted, want->cancel_wanted);
	CU_ASSERT_EQUAL(got->attempt, want->attempt);
	CU_ASSERT_EQUAL(got->failures, want->failures);
	CU_ASSERT_EQUAL(got->due_ms, want->due_ms);
	CU_ASSERT_EQUAL(got->started_ms, want->started_ms);
	CU_ASSERT_EQUAL(got->ended_ms, want->ended_ms);
	CU_ASSERT((got->error == NULL) == (want->error == NULL));
	CU_ASSERT((got->result == NULL) == (want->result == NULL));
	if (got->error != NULL && want->error != NULL)
		CU_ASSERT_STRING_EQUAL(got->error, want->error);
	if (got->result != NULL && want->result != NULL)
		CU_ASSERT_STRING_EQUAL(got->result, want->result);
}

static const struct journal_state every_field = { .state = TR_RUNNING, .deciding = 1, .failure_kind = 3, .permanent = 1,
	.cancel_wanted = 1, .attempt = 4000000000u, .failures = 6, .due_ms = 7, .started_ms = INT64_MAX, .ended_ms = 9,
	.error = "it \"broke\"\n", .result = "{\"x\":1}" };

static void a_task_comes_back_as_it_went_in(void)
{
	place_open(&place);
	struct journal_batch *batch = batch_of(&place);
	struct record spooled = record_of(2), plain = record_of(1);
	spooled.flags = RECORD_SPOOLED;
	spooled.args = (struct record_text){ NULL, 0 };
	spooled.args_bytes = TR_ARGS_MAX;
	spooled.on_failure = spooled.trace = (struct record_text){ NULL, 0 };
	CU_ASSERT(journal_batch_insert(batch, &plain, &every_field));
	CU_ASSERT(journal_batch_insert(batch, &spooled, &every_field));
	CU_ASSERT_EQUAL(journal_batch_rows(batch), 2);
	keep(&place, batch);

	/* Once from the living journal, once from the next. */
	for (int round = 0; round < 2; round++) {
		struct journal_list *list = load_task(&place, 1);
		CU_ASSERT_EQUAL_FATAL(list->count, 1);
		CU_ASSERT_EQUAL(list->tag, 1);
		CU_ASSERT_PTR_NULL(list->error);
		check_record(&list->tasks[0].record, &plain);
		check_state(&list->tasks[0].state, &every_field);
		journal_list_free(&list);
		CU_ASSERT_PTR_NULL(list);
		list = load_task(&place, 2);
		CU_ASSERT_EQUAL_FATAL(list->count, 1);
		spooled.args.at = spooled.on_failure.at = spooled.trace.at = "";
		check_record(&list->tasks[0].record, &spooled);
		journal_list_free(&list);
		list = load_task(&place, 3);
		CU_ASSERT_EQUAL(list->count, 0);
		journal_list_free(&list);
		journal_close(&place.journal);
		place_open(&place);
	}
}

static void an_update_changes_the_state_only(void)
{
	place_open(&place);
	struct journal_batch *batch = batch_of(&place);
	struct record record = record_of(1);
	CU_ASSERT(journal_batch_insert(batch, &record, &every_field));
	/* In the same batch, and without a row to change. */
	struct journal_state next = { .state = TR_SUCCEEDED, .attempt = 2, .due_ms = 3, .started_ms = 4, .ended_ms = 5 };
	const struct tr_id id = id_of(1), unknown = id_of(9);
	CU_ASSERT(journal_batch_update(batch, &id, &next));
	CU_ASSERT(journal_batch_update(batch, &unknown, &next));
	keep(&place, batch);
	struct journal_list *list = load_task(&place, 1);
	next.result = "{\"x\":1}"; /* NULL leaves it, a NULL error clears */
	check_record(&list->tasks[0].record, &record);
	check_state(&list->tasks[0].state, &next);
	journal_list_free(&list);
	CU_ASSERT_EQUAL(state_in(&place, 9), TR_STATES);

	/* An ended task can live again. */
	batch = batch_of(&place);
	next = (struct journal_state){ .state = TR_QUEUED, .due_ms = 8, .result = "2" };
	CU_ASSERT(journal_batch_update(batch, &id, &next));
	keep(&place, batch);
	list = load_task(&place, 1);
	check_state(&list->tasks[0].state, &next);
	journal_list_free(&list);
}

static void large_texts_survive(void)
{
	static char args[TR_ARGS_INLINE_MAX + 1], result[TR_RESULT_MAX + 1];
	memset(args, 'a', TR_ARGS_INLINE_MAX);
	memset(result, 'r', TR_RESULT_MAX);
	place_open(&place);
	struct journal_batch *batch = batch_of(&place);
	struct journal_state state = state_of(TR_SUCCEEDED, 5);
	state.result = result;
	for (unsigned i = 0; i < 100; i++) {
		struct record record = record_of(i);
		record.args = text_of(args);
		record.args_bytes = record.args.bytes;
		CU_ASSERT(journal_batch_insert(batch, &record, &state));
	}
	keep(&place, batch);
	struct journal_list *list = load_task(&place, 99);
	CU_ASSERT_EQUAL_FATAL(list->count, 1);
	CU_ASSERT_EQUAL(list->tasks[0].record.args.bytes, TR_ARGS_INLINE_MAX);
	CU_ASSERT_STRING_EQUAL(list->tasks[0].record.args.at, args);
	CU_ASSERT_STRING_EQUAL(list->tasks[0].state.result, result);
	journal_list_free(&list);
}

static void a_known_id_is_left_alone(void)
{
	place_open(&place);
	const struct journal_state dead = state_of(TR_DEAD, 1), queued = state_of(TR_QUEUED, 2);
	struct journal_batch *batch = batch_of(&place);
	add_task(batch, 1, "first", &dead);
	add_task(batch, 1, "second", &queued);
	keep(&place, batch);
	batch = batch_of(&place);
	add_task(batch, 1, "third", &queued);
	add_task(batch, 2, "third", &queued);
	keep(&place, batch);
	CU_ASSERT_EQUAL(state_in(&place, 1), TR_DEAD);
	CU_ASSERT_EQUAL(state_in(&place, 2), TR_QUEUED);
	const struct tr_id known = id_of(2), unknown = id_of(3);
	CU_ASSERT(journal_knows(place.journal, &known));
	CU_ASSERT(!journal_knows(place.journal, &unknown));
}

static void attempts_are_kept_replaced_and_removed(void)
{
	place_open(&place);
	const struct journal_state dead = state_of(TR_DEAD, 1);
	struct journal_batch *batch = batch_of(&place);
	add_attempt(batch, 2, 1, "crashed");
	add_attempt(batch, 1, 2, "timeout");
	add_attempt(batch, 1, 1, "failed");
	add_attempt(batch, 1, 2, "killed");
	add_task(batch, 1, "q", &dead);
	add_task(batch, 2, "q", &dead);
	struct journal_done done = commit(&place, batch, true, 77);
	CU_ASSERT_PTR_NULL(done.error);
	CU_ASSERT_EQUAL(done.tag, 77);
	CU_ASSERT(done.synced);
	CU_ASSERT_EQUAL(done.rows, 2);
	CU_ASSERT_EQUAL(done.attempts, 4);
	CU_ASSERT(done.duration_ns > 0);
	journal_batch_free(&done.batch);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempt"), 3);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempts WHERE task = '01900000-0000-7000-8000-000000000001' "
	    "AND attempt = 2 AND outcome = 'killed' AND message = 'm' AND verdict = 'retry' AND worker_pid = 30 AND "
	    "started = '1970-01-01T00:00:00.010Z' AND ended = '1970-01-01T00:00:00.020Z' AND exit_code = 4 AND signal = 5 "
	    "AND peak_memory_kb = 6"), 1);
	const struct tr_id id = id_of(1);
	batch = batch_of(&place);
	CU_ASSERT(journal_batch_delete(batch, &id));
	keep(&place, batch);
	CU_ASSERT_EQUAL(state_in(&place, 1), TR_STATES);
	CU_ASSERT_EQUAL(state_in(&place, 2), TR_DEAD);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempt"), 1);
}

static void a_person_can_read_it(void)
{
	place_open(&place);
	struct journal_batch *batch = batch_of(&place);
	struct journal_state state = state_of(TR_EXPIRED, 1700000000555);
	state.error = "why";
	add_task(batch, 255, "q", &state);
	keep(&place, batch);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM tasks WHERE id = '01900000-0000-7000-8000-0000000000ff' "
	    "AND state = 'expired' AND handler = 'a.handler' AND due = '2023-11-14T22:13:20.555Z' AND "
	    "created = '2023-11-14T22:13:20.123Z' AND error = 'why' AND result IS NULL AND "
	    "key = x'019000000000700080000000000000ff'"), 1);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM state"), TR_STATES);
	for (int i = 0; i < TR_STATES; i++) {
		char query[128];
		snprintf(query, sizeof query, "SELECT count(*) FROM state WHERE state = %d AND name = '%s' AND ended = %d", i,
		    tr_state_name((enum tr_state)i), tr_state_is_ended((enum tr_state)i));
		CU_ASSERT_EQUAL(ask_number(&place, query), 1);
	}
}

/* ---- lists ------------------------------------------------------------------------------- */

static struct journal_list *waiting(const char *queue, int64_t after_due_ms, unsigned after, int64_t until_ms, size_t limit)
{
	const struct tr_id id = id_of(after), none = { { 0 } };

	CU_ASSERT(journal_load_waiting(place.journal, queue, after_due_ms, after ? &id : &none, until_ms, limit, 5));
	return wait_list(&place);
}

static void check_numbers(struct journal_list *list, size_t count, const unsigned *numbers)
{
	CU_ASSERT_PTR_NULL(list->error);
	CU_ASSERT_EQUAL(list->count, count);
	for (size_t i = 0; i < count && i < list->count; i++) {
		const struct tr_id id = id_of(numbers[i]);
		CU_ASSERT(id_equal(&list->tasks[i].record.id, &id));
	}
	journal_list_free(&list);
}

/* Numbers 1..9 in queue "a", some elsewhere. */
static void fill_waiting(void)
{
	static const struct { unsigned number; bool blocked; const char *queue; int64_t due_ms; enum tr_state state; } rows[] = {
		{ 1, false, "a", 300, TR_QUEUED }, { 2, false, "a", 100, TR_RETRYING }, { 3, false, "a", 200, TR_SCHEDULED },
		{ 4, false, "a", 100, TR_RUNNING }, { 5, true, "a", 100, TR_QUEUED }, { 6, false, "a", 100, TR_SUCCEEDED },
		{ 7, false, "a", 200, TR_QUEUED }, { 8, false, "a", 5000000000000, TR_QUEUED }, { 9, true, "a", 1, TR_DEAD },
		{ 10, false, "b", 150, TR_QUEUED }, { 11, false, "c", 150, TR_RUNNING }, { 12, false, "ab", 150, TR_SCHEDULED },
		{ 13, true, "d", 150, TR_QUEUED }, { 14, false, "d", 150, TR_CANCELLED },
	};
	struct journal_batch *batch = batch_of(&place);

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct journal_state state = state_of(rows[i].state, rows[i].due_ms);
		state.blocked = rows[i].blocked;
		add_task(batch, rows[i].number, rows[i].queue, &state);
	}
	keep(&place, batch);
}

static void waiting_tasks_come_by_due_time_and_id(void)
{
	place_open(&place);
	fill_waiting();
	struct journal_list *list = waiting("a", 0, 0, INT64_MAX, 100);
	CU_ASSERT(!list->more);
	CU_ASSERT_EQUAL(list->tag, 5);
	check_numbers(list, 5, (const unsigned[]){ 2, 3, 7, 1, 8 });
	list = waiting("a", 0, 0, 250, 2);
	CU_ASSERT(list->more);
	check_numbers(list, 2, (const unsigned[]){ 2, 3 });
	list = waiting("a", 200, 3, 300, 2);
	CU_ASSERT(list->more);
	check_numbers(list, 2, (const unsigned[]){ 7, 1 });
	list = waiting("a", 300, 1, 300, 2);
	CU_ASSERT(!list->more);
	check_numbers(list, 0, NULL);
	check_numbers(waiting("nobody", 0, 0, INT64_MAX, 9), 0, NULL);
	char *queues = journal_queues(place.journal);
	CU_ASSERT_EQUAL(memcmp(queues, "a\0ab\0b\0", 8), 0);
	free(queues);
}

static void a_start_finds_what_was_cut_off(void)
{
	struct journal_census census;
	place_open(&place);
	char *queues = journal_queues(place.journal);
	CU_ASSERT_EQUAL(queues[0], 0);
	free(queues);
	CU_ASSERT_EQUAL(journal_census(place.journal, &census, &place.error), TR_OK);
	CU_ASSERT_EQUAL(census.oldest_due_ms, 0);
	CU_ASSERT_EQUAL(census.queue_count, 0);
	fill_waiting();
	CU_ASSERT_EQUAL(journal_census(place.journal, &census, &place.error), TR_OK);
	CU_ASSERT_EQUAL(census.by_state[TR_SCHEDULED], 2);
	CU_ASSERT_EQUAL(census.by_state[TR_QUEUED], 6);
	CU_ASSERT_EQUAL(census.by_state[TR_RETRYING], 1);
	CU_ASSERT_EQUAL(census.by_state[TR_RUNNING], 2);
	CU_ASSERT_EQUAL(census.by_state[TR_SUCCEEDED], 0);
	CU_ASSERT_EQUAL(census.oldest_due_ms, 100);
	uint64_t by_queue = 0;
	for (size_t i = 0; i < census.queue_count; i++)
		for (int state = 0; state < TR_STATES; state++)
			by_queue += census.queues[i].by_state[state];
	CU_ASSERT_EQUAL(by_queue, 11);
	free(census.queues);
	const struct tr_id none = { { 0 } }, four = id_of(4), five = id_of(5);
	struct journal_list *list = journal_load_running(place.journal, &none, 1);
	CU_ASSERT(list->more);
	check_numbers(list, 1, (const unsigned[]){ 4 });
	check_numbers(journal_load_running(place.journal, &four, 9), 1, (const unsigned[]){ 11 });
	/* 5 waits for 4, which runs; 13 for 12, which waits: then 4 ends, and 12 is removed. */
	check_numbers(journal_load_orphans(place.journal, &none, 9), 0, NULL);
	struct journal_batch *batch = batch_of(&place);
	const struct journal_state dead = state_of(TR_DEAD, 5);
	const struct tr_id twelve = id_of(12);
	CU_ASSERT(journal_batch_update(batch, &four, &dead) && journal_batch_delete(batch, &twelve));
	keep(&place, batch);
	list = journal_load_orphans(place.journal, &none, 9);
	CU_ASSERT_EQUAL(list->tasks[0].predecessor, TR_DEAD);
	CU_ASSERT_EQUAL(list->tasks[1].predecessor, TR_STATES);
	check_numbers(list, 2, (const unsigned[]){ 5, 13 });
	check_numbers(journal_load_orphans(place.journal, &five, 9), 1, (const unsigned[]){ 13 });
}

static void rows_that_make_no_sense_are_left_out(void)
{
	sqlite3 *connection;
	place_open(&place);
	fill_waiting();
	CU_ASSERT_EQUAL(sqlite3_open(place.path, &connection), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(connection, "UPDATE task SET flags = 300 WHERE handler = 'a.handler' AND due_ms = 200;"
	    "UPDATE task SET handler = '../x' WHERE due_ms = 300", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(connection);
	/* It is logged, which nobody needs to see here. */
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
	CU_ASSERT(dup2(null, STDERR_FILENO) >= 0);
	check_numbers(waiting("a", 0, 0, INT64_MAX, 100), 2, (const unsigned[]){ 2, 8 });
	CU_ASSERT(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	close(null);
}

/* ---- commits ----------------------------------------------------------------------------- */

static void commits_are_answered_in_order(void)
{
	struct journal_done done;
	place_open(&place);
	for (unsigned i = 0; i < 50; i++) {
		struct journal_batch *batch = batch_of(&place);
		const struct journal_state state = state_of(TR_QUEUED, 1);
		if (i % 3)
			add_task(batch, i, "q", &state);
		journal_commit(place.journal, batch, i % 5 == 0, i);
	}
	for (unsigned i = 0; i < 50; i++) {
		while (!journal_poll_done(place.journal, &done))
			place_wait(&place);
		CU_ASSERT_EQUAL(done.tag, i);
		CU_ASSERT_PTR_NULL(done.error);
		CU_ASSERT_EQUAL(done.rows, i % 3 != 0);
		CU_ASSERT_EQUAL(done.synced, i % 5 == 0);
		journal_batch_free(&done.batch);
	}
	CU_ASSERT(!journal_poll_done(place.journal, &done));
}

static void closing_finishes_what_was_handed_in(void)
{
	place_open(&place);
	for (unsigned i = 0; i < 20; i++) {
		struct journal_batch *batch = batch_of(&place);
		const struct journal_state state = state_of(TR_QUEUED, 1);
		add_task(batch, i, "q", &state);
		journal_commit(place.journal, batch, false, i);
	}
	const struct tr_id id = id_of(1);
	CU_ASSERT(journal_load_task(place.journal, &id, 0));
	journal_close(&place.journal);
	CU_ASSERT_PTR_NULL(place.journal);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task"), 20);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(a_task_comes_back_as_it_went_in),
		SUITE_TEST(an_update_changes_the_state_only),
		SUITE_TEST(large_texts_survive),
		SUITE_TEST(a_known_id_is_left_alone),
		SUITE_TEST(attempts_are_kept_replaced_and_removed),
		SUITE_TEST(a_person_can_read_it),
		SUITE_TEST(waiting_tasks_come_by_due_time_and_id),
		SUITE_TEST(a_start_finds_what_was_cut_off),
		SUITE_TEST(rows_that_make_no_sense_are_left_out),
		SUITE_TEST(commits_are_answered_in_order),
		SUITE_TEST(closing_finishes_what_was_handed_in),
	};

	return RUN_TESTS_EACH("journal", place_set_up, place_tear_down, tests);
}
