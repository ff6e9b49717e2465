/*
 * POST /tasks: any handler that the workers have, with all that a task may be told; one or up to 256,
 * which then run one after the other, as an endpoint's own do, or independently.
 */
#include <stdatomic.h>
#include <string.h>

#include "app/endpoints.h"
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

/* Said where it is sure: the board lists all handlers, unless it has none yet or no row is free. */
static bool is_unknown(struct taskring *ring, const char *handler)
{
	enum tr_result result = TR_OK;
	const struct board *board = client_board(ring, &result);
	struct board_handler row;
	uint32_t taken = 0;
	if (board == NULL || board_find_handler(board, handler, &row))
		return false;
	for (uint32_t i = 0; i < board->handlers; i++)
		taken += board_copy_handler(board, i, &row);
	return taken > 0 && taken < board->handlers;
}

/* False: *answer is the refusal. */
static bool add_one(const struct web_request *request, struct background_tasks *background, const json_t *task,
    struct web_answer *answer)
{
	const char *handler = json_string_value(json_object_get(task, "handler"));
	if (is_unknown(request->ring, handler)) {
		*answer = answer_fault("body", "handler", "value_error", "No worker has a handler of this name");
		return false;
	}
	struct task_options options = task_options_read(task);
	enum tr_result result = web_offer_task(request, background, handler, json_object_get(task, "args"), &options);
	if (result == TR_OK)
		return true;
	*answer = result == TR_INVALID ? answer_detail(422, background_tasks_error(background)) : answer_result(result, NULL);
	return false;
}

struct web_answer post_tasks(const struct web_request *request, struct background_tasks *background)
{
	struct web_answer answer;
	size_t i;
	json_t *each;
	background_tasks_concurrent(background, web_boolean(request, "concurrent"));
	if (json_is_object(request->body) && !add_one(request, background, request->body, &answer))
		return answer;
	json_array_foreach (request->body, i, each)
		if (!add_one(request, background, each, &answer))
			return answer;
	answer = answer_accepted(request, background);
	snprintf(answer.note, sizeof(answer.note), "tasks=%zu", background_tasks_count(background));
	return answer;
}
