/*
 * Publishing, taking and retiring: order, content, sizes at the borders, wrapping, being full,
 * lanes and threads, sleeping.
 */
#include <pthread.h>

#include "shared/ring_consumer.h"
#include "tests/unit/ring_fixture.h"

static void test_order_and_content(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);
	char batch[8192];
	uint64_t position;
	uint32_t hint = 0;

	for (uint32_t i = 0; i < 30; i++) {
		batch_write(batch, 8 + i, 1, i);
		CU_ASSERT_EQUAL(ring_publish(ring, &hint, batch, 8 + i, &position), TR_OK);
		CU_ASSERT_EQUAL(position, i);
	}
	CU_ASSERT_EQUAL(ring_used(ring), 30);
	CU_ASSERT_EQUAL(ring_oldest(ring), 0);
	for (uint32_t i = 0; i < 30; i++) {
		CU_ASSERT_EQUAL(ring_taken(consumer), i);
		CU_ASSERT_EQUAL(ring_take(consumer, batch, &position), 8 + i);
		CU_ASSERT_EQUAL(position, i);
		CU_ASSERT_TRUE(batch_is(batch, 8 + i, 1, i));
	}
	CU_ASSERT_EQUAL(ring_take(consumer, batch, &position), 0);
	ring_retire(consumer, 20);
	CU_ASSERT_EQUAL(ring_used(ring), 10);
	CU_ASSERT_EQUAL(ring_oldest(ring), 20);
	CU_ASSERT_EQUAL(ring_peek(ring, 19, batch), 0);
	CU_ASSERT_EQUAL(ring_peek(ring, 20, batch), 28);
	CU_ASSERT_TRUE(batch_is(batch, 28, 1, 20));
	CU_ASSERT_EQUAL(ring_peek(ring, 29, batch), 37);
	CU_ASSERT_EQUAL(ring_peek(ring, 30, batch), 0);
	ring_retire(consumer, 5); /* long done */
	CU_ASSERT_EQUAL(ring_oldest(ring), 20);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

static void test_sizes(void)
{
	static const struct {
		size_t bytes;
		uint32_t slots;
	} rows[] = { { 1, 1 }, { 240, 1 }, { 241, 2 }, { 496, 2 }, { 497, 3 }, { 4079, 16 }, { 4080, 16 } };
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	CU_ASSERT_EQUAL(ring_batch_max(ring), 4080);
	for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CU_ASSERT_EQUAL(publish(ring, rows[i].bytes, 1, i), TR_OK);
		CU_ASSERT_EQUAL(cell_slots(atomic_load(ring_cell(ring, i))), rows[i].slots);
		CU_ASSERT_TRUE(take_is(consumer, rows[i].bytes, 1, i));
	}
	CU_ASSERT_EQUAL(publish(ring, 0, 1, 0), TR_TOO_LARGE);
	CU_ASSERT_EQUAL(publish(ring, 4081, 1, 0), TR_TOO_LARGE);
	CU_ASSERT_EQUAL(publish(ring, 1 << 20, 1, 0), TR_TOO_LARGE);
	CU_ASSERT_EQUAL(ring_used(ring), 7);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* A quarter of that lane is 8,192 slots: more than a cell can name. */
static void test_largest_batch_of_a_long_lane(void)
{
	struct ring *ring = attach(&long_lane);
	struct ring_consumer *consumer = consume(&long_lane);
	size_t most = 2047 * 128 - 16;

	CU_ASSERT_EQUAL(ring_batch_max(ring), most);
	CU_ASSERT_EQUAL(publish(ring, most, 1, 1), TR_OK);
	CU_ASSERT_EQUAL(publish(ring, most + 1, 1, 2), TR_TOO_LARGE);
	CU_ASSERT_EQUAL(cell_slots(atomic_load(ring_cell(ring, 0))), 2047);
	CU_ASSERT_TRUE(take_is(consumer, most, 1, 1));
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* ---- lanes that wrap and are full -------------------------------------------------------- */

static size_t bytes_of(uint32_t slots)
{
	return slots * 256 - sizeof(struct ring_frame);
}

/* As many one-slot batches as our lanes take. */
static uint32_t publish_until_full(struct ring *ring)
{
	uint32_t count = 0;
	enum tr_result result;

	while ((result = publish(ring, bytes_of(1), 1, count)) == TR_OK && count < 10000)
		count++;
	CU_ASSERT_EQUAL(result, TR_LANE_FULL);
	return count;
}

static void take_all(struct ring_consumer *consumer)
{
	static char batch[1 << 20];
	uint64_t position;

	while (ring_take(consumer, batch, &position))
		;
}

/* Of 64 lanes a process fills 16, while half of all are free; others still find some. */
static void test_share_of_lanes(void)
{
	const struct tr_geometry many = { .lanes = 64, .slots_per_lane = 64, .slot_bytes = 256, .cells = 16384 };
	struct ring *ring = attach(&many);
	struct ring *other = attach(&many);
	struct ring *third = attach(&many);
	struct ring_consumer *consumer = consume(&many);

	CU_ASSERT_EQUAL(publish_until_full(ring), 16 * 64);
	CU_ASSERT_EQUAL(publish_until_full(other), 16 * 64);
	CU_ASSERT_EQUAL(publish_until_full(third), 64);
	for (uint32_t i = 0; i < 16 * 64; i++)
		CU_ASSERT_TRUE(take_is(consumer, bytes_of(1), 1, i));
	/* Two lanes are free again: what comes next goes there. */
	ring_retire(consumer, 128);
	CU_ASSERT_EQUAL(publish_until_full(ring), 128);
	CU_ASSERT_EQUAL(publish(ring, bytes_of(1), 1, 0), TR_LANE_FULL);
	take_all(consumer);
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish_until_full(ring), 16 * 64);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&third);
	ring_detach(&other);
	ring_detach(&ring);
}

static void test_wrap(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	for (uint32_t i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(publish(ring, bytes_of(15), 1, i), TR_OK);
		CU_ASSERT_EQUAL(cell_first(atomic_load(ring_cell(ring, i))), i * 15);
	}
	/* Four slots are left at the end; seven are wanted, and the beginning is not free. */
	CU_ASSERT_EQUAL(publish(ring, bytes_of(7), 1, 4), TR_LANE_FULL);
	CU_ASSERT_TRUE(take_is(consumer, bytes_of(15), 1, 0));
	CU_ASSERT_EQUAL(publish(ring, bytes_of(7), 1, 4), TR_LANE_FULL);
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish(ring, bytes_of(7), 1, 4), TR_OK);
	CU_ASSERT_EQUAL(cell_first(atomic_load(ring_cell(ring, 4))), 0);
	/* The skipped four count as used until then: 15 - 7 are left. */
	CU_ASSERT_EQUAL(publish_until_full(ring), 15 - 7);
	for (uint32_t i = 1; i < 4; i++)
		CU_ASSERT_TRUE(take_is(consumer, bytes_of(15), 1, i));
	CU_ASSERT_TRUE(take_is(consumer, bytes_of(7), 1, 4));
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish_until_full(ring), 64 - 8);
	take_all(consumer);
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish_until_full(ring), 64);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

static void test_lane_full(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	CU_ASSERT_EQUAL(publish_until_full(ring), 64);
	CU_ASSERT_EQUAL(ring->lanes[0]->count, 64);
	CU_ASSERT_EQUAL(ring->lanes[0]->free, 0);
	CU_ASSERT_TRUE(take_is(consumer, bytes_of(1), 1, 0));
	CU_ASSERT_EQUAL(publish_until_full(ring), 0); /* taken is not retired */
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish_until_full(ring), 1);
	for (uint32_t i = 1; i < 8; i++)
		CU_ASSERT_TRUE(take_is(consumer, bytes_of(1), 1, i));
	retire_all(consumer);
	/* Seven are free: eight are one too many, seven are not. */
	CU_ASSERT_EQUAL(publish(ring, bytes_of(8), 1, 1), TR_LANE_FULL);
	CU_ASSERT_EQUAL(publish(ring, bytes_of(7), 1, 1), TR_OK);
	CU_ASSERT_EQUAL(ring->lanes[0]->free, 0);
	CU_ASSERT_EQUAL(publish_until_full(ring), 0);
	take_all(consumer);
	retire_all(consumer);
	CU_ASSERT_EQUAL(publish(ring, bytes_of(16), 1, 2), TR_OK);
	CU_ASSERT_EQUAL(ring->lanes[0]->count, 1);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

static void test_ring_full(void)
{
	struct ring *ring = attach(&long_lane);
	struct ring_consumer *consumer = consume(&long_lane);
	uint32_t count = 0, bad = 0;

	while (publish(ring, 8, 1, count) == TR_OK)
		count++;
	CU_ASSERT_EQUAL(count, 16384);
	CU_ASSERT_EQUAL(publish(ring, 8, 1, count), TR_RING_FULL);
	CU_ASSERT_EQUAL(ring_used(ring), 16384);
	for (uint32_t i = 0; i < count; i++)
		bad += !take_is(consumer, 8, 1, i);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_FALSE(take_is(consumer, 8, 1, 0)); /* the cells of the last lap are not taken twice */
	CU_ASSERT_EQUAL(publish(ring, 8, 1, count), TR_RING_FULL);
	ring_audit(consumer);
	ring_retire(consumer, 1);
	CU_ASSERT_EQUAL(publish(ring, 8, 1, count), TR_OK);
	CU_ASSERT_EQUAL(publish(ring, 8, 1, count + 1), TR_RING_FULL);
	CU_ASSERT_TRUE(take_is(consumer, 8, 1, count));
	retire_all(consumer);
	CU_ASSERT_EQUAL(ring_used(ring), 0);
	CU_ASSERT_EQUAL(publish(ring, 8, 1, count + 1), TR_OK);
	CU_ASSERT_TRUE(take_is(consumer, 8, 1, count + 1));
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* ---- the lap's tag goes round ------------------------------------------------------------ */

/* Writes the segment as it is after `tail` publications, all retired. */
static void age(struct ring *ring, uint64_t tail)
{
	for (uint64_t at = tail; at < tail + ring->geometry.cells; at++)
		atomic_store(ring_cell(ring, at), cell_empty(ring_lap(ring, at)));
	atomic_store(&ring->header->tail, tail);
	atomic_store(&ring->header->retired, tail);
}

static void test_lap_tag_wraps(void)
{
	struct ring *ring = attach(&small);
	uint64_t start = (((uint64_t)1 << CELL_LAP_BITS) - 1) * small.cells - 5000, refused = 0, lost = 0;

	age(ring, start);
	struct ring_consumer *consumer = consume(&small);
	CU_ASSERT_EQUAL(ring_taken(consumer), start);
	for (uint32_t i = 0; i < 3 * small.cells; i++) {
		refused += publish(ring, 8 + i % 300, 1, i) != TR_OK;
		/* Restarts, with something taken and not retired, before, at and after the turn. */
		if (i % 4099 == 4098) {
			CU_ASSERT_TRUE(take_is(consumer, 8 + i % 300, 1, i));
			ring_consumer_close(&consumer, false);
			consumer = consume(&small);
			CU_ASSERT_EQUAL(ring_taken(consumer), start + i);
		}
		lost += !take_is(consumer, 8 + i % 300, 1, i);
		retire_all(consumer);
	}
	CU_ASSERT_EQUAL(refused, 0);
	CU_ASSERT_EQUAL(lost, 0);
	CU_ASSERT_EQUAL(ring_taken(consumer), start + 3 * small.cells);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* ---- lanes and threads ------------------------------------------------------------------- */

/* While one thread is in the middle of publishing, another one takes a lane of its own. */
static void test_busy_lane(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	CU_ASSERT_EQUAL(publish(ring, 8, 1, 0), TR_OK);
	CU_ASSERT_TRUE(atomic_flag_test_and_set(&ring->lanes[0]->busy) == false);
	CU_ASSERT_EQUAL(publish(ring, 8, 1, 1), TR_OK);
	CU_ASSERT_EQUAL(atomic_load(&ring->owned), 2);
	CU_ASSERT_EQUAL(cell_lane(atomic_load(ring_cell(ring, 0))), 0);
	CU_ASSERT_EQUAL(cell_lane(atomic_load(ring_cell(ring, 1))), 1);
	atomic_flag_clear(&ring->lanes[0]->busy);
	CU_ASSERT_EQUAL(publish(ring, 8, 1, 2), TR_OK);
	CU_ASSERT_EQUAL(atomic_load(&ring->owned), 2);
	for (uint32_t i = 0; i < 3; i++)
		CU_ASSERT_TRUE(take_is(consumer, 8, 1, i));
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* A batch that was last published in another ring, of which its process owned more lanes. */
static void test_hint_of_another_ring(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);
	uint32_t first = 0, late = 3;
	char batch[8];
	uint64_t position;

	batch_write(batch, sizeof batch, 1, 0);
	CU_ASSERT_EQUAL(ring_publish(ring, &first, batch, sizeof batch, &position), TR_OK);
	batch_write(batch, sizeof batch, 1, 1);
	CU_ASSERT_EQUAL(ring_publish(ring, &late, batch, sizeof batch, &position), TR_OK);
	CU_ASSERT_EQUAL(late, 0);
	CU_ASSERT_EQUAL(atomic_load(&ring->owned), 1);
	for (uint32_t i = 0; i < 2; i++)
		CU_ASSERT_TRUE(take_is(consumer, sizeof batch, 1, i));
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

#define THREADS 4
#define EACH 20000

struct publisher {
	pthread_t thread;
	struct ring *ring;
	uint32_t source, failed;
	_Atomic bool *stop;
};

static void *publish_many(void *context)
{
	struct publisher *publisher = context;

	for (uint32_t i = 0; i < EACH && !atomic_load(publisher->stop);) {
		enum tr_result result = publish(publisher->ring, 8 + i % 700, publisher->source, i);
		if (result == TR_OK) {
			i++;
		} else if (result == TR_LANE_FULL || result == TR_RING_FULL) {
			sched_yield();
		} else {
			publisher->failed++;
			break;
		}
	}
	return NULL;
}

static void test_threads(void)
{
	struct publisher publishers[THREADS] = { 0 };
	uint32_t next[THREADS] = { 0 }, wrong = 0, head[2];
	static char batch[1 << 20];
	uint64_t position, taken = 0;
	_Atomic bool stop = false;
	struct timespec start, now;

	/* All through one mapping, so that a thread sanitizer knows what is the same memory. */
	struct ring_consumer *consumer = consume(&small);
	struct ring *ring = consumer->ring;
	for (uint32_t i = 0; i < THREADS; i++) {
		publishers[i] = (struct publisher){ .ring = ring, .source = i, .stop = &stop };
		CU_ASSERT_EQUAL_FATAL(pthread_create(&publishers[i].thread, NULL, publish_many, &publishers[i]), 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	now = start;
	do {
		size_t bytes = ring_take(consumer, batch, &position);
		if (!bytes) {
			sched_yield();
			clock_gettime(CLOCK_MONOTONIC, &now);
			continue;
		}
		memcpy(head, batch, sizeof head);
		if (head[0] >= THREADS || head[1] != next[head[0]]++ || !batch_is(batch, bytes, head[0], head[1]))
			wrong++;
		taken++;
		if (taken % 16 == 0)
			retire_all(consumer);
	} while (taken < THREADS * EACH && now.tv_sec - start.tv_sec < 120 && !wrong);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(taken, THREADS * EACH);
	retire_all(consumer);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++) {
		CU_ASSERT_EQUAL(pthread_join(publishers[i].thread, NULL), 0);
		CU_ASSERT_EQUAL(publishers[i].failed, 0);
	}
	CU_ASSERT_TRUE(atomic_load(&ring->owned) <= THREADS);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
}

static void test_no_lane(void)
{
	const struct tr_geometry geometry = { .lanes = 64, .slots_per_lane = 64, .slot_bytes = 256, .cells = 16384 };
	struct ring *rings[65];

	for (uint32_t i = 0; i < 64; i++) {
		rings[i] = attach(&geometry);
		CU_ASSERT_EQUAL(publish(rings[i], 8, i, 0), TR_OK);
	}
	rings[64] = attach(&geometry);
	struct ring_consumer *consumer = consume(&geometry);
	CU_ASSERT_EQUAL(ring_consumer_report(consumer).lanes_owned, 64);
	CU_ASSERT_FALSE(ring_lanes_wanted(consumer));
	CU_ASSERT_EQUAL(publish(rings[64], 8, 64, 0), TR_NO_LANE);
	CU_ASSERT_TRUE(ring_lanes_wanted(consumer));
	ring_detach(&rings[20]);
	ring_audit(consumer); /* its batch is not retired */
	CU_ASSERT_FALSE(ring_lanes_wanted(consumer));
	CU_ASSERT_EQUAL(publish(rings[64], 8, 64, 0), TR_NO_LANE);
	CU_ASSERT_TRUE(ring_lanes_wanted(consumer));
	take_all(consumer);
	retire_all(consumer);
	ring_audit_lanes(consumer);
	CU_ASSERT_EQUAL(publish(rings[64], 8, 64, 0), TR_OK);
	CU_ASSERT_EQUAL(rings[64]->lanes[0]->number, 20);
	CU_ASSERT_EQUAL(rings[64]->lanes[0]->generation, 3);
	CU_ASSERT_TRUE(take_is(consumer, 8, 64, 0));
	struct ring_report report = ring_consumer_report(consumer);
	CU_ASSERT_EQUAL(report.lanes_recycled, 1);
	CU_ASSERT_EQUAL(report.damaged_batches + report.repairs, 0);
	for (uint32_t i = 0; i < 65; i++)
		ring_detach(&rings[i]);
	ring_consumer_close(&consumer, false);
}

/* ---- sleeping ---------------------------------------------------------------------------- */

static bool is_readable(int fd)
{
	struct pollfd wake = { .fd = fd, .events = POLLIN };

	return poll(&wake, 1, 0) == 1;
}

static void test_sleep_and_wake(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);
	int wake = ring_wake_fd(consumer);

	CU_ASSERT_EQUAL(publish(ring, 8, 1, 0), TR_OK);
	CU_ASSERT_FALSE(is_readable(wake)); /* it was awake */
	CU_ASSERT_FALSE(ring_sleep(consumer)); /* there is something */
	CU_ASSERT_TRUE(take_is(consumer, 8, 1, 0));
	CU_ASSERT_TRUE(ring_sleep(consumer));
	CU_ASSERT_FALSE(is_readable(wake));
	CU_ASSERT_EQUAL(publish(ring, 8, 1, 1), TR_OK);
	CU_ASSERT_TRUE(is_readable(wake));
	CU_ASSERT_EQUAL(atomic_load(&ring->header->sleeps), 1); /* not the producer's to clear */
	CU_ASSERT_EQUAL(publish(ring, 8, 1, 2), TR_OK);
	CU_ASSERT_TRUE(ring_awake(consumer));
	CU_ASSERT_FALSE(is_readable(wake));
	CU_ASSERT_FALSE(ring_awake(consumer));
	CU_ASSERT_EQUAL(publish(ring, 8, 1, 3), TR_OK);
	CU_ASSERT_FALSE(is_readable(wake));
	for (uint32_t i = 1; i < 4; i++)
		CU_ASSERT_TRUE(take_is(consumer, 8, 1, i));
	/* A producer that is told "full" wakes as well: its predecessor may have died before it could. */
	CU_ASSERT_EQUAL(publish_until_full(ring), 60);
	take_all(consumer);
	CU_ASSERT_TRUE(ring_sleep(consumer));
	CU_ASSERT_EQUAL(publish(ring, 8, 1, 4), TR_LANE_FULL);
	CU_ASSERT_TRUE(is_readable(wake));
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "order and content", test_order_and_content },
		{ "sizes at the borders", test_sizes },
		{ "the largest batch of a long lane", test_largest_batch_of_a_long_lane },
		{ "a process fills its share of the lanes", test_share_of_lanes },
		{ "a lane wraps", test_wrap },
		{ "a lane is full", test_lane_full },
		{ "the ring is full", test_ring_full },
		{ "the lap's tag wraps", test_lap_tag_wraps },
		{ "a busy lane is passed by", test_busy_lane },
		{ "a hint of another ring", test_hint_of_another_ring },
		{ "four threads", test_threads },
		{ "the 65th producer finds no lane", test_no_lane },
		{ "sleep and wake", test_sleep_and_wake },
	};

	return RUN_RING_TESTS("ring", tests);
}
