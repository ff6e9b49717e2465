/*
 * Server-sent events: an endpoint answers with a wish (struct stream_wish), the transport writes the
 * head of the answer and hands the connection over, and from then on the streamer has it: one thread
 * of the process, which reads the board's event log and tells every listener what he asked for, as
 * text/event-stream (HTML Living Standard, section 9.2). No responder thread waits with him, and he
 * holds nothing that other requests need.
 *
 *   event     data
 *   state     the task, as GET /tasks/{id} has it without its log, and `at`
 *   progress  id, handler, queue, attempt, progress, at
 *   log       id, handler, queue, attempt, line, level, text, cut (true: much has been said since, and but 79 bytes are left), at
 *   missed    {"missed": how many}; null: another board, nobody knows how many
 *   taskd     {"state": "dead"} or "alive"
 */
#ifndef APP_STREAM_H
#define APP_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "taskring/taskring.h"

#define STREAM_LISTENERS_MAX 8192 /* of one process */

/* Which events of tasks a listener to many wants. */
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
	bool resumed;     /* by a Last-Event-ID: begins with what has come since, and tells if some of it is lost */
	/* Of `one`: the task as JSON, as it was found after `after` was read. Owned by the wish; NULL: none. */
	char *present;
	bool ended;       /* according to that */
};

/* An event's id is "IDENTITY-SERIAL"; of the last one of a task's stream "IDENTITY-SERIAL-end". */
#define STREAM_ID_SIZE 48
char *stream_id(uint64_t identity, uint64_t serial, bool end, char text[STREAM_ID_SIZE]);
/* False: it is none of ours, and is to be ignored. */
bool stream_id_read(const char *text, uint64_t *identity, uint64_t *serial, bool *end);

struct streamer;        /* of one process */
struct stream_listener; /* one that has a place, perhaps before it has a connection */

struct streamer_settings {
	const char *instance; /* lives as long as the streamer */
	unsigned most;        /* listeners at a time, 0 to STREAM_LISTENERS_MAX */
	unsigned heartbeat_ms; /* a comment when nothing else was sent for so long; 0: 15,000 */
	unsigned stall_ms;    /* who takes nothing for so long is dropped; 0: 10,000 */
	int64_t (*now_ms)(void); /* the clock of both; NULL: CLOCK_MONOTONIC */
};

/* Starts the thread. NULL: errno says why. */
struct streamer *streamer_new(const struct streamer_settings *settings);
/* Ends every stream in order: its client asks again soon, perhaps another process. Any thread. */
void streamer_end_all(struct streamer *streamer);
/* And from then on each new one at once. Any thread. */
void streamer_stop(struct streamer *streamer);
/* After streamer_stop(), when nobody can hand over any more. NULL afterwards. */
void streamer_free(struct streamer **streamer);

/* A place for a listener; takes over what the wish owns. NULL: there are too many. Any thread. */
struct stream_listener *streamer_reserve(struct streamer *streamer, struct stream_wish *wish);
/* It will not have a connection. NULL afterwards. Any thread. */
void stream_listener_free(struct stream_listener **listener);
/*
 * The head of the answer has been written, by FastCGI, as that request; nothing else uses the
 * connection any more. `fd` and the listener are the streamer's. Any thread.
 */
void streamer_adopt(struct stream_listener *listener, int fd, uint16_t request);

#endif
