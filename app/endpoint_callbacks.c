/*
 * POST /callbacks {"url": ...}: has taskd's handler `http` call a URL. What can be checked without
 * calling is checked here; addresses are the handler's business, since names resolve later.
 */
#include <string.h>
#include <strings.h>

#include "app/endpoints.h"
#include "shared/http_field.h"

static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE", NULL };

const struct schema callback_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Callback",
	.example = "{\"url\":\"https://example.org/hook\",\"json\":{\"event\":\"signup\"}}",
	.fields = (const struct schema_field[]){
		{ "url", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_HTTP_URL, .max_length = 2000 } },
		{ "method", OPTIONAL, { .types = SCHEMA_STRING, .choices = methods,
			.description = "POST when there is a body or json, else GET" } },
		{ "headers", OPTIONAL, { .types = SCHEMA_OBJECT, .max_count = 32,
			.names = &(const struct schema){ .types = SCHEMA_STRING, .max_length = 100,
				.pattern = PATTERN("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") },
			.extra = &(const struct schema){ .types = SCHEMA_STRING, .max_length = 4000, .pattern = PATTERN("^([!-~]|[!-~][ -~]*[!-~])?$") } } },
		{ "body", OPTIONAL, { .types = SCHEMA_STRING, .description = "Sent as it is" } },
		{ "json", OPTIONAL, { .types = SCHEMA_ANY, .description = "Sent as JSON, with its Content-Type" } },
		{ "timeout_s", OPTIONAL, { .types = SCHEMA_NUMBER, .minimum = AT_LEAST(0.1), .maximum = AT_MOST(600),
			.description = "For one attempt as a whole; missing: what taskd's configuration says" } },
		{ 0 },
	},
};

/* The handler's arguments; a new reference, NULL: out of memory. */
static json_t *arguments(const json_t *body)
{
	json_t *args = json_copy((json_t *)body);
	const json_t *timeout_s = json_object_get(body, "timeout_s");
	if (timeout_s == NULL)
		return args;
	json_int_t timeout_ms = (json_int_t)(json_number_value(timeout_s) * 1000);
	if (json_object_set_new(args, "timeout_ms", json_integer(timeout_ms)) == 0 && json_object_del(args, "timeout_s") == 0)
		return args;
	json_decref(args);
	return NULL;
}

/* JSON knows "a" and "A" apart, HTTP does not. */
static bool is_given_twice(const json_t *headers, const char *name)
{
	const char *other;
	json_t *value;
	unsigned count = 0;
	json_object_foreach((json_t *)headers, other, value)
	{
		count += strcasecmp(other, name) == 0;
	}
	return count > 1;
}

static void check_headers(const json_t *headers, const struct fault_place *body, struct faults *faults)
{
	const struct fault_place all = { .parent = body, .name = "headers" };
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)headers, name, value)
	{
		const struct fault_place place = { .parent = &all, .name = name };
		if (http_field_is_reserved(name))
			faults_add(faults, &place, "value_error", "This header cannot be set");
		else if (is_given_twice(headers, name))
			faults_add(faults, &place, "value_error", "This header is given twice");
	}
}

/* What no schema says. */
static void check(const json_t *body, struct faults *faults)
{
	static const struct fault_place in_body = { .name = "body" }, in_json = { .parent = &in_body, .name = "json" },
		in_method = { .parent = &in_body, .name = "method" };
	const json_t *text = json_object_get(body, "body"), *json = json_object_get(body, "json");
	const char *method = json_string_value(json_object_get(body, "method"));
	if (text != NULL && json != NULL)
		faults_add(faults, &in_json, "value_error", "Either body or json, not both");
	if (method != NULL && strcmp(method, "GET") == 0 && (text != NULL || json != NULL))
		faults_add(faults, &in_method, "value_error", "GET has no body");
	check_headers(json_object_get(body, "headers"), &in_body, faults);
}

struct web_answer post_callback(const struct web_request *request, struct background_tasks *background)
{
	struct faults faults = { .list = NULL };
	check(request->body, &faults);
	if (faults_any(&faults))
		return answer_faults(422, &faults);
	json_t *args = arguments(request->body);
	web_add_task(request, background, "http", args, NULL);
	json_decref(args);
	return answer_accepted(request, background);
}
