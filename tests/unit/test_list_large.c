/* Listing tasks with large arguments: how much of the journal's file a page reads, counted in SQLite's pages. */
#include "tests/unit/dispatch_client.h"

#define ROWS 2000
#define ARGS_BYTES 16000
#define PAGES_A_ROW 4 /* of arguments, beyond the table itself */

static struct tr_task_status rows[TR_LIST_MAX];
static struct tr_id next;

static bool is_none(const struct tr_id *id)
{
	return id_equal(id, &(struct tr_id){ { 0 } });
}

/* What SQLite had not got in memory, since this was set to 0. */
static int64_t pages_read;

static int on_statement(unsigned what, void *context, void *statement, void *ns)
{
	int now, most;

	(void)what, (void)context, (void)ns;
	if (sqlite3_db_status(sqlite3_db_handle(statement), SQLITE_DBSTATUS_CACHE_MISS, &now, &most, 1) == SQLITE_OK)
		pages_read += now;
	return 0;
}

static int trace_all(sqlite3 *connection, const char **error, const void *api)
{
	(void)error, (void)api;
	return sqlite3_trace_v2(connection, SQLITE_TRACE_PROFILE, on_statement, NULL);
}

static void make_large(void)
{
	open_client();
	catalogue_announced(&world.dispatcher, "noop", "", "");
	board_rows_show(&world.dispatcher);
	sql("WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
	    "INSERT INTO task (id, state, blocked, attempt, due_ms, ended_ms, handler, queue, on_failure, trace, flags, place, places, "
	    "max_attempts, backoff_base_ms, backoff_cap_ms, created_ns, args_bytes, args, error) "
	    "SELECT CAST(char(1) || printf('%%015d', i) AS BLOB), 4, 0, 1, i, i, CASE i WHEN 5 THEN 'rare' ELSE 'noop' END, 'q', '', '', "
	    "0, 0, 1, 5, 1000, 600000, 1, %d, json_object('n', i, 'text', printf('%%.*c', %d, 'x')), CASE i WHEN 6 THEN 'found' END FROM n",
	    ROWS - 1, ARGS_BYTES, ARGS_BYTES);
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "2000");
	sqlite3_auto_extension((void (*)(void))trace_all);
}

static void done_with_large(void)
{
	sqlite3_reset_auto_extension();
	close_client();
}

/* All pages of the filter; *found: how many tasks. The most of the file that one of them has read. */
static int64_t walk(const struct tr_task_filter *filter, unsigned *found, unsigned *pages)
{
	struct tr_id before;
	size_t count = 0;
	int64_t most = 0;

	memset(&before, 0xff, sizeof before);
	*found = *pages = 0;
	do {
		pages_read = 0;
		CU_ASSERT_EQUAL_FATAL(tr_tasks_list(client, filter, &before, 10, rows, &count, &next), TR_OK);
		for (size_t i = 0; i < count; i++)
			tr_task_status_clear(&rows[i]);
		*found += (unsigned)count;
		most = pages_read > most ? pages_read : most;
		before = next;
	} while (!is_none(&next) && ++*pages < 1000);
	++*pages;
	CU_ASSERT_TRUE(most > 0);
	return most;
}

/* What is not asked for is not read: the arguments lie outside of the table's own pages. */
static void test_not_read(void)
{
	static const struct tr_task_filter filters[] = { { .handler = "rare" }, { .queue = "other" } };
	static const unsigned expected[] = { 1, 0 };
	unsigned found, pages;

	make_large();
	for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
		int64_t most = walk(&filters[i], &found, &pages);
		CU_ASSERT_EQUAL(found, expected[i]);
		CU_ASSERT_EQUAL(pages, 1);
		CU_ASSERT_TRUE(most < ROWS);
		if (most >= ROWS)
			fprintf(stderr, "\n%lld pages read of %d rows", (long long)most, ROWS);
	}
	done_with_large();
}

/* A page that looks at arguments, or at what lies behind them, ends after so many bytes; all is found in the end. */
static void test_bounded(void)
{
	static const struct tr_task_filter filters[] = { { .text = "nowhere" }, { .args = { { "n", "7" } } }, { .text = "FOUND" } };
	static const unsigned expected[] = { 0, 1, 1 };
	unsigned found, pages;

	make_large();
	for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
		int64_t most = walk(&filters[i], &found, &pages);
		CU_ASSERT_EQUAL(found, expected[i]);
		CU_ASSERT_TRUE(pages >= 4 && pages < 20);
		CU_ASSERT_TRUE(most < ROWS * PAGES_A_ROW / 3);
		if (most >= ROWS * PAGES_A_ROW / 3)
			fprintf(stderr, "\n%lld pages read in one of %u", (long long)most, pages);
	}
	done_with_large();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "what is not asked for is not read", test_not_read },
		{ "what is read is bounded", test_bounded },
	};
	return RUN_DISPATCH_TESTS("list_large", tests);
}
