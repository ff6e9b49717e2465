/* taskd/log.c: what a line looks like, whatever its values are, and that lines of many threads stay whole. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "taskd/log.h"
#include "tests/unit/runner.h"

static char origin[64]; /* "taskd[test PID] " */
static int before = -1, reading = -1;
static char line[8192];

/* Standard error becomes a pipe whose every write is read back as one. */
static void capture(void)
{
	int ends[2];
	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC | O_DIRECT), 0);
	fflush(stderr);
	before = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	reading = ends[0];
	fcntl(reading, F_SETFL, O_NONBLOCK);
	log_open("test", LOG_INFO);
	snprintf(origin, sizeof(origin), "taskd[test %ld] ", (long)getpid());
}

static void release(void)
{
	dup2(before, STDERR_FILENO);
	close(before);
	close(reading);
}

/* The next write, without the priority and origin that are expected; "" when there is none. */
static const char *next(const char *mark)
{
	ssize_t got = read(reading, line, sizeof(line) - 1);
	line[got > 0 ? got : 0] = '\0';
	char expected[80];
	snprintf(expected, sizeof(expected), "%s%s", mark, origin);
	size_t length = strlen(expected);
	return strncmp(line, expected, length) == 0 ? line + length : line;
}

static void test_fields(void)
{
	capture();
	log_event(LOG_INFO, "task-dead", "id=%s attempt=%u left=%zu at=%lld mode=0%o share=%.2f", "a-1", 7u, (size_t)9,
	    -3LL, 0660u, 0.125);
	CU_ASSERT_STRING_EQUAL(next("<6>"), "task-dead id=a-1 attempt=7 left=9 at=-3 mode=0660 share=0.12\n");
	log_event(LOG_ERR, "e", "both=%d/%d  part=%.*s cut=%.2s hex=%04x", 1, 2, 3, "abcdef", "xyz", 0xabu);
	CU_ASSERT_STRING_EQUAL(next("<3>"), "e both=1/2 part=abc cut=xy hex=00ab\n");
	errno = ENOENT;
	log_event(LOG_WARNING, "w", "error=%m");
	CU_ASSERT_EQUAL(errno, ENOENT);
	CU_ASSERT_STRING_EQUAL(next("<4>"), "w error=\"No such file or directory\"\n");
	log_event(LOG_INFO, "bare", NULL);
	CU_ASSERT_STRING_EQUAL(next("<6>"), "bare\n");
	log_event(LOG_INFO, "biggest", "u=%llu d=%lld", ~0ULL, -9223372036854775807LL - 1);
	CU_ASSERT_STRING_EQUAL(next("<6>"), "biggest u=18446744073709551615 d=-9223372036854775808\n");
	log_event(LOG_DEBUG, "hidden", "a=%d", 1);
	CU_ASSERT_STRING_EQUAL(next(""), "");
	release();
}

static void test_quoting(void)
{
	static const struct { const char *value, *shown; } cases[] = {
		{ "", "\"\"" },
		{ "a b", "\"a b\"" },
		{ "a=b", "\"a=b\"" },
		{ "say \"no\"", "\"say \\\"no\\\"\"" },
		{ "C:\\", "\"C:\\\\\"" },
		{ "two\nlines\r\t", "\"two\\nlines\\r\\t\"" },
		{ "\x1b[2J\x7f", "\"\\x1b[2J\\x7f\"" },
		{ "caf\xc3\xa9", "\"caf\xc3\xa9\"" },
		{ "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"" },
		{ "\xc2\x9b" "2J", "\"\\xc2\\x9b2J\"" },          /* a C1 control character */
		{ "\xc0\xaf\xed\xa0\x80", "\"\\xc0\\xaf\\xed\\xa0\\x80\"" }, /* overlong; a surrogate */
		{ "\xe2\x82", "\"\\xe2\\x82\"" },                 /* cut off */
		{ "/var/lib:1,2%", "/var/lib:1,2%" },
		{ "<3>fake", "<3>fake" },
	};
	capture();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char expected[80];
		log_event(LOG_INFO, "e", "v=%s n=%d", cases[i].value, 1);
		snprintf(expected, sizeof(expected), "e v=%s n=1\n", cases[i].shown);
		CU_ASSERT_STRING_EQUAL(next("<6>"), expected);
	}
	release();
}

/* Whatever the length, one line of at most 4096 bytes that ends as a line, with dots when it was cut. */
static void test_long(void)
{
	static char value[6000];
	capture();
	unsigned cut = 0;
	for (size_t length = 3900; length < 4200; length++) {
		for (int kind = 0; kind < 3; kind++) {
			memset(value, kind == 0 ? 'x' : kind == 1 ? ' ' : '\n', length);
			value[length] = '\0';
			log_event(LOG_INFO, "e", "v=%s more=%d", value, 5);
			ssize_t got = read(reading, line, sizeof(line));
			CU_ASSERT_TRUE_FATAL(got > 0 && got <= 4096);
			CU_ASSERT_PTR_EQUAL(memchr(line, '\n', (size_t)got), line + got - 1);
			line[got] = '\0';
			bool whole = strstr(line, " more=5\n") != NULL;
			bool dots = strstr(line, "...\n") != NULL || strstr(line, "...\"\n") != NULL;
			CU_ASSERT_TRUE(whole != dots);
			size_t quotes = 0;
			for (ssize_t i = 0; i < got; i++)
				quotes += line[i] == '"';
			CU_ASSERT_EQUAL(quotes % 2, 0);
			cut += dots;
		}
	}
	CU_ASSERT_TRUE(cut > 300 && cut < 900);
	memset(value, 'y', sizeof(value) - 1);
	log_event(LOG_INFO, "e", "v=%s", value);
	size_t bytes = strlen(next("<6>")) + strlen(origin) + 3;
	CU_ASSERT_EQUAL(bytes, 4096);
	release();
}

#define THREADS 4
#define LINES 2000

static void *chatter(void *name)
{
	for (int i = 0; i < LINES; i++)
		log_event(LOG_INFO, "chat", "from=%s number=%d text=%s", (const char *)name, i, "one line, whole");
	return NULL;
}

static void test_threads(void)
{
	static char names[THREADS][2] = { "a", "b", "c", "d" };
	pthread_t threads[THREADS];
	int seen[THREADS] = { 0 };
	capture();
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, chatter, names[i]), 0);
	fcntl(reading, F_SETFL, 0);
	for (int i = 0; i < THREADS * LINES; i++) {
		const char *got = next("<6>");
		char from = '\0', expected[80];
		CU_ASSERT_EQUAL(sscanf(got, "chat from=%c", &from), 1);
		int *count = &seen[from >= 'a' && from <= 'd' ? from - 'a' : 0];
		snprintf(expected, sizeof(expected), "chat from=%c number=%d text=\"one line, whole\"\n", from, (*count)++);
		CU_ASSERT_STRING_EQUAL(got, expected);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL(seen[i], LINES);
	release();
}

static void test_terminal(void)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY);
	CU_ASSERT_FATAL(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	int slave = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	CU_ASSERT_FATAL(slave >= 0);
	fflush(stderr);
	before = dup(STDERR_FILENO);
	dup2(slave, STDERR_FILENO);
	close(slave);
	reading = terminal;
	log_open("test", LOG_INFO);
	log_event(LOG_INFO, "e", "n=%d", 1);
	CU_ASSERT_STRING_EQUAL(next(""), "e n=1\r\n");
	release();
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "fields", test_fields },
		{ "quoting", test_quoting },
		{ "long lines are cut", test_long },
		{ "lines of many threads stay whole", test_threads },
		{ "no priority on a terminal", test_terminal },
	};

	return RUN_TESTS("log", tests);
}
