/*
 * Many works of one worker at once, for the tests of asynchronous handlers: what came of each, by its
 * serial. For test_pending.c and test_pending_handlers.c.
 */
#ifndef PLAY_PENDING_H
#define PLAY_PENDING_H

#include "play_dispatcher.h"

#define WORKS 2048

/* What came of one of many works at once. */
struct one {
	unsigned started, pending, progressed, results, ended, verdicts;
	unsigned place; /* among all that ended, 1 for the first */
	struct message_head last;
	int64_t pending_ns;
	char log[300], text[200];
};

static struct play play;
static struct one ones[WORKS]; /* by serial */
static unsigned ended, pending_now, pending_most, leaving;

static inline void begin(uint32_t threads)
{
	play_prepare(&play);
	play.pool.threads = threads;
	memset(ones, 0, sizeof ones);
	ended = pending_now = pending_most = leaving = 0;
	play_start(&play);
	play_ready(&play);
}

static inline void note(const struct message_head *head, const char *text)
{
	struct one *one = &ones[head->serial % WORKS];
	size_t used = strlen(one->log);

	if (head->kind == MESSAGE_LEAVING) {
		leaving++;
		return;
	}
	CU_ASSERT(head->kind == MESSAGE_STARTED ? one->started == 0 : one->started == 1);
	CU_ASSERT(!one->ended && !one->verdicts);
	switch ((enum message_kind)head->kind) {
	case MESSAGE_STARTED:
		one->started++;
		break;
	case MESSAGE_PENDING:
		one->pending++;
		one->pending_ns = head->at_ns;
		if (++pending_now > pending_most)
			pending_most = pending_now;
		break;
	case MESSAGE_PROGRESS:
		one->progressed++;
		break;
	case MESSAGE_RESULT:
		one->results++;
		break;
	case MESSAGE_LOG:
		snprintf(one->log + used, sizeof one->log - used, "%s\n", text);
		break;
	case MESSAGE_ENDED:
	case MESSAGE_VERDICT:
		one->ended += head->kind == MESSAGE_ENDED;
		one->verdicts += head->kind == MESSAGE_VERDICT;
		pending_now -= one->pending;
		one->place = ++ended;
		one->last = *head;
		snprintf(one->text, sizeof one->text, "%.199s", text);
		break;
	default:
		CU_FAIL("a message that does not belong here");
	}
}

/* Takes the lane's next message; false: the worker is dead. */
static inline bool take(uint32_t lane)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;

	if (!play_next(&play, lane, &head, text))
		return false;
	note(&head, text);
	return true;
}

/* As take(), but it does not wait. */
static inline bool read_now(uint32_t lane)
{
	static char text[MAILBOX_MESSAGE_MAX + 1];
	struct message_head head;

	if (mailbox_read(play.mailbox, lane, &head, text) != 1)
		return false;
	note(&head, text);
	return true;
}

/* Until the work has ended. */
static inline const struct one *await(uint32_t lane, uint64_t serial)
{
	while (!ones[serial].ended && !ones[serial].verdicts)
		if (!take(lane)) {
			CU_FAIL("the worker died");
			break;
		}
	return &ones[serial];
}

static inline void await_pending(uint32_t lane, uint64_t serial)
{
	while (!ones[serial].pending && take(lane))
		continue;
	CU_ASSERT_EQUAL(ones[serial].pending, 1);
}

/* Makes room by reading what comes. The work's serial. */
static inline uint64_t push_head(uint32_t lane, const struct record *record, const struct work_head *head)
{
	static char bytes[4096];
	struct work_head work = *head;
	uint32_t entry;

	work.serial = ++play.serial;
	work.record_bytes = record ? (uint32_t)record_size(record) : 0;
	CU_ASSERT_FATAL(work.record_bytes <= sizeof bytes && work.serial < WORKS);
	if (record)
		record_encode(record, bytes);
	while (!mailbox_push(play.mailbox, lane, &work, bytes, NULL, &entry))
		if (!take(lane))
			break;
	mailbox_wake(play.mailbox, lane);
	return work.serial;
}

static inline uint64_t push(uint32_t lane, const char *handler, const char *args)
{
	struct record record = play_record(&play, handler, args);
	struct work_head head = { .kind = WORK_RUN, .attempt = 1 };

	return push_head(lane, &record, &head);
}

static inline void stop(uint32_t lane, uint64_t serial, enum mailbox_stop why)
{
	struct work_head head = { .kind = WORK_STOP, .serial = serial, .attempt = why };
	uint32_t entry;

	CU_ASSERT_TRUE(mailbox_push(play.mailbox, lane, &head, NULL, NULL, &entry));
	mailbox_wake(play.mailbox, lane);
}

static inline const struct one *run(const char *handler, const char *args)
{
	return await(0, push(0, handler, args));
}

static inline void expect(const struct one *one, enum tr_outcome outcome, const char *text)
{
	CU_ASSERT_EQUAL(one->last.code, outcome);
	CU_ASSERT_STRING_EQUAL(one->text, text);
	if (strcmp(one->text, text) != 0)
		printf("\n  got %d \"%s\"\n", one->last.code, one->text);
}

/* The worker leaves, once, and in order. */
static inline void leave(void)
{
	mailbox_retire(play.mailbox);
	while (take(0))
		continue;
	CU_ASSERT_EQUAL(play_end(&play), 0);
	CU_ASSERT(leaving == 1 || play.pool.threads > 1);
	CU_ASSERT_EQUAL(pending_now, 0);
}

#endif
