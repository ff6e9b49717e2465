/*
 * One task in full: from ring, board and journal; its attempts and siblings; what of its arguments is secret, also in
 * texts that want to get round that; and why it is not running.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

#include <fcntl.h>

#include "shared/redact.h"
#include "taskd/heartbeat.h"

static struct tr_task_detail detail;

static void look(struct tr_id id)
{
	tr_task_detail_clear(&detail);
	tasks_show_all(&world.dispatcher);
	CU_ASSERT_EQUAL_FATAL(tr_task_detail(client, &id, &detail), TR_OK);
}

/* "number:outcome" of each attempt. */
static const char *attempts(void)
{
	static char text[4000];
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < detail.attempt_count; i++)
		used += (size_t)snprintf(text + used, sizeof text - used, "%s%u:%s", i ? " " : "", detail.attempts[i].number,
		    detail.attempts[i].outcome);
	return text;
}

static struct tr_id add(const char *handler, const char *args, const struct task_options *options)
{
	CU_ASSERT_EQUAL(background_tasks_add(batch, handler, args, options), TR_OK);
	return background_tasks_id(batch, background_tasks_count(batch) - 1);
}

static void announce(const char *handler, const char *secrets)
{
	catalogue_announced(&world.dispatcher, handler, "", secrets);
	board_rows_show(&world.dispatcher);
}

/* ---- where it is found ------------------------------------------------------------------- */

static void test_everywhere(void)
{
	const struct task_options options = { .trace = "00-abc-01", .on_failure = "bury", .max_attempts = 3, .hard_timeout_ms = 5000,
		.backoff_base_ms = 20, .backoff_cap_ms = 30, .expires_after_ms = 60000 };

	open_client();
	announce("h", "");
	const struct tr_id id = add("h", "{\"a\":1}", &options);
	add("h", "{}", NULL);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	for (int where = 0; where < 3; where++) { /* in the ring, in both, in the journal of a dead taskd */
		look(id);
		CU_ASSERT_EQUAL(detail.status.state, TR_QUEUED);
		EXPECT_TEXT(detail.args, "{\"a\":1}");
		CU_ASSERT_EQUAL(detail.args_bytes, 7);
		CU_ASSERT_FALSE(detail.redacted || detail.has_file);
		EXPECT_TEXT(detail.trace, "00-abc-01");
		EXPECT_TEXT(detail.on_failure, "bury");
		CU_ASSERT_EQUAL(detail.backoff_base_ms, 20);
		CU_ASSERT_EQUAL(detail.backoff_cap_ms, 30);
		CU_ASSERT_EQUAL(detail.hard_timeout_ms, 5000);
		CU_ASSERT(detail.expires_at_ms > detail.status.created_ms);
		CU_ASSERT_EQUAL_FATAL(detail.sibling_count, 2);
		CU_ASSERT_EQUAL(detail.place, 0);
		CU_ASSERT_TRUE(detail.sequential);
		CU_ASSERT_TRUE(id_equal(&detail.siblings[0], &id));
		CU_ASSERT_EQUAL(detail.attempt_count, 0);
		const struct tr_id second = detail.siblings[1];
		look(second);
		CU_ASSERT_EQUAL(detail.place, 1);
		CU_ASSERT_TRUE(id_equal(&detail.siblings[0], &id));
		if (where < 1)
			dispatch();
		else if (where < 2)
			world_kill();
	}
	world_start();
	dispatch();
	tr_task_detail_clear(&detail);
	close_client();
}

static void test_not_found(void)
{
	const struct tr_id unknown = { { 1 } };
	char text[TR_EXPLANATION_SIZE] = "x";

	open_client();
	CU_ASSERT_EQUAL(tr_task_detail(client, &unknown, &detail), TR_NOT_FOUND);
	CU_ASSERT_PTR_NULL(detail.args);
	CU_ASSERT_EQUAL(tr_task_explain(client, &unknown, text), TR_NOT_FOUND);
	EXPECT_TEXT(text, "");
	/* With history off nothing but the board's entry is left. */
	world.config.history = HISTORY_NONE;
	const struct tr_id id = publish_one("h");
	dispatch();
	run_next(EV_SUCCEEDED);
	dispatch();
	look(id);
	CU_ASSERT_EQUAL(detail.status.state, TR_SUCCEEDED);
	CU_ASSERT_PTR_NULL(detail.args);
	CU_ASSERT_EQUAL(detail.sibling_count, 0);
	tr_task_detail_clear(&detail);
	close_client();
}

/* Arguments in the spool are read there, up to what is shown. */
static void test_spooled(void)
{
	static char large[TR_ARGS_SHOWN_MAX + 2];

	open_client();
	announce("h", "");
	memset(large, 'a', sizeof large - 1);
	large[0] = large[TR_ARGS_SHOWN_MAX] = '"';
	const struct tr_id beyond = add("h", large, NULL);
	large[TR_ARGS_SHOWN_MAX] = '\0';
	large[TR_ARGS_SHOWN_MAX - 1] = '"';
	const struct tr_id most = add("h", large, NULL);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, tr_spool_file(client, NULL)), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	look(beyond);
	CU_ASSERT_PTR_NULL(detail.args);
	CU_ASSERT_EQUAL(detail.args_bytes, TR_ARGS_SHOWN_MAX + 1);
	look(most);
	CU_ASSERT_PTR_NOT_NULL_FATAL(detail.args);
	CU_ASSERT_EQUAL(strcmp(detail.args, large), 0);
	CU_ASSERT_TRUE(detail.has_file);
	remove_all_in(world.spool);
	look(most);
	CU_ASSERT_PTR_NULL(detail.args);
	mkdir(world.spool, 0700);
	tr_task_detail_clear(&detail);
	close_client();
}

static void test_attempts(void)
{
	open_client();
	start_worker();
	struct record record = record_for("h");
	record.max_attempts = 200;
	const struct tr_id id = publish(&record, 1);
	give();
	begin(&one, 0);
	look(id);
	EXPECT_TEXT(attempts(), "1:running");
	CU_ASSERT_EQUAL(detail.attempts[0].worker_pid, 1000);
	CU_ASSERT_EQUAL(detail.attempts[0].ended_ms, 0);
	end(&one, 0, TR_SNOOZE, 10, "");
	settle();
	look(id);
	EXPECT_TEXT(attempts(), "1:snoozed");
	pass(1000);
	give();
	begin(&one, 0); /* the same number: the row is the next start's */
	look(id);
	EXPECT_TEXT(attempts(), "1:running");
	end(&one, 0, TR_FAILURE, 0, "no luck");
	settle();
	look(id);
	EXPECT_TEXT(attempts(), "1:failed"); /* it is still running: its callback is to be asked */
	EXPECT_TEXT(detail.attempts[0].message, "no luck");
	EXPECT_TEXT(detail.attempts[0].verdict, "");
	give();
	claim(&one, 0);
	say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
	answer(&one, TR_VERDICT_RETRY, 0, "", 0);
	settle();
	give();
	begin(&one, 0);
	look(id);
	EXPECT_TEXT(attempts(), "1:failed 2:running");
	EXPECT_TEXT(detail.attempts[0].verdict, "retry");
	player_dies(&one, SIGSEGV, false);
	settle();
	look(id);
	EXPECT_TEXT(attempts(), "1:failed 2:crashed");
	CU_ASSERT_EQUAL(detail.attempts[1].signal, SIGSEGV);
	CU_ASSERT_EQUAL(detail.attempts[1].peak_memory_kb, 4321);
	sql("WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 120) "
	    "INSERT INTO attempt (task, attempt, outcome) SELECT x'%s', i, 'failed' FROM n", hex(id));
	look(id);
	CU_ASSERT_EQUAL(detail.attempt_count, TR_ATTEMPTS_SHOWN_MAX);
	CU_ASSERT_EQUAL(detail.attempts[0].number, 21);
	CU_ASSERT_EQUAL(detail.attempts[TR_ATTEMPTS_SHOWN_MAX - 1].number, 120);
	tr_task_detail_clear(&detail);
	close_client();
}

/* ---- secrets ----------------------------------------------------------------------------- */

static void test_secrets(void)
{
	static const char args[] = "{\"user\":\"ada\",\"password\":\"hunter2\"}";

	open_client();
	announce("login", "password,token");
	announce("open", "");
	const struct tr_id secret = add("login", args, NULL), open = add("open", args, NULL), unknown = add("misspelt", args, NULL);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	for (int alive = 1; alive >= 0; alive--) { /* the board still knows when taskd is dead */
		look(secret);
		EXPECT_TEXT(detail.args, "{\"user\":\"ada\",\"password\":\"***\"}");
		CU_ASSERT_TRUE(detail.redacted);
		look(open);
		EXPECT_TEXT(detail.args, args);
		CU_ASSERT_FALSE(detail.redacted);
		look(unknown);
		EXPECT_TEXT(detail.args, "{\"user\":\"***\",\"password\":\"***\"}");
		CU_ASSERT_TRUE(detail.redacted);
		dispatch();
		if (alive)
			world_kill();
		else
			break;
		look(secret);
		EXPECT_TEXT(detail.args, "{\"user\":\"ada\",\"password\":\"***\"}");
		world_start();
	}
	tr_task_detail_clear(&detail);
	close_client();
}

/* For a handler with the secrets "password" and "k", or (h NULL) one that is not known. */
static const char *redact(const char *handler, const char *args)
{
	static char *last;
	struct redactor *redactor = redactor_new(world.dispatcher.board);
	bool redacted;

	free(last);
	last = redactor_show(redactor, handler, args, strlen(args), &redacted);
	CU_ASSERT_EQUAL(redacted, strstr(last, "***") != NULL);
	redactor_free(&redactor);
	return last;
}

static void test_redacting(void)
{
	static const struct { const char *args, *shown; } cases[] = {
		{ "{}", "{}" },
		{ " { } ", " {}" },
		{ "{\"password\":1}", "{\"password\":\"***\"}" },
		{ "{\"k\":{\"a\":[1,2,{}]},\"b\":2}", "{\"k\":\"***\",\"b\":2}" },
		{ "{ \"a\" : [ {\"password\":1} ] , \"k\" : null }", "{\"a\" : [ {\"password\":1} ], \"k\" : \"***\"}" },
		{ "{\"pass\\u0077ord\":\"x\"}", "{\"pass\\u0077ord\":\"***\"}" },
		{ "{\"\\u006B\":\"x\"}", "{\"\\u006B\":\"***\"}" },
		{ "{\"password\":\"a\",\"password\":\"b\"}", "{\"password\":\"***\",\"password\":\"***\"}" },
		{ "{\"a\":\"\\\"\",\"password\":\"x\"}", "{\"a\":\"\\\"\",\"password\":\"***\"}" },
		{ "{\"a\":\"}\",\"k\":\"x\"}", "{\"a\":\"}\",\"k\":\"***\"}" },
		{ "{\"passwords\":1,\"Password\":2,\"passwor\":3,\"\":4}", "{\"passwords\":1,\"Password\":2,\"passwor\":3,\"\":4}" },
		{ "{\"password\\u0000\":1}", "{\"password\\u0000\":1}" },
		{ "{\"a\":-1.5e+3,\"b\":true,\"k\":false}", "{\"a\":-1.5e+3,\"b\":true,\"k\":\"***\"}" },
		/* What is no JSON object is not shown at all. */
		{ "", "\"***\"" }, { "\"password\"", "\"***\"" }, { "[{\"password\":1}]", "\"***\"" }, { "{", "\"***\"" },
		{ "{\"a\"", "\"***\"" }, { "{\"a\":", "\"***\"" }, { "{\"a\":1", "\"***\"" }, { "{\"a\":1,", "\"***\"" },
		{ "{\"a\":1,}", "\"***\"" }, { "{\"a\":1}x", "\"***\"" }, { "{\"a\":1}{\"password\":2}", "\"***\"" },
		{ "{\"a\":[{],\"password\":\"x\"}}", "\"***\"" }, { "{\"a\":[},\"password\":\"x\"]}", "\"***\"" },
		{ "{\"a\":\"\n\"}", "\"***\"" }, { "{\"a\":\"\\x\"}", "\"***\"" }, { "{\"a\":\"\\u00g0\"}", "\"***\"" },
		{ "{'password':1}", "\"***\"" }, { "{password:1}", "\"***\"" }, { "{\"a\":1 \"password\":2}", "\"***\"" },
		{ "{\"a\":/**/1}", "\"***\"" }, { "{\"a\":1;\"k\":2}", "\"***\"" }, { "{\"a\" 1}", "\"***\"" },
	};
	/* All members of one that is named so: their names are shown, to that depth. */
	static const struct { const char *args, *shown; } nested[] = {
		{ "{\"headers\":{}}", "{\"headers\":{}}" },
		{ "{\"headers\":{\"X-Key\":\"s\",\"n\":{\"a\":1}},\"url\":\"u\"}", "{\"headers\":{\"X-Key\":\"***\",\"n\":\"***\"},\"url\":\"u\"}" },
		{ "{\"head\\u0065rs\" : { \"a\" : 1 } , \"t\":2}", "{\"head\\u0065rs\" : {\"a\" : \"***\"}, \"t\":\"***\"}" },
		{ "{\"headers\":[\"s\"]}", "{\"headers\":\"***\"}" },
		{ "{\"headers\":\"s\"}", "{\"headers\":\"***\"}" },
		{ "{\"a\":{\"headers\":{\"x\":1}}}", "{\"a\":{\"headers\":{\"x\":1}}}" },
		{ "{\"header\":{\"x\":1},\"headers.\":2,\"headers.*\":3}", "{\"header\":{\"x\":1},\"headers.\":2,\"headers.*\":\"***\"}" },
		{ "{\"headers\":{\"a\":\"s\"}", "\"***\"" }, { "{\"headers\":{\"a\":\"s\",}}", "\"***\"" }, { "{\"headers\":{\"a\"}}", "\"***\"" },
	};
	char deep[2000];

	announce("h", "password,k");
	announce("n", "headers.*,t");
	for (size_t i = 0; i < sizeof nested / sizeof nested[0]; i++)
		EXPECT_TEXT(redact("n", nested[i].args), nested[i].shown);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		EXPECT_TEXT(redact("h", cases[i].args), cases[i].shown);
	EXPECT_TEXT(redact("unknown", "{\"a\":1,\"b\":{\"c\":2}}"), "{\"a\":\"***\",\"b\":\"***\"}");
	EXPECT_TEXT(redact("unknown", "[1]"), "\"***\"");
	EXPECT_TEXT(redact("unknown", "{}"), "{}");
	memset(deep, '[', sizeof deep);
	memcpy(deep, "{\"a\":", 5);
	deep[sizeof deep - 1] = '\0';
	EXPECT_TEXT(redact("h", deep), "\"***\"");
}

/* Cut anywhere, or with any byte changed: never the secret, never a byte beyond the text. */
static void test_hostile_arguments(void)
{
	static const char args[] = "{\"a\":[1,{\"b\":\"c\\\"\"}],\"password\":\"HUNTER\",\"\\u006b\":[\"HUNTER\"],\"z\":0}";
	static const char bytes[] = "\"\\{}[],:u0 \n\x01\xff""k";

	announce("h", "password,k");
	for (size_t cut = 0; cut < sizeof args; cut++) {
		char *text = strndup(args, cut);
		const char *seen = redact("h", text);
		CU_ASSERT_PTR_NULL(strstr(seen, "HUNTER"));
		free(text);
	}
	for (size_t at = 0; at < sizeof args - 1; at++) {
		for (size_t i = 0; i < sizeof bytes - 1; i++) {
			char *text = strdup(args);
			text[at] = bytes[i];
			const char *seen = redact("h", text);
			/* Another name is another member; its value is its own. */
			bool renamed = (at >= 22 && at <= 29) || (at >= 42 && at <= 47);
			CU_ASSERT(renamed || !strstr(seen, "HUNTER"));
			free(text);
		}
	}
}

/* ---- why --------------------------------------------------------------------------------- */

static const char *why(struct tr_id id)
{
	static char text[TR_EXPLANATION_SIZE];

	CU_ASSERT_EQUAL(tr_task_explain(client, &id, text), TR_OK);
	return text;
}

static void alive(void)
{
	set_now(real_ms());
	heartbeat(&world.dispatcher);
}

#define EXPECT_WHY(id, words) \
	do { \
		const char *got_why = why(id); \
		if (!strstr(got_why, words)) \
			fprintf(stderr, "\n%s:%d: \"%s\" is not in \"%s\"", __FILE__, __LINE__, words, got_why); \
		CU_ASSERT_PTR_NOT_NULL(strstr(got_why, words)); \
	} while (0)

static void test_explained(void)
{
	const struct task_options later = { .delay_ms = 3600000 }, other = { .queue = "slow" };
	char text[TR_ID_TEXT_SIZE], words[80];

	open_client();
	alive();
	const struct tr_id first = add("h", NULL, NULL), second = add("h", NULL, NULL);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	const struct tr_id tomorrow = add("h", NULL, &later);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	const struct tr_id slow = add("h", NULL, &other);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	EXPECT_WHY(first, "It lies in the ring");
	dispatch();
	alive();
	EXPECT_WHY(first, "No worker is ready");
	start_worker();
	EXPECT_WHY(first, "free worker; 0 tasks of its queue are before it");
	snprintf(words, sizeof words, "the task before it in its batch, %s, which is queued", tr_id_format(&first, text));
	EXPECT_WHY(second, words);
	EXPECT_WHY(tomorrow, "not due until 2");
	CU_ASSERT_EQUAL(tr_queue_pause(client, "slow"), TR_OK);
	dispatch();
	EXPECT_WHY(slow, "Its queue, slow, is paused");
	give();
	begin(&one, 0);
	tasks_show_all(&world.dispatcher);
	EXPECT_WHY(first, "It is running, attempt 1, for 0 s.");
	snprintf(words, sizeof words, "%s, which is running", tr_id_format(&first, text));
	EXPECT_WHY(second, words);
	CU_ASSERT_EQUAL(tr_task_cancel(client, &first), TR_OK);
	dispatch();
	EXPECT_WHY(first, "has been told to stop");
	end(&one, 0, TR_FAILURE, 0, "too late");
	dispatch();
	EXPECT_WHY(first, "It was cancelled; the last word on it: cancelled on demand");
	EXPECT_WHY(second, "It was cancelled; the last word on it: the task before it");
	player_dies(&one, EXIT(0), false);
	close_client();
}

static void test_explained_failures(void)
{
	open_client();
	alive();
	const struct tr_id retried = publish_one("h");
	dispatch();
	struct task *task = start_next();
	tasks_error(task, "no luck");
	task->due_ms = world.dispatcher.now_ms + 3600000;
	tasks_move(&world.dispatcher, task, EV_RETRY);
	window_admit(&world.dispatcher, task);
	dispatch();
	alive();
	EXPECT_WHY(retried, "Its attempt 1 failed: no luck; the next one is due at 2");
	const struct tr_id dead = publish_one("h");
	dispatch();
	task = start_next();
	tasks_error(task, "no luck at all");
	tasks_move(&world.dispatcher, task, EV_BURY);
	dispatch();
	EXPECT_WHY(dead, "It has failed for good, after 1 attempt: no luck at all");
	const struct tr_id well = publish_one("h");
	dispatch();
	EXPECT_ID(run_next(EV_SUCCEEDED), well);
	dispatch();
	EXPECT_WHY(well, "It has succeeded.");
	close_client();
}

static void test_explained_without_taskd(void)
{
	char name[80];

	open_client();
	alive();
	const struct tr_id waits = publish_one("h"), runs = publish_one("h");
	dispatch();
	task_of(runs);
	start_next();
	dispatch();
	const struct tr_id running = task_of(waits)->state == TR_RUNNING ? waits : runs;
	const struct tr_id queued = id_equal(&running, &waits) ? runs : waits;
	alive();
	EXPECT_WHY(running, "It is running");
	board_life(world.dispatcher.writer, BOARD_DRAINING);
	EXPECT_WHY(queued, "taskd is being stopped");
	board_life(world.dispatcher.writer, BOARD_RUNNING);
	board_heartbeat(world.dispatcher.writer, real_ms() - 60000);
	EXPECT_WHY(queued, "taskd hangs: it has shown no life since 2");
	EXPECT_WHY(running, "It is running, attempt 1, as far as is known; taskd hangs: it has shown no life since 2");
	world_kill(); /* it marks the board as stopped */
	EXPECT_WHY(queued, "taskd was stopped at 2");
	EXPECT_WHY(running, "It was running, attempt 1, when taskd ended; it runs again when taskd is started.");
	snprintf(name, sizeof name, "/%s.board", world.instance);
	int fd = shm_open(name, O_RDWR, 0);
	struct stat status;
	fstat(fd, &status);
	struct board *board = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	board->running_state = BOARD_RUNNING;
	board->heartbeat_ms = real_ms() - 60000;
	munmap(board, (size_t)status.st_size);
	EXPECT_WHY(queued, "taskd is dead: it has shown no life since 2");
	close_client();
	shm_unlink(name);
	open_client();
	EXPECT_WHY(queued, "taskd does not run.");
	close_client();
	world_start();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "everywhere", test_everywhere },
		{ "not found", test_not_found },
		{ "spooled", test_spooled },
		{ "attempts", test_attempts },
		{ "secrets", test_secrets },
		{ "redacting", test_redacting },
		{ "hostile arguments", test_hostile_arguments },
		{ "explained", test_explained },
		{ "failures explained", test_explained_failures },
		{ "explained without taskd", test_explained_without_taskd },
	};
	return RUN_DISPATCH_TESTS("detail", tests);
}
