/* taskstat's columns: -1 (a view in, one line for each value out) and -l (the tables in). */
#include "shared/tools/taskstat.h"

#include <inttypes.h>
#include <stdio.h>

/* Wide enough for each name with its field; longer ones only lose their alignment. */
#define NAME_WIDTH 24

static void print_row(const char *name, uint64_t value, const char *rate, const char *unit)
{
	printf("%-*s %20" PRIu64 " %14s  %-9s ", NAME_WIDTH, name, value, rate, unit);
}

void print_text(const struct view *view)
{
	const struct board *board = view->board;
	char text[128];

	for (unsigned i = 0; i < STATS; i++) {
		if (!is_selected(&view->selection, stat_info[i].name))
			continue;
		snprintf(text, sizeof text, "%.1f", counter_rate(view, (enum stat_row)i));
		print_row(stat_info[i].name, atomic_load_explicit(&board->stats[i], memory_order_relaxed),
		    stat_info[i].kind == COUNTER ? text : "-", stat_info[i].unit);
		printf("%s\n", stat_info[i].text);
	}
	for (unsigned i = 0; i < HISTS; i++) {
		for (unsigned k = 0; k < HIST_FIELDS; k++) {
			const struct hist_field *field = &hist_fields[k];
			if (!is_field_selected(&view->selection, hist_info[i].name, field->name))
				continue;
			snprintf(text, sizeof text, "%s.%s", hist_info[i].name, field->name);
			print_row(text, field->read(&board->hists[i]), "-", field->is_count ? "values" : hist_info[i].unit);
			printf("%s: %s\n", field->says, hist_info[i].text);
		}
	}
}

void print_list(const struct selection *selection)
{
	for (unsigned i = 0; i < STATS; i++)
		if (is_selected(selection, stat_info[i].name))
			printf("%-*s %-9s  %-9s %s\n", NAME_WIDTH, stat_info[i].name,
			    stat_info[i].kind == COUNTER ? "counter" : "gauge", stat_info[i].unit, stat_info[i].text);
	for (unsigned i = 0; i < HISTS; i++)
		if (is_selected(selection, hist_info[i].name))
			printf("%-*s %-9s  %-9s %s\n", NAME_WIDTH, hist_info[i].name, "histogram",
			    hist_info[i].unit, hist_info[i].text);
}
