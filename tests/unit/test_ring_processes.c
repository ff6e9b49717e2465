/*
 * The ring between processes: lanes of the killed, forked and executed, another PID namespace, a
 * second consumer, and many producers at once against an oracle.
 */
#include <sched.h>
#include <sys/syscall.h>

#include "tests/unit/ring_fixture.h"

static struct ring *inherited; /* what a child finds of its parent's */

static void attach_and_publish_two(void)
{
	struct tr_error error;

	if (ring_attach(&inherited, instance, &small, 0, &error) != TR_OK || publish(inherited, 100, 7, 0) != TR_OK ||
	    publish(inherited, 1000, 7, 1) != TR_OK)
		_exit(98);
}

static uint32_t recycled_by_audit(struct ring_consumer *consumer)
{
	ring_audit(consumer);
	const struct ring_report report = ring_consumer_report(consumer);
	CU_ASSERT_EQUAL(report.damaged_batches + report.repairs, 0);
	return (uint32_t)report.lanes_recycled;
}

static void expect_lane(struct ring_consumer *consumer, bool owned, uint32_t generation)
{
	const struct ring_lane_info info = ring_lane_info(consumer, 0);

	CU_ASSERT_EQUAL(info.owned, owned);
	CU_ASSERT_EQUAL(info.generation, generation);
}

/* Takes the two batches of the producer that is gone, and sees its lane come back no sooner. */
static void expect_lane_back_after_retiring(struct ring_consumer *consumer)
{
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
	expect_lane(consumer, true, 1);
	CU_ASSERT_TRUE(take_is(consumer, 100, 7, 0));
	CU_ASSERT_TRUE(take_is(consumer, 1000, 7, 1));
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0); /* taken is not retired */
	ring_retire(consumer, ring_taken(consumer) - 1);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
	expect_lane(consumer, true, 1);
	retire_all(consumer);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 1);
	expect_lane(consumer, false, 2);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
}

static void test_killed_producer(void)
{
	struct ring_consumer *consumer = consume(&small);
	struct child child = start_child(attach_and_publish_two);

	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
	CU_ASSERT_EQUAL(ring_lane_info(consumer, 0).pid, child.pid);
	end_child(&child, SIGKILL);
	expect_lane_back_after_retiring(consumer);
	ring_consumer_close(&consumer, false);
}

/* As long as it lives nothing is taken from it, however still it stands. */
static void test_stopped_producer_keeps_its_lane(void)
{
	struct ring_consumer *consumer = consume(&small);
	struct child child = start_child(attach_and_publish_two);
	int status;

	kill(child.pid, SIGSTOP);
	CU_ASSERT_EQUAL(waitpid(child.pid, &status, WUNTRACED), child.pid);
	CU_ASSERT_TRUE(WIFSTOPPED(status));
	CU_ASSERT_TRUE(take_is(consumer, 100, 7, 0));
	CU_ASSERT_TRUE(take_is(consumer, 1000, 7, 1));
	retire_all(consumer);
	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
	expect_lane(consumer, true, 1);
	kill(child.pid, SIGCONT);
	CU_ASSERT_EQUAL(end_child(&child, 0), 0);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 1);
	ring_consumer_close(&consumer, false);
}

/* A lane whose last owner died is nobody's while it is drained, not even for a moment. */
static void test_drained_lane_is_not_claimed(void)
{
	struct ring_consumer *consumer = consume(&small);
	struct child child = start_child(attach_and_publish_two);

	end_child(&child, SIGKILL);
	struct ring *ring = attach(&small);
	CU_ASSERT_EQUAL(publish(ring, 50, 8, 0), TR_OK);
	CU_ASSERT_EQUAL(ring->lanes[0]->number, 1);
	ring_audit(consumer);
	CU_ASSERT_TRUE(take_is(consumer, 100, 7, 0));
	CU_ASSERT_TRUE(take_is(consumer, 1000, 7, 1));
	CU_ASSERT_TRUE(take_is(consumer, 50, 8, 0));
	retire_all(consumer);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 1);
	ring_detach(&ring);
	ring_consumer_close(&consumer, false);
}

/* ---- forked children --------------------------------------------------------------------- */

/* What a child may find of its parent's handle: nothing. */
static int expect_forked(void)
{
	char batch[8] = "";
	uint32_t hint = 0;
	uint64_t position;

	if (ring_publish(inherited, &hint, batch, sizeof batch, &position) != TR_FORKED)
		return 1;
	ring_detach(&inherited);
	return inherited ? 2 : 0;
}

static int expect_forked_after_raw_clone(void)
{
	int status = -1;

	/* No atfork handler runs: only the wiped and missing memory protects the parent. */
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (pid == 0)
		_exit(expect_forked());
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_forked_child_is_refused(void)
{
	struct ring_consumer *consumer = consume(&small);

	inherited = attach(&small);
	CU_ASSERT_EQUAL(publish(inherited, 100, 7, 0), TR_OK);
	CU_ASSERT_EQUAL(run_in_child(expect_forked), 0);
	CU_ASSERT_EQUAL(expect_forked_after_raw_clone(), 0);
	/* Neither's end has released the parent's lane. */
	CU_ASSERT_TRUE(take_is(consumer, 100, 7, 0));
	retire_all(consumer);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
	expect_lane(consumer, true, 1);
	CU_ASSERT_EQUAL(publish(inherited, 100, 7, 1), TR_OK);
	CU_ASSERT_TRUE(take_is(consumer, 100, 7, 1));
	ring_detach(&inherited);
	ring_consumer_close(&consumer, false);
}

/* A child may open its own; the parent's stays the parent's. */
static int attach_own(void)
{
	struct tr_error error;
	struct ring *own;

	if (expect_forked() != 0 || ring_attach(&own, instance, &small, 0, &error) != TR_OK)
		return 1;
	if (publish(own, 60, 9, 0) != TR_OK)
		return 2;
	ring_detach(&own);
	return 0;
}

static void test_forked_child_attaches_itself(void)
{
	struct ring_consumer *consumer = consume(&small);

	inherited = attach(&small);
	CU_ASSERT_EQUAL(publish(inherited, 100, 7, 0), TR_OK);
	CU_ASSERT_EQUAL(run_in_child(attach_own), 0);
	CU_ASSERT_TRUE(take_is(consumer, 100, 7, 0));
	CU_ASSERT_TRUE(take_is(consumer, 60, 9, 0));
	retire_all(consumer);
	CU_ASSERT_EQUAL(recycled_by_audit(consumer), 1);
	expect_lane(consumer, true, 1);
	CU_ASSERT_EQUAL(ring_lane_info(consumer, 1).generation, 2);
	ring_detach(&inherited);
	ring_consumer_close(&consumer, false);
}

enum grandchild { FORKED, EXECUTED, CLONED };
static enum grandchild grandchild_kind;
static int grandchild_said[2], grandchild_held[2];

/* Publishes, and leaves a child behind that outlives it. */
static void publish_and_have_a_child(void)
{
	attach_and_publish_two();
	pid_t pid = grandchild_kind == CLONED ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0) : fork();
	if (pid != 0)
		return;
	close(grandchild_held[1]);
	if (grandchild_kind == EXECUTED) {
		/* Says something as the program that it has become, and waits for its input to end. */
		dup2(grandchild_said[1], STDOUT_FILENO);
		dup2(grandchild_held[0], STDIN_FILENO);
		execl("/bin/sh", "sh", "-c", "printf x; exec cat", (char *)NULL);
		_exit(97);
	}
	say_ready(grandchild_said[1]);
	wait_closed(grandchild_held[0]);
	_exit(0);
}

static void with_surviving_grandchild(enum grandchild kind, bool holds_the_lane)
{
	struct ring_consumer *consumer = consume(&small);
	char byte;

	grandchild_kind = kind;
	CU_ASSERT_EQUAL_FATAL(pipe(grandchild_said), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(grandchild_held), 0);
	struct child child = start_child(publish_and_have_a_child);
	close(grandchild_said[1]);
	close(grandchild_held[0]);
	CU_ASSERT_EQUAL(read(grandchild_said[0], &byte, 1), 1);
	end_child(&child, SIGKILL);
	if (holds_the_lane) {
		/* It inherited the descriptor, and with it the lock, until it ends. Late, but sound. */
		CU_ASSERT_TRUE(take_is(consumer, 100, 7, 0));
		CU_ASSERT_TRUE(take_is(consumer, 1000, 7, 1));
		retire_all(consumer);
		CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
		close(grandchild_held[1]);
		CU_ASSERT_EQUAL(read(grandchild_said[0], &byte, 1), 0); /* it has ended */
		/* Its descriptors close one after the other. */
		uint32_t recycled = 0;
		for (int i = 0; i < 100000 && !recycled; i++)
			recycled = recycled_by_audit(consumer);
		CU_ASSERT_EQUAL(recycled, 1);
	} else {
		expect_lane_back_after_retiring(consumer);
		close(grandchild_held[1]);
		CU_ASSERT_EQUAL(read(grandchild_said[0], &byte, 1), 0);
	}
	close(grandchild_said[0]);
	ring_consumer_close(&consumer, false);
}

static void test_child_outlives_parent(void)
{
	with_surviving_grandchild(FORKED, false);
}

static void test_executed_child_outlives_parent(void)
{
	with_surviving_grandchild(EXECUTED, false);
}

static void test_cloned_child_outlives_parent(void)
{
	with_surviving_grandchild(CLONED, true);
}

/* ---- containers -------------------------------------------------------------------------- */

static void publish_in_another_pid_namespace(void)
{
	int status;

	if (unshare(CLONE_NEWPID) != 0)
		_exit(77);
	pid_t pid = fork();
	if (pid == 0) {
		attach_and_publish_two();
		return; /* and waits, to be killed with its namespace */
	}
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

static void test_pid_namespace(void)
{
	struct ring_consumer *consumer = consume(&small);
	int ready[2], status, hold[2];
	char byte;

	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(hold), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(hold[1]);
		close(ready[0]);
		publish_in_another_pid_namespace();
		say_ready(ready[1]);
		wait_closed(hold[0]);
		_exit(0);
	}
	close(ready[1]);
	close(hold[0]);
	if (read(ready[0], &byte, 1) == 1) {
		/* Number 1 there is not the number 1 here; its lock tells its life all the same. */
		CU_ASSERT_EQUAL(ring_lane_info(consumer, 0).pid, 1);
		CU_ASSERT_EQUAL(recycled_by_audit(consumer), 0);
		close(hold[1]);
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_EQUAL(status, 0);
		expect_lane_back_after_retiring(consumer);
	} else {
		close(hold[1]);
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_EQUAL(WEXITSTATUS(status), 77);
		printf("[skipped: another PID namespace: not permitted] ");
	}
	close(ready[0]);
	ring_consumer_close(&consumer, false);
}

/* ---- one consumer ------------------------------------------------------------------------ */

static int open_second_consumer(void)
{
	struct ring_consumer *consumer = NULL;
	struct tr_error error = { "" };
	struct ring *ring;
	char text[160];

	if (ring_attach(&ring, instance, &small, 0, &error) != TR_OK)
		return 1;
	if (ring_consumer_open(&consumer, &ring, &error) != TR_RING_DAMAGED || consumer || !ring)
		return 2;
	snprintf(text, sizeof text, "/%s.ring: another taskd serves it", instance);
	if (strcmp(error.text, text) != 0)
		return 3;
	ring_detach(&ring);
	return 0;
}

static void test_second_consumer_is_refused(void)
{
	struct ring_consumer *consumer = consume(&small);

	CU_ASSERT_EQUAL(run_in_child(open_second_consumer), 0);
	CU_ASSERT_EQUAL(open_second_consumer(), 0); /* in the same process as well */
	ring_consumer_close(&consumer, false);
	CU_ASSERT_EQUAL(run_in_child(open_second_consumer), 2); /* now it would be the first */
}

/* ---- many at once ------------------------------------------------------------------------ */

#define PRODUCERS 4
#define EACH 50000

static size_t stress_bytes(uint32_t number)
{
	return 8 + number * 2654435761u % 900;
}

static void publish_stress(uint32_t source)
{
	struct tr_error error;
	struct ring *ring;

	if (ring_attach(&ring, instance, &small, 0, &error) != TR_OK)
		_exit(1);
	for (uint32_t i = 0; i < EACH;) {
		enum tr_result result = publish(ring, stress_bytes(i), source, i);
		if (result == TR_OK)
			i++;
		else if (result == TR_LANE_FULL || result == TR_RING_FULL)
			sched_yield();
		else
			_exit(2);
	}
	ring_detach(&ring);
	_exit(0);
}

/* Takes until all has come, or nothing has for a long time. */
static uint64_t take_stress(struct ring_consumer *consumer, uint32_t next[PRODUCERS], uint64_t *wrong)
{
	static char batch[1 << 20];
	struct pollfd wake = { .fd = ring_wake_fd(consumer), .events = POLLIN };
	uint64_t position, taken = 0, expected = ring_taken(consumer);
	uint32_t head[2], idle = 0;

	while (taken < PRODUCERS * EACH && idle < 30) {
		size_t bytes = ring_take(consumer, batch, &position);
		if (!bytes) {
			retire_all(consumer);
			ring_audit(consumer);
			if (ring_sleep(consumer)) {
				idle = poll(&wake, 1, 1000) == 1 ? 0 : idle + 1;
				ring_awake(consumer);
			}
			continue;
		}
		memcpy(head, batch, sizeof head);
		*wrong += position != expected++ || head[0] >= PRODUCERS || head[1] != next[head[0]]++ ||
		    bytes != stress_bytes(head[1]) || !batch_is(batch, bytes, head[0], head[1]);
		if (++taken % 32 == 0)
			retire_all(consumer);
		if (*wrong)
			break;
	}
	return taken;
}

static void test_stress(void)
{
	struct ring_consumer *consumer = consume(&small);
	uint32_t next[PRODUCERS] = { 0 };
	pid_t pids[PRODUCERS];
	uint64_t wrong = 0;
	int status;

	fflush(NULL);
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			publish_stress(i);
	}
	CU_ASSERT_EQUAL(take_stress(consumer, next, &wrong), PRODUCERS * EACH);
	CU_ASSERT_EQUAL(wrong, 0);
	for (int i = 0; i < PRODUCERS; i++) {
		if (next[i] < EACH)
			kill(pids[i], SIGKILL);
		CU_ASSERT_EQUAL(next[i], EACH);
		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	retire_all(consumer);
	ring_audit(consumer);
	struct ring_report report = ring_consumer_report(consumer);
	CU_ASSERT_EQUAL(report.damaged_batches + report.repairs, 0);
	CU_ASSERT_EQUAL(report.lanes_owned, 0);
	ring_consumer_close(&consumer, false);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a killed producer", test_killed_producer },
		{ "a stopped producer keeps its lane", test_stopped_producer_keeps_its_lane },
		{ "a lane is not claimed while it is drained", test_drained_lane_is_not_claimed },
		{ "a forked child is refused", test_forked_child_is_refused },
		{ "a forked child attaches itself", test_forked_child_attaches_itself },
		{ "a forked child outlives its parent", test_child_outlives_parent },
		{ "an executed child outlives its parent", test_executed_child_outlives_parent },
		{ "a child without fork handlers outlives its parent", test_cloned_child_outlives_parent },
		{ "another PID namespace", test_pid_namespace },
		{ "a second consumer is refused", test_second_consumer_is_refused },
		{ "four producers, 50,000 batches each", test_stress },
	};

	return RUN_RING_TESTS("ring_processes", tests);
}
