/*
 * The producer's public functions against a dispatcher without its loop: every limit is refused with
 * its field named, a batch is whole or absent, large arguments leave no file behind, a forked child
 * is refused, and a task is found wherever it is.
 */
#include "tests/unit/dispatch_client.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "shared/client.h"
#include "shared/clock.h"
#include "shared/spool.h"

static enum tr_result add(const char *handler, const char *args)
{
	return background_tasks_add(batch, handler, args, NULL);
}

static char *text_of_bytes(size_t bytes)
{
	char *text = malloc(bytes + 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'a', bytes);
	text[bytes] = '\0';
	return text;
}

static unsigned files_in_spool(void)
{
	DIR *dir = opendir(world.spool);
	unsigned files = 0;

	while (readdir(dir))
		files++;
	closedir(dir);
	return files - 2;
}

/* ---- limits ------------------------------------------------------------------------------ */

static void refused(const char *handler, const char *args, const struct task_options *options, const char *field)
{
	CU_ASSERT_EQUAL(background_tasks_add(batch, handler, args, options), TR_INVALID);
	CU_ASSERT_EQUAL(strncmp(background_tasks_error(batch), field, strlen(field)), 0);
	CU_ASSERT_EQUAL(background_tasks_error(batch)[strlen(field)], ':');
	CU_ASSERT_EQUAL(background_tasks_count(batch), 1);
}

static void test_texts_refused(void)
{
	static const char *const names[] = { "", ".hidden", "a b", "a/b", "\xc3\xa4", "new\nline" };
	char *long_name = text_of_bytes(TR_NAME_MAX + 1), *long_trace = text_of_bytes(TR_TRACE_MAX + 1);

	open_client();
	CU_ASSERT_EQUAL(add("good", NULL), TR_OK);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		refused(names[i], NULL, NULL, "handler");
		if (!*names[i])
			continue; /* of these two: the default */
		refused("h", NULL, &(struct task_options){ .queue = names[i] }, "queue");
		refused("h", NULL, &(struct task_options){ .on_failure = names[i] }, "on_failure");
	}
	refused(NULL, NULL, NULL, "handler");
	refused(long_name, NULL, NULL, "handler");
	refused("h", NULL, &(struct task_options){ .queue = long_name }, "queue");
	refused("h", NULL, &(struct task_options){ .on_failure = long_name }, "on_failure");
	refused("h", NULL, &(struct task_options){ .trace = long_trace }, "trace (bytes)");
	refused("h", NULL, &(struct task_options){ .trace = "tab\t" }, "trace");
	refused("h", NULL, &(struct task_options){ .trace = "\xc3\xa4" }, "trace");
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, queue, args, place, places, flags FROM task"), "good|default|{}|0|1|1");
	free(long_name);
	free(long_trace);
	close_client();
}

static void test_numbers_refused(void)
{
	const struct {
		struct task_options options;
		const char *field;
	} rows[] = {
		{ { .max_attempts = TR_ATTEMPTS_MAX + 1 }, "max_attempts" },
		{ { .backoff_base_ms = TR_TIMEOUT_MS_MAX + 1 }, "backoff_base_ms" },
		{ { .backoff_base_ms = 500, .backoff_cap_ms = 499 }, "backoff_cap_ms" },
		{ { .backoff_cap_ms = TR_TIMEOUT_MS_MAX + 1 }, "backoff_cap_ms" },
		{ { .soft_timeout_ms = TR_TIMEOUT_MS_MAX + 1 }, "soft_timeout_ms" },
		{ { .soft_timeout_ms = 101, .hard_timeout_ms = 100 }, "soft_timeout_ms" },
		{ { .hard_timeout_ms = TR_TIMEOUT_MS_MAX + 1 }, "hard_timeout_ms" },
		{ { .delay_ms = -1 }, "delay_ms" },
		{ { .delay_ms = TR_DELAY_MS_MAX + 1 }, "delay_ms" },
		{ { .delay_ms = INT64_MAX }, "delay_ms" },
		{ { .run_at_ms = -1 }, "run_at_ms" },
		{ { .delay_ms = 1, .run_at_ms = -1 }, "run_at_ms" },
		{ { .run_at_ms = real_ms() + TR_DELAY_MS_MAX + 3600000 }, "run_at_ms" },
		{ { .run_at_ms = INT64_MAX }, "run_at_ms" },
		{ { .expires_after_ms = -1 }, "expires_after_ms" },
		{ { .expires_after_ms = TR_DELAY_MS_MAX + 1 }, "expires_after_ms" },
	};

	open_client();
	CU_ASSERT_EQUAL(add("good", NULL), TR_OK);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		refused("h", NULL, &rows[i].options, rows[i].field);
	refused("h", NULL, &rows[7].options, "delay_ms");
	EXPECT_TEXT(background_tasks_error(batch), "delay_ms: -1; allowed is 0 to 316224000000");
	close_client();
}

/* The largest of everything arrives as it was given. */
static void test_largest_accepted(void)
{
	char *name = text_of_bytes(TR_NAME_MAX), *trace = text_of_bytes(TR_TRACE_MAX), *args = text_of_bytes(TR_ARGS_INLINE_MAX);
	const struct task_options options = { .queue = name, .on_failure = name, .trace = trace,
		.max_attempts = TR_ATTEMPTS_MAX, .backoff_base_ms = TR_TIMEOUT_MS_MAX, .backoff_cap_ms = TR_TIMEOUT_MS_MAX,
		.soft_timeout_ms = TR_TIMEOUT_MS_MAX, .hard_timeout_ms = TR_TIMEOUT_MS_MAX, .delay_ms = TR_DELAY_MS_MAX,
		.expires_after_ms = TR_DELAY_MS_MAX };

	open_client();
	CU_ASSERT_EQUAL(background_tasks_add(batch, name, args, &options), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	EXPECT_TEXT(sql("SELECT length(handler), length(queue), length(on_failure), length(trace), length(args), args_bytes, "
	    "max_attempts, backoff_base_ms, soft_timeout_ms, run_at_ms - created_ns / 1000000, "
	    "expires_at_ms - created_ns / 1000000, state FROM task"),
	    "63|63|63|255|16384|16384|1000|604800000|604800000|316224000000|316224000000|0");
	free(name);
	free(trace);
	free(args);
	close_client();
}

static void test_later_of_the_two(void)
{
	open_client();
	const int64_t soon_ms = real_ms() + 60000;
	CU_ASSERT_EQUAL(background_tasks_add(batch, "a", NULL, &(struct task_options){ .delay_ms = 3600000, .run_at_ms = soon_ms }), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_add(batch, "b", NULL, &(struct task_options){ .delay_ms = 1, .run_at_ms = soon_ms }), TR_OK);
	background_tasks_concurrent(batch, true);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	EXPECT_TEXT(sql("SELECT run_at_ms - created_ns / 1000000 FROM task WHERE handler = 'a'"), "3600000");
	CU_ASSERT_EQUAL(atoll(sql("SELECT run_at_ms FROM task WHERE handler = 'b'")), soon_ms);
	close_client();
}

static void test_batch_limits(void)
{
	char *args = text_of_bytes(TR_ARGS_INLINE_MAX);

	open_client();
	for (unsigned i = 0; i < TR_BATCH_MAX; i++)
		CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(add("h", NULL), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "a batch holds at most 256 tasks");
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	/* A quarter of a lane of 1,024 slots of 256 bytes, less the frame: three of these, not four. */
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(add("h", args), TR_OK);
	CU_ASSERT_EQUAL(add("h", args), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "the batch would have 65920 bytes; allowed are 65520");
	CU_ASSERT_EQUAL(background_tasks_count(batch), 3);
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK); /* a smaller one still fits */
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	world.config.queue_window = 1000;
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*), max(places), sum(places = 4) FROM task"), "260|256|4");
	free(args);
	close_client();
}

static void test_ids_are_consecutive(void)
{
	struct tr_id first[2];
	char text[TR_ID_TEXT_SIZE];

	open_client();
	for (int round = 0; round < 2; round++) {
		CU_ASSERT_EQUAL(add(".", NULL), TR_INVALID); /* leaves nothing, not even a gap */
		for (int i = 0; i < 3; i++)
			CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
		first[round] = background_tasks_id(batch, 0);
		for (int i = 0; i < 3; i++)
			EXPECT_ID(background_tasks_id(batch, (size_t)i), id_step(&first[round], i));
		CU_ASSERT_EQUAL(tr_id_format(&first[round], text)[14], '7');
		CU_ASSERT_TRUE(llabs((long long)(id_time_ms(&first[round]) - real_ms())) < 60000);
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	}
	CU_ASSERT_FALSE(id_equal(&first[0], &first[1]));
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE id IN (x'%s', x'%s')", hex(first[0]), hex(first[1])), "2");
	close_client();
}

static void test_clear_and_empty(void)
{
	open_client();
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	background_tasks_clear(batch);
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(ring_published(world.dispatcher.ring), 0);
	close_client();
}

/* ---- large arguments --------------------------------------------------------------------- */

#define LARGE 20000

static void expect_spool_file(struct tr_id id, const char *args)
{
	char path[200], text[TR_ID_TEXT_SIZE], *found = calloc(1, LARGE + 2);

	snprintf(path, sizeof path, "%s/%s", world.spool, tr_id_format(&id, text));
	FILE *file = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(fread(found, 1, LARGE + 2, file), LARGE);
	CU_ASSERT_STRING_EQUAL(found, args);
	fclose(file);
	free(found);
}

static void test_spool(void)
{
	char *args = text_of_bytes(LARGE);

	open_client();
	CU_ASSERT_EQUAL(add("h", args), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 0); /* nameless until it is published */
	background_tasks_clear(batch);
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	CU_ASSERT_EQUAL(add("h", args), TR_OK);
	CU_ASSERT_EQUAL(add("small", NULL), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 1);
	expect_spool_file(id, args);
	dispatch();
	EXPECT_TEXT(sql("SELECT flags, args_bytes, length(args) FROM task WHERE id = x'%s'", hex(id)), "5|20000|0");
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	dispatch();
	CU_ASSERT_EQUAL(files_in_spool(), 0); /* taskd removes it with the task's end */
	free(args);
	close_client();
}

static void test_spool_limits(void)
{
	const struct tr_open_options nowhere = { .spool_dir = "/nonexistent" };
	char *args = text_of_bytes(TR_ARGS_MAX + 1);
	struct tr_error error;

	open_client();
	CU_ASSERT_EQUAL(add("h", args), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "args: larger than 16777216 bytes");
	args[TR_ARGS_MAX] = '\0';
	CU_ASSERT_EQUAL(add("h", args), TR_OK);
	close_client();
	args[LARGE] = '\0';
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, NULL, &error), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&batch, client), TR_OK);
	CU_ASSERT_EQUAL(add("h", args), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "args: larger than 16384 bytes, and no spool directory was given");
	close_client();
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &nowhere, &error), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&batch, client), TR_OK);
	CU_ASSERT_EQUAL(add("h", args), TR_SYSTEM);
	EXPECT_TEXT(background_tasks_error(batch), "making a spool file in /nonexistent: No such file or directory");
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	close_client();
	free(args);
}

#define REFUSED_BY_FILLING 2

/* Fills the client's lane with one batch after the other; nobody takes them. */
static unsigned fill_lane(void)
{
	struct background_tasks *filler;
	unsigned published = 0;
	char *args = text_of_bytes(TR_ARGS_INLINE_MAX);

	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&filler, client), TR_OK);
	for (;;) {
		CU_ASSERT_EQUAL_FATAL(background_tasks_add(filler, "filler", args, NULL), TR_OK);
		if (background_tasks_publish(filler, 0) != TR_OK)
			break;
		published++;
	}
	EXPECT_TEXT(background_tasks_error(filler), tr_result_text(TR_LANE_FULL));
	/* The rest, to the last slot. */
	background_tasks_clear(filler);
	while (background_tasks_add(filler, "filler", NULL, NULL) == TR_OK && background_tasks_publish(filler, 0) == TR_OK)
		published++;
	background_tasks_free(&filler);
	free(args);
	return published;
}

/* A publication that fails leaves no file and the batch as it was; tried again, it is whole. */
static void test_failed_publish(void)
{
	char *args = text_of_bytes(LARGE);

	open_client();
	world.config.queue_window = 10000;
	const unsigned fillers = fill_lane();
	CU_ASSERT_EQUAL(add("h", args), TR_OK);
	CU_ASSERT_EQUAL(add("next", NULL), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
		EXPECT_TEXT(background_tasks_error(batch), tr_result_text(TR_LANE_FULL));
		CU_ASSERT_EQUAL(files_in_spool(), 0);
		CU_ASSERT_EQUAL(background_tasks_count(batch), 2);
	}
	dispatch();
	/* What was sealed for the first try is not what the second one wants. */
	background_tasks_concurrent(batch, true);
	CU_ASSERT_EQUAL(add("third", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	CU_ASSERT_EQUAL(files_in_spool(), 1);
	expect_spool_file(id, args);
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, flags, place, places, blocked FROM task WHERE handler <> 'filler' ORDER BY id"),
	    "h|4|0|3|0 next|0|1|3|0 third|0|2|3|0");
	CU_ASSERT_EQUAL((unsigned)atoi(sql("SELECT count(*) FROM task")), fillers + 3);
	free(args);
	close_client();
}

/* ---- waiting for room -------------------------------------------------------------------- */

static long naps_of_this_thread(void)
{
	struct rusage usage;

	CU_ASSERT_EQUAL(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_nvcsw;
}

/* Of the thread that publishes: how often it has waited. */
static long naps_of(long thread)
{
	char path[64], line[128];
	long naps = -1;

	snprintf(path, sizeof path, "/proc/self/task/%ld/status", thread);
	FILE *status = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(status);
	while (fgets(line, sizeof line, status))
		if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
			naps = atol(line + 24);
	fclose(status);
	return naps;
}

struct relief {
	long thread, naps;
};

/* taskd goes on when the publishing thread has looked for room some times in vain. */
static void *bring_relief(void *context)
{
	const struct relief *relief = context;

	while (naps_of(relief->thread) < relief->naps + 10)
		sched_yield();
	dispatch();
	return NULL;
}

static void test_room_wait(void)
{
	pthread_t reliever;

	open_client();
	world.config.queue_window = 10000;
	fill_lane();
	struct relief relief = { .thread = syscall(SYS_gettid) };
	background_tasks_room_wait(batch, 60000);
	CU_ASSERT_EQUAL(add("late", NULL), TR_OK);
	relief.naps = naps_of_this_thread();
	CU_ASSERT_EQUAL_FATAL(pthread_create(&reliever, NULL, bring_relief, &relief), 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	pthread_join(reliever, NULL);
	CU_ASSERT_EQUAL(ring_refused(atomic_load(&client->ring)), REFUSED_BY_FILLING);
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE handler = 'late'"), "1");
	close_client();
}

/* Where nothing moves one waits in vain, and the next is told at once; until there was room. */
static void test_room_wait_in_vain(void)
{
	open_client();
	world.config.queue_window = 10000;
	fill_lane();
	background_tasks_room_wait(batch, 50);
	for (int round = 0; round < 2; round++) {
		CU_ASSERT_EQUAL(add("late", NULL), TR_OK);
		int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
		CU_ASSERT_TRUE(clock_ns(CLOCK_MONOTONIC) - began_ns >= 50000000);
		for (int i = 0; i < 3; i++) {
			long before = naps_of_this_thread();
			CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
			CU_ASSERT_EQUAL(naps_of_this_thread(), before);
		}
		CU_ASSERT_EQUAL(background_tasks_count(batch), 1);
		dispatch();
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
		fill_lane();
	}
	CU_ASSERT_EQUAL(ring_refused(atomic_load(&client->ring)), 3 * REFUSED_BY_FILLING + 8);
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*) FROM task WHERE handler = 'late'"), "2");
	close_client();
}

/* ---- owned files ------------------------------------------------------------------------- */

static int make_file(const char *text)
{
	struct tr_error error;
	int fd = tr_spool_file(client, &error);

	CU_ASSERT_FATAL(fd >= 0);
	EXPECT_TEXT(error.text, "");
	CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* What the file that the task owns holds; NULL: it owns none. */
static const char *owned(struct tr_id id)
{
	static char found[64];
	char path[200], name[SPOOL_NAME_SIZE];

	snprintf(path, sizeof path, "%s/%s", world.spool, spool_name(&id, SPOOL_FILE, name));
	FILE *file = fopen(path, "r");
	if (!file)
		return NULL;
	found[fread(found, 1, sizeof found - 1, file)] = '\0';
	fclose(file);
	return found;
}

static bool is_open(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0;
}

static void test_attach(void)
{
	char *args = text_of_bytes(LARGE);

	open_client();
	CU_ASSERT_EQUAL(add("first", NULL), TR_OK);
	CU_ASSERT_EQUAL(add("owner", args), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("hello")), TR_OK);
	CU_ASSERT_EQUAL(add("last", NULL), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	const struct tr_id id = background_tasks_id(batch, 1);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 2);
	EXPECT_TEXT(owned(id), "hello");
	expect_spool_file(id, args);
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, flags FROM task ORDER BY id"), "first|1 owner|13 last|1");
	run_next(EV_SUCCEEDED);
	dispatch();
	EXPECT_TEXT(owned(id), "hello"); /* another task's end is none of its business */
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	dispatch();
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	free(args);
	close_client();
}

/* The file is the batch's, whatever happens: it is closed, and nothing has got a name. */
static void test_attach_refused(void)
{
	const struct tr_open_options without = { 0 };
	char path[200];

	open_client();
	int fd = make_file("nobody's");
	CU_ASSERT_EQUAL(background_tasks_attach(batch, fd), TR_INVALID);
	EXPECT_TEXT(background_tasks_error(batch), "file: no task was added that could own it");
	CU_ASSERT_FALSE(is_open(fd));
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("first")), TR_OK);
	fd = make_file("second");
	CU_ASSERT_EQUAL(background_tasks_attach(batch, fd), TR_INVALID);
	EXPECT_TEXT(background_tasks_error(batch), "file: the task owns one already");
	CU_ASSERT_FALSE(is_open(fd));
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	snprintf(path, sizeof path, "%s/named", world.directory);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, fd), TR_INVALID);
	EXPECT_TEXT(background_tasks_error(batch), "file: not one that tr_spool_file() made");
	CU_ASSERT_FALSE(is_open(fd));
	CU_ASSERT_EQUAL(background_tasks_attach(batch, open(world.spool, O_RDONLY | O_DIRECTORY)), TR_INVALID);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, -1), TR_INVALID);
	const struct tr_id id = background_tasks_id(batch, 0);
	background_tasks_clear(batch);
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	/* A file that is in another file system cannot get its name: nothing is published. */
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, memfd_create("elsewhere", 0)), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_SYSTEM);
	CU_ASSERT_EQUAL(ring_published(world.dispatcher.ring), 0);
	CU_ASSERT_PTR_NULL(owned(id));
	close_client();

	struct tr_error error;
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &without, &error), TR_OK);
	CU_ASSERT_EQUAL(tr_spool_file(client, &error), -1);
	EXPECT_TEXT(error.text, "no spool directory was given to tr_open()");
	CU_ASSERT_EQUAL(tr_spool_file(client, NULL), -1);
	tr_close(&client);
}

/* As arguments: after a publication that failed there is no file, and the next one has it whole, also when empty. */
static void test_attach_failed_publish(void)
{
	open_client();
	world.config.queue_window = 10000;
	fill_lane();
	CU_ASSERT_EQUAL(add("large", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("not empty")), TR_OK);
	CU_ASSERT_EQUAL(add("empty", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("")), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0), next = background_tasks_id(batch, 1);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
		CU_ASSERT_EQUAL(files_in_spool(), 0);
	}
	dispatch();
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	EXPECT_TEXT(owned(id), "not empty");
	EXPECT_TEXT(owned(next), "");
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, flags FROM task WHERE handler <> 'filler' ORDER BY id"), "large|9 empty|9");
	close_client();
}

/* ---- durability=disk --------------------------------------------------------------------- */

static void test_disk_timeout(void)
{
	open_client();
	background_tasks_durability(batch, TR_DISK);
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	const int64_t before_ms = real_ms();
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 30), TR_NOT_DURABLE);
	CU_ASSERT_TRUE(real_ms() - before_ms >= 30);
	EXPECT_TEXT(background_tasks_error(batch), tr_result_text(TR_NOT_DURABLE));
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0); /* published, and runs */
	dispatch();
	EXPECT_TEXT(sql("SELECT count(*), flags FROM task"), "1|3");
	close_client();
}

static void *publish_durably(void *result)
{
	*(_Atomic int *)result = (int)background_tasks_publish(batch, 20000);
	return NULL;
}

static void test_disk(void)
{
	_Atomic int result = -1;
	pthread_t thread;

	open_client();
	background_tasks_durability(batch, TR_DISK);
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	const uint64_t syncs = stat_of(STAT_journal_fsyncs);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, publish_durably, (void *)&result), 0);
	while (result < 0)
		dispatch();
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(result, TR_OK);
	CU_ASSERT_TRUE(stat_of(STAT_journal_fsyncs) > syncs);
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "1");
	close_client();
}

/* A dispatcher that left may have taken its ring along: what its board says is about another one. */
static void test_disk_and_the_board_of_the_past(void)
{
	open_client();
	board_durable(world.dispatcher.writer, 1000);
	board_life(world.dispatcher.writer, BOARD_STOPPED);
	background_tasks_durability(batch, TR_DISK);
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 10), TR_NOT_DURABLE);
	board_life(world.dispatcher.writer, BOARD_RUNNING);
	CU_ASSERT_EQUAL(add("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 10), TR_OK);
	close_client();
}

/* ---- forked children --------------------------------------------------------------------- */

static int child_work(void)
{
	const struct tr_id id = { { 1 } };
	struct background_tasks *other;
	struct tr_task_status status;
	struct tr_health health;
	struct taskring *own;
	struct tr_error error;

	if (add("h", NULL) != TR_FORKED || background_tasks_publish(batch, 0) != TR_FORKED)
		return 1;
	if (background_tasks_new(&other, client) != TR_FORKED || other)
		return 2;
	if (tr_task_status(client, &id, &status) != TR_FORKED || tr_task_cancel(client, &id) != TR_FORKED ||
	    tr_health(client, &health) != TR_FORKED)
		return 3;
	background_tasks_free(&batch);
	tr_close(&client);
	if (tr_open(&own, world.instance, NULL, &error) != TR_OK || background_tasks_new(&other, own) != TR_OK ||
	    background_tasks_add(other, "child", NULL, NULL) != TR_OK || background_tasks_publish(other, 0) != TR_OK)
		return 4;
	background_tasks_free(&other);
	tr_close(&own);
	return 0;
}

static void test_forked_child(void)
{
	int status = -1;

	open_client();
	CU_ASSERT_EQUAL(add("parent", NULL), TR_OK);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(child_work());
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	EXPECT_TEXT(sql("SELECT group_concat(handler) FROM (SELECT handler FROM task ORDER BY handler)"), "child,parent");
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "texts refused", test_texts_refused },
		{ "numbers refused", test_numbers_refused },
		{ "the largest accepted", test_largest_accepted },
		{ "the later of delay and time", test_later_of_the_two },
		{ "batch limits", test_batch_limits },
		{ "ids are consecutive", test_ids_are_consecutive },
		{ "clear and empty", test_clear_and_empty },
		{ "spool", test_spool },
		{ "spool limits", test_spool_limits },
		{ "failed publish", test_failed_publish },
		{ "waiting for room", test_room_wait },
		{ "waiting for room in vain", test_room_wait_in_vain },
		{ "owned file", test_attach },
		{ "owned file refused", test_attach_refused },
		{ "owned file, failed publish", test_attach_failed_publish },
		{ "disk: timeout", test_disk_timeout },
		{ "disk", test_disk },
		{ "disk: the board of the past", test_disk_and_the_board_of_the_past },
		{ "forked child", test_forked_child },
	};
	return RUN_DISPATCH_TESTS("batch", tests);
}
