/*
 * Asynchronous handlers in a real worker: many pending at once, what they say, how they are stopped,
 * what the worker does meanwhile and when it leaves.
 */
#include "play_pending.h"
#include "tests/unit/runner.h"

#include <sched.h>

/* ---- many at once ------------------------------------------------------------------------ */

static void test_many_pending_at_once(void)
{
	enum { MANY = MAILBOX_PENDING_MAX };
	uint64_t first = 0, last = 0;
	char args[64];

	begin(1);
	for (int i = 0; i < MANY; i++) { /* the last one is the first to end, by 1.5 s */
		snprintf(args, sizeof args, "{\"ms\":%d}", 2000 - i * 1500 / MANY);
		last = push(0, "wait", args);
		first = first ? first : last;
	}
	for (uint64_t serial = first; serial <= last; serial++)
		CU_ASSERT_EQUAL(await(0, serial)->last.code, TR_SUCCESS);
	CU_ASSERT_EQUAL(ended, MANY);
	CU_ASSERT(pending_most > MANY / 2); /* all, unless this machine is very slow */
	CU_ASSERT(ones[last].place < ones[first].place);
	leave();
}

/* The thread takes other work meanwhile, and what pending tasks say carries their serial. */
static void test_messages_come_between_others(void)
{
	begin(1);
	uint64_t slow = push(0, "wait", "{\"ms\":900,\"say\":true}");
	uint64_t quick = push(0, "wait", "{\"ms\":300,\"say\":true}");
	uint64_t plain = push(0, "succeed", NULL);
	await(0, slow);
	CU_ASSERT(ones[plain].place == 1 && ones[quick].place == 2 && ones[slow].place == 3);
	CU_ASSERT_EQUAL(ones[plain].pending, 0);
	CU_ASSERT_EQUAL(ones[slow].pending, 1);
	CU_ASSERT_STRING_EQUAL(ones[quick].log,
	    "waited 300 ms in wait\narguments {\"ms\":300,\"say\":true}\n");
	CU_ASSERT_STRING_EQUAL(ones[slow].log,
	    "waited 900 ms in wait\narguments {\"ms\":900,\"say\":true}\n");
	CU_ASSERT(ones[slow].results == 1 && ones[slow].progressed == 1);
	leave();
}

/* What the handler holds of its task stays, though the mailbox's memory is used over and over. */
static void test_texts_stay(void)
{
	char args[1000];

	begin(1);
	uint64_t held = push(0, "wait", "{\"ms\":150,\"say\":true,\"stay\":\"where you are\"}");
	memset(args, ' ', sizeof args - 1);
	args[0] = '{';
	args[sizeof args - 2] = '}';
	args[sizeof args - 1] = '\0';
	for (int i = 0; i < 1000; i++) /* more than the lane holds */
		push(0, "noop", args);
	CU_ASSERT_STRING_EQUAL(await(0, held)->log,
	    "waited 150 ms in wait\narguments {\"ms\":150,\"say\":true,\"stay\":\"where you are\"}\n");
	leave();
}

static void test_outcomes_from_callbacks(void)
{
	begin(1);
	expect(run("wait", "{\"ms\":1}"), TR_SUCCESS, "");
	expect(run("wait", "{\"ms\":1,\"then\":\"fail\"}"), TR_FAILURE, "failed after 1 ms");
	CU_ASSERT_EQUAL(ones[play.serial].last.number, 0);
	expect(run("wait", "{\"then\":\"fail_permanently\"}"), TR_PERMANENT_FAILURE, "failed for good after 0 ms");
	expect(run("wait", "{\"then\":\"fail_silently\"}"), TR_FAILURE, "wait gave no reason");
	expect(run("wait", "{\"then\":\"retry_after\"}"), TR_FAILURE, "the peer wants 5 s");
	CU_ASSERT_EQUAL(ones[play.serial].last.number, 5000);
	expect(run("wait", "{\"then\":\"snooze\"}"), TR_SNOOZE, "");
	CU_ASSERT_EQUAL(ones[play.serial].last.number, 250);
	expect(run("wait", "{\"then\":\"nonsense\"}"), TR_PERMANENT_FAILURE, "wait returned 77, which is no outcome");
	expect(run("wait", "{\"then\":\"pending\"}"), TR_PERMANENT_FAILURE, "wait returned 4, which is no outcome");
	leave();
}

/* Neither starves: a loop that always has something to do, and a lane that always has work. */
static void test_loop_and_work_alternate(void)
{
	begin(1);
	uint64_t busy = push(0, "keep_loop_busy", NULL);
	uint64_t timer = push(0, "wait", "{\"ms\":20}");
	while (!ones[timer].ended && play.serial < WORKS - 10)
		push(0, "sleep", "{\"ms\":1}");
	CU_ASSERT_EQUAL(ones[timer].ended, 1); /* though there was always work */
	CU_ASSERT_EQUAL(run("noop", "{}")->ended, 1);
	CU_ASSERT_EQUAL(ones[busy].ended, 0);
	stop(0, busy, STOP_CANCEL);
	await(0, busy);
	leave();
}

/* From waiting in the loop to waiting on the futex, and back; each is woken by work. */
static void test_waits_here_and_there(void)
{
	begin(1);
	for (int i = 0; i < 20; i++) {
		uint64_t timer = push(0, "wait", "{\"ms\":4}");
		await_pending(0, timer);
		for (int j = 0; j < 3; j++)
			CU_ASSERT_EQUAL(run("noop", "{}")->ended, 1);
		await(0, timer);
		for (int j = 0; j < 3; j++)
			CU_ASSERT_EQUAL(run("noop", "{}")->ended, 1);
	}
	leave();
}

/* A loop that had no turn for long has an old clock: timers must not fire early for that. */
static void test_timers_count_from_now(void)
{
	begin(1);
	run("wait", "{\"ms\":1}");
	run("sleep", "{\"ms\":150}");
	const struct one *one = run("wait", "{\"ms\":100}");
	CU_ASSERT(one->last.at_ns - one->pending_ns >= 95 * 1000000LL);
	leave();
}

static void test_two_threads(void)
{
	begin(2);
	uint64_t last[2] = { 0, 0 };
	for (int i = 0; i < 100; i++)
		for (uint32_t lane = 0; lane < 2; lane++)
			last[lane] = push(lane, i % 3 ? "wait" : "hold_connection", "{\"ms\":20}");
	for (uint32_t lane = 0; lane < 2; lane++)
		await(lane, last[lane]);
	mailbox_retire(play.mailbox);
	struct pollfd dead = { .fd = play.pidfd, .events = POLLIN };
	CU_ASSERT_EQUAL(poll(&dead, 1, DEADLINE_MS), 1);
	for (uint32_t lane = 0; lane < 2; lane++)
		while (read_now(lane))
			continue;
	CU_ASSERT_EQUAL(play_end(&play), 0);
	CU_ASSERT_EQUAL(ended, 200);
}

/* ---- stopping ---------------------------------------------------------------------------- */

static void test_stopped(void)
{
	begin(1);
	uint64_t other = push(0, "wait", "{\"ms\":100}");
	uint64_t cancelled = push(0, "wait", "{\"ms\":60000}");
	uint64_t drained = push(0, "wait", "{\"ms\":60000}");
	await_pending(0, drained);
	stop(0, 1999, STOP_CANCEL); /* nobody's, or one that has ended */
	stop(0, cancelled, STOP_CANCEL);
	expect(await(0, cancelled), TR_FAILURE, "cancelled");
	CU_ASSERT_STRING_EQUAL(ones[cancelled].log, "stopped: cancelled\n");
	stop(0, cancelled, STOP_CANCEL);
	stop(0, drained, STOP_DRAIN);
	expect(await(0, drained), TR_FAILURE, "shutting down");
	CU_ASSERT_EQUAL(ones[other].ended, 0);
	expect(await(0, other), TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(ones[other].log, "");
	leave();
}

static void test_stopped_once(void)
{
	struct record record;
	struct work_head hurried = { .kind = WORK_RUN, .attempt = 1, .soft_timeout_ms = 5 };

	begin(1);
	record = play_record(&play, "wait", "{\"ms\":120,\"stubborn\":true}");
	uint64_t stubborn = push_head(0, &record, &hurried);
	await_pending(0, stubborn);
	while (!ones[stubborn].log[0] && take(0)) /* told that it is out of time */
		continue;
	stop(0, stubborn, STOP_CANCEL);
	stop(0, stubborn, STOP_DRAIN);
	expect(await(0, stubborn), TR_SUCCESS, "");
	CU_ASSERT_STRING_EQUAL(ones[stubborn].log, "stopped: out of time\n");
	leave();
}

/* Each has its own; the earliest is told first. */
static void test_soft_timeouts(void)
{
	struct work_head hurried = { .kind = WORK_RUN, .attempt = 1, .soft_timeout_ms = 80 };
	uint64_t serials[3];

	begin(1);
	struct record record = play_record(&play, "wait", "{\"ms\":60000}");
	serials[0] = push_head(0, &record, &hurried);
	hurried.soft_timeout_ms = 20;
	serials[1] = push_head(0, &record, &hurried);
	hurried.soft_timeout_ms = 50;
	record = play_record(&play, "wait", "{\"ms\":60000,\"block\":60}"); /* over before run() returns */
	serials[2] = push_head(0, &record, &hurried);
	for (int i = 0; i < 3; i++) {
		expect(await(0, serials[i]), TR_FAILURE, "out of time");
		CU_ASSERT_STRING_EQUAL(ones[serials[i]].log, "stopped: out of time\n");
	}
	CU_ASSERT(ones[serials[1]].place < ones[serials[0]].place);
	/* Long before its soft timeout: nobody is told. */
	hurried.soft_timeout_ms = 60000;
	record = play_record(&play, "wait", "{\"ms\":5}");
	expect(await(0, push_head(0, &record, &hurried)), TR_SUCCESS, "");
	leave();
}

/* The dispatcher told it while run() still ran, and so not with a WORK_STOP. */
static void test_told_while_it_ran(void)
{
	begin(1);
	uint64_t serial = push(0, "wait", "{\"ms\":60000,\"block\":20}");
	mailbox_tell(play.mailbox, 0, serial, STOP_CANCEL);
	expect(await(0, serial), TR_FAILURE, "cancelled");
	leave();
}

/* ---- leaving ----------------------------------------------------------------------------- */

static void test_leaves_when_nothing_is_pending(void)
{
	struct work_head plain = { .kind = WORK_RUN, .attempt = 1 };
	static char bytes[4096];
	uint32_t entries[2];

	begin(1);
	uint64_t slow = push(0, "wait_deaf", "{\"ms\":150}");
	uint64_t stopped = push(0, "wait", "{\"ms\":60000}");
	await_pending(0, stopped);
	mailbox_retire(play.mailbox);
	while (!leaving && take(0))
		continue;
	CU_ASSERT_EQUAL(leaving, 1);
	CU_ASSERT_EQUAL(ended, 0);
	/* Nothing is started any more, but what is pending can still be told, past what waits. */
	struct record record = play_record(&play, "noop", "{}");
	plain.record_bytes = (uint32_t)record_size(&record);
	record_encode(&record, bytes);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_TRUE(mailbox_push(play.mailbox, 0, &plain, bytes, NULL, &entries[i]));
	stop(0, stopped, STOP_DRAIN);
	expect(await(0, stopped), TR_FAILURE, "shutting down");
	CU_ASSERT_EQUAL(ones[slow].ended, 0);
	CU_ASSERT_TRUE(mailbox_revoke(play.mailbox, 0, entries[0]));
	CU_ASSERT_TRUE(mailbox_revoke(play.mailbox, 0, entries[1]));
	expect(await(0, slow), TR_SUCCESS, "");
	CU_ASSERT_FALSE(take(0));
	CU_ASSERT_EQUAL(play_end(&play), 0);
}

/* More are told while it leaves than the lane has entries, behind work that is taken back. */
static void test_tells_many_while_leaving(void)
{
	enum { MANY = 3 * MAILBOX_DEPTH };
	struct work_head plain = { .kind = WORK_RUN, .attempt = 1 };
	static char bytes[4096];
	uint32_t entries[MAILBOX_DEPTH], entry;
	unsigned filled = 0;

	begin(1);
	for (int i = 0; i < MANY; i++)
		push(0, "wait", "{\"ms\":60000}");
	await_pending(0, MANY);
	mailbox_retire(play.mailbox);
	while (!leaving && take(0))
		continue;
	struct record record = play_record(&play, "noop", "{}");
	plain.record_bytes = (uint32_t)record_size(&record);
	record_encode(&record, bytes);
	while (mailbox_push(play.mailbox, 0, &plain, bytes, NULL, &entry))
		entries[filled++] = entry;
	CU_ASSERT(filled >= MAILBOX_DEPTH - 1);
	while (filled > 0)
		CU_ASSERT_TRUE(mailbox_revoke(play.mailbox, 0, entries[--filled]));
	for (uint64_t serial = 1; serial <= MANY; serial++) {
		struct work_head head = { .kind = WORK_STOP, .serial = serial, .attempt = STOP_DRAIN };
		while (!mailbox_push(play.mailbox, 0, &head, NULL, NULL, &entry))
			sched_yield(); /* it has been woken, and passes what was taken back */
		mailbox_wake(play.mailbox, 0);
	}
	while (take(0))
		continue;
	CU_ASSERT_EQUAL(ended, MANY);
	CU_ASSERT_EQUAL(play_end(&play), 0);
}

static void test_max_tasks_and_pending(void)
{
	play_prepare(&play);
	memset(ones, 0, sizeof ones);
	ended = pending_now = leaving = 0;
	play.pool.max_tasks = 3;
	play_start(&play);
	play_ready(&play);
	for (int i = 0; i < 3; i++)
		push(0, "wait_deaf", "{\"ms\":50}");
	while (take(0))
		continue;
	CU_ASSERT_EQUAL(leaving, 1);
	CU_ASSERT_EQUAL(ended, 3);
	CU_ASSERT_EQUAL(play_end(&play), 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_many_pending_at_once),
		SUITE_TEST(test_messages_come_between_others),
		SUITE_TEST(test_texts_stay),
		SUITE_TEST(test_outcomes_from_callbacks),
		SUITE_TEST(test_loop_and_work_alternate),
		SUITE_TEST(test_waits_here_and_there),
		SUITE_TEST(test_timers_count_from_now),
		SUITE_TEST(test_two_threads),
		SUITE_TEST(test_stopped),
		SUITE_TEST(test_stopped_once),
		SUITE_TEST(test_soft_timeouts),
		SUITE_TEST(test_told_while_it_ran),
		SUITE_TEST(test_leaves_when_nothing_is_pending),
		SUITE_TEST(test_tells_many_while_leaving),
		SUITE_TEST(test_max_tasks_and_pending),
	};

	return RUN_TESTS("pending", tests);
}
