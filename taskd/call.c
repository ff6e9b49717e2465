/*
 * Calling handlers. In: a handler, by its table's row or by name; out: its outcome. The resources
 * that it names are opened or checked first; a task that calls a handler in a handler holds each
 * resource once. See call.h for who calls.
 */
#include "taskd/call.h"

#include <stdlib.h>
#include <string.h>

#include "shared/resource.h"
#include "taskd/arguments.h"

/* ---- resources --------------------------------------------------------------------------- */

static struct task_hold *find_hold(const struct tr_task *task, const struct tr_resource *resource)
{
	for (size_t i = 0; i < task->hold_count; i++)
		if (task->holds[i].resource == resource)
			return &task->holds[i];
	return NULL;
}

static bool make_room(struct tr_task *task)
{
	if (task->hold_count < task->hold_room)
		return true;
	size_t room = task->hold_room ? 2 * task->hold_room : 4;
	struct task_hold *holds = realloc(task->holds, room * sizeof *holds);
	if (!holds)
		return false;
	task->holds = holds;
	task->hold_room = room;
	return true;
}

/* False: the task has failed, with a message that names the resource. */
static bool hold(struct tr_task *task, const char *name)
{
	const struct tr_resource *resource = plugin_resource(task->thread->plugins, name, strlen(name));
	struct tr_error error = { "out of memory" };

	/* plugin_load() has seen to it that there is one of that name. */
	if (find_hold(task, resource))
		return true;
	void *handle = make_room(task) ? resource_use(task->thread->resources, resource, &error) : NULL;
	if (!handle) {
		tr_fail(task, "resource \"%s\": %s", name, error.text);
		return false;
	}
	task->holds[task->hold_count++] = (struct task_hold){ .resource = resource, .handle = handle };
	return true;
}

void call_release(struct tr_task *task)
{
	while (task->hold_count > 0) {
		const struct task_hold *last = &task->holds[--task->hold_count];
		resource_release(task->thread->resources, last->resource, last->handle);
	}
}

void *tr_resource(struct tr_task *task, const char *name)
{
	const char *const *named = task->running ? task->running->resources : NULL;

	while (named && *named && strcmp(*named, name) != 0)
		named++;
	if (!named || !*named)
		return NULL;
	const struct task_hold *held =
	    find_hold(task, plugin_resource(task->thread->plugins, name, strlen(name)));
	return held ? held->handle : NULL;
}

/* ---- run() ------------------------------------------------------------------------------- */

enum tr_outcome call_handler(struct tr_task *task, const struct tr_handler *handler)
{
	const struct tr_handler *caller = task->running;

	for (const char *const *name = handler->resources; name && *name; name++)
		if (!hold(task, *name))
			return TR_FAILURE;
	task->running = handler;
	task->finished_early = false;
	task->depth++;
	enum tr_outcome outcome = handler->run(task);
	task->depth--;
	if (outcome == TR_PENDING && task->finished_early)
		outcome = tr_fail_permanently(task, "%s called tr_finish() inside run()", task->handler);
	if (outcome != TR_PENDING)
		task->running = caller; /* else the task is the called handler's */
	return outcome;
}

/* The called handler, and its arguments kept; NULL: the task has failed permanently. */
static const struct tr_handler *prepare_call(struct tr_task *task, const char *name, const char **args)
{
	const struct tr_handler *called =
	    name ? plugin_handler(task->thread->plugins, name, strlen(name)) : NULL;
	struct tr_error error;

	*args = *args ? *args : "{}";
	if (task->depth > TASK_CALLS_MAX)
		tr_fail_permanently(task, "tr_call: more than %d calls in each other", TASK_CALLS_MAX);
	else if (task->called_pends && task->depth > 0)
		tr_fail_permanently(task, "tr_call: the handler called before is pending");
	else if (!called)
		tr_fail_permanently(task, "tr_call: no handler named \"%s\"", name ? name : "");
	else if (!arguments_are_json(*args, strlen(*args), &error))
		tr_fail_permanently(task, "tr_call: the arguments for \"%s\" are %s", name, error.text);
	else if (!(*args = task_keep(task, *args, strlen(*args))))
		tr_fail_permanently(task, "tr_call: out of memory");
	else
		return called;
	return NULL;
}

enum tr_outcome tr_call(struct tr_task *task, const char *handler, const char *args)
{
	const char *outer_handler = task->handler, *outer_args = task->args;
	size_t outer_bytes = task->args_bytes;
	bool outer_kept = task->args_kept;
	const struct task_text *outer_texts = task->texts;
	const struct tr_handler *called = prepare_call(task, handler, &args);

	if (!called)
		return TR_PERMANENT_FAILURE;
	task->handler = called->name;
	task->args = args;
	task->args_bytes = strlen(args);
	task->args_kept = true;
	enum tr_outcome outcome = call_handler(task, called);
	if (outcome == TR_PENDING) {
		task->called_pends = true;
		return outcome;
	}
	task->handler = outer_handler;
	task->args = outer_args;
	task->args_bytes = outer_bytes;
	task->args_kept = outer_kept;
	task_drop(task, outer_texts);
	return outcome;
}
