/* Reading the journal from another process: beside a living taskd, after a dead one, with and without rights. */
#include <signal.h>
#include <sys/wait.h>

#include "journal_fixture.h"
#include "shared/archive.h"
#include "tests/unit/runner.h"

static void write_tasks(unsigned first, unsigned count)
{
	struct journal_batch *batch = batch_of(&place);
	for (unsigned i = first; i < first + count; i++) {
		struct journal_state state = state_of(TR_DEAD, 1700000001000);
		state.attempt = 4;
		state.error = "it broke";
		state.result = "{\"sent\":true}";
		add_task(batch, i, "mails", &state);
	}
	keep(&place, batch);
}

static enum tr_result find(struct archive *archive, unsigned number, struct tr_task_status *status)
{
	const struct tr_id id = id_of(number);

	memset(status, 0, sizeof *status);
	return archive_find(archive, &id, status);
}

static void check_found(struct archive *archive, unsigned number)
{
	struct tr_task_status status;

	CU_ASSERT_EQUAL_FATAL(find(archive, number, &status), TR_OK);
	tr_task_status_clear(&status);
}

static void check_missing(struct archive *archive, unsigned number)
{
	struct tr_task_status status;

	CU_ASSERT_EQUAL(find(archive, number, &status), TR_NOT_FOUND);
	CU_ASSERT_PTR_NULL(status.result);
}

static struct archive *open_archive(void)
{
	struct archive *archive = NULL;
	struct tr_error error;

	enum tr_result result = archive_open(&archive, place.path, &error);
	if (result != TR_OK)
		fprintf(stderr, "%s\n", error.text);
	CU_ASSERT_EQUAL_FATAL(result, TR_OK);
	return archive;
}

static void a_task_is_found_beside_a_living_taskd(void)
{
	struct tr_task_status status;
	place_open(&place);
	struct archive *archive = open_archive();
	check_missing(archive, 5);
	write_tasks(5, 1);
	CU_ASSERT_EQUAL_FATAL(find(archive, 5, &status), TR_OK);
	const struct tr_id id = id_of(5);
	CU_ASSERT(id_equal(&status.id, &id));
	CU_ASSERT_EQUAL(status.state, TR_DEAD);
	CU_ASSERT_EQUAL(status.attempt, 4);
	CU_ASSERT_EQUAL(status.max_attempts, 11);
	CU_ASSERT_EQUAL(status.created_ms, 1700000000123);
	CU_ASSERT_EQUAL(status.due_ms, 1700000001000);
	CU_ASSERT_EQUAL(status.started_ms, 1700000001001);
	CU_ASSERT_EQUAL(status.ended_ms, 1700000001002);
	CU_ASSERT_STRING_EQUAL(status.handler, "a.handler");
	CU_ASSERT_STRING_EQUAL(status.queue, "mails");
	CU_ASSERT_STRING_EQUAL(status.error, "it broke");
	CU_ASSERT_STRING_EQUAL(status.progress_text, "");
	CU_ASSERT_STRING_EQUAL(status.result, "{\"sent\":true}");
	tr_task_status_clear(&status);
	char *result = archive_result(archive, &id);
	CU_ASSERT_STRING_EQUAL(result, "{\"sent\":true}");
	free(result);
	const struct tr_id unknown = id_of(6);
	CU_ASSERT_PTR_NULL(archive_result(archive, &unknown));
	archive_close(&archive);
	CU_ASSERT_PTR_NULL(archive);
}

static void long_texts_are_cut_at_a_character(void)
{
	char error[261];
	static char result[TR_RESULT_MAX + 1];
	struct tr_task_status status;

	for (int i = 0; i < 260; i++)
		error[i] = "\xc3\xa9"[i % 2]; /* 2 bytes each: 255 is in the middle of one */
	error[260] = 0;
	memset(result, '7', TR_RESULT_MAX);
	place_open(&place);
	struct journal_batch *batch = batch_of(&place);
	struct journal_state state = state_of(TR_RUNNING, 1);
	state.error = error;
	state.result = result;
	add_task(batch, 1, "q", &state);
	state.error = state.result = NULL;
	add_task(batch, 2, "q", &state);
	keep(&place, batch);
	struct archive *archive = open_archive();
	CU_ASSERT_EQUAL(find(archive, 1, &status), TR_OK);
	CU_ASSERT_EQUAL(strlen(status.error), 254);
	CU_ASSERT_EQUAL(strncmp(status.error, error, 254), 0);
	CU_ASSERT_STRING_EQUAL(status.result, result);
	tr_task_status_clear(&status);
	CU_ASSERT_EQUAL(find(archive, 2, &status), TR_OK);
	CU_ASSERT_STRING_EQUAL(status.error, "");
	CU_ASSERT_PTR_NULL(status.result);
	archive_close(&archive);
}

static void execute(const char *text)
{
	sqlite3 *connection;

	CU_ASSERT_EQUAL(sqlite3_open(place.path, &connection), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(connection, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(connection);
}

static void what_is_no_journal_is_refused(void)
{
	struct archive *archive;
	struct tr_error error;

	CU_ASSERT_EQUAL(archive_open(&archive, place.path, &error), TR_NOT_FOUND);
	CU_ASSERT_PTR_NULL(archive);
	CU_ASSERT_EQUAL(access(place.path, F_OK), -1);
	FILE *file = fopen(place.path, "w");
	for (int i = 0; i < 1000; i++)
		fputs("no database at all\n", file);
	fclose(file);
	CU_ASSERT_EQUAL(archive_open(&archive, place.path, &error), TR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, place.path));
	unlink(place.path);
	execute("CREATE TABLE task(id)");
	CU_ASSERT_EQUAL(archive_open(&archive, place.path, &error), TR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "no journal"));
	unlink(place.path);
	place_open(&place);
	journal_close(&place.journal);
	execute("PRAGMA user_version = 8");
	CU_ASSERT_EQUAL(archive_open(&archive, place.path, &error), TR_VERSION_MISMATCH);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "has schema 8"));
	CU_ASSERT_PTR_NULL(archive);
}

static void remove_journal(void)
{
	char path[96];

	unlink(place.path);
	snprintf(path, sizeof path, "%s-wal", place.path);
	unlink(path);
	snprintf(path, sizeof path, "%s-shm", place.path);
	unlink(path);
}

static void a_replaced_journal_is_followed(void)
{
	struct tr_task_status status;

	place_open(&place);
	write_tasks(1, 1);
	struct archive *archive = open_archive();
	check_found(archive, 1);
	journal_close(&place.journal);
	check_found(archive, 1);
	remove_journal();
	CU_ASSERT_EQUAL(find(archive, 1, &status), TR_NOT_FOUND);
	place_open(&place);
	write_tasks(2, 1);
	check_missing(archive, 1);
	check_found(archive, 2);
	/* And one that it must not read. */
	journal_close(&place.journal);
	remove_journal();
	execute("CREATE TABLE task(id)");
	CU_ASSERT_EQUAL(find(archive, 2, &status), TR_INVALID);
	archive_close(&archive);
}

/* A taskd that is killed with its newest tasks in the WAL only. */
static void kill_a_writer(unsigned first, unsigned count)
{
	int pipe_fds[2], status;
	char ready;

	CU_ASSERT_EQUAL_FATAL(pipe(pipe_fds), 0);
	pid_t child = fork();
	if (child == 0) {
		place_open(&place);
		write_tasks(first, count);
		if (write(pipe_fds[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(pipe_fds[1]);
	CU_ASSERT_EQUAL(read(pipe_fds[0], &ready, 1), 1);
	close(pipe_fds[0]);
	kill(child, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT(WIFSIGNALED(status));
}

/* 0: a process that may only read finds task 1, and writes nothing. */
static int find_as_nobody(void)
{
	struct archive *archive;
	struct tr_error error;
	int status;

	pid_t child = fork();
	if (child == 0) {
		struct tr_task_status found;
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(2);
		if (archive_open(&archive, place.path, &error) != TR_OK) {
			fprintf(stderr, "%s\n", error.text);
			_exit(3);
		}
		if (find(archive, 1, &found) != TR_OK)
			_exit(4);
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void allow_reading(void)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char path[96];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s%s", place.path, suffixes[i]);
		CU_ASSERT_EQUAL(chmod(path, 0444), 0);
	}
}

static void a_killed_taskd_leaves_all_readable(void)
{
	kill_a_writer(1, 10);
	allow_reading();
	CU_ASSERT_EQUAL(find_as_nobody(), 0);
	struct archive *archive = open_archive();
	check_found(archive, 10);
	check_missing(archive, 11);
	archive_close(&archive);
	CU_ASSERT_EQUAL(find_as_nobody(), 0);
}

static void a_stopped_taskd_leaves_all_readable(void)
{
	place_open(&place);
	write_tasks(1, 10);
	journal_close(&place.journal);
	allow_reading();
	CU_ASSERT_EQUAL(find_as_nobody(), 0);
	struct archive *archive = open_archive();
	check_found(archive, 10);
	archive_close(&archive);
}

static void a_reader_does_not_hold_taskd_up(void)
{
	place_open(&place);
	write_tasks(1, 1);
	struct archive *archive = open_archive();
	for (unsigned i = 2; i < 50; i++) {
		write_tasks(i, 1);
		check_found(archive, i);
	}
	archive_close(&archive);
	CU_ASSERT_EQUAL(state_in(&place, 49), TR_DEAD);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(a_task_is_found_beside_a_living_taskd),
		SUITE_TEST(long_texts_are_cut_at_a_character),
		SUITE_TEST(what_is_no_journal_is_refused),
		SUITE_TEST(a_replaced_journal_is_followed),
		SUITE_TEST(a_killed_taskd_leaves_all_readable),
		SUITE_TEST(a_stopped_taskd_leaves_all_readable),
		SUITE_TEST(a_reader_does_not_hold_taskd_up),
	};

	return RUN_TESTS_EACH("archive", place_set_up, place_tear_down, tests);
}
