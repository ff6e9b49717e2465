/*
 * The prefork master. Signals come in, processes start and end; it never touches a request. Its
 * listening socket outlives the processes, so that connections wait in its queue while one is
 * replaced. Each child is in one of these states:
 *
 *   WAITING ─ start_at_ns ─► RUNNING ─ SIGTERM ─► STOPPING ─ deadline ─► (SIGKILL)
 *      ▲                        │                     │
 *      └───────── ended ────────┴─────────────────────┘
 */
#include "app/master.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "app/listen.h"
#include "app/log.h"
#include "app/process.h"
#include "app/tokens.h"

#define SECOND_NS 1000000000ll
#define BACKOFF_FIRST_NS (SECOND_NS / 10)
#define BACKOFF_MOST_NS (10 * SECOND_NS)
#define HEALTHY_NS (10 * SECOND_NS) /* who lived this long starts again without delay */

enum child_state { CHILD_WAITING, CHILD_RUNNING, CHILD_STOPPING };

struct child {
	enum child_state state;
	pid_t pid;
	int64_t at_ns;      /* WAITING: start then; RUNNING: started then; STOPPING: killed then */
	int64_t backoff_ns;
	bool replace;       /* SIGHUP: its turn is still to come */
};

struct master {
	const struct options *options;
	struct tokens *tokens; /* the last ones that were sound; NULL: none are configured */
	int listen_fd;
	sigset_t signals; /* what we wait for, blocked */
	bool stopping;
	struct child *children;
};

static int64_t monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static _Noreturn void child_main(struct master *master, pid_t parent)
{
	/* Without a master nobody would stop us. It may have died before prctl(). */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
		_exit(1);
	_exit(process_run(master->options, master->tokens, master->listen_fd));
}

static void start_child(struct master *master, struct child *child)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid == 0)
		child_main(master, parent);
	if (pid < 0) {
		log_event(LOG_ERR, "fork-failed", "errno=%d", errno);
		child->at_ns = monotonic_ns() + SECOND_NS;
		return;
	}
	*child = (struct child){ .state = CHILD_RUNNING, .pid = pid, .at_ns = monotonic_ns(), .backoff_ns = child->backoff_ns };
	log_event(LOG_INFO, "process-started", "pid=%ld", (long)pid);
}

static void stop_child(const struct master *master, struct child *child)
{
	kill(child->pid, SIGTERM);
	child->state = CHILD_STOPPING;
	child->replace = false;
	child->at_ns = monotonic_ns() + master->options->stop_timeout_s * SECOND_NS;
}

static struct child *child_by_pid(struct master *master, pid_t pid)
{
	for (unsigned i = 0; i < master->options->processes; i++)
		if (master->children[i].state != CHILD_WAITING && master->children[i].pid == pid)
			return &master->children[i];
	return NULL;
}

/* It starts again: at once when it was told to end or has lived long, else after a back-off. */
static void child_ended(struct child *child, int status)
{
	int64_t now_ns = monotonic_ns();
	bool asked = child->state == CHILD_STOPPING;
	int64_t delay_ns = 0;
	if (!asked && now_ns - child->at_ns < HEALTHY_NS)
		delay_ns = child->backoff_ns == 0 ? BACKOFF_FIRST_NS : 2 * child->backoff_ns;
	if (delay_ns > BACKOFF_MOST_NS)
		delay_ns = BACKOFF_MOST_NS;
	log_event(asked ? LOG_INFO : LOG_WARNING, "process-ended", "pid=%ld exit=%d signal=%d restart_ms=%lld",
	    (long)child->pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
	    (long long)(delay_ns / 1000000));
	*child = (struct child){ .state = CHILD_WAITING, .at_ns = now_ns + delay_ns, .backoff_ns = delay_ns };
}

static void reap(struct master *master)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *child = child_by_pid(master, pid);
		if (child != NULL)
			child_ended(child, status);
	}
}

/* The second request to stop does not wait any more. */
static void begin_stop(struct master *master, int signal_number)
{
	log_event(LOG_NOTICE, "stopping", "signal=%d", signal_number);
	for (unsigned i = 0; i < master->options->processes; i++) {
		struct child *child = &master->children[i];
		if (child->state != CHILD_WAITING && master->stopping)
			kill(child->pid, SIGKILL);
		else if (child->state == CHILD_RUNNING)
			stop_child(master, child);
	}
	master->stopping = true;
}

/*
 * Here and not in each process, which would read them anew after a crash, too: what holds is what
 * was read last and was sound as a whole. False: it was not.
 */
static bool read_tokens(struct master *master)
{
	struct tr_error error;
	char quoted[LOG_QUOTED_SIZE];
	if (master->options->token_file == NULL)
		return true;
	struct tokens *tokens = tokens_read(master->options->token_file, &error);
	if (tokens == NULL) {
		log_event(LOG_ERR, "tokens-refused", "reason=%s kept=%s", log_quote(error.text, quoted),
		    master->tokens != NULL ? "those before" : "none");
		return false;
	}
	tokens_free(&master->tokens);
	master->tokens = tokens;
	return true;
}

static void handle_signal(struct master *master, int signal_number)
{
	if (signal_number == SIGHUP) {
		read_tokens(master);
		log_event(LOG_NOTICE, "replacing", "processes=%u", master->options->processes);
		for (unsigned i = 0; i < master->options->processes; i++)
			master->children[i].replace = master->children[i].state == CHILD_RUNNING;
	} else if (signal_number == SIGUSR2) {
		for (unsigned i = 0; i < master->options->processes; i++)
			if (master->children[i].state == CHILD_RUNNING)
				kill(master->children[i].pid, SIGUSR2);
	} else if (signal_number != SIGCHLD) {
		begin_stop(master, signal_number);
	}
	reap(master);
}

/* One at a time: the next goes when the one before is there again. */
static void replace_next(struct master *master)
{
	struct child *next = NULL;
	for (unsigned i = 0; i < master->options->processes; i++) {
		if (master->children[i].state != CHILD_RUNNING)
			return;
		if (master->children[i].replace && next == NULL)
			next = &master->children[i];
	}
	if (next != NULL)
		stop_child(master, next);
}

static void do_what_is_due(struct master *master)
{
	int64_t now_ns = monotonic_ns();
	for (unsigned i = 0; i < master->options->processes; i++) {
		struct child *child = &master->children[i];
		if (child->state == CHILD_WAITING && !master->stopping && child->at_ns <= now_ns)
			start_child(master, child);
		if (child->state == CHILD_STOPPING && child->at_ns <= now_ns) {
			kill(child->pid, SIGKILL);
			child->at_ns = now_ns + SECOND_NS;
		}
	}
}

/* The next moment at which something is due; INT64_MAX: none. */
static int64_t tick(struct master *master)
{
	int64_t next_ns = INT64_MAX;
	do_what_is_due(master);
	if (!master->stopping)
		replace_next(master);
	for (unsigned i = 0; i < master->options->processes; i++)
		if (master->children[i].state != CHILD_RUNNING && master->children[i].at_ns < next_ns)
			next_ns = master->children[i].at_ns;
	return next_ns;
}

static bool is_done(const struct master *master)
{
	if (!master->stopping)
		return false;
	for (unsigned i = 0; i < master->options->processes; i++)
		if (master->children[i].state != CHILD_WAITING)
			return false;
	return true;
}

static void wait_for_signal(struct master *master, int64_t until_ns)
{
	int64_t wait_ns = until_ns - monotonic_ns();
	if (wait_ns < 0)
		wait_ns = 0;
	struct timespec timeout = { .tv_sec = wait_ns / SECOND_NS, .tv_nsec = wait_ns % SECOND_NS };
	int received = until_ns == INT64_MAX ? sigwaitinfo(&master->signals, NULL) :
					       sigtimedwait(&master->signals, NULL, &timeout);
	if (received > 0)
		handle_signal(master, received);
}

/* No master: somebody else, as spawn-fcgi or mod_fcgid, starts as many processes as it wants. */
static int serve_alone(const struct master *master)
{
	const struct options *options = master->options;
	log_event(LOG_NOTICE, "started", "processes=0 threads=%u instance=%s", options->threads, options->instance);
	int status = process_run(options, master->tokens, master->listen_fd);
	log_event(LOG_NOTICE, "stopped", "processes=0");
	return status;
}

static int serve_by_children(struct master *master)
{
	const struct options *options = master->options;
	master->children = calloc(options->processes, sizeof(*master->children));
	if (master->children == NULL) {
		log_event(LOG_ERR, "start-failed", "errno=%d", errno);
		return 1;
	}
	log_event(LOG_NOTICE, "started", "processes=%u threads=%u instance=%s", options->processes, options->threads,
	    options->instance);
	while (!is_done(master))
		wait_for_signal(master, tick(master));
	free(master->children);
	log_event(LOG_NOTICE, "stopped", "processes=%u", options->processes);
	return 0;
}

int master_run(const struct options *options)
{
	struct master master = { .options = options };
	sigemptyset(&master.signals);
	const int wanted[] = { SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD };
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&master.signals, wanted[i]);
	sigprocmask(SIG_BLOCK, &master.signals, NULL);

	int status = 2;
	if (read_tokens(&master)) {
		status = 1;
		master.listen_fd = listen_open(options->socket, options->open.mode);
		if (master.listen_fd >= 0) {
			status = options->processes == 0 ? serve_alone(&master) : serve_by_children(&master);
			listen_close(master.listen_fd, options->socket);
		}
	}
	tokens_free(&master.tokens);
	return status;
}
