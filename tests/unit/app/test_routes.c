/* Rows of a route table: which one a request finds, what its path and query become, what rows may be wrong about. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/web.h"
#include "tests/unit/runner.h"

static struct web_answer nothing(const struct web_request *request, struct background_tasks *background)
{
	(void)request;
	(void)background;
	return answer_empty(204);
}

static const char *const colours[] = { "red", "green", NULL };

static const struct schema_field query[] = {
	{ "limit", OPTIONAL, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(1), .maximum = AT_MOST(9), .default_json = "5" } },
	{ "share", OPTIONAL, { .types = SCHEMA_NUMBER } },
	{ "deep", OPTIONAL, { .types = SCHEMA_BOOLEAN } },
	{ "name", REQUIRED, { .types = SCHEMA_STRING, .max_length = 10 } },
	{ "colour", OPTIONAL, { .types = SCHEMA_ARRAY, .max_count = 2,
		.items = &(const struct schema){ .types = SCHEMA_STRING, .choices = colours } } },
	{ 0 },
};

#define WELL .endpoint = nothing, .tag = "t", .summary = "s", .description = "d", \
	.answers = (const struct route_answer[]){ { 204, "Done", NULL }, { 0 } }

static const struct route rows[] = {
	{ .method = METHOD_GET, .path = "/", WELL },
	{ .method = METHOD_GET, .path = "/a/{n:int}", WELL, .query = query },
	{ .method = METHOD_DELETE, .path = "/a/{n:int}", WELL },
	{ .method = METHOD_POST, .path = "/a/fixed", WELL },
	{ .method = METHOD_PUT, .path = "/b/{name}/c/{id:uuid}", WELL },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct route *find(enum method method, const char *path, struct route_match *match, unsigned *allow)
{
	return route_find_among(rows, ROWS, method, path, match, allow);
}

static void test_finding(void)
{
	static const struct {
		enum method method;
		const char *path;
		int row; /* -1: none */
		unsigned allow;
	} asked[] = {
		{ METHOD_GET, "/", 0, 0 }, { METHOD_GET, "/a/5", 1, 0 }, { METHOD_HEAD, "/a/5", 1, 0 }, { METHOD_DELETE, "/a/x", 2, 1u << METHOD_GET },
		{ METHOD_POST, "/a/fixed", 3, 1u << METHOD_GET | 1u << METHOD_DELETE }, { METHOD_PUT, "/b/x y/c/z", 4, 0 },
		{ METHOD_POST, "/a/5", -1, 1u << METHOD_GET | 1u << METHOD_HEAD | 1u << METHOD_DELETE | 1u << METHOD_OPTIONS },
		{ METHOD_OTHER, "/b/x/c/z", -1, 1u << METHOD_PUT | 1u << METHOD_OPTIONS },
		{ METHOD_OPTIONS, "*", -1, 1u << METHOD_GET | 1u << METHOD_HEAD | 1u << METHOD_POST | 1u << METHOD_PUT |
		    1u << METHOD_DELETE | 1u << METHOD_OPTIONS },
		{ METHOD_GET, "", -1, 0 }, { METHOD_GET, "//", -1, 0 }, { METHOD_GET, "/a", -1, 0 }, { METHOD_GET, "/a/", -1, 0 },
		{ METHOD_GET, "/a/5/", -1, 0 }, { METHOD_GET, "/a//5", -1, 0 }, { METHOD_GET, "/b/x/c", -1, 0 }, { METHOD_GET, "/A/5", -1, 0 },
	};
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct route_match match;
		unsigned allow;
		const struct route *found = find(asked[i].method, asked[i].path, &match, &allow);
		CU_ASSERT_PTR_EQUAL(found, asked[i].row < 0 ? NULL : &rows[asked[i].row]);
		CU_ASSERT_EQUAL(allow, asked[i].allow);
	}
	char path[WEB_PARAMETER_MAX + 5] = "/a/";
	struct route_match match;
	unsigned allow;
	memset(path + 3, 'x', WEB_PARAMETER_MAX);
	CU_ASSERT_PTR_NOT_NULL(find(METHOD_GET, path, &match, &allow));
	CU_ASSERT_EQUAL(strlen(match.parameters[0].text), WEB_PARAMETER_MAX);
	path[3 + WEB_PARAMETER_MAX] = 'x';
	CU_ASSERT_PTR_NULL(find(METHOD_GET, path, &match, &allow));
}

static struct web_request request;
static struct faults faults;

/* What a GET or PUT of that target makes of it; its faults as "place.name:type ...". */
static const char *read_target(enum method method, const char *path, const char *query_text)
{
	static char text[4096];
	struct route_match match;
	unsigned allow;
	size_t used = 0, i;
	const json_t *fault;
	json_decref(request.parameters);
	faults_clear(&faults);
	request = (struct web_request){ .method = method, .query = query_text, .route = find(method, path, &match, &allow) };
	CU_ASSERT_PTR_NOT_NULL_FATAL(request.route);
	parameters_read(&request, &match, &faults);
	text[0] = '\0';
	json_array_foreach (faults.list, i, fault) {
		const json_t *place = json_object_get(fault, "loc");
		const char *name = json_string_value(json_array_get(place, 1));
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s.%s:%s", i > 0 ? " " : "",
		    json_string_value(json_array_get(place, 0)), name != NULL ? name : "", json_string_value(json_object_get(fault, "type")));
	}
	return text;
}

static const char *read_query(const char *text)
{
	return read_target(METHOD_GET, "/a/-12", text);
}

static void test_values(void)
{
	CU_ASSERT_STRING_EQUAL(read_query("name=a+b%C3%a4&limit=9&share=-1.5e1&deep=true&colour=green&&colour=red"), "");
	CU_ASSERT_EQUAL(web_integer(&request, "n"), -12);
	CU_ASSERT_STRING_EQUAL(web_text(&request, "name"), "a b\xc3\xa4");
	CU_ASSERT_EQUAL(web_integer(&request, "limit"), 9);
	CU_ASSERT_EQUAL(web_number(&request, "share"), -15.0);
	CU_ASSERT_TRUE(web_boolean(&request, "deep"));
	CU_ASSERT_EQUAL(json_array_size(web_list(&request, "colour")), 2);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(web_list(&request, "colour"), 1)), "red");

	CU_ASSERT_STRING_EQUAL(read_query("name=#limit=7"), "");
	CU_ASSERT_STRING_EQUAL(web_text(&request, "name"), "");
	CU_ASSERT_EQUAL(web_integer(&request, "limit"), 5); /* the default */
	CU_ASSERT_FALSE(web_given(&request, "share"));
	CU_ASSERT_EQUAL(web_number(&request, "share"), 0);
	CU_ASSERT_FALSE(web_boolean(&request, "deep"));
	CU_ASSERT_PTR_NULL(web_list(&request, "colour"));

	CU_ASSERT_STRING_EQUAL(read_target(METHOD_PUT, "/b/x=&y/c/01890000-0000-7000-8000-0000000000Ff", "n=1"), "");
	CU_ASSERT_STRING_EQUAL(web_text(&request, "name"), "x=&y");
	CU_ASSERT_EQUAL(web_id(&request, "id").bytes[15], 0xff);
	CU_ASSERT_FALSE(web_given(&request, "n")); /* a route without a query does not look at it */
	CU_ASSERT_EQUAL(web_id(&request, "none").bytes[0], 0);
}

static void test_query_faults(void)
{
	static const struct {
		const char *query, *faults;
	} asked[] = {
		{ "", "query.name:missing" },
		{ "name=x&limit=0", "query.limit:greater_than_equal" }, { "name=x&limit=10", "query.limit:less_than_equal" },
		{ "name=x&limit=", "query.limit:int_parsing" }, { "name=x&limit=+5", "query.limit:int_parsing" },
		{ "name=x&limit=5x", "query.limit:int_parsing" }, { "name=x&limit=0x5", "query.limit:int_parsing" },
		{ "name=x&limit=5.0", "query.limit:int_parsing" }, { "name=x&limit", "query.limit:int_parsing" },
		{ "name=x&limit=-", "query.limit:int_parsing" }, { "name=x&limit=99999999999999999999", "query.limit:int_parsing" },
		{ "name=x&share=nan", "query.share:float_parsing" }, { "name=x&share=inf", "query.share:float_parsing" },
		{ "name=x&share=1e999", "query.share:float_parsing" }, { "name=x&share=0x1", "query.share:float_parsing" },
		{ "name=x&share=1+1", "query.share:float_parsing" }, { "name=x&deep=yes", "query.deep:bool_parsing" },
		{ "name=12345678901", "query.name:string_too_long" }, { "name=x&name=y", "query.name:multiple_argument_values" },
		{ "name=x&colour=blue", "query.colour:literal_error" }, { "name=x&colour=red&colour=red&colour=red", "query.colour:too_long" },
		{ "name=x&other=1", "query.other:extra_forbidden" }, { "name=x&n=5", "query.n:extra_forbidden" },
		{ "name=%", "query.name:string_unicode query.name:missing" }, { "name=%4", "query.name:string_unicode query.name:missing" },
		{ "name=%zz", "query.name:string_unicode query.name:missing" }, { "name=%00", "query.name:string_unicode query.name:missing" },
		{ "name=%ff", "query.name:string_unicode query.name:missing" }, { "%ff=1&name=x", "query.:string_unicode" },
		{ "limit=x&deep=x", "query.limit:int_parsing query.deep:bool_parsing query.name:missing" },
	};
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		const char *found = read_query(asked[i].query);
		if (strcmp(found, asked[i].faults) != 0)
			printf("\n    %s: expected \"%s\", got \"%s\"\n", asked[i].query, asked[i].faults, found);
		CU_ASSERT_STRING_EQUAL(found, asked[i].faults);
	}
	char longest[9000] = "name=";
	memset(longest + 5, 'x', sizeof(longest) - 6);
	CU_ASSERT_STRING_EQUAL(read_query(longest), "query.name:string_unicode query.name:missing");
	for (size_t i = 0; i + 4 < sizeof(longest); i += 4)
		memcpy(longest + i, "x=1&", 5);
	read_query(longest);
	CU_ASSERT_TRUE(json_array_size(faults.list) <= FAULTS_MAX);
}

static void test_path_faults(void)
{
	CU_ASSERT_STRING_EQUAL(read_target(METHOD_DELETE, "/a/x", ""), "path.n:int_parsing");
	CU_ASSERT_STRING_EQUAL(read_target(METHOD_DELETE, "/a/9223372036854775808", ""), "path.n:int_parsing");
	CU_ASSERT_STRING_EQUAL(read_target(METHOD_DELETE, "/a/-9223372036854775808", ""), "");
	CU_ASSERT_EQUAL(web_integer(&request, "n"), INT64_MIN);
	CU_ASSERT_STRING_EQUAL(read_target(METHOD_PUT, "/b/\xff/c/17", ""), "path.name:string_unicode path.id:uuid_parsing");
	CU_ASSERT_STRING_EQUAL(read_target(METHOD_GET, "/a/x", "limit=x"), "query.limit:int_parsing query.name:missing path.n:int_parsing");
}

static const struct schema_field nested[] = { { "a", OPTIONAL, { .types = SCHEMA_OBJECT } }, { 0 } };
static const struct schema_field untyped[] = { { "a", OPTIONAL, { .title = "" } }, { 0 } };
static const struct schema_field listless[] = { { "a", OPTIONAL, { .types = SCHEMA_ARRAY } }, { 0 } };
static const struct schema wrong_schema = { .types = SCHEMA_INTEGER, .max_length = 5 };

static const struct route wrong[] = {
	{ .method = METHOD_GET, .path = "", WELL },
	{ .method = METHOD_GET, .path = "/a/", WELL },
	{ .method = METHOD_GET, .path = "/a//b", WELL },
	{ .method = METHOD_GET, .path = "/{}", WELL },
	{ .method = METHOD_GET, .path = "/{a", WELL },
	{ .method = METHOD_GET, .path = "/x{a}", WELL },
	{ .method = METHOD_GET, .path = "/{a}x", WELL },
	{ .method = METHOD_GET, .path = "/{a:}", WELL },
	{ .method = METHOD_GET, .path = "/{a:float}", WELL },
	{ .method = METHOD_GET, .path = "/{abcdefghijklmnopqrstuvwxyzabcdefg}", WELL },
	{ .method = METHOD_GET, .path = "/{a}/{b}/{c}/{d}/{e}", WELL },
	{ .method = METHOD_HEAD, .path = "/", WELL },
	{ .method = METHOD_OPTIONS, .path = "/", WELL },
	{ .method = METHOD_GET, .path = "/", WELL, .query = nested },
	{ .method = METHOD_GET, .path = "/", WELL, .query = untyped },
	{ .method = METHOD_GET, .path = "/", WELL, .query = listless },
	{ .method = METHOD_POST, .path = "/", WELL, .body = &wrong_schema },
	{ .method = METHOD_POST, .path = "/", WELL, .body = &(const struct schema){ .types = SCHEMA_OBJECT }, .upload = true },
	{ .method = METHOD_GET, .path = "/", .tag = "t", .summary = "s", .description = "d" },
	{ .method = METHOD_GET, .path = "/", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d" },
	{ .method = METHOD_GET, .path = "/", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d",
	    .answers = (const struct route_answer[]){ { 299, "Strange", NULL }, { 0 } } },
	{ .method = METHOD_GET, .path = "/", .endpoint = nothing, .tag = "t", .summary = "s", .description = "d",
	    .answers = (const struct route_answer[]){ { 200, NULL, NULL }, { 0 } } },
};

static void test_rows(void)
{
	for (size_t i = 0; i < ROWS; i++)
		CU_ASSERT_PTR_NULL(route_fault(&rows[i]));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (route_fault(&wrong[i]) == NULL)
			printf("\n    row %zu: nothing was found wrong with it\n", i);
		CU_ASSERT_PTR_NOT_NULL(route_fault(&wrong[i]));
	}
}

/* The responder's own table. */
static void test_table(void)
{
	size_t count;
	const struct route *routes = routes_all(&count);
	CU_ASSERT_TRUE_FATAL(count > 5);
	for (size_t i = 0; i < count; i++) {
		const char *fault = route_fault(&routes[i]);
		if (fault != NULL)
			printf("\n    %s %s: %s\n", method_name(routes[i].method), routes[i].path, fault);
		CU_ASSERT_PTR_NULL(fault);
		for (size_t j = 0; j < i; j++)
			CU_ASSERT_FALSE(routes[i].method == routes[j].method && strcmp(routes[i].path, routes[j].path) == 0);
	}
}

static int clean_up(void)
{
	json_decref(request.parameters);
	faults_clear(&faults);
	return 0;
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_finding),
		SUITE_TEST(test_values),
		SUITE_TEST(test_query_faults),
		SUITE_TEST(test_path_faults),
		SUITE_TEST(test_rows),
		SUITE_TEST(test_table),
	};

	return RUN_TESTS_WITHIN("routes", NULL, clean_up, tests);
}
