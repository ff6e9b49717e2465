/* Runs one suite of CUnit tests and says how it went. Called from main(), or by the fixtures. */
#ifndef TESTS_UNIT_RUNNER_H
#define TESTS_UNIT_RUNNER_H

#include <CUnit/Basic.h>

struct suite_test {
	const char *name;
	CU_TestFunc run;
};

#define SUITE_TEST(function) { #function, function }

/* What stands around the tests; each may be NULL. */
struct suite_around {
	CU_InitializeFunc begin; /* all of them; answers 0, or they fail */
	CU_CleanupFunc end;
	CU_SetUpFunc setup; /* each of them */
	CU_TearDownFunc teardown;
};

/* main()'s exit status. */
static inline int run_suite_around(const char *name, const struct suite_around *around, const struct suite_test *tests, size_t count)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite_with_setup_and_teardown(name, around->begin, around->end, around->setup, around->teardown);
	for (size_t i = 0; suite && i < count; i++)
		if (!CU_add_test(suite, tests[i].name, tests[i].run))
			return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_ErrorCode error = CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures > 0 || error != CUE_SUCCESS || !suite;
}

/* With something around each test. */
static inline int run_suite(const char *name, CU_SetUpFunc setup, CU_TearDownFunc teardown,
    const struct suite_test *tests, size_t count)
{
	return run_suite_around(name, &(struct suite_around){ .setup = setup, .teardown = teardown }, tests, count);
}

/* The same for a table of tests; with something around each of them; with something around all of them. */
#define RUN_TESTS(name, tests) RUN_TESTS_EACH(name, NULL, NULL, tests)
#define RUN_TESTS_EACH(name, setup, teardown, tests) run_suite(name, setup, teardown, tests, sizeof(tests) / sizeof((tests)[0]))
#define RUN_TESTS_WITHIN(name, first, last, tests) \
	run_suite_around(name, &(struct suite_around){ .begin = (first), .end = (last) }, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
