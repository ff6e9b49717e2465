/*
 * GET /tasks/{id}: what is known of one background task. An id that was once given out is found
 * until retention has removed its task.
 */
#include <stdlib.h>

#include "app/endpoints.h"
#include "app/task_json.h"

/* The lines of its handler and how many were not kept. A log that cannot be read does not hide the task. */
static json_t *log_of(struct taskring *ring, const struct tr_id *id, uint64_t *dropped)
{
	struct tr_log_line *lines = NULL;
	size_t count = 0;
	*dropped = 0;
	enum tr_result result = tr_task_log(ring, id, &lines, &count, dropped);
	json_t *log = task_log_json(lines, result == TR_OK ? count : 0);
	free(lines);
	return log;
}

static json_t *add_rest(json_t *task, struct taskring *ring, const struct tr_id *id)
{
	char joined[TR_TRACE_MAX + 1], traceparent[TR_TRACE_MAX + 1], request_id[WEB_REQUEST_ID_MAX + 1];
	uint64_t dropped;
	if (tr_task_origin(ring, id, joined) != TR_OK)
		joined[0] = '\0';
	trace_split(joined, traceparent, request_id);
	json_t *log = log_of(ring, id, &dropped);
	json_t *rest = json_pack("{s:o, s:o, s:o, s:I}", "trace", text_or_null(traceparent),
	    "request_id", text_or_null(request_id), "log", log, "log_dropped", (json_int_t)dropped);
	if (rest != NULL && json_object_update(task, rest) == 0) {
		json_decref(rest);
		return task;
	}
	json_decref(rest);
	json_decref(task);
	return NULL;
}

struct web_answer get_task(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct tr_id id = web_id(request, "id");
	struct tr_task_status status;
	enum tr_result result = tr_task_status(request->ring, &id, &status);
	if (result != TR_OK)
		return answer_result(result, NULL);
	json_t *task = task_json(&status);
	tr_task_status_clear(&status);
	return answer_json(200, task != NULL ? add_rest(task, request->ring, &id) : NULL);
}
