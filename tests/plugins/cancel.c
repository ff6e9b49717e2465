/*
 * Handlers for tests of cancelling: each says that it was begun by a line in a file, and then ends in
 * its own way or not at all. {"file": path}
 */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "taskring/handler.h"

/* One line with the task's id, appended. */
static bool mark(const struct tr_task *task)
{
	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	const char *path = json_string_value(json_object_get(args, "file"));
	char line[TR_ID_TEXT_SIZE + 1];
	int bytes = snprintf(line, sizeof line, "%s\n", tr_task_id(task));
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
	bool well = fd >= 0 && write(fd, line, (size_t)bytes) == bytes;

	if (fd >= 0)
		close(fd);
	json_decref(args);
	return well;
}

static enum tr_outcome hang_for_ever(void)
{
	while (pause() < 0)
		continue;
	return TR_SUCCESS;
}

/* Ends when it is told to. */
static enum tr_outcome listen_and_end(struct tr_task *task)
{
	const struct timespec pause_time = { .tv_nsec = 1000000 };

	if (!mark(task))
		return tr_fail_permanently(task, "the file cannot be written");
	while (tr_should_stop(task) == TR_GO_ON)
		nanosleep(&pause_time, NULL);
	return tr_fail(task, "told to");
}

/* Hears nothing; SIGTERM ends its process. */
static enum tr_outcome deaf(struct tr_task *task)
{
	return mark(task) ? hang_for_ever() : tr_fail_permanently(task, "the file cannot be written");
}

static void do_nothing(int number)
{
	(void)number;
}

/* SIGTERM does not end its process either. */
static enum tr_outcome stubborn(struct tr_task *task)
{
	const struct sigaction caught = { .sa_handler = do_nothing };

	sigaction(SIGTERM, &caught, NULL);
	return deaf(task);
}

static void leave(int number)
{
	(void)number;
	_exit(5);
}

/* Its process leaves in its own way at SIGTERM. */
static enum tr_outcome tidy(struct tr_task *task)
{
	const struct sigaction caught = { .sa_handler = leave };

	sigaction(SIGTERM, &caught, NULL);
	return deaf(task);
}

static const struct tr_handler handlers[] = {
	{ "listen_and_end", "ends when it is told to", listen_and_end, NULL, NULL, NULL },
	{ "deaf", "never ends, whatever it is told", deaf, NULL, NULL, NULL },
	{ "stubborn", "the same, and its process not at SIGTERM", stubborn, NULL, NULL, NULL },
	{ "tidy", "the same, and its process leaves with status 5 at SIGTERM", tidy, NULL, NULL, NULL },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
};
