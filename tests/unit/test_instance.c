/* taskd/instance.c: one taskd per instance, however the other one ends, and no way back to root. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "taskd/instance.h"
#include "taskd/log.h"
#include "tests/unit/runner.h"

static char directory[] = "/tmp/test_instance.XXXXXX";
static char lock_file[64], log_file[64];
static struct config config = { .instance = "one" };

static int begin(void)
{
	if (mkdtemp(directory) == NULL)
		return 1;
	snprintf(lock_file, sizeof(lock_file), "%s/lock", directory);
	snprintf(log_file, sizeof(log_file), "%s/log", directory);
	config.lock_file = lock_file;
	return 0;
}

static int end(void)
{
	unlink(lock_file);
	unlink(log_file);
	return rmdir(directory);
}

static long elapsed_ms(const struct timespec *since)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

static int exit_code_of(pid_t pid)
{
	int status = 0;
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Forks one that holds the lock until its pipe is closed; returns once it has it. */
static pid_t holder(int *hold)
{
	int ready[2] = { -1, -1 }, go[2] = { -1, -1 };
	CU_ASSERT_FATAL(pipe(ready) == 0 && pipe(go) == 0);
	pid_t pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	char byte = 0;
	if (pid == 0) {
		close(go[1]);
		if (instance_lock(&config, 0) < 0 || write(ready[1], &byte, 1) != 1)
			_exit(9);
		_exit(read(go[0], &byte, 1) == 0 ? 0 : 8);
	}
	close(go[0]);
	close(ready[1]);
	CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*hold = go[1];
	return pid;
}

/* Standard error to a file while the lock is tried; the file's text. */
static int lock_logged(unsigned wait_ms, char *text, size_t room)
{
	fflush(stderr);
	int before = dup(STDERR_FILENO), to = open(log_file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	dup2(to, STDERR_FILENO);
	log_open("supervisor", LOG_INFO);
	int fd = instance_lock(&config, wait_ms);
	dup2(before, STDERR_FILENO);
	close(before);
	ssize_t got = pread(to, text, room - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	close(to);
	return fd;
}

static void test_refused(void)
{
	int hold;
	pid_t pid = holder(&hold);
	char text[2048], expected[256];
	struct timespec since;
	clock_gettime(CLOCK_MONOTONIC, &since);
	CU_ASSERT_EQUAL(lock_logged(150, text, sizeof(text)), -1);
	long waited = elapsed_ms(&since);
	CU_ASSERT_TRUE(waited >= 150 && waited < 1500);
	snprintf(expected, sizeof(expected), "refused reason=\"taskd pid %ld already serves instance one (lock %s)\"\n", (long)pid,
	    lock_file);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, expected));
	close(hold);
	CU_ASSERT_EQUAL(exit_code_of(pid), 0);
	struct sigaction action;
	CU_ASSERT_EQUAL(sigaction(SIGALRM, NULL, &action), 0);
	CU_ASSERT_TRUE(action.sa_handler == SIG_DFL);

	int fd = lock_logged(0, text, sizeof(text));
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	char pid_text[24] = "";
	CU_ASSERT_TRUE(pread(fd, pid_text, sizeof(pid_text) - 1, 0) > 0);
	CU_ASSERT_EQUAL(strtol(pid_text, NULL, 10), getpid());
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

/* The lock's taker is killed, but a child of it lives on and has the descriptor. */
static void test_children_hold_it(void)
{
	int go[2] = { -1, -1 }, told[2] = { -1, -1 };
	CU_ASSERT_FATAL(pipe(go) == 0 && pipe(told) == 0);
	pid_t taker = fork();
	if (taker == 0) {
		char byte = 0;
		close(go[1]);
		if (instance_lock(&config, 0) < 0)
			_exit(9);
		pid_t child = fork();
		if (child == 0)
			_exit(read(go[0], &byte, 1) == 0 ? 0 : 8);
		_exit(write(told[1], &child, sizeof(child)) == (ssize_t)sizeof(child) && pause() == 0 ? 0 : 1);
	}
	close(go[0]);
	pid_t child = 0;
	CU_ASSERT_EQUAL(read(told[0], &child, sizeof(child)), (ssize_t)sizeof(child));
	CU_ASSERT_EQUAL(kill(taker, SIGKILL), 0);
	CU_ASSERT_EQUAL(exit_code_of(taker), -SIGKILL);
	char text[2048];
	CU_ASSERT_EQUAL(lock_logged(20, text, sizeof(text)), -1);

	/* It is waited for, and had as soon as the child is gone. */
	pid_t waiter = fork();
	if (waiter == 0) {
		close(go[1]);
		_exit(instance_lock(&config, 5000) >= 0 ? 0 : 1);
	}
	close(go[1]);
	CU_ASSERT_EQUAL(exit_code_of(waiter), 0);
	CU_ASSERT_EQUAL(exit_code_of(child), 0);
	close(told[0]);
	close(told[1]);
}

static void test_no_lock_file(void)
{
	char text[2048], nowhere[96];
	snprintf(nowhere, sizeof(nowhere), "%s/missing/lock", directory);
	config.lock_file = nowhere;
	CU_ASSERT_EQUAL(lock_logged(0, text, sizeof(text)), -1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "refused option=lock_file path="));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "error=\"No such file or directory\"\n"));
	unlink(lock_file);
	CU_ASSERT_EQUAL(symlink("/dev/null", lock_file), 0);
	config.lock_file = lock_file;
	CU_ASSERT_EQUAL(lock_logged(0, text, sizeof(text)), -1);
	CU_ASSERT_EQUAL(unlink(lock_file), 0);
}

/* In a child, since there is no way back. The number of the first thing that is not as it should be. */
static int dropped(void)
{
	struct config with_user = { .user = "nobody", .path = "test" };
	if (!instance_drop_root(&with_user))
		return 1;
	const struct passwd *entry = getpwnam("nobody");
	uid_t real, effective, saved;
	gid_t real_gid, effective_gid, saved_gid, groups[64];
	if (entry == NULL || getresuid(&real, &effective, &saved) < 0 || getresgid(&real_gid, &effective_gid, &saved_gid) < 0)
		return 2;
	if (real != entry->pw_uid || effective != real || saved != real)
		return 3;
	if (real_gid != entry->pw_gid || effective_gid != real_gid || saved_gid != real_gid)
		return 4;
	int count = getgroups(64, groups);
	for (int i = 0; i < count; i++)
		if (groups[i] == 0)
			return 5;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
		return 6;
	if (access("/etc/shadow", R_OK) == 0)
		return 7;
	int fd = open("/proc/self/oom_score_adj", O_RDWR);
	if (prctl(PR_GET_DUMPABLE) != 1 || fd < 0)
		return 8;
	close(fd);
	/* Once more changes nothing: it is not root now. */
	return instance_drop_root(&with_user) ? 0 : 9;
}

static void test_drop_root(void)
{
	if (geteuid() != 0) {
		struct config none = { .user = "nobody" };
		CU_ASSERT_TRUE(instance_drop_root(&none));
		return;
	}
	log_open("test", LOG_CRIT);
	pid_t pid = fork();
	if (pid == 0)
		_exit(dropped());
	CU_ASSERT_EQUAL(exit_code_of(pid), 0);
	struct config unknown = { .user = "no such user", .path = lock_file };
	CU_ASSERT_FALSE(instance_drop_root(&unknown));
	struct config none = { .path = lock_file };
	CU_ASSERT_TRUE(instance_drop_root(&none));
	CU_ASSERT_EQUAL(geteuid(), 0);
}

static void test_surroundings(void)
{
	static struct config_pool pool = { .name = "p" };
	char journal[96], missing[96];
	snprintf(journal, sizeof(journal), "%s/journal.db", directory);
	snprintf(missing, sizeof(missing), "%s/missing/journal.db", directory);
	struct config well = { .plugin_dir = directory, .journal = journal, .spool_dir = directory, .pool_count = 1, .pools = &pool };
	log_open("test", LOG_CRIT);
	CU_ASSERT_TRUE(instance_check(&well));
	struct config one = well;
	one.journal = missing;
	CU_ASSERT_FALSE(instance_check(&one));
	one = well;
	one.plugin_dir = missing;
	CU_ASSERT_FALSE(instance_check(&one));
	one = well;
	one.spool_dir = "/etc/passwd";
	CU_ASSERT_FALSE(instance_check(&one));
	one = well;
	one.mail.server = "smtp://h";
	one.transfer_module = directory;
	CU_ASSERT_FALSE(instance_check(&one));
	pool.limit_files = UINT32_MAX;
	CU_ASSERT_FALSE(instance_check(&well));
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a second taskd is refused", test_refused },
		{ "the lock lasts as long as any child", test_children_hold_it },
		{ "lock files that cannot be", test_no_lock_file },
		{ "root is dropped for good", test_drop_root },
		{ "directories, modules and limits", test_surroundings },
	};

	/* What a killed process leaves behind becomes ours to wait for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return RUN_TESTS_WITHIN("instance", begin, end, tests);
}
