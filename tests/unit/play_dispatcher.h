/*
 * A worker process with its mailbox, and the dispatcher's part in it played by the test: work is
 * pushed, messages are collected. For test_attempt.c and test_worker.c, which have the test
 * plug-ins in plugins/ beside them.
 */
#ifndef PLAY_DISPATCHER_H
#define PLAY_DISPATCHER_H

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/id.h"
#include "taskd/log.h"
#include "taskd/mailbox.h"
#include "taskd/roles.h"
#include "taskring/handler.h"

#define DEADLINE_MS 30000

struct play {
	struct config config;
	struct config_pool pool;
	char plugin_dir[PATH_MAX], spool_dir[PATH_MAX];
	pid_t pid;
	int pidfd, memory_fd, wake_fd;
	struct mailbox *mailbox;
	uint64_t serial;
	struct id_source ids;
	struct tr_id id; /* of the task pushed last */
	unsigned announced; /* handlers that the worker told of */
	char secrets[TR_SECRETS_MAX + 1]; /* of the one called keep_secret */
};

/* What came of one piece of work. */
struct seen {
	bool died; /* before it ended */
	unsigned started, pending, progressed, logged, results, ended, verdicts, leaving;
	struct message_head last; /* ENDED or VERDICT */
	struct message_head progress;
	char text[MAILBOX_MESSAGE_MAX + 1]; /* of `last` */
	char progress_text[TR_TEXT_MAX + 1];
	char log[4096]; /* each line with a newline */
	char result[TR_RESULT_MAX + 1];
};

/* A directory beside the test program. */
static inline void play_beside(char path[PATH_MAX], const char *name)
{
	char program[PATH_MAX];
	ssize_t bytes = readlink("/proc/self/exe", program, sizeof program - 1);

	CU_ASSERT_FATAL(bytes > 0);
	program[bytes] = '\0';
	CU_ASSERT_FATAL(snprintf(path, PATH_MAX, "%s/%s", dirname(program), name) < PATH_MAX);
}

/* One process, one thread, the good plug-ins; the caller may change it before play_start(). */
static inline void play_prepare(struct play *play)
{
	memset(play, 0, sizeof *play);
	play_beside(play->plugin_dir, "plugins");
	snprintf(play->spool_dir, sizeof play->spool_dir, "/tmp/taskring-test-spool-%d", (int)getpid());
	play->config.plugin_dir = play->plugin_dir;
	play->config.spool_dir = play->spool_dir;
	play->config.log_level = LOG_WARNING;
	play->config.mail.maildir = play->spool_dir; /* nobody sends mail here; some place must be named */
	strcpy(play->pool.name, "test");
	play->pool.processes = play->pool.threads = 1;
	CU_ASSERT_FATAL(id_source_open(&play->ids));
}

static inline void play_start(struct play *play)
{
	play->memory_fd = mailbox_create(play->pool.threads);
	play->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CU_ASSERT_FATAL(play->memory_fd >= 0 && play->wake_fd >= 0);
	play->mailbox = mailbox_open(play->memory_fd, play->pool.threads, play->wake_fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(play->mailbox);
	fflush(NULL);
	play->pid = fork();
	CU_ASSERT_FATAL(play->pid >= 0);
	if (play->pid == 0) {
		mailbox_close(&play->mailbox);
		log_open("worker", play->config.log_level);
		worker_run(&play->config, &play->pool, 0, play->memory_fd, play->wake_fd);
	}
	play->pidfd = (int)syscall(SYS_pidfd_open, play->pid, 0);
	CU_ASSERT_FATAL(play->pidfd >= 0);
}

/* Waits for the worker's end; its status as of waitpid(2). */
static inline int play_end(struct play *play)
{
	struct pollfd fds = { .fd = play->pidfd, .events = POLLIN };
	int status = -1;

	if (poll(&fds, 1, DEADLINE_MS) != 1) {
		CU_FAIL("the worker did not end");
		kill(play->pid, SIGKILL);
	}
	CU_ASSERT_EQUAL(waitpid(play->pid, &status, 0), play->pid);
	mailbox_close(&play->mailbox);
	close(play->pidfd);
	close(play->memory_fd);
	close(play->wake_fd);
	return status;
}

/* Its name, doc and secrets. */
static inline void play_note_handler(struct play *play, const char *name)
{
	const char *doc = name + strlen(name) + 1;

	play->announced++;
	if (strcmp(name, "keep_secret") == 0)
		strcpy(play->secrets, doc + strlen(doc) + 1);
}

/* The lane's next message; false: the worker died and left none. Sleeps as the dispatcher does. */
static inline bool play_next(struct play *play, uint32_t lane, struct message_head *head, char *text)
{
	struct pollfd fds[2] = { { .fd = play->wake_fd, .events = POLLIN }, { .fd = play->pidfd, .events = POLLIN } };
	uint64_t count;

	for (;;) {
		int answer = mailbox_read(play->mailbox, lane, head, text);
		CU_ASSERT_FATAL(answer >= 0);
		if (answer == 1 && head->kind == MESSAGE_HANDLER) {
			play_note_handler(play, text);
			continue;
		}
		if (answer == 1)
			return true;
		if (fds[1].revents)
			return false;
		mailbox_dispatcher_sleeps(play->mailbox, true);
		int ready = mailbox_has_messages(play->mailbox) ? 1 : poll(fds, 2, DEADLINE_MS);
		mailbox_dispatcher_sleeps(play->mailbox, false);
		CU_ASSERT_FATAL(ready > 0);
		while (read(play->wake_fd, &count, sizeof count) > 0)
			continue;
	}
}

static inline void play_expect(struct play *play, uint32_t lane, enum message_kind kind)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;

	CU_ASSERT_TRUE_FATAL(play_next(play, lane, &head, text));
	CU_ASSERT_EQUAL_FATAL(head.kind, kind);
}

static inline void play_ready(struct play *play)
{
	for (uint32_t i = 0; i < play->pool.threads; i++)
		play_expect(play, i, MESSAGE_READY);
}

/* A record for `handler` with what most tests need; more can be set before play_push(). */
static inline struct record play_record(struct play *play, const char *handler, const char *args)
{
	struct record record = {
		.id = id_make(&play->ids, 1700000000000000000LL), .kind = RECORD_TASK, .created_ns = 1700000000000000000LL,
		.handler = { handler, (uint32_t)strlen(handler) }, .on_failure = { "", 0 }, .trace = { "", 0 },
	};

	if (args) {
		record.args = (struct record_text){ args, (uint32_t)strlen(args) };
		record.args_bytes = record.args.bytes;
	}
	record_defaults(&record);
	return record;
}

/* Pushes and wakes; the entry's number. `head` may be NULL: the first attempt. */
static inline uint32_t play_push(struct play *play, uint32_t lane, const struct record *record,
    const struct work_head *head, const char *message)
{
	static char bytes[64 << 10];
	struct work_head work = head ? *head : (struct work_head){ .kind = WORK_RUN, .attempt = 1 };
	uint32_t entry = 0;

	CU_ASSERT_FATAL(record_size(record) <= sizeof bytes);
	record_encode(record, bytes);
	work.record_bytes = (uint32_t)record_size(record);
	work.message_bytes = message ? (uint32_t)strlen(message) : 0;
	work.serial = ++play->serial;
	play->id = record->id;
	CU_ASSERT_TRUE_FATAL(mailbox_push(play->mailbox, lane, &work, bytes, message, &entry));
	mailbox_wake(play->mailbox, lane);
	return entry;
}

static inline void play_take(struct seen *seen, const struct message_head *head, const char *text)
{
	size_t used = strlen(seen->log);

	switch ((enum message_kind)head->kind) {
	case MESSAGE_STARTED:
		seen->started++;
		break;
	case MESSAGE_PENDING:
		seen->pending++;
		break;
	case MESSAGE_PROGRESS:
		seen->progressed++;
		seen->progress = *head;
		memcpy(seen->progress_text, text, head->text_bytes + 1);
		break;
	case MESSAGE_LOG:
		seen->logged++;
		snprintf(seen->log + used, sizeof seen->log - used, "%s\n", text);
		break;
	case MESSAGE_RESULT:
		seen->results++;
		memcpy(seen->result, text, head->text_bytes + 1);
		break;
	case MESSAGE_ENDED:
	case MESSAGE_VERDICT:
		seen->ended += head->kind == MESSAGE_ENDED;
		seen->verdicts += head->kind == MESSAGE_VERDICT;
		seen->last = *head;
		memcpy(seen->text, text, head->text_bytes + 1);
		break;
	default:
		seen->leaving++;
	}
}

/* Collects until the piece pushed last has ended, or the worker has. Points to static memory. */
static inline const struct seen *play_collect(struct play *play, uint32_t lane)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	static struct seen seen;
	struct message_head head;

	memset(&seen, 0, sizeof seen);
	while (!seen.ended && !seen.verdicts && !seen.died) {
		if (!play_next(play, lane, &head, text)) {
			seen.died = true;
			break;
		}
		CU_ASSERT(head.kind == MESSAGE_LEAVING || head.serial == play->serial);
		CU_ASSERT(seen.started == (head.kind != MESSAGE_STARTED) || head.kind == MESSAGE_LEAVING);
		CU_ASSERT(head.at_ns > 1700000000000000000LL);
		play_take(&seen, &head, text);
	}
	return &seen;
}

/* Push and collect in one. */
static inline const struct seen *play_run(struct play *play, const char *handler, const char *args)
{
	struct record record = play_record(play, handler, args);

	play_push(play, 0, &record, NULL, NULL);
	return play_collect(play, 0);
}

/* Lets the worker leave in order. */
static inline void play_stop(struct play *play)
{
	mailbox_retire(play->mailbox);
	play_expect(play, 0, MESSAGE_LEAVING);
	CU_ASSERT_EQUAL(play_end(play), 0);
}

/* One attempt has ended, so, and said that. */
static inline void play_expect_end(const struct seen *seen, enum tr_outcome outcome, const char *text)
{
	CU_ASSERT_EQUAL(seen->ended, 1);
	CU_ASSERT_EQUAL(seen->last.code, outcome);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen->text, text));
	if (strstr(seen->text, text) == NULL || seen->last.code != outcome)
		printf("\n  got %d \"%s\"\n", seen->last.code, seen->text);
}

#endif
