/*
 * One listener of the streamer: what he is told and how it gets into his connection. Called by stream.c,
 * on the streamer's thread only, but for what it declares itself.
 */
#ifndef APP_STREAM_LISTENER_H
#define APP_STREAM_LISTENER_H

#include "app/fcgi_record.h"
#include "app/stream.h"
#include "app/stream_events.h"

/* A text that grows. Where memory ran out it is of no use. */
struct stream_text {
	char *bytes;
	size_t used, size;
	bool failed;
};

struct stream_listener {
	struct streamer *streamer;
	struct stream_listener *next; /* among those that were just handed over */
	struct stream_wish wish;
	int fd;
	uint16_t request;
	bool begun;
	bool ending;        /* nothing follows what is said already */
	bool dead_told;     /* that taskd is dead is the last that he heard of it */
	uint64_t identity;  /* of the board that `told` counts events of; 0: there was none yet */
	uint64_t told;      /* events up to this one have been told, or were not for him */
	uint32_t incarnation;
	int64_t doubt_ms;   /* of `one`: since when it may have escaped us how the task is; 0: it has not */
	int64_t sent_ms;    /* when something was last sent */
	int64_t stalled_ms; /* since when `left` waits for room in the connection */
	char *left;         /* what did not fit into it; nothing else is said before this is gone; NULL: none */
	size_t left_at, left_bytes;
	struct fcgi_record_input input;
};

/* What all listeners share in a turn. */
struct stream_turn {
	struct stream_events *events;
	const struct stream_view *view;
	int64_t now_ms;          /* by the streamer's clock */
	int64_t heartbeat_ms;
	struct stream_text said; /* to the one whose turn it is: text/event-stream */
	struct stream_text wire; /* the same as FastCGI records */
	bool behind;             /* somebody has not been told all that there is */
};

void stream_text_add(struct stream_text *text, const char *bytes, size_t count);
void stream_text_free(struct stream_text *text);

/* Fills turn->said with what is new for him; sets `ending`. Not while something is left. */
void stream_listener_speak(struct stream_listener *listener, struct stream_turn *turn);

enum stream_sent { STREAM_SENT, STREAM_LEFT, STREAM_GONE };
/* Sends what was said, and the end of the request where he is `ending`. GONE: the connection is of no more use. */
enum stream_sent stream_listener_send(struct stream_listener *listener, struct stream_turn *turn);
/* Sends what is left. */
enum stream_sent stream_listener_send_left(struct stream_listener *listener);
/* Reads what the web server says. False: it has given the request up. */
bool stream_listener_hear(struct stream_listener *listener);

#endif
