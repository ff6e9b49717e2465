/* taskd/notify.c on real sockets: what a service manager reads, and what is made of its variables. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "taskd/log.h"
#include "taskd/notify.h"
#include "tests/unit/runner.h"

static char name[64]; /* of the manager's socket */
static char heard[1024];

/* A manager that listens under a path or, with '@', an abstract name. */
static int manager_new(char first)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(name, sizeof(name), "%ctmp/test_notify.%ld", first, (long)getpid());
	memcpy(address.sun_path, name, strlen(name));
	if (first == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CU_ASSERT_FATAL(fd >= 0);
	unlink(name);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	CU_ASSERT_EQUAL_FATAL(bind(fd, (const struct sockaddr *)&address, first == '@' ? size : size + 1), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void manager_free(int manager)
{
	close(manager);
	if (name[0] == '/')
		unlink(name);
}

/* The next message, whole; "" when there is none. */
static const char *hear(int manager)
{
	ssize_t got = recv(manager, heard, sizeof(heard) - 1, 0);
	heard[got > 0 ? got : 0] = '\0';
	return heard;
}

static void expect_conversation(char first)
{
	int manager = manager_new(first);
	struct notify notify = notify_open();
	CU_ASSERT_PTR_NULL(getenv("NOTIFY_SOCKET"));
	CU_ASSERT_STRING_EQUAL(hear(manager), "");
	notify_ready(&notify, "shop");
	CU_ASSERT_STRING_EQUAL(hear(manager), "READY=1\nSTATUS=Serving instance shop.");
	notify_status(&notify, "Of %d.", 2);
	CU_ASSERT_STRING_EQUAL(hear(manager), "STATUS=Of 2.");

	struct timespec now;
	int64_t said = 0;
	notify_reloading(&notify);
	CU_ASSERT_EQUAL(sscanf(hear(manager), "RELOADING=1\nMONOTONIC_USEC=%" SCNd64, &said), 1);
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	CU_ASSERT_TRUE(said <= now_us && said > now_us - 10000000);

	notify_stopping(&notify, 40000);
	CU_ASSERT_EQUAL(strncmp(hear(manager), "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\nSTATUS=Draining", 55), 0);
	/* Nobody has asked for signs of life. */
	notify_alive(&notify, 5000);
	CU_ASSERT_STRING_EQUAL(hear(manager), "");
	notify_close(&notify);
	CU_ASSERT_EQUAL(notify.socket, -1);
	manager_free(manager);
}

static void test_path(void)
{
	expect_conversation('/');
}

static void test_abstract_name(void)
{
	expect_conversation('@');
}

static void test_no_manager(void)
{
	static char too_long[200];
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[0] = '/';
	const char *const names[] = { NULL, "", "relative", "/", "@", "/nowhere/at/all", "vsock:2:1234", too_long };
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (names[i] != NULL)
			setenv("NOTIFY_SOCKET", names[i], 1);
		setenv("WATCHDOG_USEC", "1000000", 1);
		struct notify notify = notify_open();
		CU_ASSERT_EQUAL(notify.socket, -1);
		CU_ASSERT_EQUAL(notify.watchdog_us, 0);
		CU_ASSERT_PTR_NULL(getenv("NOTIFY_SOCKET"));
		CU_ASSERT_PTR_NULL(getenv("WATCHDOG_USEC"));
		notify_ready(&notify, "shop");
		notify_alive(&notify, 1);
		notify_close(&notify);
	}
}

static int64_t watchdog_us(const char *usec, const char *pid)
{
	int manager = manager_new('@');
	setenv("WATCHDOG_USEC", usec, 1);
	if (pid != NULL)
		setenv("WATCHDOG_PID", pid, 1);
	struct notify notify = notify_open();
	CU_ASSERT_PTR_NULL(getenv("WATCHDOG_USEC"));
	CU_ASSERT_PTR_NULL(getenv("WATCHDOG_PID"));
	notify_close(&notify);
	manager_free(manager);
	return notify.watchdog_us;
}

static void test_watchdog_variables(void)
{
	char mine[24], other[24];
	snprintf(mine, sizeof(mine), "%ld", (long)getpid());
	snprintf(other, sizeof(other), "%ld", (long)getppid());
	CU_ASSERT_EQUAL(watchdog_us("30000000", NULL), 30000000);
	CU_ASSERT_EQUAL(watchdog_us("30000000", mine), 30000000);
	CU_ASSERT_EQUAL(watchdog_us("30000000", other), 0);
	static const char *const wrong[] = { "", "0", "-5", "5s", " 5", "99999999999999999999" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		CU_ASSERT_EQUAL(watchdog_us(wrong[i], mine), 0);
		CU_ASSERT_EQUAL(watchdog_us("30000000", wrong[i]), 0);
	}
}

static void test_signs_of_life(void)
{
	setenv("WATCHDOG_USEC", "4000000", 1);
	int manager = manager_new('@');
	struct notify notify = notify_open();
	notify_alive(&notify, 7000000);
	CU_ASSERT_STRING_EQUAL(hear(manager), "WATCHDOG=1");
	notify_alive(&notify, 7000999);
	CU_ASSERT_STRING_EQUAL(hear(manager), "");
	notify_alive(&notify, 7001000);
	CU_ASSERT_STRING_EQUAL(hear(manager), "WATCHDOG=1");
	notify_close(&notify);
	manager_free(manager);
}

/* A manager that does not read: what is said is lost in the end, and the supervisor is not. */
static void test_manager_that_hangs(void)
{
	int manager = manager_new('@');
	struct notify notify = notify_open();
	int64_t sent = 0;
	struct timespec begun, ended;
	fcntl(notify.socket, F_SETFL, O_NONBLOCK); /* fills its queue, without waiting */
	while (send(notify.socket, "x", 1, 0) == 1)
		sent++;
	CU_ASSERT_TRUE(sent > 0 && errno == EAGAIN);
	fcntl(notify.socket, F_SETFL, 0);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	notify_ready(&notify, "shop");
	clock_gettime(CLOCK_MONOTONIC, &ended);
	CU_ASSERT_TRUE(ended.tv_sec - begun.tv_sec <= 5);
	/* And one that is gone. */
	manager_free(manager);
	notify_ready(&notify, "shop");
	notify_close(&notify);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "a path", test_path },
		{ "an abstract name", test_abstract_name },
		{ "no manager", test_no_manager },
		{ "the watchdog's variables", test_watchdog_variables },
		{ "signs of life", test_signs_of_life },
		{ "a manager that hangs", test_manager_that_hangs },
	};

	unsetenv("NOTIFY_SOCKET");
	log_open("test", LOG_CRIT);
	return RUN_TESTS("notify", tests);
}
