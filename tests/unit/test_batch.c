/*
 * The producer's public functions against a dispatcher without its loop: every limit is refused with
 * its field named, a batch is whole or absent, an answer waits for the disk, a forked child is refused.
 */
#include "tests/unit/dispatch_client.h"

#include <pthread.h>
#include <sys/wait.h>

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
	CU_ASSERT_EQUAL(add_to_batch("good", NULL), TR_OK);
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
	CU_ASSERT_EQUAL(add_to_batch("good", NULL), TR_OK);
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
		CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "a batch holds at most 256 tasks");
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	/* A quarter of a lane of 1,024 slots of 256 bytes, less the frame: three of these, not four. */
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(add_to_batch("h", args), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "the batch would have 65920 bytes; allowed are 65520");
	CU_ASSERT_EQUAL(background_tasks_count(batch), 3);
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK); /* a smaller one still fits */
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
		CU_ASSERT_EQUAL(add_to_batch(".", NULL), TR_INVALID); /* leaves nothing, not even a gap */
		for (int i = 0; i < 3; i++)
			CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
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
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
	background_tasks_clear(batch);
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(ring_published(world.dispatcher.ring), 0);
	close_client();
}

/* ---- durability=disk --------------------------------------------------------------------- */

static void test_disk_timeout(void)
{
	open_client();
	background_tasks_durability(batch, TR_DISK);
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
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
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
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
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 10), TR_NOT_DURABLE);
	board_life(world.dispatcher.writer, BOARD_RUNNING);
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
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

	if (add_to_batch("h", NULL) != TR_FORKED || background_tasks_publish(batch, 0) != TR_FORKED)
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
	CU_ASSERT_EQUAL(add_to_batch("parent", NULL), TR_OK);
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
		{ "disk: timeout", test_disk_timeout },
		{ "disk", test_disk },
		{ "disk: the board of the past", test_disk_and_the_board_of_the_past },
		{ "forked child", test_forked_child },
	};

	return RUN_DISPATCH_TESTS("batch", tests);
}
