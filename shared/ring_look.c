/*
 * Looking at a ring from outside: an attached ring comes in, figures for people go out. Called by the
 * responder's GET /ring. Nothing here changes the segment or is needed by what does.
 */
#include "ring_layout.h"

#include <errno.h>
#include <fcntl.h>

uint64_t ring_refused(const struct ring *ring)
{
	return atomic_load_explicit(&ring->header->refused, memory_order_relaxed);
}

/* An open file description does not see its own locks. */
static bool is_ours(const struct ring *ring, uint32_t lane)
{
	uint32_t owned = atomic_load_explicit(&ring->owned, memory_order_acquire);

	for (uint32_t i = 0; i < owned; i++)
		if (ring->lanes[i]->number == lane)
			return true;
	return false;
}

/* Whether another open file description has the lane's byte locked. */
static bool is_locked(const struct ring *ring, uint32_t lane)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1,
		.l_start = (off_t)((const char *)(ring->lane_words + lane) - (const char *)ring->header) };

	return fcntl(ring->segment.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

struct ring_lane_look ring_lane_look(const struct ring *ring, uint32_t lane)
{
	const struct ring_lane_word *word = ring->lane_words + lane;
	struct ring_lane_look look = { .life = LANE_FREE,
		.generation = atomic_load_explicit(&word->generation, memory_order_relaxed),
		.pid = atomic_load_explicit(&word->pid, memory_order_relaxed) };

	if (look.generation % 2 == 1)
		look.life = is_ours(ring, lane) || is_locked(ring, lane) ? LANE_LIVE : LANE_DEAD;
	return look;
}
