/* See openmetrics.h. Enters: a board. Leaves: text, one line a sample, each family with help and type. */
#include "openmetrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/*
 * Of the histograms' fine buckets these are shown: each fourth power of two from 1 us to over an hour,
 * which a board's buckets end at exactly.
 */
#define BUCKET_FIRST 10
#define BUCKET_LAST 42
#define BUCKET_STEP 2

const char *metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
					       "text/plain; version=0.0.4; charset=utf-8";
}

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* ---- names ------------------------------------------------------------------------------- */

/* What a unit of the table is in base units, and the ending of the name that says the unit. */
static const struct unit {
	const char *unit, *ending, *base;
	double scale;
} units[] = {
	{ "ns", "_ns", "seconds", 1e-9 },
	{ "ms", "_ms", "seconds", 1e-3 },
	{ "bytes", "_bytes", "bytes", 1 },
};

static const struct unit *unit_of(const struct stat_info *info)
{
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(units[i].unit, info->unit) == 0)
			return &units[i];
	return NULL;
}

struct family {
	char name[96]; /* without _total */
	double scale;
	const char *unit; /* NULL: it counts things */
};

static struct family family_of(const struct stat_info *info)
{
	const struct unit *unit = unit_of(info);
	struct family family = { .scale = unit != NULL ? unit->scale : 1, .unit = unit != NULL ? unit->base : NULL };
	size_t bytes = strlen(info->name);

	if (unit != NULL && bytes > strlen(unit->ending) && strcmp(info->name + bytes - strlen(unit->ending), unit->ending) == 0)
		bytes -= strlen(unit->ending);
	snprintf(family.name, sizeof family.name, "taskring_%.*s%s%s", (int)bytes, info->name, unit != NULL ? "_" : "",
	    unit != NULL ? unit->base : "");
	return family;
}

static void put_head(FILE *to, const struct family *family, const char *type, const char *text,
    enum metrics_format format)
{
	/* Before OpenMetrics a counter's family had its samples' name. */
	const char *ending = format == METRICS_TEXT && strcmp(type, "counter") == 0 ? "_total" : "";

	fprintf(to, "# HELP %s%s %s.\n# TYPE %s%s %s\n", family->name, ending, text, family->name, ending, type);
	if (format == METRICS_OPENMETRICS && family->unit != NULL)
		fprintf(to, "# UNIT %s %s\n", family->name, family->unit);
}

/* ---- families ---------------------------------------------------------------------------- */

static void put_number(FILE *to, uint64_t value, double scale)
{
	if (scale < 1)
		fprintf(to, " %.9g\n", (double)value * scale);
	else
		fprintf(to, " %" PRIu64 "\n", value);
}

static void put_stat(FILE *to, const struct board *board, enum stat_row row, enum metrics_format format)
{
	const struct stat_info *info = &stat_info[row];
	const struct family family = family_of(info);
	bool counts = info->kind == COUNTER;

	put_head(to, &family, counts ? "counter" : "gauge", info->text, format);
	fprintf(to, "%s%s", family.name, counts ? "_total" : "");
	put_number(to, load(&board->stats[row]), family.scale);
}

static void put_hist(FILE *to, const struct board *board, enum stat_hist row, enum metrics_format format)
{
	const struct hist *hist = &board->hists[row];
	const struct family family = family_of(&hist_info[row]);
	uint64_t seen = 0, total = 0;
	unsigned bucket = 0;

	put_head(to, &family, "histogram", hist_info[row].text, format);
	for (unsigned power = BUCKET_FIRST; power <= BUCKET_LAST; power += BUCKET_STEP) {
		uint64_t upper = (1ull << power) - 1;
		for (; bucket < HIST_BUCKETS && hist_bucket_upper(bucket) <= upper; bucket++)
			seen += load(&hist->buckets[bucket]);
		fprintf(to, "%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", family.name, (double)upper * family.scale, seen);
	}
	for (total = seen; bucket < HIST_BUCKETS; bucket++)
		total += load(&hist->buckets[bucket]);
	/* Not hist->count: it may be a step ahead of the buckets, and +Inf must equal it. */
	fprintf(to, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_count %" PRIu64 "\n%s_sum", family.name, total, family.name,
	    total, family.name);
	put_number(to, load(&hist->sum), family.scale);
}

static void put_gauge(FILE *to, const char *name, const char *unit, const char *text, double value,
    enum metrics_format format)
{
	struct family family = { .unit = unit };

	snprintf(family.name, sizeof family.name, "taskring_%s", name);
	put_head(to, &family, "gauge", text, format);
	fprintf(to, "%s %.13g\n", family.name, value);
}

/* ---- queues and handlers ----------------------------------------------------------------- */

/* Names as they are allowed need no escaping; what else is on the board must not break the text. */
static void put_label(FILE *to, const char *key, const char *value)
{
	fprintf(to, "{%s=\"", key);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", to);
		else if (*value == '"' || *value == '\\')
			fprintf(to, "\\%c", *value);
		else
			putc(*value, to);
	}
	fputs("\"", to);
}

struct row_metric {
	const char *name, *type, *text;
	size_t at; /* of a number in the row */
};

static uint64_t number_at(const void *row, size_t at)
{
	uint64_t number;

	memcpy(&number, (const char *)row + at, sizeof number);
	return number;
}

/* A family with a sample for each row. */
static void put_rows(FILE *to, const struct row_metric *metric, const char *key, const void *rows, size_t row_bytes,
    size_t name_at, size_t count, enum metrics_format format)
{
	struct family family = { .scale = 1 };

	snprintf(family.name, sizeof family.name, "taskring_%s", metric->name);
	put_head(to, &family, metric->type, metric->text, format);
	for (size_t i = 0; i < count; i++) {
		const char *row = (const char *)rows + i * row_bytes;
		fprintf(to, "%s%s", family.name, strcmp(metric->type, "counter") == 0 ? "_total" : "");
		put_label(to, key, row + name_at);
		fprintf(to, "} %" PRIu64 "\n", number_at(row, metric->at));
	}
}

static void put_queue_gauges(FILE *to, const struct board_queue *rows, size_t count, int64_t now_ms, enum metrics_format format)
{
	struct family paused = { .name = "taskring_queue_paused" };
	struct family oldest = { .name = "taskring_queue_oldest_wait_seconds", .unit = "seconds" };

	put_head(to, &paused, "gauge", "1 while the queue is paused", format);
	for (size_t i = 0; i < count; i++) {
		fputs(paused.name, to);
		put_label(to, "queue", rows[i].name);
		fprintf(to, "} %d\n", rows[i].paused ? 1 : 0);
	}
	put_head(to, &oldest, "gauge", "How long the queue's longest waiting due task has waited", format);
	for (size_t i = 0; i < count; i++) {
		int64_t wait_ms = rows[i].oldest_due_ms && now_ms > rows[i].oldest_due_ms ? now_ms - rows[i].oldest_due_ms : 0;
		fputs(oldest.name, to);
		put_label(to, "queue", rows[i].name);
		fprintf(to, "} %.13g\n", (double)wait_ms / 1000);
	}
}

static bool put_queues(FILE *to, const struct board *board, enum metrics_format format)
{
	static const struct row_metric metrics[] = {
		{ "queue_waiting", "gauge", "Tasks of the queue that are due, or blocked behind another", offsetof(struct board_queue, waiting) },
		{ "queue_running", "gauge", "Tasks of the queue that run", offsetof(struct board_queue, running) },
		{ "queue_scheduled", "gauge", "Tasks of the queue that wait for their time", offsetof(struct board_queue, scheduled) },
		{ "queue_retrying", "gauge", "Tasks of the queue that wait for their next attempt", offsetof(struct board_queue, retrying) },
		{ "queue_accepted", "counter", "New tasks of the queue", offsetof(struct board_queue, accepted) },
		{ "queue_ended", "counter", "Tasks of the queue that ended, however they did", offsetof(struct board_queue, ended) },
	};
	struct board_queue *rows = malloc(board->queues * sizeof *rows);
	size_t count = 0;

	if (rows == NULL)
		return false;
	for (uint32_t row = 0; row < board->queues; row++)
		count += board_copy_queue(board, row, &rows[count]);
	put_queue_gauges(to, rows, count, clock_ms(CLOCK_REALTIME), format);
	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
		put_rows(to, &metrics[i], "queue", rows, sizeof *rows, offsetof(struct board_queue, name), count, format);
	free(rows);
	return true;
}

static void put_runs(FILE *to, const struct board_handler *row, const char *family)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < BOARD_RUN_BUCKETS; i++) {
		seen += row->run[i];
		fprintf(to, "%s_bucket", family);
		put_label(to, "handler", row->name);
		if (i < BOARD_RUN_BUCKETS - 1)
			fprintf(to, ",le=\"%.9g\"} %" PRIu64 "\n", (double)board_run_limit_ns(i) * 1e-9, seen);
		else
			fprintf(to, ",le=\"+Inf\"} %" PRIu64 "\n", seen);
	}
	fprintf(to, "%s_count", family);
	put_label(to, "handler", row->name);
	fprintf(to, "} %" PRIu64 "\n%s_sum", seen, family);
	put_label(to, "handler", row->name);
	fprintf(to, "} %.9g\n", (double)row->run_sum_ns * 1e-9);
}

static bool put_handlers(FILE *to, const struct board *board, enum metrics_format format)
{
	static const struct row_metric metrics[] = {
		{ "handler_started", "counter", "Attempts of the handler that a worker began", offsetof(struct board_handler, started) },
		{ "handler_succeeded", "counter", "Attempts of the handler that succeeded", offsetof(struct board_handler, succeeded) },
		{ "handler_failed", "counter", "Attempts of the handler that failed, in whatever way", offsetof(struct board_handler, failed) },
	};
	struct family run = { .name = "taskring_handler_run_seconds", .unit = "seconds" };
	struct board_handler *rows = malloc(board->handlers * sizeof *rows);
	size_t count = 0;

	if (rows == NULL)
		return false;
	for (uint32_t row = 0; row < board->handlers; row++)
		count += board_copy_handler(board, row, &rows[count]);
	for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
		put_rows(to, &metrics[i], "handler", rows, sizeof *rows, offsetof(struct board_handler, name), count, format);
	put_head(to, &run, "histogram", "From the handler's start to its end, of attempts that ended by themselves", format);
	for (size_t i = 0; i < count; i++)
		put_runs(to, &rows[i], run.name);
	free(rows);
	return true;
}

char *metrics_text(const struct board *board, bool up, enum metrics_format format)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *to = open_memstream(&text, &bytes);

	bool memory = true;
	if (to == NULL)
		return NULL;
	put_gauge(to, "up", NULL, "1 while taskd runs and shows life, else 0", up, format);
	if (board != NULL) {
		put_gauge(to, "heartbeat_timestamp_seconds", "seconds", "When taskd last showed life, since 1970",
		    (double)atomic_load_explicit(&board->heartbeat_ms, memory_order_relaxed) / 1000, format);
		put_gauge(to, "start_timestamp_seconds", "seconds", "When this dispatcher started, since 1970",
		    (double)atomic_load_explicit(&board->started_ms, memory_order_relaxed) / 1000, format);
		for (unsigned i = 0; i < STATS; i++)
			put_stat(to, board, (enum stat_row)i, format);
		for (unsigned i = 0; i < HISTS; i++)
			put_hist(to, board, (enum stat_hist)i, format);
		memory = put_queues(to, board, format) && put_handlers(to, board, format);
	}
	if (format == METRICS_OPENMETRICS)
		fputs("# EOF\n", to);
	bool written = ferror(to) == 0 && memory;
	if (fclose(to) == 0 && written)
		return text;
	free(text);
	return NULL;
}
