/*
 * The event loop, the process and the master, spoken to as a web server does: FastCGI records on a
 * Unix socket, written by hand. What counts: idle kept connections hold no thread and give way, who
 * is slow holds one only for so long, a stop is prompt and cuts nothing off, hostile lengths are
 * answered, a dead process is replaced.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "app/fcgi.h"
#include "app/listen.h"
#include "app/log.h"
#include "app/master.h"
#include "tests/unit/app/fcgi_fixture.h"
#include "tests/unit/runner.h"

#define THREADS 2
#define BODY_LIMIT 1000

/* ---- the server in this process ---------------------------------------------------------- */

static struct fcgi_settings settings;
static struct fcgi_server *server;
static pthread_t threads[THREADS];
static int listen_fd;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: "/slow" does not return */
static atomic_int slow;                                  /* how many wait at the gate */

static atomic_uint served;
static char large[4u << 20]; /* more than a socket holds */

/* The status. */
static int read_all(struct web_request *request)
{
	char scratch[100];
	size_t all = 0;
	ssize_t got;
	while ((got = request->source.read(request->source.context, scratch, sizeof(scratch))) > 0)
		all += (size_t)got;
	if (got < 0)
		return 408;
	if (all > BODY_LIMIT)
		return 413;
	return request->declared_bytes == SIZE_MAX || request->declared_bytes == all ? 204 : 400;
}

static void answer(void *context, struct web_request *request, struct fcgi_answer *answered)
{
	(void)context;
	if (strcmp(request->path, "/slow") == 0) {
		atomic_fetch_add(&slow, 1);
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
		atomic_fetch_sub(&slow, 1);
	}
	if (strcmp(request->path, "/counted") == 0)
		atomic_fetch_add(&served, 1);
	if (strcmp(request->path, "/line") == 0)
		snprintf(answered->line, sizeof(answered->line), "a line for the log");
	struct web_answer made = { .status = 204 };
	if (request->fault_status != 0)
		made = answer_detail(request->fault_status, request->fault);
	else if (strcmp(request->path, "/unread") != 0)
		made = answer_detail(read_all(request), "whatever");
	if (strcmp(request->path, "/large") == 0) {
		answer_clear(&made);
		made = answer_json(200, json_stringn(large, sizeof(large)));
	}
	answered->bytes = answer_render(&made, request, &answered->count);
	answer_clear(&made);
}

static void *thread_main(void *context)
{
	fcgi_server_run(server, answer, context);
	return NULL;
}

static void start_with(unsigned connections, unsigned timeout_ms)
{
	settings = (struct fcgi_settings){ .connections = connections, .timeout_ms = timeout_ms, .bytes_per_s = 1000,
		.awake = 1 }; /* the other thread must do where that one is held up */
	listen_fd = listen_open(path, 0600);
	CU_ASSERT_FATAL(listen_fd >= 0);
	server = fcgi_server_new(listen_fd, &settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(server);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, thread_main, NULL), 0);
}

static void start(void)
{
	start_with(100, 15000);
}

static void join(void)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fcgi_server_free(&server);
	CU_ASSERT_PTR_NULL(server);
	listen_close(listen_fd, path);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
}

static void stop(void)
{
	fcgi_server_stop(server);
	join();
}

static void wait_for_slow(int wanted)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	while (atomic_load(&slow) != wanted && now_ms() < deadline)
		sched_yield();
	CU_ASSERT_EQUAL_FATAL(atomic_load(&slow), wanted);
}

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

/* All threads are held by the slow; after the time they were given, others are served. */
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

static void test_listen(void)
{
	int first = listen_open(path, 0600);
	CU_ASSERT_FATAL(first >= 0);
	CU_ASSERT_EQUAL(listen_open(path, 0600), -1); /* somebody listens there */
	close(first);                                 /* as when it was killed */
	int second = listen_open(path, 0600);
	CU_ASSERT(second >= 0);
	listen_close(second, path);
	CU_ASSERT_EQUAL(listen_open("/nowhere/at/all", 0600), -1);
	CU_ASSERT_EQUAL(listen_open("no-port", 0600), -1);
	CU_ASSERT_EQUAL(listen_open("fd:x", 0600), -1);
	CU_ASSERT_EQUAL(listen_open("fd:999", 0600), -1);
	int tcp = listen_open("127.0.0.1:0", 0600);
	CU_ASSERT(tcp >= 0);
	char inherited[20];
	snprintf(inherited, sizeof(inherited), "fd:%d", tcp);
	CU_ASSERT_EQUAL(listen_open(inherited, 0600), tcp);

	/* What systemd passes is descriptor 3, and counts only for the process that it names. */
	int third = dup(3), zeroth = dup(0);
	snprintf(inherited, sizeof(inherited), "%ld", (long)getpid());
	CU_ASSERT_EQUAL(dup2(tcp, 3), 3);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", inherited, 1);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), 3);
	CU_ASSERT_PTR_NULL(getenv("LISTEN_FDS")); /* not for those that we start */
	CU_ASSERT_EQUAL(dup2(tcp, 0), 0);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), 0);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", "1", 1);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), 0);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", inherited, 1);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), -1);
	dup2(zeroth, 0);
	close(zeroth);
	CU_ASSERT_EQUAL(listen_open("inherited", 0600), -1); /* no socket */
	if (third >= 0)
		dup2(third, 3);
	else
		close(3);
	close(third);
	close(tcp);
}

/* ---- master and processes ---------------------------------------------------------------- */

/* The children of `parent`, at most `most`. */
static int children_of(pid_t parent, pid_t *children, int most)
{
	char name[64], text[256] = "";
	snprintf(name, sizeof(name), "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
	FILE *file = fopen(name, "r");
	if (file == NULL)
		return 0;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	int count = 0;
	char *rest = text;
	for (long pid; count < most && (pid = strtol(rest, &rest, 10)) > 0; count++)
		children[count] = (pid_t)pid;
	return count;
}

/* Until there are two, none of which is `not`. */
static void wait_for_children(pid_t master, pid_t not, pid_t children[2])
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	while (now_ms() < deadline) {
		if (children_of(master, children, 2) == 2 && children[0] != not && children[1] != not)
			return;
		poll(NULL, 0, 5);
	}
	CU_FAIL("two processes did not appear");
}

static void expect_answer(void)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	int fd;
	while ((fd = dial()) < 0 && now_ms() < deadline)
		poll(NULL, 0, 5);
	ask(fd, "/nothing", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(fd), 404);
	close(fd);
}

static void test_master(void)
{
	/* A name that cannot be opened: the ring does not matter here. */
	const struct options options = { .socket = path, .processes = 2, .threads = 2, .instance = ".", .open.mode = 0600,
		.web.body_limit_bytes = BODY_LIMIT, .fcgi = { .connections = 100, .timeout_ms = 15000, .bytes_per_s = 1000 },
		.stop_timeout_s = 5 };
	pid_t master = fork();
	if (master == 0)
		_exit(master_run(&options));
	expect_answer();
	pid_t before[2], after[2];
	wait_for_children(master, 0, before);
	kill(before[0], SIGKILL);
	wait_for_children(master, before[0], after);
	expect_answer();
	kill(master, SIGHUP);
	wait_for_children(master, after[0], before);
	wait_for_children(master, after[1], before);
	expect_answer();
	int64_t started = now_ms();
	kill(master, SIGTERM);
	int status = -1;
	CU_ASSERT_EQUAL(waitpid(master, &status, 0), master);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_TRUE(now_ms() - started < 3000);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	CU_ASSERT_EQUAL(kill(before[0], 0), -1);
	CU_ASSERT_EQUAL(kill(before[1], 0), -1);
}

int main(void)
{
	/* The master first: a process with threads does not fork well under a sanitizer. */
	static const struct suite_test tests[] = {
		SUITE_TEST(test_master),
		SUITE_TEST(test_listen),
		SUITE_TEST(test_kept_connections_hold_no_thread),
		SUITE_TEST(test_bodies),
		SUITE_TEST(test_nonsense),
		SUITE_TEST(test_stop_finishes_what_is_in_hand),
		SUITE_TEST(test_cut_off),
		SUITE_TEST(test_idle_ones_give_way),
		SUITE_TEST(test_nobody_gives_way),
		SUITE_TEST(test_crowd),
		SUITE_TEST(test_slow_ones),
		SUITE_TEST(test_abort),
		SUITE_TEST(test_large_head),
		SUITE_TEST(test_unread_body),
		SUITE_TEST(test_error_line),
	};

	snprintf(path, sizeof(path), "/tmp/test-server-%ld.sock", (long)getpid());
	log_open(LOG_EMERG);
	return RUN_TESTS("server", tests);
}
