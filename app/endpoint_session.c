/*
 * POST /login, POST /logout, GET /session: the dashboard's way to show its token. It is sent once, in
 * a body, and from then on by the browser, in a cookie that no script can read: it stands in no
 * address, no log, no history.
 */
#include <stdio.h>

#include "app/access.h"
#include "app/endpoints.h"

const struct schema login_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Login",
	.fields = (const struct schema_field[]){
		{ "token", REQUIRED, { .types = SCHEMA_STRING, .min_length = 1, .max_length = 127, .description = "As `taskring-app -t` made it" } },
		{ 0 },
	},
};

const struct schema session_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Session",
	.fields = (const struct schema_field[]){
		{ "name", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "null: nobody that is known here" } },
		{ "role", REQUIRED, { .types = SCHEMA_STRING,
			.choices = (const char *const[]){ "nobody", "reader", "submitter", "operator", NULL } } },
		{ "rights", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){ .types = SCHEMA_STRING,
			.choices = (const char *const[]){ "read", "submit", "steer", NULL } } } },
		{ "login", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "Whether there are tokens that one could log in with" } },
		{ 0 },
	},
};

static json_t *session(const char *name, enum web_right most, bool login)
{
	static const char *const names[] = { [RIGHT_READ] = "read", [RIGHT_SUBMIT] = "submit", [RIGHT_STEER] = "steer" };
	json_t *rights = json_array();
	for (enum web_right right = RIGHT_READ; right <= most && right <= RIGHT_STEER; right++)
		json_array_append_new(rights, json_string(names[right]));
	return json_pack("{s:s?, s:s, s:o, s:b}", "name", name[0] != '\0' ? name : NULL, "role", role_name(most), "rights", rights,
	    "login", login);
}

struct web_answer get_session(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	return answer_json(200, session(request->who, request->most, access_has_tokens(request)));
}

struct web_answer post_login(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct web_answer answer;
	const char *token = json_string_value(json_object_get(request->body, "token"));
	if (!access_has_tokens(request))
		return answer_detail(403, "no tokens are configured here");
	const struct token_owner *owner = access_owner(request, token, &answer);
	if (owner == NULL)
		return answer;
	answer = answer_json(200, session(owner->name, owner->most, true));
	access_set_cookie(request, token, &answer);
	snprintf(answer.note, sizeof(answer.note), "login=%s", owner->name);
	return answer;
}

struct web_answer post_logout(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct web_answer answer = answer_empty(204);
	if (request->by == BY_COOKIE) {
		access_set_cookie(request, NULL, &answer);
		snprintf(answer.note, sizeof(answer.note), "logout");
	}
	return answer;
}
