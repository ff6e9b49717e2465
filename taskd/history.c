/*
 * What happened in each minute. Enters: the board's counters and histograms, every second. Leaves: their
 * growth in a minute, as a row for the journal (journal_history.c), which adds it to its hour, too. Called by heartbeat.c
 * and, before taskd ends, by drain.c.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define MINUTE_MS 60000

struct history {
	int64_t minute; /* since 1970 */
	uint64_t oldest_wait_ms; /* the longest seen in it */
	uint64_t stats[STATS];   /* as they were when it began */
	uint64_t wait[HIST_BUCKETS], run[HIST_BUCKETS];
};

static void copy_hist(uint64_t buckets[HIST_BUCKETS], const struct hist *hist)
{
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		buckets[i] = atomic_load_explicit(&hist->buckets[i], memory_order_relaxed);
}

static void begin_minute(struct dispatcher *dispatcher)
{
	struct history *history = dispatcher->history;
	const struct board *board = dispatcher->board;

	history->minute = dispatcher->now_ms / MINUTE_MS;
	history->oldest_wait_ms = 0;
	for (unsigned i = 0; i < STATS; i++)
		history->stats[i] = stat_get(board, (enum stat_row)i);
	copy_hist(history->wait, &board->hists[HIST_wait_ns]);
	copy_hist(history->run, &board->hists[HIST_run_ns]);
}

static uint64_t grown(const struct dispatcher *dispatcher, enum stat_row stat)
{
	return stat_get(dispatcher->board, stat) - dispatcher->history->stats[stat];
}

/* Of a minute in which nothing happened and nothing waits there is no row. */
static bool is_empty(const struct journal_history *row)
{
	uint64_t any = row->waiting | row->running;

#define SUM(name) any |= row->name;
	HISTORY_SUMS(SUM)
#undef SUM
	return any == 0;
}

void history_flush(struct dispatcher *dispatcher)
{
	struct history *history = dispatcher->history;
	struct journal_history row = { 0 };

	if (!history)
		return;
	row.at_ms = history->minute * MINUTE_MS;
	row.accepted = grown(dispatcher, STAT_task_accepted);
	row.succeeded = grown(dispatcher, STAT_task_succeeded);
	row.dead = grown(dispatcher, STAT_task_dead);
	row.cancelled = grown(dispatcher, STAT_task_cancelled);
	row.expired = grown(dispatcher, STAT_task_expired);
	row.started = grown(dispatcher, STAT_attempt_started);
	row.failed = grown(dispatcher, STAT_attempt_failed) + grown(dispatcher, STAT_attempt_timeout) +
	    grown(dispatcher, STAT_attempt_crashed) + grown(dispatcher, STAT_attempt_killed) +
	    grown(dispatcher, STAT_attempt_bad_arguments);
	row.waiting = stat_get(dispatcher->board, STAT_task_waiting);
	row.running = stat_get(dispatcher->board, STAT_task_running);
	row.oldest_wait_ms = history->oldest_wait_ms;
	copy_hist(row.wait, &dispatcher->board->hists[HIST_wait_ns]);
	copy_hist(row.run, &dispatcher->board->hists[HIST_run_ns]);
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		row.wait[i] -= history->wait[i];
		row.run[i] -= history->run[i];
	}
	/* Without memory for it nothing is lost: it stays in what has grown. */
	if (is_empty(&row) || recorder_history(dispatcher, &row))
		begin_minute(dispatcher);
}

void history_tick(struct dispatcher *dispatcher)
{
	struct history *history = dispatcher->history;
	uint64_t oldest_wait_ms = stat_get(dispatcher->board, STAT_task_oldest_wait_ms);

	if (!history) {
		dispatcher->history = calloc(1, sizeof *history);
		if (dispatcher->history)
			begin_minute(dispatcher);
		return;
	}
	/* Another minute, later or, where the clock was put back, earlier. */
	if (dispatcher->now_ms / MINUTE_MS != history->minute)
		history_flush(dispatcher);
	if (oldest_wait_ms > history->oldest_wait_ms)
		history->oldest_wait_ms = oldest_wait_ms;
}
