/* The worker as a process: how it starts, refuses to start, leaves, dies and keeps pace. */
#include "play_dispatcher.h"
#include "tests/unit/runner.h"

#include <signal.h>
#include <sysexits.h>
#include <time.h>

static struct play play;

static void expect_exit(int status, int code)
{
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), code);
}

static void expect_signal(int status, int number)
{
	CU_ASSERT_TRUE(WIFSIGNALED(status));
	CU_ASSERT_EQUAL(WTERMSIG(status), number);
}

static uint32_t push(uint32_t lane, const char *handler, const char *args)
{
	struct record record = play_record(&play, handler, args);

	return play_push(&play, lane, &record, NULL, NULL);
}

/* ---- dying ------------------------------------------------------------------------------- */

/* The handler kills the worker; what waited behind it in the lane can be taken back. */
static int die_by(const char *handler)
{
	play_prepare(&play);
	play.config.log_level = LOG_EMERG;
	play_start(&play);
	play_ready(&play);
	uint32_t first = push(0, handler, NULL);
	const struct seen *seen = play_collect(&play, 0);
	CU_ASSERT_EQUAL(seen->started, 1);
	CU_ASSERT_TRUE(seen->died);
	CU_ASSERT_EQUAL(seen->ended, 0);
	uint32_t second = push(0, "noop", NULL);
	CU_ASSERT_FALSE(mailbox_revoke(play.mailbox, 0, first));
	CU_ASSERT_TRUE(mailbox_revoke(play.mailbox, 0, second));
	return play_end(&play);
}

/* Before it takes work it tells of each of its handlers, the built-in ones too. */
static void test_handlers_are_announced(void)
{
	play_prepare(&play);
	play_start(&play);
	play_ready(&play);
	CU_ASSERT(play.announced > 20);
	CU_ASSERT_STRING_EQUAL(play.secrets, "password,token");
	play_stop(&play);
}

static void test_deaths(void)
{
	expect_signal(die_by("crash"), SIGSEGV);
	expect_signal(die_by("abort"), SIGABRT);
	expect_exit(die_by("exit"), 3);
	expect_exit(die_by("exit_thread"), EX_SOFTWARE);
}

static void test_callback_crashes(void)
{
	struct work_head ask = { .kind = WORK_CALLBACK, .attempt = 1 };

	play_prepare(&play);
	play_start(&play);
	play_ready(&play);
	struct record record = play_record(&play, "fail_then_crash", NULL);
	play_push(&play, 0, &record, &ask, "it broke");
	const struct seen *seen = play_collect(&play, 0);
	CU_ASSERT_EQUAL(seen->started, 1);
	CU_ASSERT_TRUE(seen->died);
	expect_signal(play_end(&play), SIGSEGV);
}

static void test_killed_while_it_hangs(void)
{
	play_prepare(&play);
	play_start(&play);
	play_ready(&play);
	push(0, "hang_deaf", NULL);
	play_expect(&play, 0, MESSAGE_STARTED);
	CU_ASSERT_EQUAL(kill(play.pid, SIGKILL), 0);
	CU_ASSERT_TRUE(play_collect(&play, 0)->died);
	expect_signal(play_end(&play), SIGKILL);
}

/* ---- leaving ----------------------------------------------------------------------------- */

/* Reads until LEAVING; how many pieces had started before, and how many ended. */
static void read_to_leaving(unsigned *started, unsigned *ended)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;

	*started = *ended = 0;
	do {
		CU_ASSERT_TRUE_FATAL(play_next(&play, 0, &head, text));
		*started += head.kind == MESSAGE_STARTED;
		*ended += head.kind == MESSAGE_ENDED;
	} while (head.kind != MESSAGE_LEAVING);
}

static void test_max_tasks(void)
{
	uint32_t entries[6];
	unsigned started, ended;

	play_prepare(&play);
	play.pool.max_tasks = 3;
	play_start(&play);
	for (int i = 0; i < 6; i++)
		entries[i] = push(0, "noop", NULL);
	play_ready(&play);
	read_to_leaving(&started, &ended);
	CU_ASSERT_EQUAL(started, 3);
	CU_ASSERT_EQUAL(ended, 3);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(mailbox_revoke(play.mailbox, 0, entries[i]), i >= 3);
	struct message_head head;
	static char text[MAILBOX_MESSAGE_MAX + 1];
	CU_ASSERT_FALSE(play_next(&play, 0, &head, text)); /* nothing after LEAVING */
	expect_exit(play_end(&play), 0);
}

static void test_max_memory(void)
{
	unsigned started, ended;

	play_prepare(&play);
	play.pool.max_memory_bytes = 512u << 20;
	play_start(&play);
	play_ready(&play);
	/* 16 MiB each: 32 of them are more than is allowed, however the looks at it fall. */
	for (int i = 0; i < 60; i++)
		push(0, "leak", NULL);
	read_to_leaving(&started, &ended);
	CU_ASSERT(ended >= 1 && ended <= 40);
	CU_ASSERT_EQUAL(started, ended);
	expect_exit(play_end(&play), 0);
}

static void test_told_to_leave(void)
{
	char path[] = "/tmp/taskring-test-stop-XXXXXX";
	int fd = mkstemp(path);
	unsigned started, ended;

	CU_ASSERT_FATAL(fd >= 0 && close(fd) == 0 && unlink(path) == 0);
	setenv("TASKRING_TEST_STOP", path, 1);
	play_prepare(&play);
	play_start(&play);
	unsetenv("TASKRING_TEST_STOP");
	play_ready(&play);
	push(0, "sleep", "{\"ms\":30}");
	play_expect(&play, 0, MESSAGE_STARTED);
	mailbox_retire(play.mailbox);
	read_to_leaving(&started, &ended);
	CU_ASSERT_EQUAL(ended, 1); /* what runs is finished */
	expect_exit(play_end(&play), 0);
	CU_ASSERT_EQUAL(unlink(path), 0); /* the plug-in's stop() made it */
}

static void test_threads(void)
{
	play_prepare(&play);
	play.pool.threads = 4;
	play_start(&play);
	play_ready(&play);
	/* Each lane's task waits until it is told; all four run at once, or this never ends. */
	uint64_t serials[4];
	for (uint32_t i = 0; i < 4; i++) {
		push(i, "hang", NULL);
		serials[i] = play.serial;
	}
	for (uint32_t i = 0; i < 4; i++)
		play_expect(&play, i, MESSAGE_STARTED);
	for (uint32_t i = 0; i < 4; i++)
		mailbox_tell(play.mailbox, i, serials[i], STOP_CANCEL);
	for (uint32_t i = 0; i < 4; i++)
		play_expect(&play, i, MESSAGE_ENDED);
	mailbox_retire(play.mailbox);
	CU_ASSERT_EQUAL(play_end(&play), 0);
}

/* ---- refusing to start ------------------------------------------------------------------- */

/* Starts a worker that must not start; what it says on standard error contains `reason`. */
static void expect_refused(const char *reason)
{
	char said[4096] = "";
	size_t used = 0;
	ssize_t got;
	int fds[2] = { -1, -1 }, saved = dup(STDERR_FILENO);

	CU_ASSERT_FATAL(saved >= 0 && pipe(fds) == 0 && dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
	play.config.log_level = LOG_ERR;
	play_start(&play);
	CU_ASSERT_FATAL(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
	close(saved);
	close(fds[1]);
	while (used < sizeof said - 1 && (got = read(fds[0], said + used, sizeof said - 1 - used)) > 0)
		used += (size_t)got;
	said[used] = '\0';
	close(fds[0]);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "worker-refused"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, reason));
	if (!strstr(said, reason))
		printf("\n  said: %s", said);
	CU_ASSERT_FALSE(mailbox_has_messages(play.mailbox)); /* not READY */
	expect_exit(play_end(&play), EX_CONFIG);
}

static void test_bad_plugins(void)
{
	static const struct { const char *file, *reason; } rows[] = {
		{ "abi.so", "abi.so: made for plug-in ABI 3; this taskd has 2" },
		{ "duplicate.so", "duplicate.so: the handler \\\"mail\\\" is also in taskd" },
		{ "name.so", "name.so: a handler's name is not 1 to 63 of" },
		{ "norun.so", "norun.so: a handler has no run()" },
		{ "secrets.so", "secrets.so: a handler's secrets are not names, or too many" },
		{ "noopen.so", "noopen.so: a resource has no open()" },
		{ "nosymbol.so", "nosymbol.so: no symbol taskring_plugin" },
		{ "resource.so", "resource.so: the handler \\\"needy\\\" needs the resource \\\"moonlight\\\", which no plug-in has" },
		{ "resource_twice.so", "resource_twice.so: the resource \\\"lamp\\\" is also in resource_twice.so" },
		{ "unresolved.so", "undefined symbol: nobody_has_this" },
	};
	char bad[PATH_MAX], target[PATH_MAX + 32], link[PATH_MAX + 32], dir[] = "/tmp/taskring-test-plugins-XXXXXX";

	play_beside(bad, "bad_plugins");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		snprintf(target, sizeof target, "%s/%s", bad, rows[i].file);
		snprintf(link, sizeof link, "%s/%s", dir, rows[i].file);
		CU_ASSERT_EQUAL_FATAL(symlink(target, link), 0);
		play_prepare(&play);
		play.config.plugin_dir = dir;
		expect_refused(rows[i].reason);
		CU_ASSERT_EQUAL(unlink(link), 0);
	}
	snprintf(link, sizeof link, "%s/empty.so", dir);
	int fd = open(link, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	CU_ASSERT_FATAL(fd >= 0 && close(fd) == 0);
	play_prepare(&play);
	play.config.plugin_dir = dir;
	expect_refused("empty.so: file too short");
	CU_ASSERT_EQUAL(unlink(link), 0);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

static void test_plugin_directory_missing(void)
{
	char dir[] = "/nowhere/plugins";

	play_prepare(&play);
	play.config.plugin_dir = dir;
	expect_refused("plug-in directory /nowhere/plugins: No such file or directory");
}

static void test_plugin_does_not_want_to_start(void)
{
	setenv("TASKRING_TEST_START", "7", 1);
	play_prepare(&play);
	expect_refused("callbacks.so: start() answered 7");
	unsetenv("TASKRING_TEST_START");
}

/* Only what is built in: a handler of a plug-in is unknown, the callbacks are there. */
static void test_no_plugins(void)
{
	char dir[] = "/tmp/taskring-test-plugins-XXXXXX";

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	play_prepare(&play);
	play.config.plugin_dir = dir;
	play_start(&play);
	play_ready(&play);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
	const struct seen *seen = play_run(&play, "noop", "{}");
	CU_ASSERT_EQUAL(seen->last.code, TR_FAILURE);
	CU_ASSERT_STRING_EQUAL(seen->text, "no handler named \"noop\"");
	play_stop(&play);
}

/* ---- figures ----------------------------------------------------------------------------- */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static double worker_cpu_s(void)
{
	struct timespec used = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(play.pid, &clock) == 0)
		clock_gettime(clock, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* No-op tasks through one worker, pushed ahead: printed, not judged. */
static void measure(const char *args)
{
	static char text[MAILBOX_MESSAGE_MAX + 1], bytes[1024];
	unsigned total = 200000, pushed = 0, ended = 0;
	struct message_head head;
	uint32_t entry;

	play_prepare(&play);
	play_start(&play);
	play_ready(&play);
	struct record record = play_record(&play, "noop", args);
	struct work_head work = { .kind = WORK_RUN, .attempt = 1, .record_bytes = (uint32_t)record_size(&record) };
	CU_ASSERT_FATAL(record_size(&record) <= sizeof bytes);
	record_encode(&record, bytes);
	int64_t began = now_ns();
	double cpu_began = worker_cpu_s();
	while (ended < total) {
		while (pushed < total && mailbox_push(play.mailbox, 0, &work, bytes, NULL, &entry))
			work.serial = ++pushed;
		mailbox_wake(play.mailbox, 0);
		CU_ASSERT_TRUE_FATAL(play_next(&play, 0, &head, text));
		do
			ended += head.kind == MESSAGE_ENDED;
		while (mailbox_read(play.mailbox, 0, &head, text) == 1);
	}
	printf("[%zu bytes of arguments: %.0f ns a task, %.0f ns of them the worker's] ", strlen(args),
	    (double)(now_ns() - began) / total, (worker_cpu_s() - cpu_began) * 1e9 / total);
	play_stop(&play);
}

static void test_pace(void)
{
	measure("{}");
	measure("{\"user\":12345}");
	measure("{\"to\":\"ada@example.org\",\"subject\":\"Welcome\",\"template\":\"signup\",\"values\":"
	    "{\"name\":\"Ada\",\"language\":\"en\",\"plan\":\"free\",\"since\":1700000000,\"tags\":[\"new\",\"web\"]}}");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_handlers_are_announced),
		SUITE_TEST(test_deaths),
		SUITE_TEST(test_callback_crashes),
		SUITE_TEST(test_killed_while_it_hangs),
		SUITE_TEST(test_max_tasks),
		SUITE_TEST(test_max_memory),
		SUITE_TEST(test_told_to_leave),
		SUITE_TEST(test_threads),
		SUITE_TEST(test_bad_plugins),
		SUITE_TEST(test_plugin_directory_missing),
		SUITE_TEST(test_plugin_does_not_want_to_start),
		SUITE_TEST(test_no_plugins),
		SUITE_TEST(test_pace),
	};

	return RUN_TESTS("worker", tests);
}
