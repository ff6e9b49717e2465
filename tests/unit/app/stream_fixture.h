/*
 * A streamer, heard as a web server hears it: FastCGI records on one end of a socket, with the other end handed over
 * to it; the board is written by taskd's own writer.
 */
#ifndef STREAM_FIXTURE_H
#define STREAM_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "app/fcgi_record.h"
#include "app/stream.h"
#include "tests/unit/board_fixture.h"

#define PATIENCE_MS 10000
#define REQUEST 258 /* both bytes of it count */
#define PLACES 3

static const struct board_geometry wide = { .entries = 64, .workers = 1, .lanes = 1, .events = 512, .mode = 0600 };
static struct board_writer *writer;
static struct streamer *streamer;
static _Atomic int64_t clock_now_ms = 1000000;

static inline int64_t test_clock(void)
{
	return atomic_load(&clock_now_ms);
}

static inline int64_t real_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void beat(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	board_heartbeat(writer, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static inline void open_board(const struct board_geometry *geometry)
{
	writer = open_writer(geometry);
	board_life(writer, BOARD_RUNNING);
	beat();
}

static inline void start_on(const struct board_geometry *geometry)
{
	const struct streamer_settings settings = { .instance = instance, .most = PLACES, .heartbeat_ms = 15000,
		.stall_ms = 10000, .now_ms = test_clock };
	open_board(geometry);
	streamer = streamer_new(&settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(streamer);
}

static inline void start(void)
{
	start_on(&wide);
}

static inline void finish(void)
{
	streamer_free(&streamer);
	CU_ASSERT_PTR_NULL(streamer);
	board_writer_close(&writer, true);
}

/* ---- the web server's side --------------------------------------------------------------- */

struct peer {
	int fd;
	bool ended;  /* FCGI_END_REQUEST has come */
	bool closed;
	size_t used;
	char text[1 << 20];
};

static struct peer peers[PLACES];

/* What has come of the content of FCGI_STDOUT, until `wanted` stands in it, or the end. */
static inline bool receive(int fd, void *to, size_t bytes)
{
	int64_t until = real_ms() + PATIENCE_MS;
	for (size_t got = 0; got < bytes;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		if (poll(&wait, 1, 100) < 0 || real_ms() > until)
			return false;
		if (wait.revents == 0)
			continue;
		ssize_t count = recv(fd, (char *)to + got, bytes - got, 0);
		if (count <= 0)
			return false;
		got += (size_t)count;
	}
	return true;
}

static inline bool next_record(struct peer *peer)
{
	unsigned char head[8];
	static char content[65536 + 256];
	if (!receive(peer->fd, head, sizeof(head))) {
		peer->closed = true;
		return false;
	}
	size_t bytes = (size_t)head[4] << 8 | head[5];
	CU_ASSERT_EQUAL_FATAL(head[0], 1);
	CU_ASSERT_EQUAL_FATAL(head[2] << 8 | head[3], REQUEST);
	CU_ASSERT_TRUE_FATAL(receive(peer->fd, content, bytes + head[6]));
	if (head[1] == 3)
		peer->ended = true;
	else
		CU_ASSERT_EQUAL_FATAL(head[1], 6);
	if (head[1] == 6 && peer->used + bytes < sizeof(peer->text)) {
		memcpy(peer->text + peer->used, content, bytes);
		peer->used += bytes;
		peer->text[peer->used] = '\0';
	}
	return true;
}

static inline bool hears(struct peer *peer, const char *wanted)
{
	while (strstr(peer->text, wanted) == NULL)
		if (!next_record(peer))
			return false;
	return true;
}

/* To its end: FCGI_END_REQUEST, then the connection's. */
static inline bool hears_end(struct peer *peer)
{
	while (!peer->closed)
		next_record(peer);
	return peer->ended;
}

static inline void forget(struct peer *peer)
{
	peer->used = 0;
	peer->text[0] = '\0';
}

static inline unsigned times(const struct peer *peer, const char *what)
{
	unsigned count = 0;
	for (const char *at = peer->text; (at = strstr(at, what)) != NULL; at++)
		count++;
	return count;
}

/* Whether they stand there in that order. NULL at the end. */
static inline bool in_order(const struct peer *peer, const char *const *what)
{
	const char *at = peer->text;
	for (; *what != NULL && at != NULL; what++) {
		at = strstr(at, *what);
		if (at == NULL)
			fprintf(stderr, "not there, or not in its place: %s\n", *what);
		else
			at += strlen(*what);
	}
	return at != NULL;
}

/* False: there is no place. */
static inline bool listen_to(struct peer *peer, struct stream_wish wish)
{
	int ends[2];
	memset(peer, 0, sizeof(*peer));
	wish.wanted = true;
	struct stream_listener *listener = streamer_reserve(streamer, &wish);
	if (listener == NULL) {
		free(wish.present);
		return false;
	}
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	peer->fd = ends[0];
	streamer_adopt(listener, ends[1], REQUEST);
	return hears(peer, "retry: 3000\n\n");
}

static inline bool listen_to_all(struct peer *peer, struct event_filter filter)
{
	return listen_to(peer, (struct stream_wish){ .filter = filter });
}

static inline uint64_t last_event(void)
{
	return atomic_load(&board_writer_board(writer)->last_event);
}

static inline struct stream_wish wish_one(uint32_t number, const char *present, bool ended)
{
	return (struct stream_wish){ .one = true, .id = id_of(number), .identity = board_writer_board(writer)->identity,
		.after = last_event(), .present = strdup(present), .ended = ended };
}

/* A place is free again. */
static inline void wait_for_place(void)
{
	int64_t until = real_ms() + PATIENCE_MS;
	struct stream_listener *listener = NULL;
	struct stream_wish wish = { .wanted = true };
	while (listener == NULL && real_ms() < until)
		listener = streamer_reserve(streamer, &wish);
	CU_ASSERT_PTR_NOT_NULL(listener);
	stream_listener_free(&listener);
}

static inline void log_line(uint32_t number, const char *text)
{
	struct tr_id id = id_of(number);
	board_log_event(writer, &id, 1, 1, 6, text, strlen(text));
}

#endif
