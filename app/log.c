/*
 * Events come in from the master and from every responder thread, one line each goes out to
 * standard error in one write(2).
 */
#include "app/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 1024

static int log_level = LOG_WARNING;
static bool log_terminal;

static const char *const level_names[] = {
	[LOG_ERR] = "error", [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

void log_open(int level)
{
	log_level = level;
	log_terminal = isatty(STDERR_FILENO) == 1;
}

int log_level_by_name(const char *name)
{
	for (int level = LOG_ERR; level <= LOG_DEBUG; level++)
		if (strcmp(name, level_names[level]) == 0)
			return level;
	return -1;
}

int log_wants(int priority)
{
	return priority <= log_level;
}

/* How much of the line is used after a call of snprintf() that wanted to add `length` bytes. */
static size_t advance(size_t used, int length)
{
	if (length < 0)
		return used;
	size_t wanted = used + (size_t)length;
	return wanted < LINE_SIZE - 1 ? wanted : LINE_SIZE - 1;
}

__attribute__((format(printf, 3, 0))) static void write_line(int priority, const char *event, const char *format, va_list list)
{
	char line[LINE_SIZE];
	size_t used = 0;
	if (!log_terminal)
		used = advance(used, snprintf(line, sizeof(line), "<%d>", priority));
	used = advance(used, snprintf(line + used, sizeof(line) - used, "taskring-app[%ld] %s ", (long)getpid(), event));
	used = advance(used, vsnprintf(line + used, sizeof(line) - used, format, list));
	line[used++] = '\n';
	/* Where the log cannot be written there is nobody to tell. */
	ssize_t written = write(STDERR_FILENO, line, used);
	(void)written;
}

void log_event(int priority, const char *event, const char *format, ...)
{
	if (!log_wants(priority))
		return;
	va_list list;
	va_start(list, format);
	write_line(priority, event, format, list);
	va_end(list);
}

void log_always(const char *event, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	write_line(LOG_NOTICE, event, format, list);
	va_end(list);
}

char *log_quote(const char *text, char quoted[LOG_QUOTED_SIZE])
{
	size_t used = 0;
	quoted[used++] = '"';
	/* Room for the longest escape, the quote and the zero. */
	for (; *text != '\0' && used < LOG_QUOTED_SIZE - 6; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte == '"' || byte == '\\') {
			quoted[used++] = '\\';
			quoted[used++] = *text;
		} else if (byte >= 0x20 && byte < 0x7f) {
			quoted[used++] = *text;
		} else {
			used += (size_t)snprintf(quoted + used, LOG_QUOTED_SIZE - used, "\\x%02x", byte);
		}
	}
	quoted[used++] = '"';
	quoted[used] = '\0';
	return quoted;
}
