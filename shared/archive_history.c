/* The journal's table `history`, read from outside. Enters: a span and its bounds. Leaves: rows with their percentiles. */
#include "archive_db.h"

#include <string.h>

#include "hist.h"

static const char sql[] = "SELECT " HISTORY_LIST " FROM history WHERE span = ?1 AND at_ms >= ?2 AND at_ms < ?3 "
    "ORDER BY at_ms LIMIT ?4";

static void read_hist(sqlite3_stmt *row, int column, uint64_t *p50_ns, uint64_t *p99_ns, uint64_t *p999_ns)
{
	uint64_t buckets[HIST_BUCKETS] = { 0 };
	const void *packed = sqlite3_column_blob(row, column);

	hist_unpack(packed, (size_t)sqlite3_column_bytes(row, column), buckets);
	*p50_ns = hist_buckets_quantile(buckets, 500);
	*p99_ns = hist_buckets_quantile(buckets, 990);
	*p999_ns = hist_buckets_quantile(buckets, 999);
}

static void read_row(sqlite3_stmt *row, struct tr_history_row *to)
{
	*to = (struct tr_history_row){ .at_ms = sqlite3_column_int64(row, HISTORY_at_ms) };
#define SUM(name) to->name = (uint64_t)sqlite3_column_int64(row, HISTORY_##name);
	HISTORY_SUMS(SUM)
#undef SUM
	to->waiting = (uint64_t)sqlite3_column_int64(row, HISTORY_waiting);
	to->running = (uint64_t)sqlite3_column_int64(row, HISTORY_running);
	to->oldest_wait_ms = (uint64_t)sqlite3_column_int64(row, HISTORY_oldest_wait_ms);
	read_hist(row, HISTORY_wait, &to->wait_p50_ns, &to->wait_p99_ns, &to->wait_p999_ns);
	read_hist(row, HISTORY_run, &to->run_p50_ns, &to->run_p99_ns, &to->run_p999_ns);
}

enum tr_result archive_history(struct archive *archive, enum tr_span span, int64_t from_ms, int64_t to_ms,
    struct tr_history_row *rows, size_t limit, size_t *count)
{
	enum tr_result result = archive_connect(archive);
	sqlite3_stmt *row = NULL;

	*count = 0;
	if (result != TR_OK)
		return result;
	int code = sqlite3_prepare_v2(archive->connection, sql, -1, &row, NULL);
	if (code == SQLITE_OK) {
		sqlite3_bind_int(row, 1, (int)span);
		sqlite3_bind_int64(row, 2, from_ms);
		sqlite3_bind_int64(row, 3, to_ms);
		sqlite3_bind_int64(row, 4, (sqlite3_int64)limit);
		while (*count < limit && (code = sqlite3_step(row)) == SQLITE_ROW)
			read_row(row, &rows[(*count)++]);
	}
	sqlite3_finalize(row);
	if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE)
		return TR_OK;
	*count = 0;
	return archive_no_row(archive, code);
}
