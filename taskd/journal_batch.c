/*
 * Batches and lists: rows and their texts. The dispatcher fills a batch (journal.h) and frees it;
 * journal_rows.c fills a list, whoever polled it frees it.
 */
#include "taskd/journal_batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Below malloc's threshold for mmap(2), so that one batch's blocks become the next one's. */
#define ARENA_BLOCK_BYTES (64u << 10)
#define ROWS_AT_FIRST 64

struct arena_block {
	struct arena_block *next;
	size_t room, used;
	char memory[];
};

char *arena_copy(struct arena *arena, const char *text, size_t bytes)
{
	struct arena_block *block = arena->blocks;

	if (block == NULL || block->room - block->used < bytes + 1) {
		size_t room = ARENA_BLOCK_BYTES - sizeof *block;
		if (room < bytes + 1)
			room = bytes + 1;
		block = malloc(sizeof *block + room);
		if (block == NULL)
			return NULL;
		*block = (struct arena_block){ .next = arena->blocks, .room = room };
		arena->blocks = block;
	}
	char *copy = block->memory + block->used;
	if (bytes > 0)
		memcpy(copy, text, bytes);
	copy[bytes] = 0;
	block->used += bytes + 1;
	return copy;
}

void arena_free(struct arena *arena)
{
	while (arena->blocks != NULL) {
		struct arena_block *block = arena->blocks;
		arena->blocks = block->next;
		free(block);
	}
}

/* Makes room for one more row behind `count`: the array, moved or not; NULL: out of memory. */
static void *with_room(void *rows, size_t count, size_t *room, size_t row_bytes)
{
	if (count < *room)
		return rows;
	size_t more = *room ? *room * 2 : ROWS_AT_FIRST;
	void *moved = realloc(rows, more * row_bytes);
	if (moved != NULL)
		*room = more;
	return moved;
}

static bool own_span(struct arena *arena, struct record_text *text)
{
	char *copy = arena_copy(arena, text->at, text->bytes);

	text->at = copy;
	return copy != NULL;
}

static bool own_string(struct arena *arena, const char **text)
{
	if (*text == NULL)
		return true;
	*text = arena_copy(arena, *text, strlen(*text));
	return *text != NULL;
}

static bool own_state(struct arena *arena, struct journal_state *state)
{
	return own_string(arena, &state->error) && own_string(arena, &state->result);
}

bool task_rows_add(struct task_rows *rows, struct arena *arena, const struct journal_task *task)
{
	struct journal_task *at = with_room(rows->at, rows->count, &rows->room, sizeof *at);

	if (at == NULL)
		return false;
	rows->at = at;
	at += rows->count;
	*at = *task;
	if (!own_span(arena, &at->record.handler) || !own_span(arena, &at->record.queue) ||
	    !own_span(arena, &at->record.on_failure) || !own_span(arena, &at->record.trace) ||
	    !own_span(arena, &at->record.args) || !own_state(arena, &at->state))
		return false;
	rows->count++;
	return true;
}

/* ---- batches ----------------------------------------------------------------------------- */

struct journal_batch *journal_batch_new(struct journal *journal)
{
	struct journal_batch *batch = calloc(1, sizeof *batch);

	if (batch != NULL)
		batch->journal = journal;
	return batch;
}

void journal_batch_free(struct journal_batch **batch)
{
	struct journal_batch *gone = *batch;

	*batch = NULL;
	if (gone == NULL)
		return;
	arena_free(&gone->texts);
	free(gone->inserts.at);
	free(gone->updates.at);
	free(gone->attempts.at);
	free(gone->lines.at);
	free(gone->deletes.at);
	free(gone->pauses.at);
	free(gone->minutes.at);
	free(gone);
}

bool journal_batch_insert(struct journal_batch *batch, const struct record *record,
    const struct journal_state *state)
{
	const struct journal_task task = { .record = *record, .state = *state, .predecessor = TR_STATES };

	assert(record->kind == RECORD_TASK && (unsigned)state->state < TR_STATES);
	return task_rows_add(&batch->inserts, &batch->texts, &task);
}

bool journal_batch_update(struct journal_batch *batch, const struct tr_id *id,
    const struct journal_state *state)
{
	struct journal_change *at = with_room(batch->updates.at, batch->updates.count, &batch->updates.room, sizeof *at);

	assert((unsigned)state->state < TR_STATES);
	if (at == NULL)
		return false;
	batch->updates.at = at;
	at += batch->updates.count;
	*at = (struct journal_change){ .id = *id, .state = *state };
	if (!own_state(&batch->texts, &at->state))
		return false;
	batch->updates.count++;
	return true;
}

const struct tr_id *journal_batch_missed(const struct journal_batch *batch, size_t *at)
{
	while (batch->updates.missed > 0 && *at < batch->updates.count) {
		const struct journal_change *change = &batch->updates.at[(*at)++];
		if (change->missed)
			return &change->id;
	}
	return NULL;
}

bool journal_batch_attempt(struct journal_batch *batch, const struct journal_attempt *attempt)
{
	struct journal_attempt *at = with_room(batch->attempts.at, batch->attempts.count, &batch->attempts.room, sizeof *at);

	if (at == NULL)
		return false;
	batch->attempts.at = at;
	at += batch->attempts.count;
	*at = *attempt;
	if (!own_string(&batch->texts, &at->outcome) || !own_string(&batch->texts, &at->message) ||
	    !own_string(&batch->texts, &at->verdict))
		return false;
	batch->attempts.count++;
	return true;
}

bool journal_batch_line(struct journal_batch *batch, const struct journal_line *line)
{
	struct journal_line *at = with_room(batch->lines.at, batch->lines.count, &batch->lines.room, sizeof *at);

	if (at == NULL)
		return false;
	batch->lines.at = at;
	at += batch->lines.count;
	*at = *line;
	if (!own_string(&batch->texts, &at->text))
		return false;
	batch->lines.count++;
	return true;
}

bool journal_batch_delete(struct journal_batch *batch, const struct tr_id *id)
{
	struct tr_id *at = with_room(batch->deletes.at, batch->deletes.count, &batch->deletes.room, sizeof *at);

	if (at == NULL)
		return false;
	batch->deletes.at = at;
	at[batch->deletes.count++] = *id;
	return true;
}

bool journal_batch_queue(struct journal_batch *batch, const char *name, bool paused)
{
	struct journal_pause *at = with_room(batch->pauses.at, batch->pauses.count, &batch->pauses.room, sizeof *at);

	assert(record_name_ok(name, strnlen(name, TR_NAME_MAX + 1)));
	if (at == NULL)
		return false;
	batch->pauses.at = at;
	at += batch->pauses.count++;
	*at = (struct journal_pause){ .paused = paused };
	memcpy(at->queue, name, strlen(name));
	return true;
}

bool journal_batch_history(struct journal_batch *batch, const struct journal_history *minute)
{
	/* One a minute: no room is made beforehand. */
	struct journal_history *at = realloc(batch->minutes.at, (batch->minutes.count + 1) * sizeof *at);

	if (at == NULL)
		return false;
	batch->minutes.at = at;
	at[batch->minutes.count++] = *minute;
	return true;
}

size_t journal_batch_rows(const struct journal_batch *batch)
{
	return batch->inserts.count + batch->updates.count + batch->attempts.count + batch->lines.count +
	    batch->deletes.count + batch->pauses.count + batch->minutes.count;
}

/* ---- lists ------------------------------------------------------------------------------- */

void journal_list_free(struct journal_list **list)
{
	struct journal_load *gone = (struct journal_load *)*list;

	*list = NULL;
	if (gone == NULL)
		return;
	arena_free(&gone->texts);
	free(gone->rows.at);
	free(gone);
}
