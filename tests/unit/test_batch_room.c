/* A producer that waits a moment for room in its lane instead of being refused at once. */
#include "tests/unit/dispatch_client.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "shared/client.h"
#include "shared/clock.h"

#define REFUSED_BY_FILLING 2

static long naps_of_this_thread(void)
{
	struct rusage usage;

	CU_ASSERT_EQUAL(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_nvcsw;
}

/* Of the thread that publishes: how often it has waited. */
static long naps_of(long thread)
{
	char path[64], line[128];
	long naps = -1;

	snprintf(path, sizeof path, "/proc/self/task/%ld/status", thread);
	FILE *status = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(status);
	while (fgets(line, sizeof line, status))
		if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
			naps = atol(line + 24);
	fclose(status);
	return naps;
}

struct relief {
	long thread, naps;
};

/* taskd goes on when the publishing thread has looked for room some times in vain. */
static void *bring_relief(void *context)
{
	const struct relief *relief = context;

	while (naps_of(relief->thread) < relief->naps + 10)
		sched_yield();
	dispatch();
	return NULL;
}

static void test_room_wait(void)
{
	pthread_t reliever;

	open_client();
	world.config.queue_window = 10000;
	fill_lane();
	struct relief relief = { .thread = syscall(SYS_gettid) };
	client->room_wait_ms = 60000; /* as by tr_open(), but the lane was to be filled without waiting */
	CU_ASSERT_EQUAL(add_to_batch("late", NULL), TR_OK);
	relief.naps = naps_of_this_thread();
	CU_ASSERT_EQUAL_FATAL(pthread_create(&reliever, NULL, bring_relief, &relief), 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	pthread_join(reliever, NULL);
	CU_ASSERT_EQUAL(ring_refused(atomic_load(&client->ring)), REFUSED_BY_FILLING);
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE handler = 'late'"), "1");
	close_client();
}

/* A command waits as a batch does. */
static void test_command_waits(void)
{
	open_client();
	fill_lane();
	client->room_wait_ms = 50;
	int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
	CU_ASSERT_EQUAL(tr_queue_pause(client, "q"), TR_LANE_FULL);
	CU_ASSERT_TRUE(clock_ns(CLOCK_MONOTONIC) - began_ns >= 50000000);
	close_client();
}

/* Who had but a rest of the time, the last of many commands, does not speak for all. */
static void test_rest_of_the_wait(void)
{
	uint32_t hint = 0;
	uint64_t position;
	struct tr_error error;

	open_client();
	fill_lane();
	client->room_wait_ms = 50;
	CU_ASSERT_EQUAL(client_publish(client, &hint, "?", 1, 1, &position, &error), TR_LANE_FULL);
	int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
	CU_ASSERT_EQUAL(tr_queue_pause(client, "q"), TR_LANE_FULL);
	CU_ASSERT_TRUE(clock_ns(CLOCK_MONOTONIC) - began_ns >= 50000000);
	close_client();
}

/* Where nothing moves one waits in vain, and the next is told at once; until there was room. */
static void test_room_wait_in_vain(void)
{
	open_client();
	world.config.queue_window = 10000;
	for (int round = 0; round < 2; round++) {
		client->room_wait_ms = 0;
		fill_lane();
		client->room_wait_ms = 50;
		CU_ASSERT_EQUAL(add_to_batch("late", NULL), TR_OK);
		int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
		CU_ASSERT_TRUE(clock_ns(CLOCK_MONOTONIC) - began_ns >= 50000000);
		for (int i = 0; i < 3; i++) {
			long before = naps_of_this_thread();
			CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
			CU_ASSERT_EQUAL(naps_of_this_thread(), before);
		}
		CU_ASSERT_EQUAL(background_tasks_count(batch), 1);
		dispatch();
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	}
	CU_ASSERT_EQUAL(ring_refused(atomic_load(&client->ring)), 2 * REFUSED_BY_FILLING + 8);
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE handler = 'late'"), "2");
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "waiting for room", test_room_wait },
		{ "a command waits for room", test_command_waits },
		{ "the rest of a wait for room", test_rest_of_the_wait },
		{ "waiting for room in vain", test_room_wait_in_vain },
	};

	return RUN_DISPATCH_TESTS("batch-room", tests);
}
