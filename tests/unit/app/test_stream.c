/*
 * The streamer, heard as a web server hears it: FastCGI records on one end of a socket, with the other
 * end handed over to it; the board is written by taskd's own writer. What counts: what a listener is
 * told, in which order, and that none waits for another one.
 */
#include <CUnit/Basic.h>
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

static int64_t test_clock(void)
{
	return atomic_load(&clock_now_ms);
}

static int64_t real_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void beat(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	board_heartbeat(writer, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static void open_board(const struct board_geometry *geometry)
{
	writer = open_writer(geometry);
	board_life(writer, BOARD_RUNNING);
	beat();
}

static void start_on(const struct board_geometry *geometry)
{
	const struct streamer_settings settings = { .instance = instance, .most = PLACES, .heartbeat_ms = 15000,
		.stall_ms = 10000, .now_ms = test_clock };
	open_board(geometry);
	streamer = streamer_new(&settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(streamer);
}

static void start(void)
{
	start_on(&wide);
}

static void finish(void)
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
static bool receive(int fd, void *to, size_t bytes)
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

static bool next_record(struct peer *peer)
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

static bool hears(struct peer *peer, const char *wanted)
{
	while (strstr(peer->text, wanted) == NULL)
		if (!next_record(peer))
			return false;
	return true;
}

/* To its end: FCGI_END_REQUEST, then the connection's. */
static bool hears_end(struct peer *peer)
{
	while (!peer->closed)
		next_record(peer);
	return peer->ended;
}

static void forget(struct peer *peer)
{
	peer->used = 0;
	peer->text[0] = '\0';
}

static unsigned times(const struct peer *peer, const char *what)
{
	unsigned count = 0;
	for (const char *at = peer->text; (at = strstr(at, what)) != NULL; at++)
		count++;
	return count;
}

/* Whether they stand there in that order. NULL at the end. */
static bool in_order(const struct peer *peer, const char *const *what)
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
static bool listen_to(struct peer *peer, struct stream_wish wish)
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

static bool listen_to_all(struct peer *peer, struct event_filter filter)
{
	return listen_to(peer, (struct stream_wish){ .filter = filter });
}

static uint64_t last_event(void)
{
	return atomic_load(&board_writer_board(writer)->last_event);
}

static struct stream_wish wish_one(uint32_t number, const char *present, bool ended)
{
	return (struct stream_wish){ .one = true, .id = id_of(number), .identity = board_writer_board(writer)->identity,
		.after = last_event(), .present = strdup(present), .ended = ended };
}

/* A place is free again. */
static void wait_for_place(void)
{
	int64_t until = real_ms() + PATIENCE_MS;
	struct stream_listener *listener = NULL;
	struct stream_wish wish = { .wanted = true };
	while (listener == NULL && real_ms() < until)
		listener = streamer_reserve(streamer, &wish);
	CU_ASSERT_PTR_NOT_NULL(listener);
	stream_listener_free(&listener);
}

static void log_line(uint32_t number, const char *text)
{
	struct tr_id id = id_of(number);
	board_log_event(writer, &id, 1, 1, 6, text, strlen(text));
}

/* ---- tests ------------------------------------------------------------------------------- */

static void test_records(void)
{
	static const unsigned char stop[] = { 1, 5, 1, 2, 0, 3, 2, 0, 'a', 'b', 'c', 0, 0, 1, 2, 9, 9, 0, 0, 0, 0, 1, 2, 1, 2, 0, 0, 0, 0 };
	struct fcgi_record_input input = { .skip = 0 };
	/* Byte by byte: a body, then the end of another request, then of ours. */
	for (size_t i = 0; i < sizeof(stop); i++) {
		enum fcgi_record_news wanted = i == sizeof(stop) - 1 ? FCGI_RECORD_ABORTED : FCGI_RECORD_NOTHING;
		CU_ASSERT_EQUAL(fcgi_record_input(&input, REQUEST, (const char *)stop + i, 1), wanted);
	}
	input = (struct fcgi_record_input){ .skip = 0 };
	CU_ASSERT_EQUAL(fcgi_record_input(&input, REQUEST, "GET / HTTP/1.1", 14), FCGI_RECORD_BROKEN);
	static char content[150000], wire[160000];
	memset(content, 'x', sizeof(content));
	CU_ASSERT_EQUAL(fcgi_record_output_bytes(sizeof(content)), sizeof(content) + 24);
	CU_ASSERT_EQUAL(fcgi_record_output(REQUEST, content, sizeof(content), wire), sizeof(content) + 24);
	CU_ASSERT_EQUAL(memcmp(wire, "\1\6\1\2\377\370\0\0xxx", 11), 0);
	CU_ASSERT_EQUAL(memcmp(wire + 2 * (65528 + 8), "\1\6\1\2\112\0\0\0xxx", 11), 0);
	CU_ASSERT_EQUAL(fcgi_record_output(REQUEST, content, 0, wire), 0);
}

static void test_ids(void)
{
	static const char *const wrong[] = { "", "1", "0123456789abcdef", "0123456789abcdef-", "0123456789ABCDEF-1",
		"0123456789abcdef-+1", "0123456789abcdef- 1", "0123456789abcdef-01", "0123456789abcdef-99999999999999999999",
		"0123456789abcdef-1-ende", "0123456789abcdef-1-end ", " 123456789abcdef-1", "0x23456789abcdef-1",
		"-123456789abcdef-1", "0123456789abcdef-1\n" };
	char text[STREAM_ID_SIZE];
	uint64_t identity, serial;
	bool end;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT_FALSE(stream_id_read(wrong[i], &identity, &serial, &end));
	CU_ASSERT_STRING_EQUAL(stream_id(UINT64_MAX, UINT64_MAX, true, text), "ffffffffffffffff-18446744073709551615-end");
	CU_ASSERT_TRUE(stream_id_read(text, &identity, &serial, &end) && identity == UINT64_MAX && serial == UINT64_MAX && end);
	CU_ASSERT_TRUE(stream_id_read(stream_id(7, 8, false, text), &identity, &serial, &end) && identity == 7 && serial == 8 && !end);
}

static void test_one_task_to_its_end(void)
{
	char first[100], id[STREAM_ID_SIZE], longest[TR_LOG_LINE_MAX + 1], said[TR_LOG_LINE_MAX + 100];
	start();
	uint32_t slot = show(writer, 1, TR_QUEUED, BOARD_NO_SLOT);
	show(writer, 2, TR_QUEUED, BOARD_NO_SLOT);
	struct stream_wish wish = wish_one(1, "{\"state\":\"queued\"}", false);
	stream_id(wish.identity, wish.after, false, id);
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], wish));
	snprintf(first, sizeof(first), "event: state\ndata: {\"state\":\"queued\"}\nid: %s\n\n", id);
	CU_ASSERT_TRUE(hears(&peers[0], first));
	slot = show(writer, 1, TR_RUNNING, slot);
	show(writer, 2, TR_RUNNING, BOARD_NO_SLOT);
	struct tr_id one = id_of(1);
	board_progress(writer, slot, &one, 50, 100, "half", 4);
	log_line(1, "a line");
	log_line(2, "of another");
	memset(longest, 'x', TR_LOG_LINE_MAX);
	longest[TR_LOG_LINE_MAX] = '\0';
	log_line(1, longest);
	snprintf(said, sizeof(said), "\"text\":\"%s\",\"line\":1,\"cut\":false", longest);
	CU_ASSERT_TRUE(hears(&peers[0], said));
	slot = show(writer, 1, TR_SUCCEEDED, slot);
	CU_ASSERT_TRUE(hears_end(&peers[0]));
	static const char *const wanted[] = { "event: state\n", "\"queued\"", "event: state\ndata: {\"id\":\"01020304-0506-7008-8000-000001000000\"",
		"\"handler\":\"send_mail\"", "\"queue\":\"default\"", "\"state\":\"running\"", "event: progress\n",
		"\"progress\":{\"done\":50,\"total\":100,\"text\":\"half\"}", "event: log\n", "\"level\":\"info\"", "\"a line\"",
		"event: log\n", "event: state\n", "\"state\":\"succeeded\"", "-end\n\n", NULL };
	CU_ASSERT_TRUE(in_order(&peers[0], wanted));
	CU_ASSERT_EQUAL(times(&peers[0], "event: "), 6);
	CU_ASSERT_EQUAL(times(&peers[0], "another"), 0);
	close(peers[0].fd);
	wait_for_place();
	finish();
}

static void test_ended_already(void)
{
	start();
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], wish_one(1, "{\"state\":\"dead\"}", true)));
	CU_ASSERT_TRUE(hears_end(&peers[0]));
	CU_ASSERT_EQUAL(times(&peers[0], "-end\n\n"), 1);
	close(peers[0].fd);
	finish();
}

static void test_progress_is_told_once(void)
{
	start();
	uint32_t slot = show(writer, 1, TR_RUNNING, BOARD_NO_SLOT);
	struct tr_id one = id_of(1);
	struct stream_wish wish = wish_one(1, "{}", false);
	for (unsigned i = 1; i <= 100; i++)
		board_progress(writer, slot, &one, i, 100, NULL, 0);
	wish.resumed = true; /* all of it is there at once */
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], wish));
	CU_ASSERT_TRUE(hears(&peers[0], "\"done\":100"));
	CU_ASSERT_EQUAL(times(&peers[0], "event: progress"), 1);
	close(peers[0].fd);
	finish();
}

static void test_filter(void)
{
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 1u << TR_DEAD | 1u << TR_RETRYING }));
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[1], (struct event_filter){ .handler = "count", .queue = "slow" }));
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[2], (struct event_filter){ .states = 0 }));
	uint32_t mail = show(writer, 1, TR_RUNNING, BOARD_NO_SLOT), slow = BOARD_NO_SLOT, quick = BOARD_NO_SLOT;
	struct board_status status = status_of(2, TR_RUNNING);
	status.handler = text_of("count");
	board_show(writer, &quick, &status);
	status = status_of(3, TR_RUNNING);
	status.handler = text_of("count");
	status.queue = text_of("slow");
	board_show(writer, &slow, &status);
	log_line(3, "slowly");
	show(writer, 1, TR_DEAD, mail);
	show(writer, 4, TR_CANCELLED, BOARD_NO_SLOT);
	for (unsigned i = 0; i < PLACES; i++) {
		log_line(3, "last");
		status = status_of(5 + i, TR_RETRYING);
		status.handler = text_of("count");
		status.queue = text_of("slow");
		uint32_t slot = BOARD_NO_SLOT;
		board_show(writer, &slot, &status);
	}
	CU_ASSERT_TRUE(hears(&peers[0], "000007000000"));
	CU_ASSERT_TRUE(hears(&peers[1], "000007000000"));
	CU_ASSERT_TRUE(hears(&peers[2], "000007000000"));
	CU_ASSERT_EQUAL(times(&peers[0], "event: "), 4); /* a dead one, three that are tried again */
	CU_ASSERT_EQUAL(times(&peers[0], "\"state\":\"dead\""), 1);
	CU_ASSERT_EQUAL(times(&peers[1], "event: "), 8);
	CU_ASSERT_EQUAL(times(&peers[1], "\"handler\":\"count\",\"queue\":\"slow\""), 8);
	CU_ASSERT_EQUAL(times(&peers[2], "event: "), 12);
	struct stream_wish none = { .wanted = true };
	CU_ASSERT_PTR_NULL(streamer_reserve(streamer, &none)); /* no fourth */
	for (unsigned i = 0; i < PLACES; i++)
		close(peers[i].fd);
	wait_for_place();
	finish();
}

static void test_resume(void)
{
	start();
	uint64_t identity = board_writer_board(writer)->identity;
	for (uint32_t i = 1; i <= 10; i++)
		show(writer, i, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], (struct stream_wish){ .identity = identity, .after = 7, .resumed = true }));
	CU_ASSERT_TRUE(hears(&peers[0], "-00000a000000") || hears(&peers[0], "00000a000000"));
	CU_ASSERT_EQUAL(times(&peers[0], "event: state"), 3);
	CU_ASSERT_EQUAL(times(&peers[0], "missed"), 0);
	/* A number that was never given out: from now on. */
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[1], (struct stream_wish){ .identity = identity, .after = UINT64_MAX, .resumed = true }));
	show(writer, 11, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[1], "00000b000000"));
	CU_ASSERT_EQUAL(times(&peers[1], "event: "), 1);
	/* The end came while the client was away. */
	show(writer, 11, TR_SUCCEEDED, BOARD_NO_SLOT);
	struct stream_wish wish = wish_one(11, "{\"state\":\"succeeded\"}", true);
	wish.after = 10;
	wish.resumed = true;
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[2], wish));
	CU_ASSERT_TRUE(hears_end(&peers[2]));
	CU_ASSERT_EQUAL(times(&peers[2], "event: state"), 2);
	CU_ASSERT_EQUAL(times(&peers[2], "-end\n"), 1);
	close(peers[2].fd);
	/* And before what it asks to hear. */
	wish = wish_one(11, "{\"state\":\"succeeded\"}", true);
	wish.resumed = true;
	wait_for_place();
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[2], wish));
	CU_ASSERT_TRUE(hears_end(&peers[2]));
	CU_ASSERT_EQUAL(times(&peers[2], "event: state"), 1);
	CU_ASSERT_EQUAL(times(&peers[2], "-end\n"), 1);
	for (unsigned i = 0; i < PLACES; i++)
		close(peers[i].fd);
	finish();
}

/* Told late, an earlier attempt has nothing of the one that runs by now; its error is whole. */
static void test_earlier_attempt(void)
{
	char error[TR_TEXT_MAX + 1], said[TR_TEXT_MAX + 100];
	struct board_status status = status_of(1, TR_RETRYING);
	uint32_t slot = BOARD_NO_SLOT;
	start();
	memset(error, 'e', TR_TEXT_MAX);
	error[TR_TEXT_MAX] = '\0';
	status.error = error;
	status.started_ms = 1000;
	board_show(writer, &slot, &status);
	status = status_of(1, TR_RUNNING);
	status.error = "";
	status.attempt = 2;
	status.started_ms = 1600000000000;
	board_show(writer, &slot, &status);
	board_progress(writer, slot, &status.id, 70, 100, "far", 3);
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], (struct stream_wish){ .identity = board_writer_board(writer)->identity, .resumed = true }));
	CU_ASSERT_TRUE(hears(&peers[0], "event: progress"));
	snprintf(said, sizeof(said), "\"error\":\"%s\"", error);
	const char *const wanted[] = { "\"state\":\"retrying\"", "\"progress\":{\"done\":0,\"total\":0,\"text\":null}", said, "\"started\":null",
		"\"state\":\"running\"", "\"progress\":{\"done\":70,\"total\":100,\"text\":\"far\"}", "\"error\":null", "\"started\":\"2020", NULL };
	CU_ASSERT_TRUE(in_order(&peers[0], wanted));
	close(peers[0].fd);
	finish();
}

static void test_missed(void)
{
	start();
	uint64_t identity = board_writer_board(writer)->identity;
	uint32_t slot = show(writer, 1, TR_RUNNING, BOARD_NO_SLOT);
	for (unsigned i = 0; i < 600; i++)
		log_line(2, "noise");
	/* 601 events, of which 512 are kept; after the first one 88 are lost. */
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], (struct stream_wish){ .identity = identity, .after = 1, .resumed = true }));
	CU_ASSERT_TRUE(hears(&peers[0], "-601\n"));
	CU_ASSERT_TRUE(hears(&peers[0], "event: missed\ndata: {\"missed\":88}\nid: "));
	CU_ASSERT_EQUAL(times(&peers[0], "noise"), 512);
	/* What the task has become is looked up. */
	struct stream_wish wish = wish_one(1, "{}", false);
	wish.after = 1;
	wish.resumed = true;
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[1], wish));
	CU_ASSERT_TRUE(hears(&peers[1], "{\"missed\":88}"));
	CU_ASSERT_TRUE(hears(&peers[1], "\"state\":\"running\""));
	/* Another one the board does not show: the client is to ask again, and a responder asks the journal. */
	wish = wish_one(9, "{}", false);
	wish.after = 1;
	wish.resumed = true;
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[2], wish));
	CU_ASSERT_TRUE(hears(&peers[2], "{\"missed\":88}"));
	atomic_fetch_add(&clock_now_ms, 3000);
	CU_ASSERT_TRUE(hears_end(&peers[2]));
	CU_ASSERT_EQUAL(times(&peers[2], "-end\n"), 0);
	show(writer, 1, TR_CANCELLED, slot);
	CU_ASSERT_TRUE(hears_end(&peers[1]));
	for (unsigned i = 0; i < PLACES; i++)
		close(peers[i].fd);
	finish();
}

static void test_another_board(void)
{
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	show(writer, 1, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[0], "\"queued\""));
	board_writer_close(&writer, true);
	CU_ASSERT_TRUE(hears(&peers[0], "event: taskd\ndata: {\"state\":\"dead\"}\n\n"));
	forget(&peers[0]);
	open_board(&wide);
	atomic_fetch_add(&clock_now_ms, 1000); /* so often the name is looked up */
	show(writer, 2, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[0], "000002000000"));
	static const char *const wanted[] = { "event: taskd\ndata: {\"state\":\"alive\"}\n\n", "event: missed\ndata: {\"missed\":null}\nid: ",
		"event: state\n", NULL };
	CU_ASSERT_TRUE(in_order(&peers[0], wanted));
	close(peers[0].fd);
	finish();
}

/* Another dispatcher knows what became of a task that ended while nobody wrote the board. */
static void test_another_dispatcher(void)
{
	start();
	show(writer, 1, TR_RUNNING, BOARD_NO_SLOT);
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[0], wish_one(1, "{}", false)));
	CU_ASSERT_TRUE_FATAL(listen_to(&peers[1], wish_one(2, "{}", false)));
	board_writer_close(&writer, false);
	open_board(&wide);
	show(writer, 1, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[0], "\"queued\""));
	CU_ASSERT_FALSE(peers[0].ended);
	/* One whom the new dispatcher does not show: the journal must be asked. */
	int64_t until = real_ms() + PATIENCE_MS;
	while (!peers[1].closed && real_ms() < until) {
		struct pollfd wait = { .fd = peers[1].fd, .events = POLLIN };
		atomic_fetch_add(&clock_now_ms, 500);
		if (poll(&wait, 1, 30) == 1)
			next_record(&peers[1]);
	}
	CU_ASSERT_TRUE(peers[1].ended);
	CU_ASSERT_EQUAL(times(&peers[1], "-end\n"), 0);
	close(peers[0].fd);
	close(peers[1].fd);
	finish();
}

static void test_heartbeat(void)
{
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	forget(&peers[0]);
	beat();
	atomic_fetch_add(&clock_now_ms, 14999);
	show(writer, 1, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[0], "\"queued\""));
	atomic_fetch_add(&clock_now_ms, 14999); /* since the event */
	show(writer, 1, TR_RUNNING, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[0], "\"running\""));
	CU_ASSERT_EQUAL(times(&peers[0], "\n:\n"), 0);
	atomic_fetch_add(&clock_now_ms, 15000);
	CU_ASSERT_TRUE(hears(&peers[0], "\n:\n\n"));
	CU_ASSERT_EQUAL(times(&peers[0], ":\n\n"), 1);
	close(peers[0].fd);
	finish();
}

/* One takes nothing, the other one hears everything meanwhile. */
static void test_slow_reader(void)
{
	char line[80];
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[1], (struct event_filter){ .states = 0 }));
	for (unsigned i = 0; i < 40; i++) {
		for (unsigned k = 0; k < 50; k++) {
			snprintf(line, sizeof(line), "line %u", i * 50 + k);
			log_line(1, line);
		}
		CU_ASSERT_TRUE_FATAL(hears(&peers[1], line));
		beat();
	}
	CU_ASSERT_EQUAL(times(&peers[1], "event: log"), 2000);
	CU_ASSERT_EQUAL(times(&peers[1], "missed"), 0);
	/* It is let alone for 10 s, then dropped: without an end, in the middle of something. */
	atomic_fetch_add(&clock_now_ms, 9000);
	CU_ASSERT_TRUE(hears(&peers[1], line));
	atomic_fetch_add(&clock_now_ms, 1001);
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[2], (struct event_filter){ .states = 0 }));
	wait_for_place();
	CU_ASSERT_FALSE(hears_end(&peers[0]));
	CU_ASSERT_TRUE(peers[0].used < 200000);
	log_line(1, "after it");
	CU_ASSERT_TRUE(hears(&peers[1], "after it"));
	for (unsigned i = 0; i < PLACES; i++)
		close(peers[i].fd);
	finish();
}

/* One who is slow, but not too slow, goes on where he was, and is told what is lost. */
static void test_slow_reader_catches_up(void)
{
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[1], (struct event_filter){ .states = 0 }));
	for (unsigned i = 0; i < 40; i++) {
		char line[80];
		for (unsigned k = 0; k < 50; k++) {
			snprintf(line, sizeof(line), "line %u", i * 50 + k);
			log_line(1, line);
		}
		CU_ASSERT_TRUE_FATAL(hears(&peers[1], line));
		beat();
	}
	CU_ASSERT_TRUE(hears(&peers[0], "line 1999"));
	unsigned told = times(&peers[0], "event: log"), missed = 0;
	for (const char *at = peers[0].text; (at = strstr(at, "{\"missed\":")) != NULL; at++)
		missed += (unsigned)strtoul(at + 10, NULL, 10);
	CU_ASSERT_TRUE(missed > 0);
	CU_ASSERT_EQUAL(told + missed, 2000);
	close(peers[0].fd);
	close(peers[1].fd);
	finish();
}

static void test_who_goes_is_noticed(void)
{
	static const unsigned char abort_ours[8] = { 1, 2, 1, 2 };
	start();
	for (unsigned i = 0; i < PLACES; i++)
		CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[i], (struct event_filter){ .states = 0 }));
	close(peers[0].fd);
	wait_for_place();
	CU_ASSERT_EQUAL(send(peers[1].fd, abort_ours, sizeof(abort_ours), 0), (ssize_t)sizeof(abort_ours));
	while (!peers[1].closed)
		next_record(&peers[1]);
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	shutdown(peers[2].fd, SHUT_WR);
	while (!peers[2].closed)
		next_record(&peers[2]);
	for (unsigned i = 0; i < PLACES; i++)
		close(peers[i].fd);
	finish();
}

static void test_stop_is_polite(void)
{
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[1], (struct event_filter){ .states = 0 }));
	streamer_end_all(streamer);
	CU_ASSERT_TRUE(hears_end(&peers[0]));
	CU_ASSERT_TRUE(hears_end(&peers[1]));
	CU_ASSERT_EQUAL(times(&peers[0], "retry: "), 2);
	close(peers[0].fd);
	close(peers[1].fd);
	/* They may come back. */
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	streamer_stop(streamer);
	CU_ASSERT_TRUE(hears_end(&peers[0]));
	close(peers[0].fd);
	/* One whose head was being written is ended like the others. */
	CU_ASSERT_FALSE(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	CU_ASSERT_TRUE(peers[0].ended);
	close(peers[0].fd);
	finish();
}

/* Nothing that a handler says can begin a line. */
static void test_hostile_texts(void)
{
	static const char *const texts[] = { "a\nevent: evil\ndata: {}\n\n", "b\r\n\r\nid: evil\r", "c\"}\ndata: evil", "d\xff\xfe\n" "evil",
		"e\xe2\x80\xa8" "evil", "f</script>" };
	start();
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	uint32_t slot = show(writer, 1, TR_RUNNING, BOARD_NO_SLOT);
	struct tr_id one = id_of(1);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		log_line(1, texts[i]);
		board_progress(writer, slot, &one, i, 10, texts[i], strlen(texts[i]));
	}
	log_line(1, "last");
	board_progress(writer, slot, &one, 10, 10, "last", 4);
	CU_ASSERT_TRUE(hears(&peers[0], "\"done\":10"));
	static const char *const begins[] = { "retry: ", "event: ", "data: {", "id: ", "", ":" };
	for (char *line = peers[0].text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		bool ours = false;
		*end = '\0';
		for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
			ours |= begins[i][0] != '\0' ? strncmp(line, begins[i], strlen(begins[i])) == 0 : line[0] == '\0';
		CU_ASSERT_TRUE(ours && strchr(line, '\r') == NULL);
		CU_ASSERT_TRUE(strncmp(line, "id: evil", 8) != 0 && strncmp(line, "event: evil", 11) != 0);
	}
	close(peers[0].fd);
	finish();
}

/* From before taskd has ever run. */
static void test_no_board(void)
{
	const struct streamer_settings settings = { .instance = instance, .most = PLACES, .now_ms = test_clock };
	streamer = streamer_new(&settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(streamer);
	CU_ASSERT_TRUE_FATAL(listen_to_all(&peers[0], (struct event_filter){ .states = 0 }));
	CU_ASSERT_TRUE(hears(&peers[0], "{\"state\":\"dead\"}"));
	open_board(&small);
	atomic_fetch_add(&clock_now_ms, 1000);
	CU_ASSERT_TRUE(hears(&peers[0], "{\"state\":\"alive\"}"));
	show(writer, 1, TR_QUEUED, BOARD_NO_SLOT);
	CU_ASSERT_TRUE(hears(&peers[0], "\"queued\""));
	CU_ASSERT_EQUAL(times(&peers[0], "missed"), 0);
	close(peers[0].fd);
	finish();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "records", test_records },
		{ "ids", test_ids },
		{ "one task to its end", test_one_task_to_its_end },
		{ "a task that has ended", test_ended_already },
		{ "progress is told once", test_progress_is_told_once },
		{ "filter", test_filter },
		{ "resume", test_resume }, { "earlier attempt", test_earlier_attempt },
		{ "missed", test_missed },
		{ "another board", test_another_board },
		{ "another dispatcher", test_another_dispatcher },
		{ "heartbeat", test_heartbeat },
		{ "a slow reader is dropped", test_slow_reader },
		{ "a slow reader catches up", test_slow_reader_catches_up },
		{ "who goes is noticed", test_who_goes_is_noticed },
		{ "a stop is polite", test_stop_is_polite },
		{ "hostile texts", test_hostile_texts },
		{ "no board", test_no_board },
	};

	return RUN_BOARD_TESTS("stream", tests);
}
