/*
 * Showing to programs: what the library says of a task comes in, JSON goes out, named as the responder's
 * GET /tasks/ID names it. Called by the commands.
 */
#include "shared/tools/taskctl.h"

#include <stdlib.h>
#include <string.h>

json_t *time_json(int64_t time_ms)
{
	char text[TIME_TEXT_SIZE];

	return time_ms > 0 ? json_string(time_text(time_ms, text)) : json_null();
}

/* Of bytes that are no UTF-8, which nobody should have let in, each becomes a question mark. */
static json_t *any_text_json(const char *text)
{
	json_t *json = json_string(text);

	if (json != NULL)
		return json;
	char *plain = strdup(text);
	for (char *at = plain; at != NULL && *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	json = plain != NULL ? json_string(plain) : NULL;
	free(plain);
	return json;
}

json_t *text_json(const char *text)
{
	return *text != '\0' ? any_text_json(text) : json_null();
}

/* What is JSON already; as text where jansson cannot hold it (an integer of more than 64 bits). */
static json_t *embedded_json(const char *text)
{
	if (text == NULL)
		return json_null();
	json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	return json != NULL ? json : any_text_json(text);
}

json_t *status_json(const struct tr_task_status *status)
{
	char id[TR_ID_TEXT_SIZE];

	return json_pack("{s:s, s:s, s:b, s:s, s:s, s:I, s:I, s:{s:I, s:I, s:o}, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "id", tr_id_format(&status->id, id), "state", tr_state_name(status->state), "cancelling", (int)status->cancelling,
	    "handler", status->handler, "queue", status->queue, "attempt", (json_int_t)status->attempt,
	    "max_attempts", (json_int_t)status->max_attempts, "progress", "done", (json_int_t)status->progress_done,
	    "total", (json_int_t)status->progress_total, "text", text_json(status->progress_text),
	    "result", embedded_json(status->result), "error", text_json(status->error), "created", time_json(status->created_ms),
	    "due", time_json(status->due_ms), "started", time_json(status->started_ms), "ended", time_json(status->ended_ms));
}

json_t *log_json(const struct tr_log_line *lines, size_t count)
{
	json_t *log = json_array();

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(log, json_pack("{s:s, s:o, s:I, s:o}", "level", level_name(lines[i].level), "at",
		    time_json(lines[i].at_ms), "attempt", (json_int_t)lines[i].attempt, "text", any_text_json(lines[i].text))) != 0) {
			json_decref(log);
			return NULL;
		}
	return log;
}

static json_t *attempts_json(const struct tr_task_detail *detail)
{
	json_t *attempts = json_array();

	for (size_t i = 0; i < detail->attempt_count; i++) {
		const struct tr_attempt *one = &detail->attempts[i];
		if (json_array_append_new(attempts, json_pack("{s:I, s:o, s:o, s:s, s:o, s:o, s:i, s:i, s:i, s:I}",
		    "attempt", (json_int_t)one->number, "started", time_json(one->started_ms), "ended", time_json(one->ended_ms),
		    "outcome", one->outcome, "message", text_json(one->message), "verdict", text_json(one->verdict),
		    "worker_pid", (int)one->worker_pid, "exit_code", (int)one->exit_code, "signal", (int)one->signal,
		    "peak_memory_kb", (json_int_t)one->peak_memory_kb)) != 0) {
			json_decref(attempts);
			return NULL;
		}
	}
	return attempts;
}

static json_t *siblings_json(const struct tr_task_detail *detail)
{
	json_t *siblings = json_array();
	char id[TR_ID_TEXT_SIZE];

	for (size_t i = 0; i < detail->sibling_count; i++)
		if (json_array_append_new(siblings, json_string(tr_id_format(&detail->siblings[i], id))) != 0) {
			json_decref(siblings);
			return NULL;
		}
	return siblings;
}

json_t *detail_json(const struct tr_task_detail *detail)
{
	json_t *json = status_json(&detail->status);
	json_t *more = json_pack("{s:o, s:b, s:I, s:b, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:b}",
	    "arguments", embedded_json(detail->args), "redacted", (int)detail->redacted,
	    "arguments_bytes", (json_int_t)detail->args_bytes, "has_file", (int)detail->has_file,
	    "trace", text_json(detail->trace), "on_failure", text_json(detail->on_failure),
	    "backoff_base_ms", (json_int_t)detail->backoff_base_ms, "backoff_cap_ms", (json_int_t)detail->backoff_cap_ms,
	    "soft_timeout_ms", (json_int_t)detail->soft_timeout_ms, "hard_timeout_ms", (json_int_t)detail->hard_timeout_ms,
	    "expires", time_json(detail->expires_at_ms), "attempts", attempts_json(detail), "siblings", siblings_json(detail),
	    "place", (json_int_t)detail->place, "sequential", (int)detail->sequential);

	if (json == NULL || more == NULL || json_object_update(json, more) != 0) {
		json_decref(json);
		json = NULL;
	}
	json_decref(more);
	return json;
}

bool print_json(json_t *json)
{
	bool printed = json != NULL && json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY) == 0;

	json_decref(json);
	if (printed)
		putchar('\n');
	else if (json == NULL)
		say_result("printing", TR_NO_MEMORY, NULL);
	return printed;
}
