/*
 * The journal's table `history`. Enters: what happened since the last row, of a minute. Leaves: that minute's row and its
 * hour's, each with it added; rows that are too old are gone. Called by journal_rows.c, inside a transaction: a
 * commit that fails and is tried again counts nothing twice.
 */
#include "taskd/journal_db.h"

#include <sqlite3.h>
#include <string.h>

#define MINUTE_MS 60000ll
#define HOUR_MS 3600000ll
#define MINUTES_KEPT_MS (2 * 24 * HOUR_MS)
#define HOURS_KEPT_MS (366 * 24 * HOUR_MS)

static void add_hist(sqlite3_stmt *statement, int column, uint64_t buckets[HIST_BUCKETS])
{
	const void *packed = sqlite3_column_blob(statement, column);

	/* One that somebody has edited counts as far as it makes sense. */
	hist_unpack(packed, (size_t)sqlite3_column_bytes(statement, column), buckets);
}

/* Adds to `row` what the table holds of its span already. An SQLite code. */
static int add_old(struct journal_db *db, enum tr_span span, struct journal_history *row)
{
	sqlite3_stmt *statement = db->statements[STATEMENT_HISTORY_READ];

	sqlite3_bind_int(statement, 1, (int)span);
	sqlite3_bind_int64(statement, 2, row->at_ms);
	if (sqlite3_step(statement) == SQLITE_ROW) {
#define SUM(name) row->name += (uint64_t)sqlite3_column_int64(statement, HISTORY_##name);
		HISTORY_SUMS(SUM)
#undef SUM
		uint64_t oldest_wait_ms = (uint64_t)sqlite3_column_int64(statement, HISTORY_oldest_wait_ms);
		if (oldest_wait_ms > row->oldest_wait_ms)
			row->oldest_wait_ms = oldest_wait_ms;
		add_hist(statement, HISTORY_wait, row->wait);
		add_hist(statement, HISTORY_run, row->run);
	}
	return sqlite3_reset(statement);
}

static int write_span(struct journal_db *db, enum tr_span span, const struct journal_history *row)
{
	sqlite3_stmt *statement = db->statements[STATEMENT_HISTORY_WRITE];
	uint8_t wait[HIST_PACKED_MAX], run[HIST_PACKED_MAX];

	/* A column's parameter is its place, counted from 1. */
	sqlite3_bind_int(statement, HISTORY_span + 1, (int)span);
	sqlite3_bind_int64(statement, HISTORY_at_ms + 1, row->at_ms);
#define SUM(name) sqlite3_bind_int64(statement, HISTORY_##name + 1, (sqlite3_int64)row->name);
	HISTORY_SUMS(SUM)
#undef SUM
	sqlite3_bind_int64(statement, HISTORY_waiting + 1, (sqlite3_int64)row->waiting);
	sqlite3_bind_int64(statement, HISTORY_running + 1, (sqlite3_int64)row->running);
	sqlite3_bind_int64(statement, HISTORY_oldest_wait_ms + 1, (sqlite3_int64)row->oldest_wait_ms);
	sqlite3_bind_blob(statement, HISTORY_wait + 1, wait, (int)hist_pack(row->wait, wait), SQLITE_STATIC);
	sqlite3_bind_blob(statement, HISTORY_run + 1, run, (int)hist_pack(row->run, run), SQLITE_STATIC);
	int code = journal_rows_run(statement);
	sqlite3_clear_bindings(statement); /* the blobs are ours */
	return code;
}

static int prune(struct journal_db *db, enum tr_span span, int64_t before_ms)
{
	sqlite3_stmt *statement = db->statements[STATEMENT_HISTORY_PRUNE];

	sqlite3_bind_int(statement, 1, (int)span);
	sqlite3_bind_int64(statement, 2, before_ms);
	return journal_rows_run(statement);
}

int journal_history_write(struct journal_db *db, const struct journal_history *minute)
{
	static const struct {
		enum tr_span span;
		int64_t ms, kept_ms;
	} spans[] = { { TR_MINUTE, MINUTE_MS, MINUTES_KEPT_MS }, { TR_HOUR, HOUR_MS, HOURS_KEPT_MS } };
	int code = SQLITE_OK;

	for (size_t i = 0; i < sizeof spans / sizeof spans[0] && code == SQLITE_OK; i++) {
		struct journal_history row = *minute;
		row.at_ms -= row.at_ms % spans[i].ms;
		code = add_old(db, spans[i].span, &row);
		if (code == SQLITE_OK)
			code = write_span(db, spans[i].span, &row);
		if (code == SQLITE_OK)
			code = prune(db, spans[i].span, row.at_ms - spans[i].kept_ms);
	}
	return code;
}
