/*
 * The web layer over a real ring: requests go in as the transport makes them, answers and what
 * stands in the ring are checked. No taskd runs.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/request_head.h"
#include "app/time_text.h"
#include "app/web.h"

static char instance[64];
static struct taskring *ring;
static struct background_tasks *background;
static struct web_request request;
static struct web_answer answer;
static const struct web_settings settings = { .durability = TR_MEMORY, .body_limit_bytes = 1u << 20 };

static void remove_segments(void)
{
	static const char *const kinds[] = { "ring", "board", "wake" };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char name[128];
		snprintf(name, sizeof(name), "/dev/shm/%s.%s", instance, kinds[i]);
		unlink(name);
	}
}

static int open_ring(void)
{
	/* Small, so that it can be filled. */
	const struct tr_open_options options = { .geometry = { .lanes = 2, .slots_per_lane = 64, .slot_bytes = 256 } };
	struct tr_error error;
	snprintf(instance, sizeof(instance), "test-endpoints-%ld", (long)getpid());
	return tr_open(&ring, instance, &options, &error) != TR_OK || background_tasks_new(&background, ring) != TR_OK;
}

static int close_ring(void)
{
	answer_clear(&answer);
	background_tasks_free(&background);
	tr_close(&ring);
	remove_segments();
	return 0;
}

/* The body, a little at a time. */
static ssize_t read_text(void *context, char *to, size_t most)
{
	const char **rest = context;
	size_t bytes = strnlen(*rest, most < 5 ? most : 5);
	memcpy(to, *rest, bytes);
	*rest += bytes;
	return (ssize_t)bytes;
}

static void serve(const char *method, const char *uri, const char *body)
{
	const struct request_head head = { .method = method, .uri = uri, .content_type = "application/json",
		.client_request_id = "rid",
		.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
	request_head_read(&head, &request);
	request.source = (struct web_source){ .read = read_text, .context = &body };
	request.ring = ring;
	answer_clear(&answer);
	answer = web_serve(&settings, &request, background);
}

static uint64_t published(void)
{
	struct tr_health health;
	(void)tr_health(ring, &health); /* NO_BOARD; the ring's figures are there */
	return health.ring_cells_used;
}

static const char *detail(void)
{
	const char *text = json_string_value(json_object_get(answer.body, "detail"));
	return text != NULL ? text : "";
}

static const char *fault_field(size_t index)
{
	const json_t *fault = json_array_get(json_object_get(answer.body, "detail"), index);
	const char *text = json_string_value(json_array_get(json_object_get(fault, "loc"), 1));
	return text != NULL ? text : "";
}

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
		{ "", 400, { "", "" } }, { "{", 400, { "", "" } }, { "{}x", 400, { "", "" } }, { "[1,2]", 422, { "", "" } },
		{ "{\"email\":\"a@b.cc\",\"email\":\"a@b.cc\",\"name\":\"x\"}", 400, { "", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"\\u0000\"}", 400, { "", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"\xff\"}", 400, { "", "" } },
		{ "{}", 422, { "email", "name" } }, { "{\"email\":1,\"name\":null}", 422, { "email", "name" } },
		{ "{\"email\":\"a@b\",\"name\":\"x\"}", 422, { "email", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"\"}", 422, { "name", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"a\\nb\"}", 422, { "name", "" } },
		{ "{\"email\":\"a@b.cc\",\"name\":\"a\\u0085b\"}", 422, { "name", "" } },
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
	serve("POST", "/register", "{\n  \"email\" 1}");
	CU_ASSERT_STRING_EQUAL(detail(), "the body is not JSON: line 2, column 11: a character does not belong here");
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
		{ "", 415 }, { "text/plain", 415 }, { "application/jsonp", 415 }, { "application/x-www-form-urlencoded", 415 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct web_answer refusal = { .status = 0 };
		request.content_type = rows[i].type;
		char body[] = "?";
		request.body = body;
		request.body_bytes = 1;
		CU_ASSERT_PTR_NULL(body_json_object(&request, &refusal));
		CU_ASSERT_EQUAL(refusal.status, rows[i].status);
		answer_clear(&refusal);
	}
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
	serve("GET", "/nothing", "");
	CU_ASSERT_EQUAL(answer.status, 404);
	ring = kept_ring;
	background = kept_background;
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

static void test_rendering(void)
{
	serve("GET", "/nothing", "");
	CU_ASSERT_STRING_EQUAL(rendered(METHOD_GET),
	    "Status: 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 42\r\nCache-Control: no-store\r\n"
	    "X-Request-ID: rid\r\n\r\n{\"detail\":\"there is nothing at this path\"}");
	CU_ASSERT_STRING_EQUAL(rendered(METHOD_HEAD),
	    "Status: 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 42\r\nCache-Control: no-store\r\n"
	    "X-Request-ID: rid\r\n\r\n");
	serve("OPTIONS", "/register", "");
	CU_ASSERT_STRING_EQUAL(rendered(METHOD_OPTIONS),
	    "Status: 204 No Content\r\nCache-Control: no-store\r\nX-Request-ID: rid\r\nAllow: POST, OPTIONS\r\n\r\n");
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
}

int main(void)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite("endpoints", open_ring, close_ring);
	if (!CU_ADD_TEST(suite, test_register) || !CU_ADD_TEST(suite, test_faults_publish_nothing) ||
	    !CU_ADD_TEST(suite, test_name_length) || !CU_ADD_TEST(suite, test_media_types) ||
	    !CU_ADD_TEST(suite, test_refusals) || !CU_ADD_TEST(suite, test_without_ring) ||
	    !CU_ADD_TEST(suite, test_rendering) || !CU_ADD_TEST(suite, test_times) || !CU_ADD_TEST(suite, test_full))
		return 1;
	CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures > 0;
}
