/* One command for many tasks, and what a dead task was added with: the public functions, over a dispatcher. */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

#include "shared/spool.h"

#define MANY 250

static struct tr_id bury(struct tr_id id)
{
	settle();
	struct task *task = start_next();
	tasks_error(task, "no luck");
	tasks_move(&world.dispatcher, task, EV_BURY);
	settle();
	return id;
}

static int64_t count_in(const char *state)
{
	return atoll(sql("SELECT count(*) FROM tasks WHERE state = '%s'", state));
}

static void test_many(void)
{
	static struct tr_id ids[MANY];
	size_t asked = 7;

	open_client();
	struct record record = record_for("h");
	record.run_at_ms = world.dispatcher.now_ms + 3600000;
	const struct tr_id first = publish(&record, MANY);
	for (uint16_t i = 0; i < MANY; i++)
		ids[i] = id_step(&first, i);
	dispatch();
	CU_ASSERT_EQUAL(count_in("scheduled"), MANY);
	CU_ASSERT_EQUAL(tr_tasks_command(client, TR_RUN, ids, 0, &asked), TR_OK);
	CU_ASSERT_EQUAL(asked, 0);
	CU_ASSERT_EQUAL(tr_tasks_command(client, TR_RETRY, ids, MANY, &asked), TR_OK); /* none is dead: ignored */
	CU_ASSERT_EQUAL(asked, MANY);
	dispatch();
	CU_ASSERT_EQUAL(count_in("scheduled"), MANY);
	for (int i = 0; i < 2; i++) { /* asking twice does no harm */
		CU_ASSERT_EQUAL(tr_tasks_command(client, TR_DISCARD, ids, MANY - 1, &asked), TR_OK);
		CU_ASSERT_EQUAL(asked, MANY - 1);
		dispatch();
		CU_ASSERT_EQUAL(count_in("cancelled"), MANY - 1);
	}
	CU_ASSERT_EQUAL(tr_tasks_command(client, TR_CANCEL, &ids[MANY - 1], 1, &asked), TR_OK);
	dispatch();
	CU_ASSERT_EQUAL(count_in("cancelled"), MANY);
	CU_ASSERT_EQUAL(stat_of(STAT_records_invalid), 0);
	close_client();
}

/* A ring that nobody empties: what was asked before it was full is said. */
static void test_full(void)
{
	static struct tr_id ids[TR_LIST_MAX];
	enum tr_result result = TR_OK;
	size_t asked = 0;

	open_client();
	for (int i = 0; i < 10000 && result == TR_OK; i++)
		result = tr_tasks_command(client, TR_CANCEL, ids, TR_LIST_MAX, &asked);
	CU_ASSERT_TRUE(result == TR_RING_FULL || result == TR_LANE_FULL);
	CU_ASSERT_TRUE(asked < TR_LIST_MAX);
	close_client();
}

static void test_recipe(void)
{
	const struct tr_id unknown = { { 1 } };
	struct tr_task_recipe recipe;

	open_client();
	struct record record = record_for("h");
	record.queue = span("mails");
	record.on_failure = span("patient");
	record.args = span("{\"password\":\"secret\"}");
	record.args_bytes = record.args.bytes;
	record.max_attempts = 3;
	record.backoff_base_ms = 11;
	record.backoff_cap_ms = 12;
	record.soft_timeout_ms = 13;
	record.hard_timeout_ms = 14;
	const struct tr_id id = publish(&record, 1);
	CU_ASSERT_EQUAL(tr_task_recipe(client, &unknown, &recipe), TR_NOT_FOUND);
	dispatch();
	CU_ASSERT_EQUAL(tr_task_recipe(client, &id, &recipe), TR_INVALID); /* it is not dead */
	CU_ASSERT_PTR_NULL(recipe.args);
	bury(id);
	CU_ASSERT_EQUAL_FATAL(tr_task_recipe(client, &id, &recipe), TR_OK);
	EXPECT_TEXT(recipe.handler, "h");
	EXPECT_TEXT(recipe.options.queue, "mails");
	EXPECT_TEXT(recipe.options.on_failure, "patient");
	EXPECT_TEXT(recipe.args, "{\"password\":\"secret\"}");
	CU_ASSERT_EQUAL(recipe.options.max_attempts, 3);
	CU_ASSERT_EQUAL(recipe.options.backoff_base_ms, 11);
	CU_ASSERT_EQUAL(recipe.options.backoff_cap_ms, 12);
	CU_ASSERT_EQUAL(recipe.options.soft_timeout_ms, 13);
	CU_ASSERT_EQUAL(recipe.options.hard_timeout_ms, 14);
	CU_ASSERT_FALSE(recipe.has_file);
	tr_task_recipe_clear(&recipe);
	CU_ASSERT_PTR_NULL(recipe.args);
	close_client();
}

/* Arguments in the spool, and a file. */
static void test_recipe_of_files(void)
{
	static char args[30000];
	struct tr_task_recipe recipe;
	struct tr_error error;

	open_client();
	memset(args, ' ', sizeof args - 1);
	memcpy(args, "{}", 2);
	CU_ASSERT_EQUAL_FATAL(background_tasks_add(batch, "h", args, NULL), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_attach(batch, tr_spool_file(client, &error)), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL_FATAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	bury(id);
	CU_ASSERT_EQUAL_FATAL(tr_task_recipe(client, &id, &recipe), TR_OK);
	CU_ASSERT_TRUE(recipe.has_file);
	CU_ASSERT_PTR_NULL(recipe.options.on_failure);
	EXPECT_TEXT(recipe.args, args);
	tr_task_recipe_clear(&recipe);
	/* Removed, or cut, by somebody else. */
	char name[SPOOL_NAME_SIZE], path[300];
	snprintf(path, sizeof path, "%s/%s", world.spool, spool_name(&id, SPOOL_ARGS, name));
	CU_ASSERT_EQUAL(truncate(path, 100), 0);
	CU_ASSERT_EQUAL(tr_task_recipe(client, &id, &recipe), TR_SYSTEM);
	CU_ASSERT_PTR_NULL(recipe.args);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(tr_task_recipe(client, &id, &recipe), TR_NOT_FOUND);
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "many", test_many },
		{ "a full ring", test_full },
		{ "a dead task's recipe", test_recipe },
		{ "arguments and a file in the spool", test_recipe_of_files },
	};
	return RUN_DISPATCH_TESTS("command_many", tests);
}
