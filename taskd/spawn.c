/*
 * The forking of a child. It does not exec: dispatcher and workers are this program, and what they
 * inherit (configuration, lock) is what they need; everything else is taken from them here.
 */
#include "taskd/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "taskd/log.h"

/* How much likelier than taskd's other processes a worker is to be taken by the OOM killer. */
#define WORKER_OOM_SCORE 300
#define OOM_SCORE_MAX 1000

static _Noreturn void give_up(const char *what)
{
	log_event(LOG_ERR, "child-refused", "call=%s error=%m", what);
	_exit(SPAWN_FAILED);
}

static int by_number(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;
	return (left > right) - (left < right);
}

/* Closes every descriptor above 2 that is not in `keep`. */
static void close_others(const int keep[SPAWN_KEEP_MAX])
{
	int sorted[SPAWN_KEEP_MAX];
	memcpy(sorted, keep, sizeof(sorted));
	qsort(sorted, SPAWN_KEEP_MAX, sizeof(*sorted), by_number);
	unsigned from = 3;
	for (size_t i = 0; i < SPAWN_KEEP_MAX; i++) {
		if (sorted[i] < (int)from)
			continue;
		if ((unsigned)sorted[i] > from && close_range(from, (unsigned)sorted[i] - 1, 0) < 0)
			give_up("close_range");
		from = (unsigned)sorted[i] + 1;
	}
	if (close_range(from, ~0u, 0) < 0)
		give_up("close_range");
}

static void set_signals(const sigset_t *mask)
{
	/* Ctrl-C and service managers signal the whole group; a task must not die of that. */
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigemptyset(&ignore.sa_mask);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		if (sigaction(ignored[i], &ignore, NULL) < 0)
			give_up("sigaction");
	if (sigprocmask(SIG_SETMASK, mask, NULL) < 0)
		give_up("sigprocmask");
}

/*
 * The supervisor's word that this process is to end by SIGTERM. Not by SIGTERM itself, which all of a
 * group may get; and ignored until now, not caught: a signal that is caught interrupts system calls,
 * and handlers need not expect that when somebody stops taskd.
 */
static void end_by_sigterm(int signal)
{
	struct sigaction now, leave = { .sa_handler = SIG_DFL };
	int saved = errno;

	(void)signal;
	sigemptyset(&leave.sa_mask);
	/* A plug-in may have put a handler of its own in its place. */
	if (sigaction(SIGTERM, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN)
		sigaction(SIGTERM, &leave, NULL);
	kill(getpid(), SIGTERM);
	errno = saved;
}

static void await_end_signal(void)
{
	struct sigaction catch = { .sa_handler = end_by_sigterm, .sa_flags = SA_RESTART };

	sigemptyset(&catch.sa_mask);
	if (sigaction(SPAWN_END_SIGNAL, &catch, NULL) < 0)
		give_up("sigaction");
}

static void set_limit(int resource, const char *name, uint64_t limit)
{
	const struct rlimit both = { (rlim_t)limit, (rlim_t)limit };
	if (limit > 0 && setrlimit((__rlimit_resource_t)resource, &both) < 0)
		give_up(name);
}

static bool change_oom_score(int fd)
{
	char text[16];
	ssize_t got = read(fd, text, sizeof(text) - 1);
	if (got <= 0)
		return false;
	text[got] = '\0';
	long score = strtol(text, NULL, 10); /* the kernel's own number */
	score = score > OOM_SCORE_MAX - WORKER_OOM_SCORE ? OOM_SCORE_MAX : score + WORKER_OOM_SCORE;
	int length = snprintf(text, sizeof(text), "%ld", score);
	return pwrite(fd, text, (size_t)length, 0) == length;
}

/* Not being able to is no reason not to run. */
static void raise_oom_score(void)
{
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (fd < 0 || !change_oom_score(fd))
		log_event(LOG_DEBUG, "oom-score-not-raised", "error=%m");
	if (fd >= 0)
		close(fd);
}

static void become_child(const struct spawn_plan *plan, pid_t parent)
{
	log_open(plan->role, plan->log_level);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		give_up("PR_SET_PDEATHSIG");
	if (getppid() != parent)
		_exit(SPAWN_FAILED); /* it died before the line above */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up("PR_SET_NO_NEW_PRIVS");
	prctl(PR_SET_NAME, plan->name); /* cannot fail with a readable name */
	close_others(plan->keep);
	set_signals(plan->mask);
	if (plan->pool == NULL)
		return;
	await_end_signal();
	raise_oom_score();
	if (setrlimit(RLIMIT_NOFILE, &plan->files) < 0)
		give_up("RLIMIT_NOFILE");
	set_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", plan->pool->limit_files);
	set_limit(RLIMIT_CPU, "RLIMIT_CPU", plan->pool->limit_cpu_s);
	set_limit(RLIMIT_AS, "RLIMIT_AS", plan->pool->limit_memory_bytes);
}

pid_t spawn_fork(const struct spawn_plan *plan, int *pidfd)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		become_child(plan, parent);
		return 0;
	}
	/* Until we wait for it, the pid is this child's. */
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*pidfd >= 0)
		return pid;
	int failed = errno;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	errno = failed;
	return -1;
}

int spawn_take_signals(sigset_t *mask_before)
{
	sigset_t taken;
	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGHUP);
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigemptyset(&ignore.sa_mask);
	if (sigaction(SIGPIPE, &ignore, NULL) < 0 || sigprocmask(SIG_BLOCK, &taken, mask_before) < 0)
		return -1;
	return signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

struct rlimit spawn_raise_files(void)
{
	struct rlimit before;
	if (getrlimit(RLIMIT_NOFILE, &before) < 0)
		before = (struct rlimit){ 1024, 1024 };
	const struct rlimit most = { before.rlim_max, before.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &most) < 0)
		log_event(LOG_WARNING, "file-limit-not-raised", "error=%m");
	return before;
}
