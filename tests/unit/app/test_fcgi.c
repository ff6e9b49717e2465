/*
 * What a request becomes on its way through fcgi.c, and whose the descriptors are: a kept connection has
 * one of its own and one that is lent to libfcgi, and with a stream of events it leaves without either.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "app/fcgi.h"
#include "app/listen.h"
#include "app/stream.h"
#include "tests/unit/app/fcgi_fixture.h"

#define THREADS 2
#define KEPT 20

static struct fcgi_settings settings;
static struct fcgi_server *server;
static struct streamer *streamer;
static pthread_t threads[THREADS];
static int listen_fd;

/* What fcgi.c has read from the parameters, as it was when the endpoint saw it; to be looked at after stop(). */
static struct {
	char type[256], authorization[256], disposition[256], encoding[256], cookie[256], origin[256], host[256],
	    requested_with[256], user[256], peer[256], accept[256], none_match[256], last_event[256], trace[256], id[256];
	bool is_https;
} seen;

#define SEE(field, value) snprintf(seen.field, sizeof(seen.field), "%s", value)

static void see(const struct web_request *request)
{
	SEE(type, request->content_type);
	SEE(authorization, request->authorization);
	SEE(disposition, request->content_disposition);
	SEE(encoding, request->content_encoding);
	SEE(cookie, request->cookie);
	SEE(origin, request->origin);
	SEE(host, request->host);
	SEE(requested_with, request->requested_with);
	SEE(user, request->user);
	SEE(peer, request->peer);
	SEE(accept, request->accept);
	SEE(none_match, request->if_none_match);
	SEE(last_event, request->last_event_id);
	SEE(trace, request->trace);
	SEE(id, request->request_id);
	seen.is_https = request->is_https;
}

static void answer(void *context, struct web_request *request, struct fcgi_answer *answered)
{
	(void)context;
	struct web_answer made = { .status = 204 };
	if (strcmp(request->path, "/events") == 0) {
		struct stream_wish wish = { .wanted = true };
		made = (struct web_answer){ .status = 200, .stream = wish };
		answered->listener = streamer_reserve(streamer, &wish);
	} else if (strcmp(request->path, "/see") == 0) {
		see(request);
	}
	answered->bytes = answer_render(&made, request, &answered->count);
	answer_clear(&made);
}

static void *thread_main(void *context)
{
	(void)context;
	fcgi_server_run(server, answer, NULL);
	return NULL;
}

static void start(const char *user_parameter)
{
	const struct streamer_settings streaming = { .instance = "test-fcgi-none", .most = 100 };
	settings = (struct fcgi_settings){ .connections = 100, .timeout_ms = 15000, .bytes_per_s = 1000,
		.user_parameter = user_parameter };
	streamer = streamer_new(&streaming);
	listen_fd = listen_open(path, 0600);
	CU_ASSERT_FATAL(streamer != NULL && listen_fd >= 0);
	server = fcgi_server_new(listen_fd, &settings);
	CU_ASSERT_PTR_NOT_NULL_FATAL(server);
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, thread_main, NULL), 0);
}

static void stop(void)
{
	fcgi_server_stop(server);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	streamer_stop(streamer);
	streamer_free(&streamer);
	fcgi_server_free(&server);
	listen_close(listen_fd, path);
}

/* How many descriptors this process has: ours as the web server, and the responder's. */
static int descriptors(void)
{
	int count = 0;
	DIR *directory = opendir("/proc/self/fd");
	CU_ASSERT_PTR_NOT_NULL_FATAL(directory);
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count - 1; /* the directory's own */
}

/* The responder gives a connection back, or closes it, after the answer has come. */
static void expect_descriptors(int expected)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	while (descriptors() != expected && now_ms() < deadline)
		sched_yield();
	CU_ASSERT_EQUAL(descriptors(), expected);
}

static void ask_kept(int fd)
{
	ask(fd, "/", NULL, 0, KEEP);
	CU_ASSERT_EQUAL(answer_status(fd), 204);
}

static void test_kept_ones_keep_their_numbers(void)
{
	int kept[KEPT];
	start(NULL);
	int before = descriptors();
	for (int i = 0; i < KEPT; i++)
		ask_kept(kept[i] = dial());
	expect_descriptors(before + 3 * KEPT);
	for (int i = 0; i < 3 * KEPT; i++)
		ask_kept(kept[i % KEPT]);
	expect_descriptors(before + 3 * KEPT);
	/* libfcgi closes what it was lent: the connection's end is the row's, too. */
	ask(kept[0], "/", NULL, 0, 0);
	CU_ASSERT_EQUAL(answer_status(kept[0]), 204);
	CU_ASSERT_TRUE(is_closed(kept[0]));
	expect_descriptors(before + 3 * KEPT - 2);
	for (int i = 0; i < KEPT; i++)
		close(kept[i]);
	expect_descriptors(before);
	stop();
}

/* Where numbers for select(2) get rare, a connection has one only while it is served. */
static void test_rare_numbers(void)
{
	struct rlimit files;
	int taken[1024], count = 0, kept[KEPT];
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &files), 0);
	int rare = files.rlim_cur >= 2048 ? 512 : (int)files.rlim_cur / 4;
	start(NULL);
	do
		taken[count] = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0);
	while (taken[count++] < rare && count < 1024);
	int before = descriptors();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < KEPT; i++) {
			if (round == 0)
				kept[i] = dial();
			ask_kept(kept[i]);
		}
		expect_descriptors(before + 2 * KEPT);
	}
	for (int i = 0; i < KEPT; i++)
		close(kept[i]);
	expect_descriptors(before);
	while (count > 0)
		close(taken[--count]);
	stop();
}

/* The streamer gets the connection's own descriptor; the one that was lent is closed, and only once. */
static void test_hand_over(void)
{
	int kept[KEPT], listening[KEPT];
	start(NULL);
	int before = descriptors();
	for (int i = 0; i < KEPT; i++) {
		ask_kept(listening[i] = dial());
		ask_kept(kept[i] = dial());
		ask(listening[i], "/events", NULL, 0, KEEP);
		unsigned char head[8];
		CU_ASSERT_TRUE(receive(listening[i], head, sizeof(head)));
		CU_ASSERT_EQUAL(head[1], OUTPUT);
		ask_kept(kept[i]);
	}
	expect_descriptors(before + 5 * KEPT);
	for (int i = 0; i < KEPT; i++) {
		close(listening[i]);
		ask_kept(kept[i]); /* which has got a number that was free */
	}
	expect_descriptors(before + 3 * KEPT);
	for (int i = 0; i < KEPT; i++)
		close(kept[i]);
	expect_descriptors(before);
	stop();
}

static void see_request(const char *const (*rows)[2], size_t count)
{
	static const unsigned char begin[8] = { 0, 1, 0 };
	char params[4096] = "";
	size_t used = 0;
	for (size_t i = 0; i < count; i++)
		used = add_param(params, used, rows[i][0], rows[i][1]);
	int fd = dial();
	memset(&seen, 0, sizeof(seen));
	send_record(fd, BEGIN, begin, sizeof(begin));
	send_record(fd, PARAMS, params, used);
	send_record(fd, PARAMS, "", 0);
	send_record(fd, INPUT, "", 0);
	CU_ASSERT_EQUAL(answer_status(fd), 204);
	close(fd);
}

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void test_parameters(void)
{
	static const char *const rows[][2] = { { "REQUEST_METHOD", "POST" }, { "REQUEST_URI", "/see" }, { "HTTP_COOKIE", "a=b=c" },
		{ "CONTENT_TYPE", "text/plain" }, { "CONTENT_LENGTH", "0" }, { "HTTP_AUTHORIZATION", "Bearer x" },
		{ "HTTP_CONTENT_DISPOSITION", "form" }, { "HTTP_CONTENT_ENCODING", "br" }, { "HTTP_ORIGIN", "http://a" },
		{ "HTTP_HOST", "" }, { "HTTP_HOST", "late" }, { "HTTP_X_REQUESTED_WITH", "page" }, { "HTTP_X_USER", "ada" }, { "HTTP_X_USER", "eve" }, { "HTTP_X_USERS", "all" },
		{ "REMOTE_ADDR", "192.0.2.7" }, { "HTTPS", "on" }, { "HTTP_ACCEPT", "text/html" }, { "HTTP_IF_NONE_MATCH", "\"1\"" },
		{ "HTTP_TRACEPARENT", TRACE }, { "HTTP_LAST_EVENT_ID", "7-8" }, { "HTTP_X_REQUEST_ID", "mine" }, { "REQUEST_ID", "its" } };
	start("HTTP_X_USER");
	see_request(rows, sizeof(rows) / sizeof(rows[0]));
	stop();
	CU_ASSERT_STRING_EQUAL(seen.type, "text/plain");
	CU_ASSERT_STRING_EQUAL(seen.authorization, "Bearer x");
	CU_ASSERT_STRING_EQUAL(seen.disposition, "form");
	CU_ASSERT_STRING_EQUAL(seen.encoding, "br");
	CU_ASSERT_STRING_EQUAL(seen.cookie, "a=b=c");
	CU_ASSERT_STRING_EQUAL(seen.origin, "http://a");
	CU_ASSERT_STRING_EQUAL(seen.host, "");
	CU_ASSERT_STRING_EQUAL(seen.requested_with, "page");
	CU_ASSERT_STRING_EQUAL(seen.user, "ada");
	CU_ASSERT_STRING_EQUAL(seen.peer, "192.0.2.7");
	CU_ASSERT_STRING_EQUAL(seen.accept, "text/html");
	CU_ASSERT_STRING_EQUAL(seen.none_match, "\"1\"");
	CU_ASSERT_STRING_EQUAL(seen.last_event, "7-8");
	CU_ASSERT_STRING_EQUAL(seen.trace, TRACE);
	CU_ASSERT_STRING_EQUAL(seen.id, "mine");
	CU_ASSERT_TRUE(seen.is_https);
}

/* Where nothing is said of it, nothing is taken for it; and the user's parameter may be one that is read anyway. */
static void test_parameters_that_are_missing(void)
{
	static const char *const rows[][2] = { { "REQUEST_METHOD", "GET" }, { "REQUEST_URI", "/see" }, { "HTTP_X_USER", "eve" },
		{ "REQUEST_SCHEME", "https" }, { "REMOTE_ADDR", "192.0.2.8" }, { "REQUEST_ID", "its" }, { "", "HTTPS" } };
	start(NULL);
	see_request(rows, sizeof(rows) / sizeof(rows[0]));
	stop();
	CU_ASSERT_STRING_EQUAL(seen.user, "");
	CU_ASSERT_STRING_EQUAL(seen.type, "");
	CU_ASSERT_STRING_EQUAL(seen.id, "its");
	CU_ASSERT_TRUE(seen.is_https);
	start("REMOTE_ADDR");
	see_request(rows, sizeof(rows) / sizeof(rows[0]));
	stop();
	CU_ASSERT_STRING_EQUAL(seen.user, "192.0.2.8");
	CU_ASSERT_STRING_EQUAL(seen.peer, "192.0.2.8");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_kept_ones_keep_their_numbers),
		SUITE_TEST(test_rare_numbers),
		SUITE_TEST(test_hand_over),
		SUITE_TEST(test_parameters),
		SUITE_TEST(test_parameters_that_are_missing),
	};

	return RUN_SERVER_TESTS("test-fcgi", tests);
}
