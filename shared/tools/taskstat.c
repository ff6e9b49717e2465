/*
 * taskstat's main(): options in, one of three outputs out. It reads shared memory only, so it works
 * while taskd hangs, is stopped or is dead, and says which. Exit status: 0 printed, 1 no board or
 * it cannot be read or the output cannot be written, 2 usage.
 */
#include "shared/tools/taskstat.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_INSTANCE "taskring"
#define GLOBS_MAX 64
#define OUTPUT_BYTES (256u << 10) /* holds any output, so that it is written, or fails, at the end */

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const struct {
	char letter;
	const char *argument; /* NULL: takes none */
	const char *help;
} options[] = {
	{ '1', NULL, "print all counters, gauges and histograms once (the default)" },
	{ 'j', NULL, "print the same as JSON" },
	{ 'l', NULL, "list what there is, with descriptions; needs no running taskd" },
	{ 'f', "glob", "only names that match; may be given several times" },
	{ 'n', "name", "the instance; default: $TASKRING_NAME, else " DEFAULT_INSTANCE },
	{ 'V', NULL, "print the version" },
	{ 'h', NULL, "print this help" },
};
#define OPTIONS (sizeof options / sizeof *options)

struct request {
	char output; /* '1', 'j', 'l', 'V' or 'h'; 0: not said */
	const char *instance;
	const char *globs[GLOBS_MAX];
	size_t glob_count;
};

const char *const taskd_life_name[TASKD_LIVES] = {
	[TASKD_STARTING] = "starting", [TASKD_RUNNING] = "running", [TASKD_DRAINING] = "draining",
	[TASKD_HANGS] = "hangs", [TASKD_STOPPED] = "stopped", [TASKD_DEAD] = "dead",
};

static void usage(FILE *to)
{
	fprintf(to, "usage: taskstat [-1 | -j | -l] [-f glob]... [-n name]\n");
	for (size_t i = 0; i < OPTIONS; i++)
		fprintf(to, "  -%c %-5s %s\n", options[i].letter,
		    options[i].argument ? options[i].argument : "", options[i].help);
}

/* ---- options ----------------------------------------------------------------------------- */

static bool take_option(struct request *request, int letter)
{
	switch (letter) {
	case 'f':
		if (request->glob_count == GLOBS_MAX) {
			fprintf(stderr, "taskstat: -f: at most %d globs\n", GLOBS_MAX);
			return false;
		}
		request->globs[request->glob_count++] = optarg;
		return true;
	case 'n':
		request->instance = optarg;
		return true;
	case '?':
		return false; /* getopt() has said why */
	default:
		if (request->output != 0 && request->output != letter) {
			fprintf(stderr, "taskstat: -%c and -%c exclude each other\n", request->output, letter);
			return false;
		}
		request->output = (char)letter;
		return true;
	}
}

static bool read_options(struct request *request, int argc, char **argv)
{
	char letters[2 * OPTIONS + 1];
	char *end = letters;
	const char *named = getenv("TASKRING_NAME");
	int letter;

	request->instance = named != NULL && *named != '\0' ? named : DEFAULT_INSTANCE;
	for (size_t i = 0; i < OPTIONS; i++) {
		*end++ = options[i].letter;
		if (options[i].argument)
			*end++ = ':';
	}
	*end = '\0';
	while ((letter = getopt(argc, argv, letters)) != -1)
		if (!take_option(request, letter))
			return false;
	if (optind < argc) {
		fprintf(stderr, "taskstat: \"%s\": taskstat takes options only\n", argv[optind]);
		return false;
	}
	return true;
}

bool is_selected(const struct selection *selection, const char *name)
{
	if (selection->count == 0)
		return true;
	for (size_t i = 0; i < selection->count; i++)
		if (fnmatch(selection->globs[i], name, 0) == 0)
			return true;
	return false;
}

bool is_field_selected(const struct selection *selection, const char *name, const char *field)
{
	char whole[128];

	if (is_selected(selection, name))
		return true;
	int bytes = snprintf(whole, sizeof whole, "%s.%s", name, field);
	return bytes > 0 && (size_t)bytes < sizeof whole && is_selected(selection, whole);
}

/* A glob that selects nothing is most likely a slip. */
static bool selects_something(const char *glob)
{
	const struct selection one = { .count = 1, .globs = &glob };

	for (size_t i = 0; i < STATS; i++)
		if (is_selected(&one, stat_info[i].name))
			return true;
	for (size_t i = 0; i < HISTS; i++)
		for (size_t k = 0; k < HIST_FIELDS; k++)
			if (is_field_selected(&one, hist_info[i].name, hist_fields[k].name))
				return true;
	fprintf(stderr, "taskstat: -f %s: nothing has such a name; taskstat -l lists all\n", glob);
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
	uint64_t since_start = load(&view->board->stats[row]) - load(&view->board->stats_before[row]);

	return view->seconds > 0 ? (double)since_start / view->seconds : 0;
}

static enum taskd_life find_life(const struct view *view)
{
	uint32_t shown = atomic_load_explicit(&view->board->running_state, memory_order_acquire);

	if (shown == BOARD_STOPPED)
		return TASKD_STOPPED;
	if (!board_is_held(view->instance))
		return TASKD_DEAD;
	if (view->now_ms - view->seen_ms >= BOARD_ALIVE_MS)
		return TASKD_HANGS;
	if (shown == BOARD_DRAINING)
		return TASKD_DRAINING;
	return shown == BOARD_RUNNING ? TASKD_RUNNING : TASKD_STARTING;
}

static void look(struct view *view)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_REALTIME, &now);
	view->now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	view->seen_ms = atomic_load_explicit(&view->board->heartbeat_ms, memory_order_relaxed);
	view->started_ms = atomic_load_explicit(&view->board->started_ms, memory_order_relaxed);
	view->pid = atomic_load_explicit(&view->board->pid, memory_order_relaxed);
	view->life = find_life(view);
	bool counts = view->life == TASKD_RUNNING || view->life == TASKD_DRAINING;
	view->seconds = (double)((counts ? view->now_ms : view->seen_ms) - view->started_ms) / 1000;
}

/* On standard error: the output stays the same for programs, however taskd is. */
static void print_life(const struct view *view)
{
	const char *life = taskd_life_name[view->life];
	int64_t ago_s = (view->now_ms - view->seen_ms) / 1000;

	switch (view->life) {
	case TASKD_HANGS:
		fprintf(stderr, "taskd: %s: no sign of life for %" PRId64 " s (pid %d)\n", life, ago_s, view->pid);
		break;
	case TASKD_STOPPED:
		fprintf(stderr, "taskd: %s, %" PRId64 " s ago\n", life, ago_s);
		break;
	case TASKD_DEAD:
		fprintf(stderr, "taskd: %s: last sign of life %" PRId64 " s ago (pid %d)\n", life, ago_s, view->pid);
		break;
	default:
		fprintf(stderr, "taskd: %s (pid %d)\n", life, view->pid);
	}
}

static int show_board(const struct request *request)
{
	struct view view = { .instance = request->instance,
		.selection = { .count = request->glob_count, .globs = request->globs } };
	struct tr_error error;
	enum tr_result result = board_open(&view.board, request->instance, &error);
	bool printed = true;

	if (result != TR_OK) {
		fprintf(stderr, "taskstat: %s\n", error.text);
		return result == TR_INVALID ? EXIT_USAGE : EXIT_FAILED;
	}
	look(&view);
	if (request->output == 'j') {
		printed = print_json(&view);
	} else {
		print_life(&view);
		print_text(&view);
	}
	board_close(&view.board);
	return printed ? 0 : EXIT_FAILED;
}

static int run(const struct request *request)
{
	const struct selection selection = { .count = request->glob_count, .globs = request->globs };

	for (size_t i = 0; i < request->glob_count; i++)
		if (!selects_something(request->globs[i]))
			return EXIT_USAGE;
	switch (request->output) {
	case 'h':
		usage(stdout);
		return 0;
	case 'V':
		printf("taskstat %s (board version %u)\n", TASKRING_VERSION, BOARD_VERSION);
		return 0;
	case 'l':
		print_list(&selection);
		return 0;
	default:
		return show_board(request);
	}
}

int main(int argc, char **argv)
{
	struct request request = { 0 };

	signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other */
	if (setvbuf(stdout, NULL, _IOFBF, OUTPUT_BYTES) != 0)
		return EXIT_FAILED;
	if (!read_options(&request, argc, argv)) {
		usage(stderr);
		return EXIT_USAGE;
	}
	int status = run(&request);
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "taskstat: standard output: %s\n", errno ? strerror(errno) : "not all was written");
		return EXIT_FAILED;
	}
	return status;
}
