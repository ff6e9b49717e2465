/* What an HTTP server's answer means for the task: its outcome, as a table, and its result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskd/http_answer.h"
#include "tests/unit/runner.h"

#define MOST_MS 3600000u

static void expect(const struct http_answer *answer, const struct http_arguments *arguments, enum tr_outcome outcome,
    uint64_t delay_ms, const char *text)
{
	struct http_judgement judgement;
	http_answer_judge(&judgement, answer, arguments, MOST_MS);
	CU_ASSERT_EQUAL(judgement.outcome, outcome);
	CU_ASSERT_EQUAL(judgement.delay_ms, delay_ms);
	CU_ASSERT_STRING_EQUAL(judgement.text, text);
	if (judgement.outcome != outcome || strcmp(judgement.text, text) != 0)
		printf("\n  %d: %d \"%s\"\n", answer->status, judgement.outcome, judgement.text);
}

static const struct http_arguments any = { 0 };

static void test_statuses(void)
{
	for (int status = 200; status <= 999; status++) {
		struct http_answer answer = { .end = HTTP_ANSWERED, .status = status };
		enum tr_outcome outcome = TR_PERMANENT_FAILURE;
		char text[40] = "";
		if (status <= 299)
			outcome = TR_SUCCESS;
		else if (status == 408 || status == 429 || status >= 500)
			outcome = TR_FAILURE;
		if (status > 299)
			snprintf(text, sizeof text, "the server answered %d", status);
		expect(&answer, &any, outcome, 0, text);
	}
}

static void test_expected(void)
{
	struct http_arguments arguments = { .expect = { 204, 404, 500 }, .expect_count = 3 };
	static const struct { int status; enum tr_outcome outcome; const char *text; } rows[] = {
		{ 204, TR_SUCCESS, "" }, { 404, TR_SUCCESS, "" }, { 500, TR_SUCCESS, "" },
		{ 200, TR_PERMANENT_FAILURE, "the server answered 200" }, { 503, TR_FAILURE, "the server answered 503" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct http_answer answer = { .end = HTTP_ANSWERED, .status = rows[i].status };
		expect(&answer, &arguments, rows[i].outcome, 0, rows[i].text);
	}
}

static void test_retry_after(void)
{
	struct http_answer answer = { .end = HTTP_ANSWERED, .status = 503, .retry_after_ms = 7000 };
	expect(&answer, &any, TR_FAILURE, 7000, "the server answered 503");
	answer.retry_after_ms = MOST_MS + 1;
	expect(&answer, &any, TR_FAILURE, MOST_MS, "the server answered 503");
	answer.retry_after_ms = UINT64_MAX;
	expect(&answer, &any, TR_FAILURE, MOST_MS, "the server answered 503");
	answer.status = 400;
	expect(&answer, &any, TR_PERMANENT_FAILURE, 0, "the server answered 400");
	answer.status = 200;
	expect(&answer, &any, TR_SUCCESS, 0, "");
}

static void test_messages(void)
{
	struct http_answer answer = { .end = HTTP_FAILED, .error = "no route" };
	expect(&answer, &any, TR_FAILURE, 0, "no route");
	answer.end = HTTP_REFUSED;
	expect(&answer, &any, TR_PERMANENT_FAILURE, 0, "no route");
	answer = (struct http_answer){ .end = HTTP_ANSWERED, .status = 302, .location = "/" };
	expect(&answer, &any, TR_PERMANENT_FAILURE, 0, "the server answered 302, a redirect, which is not followed");
	answer.redirects = 1;
	expect(&answer, &any, TR_PERMANENT_FAILURE, 0, "the server answered 302, one redirect too many");
	answer = (struct http_answer){ .end = HTTP_ANSWERED, .status = 400, .body = "no\x01\nbody\n", .body_bytes = 9 };
	expect(&answer, &any, TR_PERMANENT_FAILURE, 0, "the server answered 400: no\xe2\x90\x81\xe2\x90\x8a" "body");
	char body[4096];
	memset(body, 'x', sizeof body);
	answer.body = body;
	answer.body_bytes = sizeof body;
	struct http_judgement judgement;
	http_answer_judge(&judgement, &answer, &any, MOST_MS);
	CU_ASSERT_EQUAL(strlen(judgement.text), strlen("the server answered 400: ") + 200);
}

static void expect_result(const struct http_answer *answer, const char *json)
{
	char *text = http_answer_result(answer);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_STRING_EQUAL(text, json);
	if (strcmp(text, json) != 0)
		printf("\n  %s\n", text);
	free(text);
}

static void test_results(void)
{
	struct http_answer answer = { .end = HTTP_ANSWERED, .status = 204, .took_ms = 12 };
	expect_result(&answer, "{\"status\":204,\"ms\":12,\"redirects\":0,\"headers\":{},\"body\":null}");
	answer = (struct http_answer){ .status = 200, .redirects = 2, .content_type = "text/plain", .location = "/l", .etag = "\"e\"",
		.last_modified = "then", .body = "a\"\n\0\xff\xc3\xa4", .body_bytes = 7 };
	expect_result(&answer, "{\"status\":200,\"ms\":0,\"redirects\":2,\"headers\":{\"Content-Type\":\"text/plain\",\"Location\":\"/l\","
	                       "\"ETag\":\"\\\"e\\\"\",\"Last-Modified\":\"then\"},\"body\":\"a\\\"\\n\\u0000\xef\xbf\xbd\xc3\xa4\"}");
	/* JSON is taken over as it was written. */
	answer = (struct http_answer){ .status = 200, .content_type = "application/JSON; charset=utf-8",
		.body = " {\"a\": [0.1, 12345678901234567890123]}\n", .body_bytes = 39 };
	expect_result(&answer, "{\"status\":200,\"ms\":0,\"redirects\":0,\"headers\":{\"Content-Type\":\"application/JSON; charset=utf-8\"},"
	                       "\"body\":{\"a\":[0.1,12345678901234567890123]}}");
	/* But neither what only looks so, nor what is not whole, nor what is none. */
	answer = (struct http_answer){ .status = 200, .body = "true", .body_bytes = 4 };
	expect_result(&answer, "{\"status\":200,\"ms\":0,\"redirects\":0,\"headers\":{},\"body\":\"true\"}");
	answer.content_type = "application/json";
	answer.body_cut = true;
	expect_result(&answer, "{\"status\":200,\"ms\":0,\"redirects\":0,\"headers\":{\"Content-Type\":\"application/json\"},"
	                       "\"body\":\"true\",\"body_cut\":true}");
	answer.body_cut = false;
	answer.body = "true}";
	answer.body_bytes = 5;
	expect_result(&answer, "{\"status\":200,\"ms\":0,\"redirects\":0,\"headers\":{\"Content-Type\":\"application/json\"},\"body\":\"true}\"}");
	/* A character that was cut with the body is left out. */
	answer = (struct http_answer){ .status = 200, .body = "a\xf0\x9f\x98", .body_bytes = 4, .body_cut = true };
	expect_result(&answer, "{\"status\":200,\"ms\":0,\"redirects\":0,\"headers\":{},\"body\":\"a\",\"body_cut\":true}");
}

/* The longest result that there can be is one that a task may have. */
static void test_longest(void)
{
	char body[TRANSFER_BODY_MAX];
	memset(body, 1, sizeof body);
	struct http_answer answer = { .status = 200, .body = body, .body_bytes = sizeof body };
	char *text = http_answer_result(&answer);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_TRUE(strlen(text) > 6 * sizeof body && strlen(text) < TR_RESULT_MAX);
	free(text);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_statuses),
		SUITE_TEST(test_expected),
		SUITE_TEST(test_retry_after),
		SUITE_TEST(test_messages),
		SUITE_TEST(test_results),
		SUITE_TEST(test_longest),
	};

	return RUN_TESTS("answers to http", tests);
}
