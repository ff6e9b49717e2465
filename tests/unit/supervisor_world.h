/*
 * A world for tests of the supervisor: stand-in roles whose behaviour the test sets, and a page that
 * test, supervisor, dispatchers and workers share. For test_supervisor.c and test_crew.c.
 */
#ifndef TESTS_SUPERVISOR_WORLD_H
#define TESTS_SUPERVISOR_WORLD_H

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "taskd/control.h"
#include "taskd/crew.h"
#include "taskd/log.h"
#include "taskd/mailbox.h"

#define ROWS 4
#define HEARD_MAX 20000
#define WORKERS_MAX 16 /* of one row, whose pauses are told */
#define DEADLINE_MS 10000

/* One control message as a dispatcher got it. */
struct heard {
	struct control_message message;
	off_t mailbox_bytes; /* -1: no descriptor came */
	int life;            /* of the dispatcher */
};

enum on_drain { LEAVE_IN_ORDER, LEAVE_BADLY, IGNORE_DRAIN };
enum on_trial { GO_WELL, FIND_FAULT, EXIT_SILENTLY, EXIT_LATE, CRASH, HANG };

static struct world {
	/* What the dispatcher does. */
	_Atomic int refuse_with;   /* exits with this before READY; 0: does not */
	_Atomic int on_drain;      /* enum on_drain */
	_Atomic int deaf;          /* reads nothing */
	_Atomic int progress;      /* sends CONTROL_PROGRESS at each turn */
	_Atomic int leave;         /* closes its socket and goes on */
	_Atomic uint32_t say;      /* enum control_kind to send once, about say_row and say_pid */
	_Atomic uint32_t say_row;
	_Atomic int say_pid;
	_Atomic uint64_t say_number;
	/* What the workers of a row do: 0: stay, else exit with this - 1. */
	_Atomic int exit_with[ROWS];
	_Atomic int catch_term; /* as a plug-in may: exits with 42, or 43 where somebody else sent it */
	_Atomic int on_trial;  /* enum on_trial; one that hangs goes on when this changes */
	/* What they found. */
	_Atomic int dispatchers, dispatcher_pid, leftovers, worker_fault;
	_Atomic int worker_pid[ROWS];
	_Atomic uint32_t workers[ROWS];               /* so many of a row came */
	_Atomic int64_t left_ms[ROWS];                /* when the last one left */
	_Atomic int64_t paused_ms[ROWS][WORKERS_MAX]; /* from there until that one came */
	_Atomic int trials, trial_fault;
	_Atomic int must_be_gone[ROWS]; /* when a dispatcher begins */
	_Atomic uint32_t heard_count;
	struct heard heard[HEARD_MAX];
} *world;

static char directory[] = "/tmp/test_supervisor.XXXXXX";
static char config_file[64], log_file[64];
static pid_t supervisor;

static const struct supervisor_times quick = {
	.backoff_first_ms = 20, .backoff_most_ms = 80, .healthy_ms = 60000, .drain_extra_ms = 100, .silence_ms = 60000,
	.hangup_ms = 50, .trial_ms = 60000,
};

static inline int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void pause_ms(long ms)
{
	const struct timespec pause = { 0, ms * 1000000 };
	nanosleep(&pause, NULL);
}

#define WAIT_UNTIL(condition) \
	do { \
		int64_t until = now_ms() + DEADLINE_MS; \
		while (!(condition) && now_ms() < until) \
			pause_ms(2); \
		CU_ASSERT_TRUE(condition); \
	} while (0)

/* ---- stand-ins --------------------------------------------------------------------------- */

static inline void hear(const struct control_message *message, int fd, int life)
{
	struct stat about = { .st_size = -1 };
	if (fd >= 0 && fstat(fd, &about) == 0)
		close(fd);
	uint32_t at = atomic_load(&world->heard_count);
	if (at == HEARD_MAX)
		_exit(99);
	world->heard[at] = (struct heard){ *message, about.st_size, life };
	atomic_store(&world->heard_count, at + 1);
}

static inline void dispatcher_turn(int control, int life)
{
	struct pollfd polled = { .fd = control, .events = atomic_load(&world->deaf) ? 0 : POLLIN };
	poll(&polled, 1, 2);
	if (atomic_exchange(&world->leave, 0))
		close(control);
	struct control_message say = { .kind = atomic_exchange(&world->say, 0), .row = atomic_load(&world->say_row),
		.pid = atomic_load(&world->say_pid), .number = atomic_load(&world->say_number) };
	if (say.kind != 0)
		control_send(control, &say, -1);
	if (atomic_load(&world->progress))
		control_send(control, &(struct control_message){ .kind = CONTROL_PROGRESS }, -1);
	struct control_message message;
	int fd;
	while (!atomic_load(&world->deaf) && control_receive(control, &message, &fd) == 1) {
		hear(&message, fd, life);
		if (message.kind != CONTROL_DRAIN || atomic_load(&world->on_drain) == IGNORE_DRAIN)
			continue;
		control_send(control, &(struct control_message){ .kind = CONTROL_DRAINED }, -1);
		_exit(atomic_load(&world->on_drain) == LEAVE_BADLY ? 5 : 0);
	}
}

static inline void stand_in_dispatcher(struct config *config, int control, int wake_fd)
{
	(void)config;
	(void)wake_fd;
	int life = atomic_fetch_add(&world->dispatchers, 1) + 1;
	for (int row = 0; row < ROWS; row++)
		if (world->must_be_gone[row] != 0 && kill(world->must_be_gone[row], 0) == 0)
			atomic_fetch_add(&world->leftovers, 1);
	int refuse = atomic_load(&world->refuse_with);
	if (refuse != 0)
		_exit(refuse);
	control_send(control, &(struct control_message){ .kind = CONTROL_READY }, -1);
	atomic_store(&world->dispatcher_pid, getpid());
	for (;;)
		dispatcher_turn(control, life);
}

static inline int open_files(void)
{
	int count = 0;
	DIR *all = opendir("/proc/self/fd");
	for (struct dirent *one; all != NULL && (one = readdir(all)) != NULL;) {
		long fd = strtol(one->d_name, NULL, 10);
		count += fd > 2 && fd != dirfd(all);
	}
	closedir(all);
	return count;
}

/* The number of the first thing about this process that is not as a worker's should be. */
static inline int worker_fault(int mailbox_fd, int wake_fd)
{
	int death = 0;
	char adjustment[16] = "";
	struct sigaction action;
	sigset_t mask;
	struct rlimit files;
	if (prctl(PR_GET_PDEATHSIG, &death) < 0 || death != SIGKILL || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 1;
	if (sigaction(SIGINT, NULL, &action) < 0 || action.sa_handler != SIG_IGN || sigprocmask(SIG_BLOCK, NULL, &mask) < 0 ||
	    sigismember(&mask, SIGTERM) != 0)
		return 2;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur != 64 || files.rlim_max != 64)
		return 3;
	/* Mailbox, eventfd; these tests have no lock. */
	if (open_files() != 2 || fcntl(mailbox_fd, F_GETFD) < 0 || fcntl(wake_fd, F_GETFD) < 0)
		return 4;
	FILE *file = fopen("/proc/self/oom_score_adj", "re");
	if (file == NULL || fgets(adjustment, sizeof(adjustment), file) == NULL || strtol(adjustment, NULL, 10) < 300)
		return 5;
	fclose(file);
	return 0;
}

static inline void on_term(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	_exit(info->si_pid == getpid() ? 42 : 43);
}

static inline void stand_in_worker(const struct config *config, const struct config_pool *pool, uint32_t row, int mailbox_fd,
    int wake_fd)
{
	(void)config;
	int fault = pool->limit_files == 64 ? worker_fault(mailbox_fd, wake_fd) : 0;
	if (fault != 0)
		atomic_store(&world->worker_fault, fault);
	const struct sigaction caught = { .sa_sigaction = on_term, .sa_flags = SA_SIGINFO };
	if (atomic_load(&world->catch_term))
		sigaction(SIGTERM, &caught, NULL);
	atomic_store(&world->worker_pid[row], getpid());
	uint32_t before = atomic_fetch_add(&world->workers[row], 1);
	if (before < WORKERS_MAX)
		atomic_store(&world->paused_ms[row][before], now_ms() - atomic_load(&world->left_ms[row]));
	int exit_with;
	while ((exit_with = atomic_load(&world->exit_with[row])) == 0)
		pause_ms(2);
	atomic_store(&world->left_ms[row], now_ms());
	_exit(exit_with - 1);
}

/* Where two pools have limits, these are 64 files and 7 seconds. */
static inline int trial_fault(const struct config *config, int answer)
{
	struct rlimit files, cpu;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || getrlimit(RLIMIT_CPU, &cpu) < 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 1;
	if (config->pool_count == 2 && (files.rlim_max != 64 || cpu.rlim_max != 7))
		return 2;
	return open_files() != 1 || fcntl(answer, F_GETFD) < 0 ? 3 : 0;
}

static inline void stand_in_trial(const struct config *config, int answer)
{
	int fault = trial_fault(config, answer);
	if (fault != 0)
		atomic_store(&world->trial_fault, fault);
	atomic_fetch_add(&world->trials, 1);
	while (atomic_load(&world->on_trial) == HANG)
		pause_ms(2);
	switch (atomic_load(&world->on_trial)) {
	case CRASH: abort();
	case EXIT_SILENTLY: _exit(0);
	case FIND_FAULT: _exit(write(answer, "broken.so: no", 14) == 14 ? 78 : 99);
	default: _exit(write(answer, "", 1) == 1 && atomic_load(&world->on_trial) == GO_WELL ? 0 : 3);
	}
}

/* ---- around ------------------------------------------------------------------------------ */

static inline int begin(void)
{
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (world == MAP_FAILED || mkdtemp(directory) == NULL)
		return 1;
	snprintf(config_file, sizeof(config_file), "%s/c", directory);
	snprintf(log_file, sizeof(log_file), "%s/log", directory);
	return 0;
}

static inline int end(void)
{
	munmap(world, sizeof(*world));
	unlink(config_file);
	unlink(log_file);
	return rmdir(directory);
}

static inline void configure(const char *pools)
{
	FILE *out = fopen(config_file, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fprintf(out, "journal=j spool_dir=\".\" plugin_dir=\".\" lock_file=l drain_timeout=0 log_level=debug %s\n", pools);
	fclose(out);
}

static inline void fresh(void)
{
	memset(world, 0, offsetof(struct world, heard));
}

/* A supervisor that runs in the world and logs into the file. */
static inline void launch(const struct supervisor_times *times, const char *pools)
{
	configure(pools);
	unlink(log_file);
	close(open(log_file, O_WRONLY | O_CREAT, 0600));
	fflush(NULL);
	supervisor = fork();
	CU_ASSERT_FATAL(supervisor >= 0);
	if (supervisor != 0)
		return;
	int fd = open(log_file, O_WRONLY | O_APPEND);
	dup2(fd, STDERR_FILENO);
	close(fd);
	log_open("supervisor", LOG_DEBUG);
	static const struct supervisor_roles roles = { stand_in_dispatcher, stand_in_worker, stand_in_trial };
	struct config *config = config_load(config_file);
	exit(config == NULL ? 77 : supervisor_run(config, -1, &roles, times));
}

static inline void start(const struct supervisor_times *times, const char *pools)
{
	fresh();
	launch(times, pools);
}

/* The supervisor's exit code, -signal; afterwards there must be no process of it, not even a zombie. */
static inline int ended(void)
{
	int status = 0;
	int64_t until = now_ms() + DEADLINE_MS;
	pid_t pid;
	while ((pid = waitpid(supervisor, &status, WNOHANG)) == 0 && now_ms() < until)
		pause_ms(2);
	if (pid == 0) {
		CU_FAIL("the supervisor does not end");
		kill(supervisor, SIGKILL);
		waitpid(supervisor, &status, 0);
	}
	if (WIFSIGNALED(status))
		return -WTERMSIG(status);
	CU_ASSERT_EQUAL(waitpid(-1, NULL, WNOHANG), -1);
	CU_ASSERT_EQUAL(errno, ECHILD);
	return WEXITSTATUS(status);
}

static inline int logged(const char *what)
{
	static char text[1 << 22];
	FILE *in = fopen(log_file, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
	fclose(in);
	int count = 0;
	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		count++;
	return count;
}

/* The place of the nth message (from 0) of a kind about a row in what was heard; -1: not yet. */
static inline int find(enum control_kind kind, uint32_t row, uint32_t nth)
{
	uint32_t count = atomic_load(&world->heard_count);
	for (uint32_t i = 0; i < count; i++)
		if (world->heard[i].message.kind == (uint32_t)kind && world->heard[i].message.row == row && nth-- == 0)
			return (int)i;
	return -1;
}

static inline void say_number(enum control_kind kind, uint32_t row, int pid, uint64_t number)
{
	atomic_store(&world->say_row, row);
	atomic_store(&world->say_pid, pid);
	atomic_store(&world->say_number, number);
	atomic_store(&world->say, (uint32_t)kind);
	WAIT_UNTIL(atomic_load(&world->say) == 0);
}

static inline void say(enum control_kind kind, uint32_t row, int pid)
{
	say_number(kind, row, pid, 0);
}

#endif
