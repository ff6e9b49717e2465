/*
 * The board's writer. In: what the dispatcher knows of tasks, workers, lanes and itself. Out: the
 * segment /NAME.board, which readers map (shared/board.h has the layout, shared/board_reader.c the
 * other half of each protocol). Called by the dispatcher only, 2 to 3 times for each task, so only
 * what changed is written, and which entries of a bucket are free, ended or live is kept in
 * private memory: one cache line for a bucket instead of one for each entry.
 *
 * A death at any instruction leaves at most one entry or row odd and one event cell without a
 * number; take_over() sets both right. Geometry and places are private copies: nothing that is
 * read back from the segment is used as an index.
 */
#include "taskd/board_writer.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shared/id.h"
#include "taskd/board_attach.h"

typedef uint64_t __attribute__((may_alias)) board_word;
typedef uint32_t __attribute__((may_alias)) board_half_word;

/*
 * One word of the private index stands for one entry: 48 bits of order above 16 bits of the id's
 * hash. Order 0: free; then the serial of the end; all ones: live. So the smallest word of a
 * bucket is the entry to take.
 */
#define INDEX_FREE 0ull
#define INDEX_TAG 0xffffull
#define INDEX_LIVE (~0ull & ~INDEX_TAG)

struct board_writer {
	struct segment segment; /* its fd holds the lock that board_is_held() asks for */
	struct board *board;
	struct board_entry *entries;
	struct board_worker *workers;
	struct board_lane *lanes;
	struct board_queue *queues;
	struct board_handler *handlers;
	struct board_event *events;
	uint32_t entry_count, worker_count, lane_count, event_count;
	uint32_t next_cell;  /* of the event log */
	uint64_t last_event;
	uint64_t last_ended; /* order in the index */
	uint64_t *index;     /* a word for each entry */
	char name[SEGMENT_NAME_SIZE];
};

/* ---- guarded writing: see the head of board_reader.c ------------------------------------- */

/* Release on every word: none of them may be seen before the odd sequence. Free on x86. */
static void store_word(void *to, uint64_t word)
{
	__atomic_store_n((board_word *)to, word, __ATOMIC_RELEASE);
}

static void store_words(void *to, const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += sizeof(board_word)) {
		uint64_t word;
		memcpy(&word, (const char *)from + at, sizeof word);
		store_word((char *)to + at, word);
	}
}

/* A row begins with its sequence; `|`, because a dead writer may have left it odd. */
static void begin(void *row)
{
	board_half_word *sequence = row;

	__atomic_store_n(sequence, *sequence | 1, __ATOMIC_RELAXED);
}

static void end(void *row)
{
	board_half_word *sequence = row;

	/* Pairs with the acquire in copy_guarded(): all words before the even sequence. */
	__atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELEASE);
}

/* The 32 bits that follow a row's sequence. */
static void store_first(void *row, const void *from)
{
	uint32_t first;

	memcpy(&first, (const char *)from + sizeof first, sizeof first);
	__atomic_store_n((board_half_word *)row + 1, first, __ATOMIC_RELEASE);
}

static void write_row(void *row, const void *from, size_t bytes)
{
	begin(row);
	store_first(row, from);
	store_words((char *)row + 8, (const char *)from + 8, bytes - 8);
	end(row);
}

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

	store_words(field, text, whole);
	if (bytes > whole)
		memcpy(&last, text + whole, bytes - whole);
	store_word(field + whole, last);
}

/* ---- opening ----------------------------------------------------------------------------- */

static int64_t clock_ms(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now); /* both clocks exist on every Linux */
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* An entry that is in use or torn becomes free; its texts stay and count for nothing. */
static void clear_entry(struct board_entry *entry)
{
	static const struct board_entry nothing;

	begin(entry);
	store_first(entry, &nothing);
	store_words(&entry->id, &nothing.id, offsetof(struct board_entry, handler) - offsetof(struct board_entry, id));
	end(entry);
}

static void clear_rows(struct board_writer *writer)
{
	static const struct board_worker no_worker;
	static const struct board_lane no_lane;
	static const struct board_queue no_queue;
	static const struct board_handler no_handler;

	for (uint32_t i = 0; i < writer->entry_count; i++) {
		struct board_entry *entry = writer->entries + i;
		if (entry->used || atomic_load_explicit(&entry->sequence, memory_order_relaxed) % 2 == 1)
			clear_entry(entry);
	}
	for (uint32_t i = 0; i < writer->worker_count; i++)
		write_row(writer->workers + i, &no_worker, sizeof no_worker);
	for (uint32_t i = 0; i < writer->lane_count; i++)
		write_row(writer->lanes + i, &no_lane, sizeof no_lane);
	for (uint32_t i = 0; i < BOARD_QUEUES; i++)
		if (atomic_load_explicit(&writer->queues[i].sequence, memory_order_relaxed) % 2 == 1)
			write_row(writer->queues + i, &no_queue, sizeof no_queue);
	for (uint32_t i = 0; i < BOARD_HANDLERS; i++)
		if (atomic_load_explicit(&writer->handlers[i].sequence, memory_order_relaxed) % 2 == 1)
			write_row(writer->handlers + i, &no_handler, sizeof no_handler);
	/* Looking at every entry has mapped every page. They stay in the segment, not in our RSS. */
	madvise(writer->board, writer->segment.bytes, MADV_DONTNEED);
}

/* Sets right what an earlier dispatcher left; what it counted goes on. */
static void take_over(struct board_writer *writer)
{
	struct board *board = writer->board;

	for (size_t i = 0; i < STATS; i++) {
		if (stat_info[i].kind == GAUGE)
			stat_set(board, (enum stat_row)i, 0);
		atomic_store_explicit(&board->stats_before[i], stat_get(board, (enum stat_row)i),
		    memory_order_relaxed);
	}
	/* It may have died between numbering an event and announcing it: that number is spent. */
	uint64_t last = atomic_load_explicit(&board->last_event, memory_order_relaxed);
	const struct board_event *next = writer->events + last % writer->event_count;
	if (atomic_load_explicit(&next->serial, memory_order_relaxed) == last + 1)
		last++;
	writer->last_event = last;
	writer->next_cell = (uint32_t)(last % writer->event_count);
	atomic_store_explicit(&board->last_event, last, memory_order_release);

	uint32_t earlier = atomic_load_explicit(&board->incarnation, memory_order_relaxed);
	if (earlier > 0)
		clear_rows(writer);
	/* Ring positions that the last dispatcher knew as durable may belong to a ring that is gone. */
	atomic_store_explicit(&board->durable, 0, memory_order_release);
	int64_t now_ms = clock_ms(CLOCK_REALTIME);
	atomic_store_explicit(&board->running_state, BOARD_NEVER, memory_order_relaxed);
	atomic_store_explicit(&board->heartbeat_ms, now_ms, memory_order_relaxed);
	atomic_store_explicit(&board->started_ms, now_ms, memory_order_relaxed);
	atomic_store_explicit(&board->pid, getpid(), memory_order_relaxed);
	atomic_store_explicit(&board->incarnation, earlier + 1, memory_order_release);
}

static enum tr_result no_memory(struct tr_error *error)
{
	snprintf(error->text, sizeof error->text, "out of memory for the board's writer");
	return TR_NO_MEMORY;
}

static size_t index_bytes(const struct board_writer *writer)
{
	return (size_t)writer->entry_count * sizeof *writer->index;
}

enum tr_result board_writer_open(struct board_writer **writer, const char *instance,
    const struct board_geometry *geometry, struct tr_error *error)
{
	*writer = NULL;
	struct board_writer *made = calloc(1, sizeof *made);
	if (made == NULL)
		return no_memory(error);
	made->entry_count = geometry->entries;
	made->worker_count = geometry->workers;
	made->lane_count = geometry->lanes;
	made->event_count = geometry->events;
	/* mmap(): zero, and each bucket in one cache line. */
	made->index = mmap(NULL, index_bytes(made), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (made->index == MAP_FAILED) {
		free(made);
		return no_memory(error);
	}
	enum tr_result result = board_attach(&made->segment, instance, geometry, error);
	if (result != TR_OK) {
		munmap(made->index, index_bytes(made));
		free(made);
		return result;
	}
	segment_name(made->name, instance, "board");
	made->board = made->segment.memory;
	made->entries = board_entries(made->board);
	made->workers = board_workers(made->board);
	made->lanes = board_lanes(made->board);
	made->queues = board_queues(made->board);
	made->handlers = board_handlers(made->board);
	made->events = board_events(made->board);
	take_over(made);
	*writer = made;
	return TR_OK;
}

struct board *board_writer_board(struct board_writer *writer)
{
	return writer->board;
}

/* ---- events ------------------------------------------------------------------------------ */

/* `event` comes with all but its serial, time and text. */
static void write_event(struct board_writer *writer, struct board_event *event, const char *text,
    size_t bytes)
{
	struct board_event *cell = writer->events + writer->next_cell;
	uint64_t serial = writer->last_event + 1;

	event->at_ms = clock_ms(CLOCK_REALTIME_COARSE);
	atomic_store_explicit(&cell->serial, 0, memory_order_relaxed);
	store_words(&cell->at_ms, &event->at_ms,
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

	begin(entry);
	if (is_new) {
		store_text(entry->handler, sizeof entry->handler, status->handler.at, status->handler.bytes);
		store_text(entry->queue, sizeof entry->queue, status->queue.at, status->queue.bytes);
	}
	if (status->error != NULL)
		show_text(&head.marks, BOARD_TEXT_ERROR, entry->error, sizeof entry->error, status->error,
		    strnlen(status->error, sizeof entry->error));
	show_result(&head, entry, status);
	store_first(entry, &head);
	store_words(&entry->id, &head.id, offsetof(struct board_entry, handler) - offsetof(struct board_entry, id));
	end(entry);
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
	write_event(writer, &event, text, strnlen(text, sizeof event.text));
}

void board_hide(struct board_writer *writer, uint32_t *slot)
{
	if (*slot == BOARD_NO_SLOT)
		return;
	assert(*slot < writer->entry_count);
	clear_entry(writer->entries + *slot);
	writer->index[*slot] = INDEX_FREE;
	*slot = BOARD_NO_SLOT;
}

bool board_forget(struct board_writer *writer, const struct tr_id *id)
{
	uint32_t at = find(writer, id);

	if (at == BOARD_NO_SLOT || writer->index[at] >= INDEX_LIVE)
		return false;
	clear_entry(writer->entries + at);
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
		begin(entry);
		if (text != NULL)
			show_text(&numbers[1], BOARD_TEXT_PROGRESS, entry->progress_text,
			    sizeof entry->progress_text, text, text_bytes);
		store_words(&entry->progress_done, progress, sizeof progress);
		store_words(&entry->result_bytes, numbers, sizeof numbers);
		end(entry);
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

	write_row(shown, worker, sizeof *worker);
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
	write_row(writer->lanes + row, lane, sizeof *lane);
}

void board_queue_set(struct board_writer *writer, uint32_t row, const struct board_queue *queue)
{
	assert(row < BOARD_QUEUES);
	write_row(writer->queues + row, queue, sizeof *queue);
}

void board_handler_set(struct board_writer *writer, uint32_t row, const struct board_handler *handler)
{
	assert(row < BOARD_HANDLERS);
	write_row(writer->handlers + row, handler, sizeof *handler);
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

void board_writer_close(struct board_writer **writer, bool remove)
{
	struct board_writer *closing = *writer;

	if (closing == NULL)
		return;
	board_heartbeat(closing, clock_ms(CLOCK_REALTIME));
	board_life(closing, BOARD_STOPPED);
	if (remove)
		shm_unlink(closing->name); /* gone already: somebody else removed it */
	segment_close(&closing->segment); /* and the lock with it */
	munmap(closing->index, index_bytes(closing));
	free(closing);
	*writer = NULL;
}
