/*
 * Answers that wait for the disk. What they tell of is in the ring; one thread of the process waits for all of
 * them until it is durable, where each would else hold a thread that taskd has to wake by itself. What enters is
 * one exchange of fcgi.c, which leaves on that thread.
 */
#ifndef APP_PARKING_H
#define APP_PARKING_H

#include <stdbool.h>
#include <stdint.h>

#include "taskring/taskring.h"

struct parking; /* of one process, and for one ring */

/* The caller's memory, the parking's from entering to leaving. */
struct parked {
	struct taskring *ring;
	uint64_t position;  /* what is waited for */
	int64_t until_ns;   /* by CLOCK_MONOTONIC; so long at most */
	enum tr_result result; /* when it leaves: OK or NOT_DURABLE */
	struct parked *next;
};

/* On the parking's thread, in the order of entering. Who waits here holds up all others. */
typedef void parking_leave_fn(void *context, struct parked *parked);

/* At most so many at a time. NULL: errno says why. */
struct parking *parking_new(unsigned most, parking_leave_fn *leave, void *context);
/* Those that are still there leave as not durable. NULL afterwards. */
void parking_free(struct parking **parking);

/* False: there is no room, or nothing to wait for: it is the caller's as before. Any thread. */
bool parking_enter(struct parking *parking, struct parked *parked);

#endif
