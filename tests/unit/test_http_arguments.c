/* The arguments of an "http" task: what becomes of them, and what is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskd/http_arguments.h"
#include "taskd/http_body.h"
#include "tests/unit/runner.h"

#define TASK_ID "019424f8-6088-7000-8000-00000000002a"
#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static const struct http_defaults defaults = { .task_id = TASK_ID, .trace = "", .timeout_ms = 30000,
	.connect_timeout_ms = 10000 };

static struct http_arguments read_with(const char *args, const struct http_defaults *with)
{
	struct http_arguments arguments;
	struct tr_error error = { "" };
	enum tr_result result = http_arguments_read(&arguments, args, with, &error);
	if (result != TR_OK)
		printf("\n  %s: %s\n", args, error.text);
	CU_ASSERT_EQUAL_FATAL(result, TR_OK);
	return arguments;
}

static struct http_arguments read_well(const char *args)
{
	return read_with(args, &defaults);
}

static void refuses(const char *args, const char *text)
{
	struct http_arguments arguments;
	struct tr_error error = { "" };
	CU_ASSERT_EQUAL(http_arguments_read(&arguments, args, &defaults, &error), TR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, text));
	if (strstr(error.text, text) == NULL)
		printf("\n  %s: \"%s\", not \"%s\"\n", args, error.text, text);
}

/* All header lines, joined by "|", with the number of public ones before. */
static const char *head_of(const struct http_arguments *arguments)
{
	static char text[4096];
	size_t used = (size_t)snprintf(text, sizeof text, "%zu", arguments->public_header_count);
	for (size_t i = 0; i < arguments->header_count; i++)
		used += (size_t)snprintf(text + used, sizeof text - used, "|%s", arguments->headers[i]);
	return text;
}

static void expect_head(const char *args, const char *trace, const char *head)
{
	struct http_defaults with = defaults;
	with.trace = trace;
	struct http_arguments arguments = read_with(args, &with);
	CU_ASSERT_STRING_EQUAL(head_of(&arguments), head);
	if (strcmp(head_of(&arguments), head) != 0)
		printf("\n  %s\n", head_of(&arguments));
	http_arguments_clear(&arguments);
}

/* ---- what is taken ----------------------------------------------------------------------- */

static void test_defaults(void)
{
	struct http_arguments arguments = read_well("{\"url\":\"https://example.org/a?b=c#d\"}");
	CU_ASSERT_STRING_EQUAL(arguments.url, "https://example.org/a?b=c#d");
	CU_ASSERT_STRING_EQUAL(arguments.method, "GET");
	CU_ASSERT_PTR_NULL(arguments.body);
	CU_ASSERT_EQUAL(arguments.timeout_ms, 30000);
	CU_ASSERT_EQUAL(arguments.connect_timeout_ms, 10000);
	CU_ASSERT_EQUAL(arguments.redirects, 0);
	CU_ASSERT_EQUAL(arguments.expect_count, 0);
	CU_ASSERT_EQUAL(arguments.header_count, 0);
	http_arguments_clear(&arguments);
	CU_ASSERT_PTR_NULL(arguments.url);
}

static void test_everything(void)
{
	struct http_arguments arguments = read_well("{\"url\":\"HTTP://[2001:db8::1]:8080\",\"method\":\"DELETE\",\"body\":\"\","
	                                            "\"timeout_ms\":1,\"connect_timeout_ms\":3600000,\"follow\":5,\"expect\":[200,404]}");
	CU_ASSERT_STRING_EQUAL(arguments.method, "DELETE");
	CU_ASSERT_STRING_EQUAL(arguments.body, "");
	CU_ASSERT_EQUAL(arguments.body_bytes, 0);
	CU_ASSERT_EQUAL(arguments.timeout_ms, 1);
	CU_ASSERT_EQUAL(arguments.connect_timeout_ms, 3600000);
	CU_ASSERT_EQUAL(arguments.redirects, 5);
	CU_ASSERT_EQUAL(arguments.expect_count, 2);
	CU_ASSERT_EQUAL(arguments.expect[1], 404);
	http_arguments_clear(&arguments);
	arguments = read_well("{\"url\":\"http://h\",\"expect\":204}");
	CU_ASSERT_EQUAL(arguments.expect_count, 1);
	CU_ASSERT_EQUAL(arguments.expect[0], 204);
	http_arguments_clear(&arguments);
}

static void expect_body(const char *args, const char *method, const char *body)
{
	struct http_arguments arguments = read_well(args);
	CU_ASSERT_STRING_EQUAL(arguments.method, method);
	CU_ASSERT_STRING_EQUAL(arguments.body, body);
	CU_ASSERT_EQUAL(arguments.body_bytes, strlen(body));
	http_arguments_clear(&arguments);
}

/* JSON goes out to the digit and the blank. */
static void test_bodies(void)
{
	expect_body("{\"url\":\"http://h\",\"body\":\"\\u00e4\\n\"}", "POST", "\xc3\xa4\n");
	expect_body("{\"url\":\"http://h\",\"method\":\"PATCH\",\"body\":\"x\"}", "PATCH", "x");
	expect_body("{\"url\":\"http://h\",\"json\":null}", "POST", "null");
	expect_body("{\"json\":\"a\\\"}\",\"url\":\"http://h\"}", "POST", "\"a\\\"}\"");
}

static void test_json_as_written(void)
{
	expect_body(" {\"url\" : \"http://h\" ,\n \"json\" : { \"a\" : [0.10, 1.0e2, {\"]\":\"}\"}], \"json\": 1 } } ", "POST",
	    "{ \"a\" : [0.10, 1.0e2, {\"]\":\"}\"}], \"json\": 1 }");
	expect_body("{\"headers\":{\"json\":\"no\"},\"json\":[1,2],\"url\":\"http://h\"}", "POST", "[1,2]");
	expect_body("{\"json\":-1.50\t,\"url\":\"http://h\"}", "POST", "-1.50");
	expect_body("{\"json\":true,\"url\":\"http://h\"}", "POST", "true");
	refuses("{\"url\":\"http://h\",\"\\u006ason\":1}", "\"json\" must be written without escapes");
}

static void test_headers(void)
{
	expect_head("{\"url\":\"http://h\",\"headers\":{\"X-A\":\"b\",\"x-empty\":\"\"}}", "", "0|X-A: b|x-empty;");
	expect_head("{\"url\":\"http://h\",\"body\":\"\"}", "",
	    "2|Content-Type: text/plain; charset=utf-8|Idempotency-Key: " TASK_ID);
	expect_head("{\"url\":\"http://h\",\"json\":1,\"headers\":{\"Authorization\":\"s\"}}", "",
	    "2|Content-Type: application/json|Idempotency-Key: " TASK_ID "|Authorization: s");
	expect_head("{\"url\":\"http://h\",\"json\":1,\"headers\":{\"content-TYPE\":\"application/ld+json\",\"IDEMPOTENCY-key\":\"k\"}}",
	    "", "1|Content-Type: application/ld+json|IDEMPOTENCY-key: k");
	expect_head("{\"url\":\"http://h\",\"method\":\"DELETE\"}", TRACEPARENT,
	    "2|Idempotency-Key: " TASK_ID "|traceparent: " TRACEPARENT);
	expect_head("{\"url\":\"http://h\"}", "request-17", "1|X-Request-ID: request-17");
	expect_head("{\"url\":\"http://h\",\"headers\":{\"x-request-id\":\"mine\"}}", "request-17", "0|x-request-id: mine");
	expect_head("{\"url\":\"http://h\"}", TRACEPARENT ";request_id=r-1", "2|traceparent: " TRACEPARENT "|X-Request-ID: r-1");
	expect_head("{\"url\":\"http://h\"}", TRACEPARENT ";",
	    "2|traceparent: " TRACEPARENT "|X-Request-ID: 0af7651916cd43dd8448eb211c80319c");
	expect_head("{\"url\":\"http://h\"}", TRACEPARENT ";other", "1|traceparent: " TRACEPARENT);
	expect_head("{\"url\":\"http://h\"}", "a;id=b", "1|X-Request-ID: a;id=b");
	/* What no header can hold is not passed on. */
	expect_head("{\"url\":\"http://h\"}", "a\r\nb: c", "0");
	expect_head("{\"url\":\"http://h\",\"headers\":{\"!#$%&'*+-.^_`|~09AZaz\":\"~ \\\" :;\"}}", "",
	    "0|!#$%&'*+-.^_`|~09AZaz: ~ \" :;");
}

/* ---- what is refused --------------------------------------------------------------------- */

static void test_refused_members(void)
{
	refuses("[]", "must be a JSON object");
	refuses("{\"url\":\"http://h\",\"uri\":1}", "\"uri\" is not a field");
	refuses("{\"url\":\"http://h\",\"url\":\"http://i\"}", "duplicate");
	refuses("{\"url\":\"http://h\",\"body\":\"a\\u0000\"}", "\\u0000");
	refuses("{\"url\":\"http://h\",\"body\":1}", "\"body\" must be a string");
	refuses("{\"url\":\"http://h\",\"body\":\"\",\"json\":1}", "both given");
	refuses("{\"url\":\"http://h\",\"method\":\"GET\",\"json\":1}", "\"method\" GET has no body");
	refuses("{\"url\":\"http://h\",\"method\":\"HEAD\",\"body\":\"\"}", "\"method\" HEAD has no body");
	refuses("{\"url\":\"http://h\",\"method\":\"get\"}", "\"method\" must be one of");
	refuses("{\"url\":\"http://h\",\"method\":\"CONNECT\"}", "\"method\" must be one of");
	refuses("{\"url\":\"http://h\",\"method\":\"GET /\\r\\nX: y\"}", "\"method\" must be one of");
	refuses("{\"url\":\"http://h\",\"method\":null}", "\"method\" must be one of");
	refuses("{\"url\":\"http://h\",\"timeout_ms\":0}", "\"timeout_ms\" must be a whole number from 1 to 3600000");
	refuses("{\"url\":\"http://h\",\"timeout_ms\":3600001}", "\"timeout_ms\"");
	refuses("{\"url\":\"http://h\",\"timeout_ms\":1.5}", "\"timeout_ms\"");
	refuses("{\"url\":\"http://h\",\"connect_timeout_ms\":\"1\"}", "\"connect_timeout_ms\"");
	refuses("{\"url\":\"http://h\",\"follow\":6}", "\"follow\" must be a whole number from 0 to 5");
	refuses("{\"url\":\"http://h\",\"follow\":true}", "\"follow\"");
	refuses("{\"url\":\"http://h\",\"expect\":[]}", "\"expect\"");
	refuses("{\"url\":\"http://h\",\"expect\":199}", "\"expect\"");
	refuses("{\"url\":\"http://h\",\"expect\":[200,600]}", "\"expect\"");
	refuses("{\"url\":\"http://h\",\"expect\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21]}", "\"expect\"");
}

static void test_refused_urls(void)
{
	refuses("{}", "\"url\" is missing");
	refuses("{\"url\":1}", "\"url\" must be a string");
	static const struct { const char *url, *text; } rows[] = {
		{ "", "http:// or https://" }, { "h", "http:// or https://" }, { "//h", "http:// or https://" },
		{ "ftp://h", "http:// or https://" }, { "file:///etc/passwd", "http:// or https://" },
		{ "http:/h", "http:// or https://" }, { "gopher://h:25/x", "http:// or https://" },
		{ "http://", "names no host" }, { "http:///a", "names no host" }, { "http://:80", "names no host" },
		{ "https://?a", "names no host" }, { "http://u@h", "user name" }, { "http://u:p@h/", "user name" },
		{ "http://a@b@h", "user name" }, { "http://[fe80::1%25eth0]/", "zone" }, { "http://h%00/", "zone" },
		{ "http://h/ a", "percent-encoded" }, { "http://h/\\ta", "percent-encoded" },
		{ "http://h/a\\r\\nHost: b", "percent-encoded" }, { "http://h\\\\@b", "percent-encoded" },
		{ "http://h/\\u00e4", "percent-encoded" }, { "http://h/\\u007f", "percent-encoded" },
		{ " http://h", "percent-encoded" }, { "http://h/\\\"", "percent-encoded" }, { "http://h/{}", "percent-encoded" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char args[200];
		snprintf(args, sizeof args, "{\"url\":\"%s\"}", rows[i].url);
		refuses(args, rows[i].text);
	}
	char *args = calloc(1, HTTP_URL_MAX + 100);
	CU_ASSERT_PTR_NOT_NULL_FATAL(args);
	if (args == NULL)
		return;
	strcpy(args, "{\"url\":\"http://h/");
	memset(args + strlen(args), 'a', HTTP_URL_MAX - strlen("http://h/"));
	size_t end = strlen(args);
	strcpy(args + end, "\"}");
	struct http_arguments arguments = read_well(args);
	http_arguments_clear(&arguments);
	strcpy(args + end, "a\"}");
	refuses(args, "\"url\" is longer than 8000 bytes");
	free(args);
}

static void test_refused_headers(void)
{
	static const struct { const char *headers, *text; } rows[] = {
		{ "[]", "must be an object" }, { "null", "must be an object" }, { "{\"\":\"a\"}", "a name must be" },
		{ "{\"a b\":\"\"}", "a name must be" }, { "{\"a:\":\"\"}", "a name must be" }, { "{\"a\\r\\nb\":\"\"}", "a name must be" },
		{ "{\"\\u00e4\":\"\"}", "a name must be" }, { "{\"a(\":\"\"}", "a name must be" }, { "{\"a\":1}", "must be a string" },
		{ "{\"a\":null}", "must be a string" }, { "{\"a\":\"b\\r\\nc: d\"}", "printable ASCII" },
		{ "{\"a\":\"b\\n\"}", "printable ASCII" }, { "{\"a\":\"\\t\"}", "printable ASCII" }, { "{\"a\":\" b\"}", "printable ASCII" },
		{ "{\"a\":\"b \"}", "printable ASCII" }, { "{\"a\":\"\\u00e4\"}", "printable ASCII" },
		{ "{\"a\":\"\\u007f\"}", "printable ASCII" }, { "{\"a\":\"1\",\"A\":\"2\"}", "given twice" },
		{ "{\"host\":\"b\"}", "cannot be set" }, { "{\"Content-Length\":\"1\"}", "cannot be set" },
		{ "{\"TRANSFER-ENCODING\":\"chunked\"}", "cannot be set" }, { "{\"Connection\":\"close\"}", "cannot be set" },
		{ "{\"Keep-Alive\":\"\"}", "cannot be set" }, { "{\"Upgrade\":\"h2c\"}", "cannot be set" }, { "{\"te\":\"\"}", "cannot be set" },
		{ "{\"Trailer\":\"\"}", "cannot be set" }, { "{\"Expect\":\"100-continue\"}", "cannot be set" },
		{ "{\"Proxy-Authorization\":\"\"}", "cannot be set" }, { "{\"HTTP2-Settings\":\"\"}", "cannot be set" },
		{ "{\"Accept-Encoding\":\"gzip\"}", "cannot be set" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char args[200];
		snprintf(args, sizeof args, "{\"url\":\"http://h\",\"headers\":%s}", rows[i].headers);
		refuses(args, rows[i].text);
	}
	char many[2000] = "{\"url\":\"http://h\",\"json\":1,\"headers\":{";
	for (int i = 0; i < HTTP_HEADERS_MAX; i++)
		sprintf(many + strlen(many), "%s\"h%d\":\"\"", i > 0 ? "," : "", i);
	size_t end = strlen(many);
	strcpy(many + end, "}}");
	struct http_defaults traced = defaults;
	traced.trace = TRACEPARENT ";";
	struct http_arguments arguments = read_with(many, &traced);
	CU_ASSERT_EQUAL(arguments.header_count, HTTP_HEADERS_MAX + 4);
	http_arguments_clear(&arguments);
	strcpy(many + end, ",\"more\":\"\"}}");
	refuses(many, "at most 50");
}

static void test_compact(void)
{
	static const char from[] = "{ \"a b\" :\t[ 1 , \"\\\" \\\\\" ] ,\r\n \"c\":{} } ";
	char to[sizeof from];
	to[http_body_compact(to, from, strlen(from))] = '\0';
	CU_ASSERT_STRING_EQUAL(to, "{\"a b\":[1,\"\\\" \\\\\"],\"c\":{}}");
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_defaults),
		SUITE_TEST(test_everything),
		SUITE_TEST(test_bodies),
		SUITE_TEST(test_json_as_written),
		SUITE_TEST(test_headers),
		SUITE_TEST(test_refused_members),
		SUITE_TEST(test_refused_urls),
		SUITE_TEST(test_refused_headers),
		SUITE_TEST(test_compact),
	};

	return RUN_TESTS("arguments of http", tests);
}
