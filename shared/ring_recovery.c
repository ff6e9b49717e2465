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
 * next to retire. Where some were scribbled on, the run that holds the most of them is the ring's.
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

/* Cells outside the run: emptied, so that neither a producer nor the next lap comes upon them. */
static void empty_strange_cells(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;

	for (uint64_t at = consumer->head; at - consumer->head < ring->geometry.cells; at++) {
		uint64_t seen = atomic_load(ring_cell(ring, at)), lap = ring_lap(ring, at);
		if (cell_ahead(seen, lap) != 0 &&
		    atomic_compare_exchange_strong(ring_cell(ring, at), &seen, cell_empty(lap)))
			consumer->report.repairs++;
	}
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
	if (near < cells || near > UINT64_MAX / 4)
		near = cells;
	for (uint32_t index = 0; index < cells; index++)
		positions[index] = cell_position(ring, index, atomic_load(&ring->cells[index]), near);
	qsort(positions, cells, sizeof *positions, compare_positions);
	consumer->head = consumer->retired = lowest_of_most(positions, cells);
	free(positions);
	atomic_store(&ring->header->retired, consumer->retired);
	empty_strange_cells(consumer);
	ring_audit(consumer);
	return true;
}

/* ---- scribbles --------------------------------------------------------------------------- */

/* Full, and names nothing: it stands for a publication that is lost, and is dropped when taken. */
static uint64_t cell_void(uint64_t lap)
{
	return cell_full(lap, 0, 0, 0);
}

/* True: by the tail, something was published at the head. */
static bool published_at_head(const struct ring_consumer *consumer, uint64_t tail)
{
	return tail - consumer->head - 1 < consumer->ring->geometry.cells;
}

void ring_mend_cell(struct ring_consumer *consumer, uint64_t seen)
{
	const struct ring *ring = consumer->ring;
	uint64_t lap = ring_lap(ring, consumer->head);
	bool published = published_at_head(consumer, atomic_load(&ring->header->tail));

	consumer->report.repairs++;
	atomic_compare_exchange_strong(ring_cell(ring, consumer->head), &seen,
	    published ? cell_void(lap) : cell_empty(lap));
}

/*
 * Fills the holes between the head and the tail: there, whoever comes to take finds nothing, and
 * what was published beyond waits. A cell that is filled meanwhile by a producer stays as it is.
 */
static void fill_holes(struct ring_consumer *consumer, uint64_t tail)
{
	const struct ring *ring = consumer->ring;

	for (uint64_t at = consumer->head; at != tail; at++) {
		uint64_t empty = cell_empty(ring_lap(ring, at));
		if (atomic_compare_exchange_strong(ring_cell(ring, at), &empty, cell_void(ring_lap(ring, at))))
			consumer->report.repairs++;
	}
}

/*
 * A tail that cannot be, or an empty cell at the head with publications beyond it. A tail that is
 * one behind is no fault: its producer died before it advanced it, and the next one will.
 *
 * The tail is read before the cell. A cell that is empty then was empty before, so nothing was
 * published from it on when the tail was read, and a sound tail cannot have been beyond it.
 */
static void audit_tail(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;
	uint64_t tail = atomic_load(&ring->header->tail);
	uint64_t cell = atomic_load(ring_cell(ring, consumer->head));

	if (consumer->head - consumer->retired >= ring->geometry.cells)
		return;
	if (cell_ahead(cell, ring_lap(ring, consumer->head)) != 0 || cell & CELL_FULL)
		return; /* ring_take() will deal with it */
	if (tail == consumer->head || tail + 1 == consumer->head)
		return;
	if (published_at_head(consumer, tail))
		fill_holes(consumer, tail);
	else if (atomic_compare_exchange_strong(&ring->header->tail, &tail, consumer->head))
		consumer->report.repairs++;
}

/* ---- lanes of the dead ------------------------------------------------------------------- */

/* Everything that the lane's dead owner published stands below this. */
static uint64_t published_end(const struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;
	uint64_t tail = atomic_load(&ring->header->tail);
	uint64_t at = published_at_head(consumer, tail) ? tail : consumer->head;

	while (at - consumer->retired < ring->geometry.cells) {
		uint64_t cell = atomic_load(ring_cell(ring, at));
		if (cell_ahead(cell, ring_lap(ring, at)) != 0 || !(cell & CELL_FULL))
			break;
		at++;
	}
	return at;
}

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
		watch->drained_at = published_end(consumer);
	}
	if (consumer->retired >= watch->drained_at)
		recycle(consumer, lane);
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
	audit_tail(consumer);
	for (uint32_t lane = 0; lane < consumer->ring->geometry.lanes; lane++)
		audit_lane(consumer, lane);
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
	uint64_t lost = published_end(consumer);
	consumer->report.damaged_batches += lost - consumer->head;
	for (uint64_t at = consumer->head; at - consumer->head < ring->geometry.cells; at++)
		atomic_store(ring_cell(ring, at), cell_empty(ring_lap(ring, at)));
	consumer->retired = consumer->head;
	atomic_store(&ring->header->retired, consumer->retired);
	atomic_store(&ring->header->tail, consumer->head);
	consumer->report.repairs++;
	return TR_OK;
}
