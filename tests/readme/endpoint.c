/*
 * The endpoint that README.md shows: app/endpoint_register.c and its row of app/routes.c. Compiled by
 * tests/system/readme.sh, never linked.
 */
#include "app/web.h"

extern const struct schema signup_schema;
extern const struct route register_routes[];
web_endpoint post_register;

const struct schema signup_schema = {
	.types = SCHEMA_OBJECT,
	.fields = (const struct schema_field[]){
		{ "email", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_EMAIL } },
		{ "name", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_LINE, .min_length = 1, .max_length = 100 } },
		{ 0 },
	},
};

struct web_answer post_register(const struct web_request *request, struct background_tasks *background)
{
	web_add_task(request, background, "record_signup", request->body, NULL);
	web_add_task(request, background, "send_email_notification", request->body, NULL);
	return answer_accepted(request, background);
}

const struct route register_routes[] = {
	{
		.method = METHOD_POST, .path = "/register", .endpoint = post_register,
		.summary = "Sign somebody up", .body = &signup_schema, .needs_ring = true,
	},
};
