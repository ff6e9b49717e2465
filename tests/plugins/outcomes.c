/* Handlers for tests: each ends in one way, and says what its name says. */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "taskring/handler.h"

/* An integer field of the arguments, or `otherwise`. */
static long long number_arg(const struct tr_task *task, const char *field, long long otherwise)
{
	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	const json_t *value = json_object_get(args, field);
	long long number = json_is_integer(value) ? json_integer_value(value) : otherwise;

	json_decref(args);
	return number;
}

/* A string field of the arguments; freed by the caller; NULL: none. */
static char *text_arg(const struct tr_task *task, const char *field)
{
	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	const char *value = json_string_value(json_object_get(args, field));
	char *copy = value ? strdup(value) : NULL;

	json_decref(args);
	return copy;
}

static void sleep_ms(long long ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0)
		continue;
}

static enum tr_outcome noop(struct tr_task *task)
{
	(void)task;
	return TR_SUCCESS;
}

static enum tr_outcome succeed(struct tr_task *task)
{
	tr_progress(task, 1, 1, "done");
	tr_log(task, TR_INFO, "attempt %u of %u in queue %s", tr_task_attempt(task), tr_task_max_attempts(task),
	    tr_task_queue(task));
	tr_result_json(task, "{\"ok\":true}");
	return TR_SUCCESS;
}

/* {"times": n}: fails n times, then succeeds. */
static enum tr_outcome fail_times(struct tr_task *task)
{
	long long times = number_arg(task, "times", 1);

	if (tr_task_attempt(task) <= times)
		return tr_fail(task, "failure %u of %lld", tr_task_attempt(task), times);
	return TR_SUCCESS;
}

static enum tr_outcome fail_permanently(struct tr_task *task)
{
	return tr_fail_permanently(task, "there is no such address");
}

static enum tr_outcome fail_silently(struct tr_task *task)
{
	(void)task;
	return TR_FAILURE;
}

static enum tr_outcome no_outcome(struct tr_task *task)
{
	(void)task;
	return (enum tr_outcome)77;
}

/* {"ms": n}: runs again after so long, each time. */
static enum tr_outcome snooze(struct tr_task *task)
{
	return tr_snooze(task, (uint64_t)number_arg(task, "ms", 100));
}

/* {"lines": n, "dots": n}: so many log lines, with up to 100 dots behind each. */
static enum tr_outcome log_lines(struct tr_task *task)
{
	long long lines = number_arg(task, "lines", 3), dots = number_arg(task, "dots", 0);
	char text[101];

	memset(text, '.', sizeof text - 1);
	text[dots < 0 || dots > 100 ? 0 : dots] = '\0';
	for (long long i = 1; i <= lines; i++)
		tr_log(task, TR_INFO, "line %lld%s", i, text);
	return TR_SUCCESS;
}

/* {"steps": n, "ms": n}: steps of progress, with a pause after each. */
static enum tr_outcome progress(struct tr_task *task)
{
	long long steps = number_arg(task, "steps", 10), ms = number_arg(task, "ms", 0);
	char text[32];

	for (long long i = 1; i <= steps; i++) {
		snprintf(text, sizeof text, "step %lld", i);
		tr_progress(task, (uint64_t)i, (uint64_t)steps, text);
		if (ms)
			sleep_ms(ms);
	}
	return TR_SUCCESS;
}

/* The result is the arguments. */
static enum tr_outcome result(struct tr_task *task)
{
	if (!tr_result_json(task, tr_task_args(task)))
		return tr_fail_permanently(task, "the result was refused");
	return TR_SUCCESS;
}

static enum tr_outcome bad_result(struct tr_task *task)
{
	return tr_result_json(task, "{nothing}") ? tr_fail(task, "it was taken") : TR_SUCCESS;
}

/* {"bytes": n}: a result of so many bytes. */
static enum tr_outcome big_result(struct tr_task *task)
{
	size_t bytes = (size_t)number_arg(task, "bytes", TR_RESULT_MAX);
	char *json = malloc(bytes + 1);

	if (!json || bytes < 2)
		abort();
	memset(json, 'x', bytes);
	json[0] = json[bytes - 1] = '"';
	json[bytes] = '\0';
	bool taken = tr_result_json(task, json);
	free(json);
	return taken ? TR_SUCCESS : tr_fail_permanently(task, "a result of %zu bytes was refused", bytes);
}

/* {"ms": n}: works so long, and stops when it is told to, saying why. */
static enum tr_outcome sleeper(struct tr_task *task)
{
	static const char *const reasons[] = {
		[TR_OUT_OF_TIME] = "out of time", [TR_CANCELLED_NOW] = "cancelled", [TR_SHUTTING_DOWN] = "shutting down",
	};
	long long ms = number_arg(task, "ms", 1000);

	for (long long slept = 0; slept < ms; slept++) {
		enum tr_stop stop = tr_should_stop(task);
		if (stop == TR_CANCELLED_NOW)
			return tr_fail_permanently(task, "%s", reasons[stop]);
		if (stop != TR_GO_ON)
			return tr_fail(task, "%s", reasons[stop]);
		sleep_ms(1);
	}
	return TR_SUCCESS;
}

/* {"file": path, "ms": n}: one line with the task's id is appended, then it sleeps. */
static enum tr_outcome append_id(struct tr_task *task)
{
	char *path = text_arg(task, "file");
	char line[TR_ID_TEXT_SIZE + 1];
	int bytes = snprintf(line, sizeof line, "%s\n", tr_task_id(task));
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
	bool well = fd >= 0 && write(fd, line, (size_t)bytes) == bytes;

	if (fd >= 0)
		close(fd);
	free(path);
	long long ms = number_arg(task, "ms", 0);
	if (ms)
		sleep_ms(ms);
	return well ? TR_SUCCESS : tr_fail(task, "the file cannot be written");
}

/* {"handler": name, "args": any}: runs another handler; its outcome is ours. */
static enum tr_outcome call_other(struct tr_task *task)
{
	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	const char *name = json_string_value(json_object_get(args, "handler"));
	char *inner = json_dumps(json_object_get(args, "args"), JSON_ENCODE_ANY);
	enum tr_outcome outcome = tr_call(task, name, inner);

	tr_log(task, TR_DEBUG, "back in %s", tr_task_handler(task));
	free(inner);
	json_decref(args);
	return outcome;
}

static enum tr_outcome call_itself(struct tr_task *task)
{
	return tr_call(task, "call_itself", NULL);
}

/* What the handler sees of its task, as its failure's message. */
static enum tr_outcome describe(struct tr_task *task)
{
	return tr_fail(task, "id=%s handler=%s queue=%s trace=%s args=%.40s bytes=%zu attempt=%u/%u", tr_task_id(task),
	    tr_task_handler(task), tr_task_queue(task), tr_task_trace(task), tr_task_args(task),
	    tr_task_args_bytes(task), tr_task_attempt(task), tr_task_max_attempts(task));
}

static enum tr_outcome dirty_text(struct tr_task *task)
{
	return tr_fail(task, "tab\there, escape \033[31m, half \xc3, whole \xc3\xa4\n\n");
}

static const char *const secrets[] = { "password", "token", NULL };

static const struct tr_handler handlers[] = {
	{ "keep_secret", "does nothing; its arguments password and token are secret", noop, NULL, NULL, secrets },
	{ "noop", "does nothing", noop, NULL, NULL, NULL },
	{ "succeed", "progress, a log line, a result", succeed, NULL, NULL, NULL },
	{ "fail_times", "fails {\"times\": n} times", fail_times, NULL, NULL, NULL },
	{ "fail_permanently", "fails for good", fail_permanently, NULL, NULL, NULL },
	{ "fail_silently", "fails without a message", fail_silently, NULL, NULL, NULL },
	{ "no_outcome", "returns what is no outcome", no_outcome, NULL, NULL, NULL },
	{ "snooze", "snoozes {\"ms\": n}", snooze, NULL, NULL, NULL },
	{ "log_lines", "writes {\"lines\": n} log lines, with {\"dots\": up to 100}", log_lines, NULL, NULL, NULL },
	{ "progress", "{\"steps\": n, \"ms\": n}", progress, NULL, NULL, NULL },
	{ "result", "its arguments are its result", result, NULL, NULL, NULL },
	{ "bad_result", "tries a result that is not JSON", bad_result, NULL, NULL, NULL },
	{ "big_result", "a result of {\"bytes\": n}", big_result, NULL, NULL, NULL },
	{ "sleep", "sleeps {\"ms\": n}, unless told to stop", sleeper, NULL, NULL, NULL },
	{ "append_id", "appends its id to {\"file\": path}, then sleeps {\"ms\": n}", append_id, NULL, NULL, NULL },
	{ "call_other", "calls {\"handler\": name, \"args\": any}", call_other, NULL, NULL, NULL },
	{ "call_itself", "calls itself for ever", call_itself, NULL, NULL, NULL },
	{ "describe", "fails with what it sees of its task", describe, NULL, NULL, NULL },
	{ "dirty_text", "fails with a message that needs cleaning", dirty_text, NULL, NULL, NULL },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
};
