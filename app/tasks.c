/*
 * What endpoints do with background tasks: JSON comes in, tasks with the request's trace go into the
 * batch, and a 202 that names them comes out.
 */
#include "app/web.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/log.h"

static const char id_mark[] = ";request_id=";

static enum tr_result add(const struct web_request *request, struct background_tasks *background,
    const char *handler, const char *args, const struct task_options *options)
{
	char trace[TR_TRACE_MAX + 1];
	struct task_options with_trace = options != NULL ? *options : (struct task_options){ .queue = NULL };
	if (with_trace.trace == NULL) {
		trace_join(request, trace);
		with_trace.trace = trace[0] != '\0' ? trace : NULL;
	}
	return background_tasks_add(background, handler, args, &with_trace);
}

enum tr_result web_add_task(const struct web_request *request, struct background_tasks *background,
    const char *handler, const json_t *args, const struct task_options *options)
{
	struct web_added *added = request->added;
	char *text = args != NULL ? json_dumps(args, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	enum tr_result result = text != NULL ? add(request, background, handler, text, options) : TR_NO_MEMORY;
	bool tried = text != NULL;
	free(text);
	if (result == TR_OK)
		added->handlers[added->count++] = handler; /* the batch takes no more than there is room for */
	else if (added->failed == TR_OK)
		added->failed = result;
	if (result != TR_OK && tried) {
		char quoted[LOG_QUOTED_SIZE];
		log_event(LOG_ERR, "task-not-added", "id=%s reason=%s", request->request_id,
		    log_quote(background_tasks_error(background), quoted));
	}
	return result;
}

struct web_answer answer_not_added(enum tr_result failed)
{
	/* The request was as its route wants it: what is wrong with the task is not the client's doing. */
	return failed == TR_INVALID ? answer_detail(500, "something went wrong here") : answer_result(failed, NULL);
}

struct web_answer answer_accepted(const struct web_request *request, const struct background_tasks *background)
{
	const struct web_added *added = request->added;
	struct web_answer answer = { .status = 202 };
	if (added->failed != TR_OK)
		return answer_not_added(added->failed);
	assert(added->count == background_tasks_count(background)); /* all came through web_add_task() */
	json_t *tasks = json_array();
	for (size_t i = 0; i < added->count; i++) {
		struct tr_id id = background_tasks_id(background, i);
		char text[TR_ID_TEXT_SIZE];
		snprintf(answer.location, sizeof(answer.location), "/tasks/%s", tr_id_format(&id, text));
		if (json_array_append_new(tasks, json_pack("{s:s, s:s, s:s}", "id", text, "handler", added->handlers[i],
			"href", answer.location)) != 0) {
			json_decref(tasks);
			return answer_result(TR_NO_MEMORY, NULL);
		}
	}
	answer.body = json_pack("{s:o}", "tasks", tasks);
	return answer.body != NULL ? answer : answer_result(TR_NO_MEMORY, NULL);
}

/* ---- trace and request id ---------------------------------------------------------------- */

void trace_join(const struct web_request *request, char joined[TR_TRACE_MAX + 1])
{
	int length = snprintf(joined, TR_TRACE_MAX + 1, "%s%s%s", request->trace,
	    request->request_id[0] != '\0' ? id_mark : "", request->request_id);
	if (length < 0 || length > TR_TRACE_MAX)
		joined[0] = '\0';
}

void trace_split(const char *joined, char traceparent[TR_TRACE_MAX + 1], char request_id[WEB_REQUEST_ID_MAX + 1])
{
	const char *mark = strstr(joined, id_mark);
	size_t bytes = mark != NULL ? (size_t)(mark - joined) : strlen(joined);
	const char *id = mark != NULL ? mark + strlen(id_mark) : "";
	if (bytes > TR_TRACE_MAX)
		bytes = 0;
	memcpy(traceparent, joined, bytes);
	traceparent[bytes] = '\0';
	snprintf(request_id, WEB_REQUEST_ID_MAX + 1, "%s", strlen(id) <= WEB_REQUEST_ID_MAX ? id : "");
}
