/*
 * The endpoint that README.md shows: app/endpoint_register.c, shortened. Compiled by
 * tests/system/readme.sh, never linked.
 */
#include "app/web.h"

#include <stdio.h>
#include <stdlib.h>

/* 202, and where the last of the tasks can be looked at. */
static struct web_answer accepted(const struct background_tasks *background)
{
	struct tr_id id = background_tasks_id(background, background_tasks_count(background) - 1);
	char text[TR_ID_TEXT_SIZE];
	struct web_answer answer = answer_json(202, json_pack("{s:s}", "id", tr_id_format(&id, text)));

	snprintf(answer.location, sizeof answer.location, "/tasks/%s", text);
	return answer;
}

struct web_answer post_register(const struct web_request *request, struct background_tasks *background)
{
	struct web_answer answer;
	json_t *body = body_json_object(request, &answer);
	if (body == NULL)
		return answer; /* 400, 415 or 422, with what is wrong */

	const struct task_options options = { .trace = request->trace };
	char *args = json_dumps(body, JSON_COMPACT);
	enum tr_result result = args == NULL ? TR_NO_MEMORY : TR_OK;
	if (result == TR_OK)
		result = background_tasks_add(background, "record_signup", args, &options);
	if (result == TR_OK)
		result = background_tasks_add(background, "send_email_notification", args, &options);
	free(args);
	json_decref(body);
	return result == TR_OK ? accepted(background) : answer_result(result, NULL);
}
