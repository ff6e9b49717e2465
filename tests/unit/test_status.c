/*
 * Looking from outside: opening an instance, a task's status wherever the task is (ring, board,
 * journal), the instance's health, asking for a cancellation.
 */
#include "tests/unit/dispatch_worker.h"

static struct taskring *client;
static struct tr_task_status status;

static int64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void open_client(const char *journal)
{
	const struct tr_open_options options = { .journal = journal };
	struct tr_error error;

	set_now(real_ms());
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &options, &error), TR_OK);
}

static struct tr_id add_one(const char *handler, const struct task_options *options)
{
	struct background_tasks *batch;

	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&batch, client), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_add(batch, handler, "{\"a\":1}", options), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL_FATAL(background_tasks_publish(batch, 0), TR_OK);
	background_tasks_free(&batch);
	return id;
}

static void expect_status(struct tr_id id, enum tr_state state, uint32_t attempt)
{
	tr_task_status_clear(&status);
	CU_ASSERT_EQUAL(tr_task_status(client, &id, &status), TR_OK);
	EXPECT_ID(status.id, id);
	CU_ASSERT_EQUAL(status.state, state);
	CU_ASSERT_EQUAL(status.attempt, attempt);
}

/* ---- one task ---------------------------------------------------------------------------- */

static void test_from_the_ring(void)
{
	const struct task_options later = { .queue = "mails", .delay_ms = 3600000, .max_attempts = 7 };

	open_client(NULL);
	add_one("before", NULL);
	const struct tr_id waits = add_one("waits", NULL), scheduled = add_one("scheduled", &later);
	expect_status(waits, TR_QUEUED, 0);
	CU_ASSERT_STRING_EQUAL(status.handler, "waits");
	CU_ASSERT_STRING_EQUAL(status.queue, "default");
	CU_ASSERT_EQUAL(status.max_attempts, 5);
	CU_ASSERT_EQUAL(status.due_ms, status.created_ms);
	expect_status(scheduled, TR_SCHEDULED, 0);
	CU_ASSERT_STRING_EQUAL(status.queue, "mails");
	CU_ASSERT_EQUAL(status.max_attempts, 7);
	CU_ASSERT_EQUAL(status.due_ms, status.created_ms + 3600000);
	tr_close(&client);
}

static void test_from_the_board(void)
{
	open_client(NULL); /* without a journal: what follows is not from there */
	const struct tr_id id = add_one("h", NULL);
	settle();
	CU_ASSERT_EQUAL(ring_unretired(world.dispatcher.ring), 0);
	expect_status(id, TR_QUEUED, 0);
	struct task *task = start_next();
	task->result = strdup("{\"n\":1}");
	tasks_show_all(&world.dispatcher);
	expect_status(id, TR_RUNNING, 1);
	CU_ASSERT_EQUAL(status.started_ms, world.dispatcher.now_ms);
	pass(20);
	tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
	settle();
	expect_status(id, TR_SUCCEEDED, 1);
	CU_ASSERT_EQUAL(status.ended_ms - status.started_ms, 20);
	CU_ASSERT_STRING_EQUAL(status.result, "{\"n\":1}");
	tr_task_status_clear(&status);
	CU_ASSERT_PTR_NULL(status.result);
	tr_close(&client);
}

/* A result too long for the board comes from the journal, whole; and who sees the task's end finds it there. */
static void test_long_result(void)
{
	char *result = malloc(5000);

	memset(result, '7', 4999);
	result[4999] = '\0';
	open_client(world.journal);
	const struct tr_id id = add_one("h", NULL);
	settle();
	struct task *task = start_next();
	task->result = strdup(result);
	tasks_show_all(&world.dispatcher);
	tasks_move(&world.dispatcher, task, EV_SUCCEEDED);
	tasks_show_all(&world.dispatcher);
	expect_status(id, TR_RUNNING, 1);
	tr_task_status_clear(&status);
	settle();
	expect_status(id, TR_SUCCEEDED, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(status.result);
	CU_ASSERT_STRING_EQUAL(status.result, result);
	tr_task_status_clear(&status);
	free(result);
	tr_close(&client);
}

/* Resting tasks and ended ones that the board has given up are found in the journal. */
static void test_from_the_journal(void)
{
	struct tr_id ids[12];

	open_client(world.journal);
	for (unsigned i = 0; i < 12; i++) {
		ids[i] = add_one("h", NULL);
		set_now(real_ms());
	}
	settle();
	CU_ASSERT_TRUE(in_memory() < 12);
	for (unsigned i = 0; i < 12; i++)
		expect_status(ids[i], TR_QUEUED, 0);
	tr_close(&client);
	open_client(NULL);
	unsigned found = 0;
	for (unsigned i = 0; i < 12; i++)
		found += tr_task_status(client, &ids[i], &status) == TR_OK;
	CU_ASSERT_EQUAL(found, in_memory());
	tr_close(&client);
}

/* The trace travels with the task: from the ring, then from its row. */
static void test_origin(void)
{
	char trace[TR_TRACE_MAX + 1], longest[TR_TRACE_MAX + 1];
	const struct task_options options = { .trace = "00-trace;request_id=r" }, most = { .trace = longest };

	memset(longest, 't', TR_TRACE_MAX);
	longest[TR_TRACE_MAX] = 0;
	open_client(world.journal);
	const struct tr_id id = add_one("h", &options), without = add_one("h", NULL), long_one = add_one("h", &most);
	const struct tr_id unknown = { { 1, 2, 3 } };
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(tr_task_origin(client, &id, trace), TR_OK);
		CU_ASSERT_STRING_EQUAL(trace, options.trace);
		CU_ASSERT_EQUAL(tr_task_origin(client, &without, trace), TR_OK);
		CU_ASSERT_STRING_EQUAL(trace, "");
		CU_ASSERT_EQUAL(tr_task_origin(client, &long_one, trace), TR_OK);
		CU_ASSERT_STRING_EQUAL(trace, longest);
		CU_ASSERT_EQUAL(tr_task_origin(client, &unknown, trace), TR_NOT_FOUND);
		settle();
		CU_ASSERT_EQUAL(ring_unretired(world.dispatcher.ring), 0);
	}
	tr_close(&client);
}

static void test_unknown(void)
{
	const struct tr_id id = { { 1, 2, 3 } };

	open_client(world.journal);
	CU_ASSERT_EQUAL(tr_task_status(client, &id, &status), TR_NOT_FOUND);
	tr_close(&client);
	open_client("/nonexistent/journal.db");
	CU_ASSERT_EQUAL(tr_task_status(client, &id, &status), TR_NOT_FOUND);
	tr_close(&client);
}

static void test_cancel(void)
{
	open_client(NULL);
	const struct tr_id id = add_one("h", NULL), later = add_one("h", &(struct task_options){ .delay_ms = 100000 });
	CU_ASSERT_EQUAL(tr_task_cancel(client, &id), TR_OK);
	CU_ASSERT_EQUAL(tr_task_cancel(client, &later), TR_OK);
	settle();
	expect_status(id, TR_CANCELLED, 0);
	CU_ASSERT_STRING_EQUAL(status.error, "cancelled on demand");
	expect_status(later, TR_CANCELLED, 0);
	CU_ASSERT_PTR_NULL(start_next());
	tr_close(&client);
}

/* ---- the instance ------------------------------------------------------------------------ */

static void test_health(void)
{
	struct tr_health health;

	open_client(NULL);
	board_heartbeat(world.dispatcher.writer, real_ms());
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_OK);
	CU_ASSERT_TRUE(health.ring_ok);
	CU_ASSERT_TRUE(health.taskd_alive);
	CU_ASSERT_EQUAL(health.ring_cells, 16384);
	CU_ASSERT_EQUAL(health.ring_cells_used, 0);
	add_one("a", NULL);
	add_one("b", NULL);
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_OK);
	CU_ASSERT_EQUAL(health.ring_cells_used, 2);
	settle();
	start_next();
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_OK);
	CU_ASSERT_EQUAL(health.ring_cells_used, 0);
	CU_ASSERT_EQUAL(health.waiting, 1);
	CU_ASSERT_EQUAL(health.running, 1);
	board_heartbeat(world.dispatcher.writer, real_ms() - BOARD_ALIVE_MS - 1000);
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_OK);
	CU_ASSERT_FALSE(health.taskd_alive);
	board_heartbeat(world.dispatcher.writer, real_ms());
	board_life(world.dispatcher.writer, BOARD_STOPPED);
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_OK);
	CU_ASSERT_FALSE(health.taskd_alive);
	tr_close(&client);
}

static void remove_segment(const char *instance, const char *what)
{
	char name[80];

	snprintf(name, sizeof name, "/%s.%s", instance, what);
	shm_unlink(name);
}

/* A producer may be there before taskd: the ring is, the board is not. */
static void test_before_taskd(void)
{
	const struct tr_id id = { { 1 } };
	struct tr_health health;
	struct tr_error error;
	char instance[60];

	snprintf(instance, sizeof instance, "status.%d", (int)getpid());
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, instance, NULL, &error), TR_OK);
	const struct tr_id added = add_one("h", NULL);
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_NO_BOARD);
	CU_ASSERT_TRUE(health.ring_ok);
	CU_ASSERT_EQUAL(health.ring_cells_used, 1);
	CU_ASSERT_FALSE(health.taskd_alive);
	CU_ASSERT_EQUAL(health.taskd_seen_ms, 0);
	expect_status(added, TR_QUEUED, 0);
	CU_ASSERT_EQUAL(tr_task_status(client, &id, &status), TR_NOT_FOUND);
	/* The ring is made anew by others: the client follows. */
	remove_segment(instance, "ring");
	CU_ASSERT_EQUAL(tr_health(client, &health), TR_NO_BOARD);
	CU_ASSERT_EQUAL(health.ring_cells_used, 0);
	const struct tr_id again = add_one("h", NULL);
	expect_status(again, TR_QUEUED, 0);
	tr_close(&client);
	remove_segment(instance, "ring");
	remove_segment(instance, "wake");
}

/* To look at an instance makes none; what is there meanwhile is found. */
static void test_open_to_look(void)
{
	const struct tr_open_options look = { .look = true };
	const struct tr_id id = { { 1 } };
	struct background_tasks *none;
	struct taskring *looking;
	struct tr_health health;
	struct tr_error error;
	char instance[60], path[100];

	snprintf(instance, sizeof instance, "look.%d", (int)getpid());
	snprintf(path, sizeof path, "/dev/shm/%s.ring", instance);
	CU_ASSERT_EQUAL_FATAL(tr_open(&looking, instance, &look, &error), TR_OK);
	CU_ASSERT_EQUAL(tr_task_status(looking, &id, &status), TR_NOT_FOUND);
	CU_ASSERT_EQUAL(tr_task_cancel(looking, &id), TR_NO_RING);
	CU_ASSERT_EQUAL(background_tasks_new(&none, looking), TR_NO_RING);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_EQUAL(tr_health(looking, &health), TR_NO_BOARD);
	CU_ASSERT_FALSE(health.ring_ok);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);

	CU_ASSERT_EQUAL_FATAL(tr_open(&client, instance, NULL, &error), TR_OK);
	CU_ASSERT_EQUAL(tr_task_cancel(looking, &id), TR_OK);
	CU_ASSERT_EQUAL(tr_health(looking, &health), TR_NO_BOARD);
	CU_ASSERT_TRUE(health.ring_ok);
	CU_ASSERT_EQUAL(health.ring_cells_used, 1);
	tr_close(&client);
	remove_segment(instance, "ring");
	CU_ASSERT_EQUAL(tr_health(looking, &health), TR_NO_BOARD);
	CU_ASSERT_FALSE(health.ring_ok);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
	tr_close(&looking);
	remove_segment(instance, "wake");
}

static void test_open_refuses(void)
{
	const struct tr_open_options other = { .geometry = { .lanes = 5 } }, wrong = { .geometry = { .lanes = 1000 } };
	struct tr_error error;

	CU_ASSERT_EQUAL(tr_open(&client, "a/b", NULL, &error), TR_INVALID);
	CU_ASSERT_PTR_NULL(client);
	EXPECT_TEXT(error.text, "instance: allowed are 1 to 63 of A-Z a-z 0-9 . _ -, not starting with a dot");
	CU_ASSERT_EQUAL(tr_open(&client, "", NULL, NULL), TR_INVALID);
	CU_ASSERT_EQUAL(tr_open(&client, world.instance, &wrong, &error), TR_INVALID);
	EXPECT_TEXT(error.text, "geometry: allowed in lanes: 1 to 512");
	CU_ASSERT_EQUAL(tr_open(&client, world.instance, &other, &error), TR_GEOMETRY_MISMATCH);
	EXPECT_TEXT(error.text, "the ring has lanes=4 slots_per_lane=1024 slot_bytes=256 cells=16384, "
	    "asked for are lanes=5 slots_per_lane=1024 slot_bytes=256 cells=16384");
	CU_ASSERT_PTR_NULL(client);
}

/* Asked to be cancelled, it goes on until its handler heeds it; that shows, from the board and from the journal. */
static void test_cancelling(void)
{
	char name[80];

	open_client(world.journal);
	const struct tr_id id = run_handler("h")->id;
	tasks_show_all(&world.dispatcher);
	expect_status(id, TR_RUNNING, 1);
	CU_ASSERT_FALSE(status.cancelling);
	CU_ASSERT_EQUAL(tr_task_cancel(client, &id), TR_OK);
	settle();
	expect_status(id, TR_RUNNING, 1);
	CU_ASSERT_TRUE(status.cancelling);
	snprintf(name, sizeof name, "/%s.board", world.instance);
	char kept[100];
	snprintf(kept, sizeof kept, "/dev/shm%s.kept", name);
	char path[90];
	snprintf(path, sizeof path, "/dev/shm%s", name);
	CU_ASSERT_EQUAL(rename(path, kept), 0);
	tr_close(&client);
	open_client(world.journal);
	expect_status(id, TR_RUNNING, 1);
	CU_ASSERT_TRUE(status.cancelling);
	CU_ASSERT_EQUAL(rename(kept, path), 0);
	set_now(real_ms());
	end(&one, 0, TR_FAILURE, 0, "stopped");
	settle();
	expect_status(id, TR_CANCELLED, 1);
	CU_ASSERT_FALSE(status.cancelling);
	player_dies(&one, EXIT(0), false);
	tr_task_status_clear(&status);
	tr_close(&client);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "from the ring", test_from_the_ring },
		{ "from the board", test_from_the_board },
		{ "a long result", test_long_result },
		{ "from the journal", test_from_the_journal },
		{ "origin", test_origin },
		{ "unknown", test_unknown },
		{ "cancel", test_cancel },
		{ "cancelling", test_cancelling },
		{ "health", test_health },
		{ "before taskd", test_before_taskd },
		{ "to look", test_open_to_look },
		{ "open refuses", test_open_refuses },
	};
	return RUN_DISPATCH_TESTS("status", tests);
}
