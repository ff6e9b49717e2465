/* What the consumer's two files share: ring_consumer.c and ring_recovery.c. Private memory. */
#ifndef TR_RING_CONSUMER_H
#define TR_RING_CONSUMER_H

#include "ring_layout.h"

/* What the consumer knows of a lane. */
struct ring_lane_watch {
	uint64_t batches;
	bool draining;      /* the owner is gone and we hold its lock */
	uint64_t drained_at; /* when everything below this position is retired, the lane is free */
};

struct ring_consumer {
	struct ring *ring;
	uint64_t head;    /* next position to take */
	uint64_t retired; /* next position to retire */
	uint64_t end;     /* where the ring was shut; UINT64_MAX: it was not */
	struct ring_lane_watch *lanes;
	uint64_t lanes_wanted; /* when the lanes were looked at last */
	struct ring_report report;
};

/* Nothing is published from here on before something is retired, or for ever. */
static inline uint64_t ring_most(const struct ring_consumer *consumer)
{
	uint64_t most = consumer->retired + consumer->ring->geometry.cells;

	return most < consumer->end ? most : consumer->end;
}

/* Finds head and retired from the cells alone. False: out of memory. */
bool ring_find_start(struct ring_consumer *consumer);
/* Sets right the cell at the head, which holds `seen`, neither empty nor full of its lap. */
void ring_mend_cell(struct ring_consumer *consumer, uint64_t seen);

#endif
