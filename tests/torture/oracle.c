/* What must be true of the ring whatever happens to a victim: see oracle.h. */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FAILURES_MAX 20 /* then it is pointless to go on */

struct content {
	uint64_t source, number;
};

/* The smallest ring that there may be: what is lapped, wrapped and full soonest. */
static const struct tr_geometry smallest = {
	.lanes = 5, .slots_per_lane = 64, .slot_bytes = 256, .cells = 16384,
};

bool oracle_expect(struct oracle *oracle, bool holds, const char *what)
{
	if (holds)
		return true;
	printf("FAILED %s, instruction %llu: %s\n", oracle->scenario, (unsigned long long)oracle->point, what);
	if (++oracle->failures >= FAILURES_MAX) {
		printf("too many failures, giving up\n");
		exit(1);
	}
	return false;
}

static void names_remove(const struct oracle *oracle)
{
	char name[64];

	snprintf(name, sizeof name, "/%s.ring", oracle->instance);
	shm_unlink(name);
	snprintf(name, sizeof name, "/dev/shm/%s.wake", oracle->instance);
	unlink(name);
}

/* For exit(), whatever the way to it. */
static const struct oracle *opened;

static void names_remove_at_exit(void)
{
	if (opened)
		names_remove(opened);
}

static struct ring *attach(struct oracle *oracle)
{
	struct tr_error error = { "" };
	struct ring *ring;
	enum tr_result result = ring_attach(&ring, oracle->instance, &oracle->geometry, 0, &error);

	if (result != TR_OK) {
		printf("FAILED %s, instruction %llu: attaching: %s: %s\n", oracle->scenario,
		    (unsigned long long)oracle->point, tr_result_name(result), error.text);
		exit(1);
	}
	return ring;
}

void oracle_open(struct oracle *oracle, const char *name)
{
	*oracle = (struct oracle){ .geometry = smallest, .scenario = "start" };
	snprintf(oracle->instance, sizeof oracle->instance, "%s.%d", name, (int)getpid());
	names_remove(oracle);
	opened = oracle;
	atexit(names_remove_at_exit);
	oracle_attach(oracle);
	oracle->batch = malloc(ring_batch_max(oracle->producer[0]));
	if (!oracle->batch)
		exit(2);
	oracle_consume(oracle);
	oracle_take(oracle);
	oracle_retire(oracle);
}

void oracle_close(struct oracle *oracle)
{
	oracle_leave(oracle);
	oracle_detach(oracle);
	free(oracle->batch);
	names_remove(oracle);
	opened = NULL;
}

void oracle_attach(struct oracle *oracle)
{
	for (int i = 0; i < ORACLE_STEADY; i++) {
		oracle->producer[i] = attach(oracle);
		oracle->hint[i] = 0;
	}
	oracle_publish(oracle, 1);
}

void oracle_detach(struct oracle *oracle)
{
	for (int i = 0; i < ORACLE_STEADY; i++)
		ring_detach(&oracle->producer[i]);
}

void oracle_consume(struct oracle *oracle)
{
	struct tr_error error = { "" };
	struct ring *ring = attach(oracle);

	enum tr_result result = ring_consumer_open(&oracle->consumer, &ring, &error);
	if (result != TR_OK) {
		oracle_expect(oracle, false, error.text);
		exit(1);
	}
}

void oracle_leave(struct oracle *oracle)
{
	ring_consumer_close(&oracle->consumer, false);
}

/* Every byte depends on source, number and place, so that no mixture passes for a record. */
void oracle_write(char *to, size_t bytes, uint64_t source, uint64_t number)
{
	const struct content content = { source, number };

	memcpy(to, &content, sizeof content);
	for (size_t i = sizeof content; i < bytes; i++)
		to[i] = (char)(number * 31 + source * 7 + i + bytes);
}

static bool is_written(const char *from, size_t bytes, const struct content *content)
{
	for (size_t i = sizeof *content; i < bytes; i++)
		if (from[i] != (char)(content->number * 31 + content->source * 7 + i + bytes))
			return false;
	return true;
}

void oracle_publish(struct oracle *oracle, unsigned each)
{
	char record[ORACLE_RECORD_MIN + 8];
	uint64_t position;

	for (unsigned n = 0; n < each; n++) {
		for (int i = 0; i < ORACLE_STEADY; i++) {
			oracle_write(record, sizeof record, 1, oracle->published);
			enum tr_result result =
			    ring_publish(oracle->producer[i], &oracle->hint[i], record, sizeof record, &position);
			if (oracle_expect(oracle, result == TR_OK, "another producer could not publish at once"))
				oracle->published++;
			else
				printf("       it was told %s\n", tr_result_name(result));
		}
	}
}

uint64_t oracle_take(struct oracle *oracle)
{
	struct content content;
	uint64_t position, of_victim = 0;

	for (;;) {
		size_t bytes = ring_take(oracle->consumer, oracle->batch, &position);
		if (!bytes)
			return of_victim;
		memcpy(&content, oracle->batch, sizeof content);
		oracle_expect(oracle, is_written(oracle->batch, bytes, &content), "a record is not whole");
		if (content.source == ORACLE_VICTIM) {
			oracle_expect(oracle, content.number == oracle->victim_next, "the victim's record is out of order");
			oracle->victim_next = content.number + 1;
			of_victim++;
		} else {
			oracle_expect(oracle, content.number == oracle->taken, "a steady record is lost, twice or out of order");
			oracle->taken = content.number + 1;
		}
	}
}

void oracle_retire(struct oracle *oracle)
{
	ring_retire(oracle->consumer, ring_taken(oracle->consumer));
}

void oracle_complete(struct oracle *oracle)
{
	const struct ring_report report = ring_consumer_report(oracle->consumer);

	oracle_expect(oracle, oracle->taken == oracle->published, "steady records are missing");
	oracle_expect(oracle, report.damaged_batches == 0, "batches were dropped as damaged");
	oracle_expect(oracle, report.repairs == 0, "something had to be repaired");
	oracle->taken = oracle->published; /* each failure is told once */
}

void oracle_lanes_back(struct oracle *oracle)
{
	ring_audit(oracle->consumer);
	const struct ring_report report = ring_consumer_report(oracle->consumer);
	oracle_expect(oracle, report.lanes_owned == ORACLE_STEADY, "a lane has not come back");
	oracle_expect(oracle, report.damaged_batches == 0 && report.repairs == 0, "the audit found damage");
}

void oracle_lap(struct oracle *oracle)
{
	uint64_t until = oracle->published + oracle->geometry.cells + 64;

	while (oracle->published < until && oracle->failures < FAILURES_MAX) {
		oracle_publish(oracle, 60);
		oracle_take(oracle);
		oracle_retire(oracle);
		if (oracle->published % 16 == 0)
			ring_audit(oracle->consumer);
	}
}

void oracle_count(const struct oracle *oracle, struct oracle_tally *tally, const char *scenario, uint64_t points)
{
	size_t bytes = strlen(tally->text);

	snprintf(tally->text + bytes, sizeof tally->text - bytes, "%s%s %llu", bytes ? ", " : "", scenario,
	    (unsigned long long)points);
	tally->points += points;
	if (oracle->failures == tally->failures)
		tally->passed++;
	else
		tally->failed++;
	tally->failures = oracle->failures;
}

bool oracle_report(const struct oracle_tally *tally)
{
	printf("points tried: %llu (%s)\n%llu passed, %llu failed\n", (unsigned long long)tally->points, tally->text,
	    (unsigned long long)tally->passed, (unsigned long long)tally->failed);
	return tally->failed == 0;
}
