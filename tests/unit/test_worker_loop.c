/*
 * A worker thread's loop and its doorman, with the dispatcher's side on another thread of the same
 * process, so that a race detector sees every access. A wake-up that is lost is a test that ends by
 * its deadline.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "taskd/worker_loop.h"
#include "tests/unit/runner.h"

#define DEADLINE_S 30
#define ROUNDS 20000u

static struct mailbox *mailbox;
static int memory_fd, wake_fd;
static _Atomic uint64_t claimed; /* the serial claimed last */

static void open_mailbox(void)
{
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	memory_fd = mailbox_create(1);
	CU_ASSERT_FATAL(memory_fd >= 0 && wake_fd >= 0);
	mailbox = mailbox_open(memory_fd, 1, wake_fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mailbox);
	atomic_store(&claimed, 0);
}

static void close_mailbox(void)
{
	mailbox_close(&mailbox);
	close(memory_fd);
	close(wake_fd);
}

/* What worker.c does while tasks are pending, until it is to leave. */
static void *serve(void *context)
{
	struct worker_loop *loop = context;
	struct work_head head;
	const char *record, *message;
	enum mailbox_claim claim;

	while ((claim = mailbox_try_claim(mailbox, 0, &head, &record, &message)) != CLAIM_LEAVE) {
		if (claim == CLAIM_WORK)
			atomic_store(&claimed, head.serial);
		else
			worker_loop_wait(loop);
		if (claim == CLAIM_WORK && head.serial % 7 == 0)
			worker_loop_rest(loop); /* now and then the doorman is off duty */
	}
	return NULL;
}

static void push(uint64_t serial)
{
	struct work_head head = { .kind = WORK_RUN, .serial = serial };
	uint32_t entry;

	CU_ASSERT_TRUE(mailbox_push(mailbox, 0, &head, NULL, NULL, &entry));
	mailbox_wake(mailbox, 0);
}

/* True: it was claimed before the deadline. */
static bool await(uint64_t serial)
{
	struct timespec began, now;

	clock_gettime(CLOCK_MONOTONIC, &began);
	do {
		for (int i = 0; i < 1000; i++)
			if (atomic_load(&claimed) == serial)
				return true;
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - began.tv_sec < DEADLINE_S);
	return false;
}

/* Each piece is pushed when the thread is about to wait, waits, or is about to wake. */
static void test_no_wake_up_is_lost(void)
{
	pthread_t thread;

	open_mailbox();
	struct worker_loop *loop = worker_loop_open(mailbox, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, serve, loop), 0);
	for (uint64_t serial = 1; serial <= ROUNDS; serial++) {
		push(serial);
		if (!await(serial)) {
			CU_FAIL("a wake-up was lost");
			break;
		}
		for (uint64_t pause = serial * 37 % 3000; pause > 0; pause--)
			atomic_load(&claimed);
	}
	mailbox_retire(mailbox);
	pthread_join(thread, NULL);
	worker_loop_close(&loop);
	CU_ASSERT_PTR_NULL(loop);
	close_mailbox();
}

/* Told to leave while it waits, before, or after: each time with a new mailbox. */
static void test_retire_is_heard(void)
{
	for (int i = 0; i < 300; i++) {
		pthread_t thread;
		open_mailbox();
		struct worker_loop *loop = worker_loop_open(mailbox, 0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, serve, loop), 0);
		for (int pause = i * 97 % 20000; pause > 0; pause--)
			atomic_load(&claimed);
		mailbox_retire(mailbox);
		pthread_join(thread, NULL);
		worker_loop_close(&loop);
		close_mailbox();
	}
}

static void ignore(uv_timer_t *timer)
{
	(void)timer;
}

static void test_idle(void)
{
	uv_timer_t timer;

	open_mailbox();
	struct worker_loop *loop = worker_loop_open(mailbox, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
	CU_ASSERT_TRUE(worker_loop_is_idle(loop));
	uv_timer_init(worker_loop_uv(loop), &timer);
	CU_ASSERT_TRUE(worker_loop_is_idle(loop));
	uv_timer_start(&timer, ignore, 5, 0);
	CU_ASSERT_FALSE(worker_loop_is_idle(loop));
	worker_loop_wait(loop); /* for the timer, or for nothing less */
	CU_ASSERT_TRUE(worker_loop_is_idle(loop));
	uv_close((uv_handle_t *)&timer, NULL);
	CU_ASSERT_FALSE(worker_loop_is_idle(loop));
	worker_loop_turn(loop);
	CU_ASSERT_TRUE(worker_loop_is_idle(loop));
	worker_loop_close(&loop);
	close_mailbox();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_no_wake_up_is_lost),
		SUITE_TEST(test_retire_is_heard),
		SUITE_TEST(test_idle),
	};

	return RUN_TESTS("worker loop", tests);
}
