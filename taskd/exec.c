/*
 * The handler "exec". In: arguments {"program": NAME, "input": any JSON}; out: a program of the
 * configuration that runs with its input and environment, or a failure. Called by the worker; what
 * happens then is exec_run.c's. Nothing that a task says becomes a path, an argument or an
 * environment's name: it chooses among the programs, and is data on standard input.
 */
#include "taskd/exec.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/trace.h"
#include "taskd/exec_run.h"
#include "taskd/task.h"

/* What a program has when the configuration does not say otherwise. */
static const char *const plain_environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8" };
#define PLAIN (sizeof plain_environment / sizeof *plain_environment)
#define ABOUT_TASK 5

static const struct config *config; /* the worker's; read-only, so any thread may look */

void exec_configure(const struct config *of_worker)
{
	config = of_worker;
}

/* ---- the arguments ----------------------------------------------------------------------- */

static const struct config_program *find_program(const char *name)
{
	for (size_t i = 0; i < config->program_count; i++)
		if (strcmp(config->programs[i].name, name) == 0)
			return &config->programs[i];
	return NULL;
}

/* The input as one line, or nothing when there is none. False: out of memory. */
static bool make_input(struct exec_plan *plan, const json_t *input)
{
	if (input == NULL)
		return true;
	char *text = json_dumps(input, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text == NULL)
		return false;
	int bytes = asprintf(&plan->input, "%s\n", text);
	free(text);
	if (bytes < 0) {
		plan->input = NULL;
		return false;
	}
	plan->input_bytes = (size_t)bytes;
	return true;
}

/* TR_SUCCESS: program and input stand in the plan. */
static enum tr_outcome read_arguments(struct tr_task *task, const json_t *arguments, struct exec_plan *plan)
{
	const json_t *value;
	const char *key, *name = json_string_value(json_object_get(arguments, "program"));

	if (!json_is_object(arguments))
		return tr_fail_permanently(task, "exec: the arguments are not an object");
	/* jansson's own loop wants to write. */
	json_object_foreach((json_t *)arguments, key, value)
		if (strcmp(key, "program") != 0 && strcmp(key, "input") != 0)
			return tr_fail_permanently(task, "exec: there is no argument \"%s\", only \"program\" and \"input\"", key);
	if (name == NULL)
		return tr_fail_permanently(task, "exec: \"program\" must be a string");
	plan->program = find_program(name);
	if (plan->program == NULL) /* worth another try: its section may be on the way */
		return tr_fail(task, "exec: the configuration has no program \"%s\"", name);
	return make_input(plan, json_object_get(arguments, "input")) ? TR_SUCCESS : tr_fail(task, "exec: out of memory");
}

/* ---- the environment --------------------------------------------------------------------- */

/* True when `variable` stands for the same name as one of the list. */
static bool is_given(const struct config_texts *list, const char *variable)
{
	size_t bytes = (size_t)(strchr(variable, '=') + 1 - variable);

	for (size_t i = 0; i < list->count; i++)
		if (strncmp(list->texts[i], variable, bytes) == 0)
			return true;
	return false;
}

/* NULL: out of memory. */
static char *variable(const char *name, const char *value)
{
	char *text;

	return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

/* As many as there are; false: out of memory. */
static bool describe_task(struct tr_task *task, char *texts[ABOUT_TASK])
{
	const char *file = tr_task_file(task);
	struct trace trace;
	char attempt[16];
	size_t count = 0;

	trace_split(&trace, tr_task_trace(task));
	snprintf(attempt, sizeof attempt, "%u", tr_task_attempt(task));
	texts[count++] = variable("TASKRING_TASK_ID", tr_task_id(task));
	texts[count++] = variable("TASKRING_ATTEMPT", attempt);
	if (trace.traceparent[0] != '\0')
		texts[count++] = variable("TASKRING_TRACE", trace.traceparent);
	if (trace.request_id[0] != '\0')
		texts[count++] = variable("TASKRING_REQUEST_ID", trace.request_id);
	if (file != NULL)
		texts[count++] = variable("TASKRING_FILE", file);
	for (size_t i = 0; i < count; i++)
		if (texts[i] == NULL)
			return false;
	return true;
}

/* ---- a task ------------------------------------------------------------------------------ */

static enum tr_outcome start(struct tr_task *task, struct exec_plan *plan)
{
	const struct config_texts *given = &plan->program->environment;
	char *about[ABOUT_TASK] = { NULL };
	char **all = calloc(PLAIN + given->count + ABOUT_TASK + 1, sizeof *all);
	enum tr_outcome outcome;
	size_t count = 0;

	if (all != NULL && describe_task(task, about)) {
		for (size_t i = 0; i < PLAIN; i++)
			if (!is_given(given, plain_environment[i]))
				all[count++] = (char *)plain_environment[i]; /* execve(2)'s type */
		for (size_t i = 0; i < given->count; i++)
			all[count++] = given->texts[i];
		for (size_t i = 0; i < ABOUT_TASK && about[i] != NULL; i++)
			all[count++] = about[i];
		plan->environment = all;
		outcome = exec_run_start(task, plan);
	} else {
		outcome = tr_fail(task, "exec: out of memory");
	}
	for (size_t i = 0; i < ABOUT_TASK; i++)
		free(about[i]);
	free(all);
	return outcome;
}

static enum tr_outcome run(struct tr_task *task)
{
	assert(config != NULL);
	json_error_t error;
	json_t *arguments = json_loadb(tr_task_args(task), tr_task_args_bytes(task), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
	    &error);
	if (arguments == NULL)
		return tr_fail_permanently(task, "exec: the arguments cannot be read: %s", error.text);
	uint32_t hard_timeout_ms = task->record.hard_timeout_ms;
	struct exec_plan plan = {
		.keeper = config->exec_keeper,
		.hard_timeout_ms = hard_timeout_ms != 0 ? hard_timeout_ms : config->hard_timeout_ms,
		.drain_timeout_ms = config->drain_timeout_ms,
	};
	enum tr_outcome outcome = read_arguments(task, arguments, &plan);
	json_decref(arguments);
	if (outcome == TR_SUCCESS)
		outcome = start(task, &plan);
	free(plan.input);
	return outcome;
}

const struct tr_handler exec_handler = {
	.name = "exec",
	.doc = "Runs a program of the configuration: program, input",
	.run = run,
};
