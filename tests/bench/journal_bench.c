/*
 * How fast the journal commits: tasks/s of wall time and of the journal's thread's processor time.
 *   journal_bench DIRECTORY [TASKS [PER_COMMIT [PASS]]]
 * PASS: ended    each task is inserted as ended, with one attempt
 *       running  it is inserted as running, and updated in the next commit, with one attempt
 *       synced   as ended, every commit waits for the disk
 *       retained as ended, with a bound of 100,000 ended tasks
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "shared/id.h"
#include "taskd/journal.h"

#define IN_FLIGHT 2

struct pass {
	const char *name;
	bool running, sync;
	int64_t keep;
};

static const struct pass passes[] = {
	{ "ended", false, false, 0 },
	{ "running", true, false, 0 },
	{ "synced", false, true, 0 },
	{ "retained", false, false, 100000 },
};

static double now_s(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	fprintf(stderr, "journal_bench: %s\n", what);
	exit(1);
}

static void wake(void *context)
{
	if (eventfd_write(*(int *)context, 1) != 0)
		die("eventfd");
}

static struct journal_state ended_state(int64_t now_ms)
{
	return (struct journal_state){ .state = TR_SUCCEEDED, .attempt = 1, .due_ms = now_ms, .started_ms = now_ms + 1,
		.ended_ms = now_ms + 2 };
}

static void add_attempt(struct journal_batch *batch, const struct tr_id *id, int64_t now_ms)
{
	const struct journal_attempt attempt = { .id = *id, .attempt = 1, .started_ms = now_ms + 1, .ended_ms = now_ms + 2,
		.worker_pid = 4711, .outcome = "succeeded", .message = "", .verdict = "" };

	if (!journal_batch_attempt(batch, &attempt))
		die("out of memory");
}

static void add_task(struct journal_batch *batch, const struct tr_id *id, bool running, int64_t now_ms)
{
	static const char args[] = "{\"email\":\"ada@example.org\",\"name\":\"Ada Lovelace\",\"note\":\"one hundred bytes, more or less\"}";
	struct record record = {
		.id = *id, .kind = RECORD_TASK, .created_ns = now_ms * 1000000, .args_bytes = sizeof args - 1,
		.handler = { "send_email_notification", 23 }, .args = { args, sizeof args - 1 },
	};
	struct journal_state state = ended_state(now_ms);

	if (running) {
		state.state = TR_RUNNING;
		state.ended_ms = 0;
	}
	record_defaults(&record);
	if (!journal_batch_insert(batch, &record, &state))
		die("out of memory");
	if (!running)
		add_attempt(batch, id, now_ms);
}

/* One commit's work: per_commit new tasks; with `running` the former commit's end as well. */
static struct journal_batch *fill(struct journal *journal, struct id_source *source, struct tr_id *ids,
    size_t per_commit, const struct pass *pass, bool first)
{
	int64_t now_ns = (int64_t)(now_s(CLOCK_REALTIME) * 1e9), now_ms = now_ns / 1000000;
	struct journal_batch *batch = journal_batch_new(journal);
	struct journal_state state = ended_state(now_ms);

	if (batch == NULL)
		die("out of memory");
	for (size_t i = 0; i < per_commit; i++) {
		if (pass->running && !first) {
			if (!journal_batch_update(batch, &ids[i], &state))
				die("out of memory");
			add_attempt(batch, &ids[i], now_ms);
		}
		ids[i] = id_make(source, now_ns);
		add_task(batch, &ids[i], pass->running, now_ms);
	}
	return batch;
}

static void take_done(struct journal *journal, int fd, int *in_flight, double *slowest_s)
{
	struct journal_done done;
	eventfd_t ignored;

	if (eventfd_read(fd, &ignored) != 0)
		die("eventfd");
	while (journal_poll_done(journal, &done)) {
		if (done.error != NULL)
			die(done.error);
		if ((double)done.duration_ns * 1e-9 > *slowest_s)
			*slowest_s = (double)done.duration_ns * 1e-9;
		journal_batch_free(&done.batch);
		--*in_flight;
	}
}

static void run(const char *directory, size_t tasks, size_t per_commit, const struct pass *pass)
{
	int fd = eventfd(0, EFD_CLOEXEC), in_flight = 0;
	struct journal_options options = { .retention_count = pass->keep, .wake = wake, .wake_context = &fd };
	struct id_source source;
	struct journal *journal;
	struct tr_error error;
	double slowest_s = 0;
	char path[3][4096];
	struct tr_id *ids = calloc(per_commit, sizeof *ids);

	for (int i = 0; i < 3; i++)
		if (snprintf(path[i], sizeof path[i], "%s/journal_bench.db%s", directory, (const char *[]){ "", "-wal", "-shm" }[i]) >= (int)sizeof path[i])
			die("the path is too long");
	options.path = path[0];
	if (fd < 0 || ids == NULL || !id_source_open(&source))
		die("cannot begin");
	if (journal_open(&journal, &options, &error) != TR_OK)
		die(error.text);
	double start_s = now_s(CLOCK_MONOTONIC), cpu_s = now_s(CLOCK_PROCESS_CPUTIME_ID), mine_s = now_s(CLOCK_THREAD_CPUTIME_ID);
	for (size_t at = 0; at < tasks; at += per_commit) {
		struct journal_batch *batch = fill(journal, &source, ids, per_commit, pass, at == 0);
		while (in_flight >= IN_FLIGHT)
			take_done(journal, fd, &in_flight, &slowest_s);
		journal_commit(journal, batch, pass->sync, at);
		in_flight++;
	}
	while (in_flight > 0)
		take_done(journal, fd, &in_flight, &slowest_s);
	double wall_s = now_s(CLOCK_MONOTONIC) - start_s;
	mine_s = now_s(CLOCK_THREAD_CPUTIME_ID) - mine_s;
	cpu_s = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu_s - mine_s;
	printf("journal %-8s %8.0f tasks/s, %8.0f tasks/s of the journal's thread's processor time, filling %8.0f/s, "
	    "slowest commit %.1f ms, %zu tasks, %zu in a commit, removed %llu\n", pass->name, (double)tasks / wall_s,
	    (double)tasks / cpu_s, (double)tasks / mine_s, slowest_s * 1e3, tasks, per_commit,
	    (unsigned long long)journal_removed(journal));
	journal_close(&journal);
	for (int i = 0; i < 3; i++)
		unlink(path[i]);
	free(ids);
	close(fd);
}

int main(int argc, char **argv)
{
	size_t tasks = argc > 2 ? strtoul(argv[2], NULL, 10) : 500000, per_commit = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;

	if (argc < 2 || tasks < 1 || per_commit < 1) {
		fprintf(stderr, "usage: journal_bench DIRECTORY [TASKS [PER_COMMIT [ended|running|synced|retained]]]\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
		if (argc < 5 || strcmp(argv[4], passes[i].name) == 0)
			run(argv[1], tasks, per_commit, &passes[i]);
	return 0;
}
