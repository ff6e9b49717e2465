/*
 * GET /tasks?state=&handler=&queue=&text=&from=&to=&arg=&limit=&cursor=: many tasks, the newest first, a page at a time.
 * Pages are cut by id, so tasks that come or change meanwhile shift nothing.
 */
#include <stdlib.h>

#include "app/endpoints.h"
#include "app/task_filter.h"
#include "app/task_json.h"

const struct schema_field tasks_query[] = {
	TASK_FILTER_FIELDS,
	{ "limit", OPTIONAL, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = AT_MOST(TR_LIST_MAX),
		.default_json = "50", .description = "How many at most" } },
	{ "cursor", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_UUID, .description = "From the page before" } },
	{ 0 },
};

/* The same question for the next page. */
static json_t *next_page(const struct web_request *request, const struct tr_id *next)
{
	if (id_is_zero(next))
		return json_null();
	char *query = task_filter_next(request, next);
	json_t *path = query != NULL ? json_sprintf("%s/tasks?%s", request->prefix, query) : NULL;
	free(query);
	return path;
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
	struct task_filter filter;
	struct web_answer answer;
	if (!task_filter_read(request, &filter, &answer))
		return answer;
	struct tr_task_status *rows = calloc(limit, sizeof(*rows));
	if (rows == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	enum tr_result result = tr_tasks_list(request->ring, &filter.filter, web_given(request, "cursor") ? &before : NULL, limit,
	    rows, &count, &next);
	answer = result != TR_OK ? task_filter_refused(result) :
	    answer_json(200, json_pack("{s:o, s:o}", "tasks", rows_json(rows, count), "next", next_page(request, &next)));
	free(rows);
	return answer;
}
