/* The supervisor's queue of control messages; supervisor.c and crew.c put, supervisor.c flushes. */
#include "taskd/outbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

bool outbox_reserve(struct outbox *outbox, size_t room)
{
	if (room <= outbox->room)
		return true;
	struct letter *letters = calloc(room, sizeof(*letters));
	if (letters == NULL)
		return false;
	for (size_t i = 0; i < outbox->count; i++)
		letters[i] = outbox->letters[(outbox->first + i) % outbox->room];
	free(outbox->letters);
	outbox->letters = letters;
	outbox->first = 0;
	outbox->room = room;
	return true;
}

void outbox_put(struct outbox *outbox, const struct control_message *message, int fd)
{
	if (outbox->socket < 0) {
		if (fd >= 0)
			close(fd);
		return;
	}
	assert(outbox->count < outbox->room);
	struct letter *letter = &outbox->letters[(outbox->first + outbox->count++) % outbox->room];
	letter->message = *message;
	letter->fd = fd;
}

enum outbox_result outbox_flush(struct outbox *outbox)
{
	while (outbox->count > 0 && outbox->socket >= 0) {
		struct letter *letter = &outbox->letters[outbox->first];
		if (control_send(outbox->socket, &letter->message, letter->fd) < 0)
			return errno == EAGAIN ? OUTBOX_BLOCKED : OUTBOX_GONE;
		if (letter->fd >= 0)
			close(letter->fd);
		outbox->first = (outbox->first + 1) % outbox->room;
		outbox->count--;
	}
	return OUTBOX_SENT;
}

void outbox_clear(struct outbox *outbox)
{
	for (; outbox->count > 0; outbox->count--) {
		int fd = outbox->letters[outbox->first].fd;
		if (fd >= 0)
			close(fd);
		outbox->first = (outbox->first + 1) % outbox->room;
	}
	outbox->first = 0;
}
