/*
 * GET /tasks/{id}: what is known of one background task. An id that was once given out is found
 * until retention has removed its task.
 */
#include "app/time_text.h"
#include "app/web.h"

/* The handler's result is JSON already; shown as null while there is none. */
static json_t *result_json(const char *result)
{
	json_t *json = result != NULL ? json_loads(result, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
	if (json != NULL)
		return json;
	/* Beyond what jansson can hold (an integer of more than 64 bits): better as text than not at all. */
	return result != NULL ? json_string(result) : json_null();
}

static json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *status_json(const struct tr_task_status *status)
{
	char id[TR_ID_TEXT_SIZE];
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:{s:I, s:I, s:o}, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "id", tr_id_format(&status->id, id),
	    "state", tr_state_name(status->state),
	    "handler", status->handler,
	    "queue", status->queue,
	    "attempt", (json_int_t)status->attempt,
	    "max_attempts", (json_int_t)status->max_attempts,
	    "progress",
	    "done", (json_int_t)status->progress_done,
	    "total", (json_int_t)status->progress_total,
	    "text", text_or_null(status->progress_text),
	    "result", result_json(status->result),
	    "error", text_or_null(status->error),
	    "created", time_json(status->created_ms),
	    "due", time_json(status->due_ms),
	    "started", time_json(status->started_ms),
	    "ended", time_json(status->ended_ms));
}

struct web_answer get_task(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct tr_id id;
	if (!tr_id_parse(request->parameter, &id)) {
		json_t *faults = json_array();
		faults_add(faults, "path", "id", "must be a UUID of 36 characters", "value_error.uuid");
		return answer_faults(faults);
	}
	struct tr_task_status status;
	enum tr_result result = tr_task_status(request->ring, &id, &status);
	if (result != TR_OK)
		return answer_result(result, NULL);
	struct web_answer answer = answer_json(200, status_json(&status));
	tr_task_status_clear(&status);
	return answer;
}
