/*
 * taskctl: what is done with an instance by hand and by scripts. taskctl.c has the table of commands and
 * main(); each taskctl_COMMAND.c one command, or those that differ in a word only, with its row.
 * taskctl_options.c reads options by one table, taskctl_line.c the lines of push -l, taskctl_read.c what stands in them (times, durations,
 * states), taskctl_open.c opens the instance, taskctl_pages.c walks over the tasks that match, taskctl_print.c
 * and taskctl_json.c show them: nothing that an instance says reaches a terminal as it is.
 */
#ifndef TASKCTL_H
#define TASKCTL_H

#include <jansson.h>
#include <stdio.h>

#include "taskring/taskring.h"

/* The program's exit statuses; the manual says what they mean. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_NOT_POSSIBLE = 4, /* in the state that the task or taskd is in */
	EXIT_TIMED_OUT = 5,
	EXIT_ENDED_BADLY = 6,  /* a task that was waited for has ended, and not as succeeded */
};

/* Which options a command takes besides those that all take. */
enum {
	TAKES_FILTER = 1,
	TAKES_LIMIT = 2,
	TAKES_MANY = 4, /* --all, --yes */
	TAKES_TASK = 8, /* those of a task that is pushed */
	TAKES_ARGS = 16,
	TAKES_TIMEOUT = 32,
	TAKES_OLDER = 64,
	TAKES_WHICH = 128, /* of the filter what an event can be told by: state, handler, queue */
	TAKES_DRY_RUN = 256,
};

struct request;

struct command {
	const char *name;
	const char *operands; /* as the usage shows them */
	const char *summary;
	unsigned options;
	size_t operands_least, operands_most;
	int (*run)(struct request *request); /* answers an exit status */
};

/* What the command line asks for. */
struct request {
	const struct command *command;
	const char *instance;
	const char *journal, *spool_dir;
	char **operands;
	size_t operand_count;
	bool json, help;
	struct tr_task_filter filter;
	size_t filter_args;
	bool filtered; /* some option of the filter was given */
	bool limited;
	uint64_t limit;
	bool all, dry_run, yes;
	struct task_options task;
	bool lines, sequence, wait;
	enum tr_durability durability;
	const char *file; /* that the task is to own */
	const char *args; /* of retry */
	int64_t timeout_ms; /* -1: not given */
	struct taskring *ring; /* after request_open() */
};

/* ---- taskctl_options.c ------------------------------------------------------------------- */

/* False: said on standard error why not. */
bool options_read(struct request *request, int argc, char **argv);
void options_print(const struct command *command);

/* ---- taskctl_read.c: texts of the command line ------------------------------------------- */

/* A whole decimal number without a sign. */
bool read_number(const char *text, uint64_t least, uint64_t most, uint64_t *number);
/* 250ms, 10s, 5m, 2h, 7d; 0 needs no unit. At most `most`. */
bool read_duration(const char *text, int64_t most_ms, int64_t *ms);
/*
 * now; -2h, +5m, before and after now_ms; 2026-01-31, 2026-01-31T10:00, with :SS, .mmm, and Z or +HH:MM, without
 * one of these UTC; seconds since 1970, or from 100000000000 on milliseconds. Leaves ms since 1970.
 */
bool read_time(const char *text, int64_t now_ms, int64_t *time_ms);
/* Names of states with commas between them, or "waiting" for all that have not started or ended; joined to *states. */
bool read_states(const char *text, unsigned *states);
/* JSON of any kind. False: *error says where it is none. */
bool read_json(const char *text, json_t **json, json_error_t *error);

int64_t now_ms(void); /* since 1970 */

/* ---- taskctl_open.c ---------------------------------------------------------------------- */

/*
 * Opens the instance, which must be there: a ring is never made. Where a full one is published to later, that waits for
 * room up to the timeout. Run as root, the program becomes the user that the instance belongs to, so that what it makes
 * (spool files) is taskd's. EXIT_DONE, or said why not.
 */
int request_open(struct request *request, bool needs_ring);
/* Says why `what` failed, and answers the exit status that goes with it. */
int say_result(const char *what, enum tr_result result, const char *text);
/* To standard error, "taskctl: " before it. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* False: said that it is no id. */
bool read_id(const char *text, struct tr_id *id);
/* Notes once on standard error that taskd does not run, so that what is asked waits. */
void say_if_stopped(const struct request *request);

/* ---- taskctl_pages.c --------------------------------------------------------------------- */

/* A task that matches; its status is cleared by the walk. False: enough. */
typedef bool task_fn(void *context, const struct tr_task_status *status);
/* Gives the tasks that match the request's filter, the newest first, at most `limit` (0: all). */
int walk(const struct request *request, uint64_t limit, task_fn *take, void *context);

/* ---- taskctl_print.c --------------------------------------------------------------------- */

/* Columns of standard output, where it is a terminal; else 0. */
size_t terminal_columns(void);
/*
 * The text as one line's part: control characters, those that change direction or cannot be seen, and bytes that
 * are no UTF-8 are shown as escapes. `columns` 0: whole, else cut with an ellipsis.
 */
void print_text(FILE *to, const char *text, size_t columns);
#define TIME_TEXT_SIZE 32
/* 2026-01-31T10:00:00.000Z; "-" for 0. */
const char *time_text(int64_t time_ms, char text[TIME_TEXT_SIZE]);
#define DURATION_TEXT_SIZE 32
const char *duration_text(int64_t ms, char text[DURATION_TEXT_SIZE]);
#define ATTEMPT_TEXT_SIZE 32
/* Which attempt of how many; of a task that was given more, only which. */
const char *attempt_text(const struct tr_task_status *status, const char *of, char text[ATTEMPT_TEXT_SIZE]);
const char *level_name(int level);
void print_row_head(size_t columns);
void print_row(const struct tr_task_status *status, size_t columns);

/* ---- taskctl_json.c ---------------------------------------------------------------------- */

/* NULL: out of memory. */
json_t *status_json(const struct tr_task_status *status);
json_t *detail_json(const struct tr_task_detail *detail);
json_t *log_json(const struct tr_log_line *lines, size_t count);
json_t *time_json(int64_t time_ms); /* null for 0 */
json_t *text_json(const char *text); /* null for "" */
/* As one line, all beyond ASCII escaped; takes the reference. False: said why not. */
bool print_json(json_t *json);

/* ---- commands ---------------------------------------------------------------------------- */

extern const struct command command_push, command_list, command_show, command_tail, command_cancel, command_retry,
    command_discard, command_run, command_pause, command_resume, command_purge, command_drain, command_explain;

/* ---- taskctl_steer.c --------------------------------------------------------------------- */

/* What is done to one task or to many. */
struct verb {
	const char *name;       /* "retry" */
	const char *participle; /* "retried" */
	unsigned states;        /* 1u << enum tr_state, joined: those in which it can be done */
	enum tr_result (*ask)(struct taskring *ring, const struct tr_id *id);
};
/* Does it to the operands, or to all that match; answers an exit status. */
int steer(struct request *request, const struct verb *verb);

/* ---- taskctl_line.c ---------------------------------------------------------------------- */

/* A task as a line of JSON has it; texts and args are the JSON's. */
struct task_line {
	const char *handler;
	json_t *args; /* NULL: none */
	struct task_options options;
};
/* What the line does not say is as in `defaults`. False: said what is wrong. */
bool line_read(json_t *json, const struct task_options *defaults, struct task_line *line);

/* taskctl_push.c: a task owns a copy of that file. EXIT_DONE, or said why not. */
int attach_file(struct request *request, struct background_tasks *background, int from, const char *name);
/* EXIT_DONE, or said why not. */
int publish(struct request *request, struct background_tasks *background);

#endif
