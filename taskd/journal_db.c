/*
 * The journal's file as a whole: opening, transactions, checkpoints, retention. What enters and
 * leaves it row by row is journal_rows.c's. Called by journal.c.
 *
 * Durability. In WAL mode a commit appends to one file, FILE-wal, each frame with a checksum over
 * all before it. With synchronous=NORMAL the commit ends when the kernel has the bytes: they
 * survive any process. With FULL it ends after fsync(2) of that file, which covers whatever was
 * appended before as well; so one synced commit makes all earlier ones durable, also those that a
 * checkpoint has moved to FILE, since a checkpoint syncs FILE before the WAL is begun anew.
 */
#include "taskd/journal_db.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 1000
#define RETRY_MS 10000 /* retention, after an error */

enum tr_result journal_db_fault(struct journal_db *db, int code, struct tr_error *error)
{
	int system_errno = sqlite3_system_errno(db->connection);

	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return journal_refuse(error, TR_NO_MEMORY, "%.*s: out of memory", JOURNAL_PATH_SHOWN, db->path);
	case SQLITE_FULL:
		return journal_refuse(error, TR_SYSTEM, "%.*s: the disk is full", JOURNAL_PATH_SHOWN, db->path);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return journal_refuse(error, TR_SYSTEM, "%.*s: another program holds a lock on it", JOURNAL_PATH_SHOWN, db->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return journal_refuse(error, TR_INVALID, "%.*s is damaged (%.50s); move it and its -wal away, save what is left "
		    "with `sqlite3 FILE .dump` (see README)", JOURNAL_PATH_SHOWN, db->path, sqlite3_errstr(code));
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
		if (system_errno != 0)
			return journal_refuse(error, TR_SYSTEM, "%.*s: %s: %s", JOURNAL_PATH_SHOWN, db->path, sqlite3_errstr(code),
			    strerror(system_errno));
		/* fall through */
	default:
		return journal_refuse(error, TR_SYSTEM, "%.*s: %s", JOURNAL_PATH_SHOWN, db->path, sqlite3_errmsg(db->connection));
	}
}

/* ---- opening ----------------------------------------------------------------------------- */

/* The first column of the first row, as text, cut. An SQLite code. */
static int query_text(struct journal_db *db, const char *query, char *text, int bytes)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(db->connection, query, -1, &statement, NULL);

	text[0] = 0;
	if (code != SQLITE_OK)
		return code;
	if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0) != NULL)
		sqlite3_snprintf(bytes, text, "%s", sqlite3_column_text(statement, 0));
	return sqlite3_finalize(statement);
}

static int query_number(struct journal_db *db, const char *query, int64_t *number)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(db->connection, query, -1, &statement, NULL);

	if (code != SQLITE_OK)
		return code;
	code = journal_rows_number(statement, number);
	sqlite3_finalize(statement);
	return code;
}

static int execute(struct journal_db *db, const char *text)
{
	return sqlite3_exec(db->connection, text, NULL, NULL, NULL);
}

/* Reads both edges of each tree, where writing goes on and where retention takes away. */
static int check_edges(struct journal_db *db)
{
	static const char *const edges[] = {
		"SELECT min(id) FROM task", "SELECT max(id) FROM task",
		"SELECT min(task) FROM attempt", "SELECT max(task) FROM attempt",
		"SELECT min(ended_ms) FROM task INDEXED BY task_ended WHERE state >= 4",
		"SELECT max(ended_ms) FROM task INDEXED BY task_ended WHERE state >= 4",
	};
	int code = SQLITE_OK;
	char text[64];

	for (size_t i = 0; i < sizeof edges / sizeof edges[0] && code == SQLITE_OK; i++)
		code = query_text(db, edges[i], text, sizeof text);
	return code;
}

static enum tr_result check_sound(struct journal_db *db, int64_t bytes, struct tr_error *error)
{
	char found[100] = "ok";

	int code = execute(db, "PRAGMA cell_size_check = ON");
	if (code == SQLITE_OK)
		code = bytes > JOURNAL_CHECK_BYTES ? check_edges(db) :
		    query_text(db, "PRAGMA quick_check(1)", found, sizeof found);
	if (code != SQLITE_OK)
		return journal_db_fault(db, code, error);
	for (char *c = found; *c; c++)
		if (*c == '\n')
			*c = ' ';
	return strcmp(found, "ok") == 0 ? TR_OK : journal_refuse(error, TR_INVALID,
	    "%.90s is damaged (%.60s); move it and its -wal away, save what is left with `sqlite3 FILE .dump` (see README)",
	    db->path, found);
}

static int migrate_step(struct journal_db *db, const struct journal_migration *step)
{
	char version[48];

	snprintf(version, sizeof version, "PRAGMA user_version = %d", step->to);
	int code = execute(db, "BEGIN IMMEDIATE");
	if (code == SQLITE_OK)
		code = execute(db, step->sql);
	if (code == SQLITE_OK)
		code = execute(db, version);
	if (code == SQLITE_OK)
		code = execute(db, "COMMIT");
	return code;
}

enum tr_result journal_db_migrate(struct journal_db *db, const struct journal_migration *steps, size_t count,
    struct tr_error *error)
{
	int64_t version = 0;
	int code = query_number(db, "PRAGMA user_version", &version);

	for (size_t i = 0; i < count && code == SQLITE_OK; i++)
		if (steps[i].to > version)
			code = migrate_step(db, &steps[i]);
	if (code == SQLITE_OK)
		return TR_OK;
	enum tr_result result = journal_db_fault(db, code, error);
	if (!sqlite3_get_autocommit(db->connection))
		execute(db, "ROLLBACK");
	return result;
}

/* Sets the connection up. The pragmas are of the connection, but for the first, which the file keeps. */
static enum tr_result configure(struct journal_db *db, struct tr_error *error)
{
	char mode[16];
	int keep = 1;

	int code = query_text(db, "PRAGMA journal_mode = WAL", mode, sizeof mode);
	if (code == SQLITE_OK && strcmp(mode, "wal") != 0)
		return journal_refuse(error, TR_SYSTEM, "%.*s: its file system has no shared memory for a WAL; use a local disk",
		    JOURNAL_PATH_SHOWN, db->path);
	if (code == SQLITE_OK)
		code = execute(db, "PRAGMA synchronous = NORMAL;"
		    "PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384; PRAGMA mmap_size = 0;"
		    "PRAGMA temp_store = MEMORY; PRAGMA secure_delete = OFF; PRAGMA cell_size_check = ON");
	/* -wal and -shm stay when we close: who may only read needs them there (shared/archive.h). */
	if (code == SQLITE_OK)
		code = sqlite3_file_control(db->connection, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
	if (code == SQLITE_OK)
		code = journal_rows_open(db);
	return code == SQLITE_OK ? TR_OK : journal_db_fault(db, code, error);
}

static int note_wal_pages(void *db, sqlite3 *connection, const char *name, int pages)
{
	(void)connection, (void)name;
	((struct journal_db *)db)->wal_pages = (uint32_t)pages;
	return SQLITE_OK;
}

static enum tr_result open_connection(struct journal_db *db, struct tr_error *error)
{
	/* "./": no name is an URI or ":memory:". */
	char *name = sqlite3_mprintf("%s%s", db->path[0] == '/' ? "" : "./", db->path);

	if (name == NULL)
		return journal_refuse(error, TR_NO_MEMORY, "%.*s: out of memory", JOURNAL_PATH_SHOWN, db->path);
	int code = sqlite3_open_v2(name, &db->connection,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	sqlite3_free(name);
	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(db->connection, BUSY_TIMEOUT_MS);
	/* Until all is checked: a close must not copy a WAL into a file that we refuse. */
	if (code == SQLITE_OK)
		code = sqlite3_db_config(db->connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (code != SQLITE_OK)
		return journal_db_fault(db, code, error);
	/* The same hook would checkpoint on its own after 1,000 pages. */
	sqlite3_wal_hook(db->connection, note_wal_pages, db);
	return TR_OK;
}

static enum tr_result open_checked(struct journal_db *db, const struct journal_file *file, struct tr_error *error)
{
	int64_t version = 0;
	enum tr_result result = open_connection(db, error);

	if (result != TR_OK)
		return result;
	/* 8 KiB pages: 7 % fewer instructions than with 4 KiB, 16 KiB bring another 2 %. */
	int code = file->is_new ? execute(db, "PRAGMA page_size = 8192") :
	    query_number(db, "PRAGMA user_version", &version);
	if (code != SQLITE_OK)
		return journal_db_fault(db, code, error);
	if (version > JOURNAL_SCHEMA)
		return journal_file_newer(db->path, version, error);
	if (!file->is_new)
		result = check_sound(db, file->bytes, error);
	/* A new file is made before it becomes a WAL one, so that its header is in the file itself. */
	if (result == TR_OK)
		result = journal_db_migrate(db, journal_migrations, JOURNAL_SCHEMA, error);
	if (result == TR_OK)
		result = configure(db, error);
	if (result != TR_OK)
		return result;
	sqlite3_db_config(db->connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	if (version < JOURNAL_SCHEMA)
		journal_db_checkpoint(db); /* the new version is to stand in the header */
	return TR_OK;
}

enum tr_result journal_db_open(struct journal_db *db, const char *path, struct tr_error *error)
{
	struct journal_file file;

	/* Counting allocations takes a lock in each. Refused when SQLite already runs: then it stays on. */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	enum tr_result result = journal_file_take(&file, path, error);
	*db = (struct journal_db){ .path = path, .ended = -1, .dead = -1, .lock_fd = file.fd };
	if (result == TR_OK)
		result = open_checked(db, &file, error);
	if (result == TR_OK)
		return TR_OK;
	if (file.made)
		unlink(path); /* ours and empty, or half made */
	journal_db_close(db);
	return result;
}

void journal_db_close(struct journal_db *db)
{
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(db->statements[i]);
	sqlite3_close(db->connection); /* and checkpoints */
	if (db->lock_fd >= 0)
		close(db->lock_fd);
	db->connection = NULL;
	db->lock_fd = -1;
}

/* ---- transactions ------------------------------------------------------------------------ */

/* SQLite itself rolls back after some errors and not after others. */
static void roll_back(struct journal_db *db)
{
	if (!sqlite3_get_autocommit(db->connection))
		execute(db, "ROLLBACK");
}

static int set_sync(struct journal_db *db, bool full)
{
	if (db->full_sync == full)
		return SQLITE_OK;
	int code = execute(db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
	if (code == SQLITE_OK)
		db->full_sync = full;
	return code;
}

static int write_batch(struct journal_db *db, struct journal_batch *batch, bool sync, struct journal_tally *tally)
{
	int code = set_sync(db, sync);

	if (code == SQLITE_OK)
		code = journal_rows_run(db->statements[STATEMENT_BEGIN]);
	if (code == SQLITE_OK && journal_batch_rows(batch) == 0)
		code = journal_rows_run(db->statements[STATEMENT_TOUCH]);
	if (code == SQLITE_OK)
		code = journal_rows_write(db, batch, tally);
	return code == SQLITE_OK ? journal_rows_run(db->statements[STATEMENT_COMMIT]) : code;
}

bool journal_db_write(struct journal_db *db, struct journal_batch *batch, bool sync, struct tr_error *error)
{
	struct journal_tally tally = { 0 };

	if (journal_batch_rows(batch) == 0 && !sync)
		return true;
	/*
	 * After a failed fsync(2) Linux holds the pages for clean, and the next one succeeds without
	 * having written them. What the WAL holds is then taken from there into the file first.
	 */
	if (db->sync_failed && sync) {
		if (!journal_db_checkpoint(db)) {
			journal_refuse(error, TR_SYSTEM, "%.*s: the disk has failed to sync, and not all can be written again yet",
			    JOURNAL_PATH_SHOWN, db->path);
			return false;
		}
		db->sync_failed = false;
	}
	int code = write_batch(db, batch, sync, &tally);
	if (code != SQLITE_OK) {
		db->sync_failed = db->sync_failed || code == SQLITE_IOERR_FSYNC;
		journal_db_fault(db, code, error);
		roll_back(db);
		return false;
	}
	db->ended = tally.unsure || db->ended < 0 ? -1 : db->ended + tally.ended;
	db->dead = tally.unsure || db->dead < 0 ? -1 : db->dead + tally.dead;
	return true;
}

bool journal_db_checkpoint(struct journal_db *db)
{
	int in_wal, copied;
	int code = sqlite3_wal_checkpoint_v2(db->connection, "main", SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied);

	if (code == SQLITE_IOERR_FSYNC)
		db->sync_failed = true;
	if (code != SQLITE_OK || in_wal != copied)
		return false;
	db->wal_pages = 0;
	return true;
}

void journal_db_rest(struct journal_db *db)
{
	sqlite3_db_release_memory(db->connection);
}

int64_t journal_db_dead(struct journal_db *db)
{
	if (db->dead < 0) /* and it stays so after an error */
		journal_rows_number(db->statements[STATEMENT_COUNT_DEAD], &db->dead);
	return db->dead;
}

/* ---- retention --------------------------------------------------------------------------- */

/* How many to remove now, and those that ended before when. An SQLite code. */
static int find_old(struct journal_db *db, int64_t age_ms, int64_t keep, int64_t now_ms, int64_t *before_ms,
    int64_t *count, int64_t *next_ms)
{
	int64_t oldest_ms = INT64_MAX;
	int code = SQLITE_OK;

	*count = 0;
	*next_ms = INT64_MAX;
	if (keep > 0 && db->ended < 0)
		code = journal_rows_number(db->statements[STATEMENT_COUNT_ENDED], &db->ended);
	if (code != SQLITE_OK)
		return code;
	if (keep > 0 && db->ended > keep) {
		*before_ms = INT64_MAX;
		*count = db->ended - keep;
	} else if (age_ms > 0) {
		code = journal_rows_number(db->statements[STATEMENT_OLDEST_ENDED], &oldest_ms);
		*before_ms = now_ms - age_ms;
		if (oldest_ms < *before_ms)
			*count = INT64_MAX; /* nobody knows */
		else if (oldest_ms < INT64_MAX - age_ms)
			*next_ms = oldest_ms + age_ms + 1;
	}
	return code;
}

/* The dead among the oldest. An SQLite code. */
static int find_dead(struct journal_db *db, int64_t before_ms, int64_t count, struct journal_removed *found)
{
	sqlite3_stmt *statement = db->statements[STATEMENT_RETAIN_DEAD];
	size_t room = 0;
	int code;

	sqlite3_bind_int64(statement, 1, before_ms);
	sqlite3_bind_int64(statement, 2, count);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (found->count == room) {
			size_t more = room ? room * 2 : 16;
			void *moved = realloc(found->at, more * sizeof *found->at);
			if (moved == NULL) {
				code = SQLITE_NOMEM;
				break;
			}
			found->at = moved;
			room = more;
		}
		/* An id of another length is nothing that anybody knows. */
		if (sqlite3_column_bytes(statement, 0) != sizeof found->at->id)
			continue;
		memcpy(&found->at[found->count].id, sqlite3_column_blob(statement, 0), sizeof found->at->id);
		found->at[found->count++].flags = (uint8_t)sqlite3_column_int(statement, 1);
	}
	sqlite3_reset(statement);
	return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int remove_old(struct journal_db *db, int64_t before_ms, int64_t count, struct journal_removed *dead, int *removed)
{
	static const enum journal_statement deletes[] = { STATEMENT_RETAIN_ATTEMPTS, STATEMENT_RETAIN_LINES,
		STATEMENT_RETAIN_TASKS };
	int code = set_sync(db, false);

	if (code == SQLITE_OK)
		code = journal_rows_run(db->statements[STATEMENT_BEGIN]);
	if (code == SQLITE_OK)
		code = find_dead(db, before_ms, count, dead);
	for (size_t i = 0; i < sizeof deletes / sizeof deletes[0] && code == SQLITE_OK; i++) {
		sqlite3_bind_int64(db->statements[deletes[i]], 1, before_ms);
		sqlite3_bind_int64(db->statements[deletes[i]], 2, count);
		code = journal_rows_run(db->statements[deletes[i]]);
		*removed = sqlite3_changes(db->connection);
	}
	return code == SQLITE_OK ? journal_rows_run(db->statements[STATEMENT_COMMIT]) : code;
}

uint64_t journal_db_retain(struct journal_db *db, int64_t age_ms, int64_t keep, int64_t now_ms, size_t limit,
    int64_t *next_ms, struct journal_removed *dead)
{
	int64_t before_ms = 0, count;
	int removed = 0;

	*dead = (struct journal_removed){ 0 };
	int code = find_old(db, age_ms, keep, now_ms, &before_ms, &count, next_ms);
	if (code == SQLITE_OK && count > 0) {
		*next_ms = 0;
		code = remove_old(db, before_ms, count < (int64_t)limit ? count : (int64_t)limit, dead, &removed);
	}
	if (code != SQLITE_OK) {
		roll_back(db);
		dead->count = 0; /* their rows are still there */
		db->ended = db->dead = -1;
		*next_ms = now_ms + RETRY_MS;
		return 0;
	}
	if (db->ended >= 0)
		db->ended -= removed;
	if (db->dead >= 0)
		db->dead -= (int64_t)dead->count;
	return (uint64_t)removed;
}
