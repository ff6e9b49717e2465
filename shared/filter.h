/*
 * Whether a task matches a struct tr_task_filter, as far as that is seen without SQLite. Called by list.c for what the
 * board shows, and by archive_list.c for rows of the journal.
 */
#ifndef TR_FILTER_H
#define TR_FILTER_H

#include "taskring/taskring.h"

/* What matching reads of a task; texts may be NULL. */
struct filtered {
	const struct tr_id *id;
	int64_t state; /* any number */
	int64_t created_ms;
	const char *handler, *queue, *error;
};

/* Names, texts and paths are such as can match. */
bool filter_is_sound(const struct tr_task_filter *filter);
/* State, names and time of making. */
bool filter_fits(const struct tr_task_filter *filter, const struct filtered *task);
/* The text stands in the id, a name or the error; also when none is asked for. */
bool filter_has_text(const struct tr_task_filter *filter, const struct filtered *task);
/* The same for any text; NULL: it does not. */
bool filter_text_in(const struct tr_task_filter *filter, const char *text);
bool filter_asks_arguments(const struct tr_task_filter *filter);
/* Lowers *before to what a task made before filter->to_ms can have. */
void filter_lower(const struct tr_task_filter *filter, struct tr_id *before);
/* So old that neither it nor any id below it can match. */
bool filter_is_below(const struct tr_task_filter *filter, const struct tr_id *id);

#endif
