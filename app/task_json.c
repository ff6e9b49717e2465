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
	{ "progress", REQUIRED, { .types = SCHEMA_OBJECT, .description = "Shown live and not kept: 0 once the board has let go of it", .fields = (const struct schema_field[]){ \
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
			.description = "The path of the next page, also of one that is short or empty because few of many tasks match; "
			    "null: this is the last one" } },
		{ 0 },
	},
};

static const struct schema attempt_schema = {
	.types = SCHEMA_OBJECT,
	.fields = (const struct schema_field[]){
		{ "number", REQUIRED, COUNT("1 for the first") },
		{ "started", REQUIRED, TIME("When a worker began") },
		{ "ended", REQUIRED, TIME("null: it runs") },
		{ "outcome", REQUIRED, TEXT(.description = "succeeded, failed, timeout, crashed, killed, bad arguments, and so on") },
		{ "message", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "Of a failure" } },
		{ "verdict", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "Of the on-failure callback" } },
		{ "exit_code", REQUIRED, { .types = SCHEMA_INTEGER, .description = "Of a worker that died with it" } },
		{ "signal", REQUIRED, COUNT("Of a worker that died with it; 0: none") },
		{ "peak_memory_kb", REQUIRED, COUNT("Of a worker that died with it") },
		{ "worker_pid", REQUIRED, { .types = SCHEMA_INTEGER } },
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
		{ "arguments", REQUIRED, { .types = SCHEMA_ANY,
			.description = "As they may be shown: what the handler calls secret reads \"***\"; null: too large, or gone" } },
		{ "arguments_bytes", REQUIRED, COUNT("Of the arguments as they are; 0: not known") },
		{ "redacted", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "Something in arguments reads \"***\"" } },
		{ "has_file", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "It owns a file" } },
		{ "on_failure", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL,
			.description = "The callback that it names; null: its handler's own" } },
		{ "attempts", REQUIRED, { .types = SCHEMA_ARRAY, .description = "The last ones, the oldest first",
			.items = &attempt_schema } },
		{ "siblings", REQUIRED, { .types = SCHEMA_ARRAY, .description = "Other tasks of its request; of many, those around it",
			.items = &(const struct schema){ .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){
				{ "id", REQUIRED, TEXT(.format = FORMAT_UUID) },
				{ "handler", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL } },
				{ "state", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "null: not known any more" } },
				{ 0 },
			} } } },
		{ "sequential", REQUIRED, { .types = SCHEMA_BOOLEAN, .description = "They run one after the other" } },
		{ "explanation", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .description = "Why it does not run, in a sentence" } },
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

json_t *task_text_json(const char *text)
{
	json_t *json = text != NULL ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
	if (json != NULL)
		return json;
	/* Beyond what jansson can hold (an integer of more than 64 bits): better as text than not at all. */
	return text != NULL ? json_string(text) : json_null();
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
	    "result", task_text_json(status->result),
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
