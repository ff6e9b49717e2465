/*
 * The journal read from outside: status.c asks here for tasks that have left the board. Enters: a
 * path and ids. Leaves: a task's status, its result. A handle holds one connection that can only
 * read; when taskd's file was replaced or its schema changed, the next call opens anew.
 */
#include "archive_db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A writer never blocks a reader in a WAL; only recovery after a crash does, for a moment. */
#define BUSY_TIMEOUT_MS 50
#define PATH_SHOWN 120 /* bytes of a path in a sentence */

static const char find_sql[] = ARCHIVE_SELECT " = ?1";

/* ---- opening ----------------------------------------------------------------------------- */

static void disconnect(struct archive *archive)
{
	sqlite3_finalize(archive->find);
	sqlite3_finalize(archive->result);
	sqlite3_close(archive->connection);
	archive->find = archive->result = NULL;
	archive->connection = NULL;
}

static enum tr_result fault(struct archive *archive, int code, struct tr_error *error)
{
	bool foreign = (code & 0xff) == SQLITE_NOTADB || (code & 0xff) == SQLITE_CORRUPT;

	snprintf(error->text, sizeof error->text, "%.*s: %.100s", PATH_SHOWN, archive->path,
	    archive->connection != NULL ? sqlite3_errmsg(archive->connection) : sqlite3_errstr(code));
	return foreign ? TR_INVALID : (code & 0xff) == SQLITE_NOMEM ? TR_NO_MEMORY : TR_SYSTEM;
}

static int read_number(struct archive *archive, const char *query, int64_t *number)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(archive->connection, query, -1, &statement, NULL);

	if (code != SQLITE_OK)
		return code;
	if (sqlite3_step(statement) == SQLITE_ROW)
		*number = sqlite3_column_int64(statement, 0);
	return sqlite3_finalize(statement);
}

static enum tr_result check(struct archive *archive, struct tr_error *error)
{
	int64_t application = 0, schema = 0;
	int code = read_number(archive, "PRAGMA application_id", &application);

	if (code == SQLITE_OK)
		code = read_number(archive, "PRAGMA user_version", &schema);
	if (code != SQLITE_OK)
		return fault(archive, code, error);
	if (application != JOURNAL_APPLICATION_ID) {
		snprintf(error->text, sizeof error->text, "%.*s is no journal of taskd", PATH_SHOWN, archive->path);
		return TR_INVALID;
	}
	if (schema != JOURNAL_SCHEMA) {
		snprintf(error->text, sizeof error->text, "%.*s has schema %lld, this program reads %d", PATH_SHOWN,
		    archive->path, (long long)schema, JOURNAL_SCHEMA);
		return TR_VERSION_MISMATCH;
	}
	code = sqlite3_prepare_v3(archive->connection, find_sql, -1, SQLITE_PREPARE_PERSISTENT, &archive->find, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(archive->connection, "SELECT result FROM task WHERE id = ?1", -1,
		    SQLITE_PREPARE_PERSISTENT, &archive->result, NULL);
	return code == SQLITE_OK ? TR_OK : fault(archive, code, error);
}

static enum tr_result connect_file(struct archive *archive, struct tr_error *error)
{
	/* "./": no name is an URI or ":memory:". */
	char *name = sqlite3_mprintf("%s%s", archive->path[0] == '/' ? "" : "./", archive->path);

	if (name == NULL)
		return TR_NO_MEMORY;
	int code = sqlite3_open_v2(name, &archive->connection,
	    SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	sqlite3_free(name);
	if (code == SQLITE_OK) {
		sqlite3_busy_timeout(archive->connection, BUSY_TIMEOUT_MS);
		/* The last to close would copy the WAL into the file; that is taskd's to do. */
		sqlite3_db_config(archive->connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	}
	bool missing = code != SQLITE_OK && sqlite3_system_errno(archive->connection) == ENOENT;
	enum tr_result result = code == SQLITE_OK ? check(archive, error) : fault(archive, code, error);
	if (missing)
		result = TR_NOT_FOUND;
	if (result != TR_OK)
		disconnect(archive);
	return result;
}

enum tr_result archive_connect(struct archive *archive)
{
	struct tr_error error;
	int moved = 0;

	if (archive->connection != NULL &&
	    (sqlite3_file_control(archive->connection, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || moved))
		disconnect(archive);
	return archive->connection != NULL ? TR_OK : connect_file(archive, &error);
}

enum tr_result archive_open(struct archive **archive, const char *path, struct tr_error *error)
{
	size_t path_bytes = strlen(path) + 1;
	struct archive *made = calloc(1, sizeof *made + path_bytes);

	*archive = NULL;
	error->text[0] = 0;
	if (made == NULL)
		return TR_NO_MEMORY;
	memcpy(made->path, path, path_bytes);
	enum tr_result result = connect_file(made, error);
	if (result == TR_OK)
		*archive = made;
	else
		free(made);
	return result;
}

void archive_close(struct archive **archive)
{
	struct archive *gone = *archive;

	*archive = NULL;
	if (gone == NULL)
		return;
	disconnect(gone);
	free(gone);
}

/* ---- finding ----------------------------------------------------------------------------- */

void archive_copy_text(sqlite3_stmt *row, int column, char *to, size_t room)
{
	const char *text = (const char *)sqlite3_column_text(row, column);
	size_t bytes = text != NULL ? strlen(text) : 0;

	if (bytes >= room) {
		bytes = room - 1;
		while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
			bytes--;
	}
	if (bytes > 0)
		memcpy(to, text, bytes);
	to[bytes] = 0;
}

bool archive_duplicate(sqlite3_stmt *row, int column, char **text)
{
	*text = NULL;
	if (sqlite3_column_type(row, column) == SQLITE_NULL)
		return true;
	const char *at = (const char *)sqlite3_column_text(row, column);
	*text = at != NULL ? strdup(at) : NULL;
	return *text != NULL;
}

enum tr_result archive_read_status(sqlite3_stmt *row, const struct tr_id *id, struct tr_task_status *status)
{
	int64_t state = sqlite3_column_int64(row, ARCHIVE_state);

	if (state < 0 || state >= TR_STATES)
		return TR_SYSTEM; /* written by somebody else */
	*status = (struct tr_task_status){
		.id = *id,
		.state = (enum tr_state)state,
		.attempt = (uint32_t)sqlite3_column_int64(row, ARCHIVE_attempt),
		.max_attempts = (uint32_t)sqlite3_column_int64(row, ARCHIVE_max_attempts),
		.created_ms = sqlite3_column_int64(row, ARCHIVE_created_ns) / 1000000,
		.due_ms = sqlite3_column_int64(row, ARCHIVE_due_ms),
		.started_ms = sqlite3_column_int64(row, ARCHIVE_started_ms),
		.ended_ms = sqlite3_column_int64(row, ARCHIVE_ended_ms),
		.cancelling = state == TR_RUNNING && sqlite3_column_int(row, ARCHIVE_cancel_wanted) != 0,
	};
	archive_copy_text(row, ARCHIVE_handler, status->handler, sizeof status->handler);
	archive_copy_text(row, ARCHIVE_queue, status->queue, sizeof status->queue);
	archive_copy_text(row, ARCHIVE_error, status->error, sizeof status->error);
	return archive_duplicate(row, ARCHIVE_result, &status->result) ? TR_OK : TR_NO_MEMORY;
}

/* A statement that failed is made anew by the next call. */
enum tr_result archive_no_row(struct archive *archive, int code)
{
	if (code == SQLITE_DONE)
		return TR_NOT_FOUND;
	disconnect(archive);
	return (code & 0xff) == SQLITE_NOMEM ? TR_NO_MEMORY : TR_SYSTEM;
}

enum tr_result archive_find(struct archive *archive, const struct tr_id *id, struct tr_task_status *status)
{
	enum tr_result result = archive_connect(archive);

	if (result != TR_OK)
		return result;
	sqlite3_bind_blob(archive->find, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
	int code = sqlite3_step(archive->find);
	if (code != SQLITE_ROW)
		result = archive_no_row(archive, code);
	else
		result = archive_read_status(archive->find, id, status);
	sqlite3_reset(archive->find); /* NULL after archive_no_row(): does nothing */
	return result;
}

char *archive_result(struct archive *archive, const struct tr_id *id)
{
	char *result = NULL;

	if (archive_connect(archive) != TR_OK)
		return NULL;
	sqlite3_bind_blob(archive->result, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
	int code = sqlite3_step(archive->result);
	if (code != SQLITE_ROW)
		archive_no_row(archive, code);
	else if (!archive_duplicate(archive->result, 0, &result))
		result = NULL;
	sqlite3_reset(archive->result);
	return result;
}

enum tr_result archive_trace(struct archive *archive, const struct tr_id *id, char trace[TR_TRACE_MAX + 1])
{
	enum tr_result result = archive_connect(archive);
	sqlite3_stmt *statement;

	if (result != TR_OK)
		return result;
	int code = sqlite3_prepare_v2(archive->connection, "SELECT trace FROM task WHERE id = ?1", -1, &statement, NULL);
	if (code == SQLITE_OK) {
		sqlite3_bind_blob(statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
		code = sqlite3_step(statement);
	}
	if (code == SQLITE_ROW)
		archive_copy_text(statement, 0, trace, TR_TRACE_MAX + 1);
	sqlite3_finalize(statement);
	return code == SQLITE_ROW ? TR_OK : archive_no_row(archive, code);
}
