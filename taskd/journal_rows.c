/*
 * Rows in and out of the journal's file. Enters: a batch, or what is to be loaded. Leaves: rows in
 * tables `task` and `attempt`, or a list. journal_db.c calls what writes, inside its transaction,
 * journal.c what reads.
 */
#include "taskd/journal_db.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "shared/id.h"
#include "taskd/log.h"

/* ---- the statements ---------------------------------------------------------------------- */

/* Word for word as in the indices of journal_schema.c, or SQLite does not use them. */
#define IS_WAITING "state < 4 AND state <> 2 AND NOT blocked"
#define IS_BLOCKED "state < 4 AND state <> 2 AND blocked"
#define FROM_WAITING "FROM task INDEXED BY task_waiting WHERE " IS_WAITING
#define FROM_BLOCKED "FROM task INDEXED BY task_blocked WHERE " IS_BLOCKED
#define FROM_RUNNING "FROM task INDEXED BY task_running WHERE state = 2"
#define FROM_ENDED "FROM task INDEXED BY task_ended WHERE state >= 4"
#define COUNTS "queue, sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3)"
#define UPDATE_TASK \
	"UPDATE task SET state = ?2, blocked = ?3, cancel_wanted = ?4, deciding = ?5, failure_kind = ?6, " \
	"permanent = ?7, attempt = ?8, failures = ?9, due_ms = ?10, started_ms = ?11, ended_ms = ?12, " \
	"error = ?13, result = coalesce(?14, result), log_lines = ?15, commanded_ns = ?16 WHERE id = ?1 AND "
#define OLDEST_ENDED FROM_ENDED " AND ended_ms < ?1 ORDER BY ended_ms, id LIMIT ?2"

#define QUOTE(x) #x
#define QUOTED(x) QUOTE(x)

/* %s: journal_task_columns, or journal_attempt_columns where attempts are inserted. */
static const char *const sql[STATEMENTS] = {
	[STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
	[STATEMENT_COMMIT] = "COMMIT",
	/* Changes nothing and writes a page all the same, so that there is something to sync. */
	[STATEMENT_TOUCH] = "PRAGMA user_version = " QUOTED(JOURNAL_SCHEMA),
	[STATEMENT_INSERT_TASKS] = "INSERT OR IGNORE INTO task (%s) SELECT * FROM batch_task",
	[STATEMENT_INSERT_ATTEMPTS] = "INSERT OR REPLACE INTO attempt (%s) SELECT * FROM batch_attempt",
	[STATEMENT_UPDATE_LIVE] = UPDATE_TASK "state < 4",
	[STATEMENT_UPDATE_ENDED] = UPDATE_TASK "state >= 4",
	[STATEMENT_DELETE_LIVE] = "DELETE FROM task WHERE id = ?1 AND state < 4",
	[STATEMENT_DELETE_ENDED] = "DELETE FROM task WHERE id = ?1 AND state >= 4",
	[STATEMENT_DELETE_ATTEMPTS] = "DELETE FROM attempt WHERE task = ?1",
	[STATEMENT_INSERT_LINE] = "INSERT OR REPLACE INTO task_log (task, attempt, seq, at_ms, level, text) "
	    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[STATEMENT_DELETE_LINES] = "DELETE FROM task_log WHERE task = ?1",
	[STATEMENT_LOAD_WAITING] = "SELECT %s " FROM_WAITING " AND queue = ?1 AND (due_ms, id) > (?2, ?3) "
	    "AND due_ms <= ?4 ORDER BY due_ms, id",
	[STATEMENT_LOAD_TASK] = "SELECT %s FROM task WHERE id = ?1",
	[STATEMENT_LOAD_RUNNING] = "SELECT %s " FROM_RUNNING " AND id > ?1 ORDER BY id",
	[STATEMENT_LOAD_BLOCKED] = "SELECT %s " FROM_BLOCKED " AND id > ?1 ORDER BY id",
	[STATEMENT_STATE] = "SELECT state FROM task WHERE id = ?1",
	[STATEMENT_COUNT_WAITING] = "SELECT " COUNTS ", min(due_ms) " FROM_WAITING " GROUP BY queue",
	[STATEMENT_COUNT_BLOCKED] = "SELECT " COUNTS ", 0 " FROM_BLOCKED " GROUP BY queue",
	[STATEMENT_COUNT_RUNNING] = "SELECT " COUNTS ", 0 " FROM_RUNNING " GROUP BY queue",
	[STATEMENT_COUNT_ENDED] = "SELECT count(*) " FROM_ENDED,
	[STATEMENT_COUNT_DEAD] = "SELECT count(*) FROM task INDEXED BY task_failed WHERE state > 4 AND state = 5",
	/* From each queue to the next, without reading what lies between. */
	[STATEMENT_QUEUES] = "WITH RECURSIVE found(queue) AS (SELECT min(queue) " FROM_WAITING " UNION ALL "
	    "SELECT (SELECT min(queue) " FROM_WAITING " AND queue > found.queue) FROM found "
	    "WHERE found.queue IS NOT NULL) SELECT queue FROM found WHERE queue IS NOT NULL",
	[STATEMENT_PAUSE] = "INSERT OR REPLACE INTO queue (name, paused) VALUES (?1, 1)",
	[STATEMENT_RESUME] = "DELETE FROM queue WHERE name = ?1",
	[STATEMENT_PAUSED] = "SELECT name FROM queue WHERE paused",
	[STATEMENT_HISTORY_READ] = "SELECT " HISTORY_LIST " FROM history WHERE span = ?1 AND at_ms = ?2",
	[STATEMENT_HISTORY_WRITE] = "INSERT OR REPLACE INTO history (" HISTORY_LIST
	    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
	[STATEMENT_HISTORY_PRUNE] = "DELETE FROM history WHERE span = ?1 AND at_ms < ?2",
	[STATEMENT_OLDEST_ENDED] = "SELECT ended_ms " FROM_ENDED " ORDER BY ended_ms, id LIMIT 1",
	[STATEMENT_RETAIN_DEAD] = "SELECT id, flags FROM task WHERE id IN (SELECT id FROM (SELECT id, state "
	    OLDEST_ENDED ") WHERE state = 5)",
	[STATEMENT_RETAIN_LINES] = "DELETE FROM task_log WHERE task IN (SELECT id " OLDEST_ENDED ")",
	[STATEMENT_RETAIN_ATTEMPTS] = "DELETE FROM attempt WHERE task IN (SELECT id " OLDEST_ENDED ")",
	[STATEMENT_RETAIN_TASKS] = "DELETE FROM task WHERE id IN (SELECT id " OLDEST_ENDED ")",
};

int journal_rows_run(sqlite3_stmt *statement)
{
	sqlite3_step(statement);
	return sqlite3_reset(statement);
}

int journal_rows_number(sqlite3_stmt *statement, int64_t *value)
{
	if (sqlite3_step(statement) == SQLITE_ROW)
		*value = sqlite3_column_int64(statement, 0);
	return sqlite3_reset(statement);
}

static void bind_id(sqlite3_stmt *statement, int at, const struct tr_id *id)
{
	/* Cannot fail: the index is one of the statement's, and nothing is copied. */
	sqlite3_bind_blob(statement, at, id->bytes, sizeof id->bytes, SQLITE_STATIC);
}

int journal_rows_open(struct journal_db *db)
{
	int code = journal_table_register(db);

	for (int i = 0; i < STATEMENTS && code == SQLITE_OK; i++) {
		char *text = sqlite3_mprintf(sql[i], i == STATEMENT_INSERT_ATTEMPTS ? journal_attempt_columns :
		    journal_task_columns);
		code = text == NULL ? SQLITE_NOMEM : sqlite3_prepare_v3(db->connection, text, -1,
		    SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL);
		sqlite3_free(text);
	}
	return code;
}

/* *state stays when the journal has no such task. An SQLite code. */
static int read_state(struct journal_db *db, const struct tr_id *id, int64_t *state)
{
	bind_id(db->statements[STATEMENT_STATE], 1, id);
	return journal_rows_number(db->statements[STATEMENT_STATE], state);
}

/* ---- writing ----------------------------------------------------------------------------- */

static int insert_tasks(struct journal_db *db, const struct journal_batch *batch, struct journal_tally *tally)
{
	if (batch->inserts.count == 0)
		return SQLITE_OK;
	int code = journal_rows_run(db->statements[STATEMENT_INSERT_TASKS]);
	for (size_t i = 0; i < batch->inserts.count; i++) {
		tally->ended += tr_state_is_ended(batch->inserts.at[i].state.state);
		tally->dead += batch->inserts.at[i].state.state == TR_DEAD;
	}
	/* Some ids were there already, nobody knows which: then what was added here is not right. */
	if ((size_t)sqlite3_changes(db->connection) != batch->inserts.count)
		tally->unsure = true;
	return code;
}

static void bind_change(sqlite3_stmt *statement, const struct journal_change *change)
{
	const struct journal_state *state = &change->state;

	bind_id(statement, 1, &change->id);
	sqlite3_bind_int(statement, 2, (int)state->state);
	sqlite3_bind_int(statement, 3, state->blocked);
	sqlite3_bind_int(statement, 4, state->cancel_wanted);
	sqlite3_bind_int(statement, 5, state->deciding);
	sqlite3_bind_int(statement, 6, state->failure_kind);
	sqlite3_bind_int(statement, 7, state->permanent);
	sqlite3_bind_int64(statement, 8, state->attempt);
	sqlite3_bind_int64(statement, 9, state->failures);
	sqlite3_bind_int64(statement, 10, state->due_ms);
	sqlite3_bind_int64(statement, 11, state->started_ms);
	sqlite3_bind_int64(statement, 12, state->ended_ms);
	sqlite3_bind_text(statement, 13, state->error, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 14, state->result, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 15, state->log_lines);
	sqlite3_bind_int64(statement, 16, state->commanded_ns);
}

/* The task is live nearly always, so the counts of ended ones are kept without reading it first. */
static int update_task(struct journal_db *db, struct journal_change *change, struct journal_tally *tally)
{
	bool ends = tr_state_is_ended(change->state.state), dies = change->state.state == TR_DEAD;
	int64_t before = TR_STATES;

	change->missed = false;
	bind_change(db->statements[STATEMENT_UPDATE_LIVE], change);
	int code = journal_rows_run(db->statements[STATEMENT_UPDATE_LIVE]);
	if (code != SQLITE_OK)
		return code;
	if (sqlite3_changes(db->connection) > 0) {
		tally->ended += ends;
		tally->dead += dies;
		return SQLITE_OK;
	}
	code = read_state(db, &change->id, &before);
	change->missed = before == TR_STATES;
	if (code != SQLITE_OK || change->missed)
		return code;
	bind_change(db->statements[STATEMENT_UPDATE_ENDED], change);
	code = journal_rows_run(db->statements[STATEMENT_UPDATE_ENDED]);
	tally->ended -= !ends;
	tally->dead += dies - (before == TR_DEAD);
	return code;
}

static int delete_task(struct journal_db *db, const struct tr_id *id, struct journal_tally *tally)
{
	int64_t before = TR_STATES;

	bind_id(db->statements[STATEMENT_DELETE_ATTEMPTS], 1, id);
	int code = journal_rows_run(db->statements[STATEMENT_DELETE_ATTEMPTS]);
	bind_id(db->statements[STATEMENT_DELETE_LINES], 1, id);
	if (code == SQLITE_OK)
		code = journal_rows_run(db->statements[STATEMENT_DELETE_LINES]);
	if (code != SQLITE_OK)
		return code;
	bind_id(db->statements[STATEMENT_DELETE_LIVE], 1, id);
	code = journal_rows_run(db->statements[STATEMENT_DELETE_LIVE]);
	if (code != SQLITE_OK || sqlite3_changes(db->connection) > 0)
		return code;
	code = read_state(db, id, &before);
	if (code != SQLITE_OK || before == TR_STATES)
		return code;
	bind_id(db->statements[STATEMENT_DELETE_ENDED], 1, id);
	code = journal_rows_run(db->statements[STATEMENT_DELETE_ENDED]);
	tally->ended--;
	tally->dead -= before == TR_DEAD;
	return code;
}

static int insert_line(struct journal_db *db, const struct journal_line *line)
{
	sqlite3_stmt *statement = db->statements[STATEMENT_INSERT_LINE];

	bind_id(statement, 1, &line->id);
	sqlite3_bind_int64(statement, 2, line->attempt);
	sqlite3_bind_int64(statement, 3, line->number);
	sqlite3_bind_int64(statement, 4, line->at_ms);
	sqlite3_bind_int(statement, 5, line->level);
	sqlite3_bind_text(statement, 6, line->text, -1, SQLITE_STATIC);
	return journal_rows_run(statement);
}

static int pause_queue(struct journal_db *db, const struct journal_pause *pause)
{
	sqlite3_stmt *statement = db->statements[pause->paused ? STATEMENT_PAUSE : STATEMENT_RESUME];

	sqlite3_bind_text(statement, 1, pause->queue, -1, SQLITE_STATIC);
	return journal_rows_run(statement);
}

int journal_rows_write(struct journal_db *db, struct journal_batch *batch, struct journal_tally *tally)
{
	db->writing = batch;
	batch->updates.missed = 0;
	int code = insert_tasks(db, batch, tally);
	for (size_t i = 0; i < batch->updates.count && code == SQLITE_OK; i++) {
		code = update_task(db, &batch->updates.at[i], tally);
		batch->updates.missed += batch->updates.at[i].missed;
	}
	if (batch->attempts.count > 0 && code == SQLITE_OK)
		code = journal_rows_run(db->statements[STATEMENT_INSERT_ATTEMPTS]);
	for (size_t i = 0; i < batch->lines.count && code == SQLITE_OK; i++)
		code = insert_line(db, &batch->lines.at[i]);
	for (size_t i = 0; i < batch->deletes.count && code == SQLITE_OK; i++)
		code = delete_task(db, &batch->deletes.at[i], tally);
	for (size_t i = 0; i < batch->pauses.count && code == SQLITE_OK; i++)
		code = pause_queue(db, &batch->pauses.at[i]);
	for (size_t i = 0; i < batch->minutes.count && code == SQLITE_OK; i++)
		code = journal_history_write(db, &batch->minutes.at[i]);
	db->writing = NULL;
	return code;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* A column's text as a view into the row; false: out of memory. NULL stays NULL. */
static bool column_text(sqlite3_stmt *row, int column, struct record_text *text)
{
	bool none = sqlite3_column_type(row, column) == SQLITE_NULL;

	text->at = (const char *)sqlite3_column_text(row, column);
	text->bytes = (uint32_t)sqlite3_column_bytes(row, column);
	return none || text->at != NULL;
}

/* False: out of memory. *fault is NULL, or what is wrong with the row. */
static bool read_task(sqlite3_stmt *row, struct journal_task *task, const char **fault, struct tr_error *error)
{
	bool fits = true, memory = true;
	struct record_text text;

	memset(task, 0, sizeof *task);
	task->predecessor = TR_STATES;
	task->record.kind = RECORD_TASK;
	if (sqlite3_column_bytes(row, TASK_id) == sizeof task->record.id.bytes)
		memcpy(task->record.id.bytes, sqlite3_column_blob(row, TASK_id), sizeof task->record.id.bytes);
	else
		fits = false;
#define NUMBER(column, member) \
	task->member = (__typeof__(task->member))sqlite3_column_int64(row, TASK_##column); \
	fits = fits && (sqlite3_int64)task->member == sqlite3_column_int64(row, TASK_##column);
#define SPAN(column, member) memory = column_text(row, TASK_##column, &task->member) && memory;
#define STRING(column, member) \
	memory = column_text(row, TASK_##column, &text) && memory; \
	task->member = text.at;
#include "taskd/journal_columns.tbl"
	*fault = !fits || (unsigned)task->state.state >= TR_STATES ? "a number that is out of its range" :
	    record_check(&task->record, error);
	return memory;
}

static int bind_load(struct journal_db *db, const struct journal_load *load, sqlite3_stmt **statement)
{
	static const enum journal_statement of_kind[] = {
		[LOAD_WAITING] = STATEMENT_LOAD_WAITING,
		[LOAD_TASK] = STATEMENT_LOAD_TASK,
		[LOAD_RUNNING] = STATEMENT_LOAD_RUNNING,
		[LOAD_ORPHANS] = STATEMENT_LOAD_BLOCKED,
	};

	*statement = db->statements[of_kind[load->kind]];
	if (load->kind != LOAD_WAITING) {
		bind_id(*statement, 1, &load->after);
		return SQLITE_OK;
	}
	int code = sqlite3_bind_text(*statement, 1, load->queue, -1, SQLITE_STATIC);
	sqlite3_bind_int64(*statement, 2, load->after_due_ms);
	bind_id(*statement, 3, &load->after);
	sqlite3_bind_int64(*statement, 4, load->until_ms);
	return code;
}

/* Whether the blocked task's predecessor has ended or is unknown, and which of it. */
static int find_predecessor(struct journal_db *db, struct journal_task *task, bool *orphan)
{
	const struct tr_id before = id_step(&task->record.id, -1);
	int64_t state = TR_STATES;

	int code = read_state(db, &before, &state);
	task->predecessor = state >= 0 && state < TR_STATES ? (enum tr_state)state : TR_STATES;
	*orphan = task->predecessor == TR_STATES || tr_state_is_ended(task->predecessor);
	return code;
}

/* Takes the statement's row into the list, if it belongs there. An SQLite code. */
static int take_row(struct journal_db *db, struct journal_load *load, sqlite3_stmt *row)
{
	struct journal_task task;
	struct tr_error error;
	const char *fault;
	bool wanted = true;

	if (!read_task(row, &task, &fault, &error))
		return SQLITE_NOMEM;
	if (fault != NULL) {
		char id[TR_ID_TEXT_SIZE];
		log_event(LOG_ERR, "journal-row-invalid", "file=%s id=%s fault=%s", db->path,
		    tr_id_format(&task.record.id, id), fault);
		return SQLITE_OK;
	}
	int code = load->kind == LOAD_ORPHANS ? find_predecessor(db, &task, &wanted) : SQLITE_OK;
	if (code != SQLITE_OK || !wanted)
		return code;
	return task_rows_add(&load->rows, &load->texts, &task) ? SQLITE_OK : SQLITE_NOMEM;
}

bool journal_db_load(struct journal_db *db, struct journal_load *load)
{
	sqlite3_stmt *statement;
	int code = bind_load(db, load, &statement);

	while (code == SQLITE_OK && load->rows.count < load->limit) {
		int step = sqlite3_step(statement);
		if (step != SQLITE_ROW) {
			code = step;
			break;
		}
		code = take_row(db, load, statement);
	}
	if (code != SQLITE_OK && code != SQLITE_DONE) {
		journal_db_fault(db, code, &load->error);
		load->list.error = load->error.text;
	}
	sqlite3_reset(statement);
	load->list.tasks = load->rows.at;
	load->list.count = load->rows.count;
	load->list.more = load->rows.count == load->limit;
	return load->list.error == NULL;
}

/* Adds the row of one queue. An SQLite code. */
static int add_counts(sqlite3_stmt *row, struct journal_census *census)
{
	static const enum tr_state states[] = { TR_SCHEDULED, TR_QUEUED, TR_RUNNING, TR_RETRYING };
	struct record_text name;

	if (!column_text(row, 0, &name))
		return SQLITE_NOMEM;
	struct journal_queue_census *larger = realloc(census->queues, (census->queue_count + 1) * sizeof *larger);
	if (larger == NULL)
		return SQLITE_NOMEM;
	census->queues = larger;
	larger += census->queue_count;
	*larger = (struct journal_queue_census){ { 0 }, { 0 } };
	for (int i = 0; i < 4; i++) {
		larger->by_state[states[i]] = (uint64_t)sqlite3_column_int64(row, i + 1);
		census->by_state[states[i]] += larger->by_state[states[i]];
	}
	int64_t due_ms = sqlite3_column_int64(row, 5);
	if (due_ms > 0 && (census->oldest_due_ms == 0 || due_ms < census->oldest_due_ms))
		census->oldest_due_ms = due_ms;
	if (name.at == NULL || !record_name_ok(name.at, name.bytes))
		return SQLITE_OK; /* written by somebody else: no queue */
	memcpy(larger->name, name.at, name.bytes);
	census->queue_count++;
	return SQLITE_OK;
}

bool journal_db_census(struct journal_db *db, int64_t now_ms, struct journal_census *census, struct tr_error *error)
{
	static const enum journal_statement counts[] = { STATEMENT_COUNT_WAITING, STATEMENT_COUNT_BLOCKED,
		STATEMENT_COUNT_RUNNING };
	int code = SQLITE_OK;

	memset(census, 0, sizeof *census);
	for (size_t i = 0; i < sizeof counts / sizeof counts[0] && code == SQLITE_OK; i++) {
		sqlite3_stmt *statement = db->statements[counts[i]];
		int step;
		while ((step = sqlite3_step(statement)) == SQLITE_ROW && code == SQLITE_OK)
			code = add_counts(statement, census);
		sqlite3_reset(statement);
		if (code == SQLITE_OK && step != SQLITE_DONE)
			code = step;
	}
	if (code != SQLITE_OK) {
		journal_db_fault(db, code, error);
		free(census->queues);
		census->queues = NULL;
		census->queue_count = 0;
		return false;
	}
	if (census->oldest_due_ms > now_ms)
		census->oldest_due_ms = 0;
	return true;
}

bool journal_db_knows(struct journal_db *db, const struct tr_id *id, enum journal_knowing knowing)
{
	int64_t state = -1;

	/* When in doubt: nothing of a live task is removed, and no task is dropped. */
	if (read_state(db, id, &state) != SQLITE_OK)
		return knowing != KNOWS_AT_ALL;
	if (state < 0)
		return false;
	return knowing == KNOWS_AT_ALL || !tr_state_is_ended((enum tr_state)state) ||
	    (knowing == KNOWS_LIVE_OR_DEAD && state == TR_DEAD);
}

char *journal_db_names(struct journal_db *db, enum journal_statement which)
{
	sqlite3_stmt *statement = db->statements[which];
	struct record_text name;
	char *names = calloc(1, 1);
	size_t used = 0;

	while (names != NULL && sqlite3_step(statement) == SQLITE_ROW) {
		char *longer = NULL;
		/* No other name can be handed in; one from elsewhere must not end the list. */
		if (column_text(statement, 0, &name) && !record_name_ok(name.at, name.bytes))
			continue;
		if (name.at != NULL)
			longer = realloc(names, used + name.bytes + 2);
		if (longer == NULL) {
			free(names);
			names = NULL;
			break;
		}
		names = longer;
		memcpy(names + used, name.at, name.bytes + 1);
		used += name.bytes + 1;
		names[used] = 0;
	}
	if (sqlite3_reset(statement) != SQLITE_OK) {
		free(names);
		names = NULL;
	}
	return names;
}
