/*
 * Listing tasks: one page, the newest first, merged from the board and the journal. Called by
 * responders and tools. Enters: a filter and where to go on. Leaves: rows, and where the next page
 * begins.
 *
 * The board comes first and wins: it shows what is newer than the journal, and tasks that have no row.
 * A task that has left the board meanwhile is in the journal by then. Of the board the newest matches
 * are kept, as many as a page holds; the journal's walk then passes them, and where it stops short,
 * the page ends, since below that nobody has looked.
 */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "filter.h"
#include "id.h"
#include "redact.h"

#define WORK_MOST 20000 /* in the journal, in one call: so many rows are passed over, or 5 MB read */

struct listing {
	const struct tr_task_filter *filter;
	const struct board *board;
	struct redactor *redactor; /* where arguments are looked at */
	struct board_entry *entries; /* copies of the board's newest matches, in any order: */
	size_t *order;               /* their places, the newest first */
	size_t found, limit;
	size_t merged;               /* of them, so many are in the page, */
	struct tr_task_status *rows; /* which is this */
	size_t count;
	bool *lacks_result;
	enum tr_result result;
};

static int compare_ids(const struct tr_id *a, const struct tr_id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

/* ---- the board --------------------------------------------------------------------------- */

static struct filtered filtered_of(const struct board_entry *entry)
{
	return (struct filtered){ .id = &entry->id, .state = entry->state, .created_ms = entry->created_ms,
		.handler = entry->handler, .queue = entry->queue, .error = entry->error };
}

/* The board has no arguments: what is asked of these is answered by the row, which such a task has or gets in a moment. */
static bool entry_matches(const struct listing *listing, const struct board_entry *entry)
{
	const struct filtered task = filtered_of(entry);

	return filter_fits(listing->filter, &task) && filter_has_text(listing->filter, &task) &&
	    !filter_asks_arguments(listing->filter);
}

/* Its row matches; so does the entry, if what has changed since still does. */
static bool entry_still_fits(const struct listing *listing, const struct board_entry *entry)
{
	const struct filtered task = filtered_of(entry);

	return filter_fits(listing->filter, &task);
}

/* Puts the entry, of which listing->entries[place] is a copy, where it belongs in the order. */
static void file_entry(struct listing *listing, size_t place)
{
	size_t at = listing->found;

	while (at > 0 && compare_ids(&listing->entries[listing->order[at - 1]].id, &listing->entries[place].id) < 0) {
		listing->order[at] = listing->order[at - 1];
		at--;
	}
	listing->order[at] = place;
	listing->found++;
}

/* A task may change its entry while we look, and be seen twice: the second time it is passed over. */
static bool is_filed(const struct listing *listing, const struct tr_id *id)
{
	for (size_t i = 0; i < listing->found; i++)
		if (id_equal(&listing->entries[listing->order[i]].id, id))
			return true;
	return false;
}

static void scan_board(struct listing *listing, const struct tr_id *before)
{
	unsigned states = listing->filter->states ? listing->filter->states : ~0u;
	struct tr_id above = { { 0 } }; /* with a full page: its oldest */

	for (uint32_t row = 0; listing->board && row < listing->board->entries; row++) {
		size_t place = listing->found < listing->limit ? listing->found : listing->limit;
		struct board_entry *entry = &listing->entries[place]; /* there is one more than the page holds */
		if (!board_copy_entry(listing->board, row, states, &above, before, entry) || !entry_matches(listing, entry) ||
		    is_filed(listing, &entry->id))
			continue;
		if (listing->found == listing->limit) { /* it takes the oldest one's place */
			size_t oldest = listing->order[--listing->found];
			listing->entries[oldest] = *entry;
			place = oldest;
		}
		file_entry(listing, place);
		if (listing->found == listing->limit)
			above = listing->entries[listing->order[listing->found - 1]].id;
	}
}

/* ---- merging ----------------------------------------------------------------------------- */

static bool is_full(const struct listing *listing)
{
	return listing->count == listing->limit || listing->result != TR_OK;
}

static void add_entry(struct listing *listing, const struct board_entry *entry)
{
	enum tr_result result = client_status_of_entry(entry, &listing->rows[listing->count]);

	if (result != TR_OK && result != TR_TOO_LARGE) {
		listing->result = result;
		return;
	}
	listing->lacks_result[listing->count++] = result == TR_TOO_LARGE;
}

/* The board's tasks down to *until, which is among them. True: the last one added was *until. */
static bool add_down_to(struct listing *listing, const struct tr_id *until)
{
	int order = -1;

	while (!is_full(listing) && listing->merged < listing->found && order != 0) {
		const struct board_entry *entry = &listing->entries[listing->order[listing->merged]];
		order = compare_ids(until, &entry->id);
		if (order > 0)
			break;
		add_entry(listing, entry);
		listing->merged++;
	}
	return order == 0;
}

/* The journal's next task. It may have come to the board since the board was scanned. */
static bool take_archived(void *context, struct tr_task_status *status)
{
	struct listing *listing = context;
	struct board_entry entry;

	if (add_down_to(listing, &status->id) || is_full(listing)) {
		tr_task_status_clear(status);
	} else if (listing->board && board_find(listing->board, &status->id, &entry)) {
		tr_task_status_clear(status);
		if (entry_still_fits(listing, &entry))
			add_entry(listing, &entry);
	} else {
		listing->lacks_result[listing->count] = false;
		listing->rows[listing->count++] = *status;
	}
	return !is_full(listing);
}

/* Answers where the next page begins. */
static struct tr_id merge(struct listing *listing, struct taskring *client, const struct tr_id *before)
{
	static const struct tr_id none;
	const struct archive_query query = { .filter = listing->filter, .before = before, .work_most = WORK_MOST,
		.redactor = listing->redactor };
	struct tr_id reached = none;

	pthread_mutex_lock(&client->lock);
	enum tr_result result = client_archive(client);
	if (result == TR_OK)
		result = archive_list(client->archive, &query, take_archived, listing, &reached);
	pthread_mutex_unlock(&client->lock);
	if (result == TR_NOT_FOUND) /* there is no journal (yet) */
		reached = none;
	else if (result != TR_OK && listing->result == TR_OK)
		listing->result = result;
	add_down_to(listing, &reached);
	return listing->count == listing->limit ? listing->rows[listing->count - 1].id : reached;
}

/* ---- the call ---------------------------------------------------------------------------- */

static enum tr_result open_listing(struct listing *listing, size_t limit)
{
	listing->entries = malloc((limit + 1) * sizeof *listing->entries);
	listing->order = malloc((limit + 1) * sizeof *listing->order);
	listing->lacks_result = malloc(limit * sizeof *listing->lacks_result);
	if (listing->filter->text || filter_asks_arguments(listing->filter)) {
		listing->redactor = redactor_new(listing->board);
		if (!listing->redactor)
			return TR_NO_MEMORY;
	}
	return listing->entries && listing->order && listing->lacks_result ? TR_OK : TR_NO_MEMORY;
}

static void close_listing(struct listing *listing)
{
	free(listing->entries);
	free(listing->order);
	free(listing->lacks_result);
	redactor_free(&listing->redactor);
}

enum tr_result tr_tasks_list(struct taskring *ring, const struct tr_task_filter *filter, const struct tr_id *before,
    size_t limit, struct tr_task_status *rows, size_t *count, struct tr_id *next)
{
	static const struct tr_task_filter all;
	struct tr_id newest;
	enum tr_result ignored;

	*count = 0;
	memset(next, 0, sizeof *next);
	memset(newest.bytes, 0xff, sizeof newest.bytes);
	if (ring->magic != CLIENT_MAGIC)
		return TR_FORKED;
	if (!filter)
		filter = &all;
	if (limit < 1 || limit > TR_LIST_MAX || !filter_is_sound(filter))
		return TR_INVALID;
	if (before)
		newest = *before;
	filter_lower(filter, &newest);
	struct listing listing = { .filter = filter, .limit = limit, .rows = rows, .result = TR_OK,
		.board = client_board_again(ring, &ignored) };
	listing.result = open_listing(&listing, limit);
	if (listing.result == TR_OK) {
		scan_board(&listing, &newest);
		*next = merge(&listing, ring, &newest);
	}
	for (size_t i = 0; i < listing.count; i++) {
		if (listing.result != TR_OK)
			tr_task_status_clear(&rows[i]);
		else if (listing.lacks_result[i])
			client_add_result(ring, &rows[i]);
	}
	if (listing.result == TR_OK)
		*count = listing.count;
	else
		memset(next, 0, sizeof *next);
	close_listing(&listing);
	return listing.result;
}
