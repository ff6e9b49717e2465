/*
 * Looking: one task's status and the instance's health, from shared memory and, for tasks that
 * are no longer in it, from taskd's journal. Called by responders and tools.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "id.h"
#include "record.h"

enum tr_result client_status_of_entry(const struct board_entry *entry, struct tr_task_status *status)
{
	*status = (struct tr_task_status){
		.id = entry->id,
		.state = (enum tr_state)entry->state,
		.attempt = entry->attempt, .max_attempts = entry->max_attempts,
		.created_ms = entry->created_ms, .due_ms = entry->due_ms,
		.started_ms = entry->started_ms, .ended_ms = entry->ended_ms,
		.progress_done = entry->progress_done, .progress_total = entry->progress_total,
		.cancelling = (entry->marks & BOARD_CANCELLING) != 0,
	};
	memcpy(status->handler, entry->handler, sizeof status->handler);
	memcpy(status->queue, entry->queue, sizeof status->queue);
	memcpy(status->progress_text, entry->progress_text, sizeof status->progress_text);
	memcpy(status->error, entry->error, sizeof status->error);
	if (entry->result_bytes && entry->result_bytes <= TR_RESULT_SHOWN_MAX) {
		status->result = strndup(entry->result, entry->result_bytes);
		return status->result ? TR_OK : TR_NO_MEMORY;
	}
	/* A larger result is the journal's to give; the caller sees that one is missing. */
	return entry->result_bytes ? TR_TOO_LARGE : TR_OK;
}

static enum tr_result from_board(const struct board *board, const struct tr_id *id, struct tr_task_status *status)
{
	struct board_entry entry;

	return board && board_find(board, id, &entry) ? client_status_of_entry(&entry, status) : TR_NOT_FOUND;
}

static void take_status(const struct record *record, void *into)
{
	struct tr_task_status *status = into;
	int64_t created_ms = record->created_ns / 1000000;

	*status = (struct tr_task_status){
		.id = record->id,
		.state = record->run_at_ms > clock_ms(CLOCK_REALTIME) ? TR_SCHEDULED : TR_QUEUED,
		.max_attempts = record->max_attempts,
		.created_ms = created_ms,
		.due_ms = record->run_at_ms > created_ms ? record->run_at_ms : created_ms,
	};
	memcpy(status->handler, record->handler.at, record->handler.bytes);
	memcpy(status->queue, record->queue.at, record->queue.bytes);
}

static void take_trace(const struct record *record, void *into)
{
	char *trace = into;

	memcpy(trace, record->trace.at, record->trace.bytes);
	trace[record->trace.bytes] = 0;
}

static bool in_batch(const char *batch, size_t bytes, const struct tr_id *id, client_take_fn *take, void *into)
{
	struct tr_error error;
	struct record record;
	size_t used;

	for (size_t at = 0; at < bytes; at += used) {
		if (record_decode(batch + at, bytes - at, &record, &used, &error))
			return false;
		if (record.kind == RECORD_TASK && id_equal(&record.id, id)) {
			take(&record, into);
			return true;
		}
	}
	return false;
}

enum tr_result client_from_ring(struct taskring *client, const struct tr_id *id, client_take_fn *take, void *into)
{
	const struct ring *ring = atomic_load_explicit(&client->ring, memory_order_acquire);
	char *batch = ring ? malloc(ring_batch_max(ring)) : NULL;
	enum tr_result result = TR_NOT_FOUND;

	if (!ring)
		return TR_NOT_FOUND;
	if (!batch)
		return TR_NO_MEMORY;
	uint64_t oldest = ring_oldest(ring), used = ring_used(ring);
	for (uint64_t at = oldest; at - oldest < used && result == TR_NOT_FOUND; at++) {
		size_t bytes = ring_peek(ring, at, batch);
		if (bytes && in_batch(batch, bytes, id, take, into))
			result = TR_OK;
	}
	free(batch);
	return result;
}

static enum tr_result from_journal(struct taskring *client, const struct tr_id *id, struct tr_task_status *status)
{
	pthread_mutex_lock(&client->lock);
	enum tr_result result = client_archive(client);
	if (result == TR_OK)
		result = archive_find(client->archive, id, status);
	pthread_mutex_unlock(&client->lock);
	return result;
}

void client_add_result(struct taskring *client, struct tr_task_status *status)
{
	pthread_mutex_lock(&client->lock);
	if (client_archive(client) == TR_OK)
		status->result = archive_result(client->archive, &status->id);
	pthread_mutex_unlock(&client->lock);
}

enum tr_result tr_task_status(struct taskring *ring, const struct tr_id *id, struct tr_task_status *status)
{
	enum tr_result ignored, result;

	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	/*
	 * A task is in the ring until it is in the journal or ended, and on the board from the moment
	 * in which it is taken. In this order no task slips through between two looks.
	 */
	result = from_board(client_board(ring, &ignored), id, status);
	if (result == TR_NOT_FOUND)
		result = client_from_ring(ring, id, take_status, status);
	if (result == TR_NOT_FOUND)
		result = from_board(client_board_again(ring, &ignored), id, status);
	if (result == TR_NOT_FOUND)
		return from_journal(ring, id, status);
	if (result == TR_TOO_LARGE) {
		client_add_result(ring, status);
		return TR_OK;
	}
	return result;
}

static enum tr_result trace_from_journal(struct taskring *client, const struct tr_id *id, char *trace)
{
	pthread_mutex_lock(&client->lock);
	enum tr_result result = client_archive(client);
	if (result == TR_OK)
		result = archive_trace(client->archive, id, trace);
	pthread_mutex_unlock(&client->lock);
	return result;
}

enum tr_result tr_task_origin(struct taskring *ring, const struct tr_id *id, char trace[TR_TRACE_MAX + 1])
{
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	/* A task gets its row before it leaves the ring; the row is quicker to find, so it is looked for twice. */
	enum tr_result result = trace_from_journal(ring, id, trace);
	if (result == TR_NOT_FOUND)
		result = client_from_ring(ring, id, take_trace, trace);
	return result == TR_NOT_FOUND ? trace_from_journal(ring, id, trace) : result;
}

void tr_task_status_clear(struct tr_task_status *status)
{
	free(status->result);
	memset(status, 0, sizeof *status);
}

enum tr_result tr_history(struct taskring *ring, enum tr_span span, int64_t from_ms, int64_t to_ms,
    struct tr_history_row *rows, size_t limit, size_t *count)
{
	*count = 0;
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	pthread_mutex_lock(&ring->lock);
	enum tr_result result = client_archive(ring);
	if (result == TR_OK)
		result = archive_history(ring->archive, span, from_ms, to_ms, rows, limit, count);
	pthread_mutex_unlock(&ring->lock);
	return result;
}

enum tr_result tr_health(struct taskring *ring, struct tr_health *health)
{
	enum tr_result result;
	struct tr_error error;

	memset(health, 0, sizeof *health);
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	struct ring *attached = atomic_load_explicit(&ring->ring, memory_order_acquire);
	if (!attached || ring_is_stale(attached))
		attached = client_new_ring(ring, attached, &result, &error);
	else
		(void)ring_follow_wake(attached);
	if (attached) {
		health->ring_ok = true;
		health->ring_cells = ring_geometry(attached).cells;
		health->ring_cells_used = ring_used(attached);
	}
	const struct board *board = client_board_again(ring, &result);
	if (!board)
		return result;
	int64_t now_ms = clock_ms(CLOCK_REALTIME);
	health->taskd_alive = board_alive(board, now_ms);
	health->taskd_seen_ms = atomic_load(&board->heartbeat_ms);
	health->oldest_waiting_ms = (int64_t)atomic_load(&board->stats[STAT_task_oldest_wait_ms]);
	health->waiting = atomic_load(&board->stats[STAT_task_waiting]);
	health->running = atomic_load(&board->stats[STAT_task_running]);
	return TR_OK;
}
