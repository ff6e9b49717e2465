/*
 * The log: one line per event on standard error, for journald or a file:
 *   <6>taskd[dispatcher 4711] worker-ended pool=default worker=2 reason="killed by signal 11"
 * "<N>" is the priority (sd-daemon(3)); it is left out when standard error is a terminal. Then
 * event name and key=value fields; values that are not plain words are quoted, with quotes,
 * backslashes and control characters escaped, so one event is always one line.
 */
#ifndef TASKD_LOG_H
#define TASKD_LOG_H

#include <syslog.h>

/* `role` is shown in each line and lives for ever, e.g. "supervisor". Call it again after fork(). */
void log_open(const char *role, int level);

/*
 * log_event(LOG_INFO, "task-dead", "id=%s handler=%s attempt=%u", ...): `format` is made of
 * space-separated key=%conversion fields; each value is quoted where it must be. One write(2).
 */
void log_event(int priority, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
