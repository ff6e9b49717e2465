/*
 * Many rows of the journal, read from outside: list.c and task_log.c ask here. Enters: a query or a
 * task's id. Leaves: rows, one after the other, and how far was looked.
 *
 * Tasks are listed by their id, which is the key of the table: the walk goes down the table and
 * passes over what does not match. States that few of many tasks are in have indices of their own;
 * their ids are merged from there, and each is looked up. SQLite reads all columns that are asked for before it
 * gives a row, and arguments and results can be large: for a name the walk asks for the first columns only,
 * and what matches is looked up, which costs less than half as much again where all do. However rare a match
 * is, one call does no more than query->work_most.
 */
#include <stdlib.h>
#include <string.h>

#include "archive_db.h"
#include "filter.h"
#include "redact.h"

#define WORK_BYTES 256 /* that are read cost as much as a row that is passed over */

#define IS(state) (1u << (state))
#define WAITING (IS(TR_SCHEDULED) | IS(TR_QUEUED) | IS(TR_RETRYING))
/* So many waiting tasks are sorted by id, since their index is by time; more are found by the walk. */
#define SORTED_MOST 20000
#define QUOTE(x) #x
#define QUOTED(x) QUOTE(x)

/* What a row is passed over by; all of these stand before its large columns. */
enum passing_column { PASSING_id, PASSING_state, PASSING_handler, PASSING_queue, PASSING_created_ns };
#define FROM_ALL "SELECT id, state, handler, queue, created_ns FROM task WHERE id < ?1 ORDER BY id DESC"
#define WHOLE_FROM_ALL ARCHIVE_SELECT " < ?1 ORDER BY id DESC"

/* Word for word as in the indices of taskd/journal_schema.c, or SQLite does not use them. */
#define FROM_WAITING "FROM task INDEXED BY task_waiting WHERE state < 4 AND state <> 2 AND NOT blocked"
#define FROM_BLOCKED "FROM task INDEXED BY task_blocked WHERE state < 4 AND state <> 2 AND blocked"
#define FROM_RUNNING "FROM task INDEXED BY task_running WHERE state = 2"
#define FROM_FAILED "FROM task INDEXED BY task_failed WHERE state > 4"

/* Prepares and binds ?1 and ?2, as far as the statement has them. An SQLite code; *statement is NULL after an error. */
static int prepare(struct archive *archive, const char *sql, const struct tr_id *id, const char *queue,
    sqlite3_stmt **statement)
{
	int code = sqlite3_prepare_v2(archive->connection, sql, -1, statement, NULL);

	if (code == SQLITE_OK && id)
		sqlite3_bind_blob(*statement, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
	if (code == SQLITE_OK && queue)
		sqlite3_bind_text(*statement, 2, queue, -1, SQLITE_STATIC);
	return code;
}

/* ---- which way --------------------------------------------------------------------------- */

/* Whether the waiting tasks (of that queue) are few enough to be sorted. An SQLite code. */
static int are_waiting_few(struct archive *archive, const char *queue, bool *few)
{
	sqlite3_stmt *statement;
	int code = prepare(archive, queue ?
	    "SELECT count(*) FROM (SELECT 1 " FROM_WAITING " AND queue = ?2 LIMIT " QUOTED(SORTED_MOST) " + 1)" :
	    "SELECT count(*) FROM (SELECT 1 " FROM_WAITING " LIMIT " QUOTED(SORTED_MOST) " + 1)", NULL, queue, &statement);

	if (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
		*few = sqlite3_column_int(statement, 0) <= SORTED_MOST;
	return code == SQLITE_OK ? sqlite3_finalize(statement) : code;
}

static int is_rare(struct archive *archive, const struct tr_task_filter *filter, bool *rare)
{
	*rare = filter->states && !(filter->states & IS(TR_SUCCEEDED));
	return *rare && filter->states & WAITING ? are_waiting_few(archive, filter->queue, rare) : SQLITE_OK;
}

/* The ids of all tasks in these states, merged; sqlite3_free()d by the caller. NULL: out of memory. */
static char *compose_rare(const struct tr_task_filter *filter)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);
	const char *joint = "";

	for (int state = TR_DEAD; state < TR_STATES; state++) {
		if (!(filter->states & IS(state)))
			continue;
		sqlite3_str_appendf(sql, "%sSELECT id " FROM_FAILED " AND state = %d AND id < ?1", joint, state);
		joint = " UNION ALL ";
	}
	if (filter->states & IS(TR_RUNNING)) {
		sqlite3_str_appendf(sql, "%sSELECT id " FROM_RUNNING " AND id < ?1", joint);
		joint = " UNION ALL ";
	}
	if (filter->states & WAITING)
		sqlite3_str_appendf(sql, "%sSELECT id " FROM_WAITING " AND id < ?1%s UNION ALL SELECT id " FROM_BLOCKED
		    " AND id < ?1", joint, filter->queue ? " AND queue = ?2" : "");
	sqlite3_str_appendall(sql, " ORDER BY id DESC");
	return sqlite3_str_finish(sql);
}

/* Whether the walk gives whole rows: most of them match, or have to be looked into. */
static bool walks_whole(const struct tr_task_filter *filter)
{
	return (!filter->handler && !filter->queue) || filter->text || filter_asks_arguments(filter);
}

static int prepare_walk(struct archive *archive, const struct archive_query *query, bool *rare, sqlite3_stmt **walk)
{
	int code = is_rare(archive, query->filter, rare);

	*walk = NULL;
	if (code != SQLITE_OK)
		return code;
	if (!*rare)
		return prepare(archive, walks_whole(query->filter) ? WHOLE_FROM_ALL : FROM_ALL, query->before, NULL, walk);
	char *sql = compose_rare(query->filter);
	code = sql ? prepare(archive, sql, query->before, query->filter->queue, walk) : SQLITE_NOMEM;
	sqlite3_free(sql);
	return code;
}

/* ---- listing ----------------------------------------------------------------------------- */

/* The walk: what it needs beside its statement. */
struct walk {
	struct archive *archive;
	const struct archive_query *query;
	bool rare;              /* its rows are ids only */
	bool whole;             /* else: they are whole, or have the first columns only */
	sqlite3_stmt *rows, *extract;
	size_t work;            /* done so far, see WORK_BYTES */
	bool bad_path, no_memory;
};

/* Whether the member of the arguments is so. `args` may be shown, and may be no JSON. */
static bool has_argument(struct walk *walk, const char *args, size_t which)
{
	const char *path = walk->query->filter->args[which].path;
	char *full = sqlite3_mprintf(path[0] == '[' ? "$%s" : "$.%s", path);
	bool has = false;

	walk->no_memory |= !full;
	sqlite3_bind_text(walk->extract, 1, args, -1, SQLITE_STATIC);
	sqlite3_bind_text(walk->extract, 2, full, -1, SQLITE_STATIC);
	if (sqlite3_step(walk->extract) == SQLITE_ROW) {
		const char *value = (const char *)sqlite3_column_text(walk->extract, 0);
		has = value && strcmp(value, walk->query->filter->args[which].value) == 0;
	} else if (full) {
		walk->bad_path = true;
	}
	sqlite3_reset(walk->extract);
	sqlite3_clear_bindings(walk->extract);
	sqlite3_free(full);
	return has;
}

/* A path is right or wrong whatever the arguments are. */
static bool paths_ok(struct walk *walk)
{
	for (size_t i = 0; i < TR_FILTER_ARGS_MAX && walk->query->filter->args[i].path; i++)
		has_argument(walk, "{}", i);
	return !walk->bad_path;
}

/* `missing`: the text, if one is asked for, was not found elsewhere. */
static bool arguments_match(struct walk *walk, sqlite3_stmt *row, const char *handler, bool missing)
{
	const struct tr_task_filter *filter = walk->query->filter;
	const char *args = (const char *)sqlite3_column_text(row, ARCHIVE_args);
	bool redacted;

	if (!args || !handler || !*args) /* they are in the spool */
		return false;
	char *shown = redactor_show(walk->query->redactor, handler, args, (size_t)sqlite3_column_bytes(row, ARCHIVE_args), &redacted);
	walk->no_memory |= !shown;
	bool match = shown && (!missing || filter_text_in(filter, shown));
	for (size_t i = 0; match && i < TR_FILTER_ARGS_MAX && filter->args[i].path; i++)
		match = has_argument(walk, shown, i);
	free(shown);
	return match;
}

static bool row_matches(struct walk *walk, sqlite3_stmt *row, const struct tr_id *id)
{
	const struct tr_task_filter *filter = walk->query->filter;
	const struct filtered task = {
		.id = id,
		.state = sqlite3_column_int64(row, ARCHIVE_state),
		.created_ms = sqlite3_column_int64(row, ARCHIVE_created_ns) / 1000000,
		.handler = (const char *)sqlite3_column_text(row, ARCHIVE_handler),
		.queue = (const char *)sqlite3_column_text(row, ARCHIVE_queue),
		.error = (const char *)sqlite3_column_text(row, ARCHIVE_error),
	};

	if (!filter_fits(filter, &task))
		return false;
	bool missing = !filter_has_text(filter, &task);
	return (!missing && !filter_asks_arguments(filter)) || arguments_match(walk, row, task.handler, missing);
}

/* Whether the walk's row may match, as far as its first columns say. */
static bool may_match(const struct walk *walk, const struct tr_id *id)
{
	const struct filtered task = {
		.id = id,
		.state = sqlite3_column_int64(walk->rows, PASSING_state),
		.created_ms = sqlite3_column_int64(walk->rows, PASSING_created_ns) / 1000000,
		.handler = (const char *)sqlite3_column_text(walk->rows, PASSING_handler),
		.queue = (const char *)sqlite3_column_text(walk->rows, PASSING_queue),
	};

	return filter_fits(walk->query->filter, &task);
}

/* The walk's row in full: itself, or what its id leads to; NULL: it has gone, or cannot match. An SQLite code. */
static int find_row(struct walk *walk, const struct tr_id *id, sqlite3_stmt **row)
{
	sqlite3_stmt *find = walk->archive->find;
	int code = SQLITE_ROW;

	*row = NULL;
	if (!walk->rare && !walk->whole && !may_match(walk, id))
		return SQLITE_OK;
	if (!walk->rare && walk->whole) {
		*row = walk->rows;
	} else {
		sqlite3_bind_blob(find, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
		code = sqlite3_step(find);
		*row = code == SQLITE_ROW ? find : NULL;
		walk->work++;
	}
	if (*row)
		walk->work += (size_t)(sqlite3_column_bytes(*row, ARCHIVE_args) + sqlite3_column_bytes(*row, ARCHIVE_error) +
		    sqlite3_column_bytes(*row, ARCHIVE_result)) / WORK_BYTES;
	return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Takes the row that the walk is at, if it matches. *go_on: it was not enough yet. */
static enum tr_result take_row(struct walk *walk, const struct tr_id *id, archive_row_fn *take, void *context, bool *go_on)
{
	struct tr_task_status status;
	sqlite3_stmt *row;
	enum tr_result result = find_row(walk, id, &row) == SQLITE_OK ? TR_OK : TR_SYSTEM;

	if (row && row_matches(walk, row, id)) {
		result = archive_read_status(row, id, &status);
		if (result == TR_OK)
			*go_on = take(context, &status);
	}
	if (row != walk->rows)
		sqlite3_reset(walk->archive->find);
	return walk->no_memory ? TR_NO_MEMORY : result;
}

static enum tr_result walk_down(struct walk *walk, archive_row_fn *take, void *context, struct tr_id *reached, int *code)
{
	static const struct tr_id none;
	enum tr_result result = TR_OK;
	bool go_on = true;

	for (; go_on && result == TR_OK && walk->work < walk->query->work_most; walk->work++) {
		*code = sqlite3_step(walk->rows);
		if (*code != SQLITE_ROW) {
			*reached = none;
			break;
		}
		if (sqlite3_column_bytes(walk->rows, 0) != sizeof *reached)
			continue; /* written by somebody else */
		memcpy(reached->bytes, sqlite3_column_blob(walk->rows, 0), sizeof *reached);
		if (filter_is_below(walk->query->filter, reached)) {
			*reached = none;
			break;
		}
		result = take_row(walk, reached, take, context, &go_on);
	}
	return result;
}

enum tr_result archive_list(struct archive *archive, const struct archive_query *query, archive_row_fn *take,
    void *context, struct tr_id *reached)
{
	struct walk walk = { .archive = archive, .query = query, .whole = walks_whole(query->filter) };
	enum tr_result result = archive_connect(archive);

	*reached = *query->before;
	if (result != TR_OK)
		return result;
	int code = prepare_walk(archive, query, &walk.rare, &walk.rows);
	if (code == SQLITE_OK && filter_asks_arguments(query->filter))
		code = sqlite3_prepare_v2(archive->connection, "SELECT CASE json_type(args, ?2) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
		    "ELSE json_extract(args, ?2) END FROM (SELECT CASE WHEN json_valid(?1) THEN ?1 ELSE '{}' END AS args)", -1, &walk.extract, NULL);
	if (code == SQLITE_OK)
		result = !walk.extract || paths_ok(&walk) ? walk_down(&walk, take, context, reached, &code) : TR_INVALID;
	sqlite3_finalize(walk.rows);
	sqlite3_finalize(walk.extract);
	if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE)
		return archive_no_row(archive, code);
	return result;
}

/* ---- a task's log ------------------------------------------------------------------------ */

/* From attempt to attempt without reading what lies between. */
static const char last_numbers[] =
    "WITH RECURSIVE found(n) AS (SELECT max(attempt) FROM task_log WHERE task = ?1 UNION ALL "
    "SELECT (SELECT max(attempt) FROM task_log WHERE task = ?1 AND attempt < found.n) FROM found "
    "WHERE found.n IS NOT NULL) "
    "SELECT n, (SELECT max(seq) FROM task_log WHERE task = ?1 AND attempt = found.n), 0, 0, NULL "
    "FROM found WHERE n IS NOT NULL";

static enum tr_result give_lines(struct archive *archive, const char *sql, const struct tr_id *id, size_t most,
    archive_line_fn *take, void *context)
{
	sqlite3_stmt *row;
	bool memory = true;
	int code = prepare(archive, sql, id, NULL, &row);

	for (size_t given = 0; code == SQLITE_OK && memory && given < most; given++) {
		int step = sqlite3_step(row);
		if (step != SQLITE_ROW) {
			code = step;
			break;
		}
		memory = take(context, (uint32_t)sqlite3_column_int64(row, 0), (uint64_t)sqlite3_column_int64(row, 1),
		    sqlite3_column_int64(row, 2), sqlite3_column_int(row, 3), (const char *)sqlite3_column_text(row, 4));
	}
	sqlite3_finalize(row);
	if (code != SQLITE_OK && code != SQLITE_DONE)
		return archive_no_row(archive, code);
	return memory ? TR_OK : TR_NO_MEMORY;
}

enum tr_result archive_log(struct archive *archive, const struct tr_id *id, size_t most, archive_line_fn *take,
    void *context)
{
	enum tr_result result = archive_connect(archive);

	if (result == TR_OK)
		result = give_lines(archive, "SELECT attempt, seq, at_ms, level, text FROM task_log WHERE task = ?1 "
		    "ORDER BY attempt DESC, seq DESC", id, most, take, context);
	return result == TR_OK ? give_lines(archive, last_numbers, id, SIZE_MAX, take, context) : result;
}
