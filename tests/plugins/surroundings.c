/* A handler for tests that says what a worker finds around it. */
#include <jansson.h>
#include <stdlib.h>

#include "taskring/handler.h"

/* [name, ...]: the result is what these variables of the environment are, null for those not there. */
static enum tr_outcome environment(struct tr_task *task)
{
	json_t *names = json_loads(tr_task_args(task), 0, NULL);
	json_t *values = json_object();
	size_t i;
	json_t *name;
	json_array_foreach(names, i, name) {
		const char *value = getenv(json_string_value(name));
		json_object_set_new(values, json_string_value(name), value != NULL ? json_string(value) : json_null());
	}
	char *text = json_dumps(values, JSON_COMPACT | JSON_SORT_KEYS);
	tr_result_json(task, text);
	free(text);
	json_decref(values);
	json_decref(names);
	return TR_SUCCESS;
}

static const struct tr_handler handlers[] = {
	{ .name = "environment", .doc = "the variables of the environment that its arguments name", .run = environment },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI, .handlers = handlers, .handler_count = sizeof handlers / sizeof handlers[0],
};
