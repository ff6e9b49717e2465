/*
 * DELETE /tasks/{id} cancels, POST /tasks/{id}/discard gives one up, /run has one run now; what endpoint_retry.c
 * shares with them. All only ask taskd, by a command through the ring: hence 202.
 */
#include <stdio.h>

#include "app/endpoints.h"

static struct web_answer asked(const struct web_request *request, const struct tr_id *id, const struct tr_task_status *status)
{
	char text[TR_ID_TEXT_SIZE], href[64];
	snprintf(href, sizeof(href), "/tasks/%s", tr_id_format(id, text));
	struct web_answer answer = answer_json(202, json_pack("{s:s, s:s, s:o}", "id", text,
	    "state", tr_state_name(status->state), "href", json_sprintf("%s%s", request->prefix, href)));
	snprintf(answer.location, sizeof(answer.location), "%s", href);
	return answer;
}

struct web_answer delete_task(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct tr_id id = web_id(request, "id");
	struct tr_task_status status;
	enum tr_result result = tr_task_status(request->ring, &id, &status);
	if (result != TR_OK)
		return answer_result(result, NULL);
	struct web_answer answer;
	if (tr_state_is_ended(status.state)) {
		answer = answer_detail(409, "the task has ended; there is nothing to cancel");
	} else {
		result = tr_task_cancel(request->ring, &id);
		answer = result == TR_OK ? asked(request, &id, &status) : answer_result(result, NULL);
	}
	tr_task_status_clear(&status);
	return answer;
}

struct web_answer steer_task(const struct web_request *request, steer_fn *command, const char *unfit)
{
	struct tr_id id = web_id(request, "id");
	struct tr_task_status status;
	enum tr_result result = tr_task_status(request->ring, &id, &status);
	if (result != TR_OK)
		return answer_result(result, NULL);
	result = command(request->ring, &id);
	struct web_answer answer = result == TR_OK ? asked(request, &id, &status) :
	    result == TR_INVALID ? answer_detail(409, unfit) : answer_result(result, NULL);
	tr_task_status_clear(&status);
	return answer;
}

struct web_answer post_task_discard(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return steer_task(request, tr_task_discard, "the task runs, or has ended; only those that wait or are dead can be discarded");
}

struct web_answer post_task_run(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return steer_task(request, tr_task_run, "the task waits for no time; only scheduled and retrying ones can be run now");
}
