/*
 * What the mailbox is made of, and the dispatcher's side of it against a worker that writes
 * anything anywhere in the mapping: it answers, and touches nothing outside (run it with the
 * address sanitizer).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "taskd/mailbox_layout.h"
#include "taskring/handler.h"
#include "tests/unit/runner.h"

static uint64_t state = 0x243f6a8885a308d3ull;

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

struct side {
	struct mailbox *mailbox;
	struct mailbox_lane *lane;
	int memory_fd, wake_fd;
	char *text; /* exactly what mailbox_read() may write */
};

static struct side open_side(void)
{
	struct side side = { .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .memory_fd = mailbox_create(1) };

	CU_ASSERT_FATAL(side.wake_fd >= 0 && side.memory_fd >= 0);
	side.mailbox = mailbox_open(side.memory_fd, 1, side.wake_fd);
	side.text = malloc(MAILBOX_MESSAGE_MAX + 1);
	CU_ASSERT_FATAL(side.mailbox && side.text);
	side.lane = &side.mailbox->shared->lanes[0];
	return side;
}

static void close_side(struct side *side)
{
	mailbox_close(&side->mailbox);
	close(side->memory_fd);
	close(side->wake_fd);
	free(side->text);
}

/* ---- making ------------------------------------------------------------------------------ */

static void test_the_memory_cannot_be_cut(void)
{
	struct side side = open_side();

	CU_ASSERT_EQUAL(ftruncate(side.memory_fd, 0), -1);
	CU_ASSERT_EQUAL(errno, EPERM);
	CU_ASSERT_EQUAL(ftruncate(side.memory_fd, (off_t)mailbox_bytes(3)), -1);
	CU_ASSERT_TRUE(fcntl(side.memory_fd, F_GETFD) & FD_CLOEXEC);
	close_side(&side);
}

static void test_open_refuses_what_is_no_mailbox(void)
{
	int sealed = mailbox_create(2);
	int open_ended = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CU_ASSERT_EQUAL(ftruncate(open_ended, (off_t)mailbox_bytes(1)), 0);
	CU_ASSERT_PTR_NULL(mailbox_open(open_ended, 1, -1));
	CU_ASSERT_EQUAL(errno, EINVAL);
	CU_ASSERT_PTR_NULL(mailbox_open(sealed, 3, -1));
	CU_ASSERT_EQUAL(errno, EINVAL);
	CU_ASSERT_PTR_NULL(mailbox_open(sealed, 0, -1));
	CU_ASSERT_PTR_NULL(mailbox_open(-1, 1, -1));
	CU_ASSERT_EQUAL(errno, EBADF);
	close(sealed);
	close(open_ended);
}

/* One word holds both, so that nobody is told what was meant for another. */
static void test_told(void)
{
	struct side side = open_side();

	CU_ASSERT_EQUAL(mailbox_told(side.mailbox, 0, 5), STOP_NONE);
	mailbox_tell(side.mailbox, 0, 5, STOP_CANCEL);
	CU_ASSERT_EQUAL(mailbox_told(side.mailbox, 0, 5), STOP_CANCEL);
	CU_ASSERT_EQUAL(mailbox_told(side.mailbox, 0, 6), STOP_NONE);
	mailbox_tell(side.mailbox, 0, 1ull << 61, STOP_DRAIN);
	CU_ASSERT_EQUAL(mailbox_told(side.mailbox, 0, 1ull << 61), STOP_DRAIN);
	CU_ASSERT_EQUAL(mailbox_told(side.mailbox, 0, 5), STOP_NONE);
	close_side(&side);
}

/* ---- any bytes --------------------------------------------------------------------------- */

static int read_one(const struct side *side)
{
	struct message_head head;

	memset(&head, 0, sizeof head);
	int answer = mailbox_read(side->mailbox, 0, &head, side->text);
	CU_ASSERT_FATAL(answer == 0 || answer == 1 || answer == -1);
	if (answer == 1) {
		CU_ASSERT(head.kind >= MESSAGE_READY && head.kind <= MESSAGE_HANDLER);
		CU_ASSERT_FATAL(head.text_bytes <= MAILBOX_MESSAGE_MAX);
		CU_ASSERT_EQUAL(side->text[head.text_bytes], '\0');
	}
	return answer;
}

/* Everything that the dispatcher does, on a lane whose bytes are whatever they are. */
static void use_everything(const struct side *side, uint64_t counts[3])
{
	static const char record[4096];
	uint32_t entry;

	for (int i = 0; i < 40; i++) {
		struct work_head work = { .kind = WORK_RUN, .record_bytes = (uint32_t)(draw() % sizeof record) & ~7u };
		mailbox_push(side->mailbox, 0, &work, record, NULL, &entry);
		mailbox_revoke(side->mailbox, 0, (uint32_t)draw() % 100);
		mailbox_wake(side->mailbox, 0);
		mailbox_tell(side->mailbox, 0, draw(), STOP_CANCEL);
		mailbox_has_messages(side->mailbox);
		counts[read_one(side) + 1]++;
	}
}

static void fill_random(void *memory, size_t bytes)
{
	uint64_t *words = memory;

	for (size_t i = 0; i < bytes / sizeof *words; i++)
		words[i] = draw();
}

static void test_random_mapping(void)
{
	uint64_t counts[3] = { 0 };

	for (int round = 0; round < 60; round++) {
		struct side side = open_side();
		fill_random(side.mailbox->shared, mailbox_bytes(1));
		if (round % 2) /* believable cursors, wild contents */
			atomic_store(&side.lane->message_tail, draw() % (MAILBOX_MESSAGE_BYTES + 1) & ~7ull);
		if (round % 4 > 1)
			atomic_store(&side.lane->released, 0);
		use_everything(&side, counts);
		close_side(&side);
	}
	CU_ASSERT(counts[0] > 1000); /* most of it made no sense */
}

/* Messages as the worker writes them, with one word of the mapping changed at a time. */
static void test_one_word_changed(void)
{
	static const char json[] = "{\"a\":[1,2,3]}";
	uint64_t counts[3] = { 0 };

	for (int round = 0; round < 20000; round++) {
		static struct side side;
		if (round % 500 == 0)
			side = open_side();
		struct message_head head = { .kind = MESSAGE_RESULT, .text_bytes = sizeof json - 1, .serial = 7 };
		uint64_t before = side.mailbox->worker[0].tail % MAILBOX_MESSAGE_BYTES;
		for (int i = 0; i < 3; i++)
			mailbox_send(side.mailbox, 0, &head, json);
		uint64_t at = before + draw() % 168;
		side.lane->messages[at % MAILBOX_MESSAGE_BYTES] ^= (char)(1u << draw() % 8);
		if (round % 7 == 0)
			atomic_fetch_xor(&side.lane->message_tail, 1ull << draw() % 64);
		int answer;
		while ((answer = read_one(&side)) == 1)
			counts[2]++;
		counts[answer + 1]++;
		if (answer == -1) { /* and it stays so */
			CU_ASSERT_EQUAL(read_one(&side), -1);
			CU_ASSERT_FALSE(mailbox_push(side.mailbox, 0, &(struct work_head){ 0 }, "", NULL, &(uint32_t){ 0 }));
		}
		if (round % 500 == 499) {
			close_side(&side);
		} else if (answer == -1) {
			close_side(&side);
			side = open_side();
		}
	}
	CU_ASSERT(counts[0] > 1000 && counts[1] > 1000 && counts[2] > 1000);
}

/* ---- what each kind may hold -------------------------------------------------------------- */

static int send_and_read(struct message_head head, const char *text, uint32_t bytes)
{
	struct side side = open_side();

	head.text_bytes = bytes;
	mailbox_send(side.mailbox, 0, &head, text);
	int answer = read_one(&side);
	close_side(&side);
	return answer;
}

#define SEND(text, bytes, ...) send_and_read((struct message_head){ __VA_ARGS__ }, text, bytes)

static void test_kinds(void)
{
	CU_ASSERT_EQUAL(SEND("", 0, .kind = 0), -1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_HANDLER + 1), -1);
	for (int kind = MESSAGE_READY; kind <= MESSAGE_LEAVING; kind++)
		CU_ASSERT_EQUAL(SEND("", 0, .kind = (uint8_t)kind), 1);
	CU_ASSERT_EQUAL(SEND("x", 1, .kind = MESSAGE_STARTED), -1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_ENDED, .code = TR_SNOOZE), 1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_ENDED, .code = TR_SNOOZE + 1), -1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_ENDED, .flag = 2), -1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_LOG, .code = TR_DEBUG), 1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_LOG, .code = TR_DEBUG + 1), -1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_ENQUEUE + 1), -1);
}

static void test_lengths(void)
{
	static char many[MAILBOX_MESSAGE_MAX];

	memset(many, 'x', sizeof many);
	CU_ASSERT_EQUAL(SEND(many, TR_TEXT_MAX, .kind = MESSAGE_PROGRESS), 1);
	CU_ASSERT_EQUAL(SEND(many, TR_TEXT_MAX + 1, .kind = MESSAGE_PROGRESS), -1);
	CU_ASSERT_EQUAL(SEND(many, 1000, .kind = MESSAGE_LOG), 1);
	CU_ASSERT_EQUAL(SEND(many, 1001, .kind = MESSAGE_LOG), -1);
	CU_ASSERT_EQUAL(SEND(many, 1000, .kind = MESSAGE_ENDED), 1);
	CU_ASSERT_EQUAL(SEND(many, 1001, .kind = MESSAGE_ENDED), -1);
	CU_ASSERT_EQUAL(SEND(many, TR_RESULT_MAX, .kind = MESSAGE_RESULT), 1);
	CU_ASSERT_EQUAL(SEND(many, TR_RESULT_MAX + 1, .kind = MESSAGE_RESULT), -1);
}

static void test_texts(void)
{
	CU_ASSERT_EQUAL(SEND("a\nb", 3, .kind = MESSAGE_LOG), -1);
	CU_ASSERT_EQUAL(SEND("\xff", 1, .kind = MESSAGE_ENDED), -1);
	CU_ASSERT_EQUAL(SEND("[1,\n2]", 6, .kind = MESSAGE_RESULT), 1);
	CU_ASSERT_EQUAL(SEND("\xff", 1, .kind = MESSAGE_RESULT), -1);
	CU_ASSERT_EQUAL(SEND("a\0b", 3, .kind = MESSAGE_RESULT), -1);
	CU_ASSERT_EQUAL(SEND("h\0q\0{}", 6, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_ENQUEUE), 1);
	CU_ASSERT_EQUAL(SEND("h\0\0{}", 5, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_ENQUEUE), 1);
	CU_ASSERT_EQUAL(SEND("h\0q{}", 5, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_ENQUEUE), -1);
	CU_ASSERT_EQUAL(SEND("h", 1, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_ENQUEUE), -1);
	CU_ASSERT_EQUAL(SEND("", 0, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_ENQUEUE), -1);
	CU_ASSERT_EQUAL(SEND("h\0q\0{}", 6, .kind = MESSAGE_VERDICT, .code = TR_VERDICT_BURY), -1);
}

static void test_cursors(void)
{
	struct side side = open_side();
	uint32_t entry;

	/* Released what was never pushed. */
	CU_ASSERT_TRUE(mailbox_push(side.mailbox, 0, &(struct work_head){ .record_bytes = 8 }, "12345678", NULL, &entry));
	atomic_store(&side.lane->released, 1000);
	for (int i = 0; i < MAILBOX_DEPTH; i++)
		mailbox_push(side.mailbox, 0, &(struct work_head){ .record_bytes = 8 }, "12345678", NULL, &entry);
	CU_ASSERT_EQUAL(entry, MAILBOX_DEPTH / 4 - 1); /* it looked then, and took no more */
	CU_ASSERT_EQUAL(read_one(&side), -1);
	close_side(&side);

	/* A tail behind the head, and one that ends inside a message's head. */
	side = open_side();
	atomic_store(&side.lane->message_tail, UINT64_MAX);
	CU_ASSERT_EQUAL(read_one(&side), -1);
	close_side(&side);
	side = open_side();
	atomic_store(&side.lane->message_tail, 8);
	CU_ASSERT_EQUAL(read_one(&side), -1);
	close_side(&side);
}

int main(void)
{
	static const struct suite_test tests[] = {
		SUITE_TEST(test_the_memory_cannot_be_cut),
		SUITE_TEST(test_open_refuses_what_is_no_mailbox),
		SUITE_TEST(test_told),
		SUITE_TEST(test_random_mapping),
		SUITE_TEST(test_one_word_changed),
		SUITE_TEST(test_kinds),
		SUITE_TEST(test_lengths),
		SUITE_TEST(test_texts),
		SUITE_TEST(test_cursors),
	};

	return RUN_TESTS("hostile worker", tests);
}
