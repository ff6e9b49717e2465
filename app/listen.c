/* An address comes in from the command line, a listening socket goes out. */
#include "app/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/log.h"

#define BACKLOG 1024 /* connections that wait for a thread */
#define HOST_BYTES_MAX 255
#define SYSTEMD_FIRST 3 /* SD_LISTEN_FDS_START */

static bool is_path(const char *address)
{
	return strchr(address, '/') != NULL;
}

static int fail(const char *address, const char *what, int error)
{
	char quoted[LOG_QUOTED_SIZE];
	log_event(LOG_ERR, "listen-failed", "address=%s reason=\"%s%s%s\"", log_quote(address, quoted), what,
	    error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
	return -1;
}

static int fail_and_close(int fd, const char *address, const char *what, int error)
{
	close(fd);
	return fail(address, what, error);
}

/* Whether nobody listens behind a path that exists. */
static bool is_left_over(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	bool refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int open_path(const char *path, uint32_t mode)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address.sun_path))
		return fail(path, "the path of a socket has at most 107 bytes", 0);
	memcpy(address.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(path, "socket", errno);
	/* The permissions must be right from the first moment on. */
	mode_t before = umask(0777 & ~(mode_t)mode);
	int result = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	if (result != 0 && errno == EADDRINUSE && is_left_over(&address) && unlink(path) == 0)
		result = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	int saved = errno;
	umask(before);
	if (result != 0)
		return fail_and_close(fd, path, saved == EADDRINUSE ? "somebody else listens there" : "bind",
		    saved == EADDRINUSE ? 0 : saved);
	if (listen(fd, BACKLOG) != 0)
		return fail_and_close(fd, path, "listen", errno);
	return fd;
}

static int open_found(const char *address, const struct addrinfo *found)
{
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(address, "socket", errno);
	int yes = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
		return fail_and_close(fd, address, "bind", errno);
	return fd;
}

static int open_host_port(const char *address)
{
	char host[HOST_BYTES_MAX + 1];
	const char *colon = strrchr(address, ':');
	if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
		return fail(address, "an address is a path, HOST:PORT, fd:N or inherited", 0);
	const char *start = address;
	size_t bytes = (size_t)(colon - address);
	if (bytes >= 2 && start[0] == '[' && start[bytes - 1] == ']') {
		start++;
		bytes -= 2;
	}
	memcpy(host, start, bytes);
	host[bytes] = '\0';
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *found = NULL;
	int error = getaddrinfo(bytes > 0 ? host : NULL, colon + 1, &hints, &found);
	if (error != 0)
		return fail(address, gai_strerror(error), 0);
	int fd = open_found(address, found);
	freeaddrinfo(found);
	return fd;
}

static int open_descriptor(int fd, const char *address)
{
	int listening = 0;
	socklen_t size = sizeof(listening);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
		return fail(address, "this descriptor is not a listening socket; name one with -s", 0);
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return fail(address, "fcntl", errno);
	return fd;
}

static bool read_number(const char *text, long most, long *number)
{
	char *end;
	*number = text != NULL && text[0] >= '0' && text[0] <= '9' ? strtol(text, &end, 10) : -1;
	return *number >= 0 && *number <= most && *end == '\0';
}

/*
 * From systemd, by sd_listen_fds(3)'s protocol, which is two environment variables: not worth a
 * library. Else descriptor 0, as FastCGI's process managers pass it.
 */
static int open_inherited(const char *address)
{
	long pid, count;
	bool ours = read_number(getenv("LISTEN_PID"), LONG_MAX, &pid) && pid == getpid();
	bool given = ours && read_number(getenv("LISTEN_FDS"), INT_MAX, &count);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (given && count != 1)
		return fail(address, "systemd has passed not exactly one socket; name one with -s fd:N", 0);
	return open_descriptor(given ? SYSTEMD_FIRST : 0, address);
}

static int open_numbered(const char *address)
{
	long number;
	if (!read_number(address + 3, INT_MAX, &number))
		return fail(address, "fd: is followed by a number", 0);
	return open_descriptor((int)number, address);
}

int listen_open(const char *address, uint32_t mode)
{
	if (strcmp(address, "inherited") == 0)
		return open_inherited(address);
	if (is_path(address))
		return open_path(address, mode);
	if (strncmp(address, "fd:", 3) == 0)
		return open_numbered(address);
	return open_host_port(address);
}

void listen_close(int fd, const char *address)
{
	close(fd);
	if (is_path(address) && unlink(address) != 0 && errno != ENOENT)
		fail(address, "unlink", errno);
}
