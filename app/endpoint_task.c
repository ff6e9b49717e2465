/*
 * GET /tasks/{id}: what is known of one background task. An id that was once given out is found
 * until retention has removed its task.
 */
#include <stdlib.h>

#include "app/board_view.h"
#include "app/endpoints.h"
#include "app/task_json.h"
#include "app/time_text.h"
#include "shared/trace.h"

#define SIBLINGS_SHOWN 50

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

static json_t *attempt_json(const struct tr_attempt *attempt)
{
	return json_pack("{s:I, s:o, s:o, s:s, s:o, s:o, s:i, s:i, s:o, s:i}", "number", (json_int_t)attempt->number,
	    "started", time_json(attempt->started_ms), "ended", time_json(attempt->ended_ms), "outcome", attempt->outcome,
	    "message", text_or_null(attempt->message), "verdict", text_or_null(attempt->verdict),
	    "exit_code", attempt->exit_code, "signal", attempt->signal, "peak_memory_kb", count_json(attempt->peak_memory_kb),
	    "worker_pid", attempt->worker_pid);
}

static json_t *attempts_json(const struct tr_task_detail *detail)
{
	json_t *attempts = json_array();
	int failed = 0;
	for (size_t i = 0; i < detail->attempt_count; i++)
		failed |= json_array_append_new(attempts, attempt_json(&detail->attempts[i]));
	if (failed == 0)
		return attempts;
	json_decref(attempts);
	return NULL;
}

/* How one of them is; one that cannot be read is named all the same. */
static json_t *sibling_json(struct taskring *ring, const struct tr_id *id)
{
	char text[TR_ID_TEXT_SIZE];
	struct tr_task_status status = { .handler = "" };
	bool known = tr_task_status(ring, id, &status) == TR_OK;
	json_t *sibling = json_pack("{s:s, s:o, s:o}", "id", tr_id_format(id, text), "handler", text_or_null(status.handler),
	    "state", known ? json_string(tr_state_name(status.state)) : json_null());
	tr_task_status_clear(&status);
	return sibling;
}

/* The others of its batch; of many, those around it. */
static json_t *siblings_json(struct taskring *ring, const struct tr_task_detail *detail)
{
	json_t *siblings = json_array();
	size_t first = detail->place > SIBLINGS_SHOWN / 2 ? detail->place - SIBLINGS_SHOWN / 2 : 0;
	int failed = 0;
	for (size_t i = first; i < detail->sibling_count && i <= first + SIBLINGS_SHOWN; i++)
		if (i != detail->place)
			failed |= json_array_append_new(siblings, sibling_json(ring, &detail->siblings[i]));
	if (failed == 0)
		return siblings;
	json_decref(siblings);
	return NULL;
}

/* What only the page of one task has. */
static json_t *rest_json(struct taskring *ring, const struct tr_task_detail *detail)
{
	const struct tr_id *id = &detail->status.id;
	char explanation[TR_EXPLANATION_SIZE];
	struct trace trace;
	uint64_t dropped;
	trace_split(&trace, detail->trace);
	if (tr_task_explain(ring, id, explanation) != TR_OK)
		explanation[0] = '\0';
	json_t *log = log_of(ring, id, &dropped);
	return json_pack("{s:o, s:o, s:o, s:I, s:o, s:I, s:b, s:b, s:o, s:o, s:o, s:b, s:o}", "trace", text_or_null(trace.traceparent),
	    "request_id", text_or_null(trace.request_id), "log", log, "log_dropped", (json_int_t)dropped,
	    "arguments", task_text_json(detail->args), "arguments_bytes", (json_int_t)detail->args_bytes,
	    "redacted", (int)detail->redacted, "has_file", (int)detail->has_file,
	    "on_failure", text_or_null(detail->on_failure), "attempts", attempts_json(detail),
	    "siblings", siblings_json(ring, detail), "sequential", (int)detail->sequential,
	    "explanation", text_or_null(explanation));
}

static json_t *detail_json(struct taskring *ring, const struct tr_task_detail *detail)
{
	json_t *task = task_json(&detail->status), *rest = task != NULL ? rest_json(ring, detail) : NULL;
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
	struct tr_task_detail detail;
	enum tr_result result = tr_task_detail(request->ring, &id, &detail);
	struct web_answer answer = result == TR_OK ? answer_json(200, detail_json(request->ring, &detail)) :
						     answer_result(result, NULL);
	tr_task_detail_clear(&detail);
	return answer;
}
