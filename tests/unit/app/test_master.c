/* The listening socket, wherever it comes from; the master: a dead process is replaced, a reload refuses nobody. */
#include <signal.h>
#include <sys/wait.h>

#include "app/listen.h"
#include "app/master.h"
#include "tests/unit/app/fcgi_fixture.h"

static void test_listen(void)
{
	int first = listen_open(path, 0600);
	CU_ASSERT_FATAL(first >= 0);
	CU_ASSERT_EQUAL(listen_open(path, 0600), -1); /* somebody listens there */
	close(first);                                 /* as when it was killed */
	int second = listen_open(path, 0600);
	CU_ASSERT(second >= 0);
	listen_close(second, path);
	CU_ASSERT_EQUAL(listen_open("/nowhere/at/all", 0600), -1);
	CU_ASSERT_EQUAL(listen_open("no-port", 0600), -1);
	CU_ASSERT_EQUAL(listen_open("fd:x", 0600), -1);
	CU_ASSERT_EQUAL(listen_open("fd:999", 0600), -1);
	int tcp = listen_open("127.0.0.1:0", 0600);
	CU_ASSERT(tcp >= 0);
	char inherited[20];
	snprintf(inherited, sizeof(inherited), "fd:%d", tcp);
	CU_ASSERT_EQUAL(listen_open(inherited, 0600), tcp);

	/* What systemd passes is descriptor 3, and counts only for the process that it names. */
	int third = dup(3), zeroth = dup(0);
	snprintf(inherited, sizeof(inherited), "%ld", (long)getpid());
	CU_ASSERT_EQUAL(dup2(tcp, 3), 3);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", inherited, 1);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), 3);
	CU_ASSERT_PTR_NULL(getenv("LISTEN_FDS")); /* not for those that we start */
	CU_ASSERT_EQUAL(dup2(tcp, 0), 0);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), 0);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", "1", 1);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), 0);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", inherited, 1);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), -1);
	dup2(zeroth, 0);
	close(zeroth);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), -1); /* no socket */
	if (third >= 0)
		dup2(third, 3);
	else
		close(3);
	close(third);
	close(tcp);
}

/* The children of `parent`, at most `most`. */
static int children_of(pid_t parent, pid_t *children, int most)
{
	char name[64], text[256] = "";
	snprintf(name, sizeof(name), "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
	FILE *file = fopen(name, "r");
	if (file == NULL)
		return 0;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	int count = 0;
	char *rest = text;
	for (long pid; count < most && (pid = strtol(rest, &rest, 10)) > 0; count++)
		children[count] = (pid_t)pid;
	return count;
}

/* Until there are two, none of which is `not`. */
static void wait_for_children(pid_t master, pid_t not, pid_t children[2])
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	while (now_ms() < deadline) {
		if (children_of(master, children, 2) == 2 && children[0] != not && children[1] != not)
			return;
		poll(NULL, 0, 5);
	}
	CU_FAIL("two processes did not appear");
}

static void expect_answer(void)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	int fd;
	while ((fd = dial()) < 0 && now_ms() < deadline)
		poll(NULL, 0, 5);
	ask(fd, "/nothing", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fd), 404);
	close(fd);
}

static void test_master(void)
{
	/* A name that cannot be opened: the ring does not matter here. */
	const struct options options = { .socket = path, .processes = 2, .threads = 2, .instance = ".", .open.mode = 0600,
		.web.body_limit_bytes = 1000, .fcgi = { .connections = 100, .timeout_ms = 15000, .bytes_per_s = 1000 },
		.stop_timeout_s = 5 };
	pid_t master = fork();
	if (master == 0)
		_exit(master_run(&options));
	expect_answer();
	pid_t before[2], after[2];
	wait_for_children(master, 0, before);
	kill(before[0], SIGKILL);
	wait_for_children(master, before[0], after);
	expect_answer();
	kill(master, SIGHUP);
	wait_for_children(master, after[0], before);
	wait_for_children(master, after[1], before);
	expect_answer();
	int64_t started = now_ms();
	kill(master, SIGTERM);
	int status = -1;
	CU_ASSERT_EQUAL(waitpid(master, &status, 0), master);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_TRUE(now_ms() - started < 3000);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	CU_ASSERT_EQUAL(kill(before[0], 0), -1);
	CU_ASSERT_EQUAL(kill(before[1], 0), -1);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_master),
		SUITE_TEST(test_listen),
	};

	return RUN_SERVER_TESTS("test-master", tests);
}
