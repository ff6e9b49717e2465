/*
 * The keeper of one program: a process between a worker and what the handler "exec" runs. Enters:
 * the command line and the orders of exec_keeper.h; leaves: one report. Started by exec_run.c.
 *
 * It is there for one promise: when a task has ended, nothing of its program is left, whatever the
 * program has started and whoever dies. As a subreaper it becomes the parent of all descendants
 * whose own parents have ended, also of those that have left the process group, and ends only when
 * none is left. When the worker dies, it kills everything; when the keeper itself is killed, the
 * kernel kills the program (parent-death signal).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "taskd/exec_keeper.h"

#define LOOK_AGAIN_MS 20 /* while killing: a process may have been between two parents */

static pid_t worker;
static pid_t program; /* also its process group */
static bool program_ended;
static int signals;   /* signalfd: SIGCHLD, and SIGTERM when the worker has died */

static void report(enum exec_step step, int value)
{
	const struct exec_report text = { .step = (uint32_t)step, .value = value };

	/* It fails only when the worker is dead. */
	(void)send(EXEC_KEEPER_CHANNEL, &text, sizeof text, MSG_NOSIGNAL);
}

static _Noreturn void refuse(enum exec_step step)
{
	report(step, errno);
	_exit(EXIT_FAILURE);
}

/* ---- starting ---------------------------------------------------------------------------- */

static void set_limit(__rlimit_resource_t resource, const char *text, rlim_t beyond)
{
	unsigned long long limit = strtoull(text, NULL, 10); /* exec_run.c has written it */
	const struct rlimit both = { limit, limit + beyond };

	if (limit > 0 && setrlimit(resource, &both) != 0)
		refuse(EXEC_STEP_LIMITS);
}

static _Noreturn void become_program(char **arguments, pid_t keeper)
{
	sigset_t none;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		refuse(EXEC_STEP_KEEPER);
	if (getppid() != keeper)
		_exit(EXIT_FAILURE); /* it died before the line above */
	if (setpgid(0, 0) != 0 || fcntl(EXEC_KEEPER_CHANNEL, F_SETFD, FD_CLOEXEC) != 0)
		refuse(EXEC_STEP_KEEPER);
	set_limit(RLIMIT_AS, arguments[0], 0);
	set_limit(RLIMIT_CPU, arguments[1], 1); /* SIGXCPU first, which says why, then SIGKILL */
	set_limit(RLIMIT_NOFILE, arguments[2], 0);
	if (chdir(arguments[3]) != 0)
		refuse(EXEC_STEP_DIRECTORY);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(arguments[4], &arguments[4]);
	refuse(EXEC_STEP_PROGRAM);
}

static void start(char **arguments)
{
	sigset_t all;
	pid_t keeper = getpid();

	/* A signal that is meant for others must not take the keeper away. */
	sigfillset(&all);
	/* The channel's end says that the worker is dead, unless a child of the worker has it too. */
	if (sigprocmask(SIG_BLOCK, &all, NULL) != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
		refuse(EXEC_STEP_KEEPER);
	sigemptyset(&all);
	sigaddset(&all, SIGCHLD);
	sigaddset(&all, SIGTERM);
	signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		refuse(EXEC_STEP_KEEPER);
	program = fork();
	if (program < 0)
		refuse(EXEC_STEP_KEEPER);
	if (program == 0)
		become_program(arguments, keeper);
	/* Also here: an order may come before the child has done it. It fails when that one was faster. */
	(void)setpgid(program, program);
	/* Their ends must be seen when the program and its children have closed them. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		close(fd);
}

/* ---- ending ------------------------------------------------------------------------------ */

/* Reaps what has ended. False: there are no children any more. */
static bool reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != program)
			continue;
		program_ended = true;
		report(EXEC_STEP_ENDED, status);
	}
	return pid == 0 || errno != ECHILD;
}

/* The group's number belongs to it as long as the program has not been reaped. */
static void signal_group(int number)
{
	if (!program_ended)
		kill(-program, number);
}

/* Children are the program and orphans, which are nobody else's. */
static void kill_children(void)
{
	static char *word; /* kept until the end */
	static size_t room;
	FILE *children = fopen("/proc/thread-self/children", "re");

	if (children == NULL)
		return; /* no /proc: those of the group are killed all the same */
	while (getdelim(&word, &room, ' ', children) > 0) {
		long pid = strtol(word, NULL, 10);
		if (pid > 0)
			kill((pid_t)pid, SIGKILL);
	}
	fclose(children);
}

/* Again and again: a killed process leaves its children to us. */
static void kill_everything(void)
{
	struct pollfd ended = { .fd = signals, .events = POLLIN };
	struct signalfd_siginfo info;

	do {
		signal_group(SIGKILL);
		kill_children();
		(void)poll(&ended, 1, LOOK_AGAIN_MS);
		while (read(signals, &info, sizeof info) > 0)
			continue;
	} while (reap());
}

/* True: go on. */
static bool take_order(bool *waits_for_all)
{
	char order;
	ssize_t got = recv(EXEC_KEEPER_CHANNEL, &order, 1, MSG_DONTWAIT);

	if (got < 0)
		return errno == EINTR || errno == EAGAIN;
	if (got == 0 || order != EXEC_ORDER_TERM)
		return false;
	*waits_for_all = true;
	signal_group(SIGTERM);
	return true;
}

/*
 * What a program leaves running ends with it. Only where it was asked to end, the others have been
 * asked too, and get the same time.
 */
static void keep(void)
{
	enum { CHANNEL, SIGNALS, FDS };
	struct pollfd fds[FDS] = {
		[CHANNEL] = { .fd = EXEC_KEEPER_CHANNEL, .events = POLLIN },
		[SIGNALS] = { .fd = signals, .events = POLLIN },
	};
	struct signalfd_siginfo info;
	bool waits_for_all = false;

	for (;;) {
		if (poll(fds, FDS, -1) < 0 && errno != EINTR)
			break;
		if (fds[CHANNEL].revents != 0 && !take_order(&waits_for_all))
			break;
		while (read(signals, &info, sizeof info) > 0)
			continue;
		if (!reap())
			return;
		if ((program_ended && !waits_for_all) || getppid() != worker)
			break;
	}
	kill_everything();
}

int main(int count, char **arguments)
{
	if (count <= EXEC_KEEPER_ARGUMENTS) {
		fputs("exec_keeper is started by taskd's workers only\n", stderr);
		return EXIT_FAILURE;
	}
	worker = getppid();
	if (close_range(EXEC_KEEPER_CHANNEL + 1, ~0u, 0) != 0)
		refuse(EXEC_STEP_KEEPER);
	start(&arguments[1]);
	keep();
	return EXIT_SUCCESS;
}
