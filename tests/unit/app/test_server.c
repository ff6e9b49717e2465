/*
 * The event loop and its threads, spoken to as a web server does. What counts: idle kept connections hold no
 * thread, a stop is prompt and cuts nothing off, hostile lengths are answered.
 */
#include "tests/unit/app/server_world.h"

static void test_kept_connections_hold_no_thread(void)
{
	int kept[20 * THREADS];
	start();
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		kept[i] = dial();
		ask(kept[i], "/", NULL, 0, KEEP);
		CU_ASSERT_EQUAL(answer_status(kept[i]), 204);
	}
	int fresh = dial();
	ask(fresh, "/", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fresh), 204);
	CU_ASSERT_TRUE(is_closed(fresh));
	close(fresh);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		ask(kept[i], "/", NULL, 0, KEEP);
		CU_ASSERT_EQUAL(answer_status(kept[i]), 204);
	}
	int64_t before = now_ms();
	fcgi_server_stop(server);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		CU_ASSERT_TRUE(is_asked(kept[i]));
		CU_ASSERT_TRUE(is_closed(kept[i])); /* also where the web server does nothing */
	}
	join();
	CU_ASSERT_TRUE(now_ms() - before < 2000);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		close(kept[i]);
}

static void test_bodies(void)
{
	static const struct {
		const char *length;
		size_t bytes;
		int status;
	} rows[] = { { NULL, 0, 204 }, { "", 0, 204 }, { "0", 0, 204 }, { "1000", 1000, 204 }, { NULL, 1000, 204 },
		{ "1001", 1001, 413 }, { "300000", 300000, 413 }, { "5", 4, 400 }, { "5", 6, 400 }, { "-1", 1, 400 },
		{ "99999999999999999999999", 1, 400 }, { "x", 0, 400 } };
	start();
	int fd = dial();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(fd, "/", rows[i].length, rows[i].bytes, KEEP);
		CU_ASSERT_EQUAL(answer_status(fd), rows[i].status);
		ask(fd, "/unread", NULL, rows[i].bytes, KEEP);
		CU_ASSERT_EQUAL(answer_status(fd), 204);
	}
	close(fd);
	stop();
}

static void test_nonsense(void)
{
	start();
	int broken = dial();
	CU_ASSERT_EQUAL(send(broken, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
	shutdown(broken, SHUT_WR);
	CU_ASSERT_TRUE(is_closed(broken));
	close(broken);
	close(dial());
	int fd = dial();
	ask(fd, "/%00", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fd), 400);
	close(fd);
	stop();
}

/* What is being served when the stop comes is answered, and so is what a kept connection sends. */
static void test_stop_finishes_what_is_in_hand(void)
{
	start();
	int kept = dial(), busy = dial();
	ask(kept, "/", NULL, 0, KEEP);
	CU_ASSERT_EQUAL(answer_status(kept), 204);
	pthread_mutex_lock(&gate);
	ask(busy, "/slow", NULL, 0, KEEP);
	wait_for_slow(1);
	fcgi_server_stop(server);
	ask(kept, "/", NULL, 0, KEEP);
	pthread_mutex_unlock(&gate);
	CU_ASSERT_EQUAL(answer_status(busy), 204);
	CU_ASSERT_TRUE(is_asked(busy));
	CU_ASSERT_TRUE(is_asked(kept)); /* while it was idle */
	CU_ASSERT_EQUAL(answer_status(kept), 204);
	CU_ASSERT_TRUE(is_asked(kept));
	/* A web server that was just sending another request when it was asked. */
	ask(kept, "/", NULL, 0, KEEP);
	CU_ASSERT_EQUAL(answer_status(kept), 204);
	join();
	CU_ASSERT_TRUE(is_closed(busy));
	CU_ASSERT_TRUE(is_asked(kept));
	CU_ASSERT_TRUE(is_closed(kept));
	close(busy);
	close(kept);
}

/* A web server that sends half a request holds a thread; the end of a stop frees it. */
static void test_cut_off(void)
{
	start();
	int half = dial();
	send_record(half, BEGIN, "\0\1\1\0\0\0\0", 8);
	int fd = dial();
	ask(fd, "/", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fd), 204); /* the other thread is free */
	fcgi_server_stop(server);
	bool joined[THREADS] = { false };
	int64_t deadline = now_ms() + PATIENCE_MS;
	for (int left = THREADS; left > 0 && now_ms() < deadline; poll(NULL, 0, 5)) {
		fcgi_server_cut_off(server);
		for (int i = 0; i < THREADS; i++) {
			if (!joined[i] && pthread_tryjoin_np(threads[i], NULL) == 0) {
				joined[i] = true;
				left--;
			}
		}
	}
	CU_ASSERT_TRUE_FATAL(joined[0] && joined[1]);
	CU_ASSERT_TRUE(is_closed(half));
	fcgi_server_free(&server);
	listen_close(listen_fd, path);
	close(half);
	close(fd);
}

static void test_large_head(void)
{
	char params[60000];
	start();
	int fd = dial();
	const unsigned char begin[8] = { 0, 1, KEEP };
	for (int round = 0; round < 2; round++) {
		size_t used = add_param(params, 0, "REQUEST_METHOD", "GET");
		used = add_param(params, used, "REQUEST_URI", "/");
		send_record(fd, BEGIN, begin, sizeof(begin));
		send_record(fd, PARAMS, params, used);
		char value[100];
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		for (used = 0; used < 59000;)
			used = add_param(params, used, "HTTP_X", value);
		for (int i = 0; i <= round; i++)
			send_record(fd, PARAMS, params, used);
		send_record(fd, PARAMS, "", 0);
		send_record(fd, INPUT, "", 0);
		CU_ASSERT_EQUAL(answer_status(fd), round == 0 ? 204 : 431);
	}
	close(fd);
	stop();
}

/* What the endpoint leaves of a long body: answered, then the connection ends. */
static void *send_long_body(void *context)
{
	const int *fd = context;
	char record[8 + 32768] = { 1, INPUT, 0, 1, (char)0x80, 0 };
	for (int i = 0; i < 200; i++)
		if (send(*fd, record, sizeof(record), MSG_NOSIGNAL) != sizeof(record))
			break;
	return NULL;
}

static void test_unread_body(void)
{
	start();
	pthread_t sender;
	int fd = dial();
	ask_head(fd, "/unread", NULL, KEEP);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&sender, NULL, send_long_body, &fd), 0);
	CU_ASSERT_EQUAL(answer_status(fd), 204);
	shutdown(fd, SHUT_RDWR);
	pthread_join(sender, NULL);
	close(fd);
	stop();
}

static void test_error_line(void)
{
	start();
	int fd = dial();
	for (int i = 0; i < 3; i++) {
		ask(fd, i == 1 ? "/" : "/line", NULL, 0, KEEP);
		CU_ASSERT_EQUAL(answer_status(fd), 204);
		CU_ASSERT_STRING_EQUAL(error_line, i == 1 ? "" : "a line for the log");
	}
	close(fd);
	stop();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_kept_connections_hold_no_thread),
		SUITE_TEST(test_bodies),
		SUITE_TEST(test_nonsense),
		SUITE_TEST(test_stop_finishes_what_is_in_hand),
		SUITE_TEST(test_cut_off),
		SUITE_TEST(test_large_head),
		SUITE_TEST(test_unread_body),
		SUITE_TEST(test_error_line),
	};

	return RUN_SERVER_TESTS("test-server", tests);
}
