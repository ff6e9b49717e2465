/* A batch with files: large arguments in the spool, files that a task owns; what is left of them, and what is not. */
#include "tests/unit/dispatch_client.h"

#include <fcntl.h>

#include "shared/spool.h"

static unsigned files_in_spool(void)
{
	DIR *dir = opendir(world.spool);
	unsigned files = 0;

	while (readdir(dir))
		files++;
	closedir(dir);
	return files - 2;
}

/* ---- large arguments --------------------------------------------------------------------- */

#define LARGE 20000

static void expect_spool_file(struct tr_id id, const char *args)
{
	char path[200], text[TR_ID_TEXT_SIZE], *found = calloc(1, LARGE + 2);

	snprintf(path, sizeof path, "%s/%s", world.spool, tr_id_format(&id, text));
	FILE *file = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT_EQUAL(fread(found, 1, LARGE + 2, file), LARGE);
	CU_ASSERT_STRING_EQUAL(found, args);
	fclose(file);
	free(found);
}

static void test_spool(void)
{
	char *args = text_of_bytes(LARGE);

	open_client();
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 0); /* nameless until it is published */
	background_tasks_clear(batch);
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("small", NULL), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 1);
	expect_spool_file(id, args);
	dispatch();
	EXPECT_TEXT(sql("SELECT flags, args_bytes, length(args) FROM task WHERE id = x'%s'", hex(id)), "5|20000|0");
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	dispatch();
	CU_ASSERT_EQUAL(files_in_spool(), 0); /* taskd removes it with the task's end */
	free(args);
	close_client();
}

static void test_spool_limits(void)
{
	const struct tr_open_options nowhere = { .spool_dir = "/nonexistent" };
	char *args = text_of_bytes(TR_ARGS_MAX + 1);
	struct tr_error error;

	open_client();
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "args: larger than 16777216 bytes");
	args[TR_ARGS_MAX] = '\0';
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_OK);
	close_client();
	args[LARGE] = '\0';
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, NULL, &error), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&batch, client), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_TOO_LARGE);
	EXPECT_TEXT(background_tasks_error(batch), "args: larger than 16384 bytes, and no spool directory was given");
	close_client();
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &nowhere, &error), TR_OK);
	CU_ASSERT_EQUAL_FATAL(background_tasks_new(&batch, client), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_SYSTEM);
	EXPECT_TEXT(background_tasks_error(batch), "making a spool file in /nonexistent: No such file or directory");
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	close_client();
	free(args);
}

/* A publication that fails leaves no file and the batch as it was; tried again, it is whole. */
static void test_failed_publish(void)
{
	char *args = text_of_bytes(LARGE);

	open_client();
	world.config.queue_window = 10000;
	const unsigned fillers = fill_lane();
	CU_ASSERT_EQUAL(add_to_batch("h", args), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("next", NULL), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
		EXPECT_TEXT(background_tasks_error(batch), tr_result_text(TR_LANE_FULL));
		CU_ASSERT_EQUAL(files_in_spool(), 0);
		CU_ASSERT_EQUAL(background_tasks_count(batch), 2);
	}
	dispatch();
	/* What was sealed for the first try is not what the second one wants. */
	background_tasks_concurrent(batch, true);
	CU_ASSERT_EQUAL(add_to_batch("third", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_count(batch), 0);
	CU_ASSERT_EQUAL(files_in_spool(), 1);
	expect_spool_file(id, args);
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, flags, place, places, blocked FROM task WHERE handler <> 'filler' ORDER BY id"),
	    "h|4|0|3|0 next|0|1|3|0 third|0|2|3|0");
	CU_ASSERT_EQUAL((unsigned)atoi(sql("SELECT count(*) FROM task")), fillers + 3);
	free(args);
	close_client();
}

/* ---- owned files ------------------------------------------------------------------------- */

static int make_file(const char *text)
{
	struct tr_error error;
	int fd = tr_spool_file(client, &error);

	CU_ASSERT_FATAL(fd >= 0);
	EXPECT_TEXT(error.text, "");
	CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* What the file that the task owns holds; NULL: it owns none. */
static const char *owned(struct tr_id id)
{
	static char found[64];
	char path[200], name[SPOOL_NAME_SIZE];

	snprintf(path, sizeof path, "%s/%s", world.spool, spool_name(&id, SPOOL_FILE, name));
	FILE *file = fopen(path, "r");
	if (!file)
		return NULL;
	found[fread(found, 1, sizeof found - 1, file)] = '\0';
	fclose(file);
	return found;
}

static bool is_open(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0;
}

static void test_attach(void)
{
	char *args = text_of_bytes(LARGE);

	open_client();
	CU_ASSERT_EQUAL(add_to_batch("first", NULL), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("owner", args), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("hello")), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("last", NULL), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	const struct tr_id id = background_tasks_id(batch, 1);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	CU_ASSERT_EQUAL(files_in_spool(), 2);
	EXPECT_TEXT(owned(id), "hello");
	expect_spool_file(id, args);
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, flags FROM task ORDER BY id"), "first|1 owner|13 last|1");
	run_next(EV_SUCCEEDED);
	dispatch();
	EXPECT_TEXT(owned(id), "hello"); /* another task's end is none of its business */
	EXPECT_ID(run_next(EV_SUCCEEDED), id);
	dispatch();
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	free(args);
	close_client();
}

/* The file is the batch's, whatever happens: it is closed, and nothing has got a name. */
static void test_attach_refused(void)
{
	const struct tr_open_options without = { 0 };
	char path[200];

	open_client();
	int fd = make_file("nobody's");
	CU_ASSERT_EQUAL(background_tasks_attach(batch, fd), TR_INVALID);
	EXPECT_TEXT(background_tasks_error(batch), "file: no task was added that could own it");
	CU_ASSERT_FALSE(is_open(fd));
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("first")), TR_OK);
	fd = make_file("second");
	CU_ASSERT_EQUAL(background_tasks_attach(batch, fd), TR_INVALID);
	EXPECT_TEXT(background_tasks_error(batch), "file: the task owns one already");
	CU_ASSERT_FALSE(is_open(fd));
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
	snprintf(path, sizeof path, "%s/named", world.directory);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, fd), TR_INVALID);
	EXPECT_TEXT(background_tasks_error(batch), "file: not one that tr_spool_file() made");
	CU_ASSERT_FALSE(is_open(fd));
	CU_ASSERT_EQUAL(background_tasks_attach(batch, open(world.spool, O_RDONLY | O_DIRECTORY)), TR_INVALID);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, -1), TR_INVALID);
	const struct tr_id id = background_tasks_id(batch, 0);
	background_tasks_clear(batch);
	CU_ASSERT_EQUAL(files_in_spool(), 0);
	/* A file that is in another file system cannot get its name: nothing is published. */
	CU_ASSERT_EQUAL(add_to_batch("h", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, memfd_create("elsewhere", 0)), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_SYSTEM);
	CU_ASSERT_EQUAL(ring_published(world.dispatcher.ring), 0);
	CU_ASSERT_PTR_NULL(owned(id));
	close_client();

	struct tr_error error;
	CU_ASSERT_EQUAL_FATAL(tr_open(&client, world.instance, &without, &error), TR_OK);
	CU_ASSERT_EQUAL(tr_spool_file(client, &error), -1);
	EXPECT_TEXT(error.text, "no spool directory was given to tr_open()");
	CU_ASSERT_EQUAL(tr_spool_file(client, NULL), -1);
	tr_close(&client);
}

/* As arguments: after a publication that failed there is no file, and the next one has it whole, also when empty. */
static void test_attach_failed_publish(void)
{
	open_client();
	world.config.queue_window = 10000;
	fill_lane();
	CU_ASSERT_EQUAL(add_to_batch("large", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("not empty")), TR_OK);
	CU_ASSERT_EQUAL(add_to_batch("empty", NULL), TR_OK);
	CU_ASSERT_EQUAL(background_tasks_attach(batch, make_file("")), TR_OK);
	const struct tr_id id = background_tasks_id(batch, 0), next = background_tasks_id(batch, 1);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_LANE_FULL);
		CU_ASSERT_EQUAL(files_in_spool(), 0);
	}
	dispatch();
	CU_ASSERT_EQUAL(background_tasks_publish(batch, 0), TR_OK);
	EXPECT_TEXT(owned(id), "not empty");
	EXPECT_TEXT(owned(next), "");
	dispatch();
	EXPECT_TEXT(sql("SELECT handler, flags FROM task WHERE handler <> 'filler' ORDER BY id"), "large|9 empty|9");
	close_client();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "spool", test_spool },
		{ "spool limits", test_spool_limits },
		{ "failed publish", test_failed_publish },
		{ "owned file", test_attach },
		{ "owned file refused", test_attach_refused },
		{ "owned file, failed publish", test_attach_failed_publish },
	};

	return RUN_DISPATCH_TESTS("batch-files", tests);
}
