/*
 * GET /signups?limit=&cursor=: who has signed up, the newest first, from the application's own
 * database: what an endpoint does with a resource.
 */
#include "app/endpoints.h"
#include "app/log.h"
#include "app/signups.h"

const struct schema_field signups_query[] = {
	{ "limit", OPTIONAL, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = AT_MOST(500),
		.default_json = "50", .description = "How many at most" } },
	{ "cursor", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_UUID, .description = "From the page before" } },
	{ 0 },
};

const struct schema signups_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Signups",
	.fields = (const struct schema_field[]){
		{ "signups", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){
			.types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
				{ "task_id", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_UUID } },
				{ "email", REQUIRED, { .types = SCHEMA_STRING } },
				{ "name", REQUIRED, { .types = SCHEMA_STRING } },
				{ "created", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME } },
				{ 0 },
			} } } },
		{ "next", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL,
			.description = "The path of the next page; null: this is the last one" } },
		{ 0 },
	},
};

/* A full page may have another one behind it. */
static json_t *next_page(const struct web_request *request, const json_t *rows, int64_t limit)
{
	size_t count = json_array_size(rows);
	const char *last = json_string_value(json_object_get(json_array_get(rows, count - 1), "task_id"));
	if (count < (size_t)limit || last == NULL)
		return json_null();
	return json_sprintf("%s/signups?limit=%lld&cursor=%s", request->prefix, (long long)limit, last);
}

struct web_answer get_signups(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	int64_t limit = web_integer(request, "limit");
	struct tr_error error = { .text = "out of memory" };
	char cursor[TR_ID_TEXT_SIZE]; /* as taskd writes ids: in small letters */
	struct tr_id before = web_id(request, "cursor");
	json_t *rows = signups_page(web_resource(request, "signups"),
	    web_given(request, "cursor") ? tr_id_format(&before, cursor) : NULL, (int)limit, &error);
	if (rows == NULL) {
		char quoted[LOG_QUOTED_SIZE];
		log_event(LOG_ERR, "signups-failed", "id=%s reason=%s", request->request_id, log_quote(error.text, quoted));
		return answer_detail(503, "the signups cannot be read right now; try again later");
	}
	json_t *next = next_page(request, rows, limit);
	return answer_json(200, json_pack("{s:o, s:o}", "signups", rows, "next", next));
}
