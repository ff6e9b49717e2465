/*
 * A responder for tests/system/storm.sh: publishes batches and steers what it has published, at random but by a
 * seed, until it is killed.
 *   storm -n INSTANCE -S SPOOL_DIR -J JOURNAL -s SEED -f FACTS -r RAN -q QUEUES [-c STEPS]
 * Leaves in FACTS, before the next step, a line for each thing that it wanted or was promised:
 *   accepted ID CLASS BATCH PLACE    published: nothing of it may be lost. CLASS sure: only cancelling keeps it from
 *                                    success; mortal: it dies at its first attempt, and succeeds when it is retried
 *   wants-VERB ID|QUEUE NS  and then, when it was confirmed, VERB ID|QUEUE NS: cancel, retry, discard, run, pause, resume
 * NS: since 1970. Queues are QUEUES-0 to QUEUES-2, of this responder alone: so their last command decides.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"
#include "taskring/taskring.h"

#define QUEUES 3
#define RECENT 512
#define BATCH_MOST 6
#define LARGE_ARGS (300 * 1024) /* too much for a lane: they go to the spool */

struct published {
	struct tr_id id;
	bool mortal, retried, given_up;
};

struct storm {
	struct taskring *ring;
	struct background_tasks *background;
	const char *ran, *queues;
	uint64_t random;
	int facts;
	struct published recent[RECENT]; /* a ring of its own: the oldest is forgotten */
	size_t count;
	char *args;
};

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016). */
static uint64_t draw(struct storm *storm, uint64_t below)
{
	storm->random ^= storm->random >> 12;
	storm->random ^= storm->random << 25;
	storm->random ^= storm->random >> 27;
	return (storm->random * 0x2545f4914f6cdd1dull >> 11) % below;
}

static void stop(const char *what, enum tr_result result)
{
	fprintf(stderr, "storm: %s: %s\n", what, tr_result_name(result));
	exit(1);
}

/* taskd is dead, or just back. */
static bool is_for_now(enum tr_result result)
{
	return result == TR_RING_FULL || result == TR_LANE_FULL || result == TR_NO_LANE;
}

/* One write(2): a kill leaves the line or nothing. */
__attribute__((format(printf, 2, 3))) static void note(const struct storm *storm, const char *format, ...)
{
	char line[BATCH_MOST * 100];
	va_list list;

	va_start(list, format);
	int bytes = vsnprintf(line, sizeof line, format, list);
	va_end(list);
	if (write(storm->facts, line, (size_t)bytes) != bytes)
		stop("writing facts", TR_SYSTEM);
}

static const char *queue_name(struct storm *storm, char *name, size_t size)
{
	snprintf(name, size, "%s-%u", storm->queues, (unsigned)draw(storm, QUEUES));
	return name;
}

/* ---- publishing -------------------------------------------------------------------------- */

static const char *make_args(struct storm *storm, bool mortal)
{
	bool deaf = draw(storm, 40) == 0;
	int bytes = snprintf(storm->args, LARGE_ARGS + 1, "{\"file\":\"%s\",\"ms\":%u,\"fails\":%d,\"deaf\":%s}", storm->ran,
	    (unsigned)draw(storm, deaf ? 500 : 12), mortal, deaf ? "true" : "false");

	if (draw(storm, 20) == 0) { /* JSON ends in as many spaces as one likes */
		memset(storm->args + bytes, ' ', (size_t)(LARGE_ARGS - bytes));
		storm->args[LARGE_ARGS] = '\0';
	}
	return storm->args;
}

static void add(struct storm *storm, bool mortal)
{
	char queue[TR_NAME_MAX + 1];
	const struct task_options options = {
		.queue = queue_name(storm, queue, sizeof queue), .max_attempts = mortal ? 1 : 1000,
		.backoff_base_ms = 1, .backoff_cap_ms = 20, .delay_ms = draw(storm, 4) == 0 ? (int64_t)draw(storm, 400) : 0,
	};
	const char *handler = draw(storm, 2) == 0 ? "storm" : "storm_wait";
	enum tr_result result = background_tasks_add(storm->background, handler, make_args(storm, mortal), &options);

	if (result != TR_OK)
		stop(background_tasks_error(storm->background), result);
}

static void attach_file(struct storm *storm)
{
	struct tr_error error;
	int fd = tr_spool_file(storm->ring, &error);

	if (fd < 0 || write(fd, storm->args, 100) != 100)
		stop("its file", TR_SYSTEM);
	enum tr_result result = background_tasks_attach(storm->background, fd);
	if (result != TR_OK)
		stop(background_tasks_error(storm->background), result);
}

static void publish(struct storm *storm)
{
	bool mortal = draw(storm, 3) == 0;
	size_t count = mortal ? 1 : 1 + draw(storm, BATCH_MOST);
	char lines[BATCH_MOST * 100] = "", batch[TR_ID_TEXT_SIZE], id[TR_ID_TEXT_SIZE];
	struct published made[BATCH_MOST];
	size_t bytes = 0;

	background_tasks_concurrent(storm->background, draw(storm, 2) == 0);
	background_tasks_durability(storm->background, draw(storm, 10) == 0 ? TR_DISK : TR_MEMORY);
	for (size_t i = 0; i < count; i++)
		add(storm, mortal);
	if (draw(storm, 4) == 0)
		attach_file(storm);
	for (size_t i = 0; i < count; i++) {
		made[i] = (struct published){ .id = background_tasks_id(storm->background, i), .mortal = mortal };
		tr_id_format(&made[i].id, id);
		if (i == 0)
			memcpy(batch, id, sizeof batch);
		bytes += (size_t)snprintf(lines + bytes, sizeof lines - bytes, "accepted %s %s %s %zu\n", id,
		    mortal ? "mortal" : "sure", batch, i);
	}
	enum tr_result result = background_tasks_publish(storm->background, 300);
	if (is_for_now(result)) {
		background_tasks_clear(storm->background);
		return;
	}
	if (result != TR_OK && result != TR_NOT_DURABLE) /* which is published, too */
		stop(background_tasks_error(storm->background), result);
	note(storm, "%s", lines);
	for (size_t i = 0; i < count; i++)
		storm->recent[storm->count++ % RECENT] = made[i];
}

/* ---- steering ---------------------------------------------------------------------------- */

static void steer(struct storm *storm, const char *verb, const struct tr_id *about,
    enum tr_result (*give)(struct taskring *ring, const struct tr_id *id))
{
	char id[TR_ID_TEXT_SIZE];

	tr_id_format(about, id);
	note(storm, "wants-%s %s %lld\n", verb, id, (long long)clock_ns(CLOCK_REALTIME));
	enum tr_result result = give(storm->ring, about);
	if (result == TR_OK)
		note(storm, "%s %s %lld\n", verb, id, (long long)clock_ns(CLOCK_REALTIME));
	else if (result != TR_INVALID && result != TR_NOT_FOUND && !is_for_now(result))
		stop(verb, result);
}

/*
 * Of one that may have died: it is retried, or given up, never both. Whoever is retried is steered no more, so that
 * what was wanted last is known.
 */
static void steer_task(struct storm *storm)
{
	size_t count = storm->count < RECENT ? storm->count : RECENT;
	uint64_t what = draw(storm, 10);
	/* Half of the time one of the newest, which may run just now. */
	size_t at = draw(storm, 2) == 0 ? draw(storm, count) : (storm->count - 1 - draw(storm, count < 20 ? count : 20)) % RECENT;

	for (size_t i = 0; what < 5 && i < count && (!storm->recent[at].mortal || storm->recent[at].given_up); i++)
		at = (at + 1) % count;
	struct published *task = &storm->recent[at];
	if (task->mortal && !task->given_up && what < 5) {
		task->retried = true;
		steer(storm, "retry", &task->id, tr_task_retry);
	} else if (!task->retried && what < 8) {
		task->given_up = true;
		steer(storm, "cancel", &task->id, tr_task_cancel);
	} else if (!task->retried && what == 8) {
		task->given_up = true;
		steer(storm, "discard", &task->id, tr_task_discard);
	} else if (!task->retried) {
		steer(storm, "run", &task->id, tr_task_run);
	}
}

static void steer_queue(struct storm *storm)
{
	char name[TR_NAME_MAX + 1];
	bool pause = draw(storm, 5) < 2;
	const char *verb = pause ? "pause" : "resume";

	queue_name(storm, name, sizeof name);
	note(storm, "wants-%s %s %lld\n", verb, name, (long long)clock_ns(CLOCK_REALTIME));
	enum tr_result result = (pause ? tr_queue_pause : tr_queue_resume)(storm->ring, name);
	if (result == TR_OK)
		note(storm, "%s %s %lld\n", verb, name, (long long)clock_ns(CLOCK_REALTIME));
	else if (!is_for_now(result))
		stop(verb, result);
}

static void step(struct storm *storm)
{
	const struct timespec pause = { .tv_nsec = (long)draw(storm, 5000000) };
	uint64_t what = draw(storm, 100);

	if (storm->count == 0 || what < 40)
		publish(storm);
	else if (what < 92)
		steer_task(storm);
	else
		steer_queue(storm);
	nanosleep(&pause, NULL);
}

int main(int argc, char **argv)
{
	struct tr_open_options options = { 0 };
	struct storm storm = { .args = malloc(LARGE_ARGS + 1) };
	const char *instance = NULL, *facts = NULL;
	unsigned long long steps = ~0ull;
	struct tr_error error;
	int option;

	while ((option = getopt(argc, argv, "n:S:J:s:f:r:q:c:")) != -1) {
		switch (option) {
		case 'n': instance = optarg; break;
		case 'S': options.spool_dir = optarg; break;
		case 'J': options.journal = optarg; break;
		case 's': storm.random = strtoull(optarg, NULL, 10) * 2654435761u + 1; break;
		case 'f': facts = optarg; break;
		case 'r': storm.ran = optarg; break;
		case 'q': storm.queues = optarg; break;
		case 'c': steps = strtoull(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (!storm.args || !instance || !facts || !storm.ran || !storm.queues)
		return 2;
	storm.facts = open(facts, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (storm.facts < 0)
		stop(facts, TR_SYSTEM);
	enum tr_result result = tr_open(&storm.ring, instance, &options, &error);
	if (result != TR_OK)
		stop(error.text, result);
	result = background_tasks_new(&storm.background, storm.ring);
	if (result != TR_OK)
		stop("a batch", result);
	for (unsigned long long i = 0; i < steps; i++)
		step(&storm);
	background_tasks_free(&storm.background);
	tr_close(&storm.ring);
	free(storm.args);
	return 0;
}
