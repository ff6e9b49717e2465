/* taskstat as its users see it: output, standard error and exit status, beside boards of any kind. */
#include "tests/unit/board_fixture.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static const struct board_geometry geometry = { .entries = BOARD_BUCKET, .workers = 1, .lanes = 1, .events = 4, .mode = 0600 };
static char program[PATH_MAX];
static char out[65536], err[4096]; /* of the last run */

static void read_back(int fd, char *text, size_t size)
{
	ssize_t bytes = pread(fd, text, size - 1, 0);

	text[bytes > 0 ? bytes : 0] = '\0';
	close(fd);
}

/* Runs it with up to 8 arguments; standard output goes to `to`, or with -1 to `out`. */
static int run_to(int to, const char *const arguments[8])
{
	char *argv[10] = { (char *)"taskstat" };
	int out_fd = memfd_create("out", 0), err_fd = memfd_create("err", 0), status = 0;

	for (size_t i = 0; i < 8; i++)
		argv[i + 1] = (char *)arguments[i];
	fflush(stdout);
	pid_t pid = fork();
	CU_ASSERT_TRUE_FATAL(pid >= 0);
	if (pid == 0) {
		if (dup2(to >= 0 ? to : out_fd, 1) == 1 && dup2(err_fd, 2) == 2)
			execv(program, argv);
		_exit(127);
	}
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	read_back(out_fd, out, sizeof out);
	read_back(err_fd, err, sizeof err);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
#define RUN_TO(to, ...) run_to(to, (const char *const[8]){ __VA_ARGS__ })
#define RUN(...) RUN_TO(-1, __VA_ARGS__)

static unsigned lines_of(const char *text)
{
	unsigned lines = 0;

	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static int64_t now_ms(void)
{
	return (int64_t)time(NULL) * 1000;
}

/* A running dispatcher that started 100 s ago and has counted since. */
static struct board_writer *start(void)
{
	struct board_writer *writer = open_writer(&geometry);
	struct board *board = board_writer_board(writer);

	stat_add(board, STAT_task_accepted, 100500);
	atomic_store(&board->stats_before[STAT_task_accepted], 500);
	stat_set(board, STAT_task_waiting, 42);
	for (uint64_t i = 1; i <= 1000; i++)
		hist_add(&board->hists[HIST_run_ns], i);
	atomic_store(&board->started_ms, now_ms() - 100000);
	board_life(writer, BOARD_RUNNING);
	return writer;
}

/* The words of `line` that are not its description. */
struct row {
	char *name, *rate, *unit, *text;
	unsigned long long value;
};

static struct row split(char *line)
{
	struct row row = { .name = strtok(line, " ") };
	const char *value = strtok(NULL, " ");

	row.rate = strtok(NULL, " ");
	row.unit = strtok(NULL, " ");
	row.text = strtok(NULL, "");
	CU_ASSERT_PTR_NOT_NULL(row.text);
	if (row.text != NULL)
		row.text += strspn(row.text, " ");
	row.value = value != NULL ? strtoull(value, NULL, 10) : 0;
	return row;
}

static void test_text(void)
{
	struct board_writer *writer = start();
	char text[128];

	CU_ASSERT_EQUAL(RUN("-1", "-n", instance), 0);
	snprintf(text, sizeof text, "taskd: running (pid %d)\n", getpid());
	CU_ASSERT_STRING_EQUAL(err, text);
	CU_ASSERT_EQUAL(lines_of(out), STATS + 6 * HISTS);
	CU_ASSERT_EQUAL(RUN("-n", instance, "-f", "task_acc*"), 0); /* -1 is the default */
	CU_ASSERT_EQUAL(lines_of(out), 1);
	struct row row = split(out);
	CU_ASSERT_STRING_EQUAL(row.name, "task_accepted");
	CU_ASSERT_EQUAL(row.value, 100500);
	CU_ASSERT_TRUE(strtod(row.rate, NULL) > 950 && strtod(row.rate, NULL) < 1050);
	CU_ASSERT_STRING_EQUAL(row.unit, "tasks");
	CU_ASSERT_STRING_EQUAL(row.text, "New tasks taken over from the ring or enqueued by a callback\n");

	CU_ASSERT_EQUAL(RUN("-n", instance, "-f", "task_waiting", "-f", "run_ns.p99*"), 0);
	CU_ASSERT_EQUAL_FATAL(lines_of(out), 3);
	char *second = strchr(out, '\n');
	*second++ = '\0';
	row = split(out);
	CU_ASSERT_STRING_EQUAL(row.name, "task_waiting");
	CU_ASSERT_EQUAL(row.value, 42);
	CU_ASSERT_STRING_EQUAL(row.rate, "-");
	row = split(second);
	CU_ASSERT_STRING_EQUAL(row.name, "run_ns.p99");
	CU_ASSERT_EQUAL(row.value, 991);
	board_writer_close(&writer, true);
}

static void test_json(void)
{
	struct board_writer *writer = start();
	json_error_t error;
	json_int_t accepted = 0, waiting = 0, count = 0, sum = 0, max = 0, p50 = 0, p99 = 0, p999 = 0, at_ms = 0;
	const char *version = "", *timestamp = "", *name = "", *state = "";
	double rate = 0;
	int pid = 0;

	CU_ASSERT_EQUAL(RUN("-j", "-n", instance), 0);
	CU_ASSERT_STRING_EQUAL(err, "");
	json_t *root = json_loads(out, JSON_REJECT_DUPLICATES, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_EQUAL(json_unpack(root, "{s:s, s:s, s:I, s:s, s:{s:s, s:i}, s:{s:I}, s:{s:F}, s:{s:I}, "
	    "s:{s:{s:I, s:I, s:I, s:I, s:I, s:I}}}", "version", &version, "timestamp", &timestamp,
	    "timestamp_ms", &at_ms, "instance", &name, "taskd", "state", &state, "pid", &pid, "counters",
	    "task_accepted", &accepted, "rates", "task_accepted", &rate, "gauges", "task_waiting", &waiting,
	    "histograms", "run_ns", "count", &count, "sum", &sum, "max", &max, "p50", &p50, "p99", &p99,
	    "p99.9", &p999), 0);
	CU_ASSERT_STRING_EQUAL(version, TASKRING_VERSION);
	CU_ASSERT_EQUAL(strlen(timestamp), 24);
	CU_ASSERT_TRUE(at_ms / 1000 >= now_ms() / 1000 - 30 && at_ms / 1000 <= now_ms() / 1000);
	CU_ASSERT_STRING_EQUAL(name, instance);
	CU_ASSERT_STRING_EQUAL(state, "running");
	CU_ASSERT_EQUAL(pid, getpid());
	CU_ASSERT_EQUAL(accepted, 100500);
	CU_ASSERT_TRUE(rate > 950 && rate < 1050);
	CU_ASSERT_EQUAL(waiting, 42);
	CU_ASSERT_TRUE(count == 1000 && sum == 500500 && max == 1000 && p50 == 511 && p99 == 991 && p999 == 1000);
	CU_ASSERT_EQUAL(json_object_size(json_object_get(root, "histograms")), HISTS);
	CU_ASSERT_EQUAL(json_object_size(json_object_get(root, "counters")) +
	    json_object_size(json_object_get(root, "gauges")), STATS);
	json_decref(root);

	CU_ASSERT_EQUAL(RUN("-j", "-n", instance, "-f", "ring_*"), 0);
	root = json_loads(out, 0, &error);
	CU_ASSERT_EQUAL(json_object_size(json_object_get(root, "histograms")), 0);
	CU_ASSERT_PTR_NULL(json_object_get(json_object_get(root, "counters"), "task_accepted"));
	CU_ASSERT_PTR_NOT_NULL(json_object_get(json_object_get(root, "counters"), "ring_records"));
	json_decref(root);
	board_writer_close(&writer, true);
}

/* Expects the first words of standard error, and all counters nevertheless. */
static void expect_life(const char *expected)
{
	CU_ASSERT_EQUAL(RUN("-1", "-n", instance), 0);
	CU_ASSERT_EQUAL(strncmp(err, expected, strlen(expected)), 0);
	CU_ASSERT_EQUAL(lines_of(err), 1);
	CU_ASSERT_EQUAL(lines_of(out), STATS + 6 * HISTS);
}

static void test_life(void)
{
	struct board_writer *writer = open_writer(&geometry);
	int status = 0;

	expect_life("taskd: starting (pid ");
	board_life(writer, BOARD_DRAINING);
	expect_life("taskd: draining (pid ");
	board_life(writer, BOARD_RUNNING);
	board_heartbeat(writer, now_ms() - 3600500);
	expect_life("taskd: hangs: no sign of life for 360"); /* 3600 s, or a few more */
	board_writer_close(&writer, false);
	expect_life("taskd: stopped, ");

	/* One that was killed is dead at once, however fresh its heartbeat is. */
	int ready[2];
	CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
	fflush(stdout);
	pid_t pid = fork();
	CU_ASSERT_TRUE_FATAL(pid >= 0);
	if (pid == 0) {
		writer = start();
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	char byte;
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	expect_life("taskd: running (pid ");
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	expect_life("taskd: dead: last sign of life ");
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "100500")); /* what it had counted */
	close(ready[0]);
	close(ready[1]);
	CU_ASSERT_EQUAL(shm_unlink(segment), 0);
}

static void test_refusals(void)
{
	struct tr_error error;
	static const char *const wrong[][8] = {
		{ "-x" }, { "-n" }, { "-1", "-j" }, { "-l", "-V" }, { "extra" }, { "-l", "-f", "no_such*" },
		{ "-l", "-f", "ring_*", "-f", "RING_*" }, { "-n", "../etc/passwd" }, { "-n", "" },
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		CU_ASSERT_EQUAL(run_to(-1, wrong[i]), 2);
		CU_ASSERT_STRING_EQUAL(out, "");
		CU_ASSERT_NOT_EQUAL(lines_of(err), 0);
	}
	CU_ASSERT_EQUAL(RUN("-l", "-f", "no_such*"), 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "no_such*: nothing has such a name"));
	CU_ASSERT_EQUAL(RUN("-j", "-n", instance), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "has no board"));
	CU_ASSERT_STRING_EQUAL(out, "");

	struct board_writer *writer = start();
	CU_ASSERT_EQUAL(board_writer_open(&(struct board_writer *){ NULL }, instance, &geometry, &error), TR_SYSTEM);
	board_writer_board(writer)->version = 9;
	CU_ASSERT_EQUAL(RUN("-1", "-n", instance), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "version 9; this program reads version 4"));
	board_writer_close(&writer, true);
}

static void test_exclusion(void)
{
	struct board_writer *writer = start();

	CU_ASSERT_EQUAL(RUN("-l", "-I", "task_*", "-X", "*_dead"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "task_succeeded"));
	CU_ASSERT_PTR_NULL(strstr(out, "task_dead "));
	CU_ASSERT_PTR_NULL(strstr(out, "ring_"));
	CU_ASSERT_EQUAL(RUN("-1", "-f", "run_ns", "-X", "run_ns.p*", "-n", instance), 0);
	CU_ASSERT_EQUAL(lines_of(out), 3); /* count, sum, max */
	CU_ASSERT_EQUAL(RUN("-l", "-X", "no_such*"), 2);
	board_writer_close(&writer, true);
}

static void test_check(void)
{
	static const char *const wrong[] = { "", "<3", "task_dead", "task_dead=3", "task_dead<", "task_dead<x", "task_dead<3x",
		"no_such<3", "run_ns<3", "run_ns.p98<3", "task_dead_s<3", "task_dead<nan", "task_dead<1e999" };
	struct board_writer *writer = start();
	struct board *board = board_writer_board(writer);

	stat_set(board, STAT_task_oldest_wait_ms, 29500);
	CU_ASSERT_EQUAL(RUN("--check", "oldest_wait_s<30", "-n", instance), 0);
	CU_ASSERT_STRING_EQUAL(out, "TASKRING OK - oldest_wait_s=29.5 | oldest_wait_s=29.5\n");
	CU_ASSERT_EQUAL(RUN("--check", "oldest_wait_s<29", "--warn", "task_waiting<=42", "-n", instance), 2);
	CU_ASSERT_STRING_EQUAL(out, "TASKRING CRITICAL - oldest_wait_s=29.5, not <29, task_waiting=42 | "
	    "oldest_wait_s=29.5 task_waiting=42\n");
	CU_ASSERT_EQUAL(RUN("--warn", "waiting != 42", "-n", instance), 1);
	CU_ASSERT_EQUAL(RUN("--check", "run_us.max>=1", "--check", "run_ns.count==1000", "-n", instance), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "run_us.max=1, run_ns.count=1000"));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		CU_ASSERT_EQUAL(RUN("--check", wrong[i], "-n", instance), 3);
		CU_ASSERT_STRING_EQUAL(out, "TASKRING UNKNOWN - the command line is wrong; standard error says how\n");
	}
	CU_ASSERT_EQUAL(RUN("--check", "task_dead<1", "-j"), 3);
	board_life(writer, BOARD_STOPPED);
	CU_ASSERT_EQUAL(RUN("--check", "task_waiting==42", "-n", instance), 2);
	CU_ASSERT_STRING_EQUAL(out, "TASKRING CRITICAL - taskd: stopped\n");
	board_writer_close(&writer, true);
	CU_ASSERT_EQUAL(RUN("--check", "task_waiting==42", "-n", instance), 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "has no board"));
}

static void test_wait(void)
{
	struct board_writer *writer = start();

	CU_ASSERT_EQUAL(RUN("--wait", "5", "-1", "-f", "task_waiting", "-n", instance), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, " 42 "));
	board_life(writer, BOARD_STOPPED);
	CU_ASSERT_EQUAL(RUN("--wait", "0.1", "-1", "-n", instance), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "taskd did not come up in 0.1 s; it is: stopped"));
	CU_ASSERT_EQUAL(RUN("--wait", "-1", "-1", "-n", instance), 2);
	board_writer_close(&writer, true);
	CU_ASSERT_EQUAL(RUN("--wait", "0", "-1", "-n", instance), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "has no board"));
}

/* The samples' values; python's parser checks the format, in the system tests. */
static void test_openmetrics(void)
{
	static const char *const expected[] = {
		"\n# TYPE taskring_task_accepted counter\ntaskring_task_accepted_total 100500\n",
		"\n# TYPE taskring_task_waiting gauge\ntaskring_task_waiting 42\n",
		"\n# TYPE taskring_run_seconds histogram\n# UNIT taskring_run_seconds seconds\n"
		"taskring_run_seconds_bucket{le=\"1.023e-06\"} 1000\n",
		"\ntaskring_run_seconds_bucket{le=\"+Inf\"} 1000\ntaskring_run_seconds_count 1000\n"
		"taskring_run_seconds_sum 0.0005005\n",
		"\ntaskring_task_oldest_wait_seconds 0\n",
		"taskring_up 1\n",
		"\n# TYPE taskring_queue_waiting gauge\ntaskring_queue_waiting{queue=\"mail\"} 5\ntaskring_queue_waiting{queue=\"a\\\"b\\\\c\\nd\"} 0\n",
		"\ntaskring_queue_paused{queue=\"mail\"} 1\n",
		"\n# TYPE taskring_queue_ended counter\ntaskring_queue_ended_total{queue=\"mail\"} 7\n",
		"\ntaskring_queue_oldest_wait_seconds{queue=\"a\\\"b\\\\c\\nd\"} 0\n",
		"\ntaskring_handler_failed_total{handler=\"h\"} 2\n",
		"\ntaskring_handler_run_seconds_bucket{handler=\"h\",le=\"4e-06\"} 3\n",
		"\ntaskring_handler_run_seconds_bucket{handler=\"h\",le=\"+Inf\"} 4\ntaskring_handler_run_seconds_count{handler=\"h\"} 4\n"
		"taskring_handler_run_seconds_sum{handler=\"h\"} 1.5\n",
	};
	struct board_writer *writer = start();
	const struct board_queue queue = { .name = "mail", .paused = 1, .waiting = 5, .ended = 7, .oldest_due_ms = 1 };
	const struct board_queue hostile = { .name = "a\"b\\c\nd" };
	const struct board_handler handler = { .name = "h", .failed = 2, .run = { [1] = 3, [BOARD_RUN_BUCKETS - 1] = 1 },
		.run_sum_ns = 1500000000 };

	board_queue_set(writer, 0, &queue);
	board_queue_set(writer, 2, &hostile);
	board_handler_set(writer, 255, &handler);
	CU_ASSERT_EQUAL(RUN("-p", "-n", instance), 0);
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		CU_ASSERT_PTR_NOT_NULL(strstr(out, expected[i]));
	CU_ASSERT_STRING_EQUAL(out + strlen(out) - 6, "# EOF\n");
	board_life(writer, BOARD_STOPPED);
	CU_ASSERT_EQUAL(RUN("-p", "-n", instance), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "\ntaskring_up 0\n"));
	board_writer_close(&writer, true);
}

static void test_without_board(void)
{
	CU_ASSERT_EQUAL(RUN("-l"), 0);
	CU_ASSERT_EQUAL(lines_of(out), STATS + HISTS);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "wait_ns                  histogram  ns        From being due"));
	CU_ASSERT_EQUAL(RUN("-V"), 0);
	CU_ASSERT_STRING_EQUAL(out, "taskstat " TASKRING_VERSION " (board version 4)\n");
	CU_ASSERT_EQUAL(RUN("-h"), 0);
	CU_ASSERT_EQUAL(strncmp(out, "usage: taskstat ", 16), 0);
	CU_ASSERT_EQUAL(setenv("TASKRING_NAME", "name-from-environment", 1), 0);
	CU_ASSERT_EQUAL(RUN("-1"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "\"name-from-environment\" has no board"));
	CU_ASSERT_EQUAL(unsetenv("TASKRING_NAME"), 0);
}

static void test_output_fails(void)
{
	struct board_writer *writer = start();
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), ends[2];

	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	static const char *const forms[] = { "-1", "-j", "-p", "-l", "-V", "-h" };
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		CU_ASSERT_EQUAL(RUN_TO(full, forms[i], "-n", instance), 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(err, "No space left on device"));
		CU_ASSERT_EQUAL(RUN_TO(ends[1], forms[i], "-n", instance), 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(err, "Broken pipe"));
	}
	close(full);
	close(ends[1]);
	board_writer_close(&writer, true);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "columns", test_text }, { "JSON", test_json }, { "taskd's life", test_life },
		{ "refusals", test_refusals }, { "exclusion", test_exclusion },
		{ "--check", test_check }, { "--wait", test_wait }, { "OpenMetrics", test_openmetrics }, { "without a board", test_without_board },
		{ "output that fails", test_output_fails },
	};

	/* Built as tests/test_taskstat beside taskstat. */
	char self[PATH_MAX - 16] = "";
	const char *end = readlink("/proc/self/exe", self, sizeof self - 1) > 0 ? strstr(self, "/tests/test_taskstat") : NULL;
	if (end == NULL)
		return 1;
	snprintf(program, sizeof program, "%.*s/taskstat", (int)(end - self), self);
	return RUN_BOARD_TESTS("taskstat", tests);
}
