/*
 * Kills and stops the ring's consumer at every instruction of taking, retiring, sleeping, looking
 * after dead lanes, opening and leaving. The ring holds the batches of a producer that died and
 * those of two living ones. After the death at instruction k
 *   - the living must be able to publish at once,
 *   - a new consumer must find everything that was not retired, in order, and nothing else,
 *   - nothing may be damaged or repaired,
 *   - and the dead producer's lane must come back, after its batches are retired and not before.
 * In another pass the consumer is only stopped, the living publish, and it goes on.
 * Opening and looking after the ring go over all cells, a loop that in a sound ring only reads: of
 * it the first instructions are tried, and then those that come after.
 * `step_consumer` tries a part of the longest windows, `step_consumer --every` every instruction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "step.h"

#define DEAD_BATCHES 2
#define STEADY_EACH 4
#define BATCHES (DEAD_BATCHES + STEADY_EACH * ORACLE_STEADY)

static struct step_shared *shared;
static struct oracle oracle;
static uint64_t base; /* position of the first batch of this run */
static char batch[64 * 256];

/* ---- the victim: a consumer -------------------------------------------------------------- */

static struct ring *victim_ring;
static struct ring_consumer *victim;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void take(unsigned batches)
{
	uint64_t position;

	while (batches--)
		must(ring_take(victim, batch, &position) > 0);
}

static void before_open(void *context)
{
	struct tr_error error;

	(void)context;
	must(ring_attach(&victim_ring, oracle.instance, &oracle.geometry, 0, &error) == TR_OK);
}

static void window_open(void *context)
{
	struct tr_error error;

	(void)context;
	must(ring_consumer_open(&victim, &victim_ring, &error) == TR_OK);
}

static void before_take(void *context)
{
	before_open(context);
	window_open(context);
}

static void before_retire(void *context)
{
	before_take(context);
	take(BATCHES);
}

static void before_recycle(void *context)
{
	before_retire(context);
	ring_retire(victim, ring_taken(victim));
}

static void window_take(void *context)
{
	(void)context;
	take(DEAD_BATCHES + 1);
}

static void window_retire(void *context)
{
	(void)context;
	ring_retire(victim, ring_taken(victim) - 1);
}

static void window_audit(void *context)
{
	(void)context;
	ring_audit(victim);
}

static void window_sleep(void *context)
{
	(void)context;
	(void)ring_sleep(victim); /* false in the pass in which something is published meanwhile */
	ring_awake(victim);
}

static void window_leave(void *context)
{
	(void)context;
	ring_consumer_close(&victim, false);
}

/* Nobody is left, nothing is in the ring: its names go. */
static void window_remove(void *context)
{
	(void)context;
	ring_consumer_close(&victim, true);
}

/* ---- windows ----------------------------------------------------------------------------- */

enum entry { AT_ONCE, AT_QSORT, AT_FREE, AT_AUDIT, AT_LOCK };

static const struct scenario {
	const char *name;
	void (*before)(void *context);
	void (*window)(void *context);
	enum entry entry, then; /* the path begins at once, or with a call of that function, or of both */
	uint64_t most;    /* instructions of the path */
	unsigned retired_before, retired_after; /* batches */
	bool alone;       /* no producer is attached */
	unsigned part;    /* every how many instructions, unless all are asked for */
} scenarios[] = {
	{ "take", before_take, window_take, AT_ONCE, AT_ONCE, UINT64_MAX, 0, 0, false, 2 },
	{ "retire", before_retire, window_retire, AT_ONCE, AT_ONCE, UINT64_MAX, 0, BATCHES - 1, false, 1 },
	{ "audit", before_retire, window_audit, AT_ONCE, AT_ONCE, 500, 0, 0, false, 3 },
	{ "drain", before_retire, window_audit, AT_LOCK, AT_ONCE, UINT64_MAX, 0, 0, false, 1 },
	{ "recycle", before_recycle, window_audit, AT_LOCK, AT_ONCE, UINT64_MAX, BATCHES, BATCHES, false, 1 },
	{ "sleep", before_recycle, window_sleep, AT_ONCE, AT_ONCE, UINT64_MAX, BATCHES, BATCHES, false, 1 },
	{ "open", before_open, window_open, AT_ONCE, AT_ONCE, 1500, 0, 0, false, 5 },
	{ "open-sort", before_open, window_open, AT_QSORT, AT_ONCE, 50, 0, 0, false, 5 },
	{ "open-scanned", before_open, window_open, AT_FREE, AT_ONCE, 400, 0, 0, false, 5 },
	{ "open-drain", before_open, window_open, AT_AUDIT, AT_LOCK, UINT64_MAX, 0, 0, false, 2 },
	{ "leave", before_retire, window_leave, AT_ONCE, AT_ONCE, UINT64_MAX, 0, 0, false, 3 },
	{ "remove", before_recycle, window_remove, AT_ONCE, AT_ONCE, UINT64_MAX, BATCHES, BATCHES, true, 5 },
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static uint64_t entry_address(enum entry entry)
{
	switch (entry) {
	case AT_QSORT:
		return (uint64_t)&qsort;
	case AT_FREE:
		return (uint64_t)&free;
	case AT_AUDIT:
		return (uint64_t)&ring_audit;
	case AT_LOCK:
		return (uint64_t)&ring_lock_byte;
	case AT_ONCE:
		break;
	}
	return 0;
}

/* ---- the ring as the consumer finds it --------------------------------------------------- */

/* A producer that publishes a batch of several slots and a small one, and dies. */
static void dying_producer(void *context)
{
	struct tr_error error;
	struct ring *ring;
	uint32_t hint = 0;
	uint64_t position;

	(void)context;
	must(ring_attach(&ring, oracle.instance, &oracle.geometry, 0, &error) == TR_OK);
	for (unsigned i = 0; i < DEAD_BATCHES; i++) {
		size_t bytes = i ? 100 : 1000;
		oracle_write(batch, bytes, ORACLE_VICTIM, oracle.victim_next + i);
		must(ring_publish(ring, &hint, batch, bytes, &position) == TR_OK);
	}
}

/* Publishes BATCHES batches and brings a consumer to the beginning of the window. */
static struct step_victim start(const struct scenario *scenario)
{
	struct step_victim producer = step_start(dying_producer, NULL, NULL);
	step_kill(&producer);
	oracle_publish(&oracle, STEADY_EACH);
	if (scenario->alone)
		oracle_detach(&oracle);

	struct step_victim consumer = step_start(scenario->before, scenario->window, NULL);
	const enum entry entries[] = { scenario->entry, scenario->then };
	for (int i = 0; i < 2; i++) {
		if (entries[i] != AT_ONCE && !step_to_address(&consumer, entry_address(entries[i]))) {
			printf("FAILED %s: the window's entry was not reached\n", scenario->name);
			exit(1);
		}
	}
	return consumer;
}

/* The new consumer: what it finds, what it does not. Leaves the ring empty and without consumer. */
static void check(const struct scenario *scenario, uint64_t victim_first, uint64_t steady_first)
{
	oracle_publish(&oracle, 1);
	oracle_consume(&oracle);
	/* A ring made anew counts from 0; one that was empty has nothing that could be found twice. */
	if (!scenario->alone) {
		uint64_t retired = ring_taken(oracle.consumer) - base;
		bool over = atomic_load(&shared->over);
		oracle_expect(&oracle, retired <= BATCHES, "a batch that was never taken is gone");
		oracle_expect(&oracle, retired >= scenario->retired_before, "a retired batch came back");
		oracle_expect(&oracle, retired <= scenario->retired_after, "a batch is gone that was not retired");
		oracle_expect(&oracle, !over || retired == scenario->retired_after, "retiring did not last");
		oracle.victim_next = victim_first + (retired < DEAD_BATCHES ? retired : DEAD_BATCHES);
		oracle.taken = steady_first + (retired < DEAD_BATCHES ? 0 : retired - DEAD_BATCHES);
		if (retired < DEAD_BATCHES)
			oracle_expect(&oracle, ring_consumer_report(oracle.consumer).lanes_owned == ORACLE_STEADY + 1,
			    "the dead producer's lane came back before its batches were retired");
	} else {
		oracle.victim_next = victim_first + DEAD_BATCHES;
	}
	oracle_take(&oracle);
	oracle_expect(&oracle, oracle.victim_next == victim_first + DEAD_BATCHES, "a dead producer's batch is lost");
	oracle_complete(&oracle);
	oracle_retire(&oracle);
	oracle_lanes_back(&oracle);
	base = ring_taken(oracle.consumer);
	oracle_leave(&oracle);
}

/* ---- the passes -------------------------------------------------------------------------- */

enum pass { KILL, STOP_PUBLISH_CONTINUE, PASSES };

/* With a path: one consumer, killed or stopped at the point. Without: undisturbed, noting its path. */
static bool run(const struct scenario *scenario, struct step_path *path, enum pass pass, uint64_t point, bool note)
{
	uint64_t victim_first = oracle.victim_next, steady_first = oracle.published;
	bool there = true;

	oracle.point = point;
	struct step_victim consumer = start(scenario);
	if (note)
		*path = step_record(&consumer, scenario->most);
	else
		there = step_to(&consumer, path, point);
	if (pass == KILL && !note)
		step_kill(&consumer);
	if (pass == STOP_PUBLISH_CONTINUE && !scenario->alone)
		oracle_publish(&oracle, 5);
	if (!consumer.ended)
		oracle_expect(&oracle, step_finish(&consumer), "the consumer did not end in order");
	if (scenario->alone) {
		oracle.taken = oracle.published; /* all was taken by the victim, before the window */
		oracle_attach(&oracle);
	}
	check(scenario, victim_first, steady_first);
	return there;
}

static uint64_t try_scenario(const struct scenario *scenario, bool every)
{
	unsigned part = every ? 1 : scenario->part;
	uint64_t points = 0, strayed = 0;
	struct step_path path;

	oracle.scenario = scenario->name;
	run(scenario, &path, KILL, 0, true);
	for (int pass = 0; pass < PASSES; pass++) {
		for (uint64_t point = (uint64_t)pass % part; point <= path.count; point += part) {
			if (run(scenario, &path, (enum pass)pass, point, false))
				points++;
			else
				strayed++;
		}
	}
	printf("%-13s %5llu instructions, each %u. of them: %llu points, %llu not reached\n", scenario->name,
	    (unsigned long long)path.count, part, (unsigned long long)points, (unsigned long long)strayed);
	fflush(stdout);
	step_path_free(&path);
	return points;
}

int main(int argc, char **argv)
{
	bool every = argc > 1 && strcmp(argv[1], "--every") == 0;
	struct oracle_tally tally = { 0 };

	shared = step_open();
	oracle_open(&oracle, "step_consumer");
	base = ring_taken(oracle.consumer);
	oracle_leave(&oracle);
	for (size_t i = 0; i < SCENARIOS; i++)
		oracle_count(&oracle, &tally, scenarios[i].name, try_scenario(&scenarios[i], every));
	oracle_close(&oracle);
	return oracle_report(&tally) ? EXIT_SUCCESS : EXIT_FAILURE;
}
