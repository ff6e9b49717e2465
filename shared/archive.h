/*
 * Reading taskd's journal from another process, for tasks that are no longer on the board. It
 * opens the SQLite file read-only and never writes. One handle per thread or under a lock.
 *
 * What a reader needs: read permission for the journal, its -wal and its -shm file, all of which
 * taskd leaves in place when it stops and which outlive a kill -9. Where the two are missing (copied or cleaned
 * away), the reader must be allowed to make them, that is, to write the directory.
 */
#ifndef TR_ARCHIVE_H
#define TR_ARCHIVE_H

#include "taskring/taskring.h"

#define JOURNAL_APPLICATION_ID 0x54524e47 /* "TRNG", PRAGMA application_id */
#define JOURNAL_SCHEMA 3                  /* PRAGMA user_version */

/* Columns of table `history` that an hour's row has as the sums of its minutes'; see struct tr_history_row. */
#define HISTORY_SUMS(SUM) SUM(accepted) SUM(succeeded) SUM(dead) SUM(cancelled) SUM(expired) SUM(started) SUM(failed)
/* All of them, as they are read and written: HISTORY_LIST names them, HISTORY_accepted is one's place in a row that was read. */
#define HISTORY_COLUMNS(COLUMN) \
	COLUMN(at_ms) HISTORY_SUMS(COLUMN) COLUMN(waiting) COLUMN(running) COLUMN(oldest_wait_ms) COLUMN(wait) COLUMN(run)
#define HISTORY_NAME(column) ", " #column
#define HISTORY_ENUM(column) HISTORY_##column,
#define HISTORY_LIST "span" HISTORY_COLUMNS(HISTORY_NAME)
enum history_column { HISTORY_span, HISTORY_COLUMNS(HISTORY_ENUM) };

struct archive;

/*
 * Errors: NOT_FOUND (no file yet), INVALID (not a journal), VERSION_MISMATCH (another schema),
 * NO_MEMORY, SYSTEM.
 */
enum tr_result archive_open(struct archive **archive, const char *path, struct tr_error *error);
void archive_close(struct archive **archive);
/*
 * Fills *status; its result is the caller's. A journal that has been replaced since is opened anew.
 * Errors: NOT_FOUND, NO_MEMORY, SYSTEM, and those of archive_open().
 */
enum tr_result archive_find(struct archive *archive, const struct tr_id *id,
    struct tr_task_status *status);
/* Only the whole result of a task, malloc()ed; NULL when there is none or it cannot be read. */
char *archive_result(struct archive *archive, const struct tr_id *id);

/* The trace that it was added with. Errors: as archive_find(). */
enum tr_result archive_trace(struct archive *archive, const struct tr_id *id, char trace[TR_TRACE_MAX + 1]);

/* What the journal knows of a task beside its status. */
struct archive_detail {
	struct tr_task_detail shown; /* without status, args and siblings, which are the asker's to fill in */
	struct tr_id first;     /* of its batch */
	uint16_t places;        /* of it */
	uint8_t flags;          /* enum record_flag */
	char *args;             /* as they are; "" when they are in the spool; the caller's, also after an error */
};
/* *to comes with TR_ATTEMPTS_SHOWN_MAX shown.attempts, all else zero. Errors: as archive_find(). */
enum tr_result archive_detail(struct archive *archive, const struct tr_id *id, struct archive_detail *to);
/* How many waiting tasks of the queue come before that one, counted up to `most`. Errors: as archive_find(). */
enum tr_result archive_count_before(struct archive *archive, const char *queue, int64_t due_ms, const struct tr_id *id,
    uint64_t most, uint64_t *count);

struct redactor;

/* What is to be listed: tasks below *before that match the filter (not NULL, filter_is_sound()). */
struct archive_query {
	const struct tr_task_filter *filter;
	const struct tr_id *before;
	size_t work_most; /* so much is done: 1 for each row, 1 more for each looked up, 1 more for each 256 bytes of it */
	const struct redactor *redactor; /* where the filter has a text or arguments; else NULL */
};
/* A task that matches. Its result is the callee's. False: enough. */
typedef bool archive_row_fn(void *context, struct tr_task_status *status);
/*
 * Gives the matching tasks to `take`, the newest first. *reached: the last one looked at; all zero: the end was reached,
 * there are no more. Errors: as archive_find(); NOT_FOUND: there is no journal; INVALID: a path of an argument is none.
 */
enum tr_result archive_list(struct archive *archive, const struct archive_query *query, archive_row_fn *take,
    void *context, struct tr_id *reached);

/* A row of a task's log; `text` lives during the call. NULL: the line was not kept. False: out of memory. */
typedef bool archive_line_fn(void *context, uint32_t attempt, uint64_t number, int64_t at_ms, int level, const char *text);
/*
 * Gives the last `most` rows of the task's log, the last one first; then, as lines without a text, the last number of
 * each attempt. Errors: as archive_list().
 */
enum tr_result archive_log(struct archive *archive, const struct tr_id *id, size_t most, archive_line_fn *take,
    void *context);

/* As tr_history(). */
enum tr_result archive_history(struct archive *archive, enum tr_span span, int64_t from_ms, int64_t to_ms,
    struct tr_history_row *rows, size_t limit, size_t *count);

#endif
