/* What a worker says for each thing that a handler or a callback can do. One worker for all. */
#include "play_dispatcher.h"
#include "tests/unit/runner.h"

#include <sys/stat.h>
#include <time.h>

static struct play play;

/* The first test and the last: CUnit does not let a suite's own functions check anything. */
static void test_start(void)
{
	play_prepare(&play);
	play_start(&play);
	play_ready(&play);
}

static void test_stop(void)
{
	play_stop(&play);
}

static void expect_end(const struct seen *seen, enum tr_outcome outcome, int bad_arguments, const char *text)
{
	CU_ASSERT_EQUAL(seen->started, 1);
	CU_ASSERT_EQUAL(seen->ended, 1);
	CU_ASSERT_EQUAL(seen->last.code, outcome);
	CU_ASSERT_EQUAL(seen->last.flag, bad_arguments);
	CU_ASSERT_STRING_EQUAL(seen->text, text);
	if (strcmp(seen->text, text) != 0)
		printf("\n  got \"%s\"\n", seen->text);
}

/* ---- handlers ---------------------------------------------------------------------------- */

static void test_outcomes(void)
{
	expect_end(play_run(&play, "noop", "{}"), TR_SUCCESS, 0, "");
	expect_end(play_run(&play, "fail_times", "{\"times\":1}"), TR_FAILURE, 0, "failure 1 of 1");
	expect_end(play_run(&play, "fail_permanently", "{}"), TR_PERMANENT_FAILURE, 0, "there is no such address");
	expect_end(play_run(&play, "fail_silently", "{}"), TR_FAILURE, 0, "fail_silently gave no reason");
	expect_end(play_run(&play, "no_outcome", "{}"), TR_PERMANENT_FAILURE, 0,
	    "no_outcome returned 77, which is no outcome");
	const struct seen *seen = play_run(&play, "snooze", "{\"ms\":250}");
	expect_end(seen, TR_SNOOZE, 0, "");
	CU_ASSERT_EQUAL(seen->last.number, 250);
}

static void test_what_a_handler_says(void)
{
	struct record record = play_record(&play, "succeed", NULL);
	struct work_head second = { .kind = WORK_RUN, .attempt = 2 };

	play_push(&play, 0, &record, &second, NULL);
	const struct seen *seen = play_collect(&play, 0);
	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(seen->progressed, 1);
	CU_ASSERT_EQUAL(seen->progress.number, 1);
	CU_ASSERT_EQUAL(seen->progress.number2, 1);
	CU_ASSERT_STRING_EQUAL(seen->progress_text, "done");
	CU_ASSERT_STRING_EQUAL(seen->log, "attempt 2 of 5 in queue default\n");
	CU_ASSERT_STRING_EQUAL(seen->result, "{\"ok\":true}");
}

static void test_what_a_handler_knows(void)
{
	struct record record = play_record(&play, "describe", "{\"a\": 1}");
	struct work_head work = { .kind = WORK_RUN, .attempt = 3 };
	char id[TR_ID_TEXT_SIZE], expected[512];

	record.queue = (struct record_text){ "mails", 5 };
	record.trace = (struct record_text){ "00-4bf9-01", 10 };
	record.max_attempts = 7;
	play_push(&play, 0, &record, &work, NULL);
	snprintf(expected, sizeof expected,
	    "id=%s handler=describe queue=mails trace=00-4bf9-01 args={\"a\": 1} bytes=8 attempt=3/7",
	    tr_id_format(&record.id, id));
	expect_end(play_collect(&play, 0), TR_FAILURE, 0, expected);
}

static void test_text_is_cleaned(void)
{
	expect_end(play_run(&play, "dirty_text", "{}"), TR_FAILURE, 0,
	    "tab\u2409here, escape \u241b[31m, half \ufffd, whole \u00e4");
}

static void test_log_lines_keep_their_order(void)
{
	const struct seen *seen = play_run(&play, "log_lines", "{\"lines\":4}");

	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_STRING_EQUAL(seen->log, "line 1\nline 2\nline 3\nline 4\n");
	CU_ASSERT_EQUAL(play_run(&play, "log_lines", "{\"lines\":50000}")->logged, 50000); /* several rings full */
}

static void test_progress_does_not_flood(void)
{
	const struct seen *seen = play_run(&play, "progress", "{\"steps\":100000}");

	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT(seen->progressed >= 2 && seen->progressed < 1000);
	CU_ASSERT_EQUAL(seen->progress.number, 100000);
	CU_ASSERT_STRING_EQUAL(seen->progress_text, "step 100000");
}

static void test_results(void)
{
	const struct seen *seen = play_run(&play, "result", "[1, \"\u00e4\",\n null]");

	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_STRING_EQUAL(seen->result, "[1, \"\u00e4\",\n null]");
	seen = play_run(&play, "bad_result", "{}");
	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(seen->results, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->log, "result refused: not JSON: "));
	seen = play_run(&play, "big_result", "{\"bytes\":65536}");
	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_EQUAL(strlen(seen->result), TR_RESULT_MAX);
	expect_end(play_run(&play, "big_result", "{\"bytes\":65537}"), TR_PERMANENT_FAILURE, 0,
	    "a result of 65537 bytes was refused");
}

static void test_calls(void)
{
	const struct seen *seen = play_run(&play, "call_other", "{\"handler\":\"result\",\"args\":[1]}");

	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_STRING_EQUAL(seen->result, "[1]");
	CU_ASSERT_STRING_EQUAL(seen->log, "back in call_other\n");
	expect_end(play_run(&play, "call_other", "{\"handler\":\"fail_permanently\",\"args\":{}}"), TR_PERMANENT_FAILURE,
	    0, "there is no such address");
	expect_end(play_run(&play, "call_other", "{\"handler\":\"nobody\",\"args\":{}}"), TR_PERMANENT_FAILURE, 0,
	    "tr_call: no handler named \"nobody\"");
	expect_end(play_run(&play, "call_itself", "{}"), TR_PERMANENT_FAILURE, 0,
	    "tr_call: more than 8 calls in each other");
}

static void test_fork(void)
{
	const struct seen *seen = play_run(&play, "fork_and_return", "{}");

	expect_end(seen, TR_SUCCESS, 0, "");
	CU_ASSERT_STRING_EQUAL(seen->log, "after fork\n"); /* once */
}

/* ---- arguments --------------------------------------------------------------------------- */

static void expect_bad(const char *args)
{
	const struct seen *seen = play_run(&play, "noop", args);

	CU_ASSERT_EQUAL(seen->started, 1);
	CU_ASSERT_EQUAL(seen->last.code, TR_PERMANENT_FAILURE);
	CU_ASSERT_EQUAL(seen->last.flag, 1);
	CU_ASSERT_PTR_EQUAL(strstr(seen->text, "the arguments are not JSON: "), seen->text);
}

static void test_arguments(void)
{
	static const char *const good[] = {
		"{}", " {} ", "[]", "null", "-1.5e3", "\"text\"", "\"\\u0000\"", "123456789012345678901234567890",
		"{\"a\":[true,{\"b\":\"\u20ac\"}]}",
	};
	static const char *const bad[] = {
		" ", "{", "{]", "{a:1}", "{\"a\":1,}", "[1] 2", "nul", "01", "'x'", "\"\n\"", "\"\xff\"", "{}{}",
	};

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		expect_end(play_run(&play, "noop", good[i]), TR_SUCCESS, 0, "");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		expect_bad(bad[i]);
	expect_end(play_run(&play, "nobody", "{}"), TR_FAILURE, 1, "no handler named \"nobody\"");
}

static const struct seen *run_spooled(const char *handler, uint32_t bytes, const char *content, size_t content_bytes)
{
	struct record record = play_record(&play, handler, NULL);
	char path[PATH_MAX + 64], id[TR_ID_TEXT_SIZE];

	record.flags = RECORD_SPOOLED;
	record.args = (struct record_text){ "", 0 };
	record.args_bytes = bytes;
	snprintf(path, sizeof path, "%s/%s", play.spool_dir, tr_id_format(&record.id, id));
	if (content) {
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		CU_ASSERT_FATAL(fd >= 0 && write(fd, content, content_bytes) == (ssize_t)content_bytes);
		close(fd);
	}
	play_push(&play, 0, &record, NULL, NULL);
	const struct seen *seen = play_collect(&play, 0);
	if (content)
		unlink(path);
	return seen;
}

static void test_spooled_arguments(void)
{
	size_t bytes = 1u << 20;
	char *large = malloc(bytes + 1);

	CU_ASSERT_FATAL(large && mkdir(play.spool_dir, 0700) == 0);
	memset(large, ' ', bytes);
	large[bytes] = '\0';
	for (size_t i = 0; i < 8; i++)
		large[i] = "[\"begin\""[i];
	large[bytes - 1] = ']';
	const struct seen *seen = run_spooled("describe", (uint32_t)bytes, large, bytes);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, "args=[\"begin\"        "));
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, "bytes=1048576"));
	large[bytes - 1] = '}';
	seen = run_spooled("noop", (uint32_t)bytes, large, bytes);
	CU_ASSERT_EQUAL(seen->last.flag, 1);
	CU_ASSERT_EQUAL(seen->last.code, TR_PERMANENT_FAILURE);

	seen = run_spooled("noop", (uint32_t)bytes, large, bytes - 1);
	CU_ASSERT_EQUAL(seen->last.code, TR_FAILURE);
	CU_ASSERT_EQUAL(seen->last.flag, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, "not a plain file of 1048576 bytes"));
	seen = run_spooled("noop", 20, NULL, 0);
	CU_ASSERT_EQUAL(seen->last.code, TR_FAILURE);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, play.spool_dir));
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, "No such file or directory"));
	free(large);
	CU_ASSERT_EQUAL(rmdir(play.spool_dir), 0);
}

/* In the place of the spool file: something that is none. */
static void expect_refused(const struct record *record, const char *path, const char *reason)
{
	play_push(&play, 0, record, NULL, NULL);
	const struct seen *seen = play_collect(&play, 0);
	CU_ASSERT_EQUAL(seen->last.code, TR_FAILURE);
	CU_ASSERT_EQUAL(seen->last.flag, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, reason));
	CU_ASSERT_EQUAL(remove(path), 0);
}

static void test_spool_of_another_kind(void)
{
	struct record record = play_record(&play, "noop", NULL);
	char path[PATH_MAX + 64], id[TR_ID_TEXT_SIZE];

	record.flags = RECORD_SPOOLED;
	record.args = (struct record_text){ "", 0 };
	record.args_bytes = 1;
	CU_ASSERT_EQUAL_FATAL(mkdir(play.spool_dir, 0700), 0);
	snprintf(path, sizeof path, "%s/%s", play.spool_dir, tr_id_format(&record.id, id));
	CU_ASSERT_EQUAL(symlink("/etc/hostname", path), 0);
	expect_refused(&record, path, "Too many levels of symbolic links");
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	expect_refused(&record, path, "not a plain file");
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	expect_refused(&record, path, "not a plain file");
	CU_ASSERT_EQUAL(rmdir(play.spool_dir), 0);
}

/* ---- stopping ---------------------------------------------------------------------------- */

static void test_told_to_stop(void)
{
	struct record record = play_record(&play, "sleep", "{\"ms\":60000}");
	struct work_head hurried = { .kind = WORK_RUN, .attempt = 1, .soft_timeout_ms = 5 };

	play_push(&play, 0, &record, NULL, NULL);
	mailbox_tell(play.mailbox, 0, play.serial, STOP_CANCEL);
	expect_end(play_collect(&play, 0), TR_PERMANENT_FAILURE, 0, "cancelled");
	play_push(&play, 0, &record, NULL, NULL);
	mailbox_tell(play.mailbox, 0, play.serial, STOP_DRAIN);
	expect_end(play_collect(&play, 0), TR_FAILURE, 0, "shutting down");
	play_push(&play, 0, &record, &hurried, NULL);
	expect_end(play_collect(&play, 0), TR_FAILURE, 0, "out of time");
	/* What another task was told, and its soft timeout, is not for this one. */
	expect_end(play_run(&play, "sleep", "{\"ms\":20}"), TR_SUCCESS, 0, "");
}

/* ---- callbacks --------------------------------------------------------------------------- */

static const struct seen *ask(const char *handler, const char *callback, const struct work_head *head)
{
	struct record record = play_record(&play, handler, "{\"n\":1}");
	struct work_head work = head ? *head : (struct work_head){ .kind = WORK_CALLBACK, .attempt = 1 };

	record.on_failure = (struct record_text){ callback, (uint32_t)strlen(callback) };
	play_push(&play, 0, &record, &work, "it broke");
	const struct seen *seen = play_collect(&play, 0);
	CU_ASSERT_EQUAL(seen->started, 1);
	CU_ASSERT_EQUAL(seen->verdicts, 1);
	return seen;
}

static void expect_verdict(const struct seen *seen, enum tr_verdict_kind kind, int stood_in)
{
	CU_ASSERT_EQUAL(seen->last.code, kind);
	CU_ASSERT_EQUAL(seen->last.flag, stood_in);
}

static void test_verdicts(void)
{
	const struct seen *seen = ask("fail", "retry_soon", NULL);

	expect_verdict(seen, TR_VERDICT_RETRY, 0);
	CU_ASSERT_EQUAL(seen->last.number, 10);
	expect_verdict(ask("fail", "bury_it", NULL), TR_VERDICT_BURY, 0);
	expect_verdict(ask("fail", "discard_it", NULL), TR_VERDICT_DISCARD, 0);
	expect_verdict(ask("fail", "bury", NULL), TR_VERDICT_BURY, 0);
	expect_verdict(ask("fail", "discard", NULL), TR_VERDICT_DISCARD, 0);
	expect_verdict(ask("fail_then_discard", "", NULL), TR_VERDICT_DISCARD, 0);
	expect_verdict(ask("fail_then_discard", "bury", NULL), TR_VERDICT_BURY, 0); /* the task's own counts */
}

static void test_enqueue(void)
{
	char id[TR_ID_TEXT_SIZE], expected[256];
	const struct seen *seen = ask("fail", "enqueue_other", NULL);

	expect_verdict(seen, TR_VERDICT_ENQUEUE, 0);
	int bytes = snprintf(expected, sizeof expected, "succeed%c%c{\"failed\":\"%s\",\"attempt\":1}", 0, 0,
	    tr_id_format(&play.id, id));
	CU_ASSERT_EQUAL_FATAL(seen->last.text_bytes, (uint32_t)bytes);
	CU_ASSERT_EQUAL(memcmp(seen->text, expected, (size_t)bytes), 0);
}

static void test_default(void)
{
	struct work_head last = { .kind = WORK_CALLBACK, .attempt = 5 };
	struct work_head permanent = { .kind = WORK_CALLBACK, .attempt = 1, .permanent = 1 };

	for (int i = 0; i < 50; i++) {
		const struct seen *seen = ask("fail", i % 2 ? "default" : "", NULL);
		expect_verdict(seen, TR_VERDICT_RETRY, 0);
		CU_ASSERT(seen->last.number <= 1000);
	}
	expect_verdict(ask("fail", "", &last), TR_VERDICT_BURY, 0);
	expect_verdict(ask("fail", "", &permanent), TR_VERDICT_BURY, 0);
	expect_verdict(ask("nobody", "", NULL), TR_VERDICT_RETRY, 0);
}

static void test_the_default_stands_in(void)
{
	const struct seen *seen = ask("fail", "nobody", NULL);

	expect_verdict(seen, TR_VERDICT_RETRY, 1);
	CU_ASSERT_STRING_EQUAL(seen->log, "no on-failure callback named \"nobody\"; the default decides\n");
	expect_verdict(ask("fail", "no_verdict", NULL), TR_VERDICT_RETRY, 1);
	seen = ask("fail", "enqueue_wrong", NULL);
	expect_verdict(seen, TR_VERDICT_RETRY, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->log, "tr_enqueue refused: the handler is not a name\n"));
}

static void test_what_a_callback_knows(void)
{
	struct work_head head = {
		.kind = WORK_CALLBACK, .attempt = 2, .failure_kind = TR_FAILED_CRASHED, .signal = 11, .exit_code = 3,
		.permanent = 1, .peak_memory_kb = 5ull << 32,
	};

	CU_ASSERT_STRING_EQUAL(ask("fail", "describe_failure", &head)->log,
	    "kind=crashed permanent=1 attempt=2/5 exit=3 signal=11 peak=21474836480 args={\"n\":1} message=it broke\n");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_start),
		SUITE_TEST(test_outcomes),
		SUITE_TEST(test_what_a_handler_says),
		SUITE_TEST(test_what_a_handler_knows),
		SUITE_TEST(test_text_is_cleaned),
		SUITE_TEST(test_log_lines_keep_their_order),
		SUITE_TEST(test_progress_does_not_flood),
		SUITE_TEST(test_results),
		SUITE_TEST(test_calls),
		SUITE_TEST(test_fork),
		SUITE_TEST(test_arguments),
		SUITE_TEST(test_spooled_arguments),
		SUITE_TEST(test_spool_of_another_kind),
		SUITE_TEST(test_told_to_stop),
		SUITE_TEST(test_verdicts),
		SUITE_TEST(test_enqueue),
		SUITE_TEST(test_default),
		SUITE_TEST(test_the_default_stands_in),
		SUITE_TEST(test_what_a_callback_knows),
		SUITE_TEST(test_stop),
	};

	return RUN_TESTS("attempt", tests);
}
