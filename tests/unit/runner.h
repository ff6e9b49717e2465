/* Runs one suite of CUnit tests and says how it went. Called by the fixtures, from main(). */
#ifndef TESTS_UNIT_RUNNER_H
#define TESTS_UNIT_RUNNER_H

#include <CUnit/Basic.h>

struct suite_test {
	const char *name;
	CU_TestFunc run;
};

/* main()'s exit status. `setup` and `teardown`, which may be NULL, stand around each test. */
static inline int run_suite(const char *name, CU_SetUpFunc setup, CU_TearDownFunc teardown,
    const struct suite_test *tests, size_t count)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite_with_setup_and_teardown(name, NULL, NULL, setup, teardown);
	for (size_t i = 0; suite && i < count; i++)
		if (!CU_add_test(suite, tests[i].name, tests[i].run))
			return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures > 0 || !suite;
}

#endif
