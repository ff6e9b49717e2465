/* Opening the board: what is refused, replaced or taken over, and what both sides are told. */
#include "tests/unit/board_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Maps the segment writable, as no reader can, to spoil it. */
static struct board *map_writable(void)
{
	int fd = shm_open(segment, O_RDWR | O_CLOEXEC, 0);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	void *memory = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(memory, MAP_FAILED);
	return memory;
}

static void expect_refusal(enum tr_result expected, const char *part, const char *other_part)
{
	const struct board *board = NULL;
	struct tr_error error = { "" };

	CU_ASSERT_EQUAL(board_open(&board, instance, &error), expected);
	CU_ASSERT_PTR_NULL(board);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, part));
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, other_part));
}

static void test_refusals(void)
{
	struct tr_error error;
	const struct board *board;

	expect_refusal(TR_NO_BOARD, instance, "taskd has not run, or was stopped");
	CU_ASSERT_EQUAL(board_open(&board, "../etc/passwd", &error), TR_INVALID);
	struct board_writer *writer = open_writer(&small);
	struct board *raw = map_writable();

	raw->version = 77;
	expect_refusal(TR_VERSION_MISMATCH, "version 77", "reads version 4");
	raw->version = BOARD_VERSION;
	raw->tables = 0xabcd0123;
	expect_refusal(TR_VERSION_MISMATCH, "abcd0123", "this program reads");
	raw->tables = board_tables_hash();
	static const size_t places[] = { offsetof(struct board, entries_at), offsetof(struct board, workers_at),
		offsetof(struct board, lanes_at), offsetof(struct board, queues_at), offsetof(struct board, handlers_at),
		offsetof(struct board, events_at), offsetof(struct board, texts_at) };
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		uint64_t *place = (uint64_t *)((char *)raw + places[i]), right = *place;
		*place = raw->size - 64 + 64 * (i % 2); /* at the last line, and just behind it */
		expect_refusal(TR_VERSION_MISMATCH, "outside", segment);
		*place = 64; /* inside the header */
		expect_refusal(TR_VERSION_MISMATCH, "outside", segment);
		*place = UINT64_MAX - 63; /* its end wraps around */
		expect_refusal(TR_VERSION_MISMATCH, "outside", segment);
		*place = right;
	}
	static const size_t counts[] = { offsetof(struct board, entries), offsetof(struct board, workers),
		offsetof(struct board, lanes), offsetof(struct board, queues), offsetof(struct board, handlers),
		offsetof(struct board, events), offsetof(struct board, text_words) };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		uint32_t *count = (uint32_t *)((char *)raw + counts[i]), right = *count;
		*count = 0xfffffff8;
		expect_refusal(TR_VERSION_MISMATCH, "outside", segment);
		*count = right;
	}
	raw->text_words -= 8; /* no power of two */
	expect_refusal(TR_VERSION_MISMATCH, "outside", segment);
	raw->text_words += 8;
	raw->entries = 0;
	expect_refusal(TR_VERSION_MISMATCH, "outside", segment);
	raw->entries = small.entries;
	raw->size += 64;
	expect_refusal(TR_VERSION_MISMATCH, "bytes", segment);
	raw->size -= 64;
	board = open_reader(); /* all is as it was */
	board_close(&board);
	munmap(raw, sizeof *raw);
	board_writer_close(&writer, true);
}

/* What has the board's name but is none: refused by readers, replaced by the writer. */
static void test_misfits(void)
{
	static const off_t sizes[] = { 0, 1, 100, sizeof(struct board) - 1, sizeof(struct board), 1 << 20 };

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int fd = shm_open(segment, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		CU_ASSERT_TRUE_FATAL(fd >= 0);
		CU_ASSERT_EQUAL_FATAL(ftruncate(fd, sizes[i]), 0);
		close(fd);
		expect_refusal(TR_VERSION_MISMATCH, segment, sizes[i] == 0 ? "empty" : "not a board");
		struct board_writer *writer = open_writer(&small);
		CU_ASSERT_EQUAL(atomic_load(&board_writer_board(writer)->incarnation), 1);
		board_writer_close(&writer, true);
	}
	expect_refusal(TR_NO_BOARD, instance, segment);
}

/* Another geometry makes another board; readers of the old one are told, its writer is not. */
static void test_replacement(void)
{
	struct board_geometry larger = small;
	struct board_writer *writer = open_writer(&small), *second;
	const struct board *before = open_reader();
	struct tr_error error;
	struct stat status;

	larger.events = 5;
	larger.mode = 0666;
	stat_add(board_writer_board(writer), STAT_ring_records, 4);
	CU_ASSERT_EQUAL(board_writer_open(&second, instance, &small, &error), TR_SYSTEM);
	CU_ASSERT_PTR_NULL(second);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "in use by another dispatcher"));
	CU_ASSERT_EQUAL(board_writer_open(&second, instance, &larger, &error), TR_SYSTEM);
	board_writer_close(&writer, false);
	CU_ASSERT_FALSE(board_replaced(before, instance));
	writer = open_writer(&small);
	CU_ASSERT_FALSE(board_replaced(before, instance)); /* taken over: still the same */
	board_writer_close(&writer, false);

	writer = open_writer(&larger);
	CU_ASSERT_TRUE(board_replaced(before, instance));
	CU_ASSERT_EQUAL(stat_get(before, STAT_ring_records), 4);
	CU_ASSERT_EQUAL(stat_get(board_writer_board(writer), STAT_ring_records), 0);
	CU_ASSERT_EQUAL(stat(segment_path, &status), 0);
	CU_ASSERT_EQUAL(status.st_mode & 07777, 0644);
	board_writer_close(&writer, true);
	CU_ASSERT_FALSE(board_replaced(before, instance)); /* nothing newer is there */
	board_close(&before);
}

/* After a stop in order, too, counters go on and all else begins anew. */
static void test_take_over(void)
{
	struct board_writer *writer = open_writer(&small);
	const struct board *seen = open_reader();
	struct board_worker worker = { .state = WORKER_BUSY, .pid = 5 };
	struct board_lane lane = { .owned = 1 };

	stat_add(board_writer_board(writer), STAT_task_accepted, 9);
	stat_set(board_writer_board(writer), STAT_task_running, 3);
	hist_add(&board_writer_board(writer)->hists[HIST_wait_ns], 50);
	show(writer, 1, TR_RUNNING, BOARD_NO_SLOT);
	show(writer, 2, TR_DEAD, BOARD_NO_SLOT);
	board_worker_set(writer, 0, &worker);
	board_lane_set(writer, 0, &lane);
	board_durable(writer, 50);
	board_life(writer, BOARD_RUNNING);
	board_writer_close(&writer, false);
	CU_ASSERT_TRUE(is_shown(seen, 1));

	writer = open_writer(&small);
	CU_ASSERT_EQUAL(stat_get(seen, STAT_task_accepted), 9);
	CU_ASSERT_EQUAL(atomic_load(&seen->stats_before[STAT_task_accepted]), 9);
	CU_ASSERT_EQUAL(stat_get(seen, STAT_task_running), 0);
	CU_ASSERT_EQUAL(atomic_load(&seen->hists[HIST_wait_ns].count), 1);
	CU_ASSERT_EQUAL(atomic_load(&seen->incarnation), 2);
	CU_ASSERT_EQUAL(atomic_load(&seen->durable), 0);
	CU_ASSERT_EQUAL(atomic_load(&seen->running_state), BOARD_NEVER);
	CU_ASSERT_FALSE(is_shown(seen, 1));
	CU_ASSERT_FALSE(is_shown(seen, 2));
	CU_ASSERT_TRUE(board_copy_worker(seen, 0, &worker));
	CU_ASSERT_EQUAL(worker.state, WORKER_NONE);
	CU_ASSERT_TRUE(board_copy_lane(seen, 0, &lane));
	CU_ASSERT_EQUAL(lane.owned, 0);
	CU_ASSERT_EQUAL(atomic_load(&seen->last_event), 3);
	show(writer, 3, TR_QUEUED, BOARD_NO_SLOT);
	struct board_event event;
	CU_ASSERT_EQUAL(board_event(seen, 4, &event), 1);
	board_close(&seen);
	board_writer_close(&writer, true);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "refusals", test_refusals }, { "misfits", test_misfits },
		{ "replacement", test_replacement }, { "take-over", test_take_over },
	};

	return RUN_BOARD_TESTS("board-attach", tests);
}
