/*
 * The producers' side of the ring: owning lanes, filling slots, publishing with one
 * compare-and-swap. Called by client.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring_layout.h"

#define CELLS_PER_LINE (64 / sizeof(uint64_t))
/* No more of a batch than the core has line buffers for; of one whose size is not known yet, less. */
#define PREFETCH_BYTES 768
#define PREPARE_BYTES 512
/* A process whose lanes are full takes further ones up to one of so many, as long as half of all are free. */
#define LANES_SHARE 4

/* ---- lanes ------------------------------------------------------------------------------- */

/* A free lane of the segment, locked and stamped: TR_OK; TR_NO_LANE; TR_NO_RING when it is stale. */
static enum tr_result stamp_free_lane(struct ring *ring, struct ring_lane *lane)
{
	for (uint32_t number = 0; number < ring->geometry.lanes; number++) {
		struct ring_lane_word *word = &ring->lane_words[number];
		/* Pairs with the release in recycle(): a free lane has no cell left that names it. */
		uint32_t generation = atomic_load_explicit(&word->generation, memory_order_acquire);

		if (generation & 1 || ring_lock_byte(ring->segment.fd, ring_lane_offset(number), F_WRLCK) != 0)
			continue;
		struct stat status;
		if (fstat(ring->segment.fd, &status) != 0 || status.st_nlink == 0) {
			/* The consumer removes the name only while it holds every lane's lock. */
			ring_lock_byte(ring->segment.fd, ring_lane_offset(number), F_UNLCK);
			return TR_NO_RING;
		}
		/* It may have had an owner between the look and the lock. */
		if (atomic_compare_exchange_strong(&word->generation, &generation, generation + 1)) {
			atomic_store_explicit(&word->pid, (int32_t)getpid(), memory_order_relaxed);
			lane->number = number;
			lane->generation = generation + 1;
			return TR_OK;
		}
		ring_lock_byte(ring->segment.fd, ring_lane_offset(number), F_UNLCK);
	}
	return TR_NO_LANE;
}

static void wake_consumer(const struct ring *ring)
{
	/* EAGAIN: the FIFO is full of wake-ups already. Nothing else can go wrong that matters. */
	ssize_t ignored = write(ring->wake_fd, "", 1);
	(void)ignored;
}

/* One more lane for this process, locked for the caller's publication. */
static enum tr_result claim_lane(struct ring *ring, struct ring_lane **claimed)
{
	struct ring_lane *lane = calloc(1, sizeof *lane);
	struct ring_outstanding *outstanding = calloc(ring->geometry.slots_per_lane, sizeof *outstanding);

	if (!lane || !outstanding) {
		free(lane);
		free(outstanding);
		return TR_NO_MEMORY;
	}
	lane->outstanding = outstanding;
	lane->free = ring->geometry.slots_per_lane;
	atomic_flag_test_and_set(&lane->busy);

	pthread_mutex_lock(&ring->claiming);
	enum tr_result result = stamp_free_lane(ring, lane);
	if (result == TR_OK) {
		uint32_t owned = atomic_load_explicit(&ring->owned, memory_order_relaxed);
		ring->lanes[owned] = lane;
		atomic_store_explicit(&ring->owned, owned + 1, memory_order_release);
		*claimed = lane;
	}
	pthread_mutex_unlock(&ring->claiming);
	if (result != TR_OK) {
		free(outstanding);
		free(lane);
		/* It may find a dead owner's lane to recycle. */
		atomic_fetch_add_explicit(&ring->header->lanes_wanted, 1, memory_order_relaxed);
		wake_consumer(ring);
	}
	return result;
}

static bool lane_try(struct ring_lane *lane)
{
	return !atomic_flag_test_and_set_explicit(&lane->busy, memory_order_acquire);
}

static void lane_release(struct ring_lane *lane)
{
	atomic_flag_clear_explicit(&lane->busy, memory_order_release);
}

/*
 * Frees the slots of all publications, oldest first, whose cell is no longer what we put there:
 * retired, or scribbled on and mended. Either way nothing names the slots any more.
 */
static void lane_reclaim(const struct ring *ring, struct ring_lane *lane)
{
	while (lane->count) {
		const struct ring_outstanding *oldest = &lane->outstanding[lane->oldest];
		/* Pairs with the release in ring_retire(): it has read the slots before it emptied the cell. */
		if (atomic_load_explicit(ring_cell(ring, oldest->at), memory_order_acquire) == oldest->cell)
			return;
		lane->free += oldest->slots;
		lane->oldest = (lane->oldest + 1) & (ring->geometry.slots_per_lane - 1);
		lane->count--;
	}
}

/* Where a batch goes. */
struct lane_room {
	struct ring_lane *lane;
	uint32_t first, slots;
	uint32_t skipped; /* slots at the lane's end that are passed over */
};

/* Room for `slots` consecutive slots. False: there is none now. */
static bool find_room(const struct ring *ring, struct ring_lane *lane, uint32_t slots, struct lane_room *room)
{
	uint32_t to_end = ring->geometry.slots_per_lane - lane->next;
	uint32_t skipped = to_end < slots ? to_end : 0;

	if (lane->free < slots + skipped) {
		lane_reclaim(ring, lane);
		if (lane->free < slots + skipped)
			return false;
	}
	*room = (struct lane_room){ .lane = lane, .first = skipped ? 0 : lane->next, .slots = slots, .skipped = skipped };
	return true;
}

/* Whether one whose lanes are full may have another. Those that are left are for those who have none. */
static bool may_take_more(const struct ring *ring, uint32_t owned)
{
	uint32_t lanes = ring->geometry.lanes, free_lanes = 0;

	if (owned >= lanes / LANES_SHARE)
		return false;
	for (uint32_t i = 0; i < lanes; i++)
		free_lanes += !(atomic_load_explicit(&ring->lane_words[i].generation, memory_order_relaxed) & 1);
	return free_lanes > lanes / 2;
}

/*
 * A lane of ours that no other thread publishes through and that has room: the one used last,
 * another, a new one. Where lanes are full, and not just busy, that has an end.
 */
static enum tr_result acquire_room(struct ring *ring, uint32_t *hint, uint32_t slots, struct lane_room *room)
{
	uint32_t owned = atomic_load_explicit(&ring->owned, memory_order_acquire);
	uint32_t first = *hint < owned ? *hint : 0; /* it may be of another ring */
	bool full = false;

	for (uint32_t i = 0; i < owned; i++) {
		uint32_t number = first < owned - i ? first + i : first + i - owned;
		struct ring_lane *lane = ring->lanes[number];
		if (!lane_try(lane))
			continue;
		if (find_room(ring, lane, slots, room)) {
			*hint = number;
			return TR_OK;
		}
		lane_release(lane);
		full = true;
	}
	if (full && !may_take_more(ring, owned))
		return TR_LANE_FULL;
	struct ring_lane *lane;
	enum tr_result result = claim_lane(ring, &lane);
	if (result != TR_OK)
		return result == TR_NO_LANE && full ? TR_LANE_FULL : result;
	*hint = owned; /* or near it, where another thread has claimed one, too */
	*room = (struct lane_room){ .lane = lane, .first = 0, .slots = slots }; /* it is empty */
	return TR_OK;
}

/* ---- publishing -------------------------------------------------------------------------- */

/*
 * Somebody may have scribbled on our lane's word, or truncated the segment. The lane is ours as
 * long as its lock is, and the lock as long as the mapping; without our generation in the word all
 * that we publish would be dropped.
 */
static void lane_restamp(const struct ring *ring, const struct ring_lane *lane)
{
	_Atomic uint32_t *generation = &ring->lane_words[lane->number].generation;

	if (atomic_load_explicit(generation, memory_order_relaxed) != lane->generation)
		atomic_store_explicit(generation, lane->generation, memory_order_release);
}

/*
 * Asks for a line to be had alone. Without it the store that follows waits until the consumer's
 * core has given the line up, and so does the compare-and-swap behind it: that was most of what a
 * publication cost, two thirds of it. gcc makes a plain prefetch, for reading, of
 * __builtin_prefetch(at, 1) unless it is told -mprfchw; processors too old for the instruction
 * take it as a no-op.
 */
static inline void prefetch_to_write(const void *at)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

/* Gets near what the batch after the next will fill, if it is as large as the last, and its cell. */
static void prefetch_next(const struct ring *ring, const struct ring_lane *lane, uint64_t position, uint32_t slots)
{
	uint32_t soon = (lane->next + slots) & (ring->geometry.slots_per_lane - 1);
	const char *slot = ring_slot(ring, lane->number, soon);

	for (size_t line = 0; line < (size_t)slots * ring->geometry.slot_bytes && line < PREFETCH_BYTES; line += 64)
		prefetch_to_write(slot + line);
	prefetch_to_write(ring_cell(ring, position + CELLS_PER_LINE));
}

static void fill(const struct ring *ring, const struct ring_lane *lane, uint32_t first, const void *batch, size_t bytes)
{
	char *to = ring_slot(ring, lane->number, first);
	const struct ring_frame frame = {
		.bytes = (uint32_t)bytes,
		.generation = lane->generation,
		.checksum = ring_checksum(batch, bytes, lane->number, lane->generation),
	};

	memcpy(to, &frame, sizeof frame);
	memcpy(to + sizeof frame, batch, bytes);
}

/*
 * Puts the cell, whose lap is still missing, where the tail is. Every round in which it does not
 * succeed, somebody else has: lock-free, and never blocked by a producer that died or sleeps.
 */
static enum tr_result publish_cell(struct ring *ring, uint64_t named, uint64_t *position)
{
	_Atomic uint64_t *tail = &ring->header->tail;
	uint64_t at = atomic_load(tail);

	for (;;) {
		uint64_t lap = ring_lap(ring, at);
		_Atomic uint64_t *cell = ring_cell(ring, at);
		uint64_t seen = atomic_load_explicit(cell, memory_order_acquire);
		int64_t ahead = cell_ahead(seen, lap);

		if (ahead == 0 && !(seen & CELL_FULL)) {
			/*
			 * The publication. Pairs with the acquire in ring_take(): the slots before the
			 * cell. Sequentially consistent, with the load of `sleeps` after it: see ring_sleep().
			 */
			if (!atomic_compare_exchange_strong(cell, &seen, cell_empty(lap) | named))
				continue;
			*position = at;
			atomic_compare_exchange_strong(tail, &at, at + 1);
			return TR_OK;
		}
		uint64_t tail_was = at;
		if (ahead == 0 || (ahead == 1 && !(seen & CELL_FULL))) {
			/*
			 * Somebody published here and has not advanced the tail, and perhaps the batch is
			 * retired already: help. A tail that moved on meanwhile comes back in `at`.
			 */
			if (atomic_compare_exchange_strong(tail, &at, at + 1))
				at++;
			continue;
		}
		at = atomic_load(tail);
		if (at != tail_was)
			continue;
		if (seen == cell_shut(lap))
			return TR_NO_RING;
		/* One lap behind and full: not yet retired. All else is no state that we or taskd make. */
		return ahead == -1 && seen & CELL_FULL ? TR_RING_FULL : TR_RING_DAMAGED;
	}
}

/* Remembers a publication until its cell moves on. */
static void lane_advance(const struct ring *ring, const struct lane_room *room, uint64_t position)
{
	uint32_t mask = ring->geometry.slots_per_lane - 1;
	struct ring_lane *lane = room->lane;

	lane->outstanding[(lane->oldest + lane->count++) & mask] = (struct ring_outstanding){
		.cell = cell_full(ring_lap(ring, position), lane->number, room->first, room->slots),
		.at = (uint32_t)position & ring->cell_mask,
		.slots = room->slots + room->skipped,
	};
	lane->free -= room->slots + room->skipped;
	lane->next = (room->first + room->slots) & mask;
	atomic_store_explicit(&lane->soon, ring_slot(ring, lane->number, lane->next), memory_order_relaxed);
}

void ring_prepare(const struct ring *ring, uint32_t lane_hint)
{
	if (ring->magic != RING_MAGIC || lane_hint >= atomic_load_explicit(&ring->owned, memory_order_acquire))
		return;
	const char *soon = atomic_load_explicit(&ring->lanes[lane_hint]->soon, memory_order_relaxed);
	if (!soon)
		return;
	prefetch_to_write(ring_cell(ring, atomic_load_explicit(&ring->header->tail, memory_order_relaxed)));
	for (size_t line = 0; line < PREPARE_BYTES; line += 64)
		prefetch_to_write(soon + line);
}

enum tr_result ring_publish(struct ring *ring, uint32_t *lane_hint, const void *batch, size_t bytes,
    uint64_t *position)
{
	struct lane_room room = { .lane = NULL };

	if (ring->magic != RING_MAGIC)
		return TR_FORKED;
	if (bytes < 1 || bytes > ring->batch_max)
		return TR_TOO_LARGE;
	uint32_t needed = (uint32_t)(sizeof(struct ring_frame) + bytes), slot_bytes = ring->geometry.slot_bytes;
	uint32_t slots = needed <= slot_bytes ? 1 : (needed + slot_bytes - 1) / slot_bytes;
	enum tr_result result = acquire_room(ring, lane_hint, slots, &room);
	if (result == TR_OK) {
		struct ring_lane *lane = room.lane;
		lane_restamp(ring, lane);
		/* The consumer has looked at the cell; get it back while the slots are being filled. */
		prefetch_to_write(ring_cell(ring, atomic_load_explicit(&ring->header->tail, memory_order_relaxed)));
		fill(ring, lane, room.first, batch, bytes);
		result = publish_cell(ring, cell_full(0, lane->number, room.first, slots), position);
		if (result == TR_OK) {
			lane_advance(ring, &room, *position);
			prefetch_next(ring, lane, *position, slots);
		}
		lane_release(lane);
	}
	/* The flag is the consumer's alone to clear: a producer that died after clearing would silence all. */
	if (atomic_load(&ring->header->sleeps))
		wake_consumer(ring);
	return result;
}

void ring_count_refused(struct ring *ring)
{
	if (ring->magic == RING_MAGIC)
		atomic_fetch_add_explicit(&ring->header->refused, 1, memory_order_relaxed);
}

uint64_t ring_oldest(const struct ring *ring)
{
	return atomic_load_explicit(&ring->header->retired, memory_order_acquire);
}

uint64_t ring_used(const struct ring *ring)
{
	uint64_t used = atomic_load(&ring->header->tail) - ring_oldest(ring);

	return used <= ring->geometry.cells ? used : 0; /* advanced between the two loads, or scribbled on */
}

size_t ring_peek(const struct ring *ring, uint64_t position, void *to)
{
	uint64_t cell = atomic_load_explicit(ring_cell(ring, position), memory_order_acquire);

	if (cell_ahead(cell, ring_lap(ring, position)) != 0 || !(cell & CELL_FULL))
		return 0;
	size_t bytes = ring_copy_batch(ring, cell, to);
	/* The checksum covers what was copied; a slot reused meanwhile does not match it. */
	return bytes;
}
