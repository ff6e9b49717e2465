/* What comes in from a client and from the command line: heads of requests, e-mail addresses, options. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/email.h"
#include "app/options.h"
#include "app/request_head.h"
#include "tests/unit/runner.h"

static struct web_request request;

static void read_uri(const char *uri)
{
	const struct request_head head = { .method = "GET", .uri = uri };
	request_head_read(&head, &request);
}

static void test_paths(void)
{
	static const struct {
		const char *uri;
		int fault_status;
		const char *path;
	} rows[] = {
		{ "/", 0, "/" }, { "/register?x=1", 0, "/register" }, { "/a%20b#c", 0, "/a b" },
		{ "/%41%6a%C3%A4", 0, "/Aj\xc3\xa4" }, { "", 400, NULL }, { "*", 400, NULL },
		{ "register", 400, NULL }, { "/%", 400, NULL }, { "/%4", 400, NULL }, { "/%4g", 400, NULL },
		{ "/%00", 400, NULL }, { "/%0a", 400, NULL }, { "/\x7f", 400, NULL }, { "/\x01", 400, NULL },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		read_uri(rows[i].uri);
		CU_ASSERT_EQUAL(request.fault_status, rows[i].fault_status);
		if (rows[i].path != NULL)
			CU_ASSERT_STRING_EQUAL(request.path, rows[i].path);
	}
}

static void test_queries(void)
{
	read_uri("/tasks?limit=5&a=%20#x");
	CU_ASSERT_STRING_EQUAL(request.path, "/tasks");
	CU_ASSERT_STRING_EQUAL(request.query, "limit=5&a=%20#x");
	read_uri("/tasks");
	CU_ASSERT_STRING_EQUAL(request.query, "");
	const struct request_head all = { .method = "OPTIONS", .uri = "*" };
	request_head_read(&all, &request);
	CU_ASSERT_EQUAL(request.fault_status, 0);
	CU_ASSERT_STRING_EQUAL(request.path, "*");
}

static void test_long_paths(void)
{
	static char uri[9000];
	memset(uri, 'a', sizeof(uri) - 1);
	uri[0] = '/';
	uri[WEB_PATH_MAX] = '\0';
	read_uri(uri);
	CU_ASSERT_EQUAL(request.fault_status, 0);
	CU_ASSERT_EQUAL(strlen(request.path), WEB_PATH_MAX);
	uri[WEB_PATH_MAX] = 'a';
	uri[WEB_PATH_MAX + 1] = '\0';
	read_uri(uri);
	CU_ASSERT_EQUAL(request.fault_status, 414);
	uri[WEB_PATH_MAX + 1] = 'a';
	read_uri(uri);
	CU_ASSERT_EQUAL(request.fault_status, 414);
}

static void test_missing_variables(void)
{
	const struct request_head nothing = { .method = NULL };
	request_head_read(&nothing, &request);
	CU_ASSERT_EQUAL(request.fault_status, 400);
	CU_ASSERT_STRING_EQUAL(request.content_type, "");
	CU_ASSERT_PTR_NULL(request.body);
	CU_ASSERT_STRING_EQUAL(request.authorization, "");
	CU_ASSERT_EQUAL(strlen(request.request_id), 32); /* one of our own */
	const struct request_head strange = { .method = "get", .uri = "/" };
	request_head_read(&strange, &request);
	CU_ASSERT_EQUAL(request.fault_status, 0);
	CU_ASSERT_EQUAL(request.method, METHOD_OTHER);
}

static void test_request_ids(void)
{
	struct request_head head = { .method = "GET", .uri = "/", .client_request_id = "aB3-_.", .server_request_id = "server" };
	request_head_read(&head, &request);
	CU_ASSERT_STRING_EQUAL(request.request_id, "aB3-_.");
	head.client_request_id = "has space";
	request_head_read(&head, &request);
	CU_ASSERT_STRING_EQUAL(request.request_id, "server");
	head.client_request_id = "\r\nX-Evil: 1";
	head.server_request_id = "0123456789012345678901234567890123456789012345678901234567890123x";
	request_head_read(&head, &request);
	CU_ASSERT_EQUAL(strlen(request.request_id), 32);
	CU_ASSERT_EQUAL(strspn(request.request_id, "0123456789abcdef"), 32);
}

static void test_trace(void)
{
	static const struct {
		const char *text;
		bool well;
	} rows[] = {
		{ "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true },
		{ "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", true },
		{ "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", false },
		{ "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false },
		{ "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false },
		{ "00-00000000000000000000000000000000-b7ad6b7169203331-01", false },
		{ "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false },
		{ "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false },
		{ "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false },
		{ "", false },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(request_head_trace_ok(rows[i].text), rows[i].well);
		const struct request_head head = { .method = "GET", .uri = "/", .traceparent = rows[i].text,
			.client_request_id = "rid" };
		request_head_read(&head, &request);
		CU_ASSERT_EQUAL(strlen(request.trace), 55);
		/* Of a later version what version 00 has; of none at all one of our own, not sampled. */
		CU_ASSERT_TRUE(rows[i].well == (strncmp(request.trace + 2, rows[i].text + (rows[i].well ? 2 : 0), 53) == 0));
		CU_ASSERT_TRUE(strncmp(request.trace, "00-", 3) == 0 && request_head_trace_ok(request.trace));
		CU_ASSERT_TRUE(rows[i].well || strcmp(request.trace + 52, "-00") == 0);
	}
	const struct request_head none = { .method = "GET", .uri = "/", .server_request_id = "0af7651916cd43dd8448eb211c80319c" };
	request_head_read(&none, &request);
	CU_ASSERT_EQUAL(strncmp(request.trace, "00-0af7651916cd43dd8448eb211c80319c-", 36), 0); /* the request's id */
	const struct request_head zeros = { .method = "GET", .uri = "/", .client_request_id = "00000000000000000000000000000000" };
	request_head_read(&zeros, &request);
	CU_ASSERT_TRUE(request_head_trace_ok(request.trace)); /* which that id cannot be */
}

static int read_length(const char *length)
{
	const struct request_head head = { .method = "POST", .uri = "/", .content_length = length };
	request_head_read(&head, &request);
	return request.fault_status;
}

static void test_lengths(void)
{
	CU_ASSERT_TRUE(read_length("0") == 0 && request.declared_bytes == 0);
	CU_ASSERT_TRUE(read_length("18446744073709551614") == 0 && request.declared_bytes == SIZE_MAX - 1);
	CU_ASSERT_TRUE(read_length(NULL) == 0 && request.declared_bytes == SIZE_MAX);
	CU_ASSERT_TRUE(read_length("") == 0 && request.declared_bytes == SIZE_MAX);
	static const char *const bad[] = { "-1", "+1", " 1", "1 ", "1e3", "0x10", "18446744073709551615",
		"18446744073709551616", "99999999999999999999999999" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(read_length(bad[i]), 400);
}

static void test_emails(void)
{
	static const char *const good[] = { "ada@example.org", "a@b.cc", "first.last+tag@sub.example-one.org",
		"!#$%&'*+-/=?^_`{|}~@example.org", "1@2.x3" };
	static const char *const bad[] = { "", "ada", "@example.org", "ada@", "ada@localhost", ".ada@example.org",
		"ada.@example.org", "a..b@example.org", "a b@example.org", "ada@exa mple.org", "ada@-example.org",
		"ada@example-.org", "ada@example..org", "ada@.org", "ada@example.org.", "ada@127.0.0.1", "a@b@example.org",
		"ada@example.org\nBcc: x@y.zz", "<ada@example.org>", "ad\xc3\xa4@example.org", "\"a\"@example.org",
		"ada@[127.0.0.1]", "ada,bob@example.org" };
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CU_ASSERT_PTR_NULL(email_fault(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_PTR_NOT_NULL(email_fault(bad[i]));
}

/* local@ and labels of 63 letters, `bytes` in all. */
static const char *long_email(size_t local_bytes, size_t bytes)
{
	static char address[400];
	memset(address, 'a', sizeof(address));
	address[local_bytes] = '@';
	for (size_t i = local_bytes + 64; i + 1 < bytes; i += 64)
		address[i] = '.';
	address[bytes] = '\0';
	return address;
}

static void test_email_lengths(void)
{
	CU_ASSERT_PTR_NULL(email_fault(long_email(64, 254)));
	CU_ASSERT_PTR_NOT_NULL(email_fault(long_email(64, 255)));
	CU_ASSERT_PTR_NOT_NULL(email_fault(long_email(65, 200)));
}

static void test_options(void)
{
	char *good[] = { "taskring-app", "-s", "/x/y", "-p", "3", "-t", "5", "-n", "one", "-d", "disk", "-m", "660", "-b", "2", NULL };
	struct options options;
	optind = 1;
	CU_ASSERT_EQUAL_FATAL(options_read(15, good, &options), -1);
	CU_ASSERT_STRING_EQUAL(options.socket, "/x/y");
	CU_ASSERT_EQUAL(options.processes, 3);
	CU_ASSERT_EQUAL(options.threads, 5);
	CU_ASSERT_EQUAL(options.open.mode, 0660);
	CU_ASSERT_EQUAL(options.web.durability, TR_DISK);
	CU_ASSERT_EQUAL(options.web.body_limit_bytes, 2048);
	CU_ASSERT_EQUAL(options.web.upload.at_once, 2); /* half of the threads */
	char *more[] = { "taskring-app", "-p", "0", "-u", "2", "-f", "0", "-k", "3", "-c", "9", "-r", "4", "-R", "5", "-a", "server", NULL };
	optind = 1;
	CU_ASSERT_EQUAL_FATAL(options_read(17, more, &options), -1);
	CU_ASSERT_STRING_EQUAL(options.socket, "inherited");
	CU_ASSERT_EQUAL(options.processes, 0);
	CU_ASSERT_EQUAL(options.web.upload.most_bytes, 2u << 20);
	CU_ASSERT_EQUAL(options.web.upload.free_bytes, 0);
	CU_ASSERT_EQUAL(options.web.upload.at_once, 3);
	CU_ASSERT_EQUAL(options.fcgi.connections, 9);
	CU_ASSERT_EQUAL(options.fcgi.timeout_ms, 4000);
	CU_ASSERT_EQUAL(options.fcgi.bytes_per_s, 5);
	CU_ASSERT_EQUAL(options.access_log, ACCESS_LOG_SERVER);
	char *bad[][3] = { { "-u", "0" }, { "-k", "0" }, { "-c", "0" }, { "-c", "8193" }, { "-r", "0" }, { "-R", "0" },
		{ "-a", "syslog" }, { "-p", "257" }, { "-p", "-1" }, { "-p", "2x" }, { "-p", "" }, { "-m", "8" },
		{ "-m", "777" }, { "-m", "060" }, { "-d", "paper" }, { "-l", "loud" }, { "-g", "0" },
		{ "-A", "HTTP_X_USER" }, { "-A", "overwritten:" }, { "-A", "remote_user" }, { "-A", "REMOTE_USER" /* without -T */ },
		{ "-N", "ada" }, { "-N", "ada:boss" }, { "-N", ":reader" }, { "-N", "anybody:reader" }, { "-N", "a b:reader" } };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *arguments[] = { "taskring-app", bad[i][0], bad[i][1], NULL };
		optind = 1;
		CU_ASSERT_EQUAL(options_read(3, arguments, &options), 2);
	}
	char *users[] = { "taskring-app", "-T", "tokens", "-A", "overwritten:HTTP_X_USER", NULL };
	optind = 1;
	CU_ASSERT_EQUAL(options_read(5, users, &options), -1);
	CU_ASSERT_STRING_EQUAL(options.fcgi.user_parameter, "HTTP_X_USER");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_paths),
		SUITE_TEST(test_queries),
		SUITE_TEST(test_long_paths),
		SUITE_TEST(test_missing_variables),
		SUITE_TEST(test_request_ids),
		SUITE_TEST(test_trace),
		SUITE_TEST(test_lengths),
		SUITE_TEST(test_emails),
		SUITE_TEST(test_email_lengths),
		SUITE_TEST(test_options),
	};

	return RUN_TESTS("request", tests);
}
