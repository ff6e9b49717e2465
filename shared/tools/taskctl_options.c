/*
 * Options: one table says what there is, who takes it, its help, and what an argument sets. Enters: a
 * command and its arguments. Leaves: the request, filled in. Called by main().
 */
#include "shared/tools/taskctl.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_INSTANCE "taskring"
#define STATE_DIRECTORY "/var/lib/taskring" /* as taskd.conf's defaults have it */
#define PATH_SIZE 512

typedef bool set_fn(struct request *request, const char *argument);

/* ---- what an argument sets --------------------------------------------------------------- */

static bool set_instance(struct request *request, const char *argument)
{
	request->instance = argument;
	return *argument != '\0' && strlen(argument) <= TR_NAME_MAX;
}

static bool set_journal(struct request *request, const char *argument)
{
	request->journal = argument;
	return *argument != '\0';
}

static bool set_spool(struct request *request, const char *argument)
{
	request->spool_dir = argument;
	return *argument != '\0';
}

static bool set_json(struct request *request, const char *argument)
{
	(void)argument;
	return request->json = true;
}

static bool set_help(struct request *request, const char *argument)
{
	(void)argument;
	return request->help = true;
}

static bool set_states(struct request *request, const char *argument)
{
	request->filtered = true;
	return read_states(argument, &request->filter.states);
}

static bool set_handler(struct request *request, const char *argument)
{
	request->filtered = true;
	request->filter.handler = argument;
	return *argument != '\0';
}

/* Of push it is where the tasks go, else which ones are meant. */
static bool set_queue(struct request *request, const char *argument)
{
	request->filtered = true;
	request->filter.queue = request->task.queue = argument;
	return *argument != '\0';
}

static bool set_text(struct request *request, const char *argument)
{
	request->filtered = true;
	request->filter.text = argument;
	return *argument != '\0' && strlen(argument) <= TR_FILTER_TEXT_MAX;
}

static bool set_from(struct request *request, const char *argument)
{
	request->filtered = true;
	return read_time(argument, now_ms(), &request->filter.from_ms);
}

static bool set_to(struct request *request, const char *argument)
{
	request->filtered = true;
	return read_time(argument, now_ms(), &request->filter.to_ms);
}

static bool set_older(struct request *request, const char *argument)
{
	int64_t ms;

	request->filtered = true;
	if (!read_duration(argument, 100ll * 366 * 24 * 3600 * 1000, &ms))
		return false;
	request->filter.to_ms = now_ms() - ms;
	return true;
}

/* PATH=VALUE; the program's arguments are its own to cut. */
static bool set_filter_arg(struct request *request, const char *argument)
{
	char *value = strchr(argument, '=');

	if (value == NULL || value == argument || request->filter_args == TR_FILTER_ARGS_MAX)
		return false;
	*value++ = '\0';
	request->filtered = true;
	request->filter.args[request->filter_args].path = argument;
	request->filter.args[request->filter_args++].value = value;
	return true;
}

static bool set_limit(struct request *request, const char *argument)
{
	request->limited = true;
	return read_number(argument, 1, INT64_MAX, &request->limit);
}

static bool set_all(struct request *request, const char *argument)
{
	(void)argument;
	return request->all = true;
}

static bool set_dry_run(struct request *request, const char *argument)
{
	(void)argument;
	return request->dry_run = true;
}

static bool set_yes(struct request *request, const char *argument)
{
	(void)argument;
	return request->yes = true;
}

static bool set_on_failure(struct request *request, const char *argument)
{
	request->task.on_failure = argument;
	return *argument != '\0';
}

static bool set_trace(struct request *request, const char *argument)
{
	request->task.trace = argument;
	return true;
}

static bool set_max_attempts(struct request *request, const char *argument)
{
	uint64_t number;

	if (!read_number(argument, 1, TR_ATTEMPTS_MAX, &number))
		return false;
	request->task.max_attempts = (uint32_t)number;
	return true;
}

static bool set_span(uint32_t *to, const char *argument, int64_t most_ms)
{
	int64_t ms;

	if (!read_duration(argument, most_ms, &ms))
		return false;
	*to = (uint32_t)ms;
	return true;
}

static bool set_backoff_base(struct request *request, const char *argument)
{
	return set_span(&request->task.backoff_base_ms, argument, UINT32_MAX);
}

static bool set_backoff_cap(struct request *request, const char *argument)
{
	return set_span(&request->task.backoff_cap_ms, argument, UINT32_MAX);
}

static bool set_soft_timeout(struct request *request, const char *argument)
{
	return set_span(&request->task.soft_timeout_ms, argument, TR_TIMEOUT_MS_MAX);
}

static bool set_hard_timeout(struct request *request, const char *argument)
{
	return set_span(&request->task.hard_timeout_ms, argument, TR_TIMEOUT_MS_MAX);
}

static bool set_delay(struct request *request, const char *argument)
{
	return read_duration(argument, TR_DELAY_MS_MAX, &request->task.delay_ms);
}

static bool set_run_at(struct request *request, const char *argument)
{
	return read_time(argument, now_ms(), &request->task.run_at_ms);
}

static bool set_expires(struct request *request, const char *argument)
{
	return read_duration(argument, TR_DELAY_MS_MAX, &request->task.expires_after_ms);
}

static bool set_file(struct request *request, const char *argument)
{
	request->file = argument;
	return *argument != '\0';
}

static bool set_lines(struct request *request, const char *argument)
{
	(void)argument;
	return request->lines = true;
}

static bool set_sequence(struct request *request, const char *argument)
{
	(void)argument;
	return request->sequence = true;
}

static bool set_durable(struct request *request, const char *argument)
{
	(void)argument;
	request->durability = TR_DISK;
	return true;
}

static bool set_wait(struct request *request, const char *argument)
{
	(void)argument;
	return request->wait = true;
}

static bool set_args(struct request *request, const char *argument)
{
	request->args = argument;
	return true;
}

static bool set_timeout(struct request *request, const char *argument)
{
	return read_duration(argument, TR_DELAY_MS_MAX, &request->timeout_ms);
}

/* ---- the table --------------------------------------------------------------------------- */

#define SPAN "e.g. 250ms, 10s, 5m, 2h, 7d"
#define MOMENT "e.g. 2026-01-31T10:00Z, -2h, +5m, or seconds since 1970"

static const struct row {
	unsigned of; /* TAKES_*; 0: every command takes it */
	char letter; /* or 0 */
	const char *name;
	const char *argument; /* NULL: takes none */
	set_fn *set;
	const char *help;
	const char *allowed; /* said when `set` refuses */
} rows[] = {
	{ TAKES_TASK, 'q', "queue", "NAME", set_queue, "the queue that it goes to (default)", "a name" },
	{ TAKES_TASK, 0, "on-failure", "NAME", set_on_failure, "its on-failure callback", "a name" },
	{ TAKES_TASK, 0, "max-attempts", "N", set_max_attempts, "attempts before it is dead (5)", "1 to 1000" },
	{ TAKES_TASK, 0, "backoff-base", "SPAN", set_backoff_base, "bound of the first retry's delay (1s)", SPAN },
	{ TAKES_TASK, 0, "backoff-cap", "SPAN", set_backoff_cap, "bound of any retry's delay (10m)", SPAN },
	{ TAKES_TASK, 0, "soft-timeout", "SPAN", set_soft_timeout, "the handler is told then", SPAN ", at most 7d" },
	{ TAKES_TASK, 0, "hard-timeout", "SPAN", set_hard_timeout, "its worker is killed then", SPAN ", at most 7d" },
	{ TAKES_TASK, 0, "delay", "SPAN", set_delay, "not before so long from now", SPAN },
	{ TAKES_TASK, 0, "run-at", "TIME", set_run_at, "not before then", MOMENT },
	{ TAKES_TASK, 0, "expires-after", "SPAN", set_expires, "must have started by then", SPAN },
	{ TAKES_TASK, 0, "trace", "TEXT", set_trace, "trace context, e.g. a W3C traceparent", NULL },
	{ TAKES_TASK, 'f', "file", "PATH", set_file, "the task owns a copy of this file", "a path" },
	{ TAKES_TASK, 'l', "lines", NULL, set_lines, "one JSON object a line from standard input, or from the file named", NULL },
	{ TAKES_TASK, 0, "sequence", NULL, set_sequence, "with -l: one batch, one task after the other", NULL },
	{ TAKES_TASK, 'd', "durable", NULL, set_durable, "wait until the disk has it", NULL },
	{ TAKES_TASK, 'w', "wait", NULL, set_wait, "wait until it has ended, and print how", NULL },
	{ TAKES_FILTER | TAKES_WHICH, 's', "state", "STATE", set_states, "in one of these, with commas; \"waiting\": queued, scheduled, retrying",
		"queued, scheduled, retrying, waiting, running, succeeded, dead, cancelled, expired" },
	{ TAKES_FILTER | TAKES_WHICH, 'H', "handler", "NAME", set_handler, "of this handler", "a name" },
	{ TAKES_FILTER | TAKES_WHICH, 'q', "queue", "NAME", set_queue, "of this queue", "a name" },
	{ TAKES_FILTER, 't', "text", "TEXT", set_text, "with this in id, handler, queue, error or arguments", "1 to 255 bytes" },
	{ TAKES_FILTER, 0, "from", "TIME", set_from, "made at or after that", MOMENT },
	{ TAKES_FILTER, 0, "to", "TIME", set_to, "made before that", MOMENT },
	{ TAKES_FILTER, 'a', "arg", "PATH=VALUE", set_filter_arg, "with this argument; up to 4 times", "PATH=VALUE, at most 4 times" },
	{ TAKES_OLDER, 0, "older-than", "SPAN", set_older, "made longer ago than that", SPAN },
	{ TAKES_ARGS, 0, "args", "JSON", set_args, "edit and retry: a new task with these arguments, the dead one is discarded", NULL },
	{ TAKES_LIMIT, 'L', "limit", "N", set_limit, "at most so many, the newest", "1 or more" },
	{ TAKES_MANY, 0, "all", NULL, set_all, "all that it applies to; without operands and filter nothing is meant", NULL },
	{ TAKES_DRY_RUN, 0, "dry-run", NULL, set_dry_run, "only say what, or how many, it would be", NULL },
	{ TAKES_MANY, 'y', "yes", NULL, set_yes, "do not ask on a terminal", NULL },
	{ TAKES_TIMEOUT, 0, "timeout", "SPAN", set_timeout, "wait at most so long", SPAN },
	{ 0, 'j', "json", NULL, set_json, "print JSON, one object a line", NULL },
	{ 0, 'n', "name", "NAME", set_instance, "the instance ($TASKRING_NAME, else " DEFAULT_INSTANCE ")", "1 to 63 characters" },
	{ 0, 'J', "journal", "FILE", set_journal, "taskd's journal ($TASKRING_JOURNAL, else " STATE_DIRECTORY "/NAME/journal.db)", "a path" },
	{ 0, 'S', "spool", "DIRECTORY", set_spool, "taskd's spool ($TASKRING_SPOOL, else " STATE_DIRECTORY "/NAME/spool)", "a path" },
	{ 0, 'h', "help", NULL, set_help, "print this", NULL },
};
#define ROWS (sizeof rows / sizeof *rows)

static bool is_taken(const struct row *row, const struct command *command)
{
	return row->of == 0 || (row->of & command->options) != 0;
}

void options_print(const struct command *command)
{
	printf("usage: taskctl %s [OPTION...]%s%s\n%s.\n\n", command->name, *command->operands ? " " : "", command->operands,
	    command->summary);
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];
		if (!is_taken(row, command))
			continue;
		printf("  %c%c --%-14s %-10s %s\n", row->letter ? '-' : ' ', row->letter ? row->letter : ' ', row->name,
		    row->argument ? row->argument : "", row->help);
	}
}

/* ---- reading ----------------------------------------------------------------------------- */

/* The value of a variable that is set and not empty. */
static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0' ? value : NULL;
}

/* What neither option nor environment names is where taskd's own defaults put it. */
static void set_paths(struct request *request)
{
	static char journal[PATH_SIZE], spool_dir[PATH_SIZE];

	if (request->journal == NULL)
		request->journal = environment("TASKRING_JOURNAL");
	if (request->spool_dir == NULL)
		request->spool_dir = environment("TASKRING_SPOOL");
	snprintf(journal, sizeof journal, STATE_DIRECTORY "/%s/journal.db", request->instance);
	snprintf(spool_dir, sizeof spool_dir, STATE_DIRECTORY "/%s/spool", request->instance);
	if (request->journal == NULL)
		request->journal = journal;
	if (request->spool_dir == NULL)
		request->spool_dir = spool_dir;
}

static bool take_option(struct request *request, const struct row *row, const char *argument)
{
	if (row->set(request, argument))
		return true;
	say("--%s %s: wanted: %s", row->name, argument, row->allowed);
	return false;
}

/* There is one: getopt_long() knows no other letters. */
static const struct row *row_of(const struct command *command, int letter)
{
	size_t i = 0;

	while (rows[i].letter != letter || !is_taken(&rows[i], command))
		i++;
	return &rows[i];
}

static bool read_all(struct request *request, int argc, char **argv)
{
	char letters[2 * ROWS + 1];
	struct option longs[ROWS + 1] = { 0 };
	size_t letter_count = 0, long_count = 0;
	int option;

	for (size_t i = 0; i < ROWS; i++) {
		const struct row *row = &rows[i];
		if (!is_taken(row, request->command))
			continue;
		if (row->letter) {
			letters[letter_count++] = row->letter;
			if (row->argument)
				letters[letter_count++] = ':';
		}
		longs[long_count++] = (struct option){ .name = row->name, .val = 256 + (int)i,
			.has_arg = row->argument ? required_argument : no_argument };
	}
	letters[letter_count] = '\0';
	argv[0] = (char *)(uintptr_t)"taskctl"; /* as getopt_long() calls us where it complains */
	while ((option = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (option == '?')
			return false; /* getopt_long() has said why */
		if (!take_option(request, option < 256 ? row_of(request->command, option) : &rows[option - 256], optarg))
			return false;
	}
	return true;
}

bool options_read(struct request *request, int argc, char **argv)
{
	const struct command *command = request->command;
	const char *named = environment("TASKRING_NAME");

	request->instance = named != NULL ? named : DEFAULT_INSTANCE;
	request->timeout_ms = -1;
	if (!read_all(request, argc, argv))
		return false;
	request->operands = argv + optind;
	request->operand_count = (size_t)(argc - optind);
	set_paths(request);
	if (request->help)
		return true;
	if (request->operand_count >= command->operands_least && request->operand_count <= command->operands_most)
		return true;
	fprintf(stderr, "usage: taskctl %s [OPTION...]%s%s\n", command->name, *command->operands ? " " : "", command->operands);
	return false;
}
