/* GET /handlers: what the workers can run, and how it went. Read from the board. */
#include "app/board_view.h"
#include "app/endpoints.h"

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }

const struct schema handlers_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Handlers",
	.fields = (const struct schema_field[]){
		{ "handlers", REQUIRED, { .types = SCHEMA_ARRAY, .description = "By name", .items = &(const struct schema){
			.types = SCHEMA_OBJECT,
			.fields = (const struct schema_field[]){
				{ "name", REQUIRED, { .types = SCHEMA_STRING } },
				{ "doc", REQUIRED, { .types = SCHEMA_STRING, .description = "What it is for" } },
				{ "known", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "A worker of this taskd has it loaded" } },
				{ "started", REQUIRED, COUNT("Attempts so far") },
				{ "succeeded", REQUIRED, COUNT("Attempts so far") },
				{ "failed", REQUIRED, COUNT("Attempts so far") },
				{ "run", REQUIRED, { .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
					{ "count", REQUIRED, COUNT("Attempts that ended by themselves") },
					{ "sum", REQUIRED, COUNT("Of their durations, ns") },
					{ "p50", REQUIRED, COUNT("Half of them took at most this, ns; known to a factor of four") },
					{ "p99", REQUIRED, COUNT("99 % did") },
					{ "p99.9", REQUIRED, COUNT("99.9 % did") },
					{ "buckets", REQUIRED, { .types = SCHEMA_ARRAY,
						.description = "Those that hold values, the lowest first", .items = &bucket_schema } },
					{ 0 } } } },
				{ 0 },
			} } } },
		{ 0 },
	},
};

static uint64_t run_count(const struct board_handler *handler)
{
	uint64_t count = 0;
	for (unsigned i = 0; i < BOARD_RUN_BUCKETS; i++)
		count += handler->run[i];
	return count;
}

/* The smallest limit that `per_mille` of 1,000 attempts stayed below; 0: there were none. */
static uint64_t run_quantile(const struct board_handler *handler, uint64_t per_mille)
{
	uint64_t count = run_count(handler), seen = 0;
	for (unsigned i = 0; i < BOARD_RUN_BUCKETS && count > 0; i++) {
		seen += handler->run[i];
		if ((double)seen * 1000 >= (double)count * (double)per_mille)
			return board_run_limit_ns(i);
	}
	return 0;
}

static json_t *run_buckets_json(const struct board_handler *handler)
{
	json_t *buckets = json_array();
	int failed = 0;
	for (unsigned i = 0; i < BOARD_RUN_BUCKETS; i++)
		if (handler->run[i] > 0)
			failed |= json_array_append_new(buckets, bucket_json(board_run_limit_ns(i), handler->run[i]));
	if (failed == 0)
		return buckets;
	json_decref(buckets);
	return NULL;
}

static json_t *handler_json(const struct board *board, uint32_t row, bool *failed)
{
	struct board_handler found, *handler = &found;
	if (!board_copy_handler(board, row, handler))
		return NULL;
	json_t *json = json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:{s:o, s:o, s:o, s:o, s:o, s:o}}", "name", handler->name,
	    "doc", handler->doc, "known", handler->known != 0, "started", count_json(handler->started),
	    "succeeded", count_json(handler->succeeded), "failed", count_json(handler->failed), "run",
	    "count", count_json(run_count(handler)), "sum", count_json(handler->run_sum_ns),
	    "p50", count_json(run_quantile(handler, 500)), "p99", count_json(run_quantile(handler, 990)),
	    "p99.9", count_json(run_quantile(handler, 999)), "buckets", run_buckets_json(handler));
	*failed = json == NULL;
	return json;
}

struct web_answer get_handlers(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct board_view view;
	struct web_answer answer;
	if (!board_look(request, &view, &answer))
		return answer;
	return answer_rows("handlers", rows_json(view.board, view.board->handlers, handler_json));
}
