/*
 * The responder's log: one line per event on standard error, in the form of taskd's:
 *   <6>taskring-app[4711] request id=... method=POST path="/register" status=202
 * The priority is left out when standard error is a terminal.
 */
#ifndef APP_LOG_H
#define APP_LOG_H

#include <stddef.h>
#include <syslog.h>

/* Lines less urgent than `level` are dropped. Before there are threads. */
void log_open(int level);
/* The level of that name ("error" "warning" "notice" "info" "debug"), or -1. */
int log_level_by_name(const char *name);
/* False: a line of this priority would be dropped, so nothing needs to be gathered for it. */
int log_wants(int priority);

/*
 * One line: event name and space-separated key=value fields. Text from outside goes through
 * log_quote() first. Cut at 1,000 bytes. Any thread.
 */
void log_event(int priority, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, a notice, whatever the level is. */
void log_always(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define LOG_QUOTED_SIZE 512
/* `text` in quotes, with quotes, backslashes and whatever is not printable ASCII escaped; cut. */
char *log_quote(const char *text, char quoted[LOG_QUOTED_SIZE]);

#endif
