/*
 * POST /tasks: any handler that the workers have, with all that a task may be told; one or up to 256,
 * which then run one after the other, as an endpoint's own do, or independently.
 */
#include <string.h>

#include "app/endpoints.h"
#include "app/faults.h"
#include "app/task_filter.h"
#include "app/task_json.h"
#include "app/task_options.h"
#include "shared/client.h"

#define NEW_TASK_FIELDS \
	{ "handler", REQUIRED, NAME_FIELD("Its name, as GET /handlers shows it") }, \
	{ "args", OPTIONAL, { .default_json = "{}", .description = "What the handler gets, any JSON" } }, \
	TASK_OPTION_FIELDS

const struct schema new_tasks_schema = {
	.types = SCHEMA_OBJECT | SCHEMA_ARRAY,
	.title = "NewTasks",
	.description = "One, or a list of up to 256",
	.example = "{\"handler\": \"count_primes\", \"args\": {\"limit\": 1000000}, \"max_attempts\": 3}",
	.fields = (const struct schema_field[]){ NEW_TASK_FIELDS, { 0 } },
	.min_count = 1,
	.max_count = TR_BATCH_MAX,
	.items = &(const struct schema){
		.types = SCHEMA_OBJECT,
		.title = "NewTask",
		.fields = (const struct schema_field[]){ NEW_TASK_FIELDS, { 0 } },
	},
};

const struct schema_field new_tasks_query[] = {
	{ "concurrent", OPTIONAL, { .types = SCHEMA_BOOLEAN, .default_json = "false",
		.description = "Of a list: each starts when it can, whatever becomes of those before it" } },
	{ 0 },
};

static const struct fault_place in_body = { .name = "body" };

static void check_handler(const struct board *board, const json_t *task, const struct fault_place *of, struct faults *faults)
{
	const struct fault_place place = { .parent = of, .name = "handler" };
	if (!board_may_have_handler(board, json_string_value(json_object_get(task, "handler"))))
		faults_add(faults, &place, "value_error", "No worker has a handler of this name");
}

/* Of all of them, as other faults of a body are told. */
static void check_handlers(const struct web_request *request, struct faults *faults)
{
	enum tr_result ignored;
	const struct board *board = client_board(request->ring, &ignored);
	size_t i;
	const json_t *each;
	if (board == NULL)
		return;
	if (json_is_object(request->body))
		check_handler(board, request->body, &in_body, faults);
	json_array_foreach (request->body, i, each) {
		const struct fault_place place = { .parent = &in_body, .index = i };
		check_handler(board, each, &place, faults);
	}
}

/* False: *answer is the refusal. */
static bool add_one(const struct web_request *request, struct background_tasks *background, const json_t *task,
    const struct fault_place *place, struct web_answer *answer)
{
	const char *handler = json_string_value(json_object_get(task, "handler"));
	struct task_options options = task_options_read(task);
	enum tr_result result = web_offer_task(request, background, handler, json_object_get(task, "args"), &options);
	if (result == TR_OK)
		return true;
	*answer = answer_not_taken(background, result, place);
	return false;
}

struct web_answer post_tasks(const struct web_request *request, struct background_tasks *background)
{
	struct faults faults = { .list = NULL };
	struct web_answer answer;
	size_t i;
	json_t *each;
	check_handlers(request, &faults);
	if (faults_any(&faults))
		return answer_faults(422, &faults);
	background_tasks_concurrent(background, web_boolean(request, "concurrent"));
	if (json_is_object(request->body) && !add_one(request, background, request->body, &in_body, &answer))
		return answer;
	json_array_foreach (request->body, i, each)
		if (!add_one(request, background, each, &(const struct fault_place){ .parent = &in_body, .index = i }, &answer))
			return answer;
	answer = answer_accepted(request, background);
	snprintf(answer.note, sizeof(answer.note), "tasks=%zu", background_tasks_count(background));
	return answer;
}
