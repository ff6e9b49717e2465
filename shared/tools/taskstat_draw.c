/* The full screen's pages: what was seen in, characters on the terminal out. */
#include "shared/tools/taskstat_screen.h"

#include <curses.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEAD_LINES 3
#define FOOT_LINES 3
#define TEXT_MAX 256
#define CELL_SIZE 24
#define BAR_MAX 60
#define BAR_AT 33 /* what stands before a bar */

/* ---- numbers ----------------------------------------------------------------------------- */

/* Four significant digits and a prefix, or a unit of time. */
static void scale(char *text, size_t size, double value, const char *unit)
{
	static const struct { double from; const char *ending; } counts[] = {
		{ 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" },
	}, times_ns[] = { { 3.6e12, "h" }, { 6e10, "min" }, { 1e9, "s" }, { 1e6, "ms" }, { 1e3, "us" } };
	bool ns = strcmp(unit, "ns") == 0, ms = strcmp(unit, "ms") == 0;
	double from = ms ? value * 1e6 : value, magnitude = from < 0 ? -from : from;
	size_t count = ns || ms ? sizeof times_ns / sizeof *times_ns : sizeof counts / sizeof *counts;

	for (size_t i = 0; i < count; i++) {
		double step = ns || ms ? times_ns[i].from : counts[i].from;
		if (magnitude >= step) {
			snprintf(text, size, "%.4g %s", from / step, ns || ms ? times_ns[i].ending : counts[i].ending);
			return;
		}
	}
	snprintf(text, size, "%.4g%s", from, (ns || ms) && magnitude > 0 ? " ns" : "");
}

static void number(char *text, size_t size, const struct screen *screen, double value, const char *unit)
{
	if (screen->raw)
		snprintf(text, size, "%.*f", value < 1e6 && value > -1e6 && value != (double)(int64_t)value ? 2 : 0, value);
	else
		scale(text, size, value, unit);
}

static void put(int line, int column, attr_t attributes, const char *text)
{
	if (line < 0 || line >= LINES || column >= COLS)
		return;
	attr_set(attributes, 0, NULL);
	mvaddnstr(line, column, text, COLS - column);
	attr_set(A_NORMAL, 0, NULL);
}

/* What stands at the left and, behind it, as many of the cells as fit whole. */
static void put_row(int line, attr_t attributes, const char *left, int width, const char cells[][CELL_SIZE], size_t count)
{
	char text[TEXT_MAX];
	int used = snprintf(text, sizeof text, "%s", left);

	for (size_t i = 0; i < count && used + width <= COLS && used + width < TEXT_MAX; i++)
		used += snprintf(text + used, sizeof text - (size_t)used, "%*s", width, cells[i]);
	put(line, 0, attributes, text);
}

/* At the foot: one line, or two. */
static void put_help(const char *text)
{
	int first = (int)strlen(text);

	if (first > COLS) {
		first = COLS;
		while (first > 0 && text[first] != ' ')
			first--;
		put(LINES - 2, 0, A_BOLD, text + first + 1);
	}
	attr_set(A_BOLD, 0, NULL);
	mvaddnstr(text[first] == '\0' ? LINES - 2 : LINES - 3, 0, text, first);
	attr_set(A_NORMAL, 0, NULL);
}

static int between(int least, int wanted, int most)
{
	return wanted < least ? least : wanted > most ? most : wanted;
}

/* ---- counters ---------------------------------------------------------------------------- */

#define NAME_COLUMNS 24

static int counter_width(const struct screen *screen)
{
	return between(screen->raw ? 15 : 11, (COLS - NAME_COLUMNS) / (2 + AVERAGES), 16);
}

static void draw_counter(const struct screen *screen, int line, int at)
{
	const struct screen_row *row = &screen->rows[screen->shown[at]];
	char cells[2 + AVERAGES][CELL_SIZE], name[TEXT_MAX];

	number(cells[0], CELL_SIZE, screen, (double)row->value, row->unit);
	number(cells[1], CELL_SIZE, screen, row->change, row->unit);
	for (unsigned i = 0; i < AVERAGES; i++)
		number(cells[2 + i], CELL_SIZE, screen, row->average[i], row->unit);
	snprintf(name, sizeof name, "%-*s", NAME_COLUMNS, row->name);
	put_row(line, at == screen->cursor ? A_REVERSE : screen_begins_section(screen, at) ? A_BOLD : A_NORMAL, name,
	    counter_width(screen), cells, 2 + AVERAGES);
}

static void draw_counters(const struct screen *screen)
{
	static const char heads[2 + AVERAGES][CELL_SIZE] = { "CURRENT", "CHANGE/s", "AVG_10", "AVG_100", "AVG_1000" };
	char text[2 * TEXT_MAX];

	snprintf(text, sizeof text, "%-*s", NAME_COLUMNS, "NAME");
	put_row(HEAD_LINES - 1, A_UNDERLINE, text, counter_width(screen), heads, 2 + AVERAGES);
	for (int i = screen->top; i < screen->shown_count && HEAD_LINES + i - screen->top < LINES - FOOT_LINES; i++)
		draw_counter(screen, HEAD_LINES + i - screen->top, i);
	if (screen->shown_count == 0) {
		put(HEAD_LINES, 0, A_NORMAL, "nothing to show: see the filter (/) and hidden ones (v)");
		return;
	}
	const struct screen_row *row = &screen->rows[screen->shown[screen->cursor]];
	snprintf(text, sizeof text, "%s: %s%s%s (%s, %s)", row->name, row->says != NULL ? row->says : "",
	    row->says != NULL ? ": " : "", row->text, row->counts ? "counter" : "gauge", row->unit);
	put_help(text);
}

/* ---- workers ----------------------------------------------------------------------------- */

static const char *worker_state_name(uint32_t state)
{
	static const char *const names[] = {
		[WORKER_STARTING] = "starting", [WORKER_IDLE] = "idle", [WORKER_BUSY] = "busy",
		[WORKER_BACKING_OFF] = "backing off",
	};

	return state < sizeof names / sizeof *names && names[state] != NULL ? names[state] : "?";
}

static unsigned count_running(const struct board *board, uint32_t row)
{
	static const struct tr_id lowest, highest = { { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
		255, 255 } };
	struct board_entry entry;
	unsigned count = 0;

	for (uint32_t i = 0; i < board->entries; i++)
		count += board_copy_entry(board, i, 1u << TR_RUNNING, &lowest, &highest, &entry) && entry.worker == row + 1;
	return count;
}

/* What it runs, for how long, and how far it is; of many one, and how many they are. */
static void describe_running(char *text, size_t size, const struct screen *screen, uint32_t row, const struct tr_id *id)
{
	struct board_entry entry;
	char since[CELL_SIZE], many[CELL_SIZE] = "", progress[64] = "";
	unsigned count = count_running(screen->view->board, row);

	text[0] = '\0';
	if (count == 0 || !board_find(screen->view->board, id, &entry) || entry.state != TR_RUNNING)
		return;
	if (count > 1)
		snprintf(many, sizeof many, "%u tasks: ", count);
	if (entry.progress_total > 0)
		snprintf(progress, sizeof progress, ", %.0f %% %.40s",
		    100.0 * (double)entry.progress_done / (double)entry.progress_total, entry.progress_text);
	scale(since, sizeof since, (double)(screen->view->now_ms - entry.started_ms), "ms");
	snprintf(text, size, "%s%.24s for %s%s", many, entry.handler, since, progress);
}

#define WORKER_CELLS 4

static int running_columns(void)
{
	return between(30, COLS - 46 - 10 * WORKER_CELLS, 70); /* 46: what stands before */
}

static void draw_worker(const struct screen *screen, int line, bool marked, uint32_t row, const struct board_worker *worker)
{
	char left[TEXT_MAX], running[160], memory[CELL_SIZE], cells[WORKER_CELLS][CELL_SIZE] = { "", "", "", "-" };
	int width = running_columns();

	scale(memory, sizeof memory, (double)worker->memory_kb * 1024, "");
	describe_running(running, sizeof running, screen, row, &worker->running);
	snprintf(left, sizeof left, "%-12.12s %8d %-11s %9s   %-*.*s", worker->pool, worker->pid, worker_state_name(worker->state),
	    worker->memory_kb ? memory : "-", width, width, running);
	scale(cells[0], CELL_SIZE, (double)(screen->view->now_ms - worker->started_ms), "ms");
	number(cells[1], CELL_SIZE, screen, (double)worker->tasks, "tasks");
	number(cells[2], CELL_SIZE, screen, (double)worker->restarts, "");
	if (worker->peak_memory_kb > 0)
		scale(cells[3], CELL_SIZE, (double)worker->peak_memory_kb * 1024, "");
	put_row(line, marked ? A_REVERSE : A_NORMAL, left, 10, cells, WORKER_CELLS);
}

static void draw_workers(const struct screen *screen)
{
	static const char heads[WORKER_CELLS][CELL_SIZE] = { "UP", "TASKS", "RESTARTS", "LAST PEAK" };
	char text[TEXT_MAX];
	int line = HEAD_LINES, seen = 0;

	snprintf(text, sizeof text, "%-12s %8s %-11s %9s   %-*s", "POOL", "PID", "STATE", "MEMORY", running_columns(), "RUNS");
	put_row(HEAD_LINES - 1, A_UNDERLINE, text, 10, heads, WORKER_CELLS);
	for (uint32_t row = 0; row < screen->view->board->workers && line < LINES - FOOT_LINES; row++) {
		struct board_worker worker;
		if (!board_copy_worker(screen->view->board, row, &worker) || worker.state == WORKER_NONE ||
		    seen++ < screen->top)
			continue;
		draw_worker(screen, line++, seen - 1 == screen->cursor, row, &worker);
	}
	put_help("MEMORY: resident bytes; LAST PEAK: of the process before in this row, at most");
}

static int worker_lines(const struct screen *screen)
{
	struct board_worker worker;
	int lines = 0;

	for (uint32_t row = 0; row < screen->view->board->workers; row++)
		lines += board_copy_worker(screen->view->board, row, &worker) && worker.state != WORKER_NONE;
	return lines;
}

/* ---- queues ------------------------------------------------------------------------------ */

#define QUEUE_CELLS 7

static int queue_name_columns(void)
{
	return between(20, COLS - 7 - 10 * QUEUE_CELLS, TR_NAME_MAX);
}

static void draw_queue(const struct screen *screen, int line, bool marked, const struct board_queue *queue)
{
	char left[TEXT_MAX], cells[QUEUE_CELLS][CELL_SIZE];
	const uint64_t numbers[QUEUE_CELLS] = { queue->waiting, 0, queue->running, queue->scheduled, queue->retrying,
		queue->accepted, queue->ended };
	int width = queue_name_columns();

	for (size_t i = 0; i < QUEUE_CELLS; i++)
		number(cells[i], CELL_SIZE, screen, (double)numbers[i], "tasks");
	if (queue->oldest_due_ms)
		scale(cells[1], CELL_SIZE, (double)(screen->view->now_ms - queue->oldest_due_ms), "ms");
	else
		snprintf(cells[1], CELL_SIZE, "-");
	snprintf(left, sizeof left, "%-*.*s %-6s", width, width, queue->name, queue->paused ? "paused" : "");
	put_row(line, marked ? A_REVERSE : queue->paused ? A_BOLD : A_NORMAL, left, 10, cells, QUEUE_CELLS);
}

static void draw_queues(const struct screen *screen)
{
	static const char heads[QUEUE_CELLS][CELL_SIZE] = { "WAITING", "OLDEST", "RUNNING", "SCHEDULED", "RETRYING", "ACCEPTED",
		"ENDED" };
	char text[TEXT_MAX];
	int line = HEAD_LINES, seen = 0;

	snprintf(text, sizeof text, "%-*s %6s", queue_name_columns(), "QUEUE", "");
	put_row(HEAD_LINES - 1, A_UNDERLINE, text, 10, heads, QUEUE_CELLS);
	for (uint32_t row = 0; row < screen->view->board->queues && line < LINES - FOOT_LINES; row++) {
		struct board_queue queue;
		if (!board_copy_queue(screen->view->board, row, &queue) || seen++ < screen->top)
			continue;
		draw_queue(screen, line++, seen - 1 == screen->cursor, &queue);
	}
	put_help("tasks of each queue; OLDEST: how long the longest waiting due one has waited");
}

static int queue_lines(const struct screen *screen)
{
	struct board_queue queue;
	int lines = 0;

	for (uint32_t row = 0; row < screen->view->board->queues; row++)
		lines += board_copy_queue(screen->view->board, row, &queue);
	return lines;
}

/* ---- latency ----------------------------------------------------------------------------- */

/* A line of what scrolls. */
static void put_scrolled(const struct screen *screen, int line, attr_t attributes, const char *text)
{
	line += HEAD_LINES - screen->top;
	if (line >= HEAD_LINES && line < LINES - FOOT_LINES)
		put(line, 0, attributes, text);
}

/* The heading of one histogram and a bar for each range that holds something. */
static void draw_hist(const struct screen *screen, unsigned at, int *line)
{
	const struct hist *hist = &screen->view->board->hists[at];
	uint64_t counts[RANGES], most = 1;
	char text[TEXT_MAX], upper[24], quantiles[3][24], bar[BAR_MAX + 1];

	screen_ranges(hist, counts);
	for (unsigned i = 0; i < RANGES; i++) {
		counts[i] -= screen->totals ? 0 : screen->first[at][i];
		most = counts[i] > most ? counts[i] : most;
	}
	scale(quantiles[0], sizeof quantiles[0], (double)hist_quantile(hist, 500), "ns");
	scale(quantiles[1], sizeof quantiles[1], (double)hist_quantile(hist, 990), "ns");
	scale(quantiles[2], sizeof quantiles[2], (double)hist_quantile(hist, 999), "ns");
	snprintf(text, sizeof text, "%s: p50 %s, p99 %s, p99.9 %s. %s", hist_info[at].name, quantiles[0], quantiles[1],
	    quantiles[2], hist_info[at].text);
	put_scrolled(screen, (*line)++, A_BOLD, text);
	for (unsigned i = 0; i < RANGES; i++) {
		if (counts[i] == 0)
			continue;
		size_t width = (size_t)((double)counts[i] / (double)most * between(1, COLS - BAR_AT, BAR_MAX));
		memset(bar, '#', width);
		bar[width] = '\0';
		scale(upper, sizeof upper, (double)(1024ull << 2 * i), "ns");
		snprintf(text, sizeof text, "  %s %9s %12" PRIu64 " %s", i < RANGES - 1 ? "up to" : "above",
		    i < RANGES - 1 ? upper : "all", counts[i], width ? bar : "|");
		put_scrolled(screen, (*line)++, A_NORMAL, text);
	}
	(*line)++;
}

static void draw_latency(const struct screen *screen)
{
	int line = 0;

	for (unsigned i = 0; i < HISTS; i++)
		draw_hist(screen, i, &line);
	put_help(screen->totals ? "counts since the board was made (t: since this screen began); quantiles of all" :
	    "counts since this screen began (t: since the board was made); quantiles of all");
}

/* ---- the whole --------------------------------------------------------------------------- */

int screen_lines(const struct screen *screen)
{
	switch (screen->page) {
	case PAGE_COUNTERS:
		return screen->shown_count;
	case PAGE_WORKERS:
		return worker_lines(screen);
	case PAGE_QUEUES:
		return queue_lines(screen);
	default:
		return (int)HISTS * (RANGES + 2);
	}
}

static void draw_head(const struct screen *screen)
{
	static const char *const pages[PAGES] = { "1 counters", "2 workers", "3 latency", "4 queues" };
	char text[TEXT_MAX], up[24];
	bool well = screen->view->life == TASKD_RUNNING || screen->view->life == TASKD_DRAINING;
	int column = 0;

	scale(up, sizeof up, screen->view->seconds * 1000, "ms");
	snprintf(text, sizeof text, "taskring %s: taskd %s, pid %d, up %s; every %g s%s%s%s", screen->view->instance,
	    taskd_life_name[screen->view->life], screen->view->pid, up, screen->interval_ms / 1000.0,
	    screen->hides_unseen ? "; unseen hidden" : "", screen->filter[0] != '\0' ? "; filter " : "", screen->filter);
	put(0, 0, well ? A_BOLD : A_BOLD | A_REVERSE, text);
	for (int i = 0; i < PAGES; i++) {
		put(1, column, i == (int)screen->page ? A_REVERSE : A_NORMAL, pages[i]);
		column += (int)strlen(pages[i]) + 2;
	}
}

void screen_draw(const struct screen *screen)
{
	erase();
	switch (screen->page) {
	case PAGE_COUNTERS:
		draw_counters(screen);
		break;
	case PAGE_WORKERS:
		draw_workers(screen);
		break;
	case PAGE_QUEUES:
		draw_queues(screen);
		break;
	default:
		draw_latency(screen);
	}
	draw_head(screen);
	char text[TEXT_MAX];
	snprintf(text, sizeof text, "filter: %s_", screen->filter);
	put(LINES - 1, 0, A_NORMAL, screen->typing_filter ? text :
	    "q quit  1-4 page  [ ] section  / filter  v unseen  s raw  t total  +/- interval");
	refresh();
}
