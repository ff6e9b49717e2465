/*
 * The board's event log as listeners see it: events go out by their serial, with what they say as a
 * text that is made once, however many listeners get it. Called by stream.c, on the streamer's thread
 * only. Reads shared memory; taskd knows nothing of it.
 */
#ifndef APP_STREAM_EVENTS_H
#define APP_STREAM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "app/stream.h"
#include "shared/board.h"
#include "taskring/taskring.h"

struct stream_event {
	uint64_t serial; /* 0: the cell is empty */
	struct tr_id id;
	int64_t at_ms;
	uint8_t kind;    /* enum board_event_kind */
	uint8_t state;   /* enum tr_state after the event */
	uint8_t level;   /* of a log line: syslog's number */
	bool superseded; /* progress of which more is known by now; told to nobody */
	bool names_asked;
	uint16_t line;   /* of a log line: its number in the attempt */
	uint32_t attempt;
	char handler[TR_NAME_MAX + 1], queue[TR_NAME_MAX + 1]; /* "": the board does not show the task any more */
	struct board_event said; /* as it stands on the board; its text there may be longer */
	char *text;      /* "event: ...\ndata: ...\n"; NULL: not made yet */
	size_t text_bytes;
};

struct stream_events;

/* What the latest look has shown. */
struct stream_view {
	uint64_t identity;    /* of the board; 0: there is none */
	uint64_t oldest, newest; /* serials that can be read; newest + 1 is the next one to come */
	uint32_t incarnation; /* of the dispatcher */
	bool alive;           /* it has shown life lately */
};

/* `instance` lives as long. NULL: no memory. */
struct stream_events *stream_events_new(const char *instance);
void stream_events_free(struct stream_events **events);

/* Looks at the board: `now_ms` is the streamer's clock's. A load or two; system calls once a second. */
const struct stream_view *stream_events_look(struct stream_events *events, int64_t now_ms);
/* Forgets all texts: nobody listens. */
void stream_events_forget(struct stream_events *events);

/* The event with that serial, of oldest to newest. NULL: it has been overwritten meanwhile. Until the next call. */
struct stream_event *stream_event(struct stream_events *events, uint64_t serial);
bool stream_event_fits(struct stream_events *events, struct stream_event *event, const struct event_filter *filter);
/* Makes event->text. False: no memory. */
bool stream_event_render(struct stream_events *events, struct stream_event *event);

/* A task as the board shows it now, as an event "state", for the caller to free(). NULL: it does not; or no memory. */
char *stream_present(const struct stream_events *events, const struct tr_id *id, bool *ended);

#endif
