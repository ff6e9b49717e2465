/*
 * POST /tasks/{id}/retry: without a body the dead task is queued again, as it is. With one, a task like it is
 * added, with other arguments or options, and the dead one is discarded.
 */
#include <stdio.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/task_filter.h"
#include "app/task_json.h"
#include "app/task_options.h"

#define HIDDEN "***" /* what is shown in place of a secret */

const struct schema retry_schema = {
	.types = SCHEMA_OBJECT,
	.title = "EditedTask",
	.description = "What is to be other than it was. The times of the dead task do not count any more.",
	.example = "{\"args\": {\"email\": \"ada@example.org\", \"password\": \"***\"}}",
	.fields = (const struct schema_field[]){
		{ "args", OPTIONAL, { .description = "In place of the task's. A member that reads \"***\" stays what it was" } },
		TASK_OPTION_FIELDS,
		{ 0 },
	},
};

const struct schema retried_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Retried",
	.fields = (const struct schema_field[]){
		{ "id", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_UUID } },
		{ "state", REQUIRED, { .types = SCHEMA_STRING, .choices = task_states, .description = "As it was when taskd was asked" } },
		{ "href", REQUIRED, { .types = SCHEMA_STRING } },
		{ "new", OPTIONAL, { .types = SCHEMA_OBJECT, .description = "The task that was added in its place",
			.fields = (const struct schema_field[]){
				{ "id", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_UUID } },
				{ "href", REQUIRED, { .types = SCHEMA_STRING } },
				{ 0 },
			} } },
		{ 0 },
	},
};

static bool is_hidden(const json_t *value)
{
	return json_is_string(value) && strcmp(json_string_value(value), HIDDEN) == 0;
}

/* Puts back, at any depth, what reads as if it were hidden. False: out of memory. */
static bool restore(json_t *edited, const json_t *before)
{
	const char *name;
	json_t *value;
	void *next;
	json_object_foreach_safe (edited, next, name, value) {
		json_t *kept = json_object_get(before, name);
		if (kept == NULL)
			continue;
		if (is_hidden(value) ? json_object_set(edited, name, kept) != 0 : !restore(value, kept))
			return false;
	}
	return true;
}

/*
 * The arguments as they are to be, for the caller to json_decref(): the edited ones, with what was not shown put back.
 * Whoever may steer may give a secret to the task's handler again, in the place where it was, and nowhere
 * else. NULL: what was before is no JSON, or out of memory.
 */
static json_t *merge(json_t *edited, const char *text)
{
	json_t *before = json_loads(text, JSON_DECODE_ANY, NULL);
	if (edited == NULL || (is_hidden(edited) && before != NULL))
		return before;
	bool restored = restore(edited, before);
	json_decref(before);
	return restored ? json_incref(edited) : NULL;
}

/* What is named in the body, else what it was. */
static struct task_options merge_options(const json_t *body, const struct task_options *before)
{
	struct task_options options = task_options_read(body);
#define KEEP(name) \
	if (json_object_get(body, #name) == NULL) \
		options.name = before->name
	KEEP(queue);
	KEEP(on_failure);
	KEEP(max_attempts);
	KEEP(backoff_base_ms);
	KEEP(backoff_cap_ms);
	KEEP(soft_timeout_ms);
	KEEP(hard_timeout_ms);
#undef KEEP
	return options;
}

static struct web_answer answer_replaced(const struct web_request *request, const struct tr_id *dead, const struct tr_id *added)
{
	char old_id[TR_ID_TEXT_SIZE], new_id[TR_ID_TEXT_SIZE];
	tr_id_format(dead, old_id);
	tr_id_format(added, new_id);
	struct web_answer answer = answer_json(202, json_pack("{s:s, s:s, s:o, s:{s:s, s:o}}", "id", old_id, "state",
	    tr_state_name(TR_DEAD), "href", json_sprintf("%s/tasks/%s", request->prefix, old_id), "new", "id", new_id, "href",
	    json_sprintf("%s/tasks/%s", request->prefix, new_id)));
	snprintf(answer.location, sizeof(answer.location), "/tasks/%s", new_id);
	snprintf(answer.note, sizeof(answer.note), "new=%s", new_id);
	return answer;
}

static struct web_answer replace(const struct web_request *request, struct background_tasks *background,
    const struct tr_id *id, struct tr_task_recipe *recipe)
{
	if (recipe->has_file)
		return answer_detail(409, "the task owns a file, which a new one would not have; retry it as it is");
	json_t *args = merge(json_object_get(request->body, "args"), recipe->args);
	if (args == NULL)
		return answer_fault("body", "args", "value_error", "What it was given is no JSON, so they must stand here");
	struct task_options options = merge_options(request->body, &recipe->options);
	enum tr_result result = web_offer_task(request, background, recipe->handler, args, &options);
	json_decref(args);
	if (result != TR_OK)
		return answer_not_taken(background, result, &(const struct fault_place){ .name = "body" });
	request->added->replaces = true;
	request->added->replaced = *id;
	struct tr_id added = background_tasks_id(background, 0);
	return answer_replaced(request, id, &added);
}

struct web_answer post_task_retry(const struct web_request *request, struct background_tasks *background)
{
	static const char unfit[] = "the task is not dead; only dead ones are queued again";
	struct tr_id id = web_id(request, "id");
	struct tr_task_recipe recipe;
	struct tr_task_status status;
	if (request->body == NULL)
		return steer_task(request, tr_task_retry, unfit);
	enum tr_result result = tr_task_status(request->ring, &id, &status);
	if (result != TR_OK)
		return answer_result(result, NULL);
	bool is_dead = status.state == TR_DEAD;
	tr_task_status_clear(&status);
	result = is_dead ? tr_task_recipe(request->ring, &id, &recipe) : TR_INVALID;
	if (result != TR_OK)
		return result == TR_INVALID ? answer_detail(409, unfit) : answer_result(result, NULL);
	struct web_answer answer = replace(request, background, &id, &recipe);
	tr_task_recipe_clear(&recipe);
	return answer;
}
