/* GET /queues: how much waits in each queue, and which are paused. Read from the board. */
#include "app/board_view.h"
#include "app/endpoints.h"
#include "app/time_text.h"

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }

const struct schema queues_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Queues",
	.fields = (const struct schema_field[]){
		{ "queues", REQUIRED, { .types = SCHEMA_ARRAY, .description = "By name", .items = &(const struct schema){
			.types = SCHEMA_OBJECT,
			.fields = (const struct schema_field[]){
				{ "name", REQUIRED, { .types = SCHEMA_STRING } },
				{ "paused", REQUIRED, { .types = SCHEMA_BOOLEAN } },
				{ "waiting", REQUIRED, COUNT("Tasks that are due, or wait for the one before them") },
				{ "running", REQUIRED, COUNT("Tasks") },
				{ "scheduled", REQUIRED, COUNT("Tasks") },
				{ "retrying", REQUIRED, COUNT("Tasks") },
				{ "oldest_due", REQUIRED, { .types = SCHEMA_STRING | SCHEMA_NULL, .format = FORMAT_DATE_TIME,
					.description = "Since when the longest waiting one could have run; null: none waits" } },
				{ "accepted", REQUIRED, COUNT("Tasks so far") },
				{ "ended", REQUIRED, COUNT("Tasks so far") },
				{ 0 },
			} } } },
		{ 0 },
	},
};

static json_t *queue_json(const struct board *board, uint32_t row, bool *failed)
{
	struct board_queue found, *queue = &found;
	if (!board_copy_queue(board, row, queue))
		return NULL;
	json_t *json = json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", queue->name, "paused", queue->paused != 0,
	    "waiting", count_json(queue->waiting), "running", count_json(queue->running),
	    "scheduled", count_json(queue->scheduled), "retrying", count_json(queue->retrying),
	    "oldest_due", time_json(queue->oldest_due_ms), "accepted", count_json(queue->accepted),
	    "ended", count_json(queue->ended));
	*failed = json == NULL;
	return json;
}

struct web_answer get_queues(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct board_view view;
	struct web_answer answer;
	if (!board_look(request, &view, &answer))
		return answer;
	return answer_rows("queues", rows_json(view.board, view.board->queues, queue_json));
}
