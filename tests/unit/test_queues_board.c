/*
 * The board's rows of queues and handlers: what they count, when they are written, what becomes of them when there
 * are too few, and over the ends of dispatchers; what workers say of their handlers; the memory of workers.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

#include <fcntl.h>

#include "taskd/heartbeat.h"

/* "paused waiting running scheduled retrying accepted ended", or "none". */
static const char *queue_row(const char *name)
{
	static char text[2][160];
	static unsigned turn_of;
	char *to = text[turn_of++ % 2];
	struct board_queue row;

	board_rows_show(&world.dispatcher);
	if (!board_find_queue(world.dispatcher.board, name, &row))
		return "none";
	snprintf(to, sizeof text[0], "%u %llu %llu %llu %llu %llu %llu", row.paused, (unsigned long long)row.waiting,
	    (unsigned long long)row.running, (unsigned long long)row.scheduled, (unsigned long long)row.retrying,
	    (unsigned long long)row.accepted, (unsigned long long)row.ended);
	return to;
}

/* "known started succeeded failed", or "none". */
static const char *handler_row(const char *name, struct board_handler *row)
{
	static char text[80];

	board_rows_show(&world.dispatcher);
	if (!board_find_handler(world.dispatcher.board, name, row))
		return "none";
	snprintf(text, sizeof text, "%u %llu %llu %llu", row->known, (unsigned long long)row->started,
	    (unsigned long long)row->succeeded, (unsigned long long)row->failed);
	return text;
}

/* ---- queues ------------------------------------------------------------------------------ */

static void test_a_queue_counts(void)
{
	struct record record = record_for("h");
	struct board_queue row;

	publish(&record, 1);
	const int64_t first_ms = world.dispatcher.now_ms;
	settle();
	record.created_ns = world.dispatcher.now_ns;
	publish(&record, 2);
	record.run_at_ms = world.dispatcher.now_ms + 3600000;
	publish(&record, 1);
	settle();
	EXPECT_TEXT(queue_row("default"), "0 3 0 1 0 4 0");
	CU_ASSERT_TRUE(board_find_queue(world.dispatcher.board, "default", &row));
	CU_ASSERT_EQUAL(row.oldest_due_ms, first_ms);
	struct task *task = start_next();
	EXPECT_TEXT(queue_row("default"), "0 2 1 1 0 4 0");
	CU_ASSERT_TRUE(board_find_queue(world.dispatcher.board, "default", &row));
	CU_ASSERT(row.oldest_due_ms > first_ms);
	task->due_ms = world.dispatcher.now_ms + 1000;
	tasks_move(&world.dispatcher, task, EV_RETRY);
	window_admit(&world.dispatcher, task);
	EXPECT_TEXT(queue_row("default"), "0 2 0 1 1 4 0");
	run_next(EV_SUCCEEDED);
	run_next(EV_BURY);
	settle();
	EXPECT_TEXT(queue_row("default"), "0 0 0 1 1 4 2");
	EXPECT_TEXT(queue_row("other"), "none");
	/* One whose tasks were over before it was shown. */
	record = record_for("h");
	record.queue = span("brief");
	publish(&record, 1);
	intake_turn(&world.dispatcher);
	run_next(EV_SUCCEEDED);
	EXPECT_TEXT(queue_row("brief"), "0 0 0 0 0 1 1");
}

/* Those that rest in the journal count, blocked ones too, also after the start; so does what is retried. */
static void test_a_queue_counts_what_rests(void)
{
	struct tr_id ids[20];
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	publish_row(ids, 20);
	settle();
	publish(&record, 3);
	settle();
	CU_ASSERT(in_memory() < 23);
	EXPECT_TEXT(queue_row("default"), "0 23 0 0 0 23 0");
	start_next();
	settle();
	world_kill();
	world_start();
	EXPECT_TEXT(queue_row("default"), "0 23 0 0 0 23 0"); /* it runs again */
	const struct tr_id id = run_next(EV_BURY);
	settle();
	EXPECT_TEXT(queue_row("default"), "0 22 0 0 0 23 1");
	publish_command(RECORD_RETRY, id);
	settle();
	EXPECT_TEXT(queue_row("default"), "0 23 0 0 0 23 1");
}

/* Not for each move: at once when it has been quiet, then every 100 ms. */
static void test_rows_are_written_seldom(void)
{
	struct board_queue row;

	pass(1000);
	publish_one("h");
	intake_turn(&world.dispatcher);
	CU_ASSERT_EQUAL(board_rows_tick(&world.dispatcher), INT64_MAX);
	CU_ASSERT_TRUE(board_find_queue(world.dispatcher.board, "default", &row));
	CU_ASSERT_EQUAL(row.waiting, 1);
	publish_one("h");
	intake_turn(&world.dispatcher);
	pass(99);
	CU_ASSERT_EQUAL(board_rows_tick(&world.dispatcher), world.dispatcher.now_ms + 1);
	CU_ASSERT_TRUE(board_find_queue(world.dispatcher.board, "default", &row));
	CU_ASSERT_EQUAL(row.waiting, 1);
	pass(1);
	board_rows_tick(&world.dispatcher);
	CU_ASSERT_TRUE(board_find_queue(world.dispatcher.board, "default", &row));
	CU_ASSERT_EQUAL(row.waiting, 2);
	uint32_t sequence = board_queues(world.dispatcher.board)[0].sequence;
	pass(5000);
	CU_ASSERT_EQUAL(board_rows_tick(&world.dispatcher), INT64_MAX); /* nothing has changed */
	CU_ASSERT_EQUAL(board_queues(world.dispatcher.board)[0].sequence, sequence);
	publish_one("h");
	intake_turn(&world.dispatcher);
	pass(-3600000); /* the clock is put back */
	CU_ASSERT_EQUAL(board_rows_tick(&world.dispatcher), INT64_MAX);
}

static struct tr_id publish_into(const char *queue)
{
	struct record record = record_for("h");

	record.queue = span(queue);
	return publish(&record, 1);
}

/* More queues than rows: idle ones make room, busy and paused ones do not. */
static void test_too_many_queues(void)
{
	char name[16];

	publish_into("idle");
	settle();
	run_next(EV_SUCCEEDED);
	settle();
	EXPECT_TEXT(queue_row("idle"), "0 0 0 0 0 1 1");
	for (unsigned i = 0; i < BOARD_QUEUES - 1; i++) {
		snprintf(name, sizeof name, "q%u", i);
		publish_into(name);
	}
	settle();
	EXPECT_TEXT(queue_row("idle"), "0 0 0 0 0 1 1");
	CU_ASSERT_EQUAL(stat_of(STAT_board_unshown), 0);
	publish_into("one");
	settle();
	EXPECT_TEXT(queue_row("idle"), "none");
	EXPECT_TEXT(queue_row("one"), "0 1 0 0 0 1 0");
	publish_into("more");
	settle();
	EXPECT_TEXT(queue_row("more"), "none");
	CU_ASSERT_EQUAL(stat_of(STAT_board_unshown), 1);
	world_kill();
	world_start();
	settle();
	EXPECT_TEXT(queue_row("one"), "0 1 0 0 0 1 0");
	CU_ASSERT_EQUAL(stat_of(STAT_board_unshown), 1);
	run_next(EV_SUCCEEDED); /* whoever's it was: one has become idle */
	settle();
	EXPECT_TEXT(queue_row("more"), "0 1 0 0 0 0 0"); /* counted since it has a row */
	CU_ASSERT_EQUAL(stat_of(STAT_board_unshown), 0);
}

/* A writer that died within a row: nobody reads it, and the next dispatcher gives it to another. */
static void test_torn_rows(void)
{
	struct board_queue row;
	struct board_handler handler;

	publish_one("h");
	settle();
	catalogue_announced(&world.dispatcher, "h", "", "");
	board_rows_show(&world.dispatcher);
	world_kill();
	char name[64];
	snprintf(name, sizeof name, "/%s.board", world.instance);
	int fd = shm_open(name, O_RDWR, 0);
	struct stat status;
	fstat(fd, &status);
	struct board *board = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(board, MAP_FAILED);
	board_queues(board)[0].sequence |= 1;
	board_handlers(board)[0].sequence |= 1;
	CU_ASSERT_FALSE(board_copy_queue(board, 0, &row));
	CU_ASSERT_FALSE(board_copy_handler(board, 0, &handler));
	world_start();
	CU_ASSERT_TRUE(board_queues(board)[0].sequence % 2 == 0);
	EXPECT_TEXT(queue_row("default"), "0 1 0 0 0 0 0"); /* what it had counted is lost */
	EXPECT_TEXT(handler_row("h", &handler), "none");
	CU_ASSERT_FALSE(board_copy_queue(board, BOARD_QUEUES, &row));
	CU_ASSERT_FALSE(board_copy_handler(board, BOARD_HANDLERS, &handler));
	munmap(board, (size_t)status.st_size);
}

/* ---- handlers ---------------------------------------------------------------------------- */

#define ANNOUNCE(text) say(&one, 0, MESSAGE_HANDLER, 0, 0, 0, text, sizeof(text) - 1)

static void test_a_handler_counts(void)
{
	struct board_handler row;

	start_worker();
	ANNOUNCE("h\0Does \xc3\xa4 thing\0password,token.*");
	outcome_turn(&world.dispatcher);
	EXPECT_TEXT(handler_row("h", &row), "1 0 0 0");
	EXPECT_TEXT(row.doc, "Does \xc3\xa4 thing");
	EXPECT_TEXT(row.secrets, "password,token.*");
	for (int i = 0; i < 3; i++) {
		publish_one("h");
		give();
		begin(&one, 0);
		pass(10);
		end(&one, 0, i < 2 ? TR_SUCCESS : TR_FAILURE, 0, "");
	}
	EXPECT_TEXT(handler_row("h", &row), "1 3 2 1");
	CU_ASSERT_EQUAL(row.run_sum_ns, 30000000);
	CU_ASSERT_EQUAL(row.run[7], 3); /* 10 ms: from 4,096 us to 16,384 us */
	CU_ASSERT(board_run_limit_ns(6) <= 10000000 && 10000000 < board_run_limit_ns(7));
	player_dies(&one, EXIT(0), false);
	world_kill();
	world_start();
	EXPECT_TEXT(handler_row("h", &row), "0 3 2 1"); /* no worker has it yet */
	EXPECT_TEXT(row.secrets, "password,token.*");
	start_worker();
	ANNOUNCE("h\0\0");
	outcome_turn(&world.dispatcher);
	EXPECT_TEXT(handler_row("h", &row), "1 3 2 1");
	EXPECT_TEXT(row.secrets, "");
	player_dies(&one, EXIT(0), false);
}

/* Each limit belongs to the bucket behind it. */
static void test_buckets(void)
{
	struct record record = record_for("h");
	publish(&record, 1);
	settle();
	struct task *task = start_next();

	for (unsigned i = 0; i < BOARD_RUN_BUCKETS; i++) {
		catalogue_ended(&world.dispatcher, task, board_run_limit_ns(i) - 1, true);
		CU_ASSERT_EQUAL(task->handler->run[i], i ? 2 : 1);
		catalogue_ended(&world.dispatcher, task, board_run_limit_ns(i), true);
	}
	CU_ASSERT_EQUAL(task->handler->run[BOARD_RUN_BUCKETS - 1], 3);
	catalogue_ended(&world.dispatcher, task, UINT64_MAX, true);
	catalogue_ended(&world.dispatcher, task, 0, true);
	CU_ASSERT_EQUAL(task->handler->run[BOARD_RUN_BUCKETS - 1], 4);
	CU_ASSERT_EQUAL(task->handler->run[0], 2);
	tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
}

/* What no worker has told of is not shown: nobody knows its secrets. */
static void test_unknown_handlers(void)
{
	struct board_handler row;

	start_worker();
	publish_one("misspelt");
	give();
	begin(&one, 0);
	end(&one, 0, TR_SUCCESS, 0, "");
	EXPECT_TEXT(handler_row("misspelt", &row), "none");
	player_dies(&one, EXIT(0), false);
}

static void test_hostile_announcements(void)
{
	static const struct { const char *text; size_t bytes; } bad[] = {
#define BAD(text) { text, sizeof(text) - 1 }
		BAD(""), BAD("h"), BAD("h\0doc"), BAD("\0doc\0"), BAD("a b\0\0"), BAD(".h\0\0"), BAD("h\0two\nlines\0"),
		BAD("h\0\xff\0"), BAD("h\0\0,"), BAD("h\0\0a,,b"), BAD("h\0\0a b"), BAD("h\0\0a\0b"), BAD("h\0\0\""), BAD("h\0\0a,"),
		BAD("h\0\0.*"), BAD("h\0\0*"), BAD("h\0\0a*"), BAD("h\0\0a.*b"), BAD("h\0\0a.*.*"), BAD("h\0\0a.b*,c"),
		BAD("0123456789012345678901234567890123456789012345678901234567890123\0\0"),
		BAD("h\0012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
		    "1234567890123456789012345678901234567890\0"),
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		unsigned kills = world.kills;
		start_worker();
		say(&one, 0, MESSAGE_HANDLER, 0, 0, 0, bad[i].text, bad[i].bytes);
		outcome_turn(&world.dispatcher);
		CU_ASSERT_EQUAL(world.kills, kills + 1);
		player_dies(&one, SIGKILL, true);
	}
	CU_ASSERT_EQUAL(HASH_COUNT(world.dispatcher.handlers), 0);
}

/* More handlers than rows: those beyond are counted, and shown when those of former workers can go. */
static void test_too_many_handlers(void)
{
	struct board_handler row;
	char name[16];

	for (unsigned i = 0; i <= BOARD_HANDLERS; i++) {
		snprintf(name, sizeof name, "h%u", i);
		catalogue_announced(&world.dispatcher, name, "", "secret");
	}
	board_rows_show(&world.dispatcher);
	CU_ASSERT_EQUAL(stat_of(STAT_board_unshown), 1);
	world_kill();
	world_start();
	catalogue_announced(&world.dispatcher, "new", "", "");
	EXPECT_TEXT(handler_row("new", &row), "1 0 0 0");
	CU_ASSERT_EQUAL(stat_of(STAT_board_unshown), 0);
}

/* ---- workers ----------------------------------------------------------------------------- */

static void test_memory(void)
{
	struct board_worker row;
	int memory_fd = mailbox_create(1);

	CU_ASSERT_FATAL(memory_fd >= 0);
	workers_started(&world.dispatcher, 0, getpid(), 0, 1, 0, memory_fd); /* the test itself */
	heartbeat(&world.dispatcher);
	CU_ASSERT_TRUE(board_copy_worker(world.dispatcher.board, 0, &row));
	CU_ASSERT(row.memory_kb > 1000 && row.memory_kb < 1000000);
	settle_worker_ended(&world.dispatcher, &world.dispatcher.workers[0], EXIT(0), false, 4321);
	CU_ASSERT_TRUE(board_copy_worker(world.dispatcher.board, 0, &row));
	CU_ASSERT_EQUAL(row.memory_kb, 0);
	CU_ASSERT_EQUAL(row.peak_memory_kb, 4321);
	/* One whose process is gone already. */
	workers_started(&world.dispatcher, 0, 0x3fffffff, 0, 1, 0, memory_fd);
	heartbeat(&world.dispatcher);
	CU_ASSERT_TRUE(board_copy_worker(world.dispatcher.board, 0, &row));
	CU_ASSERT_EQUAL(row.memory_kb, 0);
	settle_worker_ended(&world.dispatcher, &world.dispatcher.workers[0], EXIT(0), false, 0);
	close(memory_fd);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a queue counts", test_a_queue_counts },
		{ "a queue counts what rests", test_a_queue_counts_what_rests },
		{ "rows are written seldom", test_rows_are_written_seldom },
		{ "too many queues", test_too_many_queues },
		{ "torn rows", test_torn_rows },
		{ "a handler counts", test_a_handler_counts },
		{ "buckets", test_buckets },
		{ "unknown handlers", test_unknown_handlers },
		{ "hostile announcements", test_hostile_announcements },
		{ "too many handlers", test_too_many_handlers },
		{ "memory", test_memory },
	};
	return RUN_DISPATCH_TESTS("queues on the board", tests);
}
