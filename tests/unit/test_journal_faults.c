/*
 * The journal when things go wrong: the n-th write, sync or allocation fails, for every n; another
 * program holds the lock; the process is killed. A commit is whole or absent, and may be tried again.
 */
#include <signal.h>
#include <sys/wait.h>

#include "faulty_vfs.h"
#include "journal_fixture.h"
#include "taskd/journal_db.h"
#include "tests/unit/runner.h"

#define TASKS 60     /* in a batch */
#define POINTS_MAX 3000 /* more calls in one commit than this: something is wrong with the test */
#define KILLS 50
#define COMMITS_MAX 400

/* Batch `k` ends the tasks of the batch before and adds its own; each task has an attempt. */
static struct journal_batch *fill(unsigned k)
{
	struct journal_batch *batch = batch_of(&place);
	const struct journal_state running = state_of(TR_RUNNING, 10), ended = state_of(TR_SUCCEEDED, 10);

	for (unsigned i = 0; i < TASKS; i++) {
		add_task(batch, k * TASKS + i, "q", &running);
		add_attempt(batch, k * TASKS + i, 1, "interrupted");
		const struct journal_line line = { .id = id_of(k * TASKS + i), .attempt = 1, .number = 1, .level = 6, .text = "a line" };
		if (!journal_batch_line(batch, &line))
			abort();
		if (k == 0)
			continue;
		const struct tr_id before = id_of((k - 1) * TASKS + i);
		if (!journal_batch_update(batch, &before, &ended))
			abort();
	}
	return batch;
}

/* ---- another program --------------------------------------------------------------------- */

/* Its connection stays open, for seen() is asked thousands of times; closed before the journal is. */
static struct {
	sqlite3 *connection;
	sqlite3_stmt *rows; /* of the batch with the ids from ?1 to ?2; it ends the tasks from ?3 to ?1 */
} onlooker;

static void onlooker_close(void)
{
	sqlite3_finalize(onlooker.rows);
	CU_ASSERT_EQUAL(sqlite3_close(onlooker.connection), SQLITE_OK);
	memset(&onlooker, 0, sizeof onlooker);
}

static void onlooker_open(void)
{
	static const char query[] = "SELECT (SELECT count(*) FROM task WHERE id >= ?1 AND id < ?2)"
				    " + (SELECT count(*) FROM attempt WHERE task >= ?1 AND task < ?2)"
				    " + (SELECT count(*) FROM task_log WHERE task >= ?1 AND task < ?2)"
				    " + (SELECT count(*) FROM task WHERE state = 4 AND id >= ?3 AND id < ?1)";

	CU_ASSERT_EQUAL_FATAL(sqlite3_open_v2(place.path, &onlooker.connection, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	CU_ASSERT_EQUAL_FATAL(sqlite3_prepare_v2(onlooker.connection, query, -1, &onlooker.rows, NULL), SQLITE_OK);
}

/* How much of batch `k` it sees: 0 nothing, 1 all of it, -1 a part. */
static int seen(unsigned k)
{
	const struct tr_id first = id_of(k * TASKS), end = id_of((k + 1) * TASKS), before = id_of((k ? k - 1 : 0) * TASKS);
	const struct tr_id *const bounds[] = { &first, &end, &before };
	bool for_once = onlooker.connection == NULL;
	int64_t rows = -1;

	if (for_once)
		onlooker_open();
	for (int i = 0; i < 3; i++)
		sqlite3_bind_blob(onlooker.rows, i + 1, bounds[i]->bytes, sizeof bounds[i]->bytes, SQLITE_TRANSIENT);
	if (sqlite3_step(onlooker.rows) == SQLITE_ROW)
		rows = sqlite3_column_int64(onlooker.rows, 0);
	sqlite3_reset(onlooker.rows);
	if (for_once)
		onlooker_close();
	return rows == 0 ? 0 : rows == (k ? 4 : 3) * TASKS ? 1 : -1;
}

static bool says(const struct journal_done *done, const char *words)
{
	return done->error != NULL && strstr(done->error, words) != NULL;
}

/* ---- one call fails ---------------------------------------------------------------------- */

/*
 * For every n: the n-th call in a commit fails; then the same batch is tried again. Every 100 and
 * at the end the journal is opened anew. Returns the n at which nothing failed any more.
 */
static long try_every(enum fault_point point, int code, bool sync, const char *words)
{
	long n = 0;
	bool fired = true;

	place_make(&place);
	place_open(&place);
	keep(&place, fill(0));
	onlooker_open();
	while (fired && ++n < POINTS_MAX) {
		unsigned k = (unsigned)n;
		struct journal_batch *batch = fill(k);
		fault_arm(point, n, code);
		struct journal_done done = commit(&place, batch, sync, 1);
		fired = fault_disarm();
		/* Some memory SQLite can do without. */
		bool failed = done.error != NULL;
		CU_ASSERT(failed == fired || (point == FAULT_MEMORY && !failed));
		CU_ASSERT_EQUAL(done.synced, sync && !failed);
		CU_ASSERT_PTR_EQUAL(done.batch, batch);
		CU_ASSERT_EQUAL(journal_batch_rows(batch), 4 * TASKS);
		CU_ASSERT_EQUAL(seen(k), !failed);
		if (failed) {
			CU_ASSERT(says(&done, words));
			done = commit(&place, batch, sync, 2);
			CU_ASSERT_PTR_NULL(done.error);
		}
		journal_batch_free(&done.batch);
		if (n % 100 == 0 || !fired) {
			onlooker_close();
			journal_close(&place.journal);
			place_open(&place);
			onlooker_open();
		}
		CU_ASSERT_EQUAL(seen(k), 1);
	}
	for (unsigned k = 0; k <= (unsigned)n; k++)
		CU_ASSERT_EQUAL(seen(k), 1);
	onlooker_close();
	place_remove(&place);
	CU_ASSERT(!fired);
	return n;
}

static void a_full_disk_is_survived(void)
{
	long points = try_every(FAULT_WRITE, SQLITE_FULL, false, "the disk is full");
	CU_ASSERT(points > 10);
	printf("%ld writes ", points - 1);
}

static void a_broken_disk_is_survived(void)
{
	long points = try_every(FAULT_WRITE, SQLITE_IOERR_WRITE, true, "disk I/O error");
	CU_ASSERT(points > 10);
	CU_ASSERT_EQUAL(try_every(FAULT_SYNC, SQLITE_IOERR_FSYNC, true, "disk I/O error"), 2);
	/* Without `sync` nothing is synced at all. */
	CU_ASSERT_EQUAL(try_every(FAULT_SYNC, SQLITE_IOERR_FSYNC, false, ""), 1);
	printf("%ld writes, 1 sync ", points - 1);
}

static void lack_of_memory_is_survived(void)
{
	long points = try_every(FAULT_MEMORY, 0, false, "out of memory");
	CU_ASSERT(points > 10);
	printf("%ld allocations ", points - 1);
}

/* What was committed unsynced before a sync failed is brought to disk by the next one that succeeds. */
static void a_failed_sync_is_made_good(void)
{
	place_make(&place);
	place_open(&place);
	keep(&place, fill(0));
	fault_arm(FAULT_SYNC, 1, SQLITE_IOERR_FSYNC);
	struct journal_done done = commit(&place, batch_of(&place), true, 1);
	CU_ASSERT(fault_disarm());
	CU_ASSERT_PTR_NOT_NULL(done.error);
	/* A reader keeps the WAL from being copied as a whole: then it is not claimed to be on disk. */
	sqlite3 *reader;
	sqlite3_open(place.path, &reader);
	CU_ASSERT_EQUAL(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM task", NULL, NULL, NULL), SQLITE_OK);
	keep(&place, fill(1));
	done = commit(&place, done.batch, true, 2);
	CU_ASSERT(says(&done, "failed to sync"));
	sqlite3_close(reader);
	done = commit(&place, done.batch, true, 3);
	CU_ASSERT_PTR_NULL(done.error);
	journal_batch_free(&done.batch);
	place_remove(&place);
}

/* Every write and sync, and many an allocation, of the making of a file fails; nothing half made is left. */
static void making_a_file_fails_whole(void)
{
	static const struct { enum fault_point point; int code; long stride; } ways[] = {
		{ FAULT_WRITE, SQLITE_FULL, 1 }, { FAULT_SYNC, SQLITE_IOERR_FSYNC, 1 }, { FAULT_MEMORY, 0, 97 },
	};

	for (int way = 0; way < 3; way++) {
		bool fired = true;
		long points = 0;
		for (long n = 1; fired && points < POINTS_MAX; n += ways[way].stride) {
			points++;
			place_make(&place);
			fault_arm(ways[way].point, n, ways[way].code);
			enum tr_result result = place_open_with(&place, 0, 0);
			fired = fault_disarm();
			CU_ASSERT(fired || result == TR_OK);
			CU_ASSERT((result == TR_OK) == (place.journal != NULL));
			CU_ASSERT(result == TR_OK || access(place.path, F_OK) != 0);
			CU_ASSERT(result == TR_OK || place.error.text[0] != 0);
			if (result != TR_OK)
				place_open(&place);
			keep(&place, fill(0));
			CU_ASSERT_EQUAL(seen(0), 1);
			place_remove(&place);
		}
		printf("%ld ", points - 1);
		CU_ASSERT(points > 1 && points < POINTS_MAX);
	}
}

/* The file is of the old version or of the new one, and can be opened the next time. */
static void migrating_fails_whole(void)
{
	bool fired = true;
	long points = 0, failed = 0;

	for (long n = 1; fired && points < POINTS_MAX; n++) {
		sqlite3 *old;
		points++;
		place_make(&place);
		CU_ASSERT_EQUAL(sqlite3_open(place.path, &old), SQLITE_OK);
		CU_ASSERT_EQUAL(sqlite3_exec(old, journal_migrations[0].sql, NULL, NULL, NULL), SQLITE_OK);
		CU_ASSERT_EQUAL(sqlite3_exec(old, "PRAGMA user_version = 1; PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
		sqlite3_close(old);
		fault_arm(FAULT_WRITE, n, SQLITE_FULL);
		enum tr_result result = place_open_with(&place, 0, 0);
		fired = fault_disarm();
		CU_ASSERT(fired || result == TR_OK);
		if (result != TR_OK) {
			int64_t version = ask_number(&place, "PRAGMA user_version");
			int64_t tables = ask_number(&place, "SELECT count(*) FROM sqlite_schema WHERE name = 'task_log'");
			int64_t later = ask_number(&place, "SELECT count(*) FROM sqlite_schema WHERE name IN ('history', 'queue')");
			CU_ASSERT((version == 1 && tables == 0 && later == 0) || (version == 2 && tables == 1 && later == 0) ||
			    (version == JOURNAL_SCHEMA && tables == 1 && later == 2));
			failed++;
			place_open(&place);
		}
		keep(&place, fill(0));
		CU_ASSERT_EQUAL(seen(0), 1);
		CU_ASSERT_EQUAL(ask_number(&place, "PRAGMA user_version"), JOURNAL_SCHEMA);
		place_remove(&place);
	}
	printf("%ld of %ld writes ", failed, points - 1);
	CU_ASSERT(failed > 1 && points < POINTS_MAX);
}

/* The rows are there, and nobody is told of their files; or they are gone, and all files are told of. */
static void retention_fails_whole(void)
{
	static const struct { enum fault_point point; int code; } ways[] = { { FAULT_WRITE, SQLITE_FULL }, { FAULT_MEMORY, 0 } };

	for (int way = 0; way < 2; way++) {
		struct journal_db db;
		struct tr_error error;
		bool fired = true;
		long points = 0, failed = 0;

		place_make(&place);
		CU_ASSERT_EQUAL_FATAL(journal_db_open(&db, place.path, &error), TR_OK);
		while (fired && ++points < POINTS_MAX) {
			struct journal_batch *batch = journal_batch_new(NULL);
			const struct journal_state dead = state_of(TR_DEAD, 10);
			struct journal_removed removed;
			int64_t next_ms;
			for (unsigned i = 0; i < 2; i++) {
				struct record record = record_of(i);
				record.flags = RECORD_FILE;
				CU_ASSERT_TRUE(journal_batch_insert(batch, &record, &dead));
				add_attempt(batch, i, 1, "failed");
			}
			CU_ASSERT_TRUE(journal_db_write(&db, batch, false, &error)); /* those that stayed are left alone */
			journal_batch_free(&batch);
			fault_arm(ways[way].point, points, ways[way].code);
			uint64_t count = journal_db_retain(&db, 1000, 0, 1000000, 100, &next_ms, &removed);
			fired = fault_disarm();
			CU_ASSERT(fired || count == 2);
			CU_ASSERT(count == 0 || count == 2);
			CU_ASSERT_EQUAL(removed.count, count);
			CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task"), 2 - (int64_t)count);
			CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM attempt"), 2 - (int64_t)count);
			failed += count == 0;
			free(removed.at);
		}
		journal_db_close(&db);
		place_remove(&place);
		printf("%ld of %ld ", failed, points - 1);
		CU_ASSERT(failed > 0 && points < POINTS_MAX);
	}
}

static void a_lock_of_another_program_is_said(void)
{
	sqlite3 *other;

	place_make(&place);
	place_open(&place);
	CU_ASSERT_EQUAL(sqlite3_open(place.path, &other), SQLITE_OK);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	struct journal_done done = commit(&place, fill(0), false, 1);
	CU_ASSERT(says(&done, "another program holds a lock"));
	CU_ASSERT_EQUAL(seen(0), 0);
	CU_ASSERT_EQUAL(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	keep(&place, done.batch);
	CU_ASSERT_EQUAL(seen(0), 1);
	place_remove(&place);
}

/* ---- killed ------------------------------------------------------------------------------ */

static _Noreturn void commit_and_report(int to)
{
	place_open(&place);
	for (uint32_t k = 0; k < COMMITS_MAX; k++) {
		struct journal_done done = commit(&place, fill(k), k % 4 == 0, k);
		if (done.error != NULL || write(to, &k, sizeof k) != sizeof k)
			_exit(1);
		journal_batch_free(&done.batch);
	}
	_exit(0);
}

/* Kills the child after `count` commits are acknowledged. Returns how many were at its death. */
static unsigned kill_after(pid_t child, int from, unsigned count)
{
	/* So that the kill falls into all parts of a commit, which takes about a millisecond. */
	const struct timespec somewhere = { .tv_nsec = count * 50000 };
	uint32_t k;
	unsigned acknowledged = 0;
	int status;

	while (acknowledged < count && read(from, &k, sizeof k) == sizeof k)
		acknowledged++;
	nanosleep(&somewhere, NULL);
	CU_ASSERT_EQUAL(kill(child, SIGKILL), 0);
	while (read(from, &k, sizeof k) == sizeof k)
		acknowledged++;
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT(WIFSIGNALED(status));
	return acknowledged;
}

static void what_was_acknowledged_survives_a_kill(void)
{
	unsigned in_flight_whole = 0;

	for (unsigned round = 0; round < KILLS; round++) {
		int pipe_fds[2];
		place_make(&place);
		CU_ASSERT_EQUAL_FATAL(pipe(pipe_fds), 0);
		pid_t child = fork();
		if (child == 0) {
			close(pipe_fds[0]);
			commit_and_report(pipe_fds[1]);
		}
		close(pipe_fds[1]);
		unsigned acknowledged = kill_after(child, pipe_fds[0], 1 + round * 7 % 23);
		close(pipe_fds[0]);
		CU_ASSERT(acknowledged < COMMITS_MAX);
		place_open(&place);
		onlooker_open();
		for (unsigned k = 0; k < acknowledged; k++)
			CU_ASSERT_EQUAL(seen(k), 1);
		int last = seen(acknowledged);
		CU_ASSERT(last == 0 || last == 1);
		in_flight_whole += last == 1;
		/* And it goes on from there: the same batch again is not there twice. */
		keep(&place, fill(acknowledged));
		CU_ASSERT_EQUAL(seen(acknowledged), 1);
		CU_ASSERT_EQUAL(ask_number(&place, "SELECT count(*) FROM task"), (acknowledged + 1) * TASKS);
		onlooker_close();
		place_remove(&place);
	}
	printf("%d kills, the commit in flight was whole in %u ", KILLS, in_flight_whole);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(what_was_acknowledged_survives_a_kill),
		SUITE_TEST(a_full_disk_is_survived),
		SUITE_TEST(a_broken_disk_is_survived),
		SUITE_TEST(lack_of_memory_is_survived),
		SUITE_TEST(a_failed_sync_is_made_good),
		SUITE_TEST(making_a_file_fails_whole),
		SUITE_TEST(migrating_fails_whole),
		SUITE_TEST(retention_fails_whole),
		SUITE_TEST(a_lock_of_another_program_is_said),
	};

	if (!faulty_install())
		return 2;
	return RUN_TESTS("journal's faults", tests);
}
