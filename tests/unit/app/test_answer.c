/* Answers that are not JSON, and what a client has already. */
#include <stdlib.h>
#include <string.h>

#include "app/web.h"
#include "tests/unit/runner.h"

static struct web_request request;

static int released;

static void release(void *context)
{
	released += *(int *)context;
}

static struct web_answer page(void)
{
	static int once = 1;
	struct web_answer made = answer_content((struct web_content){ .type = "text/html; charset=utf-8",
		.bytes = "a\0b", .count = 3, .release = release, .context = &once });
	made.etag = "\"abc\"";
	made.cache_control = "no-cache";
	made.csp = "default-src 'self'";
	return made;
}

/* What would be sent; `bytes` long. */
static char *render(enum method method, const struct web_answer *of, size_t *bytes)
{
	request = (struct web_request){ .method = method };
	char *made = answer_render(of, &request, bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(made);
	return made;
}

static void test_content(void)
{
	static const char head[] = "Status: 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\n"
	    "X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nETag: \"abc\"\r\n"
	    "Content-Security-Policy: default-src 'self'\r\nX-Frame-Options: DENY\r\nReferrer-Policy: same-origin\r\n\r\n";
	size_t bytes;
	released = 0;
	struct web_answer made = page();
	char *text = render(METHOD_GET, &made, &bytes);
	CU_ASSERT_EQUAL(bytes, strlen(head) + 3);
	CU_ASSERT_EQUAL(strncmp(text, head, strlen(head)), 0);
	CU_ASSERT_EQUAL(memcmp(text + bytes - 3, "a\0b", 4), 0);
	free(text);
	text = render(METHOD_HEAD, &made, &bytes);
	CU_ASSERT_EQUAL(bytes, strlen(head));
	CU_ASSERT_STRING_EQUAL(text, head);
	free(text);
	CU_ASSERT_EQUAL(released, 0);
	answer_clear(&made);
	CU_ASSERT_EQUAL(released, 1);
	answer_clear(&made);
	CU_ASSERT_EQUAL(released, 1);
}

static int status_with(const char *if_none_match)
{
	struct web_answer made = page();
	request = (struct web_request){ .method = METHOD_GET, .if_none_match = if_none_match };
	answer_revalidate(&made, &request);
	int status = made.status;
	answer_clear(&made);
	return status;
}

static void test_revalidation(void)
{
	static const char *const same[] = { "\"abc\"", "W/\"abc\"", "*", "\"x\", \"abc\"", "\"x\",W/\"abc\" , \"y\"", " \"abc\"" };
	static const char *const other[] = { "", "abc", "\"abc", "\"ab\"", "\"abcd\"", "\"x\"\"", "W/", "W/\"", "\"", ",", "\"x\" abc",
		"\"a,bc\"", "* " };
	released = 0;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		CU_ASSERT_EQUAL(status_with(same[i]), 304);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		CU_ASSERT_EQUAL(status_with(other[i]), 200);
	CU_ASSERT_EQUAL(released, (int)(sizeof(same) / sizeof(same[0]) + sizeof(other) / sizeof(other[0])));

	struct web_answer made = page();
	made.status = 404;
	request = (struct web_request){ .method = METHOD_GET, .if_none_match = "\"abc\"" };
	answer_revalidate(&made, &request);
	CU_ASSERT_EQUAL(made.status, 404);
	made.status = 200;
	answer_revalidate(&made, &request);
	size_t bytes;
	char *text = render(METHOD_GET, &made, &bytes);
	CU_ASSERT_STRING_EQUAL(text, "Status: 304 Not Modified\r\nCache-Control: no-cache\r\nETag: \"abc\"\r\n\r\n");
	free(text);
	answer_clear(&made);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_content),
		SUITE_TEST(test_revalidation),
	};

	return RUN_TESTS("answers", tests);
}
