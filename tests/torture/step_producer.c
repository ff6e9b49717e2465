/*
 * Kills and stops a producer at every instruction. For each window of a producer's life and each
 * instruction k of it:
 *   kill   a victim runs to k and is killed. Another producer must be able to publish at once, all
 *          records must be whole and in order, the victim's batch be there or not, nothing be
 *          damaged or repaired, and its lane come back. Twice: first published, then taken after
 *          the death, and the other way about.
 *   stop   a victim is stopped at k, the others lap the order ring, and it goes on: its batch
 *          arrives exactly once, or it was told why not.
 * `step_producer` tries each instruction of publishing and a part of those of attaching and
 * detaching; `step_producer --every` tries every single one.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "step.h"

#define RECORD_BYTES 200
#define BATCH_BYTES 1600 /* 7 slots */
#define LONG_BYTES (15 * 256 - 16)

static struct step_shared *shared;
static struct oracle oracle;
static char record[4096];

/* ---- the victim -------------------------------------------------------------------------- */

struct plan {
	size_t bytes;    /* of what is published in the window; 0: nothing is */
	uint64_t number; /* of the next record */
	struct ring *ring;
	uint32_t hint;
};

static void victim_publish(struct plan *plan, size_t bytes)
{
	uint64_t position;

	oracle_write(record, bytes, ORACLE_VICTIM, plan->number++);
	if (ring_publish(plan->ring, &plan->hint, record, bytes, &position) != TR_OK)
		abort();
}

static void before_attach(void *context)
{
	struct plan *plan = context;

	oracle_write(record, plan->bytes, ORACLE_VICTIM, plan->number);
}

static void before_claim(void *context)
{
	struct plan *plan = context;
	struct tr_error error;

	if (ring_attach(&plan->ring, oracle.instance, &oracle.geometry, 0, &error) != TR_OK)
		abort();
	before_attach(context);
}

static void before_publish(void *context)
{
	before_claim(context);
	victim_publish(context, RECORD_BYTES);
	before_attach(context);
}

/* Four times 15 of the lane's 64 slots: the next batch of 7 must go round its end. */
static void before_wrap(void *context)
{
	before_claim(context);
	for (int i = 0; i < 4; i++)
		victim_publish(context, LONG_BYTES);
	before_attach(context);
}

static void window_publish(void *context)
{
	struct plan *plan = context;
	uint64_t position;

	enum tr_result result = ring_publish(plan->ring, &plan->hint, record, plan->bytes, &position);
	atomic_store(&shared->result, (int)result);
}

static void window_attach(void *context)
{
	struct plan *plan = context;
	struct tr_error error;

	enum tr_result result = ring_attach(&plan->ring, oracle.instance, &oracle.geometry, 0, &error);
	atomic_store(&shared->result, (int)result);
}

static void window_detach(void *context)
{
	struct plan *plan = context;

	ring_detach(&plan->ring);
	atomic_store(&shared->result, TR_OK);
}

/* ---- the ring as the window finds it ----------------------------------------------------- */

static void arrange_quiet(void)
{
	oracle_take(&oracle);
	oracle_retire(&oracle);
}

static void arrange_asleep(void)
{
	arrange_quiet();
	oracle_expect(&oracle, ring_sleep(oracle.consumer), "the ring is not empty before the window");
}

/* As after a death between the publication and the step of the tail. */
static void arrange_tail_behind(void)
{
	arrange_quiet();
	oracle_publish(&oracle, 1);
	atomic_fetch_sub(&oracle.producer[0]->header->tail, 1);
}

static void arrange_tail_behind_retired(void)
{
	arrange_tail_behind();
	arrange_quiet();
}

/* No ring at all: the victim makes it. */
static void arrange_none(void)
{
	arrange_quiet();
	oracle_detach(&oracle);
	oracle_expect(&oracle, ring_consumer_close(&oracle.consumer, true), "the idle ring was not removed");
}

static void after_none(void)
{
	oracle_attach(&oracle);
	oracle_consume(&oracle);
}

static void after_asleep(void)
{
	struct pollfd wake = { .fd = ring_wake_fd(oracle.consumer), .events = POLLIN };

	oracle_publish(&oracle, 1);
	oracle_expect(&oracle, poll(&wake, 1, 0) == 1, "the next publication did not wake the consumer");
	ring_awake(oracle.consumer);
}

static const struct scenario {
	const char *name;
	void (*before)(void *context);
	void (*window)(void *context);
	void (*arrange)(void);
	void (*after)(void); /* first thing after the death or the stop */
	size_t bytes;
	unsigned left; /* batches that the victim published before the window and that wait in the ring */
	unsigned part; /* every how many instructions, unless all are asked for */
} scenarios[] = {
	{ "publish", before_publish, window_publish, arrange_quiet, NULL, RECORD_BYTES, 0, 1 },
	{ "batch", before_publish, window_publish, arrange_quiet, NULL, BATCH_BYTES, 0, 1 },
	{ "wrap", before_wrap, window_publish, arrange_quiet, NULL, BATCH_BYTES, 0, 1 },
	{ "wake", before_publish, window_publish, arrange_asleep, after_asleep, RECORD_BYTES, 0, 1 },
	{ "help", before_publish, window_publish, arrange_tail_behind, NULL, RECORD_BYTES, 0, 1 },
	{ "help-retired", before_publish, window_publish, arrange_tail_behind_retired, NULL, RECORD_BYTES, 0, 1 },
	{ "claim", before_claim, window_publish, arrange_quiet, NULL, RECORD_BYTES, 0, 1 },
	{ "detach", before_publish, window_detach, arrange_quiet, NULL, 0, 0, 1 },
	{ "detach-busy", before_publish, window_detach, NULL, NULL, 0, 1, 1 },
	{ "attach", before_attach, window_attach, arrange_quiet, NULL, 0, 0, 7 },
	{ "make", before_attach, window_attach, arrange_none, after_none, 0, 0, 11 },
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

/* ---- the passes -------------------------------------------------------------------------- */

enum pass { KILL_PUBLISH_TAKE, KILL_TAKE_PUBLISH, STOP_LAP_CONTINUE, PASSES };
static const char *const pass_names[PASSES] = { "kill, publish, take", "kill, take, publish", "stop, lap, continue" };

static void check_after_kill(enum pass pass, uint64_t *of_victim)
{
	if (pass == KILL_PUBLISH_TAKE)
		oracle_publish(&oracle, 2);
	*of_victim = oracle_take(&oracle);
	if (*of_victim) {
		ring_audit(oracle.consumer);
		oracle_expect(&oracle, ring_consumer_report(oracle.consumer).lanes_owned == ORACLE_STEADY + 1,
		    "the lane came back before its batch was retired");
	}
	oracle_retire(&oracle);
	ring_audit(oracle.consumer);
	if (pass == KILL_TAKE_PUBLISH)
		oracle_publish(&oracle, 2);
	*of_victim += oracle_take(&oracle);
}

static void check_after_stop(struct step_victim *victim, uint64_t *of_victim)
{
	uint64_t next = oracle.victim_next;

	oracle_lap(&oracle);
	oracle_expect(&oracle, step_finish(victim), "the victim did not end in order");
	oracle_take(&oracle);
	*of_victim = oracle.victim_next - next;
	int result = atomic_load(&shared->result);
	oracle_expect(&oracle, result == TR_OK || result == TR_RING_FULL || result == TR_LANE_FULL,
	    "the victim was told something else than done or full");
}

static struct step_victim start(const struct scenario *scenario, struct plan *plan)
{
	*plan = (struct plan){ .bytes = scenario->bytes, .number = oracle.victim_next };
	struct step_victim victim = step_start(scenario->before, scenario->window, plan);
	if (scenario->arrange)
		scenario->arrange();
	return victim;
}

/* What must hold in the end, whatever the pass was; leaves the ring quiet. */
static void check_end(const struct scenario *scenario, uint64_t of_victim)
{
	unsigned most = scenario->left + (scenario->bytes ? 1 : 0);

	oracle_expect(&oracle, of_victim >= scenario->left, "an earlier batch of the victim is lost");
	oracle_expect(&oracle, of_victim <= most, "the victim's batch arrived twice");
	if (scenario->bytes && atomic_load(&shared->over))
		oracle_expect(&oracle, of_victim == (atomic_load(&shared->result) == TR_OK),
		    "the batch is not what the victim was told");
	oracle_complete(&oracle);
	oracle_retire(&oracle);
	oracle_lanes_back(&oracle);
}

/* One victim, killed or stopped at a point. False: it did not come there. */
static bool try_point(const struct scenario *scenario, const struct step_path *path, enum pass pass, uint64_t point)
{
	struct plan plan;
	uint64_t of_victim;

	oracle.point = point;
	struct step_victim victim = start(scenario, &plan);
	bool there = step_to(&victim, path, point);
	if (pass != STOP_LAP_CONTINUE)
		step_kill(&victim);
	if (scenario->after)
		scenario->after();
	if (pass == STOP_LAP_CONTINUE)
		check_after_stop(&victim, &of_victim);
	else
		check_after_kill(pass, &of_victim);
	check_end(scenario, of_victim);
	return there;
}

/* The path of a victim that goes through the window undisturbed. */
static struct step_path find_path(const struct scenario *scenario)
{
	struct plan plan;

	struct step_victim victim = start(scenario, &plan);
	struct step_path path = step_record(&victim, UINT64_MAX);
	oracle_expect(&oracle, step_finish(&victim), "the undisturbed victim did not end in order");
	if (scenario->after)
		scenario->after();
	check_end(scenario, oracle_take(&oracle));
	return path;
}

static uint64_t try_scenario(const struct scenario *scenario, bool every)
{
	unsigned part = every ? 1 : scenario->part;
	uint64_t points = 0, strayed = 0;

	oracle.scenario = scenario->name;
	oracle.point = 0;
	struct step_path path = find_path(scenario);
	for (int pass = 0; pass < PASSES; pass++) {
		uint64_t failures = oracle.failures;
		/* The parts of the passes are staggered, so that together they try more instructions. */
		for (uint64_t point = (uint64_t)pass % part; point <= path.count; point += part) {
			if (try_point(scenario, &path, (enum pass)pass, point))
				points++;
			else
				strayed++;
		}
		if (oracle.failures != failures)
			printf("       in the pass: %s\n", pass_names[pass]);
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
	oracle_open(&oracle, "step_producer");
	for (size_t i = 0; i < SCENARIOS; i++)
		oracle_count(&oracle, &tally, scenarios[i].name, try_scenario(&scenarios[i], every));
	oracle_close(&oracle);
	return oracle_report(&tally) ? EXIT_SUCCESS : EXIT_FAILURE;
}
