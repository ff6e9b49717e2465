/*
 * The consumer's side of the ring: taking, retiring, sleeping. Called by taskd's intake. It
 * believes nothing that it reads: every word is read once, bounded, and what was copied out is
 * checked in private memory. Lanes of the dead and repairs are ring_recovery.c's.
 */
#include "ring_consumer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum tr_result ring_consumer_open(struct ring_consumer **consumer, struct ring **ring,
    struct tr_error *error)
{
	struct ring_consumer *made = calloc(1, sizeof *made);

	*consumer = NULL;
	if (!made)
		return TR_NO_MEMORY;
	made->ring = *ring;
	made->end = UINT64_MAX;
	made->lanes = calloc(made->ring->geometry.lanes, sizeof *made->lanes);
	if (!made->lanes) {
		free(made);
		return TR_NO_MEMORY;
	}
	int errnum = ring_lock_byte(made->ring->segment.fd, 0, F_WRLCK);
	if (errnum) {
		bool served = errnum == EAGAIN || errnum == EACCES;
		snprintf(error->text, sizeof error->text, served ? "%s: another taskd serves it" : "locking %s failed",
		    made->ring->name);
		free(made->lanes);
		free(made);
		return served ? TR_RING_DAMAGED : TR_SYSTEM;
	}
	*ring = NULL;
	if (!ring_find_start(made)) {
		ring_detach(&made->ring);
		free(made->lanes);
		free(made);
		return TR_NO_MEMORY;
	}
	atomic_store(&made->ring->header->sleeps, 0);
	*consumer = made;
	return TR_OK;
}

/* ---- taking ------------------------------------------------------------------------------ */

/* Every cell is taken and not yet retired, so that the one at the head still belongs to the last lap; or it ends there. */
static bool all_taken(const struct ring_consumer *consumer)
{
	return consumer->head >= ring_most(consumer);
}

/* Nothing to take at the head now. */
static bool nothing_at_head(const struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;
	uint64_t cell = atomic_load(ring_cell(ring, consumer->head));

	return all_taken(consumer) || (cell_ahead(cell, ring_lap(ring, consumer->head)) == 0 && !(cell & CELL_FULL));
}

/* Gets near what the next calls will copy: the cells are in one line, their slots are not. */
static void prefetch(const struct ring *ring, uint64_t position)
{
	uint64_t cell = atomic_load_explicit(ring_cell(ring, position), memory_order_relaxed);
	uint32_t lane = cell_lane(cell), first = cell_first(cell);

	if (!(cell & CELL_FULL) || lane >= ring->geometry.lanes || first >= ring->geometry.slots_per_lane)
		return;
	const char *slot = ring_slot(ring, lane, first);
	for (uint32_t line = 0; line < ring->geometry.slot_bytes && line < 384; line += 64)
		__builtin_prefetch(slot + line);
}

size_t ring_take(struct ring_consumer *consumer, void *to, uint64_t *position)
{
	const struct ring *ring = consumer->ring;

	while (!all_taken(consumer)) {
		uint64_t at = consumer->head, lap = ring_lap(ring, at);
		/* Pairs with the compare-and-swap in publish_cell(): the cell before the slots. */
		uint64_t cell = atomic_load_explicit(ring_cell(ring, at), memory_order_acquire);

		if (cell_ahead(cell, lap) != 0) {
			ring_mend_cell(consumer, cell);
			continue;
		}
		if (!(cell & CELL_FULL))
			return 0;
		prefetch(ring, at + 3);
		size_t bytes = ring_copy_batch(ring, cell, to);
		consumer->head = at + 1;
		if (bytes) {
			consumer->lanes[cell_lane(cell)].batches++;
			*position = at;
			return bytes;
		}
		consumer->report.damaged_batches += cell != cell_struck(lap);
	}
	return 0;
}

uint64_t ring_taken(const struct ring_consumer *consumer)
{
	return consumer->head;
}

uint64_t ring_published(const struct ring_consumer *consumer)
{
	uint64_t tail = atomic_load(&consumer->ring->header->tail);
	uint64_t most = ring_most(consumer);

	if (tail > most || most == consumer->end)
		tail = most;
	return tail > consumer->head ? tail : consumer->head;
}

uint64_t ring_unretired(const struct ring_consumer *consumer)
{
	return ring_published(consumer) - consumer->retired;
}

void ring_strike(struct ring_consumer *consumer, uint64_t position)
{
	const struct ring *ring = consumer->ring;

	assert(position < consumer->head);
	if (position < consumer->retired)
		return; /* the ring was truncated meanwhile, and is another one */
	/* As in ring_retire(). One store: whoever starts next finds the batch, or nothing. */
	atomic_store_explicit(ring_cell(ring, position), cell_struck(ring_lap(ring, position)), memory_order_release);
}

void ring_retire(struct ring_consumer *consumer, uint64_t position)
{
	const struct ring *ring = consumer->ring;

	assert(position <= consumer->head);
	if (position <= consumer->retired)
		return;
	for (uint64_t at = consumer->retired; at != position; at++) {
		/* Pairs with the acquire in lane_reclaim(): we have read the slots before it frees them. */
		atomic_store_explicit(ring_cell(ring, at), cell_empty(ring_lap(ring, at) + 1), memory_order_release);
	}
	consumer->retired = position;
	atomic_store_explicit(&ring->header->retired, position, memory_order_release);
}

/* ---- sleeping ---------------------------------------------------------------------------- */

bool ring_sleep(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;

	/*
	 * Store, then load; a producer publishes, then loads `sleeps`. All four are sequentially
	 * consistent, so at least one side sees the other, and no wake-up is lost (Dekker).
	 */
	atomic_store(&ring->header->sleeps, 1);
	if (nothing_at_head(consumer))
		return true;
	atomic_store(&ring->header->sleeps, 0);
	return false;
}

bool ring_awake(struct ring_consumer *consumer)
{
	char bytes[4096];
	ssize_t got;
	bool woken = false;

	atomic_store(&consumer->ring->header->sleeps, 0);
	do {
		got = read(consumer->ring->wake_fd, bytes, sizeof bytes);
		woken |= got > 0;
	} while (got == (ssize_t)sizeof bytes);
	return woken;
}

int ring_wake_fd(const struct ring_consumer *consumer)
{
	return consumer->ring->wake_fd;
}

struct ring_report ring_consumer_report(struct ring_consumer *consumer)
{
	struct ring_report report = consumer->report;

	for (uint32_t lane = 0; lane < consumer->ring->geometry.lanes; lane++)
		report.lanes_owned += ring_lane_info(consumer, lane).owned;
	consumer->report = (struct ring_report){ 0 };
	return report;
}

struct ring_lane_info ring_lane_info(const struct ring_consumer *consumer, uint32_t lane)
{
	const struct ring_lane_word *word = &consumer->ring->lane_words[lane];
	uint32_t generation = atomic_load_explicit(&word->generation, memory_order_relaxed);

	return (struct ring_lane_info){
		.owned = generation & 1,
		.generation = generation,
		.pid = atomic_load_explicit(&word->pid, memory_order_relaxed),
		.batches = consumer->lanes[lane].batches,
	};
}

void ring_mapping(const struct ring_consumer *consumer, void **memory, size_t *bytes)
{
	*memory = consumer->ring->segment.memory;
	*bytes = consumer->ring->segment.bytes;
}

/* ---- names that others have taken away --------------------------------------------------- */

bool ring_consumer_is_stale(const struct ring_consumer *consumer)
{
	return ring_is_stale(consumer->ring);
}

bool ring_consumer_follow_wake(struct ring_consumer *consumer)
{
	return ring_follow_wake(consumer->ring);
}

/* ---- leaving ----------------------------------------------------------------------------- */

/* With every lane's lock in hand nobody can publish; with the tail reached nothing is lost. */
static bool remove_names(struct ring_consumer *consumer)
{
	const struct ring *ring = consumer->ring;

	for (uint32_t lane = 0; lane < ring->geometry.lanes; lane++)
		if (ring_lock_byte(ring->segment.fd, ring_lane_offset(lane), F_WRLCK) != 0)
			return false;
	if (consumer->retired != consumer->head || !nothing_at_head(consumer))
		return false;
	if (ring_is_stale(ring))
		return false;
	/* First the wake-up: whoever attaches in between makes a new one, and keeps it. */
	(void)unlink(ring->wake_path);
	return shm_unlink(ring->name) == 0;
}

bool ring_consumer_close(struct ring_consumer **consumer, bool remove)
{
	struct ring_consumer *gone = *consumer;

	*consumer = NULL;
	if (!gone)
		return false;
	bool removed = remove && remove_names(gone);
	ring_detach(&gone->ring);
	free(gone->lanes);
	free(gone);
	return removed;
}
