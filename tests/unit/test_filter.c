/* Listing by text, by time and by arguments: what matches, what is secret, and how much is looked at. */
#include "tests/unit/dispatch_client.h"

static struct tr_task_status rows[TR_LIST_MAX];

/* The handlers of all that match, the newest first. */
static const char *found(const struct tr_task_filter *filter)
{
	static char text[1000];
	struct tr_id before, next;
	size_t count, used = 0;

	text[0] = '\0';
	memset(&before, 0xff, sizeof before);
	do {
		CU_ASSERT_EQUAL_FATAL(tr_tasks_list(client, filter, &before, 2, rows, &count, &next), TR_OK);
		for (size_t i = 0; i < count; i++) {
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", rows[i].handler);
			tr_task_status_clear(&rows[i]);
		}
		before = next;
	} while (!id_equal(&next, &(struct tr_id){ { 0 } }));
	return text;
}

#define FOUND(...) found(&(const struct tr_task_filter){ __VA_ARGS__ })

static struct tr_id add(const char *handler, const char *args)
{
	CU_ASSERT_EQUAL(background_tasks_add(batch, handler, args, NULL), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	struct timespec two_ms = { 0, 2000000 }; /* ids of one millisecond have no order */
	nanosleep(&two_ms, NULL);
	return id;
}

/* Handlers a to f; d is one that nobody knows. */
static void make_some(void)
{
	open_client();
	world.config.queue_window = 100;
	catalogue_announced(&world.dispatcher, "a", "", "");
	catalogue_announced(&world.dispatcher, "b", "", "token,password");
	catalogue_announced(&world.dispatcher, "c", "", "");
	catalogue_announced(&world.dispatcher, "e", "", "");
	catalogue_announced(&world.dispatcher, "f", "", "");
	board_rows_show(&world.dispatcher);
	add("a", "{\"email\":\"ada@example.org\",\"n\":5,\"deep\":{\"list\":[1,\"two\"]},\"yes\":true}");
	add("b", "{\"email\":\"bob@example.org\",\"token\":\"hunter2\"}");
	add("c", "not JSON, but ada@example.org");
	add("d", "{\"email\":\"ada@example.org\"}");
	add("e", "{}");
	add("f", "[\"Ada\"]");
	dispatch();
}

static void test_text(void)
{
	make_some();
	EXPECT_TEXT(FOUND(.text = "ada@"), "c a");
	EXPECT_TEXT(FOUND(.text = "ADA"), "f c a");
	EXPECT_TEXT(FOUND(.text = "email"), "d b a");
	EXPECT_TEXT(FOUND(.text = "hunter"), "");
	EXPECT_TEXT(FOUND(.text = "***"), "d b");
	EXPECT_TEXT(FOUND(.text = "nowhere"), "");
	EXPECT_TEXT(FOUND(.text = "ada", .handler = "c"), "c");
	EXPECT_TEXT(FOUND(.text = "ada", .states = 1u << TR_DEAD), "");
	EXPECT_TEXT(FOUND(.text = ""), "f e d c b a");
	struct tr_task_status *status = rows;
	size_t count;
	struct tr_id next;
	char id[TR_ID_TEXT_SIZE];
	CU_ASSERT_EQUAL(tr_tasks_list(client, &(struct tr_task_filter){ .handler = "e" }, NULL, 1, rows, &count, &next), TR_OK);
	EXPECT_TEXT(FOUND(.text = tr_id_format(&status->id, id)), "e");
	id[0] ^= 0x20; /* hexadecimal digits in the other case, if it is one */
	EXPECT_TEXT(FOUND(.text = id + 9), "e");
	close_client();
}

/* An error, on the board and in the journal; and what only the board has. */
static void test_error(void)
{
	make_some();
	struct task *task = start_next();
	tasks_error(task, "Connection refused");
	tasks_move(&world.dispatcher, task, EV_BURY);
	tasks_show_all(&world.dispatcher);
	EXPECT_TEXT(FOUND(.text = "refused"), "a"); /* not committed yet */
	dispatch();
	EXPECT_TEXT(FOUND(.text = "connection"), "a");
	add("young", "{\"email\":\"young@example.org\"}");
	set_now(real_ms());
	intake_turn(&world.dispatcher);
	tasks_show_all(&world.dispatcher);
	EXPECT_TEXT(FOUND(.text = "YOUNG"), "young");
	EXPECT_TEXT(FOUND(.text = "young@"), ""); /* its arguments are in the ring only, for some ms */
	/* Without a board nobody knows what is secret: nothing but the names of members is searched. */
	char name[64];
	snprintf(name, sizeof name, "/%s.board", world.instance);
	shm_unlink(name);
	struct taskring *other;
	const struct tr_open_options options = { .journal = world.journal };
	CU_ASSERT_EQUAL(tr_open(&other, world.instance, &options, NULL), TR_OK);
	struct taskring *first = client;
	client = other;
	EXPECT_TEXT(FOUND(.text = "ada@example.org"), "");
	EXPECT_TEXT(FOUND(.text = "email"), "d b a");
	EXPECT_TEXT(FOUND(.text = "connection"), "a");
	client = first;
	tr_close(&other);
	close_client();
}

static void test_arguments(void)
{
	make_some();
	EXPECT_TEXT(FOUND(.args = { { "email", "bob@example.org" } }), "b");
	EXPECT_TEXT(FOUND(.args = { { "email", "bob@example" } }), "");
	EXPECT_TEXT(FOUND(.args = { { "n", "5" } }), "a");
	EXPECT_TEXT(FOUND(.args = { { "yes", "true" } }), "a");
	EXPECT_TEXT(FOUND(.args = { { "yes", "1" } }), "");
	EXPECT_TEXT(FOUND(.args = { { "deep.list[1]", "two" } }), "a");
	EXPECT_TEXT(FOUND(.args = { { "deep.list", "[1,\"two\"]" } }), "a");
	EXPECT_TEXT(FOUND(.args = { { "[0]", "Ada" } }), "f");
	EXPECT_TEXT(FOUND(.args = { { "token", "hunter2" } }), "");
	EXPECT_TEXT(FOUND(.args = { { "email", "ada@example.org" } }), "a"); /* of d nobody knows what is secret */
	EXPECT_TEXT(FOUND(.args = { { "n", "5" }, { "yes", "true" } }), "a");
	EXPECT_TEXT(FOUND(.args = { { "n", "5" }, { "yes", "false" } }), "");
	EXPECT_TEXT(FOUND(.text = "two", .args = { { "n", "5" } }), "a");
	EXPECT_TEXT(FOUND(.text = "three", .args = { { "n", "5" } }), "");
	/* What has changed since on the board still has to fit. */
	struct task *task = start_next();
	tasks_show_all(&world.dispatcher);
	CU_ASSERT_EQUAL(task->state, TR_RUNNING);
	EXPECT_TEXT(FOUND(.states = 1u << TR_QUEUED, .args = { { "n", "5" } }), "");
	tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
	close_client();
}

static void test_time(void)
{
	int64_t made_ms[6];
	size_t count;
	struct tr_id next;

	make_some();
	CU_ASSERT_EQUAL(tr_tasks_list(client, NULL, NULL, 6, rows, &count, &next), TR_OK);
	CU_ASSERT_EQUAL_FATAL(count, 6);
	for (size_t i = 0; i < 6; i++)
		made_ms[i] = rows[5 - i].created_ms;
	EXPECT_TEXT(FOUND(.from_ms = made_ms[2]), "f e d c");
	EXPECT_TEXT(FOUND(.to_ms = made_ms[2]), "b a");
	EXPECT_TEXT(FOUND(.from_ms = made_ms[2], .to_ms = made_ms[4]), "d c");
	EXPECT_TEXT(FOUND(.from_ms = made_ms[5] + 1), "");
	EXPECT_TEXT(FOUND(.to_ms = INT64_MAX), "f e d c b a");
	EXPECT_TEXT(FOUND(.from_ms = INT64_MAX, .to_ms = 1), "");
	close_client();
}

/* The walk begins and ends where the times say: a hundred days of rows are not looked at. */
static void test_time_is_quick(void)
{
	open_client();
	world.config.queue_window = 100;
	sqlite3 *journal;
	sqlite3_stmt *insert;
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(world.journal, &journal), SQLITE_OK);
	sqlite3_exec(journal, "BEGIN", NULL, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(sqlite3_prepare_v2(journal, "INSERT INTO task (id, state, blocked, attempt, failures, due_ms, ended_ms, "
	    "handler, queue, flags, place, places, max_attempts, backoff_base_ms, backoff_cap_ms, created_ns, args_bytes, args) "
	    "VALUES (?1, 4, 0, 1, 0, 1, 1, ?2, 'q', 0, 0, 1, 5, 1000, 600000, ?3, 2, '{}')", -1, &insert, NULL), SQLITE_OK);
	const int64_t begin_ms = 1600000000000, step_ms = 144000;
	for (int i = 0; i < 60000; i++) {
		char name[16];
		const struct tr_id id = id_make(&world.dispatcher.ids, (begin_ms + i * step_ms) * 1000000);
		snprintf(name, sizeof name, "h%d", i);
		sqlite3_bind_blob(insert, 1, id.bytes, sizeof id.bytes, SQLITE_STATIC);
		sqlite3_bind_text(insert, 2, name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(insert, 3, (begin_ms + i * step_ms) * 1000000);
		sqlite3_step(insert);
		sqlite3_reset(insert);
	}
	sqlite3_finalize(insert);
	sqlite3_exec(journal, "COMMIT", NULL, NULL, NULL);
	sqlite3_close(journal);
	struct tr_id next;
	size_t count;
	/* One page finds what lies 30,000 rows down, and knows that there is no more, though only 20,000 are looked at. */
	const struct tr_task_filter old = { .from_ms = begin_ms + 30000 * step_ms, .to_ms = begin_ms + 30002 * step_ms };
	CU_ASSERT_EQUAL(tr_tasks_list(client, &old, NULL, 10, rows, &count, &next), TR_OK);
	CU_ASSERT_EQUAL_FATAL(count, 2);
	EXPECT_TEXT(rows[0].handler, "h30001");
	EXPECT_TEXT(rows[1].handler, "h30000");
	CU_ASSERT_TRUE(id_equal(&next, &(struct tr_id){ { 0 } }));
	/* A text that nothing has: each page is bounded, and all of them come to the end. */
	unsigned pages = 0;
	struct tr_id before;
	memset(&before, 0xff, sizeof before);
	do {
		CU_ASSERT_EQUAL(tr_tasks_list(client, &(struct tr_task_filter){ .text = "nowhere" }, &before, 10, rows, &count, &next), TR_OK);
		CU_ASSERT_EQUAL(count, 0);
		before = next;
		pages++;
	} while (!id_equal(&next, &(struct tr_id){ { 0 } }) && pages < 100);
	CU_ASSERT_EQUAL(pages, 4);
	close_client();
}

static void test_refused(void)
{
	char long_text[TR_FILTER_TEXT_MAX + 2];
	size_t count = 7;
	struct tr_id next;

	make_some();
	memset(long_text, 'a', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	const struct tr_task_filter bad[] = {
		{ .text = long_text }, { .args = { { "a", NULL } } }, { .args = { { "", "x" } } }, { .args = { { long_text, "x" } } },
		{ .args = { { "a", long_text } } },
		{ .args = { { "a", "x" }, { "..", "x" } } }, { .args = { { "\"a", "x" } } }, { .handler = "a b" }, { .queue = "" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CU_ASSERT_EQUAL(tr_tasks_list(client, &bad[i], NULL, 5, rows, &count, &next), TR_INVALID);
		CU_ASSERT_EQUAL(count, 0);
	}
	EXPECT_TEXT(FOUND(.args = { { "a'; DROP TABLE task --", "x" } }), "");
	EXPECT_TEXT(FOUND(.text = "%"), "");
	EXPECT_TEXT(sql("SELECT count(*) FROM task"), "6");
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "text", test_text },
		{ "error", test_error },
		{ "arguments", test_arguments },
		{ "time", test_time },
		{ "time is quick", test_time_is_quick },
		{ "refused", test_refused },
	};
	return RUN_DISPATCH_TESTS("filter", tests);
}
