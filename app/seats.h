/*
 * How many threads take requests. A thread that waits for a request is woken for it, and on a busy machine
 * being woken costs more than answering: where many wait, each request wakes another one, while two that
 * never sleep would have answered all of them. So only so many have a seat, from which they wait and serve;
 * the others are parked. Who serves one request for longer than a moment, since it waits for a client or
 * a disk, loses the seat to one of those, and is parked when it comes back. Called by fcgi.c.
 */
#ifndef APP_SEATS_H
#define APP_SEATS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct seats;

/* A thread's; in its own memory while it has joined. */
struct seat {
	atomic_uint turn;   /* odd while it serves a request */
	atomic_bool lost;   /* it has no seat */
	unsigned seen;      /* the turn at the last look */
	struct seat *next;
};

/* NULL: no memory. most: 0 means that there are always enough. */
struct seats *seats_new(unsigned most);
/* After everybody has left. NULL afterwards. */
void seats_free(struct seats **seats);

void seats_join(struct seats *seats, struct seat *seat);
void seats_leave(struct seats *seats, struct seat *seat);

/* Before waiting for a request: returns when there is a seat for the thread. */
void seats_wait(struct seats *seats, struct seat *seat);
/* There is one. */
void seats_serve(struct seats *seats, struct seat *seat);

/* From now on there are enough: nobody is parked any more. Any thread. */
void seats_open(struct seats *seats);

#endif
