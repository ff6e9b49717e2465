/*
 * What the library says of tasks comes in, JSON goes out, and the schemas that describe it stand
 * beside. Called by the endpoints that look at tasks.
 */
#include "app/task_json.h"

#include "app/endpoints.h"
#include "app/time_text.h"

#define TEXT(...) { .types = SCHEMA_STRING, __VA_ARGS__ }
#define PLAIN { .types = SCHEMA_STRING }
#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }
#define TIME(text) { .types = SCHEMA_STRING | SCHEMA_NULL, .format = FORMAT_DATE_TIME, .description = (text) }

const char *const task_states[] = {
#define STATE(name, shown, ended, text) shown,
#include "taskring/states.tbl"
#undef STATE
	NULL
};

static const char *const levels[] = { "error", "warning", "info", "debug", NULL };

/* ---- schemas ----------------------------------------------------------------------------- */

const struct schema accepted_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Accepted",
	.fields = (const struct schema_field[]){
		{ "tasks", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){
			.types = SCHEMA_OBJECT,
			.fields = (const struct schema_field[]){
				{ "id", REQUIRED, TEXT(.format = FORMAT_UUID) },
				{ "handler", REQUIRED, PLAIN },
				{ "href", REQUIRED, TEXT(.description = "Where the task can be looked at") },
				{ 0 },
			} } } },
		{ 0 },
	},
};

/* Those of every task; what only the page of one task has is in task_schema. */
#define TASK_FIELDS \
	{ "id", REQUIRED, TEXT(.format = FORMAT_UUID) }, \
	{ "state", REQUIRED, TEXT(.choices = task_states) }, \
	{ "cancelling", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "Told to stop, and still running" } }, \
	{ "handler", REQUIRED, PLAIN }, \
	{ "queue", REQUIRED, PLAIN }, \
	{ "attempt", REQUIRED, COUNT("1 for the first, 0 before it") }, \
	{ "max_attempts", REQUIRED, COUNT("Then it is dead") }, \
	{ "progress", REQUIRED, { .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){ \
		{ "done", REQUIRED, COUNT("Steps") }, { "total", REQUIRED, COUNT("0: not known") }, \
		{ "text", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL } }, { 0 } } } }, \
	{ "result", REQUIRED, { .types = SCHEMA_ANY, .description = "What the handler gave; null: nothing yet" } }, \
	{ "error", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "Of the last failure" } }, \
	{ "created", REQUIRED, TIME("When its request came") }, \
	{ "due", REQUIRED, TIME("Not before") }, \
	{ "started", REQUIRED, TIME("Of the last attempt") }, \
	{ "ended", REQUIRED, TIME("For good") }

const struct schema task_list_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Tasks",
	.fields = (const struct schema_field[]){
		{ "tasks", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){
			.types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){ TASK_FIELDS, { 0 } } } } },
		{ "next", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL,
			.description = "The path of the next page; null: this is the last one" } },
		{ 0 },
	},
};

const struct schema task_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Task",
	.fields = (const struct schema_field[]){
		TASK_FIELDS,
		{ "trace", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "W3C traceparent of its request" } },
		{ "request_id", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "X-Request-ID of its request" } },
		{ "log", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){
			.types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
				{ "level", REQUIRED, TEXT(.choices = levels) },
				{ "at", REQUIRED, TEXT(.format = FORMAT_DATE_TIME) },
				{ "attempt", REQUIRED, COUNT("Which one wrote it") },
				{ "text", REQUIRED, PLAIN },
				{ 0 },
			} } } },
		{ "log_dropped", REQUIRED, COUNT("Lines that were not kept") },
		{ 0 },
	},
};

const struct schema steered_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Asked",
	.fields = (const struct schema_field[]){
		{ "id", REQUIRED, TEXT(.format = FORMAT_UUID) },
		{ "state", REQUIRED, TEXT(.choices = task_states, .description = "As it was when taskd was asked") },
		{ "href", REQUIRED, PLAIN },
		{ 0 },
	},
};

/* ---- values ------------------------------------------------------------------------------ */

/* The handler's result is JSON already; shown as null while there is none. */
static json_t *result_json(const char *result)
{
	json_t *json = result != NULL ? json_loads(result, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
	if (json != NULL)
		return json;
	/* Beyond what jansson can hold (an integer of more than 64 bits): better as text than not at all. */
	return result != NULL ? json_string(result) : json_null();
}

json_t *text_or_null(const char *text)
{
	return text[0] != '\0' ? json_string(text) : json_null();
}

json_t *task_json(const struct tr_task_status *status)
{
	char id[TR_ID_TEXT_SIZE];
	return json_pack("{s:s, s:s, s:b, s:s, s:s, s:I, s:I, s:{s:I, s:I, s:o}, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "id", tr_id_format(&status->id, id),
	    "state", tr_state_name(status->state),
	    "cancelling", (int)status->cancelling,
	    "handler", status->handler,
	    "queue", status->queue,
	    "attempt", (json_int_t)status->attempt,
	    "max_attempts", (json_int_t)status->max_attempts,
	    "progress",
	    "done", (json_int_t)status->progress_done,
	    "total", (json_int_t)status->progress_total,
	    "text", text_or_null(status->progress_text),
	    "result", result_json(status->result),
	    "error", text_or_null(status->error),
	    "created", time_json(status->created_ms),
	    "due", time_json(status->due_ms),
	    "started", time_json(status->started_ms),
	    "ended", time_json(status->ended_ms));
}

/* syslog's number as the handler's API names it; what it does not name is between two that it does. */
static const char *level_name(int level)
{
	return levels[level <= 3 ? 0 : level == 4 ? 1 : level <= 6 ? 2 : 3];
}

json_t *task_log_json(const struct tr_log_line *lines, size_t count)
{
	json_t *log = json_array();
	for (size_t i = 0; i < count; i++) {
		if (json_array_append_new(log, json_pack("{s:s, s:o, s:I, s:s}", "level", level_name(lines[i].level),
			"at", time_json(lines[i].at_ms), "attempt", (json_int_t)lines[i].attempt, "text", lines[i].text)) != 0) {
			json_decref(log);
			return NULL;
		}
	}
	return log;
}
