/*
 * The names of a ring that come and go: removed by us when nobody needs it, or by somebody else while it is in use.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/ring_fixture.h"

static void test_stale(void)
{
	struct ring *owner = attach(&small), *idle = attach(&small);

	expect_publish(owner, 0, 1);
	CU_ASSERT_FALSE(ring_is_stale(owner));
	CU_ASSERT_EQUAL(unlink(segment_path), 0);
	CU_ASSERT_TRUE(ring_is_stale(owner));
	CU_ASSERT_EQUAL(publish(idle, 100, 2, 0), TR_NO_RING); /* nobody would ever take it */
	struct ring *again = attach(&small);
	CU_ASSERT_FALSE(ring_is_stale(again));
	CU_ASSERT_TRUE(ring_is_stale(owner));
	CU_ASSERT_EQUAL(publish(idle, 100, 2, 0), TR_NO_RING);
	expect_publish(again, 0, 1);
	ring_detach(&owner);
	ring_detach(&idle);
	ring_detach(&again);
}

static void test_remove(void)
{
	struct ring *ring = attach(&small), *idle = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	expect_publish(ring, 0, 1);
	CU_ASSERT_FALSE(ring_consumer_close(&consumer, true)); /* not taken, and the lane lives */
	consumer = consume(&small);
	expect_take(consumer, 0, 1);
	retire_all(consumer);
	CU_ASSERT_FALSE(ring_consumer_close(&consumer, true)); /* the lane lives */
	CU_ASSERT_EQUAL(access(segment_path, F_OK), 0);
	CU_ASSERT_EQUAL(access(wake_path, F_OK), 0);
	expect_publish(ring, 1, 2);
	ring_detach(&ring);
	consumer = consume(&small);
	CU_ASSERT_FALSE(ring_consumer_close(&consumer, true)); /* not taken */
	consumer = consume(&small);
	expect_take(consumer, 1, 2);
	CU_ASSERT_FALSE(ring_consumer_close(&consumer, true)); /* not retired */
	consumer = consume(&small);
	expect_take(consumer, 1, 2);
	retire_all(consumer);
	CU_ASSERT_TRUE(ring_consumer_close(&consumer, true));
	CU_ASSERT_EQUAL(access(segment_path, F_OK), -1);
	CU_ASSERT_EQUAL(access(wake_path, F_OK), -1);
	CU_ASSERT_TRUE(ring_is_stale(idle));
	CU_ASSERT_EQUAL(publish(idle, 100, 1, 2), TR_NO_RING);
	ring_detach(&idle);
}

/* It has lost its name: what was published is taken, and those who own a lane are sent to another ring. */
static void test_shut(void)
{
	struct ring *owner = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	expect_publish(owner, 0, 10);
	expect_take(consumer, 0, 4);
	CU_ASSERT_FALSE(ring_consumer_is_stale(consumer));
	CU_ASSERT_EQUAL(unlink(segment_path), 0);
	CU_ASSERT_TRUE(ring_consumer_is_stale(consumer));
	CU_ASSERT_TRUE(ring_shut(consumer));
	CU_ASSERT_EQUAL(ring_published(consumer), 10);
	CU_ASSERT_EQUAL(publish(owner, 100, 1, 10), TR_NO_RING);
	ring_audit(consumer); /* leaves it as it is */
	CU_ASSERT_EQUAL(publish(owner, 100, 1, 10), TR_NO_RING);
	expect_take(consumer, 4, 10);
	CU_ASSERT_FALSE(take_is(consumer, 100, 1, 10));
	CU_ASSERT_TRUE(ring_sleep(consumer));
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish(owner, 100, 1, 10), TR_NO_RING);
	CU_ASSERT_TRUE(ring_shut(consumer)); /* it is */
	CU_ASSERT_EQUAL(ring_unretired(consumer), 0);
	expect_sound(consumer);
	CU_ASSERT_FALSE(ring_consumer_close(&consumer, true));
	ring_detach(&owner);
}

static void test_shut_full(void)
{
	struct ring *owner = attach(&long_lane);
	struct ring_consumer *consumer = consume(&long_lane);
	uint32_t count = 0;

	while (publish(owner, 100, 1, count) == TR_OK)
		count++;
	CU_ASSERT_EQUAL(count, long_lane.cells);
	CU_ASSERT_FALSE(ring_shut(consumer));
	expect_take(consumer, 0, 2);
	retire_all(consumer);
	expect_publish(owner, count, count + 1);
	CU_ASSERT_TRUE(ring_shut(consumer));
	CU_ASSERT_EQUAL(publish(owner, 100, 1, count + 1), TR_NO_RING);
	expect_take(consumer, 2, count + 1);
	CU_ASSERT_EQUAL(ring_taken(consumer), ring_published(consumer));
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&owner);
}

/* Publishes until it is shut, or a lane could be full, which threads share; how many it was told to be well. */
static void *publish_until_shut(void *ring)
{
	uintptr_t count = 0;
	enum tr_result result = TR_OK;

	while (count < 10000 && (result = publish(ring, 100, 1, (uint32_t)count)) == TR_OK)
		count++;
	CU_ASSERT_TRUE(result == TR_NO_RING || count == 10000);
	return (void *)count;
}

/* Whatever they are at: what they were told to be published is taken, and nothing else. */
static void test_shut_under_producers(void)
{
	const struct tr_geometry roomy = { .lanes = 4, .slots_per_lane = 32768, .slot_bytes = 128, .cells = 1 << 17 };
	char batch[256];
	uint64_t position;

	for (uint32_t round = 0; round < 60; round++) {
		struct ring *ring = attach(&roomy);
		struct ring_consumer *consumer = consume(&roomy);
		pthread_t threads[3];
		uint64_t published = 0, taken = 0;
		for (size_t i = 0; i < 3; i++)
			CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, publish_until_shut, ring), 0);
		while (ring_published(consumer) < round * 97)
			sched_yield();
		CU_ASSERT_TRUE(ring_shut(consumer));
		for (size_t i = 0; i < 3; i++) {
			void *count;
			pthread_join(threads[i], &count);
			published += (uintptr_t)count;
		}
		while (ring_take(consumer, batch, &position))
			taken++;
		CU_ASSERT_EQUAL(taken, published);
		CU_ASSERT_EQUAL(ring_published(consumer), published);
		expect_sound(consumer);
		ring_consumer_close(&consumer, false);
		ring_detach(&ring);
		remove_names();
	}
}

/* Who publishes and who takes meet again at the wake-up that has the name, whoever comes first. */
static void test_wake_removed(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	CU_ASSERT_FALSE(ring_follow_wake(ring));
	for (uint32_t round = 0; round < 2; round++) {
		CU_ASSERT_EQUAL(unlink(wake_path), 0);
		int fd = ring_wake_fd(consumer);
		CU_ASSERT_TRUE(round ? ring_follow_wake(ring) : ring_consumer_follow_wake(consumer));
		CU_ASSERT_TRUE(round ? ring_consumer_follow_wake(consumer) : ring_follow_wake(ring));
		CU_ASSERT_EQUAL(ring_wake_fd(consumer), fd);
		CU_ASSERT_TRUE(ring_sleep(consumer));
		expect_publish(ring, round, round + 1);
		CU_ASSERT_TRUE(ring_awake(consumer));
		expect_take(consumer, round, round + 1);
	}
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a removed ring is stale", test_stale },
		{ "it is removed when nobody needs it", test_remove },
		{ "a ring without a name is shut", test_shut },
		{ "one that is full, when it has room", test_shut_full },
		{ "shut under producers, 60 rounds", test_shut_under_producers },
		{ "the wake-up is removed", test_wake_removed },
	};

	return RUN_RING_TESTS("ring_names", tests);
}
