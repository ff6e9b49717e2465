/*
 * Memory that runs out at each single allocation for JSON, one after the other: the answer is 503 or
 * the one that was right, nothing is published by halves, nothing leaks (under SAN=address), and the
 * next request is served as if nothing had been.
 */
#include "tests/unit/app/web_fixture.h"
#include "tests/unit/runner.h"

static long allocations_left; /* negative: as many as are wanted */

static void *limited_malloc(size_t bytes)
{
	if (allocations_left == 0)
		return NULL;
	allocations_left -= allocations_left > 0;
	return malloc(bytes);
}

/* How many allocations the request takes until it is answered as it should be. */
static long serve_short_of_memory(const char *method, const char *uri, const char *body, int status)
{
	for (long allowed = 0; allowed < 10000; allowed++) {
		uint64_t before = published();
		const char *rest = body;
		const struct request_head head = { .method = method, .uri = uri, .content_type = "application/json",
			.authorization = authorization };
		request_head_read(&head, &request);
		request.source = (struct web_source){ .read = read_text, .context = &rest };
		request.ring = ring;
		request.resources = resources;
		answer_clear(&answer);
		allocations_left = allowed;
		answer = web_serve(&settings, &request, background);
		bool short_of_it = allocations_left == 0;
		/* What can still go wrong is writing it. */
		size_t bytes = 0;
		char *text = answer_render(&answer, &request, &bytes);
		allocations_left = -1;
		CU_ASSERT_PTR_NOT_NULL_FATAL(text);
		int rendered = atoi(text + strlen("Status: "));
		free(text);
		CU_ASSERT_TRUE(rendered == status || rendered == 503);
		if (rendered != status && rendered != 503)
			printf("\n    %s %s with %ld allocations: %d\n", method, uri, allowed, rendered);
		CU_ASSERT_TRUE(published() == before || answer.status == 202);
		CU_ASSERT_EQUAL(background_tasks_count(background), 0);
		if (rendered == status && !short_of_it)
			return allowed;
	}
	CU_FAIL("it never was answered");
	return 0;
}

static void test_requests(void)
{
	authorization = operator_line;
	CU_ASSERT_TRUE(serve_short_of_memory("POST", "/register", "{\"email\":\"ada@example.org\",\"name\":\"Ada\"}", 202) > 10);
	serve_short_of_memory("POST", "/register", "{\"email\":1,\"name\":2,\"x\":3}", 422);
	serve_short_of_memory("POST", "/register", "{\"email\":", 400);
	serve_short_of_memory("POST", "/calculations", "{\"limit\":1e5}", 202);
	serve_short_of_memory("POST", "/callbacks", "{\"url\":\"http://x.org\",\"headers\":{\"A\":\"b\"},\"json\":[1,{\"a\":null}],\"timeout_s\":1}", 202);
	serve_short_of_memory("GET", "/tasks?limit=5&state=dead", "", 200);
	serve_short_of_memory("GET", "/tasks/01890000-0000-7000-8000-000000000000", "", 404);
	serve_short_of_memory("GET", "/tasks/17", "", 422);
	serve_short_of_memory("DELETE", "/tasks/01890000-0000-7000-8000-000000000000", "", 404);
	serve_short_of_memory("GET", "/signups?limit=1", "", 200);
	serve_short_of_memory("GET", "/nothing", "", 404);
	authorization = NULL;
}

static void test_task(void)
{
	char href[64];
	serve("POST", "/calculations", "{\"limit\":100}");
	CU_ASSERT_EQUAL_FATAL(answer.status, 202);
	snprintf(href, sizeof(href), "%s", answer.location);
	CU_ASSERT_TRUE(serve_short_of_memory("GET", href, "", 200) > 10);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_requests),
		SUITE_TEST(test_task),
	};

	json_set_alloc_funcs(limited_malloc, free);
	allocations_left = -1;
	setenv("TASKRING_SIGNUP_DB", "/nowhere/signups.db", 1);
	return RUN_TESTS_WITHIN("memory", open_with_tokens, close_with_tokens, tests);
}
