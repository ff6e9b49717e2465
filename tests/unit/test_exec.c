/*
 * The handler "exec" in a real worker: results, log, progress, stopping, and what happens when
 * something is missing or has run out. tests/system/exec.sh has the same in a whole taskd.
 */
#include "play_dispatcher.h"
#include "tests/unit/runner.h"

#include <sys/resource.h>

static char keeper[PATH_MAX];
static char sh[] = "/bin/sh", dash_c[] = "-c", root[] = "/";

/* Each is /bin/sh -c SCRIPT. */
static struct config_program programs[] = {
	{ .name = "echo", .kill_after_ms = 1000, .max_output_bytes = 1 << 20 },
	{ .name = "says", .kill_after_ms = 1000, .max_output_bytes = 1 << 20 },
	{ .name = "sleeps", .kill_after_ms = 1000, .max_output_bytes = 1 << 20 },
	{ .name = "ignores", .kill_after_ms = 50, .max_output_bytes = 1 << 20 },
	{ .name = "takes_long", .kill_after_ms = 1000, .max_output_bytes = 1 << 20 },
};
#define PROGRAMS (sizeof programs / sizeof *programs)
static const char *const scripts[PROGRAMS] = {
	"cat",
	"printf 'progress 3 7 some\\nprogress 3 x\\n<4>careful\\n<9>plain\\na\\0b\\r\\n\\nprogress 18446744073709551616 1\\nend' >&2; echo '[1]'",
	"echo ready >&2; sleep 1000",
	"trap '' TERM; echo ready >&2; sleep 1000 & wait; wait; wait",
	"cat; exec sleep 0.5",
};
static char *args[PROGRAMS][2];

static void prepare(struct play *play)
{
	play_prepare(play);
	play_beside(keeper, "../modules/exec_keeper");
	for (size_t i = 0; i < PROGRAMS; i++) {
		args[i][0] = dash_c;
		args[i][1] = (char *)scripts[i];
		programs[i].program = sh;
		programs[i].args = (struct config_texts){ .count = 2, .texts = args[i] };
		programs[i].directory = root;
	}
	play->config.exec_keeper = keeper;
	play->config.programs = programs;
	play->config.program_count = PROGRAMS;
	play->config.drain_timeout_ms = 30000;
}

static void start_worker(struct play *play)
{
	prepare(play);
	play_start(play);
	play_ready(play);
}

static const struct seen *run(struct play *play, const char *arguments)
{
	return play_run(play, "exec", arguments);
}

static void test_result(void)
{
	struct play play;
	start_worker(&play);
	const struct seen *seen = run(&play, "{\"program\":\"echo\",\"input\":{\"b\":[1,\"\\u0000\"],\"a\":1.5}}");
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(seen->result, "{\"b\":[1,\"\\u0000\"],\"a\":1.5}");
	CU_ASSERT_STRING_EQUAL(seen->log, "");
	seen = run(&play, "{\"program\":\"echo\",\"input\":\"text\"}");
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(seen->result, "\"text\"");
	/* Without input nothing is written. */
	seen = run(&play, "{\"program\":\"echo\"}");
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_EQUAL(seen->results, 0);
	play_stop(&play);
}

static void test_log_and_progress(void)
{
	struct play play;
	start_worker(&play);
	const struct seen *seen = run(&play, "{\"program\":\"says\"}");
	play_expect_end(seen, TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(seen->log, "progress 3 x\ncareful\n<9>plain\na b\nprogress 18446744073709551616 1\nend\n");
	CU_ASSERT_EQUAL(seen->progress.number, 3);
	CU_ASSERT_EQUAL(seen->progress.number2, 7);
	CU_ASSERT_STRING_EQUAL(seen->progress_text, "some");
	CU_ASSERT_STRING_EQUAL(seen->result, "[1]");
	play_stop(&play);
}

/* ---- stopping ---------------------------------------------------------------------------- */

/* Pushes a task that says it is ready, tells it then, and answers its end. */
static const struct seen *run_and_tell(struct play *play, const char *program, enum mailbox_stop stop)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	static struct seen seen;
	struct message_head head;
	char arguments[64];

	snprintf(arguments, sizeof arguments, "{\"program\":\"%s\"}", program);
	struct record record = play_record(play, "exec", arguments);
	memset(&seen, 0, sizeof seen);
	play_push(play, 0, &record, NULL, NULL);
	while (!seen.ended && play_next(play, 0, &head, text)) {
		play_take(&seen, &head, text);
		if (head.kind != MESSAGE_LOG || seen.logged > 1)
			continue;
		CU_ASSERT_STRING_EQUAL(text, "ready");
		struct work_head work = { .kind = WORK_STOP, .serial = play->serial, .attempt = stop };
		uint32_t entry;
		CU_ASSERT_TRUE_FATAL(mailbox_push(play->mailbox, 0, &work, NULL, NULL, &entry));
		mailbox_wake(play->mailbox, 0);
	}
	return &seen;
}

static void test_stopped(void)
{
	struct play play;
	prepare(&play);
	play.config.drain_timeout_ms = 2100; /* of which 100 ms are left when its grace and a second are taken off */
	play_start(&play);
	play_ready(&play);
	play_expect_end(run_and_tell(&play, "sleeps", STOP_CANCEL), TR_FAILURE, "sleeps was stopped: cancelled");
	play_expect_end(run_and_tell(&play, "ignores", STOP_CANCEL), TR_FAILURE, "ignores was stopped: cancelled");
	const struct seen *seen = run_and_tell(&play, "sleeps", STOP_DRAIN);
	play_expect_end(seen, TR_SNOOZE, "");
	CU_ASSERT_EQUAL(seen->last.number, 0);
	CU_ASSERT_STRING_EQUAL(seen->log, "ready\nsleeps was stopped because taskd shuts down; it will run again\n");
	play_stop(&play);
}

static void test_out_of_time(void)
{
	struct play play;
	start_worker(&play);
	struct record record = play_record(&play, "exec", "{\"program\":\"ignores\"}");
	record.hard_timeout_ms = 10000;
	struct work_head work = { .kind = WORK_RUN, .attempt = 1, .soft_timeout_ms = 100 };
	play_push(&play, 0, &record, &work, NULL);
	play_expect_end(play_collect(&play, 0), TR_FAILURE, "ignores was stopped: out of time after ");
	play_stop(&play);
}

/* ---- many, and too many ------------------------------------------------------------------ */

/* Pushes as many as the lane takes, and collects; each must answer with what it was given. */
static unsigned run_many(struct play *play, const char *program, unsigned count, enum tr_outcome outcome)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;
	char arguments[64], expected[32];
	unsigned ended = 0, as_expected = 0;
	uint64_t first = play->serial + 1;

	for (unsigned i = 0; i < count; i++) {
		snprintf(arguments, sizeof arguments, "{\"program\":\"%s\",\"input\":%u}", program, i);
		struct record record = play_record(play, "exec", arguments);
		play_push(play, 0, &record, NULL, NULL);
	}
	while (ended < count && play_next(play, 0, &head, text)) {
		if (head.kind == MESSAGE_RESULT) {
			snprintf(expected, sizeof expected, "%llu", (unsigned long long)(head.serial - first));
			CU_ASSERT_STRING_EQUAL(text, expected);
		}
		if (head.kind != MESSAGE_ENDED)
			continue;
		ended++;
		as_expected += head.code == outcome;
	}
	return as_expected;
}

static void test_many(void)
{
	struct play play;
	start_worker(&play);
	CU_ASSERT_EQUAL(run_many(&play, "echo", 60, TR_SUCCESS), 60);
	play_stop(&play);
}

/* A task that cannot start now is put off; when there is room again, it runs. */
static void test_descriptors_run_out(void)
{
	struct play play;
	struct rlimit before;
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
	struct rlimit few = { 40, before.rlim_max };
	prepare(&play);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
	play_start(&play);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
	play_ready(&play);
	unsigned put_off = run_many(&play, "takes_long", 30, TR_SNOOZE);
	CU_ASSERT(put_off > 5 && put_off < 30);
	play_expect_end(run(&play, "{\"program\":\"echo\",\"input\":1}"), TR_SUCCESS, "");
	play_stop(&play);
}

static void test_refused(void)
{
	struct play play;
	char missing[] = "/nowhere/keeper";
	prepare(&play);
	play.config.exec_keeper = missing;
	play_start(&play);
	play_ready(&play);
	play_expect_end(run(&play, "{\"program\":\"echo\"}"), TR_FAILURE, "echo cannot be started: /nowhere/keeper: no such file or directory");
	play_expect_end(run(&play, "{\"program\":\"other\"}"), TR_FAILURE, "exec: the configuration has no program \"other\"");
	play_expect_end(run(&play, "{\"program\":\"echo\",\"x\":1}"), TR_PERMANENT_FAILURE, "exec: there is no argument \"x\"");
	play_expect_end(run(&play, "{\"input\":1}"), TR_PERMANENT_FAILURE, "exec: \"program\" must be a string");
	play_expect_end(run(&play, "[\"program\"]"), TR_PERMANENT_FAILURE, "exec: the arguments are not an object");
	play_expect_end(run(&play, "7"), TR_PERMANENT_FAILURE, "exec: the arguments cannot be read: ");
	play_stop(&play);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_result),
		SUITE_TEST(test_log_and_progress),
		SUITE_TEST(test_stopped),
		SUITE_TEST(test_out_of_time),
		SUITE_TEST(test_many),
		SUITE_TEST(test_descriptors_run_out),
		SUITE_TEST(test_refused),
	};

	return RUN_TESTS("exec", tests);
}
