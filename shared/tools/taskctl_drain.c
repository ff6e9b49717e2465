/*
 * taskctl drain: taskd starts nothing new, finishes what runs, and stops. Enters: the board, which names the
 * dispatcher. Leaves: SIGTERM at its parent, the supervisor, and an answer when that has ended. Both are held by
 * process descriptors before they are asked who they are, so that no other process that gets the number
 * later is meant.
 */
#include "shared/tools/taskctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared/board.h"

#define TIMEOUT_MS 60000
#define STATUS_SIZE 256

/* What /proc/PID/stat says: the name and the parent. */
static bool read_process(pid_t pid, char name[32], pid_t *parent)
{
	char path[64], text[STATUS_SIZE];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	size_t bytes = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[bytes] = '\0';
	const char *begin = strchr(text, '('), *end = strrchr(text, ')');
	if (begin == NULL || end == NULL || end - begin > 31 || strlen(end) < 5)
		return false;
	snprintf(name, 32, "%.*s", (int)(end - begin - 1), begin + 1);
	*parent = (pid_t)strtol(end + 4, NULL, 10); /* ") S 123" */
	return *parent > 0;
}

/* A descriptor of the process, which has that name, and whose parent is *parent afterwards. -1: no such one. */
static int hold(pid_t pid, const char *name, pid_t *parent)
{
	char found[32];
	int process = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (process >= 0 && (!read_process(pid, found, parent) || strcmp(found, name) != 0)) {
		close(process);
		return -1;
	}
	return process;
}

/* The supervisor. -1: said why not; *status. *draining: it has been asked already; a second time would stop it at once. */
static int hold_supervisor(const struct request *request, bool *draining, int *status)
{
	const struct board *board;
	struct tr_error error;
	pid_t supervisor = 0, ignored;

	enum tr_result result = board_open(&board, request->instance, &error);
	if (result != TR_OK) {
		*status = say_result(request->instance, result, error.text);
		return -1;
	}
	bool held = board_is_held(request->instance);
	int dispatcher = held ? hold(atomic_load(&board->pid), "taskd-dispatch", &supervisor) : -1;
	*draining = atomic_load(&board->running_state) == BOARD_DRAINING;
	board_close(&board);
	int process = dispatcher >= 0 ? hold(supervisor, "taskd", &ignored) : -1;
	if (dispatcher >= 0)
		close(dispatcher);
	if (process >= 0)
		return process;
	say(held ? "taskd's processes are not to be found here" : "taskd does not run");
	*status = EXIT_NOT_POSSIBLE;
	return -1;
}

static int wait_for_end(int process, int64_t timeout_ms)
{
	struct pollfd ended = { .fd = process, .events = POLLIN };
	int64_t until_ms = now_ms() + timeout_ms;

	for (;;) {
		int64_t left_ms = until_ms - now_ms();
		int count = poll(&ended, 1, left_ms > 0 ? (int)(left_ms < 60000 ? left_ms : 60000) : 0);
		if (count > 0)
			return EXIT_DONE;
		if (count < 0 && errno != EINTR) {
			say("waiting for taskd: %s", strerror(errno));
			return EXIT_FAILED;
		}
		if (left_ms <= 0) {
			say("taskd is still draining; it goes on with that");
			return EXIT_TIMED_OUT;
		}
	}
}

static int drain(struct request *request)
{
	int status = request_open(request, false);
	bool draining;

	if (status != EXIT_DONE)
		return status;
	int process = hold_supervisor(request, &draining, &status);
	if (process < 0)
		return status;
	if (!draining && syscall(SYS_pidfd_send_signal, process, SIGTERM, NULL, 0) != 0) {
		say("asking taskd: %s", strerror(errno));
		status = EXIT_FAILED;
	} else {
		status = wait_for_end(process, request->timeout_ms >= 0 ? request->timeout_ms : TIMEOUT_MS);
	}
	close(process);
	if (status == EXIT_DONE && request->json)
		print_json(json_pack("{s:b}", "stopped", 1));
	else if (status == EXIT_DONE)
		puts("taskd has stopped");
	return status;
}

const struct command command_drain = {
	.name = "drain", .operands = "", .summary = "Stops taskd when what runs has ended; waits for that",
	.options = TAKES_TIMEOUT, .run = drain,
};
