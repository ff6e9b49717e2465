/*
 * A real SMTP server (tests/system/smtp_sink.py) for a test, and a directory for what it keeps.
 * Run from the top of the source tree, as `make test` does. For test_mail_smtp.c and
 * test_mail_handler.c.
 */
#ifndef PLAY_SINK_H
#define PLAY_SINK_H

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SINK_MESSAGE_MAX 1000000 /* bytes; a longer one is cut when it is read */

struct sink {
	pid_t pid;
	char url[64];
	char dir[96];
};

/* Everything lies in here: made by sink_directory_make(), removed by sink_directory_remove(). */
static char directory[64];

static inline bool sink_directory_make(void)
{
	snprintf(directory, sizeof directory, "/tmp/taskring-test-mail.XXXXXX");
	return mkdtemp(directory) != NULL;
}

static inline int sink_remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int sink_directory_remove(void)
{
	return nftw(directory, sink_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline pid_t sink_program(const char *const arguments[], int output)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (output >= 0)
		dup2(output, STDOUT_FILENO);
	/* execv() changes none of them; its type is older than const. */
	union {
		const char *const *arguments;
		char *const *vector;
	} either = { .arguments = arguments };
	execv(arguments[0], either.vector);
	_exit(127);
}

/* Starts the server with up to 5 options, and waits until it listens. */
static inline struct sink sink_start(const char *const options[])
{
	static unsigned count;
	struct sink sink = { 0 };
	snprintf(sink.dir, sizeof sink.dir, "%s/sink%u", directory, ++count);
	const char *arguments[10] = { "/usr/bin/python3", "tests/system/smtp_sink.py", "--dir", sink.dir };
	for (size_t i = 0; options != NULL && options[i] != NULL; i++) {
		CU_ASSERT_FATAL(i < 5);
		arguments[4 + i] = options[i];
	}
	int ends[2];
	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	sink.pid = sink_program(arguments, ends[1]);
	CU_ASSERT_FATAL(sink.pid > 0);
	close(ends[1]);
	FILE *output = fdopen(ends[0], "r");
	char line[32] = "";
	CU_ASSERT_PTR_NOT_NULL_FATAL(output);
	if (output != NULL && fgets(line, sizeof line, output) != NULL)
		line[strcspn(line, "\n")] = '\0';
	CU_ASSERT_EQUAL_FATAL(strncmp(line, "port ", 5), 0);
	if (output != NULL)
		fclose(output);
	snprintf(sink.url, sizeof sink.url, "smtp://127.0.0.1:%s", line + 5);
	return sink;
}

static inline void sink_stop(struct sink *sink)
{
	int status = -1;
	CU_ASSERT_EQUAL(kill(sink->pid, SIGTERM), 0);
	CU_ASSERT_EQUAL(waitpid(sink->pid, &status, 0), sink->pid);
	CU_ASSERT_EQUAL(status, 0);
}

/* The bytes of message `number`, freed by the caller; NULL: there is none. */
static inline char *sink_kept(const struct sink *sink, unsigned number)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%06u.eml", sink->dir, number);
	FILE *file = fopen(path, "r");
	char *bytes = file == NULL ? NULL : calloc(1, SINK_MESSAGE_MAX + 1);
	if (bytes != NULL)
		CU_ASSERT_TRUE(fread(bytes, 1, SINK_MESSAGE_MAX, file) > 0);
	if (file != NULL)
		fclose(file);
	return bytes;
}

static inline json_t *sink_envelope(const struct sink *sink, unsigned number)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%06u.json", sink->dir, number);
	return json_load_file(path, 0, NULL);
}

/* How many connections the server has had. */
static inline unsigned sink_connections(const struct sink *sink)
{
	char path[128];
	unsigned count = 0;
	snprintf(path, sizeof path, "%s/connections", sink->dir);
	FILE *file = fopen(path, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	if (file == NULL)
		return 0;
	for (int c = getc(file); c != EOF; c = getc(file))
		count += c == '\n';
	fclose(file);
	return count;
}

/* Whether the server has kept `count` messages. */
static inline void sink_expect_kept(const struct sink *sink, unsigned count)
{
	char *last = count == 0 ? NULL : sink_kept(sink, count);
	CU_ASSERT_EQUAL(last != NULL, count != 0);
	free(last);
	char *next = sink_kept(sink, count + 1);
	CU_ASSERT_PTR_NULL(next);
	free(next);
}

#endif
