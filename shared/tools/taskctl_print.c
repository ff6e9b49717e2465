/*
 * Showing to people. Enters: texts that handlers, peers and web clients have written. Leaves: lines in
 * which none of them can move the cursor, colour the terminal, turn the direction of writing or begin a
 * line of its own. Called by the commands.
 */
#include "shared/tools/taskctl.h"

#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define ROW_SIZE 1024
#define ESCAPE_SIZE 16

size_t terminal_columns(void)
{
	struct winsize size;
	const char *columns = getenv("COLUMNS");
	uint64_t number;

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return columns != NULL && read_number(columns, 20, 10000, &number) ? (size_t)number : 80;
}

/* ---- safe text --------------------------------------------------------------------------- */

/* Marks, joiners and embeddings that are "printable" and yet change what else is seen (Unicode's Cf, and line ends). */
static bool is_invisible(wchar_t character)
{
	return character == 0xad || (character >= 0x61c && character <= 0x61c) || character == 0x180e ||
	    (character >= 0x200b && character <= 0x200f) || (character >= 0x2028 && character <= 0x202e) ||
	    (character >= 0x2060 && character <= 0x206f) || character == 0xfeff ||
	    (character >= 0xfff9 && character <= 0xfffb) || (character >= 0xe0000 && character <= 0xe0fff);
}

/*
 * The first character: how many bytes it has, how it is shown, and in how many columns. Bytes that are
 * no UTF-8 go one by one. *bytes > 0.
 */
static const char *shown(const char *text, size_t *bytes, char escape[ESCAPE_SIZE], int *columns)
{
	mbstate_t state = { 0 };
	wchar_t character;
	size_t taken = mbrtowc(&character, text, strlen(text), &state);

	if (taken == (size_t)-1 || taken == (size_t)-2) {
		*bytes = 1;
		*columns = snprintf(escape, ESCAPE_SIZE, "\\x%02x", (unsigned char)*text);
		return escape;
	}
	*bytes = taken;
	*columns = wcwidth(character);
	if (iswprint((wint_t)character) && *columns >= 0 && !is_invisible(character)) {
		memcpy(escape, text, taken); /* at most 6 bytes */
		escape[taken] = '\0';
		return escape;
	}
	*columns = snprintf(escape, ESCAPE_SIZE, character < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)character);
	return escape;
}

void print_text(FILE *to, const char *text, size_t columns)
{
	char escape[ESCAPE_SIZE];
	size_t bytes, used = 0;
	int width;

	/* Whatever the terminal's locale is: what is not ASCII is UTF-8. */
	static bool set;
	if (!set)
		set = setlocale(LC_CTYPE, "C.UTF-8") != NULL;
	for (const char *at = text; *at != '\0' && columns > 0; at += bytes) {
		shown(at, &bytes, escape, &width);
		used += (size_t)width;
	}
	bool cut = columns > 0 && used > columns;
	used = 0;
	for (; *text != '\0'; text += bytes) {
		shown(text, &bytes, escape, &width);
		used += (size_t)width;
		if (cut && used > columns - 1) {
			fputs("…", to);
			return;
		}
		fputs(escape, to);
	}
}

/* ---- times and names --------------------------------------------------------------------- */

const char *time_text(int64_t time_ms, char text[TIME_TEXT_SIZE])
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm utc;

	snprintf(text, TIME_TEXT_SIZE, "-");
	if (time_ms <= 0 || gmtime_r(&seconds, &utc) == NULL)
		return text;
	size_t used = strftime(text, TIME_TEXT_SIZE - 8, "%Y-%m-%dT%H:%M:%S", &utc);
	if (used == 0)
		snprintf(text, TIME_TEXT_SIZE, "%" PRId64, time_ms);
	else
		snprintf(text + used, TIME_TEXT_SIZE - used, ".%03dZ", (int)(time_ms % 1000));
	return text;
}

const char *duration_text(int64_t ms, char text[DURATION_TEXT_SIZE])
{
	if (ms < 10000)
		snprintf(text, DURATION_TEXT_SIZE, "%" PRId64 "ms", ms);
	else if (ms < 600000)
		snprintf(text, DURATION_TEXT_SIZE, "%" PRId64 "s", ms / 1000);
	else if (ms < 36000000)
		snprintf(text, DURATION_TEXT_SIZE, "%" PRId64 "m", ms / 60000);
	else
		snprintf(text, DURATION_TEXT_SIZE, "%" PRId64 "h", ms / 3600000);
	return text;
}

const char *attempt_text(const struct tr_task_status *status, const char *of, char text[ATTEMPT_TEXT_SIZE])
{
	int used = snprintf(text, ATTEMPT_TEXT_SIZE, "%" PRIu32, status->attempt);

	if (status->attempt <= status->max_attempts)
		snprintf(text + used, ATTEMPT_TEXT_SIZE - (size_t)used, "%s%" PRIu32, of, status->max_attempts);
	return text;
}

/* syslog's number as the handler's API names it. */
const char *level_name(int level)
{
	return level <= 3 ? "error" : level == 4 ? "warning" : level <= 6 ? "info" : "debug";
}

/* ---- rows of a list ---------------------------------------------------------------------- */

#define ROW_FORMAT "%-36s %-9s %-16s %-8s %-7s %6s  %s"

void print_row_head(size_t columns)
{
	char line[ROW_SIZE];

	snprintf(line, sizeof line, ROW_FORMAT, "ID", "STATE", "HANDLER", "QUEUE", "ATTEMPT", "AGE", "NOTE");
	print_text(stdout, line, columns);
	putchar('\n');
}

/* What one most likely wants to know of a task in that state. */
static void note(const struct tr_task_status *status, char *text, size_t size)
{
	char time[TIME_TEXT_SIZE];

	text[0] = '\0';
	if (status->state == TR_RUNNING && status->cancelling)
		snprintf(text, size, "is being cancelled");
	else if (status->state == TR_RUNNING && status->progress_total > 0)
		snprintf(text, size, "%" PRIu64 "/%" PRIu64 " %s", status->progress_done, status->progress_total, status->progress_text);
	else if (status->state == TR_SCHEDULED)
		snprintf(text, size, "due %s", time_text(status->due_ms, time));
	else if (status->state == TR_RETRYING)
		snprintf(text, size, "due %s: %s", time_text(status->due_ms, time), status->error);
	else if (status->state != TR_SUCCEEDED)
		snprintf(text, size, "%s", status->error);
}

void print_row(const struct tr_task_status *status, size_t columns)
{
	char line[ROW_SIZE], id[TR_ID_TEXT_SIZE], age[DURATION_TEXT_SIZE], attempt[ATTEMPT_TEXT_SIZE], text[ROW_SIZE / 2];
	int64_t age_ms = now_ms() - status->created_ms;

	note(status, text, sizeof text);
	snprintf(line, sizeof line, ROW_FORMAT, tr_id_format(&status->id, id), tr_state_name(status->state), status->handler,
	    status->queue, attempt_text(status, "/", attempt), duration_text(age_ms > 0 ? age_ms : 0, age), text);
	size_t bytes = strlen(line);
	while (bytes > 0 && line[bytes - 1] == ' ')
		line[--bytes] = '\0';
	print_text(stdout, line, columns);
	putchar('\n');
}
