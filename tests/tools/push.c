/*
 * Publishes tasks from the command line, for the system tests and the benchmarks.
 * Enters: options below. Leaves: one id a line on standard output (unless -s), and with -s a
 * closing line "pushed N in S s". A full ring is waited for (not with -F); anything else ends it with
 * status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "shared/id.h"
#include "taskring/taskring.h"

struct push {
	const char *instance, *handler, *args;
	struct tr_open_options open;
	struct task_options task;
	unsigned long count, batch;
	long interval_us;
	bool concurrent, silent, impatient;
	enum tr_durability durability;
	const char *own; /* a file whose content the last task of each batch gets as its own */
	const char *cancel, *retry, *discard, *run, *show, *explain, *pause, *resume;
};

static const char usage[] =
    "push [-n INSTANCE] [-c COUNT] [-b TASKS_A_BATCH] [-H HANDLER] [-a JSON | -A FILE] [-q QUEUE]\n"
    "     [-f ON_FAILURE] [-m MAX_ATTEMPTS] [-B BACKOFF_BASE_MS] [-t HARD_MS] [-T SOFT_MS] [-D DELAY_MS] [-x EXPIRES_MS]\n"
    "     [-S SPOOL_DIR] [-J JOURNAL] [-i INTERVAL_US] [-d (durable)] [-p (parallel)] [-s (silent)]\n"
    "     [-F (a full ring is an error)] [-O FILE (owned)] [-C ID (cancel it)] [-R ID (retry it)] [-G ID (show it)]\n"
    "     [-r TRACE] [-X ID (discard it)] [-N ID (run it now)] [-E ID (arguments, attempts, why)]\n"
    "     [-P QUEUE (pause)] [-U QUEUE (resume)]\n";

/* A number of the command line; ends the program when it is none. */
static unsigned long number(const char *text)
{
	char *end;

	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (errno || *end || end == text) {
		fprintf(stderr, "push: \"%s\" is not a number\n", text);
		exit(2);
	}
	return value;
}

/* The whole file, zero-terminated; kept until the end. Ends the program when it cannot be read. */
static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = malloc(TR_ARGS_MAX + 2);

	if (!file || !text) {
		fprintf(stderr, "push: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	size_t bytes = fread(text, 1, TR_ARGS_MAX + 1, file);
	text[bytes] = '\0';
	fclose(file);
	return text;
}

static void parse(struct push *push, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "n:c:b:H:a:A:q:f:m:B:t:T:D:x:S:J:i:dpsFO:C:R:G:r:X:N:E:P:U:")) != -1) {
		switch (option) {
		case 'n': push->instance = optarg; break;
		case 'c': push->count = number(optarg); break;
		case 'b': push->batch = number(optarg); break;
		case 'H': push->handler = optarg; break;
		case 'a': push->args = optarg; break;
		case 'A': push->args = read_file(optarg); break;
		case 'q': push->task.queue = optarg; break;
		case 'f': push->task.on_failure = optarg; break;
		case 'm': push->task.max_attempts = (uint32_t)number(optarg); break;
		case 'B': push->task.backoff_base_ms = (uint32_t)number(optarg); break;
		case 't': push->task.hard_timeout_ms = (uint32_t)number(optarg); break;
		case 'T': push->task.soft_timeout_ms = (uint32_t)number(optarg); break;
		case 'D': push->task.delay_ms = (int64_t)number(optarg); break;
		case 'r': push->task.trace = optarg; break;
		case 'x': push->task.expires_after_ms = (int64_t)number(optarg); break;
		case 'S': push->open.spool_dir = optarg; break;
		case 'J': push->open.journal = optarg; break;
		case 'i': push->interval_us = (long)number(optarg); break;
		case 'd': push->durability = TR_DISK; break;
		case 'p': push->concurrent = true; break;
		case 's': push->silent = true; break;
		case 'F': push->impatient = true; break;
		case 'O': push->own = optarg; break;
		case 'C': push->cancel = optarg; break;
		case 'R': push->retry = optarg; break;
		case 'G': push->show = optarg; break;
		case 'X': push->discard = optarg; break;
		case 'N': push->run = optarg; break;
		case 'E': push->explain = optarg; break;
		case 'P': push->pause = optarg; break;
		case 'U': push->resume = optarg; break;
		default: fputs(usage, stderr); exit(2);
		}
	}
}

static int fail(const char *tried, enum tr_result result, const char *text)
{
	fprintf(stderr, "push: %s: %s: %s\n", tried, tr_result_name(result), text);
	return 1;
}

static int show(struct taskring *ring, const char *text)
{
	struct tr_task_status status;
	struct tr_id id;

	if (!tr_id_parse(text, &id))
		return fail(text, TR_INVALID, "not an id");
	enum tr_result result = tr_task_status(ring, &id, &status);
	if (result != TR_OK)
		return fail(text, result, tr_result_text(result));
	printf("%s %s %s attempt=%u/%u error=%s result=%s\n", tr_state_name(status.state), status.handler,
	    status.queue, status.attempt, status.max_attempts, status.error, status.result ? status.result : "");
	tr_task_status_clear(&status);
	return 0;
}

static int explain(struct taskring *ring, const char *text)
{
	struct tr_task_detail detail;
	char why[TR_EXPLANATION_SIZE];
	struct tr_id id;

	if (!tr_id_parse(text, &id))
		return fail(text, TR_INVALID, "not an id");
	enum tr_result result = tr_task_detail(ring, &id, &detail);
	if (result == TR_OK)
		result = tr_task_explain(ring, &id, why);
	if (result != TR_OK)
		return fail(text, result, tr_result_text(result));
	printf("args=%s", detail.args ? detail.args : "");
	for (size_t i = 0; i < detail.attempt_count; i++)
		printf(" %u=%s", detail.attempts[i].number, detail.attempts[i].outcome);
	printf(" %s\n", why);
	tr_task_detail_clear(&detail);
	return 0;
}

static int command_queue(const char *queue, enum tr_result result)
{
	return result == TR_OK ? 0 : fail(queue, result, tr_result_text(result));
}

static int command(struct taskring *ring, const char *text,
    enum tr_result (*give)(struct taskring *ring, const struct tr_id *id))
{
	struct tr_id id;

	if (!tr_id_parse(text, &id))
		return fail(text, TR_INVALID, "not an id");
	enum tr_result result = give(ring, &id);
	return result == TR_OK ? 0 : fail(text, result, tr_result_text(result));
}

static void print_ids(size_t count, struct tr_id first)
{
	char text[TR_ID_TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		const struct tr_id id = id_step(&first, (int)i);
		puts(tr_id_format(&id, text));
	}
}

/* The last task owns a copy of the file. 0 or an exit status. */
static int attach(struct taskring *ring, struct background_tasks *background, const char *path)
{
	struct tr_error error;
	int from = open(path, O_RDONLY | O_CLOEXEC), fd = tr_spool_file(ring, &error);
	ssize_t copied = 1;

	while (from >= 0 && fd >= 0 && copied > 0)
		copied = sendfile(fd, from, NULL, 1u << 30);
	if (from < 0 || fd < 0 || copied < 0)
		return fail(path, TR_SYSTEM, fd < 0 ? error.text : strerror(errno));
	close(from);
	enum tr_result result = background_tasks_attach(background, fd);
	return result == TR_OK ? 0 : fail(path, result, background_tasks_error(background));
}

/* One batch of at most `most` tasks; 0 or an exit status. */
static int push_batch(struct taskring *ring, struct background_tasks *background, const struct push *push, unsigned long most)
{
	enum tr_result result;

	for (unsigned long i = 0; i < most; i++) {
		result = background_tasks_add(background, push->handler, push->args, &push->task);
		if (result != TR_OK)
			return fail("adding", result, background_tasks_error(background));
	}
	if (push->own && attach(ring, background, push->own) != 0)
		return 1;
	size_t count = background_tasks_count(background);
	struct tr_id first = background_tasks_id(background, 0);
	while ((result = background_tasks_publish(background, 30000)) == TR_RING_FULL || result == TR_LANE_FULL) {
		if (push->impatient)
			break;
		sched_yield();
	}
	if (result != TR_OK)
		return fail("publishing", result, background_tasks_error(background));
	if (!push->silent)
		print_ids(count, first);
	return 0;
}

static int push_all(struct taskring *ring, const struct push *push)
{
	struct background_tasks *background;
	struct timespec begun, ended, interval = { .tv_nsec = push->interval_us * 1000 };
	int status = 0;

	enum tr_result result = background_tasks_new(&background, ring);
	if (result != TR_OK)
		return fail("opening a batch", result, tr_result_text(result));
	background_tasks_concurrent(background, push->concurrent);
	background_tasks_durability(background, push->durability);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (unsigned long done = 0; done < push->count && !status; done += push->batch) {
		unsigned long left = push->count - done;
		status = push_batch(ring, background, push, left < push->batch ? left : push->batch);
		if (push->interval_us)
			nanosleep(&interval, NULL);
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	background_tasks_free(&background);
	if (push->silent && !status)
		printf("pushed %lu in %.6f s\n", push->count,
		    (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9);
	return status;
}

int main(int argc, char **argv)
{
	struct push push = { .instance = "taskring", .handler = "noop", .count = 1, .batch = 1 };
	struct tr_error error;
	struct taskring *ring;
	int status;

	parse(&push, argc, argv);
	enum tr_result result = tr_open(&ring, push.instance, &push.open, &error);
	if (result != TR_OK)
		return fail(push.instance, result, error.text);
	if (push.show)
		status = show(ring, push.show);
	else if (push.cancel)
		status = command(ring, push.cancel, tr_task_cancel);
	else if (push.retry)
		status = command(ring, push.retry, tr_task_retry);
	else if (push.discard)
		status = command(ring, push.discard, tr_task_discard);
	else if (push.run)
		status = command(ring, push.run, tr_task_run);
	else if (push.explain)
		status = explain(ring, push.explain);
	else if (push.pause)
		status = command_queue(push.pause, tr_queue_pause(ring, push.pause));
	else if (push.resume)
		status = command_queue(push.resume, tr_queue_resume(ring, push.resume));
	else
		status = push_all(ring, &push);
	tr_close(&ring);
	if (fflush(stdout) != 0)
		status = 1;
	return status;
}
