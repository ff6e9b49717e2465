/*
 * The board: what its writer shows is what readers see, to the number. Opening and refusing is in
 * test_board_attach.c, what a writer's death leaves in test_board_races.c.
 */
#include "tests/unit/board_fixture.h"

#include "shared/id.h"

static void test_counters(void)
{
	struct board_writer *writer = open_writer(&small);
	struct board *board = board_writer_board(writer);
	const struct board *seen = open_reader();

	for (uint32_t i = 0; i < STATS; i++)
		CU_ASSERT_EQUAL(stat_get(seen, (enum stat_row)i), 0);
	stat_add(board, STAT_ring_records, 3);
	stat_add(board, STAT_ring_records, UINT64_C(1) << 40);
	stat_set(board, STAT_task_running, 7);
	stat_set(board, STAT_task_running, 2);
	hist_add(&board->hists[HIST_run_ns], 1000);
	CU_ASSERT_EQUAL(stat_get(seen, STAT_ring_records), (UINT64_C(1) << 40) + 3);
	CU_ASSERT_EQUAL(stat_get(seen, STAT_task_running), 2);
	CU_ASSERT_EQUAL(stat_get(seen, STAT_ring_bytes), 0);
	CU_ASSERT_EQUAL(hist_quantile(&seen->hists[HIST_run_ns], 500), 1000);
	CU_ASSERT_STRING_EQUAL(stat_info[STAT_ring_records].name, "ring_records");
	CU_ASSERT_EQUAL(stat_info[STAT_task_running].kind, GAUGE);
	CU_ASSERT_STRING_EQUAL(hist_info[HIST_commit_ns].name, "commit_ns");
	board_close(&seen);
	CU_ASSERT_PTR_NULL(seen);
	board_writer_close(&writer, true);
	CU_ASSERT_PTR_NULL(writer);
}

static void check_first_status(const struct board_entry *entry)
{
	CU_ASSERT_EQUAL(entry->state, TR_RUNNING);
	CU_ASSERT_EQUAL(entry->worker, 2);
	CU_ASSERT_EQUAL(entry->attempt, 3);
	CU_ASSERT_EQUAL(entry->max_attempts, 4);
	CU_ASSERT_EQUAL(entry->created_ms, 1001);
	CU_ASSERT_EQUAL(entry->due_ms, 1002);
	CU_ASSERT_EQUAL(entry->started_ms, 1003);
	CU_ASSERT_EQUAL(entry->ended_ms, 0);
	CU_ASSERT_STRING_EQUAL(entry->handler, "resize_image_in_three_steps");
	CU_ASSERT_STRING_EQUAL(entry->queue, "pictures");
	CU_ASSERT_STRING_EQUAL(entry->error, "first failure");
	CU_ASSERT_STRING_EQUAL(entry->progress_text, "");
	CU_ASSERT_STRING_EQUAL(entry->result, "");
}

static void test_show_and_find(void)
{
	struct board_writer *writer = open_writer(&small);
	const struct board *seen = open_reader();
	struct tr_id id = id_of(1), other = id_of(2);
	uint32_t slot = BOARD_NO_SLOT;
	struct board_entry entry;
	struct board_status status = { .id = id, .state = TR_RUNNING, .worker = 2, .attempt = 3,
		.max_attempts = 4, .created_ms = 1001, .due_ms = 1002, .started_ms = 1003,
		.handler = text_of("resize_image_in_three_steps"), .queue = text_of("pictures"), .error = "first failure" };

	CU_ASSERT_FALSE(board_find(seen, &id, &entry));
	board_show(writer, &slot, &status);
	CU_ASSERT_NOT_EQUAL(slot, BOARD_NO_SLOT);
	CU_ASSERT_TRUE_FATAL(board_find(seen, &id, &entry));
	CU_ASSERT_FALSE(board_find(seen, &other, &(struct board_entry){ 0 }));
	check_first_status(&entry);

	board_progress(writer, slot, &id, 5, 10, "half, and more", 4);
	status.error = NULL;
	status.result = "{\"w\":1}";
	status.result_bytes = 7;
	board_show(writer, &slot, &status);
	CU_ASSERT_TRUE_FATAL(board_find(seen, &id, &entry));
	CU_ASSERT_STRING_EQUAL(entry.error, "first failure");
	CU_ASSERT_STRING_EQUAL(entry.progress_text, "half");
	CU_ASSERT_EQUAL(entry.progress_done, 5);
	CU_ASSERT_EQUAL(entry.progress_total, 10);
	CU_ASSERT_STRING_EQUAL(entry.result, "{\"w\":1}");

	status.error = "";
	status.result = NULL;
	status.result_bytes = 300;
	board_progress(writer, slot, &id, 6, 10, NULL, 0);
	board_show(writer, &slot, &status);
	CU_ASSERT_TRUE_FATAL(board_find(seen, &id, &entry));
	CU_ASSERT_STRING_EQUAL(entry.error, "");
	CU_ASSERT_STRING_EQUAL(entry.progress_text, "half");
	CU_ASSERT_EQUAL(entry.progress_done, 6);
	CU_ASSERT_STRING_EQUAL(entry.result, "");
	CU_ASSERT_EQUAL(entry.result_bytes, 300);

	board_hide(writer, &slot);
	CU_ASSERT_EQUAL(slot, BOARD_NO_SLOT);
	CU_ASSERT_FALSE(board_find(seen, &id, &entry));
	board_close(&seen);
	board_writer_close(&writer, true);
}

/* A text is cut where it fits, between characters; an entry's next task sees none of it. */
static void test_texts(void)
{
	struct board_writer *writer = open_writer(&small);
	const struct board *board = board_writer_board(writer);
	struct board_status status = status_of(1, TR_RUNNING);
	struct tr_id next = id_of(2);
	struct board_entry entry;
	struct board_event event;
	uint32_t slot = BOARD_NO_SLOT;
	char text[400], result[TR_RESULT_SHOWN_MAX + 1];

	memset(text, 'a', sizeof text);
	memcpy(text + 253, "\xe2\x82\xac", 3); /* the euro sign, bytes 253..255: it does not fit */
	text[sizeof text - 1] = '\0';
	memset(result, '7', sizeof result);
	status.error = text;
	status.result = result;
	status.result_bytes = TR_RESULT_SHOWN_MAX;
	board_show(writer, &slot, &status);
	board_progress(writer, slot, &status.id, 1, 2, text + 10, 380);
	CU_ASSERT_TRUE_FATAL(board_find(board, &status.id, &entry));
	CU_ASSERT_EQUAL(strlen(entry.error), 253);
	CU_ASSERT_EQUAL(memcmp(entry.error, text, 253), 0);
	CU_ASSERT_EQUAL(strlen(entry.progress_text), TR_TEXT_MAX);
	CU_ASSERT_EQUAL(strlen(entry.result), TR_RESULT_SHOWN_MAX);
	CU_ASSERT_EQUAL(board_event(board, 1, &event), 1);
	CU_ASSERT_EQUAL(strlen(event.text), sizeof event.text - 1);

	uint32_t first = slot;
	board_hide(writer, &slot);
	status = status_of(2, TR_QUEUED);
	board_show(writer, &slot, &status);
	CU_ASSERT_EQUAL(slot, first);
	CU_ASSERT_TRUE_FATAL(board_find(board, &next, &entry));
	CU_ASSERT_STRING_EQUAL(entry.error, "");
	CU_ASSERT_STRING_EQUAL(entry.progress_text, "");
	CU_ASSERT_STRING_EQUAL(entry.result, "");
	CU_ASSERT_EQUAL(entry.progress_done + entry.progress_total + entry.result_bytes, 0);
	board_writer_close(&writer, true);
}

static void log_number(struct board_writer *writer, unsigned number, size_t bytes)
{
	const struct tr_id id = id_of(1);
	char text[TR_LOG_LINE_MAX + 100];

	memset(text, 'a' + (int)(number % 26), sizeof text);
	board_log_event(writer, &id, 1, number, 6, text, bytes);
}

/* Whether the event's whole text is there, with so many bytes of that number's letter; else 79 of them are to be. */
static bool says_all(const struct board *board, uint64_t serial, unsigned number, size_t bytes)
{
	const char letter[2] = { (char)('a' + number % 26), '\0' };
	struct board_event event;
	char text[TR_LOG_LINE_MAX + 1];

	CU_ASSERT_EQUAL_FATAL(board_event(board, serial, &event), 1);
	bool whole = board_event_text(board, &event, text);
	CU_ASSERT_EQUAL(strlen(text), whole ? bytes : sizeof event.text - 1);
	CU_ASSERT_EQUAL(strspn(text, letter), strlen(text));
	return whole;
}

/* Events have room for 1,024 words of longer texts: for eight of 1,000 bytes, after which the oldest is lost. */
static void test_long_texts(void)
{
	static const struct board_geometry geometry = { .entries = BOARD_BUCKET, .workers = 1, .lanes = 1, .events = 64, .mode = 0600 };
	static const size_t sizes[] = { 0, 1, 79, 80, 81, 88, 999, 1000, 1050 };
	struct board_writer *writer = open_writer(&geometry);
	const struct board *board = open_reader();
	struct board_status status = status_of(1, TR_RUNNING);
	uint32_t slot = BOARD_NO_SLOT;
	char error[300];

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		log_number(writer, i + 1, sizes[i]);
		CU_ASSERT_TRUE(says_all(board, i + 1, i + 1, sizes[i] < TR_LOG_LINE_MAX ? sizes[i] : TR_LOG_LINE_MAX));
	}
	for (unsigned i = 10; i <= 40; i++)
		log_number(writer, i, TR_LOG_LINE_MAX);
	for (unsigned i = 10; i <= 40; i++)
		CU_ASSERT_EQUAL(says_all(board, i, i, TR_LOG_LINE_MAX), i > 32);
	CU_ASSERT_TRUE(says_all(board, 3, 3, 79)); /* what fits into its event stays with it */

	/* The next dispatcher goes on behind the last text. */
	board_writer_close(&writer, false);
	writer = open_writer(&geometry);
	log_number(writer, 41, TR_LOG_LINE_MAX);
	for (unsigned i = 32; i <= 41; i++)
		CU_ASSERT_EQUAL(says_all(board, i, i, TR_LOG_LINE_MAX), i > 33);

	memset(error, 'q', sizeof error);
	error[sizeof error - 1] = '\0';
	status.error = error;
	board_show(writer, &slot, &status);
	CU_ASSERT_TRUE(says_all(board, 42, 'q' - 'a', TR_TEXT_MAX));
	board_close(&board);
	board_writer_close(&writer, true);
}

static void test_eviction(void)
{
	struct board_writer *writer = open_writer(&small);
	struct board *board = board_writer_board(writer);
	uint32_t slots[20];

	for (uint32_t i = 1; i <= BOARD_BUCKET; i++)
		slots[i] = show(writer, i, TR_RUNNING, BOARD_NO_SLOT);
	static const uint32_t ending[] = { 3, 1, 5 };
	for (size_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(show(writer, ending[i], TR_DEAD, slots[ending[i]]), BOARD_NO_SLOT);
	/* Longest ended first, whatever its place. */
	for (uint32_t i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(is_shown(board, ending[i]));
		CU_ASSERT_EQUAL(show(writer, 11 + i, TR_QUEUED, BOARD_NO_SLOT), slots[ending[i]]);
		CU_ASSERT_FALSE(is_shown(board, ending[i]));
	}
	CU_ASSERT_EQUAL(stat_get(board, STAT_board_evicted), 0);
	CU_ASSERT_EQUAL(show(writer, 14, TR_QUEUED, BOARD_NO_SLOT), BOARD_NO_SLOT);
	CU_ASSERT_EQUAL(stat_get(board, STAT_board_evicted), 1);
	CU_ASSERT_FALSE(is_shown(board, 14));
	for (uint32_t i = 11; i <= 13; i++)
		CU_ASSERT_TRUE(is_shown(board, i));
	/* Room again; a task that ended is found by its id and shown where it stood, once. */
	CU_ASSERT_EQUAL(show(writer, 2, TR_SUCCEEDED, slots[2]), BOARD_NO_SLOT);
	CU_ASSERT_EQUAL(show(writer, 2, TR_QUEUED, BOARD_NO_SLOT), slots[2]);
	CU_ASSERT_EQUAL(show(writer, 14, TR_QUEUED, BOARD_NO_SLOT), BOARD_NO_SLOT);
	/* A slot that belongs to another by now is not believed. */
	CU_ASSERT_EQUAL(show(writer, 4, TR_EXPIRED, slots[4]), BOARD_NO_SLOT);
	CU_ASSERT_EQUAL(show(writer, 15, TR_RUNNING, slots[2]), slots[4]);
	CU_ASSERT_TRUE(is_shown(board, 2));
	CU_ASSERT_TRUE(is_shown(board, 15));
	board_writer_close(&writer, true);
}

static void test_events(void)
{
	struct board_writer *writer = open_writer(&small);
	const struct board *board = board_writer_board(writer);
	struct board_event event;
	struct board_status status = status_of(9, TR_RUNNING);
	uint32_t slot = BOARD_NO_SLOT;

	CU_ASSERT_EQUAL(board_event(board, 1, &event), 0);
	status.worker = 2;
	status.error = "twice";
	board_show(writer, &slot, &status);                                /* 1 */
	board_progress(writer, slot, &status.id, 1, 2, "one of two", 10);  /* 2 */
	board_log_event(writer, &status.id, 7, 70000, 6, "hello\0hidden", 5); /* 3 */
	struct board_worker worker = { .state = WORKER_IDLE, .pid = 4711, .pool = "default" };
	board_worker_set(writer, 1, &worker);                              /* 4 */
	worker.state = WORKER_BUSY;
	board_worker_set(writer, 1, &worker);                              /* no event */
	CU_ASSERT_EQUAL(atomic_load(&board->last_event), 4);
	CU_ASSERT_EQUAL(board_event(board, 1, &event), 1);
	CU_ASSERT_EQUAL(event.kind, EVENT_TASK_STATE);
	CU_ASSERT_EQUAL(event.state, TR_RUNNING);
	CU_ASSERT_EQUAL(event.worker, 2);
	CU_ASSERT_TRUE(id_equal(&event.id, &status.id));
	CU_ASSERT_STRING_EQUAL(event.text, "twice");
	CU_ASSERT_TRUE(event.at_ms > INT64_C(1600000000000));
	CU_ASSERT_EQUAL(board_event(board, 2, &event), 1);
	CU_ASSERT_EQUAL(event.kind, EVENT_PROGRESS);
	CU_ASSERT_EQUAL(event.attempt, 1);
	CU_ASSERT_EQUAL(event.worker, 2);
	CU_ASSERT_STRING_EQUAL(event.text, "one of two");
	CU_ASSERT_EQUAL(board_event(board, 3, &event), 1);
	CU_ASSERT_EQUAL(event.kind, EVENT_LOG);
	CU_ASSERT_EQUAL(event.attempt, 7);
	CU_ASSERT_EQUAL(event.worker, UINT16_MAX); /* the line's number, as far as it goes */
	CU_ASSERT_EQUAL(event.state, 6);
	CU_ASSERT_STRING_EQUAL(event.text, "hello");
	CU_ASSERT_EQUAL(board_event(board, 4, &event), 1);
	CU_ASSERT_EQUAL(event.kind, EVENT_WORKER);
	CU_ASSERT_EQUAL(event.state, WORKER_IDLE);
	CU_ASSERT_STRING_EQUAL(event.text, "pid 4711, pool default");

	/* Two more overrun the first two. */
	board_log_event(writer, &status.id, 8, 1, 7, "", 0);
	board_log_event(writer, &status.id, 9, 2, 3, "last", 4);
	static const int expected[] = { -1, -1, -1, 1, 1, 1, 1, 0, 0 };
	for (uint64_t serial = 0; serial < 9; serial++)
		CU_ASSERT_EQUAL(board_event(board, serial, &event), expected[serial]);
	CU_ASSERT_EQUAL(board_event(board, 6, &event), 1);
	CU_ASSERT_EQUAL(event.attempt, 9);
	board_writer_close(&writer, true);
}

static void test_rows(void)
{
	struct board_writer *writer = open_writer(&small);
	const struct board *board = board_writer_board(writer);
	struct board_worker worker = { .state = WORKER_BACKING_OFF, .pid = 5, .threads = 3, .tasks = 77,
		.restarts = 2, .last_exit_code = 1, .last_signal = 11, .peak_memory_kb = 9000, .running = id_of(1), .pool = "slow" };
	struct board_lane lane = { .owned = 1, .generation = 6, .pid = 12, .batches = 3, .records = 8, .last_ms = 99 };
	struct board_worker seen_worker;
	struct board_lane seen_lane;

	board_worker_set(writer, 1, &worker);
	board_lane_set(writer, 2, &lane);
	CU_ASSERT_TRUE_FATAL(board_copy_worker(board, 1, &seen_worker));
	CU_ASSERT_TRUE_FATAL(board_copy_lane(board, 2, &seen_lane));
	CU_ASSERT_EQUAL(memcmp((char *)&worker + 4, (char *)&seen_worker + 4, sizeof worker - 4), 0);
	CU_ASSERT_EQUAL(memcmp((char *)&lane + 4, (char *)&seen_lane + 4, sizeof lane - 4), 0);
	CU_ASSERT_TRUE(board_copy_worker(board, 0, &seen_worker));
	CU_ASSERT_EQUAL(seen_worker.state, WORKER_NONE);
	CU_ASSERT_FALSE(board_copy_worker(board, 2, &seen_worker));
	CU_ASSERT_FALSE(board_copy_lane(board, 3, &seen_lane));
	board_writer_close(&writer, true);
}

static void test_life(void)
{
	struct board_writer *writer = open_writer(&small);
	const struct board *seen = open_reader();

	CU_ASSERT_EQUAL(atomic_load(&seen->running_state), BOARD_NEVER);
	CU_ASSERT_EQUAL(atomic_load(&seen->pid), getpid());
	CU_ASSERT_EQUAL(atomic_load(&seen->incarnation), 1);
	CU_ASSERT_TRUE(board_is_held(instance));
	board_heartbeat(writer, 10000);
	CU_ASSERT_FALSE(board_alive(seen, 10000));
	board_life(writer, BOARD_RUNNING);
	CU_ASSERT_TRUE(board_alive(seen, 10000 + BOARD_ALIVE_MS - 1));
	CU_ASSERT_FALSE(board_alive(seen, 10000 + BOARD_ALIVE_MS));
	board_life(writer, BOARD_DRAINING);
	CU_ASSERT_TRUE(board_alive(seen, 10000));
	uint32_t futex = atomic_load(&seen->durable_futex);
	board_durable(writer, 123);
	board_durable(writer, 123);
	CU_ASSERT_EQUAL(atomic_load(&seen->durable), 123);
	CU_ASSERT_EQUAL(atomic_load(&seen->durable_futex), futex + 1);
	board_writer_close(&writer, false);
	CU_ASSERT_EQUAL(atomic_load(&seen->running_state), BOARD_STOPPED);
	CU_ASSERT_FALSE(board_is_held(instance));
	board_close(&seen);
	CU_ASSERT_EQUAL(shm_unlink(segment), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "counters", test_counters }, { "show and find", test_show_and_find },
		{ "texts", test_texts }, { "long texts", test_long_texts }, { "eviction", test_eviction }, { "events", test_events },
		{ "workers and lanes", test_rows }, { "life", test_life },
	};

	return RUN_BOARD_TESTS("board", tests);
}
