/*
 * taskstat: what the board says, for people (a full screen, -1), programs (-j, -p), monitoring
 * (--check) and manuals (-l). taskstat.c reads the options, taskstat_view.c the board into a view;
 * one file per form of output prints it.
 */
#ifndef TASKSTAT_H
#define TASKSTAT_H

#include "shared/board.h"

/* The monitoring plug-ins' exit statuses; the other outputs use 0 to 2 for done, failed and usage. */
enum { CHECK_OK = 0, CHECK_WARNING = 1, CHECK_CRITICAL = 2, CHECK_UNKNOWN = 3 };
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define GLOBS_MAX 64

struct globs {
	size_t count;
	const char *of[GLOBS_MAX];
};

/* -f and -I: only these (none: all); -X: but not these. */
struct selection {
	struct globs include, exclude;
};

/* What is printed: the board and how it stood when taskstat looked. */
struct view {
	const struct board *board;
	const char *instance;
	struct selection selection;
	enum taskd_life life;
	int64_t now_ms, seen_ms; /* ms since 1970; seen: taskd's last sign of life */
	int64_t started_ms;      /* of the dispatcher */
	int32_t pid;
	double seconds;          /* that the dispatcher has counted: from its start to its last sign of life */
};

/* What is shown of a histogram: NAME.count and so on. */
struct hist_field {
	const char *name;
	bool is_count;    /* else it has the histogram's unit */
	const char *says; /* before the histogram's own description */
	uint64_t (*read)(const struct hist *hist);
};
#define HIST_FIELDS 6
extern const struct hist_field hist_fields[HIST_FIELDS];

bool is_selected(const struct selection *selection, const char *name);
/* By the histogram's name or by NAME.FIELD. */
bool is_field_selected(const struct selection *selection, const char *name, const char *field);
bool selects_something(const struct selection *selection);

/* Reads clock, heartbeat and lock; the board is open. */
void view_look(struct view *view);
/* Per second since the dispatcher's start, on average. */
double counter_rate(const struct view *view, enum stat_row row);

/* Each prints to standard output and leaves looking for write errors to its caller. */
void print_list(const struct selection *selection);
void print_text(const struct view *view);
bool print_json(const struct view *view);        /* false: out of memory, or writing failed */
bool print_openmetrics(const struct view *view); /* false: out of memory */

/*
 * --check and --warn: NAME OP NUMBER, OP one of < <= > >= == !=, e.g. oldest_wait_s<30. NAME is as -l
 * lists it, a histogram's with .FIELD; "task_" may be left out, and a time be asked for in _s, _ms,
 * _us or _ns whatever its own unit is. NUMBER is decimal.
 */
struct threshold {
	const char *text;
	bool warns; /* else it is critical */
	char name[64];
	char op[3];
	double limit;
	double scale; /* of the board's value to the one that is compared */
	int stat;     /* row, or -1: a histogram's field */
	int hist, field;
};

/* False: said on standard error why `text` is none. */
bool threshold_read(struct threshold *threshold, const char *text, bool warns);
/* Prints the one line that monitoring reads; answers the exit status. `board` NULL: `why` says why. */
int thresholds_check(const struct threshold *thresholds, size_t count, const struct view *view, const char *why);

/* The full screen. `interval_ms` between two looks. Returns an exit status. */
int screen_run(struct view *view, int interval_ms);

#endif
