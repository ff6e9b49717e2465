/* What the tests of the ring share: a small ring, numbered batches, children, and main()'s work. */
#ifndef TEST_RING_FIXTURE_H
#define TEST_RING_FIXTURE_H

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/ring.h"
#include "shared/ring_layout.h"
#include "tests/unit/runner.h"

/* NAME, and the two names that a ring of it has. */
static char instance[40], segment_path[80], wake_path[80];
static const struct tr_geometry small = { .lanes = 4, .slots_per_lane = 64, .slot_bytes = 256, .cells = 16384 };
/* Few lanes, many slots: the cells run out first. */
static const struct tr_geometry long_lane = { .lanes = 1, .slots_per_lane = 32768, .slot_bytes = 128, .cells = 16384 };

static inline void remove_names(void)
{
	unlink(segment_path);
	unlink(wake_path);
}

static inline struct ring *attach(const struct tr_geometry *geometry)
{
	struct ring *ring = NULL;
	struct tr_error error = { "" };
	enum tr_result result = ring_attach(&ring, instance, geometry, 0, &error);

	if (result != TR_OK)
		fprintf(stderr, "ring_attach: %s: %s\n", tr_result_name(result), error.text);
	CU_ASSERT_EQUAL_FATAL(result, TR_OK);
	return ring;
}

/* Attaches to the ring and becomes its consumer. */
static inline struct ring_consumer *consume(const struct tr_geometry *geometry)
{
	struct ring_consumer *consumer = NULL;
	struct ring *ring = attach(geometry);
	struct tr_error error = { "" };

	CU_ASSERT_EQUAL_FATAL(ring_consumer_open(&consumer, &ring, &error), TR_OK);
	CU_ASSERT_PTR_NULL(ring);
	return consumer;
}

/* Batch `number` of a source: every byte depends on both and on its place. */
static inline void batch_write(char *to, size_t bytes, uint32_t source, uint32_t number)
{
	const uint32_t head[2] = { source, number };

	for (size_t i = 0; i < bytes; i++)
		to[i] = i < sizeof head ? ((const char *)head)[i] : (char)(number * 31 + source * 7 + i);
}

static inline bool batch_is(const char *batch, size_t bytes, uint32_t source, uint32_t number)
{
	static _Thread_local char expected[1 << 20];

	batch_write(expected, bytes, source, number);
	return memcmp(batch, expected, bytes) == 0;
}

static inline enum tr_result publish(struct ring *ring, size_t bytes, uint32_t source, uint32_t number)
{
	static _Thread_local char batch[1 << 20];
	static _Thread_local uint32_t hint;
	uint64_t position;

	batch_write(batch, bytes, source, number);
	return ring_publish(ring, &hint, batch, bytes, &position);
}

/* Takes one batch and checks it to the byte. */
static inline bool take_is(struct ring_consumer *consumer, size_t bytes, uint32_t source, uint32_t number)
{
	static char batch[1 << 20];
	uint64_t position;

	return ring_take(consumer, batch, &position) == bytes && batch_is(batch, bytes, source, number);
}

/* Batches of source 1, numbered. */
static inline void expect_publish(struct ring *ring, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		CU_ASSERT_EQUAL(publish(ring, 100, 1, i), TR_OK);
}

static inline void expect_take(struct ring_consumer *consumer, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		CU_ASSERT_TRUE(take_is(consumer, 100, 1, i));
}

static inline void retire_all(struct ring_consumer *consumer)
{
	ring_retire(consumer, ring_taken(consumer));
}

/* Nothing was damaged and nothing repaired since the last look. */
static inline void expect_sound(struct ring_consumer *consumer)
{
	const struct ring_report report = ring_consumer_report(consumer);

	CU_ASSERT_EQUAL(report.damaged_batches, 0);
	CU_ASSERT_EQUAL(report.repairs, 0);
}

/* A child that runs `work`, says that it is ready, and waits until the pipe is closed or it is killed. */
struct child {
	pid_t pid;
	int ready, hold;
};

static inline void say_ready(int fd)
{
	if (write(fd, "", 1) != 1)
		_exit(99);
}

static inline void wait_closed(int fd)
{
	char byte;

	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
}

static inline struct child start_child(void (*work)(void))
{
	int ready[2], hold[2];

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(hold), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(ready[0]);
		close(hold[1]);
		work();
		say_ready(ready[1]);
		wait_closed(hold[0]);
		_exit(0);
	}
	close(ready[1]);
	close(hold[0]);
	struct child child = { pid, ready[0], hold[1] };
	char byte;
	CU_ASSERT_EQUAL(read(child.ready, &byte, 1), 1);
	return child;
}

/* The child's status; by a signal (0: let it leave by itself). */
static inline int end_child(struct child *child, int signal_number)
{
	int status = -1;

	if (signal_number)
		kill(child->pid, signal_number);
	close(child->hold);
	close(child->ready);
	CU_ASSERT_EQUAL(waitpid(child->pid, &status, 0), child->pid);
	return status;
}

/* Runs `work` in a child and gives its exit code, or 128 + the signal that ended it. */
static inline int run_in_child(int (*work)(void))
{
	int status = -1;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(work());
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int run_tests(const char *suite_name, const struct suite_test *tests, size_t count)
{
	snprintf(instance, sizeof instance, "%s.%d", suite_name, (int)getpid());
	snprintf(segment_path, sizeof segment_path, "/dev/shm/%s.ring", instance);
	snprintf(wake_path, sizeof wake_path, "/dev/shm/%s.wake", instance);
	return run_suite(suite_name, remove_names, remove_names, tests, count);
}
#define RUN_RING_TESTS(suite_name, tests) run_tests(suite_name, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
