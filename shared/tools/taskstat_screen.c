/*
 * The full screen's life: looks at the board each interval, keeps rates and averages, and reads
 * keys between. It carries on over a restart of taskd, and over a board made anew; a board of
 * another version ends it, with both versions named.
 */
#include "shared/tools/taskstat_screen.h"

#include <curses.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/clock.h"

#define INTERVAL_LEAST_MS 100
#define INTERVAL_MOST_MS 3600000

static const unsigned average_over[AVERAGES] = { 10, 100, 1000 };
static volatile sig_atomic_t stop_asked;

static void on_stop(int number)
{
	(void)number;
	stop_asked = 1;
}

/* ---- rows -------------------------------------------------------------------------------- */

/* A section is the first word of a name: ring, task, worker, ... */
bool screen_begins_section(const struct screen *screen, int at)
{
	if (at < 1 || at >= screen->shown_count)
		return true;
	const char *name = screen->rows[screen->shown[at]].name, *before = screen->rows[screen->shown[at - 1]].name;
	size_t bytes = strcspn(name, "_");
	return bytes != strcspn(before, "_") || strncmp(name, before, bytes) != 0;
}

static void make_rows(struct screen *screen)
{
	struct screen_row *row = screen->rows;

	for (unsigned i = 0; i < STATS; i++, row++) {
		snprintf(row->name, sizeof row->name, "%s", stat_info[i].name);
		row->text = stat_info[i].text;
		row->unit = stat_info[i].unit;
		row->counts = stat_info[i].kind == COUNTER;
	}
	for (unsigned i = 0; i < HISTS; i++) {
		for (unsigned k = 0; k < HIST_FIELDS; k++, row++) {
			snprintf(row->name, sizeof row->name, "%s.%s", hist_info[i].name, hist_fields[k].name);
			row->says = hist_fields[k].says;
			row->text = hist_info[i].text;
			row->unit = hist_fields[k].is_count ? "values" : hist_info[i].unit;
			row->counts = strcmp(hist_fields[k].name, "count") == 0 || strcmp(hist_fields[k].name, "sum") == 0;
		}
	}
}

static bool is_shown(const struct screen *screen, int at)
{
	const struct screen_row *row = &screen->rows[at];
	char name[64];

	snprintf(name, sizeof name, "%.*s", (int)strcspn(row->name, "."), row->name);
	bool selected = at < (int)STATS ? is_selected(&screen->view->selection, row->name) :
	    is_field_selected(&screen->view->selection, name, strchr(row->name, '.') + 1);
	return selected && (!screen->hides_unseen || row->value != 0) && strstr(row->name, screen->filter) != NULL;
}

static void choose_rows(struct screen *screen)
{
	screen->shown_count = 0;
	for (int i = 0; i < (int)ROWS; i++)
		if (is_shown(screen, i))
			screen->shown[screen->shown_count++] = i;
}

/* ---- looking ----------------------------------------------------------------------------- */

void screen_ranges(const struct hist *hist, uint64_t counts[RANGES])
{
	memset(counts, 0, RANGES * sizeof *counts);
	for (unsigned bucket = 0; bucket < HIST_BUCKETS; bucket++) {
		uint64_t upper = hist_bucket_upper(bucket);
		unsigned range = 0;
		while (range < RANGES - 1 && upper > (1024ull << 2 * range) - 1)
			range++;
		counts[range] += atomic_load_explicit(&hist->buckets[bucket], memory_order_relaxed);
	}
}

static uint64_t read_row(const struct board *board, int at)
{
	if (at < (int)STATS)
		return atomic_load_explicit(&board->stats[at], memory_order_relaxed);
	at -= (int)STATS;
	return hist_fields[at % HIST_FIELDS].read(&board->hists[at / HIST_FIELDS]);
}

/* A moving average whose weight grows until it spans its intervals, as varnishstat's. */
static void step_average(double *average, double value, unsigned samples, unsigned over)
{
	*average += (value - *average) / (samples < over ? samples : over);
}

static void look(struct screen *screen, double elapsed_s)
{
	view_look(screen->view);
	screen->elapsed_s = elapsed_s;
	for (int i = 0; i < (int)ROWS; i++) {
		struct screen_row *row = &screen->rows[i];
		row->before = row->value;
		row->value = read_row(screen->view->board, i);
		if (screen->looks == 0 || elapsed_s <= 0)
			continue;
		/* A counter never falls on one board; a gauge's change may be negative. */
		row->change = ((double)row->value - (double)row->before) / elapsed_s;
		for (unsigned k = 0; k < AVERAGES; k++)
			step_average(&row->average[k], row->counts ? row->change : (double)row->value, screen->looks,
			    average_over[k]);
	}
	if (screen->looks++ == 0)
		for (unsigned i = 0; i < HISTS; i++)
			screen_ranges(&screen->view->board->hists[i], screen->first[i]);
	choose_rows(screen);
}

/* False: what stands there now cannot be read; *error says why. */
static bool reopen(struct screen *screen, struct tr_error *error)
{
	const struct board *other;

	if (!board_replaced(screen->view->board, screen->view->instance))
		return true;
	enum tr_result result = board_open(&other, screen->view->instance, error);
	if (result == TR_NO_BOARD)
		return true; /* gone again: what we have is the last that was known */
	if (result != TR_OK)
		return false;
	board_close(&screen->view->board);
	screen->view->board = other;
	screen->looks = 0;
	for (int i = 0; i < (int)ROWS; i++)
		memset(screen->rows[i].average, 0, sizeof screen->rows[i].average);
	return true;
}

/* ---- keys -------------------------------------------------------------------------------- */

static void move_cursor(struct screen *screen, int by)
{
	int lines = screen_lines(screen), page = LINES - 6 > 1 ? LINES - 6 : 1;

	screen->cursor = by < -lines || screen->cursor + by < 0 ? 0 : screen->cursor + by;
	if (screen->cursor >= lines)
		screen->cursor = lines > 0 ? lines - 1 : 0;
	if (screen->cursor < screen->top)
		screen->top = screen->cursor;
	if (screen->cursor >= screen->top + page)
		screen->top = screen->cursor - page + 1;
}

/* To where a section begins: the next one, or this one's or the one's before. */
static void move_to_section(struct screen *screen, int by)
{
	int at = screen->cursor + by;

	if (screen->page != PAGE_COUNTERS)
		return;
	while (at > 0 && at < screen->shown_count && !screen_begins_section(screen, at))
		at += by;
	move_cursor(screen, at - screen->cursor);
}

static void show_page(struct screen *screen, enum page page)
{
	screen->page = page;
	screen->cursor = screen->top = 0;
}

static void type_filter(struct screen *screen, int key)
{
	size_t bytes = strlen(screen->filter);

	if (key == '\n' || key == KEY_ENTER || key == 27) {
		screen->typing_filter = false;
		if (key == 27)
			screen->filter[0] = '\0';
	} else if ((key == KEY_BACKSPACE || key == 127 || key == 8) && bytes > 0) {
		screen->filter[bytes - 1] = '\0';
	} else if (key > 32 && key < 127 && bytes < FILTER_MAX) {
		screen->filter[bytes] = (char)key;
		screen->filter[bytes + 1] = '\0';
	}
	choose_rows(screen);
	screen->cursor = screen->top = 0;
}

static void change_interval(struct screen *screen, bool longer)
{
	int next = longer ? screen->interval_ms * 2 : screen->interval_ms / 2;

	if (next >= INTERVAL_LEAST_MS && next <= INTERVAL_MOST_MS)
		screen->interval_ms = next;
}

/* False: quit. */
static bool press(struct screen *screen, int key)
{
	if (screen->typing_filter) {
		type_filter(screen, key);
		return true;
	}
	switch (key) {
	case 'q':
		return false;
	case KEY_UP: case 'k': move_cursor(screen, -1); break;
	case KEY_DOWN: case 'j': move_cursor(screen, 1); break;
	case KEY_PPAGE: move_cursor(screen, -(LINES - 7)); break;
	case KEY_NPAGE: case ' ': move_cursor(screen, LINES - 7); break;
	case KEY_HOME: case 'g': move_cursor(screen, -screen_lines(screen)); break;
	case KEY_END: case 'G': move_cursor(screen, screen_lines(screen)); break;
	case ']': move_to_section(screen, 1); break;
	case '[': move_to_section(screen, -1); break;
	case '\t': show_page(screen, (screen->page + 1) % PAGES); break;
	case '1': show_page(screen, PAGE_COUNTERS); break;
	case '2': show_page(screen, PAGE_WORKERS); break;
	case '3': show_page(screen, PAGE_LATENCY); break;
	case '4': show_page(screen, PAGE_QUEUES); break;
	case 'v':
		screen->hides_unseen = !screen->hides_unseen;
		choose_rows(screen);
		move_cursor(screen, 0);
		break;
	case 's': screen->raw = !screen->raw; break;
	case 't': screen->totals = !screen->totals; break;
	case '/': screen->typing_filter = true; break;
	case '+': change_interval(screen, true); break;
	case '-': change_interval(screen, false); break;
	default: break; /* KEY_RESIZE among them: everything is drawn anew */
	}
	return true;
}

/* ---- running ----------------------------------------------------------------------------- */

/* Reads keys until it is time to look again. False: quit. */
static bool wait_for_keys(struct screen *screen, int64_t looked_ms)
{
	for (;;) {
		int64_t left_ms = looked_ms + screen->interval_ms - clock_ms(CLOCK_MONOTONIC);
		struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
		int key;
		if (stop_asked)
			return false;
		if (left_ms <= 0)
			return true;
		if (poll(&in, 1, (int)left_ms) > 0 && (in.revents & (POLLHUP | POLLERR)) != 0 && (in.revents & POLLIN) == 0)
			return false; /* the terminal is gone */
		while ((key = getch()) != ERR)
			if (!press(screen, key))
				return false;
		screen_draw(screen);
	}
}

static bool run(struct screen *screen, struct tr_error *error)
{
	int64_t before_ms = 0;

	for (;;) {
		int64_t now_ms = clock_ms(CLOCK_MONOTONIC);
		if (!reopen(screen, error))
			return false;
		look(screen, before_ms ? (double)(now_ms - before_ms) / 1000 : 0);
		before_ms = now_ms;
		screen_draw(screen);
		if (!wait_for_keys(screen, now_ms))
			return true;
	}
}

int screen_run(struct view *view, int interval_ms)
{
	static struct screen screen; /* 20 kB */
	struct sigaction action = { .sa_handler = on_stop };
	struct tr_error error;

	screen = (struct screen){ .view = view, .interval_ms = interval_ms };
	make_rows(&screen);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	setlocale(LC_CTYPE, "");
	if (newterm(NULL, stdout, stdin) == NULL) {
		fprintf(stderr, "taskstat: this terminal (TERM=%s) is not known; -1 prints without one\n",
		    getenv("TERM") != NULL ? getenv("TERM") : "");
		return EXIT_FAILED;
	}
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	bool well = run(&screen, &error);
	endwin();
	if (!well)
		fprintf(stderr, "taskstat: %s\n", error.text);
	return well ? EXIT_DONE : EXIT_FAILED;
}
