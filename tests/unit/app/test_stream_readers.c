/*
 * Listeners of the streamer that come back, fall behind, do not read or go; and boards that go. None waits for
 * another one.
 */
#include "tests/unit/app/stream_fixture.h"

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

int main(void)
{
	static const struct suite_test tests[] = {
		{ "resume", test_resume },
		{ "earlier attempt", test_earlier_attempt },
		{ "missed", test_missed },
		{ "another board", test_another_board },
		{ "another dispatcher", test_another_dispatcher },
		{ "heartbeat", test_heartbeat },
		{ "a slow reader is dropped", test_slow_reader },
		{ "a slow reader catches up", test_slow_reader_catches_up },
		{ "who goes is noticed", test_who_goes_is_noticed },
		{ "a stop is polite", test_stop_is_polite },
	};

	return RUN_BOARD_TESTS("stream-readers", tests);
}
