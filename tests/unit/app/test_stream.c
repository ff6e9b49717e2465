/* The streamer: what a listener is told, and in which order. */
#include "tests/unit/app/stream_fixture.h"

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
		{ "hostile texts", test_hostile_texts },
		{ "no board", test_no_board },
	};

	return RUN_BOARD_TESTS("stream", tests);
}
