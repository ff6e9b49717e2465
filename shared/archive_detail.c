/*
 * All that the journal holds of one task, read from outside: detail.c asks here. Enters: an id. Leaves: the
 * task's record and its attempts; how many tasks are before it in its queue.
 */
#include "archive_db.h"

#include <stdlib.h>
#include <string.h>

#include "id.h"
#include "record.h"

/* Prepares and binds the id as ?1. An SQLite code; *row is NULL after an error. */
static int prepare(struct archive *archive, const char *sql, const struct tr_id *id, sqlite3_stmt **row)
{
	int code = sqlite3_prepare_v2(archive->connection, sql, -1, row, NULL);

	if (code == SQLITE_OK)
		sqlite3_bind_blob(*row, 1, id->bytes, sizeof id->bytes, SQLITE_STATIC);
	return code;
}

/* ---- the task ---------------------------------------------------------------------------- */

#define TASK_COLUMNS(COLUMN) \
	COLUMN(flags) COLUMN(place) COLUMN(places) COLUMN(on_failure) COLUMN(trace) COLUMN(backoff_base_ms) \
	COLUMN(backoff_cap_ms) COLUMN(soft_timeout_ms) COLUMN(hard_timeout_ms) COLUMN(run_at_ms) COLUMN(expires_at_ms) \
	COLUMN(args_bytes) COLUMN(args)
#define NAME(column) ", " #column
#define ENUM(column) TASK_##column,
enum task_column { TASK_id, TASK_COLUMNS(ENUM) };
static const char task_sql[] = "SELECT id" TASK_COLUMNS(NAME) " FROM task WHERE id = ?1";

static enum tr_result read_task(sqlite3_stmt *row, const struct tr_id *id, struct archive_detail *to)
{
	int64_t places = sqlite3_column_int64(row, TASK_places), place = sqlite3_column_int64(row, TASK_place);

	if (places < 1 || places > TR_BATCH_MAX || place < 0 || place >= places)
		return TR_SYSTEM; /* written by somebody else */
	struct tr_task_detail *shown = &to->shown;
	to->first = id_step(id, -(int)place);
	to->places = (uint16_t)places;
	to->flags = (uint8_t)sqlite3_column_int64(row, TASK_flags);
	shown->place = (size_t)place;
	shown->backoff_base_ms = (uint32_t)sqlite3_column_int64(row, TASK_backoff_base_ms);
	shown->backoff_cap_ms = (uint32_t)sqlite3_column_int64(row, TASK_backoff_cap_ms);
	shown->soft_timeout_ms = (uint32_t)sqlite3_column_int64(row, TASK_soft_timeout_ms);
	shown->hard_timeout_ms = (uint32_t)sqlite3_column_int64(row, TASK_hard_timeout_ms);
	shown->run_at_ms = sqlite3_column_int64(row, TASK_run_at_ms);
	shown->expires_at_ms = sqlite3_column_int64(row, TASK_expires_at_ms);
	shown->args_bytes = (uint32_t)sqlite3_column_int64(row, TASK_args_bytes);
	archive_copy_text(row, TASK_on_failure, shown->on_failure, sizeof shown->on_failure);
	archive_copy_text(row, TASK_trace, shown->trace, sizeof shown->trace);
	return archive_duplicate(row, TASK_args, &to->args) ? TR_OK : TR_NO_MEMORY;
}

/* ---- its attempts ------------------------------------------------------------------------ */

#define ATTEMPT_COLUMNS(COLUMN) \
	COLUMN(started_ms) COLUMN(ended_ms) COLUMN(worker_pid) COLUMN(exit_code) COLUMN(signal) COLUMN(peak_memory_kb) \
	COLUMN(outcome) COLUMN(message) COLUMN(verdict)
#define ATTEMPT_ENUM(column) ATTEMPT_##column,
enum attempt_column { ATTEMPT_attempt, ATTEMPT_COLUMNS(ATTEMPT_ENUM) };
static const char attempt_sql[] = "SELECT attempt" ATTEMPT_COLUMNS(NAME) " FROM attempt WHERE task = ?1 ORDER BY attempt DESC";

static void read_attempt(sqlite3_stmt *row, struct tr_attempt *to)
{
	*to = (struct tr_attempt){
		.number = (uint32_t)sqlite3_column_int64(row, ATTEMPT_attempt),
		.started_ms = sqlite3_column_int64(row, ATTEMPT_started_ms),
		.ended_ms = sqlite3_column_int64(row, ATTEMPT_ended_ms),
		.worker_pid = sqlite3_column_int(row, ATTEMPT_worker_pid),
		.exit_code = sqlite3_column_int(row, ATTEMPT_exit_code),
		.signal = sqlite3_column_int(row, ATTEMPT_signal),
		.peak_memory_kb = (uint64_t)sqlite3_column_int64(row, ATTEMPT_peak_memory_kb),
	};
	archive_copy_text(row, ATTEMPT_outcome, to->outcome, sizeof to->outcome);
	archive_copy_text(row, ATTEMPT_message, to->message, sizeof to->message);
	archive_copy_text(row, ATTEMPT_verdict, to->verdict, sizeof to->verdict);
}

/* The last ones, put into their order. An SQLite code. */
static int read_attempts(struct archive *archive, const struct tr_id *id, struct tr_attempt *attempts, size_t *count)
{
	sqlite3_stmt *row;
	int code = prepare(archive, attempt_sql, id, &row);

	*count = 0;
	while (code == SQLITE_OK && *count < TR_ATTEMPTS_SHOWN_MAX) {
		int step = sqlite3_step(row);
		if (step != SQLITE_ROW) {
			code = step;
			break;
		}
		read_attempt(row, &attempts[(*count)++]);
	}
	sqlite3_finalize(row);
	for (size_t i = 0; i < *count / 2; i++) {
		struct tr_attempt other = attempts[i];
		attempts[i] = attempts[*count - 1 - i];
		attempts[*count - 1 - i] = other;
	}
	return code == SQLITE_DONE ? SQLITE_OK : code;
}

enum tr_result archive_detail(struct archive *archive, const struct tr_id *id, struct archive_detail *to)
{
	enum tr_result result = archive_connect(archive);
	sqlite3_stmt *row;

	if (result != TR_OK)
		return result;
	int code = prepare(archive, task_sql, id, &row);
	if (code == SQLITE_OK)
		code = sqlite3_step(row);
	if (code == SQLITE_ROW)
		result = read_task(row, id, to);
	sqlite3_finalize(row);
	if (code != SQLITE_ROW)
		return archive_no_row(archive, code);
	if (result != TR_OK)
		return result;
	code = read_attempts(archive, id, to->shown.attempts, &to->shown.attempt_count);
	return code == SQLITE_OK ? TR_OK : archive_no_row(archive, code);
}

enum tr_result archive_count_before(struct archive *archive, const char *queue, int64_t due_ms, const struct tr_id *id,
    uint64_t most, uint64_t *count)
{
	enum tr_result result = archive_connect(archive);
	sqlite3_stmt *row;

	*count = 0;
	if (result != TR_OK)
		return result;
	/* Word for word as in the index of taskd/journal_schema.c. */
	int code = prepare(archive, "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_waiting WHERE state < 4 AND "
	    "state <> 2 AND NOT blocked AND queue = ?2 AND (due_ms, id) < (?3, ?1) LIMIT ?4)", id, &row);
	if (code == SQLITE_OK) {
		sqlite3_bind_text(row, 2, queue, -1, SQLITE_STATIC);
		sqlite3_bind_int64(row, 3, due_ms);
		sqlite3_bind_int64(row, 4, (sqlite3_int64)most);
		code = sqlite3_step(row);
	}
	if (code == SQLITE_ROW)
		*count = (uint64_t)sqlite3_column_int64(row, 0);
	sqlite3_finalize(row);
	return code == SQLITE_ROW ? TR_OK : archive_no_row(archive, code);
}
