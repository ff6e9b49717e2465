/*
 * POST /register {"email": ..., "name": ...}: signs somebody up. The answer goes out at once; the
 * two background tasks, first the record in the application's database, then the mail, follow.
 *
 * Whether somebody has signed up with this address before is not looked at: the answer would be out
 * of date when the task runs, and would tell strangers who is registered here.
 */
#include "app/endpoints.h"

const struct schema signup_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Signup",
	.example = "{\"email\":\"ada@example.org\",\"name\":\"Ada\"}",
	.fields = (const struct schema_field[]){
		{ "email", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_EMAIL, .max_length = 254 } },
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
