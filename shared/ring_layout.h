/*
 * The ring's shared memory, to the byte. Included by the ring's own files and its tests only.
 *
 *   0                struct ring_header               4096 bytes
 *   4096             struct ring_lane_word [lanes]    64 bytes each
 *   cells_at         uint64_t [cells]                 8 bytes each; cells_at is a multiple of 4096
 *   slots_at         lane 0's slots, lane 1's, ...    lanes * slots_per_lane * slot_bytes
 *
 * Who writes what:
 *   header.tail       producers, by compare-and-swap
 *   header.retired    the consumer (advisory: for gauges and peeking)
 *   header.sleeps     the consumer
 *   header.refused    producers; shown only
 *   header.lanes_wanted  producers; has the consumer look for lanes of the dead
 *   lane word         its owner once (free -> owned), the consumer once (owned -> free); the owner
 *                     again, the same, when it finds it scribbled on or truncated
 *   cells             producers (empty -> full), the consumer (full -> empty of the next lap)
 *   slots             the lane's owner
 * A lane's owner holds an open-file-description write lock on the first byte of its lane word in
 * the segment's file; the consumer holds one on byte 0.
 */
#ifndef TR_RING_LAYOUT_H
#define TR_RING_LAYOUT_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "ring.h"
#include "ring_checksum.h"
#include "segment.h"

#define RING_MAGIC 0x676e69726b736174ull /* "taskring" */
#define RING_VERSION 1u
#define RING_HEADER_BYTES 4096

struct ring_header {
	uint64_t magic;
	uint32_t version;
	struct tr_geometry geometry;
	uint64_t size; /* of the segment */
	_Alignas(64) _Atomic uint64_t tail;
	_Alignas(64) _Atomic uint64_t retired;
	_Alignas(64) _Atomic uint32_t sleeps;
	_Alignas(64) _Atomic uint64_t refused; /* batches; zero where an older program made the ring, as */
	_Atomic uint64_t lanes_wanted;         /* claims that found no free lane */
};
static_assert(offsetof(struct ring_header, tail) == 64, "bump RING_VERSION");
static_assert(offsetof(struct ring_header, retired) == 128, "bump RING_VERSION");
static_assert(offsetof(struct ring_header, sleeps) == 192, "bump RING_VERSION");
static_assert(offsetof(struct ring_header, refused) == 256, "bump RING_VERSION");
static_assert(offsetof(struct ring_header, lanes_wanted) == 264, "bump RING_VERSION");

/* Generation: even while free, odd while owned; each owner has its own. */
struct ring_lane_word {
	_Alignas(64) _Atomic uint32_t generation;
	_Atomic int32_t pid;
};
static_assert(sizeof(struct ring_lane_word) == 64, "bump RING_VERSION");

/* The head of a batch, at the start of its first slot. */
struct ring_frame {
	uint32_t bytes;      /* of the batch, without this head */
	uint32_t generation; /* of the lane when it was written */
	uint64_t checksum;   /* ring_checksum() */
};
static_assert(sizeof(struct ring_frame) == 16, "bump RING_VERSION");

/*
 * A cell, from the top: 28 bits lap, 1 bit full, 9 bits lane, 15 bits first slot, 11 bits slots.
 * The lap tag wraps after 2^28 laps: with 16,384 cells, the fewest allowed, and 10 million batches
 * a second without a pause, after five days; a producer that slept so long, and wakes in the very
 * lap, and finds the very cell empty, is the only one that could be fooled.
 */
#define CELL_SLOTS_BITS 11
#define CELL_FIRST_BITS 15
#define CELL_LANE_BITS 9
#define CELL_LANE_SHIFT (CELL_SLOTS_BITS + CELL_FIRST_BITS)
#define CELL_FULL (1ull << (CELL_LANE_SHIFT + CELL_LANE_BITS))
#define CELL_LAP_SHIFT (CELL_LANE_SHIFT + CELL_LANE_BITS + 1)
#define CELL_LAP_BITS 28
static_assert(CELL_LAP_SHIFT + CELL_LAP_BITS == 64, "a cell is 64 bits");

static inline uint64_t cell_empty(uint64_t lap)
{
	return lap << CELL_LAP_SHIFT;
}
static inline uint64_t cell_full(uint64_t lap, uint32_t lane, uint32_t first, uint32_t slots)
{
	return lap << CELL_LAP_SHIFT | CELL_FULL | (uint64_t)lane << CELL_LANE_SHIFT |
	    (uint64_t)first << CELL_SLOTS_BITS | slots;
}
/*
 * Two that are full and name no slots: a publication that is lost, which counts as damage when it is taken, and one
 * that the consumer has struck out.
 */
static inline uint64_t cell_void(uint64_t lap)
{
	return cell_full(lap, 0, 0, 0);
}
static inline uint64_t cell_struck(uint64_t lap)
{
	return cell_full(lap, 0, 1, 0);
}
/* Where the ring was shut: to producers neither empty, nor full, nor one that a tail may pass. */
static inline uint64_t cell_shut(uint64_t lap)
{
	return cell_full(lap + 1, 0, 2, 0);
}
static inline uint32_t cell_lane(uint64_t cell)
{
	return (uint32_t)(cell >> CELL_LANE_SHIFT) & ((1u << CELL_LANE_BITS) - 1);
}
static inline uint32_t cell_first(uint64_t cell)
{
	return (uint32_t)(cell >> CELL_SLOTS_BITS) & ((1u << CELL_FIRST_BITS) - 1);
}
static inline uint32_t cell_slots(uint64_t cell)
{
	return (uint32_t)cell & ((1u << CELL_SLOTS_BITS) - 1);
}
/* How many laps a cell is ahead of (or, negative, behind) a lap, the tag's wrapping included. */
static inline int64_t cell_ahead(uint64_t cell, uint64_t lap)
{
	return (int64_t)(((cell >> CELL_LAP_SHIFT) - lap) << CELL_LAP_SHIFT) >> CELL_LAP_SHIFT;
}

/* A publication that the lane's owner remembers until its cell holds another value. Private memory. */
struct ring_outstanding {
	uint64_t cell;
	uint32_t at;    /* position % cells */
	uint32_t slots; /* with those skipped at the lane's end */
};

/* A lane that this process owns. Private memory. */
struct ring_lane {
	atomic_flag busy; /* one thread publishes through it at a time; nobody waits for it */
	uint32_t number, generation;
	uint32_t next, free; /* slots */
	_Atomic(const char *) soon; /* where `next` is, for ring_prepare() of any thread */
	uint32_t oldest, count; /* of outstanding[], circular, slots_per_lane long */
	struct ring_outstanding *outstanding;
};

/* One process's attachment, in memory that a forked child finds zeroed (MADV_WIPEONFORK). */
struct ring {
	uint64_t magic;
	struct segment segment;
	struct tr_geometry geometry; /* our own copy: the shared one may be scribbled on */
	uint32_t cell_mask, lap_shift;
	size_t batch_max;
	struct ring_header *header;
	struct ring_lane_word *lane_words;
	_Atomic uint64_t *cells;
	char *slots;
	int wake_fd;
	char name[SEGMENT_NAME_SIZE], wake_path[SEGMENT_NAME_SIZE + 16];
	size_t bytes; /* of this struct's own mapping */
	pthread_mutex_t claiming;
	_Atomic uint32_t owned; /* lanes[0..owned-1] are ours */
	struct ring_lane *lanes[1u << CELL_LANE_BITS];
};

static inline char *ring_slot(const struct ring *ring, uint32_t lane, uint32_t slot)
{
	return ring->slots + ((size_t)lane * ring->geometry.slots_per_lane + slot) * ring->geometry.slot_bytes;
}
static inline uint64_t ring_lap(const struct ring *ring, uint64_t position)
{
	return position >> ring->lap_shift;
}
static inline _Atomic uint64_t *ring_cell(const struct ring *ring, uint64_t position)
{
	return &ring->cells[position & ring->cell_mask];
}
static inline off_t ring_lane_offset(uint32_t lane)
{
	return RING_HEADER_BYTES + (off_t)lane * (off_t)sizeof(struct ring_lane_word);
}

/* Writes what a new segment holds, but for the memory that is zero anyway. */
void ring_fill(void *memory, const void *geometry);
/*
 * Copies out the batch that `cell` names and checks it: its size, or 0 when it is not right. The
 * caller has loaded the cell with acquire.
 */
size_t ring_copy_batch(const struct ring *ring, uint64_t cell, void *to);
/* Takes (or tries) the open-file-description lock on one byte; 0, or errno. */
int ring_lock_byte(int fd, off_t at, short type);

#endif
