/*
 * A batch's new tasks and attempts, shown to SQLite as two virtual tables, batch_task and
 * batch_attempt, so that one INSERT ... SELECT writes them all: it takes half the instructions of
 * binding and stepping a statement for each row. journal_rows.c runs those statements.
 */
#include "taskd/journal_db.h"

#include <assert.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- the columns ------------------------------------------------------------------------- */

const char journal_task_columns[] = "id"
#define NUMBER(column, member) ", " #column
#define SPAN(column, member) ", " #column
#define STRING(column, member) ", " #column
#include "taskd/journal_columns.tbl"
    ;

#define ATTEMPT_COLUMNS(NUMBER, STRING) \
	NUMBER(attempt) NUMBER(started_ms) NUMBER(ended_ms) NUMBER(worker_pid) NUMBER(exit_code) NUMBER(signal) \
	NUMBER(peak_memory_kb) STRING(outcome) STRING(message) STRING(verdict)
#define ATTEMPT_NAME(column) ", " #column
#define ATTEMPT_ENUM(column) ATTEMPT_##column,

const char journal_attempt_columns[] = "task" ATTEMPT_COLUMNS(ATTEMPT_NAME, ATTEMPT_NAME);
enum attempt_column { ATTEMPT_task, ATTEMPT_COLUMNS(ATTEMPT_ENUM, ATTEMPT_ENUM) };

/* ---- the tables -------------------------------------------------------------------------- */

struct batch_table {
	sqlite3_vtab base; /* first: SQLite gives it back */
	struct journal_db *db;
	bool attempts; /* batch_attempt, else batch_task */
};

/*
 * Rows are shown in the order of their ids: a row that comes after all others of its tree is
 * appended without a search, which saves a quarter of the whole.
 */
struct batch_cursor {
	sqlite3_vtab_cursor base; /* first */
	size_t at, count;
	const void **rows; /* struct journal_task or journal_attempt */
};
static_assert(offsetof(struct journal_task, record.id) == 0 && offsetof(struct journal_attempt, id) == 0,
    "row_compare() finds the id there");

static int table_connect(struct journal_db *db, bool attempts, sqlite3_vtab **table)
{
	char *declaration = sqlite3_mprintf("CREATE TABLE x (%s)", attempts ? journal_attempt_columns : journal_task_columns);
	struct batch_table *made = sqlite3_malloc(sizeof *made);

	int code = declaration && made ? sqlite3_declare_vtab(db->connection, declaration) : SQLITE_NOMEM;
	sqlite3_free(declaration);
	if (code != SQLITE_OK) {
		sqlite3_free(made);
		return code;
	}
	*made = (struct batch_table){ .db = db, .attempts = attempts };
	*table = &made->base;
	return SQLITE_OK;
}

static int task_connect(sqlite3 *connection, void *db, int argument_count, const char *const *arguments,
    sqlite3_vtab **table, char **error)
{
	(void)connection, (void)argument_count, (void)arguments, (void)error;
	return table_connect(db, false, table);
}

static int attempt_connect(sqlite3 *connection, void *db, int argument_count, const char *const *arguments,
    sqlite3_vtab **table, char **error)
{
	(void)connection, (void)argument_count, (void)arguments, (void)error;
	return table_connect(db, true, table);
}

static int table_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
	(void)table, (void)info;
	return SQLITE_OK;
}

static int table_disconnect(sqlite3_vtab *table)
{
	sqlite3_free(table);
	return SQLITE_OK;
}

static int cursor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor)
{
	struct batch_cursor *made = sqlite3_malloc(sizeof *made);

	(void)table;
	if (made == NULL)
		return SQLITE_NOMEM;
	memset(made, 0, sizeof *made);
	*cursor = &made->base;
	return SQLITE_OK;
}

static int cursor_close(sqlite3_vtab_cursor *cursor)
{
	sqlite3_free(((struct batch_cursor *)cursor)->rows);
	sqlite3_free(cursor);
	return SQLITE_OK;
}

static const struct batch_table *cursor_table(const sqlite3_vtab_cursor *cursor)
{
	return (const struct batch_table *)cursor->pVtab;
}

static int id_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct tr_id));
}

/* By id, then as they were added: of two attempts with one number the later replaces the former. */
static int row_compare(const void *a, const void *b)
{
	const char *const *first = a, *const *second = b;
	int order = id_compare(*first, *second);

	return order ? order : (*first > *second) - (*first < *second);
}

static void sort_rows(const void **rows, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		if (id_compare(rows[i - 1], rows[i]) > 0) {
			qsort(rows, count, sizeof *rows, row_compare);
			return;
		}
	}
}

/* `writing` is NULL when somebody reads the tables outside a commit: they are empty then. */
static int cursor_filter(sqlite3_vtab_cursor *base, int number, const char *text, int count, sqlite3_value **values)
{
	struct batch_cursor *cursor = (struct batch_cursor *)base;
	const struct batch_table *table = cursor_table(base);
	const struct journal_batch *batch = table->db->writing;

	(void)number, (void)text, (void)count, (void)values;
	cursor->at = 0;
	cursor->count = batch == NULL ? 0 : table->attempts ? batch->attempts.count : batch->inserts.count;
	if (cursor->count == 0)
		return SQLITE_OK;
	sqlite3_free(cursor->rows);
	cursor->rows = sqlite3_malloc64(cursor->count * sizeof *cursor->rows);
	if (cursor->rows == NULL)
		return SQLITE_NOMEM;
	for (size_t i = 0; i < cursor->count; i++)
		cursor->rows[i] = table->attempts ? (const void *)&batch->attempts.at[i] : &batch->inserts.at[i];
	sort_rows(cursor->rows, cursor->count);
	return SQLITE_OK;
}

static int cursor_next(sqlite3_vtab_cursor *cursor)
{
	((struct batch_cursor *)cursor)->at++;
	return SQLITE_OK;
}

static int cursor_eof(sqlite3_vtab_cursor *cursor)
{
	return ((struct batch_cursor *)cursor)->at >= ((struct batch_cursor *)cursor)->count;
}

static int cursor_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
	*rowid = (sqlite3_int64)((struct batch_cursor *)cursor)->at;
	return SQLITE_OK;
}

static int task_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
	const struct batch_cursor *here = (const struct batch_cursor *)cursor;
	const struct journal_task *task = here->rows[here->at];

	switch ((enum task_column)column) {
	case TASK_id:
		sqlite3_result_blob(context, task->record.id.bytes, sizeof task->record.id.bytes, SQLITE_STATIC);
		break;
#define NUMBER(column, member) \
	case TASK_##column: \
		sqlite3_result_int64(context, (sqlite3_int64)task->member); \
		break;
#define SPAN(column, member) \
	case TASK_##column: \
		sqlite3_result_text(context, task->member.at, (int)task->member.bytes, SQLITE_STATIC); \
		break;
#define STRING(column, member) \
	case TASK_##column: \
		sqlite3_result_text(context, task->member, -1, SQLITE_STATIC); /* NULL when it is */ \
		break;
#include "taskd/journal_columns.tbl"
	}
	return SQLITE_OK;
}

static int attempt_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context, int column)
{
	const struct batch_cursor *here = (const struct batch_cursor *)cursor;
	const struct journal_attempt *attempt = here->rows[here->at];

	switch ((enum attempt_column)column) {
	case ATTEMPT_task:
		sqlite3_result_blob(context, attempt->id.bytes, sizeof attempt->id.bytes, SQLITE_STATIC);
		break;
#define ATTEMPT_NUMBER(column) \
	case ATTEMPT_##column: \
		sqlite3_result_int64(context, (sqlite3_int64)attempt->column); \
		break;
#define ATTEMPT_STRING(column) \
	case ATTEMPT_##column: \
		sqlite3_result_text(context, attempt->column, -1, SQLITE_STATIC); \
		break;
	ATTEMPT_COLUMNS(ATTEMPT_NUMBER, ATTEMPT_STRING)
	}
	return SQLITE_OK;
}

/* Without xCreate: the table is there under the module's name, and none can be made. */
#define BATCH_MODULE(connect, column) \
	{ \
		.xConnect = (connect), .xBestIndex = table_best_index, .xDisconnect = table_disconnect, \
		.xOpen = cursor_open, .xClose = cursor_close, .xFilter = cursor_filter, .xNext = cursor_next, \
		.xEof = cursor_eof, .xColumn = (column), .xRowid = cursor_rowid, \
	}
static const sqlite3_module task_module = BATCH_MODULE(task_connect, task_column);
static const sqlite3_module attempt_module = BATCH_MODULE(attempt_connect, attempt_column);

int journal_table_register(struct journal_db *db)
{
	int code = sqlite3_create_module(db->connection, "batch_task", &task_module, db);

	return code != SQLITE_OK ? code :
	    sqlite3_create_module(db->connection, "batch_attempt", &attempt_module, db);
}
