/* The scheduler: order within a queue, turns between queues, time, and the heap against a sort. */
#include <stdlib.h>
#include <string.h>

#include "taskd/dispatch.h"
#include "tests/unit/runner.h"

#define NOW_MS 1000000

static struct config_pool config_pools[2];
static char first_queues[1][TR_NAME_MAX + 1] = { "*" }, second_queues[1][TR_NAME_MAX + 1] = { "mail" };
static struct config config;
static struct dispatcher dispatcher;

static int set_up(void)
{
	config_pools[0] = (struct config_pool){ .name = "default", .queue_count = 1, .queues = first_queues };
	config_pools[1] = (struct config_pool){ .name = "mail", .queue_count = 1, .queues = second_queues };
	config = (struct config){ .pools = config_pools, .pool_count = 2, .queue_window = 100 };
	dispatcher = (struct dispatcher){ .config = &config, .next_due_ms = INT64_MAX, .now_ms = NOW_MS };
	return workers_pools(&dispatcher, &config) ? 0 : 1;
}

static struct task *make(const char *queue, unsigned number, int64_t due_ms)
{
	struct task *task = calloc(1, sizeof *task);

	task->queue = scheduler_queue(&dispatcher, (struct record_text){ queue, (uint32_t)strlen(queue) });
	task->id.bytes[14] = (uint8_t)(number >> 8);
	task->id.bytes[15] = (uint8_t)number;
	task->due_ms = due_ms;
	task->state = TR_RETRYING; /* becoming due is then no change of state, so no board is needed */
	return task;
}

static unsigned number_of(const struct task *task)
{
	return (unsigned)task->id.bytes[14] << 8 | task->id.bytes[15];
}

static struct pool *pool(size_t index)
{
	return &dispatcher.pools->pools[index];
}

static void test_queue_to_pool(void)
{
	struct task *mail = make("mail", 1, 0), *other = make("whatever", 2, 0), *same = make("mail", 3, 0);

	CU_ASSERT_PTR_EQUAL(mail->queue->pool, pool(1));
	CU_ASSERT_PTR_EQUAL(other->queue->pool, pool(0));
	CU_ASSERT_PTR_EQUAL(same->queue, mail->queue);
	CU_ASSERT_PTR_NULL(scheduler_next(pool(0)));
	free(mail);
	free(other);
	free(same);
}

static void test_first_come_first_served(void)
{
	for (unsigned i = 1; i <= 3; i++)
		CU_ASSERT_TRUE(scheduler_add(&dispatcher, make("mail", i, NOW_MS)));
	scheduler_add_first(make("mail", 9, NOW_MS));
	const unsigned expected[] = { 9, 1, 2, 3 };
	for (size_t i = 0; i < 4; i++) {
		struct task *task = scheduler_next(pool(1));
		CU_ASSERT_EQUAL(number_of(task), expected[i]);
		CU_ASSERT_EQUAL(task->where, NOWHERE);
		free(task);
	}
	CU_ASSERT_PTR_NULL(scheduler_next(pool(1)));
}

static void test_queues_take_turns(void)
{
	const unsigned expected[] = { 1, 11, 2, 12, 3, 4 };

	for (unsigned i = 1; i <= 4; i++)
		scheduler_add(&dispatcher, make("long", i, NOW_MS));
	for (unsigned i = 11; i <= 12; i++)
		scheduler_add(&dispatcher, make("short", i, NOW_MS));
	for (size_t i = 0; i < 6; i++) {
		struct task *task = scheduler_next(pool(0));
		CU_ASSERT_EQUAL(number_of(task), expected[i]);
		free(task);
	}
}

static void test_time(void)
{
	scheduler_add(&dispatcher, make("later", 2, NOW_MS + 20));
	scheduler_add(&dispatcher, make("later", 1, NOW_MS + 10));
	CU_ASSERT_EQUAL(scheduler_tick(&dispatcher), NOW_MS + 10);
	CU_ASSERT_PTR_NULL(scheduler_next(pool(0)));
	dispatcher.now_ms = NOW_MS + 10;
	CU_ASSERT_EQUAL(scheduler_tick(&dispatcher), NOW_MS + 20);
	struct task *task = scheduler_next(pool(0));
	CU_ASSERT_EQUAL(number_of(task), 1);
	free(task);
	CU_ASSERT_PTR_NULL(scheduler_next(pool(0)));
	dispatcher.now_ms = NOW_MS + 50;
	CU_ASSERT_EQUAL(scheduler_tick(&dispatcher), INT64_MAX);
	CU_ASSERT_EQUAL(scheduler_oldest_wait_ms(&dispatcher), 30);
	free(scheduler_next(pool(0)));
	CU_ASSERT_EQUAL(scheduler_oldest_wait_ms(&dispatcher), 0);
	dispatcher.now_ms = NOW_MS;
}

static int by_key(const void *a, const void *b)
{
	struct task_key left = task_key(*(struct task *const *)a), right = task_key(*(struct task *const *)b);

	return task_key_compare(&left, &right);
}

/* 5,000 tasks at random times, a fifth of them removed again: they come out as qsort() puts them. */
static void test_heap_against_sort(void)
{
	static struct task *tasks[5000];
	size_t count = 0;

	srandom(42);
	for (unsigned i = 0; i < 5000; i++) {
		struct task *task = make("heap", i, NOW_MS + 1 + random() % 1000);
		scheduler_add(&dispatcher, task);
		tasks[count++] = task;
	}
	for (size_t i = 0; i < count; i += 4) {
		scheduler_remove(tasks[i]);
		free(tasks[i]);
		tasks[i] = tasks[--count];
	}
	qsort(tasks, count, sizeof *tasks, by_key);
	dispatcher.now_ms = NOW_MS + 2000;
	scheduler_tick(&dispatcher);
	CU_ASSERT_EQUAL(tasks[0]->queue->waiting, count);
	size_t wrong = 0;
	for (size_t i = 0; i < count; i++) {
		wrong += scheduler_next(pool(0)) != tasks[i];
		free(tasks[i]);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_PTR_NULL(scheduler_next(pool(0)));
	dispatcher.now_ms = NOW_MS;
}

static struct queue *queue_number(unsigned number)
{
	char name[16];

	snprintf(name, sizeof name, "q%u", number);
	return scheduler_queue(&dispatcher, (struct record_text){ name, (uint32_t)strlen(name) });
}

/* Names come from outside: 4,096 queues that hold tasks and no more. Those that hold none make room. */
static void test_queue_names_are_bounded(void)
{
	unsigned made = 0;

	for (unsigned i = 0; i < 5000; i++) {
		struct queue *queue = queue_number(i);
		made += queue != NULL;
		if (queue)
			queue->tasks = 1;
	}
	CU_ASSERT_EQUAL(made, 4096);
	CU_ASSERT_PTR_NULL(queue_number(4999));
	queue_number(7)->tasks = 0;
	CU_ASSERT_PTR_NOT_NULL(queue_number(4999));
	CU_ASSERT_EQUAL(HASH_COUNT(dispatcher.queues), 4096);
	CU_ASSERT_PTR_EQUAL(queue_number(8), queue_number(8));
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "queue to pool", test_queue_to_pool },
		{ "first come, first served", test_first_come_first_served },
		{ "queues take turns", test_queues_take_turns },
		{ "time", test_time },
		{ "heap against sort", test_heap_against_sort },
		{ "queue names are bounded", test_queue_names_are_bounded },
	};

	return RUN_TESTS_WITHIN("scheduler", set_up, NULL, tests);
}
