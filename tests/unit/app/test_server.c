/*
 * The event loop, the process and the master, spoken to as a web server does: FastCGI records on a
 * Unix socket, written by hand. What counts: idle kept connections hold no thread, a stop is prompt
 * and cuts nothing off, hostile lengths are answered, a dead process is replaced.
 */
#include <CUnit/Basic.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "app/fcgi.h"
#include "app/listen.h"
#include "app/log.h"
#include "app/master.h"

#define THREADS 2
#define BODY_LIMIT 1000
#define PATIENCE_MS 5000

enum { BEGIN = 1, END = 3, PARAMS = 4, INPUT = 5, OUTPUT = 6, KEEP = 1 };

static char path[100];

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the web server's side --------------------------------------------------------------- */

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void send_record(int fd, int type, const void *content, size_t bytes)
{
	char record[8 + 65535];
	const unsigned char head[8] = { 1, (unsigned char)type, 0, 1, (unsigned char)(bytes >> 8), (unsigned char)bytes };
	memcpy(record, head, 8);
	memcpy(record + 8, content, bytes);
	CU_ASSERT_EQUAL(send(fd, record, bytes + 8, MSG_NOSIGNAL), (ssize_t)(bytes + 8));
}

static size_t add_param(char *params, size_t used, const char *name, const char *value)
{
	params[used++] = (char)strlen(name);
	params[used++] = (char)strlen(value);
	return used + (size_t)sprintf(params + used, "%s%s", name, value);
}

/* `length` NULL: no CONTENT_LENGTH. */
static void ask(int fd, const char *uri, const char *length, size_t body_bytes, int flags)
{
	char params[1024];
	const unsigned char begin[8] = { 0, 1, (unsigned char)flags };
	size_t used = add_param(params, 0, "REQUEST_METHOD", "POST");
	used = add_param(params, used, "REQUEST_URI", uri);
	if (length != NULL)
		used = add_param(params, used, "CONTENT_LENGTH", length);
	send_record(fd, BEGIN, begin, sizeof(begin));
	send_record(fd, PARAMS, params, used);
	send_record(fd, PARAMS, "", 0);
	static char body[60000];
	for (size_t sent = 0; sent < body_bytes;) {
		size_t chunk = body_bytes - sent < sizeof(body) ? body_bytes - sent : sizeof(body);
		send_record(fd, INPUT, body, chunk);
		sent += chunk;
	}
	send_record(fd, INPUT, "", 0);
}

static bool receive(int fd, void *to, size_t bytes)
{
	for (size_t got = 0; got < bytes;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		if (poll(&wait, 1, PATIENCE_MS) != 1)
			return false;
		ssize_t count = recv(fd, (char *)to + got, bytes - got, 0);
		if (count <= 0)
			return false;
		got += (size_t)count;
	}
	return true;
}

/* The status of the answer; -1: the connection ended, or nothing came. */
static int answer_status(int fd)
{
	char text[70000] = "";
	size_t used = 0;
	for (;;) {
		unsigned char head[8];
		char content[65536 + 256];
		if (!receive(fd, head, sizeof(head)))
			return -1;
		size_t bytes = (size_t)head[4] << 8 | head[5];
		if (!receive(fd, content, bytes + head[6]))
			return -1;
		if (head[1] == OUTPUT && used + bytes < sizeof(text)) {
			memcpy(text + used, content, bytes);
			used += bytes;
		}
		if (head[1] == END)
			return strncmp(text, "Status: ", 8) == 0 ? atoi(text + 8) : 0;
	}
}

static bool is_closed(int fd)
{
	char byte;
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	return poll(&wait, 1, PATIENCE_MS) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

/* ---- the server in this process ---------------------------------------------------------- */

static struct fcgi_server *server;
static pthread_t threads[THREADS];
static int listen_fd;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: "/slow" does not return */
static atomic_int slow;                                  /* how many wait at the gate */

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

static char *answer(void *context, struct web_request *request, size_t *bytes)
{
	(void)context;
	if (strcmp(request->path, "/slow") == 0) {
		atomic_fetch_add(&slow, 1);
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
		atomic_fetch_sub(&slow, 1);
	}
	struct web_answer made = { .status = 204 };
	if (request->fault_status != 0)
		made = answer_detail(request->fault_status, request->fault);
	else if (strcmp(request->path, "/unread") != 0)
		made = answer_detail(read_all(request), "whatever");
	char *rendered = answer_render(&made, request, bytes);
	answer_clear(&made);
	return rendered;
}

static void *thread_main(void *context)
{
	fcgi_server_run(server, answer, context);
	return NULL;
}

static void start(void)
{
	listen_fd = listen_open(path, 0600);
	CU_ASSERT_FATAL(listen_fd >= 0);
	server = fcgi_server_new(listen_fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(server);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, thread_main, NULL), 0);
}

static void join(void)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fcgi_server_drain(server, answer, NULL);
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
	stop();
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
	join();
	CU_ASSERT_EQUAL(answer_status(busy), 204);
	CU_ASSERT_TRUE(is_closed(busy));
	CU_ASSERT_EQUAL(answer_status(kept), 204);
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
		.web.body_limit_bytes = BODY_LIMIT, .stop_timeout_s = 5 };
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
	snprintf(path, sizeof(path), "/tmp/test-server-%ld.sock", (long)getpid());
	log_open(LOG_EMERG);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite("server", NULL, NULL);
	/* The master first: a process with threads does not fork well under a sanitizer. */
	if (!CU_ADD_TEST(suite, test_master) || !CU_ADD_TEST(suite, test_listen) ||
	    !CU_ADD_TEST(suite, test_kept_connections_hold_no_thread) || !CU_ADD_TEST(suite, test_bodies) ||
	    !CU_ADD_TEST(suite, test_nonsense) || !CU_ADD_TEST(suite, test_stop_finishes_what_is_in_hand) ||
	    !CU_ADD_TEST(suite, test_cut_off))
		return 1;
	CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures > 0;
}
