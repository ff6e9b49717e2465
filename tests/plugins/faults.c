/* Handlers for tests that do what no handler should. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "taskring/handler.h"

static enum tr_outcome crash(struct tr_task *task)
{
	(void)task;
	/* Not through a null pointer: a sanitizer would turn that into an exit. */
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV); /* of this thread: it does not come back */
	return TR_SUCCESS;
}

static enum tr_outcome leave_process(struct tr_task *task)
{
	(void)task;
	exit(3);
}

static enum tr_outcome leave_thread(struct tr_task *task)
{
	(void)task;
	pthread_exit(NULL);
}

static enum tr_outcome die_by_abort(struct tr_task *task)
{
	(void)task;
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* Until somebody stops it. */
static enum tr_outcome hang(struct tr_task *task)
{
	const struct timespec pause_time = { .tv_nsec = 1000000 };
	enum tr_stop stop;

	while ((stop = tr_should_stop(task)) == TR_GO_ON)
		nanosleep(&pause_time, NULL);
	return tr_fail(task, stop == TR_OUT_OF_TIME ? "out of time" : "stopped");
}

/* Whatever anybody says. */
static enum tr_outcome hang_deaf(struct tr_task *task)
{
	(void)task;
	while (pause() < 0)
		continue;
	return TR_SUCCESS;
}

/* 16 MiB each time, written, so that they are resident; in a chain that nobody frees. */
static enum tr_outcome leak(struct tr_task *task)
{
	static void *last;
	size_t bytes = 16u << 20;
	void *memory = malloc(bytes);

	if (!memory)
		return tr_fail(task, "out of memory");
	memset(memory, 1, bytes);
	memcpy(memory, &last, sizeof last);
	last = memory;
	return TR_SUCCESS;
}

/* The child forgets to leave, and says things that are not its own to say. */
static enum tr_outcome fork_and_return(struct tr_task *task)
{
	pid_t child = fork();
	int status = 0;

	if (child < 0)
		return tr_fail(task, "fork failed");
	tr_log(task, TR_INFO, "after fork");
	if (child == 0)
		return TR_SUCCESS;
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_FAILURE)
		return tr_fail(task, "the child ended with status %d", status);
	return TR_SUCCESS;
}

static const struct tr_handler handlers[] = {
	{ "crash", "dies of SIGSEGV", crash, NULL, NULL, NULL },
	{ "exit", "calls exit(3)", leave_process, NULL, NULL, NULL },
	{ "exit_thread", "calls pthread_exit()", leave_thread, NULL, NULL, NULL },
	{ "abort", "calls abort()", die_by_abort, NULL, NULL, NULL },
	{ "hang", "never ends, unless told to", hang, NULL, NULL, NULL },
	{ "hang_deaf", "never ends, whatever it is told", hang_deaf, NULL, NULL, NULL },
	{ "leak", "leaks 16 MiB", leak, NULL, NULL, NULL },
	{ "fork_and_return", "returns twice", fork_and_return, NULL, NULL, NULL },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
};
