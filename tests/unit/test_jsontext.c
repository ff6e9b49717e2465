/* The check of JSON text: by examples, by jansson's opinion of mutated texts, and at its limits. */
#include <CUnit/Basic.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskd/jsontext.h"

static void expect_fault(const char *text, size_t bytes, const char *expected, size_t expected_at)
{
	size_t at = 999;
	const char *fault = jsontext_fault(text, bytes, &at);

	CU_ASSERT_PTR_NOT_NULL(fault);
	if (!fault)
		return;
	CU_ASSERT_STRING_EQUAL(fault, expected);
	CU_ASSERT_EQUAL(at, expected_at);
	if (strcmp(fault, expected) != 0 || at != expected_at)
		printf("\n  %s: \"%s\" at %zu\n", text, fault, at);
}

#define FAULT(text, expected, at) expect_fault((text), sizeof(text) - 1, (expected), (at))

static const char early[] = "the text ends too early";

static void test_faults(void)
{
	FAULT("", early, 0);
	FAULT(" ", early, 1);
	FAULT("[1", early, 2);
	FAULT("[1,", early, 3);
	FAULT("{\"a\"", early, 4);
	FAULT("{\"a\":", early, 5);
	FAULT("\"a", early, 2);
	FAULT("\"\\", early, 2);
	FAULT("\"\\u12", early, 5);
	FAULT("-", early, 1);
	FAULT("tru", early, 3);
	FAULT("trux", "no value begins like this", 3);
	FAULT("'a'", "no value begins like this", 0);
	FAULT("[,1]", "no value begins like this", 1);
	FAULT("[1,]", "no value begins like this", 3);
	FAULT("01", "a number begins with 0", 1);
	FAULT("1.", early, 2);
	FAULT("[1.]", "a digit is missing", 3);
	FAULT("[1e+]", "a digit is missing", 4);
	FAULT("{1:2}", "a key is missing", 1);
	FAULT("{\"a\":1,}", "a key is missing", 7);
	FAULT("{\"a\" 1}", "a colon is missing", 5);
	FAULT("[1}", "neither , nor ] follows", 2);
	FAULT("{\"a\":1]", "neither , nor } follows", 6);
	FAULT("{} x", "something follows the value", 3);
	FAULT("1\0", "something follows the value", 1);
	FAULT("\"\n\"", "a control character in a string", 1);
	FAULT("\"\\x\"", "an unknown escape", 2);
	FAULT("\"\\\0\"", "an unknown escape", 2);
	FAULT("\"\\u12g4\"", "\\u without four digits", 5);
	FAULT("\"\\ud800\"", "a surrogate without its partner", 7);
	FAULT("\"\\udc00\"", "a surrogate without its partner", 7);
	FAULT("\"\\ud800\\u0041\"", "a surrogate without its partner", 13);
	FAULT("\"\xc3\"", "not UTF-8", 1);
	FAULT("\xef\xbb\xbf{}", "no value begins like this", 0);
}

static void test_good(void)
{
	static const char *const texts[] = {
		"{}", "[]", " [ ] ", "0", "-0", "-0.0e-0", "1E400", "12345678901234567890123", "\"\"", "\"\\u0000\\ud83d\\ude00\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\t\r\n true", "{\"\":{\"\":[{},[],\"\"]}}", "[1,2 , 3]", "\"\u20ac\U0001f600\x7f\"",
	};
	size_t at;

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		CU_ASSERT_PTR_NULL(jsontext_fault(texts[i], strlen(texts[i]), &at));
		CU_ASSERT_EQUAL(at, strlen(texts[i]));
	}
}

static void test_depth(void)
{
	static char text[2 * (JSONTEXT_DEPTH_MAX + 1)];
	size_t at;

	for (int deeper = 0; deeper <= 1; deeper++) {
		size_t depth = JSONTEXT_DEPTH_MAX + (size_t)deeper;
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		const char *fault = jsontext_fault(text, 2 * depth, &at);
		CU_ASSERT_EQUAL(fault != NULL, deeper);
	}
}

/* 1: yes, 0: no, -1: it met a number that it finds too large, and looked no further. */
static int jansson_takes(const char *text, size_t bytes)
{
	json_error_t error;
	json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
	int taken = value ? 1 : strstr(error.text, "overflow") ? -1 : 0;

	json_decref(value);
	return taken;
}

static uint64_t state = 88172645463325252ull;

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* One byte dropped, put in, changed, or cut off the end; the new length. */
static size_t mutate(char *text, size_t bytes)
{
	static const char alphabet[] = "{}[]\",:\\u0123456789eE+-.tfn \n\x01\x7f\x80\xc3\xff";
	size_t place = draw() % bytes;
	char other = alphabet[draw() % (sizeof alphabet - 1)]; /* no zero: jansson takes one for the end */

	switch (draw() >> 62) {
	case 0:
		memmove(text + place, text + place + 1, bytes - place - 1);
		return bytes > 1 ? bytes - 1 : bytes;
	case 1:
		memmove(text + place + 1, text + place, bytes - place);
		text[place] = other;
		return bytes + 1;
	case 2:
		text[place] = other;
		return bytes;
	default:
		return bytes > 1 && draw() % 4 == 0 ? bytes - 1 : bytes;
	}
}

/* Valid texts, mutated: both must think the same of each. */
static void test_against_jansson(void)
{
	static const char *const seeds[] = {
		"{\"to\":\"ada@example.org\",\"n\":[1,-2.5,3e8,0],\"deep\":{\"a\":{\"b\":[[],{}]}}}",
		"[true,false,null,\"\\u00e4\\ud83d\\ude00\\n\",\"\u20ac\u00e4\"]", " \"x\\\\y\\\"z\" ", "-12.50e+07",
	};
	unsigned accepted = 0, refused = 0, differ = 0;

	for (unsigned round = 0; round < 200000; round++) {
		const char *seed = seeds[round % (sizeof seeds / sizeof seeds[0])];
		size_t bytes = strlen(seed), at;
		char text[256];
		memcpy(text, seed, bytes + 1);
		for (unsigned changes = round % 3 + 1; changes > 0; changes--)
			bytes = mutate(text, bytes);
		char *exact = malloc(bytes); /* so that a sanitizer sees any step beyond */
		if (!exact)
			abort();
		memcpy(exact, text, bytes);
		bool ours = jsontext_fault(exact, bytes, &at) == NULL;
		CU_ASSERT(at <= bytes);
		int theirs = jansson_takes(exact, bytes);
		if (theirs >= 0 && theirs != ours && differ++ < 10)
			printf("\n  differ: %.*s (%d, %d)\n", (int)bytes, exact, ours, theirs);
		accepted += ours;
		refused += !ours;
		free(exact);
	}
	CU_ASSERT_EQUAL(differ, 0);
	CU_ASSERT(accepted > 10000 && refused > 10000);
}

int main(void)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite("jsontext", NULL, NULL);
	CU_ADD_TEST(suite, test_faults);
	CU_ADD_TEST(suite, test_good);
	CU_ADD_TEST(suite, test_depth);
	CU_ADD_TEST(suite, test_against_jansson);
	CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures > 0;
}
