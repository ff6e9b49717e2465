/*
 * The mailbox: both sides in one process, on one mapping, so that a race detector sees every
 * access; with real processes where a death is the matter.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "taskd/mailbox_layout.h"
#include "taskring/handler.h"
#include "tests/unit/runner.h"

#define DEADLINE_MS 20000 /* a wake-up that is later than this is a lost one */

static struct mailbox *mailbox;
static int memory_fd, wake_fd;
static char text[MAILBOX_MESSAGE_MAX + 1];

static void open_mailbox(uint32_t threads)
{
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	memory_fd = mailbox_create(threads);
	CU_ASSERT_FATAL(memory_fd >= 0 && wake_fd >= 0);
	mailbox = mailbox_open(memory_fd, threads, wake_fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mailbox);
}

static void close_mailbox(void)
{
	mailbox_close(&mailbox);
	CU_ASSERT_PTR_NULL(mailbox);
	close(memory_fd);
	close(wake_fd);
}

/* A reproducible byte for each place of each piece. */
static char pattern(uint64_t serial, size_t at)
{
	return (char)(serial * 31 + at * 7);
}

static bool push(uint32_t lane, uint64_t serial, uint32_t bytes, uint32_t *entry)
{
	static char record[MAILBOX_WORK_BYTES];
	struct work_head head = { .kind = WORK_RUN, .serial = serial, .record_bytes = bytes };

	for (uint32_t i = 0; i < bytes; i++)
		record[i] = pattern(serial, i);
	return mailbox_push(mailbox, lane, &head, record, NULL, entry);
}

static void expect_claim(uint32_t lane, uint64_t serial, uint32_t bytes)
{
	struct work_head head;
	const char *record, *message;
	uint32_t same = 0;

	CU_ASSERT_TRUE_FATAL(mailbox_claim(mailbox, lane, &head, &record, &message));
	CU_ASSERT_EQUAL_FATAL(head.serial, serial);
	CU_ASSERT_EQUAL_FATAL(head.record_bytes, bytes);
	while (same < bytes && record[same] == pattern(serial, same))
		same++;
	CU_ASSERT_EQUAL(same, bytes);
	CU_ASSERT_STRING_EQUAL(message, "");
}

/* ---- work -------------------------------------------------------------------------------- */

static void test_work_arrives_whole(void)
{
	struct work_head sent = {
		.kind = WORK_CALLBACK, .record_bytes = 16, .message_bytes = 6, .serial = 0x123456789abcdef0ull,
		.failure_kind = TR_FAILED_CRASHED, .permanent = 1, .attempt = 3, .soft_timeout_ms = 250,
		.exit_code = -1, .signal = 11, .peak_memory_kb = 1ull << 40,
	};
	struct work_head got;
	const char *record, *message;
	uint32_t entry;

	open_mailbox(2);
	CU_ASSERT_TRUE(mailbox_push(mailbox, 1, &sent, "sixteen bytes...", "failed", &entry));
	CU_ASSERT_TRUE(mailbox_claim(mailbox, 1, &got, &record, &message));
	CU_ASSERT(got.kind == sent.kind && got.record_bytes == 16 && got.message_bytes == 6);
	CU_ASSERT(got.serial == sent.serial && got.failure_kind == sent.failure_kind && got.permanent == 1);
	CU_ASSERT(got.attempt == 3 && got.soft_timeout_ms == 250 && got.exit_code == -1 && got.signal == 11);
	CU_ASSERT_EQUAL(got.peak_memory_kb, 1ull << 40);
	CU_ASSERT_EQUAL(memcmp(record, "sixteen bytes...", 16), 0);
	CU_ASSERT_STRING_EQUAL(message, "failed");
	CU_ASSERT_EQUAL((uintptr_t)record % 8, 0);
	close_mailbox();
}

static void test_depth(void)
{
	uint32_t entry;

	open_mailbox(1);
	for (uint64_t i = 0; i < MAILBOX_DEPTH; i++)
		CU_ASSERT_TRUE(push(0, i, 64, &entry));
	CU_ASSERT_FALSE(push(0, 99, 64, &entry));
	expect_claim(0, 0, 64);
	CU_ASSERT_FALSE(push(0, 99, 64, &entry)); /* what is claimed still lies there */
	expect_claim(0, 1, 64);
	CU_ASSERT_TRUE(push(0, MAILBOX_DEPTH, 64, &entry));
	CU_ASSERT_EQUAL(entry, MAILBOX_DEPTH);
	CU_ASSERT_FALSE(push(0, 99, 64, &entry));
	for (uint64_t i = 2; i <= MAILBOX_DEPTH; i++)
		expect_claim(0, i, 64);
	close_mailbox();
}

static void test_work_bytes_wrap_around(void)
{
	uint64_t pushed = 0, claimed = 0, state = 7;
	uint32_t sizes[MAILBOX_DEPTH], refused = 0, entry;

	open_mailbox(1);
	while (claimed < 3000) {
		state = state * 6364136223846793005ull + 1;
		uint32_t bytes = (uint32_t)(state >> 33) % (40u << 10) & ~7u;
		bool wants = state >> 62 != 0; /* more often than not, so that it fills up */
		if (wants && push(0, pushed, bytes, &entry)) {
			sizes[pushed++ % MAILBOX_DEPTH] = bytes;
		} else if (claimed < pushed) {
			refused += wants;
			expect_claim(0, claimed, sizes[claimed % MAILBOX_DEPTH]);
			claimed++;
		}
	}
	CU_ASSERT(refused > 100); /* full was met, too */
	CU_ASSERT_FALSE(push(0, 0, MAILBOX_WORK_BYTES, &entry));
	close_mailbox();
}

static void test_revoke(void)
{
	uint32_t entries[3];

	open_mailbox(1);
	for (uint64_t i = 0; i < 3; i++)
		CU_ASSERT_TRUE(push(0, i, 8, &entries[i]));
	CU_ASSERT_TRUE(mailbox_revoke(mailbox, 0, entries[1]));
	CU_ASSERT_FALSE(mailbox_revoke(mailbox, 0, entries[1])); /* only once */
	CU_ASSERT_FALSE(mailbox_revoke(mailbox, 0, entries[2] + 1)); /* never pushed */
	expect_claim(0, 0, 8);
	expect_claim(0, 2, 8);
	CU_ASSERT_FALSE(mailbox_revoke(mailbox, 0, entries[0]));
	CU_ASSERT_FALSE(mailbox_revoke(mailbox, 0, entries[2]));
	close_mailbox();
}

#define RACES 100000

static void *claim_all(void *context)
{
	uint64_t *claims = context;
	struct work_head head;
	const char *record, *message;

	while (mailbox_claim(mailbox, 0, &head, &record, &message))
		claims[head.serial]++;
	return NULL;
}

/* Entries are revoked as soon as they are pushed, or a few pushes later: somebody wins each, once. */
static void test_revoke_against_claim(void)
{
	uint64_t *claims = calloc(RACES, sizeof *claims), *revokes = calloc(RACES, sizeof *revokes);
	uint64_t claimed = 0, revoked = 0, both = 0, neither = 0;
	uint32_t entries[8];
	pthread_t thread;

	open_mailbox(1);
	CU_ASSERT_FATAL(claims && revokes && pthread_create(&thread, NULL, claim_all, claims) == 0);
	for (uint64_t i = 0; i < RACES; i++) {
		while (!push(0, i, 8, &entries[i % 8]))
			sched_yield();
		mailbox_wake(mailbox, 0);
		uint64_t back = i - (i < 8 ? 0 : (i * 2654435761u >> 16) % 4);
		if (!revokes[back] && mailbox_revoke(mailbox, 0, entries[back % 8]))
			revokes[back]++;
	}
	struct timespec pause_time = { .tv_nsec = 1000000 };
	while (atomic_load(&mailbox->shared->lanes[0].released) != RACES)
		nanosleep(&pause_time, NULL);
	mailbox_retire(mailbox);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < RACES; i++) {
		claimed += claims[i];
		revoked += revokes[i];
		both += claims[i] && revokes[i];
		neither += !claims[i] && !revokes[i];
	}
	CU_ASSERT_EQUAL(both, 0);
	CU_ASSERT_EQUAL(neither, 0);
	CU_ASSERT_EQUAL(claimed + revoked, RACES);
	CU_ASSERT(claimed > 0 && revoked > 0);
	printf("[%llu claimed, %llu revoked] ", (unsigned long long)claimed, (unsigned long long)revoked);
	free(claims);
	free(revokes);
	close_mailbox();
}

static void test_a_death_costs_what_was_claimed(void)
{
	uint32_t entries[3];
	int status;

	open_mailbox(1);
	for (uint64_t i = 0; i < 3; i++)
		CU_ASSERT_TRUE(push(0, i, 8, &entries[i]));
	pid_t child = fork();
	if (child == 0) {
		struct work_head head;
		const char *record, *message;
		mailbox_claim(mailbox, 0, &head, &record, &message);
		kill(getpid(), SIGKILL);
	}
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT_TRUE(WIFSIGNALED(status));
	CU_ASSERT_FALSE(mailbox_revoke(mailbox, 0, entries[0]));
	CU_ASSERT_TRUE(mailbox_revoke(mailbox, 0, entries[1]));
	CU_ASSERT_TRUE(mailbox_revoke(mailbox, 0, entries[2]));
	struct message_head head;
	CU_ASSERT_EQUAL(mailbox_read(mailbox, 0, &head, text), 0); /* no STARTED: it may run again */
	close_mailbox();
}

/* ---- messages ---------------------------------------------------------------------------- */

static void send_result(uint64_t serial, uint32_t bytes)
{
	static char json[MAILBOX_MESSAGE_MAX];
	struct message_head head = {
		.kind = MESSAGE_RESULT, .serial = serial, .text_bytes = bytes, .at_ns = -5, .number = ~serial, .number2 = 2,
	};

	for (uint32_t i = 0; i < bytes; i++)
		json[i] = (char)('a' + (serial + i) % 26);
	mailbox_send(mailbox, 0, &head, json);
}

static void expect_result(const struct message_head *head, uint64_t serial, uint32_t bytes)
{
	uint32_t same = 0;

	CU_ASSERT_EQUAL_FATAL(head->kind, MESSAGE_RESULT);
	CU_ASSERT_EQUAL_FATAL(head->serial, serial);
	CU_ASSERT_EQUAL_FATAL(head->text_bytes, bytes);
	CU_ASSERT_EQUAL(head->at_ns, -5);
	CU_ASSERT_EQUAL(head->number, ~serial);
	while (same < bytes && text[same] == (char)('a' + (serial + same) % 26))
		same++;
	CU_ASSERT_EQUAL(same, bytes);
	CU_ASSERT_EQUAL(text[bytes], '\0');
}

static uint32_t nth_size(uint64_t serial)
{
	return serial % 50 == 0 ? TR_RESULT_MAX : (uint32_t)(serial * 2654435761u % 3001);
}

#define MESSAGES 10000

static void *send_many(void *context)
{
	(void)context;
	for (uint64_t i = 0; i < MESSAGES; i++)
		send_result(i, nth_size(i));
	return NULL;
}

/* Blocks in poll() as the dispatcher does in its event loop. False: nothing came. */
static bool sleep_until_woken(void)
{
	struct pollfd fds = { .fd = wake_fd, .events = POLLIN };
	uint64_t count;
	int ready = 1;

	mailbox_dispatcher_sleeps(mailbox, true);
	if (!mailbox_has_messages(mailbox))
		ready = poll(&fds, 1, DEADLINE_MS);
	mailbox_dispatcher_sleeps(mailbox, false);
	while (read(wake_fd, &count, sizeof count) > 0)
		continue;
	return ready == 1;
}

/* The ring is far smaller than what goes through: the sender waits for room all the time. */
static void test_messages_wrap_around_and_wait_for_room(void)
{
	struct message_head head;
	pthread_t thread;

	open_mailbox(1);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, send_many, NULL), 0);
	for (uint64_t i = 0; i < MESSAGES;) {
		int answer = mailbox_read(mailbox, 0, &head, text);
		CU_ASSERT_FATAL(answer >= 0);
		if (answer == 0)
			CU_ASSERT_TRUE_FATAL(sleep_until_woken());
		if (answer == 1) {
			expect_result(&head, i, nth_size(i));
			i++;
		}
	}
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(mailbox_read(mailbox, 0, &head, text), 0);
	CU_ASSERT_FALSE(mailbox_has_messages(mailbox));
	close_mailbox();
}

static void test_a_full_ring_waits(void)
{
	struct message_head head;
	struct timespec pause_time = { .tv_nsec = 1000000 };
	pthread_t thread;
	uint64_t read = 0;

	open_mailbox(1);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, send_many, NULL), 0);
	struct mailbox_lane *lane = &mailbox->shared->lanes[0];
	for (int i = 0; i < DEADLINE_MS && !atomic_load(&lane->wants_room); i++)
		nanosleep(&pause_time, NULL);
	CU_ASSERT_EQUAL_FATAL(atomic_load(&lane->wants_room), 1);
	uint64_t tail = atomic_load(&lane->message_tail);
	CU_ASSERT(tail <= MAILBOX_MESSAGE_BYTES && tail > MAILBOX_MESSAGE_BYTES - MAILBOX_MESSAGE_MAX - 48);
	while (read < MESSAGES) {
		int answer = mailbox_read(mailbox, 0, &head, text);
		CU_ASSERT_FATAL(answer >= 0);
		if (answer == 1)
			expect_result(&head, read, nth_size(read)), read++;
		else
			sched_yield();
	}
	pthread_join(thread, NULL);
	close_mailbox();
}

/* ---- waking ------------------------------------------------------------------------------ */

#define ROUNDS 20000

static void *echo(void *context)
{
	struct work_head head;
	const char *record, *message;
	uint32_t lane = *(const uint32_t *)context;

	while (mailbox_claim(mailbox, lane, &head, &record, &message)) {
		struct message_head started = { .kind = MESSAGE_STARTED, .serial = head.serial };
		struct message_head ended = { .kind = MESSAGE_ENDED, .serial = head.serial };
		mailbox_send(mailbox, lane, &started, NULL);
		mailbox_send(mailbox, lane, &ended, NULL);
	}
	return NULL;
}

/* Waits for the two messages of `serial`, asleep or awake. */
static void expect_echo(uint32_t lane, uint64_t serial, bool asleep)
{
	struct message_head head;

	for (int wanted = MESSAGE_STARTED; wanted;) {
		int answer = mailbox_read(mailbox, lane, &head, text);
		if (answer == 0 && asleep)
			CU_ASSERT_TRUE_FATAL(sleep_until_woken());
		if (answer == 0)
			continue;
		CU_ASSERT_EQUAL_FATAL(answer, 1);
		CU_ASSERT_EQUAL_FATAL(head.serial, serial);
		CU_ASSERT_EQUAL_FATAL(head.kind, wanted);
		wanted = wanted == MESSAGE_STARTED ? MESSAGE_ENDED : 0;
	}
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* One piece at a time, both sides asleep in between: a lost wake-up would stop it for ever. */
static void test_no_wake_up_is_lost(void)
{
	static uint32_t lanes[2] = { 0, 1 };
	pthread_t threads[2];
	uint32_t entry;

	open_mailbox(2);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, echo, &lanes[i]), 0);
	int64_t began = now_ns();
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint32_t lane = i % 3 == 0;
		CU_ASSERT_TRUE_FATAL(push(lane, i, 64, &entry));
		mailbox_wake(mailbox, lane);
		expect_echo(lane, i, true);
	}
	printf("[%.1f us a round trip] ", (double)(now_ns() - began) / ROUNDS / 1e3);
	mailbox_retire(mailbox);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
	CU_ASSERT_FALSE(mailbox_claim(mailbox, 0, &(struct work_head){ 0 }, &(const char *){ NULL }, &(const char *){ NULL }));
	close_mailbox();
}

/* Asleep, with much pushed ahead: woken once, when less than a quarter of the depth is left. */
static void test_no_wake_up_while_there_is_plenty(void)
{
	struct message_head ended = { .kind = MESSAGE_ENDED };
	uint64_t count = 0;
	uint32_t entry;

	open_mailbox(1);
	for (uint64_t i = 0; i < MAILBOX_DEPTH; i++)
		CU_ASSERT_TRUE(push(0, i, 8, &entry));
	mailbox_dispatcher_sleeps(mailbox, true);
	for (uint64_t i = 0; i < MAILBOX_DEPTH; i++) {
		expect_claim(0, i, 8);
		mailbox_send(mailbox, 0, &ended, "");
		bool woken = read(wake_fd, &count, sizeof count) == (ssize_t)sizeof count;
		CU_ASSERT_EQUAL(woken, i == MAILBOX_DEPTH - MAILBOX_DEPTH / 4);
	}
	CU_ASSERT_TRUE(mailbox_has_messages(mailbox));
	close_mailbox();
}

/* Figures only: pushing ahead, as the dispatcher does under load. */
static void test_throughput(void)
{
	static uint32_t lane = 0;
	pthread_t thread;
	struct message_head head;
	uint64_t pushed = 0, ended = 0, total = 300000;
	uint32_t entry;
	char record[256] = { 0 };

	open_mailbox(1);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, echo, &lane), 0);
	int64_t began = now_ns();
	while (ended < total) {
		struct work_head work = { .kind = WORK_RUN, .serial = pushed, .record_bytes = sizeof record };
		uint64_t before = pushed;
		while (pushed < total && mailbox_push(mailbox, 0, &work, record, NULL, &entry))
			work.serial = ++pushed;
		if (pushed != before)
			mailbox_wake(mailbox, 0);
		uint64_t ended_before = ended;
		int answer;
		while ((answer = mailbox_read(mailbox, 0, &head, text)) == 1)
			ended += head.kind == MESSAGE_ENDED;
		CU_ASSERT_FATAL(answer == 0);
		/* What ended has made room: then there is more to push, and nobody would wake us. */
		if (pushed == before && ended == ended_before)
			CU_ASSERT_TRUE_FATAL(sleep_until_woken());
	}
	printf("[%.0f ns a piece] ", (double)(now_ns() - began) / (double)total);
	mailbox_retire(mailbox);
	pthread_join(thread, NULL);
	close_mailbox();
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_work_arrives_whole),
		SUITE_TEST(test_depth),
		SUITE_TEST(test_work_bytes_wrap_around),
		SUITE_TEST(test_revoke),
		SUITE_TEST(test_revoke_against_claim),
		SUITE_TEST(test_a_death_costs_what_was_claimed),
		SUITE_TEST(test_messages_wrap_around_and_wait_for_room),
		SUITE_TEST(test_a_full_ring_waits),
		SUITE_TEST(test_no_wake_up_is_lost),
		SUITE_TEST(test_no_wake_up_while_there_is_plenty),
		SUITE_TEST(test_throughput),
	};

	return RUN_TESTS("mailbox", tests);
}
