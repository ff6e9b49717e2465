/*
 * The beginning and the end of the board's writer. In: a geometry, and perhaps the segment of an
 * earlier dispatcher. Out: a writer whose board holds nothing that is torn or of tasks that are gone.
 * dispatcher.c calls it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared/clock.h"
#include "taskd/board_attach.h"
#include "taskd/board_guard.h"

static void clear_rows(struct board_writer *writer)
{
	static const struct board_worker no_worker;
	static const struct board_lane no_lane;
	static const struct board_queue no_queue;
	static const struct board_handler no_handler;

	for (uint32_t i = 0; i < writer->entry_count; i++) {
		struct board_entry *entry = writer->entries + i;
		if (entry->used || atomic_load_explicit(&entry->sequence, memory_order_relaxed) % 2 == 1)
			board_guard_clear(entry);
	}
	for (uint32_t i = 0; i < writer->worker_count; i++)
		board_guard_write(writer->workers + i, &no_worker, sizeof no_worker);
	for (uint32_t i = 0; i < writer->lane_count; i++)
		board_guard_write(writer->lanes + i, &no_lane, sizeof no_lane);
	for (uint32_t i = 0; i < BOARD_QUEUES; i++)
		if (atomic_load_explicit(&writer->queues[i].sequence, memory_order_relaxed) % 2 == 1)
			board_guard_write(writer->queues + i, &no_queue, sizeof no_queue);
	for (uint32_t i = 0; i < BOARD_HANDLERS; i++)
		if (atomic_load_explicit(&writer->handlers[i].sequence, memory_order_relaxed) % 2 == 1)
			board_guard_write(writer->handlers + i, &no_handler, sizeof no_handler);
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
	writer->texts_end = atomic_load_explicit(&board->texts_end, memory_order_relaxed);

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
	made->texts = board_texts(made->board);
	made->text_words = made->board->text_words;
	take_over(made);
	*writer = made;
	return TR_OK;
}

bool board_writer_is_stale(const struct board_writer *writer)
{
	return segment_is_stale(&writer->segment, writer->name);
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
