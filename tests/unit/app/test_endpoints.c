/*
 * Each endpoint over a real ring: requests go in as the transport makes them, answers and what stands
 * in the ring are checked. No taskd runs.
 */
#include <sqlite3.h>

#include "app/time_text.h"
#include "tests/unit/app/web_fixture.h"
#include "tests/unit/runner.h"

static void test_register(void)
{
	uint64_t before = published();
	serve("POST", "/register", "{\"email\":\"ada@example.org\",\"name\":\"Ada \\u00c4\"}");
	CU_ASSERT_EQUAL_FATAL(answer.status, 202);
	CU_ASSERT_EQUAL(published(), before + 1); /* one batch */
	const json_t *tasks = json_object_get(answer.body, "tasks");
	CU_ASSERT_EQUAL_FATAL(json_array_size(tasks), 2);
	static const char *const handlers[] = { "record_signup", "send_email_notification" };
	for (size_t i = 0; i < 2; i++) {
		const json_t *task = json_array_get(tasks, i);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(task, "handler")), handlers[i]);
		struct tr_id id;
		CU_ASSERT_TRUE_FATAL(tr_id_parse(json_string_value(json_object_get(task, "id")), &id));
		struct tr_task_status status;
		CU_ASSERT_EQUAL_FATAL(tr_task_status(ring, &id, &status), TR_OK);
		CU_ASSERT_STRING_EQUAL(status.handler, handlers[i]);
		tr_task_status_clear(&status);
	}
	const char *last = json_string_value(json_object_get(json_array_get(tasks, 1), "href"));
	CU_ASSERT_STRING_EQUAL(answer.location, last);

	char location[64];
	snprintf(location, sizeof(location), "%s", answer.location);
	serve("GET", location, "");
	CU_ASSERT_EQUAL_FATAL(answer.status, 200);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer.body, "state")), "queued");
	CU_ASSERT_TRUE(json_is_null(json_object_get(answer.body, "started")));
	CU_ASSERT_EQUAL(strlen(json_string_value(json_object_get(answer.body, "created"))), 24);
}

static void test_faults_publish_nothing(void)
{
	static const struct {
		const char *body;
		int status;
		const char *fields[2];
	} rows[] = {
		{ "", 422, { "", "" } }, { "{", 400, { "", "" } }, { "{}x", 400, { "", "" } }, { "[1,2]", 422, { "", "" } },
		{ "{\"email\":\"a@b.cc\",\"email\":\"a@b.cc\",\"name\":\"x\"}", 400, { "", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"\\u0000\"}", 400, { "", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"\xff\"}", 400, { "", "" } },
		{ "{}", 422, { "email", "name" } }, { "{\"email\":1,\"name\":null}", 422, { "email", "name" } },
		{ "{\"email\":\"a@b\",\"name\":\"x\"}", 422, { "email", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"\"}", 422, { "name", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"a\\nb\"}", 422, { "name", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"a\\u0085b\"}", 422, { "name", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"x\",\"admin\":true}", 422, { "admin", "" } },
	};
	uint64_t before = published();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		serve("POST", "/register", rows[i].body);
		CU_ASSERT_EQUAL(answer.status, rows[i].status);
		CU_ASSERT_STRING_EQUAL(fault_field(0), rows[i].fields[0]);
		CU_ASSERT_STRING_EQUAL(fault_field(1), rows[i].fields[1]);
		CU_ASSERT_EQUAL(background_tasks_count(background), 0);
	}
	CU_ASSERT_EQUAL(published(), before);
}

static void test_calculations(void)
{
	serve("POST", "/calculations", "{\"limit\":1e7}");
	CU_ASSERT_EQUAL(answer.status, 202);
	static const struct {
		const char *body, *type;
	} rows[] = { { "{\"limit\":1}", "greater_than_equal" }, { "{\"limit\":10000000001}", "less_than_equal" },
		{ "{\"limit\":\"5\"}", "int_type" }, { "{\"limit\":5.5}", "int_from_float" }, { "{}", "missing" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		serve("POST", "/calculations", rows[i].body);
		CU_ASSERT_EQUAL(answer.status, 422);
		CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), rows[i].type);
		CU_ASSERT_STRING_EQUAL(fault_field(0), "limit");
	}
}

/* What stands in the ring is what the handler gets. */
static void test_callbacks(void)
{
	serve("POST", "/callbacks", "{\"url\":\"https://example.org/x\",\"headers\":{\"X-A\":\"b\",\"X-B\":\"\",\"X-C\":\"d e\"},\"json\":[1],\"timeout_s\":2}");
	CU_ASSERT_EQUAL(answer.status, 202);
	static const struct {
		const char *body, *field, *type;
	} rows[] = {
		{ "{}", "url", "missing" }, { "{\"url\":\"ftp://x.org\"}", "url", "url_scheme" }, { "{\"url\":\"x\"}", "url", "url_parsing" },
		{ "{\"url\":\"http://x.org\",\"method\":\"BREW\"}", "method", "literal_error" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"A:\":\"b\"}}", "headers", "string_pattern_mismatch" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"A\":\"b\\r\\nC: d\"}}", "headers", "string_pattern_mismatch" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"A\":\" b\"}}", "headers", "string_pattern_mismatch" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"A\":\"b \"}}", "headers", "string_pattern_mismatch" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"HOST\":\"b\"}}", "headers", "value_error" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"proxy-x\":\"b\"}}", "headers", "value_error" },
		{ "{\"url\":\"http://x.org\",\"headers\":{\"A\":\"b\",\"a\":\"c\"}}", "headers", "value_error" },
		{ "{\"url\":\"http://x.org\",\"timeout_s\":0}", "timeout_s", "greater_than_equal" },
		{ "{\"url\":\"http://x.org\",\"method\":\"GET\",\"body\":\"\"}", "method", "value_error" },
		{ "{\"url\":\"http://x.org\",\"body\":\"\",\"json\":1}", "json", "value_error" },
	};
	uint64_t before = published();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		serve("POST", "/callbacks", rows[i].body);
		CU_ASSERT_EQUAL(answer.status, 422);
		CU_ASSERT_STRING_EQUAL(fault_field(0), rows[i].field);
		CU_ASSERT_STRING_EQUAL(fault_text(0, "type"), rows[i].type);
	}
	/* What no schema says is told at once, too. */
	serve("POST", "/callbacks", "{\"url\":\"http://x.org\",\"method\":\"GET\",\"body\":\"\",\"json\":1,\"headers\":{\"Host\":\"b\",\"TE\":\"c\"}}");
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer.body, "detail")), 4);
	CU_ASSERT_STRING_EQUAL(fault_field(0), "json");
	CU_ASSERT_STRING_EQUAL(fault_field(1), "method");
	CU_ASSERT_STRING_EQUAL(fault_field(2), "headers");
	CU_ASSERT_EQUAL(published(), before);
}

/* One task that cannot be added, and the request is refused, whatever the endpoint makes of it. */
static void test_not_added(void)
{
	struct web_added added = { .failed = TR_OK };
	json_t *args = json_object();
	request.added = &added;
	CU_ASSERT_EQUAL(web_add_task(&request, background, "fine", args, NULL), TR_OK);
	CU_ASSERT_EQUAL(web_add_task(&request, background, "no name", args, NULL), TR_INVALID);
	CU_ASSERT_EQUAL(web_add_task(&request, background, "fine", NULL, NULL), TR_NO_MEMORY);
	CU_ASSERT_EQUAL(added.failed, TR_INVALID); /* the first one counts */
	answer_clear(&answer);
	answer = answer_accepted(&request, background);
	CU_ASSERT_EQUAL(answer.status, 500);
	CU_ASSERT_STRING_EQUAL(detail(), "something went wrong here");
	background_tasks_clear(background);
	request.added = NULL;
	json_decref(args);
	/* Too large for the ring, and there is no spool. */
	static char body[20100] = "{\"url\":\"http://x.org\",\"body\":\"";
	memset(body + strlen(body), 'x', 20000);
	strcat(body, "\"}");
	uint64_t before = published();
	serve("POST", "/callbacks", body);
	CU_ASSERT_EQUAL(answer.status, 413);
	CU_ASSERT_EQUAL(published(), before);
	CU_ASSERT_EQUAL(background_tasks_count(background), 0);
}

static void test_lists(void)
{
	serve("GET", "/tasks?limit=5&state=dead&state=retrying&handler=mail", "");
	CU_ASSERT_EQUAL(answer.status, 200); /* no taskd has run: there are none */
	CU_ASSERT_EQUAL(json_array_size(json_object_get(answer.body, "tasks")), 0);
	CU_ASSERT_TRUE(json_is_null(json_object_get(answer.body, "next")));
	static const char *const bad[] = { "/tasks?limit=0", "/tasks?limit=501", "/tasks?state=done", "/tasks?cursor=1", "/tasks?queue=.a",
		"/tasks?handler=", "/tasks?page=2" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		serve("GET", bad[i], "");
		CU_ASSERT_EQUAL(answer.status, 422);
	}
}

/* ---- the resource: an application's database -------------------------------------------- */

static void run_sql(const char *path, const char *sql)
{
	sqlite3 *database;
	CU_ASSERT_EQUAL(sqlite3_open(path, &database), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(database);
}

#define SIGNUPS "CREATE TABLE signups (task_id TEXT PRIMARY KEY, email TEXT, name TEXT, created_at TEXT) WITHOUT ROWID;"
#define SIGNUP(digit) "INSERT INTO signups VALUES ('01890000-0000-7000-8000-00000000000" digit "', 'a@b.cc', 'A" digit "', '2026-01-31T09:05:00.000Z');"

static size_t signups(const char *uri)
{
	serve("GET", uri, "");
	CU_ASSERT_EQUAL(answer.status, 200);
	return json_array_size(json_object_get(answer.body, "signups"));
}

static void test_signups(void)
{
	char directory[] = "/tmp/test-endpoints-XXXXXX", path[64], other[64];
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/signups.db", directory);
	snprintf(other, sizeof(other), "%s/other.db", directory);
	setenv("TASKRING_SIGNUP_DB", path, 1);
	serve("GET", "/signups", "");
	CU_ASSERT_EQUAL(answer.status, 401);
	authorization = operator_line;
	CU_ASSERT_EQUAL(signups("/signups"), 0); /* nobody has signed up, there is no file */

	run_sql(path, SIGNUPS SIGNUP("1") SIGNUP("2") SIGNUP("3"));
	CU_ASSERT_EQUAL(signups("/signups"), 3); /* looked for again */
	CU_ASSERT_EQUAL(signups("/signups?limit=2"), 2);
	char next[100];
	snprintf(next, sizeof(next), "%s", json_string_value(json_object_get(answer.body, "next")));
	CU_ASSERT_STRING_EQUAL(next, "/signups?limit=2&cursor=01890000-0000-7000-8000-000000000002");
	CU_ASSERT_EQUAL(signups(next), 1);
	CU_ASSERT_TRUE(json_is_null(json_object_get(answer.body, "next")));

	run_sql(other, SIGNUPS SIGNUP("4"));
	CU_ASSERT_EQUAL(rename(other, path), 0);
	CU_ASSERT_EQUAL(signups("/signups"), 1); /* another file: opened anew */

	run_sql(path, "DROP TABLE signups");
	serve("GET", "/signups", "");
	CU_ASSERT_EQUAL(answer.status, 503);
	CU_ASSERT_EQUAL(answer.retry_after_s, WEB_RETRY_AFTER_S);
	CU_ASSERT_PTR_NULL(strstr(detail(), "/")); /* no path of ours */
	serve("GET", "/signups", "");
	CU_ASSERT_EQUAL(answer.status, 503); /* it cannot even be opened now */
	run_sql(path, SIGNUPS SIGNUP("5"));
	CU_ASSERT_EQUAL(signups("/signups"), 1);
	authorization = NULL;
	unlink(path);
	rmdir(directory);
}

static void test_refusals(void)
{
	serve("GET", "/nothing", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	serve("PUT", "/register", "");
	CU_ASSERT_EQUAL(answer.status, 405);
	CU_ASSERT_EQUAL(answer.allow, 1u << METHOD_POST | 1u << METHOD_OPTIONS);
	serve("OPTIONS", "/healthz", "");
	CU_ASSERT_EQUAL(answer.status, 204);
	CU_ASSERT_PTR_NULL(answer.body);
	serve("OPTIONS", "*", "");
	CU_ASSERT_EQUAL(answer.status, 204);
	CU_ASSERT_EQUAL(answer.allow, 1u << METHOD_GET | 1u << METHOD_HEAD | 1u << METHOD_POST | 1u << METHOD_DELETE |
	    1u << METHOD_OPTIONS);
	serve("GET", "/tasks/0", "");
	CU_ASSERT_EQUAL(answer.status, 422);
	CU_ASSERT_STRING_EQUAL(fault_field(0), "id");
	serve("GET", "/tasks/00000000-0000-7000-8000-000000000000", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	serve("GET", "/%zz", "");
	CU_ASSERT_EQUAL(answer.status, 400);
	serve("GET", "/healthz", "");
	CU_ASSERT_EQUAL(answer.status, 503); /* no taskd */
	CU_ASSERT_EQUAL(answer.retry_after_s, WEB_RETRY_AFTER_S);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer.body, "ring")), "ok");
}

static void test_without_ring(void)
{
	struct taskring *kept_ring = ring;
	struct background_tasks *kept_background = background;
	ring = NULL;
	background = NULL;
	serve("POST", "/register", "{}");
	CU_ASSERT_EQUAL(answer.status, 503);
	CU_ASSERT_EQUAL(answer.retry_after_s, WEB_RETRY_AFTER_S);
	serve("GET", "/healthz", "");
	CU_ASSERT_EQUAL(answer.status, 503);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer.body, "ring")), "missing");
	serve("GET", "/metrics", "");
	CU_ASSERT_EQUAL(answer.status, 200);
	serve("GET", "/nothing", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	/* A row that adds tasks and does not say that it needs the ring. */
	struct web_added added = { .failed = TR_OK };
	json_t *args = json_object();
	request.added = &added;
	CU_ASSERT_EQUAL(web_add_task(&request, NULL, "fine", args, NULL), TR_NO_RING);
	answer_clear(&answer);
	answer = answer_accepted(&request, NULL);
	CU_ASSERT_EQUAL(answer.status, 503);
	CU_ASSERT_EQUAL(answer.retry_after_s, WEB_RETRY_AFTER_S);
	request.added = NULL;
	json_decref(args);
	ring = kept_ring;
	background = kept_background;
}

static const char *rendered(enum method method)
{
	static char text[2048];
	size_t bytes = 0;
	request.method = method;
	char *made = answer_render(&answer, &request, &bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(made);
	CU_ASSERT_EQUAL(strlen(made), bytes);
	snprintf(text, sizeof(text), "%s", made);
	free(made);
	return text;
}

/* What is answered besides JSON. */
static void test_contents(void)
{
	serve("GET", "/metrics", "");
	CU_ASSERT_STRING_EQUAL(answer.content.type, "text/plain; version=0.0.4; charset=utf-8");
	CU_ASSERT_PTR_NOT_NULL(strstr(answer.content.bytes, "\ntaskring_up 0\n")); /* there is no taskd here */
	CU_ASSERT_EQUAL(strlen(answer.content.bytes), answer.content.count);
	serve("GET", "/metrics?format=openmetrics", "");
	CU_ASSERT_STRING_EQUAL(answer.content.bytes + answer.content.count - 6, "# EOF\n");
	serve("GET", "/metrics?format=xml", "");
	CU_ASSERT_EQUAL(answer.status, 422);
	serve("GET", "/openapi.json", "");
	CU_ASSERT_STRING_EQUAL(answer.content.type, "application/json");
}

/* Paths that clients are told begin with the prefix; those that they send may. */
static void test_prefix(void)
{
	static const char *const paths[] = { "/p/q/register", "/register" };
	settings.prefix = "/p/q";
	for (size_t i = 0; i < 2; i++) {
		serve("POST", paths[i], "{\"email\":\"ada@example.org\",\"name\":\"Ada\"}");
		CU_ASSERT_EQUAL_FATAL(answer.status, 202);
		const char *href = json_string_value(json_object_get(json_array_get(json_object_get(answer.body, "tasks"), 1), "href"));
		CU_ASSERT_EQUAL(strncmp(href, "/p/q/tasks/", 11), 0);
		CU_ASSERT_STRING_EQUAL(href + 4, answer.location);
		char line[128];
		snprintf(line, sizeof(line), "\r\nLocation: %s\r\n", href);
		CU_ASSERT_PTR_NOT_NULL(strstr(rendered(METHOD_POST), line));
	}
	serve("POST", "/p/q", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	serve("POST", "/p/qregister", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	settings.prefix = NULL;
}

/* Last: nobody empties the ring again. */
static void test_full(void)
{
	int accepted = 0;
	do {
		serve("POST", "/register", "{\"email\":\"ada@example.org\",\"name\":\"Ada\"}");
		accepted += answer.status == 202;
	} while (answer.status == 202 && accepted < 1000);
	uint64_t full = published();
	CU_ASSERT_EQUAL(answer.status, 503);
	CU_ASSERT_EQUAL(answer.retry_after_s, WEB_RETRY_AFTER_S);
	CU_ASSERT_STRING_EQUAL(answer.location, "");
	CU_ASSERT_EQUAL(background_tasks_count(background), 0);
	CU_ASSERT_TRUE(strcmp(detail(), tr_result_text(TR_LANE_FULL)) == 0 || strcmp(detail(), tr_result_text(TR_NO_LANE)) == 0);
	serve("GET", "/healthz", "");
	CU_ASSERT_EQUAL(published(), full);
}

static void test_rendering(void)
{
	serve("GET", "/nothing", "");
	CU_ASSERT_STRING_EQUAL(rendered(METHOD_GET),
	    "Status: 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 42\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
	    "X-Request-ID: rid\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n{\"detail\":\"there is nothing at this path\"}");
	CU_ASSERT_STRING_EQUAL(rendered(METHOD_HEAD),
	    "Status: 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 42\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
	    "X-Request-ID: rid\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
	serve("OPTIONS", "/register", "");
	CU_ASSERT_STRING_EQUAL(rendered(METHOD_OPTIONS),
	    "Status: 204 No Content\r\nCache-Control: no-store\r\nX-Request-ID: rid\r\n"
	    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nAllow: POST, OPTIONS\r\n\r\n");
	struct access *kept = settings.access;
	settings.access = NULL;
	serve("GET", "/signups", "");
	CU_ASSERT_PTR_NULL(strstr(rendered(METHOD_GET), "WWW-Authenticate"));
	settings.access = kept;
	serve("GET", "/signups", "");
	CU_ASSERT_PTR_NOT_NULL(strstr(rendered(METHOD_GET), "Status: 401 Unauthorized\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(rendered(METHOD_GET), "WWW-Authenticate: Bearer\r\n"));
	answer_clear(&answer);
	answer = answer_json(0, json_string("an endpoint's bug")); /* no status */
	CU_ASSERT_PTR_NOT_NULL(strstr(rendered(METHOD_GET), "Status: 500 Internal Server Error\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(rendered(METHOD_GET), "\r\n\r\n{\"detail\":\"something went wrong here\"}"));
	answer_clear(&answer);
	answer = answer_json(200, NULL); /* what an endpoint answers without memory */
	const char *text = rendered(METHOD_GET);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "Status: 503"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "Retry-After: 1\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "{\"detail\":\"out of memory; try again later\"}"));
}

static void test_times(void)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = { { 1, "1970-01-01T00:00:00.001Z" }, { 1769850300250, "2026-01-31T09:05:00.250Z" },
		{ 951782400000, "2000-02-29T00:00:00.000Z" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *time = time_json(rows[i].ms);
		CU_ASSERT_STRING_EQUAL(json_string_value(time), rows[i].text);
		json_decref(time);
	}
	CU_ASSERT_TRUE(json_is_null(time_json(0)));
	static const struct {
		const char *text;
		int64_t ms;
	} back[] = { { "1970-01-01T00:00:00.001Z", 1 }, { "2026-01-31t09:05:00.25z", 1769850300250 }, { "2026-01-31T11:05:00.2509+02:00", 1769850300250 },
		{ "2026-01-31T05:35:00-03:30", 1769850300000 }, { "2000-02-29T00:00:00Z", 951782400000 }, { "1969-12-31T23:59:59Z", -1000 } };
	for (size_t i = 0; i < sizeof(back) / sizeof(back[0]); i++)
		CU_ASSERT_EQUAL(time_ms(back[i].text), back[i].ms);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_register),
		SUITE_TEST(test_faults_publish_nothing),
		SUITE_TEST(test_calculations),
		SUITE_TEST(test_callbacks),
		SUITE_TEST(test_not_added),
		SUITE_TEST(test_lists),
		SUITE_TEST(test_signups),
		SUITE_TEST(test_refusals),
		SUITE_TEST(test_without_ring),
		SUITE_TEST(test_rendering),
		SUITE_TEST(test_times),
		SUITE_TEST(test_contents),
		SUITE_TEST(test_prefix),
		SUITE_TEST(test_full),
	};

	return RUN_TESTS_WITHIN("endpoints", open_with_tokens, close_with_tokens, tests);
}
