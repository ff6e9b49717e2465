/*
 * A server with more to do than it can: idle connections give way to new ones and lose nothing, who is slow holds
 * a thread only for so long.
 */
#include <sys/resource.h>

#include "tests/unit/app/server_world.h"

/* ---- giving way -------------------------------------------------------------------------- */

#define MANY 1500 /* more than select(2) can name */

/* More kept connections than threads, rows for select(2), and then than there may be at all. */
static void test_idle_ones_give_way(void)
{
	static int kept[MANY];
	struct rlimit files;
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &files), 0);
	struct rlimit more = { .rlim_cur = files.rlim_max, .rlim_max = files.rlim_max };
	if (files.rlim_max < 2 * MANY + 2000 || setrlimit(RLIMIT_NOFILE, &more) != 0)
		return; /* not on this machine */
	start_with(MANY - 100, 15000);
	for (size_t i = 0; i < MANY; i++) {
		int64_t before = now_ms();
		kept[i] = dial();
		ask(kept[i], "/", NULL, 0, KEEP);
		CU_ASSERT_EQUAL(answer_status(kept[i]), 204);
		CU_ASSERT(now_ms() - before < 1000);
	}
	/*
	 * The longest idle ones were asked and, since we did nothing, closed, as many as were needed; two
	 * that were given back at the same time may have changed places. Those that stayed are served,
	 * asked or not.
	 */
	unsigned closed = 0;
	for (size_t i = 0; i < MANY; i++) {
		char byte;
		if (i < 110)
			CU_ASSERT_TRUE(is_asked(kept[i]));
		if (i < 110 && recv(kept[i], &byte, 1, MSG_DONTWAIT) == 0) {
			closed++;
			continue;
		}
		ask(kept[i], "/", NULL, 0, KEEP);
		CU_ASSERT_EQUAL(answer_status(kept[i]), 204);
	}
	CU_ASSERT_EQUAL(closed, 100);
	stop();
	for (size_t i = 0; i < MANY; i++)
		close(kept[i]);
	setrlimit(RLIMIT_NOFILE, &files);
}

/* A row that nobody gives up: requests that wait for a thread, and a connection that has just been opened. */
static void test_nobody_gives_way(void)
{
	int waiting[8];
	start_with(8, 15000);
	pthread_mutex_lock(&gate);
	for (int i = 0; i < 8; i++) {
		waiting[i] = dial();
		ask(waiting[i], "/slow", NULL, 0, i % 2 == 0 ? KEEP : 0);
	}
	wait_for_slow(THREADS);
	int last = dial();
	ask(last, "/", NULL, 0, 0);
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(answer_status(waiting[i]), 204);
		close(waiting[i]);
	}
	CU_ASSERT_EQUAL(answer_status(last), 204);
	close(last);
	/* Silent new ones give way only when they are no longer young. */
	for (int i = 0; i < 8; i++)
		waiting[i] = dial();
	last = dial();
	ask(last, "/", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(last), 204);
	close(last);
	for (int i = 0; i < 8; i++)
		close(waiting[i]);
	stop();
}

/*
 * A crowd that wants more connections than there may be, so that it loses them all the time. What
 * it could send is answered; what it could not send was not served either, so sending it again on
 * another connection serves everything once.
 */
#define CROWD 6
#define EACH 2000

static atomic_uint lost, sent_again;
static pthread_barrier_t crowded;

/* In one write, as web servers do. False: the other side has closed. */
static bool try_ask(int fd)
{
	char request[200] = { 1, BEGIN, 0, 1, 0, 8, 0, 0, 0, 1, KEEP, 0, 0, 0, 0, 0, 1, PARAMS, 0, 1 };
	size_t used = add_param(request, 24, "REQUEST_METHOD", "POST");
	used = add_param(request, used, "REQUEST_URI", "/counted");
	request[21] = (char)(used - 24);
	static const char end[16] = { 1, PARAMS, 0, 1, 0, 0, 0, 0, 1, INPUT, 0, 1 };
	memcpy(request + used, end, sizeof(end));
	used += sizeof(end);
	ssize_t sent = send(fd, request, used, MSG_NOSIGNAL);
	CU_ASSERT_TRUE(sent == (ssize_t)used || sent < 0);
	return sent > 0;
}

static void *crowd_main(void *context)
{
	unsigned random = (unsigned)(uintptr_t)context;
	int fds[4] = { -1, -1, -1, -1 };
	for (int i = 0; i < EACH; i++) {
		int *fd = &fds[i < 4 ? i : rand_r(&random) % 4];
		if (i == 4)
			pthread_barrier_wait(&crowded); /* all want all of theirs */
		while (*fd < 0 || !try_ask(*fd)) {
			if (*fd >= 0) {
				atomic_fetch_add(&sent_again, 1);
				close(*fd);
			}
			*fd = dial();
		}
		if (answer_status(*fd) != 204)
			atomic_fetch_add(&lost, 1);
	}
	for (int i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return NULL;
}

static void test_crowd(void)
{
	pthread_t crowd[CROWD];
	start_with(3 * CROWD, 15000);
	pthread_barrier_init(&crowded, NULL, CROWD);
	for (uintptr_t i = 0; i < CROWD; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&crowd[i], NULL, crowd_main, (void *)(i + 1)), 0);
	for (int i = 0; i < CROWD; i++)
		pthread_join(crowd[i], NULL);
	stop();
	CU_ASSERT_EQUAL(atomic_load(&lost), 0);
	CU_ASSERT_EQUAL(atomic_load(&served), CROWD * EACH);
	CU_ASSERT(atomic_load(&sent_again) > 0);
}

/* ---- who is slow ------------------------------------------------------------------------- */

/* Sends a byte, or a record of one byte, over and over until the other side has had enough: after how many ms. */
static int64_t drip(int fd, int type)
{
	int64_t before = now_ms();
	while (now_ms() - before < PATIENCE_MS) {
		const unsigned char record[9] = { 1, (unsigned char)type, 0, 1, 0, 1, 0, 0, 'x' };
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		if (poll(&wait, 1, 50) != 0 || send(fd, record, sizeof(record), MSG_NOSIGNAL) < 0)
			break;
	}
	return now_ms() - before;
}

#define SLOW_MS 300

/* 100 bytes of a body each 20 ms, until there is an answer or nobody reads them. */
static void send_at_pace(int fd, int64_t most_ms)
{
	static const unsigned char record[8 + 100] = { 1, INPUT, 0, 1, 0, 100 };
	int64_t before = now_ms();
	struct pollfd answered = { .fd = fd, .events = POLLIN };
	while (send(fd, record, sizeof(record), MSG_NOSIGNAL) > 0 && poll(&answered, 1, 20) == 0 &&
	    now_ms() - before < most_ms) {
	}
}

/* All threads are held by the slow; after the time they were given, others are served. */
static void test_slow_ones(void)
{
	start_with(100, SLOW_MS);
	int slow_ones[8], count = 0;
	slow_ones[count++] = dial(); /* half a record's head */
	CU_ASSERT_EQUAL(send(slow_ones[0], "\1\1", 2, MSG_NOSIGNAL), 2);
	slow_ones[count++] = dial(); /* no end of the parameters */
	send_record(slow_ones[1], BEGIN, "\0\1\1\0\0\0\0", 8);
	slow_ones[count++] = dial(); /* half a body */
	ask_head(slow_ones[2], "/", "100", KEEP);
	send_record(slow_ones[2], INPUT, "half", 4);
	slow_ones[count++] = dial(); /* an answer that nobody takes */
	ask(slow_ones[3], "/large", NULL, 0, KEEP);
	int64_t before = now_ms();
	int fd = dial();
	ask(fd, "/", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fd), 204);
	int64_t took = now_ms() - before;
	CU_ASSERT(took >= SLOW_MS - 50 && took < 4000);
	CU_ASSERT_TRUE(is_closed(slow_ones[0]));
	CU_ASSERT_EQUAL(answer_status(slow_ones[1]), 0); /* an end without an answer */
	CU_ASSERT_TRUE(is_closed(slow_ones[1]));
	CU_ASSERT_EQUAL(answer_status(slow_ones[2]), 408);
	CU_ASSERT_TRUE(is_closed(slow_ones[2]));
	close(fd);
	for (int i = 0; i < count; i++)
		close(slow_ones[i]);

	/* A byte now and then makes it no better. Of a body it buys time, but not as much as it takes. */
	fd = dial();
	send_record(fd, BEGIN, "\0\1\1\0\0\0\0", 8);
	took = drip(fd, PARAMS);
	CU_ASSERT(took >= SLOW_MS - 50 && took < 2000);
	close(fd);
	fd = dial();
	ask_head(fd, "/", NULL, KEEP);
	took = drip(fd, INPUT);
	CU_ASSERT(took >= SLOW_MS - 50 && took < 2000);
	CU_ASSERT_EQUAL(answer_status(fd), 408);
	close(fd);
	/* One that is fast enough may go on for longer than that; unless nobody wants to have it. */
	fd = dial();
	ask_head(fd, "/", NULL, KEEP);
	send_at_pace(fd, 2 * SLOW_MS);
	send_record(fd, INPUT, "", 0);
	CU_ASSERT_EQUAL(answer_status(fd), 413);
	close(fd);
	fd = dial();
	ask_head(fd, "/unread", NULL, KEEP);
	before = now_ms();
	send_at_pace(fd, 10000);
	CU_ASSERT(now_ms() - before < 1000);
	CU_ASSERT_EQUAL(answer_status(fd), 204);
	CU_ASSERT_TRUE(is_closed(fd));
	close(fd);
	stop();
}

/* An aborted request frees its thread at once; the connection is given up with it. */
static void test_abort(void)
{
	start();
	int fds[4 * THREADS];
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		fds[i] = dial();
		ask_head(fds[i], "/", "100", KEEP);
		send_record(fds[i], INPUT, "half", 4);
		send_record(fds[i], ABORT, "", 0);
	}
	int fd = dial();
	ask(fd, "/", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fd), 204);
	close(fd);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		CU_ASSERT_EQUAL(answer_status(fds[i]), 0); /* an end without an answer */
		CU_ASSERT_TRUE(is_closed(fds[i]));
		close(fds[i]);
	}
	stop();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_idle_ones_give_way),
		SUITE_TEST(test_nobody_gives_way),
		SUITE_TEST(test_crowd),
		SUITE_TEST(test_slow_ones),
		SUITE_TEST(test_abort),
	};

	return RUN_SERVER_TESTS("test-server-crowd", tests);
}
