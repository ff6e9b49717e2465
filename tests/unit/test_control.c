/* taskd/control.c and outbox.c: whole messages, in order, with their descriptors, none lost while nobody reads. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskd/outbox.h"
#include "tests/unit/runner.h"

static int open_files(void)
{
	DIR *directory = opendir("/proc/self/fd");
	if (directory == NULL)
		return -1;
	int count = 0;
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

/* A descriptor that can be told from others by its size. */
static int marked_fd(off_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	CU_ASSERT_FATAL(fd >= 0 && ftruncate(fd, size) == 0);
	return fd;
}

static off_t take_mark(int fd)
{
	struct stat about = { .st_size = -1 };
	if (fd >= 0) {
		CU_ASSERT_EQUAL(fstat(fd, &about), 0);
		close(fd);
	}
	return about.st_size;
}

static void test_exchange(void)
{
	int pair[2], fd = 77, files = open_files();
	CU_ASSERT_EQUAL_FATAL(control_pair(pair), 0);
	struct control_message message;
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), 0);
	CU_ASSERT_EQUAL(fd, -1);

	const struct control_message sent = { .kind = CONTROL_WORKER_STARTED, .row = 3, .pid = -4, .status = 0x8b00,
		.pool = 5, .threads = 6, .killed_by_us = 1, .peak_memory_kb = 1ULL << 40, .number = ~0ULL };
	int mark = marked_fd(4711);
	CU_ASSERT_EQUAL(control_send(pair[0], &sent, mark), 0);
	CU_ASSERT_EQUAL(control_send(pair[0], &(struct control_message){ .kind = CONTROL_DRAIN }, -1), 0);
	close(mark);
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), 1);
	CU_ASSERT_TRUE(message.kind == CONTROL_WORKER_STARTED && message.row == 3 && message.pid == -4 &&
	    message.status == 0x8b00 && message.pool == 5 && message.threads == 6 && message.killed_by_us == 1);
	CU_ASSERT_EQUAL(message.peak_memory_kb, 1ULL << 40);
	CU_ASSERT_EQUAL(message.number, ~0ULL);
	CU_ASSERT_EQUAL(take_mark(fd), 4711);
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), 1);
	CU_ASSERT_EQUAL(message.kind, CONTROL_DRAIN);
	CU_ASSERT_EQUAL(fd, -1);

	CU_ASSERT_EQUAL(control_send(pair[0], &sent, -1), 0);
	close(pair[0]);
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), 1); /* what was sent before the end */
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), -1);
	CU_ASSERT_EQUAL(errno, EPIPE);
	CU_ASSERT_EQUAL(control_send(pair[1], &sent, -1), -1);
	CU_ASSERT_EQUAL(errno, EPIPE);
	close(pair[1]);
	CU_ASSERT_EQUAL(open_files(), files);
}

/* What no peer of ours sends is refused, and none of its descriptors stays open. */
static void test_malformed(void)
{
	int pair[2], fd;
	CU_ASSERT_EQUAL_FATAL(control_pair(pair), 0);
	int files = open_files();
	struct control_message message = { .kind = CONTROL_READY };
	char large[sizeof(message) + 1] = { 0 };
	CU_ASSERT_EQUAL(send(pair[0], &message, sizeof(message) - 1, 0), (ssize_t)sizeof(message) - 1);
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), -1);
	CU_ASSERT_EQUAL(errno, EPROTO);
	CU_ASSERT_EQUAL(send(pair[0], large, sizeof(large), 0), (ssize_t)sizeof(large));
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), -1);
	CU_ASSERT_EQUAL(errno, EPROTO);

	union { struct cmsghdr header; char bytes[CMSG_SPACE(2 * sizeof(int))]; } two = { .bytes = { 0 } };
	struct iovec part = { &message, sizeof(message) };
	struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = two.bytes, .msg_controllen = CMSG_LEN(2 * sizeof(int)) };
	two.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(2 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	const int fds[2] = { pair[0], pair[1] };
	memcpy(CMSG_DATA(&two.header), fds, sizeof(fds));
	CU_ASSERT_EQUAL(sendmsg(pair[0], &head, 0), (ssize_t)sizeof(message));
	CU_ASSERT_EQUAL(control_receive(pair[1], &message, &fd), -1);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_EQUAL(open_files(), files);
	close(pair[0]);
	close(pair[1]);
}

/* 3,000 messages, each third with a descriptor, into a socket that holds a few hundred. */
static void test_outbox(void)
{
	int pair[2], files = open_files();
	CU_ASSERT_EQUAL_FATAL(control_pair(pair), 0);
	struct outbox outbox = { .socket = pair[0] };
	CU_ASSERT_TRUE_FATAL(outbox_reserve(&outbox, 64));
	uint32_t put = 0, got = 0, blocked = 0;
	while (got < 3000) {
		while (put < 3000 && outbox_room(&outbox) > 0) {
			outbox_put(&outbox, &(struct control_message){ .kind = CONTROL_WORKER_ENDED, .row = put },
			    put % 3 == 0 ? marked_fd(put + 1) : -1);
			put++;
			if (put == 1000) /* grows with what it holds */
				CU_ASSERT_TRUE(outbox_reserve(&outbox, 200));
		}
		enum outbox_result result = outbox_flush(&outbox);
		CU_ASSERT_TRUE(result == OUTBOX_SENT || result == OUTBOX_BLOCKED);
		if (result == OUTBOX_SENT && put < 3000)
			continue;
		blocked += result == OUTBOX_BLOCKED;
		struct control_message message;
		int fd;
		while (control_receive(pair[1], &message, &fd) == 1) {
			CU_ASSERT_EQUAL(message.row, got);
			CU_ASSERT_EQUAL(take_mark(fd), got % 3 == 0 ? (off_t)got + 1 : -1);
			got++;
		}
	}
	CU_ASSERT_TRUE(blocked > 0);
	close(pair[1]);
	outbox_put(&outbox, &(struct control_message){ .kind = CONTROL_DRAIN }, marked_fd(1));
	CU_ASSERT_EQUAL(outbox_flush(&outbox), OUTBOX_GONE);
	outbox_clear(&outbox);
	close(pair[0]);
	outbox.socket = -1;
	outbox_put(&outbox, &(struct control_message){ .kind = CONTROL_DRAIN }, marked_fd(1));
	CU_ASSERT_EQUAL(outbox.count, 0);
	CU_ASSERT_EQUAL(outbox_flush(&outbox), OUTBOX_SENT);
	free(outbox.letters);
	CU_ASSERT_EQUAL(open_files(), files);
}

int main(void)
{
	static const struct suite_test tests[] = {
		{ "messages and descriptors", test_exchange },
		{ "malformed messages", test_malformed },
		{ "the outbox loses nothing", test_outbox },
	};

	return RUN_TESTS("control", tests);
}
