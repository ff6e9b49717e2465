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
#include "shared/trace.h"

/* One task's part of a 202. */
#define ACCEPTED_BYTES_MAX (sizeof(",{\"id\":\"\",\"handler\":\"\",\"href\":\"/tasks/\"}") + 2 * TR_ID_TEXT_SIZE + TR_NAME_MAX)

static enum tr_result add(const struct web_request *request, struct background_tasks *background,
    const char *handler, const char *args, const struct task_options *options)
{
	char trace[TR_TRACE_MAX + 1];
	struct task_options with_trace = options != NULL ? *options : (struct task_options){ .queue = NULL };
	if (with_trace.trace == NULL) {
		trace_join(trace, request->trace, request->request_id);
		with_trace.trace = trace[0] != '\0' ? trace : NULL;
	}
	return background_tasks_add(background, handler, args, &with_trace);
}

/* NULL: out of memory. *made: what the caller frees; the request's body stays, as its tasks mostly all have it. */
static const char *write_args(const struct web_request *request, const json_t *args, char **made)
{
	bool is_body = args == request->body;
	*made = NULL;
	if (args == NULL || (is_body && request->added->body_text != NULL))
		return args == NULL ? NULL : request->added->body_text;
	char *text = json_dumps(args, JSON_COMPACT | JSON_ENCODE_ANY);
	*(is_body ? &request->added->body_text : made) = text;
	return text;
}

enum tr_result web_offer_task(const struct web_request *request, struct background_tasks *background,
    const char *handler, const json_t *args, const struct task_options *options)
{
	struct web_added *added = request->added;
	char *made;
	if (background == NULL) /* there is no ring, and the row did not say that it needs one */
		return TR_NO_RING;
	const char *text = write_args(request, args, &made);
	enum tr_result result = text != NULL ? add(request, background, handler, text, options) : TR_NO_MEMORY;
	free(made);
	if (result == TR_OK)
		added->handlers[added->count++] = handler; /* the batch takes no more than there is room for */
	return result;
}

struct web_answer answer_not_taken(const struct background_tasks *background, enum tr_result failed,
    const struct fault_place *place)
{
	struct faults faults = { .list = NULL };
	if (failed != TR_INVALID)
		return answer_result(failed, NULL);
	faults_add(&faults, place, "value_error", "%s", background_tasks_error(background));
	return answer_faults(422, &faults);
}

enum tr_result web_add_task(const struct web_request *request, struct background_tasks *background,
    const char *handler, const json_t *args, const struct task_options *options)
{
	struct web_added *added = request->added;
	enum tr_result result = web_offer_task(request, background, handler, args, options);
	if (result == TR_OK)
		return result;
	if (added->failed == TR_OK)
		added->failed = result;
	if (args != NULL && background != NULL) {
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

/* Written as text at once: a JSON value of it would cost more than all else that a request does here. */
struct web_answer answer_accepted(const struct web_request *request, const struct background_tasks *background)
{
	const struct web_added *added = request->added;
	if (added->failed != TR_OK)
		return answer_not_added(added->failed);
	assert(added->count == background_tasks_count(background)); /* all came through web_add_task() */
	char *text = malloc(sizeof("{\"tasks\":[]}") + added->count * (ACCEPTED_BYTES_MAX + strlen(request->prefix)));
	if (text == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	struct web_answer answer = { .status = 202 };
	char *to = stpcpy(text, "{\"tasks\":[");
	for (size_t i = 0; i < added->count; i++) {
		struct tr_id id = background_tasks_id(background, i);
		char id_text[TR_ID_TEXT_SIZE];
		stpcpy(stpcpy(answer.location, "/tasks/"), tr_id_format(&id, id_text));
		to = stpcpy(stpcpy(to, i == 0 ? "{\"id\":\"" : ",{\"id\":\""), id_text);
		/* The batch has taken the handler's name, and options.c the prefix: there is nothing in them to be escaped. */
		to = stpcpy(stpcpy(to, "\",\"handler\":\""), added->handlers[i]);
		to = stpcpy(stpcpy(stpcpy(stpcpy(to, "\",\"href\":\""), request->prefix), answer.location), "\"}");
	}
	to = stpcpy(to, "]}");
	answer.content = (struct web_content){ .type = "application/json", .bytes = text, .count = (size_t)(to - text),
		.release = free, .context = text };
	return answer;
}
