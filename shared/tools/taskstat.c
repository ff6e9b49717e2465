/*
 * taskstat's main(): options in, one of its outputs out. It reads shared memory only, so it works
 * while taskd hangs, is stopped or is dead, and says which. Exit status: 0 printed, 1 no board or
 * it cannot be read or the output cannot be written, 2 usage; with --check those of monitoring
 * plug-ins: 0 well, 1 warning, 2 critical, 3 usage.
 */
#include "shared/tools/taskstat.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_INSTANCE "taskring"
#define THRESHOLDS_MAX 32
#define OUTPUT_BYTES (256u << 10) /* holds any output, so that it is written, or fails, at the end */
#define WAIT_LOOK_MS 50           /* --wait looks this often: a board that is not there cannot tell */
#define INTERVAL_S 1.0
#define INTERVAL_LEAST_S 0.1
#define INTERVAL_MOST_S 3600.0

/* Options without a letter. */
enum { OPTION_CHECK = 256, OPTION_WARN, OPTION_WAIT };

static const struct {
	int value; /* a letter, or one of the above */
	const char *name; /* of the long form, or NULL */
	const char *argument; /* NULL: takes none */
	const char *help;
} options[] = {
	{ '1', NULL, NULL, "print all counters, gauges and histograms once (the default without a terminal)" },
	{ 'j', "json", NULL, "print the same as JSON" },
	{ 'p', "openmetrics", NULL, "print the same in the OpenMetrics format" },
	{ 'l', "list", NULL, "list what there is, with descriptions; needs no running taskd" },
	{ 'f', NULL, "glob", "only names that match; may be given several times" },
	{ 'I', NULL, "glob", "the same as -f" },
	{ 'X', NULL, "glob", "not the names that match; may be given several times" },
	{ 'i', "interval", "seconds", "of the full screen; default 1" },
	{ OPTION_CHECK, "check", "test", "exit with 2 unless e.g. oldest_wait_s<30; may be given several times" },
	{ OPTION_WARN, "warn", "test", "the same, but exit with 1" },
	{ OPTION_WAIT, "wait", "seconds", "first wait until taskd runs, at most so long" },
	{ 'n', "name", "name", "the instance; default: $TASKRING_NAME, else " DEFAULT_INSTANCE },
	{ 'V', "version", NULL, "print the version" },
	{ 'h', "help", NULL, "print this help" },
};
#define OPTIONS (sizeof options / sizeof *options)

struct request {
	char output; /* one of "1jplVh", 'c' for --check; 0: not said */
	const char *instance;
	struct selection selection;
	struct threshold thresholds[THRESHOLDS_MAX];
	size_t threshold_count;
	double interval_s;
	double wait_s; /* negative: do not wait */
};

static void usage(FILE *to)
{
	fprintf(to, "usage: taskstat [-1 | -j | -p | -l] [-f glob]... [-X glob]... [-n name] [--wait seconds]\n"
	    "       taskstat --check test... [--warn test]... [-n name]\n");
	for (size_t i = 0; i < OPTIONS; i++) {
		char letter[4] = "  ", name[40] = "";
		if (options[i].value < OPTION_CHECK)
			snprintf(letter, sizeof letter, "-%c", options[i].value);
		if (options[i].name != NULL)
			snprintf(name, sizeof name, "--%s", options[i].name);
		fprintf(to, "  %s %-13s %-8s %s\n", letter, name,
		    options[i].argument != NULL ? options[i].argument : "", options[i].help);
	}
}

/* ---- options ----------------------------------------------------------------------------- */

static bool take_glob(struct globs *globs, int letter)
{
	const struct selection one = { .include = { .count = 1, .of = { optarg } } };

	if (globs->count == GLOBS_MAX) {
		fprintf(stderr, "taskstat: -%c: at most %d globs\n", letter, GLOBS_MAX);
		return false;
	}
	/* A glob that selects nothing is most likely a slip. */
	if (!selects_something(&one)) {
		fprintf(stderr, "taskstat: -%c %s: nothing has such a name; taskstat -l lists all\n", letter, optarg);
		return false;
	}
	globs->of[globs->count++] = optarg;
	return true;
}

static bool take_seconds(double *seconds, const char *option, double least, double most)
{
	char *end;

	errno = 0;
	*seconds = strtod(optarg, &end);
	/* The comparisons are written so that "nan" fails them. */
	if (end != optarg && *end == '\0' && errno == 0 && *seconds >= least && *seconds <= most)
		return true;
	fprintf(stderr, "taskstat: %s %s: a number of seconds from %g to %g is wanted\n", option, optarg, least, most);
	return false;
}

static bool take_output(struct request *request, int output)
{
	if (request->output != 0 && request->output != output) {
		fprintf(stderr, "taskstat: %s and %s exclude each other\n",
		    request->output == 'c' ? "--check" : (const char[]){ '-', request->output, '\0' },
		    output == 'c' ? "--check" : (const char[]){ '-', (char)output, '\0' });
		return false;
	}
	request->output = (char)output;
	return true;
}

static bool take_threshold(struct request *request, bool warns)
{
	if (request->threshold_count == THRESHOLDS_MAX) {
		fprintf(stderr, "taskstat: --check: at most %d tests\n", THRESHOLDS_MAX);
		return false;
	}
	return take_output(request, 'c') &&
	    threshold_read(&request->thresholds[request->threshold_count++], optarg, warns);
}

static bool take_option(struct request *request, int option)
{
	switch (option) {
	case 'f':
	case 'I':
		return take_glob(&request->selection.include, option);
	case 'X':
		return take_glob(&request->selection.exclude, option);
	case 'n':
		request->instance = optarg;
		return true;
	case 'i':
		return take_seconds(&request->interval_s, "-i", INTERVAL_LEAST_S, INTERVAL_MOST_S);
	case OPTION_WAIT:
		return take_seconds(&request->wait_s, "--wait", 0, 86400);
	case OPTION_CHECK:
		return take_threshold(request, false);
	case OPTION_WARN:
		return take_threshold(request, true);
	case '?':
		return false; /* getopt_long() has said why */
	default:
		return take_output(request, option);
	}
}

static bool read_options(struct request *request, int argc, char **argv)
{
	char letters[2 * OPTIONS + 1];
	struct option longs[OPTIONS + 1] = { 0 };
	size_t letter_count = 0, long_count = 0;
	const char *named = getenv("TASKRING_NAME");
	int option;

	request->instance = named != NULL && *named != '\0' ? named : DEFAULT_INSTANCE;
	request->interval_s = INTERVAL_S;
	request->wait_s = -1;
	for (size_t i = 0; i < OPTIONS; i++) {
		if (options[i].value < OPTION_CHECK) {
			letters[letter_count++] = (char)options[i].value;
			if (options[i].argument != NULL)
				letters[letter_count++] = ':';
		}
		if (options[i].name != NULL)
			longs[long_count++] = (struct option){ .name = options[i].name, .val = options[i].value,
				.has_arg = options[i].argument != NULL ? required_argument : no_argument };
	}
	letters[letter_count] = '\0';
	while ((option = getopt_long(argc, argv, letters, longs, NULL)) != -1)
		if (!take_option(request, option))
			return false;
	if (optind < argc) {
		fprintf(stderr, "taskstat: \"%s\": taskstat takes options only\n", argv[optind]);
		return false;
	}
	return true;
}

/* ---- what is asked for -------------------------------------------------------------------- */

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

/* Opens the board and looks; with --wait until taskd runs or the time is over. */
static enum tr_result open_view(struct view *view, double wait_s, struct tr_error *error)
{
	for (int64_t left_ms = (int64_t)(wait_s * 1000);; left_ms -= WAIT_LOOK_MS) {
		enum tr_result result = board_open(&view->board, view->instance, error);
		if (result == TR_OK)
			view_look(view);
		bool runs = result == TR_OK && view->life == TASKD_RUNNING;
		if (wait_s < 0 || runs || (result != TR_OK && result != TR_NO_BOARD))
			return result;
		if (left_ms <= 0) {
			if (result == TR_OK)
				snprintf(error->text, sizeof error->text, "taskd did not come up in %g s; it is: %s", wait_s,
				    taskd_life_name[view->life]);
			board_close(&view->board);
			return TR_NO_BOARD;
		}
		board_close(&view->board);
		poll(NULL, 0, WAIT_LOOK_MS);
	}
}

static int show(const struct request *request, struct view *view)
{
	switch (request->output) {
	case 'c':
		return thresholds_check(request->thresholds, request->threshold_count, view, NULL);
	case 'j':
		return print_json(view) ? EXIT_DONE : EXIT_FAILED;
	case 'p':
		return print_openmetrics(view) ? EXIT_DONE : EXIT_FAILED;
	case '1':
		print_life(view);
		print_text(view);
		return EXIT_DONE;
	default:
		return screen_run(view, (int)(request->interval_s * 1000));
	}
}

static int show_board(const struct request *request)
{
	struct view view = { .instance = request->instance, .selection = request->selection };
	struct tr_error error;
	enum tr_result result = open_view(&view, request->wait_s, &error);

	if (result != TR_OK && request->output == 'c')
		return thresholds_check(request->thresholds, request->threshold_count, NULL, error.text);
	if (result != TR_OK) {
		fprintf(stderr, "taskstat: %s\n", error.text);
		return result == TR_INVALID ? EXIT_USAGE : EXIT_FAILED;
	}
	int status = show(request, &view);
	board_close(&view.board);
	return status;
}

static int run(struct request *request)
{
	if (request->output == 0)
		request->output = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) ? 's' : '1';
	switch (request->output) {
	case 'h':
		usage(stdout);
		return EXIT_DONE;
	case 'V':
		printf("taskstat %s (board version %u)\n", TASKRING_VERSION, BOARD_VERSION);
		return EXIT_DONE;
	case 'l':
		print_list(&request->selection);
		return EXIT_DONE;
	default:
		return show_board(request);
	}
}

int main(int argc, char **argv)
{
	static struct request request;
	static char output[OUTPUT_BYTES]; /* glibc does not honour a size without a buffer */

	signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other */
	if (setvbuf(stdout, output, _IOFBF, sizeof output) != 0)
		return EXIT_FAILED;
	if (!read_options(&request, argc, argv)) {
		if (request.threshold_count > 0) /* monitoring systems show the line of standard output */
			puts("TASKRING UNKNOWN - the command line is wrong; standard error says how");
		else
			usage(stderr);
		return request.threshold_count > 0 ? CHECK_UNKNOWN : EXIT_USAGE;
	}
	int status = run(&request);
	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "taskstat: standard output: %s\n", errno ? strerror(errno) : "not all was written");
		return request.output == 'c' ? CHECK_UNKNOWN : EXIT_FAILED;
	}
	return status;
}
