/*
 * What waking a sleeping process costs on this machine, as the measure for the time from publishing
 * to a handler's start, which takes two such wake-ups: a futex (dispatcher to worker) and a FIFO
 * waited for with epoll (producer to dispatcher). Enters: how many, 3 ms apart. Leaves: percentiles in
 * ns on standard output, in the form of publish_bench.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "samples.h"

#define APART_NS 3000000l

/* Shared by both processes: the waker writes when, then wakes; the other one says how late it was. */
struct wake {
	_Atomic uint32_t turn;
	_Atomic int64_t sent_ns;
	_Atomic uint32_t late_ns[];
};

static void wait_futex(struct wake *wake, uint32_t turn, int fd)
{
	(void)fd;
	while (atomic_load(&wake->turn) == turn)
		syscall(SYS_futex, &wake->turn, FUTEX_WAIT, turn, NULL, NULL, 0);
}

static void ring_futex(struct wake *wake, int fd)
{
	(void)fd;
	atomic_fetch_add(&wake->turn, 1);
	syscall(SYS_futex, &wake->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_fifo(struct wake *wake, uint32_t turn, int fd)
{
	struct epoll_event event;
	char byte;

	(void)wake;
	(void)turn;
	while (epoll_wait(fd, &event, 1, -1) < 1)
		continue;
	ssize_t ignored = read(event.data.fd, &byte, 1);
	(void)ignored;
}

static void ring_fifo(struct wake *wake, int fd)
{
	ssize_t ignored = write(fd, "", 1);

	(void)wake;
	(void)ignored;
}

struct way {
	const char *title;
	void (*wait)(struct wake *wake, uint32_t turn, int fd);
	void (*ring)(struct wake *wake, int fd);
};

static void sleeper(const struct way *way, struct wake *wake, uint32_t count, int fd)
{
	for (uint32_t i = 0; i < count; i++) {
		way->wait(wake, i, fd);
		int64_t late = samples_now_ns() - atomic_load(&wake->sent_ns);
		atomic_store(&wake->late_ns[i], (uint32_t)(late < UINT32_MAX ? late : UINT32_MAX));
	}
	_exit(0);
}

static int measure(const struct way *way, uint32_t count, int wait_fd, int ring_fd)
{
	const struct timespec apart = { .tv_nsec = APART_NS };
	struct samples samples = { .ticks = calloc(count, sizeof(uint32_t)), .capacity = count, .tick_ns = 1 };
	size_t bytes = sizeof(struct wake) + count * sizeof(uint32_t);
	struct wake *wake = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!samples.ticks || wake == MAP_FAILED)
		return 1;
	pid_t child = fork();
	if (child == 0)
		sleeper(way, wake, count, wait_fd);
	for (uint32_t i = 0; child > 0 && i < count; i++) {
		nanosleep(&apart, NULL);
		atomic_store(&wake->sent_ns, samples_now_ns());
		way->ring(wake, ring_fd);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child)
		return 1;
	for (uint32_t i = 0; i < count; i++)
		samples_add(&samples, wake->late_ns[i]);
	samples_print(&samples, way->title);
	munmap(wake, bytes);
	free(samples.ticks);
	return 0;
}

int main(int argc, char **argv)
{
	const struct way futex = { "one wake-up by futex", wait_futex, ring_futex };
	const struct way fifo = { "one wake-up by FIFO and epoll", wait_fifo, ring_fifo };
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);

	if (count < 1 || count > 1000000) {
		fprintf(stderr, "usage: wake_bench COUNT\n");
		return 2;
	}
	if (epoll < 0 || pipe2(ends, O_CLOEXEC) != 0) {
		fprintf(stderr, "wake_bench: %s\n", strerror(errno));
		return 1;
	}
	struct epoll_event event = { .events = EPOLLIN, .data = { .fd = ends[0] } };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0)
		return 1;
	samples_heading("waking a process that sleeps, 3 ms apart; ns");
	return measure(&futex, (uint32_t)count, -1, -1) || measure(&fifo, (uint32_t)count, epoll, ends[1]);
}
