/*
 * The ring after something went wrong: a consumer that starts again at any stage, a segment that
 * was removed, replaced, truncated or scribbled on. RING_SEED=N replays one round of scribbles.
 */
#include <signal.h>

#include "tests/unit/ring_fixture.h"

/* ---- a restart --------------------------------------------------------------------------- */

static void restart(struct ring_consumer **consumer)
{
	ring_consumer_close(consumer, false);
	CU_ASSERT_PTR_NULL(*consumer);
	*consumer = consume(&small);
}

static void test_restart(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	restart(&consumer); /* an empty ring */
	expect_publish(ring, 0, 10);
	restart(&consumer); /* nothing taken */
	CU_ASSERT_EQUAL(ring_taken(consumer), 0);
	expect_take(consumer, 0, 6);
	restart(&consumer); /* taken, not retired: taken again */
	CU_ASSERT_EQUAL(ring_taken(consumer), 0);
	expect_take(consumer, 0, 6);
	ring_retire(consumer, 4);
	restart(&consumer); /* retired: not again */
	CU_ASSERT_EQUAL(ring_taken(consumer), 4);
	CU_ASSERT_EQUAL(ring_oldest(ring), 4);
	expect_take(consumer, 4, 10);
	expect_publish(ring, 10, 12);
	retire_all(consumer);
	restart(&consumer);
	CU_ASSERT_EQUAL(ring_taken(consumer), 10);
	expect_take(consumer, 10, 12);
	retire_all(consumer);
	restart(&consumer); /* all retired */
	CU_ASSERT_EQUAL(ring_taken(consumer), 12);
	CU_ASSERT_FALSE(take_is(consumer, 100, 1, 12));
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* The advisory words lie or lag; the cells alone say where the ring is. */
static void test_restart_without_cursors(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);

	expect_publish(ring, 0, 9);
	expect_take(consumer, 0, 5);
	ring_retire(consumer, 5);
	atomic_store(&ring->header->retired, 12345);
	restart(&consumer);
	CU_ASSERT_EQUAL(ring_taken(consumer), 5);
	CU_ASSERT_EQUAL(ring_oldest(ring), 5);
	expect_sound(consumer);
	atomic_store(&ring->header->tail, 8); /* as a producer leaves it that died between cell and tail */
	restart(&consumer);
	expect_take(consumer, 5, 9);
	retire_all(consumer);
	ring_audit(consumer);
	expect_sound(consumer);
	expect_publish(ring, 9, 11);
	expect_take(consumer, 9, 11);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* The oldest cell is scribbled on while no consumer looks: its lane must not stay full for ever. */
static void test_restart_with_lost_oldest(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer;

	for (uint32_t i = 0; publish(ring, 100, 1, i) == TR_OK; i++)
		;
	CU_ASSERT_EQUAL(ring_used(ring), 64);
	atomic_store(ring_cell(ring, 0), 0xdeadbeefdeadbeef);
	consumer = consume(&small);
	expect_take(consumer, 1, 64);
	retire_all(consumer);
	CU_ASSERT_EQUAL(ring_consumer_report(consumer).repairs, 1);
	for (uint32_t i = 100; i < 164; i++)
		CU_ASSERT_EQUAL(publish(ring, 100, 1, i), TR_OK);
	expect_take(consumer, 100, 164);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* ---- striking out ------------------------------------------------------------------------ */

/* What was struck out is not taken again, is no damage, and its slots are free before it is retired. */
static void test_strike(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);
	static char batch[1 << 20];

	for (uint32_t i = 0; i < small.slots_per_lane; i++)
		CU_ASSERT_EQUAL(publish(ring, 100, 1, i), TR_OK);
	expect_take(consumer, 0, small.slots_per_lane - 1);
	ring_strike(consumer, 0);
	ring_strike(consumer, 1);
	ring_strike(consumer, 3);
	CU_ASSERT_EQUAL(ring_peek(ring, 1, batch), 0);
	CU_ASSERT_EQUAL(ring_peek(ring, 2, batch), 100);
	expect_publish(ring, small.slots_per_lane, small.slots_per_lane + 2); /* in the slots of the first two */
	restart(&consumer);
	CU_ASSERT_EQUAL(ring_taken(consumer), 0);
	CU_ASSERT_EQUAL(ring_unretired(consumer), small.slots_per_lane + 2);
	expect_take(consumer, 2, 3);
	expect_take(consumer, 4, small.slots_per_lane + 2);
	CU_ASSERT_EQUAL(ring_lane_info(consumer, 0).batches, small.slots_per_lane - 1);
	retire_all(consumer);
	ring_strike(consumer, 5); /* it is retired: nothing happens */
	restart(&consumer);
	CU_ASSERT_EQUAL(ring_taken(consumer), small.slots_per_lane + 2);
	expect_publish(ring, 0, 10);
	expect_take(consumer, 0, 10);
	expect_sound(consumer);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* ---- scribbles --------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t random_next(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t random_below(uint64_t limit)
{
	return random_next() % limit;
}

/* Bytes, zeros, ones, or a word near the right one: of `bytes` bytes from `at` on. */
static void scribble_run(char *at, size_t bytes)
{
	uint64_t word;

	switch (random_below(4)) {
	case 0:
		memset(at, random_below(2) ? 0 : 0xff, bytes);
		return;
	case 1:
		for (size_t i = 0; i + 8 <= bytes; i += 8) {
			memcpy(&word, at + i, 8);
			word ^= (uint64_t)1 << random_below(64);
			memcpy(at + i, &word, 8);
		}
		return;
	default:
		for (size_t i = 0; i < bytes; i++)
			at[i] = (char)random_next();
	}
}

static void scribble(struct ring *ring, uint64_t near)
{
	uint64_t tail = atomic_load(&ring->header->tail);
	uint64_t runs = 1 + random_below(3);

	while (runs--) {
		switch (random_below(7)) {
		case 0:
			scribble_run((char *)ring_cell(ring, near + random_below(80)), 8);
			break;
		case 1: /* many cells, perhaps all */
			scribble_run((char *)ring->cells, 8 * (1 + random_below(ring->geometry.cells)));
			break;
		case 2:
			atomic_store(&ring->header->tail, random_below(2) ? random_next() : tail - 20 + random_below(40));
			break;
		case 3:
			scribble_run((char *)&ring->header->tail, 192); /* tail, retired, sleeps */
			break;
		case 4:
			scribble_run((char *)ring->lane_words, sizeof(struct ring_lane_word) * ring->geometry.lanes);
			break;
		case 5:
			scribble_run(ring->slots, 256 * (1 + random_below(64)));
			break;
		default:
			scribble_run((char *)ring->header, 64);
		}
	}
}

static uint64_t drain(struct ring_consumer *consumer)
{
	static char batch[1 << 20];
	uint64_t position, taken = 0;

	while (ring_take(consumer, batch, &position))
		taken++;
	retire_all(consumer);
	return taken;
}

/* After some audits the ring must work: what is published now arrives, in order, all of it. */
static bool works(struct ring *ring, struct ring_consumer *consumer)
{
	for (int i = 0; i < 3; i++) {
		drain(consumer);
		ring_audit(consumer);
	}
	drain(consumer);
	(void)ring_consumer_report(consumer);
	for (uint32_t i = 0; i < 200; i++) {
		if (publish(ring, 100 + i * 3, 5, i) != TR_OK || !take_is(consumer, 100 + i * 3, 5, i))
			return false;
		retire_all(consumer);
	}
	ring_audit(consumer);
	const struct ring_report report = ring_consumer_report(consumer);
	return report.damaged_batches == 0 && report.repairs == 0;
}

static void scribble_round(uint64_t seed, bool *found)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);
	bool restarted;

	random_state = seed;
	for (uint32_t i = 0, count = (uint32_t)random_below(random_below(8) ? 1000 : 40000); i < count; i++) { /* somewhere in its laps */
		publish(ring, 24, 1, i);
		drain(consumer);
	}
	uint64_t near = ring_taken(consumer);
	for (uint32_t i = 0, count = (uint32_t)random_below(70); i < count; i++)
		publish(ring, 100, 1, i);
	for (uint32_t i = 0, count = (uint32_t)random_below(20); i < count; i++)
		take_is(consumer, 100, 1, i);
	restarted = random_below(3) == 0;
	if (restarted)
		ring_consumer_close(&consumer, false);
	scribble(ring, near);
	if (restarted) {
		/* A scribbled header cannot be attached to; taskd would say so and name the way out. */
		ring_fill(ring->header, &small);
		consumer = consume(&small);
	}
	for (uint32_t i = 0; i < 5; i++) /* it may be refused now */
		publish(ring, 100, 2, i);
	drain(consumer);
	ring_audit(consumer);
	struct ring_report report = ring_consumer_report(consumer);
	*found |= report.damaged_batches + report.repairs > 0;
	bool recovered = works(ring, consumer);
	CU_ASSERT_TRUE(recovered);
	if (!recovered)
		printf("\nscribbles: RING_SEED=%llu\n", (unsigned long long)seed);
	ring_detach(&ring);
	drain(consumer);
	ring_audit(consumer);
	CU_ASSERT_EQUAL(ring_consumer_report(consumer).lanes_owned, 0);
	struct tr_error error;
	CU_ASSERT_EQUAL(ring_attach(&ring, instance, &small, 0, &error), TR_OK); /* the header is whole again */
	ring_detach(&ring);
	ring_consumer_close(&consumer, false);
	remove_names();
}

static void test_scribbles(void)
{
	const char *given = getenv("RING_SEED");
	bool found = false;

	if (given) {
		scribble_round(strtoull(given, NULL, 0), &found);
		return;
	}
	for (uint64_t seed = 1; seed <= 300; seed++)
		scribble_round(seed, &found);
	CU_ASSERT_TRUE(found);
}

/* Each kind once, with its figures. */
static void test_scribbles_are_counted(void)
{
	struct ring *ring = attach(&small);
	struct ring_consumer *consumer = consume(&small);
	struct ring_report report;

	expect_publish(ring, 0, 6);
	ring_slot(ring, 0, 1)[50]++;                               /* a byte of batch 1 */
	atomic_store(ring_cell(ring, 2), 0x123456789abcdef0);      /* batch 2's cell: another lap */
	atomic_store(ring_cell(ring, 3), cell_full(0, 9, 0, 1));   /* a lane that is not there */
	atomic_store(ring_cell(ring, 4), cell_empty(0));           /* a hole: seen when looked for */
	expect_take(consumer, 0, 1);
	CU_ASSERT_FALSE(take_is(consumer, 100, 1, 5));
	CU_ASSERT_EQUAL(ring_taken(consumer), 4);
	report = ring_consumer_report(consumer);
	CU_ASSERT_EQUAL(report.damaged_batches, 3);
	CU_ASSERT_EQUAL(report.repairs, 1);
	ring_audit(consumer);
	expect_take(consumer, 5, 6);
	report = ring_consumer_report(consumer);
	CU_ASSERT_EQUAL(report.damaged_batches, 1);
	CU_ASSERT_EQUAL(report.repairs, 1);
	retire_all(consumer);

	atomic_store(&ring->lane_words[0].generation, 40); /* its owner lives, and says so again */
	expect_publish(ring, 6, 7);
	CU_ASSERT_EQUAL(atomic_load(&ring->lane_words[0].generation), 1);
	expect_take(consumer, 6, 7);
	atomic_store(&ring->lane_words[2].generation, 41); /* nobody owns it */
	ring_audit(consumer);
	retire_all(consumer);
	ring_audit(consumer);
	CU_ASSERT_EQUAL(atomic_load(&ring->lane_words[2].generation), 42);
	atomic_store(&ring->header->tail, UINT64_MAX / 3);
	CU_ASSERT_EQUAL(publish(ring, 100, 1, 7), TR_RING_DAMAGED);
	ring_audit(consumer);
	expect_publish(ring, 7, 8);
	expect_take(consumer, 7, 8);
	report = ring_consumer_report(consumer);
	CU_ASSERT_EQUAL(report.damaged_batches, 0);
	CU_ASSERT_EQUAL(report.repairs, 1);
	CU_ASSERT_EQUAL(report.lanes_recycled, 1);
	ring_consumer_close(&consumer, false);
	ring_detach(&ring);
}

/* ---- truncation -------------------------------------------------------------------------- */

static struct {
	void *memory;
	size_t bytes;
	volatile sig_atomic_t hit;
} mapping;

/* As the dispatcher's: private zeros in place of what is lost, and a note. */
static void on_bus(int number)
{
	(void)number;
	if (mapping.hit++ || mmap(mapping.memory, mapping.bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(96);
}

static void truncate_segment(off_t bytes)
{
	CU_ASSERT_EQUAL(truncate(segment_path, bytes), 0);
}

static void test_truncated(void)
{
	const struct sigaction action = { .sa_handler = on_bus };
	struct sigaction before;
	struct tr_error error;
	struct stat status;

	CU_ASSERT_EQUAL(sigaction(SIGBUS, &action, &before), 0);
	for (int round = 0; round < 3; round++) {
		/* All; behind the header; in the middle of the slots. */
		const off_t left[] = { 0, 4096, 8192 + 131072 + 4096 };
		struct ring *ring = attach(&small);
		struct ring_consumer *consumer = consume(&small);

		expect_publish(ring, 0, 20);
		expect_take(consumer, 0, 5);
		expect_publish(ring, 20, 64); /* the lane is full, and nothing of it will ever be retired */
		ring_mapping(consumer, &mapping.memory, &mapping.bytes);
		mapping.hit = 0;
		truncate_segment(left[round]);
		while (!mapping.hit && drain(consumer))
			;
		CU_ASSERT_EQUAL(mapping.hit, 1);
		CU_ASSERT_EQUAL(ring_rebuild(consumer, &error), TR_OK);
		CU_ASSERT_EQUAL(stat(segment_path, &status), 0);
		CU_ASSERT_EQUAL((size_t)status.st_size, mapping.bytes);
		CU_ASSERT_TRUE(ring_consumer_report(consumer).repairs >= 1);
		CU_ASSERT_TRUE(works(ring, consumer));
		struct ring *other = attach(&small);
		CU_ASSERT_TRUE(works(other, consumer));
		ring_detach(&other);
		ring_detach(&ring);
		ring_audit(consumer);
		CU_ASSERT_TRUE(ring_consumer_close(&consumer, true));
	}
	CU_ASSERT_EQUAL(sigaction(SIGBUS, &before, NULL), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a restart at each stage", test_restart },
		{ "a restart trusts the cells alone", test_restart_without_cursors },
		{ "a restart after the oldest cell is lost", test_restart_with_lost_oldest },
		{ "what is struck out is not taken again", test_strike },
		{ "scribbles are counted", test_scribbles_are_counted },
		{ "scribbles, 300 seeds", test_scribbles },
		{ "a truncated segment is rebuilt", test_truncated },
	};

	return RUN_RING_TESTS("ring_recovery", tests);
}
