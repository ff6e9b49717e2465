/*
 * GET /tasks/{id}/events and GET /events?state=&handler=&queue=: what happens to one task, or to all
 * that fit, as it happens. An endpoint says what is wanted and from where on; the rest is the streamer's
 * (stream.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/task_json.h"
#include "shared/board.h"
#include "shared/client.h"

#define NAME(text) { .types = SCHEMA_STRING, .max_length = TR_NAME_MAX, .description = (text), \
	.pattern = PATTERN("^[A-Za-z0-9_-][A-Za-z0-9._-]*$") }

const struct schema_field events_query[] = {
	{ "state", OPTIONAL, { .types = SCHEMA_ARRAY, .max_count = TR_STATES,
		.description = "Only of tasks that are then in one of these; who logs or tells its progress is running",
		.items = &(const struct schema){ .types = SCHEMA_STRING, .choices = task_states } } },
	{ "handler", OPTIONAL, NAME("Only of this handler's tasks") },
	{ "queue", OPTIONAL, NAME("Only of this queue's tasks") },
	{ 0 },
};

/* Where a client that comes back goes on. False: it has heard the end of its stream. */
static bool resume(const struct web_request *request, struct stream_wish *wish)
{
	bool end = false;
	wish->resumed = stream_id_read(request->last_event_id, &wish->identity, &wish->after, &end);
	return !(wish->resumed && end);
}

struct web_answer get_events(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct web_answer answer = { .status = 200, .stream = { .wanted = true } };
	struct event_filter *filter = &answer.stream.filter;
	const json_t *list = web_list(request, "state");
	for (size_t i = 0; i < json_array_size(list); i++)
		filter->states |= 1u << tr_state_by_name(json_string_value(json_array_get(list, i)));
	/* The schema has seen to it that they fit. */
	if (web_given(request, "handler"))
		snprintf(filter->handler, sizeof(filter->handler), "%s", web_text(request, "handler"));
	if (web_given(request, "queue"))
		snprintf(filter->queue, sizeof(filter->queue), "%s", web_text(request, "queue"));
	resume(request, &answer.stream);
	return answer;
}

/* What the stream begins with, and from where on it knows more: read before the task is looked for. */
static void read_place(const struct web_request *request, struct stream_wish *wish)
{
	enum tr_result ignored;
	const struct board *board = client_board_again(request->ring, &ignored);
	if (board == NULL)
		return;
	wish->identity = board->identity;
	wish->after = atomic_load_explicit(&board->last_event, memory_order_acquire);
}

static char *present_text(const struct tr_task_status *status)
{
	json_t *task = task_json(status);
	char *text = task != NULL ? json_dumps(task, JSON_COMPACT) : NULL;
	json_decref(task);
	return text;
}

struct web_answer get_task_events(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct stream_wish wish = { .wanted = true, .one = true, .id = web_id(request, "id") };
	struct tr_task_status status;
	/* 204 tells a browser not to ask again (HTML Living Standard, section 9.2.3). */
	if (!resume(request, &wish))
		return answer_empty(204);
	if (!wish.resumed)
		read_place(request, &wish);
	enum tr_result result = tr_task_status(request->ring, &wish.id, &status);
	if (result != TR_OK)
		return answer_result(result, NULL);
	wish.ended = tr_state_is_ended(status.state);
	wish.present = present_text(&status);
	tr_task_status_clear(&status);
	if (wish.present == NULL)
		return answer_result(TR_NO_MEMORY, NULL);
	return (struct web_answer){ .status = 200, .stream = wish };
}
