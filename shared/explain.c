/*
 * Why a task is not running, in one sentence for a person. Called by responders and tools. Enters: an id. Leaves: the
 * first reason that holds, from what stops everything to what stops this task, as board, ring and journal show it.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "clock.h"
#include "id.h"
#include "record.h"

#define COUNTED_MOST 10000 /* tasks before it */

struct question {
	struct taskring *client;
	const struct board *board; /* NULL: there is none */
	struct tr_task_status status;
	int64_t now_ms;
	char *text;
};

/* Always true, so that a reason that was given can return it. */
static bool say(struct question *question, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool say(struct question *question, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vsnprintf(question->text, TR_EXPLANATION_SIZE, format, values);
	va_end(values);
	return true;
}

static const char *time_text(int64_t ms, char text[32])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm parts;

	if (!gmtime_r(&seconds, &parts) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		snprintf(text, 32, "%" PRId64, ms);
	return text;
}

static const char *last_seen(const struct question *question, char text[32])
{
	return time_text(atomic_load_explicit(&question->board->heartbeat_ms, memory_order_relaxed), text);
}

/* ---- it has run, or does ----------------------------------------------------------------- */

static bool is_over(struct question *question)
{
	const struct tr_task_status *status = &question->status;

	switch (status->state) {
	case TR_SUCCEEDED:
		return say(question, "It has succeeded.");
	case TR_DEAD:
		return say(question, "It has failed for good, after %u attempt%s: %.150s", status->attempt,
		    status->attempt == 1 ? "" : "s", status->error);
	case TR_CANCELLED:
		return say(question, "It was cancelled; the last word on it: %.180s", status->error);
	case TR_EXPIRED:
		return say(question, "It has expired: %.200s", status->error);
	default:
		return false;
	}
}

static bool is_running(struct question *question, bool alive)
{
	const struct tr_task_status *status = &question->status;
	char when[32];

	if (status->state != TR_RUNNING)
		return false;
	if (!alive && question->board && board_is_held(question->client->name))
		return say(question, "It is running, attempt %u, as far as is known; taskd hangs: it has shown no life since %s.",
		    status->attempt, last_seen(question, when));
	if (!alive)
		return say(question, "It was running, attempt %u, when taskd ended; it runs again when taskd is started.", status->attempt);
	return say(question, "It is running, attempt %u, for %" PRId64 " s%s.", status->attempt,
	    (question->now_ms - status->started_ms) / 1000, status->cancelling ? ", and has been told to stop" : "");
}

/* ---- what stops everything --------------------------------------------------------------- */

static bool is_taskd_away(struct question *question)
{
	char when[32];

	if (!question->board)
		return say(question, "taskd does not run.");
	last_seen(question, when);
	switch ((enum board_life)atomic_load_explicit(&question->board->running_state, memory_order_relaxed)) {
	case BOARD_STOPPED:
		return say(question, "taskd was stopped at %s.", when);
	case BOARD_DRAINING:
		return say(question, "taskd is being stopped and starts nothing more.");
	case BOARD_NEVER:
	case BOARD_RUNNING:
		break;
	}
	if (board_alive(question->board, question->now_ms))
		return false;
	if (board_is_held(question->client->name))
		return say(question, "taskd hangs: it has shown no life since %s.", when);
	return say(question, "taskd is dead: it has shown no life since %s.", when);
}

/* ---- what stops this one ----------------------------------------------------------------- */

static bool is_blocked(struct question *question, const struct archive_detail *record)
{
	struct tr_task_status before;
	char text[TR_ID_TEXT_SIZE];

	if (!(record->flags & RECORD_SEQUENTIAL) || record->shown.place == 0)
		return false;
	const struct tr_id id = id_step(&question->status.id, -1);
	if (tr_task_status(question->client, &id, &before) != TR_OK)
		return false;
	bool waits = !tr_state_is_ended(before.state);
	if (waits)
		say(question, "It waits for the task before it in its batch, %s, which is %s.", tr_id_format(&id, text),
		    tr_state_name(before.state));
	tr_task_status_clear(&before);
	return waits;
}

static bool is_not_due(struct question *question)
{
	const struct tr_task_status *status = &question->status;
	char when[32];

	if (status->due_ms <= question->now_ms)
		return false;
	time_text(status->due_ms, when);
	if (status->state == TR_RETRYING)
		return say(question, "Its attempt %u failed%s%.120s; the next one is due at %s.", status->attempt,
		    status->error[0] != '\0' ? ": " : "", status->error, when);
	return say(question, "It is not due until %s.", when);
}

static bool is_paused(struct question *question)
{
	struct board_queue queue;

	if (!board_find_queue(question->board, question->status.queue, &queue) || !queue.paused)
		return false;
	return say(question, "Its queue, %s, is paused.", question->status.queue);
}

/* Taken from the ring, it is on the board or has a row. */
static bool is_in_the_ring(struct question *question)
{
	struct board_entry entry;
	struct tr_task_status row;

	if (board_find(question->board, &question->status.id, &entry))
		return false;
	pthread_mutex_lock(&question->client->lock);
	enum tr_result result = client_archive(question->client);
	if (result == TR_OK)
		result = archive_find(question->client->archive, &question->status.id, &row);
	pthread_mutex_unlock(&question->client->lock);
	if (result == TR_OK)
		tr_task_status_clear(&row);
	return result == TR_NOT_FOUND && say(question, "It lies in the ring; taskd has not taken it over yet.");
}

static bool has_no_worker(struct question *question)
{
	struct board_worker worker;

	for (uint32_t row = 0; row < question->board->workers; row++)
		if (board_copy_worker(question->board, row, &worker) && (worker.state == WORKER_IDLE || worker.state == WORKER_BUSY))
			return false;
	return say(question, "No worker is ready; taskd's log says why.");
}

static void say_busy(struct question *question)
{
	const struct tr_task_status *status = &question->status;
	uint64_t before = 0;

	pthread_mutex_lock(&question->client->lock);
	enum tr_result result = client_archive(question->client);
	if (result == TR_OK)
		result = archive_count_before(question->client->archive, status->queue, status->due_ms, &status->id, COUNTED_MOST, &before);
	pthread_mutex_unlock(&question->client->lock);
	if (result != TR_OK)
		say(question, "It waits for a free worker.");
	else
		say(question, "It waits for a free worker; %s%" PRIu64 " task%s of its queue %s before it.",
		    before == COUNTED_MOST ? "more than " : "", before, before == 1 ? "" : "s", before == 1 ? "is" : "are");
}

/* ---- the call ---------------------------------------------------------------------------- */

static enum tr_result explain_waiting(struct question *question)
{
	enum tr_result result;
	struct archive_detail *record = client_record(question->client, &question->status.id, &result);

	if (!record && result != TR_NOT_FOUND)
		return result;
	if (!is_in_the_ring(question) && !(record && is_blocked(question, record)) && !is_not_due(question) &&
	    !is_paused(question) && !has_no_worker(question))
		say_busy(question);
	client_record_free(&record);
	return TR_OK;
}

enum tr_result tr_task_explain(struct taskring *ring, const struct tr_id *id, char text[TR_EXPLANATION_SIZE])
{
	struct question question = { .client = ring, .now_ms = clock_ms(CLOCK_REALTIME), .text = text };
	enum tr_result result, ignored;

	text[0] = '\0';
	result = tr_task_status(ring, id, &question.status);
	if (result != TR_OK)
		return result;
	question.board = client_board(ring, &ignored);
	bool alive = question.board && board_alive(question.board, question.now_ms);
	if (!is_over(&question) && !is_running(&question, alive) && !is_taskd_away(&question))
		result = explain_waiting(&question);
	tr_task_status_clear(&question.status);
	return result;
}
