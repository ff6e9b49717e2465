/*
 * taskctl tail: follows one task to its end, or all of them, by the events on the board. Enters: an id, or
 * which ones. Leaves: a line for each change of state, step of progress and log line, as they come. Whoever reads
 * slower than taskd writes is told how many events were missed. The board has no futex for its
 * events, so that an event costs taskd nothing; it is looked at every LOOK_MS.
 */
#include "shared/tools/taskctl.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "shared/board.h"
#include "shared/id.h"

#define LOOK_MS 50
#define IDLE_LOOKS 20    /* so many looks without an event, and the rest is looked at: another board, the task itself */

struct tail {
	struct request *request;
	bool one;
	struct tr_id id; /* if one */
	const struct board *board;
	uint64_t serial;        /* the next event */
	uint64_t history_until; /* log lines up to here may be shown already, with the log as it was at the start: */
	uint32_t shown_attempt; /* if they are of an earlier attempt, or of this one and */
	uint32_t shown_lines;   /* among its first lines; */
	uint64_t state_until;   /* changes of state up to here are */
	bool ended;
	enum tr_state state;    /* of the one that ended */
};

/* ---- showing ----------------------------------------------------------------------------- */

static void show_json(json_t *json, const char *kind, int64_t at_ms, const struct tr_id *id)
{
	char text[TR_ID_TEXT_SIZE];

	if (json != NULL && (json_object_set_new(json, "event", json_string(kind)) != 0 ||
	    json_object_set_new(json, "at", time_json(at_ms)) != 0 ||
	    (id != NULL && json_object_set_new(json, "id", json_string(tr_id_format(id, text))) != 0))) {
		json_decref(json);
		json = NULL;
	}
	print_json(json);
}

static void show_text(const struct tail *tail, int64_t at_ms, const struct tr_id *id, const char *what, const char *text)
{
	char time[TIME_TEXT_SIZE], id_text[TR_ID_TEXT_SIZE];

	printf("%s  ", time_text(at_ms, time));
	if (!tail->one)
		printf("%s  ", tr_id_format(id, id_text));
	fputs(what, stdout);
	if (*text != '\0') {
		putchar(' ');
		print_text(stdout, text, 0);
	}
	putchar('\n');
}

static void show_state(struct tail *tail, int64_t at_ms, const struct tr_id *id, enum tr_state state, uint32_t attempt,
    const char *error)
{
	char what[64];

	if (tail->one && tr_state_is_ended(state)) {
		tail->ended = true;
		tail->state = state;
	}
	if (tail->request->json) {
		show_json(json_pack("{s:s, s:I, s:o}", "state", tr_state_name(state), "attempt", (json_int_t)attempt, "error",
		    text_json(error)), "state", at_ms, id);
		return;
	}
	if (state == TR_RUNNING) {
		/* The error is the last attempt's. */
		snprintf(what, sizeof what, "%s, attempt %" PRIu32, tr_state_name(state), attempt);
		show_text(tail, at_ms, id, what, "");
		return;
	}
	snprintf(what, sizeof what, "%s%s", tr_state_name(state), *error ? ":" : "");
	show_text(tail, at_ms, id, what, error);
}

static void show_line(const struct tail *tail, int64_t at_ms, const struct tr_id *id, uint32_t attempt, int level, const char *text)
{
	char what[32];

	if (tail->request->json) {
		show_json(json_pack("{s:s, s:I, s:o}", "level", level_name(level), "attempt", (json_int_t)attempt, "text",
		    text_json(text)), "log", at_ms, id);
		return;
	}
	snprintf(what, sizeof what, "log %s:", level_name(level));
	show_text(tail, at_ms, id, what, text);
}

/* How far it is stands with the task; where that has gone on since the event, it is not this one's. */
static void show_progress(const struct tail *tail, const struct board_event *event, const char *text)
{
	struct board_entry entry;
	char what[64] = "progress";
	bool known = board_find(tail->board, &event->id, &entry) && strcmp(entry.progress_text, text) == 0;

	if (tail->request->json) {
		show_json(json_pack("{s:o, s:o, s:o}", "done", known ? json_integer((json_int_t)entry.progress_done) : json_null(),
		    "total", known ? json_integer((json_int_t)entry.progress_total) : json_null(), "text", text_json(text)),
		    "progress", event->at_ms, &event->id);
		return;
	}
	if (known)
		snprintf(what, sizeof what, "progress %" PRIu64 "/%" PRIu64, entry.progress_done, entry.progress_total);
	show_text(tail, event->at_ms, &event->id, what, text);
}

static void show_missed(const struct tail *tail, uint64_t count)
{
	if (tail->request->json)
		show_json(json_pack("{s:I}", "count", (json_int_t)count), "missed", now_ms(), NULL);
	else
		printf("missed %" PRIu64 " events\n", count);
}

/* ---- events ------------------------------------------------------------------------------ */

static void take_line(struct tail *tail, const struct board_event *event, const char *text)
{
	if (tail->one && event->serial <= tail->history_until && (event->attempt < tail->shown_attempt ||
	    (event->attempt == tail->shown_attempt && event->worker <= tail->shown_lines)))
		return;
	show_line(tail, event->at_ms, &event->id, event->attempt, event->state, text);
}

/* Whether the event is one of those asked for. What is not in the event is looked up. */
static bool is_wanted(const struct tail *tail, const struct board_event *event)
{
	const struct tr_task_filter *filter = &tail->request->filter;
	struct tr_task_status status;

	if (tail->one)
		return id_equal(&event->id, &tail->id);
	unsigned state = event->kind == EVENT_TASK_STATE ? event->state : TR_RUNNING;
	if (filter->states && !(filter->states & 1u << state))
		return false;
	if (filter->handler == NULL && filter->queue == NULL)
		return true;
	if (tr_task_status(tail->request->ring, &event->id, &status) != TR_OK)
		return false;
	bool wanted = (filter->handler == NULL || strcmp(filter->handler, status.handler) == 0) &&
	    (filter->queue == NULL || strcmp(filter->queue, status.queue) == 0);
	tr_task_status_clear(&status);
	return wanted;
}

static void take_event(struct tail *tail, const struct board_event *event)
{
	char text[TR_LOG_LINE_MAX + 1];

	if (event->kind == EVENT_WORKER || event->state > 31 || !is_wanted(tail, event))
		return;
	board_event_text(tail->board, event, text);
	if (event->kind == EVENT_LOG)
		take_line(tail, event, text);
	else if (event->kind == EVENT_PROGRESS)
		show_progress(tail, event, text);
	else if (event->kind == EVENT_TASK_STATE && event->serial > tail->state_until)
		show_state(tail, event->at_ms, &event->id, (enum tr_state)event->state, event->attempt, text);
}

/* All that are there. False: none was. */
static bool take_events(struct tail *tail)
{
	struct board_event event;
	bool some = false;

	while (!tail->ended && !ferror(stdout)) {
		int there = board_event(tail->board, tail->serial, &event);
		if (there == 0)
			break;
		if (there > 0) {
			take_event(tail, &event);
			tail->serial++;
		} else {
			uint64_t last = atomic_load(&tail->board->last_event);
			uint64_t next = last + 1 > tail->board->events ? last + 1 - tail->board->events : 1;
			if (next <= tail->serial) /* it is being written over just now */
				next = tail->serial + 1;
			show_missed(tail, next - tail->serial);
			tail->serial = next;
		}
		some = true;
	}
	return some;
}

/* ---- the task as it was ------------------------------------------------------------------ */

static void show_status(struct tail *tail, const struct tr_task_status *status)
{
	int64_t at_ms = status->ended_ms ? status->ended_ms : status->state == TR_RUNNING ? status->started_ms : status->created_ms;

	show_state(tail, at_ms, &status->id, status->state, status->attempt, status->state == TR_SUCCEEDED ? "" : status->error);
}

/*
 * The status was read while events came in. Those up to the last one that tells of just this state are in it; if there
 * is none, it was so before all of them.
 */
static void find_state(struct tail *tail, const struct tr_task_status *status)
{
	struct board_event event;

	tail->history_until = atomic_load(&tail->board->last_event);
	for (uint64_t serial = tail->serial; serial <= tail->history_until; serial++)
		if (board_event(tail->board, serial, &event) == 1 && event.kind == EVENT_TASK_STATE &&
		    id_equal(&event.id, &tail->id) && event.state == status->state && event.attempt == status->attempt)
			tail->state_until = serial;
}

/* What it has logged so far, and its state where it belongs in between. */
static int show_history(struct tail *tail)
{
	struct tr_task_status status = { 0 };
	struct tr_log_line *lines = NULL;
	size_t count = 0;
	uint64_t dropped;
	char text[TR_ID_TEXT_SIZE];

	enum tr_result result = tr_task_status(tail->request->ring, &tail->id, &status);
	if (result == TR_OK)
		result = tr_task_log(tail->request->ring, &tail->id, &lines, &count, &dropped);
	if (result != TR_OK) {
		tr_task_status_clear(&status);
		return say_result(tr_id_format(&tail->id, text), result, NULL);
	}
	bool stated = false;
	for (size_t i = 0; i < count; i++) {
		if (!stated && status.state == TR_RUNNING && lines[i].attempt >= status.attempt) {
			show_status(tail, &status);
			stated = true;
		}
		show_line(tail, lines[i].at_ms, &tail->id, lines[i].attempt, lines[i].level, lines[i].text);
		tail->shown_lines = lines[i].attempt == tail->shown_attempt ? tail->shown_lines + 1 : 1;
		tail->shown_attempt = lines[i].attempt;
	}
	if (!stated)
		show_status(tail, &status);
	if (tail->board != NULL)
		find_state(tail, &status);
	free(lines);
	tr_task_status_clear(&status);
	return EXIT_DONE;
}

/* ---- following --------------------------------------------------------------------------- */

/* Where the end of one was missed, or came with another board. */
static void look_at_one(struct tail *tail)
{
	struct tr_task_status status;

	if (!tail->one || tr_task_status(tail->request->ring, &tail->id, &status) != TR_OK)
		return;
	if (tr_state_is_ended(status.state) && !take_events(tail))
		show_status(tail, &status);
	tr_task_status_clear(&status);
}

static bool reopen(struct tail *tail)
{
	struct tr_error error;

	if (!board_replaced(tail->board, tail->request->instance))
		return true;
	board_close(&tail->board);
	enum tr_result result = board_open(&tail->board, tail->request->instance, &error);
	tail->serial = 1;
	tail->history_until = tail->state_until = 0;
	if (result != TR_OK)
		say_result(tail->request->instance, result, error.text);
	return result == TR_OK;
}

static int follow(struct tail *tail)
{
	int64_t timeout_ms = tail->request->timeout_ms, until_ms = timeout_ms >= 0 ? now_ms() + timeout_ms : INT64_MAX;
	unsigned idle = 0;

	while (!tail->ended) {
		bool late = now_ms() >= until_ms;
		idle = take_events(tail) ? 0 : idle + 1;
		if (idle >= IDLE_LOOKS || (late && !tail->ended)) {
			look_at_one(tail);
			if (!reopen(tail))
				return EXIT_FAILED;
			idle = 0;
		}
		if (fflush(stdout) != 0)
			return EXIT_FAILED;
		if (tail->ended)
			break;
		if (late)
			return EXIT_TIMED_OUT;
		poll(NULL, 0, LOOK_MS);
	}
	return tail->state == TR_SUCCEEDED ? EXIT_DONE : EXIT_ENDED_BADLY;
}

static int tail_tasks(struct request *request)
{
	struct tail tail = { .request = request, .one = request->operand_count > 0 };
	struct tr_error error;

	if (tail.one && !read_id(request->operands[0], &tail.id))
		return EXIT_USAGE;
	if (tail.one && request->filtered) {
		say("either an id or a filter");
		return EXIT_USAGE;
	}
	int status = request_open(request, false);
	if (status != EXIT_DONE)
		return status;
	enum tr_result result = board_open(&tail.board, request->instance, &error);
	/* From here on events are taken; the history that is read now may hold some of them already. */
	tail.serial = result == TR_OK ? atomic_load(&tail.board->last_event) + 1 : 1;
	if (tail.one)
		status = show_history(&tail);
	if (status == EXIT_DONE && !tail.ended && result != TR_OK)
		status = say_result(request->instance, result, error.text);
	if (status == EXIT_DONE)
		status = follow(&tail);
	if (tail.board != NULL)
		board_close(&tail.board);
	return status;
}

const struct command command_tail = {
	.name = "tail", .operands = "[ID]", .summary = "Follows a task to its end, or all: state, progress, log",
	.options = TAKES_WHICH | TAKES_TIMEOUT, .operands_most = 1, .run = tail_tasks,
};
