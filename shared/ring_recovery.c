/*
 * The consumer after something went wrong: a restart, a dead producer, a scribbled or truncated
 * segment. Enters: whatever is in the shared memory. Leaves: a ring that works, and a count of what
 * was set right.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring_consumer.h"

/* ---- a restart --------------------------------------------------------------------------- */

/*
 * The position that a cell stands for: the one with the cell's index and lap that is nearest to
 * `near`. A full cell was published there, an empty one will be.
 */
static uint64_t cell_position(const struct ring *ring, uint32_t index, uint64_t cell, uint64_t near)
{
	int64_t laps = cell_ahead(cell, ring_lap(ring, near));
	uint64_t position = near - (near & ring->cell_mask) + index;

	return position + ((uint64_t)laps << ring->lap_shift);
}

static int compare_positions(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/*
 * In a sound ring the cells stand for `cells` consecutive positions, and the lowest of them is the
 * next to retire. Where some were scribbled on, the run that holds the most of them is the ring's;
 * audit_cells() sets the others right.
 */
static uint64_t lowest_of_most(const uint64_t *sorted, uint32_t cells)
{
	uint64_t best = sorted[0];
	uint32_t most = 0, end = 0;

	for (uint32_t start = 0; start < cells; start++) {
		while (end < cells && sorted[end] - sorted[start] < cells)
			end++;
		if (end - start > most) {
			most = end - start;
			best = sorted[start];
		}
	}
	return best;
}

bool ring_find_start(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;
	uint32_t cells = ring->geometry.cells;
	uint64_t *positions = calloc(cells, sizeof *positions);
	/* Only to number the laps beyond the tag's 28 bits; a scribbled tail numbers them otherwise. */
	uint64_t near = atomic_load(&ring->header->tail);

	if (!positions)
		return false;
	if (near > UINT64_MAX / 4)
		near = 0;
	/* A cell may be up to half the tag's laps behind: count from where that is no negative number. */
	uint64_t bias = (uint64_t)1 << (CELL_LAP_BITS + ring->lap_shift);
	near += bias;
	for (uint32_t index = 0; index < cells; index++)
		positions[index] = cell_position(ring, index, atomic_load(&ring->cells[index]), near);
	qsort(positions, cells, sizeof *positions, compare_positions);
	uint64_t lowest = lowest_of_most(positions, cells);
	free(positions);
	consumer->head = consumer->retired = lowest < bias ? lowest : lowest - bias;
	atomic_store(&ring->header->retired, consumer->retired);
	ring_audit(consumer);
	return true;
}

/* ---- scribbles --------------------------------------------------------------------------- */

void ring_mend_cell(struct ring_consumer *consumer, uint64_t seen)
{
	const struct ring *ring = consumer->ring;
	uint64_t lap = ring_lap(ring, consumer->head), tail = atomic_load(&ring->header->tail);
	/* By the tail, something was published here. */
	bool published = tail - consumer->head - 1 < ring->geometry.cells;

	consumer->report.repairs++;
	atomic_compare_exchange_strong(ring_cell(ring, consumer->head), &seen,
	    published ? cell_void(lap) : cell_empty(lap));
}

static bool is_full(uint64_t cell, uint64_t lap)
{
	return cell_ahead(cell, lap) == 0 && cell & CELL_FULL;
}

/*
 * A sound tail is where the last publication ends, or one behind, since its producer stopped or
 * died before it advanced it: from one below the head to the end of the lap.
 */
static bool is_sound(const struct ring_consumer *consumer, uint64_t tail)
{
	uint64_t most = ring_most(consumer);

	return tail + 1 - consumer->head <= most + 1 - consumer->head;
}

/* Where publications end, by the tail if it is sound, and by the full cells from there on. */
static uint64_t published_end(const struct ring_consumer *consumer, uint64_t tail)
{
	const struct ring *ring = consumer->ring;
	uint64_t at = is_sound(consumer, tail) && tail + 1 != consumer->head ? tail : consumer->head;

	while (at < ring_most(consumer) && is_full(atomic_load(ring_cell(ring, at)), ring_lap(ring, at)))
		at++;
	return at;
}

/* Sets a tail right that cannot be. Returns where publications end. */
static uint64_t audit_tail(struct ring_consumer *consumer)
{
	_Atomic uint64_t *word = &consumer->ring->header->tail;
	uint64_t tail = atomic_load(word);
	uint64_t end = published_end(consumer, tail);

	if (!is_sound(consumer, tail) && atomic_compare_exchange_strong(word, &tail, end))
		consumer->report.repairs++;
	return end;
}

/*
 * Sets the cells from the head to the end of the lap right: full below `end`, empty from there on.
 * Where nothing stands below the end a publication is lost, or the tail was scribbled on; whoever
 * comes to take would wait there for ever. The end is from before: what is full beyond it may have
 * been published since, if the tail, read after the cell, has come there as well.
 */
static void audit_cells(struct ring_consumer *consumer, uint64_t end)
{
	const struct ring *ring = consumer->ring;
	uint64_t most = ring_most(consumer);

	for (uint64_t at = consumer->head; at != most; at++) {
		uint64_t lap = ring_lap(ring, at), empty = cell_empty(lap);
		uint64_t seen = atomic_load(ring_cell(ring, at));

		if (seen == empty ? at >= end : is_full(seen, lap) && (at < end || at <= atomic_load(&ring->header->tail)))
			continue;
		/* What a producer has put there meanwhile stays. */
		if (atomic_compare_exchange_strong(ring_cell(ring, at), &seen, at < end ? cell_void(lap) : empty))
			consumer->report.repairs++;
	}
}

/* ---- lanes of the dead ------------------------------------------------------------------- */

/* Pairs with the acquire in stamp_free_lane(): the emptied cells before the freed lane. */
static void recycle(struct ring_consumer *consumer, uint32_t lane)
{
	const struct ring *ring = consumer->ring;
	struct ring_lane_word *word = &ring->lane_words[lane];
	uint32_t generation = atomic_load(&word->generation);

	if (generation & 1)
		atomic_store_explicit(&word->generation, generation + 1, memory_order_release);
	ring_lock_byte(ring->segment.fd, ring_lane_offset(lane), F_UNLCK);
	consumer->lanes[lane].draining = false;
	consumer->report.lanes_recycled++;
}

static void audit_lane(struct ring_consumer *consumer, uint32_t lane)
{
	const struct ring *ring = consumer->ring;
	struct ring_lane_watch *watch = &consumer->lanes[lane];

	if (!watch->draining) {
		if (!(atomic_load(&ring->lane_words[lane].generation) & 1))
			return;
		/* The kernel drops an owner's lock when it dies, and only then, or when it closed in order. */
		if (ring_lock_byte(ring->segment.fd, ring_lane_offset(lane), F_WRLCK) != 0)
			return;
		watch->draining = true;
		/* All that the dead owner published stands below this. */
		watch->drained_at = published_end(consumer, atomic_load(&ring->header->tail));
	}
	if (consumer->retired >= watch->drained_at)
		recycle(consumer, lane);
}

bool ring_lanes_wanted(const struct ring_consumer *consumer)
{
	return atomic_load_explicit(&consumer->ring->header->lanes_wanted, memory_order_relaxed) != consumer->lanes_wanted;
}

void ring_audit_lanes(struct ring_consumer *consumer)
{
	consumer->lanes_wanted = atomic_load_explicit(&consumer->ring->header->lanes_wanted, memory_order_relaxed);
	for (uint32_t lane = 0; lane < consumer->ring->geometry.lanes; lane++)
		audit_lane(consumer, lane);
}

/* We keep our own copy; but whoever comes to attach would be refused. */
static void audit_header(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;
	const struct ring_header *header = ring->header;

	if (header->magic == RING_MAGIC && header->version == RING_VERSION && header->size == ring->segment.bytes &&
	    memcmp(&header->geometry, &ring->geometry, sizeof ring->geometry) == 0)
		return;
	ring_fill(ring->header, &ring->geometry);
	consumer->report.repairs++;
}

void ring_audit(struct ring_consumer *consumer)
{
	audit_header(consumer);
	audit_cells(consumer, audit_tail(consumer));
	ring_audit_lanes(consumer);
}

/* ---- a ring without a name --------------------------------------------------------------- */

/* One compare-and-swap, as publishing is one: what was published before it is taken, and nothing is published after it. */
bool ring_shut(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;

	while (consumer->end == UINT64_MAX) {
		uint64_t at = published_end(consumer, atomic_load(&ring->header->tail)), lap = ring_lap(ring, at);
		uint64_t seen = cell_empty(lap);

		if (at == ring_most(consumer))
			return false;
		if (atomic_compare_exchange_strong(ring_cell(ring, at), &seen, cell_shut(lap)))
			consumer->end = at;
		else if (!is_full(seen, lap))
			return false; /* scribbled on; the next audit sets it right */
	}
	return true;
}

/* ---- a truncated segment ----------------------------------------------------------------- */

enum tr_result ring_rebuild(struct ring_consumer *consumer, struct tr_error *error)
{
	struct ring *ring = consumer->ring;
	int failed;

	do {
		failed = posix_fallocate(ring->segment.fd, 0, (off_t)ring->segment.bytes);
	} while (failed == EINTR);
	if (failed) {
		snprintf(error->text, sizeof error->text, "allocating %s again: %s", ring->name, strerror(failed));
		return failed == ENOSPC ? TR_NO_SPACE : TR_SYSTEM;
	}
	/* The SIGBUS handler may have put private pages over the lost ones. */
	if (mmap(ring->segment.memory, ring->segment.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		ring->segment.fd, 0) == MAP_FAILED ||
	    madvise(ring->segment.memory, ring->segment.bytes, MADV_DONTFORK) != 0) {
		snprintf(error->text, sizeof error->text, "mapping %s again: %s", ring->name, strerror(errno));
		return TR_SYSTEM;
	}
	ring_fill(ring->segment.memory, &ring->geometry);
	uint64_t lost = published_end(consumer, atomic_load(&ring->header->tail));
	consumer->report.damaged_batches += lost - consumer->head;
	for (uint64_t at = consumer->head; at - consumer->head < ring->geometry.cells; at++)
		atomic_store(ring_cell(ring, at), cell_empty(ring_lap(ring, at)));
	consumer->retired = consumer->head;
	consumer->end = UINT64_MAX; /* one that was shut is open again, and to be shut anew */
	atomic_store(&ring->header->retired, consumer->retired);
	atomic_store(&ring->header->tail, consumer->head);
	consumer->report.repairs++;
	return TR_OK;
}
