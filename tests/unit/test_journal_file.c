/* The journal's file: making it, refusing what is not right without touching it, migrating. */
#include <fcntl.h>
#include <sys/wait.h>

#include "journal_fixture.h"
#include "taskd/journal_db.h"
#include "tests/unit/runner.h"

#define FILE_MAX (4u << 20)
#define VERSION_1_SUM 0x486e0355u

static char before[FILE_MAX], after[FILE_MAX];

static size_t read_file(const char *path, char *to)
{
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? 0 : read(fd, to, FILE_MAX);

	if (fd >= 0)
		close(fd);
	return got < 0 ? 0 : (size_t)got;
}

static void write_file(const char *path, const char *from, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CU_ASSERT_EQUAL(write(fd, from, bytes), (ssize_t)bytes);
	close(fd);
}

/* The file is refused with this result and these words, and stays as it is to the byte. */
static void check_refused(enum tr_result result, const char *words)
{
	struct stat status;
	size_t bytes = read_file(place.path, before);

	enum tr_result got = place_open_with(&place, 0, 0);
	CU_ASSERT_EQUAL(got, result);
	CU_ASSERT_PTR_NULL(place.journal);
	CU_ASSERT_PTR_NOT_NULL(strstr(place.error.text, place.path));
	CU_ASSERT_PTR_NOT_NULL(strstr(place.error.text, words));
	if (got != result || strstr(place.error.text, words) == NULL)
		fprintf(stderr, "%s: %s\n", tr_result_name(got), place.error.text);
	CU_ASSERT_EQUAL(read_file(place.path, after), bytes);
	CU_ASSERT_EQUAL(memcmp(before, after, bytes), 0);
	if (bytes == 0)
		CU_ASSERT(stat(place.path, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0);
	journal_close(&place.journal);
}

static void execute(const char *text)
{
	sqlite3 *connection;

	CU_ASSERT_EQUAL(sqlite3_open(place.path, &connection), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(connection, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(connection);
}

/* A journal with some pages in each of its trees, closed in order. */
static void make_journal(void)
{
	place_open(&place);
	struct journal_batch *batch = batch_of(&place);
	for (unsigned i = 0; i < 300; i++) {
		struct journal_state state = state_of(i % 2 ? TR_DEAD : TR_QUEUED, 1000 + i);
		state.blocked = i % 4 == 0;
		add_task(batch, i, "q", &state);
		add_attempt(batch, i, 1, "failed");
	}
	keep(&place, batch);
	journal_close(&place.journal);
}

static void a_missing_file_is_made_for_us_alone(void)
{
	struct stat status;

	place_open(&place);
	CU_ASSERT_EQUAL(stat(place.path, &status), 0);
	CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
	CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA application_id"), JOURNAL_APPLICATION_ID);
	CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), JOURNAL_SCHEMA);
	journal_close(&place.journal);
	/* The header stands in the file itself, whatever becomes of the WAL. */
	CU_ASSERT(read_file(place.path, before) >= 8192);
	CU_ASSERT_EQUAL(memcmp(before + 68, "TRNG", 4), 0);
	CU_ASSERT_EQUAL(before[63], JOURNAL_SCHEMA);
}

static void an_empty_file_becomes_a_journal(void)
{
	write_file(place.path, "", 0);
	place_open(&place);
	CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), JOURNAL_SCHEMA);
}

static void foreign_files_are_refused(void)
{
	write_file(place.path, "my diary", 8);
	check_refused(TR_INVALID, "not an SQLite file");
	memset(before, 'x', 10000);
	write_file(place.path, before, 10000);
	check_refused(TR_INVALID, "not an SQLite file");
	unlink(place.path);
	execute("CREATE TABLE recipes(name); INSERT INTO recipes VALUES('soup')");
	check_refused(TR_INVALID, "another program's SQLite file");
	execute("PRAGMA application_id = 7; PRAGMA journal_mode = WAL; INSERT INTO recipes VALUES('bread')");
	check_refused(TR_INVALID, "application_id 0x7");
	unlink(place.path);
	CU_ASSERT_EQUAL(mkdir(place.path, 0700), 0);
	check_refused(TR_SYSTEM, "Is a directory");
	CU_ASSERT_EQUAL(rmdir(place.path), 0);
	CU_ASSERT_EQUAL(mkfifo(place.path, 0600), 0);
	CU_ASSERT_EQUAL(place_open_with(&place, 0, 0), TR_INVALID);
	CU_ASSERT_PTR_NOT_NULL(strstr(place.error.text, "not a regular file"));
}

static void a_newer_schema_is_refused(void)
{
	make_journal();
	execute("PRAGMA user_version = 9");
	check_refused(TR_VERSION_MISMATCH, "has schema 9");
	/* The same where the new version is still in the WAL: taskd was killed after its upgrade. */
	execute("PRAGMA user_version = 1");
	sqlite3 *newer;
	CU_ASSERT_EQUAL(sqlite3_open(place.path, &newer), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(newer, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; "
	    "PRAGMA user_version = 12", NULL, NULL, NULL), SQLITE_OK);
	check_refused(TR_VERSION_MISMATCH, "has schema 12");
	sqlite3_close(newer);
}

/* Each page in turn is overwritten, as a bad disk would. */
static void damaged_files_are_refused(void)
{
	static char whole[FILE_MAX];

	make_journal();
	size_t bytes = read_file(place.path, whole);
	CU_ASSERT(bytes > 8 * 8192 && bytes < FILE_MAX);
	for (size_t at = 0; at < bytes; at += 8192) {
		write_file(place.path, whole, bytes);
		int fd = open(place.path, O_WRONLY);
		for (size_t i = at == 0 ? 100 : 0; i < 400; i++)
			CU_ASSERT_EQUAL(pwrite(fd, "\xa5", 1, (off_t)(at + i)), 1);
		close(fd);
		check_refused(TR_INVALID, "is damaged");
		CU_ASSERT_PTR_NOT_NULL(strstr(place.error.text, ".dump"));
	}
	/* Cut short. */
	write_file(place.path, whole, bytes / 2 / 8192 * 8192);
	check_refused(TR_INVALID, "is damaged");
	write_file(place.path, whole, bytes);
	place_open(&place);
	CU_ASSERT_EQUAL(state_in(&place, 299), TR_DEAD);
}

static void a_wal_without_its_file_is_refused(void)
{
	char wal[96];

	snprintf(wal, sizeof wal, "%s-wal", place.path);
	write_file(wal, "something", 9);
	check_refused(TR_INVALID, "its -wal is there");
	CU_ASSERT_EQUAL(read_file(wal, after), 9);
	write_file(place.path, "", 0);
	check_refused(TR_INVALID, "its -wal is there");
}

static void a_second_taskd_is_refused(void)
{
	struct journal *second;
	const struct journal_options options = { .path = place.path };
	struct tr_error error;

	place_open(&place);
	CU_ASSERT_EQUAL(journal_open(&second, &options, &error), TR_SYSTEM);
	CU_ASSERT_PTR_NULL(second);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "another taskd"));
}

/* In a child that is nobody, since to root nothing is read-only. 0: refused with these words. */
static int open_as_nobody(const char *words)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(2);
		_exit(place_open_with(&place, 0, 0) == TR_SYSTEM && strstr(place.error.text, words) ? 0 : 1);
	}
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void what_may_not_be_written_is_said(void)
{
	CU_ASSERT_EQUAL(chmod(place.directory, 0555), 0);
	CU_ASSERT_EQUAL(open_as_nobody("Permission denied"), 0);
	CU_ASSERT_EQUAL(chmod(place.directory, 0755), 0);
	make_journal();
	CU_ASSERT_EQUAL(chmod(place.path, 0444), 0);
	CU_ASSERT_EQUAL(open_as_nobody("Permission denied"), 0);
	place_name(&place, "missing/journal.db");
	check_refused(TR_SYSTEM, "No such file or directory");
}

/* Migrations as a later version would have them, on a journal of this one. */
static void migrations_run_once_and_whole(void)
{
	static const struct journal_migration steps[] = {
		{ 1, "this is never run" },
		{ 3, "nor this" },
		{ 4, "ALTER TABLE task ADD COLUMN cost INTEGER; UPDATE task SET cost = 5" },
		{ 5, "CREATE TABLE other (x)" },
	};
	static const struct journal_migration broken[] = {
		{ 6, "CREATE TABLE half (x); INSERT INTO half VALUES (1); SELECT no_such_function()" },
	};
	struct journal_db db;
	struct tr_error error;

	make_journal();
	CU_ASSERT_EQUAL_FATAL(journal_db_open(&db, place.path, &error), TR_OK);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(journal_db_migrate(&db, steps, 4, &error), TR_OK);
	CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), 5);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT sum(cost) FROM task"), 1500);
	CU_ASSERT_EQUAL(journal_db_migrate(&db, broken, 1, &error), TR_SYSTEM);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.text, "no_such_function"));
	CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), 5);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
	journal_db_close(&db);
	check_refused(TR_VERSION_MISMATCH, "has schema 5");
}

/* The first version's file, as its taskd left it: this text is as it was released. */
static void make_version_1(void)
{
	uint32_t sum = 2166136261u; /* FNV-1a */
	for (const char *c = journal_migrations[0].sql; *c; c++)
		sum = (sum ^ (unsigned char)*c) * 16777619u;
	CU_ASSERT_EQUAL(sum, VERSION_1_SUM);
	execute("PRAGMA page_size = 8192");
	execute(journal_migrations[0].sql);
	execute("PRAGMA user_version = 1; PRAGMA journal_mode = WAL");
	for (unsigned i = 0; i < 300; i++) {
		char *insert = sqlite3_mprintf("INSERT INTO task (id, state, blocked, attempt, failures, due_ms, ended_ms, "
		    "handler, queue, flags, place, places, max_attempts, backoff_base_ms, backoff_cap_ms, created_ns, args_bytes, args) "
		    "VALUES (x'019000000000700080000000%08x', %u, 0, 1, 1, 1000, %u, 'h', 'q', 0, 0, 1, 5, 1000, 600000, "
		    "1700000000000000000, 2, '{}'); INSERT INTO attempt (task, attempt, outcome) "
		    "VALUES (x'019000000000700080000000%08x', 1, 'failed')", i, i % 8, i % 8 > 3 ? 2000 + i : 0, i);
		execute(insert);
		sqlite3_free(insert);
	}
}

static void a_version_1_journal_is_migrated(void)
{
	make_version_1();
	for (int i = 0; i < 2; i++) { /* the second time it is of this version */
		place_open(&place);
		CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), JOURNAL_SCHEMA);
		CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task WHERE log_lines IS NULL"), i == 0 ? 300 : 299);
		CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempt"), 300);
		CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task INDEXED BY task_failed WHERE state > 4 AND state = 5"), i == 0 ? 37 : 36);
		CU_ASSERT_EQUAL(state_in(&place, 5), i == 0 ? TR_DEAD : TR_QUEUED);
		struct journal_batch *batch = batch_of(&place);
		const struct journal_line line = { .id = id_of(5), .attempt = 1, .number = 1, .at_ms = 7, .level = 6, .text = "kept" };
		const struct journal_state queued = { .state = TR_QUEUED, .attempt = 1, .log_lines = 3, .commanded_ns = 12345 };
		CU_ASSERT_TRUE(journal_batch_line(batch, &line) && journal_batch_update(batch, &line.id, &queued));
		keep(&place, batch);
		struct journal_list *list = load_task(&place, 5);
		CU_ASSERT_EQUAL(list->tasks[0].state.log_lines, 3);
		CU_ASSERT_EQUAL(list->tasks[0].state.commanded_ns, 12345);
		journal_list_free(&list);
		CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM logs WHERE text = 'kept' AND task = '01900000-0000-7000-8000-000000000005'"), 1);
		journal_close(&place.journal);
	}
}

/* What a version 2 taskd knew of a retry is known still; no queue is paused, and nothing has happened yet. */
static void a_version_2_journal_is_migrated(void)
{
	make_version_1();
	execute(journal_migrations[1].sql);
	execute("UPDATE task SET retried_ns = 777 WHERE id = x'01900000000070008000000000000005'; PRAGMA user_version = 2");
	place_open(&place);
	CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), JOURNAL_SCHEMA);
	struct journal_list *list = load_task(&place, 5);
	CU_ASSERT_EQUAL(list->tasks[0].state.commanded_ns, 777);
	journal_list_free(&list);
	char *paused = journal_paused(place.journal);
	CU_ASSERT_PTR_NOT_NULL_FATAL(paused);
	CU_ASSERT_EQUAL(paused[0], '\0');
	free(paused);
	struct journal_batch *batch = batch_of(&place);
	CU_ASSERT_TRUE(journal_batch_queue(batch, "a", true) && journal_batch_queue(batch, "b", true) &&
	    journal_batch_queue(batch, "a", false));
	keep(&place, batch);
	paused = journal_paused(place.journal);
	CU_ASSERT_PTR_NOT_NULL_FATAL(paused);
	CU_ASSERT_EQUAL(memcmp(paused, "b\0", 3), 0);
	free(paused);
	CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM history"), 0);
	journal_close(&place.journal);
}

/* Nobody reads the WAL's end: what was committed is in the file when it grows large. */
static void the_wal_stays_bounded(void)
{
	static char args[TR_ARGS_INLINE_MAX + 1];
	char wal[96];
	struct stat status;

	memset(args, 'a', TR_ARGS_INLINE_MAX);
	snprintf(wal, sizeof wal, "%s-wal", place.path);
	place_open(&place);
	for (unsigned i = 0; i < 60; i++) {
		struct journal_batch *batch = batch_of(&place);
		for (unsigned j = 0; j < 100; j++) {
			struct record record = record_of(i * 100 + j);
			const struct journal_state state = state_of(TR_QUEUED, 5);
			record.args = text_of(args);
			record.args_bytes = record.args.bytes;
			CU_ASSERT(journal_batch_insert(batch, &record, &state));
		}
		keep(&place, batch);
	}
	CU_ASSERT_EQUAL(stat(wal, &status), 0);
	CU_ASSERT(status.st_size > 1 << 20 && status.st_size < 40 << 20);
	journal_close(&place.journal);
	/* Kept for readers, and empty. */
	CU_ASSERT_EQUAL(stat(wal, &status), 0);
	CU_ASSERT_EQUAL(status.st_size, 0);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(a_missing_file_is_made_for_us_alone),
		SUITE_TEST(an_empty_file_becomes_a_journal),
		SUITE_TEST(foreign_files_are_refused),
		SUITE_TEST(a_newer_schema_is_refused),
		SUITE_TEST(damaged_files_are_refused),
		SUITE_TEST(a_wal_without_its_file_is_refused),
		SUITE_TEST(a_second_taskd_is_refused),
		SUITE_TEST(what_may_not_be_written_is_said),
		SUITE_TEST(migrations_run_once_and_whole),
		SUITE_TEST(a_version_1_journal_is_migrated),
		SUITE_TEST(a_version_2_journal_is_migrated),
		SUITE_TEST(the_wal_stays_bounded),
	};

	return RUN_TESTS_EACH("journal's file", place_set_up, place_tear_down, tests);
}
