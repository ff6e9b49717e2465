/* Histograms: bucket limits and quantiles against numbers worked out by hand. */
#include <stdlib.h>

#include "shared/hist.h"
#include "tests/unit/runner.h"

static void test_bucket_limits(void)
{
	static const struct {
		uint64_t value;
		unsigned bucket;
		uint64_t upper;
	} rows[] = {
		{ 0, 0, 0 }, { 1, 1, 1 }, { 15, 15, 15 }, { 16, 16, 16 }, { 31, 31, 31 },
		{ 32, 32, 33 }, { 33, 32, 33 }, { 34, 33, 35 }, { 63, 47, 63 }, { 64, 48, 67 },
		{ 1000, 111, 1023 }, { 1000000, 270, 1015807 },
		{ (1ull << 47) - 1, HIST_BUCKETS - 1, UINT64_MAX },
		{ 1ull << 47, HIST_BUCKETS - 1, UINT64_MAX }, { UINT64_MAX, HIST_BUCKETS - 1, UINT64_MAX },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CU_ASSERT_EQUAL(hist_bucket(rows[i].value), rows[i].bucket);
		CU_ASSERT_EQUAL(hist_bucket_upper(rows[i].bucket), rows[i].upper);
	}
}

/* No gap, no overlap, and no bucket wider than 1/16 of its smallest value. */
static void test_buckets_join(void)
{
	uint64_t lower = 0;

	for (unsigned bucket = 0; bucket < HIST_BUCKETS - 1; bucket++) {
		uint64_t upper = hist_bucket_upper(bucket);
		CU_ASSERT_EQUAL(hist_bucket(lower), bucket);
		CU_ASSERT_EQUAL(hist_bucket(upper), bucket);
		CU_ASSERT_TRUE(upper - lower <= lower / 16);
		lower = upper + 1;
	}
	CU_ASSERT_EQUAL(hist_bucket(lower), HIST_BUCKETS - 1);
	CU_ASSERT_EQUAL(lower, 31ull << 42);
}

static void test_quantiles(void)
{
	struct hist *hist = calloc(1, sizeof *hist);

	CU_ASSERT_PTR_NOT_NULL_FATAL(hist);
	CU_ASSERT_EQUAL(hist_quantile(hist, 500), 0);
	CU_ASSERT_EQUAL(hist_quantile(hist, 1000), 0);
	for (uint64_t value = 1000; value > 0; value--)
		hist_add(hist, value);
	CU_ASSERT_EQUAL(atomic_load(&hist->count), 1000);
	CU_ASSERT_EQUAL(atomic_load(&hist->sum), 500500);
	CU_ASSERT_EQUAL(atomic_load(&hist->max), 1000);
	CU_ASSERT_EQUAL(atomic_load(&hist->buckets[111]), 9); /* 992..1000 */
	CU_ASSERT_EQUAL(hist_quantile(hist, 0), 1);
	CU_ASSERT_EQUAL(hist_quantile(hist, 1), 1);
	CU_ASSERT_EQUAL(hist_quantile(hist, 10), 10);
	CU_ASSERT_EQUAL(hist_quantile(hist, 500), 511);  /* 500 lies in 496..511 */
	CU_ASSERT_EQUAL(hist_quantile(hist, 990), 991);  /* 960..991 */
	CU_ASSERT_EQUAL(hist_quantile(hist, 999), 1000); /* 992..1023, and the largest is 1000 */
	CU_ASSERT_EQUAL(hist_quantile(hist, 1000), 1000);
	free(hist);
}

/* One slow value among few: its rank is rounded up, so p99 of two values is the larger. */
static void test_quantile_of_few(void)
{
	struct hist *hist = calloc(1, sizeof *hist);

	CU_ASSERT_PTR_NOT_NULL_FATAL(hist);
	hist_add(hist, 7);
	CU_ASSERT_EQUAL(hist_quantile(hist, 1), 7);
	CU_ASSERT_EQUAL(hist_quantile(hist, 999), 7);
	hist_add(hist, 1000000);
	CU_ASSERT_EQUAL(hist_quantile(hist, 500), 7);
	CU_ASSERT_EQUAL(hist_quantile(hist, 990), 1000000);
	hist_add(hist, UINT64_MAX);
	CU_ASSERT_EQUAL(hist_quantile(hist, 999), UINT64_MAX);
	CU_ASSERT_EQUAL(atomic_load(&hist->buckets[HIST_BUCKETS - 1]), 1);
	free(hist);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "bucket limits", test_bucket_limits },
		{ "buckets join", test_buckets_join },
		{ "quantiles", test_quantiles },
		{ "quantile of few values", test_quantile_of_few },
	};

	return RUN_TESTS("hist", tests);
}
