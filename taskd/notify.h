/*
 * The supervisor's word to the service manager, by the protocol of sd_notify(3): ready, reloading,
 * stopping, a line of status, and the watchdog's signs of life. Without a service manager nothing is
 * said, and nothing here fails. The supervisor's one thread calls it.
 */
#ifndef TASKD_NOTIFY_H
#define TASKD_NOTIFY_H

#include <stdint.h>

struct notify {
	int socket;            /* connected to the manager's; -1: there is none */
	int64_t watchdog_us;   /* the manager expects a sign of life within this; 0: it does not */
	int64_t last_alive_ms; /* when it got one */
};

/*
 * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes them from the environment, so that no
 * child speaks for us: to be called before the first fork. What is not right in them is logged and
 * then as if it were not there.
 */
struct notify notify_open(void);
void notify_close(struct notify *notify);

/* The ring is served, for the first time or after notify_reloading(). */
void notify_ready(const struct notify *notify, const char *instance);
void notify_reloading(const struct notify *notify);
/* The manager waits `timeout_ms` for the end before it kills, whatever its own limit is. */
void notify_stopping(const struct notify *notify, int64_t timeout_ms);
/* One line for people. */
void notify_status(const struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * The dispatcher has made progress at `now_ms` (monotonic). Passed on when a quarter of the manager's
 * time is over, so that one that is late, or lost, is not yet the end. Nothing else calls it: a
 * supervisor that is well says nothing for a dispatcher that is not.
 */
void notify_alive(struct notify *notify, int64_t now_ms);

#endif
