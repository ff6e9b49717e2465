/*
 * How taskd is: a board comes in, a judgement goes out. Called by taskstat and the responder's GET /stats.
 */
#include "board.h"

const char *const taskd_life_name[TASKD_LIVES + 1] = {
	[TASKD_STARTING] = "starting", [TASKD_RUNNING] = "running", [TASKD_DRAINING] = "draining",
	[TASKD_HANGS] = "hangs", [TASKD_STOPPED] = "stopped", [TASKD_DEAD] = "dead",
};

enum taskd_life board_life_of(const struct board *board, const char *instance, int64_t now_ms)
{
	uint32_t shown = atomic_load_explicit(&board->running_state, memory_order_acquire);

	if (shown == BOARD_STOPPED)
		return TASKD_STOPPED;
	if (!board_is_held(instance))
		return TASKD_DEAD;
	if (now_ms - atomic_load_explicit(&board->heartbeat_ms, memory_order_relaxed) >= BOARD_ALIVE_MS)
		return TASKD_HANGS;
	if (shown == BOARD_DRAINING)
		return TASKD_DRAINING;
	return shown == BOARD_RUNNING ? TASKD_RUNNING : TASKD_STARTING;
}

double board_seconds(const struct board *board, enum taskd_life life, int64_t now_ms)
{
	bool counts = life == TASKD_RUNNING || life == TASKD_DRAINING;
	int64_t until_ms = counts ? now_ms : atomic_load_explicit(&board->heartbeat_ms, memory_order_relaxed);

	return (double)(until_ms - atomic_load_explicit(&board->started_ms, memory_order_relaxed)) / 1000;
}

double board_rate(const struct board *board, enum stat_row row, double seconds)
{
	uint64_t now = atomic_load_explicit(&board->stats[row], memory_order_relaxed);
	uint64_t before = atomic_load_explicit(&board->stats_before[row], memory_order_relaxed);

	return seconds > 0 ? (double)(now - before) / seconds : 0;
}
