/* The open resources of a thread: when they are opened, checked and closed, and how often. */
#include "shared/resource.h"
#include "tests/unit/runner.h"

#include <stdio.h>
#include <string.h>

/* A connection of the test's own; what was done to it is written down. */
struct connection {
	int number; /* 1 for the first opened; 0: closed */
	bool fit;
};

#define CONNECTIONS 8
static struct connection connections[CONNECTIONS];
static int opened, closed;
static const char *refusal; /* open() fails with it; NULL: it does not */
static char history[256];

static void note(const char *what, int number)
{
	size_t used = strlen(history);

	snprintf(history + used, sizeof history - used, "%s%d ", what, number);
}

static void begin(void)
{
	memset(connections, 0, sizeof connections);
	opened = closed = 0;
	refusal = NULL;
	history[0] = '\0';
}

static bool open_connection(void **handle, struct tr_error *error)
{
	if (refusal) {
		snprintf(error->text, sizeof error->text, "%s", refusal);
		return false;
	}
	struct connection *connection = &connections[opened++ % CONNECTIONS];
	*connection = (struct connection){ .number = opened, .fit = true };
	*handle = connection;
	note("open", opened);
	return true;
}

static bool check_connection(void *handle)
{
	const struct connection *connection = handle;

	note("check", connection->number);
	CU_ASSERT(connection->number > 0);
	return connection->fit;
}

static void close_connection(void *handle)
{
	struct connection *connection = handle;

	note("close", connection->number);
	CU_ASSERT(connection->number > 0);
	connection->number = 0;
	closed++;
}

static const struct tr_resource database = { "database", "", open_connection, check_connection, close_connection };
static const struct tr_resource cache = { "cache", "", open_connection, check_connection, close_connection };
static const struct tr_resource unchecked = { "unchecked", "", open_connection, NULL, NULL };

static struct connection *use(struct resource_set *set, const struct tr_resource *resource)
{
	struct tr_error error;
	struct connection *connection = resource_use(set, resource, &error);

	CU_ASSERT_PTR_NOT_NULL_FATAL(connection);
	return connection;
}

static void test_opened_once(void)
{
	struct resource_set *set = resource_set_new();

	begin();
	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	for (int i = 0; i < 3; i++) {
		struct connection *connection = use(set, &database);
		CU_ASSERT_EQUAL(connection->number, 1);
		resource_release(set, &database, connection);
	}
	CU_ASSERT_EQUAL(use(set, &cache)->number, 2); /* another resource is another thing */
	resource_set_free(&set);
	CU_ASSERT_PTR_NULL(set);
	resource_set_free(&set);
	CU_ASSERT_STRING_EQUAL(history, "open1 check1 check1 open2 close2 close1 ");
}

static void test_reopened_when_broken(void)
{
	struct resource_set *set = resource_set_new();

	begin();
	struct connection *first = use(set, &database);
	resource_release(set, &database, first);
	first->fit = false;
	struct connection *second = use(set, &database);
	CU_ASSERT_EQUAL(second->number, 2);
	resource_release(set, &database, second);
	resource_set_free(&set);
	CU_ASSERT_STRING_EQUAL(history, "open1 check1 close1 open2 close2 ");
}

/* The first's users keep it until the last of them has released it. */
static void test_broken_while_used(void)
{
	struct resource_set *set = resource_set_new();

	begin();
	struct connection *first = use(set, &database);
	CU_ASSERT_PTR_EQUAL(use(set, &database), first);
	first->fit = false;
	struct connection *second = use(set, &database);
	CU_ASSERT_EQUAL(second->number, 2);
	CU_ASSERT_PTR_EQUAL(use(set, &database), second);
	CU_ASSERT_EQUAL(closed, 0);
	resource_release(set, &database, first);
	CU_ASSERT_EQUAL(closed, 0);
	resource_release(set, &database, first);
	CU_ASSERT_EQUAL(closed, 1);
	CU_ASSERT_EQUAL(first->number, 0);
	resource_release(set, &database, second);
	resource_release(set, &database, second);
	CU_ASSERT_EQUAL(closed, 1); /* it is fit and stays open */
	resource_set_free(&set);
	CU_ASSERT_EQUAL(closed, 2);
	CU_ASSERT_STRING_EQUAL(history, "open1 check1 check1 open2 check2 close1 close2 ");
}

static void test_open_fails(void)
{
	struct resource_set *set = resource_set_new();
	struct tr_error error;

	begin();
	refusal = "connection refused";
	CU_ASSERT_PTR_NULL(resource_use(set, &database, &error));
	CU_ASSERT_STRING_EQUAL(error.text, "connection refused");
	refusal = "";
	CU_ASSERT_PTR_NULL(resource_use(set, &database, &error));
	CU_ASSERT_STRING_EQUAL(error.text, "it cannot be opened, and gave no reason");
	refusal = NULL;
	struct connection *connection = use(set, &database);
	resource_release(set, &database, connection);
	/* Broken, and cannot be opened anew: nothing is left over, and the next use tries again. */
	connection->fit = false;
	refusal = "still down";
	CU_ASSERT_PTR_NULL(resource_use(set, &database, &error));
	CU_ASSERT_STRING_EQUAL(error.text, "still down");
	CU_ASSERT_EQUAL(closed, 1);
	refusal = NULL;
	CU_ASSERT_EQUAL(use(set, &database)->number, 2);
	resource_set_free(&set);
	CU_ASSERT_EQUAL(closed, 2);
}

static bool open_nothing(void **handle, struct tr_error *error)
{
	(void)handle;
	(void)error;
	return true;
}

static void test_no_handle(void)
{
	static const struct tr_resource nothing = { "nothing", "", open_nothing, NULL, NULL };
	struct resource_set *set = resource_set_new();
	struct tr_error error;

	CU_ASSERT_PTR_NULL(resource_use(set, &nothing, &error));
	CU_ASSERT_STRING_EQUAL(error.text, "its open() answered true without a handle");
	resource_set_free(&set);
}

static void test_without_check_and_close(void)
{
	struct resource_set *set = resource_set_new();

	begin();
	struct connection *connection = use(set, &unchecked);
	connection->fit = false; /* nobody asks */
	CU_ASSERT_PTR_EQUAL(use(set, &unchecked), connection);
	resource_set_free(&set);
	CU_ASSERT_STRING_EQUAL(history, "open1 ");
}

/* An open() that always answers the same thing: each release still finds its partner. */
static bool open_same(void **handle, struct tr_error *error)
{
	static struct connection same;

	(void)error;
	same = (struct connection){ .number = ++opened };
	*handle = &same;
	return true;
}

static void forget(void *handle)
{
	(void)handle;
	closed++;
}

static void test_one_handle_twice(void)
{
	static const struct tr_resource twice = { "twice", "", open_same, check_connection, forget };
	struct resource_set *set = resource_set_new();

	begin();
	struct connection *first = use(set, &twice);
	struct connection *second = use(set, &twice); /* never fit: opened a second time */
	CU_ASSERT_PTR_EQUAL(first, second);
	resource_release(set, &twice, first);
	resource_release(set, &twice, second);
	CU_ASSERT_EQUAL(closed, 1);
	resource_set_free(&set);
	CU_ASSERT_EQUAL(opened, 2);
	CU_ASSERT_EQUAL(closed, 2);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_opened_once),
		SUITE_TEST(test_reopened_when_broken),
		SUITE_TEST(test_broken_while_used),
		SUITE_TEST(test_open_fails),
		SUITE_TEST(test_no_handle),
		SUITE_TEST(test_without_check_and_close),
		SUITE_TEST(test_one_handle_twice),
	};

	return RUN_TESTS("resource", tests);
}
