/* What archive.c (opening, one task), archive_list.c (many rows), archive_detail.c and archive_history.c share. Nobody else knows SQLite here. */
#ifndef TR_ARCHIVE_DB_H
#define TR_ARCHIVE_DB_H

#include <sqlite3.h>

#include "archive.h"

struct archive {
	sqlite3 *connection; /* NULL: to be opened */
	sqlite3_stmt *find, *result;
	char path[];
};

/* What a status is made of, in the order of ARCHIVE_SELECT's columns. */
#define ARCHIVE_COLUMNS(COLUMN) \
	COLUMN(cancel_wanted) COLUMN(state) COLUMN(attempt) COLUMN(max_attempts) COLUMN(created_ns) COLUMN(due_ms) \
	COLUMN(started_ms) COLUMN(ended_ms) COLUMN(handler) COLUMN(queue) COLUMN(error) COLUMN(result) COLUMN(args)
#define ARCHIVE_COLUMN_NAME(column) ", " #column
#define ARCHIVE_COLUMN_ENUM(column) ARCHIVE_##column,
enum archive_column { ARCHIVE_id, ARCHIVE_COLUMNS(ARCHIVE_COLUMN_ENUM) };
#define ARCHIVE_SELECT "SELECT id" ARCHIVE_COLUMNS(ARCHIVE_COLUMN_NAME) " FROM task WHERE id"

/* Makes sure that the connection is to the file that has the name now. Errors: as archive_open(). */
enum tr_result archive_connect(struct archive *archive);
/* The answer to a step that gave no row: NOT_FOUND, or an error, and then the connection is closed. Finalize first. */
enum tr_result archive_no_row(struct archive *archive, int code);
/* Copies a column's text into `to`, cut before a character that does not fit. */
void archive_copy_text(sqlite3_stmt *row, int column, char *to, size_t room);
/* A malloc()ed copy in *text, NULL where there is none; false: out of memory. */
bool archive_duplicate(sqlite3_stmt *row, int column, char **text);
/* Reads the row of such a statement. Errors: NO_MEMORY, SYSTEM. */
enum tr_result archive_read_status(sqlite3_stmt *row, const struct tr_id *id, struct tr_task_status *status);

#endif
