/*
 * A web server's side of FastCGI: records written by hand to a Unix socket, and what comes back.
 */
#ifndef FCGI_FIXTURE_H
#define FCGI_FIXTURE_H

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "app/log.h"
#include "tests/unit/runner.h"

#define PATIENCE_MS 5000

enum { BEGIN = 1, ABORT = 2, END = 3, PARAMS = 4, INPUT = 5, OUTPUT = 6, ERRORS = 7, KEEP = 1 };

static char path[100];

static inline int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline void send_record(int fd, int type, const void *content, size_t bytes)
{
	char record[8 + 65535];
	const unsigned char head[8] = { 1, (unsigned char)type, 0, 1, (unsigned char)(bytes >> 8), (unsigned char)bytes };
	memcpy(record, head, 8);
	memcpy(record + 8, content, bytes);
	CU_ASSERT_EQUAL(send(fd, record, bytes + 8, MSG_NOSIGNAL), (ssize_t)(bytes + 8));
}

static inline size_t add_param(char *params, size_t used, const char *name, const char *value)
{
	params[used++] = (char)strlen(name);
	params[used++] = (char)strlen(value);
	return used + (size_t)sprintf(params + used, "%s%s", name, value);
}

/* `length` NULL: no CONTENT_LENGTH. */
static inline void ask_head(int fd, const char *uri, const char *length, int flags)
{
	char params[1024];
	const unsigned char begin[8] = { 0, 1, (unsigned char)flags };
	size_t used = add_param(params, 0, "REQUEST_METHOD", "POST");
	used = add_param(params, used, "REQUEST_URI", uri);
	if (length != NULL)
		used = add_param(params, used, "CONTENT_LENGTH", length);
	send_record(fd, BEGIN, begin, sizeof(begin));
	send_record(fd, PARAMS, params, used);
	send_record(fd, PARAMS, "", 0);
}

static inline void ask(int fd, const char *uri, const char *length, size_t body_bytes, int flags)
{
	ask_head(fd, uri, length, flags);
	static char body[60000];
	for (size_t sent = 0; sent < body_bytes;) {
		size_t chunk = body_bytes - sent < sizeof(body) ? body_bytes - sent : sizeof(body);
		send_record(fd, INPUT, body, chunk);
		sent += chunk;
	}
	send_record(fd, INPUT, "", 0);
}

static inline bool receive(int fd, void *to, size_t bytes)
{
	for (size_t got = 0; got < bytes;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		if (poll(&wait, 1, PATIENCE_MS) != 1)
			return false;
		ssize_t count = recv(fd, (char *)to + got, bytes - got, 0);
		if (count <= 0)
			return false;
		got += (size_t)count;
	}
	return true;
}

static _Thread_local char error_line[2000]; /* what the last answer brought by FCGI_STDERR */

/* The status of the answer; -1: the connection ended, or nothing came. */
static inline int answer_status(int fd)
{
	char text[70000] = "";
	error_line[0] = '\0';
	size_t used = 0;
	for (;;) {
		unsigned char head[8];
		char content[65536 + 256];
		if (!receive(fd, head, sizeof(head)))
			return -1;
		size_t bytes = (size_t)head[4] << 8 | head[5];
		if (!receive(fd, content, bytes + head[6]))
			return -1;
		if (head[1] == OUTPUT && used + bytes < sizeof(text)) {
			memcpy(text + used, content, bytes);
			used += bytes;
		}
		if (head[1] == ERRORS && bytes > 0 && bytes < sizeof(error_line)) {
			memcpy(error_line, content, bytes);
			error_line[bytes] = '\0';
		}
		if (head[1] == END)
			return strncmp(text, "Status: ", 8) == 0 ? atoi(text + 8) : 0;
	}
}

static inline bool is_closed(int fd)
{
	char byte;
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	return poll(&wait, 1, PATIENCE_MS) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

/* Whether the responder has asked us to let go: an empty FCGI_STDERR record. */
static inline bool is_asked(int fd)
{
	static const unsigned char asked[8] = { 1, ERRORS, 0, 1 };
	unsigned char head[8];
	return receive(fd, head, sizeof(head)) && memcmp(head, asked, sizeof(head)) == 0;
}

/* main()'s work; `path` is a socket of its own. */
static inline int run_server_tests(const char *suite, const struct suite_test *tests, size_t count)
{
	snprintf(path, sizeof(path), "/tmp/%s-%ld.sock", suite, (long)getpid());
	log_open(LOG_EMERG);
	signal(SIGPIPE, SIG_IGN);
	return run_suite(suite, NULL, NULL, tests, count);
}
#define RUN_SERVER_TESTS(suite, tests) run_server_tests(suite, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
