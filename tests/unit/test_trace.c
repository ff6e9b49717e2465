/* A request's trace and id, as its tasks carry them: joined, and taken apart. */
#include <string.h>

#include "shared/trace.h"
#include "tests/unit/runner.h"

#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"
#define TRACEPARENT "00-" TRACE_ID "-b7ad6b7169203331-01"

static void test_both(void)
{
	static const struct {
		const char *traceparent, *request_id, *joined;
	} rows[] = {
		{ TRACEPARENT, "r-1", TRACEPARENT ";request_id=r-1" },
		{ TRACEPARENT, TRACE_ID, TRACEPARENT ";" }, /* the id is in the trace */
		{ TRACEPARENT, "f" "af7651916cd43dd8448eb211c80319c", TRACEPARENT ";request_id=faf7651916cd43dd8448eb211c80319c" },
		{ TRACEPARENT, "", TRACEPARENT },
		{ "", "", "" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char joined[TR_TRACE_MAX + 1];
		struct trace trace;
		trace_join(joined, rows[i].traceparent, rows[i].request_id);
		CU_ASSERT_STRING_EQUAL(joined, rows[i].joined);
		trace_split(&trace, joined);
		CU_ASSERT_STRING_EQUAL(trace.traceparent, rows[i].traceparent);
		CU_ASSERT_STRING_EQUAL(trace.request_id, rows[i].request_id);
	}
}

static void test_too_long(void)
{
	char joined[TR_TRACE_MAX + 1] = "x", id[TR_TRACE_MAX] = "";
	memset(id, 'r', sizeof id - 1);
	trace_join(joined, TRACEPARENT, id);
	CU_ASSERT_STRING_EQUAL(joined, "");
}

/* What other programs publish. */
static void test_of_others(void)
{
	static const struct {
		const char *joined, *traceparent, *request_id;
	} rows[] = {
		{ "anything", "", "anything" },
		{ "a;b;request_id=c", "", "a;b;request_id=c" },
		{ ";", "", ";" },
		{ ";request_id=x", "", ";request_id=x" },
		{ TRACEPARENT ";other", TRACEPARENT, "" },
		{ "01-" TRACE_ID "-b7ad6b7169203331-01-0a;request_id=x", "01-" TRACE_ID "-b7ad6b7169203331-01-0a", "x" },
		{ "00_" TRACE_ID "_b7ad6b7169203331_01;request_id=x", "", "00_" TRACE_ID "_b7ad6b7169203331_01;request_id=x" },
	};
	struct trace trace;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		trace_split(&trace, rows[i].joined);
		CU_ASSERT_STRING_EQUAL(trace.traceparent, rows[i].traceparent);
		CU_ASSERT_STRING_EQUAL(trace.request_id, rows[i].request_id);
	}
	char longest[TR_TRACE_MAX + 1] = TRACEPARENT ";request_id=";
	memset(longest + strlen(longest), 'x', TR_TRACE_MAX - strlen(longest));
	trace_split(&trace, longest);
	CU_ASSERT_EQUAL(strlen(trace.request_id), TR_TRACE_MAX - strlen(TRACEPARENT ";request_id="));
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_both),
		SUITE_TEST(test_too_long),
		SUITE_TEST(test_of_others),
	};

	return RUN_TESTS("trace", tests);
}
