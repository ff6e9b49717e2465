/*
 * The ring: batches of bytes from any number of producers to one consumer, in the segment
 * /NAME.ring, without locks and without a state in which the death of anybody blocks anybody.
 * What the bytes mean is record.h's. Callers: client.c (producers), taskd's intake (consumer).
 *
 * How a batch travels:
 *   1. The producer owns a lane, a circular run of slots that it alone writes, and copies its
 *      batch into free slots. Dying here publishes nothing.
 *   2. One compare-and-swap puts {lap, full, lane, first slot, slots} into the next empty cell of
 *      the order ring. Before it nothing is visible, after it the whole batch is.
 *   3. The tail index is advanced by whoever finds it behind.
 *   4. The consumer copies the batch out, checks it, and later retires it: one store per cell,
 *      which makes the cell empty for the next lap. That store is also what tells the producer
 *      that its slots are free again; there is no second cursor that could disagree.
 *
 * Positions count publications since the ring was made: cell = position % cells. They are the
 * unit of `durable` on the board.
 *
 * The layout to the byte is in ring_layout.h, the argument for it in docs/design.md.
 */
#ifndef TR_RING_H
#define TR_RING_H

#include "taskring/taskring.h"

/*
 * Attaches to the ring of `instance`, making it when it does not exist. `wanted` as in
 * tr_open(); `mode` are the permission bits of a ring made here, or RING_NOT_MADE. Any thread.
 * Errors: INVALID (a geometry out of bounds), VERSION_MISMATCH, GEOMETRY_MISMATCH, NO_SPACE,
 * NO_MEMORY, SYSTEM, and with RING_NOT_MADE NO_RING.
 */
struct ring;
#define RING_NOT_MADE UINT32_MAX
enum tr_result ring_attach(struct ring **ring, const char *instance, const struct tr_geometry *wanted,
    uint32_t mode, struct tr_error *error);
/* Gives the process's lanes back, unmaps and closes. In a forked child it only forgets. */
void ring_detach(struct ring **ring);

/* What was made, not what was asked for. */
struct tr_geometry ring_geometry(const struct ring *ring);
/* The largest batch in bytes: a quarter of a lane, and no more than a cell can name. */
size_t ring_batch_max(const struct ring *ring);
/* True when the segment was unlinked or replaced: detach and attach again. Two system calls. */
bool ring_is_stale(const struct ring *ring);
/*
 * Where the wake-up was unlinked or replaced, takes or makes the one under its name, with the same descriptor.
 * Returns whether it did. Until then who has the old one wakes nobody, and the consumer comes a second later. Any thread.
 */
bool ring_follow_wake(struct ring *ring);

/* ---- producers: any thread of any process ------------------------------------------------ */

/*
 * Publishes `bytes` bytes as one batch. *lane_hint (start with 0) remembers the lane between
 * calls, to keep threads apart. *position is where the batch stands. Never waits.
 * Errors: TOO_LARGE, LANE_FULL, RING_FULL, NO_LANE, NO_RING (stale: attach again), RING_DAMAGED,
 * FORKED, NO_MEMORY. After an error nothing was published.
 */
enum tr_result ring_publish(struct ring *ring, uint32_t *lane_hint, const void *batch, size_t bytes,
    uint64_t *position);

/* For those who look: a batch was given up for want of room or of a lane. */
void ring_count_refused(struct ring *ring);

/*
 * Says that a batch is being filled and will be published with this hint: asks for the memory that
 * the next ring_publish() writes to, which the consumer's core has had since the last. Changes
 * nothing and waits for nothing.
 */
void ring_prepare(const struct ring *ring, uint32_t lane_hint);

/* How many positions are published and not yet retired; advisory. */
uint64_t ring_used(const struct ring *ring);

/*
 * Copies the batch at `position` without taking it, if it is published and not yet retired, into
 * `to` (ring_batch_max() bytes). Returns its size, or 0. Reading goes from ring_oldest() over ring_used() positions.
 */
size_t ring_peek(const struct ring *ring, uint64_t position, void *to);
uint64_t ring_oldest(const struct ring *ring);

/* ---- looking: ring_look.c; any thread ----------------------------------------------------- */

/*
 * Batches that were given up since the ring was made, for want of room or of a lane. Producers count it
 * themselves, so it is shown and nothing depends on it.
 */
uint64_t ring_refused(const struct ring *ring);

enum ring_lane_life {
	LANE_FREE,
	LANE_LIVE, /* its owner holds the lane's lock */
	LANE_DEAD, /* its owner is gone, and taskd has not recycled it yet */
};
struct ring_lane_look {
	enum ring_lane_life life;
	uint32_t generation;
	int32_t pid; /* as its owner sees itself; of a free lane the last one */
};
/* One lane, below ring_geometry().lanes. One system call where the lane is owned. */
struct ring_lane_look ring_lane_look(const struct ring *ring, uint32_t lane);

/* ---- the consumer: one process, one thread ----------------------------------------------- */

struct ring_consumer;

/* What was found broken or dead since the last call of ring_consumer_report(). */
struct ring_report {
	uint64_t damaged_batches; /* dropped: their bytes were not what a producer writes */
	uint64_t repairs;         /* cells, cursors, headers set right */
	uint64_t lanes_recycled;
	uint32_t lanes_owned;
};

struct ring_lane_info {
	bool owned;
	uint32_t generation;
	int32_t pid; /* as its producer sees itself */
	uint64_t batches;
};

/*
 * Becomes the consumer of an attached ring and finds the oldest batch not yet retired. The ring
 * is the consumer's from here on; it is detached by ring_consumer_close().
 * Errors: RING_DAMAGED with text "served" when another consumer holds it, NO_MEMORY, SYSTEM.
 */
enum tr_result ring_consumer_open(struct ring_consumer **consumer, struct ring **ring,
    struct tr_error *error);

/*
 * Lets the ring go. With `remove`, and if nothing is in it and no producer holds a lane, the
 * segment's and the wake-up's names go too. Returns whether they went.
 */
bool ring_consumer_close(struct ring_consumer **consumer, bool remove);

/*
 * Takes the next batch: copies it into `to` (ring_batch_max() bytes), checks it, and answers its
 * size; *position is where it stood. 0: nothing there. Batches that are not right are dropped and
 * counted on the way.
 */
size_t ring_take(struct ring_consumer *consumer, void *to, uint64_t *position);

/* Where ring_take() will look next: everything below has been taken. */
uint64_t ring_taken(const struct ring_consumer *consumer);

/* Where the producers are, as they say: bounded to what the ring can hold, never behind ring_taken(). */
uint64_t ring_published(const struct ring_consumer *consumer);

/* Published and not yet retired, as ring_published() sees it. */
uint64_t ring_unretired(const struct ring_consumer *consumer);

/*
 * What was taken at `position` is over, and must not be taken again by whoever starts next. Its slots are free; its
 * cell stays until it is retired.
 */
void ring_strike(struct ring_consumer *consumer, uint64_t position);

/* ring_is_stale() and ring_follow_wake() of the consumer's ring. */
bool ring_consumer_is_stale(const struct ring_consumer *consumer);
bool ring_consumer_follow_wake(struct ring_consumer *consumer);
/*
 * Ends a ring that has lost its name: ring_published() stays as it is from here on, and producers get NO_RING, so that
 * they go to the ring that has the name. False: the ring is full, and it has to be tried again.
 */
bool ring_shut(struct ring_consumer *consumer);

/* Positions below `position` will never be asked for again: their cells and slots are free. */
void ring_retire(struct ring_consumer *consumer, uint64_t position);

/*
 * Looks after the lanes of dead owners and after what somebody scribbled: about once a second.
 * A lane is recycled when its owner's lock is gone and all that it published is retired.
 */
void ring_audit(struct ring_consumer *consumer);
/* The lanes alone, sooner: a producer that found none free since the last look waits for one. */
bool ring_lanes_wanted(const struct ring_consumer *consumer);
void ring_audit_lanes(struct ring_consumer *consumer);
struct ring_report ring_consumer_report(struct ring_consumer *consumer);
struct ring_lane_info ring_lane_info(const struct ring_consumer *consumer, uint32_t lane);

/*
 * Announces sleep and looks again: true when there is still nothing to take; the caller then waits
 * until ring_wake_fd() is readable. False: do not sleep; the announcement is withdrawn.
 */
bool ring_sleep(struct ring_consumer *consumer);
/* Withdraws the announcement and empties the wake-up. Returns whether a producer had woken us. */
bool ring_awake(struct ring_consumer *consumer);
int ring_wake_fd(const struct ring_consumer *consumer);

/* The mapping, for a SIGBUS handler: somebody may have truncated the segment. */
void ring_mapping(const struct ring_consumer *consumer, void **memory, size_t *bytes);
/*
 * After a SIGBUS: brings the segment back to its size and sets header, cells and lanes from what
 * the consumer knows. What the lost pages held is lost, and counted. Errors: NO_SPACE, SYSTEM.
 */
enum tr_result ring_rebuild(struct ring_consumer *consumer, struct tr_error *error);

#endif
