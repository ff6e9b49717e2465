/*
 * Who may take requests: as many threads as there are seats, one more for each that is held up, and all of
 * them at the end.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "app/seats.h"
#include "shared/clock.h"
#include "tests/unit/runner.h"

#define PATIENCE_NS 5000000000ll
#define OTHERS 3

static struct seats *seats;
static atomic_uint seated, may_go;

struct other {
	pthread_t thread;
	atomic_long number; /* of the thread, as /proc has it */
};

/* Gets a seat, serves until it may go, and leaves. */
static void *other_main(void *context)
{
	struct other *other = context;
	struct seat seat = { .seen = 0 };
	atomic_store(&other->number, syscall(SYS_gettid));
	seats_join(seats, &seat);
	seats_wait(seats, &seat);
	atomic_fetch_add(&seated, 1);
	seats_serve(seats, &seat);
	while (atomic_load(&may_go) == 0)
		sched_yield();
	seats_leave(seats, &seat);
	return NULL;
}

static bool is_asleep(const struct other *other)
{
	char path[64], line[256] = "";
	snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", atomic_load(&other->number));
	FILE *stat = fopen(path, "r");
	if (stat == NULL)
		return false;
	const char *end = fgets(line, sizeof(line), stat) != NULL ? strrchr(line, ')') : NULL;
	fclose(stat);
	return end != NULL && end[1] != '\0' && end[2] == 'S';
}

static void wait_for_seated(unsigned wanted)
{
	int64_t until_ns = clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
	while (atomic_load(&seated) < wanted && clock_ns(CLOCK_MONOTONIC) < until_ns)
		sched_yield();
	CU_ASSERT_EQUAL(atomic_load(&seated), wanted);
}

static void start(struct other *other)
{
	atomic_store(&other->number, 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&other->thread, NULL, other_main, other), 0);
}

static void start_parked(struct other *other)
{
	unsigned before = atomic_load(&seated);
	start(other);
	while (!is_asleep(other) && atomic_load(&seated) == before)
		sched_yield();
	CU_ASSERT_EQUAL(atomic_load(&seated), before);
}

static void begin(unsigned most)
{
	atomic_store(&seated, 0);
	atomic_store(&may_go, 0);
	seats = seats_new(most);
	CU_ASSERT_PTR_NOT_NULL_FATAL(seats);
}

/* With the one seat taken nobody else gets one; when we are held up, one does, and then another in its place. */
static void test_one_seat(void)
{
	struct seat ours = { .seen = 0 };
	struct other others[OTHERS];
	begin(1);
	seats_join(seats, &ours);
	seats_wait(seats, &ours);
	for (int i = 0; i < OTHERS; i++)
		start_parked(&others[i]);
	for (int i = 0; i < 1000; i++) { /* as long as we serve quickly */
		seats_serve(seats, &ours);
		seats_wait(seats, &ours);
	}
	seats_serve(seats, &ours);
	wait_for_seated(OTHERS); /* each of them is held up in turn */
	CU_ASSERT_TRUE(atomic_load(&ours.lost));
	atomic_store(&may_go, 1);
	seats_wait(seats, &ours); /* there is one when they have gone */
	CU_ASSERT_FALSE(atomic_load(&ours.lost));
	for (int i = 0; i < OTHERS; i++)
		pthread_join(others[i].thread, NULL);
	seats_serve(seats, &ours);
	seats_leave(seats, &ours);
	seats_free(&seats);
	CU_ASSERT_PTR_NULL(seats);
}

/* Who leaves without having been held up leaves a seat. */
static void test_leaving(void)
{
	struct seat ours = { .seen = 0 };
	struct other other;
	begin(1);
	seats_join(seats, &ours);
	seats_wait(seats, &ours);
	start_parked(&other);
	seats_leave(seats, &ours);
	wait_for_seated(1);
	atomic_store(&may_go, 1);
	pthread_join(other.thread, NULL);
	seats_free(&seats);
}

static void test_opening(void)
{
	struct seat ours = { .seen = 0 };
	struct other others[OTHERS];
	begin(1);
	seats_join(seats, &ours);
	seats_wait(seats, &ours);
	for (int i = 0; i < OTHERS; i++)
		start_parked(&others[i]);
	seats_open(seats);
	wait_for_seated(OTHERS);
	CU_ASSERT_FALSE(atomic_load(&ours.lost));
	atomic_store(&may_go, 1);
	for (int i = 0; i < OTHERS; i++)
		pthread_join(others[i].thread, NULL);
	seats_leave(seats, &ours);
	seats_free(&seats);
}

static void test_enough_for_all(void)
{
	struct other others[OTHERS];
	begin(0);
	for (int i = 0; i < OTHERS; i++)
		start(&others[i]);
	wait_for_seated(OTHERS);
	atomic_store(&may_go, 1);
	for (int i = 0; i < OTHERS; i++)
		pthread_join(others[i].thread, NULL);
	seats_free(&seats);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_one_seat),
		SUITE_TEST(test_leaving),
		SUITE_TEST(test_opening),
		SUITE_TEST(test_enough_for_all),
	};

	return RUN_TESTS("seats", tests);
}
