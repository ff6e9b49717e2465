/*
 * The endpoints that docs/endpoints.md shows: first what it adds to app/endpoints.h, at the end what
 * it adds to app/routes.c. Compiled by tests/system/readme.sh, built in by tests/system/endpoints.sh.
 */
#include "app/web.h"

web_endpoint post_sales_sum, get_sales;
extern const struct schema sales_sum_schema, sales_schema;

#include "app/endpoints.h"
#include "sales.h"

const struct schema sales_sum_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Month",
	.fields = (const struct schema_field[]){
		{ "year", REQUIRED, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(2000), .maximum = AT_MOST(2100) } },
		{ "month", REQUIRED, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = AT_MOST(12) } },
		{ "report_to", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_EMAIL } },
		{ 0 },
	},
};

const struct schema sales_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Sales",
	.fields = (const struct schema_field[]){ { "cents", REQUIRED, { .types = SCHEMA_INTEGER } }, { 0 } },
};

/* POST /sales/sums: the sum is made after the answer, then a mail says that it is there. */
struct web_answer post_sales_sum(const struct web_request *request, struct background_tasks *background)
{
	const char *report_to = json_string_value(json_object_get(request->body, "report_to"));
	const struct task_options options = { .hard_timeout_ms = 60000, .max_attempts = 3 };

	web_add_task(request, background, "sum_sales", request->body, &options);
	if (report_to != NULL) {
		json_t *mail = json_pack("{s:s, s:s, s:s}", "to", report_to, "subject", "The sum is there", "text", "Have a look.");
		web_add_task(request, background, "mail", mail, NULL);
		json_decref(mail);
	}
	return answer_accepted(request, background);
}

/* GET /sales/{year}/{month}: at once, from the same database. */
struct web_answer get_sales(const struct web_request *request, struct background_tasks *background)
{
	struct tr_error error;
	int64_t cents;

	(void)background; /* it adds no tasks */
	if (web_integer(request, "month") < 1 || web_integer(request, "month") > 12)
		return answer_fault("path", "month", "value_error", "Input should be a month, from 1 to 12");
	if (!sales_sum(web_resource(request, "sales"), (int)web_integer(request, "year"), (int)web_integer(request, "month"),
		&cents, &error))
		return answer_detail(503, "the sales cannot be read right now");
	return answer_json(200, json_pack("{s:I}", "cents", (json_int_t)cents));
}

/* The rows. */
static const struct tr_resource *const sales_needed[] = { &sales_resource, NULL };
extern const struct route sales_routes[];
const struct route sales_routes[] = {
	{
		.method = METHOD_POST, .path = "/sales/sums", .endpoint = post_sales_sum,
		.tag = "sales", .summary = "Sum a month's sales", .description = "After the answer.",
		.body = &sales_sum_schema, .needs_ring = true,
		.answers = (const struct route_answer[]){ { 202, "Its tasks", &accepted_schema }, { 0 } },
	},
	{
		.method = METHOD_GET, .path = "/sales/{year:int}/{month:int}", .endpoint = get_sales,
		.tag = "sales", .summary = "A month's sales", .description = "In cents.", .resources = sales_needed,
		.answers = (const struct route_answer[]){ { 200, "Their sum", &sales_schema }, { 0 } },
	},
};
