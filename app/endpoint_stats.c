/*
 * GET /stats: all counters, gauges and histograms of the board, and how taskd is. Read from shared
 * memory only; what is what says shared/stats.tbl.
 */
#include "app/board_view.h"
#include "app/endpoints.h"

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }

/* The rows of stats.tbl as members, by their kind. */
static const struct schema_field counters_schema[] = {
#define ROW_COUNTER(name, text) { #name, REQUIRED, COUNT(text) },
#define ROW_GAUGE(name, text)
#define STAT(name, kind, unit, text) ROW_##kind(name, text)
#include "shared/stats.tbl"
#undef ROW_COUNTER
#undef ROW_GAUGE
	{ 0 },
};
static const struct schema_field rates_schema[] = {
#define ROW_COUNTER(name, text) { #name, REQUIRED, { .types = SCHEMA_NUMBER } },
#define ROW_GAUGE(name, text)
#define STAT(name, kind, unit, text) ROW_##kind(name, text)
#include "shared/stats.tbl"
#undef ROW_COUNTER
#undef ROW_GAUGE
	{ 0 },
};
static const struct schema_field gauges_schema[] = {
#define ROW_COUNTER(name, text)
#define ROW_GAUGE(name, text) { #name, REQUIRED, COUNT(text) },
#define STAT(name, kind, unit, text) ROW_##kind(name, text)
#include "shared/stats.tbl"
#undef ROW_COUNTER
#undef ROW_GAUGE
	{ 0 },
};
static const struct schema_field hists_schema[] = {
#define HIST(name, unit, text) \
	{ #name, REQUIRED, { .types = SCHEMA_OBJECT, .description = (text), .fields = hist_fields_schema } },
#include "shared/stats.tbl"
	{ 0 },
};

const struct schema stats_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Stats",
	.fields = (const struct schema_field[]){
		{ "version", REQUIRED, { .types = SCHEMA_STRING } },
		{ "board_version", REQUIRED, COUNT("Of the layout in shared memory") },
		{ "timestamp_ms", REQUIRED, COUNT("Since 1970") },
		{ "instance", REQUIRED, { .types = SCHEMA_STRING } },
		{ "taskd", REQUIRED, { .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
			{ "state", REQUIRED, { .types = SCHEMA_STRING, .choices = taskd_life_name } },
			{ "pid", REQUIRED, COUNT("Of the dispatcher") },
			{ "incarnation", REQUIRED, COUNT("Dispatchers so far on this board") },
			{ "started_ms", REQUIRED, COUNT("Since 1970") },
			{ "seen_ms", REQUIRED, COUNT("Its last sign of life, since 1970") },
			{ 0 } } } },
		{ "workers", REQUIRED, { .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
			{ "processes", REQUIRED, COUNT("Alive") },
			{ "threads", REQUIRED, COUNT("Of all of them") },
			{ "busy", REQUIRED, COUNT("Processes that run something now") },
			{ "memory_kb", REQUIRED, COUNT("Resident, of all of them") },
			{ 0 } } } },
		{ "counters", REQUIRED, { .types = SCHEMA_OBJECT, .fields = counters_schema } },
		{ "rates", REQUIRED, { .types = SCHEMA_OBJECT, .fields = rates_schema,
			.description = "Of the counters, per second since taskd's start" } },
		{ "gauges", REQUIRED, { .types = SCHEMA_OBJECT, .fields = gauges_schema } },
		{ "histograms", REQUIRED, { .types = SCHEMA_OBJECT, .fields = hists_schema } },
		{ 0 },
	},
};

static json_t *taskd_json(const struct board_view *view)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I}", "state", taskd_life_name[view->life],
	    "pid", (json_int_t)atomic_load_explicit(&view->board->pid, memory_order_relaxed),
	    "incarnation", (json_int_t)atomic_load_explicit(&view->board->incarnation, memory_order_relaxed),
	    "started_ms", (json_int_t)view->started_ms, "seen_ms", (json_int_t)view->seen_ms);
}

static json_t *workers_json(const struct board *board)
{
	json_int_t processes = 0, threads = 0, busy = 0, memory_kb = 0;
	for (uint32_t row = 0; row < board->workers; row++) {
		struct board_worker worker;
		if (!board_copy_worker(board, row, &worker) || (worker.state != WORKER_IDLE && worker.state != WORKER_BUSY))
			continue;
		processes++;
		threads += worker.threads;
		busy += worker.state == WORKER_BUSY;
		memory_kb += (json_int_t)worker.memory_kb;
	}
	return json_pack("{s:I, s:I, s:I, s:I}", "processes", processes, "threads", threads, "busy", busy, "memory_kb",
	    memory_kb);
}

/* Counters and, in their place, rates; or gauges. */
static json_t *stats_json(const struct board_view *view, enum stat_kind kind, bool as_rates)
{
	json_t *stats = json_object();
	int failed = 0;
	for (unsigned i = 0; i < STATS; i++) {
		if (stat_info[i].kind == kind)
			failed |= json_object_set_new(stats, stat_info[i].name,
			    as_rates ? json_real(board_rate(view->board, (enum stat_row)i, view->seconds)) :
				       counter_json(&view->board->stats[i]));
	}
	if (failed == 0)
		return stats;
	json_decref(stats);
	return NULL;
}

static json_t *hists_json(const struct board *board)
{
	json_t *hists = json_object();
	int failed = 0;
	for (unsigned i = 0; i < HISTS; i++)
		failed |= json_object_set_new(hists, hist_info[i].name, hist_json(&board->hists[i]));
	if (failed == 0)
		return hists;
	json_decref(hists);
	return NULL;
}

struct web_answer get_stats(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct board_view view;
	struct web_answer answer;
	if (!board_look(request, &view, &answer))
		return answer;
	return answer_json(200, json_pack("{s:s, s:i, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "version", TASKRING_VERSION, "board_version", (int)BOARD_VERSION, "timestamp_ms", (json_int_t)view.now_ms,
	    "instance", view.board->instance, "taskd", taskd_json(&view), "workers", workers_json(view.board),
	    "counters", stats_json(&view, COUNTER, false), "rates", stats_json(&view, COUNTER, true),
	    "gauges", stats_json(&view, GAUGE, false), "histograms", hists_json(view.board)));
}
