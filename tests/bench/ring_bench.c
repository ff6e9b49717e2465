/*
 * The ring against Concurrency Kit's: 256-byte records from 1, 2, 4 and 8 producers to one
 * consumer. Ours with producer processes, every record published and checked by itself; libck's
 * multi-producer ring with threads, records by value. The two run by turns, and what counts is the
 * median of each and their ratio. Leaves: a table on standard output; 1 when a record was lost,
 * doubled, or out of its producer's order.
 *   -n RECORDS     a trial's
 *   -r RUNS        of each
 *   -l SECONDS     after which a trial is cut off
 *   -p PRODUCERS   only so many
 *   -c             the consumer on a processor for itself, the producers on the others
 *   -s             our contender only, for a profile
 */
#include <ck_ring.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shared/ring.h"

#define RECORD_BYTES 256
#define MOST_PRODUCERS 8
#define MOST_RUNS 99
#define RETIRE_EVERY 64 /* taskd retires once for many, after a commit */
#define LOOKS_BEFORE_YIELD 64
/* Between two looks in vain, about 1 us: to look all the time takes the line from who would write it. */
#define PAUSES_BEFORE_LOOK 32

struct record {
	uint64_t producer, sequence;
	char rest[RECORD_BYTES - 2 * sizeof(uint64_t)];
};
CK_RING_PROTOTYPE(record, record)

/* What the processes of one trial share. */
struct course {
	uint32_t producers;
	uint64_t records; /* altogether, a multiple of producers */
	_Atomic uint32_t ready, go;
	_Atomic uint64_t arrived; /* written now and then, for a trial that is cut off */
	_Atomic bool failed;      /* a producer gave up */
};

struct contender {
	const char *name;
	/* Runs one trial in the calling process: its time in ns, 0 when something was wrong. */
	int64_t (*run)(struct course *course);
};

static char instance[32];
static bool placed;
/* Half of the lanes may go to those who are quick to take more than one. */
static const struct tr_geometry geometry = {
	.lanes = 2 * MOST_PRODUCERS, .slots_per_lane = 1024, .slot_bytes = 320, .cells = 16384,
};
#define CK_RECORDS 2048 /* 1024 to 16384: no difference that shows */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- what both contenders do ------------------------------------------------------------- */

/* Placed: the consumer has the first processor for itself, the producers share the others. */
static void place(bool consumer, uint32_t number)
{
	cpu_set_t set;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (!placed || processors < 2)
		return;
	CPU_ZERO(&set);
	CPU_SET(consumer ? 0 : 1 + number % ((size_t)processors - 1), &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void wait_for_start(struct course *course, uint32_t number)
{
	place(false, number);
	atomic_fetch_add(&course->ready, 1);
	while (!atomic_load(&course->go))
		sched_yield();
}

static int64_t start(struct course *course)
{
	place(true, 0);
	while (atomic_load(&course->ready) != course->producers)
		sched_yield();
	int64_t started = now_ns();
	atomic_store(&course->go, 1);
	return started;
}

struct arrivals {
	uint64_t total, next[MOST_PRODUCERS];
	uint32_t looks; /* in vain, since the last record */
};

static bool arrive(struct arrivals *arrivals, struct course *course, const struct record *record)
{
	if (record->producer >= course->producers || record->sequence != arrivals->next[record->producer]++) {
		fprintf(stderr, "ring_bench: lost or doubled: producer %llu, sequence %llu\n",
		    (unsigned long long)record->producer, (unsigned long long)record->sequence);
		return false;
	}
	arrivals->looks = 0;
	if (++arrivals->total % 1024 == 0)
		atomic_store_explicit(&course->arrived, arrivals->total, memory_order_relaxed);
	return true;
}

static void processor_pause(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

static void nothing_arrived(struct arrivals *arrivals)
{
	if (++arrivals->looks % LOOKS_BEFORE_YIELD == 0)
		sched_yield();
	for (int i = 0; i < PAUSES_BEFORE_LOOK; i++)
		processor_pause();
}

/* ---- ours: processes --------------------------------------------------------------------- */

static bool produce(struct course *course, uint32_t number)
{
	struct ring *ring;
	struct tr_error error = { "" };
	struct record record = { .producer = number };
	uint64_t position;
	uint32_t hint = 0;

	if (ring_attach(&ring, instance, NULL, 0, &error) != TR_OK) {
		fprintf(stderr, "ring_bench: producer: %s\n", error.text);
		return false;
	}
	memset(record.rest, 'x', sizeof record.rest);
	wait_for_start(course, number);
	enum tr_result result = TR_OK;
	while (record.sequence < course->records / course->producers) {
		result = ring_publish(ring, &hint, &record, sizeof record, &position);
		if (result == TR_OK)
			record.sequence++;
		else if (result == TR_LANE_FULL || result == TR_RING_FULL)
			sched_yield();
		else
			break;
	}
	if (result != TR_OK)
		fprintf(stderr, "ring_bench: publish: %s\n", tr_result_text(result));
	ring_detach(&ring);
	return result == TR_OK;
}

static bool start_processes(struct course *course, pid_t *producers)
{
	for (uint32_t i = 0; i < course->producers; i++) {
		producers[i] = fork();
		if (producers[i] < 0)
			return false;
		if (producers[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			bool produced = produce(course, i);
			if (!produced)
				atomic_store(&course->failed, true);
			_exit(produced ? 0 : 1);
		}
	}
	return true;
}

static int64_t consume(struct ring_consumer *consumer, struct course *course, struct record *to)
{
	struct arrivals arrivals = { 0 };
	uint64_t position;
	int64_t started = start(course);

	while (arrivals.total < course->records) {
		size_t bytes = ring_take(consumer, to, &position);
		if (bytes == 0) {
			nothing_arrived(&arrivals);
			if (arrivals.looks % LOOKS_BEFORE_YIELD == 0)
				ring_retire(consumer, ring_taken(consumer));
			if (atomic_load_explicit(&course->failed, memory_order_relaxed))
				return 0;
			continue;
		}
		if (bytes != sizeof *to || !arrive(&arrivals, course, to)) {
			fprintf(stderr, "ring_bench: not the record that was expected, of %zu bytes\n", bytes);
			return 0;
		}
		if (arrivals.total % RETIRE_EVERY == 0)
			ring_retire(consumer, position + 1);
	}
	int64_t took = now_ns() - started;
	ring_retire(consumer, ring_taken(consumer));
	return took;
}

static int64_t run_ours(struct course *course)
{
	struct ring *ring;
	struct ring_consumer *consumer;
	struct tr_error error = { "" };
	pid_t producers[MOST_PRODUCERS];
	int64_t took = 0;

	if (ring_attach(&ring, instance, &geometry, 0, &error) != TR_OK) {
		fprintf(stderr, "ring_bench: %s\n", error.text);
		return 0;
	}
	struct record *to = malloc(ring_batch_max(ring));
	if (!to || ring_consumer_open(&consumer, &ring, &error) != TR_OK) {
		fprintf(stderr, "ring_bench: %s\n", error.text);
		free(to);
		return 0;
	}
	if (start_processes(course, producers))
		took = consume(consumer, course, to);
	for (uint32_t i = 0; took && i < course->producers; i++) {
		int status;
		if (waitpid(producers[i], &status, 0) != producers[i] || status != 0) {
			fprintf(stderr, "ring_bench: a producer ended with status %#x\n", (unsigned)status);
			took = 0;
		}
	}
	ring_audit(consumer);
	struct ring_report report = ring_consumer_report(consumer);
	if (report.damaged_batches || report.repairs) {
		fprintf(stderr, "ring_bench: %llu batches damaged, %llu repairs\n",
		    (unsigned long long)report.damaged_batches, (unsigned long long)report.repairs);
		took = 0;
	}
	ring_consumer_close(&consumer, true);
	free(to);
	return took;
}

/* ---- Concurrency Kit: threads ------------------------------------------------------------ */

static struct ck {
	ck_ring_t ring;
	struct record buffer[CK_RECORDS];
	struct course *course;
	uint32_t numbers[MOST_PRODUCERS];
} ck;

static void *produce_ck(void *number)
{
	struct record record = { .producer = *(const uint32_t *)number };

	memset(record.rest, 'x', sizeof record.rest);
	wait_for_start(ck.course, (uint32_t)record.producer);
	while (record.sequence < ck.course->records / ck.course->producers) {
		if (ck_ring_enqueue_mpmc_record(&ck.ring, ck.buffer, &record))
			record.sequence++;
		else
			sched_yield();
	}
	return NULL;
}

static int64_t run_ck(struct course *course)
{
	struct arrivals arrivals = { 0 };
	struct record record;

	ck.course = course;
	ck_ring_init(&ck.ring, CK_RECORDS);
	memset(ck.buffer, 0, sizeof ck.buffer);
	for (uint32_t i = 0; i < course->producers; i++) {
		pthread_t thread;
		ck.numbers[i] = i;
		if (pthread_create(&thread, NULL, produce_ck, &ck.numbers[i]) != 0)
			return 0;
		pthread_detach(thread);
	}
	int64_t started = start(course);
	while (arrivals.total < course->records) {
		if (!ck_ring_dequeue_mpmc_record(&ck.ring, ck.buffer, &record))
			nothing_arrived(&arrivals);
		else if (!arrive(&arrivals, course, &record))
			return 0;
	}
	return now_ns() - started;
}

/* ---- trials ------------------------------------------------------------------------------ */

enum outcome { FINISHED, CUT_OFF, WRONG };

static struct course *course; /* the current trial's, shared by its processes */

/* A trial that was cut off leaves its ring, with records in it. */
static void remove_names(void)
{
	char name[64];

	snprintf(name, sizeof name, "/%s.ring", instance);
	shm_unlink(name);
	snprintf(name, sizeof name, "/%s.wake", instance);
	shm_unlink(name);
}

/*
 * One trial in a process group of its own, so that it can be cut off whole. *rate in millions of
 * records a second, also of what arrived before it was cut off.
 */
static enum outcome trial(const struct contender *contender, int limit_s, double *rate)
{
	int result[2];
	int64_t took = 0;

	atomic_store(&course->ready, 0);
	atomic_store(&course->go, 0);
	atomic_store(&course->arrived, 0);
	atomic_store(&course->failed, false);
	*rate = 0;
	if (pipe(result) != 0)
		return WRONG;
	pid_t child = fork();
	if (child < 0)
		return WRONG;
	if (child == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(result[0]);
		took = contender->run(course);
		_exit(write(result[1], &took, sizeof took) == sizeof took ? 0 : 1);
	}
	close(result[1]);
	struct pollfd readable = { .fd = result[0], .events = POLLIN };
	bool in_time = poll(&readable, 1, limit_s * 1000) == 1;
	bool answered = in_time && read(result[0], &took, sizeof took) == sizeof took;
	kill(-child, SIGKILL);
	waitpid(child, NULL, 0);
	remove_names();
	close(result[0]);
	if (!in_time) {
		*rate = (double)atomic_load(&course->arrived) / limit_s / 1e6;
		return CUT_OFF;
	}
	if (!answered || took <= 0)
		return WRONG;
	*rate = (double)course->records * 1e3 / (double)took;
	return FINISHED;
}

struct tally {
	double rates[MOST_RUNS];
	int runs, cut_off;
};

static int compare_rates(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(struct tally *tally)
{
	qsort(tally->rates, (size_t)tally->runs, sizeof tally->rates[0], compare_rates);
	return tally->runs ? tally->rates[tally->runs / 2] : 0;
}

static bool one_more(const struct contender *contender, int limit_s, struct tally *tally)
{
	if (tally->cut_off == 2) /* it would only cost the time limit again */
		return true;
	enum outcome outcome = trial(contender, limit_s, &tally->rates[tally->runs]);
	tally->runs++;
	tally->cut_off += outcome == CUT_OFF;
	if (outcome == WRONG)
		fprintf(stderr, "ring_bench: %s: a trial went wrong\n", contender->name);
	return outcome != WRONG;
}

static bool compare(uint32_t producers, uint64_t records, int runs, int limit_s, bool ours_only)
{
	static const struct contender ours = { "taskring", run_ours }, theirs = { "libck", run_ck };
	struct tally our_tally = { .runs = 0 }, their_tally = { .runs = 0 };

	course->producers = producers;
	course->records = records - records % producers;
	for (int run = 0; run < runs; run++) {
		if (!one_more(&ours, limit_s, &our_tally))
			return false;
		if (!ours_only && !one_more(&theirs, limit_s, &their_tally))
			return false;
	}
	double our_rate = median(&our_tally), their_rate = median(&their_tally);
	printf("%9u  %14.2f  (%5.2f - %5.2f)", producers, our_rate, our_tally.rates[0],
	    our_tally.rates[our_tally.runs - 1]);
	if (our_tally.cut_off)
		printf("  %d of %d did not finish in %d s", our_tally.cut_off, our_tally.runs, limit_s);
	if (!ours_only)
		printf("  %11.2f  (%5.2f - %5.2f)", their_rate, their_tally.rates[0],
		    their_tally.rates[their_tally.runs - 1]);
	if (!ours_only && their_tally.cut_off * 2 < their_tally.runs)
		printf("  %7.2f", our_rate / their_rate);
	else
		printf("  %7s", "-");
	if (their_tally.cut_off)
		printf("  libck: %d of %d did not finish in %d s", their_tally.cut_off, their_tally.runs, limit_s);
	printf("\n");
	fflush(stdout);
	return true;
}

static long number(const char *text, long most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || value < 1 || value > most) {
		fprintf(stderr, "ring_bench: %s: allowed is 1 to %ld\n", text, most);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const uint32_t counts[] = { 1, 2, 4, 8 };
	uint64_t records = 4000000;
	int runs = 5, limit_s = 15, option;
	uint32_t only = 0;
	bool ours_only = false, well = true;

	while ((option = getopt(argc, argv, "n:r:l:p:sc")) != -1) {
		switch (option) {
		case 'n': records = (uint64_t)number(optarg, 1000000000); break;
		case 'r': runs = (int)number(optarg, MOST_RUNS); break;
		case 'l': limit_s = (int)number(optarg, 600); break;
		case 'p': only = (uint32_t)number(optarg, MOST_PRODUCERS); break;
		case 's': ours_only = true; break;
		case 'c': placed = true; break;
		default: return 2;
		}
	}
	course = mmap(NULL, sizeof *course, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (course == MAP_FAILED) {
		fprintf(stderr, "ring_bench: mmap: %s\n", strerror(errno));
		return 1;
	}
	snprintf(instance, sizeof instance, "ring-bench-%d", (int)getpid());
	printf("ring: %llu records of %d bytes, medians of %d runs, million records a second\n"
	       "taskring: processes, %u slots of %u bytes per lane, %u cells; libck: MPMC, threads, %d records\n",
	    (unsigned long long)records, RECORD_BYTES, runs, geometry.slots_per_lane, geometry.slot_bytes,
	    geometry.cells, CK_RECORDS);
	printf("%9s  %14s  %-15s  %11s  %-15s  %7s\n", "producers", "taskring", "", "libck", "", "ratio");
	for (size_t i = 0; well && i < sizeof counts / sizeof counts[0]; i++)
		if (!only || counts[i] == only)
			well = compare(counts[i], records, runs, limit_s, ours_only);
	return well ? 0 : 1;
}
