/* See openmetrics.h. Enters: a board. Leaves: text, one line a sample, each family with help and type. */
#include "openmetrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

char *metrics_text(const struct board *board, bool up, enum metrics_format format)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *to = open_memstream(&text, &bytes);

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
	}
	if (format == METRICS_OPENMETRICS)
		fputs("# EOF\n", to);
	bool written = ferror(to) == 0;
	if (fclose(to) == 0 && written)
		return text;
	free(text);
	return NULL;
}
