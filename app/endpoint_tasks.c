/*
 * GET /tasks?state=&handler=&queue=&limit=&cursor=: many tasks, the newest first, a page at a time.
 * Pages are cut by id, so tasks that come or change meanwhile shift nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/task_json.h"

#define NEXT_SIZE 1024 /* the longest prefix, all states and two names */

#define NAME(text) { .types = SCHEMA_STRING, .max_length = TR_NAME_MAX, .description = (text), \
	.pattern = PATTERN("^[A-Za-z0-9_-][A-Za-z0-9._-]*$") }

const struct schema_field tasks_query[] = {
	{ "state", OPTIONAL, { .types = SCHEMA_ARRAY, .max_count = TR_STATES, .description = "Only tasks in one of these",
		.items = &(const struct schema){ .types = SCHEMA_STRING, .choices = task_states } } },
	{ "handler", OPTIONAL, NAME("Only this handler's") },
	{ "queue", OPTIONAL, NAME("Only this queue's") },
	{ "limit", OPTIONAL, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = AT_MOST(TR_LIST_MAX),
		.default_json = "50", .description = "How many at most" } },
	{ "cursor", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_UUID, .description = "From the page before" } },
	{ 0 },
};

static unsigned states_wanted(const struct web_request *request)
{
	const json_t *list = web_list(request, "state");
	unsigned wanted = 0;
	for (size_t i = 0; i < json_array_size(list); i++)
		wanted |= 1u << tr_state_by_name(json_string_value(json_array_get(list, i)));
	return wanted;
}

static bool is_zero(const struct tr_id *id)
{
	static const struct tr_id zero;
	return memcmp(id, &zero, sizeof(zero)) == 0;
}

/* The same question for the next page. What the schema lets in needs no encoding. */
static json_t *next_page(const struct web_request *request, const struct tr_id *next)
{
	char path[NEXT_SIZE], id[TR_ID_TEXT_SIZE];
	const json_t *list = web_list(request, "state");
	int used = snprintf(path, sizeof(path), "%s/tasks?limit=%lld", request->prefix, (long long)web_integer(request, "limit"));
	if (is_zero(next))
		return json_null();
	for (size_t i = 0; i < json_array_size(list); i++)
		used += snprintf(path + used, sizeof(path) - (size_t)used, "&state=%s", json_string_value(json_array_get(list, i)));
	if (web_given(request, "handler"))
		used += snprintf(path + used, sizeof(path) - (size_t)used, "&handler=%s", web_text(request, "handler"));
	if (web_given(request, "queue"))
		used += snprintf(path + used, sizeof(path) - (size_t)used, "&queue=%s", web_text(request, "queue"));
	snprintf(path + used, sizeof(path) - (size_t)used, "&cursor=%s", tr_id_format(next, id));
	return json_string(path);
}

static json_t *rows_json(struct tr_task_status *rows, size_t count)
{
	json_t *tasks = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++) {
		failed |= json_array_append_new(tasks, task_json(&rows[i]));
		tr_task_status_clear(&rows[i]);
	}
	if (failed == 0)
		return tasks;
	json_decref(tasks);
	return NULL;
}

struct web_answer get_tasks(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	size_t limit = (size_t)web_integer(request, "limit"), count = 0;
	struct tr_id before = web_id(request, "cursor"), next;
	const struct tr_task_filter filter = { .states = states_wanted(request), .handler = web_text(request, "handler"),
		.queue = web_text(request, "queue") };
	struct tr_task_status *rows = calloc(limit, sizeof(*rows));
	if (rows == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	enum tr_result result = tr_tasks_list(request->ring, &filter, web_given(request, "cursor") ? &before : NULL, limit,
	    rows, &count, &next);
	struct web_answer answer = result != TR_OK ? answer_result(result, NULL) :
	    answer_json(200, json_pack("{s:o, s:o}", "tasks", rows_json(rows, count), "next", next_page(request, &next)));
	free(rows);
	return answer;
}
