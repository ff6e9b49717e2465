/*
 * The HTTP client against a real server (tests/system/http_server.py): what is sent, what comes back,
 * where it does not go. Run from the top of the source tree, as `make test` does.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <jansson.h>

#include "play_transfers.h"
#include "taskd/http_address.h"
#include "tests/unit/runner.h"

#define TIMEOUT_MS 20000

static pid_t server;
static unsigned port;
static const struct http_address_rules private_too = { .allow_private = true }, strict = { 0 };

/* What came of one request; texts are copies. */
struct answered {
	bool done;
	struct http_answer answer;
	char error[512], content_type[128], location[512];
	char body[TRANSFER_BODY_MAX + 1];
};

static const char *refused(const void *rules, const struct sockaddr *address)
{
	return http_address_refused(rules, address);
}

static void on_done(void *context, const struct http_answer *answer)
{
	struct answered *answered = context;
	CU_ASSERT_FALSE(answered->done);
	play_done(&answered->done);
	answered->answer = *answer;
	snprintf(answered->error, sizeof answered->error, "%s", answer->error == NULL ? "" : answer->error);
	snprintf(answered->content_type, sizeof answered->content_type, "%s",
	    answer->content_type == NULL ? "" : answer->content_type);
	snprintf(answered->location, sizeof answered->location, "%s", answer->location == NULL ? "" : answer->location);
	if (answer->body_bytes > 0)
		memcpy(answered->body, answer->body, answer->body_bytes);
	answered->body[answer->body_bytes] = '\0';
}

static struct http_request request_to(const char *url)
{
	return (struct http_request){ .url = url, .method = "GET", .timeout_ms = TIMEOUT_MS,
		.connect_timeout_ms = TIMEOUT_MS, .refused = refused, .rules = &private_too };
}

static struct transfer *start(const struct http_request *request, struct answered *answered)
{
	struct tr_error error = { "" };
	answered->done = false;
	struct transfer *transfer = module->http(transfers, request, on_done, answered, &error);
	CU_ASSERT_PTR_NOT_NULL_FATAL(transfer);
	CU_ASSERT_FALSE(answered->done);
	return transfer;
}

/* Asks and waits; the answer stays until the next. */
static const struct answered *ask(const struct http_request *request)
{
	static struct answered answered;
	start(request, &answered);
	play_loop(&answered.done);
	return &answered;
}

static const char *at(const char *path)
{
	static char urls[4][2000];
	static unsigned count;
	char *url = urls[count++ % 4];
	snprintf(url, sizeof urls[0], "http://127.0.0.1:%u%s", port, path);
	return url;
}

static void expect_failed(const char *url, const struct http_address_rules *rules, enum http_end end, const char *text)
{
	struct http_request request = request_to(url);
	request.rules = rules;
	request.redirects = 5;
	const struct answered *answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.end, end);
	CU_ASSERT_PTR_NOT_NULL(strstr(answered->error, text));
	if (answered->answer.end != end || strstr(answered->error, text) == NULL)
		printf("\n  %s: %d (%d) \"%s\", not \"%s\"\n", url, answered->answer.end, answered->answer.status, answered->error,
		    text);
}

static json_t *echoed(const struct http_request *request)
{
	const struct answered *answered = ask(request);
	CU_ASSERT_EQUAL(answered->answer.end, HTTP_ANSWERED);
	CU_ASSERT_EQUAL(answered->answer.status, 200);
	json_t *echo = json_loads(answered->body, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(echo);
	return echo;
}

static const char *text_of(const json_t *echo, const char *name)
{
	return json_string_value(json_object_get(echo, name));
}

static const char *header_of(const json_t *echo, const char *name)
{
	return text_of(json_object_get(echo, "headers"), name);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void test_what_is_sent(void)
{
	const char *headers[] = { "Content-Type: text/x", "X-One: a: b", "X-Empty;", "User-Agent: me" };
	struct http_request request = request_to(at("/echo/a?b=c"));
	request.method = "PUT";
	request.headers = headers;
	request.header_count = 4;
	request.body = "b\xc3\xa4";
	request.body_bytes = 3;
	json_t *echo = echoed(&request);
	CU_ASSERT_STRING_EQUAL(text_of(echo, "method"), "PUT");
	CU_ASSERT_STRING_EQUAL(text_of(echo, "path"), "/echo/a?b=c");
	CU_ASSERT_STRING_EQUAL(text_of(echo, "body"), "b\xc3\x83\xc2\xa4"); /* as Latin-1 */
	CU_ASSERT_STRING_EQUAL(header_of(echo, "Content-Type"), "text/x");
	CU_ASSERT_STRING_EQUAL(header_of(echo, "Content-Length"), "3");
	CU_ASSERT_STRING_EQUAL(header_of(echo, "X-One"), "a: b");
	CU_ASSERT_STRING_EQUAL(header_of(echo, "User-Agent"), "me");
	CU_ASSERT_EQUAL(json_object_size(json_object_get(echo, "headers")), 6); /* and Host, Accept; X-Empty has no ": " */
	json_decref(echo);

	static const struct { const char *method, *length; } rows[] = { { "GET", NULL }, { "POST", "0" }, { "PATCH", "0" },
		{ "PUT", "0" }, { "DELETE", NULL }, { "OPTIONS", NULL } };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		request = request_to(at("/echo"));
		request.method = rows[i].method;
		echo = echoed(&request);
		CU_ASSERT_STRING_EQUAL(text_of(echo, "method"), rows[i].method);
		const char *length = header_of(echo, "Content-Length");
		CU_ASSERT_TRUE(rows[i].length == NULL ? length == NULL : length != NULL && strcmp(length, rows[i].length) == 0);
		CU_ASSERT_PTR_NULL(header_of(echo, "Content-Type"));
		CU_ASSERT_PTR_NULL(header_of(echo, "Expect"));
		CU_ASSERT_PTR_NOT_NULL(strstr(header_of(echo, "User-Agent"), "taskring/"));
		json_decref(echo);
	}
	request.method = "HEAD";
	const struct answered *answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.status, 200);
	CU_ASSERT_EQUAL(answered->answer.body_bytes, 0);
	CU_ASSERT_STRING_EQUAL(answered->content_type, "application/json");
}

static void test_statuses_and_bodies(void)
{
	struct http_request request = request_to(at("/status/404"));
	const struct answered *answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.status, 404);
	CU_ASSERT_STRING_EQUAL(answered->body, "this is 404");
	CU_ASSERT_FALSE(answered->answer.body_cut);

	request.url = at("/bytes/4096");
	answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.body_bytes, 4096);
	CU_ASSERT_FALSE(answered->answer.body_cut);
	request.url = at("/bytes/4097");
	answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.body_bytes, 4096);
	CU_ASSERT_TRUE(answered->answer.body_cut);
	/* A huge one is not read to its end; it was an answer all the same. */
	request.url = at("/bytes/100000000");
	answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.end, HTTP_ANSWERED);
	CU_ASSERT_EQUAL(answered->answer.status, 200);
	CU_ASSERT_EQUAL(answered->answer.body_bytes, 4096);
	CU_ASSERT_TRUE(answered->answer.body_cut);
}

static uint64_t retry_after(const char *path)
{
	struct http_request request = request_to(at(path));
	const struct answered *answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.status, 429);
	return answered->answer.retry_after_ms;
}

static void test_retry_after(void)
{
	char path[200], date[100];
	CU_ASSERT_EQUAL(retry_after("/retry/429/120"), 120000);
	CU_ASSERT_EQUAL(retry_after("/retry/429/0"), 0);
	CU_ASSERT_EQUAL(retry_after("/retry/429/-5"), 0);
	CU_ASSERT_EQUAL(retry_after("/retry/429/soon"), 0);
	CU_ASSERT_EQUAL(retry_after("/status/429"), 0);
	CU_ASSERT_TRUE(retry_after("/retry/429/99999999999999999999999") < INT64_MAX);
	time_t then = time(NULL) + 90;
	strftime(date, sizeof date, "%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT", gmtime(&then));
	snprintf(path, sizeof path, "/retry/429/%s", date);
	uint64_t ms = retry_after(path);
	CU_ASSERT_TRUE(ms > 80000 && ms <= 90000);
	CU_ASSERT_EQUAL(retry_after("/retry/429/Thu,%2001%20Jan%202015%2000:00:00%20GMT"), 0);
}

/* ---- failures ---------------------------------------------------------------------------- */

static void test_failures(void)
{
	expect_failed(at("/close"), &private_too, HTTP_FAILED, "Empty reply from server");
	expect_failed(at("/broken"), &private_too, HTTP_FAILED, "transfer closed");
	expect_failed(at("/garbage"), &private_too, HTTP_FAILED, "HTTP/0.9");
	expect_failed(at("/headers"), &private_too, HTTP_FAILED, "headers are longer than 65536 bytes");
	expect_failed("http://127.0.0.1:1/", &private_too, HTTP_FAILED, "Failed to connect");
	expect_failed("http://name.invalid/", &private_too, HTTP_FAILED, "resolve");
	expect_failed("http://127.0.0.1:99999/", &private_too, HTTP_REFUSED, "");
	expect_failed("http://[::zz]/", &private_too, HTTP_REFUSED, "");
	expect_failed("http://a:b@127.0.0.1/", &private_too, HTTP_REFUSED, "");
	expect_failed("ftp://127.0.0.1/", &private_too, HTTP_REFUSED, "");
	expect_failed("file:///etc/passwd", &private_too, HTTP_REFUSED, "");
}

static void test_time(void)
{
	static const char *const paths[] = { "/stall", "/drip" };
	for (size_t i = 0; i < 2; i++) {
		struct http_request request = request_to(at(paths[i]));
		request.timeout_ms = 300;
		const struct answered *answered = ask(&request);
		CU_ASSERT_EQUAL(answered->answer.end, HTTP_FAILED);
		CU_ASSERT_PTR_NOT_NULL(strstr(answered->error, "timed out"));
		CU_ASSERT_TRUE(answered->answer.took_ms >= 250 && answered->answer.took_ms < TIMEOUT_MS);
	}
}

static void test_aborted(void)
{
	struct answered answered[3];
	struct http_request stall = request_to(at("/stall")), quick = request_to(at("/status/200"));
	struct transfer *one = start(&stall, &answered[0]);
	struct transfer *other = start(&stall, &answered[1]);
	module->abort_http(other); /* before it has begun */
	start(&quick, &answered[2]);
	play_loop(&answered[2].done);
	module->abort_http(one);
	CU_ASSERT_FALSE(answered[0].done || answered[1].done);
}

/* ---- addresses --------------------------------------------------------------------------- */

static void test_addresses(void)
{
	char url[300];
	/* However it is written: what counts is what is connected to. */
	static const char *const hosts[] = { "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1",
		"[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "LOCALHOST", "0.0.0.0", "0", "10.0.0.1", "169.254.169.254",
		"[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "224.0.0.1", "255.255.255.255" };
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		snprintf(url, sizeof url, "http://%s:%u/status/200", hosts[i], port);
		expect_failed(url, &strict, HTTP_REFUSED, "must not be connected to: it is ");
	}
	/* Not over a connection either that a request with other rules has left. */
	expect_failed(at("/status/200"), &strict, HTTP_REFUSED, "127.0.0.1 must not be connected to: it is a loopback address");
	struct http_request request = request_to(at("/status/200"));
	CU_ASSERT_EQUAL(ask(&request)->answer.status, 200);
}

/* The first server may be asked, what it redirects to may not: allowed is 127.0.0.1 alone. */
static void test_addresses_behind_redirects(void)
{
	struct http_network only;
	CU_ASSERT_TRUE_FATAL(http_network_parse(&only, "127.0.0.1"));
	struct http_address_rules rules = { .allowed = &only, .allowed_count = 1 };
	char path[300];
	static const char *const hosts[] = { "127.0.0.2", "[::1]", "10.0.0.1", "169.254.169.254" };
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		snprintf(path, sizeof path, "/to/302/http:%%2f%%2f%s:%u%%2fstatus%%2f200", hosts[i], port);
		expect_failed(at(path), &rules, HTTP_REFUSED, "must not be connected to: it is ");
	}
}

/* ---- redirects --------------------------------------------------------------------------- */

static void test_redirects(void)
{
	char path[1000];
	struct http_request request = request_to(at("/to/302/%2fecho"));
	const struct answered *answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.status, 302);
	CU_ASSERT_STRING_EQUAL(answered->location, "/echo");
	CU_ASSERT_EQUAL(answered->answer.redirects, 0);

	const char *headers[] = { "Content-Type: text/x", "Idempotency-Key: k", "Authorization: secret" };
	static const struct { const char *status, *method, *then; bool body; } rows[] = {
		{ "301", "POST", "GET", false }, { "302", "POST", "GET", false }, { "303", "POST", "GET", false },
		{ "307", "POST", "POST", true }, { "308", "POST", "POST", true }, { "302", "PUT", "PUT", true },
		{ "303", "PUT", "GET", false },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* Once to the same origin, once to another. */
		for (int other = 0; other < 2; other++) {
			snprintf(path, sizeof path, other ? "/to/%s/http:%%2f%%2flocalhost:%u%%2fecho" : "/to/%s/%%2fecho", rows[i].status,
			    port);
			request = request_to(at(path));
			request.method = rows[i].method;
			request.headers = headers;
			request.header_count = 3;
			request.public_header_count = 2;
			request.body = "body";
			request.body_bytes = 4;
			request.redirects = 1;
			json_t *echo = echoed(&request);
			CU_ASSERT_STRING_EQUAL(text_of(echo, "method"), rows[i].then);
			CU_ASSERT_STRING_EQUAL(text_of(echo, "body"), rows[i].body ? "body" : "");
			CU_ASSERT_EQUAL(header_of(echo, "Content-Type") != NULL, rows[i].body);
			CU_ASSERT_STRING_EQUAL(header_of(echo, "Idempotency-Key"), "k");
			CU_ASSERT_EQUAL(header_of(echo, "Authorization") == NULL, other == 1);
			json_decref(echo);
		}
	}
	/* One too many: two of them, one is followed. */
	request = request_to(at("/to/302/%2fto%2f302%2f%252fecho"));
	request.redirects = 1;
	answered = ask(&request);
	CU_ASSERT_EQUAL(answered->answer.status, 302);
	CU_ASSERT_EQUAL(answered->answer.redirects, 1);
	request.redirects = 2;
	CU_ASSERT_EQUAL(ask(&request)->answer.status, 200);

	expect_failed(at("/to/302/ftp:%2f%2fa%2f"), &private_too, HTTP_REFUSED, "neither http nor https");
	expect_failed(at("/to/302/file:%2f%2f%2fetc%2fpasswd"), &private_too, HTTP_REFUSED, "redirected to");
	expect_failed(at("/to/302/http:%2f%2fu:p@127.0.0.1%2f"), &private_too, HTTP_REFUSED, "no URL for us");
	expect_failed(at("/to/302/http:%2f%2f"), &private_too, HTTP_REFUSED, "no URL for us");
}

/* ---- many -------------------------------------------------------------------------------- */

static void test_many_at_once(void)
{
	enum { MANY = 200 };
	static struct answered answered[MANY];
	char url[100];
	snprintf(url, sizeof url, "http://localhost:%u/slow/300", port); /* names, too: more than may be looked up at once */
	struct http_request request = request_to(url);
	struct timespec begun, ended;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (int i = 0; i < MANY; i++)
		start(&request, &answered[i]);
	for (int i = 0; i < MANY; i++) {
		play_loop(&answered[i].done);
		CU_ASSERT_EQUAL(answered[i].answer.end, HTTP_ANSWERED);
		CU_ASSERT_EQUAL(answered[i].answer.status, 200);
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	CU_ASSERT_TRUE(ended.tv_sec - begun.tv_sec < MANY * 300 / 1000 / 2); /* not one after the other */

	/* Connections are kept. */
	request.url = at("/echo");
	json_t *echo = echoed(&request);
	json_int_t before = json_integer_value(json_object_get(echo, "connections"));
	json_decref(echo);
	for (int i = 0; i < 5; i++) {
		echo = echoed(&request);
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(echo, "connections")), before);
		json_decref(echo);
	}
}

/* ---- the run ----------------------------------------------------------------------------- */

static bool start_server(void)
{
	int ends[2];
	char line[32] = "";
	if (pipe(ends) != 0)
		return false;
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		execl("/usr/bin/python3", "python3", "tests/system/http_server.py", NULL);
		_exit(127);
	}
	close(ends[1]);
	FILE *output = fdopen(ends[0], "r");
	bool well = server > 0 && output != NULL && fgets(line, sizeof line, output) != NULL &&
	    strncmp(line, "port ", 5) == 0;
	port = well ? (unsigned)strtoul(line + 5, NULL, 10) : 0;
	if (output != NULL)
		fclose(output);
	return well;
}

static int set_up(void)
{
	return start_server() && play_transfers_open() ? 0 : 1;
}

static int tear_down(void)
{
	int status;
	kill(server, SIGTERM);
	waitpid(server, &status, 0);
	return play_transfers_close() ? 0 : 1;
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_what_is_sent),
		SUITE_TEST(test_statuses_and_bodies),
		SUITE_TEST(test_retry_after),
		SUITE_TEST(test_failures),
		SUITE_TEST(test_time),
		SUITE_TEST(test_aborted),
		SUITE_TEST(test_addresses),
		SUITE_TEST(test_addresses_behind_redirects),
		SUITE_TEST(test_redirects),
		SUITE_TEST(test_many_at_once),
	};

	signal(SIGPIPE, SIG_IGN);
	return RUN_TESTS_WITHIN("http transfers", set_up, tear_down, tests);
}
