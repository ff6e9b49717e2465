/*
 * What a worker makes of asynchronous handlers that do it wrongly, fork, or call others, and how
 * handlers get their resources and their file.
 */
#include "play_pending.h"
#include "tests/unit/runner.h"

/* ---- handlers that do it wrongly --------------------------------------------------------- */

/* Starts a worker whose log goes into `fd`. */
static void begin_logged(int fd)
{
	int saved = dup(STDERR_FILENO);

	CU_ASSERT_FATAL(saved >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
	begin(1);
	CU_ASSERT_FATAL(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
	close(saved);
}

/* How often `text` stands in the file. */
static unsigned count_in(int fd, const char *text)
{
	static char said[16384];
	ssize_t bytes = pread(fd, said, sizeof said - 1, 0);
	unsigned count = 0;

	said[bytes > 0 ? bytes : 0] = '\0';
	for (const char *at = said; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void test_misuse(void)
{
	char path[] = "/tmp/taskring-test-log-XXXXXX";
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && unlink(path) == 0);
	begin_logged(fd);
	expect(run("pend_without_loop", "{}"), TR_PERMANENT_FAILURE,
	    "pend_without_loop returned TR_PENDING with nothing on the loop that could end the task");
	expect(run("pend_on_nothing", "{}"), TR_PERMANENT_FAILURE,
	    "pend_on_nothing returned TR_PENDING with nothing on the loop that could end the task");
	expect(run("wait", "{\"ms\":1,\"then\":\"forget\"}"), TR_PERMANENT_FAILURE,
	    "wait left nothing on the loop that could end the task");
	CU_ASSERT_EQUAL(count_in(fd, "tr-finish-refused"), 0);
	expect(run("finish_in_run", "{\"ms\":1}"), TR_PERMANENT_FAILURE, "finish_in_run called tr_finish() inside run()");
	CU_ASSERT_EQUAL(count_in(fd, "it was called inside run() or on_failure()"), 1);
	expect(run("finish_elsewhere", "{}"), TR_FAILURE, "only here");
	CU_ASSERT_EQUAL(count_in(fd, "it was called on another thread than the task's"), 1);
	expect(run("wait", "{\"ms\":1,\"then\":\"twice\"}"), TR_SUCCESS, "");
	expect(run("end_and_finish", "{\"ms\":10}"), TR_SUCCESS, "");
	expect(run("wait", "{\"ms\":60}"), TR_SUCCESS, ""); /* another task by then */
	CU_ASSERT_EQUAL(count_in(fd, "the task has ended already"), 2);
	CU_ASSERT_EQUAL(count_in(fd, "tr-finish-refused"), 4);
	leave();
	close(fd);
}

static void test_no_descriptors(void)
{
	begin(1);
	expect(run("loop_without_descriptors", "{}"), TR_FAILURE, "not made, then made");
	expect(run("wait", "{\"ms\":1}"), TR_SUCCESS, "");
	leave();
}

static void test_forks(void)
{
	begin(1);
	expect(run("fork_and_pend", "{\"ms\":5}"), TR_SUCCESS, "");
	expect(run("wait", "{\"ms\":5,\"then\":\"fork\"}"), TR_FAILURE, "the child ended with 7");
	CU_ASSERT_STRING_EQUAL(ones[play.serial].log, "");
	leave();
}

/* ---- calls ------------------------------------------------------------------------------- */

static void test_calls(void)
{
	begin(1);
	/* call_other frees the arguments that it passed. */
	const struct one *one =
	    run("call_other", "{\"handler\":\"wait\",\"args\":{\"ms\":5,\"say\":true,\"then\":\"fail\"}}");
	expect(one, TR_FAILURE, "failed after 5 ms");
	CU_ASSERT_EQUAL(one->pending, 1);
	CU_ASSERT_STRING_EQUAL(one->log,
	    "back in wait\nwaited 5 ms in wait\narguments {\"ms\": 5, \"say\": true, \"then\": \"fail\"}\n");
	/* From a callback of the loop: one that ends at once, one that is pending again, one that is not there. */
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"fail_permanently\",\"args\":1}"), TR_PERMANENT_FAILURE,
	    "there is no such address");
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"wait\",\"args\":{\"ms\":5,\"then\":\"fail\"}}"), TR_FAILURE,
	    "failed after 5 ms");
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"nobody\",\"args\":1}"), TR_PERMANENT_FAILURE,
	    "tr_call: no handler named \"nobody\"");
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"finish_in_run\",\"args\":{}}"), TR_PERMANENT_FAILURE,
	    "finish_in_run called tr_finish() inside run()");
	/* The caller returns something else: the called one's outcome counts all the same. */
	one = run("call_and_forget", "{\"ms\":5,\"then\":\"fail\"}");
	expect(one, TR_FAILURE, "failed after 5 ms");
	CU_ASSERT_PTR_NOT_NULL(strstr(one->log, "what tr_call() answered for the pending \"wait\" was not returned"));
	leave();
}

/* The verdict does not wait for it, and nothing that it says afterwards is heard. */
static void test_callback_calls(void)
{
	char path[] = "/tmp/taskring-test-log-XXXXXX";
	struct work_head ask = { .kind = WORK_CALLBACK, .attempt = 1 };
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && unlink(path) == 0);
	begin_logged(fd);
	struct record record = play_record(&play, "fail", "{}");
	record.on_failure = (struct record_text){ "call_wait_then_bury", 19 };
	const struct one *one = await(0, push_head(0, &record, &ask));
	CU_ASSERT_EQUAL(one->last.code, TR_VERDICT_BURY);
	CU_ASSERT_STRING_EQUAL(one->log, "called: 4\n");
	CU_ASSERT_EQUAL(one->pending, 0);
	leave(); /* not before it has ended */
	CU_ASSERT_EQUAL(count_in(fd, "callback-call-failed"), 1);
	CU_ASSERT_EQUAL(count_in(fd, "failed after 30 ms"), 1);
	close(fd);
}

/* ---- resources --------------------------------------------------------------------------- */

static void expect_log(const struct one *one, const char *log)
{
	CU_ASSERT_STRING_EQUAL(one->log, log);
	if (strcmp(one->log, log) != 0)
		printf("\n  log: %s", one->log);
}

static void test_resources(void)
{
	char path[] = "/tmp/taskring-test-resources-XXXXXX", history[256] = "";
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	setenv("TASKRING_TEST_RESOURCES", path, 1);
	begin(1);
	unsetenv("TASKRING_TEST_RESOURCES");
	CU_ASSERT_EQUAL(run("noop", "{}")->ended, 1); /* opens nothing */
	expect_log(run("use_connection", "{}"), "connection 1\n");
	expect_log(run("use_connection", "{\"break\":true}"), "connection 1\n");
	expect_log(run("use_connection", "{}"), "connection 2\n");
	/* A called handler gets its own, and sees none of its caller's. */
	expect_log(run("use_lamp", "{}"), "lamp alone\nconnection 2\n");
	/* Broken while a pending task holds it: that one keeps it. */
	uint64_t holder = push(0, "hold_connection", "{\"ms\":80}");
	await_pending(0, holder);
	expect_log(run("use_connection", "{\"break\":true}"), "connection 2\n");
	expect_log(run("use_connection", "{\"break\":true,\"refuse\":true}"), "connection 3\n");
	expect(run("use_connection", "{}"), TR_FAILURE, "resource \"connection\": connection refused");
	expect(await(0, holder), TR_SUCCESS, "");
	expect_log(&ones[holder], "holding 2\nconnection 2\n");
	expect(run("use_connection", "{}"), TR_FAILURE, "resource \"connection\": connection refused");
	leave();
	CU_ASSERT(read(fd, history, sizeof history - 1) > 0);
	CU_ASSERT_STRING_EQUAL(history, "open1 close1 open2 open3 close3 close2 ");
	CU_ASSERT_EQUAL(unlink(path), 0);
	close(fd);

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	setenv("TASKRING_TEST_RESOURCES", path, 1);
	begin(1);
	unsetenv("TASKRING_TEST_RESOURCES");
	expect_log(run("use_connection", "{}"), "connection 1\n");
	leave();
	memset(history, 0, sizeof history);
	CU_ASSERT(read(fd, history, sizeof history - 1) > 0);
	CU_ASSERT_STRING_EQUAL(history, "open1 close1 "); /* at the thread's end */
	CU_ASSERT_EQUAL(unlink(path), 0);
	close(fd);
}

/* ---- the task's file --------------------------------------------------------------------- */

static void test_file(void)
{
	struct work_head head = { .kind = WORK_RUN, .attempt = 1 };
	char id[TR_ID_TEXT_SIZE], expected[sizeof play.spool_dir + 64];

	begin(1);
	expect(run("describe_file", "{}"), TR_FAILURE, "file=none");
	struct record record = play_record(&play, "describe_file", "{}");
	record.flags = RECORD_FILE;
	snprintf(expected, sizeof expected, "file=%s/%s.file", play.spool_dir, tr_id_format(&record.id, id));
	expect(await(0, push_head(0, &record, &head)), TR_FAILURE, expected);
	leave();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_misuse),
		SUITE_TEST(test_no_descriptors),
		SUITE_TEST(test_forks),
		SUITE_TEST(test_calls),
		SUITE_TEST(test_callback_calls),
		SUITE_TEST(test_resources),
		SUITE_TEST(test_file),
	};

	return RUN_TESTS("pending handlers", tests);
}
