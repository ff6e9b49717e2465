/*
 * What a request pays elsewhere: one round trip that hands 200 bytes to Redis (LPUSH) or to
 * beanstalkd (put) over a Unix socket. Enters: redis|beanstalkd, the socket's path, how many.
 * Leaves: percentiles in ns on standard output, in the form of publish_bench; 1 after a refusal.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "samples.h"

#define PAYLOAD_BYTES 200

/* A broker is its request, and how the answer to it begins. */
struct broker {
	const char *name, *request_head, *request_tail, *answer;
};
static const struct broker brokers[] = {
	{ "redis", "*3\r\n$5\r\nLPUSH\r\n$5\r\nbench\r\n$200\r\n", "\r\n", ":" },
	{ "beanstalkd", "put 1024 0 60 200\r\n", "\r\n", "INSERTED " },
};

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
		int errnum = errno;
		close(fd);
		errno = errnum;
		return -1;
	}
	return fd;
}

static int round_trip(int fd, const struct broker *broker, const char *request, size_t bytes)
{
	char answer[256] = { 0 };
	size_t had = 0;

	if (write(fd, request, bytes) != (ssize_t)bytes)
		return 0;
	while (had < 2 || answer[had - 1] != '\n') {
		ssize_t got = read(fd, answer + had, sizeof answer - had);
		if (got <= 0)
			return 0;
		had += (size_t)got;
	}
	return strncmp(answer, broker->answer, strlen(broker->answer)) == 0;
}

int main(int argc, char **argv)
{
	const struct broker *broker = NULL;
	struct samples samples;
	char request[PAYLOAD_BYTES + 128], title[64];

	for (size_t i = 0; argc == 4 && i < sizeof brokers / sizeof brokers[0]; i++)
		if (strcmp(argv[1], brokers[i].name) == 0)
			broker = &brokers[i];
	long count = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	if (!broker || count < 1) {
		fprintf(stderr, "usage: broker_bench redis|beanstalkd SOCKET COUNT\n");
		return 2;
	}
	int fd = connect_to(argv[2]);
	if (fd < 0) {
		fprintf(stderr, "broker_bench: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	int head = snprintf(request, sizeof request, "%s", broker->request_head);
	memset(request + head, 'x', PAYLOAD_BYTES);
	int tail = snprintf(request + head + PAYLOAD_BYTES, sizeof request - (size_t)head - PAYLOAD_BYTES, "%s",
	    broker->request_tail);
	size_t bytes = (size_t)head + PAYLOAD_BYTES + (size_t)tail;
	if (!samples_open(&samples, (size_t)count))
		return 1;
	for (long i = 0; i < count; i++) {
		uint64_t begun = samples_tick();
		if (!round_trip(fd, broker, request, bytes)) {
			fprintf(stderr, "broker_bench: %s refused\n", broker->name);
			return 1;
		}
		samples_add(&samples, samples_tick() - begun);
	}
	snprintf(title, sizeof title, "  %s, round trip over a Unix socket", broker->name);
	samples_print(&samples, title);
	free(samples.ticks);
	close(fd);
	return 0;
}
