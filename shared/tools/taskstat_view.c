/*
 * How a board stands now: the selection of names, the fields of a histogram, and how taskd is, as
 * far as its heartbeat and the lock on its board tell. Called by every form of output.
 */
#include "shared/clock.h"
#include "shared/tools/taskstat.h"

#include <fnmatch.h>
#include <stdio.h>

/* ---- what is selected -------------------------------------------------------------------- */

static bool matches(const struct globs *globs, const char *name)
{
	for (size_t i = 0; i < globs->count; i++)
		if (fnmatch(globs->of[i], name, 0) == 0)
			return true;
	return false;
}

static bool is_included(const struct selection *selection, const char *name)
{
	return selection->include.count == 0 || matches(&selection->include, name);
}

bool is_selected(const struct selection *selection, const char *name)
{
	return is_included(selection, name) && !matches(&selection->exclude, name);
}

bool is_field_selected(const struct selection *selection, const char *name, const char *field)
{
	char whole[128];
	int bytes = snprintf(whole, sizeof whole, "%s.%s", name, field);
	bool fits = bytes > 0 && (size_t)bytes < sizeof whole;

	if (matches(&selection->exclude, name) || (fits && matches(&selection->exclude, whole)))
		return false;
	return is_included(selection, name) || (fits && is_included(selection, whole));
}

bool selects_something(const struct selection *selection)
{
	for (size_t i = 0; i < STATS; i++)
		if (is_selected(selection, stat_info[i].name))
			return true;
	for (size_t i = 0; i < HISTS; i++)
		for (size_t k = 0; k < HIST_FIELDS; k++)
			if (is_field_selected(selection, hist_info[i].name, hist_fields[k].name))
				return true;
	return false;
}

/* ---- the board --------------------------------------------------------------------------- */

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static uint64_t read_count(const struct hist *hist) { return load(&hist->count); }
static uint64_t read_sum(const struct hist *hist) { return load(&hist->sum); }
static uint64_t read_max(const struct hist *hist) { return load(&hist->max); }
static uint64_t read_p50(const struct hist *hist) { return hist_quantile(hist, 500); }
static uint64_t read_p99(const struct hist *hist) { return hist_quantile(hist, 990); }
static uint64_t read_p999(const struct hist *hist) { return hist_quantile(hist, 999); }

const struct hist_field hist_fields[HIST_FIELDS] = {
	{ "count", true, "Number of values", read_count },
	{ "sum", false, "Sum", read_sum },
	{ "max", false, "Maximum", read_max },
	{ "p50", false, "Median", read_p50 },
	{ "p99", false, "99 % are at most this", read_p99 },
	{ "p99.9", false, "99.9 % are at most this", read_p999 },
};

double counter_rate(const struct view *view, enum stat_row row)
{
	return board_rate(view->board, row, view->seconds);
}

void view_look(struct view *view)
{
	view->now_ms = clock_ms(CLOCK_REALTIME);
	view->seen_ms = atomic_load_explicit(&view->board->heartbeat_ms, memory_order_relaxed);
	view->started_ms = atomic_load_explicit(&view->board->started_ms, memory_order_relaxed);
	view->pid = atomic_load_explicit(&view->board->pid, memory_order_relaxed);
	view->life = board_life_of(view->board, view->instance, view->now_ms);
	view->seconds = board_seconds(view->board, view->life, view->now_ms);
}
