/*
 * taskstat: what the board says, for people (-1), programs (-j) and manuals (-l). taskstat.c reads
 * the options and the board into a view; one file per form of output prints it.
 */
#ifndef TASKSTAT_H
#define TASKSTAT_H

#include "shared/board.h"

/* How taskd is, as far as its board and the lock on it tell. */
enum taskd_life { TASKD_STARTING, TASKD_RUNNING, TASKD_DRAINING, TASKD_HANGS, TASKD_STOPPED, TASKD_DEAD, TASKD_LIVES };
extern const char *const taskd_life_name[TASKD_LIVES];

/* The globs of -f; none selects all. */
struct selection {
	size_t count;
	const char *const *globs;
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

/* Per second since the dispatcher's start, on average. */
double counter_rate(const struct view *view, enum stat_row row);

/* Each prints to standard output and leaves looking for write errors to its caller. */
void print_list(const struct selection *selection);
void print_text(const struct view *view);
bool print_json(const struct view *view); /* false: out of memory, or writing failed */

#endif
