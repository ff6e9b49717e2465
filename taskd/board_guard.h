/*
 * What board_writer.c, which is called for every task, and board_open.c, which runs once, share: the
 * writer, and how a row is written so that readers notice (the head of shared/board_reader.c has the
 * other half). Nobody else includes it.
 */
#ifndef TASKD_BOARD_GUARD_H
#define TASKD_BOARD_GUARD_H

#include <string.h>

#include "shared/segment.h"
#include "taskd/board_writer.h"

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
	uint64_t *texts;     /* of events, where they are long: text_words words, */
	uint32_t text_words;
	uint64_t texts_end;  /* of which so many have ever been written */
	uint64_t last_ended; /* order in the index */
	uint64_t *index;     /* a word for each entry */
	char name[SEGMENT_NAME_SIZE];
};

/* ---- guarded writing: see the head of board_reader.c ------------------------------------- */

/* Release on every word: none of them may be seen before the odd sequence. Free on x86. */
static inline void board_guard_word(void *to, uint64_t word)
{
	__atomic_store_n((board_word *)to, word, __ATOMIC_RELEASE);
}

static inline void board_guard_words(void *to, const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += sizeof(board_word)) {
		uint64_t word;
		memcpy(&word, (const char *)from + at, sizeof word);
		board_guard_word((char *)to + at, word);
	}
}

/* A row begins with its sequence; `|`, because a dead writer may have left it odd. */
static inline void board_guard_begin(void *row)
{
	board_half_word *sequence = row;

	__atomic_store_n(sequence, *sequence | 1, __ATOMIC_RELAXED);
}

static inline void board_guard_end(void *row)
{
	board_half_word *sequence = row;

	/* Pairs with the acquire in copy_guarded(): all words before the even sequence. */
	__atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELEASE);
}

/* The 32 bits that follow a row's sequence. */
static inline void board_guard_first(void *row, const void *from)
{
	uint32_t first;

	memcpy(&first, (const char *)from + sizeof first, sizeof first);
	__atomic_store_n((board_half_word *)row + 1, first, __ATOMIC_RELEASE);
}

static inline void board_guard_write(void *row, const void *from, size_t bytes)
{
	board_guard_begin(row);
	board_guard_first(row, from);
	board_guard_words((char *)row + 8, (const char *)from + 8, bytes - 8);
	board_guard_end(row);
}

/* An entry that is in use or torn becomes free; its texts stay and count for nothing. */
static inline void board_guard_clear(struct board_entry *entry)
{
	static const struct board_entry nothing;

	board_guard_begin(entry);
	board_guard_first(entry, &nothing);
	board_guard_words(&entry->id, &nothing.id, offsetof(struct board_entry, handler) - offsetof(struct board_entry, id));
	board_guard_end(entry);
}

#endif
