/*
 * Asynchronous handlers and resources in a real worker: many pending at once, what they say, how
 * they are stopped, what the worker does meanwhile and when it leaves, and what it makes of handlers
 * that do it wrongly.
 */
#include "play_dispatcher.h"

#include <sched.h>

#define WORKS 2048

/* What came of one of many works at once. */
struct one {
	unsigned started, pending, progressed, results, ended, verdicts;
	unsigned place; /* among all that ended, 1 for the first */
	struct message_head last;
	int64_t pending_ns;
	char log[300], text[200];
};

static struct play play;
static struct one ones[WORKS]; /* by serial */
static unsigned ended, pending_now, pending_most, leaving;

static void begin(uint32_t threads)
{
	play_prepare(&play);
	play.pool.threads = threads;
	memset(ones, 0, sizeof ones);
	ended = pending_now = pending_most = leaving = 0;
	play_start(&play);
	play_ready(&play);
}

static void note(const struct message_head *head, const char *text)
{
	struct one *one = &ones[head->serial % WORKS];
	size_t used = strlen(one->log);

	if (head->kind == MESSAGE_LEAVING) {
		leaving++;
		return;
	}
	CU_ASSERT(head->kind == MESSAGE_STARTED ? one->started == 0 : one->started == 1);
	CU_ASSERT(!one->ended && !one->verdicts);
	switch ((enum message_kind)head->kind) {
	case MESSAGE_STARTED:
		one->started++;
		break;
	case MESSAGE_PENDING:
		one->pending++;
		one->pending_ns = head->at_ns;
		if (++pending_now > pending_most)
			pending_most = pending_now;
		break;
	case MESSAGE_PROGRESS:
		one->progressed++;
		break;
	case MESSAGE_RESULT:
		one->results++;
		break;
	case MESSAGE_LOG:
		snprintf(one->log + used, sizeof one->log - used, "%s\n", text);
		break;
	case MESSAGE_ENDED:
	case MESSAGE_VERDICT:
		one->ended += head->kind == MESSAGE_ENDED;
		one->verdicts += head->kind == MESSAGE_VERDICT;
		pending_now -= one->pending;
		one->place = ++ended;
		one->last = *head;
		snprintf(one->text, sizeof one->text, "%.199s", text);
		break;
	default:
		CU_FAIL("a message that does not belong here");
	}
}

/* Takes the lane's next message; false: the worker is dead. */
static bool take(uint32_t lane)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;

	if (!play_next(&play, lane, &head, text))
		return false;
	note(&head, text);
	return true;
}

/* As take(), but it does not wait. */
static bool read_now(uint32_t lane)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;

	if (mailbox_read(play.mailbox, lane, &head, text) != 1)
		return false;
	note(&head, text);
	return true;
}

/* Until the work has ended. */
static const struct one *await(uint32_t lane, uint64_t serial)
{
	while (!ones[serial].ended && !ones[serial].verdicts)
		if (!take(lane)) {
			CU_FAIL("the worker died");
			break;
		}
	return &ones[serial];
}

static void await_pending(uint32_t lane, uint64_t serial)
{
	while (!ones[serial].pending && take(lane))
		continue;
	CU_ASSERT_EQUAL(ones[serial].pending, 1);
}

/* Makes room by reading what comes. The work's serial. */
static uint64_t push_head(uint32_t lane, const struct record *record, const struct work_head *head)
{
	static char bytes[4096];
	struct work_head work = *head;
	uint32_t entry;

	work.serial = ++play.serial;
	work.record_bytes = record ? (uint32_t)record_size(record) : 0;
	CU_ASSERT_FATAL(work.record_bytes <= sizeof bytes && work.serial < WORKS);
	if (record)
		record_encode(record, bytes);
	while (!mailbox_push(play.mailbox, lane, &work, bytes, NULL, &entry))
		if (!take(lane))
			break;
	mailbox_wake(play.mailbox, lane);
	return work.serial;
}

static uint64_t push(uint32_t lane, const char *handler, const char *args)
{
	struct record record = play_record(&play, handler, args);
	struct work_head head = { .kind = WORK_RUN, .attempt = 1 };

	return push_head(lane, &record, &head);
}

static void stop(uint32_t lane, uint64_t serial, enum mailbox_stop why)
{
	struct work_head head = { .kind = WORK_STOP, .serial = serial, .attempt = why };
	uint32_t entry;

	CU_ASSERT_TRUE(mailbox_push(play.mailbox, lane, &head, NULL, NULL, &entry));
	mailbox_wake(play.mailbox, lane);
}

static const struct one *run(const char *handler, const char *args)
{
	return await(0, push(0, handler, args));
}

static void expect(const struct one *one, enum tr_outcome outcome, const char *text)
{
	CU_ASSERT_EQUAL(one->last.code, outcome);
	CU_ASSERT_STRING_EQUAL(one->text, text);
	if (strcmp(one->text, text) != 0)
		printf("\n  got %d \"%s\"\n", one->last.code, one->text);
}

/* The worker leaves, once, and in order. */
static void leave(void)
{
	mailbox_retire(play.mailbox);
	while (take(0))
		continue;
	CU_ASSERT_EQUAL(play_end(&play), 0);
	CU_ASSERT(leaving == 1 || play.pool.threads > 1);
	CU_ASSERT_EQUAL(pending_now, 0);
}

/* ---- many at once ------------------------------------------------------------------------ */

static void test_many_pending_at_once(void)
{
	enum { MANY = MAILBOX_PENDING_MAX };
	uint64_t first = 0, last = 0;
	char args[64];

	begin(1);
	for (int i = 0; i < MANY; i++) { /* the last one is the first to end, by 500 ms */
		snprintf(args, sizeof args, "{\"ms\":%d}", 1000 - i * 500 / MANY);
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
	uint64_t slow = push(0, "wait", "{\"ms\":60,\"say\":true}");
	uint64_t quick = push(0, "wait", "{\"ms\":20,\"say\":true}");
	uint64_t plain = push(0, "succeed", NULL);
	await(0, slow);
	CU_ASSERT(ones[plain].place == 1 && ones[quick].place == 2 && ones[slow].place == 3);
	CU_ASSERT_EQUAL(ones[plain].pending, 0);
	CU_ASSERT_EQUAL(ones[slow].pending, 1);
	CU_ASSERT_STRING_EQUAL(ones[quick].log,
	    "waited 20 ms in wait\narguments {\"ms\":20,\"say\":true}\n");
	CU_ASSERT_STRING_EQUAL(ones[slow].log,
	    "waited 60 ms in wait\narguments {\"ms\":60,\"say\":true}\n");
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

/* ---- handlers that do it wrongly --------------------------------------------------------- */

/* Starts a worker whose log goes into `fd`. */
static void begin_logged(int fd)
{
	int saved = dup(STDERR_FILENO);

	CU_ASSERT_FATAL(saved >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
	begin(1);
	CU_ASSERT_FATAL(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
	close(saved);
}

/* How often `text` stands in the file. */
static unsigned count_in(int fd, const char *text)
{
	static char said[16384];
	ssize_t bytes = pread(fd, said, sizeof said - 1, 0);
	unsigned count = 0;

	said[bytes > 0 ? bytes : 0] = '\0';
	for (const char *at = said; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void test_misuse(void)
{
	char path[] = "/tmp/taskring-test-log-XXXXXX";
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && unlink(path) == 0);
	begin_logged(fd);
	expect(run("pend_without_loop", "{}"), TR_PERMANENT_FAILURE,
	    "pend_without_loop returned TR_PENDING with nothing on the loop that could end the task");
	expect(run("pend_on_nothing", "{}"), TR_PERMANENT_FAILURE,
	    "pend_on_nothing returned TR_PENDING with nothing on the loop that could end the task");
	expect(run("wait", "{\"ms\":1,\"then\":\"forget\"}"), TR_PERMANENT_FAILURE,
	    "wait left nothing on the loop that could end the task");
	CU_ASSERT_EQUAL(count_in(fd, "tr-finish-refused"), 0);
	expect(run("finish_in_run", "{\"ms\":1}"), TR_PERMANENT_FAILURE, "finish_in_run called tr_finish() inside run()");
	CU_ASSERT_EQUAL(count_in(fd, "it was called inside run() or on_failure()"), 1);
	expect(run("finish_elsewhere", "{}"), TR_FAILURE, "only here");
	CU_ASSERT_EQUAL(count_in(fd, "it was called on another thread than the task's"), 1);
	expect(run("wait", "{\"ms\":1,\"then\":\"twice\"}"), TR_SUCCESS, "");
	expect(run("end_and_finish", "{\"ms\":10}"), TR_SUCCESS, "");
	expect(run("wait", "{\"ms\":60}"), TR_SUCCESS, ""); /* another task by then */
	CU_ASSERT_EQUAL(count_in(fd, "the task has ended already"), 2);
	CU_ASSERT_EQUAL(count_in(fd, "tr-finish-refused"), 4);
	leave();
	close(fd);
}

static void test_forks(void)
{
	begin(1);
	expect(run("fork_and_pend", "{\"ms\":5}"), TR_SUCCESS, "");
	expect(run("wait", "{\"ms\":5,\"then\":\"fork\"}"), TR_FAILURE, "the child ended with 7");
	CU_ASSERT_STRING_EQUAL(ones[play.serial].log, "");
	leave();
}

/* ---- calls ------------------------------------------------------------------------------- */

static void test_calls(void)
{
	begin(1);
	/* call_other frees the arguments that it passed. */
	const struct one *one =
	    run("call_other", "{\"handler\":\"wait\",\"args\":{\"ms\":5,\"say\":true,\"then\":\"fail\"}}");
	expect(one, TR_FAILURE, "failed after 5 ms");
	CU_ASSERT_EQUAL(one->pending, 1);
	CU_ASSERT_STRING_EQUAL(one->log,
	    "back in wait\nwaited 5 ms in wait\narguments {\"ms\": 5, \"say\": true, \"then\": \"fail\"}\n");
	/* From a callback of the loop: one that ends at once, one that is pending again, one that is not there. */
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"fail_permanently\",\"args\":1}"), TR_PERMANENT_FAILURE,
	    "there is no such address");
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"wait\",\"args\":{\"ms\":5,\"then\":\"fail\"}}"), TR_FAILURE,
	    "failed after 5 ms");
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"nobody\",\"args\":1}"), TR_PERMANENT_FAILURE,
	    "tr_call: no handler named \"nobody\"");
	expect(run("wait", "{\"then\":\"call\",\"handler\":\"finish_in_run\",\"args\":{}}"), TR_PERMANENT_FAILURE,
	    "finish_in_run called tr_finish() inside run()");
	/* The caller returns something else: the called one's outcome counts all the same. */
	one = run("call_and_forget", "{\"ms\":5,\"then\":\"fail\"}");
	expect(one, TR_FAILURE, "failed after 5 ms");
	CU_ASSERT_PTR_NOT_NULL(strstr(one->log, "what tr_call() answered for the pending \"wait\" was not returned"));
	leave();
}

/* The verdict does not wait for it, and nothing that it says afterwards is heard. */
static void test_callback_calls(void)
{
	char path[] = "/tmp/taskring-test-log-XXXXXX";
	struct work_head ask = { .kind = WORK_CALLBACK, .attempt = 1 };
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0 && unlink(path) == 0);
	begin_logged(fd);
	struct record record = play_record(&play, "fail", "{}");
	record.on_failure = (struct record_text){ "call_wait_then_bury", 19 };
	const struct one *one = await(0, push_head(0, &record, &ask));
	CU_ASSERT_EQUAL(one->last.code, TR_VERDICT_BURY);
	CU_ASSERT_STRING_EQUAL(one->log, "called: 4\n");
	CU_ASSERT_EQUAL(one->pending, 0);
	leave(); /* not before it has ended */
	CU_ASSERT_EQUAL(count_in(fd, "callback-call-failed"), 1);
	CU_ASSERT_EQUAL(count_in(fd, "failed after 30 ms"), 1);
	close(fd);
}

/* ---- resources --------------------------------------------------------------------------- */

static void expect_log(const struct one *one, const char *log)
{
	CU_ASSERT_STRING_EQUAL(one->log, log);
	if (strcmp(one->log, log) != 0)
		printf("\n  log: %s", one->log);
}

static void test_resources(void)
{
	char path[] = "/tmp/taskring-test-resources-XXXXXX", history[256] = "";
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	setenv("TASKRING_TEST_RESOURCES", path, 1);
	begin(1);
	unsetenv("TASKRING_TEST_RESOURCES");
	CU_ASSERT_EQUAL(run("noop", "{}")->ended, 1); /* opens nothing */
	expect_log(run("use_connection", "{}"), "connection 1\n");
	expect_log(run("use_connection", "{\"break\":true}"), "connection 1\n");
	expect_log(run("use_connection", "{}"), "connection 2\n");
	/* A called handler gets its own, and sees none of its caller's. */
	expect_log(run("use_lamp", "{}"), "lamp alone\nconnection 2\n");
	/* Broken while a pending task holds it: that one keeps it. */
	uint64_t holder = push(0, "hold_connection", "{\"ms\":80}");
	await_pending(0, holder);
	expect_log(run("use_connection", "{\"break\":true}"), "connection 2\n");
	expect_log(run("use_connection", "{\"break\":true,\"refuse\":true}"), "connection 3\n");
	expect(run("use_connection", "{}"), TR_FAILURE, "resource \"connection\": connection refused");
	expect(await(0, holder), TR_SUCCESS, "");
	expect_log(&ones[holder], "holding 2\nconnection 2\n");
	expect(run("use_connection", "{}"), TR_FAILURE, "resource \"connection\": connection refused");
	leave();
	CU_ASSERT(read(fd, history, sizeof history - 1) > 0);
	CU_ASSERT_STRING_EQUAL(history, "open1 close1 open2 open3 close3 close2 ");
	CU_ASSERT_EQUAL(unlink(path), 0);
	close(fd);

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	setenv("TASKRING_TEST_RESOURCES", path, 1);
	begin(1);
	unsetenv("TASKRING_TEST_RESOURCES");
	expect_log(run("use_connection", "{}"), "connection 1\n");
	leave();
	memset(history, 0, sizeof history);
	CU_ASSERT(read(fd, history, sizeof history - 1) > 0);
	CU_ASSERT_STRING_EQUAL(history, "open1 close1 "); /* at the thread's end */
	CU_ASSERT_EQUAL(unlink(path), 0);
	close(fd);
}

/* ---- the task's file --------------------------------------------------------------------- */

static void test_file(void)
{
	struct work_head head = { .kind = WORK_RUN, .attempt = 1 };
	char id[TR_ID_TEXT_SIZE], expected[sizeof play.spool_dir + 64];

	begin(1);
	expect(run("describe_file", "{}"), TR_FAILURE, "file=none");
	struct record record = play_record(&play, "describe_file", "{}");
	record.flags = RECORD_FILE;
	snprintf(expected, sizeof expected, "file=%s/%s.file", play.spool_dir, tr_id_format(&record.id, id));
	expect(await(0, push_head(0, &record, &head)), TR_FAILURE, expected);
	leave();
}

int main(void)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite("pending", NULL, NULL);
	CU_ADD_TEST(suite, test_many_pending_at_once);
	CU_ADD_TEST(suite, test_messages_come_between_others);
	CU_ADD_TEST(suite, test_texts_stay);
	CU_ADD_TEST(suite, test_outcomes_from_callbacks);
	CU_ADD_TEST(suite, test_loop_and_work_alternate);
	CU_ADD_TEST(suite, test_waits_here_and_there);
	CU_ADD_TEST(suite, test_timers_count_from_now);
	CU_ADD_TEST(suite, test_two_threads);
	CU_ADD_TEST(suite, test_stopped);
	CU_ADD_TEST(suite, test_stopped_once);
	CU_ADD_TEST(suite, test_soft_timeouts);
	CU_ADD_TEST(suite, test_told_while_it_ran);
	CU_ADD_TEST(suite, test_leaves_when_nothing_is_pending);
	CU_ADD_TEST(suite, test_tells_many_while_leaving);
	CU_ADD_TEST(suite, test_max_tasks_and_pending);
	CU_ADD_TEST(suite, test_misuse);
	CU_ADD_TEST(suite, test_forks);
	CU_ADD_TEST(suite, test_calls);
	CU_ADD_TEST(suite, test_callback_calls);
	CU_ADD_TEST(suite, test_resources);
	CU_ADD_TEST(suite, test_file);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	unsigned failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures > 0;
}
