/*
 * Answers that wait for the disk: a server as in test_server.c whose answers name a position of the ring, and a
 * board on which the test says up to where that is durable. What counts: no answer goes out before, none is lost
 * or late, they hold no thread, and neither a stop nor a client that goes nor one that does not read holds them up.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "app/fcgi.h"
#include "app/listen.h"
#include "app/log.h"
#include "app/parking.h"
#include "shared/board.h"
#include "taskd/board_writer.h"
#include "tests/unit/app/fcgi_fixture.h"
#include "tests/unit/runner.h"

#define PARKED 4
#define NOT_YET_MS 30 /* so long nothing must come */
#define LINGER_MS 1200 /* more than a stop waits for web servers that are silent */

static char instance[40];
static struct board_writer *writer;
static struct taskring *ring;
static struct fcgi_server *server;
static pthread_t thread; /* one: whatever holds it is noticed */
static int listen_fd;
static atomic_uint answered, settled; /* requests that their thread, and the disk, has done with */

/* ---- the server -------------------------------------------------------------------------- */

/* "/5" waits for position 5, "/5/large" with an answer that is not parked, and "/now" for nothing. */
static void answer(void *context, struct web_request *request, struct fcgi_answer *made)
{
	static char large[70000]; /* more than a quarter of what a socket takes, and however it is stored, no more than that */
	(void)context;
	memset(large, 'x', sizeof(large));
	bool is_large = strstr(request->path, "/large") != NULL;
	request->ring = ring;
	request->durable = (struct durable_wish){ .wanted = strncmp(request->path, "/now", 4) != 0,
		.position = strtoull(request->path + 1, NULL, 10) };
	made->made = is_large ? answer_json(202, json_stringn(large, sizeof(large))) : answer_detail(202, "accepted");
	made->bytes = answer_render(&made->made, request, &made->count);
	if (!request->durable.wanted)
		answer_clear(&made->made);
	atomic_fetch_add(&answered, 1);
}

static void settle(void *context, struct web_request *request, struct fcgi_answer *made, enum tr_result result)
{
	CU_ASSERT_PTR_EQUAL(context, &answered);
	atomic_fetch_add(&settled, 1);
	if (result != TR_OK) {
		answer_clear(&made->made);
		made->made = answer_result(result, NULL);
		free(made->bytes);
		made->bytes = answer_render(&made->made, request, &made->count);
	}
	answer_clear(&made->made);
}

static void *thread_main(void *context)
{
	fcgi_server_run(server, answer, context);
	return NULL;
}

static void start(unsigned connections, uint32_t durable_timeout_ms)
{
	static const struct board_geometry geometry = { .entries = 64, .workers = 1, .lanes = 1, .events = 64, .mode = 0600 };
	const struct fcgi_settings settings = { .connections = connections, .timeout_ms = 15000, .bytes_per_s = 1000,
		.awake = 1, .parked = PARKED, .durable_timeout_ms = durable_timeout_ms, .settle = settle,
		.settle_context = &answered };
	struct tr_error error;
	CU_ASSERT_EQUAL_FATAL(board_writer_open(&writer, instance, &geometry, &error), TR_OK);
	board_life(writer, BOARD_RUNNING);
	CU_ASSERT_EQUAL_FATAL(tr_open(&ring, instance, NULL, &error), TR_OK);
	listen_fd = listen_open(path, 0600);
	CU_ASSERT_FATAL(listen_fd >= 0);
	server = fcgi_server_new(listen_fd, &settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(server);
	signal(SIGPIPE, SIG_IGN);
	atomic_store(&answered, 0);
	atomic_store(&settled, 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, thread_main, NULL), 0);
}

static void join(void)
{
	char name[60];
	pthread_join(thread, NULL);
	fcgi_server_free(&server);
	listen_close(listen_fd, path);
	tr_close(&ring);
	board_writer_close(&writer, true);
	static const char *const ends[] = { "ring", "wake", "board" };
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "/dev/shm/%s.%s", instance, ends[i]);
		unlink(name);
	}
}

static void stop(void)
{
	fcgi_server_stop(server);
	join();
}

static void wait_for(atomic_uint *count, unsigned wanted)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	while (atomic_load(count) != wanted && now_ms() < deadline)
		sched_yield();
	CU_ASSERT_EQUAL_FATAL(atomic_load(count), wanted);
}

static int ask_for(const char *uri)
{
	int fd = dial();
	CU_ASSERT_FATAL(fd >= 0);
	ask(fd, uri, NULL, 0, KEEP);
	return fd;
}

static bool is_silent(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	return poll(&wait, 1, NOT_YET_MS) == 0;
}

/* ---- waiting ----------------------------------------------------------------------------- */

static void test_waits_without_a_thread(void)
{
	start(100, 60000);
	int fds[3] = { ask_for("/7"), ask_for("/2"), ask_for("/5") };
	wait_for(&answered, 3);
	int now = ask_for("/now");
	CU_ASSERT_EQUAL(answer_status(now), 202);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_TRUE(is_silent(fds[i]));
	board_durable(writer, 2); /* the first that is not */
	CU_ASSERT_TRUE(is_silent(fds[1]));
	board_durable(writer, 3);
	CU_ASSERT_EQUAL(answer_status(fds[1]), 202);
	CU_ASSERT_TRUE(is_silent(fds[0]) && is_silent(fds[2]));
	board_durable(writer, 8);
	CU_ASSERT_EQUAL(answer_status(fds[0]), 202);
	CU_ASSERT_EQUAL(answer_status(fds[2]), 202);
	CU_ASSERT_EQUAL(atomic_load(&settled), 3);
	/* What is durable already waits for nobody; and its connection was kept. */
	ask(fds[0], "/6", NULL, 0, KEEP);
	CU_ASSERT_EQUAL(answer_status(fds[0]), 202);
	ask(fds[0], "/8", NULL, 0, 0);
	CU_ASSERT_TRUE(is_silent(fds[0]));
	board_durable(writer, 9);
	CU_ASSERT_EQUAL(answer_status(fds[0]), 202);
	CU_ASSERT_TRUE(is_closed(fds[0]));
	stop();
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(now);
}

/* Beyond those that may be parked, and with an answer that is long, the thread waits itself. */
static void test_full(void)
{
	start(100, 60000);
	int fds[PARKED + 1];
	for (int i = 0; i < PARKED + 1; i++)
		fds[i] = ask_for("/3");
	wait_for(&answered, PARKED + 1);
	int now = ask_for("/now");
	CU_ASSERT_TRUE(is_silent(now));
	board_durable(writer, 4);
	for (int i = 0; i < PARKED + 1; i++)
		CU_ASSERT_EQUAL(answer_status(fds[i]), 202);
	CU_ASSERT_EQUAL(answer_status(now), 202);
	int large = ask_for("/4/large");
	wait_for(&answered, PARKED + 3);
	ask(now, "/now", NULL, 0, KEEP);
	CU_ASSERT_TRUE(is_silent(now) && is_silent(large));
	board_durable(writer, 5);
	CU_ASSERT_EQUAL(answer_status(large), 202);
	CU_ASSERT_EQUAL(answer_status(now), 202);
	stop();
	for (int i = 0; i < PARKED + 1; i++)
		close(fds[i]);
	close(large);
	close(now);
}

/* No taskd that serves, whatever its board says: it is told after the time, and the connection serves on. */
static void test_never_durable(void)
{
	start(100, 200);
	board_life(writer, BOARD_STOPPED);
	board_durable(writer, 10);
	int64_t began_ms = now_ms();
	int fd = ask_for("/3");
	CU_ASSERT_EQUAL(answer_status(fd), 503);
	CU_ASSERT_TRUE(now_ms() - began_ms >= 200);
	/* One comes meanwhile. */
	ask(fd, "/9", NULL, 0, KEEP);
	wait_for(&answered, 2);
	board_life(writer, BOARD_RUNNING);
	CU_ASSERT_EQUAL(answer_status(fd), 202);
	stop();
	close(fd);
}

/* ---- who does not wait for it ------------------------------------------------------------ */

/* Who has gone holds a connection until then, and no longer. */
static void test_gone(void)
{
	start(1, 60000);
	int gone = ask_for("/1");
	wait_for(&answered, 1);
	close(gone);
	board_durable(writer, 2);
	wait_for(&settled, 1);
	int fd = ask_for("/1");
	CU_ASSERT_EQUAL(answer_status(fd), 202);
	stop();
	close(fd);
}

/* A web server that asks on without taking answers is cut off, and others do not wait for it. */
static void test_does_not_read(void)
{
	start(100, 60000);
	int lazy = ask_for("/now/large");
	wait_for(&answered, 1);
	int now = ask_for("/now");
	CU_ASSERT_EQUAL(answer_status(now), 202); /* so the thread has done with the large one: libfcgi reads ahead */
	ask(lazy, "/1", NULL, 0, KEEP);
	wait_for(&answered, 3);
	int fd = ask_for("/1");
	wait_for(&answered, 4);
	ask(now, "/now", NULL, 0, KEEP);
	CU_ASSERT_EQUAL(answer_status(now), 202); /* so the thread has parked the others, in their order */
	board_durable(writer, 2);
	CU_ASSERT_EQUAL(answer_status(fd), 202);
	CU_ASSERT_EQUAL(answer_status(lazy), 202); /* the first one */
	CU_ASSERT_TRUE(is_closed(lazy));
	stop();
	close(lazy);
	close(fd);
	close(now);
}

/* ---- the end ----------------------------------------------------------------------------- */

static void test_stop(void)
{
	start(100, 60000);
	int fd = ask_for("/1"), idle = ask_for("/now");
	CU_ASSERT_EQUAL(answer_status(idle), 202);
	fcgi_server_stop(server);
	CU_ASSERT_TRUE(is_asked(idle));
	close(idle);
	/* Only what is parked keeps the thread there. */
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	CU_ASSERT_EQUAL(poll(&wait, 1, LINGER_MS), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_tryjoin_np(thread, NULL), EBUSY);
	board_durable(writer, 2);
	CU_ASSERT_EQUAL(answer_status(fd), 202);
	CU_ASSERT_TRUE(is_asked(fd));
	join();
	CU_ASSERT_TRUE(is_closed(fd));
	close(fd);
}

static void test_cut_off(void)
{
	start(100, 60000);
	int fd = ask_for("/1");
	wait_for(&answered, 1);
	fcgi_server_stop(server);
	fcgi_server_cut_off(server);
	int64_t began_ms = now_ms();
	join();
	CU_ASSERT_TRUE(now_ms() - began_ms < 5000);
	CU_ASSERT_EQUAL(atomic_load(&settled), 1);
	CU_ASSERT_TRUE(is_closed(fd));
	close(fd);
}

/* ---- many at once ------------------------------------------------------------------------ */

#define CLIENTS 12
#define ROUNDS 400

static _Atomic uint64_t published, durable;
static atomic_uint early, refused, clients_left;

static void *client_main(void *context)
{
	int fd = dial();
	(void)context;
	for (int i = 0; i < ROUNDS; i++) {
		char uri[32];
		uint64_t position = atomic_fetch_add(&published, 1);
		snprintf(uri, sizeof(uri), "/%llu", (unsigned long long)position);
		ask(fd, uri, NULL, 0, KEEP);
		if (answer_status(fd) != 202)
			atomic_fetch_add(&refused, 1);
		else if (atomic_load(&durable) <= position)
			atomic_fetch_add(&early, 1);
	}
	close(fd);
	atomic_fetch_sub(&clients_left, 1);
	return NULL;
}

/* The last of them has nobody behind whose step would wake it, too: none waits for a look. */
static void test_crowd(void)
{
	pthread_t clients[CLIENTS];
	start(100, 60000);
	atomic_store(&published, 0);
	atomic_store(&durable, 0);
	atomic_store(&clients_left, CLIENTS);
	for (int i = 0; i < CLIENTS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&clients[i], NULL, client_main, NULL), 0);
	while (atomic_load(&clients_left) > 0) {
		uint64_t to = atomic_load(&published);
		sched_yield();
		atomic_store(&durable, to); /* before the board: a client may know at once */
		board_durable(writer, to);
	}
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	CU_ASSERT_EQUAL(atomic_load(&early), 0);
	CU_ASSERT_EQUAL(atomic_load(&refused), 0);
	CU_ASSERT_EQUAL(atomic_load(&settled), CLIENTS * ROUNDS);
	stop();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_waits_without_a_thread),
		SUITE_TEST(test_full),
		SUITE_TEST(test_never_durable),
		SUITE_TEST(test_gone),
		SUITE_TEST(test_does_not_read),
		SUITE_TEST(test_stop),
		SUITE_TEST(test_cut_off),
		SUITE_TEST(test_crowd),
	};

	snprintf(path, sizeof(path), "/tmp/test-parking-%ld.sock", (long)getpid());
	snprintf(instance, sizeof(instance), "test-parking-%ld", (long)getpid());
	log_open(LOG_EMERG);
	return RUN_TESTS("parking", tests);
}
