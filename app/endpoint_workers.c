/*
 * GET /workers: the worker processes, and what each of them runs now. Read from the board: its worker
 * rows, and its entries of running tasks, which name their worker.
 */
#include <stdlib.h>

#include "app/board_view.h"
#include "app/endpoints.h"
#include "app/task_json.h"
#include "app/time_text.h"

#define RUNNING_SHOWN_MAX 50 /* tasks of one worker; asynchronous ones may be a thousand */

#define COUNT(text) { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(0), .description = (text) }
#define TIME(text) { .types = SCHEMA_STRING | SCHEMA_NULL, .format = FORMAT_DATE_TIME, .description = (text) }

static const char *const worker_states[] = {
	[WORKER_NONE] = "none", [WORKER_STARTING] = "starting", [WORKER_IDLE] = "idle", [WORKER_BUSY] = "busy",
	[WORKER_BACKING_OFF] = "backing_off", NULL
};

static const struct schema running_schema = {
	.types = SCHEMA_OBJECT,
	.fields = (const struct schema_field[]){
		{ "id", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_UUID } },
		{ "handler", REQUIRED, { .types = SCHEMA_STRING } },
		{ "queue", REQUIRED, { .types = SCHEMA_STRING } },
		{ "started", REQUIRED, TIME("Of this attempt") },
		{ "done", REQUIRED, COUNT("Steps") },
		{ "total", REQUIRED, COUNT("0: not known") },
		{ 0 },
	},
};

const struct schema workers_schema = {
	.types = SCHEMA_OBJECT,
	.title = "Workers",
	.fields = (const struct schema_field[]){
		{ "workers", REQUIRED, { .types = SCHEMA_ARRAY, .items = &(const struct schema){
			.types = SCHEMA_OBJECT,
			.fields = (const struct schema_field[]){
				{ "row", REQUIRED, COUNT("Its place, which a process that follows it takes over") },
				{ "state", REQUIRED, { .types = SCHEMA_STRING, .choices = worker_states } },
				{ "pool", REQUIRED, { .types = SCHEMA_STRING } },
				{ "pid", REQUIRED, COUNT("0: there is no process now") },
				{ "threads", REQUIRED, COUNT("Each runs a task at a time") },
				{ "tasks", REQUIRED, COUNT("Ended in this process") },
				{ "restarts", REQUIRED, COUNT("Of this place") },
				{ "started", REQUIRED, TIME("This process") },
				{ "memory_kb", REQUIRED, COUNT("Resident now; 0: not known") },
				{ "last_exit", REQUIRED, { .types = SCHEMA_OBJECT | SCHEMA_NULL,
					.fields = (const struct schema_field[]){
						{ "at", REQUIRED, TIME("Of the process before") },
						{ "code", REQUIRED, { .types = SCHEMA_INTEGER } },
						{ "signal", REQUIRED, COUNT("0: none") },
						{ "peak_memory_kb", REQUIRED, COUNT("The most that was resident") },
						{ 0 } } } },
				{ "running_count", REQUIRED, COUNT("Tasks that it runs now") },
				{ "running", REQUIRED, { .types = SCHEMA_ARRAY, .items = &running_schema,
					.description = "Some of them" } },
				{ 0 },
			} } } },
		{ 0 },
	},
};

static json_t *exit_json(const struct board_worker *worker)
{
	if (worker->last_exit_ms == 0)
		return json_null();
	return json_pack("{s:o, s:i, s:i, s:o}", "at", time_json(worker->last_exit_ms), "code", worker->last_exit_code,
	    "signal", worker->last_signal, "peak_memory_kb", count_json(worker->peak_memory_kb));
}

static json_t *worker_json(const struct board_worker *worker, uint32_t row)
{
	if (worker->state == WORKER_NONE || worker->state > WORKER_BACKING_OFF)
		return NULL;
	return json_pack("{s:I, s:s, s:s, s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:[]}", "row", (json_int_t)row,
	    "state", worker_states[worker->state], "pool", worker->pool, "pid", worker->pid,
	    "threads", (json_int_t)worker->threads, "tasks", count_json(worker->tasks),
	    "restarts", count_json(worker->restarts), "started", time_json(worker->started_ms),
	    "memory_kb", count_json(worker->memory_kb), "last_exit", exit_json(worker), "running_count", 0, "running");
}

static json_t *running_json(const struct board_entry *entry)
{
	char id[TR_ID_TEXT_SIZE];
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "id", tr_id_format(&entry->id, id), "handler", entry->handler,
	    "queue", entry->queue, "started", time_json(entry->started_ms), "done", count_json(entry->progress_done),
	    "total", count_json(entry->progress_total));
}

/* One running task to its worker, which is among by_row[]. False: out of memory. */
static bool add_running(json_t *const *by_row, uint32_t rows, const struct board_entry *entry)
{
	json_t *worker = entry->worker >= 1 && entry->worker <= rows ? by_row[entry->worker - 1] : NULL;
	if (worker == NULL)
		return true;
	json_t *count = json_object_get(worker, "running_count"), *running = json_object_get(worker, "running");
	json_integer_set(count, json_integer_value(count) + 1);
	return json_array_size(running) >= RUNNING_SHOWN_MAX || json_array_append_new(running, running_json(entry)) == 0;
}

/* A worker's place and what it runs; by_row[] gets borrowed references. False: out of memory. */
static bool fill(const struct board *board, json_t *list, json_t **by_row)
{
	static const struct tr_id lowest, highest = { { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
		255, 255 } };
	for (uint32_t row = 0; row < board->workers; row++) {
		struct board_worker worker;
		if (!board_copy_worker(board, row, &worker) || worker.state == WORKER_NONE)
			continue;
		by_row[row] = worker_json(&worker, row);
		if (json_array_append_new(list, by_row[row]) != 0)
			return false;
	}
	for (uint32_t row = 0; row < board->entries; row++) {
		struct board_entry entry;
		if (board_copy_entry(board, row, 1u << TR_RUNNING, &lowest, &highest, &entry) &&
		    !add_running(by_row, board->workers, &entry))
			return false;
	}
	return true;
}

struct web_answer get_workers(const struct web_request *request, struct background_tasks *background)
{
	(void)background;
	struct board_view view;
	struct web_answer answer;
	if (!board_look(request, &view, &answer))
		return answer;
	json_t **by_row = calloc(view.board->workers + 1, sizeof(*by_row)), *list = json_array();
	bool filled = by_row != NULL && list != NULL && fill(view.board, list, by_row);
	free(by_row);
	if (filled)
		return answer_json(200, json_pack("{s:o}", "workers", list));
	json_decref(list);
	return answer_json(200, NULL);
}
