/*
 * The end of taskd, in order. Enters: the supervisor's word. Nothing more is given out; what runs
 * has drain_timeout; then idle workers stop their plug-ins and leave; what is left is killed. Leaves:
 * a journal that holds all that was taken. Called by dispatcher.c, and by heartbeat.c for the short end, where a new
 * dispatcher follows: its supervisor kills the workers, as if we had died.
 */
#include "dispatch.h"
#include "log.h"

#define LEAVE_MS 2000 /* for idle workers to stop their plug-ins */

void drain_begin(struct dispatcher *dispatcher)
{
	if (dispatcher->draining && !dispatcher->restarting)
		return;
	dispatcher->draining = true;
	dispatcher->restarting = false;
	dispatcher->drain_position = ring_published(dispatcher->ring);
	dispatcher->drain_until_ms = dispatcher->now_ms + dispatcher->config->drain_timeout_ms;
	board_life(dispatcher->writer, BOARD_DRAINING);
	recorder_flush(dispatcher);
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		for (uint32_t i = 0; worker->alive && i < worker->lane_count; i++) {
			struct lane *lane = &worker->lanes[i];
			workforce_take_back(lane);
			if (lane->count)
				mailbox_tell(worker->mailbox, i, lane->works[lane->first].serial, STOP_DRAIN);
			for (struct work *work = NULL; (work = lane_pending_next(lane, work)) != NULL;)
				if (!work->task->cancel_wanted)
					lane_pending_stop(dispatcher, lane, work, STOP_DRAIN);
		}
	}
	log_event(LOG_INFO, "draining", "timeout_ms=%u", dispatcher->config->drain_timeout_ms);
}

void drain_file_gone(struct dispatcher *dispatcher)
{
	bool stale = ring_consumer_is_stale(dispatcher->ring);
	bool ends = !stale || ring_shut(dispatcher->ring); /* else it is full, and a little later it is not */

	if (dispatcher->draining ? !stale : !ends)
		return;
	dispatcher->drain_position = ring_published(dispatcher->ring);
	if (dispatcher->draining)
		return;
	dispatcher->draining = dispatcher->restarting = true;
	dispatcher->drain_until_ms = INT64_MAX;
	recorder_flush(dispatcher);
}

static bool is_running(const struct dispatcher *dispatcher)
{
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		for (uint32_t i = 0; dispatcher->workers[row].alive && i < dispatcher->workers[row].lane_count; i++)
			if (workforce_has_work(&dispatcher->workers[row].lanes[i]))
				return true;
	return false;
}

static bool is_alive(const struct dispatcher *dispatcher)
{
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++)
		if (dispatcher->workers[row].alive)
			return true;
	return false;
}

/* The next stage: idle workers leave in order, those that do not are killed. */
static void press(struct dispatcher *dispatcher, enum drain_stage stage)
{
	dispatcher->drain_stage = stage;
	history_flush(dispatcher);
	for (uint32_t row = 0; row < dispatcher->worker_rows; row++) {
		struct worker *worker = &dispatcher->workers[row];
		if (!worker->alive)
			continue;
		if (stage == DRAIN_KILL) {
			workers_kill(dispatcher, worker);
			continue;
		}
		workers_leaving(worker);
		mailbox_retire(worker->mailbox);
	}
}

bool drain_is_over(struct dispatcher *dispatcher)
{
	if (!dispatcher->draining)
		return false;
	if (dispatcher->restarting)
		return recorder_is_durable(dispatcher, dispatcher->drain_position);
	if (dispatcher->drain_stage == DRAIN_WAIT && !is_running(dispatcher)) {
		press(dispatcher, DRAIN_LEAVE);
		dispatcher->drain_until_ms = dispatcher->now_ms + LEAVE_MS;
	}
	if (dispatcher->drain_stage != DRAIN_KILL && is_alive(dispatcher) &&
	    dispatcher->now_ms >= dispatcher->drain_until_ms)
		press(dispatcher, DRAIN_KILL);
	if (is_alive(dispatcher) || ring_taken(dispatcher->ring) < dispatcher->drain_position ||
	    !recorder_is_clean(dispatcher))
		return false;
	drain_file_gone(dispatcher); /* since the last heartbeat */
	return ring_taken(dispatcher->ring) >= dispatcher->drain_position;
}

int64_t drain_next_ms(const struct dispatcher *dispatcher)
{
	return dispatcher->draining && dispatcher->drain_stage != DRAIN_KILL ? dispatcher->drain_until_ms : INT64_MAX;
}
