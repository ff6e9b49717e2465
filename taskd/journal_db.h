/*
 * The journal's file: journal_db.c opens, checks, migrates, commits, checkpoints and removes what
 * is old; journal_rows.c writes batches and reads lists; journal_history.c writes what happened in each minute;
 * journal_table.c shows batches to SQLite; journal_file.c guards the file before; journal_schema.c holds the
 * schema. Only the first four know SQLite. One thread at a time; in taskd the journal's own (journal.c).
 */
#ifndef TASKD_JOURNAL_DB_H
#define TASKD_JOURNAL_DB_H

#include "taskd/journal_batch.h"

struct sqlite3;
struct sqlite3_stmt;

/* One step of the schema: brings version `to` - 1 to version `to`. */
struct journal_migration {
	int to;
	const char *sql;
};
extern const struct journal_migration journal_migrations[JOURNAL_SCHEMA];

/* What a batch changes in the counts of ended tasks. */
struct journal_tally {
	int64_t ended, dead; /* all, and the dead among them */
	bool unsure; /* ids were there already; count anew */
};

enum journal_statement {
	STATEMENT_BEGIN,
	STATEMENT_COMMIT,
	STATEMENT_TOUCH,
	STATEMENT_INSERT_TASKS,
	STATEMENT_INSERT_ATTEMPTS,
	STATEMENT_UPDATE_LIVE,
	STATEMENT_UPDATE_ENDED,
	STATEMENT_DELETE_LIVE,
	STATEMENT_DELETE_ENDED,
	STATEMENT_DELETE_ATTEMPTS,
	STATEMENT_INSERT_LINE,
	STATEMENT_DELETE_LINES,
	STATEMENT_LOAD_WAITING,
	STATEMENT_LOAD_TASK,
	STATEMENT_LOAD_RUNNING,
	STATEMENT_LOAD_BLOCKED,
	STATEMENT_STATE,
	STATEMENT_COUNT_WAITING,
	STATEMENT_COUNT_BLOCKED,
	STATEMENT_COUNT_RUNNING,
	STATEMENT_COUNT_ENDED,
	STATEMENT_COUNT_DEAD,
	STATEMENT_QUEUES,
	STATEMENT_PAUSE,
	STATEMENT_RESUME,
	STATEMENT_PAUSED,
	STATEMENT_HISTORY_READ,
	STATEMENT_HISTORY_WRITE,
	STATEMENT_HISTORY_PRUNE,
	STATEMENT_OLDEST_ENDED,
	STATEMENT_RETAIN_DEAD,
	STATEMENT_RETAIN_ATTEMPTS,
	STATEMENT_RETAIN_LINES,
	STATEMENT_RETAIN_TASKS,
	STATEMENTS
};

struct journal_db {
	struct sqlite3 *connection;
	struct sqlite3_stmt *statements[STATEMENTS];
	const struct journal_batch *writing; /* what the tables batch_task and batch_attempt show */
	int lock_fd;        /* flock(2) on the file: one writer */
	bool full_sync;     /* PRAGMA synchronous is FULL now, else NORMAL */
	bool sync_failed;   /* see journal_db_write() */
	uint32_t wal_pages; /* in the WAL and not yet known to be in the file */
	int64_t ended, dead; /* ended tasks, and the dead among them; -1: to be counted */
	const char *path;   /* the caller's */
};

/* ---- journal_file.c ---------------------------------------------------------------------- */

#define JOURNAL_PATH_SHOWN 120 /* bytes of a path in a sentence */

struct journal_file {
	int fd;      /* holds the lock; -1: not open. Closing any descriptor drops SQLite's own locks, so keep it */
	bool is_new; /* it is empty */
	bool made;   /* by this call; on an error later it is to be unlinked */
	int64_t bytes;
};

/* Opens or makes the file, locks it and checks its header. After an error too the fd is the caller's. */
enum tr_result journal_file_take(struct journal_file *file, const char *path, struct tr_error *error);
enum tr_result journal_file_newer(const char *path, int64_t version, struct tr_error *error);
/* Writes the sentence, cut if need be, and returns `result`. */
enum tr_result journal_refuse(struct tr_error *error, enum tr_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- journal_db.c ------------------------------------------------------------------------ */

/* As journal_open(). `path` outlives the db. */
enum tr_result journal_db_open(struct journal_db *db, const char *path, struct tr_error *error);
void journal_db_close(struct journal_db *db);

/* Runs each step whose `to` is above the file's version, each in a transaction of its own. */
enum tr_result journal_db_migrate(struct journal_db *db, const struct journal_migration *steps, size_t count,
    struct tr_error *error);

/* One transaction; false: nothing has changed and *error says why. */
bool journal_db_write(struct journal_db *db, struct journal_batch *batch, bool sync,
    struct tr_error *error);

/* Copies the WAL into the file as far as readers let it; false: not all, or an error. */
bool journal_db_checkpoint(struct journal_db *db);
/* Gives the page cache's memory back. */
void journal_db_rest(struct journal_db *db);
/* How many dead tasks there are; -1: that cannot be read now. */
int64_t journal_db_dead(struct journal_db *db);

/* Dead tasks that were removed. */
struct journal_removed {
	struct { struct tr_id id; uint8_t flags; } *at; /* malloc()ed */
	size_t count;
};

/*
 * Removes at most `limit` ended tasks, oldest end first, that are more than `keep` (0: no bound) or
 * ended `age_ms` (0: never too old) before `now_ms`. Returns how many. *next_ms: when to come again,
 * in ms since 1970; 0: at once, INT64_MAX: after the next commit. *dead: those of them that were;
 * the caller frees dead->at.
 */
uint64_t journal_db_retain(struct journal_db *db, int64_t age_ms, int64_t keep, int64_t now_ms, size_t limit,
    int64_t *next_ms, struct journal_removed *dead);

/* ---- journal_rows.c ---------------------------------------------------------------------- */

bool journal_db_load(struct journal_db *db, struct journal_load *load);
bool journal_db_census(struct journal_db *db, int64_t now_ms, struct journal_census *census, struct tr_error *error);
/* On an error the answer with which nothing is lost. */
enum journal_knowing { KNOWS_AT_ALL, KNOWS_LIVE, KNOWS_LIVE_OR_DEAD };
bool journal_db_knows(struct journal_db *db, const struct tr_id *id, enum journal_knowing knowing);
/* The names that STATEMENT_QUEUES or STATEMENT_PAUSED finds, each with its zero, the last one empty. NULL after an error. */
char *journal_db_names(struct journal_db *db, enum journal_statement which);

/* ---- among the three that know SQLite ---------------------------------------------------- */

/* Columns of table `task`, in the order of journal_columns.tbl. */
enum task_column {
	TASK_id,
#define NUMBER(column, member) TASK_##column,
#define SPAN(column, member) TASK_##column,
#define STRING(column, member) TASK_##column,
#include "taskd/journal_columns.tbl"
};
extern const char journal_task_columns[], journal_attempt_columns[]; /* "id, state, ..." */

/* Makes the tables batch_task and batch_attempt, which show db->writing. An SQLite code. */
int journal_table_register(struct journal_db *db);

/* Inside a transaction. An SQLite code. */
int journal_history_write(struct journal_db *db, const struct journal_history *minute);

/* Prepares the statements. An SQLite code. */
int journal_rows_open(struct journal_db *db);
/* Inside a transaction. An SQLite code. */
int journal_rows_write(struct journal_db *db, struct journal_batch *batch, struct journal_tally *tally);
/* Steps once and resets: SQLITE_OK or an error. */
int journal_rows_run(struct sqlite3_stmt *statement);
/* Steps once, takes the first column and resets; `*value` stays when there is no row. */
int journal_rows_number(struct sqlite3_stmt *statement, int64_t *value);
/* Says what the code means for the file; gives INVALID, NO_MEMORY or SYSTEM. */
enum tr_result journal_db_fault(struct journal_db *db, int code, struct tr_error *error);

#endif
