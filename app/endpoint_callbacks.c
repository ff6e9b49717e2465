/*
 * POST /callbacks {"url": ...}: has taskd's handler `http` call a URL. What can be checked without
 * calling is checked here; addresses are the handler's business, since names resolve later.
 */
#include "app/endpoints.h"

static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE", NULL };

const struct schema callback_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Callback",
	.example = "{\"url\":\"https://example.org/hook\",\"json\":{\"event\":\"signup\"}}",
	.fields = (const struct schema_field[]){
		{ "url", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_HTTP_URL, .max_length = 2000 } },
		{ "method", OPTIONAL, { .types = SCHEMA_STRING, .choices = methods, .default_json = "\"POST\"" } },
		{ "headers", OPTIONAL, { .types = SCHEMA_OBJECT, .max_count = 32,
			.names = &(const struct schema){ .types = SCHEMA_STRING, .max_length = 100,
				.pattern = PATTERN("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") },
			.extra = &(const struct schema){ .types = SCHEMA_STRING, .max_length = 4000, .format = FORMAT_LINE } } },
		{ "body", OPTIONAL, { .types = SCHEMA_STRING, .description = "Sent as it is" } },
		{ "json", OPTIONAL, { .types = SCHEMA_ANY, .description = "Sent as JSON, with its Content-Type" } },
		{ "timeout_s", OPTIONAL, { .types = SCHEMA_NUMBER, .minimum = AT_LEAST(0.1), .maximum = AT_MOST(600),
			.default_json = "30.0", .description = "For one attempt as a whole" } },
		{ 0 },
	},
};

struct web_answer post_callback(const struct web_request *request, struct background_tasks *background)
{
	if (json_object_get(request->body, "body") != NULL && json_object_get(request->body, "json") != NULL)
		return answer_fault("body", "json", "value_error", "Either body or json, not both");
	json_t *args = json_copy(request->body);
	double timeout_s = json_number_value(json_object_get(args, "timeout_s"));
	if (json_object_set_new(args, "timeout_ms", json_integer((json_int_t)(timeout_s * 1000))) != 0 ||
	    json_object_del(args, "timeout_s") != 0) {
		json_decref(args);
		return answer_result(TR_NO_MEMORY, NULL);
	}
	web_add_task(request, background, "http", args, NULL);
	json_decref(args);
	return answer_accepted(request, background);
}
