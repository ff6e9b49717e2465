/*
 * Server-sent events: an endpoint answers with a wish (struct stream_wish), the transport writes the
 * head of the answer and hands the connection over, and from then on the streamer has it: one thread
 * of the process, which reads the board's event log and tells every listener what he asked for, as
 * text/event-stream (HTML Living Standard, section 9.2). No responder thread waits with him.
 */
#ifndef APP_STREAM_H
#define APP_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "taskring/taskring.h"

#define STREAM_LISTENERS_MAX 8192 /* of one process */

/* Which events of tasks a listener of many wants. */
struct event_filter {
	unsigned states; /* 1u << enum tr_state, of the task after the event; 0: all */
	char handler[TR_NAME_MAX + 1], queue[TR_NAME_MAX + 1]; /* "": any */
};

struct stream_wish {
	bool wanted;
	bool one;         /* only the events of `id`; the stream ends with the task */
	struct tr_id id;
	struct event_filter filter; /* unless `one` */
	/* Events of the board with that identity above this serial. Identity 0: those that come from now on. */
	uint64_t identity, after;
	bool resumed;     /* from a Last-Event-ID: a gap is told, and what comes first is what was missed */
	/* Of `one`: the task as JSON, as its responder found it after `after` was read. Owned by the wish; NULL: none. */
	char *present;
	bool ended;       /* it has ended according to that */
};

#endif
