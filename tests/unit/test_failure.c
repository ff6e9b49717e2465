/* The default policy for failures, the built-in callbacks, and the cleaning of texts. */
#include <string.h>

#include "taskd/failure.h"
#include "taskd/text.h"
#include "tests/unit/runner.h"

static struct tr_failure failure(uint32_t attempt, uint32_t max_attempts, uint32_t base_ms, uint32_t cap_ms)
{
	return (struct tr_failure){
		.kind = TR_FAILED_RETURNED, .attempt = attempt, .max_attempts = max_attempts,
		.backoff_base_ms = base_ms, .backoff_cap_ms = cap_ms, .message = "",
	};
}

static void test_backoff_doubles_up_to_the_cap(void)
{
	static const uint64_t expected[] = { 1000, 2000, 4000, 8000, 10000, 10000 };

	for (uint32_t attempt = 1; attempt <= 6; attempt++) {
		struct tr_failure f = failure(attempt, 100, 1000, 10000);
		CU_ASSERT_EQUAL(failure_backoff_ms(&f), expected[attempt - 1]);
	}
}

static void test_backoff_never_overflows(void)
{
	static const uint32_t attempts[] = { 0, 1, 31, 32, 33, 64, 65, 1000, UINT32_MAX };
	static const uint32_t values[] = { 0, 1, 1000, UINT32_MAX - 1, UINT32_MAX };

	for (size_t a = 0; a < sizeof attempts / sizeof attempts[0]; a++)
		for (size_t b = 0; b < sizeof values / sizeof values[0]; b++)
			for (size_t c = 0; c < sizeof values / sizeof values[0]; c++) {
				struct tr_failure f = failure(attempts[a], UINT32_MAX, values[b], values[c]);
				uint64_t doublings = attempts[a] ? attempts[a] - 1 : 0;
				uint64_t wanted = values[b];
				for (uint64_t i = 0; i < doublings && wanted < values[c]; i++) {
					wanted *= 2;
					if (wanted == 0)
						break;
				}
				CU_ASSERT_EQUAL(failure_backoff_ms(&f), wanted < values[c] ? wanted : values[c]);
			}
}

static void test_jitter_covers_the_whole_range(void)
{
	struct tr_failure f = failure(3, 5, 1000, 600000); /* up to 4000 ms */
	struct tr_verdict verdict = failure_default(&f, 0);

	CU_ASSERT_EQUAL(verdict.kind, TR_VERDICT_RETRY);
	CU_ASSERT_EQUAL(verdict.delay_ms, 0);
	CU_ASSERT_EQUAL(failure_default(&f, UINT64_MAX).delay_ms, 4000);
	CU_ASSERT_EQUAL(failure_default(&f, UINT64_MAX / 2).delay_ms, 2000);
	CU_ASSERT_EQUAL(failure_default(&f, UINT64_MAX / 4).delay_ms, 1000);

	/* 100,000 draws in 4 classes: a uniform one deviates from 25,000 by 137 (one sigma). */
	uint64_t state = 1, counts[4] = { 0 };
	for (int i = 0; i < 100000; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		uint64_t delay = failure_default(&f, state ^ state >> 32 ^ state << 32).delay_ms;
		CU_ASSERT_FATAL(delay <= 4000);
		counts[delay < 4000 ? delay / 1000 : 3]++;
	}
	for (int i = 0; i < 4; i++)
		CU_ASSERT(counts[i] > 24000 && counts[i] < 26000);
}

/* A peer's Retry-After is a lower bound, whatever the backoff's cap says. */
static void test_retry_after(void)
{
	struct tr_failure f = failure(3, 5, 1000, 2000);

	f.retry_after_ms = 1500;
	CU_ASSERT_EQUAL(failure_default(&f, 0).delay_ms, 1500);
	CU_ASSERT_EQUAL(failure_default(&f, UINT64_MAX).delay_ms, 2000);
	f.retry_after_ms = 120000;
	CU_ASSERT_EQUAL(failure_default(&f, UINT64_MAX).delay_ms, 120000);
	f.retry_after_ms = UINT64_MAX;
	CU_ASSERT_EQUAL(failure_default(&f, 0).delay_ms, TR_DELAY_MS_MAX);
	f.permanent = true;
	CU_ASSERT_EQUAL(failure_default(&f, 0).kind, TR_VERDICT_BURY);
}

static void test_bury(void)
{
	struct tr_failure last = failure(5, 5, 1000, 600000);
	struct tr_failure beyond = failure(6, 5, 1000, 600000);
	struct tr_failure before = failure(4, 5, 1000, 600000);
	struct tr_failure only = failure(1, 1, 1000, 600000);

	CU_ASSERT_EQUAL(failure_default(&last, 7).kind, TR_VERDICT_BURY);
	CU_ASSERT_EQUAL(failure_default(&last, 7).delay_ms, 0);
	CU_ASSERT_EQUAL(failure_default(&beyond, 7).kind, TR_VERDICT_BURY);
	CU_ASSERT_EQUAL(failure_default(&before, 7).kind, TR_VERDICT_RETRY);
	CU_ASSERT_EQUAL(failure_default(&only, 7).kind, TR_VERDICT_BURY);
	before.permanent = true;
	CU_ASSERT_EQUAL(failure_default(&before, 7).kind, TR_VERDICT_BURY);
}

static void test_built_in_callbacks(void)
{
	static const struct { const char *name; enum tr_verdict_kind kind; } expected[] = {
		{ "default", TR_VERDICT_DEFAULT }, { "bury", TR_VERDICT_BURY }, { "discard", TR_VERDICT_DISCARD },
	};
	struct tr_failure f = failure(1, 5, 1000, 600000);

	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT_STRING_EQUAL(failure_callbacks[i].name, expected[i].name);
		CU_ASSERT_EQUAL(failure_callbacks[i].call(NULL, &f).kind, expected[i].kind);
		CU_ASSERT(strlen(failure_callbacks[i].doc) > 0);
	}
	CU_ASSERT_PTR_NULL(failure_callbacks[3].name);
}

static void test_kind_names(void)
{
	CU_ASSERT_STRING_EQUAL(tr_failure_kind_name(TR_FAILED_RETURNED), "returned");
	CU_ASSERT_STRING_EQUAL(tr_failure_kind_name(TR_FAILED_TIMEOUT), "timeout");
	CU_ASSERT_STRING_EQUAL(tr_failure_kind_name(TR_FAILED_CRASHED), "crashed");
	CU_ASSERT_STRING_EQUAL(tr_failure_kind_name(TR_FAILED_KILLED), "killed");
	CU_ASSERT_STRING_EQUAL(tr_failure_kind_name(TR_FAILED_BAD_ARGUMENTS), "bad arguments");
	CU_ASSERT_STRING_EQUAL(tr_failure_kind_name(TR_FAILURE_KINDS), "unknown");
}

/* ---- texts ------------------------------------------------------------------------------- */

static void expect_clean(const char *from, size_t bytes, size_t most, const char *expected)
{
	char to[256];

	memset(to, '?', sizeof to);
	CU_ASSERT_EQUAL(text_clean(to, most, from, bytes), strlen(expected));
	CU_ASSERT_STRING_EQUAL(to, expected);
	CU_ASSERT_TRUE(text_is_line(to, strlen(to)));
}

#define EXPECT_CLEAN(from, most, expected) expect_clean((from), sizeof(from) - 1, (most), (expected))

static void test_clean(void)
{
	EXPECT_CLEAN("plain", 100, "plain");
	EXPECT_CLEAN("", 100, "");
	EXPECT_CLEAN("a line\r\n\n", 100, "a line");
	EXPECT_CLEAN("a\nb\tc\033[0m\177", 100, "a\u240ab\u2409c\u241b[0m\u2421");
	EXPECT_CLEAN("\0", 100, "\u2400");
	EXPECT_CLEAN("\xc2\x85", 100, "\ufffd");                       /* a C1 control */
	EXPECT_CLEAN("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 100, "\u00e4\u20ac\U0001f600");
	EXPECT_CLEAN("\xff\xc3", 100, "\ufffd\ufffd");                 /* never valid; cut short */
	EXPECT_CLEAN("\xc0\x80", 100, "\ufffd\ufffd");                 /* overlong */
	EXPECT_CLEAN("\xed\xa0\x80", 100, "\ufffd\ufffd\ufffd");       /* a surrogate */
	EXPECT_CLEAN("\xf4\x90\x80\x80", 100, "\ufffd\ufffd\ufffd\ufffd"); /* above U+10FFFF */
	EXPECT_CLEAN("\xf0\x9f\x98" "a", 100, "\ufffd" "a");           /* a maximal subpart is one */
}

static void test_cut_at_a_character(void)
{
	EXPECT_CLEAN("abcdef", 4, "abcd");
	EXPECT_CLEAN("abc\xc3\xa4", 5, "abc\u00e4");
	EXPECT_CLEAN("abc\xc3\xa4", 4, "abc");
	EXPECT_CLEAN("ab\xe2\x82\xac", 4, "ab");
	EXPECT_CLEAN("ab\n.", 4, "ab");
	EXPECT_CLEAN("abc", 0, "");
}

static void test_is_line(void)
{
	CU_ASSERT_TRUE(text_is_line("", 0));
	CU_ASSERT_TRUE(text_is_line("\u00e4", 2));
	CU_ASSERT_FALSE(text_is_line("\u00e4", 1));
	CU_ASSERT_FALSE(text_is_line("a\nb", 3));
	CU_ASSERT_FALSE(text_is_line("\0", 1));
	CU_ASSERT_TRUE(text_is_utf8("a\nb", 3));
	CU_ASSERT_FALSE(text_is_utf8("\xff", 1));
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_backoff_doubles_up_to_the_cap),
		SUITE_TEST(test_backoff_never_overflows),
		SUITE_TEST(test_jitter_covers_the_whole_range),
		SUITE_TEST(test_retry_after),
		SUITE_TEST(test_bury),
		SUITE_TEST(test_built_in_callbacks),
		SUITE_TEST(test_kind_names),
		SUITE_TEST(test_clean),
		SUITE_TEST(test_cut_at_a_character),
		SUITE_TEST(test_is_line),
	};

	return RUN_TESTS("failure", tests);
}
