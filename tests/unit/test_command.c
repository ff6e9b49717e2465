/*
 * Commands: discarding tasks, running them now, pausing and resuming queues; from memory, from the journal, beyond
 * the window, and what a kill in between leaves.
 */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

#include "taskd/heartbeat.h"

static void ask_queue(enum record_kind kind, const char *queue)
{
	publish_record(&(struct record){ .kind = (uint8_t)kind, .places = 1, .queue = span(queue), .created_ns = world.dispatcher.now_ns });
}

static struct tr_id publish_in(int64_t delay_ms)
{
	struct record record = record_for("h");

	record.run_at_ms = world.dispatcher.now_ms + delay_ms;
	return publish(&record, 1);
}

static bool is_none(struct tr_id id)
{
	return id_equal(&id, &(struct tr_id){ { 0 } });
}

/* ---- discarding -------------------------------------------------------------------------- */

static void test_discard(void)
{
	const struct tr_id waits = publish_one("h"), later = publish_in(3600000);

	settle();
	publish_command(RECORD_DISCARD, waits);
	publish_command(RECORD_DISCARD, later);
	settle();
	EXPECT_TEXT(sql("SELECT state, error FROM task"), "6|discarded on demand 6|discarded on demand");
	CU_ASSERT_EQUAL(stat_of(STAT_task_discarded), 2);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_task_scheduled), 0);
	CU_ASSERT_TRUE(is_none(run_next(EV_SUCCEEDED)));
	CU_ASSERT_EQUAL(in_memory(), 0);
}

/* A dead one keeps what it died of; its row is not counted twice. */
static void test_discard_dead(void)
{
	const struct tr_id id = publish_one("h");
	struct task *task;

	settle();
	task = start_next();
	tasks_error(task, "no luck");
	tasks_move(&world.dispatcher, task, EV_BURY);
	settle();
	CU_ASSERT_PTR_NULL(task_of(id));
	publish_command(RECORD_DISCARD, id);
	settle();
	EXPECT_TEXT(sql("SELECT state, error, attempt FROM task"), "6|no luck|1");
	CU_ASSERT_EQUAL(shown(id), TR_CANCELLED);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 1);
	publish_command(RECORD_RETRY, id); /* it is dead no more */
	publish_command(RECORD_DISCARD, id);
	settle();
	EXPECT_TEXT(journaled(id), "cancelled");
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), 2);
	CU_ASSERT_EQUAL(in_memory(), 0);
}

static void test_discard_running(void)
{
	const struct task *task = run_handler("h");
	const struct tr_id id = task->id;

	publish_command(RECORD_DISCARD, id);
	turn();
	CU_ASSERT_FALSE(task->cancel_wanted);
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), 1);
	end(&one, 0, TR_SUCCESS, 0, "");
	settle();
	EXPECT_TEXT(journaled(id), "succeeded");
	player_dies(&one, EXIT(0), false);
}

/* Discarding one of a batch gives up those behind it. */
static void test_discard_first_of_batch(void)
{
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	const struct tr_id id = publish(&record, 3), second = id_step(&id, 1);
	settle();
	publish_command(RECORD_DISCARD, second); /* a blocked one waits, too */
	settle();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM (SELECT state FROM task ORDER BY id)"), "1,6,6");
	publish_command(RECORD_DISCARD, id);
	settle();
	EXPECT_TEXT(sql("SELECT group_concat(state) FROM (SELECT state FROM task ORDER BY id)"), "6,6,6");
}

static void test_discard_beyond_the_window(void)
{
	struct tr_id ids[20], ran[20];

	publish_row(ids, 20);
	settle();
	CU_ASSERT_PTR_NULL(task_of(ids[19]));
	publish_command(RECORD_DISCARD, ids[19]);
	settle();
	EXPECT_TEXT(journaled(ids[19]), "cancelled");
	CU_ASSERT_EQUAL(run_all(ran, 20), 19);
}

/* ---- running now ------------------------------------------------------------------------- */

static void test_run_scheduled(void)
{
	const struct tr_id id = publish_in(3600000);

	settle();
	CU_ASSERT_TRUE(is_none(run_next(EV_SUCCEEDED)));
	publish_command(RECORD_RUN, id);
	settle();
	CU_ASSERT_EQUAL(shown(id), TR_QUEUED);
	CU_ASSERT_EQUAL(stat_of(STAT_task_hurried), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_task_scheduled), 0);
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	settle();
	EXPECT_TEXT(journaled(id), "succeeded");
}

static void test_run_retrying(void)
{
	const struct tr_id id = publish_one("h");
	struct task *task;

	settle();
	task = start_next();
	task->due_ms = world.dispatcher.now_ms + 3600000;
	tasks_move(&world.dispatcher, task, EV_RETRY);
	window_admit(&world.dispatcher, task);
	settle();
	publish_command(RECORD_RUN, id);
	settle();
	EXPECT_TEXT(journaled(id), "retrying");
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	publish_command(RECORD_RUN, id);
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), 1);
}

/* It is asked of a task that rests in the journal, and takes its place behind what is due already. */
static void test_run_beyond_the_window(void)
{
	struct tr_id ids[20], ran[21];

	publish_row(ids, 20);
	settle();
	const struct tr_id id = publish_in(3600000);
	settle();
	CU_ASSERT_PTR_NULL(task_of(id));
	publish_command(RECORD_RUN, id);
	settle();
	EXPECT_TEXT(journaled(id), "queued");
	CU_ASSERT_EQUAL(run_all(ran, 21), 21);
	EXPECT_ID(ran[20], id);
}

/* A sequential one is due now, and still waits for the one before it. */
static void test_run_blocked(void)
{
	struct record record = record_for("h");

	record.flags = RECORD_SEQUENTIAL;
	record.run_at_ms = world.dispatcher.now_ms + 3600000;
	const struct tr_id first = publish(&record, 2), second = id_step(&first, 1);
	settle();
	publish_command(RECORD_RUN, second);
	settle();
	EXPECT_TEXT(journaled(second), "queued");
	CU_ASSERT_TRUE(is_none(run_next(EV_SUCCEEDED)));
	publish_command(RECORD_RUN, first);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), first);
	EXPECT_ID(run_next(EV_SUCCEEDED), second);
}

/*
 * Obeyed, and put off again since: the same command, taken once more after a kill because a young task in front of it
 * had kept it in the ring, must not hurry it again.
 */
static void test_run_taken_twice(void)
{
	const struct tr_id id = publish_in(3600000);
	settle();
	const struct tr_id young = publish_one("young");
	struct task *task;

	publish_command(RECORD_RUN, id);
	turn();
	task = task_of(id);
	CU_ASSERT_PTR_NOT_NULL_FATAL(task);
	CU_ASSERT_EQUAL(task->state, TR_QUEUED);
	scheduler_remove(task);
	task->attempt++;
	tasks_move(&world.dispatcher, task, EV_START);
	pass(10); /* of the 20 that the young one may be left out */
	task->due_ms = world.dispatcher.now_ms + 7200000;
	tasks_move(&world.dispatcher, task, EV_SNOOZE);
	window_admit(&world.dispatcher, task);
	for (int i = 0; i < 3; i++) {
		recorder_tick(&world.dispatcher);
		await_journal();
	}
	EXPECT_TEXT(journaled(id), "scheduled");
	EXPECT_TEXT(journaled(young), "");
	CU_ASSERT_EQUAL(ring_unretired(world.dispatcher.ring), 2);
	world_kill();
	world_start();
	settle();
	EXPECT_TEXT(journaled(id), "scheduled");
	CU_ASSERT_EQUAL(stat_of(STAT_task_hurried), 1);
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), 1);
	/* What is asked for now is another matter, even while it stands where a replayed one could. */
	pass(1);
	world_kill();
	publish_command(RECORD_RUN, id);
	world_start();
	settle();
	EXPECT_TEXT(journaled(id), "queued");
}

/* ---- pausing ----------------------------------------------------------------------------- */

static void expect_paused(const char *names)
{
	EXPECT_TEXT(sql("SELECT coalesce(group_concat(name), '') FROM queue WHERE paused"), names);
}

static void test_pause_and_resume(void)
{
	struct record other = record_for("h");

	other.queue = span("other");
	ask_queue(RECORD_PAUSE, "default");
	settle();
	expect_paused("default");
	CU_ASSERT_EQUAL(stat_of(STAT_queues_paused), 1);
	const struct tr_id held = publish_one("h"), goes = publish(&other, 1);
	settle();
	EXPECT_ID(run_next(EV_SUCCEEDED), goes);
	CU_ASSERT_TRUE(is_none(run_next(EV_SUCCEEDED)));
	EXPECT_TEXT(journaled(held), "queued");
	ask_queue(RECORD_PAUSE, "default"); /* once more: nothing happens */
	ask_queue(RECORD_RESUME, "other");
	settle();
	expect_paused("default");
	CU_ASSERT_EQUAL(stat_of(STAT_queues_paused), 1);
	ask_queue(RECORD_RESUME, "default");
	settle();
	expect_paused("");
	CU_ASSERT_EQUAL(stat_of(STAT_queues_paused), 0);
	EXPECT_ID(run_next(EV_SUCCEEDED), held);
}

/* What lies with a worker and has not begun is taken back; what runs goes on, its callback too. */
static void test_pause_takes_back(void)
{
	struct tr_id ids[3];

	start_worker();
	make_quick(&one, "h");
	for (unsigned i = 0; i < 3; i++)
		ids[i] = publish_one("h");
	CU_ASSERT_EQUAL(give(), 3);
	begin(&one, 0);
	EXPECT_ID(one.id, ids[0]);
	ask_queue(RECORD_PAUSE, "default");
	turn();
	CU_ASSERT_EQUAL(task_of(ids[1])->where, IN_READY);
	CU_ASSERT_EQUAL(task_of(ids[2])->where, IN_READY);
	CU_ASSERT_EQUAL(give(), 0);
	end(&one, 0, TR_FAILURE, 0, "no luck");
	CU_ASSERT_EQUAL(give(), 1); /* the callback belongs to what ran */
	claim(&one, 0);
	CU_ASSERT_EQUAL(one.head.kind, WORK_CALLBACK);
	say(&one, 0, MESSAGE_STARTED, one.head.serial, 0, 0, "", 0);
	answer(&one, TR_VERDICT_RETRY, 0, "", 0);
	CU_ASSERT_EQUAL(task_of(ids[0])->state, TR_RETRYING);
	pass(1);
	CU_ASSERT_EQUAL(give(), 0);
	ask_queue(RECORD_RESUME, "default");
	turn();
	CU_ASSERT_EQUAL(give(), 3);
	for (unsigned i = 0; i < 3; i++) {
		begin(&one, 0);
		end(&one, 0, TR_SUCCESS, 0, "");
	}
	CU_ASSERT_EQUAL(stat_of(STAT_task_succeeded), 4);
	player_dies(&one, EXIT(0), false);
}

static void test_pause_survives(void)
{
	const struct tr_id id = publish_one("h");

	settle();
	ask_queue(RECORD_PAUSE, "default");
	ask_queue(RECORD_PAUSE, "empty"); /* one that has no tasks */
	settle();
	world_kill();
	world_start();
	CU_ASSERT_EQUAL(stat_of(STAT_queues_paused), 2);
	settle();
	CU_ASSERT_TRUE(is_none(run_next(EV_SUCCEEDED)));
	/* Killed between ring and journal: the command is taken again, before anything is given out. */
	ask_queue(RECORD_RESUME, "default");
	intake_turn(&world.dispatcher);
	CU_ASSERT_FALSE(the_queue("default")->paused);
	world_kill();
	expect_paused("default,empty");
	world_start();
	settle();
	expect_paused("empty");
	ask_queue(RECORD_PAUSE, "default");
	intake_turn(&world.dispatcher);
	world_kill();
	world_start();
	start_worker();
	CU_ASSERT_EQUAL(give(), 0);
	settle();
	expect_paused("default,empty");
	CU_ASSERT_EQUAL(give(), 0);
	EXPECT_TEXT(journaled(id), "queued");
	player_dies(&one, EXIT(0), false);
}

/* The last command counts, also when some of them are taken twice. */
static void test_pause_taken_twice(void)
{
	publish_one("young");
	ask_queue(RECORD_PAUSE, "q");
	ask_queue(RECORD_RESUME, "q");
	turn();
	pass(10);
	recorder_tick(&world.dispatcher);
	await_journal();
	recorder_tick(&world.dispatcher);
	expect_paused("");
	CU_ASSERT_EQUAL(ring_unretired(world.dispatcher.ring), 3);
	world_kill();
	world_start();
	settle();
	expect_paused("");
	CU_ASSERT_FALSE(the_queue("q")->paused);
}

/* While a queue gives nothing out its tasks still expire, and none that has expired starts later. */
static void test_pause_and_expiry(void)
{
	struct record record = record_for("h");

	ask_queue(RECORD_PAUSE, "default");
	record.expires_at_ms = world.dispatcher.now_ms + 1000;
	const struct tr_id id = publish(&record, 1), stays = publish_one("h");
	settle();
	heartbeat(&world.dispatcher);
	EXPECT_TEXT(journaled(id), "queued");
	pass(2000);
	heartbeat(&world.dispatcher);
	settle();
	EXPECT_TEXT(sql("SELECT state, error FROM task WHERE id = x'%s'", hex(id)), "7|its queue was paused until it expired");
	EXPECT_TEXT(journaled(stays), "queued");
	CU_ASSERT_EQUAL(stat_of(STAT_task_expired), 1);
}

/* More tasks than are kept in memory: they rest in the journal, and all run after the resuming. */
static void test_pause_and_window(void)
{
	struct tr_id ids[20], ran[20];

	ask_queue(RECORD_PAUSE, "default");
	publish_row(ids, 20);
	settle();
	CU_ASSERT(in_memory() < 20);
	CU_ASSERT_EQUAL(stat_of(STAT_task_waiting), 20);
	ask_queue(RECORD_RESUME, "default");
	CU_ASSERT_EQUAL(run_all(ran, 20), 20);
}

/* So many and no more; and names that nobody uses any more go only when they are not paused. */
static void test_pause_is_bounded(void)
{
	char name[16];

	for (unsigned i = 0; i < TR_PAUSED_MAX + 2; i++) {
		snprintf(name, sizeof name, "q%u", i);
		ask_queue(RECORD_PAUSE, name);
	}
	settle();
	CU_ASSERT_EQUAL(stat_of(STAT_queues_paused), TR_PAUSED_MAX);
	CU_ASSERT_EQUAL(stat_of(STAT_command_refused), 2);
	EXPECT_TEXT(sql("SELECT count(*) FROM queue"), "256");
	for (unsigned i = 0; i < 4200; i++) {
		struct record record = record_for("h");
		snprintf(name, sizeof name, "other%u", i);
		record.queue = span(name);
		publish(&record, 1);
		if (i % 100 == 99)
			while (!is_none(run_next(EV_SUCCEEDED)) || (settle(), !is_none(run_next(EV_SUCCEEDED))))
				continue;
	}
	CU_ASSERT(HASH_COUNT(world.dispatcher.queues) <= 4096);
	CU_ASSERT_TRUE(the_queue("q0")->paused);
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 0);
}

/* ---- the public functions ---------------------------------------------------------------- */

static void test_public(void)
{
	const struct tr_id unknown = { { 1 } };

	open_client();
	const struct tr_id id = publish_in(3600000);
	CU_ASSERT_EQUAL(tr_task_run(client, &unknown), TR_NOT_FOUND);
	CU_ASSERT_EQUAL(tr_task_discard(client, &unknown), TR_NOT_FOUND);
	CU_ASSERT_EQUAL(tr_task_run(client, &id), TR_OK); /* it is still in the ring */
	dispatch();
	EXPECT_TEXT(journaled(id), "queued");
	CU_ASSERT_EQUAL(tr_task_run(client, &id), TR_INVALID);
	CU_ASSERT_EQUAL(tr_task_discard(client, &id), TR_OK);
	dispatch();
	EXPECT_TEXT(journaled(id), "cancelled");
	CU_ASSERT_EQUAL(tr_task_discard(client, &id), TR_INVALID);
	CU_ASSERT_EQUAL(tr_queue_pause(client, ""), TR_INVALID);
	CU_ASSERT_EQUAL(tr_queue_pause(client, "../q"), TR_INVALID);
	CU_ASSERT_EQUAL(tr_queue_pause(client, "mail"), TR_OK);
	dispatch();
	expect_paused("mail");
	CU_ASSERT_EQUAL(tr_queue_resume(client, "mail"), TR_OK);
	dispatch();
	expect_paused("");
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "discard", test_discard },
		{ "discard a dead one", test_discard_dead },
		{ "discard a running one", test_discard_running },
		{ "discard in a batch", test_discard_first_of_batch },
		{ "discard beyond the window", test_discard_beyond_the_window },
		{ "run a scheduled one", test_run_scheduled },
		{ "run a retrying one", test_run_retrying },
		{ "run beyond the window", test_run_beyond_the_window },
		{ "run a blocked one", test_run_blocked },
		{ "run is taken twice", test_run_taken_twice },
		{ "pause and resume", test_pause_and_resume },
		{ "pause takes back", test_pause_takes_back },
		{ "pause survives", test_pause_survives },
		{ "pause is taken twice", test_pause_taken_twice },
		{ "pause and expiry", test_pause_and_expiry },
		{ "pause and the window", test_pause_and_window },
		{ "pause is bounded", test_pause_is_bounded },
		{ "the public functions", test_public },
	};
	return RUN_DISPATCH_TESTS("command", tests);
}
