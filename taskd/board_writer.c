/*
 * The board's writer. In: what the dispatcher knows of tasks, workers, lanes and itself. Out: the
 * segment /NAME.board, which readers map (shared/board.h has the layout, shared/board_reader.c the
 * other half of each protocol). Called by the dispatcher only, 2 to 3 times for each task, so only
 * what changed is written, and which entries of a bucket are free, ended or live is kept in
 * private memory: one cache line for a bucket instead of one for each entry.
 *
 * A death at any instruction leaves at most one entry or row odd and one event cell without a
 * number; board_open.c sets both right. Geometry and places are private copies: nothing that is
 * read back from the segment is used as an index.
 */
#include "taskd/board_writer.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/id.h"
#include "taskd/board_guard.h"

/* ---- texts ------------------------------------------------------------------------------- */

/* How much of a UTF-8 text fits into `size` bytes with its zero, cut between two characters. */
static size_t fitting(const char *text, size_t bytes, size_t size)
{
	if (bytes < size)
		return bytes;
	bytes = size - 1;
	for (unsigned i = 0; i < 3 && ((unsigned char)text[bytes] & 0xc0) == 0x80; i++)
		bytes--;
	return bytes;
}

/* Writes a text with its zero into a field of `size` bytes, a multiple of 8; the rest stays. */
static void store_text(char *field, size_t size, const char *text, size_t bytes)
{
	bytes = fitting(text, bytes, size);
	size_t whole = bytes & ~(sizeof(board_word) - 1);
	uint64_t last = 0;

	board_guard_words(field, text, whole);
	if (bytes > whole)
		memcpy(&last, text + whole, bytes - whole);
	board_guard_word(field + whole, last);
}

struct board *board_writer_board(struct board_writer *writer)
{
	return writer->board;
}

/* ---- events ------------------------------------------------------------------------------ */

/* A text that does not fit into its event. Answers where it stands; what is lost by that is announced before. */
static uint32_t store_long(struct board_writer *writer, const char *text, size_t bytes)
{
	uint64_t at = writer->texts_end;

	writer->texts_end += (bytes + sizeof(board_word) - 1) / sizeof(board_word);
	/* Pairs with the acquires in board_event_text(): this before the words. */
	atomic_store_explicit(&writer->board->texts_end, writer->texts_end, memory_order_relaxed);
	for (size_t i = 0; i < bytes; i += sizeof(board_word)) {
		uint64_t word = 0;
		memcpy(&word, text + i, bytes - i < sizeof word ? bytes - i : sizeof word);
		board_guard_word(writer->texts + (at + i / sizeof word) % writer->text_words, word);
	}
	return (uint32_t)at;
}

/* `event` comes with all but its serial, time and text. */
static void write_event(struct board_writer *writer, struct board_event *event, const char *text,
    size_t bytes)
{
	struct board_event *cell = writer->events + writer->next_cell;
	uint64_t serial = writer->last_event + 1;

	event->at_ms = clock_ms(CLOCK_REALTIME_COARSE);
	event->text_bytes = (uint32_t)fitting(text, bytes, (event->kind == EVENT_LOG ? TR_LOG_LINE_MAX : TR_TEXT_MAX) + 1);
	event->text_at = event->text_bytes < sizeof cell->text ? 0 : store_long(writer, text, event->text_bytes);
	atomic_store_explicit(&cell->serial, 0, memory_order_relaxed);
	board_guard_words(&cell->at_ms, &event->at_ms,
	    offsetof(struct board_event, text) - offsetof(struct board_event, at_ms));
	store_text(cell->text, sizeof cell->text, text, bytes);
	atomic_store_explicit(&cell->serial, serial, memory_order_release);
	/* Pairs with the acquire in board_event(): the cell before its announcement. */
	atomic_store_explicit(&writer->board->last_event, serial, memory_order_release);
	writer->last_event = serial;
	writer->next_cell = writer->next_cell + 1 == writer->event_count ? 0 : writer->next_cell + 1;
}

void board_log_event(struct board_writer *writer, const struct tr_id *id, uint32_t attempt, uint32_t number,
    int level, const char *text, size_t text_bytes)
{
	struct board_event event = { .id = *id, .kind = EVENT_LOG, .state = (uint8_t)level, .attempt = attempt,
		.worker = (uint16_t)(number < UINT16_MAX ? number : UINT16_MAX) };

	write_event(writer, &event, text, text_bytes);
}

/* ---- tasks ------------------------------------------------------------------------------- */

static bool is_for(const struct board_entry *entry, const struct tr_id *id)
{
	uint64_t entry_low, entry_high, low, high;

	memcpy(&entry_low, entry->id.bytes, sizeof entry_low);
	memcpy(&entry_high, entry->id.bytes + 8, sizeof entry_high);
	memcpy(&low, id->bytes, sizeof low);
	memcpy(&high, id->bytes + 8, sizeof high);
	return entry_high == high && entry_low == low;
}

/* The task's entry; BOARD_NO_SLOT: it has none. */
static uint32_t find(const struct board_writer *writer, const struct tr_id *id)
{
	uint64_t hash = id_hash(id), tag = hash & INDEX_TAG;
	uint32_t first = board_bucket(writer->entry_count, hash);

	for (uint32_t at = first; at < first + BOARD_BUCKET; at++)
		if ((writer->index[at] & INDEX_TAG) == tag && writer->index[at] > INDEX_TAG && is_for(writer->entries + at, id))
			return at;
	return BOARD_NO_SLOT;
}

/* The task's entry, else the one that it may have; BOARD_NO_SLOT: all in its bucket are live. */
static uint32_t place(struct board_writer *writer, const struct tr_id *id, bool *is_new)
{
	uint64_t hash = id_hash(id);
	uint64_t tag = hash & INDEX_TAG;
	uint32_t first = board_bucket(writer->entry_count, hash), found = find(writer, id);
	uint64_t *index = writer->index + first;
	uint32_t best = 0;

	*is_new = false;
	if (found != BOARD_NO_SLOT)
		return found;
	for (uint32_t i = 0; i < BOARD_BUCKET; i++)
		if (index[i] < index[best])
			best = i;
	if (index[best] >= INDEX_LIVE)
		return BOARD_NO_SLOT;
	*is_new = true;
	index[best] = tag;
	return first + best;
}

/* Switches a text of the entry on, or off when it is empty. */
static void show_text(uint32_t *marks, enum board_mark which, char *field, size_t size,
    const char *text, size_t bytes)
{
	if (bytes > 0) {
		*marks |= which;
		store_text(field, size, text, bytes);
	} else {
		*marks &= ~(uint32_t)which;
	}
}

static void show_result(struct board_entry *head, struct board_entry *entry,
    const struct board_status *status)
{
	bool shown = status->result != NULL && status->result_bytes <= TR_RESULT_SHOWN_MAX;

	if (status->result == NULL && status->result_bytes <= TR_RESULT_SHOWN_MAX)
		return; /* unchanged */
	head->result_bytes = status->result_bytes;
	show_text(&head->marks, BOARD_TEXT_RESULT, entry->result, sizeof entry->result, status->result,
	    shown ? status->result_bytes : 0);
}

static void write_status(struct board_entry *entry, const struct board_status *status, bool is_new)
{
	struct board_entry head; /* up to its texts; these are written where they stand */

	head.used = 1;
	head.state = (uint8_t)status->state;
	head.worker = status->worker;
	head.id = status->id;
	head.attempt = status->attempt;
	head.max_attempts = status->max_attempts;
	head.created_ms = status->created_ms;
	head.due_ms = status->due_ms;
	head.started_ms = status->started_ms;
	head.ended_ms = status->ended_ms;
	head.progress_done = is_new ? 0 : entry->progress_done;
	head.progress_total = is_new ? 0 : entry->progress_total;
	head.result_bytes = is_new ? 0 : entry->result_bytes;
	head.marks = is_new ? 0 : entry->marks & ~(uint32_t)BOARD_CANCELLING;
	if (status->cancelling)
		head.marks |= BOARD_CANCELLING;

	board_guard_begin(entry);
	if (is_new) {
		store_text(entry->handler, sizeof entry->handler, status->handler.at, status->handler.bytes);
		store_text(entry->queue, sizeof entry->queue, status->queue.at, status->queue.bytes);
	}
	if (status->error != NULL)
		show_text(&head.marks, BOARD_TEXT_ERROR, entry->error, sizeof entry->error, status->error,
		    strnlen(status->error, sizeof entry->error));
	show_result(&head, entry, status);
	board_guard_first(entry, &head);
	board_guard_words(&entry->id, &head.id, offsetof(struct board_entry, handler) - offsetof(struct board_entry, id));
	board_guard_end(entry);
}

void board_show(struct board_writer *writer, uint32_t *slot, const struct board_status *status)
{
	bool ended = tr_state_is_ended(status->state);
	bool is_new = false;
	uint32_t at = *slot;

	if (at >= writer->entry_count || writer->index[at] < INDEX_LIVE || !is_for(writer->entries + at, &status->id))
		at = place(writer, &status->id, &is_new);
	if (at == BOARD_NO_SLOT) {
		stat_add(writer->board, STAT_board_evicted, 1);
	} else {
		write_status(writer->entries + at, status, is_new);
		uint64_t order = ended ? ++writer->last_ended << 16 : INDEX_LIVE;
		writer->index[at] = order | (writer->index[at] & INDEX_TAG);
	}
	*slot = ended ? BOARD_NO_SLOT : at;

	struct board_event event = { .id = status->id, .kind = EVENT_TASK_STATE,
		.state = (uint8_t)status->state, .worker = status->worker, .attempt = status->attempt };
	const char *text = status->error != NULL ? status->error : "";
	write_event(writer, &event, text, strnlen(text, TR_TEXT_MAX + 1));
}

void board_hide(struct board_writer *writer, uint32_t *slot)
{
	if (*slot == BOARD_NO_SLOT)
		return;
	assert(*slot < writer->entry_count);
	board_guard_clear(writer->entries + *slot);
	writer->index[*slot] = INDEX_FREE;
	*slot = BOARD_NO_SLOT;
}

bool board_forget(struct board_writer *writer, const struct tr_id *id)
{
	uint32_t at = find(writer, id);

	if (at == BOARD_NO_SLOT || writer->index[at] >= INDEX_LIVE)
		return false;
	board_guard_clear(writer->entries + at);
	writer->index[at] = INDEX_FREE;
	return true;
}

void board_progress(struct board_writer *writer, uint32_t slot, const struct tr_id *id, uint64_t done,
    uint64_t total, const char *text, size_t text_bytes)
{
	struct board_event event = { .id = *id, .kind = EVENT_PROGRESS, .state = TR_RUNNING };

	if (slot < writer->entry_count && writer->index[slot] >= INDEX_LIVE && is_for(writer->entries + slot, id)) {
		struct board_entry *entry = writer->entries + slot;
		uint32_t numbers[2] = { entry->result_bytes, entry->marks };
		uint64_t progress[2] = { done, total };
		board_guard_begin(entry);
		if (text != NULL)
			show_text(&numbers[1], BOARD_TEXT_PROGRESS, entry->progress_text,
			    sizeof entry->progress_text, text, text_bytes);
		board_guard_words(&entry->progress_done, progress, sizeof progress);
		board_guard_words(&entry->result_bytes, numbers, sizeof numbers);
		board_guard_end(entry);
		event.state = entry->state;
		event.worker = entry->worker;
		event.attempt = entry->attempt;
	}
	write_event(writer, &event, text != NULL ? text : "", text != NULL ? text_bytes : 0);
}

/* ---- workers and lanes ------------------------------------------------------------------- */

/* Going from idle to busy and back is what workers do; everything else is an event. */
static bool is_event(const struct board_worker *before, const struct board_worker *after)
{
	bool at_work = (before->state == WORKER_IDLE || before->state == WORKER_BUSY) &&
	    (after->state == WORKER_IDLE || after->state == WORKER_BUSY);

	return before->pid != after->pid || (before->state != after->state && !at_work);
}

void board_worker_set(struct board_writer *writer, uint32_t row, const struct board_worker *worker)
{
	assert(row < writer->worker_count);
	struct board_worker *shown = writer->workers + row;
	bool tell = is_event(shown, worker);

	board_guard_write(shown, worker, sizeof *worker);
	if (!tell)
		return;
	struct board_event event = { .id = worker->running, .kind = EVENT_WORKER,
		.state = (uint8_t)worker->state, .worker = (uint16_t)(row + 1) };
	char text[sizeof event.text];
	int bytes = snprintf(text, sizeof text, "pid %d, pool %.*s", worker->pid, TR_NAME_MAX, worker->pool);
	write_event(writer, &event, text, bytes < 0 ? 0 : strlen(text));
}

void board_lane_set(struct board_writer *writer, uint32_t row, const struct board_lane *lane)
{
	assert(row < writer->lane_count);
	board_guard_write(writer->lanes + row, lane, sizeof *lane);
}

void board_queue_set(struct board_writer *writer, uint32_t row, const struct board_queue *queue)
{
	assert(row < BOARD_QUEUES);
	board_guard_write(writer->queues + row, queue, sizeof *queue);
}

void board_handler_set(struct board_writer *writer, uint32_t row, const struct board_handler *handler)
{
	assert(row < BOARD_HANDLERS);
	board_guard_write(writer->handlers + row, handler, sizeof *handler);
}

/* ---- the dispatcher itself --------------------------------------------------------------- */

void board_heartbeat(struct board_writer *writer, int64_t now_ms)
{
	atomic_store_explicit(&writer->board->heartbeat_ms, now_ms, memory_order_relaxed);
}

void board_life(struct board_writer *writer, enum board_life life)
{
	atomic_store_explicit(&writer->board->running_state, life, memory_order_release);
}

/* Of all that wait for positions that have become durable. */
static uint32_t bits_between(uint64_t from, uint64_t to)
{
	uint32_t bits = 0;

	if (to < from || to - from >= 128)
		return UINT32_MAX; /* another ring, or all there are */
	for (; from < to; from++)
		bits |= board_durable_bit(from);
	return bits;
}

void board_durable(struct board_writer *writer, uint64_t position)
{
	struct board *board = writer->board;
	uint64_t before = atomic_load_explicit(&board->durable, memory_order_relaxed);

	if (before == position)
		return;
	/* A producer reads the futex word, then the position, then waits: the position comes first. */
	atomic_store_explicit(&board->durable, position, memory_order_release);
	atomic_fetch_add_explicit(&board->durable_futex, 1, memory_order_release);
	syscall(SYS_futex, &board->durable_futex, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, bits_between(before, position));
}
