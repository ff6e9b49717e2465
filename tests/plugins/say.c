/*
 * A handler for tests of what shows tasks: it says what its arguments tell it to say, as a task of hostile
 * origin may. {"logs": [TEXT...], "progress": TEXT, "result": any, "hold": FILE, "times": N,
 * "error": TEXT}: with `hold` it stays half done until that file is there; its first N attempts fail; with `error` it
 * fails for good.
 */
#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "taskring/handler.h"

static enum tr_outcome wait_for(struct tr_task *task, const char *file)
{
	const struct timespec pause_time = { .tv_nsec = 5000000 };

	while (access(file, F_OK) != 0) {
		if (tr_should_stop(task) != TR_GO_ON)
			return tr_fail_permanently(task, "told to stop");
		nanosleep(&pause_time, NULL);
	}
	return TR_SUCCESS;
}

static enum tr_outcome say_all(struct tr_task *task, const json_t *args)
{
	const char *progress = json_string_value(json_object_get(args, "progress"));
	const char *hold = json_string_value(json_object_get(args, "hold"));
	const char *error = json_string_value(json_object_get(args, "error"));
	const json_t *line, *result = json_object_get(args, "result");
	size_t i;
	enum tr_outcome outcome;

	json_array_foreach(json_object_get(args, "logs"), i, line)
		tr_log(task, i % 2 == 0 ? TR_INFO : TR_WARNING, "%s", json_string_value(line));
	if (progress != NULL)
		tr_progress(task, 1, 2, progress);
	if (hold != NULL && (outcome = wait_for(task, hold)) != TR_SUCCESS)
		return outcome;
	if (result != NULL) {
		char *text = json_dumps(result, JSON_ENCODE_ANY);
		(void)tr_result_json(task, text);
		free(text);
	}
	if (tr_task_attempt(task) <= json_integer_value(json_object_get(args, "times")))
		return tr_fail(task, "not at the first attempt");
	return error != NULL ? tr_fail_permanently(task, "%s", error) : TR_SUCCESS;
}

static enum tr_outcome say(struct tr_task *task)
{
	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	if (args == NULL)
		return tr_fail_permanently(task, "the arguments cannot be read");
	enum tr_outcome outcome = say_all(task, args);
	json_decref(args);
	return outcome;
}

static const struct tr_handler handlers[] = {
	{ .name = "say", .doc = "Says what its arguments tell it to", .run = say },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
};
