/*
 * The service manager's notification protocol: a datagram of NAME=value lines to the Unix socket that
 * NOTIFY_SOCKET names; called by supervisor.c. Written out, as sd_notify(3) itself proposes to programs
 * that need no more of libsystemd than this: the library brings six others with it (libgcrypt, three
 * compressors, ...), 1.3 MB resident in each of taskd's processes.
 */
#include "taskd/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/clock.h"
#include "taskd/log.h"

#define MESSAGE_SIZE 512
/* A manager that does not read holds the supervisor this long for each message, no longer. */
#define SEND_TIMEOUT_S 1
/* The dispatcher's heart beats once a second: a manager that waits less than this kills healthy ones. */
#define WATCHDOG_LEAST_US 3000000

/* A path, or '@' and an abstract name. Connected, or -1 and errno. */
static int connect_to(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(name);
	if ((name[0] != '/' && name[0] != '@') || name[1] == '\0') {
		errno = EAFNOSUPPORT;
		return -1;
	}
	if (length >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	/* An abstract name has no zero at its end. */
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
	const struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&address, size) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0)
		return fd;
	int failed = errno;
	close(fd);
	errno = failed;
	return -1;
}

/* A decimal number above 0, nothing else. */
static bool read_number(const char *text, int64_t *number)
{
	char *end;
	errno = 0;
	intmax_t value = strtoimax(text, &end, 10);
	if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value <= 0)
		return false;
	*number = value;
	return true;
}

/* 0: nobody expects signs of life from this process. */
static int64_t watchdog_time(const char *usec, const char *pid)
{
	int64_t us, meant;
	if (usec == NULL)
		return 0;
	if (!read_number(usec, &us) || (pid != NULL && !read_number(pid, &meant))) {
		log_event(LOG_WARNING, "watchdog-ignored", "usec=%s pid=%s", usec, pid != NULL ? pid : "-");
		return 0;
	}
	if (pid != NULL && meant != getpid())
		return 0;
	if (us < WATCHDOG_LEAST_US)
		log_event(LOG_WARNING, "watchdog-short", "usec=%s least=%d", usec, WATCHDOG_LEAST_US);
	return us;
}

struct notify notify_open(void)
{
	struct notify notify = { .socket = -1 };
	const char *name = getenv("NOTIFY_SOCKET");
	if (name != NULL) {
		notify.socket = connect_to(name);
		if (notify.socket < 0)
			log_event(LOG_WARNING, "notify-ignored", "socket=%s error=%m", name);
		else
			notify.watchdog_us = watchdog_time(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return notify;
}

void notify_close(struct notify *notify)
{
	if (notify->socket >= 0)
		close(notify->socket);
	notify->socket = -1;
}

static void say(const struct notify *notify, const char *message)
{
	if (notify->socket < 0)
		return;
	ssize_t sent;
	do
		sent = send(notify->socket, message, strlen(message), MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		log_event(LOG_WARNING, "notify-failed", "message=%s error=%m", message);
}

void notify_ready(const struct notify *notify, const char *instance)
{
	char message[MESSAGE_SIZE];
	snprintf(message, sizeof(message), "READY=1\nSTATUS=Serving instance %s.", instance);
	say(notify, message);
}

void notify_reloading(const struct notify *notify)
{
	char message[MESSAGE_SIZE];
	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_ns(CLOCK_MONOTONIC) / 1000);
	say(notify, message);
}

void notify_stopping(const struct notify *notify, int64_t timeout_ms)
{
	char message[MESSAGE_SIZE];
	snprintf(message, sizeof(message),
	    "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64 "\nSTATUS=Draining: running tasks finish, the rest stays in the journal.",
	    timeout_ms * 1000);
	say(notify, message);
}

void notify_status(const struct notify *notify, const char *format, ...)
{
	char message[MESSAGE_SIZE];
	int head = snprintf(message, sizeof(message), "STATUS=");
	va_list list;
	va_start(list, format);
	vsnprintf(message + head, sizeof(message) - (size_t)head, format, list);
	va_end(list);
	say(notify, message);
}

void notify_alive(struct notify *notify, int64_t now_ms)
{
	if (notify->watchdog_us == 0 || now_ms - notify->last_alive_ms < notify->watchdog_us / 4000)
		return;
	notify->last_alive_ms = now_ms;
	say(notify, "WATCHDOG=1");
}
