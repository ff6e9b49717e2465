/*
 * The endpoints that submit any task and steer tasks, one or many: who may, what is refused, and what stands in
 * the ring. No taskd runs.
 */
#include "tests/unit/app/web_fixture.h"
#include "tests/unit/runner.h"

static void test_steering(void)
{
	char href[64], retry[80];
	serve("POST", "/calculations", "{\"limit\":100}");
	CU_ASSERT_EQUAL_FATAL(answer.status, 202);
	snprintf(href, sizeof(href), "%s", answer.location);
	snprintf(retry, sizeof(retry), "%s/retry", href);
	uint64_t before = published();
	for (int i = 0; i < 2; i++) {
		authorization = i == 0 ? NULL : "Bearer 0123456789abcdeX";
		serve("DELETE", href, "");
		CU_ASSERT_EQUAL(answer.status, 401);
		CU_ASSERT_TRUE(answer.challenge);
		serve("POST", retry, "");
		CU_ASSERT_EQUAL(answer.status, 401);
	}
	authorization = operator_line;
	struct access *kept = settings.access;
	settings.access = NULL;
	serve("DELETE", href, "");
	CU_ASSERT_EQUAL(answer.status, 403);
	CU_ASSERT_FALSE(answer.challenge);
	settings.access = kept;
	serve("DELETE", "/tasks/17", "");
	CU_ASSERT_EQUAL(answer.status, 422);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), "uuid_parsing");
	serve("DELETE", "/tasks/00000000-0000-7000-8000-000000000000", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	serve("POST", retry, "{\"args\":{}}");
	CU_ASSERT_EQUAL(answer.status, 409); /* nothing is edited that waits */
	serve("POST", retry, "{\"handler\":\"other\"}");
	CU_ASSERT_EQUAL(answer.status, 422);
	serve("POST", retry, "");
	CU_ASSERT_EQUAL(answer.status, 409); /* no body is none, whatever its type */
	content_type = NULL;
	serve("POST", "/tasks/00000000-0000-7000-8000-000000000000/retry", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	serve("POST", retry, "");
	CU_ASSERT_EQUAL(answer.status, 409); /* it waits */
	snprintf(retry, sizeof(retry), "%s/run", href);
	serve("POST", retry, "");
	CU_ASSERT_EQUAL(answer.status, 409); /* and for no time */
	CU_ASSERT_EQUAL(published(), before);
	serve("DELETE", href, "");
	CU_ASSERT_EQUAL(answer.status, 202);
	CU_ASSERT_STRING_EQUAL(answer.location, href);
	CU_ASSERT_EQUAL(published(), before + 1);
	snprintf(retry, sizeof(retry), "%s/discard", href);
	serve("POST", retry, "");
	CU_ASSERT_EQUAL(answer.status, 202);
	CU_ASSERT_EQUAL(published(), before + 2);
	content_type = "application/json";
	authorization = NULL;
}

static void test_submitting(void)
{
	uint64_t before = published();
	serve("POST", "/tasks", "{\"handler\":\"count_primes\",\"args\":{\"limit\":5},\"queue\":\"slow\",\"delay_ms\":60000,\"max_attempts\":2}");
	CU_ASSERT_EQUAL_FATAL(answer.status, 202);
	struct tr_id id;
	struct tr_task_status status;
	CU_ASSERT_TRUE(tr_id_parse(answer.location + strlen("/tasks/"), &id));
	CU_ASSERT_EQUAL_FATAL(tr_task_status(ring, &id, &status), TR_OK);
	CU_ASSERT_STRING_EQUAL(status.queue, "slow");
	CU_ASSERT_EQUAL(status.max_attempts, 2);
	tr_task_status_clear(&status);
	serve("POST", "/tasks?concurrent=true", "[{\"handler\":\"a\",\"args\":[1]},{\"handler\":\"b\",\"run_at\":\"2030-01-31T09:05:00+02:00\"}]");
	CU_ASSERT_EQUAL_FATAL(answer.status, 202);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer.body, "tasks")), 2);
	CU_ASSERT_STRING_EQUAL(answer.note, "tasks=2");
	CU_ASSERT_EQUAL(published(), before + 2); /* each request is one batch */
	static const struct {
		const char *body, *type;
	} bad[] = {
		{ "{}", "too_short" }, { "[]", "too_short" }, { "[{}]", "missing" }, { "7", "dict_type" }, { "{\"handler\":\".a\"}", "string_pattern_mismatch" },
		{ "{\"handler\":\"a\",\"max_attempts\":0}", "greater_than_equal" }, { "{\"handler\":\"a\",\"run_at\":\"soon\"}", "datetime_parsing" },
		{ "{\"handler\":\"a\",\"timeout\":5}", "extra_forbidden" }, { "{\"handler\":\"a\",\"queue\":\"\"}", "string_pattern_mismatch" },
		{ "[{\"handler\":\"a\"},{\"handler\":\"b\",\"delay_ms\":-1}]", "greater_than_equal" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		serve("POST", "/tasks", bad[i].body);
		CU_ASSERT_EQUAL(answer.status, 422);
		CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), bad[i].type);
	}
	/* What only the library sees: the sentence is its own, and what was added before is forgotten. */
	serve("POST", "/tasks", "[{\"handler\":\"a\"},{\"handler\":\"a\",\"soft_timeout_ms\":2,\"hard_timeout_ms\":1}]");
	CU_ASSERT_EQUAL(answer.status, 422);
	CU_ASSERT_STRING_EQUAL(fault_text(0, "msg"), "soft_timeout_ms: 2; allowed is 0 to 1");
	CU_ASSERT_EQUAL(json_integer_value(json_array_get(json_object_get(json_array_get(json_object_get(answer.body, "detail"), 0), "loc"), 1)), 1);
	char many[257 * 16 + 3] = "[{\"handler\":\"a\"}";
	for (int i = 1; i < 257; i++)
		strcat(many, ",{\"handler\":\"a\"}");
	strcat(many, "]");
	serve("POST", "/tasks", many);
	CU_ASSERT_EQUAL(answer.status, 422);
	CU_ASSERT_EQUAL(published(), before + 2);
	CU_ASSERT_EQUAL(background_tasks_count(background), 0);
}

/* Without taskd: what waits in the ring is not listed, so there is nothing to steer, but all that can be asked is. */
static void test_steering_many(void)
{
	static const char *const actions[] = { "/tasks/cancel", "/tasks/retry", "/tasks/discard", "/tasks/run" };
	char uri[200];
	authorization = operator_line;
	uint64_t before = published();
	for (size_t i = 0; i < 4; i++) {
		/* Without a filter it may be one that was forgotten. */
		static const char *const none[] = { "", "?all=false", "?dry_run=true", "?cursor=01234567-89ab-7cde-8f01-23456789abcd" };
		for (size_t k = 0; k < sizeof(none) / sizeof(none[0]); k++) {
			snprintf(uri, sizeof(uri), "%s%s", actions[i], none[k]);
			serve("POST", uri, "");
			CU_ASSERT_EQUAL(answer.status, 422);
			const json_t *fault = json_array_get(json_object_get(answer.body, "detail"), 0);
			CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(json_object_get(fault, "loc"), 1)), "all");
		}
		static const char *const filters[] = { "state=dead&state=queued&state=scheduled", "handler=a", "queue=a", "text=a", "from=2026-01-01T00:00:00Z",
			"to=2026-01-01T00:00:00Z", "arg=a=b" };
		for (size_t k = 0; k < sizeof(filters) / sizeof(filters[0]); k++) {
			snprintf(uri, sizeof(uri), "%s?%s", actions[i], filters[k]);
			serve("POST", uri, "");
			CU_ASSERT_EQUAL(answer.status, 202);
		}
		snprintf(uri, sizeof(uri), "%s?all=true", actions[i]);
		serve("POST", uri, "");
		CU_ASSERT_EQUAL(answer.status, 202);
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer.body, "matched")), 0);
		CU_ASSERT_TRUE(json_is_null(json_object_get(answer.body, "next")));
		snprintf(uri, sizeof(uri), "%s?dry_run=true&handler=mail&text=%%25&from=2026-01-01T00:00:00Z&arg=email=a%%3Db", actions[i]);
		serve("POST", uri, "");
		CU_ASSERT_EQUAL(answer.status, 200);
		snprintf(uri, sizeof(uri), "%s?state=succeeded", actions[i]);
		serve("POST", uri, "");
		CU_ASSERT_EQUAL(answer.status, 422);
		snprintf(uri, sizeof(uri), "%s?arg=email", actions[i]);
		serve("POST", uri, "");
		CU_ASSERT_EQUAL(answer.status, 422);
	}
	static const char *const bad[] = { "/tasks/retry?state=running&state=queued", "/tasks/run?cursor=1", "/tasks/run?to=x", "/tasks/run?text=" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		serve("POST", bad[i], "");
		CU_ASSERT_EQUAL(answer.status, 422);
	}
	CU_ASSERT_EQUAL(published(), before);
	serve("POST", "/queues/slow/pause", "");
	CU_ASSERT_EQUAL(answer.status, 202);
	CU_ASSERT_TRUE(json_is_true(json_object_get(answer.body, "paused")));
	serve("POST", "/queues/slow/resume", "");
	CU_ASSERT_EQUAL(answer.status, 202);
	CU_ASSERT_EQUAL(published(), before + 2);
	serve("POST", "/queues/.slow/pause", "");
	CU_ASSERT_EQUAL(answer.status, 422);
	authorization = NULL;
	serve("POST", "/queues/slow/pause", "");
	CU_ASSERT_EQUAL(answer.status, 401);
	serve("POST", "/tasks/retry", "");
	CU_ASSERT_EQUAL(answer.status, 401);
	CU_ASSERT_EQUAL(published(), before + 2);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_steering),
		SUITE_TEST(test_submitting),
		SUITE_TEST(test_steering_many),
	};

	return RUN_TESTS_WITHIN("steering", open_with_tokens, close_with_tokens, tests);
}
