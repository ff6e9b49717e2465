/*
 * What happened by minute and hour: from the dispatcher's counters through the journal to tr_history(); over restarts,
 * failed commits and clocks that are put back; what is removed; and packed histograms.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

#include "taskd/heartbeat.h"

#define HOUR_MS 3600000ll
#define ROWS 100

static struct tr_history_row rows[ROWS];

/* "minute:accepted succeeded dead started failed waiting" of each row, the minute counted from START_MS. */
static const char *history(enum tr_span span)
{
	static char text[2][4000];
	static unsigned turn_of;
	char *to = text[turn_of++ % 2];
	size_t count, used = 0;

	CU_ASSERT_EQUAL_FATAL(tr_history(client, span, 0, INT64_MAX, rows, ROWS, &count), TR_OK);
	to[0] = '\0';
	for (size_t i = 0; i < count; i++)
		used += (size_t)snprintf(to + used, sizeof text[0] - used, "%s%lld:%llu %llu %llu %llu %llu %llu", i ? ", " : "",
		    (long long)((rows[i].at_ms - START_MS / HOUR_MS * HOUR_MS) / 60000), (unsigned long long)rows[i].accepted,
		    (unsigned long long)rows[i].succeeded, (unsigned long long)rows[i].dead, (unsigned long long)rows[i].started,
		    (unsigned long long)rows[i].failed, (unsigned long long)rows[i].waiting);
	return to;
}

/* At the beginning of the hour that START_MS is in, with a client. */
static void open_at_the_hour(void)
{
	open_client();
	set_now(START_MS / HOUR_MS * HOUR_MS);
	heartbeat(&world.dispatcher);
}

static void run_some(unsigned count, enum tr_outcome outcome, int64_t run_ms)
{
	for (unsigned i = 0; i < count; i++) {
		publish_one("h");
		give();
		begin(&one, 0);
		pass(run_ms);
		end(&one, 0, outcome, 0, "");
		if (outcome != TR_SUCCESS) {
			give();
			claim(&one, 0);
			say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
			answer(&one, TR_VERDICT_BURY, 0, "", 0);
		}
	}
}

static void next_minute(void)
{
	pass(60000 - world.dispatcher.now_ms % 60000);
	heartbeat(&world.dispatcher);
	settle();
}

static void test_minutes_and_hours(void)
{
	open_at_the_hour();
	start_worker();
	run_some(3, TR_SUCCESS, 10);
	EXPECT_TEXT(history(TR_MINUTE), "");
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:3 3 0 3 0 0");
	EXPECT_TEXT(history(TR_HOUR), "0:3 3 0 3 0 0");
	CU_ASSERT(rows[0].run_p50_ns >= 10000000 && rows[0].run_p50_ns < 10700000);
	CU_ASSERT_EQUAL(rows[0].run_p999_ns, rows[0].run_p50_ns);
	next_minute(); /* one in which nothing happens has no row */
	run_some(1, TR_PERMANENT_FAILURE, 2000);
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:3 3 0 3 0 0, 2:1 0 1 1 1 0");
	CU_ASSERT(rows[1].run_p50_ns >= 2000000000 && rows[1].run_p50_ns < 2134000000);
	EXPECT_TEXT(history(TR_HOUR), "0:4 3 1 4 1 0");
	/* The hour's percentiles are of all its attempts. */
	CU_ASSERT(rows[0].run_p50_ns < 10700000 && rows[0].run_p99_ns >= 2000000000);
	set_now(START_MS / HOUR_MS * HOUR_MS + HOUR_MS);
	heartbeat(&world.dispatcher);
	run_some(1, TR_SUCCESS, 10);
	next_minute();
	EXPECT_TEXT(history(TR_HOUR), "0:4 3 1 4 1 0, 60:1 1 0 1 0 0");
	player_dies(&one, EXIT(0), false);
	close_client();
}

/* What waits is told each minute, also when nothing moves. */
static void test_a_stalled_queue(void)
{
	open_at_the_hour();
	publish_one("h");
	settle();
	next_minute();
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:1 0 0 0 0 1, 1:0 0 0 0 0 1");
	CU_ASSERT(rows[1].oldest_wait_ms > 59000);
	CU_ASSERT_EQUAL(rows[1].wait_p50_ns, 0);
	close_client();
}

/* As world_kill(), with the worker that runs. */
static void kill_all(void)
{
	mailbox_close(&one.mailbox);
	close(one.memory_fd);
	world_kill();
}

/* Two parts of one minute, each by a dispatcher of its own, make one row; a kill costs the part that was not handed in. */
static void test_over_restarts(void)
{
	open_at_the_hour();
	start_worker();
	run_some(2, TR_SUCCESS, 1);
	history_flush(&world.dispatcher); /* as before an end in order */
	settle();
	kill_all();
	world_start();
	heartbeat(&world.dispatcher);
	start_worker();
	run_some(3, TR_SUCCESS, 100);
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:5 5 0 5 0 0");
	CU_ASSERT(rows[0].run_p50_ns >= 100000000 && rows[0].run_p50_ns < 107000000);
	run_some(1, TR_SUCCESS, 1);
	settle();
	kill_all();
	world_start();
	heartbeat(&world.dispatcher);
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:5 5 0 5 0 0");
	EXPECT_TEXT(history(TR_HOUR), "0:5 5 0 5 0 0");
	close_client();
}

/* A commit that fails is tried again, and counts once. */
static void test_a_failed_commit(void)
{
	sqlite3 *other;

	open_at_the_hour();
	publish_one("h");
	settle();
	CU_ASSERT_EQUAL_FATAL(sqlite3_open(world.journal, &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	pass(60000);
	heartbeat(&world.dispatcher);
	for (int i = 0; i < 3; i++) {
		pass(STEP_MS);
		turn();
		await_journal();
	}
	turn();
	CU_ASSERT_EQUAL(stat_of(STAT_journal_failing), 1);
	EXPECT_TEXT(history(TR_MINUTE), "");
	CU_ASSERT_EQUAL(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	pass(6000);
	settle();
	EXPECT_TEXT(history(TR_MINUTE), "0:1 0 0 0 0 1");
	EXPECT_TEXT(history(TR_HOUR), "0:1 0 0 0 0 1");
	close_client();
}

/* Put back into a minute that has its row, it adds to it. */
static void test_clock_put_back(void)
{
	open_at_the_hour();
	publish_one("h");
	settle();
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:1 0 0 0 0 1");
	pass(-60000);
	heartbeat(&world.dispatcher);
	publish_one("h");
	settle();
	next_minute();
	EXPECT_TEXT(history(TR_MINUTE), "0:2 0 0 0 0 2, 1:0 0 0 0 0 1");
	close_client();
}

static void test_old_rows_go(void)
{
	open_at_the_hour();
	publish_one("h");
	settle();
	next_minute();
	sql("INSERT INTO history (span, at_ms, accepted) VALUES (0, %lld, 7)", (long long)(world.dispatcher.now_ms - 49 * HOUR_MS));
	sql("INSERT INTO history (span, at_ms, accepted) VALUES (1, %lld, 8)", (long long)(START_MS - 367 * 24 * HOUR_MS));
	sql("INSERT INTO history (span, at_ms, accepted) VALUES (1, %lld, 9)", (long long)(START_MS - 360 * 24 * HOUR_MS));
	EXPECT_TEXT(sql("SELECT count(*) FROM history"), "5");
	next_minute();
	EXPECT_TEXT(sql("SELECT group_concat(accepted) FROM (SELECT accepted FROM history ORDER BY span, at_ms)"), "1,0,9,1");
	close_client();
}

static void test_bounds(void)
{
	size_t count;

	open_at_the_hour();
	publish_one("h");
	settle();
	for (int i = 0; i < 4; i++)
		next_minute();
	const int64_t begin_ms = START_MS / HOUR_MS * HOUR_MS;
	CU_ASSERT_EQUAL(tr_history(client, TR_MINUTE, begin_ms + 60000, begin_ms + 180000, rows, ROWS, &count), TR_OK);
	CU_ASSERT_EQUAL(count, 2);
	CU_ASSERT_EQUAL(rows[0].at_ms, begin_ms + 60000);
	CU_ASSERT_EQUAL(tr_history(client, TR_MINUTE, begin_ms, begin_ms + 180000, rows, 1, &count), TR_OK);
	CU_ASSERT_EQUAL(count, 1);
	CU_ASSERT_EQUAL(rows[0].at_ms, begin_ms);
	CU_ASSERT_EQUAL(tr_history(client, TR_MINUTE, 0, INT64_MAX, rows, 0, &count), TR_OK);
	CU_ASSERT_EQUAL(count, 0);
	sql("UPDATE history SET wait = x'ffffffffffffffffffff', run = x'80'"); /* somebody has edited it */
	CU_ASSERT_EQUAL(tr_history(client, TR_MINUTE, 0, INT64_MAX, rows, ROWS, &count), TR_OK);
	CU_ASSERT_EQUAL(rows[0].wait_p50_ns + rows[0].run_p50_ns, 0);
	next_minute();
	close_client();
}

/* ---- packed histograms ------------------------------------------------------------------- */

static void test_packed(void)
{
	static uint64_t buckets[HIST_BUCKETS], again[HIST_BUCKETS];
	static uint8_t packed[HIST_PACKED_MAX];

	CU_ASSERT_EQUAL(hist_pack(buckets, packed), 0);
	CU_ASSERT_TRUE(hist_unpack(packed, 0, again));
	buckets[3] = 1;
	buckets[4] = 127;
	buckets[200] = 128;
	buckets[HIST_BUCKETS - 1] = UINT64_MAX;
	size_t bytes = hist_pack(buckets, packed);
	CU_ASSERT_EQUAL(bytes, 2 + 2 + 2 + 1 + 1 + 2 + 2 + 9 - 1);
	CU_ASSERT_TRUE(hist_unpack(packed, bytes, again));
	CU_ASSERT_EQUAL(memcmp(buckets, again, sizeof buckets), 0);
	buckets[HIST_BUCKETS - 1] = 0;
	CU_ASSERT_TRUE(hist_unpack(packed, bytes, again)); /* once more: it adds */
	CU_ASSERT_EQUAL(again[200], 256);
	for (size_t cut = 0; cut < bytes; cut++) {
		memset(again, 0, sizeof again);
		hist_unpack(packed, cut, again);
		CU_ASSERT(again[200] == 0 || again[200] == 128);
	}
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		buckets[i] = UINT64_MAX;
	CU_ASSERT(hist_pack(buckets, packed) <= sizeof packed);
	static const uint8_t beyond[] = { 0xc0, 0x05, 1 }, long_number[] = { 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2 };
	CU_ASSERT_FALSE(hist_unpack(beyond, sizeof beyond, again));
	CU_ASSERT_FALSE(hist_unpack(long_number, sizeof long_number, again));
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "minutes and hours", test_minutes_and_hours },
		{ "a stalled queue", test_a_stalled_queue },
		{ "over restarts", test_over_restarts },
		{ "a failed commit", test_a_failed_commit },
		{ "the clock is put back", test_clock_put_back },
		{ "old rows go", test_old_rows_go },
		{ "bounds", test_bounds },
		{ "packed histograms", test_packed },
	};
	return RUN_DISPATCH_TESTS("history", tests);
}
