/*
 * Commands that had no effect, and what came of their task or queue later; then a kill, before their places in the ring
 * are retired. Taken once more they must have no effect either: what they were about is in another state by then.
 */
#include "tests/unit/dispatch_client.h"

static struct tr_id young;

/* Keeps the ring from being retired: of the commits to come it is left out, as long as it is young. */
static void publish_young(void)
{
	struct record record = record_for("h");

	record.queue = span("young"); /* nothing else waits there, so it never rests in the journal */
	young = publish(&record, 1);
}

/* It is taken, and carried out at once or when the journal has answered. */
static void ask(enum record_kind kind, struct tr_id id)
{
	publish_command(kind, id);
	intake_turn(&world.dispatcher);
	await_journal();
	window_poll(&world.dispatcher);
}

static void write_what_changed(void)
{
	pass(10); /* of the 20 that the young one may be left out */
	for (int i = 0; i < 3; i++) {
		recorder_tick(&world.dispatcher);
		await_journal();
	}
	EXPECT_TEXT(journaled(young), "");
	CU_ASSERT(ring_unretired(world.dispatcher.ring) > 1);
}

/* Unwritten: the disk was full, say. */
static void restart(bool written)
{
	if (written)
		write_what_changed();
	world_kill();
	world_start();
	settle();
	EXPECT_TEXT(journaled(young), "queued");
}

/* It waits, whatever was asked before; and all that waits ends well, before the next round. */
static void expect_waits(struct tr_id id)
{
	struct tr_id ran[4];

	EXPECT_TEXT(journaled(id), "queued");
	run_all(ran, 4);
	EXPECT_TEXT(journaled(id), "succeeded");
}

static struct task *begin(struct tr_id id)
{
	struct task *task = task_of(id);

	CU_ASSERT_PTR_NOT_NULL_FATAL(task);
	scheduler_remove(task);
	task->attempt++;
	tasks_move(&world.dispatcher, task, EV_START);
	return task;
}

/* One that runs, as the journal knows, too. */
static struct task *running_task(void)
{
	const struct tr_id id = publish_one("h");

	settle();
	struct task *task = begin(id);
	settle();
	EXPECT_TEXT(journaled(id), "running");
	return task;
}

static void test_cancel_then_retry(void)
{
	for (int written = 0; written < 2; written++) {
		const struct tr_id id = ended_task("h", EV_BURY);
		publish_young();
		ask(RECORD_CANCEL, id);
		ask(RECORD_RETRY, id);
		CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
		restart(written);
		expect_waits(id);
	}
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 0);
	CU_ASSERT_EQUAL(stat_of(STAT_ring_damaged), 0);
}

/* What was retried had died without the journal's knowing. */
static void test_cancel_of_unwritten_death(void)
{
	for (int written = 0; written < 2; written++) {
		const struct tr_id id = just_died(false);
		publish_young();
		ask(RECORD_CANCEL, id);
		ask(RECORD_RETRY, id);
		CU_ASSERT_EQUAL(task_of(id)->state, TR_QUEUED);
		restart(written);
		expect_waits(id);
	}
	CU_ASSERT_EQUAL(stat_of(STAT_task_cancelled), 0);
}

/* It had succeeded, which nobody was shown, since the journal did not have its result yet: it must not start again. */
static void test_cancel_of_unshown_end(void)
{
	for (int written = 0; written < 2; written++) {
		struct task *task = running_task();
		const struct tr_id id = task->id;
		task->result = calloc(1, TR_RESULT_SHOWN_MAX + 2);
		CU_ASSERT_PTR_NOT_NULL_FATAL(task->result);
		memset(task->result, '7', TR_RESULT_SHOWN_MAX + 1);
		publish_young();
		tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
		CU_ASSERT_EQUAL(shown(id), TR_RUNNING);
		ask(RECORD_CANCEL, id);
		restart(written);
		EXPECT_TEXT(journaled(id), written ? "succeeded" : "cancelled");
	}
}

/* It ran when it was to be discarded. Then it died and was retried. */
static void test_discard_then_retry(void)
{
	for (int written = 0; written < 2; written++) {
		struct task *task = running_task();
		const struct tr_id id = task->id;
		publish_young();
		ask(RECORD_DISCARD, id);
		tasks_move(&world.dispatcher, task, EV_BURY);
		ask(RECORD_RETRY, id);
		CU_ASSERT_EQUAL(task->state, TR_QUEUED);
		restart(written);
		expect_waits(id);
	}
	CU_ASSERT_EQUAL(stat_of(STAT_task_discarded), 0);
}

/* Its callback was still to be asked, and is now: nobody was shown it as dead. */
static void test_discard_of_undecided(void)
{
	struct task *task = running_task();
	const struct tr_id id = task->id;

	verdict_failed(&world.dispatcher, task, TR_FAILED_RETURNED, false, "no luck");
	settle();
	publish_young();
	ask(RECORD_DISCARD, id);
	restart(true);
	EXPECT_TEXT(sql("SELECT state, deciding FROM task WHERE id = x'%s'", hex(id)), "2|1");
}

/* It was retried before, which the journal knows: it is another failure that is to be decided, and nobody was shown a death. */
static void test_retry_then_undecided(void)
{
	const struct tr_id id = ended_task("h", EV_BURY);

	publish_young();
	ask(RECORD_RETRY, id);
	verdict_failed(&world.dispatcher, begin(id), TR_FAILED_RETURNED, false, "no luck");
	restart(true);
	EXPECT_TEXT(sql("SELECT state, deciding FROM task WHERE id = x'%s'", hex(id)), "2|1");
}

/* It had not died when it was to be retried. */
static void test_retry_then_death(void)
{
	struct task *task = running_task();
	const struct tr_id id = task->id;

	publish_young();
	ask(RECORD_RETRY, id);
	tasks_move(&world.dispatcher, task, EV_BURY);
	restart(true);
	EXPECT_TEXT(journaled(id), "dead");
	CU_ASSERT_EQUAL(stat_of(STAT_task_retried), 0);
}

/* It ran, or was about to, when it was to be run; and has been put off since. */
static void test_run_then_snooze(void)
{
	for (int due = 0; due < 2; due++) {
		struct record record = record_for("h");
		record.run_at_ms = due ? world.dispatcher.now_ms + 1000 : 0;
		const struct tr_id id = publish(&record, 1);
		settle();
		if (due)
			pass(1000);
		else
			begin(id);
		publish_young();
		ask(RECORD_RUN, id);
		scheduler_tick(&world.dispatcher);
		struct task *task = due ? begin(id) : task_of(id);
		task->due_ms = world.dispatcher.now_ms + 3600000;
		tasks_move(&world.dispatcher, task, EV_SNOOZE);
		window_admit(&world.dispatcher, task);
		restart(true);
		EXPECT_TEXT(journaled(id), "scheduled");
	}
}

static void test_purge_then_end(void)
{
	struct task *task = running_task();
	const struct tr_id id = task->id;

	publish_young();
	ask(RECORD_PURGE, id);
	tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
	restart(true);
	EXPECT_TEXT(journaled(id), "succeeded");
	CU_ASSERT_EQUAL(stat_of(STAT_task_purged), 0);
}

static void ask_queue(enum record_kind kind, unsigned number)
{
	char name[16];

	snprintf(name, sizeof name, "q%u", number);
	publish_record(&(struct record){ .kind = (uint8_t)kind, .places = 1, .queue = span(name), .created_ns = world.dispatcher.now_ns });
}

/* Refused, since too many were paused; then one of them is resumed. */
static void test_pause_then_resume_of_another(void)
{
	for (unsigned i = 0; i < TR_PAUSED_MAX; i++)
		ask_queue(RECORD_PAUSE, i);
	settle();
	publish_young();
	ask_queue(RECORD_PAUSE, TR_PAUSED_MAX);
	ask_queue(RECORD_RESUME, 0);
	intake_turn(&world.dispatcher);
	restart(true);
	EXPECT_TEXT(sql("SELECT count(*) FROM queue"), "255");
	CU_ASSERT_FALSE(the_queue("q256")->paused);
}

/* Of those that are asked for together some have an effect and some have none. */
static void test_many(void)
{
	struct tr_id ids[3];
	size_t asked;

	open_client();
	ids[0] = ended_task("h", EV_BURY);
	ids[2] = ended_task("h", EV_BURY);
	ids[1] = publish_one("h");
	settle();
	publish_young();
	CU_ASSERT_EQUAL(tr_tasks_command(client, TR_CANCEL, ids, 3, &asked), TR_OK);
	ask(RECORD_RETRY, ids[2]);
	CU_ASSERT_EQUAL(task_of(ids[1])->state, TR_CANCELLED);
	CU_ASSERT_EQUAL(task_of(ids[2])->state, TR_QUEUED);
	restart(true);
	EXPECT_TEXT(journaled(ids[0]), "dead");
	EXPECT_TEXT(journaled(ids[1]), "cancelled");
	EXPECT_TEXT(journaled(ids[2]), "queued");
	close_client();
}

/* ---- any sequence ------------------------------------------------------------------------ */

#define SEEDS 200
#define STEPS 12

static uint64_t draw(uint64_t *seed, uint64_t below)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (*seed >> 33) % below;
}

/* In memory, or else in the journal; TR_STATES: nowhere. */
static enum tr_state state_of(struct tr_id id)
{
	const struct task *task = task_of(id);
	const char *row = task ? "" : sql("SELECT state FROM task WHERE id = x'%s'", hex(id));

	if (task)
		return task->purged ? TR_STATES : (enum tr_state)task->state;
	return *row ? (enum tr_state)atoi(row) : TR_STATES;
}

static void come_true(struct task *task, enum task_event event)
{
	if (task_step((enum tr_state)task->state, event) == TR_STATES || task->cancel_wanted)
		return;
	if (task->where != NOWHERE)
		scheduler_remove(task);
	task->attempt += event == EV_START;
	if (event == EV_SNOOZE || event == EV_RETRY)
		task->due_ms = world.dispatcher.now_ms + 3600000;
	tasks_move(&world.dispatcher, task, event);
	if (event == EV_SNOOZE || event == EV_RETRY)
		window_admit(&world.dispatcher, task);
}

/* Killed, and all that lies in the ring is taken again; what `id` was before it is still, as far as that was promised. */
static void check_restart(struct tr_id id, bool written, uint64_t seed)
{
	const struct task *task = task_of(id);
	bool cancelling = task && task->cancel_wanted;
	enum tr_state before = state_of(id);

	world_kill();
	world_start();
	intake_turn(&world.dispatcher);
	await_journal();
	window_poll(&world.dispatcher);
	enum tr_state after = state_of(id);
	bool right = (before == TR_CANCELLED || cancelling) == (after == TR_CANCELLED); /* a cancelled task stays so, no other is */
	if (before != TR_STATES && !tr_state_is_ended(before) && !cancelling)
		right = right && !tr_state_is_ended(after); /* what was to run still is */
	if (written && !cancelling)
		right = right && after == (before == TR_RUNNING ? TR_QUEUED : before);
	if (!right)
		fprintf(stderr, "\nseed %llu: %s became %s", (unsigned long long)seed, before == TR_STATES ? "nothing" : tr_state_name(before),
		    after == TR_STATES ? "nothing" : tr_state_name(after));
	CU_ASSERT_TRUE(right);
}

/* Commands, what befalls the task, commits and kills, in any order; the ring is never retired. */
static void test_any_sequence(void)
{
	static const enum record_kind kinds[] = { RECORD_CANCEL, RECORD_RETRY, RECORD_RETRY, RECORD_DISCARD, RECORD_RUN, RECORD_PURGE };
	static const enum task_event events[] = { EV_START, EV_START, EV_SUCCEEDED, EV_BURY, EV_BURY, EV_SNOOZE, EV_RETRY };

	for (uint64_t first = 1; first <= SEEDS; first++) {
		uint64_t seed = first;
		bool written = false;
		publish_young();
		const struct tr_id id = publish_one("h");
		intake_turn(&world.dispatcher);
		for (unsigned step = 0; step < STEPS && state_of(id) != TR_STATES; step++) {
			uint64_t what = draw(&seed, 10);
			pass(1);
			task_of(young)->accepted_ms = world.dispatcher.now_ms;
			if (what < 4) {
				ask(kinds[draw(&seed, 6)], id);
				written = false;
			} else if (what < 8 && task_of(id)) {
				come_true(task_of(id), events[draw(&seed, 7)]);
				written = false;
			} else if (what == 8) {
				write_what_changed();
				written = *journaled(id) != '\0'; /* it may still be too young */
			} else if (what == 9) {
				check_restart(id, written, first);
				written = false;
			}
		}
		world_kill();
		world_start();
		settle();
		for (struct task *task; (task = start_next()) != NULL;)
			tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
		settle();
	}
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "cancel, then retry", test_cancel_then_retry },
		{ "cancel, then retry, its death not written", test_cancel_of_unwritten_death },
		{ "cancel of an end that is not shown", test_cancel_of_unshown_end },
		{ "discard, then retry", test_discard_then_retry },
		{ "discard of one to be decided", test_discard_of_undecided },
		{ "retry, then one to be decided", test_retry_then_undecided },
		{ "retry, then death", test_retry_then_death },
		{ "run, then snooze", test_run_then_snooze },
		{ "purge, then its end", test_purge_then_end },
		{ "pause, then resume of another", test_pause_then_resume_of_another },
		{ "many", test_many },
		{ "any sequence", test_any_sequence },
	};
	return RUN_DISPATCH_TESTS("command_replay", tests);
}
