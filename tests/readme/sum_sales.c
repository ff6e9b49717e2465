#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "sales.h"
#include "taskring/handler.h"

static enum tr_outcome sum_sales(struct tr_task *task)
{
	int year, month;
	int64_t cents;
	struct tr_error error;
	char result[64];

	json_t *args = json_loads(tr_task_args(task), 0, NULL);
	int failed = json_unpack(args, "{s:i, s:i}", "year", &year, "month", &month);
	json_decref(args);
	if (failed != 0)
		return tr_fail_permanently(task, "year and month must be integers");
	if (!sales_sum(tr_resource(task, "sales"), year, month, &cents, &error))
		return tr_fail(task, "%s", error.text);
	snprintf(result, sizeof result, "{\"cents\":%" PRId64 "}", cents);
	tr_result_json(task, result);
	return TR_SUCCESS;
}

static const char *const needed[] = { "sales", NULL };
static const struct tr_handler handlers[] = {
	{ .name = "sum_sales", .doc = "Sums a month's sales", .run = sum_sales, .resources = needed },
};

const struct tr_plugin taskring_plugin = {
	.abi = TR_PLUGIN_ABI,
	.handlers = handlers, .handler_count = 1,
	.resources = &sales_resource, .resource_count = 1,
};
