/*
 * See stream_events.h. Events are kept in a table by their serial, so the 1,000 listeners that look at
 * one find it read and, where somebody wanted it, made into text already. What an event does not hold
 * itself (whose task it is, how far it is) comes from the task's entry on the board, as it is when the
 * first listener wants it.
 *
 * Progress is a state, not a story: of a task that has said 40 times how far it is between two looks,
 * only the last is told.
 */
#include "app/stream_events.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/task_json.h"
#include "app/time_text.h"
#include "shared/board.h"
#include "shared/client.h"
#include "shared/id.h"

#define CELLS 4096u    /* of the table: more than come between two looks, unless taskd is at its limit */
#define TASKS 1024u    /* of the table of who has said how far he is */
#define BOARD_LOOK_MS 1000 /* so often the name of the board is looked up */

struct stream_events {
	const char *instance;
	const struct board *board; /* NULL: there is none */
	int64_t look_again_ms;     /* for a board, or for another one */
	struct stream_view view;
	uint64_t read;             /* the newest event that has been read */
	uint64_t progress[TASKS];  /* the serial of the latest progress of a task with that hash */
	struct stream_event cells[CELLS];
};

struct stream_events *stream_events_new(const char *instance)
{
	struct stream_events *events = calloc(1, sizeof(*events));
	if (events != NULL) {
		events->instance = instance;
		events->look_again_ms = INT64_MIN;
	}
	return events;
}

void stream_events_forget(struct stream_events *events)
{
	for (size_t i = 0; i < CELLS; i++) {
		free(events->cells[i].text);
		events->cells[i].text = NULL;
		events->cells[i].serial = 0;
	}
	memset(events->progress, 0, sizeof(events->progress));
	events->read = 0;
}

void stream_events_free(struct stream_events **events)
{
	struct stream_events *gone = *events;
	*events = NULL;
	if (gone == NULL)
		return;
	stream_events_forget(gone);
	board_close(&gone->board);
	free(gone);
}

/* ---- looking ----------------------------------------------------------------------------- */

static int64_t wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Opens the board where there was none, or where the name stands for another one. */
static void follow_board(struct stream_events *events)
{
	const struct board *found = NULL;
	struct tr_error error;
	if (events->board != NULL && !board_replaced(events->board, events->instance))
		return;
	/* One of another version cannot be read: the old one stays, and taskd is dead on it. */
	if (board_open(&found, events->instance, &error) != TR_OK)
		return;
	stream_events_forget(events);
	board_close(&events->board);
	events->board = found;
}

/* What is new, before anybody asks for it: so all listeners pass over the same superseded progress. */
static void read_new(struct stream_events *events)
{
	const struct stream_view *view = &events->view;
	uint64_t serial = view->newest >= CELLS ? view->newest + 1 - CELLS : 1;
	if (serial < view->oldest)
		serial = view->oldest;
	if (serial <= events->read)
		serial = events->read + 1;
	for (; serial <= view->newest; serial++)
		stream_event(events, serial);
	events->read = view->newest;
}

const struct stream_view *stream_events_look(struct stream_events *events, int64_t now_ms)
{
	if (now_ms >= events->look_again_ms) {
		events->look_again_ms = now_ms + BOARD_LOOK_MS;
		follow_board(events);
	}
	const struct board *board = events->board;
	if (board == NULL)
		return &events->view;
	uint64_t newest = atomic_load_explicit(&board->last_event, memory_order_acquire);
	events->view = (struct stream_view){
		.identity = board->identity,
		.newest = newest,
		.oldest = newest >= board->events ? newest + 1 - board->events : 1,
		.incarnation = atomic_load_explicit(&board->incarnation, memory_order_acquire),
		.alive = board_alive(board, wall_ms()),
	};
	read_new(events);
	return &events->view;
}

/* ---- an event ---------------------------------------------------------------------------- */

/* Only the latest progress of a task is worth telling. */
static void supersede(struct stream_events *events, struct stream_event *event)
{
	uint64_t *latest = &events->progress[id_hash(&event->id) % TASKS];
	struct stream_event *other = &events->cells[*latest % CELLS];
	bool same = *latest != 0 && other->serial == *latest && other->kind == EVENT_PROGRESS && id_equal(&other->id, &event->id);
	if (same && *latest > event->serial) {
		event->superseded = true;
		return;
	}
	if (same)
		other->superseded = true;
	*latest = event->serial;
}

struct stream_event *stream_event(struct stream_events *events, uint64_t serial)
{
	struct stream_event *event = &events->cells[serial % CELLS];
	struct board_event read;
	if (event->serial == serial)
		return event;
	if (board_event(events->board, serial, &read) != 1)
		return NULL;
	free(event->text);
	*event = (struct stream_event){ .serial = serial, .id = read.id, .at_ms = read.at_ms, .kind = read.kind,
		.state = read.state, .attempt = read.attempt };
	if (read.kind == EVENT_LOG) {
		event->level = read.state;
		event->line = read.worker;
		event->state = TR_RUNNING; /* or it would say nothing */
	}
	event->said = read;
	if (read.kind == EVENT_PROGRESS)
		supersede(events, event);
	return event;
}

static void ask_names(struct stream_events *events, struct stream_event *event)
{
	struct board_entry entry;
	event->names_asked = true;
	if (!board_find(events->board, &event->id, &entry))
		return;
	memcpy(event->handler, entry.handler, sizeof(event->handler));
	memcpy(event->queue, entry.queue, sizeof(event->queue));
}

bool stream_event_fits(struct stream_events *events, struct stream_event *event, const struct event_filter *filter)
{
	if (filter->states != 0 && (filter->states >> event->state & 1) == 0)
		return false;
	if (filter->handler[0] == '\0' && filter->queue[0] == '\0')
		return true;
	if (!event->names_asked)
		ask_names(events, event);
	return (filter->handler[0] == '\0' || strcmp(filter->handler, event->handler) == 0) &&
	    (filter->queue[0] == '\0' || strcmp(filter->queue, event->queue) == 0);
}

/* ---- what it says ------------------------------------------------------------------------ */

/* A task's own text is JSON in one line, so it cannot end the event, nor begin another one. */
static char *as_text(const char *name, json_t *data, size_t *bytes)
{
	char *json = data != NULL ? json_dumps(data, JSON_COMPACT) : NULL;
	char *text = NULL;
	int length = json != NULL ? asprintf(&text, "event: %s\ndata: %s\n", name, json) : -1;
	free(json);
	json_decref(data);
	*bytes = length >= 0 ? (size_t)length : 0;
	return length >= 0 ? text : NULL;
}

/* What every event has, and then its own. */
static json_t *with_head(json_t *own, const struct stream_event *event, const struct board_entry *entry)
{
	char id[TR_ID_TEXT_SIZE];
	json_t *all = json_pack("{s:s, s:o, s:o, s:I, s:o}", "id", tr_id_format(&event->id, id), "handler",
	    text_or_null(entry->handler), "queue", text_or_null(entry->queue), "attempt", (json_int_t)event->attempt, "at",
	    time_json(event->at_ms));
	bool whole = own != NULL && all != NULL && json_object_update_missing(all, own) == 0;
	json_decref(own);
	if (whole)
		return all;
	json_decref(all);
	return NULL;
}

/* The task after the event, as far as it has not moved on since. */
static json_t *state_json(const struct board *board, const struct stream_event *event, const struct board_entry *entry)
{
	struct tr_task_status status;
	char said[TR_LOG_LINE_MAX + 1];
	json_t *json = NULL;
	/* TOO_LARGE: the result is not on the board, and stays out of the event. */
	if (client_status_of_entry(entry, &status) == TR_NO_MEMORY)
		return NULL;
	if (status.attempt != event->attempt) {
		/* Those of another attempt. */
		status.started_ms = 0;
		status.progress_done = status.progress_total = 0;
		status.progress_text[0] = '\0';
	}
	if (status.state != (enum tr_state)event->state || status.attempt != event->attempt) {
		status.state = (enum tr_state)event->state;
		status.attempt = event->attempt;
		status.cancelling = false;
		board_event_text(board, &event->said, said);
		snprintf(status.error, sizeof(status.error), "%.*s", TR_TEXT_MAX, said);
		if (!tr_state_is_ended(status.state)) {
			status.ended_ms = 0;
			free(status.result);
			status.result = NULL;
		}
	}
	json = with_head(task_json(&status), event, entry);
	tr_task_status_clear(&status);
	return json;
}

static json_t *progress_json(const struct stream_event *event, const struct board_entry *entry)
{
	json_t *json = json_pack("{s:{s:I, s:I, s:o}}", "progress", "done", (json_int_t)entry->progress_done, "total",
	    (json_int_t)entry->progress_total, "text", text_or_null(entry->progress_text));
	return with_head(json, event, entry);
}

static json_t *log_json(const struct board *board, const struct stream_event *event, const struct board_entry *entry)
{
	struct tr_log_line line = { .at_ms = event->at_ms, .attempt = event->attempt, .level = event->level };
	bool whole = board_event_text(board, &event->said, line.text);
	json_t *list = task_log_json(&line, 1);
	json_t *json = json_incref(json_array_get(list, 0));
	json_decref(list);
	if (json != NULL && (json_object_set_new(json, "line", json_integer(event->line)) != 0 ||
	    json_object_set_new(json, "cut", json_boolean(!whole)) != 0)) {
		json_decref(json);
		return NULL;
	}
	return with_head(json, event, entry);
}

bool stream_event_render(struct stream_events *events, struct stream_event *event)
{
	struct board_entry entry;
	/* Not on the board any more, or not yet: the event says what it knows itself. */
	if (!board_find(events->board, &event->id, &entry))
		entry = (struct board_entry){ .id = event->id, .state = event->state, .attempt = event->attempt };
	if (event->kind == EVENT_TASK_STATE)
		event->text = as_text("state", state_json(events->board, event, &entry), &event->text_bytes);
	else if (event->kind == EVENT_PROGRESS)
		event->text = as_text("progress", progress_json(event, &entry), &event->text_bytes);
	else
		event->text = as_text("log", log_json(events->board, event, &entry), &event->text_bytes);
	return event->text != NULL;
}

char *stream_present(const struct stream_events *events, const struct tr_id *id, bool *ended)
{
	struct board_entry entry;
	size_t bytes;
	if (events->board == NULL || !board_find(events->board, id, &entry))
		return NULL;
	const struct stream_event event = { .id = *id, .state = entry.state, .attempt = entry.attempt, .at_ms = wall_ms() };
	*ended = tr_state_is_ended((enum tr_state)entry.state);
	return as_text("state", state_json(events->board, &event, &entry), &bytes);
}
