/*
 * taskstat --check: tests of single values in, the one line and the exit status that monitoring
 * plug-ins give out (monitoring-plugins.org, "Development Guidelines": status text, then
 * performance data after a bar).
 */
#include "shared/tools/taskstat.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789_."
#define LINE_MAX_BYTES 2048

static const struct {
	const char *name;
	double ns;
} time_units[] = { { "s", 1e9 }, { "ms", 1e6 }, { "us", 1e3 }, { "ns", 1 } };
#define TIME_UNITS (sizeof time_units / sizeof *time_units)

/* The index of a unit of time, or -1. */
static int time_unit(const char *name, size_t bytes)
{
	for (size_t i = 0; i < TIME_UNITS; i++)
		if (strlen(time_units[i].name) == bytes && memcmp(time_units[i].name, name, bytes) == 0)
			return (int)i;
	return -1;
}

/* A name without its unit of time: how many bytes, and the unit in *unit (-1: none). */
static size_t stem(const char *name, size_t bytes, int *unit)
{
	size_t at = bytes;

	*unit = -1;
	while (at > 0 && name[at - 1] != '_')
		at--;
	if (at > 1)
		*unit = time_unit(name + at, bytes - at);
	return *unit >= 0 ? at - 1 : bytes;
}

/* Whether `asked` means `name`: *scale then brings the board's value into the unit that was asked for. */
static bool means(const char *asked, size_t asked_bytes, const char *name, double *scale)
{
	int asked_unit, unit;
	size_t asked_stem = stem(asked, asked_bytes, &asked_unit);
	size_t name_stem = stem(name, strlen(name), &unit);

	if (asked_stem != name_stem || memcmp(asked, name, name_stem) != 0 || (unit < 0) != (asked_unit < 0))
		return false;
	*scale = unit < 0 ? 1 : time_units[unit].ns / time_units[asked_unit].ns;
	return true;
}

static bool find_stat(struct threshold *threshold, size_t bytes)
{
	static const char left_out[] = "task_";

	for (int i = 0; i < (int)STATS; i++) {
		const char *name = stat_info[i].name;
		bool short_form = strncmp(name, left_out, sizeof left_out - 1) == 0 &&
		    means(threshold->name, bytes, name + sizeof left_out - 1, &threshold->scale);
		if (short_form || means(threshold->name, bytes, name, &threshold->scale)) {
			threshold->stat = i;
			return true;
		}
	}
	return false;
}

static bool find_field(struct threshold *threshold, size_t bytes)
{
	const char *field = memchr(threshold->name, '.', bytes);

	if (field == NULL)
		return false;
	size_t hist_bytes = (size_t)(field - threshold->name);
	for (int i = 0; i < (int)HISTS; i++) {
		if (!means(threshold->name, hist_bytes, hist_info[i].name, &threshold->scale))
			continue;
		for (int k = 0; k < HIST_FIELDS; k++) {
			if (strcmp(field + 1, hist_fields[k].name) != 0)
				continue;
			threshold->stat = -1;
			threshold->hist = i;
			threshold->field = k;
			threshold->scale = hist_fields[k].is_count ? 1 : threshold->scale;
			return true;
		}
	}
	return false;
}

static bool refuse(const char *text, const char *why)
{
	fprintf(stderr, "taskstat: \"%s\": %s\n", text, why);
	return false;
}

bool threshold_read(struct threshold *threshold, const char *text, bool warns)
{
	static const char *const operators[] = { "<=", ">=", "==", "!=", "<", ">" };
	size_t bytes = strspn(text, NAME_CHARACTERS);
	const char *at = text + bytes;
	char *end;

	*threshold = (struct threshold){ .text = text, .warns = warns };
	if (bytes == 0 || bytes >= sizeof threshold->name)
		return refuse(text, "a test is NAME OP NUMBER, as in oldest_wait_s<30");
	memcpy(threshold->name, text, bytes);
	at += strspn(at, " ");
	for (size_t i = 0; i < sizeof operators / sizeof *operators && threshold->op[0] == '\0'; i++)
		if (strncmp(at, operators[i], strlen(operators[i])) == 0)
			memcpy(threshold->op, operators[i], strlen(operators[i]));
	if (threshold->op[0] == '\0')
		return refuse(text, "after the name one of < <= > >= == != is wanted");
	at += strlen(threshold->op);
	errno = 0;
	threshold->limit = strtod(at, &end);
	if (end == at || *end != '\0' || errno != 0 || !isfinite(threshold->limit))
		return refuse(text, "after the operator a number is wanted");
	if (!find_stat(threshold, bytes) && !find_field(threshold, bytes))
		return refuse(text, "nothing has such a name; taskstat -l lists all (of a histogram: NAME.p99)");
	return true;
}

/* ---- checking ---------------------------------------------------------------------------- */

static double value_of(const struct threshold *threshold, const struct board *board)
{
	uint64_t value = threshold->stat >= 0 ?
	    atomic_load_explicit(&board->stats[threshold->stat], memory_order_relaxed) :
	    hist_fields[threshold->field].read(&board->hists[threshold->hist]);

	return (double)value * threshold->scale;
}

static bool holds(const struct threshold *threshold, double value)
{
	bool equals = value >= threshold->limit && value <= threshold->limit;

	switch (threshold->op[0]) {
	case '<':
		return value < threshold->limit || (threshold->op[1] == '=' && equals);
	case '>':
		return value > threshold->limit || (threshold->op[1] == '=' && equals);
	case '=':
		return equals;
	default:
		return !equals;
	}
}

static const char *const status_name[] = {
	[CHECK_OK] = "OK", [CHECK_WARNING] = "WARNING", [CHECK_CRITICAL] = "CRITICAL", [CHECK_UNKNOWN] = "UNKNOWN",
};

int thresholds_check(const struct threshold *thresholds, size_t count, const struct view *view, const char *why)
{
	char said[LINE_MAX_BYTES] = "", data[LINE_MAX_BYTES] = "";
	int status = CHECK_OK;

	if (view == NULL || (view->life != TASKD_RUNNING && view->life != TASKD_DRAINING)) {
		printf("TASKRING %s - %s%s\n", status_name[CHECK_CRITICAL], view == NULL ? why : "taskd: ",
		    view == NULL ? "" : taskd_life_name[view->life]);
		return CHECK_CRITICAL;
	}
	for (size_t i = 0; i < count; i++) {
		const struct threshold *threshold = &thresholds[i];
		double value = value_of(threshold, view->board);
		bool well = holds(threshold, value);
		int level = threshold->warns ? CHECK_WARNING : CHECK_CRITICAL;
		if (!well && level > status)
			status = level;
		size_t said_bytes = strlen(said), data_bytes = strlen(data);
		snprintf(said + said_bytes, sizeof said - said_bytes, "%s%s=%.6g%s%s", i ? ", " : "", threshold->name,
		    value, well ? "" : ", not ", well ? "" : threshold->text + strlen(threshold->name));
		snprintf(data + data_bytes, sizeof data - data_bytes, " %s=%.6g", threshold->name, value);
	}
	printf("TASKRING %s - %s |%s\n", status_name[status], said, data);
	return status;
}
