/*
 * From the ring into the table of tasks. Enters: batches of hostile bytes. Leaves: tasks that are
 * scheduled, commands that are carried out, counts of what was dropped.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "log.h"

#define BATCHES_A_TURN 256
/*
 * While workers keep up, what is not needed yet may wait in the ring for a moment: a task that has
 * ended by the next commit costs the journal one row instead of two writes, or none. Not longer
 * than this, since the journal has promised to hold it soon.
 */
#define DEFER_NS 15000000ll
#define DEFER_READY 512 /* so many ready tasks are enough for the workers until the next turn */

/* ---- one record -------------------------------------------------------------------------- */

static enum tr_state first_state(const struct task *task, int64_t now_ms)
{
	return task->due_ms > now_ms ? TR_SCHEDULED : TR_QUEUED;
}

/* What was in the ring when we started can be in the journal already. */
static bool may_be_journaled(const struct dispatcher *dispatcher, uint64_t position)
{
	return position < dispatcher->known_until;
}

/* Whether the task waits for the one before it in its batch. */
static bool is_blocked(struct dispatcher *dispatcher, const struct task *task)
{
	if (!(task->record.flags & RECORD_SEQUENTIAL) || task->record.place == 0)
		return false;
	const struct tr_id before = id_step(&task->id, -1);
	const struct task *predecessor = tasks_find(dispatcher, &before);
	if (!predecessor)
		return may_be_journaled(dispatcher, task->position) && journal_is_live(dispatcher->journal, &before);
	/* One that does not know of us, as no producer of ours writes it, would never let us go. */
	return !tr_state_is_ended((enum tr_state)predecessor->state) && predecessor->record.flags & RECORD_SEQUENTIAL &&
	    predecessor->record.place + 1 == task->record.place && predecessor->record.places == task->record.places;
}

/*
 * Nothing of what is in the ring is retired before it is journaled: whoever starts next reads it
 * again. To go on would be to lose a task that was promised.
 */
static _Noreturn void out_of_memory(const struct record *record)
{
	char id[TR_ID_TEXT_SIZE];

	log_event(LOG_CRIT, "out-of-memory", "id=%s bytes=%zu", tr_id_format(&record->id, id), record_size(record));
	exit(EXIT_FAILURE);
}

void intake_accept(struct dispatcher *dispatcher, struct record *record, uint64_t position)
{
	struct task *task = tasks_add(dispatcher, record, TR_QUEUED);

	if (!task)
		out_of_memory(record);
	task->position = position;
	task->accepted_ms = dispatcher->now_ms;
	int64_t created_ms = record->created_ns / 1000000;
	task->due_ms = record->run_at_ms > created_ms ? record->run_at_ms : created_ms;
	if (task->due_ms > dispatcher->now_ms && !record->run_at_ms)
		task->due_ms = dispatcher->now_ms; /* the producer's clock is ahead of ours */
	task->blocked = is_blocked(dispatcher, task);
	task->state = (uint8_t)first_state(task, dispatcher->now_ms);
	tasks_begin(dispatcher, task);
	if (!task->queue)
		tasks_cancel(dispatcher, task, "its queue cannot be made: too many others are in use");
	else if (!task->blocked)
		window_admit(dispatcher, task);
}

static bool is_known(struct dispatcher *dispatcher, const struct record *record, uint64_t position)
{
	if (tasks_find(dispatcher, &record->id))
		return true;
	return may_be_journaled(dispatcher, position) && journal_knows(dispatcher->journal, &record->id);
}

static void take_batch(struct dispatcher *dispatcher, const char *batch, size_t bytes, uint64_t position)
{
	struct board *board = dispatcher->board;
	struct tr_error error;
	struct record record;
	size_t used;

	stat_add(board, STAT_ring_batches, 1);
	stat_add(board, STAT_ring_bytes, bytes);
	for (size_t at = 0; at < bytes; at += used) {
		used = bytes;
		const char *fault = record_decode(batch + at, bytes - at, &record, &used, &error);
		stat_add(board, STAT_ring_records, 1);
		if (fault) {
			stat_add(board, STAT_records_invalid, 1);
			log_event(LOG_WARNING, "record-invalid", "position=%llu fault=%s",
			    (unsigned long long)position, fault);
		} else if (record.kind == RECORD_PAUSE || record.kind == RECORD_RESUME) {
			if (!queues_command(dispatcher, &record) && used == bytes)
				ring_strike(dispatcher->ring, position);
		} else if (record.kind != RECORD_TASK) {
			wanted_command(dispatcher, &record, position, used == bytes);
		} else if (is_known(dispatcher, &record, position)) {
			stat_add(board, STAT_records_known, 1);
		} else {
			hist_add(&board->hists[HIST_take_ns], dispatcher->now_ns > record.created_ns ?
			    (uint64_t)(dispatcher->now_ns - record.created_ns) : 0);
			intake_accept(dispatcher, &record, position);
		}
	}
}

/* ---- how much to take -------------------------------------------------------------------- */

static bool have_enough(const struct dispatcher *dispatcher)
{
	uint32_t ready = 0;

	for (const struct queue *queue = dispatcher->queues; queue; queue = queue->hh.next)
		ready += queue->paused ? 0 : queue->waiting - queue->heap_count;
	return ready >= DEFER_READY;
}

/*
 * The position up to which to take now. Taking is put off only as long as what stood in the ring
 * when the putting off began gets taken within DEFER_NS all the same.
 */
static uint64_t take_until(struct dispatcher *dispatcher)
{
	if (dispatcher->draining) {
		dispatcher->deferred_since_ns = 0;
		return dispatcher->drain_position;
	}
	if (!dispatcher->caught_up || !have_enough(dispatcher)) {
		dispatcher->deferred_since_ns = 0;
		return UINT64_MAX;
	}
	if (!dispatcher->deferred_since_ns || ring_taken(dispatcher->ring) >= dispatcher->deferred_position) {
		dispatcher->deferred_since_ns = dispatcher->now_ns;
		dispatcher->deferred_position = ring_published(dispatcher->ring);
		return 0;
	}
	int64_t deferred_ns = dispatcher->now_ns - dispatcher->deferred_since_ns;
	return deferred_ns >= DEFER_NS || deferred_ns < 0 ? dispatcher->deferred_position : 0;
}

unsigned intake_turn(struct dispatcher *dispatcher)
{
	uint64_t until = take_until(dispatcher), position;
	unsigned taken = 0;

	while (taken < BATCHES_A_TURN && ring_taken(dispatcher->ring) < until) {
		size_t bytes = ring_take(dispatcher->ring, dispatcher->batch, &position);
		if (!bytes)
			break;
		take_batch(dispatcher, dispatcher->batch, bytes, position);
		taken++;
	}
	return taken;
}
