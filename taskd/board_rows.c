/*
 * What the board shows of queues and handlers: one row each, as long as there are rows. Enters: changes that
 * tasks.c, queues.c and catalogue.c have marked. Leaves: rows, at most every SHOW_MS, so that a task's
 * moves cost a few additions and no more. Called by dispatcher.c.
 *
 * A queue that has nothing to do keeps its row until another one needs it. Both tables are taken over from an
 * earlier dispatcher, so what is counted goes on.
 */
#include <string.h>

#include "dispatch.h"

#define SHOW_MS 100

/* ---- queues ------------------------------------------------------------------------------ */

static bool is_idle(const struct queue *queue)
{
	return !queue->paused &&
	    !(queue->live[TR_SCHEDULED] | queue->live[TR_QUEUED] | queue->live[TR_RUNNING] | queue->live[TR_RETRYING]);
}

void board_rows_forget(struct dispatcher *dispatcher, struct queue *queue)
{
	static const struct board_queue none;

	if (queue->row == NO_ROW)
		return;
	board_queue_set(dispatcher->writer, queue->row, &none);
	dispatcher->queue_rows[queue->row] = NULL;
	queue->row = NO_ROW;
}

/* A row for it: a free one, else, unless it is idle itself, that of a queue that is. False: there is none. */
static bool find_queue_row(struct dispatcher *dispatcher, struct queue *queue)
{
	uint32_t row = 0;

	while (row < BOARD_QUEUES && dispatcher->queue_rows[row])
		row++;
	for (uint32_t i = 0; row == BOARD_QUEUES && !is_idle(queue) && i < BOARD_QUEUES; i++)
		if (is_idle(dispatcher->queue_rows[i]))
			row = i;
	if (row == BOARD_QUEUES)
		return false;
	if (dispatcher->queue_rows[row])
		dispatcher->queue_rows[row]->row = NO_ROW;
	dispatcher->queue_rows[row] = queue;
	queue->row = row;
	return true;
}

static void write_queue(struct dispatcher *dispatcher, const struct queue *queue)
{
	const struct task *first = TAILQ_FIRST(&queue->ready);
	struct board_queue shown = {
		.paused = queue->paused,
		.waiting = queue->live[TR_QUEUED],
		.running = queue->live[TR_RUNNING],
		.scheduled = queue->live[TR_SCHEDULED],
		.retrying = queue->live[TR_RETRYING],
		.oldest_due_ms = first ? first->due_ms : 0,
		.accepted = queue->accepted,
		.ended = queue->ended,
	};

	memcpy(shown.name, queue->name, sizeof shown.name);
	board_queue_set(dispatcher->writer, queue->row, &shown);
}

/* How many have no row. */
static uint64_t show_queues(struct dispatcher *dispatcher)
{
	uint64_t unshown = 0;

	for (struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next) {
		if (!queue->changed)
			continue;
		queue->changed = false;
		if (queue->row != NO_ROW || find_queue_row(dispatcher, queue)) {
			write_queue(dispatcher, queue);
		} else if (!is_idle(queue)) {
			queue->changed = true; /* perhaps there is one the next time */
			unshown++;
		}
	}
	return unshown;
}

/* ---- handlers ---------------------------------------------------------------------------- */

static bool find_handler_row(struct dispatcher *dispatcher, struct handler *handler)
{
	for (uint32_t row = 0; row < BOARD_HANDLERS; row++) {
		struct handler *holder = dispatcher->handler_rows[row];
		if (holder && (holder->known || !handler->known))
			continue;
		if (holder)
			holder->row = NO_ROW; /* no worker of ours has it */
		dispatcher->handler_rows[row] = handler;
		handler->row = row;
		return true;
	}
	return false;
}

static void write_handler(struct dispatcher *dispatcher, const struct handler *handler)
{
	struct board_handler shown = {
		.known = handler->known,
		.started = handler->started, .succeeded = handler->succeeded, .failed = handler->failed,
		.run_sum_ns = handler->run_sum_ns,
	};

	memcpy(shown.run, handler->run, sizeof shown.run);
	memcpy(shown.name, handler->name, sizeof shown.name);
	/* Both were bounded when they came. */
	memcpy(shown.doc, handler->doc, strnlen(handler->doc, sizeof shown.doc - 1));
	memcpy(shown.secrets, handler->secrets, strnlen(handler->secrets, sizeof shown.secrets - 1));
	board_handler_set(dispatcher->writer, handler->row, &shown);
}

static uint64_t show_handlers(struct dispatcher *dispatcher)
{
	uint64_t unshown = 0;

	for (struct handler *handler = dispatcher->handlers; handler; handler = handler->hh.next) {
		if (!handler->changed || !handler->announced)
			continue;
		handler->changed = false;
		if (handler->row != NO_ROW || find_handler_row(dispatcher, handler)) {
			write_handler(dispatcher, handler);
		} else {
			handler->changed = true;
			unshown++;
		}
	}
	return unshown;
}

/* ---- when -------------------------------------------------------------------------------- */

void board_rows_show(struct dispatcher *dispatcher)
{
	dispatcher->rows_changed = false;
	stat_set(dispatcher->board, STAT_board_unshown, show_queues(dispatcher) + show_handlers(dispatcher));
	dispatcher->rows_ms = dispatcher->now_ms + SHOW_MS;
}

int64_t board_rows_tick(struct dispatcher *dispatcher)
{
	if (!dispatcher->rows_changed)
		return INT64_MAX;
	/* Were the clock put back, they would not be shown for as long. */
	if (dispatcher->now_ms < dispatcher->rows_ms && dispatcher->rows_ms <= dispatcher->now_ms + SHOW_MS)
		return dispatcher->rows_ms;
	board_rows_show(dispatcher);
	return INT64_MAX;
}

/* ---- the start --------------------------------------------------------------------------- */

static void take_over_queue(struct dispatcher *dispatcher, uint32_t row, const struct board_queue *shown)
{
	static const struct board_queue none;
	struct queue *queue = scheduler_queue(dispatcher, (struct record_text){ shown->name, (uint32_t)strlen(shown->name) });

	if (!queue || queue->row != NO_ROW) {
		board_queue_set(dispatcher->writer, row, &none);
		return;
	}
	queue->row = row;
	queue->accepted = shown->accepted;
	queue->ended = shown->ended;
	queue->changed = true;
	dispatcher->queue_rows[row] = queue;
}

static void take_over_handler(struct dispatcher *dispatcher, uint32_t row, const struct board_handler *shown)
{
	static const struct board_handler none;
	struct handler *handler = catalogue_find(dispatcher, shown->name, strlen(shown->name));

	if (handler && handler->row == NO_ROW)
		catalogue_announced(dispatcher, shown->name, shown->doc, shown->secrets);
	if (!handler || handler->row != NO_ROW || !handler->announced) {
		board_handler_set(dispatcher->writer, row, &none);
		return;
	}
	handler->known = false; /* until one of our workers says so */
	handler->started = shown->started;
	handler->succeeded = shown->succeeded;
	handler->failed = shown->failed;
	handler->run_sum_ns = shown->run_sum_ns;
	memcpy(handler->run, shown->run, sizeof handler->run);
	handler->row = row;
	dispatcher->handler_rows[row] = handler;
}

void board_rows_open(struct dispatcher *dispatcher)
{
	struct board_queue queue;
	struct board_handler handler;

	for (uint32_t row = 0; row < BOARD_QUEUES; row++)
		if (board_copy_queue(dispatcher->board, row, &queue) && record_name_ok(queue.name, strlen(queue.name)))
			take_over_queue(dispatcher, row, &queue);
	for (uint32_t row = 0; row < BOARD_HANDLERS; row++)
		if (board_copy_handler(dispatcher->board, row, &handler) && record_name_ok(handler.name, strlen(handler.name)))
			take_over_handler(dispatcher, row, &handler);
	dispatcher->rows_changed = true;
}
