/* taskctl show and taskctl explain: one task. */
#include "shared/tools/taskctl.h"

#include <inttypes.h>
#include <stdlib.h>

static void print_field(const char *name, const char *text)
{
	printf("%-12s ", name);
	print_text(stdout, text, 0);
	putchar('\n');
}

static void print_time(const char *name, int64_t time_ms, const char *since, int64_t since_ms)
{
	char time[TIME_TEXT_SIZE], duration[DURATION_TEXT_SIZE];

	if (time_ms <= 0)
		return;
	printf("%-12s %s", name, time_text(time_ms, time));
	if (since_ms > 0 && time_ms > since_ms)
		printf("  (%s after %s)", duration_text(time_ms - since_ms, duration), since);
	putchar('\n');
}

static void print_status(const struct tr_task_status *status)
{
	char id[TR_ID_TEXT_SIZE], attempt[ATTEMPT_TEXT_SIZE];

	print_field("id", tr_id_format(&status->id, id));
	print_field("state", status->cancelling ? "running, is being cancelled" : tr_state_name(status->state));
	print_field("handler", status->handler);
	print_field("queue", status->queue);
	print_field("attempt", attempt_text(status, " of ", attempt));
	print_time("created", status->created_ms, "", 0);
	print_time("due", status->due_ms, "created", status->created_ms);
	print_time("started", status->started_ms, "due", status->due_ms);
	print_time("ended", status->ended_ms, "started", status->started_ms);
	if (status->progress_total > 0 || status->progress_text[0] != '\0') {
		printf("%-12s %" PRIu64 "/%" PRIu64 " ", "progress", status->progress_done, status->progress_total);
		print_text(stdout, status->progress_text, 0);
		putchar('\n');
	}
	if (status->error[0] != '\0')
		print_field("error", status->error);
	if (status->result != NULL)
		print_field("result", status->result);
}

static void print_span(const char *name, uint32_t ms)
{
	char duration[DURATION_TEXT_SIZE];

	if (ms > 0)
		print_field(name, duration_text(ms, duration));
}

static void print_detail(const struct tr_task_detail *detail)
{
	char id[TR_ID_TEXT_SIZE];

	print_field("arguments", detail->args != NULL ? detail->args : "(not shown: too large, or not kept)");
	if (detail->has_file)
		print_field("file", "yes");
	if (detail->on_failure[0] != '\0')
		print_field("on failure", detail->on_failure);
	if (detail->trace[0] != '\0')
		print_field("trace", detail->trace);
	print_span("soft timeout", detail->soft_timeout_ms);
	print_span("hard timeout", detail->hard_timeout_ms);
	print_time("expires", detail->expires_at_ms, "created", detail->status.created_ms);
	for (size_t i = 0; i < detail->sibling_count && detail->sibling_count > 1; i++)
		printf("%-12s %s%s\n", i > 0 ? "" : detail->sequential ? "in sequence" : "with", tr_id_format(&detail->siblings[i], id),
		    i == detail->place ? "  (this one)" : "");
}

static void print_attempt(const struct tr_attempt *attempt)
{
	char time[TIME_TEXT_SIZE], duration[DURATION_TEXT_SIZE];

	printf("attempt %-4" PRIu32 " %s  ", attempt->number, time_text(attempt->started_ms, time));
	print_text(stdout, attempt->outcome, 0);
	if (attempt->ended_ms >= attempt->started_ms && attempt->ended_ms > 0)
		printf(" after %s", duration_text(attempt->ended_ms - attempt->started_ms, duration));
	if (attempt->verdict[0] != '\0')
		printf(", verdict %s", attempt->verdict);
	if (attempt->signal != 0)
		printf(", signal %d", attempt->signal);
	if (attempt->exit_code != 0)
		printf(", exit code %d", attempt->exit_code);
	if (attempt->peak_memory_kb > 0)
		printf(", peak memory %" PRIu64 " KB", attempt->peak_memory_kb);
	if (attempt->message[0] != '\0') {
		fputs(": ", stdout);
		print_text(stdout, attempt->message, 0);
	}
	putchar('\n');
}

struct shown {
	struct tr_task_detail detail;
	struct tr_log_line *lines;
	size_t line_count;
	uint64_t dropped;
	char explanation[TR_EXPLANATION_SIZE];
};

static void print_for_people(const struct shown *shown)
{
	char time[TIME_TEXT_SIZE];

	print_status(&shown->detail.status);
	print_detail(&shown->detail);
	if (shown->explanation[0] != '\0')
		print_field("in short", shown->explanation);
	for (size_t i = 0; i < shown->detail.attempt_count; i++)
		print_attempt(&shown->detail.attempts[i]);
	for (size_t i = 0; i < shown->line_count; i++) {
		const struct tr_log_line *line = &shown->lines[i];
		printf("log %-8" PRIu32 " %s  %s: ", line->attempt, time_text(line->at_ms, time), level_name(line->level));
		print_text(stdout, line->text, 0);
		putchar('\n');
	}
	if (shown->dropped > 0)
		printf("%-12s %" PRIu64 " more lines were not kept\n", "log", shown->dropped);
}

static bool print_for_programs(const struct shown *shown)
{
	json_t *json = detail_json(&shown->detail);

	if (json != NULL && (json_object_set_new(json, "explanation", text_json(shown->explanation)) != 0 ||
	    json_object_set_new(json, "log", log_json(shown->lines, shown->line_count)) != 0 ||
	    json_object_set_new(json, "log_dropped", json_integer((json_int_t)shown->dropped)) != 0)) {
		json_decref(json);
		json = NULL;
	}
	return print_json(json);
}

static int show(struct request *request)
{
	struct shown shown = { 0 };
	struct tr_id id;

	if (!read_id(request->operands[0], &id))
		return EXIT_USAGE;
	int status = request_open(request, false);
	if (status != EXIT_DONE)
		return status;
	enum tr_result result = tr_task_detail(request->ring, &id, &shown.detail);
	if (result == TR_OK)
		result = tr_task_log(request->ring, &id, &shown.lines, &shown.line_count, &shown.dropped);
	if (result == TR_OK)
		tr_task_explain(request->ring, &id, shown.explanation); /* an ended task may just have been removed */
	if (result != TR_OK)
		status = say_result(request->operands[0], result, NULL);
	else if (!request->json)
		print_for_people(&shown);
	else if (!print_for_programs(&shown))
		status = EXIT_FAILED;
	free(shown.lines);
	tr_task_detail_clear(&shown.detail);
	return status;
}

const struct command command_show = {
	.name = "show", .operands = "ID", .summary = "Shows one task: state, times, arguments, attempts, log",
	.operands_least = 1, .operands_most = 1, .run = show,
};

static int explain(struct request *request)
{
	char text[TR_EXPLANATION_SIZE], id_text[TR_ID_TEXT_SIZE];
	struct tr_id id;

	if (!read_id(request->operands[0], &id))
		return EXIT_USAGE;
	int status = request_open(request, false);
	if (status != EXIT_DONE)
		return status;
	enum tr_result result = tr_task_explain(request->ring, &id, text);
	if (result != TR_OK)
		return say_result(request->operands[0], result, NULL);
	if (request->json)
		return print_json(json_pack("{s:s, s:o}", "id", tr_id_format(&id, id_text), "explanation", text_json(text))) ?
		    EXIT_DONE : EXIT_FAILED;
	print_text(stdout, text, 0);
	putchar('\n');
	return EXIT_DONE;
}

const struct command command_explain = {
	.name = "explain", .operands = "ID", .summary = "Says in one sentence why a task is not running",
	.operands_least = 1, .operands_most = 1, .run = explain,
};
