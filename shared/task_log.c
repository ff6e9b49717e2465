/*
 * A task's log, from the board's events and the journal. Called by responders and tools. Enters: an
 * id. Leaves: lines in order, each once, and how many are missing.
 *
 * A line is on the board first and in the journal a few ms later, whole; both know it by its attempt and
 * its number in it. So the board is read first, and where both have a line, the journal's counts.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "id.h"

#define EVENTS_LOOKED_AT 65536 /* the newest; what is older has long been committed */
#define LINES_AT_FIRST 16

struct line {
	uint32_t attempt;
	bool from_board;
	uint64_t number;
	int64_t at_ms;
	int level;
	char *text;
};

/* Of one attempt: how many lines it had, as far as is known. */
struct total {
	uint32_t attempt;
	uint64_t lines;
	uint64_t lowest; /* number seen on the board so far, going back */
};

struct task_log {
	struct line *lines;
	size_t count, room;
	struct total *totals;
	size_t attempts, totals_room;
};

/* Makes room for one more; false: out of memory. */
static bool make_room(void **rows, size_t count, size_t *room, size_t row_bytes)
{
	if (count < *room)
		return true;
	size_t more = *room ? *room * 2 : LINES_AT_FIRST;
	void *moved = realloc(*rows, more * row_bytes);
	if (!moved)
		return false;
	*rows = moved;
	*room = more;
	return true;
}

/* NULL: out of memory. */
static struct total *total_of(struct task_log *log, uint32_t attempt)
{
	for (size_t i = 0; i < log->attempts; i++)
		if (log->totals[i].attempt == attempt)
			return &log->totals[i];
	void *rows = log->totals;
	if (!make_room(&rows, log->attempts, &log->totals_room, sizeof *log->totals))
		return NULL;
	log->totals = rows;
	log->totals[log->attempts] = (struct total){ .attempt = attempt, .lowest = UINT64_MAX };
	return &log->totals[log->attempts++];
}

static bool add_line(struct task_log *log, const struct line *line)
{
	void *rows = log->lines;

	if (!make_room(&rows, log->count, &log->room, sizeof *log->lines))
		return false;
	log->lines = rows;
	log->lines[log->count] = *line;
	log->lines[log->count].text = strdup(line->text);
	return log->lines[log->count++].text != NULL;
}

/* ---- the board --------------------------------------------------------------------------- */

/*
 * Going back, the numbers of an attempt fall. Where they do not, an earlier taskd died before the attempt
 * came into the journal, and it was made again: what the first one said is not this one's.
 */
static bool take_event(struct task_log *log, const struct board *board, const struct board_event *event)
{
	struct total *total = total_of(log, event->attempt);
	uint64_t number = event->worker;
	char text[TR_LOG_LINE_MAX + 1];

	if (!total)
		return false;
	if (number == UINT16_MAX || number >= total->lowest) {
		total->lowest = number == UINT16_MAX ? total->lowest : 0;
		return true;
	}
	total->lowest = number;
	if (number > total->lines)
		total->lines = number;
	board_event_text(board, event, text); /* if it is cut, the journal has had it for long */
	const struct line line = { .attempt = event->attempt, .from_board = true, .number = number,
		.at_ms = event->at_ms, .level = event->state, .text = text };
	return number > TR_LOG_LINES_MAX || add_line(log, &line);
}

static bool read_board(struct task_log *log, const struct board *board, const struct tr_id *id)
{
	struct board_event event;
	uint64_t last = atomic_load_explicit(&board->last_event, memory_order_acquire);
	uint64_t most = board->events < EVENTS_LOOKED_AT ? board->events : EVENTS_LOOKED_AT;

	for (uint64_t serial = last; serial > 0 && last - serial < most; serial--) {
		if (board_event(board, serial, &event) != 1 || event.kind != EVENT_LOG || !id_equal(&event.id, id))
			continue;
		if (!take_event(log, board, &event))
			return false;
	}
	return true;
}

/* ---- the journal ------------------------------------------------------------------------- */

static bool take_archived(void *context, uint32_t attempt, uint64_t number, int64_t at_ms, int level, const char *text)
{
	struct task_log *log = context;
	struct total *total = total_of(log, attempt);
	struct line line = { .attempt = attempt, .number = number, .at_ms = at_ms, .level = level };

	if (!total)
		return false;
	if (number > total->lines)
		total->lines = number;
	if (!text)
		return true;
	line.text = (char *)(uintptr_t)text; /* add_line() copies it */
	return add_line(log, &line);
}

static enum tr_result read_journal(struct task_log *log, struct taskring *client, const struct tr_id *id)
{
	pthread_mutex_lock(&client->lock);
	enum tr_result result = client_archive(client);
	if (result == TR_OK)
		result = archive_log(client->archive, id, TR_LOG_SHOWN_MAX, take_archived, log);
	pthread_mutex_unlock(&client->lock);
	return result == TR_NOT_FOUND ? TR_OK : result; /* there is no journal (yet) */
}

/* ---- together ---------------------------------------------------------------------------- */

/* By attempt and number; of one line the journal's first. */
static int compare_lines(const void *a, const void *b)
{
	const struct line *left = a, *right = b;

	if (left->attempt != right->attempt)
		return left->attempt < right->attempt ? -1 : 1;
	if (left->number != right->number)
		return left->number < right->number ? -1 : 1;
	return (int)left->from_board - (int)right->from_board;
}

static bool is_same(const struct line *a, const struct line *b)
{
	return a->attempt == b->attempt && a->number == b->number;
}

static enum tr_result give(struct task_log *log, struct tr_log_line **lines, size_t *count, uint64_t *dropped)
{
	size_t kept = 0;

	if (log->count > 0)
		qsort(log->lines, log->count, sizeof *log->lines, compare_lines);
	for (size_t i = 0; i < log->count; i++) {
		if (kept > 0 && is_same(&log->lines[kept - 1], &log->lines[i]))
			continue;
		struct line line = log->lines[kept];
		log->lines[kept++] = log->lines[i];
		log->lines[i] = line; /* its text is freed with the rest */
	}
	size_t shown = kept < TR_LOG_SHOWN_MAX ? kept : TR_LOG_SHOWN_MAX;
	for (size_t i = 0; i < log->attempts; i++)
		*dropped += log->totals[i].lines;
	*dropped -= shown < *dropped ? shown : *dropped;
	*lines = shown ? calloc(shown, sizeof **lines) : NULL;
	if (shown && !*lines)
		return TR_NO_MEMORY;
	for (size_t i = 0; i < shown; i++) {
		const struct line *line = &log->lines[kept - shown + i];
		struct tr_log_line *to = &(*lines)[i];
		*to = (struct tr_log_line){ .at_ms = line->at_ms, .attempt = line->attempt, .level = line->level };
		memcpy(to->text, line->text, strnlen(line->text, TR_LOG_LINE_MAX));
	}
	*count = shown;
	return TR_OK;
}

static void clear(struct task_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		free(log->lines[i].text);
	free(log->lines);
	free(log->totals);
}

enum tr_result tr_task_log(struct taskring *ring, const struct tr_id *id, struct tr_log_line **lines, size_t *count,
    uint64_t *dropped)
{
	struct tr_task_status status;
	struct task_log log = { 0 };
	enum tr_result ignored;

	*lines = NULL;
	*count = 0;
	*dropped = 0;
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	const struct board *board = client_board_again(ring, &ignored);
	enum tr_result result = !board || read_board(&log, board, id) ? TR_OK : TR_NO_MEMORY;
	if (result == TR_OK)
		result = read_journal(&log, ring, id);
	bool unknown = result == TR_OK && log.attempts == 0;
	if (result == TR_OK)
		result = give(&log, lines, count, dropped);
	clear(&log);
	if (!unknown)
		return result;
	result = tr_task_status(ring, id, &status);
	if (result == TR_OK)
		tr_task_status_clear(&status);
	return result;
}
