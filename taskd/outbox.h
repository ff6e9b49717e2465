/*
 * Messages of the supervisor to the dispatcher that wait until it reads: in order, none lost, none
 * waited for, and bounded, since a worker is only started while there is room for its messages.
 */
#ifndef TASKD_OUTBOX_H
#define TASKD_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "taskd/control.h"

struct letter {
	struct control_message message;
	int fd; /* ours until it is sent; -1: none */
};

struct outbox {
	struct letter *letters; /* a ring of `room` */
	size_t first, count, room;
	int socket;             /* -1: nobody to send to; what is put is dropped */
};

enum outbox_result { OUTBOX_SENT, OUTBOX_BLOCKED, OUTBOX_GONE };

/* Makes room for at least `room` letters; false: out of memory, nothing changed. */
bool outbox_reserve(struct outbox *outbox, size_t room);
static inline size_t outbox_room(const struct outbox *outbox)
{
	return outbox->room - outbox->count;
}
/* There is room. `fd` becomes the outbox's. */
void outbox_put(struct outbox *outbox, const struct control_message *message, int fd);
/* Sends what can be sent now. GONE: the other side cannot be written to any more; errno. */
enum outbox_result outbox_flush(struct outbox *outbox);
/* Drops all and closes the descriptors; the socket is the caller's. */
void outbox_clear(struct outbox *outbox);

#endif
