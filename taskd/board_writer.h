/*
 * The board's one writer, used by the dispatcher only. board_writer_open() makes the segment, or
 * takes over the one that an earlier dispatcher left when its version and geometry are the same
 * (counters, histograms and event numbers go on, and so do rows of queues and handlers; gauges, entries,
 * workers and lanes are cleared, torn entries made even, torn rows free; `durable` is 0 again until board_durable() says otherwise), else
 * replaces it. The board shows BOARD_NEVER until the first board_life().
 */
#ifndef TASKD_BOARD_WRITER_H
#define TASKD_BOARD_WRITER_H

#include "shared/board.h"
#include "shared/record.h"

struct board_geometry {
	uint32_t entries; /* a multiple of BOARD_BUCKET */
	uint32_t workers, lanes, events;
	uint32_t mode; /* permission bits; others than the owner never get the right to write */
};

struct board_writer; /* not thread-safe: the dispatcher's */

/*
 * *writer is NULL after an error. Errors: INVALID (instance), NO_SPACE, NO_MEMORY, SYSTEM (also:
 * another dispatcher lives and holds the board, or the segment belongs to another user).
 */
enum tr_result board_writer_open(struct board_writer **writer, const char *instance,
    const struct board_geometry *geometry, struct tr_error *error);
/* True when the board has been unlinked, or its name now stands for another one. */
bool board_writer_is_stale(const struct board_writer *writer);
/* Marks the board as stopped. With `remove` its name goes too. */
void board_writer_close(struct board_writer **writer, bool remove);

struct board *board_writer_board(struct board_writer *writer);

/* Plain load and store: there is one writer. */
static inline void stat_add(struct board *board, enum stat_row stat, uint64_t by)
{
	atomic_store_explicit(&board->stats[stat],
	    atomic_load_explicit(&board->stats[stat], memory_order_relaxed) + by, memory_order_relaxed);
}
static inline void stat_set(struct board *board, enum stat_row stat, uint64_t value)
{
	atomic_store_explicit(&board->stats[stat], value, memory_order_relaxed);
}
static inline uint64_t stat_get(const struct board *board, enum stat_row stat)
{
	return atomic_load_explicit(&board->stats[stat], memory_order_relaxed);
}

/*
 * What a task shows, as the dispatcher knows it. Texts may be NULL: unchanged; "" clears. Of a
 * result that is too long to be shown `result_bytes` alone counts, and no text is shown.
 */
struct board_status {
	struct tr_id id;
	enum tr_state state;
	uint16_t worker;
	uint32_t attempt, max_attempts;
	int64_t created_ms, due_ms, started_ms, ended_ms;
	struct record_text handler, queue; /* used when the entry is new */
	const char *error;
	const char *result;
	uint32_t result_bytes;
	bool cancelling;
};

/*
 * Shows a task and writes its state event. `*slot` remembers the entry between calls (start with
 * BOARD_NO_SLOT). An ended task's entry may be given to another, so with an ended state *slot
 * becomes BOARD_NO_SLOT again; a task shown after that is found by its id. A full bucket evicts
 * its longest ended entry; when all its tasks are live the new one is not shown (board_evicted)
 * and *slot stays BOARD_NO_SLOT.
 */
#define BOARD_NO_SLOT UINT32_MAX
void board_show(struct board_writer *writer, uint32_t *slot, const struct board_status *status);
/* Takes an ended task off the board. False: it does not show it, or not as ended. */
bool board_forget(struct board_writer *writer, const struct tr_id *id);
/* Takes a live task off the board (it now rests in the journal only). */
void board_hide(struct board_writer *writer, uint32_t *slot);
/* `text` NULL: unchanged. A slot that is not (or no longer) the task's: only the event is written. */
void board_progress(struct board_writer *writer, uint32_t slot, const struct tr_id *id, uint64_t done,
    uint64_t total, const char *text, size_t text_bytes);
/* `number`: of the line in its attempt, from 1. `level`: enum tr_level. */
void board_log_event(struct board_writer *writer, const struct tr_id *id, uint32_t attempt, uint32_t number,
    int level, const char *text, size_t text_bytes);

void board_worker_set(struct board_writer *writer, uint32_t row, const struct board_worker *worker);
void board_lane_set(struct board_writer *writer, uint32_t row, const struct board_lane *lane);
void board_queue_set(struct board_writer *writer, uint32_t row, const struct board_queue *queue);
void board_handler_set(struct board_writer *writer, uint32_t row, const struct board_handler *handler);

/* `now_ms`: ms since 1970. */
void board_heartbeat(struct board_writer *writer, int64_t now_ms);
void board_life(struct board_writer *writer, enum board_life life);
/* Publishes the durable position and wakes the producers that wait for it. */
void board_durable(struct board_writer *writer, uint64_t position);

#endif
