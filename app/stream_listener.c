/*
 * See stream_listener.h. Each listener has a place of his own in the board's event log and goes on from
 * there as fast as his connection takes what he is told. So one who is slow, or who comes back with an
 * older place, costs a bounded buffer and no event, until the log has overwritten what he has not seen;
 * then he is told how many he missed.
 */
#include "app/stream_listener.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "shared/board.h"
#include "shared/id.h"

#define RETRY_MS 3000      /* after which a client whose stream ended asks again */
#define ROOM_BYTES 32768u  /* told in one turn, and one event more */
#define LOOKED_MAX 2048u   /* events of the log looked at in one turn, so that nobody keeps the others waiting */
#define DOUBT_MS 3000      /* after which the journal is to be asked about a task: by the client's asking again */

/* ---- text -------------------------------------------------------------------------------- */

static bool make_room(struct stream_text *text, size_t count)
{
	if (text->failed || text->size - text->used >= count)
		return !text->failed;
	size_t size = text->size == 0 ? 2 * ROOM_BYTES : text->size;
	while (size - text->used < count)
		size *= 2;
	char *bytes = realloc(text->bytes, size);
	text->failed = bytes == NULL;
	if (bytes != NULL) {
		text->bytes = bytes;
		text->size = size;
	}
	return bytes != NULL;
}

void stream_text_add(struct stream_text *text, const char *bytes, size_t count)
{
	if (!make_room(text, count))
		return;
	memcpy(text->bytes + text->used, bytes, count);
	text->used += count;
}

void stream_text_free(struct stream_text *text)
{
	free(text->bytes);
	*text = (struct stream_text){ .bytes = NULL };
}

/* A short text of our own. */
__attribute__((format(printf, 2, 3))) static void say(struct stream_turn *turn, const char *format, ...)
{
	char line[256];
	va_list list;
	va_start(list, format);
	int length = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	stream_text_add(&turn->said, line, (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1);
}

char *stream_id(uint64_t identity, uint64_t serial, bool end, char text[STREAM_ID_SIZE])
{
	snprintf(text, STREAM_ID_SIZE, "%016llx-%llu%s", (unsigned long long)identity, (unsigned long long)serial,
	    end ? "-end" : "");
	return text;
}

bool stream_id_read(const char *text, uint64_t *identity, uint64_t *serial, bool *end)
{
	char again[STREAM_ID_SIZE], *rest;
	errno = 0;
	*identity = strtoull(text, &rest, 16);
	if (rest != text + 16 || *rest != '-')
		return false;
	*serial = strtoull(rest + 1, &rest, 10);
	*end = strcmp(rest, "-end") == 0;
	/* Whatever else strtoull() lets pass. */
	return errno == 0 && strcmp(stream_id(*identity, *serial, *end, again), text) == 0;
}

/* Ends the event that has been begun. */
static void say_id(const struct stream_listener *listener, struct stream_turn *turn, bool end)
{
	char id[STREAM_ID_SIZE];
	say(turn, "id: %s\n\n", stream_id(listener->identity, listener->told, end, id));
}

/* ---- what he is told --------------------------------------------------------------------- */

static void say_present(struct stream_listener *listener, struct stream_turn *turn)
{
	static const char begin[] = "event: state\ndata: ";
	if (listener->wish.present != NULL) {
		stream_text_add(&turn->said, begin, sizeof(begin) - 1);
		stream_text_add(&turn->said, listener->wish.present, strlen(listener->wish.present));
		stream_text_add(&turn->said, "\n", 1);
		say_id(listener, turn, listener->wish.ended);
		free(listener->wish.present);
		listener->wish.present = NULL;
	}
	listener->ending = listener->wish.ended;
}

static void begin(struct stream_listener *listener, struct stream_turn *turn)
{
	const struct stream_wish *wish = &listener->wish;
	listener->begun = true;
	listener->identity = wish->identity != 0 ? wish->identity : turn->view->identity;
	listener->told = wish->identity != 0 ? wish->after : turn->view->newest;
	listener->incarnation = turn->view->incarnation;
	say(turn, "retry: %d\n\n", RETRY_MS);
	if (wish->one && !wish->resumed)
		say_present(listener, turn);
}

static void tell_of_taskd(struct stream_listener *listener, struct stream_turn *turn)
{
	if (listener->dead_told == !turn->view->alive)
		return;
	listener->dead_told = !turn->view->alive;
	say(turn, "event: taskd\ndata: {\"state\":\"%s\"}\n\n", listener->dead_told ? "dead" : "alive");
}

/* The end of his task may be among what he cannot be told. */
static void begin_to_doubt(struct stream_listener *listener, const struct stream_turn *turn)
{
	if (listener->wish.one && listener->doubt_ms == 0)
		listener->doubt_ms = turn->now_ms;
}

/* Another board: all of its events are new to him, and of those before nobody knows how many he missed. */
static void change_board(struct stream_listener *listener, struct stream_turn *turn)
{
	bool had_one = listener->identity != 0;
	listener->identity = turn->view->identity;
	listener->told = turn->view->oldest - 1;
	if (!had_one)
		return;
	say(turn, "event: missed\ndata: {\"missed\":null}\n");
	say_id(listener, turn, false);
	begin_to_doubt(listener, turn);
}

/* The log has overwritten what he has not seen, or holds a cell that a dead writer has left. */
static void tell_missed(struct stream_listener *listener, struct stream_turn *turn)
{
	turn->view = stream_events_look(turn->events, INT64_MIN); /* no time for another board */
	uint64_t next = turn->view->oldest > listener->told + 2 ? turn->view->oldest : listener->told + 2;
	say(turn, "event: missed\ndata: {\"missed\":%llu}\n", (unsigned long long)(next - listener->told - 1));
	listener->told = next - 1;
	say_id(listener, turn, false);
	begin_to_doubt(listener, turn);
}

static bool is_wanted(const struct stream_listener *listener, struct stream_turn *turn, struct stream_event *event)
{
	if (event->superseded || event->kind == EVENT_WORKER)
		return false;
	return listener->wish.one ? id_equal(&listener->wish.id, &event->id) :
				    stream_event_fits(turn->events, event, &listener->wish.filter);
}

static void tell(struct stream_listener *listener, struct stream_turn *turn, struct stream_event *event)
{
	listener->told = event->serial;
	if (!is_wanted(listener, turn, event))
		return;
	if (event->text == NULL && !stream_event_render(turn->events, event)) {
		say(turn, "event: missed\ndata: {\"missed\":1}\n");
		say_id(listener, turn, false);
		return;
	}
	bool end = listener->wish.one && event->kind == EVENT_TASK_STATE && tr_state_is_ended((enum tr_state)event->state);
	stream_text_add(&turn->said, event->text, event->text_bytes);
	say_id(listener, turn, end);
	listener->ending = end;
}

static void tell_events(struct stream_listener *listener, struct stream_turn *turn)
{
	for (unsigned looked = 0; listener->told < turn->view->newest && !listener->ending; looked++) {
		if (looked == LOOKED_MAX || turn->said.used >= ROOM_BYTES) {
			turn->behind = true;
			return;
		}
		struct stream_event *event = listener->told + 1 < turn->view->oldest ? NULL :
		    stream_event(turn->events, listener->told + 1);
		if (event != NULL)
			tell(listener, turn, event);
		else
			tell_missed(listener, turn);
	}
	/* He has come back, and its end is not among what has come since. */
	if (listener->wish.ended && !listener->ending)
		say_present(listener, turn);
}

/* What the board does not show, the journal may; a responder can look there, when the client asks again. */
static void settle_doubt(struct stream_listener *listener, struct stream_turn *turn)
{
	bool ended = false;
	char *text = stream_present(turn->events, &listener->wish.id, &ended);
	if (text != NULL) {
		stream_text_add(&turn->said, text, strlen(text));
		say_id(listener, turn, ended);
		listener->doubt_ms = 0;
		listener->ending = ended;
	} else if (turn->now_ms - listener->doubt_ms >= DOUBT_MS) {
		listener->ending = true;
	}
	free(text);
}

void stream_listener_speak(struct stream_listener *listener, struct stream_turn *turn)
{
	turn->said.used = 0;
	if (!listener->begun)
		begin(listener, turn);
	if (!listener->ending)
		tell_of_taskd(listener, turn);
	if (turn->view->identity != 0 && !listener->ending) {
		if (listener->identity != turn->view->identity)
			change_board(listener, turn);
		if (listener->told > turn->view->newest)
			listener->told = turn->view->newest; /* a number that we have not given out */
		/* Another dispatcher: it may have found in the journal that the task had ended, and tells nobody. */
		if (listener->incarnation != turn->view->incarnation)
			begin_to_doubt(listener, turn);
		listener->incarnation = turn->view->incarnation;
		tell_events(listener, turn);
	}
	if (listener->doubt_ms != 0 && !listener->ending)
		settle_doubt(listener, turn);
	if (turn->said.used == 0 && !listener->ending && turn->now_ms - listener->sent_ms >= turn->heartbeat_ms)
		say(turn, ":\n\n");
}

/* ---- his connection ---------------------------------------------------------------------- */

/* How many of the bytes the connection took; -1: it is of no more use. */
static ssize_t send_some(int fd, const char *bytes, size_t count)
{
	ssize_t sent = send(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0)
		return sent;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
}

enum stream_sent stream_listener_send(struct stream_listener *listener, struct stream_turn *turn)
{
	struct stream_text *wire = &turn->wire;
	wire->used = 0;
	if (turn->said.failed || !make_room(wire, fcgi_record_output_bytes(turn->said.used) + FCGI_RECORD_END_BYTES)) {
		turn->said.failed = wire->failed = false; /* the next one may need less */
		return STREAM_GONE;
	}
	wire->used = fcgi_record_output(listener->request, turn->said.bytes, turn->said.used, wire->bytes);
	if (listener->ending)
		wire->used += fcgi_record_end(listener->request, wire->bytes + wire->used);
	if (wire->used == 0)
		return STREAM_SENT;
	ssize_t sent = send_some(listener->fd, wire->bytes, wire->used);
	if (sent < 0)
		return STREAM_GONE;
	listener->sent_ms = turn->now_ms;
	if ((size_t)sent == wire->used)
		return STREAM_SENT;
	listener->left_bytes = wire->used - (size_t)sent;
	listener->left_at = 0;
	listener->left = malloc(listener->left_bytes);
	if (listener->left == NULL)
		return STREAM_GONE;
	memcpy(listener->left, wire->bytes + sent, listener->left_bytes);
	listener->stalled_ms = turn->now_ms;
	return STREAM_LEFT;
}

enum stream_sent stream_listener_send_left(struct stream_listener *listener)
{
	ssize_t sent = send_some(listener->fd, listener->left + listener->left_at, listener->left_bytes - listener->left_at);
	if (sent < 0)
		return STREAM_GONE;
	listener->left_at += (size_t)sent;
	if (listener->left_at < listener->left_bytes)
		return STREAM_LEFT;
	free(listener->left);
	listener->left = NULL;
	return STREAM_SENT;
}

bool stream_listener_hear(struct stream_listener *listener)
{
	char bytes[1024];
	ssize_t got = recv(listener->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	return got > 0 && fcgi_record_input(&listener->input, listener->request, bytes, (size_t)got) == FCGI_RECORD_NOTHING;
}
