/* What a task has in the spool: it stays as long as the task may be run again, goes with its end, and strays are swept. */
#include "tests/unit/dispatch_client.h"
#include "tests/unit/dispatch_worker.h"

#include <fcntl.h>

#include "shared/spool.h"
#include "taskd/heartbeat.h"

static bool has_file(struct tr_id id, enum spool_kind kind)
{
	char path[200], name[SPOOL_NAME_SIZE];

	snprintf(path, sizeof path, "%s/%s", world.spool, spool_name(&id, kind, name));
	return access(path, F_OK) == 0;
}

/* A task with both kinds of files, published as a producer does. */
static struct tr_id with_files(void)
{
	static char args[20001];

	memset(args, 'a', sizeof args - 1);
	CU_ASSERT_EQUAL(background_tasks_add(batch, "h", args, NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, tr_spool_file(client, NULL)), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	dispatch();
	return id;
}

#define EXPECT_FILES(id, expected) \
	do { \
		CU_ASSERT_EQUAL(has_file(id, SPOOL_ARGS), expected); \
		CU_ASSERT_EQUAL(has_file(id, SPOOL_FILE), expected); \
	} while (0)

static void test_files_stay_while_dead(void)
{
	open_client();
	const struct tr_id id = with_files();
	EXPECT_ID(run_next(EV_BURY), id);
	dispatch();
	EXPECT_FILES(id, true);
	world_kill();
	world_start();
	dispatch();
	EXPECT_FILES(id, true);
	CU_ASSERT_EQUAL(tr_task_retry(client, &id), TR_OK);
	dispatch();
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	EXPECT_FILES(id, true);
	dispatch();
	EXPECT_FILES(id, false);
	close_client();
}

/* All ends but death take the files along; death does where the journal does not keep the task. */
static void test_files_go_with_the_end(void)
{
	static const enum task_event ends[] = { EV_SUCCEEDED, EV_DISCARD, EV_CANCEL, EV_BURY };

	open_client();
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		const struct tr_id id = with_files();
		if (ends[i] == EV_BURY)
			world.config.history = HISTORY_NONE;
		EXPECT_ID(run_next(ends[i]), id);
		dispatch();
		EXPECT_FILES(id, false);
	}
	close_client();
}

static void make_file(const char *name)
{
	char path[200];

	snprintf(path, sizeof path, "%s/%s", world.spool, name);
	CU_ASSERT_EQUAL(close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600)), 0);
}

/* The sweep takes what no task can need any more, and no name that it does not know. */
static void test_sweep(void)
{
	static const char *const others[] = { "01900000-0000-7000-8000-0000000000ab.tmp", "01900000-0000-7000-8000-0000000000AB",
		"01900000-0000-7000-8000-0000000000ab.file.bak", "01900000-0000-7000-8000-0000000000a", "notes", ".file" };
	char path[200];

	open_client();
	const struct tr_id dead = with_files();
	EXPECT_ID(run_next(EV_BURY), dead);
	dispatch();
	const struct tr_id waits = with_files();
	make_file("01900000-0000-7000-8000-0000000000ab");
	make_file("01900000-0000-7000-8000-0000000000ab.file");
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		make_file(others[i]);
	for (int hours = 0; hours < 2; hours++) {
		for (int i = 0; i < 4; i++)
			heartbeat(&world.dispatcher);
		snprintf(path, sizeof path, "%s/01900000-0000-7000-8000-0000000000ab", world.spool);
		CU_ASSERT_EQUAL(access(path, F_OK) == 0, hours == 0); /* a young one may be about to be published */
		strcat(path, ".file");
		CU_ASSERT_EQUAL(access(path, F_OK) == 0, hours == 0);
		pass(2 * 3600000);
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		snprintf(path, sizeof path, "%s/%s", world.spool, others[i]);
		CU_ASSERT_EQUAL(access(path, F_OK), 0);
	}
	EXPECT_FILES(dead, true);
	EXPECT_FILES(waits, true);
	/* Its row went while taskd was dead, or in a crash: then they are left over. */
	sql("DELETE FROM task WHERE id = x'%s'", hex(dead));
	for (int i = 0; i < 4; i++)
		heartbeat(&world.dispatcher);
	EXPECT_FILES(dead, false);
	EXPECT_FILES(waits, true);
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "files stay while dead", test_files_stay_while_dead },
		{ "files go with the end", test_files_go_with_the_end },
		{ "sweep", test_sweep },
	};
	return RUN_DISPATCH_TESTS("spool", tests);
}
