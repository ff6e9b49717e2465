/* Bodies as hostile clients send them: what is read, what is JSON, what is refused and how. */
#include "tests/unit/app/web_fixture.h"
#include "tests/unit/runner.h"

/* JSON that is none, or more than we take: always 400, and where. */
static void test_hostile_json(void)
{
	static const struct {
		const char *body, *message;
	} rows[] = {
		{ "{\n  \"email\" 1}", "Invalid JSON: a character does not belong here at line 2 column 11" },
		{ " ", "Invalid JSON: it ends too early at line 1 column 1" },
		{ "{\"a\":1,\"a\":1}", "Invalid JSON: a key stands twice in one object at line 1 column 10" },
		{ "{\"a\":9223372036854775808}", "Invalid JSON: a number is out of range at line 1 column 24" },
		{ "{\"a\":-9223372036854775809}", "Invalid JSON: a number is out of range at line 1 column 25" },
		{ "{\"a\":1e999}", "Invalid JSON: a number is out of range at line 1 column 10" },
		{ "{\"a\":\"\\u0000\"}", "Invalid JSON: \\u0000 is not allowed at line 1 column 13" },
		{ "{\"\\u0000\":1}", "Invalid JSON: \\u0000 is not allowed at line 1 column 9" },
		{ "{\"a\":\"\\ud800\"}", "Invalid JSON: a character does not belong here at line 1 column 13" },
		{ "{\"a\":\"\xc0\xaf\"}", "Invalid JSON: it is not UTF-8 at line 1 column 6" },
		{ "{\"a\":\"\xed\xa0\x80\"}", "Invalid JSON: it is not UTF-8 at line 1 column 6" },
		{ "{\"a\":01}", "Invalid JSON: a character does not belong here at line 1 column 6" },
		{ "{\"a\":NaN}", "Invalid JSON: a character does not belong here at line 1 column 8" },
		{ "{\"a\":1} {", "Invalid JSON: something follows its end at line 1 column 9" },
		{ "{\"a\":1,}", "Invalid JSON: a character does not belong here at line 1 column 8" },
		{ "{'a':1}", "Invalid JSON: a character does not belong here at line 1 column 2" },
		{ "{\"a\":\"\n\"}", "Invalid JSON: a character does not belong here at line 1 column 6" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		serve("POST", "/register", rows[i].body);
		CU_ASSERT_EQUAL(answer.status, 400);
		CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), "json_invalid");
		if (strcmp(fault_text(0, "msg"), rows[i].message) != 0)
			printf("\n    %s: \"%s\"\n", rows[i].body, fault_text(0, "msg"));
		CU_ASSERT_STRING_EQUAL(fault_text(0, "msg"), rows[i].message);
	}
}

static void test_depth(void)
{
	char body[400] = "{\"url\":\"http://x.org\",\"json\":";
	size_t start = strlen(body);
	memset(body + start, '[', 63);
	memset(body + start + 63, ']', 63);
	strcpy(body + start + 126, "}");
	uint64_t before = published();
	serve("POST", "/callbacks", body);
	CU_ASSERT_EQUAL(answer.status, 202);
	CU_ASSERT_EQUAL(published(), before + 1);
	memset(body + start, '[', 64);
	memset(body + start + 64, ']', 64);
	strcpy(body + start + 128, "}");
	serve("POST", "/callbacks", body);
	CU_ASSERT_EQUAL(answer.status, 400);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "msg"), "Invalid JSON: it is nested too deeply at line 1 column 93");
	/* Brackets inside of texts are none. */
	serve("POST", "/callbacks", "{\"url\":\"http://x.org\",\"body\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}");
	CU_ASSERT_EQUAL(answer.status, 202);
	static char deep[1000001];
	memset(deep, '[', sizeof(deep) - 1);
	serve("POST", "/callbacks", deep);
	CU_ASSERT_EQUAL(answer.status, 400);
}

static void test_name_length(void)
{
	char body[700] = "{\"email\":\"a@b.cc\",\"name\":\"";
	for (int i = 0; i < 101; i++)
		strcat(body, "\xf0\x9f\x98\x80"); /* one character of four bytes */
	strcat(body, "\"}");
	serve("POST", "/register", body);
	CU_ASSERT_EQUAL(answer.status, 422);
	body[strlen(body) - 6] = '\0';
	strcat(body, "\"}");
	serve("POST", "/register", body);
	CU_ASSERT_EQUAL(answer.status, 202);
}

static void test_media_types(void)
{
	static const struct {
		const char *type;
		int status;
	} rows[] = { { "application/json", 400 }, { "Application/JSON; charset=utf-8", 400 }, { "application/json ", 400 },
		{ NULL, 415 }, { "", 415 }, { "text/plain", 415 }, { "application/jsonp", 415 }, { "application/x-www-form-urlencoded", 415 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		content_type = rows[i].type;
		serve("POST", "/register", "?");
		CU_ASSERT_EQUAL(answer.status, rows[i].status);
	}
	content_type = "application/json";
}

/* What the source does: too much, too little, nothing more. */
static ssize_t read_broken(void *context, char *to, size_t most)
{
	(void)context;
	(void)to;
	(void)most;
	return -1;
}

static int serve_source(size_t declared_bytes, struct web_source source)
{
	const struct request_head head = { .method = "POST", .uri = "/register", .content_type = content_type };
	request_head_read(&head, &request);
	request.declared_bytes = declared_bytes;
	request.source = source;
	request.ring = ring;
	answer_clear(&answer);
	answer = web_serve(&settings, &request, background);
	return answer.status;
}

static void test_sources(void)
{
	static char large[2001];
	memset(large, ' ', sizeof(large) - 1);
	settings.body_limit_bytes = 1000;
	const char *at = large;
	CU_ASSERT_EQUAL(serve_source(SIZE_MAX, (struct web_source){ read_text, &at }), 413);
	CU_ASSERT_EQUAL(at - large, 1001); /* no more is read than tells that it is too much */
	at = large;
	CU_ASSERT_EQUAL(serve_source(1001, (struct web_source){ read_text, &at }), 413);
	CU_ASSERT_PTR_EQUAL(at, large);
	at = large + 1000;
	CU_ASSERT_EQUAL(serve_source(1000, (struct web_source){ read_text, &at }), 400);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), "json_invalid");
	at = "{}";
	CU_ASSERT_EQUAL(serve_source(3, (struct web_source){ read_text, &at }), 400);
	CU_ASSERT_STRING_EQUAL(detail(), "Content-Length is not the length of the body");
	at = "{}";
	CU_ASSERT_EQUAL(serve_source(1, (struct web_source){ read_text, &at }), 400);
	CU_ASSERT_EQUAL(serve_source(10, (struct web_source){ read_broken, NULL }), 408);
	/* None at all, declared or not. */
	CU_ASSERT_EQUAL(serve_source(0, (struct web_source){ NULL, NULL }), 422);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), "missing");
	content_type = "";
	at = "";
	CU_ASSERT_EQUAL(serve_source(SIZE_MAX, (struct web_source){ read_text, &at }), 422);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), "missing");
	content_type = "application/json";
	CU_ASSERT_EQUAL(serve_source(SIZE_MAX, (struct web_source){ read_text, &at }), 422);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), "missing");
	settings.body_limit_bytes = 1u << 20;
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_hostile_json),
		SUITE_TEST(test_depth),
		SUITE_TEST(test_name_length),
		SUITE_TEST(test_media_types),
		SUITE_TEST(test_sources),
	};

	return RUN_TESTS_WITHIN("bodies", open_ring, close_ring, tests);
}
