/* A page is asked for by endpoint_signups.c, rows of the application's database go out as JSON. */
#include "app/signups.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUSY_TIMEOUT_MS 100 /* of a request; only recovery after a crash keeps a reader waiting */
#define CACHE_KIB "256"

struct signups {
	sqlite3 *connection; /* NULL: there is no file yet */
	sqlite3_stmt *page;
	dev_t device; /* of the file that is open */
	ino_t inode;
	bool broken;
};

static const char page_sql[] =
    "SELECT task_id, email, name, created_at FROM signups WHERE ?1 IS NULL OR task_id < ?1 "
    "ORDER BY task_id DESC LIMIT ?2";

static const char *database_path(void)
{
	const char *path = getenv("TASKRING_SIGNUP_DB");
	return path == NULL || path[0] == '\0' ? "signups.db" : path;
}

static void close_signups(void *handle)
{
	struct signups *signups = handle;
	sqlite3_finalize(signups->page);
	sqlite3_close(signups->connection);
	free(signups);
}

static int connect_to(struct signups *signups, const char *path)
{
	int code = sqlite3_open_v2(path, &signups->connection, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(signups->connection, BUSY_TIMEOUT_MS);
	if (code == SQLITE_OK)
		code = sqlite3_exec(signups->connection, "PRAGMA cache_size = -" CACHE_KIB, NULL, NULL, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v3(signups->connection, page_sql, -1, SQLITE_PREPARE_PERSISTENT, &signups->page, NULL);
	return code;
}

static bool open_signups(void **handle, struct tr_error *error)
{
	const char *path = database_path();
	struct stat status;
	struct signups *signups = calloc(1, sizeof(*signups));
	if (signups == NULL) {
		snprintf(error->text, sizeof(error->text), "out of memory");
		return false;
	}
	*handle = signups;
	if (stat(path, &status) != 0 && errno == ENOENT)
		return true;
	int code = connect_to(signups, path);
	if (code == SQLITE_OK && stat(path, &status) == 0) {
		signups->device = status.st_dev;
		signups->inode = status.st_ino;
		return true;
	}
	snprintf(error->text, sizeof(error->text), "%.100s: %.100s", path,
	    signups->connection != NULL ? sqlite3_errmsg(signups->connection) : sqlite3_errstr(code));
	close_signups(signups);
	return false;
}

/* The file may have been replaced since. */
static bool check_signups(void *handle)
{
	const struct signups *signups = handle;
	struct stat status;
	return signups->connection != NULL && !signups->broken && stat(database_path(), &status) == 0 &&
	    status.st_dev == signups->device && status.st_ino == signups->inode;
}

const struct tr_resource signups_resource = {
	.name = "signups",
	.doc = "The application's database of signups, read only",
	.open = open_signups,
	.check = check_signups,
	.close = close_signups,
};

static json_t *column_json(sqlite3_stmt *row, int column)
{
	const unsigned char *text = sqlite3_column_text(row, column);
	return text != NULL ? json_string((const char *)text) : NULL;
}

static json_t *row_json(sqlite3_stmt *row)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "task_id", column_json(row, 0), "email", column_json(row, 1),
	    "name", column_json(row, 2), "created", column_json(row, 3));
}

json_t *signups_page(void *handle, const char *before, int limit, struct tr_error *error)
{
	struct signups *signups = handle;
	json_t *rows = json_array();
	int code = SQLITE_OK, failed = rows == NULL;
	if (signups->connection == NULL)
		return rows;
	if (before != NULL)
		code = sqlite3_bind_text(signups->page, 1, before, -1, SQLITE_STATIC);
	if (code == SQLITE_OK)
		code = sqlite3_bind_int(signups->page, 2, limit);
	while (code == SQLITE_OK && failed == 0 && (code = sqlite3_step(signups->page)) == SQLITE_ROW) {
		failed = json_array_append_new(rows, row_json(signups->page));
		code = SQLITE_OK;
	}
	if (code != SQLITE_DONE)
		snprintf(error->text, sizeof(error->text), "%.200s",
		    failed != 0 ? "out of memory" : sqlite3_errmsg(signups->connection));
	signups->broken = code != SQLITE_DONE;
	sqlite3_reset(signups->page);
	sqlite3_clear_bindings(signups->page);
	if (code == SQLITE_DONE)
		return rows;
	json_decref(rows);
	return NULL;
}
