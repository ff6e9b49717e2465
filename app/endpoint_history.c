/*
 * GET /stats/history?span=&from=&to=: what happened in each minute or hour, from the journal. Without
 * `from`, what fits on a screen: the last three hours by minute, the last week by hour.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/board_view.h"
#include "app/endpoints.h"
#include "app/time_text.h"

#define ROWS_MAX 1500 /* a day of minutes, and a bit */
#define MINUTES_MS (3 * 3600 * 1000ll)
#define HOURS_MS (7 * 24 * 3600 * 1000ll)

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }
#define QUANTILES { .types = SCHEMA_OBJECT, .fields = quantiles }

const struct schema_field history_query[] = {
	{ "span", OPTIONAL, { .types = SCHEMA_STRING, .choices = (const char *const[]){ "minute", "hour", NULL },
		.default_json = "\"minute\"", .description = "What a row stands for" } },
	{ "from", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME, .description = "Not before" } },
	{ "to", OPTIONAL, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME, .description = "Before; else until now" } },
	{ 0 },
};

static const struct schema_field quantiles[] = {
	{ "p50", REQUIRED, COUNT("ns; 0: there were none") }, { "p99", REQUIRED, COUNT("ns") },
	{ "p99.9", REQUIRED, COUNT("ns") }, { 0 }
};

const struct schema history_schema = {
	.types = SCHEMA_OBJECT,
	.title = "History",
	.fields = (const struct schema_field[]){
		{ "span", REQUIRED, { .types = SCHEMA_STRING } },
		{ "rows", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){
			.types = SCHEMA_OBJECT,
			.fields = (const struct schema_field[]){
				{ "at", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME, .description = "Its beginning" } },
				{ "accepted", REQUIRED, COUNT("Tasks") },
				{ "succeeded", REQUIRED, COUNT("Tasks") },
				{ "dead", REQUIRED, COUNT("Tasks") },
				{ "cancelled", REQUIRED, COUNT("Tasks") },
				{ "expired", REQUIRED, COUNT("Tasks") },
				{ "started", REQUIRED, COUNT("Attempts") },
				{ "failed", REQUIRED, COUNT("Attempts, in whatever way") },
				{ "waiting", REQUIRED, COUNT("Tasks, at its end") },
				{ "running", REQUIRED, COUNT("Tasks, at its end") },
				{ "oldest_wait_ms", REQUIRED, COUNT("The longest seen in it") },
				{ "wait_ns", REQUIRED, QUANTILES },
				{ "run_ns", REQUIRED, QUANTILES },
				{ 0 },
			} } } },
		{ 0 },
	},
};

static json_t *quantiles_json(uint64_t p50, uint64_t p99, uint64_t p999)
{
	return json_pack("{s:o, s:o, s:o}", "p50", count_json(p50), "p99", count_json(p99), "p99.9", count_json(p999));
}

static json_t *row_json(const struct tr_history_row *row)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "at", time_json(row->at_ms),
	    "accepted", count_json(row->accepted), "succeeded", count_json(row->succeeded), "dead", count_json(row->dead),
	    "cancelled", count_json(row->cancelled), "expired", count_json(row->expired),
	    "started", count_json(row->started), "failed", count_json(row->failed), "waiting", count_json(row->waiting),
	    "running", count_json(row->running), "oldest_wait_ms", count_json(row->oldest_wait_ms),
	    "wait_ns", quantiles_json(row->wait_p50_ns, row->wait_p99_ns, row->wait_p999_ns),
	    "run_ns", quantiles_json(row->run_p50_ns, row->run_p99_ns, row->run_p999_ns));
}

static struct web_answer rows_answer(const char *span, const struct tr_history_row *rows, size_t count)
{
	json_t *list = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++)
		failed |= json_array_append_new(list, row_json(&rows[i]));
	if (failed == 0)
		return answer_json(200, json_pack("{s:s, s:o}", "span", span, "rows", list));
	json_decref(list);
	return answer_json(200, NULL);
}

struct web_answer get_history(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	const char *span = web_text(request, "span");
	bool hours = strcmp(span, "hour") == 0;
	int64_t now_ms = (int64_t)time(NULL) * 1000;
	/* `to` is exclusive, and now belongs to it. */
	int64_t to_ms = web_given(request, "to") ? time_ms(web_text(request, "to")) : now_ms + 1000;
	int64_t from_ms = web_given(request, "from") ? time_ms(web_text(request, "from")) :
						       to_ms - (hours ? HOURS_MS : MINUTES_MS);
	struct tr_history_row *rows = calloc(ROWS_MAX, sizeof(*rows));
	size_t count = 0;
	if (rows == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	enum tr_result result = tr_history(request->ring, hours ? TR_HOUR : TR_MINUTE, from_ms, to_ms, rows, ROWS_MAX, &count);
	struct web_answer answer = result == TR_OK ? rows_answer(span, rows, count) : answer_result(result, NULL);
	free(rows);
	return answer;
}
