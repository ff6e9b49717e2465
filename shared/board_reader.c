/*
 * Reading the board. In: an instance's name, ids, rows, event numbers. Out: copies that were whole
 * at one moment, or "not there". Callers: client.c, taskstat, the responder's status and health
 * pages, tests.
 *
 * A guarded copy reads the sequence, then the words, each with an acquire load, then the sequence
 * again. The writer stores every word with release after it has made the sequence odd. So whoever
 * saw one word of a newer writing also sees, in the second look, at least its odd sequence, and
 * copies again. No fence is needed, and nobody reads what another thread writes non-atomically.
 */
#include "shared/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared/id.h"
#include "shared/record.h"
#include "shared/segment.h"

/* Structs on the board are copied as words of this type, whatever their members are. */
typedef uint64_t __attribute__((may_alias)) board_word;
typedef uint32_t __attribute__((may_alias)) board_half_word;

/* Always false, so that a check that fails can return it. */
static bool say(struct tr_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool say(struct tr_error *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof error->text, format, args);
	va_end(args);
	return false;
}

/* ---- attaching --------------------------------------------------------------------------- */

static bool area_ok(const struct board *board, uint64_t at, uint64_t count, size_t row_bytes)
{
	return at >= sizeof *board && at % 64 == 0 && at <= board->size &&
	    count * row_bytes <= board->size - at;
}

static bool check(const struct board *board, size_t bytes, const char *name, struct tr_error *error)
{
	if (bytes < sizeof(struct board) || board->magic != BOARD_MAGIC)
		return say(error, "/dev/shm%s is not a board that this program "
		    "(version %u) can read", name, BOARD_VERSION);
	if (board->version != BOARD_VERSION)
		return say(error, "/dev/shm%s is a board of version %u; this "
		    "program reads version %u", name, board->version, BOARD_VERSION);
	if (board->tables != board_tables_hash())
		return say(error, "/dev/shm%s is a board of version %u with the "
		    "counters %08x; this program reads version %u with the counters %08x", name,
		    board->version, board->tables, BOARD_VERSION, board_tables_hash());
	if (board->size != bytes)
		return say(error, "/dev/shm%s has %zu bytes; its header says %llu",
		    name, bytes, (unsigned long long)board->size);
	if (board->entries < BOARD_BUCKET || board->entries % BOARD_BUCKET != 0 || board->events == 0 ||
	    !area_ok(board, board->entries_at, board->entries, sizeof(struct board_entry)) ||
	    !area_ok(board, board->workers_at, board->workers, sizeof(struct board_worker)) ||
	    !area_ok(board, board->lanes_at, board->lanes, sizeof(struct board_lane)) ||
	    !area_ok(board, board->queues_at, board->queues, sizeof(struct board_queue)) ||
	    !area_ok(board, board->handlers_at, board->handlers, sizeof(struct board_handler)) ||
	    !area_ok(board, board->events_at, board->events, sizeof(struct board_event)) ||
	    !area_ok(board, board->texts_at, board->text_words, sizeof(uint64_t)) || board->text_words == 0 ||
	    (board->text_words & (board->text_words - 1)) != 0)
		return say(error, "/dev/shm%s: its header names places outside "
		    "of its %zu bytes", name, bytes);
	return true;
}

static enum tr_result open_segment(struct segment *segment, const char *instance,
    struct tr_error *error)
{
	char name[SEGMENT_NAME_SIZE];

	if (!record_name_ok(instance, strnlen(instance, TR_NAME_MAX + 1))) {
		say(error, "instance \"%.80s\": 1 to %d of A-Z a-z 0-9 . _ -, not starting with a dot",
		    instance, TR_NAME_MAX);
		return TR_INVALID;
	}
	segment_name(name, instance, "board");
	enum tr_result result = segment_open(segment, name, false, error);
	if (result == TR_NOT_FOUND) {
		say(error, "instance \"%s\" has no board (/dev/shm%s): taskd has not run, or was stopped", instance, name);
		return TR_NO_BOARD;
	}
	if (result != TR_OK)
		return result;
	if (!check(segment->memory, segment->bytes, name, error)) {
		segment_close(segment);
		return TR_VERSION_MISMATCH;
	}
	return TR_OK;
}

enum tr_result board_open(const struct board **board, const char *instance, struct tr_error *error)
{
	struct segment segment;

	*board = NULL;
	enum tr_result result = open_segment(&segment, instance, error);
	if (result != TR_OK)
		return result;
	*board = segment.memory;
	close(segment.fd); /* the mapping stays */
	return TR_OK;
}

void board_close(const struct board **board)
{
	if (*board != NULL)
		munmap((void *)*board, (*board)->size);
	*board = NULL;
}

bool board_replaced(const struct board *board, const char *instance)
{
	struct segment segment;
	struct tr_error error;

	switch (open_segment(&segment, instance, &error)) {
	case TR_OK:
		break;
	case TR_VERSION_MISMATCH:
		return true;
	default:
		return false;
	}
	bool other = ((const struct board *)segment.memory)->identity != board->identity;
	segment_close(&segment);
	return other;
}

bool board_is_held(const char *instance)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
	struct segment segment;
	struct tr_error error;

	if (open_segment(&segment, instance, &error) != TR_OK)
		return false;
	bool held = fcntl(segment.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK;
	segment_close(&segment);
	return held;
}

bool board_alive(const struct board *board, int64_t now_ms)
{
	uint32_t life = atomic_load_explicit(&board->running_state, memory_order_relaxed);
	int64_t seen_ms = atomic_load_explicit(&board->heartbeat_ms, memory_order_relaxed);

	return (life == BOARD_RUNNING || life == BOARD_DRAINING) && now_ms - seen_ms < BOARD_ALIVE_MS;
}

/* ---- guarded copies ---------------------------------------------------------------------- */

static uint64_t load_word(const void *from)
{
	return __atomic_load_n((const board_word *)from, __ATOMIC_ACQUIRE);
}

static void copy_words(void *to, const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += sizeof(board_word)) {
		uint64_t word = load_word((const char *)from + at);
		memcpy((char *)to + at, &word, sizeof word);
	}
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* `from` begins with its sequence, 32 bits, and 32 bits of data; then whole words. */
static bool copy_guarded(void *to, const void *from, size_t bytes)
{
	const board_half_word *sequence = from;

	for (unsigned spin = 0; spin < BOARD_SPINS; spin++) {
		uint32_t before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
		if (before % 2 == 0) {
			uint32_t first = __atomic_load_n(sequence + 1, __ATOMIC_ACQUIRE);
			memcpy(to, &before, sizeof before);
			memcpy((char *)to + sizeof before, &first, sizeof first);
			copy_words((char *)to + 8, (const char *)from + 8, bytes - 8);
			if (__atomic_load_n(sequence, __ATOMIC_RELAXED) == before)
				return true;
		}
		relax();
	}
	return false;
}

/* A text that its writer has switched off is empty; one that is on ends inside its field. */
static void finish_text(char *text, size_t size, bool on)
{
	text[on ? size - 1 : 0] = '\0';
}

static void finish_entry(struct board_entry *entry)
{
	finish_text(entry->handler, sizeof entry->handler, true);
	finish_text(entry->queue, sizeof entry->queue, true);
	finish_text(entry->progress_text, sizeof entry->progress_text, entry->marks & BOARD_TEXT_PROGRESS);
	finish_text(entry->error, sizeof entry->error, entry->marks & BOARD_TEXT_ERROR);
	finish_text(entry->result, sizeof entry->result, entry->marks & BOARD_TEXT_RESULT);
}

bool board_find(const struct board *board, const struct tr_id *id, struct board_entry *copy)
{
	const struct board_entry *entry =
	    board_entries(board) + board_bucket(board->entries, id_hash(id));
	uint64_t low, high;

	memcpy(&low, id->bytes, sizeof low);
	memcpy(&high, id->bytes + sizeof low, sizeof high);
	for (unsigned i = 0; i < BOARD_BUCKET; i++, entry++) {
		if (load_word(entry->id.bytes + sizeof low) != high || load_word(entry->id.bytes) != low)
			continue;
		/* It may have been given to another task since: look at what was copied. */
		if (!copy_guarded(copy, entry, sizeof *entry) || !copy->used || !id_equal(&copy->id, id))
			continue;
		finish_entry(copy);
		return true;
	}
	return false;
}

static bool is_between(const struct tr_id *above, const struct tr_id *id, const struct tr_id *below)
{
	return memcmp(id->bytes, above->bytes, sizeof id->bytes) > 0 && memcmp(id->bytes, below->bytes, sizeof id->bytes) < 0;
}

bool board_copy_entry(const struct board *board, uint32_t row, unsigned states, const struct tr_id *above,
    const struct tr_id *below, struct board_entry *copy)
{
	const struct board_entry *entry = board_entries(board) + row;
	struct board_entry head;

	if (row >= board->entries)
		return false;
	/* Unguarded, and thus perhaps of two tasks: what looks right is copied and looked at again. */
	copy_words(&head, entry, offsetof(struct board_entry, attempt));
	if (!head.used || head.state >= TR_STATES || !(states >> head.state & 1) || !is_between(above, &head.id, below))
		return false;
	if (!copy_guarded(copy, entry, sizeof *copy) || !copy->used || copy->state >= TR_STATES ||
	    !(states >> copy->state & 1) || !is_between(above, &copy->id, below))
		return false;
	finish_entry(copy);
	return true;
}

bool board_copy_worker(const struct board *board, uint32_t row, struct board_worker *copy)
{
	if (row >= board->workers || !copy_guarded(copy, board_workers(board) + row, sizeof *copy))
		return false;
	finish_text(copy->pool, sizeof copy->pool, true);
	return true;
}

bool board_copy_lane(const struct board *board, uint32_t row, struct board_lane *copy)
{
	return row < board->lanes && copy_guarded(copy, board_lanes(board) + row, sizeof *copy);
}

bool board_copy_queue(const struct board *board, uint32_t row, struct board_queue *copy)
{
	if (row >= board->queues || !copy_guarded(copy, board_queues(board) + row, sizeof *copy))
		return false;
	finish_text(copy->name, sizeof copy->name, true);
	return copy->name[0] != '\0';
}

bool board_copy_handler(const struct board *board, uint32_t row, struct board_handler *copy)
{
	if (row >= board->handlers || !copy_guarded(copy, board_handlers(board) + row, sizeof *copy))
		return false;
	finish_text(copy->name, sizeof copy->name, true);
	finish_text(copy->doc, sizeof copy->doc, true);
	finish_text(copy->secrets, sizeof copy->secrets, true);
	return copy->name[0] != '\0';
}

bool board_find_queue(const struct board *board, const char *name, struct board_queue *copy)
{
	for (uint32_t row = 0; row < board->queues; row++)
		if (board_copy_queue(board, row, copy) && strcmp(copy->name, name) == 0)
			return true;
	return false;
}

bool board_find_handler(const struct board *board, const char *name, struct board_handler *copy)
{
	for (uint32_t row = 0; row < board->handlers; row++)
		if (board_copy_handler(board, row, copy) && strcmp(copy->name, name) == 0)
			return true;
	return false;
}

bool board_may_have_handler(const struct board *board, const char *name)
{
	struct board_handler row;
	uint32_t taken = 0;

	for (uint32_t i = 0; i < board->handlers; i++) {
		if (!board_copy_handler(board, i, &row))
			continue;
		if (strcmp(row.name, name) == 0)
			return true;
		taken++;
	}
	return taken == 0 || taken == board->handlers;
}

int board_event(const struct board *board, uint64_t serial, struct board_event *copy)
{
	/* Pairs with the release in the writer's write_event(): an event up to here was once whole. */
	if (serial > atomic_load_explicit(&board->last_event, memory_order_acquire))
		return 0;
	const struct board_event *event = board_events(board) + (serial - 1) % board->events;
	if (serial == 0 || load_word(event) != serial)
		return -1;
	copy_words(copy, event, sizeof *copy);
	if (atomic_load_explicit(&event->serial, memory_order_relaxed) != serial)
		return -1;
	finish_text(copy->text, sizeof copy->text, true);
	return 1;
}

bool board_event_text(const struct board *board, const struct board_event *event, char text[TR_LOG_LINE_MAX + 1])
{
	uint32_t bytes = event->text_bytes, written;

	memcpy(text, event->text, sizeof event->text);
	if (bytes < sizeof event->text)
		return true;
	if (bytes > TR_LOG_LINE_MAX)
		return false;
	for (uint32_t at = 0; at < bytes; at += (uint32_t)sizeof(board_word)) {
		uint64_t word = load_word(board_texts(board) + (event->text_at + at / sizeof word) % board->text_words);
		memcpy(text + at, &word, bytes - at < sizeof word ? bytes - at : sizeof word);
	}
	/* Pairs with the releases in the writer's store_long(): who has read a word of a later text sees that its place was taken. */
	written = (uint32_t)atomic_load_explicit(&board->texts_end, memory_order_relaxed) - event->text_at;
	bool whole = written <= board->text_words;
	if (!whole)
		memcpy(text, event->text, sizeof event->text);
	text[whole ? bytes : sizeof event->text - 1] = '\0';
	return whole;
}
