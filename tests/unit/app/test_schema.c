/*
 * Schemas: what passes, what does not, and what is said of it. Each row is a value and the faults
 * that it must have, as "place:type" in their order.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/schema.h"
#include "tests/unit/runner.h"

/* At file scope, as all tables: there what they are made of lives as long as they do. */
static const struct schema pattern_schema = { .types = SCHEMA_STRING, .pattern = PATTERN("^(a|b)+c{2}$") };
static const struct schema greedy = { .types = SCHEMA_STRING, .pattern = PATTERN("^(([a-z])+[a-z]*)+!$") };
static const struct schema lists = { .types = SCHEMA_OBJECT, .extra = &(const struct schema){ .types = SCHEMA_ARRAY,
	    .items = &(const struct schema){ .types = SCHEMA_INTEGER } } };
static const struct schema headers = { .types = SCHEMA_OBJECT, .max_count = 2,
		.names = &(const struct schema){ .types = SCHEMA_STRING, .pattern = PATTERN("^[A-Za-z|-]+$"), .max_length = 5 },
		.extra = &(const struct schema){ .types = SCHEMA_STRING } };
static const struct schema numbers = { .types = SCHEMA_ARRAY, .items = &(const struct schema){ .types = SCHEMA_INTEGER } };

static const struct schema person = {
	.types = SCHEMA_OBJECT,
	.fields = (const struct schema_field[]){
		{ "email", REQUIRED, { .types = SCHEMA_STRING, .format = FORMAT_EMAIL } },
		{ "age", OPTIONAL, { .types = SCHEMA_INTEGER | SCHEMA_NULL, .minimum = AT_LEAST(18) } },
		{ "role", OPTIONAL, { .types = SCHEMA_STRING, .default_json = "\"guest\"" } },
		{ "tags", OPTIONAL, { .types = SCHEMA_ARRAY, .min_count = 1, .max_count = 3,
			.items = &(const struct schema){ .types = SCHEMA_STRING, .min_length = 1 } } },
		{ "address", OPTIONAL, { .types = SCHEMA_OBJECT, .extra_allowed = true, .fields = (const struct schema_field[]){
			{ "city", REQUIRED, { .types = SCHEMA_STRING } }, { "zip", REQUIRED, { .types = SCHEMA_STRING } }, { 0 } } } },
		{ 0 },
	},
};

static const struct schema wrong[] = {
	{ .types = SCHEMA_INTEGER, .max_length = 1 }, { .max_length = 1 }, { .types = SCHEMA_STRING, .minimum = AT_LEAST(1) },
	{ .types = SCHEMA_STRING, .extra_allowed = true }, { .types = SCHEMA_OBJECT, .items = &person }, { .types = SCHEMA_STRING, .max_count = 1 },
	{ .types = SCHEMA_STRING, .min_length = 2, .max_length = 1 }, { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(2), .maximum = AT_MOST(1) },
	{ .types = SCHEMA_INTEGER, .maximum = AT_MOST(1e17) }, { .types = SCHEMA_INTEGER, .default_json = "\"1\"" },
	{ .types = SCHEMA_INTEGER, .example = "{" },
	{ .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){ { "a", OPTIONAL, { .types = SCHEMA_STRING } }, { "a", OPTIONAL, { .types = SCHEMA_STRING } }, { 0 } } },
	{ .types = SCHEMA_OBJECT, .fields = (const struct schema_field[]){ { "a", REQUIRED, { .default_json = "1" } }, { 0 } } },
	{ .types = SCHEMA_ARRAY, .items = &(const struct schema){ .types = SCHEMA_INTEGER, .max_length = 1 } },
};

static json_t *value;

/* "" when there is none. */
static const char *faults_of(const struct schema *schema, const char *json, bool from_text)
{
	static char text[16384];
	static const struct fault_place place = { .name = "body" };
	struct faults faults = { .list = NULL };
	size_t used = 0, i;
	const json_t *fault, *part;
	json_decref(value);
	value = json_loads(json, JSON_DECODE_ANY, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	bool well = schema_validate(schema, value, &place, from_text, &faults);
	CU_ASSERT_EQUAL(well, !faults_any(&faults));
	text[0] = '\0';
	json_array_foreach (faults.list, i, fault) {
		size_t j;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", i > 0 ? " " : "");
		json_array_foreach (json_object_get(fault, "loc"), j, part) {
			const char *dot = j > 0 ? "." : "";
			if (json_is_string(part))
				used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", dot, json_string_value(part));
			else
				used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld", dot, json_integer_value(part));
		}
		used += (size_t)snprintf(text + used, sizeof(text) - used, ":%s", json_string_value(json_object_get(fault, "type")));
		CU_ASSERT_TRUE(json_string_length(json_object_get(fault, "msg")) > 0);
	}
	faults_clear(&faults);
	return text;
}

struct row {
	const char *json, *faults;
};

static void check(const struct schema *schema, const struct row *rows, size_t count)
{
	CU_ASSERT_PTR_NULL(schema_table_fault(schema));
	for (size_t i = 0; i < count; i++) {
		const char *found = faults_of(schema, rows[i].json, false);
		if (strcmp(found, rows[i].faults) != 0)
			printf("\n    %s: expected \"%s\", got \"%s\"\n", rows[i].json, rows[i].faults, found);
		CU_ASSERT_STRING_EQUAL(found, rows[i].faults);
	}
}
#define CHECK(schema, ...) check(&(schema), (const struct row[]){ __VA_ARGS__ }, \
    sizeof((const struct row[]){ __VA_ARGS__ }) / sizeof(struct row))

static void test_types(void)
{
	static const struct {
		unsigned types;
		const char *faults[7]; /* of the values below */
	} rows[] = {
		{ SCHEMA_STRING, { "", "body:string_type", "body:string_type", "body:string_type", "body:string_type", "body:string_type", "body:string_type" } },
		{ SCHEMA_INTEGER, { "body:int_type", "", "body:int_from_float", "body:int_type", "body:int_type", "body:int_type", "body:int_type" } },
		{ SCHEMA_NUMBER, { "body:float_type", "", "", "body:float_type", "body:float_type", "body:float_type", "body:float_type" } },
		{ SCHEMA_BOOLEAN, { "body:bool_type", "body:bool_type", "body:bool_type", "", "body:bool_type", "body:bool_type", "body:bool_type" } },
		{ SCHEMA_OBJECT, { "body:dict_type", "body:dict_type", "body:dict_type", "body:dict_type", "", "body:dict_type", "body:dict_type" } },
		{ SCHEMA_ARRAY, { "body:list_type", "body:list_type", "body:list_type", "body:list_type", "body:list_type", "", "body:list_type" } },
		{ SCHEMA_NULL, { "body:none_required", "body:none_required", "body:none_required", "body:none_required", "body:none_required", "body:none_required", "" } },
		{ SCHEMA_ANY, { "", "", "", "", "", "", "" } },
		{ SCHEMA_STRING | SCHEMA_NULL, { "", "body:string_type", "body:string_type", "body:string_type", "body:string_type", "body:string_type", "" } },
	};
	static const char *const values[] = { "\"1\"", "1", "1.5", "true", "{}", "[]", "null" };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t j = 0; j < 7; j++) {
			const struct schema schema = { .types = rows[i].types };
			CU_ASSERT_STRING_EQUAL(faults_of(&schema, values[j], false), rows[i].faults[j]);
		}
}

static void test_lengths(void)
{
	static const struct schema schema = { .types = SCHEMA_STRING, .min_length = 2, .max_length = 3 };
	CHECK(schema, { "\"ab\"", "" }, { "\"abc\"", "" }, { "\"a\"", "body:string_too_short" }, { "\"\"", "body:string_too_short" },
	    { "\"abcd\"", "body:string_too_long" },
	    /* characters, not bytes */
	    { "\"\\u00e4\\u00e4\\u00e4\"", "" }, { "\"\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00\"", "" },
	    { "\"\\ud83d\\ude00\"", "body:string_too_short" });
}

static void test_choices(void)
{
	static const char *const choices[] = { "red", "green", NULL };
	static const struct schema schema = { .types = SCHEMA_STRING, .choices = choices };
	CHECK(schema, { "\"red\"", "" }, { "\"green\"", "" }, { "\"\"", "body:literal_error" }, { "\"Red\"", "body:literal_error" },
	    { "\"gree\"", "body:literal_error" }, { "1", "body:string_type" });
}

static void test_patterns(void)
{
	CHECK(pattern_schema, { "\"abcc\"", "" }, { "\"cc\"", "body:string_pattern_mismatch" }, { "\"acc\\n\"", "body:string_pattern_mismatch" },
	    { "\"x\\nacc\"", "body:string_pattern_mismatch" }, { "\"accc\"", "body:string_pattern_mismatch" });
}

/* What makes engines that try all ways take for ever: 100,000 letters and no end. */
static void test_pattern_is_linear(void)
{
	static char json[100003];
	memset(json, 'a', sizeof(json) - 1);
	json[0] = json[sizeof(json) - 2] = '"';
	CU_ASSERT_PTR_NULL(schema_table_fault(&greedy));
	CU_ASSERT_STRING_EQUAL(faults_of(&greedy, json, false), "body:string_pattern_mismatch");
	json[sizeof(json) - 3] = '!';
	CU_ASSERT_STRING_EQUAL(faults_of(&greedy, json, false), "");
}

static void *match(void *context)
{
	size_t matched = 0;
	for (int i = 0; i < 1000; i++)
		matched += schema_pattern_matches(context, i % 2 == 0 ? "abc" : "abd");
	return (void *)matched;
}

/* The first uses of a pattern at the same time: it is compiled once. */
static void test_pattern_threads(void)
{
	static struct schema_pattern pattern = { "^[a-c]*$", NULL };
	pthread_t threads[8];
	for (size_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, match, &pattern), 0);
	for (size_t i = 0; i < 8; i++) {
		void *matched = NULL;
		pthread_join(threads[i], &matched);
		CU_ASSERT_EQUAL((size_t)matched, 500);
	}
}

static void test_formats(void)
{
	static const struct schema email = { .types = SCHEMA_STRING, .format = FORMAT_EMAIL };
	CHECK(email, { "\"ada@example.org\"", "" }, { "\"ada\"", "body:value_error" });
	static const struct schema uuid = { .types = SCHEMA_STRING, .format = FORMAT_UUID };
	CHECK(uuid, { "\"01890000-0000-7000-8000-00000000000A\"", "" }, { "\"01890000-0000-7000-8000-00000000000\"", "body:uuid_parsing" },
	    { "\"01890000000070008000000000000000\"", "body:uuid_parsing" }, { "\"\"", "body:uuid_parsing" });
	static const struct schema line = { .types = SCHEMA_STRING, .format = FORMAT_LINE };
	CHECK(line, { "\"a \\u00e4\\u00a0\"", "" }, { "\"a\\nb\"", "body:value_error" }, { "\"\\t\"", "body:value_error" },
	    { "\"\\u007f\"", "body:value_error" }, { "\"\\u0085\"", "body:value_error" });
}

static void test_uris(void)
{
	static const struct schema uri = { .types = SCHEMA_STRING, .format = FORMAT_URI };
	CHECK(uri, { "\"urn:isbn:0451450523\"", "" }, { "\"mailto:ada@example.org\"", "" }, { "\"http://example.org/%41?a=b#c\"", "" },
	    { "\"/path\"", "body:url_parsing" }, { "\"\"", "body:url_parsing" }, { "\"http://a b\"", "body:url_parsing" },
	    { "\"http://x/%4\"", "body:url_parsing" }, { "\"http://[::1\"", "body:url_parsing" });
	static const struct schema url = { .types = SCHEMA_STRING, .format = FORMAT_HTTP_URL };
	CHECK(url, { "\"http://example.org\"", "" }, { "\"HTTPS://example.org:8443/a?b=c\"", "" }, { "\"http://[::1]/\"", "" },
	    { "\"http://127.0.0.1/\"", "" }, /* allowed or not: that is the handler's to say */
	    { "\"ftp://example.org/\"", "body:url_scheme" }, { "\"file:///etc/passwd\"", "body:url_scheme" },
	    { "\"javascript:alert(1)\"", "body:url_scheme" }, { "\"http:///path\"", "body:url_parsing" },
	    { "\"http:example.org\"", "body:url_parsing" }, { "\"http://u:p@example.org/\"", "body:url_parsing" },
	    { "\"http://example.org/#x\"", "body:url_parsing" }, { "\"http://example.org:0/\"", "body:url_parsing" },
	    { "\"http://example.org:65536/\"", "body:url_parsing" }, { "\"http://example.org:99999999999999999999/\"", "body:url_parsing" },
	    { "\"http://example.org/\\r\\nX: y\"", "body:url_parsing" }, { "\"http://ex\\u00e4mple.org/\"", "body:url_parsing" },
	    { "\"//example.org\"", "body:url_parsing" }, { "\"http://ex%41mple.org/\"", "body:url_parsing" },
	    { "\"http://[v1.a]/\"", "body:url_parsing" });
}

static void test_date_times(void)
{
	static const struct schema schema = { .types = SCHEMA_STRING, .format = FORMAT_DATE_TIME };
	CHECK(schema, { "\"2026-01-31T09:05:00Z\"", "" }, { "\"2024-02-29t23:59:60.123456789z\"", "" },
	    { "\"2000-02-29T00:00:00+05:30\"", "" }, { "\"1999-12-31T23:59:59-00:00\"", "" },
	    { "\"2023-02-29T00:00:00Z\"", "body:datetime_parsing" }, { "\"1900-02-29T00:00:00Z\"", "body:datetime_parsing" },
	    { "\"2026-13-01T00:00:00Z\"", "body:datetime_parsing" }, { "\"2026-00-01T00:00:00Z\"", "body:datetime_parsing" },
	    { "\"2026-04-31T00:00:00Z\"", "body:datetime_parsing" }, { "\"2026-04-00T00:00:00Z\"", "body:datetime_parsing" },
	    { "\"2026-01-31T24:00:00Z\"", "body:datetime_parsing" }, { "\"2026-01-31T09:60:00Z\"", "body:datetime_parsing" },
	    { "\"2026-01-31T09:05:61Z\"", "body:datetime_parsing" }, { "\"2026-01-31T09:05:00\"", "body:datetime_parsing" },
	    { "\"2026-01-31T09:05:00.Z\"", "body:datetime_parsing" }, { "\"2026-01-31 09:05:00Z\"", "body:datetime_parsing" },
	    { "\"2026-01-31T09:05:00+0530\"", "body:datetime_parsing" }, { "\"2026-01-31T09:05:00+24:00\"", "body:datetime_parsing" },
	    { "\"2026-01-31T09:05:00+05:30x\"", "body:datetime_parsing" }, { "\"2026-01-31T09:05:00Zx\"", "body:datetime_parsing" },
	    { "\"2026-01\"", "body:datetime_parsing" }, { "\"\"", "body:datetime_parsing" });
}

static void test_bounds(void)
{
	static const struct schema inside = { .types = SCHEMA_INTEGER, .minimum = AT_LEAST(2), .maximum = AT_MOST(1e10) };
	CHECK(inside, { "2", "" }, { "10000000000", "" }, { "1", "body:greater_than_equal" }, { "-9223372036854775808", "body:greater_than_equal" },
	    { "10000000001", "body:less_than_equal" }, { "9223372036854775807", "body:less_than_equal" });
	static const struct schema between = { .types = SCHEMA_NUMBER, .minimum = ABOVE(0), .maximum = BELOW(1) };
	CHECK(between, { "0.5", "" }, { "0", "body:greater_than" }, { "-0.0", "body:greater_than" }, { "1", "body:less_than" },
	    { "1e308", "body:less_than" }, { "0.9999999999999999", "" });
}

static void test_integral_numbers_become_integers(void)
{
	CU_ASSERT_STRING_EQUAL(faults_of(&lists, "{\"a\":[1.0,1e7,-0.0,2],\"b\":[9007199254740992.0]}", false), "");
	char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
	CU_ASSERT_STRING_EQUAL(text, "{\"a\":[1,10000000,0,2],\"b\":[9007199254740992]}");
	free(text);
	CU_ASSERT_STRING_EQUAL(faults_of(&lists, "{\"a\":[1e300]}", false), "body.a.0:int_parsing_size");
}

static void test_objects(void)
{
	CHECK(person, { "{\"email\":\"a@b.cc\"}", "" }, { "{\"email\":\"a@b.cc\",\"age\":null}", "" },
	    { "{}", "body.email:missing" }, { "[]", "body:model_attributes_type" }, { "null", "body:model_attributes_type" },
	    { "{\"email\":null}", "body.email:string_type" }, { "{\"email\":\"a@b.cc\",\"Email\":1}", "body.Email:extra_forbidden" },
	    { "{\"email\":\"a@b.cc\",\"tags\":[]}", "body.tags:too_short" },
	    { "{\"email\":\"a@b.cc\",\"tags\":[\"a\",\"\",3,\"d\"]}", "body.tags:too_long body.tags.1:string_too_short body.tags.2:string_type" },
	    { "{\"email\":\"a@b.cc\",\"address\":{\"city\":1,\"more\":{\"x\":[1]}}}", "body.address.city:string_type body.address.zip:missing" },
	    { "{\"email\":\"a@b.cc\",\"address\":[]}", "body.address:model_attributes_type" },
	    /* all at once */
	    { "{\"email\":\"a\",\"age\":17,\"tags\":[],\"address\":{},\"x\":1}", "body.email:value_error body.age:greater_than_equal "
	      "body.tags:too_short body.address.city:missing body.address.zip:missing body.x:extra_forbidden" });
	faults_of(&person, "{\"email\":\"a@b.cc\"}", false);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(value, "role")), "guest");
	CU_ASSERT_PTR_NULL(json_object_get(value, "tags"));
}

static void test_maps(void)
{
	CHECK(headers, { "{}", "" }, { "{\"A-b\":\"c\"}", "" }, { "{\"A b\":\"c\"}", "body.A b:string_pattern_mismatch" },
	    { "{\"abcdef\":\"c\"}", "body.abcdef:string_too_long" }, { "{\"\":\"c\"}", "body.:string_pattern_mismatch" },
	    { "{\"a\":1}", "body.a:string_type" }, { "{\"a\":\"\",\"b\":\"\",\"c\":\"\"}", "body:too_long" });
	static const struct schema open = { .types = SCHEMA_OBJECT, .extra_allowed = true, .min_count = 1 };
	CHECK(open, { "{\"a\":[{}]}", "" }, { "{}", "body:too_short" });
}

/* An answer of bounded size, whatever the body is. */
static void test_many_faults(void)
{
	static const struct schema nothing = { .types = SCHEMA_OBJECT };
	json_t *array = json_array(), *object = json_object();
	struct faults faults = { .list = NULL };
	for (int i = 0; i < 5000; i++) {
		char name[400];
		json_array_append_new(array, json_true());
		/* long names of two-byte characters are cut between two of them */
		memset(name, 'x', sizeof(name));
		for (size_t j = 5; j + 2 < sizeof(name); j += 2)
			memcpy(name + j, "\xc3\xa4", 2);
		memcpy(name, &(char[5]){ (char)('a' + i % 26), (char)('a' + i / 26 % 26), (char)('a' + i / 676), 'x', 'x' }, 5);
		name[sizeof(name) - 1] = '\0';
		json_object_set_new(object, name, json_true());
	}
	CU_ASSERT_FALSE(schema_validate(&numbers, array, NULL, false, &faults));
	CU_ASSERT_EQUAL(json_array_size(faults.list), FAULTS_MAX);
	faults_clear(&faults);
	CU_ASSERT_FALSE(schema_validate(&nothing, object, NULL, false, &faults));
	CU_ASSERT_EQUAL(json_array_size(faults.list), FAULTS_MAX);
	CU_ASSERT_FALSE(faults.no_memory);
	char *text = json_dumps(faults.list, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_TRUE(strlen(text) < FAULTS_MAX * 200);
	free(text);
	faults_clear(&faults);
	json_decref(array);
	json_decref(object);
}

static void test_from_text(void)
{
	static const struct schema integer = { .types = SCHEMA_INTEGER }, number = { .types = SCHEMA_NUMBER },
				   boolean = { .types = SCHEMA_BOOLEAN };
	CU_ASSERT_STRING_EQUAL(faults_of(&integer, "\"x\"", true), "body:int_parsing");
	CU_ASSERT_STRING_EQUAL(faults_of(&number, "\"x\"", true), "body:float_parsing");
	CU_ASSERT_STRING_EQUAL(faults_of(&boolean, "\"x\"", true), "body:bool_parsing");
}

static void test_messages(void)
{
	static const char *const choices[] = { "a", "b", "c", NULL };
	static const struct {
		struct schema schema;
		const char *json, *message;
	} rows[] = {
		{ { .types = SCHEMA_STRING, .min_length = 1 }, "\"\"", "String should have at least 1 character" },
		{ { .types = SCHEMA_STRING, .max_length = 2 }, "\"abc\"", "String should have at most 2 characters" },
		{ { .types = SCHEMA_STRING, .choices = choices }, "\"\"", "Input should be 'a', 'b' or 'c'" },
		{ { .types = SCHEMA_INTEGER, .maximum = AT_MOST(1e10) }, "10000000001", "Input should be less than or equal to 10000000000" },
		{ { .types = SCHEMA_NUMBER, .minimum = ABOVE(0.5) }, "0.5", "Input should be greater than 0.5" },
		{ { .types = SCHEMA_ARRAY, .min_count = 2 }, "[1]", "List should have at least 2 items after validation, not 1" },
		{ { .types = SCHEMA_OBJECT, .min_count = 1 }, "{}", "Dictionary should have at least 1 item after validation, not 0" },
		{ { .types = SCHEMA_INTEGER }, "1e300", "Unable to parse input string as an integer, exceeded maximum size" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct faults faults = { .list = NULL };
		json_t *of = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
		schema_validate(&rows[i].schema, of, NULL, false, &faults);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_array_get(faults.list, 0), "msg")), rows[i].message);
		json_decref(of);
		faults_clear(&faults);
	}
}

static void test_wrong_tables(void)
{
	static struct schema_pattern patterns[] = { { "a", NULL }, { "^a", NULL }, { "^\\d$", NULL }, { "^[[:alpha:]]$", NULL },
		{ "^a|b$", NULL }, { "^[$", NULL }, { "^(a$", NULL } };
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		CU_ASSERT_PTR_NOT_NULL(schema_pattern_fault(&patterns[i]));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT_PTR_NOT_NULL(schema_table_fault(&wrong[i]));
	for (enum schema_format format = FORMAT_EMAIL; format < SCHEMA_FORMATS; format++)
		CU_ASSERT_PTR_NOT_NULL(schema_format_name(format));
}

static int clean_up(void)
{
	json_decref(value);
	return 0;
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_types),
		SUITE_TEST(test_lengths),
		SUITE_TEST(test_choices),
		SUITE_TEST(test_patterns),
		SUITE_TEST(test_pattern_is_linear),
		SUITE_TEST(test_pattern_threads),
		SUITE_TEST(test_formats),
		SUITE_TEST(test_uris),
		SUITE_TEST(test_date_times),
		SUITE_TEST(test_bounds),
		SUITE_TEST(test_integral_numbers_become_integers),
		SUITE_TEST(test_objects),
		SUITE_TEST(test_maps),
		SUITE_TEST(test_many_faults),
		SUITE_TEST(test_from_text),
		SUITE_TEST(test_messages),
		SUITE_TEST(test_wrong_tables),
	};

	return RUN_TESTS_WITHIN("schema", NULL, clean_up, tests);
}
