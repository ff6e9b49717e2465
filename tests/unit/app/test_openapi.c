/* The description of the interface: each row and each table in OpenAPI's words, and every reference leads somewhere. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/endpoints.h"
#include "app/openapi.h"
#include "tests/unit/runner.h"

static _Atomic long allocations_left = -1; /* negative: as many as are wanted */

static void *limited_malloc(size_t bytes)
{
	if (allocations_left == 0)
		return NULL;
	allocations_left -= allocations_left > 0;
	return malloc(bytes);
}

static bool is_json(json_t *value, const char *text)
{
	json_t *wanted = json_loads(text, JSON_DECODE_ANY, NULL);
	bool same = wanted != NULL && json_equal(value, wanted);
	if (!same) {
		char *found = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		printf("\n    found  %s\n    wanted %s\n", found != NULL ? found : "nothing", text);
		free(found);
	}
	json_decref(wanted);
	return same;
}

/* ---- schemas ----------------------------------------------------------------------------- */

static const char *const colours[] = { "red", "green", NULL };
static const struct schema point = { .types = SCHEMA_OBJECT, .title = "Point", .fields = (const struct schema_field[]){
	{ "x", REQUIRED, { .types = SCHEMA_NUMBER } }, { 0 } } };
static const struct schema other_point = { .types = SCHEMA_OBJECT, .title = "Point", .extra_allowed = true };

static const struct {
	struct schema schema;
	const char *json;
} samples[] = {
	{ { .types = SCHEMA_ANY }, "{}" },
	{ { .types = SCHEMA_ANY, .description = "d" }, "{\"description\":\"d\"}" },
	{ { .types = SCHEMA_STRING, .min_length = 1, .max_length = 9 }, "{\"type\":\"string\",\"minLength\":1,\"maxLength\":9}" },
	{ { .types = SCHEMA_STRING | SCHEMA_NULL, .choices = colours },
	    "{\"type\":[\"string\",\"null\"],\"enum\":[\"red\",\"green\",null]}" },
	{ { .types = SCHEMA_STRING, .format = FORMAT_EMAIL }, "{\"type\":\"string\",\"format\":\"email\"}" },
	{ { .types = SCHEMA_STRING, .pattern = PATTERN("^[a-z]+$") }, "{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"}" },
	{ { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = BELOW(10), .default_json = "5" },
	    "{\"type\":\"integer\",\"minimum\":1,\"exclusiveMaximum\":10,\"default\":5}" },
	{ { .types = SCHEMA_NUMBER, .minimum = ABOVE(0.5), .maximum = AT_MOST(1) },
	    "{\"type\":\"number\",\"exclusiveMinimum\":0.5,\"maximum\":1}" },
	{ { .types = SCHEMA_ARRAY, .min_count = 1, .max_count = 2, .items = &(const struct schema){ .types = SCHEMA_BOOLEAN } },
	    "{\"type\":\"array\",\"minItems\":1,\"maxItems\":2,\"items\":{\"type\":\"boolean\"}}" },
	{ { .types = SCHEMA_OBJECT, .max_count = 3, .example = "{\"a\":1}", .fields = (const struct schema_field[]){
		{ "a", REQUIRED, { .types = SCHEMA_INTEGER } }, { "b", OPTIONAL, { .types = SCHEMA_STRING } }, { 0 } } },
	    "{\"type\":\"object\",\"maxProperties\":3,\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},"
	    "\"required\":[\"a\"],\"additionalProperties\":false,\"examples\":[{\"a\":1}]}" },
	{ { .types = SCHEMA_OBJECT, .names = &(const struct schema){ .types = SCHEMA_STRING, .max_length = 5 },
		.extra = &(const struct schema){ .types = SCHEMA_STRING } },
	    "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},"
	    "\"propertyNames\":{\"type\":\"string\",\"maxLength\":5}}" },
	{ { .types = SCHEMA_OBJECT, .extra_allowed = true, .title = "Not a name" },
	    "{\"type\":\"object\",\"title\":\"Not a name\",\"additionalProperties\":true}" },
};

static void test_schemas(void)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		json_t *named = json_object(), *made = openapi_schema(&samples[i].schema, named);
		CU_ASSERT_TRUE(is_json(made, samples[i].json));
		CU_ASSERT_EQUAL(json_object_size(named), 0);
		json_decref(made);
		json_decref(named);
	}
}

static void test_named_schemas(void)
{
	json_t *named = json_object();
	for (int i = 0; i < 2; i++) {
		json_t *made = openapi_schema(&point, named);
		CU_ASSERT_TRUE(is_json(made, "{\"$ref\":\"#/components/schemas/Point\"}"));
		json_decref(made);
	}
	/* Another one with its name is told apart. */
	json_t *made = openapi_schema(&other_point, named);
	CU_ASSERT_TRUE(is_json(made, "{\"type\":\"object\",\"title\":\"Point\",\"additionalProperties\":true}"));
	json_decref(made);
	CU_ASSERT_TRUE(is_json(named, "{\"Point\":{\"type\":\"object\",\"title\":\"Point\",\"properties\":{\"x\":{\"type\":\"number\"}},"
				      "\"required\":[\"x\"],\"additionalProperties\":false}}"));
	json_decref(named);
}

/* ---- rows -------------------------------------------------------------------------------- */

static struct web_answer nothing(const struct web_request *request, struct background_tasks *background)
{
	(void)request;
	(void)background;
	return answer_empty(204);
}

static const struct schema_field query[] = {
	{ "limit", REQUIRED, { .types = SCHEMA_INTEGER, .description = "How many" } },
	{ 0 },
};

static const struct schema signup = { .types = SCHEMA_OBJECT, .title = "Signup", .example = "{\"x\":1}",
	.fields = (const struct schema_field[]){ { "x", REQUIRED, { .types = SCHEMA_INTEGER } }, { 0 } } };

static const struct route rows[] = {
	{ .method = METHOD_PUT, .path = "/a.b/{id:uuid}/c/{n:int}", .endpoint = nothing, .tag = "t", .summary = "s",
		.description = "d", .query = query, .body = &signup, .right = RIGHT_STEER,
		.answers = (const struct route_answer[]){ { 200, "Well", &point }, { 503, "Ill", &point }, { 0 } } },
	{ .method = METHOD_GET, .path = "/text", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d",
		.answers = (const struct route_answer[]){ { 200, "Lines", NULL }, { 404, "None", NULL }, { 0 } },
		.content_type = "text/plain" },
	{ .method = METHOD_POST, .path = "/text", .endpoint = nothing, .tag = "u", .summary = "s", .description = "d",
		.upload = true, .answers = (const struct route_answer[]){ { 204, "Done", NULL }, { 0 } } },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static json_t *at(json_t *json, const char *path)
{
	char key[64];
	while (*path != '\0') {
		size_t bytes = strcspn(path, " ");
		snprintf(key, sizeof(key), "%.*s", (int)bytes, path);
		json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key)) : json_object_get(json, key);
		path += bytes + (path[bytes] == ' ');
	}
	return json;
}

static const struct access_ways ways = { .cookie = "taskring-shop", .user_parameter = "HTTP_X_REMOTE_USER", .anybody = RIGHT_READ };
static const struct access_ways no_ways = { .anybody = RIGHT_SUBMIT }; /* no tokens are configured */

static const struct route each[] = {
	{ .method = METHOD_GET, .path = "/r", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d", .right = RIGHT_READ,
		.answers = (const struct route_answer[]){ { 200, "Well", NULL }, { 0 } } },
	{ .method = METHOD_POST, .path = "/r", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d", .right = RIGHT_SUBMIT,
		.answers = (const struct route_answer[]){ { 200, "Well", NULL }, { 0 } } },
	{ .method = METHOD_DELETE, .path = "/r", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d", .right = RIGHT_STEER,
		.answers = (const struct route_answer[]){ { 200, "Well", NULL }, { 0 } } },
};

/* How one shows who one is: as this process takes it. */
static void test_security(void)
{
	json_t *document = openapi_document(each, 3, &ways), *schemes = at(document, "components securitySchemes");
	CU_ASSERT_TRUE(is_json(at(document, "paths /r get security"), "[{\"bearer\":[]},{\"cookie\":[]},{\"webServer\":[]},{}]"));
	CU_ASSERT_TRUE(is_json(at(document, "paths /r post security"), "[{\"bearer\":[]},{\"cookie\":[]},{\"webServer\":[]}]"));
	CU_ASSERT_STRING_EQUAL(json_string_value(at(schemes, "bearer scheme")), "bearer");
	CU_ASSERT_STRING_EQUAL(json_string_value(at(schemes, "cookie in")), "cookie");
	CU_ASSERT_STRING_EQUAL(json_string_value(at(schemes, "cookie name")), "taskring-shop");
	CU_ASSERT_STRING_EQUAL(json_string_value(at(schemes, "webServer in")), "header");
	CU_ASSERT_STRING_EQUAL(json_string_value(at(schemes, "webServer name")), "X-Remote-User");
	CU_ASSERT_TRUE(json_is_object(at(document, "paths /r get responses 429 headers Retry-After")));
	json_decref(document);

	static const struct access_ways basic = { .cookie = "c", .user_parameter = "REMOTE_USER", .anybody = RIGHT_NONE };
	document = openapi_document(each, 3, &basic);
	CU_ASSERT_STRING_EQUAL(json_string_value(at(document, "components securitySchemes webServer scheme")), "basic");
	CU_ASSERT_EQUAL(json_array_size(at(document, "paths /r get security")), 3);
	json_decref(document);

	document = openapi_document(each, 3, &no_ways);
	CU_ASSERT_TRUE(is_json(at(document, "paths /r post security"), "[{\"bearer\":[]},{}]"));
	CU_ASSERT_TRUE(is_json(at(document, "paths /r delete security"), "[{\"bearer\":[]}]"));
	CU_ASSERT_EQUAL(json_object_size(at(document, "components securitySchemes")), 1);
	json_decref(document);
}

static void test_rows(void)
{
	json_t *document = openapi_document(rows, ROWS, &ways);
	CU_ASSERT_PTR_NOT_NULL_FATAL(document);
	json_t *put = at(document, "paths /a.b/{id}/c/{n} put");
	CU_ASSERT_TRUE(is_json(at(put, "operationId"), "\"put_a_b_id_c_n\""));
	CU_ASSERT_TRUE(is_json(at(put, "parameters"),
	    "[{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\",\"format\":\"uuid\"}},"
	    "{\"name\":\"n\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"integer\"}},"
	    "{\"name\":\"limit\",\"in\":\"query\",\"required\":true,\"description\":\"How many\",\"schema\":{\"type\":\"integer\"}}]"));
	CU_ASSERT_TRUE(is_json(at(put, "requestBody"), "{\"required\":true,\"content\":{\"application/json\":{"
	    "\"schema\":{\"$ref\":\"#/components/schemas/Signup\"},\"example\":{\"x\":1}}}}"));
	CU_ASSERT_TRUE(json_array_size(at(put, "security")) == 3);
	CU_ASSERT_TRUE(is_json(at(put, "responses 200"), "{\"description\":\"Well\",\"content\":{\"application/json\":"
	    "{\"schema\":{\"$ref\":\"#/components/schemas/Point\"}}}}"));
	CU_ASSERT_TRUE(is_json(at(put, "responses 503 content application/json schema"),
	    "{\"anyOf\":[{\"$ref\":\"#/components/schemas/Point\"},{\"$ref\":\"#/components/schemas/Detail\"}]}"));
	CU_ASSERT_TRUE(is_json(at(put, "responses 422 content application/json schema"),
	    "{\"$ref\":\"#/components/schemas/HTTPValidationError\"}"));
	/* Of a body that is no JSON it is said where; of a request that is none it is not. */
	CU_ASSERT_TRUE(is_json(at(put, "responses 400 content application/json schema"),
	    "{\"anyOf\":[{\"$ref\":\"#/components/schemas/HTTPValidationError\"},{\"$ref\":\"#/components/schemas/Detail\"}]}"));
	CU_ASSERT_EQUAL(json_object_size(at(put, "responses")), 10); /* 200, 400, 401, 403, 408, 413, 415, 422, 429, 503 */

	json_t *get = at(document, "paths /text get"), *post = at(document, "paths /text post");
	CU_ASSERT_TRUE(is_json(at(get, "responses 200"),
	    "{\"description\":\"Lines\",\"content\":{\"text/plain\":{\"schema\":{\"type\":\"string\"}}}}"));
	CU_ASSERT_TRUE(is_json(at(get, "responses 404 content"),
	    "{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/Detail\"}}}"));
	CU_ASSERT_TRUE(is_json(at(get, "responses 400 content"),
	    "{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/Detail\"}}}"));
	CU_ASSERT_PTR_NULL(at(get, "security"));
	CU_ASSERT_PTR_NULL(at(get, "requestBody"));
	CU_ASSERT_PTR_NULL(at(get, "parameters"));
	CU_ASSERT_TRUE(is_json(at(post, "responses 204"), "{\"description\":\"Done\"}"));
	CU_ASSERT_TRUE(is_json(at(post, "requestBody content multipart/form-data schema properties"),
	    "{\"file\":{\"type\":\"string\",\"format\":\"binary\"}}"));
	CU_ASSERT_TRUE(is_json(at(document, "tags"), "[{\"name\":\"t\"},{\"name\":\"u\"}]"));
	CU_ASSERT_TRUE(is_json(at(document, "servers 0 url"), "\".\""));
	json_decref(document);
}

/* ---- the table that is served ------------------------------------------------------------ */

static int references;

/* Every "$ref" leads to something in the document. */
static void follow(json_t *document, json_t *json)
{
	const char *key;
	json_t *value;
	size_t i;
	json_array_foreach (json, i, value)
		follow(document, value);
	json_object_foreach (json, key, value) {
		follow(document, value);
		if (strcmp(key, "$ref") != 0)
			continue;
		const char *name = json_string_value(value);
		references++;
		CU_ASSERT_EQUAL_FATAL(strncmp(name, "#/components/schemas/", 21), 0);
		CU_ASSERT_TRUE(json_is_object(json_object_get(at(document, "components schemas"), name + 21)));
	}
}

/* The operation of a row, found as a reader would: by its path and method. */
static json_t *operation(json_t *document, const struct route *route)
{
	char path[256], method[16];
	size_t used = 0;
	for (const char *from = route->path; *from != '\0'; from++) {
		if (*from == ':')
			from = strchr(from, '}');
		path[used++] = *from;
	}
	path[used] = '\0';
	snprintf(method, sizeof(method), "%s", method_name(route->method));
	for (char *letter = method; *letter != '\0'; letter++)
		*letter = (char)(*letter | 0x20);
	return json_object_get(json_object_get(json_object_get(document, "paths"), path), method);
}

static bool says_status(json_t *made, int status)
{
	char text[12];
	snprintf(text, sizeof(text), "%d", status);
	return json_object_get(json_object_get(made, "responses"), text) != NULL;
}

/* A title that two different tables have would be a reference to one of them only. */
static void expect_reference(json_t *made, const struct schema *schema, const char *path)
{
	if (schema == NULL || schema->title == NULL)
		return;
	const char *name = json_string_value(json_object_get(at(made, path), "$ref"));
	CU_ASSERT_PTR_NOT_NULL(name);
	if (name != NULL)
		CU_ASSERT_STRING_EQUAL(name + 21, schema->title);
}

static void test_every_route(void)
{
	size_t count;
	const struct route *routes = routes_all(&count);
	json_t *document = openapi_document(routes, count, &no_ways), *seen = json_object();
	CU_ASSERT_PTR_NOT_NULL_FATAL(document);
	for (size_t i = 0; i < count; i++) {
		json_t *made = operation(document, &routes[i]);
		CU_ASSERT_PTR_NOT_NULL_FATAL(made);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(made, "summary")), routes[i].summary);
		const char *name = json_string_value(json_object_get(made, "operationId"));
		CU_ASSERT_PTR_NULL(json_object_get(seen, name));
		json_object_set_new(seen, name, json_true());
		for (int status = 100; status < 600; status++)
			if (route_implies(&routes[i], status)) {
				CU_ASSERT_TRUE(says_status(made, status));
				CU_ASSERT_PTR_NOT_NULL(route_status_text(status));
			}
		for (const struct route_answer *answer = routes[i].answers; answer->status != 0; answer++) {
			CU_ASSERT_TRUE(says_status(made, answer->status));
			if (answer->status < 300 && routes[i].content_type == NULL) {
				char path[64];
				snprintf(path, sizeof(path), "responses %d content application/json schema", answer->status);
				expect_reference(made, answer->body, path);
			}
		}
		expect_reference(made, routes[i].body, "requestBody content application/json schema");
	}
	references = 0;
	follow(document, document);
	CU_ASSERT_TRUE(references > 20);
	json_decref(seen);
	json_decref(document);
}

static void test_memory(void)
{
	long allowed = 0;
	json_t *document = NULL;
	for (; document == NULL && allowed < 10000; allowed++) {
		allocations_left = allowed;
		document = openapi_document(rows, ROWS, &ways);
		allocations_left = -1;
	}
	CU_ASSERT_TRUE(allowed > 100);
	json_t *whole = openapi_document(rows, ROWS, &ways);
	CU_ASSERT_TRUE(json_equal(document, whole));
	json_decref(whole);
	json_decref(document);
}

/* ---- the endpoint ------------------------------------------------------------------------ */

static void *ask(void *context)
{
	struct web_answer *answer = context;
	const struct web_request request = { .route = NULL };
	*answer = get_openapi(&request, NULL);
	return NULL;
}

/* Whoever asks first: all get the same one, and it is the document. */
static void test_asked_at_once(void)
{
	struct web_answer answers[8];
	pthread_t threads[8];
	for (size_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, ask, &answers[i]), 0);
	for (size_t i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	size_t count;
	const struct route *routes = routes_all(&count);
	json_t *document = openapi_document(routes, count, &no_ways), *given = json_loadb(answers[0].content.bytes, answers[0].content.count, 0, NULL);
	CU_ASSERT_TRUE(json_equal(document, given));
	for (size_t i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(answers[i].status, 200);
		CU_ASSERT_PTR_EQUAL(answers[i].content.bytes, answers[0].content.bytes);
		CU_ASSERT_STRING_EQUAL(answers[i].etag, answers[0].etag);
	}
	for (size_t i = 0; i < 8; i++)
		answer_clear(&answers[i]);
	json_decref(document);
	json_decref(given);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_schemas),
		SUITE_TEST(test_named_schemas),
		SUITE_TEST(test_rows),
		SUITE_TEST(test_security),
		SUITE_TEST(test_every_route),
		SUITE_TEST(test_memory),
		SUITE_TEST(test_asked_at_once),
	};

	json_set_alloc_funcs(limited_malloc, free);
	return RUN_TESTS("openapi", tests);
}
