/*
 * POST /register {"email": ..., "name": ...}: signs somebody up. The answer goes out at once; the
 * two background tasks, first the record in the application's database, then the mail, follow.
 */
#include "app/email.h"
#include "app/web.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS_MAX 100

static const char *const handlers[] = { "record_signup", "send_email_notification" };

/* What is wrong with a name, or NULL. `name` is valid UTF-8: the JSON parser saw to that. */
static const char *name_fault(const char *name)
{
	const unsigned char *at = (const unsigned char *)name;
	size_t characters = 0;
	for (; *at != '\0'; at++) {
		if ((*at & 0xc0) != 0x80)
			characters++;
		/* C0, DEL, and C1, which begins with 0xc2 in UTF-8. */
		if (*at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0))
			return "must not contain control characters";
	}
	if (characters < 1 || characters > NAME_CHARACTERS_MAX)
		return "must have 1 to 100 characters";
	return NULL;
}

static bool check_field(const json_t *body, const char *field, const char *(*fault_of)(const char *value),
    json_t *faults)
{
	const json_t *value = json_object_get(body, field);
	const char *message = NULL, *type = NULL;
	if (value == NULL) {
		message = "field required";
		type = "value_error.missing";
	} else if (!json_is_string(value)) {
		message = "must be a string";
		type = "type_error.str";
	} else {
		message = fault_of(json_string_value(value));
		type = "value_error";
	}
	return message == NULL || faults_add(faults, "body", field, message, type);
}

/* True: both fields are well. Otherwise *answer names all faults at once. */
static bool check_body(const json_t *body, struct web_answer *answer)
{
	json_t *faults = json_array();
	if (faults == NULL || !check_field(body, "email", email_fault, faults) ||
	    !check_field(body, "name", name_fault, faults)) {
		json_decref(faults);
		*answer = answer_result(TR_NO_MEMORY, NULL);
		return false;
	}
	if (json_array_size(faults) == 0) {
		json_decref(faults);
		return true;
	}
	*answer = answer_faults(faults);
	return false;
}

/* Adds the tasks, which run one after the other in this order. */
static enum tr_result add_tasks(const struct web_request *request, const json_t *body,
    struct background_tasks *background)
{
	json_t *fields = json_pack("{s:O, s:O}", "email", json_object_get(body, "email"),
	    "name", json_object_get(body, "name"));
	char *args = fields != NULL ? json_dumps(fields, JSON_COMPACT) : NULL;
	json_decref(fields);
	if (args == NULL)
		return TR_NO_MEMORY;
	struct task_options options = { .trace = request->trace[0] != '\0' ? request->trace : NULL };
	enum tr_result result = TR_OK;
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]) && result == TR_OK; i++)
		result = background_tasks_add(background, handlers[i], args, &options);
	free(args);
	return result;
}

static struct web_answer accepted(const struct background_tasks *background)
{
	struct web_answer answer = { .status = 202 };
	json_t *tasks = json_array();
	for (size_t i = 0; i < background_tasks_count(background); i++) {
		struct tr_id id = background_tasks_id(background, i);
		char text[TR_ID_TEXT_SIZE];
		snprintf(answer.location, sizeof(answer.location), "/tasks/%s", tr_id_format(&id, text));
		if (json_array_append_new(tasks, json_pack("{s:s, s:s, s:s}", "id", text, "handler", handlers[i],
			"href", answer.location)) != 0) {
			json_decref(tasks);
			return answer_result(TR_NO_MEMORY, NULL);
		}
	}
	answer.body = json_pack("{s:o}", "tasks", tasks);
	if (answer.body == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	return answer;
}

struct web_answer post_register(const struct web_request *request, struct background_tasks *background)
{
	struct web_answer answer;
	json_t *body = body_json_object(request, &answer);
	if (body == NULL)
		return answer;
	if (check_body(body, &answer)) {
		enum tr_result result = add_tasks(request, body, background);
		answer = result == TR_OK ? accepted(background) : answer_result(result, NULL);
	}
	json_decref(body);
	return answer;
}
