/*
 * taskstat's full screen: taskstat_screen.c looks at the board each interval and reads keys;
 * taskstat_draw.c draws one of the pages below from what was seen.
 */
#ifndef TASKSTAT_SCREEN_H
#define TASKSTAT_SCREEN_H

#include "shared/tools/taskstat.h"

#define ROWS (STATS + HISTS * HIST_FIELDS)
#define AVERAGES 3 /* over 10, 100 and 1,000 intervals */
#define RANGES 16  /* of a histogram's bars */
#define FILTER_MAX 40

enum page { PAGE_COUNTERS, PAGE_WORKERS, PAGE_LATENCY, PAGE_QUEUES, PAGES };

/* One line of the counters' page. */
struct screen_row {
	char name[64];
	const char *says;    /* for a histogram's field, before `text` */
	const char *text, *unit;
	bool counts;         /* a counter: CHANGE and the averages are rates per second */
	uint64_t value, before;
	double change, average[AVERAGES];
};

struct screen {
	struct view *view;
	int interval_ms;
	enum page page;
	struct screen_row rows[ROWS];
	int shown[ROWS];      /* the rows that filter and hiding leave */
	int shown_count;
	int cursor, top;      /* of what the page lists */
	unsigned looks;       /* since the board was opened; averages begin with the second */
	double elapsed_s;     /* between the last two looks */
	bool hides_unseen;    /* rows that are zero */
	bool raw;             /* numbers as they are, without k, M, us */
	bool totals;          /* latency since the board was made, else since the screen began */
	bool typing_filter;
	char filter[FILTER_MAX + 1];
	uint64_t first[HISTS][RANGES]; /* as the screen found them */
};

/* How many of a histogram's values lie in each of its ranges of powers of four from 1 us on. */
void screen_ranges(const struct hist *hist, uint64_t counts[RANGES]);
/* Whether the section of that shown row begins with it. */
bool screen_begins_section(const struct screen *screen, int at);
/* The lines that a page may scroll over. */
int screen_lines(const struct screen *screen);
void screen_draw(const struct screen *screen);

#endif
