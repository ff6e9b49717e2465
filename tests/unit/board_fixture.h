/* What the tests of the board share: a board of one bucket, tasks by number, and main()'s work. */
#ifndef TEST_BOARD_FIXTURE_H
#define TEST_BOARD_FIXTURE_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "taskd/board_writer.h"
#include "tests/unit/runner.h"

static char instance[32], segment[48], segment_path[64]; /* NAME, /NAME.board, /dev/shm/NAME.board */
/* One bucket: all tasks meet in it. Four events: they overrun soon. */
static const struct board_geometry small = { .entries = BOARD_BUCKET, .workers = 2, .lanes = 3, .events = 4, .mode = 0600 };

static inline struct board_writer *open_writer(const struct board_geometry *geometry)
{
	struct board_writer *writer = NULL;
	struct tr_error error = { "" };
	enum tr_result result = board_writer_open(&writer, instance, geometry, &error);

	if (result != TR_OK)
		fprintf(stderr, "board_writer_open: %s\n", error.text);
	CU_ASSERT_EQUAL_FATAL(result, TR_OK);
	return writer;
}

static inline const struct board *open_reader(void)
{
	const struct board *board = NULL;
	struct tr_error error = { "" };

	CU_ASSERT_EQUAL_FATAL(board_open(&board, instance, &error), TR_OK);
	return board;
}

static inline struct tr_id id_of(uint32_t number)
{
	struct tr_id id = { { 1, 2, 3, 4, 5, 6, 0x70, 8, 0x80 } };

	memcpy(id.bytes + 12, &number, sizeof number);
	return id;
}

static inline struct record_text text_of(const char *text)
{
	return (struct record_text){ text, (uint32_t)strlen(text) };
}

static inline struct board_status status_of(uint32_t number, enum tr_state state)
{
	return (struct board_status){ .id = id_of(number), .state = state, .handler = text_of("send_mail"),
		.queue = text_of("default"), .attempt = 1, .max_attempts = 5 };
}

static inline bool is_shown(const struct board *board, uint32_t number)
{
	struct tr_id id = id_of(number);
	struct board_entry entry;

	return board_find(board, &id, &entry);
}

static inline uint32_t show(struct board_writer *writer, uint32_t number, enum tr_state state, uint32_t slot)
{
	struct board_status status = status_of(number, state);

	board_show(writer, &slot, &status);
	return slot;
}

static inline int run_board_tests(const char *suite, const struct suite_test *tests, size_t count)
{
	snprintf(instance, sizeof instance, "test-%s-%d", suite, getpid());
	snprintf(segment, sizeof segment, "/%s.board", instance);
	snprintf(segment_path, sizeof segment_path, "/dev/shm%s", segment);
	int status = run_suite(suite, NULL, NULL, tests, count);
	shm_unlink(segment); /* where a test broke off */
	return status;
}
#define RUN_BOARD_TESTS(suite, tests) run_board_tests(suite, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
